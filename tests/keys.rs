//! Keys over real sockets: what a route counts tells answers apart, and what it does not count never reaches the vendor
//! with a request that others may share.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use std::time::Duration;

use http::Method;
use larder::clock::Clock;
use support::{Asked, NOW, Origin, Play, Proxy, Reply, Setup, one_route, request};

/// Says what it was asked, and that everybody may have it for an hour.
async fn echo() -> Origin {
    Origin::start(|asked| {
        let seen = format!("{} [{}]", asked.target, asked.field("cookie"));
        Play::answer(200, &[("cache-control", "max-age=3600")], seen)
    })
    .await
}

async fn scene(key: &str) -> (Origin, Proxy) {
    let origin = echo().await;
    let toml = one_route("", &format!("key = {{ {key} }}"));
    let proxy = Setup::before(&origin, &toml).start().await;
    (origin, proxy)
}

async fn with_cookies(proxy: &Proxy, path: &str, lines: &[&str]) -> Reply {
    let fields: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
    proxy.client.get_with(path, &fields).await
}

fn targets(origin: &Origin) -> Vec<String> {
    origin
        .asked()
        .into_iter()
        .map(|Asked { target, .. }| target)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_count_a_query_shares_and_sends_what_it_says() {
    for (key, first, shares, apart, sent) in [
        (
            "",
            "/a?b=%7e&a=1",
            &["/a?b=~&%61=1", "/a?b=%7E&a=1"][..],
            &["/a?a=1&b=~", "/a", "/a?", "/a?b=%7e&a=1&", "/a?b=%257e&a=1"][..],
            "/a?b=%7e&a=1",
        ),
        (
            "query = \"sorted\"",
            "/a?b=1&a=2&a=1",
            &["/a?a=2&b=1&a=1", "/a?a=2&&a=1&b=1"],
            &["/a?a=1&a=2&b=1"],
            "/a?a=2&a=1&b=1",
        ),
        (
            "query = [\"currency\"]",
            "/a?utm=1&%63urrency=EUR",
            &["/a?currency=EUR", "/a?currency=EUR&x"],
            &[
                "/a?currency=USD",
                "/a?currency=EUR&currency=USD",
                "/a?Currency=EUR",
            ],
            "/a?currency=EUR",
        ),
        (
            "query = { ignore = [\"utm_*\", \"fbclid\"] }",
            "/a?b=1&utm_source=x&a=2&f%62clid=1",
            &["/a?b=1&a=2", "/a?%75tm_x=1&b=1&a=2"],
            &["/a?a=2&b=1", "/a?b=1&a=2&utm=1"],
            "/a?b=1&a=2",
        ),
    ] {
        let (origin, proxy) = scene(key).await;
        let stored = proxy.get(first).await;
        for path in shares {
            let reply = proxy.get(path).await;
            assert!(
                reply.is_hit() && reply.body == stored.body,
                "{key}: {path}: {reply:?}"
            );
        }
        assert_eq!(targets(&origin), [sent], "{key}");
        for path in apart {
            assert!(!proxy.get(path).await.is_hit(), "{key}: {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_count_is_not_sent_where_nothing_is_stored_either() {
    let (origin, proxy) = scene("query = [\"a\"], cookies = [\"lang\"]").await;
    let fields = [("range", "bytes=0-1"), ("cookie", "session=1; lang=de")];
    proxy.client.get_with("/a?utm=1&a=1", &fields).await;
    let asked = &origin.asked()[0];
    assert_eq!(
        (&*asked.target, asked.field("cookie")),
        ("/a?a=1", "lang=de")
    );
    // A write goes as it came: nobody else gets its answer, and its session may hang on any cookie.
    proxy
        .client
        .send(request(Method::PUT, "/a?utm=1", &fields[1..]))
        .await;
    let asked = &origin.asked()[1];
    assert_eq!(
        (&*asked.target, asked.field("cookie")),
        ("/a?utm=1", "session=1; lang=de")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn chosen_cookies_tell_answers_apart_and_others_are_not_sent() {
    let (origin, proxy) = scene("cookies = [\"currency\", \"lang\"]").await;
    let euro = with_cookies(&proxy, "/a", &["session=1; currency=EUR", "lang=de"]).await;
    assert_eq!(euro.text(), "/a [currency=EUR; lang=de]");
    for lines in [
        &["lang=de; currency=EUR; session=2"][..],
        &["currency=EUR", "currency=USD; lang=de"],
    ] {
        let reply = with_cookies(&proxy, "/a", lines).await;
        assert!(
            reply.is_hit() && reply.body == euro.body,
            "{lines:?}: {reply:?}"
        );
    }
    for lines in [
        &["currency=USD; lang=de"][..],
        &["currency=EUR"],
        &["currency=EUR; lang="],
        &["session=1"],
    ] {
        assert!(
            !with_cookies(&proxy, "/a", lines).await.is_hit(),
            "{lines:?}"
        );
    }
    let none = proxy.get("/a").await;
    assert!(none.is_hit(), "without any that counts: {none:?}");
    assert_eq!(none.text(), "/a []");
    assert_eq!(origin.asked_total(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_varies_by_cookie_is_asked_once_for_each_value_that_counts() {
    let origin = Origin::start(|asked| {
        let fields = [("cache-control", "max-age=3600"), ("vary", "cookie")];
        Play::answer(200, &fields, asked.field("cookie"))
    })
    .await;
    let toml = one_route("", "key = { cookies = [\"lang\"] }");
    let proxy = Setup::before(&origin, &toml).start().await;
    for session in 0..3 {
        let cookies = format!("session={session}; lang=de");
        let reply = with_cookies(&proxy, "/a", &[&cookies]).await;
        assert_eq!(reply.text(), "lang=de");
        assert_eq!(reply.is_hit(), session > 0, "{reply:?}");
    }
    assert_eq!(origin.asked_total(), 1);
}

/// Says what it was asked, for ten seconds, and which parameters do not count.
async fn says_what_counts(rule: &'static str) -> (Origin, Proxy) {
    let origin = Origin::start(move |asked| {
        let fields = [("cache-control", "max-age=10"), ("no-vary-search", rule)];
        Play::answer(200, &fields, &*asked.target)
    })
    .await;
    let policy = "stale_while_revalidate = \"0s\"";
    let toml = one_route(policy, "no_vary_search = true");
    let proxy = Setup::before(&origin, &toml).clock(&Clock::manual(NOW));
    (origin, proxy.start().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_serves_the_queries_that_it_calls_equivalent() {
    let (origin, proxy) = says_what_counts("key-order, params=(\"utm\")").await;
    proxy.get("/a?a=1&utm=x&b=2").await;
    for path in ["/a?b=2&a=1", "/a?a=1&utm=y&b=2", "/a?b=2&a=1&%75tm"] {
        let reply = proxy.get(path).await;
        assert!(
            reply.is_hit() && reply.text() == "/a?a=1&utm=x&b=2",
            "{path}: {reply:?}"
        );
    }
    for path in ["/a?a=1", "/a?b=2&a=1&c=3", "/b?b=2&a=1", "/a?a=2&b=2"] {
        assert!(!proxy.get(path).await.is_hit(), "{path}");
    }
    assert_eq!(origin.asked_total(), 5);
    let without = Setup::before(&origin, &one_route("", "")).start().await;
    without.get("/a?utm=1").await;
    assert!(
        !without.get("/a?utm=2").await.is_hit(),
        "only where the route says so"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_equivalent_answer_is_asked_about_when_stale_and_stands_in_in_an_outage() {
    let (origin, proxy) = says_what_counts("params=(\"utm\")").await;
    proxy.get("/a?utm=1").await;
    proxy.advance(Duration::from_secs(11));
    let renewed = proxy.get("/a?utm=2").await;
    assert_eq!((renewed.text(), renewed.is_hit()), ("/a?utm=2", false));
    assert_eq!(proxy.get("/a?utm=3").await.text(), "/a?utm=2", "the latest");
    proxy.advance(Duration::from_secs(11));
    origin.is_down();
    let stale = proxy.get("/a?utm=4").await;
    assert_eq!(
        (stale.text(), stale.is_stale()),
        ("/a?utm=2", true),
        "{stale:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_equivalent_answer_ends_with_its_word_or_with_a_write() {
    let (origin, proxy) = says_what_counts("params=(\"utm\")").await;
    proxy.get("/a?utm=1").await;
    assert!(proxy.get("/a?utm=2").await.is_hit());
    proxy
        .client
        .send(request(Method::PUT, "/a?utm=3", &[]))
        .await;
    assert!(!proxy.get("/a?utm=2").await.is_hit(), "a write ends it");
    // The same place now holds an answer that says nothing about queries.
    proxy.advance(Duration::from_secs(11));
    origin.now(|_| Play::answer(200, &[("cache-control", "max-age=10")], "exact"));
    assert_eq!(proxy.get("/a?utm=2").await.text(), "exact");
    assert!(!proxy.get("/a?utm=9").await.is_hit());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_chosen_cookies_silence_about_a_lifetime_is_no_reason_not_to_keep_an_answer() {
    let origin = Origin::start(|_| Play::answer(200, &[], "kept for an outage")).await;
    let toml = one_route("", "key = { cookies = [\"lang\"] }");
    let proxy = Setup::before(&origin, &toml).start().await;
    with_cookies(&proxy, "/a", &["lang=de; session=1"]).await;
    origin.is_down();
    let reply = with_cookies(&proxy, "/a", &["lang=de; session=2"]).await;
    assert_eq!(
        (reply.status.as_u16(), reply.text()),
        (200, "kept for an outage")
    );
    assert_eq!(with_cookies(&proxy, "/a", &["lang=en"]).await.status, 502);
}
