//! The ladder: what a client gets where an upstream fails, step by step, and what it never gets.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use std::time::Duration;

use http::Method;
use http_body_util::Full;
use larder::{clock::Clock, stub::Fault};
use support::{Asked, Binary, NOW, Origin, Play, Proxy, Reply, Setup, request};

const FRESH: (&str, &str) = ("cache-control", "max-age=10");
const DOCUMENT: &str = r#"{"sku":"{sku}","price":null}"#;

/// `/prices` are stored; `/offers` fall back on them, `/bare` on nothing.
fn ladder() -> String {
    r#"
        [upstream.lab]
        endpoints = ["{vendor}"]
        retry = { retries_max = 0, retries_max_stale = 0 }
        breaker = { enabled = false }
        [policy.p]
        spread_percent = 0
        early = false
        stale_while_revalidate = "0s"
        cool_down = "0s"
        [[route]]
        name = "prices"
        path = "/prices/{sku}"
        upstream = "lab"
        policy = "p"
        [[route]]
        name = "offers"
        path = "/offers/{sku}"
        upstream = "lab"
        policy = "p"
        cache_post = true
        sibling = "/prices/{sku}"
        fallback = { body = "price.json" }
        [[route]]
        name = "bare"
        path = "/bare/{sku}"
        upstream = "lab"
        policy = "p"
    "#
    .to_owned()
}

fn answered(asked: &Asked) -> Play {
    Play::answer(
        200,
        &[FRESH, ("etag", "\"1\"")],
        format!("{} {}", asked.method, asked.target),
    )
}

async fn ask(proxy: &Proxy, method: &str, path: &str) -> Reply {
    let method: Method = method.parse().unwrap();
    let reads_content = !matches!(method, Method::GET | Method::HEAD);
    let mut asked = request(method, path, &[("content-type", "application/json")]);
    if reads_content {
        *asked.body_mut() = Full::from("{}");
    }
    proxy.client.send(asked).await
}

