//! What operators are told of answers that break a contract: one alert per broken term, however many answers, keys and
//! restarts; a redacted sample; what the admin API and the command line show; and one more alert when it is over.

mod support;

use std::{path::Path, time::Duration};

use larder::{
    clock::Clock,
    stub::{Fault, Stub},
};
use serde_json::Value;
use support::{Binary, Client, NOW, Proxy, Setup, larder, until};

const SECOND: Duration = Duration::from_secs(1);
const KEYS: [&str; 3] = [
    "/prices/sku-1",
    "/prices/sku-2",
    "/prices/sku-3?currency=USD",
];

/// One route, whose answers are fresh for no time: each request asks.
fn toml(contract: &str) -> String {
    format!(
        r#"
        [upstream.pricing]
        endpoints = ["{{vendor}}"]
        owner = "Vendor desk"
        runbook = "docs/pricing.md"
        retry = {{ retries_max = 0, retries_max_stale = 0 }}
        breaker = {{ enabled = false }}
        [policy.live]
        fresh = "0s"
        override = true
        stale_while_revalidate = "0s"
        stale_after = "20s"
        cool_down = "0s"
        spread_percent = 0
        early = false
        [[route]]
        name = "prices"
        path = "/prices/{{sku}}"
        upstream = "pricing"
        policy = "live"
        [route.contract]
        size_min = "2 B"
        rules = [{{ field = "/price", required = true, above = 0 }}]
        {contract}
        "#
    )
}

async fn proxy(vendor: &Stub, contract: &str) -> Proxy {
    let setup = Setup::new(vendor, &toml(contract));
    setup.clock(&Clock::manual(NOW)).start().await
}

async fn json(admin: &Client, path: &str) -> Value {
    let reply = admin.get(path).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    reply.json()
}

async fn report(admin: &Client) -> Value {
    json(admin, "/api/v1/contracts/prices").await
}

/// Alerts of this kind, newest first.
async fn alerts(admin: &Client, kind: &str) -> Vec<Value> {
    let status = json(admin, "/api/v1/status").await;
    let alerts = status["alerts"].as_array().cloned().expect("a list");
    alerts
        .into_iter()
        .filter(|alert| alert["kind"] == kind)
        .collect()
}

async fn price(client: &Client, key: &str) -> f64 {
    let reply = client.get(key).await;
    assert_eq!(reply.status, 200, "{key}: {}", reply.text());
    let price = reply.json()["price"].as_f64();
    price.unwrap_or_else(|| panic!("{key}: {}", reply.text()))
}

// --- Once ---

#[tokio::test(flavor = "multi_thread")]
async fn many_breaches_over_keys_and_kill_9_are_one_alert_and_a_sample() {
    let vendor = support::vendor(&Clock::System).await;
    let folder = tempfile::tempdir().unwrap();
    let toml = format!(
        "server.listen = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:0\"\n\
         store = {{ path = \"data\", flush_every = \"50ms\", read_timeout = \"5s\" }}\n{}",
        toml("quiet = \"1s\"").replace("{vendor}", &vendor.url(""))
    );
    let first = Binary::serve(folder.path(), &toml).await;
    for key in KEYS {
        assert!(price(&first.client, key).await > 0.0);
    }
    first.durable(KEYS.len() as f64).await;
    vendor.break_path("*", Fault::ZeroPrice).unwrap();
    for _ in 0..5 {
        for key in KEYS {
            assert!(
                price(&first.client, key).await > 0.0,
                "the last good answer"
            );
        }
    }
    let admin = Client::new(first.admin_addr());
    let raised = alerts(&admin, "contract_breach").await;
    assert_eq!(raised.len(), 1, "{raised:?}");
    assert_eq!(
        (&raised[0]["owner"], &raised[0]["suppressed"]),
        (&"Vendor desk".into(), &0.into())
    );
    assert_eq!(report(&admin).await["open"][0]["breaches"], 15);
    kept(&folder.path().join("data/contracts")).await;
    first.kill().await;

    let second = Binary::serve(folder.path(), &toml).await;
    for key in KEYS {
        assert!(price(&second.client, key).await > 0.0, "after kill -9 too");
    }
    let admin = Client::new(second.admin_addr());
    assert!(
        alerts(&admin, "contract_breach").await.is_empty(),
        "told before the restart"
    );
    let known = report(&admin).await;
    assert!(known["open"][0]["breaches"].as_u64() > Some(3), "{known}");
    let sample = &known["samples"][0];
    assert_eq!(sample["kind"], "rule", "{known}");
    let body = sample["body"].as_str().expect("text");
    assert!(
        body.contains("\"price\": 0") && !body.contains("sku-"),
        "{body}"
    );
    shown_by_the_command_line(&second);

    vendor.mend_all();
    for key in KEYS {
        assert!(price(&second.client, key).await > 0.0);
    }
    let mut log = String::new();
    until("it is over", || {
        log = second.log();
        log.contains("contract_recovered")
    })
    .await;
    assert_eq!(
        report(&admin).await["ended"].as_array().map(Vec::len),
        Some(1)
    );
    second.kill().await;
}

/// Waits until something is kept there.
async fn kept(folder: &Path) {
    let is_kept = |entry: Result<std::fs::DirEntry, _>| {
        entry.is_ok_and(|entry| entry.file_name().to_string_lossy().ends_with(".kept"))
    };
    until("what was told is kept", || {
        std::fs::read_dir(folder).is_ok_and(|mut entries| entries.any(is_kept))
    })
    .await;
}

