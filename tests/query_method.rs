//! Requests that ask by their content, over real sockets: QUERY always (RFC 10008), POST where the route says so; and a
//! POST's answer that is the target's own representation (RFC 9110 9.3.3).

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use larder::clock::Clock;
use support::{Client, Gate, NOW, Origin, Play, Proxy, Reply, Setup, one_route, request, until};

const FRESH: (&str, &str) = ("cache-control", "max-age=3600");
const JSON: (&str, &str) = ("content-type", "application/json");

type Fields<'f> = &'f [(&'f str, &'f str)];

fn asking(
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    content: &str,
) -> Request<Full<Bytes>> {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = request(method, path, fields);
    *request.body_mut() = Full::from(content.to_owned());
    request
}

async fn ask(proxy: &Proxy, method: &str, content: &str) -> Reply {
    proxy
        .client
        .send(asking(method, "/a", &[JSON], content))
        .await
}

/// Says what it was asked, by which method and how, and that everybody may have it for an hour.
async fn echo() -> Origin {
    Origin::start(|asked| {
        let content = std::str::from_utf8(&asked.content).unwrap();
        let seen = format!("{} {} {content}", asked.nth, asked.method);
        Play::answer(200, &[FRESH], seen)
    })
    .await
}

async fn scene(route: &str) -> (Origin, Proxy) {
    let origin = echo().await;
    let proxy = Setup::before(&origin, &one_route("", route)).start().await;
    (origin, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_by_its_content_whatever_the_order_of_its_members() {
    for (method, route) in [("QUERY", ""), ("POST", "cache_post = true")] {
        let (origin, proxy) = scene(route).await;
        let first = ask(&proxy, method, r#"{"b": 1, "a": [1, 2]}"#).await;
        assert_eq!(
            first.text(),
            format!(r#"1 {method} {{"b": 1, "a": [1, 2]}}"#),
            "it is sent as it came"
        );
        let again = ask(&proxy, method, r#"{"a":[1,2],"b":1}"#).await;
        assert!(again.is_hit() && again.body == first.body, "{again:?}");
        for other in [
            r#"{"a":[2,1],"b":1}"#,
            r#"{"a":[1,2],"b":1.0}"#,
            r#"{"a":[1,2],"b":1,"b":1}"#,
            r#"{"a":[1,2],"b":1"#,
            "",
        ] {
            let reply = ask(&proxy, method, other).await;
            assert!(!reply.is_hit(), "{method} {other}: {reply:?}");
            let reply = ask(&proxy, method, other).await;
            assert!(reply.is_hit(), "{method} {other}: {reply:?}");
        }
        assert_eq!(origin.asked_total(), 6);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn method_media_type_encoding_and_language_tell_questions_apart() {
    let (_origin, proxy) = scene("cache_post = true").await;
    let send = async |method: &str, fields: &[(&str, &str)], content: &str| {
        proxy
            .client
            .send(asking(method, "/a", fields, content))
            .await
    };
    let cases: [(&str, Fields<'_>); 6] = [
        ("QUERY", &[JSON]),
        ("POST", &[JSON]),
        ("QUERY", &[("content-type", "application/sql")]),
        (
            "QUERY",
            &[("content-type", "application/json;charset=latin1")],
        ),
        ("QUERY", &[JSON, ("content-language", "de")]),
        ("QUERY", &[JSON, ("content-encoding", "x-none")]),
    ];
    for (method, fields) in &cases {
        assert!(
            !send(method, fields, "{}").await.is_hit(),
            "{method} {fields:?}"
        );
    }
    for (method, fields) in &cases {
        assert!(
            send(method, fields, "{}").await.is_hit(),
            "{method} {fields:?}"
        );
    }
    assert!(!proxy.get("/a").await.is_hit(), "nor is any of them a GET");
    let same = [("content-type", "Application/JSON")];
    assert!(send("QUERY", &same, " {} ").await.is_hit());
    let bytes = [("content-type", "application/sql")];
    assert!(
        !send("QUERY", &bytes, " {} ").await.is_hit(),
        "bytes are bytes"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_keyed_is_passed_on_as_it_came() {
    let (origin, proxy) = scene("cache_post = true\ncontent_max = \"1 KiB\"").await;
    let large = format!("[\"{}\"]", "x".repeat(200_000));
    let cases: [(&str, Fields<'_>, &str); 7] = [
        ("QUERY", &[JSON], &large),
        ("POST", &[JSON], &large),
        ("QUERY", &[], "{}"),
        ("QUERY", &[JSON, JSON], "{}"),
        ("QUERY", &[JSON, ("range", "bytes=0-1")], "{}"),
        ("QUERY", &[JSON, ("if-match", "\"a\"")], "{}"),
        ("POST", &[JSON, ("if-none-match", "\"a\"")], "{}"),
    ];
    for (method, fields, content) in &cases {
        for _ in 0..2 {
            let reply = proxy
                .client
                .send(asking(method, "/a", fields, content))
                .await;
            assert!(
                !reply.is_hit() && reply.status == 200,
                "{method} {fields:?}"
            );
            let asked = origin.asked().pop().unwrap();
            assert_eq!(asked.content, content.as_bytes(), "{method} {fields:?}");
            assert_eq!(asked.method.as_str(), *method);
        }
    }
    assert_eq!(origin.asked_total(), cases.len() * 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_is_no_question_unless_the_route_says_so() {
    let (origin, proxy) = scene("").await;
    proxy.get("/a").await;
    for _ in 0..2 {
        assert!(!ask(&proxy, "POST", "{}").await.is_hit());
    }
    assert!(
        !proxy.get("/a").await.is_hit(),
        "a write ends what is stored"
    );
    let (reading, proxy) = scene("cache_post = true").await;
    proxy.get("/a").await;
    ask(&proxy, "POST", "{}").await;
    ask(&proxy, "QUERY", "{}").await;
    assert!(proxy.get("/a").await.is_hit(), "a question does not");
    assert_eq!((origin.asked_total(), reading.asked_total()), (4, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_with_one_question_is_one_request_and_an_outage_is_ridden_out() {
    for (method, route) in [("QUERY", ""), ("POST", "cache_post = true")] {
        let gate = Gate::closed();
        let held = gate.clone();
        let clock = Clock::manual(NOW);
        let origin = Origin::start(move |asked| {
            let fields = [("cache-control", "max-age=10"), ("etag", "\"a\"")];
            Play::answer(200, &fields, format!("answer {}", asked.nth)).behind(&held)
        })
        .await;
        let toml = one_route("stale_while_revalidate = \"0s\"", route);
        let proxy = Setup::before(&origin, &toml).clock(&clock).start().await;
        let proxy = Arc::new(proxy);
        let crowd: Vec<_> = (0..8)
            .map(|_| {
                let proxy = Arc::clone(&proxy);
                tokio::spawn(async move { ask(&proxy, method, r#"{"a":1}"#).await })
            })
            .collect();
        until("the origin is asked", || origin.asked_total() == 1).await;
        gate.open();
        for reply in crowd {
            assert_eq!(reply.await.unwrap().text(), "answer 1", "{method}");
        }
        assert_eq!(origin.asked_total(), 1, "{method}");

        proxy.advance(Duration::from_secs(11));
        let renewed = ask(&proxy, method, r#"{"a":1}"#).await;
        assert_eq!(renewed.text(), "answer 2", "{method}");
        assert_eq!(
            origin.asked()[1].is_conditional(),
            method == "QUERY",
            "a condition would be an order to a POST"
        );
        proxy.advance(Duration::from_secs(11));
        origin.is_down();
        let stale = ask(&proxy, method, r#"{ "a": 1 }"#).await;
        assert_eq!(
            (stale.text(), stale.is_stale()),
            ("answer 2", true),
            "{stale:?}"
        );
        assert_eq!(ask(&proxy, method, "{}").await.status, 502, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_broke_is_asked_again_and_a_write_is_not() {
    for (method, route, attempts) in [
        ("QUERY", "", 2),
        ("POST", "cache_post = true", 2),
        ("POST", "", 1),
    ] {
        let origin = Origin::start(|asked| match asked.nth {
            1 => Play::refuse(),
            _ => Play::answer(200, &[FRESH], "at last"),
        })
        .await;
        let toml = one_route("", route).replace("retries_max = 0", "retries_max = 1");
        let proxy = Setup::before(&origin, &toml).start().await;
        let reply = ask(&proxy, method, "{}").await;
        assert_eq!(
            reply.status == 200,
            attempts == 2,
            "{method} {route}: {reply:?}"
        );
        assert_eq!(origin.asked_total(), attempts, "{method} {route}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fallback_answers_questions_too() {
    let (origin, _) = scene("").await;
    origin.is_down();
    let route = "cache_post = true\nfallback = { body = \"f.json\" }";
    let setup = Setup::before(&origin, &one_route("", route));
    let proxy = setup.file("f.json", "[]").start().await;
    for method in ["GET", "QUERY", "POST"] {
        assert_eq!(ask(&proxy, method, "{}").await.text(), "[]", "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_question_is_refreshed_behind_with_its_content() {
    let clock = Clock::manual(NOW);
    let origin = Origin::start(|asked| {
        let fields = [("cache-control", "max-age=10, stale-while-revalidate=60")];
        let content = std::str::from_utf8(&asked.content).unwrap();
        Play::answer(200, &fields, format!("{} {content}", asked.nth))
    })
    .await;
    let proxy = Setup::before(&origin, &one_route("", ""))
        .clock(&clock)
        .start()
        .await;
    ask(&proxy, "QUERY", "[1]").await;
    proxy.advance(Duration::from_secs(20));
    assert_eq!(ask(&proxy, "QUERY", "[1]").await.text(), "1 [1]");
    proxy.settled().await;
    let refreshed = ask(&proxy, "QUERY", "[1]").await;
    assert!(
        refreshed.is_hit() && refreshed.text() == "2 [1]",
        "{refreshed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_ends_the_answers_to_queries_of_its_target_also_those_under_way() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |asked| match (asked.nth, asked.method.as_str()) {
        (1, _) => Play::answer(200, &[FRESH], "before").behind(&held),
        (_, "QUERY") => Play::answer(200, &[FRESH], format!("answer {}", asked.nth)),
        _ => Play::answer(204, &[], ""),
    })
    .await;
    let clock = Clock::manual(NOW);
    let proxy = Setup::before(&origin, &one_route("", "")).clock(&clock);
    let proxy = Arc::new(proxy.start().await);
    let early = tokio::spawn({
        let proxy = Arc::clone(&proxy);
        async move { ask(&proxy, "QUERY", "[1]").await }
    });
    until("the early one is under way", || origin.asked_total() == 1).await;
    proxy.client.send(request(Method::PUT, "/a", &[])).await;
    proxy.advance(Duration::from_secs(1));
    let late = ask(&proxy, "QUERY", "[1]").await;
    assert_eq!(late.text(), "answer 3", "it joined: {late:?}");
    gate.open();
    assert_eq!(early.await.unwrap().text(), "before");
    let last = ask(&proxy, "QUERY", "[1]").await;
    assert!(last.is_hit() && last.text() == "answer 3", "{last:?}");

    ask(&proxy, "QUERY", "[2]").await;
    proxy.client.send(request(Method::PUT, "/b", &[])).await;
    assert!(ask(&proxy, "QUERY", "[2]").await.is_hit(), "another target");
    proxy.client.send(request(Method::PUT, "/a", &[])).await;
    proxy.advance(Duration::from_secs(1));
    for content in ["[1]", "[2]"] {
        assert!(!ask(&proxy, "QUERY", content).await.is_hit(), "{content}");
        assert!(ask(&proxy, "QUERY", content).await.is_hit(), "{content}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_here_is_not_announced_to_the_vendor_first() {
    let (origin, proxy) = scene("").await;
    let fields = [JSON, ("expect", "100-continue")];
    proxy
        .client
        .send(asking("QUERY", "/a", &fields, "[1]"))
        .await;
    assert_eq!(origin.asked()[0].field("expect"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_over_http2_as_well() {
    let (origin, proxy) = scene("").await;
    let client = Client::http2(proxy.client.addr());
    for nth in 0..2 {
        let reply = client.send(asking("QUERY", "/a", &[JSON], "[1]")).await;
        assert_eq!((reply.text(), reply.is_hit()), ("1 QUERY [1]", nth > 0));
    }
    assert_eq!(origin.asked_total(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_whose_answer_is_the_target_itself_answers_the_next_get() {
    const HERE: (&str, &str) = ("content-location", "/a?x=1");
    for (name, route, fields, want) in [
        ("it says where and how long", "", &[FRESH, HERE][..], true),
        ("it does not say how long", "", &[HERE], false),
        ("it does not say where", "", &[FRESH], false),
        (
            "it is elsewhere",
            "",
            &[FRESH, ("content-location", "/b")],
            false,
        ),
        (
            "it is private",
            "",
            &[("cache-control", "private, max-age=60"), HERE],
            false,
        ),
        (
            "the route's GET goes elsewhere",
            "methods = [\"POST\"]",
            &[FRESH, HERE],
            false,
        ),
        (
            "the key leaves something out",
            "key.query = []",
            &[FRESH, HERE],
            false,
        ),
    ] {
        let origin = Origin::start(move |asked| match asked.method {
            Method::POST => Play::answer(200, fields, "posted"),
            _ => Play::answer(200, &[FRESH], "got"),
        })
        .await;
        let mut toml = one_route("", route);
        if route.contains("methods") {
            toml += "\n[[route]]\nname = \"get\"\npath = \"/{*rest}\"\nmethods = [\"GET\"]\nupstream = \"lab\"\n";
        }
        let proxy = Setup::before(&origin, &toml).start().await;
        assert_eq!(proxy.get("/a?x=1").await.text(), "got");
        let posted = proxy
            .client
            .send(asking("POST", "/a?x=1", &[JSON], "{}"))
            .await;
        assert_eq!(posted.text(), "posted", "{name}");
        let got = proxy.get("/a?x=1").await;
        let want = if want {
            ("posted", true)
        } else {
            ("got", false)
        };
        assert_eq!((got.text(), got.is_hit()), want, "{name}: {got:?}");
        let again = proxy
            .client
            .send(asking("POST", "/a?x=1", &[JSON], "{}"))
            .await;
        assert!(
            !again.is_hit(),
            "no POST is ever answered from the store: {name}"
        );
    }
}
