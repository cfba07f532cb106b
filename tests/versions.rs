//! What vendors announce of their own end, through a whole proxy: told once, with the days left, over restarts too.

mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use larder::clock::{Clock, Timestamp};
use serde_json::Value;
use support::{Asked, NOW, Origin, Play, Proxy, Setup, one_route, within};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn http_date(at: Timestamp) -> String {
    httpdate::fmt_http_date(at.into())
}

/// One route whose answers are never stored, so that each request is one answer of the vendor's.
fn config(upstream: &str, route: &str) -> String {
    let toml = one_route("", route);
    toml.replace(
        "[upstream.lab]",
        &format!("[upstream.lab]\nowner = \"Vendor desk\"\nrunbook = \"docs/lab.md\"\n{upstream}"),
    )
}

fn fields(fields: &[(&str, String)]) -> Play {
    let mut all = vec![("cache-control", "no-store")];
    all.extend(fields.iter().map(|(name, value)| (*name, value.as_str())));
    Play::answer(200, &all, "{}")
}

async fn alerts(proxy: &Proxy, kind: &str) -> Vec<Value> {
    let status = proxy.status().await;
    let alerts = status["alerts"].as_array().expect("a list").clone();
    alerts
        .into_iter()
        .filter(|alert| alert["kind"] == kind)
        .collect()
}

async fn version(proxy: &Proxy) -> Value {
    let reply = proxy.admin_client().get("/api/v1/versions").await;
    assert_eq!(reply.status, 200);
    reply.json()["versions"][0].clone()
}

#[tokio::test]
async fn a_sunset_is_told_once_over_many_answers_and_a_restart_and_again_as_it_comes_nearer() {
    let clock = Clock::manual(NOW);
    let (since, until) = (NOW.before(DAY * 9), NOW.after(DAY * 40 + DAY / 2));
    let origin = Origin::start(move |asked: &Asked| {
        let said = [
            ("deprecation", format!("@{}", since.as_millis() / 1000)),
            ("sunset", http_date(until)),
            (
                "link",
                "</v2/docs>; rel=\"sunset\", </v2>; rel=successor-version".to_owned(),
            ),
        ];
        match asked.nth % 3 {
            // Errors are heard too.
            0 => Play::answer(503, &[("sunset", &http_date(until))], "no"),
            _ => fields(&said),
        }
    })
    .await;
    let setup = || {
        Setup::before(&origin, &config("", ""))
            .clock(&clock)
            .on_disk()
    };
    let proxy = setup().start().await;
    for nth in 0..12 {
        proxy.get(&format!("/{nth}")).await;
    }
    let sunset = alerts(&proxy, "sunset").await;
    assert_eq!(sunset.len(), 1, "{sunset:?}");
    let message = sunset[0]["message"].as_str().expect("text");
    assert!(message.contains("in 40 days"), "{message}");
    assert!(message.contains("2027-02-24"), "{message}");
    assert_eq!(sunset[0]["owner"], "Vendor desk");
    assert_eq!(sunset[0]["runbook"], "docs/lab.md");
    assert_eq!(sunset[0]["suppressed"], 0);
    let deprecated = alerts(&proxy, "deprecated").await;
    assert_eq!(deprecated.len(), 1);
    let message = deprecated[0]["message"].as_str().expect("text");
    assert!(message.contains("since 2027-01-06"), "{message}");

    let shown = version(&proxy).await;
    assert_eq!(shown["route"], "all");
    assert_eq!(shown["sunset"]["days_left"], 40);
    assert_eq!(shown["sunset"]["at_ms"], until.as_millis());
    assert_eq!(shown["deprecated"]["at_ms"], since.as_millis());
    assert_eq!(shown["links"].as_array().expect("links").len(), 2);
    let status = proxy.status().await;
    assert_eq!(status["routes"][0]["version"], shown);
    let metrics = proxy.metrics().await;
    let want = format!(
        "larder_route_sunset_timestamp_seconds{{route=\"all\"}} {}.0",
        until.as_millis() / 1000
    );
    assert!(metrics.contains(&want), "{want} in {metrics}");

    let again = setup().where_was(&proxy);
    proxy.stop().await;
    let proxy = again.start().await;
    for nth in 0..6 {
        proxy.get(&format!("/again/{nth}")).await;
    }
    assert!(alerts(&proxy, "sunset").await.is_empty(), "told before");
    assert!(alerts(&proxy, "deprecated").await.is_empty());
    assert_eq!(version(&proxy).await["sunset"]["days_left"], 40);

    // 30 days and less: one more, and one when it is past.
    for (advance, want, says) in [
        (DAY * 11, 1, "in 29 days"),
        (DAY, 1, "in 29 days"),
        (DAY * 30, 2, "is past"),
    ] {
        proxy.advance(advance);
        for nth in 0..3 {
            proxy.get(&format!("/later/{want}/{nth}")).await;
        }
        let sunset = alerts(&proxy, "sunset").await;
        assert_eq!(sunset.len(), want, "{sunset:?}");
        let message = sunset[0]["message"].as_str().expect("text");
        assert!(message.contains(says), "{message}");
    }
    assert_eq!(version(&proxy).await["sunset"]["past"], true);
    proxy.stop().await;
}

