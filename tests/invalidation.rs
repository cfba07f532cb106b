//! A write that succeeded ends what is stored for its target (RFC 9111 4.4): also what was asked before it and comes
//! after, also what another route stored, and nothing that is not its to end.

mod support;

use std::sync::Arc;

use http::Method;
use support::{Gate, Origin, Play, Proxy, Reply, Setup, one_route, request, until};

const FRESH: (&str, &str) = ("cache-control", "max-age=3600");

/// Reads are fresh for an hour and say how often the origin was asked; writes are answered with these.
async fn origin(status: u16, fields: &'static [(&str, &str)]) -> Origin {
    Origin::start(move |asked| match asked.method {
        Method::GET => Play::answer(200, &[FRESH], format!("answer {}", asked.nth)),
        _ => Play::answer(status, fields, ""),
    })
    .await
}

async fn put(proxy: &Proxy, path: &str) -> Reply {
    proxy.client.send(request(Method::PUT, path, &[])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_under_way_when_a_put_succeeds_is_neither_stored_nor_joined() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |asked| match (asked.nth, &asked.method) {
        (1, _) => Play::answer(200, &[FRESH], "before").behind(&held),
        (_, &Method::GET) => Play::answer(200, &[FRESH], "after"),
        _ => Play::answer(204, &[], ""),
    })
    .await;
    let proxy = Arc::new(Setup::before(&origin, &one_route("", "")).start().await);
    let early = tokio::spawn({
        let proxy = Arc::clone(&proxy);
        async move { proxy.get("/a").await }
    });
    until("the early one is under way", || origin.asked_total() == 1).await;
    assert_eq!(put(&proxy, "/a").await.status, 204);

    let late = proxy.get("/a").await;
    assert_eq!(late.text(), "after", "it joined: {late:?}");
    gate.open();
    let early = early.await.unwrap();
    assert_eq!(early.text(), "before");
    assert_eq!(early.cache("stored"), None, "{early:?}");
    let last = proxy.get("/a").await;
    assert!(last.is_hit() && last.text() == "after", "{last:?}");
    assert_eq!(origin.asked_total(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_through_a_route_of_its_own_ends_what_the_get_route_stored() {
    for (key, stored, written) in [
        ("", "/a?currency=EUR", "/a?currency=EUR"),
        (
            "key = { query = [\"currency\"] }",
            "/a?currency=EUR&utm=1",
            "/a?by=me&currency=EUR",
        ),
        ("key = { query = [] }", "/a?utm=1", "/a?by=me"),
    ] {
        let origin = origin(204, &[]).await;
        let writes = "\n[[route]]\nname = \"writes\"\npath = \"/{*rest}\"\nmethods = [\"PUT\"]\n\
                      upstream = \"lab\"\n";
        let toml = one_route("", &format!("methods = [\"GET\"]\n{key}")) + writes;
        let proxy = Setup::before(&origin, &toml).start().await;
        proxy.get(stored).await;
        assert!(proxy.get(stored).await.is_hit(), "{key}");
        assert_eq!(put(&proxy, written).await.status, 204);
        let after = proxy.get(stored).await;
        assert!(!after.is_hit(), "{key}: {after:?}");
        assert_eq!(after.text(), "answer 3");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_that_the_answer_names_are_ended_if_they_are_of_the_same_origin() {
    for (name, location, ended) in [
        ("location", "/orders/7", true),
        ("content-location", "/orders/7", true),
        ("location", "http://shop.example/orders/7", true),
        ("location", "http://other.example/orders/7", false),
        ("content-location", "http://other.example/orders/7", false),
        ("location", "/orders/8", false),
    ] {
        let origin = Origin::start(move |asked| match asked.method {
            Method::GET => Play::answer(200, &[FRESH], "an order"),
            _ => Play::answer(201, &[(name, location)], ""),
        })
        .await;
        let proxy = Setup::before(&origin, &one_route("", "")).start().await;
        const HOST: &[(&str, &str)] = &[("host", "shop.example")];
        let order = || proxy.client.get_with("/orders/7", HOST);
        order().await;
        let post = request(Method::POST, "/orders", HOST);
        assert_eq!(proxy.client.send(post).await.status, 201);
        assert_eq!(!order().await.is_hit(), ended, "{name}: {location}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_failed_ends_nothing() {
    for status in [400, 409, 500, 503] {
        let origin = origin(status, &[("location", "/b")]).await;
        let proxy = Setup::before(&origin, &one_route("", "")).start().await;
        proxy.get("/a").await;
        proxy.get("/b").await;
        assert_eq!(put(&proxy, "/a").await.status, status);
        for path in ["/a", "/b"] {
            let after = proxy.get(path).await;
            assert!(after.is_hit(), "{status}: {path}: {after:?}");
        }
    }
}
