//! Over real sockets: what a client sends byte by byte, and what becomes of its connection.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, Semaphore},
    task::JoinHandle,
};

use super::*;
use crate::{config::ServerConfig, http::Body};

/// Nothing here takes this long; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// More than the system keeps for a client that does not read.
const LARGE: usize = 64 << 20;

fn config() -> ServerConfig {
    ServerConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        workers: 1,
        connections_max: 100,
        header_read_timeout: Duration::from_secs(60),
        header_bytes_max: 16 * 1024,
        headers_max: 50,
        request_body_bytes_max: 1 << 20,
        http2_streams_max: 10,
        drain_for: Duration::from_secs(10),
        tunnels_max: 1024,
        trusted_proxies: Vec::new(),
        fetches_max: 10,
        requests_max: 100,
        drift_queue_bytes_max: 16 << 20,
        judges_max: 2,
        reserved_percent: 50,
        bodies_bytes_max: 1 << 30,
        client_connections_max: None,
        client_rate: None,
        clients_max: 1024,
    }
}

/// A listener that answers every request that survives `sanitize` with what it understood, after `gate` lets it pass.
struct Running {
    address: SocketAddr,
    shutdown: Shutdown,
    stats: Arc<ListenerStats>,
    task: JoinHandle<DrainReport>,
    gate: Arc<Semaphore>,
    /// Told whenever a request has arrived.
    arrived: Arc<Notify>,
}

impl Running {
    fn start(config: &ServerConfig) -> Self {
        let running = Self::start_gated(config);
        running.gate.close();
        running
    }

    /// Requests wait until the gate has a permit for them. A closed gate lets everything pass.
    fn start_gated(config: &ServerConfig) -> Self {
        let listener = Listener::bind(config).unwrap();
        let (address, stats, shutdown) = (
            listener.local_addr().unwrap(),
            listener.stats(),
            Shutdown::new(),
        );
        let sanitizer = Arc::new(Sanitizer::new(config));
        let (gate, arrived) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
        let service_for = {
            let (gate, arrived) = (Arc::clone(&gate), Arc::clone(&arrived));
            move |_peer| {
                let (sanitizer, gate, arrived) = (
                    Arc::clone(&sanitizer),
                    Arc::clone(&gate),
                    Arc::clone(&arrived),
                );
                service_fn(move |request| {
                    let (sanitizer, gate, arrived) = (
                        Arc::clone(&sanitizer),
                        Arc::clone(&gate),
                        Arc::clone(&arrived),
                    );
                    async move {
                        arrived.notify_one();
                        if let Ok(permit) = gate.acquire().await {
                            permit.forget();
                        }
                        Ok::<_, Infallible>(echo(&sanitizer, request).await)
                    }
                })
            }
        };
        let task = tokio::spawn(listener.serve(service_for, shutdown.clone()));
        Self {
            address,
            shutdown,
            stats,
            task,
            gate,
            arrived,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn stop(self) -> DrainReport {
        self.shutdown.begin();
        within(self.task).await.unwrap()
    }
}

async fn echo(sanitizer: &Sanitizer, request: Request<Incoming>) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let sanitized = match sanitizer.sanitize(&mut parts) {
        Ok(sanitized) => sanitized,
        Err(refusal) => return refusal.response(&parts.method, &parts.headers),
    };
    let Ok(body) = body.collect().await else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    let body = body.to_bytes();
    if parts.uri.path() == "/large" {
        return Response::new(Body::full(vec![b'x'; LARGE]));
    }
    let text = format!(
        "{} {} host={} body={}",
        parts.method,
        parts.uri,
        sanitized.host_name(),
        String::from_utf8_lossy(&body)
    );
    Response::new(Body::full(text))
}

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("took longer than anything here may take")
}

/// Everything until the server closes.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset after a refusal is a close like any other.
    let _ = within(stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One answer with a Content-Length, without waiting for the connection's end.
async fn read_answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .unwrap_or("0");
            if body.len() >= length.parse().unwrap() {
                return text.into_owned();
            }
        }
        let mut chunk = [0; 4096];
        let read = within(stream.read(&mut chunk)).await.unwrap();
        assert!(
            read > 0,
            "closed within an answer: {}",
            String::from_utf8_lossy(&bytes)
        );
        bytes.extend_from_slice(&chunk[..read]);
    }
}

