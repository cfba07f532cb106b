//! Interim responses (RFC 9110 15.2): from the origin to the client whose request led there, whole, in order, and before
//! the final response of that request.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use std::time::Duration;

use support::{Client, Proxy, RawOrigin, Setup, Wire, one_route};

const HINT: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-Hop: 1\r\nConnection: X-Hop\r\n\r\n";

async fn proxy(origin: &RawOrigin, policy: &str) -> Proxy {
    Setup::facing(origin, &one_route(policy, "")).start().await
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

fn answer(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// On a connection of its own.
fn closing(body: &str) -> String {
    answer(body).replace("Cache-Control", "Connection: close\r\nCache-Control")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interim_response_arrives_before_the_origin_has_answered() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin, "").await;
    for request in [
        get("/get"),
        "POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi".to_owned(),
    ] {
        let mut client = Wire::connect(proxy.client.addr()).await;
        client.send(request).await;
        let (mut vendor, _) = origin.request().await;
        vendor.send("HTTP/1.1 102 Processing\r\n\r\n").await;
        assert_eq!(client.head().await, "HTTP/1.1 102 Processing\r\n\r\n");
        vendor.send(HINT).await;
        let hint = client.head().await;
        assert_eq!(
            hint,
            "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n"
        );
        vendor.send(closing("ok")).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
        assert_eq!(client.exactly(2).await, b"ok");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_and_final_response_in_one_piece_stay_in_order() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin, "").await;
    for nth in 0..50 {
        let mut client = Wire::connect(proxy.client.addr()).await;
        client.send(get(&format!("/{nth}"))).await;
        let (mut vendor, _) = origin.request().await;
        vendor.send(format!("{HINT}{}", closing("ok"))).await;
        let first = client.head().await;
        assert!(first.starts_with("HTTP/1.1 103 "), "{first}");
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        assert_eq!(client.exactly(2).await, b"ok");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_get_their_own_and_a_hit_gets_none() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin, "").await;
    let mut client = Wire::connect(proxy.client.addr()).await;
    client
        .send([get("/1"), get("/2"), get("/1"), get("/3")].concat())
        .await;
    for nth in 1..=3 {
        let (mut vendor, asked) = origin.request().await;
        assert!(asked.starts_with(&format!("GET /{nth} ")), "{asked}");
        let hint = format!("HTTP/1.1 103 Early Hints\r\nLink: <{nth}>\r\n\r\n");
        vendor.send(format!("{hint}{hint}")).await;
        vendor.send(closing(&nth.to_string())).await;
    }
    for nth in ["1", "2", "hit", "3"] {
        let mut hints = 0;
        let head = loop {
            let head = client.head().await;
            if !head.starts_with("HTTP/1.1 103 ") {
                break head;
            }
            assert!(head.contains(&format!("link: <{nth}>")), "{nth}: {head}");
            hints += 1;
        };
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(hints, if nth == "hit" { 0 } else { 2 }, "{nth}");
        assert_eq!(
            client.exactly(1).await,
            if nth == "hit" { b"1" } else { nth.as_bytes() }
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_finds_no_interim_response_inside_a_body() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin, "").await;
    let mut client = Wire::connect(proxy.client.addr()).await;
    client.send([get("/large"), get("/small")].concat()).await;
    // More than sockets hold, so that the rest of it waits for the client.
    let body = "0123456789abcdef".repeat(1 << 20);
    let (mut vendor, _) = origin.request().await;
    let close = "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nConnection: close\r\n";
    let sending = tokio::spawn({
        let response = format!("{close}Content-Length: {}\r\n\r\n{body}", body.len());
        async move { vendor.send(response).await }
    });
    // Nothing is read for a while: the answer stalls half way.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let got = client.exactly(body.len()).await;
    assert!(got == body.as_bytes(), "the body is what the origin sent");
    sending.await.unwrap();
    let (mut vendor, _) = origin.request().await;
    vendor.send(format!("{HINT}{}", closing("ok"))).await;
    assert!(client.head().await.starts_with("HTTP/1.1 103 "));
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_client_that_led_the_fetch_gets_them() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin, "stale_while_revalidate = \"60s\"").await;
    let mut leader = Wire::connect(proxy.client.addr()).await;
    leader.send(get("/a")).await;
    let (mut vendor, _) = origin.request().await;
    let mut follower = Wire::connect(proxy.client.addr()).await;
    follower.send(get("/a")).await;
    assert!(follower.is_silent_for(Duration::from_millis(100)).await);
    vendor.send(HINT).await;
    assert!(leader.head().await.starts_with("HTTP/1.1 103 "));
    vendor
        .send(answer("ok").replace("max-age=60", "max-age=0"))
        .await;
    assert!(leader.head().await.starts_with("HTTP/1.1 200 "));
    let head = follower.head().await;
    assert!(
        head.starts_with("HTTP/1.1 200 ") && head.contains("collapsed"),
        "{head}"
    );

    // The refresh behind an answer has no client.
    leader.exactly(2).await;
    leader.send(get("/a")).await;
    assert!(leader.head().await.starts_with("HTTP/1.1 200 "));
    leader.exactly(2).await;
    assert!(vendor.head().await.starts_with("GET /a "));
    vendor.send(format!("{HINT}{}", answer("ok"))).await;
    assert!(leader.is_silent_for(Duration::from_millis(100)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http_1_0_or_http_2_gets_the_final_response_alone() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin, "").await;
    let mut client = Wire::connect(proxy.client.addr()).await;
    client.send("GET /old HTTP/1.0\r\nHost: a\r\n\r\n").await;
    let (mut vendor, _) = origin.request().await;
    vendor.send(format!("{HINT}{}", answer("ok"))).await;
    assert!(client.head().await.starts_with("HTTP/1.0 200 "));

    let http2 = Client::http2(proxy.client.addr());
    let asking = tokio::spawn(async move { http2.get("/new").await });
    assert!(vendor.head().await.starts_with("GET /new "));
    vendor.send(format!("{HINT}{}", answer("ok"))).await;
    assert_eq!(asking.await.unwrap().text(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_cannot_send_them_without_end() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin, "").await;
    let mut client = Wire::connect(proxy.client.addr()).await;
    client.send(get("/a")).await;
    let (mut vendor, _) = origin.request().await;
    vendor.send(HINT.repeat(500)).await;
    vendor.send(answer("ok")).await;
    let all = client.until("\r\n\r\nok").await;
    assert_eq!(all.matches("HTTP/1.1 103 ").count(), 32);
    assert_eq!(all.matches("HTTP/1.1 200 ").count(), 1);
}
