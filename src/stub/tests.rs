//! The stub over real sockets, asked by a client that sees every byte.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::*;
use crate::clock::Timestamp;

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came back on a connection, and how it ended.
#[derive(Debug)]
struct Seen {
    bytes: Vec<u8>,
    end: Result<(), ErrorKind>,
}

// --- Seen ---

impl Seen {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    fn status(&self) -> Option<u16> {
        self.text()
            .strip_prefix("HTTP/1.1 ")?
            .get(..3)?
            .parse()
            .ok()
    }

    fn body(&self) -> String {
        let text = self.text();
        text.split_once("\r\n\r\n")
            .map_or("", |(_, body)| body)
            .to_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body()).unwrap()
    }

    fn field(&self, name: &str) -> Option<String> {
        let text = self.text();
        let (head, _) = text.split_once("\r\n\r\n")?;
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned())
    }
}

async fn stub() -> Stub {
    stub_with(StubOptions::default()).await
}

/// With a clock that stands still, so that no price changes between two questions.
async fn stub_with(options: StubOptions) -> Stub {
    let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
    Stub::start(StubOptions { clock, ..options }).await.unwrap()
}

/// Sends `text` and reads until the other side ends the connection.
async fn exchange(addr: SocketAddr, text: &str) -> Seen {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    read_to_end(&mut stream).await
}

async fn read_to_end(stream: &mut TcpStream) -> Seen {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .unwrap();
    let end = read.map(|_| ()).map_err(|error| error.kind());
    Seen { bytes, end }
}

async fn get(addr: SocketAddr, target: &str) -> Seen {
    ask(addr, "GET", target, "").await
}

async fn ask(addr: SocketAddr, method: &str, target: &str, fields: &str) -> Seen {
    let text =
        format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n");
    exchange(addr, &text).await
}

async fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "still not: {what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn good_answer_has_validators_lifetime_and_date() {
    let stub = stub().await;
    let seen = get(stub.addr(), "/prices/A-1?currency=USD").await;
    assert_eq!(seen.status(), Some(200));
    assert_eq!(seen.json()["currency"], "USD");
    assert_eq!(seen.field("date").unwrap(), "Fri, 15 Jan 2027 08:00:00 GMT");
    assert_eq!(seen.field("cache-control").unwrap(), "max-age=1");
    assert_eq!(
        seen.field("content-length").unwrap(),
        seen.body().len().to_string()
    );

    let etag = seen.field("etag").unwrap();
    let fields = format!("If-None-Match: {etag}\r\n");
    let unchanged = ask(stub.addr(), "GET", "/prices/A-1?currency=USD", &fields).await;
    assert_eq!(
        (unchanged.status(), unchanged.body().as_str()),
        (Some(304), "")
    );
    assert_eq!(unchanged.field("etag"), Some(etag));
    assert_eq!(unchanged.field("content-length"), None);
    let undated = get(stub.addr(), "/lab/response?_date=off").await;
    assert_eq!(undated.field("date"), None);
}

#[tokio::test]
async fn head_is_the_head_of_get() {
    let stub = stub().await;
    for target in ["/prices/A-1", "/lab/bytes/1000", "/lab/chunked/1000"] {
        let got = get(stub.addr(), target).await;
        let head = ask(stub.addr(), "HEAD", target, "").await;
        assert_eq!(
            (head.status(), head.body().as_str()),
            (Some(200), ""),
            "{target}"
        );
        assert_eq!(
            head.field("content-length"),
            got.field("content-length"),
            "{target}"
        );
        assert_eq!(head.field("etag"), got.field("etag"), "{target}");
    }
}

