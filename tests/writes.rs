//! Writes: passed on once, told how far they got, and what is stored for their target is believed only as far as it can be.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use std::{sync::Arc, time::Duration};

use http::Method;
use http_body_util::Full;
use larder::clock::Clock;
use support::{Gate, NOW, Origin, Play, Proxy, Reply, Setup, one_route, request, until};

const FRESH: (&str, &str) = ("cache-control", "max-age=600");

/// Retries on, so that it is the method that forbids them.
const RETRYING: &str = r#"
    [upstream.lab]
    endpoints = ["{vendor}"]
    attempt_timeout = "1s"
    retry = { retries_max = 2, retries_max_stale = 2, backoff_min = "1ms", backoff_max = "2ms", budget_min_per_second = 100 }
    BREAKER
    [[route]]
    name = "orders"
    path = "/orders/{*rest}"
    upstream = "lab"
    message = "Your order was not confirmed."
    "#;

fn retrying(breaker: &str) -> String {
    RETRYING.replace("BREAKER", breaker)
}

async fn write(proxy: &Proxy, method: &Method, path: &str, fields: &[(&str, &str)]) -> Reply {
    let mut write = request(method.clone(), path, fields);
    // Content that is passed on as it comes cannot be sent a second time: the idempotent ones have none.
    if !matches!(*method, Method::PUT | Method::DELETE) {
        *write.body_mut() = Full::from("{\"item\":1}");
    }
    proxy.client.send(write).await
}

/// What became of it, told by the problem document and by `Proxy-Status`.
fn told(reply: &Reply) -> (u16, String, String) {
    let problem = reply.json();
    let text = |member: &str| problem[member].as_str().unwrap_or_default().to_owned();
    assert_eq!(text("message"), "Your order was not confirmed.");
    let words = format!("sent={}\"", text("sent"));
    assert!(reply.field("proxy-status").ends_with(&words), "{reply:?}");
    assert!(
        !reply.text().contains("127.0.0.1"),
        "no vendor details: {reply:?}"
    );
    (reply.status.as_u16(), text("sent"), text("detail"))
}

const OPEN: &str =
    "breaker = { consecutive_failures = 1, open_for = \"60s\", open_for_max = \"60s\" }";
const NO_BREAKER: &str = "breaker = { enabled = false }";

