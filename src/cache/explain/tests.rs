//! Tables over the pure core: what was seen in, what is said out.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::*;
use crate::{
    cache::{
        Alone, Facts, Labels, StoredResponse,
        control::RequestDirectives,
        judgement::Judgement,
        lookup::Found,
        plan::{InVain, Prospects},
        purge::Mode,
        storable::NotStored,
    },
    clock::Timestamp,
    config::{self, FixedEnv, RouteConfig},
    store::Key,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn route(policy: &str, rest: &str) -> Arc<RouteConfig> {
    let text = format!(
        "[upstream.v]\nendpoints = [\"http://127.0.0.1:1\"]\n[policy.p]\nspread_percent = 0\n{policy}\n[[route]]\nname = \"r\"\npath = \"/x\"\nupstream = \"v\"\npolicy = \"p\"\n{rest}"
    );
    let config = config::parse(&text, Path::new("t.toml"), &FixedEnv::default()).unwrap();
    Arc::clone(&config.routes[0])
}

type Fields = Vec<(&'static str, &'static str)>;

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let line = |&(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    };
    fields.iter().map(line).collect()
}

/// A request, what is stored for it, and what else was seen.
struct Case {
    route: Arc<RouteConfig>,
    method: Method,
    request: Fields,
    /// Age in seconds, fields, status.
    stored: Option<(u64, Fields, u16)>,
    resting: bool,
    prospects: Prospects,
    purged: Option<Mode>,
    alone: Option<Alone>,
}

impl Case {
    fn new(policy: &str, request: Fields, stored: Option<(u64, Fields)>) -> Self {
        Self {
            route: route(policy, ""),
            method: Method::GET,
            request,
            stored: stored.map(|(age, fields)| (age, fields, 200)),
            resting: false,
            prospects: Prospects::default(),
            purged: None,
            alone: None,
        }
    }

    fn explained(&self) -> FoundShown {
        let key = Key::from_bytes([7; 32]);
        let mut parts = http::Request::new(()).into_parts().0;
        parts.method = self.method.clone();
        parts.uri = "/x".parse().unwrap();
        parts.headers = map(&self.request);
        let entry = self.stored.as_ref().map(|(age, fields, status)| {
            let (headers, received) = (map(fields), NOW.before(Duration::from_secs(*age)));
            let status = StatusCode::from_u16(*status).unwrap();
            let facts = Facts::new(status, &headers, received, received);
            Arc::new(Entry::Response(StoredResponse {
                status,
                headers,
                body: Bytes::from_static(b"{}"),
                part: None,
                aside: None,
                judgement: Judgement::default(),
                url: "/x".into(),
                request_time: received,
                facts,
                dead_at: Timestamp::NEVER,
                labels: Labels::default(),
            }))
        });
        let stored = entry.as_ref().and_then(response_in);
        let verdict = stored.map(|stored| {
            let policy = &self.route.policy;
            stored.facts.judge(policy, 0.0, NOW, || 1.0)
        });
        let found = Found::of(key, entry.clone(), verdict);
        found_shown(Seen {
            doubted: false,
            sibling: None,
            route: &self.route,
            parts: &parts,
            way: Way::Cache,
            wishes: RequestDirectives::parse(&parts.headers),
            found: &found,
            equivalent: None,
            stored,
            lies_in: vec!["memory".to_owned()],
            variants: None,
            purged: self.purged,
            alone: self.alone,
            prospects: Prospects {
                resting: self.resting,
                ..self.prospects
            },
            resting_until: self.resting.then(|| NOW.after(Duration::from_secs(1))),
            now: NOW,
        })
    }
}

/// A reason as `what [rule] key (place)`.
fn text(reason: &Reason) -> String {
    let rule = reason.rule.as_ref().map(|rule| format!(" [{rule}]"));
    let setting = reason.setting.as_ref().map(|setting| {
        let place = setting.place.as_deref().unwrap_or("default");
        format!(" {} ({place})", setting.key)
    });
    format!(
        "{}{}{}",
        reason.what,
        rule.unwrap_or_default(),
        setting.unwrap_or_default()
    )
}

fn texts(reasons: &[Reason]) -> Vec<String> {
    reasons.iter().map(text).collect()
}

