//! Routes: which request goes where, what is changed on the way, and what clients read where nothing leads on.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::Full;
use larder::{
    clock::Clock,
    stub::{Fault, RetryAfter, Stub},
};
use support::{NOW, Proxy, Reply, Setup, request};

async fn scene(toml: &str) -> (Stub, Proxy) {
    let clock = Clock::manual(NOW);
    let vendor = support::vendor(&clock).await;
    let proxy = Setup::new(&vendor, toml)
        .clock(&clock)
        .file("fallbacks/price.json", "{\"price\":null}");
    (vendor, proxy.start().await)
}

const LAB: &str = "[upstream.lab]\nendpoints = [\"{vendor}\"]\n";

/// A route that marks its answers with its name.
fn marked(name: &str, keys: &str) -> String {
    format!(
        "[[route]]\nname = \"{name}\"\nupstream = \"lab\"\nresponse_headers.set = {{ X-Route = \"{name}\" }}\n{keys}\n"
    )
}

/// What the vendor saw of a field.
fn seen<'r>(echo: &'r serde_json::Value, name: &str) -> Vec<&'r str> {
    let fields = echo["headers"].as_array().unwrap();
    let of_name = fields.iter().filter(|field| field[0] == name);
    of_name.map(|field| field[1].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_most_specific_route_wins_by_host_path_and_method() {
    let toml = LAB.to_owned()
        + &marked("rest", "path = \"/lab/{*rest}\"")
        + &marked("one", "path = \"/lab/{thing}\"")
        + &marked("literal", "path = \"/lab/echo\"\nmethods = [\"GET\"]")
        + &marked("literal-post", "path = \"/lab/echo\"\nmethods = [\"POST\"]")
        + &marked("shop", "path = \"/lab/{*rest}\"\nhost = [\"shop.example\"]")
        + &marked(
            "any-shop",
            "path = \"/lab/{*rest}\"\nhost = [\"*.example\"]",
        );
    let (_vendor, proxy) = scene(&toml).await;
    for (method, host, path, want) in [
        (Method::GET, "x", "/lab/echo", "literal"),
        (Method::HEAD, "x", "/lab/echo", "literal"),
        (Method::POST, "x", "/lab/echo", "literal-post"),
        (Method::GET, "x", "/lab/events?count=0", "one"),
        (Method::GET, "x", "/lab/slow/0", "rest"),
        (Method::GET, "shop.example", "/lab/echo", "shop"),
        (Method::GET, "SHOP.example:80", "/lab/echo", "shop"),
        (Method::GET, "b2b.example", "/lab/echo", "any-shop"),
        // The same resource in another spelling (RFC 3986 6.2.2).
        (Method::GET, "x", "/lab/%65cho", "literal"),
        (Method::GET, "x", "/lab/slow/../echo", "literal"),
    ] {
        let name = format!("{method} {host} {path}");
        let asked = request(method, path, &[("host", host)]);
        let reply = proxy.client.send(asked).await;
        assert_eq!(reply.status, 200, "{name}: {reply:?}");
        assert_eq!(reply.field("x-route"), want, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_route_takes_is_a_problem_that_people_and_programs_can_read() {
    let toml =
        LAB.to_owned() + &marked("echo", "path = \"/lab/echo\"\nmethods = [\"GET\", \"PUT\"]");
    let (vendor, proxy) = scene(&toml).await;
    let ask = async |method: Method, path: &str, accept: &str| {
        let asked = request(
            method,
            path,
            &[("accept", accept), ("x-request-id", "r-17")],
        );
        proxy.client.send(asked).await
    };
    for (method, path, status) in [
        (Method::GET, "/nowhere", 404),
        (Method::POST, "/lab/echo", 405),
    ] {
        let json = ask(method.clone(), path, "application/json").await;
        assert_eq!(json.status, status);
        assert_eq!(json.field("content-type"), "application/problem+json");
        assert_eq!(json.json()["status"], status);
        assert_eq!(json.field("x-request-id"), "r-17");
        assert_eq!(json.field("cache-status"), "larder; detail=refused");
        let html = ask(method, path, "text/html,application/xhtml+xml,*/*;q=0.8").await;
        assert_eq!(html.status, status);
        assert!(
            html.field("content-type").starts_with("text/html"),
            "{html:?}"
        );
        assert!(
            html.text().contains("<html") && html.text().contains("r-17"),
            "{html:?}"
        );
    }
    let refused = ask(Method::POST, "/lab/echo", "*/*").await;
    assert_eq!(refused.field("allow"), "GET, HEAD, PUT");
    assert_eq!(vendor.asked_total(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_and_fields_are_changed_on_their_way() {
    let toml = LAB.to_owned()
        + &marked(
            "strip",
            "path = \"/v1/lab/{*rest}\"\nstrip_prefix = \"/v1\"",
        )
        + &marked(
            "rewrite",
            "path = \"/items/{id}\"\nrewrite = \"/lab/response\"",
        )
        + &marked(
            "edit",
            r#"path = "/lab/echo"
            request_headers.remove = ["X-Internal"]
            request_headers.set = { X-Shop = "main" }
            request_headers.add = { X-Tag = "two" }
            response_headers.remove = ["Content-Type"]
            response_headers.add = { X-Also = "yes" }"#,
        );
    let (vendor, proxy) = scene(&toml).await;
    let echo = proxy.get("/v1/lab/echo?a=1&a=2").await.json();
    assert_eq!(echo["path"], "/lab/echo");
    assert_eq!(echo["query"], serde_json::json!([["a", "1"], ["a", "2"]]));

    assert_eq!(proxy.get("/items/7?_body=x").await.text(), "x");
    assert_eq!(
        vendor.requests().last().unwrap().target,
        "/lab/response?_body=x"
    );

    let fields = [
        ("x-internal", "secret"),
        ("x-shop", "mine"),
        ("x-tag", "one"),
    ];
    let reply = proxy.client.get_with("/lab/echo", &fields).await;
    let echo = reply.json();
    assert!(seen(&echo, "x-internal").is_empty());
    assert_eq!(seen(&echo, "x-shop"), ["main"]);
    assert_eq!(seen(&echo, "x-tag"), ["one", "two"]);
    assert_eq!(reply.field("content-type"), "");
    assert_eq!(reply.field("x-also"), "yes");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vendor_sees_the_host_it_is_meant_to_see() {
    for (keys, want) in [
        ("", None),
        ("host = \"api.vendor.example\"", Some("api.vendor.example")),
        ("host = \"preserve\"", Some("shop.example")),
    ] {
        let toml = format!("{LAB}{keys}\n") + &marked("echo", "path = \"/lab/echo\"");
        let (vendor, proxy) = scene(&toml).await;
        let reply = proxy
            .client
            .get_with("/lab/echo", &[("host", "shop.example")])
            .await;
        let own = vendor.addr().to_string();
        assert_eq!(
            seen(&reply.json(), "host"),
            [want.unwrap_or(&own)],
            "{keys}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_goes_all_the_way_and_back() {
    let toml = LAB.to_owned() + &marked("echo", "path = \"/lab/echo\"");
    let (_vendor, proxy) = scene(&toml).await;
    let named = proxy
        .client
        .get_with("/lab/echo", &[("x-request-id", "visit-1")])
        .await;
    assert_eq!(named.field("x-request-id"), "visit-1");
    assert_eq!(seen(&named.json(), "x-request-id"), ["visit-1"]);

    let unnamed = proxy.get("/lab/echo").await;
    let made = unnamed.field("x-request-id");
    assert!(made.len() >= 8, "{unnamed:?}");
    assert_eq!(seen(&unnamed.json(), "x-request-id"), [made]);
    assert_ne!(proxy.get("/lab/echo").await.field("x-request-id"), made);
}

#[tokio::test(flavor = "multi_thread")]
async fn hop_by_hop_fields_pass_in_neither_direction() {
    let toml = LAB.to_owned() + &marked("lab", "path = \"/lab/{*rest}\"");
    let (_vendor, proxy) = scene(&toml).await;
    let fields = [
        ("connection", "x-private"),
        ("x-private", "1"),
        ("te", "trailers"),
        ("proxy-authorization", "Basic eA=="),
        ("keep-alive", "timeout=5"),
    ];
    let echo = proxy.client.get_with("/lab/echo", &fields).await.json();
    for field in ["x-private", "proxy-authorization", "keep-alive"] {
        assert!(seen(&echo, field).is_empty(), "{field}: {echo}");
    }
    // Trailers are passed on, so they may be promised; the proxy's own `Connection` says so (RFC 9110 10.1.4).
    assert_eq!(seen(&echo, "te"), ["trailers"]);
    assert_eq!(seen(&echo, "connection"), ["te"]);
    let path = "/lab/response?Connection=x-own&X-Own=1&X-Kept=2&Proxy-Authenticate=Basic";
    let reply = proxy.get(path).await;
    assert_eq!(reply.field("x-kept"), "2");
    assert_eq!(reply.field("x-own"), "", "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_stored_a_visitor_gets_the_fallback_or_the_routes_own_words() {
    let toml = LAB.to_owned()
        + &marked(
            "fallback",
            "path = \"/prices/{sku}\"\nfallback = { status = 203, body = \"fallbacks/price.json\" }",
        )
        + &marked(
            "words",
            "path = \"/lab/{*rest}\"\nmessage = \"Try the shop next door.\"",
        )
        + &marked("plain", "path = \"/catalogue\"");
    let (vendor, proxy) = scene(&toml).await;
    vendor.break_path("*", Fault::Refuse).unwrap();

    let fallback = proxy.get("/prices/A").await;
    assert_eq!(fallback.status, 203);
    assert_eq!(fallback.text(), "{\"price\":null}");
    assert_eq!(fallback.field("content-type"), "application/json");
    assert_eq!(fallback.cache("detail"), Some("fallback"));
    assert_eq!(fallback.field("cache-control"), "no-store");
    assert!(
        fallback
            .field("proxy-status")
            .contains("connection_refused")
    );

    let words = proxy.get("/lab/echo").await;
    assert!(words.status.is_server_error());
    assert!(
        words.text().contains("Try the shop next door."),
        "{words:?}"
    );
    let html = proxy
        .client
        .get_with("/lab/echo", &[("accept", "text/html")])
        .await;
    assert!(html.text().contains("Try the shop next door."), "{html:?}");

    let plain = proxy.get("/catalogue").await;
    assert!(matches!(plain.status.as_u16(), 502..=504), "{plain:?}");
    assert_eq!(plain.field("content-type"), "application/problem+json");
    let vendor_address = vendor.addr().to_string();
    for reply in [&fallback, &words, &html, &plain] {
        let shown = format!("{:?} {:?}", reply.headers, reply.body);
        assert!(
            !shown.contains(&vendor_address),
            "tells where the vendor is: {shown}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_stored_the_vendors_own_error_and_retry_after_pass() {
    let toml = LAB.to_owned() + "retry.retries_max = 0\n" + &marked("c", "path = \"/catalogue\"");
    let (vendor, proxy) = scene(&toml).await;
    let busy = Fault::Status {
        status: StatusCode::SERVICE_UNAVAILABLE,
        retry_after: Some(RetryAfter {
            seconds: 7,
            as_date: false,
        }),
    };
    vendor.break_path("*", busy).unwrap();
    let reply = proxy.get("/catalogue").await;
    assert_eq!(
        (reply.status.as_u16(), reply.field("retry-after")),
        (503, "7")
    );
    assert_eq!(reply.json()["error"], "Service Unavailable");
    assert!(
        reply.field("proxy-status").contains("received-status=503"),
        "{reply:?}"
    );
}

// --- Writes ---

fn bookings(keys: &str) -> String {
    format!("[upstream.lab]\nendpoints = [\"{{vendor}}\"]\n{keys}\n")
        + &marked(
            "bookings",
            "path = \"/bookings/{*rest}\"\ndeadline = \"3s\"",
        )
        + &marked("lab", "path = \"/lab/{*rest}\"")
}

async fn book(proxy: &Proxy) -> Reply {
    proxy
        .client
        .post("/bookings", "{\"hotel\":\"grand\"}")
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_the_vendor_may_have_acted_on_is_never_repeated() {
    for fault in [
        Fault::Reset,
        Fault::Close,
        Fault::ResetMidBody,
        Fault::Truncate { chunked: false },
        Fault::Garbage,
        Fault::Hang,
    ] {
        let (vendor, proxy) = scene(&bookings("attempt_timeout = \"300ms\"")).await;
        vendor.break_path("*", fault.clone()).unwrap();
        let mut post = request(
            Method::POST,
            "/bookings",
            &[("content-type", "application/json")],
        );
        *post.body_mut() = Full::from(Bytes::from_static(b"{\"hotel\":\"grand\"}"));
        if let Ok(reply) = proxy.client.try_send(post).await {
            assert!(reply.status.is_server_error(), "{fault}: {reply:?}");
        }
        assert_eq!(vendor.bookings_made(), 1, "{fault}");
        assert_eq!(vendor.asked_total(), 1, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_never_left_goes_to_another_endpoint() {
    let (first, second) = (
        support::vendor(&Clock::manual(NOW)).await,
        support::vendor(&Clock::manual(NOW)).await,
    );
    first.break_path("*", Fault::Refuse).unwrap();
    let toml = bookings("").replace(
        "[\"{vendor}\"]",
        &format!("[\"{}\", \"{}\"]", first.url(""), second.url("")),
    );
    let proxy = Setup::new(&first, &toml).start().await;
    for booked in 1..=8 {
        let reply = book(&proxy).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        assert_eq!(second.bookings_made(), booked);
    }
    assert_eq!(first.bookings_made(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successful_write_makes_the_stored_answer_of_its_address_history() {
    let toml = "[upstream.lab]\nendpoints = [\"{vendor}\"]\n[policy.p]\nspread_percent = 0\nearly = false\n"
        .to_owned()
        + &marked("lab", "path = \"/lab/{*rest}\"\npolicy = \"p\"");
    let (vendor, proxy) = scene(&toml).await;
    let path = "/lab/counter/w?Cache-Control=max-age%3D60";
    assert_eq!(proxy.get(path).await.json()["count"], 1);
    assert!(proxy.get(path).await.is_hit());

    let posted = proxy.client.post(path, "{}").await;
    assert_eq!(posted.json()["count"], 2);
    assert_eq!(posted.cache("fwd"), Some("method"));
    let after = proxy.get(path).await;
    assert_eq!(after.json()["count"], 3, "{after:?}");

    vendor
        .break_path("*", Fault::status(StatusCode::INTERNAL_SERVER_ERROR))
        .unwrap();
    assert_eq!(proxy.client.post(path, "{}").await.status, 500);
    let kept = proxy.get(path).await;
    assert!(kept.is_hit(), "a failed write changed nothing: {kept:?}");
    proxy.advance(Duration::from_secs(61));
    assert_eq!(proxy.get(path).await.json()["count"], 3);
}
