//! The client over real loopback sockets, against origins that misbehave in ways no server library would.

use std::sync::Mutex;

use http::Method;
use http_body_util::BodyExt;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tower::ServiceExt;

use super::*;
use crate::{
    config::{
        BreakerConfig, Credential, EjectionConfig, EndpointConfig, RetryConfig, SharesConfig,
        StatusSet,
    },
    upstream::tls::{self, Trust},
};

/// An upstream with the defaults of the config reference, short timeouts, and these endpoints.
pub(crate) fn config(endpoints: &[&str]) -> UpstreamConfig {
    let mut failures = StatusSet::none();
    (500..600)
        .chain([429])
        .for_each(|code| failures.insert(code));
    UpstreamConfig {
        name: "vendor".into(),
        endpoints: endpoints
            .iter()
            .map(|uri| EndpointConfig {
                uri: uri.parse().expect("endpoint"),
                priority: 0,
            })
            .collect(),
        owner: None,
        runbook: None,
        review_by: None,
        api_version: None,
        host: UpstreamHost::Endpoint,
        connect_timeout: Duration::from_secs(1),
        attempt_timeout: Duration::from_secs(5),
        attempt_timeout_stale: Duration::from_secs(2),
        body_idle_timeout: Duration::from_secs(5),
        protocol: UpstreamProtocol::Auto,
        ca_file: None,
        pool_idle_max: 4,
        pool_idle_timeout: Duration::from_secs(5),
        credentials: Vec::new(),
        breaker: BreakerConfig {
            enabled: true,
            failure_percent: 50,
            slow_percent: 80,
            slow_after: Duration::from_secs(2),
            consecutive_failures: 5,
            min_calls: 10,
            window_calls: 50,
            window: Duration::from_secs(30),
            open_for: Duration::from_millis(500),
            open_for_max: Duration::from_secs(3),
            open_for_max_after: Duration::from_secs(360),
            probes: 3,
            probe_calls: 3,
            probe_success_percent: 100,
        },
        retry: RetryConfig {
            retries_max: 2,
            retries_max_stale: 1,
            backoff_min: Duration::from_millis(1),
            backoff_max: Duration::from_millis(10),
            attempt_min: Duration::from_millis(100),
            budget_percent: 20,
            budget_min_per_second: 1,
            budget_window: Duration::from_secs(10),
            idempotency_header: Some(http::HeaderName::from_static("idempotency-key")),
            body_bytes_max: 64 << 10,
        },
        in_flight_max: 64,
        adaptive: None,
        shares: SharesConfig::default(),
        quota: None,
        quota_headers: true,
        failures,
        retry_after_max: Duration::from_secs(900),
        error_bytes_max: 1_024,
        ejection: EjectionConfig {
            enabled: endpoints.len() > 1,
            consecutive_failures: 5,
            eject_for: Duration::from_millis(500),
            eject_for_max: Duration::from_secs(30),
            percent_max: 50,
        },
        health: None,
        slow_start: Duration::from_secs(10),
        dns_refresh: Duration::from_secs(30),
        written: Default::default(),
    }
}