#[tokio::test]
async fn a_changed_date_is_another_alert_and_a_field_in_an_older_form_is_heard() {
    let date = Arc::new(Mutex::new(NOW.after(DAY * 200)));
    let said = Arc::clone(&date);
    let origin = Origin::start(move |_| {
        let date = *said.lock().expect("no test panics with it");
        fields(&[
            ("sunset", http_date(date)),
            ("deprecation", "true".to_owned()),
        ])
    })
    .await;
    let clock = Clock::manual(NOW);
    let proxy = Setup::before(&origin, &config("", ""))
        .clock(&clock)
        .start()
        .await;
    for _ in 0..4 {
        proxy.get("/a").await;
    }
    *date.lock().expect("no test panics with it") = NOW.after(DAY * 100);
    for _ in 0..4 {
        proxy.get("/a").await;
    }
    let sunset = alerts(&proxy, "sunset").await;
    assert_eq!(sunset.len(), 2, "{sunset:?}");
    assert!(
        sunset[0]["message"]
            .as_str()
            .expect("text")
            .contains("in 100 days")
    );
    let deprecated = alerts(&proxy, "deprecated").await;
    assert_eq!(deprecated.len(), 1);
    let message = deprecated[0]["message"].as_str().expect("text");
    assert!(
        message.contains("not written as the standard has it"),
        "{message}"
    );
    let shown = version(&proxy).await;
    assert_eq!(shown["deprecated"]["lenient"], true);
    assert_eq!(shown["sunset"]["days_left"], 100, "what was said last");
    proxy.stop().await;
}

#[tokio::test]
async fn a_pinned_version_is_sent_and_an_answer_of_another_is_told_once_per_version() {
    let origin = Origin::start(|asked: &Asked| {
        let version = match asked.target.as_str() {
            "/old" => "2024-10-01",
            "/new" => "2025-01-15",
            _ => "2026-01-01",
        };
        fields(&[("x-api-version", version.to_owned())])
    })
    .await;
    let pinned = "api_version = { header = \"X-Api-Version\", value = \"2024-10-01\" }";
    let proxy = Setup::before(&origin, &config(pinned, "")).start().await;
    let mine = ("x-api-version", "mine");
    proxy.client.get_with("/old", &[mine]).await;
    assert!(alerts(&proxy, "version_mismatch").await.is_empty());
    for path in ["/new", "/old", "/new", "/newer", "/new"] {
        let reply = proxy.get(path).await;
        assert_eq!(reply.status, 200, "served as before");
    }
    for asked in origin.asked() {
        assert_eq!(asked.field("x-api-version"), "2024-10-01");
    }
    let mismatches = alerts(&proxy, "version_mismatch").await;
    assert_eq!(mismatches.len(), 2, "{mismatches:?}");
    let message = mismatches[1]["message"].as_str().expect("text");
    assert!(
        message.contains("`2025-01-15`") && message.contains("`2024-10-01` is pinned"),
        "{message}"
    );
    assert_eq!(version(&proxy).await["mismatched_answers"], 4);
    proxy.stop().await;
}

#[tokio::test]
async fn a_pinned_path_is_compared_with_links_and_redirects() {
    let origin = Origin::start(|asked: &Asked| match asked.target.as_str() {
        "/v2/moved" => Play::answer(
            308,
            &[("location", "/v4/moved"), ("cache-control", "no-store")],
            "",
        ),
        _ => fields(&[("link", "</v3/items>; rel=\"successor-version\"".to_owned())]),
    })
    .await;
    let route = "rewrite = \"/v2/{*rest}\"\napi_version = { path = \"v2\" }";
    let proxy = Setup::before(&origin, &config("", route)).start().await;
    for path in ["/items", "/moved", "/items", "/moved"] {
        proxy.get(path).await;
    }
    let mismatches = alerts(&proxy, "version_mismatch").await;
    let messages: Vec<_> = mismatches
        .iter()
        .filter_map(|alert| alert["message"].as_str())
        .collect();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(
        messages[0].contains("redirects to version `v4`"),
        "{messages:?}"
    );
    assert!(
        messages[1].contains("names as successor version `v3`"),
        "{messages:?}"
    );
    proxy.stop().await;
}

#[tokio::test]
async fn a_review_that_is_past_is_an_alert_at_start_and_in_the_status() {
    let origin = Origin::start(|_| fields(&[])).await;
    let clock = Clock::manual(NOW);
    let config = config("review_by = 2027-01-12", "");
    let proxy = Setup::before(&origin, &config).clock(&clock).start().await;
    let overdue = within(Duration::from_secs(15), "the alert is raised", async {
        loop {
            let overdue = alerts(&proxy, "review_overdue").await;
            if !overdue.is_empty() {
                return overdue;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(overdue[0]["subject"], "lab");
    let message = overdue[0]["message"].as_str().expect("text");
    assert!(
        message.contains("2027-01-12") && message.contains("3 days late"),
        "{message}"
    );
    let upstream = proxy.status().await["upstreams"][0].clone();
    assert_eq!(upstream["review_by"], "2027-01-12");
    assert_eq!(upstream["review_overdue_days"], 3);
    proxy.stop().await;
}
