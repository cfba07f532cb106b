//! `api_version` and `review_by`: what is understood, and what is told of the rest.

use std::path::Path;

use crate::{
    clock::Timestamp,
    config::{self, Config, ConfigErrors, FixedEnv},
};

/// 2027-01-15T08:00:00Z
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// Line 2 is for the upstream, line 7 for the route.
fn compile(upstream: &str, route: &str) -> Result<Config, ConfigErrors> {
    let text = format!(
        "[upstream.api]\n{upstream}\nendpoints = [\"https://api.example\"]\n[[route]]\npath = \"/v2/{{*rest}}\"\nupstream = \"api\"\n{route}\n"
    );
    let env = FixedEnv {
        now: NOW,
        ..FixedEnv::default()
    };
    config::parse(&text, Path::new("proxy.toml"), &env)
}

#[test]
fn a_version_is_pinned_by_a_field_or_by_a_segment_of_the_path() {
    let pinned = |upstream: &str, route: &str| {
        let config = compile(upstream, route).unwrap_or_else(|errors| panic!("{errors}"));
        let pinned = config.routes[0].api_version.as_deref().cloned();
        pinned.map(|it| {
            let sent = it
                .sent()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
            (
                it.text().to_owned(),
                sent,
                it.answer.map(|name| name.to_string()),
            )
        })
    };
    let text = |text: &str| Some(text.to_owned());
    for (name, upstream, route, want) in [
        ("nothing", "", "", None),
        (
            "a field of the upstream, which its answers have too",
            "api_version = { header = \"X-Api-Version\", value = \"2024-10-01\" }",
            "",
            Some((
                "2024-10-01".to_owned(),
                text("x-api-version: 2024-10-01"),
                text("x-api-version"),
            )),
        ),
        (
            "one that is not sent, and another field of answers",
            "api_version = { header = \"A\", value = \"1\", send = false, answer = \"B\" }",
            "",
            Some(("1".to_owned(), None, text("b"))),
        ),
        (
            "the route's own before the upstream's",
            "api_version = { header = \"A\", value = \"1\" }",
            "api_version = { path = \"v2\" }",
            Some(("v2".to_owned(), None, None)),
        ),
        (
            "a segment that its routes have",
            "api_version = { path = \"v2\", answer = \"Version\" }",
            "",
            Some(("v2".to_owned(), None, text("version"))),
        ),
        (
            "a segment of a rewrite",
            "",
            "rewrite = \"/api/v3/\"\napi_version = { path = \"v3\" }",
            Some(("v3".to_owned(), None, None)),
        ),
    ] {
        assert_eq!(pinned(upstream, route), want, "{name}");
    }
}

#[test]
fn what_cannot_be_pinned_is_told_with_its_place() {
    for (name, upstream, route, want) in [
        (
            "a segment that is nowhere",
            "api_version = { path = \"v3\" }",
            "",
            "proxy.toml:2:15: upstream.api.api_version: pins `v3`, which is in no path",
        ),
        (
            "one that is stripped",
            "",
            "strip_prefix = \"/v2\"\napi_version = { path = \"v2\" }",
            "proxy.toml:8:15: route.#1.api_version: pins `v2`, which is in no path",
        ),
        (
            "both",
            "api_version = { path = \"v2\", header = \"A\", value = \"1\" }",
            "",
            "proxy.toml:2:24: upstream.api.api_version.path: and `header` cannot both",
        ),
        (
            "neither",
            "api_version = { answer = \"A\" }",
            "",
            "proxy.toml:2:15: upstream.api.api_version.header: is missing",
        ),
        (
            "a field without a value",
            "api_version = { header = \"A\" }",
            "",
            "proxy.toml:2:15: upstream.api.api_version.value: is missing",
        ),
        (
            "no field's name",
            "api_version = { header = \"A B\", value = \"1\" }",
            "",
            "proxy.toml:2:26: upstream.api.api_version.header: `A B` is not a field name",
        ),
        (
            "a field of the connection",
            "api_version = { header = \"Host\", value = \"1\" }",
            "",
            "`host` cannot be changed here",
        ),
        (
            "a value that no field carries",
            "api_version = { header = \"A\", value = \"\u{e4}\" }",
            "",
            "api_version.value: cannot stand in a header field",
        ),
        (
            "two segments",
            "api_version = { path = \"api/v2\" }",
            "",
            "`api/v2` is not one segment of a path; write what stands between two slashes",
        ),
        (
            "a parameter",
            "api_version = { path = \"{v}\" }",
            "",
            "`{v}` is not one segment of a path",
        ),
        (
            "a value beside a segment",
            "api_version = { path = \"v2\", value = \"2\" }",
            "",
            "api_version.value: has no meaning beside `path`",
        ),
        (
            "an unknown key",
            "api_version = { paht = \"v2\" }",
            "",
            "did you mean `path`?",
        ),
        (
            "no day",
            "review_by = \"next spring\"",
            "",
            "proxy.toml:2:13: upstream.api.review_by: `next spring` is not a day; write 2027-01-31",
        ),
        (
            "a day that is not",
            "review_by = \"2027-02-30\"",
            "",
            "`2027-02-30` is not a day",
        ),
        (
            "a time",
            "review_by = 2027-01-31T10:00:00Z",
            "",
            "is not a day",
        ),
        (
            "a number",
            "review_by = 2027",
            "",
            "expected a day, found a whole number",
        ),
    ] {
        let errors = compile(upstream, route).expect_err(name);
        let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert!(
            told.iter().any(|line| line.contains(want)),
            "{name}: {told:?}"
        );
    }
}

#[test]
fn a_review_that_is_past_is_warned_about() {
    for (name, day, want) in [
        ("today", "2027-01-15", None),
        (
            "yesterday, in quotes",
            "\"2027-01-14\"",
            Some("due yesterday"),
        ),
        ("long ago", "2026-12-31", Some("due 15 days ago")),
    ] {
        let config = compile(&format!("review_by = {day}"), "").unwrap();
        assert!(config.upstreams[0].review_by.is_some());
        let told: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
        match want {
            None => assert!(told.is_empty(), "{name}: {told:?}"),
            Some(want) => {
                assert!(told[0].contains(want), "{name}: {told:?}");
                assert!(
                    told[0].starts_with("proxy.toml:2:13: upstream.api.review_by"),
                    "{told:?}"
                );
            }
        }
    }
}

#[test]
fn a_segment_that_some_routes_lack_is_warned_about() {
    let more = "[[route]]\nname = \"other\"\npath = \"/x\"\nupstream = \"api\"";
    let config = compile("api_version = { path = \"v2\" }", more).unwrap();
    let told = config.warnings[0].to_string();
    assert!(
        told.contains("not in what these routes ask for: `other`"),
        "{told}"
    );
}