/// What an origin does with one connection.
#[derive(Clone, Copy)]
enum Deed {
    /// Reads a request head, writes this, closes.
    Answer(&'static [u8]),
    /// Writes this before anything was read, closes.
    SpeakFirst(&'static [u8]),
    /// Closes without a word once the head was read.
    Close,
    /// Resets it then.
    Reset,
}

/// An origin that plays one deed per connection, in order, and notes what it was asked.
pub(crate) struct Origin {
    uri: String,
    asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Origin {
    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic under it").clone()
    }

    async fn playing(deeds: impl IntoIterator<Item = Deed>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let uri = format!("http://{}", listener.local_addr().expect("bound"));
        let deeds: Vec<_> = deeds.into_iter().collect();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            for deed in deeds {
                let (mut socket, _) = listener.accept().await.expect("accepts");
                if let Deed::SpeakFirst(bytes) = deed {
                    let _ = socket.write_all(bytes).await;
                    continue;
                }
                let head = read_head(&mut socket).await;
                noted.lock().expect("no panic under it").push(head);
                match deed {
                    Deed::Answer(bytes) => {
                        let _ = socket.write_all(bytes).await;
                        let _ = socket.shutdown().await;
                        // Until the client has hung up: closing over unread bytes would be a reset.
                        let _ = socket.read(&mut [0; 1024]).await;
                    }
                    Deed::Close | Deed::SpeakFirst(_) => {}
                    Deed::Reset => {
                        let linger = Some(Duration::ZERO);
                        socket2::SockRef::from(&socket)
                            .set_linger(linger)
                            .expect("lingers");
                    }
                }
            }
        });
        Self { uri, asked, task }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An origin that gives these answers, one per connection.
pub(crate) async fn origin(answers: impl IntoIterator<Item = &'static str>) -> Origin {
    Origin::playing(answers.into_iter().map(|it| Deed::Answer(it.as_bytes()))).await
}

async fn read_head(socket: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// An endpoint that refuses: its port is bound, so that nobody else gets it, but not listened on.
pub(crate) struct Refusing {
    uri: String,
    _bound: socket2::Socket,
}

impl Refusing {
    pub(crate) fn new() -> Self {
        let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
        let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        bound.bind(&any.into()).expect("loopback");
        let address = bound.local_addr().expect("bound").as_socket();
        Self {
            uri: format!("http://{}", address.expect("IPv4")),
            _bound: bound,
        }
    }

    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }
}

fn client(config: &UpstreamConfig) -> EndpointClient {
    let trust = config.ca_file.as_deref().map_or(Trust::Nobody, Trust::File);
    let tls = tls::client_config(trust).expect("trust");
    EndpointClient::new(config, &config.endpoints[0].uri, &tls, &Network::system())
        .expect("sound config")
}

fn request(path: &str) -> Request {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path.parse().expect("path");
    request
}

async fn failure(config: &UpstreamConfig) -> Failure {
    client(config)
        .oneshot(request("/"))
        .await
        .expect_err("has to fail")
}

#[tokio::test]
async fn each_way_to_fail_has_its_cause_and_says_what_was_sent() {
    for (name, deed, want) in [
        (
            "closed without a word",
            Deed::Close,
            Cause::ConnectionTerminated,
        ),
        ("reset", Deed::Reset, Cause::ConnectionTerminated),
        (
            "cut off in the head",
            Deed::Answer(b"HTTP/1.1 200 OK\r\ncontent-le"),
            Cause::ConnectionTerminated,
        ),
        (
            "garbage",
            Deed::Answer(b"\x00\x01 no HTTP\r\n\r\n"),
            Cause::Protocol,
        ),
        (
            "two lengths",
            Deed::Answer(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"),
            Cause::Protocol,
        ),
        (
            "switched protocols unasked",
            Deed::Answer(b"HTTP/1.1 101 Go\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
            Cause::Protocol,
        ),
    ] {
        let origin = Origin::playing([deed]).await;
        let failure = failure(&config(&[origin.uri()])).await;
        assert_eq!(failure.cause(), want, "{name}: {failure:?}");
        assert_eq!(failure.sent(), Sent::MayHaveActed, "{name}");
    }
}

#[tokio::test]
async fn what_never_connected_sent_nothing() {
    let refused = Refusing::new();
    // A label of more than 63 bytes: no resolver is asked.
    let no_name = format!("http://{}.invalid", "x".repeat(70));
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let silent = (
        format!("https://{}", silent.local_addr().expect("bound")),
        silent,
    );
    let plain = Origin::playing([
        Deed::SpeakFirst(b"220 mail.example ready\r\n"),
        Deed::SpeakFirst(b""),
    ])
    .await;
    let plain_uri = plain.uri().replace("http:", "https:");
    for (name, endpoint, want) in [
        ("refused", refused.uri(), Cause::ConnectRefused),
        ("no such name", &no_name, Cause::Dns),
        (
            "a handshake nobody answers",
            &silent.0,
            Cause::ConnectTimeout,
        ),
        ("no TLS there", &plain_uri, Cause::Tls),
        ("hung up on in the handshake", &plain_uri, Cause::Tls),
    ] {
        let mut config = config(&[endpoint]);
        config.connect_timeout = Duration::from_millis(400);
        let failure = failure(&config).await;
        assert_eq!(failure.sent(), Sent::Nothing, "{name}");
        assert_eq!(failure.cause(), want, "{name}: {failure:?}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error_not_a_short_body() {
    for (name, answer) in [
        (
            "length",
            &b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort"[..],
        ),
        (
            "chunks",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n",
        ),
    ] {
        let origin = Origin::playing([Deed::Answer(answer)]).await;
        let response = client(&config(&[origin.uri()])).oneshot(request("/")).await;
        let body = response.expect("the head is fine").into_body();
        body.collect().await.expect_err(name);
    }
}

#[tokio::test]
async fn a_request_is_aimed_at_the_endpoint_and_carries_nothing_of_the_connection_before() {
    let origin =
        origin(["HTTP/1.1 200 OK\r\nkeep-alive: timeout=5\r\ncontent-length: 0\r\n\r\n"]).await;
    let mut config = config(&[&format!("{}/v2", origin.uri())]);
    config.credentials = vec![Credential {
        header: header::AUTHORIZATION,
        value: "Bearer s3cret".to_owned().into(),
        source: "file `token`".into(),
    }];
    let mut request = request("/prices/1?currency=EUR");
    for (name, value) in [
        ("host", "shop.example"),
        ("connection", "x-once"),
        ("x-once", "1"),
        ("te", "trailers"),
        ("authorization", "Bearer visitor"),
        ("accept", "*/*"),
    ] {
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    let response = client(&config).oneshot(request).await.expect("answers");
    assert!(!response.headers().contains_key("keep-alive"));
    let host = origin.uri().trim_start_matches("http://");
    let asked = origin.asked().concat().to_ascii_lowercase();
    let mut lines: Vec<_> = asked.trim().lines().collect();
    lines[1..].sort_unstable();
    let host = format!("host: {host}");
    assert_eq!(
        lines,
        [
            "get /v2/prices/1?currency=eur http/1.1",
            "accept: */*",
            "authorization: bearer s3cret",
            "connection: te",
            host.as_str(),
            "te: trailers",
        ]
    );
}

#[tokio::test]
async fn an_upstream_cannot_nominate_away_what_decides_storing() {
    let origin = origin(
        ["HTTP/1.1 200 OK\r\nconnection: close, cache-control, vary, x-once\r\ncache-control: private\r\nvary: cookie\r\nx-once: 1\r\ncontent-length: 0\r\n\r\n"],
    )
    .await;
    let response = client(&config(&[origin.uri()]))
        .oneshot(request("/"))
        .await
        .expect("answers");
    let mut left: Vec<_> = response
        .headers()
        .keys()
        .map(header::HeaderName::as_str)
        .collect();
    left.sort_unstable();
    assert_eq!(left, ["cache-control", "content-length", "vary"]);
}

#[test]
fn the_upstream_sees_the_host_it_is_meant_to() {
    let fixed = UpstreamHost::Fixed(HeaderValue::from_static("api.vendor.example"));
    for (name, host, protocol, want_host, want_authority) in [
        (
            "endpoint",
            UpstreamHost::Endpoint,
            UpstreamProtocol::Http2,
            "e.example:81",
            "e.example:81",
        ),
        (
            "fixed",
            fixed.clone(),
            UpstreamProtocol::Http1,
            "api.vendor.example",
            "e.example:81",
        ),
        (
            "fixed, HTTP/2",
            fixed,
            UpstreamProtocol::Http2,
            "api.vendor.example",
            "api.vendor.example",
        ),
        (
            "preserved",
            UpstreamHost::Preserve,
            UpstreamProtocol::Http1,
            "shop.example",
            "e.example:81",
        ),
        (
            "preserved, HTTP/2",
            UpstreamHost::Preserve,
            UpstreamProtocol::Http2,
            "shop.example",
            "shop.example",
        ),
    ] {
        let endpoint = "http://user:pw@e.example:81/".parse().expect("uri");
        let mut config = config(&["http://unused"]);
        (config.host, config.protocol) = (host, protocol);
        let target = Target::new(&config, &endpoint).expect("sound");
        let mut request = request("/a");
        request
            .headers_mut()
            .insert("host", HeaderValue::from_static("shop.example"));
        target.aim(&mut request, None).expect("aimed");
        assert_eq!(request.headers()["host"], want_host, "{name}");
        let uri = format!("http://{want_authority}/a");
        assert_eq!(request.uri().to_string(), uri, "{name}");
    }
}

#[tokio::test]
async fn a_request_body_that_breaks_is_the_clients_failure() {
    use crate::http::body::{BodyError, SharedError};

    let origin = origin(["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]).await;
    let mut request = request("/");
    *request.method_mut() = Method::PUT;
    let broken = futures_util::stream::iter([Err(BodyError::Incomplete(SharedError::new("gone")))]);
    *request.body_mut() = Body::stream(http_body_util::StreamBody::new(broken));
    let result = client(&config(&[origin.uri()])).oneshot(request).await;
    assert_eq!(result.expect_err("broken").cause(), Cause::RequestBody);
}

#[tokio::test]
async fn one_connection_carries_one_request_after_the_other() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let uri = format!("http://{}", listener.local_addr().expect("bound"));
    let server = tokio::spawn(async move {
        // A second connection would never be answered.
        let (mut socket, _) = listener.accept().await.expect("accepts");
        loop {
            if read_head(&mut socket).await.is_empty() {
                return;
            }
            let answer =
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            socket.write_all(answer).await.expect("written");
        }
    });
    let client = client(&config(&[&uri]));
    for _ in 0..3 {
        let answer = timeout(Duration::from_secs(5), client.clone().oneshot(request("/")));
        let response = answer
            .await
            .expect("on the first connection")
            .expect("answers");
        assert_eq!(response.status(), 200, "1xx is ignored");
        let body = response.into_body().collect().await.expect("whole");
        assert_eq!(body.to_bytes(), "ok");
        // The connection goes back to the pool in tasks of its own, which are ready by now but have not run.
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
    }
    drop(client);
    server.await.expect("saw the end");
}

#[tokio::test]
async fn http2_is_spoken_by_prior_knowledge() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let uri = format!("http://{}", listener.local_addr().expect("bound"));
    let server = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.expect("accepts");
        let echo = hyper::service::service_fn(
            |request: http::Request<hyper::body::Incoming>| async move {
                let seen = format!("{:?} {}", request.version(), request.uri());
                Ok::<_, std::convert::Infallible>(http::Response::new(seen))
            },
        );
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(socket), echo)
            .await
    });
    let mut config = config(&[&uri]);
    config.protocol = UpstreamProtocol::Http2;
    let response = client(&config)
        .oneshot(request("/a"))
        .await
        .expect("answers");
    let body = response
        .into_body()
        .collect()
        .await
        .expect("whole")
        .to_bytes();
    assert_eq!(body, format!("HTTP/2.0 {uri}/a"));
    server.abort();
}

/// A TLS origin with a certificate of its own; answers one request over blocking I/O.
fn tls_origin(answers: usize) -> (String, tempfile::NamedTempFile) {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("signed");
    let ca_file = tempfile::NamedTempFile::new().expect("scratch file");
    std::fs::write(ca_file.path(), signed.cert.pem()).expect("written");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .expect("certificate");
    let server = Arc::new(server);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for _ in 0..answers {
            let (mut socket, _) = listener.accept().expect("accepts");
            let mut tls = rustls::ServerConnection::new(Arc::clone(&server)).expect("session");
            let mut stream = rustls::Stream::new(&mut tls, &mut socket);
            // A client that does not believe us hangs up here.
            if stream.read(&mut [0; 4096]).is_ok() {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecure";
                let _ = stream.write_all(answer);
            }
        }
    });
    (format!("https://localhost:{port}"), ca_file)
}

#[tokio::test]
async fn tls_is_believed_by_the_ca_file_and_not_otherwise() {
    let (uri, ca_file) = tls_origin(2);
    let mut config = config(&[&uri]);
    let distrusted = failure(&config).await;
    assert_eq!(
        (distrusted.cause(), distrusted.sent()),
        (Cause::Tls, Sent::Nothing)
    );
    config.ca_file = Some(ca_file.path().to_owned());
    let response = client(&config)
        .oneshot(request("/"))
        .await
        .expect("trusted");
    let body = response
        .into_body()
        .collect()
        .await
        .expect("whole")
        .to_bytes();
    assert_eq!(body, "secure");
}

/// Answers the first request of its first connection, reads the second and hangs up without a word. Every later connection: if
/// `well`, one answer; if not, none. What it was asked.
async fn closing_origin(well: bool) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let uri = format!("http://{}", listener.local_addr().expect("bound"));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut nth = 0;
        while let Ok((mut socket, _)) = listener.accept().await {
            nth += 1;
            loop {
                let head = read_head(&mut socket).await;
                if head.is_empty() {
                    break;
                }
                let count = {
                    let mut noted = noted.lock().expect("no panic under it");
                    noted.push(head);
                    noted.len()
                };
                let answers = if nth == 1 { count == 1 } else { well };
                if !answers {
                    break;
                }
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                let _ = socket.write_all(answer).await;
            }
        }
    });
    (uri, asked)
}