fn shown_by_the_command_line(proxy: &Binary) {
    let admin = format!("http://{}", proxy.admin_addr());
    for (words, code, want) in [
        (
            &[][..],
            0,
            &["prices                   enforce", "! rule "][..],
        ),
        (
            &["prices"],
            0,
            &[
                "owner: Vendor desk",
                "Broken now",
                "the last good answer was served",
                "Samples, newest first",
                "\"price\": 0",
            ],
        ),
        (&["prices", "--json"], 0, &["\"samples\": ["]),
        (&["price"], 2, &["there are: prices"]),
    ] {
        let mut command = larder();
        command
            .arg("contracts")
            .args(["--admin", &admin])
            .args(words);
        let output = command.output().expect("it runs");
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8(told).expect("text");
        assert_eq!(output.status.code(), Some(code), "{words:?}: {told}");
        for want in want {
            assert!(told.contains(want), "{words:?}: no {want} in {told}");
        }
        if !words.contains(&"--json") && code == 0 {
            assert!(
                told.lines().all(|line| line.chars().count() <= 80),
                "{told}"
            );
        }
    }
}

// --- Each kind ---

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_told_by_its_kind_and_no_visitor_sees_it() {
    for (fault, kind) in [
        (Fault::ZeroPrice, "rule"),
        (
            Fault::MissingField {
                field: "price".to_owned(),
            },
            "rule",
        ),
        (Fault::Html, "content_type"),
        (Fault::InvalidJson, "malformed"),
        (Fault::Empty, "size"),
    ] {
        let vendor = support::vendor(&Clock::manual(NOW)).await;
        let proxy = proxy(&vendor, "").await;
        let good = price(&proxy.client, KEYS[0]).await;
        vendor.break_path("*", fault.clone()).unwrap();
        for _ in 0..10 {
            proxy.advance(SECOND);
            assert_eq!(price(&proxy.client, KEYS[0]).await, good, "{fault}");
        }
        let admin = proxy.admin_client();
        let raised = alerts(&admin, "contract_breach").await;
        assert_eq!(raised.len(), 1, "{fault}: {raised:?}");
        let message = raised[0]["message"].as_str().expect("text");
        assert!(
            message.ends_with("visitors get the last good answer"),
            "{message}"
        );
        let known = report(&admin).await;
        assert_eq!(
            (&known["breach"], &known["breaches"][kind]),
            (&10.into(), &10.into()),
            "{fault}: {known}"
        );
        assert_eq!(known["samples"][0]["kind"], kind, "{fault}: {known}");
        let metrics = proxy.metrics().await;
        for line in [
            "larder_contract_judged_total{route=\"prices\",result=\"breach\"} 10".to_owned(),
            format!("larder_contract_breaches_total{{route=\"prices\",kind=\"{kind}\"}} 10"),
            "larder_contract_episodes_open{route=\"prices\"} 1.0".to_owned(),
        ] {
            assert!(
                metrics.lines().any(|known| known == line),
                "{fault}: no {line} in {metrics}"
            );
        }

        // Good again, and quiet for long enough: told once more.
        vendor.mend_all();
        price(&proxy.client, KEYS[0]).await;
        proxy.advance(SECOND * 300);
        price(&proxy.client, KEYS[0]).await;
        let recovered = alerts(&admin, "contract_recovered").await;
        assert_eq!(recovered.len(), 1, "{fault}: {recovered:?}");
        assert_eq!(recovered[0]["subject"], raised[0]["subject"]);
        assert_eq!(report(&admin).await["open"], Value::Array(Vec::new()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_observed_is_served_and_told() {
    let vendor = support::vendor(&Clock::manual(NOW)).await;
    let proxy = proxy(&vendor, "mode = \"observe\"").await;
    vendor.break_path("*", Fault::ZeroPrice).unwrap();
    for key in KEYS {
        assert_eq!(price(&proxy.client, key).await, 0.0, "as it came");
    }
    let admin = proxy.admin_client();
    let raised = alerts(&admin, "contract_breach").await;
    assert_eq!(raised.len(), 1, "{raised:?}");
    let message = raised[0]["message"].as_str().expect("text");
    assert!(
        message.ends_with("it was served all the same (mode observe)"),
        "{message}"
    );
    let known = report(&admin).await;
    assert_eq!(
        (&known["mode"], &known["observed"], &known["breach"]),
        (&"observe".into(), &3.into(), &0.into())
    );
    let status = proxy.status().await;
    assert_eq!(status["routes"][0]["contract"]["mode"], "observe");
    assert_eq!(status["routes"][0]["contract"]["breaches"], 3);
    assert_eq!(
        status["routes"][0]["contract"]["broken"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_stored_the_alert_says_what_visitors_get() {
    let vendor = support::vendor(&Clock::manual(NOW)).await;
    let proxy = proxy(&vendor, "").await;
    vendor.break_path("*", Fault::Html).unwrap();
    for key in KEYS {
        let reply = proxy.get(key).await;
        assert_eq!(reply.status, 502, "{}", reply.text());
    }
    let admin = proxy.admin_client();
    let raised = alerts(&admin, "contract_breach").await;
    assert_eq!(raised.len(), 1, "{raised:?}");
    let message = raised[0]["message"].as_str().expect("text");
    assert!(
        message.contains("there is no good answer in store"),
        "{message}"
    );
    let known = report(&admin).await;
    let body = known["samples"][0]["body"].as_str().expect("text");
    assert!(body.contains("<title>Maintenance</title>"), "{body}");
    assert_eq!(known["samples"][0]["request"], "GET /prices/sku-1");
}