#[test]
fn a_lifetime_is_told_with_who_named_it_and_what_the_policy_made_of_it() {
    for (name, policy, fields, want_secs, want) in [
        (
            "s-maxage",
            "",
            vec![("cache-control", "max-age=10, s-maxage=60")],
            60.0,
            vec!["`s-maxage`: 1m [RFC 9111 5.2.2.10]"],
        ),
        (
            "max-age",
            "",
            vec![("cache-control", "max-age=10")],
            10.0,
            vec!["`max-age`: 10s [RFC 9111 5.2.2.1]"],
        ),
        (
            "a targeted field, by name",
            "",
            vec![
                ("cache-control", "max-age=10"),
                ("cdn-cache-control", "max-age=90"),
            ],
            90.0,
            vec!["`max-age` in `cdn-cache-control`: 1m 30s [RFC 9213 2.2, RFC 9111 5.2.2.1]"],
        ),
        (
            "Expires",
            "",
            vec![
                ("date", "Fri, 15 Jan 2027 08:00:00 GMT"),
                ("expires", "Fri, 15 Jan 2027 08:00:30 GMT"),
            ],
            30.0,
            vec!["`Expires` less `Date`: 30s [RFC 9111 5.3]"],
        ),
        (
            "no-cache",
            "",
            vec![("cache-control", "no-cache, max-age=10")],
            0.0,
            vec!["`no-cache`: none [RFC 9111 5.2.2.4]"],
        ),
        (
            "a guess",
            "heuristic_percent = 10",
            vec![
                ("date", "Fri, 15 Jan 2027 08:00:00 GMT"),
                ("last-modified", "Fri, 15 Jan 2027 07:50:00 GMT"),
            ],
            60.0,
            vec![
                "a guess: 10 % of the time since `Last-Modified` [RFC 9111 4.2.2] policy.p.heuristic_percent (t.toml:5)",
            ],
        ),
        (
            "the policy fills in",
            "fresh = \"5s\"",
            vec![],
            5.0,
            vec!["the policy's `fresh`: 5s policy.p.fresh (t.toml:5)"],
        ),
        (
            "the policy overrides",
            "fresh = \"5s\"\noverride = true",
            vec![("cache-control", "max-age=60")],
            5.0,
            vec![
                "the policy's `fresh`: 5s policy.p.fresh (t.toml:5)",
                "overrides what the origin named: 1m [RFC 9111 4.2.1] policy.p.override (t.toml:6)",
            ],
        ),
        (
            "the policy bounds",
            "fresh_max = \"5s\"",
            vec![("cache-control", "max-age=60")],
            5.0,
            vec![
                "`max-age`: 1m [RFC 9111 5.2.2.1]",
                "made shorter by the policy: 5s policy.p.fresh_max (t.toml:5)",
            ],
        ),
        (
            "nobody",
            "",
            vec![],
            0.0,
            vec![
                "nobody named one: it is asked about on every use [RFC 9111 4.2.2] policy.p.heuristic_percent (default)",
            ],
        ),
    ] {
        let case = Case::new(policy, vec![], Some((0, fields)));
        let stored = case.explained().stored.unwrap();
        assert_eq!(texts(&stored.lifetime.from), want, "{name}");
        assert_eq!(stored.lifetime.seconds, want_secs, "{name}");
    }
}

#[test]
fn a_plan_is_told_with_what_decides() {
    let fields = |control| vec![("cache-control", control), ("etag", "\"a\"")];
    let stored = |age, control| Some((age, fields(control)));
    for (name, policy, request, stored, want_plan, want_why) in [
        (
            "fresh",
            "",
            vec![],
            stored(5, "max-age=60"),
            "serve",
            "it is fresh for another 55s [RFC 9111 4.2]",
        ),
        (
            "stale, the policy opens a window",
            "",
            vec![],
            stored(70, "max-age=60"),
            "serve_and_refresh",
            "it has been stale for 10s, which is within stale-while-revalidate policy.p.stale_while_revalidate (default)",
        ),
        (
            "stale, the origin opens it",
            "",
            vec![],
            stored(70, "max-age=60, stale-while-revalidate=20"),
            "serve_and_refresh",
            "it has been stale for 10s, which is within stale-while-revalidate [RFC 5861 3]",
        ),
        (
            "stale past the window",
            "stale_while_revalidate = \"0s\"",
            vec![],
            stored(70, "max-age=60"),
            "ask",
            "it has been stale for 10s [RFC 9111 4.2.4]",
        ),
        (
            "stale and forbidden",
            "",
            vec![],
            stored(70, "max-age=60, must-revalidate"),
            "ask",
            "`must-revalidate`: not used once stale [RFC 9111 5.2.2.2]",
        ),
        (
            "past every use",
            "max_stale = \"1m\"\nstale_while_revalidate = \"0s\"",
            vec![],
            stored(700, "max-age=60"),
            "ask",
            "it has been stale for 10m 40s, past every use: good for validation only [RFC 9111 4.3] policy.p.max_stale (t.toml:5)",
        ),
        (
            "a client that wants it asked about",
            "",
            vec![("cache-control", "no-cache")],
            stored(5, "max-age=60"),
            "ask",
            "the client says `no-cache` [RFC 9111 5.2.1.4]",
        ),
        (
            "a client that asks for younger",
            "",
            vec![("cache-control", "max-age=3")],
            stored(5, "max-age=60"),
            "ask",
            "it is older than the client's `max-age` [RFC 9111 5.2.1.1]",
        ),
        (
            "a client that wants nobody asked",
            "",
            vec![("cache-control", "only-if-cached")],
            None,
            "gateway_timeout",
            "nothing is stored under this key [RFC 9111 4]",
        ),
        (
            "nothing",
            "",
            vec![],
            None,
            "ask",
            "nothing is stored under this key [RFC 9111 4]",
        ),
    ] {
        let found = Case::new(policy, request, stored).explained();
        assert_eq!(found.now.plan, want_plan, "{name}");
        assert_eq!(text(&found.now.why[0]), want_why, "{name}");
    }
}

