//! Breakers of a running proxy: moved by hand through the admin API and the command line, per upstream and per route, and
//! told of in metrics, status and alerts.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Binary, Origin, Play, Proxy, Reply, Setup, larder, until, within};

/// Two routes to one upstream; one has a breaker of its own, that two failures in a row open for a long time.
const TOML: &str = r#"
    [upstream.pricing]
    endpoints = ["{vendor}"]
    owner = "Vendor desk"
    runbook = "docs/pricing.md"
    retry.retries_max = 0
    breaker = { consecutive_failures = 6, open_for = "20ms", open_for_max = "20ms" }
    [policy.live]
    fresh = "0s"
    stale_while_revalidate = "0s"
    override = true
    cool_down = "0s"
    [[route]]
    name = "prices"
    path = "/prices/{*rest}"
    upstream = "pricing"
    policy = "live"
    breaker = { consecutive_failures = 2, open_for = "5m" }
    [[route]]
    name = "stock"
    path = "/stock/{*rest}"
    upstream = "pricing"
    policy = "live"
"#;

/// Prices fail where they are asked for as broken; the rest is well.
async fn origin() -> Origin {
    Origin::start(|asked| match asked.target.contains("broken") {
        true => Play::answer(503, &[], "down"),
        false => Play::answer(200, &[], "well"),
    })
    .await
}

async fn order(proxy: &Proxy, order: &Value) -> Reply {
    let admin = proxy.admin_client();
    admin.post("/api/v1/breakers", &order.to_string()).await
}

/// Moves a breaker; how it stands then.
async fn moved(proxy: &Proxy, wanted: Value) -> Value {
    let reply = order(proxy, &wanted).await;
    assert_eq!(reply.status, 200, "{wanted}: {}", reply.text());
    reply.json()
}

async fn listed(proxy: &Proxy) -> Vec<Value> {
    let reply = proxy.admin_client().get("/api/v1/breakers").await;
    assert_eq!(reply.status, 200);
    let breakers = reply.json()["breakers"].as_array().cloned();
    breakers.expect("a list")
}

