//! Trailers (RFC 9110 6.5): they follow the body they belong to, whichever way that is read here, to those who take them.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::{Proxy, RawOrigin, Setup, Wire, one_route, within};

const TRAILED: &str = "Transfer-Encoding: chunked\r\nTrailer: X-Sum, X-Time\r\n\r\n\
    2\r\nok\r\n0\r\nX-Sum: 42\r\nX-Time: 7\r\n\r\n";

async fn proxy(origin: &RawOrigin) -> Proxy {
    Setup::facing(origin, &one_route("", "")).start().await
}

fn get(path: &str, te: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n{te}\r\n")
}

const WANTED: &str = "TE: trailers\r\nConnection: TE\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_trailers_of_an_answer_reach_a_client_that_takes_them() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin).await;
    for (name, fields, trailed) in [
        (
            "a stored answer, read whole",
            "Cache-Control: max-age=60",
            TRAILED.to_owned(),
        ),
        (
            "read whole, and not announced",
            "Cache-Control: max-age=60",
            TRAILED.replace("Trailer: X-Sum, X-Time\r\n", ""),
        ),
        (
            "one that is not stored",
            "Cache-Control: no-store",
            TRAILED.to_owned(),
        ),
    ] {
        let mut client = Wire::connect(proxy.client.addr()).await;
        client.send(get(&format!("/{}", name.len()), WANTED)).await;
        let (mut vendor, asked) = origin.request().await;
        let asked = asked.to_ascii_lowercase();
        assert!(asked.contains("\r\nte: trailers\r\n"), "{name}: {asked}");
        assert!(asked.contains("\r\nconnection: te\r\n"), "{name}: {asked}");
        vendor
            .send(format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\n{fields}\r\n{trailed}"
            ))
            .await;
        let head = client.head().await.to_ascii_lowercase();
        assert!(
            head.contains("\r\ntrailer: x-sum, x-time\r\n"),
            "{name}: {head}"
        );
        assert!(
            head.contains("\r\ntransfer-encoding: chunked\r\n"),
            "{name}: {head}"
        );
        assert_eq!(client.until("0\r\n").await, "2\r\nok\r\n0\r\n", "{name}");
        assert_eq!(
            client.head().await,
            "x-sum: 42\r\nx-time: 7\r\n\r\n",
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_read_along_get_them_and_so_does_a_later_hit() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin).await;
    let mut leader = Wire::connect(proxy.client.addr()).await;
    leader.send(get("/a", WANTED)).await;
    let (mut vendor, _) = origin.request().await;
    let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nConnection: close\r\n";
    let (start, end) = TRAILED.split_once("2\r\nok").unwrap();
    vendor.send(format!("{head}{start}2\r\nok")).await;
    // After `hold_back` it streams.
    assert!(leader.head().await.starts_with("HTTP/1.1 200 "));
    let mut follower = Wire::connect(proxy.client.addr()).await;
    follower.send(get("/a", WANTED)).await;
    assert!(follower.head().await.starts_with("HTTP/1.1 200 "));
    vendor.send(end).await;
    for client in [&mut leader, &mut follower] {
        assert_eq!(client.until("0\r\n").await, "2\r\nok\r\n0\r\n");
        assert_eq!(client.head().await, "x-sum: 42\r\nx-time: 7\r\n\r\n");
    }
    leader.send(get("/a", WANTED)).await;
    let hit = leader.head().await;
    assert!(hit.contains("; hit"), "{hit}");
    assert_eq!(leader.until("0\r\n").await, "2\r\nok\r\n0\r\n");
    assert_eq!(leader.head().await, "x-sum: 42\r\nx-time: 7\r\n\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_did_not_ask_gets_the_same_body_without() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin).await;
    let mut client = Wire::connect(proxy.client.addr()).await;
    for (path, fields) in [("/1", "max-age=60"), ("/2", "no-store")] {
        client.send(get(path, "")).await;
        let (mut vendor, asked) = origin.request().await;
        assert!(!asked.to_ascii_lowercase().contains("\r\nte:"), "{asked}");
        vendor
            .send(format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nCache-Control: {fields}\r\n{TRAILED}"
            ))
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        assert_eq!(
            client.until("0\r\n\r\n").await,
            "2\r\nok\r\n0\r\n\r\n",
            "{path}"
        );
    }
    let mut old = Wire::connect(proxy.client.addr()).await;
    old.send("GET /3 HTTP/1.0\r\nHost: a\r\nTE: trailers\r\n\r\n")
        .await;
    let (mut vendor, _) = origin.request().await;
    vendor
        .send(format!(
            "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\n{TRAILED}"
        ))
        .await;
    let head = old.head().await;
    assert!(!head.contains("chunked"), "{head}");
    assert_eq!(old.rest().await, "ok", "HTTP/1.0 has no place for them");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trailers_of_a_request_reach_the_origin() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin).await;
    let mut client = Wire::connect(proxy.client.addr()).await;
    client
        .send(format!("POST /a HTTP/1.1\r\nHost: a\r\n{TRAILED}"))
        .await;
    let (mut vendor, asked) = origin.request().await;
    let asked = asked.to_ascii_lowercase();
    assert!(asked.contains("\r\ntrailer: x-sum, x-time\r\n"), "{asked}");
    assert_eq!(vendor.until("0\r\n").await, "2\r\nok\r\n0\r\n");
    assert_eq!(vendor.head().await, "x-sum: 42\r\nx-time: 7\r\n\r\n");
    vendor.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 204 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_carries_trailers_in_both_directions() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin).await;
    let stream = tokio::net::TcpStream::connect(proxy.client.addr())
        .await
        .unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let sum = HeaderMap::from_iter([("x-sum".parse().unwrap(), "42".parse().unwrap())]);
    let frames = [Frame::data(Bytes::from("ok")), Frame::trailers(sum)];
    let body = StreamBody::new(futures_util::stream::iter(
        frames.map(Ok::<_, std::io::Error>),
    ));
    let request = Request::post(format!("http://{}/a", proxy.client.addr()))
        .header("te", "trailers")
        .header("trailer", "x-sum")
        .body(body)
        .unwrap();
    let asking = tokio::spawn(async move { sender.send_request(request).await });
    let (mut vendor, asked) = origin.request().await;
    assert!(
        asked.to_ascii_lowercase().contains("\r\nte: trailers\r\n"),
        "{asked}"
    );
    assert_eq!(vendor.until("0\r\n").await, "2\r\nok\r\n0\r\n");
    assert_eq!(vendor.head().await, "x-sum: 42\r\n\r\n");
    vendor.send(format!("HTTP/1.1 200 OK\r\n{TRAILED}")).await;
    let response = within(Duration::from_secs(10), "an answer", asking)
        .await
        .unwrap()
        .unwrap();
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-time"], "7");
    assert_eq!(body.to_bytes(), "ok");
    connection.abort();
}