#[tokio::test]
async fn http2_is_answered_by_prior_knowledge() {
    let stub = stub().await;
    let stream = TcpStream::connect(stub.addr()).await.unwrap();
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut client, connection) = handshake.await.unwrap();
    let connection = tokio::spawn(connection);
    let request = |path: &str| {
        Request::get(stub.url(path))
            .body(Empty::<bytes::Bytes>::new())
            .unwrap()
    };
    let answer = client
        .send_request(request("/lab/bytes/200000"))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes().len(),
        200_000
    );

    stub.break_path("*", Fault::Reset).unwrap();
    assert!(client.send_request(request("/prices/A")).await.is_err());
    assert_eq!(stub.asked("/prices/A"), 1);
    timeout(PATIENCE, connection)
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
}

#[tokio::test]
async fn transport_faults_are_real_on_the_wire_and_counted() {
    let reset = Err(ErrorKind::ConnectionReset);
    let whole = get(stub().await.addr(), "/prices/A").await.body();
    let half = &whole[..whole.len() / 2];
    let promised = whole.len().to_string();
    for (fault, body, length, end) in [
        ("kind=reset", None, None, reset),
        ("kind=close", None, None, Ok(())),
        ("kind=reset_mid_body", Some(half), Some(&promised), reset),
        ("kind=truncate", Some(half), Some(&promised), Ok(())),
    ] {
        let stub = stub().await;
        stub.break_with(fault.parse().unwrap()).unwrap();
        let seen = get(stub.addr(), "/prices/A").await;
        assert_eq!(seen.end, end, "{fault}");
        assert_eq!(seen.status(), body.map(|_| 200), "{fault}");
        assert_eq!(seen.body(), body.unwrap_or_default(), "{fault}");
        assert_eq!(seen.field("content-length").as_ref(), length, "{fault}");
        assert_eq!(stub.asked("/prices/*"), 1, "{fault}");
        assert_eq!(stub.requests()[0].fault.as_deref(), Some(fault));
    }
}

#[tokio::test]
async fn truncated_chunks_lack_the_last_one() {
    let stub = stub().await;
    stub.break_path("*", Fault::Truncate { chunked: true })
        .unwrap();
    for target in ["/prices/A", "/lab/chunked/10000"] {
        let seen = get(stub.addr(), target).await;
        assert_eq!(
            seen.field("transfer-encoding").as_deref(),
            Some("chunked"),
            "{target}"
        );
        assert!(!seen.body().is_empty(), "{target}");
        assert!(!seen.text().ends_with("0\r\n\r\n"), "{target}");
        assert_eq!(seen.end, Ok(()), "{target}");
    }
}

#[tokio::test]
async fn large_body_is_cut_where_it_should_be() {
    let stub = stub().await;
    stub.break_path("*", Fault::Truncate { chunked: false })
        .unwrap();
    let seen = get(stub.addr(), "/lab/bytes/10000000").await;
    assert_eq!(seen.field("content-length").as_deref(), Some("10000000"));
    assert_eq!(seen.body().len(), 5_000_000);
}

#[tokio::test]
async fn garbage_is_not_http() {
    let stub = stub().await;
    stub.break_path("*", Fault::Garbage).unwrap();
    let seen = get(stub.addr(), "/prices/A").await;
    assert!(!seen.bytes.is_empty() && !seen.bytes.starts_with(b"HTTP"));
    assert_eq!(seen.end, Ok(()));
}

