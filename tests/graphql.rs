//! GraphQL over real sockets: queries by POST are answered by content, errors behind a 200 are failures, and mutations
//! go through once each.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use std::{sync::Arc, time::Duration};

use larder::clock::Clock;
use support::{Asked, Gate, NOW, Origin, Play, Proxy, Reply, Setup, one_route, until};

const JSON: (&str, &str) = ("content-type", "application/json");
const QUERY: &str = r#"{"query":"query P { price }","variables":{"sku":1}}"#;
const MUTATION: &str = r#"{"query":"mutation B { book }"}"#;
const DATA: &str = r#"{"data":{"price":1}}"#;
const PARTIAL: &str = r#"{"data":{"price":1,"stock":null},"errors":[{"message":"no stock"}]}"#;

fn answer(asked: &Asked, body: &str) -> Play {
    let _ = asked;
    Play::answer(200, &[JSON, ("cache-control", "max-age=10")], body)
}

async fn scene(origin: &Origin, more: &str) -> Proxy {
    let route = format!("cache_post = true\ngraphql = true\n{more}");
    let toml = one_route(
        "stale_while_revalidate = \"0s\"\ncool_down = \"0s\"",
        &route,
    );
    Setup::before(origin, &toml)
        .clock(&Clock::manual(NOW))
        .start()
        .await
}

async fn post(proxy: &Proxy, content: &str) -> Reply {
    proxy.client.post("/graphql", content).await
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_behind_a_200_never_take_the_place_of_a_good_copy() {
    let origin = Origin::start(|asked| answer(asked, DATA)).await;
    let proxy = scene(&origin, "").await;
    assert_eq!(post(&proxy, QUERY).await.text(), DATA);
    assert!(post(&proxy, QUERY).await.is_hit());
    for (name, fields, body) in [
        (
            "partial data",
            vec![JSON, ("cache-control", "max-age=10")],
            PARTIAL,
        ),
        (
            "errors that nobody may store",
            vec![JSON, ("cache-control", "no-store")],
            r#"{"errors":[{}]}"#,
        ),
        ("no JSON", vec![JSON], "<html>"),
        (
            "by its own media type",
            vec![("content-type", "application/graphql-response+json")],
            PARTIAL,
        ),
    ] {
        let (fields, body): (Vec<_>, _) = (fields.clone(), body.to_owned());
        origin.now(move |_| Play::answer(200, &fields, body.clone()));
        proxy.advance(Duration::from_secs(11));
        let stale = post(&proxy, QUERY).await;
        assert_eq!(
            (stale.text(), stale.is_stale()),
            (DATA, true),
            "{name}: {stale:?}"
        );
        assert_eq!(
            stale.field("proxy-status"),
            "larder; received-status=200; details=\"graphql_errors; attempts=1; sent=may_have_acted\"",
            "{name}"
        );
    }
    let metrics = proxy.metrics().await;
    assert!(metrics.contains("cause=\"graphql_errors\""), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_stored_the_client_gets_the_errors_and_nobody_else_later() {
    let origin = Origin::start(|asked| answer(asked, PARTIAL)).await;
    let proxy = scene(&origin, "").await;
    for _ in 0..2 {
        let reply = post(&proxy, QUERY).await;
        assert_eq!((reply.status.as_u16(), reply.text()), (200, PARTIAL));
        assert_eq!(reply.cache("detail"), Some("graphql_errors"), "{reply:?}");
    }
    assert_eq!(origin.asked_total(), 2);
    // One that is too large to be judged before it is passed on is judged before it is kept.
    let large = format!(r#"{{"errors":[{{"message":"{}"}}]}}"#, "x".repeat(100_000));
    let body = large.clone();
    origin.now(move |asked| answer(asked, &body));
    let proxy = scene(&origin, "whole_bytes_max = \"1 KiB\"").await;
    for _ in 0..2 {
        let reply = post(&proxy, QUERY).await;
        assert!(reply.text() == large && !reply.is_hit());
        proxy.settled().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_looked_into_is_not_kept() {
    let origin = Origin::start(|asked| {
        assert_eq!(asked.field("accept-encoding"), "identity");
        let fields = [
            JSON,
            ("cache-control", "max-age=10"),
            ("content-encoding", "gzip"),
        ];
        Play::answer(200, &fields, "who knows")
    })
    .await;
    let proxy = scene(&origin, "").await;
    for _ in 0..2 {
        let reply = post(&proxy, QUERY).await;
        assert_eq!(reply.text(), "who knows");
        assert_eq!(reply.cache("detail"), Some("unjudged"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mutations_are_neither_stored_nor_shared_nor_asked_twice() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |asked| answer(asked, DATA).behind(&held)).await;
    let route = "cache_post = true\ngraphql = true";
    let toml = one_route("", route).replace("retries_max = 0", "retries_max = 2");
    let proxy = Arc::new(Setup::before(&origin, &toml).start().await);
    let crowd: Vec<_> = (0..3)
        .map(|_| {
            let proxy = Arc::clone(&proxy);
            tokio::spawn(async move { post(&proxy, MUTATION).await })
        })
        .collect();
    until("each is asked", || origin.asked_total() == 3).await;
    gate.open();
    for reply in crowd {
        assert_eq!(reply.await.unwrap().text(), DATA);
    }
    origin.is_down();
    assert_eq!(post(&proxy, MUTATION).await.status, 502);
    assert_eq!(origin.asked_total(), 4, "a broken one is not repeated");
    assert_eq!(post(&proxy, QUERY).await.status, 502);
    assert_eq!(origin.asked_total(), 7, "a query is");
    for asked in origin.asked().iter().take(4) {
        assert_eq!(asked.content, MUTATION);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_ends_what_get_stored_and_no_answer_by_content() {
    let origin = Origin::start(|asked| answer(asked, DATA)).await;
    let proxy = scene(&origin, "").await;
    proxy.get("/graphql").await;
    post(&proxy, QUERY).await;
    post(&proxy, MUTATION).await;
    assert!(!proxy.get("/graphql").await.is_hit());
    assert!(post(&proxy, QUERY).await.is_hit());
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_count_for_the_breaker_by_their_share() {
    let origin = Origin::start(|asked| answer(asked, PARTIAL)).await;
    let toml = one_route("", "cache_post = true\ngraphql = true").replace(
        "breaker = { enabled = false }",
        "breaker = { consecutive_failures = 3, min_calls = 6, open_for = \"10s\" }",
    );
    let proxy = Setup::before(&origin, &toml).start().await;
    for nth in 0..5 {
        let content = format!(r#"{{"query":"{{ p{nth} }}"}}"#);
        post(&proxy, &content).await;
    }
    assert_eq!(
        proxy.breaker().await,
        "closed",
        "a run may be one client's doing"
    );
    post(&proxy, QUERY).await;
    assert_eq!(proxy.breaker().await, "open");
}