fn detail(reply: &Reply) -> &str {
    reply.cache("detail").unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_of_the_ladder_answers_in_its_turn_for_every_method_that_reads() {
    for method in ["GET", "HEAD", "QUERY", "POST"] {
        let clock = Clock::manual(NOW);
        let origin = Origin::start(answered).await;
        let setup = Setup::before(&origin, &ladder()).clock(&clock);
        let proxy = setup.file("price.json", DOCUMENT).start().await;
        let body = |reply: &Reply, text: &str| match method {
            "HEAD" => {
                assert_eq!(reply.field("content-length"), text.len().to_string());
                assert!(reply.body.is_empty());
            }
            _ => assert_eq!(reply.text(), text, "{method}"),
        };
        // A HEAD renews and stores nothing of its own.
        let warming = if method == "HEAD" { "GET" } else { method };
        ask(&proxy, warming, "/offers/own").await;
        proxy.get("/prices/own").await;
        proxy.get("/prices/other").await;
        proxy.advance(Duration::from_secs(20));
        origin.now(|_| Play::answer(503, &[], "the vendor's own error"));

        let own = ask(&proxy, method, "/offers/own").await;
        assert_eq!(detail(&own), "stale-if-error", "{method}: {own:?}");
        body(&own, &format!("{warming} /offers/own"));

        let sibling = ask(&proxy, method, "/offers/other").await;
        assert_eq!(
            (sibling.status.as_u16(), detail(&sibling)),
            (200, "sibling"),
            "{method}"
        );
        assert!(sibling.is_stale(), "{sibling:?}");
        assert_eq!(sibling.field("age"), "20");
        body(&sibling, "GET /prices/other");
        let status = sibling.field("proxy-status");
        assert!(status.contains("received-status=503"), "{status}");

        let fallback = ask(&proxy, method, "/offers/third").await;
        assert_eq!(
            (fallback.status.as_u16(), detail(&fallback)),
            (200, "fallback")
        );
        body(&fallback, r#"{"sku":"third","price":null}"#);

        // On a route that has neither.
        if method != "POST" {
            let error = ask(&proxy, method, "/bare/third").await;
            assert_eq!((error.status.as_u16(), detail(&error)), (503, "status"));
            if method != "HEAD" {
                assert_eq!(error.text(), "the vendor's own error", "{method}");
            }
            origin.is_down();
            let problem = ask(&proxy, method, "/bare/third").await;
            assert_eq!(problem.status, 502, "{method}");
            assert_eq!(problem.field("content-type"), "application/problem+json");
        }
        let outcomes = proxy.outcomes("offers").await;
        assert_eq!(outcomes["sibling"], 1, "{method}: {outcomes:?}");
        assert_eq!(outcomes["fallback"], 1, "{method}: {outcomes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_changes_something_is_never_answered_by_something_stored() {
    let origin = Origin::start(answered).await;
    let setup = Setup::before(&origin, &ladder()).file("price.json", DOCUMENT);
    let proxy = setup.start().await;
    proxy.get("/prices/1").await;
    origin.is_down();
    for method in ["PUT", "DELETE", "PATCH"] {
        let reply = ask(&proxy, method, "/offers/1").await;
        assert_eq!(reply.status, 502, "{method}: {reply:?}");
        assert_eq!(detail(&reply), "connection_terminated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_a_stranger_wrote_stays_a_value_in_the_document() {
    let origin = Origin::start(|_| Play::refuse()).await;
    let setup = Setup::before(&origin, &ladder());
    let proxy = setup.file("price.json", DOCUMENT).start().await;
    for (segment, want) in [
        ("%22%2C%22price%22%3A0", "\",\"price\":0"),
        ("%3C%2Fscript%3E", "</script>"),
        ("%7Bsku%7D", "{sku}"),
        ("a%5C", "a\\"),
        ("%FF%0A", "\u{fffd}\n"),
    ] {
        let path = format!("/offers/{segment}");
        let reply = proxy.get(&path).await;
        assert_eq!(detail(&reply), "fallback", "{reply:?}");
        assert_eq!(
            reply.json(),
            serde_json::json!({ "sku": want, "price": null })
        );
        assert!(!reply.text().contains('<'), "{reply:?}");
        let length = reply.body.len().to_string();
        assert_eq!(reply.field("content-length"), length);
        let head = ask(&proxy, "HEAD", &path).await;
        assert_eq!(head.field("content-length"), length, "{segment}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sibling_is_told_apart_as_a_lookup_of_its_own_would_be() {
    const SHARED: &[(&str, &str)] = &[FRESH];
    const PUBLIC: &[(&str, &str)] = &[("cache-control", "public, max-age=10")];
    const PRIVATE: &[(&str, &str)] = &[("cache-control", "private, max-age=10")];
    const NO_STORE: &[(&str, &str)] = &[("cache-control", "no-store")];
    const BY_LANGUAGE: &[(&str, &str)] = &[FRESH, ("vary", "accept-language")];
    const STRICT: &[(&str, &str)] = &[("cache-control", "max-age=10, must-revalidate")];
    const NOBODY: &[(&str, &str)] = &[];
    const KEY: &[(&str, &str)] = &[("authorization", "Bearer a")];
    const DE: &[(&str, &str)] = &[("accept-language", "de")];
    const EN: &[(&str, &str)] = &[("accept-language", "en")];
    for (name, stored, by, later, asking, want) in [
        ("to everybody", SHARED, NOBODY, 0, NOBODY, true),
        ("not to credentials", SHARED, NOBODY, 0, KEY, false),
        (
            "to credentials, where the vendor says so",
            PUBLIC,
            NOBODY,
            0,
            KEY,
            true,
        ),
        ("not what credentials got", SHARED, KEY, 0, NOBODY, false),
        ("not what is private", PRIVATE, NOBODY, 0, NOBODY, false),
        ("not what is not stored", NO_STORE, NOBODY, 0, NOBODY, false),
        ("the variant", BY_LANGUAGE, DE, 0, DE, true),
        ("not another variant", BY_LANGUAGE, DE, 0, EN, false),
        (
            "stale where that is allowed",
            SHARED,
            NOBODY,
            60,
            NOBODY,
            true,
        ),
        ("not where it is not", STRICT, NOBODY, 60, NOBODY, false),
        ("not past its use", SHARED, NOBODY, 25 * 3600, NOBODY, false),
    ] {
        let clock = Clock::manual(NOW);
        let origin = Origin::start(move |_| Play::answer(200, stored, "a price")).await;
        let setup = Setup::before(&origin, &ladder()).clock(&clock);
        let proxy = setup.file("price.json", DOCUMENT).start().await;
        proxy.client.get_with("/prices/1", by).await;
        origin.is_down();
        proxy.advance(Duration::from_secs(later));
        let reply = proxy.client.get_with("/offers/1", asking).await;
        let want = if want { "sibling" } else { "fallback" };
        assert_eq!(detail(&reply), want, "{name}: {reply:?}");
        let asked = origin.asked();
        let for_prices = asked.iter().filter(|asked| asked.target == "/prices/1");
        assert_eq!(
            for_prices.count(),
            1,
            "{name}: nobody is asked for a sibling"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sibling_is_no_other_hosts_and_no_error_and_nothing_that_was_purged() {
    let clock = Clock::manual(NOW);
    let origin = Origin::start(|asked| match asked.target.as_str() {
        "/prices/gone" => Play::answer(404, &[FRESH], "no such thing"),
        _ => Play::answer(200, &[FRESH], "a price"),
    })
    .await;
    let toml = ladder().replace(
        "path = \"/prices",
        "key = { host = true }\n        path = \"/prices",
    );
    let setup = Setup::before(&origin, &toml).clock(&clock);
    let proxy = setup.file("price.json", DOCUMENT).start().await;
    const A: &[(&str, &str)] = &[("host", "a.example")];
    const B: &[(&str, &str)] = &[("host", "b.example")];
    for sku in ["1", "gone", "purged"] {
        proxy.client.get_with(&format!("/prices/{sku}"), A).await;
    }
    let purge = proxy
        .admin_client()
        .post(
            "/api/v1/purge",
            r#"{"url":"http://a.example/prices/purged","mode":"hard"}"#,
        )
        .await;
    assert!(purge.status.is_success(), "{purge:?}");
    origin.is_down();
    for (sku, host, want) in [
        ("1", A, "sibling"),
        ("1", B, "fallback"),
        ("gone", A, "fallback"),
        ("purged", A, "fallback"),
    ] {
        let reply = proxy.client.get_with(&format!("/offers/{sku}"), host).await;
        assert_eq!(detail(&reply), want, "{sku}: {reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sibling_says_what_it_is_and_is_kept_by_nobody() {
    let origin = Origin::start(|asked| {
        let fields = [
            FRESH,
            ("etag", "\"1\""),
            ("last-modified", "Tue, 01 Sep 2026 00:00:00 GMT"),
            ("expires", "Tue, 01 Sep 2037 00:00:00 GMT"),
            ("cdn-cache-control", "max-age=600"),
            ("accept-ranges", "bytes"),
        ];
        Play::answer(200, &fields, format!("for {}", asked.target))
    })
    .await;
    let setup = Setup::before(&origin, &ladder()).file("price.json", DOCUMENT);
    let proxy = setup.start().await;
    proxy.get("/prices/1").await;
    origin.is_down();
    for (name, fields) in [
        ("plain", ("accept", "*/*")),
        (
            "an entity tag of something else",
            ("if-none-match", "\"1\""),
        ),
        ("any entity tag", ("if-none-match", "*")),
        (
            "a date",
            ("if-modified-since", "Wed, 02 Sep 2026 00:00:00 GMT"),
        ),
        ("a range", ("range", "bytes=0-2")),
    ] {
        let reply = proxy.client.get_with("/offers/1", &[fields]).await;
        assert_eq!(
            (reply.status.as_u16(), reply.text()),
            (200, "for /prices/1"),
            "{name}"
        );
        assert_eq!(detail(&reply), "sibling", "{name}");
        assert_eq!(reply.field("cache-control"), "no-store", "{name}");
        assert_eq!(reply.field("content-location"), "/prices/1", "{name}");
        for absent in [
            "etag",
            "last-modified",
            "expires",
            "cdn-cache-control",
            "accept-ranges",
        ] {
            assert_eq!(reply.field(absent), "", "{name}: {absent}");
        }
    }
    origin.now(answered);
    let own = proxy.get("/offers/1").await;
    assert_eq!(
        (own.text(), own.cache("fwd")),
        ("GET /offers/1", Some("uri-miss"))
    );
    let sibling = proxy.get("/prices/1").await;
    assert!(
        sibling.is_hit() && sibling.text() == "for /prices/1",
        "untouched: {sibling:?}"
    );
    assert_eq!(sibling.field("etag"), "\"1\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_in_an_outage_a_sibling_still_answers() {
    let vendor = support::vendor(&Clock::System).await;
    let folder = tempfile::tempdir().unwrap();
    let toml = format!(
        r#"
        server.listen = "127.0.0.1:0"
        admin.listen = "127.0.0.1:0"
        store = {{ path = "data", flush_every = "50ms", read_timeout = "1s" }}
        [upstream.vendor]
        endpoints = ["{}"]
        [[route]]
        path = "/prices/{{sku}}"
        upstream = "vendor"
        sibling = "/prices/{{sku}}"
        "#,
        vendor.url("")
    );
    let first = Binary::serve(folder.path(), &toml).await;
    let warmed = first.client.get("/prices/sku-1").await;
    first.durable(1.0).await;
    first.kill().await;
    vendor.break_path("*", Fault::Refuse).unwrap();
    let second = Binary::serve(folder.path(), &toml).await;
    let reply = second.client.get("/prices/sku-1?currency=EUR").await;
    assert_eq!(
        (reply.status.as_u16(), detail(&reply)),
        (200, "sibling"),
        "{reply:?}"
    );
    assert_eq!(reply.body, warmed.body);
    let unknown = second.client.get("/prices/sku-2?currency=EUR").await;
    assert!(unknown.status.is_server_error(), "{unknown:?}");
}

// --- Drills ---

fn drilled(percent: u32, window: &str) -> String {
    support::one_route(
        &format!(
            "stale_while_revalidate = \"{window}\"\nstale_after = \"10s\"\nmax_stale = \"100s\""
        ),
        &format!("drill_percent = {percent}"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_takes_its_share_of_those_who_would_ask_and_nobody_else() {
    const KEYS: usize = 400;
    const PERCENT: usize = 25;
    // Behind the answer, in the one case; before it, in the other.
    for window in ["60s", "0s"] {
        let clock = Clock::manual(NOW);
        let origin = Origin::start(|_| Play::answer(200, &[FRESH], "a price")).await;
        let setup = Setup::before(&origin, &drilled(PERCENT as u32, window)).clock(&clock);
        let proxy = setup.start().await;
        for nth in 0..KEYS {
            let path = format!("/{nth}");
            assert_eq!(proxy.get(&path).await.cache("fwd"), Some("uri-miss"));
            assert!(proxy.get(&path).await.is_hit(), "fresh: no drill");
        }
        proxy.advance(Duration::from_secs(20));
        let mut drills = 0;
        for nth in 0..KEYS {
            let reply = proxy.get(&format!("/{nth}")).await;
            assert_eq!((reply.status.as_u16(), reply.text()), (200, "a price"));
            if detail(&reply) == "drill" {
                drills += 1;
                assert_eq!(reply.cache("fwd"), Some("stale"));
                assert!(reply.is_stale());
                assert_eq!(
                    reply.field("proxy-status"),
                    "larder; error=destination_unavailable; details=\"drill; attempts=0; sent=nothing\""
                );
            } else {
                assert_eq!(reply.field("proxy-status"), "", "{reply:?}");
            }
        }
        proxy.settled().await;
        // Six standard deviations to both sides.
        let bounds = 100 - 52..=100 + 52;
        assert!(bounds.contains(&drills), "{window}: {drills} of {KEYS}");
        assert_eq!(
            origin.asked_total(),
            2 * KEYS - drills,
            "{window}: the others asked"
        );
        assert_eq!(proxy.outcomes("all").await["stale_if_error"], drills as u64);
        let counted = format!(
            "larder_fetch_failures_total{{route=\"all\",upstream=\"lab\",cause=\"drill\",attempts=\"0\",sent=\"nothing\"}} {drills}"
        );
        let metrics = proxy.metrics().await;
        assert!(metrics.lines().any(|line| line == counted), "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_of_all_requests_costs_nobody_an_answer() {
    let clock = Clock::manual(NOW);
    let origin = Origin::start(|asked| Play::answer(200, &[FRESH], format!("{}", asked.nth))).await;
    let setup = Setup::before(&origin, &drilled(100, "0s")).clock(&clock);
    let proxy = setup.start().await;
    let first = proxy.get("/a").await;
    assert_eq!(
        (first.text(), detail(&first)),
        ("1", ""),
        "nothing stored: no drill"
    );
    // Fresh for 10 s and of use for another 100: a drill for 50 of them.
    for (age, want, kind) in [
        (5, "1", ""),
        (11, "1", "drill"),
        (60, "1", "drill"),
        (61, "2", ""),
    ] {
        clock.set(NOW.after(Duration::from_secs(age)));
        let reply = proxy.get("/a").await;
        assert_eq!(
            (reply.text(), detail(&reply)),
            (want, kind),
            "{age}: {reply:?}"
        );
    }
    // No rest is left behind, and what cannot be used without asking is asked about.
    origin.now(|_| {
        Play::answer(
            200,
            &[("cache-control", "max-age=10, must-revalidate")],
            "strict",
        )
    });
    proxy.get("/b").await;
    proxy.advance(Duration::from_secs(20));
    assert_eq!(detail(&proxy.get("/b").await), "");
}