#[tokio::test]
async fn hang_never_answers_and_ends_with_its_client() {
    let stub = stub().await;
    stub.break_path("/prices/*", Fault::Hang).unwrap();
    let mut stream = TcpStream::connect(stub.addr()).await.unwrap();
    stream
        .write_all(b"GET /prices/A HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    timeout(PATIENCE, stub.wait_asked("/prices/*", 1))
        .await
        .unwrap()
        .unwrap();
    let mut byte = [0];
    let silence = timeout(Duration::from_millis(100), stream.read(&mut byte)).await;
    assert!(silence.is_err(), "something came: {silence:?}");
    assert_eq!(
        get(stub.addr(), "/catalogue/p-1").await.status(),
        Some(200),
        "other paths go on"
    );
    drop(stream);
    wait_until("the hung connection is gone", || {
        stub.connections_open() == 0
    })
    .await;
}

#[tokio::test]
async fn slow_faults_take_their_time_and_answer_well() {
    let whole = get(stub().await.addr(), "/prices/A").await.body();
    for (fault, at_least_ms) in [
        ("kind=slow_head delay=150ms", 150),
        ("kind=latency delay=150ms..200ms", 150),
        (
            "kind=drip bytes=20 gap=20ms",
            20 * (whole.len() as u64 / 20),
        ),
    ] {
        let stub = stub().await;
        stub.break_with(fault.parse().unwrap()).unwrap();
        let begun = Instant::now();
        let seen = get(stub.addr(), "/prices/A").await;
        assert!(
            begun.elapsed() >= Duration::from_millis(at_least_ms),
            "{fault}"
        );
        assert_eq!(
            (seen.status(), seen.body()),
            (Some(200), whole.clone()),
            "{fault}"
        );
    }
}

#[tokio::test]
async fn status_and_content_faults_reach_the_client() {
    let stub = stub().await;
    let etag = get(stub.addr(), "/prices/A").await.field("etag").unwrap();
    let conditional = format!("If-None-Match: {etag}\r\n");
    for (fault, status, body) in [
        ("kind=status status=429 retry_after=7", 429, None),
        ("kind=empty", 200, Some("")),
        (
            "kind=invalid_json",
            200,
            Some("{\"sku\": \"A-1\", \"price\": 12."),
        ),
    ] {
        stub.break_with(fault.parse().unwrap()).unwrap();
        let seen = ask(stub.addr(), "GET", "/prices/A", &conditional).await;
        assert_eq!(seen.status(), Some(status), "{fault}");
        if let Some(body) = body {
            assert_eq!(seen.body(), body, "{fault}");
            assert_eq!(
                seen.field("content-length").unwrap(),
                body.len().to_string(),
                "{fault}"
            );
        }
    }
    stub.break_path("*", Fault::ZeroPrice).unwrap();
    let seen = ask(stub.addr(), "GET", "/prices/A", &conditional).await;
    assert_eq!(seen.json()["price"], 0, "a 304 must not hide the fault");
}

#[tokio::test]
async fn refusal_closes_the_port_and_idle_connections_until_mended() {
    let stub = stub().await;
    let addr = stub.addr();
    let mut idle = TcpStream::connect(addr).await.unwrap();
    idle.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    assert!(idle.read(&mut [0; 1024]).await.unwrap() > 0);
    assert_eq!(stub.asked_total(), 1);

    stub.break_path("*", Fault::Refuse).unwrap();
    let refused = TcpStream::connect(addr).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    // Too late: it is either closed already or reset, but not answered and not counted.
    let _ = idle
        .write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    assert_eq!(read_to_end(&mut idle).await.text(), "");
    wait_until("no connection is left", || stub.connections_open() == 0).await;
    assert_eq!(stub.asked_total(), 1);

    assert_eq!(stub.mend("*"), 1);
    assert_eq!(
        get(addr, "/health").await.status(),
        Some(200),
        "the same port"
    );
}

#[tokio::test]
async fn request_in_flight_is_finished_when_refusal_begins() {
    let stub = stub().await;
    let addr = stub.addr();
    let slow = tokio::spawn(async move { get(addr, "/lab/slow/200").await });
    stub.wait_asked("/lab/slow/*", 1).await.unwrap();
    stub.break_path("*", Fault::Refuse).unwrap();
    assert_eq!(slow.await.unwrap().status(), Some(200));
}

#[tokio::test]
async fn refusal_ends_by_itself_and_by_schedule() {
    let stub = stub_with(StubOptions {
        schedule: vec![
            "kind=refuse at=100ms for=300ms every=700ms"
                .parse()
                .unwrap(),
        ],
        ..StubOptions::default()
    })
    .await;
    let addr = stub.addr();
    let is_refusing = || async { TcpStream::connect(addr).await.is_err() };
    for want in [true, false] {
        let begun = Instant::now();
        while is_refusing().await != want {
            assert!(begun.elapsed() < PATIENCE, "refusing never became {want}");
        }
    }
    stub.mend_all();
    assert_eq!(get(addr, "/health").await.status(), Some(200));
}

#[tokio::test]
async fn write_is_done_although_its_answer_is_lost() {
    let stub = stub().await;
    let body = r#"{"hotel":"grand"}"#;
    let fields = format!("Content-Length: {}\r\n", body.len());
    let post = format!("POST /bookings HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}");
    stub.break_path("/bookings", Fault::Reset).unwrap();
    exchange(stub.addr(), &post).await;
    assert_eq!(stub.bookings_made(), 1);
    assert_eq!(stub.requests()[0].body_bytes, body.len() as u64);
    stub.break_path("/bookings", Fault::status(StatusCode::SERVICE_UNAVAILABLE))
        .unwrap();
    let refused = ask(stub.addr(), "POST", "/bookings", "Content-Length: 0\r\n").await;
    assert_eq!((refused.status(), stub.bookings_made()), (Some(503), 1));
}

#[tokio::test]
async fn half_a_write_is_not_acted_upon() {
    let stub = stub().await;
    let mut stream = TcpStream::connect(stub.addr()).await.unwrap();
    let post = "POST /lab/counter/a HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"half\":";
    stream.write_all(post.as_bytes()).await.unwrap();
    stub.wait_asked("/lab/*", 1).await.unwrap();
    drop(stream);
    wait_until("the connection is gone", || stub.connections_open() == 0).await;
    assert_eq!(get(stub.addr(), "/lab/counter/a").await.json()["count"], 1);
}

#[tokio::test]
async fn percent_hits_a_share_that_repeats_with_the_seed() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let stub = stub().await;
        stub.break_with("kind=status percent=50".parse().unwrap())
            .unwrap();
        let mut statuses = Vec::new();
        for _ in 0..40 {
            statuses.push(get(stub.addr(), "/health").await.status().unwrap());
        }
        runs.push(statuses);
    }
    assert!(runs[0].contains(&200) && runs[0].contains(&503));
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn events_arrive_one_by_one() {
    let stub = stub().await;
    let seen = get(stub.addr(), "/lab/events?count=3&every=10ms").await;
    assert_eq!(seen.field("content-type").unwrap(), "text/event-stream");
    assert_eq!(seen.text().matches("event: tick").count(), 3);
}

#[tokio::test]
async fn one_line_breaks_the_vendor_and_one_mends_it() {
    let stub = stub().await;
    let control = stub.control_addr();
    let said = ask(control, "POST", "/break?kind=refuse", "").await;
    assert_eq!(
        (said.status(), said.body().as_str()),
        (Some(200), "broken: kind=refuse path=*\n")
    );
    assert!(TcpStream::connect(stub.addr()).await.is_err());
    let listed = get(control, "/faults").await.json();
    assert_eq!(listed[0]["kind"], "refuse");
    assert_eq!(listed[0]["active"], true);
    let said = ask(control, "POST", "/mend", "").await;
    assert_eq!(said.body(), "mended: 1\n");
    assert_eq!(get(stub.addr(), "/health").await.status(), Some(200));
}

#[tokio::test]
async fn control_refuses_what_it_does_not_know_and_says_what_it_does() {
    let stub = stub().await;
    for (method, target, status, want) in [
        ("POST", "/break?kind=hangg", 400, "did you mean 'hang'?"),
        ("POST", "/break", 400, "no kind given"),
        (
            "POST",
            "/break?kind=refuse&path=/prices/*",
            400,
            "needs path=*",
        ),
        ("POST", "/mend?pat=/prices/*", 400, "did you mean 'path'?"),
        ("POST", "/mend?path=prices", 400, "is no path pattern"),
        ("GET", "/requests?last=few", 400, "expected last=N"),
        ("GET", "/break?kind=hang", 405, ""),
    ] {
        let seen = ask(stub.control_addr(), method, target, "").await;
        assert_eq!(seen.status(), Some(status), "{method} {target}");
        let body = seen.body();
        assert!(body.contains(want), "{method} {target}: {body}");
    }
    let help = get(stub.control_addr(), "/").await.body();
    for (kind, _) in fault::KINDS {
        assert!(help.contains(kind), "the help does not know {kind}");
    }
}

#[tokio::test]
async fn control_lists_requests_without_credentials_and_forgets_them() {
    let stub = stub().await;
    ask(
        stub.addr(),
        "GET",
        "/prices/A",
        "Authorization: Bearer s3cret\r\n",
    )
    .await;
    get(stub.addr(), "/prices/B").await;
    let seen = get(stub.control_addr(), "/requests?last=1").await;
    assert_eq!(seen.json()["total"], 2);
    assert_eq!(
        seen.json()["by_path"],
        json!({ "/prices/A": 1, "/prices/B": 1 })
    );
    assert_eq!(seen.json()["requests"][0]["target"], "/prices/B");
    assert_eq!(seen.json()["requests"][0]["status"], 200);
    let all = get(stub.control_addr(), "/requests").await;
    assert!(all.text().contains("(hidden)") && !all.text().contains("s3cret"));
    assert_eq!(stub.requests()[0].headers["authorization"], "Bearer s3cret");

    ask(stub.control_addr(), "DELETE", "/requests", "").await;
    assert_eq!((stub.asked_total(), stub.asked("/prices/*")), (0, 0));
}

#[tokio::test]
async fn port_in_use_is_an_error_that_says_what_to_do() {
    let stub = stub().await;
    let taken = StubOptions {
        listen: stub.addr(),
        ..StubOptions::default()
    };
    let why = Stub::start(taken).await.unwrap_err().to_string();
    assert!(
        why.contains(&stub.addr().to_string()) && why.contains("--listen"),
        "{why}"
    );
}

#[tokio::test]
async fn shutdown_and_drop_end_everything() {
    for by_drop in [false, true] {
        let stub = stub().await;
        let (addr, control) = (stub.addr(), stub.control_addr());
        stub.break_path("*", Fault::Hang).unwrap();
        let hung = tokio::spawn(async move { get(addr, "/prices/A").await });
        stub.wait_asked("*", 1).await.unwrap();
        if by_drop {
            drop(stub);
        } else {
            stub.shutdown().await;
        }
        assert_eq!(hung.await.unwrap().text(), "", "the hung connection ends");
        let refused = TcpStream::connect(addr).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let begun = Instant::now();
        while TcpStream::connect(control).await.is_ok() {
            assert!(begun.elapsed() < PATIENCE, "the control API goes on");
        }
    }
}

/// The connection's task writes while another one reads the body: each order of the two must end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn http2_answer_is_cut_whichever_task_is_first() {
    let stub = stub().await;
    stub.break_path("*", Fault::Truncate { chunked: false })
        .unwrap();
    for _ in 0..20 {
        let io = TokioIo::new(TcpStream::connect(stub.addr()).await.unwrap());
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
        let (mut client, connection) = handshake.await.unwrap();
        let connection = tokio::spawn(connection);
        let request = Request::get(stub.url("/prices/A")).body(Empty::<bytes::Bytes>::new());
        let answer = client.send_request(request.unwrap()).await.unwrap();
        let body = timeout(PATIENCE, answer.into_body().collect()).await;
        assert!(body.unwrap().is_err(), "the body must not look complete");
        let _ = timeout(PATIENCE, connection).await.unwrap();
    }
}