async fn alert(proxy: &Proxy, kind: &str, subject: &str) -> Value {
    let alerts = proxy.status().await["alerts"].clone();
    let mut alerts = alerts.as_array().into_iter().flatten();
    let found = alerts.find(|alert| alert["kind"] == kind && alert["subject"] == subject);
    found
        .cloned()
        .unwrap_or_else(|| panic!("no {kind} of {subject}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_isolated_upstream_is_not_asked_until_its_breaker_is_closed_by_hand() {
    let origin = origin().await;
    let proxy = Setup::before(&origin, TOML).start().await;
    assert_eq!(proxy.get("/stock/1").await.status, 200);
    let asked = origin.asked_total();

    let isolated = moved(&proxy, json!({"upstream": "pricing", "action": "isolate"})).await;
    assert_eq!(isolated["phase"], "isolated", "{isolated}");
    assert_eq!(isolated["reason"], "by hand");
    assert_eq!(isolated["manual"], true);
    // Longer than any rest of this breaker.
    tokio::time::sleep(Duration::from_millis(100)).await;
    for _ in 0..3 {
        let copy = proxy.get("/stock/1").await;
        assert_eq!(
            (copy.status.as_u16(), copy.text()),
            (200, "well"),
            "{copy:?}"
        );
        let cold = proxy.get("/stock/2").await;
        assert_eq!(cold.status, 503, "{cold:?}");
        let other_route = proxy.get("/prices/2").await;
        assert_eq!(other_route.status, 503, "{other_route:?}");
    }
    assert_eq!(origin.asked_total(), asked, "nobody asked");
    assert_eq!(proxy.breaker().await, "isolated");
    let told = alert(&proxy, "breaker_isolated", "pricing").await;
    assert_eq!(told["owner"], "Vendor desk");
    assert_eq!(told["runbook"], "docs/pricing.md");

    let closed = moved(&proxy, json!({"upstream": "pricing", "action": "close"})).await;
    assert_eq!(closed["phase"], "closed", "{closed}");
    assert_eq!(closed["counts"]["calls"], 0);
    assert_eq!(proxy.get("/stock/2").await.text(), "well");
}

#[tokio::test(flavor = "multi_thread")]
async fn opened_by_hand_it_recovers_by_probes() {
    let origin = origin().await;
    let proxy = Setup::before(&origin, TOML).start().await;
    let open = moved(&proxy, json!({"upstream": "pricing", "action": "open"})).await;
    assert_eq!(
        (&open["phase"], &open["manual"]),
        (&json!("open"), &json!(true))
    );
    within(Duration::from_secs(20), "probes close it", async {
        let mut nth = 0;
        while proxy.breaker().await != "closed" {
            nth += 1;
            proxy.get(&format!("/stock/{nth}")).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let listed = listed(&proxy).await;
    assert_eq!(listed[0]["reason"], "3 of 3 probes succeeded");
    assert_eq!(listed[0]["manual"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_fails_opens_its_own_breaker_and_no_other() {
    let origin = origin().await;
    let proxy = Setup::before(&origin, TOML).start().await;
    for nth in 0..2 {
        let broken = proxy.get(&format!("/prices/broken-{nth}")).await;
        assert_eq!(broken.status, 503, "{broken:?}");
    }
    let asked = origin.asked_total();
    let refused = proxy.get("/prices/1").await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(origin.asked_total(), asked, "the route is not asked for");
    assert_eq!(proxy.get("/stock/1").await.text(), "well", "another is");

    let listed = listed(&proxy).await;
    assert_eq!(listed.len(), 2);
    let (upstream, route) = (&listed[0], &listed[1]);
    assert_eq!(upstream["phase"], "closed", "{upstream}");
    assert_eq!(upstream["route"], Value::Null);
    assert_eq!(route["route"], "prices");
    assert_eq!(route["phase"], "open", "{route}");
    assert_eq!(route["reason"], "2 calls in a row failed");
    assert!(route["rest_ms"].as_u64() > Some(60_000), "{route}");
    let status = proxy.status().await;
    assert_eq!(status["routes"][0]["breaker"], "open");
    assert_eq!(status["routes"][1]["breaker"], Value::Null);
    let told = alert(&proxy, "breaker_open", "route prices").await;
    let message = told["message"].as_str().unwrap_or_default();
    assert!(message.contains("2 calls in a row failed"), "{told}");
    assert!(message.contains("pricing"), "{told}");
    let metrics = proxy.metrics().await;
    for sample in [
        "larder_route_breaker_state{route=\"prices\"} 2",
        "larder_route_breaker_transitions_total{route=\"prices\",to=\"open\"} 1",
        "larder_upstream_breaker_state{upstream=\"pricing\"} 0",
        "larder_upstream_breaker_transitions_total{upstream=\"pricing\",to=\"isolated\"} 0",
    ] {
        assert!(metrics.contains(sample), "{sample} in {metrics}");
    }
    let explained = proxy
        .admin_client()
        .get("/api/v1/explain?url=/prices/1")
        .await;
    assert_eq!(explained.json()["route"]["breaker"], "open");

    moved(&proxy, json!({"route": "prices", "action": "close"})).await;
    assert_eq!(proxy.get("/prices/1").await.text(), "well");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moves_nothing_says_what_to_write() {
    let origin = origin().await;
    let proxy = Setup::before(&origin, TOML).start().await;
    let before = listed(&proxy).await;
    for (wanted, want) in [
        (
            json!({"upstream": "price", "action": "open"}),
            "there are `pricing`",
        ),
        (
            json!({"route": "stock", "action": "open"}),
            "has no breaker of its own",
        ),
        (
            json!({"route": "x", "action": "open"}),
            "there are `prices`, `stock`",
        ),
        (
            json!({"route": "prices", "upstream": "pricing", "action": "open"}),
            "either",
        ),
        (json!({"action": "open"}), "either"),
        (json!({"upstream": "pricing"}), "action"),
        (json!({"upstream": "pricing", "action": "trip"}), "isolate"),
    ] {
        let reply = order(&proxy, &wanted).await;
        assert_eq!(reply.status, 400, "{wanted}");
        assert!(reply.text().contains(want), "{wanted}: {}", reply.text());
    }
    let phases = |breakers: &[Value]| -> Vec<Value> {
        breakers
            .iter()
            .map(|breaker| breaker["phase"].clone())
            .collect()
    };
    assert_eq!(phases(&listed(&proxy).await), phases(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_route_is_judged_by_its_own_latency_budget() {
    let origin =
        Origin::start(|_| Play::answer(200, &[], "late").after(Duration::from_millis(60))).await;
    let toml = TOML.replace(
        "name = \"stock\"",
        "name = \"stock\"\nslow_after = \"50ms\"\nbreaker = { min_calls = 3, slow_percent = 100, open_for = \"5m\" }",
    );
    let proxy = Setup::before(&origin, &toml).start().await;
    for nth in 0..3 {
        assert_eq!(proxy.get(&format!("/stock/{nth}")).await.status, 200);
    }
    let listed = listed(&proxy).await;
    let stock = listed.iter().find(|breaker| breaker["route"] == "stock");
    let stock = stock.expect("it has a breaker");
    assert_eq!(stock["phase"], "open", "{stock}");
    assert_eq!(stock["reason"], "3 of 3 calls were slow in 30s");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_shows_breakers_and_moves_one() {
    let origin = origin().await;
    let folder = tempfile::tempdir().unwrap();
    let ports = "server.listen = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:0\"\n";
    let toml = ports.to_owned() + &TOML.replace("{vendor}", origin.url());
    let proxy = Binary::serve(folder.path(), &toml).await;
    let admin = format!("http://{}", proxy.admin_addr());
    let run = |words: &[&str]| {
        let mut command = larder();
        command.arg("breaker").args(["--admin", &admin]).args(words);
        let output = command.output().expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    for (words, code, want) in [
        (&[][..], 0, "pricing                  closed    for "),
        (&["list"][..], 0, "route prices             closed    for "),
        (&["pricing", "isolate"][..], 0, "isolated"),
        (&["pricing"][..], 0, "by hand; until it is closed by hand"),
        (&["prices", "open"][..], 0, "route prices             open"),
        (
            &["--route", "prices", "close", "--json"][..],
            0,
            "\"route\": \"prices\"",
        ),
        (
            &["price", "close"][..],
            2,
            "there are: pricing, route prices",
        ),
        (&["pricing", "trip"][..], 2, "isolate"),
    ] {
        let (got, out, err) = run(words);
        assert_eq!(got, Some(code), "{words:?}: {out}{err}");
        assert!(
            format!("{out}{err}").contains(want),
            "{words:?}: {out}{err}"
        );
    }
    let mut log = String::new();
    until("the log says who was moved", || {
        log = proxy.log();
        log.contains("breaker_isolated")
    })
    .await;
    proxy.kill().await;
}