#[test]
fn who_asks_is_told_how_and_how_long_it_takes() {
    let stale = Some((70, vec![("cache-control", "max-age=60"), ("etag", "\"a\"")]));
    let found = Case::new("stale_while_revalidate = \"0s\"", vec![], stale).explained();
    let question = found.now.question.unwrap();
    assert_eq!(question.what, "whether what is stored still holds");
    assert_eq!(question.fields[0].name, "if-none-match");
    let wait = found.now.wait.unwrap();
    assert_eq!((wait.seconds, &*wait.then), (0.3, "the stored response"));
    assert_eq!(wait.setting.key, "policy.p.stale_after");
    let found = Case::new("", vec![], None).explained();
    let wait = found.now.wait.unwrap();
    assert_eq!(
        (wait.seconds, &*wait.setting.key),
        (10.0, "route.r.deadline")
    );
}

#[test]
fn a_resting_key_answers_what_it_has() {
    let stale = Some((170, vec![("cache-control", "max-age=60")]));
    let mut case = Case::new("", vec![], stale);
    assert_eq!(case.explained().now.plan, "ask");
    case.resting = true;
    let now = case.explained().now;
    assert_eq!(now.plan, "serve");
    assert_eq!(
        text(&now.why[0]),
        "a refresh failed or brought nothing to store a moment ago: the key rests until 2027-01-15T08:00:01Z \
         policy.p.cool_down (default)"
    );
}

#[test]
fn why_nobody_waits_and_why_somebody_does_is_told() {
    let swr = "max-age=60, stale-while-revalidate=600";
    for (name, control, prospects, want, want_why) in [
        (
            "the breaker is not closed",
            "max-age=60",
            Prospects {
                in_vain: Some(InVain::Unwell),
                ..Prospects::default()
            },
            "serve_and_refresh",
            "the breaker of its upstream is not closed: the copy answers at once, and what is asked behind it is a probe",
        ),
        (
            "the last ones waited in vain",
            "max-age=60",
            Prospects {
                in_vain: Some(InVain::TooSlow),
                ..Prospects::default()
            },
            "serve_and_refresh",
            "those who asked last waited for `stale_after` and got nothing: the copy answers at once \
             policy.p.stale_after (default)",
        ),
        (
            "recovered since",
            swr,
            Prospects {
                recovered: true,
                ..Prospects::default()
            },
            "ask",
            "its last refresh failed, and the upstream has recovered since: what is new is waited for",
        ),
    ] {
        let mut case = Case::new("", vec![], Some((170, vec![("cache-control", control)])));
        case.prospects = prospects;
        let now = case.explained().now;
        assert_eq!(now.plan, want, "{name}");
        assert_eq!(text(&now.why[0]), want_why, "{name}");
    }
}

