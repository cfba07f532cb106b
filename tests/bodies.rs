//! Bodies: broken ones are never stored or passed off as whole, streams arrive as they come, requests have bodies too, and
//! some requests ask for less than a body.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Method;
use http_body_util::Full;
use larder::{
    clock::Clock,
    stub::{Break, Fault, Stub},
};
use support::{NOW, Proxy, Setup, request, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const PATIENCE: Duration = Duration::from_secs(20);

const TOML: &str = r#"
    [server]
    request_body_max = "64 KiB"
    [store]
    body_max = "1 MiB"
    [upstream.lab]
    endpoints = ["{vendor}"]
    attempt_timeout = "2s"
    body_idle_timeout = "2s"
    [policy.p]
    spread_percent = 0
    early = false
    [[route]]
    path = "/lab/{*rest}"
    upstream = "lab"
    policy = "p"
    whole_bytes_max = "256 KiB"
    [[route]]
    path = "/prices/{sku}"
    upstream = "lab"
"#;

async fn scene() -> (Stub, Proxy) {
    let clock = Clock::manual(NOW);
    let vendor = support::vendor(&clock).await;
    let proxy = Setup::new(&vendor, TOML).clock(&clock).start().await;
    (vendor, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_one_by_one() {
    let (_vendor, proxy) = scene().await;
    let path = "/lab/events?count=4&every=200ms";
    let begun = Instant::now();
    let mut events = proxy
        .client
        .open(request(Method::GET, path, &[]))
        .await
        .unwrap();
    let mut pieces = Vec::new();
    while let Some(piece) = events.piece().await {
        pieces.push((begun.elapsed(), piece.unwrap()));
    }
    assert_eq!(pieces.len(), 4, "{pieces:?}");
    for (nth, (_, piece)) in pieces.iter().enumerate() {
        let text = std::str::from_utf8(piece).unwrap();
        assert!(text.starts_with(&format!("id: {}\n", nth + 1)), "{text}");
    }
    let (first, last) = (pieces[0].0, pieces[3].0);
    assert!(
        last - first > Duration::from_millis(300),
        "all at once: {pieces:?}"
    );
    let again = proxy.get("/lab/events?count=1&every=1ms").await;
    assert_eq!(again.cache("detail"), Some("stream"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_answer_that_breaks_off_is_an_error_and_is_never_stored() {
    for fault in [
        Fault::Truncate { chunked: false },
        Fault::Truncate { chunked: true },
        Fault::ResetMidBody,
    ] {
        for (path, streams) in [
            ("/prices/A", false),
            ("/lab/bytes/900000", true),
            ("/lab/bytes/8000000", true),
        ] {
            let (vendor, proxy) = scene().await;
            vendor.break_path("*", fault.clone()).unwrap();
            let asked = request(Method::GET, path, &[]);
            let name = format!("{fault}, {path}");
            match proxy.client.try_send(asked).await {
                // Held back until it broke: an error that says so, after a retry.
                Ok(reply) => {
                    assert!(!streams, "{name}: passed off as whole: {reply:?}");
                    assert_eq!(reply.status, 502, "{name}: {reply:?}");
                    let error = reply.field("proxy-status");
                    assert!(
                        error.contains("http_response_incomplete"),
                        "{name}: {error}"
                    );
                    assert!(vendor.asked_total() > 1, "{name}: not tried again");
                }
                // On its way already: an end that no client takes for the end.
                Err(_) => assert!(streams, "{name}"),
            }
            proxy.settled().await;
            vendor.mend_all();
            let mended = proxy.get(path).await;
            assert_eq!(mended.status, 200, "{name}");
            assert!(!mended.is_hit(), "{name}: something was stored: {mended:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_first_answer_is_hidden_where_a_retry_brings_a_whole_one() {
    let (vendor, proxy) = scene().await;
    let mut half_the_time: Break = "kind=truncate path=/prices/*".parse().unwrap();
    half_the_time.percent = 30;
    vendor.break_with(half_the_time).unwrap();
    let mut good = 0;
    for nth in 0..20 {
        good += u64::from(proxy.get(&format!("/prices/{nth}")).await.status == 200);
        // The budget's floor is a retry a second; this test is about retries, not about the budget.
        proxy.settled().await;
    }
    let broken = vendor
        .requests()
        .iter()
        .filter(|asked| asked.fault.is_some())
        .count() as u64;
    assert!(
        broken > 0 && good > 20 - broken,
        "{good} good answers, {broken} broken requests"
    );
}

// --- Requests with a body ---

#[tokio::test(flavor = "multi_thread")]
async fn a_request_body_streams_up_before_its_end_is_known() {
    let (vendor, proxy) = scene().await;
    let mut line = TcpStream::connect(proxy.client.addr()).await.unwrap();
    let head = "POST /lab/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nfirst\r\n";
    line.write_all(head.as_bytes()).await.unwrap();
    within(PATIENCE, "the vendor is asked", vendor.wait_asked("*", 1))
        .await
        .unwrap();
    line.write_all(b"7\r\n second\r\n0\r\n\r\n").await.unwrap();
    let answer = read_to_end(line).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"body\":\"first second\""), "{answer}");
}

async fn read_to_end(mut line: TcpStream) -> String {
    let mut answer = Vec::new();
    within(PATIENCE, "the answer ends", line.read_to_end(&mut answer))
        .await
        .unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_body_over_the_limit_is_refused_or_cut() {
    const LIMIT: usize = 64 * 1024;
    let (vendor, proxy) = scene().await;
    let addr = proxy.client.addr();
    let head = |framing: &str| {
        format!("POST /lab/echo HTTP/1.1\r\nHost: x\r\n{framing}\r\nConnection: close\r\n\r\n")
    };
    // Its length alone is enough: nothing of it has to be sent.
    let announced = head(&format!("Content-Length: {}", LIMIT + 1));
    let answer = exchange(addr, &announced).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
    assert_eq!(vendor.asked_total(), 0);

    // The last byte is the one too many.
    let chunked = head("Transfer-Encoding: chunked");
    let unannounced = format!("{chunked}{:x}\r\n{}", LIMIT + 1, "x".repeat(LIMIT + 1));
    let answer = exchange(addr, &unannounced).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let acted_on = vendor
        .requests()
        .iter()
        .filter(|asked| asked.status == Some(200))
        .count();
    assert_eq!(acted_on, 0, "half a request was acted on");

    let mut fits = request(Method::POST, "/lab/echo", &[]);
    *fits.body_mut() = Full::from(Bytes::from(vec![b'x'; LIMIT]));
    assert_eq!(proxy.client.send(fits).await.status, 200);
}

/// Sends these bytes and reads to the end of the connection.
async fn exchange(addr: SocketAddr, sent: &str) -> String {
    let mut line = TcpStream::connect(addr).await.unwrap();
    line.write_all(sent.as_bytes()).await.unwrap();
    read_to_end(line).await
}

// --- Less than a body ---

#[tokio::test(flavor = "multi_thread")]
async fn head_is_answered_from_a_stored_get_and_passed_on_without_one() {
    let (vendor, proxy) = scene().await;
    let head = || request(Method::HEAD, "/prices/A", &[]);
    let cold = proxy.client.send(head()).await;
    assert_eq!((cold.status.as_u16(), cold.body.len()), (200, 0));
    assert!(!cold.is_hit());
    let asked: Vec<_> = vendor
        .requests()
        .iter()
        .map(|asked| asked.method.clone())
        .collect();
    assert_eq!(asked, [Method::HEAD]);

    let got = proxy.get("/prices/A").await;
    let warm = proxy.client.send(head()).await;
    assert!(warm.is_hit(), "{warm:?}");
    assert_eq!(warm.body.len(), 0);
    assert_eq!(warm.field("content-length"), got.body.len().to_string());
    assert_eq!(warm.field("etag"), got.field("etag"));
    vendor.break_path("*", Fault::Refuse).unwrap();
    proxy.advance(Duration::from_secs(120));
    let stale = proxy.client.send(head()).await;
    assert!(stale.status == 200 && stale.is_stale(), "{stale:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_passed_on_where_nothing_is_stored_and_a_part_is_never_taken_for_the_whole() {
    let (vendor, proxy) = scene().await;
    let path = "/lab/response?Cache-Control=max-age%3D60&_status=206&Content-Range=bytes%200-1/10&_body=ab";
    let range = [("range", "bytes=0-1")];
    let part = proxy.client.get_with(path, &range).await;
    assert_eq!((part.status.as_u16(), part.text()), (206, "ab"));
    assert_eq!(part.cache("fwd"), Some("partial"));
    assert_eq!(vendor.requests()[0].headers["range"], "bytes=0-1");
    let next = proxy.get(path).await;
    assert!(!next.is_hit(), "{next:?}");

    let whole = proxy.get("/lab/bytes/100").await;
    let of_stored = proxy.client.get_with("/lab/bytes/100", &range).await;
    assert!(of_stored.is_hit(), "{of_stored:?}");
    match of_stored.status.as_u16() {
        // RFC 9110 14.2: a range may be ignored.
        200 => assert_eq!(of_stored.body, whole.body),
        206 => assert_eq!(of_stored.body, whole.body.slice(0..2)),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_it_gets_304_from_the_store_also_in_an_outage() {
    let (vendor, proxy) = scene().await;
    let stored = proxy.get("/prices/A").await;
    let etag = stored.field("etag");
    vendor.break_path("*", Fault::Refuse).unwrap();
    for wait in [0, 120] {
        proxy.advance(Duration::from_secs(wait));
        let fields = [("if-none-match", etag)];
        let reply = proxy.client.get_with("/prices/A", &fields).await;
        assert_eq!(
            (reply.status.as_u16(), reply.body.len()),
            (304, 0),
            "{reply:?}"
        );
        assert_eq!(reply.field("etag"), etag);
        let other = [("if-none-match", "\"other\"")];
        let reply = proxy.client.get_with("/prices/A", &other).await;
        assert_eq!((reply.status.as_u16(), &reply.body), (200, &stored.body));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_answer_is_confirmed_by_a_304_and_its_body_kept() {
    let (vendor, proxy) = scene().await;
    let path =
        "/lab/response?Cache-Control=max-age%3D5,stale-while-revalidate%3D0&_etag=v1&_body=kept";
    proxy.get(path).await;
    proxy.advance(Duration::from_secs(6));
    let confirmed = proxy.get(path).await;
    assert_eq!((confirmed.status.as_u16(), confirmed.text()), (200, "kept"));
    assert_eq!(confirmed.cache("fwd-status"), Some("304"), "{confirmed:?}");
    let asked = vendor.requests();
    assert!(
        asked[1].is_conditional() && asked[1].status == Some(304),
        "{asked:?}"
    );
    assert!(proxy.get(path).await.is_hit());
}
