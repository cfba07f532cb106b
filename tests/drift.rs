//! A vendor changes its answers: each change is reported once, and a vendor that does not change is left in peace.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Binary, Origin, Play, Proxy, Setup, larder, within};

/// Every request is a fetch, and every answer is learnt, however fast they come.
const TOML: &str = r#"
    [upstream.pricing]
    endpoints = ["{vendor}"]
    owner = "Vendor desk"
    runbook = "docs/pricing.md"
    [policy.live]
    fresh = "0s"
    stale_while_revalidate = "0s"
    override = true
    [[route]]
    name = "prices"
    path = "/prices/{sku}"
    upstream = "pricing"
    policy = "live"
    drift = { answers_per_second = 10000, answers_burst = 100000, ignore = ["/updated_at"] }
"#;

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// The answer to the nth request: prices vary, some fields are there at times.
fn price(nth: usize) -> Value {
    let mut price = json!({
        "sku": "A1", "name": "Widget", "price": 10.5 + (nth * 7 % 40) as f64, "vat": 19, "stock": nth * 13 % 90,
        "state": if nth.is_multiple_of(3) { "sold_out" } else { "in_stock" }, "updated_at": nth,
        "offers": vec![json!({ "id": nth * 31, "net": 3.5 }); 1 + nth % 5],
    });
    if nth.is_multiple_of(4) {
        price["promotion"] = json!({ "percent": nth % 50 });
    }
    price
}

/// How a vendor's answer to the nth request differs from [`price`].
type Change = fn(usize, &mut Value);

/// A vendor that changed its answers in these ways.
fn changed(origin: &Origin, changes: &[Change]) {
    let changes = changes.to_vec();
    origin.now(move |asked| {
        let mut answer = price(asked.nth);
        for change in &changes {
            change(asked.nth, &mut answer);
        }
        Play::answer(200, JSON, answer.to_string())
    });
}

async fn vendor() -> Origin {
    Origin::start(|asked| Play::answer(200, JSON, price(asked.nth).to_string())).await
}

/// Asks so often, for a few products in turn, and waits until that is learnt.
async fn ask(proxy: &Proxy, times: u64) {
    let known = drift(proxy).await["answers"].as_u64().unwrap_or_default();
    for nth in 0..times {
        assert_eq!(proxy.get(&format!("/prices/{}", nth % 5)).await.status, 200);
    }
    learnt(proxy, known + times).await;
}

async fn learnt(proxy: &Proxy, answers: u64) {
    until("the answers are learnt", async || {
        drift(proxy).await["answers"].as_u64() >= Some(answers)
    })
    .await;
}

