//! `larder explain`: what a running proxy says of a request is what it then does; from the admin API and the command line.

mod support;

use std::time::Duration;

use http::Method;
use serde_json::Value;
use support::{Origin, Play, Proxy, Setup, config_file, larder, one_route, request};

const SECOND: Duration = Duration::from_secs(1);

/// Explains by the admin API: `query` behind `?url=`.
async fn explain(proxy: &Proxy, query: &str) -> Value {
    let path = format!("/api/v1/explain?url={query}");
    let reply = proxy.admin_client().get(&path).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

async fn before(origin: &Origin, policy: &str, route: &str) -> Proxy {
    let clock = larder::clock::Clock::manual(support::NOW);
    let toml = one_route(policy, route);
    Setup::before(origin, &toml).clock(&clock).start().await
}

/// An origin whose answers say this.
async fn origin(fields: &'static [(&'static str, &'static str)]) -> Origin {
    Origin::start(move |_| Play::answer(200, fields, "{}")).await
}

/// The whats of a list of reasons, in one line.
fn whats(reasons: &Value) -> String {
    let reasons = reasons.as_array().expect("reasons are a list");
    let texts = reasons.iter().filter_map(|reason| reason["what"].as_str());
    texts.collect::<Vec<_>>().join("; ")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_a_request_is_what_happens_to_it_over_the_life_of_a_copy() {
    let origin = origin(&[("cache-control", "max-age=60"), ("etag", "\"a\"")]).await;
    let proxy = before(
        &origin,
        "max_stale = \"1h\"\nstale_while_revalidate = \"30s\"",
        "",
    )
    .await;

    let said = explain(&proxy, "/a").await;
    let found = &said["found"];
    assert_eq!(said["outcome"], "routed");
    assert_eq!(said["route"]["name"], "all");
    assert_eq!(said["route"]["breaker"], "closed");
    assert!(
        said["route"]["place"]
            .as_str()
            .unwrap()
            .starts_with("test.toml:")
    );
    assert_eq!(found["stored"], Value::Null);
    assert_eq!(found["now"]["plan"], "ask");
    assert_eq!(found["now"]["wait"]["setting"]["key"], "route.all.deadline");
    assert_eq!(found["if_upstream_fails"]["answer"], "error");
    assert_eq!(found["not_stored"]["checks"][0]["word"], "status");
    assert_eq!(origin.asked_total(), 0, "nobody was asked for it");
    assert_eq!(proxy.get("/a").await.cache("fwd"), Some("uri-miss"));

    proxy.advance(SECOND * 5);
    let said = explain(&proxy, "/a").await;
    let stored = &said["found"]["stored"];
    assert_eq!(stored["state"], "fresh");
    assert_eq!(stored["age_seconds"], 5.0);
    assert_eq!(stored["lifetime"]["seconds"], 60.0);
    assert_eq!(
        stored["lifetime"]["from"][0]["rule"], "RFC 9111 5.2.2.1",
        "{stored}"
    );
    assert_eq!(stored["lies_in"], serde_json::json!(["memory"]));
    assert_eq!(stored["hash"], said["key"]["hash"]);
    assert_eq!(said["found"]["now"]["plan"], "serve");
    assert!(proxy.get("/a").await.is_hit());

    // A failure that is an answer: what breaks off on a kept connection is sent once more, and would be counted.
    origin.now(|_| Play::answer(503, &[], ""));
    proxy.advance(SECOND * 60);
    let said = explain(&proxy, "/a").await;
    assert_eq!(said["found"]["stored"]["state"], "stale_while_revalidate");
    assert_eq!(said["found"]["now"]["plan"], "serve_and_refresh");
    assert_eq!(
        said["found"]["now"]["question"]["fields"][0]["name"],
        "if-none-match"
    );
    let asked = origin.asked_total();
    assert_eq!(
        proxy.get("/a").await.cache("detail"),
        Some("stale-while-revalidate")
    );
    proxy.settled().await;
    assert_eq!(origin.asked_total(), asked + 1);

    let said = explain(&proxy, "/a").await;
    let now = &said["found"]["now"];
    assert_eq!(now["plan"], "serve", "the failed refresh gave it a rest");
    assert_eq!(now["why"][0]["setting"]["key"], "policy.p.cool_down");

    proxy.advance(SECOND * 60);
    let said = explain(&proxy, "/a").await;
    let (found, asked) = (&said["found"], origin.asked_total());
    assert_eq!(found["stored"]["state"], "stale");
    assert_eq!(found["now"]["plan"], "ask");
    assert_eq!(
        found["now"]["wait"]["setting"]["key"],
        "policy.p.stale_after"
    );
    assert_eq!(found["if_upstream_fails"]["answer"], "stored");
    assert_eq!(found["if_upstream_fails"]["for_seconds"], 3535.0);
    assert_eq!(origin.asked_total(), asked);
    let reply = proxy.get("/a").await;
    assert_eq!(reply.cache("detail"), Some("stale-if-error"));

    proxy.advance(SECOND * 7200);
    let said = explain(&proxy, "/a").await;
    assert_eq!(said["found"]["stored"]["state"], "gone");
    assert_eq!(said["found"]["if_upstream_fails"]["answer"], "error");
    assert!(proxy.get("/a").await.status.is_server_error());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_overrides_names_what_gives_way_and_where_that_is_written() {
    let origin = origin(&[("cache-control", "no-store, private, max-age=1")]).await;
    let proxy = before(&origin, "fresh = \"1m\"\noverride = true", "").await;
    proxy.get("/a").await;
    let said = explain(&proxy, "/a").await;
    let from = &said["found"]["stored"]["lifetime"]["from"];
    assert_eq!(
        whats(from),
        "the policy's `fresh`: 1m; overrides what the origin named: 1s"
    );
    let departures = said["departures"].as_array().unwrap();
    for section in ["RFC 9111 5.2.2.5", "RFC 9111 5.2.2.7", "RFC 9111 5.2.1"] {
        let found = departures.iter().find(|one| one["section"] == section);
        let setting = &found.unwrap_or_else(|| panic!("{section} is not named"))["setting"];
        assert!(setting["key"].as_str().unwrap().starts_with("policy.p."));
    }
    let overrides = departures
        .iter()
        .find(|one| one["setting"]["key"] == "policy.p.override");
    let place = overrides.unwrap()["setting"]["place"].as_str().unwrap();
    assert!(place.starts_with("test.toml:"), "{place}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_shared_is_told_and_so_is_what_never_is() {
    let origin = origin(&[("cache-control", "private, max-age=60")]).await;
    let proxy = before(&origin, "", "").await;
    assert_eq!(proxy.get("/a").await.cache("detail"), Some("private"));
    let said = explain(&proxy, "/a").await;
    let not_stored = &said["found"]["not_stored"];
    assert!(
        whats(&not_stored["known"]).contains("the latest answer could not be stored for others"),
        "{not_stored}"
    );
    let said = explain(&proxy, "/b&header=Authorization:+Bearer+s3cret").await;
    let not_stored = &said["found"]["not_stored"];
    assert_eq!(not_stored["known"][0]["rule"], "RFC 9111 3.5");
    assert!(!said.to_string().contains("s3cret"), "{said}");
    let said = explain(&proxy, "/a&method=DELETE").await;
    assert_eq!(said["found"]["now"]["plan"], "pass_on");
    assert_eq!(said["found"]["now"]["why"][1]["rule"], "RFC 9111 4.4");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_selects_a_variant_by_the_fields_it_would_send() {
    let origin = origin(&[("cache-control", "max-age=60"), ("vary", "accept-language")]).await;
    let proxy = before(&origin, "", "").await;
    for language in ["de", "en"] {
        let reply = proxy
            .client
            .get_with("/a", &[("accept-language", language)])
            .await;
        assert_eq!(reply.status, 200);
    }
    let of = |said: &Value| said["found"]["variants"].clone();
    let said = explain(&proxy, "/a&header=Accept-Language:en").await;
    assert_eq!(of(&said)["count"], 2);
    assert_eq!(of(&said)["selected"], true);
    assert_eq!(of(&said)["fields"][0]["name"], "accept-language");
    assert_eq!(said["found"]["stored"]["hash"], of(&said)["hash"]);
    assert_eq!(said["found"]["now"]["plan"], "serve");
    let said = explain(&proxy, "/a&header=Accept-Language:fr").await;
    assert_eq!(of(&said)["selected"], false);
    assert_eq!(said["found"]["now"]["plan"], "ask");
    assert_eq!(said["found"]["now"]["why"][0]["rule"], "RFC 9111 4.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_for_another_query_is_told_where_it_answers() {
    let origin = origin(&[
        ("cache-control", "max-age=60"),
        ("no-vary-search", "params=(\"utm\")"),
    ])
    .await;
    let proxy = before(&origin, "", "no_vary_search = true").await;
    proxy.get("/a?utm=1").await;
    let said = explain(&proxy, "/a%3Futm=2").await;
    let now = &said["found"]["now"];
    assert_eq!(now["plan"], "serve", "{said}");
    assert_eq!(now["why"][1]["setting"]["key"], "route.all.no_vary_search");
    assert_eq!(said["found"]["stored"]["url"], "/a?utm=1");
    assert!(proxy.get("/a?utm=2").await.is_hit());
    origin.is_down();
    proxy.advance(SECOND * 200);
    let said = explain(&proxy, "/a%3Futm=2").await;
    assert_eq!(said["found"]["now"]["plan"], "ask", "{said}");
    assert_eq!(said["found"]["if_upstream_fails"]["answer"], "stored");
    assert_eq!(
        proxy.get("/a?utm=2").await.cache("detail"),
        Some("stale-if-error")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_by_content_is_not_explained_by_what_its_target_alone_has() {
    let origin = origin(&[("cache-control", "max-age=60")]).await;
    let proxy = before(&origin, "", "cache_post = true").await;
    proxy.get("/a").await;
    let said = explain(
        &proxy,
        "/a&method=POST&header=Content-Type:application/json",
    )
    .await;
    let found = &said["found"];
    assert_eq!(found["now"]["plan"], "by_content");
    assert_eq!(
        found["now"]["why"][0]["setting"]["key"],
        "route.all.cache_post"
    );
    assert_eq!(found["stored"], Value::Null);
    let said = explain(&proxy, "/a").await;
    assert_eq!(said["found"]["now"]["plan"], "serve");
}

#[tokio::test(flavor = "multi_thread")]
async fn explaining_leaves_no_trace_in_counters_or_tiers() {
    let origin = origin(&[("cache-control", "max-age=60")]).await;
    let toml = one_route("", "");
    let proxy = Setup::before(&origin, &toml).on_disk().start().await;
    proxy.get("/a").await;
    proxy.flushed().await;
    let names = [
        "larder_store_disk_hits_total",
        "larder_store_disk_misses_total",
        "larder_store_memory_misses_total",
    ];
    let mut before = Vec::new();
    for name in names {
        before.push(counted(&proxy, name).await);
    }
    let outcomes = proxy.outcomes("all").await;
    let said = explain(&proxy, "/a").await;
    assert_eq!(
        said["found"]["stored"]["lies_in"],
        serde_json::json!(["memory", "disk"])
    );
    explain(&proxy, "/b").await;
    for (name, before) in names.iter().zip(before) {
        assert_eq!(counted(&proxy, name).await, before, "{name}");
    }
    assert_eq!(proxy.outcomes("all").await, outcomes);
    assert_eq!(origin.asked_total(), 1);
}

/// Samples of this metric, whatever their labels.
async fn counted(proxy: &Proxy, name: &str) -> Vec<String> {
    let metrics = proxy.metrics().await;
    let lines = metrics.lines().filter(|line| line.starts_with(name));
    lines.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_route_leads_the_nearest_are_named_and_bad_questions_are_refused() {
    let origin = origin(&[]).await;
    let toml = r#"
        [upstream.lab]
        endpoints = ["{vendor}"]
        [[route]]
        name = "prices"
        path = "/prices/{sku}"
        methods = ["GET"]
        upstream = "lab"
    "#;
    let proxy = Setup::before(&origin, toml).start().await;
    let said = explain(&proxy, "/price/1").await;
    assert_eq!(said["outcome"], "refused");
    assert_eq!(said["status"], 404);
    assert_eq!(said["nearest"][0]["name"], "prices");
    let said = explain(&proxy, "/prices/1&method=PUT").await;
    assert_eq!(said["status"], 405);
    assert_eq!(said["allow"], serde_json::json!(["GET", "HEAD"]));
    for (query, want) in [("nowhere", "is no URL"), ("/a&header=x", "is no field")] {
        let path = format!("/api/v1/explain?url={query}");
        let reply = proxy.admin_client().get(&path).await;
        assert_eq!(reply.status, 400, "{query}");
        assert!(reply.text().contains(want), "{query}: {}", reply.text());
    }
    let head = request(Method::POST, "/api/v1/explain?url=/a", &[]);
    assert_eq!(proxy.admin_client().send(head).await.status, 405);
}

/// Runs `larder explain` with these arguments: exit code, standard output, standard error.
async fn command(args: &[&str]) -> (i32, String, String) {
    let mut command = larder();
    command.arg("explain").args(args);
    let output = tokio::task::spawn_blocking(move || command.output().expect("it runs"))
        .await
        .expect("running does not panic");
    let text = |bytes| String::from_utf8(bytes).expect("output is text");
    (
        output.status.code().expect("it ends by itself"),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_says_it_in_blocks_or_as_json() {
    let origin = origin(&[("cache-control", "max-age=60"), ("etag", "\"a\"")]).await;
    let proxy = before(&origin, "stale_while_revalidate = \"0s\"", "").await;
    proxy.get("/a?b=1").await;
    proxy.advance(SECOND * 70);
    let admin = format!("http://{}", proxy.admin_client().addr());
    let (code, out, err) = command(&["/a?b=1", "--admin", &admin, "-H", "X-A: 1"]).await;
    assert_eq!((code, &*err), (0, ""));
    for want in [
        "GET /a?b=1\n\nroute    all  /{*rest}  [any method]  -> lab, breaker closed  (test.toml:",
        "\npolicy   p  (test.toml:",
        "\nkey      upstream lab, /a?b=1\n",
        "\nstored   200 stale, 1m 10s old; in memory\n         fresh for 1m\n           `max-age`: 1m (RFC 9111 5.2.2.1)\n",
        "\n         gone in 23h 59m 50s, 2027-01-16T08:01:00Z\n",
        "\nnow      the upstream is asked first\n         because it has been stale for 10s (RFC 9111 4.2.4)\n",
        "\n         the upstream is asked whether what is stored still holds\n           if-none-match: \"a\"\n",
        "\n         a client waits at most 300ms, then gets the stored response (policy.p.stale_after, default)\n",
        "\nif the vendor fails\n         what is stored stands in for another 23h 59m 50s, until 2027-01-16T08:01:00Z\n",
        "\ndeparts from the RFCs\n         RFC 9111 4.2.4: ",
    ] {
        assert!(out.contains(want), "{want}\n-- in --\n{out}");
    }
    let (code, out, _) = command(&["/a?b=1", "--admin", &admin, "--json"]).await;
    assert_eq!(code, 0);
    let said: Value = serde_json::from_str(&out).expect("it is JSON");
    assert_eq!(said, explain(&proxy, "/a%3Fb%3D1").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_proxy_the_config_alone_is_explained_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    // A port that was free a moment ago: nobody listens there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let toml = format!(
        "[admin]\nlisten = \"{address}\"\n{}",
        one_route("override = true", "").replace("{vendor}", "http://127.0.0.1:1")
    );
    let config = config_file(folder.path(), &toml);
    let config = config.to_str().unwrap();
    let (code, out, err) = command(&["/a", "--config", config]).await;
    assert_eq!(code, 0, "{err}");
    assert!(
        err.contains("no proxy answers") && err.contains("configuration alone"),
        "{err}"
    );
    assert!(
        out.contains("stored   not known: no proxy was asked"),
        "{out}"
    );
    assert!(out.contains("RFC 9111 5.2.2.5: `no-store`"), "{out}");
    let (code, _, err) = command(&["/a", "--admin", &address.to_string()]).await;
    assert_eq!(code, 1, "{err}");
    let (code, _, err) = command(&["nowhere", "--config", config]).await;
    assert_eq!(code, 2);
    assert!(err.contains("is no URL"), "{err}");
}
