//! Where larder leaves the RFCs, by which key, and where it is stricter than it has to be.
//!
//! One table of rows. `larder explain` and `larder check` show those that a route's keys bring about;
//! `docs/departures.md` is printed from all of them, so that none is in one place only.

use std::{fmt::Write as _, time::Duration};

use http::StatusCode;

use super::model::{Departure, DepartureKind, Setting};
use crate::{
    cache::freshness::is_heuristically_cacheable,
    config::{Policy, QueryKey, RouteConfig},
};

/// One way in which larder does other than a section says.
struct Row {
    section: &'static str,
    key: Key,
    kind: DepartureKind,
    what: &'static str,
}

/// What brings it about.
enum Key {
    /// A key of the policy, where its value does.
    Policy(&'static str, fn(&Policy) -> bool),
    /// A key of the route.
    Route(&'static str, fn(&RouteConfig) -> bool),
    /// A key of the upstream.
    Upstream(&'static str, fn(&RouteConfig) -> bool),
    /// Nothing: it is always so.
    Always,
}

use DepartureKind::{Departs, Stricter};
use Key::{Always, Policy as ByPolicy, Route as ByRoute, Upstream as ByUpstream};

const fn row(section: &'static str, key: Key, kind: DepartureKind, what: &'static str) -> Row {
    Row {
        section,
        key,
        kind,
        what,
    }
}

fn overrides(policy: &Policy) -> bool {
    policy.override_origin
}

fn serves_stale(policy: &Policy) -> bool {
    !policy.max_stale.is_zero() || !policy.stale_while_revalidate.is_zero()
}

/// Errors that the policy names a lifetime for although their status does not let anybody guess one.
fn keeps_other_errors(policy: &Policy) -> bool {
    policy.negative.iter().any(|(range, lifetime)| {
        !lifetime.is_zero()
            && range.clone().any(|code| {
                StatusCode::from_u16(code).is_ok_and(|status| !is_heuristically_cacheable(status))
            })
    })
}

fn takes_client_errors_for_failures(route: &RouteConfig) -> bool {
    let failures = &route.upstream.failures;
    (100..500).any(|code| StatusCode::from_u16(code).is_ok_and(|status| failures.contains(status)))
}

fn has_window(policy: &Policy) -> bool {
    !policy.stale_while_revalidate.is_zero()
}

fn rests(policy: &Policy) -> bool {
    !policy.cool_down.is_zero()
}

#[rustfmt::skip] // one row per departure
static ROWS: &[Row] = &[
    row("RFC 9111 5.2.2.5", ByPolicy("override", overrides), Departs, "`no-store` of a response gives way: it is stored and shared"),
    row("RFC 9111 5.2.2.7", ByPolicy("override", overrides), Departs, "`private` gives way: the response is stored and shared"),
    row("RFC 9111 5.2.2.4", ByPolicy("override", overrides), Departs, "`no-cache` of a response gives way: it is reused without asking"),
    row("RFC 9111 5.2.2.2", ByPolicy("override", overrides), Departs, "`must-revalidate` gives way: the response is used once stale"),
    row("RFC 9111 5.2.2.8", ByPolicy("override", overrides), Departs, "`proxy-revalidate`, also as `s-maxage` implies it (5.2.2.10), gives way: the response is used once stale"),
    row("RFC 9111 4.2.1", ByPolicy("fresh", |policy| policy.override_origin && policy.fresh.is_some()), Departs, "the policy's `fresh` stands in for every lifetime that the origin names, also for a shorter one"),
    row("RFC 9111 5.2.1.5", ByPolicy("override", overrides), Departs, "`no-store` of a request gives way: the answer to it is stored"),
    row("RFC 5861 3, 4", ByPolicy("override", overrides), Departs, "the origin's `stale-while-revalidate` and `stale-if-error` give way to the policy's windows, also shorter ones"),
    row("RFC 9111 3.1", ByPolicy("override", overrides), Departs, "a stored response loses its `Set-Cookie`, and is shared without it"),
    row("RFC 9111 4.2.1", ByPolicy("fresh_min", |policy| policy.fresh_min.is_some_and(|min| min > Duration::ZERO)), Departs, "a lifetime of the origin's that is shorter is made longer"),
    row("RFC 9111 4.2.1", ByPolicy("negative", |policy| policy.override_origin && policy.negative.iter().next().is_some()), Departs, "the policy's lifetimes of errors stand in for those that the origin names"),
    row("RFC 9111 3", ByPolicy("negative", keeps_other_errors), Departs, "errors are stored for which the origin names no lifetime and whose status lets nobody guess one (RFC 9110 15.1)"),
    row("RFC 9111 4.2.4", ByPolicy("stale_while_revalidate", has_window), Departs, "where the origin says nothing of it, a stale response is answered at once and refreshed behind, as if it had said `stale-while-revalidate` (RFC 5861 3)"),
    row("RFC 9111 4.2.4", ByPolicy("stale_after", serves_stale), Departs, "a stale response is answered while the upstream is only slow, not disconnected"),
    row("RFC 9111 4.2.4", ByPolicy("cool_down", rests), Departs, "for a moment after a failed refresh nobody asks: a stale response answers meanwhile"),
    row("RFC 9111 5.2.1", ByPolicy("cool_down", |policy| rests(policy) && policy.client_directives), Departs, "during that moment a client's `no-cache`, `max-age` and `min-fresh` are not obeyed"),
    row("RFC 9111 5.2.1", ByPolicy("client_directives", |policy| !policy.client_directives), Departs, "a client's own `Cache-Control` and `Pragma` are not obeyed"),
    row("RFC 9111 4.3.3", ByUpstream("failures", takes_client_errors_for_failures), Departs, "statuses below 500 count as failures, so that a stored response stands in for them, which is allowed of 5xx only"),
    row("RFC 9111 4.3.3", ByRoute("graphql", |route| route.graphql), Departs, "a GraphQL answer with `errors` counts as a failure whatever its status, so that a stored response stands in for it"),
    row("RFC 9110 9.3.3", ByRoute("cache_post", |route| route.cache_post), Departs, "a POST counts as safe and idempotent: its answer serves other POSTs with the same content, it is retried and invalidates nothing"),
    row("RFC 9111 2", ByRoute("key.query", |route| route.key.query != QueryKey::Whole), Departs, "targets that differ in parameters that do not count, or in their order, are one key (and one target for the upstream)"),
    row("RFC 9111 2", ByRoute("no_vary_search", |route| route.no_vary_search), Departs, "a stored answer answers other queries that its `No-Vary-Search` calls equivalent: one resource, several targets"),
    row("RFC 9111 4", ByRoute("sibling", |route| route.sibling.is_some()), Departs, "while the upstream fails, what is stored for the sibling's target answers where nothing is for the request's own; it says so, without validators and with `no-store`"),
    row("RFC 9111 4.2.4", ByRoute("drill_percent", |route| route.drill_percent > 0), Departs, "a share of stale responses is answered although the upstream could be asked"),
    row("RFC 9111 3.5", Always, Stricter, "an answer to an anonymous request serves one with `Authorization` only where it says `public`, `must-revalidate` or `s-maxage`, or where the key holds the field"),
    row("RFC 9111 7.3", ByPolicy("share_set_cookie", |policy| !policy.share_set_cookie && !policy.override_origin), Stricter, "a response with `Set-Cookie` is stored only where it says `public` or `s-maxage`"),
    row("RFC 9111 3", Always, Stricter, "where nobody names a lifetime, the answer to a request with a `Cookie` that the key does not hold is not stored"),
    row("RFC 9111 4.4", Always, Stricter, "an unsafe request that ended without an answer may have been carried out: what is stored for its target is asked about before it is used, and stays the last known good answer"),
    row("RFC 9111 5.2.2.4, 5.2.2.7", Always, Stricter, "`no-cache` and `private` that name fields count as those that name none"),
    row("RFC 9111 4.2.2", ByPolicy("heuristic_percent", |policy| policy.heuristic_percent == 0), Stricter, "no lifetime is guessed: what has none is asked about on every use"),
    row("RFC 9111 3", ByPolicy("negative_max", |policy| policy.negative_max.is_zero()), Stricter, "an answer that counts as a failure is not stored, whatever lifetime the origin names"),
];

impl Row {
    fn departure(&self, setting: Option<Setting>) -> Departure {
        Departure {
            section: self.section.to_owned(),
            what: self.what.to_owned(),
            kind: self.kind,
            setting,
        }
    }
}

/// What a policy does other than the RFCs say.
pub fn departures(policy: &Policy) -> Vec<Departure> {
    let rows = ROWS.iter().filter_map(|row| match row.key {
        ByPolicy(key, applies) => {
            applies(policy).then(|| row.departure(Some(policy_setting(policy, key))))
        }
        _ => None,
    });
    rows.collect()
}

/// The same of a whole route: its policy's, those of its own keys, and those that are always so.
pub fn departures_of_route(route: &RouteConfig) -> Vec<Departure> {
    let rows = ROWS.iter().filter_map(|row| {
        let setting = match row.key {
            ByPolicy(key, applies) => {
                applies(&route.policy).then(|| Some(policy_setting(&route.policy, key)))
            }
            ByRoute(key, applies) => applies(route).then(|| Some(route_setting(route, key))),
            ByUpstream(key, applies) => applies(route).then(|| Some(upstream_setting(route, key))),
            Always => Some(None),
        };
        Some(row.departure(setting?))
    });
    rows.collect()
}

/// A key of a policy, and where it stands.
pub(in crate::cache) fn policy_setting(policy: &Policy, key: &str) -> Setting {
    Setting {
        key: format!("policy.{}.{key}", policy.name),
        place: policy.written.key(key),
    }
}

/// A key of a route, and where it stands.
pub(in crate::cache) fn route_setting(route: &RouteConfig, key: &str) -> Setting {
    Setting {
        key: format!("route.{}.{key}", route.name),
        place: route.written.key(key),
    }
}

fn upstream_setting(route: &RouteConfig, key: &str) -> Setting {
    Setting {
        key: format!("upstream.{}.{key}", route.upstream.name),
        place: route.upstream.written.key(key),
    }
}

const INTRODUCTION: &str = "\
# Where larder leaves the RFCs

Generated from the table that `larder explain` and `larder check` read (`src/cache/explain/departures.rs`); a test keeps
this file and that table equal. `larder explain URL` lists what holds for the route of a URL, with the line of the config
that says so.

With the policy `override = false`, `stale_while_revalidate = \"0s\"`, `max_stale = \"0s\"` and `cool_down = \"0s\"`, on an
upstream whose `failures` are `[\"5xx\"]`, nothing of the first table is left: vendors' headers mean what they say.
";

const STRICTER: &str = "
## Stricter than it has to be

Allowed by the sections named; less is reused than could be.
";

const NONE: &str = "
## What looks like a departure and is none

| section | key | what |
| --- | --- | --- |
| RFC 9111 4.2.4 | `policy.max_stale` | a stale response stands in for an upstream that cannot be reached or answers 5xx (4.3.3), unless the origin forbids it |
| RFC 9111 4.2.2 | `policy.fresh` without `override` | a lifetime where the origin names none, for statuses that let one be guessed |
| RFC 9111 4.2.2 | `policy.heuristic_percent` | a guess from `Last-Modified` |
| RFC 9111 4.2 | `policy.fresh_max`, `policy.spread_percent`, `policy.early` | a response may be asked about before it has to be |
";

/// `docs/departures.md`, whole.
pub fn markdown() -> String {
    let mut out = String::from(INTRODUCTION);
    out.push_str("\n## Departures\n");
    write_table(&mut out, Departs);
    out.push_str(STRICTER);
    write_table(&mut out, Stricter);
    out.push_str(NONE);
    out
}

fn write_table(out: &mut String, kind: DepartureKind) {
    out.push_str("\n| section | key | what |\n| --- | --- | --- |\n");
    for row in ROWS.iter().filter(|row| row.kind == kind) {
        let key = match row.key {
            ByPolicy(key, _) => format!("`policy.{key}`"),
            ByRoute(key, _) => format!("`route.{key}`"),
            ByUpstream(key, _) => format!("`upstream.{key}`"),
            Always => "always".to_owned(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| {} | {key} | {} |", row.section, row.what);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{self, Config, FixedEnv};

    fn config(upstream: &str, policy: &str, route: &str) -> Config {
        let text = format!(
            "[upstream.v]\nendpoints = [\"http://127.0.0.1:1\"]\n{upstream}\n[policy.p]\n{policy}\n[[route]]\npath = \"/\"\nupstream = \"v\"\npolicy = \"p\"\n{route}"
        );
        config::parse(&text, Path::new("t.toml"), &FixedEnv::default()).unwrap()
    }

    const STRICT: &str = "stale_while_revalidate = \"0s\"\nmax_stale = \"0s\"\ncool_down = \"0s\"";

    /// Departures proper, as `section by key`.
    fn departs(upstream: &str, policy: &str, route: &str) -> Vec<String> {
        let config = config(upstream, policy, route);
        let all = departures_of_route(&config.routes[0]);
        let proper = all.into_iter().filter(|one| one.kind == Departs);
        proper
            .map(|one| {
                let key = one.setting.unwrap().key;
                format!("{} by {key}", one.section)
            })
            .collect()
    }

    #[test]
    fn each_key_brings_its_own_departures() {
        let fails = "failures = [\"5xx\"]";
        for (name, upstream, policy, route, want) in [
            ("nothing that departs", fails, "", "", vec![]),
            (
                "a longer life than the origin says",
                fails,
                "fresh_min = \"1s\"",
                "",
                vec!["RFC 9111 4.2.1 by policy.p.fresh_min"],
            ),
            (
                "a lifetime where the origin is silent is a guess",
                fails,
                "fresh = \"1s\"",
                "",
                vec![],
            ),
            (
                "clients that are not obeyed",
                fails,
                "client_directives = false",
                "",
                vec!["RFC 9111 5.2.1 by policy.p.client_directives"],
            ),
            (
                "errors that nobody may guess a lifetime for",
                fails,
                "negative = { \"403\" = \"1s\" }",
                "",
                vec!["RFC 9111 3 by policy.p.negative"],
            ),
            (
                "errors that anybody may",
                fails,
                "negative = { \"404\" = \"1s\" }",
                "",
                vec![],
            ),
            (
                "a vendor that is left alone when it says 429",
                "",
                "",
                "",
                vec!["RFC 9111 4.3.3 by upstream.v.failures"],
            ),
            (
                "POST that reads",
                fails,
                "",
                "cache_post = true",
                vec!["RFC 9110 9.3.3 by route./.cache_post"],
            ),
            (
                "parameters that do not count",
                fails,
                "",
                "key = { query = [] }",
                vec!["RFC 9111 2 by route./.key.query"],
            ),
        ] {
            let got = departs(upstream, &format!("{STRICT}\n{policy}"), route);
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn an_overriding_policy_shows_every_directive_that_gives_way_with_its_line() {
        let config = config("", "fresh = \"1s\"\noverride = true", "");
        let all = departures(&config.routes[0].policy);
        for section in [
            "RFC 9111 5.2.2.5",
            "RFC 9111 5.2.2.7",
            "RFC 9111 5.2.2.4",
            "RFC 9111 5.2.2.2",
            "RFC 9111 5.2.2.8",
            "RFC 9111 5.2.1.5",
            "RFC 5861 3, 4",
            "RFC 9111 3.1",
        ] {
            let found = all.iter().find(|one| one.section == section);
            let setting = found.and_then(|one| one.setting.clone()).unwrap();
            assert_eq!(setting.key, "policy.p.override", "{section}");
            assert_eq!(setting.place.as_deref(), Some("t.toml:6"), "{section}");
        }
        let fresh = all.iter().find(|one| one.section == "RFC 9111 4.2.1");
        let setting = fresh.and_then(|one| one.setting.clone()).unwrap();
        assert_eq!(setting.place.as_deref(), Some("t.toml:5"));
        let window = all.iter().find(|one| one.what.contains("refreshed behind"));
        assert_eq!(
            window.unwrap().setting.as_ref().unwrap().place,
            None,
            "a default has no line"
        );
    }
}
