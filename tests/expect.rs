//! `Expect: 100-continue` (RFC 9110 10.1.1): the origin decides whether content is sent, as it would without a proxy.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use std::time::{Duration, Instant};

use support::{Proxy, RawOrigin, Setup, Wire, one_route};

const HEAD: &str =
    "POST /upload HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 7\r\n\r\n";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

async fn proxy(origin: &RawOrigin) -> Proxy {
    Setup::facing(origin, &one_route("", "")).start().await
}

/// A client that has sent its head, and the origin that has it.
async fn asked(origin: &RawOrigin, proxy: &Proxy, head: &str) -> (Wire, Wire) {
    let mut client = Wire::connect(proxy.client.addr()).await;
    client.send(head).await;
    let (vendor, asked) = origin.request().await;
    let asked = asked.to_ascii_lowercase();
    assert!(asked.contains("\r\nexpect: 100-continue\r\n"), "{asked}");
    (client, vendor)
}

#[tokio::test(flavor = "multi_thread")]
async fn content_flows_once_the_origin_wants_it() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin).await;
    for (name, head, framed) in [
        ("a length", HEAD.to_owned(), "content"),
        (
            "chunked",
            HEAD.replace("Content-Length: 7", "Transfer-Encoding: chunked"),
            "7\r\ncontent\r\n0\r\n\r\n",
        ),
    ] {
        let (mut client, mut vendor) = asked(&origin, &proxy, &head).await;
        let pause = Duration::from_millis(150);
        assert!(
            client.is_silent_for(pause).await,
            "{name}: nobody wants it yet"
        );
        vendor
            .send("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n")
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 103 "), "{name}");
        vendor.send(CONTINUE).await;
        assert_eq!(client.head().await, CONTINUE, "{name}");
        client.send(framed).await;
        assert_eq!(
            vendor.exactly(framed.len()).await,
            framed.as_bytes(),
            "{name}"
        );
        vendor
            .send("HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 4\r\n\r\ndone")
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 201 "), "{name}");
        assert_eq!(client.exactly(4).await, b"done", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_refuses_is_heard_and_no_content_is_sent() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin).await;
    for answer in [
        "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"a\"\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 413 Content Too Large\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 204 No Content\r\n\r\n",
    ] {
        let (mut client, mut vendor) = asked(&origin, &proxy, HEAD).await;
        vendor.send(answer).await;
        let head = client.head().await;
        assert_eq!(head[..13], answer[..13], "{head}");
        if !answer.contains(" 204 ") {
            client.until("no").await;
        }
        // Nothing but the head: the origin's connection ends without content.
        assert_eq!(vendor.rest().await, "", "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_knows_no_expectations_gets_the_content_after_a_while() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin).await;
    let began = Instant::now();
    let (mut client, mut vendor) = asked(&origin, &proxy, HEAD).await;
    assert_eq!(client.head().await, CONTINUE);
    assert!(
        began.elapsed() >= Duration::from_millis(900),
        "{:?}",
        began.elapsed()
    );
    client.send("content").await;
    assert_eq!(vendor.exactly(7).await, b"content");
    vendor.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 204 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_wait_is_not_kept_waiting_by_an_answer() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin).await;
    let (mut client, mut vendor) = asked(&origin, &proxy, &format!("{HEAD}content")).await;
    vendor.send(CONTINUE).await;
    assert_eq!(vendor.exactly(7).await, b"content");
    vendor
        .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    client.until("\r\n\r\nok").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_larder_itself_refuses_is_refused_without_the_content() {
    let origin = RawOrigin::start().await;
    let toml = one_route("", "") + "\n[server]\nrequest_body_max = \"1 KiB\"\n";
    let proxy = Setup::facing(&origin, &toml).start().await;
    let mut client = Wire::connect(proxy.client.addr()).await;
    client
        .send(HEAD.replace("Content-Length: 7", "Content-Length: 70000"))
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 413 "));
    assert!(!origin.is_asked_within(Duration::from_millis(50)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_has_no_expectations() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin).await;
    let mut client = Wire::connect(proxy.client.addr()).await;
    client
        .send(HEAD.replace("HTTP/1.1", "HTTP/1.0") + "content")
        .await;
    let (mut vendor, asked) = origin.request().await;
    assert!(!asked.to_ascii_lowercase().contains("expect"), "{asked}");
    assert_eq!(vendor.exactly(7).await, b"content");
    vendor.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.0 204 "));
}
