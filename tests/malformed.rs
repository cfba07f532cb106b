//! Malformed requests: a 4xx where an answer is possible, and a closed connection where framing is in doubt.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use std::time::Duration;

use larder::clock::Clock;
use support::{Proxy, Setup, vendor, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const TOML: &str = r#"
    [server]
    header_bytes_max = "8 KiB"
    headers_max = 20
    [upstream.lab]
    endpoints = ["{vendor}"]
    [[route]]
    path = "/{*rest}"
    upstream = "lab"
"#;

/// What a client reads that sends these bytes: all of it, up to the end of the connection.
async fn answer_to(proxy: &Proxy, sent: &[u8]) -> String {
    let mut line = TcpStream::connect(proxy.client.addr()).await.unwrap();
    line.write_all(sent).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is an end, too.
    let read = line.read_to_end(&mut answer);
    let _end = within(Duration::from_secs(10), "the connection ends", read).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// How many status lines there are.
fn answers(text: &str) -> usize {
    let after = text.split("HTTP/1.1 ").skip(1);
    after
        .filter(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_request_gets_a_4xx_a_closed_connection_and_never_reaches_the_vendor() {
    let vendor = vendor(&Clock::System).await;
    let proxy = Setup::new(&vendor, TOML).start().await;
    let many = "X-A: 1\r\n".repeat(30);
    let large = format!("X-A: {}\r\n", "a".repeat(9 * 1024));
    for (name, request, want) in [
        (
            "no HTTP",
            "\x16\x03\x01\x02\0\x01\0\r\n\r\n".to_owned(),
            "400",
        ),
        ("no Host", "GET / HTTP/1.1\r\n\r\n".to_owned(), "400"),
        (
            "two Hosts",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
            "400",
        ),
        (
            "a host that is none",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(),
            "400",
        ),
        (
            "two lengths",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"
                .to_owned(),
            "400",
        ),
        (
            "a length that is no number",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello".to_owned(),
            "400",
        ),
        (
            "a coding that is not known",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
                .to_owned(),
            "400",
        ),
        (
            "space before the colon",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n".to_owned(),
            "400",
        ),
        (
            "too many fields",
            format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"),
            "431",
        ),
        (
            "too large a head",
            format!("GET / HTTP/1.1\r\nHost: a\r\n{large}\r\n"),
            "431",
        ),
    ] {
        let answer = answer_to(&proxy, request.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {want}")),
            "{name}: {answer:?}"
        );
        assert_eq!(answers(&answer), 1, "{name}: {answer:?}");
    }
    assert_eq!(vendor.asked_total(), 0);
    assert_eq!(
        proxy.get("/lab/echo").await.status,
        200,
        "and others are served"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_smuggled_behind_a_doubtful_one_is_never_answered() {
    let vendor = vendor(&Clock::System).await;
    let proxy = Setup::new(&vendor, TOML).start().await;
    let smuggled = "GET /lab/echo HTTP/1.1\r\nHost: a\r\n\r\n";
    for (framing, want) in [
        // RFC 9112 6.3: may be read by its chunks alone, but then nothing more on this connection.
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "200",
        ),
        ("Transfer-Encoding: chunked\r\n\r\nzz\r\n", "400"),
        ("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "400"),
    ] {
        let sent = format!("POST /lab/echo HTTP/1.1\r\nHost: a\r\n{framing}{smuggled}");
        let answer = answer_to(&proxy, sent.as_bytes()).await;
        assert_eq!(answers(&answer), 1, "{framing:?}: {answer:?}");
        let status = format!("HTTP/1.1 {want}");
        assert!(answer.starts_with(&status), "{framing:?}: {answer:?}");
    }
    assert!(vendor.requests().iter().all(|asked| asked.method != "GET"));
}
