//! What origin and client say to each other passes as it was said: status lines, fields, framing.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use support::{Client, Proxy, RawOrigin, Setup, Wire, one_route, request};

async fn proxy(origin: &RawOrigin) -> Proxy {
    Setup::facing(origin, &one_route("", "")).start().await
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
}

/// All that a client reads which sends this, while the origin answers that on a connection of its own.
async fn exchanged(origin: &RawOrigin, proxy: &Proxy, request: &str, answer: &[u8]) -> String {
    let mut client = Wire::connect(proxy.client.addr()).await;
    client.send(request).await;
    let (mut vendor, _) = origin.request().await;
    vendor.send(answer).await;
    drop(vendor);
    client.rest().await
}

/// The lines of this field, in order.
fn lines<'a>(answer: &'a str, name: &str) -> Vec<&'a str> {
    let (head, _) = answer.split_once("\r\n\r\n").unwrap();
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    fields
        .filter(|(field, _)| *field == name)
        .map(|(_, value)| value)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reason_phrase_is_the_origins_own_from_wherever_the_answer_comes() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin).await;
    for (nth, (name, status, fields)) in [
        ("stored", "404 No such sku", "Cache-Control: max-age=60\r\n"),
        (
            "in other letters",
            "200 Ok",
            "Cache-Control: max-age=60\r\n",
        ),
        ("passed", "404 NOT FOUND", "Cache-Control: no-store\r\n"),
        ("a failure", "503 Gone fishing", ""),
        ("none", "200 ", "Cache-Control: max-age=60\r\n"),
        ("none, of a status without a registered one", "299 ", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/{nth}");
        let status: Vec<u8> = status.chars().map(|c| u8::try_from(c).unwrap()).collect();
        let head = format!("\r\nConnection: close\r\n{fields}Content-Length: 2\r\n\r\nok");
        let answer = [b"HTTP/1.1 ", &status[..], head.as_bytes()].concat();
        let line = format!("HTTP/1.1 {}\r\n", String::from_utf8_lossy(&status));
        let got = exchanged(&origin, &proxy, &get(&path), &answer).await;
        assert!(got.starts_with(&line), "{name}: {got}");
        if fields.contains("max-age") {
            let mut client = Wire::connect(proxy.client.addr()).await;
            client.send(get(&path)).await;
            let hit = client.rest().await;
            assert!(
                hit.contains("; hit") && hit.starts_with(&line),
                "{name}: {hit}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_pass_with_their_bytes_and_in_their_order() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin).await;
    let head = "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nCache-Control: max-age=60\r\n\
         WWW-Authenticate: Digest realm=\"a\", nonce=\"b\"\r\nVia: 1.1 a\r\n\
         WWW-Authenticate: Basic realm=\"b\"\r\nLink: <1>\r\nLink: <2>\r\nVia: 1.1 b\r\n\
         X_Odd!#$%&'*+-.^`|~: 1\r\nX-Empty:\r\nX-Tab: a\tb\r\nContent-Length: 0\r\n";
    for (name, more, is_stored) in [
        (
            "passed",
            "Set-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nSet-Cookie: a=3\r\n",
            false,
        ),
        ("stored", "", true),
    ] {
        let answer = [
            head.as_bytes(),
            more.as_bytes(),
            b"X-Bytes: \xe9\xff\x80\r\n\r\n",
        ]
        .concat();
        for is_again in [false, true] {
            let got = if is_again && is_stored {
                let mut client = Wire::connect(proxy.client.addr()).await;
                client.send(get(&format!("/{name}"))).await;
                client.rest().await
            } else {
                exchanged(&origin, &proxy, &get(&format!("/{name}")), &answer).await
            };
            assert_eq!(got.contains("; hit"), is_again && is_stored, "{got}");
            for (field, want) in [
                (
                    "www-authenticate",
                    &["Digest realm=\"a\", nonce=\"b\"", "Basic realm=\"b\""][..],
                ),
                ("link", &["<1>", "<2>"]),
                ("via", &["1.1 a", "1.1 b"]),
                ("x_odd!#$%&'*+-.^`|~", &["1"]),
                ("x-tab", &["a\tb"]),
                ("content-type", &[]),
                (
                    "set-cookie",
                    if is_stored {
                        &[]
                    } else {
                        &["a=1; Path=/", "b=2", "a=3"]
                    },
                ),
            ] {
                assert_eq!(lines(&got, field), want, "{name}: {got}");
            }
            assert!(got.contains("\r\nx-empty: \r\n"), "{name}: {got}");
            assert_eq!(
                lines(&got, "x-bytes")[0].chars().count(),
                3,
                "{name}: {got}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_is_added_where_the_origin_sent_none_and_kept_where_it_did() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin).await;
    for (method, control) in [
        ("GET", "no-store"),
        ("GET", "max-age=60"),
        ("POST", "no-store"),
    ] {
        for date in ["", "Date: Tue, 01 Jan 2030 00:00:00 GMT\r\n"] {
            let request = get(&format!("/{}", date.len())).replace("GET", method);
            let answer = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\n{date}Cache-Control: {control}, private\r\nContent-Length: 0\r\n\r\n"
            );
            let got = exchanged(&origin, &proxy, &request, answer.as_bytes()).await;
            let dates = lines(&got, "date");
            assert_eq!(dates.len(), 1, "{got}");
            assert_eq!(dates[0].contains("2030"), !date.is_empty(), "{got}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn framing_says_what_the_origin_said_and_nothing_is_made_up() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin).await;
    let head = |path: &str| get(path).replace("GET", "HEAD");
    for (name, request, status, fields, want_length, want_body) in [
        (
            "HEAD with a length",
            head("/1"),
            "200 OK",
            "Content-Length: 12345\r\n",
            Some("12345"),
            "",
        ),
        ("HEAD without", head("/2"), "200 OK", "", None, ""),
        (
            "HEAD of what is chunked",
            head("/3"),
            "200 OK",
            "Transfer-Encoding: chunked\r\n",
            None,
            "",
        ),
        (
            "HEAD of an error",
            head("/4"),
            "503 Service Unavailable",
            "Content-Length: 77\r\n",
            Some("77"),
            "",
        ),
        ("204", get("/5"), "204 No Content", "", None, ""),
        (
            "205",
            get("/6"),
            "205 Reset Content",
            "Content-Length: 0\r\n",
            Some("0"),
            "",
        ),
        (
            "an empty 200",
            get("/7"),
            "200 OK",
            "Content-Length: 0\r\n",
            Some("0"),
            "",
        ),
        (
            "a length that is streamed",
            get("/8"),
            "200 OK",
            "Cache-Control: no-store\r\nContent-Length: 4\r\n",
            Some("4"),
            "body",
        ),
        (
            "a length said twice",
            get("/9"),
            "200 OK",
            "Cache-Control: no-store\r\nContent-Length: 4\r\nContent-Length: 4\r\n",
            Some("4"),
            "body",
        ),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{fields}\r\n{want_body}");
        let got = exchanged(&origin, &proxy, &request, answer.as_bytes()).await;
        assert!(
            got.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{name}: {got}"
        );
        assert_eq!(
            lines(&got, "content-length"),
            Vec::from_iter(want_length),
            "{name}: {got}"
        );
        assert!(
            got.ends_with(&format!("\r\n\r\n{want_body}")),
            "{name}: {got}"
        );
    }
    let chunked = "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nConnection: close\r\n\
        Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
    let got = exchanged(&origin, &proxy, &get("/c"), chunked.as_bytes()).await;
    assert_eq!(lines(&got, "transfer-encoding"), ["chunked"], "{got}");
    assert!(lines(&got, "content-length").is_empty(), "{got}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_304_of_the_origin_keeps_its_fields() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin).await;
    let asked = get("/a").replace("Host", "If-None-Match: \"x\"\r\nHost");
    let answer = "HTTP/1.1 304 Not Modified\r\nConnection: close\r\nETag: \"x\"\r\nX-Own: 1\r\nSet-Cookie: a=1\r\n\r\n";
    let got = exchanged(&origin, &proxy, &asked, answer.as_bytes()).await;
    assert!(got.starts_with("HTTP/1.1 304 "), "{got}");
    assert_eq!(lines(&got, "etag"), ["\"x\""], "{got}");
    assert_eq!(lines(&got, "x-own"), ["1"], "{got}");
    assert_eq!(lines(&got, "set-cookie"), ["a=1"], "{got}");
    assert!(
        lines(&got, "content-length").is_empty() && got.ends_with("\r\n\r\n"),
        "{got}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_coding_that_is_not_undone_here_is_never_passed_as_content() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin).await;
    let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: gzip, chunked\r\n\r\n4\r\nzzzz\r\n0\r\n\r\n";
    let got = exchanged(&origin, &proxy, &get("/a"), answer.as_bytes()).await;
    assert!(got.starts_with("HTTP/1.1 502 "), "{got}");
    assert!(got.contains("http_protocol_error"), "{got}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_2_a_length_is_said_once_too() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin).await;
    let http2 = Client::http2(proxy.client.addr());
    let asking =
        tokio::spawn(async move { http2.send(request(http::Method::GET, "/a", &[])).await });
    let (mut vendor, _) = origin.request().await;
    vendor
        .send("HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok")
        .await;
    let reply = asking.await.unwrap();
    assert_eq!(reply.text(), "ok");
    assert_eq!(reply.headers.get_all("content-length").iter().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_may_have_hundreds_of_fields() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin).await;
    let fields: String = (0..500).map(|nth| format!("X-{nth}: {nth}\r\n")).collect();
    let answer =
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{fields}Content-Length: 0\r\n\r\n");
    let got = exchanged(&origin, &proxy, &get("/a"), answer.as_bytes()).await;
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{got}");
    assert_eq!(lines(&got, "x-499"), ["499"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_sent_as_it_was_written_and_found_in_any_spelling() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin).await;
    let stored = "HTTP/1.1 200 OK\r\nConnection: close\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\nok";
    for (written, sent) in [
        ("/%7euser/%c3%A9?a=%7e&b", "/%7euser/%c3%A9?a=%7e&b"),
        ("/empty?", "/empty?"),
        ("//a//b;c=1?x=?", "//a//b;c=1?x=?"),
        // What dot segments stand for has to be the same here and there.
        ("/a/%2e%2E/b/./c", "/b/c"),
    ] {
        let mut client = Wire::connect(proxy.client.addr()).await;
        client.send(get(written)).await;
        let (mut vendor, asked) = origin.request().await;
        assert!(
            asked.starts_with(&format!("GET {sent} HTTP/1.1\r\n")),
            "{asked}"
        );
        vendor.send(stored).await;
        drop(vendor);
        assert!(client.rest().await.ends_with("\r\n\r\nok"));
    }
    let mut client = Wire::connect(proxy.client.addr()).await;
    client.send(get("/~user/%C3%A9?a=~&b")).await;
    assert!(
        client.rest().await.contains("; hit"),
        "RFC 3986 6.2.2 says that it is the same"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_to_an_odd_spelling_is_nobody_elses() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin).await;
    let missing = b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nCache-Control: max-age=60\r\nContent-Length: 0\r\n\r\n";
    let got = exchanged(&origin, &proxy, &get("/%70rices"), missing).await;
    assert!(
        got.starts_with("HTTP/1.1 404 ") && got.contains("detail=spelling"),
        "{got}"
    );
    let found = b"HTTP/1.1 200 OK\r\nConnection: close\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\nok";
    let got = exchanged(&origin, &proxy, &get("/prices"), found).await;
    assert!(got.starts_with("HTTP/1.1 200 "), "{got}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_that_http_2_has_split_are_one_field_again() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin).await;
    let http2 = Client::http2(proxy.client.addr());
    let asking = tokio::spawn(async move {
        let cookies = [("cookie", "a=1"), ("cookie", "b=2; c=3")];
        http2.send(request(http::Method::GET, "/a", &cookies)).await
    });
    let (mut vendor, asked) = origin.request().await;
    assert_eq!(lines(&asked, "cookie"), ["a=1; b=2; c=3"], "{asked}");
    vendor.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    asking.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn head_of_a_stored_204_has_no_length() {
    let origin = RawOrigin::start().await;
    let proxy = proxy(&origin).await;
    let answer =
        b"HTTP/1.1 204 No Content\r\nConnection: close\r\nCache-Control: max-age=60\r\n\r\n";
    exchanged(&origin, &proxy, &get("/a"), answer).await;
    let mut client = Wire::connect(proxy.client.addr()).await;
    client.send(get("/a").replace("GET", "HEAD")).await;
    let got = client.rest().await;
    assert!(
        got.starts_with("HTTP/1.1 204 ") && got.contains("; hit"),
        "{got}"
    );
    assert!(lines(&got, "content-length").is_empty(), "{got}");
}
