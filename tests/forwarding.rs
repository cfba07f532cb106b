//! What is said about the way of a request: `Forwarded`, `Max-Forwards`, `Via`.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use support::{Client, Origin, Play, Proxy, Setup, Wire, one_route, request};

const SPOOFED: [(&str, &str); 4] = [
    ("forwarded", "for=203.0.113.7;proto=https"),
    ("x-forwarded-for", "203.0.113.7"),
    ("x-forwarded-proto", "https"),
    ("x-real-ip", "203.0.113.7"),
];

async fn origin() -> Origin {
    Origin::start(|asked| {
        let control = if asked.target.starts_with("/varies") {
            [("cache-control", "max-age=60"), ("vary", "X-Forwarded-For")]
        } else {
            [("cache-control", "max-age=60"), ("x-own", "1")]
        };
        Play::answer(200, &control, asked.field("x-forwarded-for"))
    })
    .await
}

async fn proxy(origin: &Origin, route: &str, server: &str) -> Proxy {
    let toml = one_route("", route) + "\n[server]\n" + server + "\n";
    Setup::before(origin, &toml).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_is_told_of_a_client_only_where_the_route_says_so() {
    let trusting = "trusted_proxies = [\"127.0.0.0/8\"]";
    let names = [
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-real-ip",
    ];
    for (name, forwarded, server, want) in [
        ("by default nothing", "off", "", ["", "", "", "", ""]),
        (
            "nothing, whoever told it",
            "off",
            trusting,
            ["", "", "", "", ""],
        ),
        (
            "RFC 7239; nobody is believed",
            "forwarded",
            "",
            ["for=127.0.0.1;host=a.example;proto=http", "", "", "", ""],
        ),
        (
            "RFC 7239 behind a trusted proxy",
            "forwarded",
            trusting,
            [
                "for=203.0.113.7;proto=https, for=127.0.0.1;host=a.example;proto=http",
                "",
                "",
                "",
                "",
            ],
        ),
        (
            "the older fields; nobody is believed",
            "x-forwarded",
            "",
            ["", "127.0.0.1", "http", "a.example", ""],
        ),
        (
            "the older fields behind a trusted proxy",
            "x-forwarded",
            trusting,
            ["", "203.0.113.7, 127.0.0.1", "https", "a.example", ""],
        ),
        (
            "kept, but from a stranger",
            "keep",
            "",
            ["", "", "", "", ""],
        ),
        (
            "kept as a trusted proxy sent them",
            "keep",
            trusting,
            [
                "for=203.0.113.7;proto=https",
                "203.0.113.7",
                "https",
                "",
                "203.0.113.7",
            ],
        ),
    ] {
        let origin = origin().await;
        let proxy = proxy(&origin, &format!("forwarded = \"{forwarded}\""), server).await;
        for method in [http::Method::GET, http::Method::POST] {
            let fields = [&[("host", "a.example")][..], &SPOOFED].concat();
            proxy.client.send(request(method, "/a", &fields)).await;
        }
        let asked = origin.asked();
        assert_eq!(asked.len(), 2);
        for asked in asked {
            let got = names.map(|name| asked.field(name));
            assert_eq!(got, want, "{name}: {}", asked.method);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_one_client_is_in_nobody_elses_answer() {
    let origin = origin().await;
    let proxy = proxy(
        &origin,
        "forwarded = \"x-forwarded\"",
        "trusted_proxies = [\"127.0.0.1\"]",
    )
    .await;
    for address in ["203.0.113.1", "203.0.113.2"] {
        let reply = proxy
            .client
            .get_with("/varies", &[("x-forwarded-for", address)])
            .await;
        assert_eq!(reply.text(), format!("{address}, 127.0.0.1"));
        assert!(!reply.is_hit(), "it is not shared: no key knows the field");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_hop_answers_options_itself_and_the_others_count_down() {
    let origin = origin().await;
    let proxy = proxy(&origin, "methods = [\"GET\", \"OPTIONS\"]", "").await;
    let options =
        |hops: &'static str| request(http::Method::OPTIONS, "/a", &[("max-forwards", hops)]);
    let reply = proxy.client.send(options("0")).await;
    assert_eq!(reply.status, 204);
    let allow = reply.field("allow");
    assert!(
        allow.contains("GET") && allow.contains("OPTIONS"),
        "{allow}"
    );
    assert_eq!(origin.asked_total(), 0);
    for (hops, want) in [("5", "4"), ("1", "0"), ("many", "many")] {
        assert_eq!(proxy.client.send(options(hops)).await.status, 200);
        assert_eq!(origin.asked().last().unwrap().field("max-forwards"), want);
    }
    let get = request(http::Method::GET, "/b", &[("max-forwards", "0")]);
    assert_eq!(proxy.client.send(get).await.status, 200);
    assert_eq!(origin.asked().last().unwrap().field("max-forwards"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn options_about_the_server_are_answered_and_trace_is_not() {
    let origin = origin().await;
    let proxy = proxy(&origin, "", "").await;
    let mut client = Wire::connect(proxy.client.addr()).await;
    client
        .send("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n")
        .await;
    let head = client.head().await;
    assert!(
        head.starts_with("HTTP/1.1 204 ") && head.contains("allow: GET"),
        "{head}"
    );
    client
        .send("TRACE /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert!(client.rest().await.starts_with("HTTP/1.1 405 "));
    assert_eq!(origin.asked_total(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_names_us_and_the_protocol_it_came_by_behind_those_before_and_an_answer_does_not()
{
    let origin = origin().await;
    let proxy = proxy(&origin, "", "").await;
    let before = [("via", "1.1 edge")];
    let reply = proxy.client.get_with("/1", &before).await;
    assert!(!reply.headers.contains_key("via"));
    let vias = |asked: &support::Asked| {
        let lines = asked.headers.get_all("via").iter();
        lines
            .map(|line| line.to_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(vias(&origin.asked()[0]), ["1.1 edge", "1.1 larder"]);
    Client::http2(proxy.client.addr()).get("/2").await;
    assert_eq!(vias(&origin.asked()[1]), ["2 larder"]);
    let mut old = Wire::connect(proxy.client.addr()).await;
    old.send("GET /3 HTTP/1.0\r\nHost: a\r\n\r\n").await;
    old.rest().await;
    assert_eq!(vias(&origin.asked()[2]), ["1.0 larder"]);
}
