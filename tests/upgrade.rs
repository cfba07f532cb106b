//! Upgrades (RFC 9110 7.8): a route that allows one tunnels what follows its 101; every other request stays HTTP.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use std::time::Duration;

use support::{Proxy, RawOrigin, Setup, Wire, one_route, within};

const ROUTE: &str = r#"upgrade = ["websocket"]"#;
const OFFER: &str = "GET /chat HTTP/1.1\r\nHost: shop.example\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: h2c, websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

async fn proxy(origin: &RawOrigin, route: &str) -> Proxy {
    Setup::facing(origin, &one_route("", route)).start().await
}

/// Both ends of an open tunnel.
async fn tunnel(origin: &RawOrigin, proxy: &Proxy) -> (Wire, Wire) {
    let mut client = Wire::connect(proxy.client.addr()).await;
    client.send(OFFER).await;
    let (mut vendor, _) = origin.request().await;
    vendor.send(SWITCHED).await;
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    (client, vendor)
}

async fn tunnels(proxy: &Proxy, want: f64) {
    within(Duration::from_secs(15), "tunnels are counted", async {
        while proxy.metric("larder_tunnels_in_flight").await != want {
            // The pace of looking; the bound is around it.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_101_is_copied_both_ways_from_the_first_byte() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin, ROUTE).await;
    let mut client = Wire::connect(proxy.client.addr()).await;
    client.send(OFFER).await;
    client.send("early").await;

    let (mut vendor, asked) = origin.request().await;
    let asked = asked.to_ascii_lowercase();
    assert!(asked.starts_with("get /chat http/1.1\r\n"), "{asked}");
    assert!(
        asked.contains("\r\nupgrade: websocket\r\n"),
        "only what is allowed: {asked}"
    );
    assert!(asked.contains("\r\nconnection: upgrade\r\n"), "{asked}");
    assert!(asked.contains("\r\nsec-websocket-key: dghl"), "{asked}");
    vendor.send(format!("{SWITCHED}hello")).await;

    let answer = client.head().await.to_ascii_lowercase();
    for line in [
        "http/1.1 101 ",
        "\r\nupgrade: websocket\r\n",
        "\r\nconnection: upgrade\r\n",
        "\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n",
    ] {
        assert!(answer.contains(line), "{line} in {answer}");
    }
    assert!(!answer.contains("content-length") && !answer.contains("transfer-encoding"));
    assert_eq!(client.exactly(5).await, b"hello");
    assert_eq!(vendor.exactly(5).await, b"early");
    tunnels(&proxy, 1.0).await;

    let large = vec![7; 1 << 20];
    tokio::join!(client.send(&large), async {
        assert_eq!(vendor.exactly(large.len()).await, large);
    });
    vendor.send("bye").await;
    vendor.finish().await;
    assert_eq!(client.exactly(3).await, b"bye");
    client.send("last words").await;
    client.finish().await;
    assert_eq!(
        vendor.rest().await,
        "last words",
        "each direction ends for itself"
    );
    tunnels(&proxy, 0.0).await;
    assert_eq!(
        proxy.metric("larder_tunnels_total{end=\"closed\"}").await,
        1.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_the_route_does_not_allow_is_a_request_like_any_other() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin, "").await;
    let mut client = Wire::connect(proxy.client.addr()).await;
    client.send(OFFER).await;
    let (mut vendor, asked) = origin.request().await;
    let asked = asked.to_ascii_lowercase();
    assert!(!asked.contains("upgrade"), "{asked}");
    vendor
        .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(client.exactly(2).await, b"ok");
    client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(
        vendor.head().await.starts_with("GET /next "),
        "the connection is still HTTP's"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_not_a_101_is_passed_on_as_it_is_and_http_goes_on() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin, ROUTE).await;
    let mut client = Wire::connect(proxy.client.addr()).await;
    client.send(OFFER).await;
    let (mut vendor, _) = origin.request().await;
    vendor
        .send("HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 12\r\nContent-Length: 4\r\n\r\nold!")
        .await;
    let answer = client.head().await.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 426 "), "{answer}");
    assert!(answer.contains("sec-websocket-version: 12"), "{answer}");
    assert_eq!(client.exactly(4).await, b"old!");
    tunnels(&proxy, 0.0).await;
    client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (_, asked) = origin.request().await;
    assert!(asked.starts_with("GET /next "), "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_101_that_nobody_asked_for_is_an_error_and_no_tunnel() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin, ROUTE).await;
    for (name, request, answer) in [
        (
            "to a plain request",
            "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
            SWITCHED,
        ),
        (
            "to another protocol",
            OFFER,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        ),
        ("to none", OFFER, "HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    ] {
        let mut client = Wire::connect(proxy.client.addr()).await;
        client.send(request).await;
        let (mut vendor, _) = origin.request().await;
        vendor.send(answer).await;
        let answer = client.head().await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{name}: {answer}");
        assert!(answer.contains("http_protocol_error"), "{name}: {answer}");
    }
    tunnels(&proxy, 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_is_never_asked_for_twice() {
    let origin = RawOrigin::start().await;
    let toml = one_route("", ROUTE).replace("retries_max = 0", "retries_max = 2");
    let proxy = Setup::facing(&origin, &toml).start().await;
    let mut client = Wire::connect(proxy.client.addr()).await;
    client.send(OFFER).await;
    let (vendor, _) = origin.request().await;
    drop(vendor);
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(!origin.is_asked_within(Duration::from_millis(100)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_have_a_bound_and_places_come_back() {
    let origin = RawOrigin::start().await;
    let toml = one_route("", ROUTE) + "\n[server]\ntunnels_max = 1\n";
    let proxy = Setup::facing(&origin, &toml).start().await;
    let (client, vendor) = tunnel(&origin, &proxy).await;
    let mut second = Wire::connect(proxy.client.addr()).await;
    second.send(OFFER).await;
    assert!(second.head().await.starts_with("HTTP/1.1 503 "));
    assert!(!origin.is_asked_within(Duration::from_millis(50)).await);
    drop((client, vendor));
    tunnels(&proxy, 0.0).await;
    let _both = tunnel(&origin, &proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_outlives_the_idle_time_of_connections_and_ends_at_its_own() {
    let origin = RawOrigin::start().await;
    let route = format!("{ROUTE}\nupgrade_idle_timeout = \"1s\"");
    let toml = one_route("", &route) + "\n[server]\nheader_read_timeout = \"100ms\"\n";
    let proxy = Setup::facing(&origin, &toml).start().await;
    let (mut client, mut vendor) = tunnel(&origin, &proxy).await;
    // Longer than the sweep would let a connection be silent, shorter than the tunnel may be.
    for _ in 0..4 {
        assert!(client.is_silent_for(Duration::from_millis(300)).await);
        vendor.send("tick").await;
        assert_eq!(client.exactly(4).await, b"tick");
    }
    assert_eq!(client.rest().await, "", "closed for want of traffic");
    assert_eq!(vendor.rest().await, "");
    tunnels(&proxy, 0.0).await;
    assert_eq!(
        proxy.metric("larder_tunnels_total{end=\"idle\"}").await,
        1.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_ends_tunnels_at_once() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin, ROUTE).await;
    let (client, vendor) = tunnel(&origin, &proxy).await;
    let began = std::time::Instant::now();
    let (_, rest, _) = tokio::join!(proxy.stop(), client.rest(), vendor.rest());
    assert_eq!(rest, "");
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "no wait for drain_for"
    );
}
