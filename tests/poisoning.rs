//! Poisoning: what one client sends beside the key cannot change what others get, even from a vendor that believes all of
//! it and writes it into answers that everybody may have for an hour.
//!
//! Not here, because out of reach: ordinary fields (`Origin`, `User-Agent`, one of the vendor's own) that a vendor
//! reflects without `Vary`. A route with such a vendor has `key.headers` and `request_headers.remove`; both are shown.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use support::{Asked, Client, Origin, Play, Proxy, Setup, one_route, request, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const FRESH: (&str, &str) = ("cache-control", "public, max-age=3600");
const EVIL: &str = "evil.example";

type Fields = &'static [(&'static str, &'static str)];

/// Everything a vendor can see of a request, as a body.
fn seen(asked: &Asked) -> String {
    let mut seen = format!("{} {}\n", asked.method, asked.target);
    for (name, value) in &asked.headers {
        // The name that a request goes by is a word of its client's, in a form that does no harm.
        if name != "x-request-id" {
            seen += &format!("{name}: {}\n", value.to_str().unwrap());
        }
    }
    seen + std::str::from_utf8(&asked.content).unwrap()
}

async fn scene(upstream: &str, route: &str) -> (Origin, Proxy) {
    let origin = Origin::start(|asked| Play::answer(200, &[FRESH], seen(asked))).await;
    let toml = one_route("", route).replace(
        "endpoints = [\"{vendor}\"]",
        &format!("endpoints = [\"{{vendor}}\"]\n{upstream}"),
    );
    let proxy = Setup::before(&origin, &toml).start().await;
    (origin, proxy)
}