#[tokio::test]
async fn requests_whose_framing_or_host_is_in_doubt_get_a_4xx_and_a_closed_connection() {
    let running = Running::start(&config());
    let many = "a: b\r\n".repeat(51);
    let large = format!("a: {}\r\n", "x".repeat(17 * 1024));
    let long_target = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(70 * 1024));
    for (name, sent, status) in [
        ("no request at all", "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".to_owned(), 400),
        ("a method that is no token", "G@T / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("a version that does not exist", "GET / HTTP/3.7\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("a space before the colon", "GET / HTTP/1.1\r\nhost : a\r\n\r\n".to_owned(), 400),
        ("a folded field", "GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\n 2\r\n\r\n".to_owned(), 400),
        ("a NUL in a value", "GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n".to_owned(), 400),
        ("no Host", "GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("two Hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("an empty Host", "GET / HTTP/1.1\r\nhost:\r\n\r\n".to_owned(), 400),
        ("a Host with userinfo", "GET / HTTP/1.1\r\nhost: me@a\r\n\r\n".to_owned(), 400),
        ("a Host with a path", "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n".to_owned(), 400),
        ("two Hosts in one", "GET / HTTP/1.1\r\nhost: a b\r\n\r\n".to_owned(), 400),
        ("a target without a slash", "GET a HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("an absolute target with userinfo", "GET http://me:pw@a/ HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("an absolute target of another scheme", "GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("an absolute target without Host", "GET http://a/ HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET *", "GET * HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        ("CONNECT", "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n".to_owned(), 405),
        (
            "two lengths that differ",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxy".to_owned(),
            400,
        ),
        ("two lengths in a list", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2, 2\r\n\r\nxy".to_owned(), 400),
        ("a length with a sign", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +2\r\n\r\nxy".to_owned(), 400),
        ("a length that is no number", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x2\r\n\r\nxy".to_owned(), 400),
        (
            "a length beyond counting",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\nxy".to_owned(),
            400,
        ),
        (
            "a coding that is not chunked",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\n\r\n".to_owned(),
            400,
        ),
        (
            "a coding before chunked",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n".to_owned(),
            400,
        ),
        (
            "chunked twice",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_owned(),
            400,
        ),
        (
            "something like chunked",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n".to_owned(),
            400,
        ),
        (
            "chunked in HTTP/1.0",
            "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            400,
        ),
        (
            "a chunk size that is no number",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nxy\r\n0\r\n\r\n".to_owned(),
            400,
        ),
        ("too many fields", format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"), 431),
        ("a head that is too large", format!("GET / HTTP/1.1\r\nhost: a\r\n{large}\r\n"), 431),
        ("a target that is too long", long_target, 431),
    ] {
        let mut stream = running.connect().await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        let answers = read_to_end(&mut stream).await;
        assert!(answers.starts_with(&format!("HTTP/1.1 {status} ")) || answers.starts_with(&format!("HTTP/1.0 {status} ")), "{name}: {answers}");
        assert_eq!(answers.matches("\r\ndate: ").count(), 1, "{name}: {answers}");
    }
    running.stop().await;
}

#[tokio::test]
async fn what_is_well_formed_is_understood_in_one_form() {
    let running = Running::start(&config());
    for (name, sent, want) in [
        (
            "origin-form",
            "GET /a?b HTTP/1.1\r\nHost: Shop.Example:8080\r\n",
            "GET /a?b host=shop.example body=",
        ),
        (
            "IPv6",
            "GET / HTTP/1.1\r\nhost: [::1]:80\r\n",
            "GET / host=[::1] body=",
        ),
        (
            "absolute-form wins over Host",
            "GET http://A.example/x HTTP/1.1\r\nhost: b\r\n",
            "GET /x host=a.example body=",
        ),
        (
            "absolute-form without a path",
            "GET http://a HTTP/1.1\r\nhost: a\r\n",
            "GET / host=a body=",
        ),
        (
            "HTTP/1.0 without Host",
            "GET /a HTTP/1.0\r\n",
            "GET /a host= body=",
        ),
        (
            "the same length twice is one length",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ncontent-length: 2\r\n",
            "POST / host=a body=xy",
        ),
    ] {
        let mut stream = running.connect().await;
        let body = if sent.starts_with("POST") { "xy" } else { "" };
        stream
            .write_all(format!("{sent}connection: close\r\n\r\n{body}").as_bytes())
            .await
            .unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(
            answer.contains(" 200 OK\r\n") && answer.ends_with(&format!("\r\n\r\n{want}")),
            "{name}: {answer}"
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn a_length_beside_chunked_never_lets_a_second_request_through() {
    let running = Running::start(&config());
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    for fields in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
    ] {
        let mut stream = running.connect().await;
        let sent = format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n0\r\n\r\n{smuggled}");
        stream.write_all(sent.as_bytes()).await.unwrap();
        let answers = read_to_end(&mut stream).await;
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
        assert!(!answers.contains("smuggled"), "{answers}");
    }
    running.stop().await;
}

#[tokio::test]
async fn options_about_the_server_and_trace_are_answered_here_and_the_connection_goes_on() {
    let running = Running::start(&config());
    let mut stream = running.connect().await;
    for (sent, status) in [
        ("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", "204 No Content"),
        (
            "TRACE / HTTP/1.1\r\nhost: a\r\n\r\n",
            "405 Method Not Allowed",
        ),
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "200 OK"),
    ] {
        stream.write_all(sent.as_bytes()).await.unwrap();
        let answer = read_answer(&mut stream).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{answer}"
        );
        assert_eq!(
            answer.contains("allow: GET"),
            status != "200 OK",
            "{answer}"
        );
    }
    drop(stream);
    running.stop().await;
}

#[tokio::test]
async fn a_head_that_does_not_end_in_time_ends_the_connection() {
    let config = ServerConfig {
        header_read_timeout: Duration::from_millis(100),
        ..config()
    };
    let running = Running::start(&config);
    for (name, sent) in [
        ("silence", ""),
        ("half a head", "GET / HTTP/1.1\r\nhost:"),
        ("half of what HTTP/2 begins with", "PRI * HT"),
        (
            "HTTP/2 without a first frame",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ),
    ] {
        let mut stream = running.connect().await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(!answer.contains(" 200 "), "{name}: {answer}");
    }
    assert_eq!(running.stats.idle_closed(), 4);
    running.stop().await;
}

#[tokio::test]
async fn an_idle_connection_ends_after_its_last_answer_and_not_before() {
    let config = ServerConfig {
        header_read_timeout: Duration::from_millis(100),
        ..config()
    };
    let running = Running::start_gated(&config);
    let mut stream = running.connect().await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    within(running.arrived.notified()).await;
    // The time passes while the request is still under way: it is answered all the same.
    while running.stats.idle_closed() == 0 {
        within(tokio::time::sleep(Duration::from_millis(5))).await;
    }
    running.gate.add_permits(1);
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    running.stop().await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut_off() {
    let config = ServerConfig {
        header_read_timeout: Duration::from_millis(100),
        ..config()
    };
    let running = Running::start(&config);
    let mut stream = running.connect().await;
    stream
        .write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    within(async {
        while running.stats.stalled() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        while running.stats.open() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.len() < LARGE);
    running.stop().await;
}

#[tokio::test]
async fn connections_beyond_a_clients_limit_are_closed_until_one_of_its_ends() {
    let limited = ServerConfig {
        client_connections_max: Some(2),
        ..config()
    };
    let trusting = ServerConfig {
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        ..limited.clone()
    };
    let running = Running::start(&limited);
    let first = running.connect().await;
    let mut second = running.connect().await;
    assert!(exchange(&mut second).await.starts_with("HTTP/1.1 200 OK"));
    let mut third = running.connect().await;
    // Closed, not waiting: by a reset, or by an end if that comes first.
    let mut nothing = [0; 1];
    let end = within(third.read(&mut nothing)).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert_eq!(running.stats.client_limited(), 1);
    assert!(exchange(&mut second).await.starts_with("HTTP/1.1 200 OK"));
    drop(first);
    within(async {
        while running.stats.open() > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let mut fourth = running.connect().await;
    assert!(exchange(&mut fourth).await.starts_with("HTTP/1.1 200 OK"));
    drop((second, fourth));
    running.stop().await;

    let running = Running::start(&trusting);
    let mut open = Vec::new();
    for _ in 0..5 {
        let mut stream = running.connect().await;
        assert!(exchange(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
        open.push(stream);
    }
    assert_eq!(running.stats.client_limited(), 0);
    running.stop().await;
}

/// One request and the first piece of its answer.
async fn exchange(stream: &mut TcpStream) -> String {
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    within(stream.write_all(request)).await.unwrap();
    let mut answer = vec![0; 4096];
    let len = within(stream.read(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer[..len]).into_owned()
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_one_ends() {
    let config = ServerConfig {
        connections_max: 2,
        ..config()
    };
    let running = Running::start(&config);
    let ask = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut first = running.connect().await;
    let mut second = running.connect().await;
    for stream in [&mut first, &mut second] {
        stream.write_all(ask).await.unwrap();
        read_answer(stream).await;
    }
    let mut third = running.connect().await;
    third.write_all(ask).await.unwrap();
    // Both go on being served while the third waits.
    for _ in 0..20 {
        first.write_all(ask).await.unwrap();
        read_answer(&mut first).await;
    }
    assert_eq!(
        (
            running.stats.open(),
            running.stats.accepted(),
            running.stats.full()
        ),
        (2, 2, 1)
    );
    drop(second);
    read_answer(&mut third).await;
    assert_eq!(running.stats.accepted(), 3);
    drop((first, third));
    running.stop().await;
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way_and_refuses_what_is_new() {
    let running = Running::start_gated(&config());
    let mut idle = running.connect().await;
    let mut busy = running.connect().await;
    busy.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    within(running.arrived.notified()).await;
    running.shutdown.begin();
    assert_eq!(
        read_to_end(&mut idle).await,
        "",
        "an idle connection ends at once"
    );
    let refused = within(TcpStream::connect(running.address)).await;
    assert!(refused.is_err(), "nothing listens any more");
    running.gate.add_permits(1);
    let answer = read_to_end(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let report = running.stop().await;
    assert_eq!((report.finished, report.cut_off), (2, 0));
}

#[tokio::test]
async fn what_outlasts_the_drain_is_cut_off_and_counted() {
    let config = ServerConfig {
        drain_for: Duration::from_millis(50),
        ..config()
    };
    let running = Running::start_gated(&config);
    let mut stuck = running.connect().await;
    stuck
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    within(running.arrived.notified()).await;
    let report = running.stop().await;
    assert_eq!((report.finished, report.cut_off), (0, 1));
    assert_eq!(read_to_end(&mut stuck).await, "");
}

#[tokio::test]
async fn http2_is_spoken_by_prior_knowledge_and_held_to_the_same_rules() {
    let running = Running::start(&config());
    let stream = running.connect().await;
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    for (name, uri, fields, status, want) in [
        (
            ":authority is the host",
            "http://Shop.example/a?b",
            &[][..],
            200,
            "GET /a?b host=shop.example body=",
        ),
        (
            "a Host that agrees",
            "http://shop.example/a",
            &[("host", "SHOP.example")][..],
            200,
            "GET /a host=shop.example body=",
        ),
        (
            "a Host that does not",
            "http://shop.example/a",
            &[("host", "other.example")][..],
            400,
            "",
        ),
    ] {
        let mut request = Request::builder().uri(uri).version(Version::HTTP_2);
        for (field, value) in fields {
            request = request.header(*field, *value);
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response = within(client.send_request(request)).await.unwrap();
        assert_eq!(response.status(), status, "{name}");
        let body = within(response.into_body().collect())
            .await
            .unwrap()
            .to_bytes();
        assert!(body.ends_with(want.as_bytes()), "{name}: {body:?}");
    }
    let mut crowded = Request::builder().uri("http://a/");
    for index in 0..51 {
        crowded = crowded.header(format!("x-{index}"), "1");
    }
    let response = within(client.send_request(crowded.body(Empty::new()).unwrap()))
        .await
        .unwrap();
    assert_eq!(response.status(), 431, "too many fields");
    drop(client);
    within(connection).await.unwrap().unwrap();
    running.stop().await;
}

#[tokio::test]
async fn an_address_that_cannot_be_had_is_explained() {
    let taken = Listener::bind(&config()).unwrap();
    let address = taken.local_addr().unwrap();
    let limits = Limits::from(&config());
    let in_use = Listener::bind_with(address, limits.clone()).unwrap_err();
    assert!(matches!(in_use, ListenError::InUse { .. }), "{in_use}");
    assert!(in_use.to_string().contains("already in use"), "{in_use}");
    let not_ours = Listener::bind_with(SocketAddr::from(([192, 0, 2, 1], 0)), limits).unwrap_err();
    assert!(
        matches!(not_ours, ListenError::NotLocal { .. }),
        "{not_ours}"
    );
}