async fn drift(proxy: &Proxy) -> Value {
    let reply = proxy.admin_client().get("/api/v1/drift/prices").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    within(Duration::from_secs(60), what, async {
        while !holds().await {
            // The pace of looking; the bound is around it.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Path, kind and class of what is reported.
async fn reported(proxy: &Proxy) -> Vec<(String, String, String)> {
    let known = drift(proxy).await;
    let text = |change: &Value, name: &str| change[name].as_str().unwrap_or_default().to_owned();
    let changes = known["changes"].as_array().expect("a list").iter();
    let mut reported: Vec<_> = changes
        .map(|it| (text(it, "path"), text(it, "change"), text(it, "class")))
        .collect();
    reported.sort();
    reported
}

/// Subjects of the alerts about changes, in order.
async fn alerts(proxy: &Proxy) -> Vec<(String, String)> {
    let alerts = proxy.status().await["alerts"].clone();
    let alerts = alerts.as_array().cloned().unwrap_or_default();
    let text = |alert: &Value, name: &str| alert[name].as_str().unwrap_or_default().to_owned();
    let mut told: Vec<_> = alerts
        .iter()
        .filter(|alert| text(alert, "kind").starts_with("drift_"))
        .map(|alert| (text(alert, "kind"), text(alert, "subject")))
        .collect();
    told.sort();
    told
}

const REMOVED: Change = |_, answer| {
    answer.as_object_mut().expect("an object").remove("vat");
};
const RETYPED: Change = |_, answer| answer["stock"] = json!(answer["stock"].to_string());
const NULL: Change = |_, answer| answer["name"] = Value::Null;
const NEW_VALUE: Change = |nth, answer| {
    if nth.is_multiple_of(2) {
        answer["state"] = json!("discontinued");
    }
};
const DEARER: Change = |_, answer| {
    answer["price"] = json!(answer["price"].as_f64().unwrap_or_default() * 100.0);
};
const NEW_FIELD: Change = |_, answer| answer["weight"] = json!(1.5);

#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_a_vendor_is_reported_once_with_its_class() {
    let origin = vendor().await;
    let proxy = Setup::before(&origin, TOML).start().await;
    ask(&proxy, 60).await;
    assert_eq!(reported(&proxy).await, []);
    let steps: [(Change, &str, &str, &str); 6] = [
        (REMOVED, "$.vat", "field_removed", "breaking"),
        (RETYPED, "$.stock", "type_changed", "breaking"),
        (NULL, "$.name", "became_nullable", "breaking"),
        (NEW_VALUE, "$.state", "enum_value_added", "warning"),
        (DEARER, "$.price", "range_changed", "warning"),
        (NEW_FIELD, "$.weight", "field_added", "info"),
    ];
    let (mut changes, mut want, mut told) = (Vec::new(), Vec::new(), Vec::new());
    for (change, path, kind, class) in steps {
        changes.push(change);
        changed(&origin, &changes);
        ask(&proxy, 20).await;
        want.push((path.to_owned(), kind.to_owned(), class.to_owned()));
        want.sort();
        assert_eq!(reported(&proxy).await, want);
        if class != "info" {
            let subject = format!("route prices: {path} {kind}");
            told.push((format!("drift_{class}"), subject));
            told.sort();
        }
        assert_eq!(alerts(&proxy).await, told, "one alert each, none for info");
    }
    let known = drift(&proxy).await;
    let changes = known["changes"].as_array().expect("a list");
    let removed = changes
        .iter()
        .find(|it| it["path"] == "$.vat")
        .expect("it is");
    assert_eq!(removed["was"], "integer");
    assert_eq!(removed["answers"], 120, "{removed}");
    assert_eq!(removed["of"], 120, "{removed}");
    assert!(removed["first_seen_ms"].as_u64() > Some(0));
    let state = changes
        .iter()
        .find(|it| it["path"] == "$.state")
        .expect("it is");
    assert_eq!(state["values"], json!(["discontinued"]));
    let alert = proxy.status().await["alerts"][0].clone();
    assert_eq!(alert["owner"], "Vendor desk");
    assert_eq!(alert["runbook"], "docs/pricing.md");
    let metrics = proxy.metrics().await;
    for sample in [
        "larder_drift_changes{route=\"prices\",class=\"breaking\"} 3",
        "larder_drift_changes{route=\"prices\",class=\"warning\"} 2",
        "larder_drift_answers_total{route=\"prices\",result=\"learnt\"} 180",
    ] {
        assert!(metrics.contains(sample), "{sample} in {metrics}");
    }
    let asked = origin.asked_total();
    assert_eq!(asked, 180, "nobody was asked for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_does_not_change_reports_nothing_also_over_a_restart() {
    let origin = vendor().await;
    let proxy = Setup::before(&origin, TOML).on_disk().start().await;
    ask(&proxy, 600).await;
    let restarted = Setup::before(&origin, TOML).where_was(&proxy);
    proxy.stop().await;
    let proxy = restarted.start().await;
    until("what is kept is loaded", async || {
        drift(&proxy).await["answers"] == 600
    })
    .await;
    ask(&proxy, 600).await;
    assert_eq!(reported(&proxy).await, []);
    assert_eq!(alerts(&proxy).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_neither_learns_anew_nor_reports_again() {
    let origin = vendor().await;
    let proxy = Setup::before(&origin, TOML).on_disk().start().await;
    ask(&proxy, 60).await;
    changed(&origin, &[REMOVED]);
    ask(&proxy, 20).await;
    assert_eq!(alerts(&proxy).await.len(), 1);
    let restarted = Setup::before(&origin, TOML).where_was(&proxy);
    proxy.stop().await;
    let proxy = restarted.start().await;
    until("what is kept is loaded", async || {
        drift(&proxy).await["answers"] == 80
    })
    .await;
    ask(&proxy, 20).await;
    let known = drift(&proxy).await;
    assert_eq!(known["changes"].as_array().map(Vec::len), Some(1));
    assert_eq!(known["changes"][0]["answers"], 40, "{known}");
    assert_eq!(alerts(&proxy).await, [], "not again");
    changed(&origin, &[REMOVED, NULL]);
    ask(&proxy, 10).await;
    let want = (
        "drift_breaking".to_owned(),
        "route prices: $.name became_nullable".to_owned(),
    );
    assert_eq!(alerts(&proxy).await, [want], "it knows what is usual");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_is_how_it_is_meant() {
    let origin = vendor().await;
    let proxy = Setup::before(&origin, TOML).start().await;
    ask(&proxy, 60).await;
    changed(&origin, &[REMOVED, NULL]);
    ask(&proxy, 20).await;
    assert_eq!(reported(&proxy).await.len(), 2);
    let admin = proxy.admin_client();
    let accept = "/api/v1/drift/prices/accept";
    for (order, status, want) in [
        (
            json!({ "path": "$.none" }),
            400,
            "nothing is reported at `$.none`",
        ),
        (json!({ "change": "gone" }), 400, "field_removed"),
        (json!({ "paths": "$.vat" }), 400, "type_changed"),
        (
            json!({ "path": "$.vat", "change": "field_removed" }),
            200,
            "$.vat",
        ),
        (json!({}), 200, "$.name"),
    ] {
        let reply = admin.post(accept, &order.to_string()).await;
        assert_eq!(reply.status, status, "{order}: {}", reply.text());
        assert!(reply.text().contains(want), "{order}: {}", reply.text());
    }
    assert_eq!(reported(&proxy).await, []);
    ask(&proxy, 30).await;
    assert_eq!(reported(&proxy).await, [], "it is as it should be");
    for (route, want) in [("none", "there are `prices`")] {
        let reply = admin.get(&format!("/api/v1/drift/{route}")).await;
        assert_eq!(reply.status, 400);
        assert!(reply.text().contains(want), "{}", reply.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_streams_is_learnt_and_what_is_private_is_not() {
    use support::Piece;
    let origin = Origin::start(|asked| {
        let body = price(asked.nth).to_string();
        let (first, rest) = body.split_at(20);
        let pieces = [first, rest].map(|piece| Piece::Bytes(piece.to_owned().into()));
        let mut fields = JSON.to_vec();
        if asked.target.ends_with("/1") {
            fields.push(("cache-control", "private"));
        }
        Play::pieces(200, &fields, pieces.to_vec())
    })
    .await;
    let toml = TOML.replace("override = true", "");
    let proxy = Setup::before(&origin, &toml).start().await;
    for _ in 0..6 {
        assert_eq!(proxy.get("/prices/1").await.status, 200);
        assert_eq!(proxy.get("/prices/2").await.status, 200);
        let with = [("authorization", "Bearer x")];
        assert_eq!(proxy.client.get_with("/prices/2", &with).await.status, 200);
    }
    learnt(&proxy, 6).await;
    let known = drift(&proxy).await;
    assert_eq!(known["skipped"]["private"], 12, "{known}");
    assert_eq!(known["answers"], 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_shown_and_accepted_on_the_command_line() {
    let origin = vendor().await;
    let folder = tempfile::tempdir().expect("there is a place for temporary folders");
    let toml = TOML.replace("{vendor}", origin.url());
    let proxy = Binary::serve(folder.path(), &toml).await;
    let admin = format!("http://{}", proxy.admin_addr());
    let run = async |words: &[&str]| -> (bool, String) {
        let mut command = larder();
        command.arg("drift").args(["--admin", &admin]).args(words);
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.expect("no panic").expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    };
    let ask = async |times: u64, answers: &str| {
        for nth in 0..times {
            assert_eq!(
                proxy
                    .client
                    .get(&format!("/prices/{}", nth % 5))
                    .await
                    .status,
                200
            );
        }
        until("it is learnt", async || {
            run(&["prices"]).await.1.contains(answers)
        })
        .await;
    };
    let (_, text) = run(&[]).await;
    assert!(text.contains("learning: 0 of 20 answers"), "{text}");
    ask(60, "as always, 60 answers").await;
    changed(&origin, &[REMOVED]);
    ask(10, "1 change, 70 answers").await;
    let (is_well, text) = run(&["prices"]).await;
    assert!(
        is_well && text.contains("breaking field_removed      $.vat: was integer; now missing"),
        "{text}"
    );
    assert!(text.contains("owner Vendor desk"), "{text}");
    assert!(
        text.contains("$.state string; values in_stock, sold_out"),
        "{text}"
    );
    let (is_well, text) = run(&["accept", "prices", "$.vat"]).await;
    assert!(
        is_well && text.contains("accepted: $.vat field_removed"),
        "{text}"
    );
    let (_, text) = run(&["--json"]).await;
    let listed: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(listed["routes"][0]["changes"], json!([]));
    let (is_well, text) = run(&["accept", "price"]).await;
    assert!(!is_well && text.contains("there are `prices`"), "{text}");
    let (is_well, text) = run(&["prices", "accept"]).await;
    assert!(!is_well && text.contains("accept ROUTE"), "{text}");
}
