//! Quota: whatever visitors do, the vendor is asked no more than it allows, and what it says of its limits is heeded.

mod support;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use support::{Client, Origin, Play, Setup, within};

/// Answers are stale at once and may be used for a long time, so that every request would like to ask.
const TOML: &str = r#"
    [upstream.lab]
    endpoints = ["{vendor}"]
    {quota}
    [policy.p]
    fresh = "1ms"
    spread_percent = 0
    early = false
    override = true
    cool_down = "50ms"
    [[route]]
    name = "all"
    path = "/{*rest}"
    upstream = "lab"
    policy = "p"
"#;

fn toml(quota: &str) -> String {
    TOML.replace("{quota}", quota)
}

/// An origin that notes when it is asked.
async fn timed(fields: &'static [(&'static str, &'static str)]) -> (Origin, Times) {
    let times = Times::default();
    let noted = times.clone();
    let origin = Origin::start(move |_| {
        noted.lock().push(Instant::now());
        Play::answer(200, fields, "ok")
    });
    (origin.await, times)
}

#[derive(Clone, Default)]
struct Times(Arc<Mutex<Vec<Instant>>>);

impl Times {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Between two tries.
const AGAIN: Duration = Duration::from_millis(10);

/// Asks until the quota lets it through.
async fn warm(client: &Client, path: &str) {
    within(Duration::from_secs(30), "the quota has room", async {
        while client.get(path).await.status != 200 {
            tokio::time::sleep(AGAIN).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_with_stale_copies_is_answered_and_the_vendor_sees_no_more_than_its_quota() {
    let (origin, times) = timed(&[]).await;
    let toml = toml("quota = \"5 / second\"");
    let proxy = Setup::before(&origin, &toml).start().await;
    let begun = Instant::now();
    for key in 0..10 {
        warm(&proxy.client, &format!("/{key}")).await;
    }
    let end = Instant::now() + Duration::from_secs(4);
    let crowd = (0..50).map(|nth| {
        let client = proxy.client.clone();
        async move {
            let mut beat = tokio::time::interval(Duration::from_millis(50));
            let mut answers = 0;
            while Instant::now() < end {
                beat.tick().await;
                let reply = client.get(&format!("/{}", nth % 10)).await;
                assert_eq!(reply.status, 200, "{reply:?}");
                answers += 1;
            }
            answers
        }
    });
    let crowd = tokio::spawn(join_all(crowd));
    // Somebody without a copy comes before those who have one; not more often than once in a period.
    for nth in 0..3 {
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let reply = proxy.get(&format!("/cold-{nth}")).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let answers: usize = crowd.await.expect("no panic").iter().sum();
    let (asked, periods) = (times.lock().len(), begun.elapsed().as_secs() as usize + 1);
    assert!(answers > 10 * asked, "{answers} answers, {asked} asked");
    assert!(asked <= 5 * periods, "{asked} in {periods} s");
    // Four a second may be refreshes; on a slow machine they are rarer.
    assert!(asked > periods, "{asked} in {periods} s: the quota is used");
    let metrics = proxy.metrics().await;
    let refused =
        "larder_upstream_quota_refused_total{upstream=\"lab\",priority=\"user_revalidate\"} ";
    let refused = metrics.lines().find_map(|line| line.strip_prefix(refused));
    assert_ne!(refused, Some("0"));
    let status = proxy.status().await;
    assert!(status["upstreams"][0]["quota_remaining"].as_u64() <= Some(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_has_nothing_left_is_not_asked_until_its_reset() {
    let fields = &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "2")];
    let (origin, times) = timed(fields).await;
    let proxy = Setup::before(&origin, &toml("")).start().await;
    assert_eq!(proxy.get("/a").await.status, 200);
    let cold = proxy.get("/b").await;
    assert_eq!(cold.status, 503);
    assert!(matches!(cold.field("retry-after"), "1" | "2"), "{cold:?}");
    within(Duration::from_secs(30), "it is asked again", async {
        while times.lock().len() == 1 {
            assert_eq!(proxy.get("/a").await.status, 200);
            tokio::time::sleep(AGAIN).await;
        }
    })
    .await;
    let waited = {
        let times = times.lock();
        times[1] - times[0]
    };
    assert!(waited >= Duration::from_secs(2), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_runs_low_is_kept_for_those_who_have_nothing_else() {
    let fields = &[
        ("ratelimit", "\"hour\";r=10;t=3600"),
        ("ratelimit-policy", "\"hour\";q=100;w=3600"),
    ];
    let (origin, times) = timed(fields).await;
    let proxy = Setup::before(&origin, &toml("")).start().await;
    assert_eq!(proxy.get("/a").await.status, 200);
    for _ in 0..20 {
        assert_eq!(proxy.get("/a").await.status, 200);
        tokio::time::sleep(AGAIN).await;
    }
    assert_eq!(times.lock().len(), 1, "no refresh");
    assert_eq!(proxy.get("/b").await.status, 200);
    assert_eq!(times.lock().len(), 2);
    proxy.settled().await;
    let status = proxy.status().await;
    let remaining = status["upstreams"][0]["quota_remaining"].as_u64();
    // This vendor always says ten; one of them was used meanwhile.
    assert!(matches!(remaining, Some(9 | 10)), "{remaining:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_checks_count_and_leave_the_quota_to_clients() {
    let (origin, times) = timed(&[]).await;
    let quota = "quota = \"5 / hour\"\nhealth = { path = \"/health\", every = \"10ms\" }";
    let proxy = Setup::before(&origin, &toml(quota)).start().await;
    within(Duration::from_secs(30), "checks are skipped", async {
        loop {
            let metrics = proxy.metrics().await;
            let mut checks = metrics
                .lines()
                .filter(|line| line.starts_with("larder_upstream_health_checks_total"));
            let skipped = checks.find(|line| line.contains("result=\"skipped\""));
            if skipped.is_some_and(|line| !line.ends_with(" 0")) {
                break;
            }
            tokio::time::sleep(AGAIN).await;
        }
    })
    .await;
    assert_eq!(times.lock().len(), 2, "40 % of five");
    for (nth, want) in [200, 200, 200, 503].into_iter().enumerate() {
        assert_eq!(proxy.get(&format!("/{nth}")).await.status, want);
    }
    assert_eq!(times.lock().len(), 5);
}