#[test]
fn what_stands_in_for_a_failing_upstream_is_told_with_its_end() {
    let stored = |age, control| Some((age, vec![("cache-control", control)]));
    for (name, policy, stored, want, want_for, want_why) in [
        (
            "a fresh one, and then a stale one",
            "max_stale = \"1h\"",
            stored(5, "max-age=60"),
            "stored",
            Some(3655.0),
            "a stale response stands in for an upstream that fails [RFC 9111 4.2.4] policy.p.max_stale (t.toml:5)",
        ),
        (
            "as long as the origin says",
            "stale_while_revalidate = \"0s\"",
            stored(70, "max-age=60, stale-if-error=100"),
            "stored",
            Some(90.0),
            "a stale response stands in for an upstream that fails: `stale-if-error`, at most `max_stale` [RFC 5861 4] policy.p.max_stale (default)",
        ),
        (
            "a fresh one that may not be used once stale",
            "",
            stored(5, "s-maxage=60"),
            "stored",
            Some(55.0),
            "`s-maxage` implies `proxy-revalidate`: not used once stale [RFC 9111 5.2.2.10]",
        ),
        (
            "none that may be used",
            "",
            stored(70, "max-age=60, must-revalidate"),
            "error",
            None,
            "`must-revalidate`: not used once stale [RFC 9111 5.2.2.2]",
        ),
        (
            "none at all",
            "",
            None,
            "error",
            None,
            "nothing is stored that could stand in",
        ),
    ] {
        let failing = Case::new(policy, vec![], stored)
            .explained()
            .if_upstream_fails;
        assert_eq!(failing.answer, want, "{name}");
        assert_eq!(failing.for_seconds, want_for, "{name}");
        assert_eq!(text(&failing.why[0]), want_why, "{name}");
    }
}

#[test]
fn what_becomes_of_it_is_told_with_times() {
    let stored = Some((5, vec![("cache-control", "max-age=60")]));
    let stored = Case::new("", vec![], stored).explained().stored.unwrap();
    let steps: Vec<_> = stored
        .becomes
        .iter()
        .map(|step| (&*step.state, &*step.at, step.in_seconds))
        .collect();
    assert_eq!(
        steps,
        [
            ("stale_while_revalidate", "2027-01-15T08:00:55Z", 55.0),
            ("stale", "2027-01-15T08:01:55Z", 115.0),
            ("gone", "2027-01-16T08:00:55Z", 86455.0),
        ]
    );
    let forbidden = Some((5, vec![("cache-control", "s-maxage=60")]));
    let stored = Case::new("", vec![], forbidden).explained().stored.unwrap();
    assert_eq!(stored.becomes[0].state, "stale", "there is no window");
}

#[test]
fn a_purge_is_told_instead_of_a_lifetime() {
    let fresh = Some((5, vec![("cache-control", "max-age=60")]));
    let mut case = Case::new("", vec![], fresh);
    case.purged = Some(Mode::Soft);
    let found = case.explained();
    let stored = found.stored.unwrap();
    assert_eq!(stored.state, "stale_while_revalidate");
    assert!(stored.why[0].what.contains("it was purged (soft)"));
    assert!(stored.becomes.is_empty());
    assert_eq!(found.now.plan, "serve_and_refresh");
    assert_eq!(
        found.now.why[0].what,
        "it was purged: answered once more, and refreshed"
    );
}

#[test]
fn an_answer_from_a_clock_that_was_set_back_is_told_to_be_of_unknown_age() {
    let mut case = Case::new("", vec![], Some((0, vec![("cache-control", "max-age=60")])));
    let ahead = NOW.after(Duration::from_secs(3600));
    let found = case.explained();
    assert_eq!(found.stored.unwrap().state, "fresh");
    case.stored = None;
    let headers = map(&[("cache-control", "max-age=60")]);
    let facts = Facts::new(StatusCode::OK, &headers, ahead, ahead);
    assert!(facts.is_from_the_future(NOW));
    assert!(!facts.is_from_the_future(ahead));
}

#[test]
fn where_nothing_is_stored_every_check_is_named_and_what_gives_way() {
    let found = Case::new("override = true", vec![], None).explained();
    let checks = found.not_stored.unwrap().checks;
    let of = |word: &str| checks.iter().find(|check| check.word == word).unwrap();
    for (word, gives_way) in [
        ("no-store", true),
        ("private", true),
        ("request-no-store", true),
        ("set-cookie", true),
        ("authorization", false),
        ("vary", false),
    ] {
        assert_eq!(of(word).gives_way.is_some(), gives_way, "{word}");
    }
    let words: Vec<_> = NotStored::ALL.iter().map(|one| one.as_str()).collect();
    assert!(checks.iter().all(|check| words.contains(&&*check.word)));
    let mut case = Case::new("", vec![], None);
    case.alone = Some(Alone::Unshared);
    let known = case.explained().not_stored.unwrap().known;
    assert!(
        known[0]
            .what
            .starts_with("the latest answer could not be stored")
    );
}