#[tokio::test(flavor = "multi_thread")]
async fn whoever_writes_learns_whether_anything_was_sent() {
    const SAFE: &str = "nothing was sent; it is safe to try again";
    const LOOK: &str = "it may have been carried out; look before you try again";
    const AGAIN: &str = "it may have been carried out; trying the same again does not do it twice";
    for (name, play, breaker, method, status, sent, words, asked) in [
        (
            "broken off",
            Play::refuse(),
            NO_BREAKER,
            Method::POST,
            502,
            "may_have_acted",
            LOOK,
            1,
        ),
        (
            "silent",
            Play::hang(),
            NO_BREAKER,
            Method::POST,
            504,
            "may_have_acted",
            LOOK,
            1,
        ),
        (
            "silent",
            Play::hang(),
            NO_BREAKER,
            Method::PATCH,
            504,
            "may_have_acted",
            LOOK,
            1,
        ),
        // Idempotent: tried again, and may be by whoever sent it.
        (
            "broken off",
            Play::refuse(),
            NO_BREAKER,
            Method::PUT,
            502,
            "may_have_acted",
            AGAIN,
            3,
        ),
        (
            "broken off",
            Play::refuse(),
            NO_BREAKER,
            Method::DELETE,
            502,
            "may_have_acted",
            AGAIN,
            3,
        ),
        (
            "not asked",
            Play::answer(503, &[], ""),
            OPEN,
            Method::POST,
            503,
            "nothing",
            SAFE,
            1,
        ),
    ] {
        let name = format!("{name}, {method}");
        let origin = Origin::start(move |_| play.clone()).await;
        let proxy = Setup::before(&origin, &retrying(breaker)).start().await;
        if breaker == OPEN {
            // The vendor's own error is passed on, and opens the breaker.
            assert_eq!(write(&proxy, &method, "/orders/1", &[]).await.text(), "");
        }
        let reply = write(&proxy, &method, "/orders/1", &[]).await;
        let (got_status, got_sent, detail) = told(&reply);
        assert_eq!(
            (got_status, &*got_sent),
            (status, sent),
            "{name}: {reply:?}"
        );
        assert!(detail.ends_with(words), "{name}: {detail}");
        assert_eq!(origin.asked_total(), asked, "{name}");
        let retry_after = reply.field("retry-after");
        assert_eq!(retry_after.is_empty(), breaker != OPEN, "{name}: {reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_carries_a_key_can_be_sent_again() {
    const KEY: &[(&str, &str)] = &[("idempotency-key", "\"8e03978e\"")];
    let origin = Origin::start(|_| Play::refuse()).await;
    let proxy = Setup::before(&origin, &retrying(NO_BREAKER)).start().await;
    for (fields, want) in [
        (KEY, "does not do it twice"),
        (&[], "look before you try again"),
    ] {
        let reply = write(&proxy, &Method::POST, "/orders/1", fields).await;
        let (_, sent, detail) = told(&reply);
        assert_eq!(sent, "may_have_acted");
        assert!(detail.ends_with(want), "{detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_listens_nothing_was_sent_and_any_method_is_tried_again() {
    let origin = Origin::start(|_| Play::refuse()).await;
    let setup = Setup::before(&origin, &retrying(NO_BREAKER));
    let proxy = setup.start().await;
    drop(origin);
    // Its listener goes with its task.
    let refused = support::within(Duration::from_secs(10), "the port is closed", async {
        loop {
            let reply = write(&proxy, &Method::POST, "/orders/1", &[]).await;
            if reply.field("proxy-status").contains("connect_refused") {
                return reply;
            }
        }
    })
    .await;
    assert_eq!(
        refused.field("proxy-status"),
        "larder; error=connection_refused; details=\"connect_refused; attempts=3; sent=nothing\""
    );
    let (status, sent, detail) = told(&refused);
    assert_eq!((status, &*sent), (502, "nothing"), "{detail}");
    let counted = "larder_fetch_failures_total{route=\"orders\",upstream=\"lab\",cause=\"connect_refused\",attempts=\"3\",sent=\"nothing\"}";
    let metrics = proxy.metrics().await;
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_reads_the_same_in_sentences_and_the_routes_words_first() {
    let origin = Origin::start(|_| Play::refuse()).await;
    let proxy = Setup::before(&origin, &retrying(NO_BREAKER)).start().await;
    let page = write(
        &proxy,
        &Method::POST,
        "/orders/1",
        &[("accept", "text/html")],
    )
    .await;
    assert_eq!(page.field("content-type"), "text/html; charset=utf-8");
    let at = |text: &str| {
        page.text()
            .find(text)
            .unwrap_or_else(|| panic!("{text}: {page:?}"))
    };
    let (own, what) = (
        "Your order was not confirmed.",
        "Please look before you try again.",
    );
    assert!(at(own) < at(what));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_is_told_nothing_of_sending() {
    let origin = Origin::start(|_| Play::refuse()).await;
    let proxy = Setup::before(&origin, &retrying(NO_BREAKER)).start().await;
    let reply = proxy.get("/orders/1").await;
    assert_eq!(reply.json()["sent"], serde_json::Value::Null);
    assert!(
        reply
            .field("proxy-status")
            .contains("attempts=3; sent=may_have_acted")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_write_that_was_lost_the_next_one_to_look_asks() {
    for (name, play, want) in [
        ("lost", Play::refuse(), "after"),
        // RFC 9111 4.4: an error is an answer, and changes nothing.
        (
            "refused by the vendor",
            Play::answer(409, &[], ""),
            "before",
        ),
        (
            "failed with an answer",
            Play::answer(503, &[], ""),
            "before",
        ),
    ] {
        let clock = Clock::manual(NOW);
        let origin = Origin::start(|_| Play::answer(200, &[FRESH], "before")).await;
        let writes = "\n[[route]]\nname = \"writes\"\npath = \"/{*rest}\"\nmethods = [\"POST\"]\nupstream = \"lab\"\n";
        let toml = one_route("cool_down = \"0s\"", "methods = [\"GET\", \"QUERY\"]") + writes;
        let proxy = Setup::before(&origin, &toml).clock(&clock).start().await;
        let by_content = || async {
            let query = "QUERY".parse().unwrap();
            write(
                &proxy,
                &query,
                "/a",
                &[("content-type", "application/json")],
            )
            .await
        };
        proxy.get("/a").await;
        proxy.get("/b").await;
        by_content().await;
        proxy.advance(Duration::from_secs(1));
        origin.now(move |_| play.clone());
        write(&proxy, &Method::POST, "/a", &[]).await;

        origin.now(|_| Play::answer(200, &[FRESH], "after"));
        let other = proxy.get("/b").await;
        assert!(other.is_hit(), "{name}: another target: {other:?}");
        for looked in [proxy.get("/a").await, by_content().await] {
            assert_eq!(looked.text(), want, "{name}: {looked:?}");
        }
        let again = proxy.get("/a").await;
        assert!(
            again.is_hit() && again.text() == want,
            "{name}: once is enough: {again:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_write_put_in_doubt_stays_the_last_known_good_answer() {
    let clock = Clock::manual(NOW);
    let fields = [FRESH, ("vary", "accept-language")];
    let origin = Origin::start(move |_| Play::answer(200, &fields, "good")).await;
    let toml = one_route("cool_down = \"0s\"", "");
    let proxy = Setup::before(&origin, &toml).clock(&clock).start().await;
    const DE: &[(&str, &str)] = &[("accept-language", "de")];
    proxy.client.get_with("/a", DE).await;
    proxy.advance(Duration::from_secs(1));
    origin.is_down();
    write(&proxy, &Method::POST, "/a", &[]).await;
    let asked = origin.asked_total();
    for _ in 0..3 {
        let reply = proxy.client.get_with("/a", DE).await;
        assert_eq!(
            (reply.status.as_u16(), reply.text()),
            (200, "good"),
            "{reply:?}"
        );
        assert_eq!(reply.cache("detail"), Some("stale-if-error"), "{reply:?}");
    }
    // What is lost on a kept connection is sent once more.
    assert!(
        origin.asked_total() >= asked + 3,
        "each of them asked first"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_asks_after_a_lost_write_joins_a_fetch_from_before_it() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |asked| match (asked.nth, &asked.method) {
        (1, _) => Play::answer(200, &[FRESH], "before").behind(&held),
        (_, &Method::GET) => Play::answer(200, &[FRESH], "after"),
        _ => Play::refuse(),
    })
    .await;
    let setup = Setup::before(&origin, &one_route("", ""));
    let proxy = Arc::new(setup.start().await);
    let early = tokio::spawn({
        let proxy = Arc::clone(&proxy);
        async move { proxy.get("/a").await }
    });
    until("the early one is under way", || origin.asked_total() == 1).await;
    assert_eq!(write(&proxy, &Method::POST, "/a", &[]).await.status, 502);
    assert_eq!(proxy.get("/a").await.text(), "after");
    gate.open();
    assert_eq!(early.await.unwrap().text(), "before");
    assert_eq!(proxy.get("/a").await.text(), "after");
}