/// Sends these bytes and reads to the end.
async fn raw(proxy: &Proxy, sent: &str) -> String {
    let mut line = TcpStream::connect(proxy.client.addr()).await.unwrap();
    line.write_all(sent.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = line.read_to_end(&mut answer);
    let _end = within(Duration::from_secs(10), "the connection ends", read).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// The next visitor of a path gets nothing of what the attacker sent.
async fn assert_clean(proxy: &Proxy, path: &str, name: &str) {
    let victim = proxy.get(path).await;
    assert_eq!(victim.status, 200, "{name}");
    let fields = format!("{:?}", victim.headers);
    assert!(
        !victim.text().contains("evil") && !fields.contains("evil"),
        "{name}: {victim:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_field_that_only_proxies_speak_reaches_the_vendor_or_anybody_else() {
    let (_origin, proxy) = scene("", "").await;
    for client in [
        Client::new(proxy.client.addr()),
        Client::http2(proxy.client.addr()),
    ] {
        for name in [
            "Forwarded",
            "Forwarded-Host",
            "Front-End-Https",
            "Proxy",
            "Client-IP",
            "True-Client-IP",
            "CF-Connecting-IP",
            "CF-Visitor",
            "CloudFront-Forwarded-Proto",
            "Fastly-Client-IP",
            "Fastly-SSL",
            "X-Accel-Mapping",
            "X-Arr-SSL",
            "X-Azure-ClientIP",
            "X-Envoy-Original-Path",
            "X-Forwarded-For",
            "X-Forwarded-Host",
            "X-Forwarded-Path",
            "X-Forwarded-Port",
            "X-Forwarded-Prefix",
            "X-Forwarded-Proto",
            "X-Forwarded-Scheme",
            "X-Forwarded-Server",
            "X-Forwarded-SSL",
            "X_Forwarded_Host",
            "X-Forwarded_Host",
            "X-HTTP-Host-Override",
            "X-HTTP-Method",
            "X-HTTP-Method-Override",
            "X-Host",
            "X-Invoke-Status",
            "X-Method-Override",
            "X-Middleware-Prefetch",
            "X-Original-Host",
            "X-Original-URL",
            "X-Real-IP",
            "X-Rewrite-URL",
            "X-Script-Name",
            "X-Sendfile-Type",
            "X-URL-Scheme",
            "X-Wap-Profile",
        ] {
            let path = format!("/{}/{name}", client.addr().port());
            let attack = client
                .get_with(&path, &[(&name.to_lowercase(), EVIL)])
                .await;
            assert!(!attack.text().contains("evil"), "{name}: {}", attack.text());
            assert_clean(&proxy, &path, name).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_content_nor_conditions_nor_parts_nor_another_method_change_the_page() {
    let (_origin, proxy) = scene("", "").await;
    let attacks: [(&str, Method, Fields, &str); 7] = [
        (
            "a fat GET",
            Method::GET,
            &[("content-type", "evil/x")],
            "q=evil",
        ),
        (
            "a HEAD with a field",
            Method::HEAD,
            &[("x-any", "evil")],
            "",
        ),
        ("a part", Method::GET, &[("range", "bytes=0-3")], ""),
        ("a condition", Method::GET, &[("if-match", "\"evil\"")], ""),
        (
            "credentials that do not count",
            Method::OPTIONS,
            &[("authorization", "evil")],
            "",
        ),
        (
            "a POST",
            Method::POST,
            &[("content-type", "evil/x")],
            "evil",
        ),
        ("a PUT", Method::PUT, &[], "evil"),
    ];
    for (nth, (name, method, fields, content)) in attacks.into_iter().enumerate() {
        let path = format!("/{nth}");
        let mut attack = request(method, &path, fields);
        *attack.body_mut() = Full::from(content.to_owned());
        proxy.client.send(attack).await;
        assert_clean(&proxy, &path, name).await;
        assert!(proxy.get(&path).await.is_hit(), "{name}: it can be stored");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_one_clients_condition_is_not_what_others_get() {
    let origin = Origin::start(|asked| {
        if asked.is_conditional() || !asked.field("if-range").is_empty() {
            return Play::answer(304, &[FRESH, ("etag", "\"evil\"")], "");
        }
        Play::answer(200, &[FRESH], "a page")
    })
    .await;
    let proxy = Setup::before(&origin, &one_route("", "")).start().await;
    for (name, value) in [
        ("if-none-match", "\"evil\""),
        ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("if-range", "\"evil\""),
    ] {
        let path = format!("/{name}");
        proxy.client.get_with(&path, &[(name, value)]).await;
        assert_clean(&proxy, &path, name).await;
        assert_eq!(proxy.get(&path).await.text(), "a page", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_the_vendor_sees_tells_answers_apart_however_it_is_claimed() {
    let (_origin, proxy) = scene("host = \"preserve\"", "").await;
    let host = proxy.client.addr().to_string();
    for (nth, attack) in [
        format!("GET /0 HTTP/1.1\r\nHost: {EVIL}\r\n"),
        format!("GET http://{EVIL}/1 HTTP/1.1\r\nHost: {host}\r\n"),
        format!("GET /2 HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Host: {EVIL}\r\n"),
        format!(
            "GET /3 HTTP/1.1\r\nHost: {}:1337\r\n",
            proxy.client.addr().ip()
        ),
        format!("GET /4 HTTP/1.0\r\nHost: {EVIL}\r\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = raw(&proxy, &format!("{attack}Connection: close\r\n\r\n")).await;
        assert!(answer.contains(" 200 OK\r\n"), "{attack}: {answer}");
        assert_clean(&proxy, &format!("/{nth}"), &attack).await;
        let victim = proxy.get(&format!("/{nth}")).await;
        assert!(
            victim.text().contains(&format!("host: {host}\n")),
            "{victim:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_the_vendor_does_not_see_changes_nothing() {
    let (origin, proxy) = scene("", "").await;
    let attack = format!("GET /a HTTP/1.1\r\nHost: {EVIL}\r\nConnection: close\r\n\r\n");
    assert!(!raw(&proxy, &attack).await.contains("evil"));
    assert_clean(&proxy, "/a", "host").await;
    assert_eq!(origin.asked_total(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_or_cookie_that_does_not_count_is_not_seen_however_it_is_hidden() {
    let route = "key = { query = { ignore = [\"utm_*\", \"cb\"] }, cookies = [\"lang\"] }";
    let (_origin, proxy) = scene("", route).await;
    for (name, query, cookies) in [
        (
            "plain",
            "a=1&utm_source=evil&cb=evil",
            &["session=evil; lang=de"][..],
        ),
        (
            "encoded",
            "a=1&%75tm_source=evil&c%62=evil",
            &["lang=de", "x=evil"],
        ),
        ("a semicolon", "a=1&utm_x=1;a=evil", &["lang=de; lang=evil"]),
        ("a name in a value", "a=1&cb=x%26a=evil", &["lang=de;=evil"]),
        ("twice", "utm_a=evil&a=1&utm_a=evil", &["lang=de"]),
    ] {
        let path = format!("/{}", name.replace(' ', "-"));
        let fields: Vec<_> = cookies.iter().map(|line| ("cookie", *line)).collect();
        let attack = format!("{path}?{query}");
        let attack = proxy.client.get_with(&attack, &fields).await;
        assert!(!attack.text().contains("evil"), "{name}: {}", attack.text());
        let victim = format!("{path}?a=1");
        let victim = proxy
            .client
            .get_with(&victim, &[("cookie", "lang=de")])
            .await;
        assert!(
            victim.is_hit() && victim.body == attack.body,
            "{name}: {victim:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_one_client_provoked_is_not_what_others_get() {
    for status in [
        400, 401, 403, 405, 406, 413, 414, 417, 422, 429, 431, 500, 501, 503,
    ] {
        let origin = Origin::start(move |asked| {
            let length: usize = asked.headers.values().map(HeaderValue::len).sum();
            if length > 8_000 || asked.headers.contains_key("x-metacharacter") {
                return Play::answer(status, &[], "evil");
            }
            Play::answer(200, &[FRESH], "a page")
        })
        .await;
        let proxy = Setup::before(&origin, &one_route("", "")).start().await;
        let oversized = "x".repeat(9_000);
        for (path, name, value) in [
            ("/oversized", "x-large", oversized.as_str()),
            ("/metacharacter", "x-metacharacter", "a\tb"),
        ] {
            let attack = proxy.client.get_with(path, &[(name, value)]).await;
            assert_eq!(attack.status, status);
            let victim = proxy.get(path).await;
            assert_eq!(
                (victim.status.as_u16(), victim.text()),
                (200, "a page"),
                "{status} {path}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_named_in_connection_is_keyed_as_if_it_had_not_been_sent() {
    let (_origin, proxy) = scene("", "key.headers = [\"X-Tenant\"]").await;
    let host = proxy.client.addr();
    let attack = format!(
        "GET /a HTTP/1.1\r\nHost: {host}\r\nX-Tenant: one\r\nConnection: close, x-tenant\r\n\r\n"
    );
    assert!(!raw(&proxy, &attack).await.contains("x-tenant"));
    let victim = proxy.client.get_with("/a", &[("x-tenant", "one")]).await;
    assert!(victim.text().contains("x-tenant: one"), "{}", victim.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendors_own_field_is_kept_apart_or_away_where_the_route_says_so() {
    for route in [
        "key.headers = [\"X-Theme\"]",
        "request_headers.remove = [\"X-Theme\"]",
    ] {
        let (_origin, proxy) = scene("", route).await;
        proxy.client.get_with("/a", &[("x-theme", "evil")]).await;
        assert_clean(&proxy, "/a", route).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_of_one_question_is_not_the_answer_to_another() {
    let (_origin, proxy) = scene("", "cache_post = true").await;
    let ask = async |method: &str, media_type: &str, content: &str| {
        let request = Request::builder()
            .method(method)
            .uri("/a")
            .header("content-type", media_type)
            .body(Full::<Bytes>::from(content.to_owned()));
        proxy.client.send(request.unwrap()).await
    };
    for method in ["QUERY", "POST"] {
        // What one reader takes for the last of two, another takes for the first.
        ask(method, "application/json", r#"{"q":"evil","q":"good"}"#).await;
        ask(method, "text/plain", r#"{"q":"good"}"#).await;
        ask(method, "application/json; charset=utf-7", r#"{"q":"good"}"#).await;
        let victim = ask(method, "application/json", r#"{"q":"good"}"#).await;
        assert!(
            !victim.is_hit() && !victim.text().contains("evil"),
            "{victim:?}"
        );
        assert!(victim.text().contains("content-type: application/json\n"));
    }
    assert_clean(&proxy, "/a", "content").await;
}
