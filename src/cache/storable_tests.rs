//! Tests of what may be stored: a row per rule of RFC 9111 3.

use std::{path::Path, sync::Arc};

use http::{HeaderName, HeaderValue};

use super::*;
use crate::{
    clock::Timestamp,
    config::{self, FixedEnv},
};

fn route(policy: &str, rest: &str) -> Arc<RouteConfig> {
    let text = format!(
        "[upstream.v]\nendpoints = [\"http://127.0.0.1:1\"]\n[policy.p]\n{policy}\n[[route]]\npath = \"/x\"\nupstream = \"v\"\npolicy = \"p\"\n{rest}"
    );
    let config = config::parse(&text, Path::new("t.toml"), &FixedEnv::default()).unwrap();
    Arc::clone(&config.routes[0])
}

fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let line = |&(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    };
    lines.iter().map(line).collect()
}

#[test]
fn what_may_be_stored_follows_rfc9111_3() {
    const FRESH: (&str, &str) = ("cache-control", "max-age=60");
    const AUTHORIZED: (&str, &str) = ("authorization", "Bearer a");
    let plain = route("", "");
    let filled = route("fresh = \"30s\"", "");
    let overriding = route("fresh = \"30s\"\noverride = true", "");
    let keyed = route("", "key.headers = [\"Authorization\"]");
    let sharing = route("share_set_cookie = true", "");
    let negative = route("negative = { \"403\" = \"5s\", \"5xx\" = \"2s\" }", "");
    let trusting = route("negative_max = \"1h\"", "");
    let guessing = route("heuristic_percent = 10", "");
    for (name, route, request, status, response, want) in [
        ("a lifetime", &plain, vec![], 200, vec![FRESH], Ok(())),
        (
            "silence, a status that may be kept without",
            &plain,
            vec![],
            200,
            vec![],
            Ok(()),
        ),
        (
            "silence, a status that may not",
            &plain,
            vec![],
            302,
            vec![],
            Err(NotStored::NoLifetime),
        ),
        (
            "such a status with a lifetime of its own",
            &plain,
            vec![],
            302,
            vec![FRESH],
            Ok(()),
        ),
        (
            "a policy's lifetime is for answers, not for refusals",
            &filled,
            vec![],
            403,
            vec![],
            Err(NotStored::NoLifetime),
        ),
        (
            "nor where it overrides",
            &overriding,
            vec![],
            401,
            vec![],
            Err(NotStored::NoLifetime),
        ),
        (
            "an error that the policy speaks of",
            &negative,
            vec![],
            403,
            vec![],
            Ok(()),
        ),
        (
            "an error that it does not",
            &negative,
            vec![],
            402,
            vec![],
            Err(NotStored::NoLifetime),
        ),
        (
            "a failure that it speaks of",
            &negative,
            vec![],
            503,
            vec![],
            Ok(()),
        ),
        (
            "a failure with a lifetime that nobody trusts",
            &plain,
            vec![],
            503,
            vec![FRESH],
            Err(NotStored::NoLifetime),
        ),
        (
            "a failure with a lifetime that the policy trusts",
            &trusting,
            vec![],
            503,
            vec![FRESH],
            Ok(()),
        ),
        (
            "a failure without one",
            &trusting,
            vec![],
            503,
            vec![],
            Err(NotStored::NoLifetime),
        ),
        (
            "a part nobody asked for",
            &plain,
            vec![],
            206,
            vec![FRESH],
            Err(NotStored::Status),
        ),
        (
            "a part that was asked for",
            &plain,
            vec![("range", "bytes=0-1")],
            206,
            vec![FRESH],
            Ok(()),
        ),
        (
            "a range that is not there, for the one who asked for it",
            &plain,
            vec![("range", "bytes=9999-")],
            416,
            vec![FRESH],
            Err(NotStored::Status),
        ),
        (
            "a condition that does not hold, whatever the policy",
            &overriding,
            vec![],
            412,
            vec![("cache-control", "public, max-age=60")],
            Err(NotStored::Status),
        ),
        (
            "must-understand, and we do not",
            &plain,
            vec![],
            299,
            vec![("cache-control", "must-understand, max-age=60")],
            Err(NotStored::Status),
        ),
        (
            "the same beside no-store",
            &plain,
            vec![],
            299,
            vec![("cache-control", "must-understand, no-store, max-age=60")],
            Err(NotStored::Status),
        ),
        (
            "a targeted field speaks instead of Cache-Control",
            &plain,
            vec![],
            200,
            vec![
                ("cache-control", "no-store"),
                ("cdn-cache-control", "max-age=60"),
            ],
            Ok(()),
        ),
        (
            "and forbids instead of it",
            &plain,
            vec![],
            200,
            vec![FRESH, ("cdn-cache-control", "private")],
            Err(NotStored::Private),
        ),
        (
            "Set-Cookie, shared by policy",
            &sharing,
            vec![],
            200,
            vec![FRESH, ("set-cookie", "a=b")],
            Ok(()),
        ),
        (
            "Set-Cookie, shared by policy, silence",
            &sharing,
            vec![],
            200,
            vec![("set-cookie", "a=b")],
            Err(NotStored::SetCookie),
        ),
        (
            "Cookie, a guess",
            &guessing,
            vec![("cookie", "a=b")],
            200,
            vec![("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")],
            Err(NotStored::Cookie),
        ),
        (
            "no-store",
            &plain,
            vec![],
            200,
            vec![("cache-control", "no-store, max-age=60")],
            Err(NotStored::NoStore),
        ),
        (
            "no-store beside must-understand, status understood",
            &plain,
            vec![],
            200,
            vec![("cache-control", "must-understand, no-store, max-age=60")],
            Ok(()),
        ),
        (
            "no-store gives way to an override",
            &overriding,
            vec![],
            200,
            vec![("cache-control", "no-store")],
            Ok(()),
        ),
        (
            "private",
            &plain,
            vec![],
            200,
            vec![("cache-control", "private, max-age=60")],
            Err(NotStored::Private),
        ),
        (
            "private gives way to an override",
            &overriding,
            vec![],
            200,
            vec![("cache-control", "private")],
            Ok(()),
        ),
        (
            "the request says no-store",
            &plain,
            vec![("cache-control", "no-store")],
            200,
            vec![FRESH],
            Err(NotStored::RequestNoStore),
        ),
        (
            "Authorization",
            &plain,
            vec![AUTHORIZED],
            200,
            vec![FRESH],
            Err(NotStored::Authorization),
        ),
        (
            "Authorization is not overridden",
            &overriding,
            vec![AUTHORIZED],
            200,
            vec![FRESH],
            Err(NotStored::Authorization),
        ),
        (
            "Authorization, public",
            &plain,
            vec![AUTHORIZED],
            200,
            vec![("cache-control", "public, max-age=60")],
            Ok(()),
        ),
        (
            "Authorization, in the key",
            &keyed,
            vec![AUTHORIZED],
            200,
            vec![FRESH],
            Ok(()),
        ),
        (
            "Set-Cookie",
            &plain,
            vec![],
            200,
            vec![FRESH, ("set-cookie", "a=b")],
            Err(NotStored::SetCookie),
        ),
        (
            "Set-Cookie, public",
            &plain,
            vec![],
            200,
            vec![
                ("cache-control", "public, max-age=60"),
                ("set-cookie", "a=b"),
            ],
            Ok(()),
        ),
        (
            "Cookie, a lifetime",
            &plain,
            vec![("cookie", "a=b")],
            200,
            vec![FRESH],
            Ok(()),
        ),
        (
            "Cookie, silence",
            &plain,
            vec![("cookie", "a=b")],
            200,
            vec![],
            Err(NotStored::Cookie),
        ),
        (
            "Vary: *",
            &plain,
            vec![],
            200,
            vec![FRESH, ("vary", "*")],
            Err(NotStored::VaryAnything),
        ),
        (
            "an endless stream",
            &plain,
            vec![],
            200,
            vec![FRESH, ("content-type", "text/event-stream; charset=utf-8")],
            Err(NotStored::Stream),
        ),
    ] {
        let (request, response) = (fields(&request), fields(&response));
        let status = StatusCode::from_u16(status).unwrap();
        let facts = Facts {
            failing: route.upstream.failures.contains(status),
            ..Facts::new(status, &response, Timestamp::EPOCH, Timestamp::EPOCH)
        };
        let ranged = request.contains_key(header::RANGE);
        let got = storable(route, &request, ranged, &response, &facts);
        assert_eq!(got.map(|_vary| ()), want, "{name}");
    }
}

#[test]
fn an_encoded_body_varies_by_what_the_client_can_read_said_or_not() {
    let response = fields(&[
        ("cache-control", "max-age=60"),
        ("content-encoding", "gzip"),
    ]);
    let time = Timestamp::EPOCH;
    let facts = Facts::new(StatusCode::OK, &response, time, time);
    let got = storable(&route("", ""), &HeaderMap::new(), false, &response, &facts);
    assert_eq!(got, Ok(Vary::Fields(vec![header::ACCEPT_ENCODING])));
}