#[tokio::test]
async fn a_request_lost_on_a_kept_connection_is_repeated_once_by_leave_and_on_a_new_one() {
    use crate::{
        failure::Sent,
        resilience::{RetryBudget, UpstreamStats},
    };

    for (name, has_leave, tokens, well, want_asked, want_ok) in [
        ("by leave", true, 10, true, 3, true),
        ("without leave", false, 10, true, 2, false),
        ("leave, but no token", true, 0, true, 2, false),
        ("a repetition is not repeated", true, 10, false, 3, false),
    ] {
        let (uri, asked) = closing_origin(well).await;
        let config = config(&[&uri]);
        let client = client(&config);
        client.clone().oneshot(request("/first")).await.expect(name);
        // As above: the connection goes back to the pool in tasks of its own.
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        let stats = Arc::<UpstreamStats>::default();
        let mut retry = config.retry.clone();
        retry.budget_min_per_second = tokens;
        let mut second = request("/second");
        if has_leave {
            let budget = RetryBudget::new(&retry);
            let leave = Repeat::new(budget, Arc::clone(&stats), None);
            second.extensions_mut().insert(leave);
        }
        let result = client.clone().oneshot(second).await;
        assert_eq!(result.is_ok(), want_ok, "{name}: {result:?}");
        if let Err(failure) = result {
            assert_eq!(failure.cause(), Cause::ConnectionTerminated, "{name}");
            assert_eq!(failure.sent(), Sent::MayHaveActed, "{name}");
        }
        let asked = asked.lock().expect("no panic under it").clone();
        assert_eq!(asked.len(), want_asked, "{name}: {asked:?}");
        assert_eq!(stats.snapshot().retries, want_asked as u64 - 2, "{name}");
        if want_asked == 3 {
            assert_eq!(asked[1], asked[2], "{name}: the same request");
        }
    }
}

#[tokio::test]
async fn what_a_new_connection_lost_is_a_failure_and_not_repeated() {
    use crate::resilience::{RetryBudget, UpstreamStats};

    let origin = Origin::playing([Deed::Close, Deed::Close]).await;
    let config = config(&[origin.uri()]);
    let stats = Arc::<UpstreamStats>::default();
    let mut lost = request("/");
    let leave = Repeat::new(RetryBudget::new(&config.retry), Arc::clone(&stats), None);
    lost.extensions_mut().insert(leave);
    let failure = client(&config).oneshot(lost).await.expect_err("closed");
    assert_eq!(failure.cause(), Cause::ConnectionTerminated);
    assert_eq!(origin.asked().len(), 1);
    assert_eq!(stats.snapshot().retries, 0);
}
