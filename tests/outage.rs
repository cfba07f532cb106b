//! Outages: whatever the vendor does, a warmed route keeps answering, in time, with what was good.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream};
use http::StatusCode;
use larder::{
    clock::Clock,
    stub::{Fault, RetryAfter, Stub},
};
use support::{CHANGE, Client, LagMeter, NOW, Proxy, Reply, Setup, request, within};

/// What a route of this file waits for a sick vendor where it has a copy.
const STALE_AFTER: Duration = Duration::from_millis(300);
/// What it may take beyond that.
const GRACE: Duration = Duration::from_millis(100);
/// Longest cool-down: 500 ms and half of it by chance.
const COOL_DOWN_MAX: Duration = Duration::from_millis(750);
/// Fresh data is back this long after the vendor: the cool-down, and a breaker that opened a few times.
const RECOVERY_MAX: Duration = Duration::from_secs(4);

const PATHS: [&str; 4] = ["/prices/A", "/prices/B", "/prices/C", "/prices/D"];

fn prices(while_revalidate: &str, upstream: &str) -> String {
    format!(
        r#"
        [upstream.pricing]
        endpoints = ["{{vendor}}"]
        owner = "Vendor desk"
        runbook = "docs/pricing.md"
        attempt_timeout = "500ms"
        {upstream}

        [policy.live]
        fresh = "10s"
        stale_while_revalidate = "{while_revalidate}"
        override = true
        spread_percent = 0
        early = false

        [[route]]
        name = "prices"
        path = "/prices/{{sku}}"
        upstream = "pricing"
        policy = "live"
        deadline = "2s"
        "#
    )
}

/// A warmed proxy in front of a vendor, and a healthy twin of that vendor who tells what is true.
struct Scene {
    vendor: Stub,
    twin: Client,
    _twin: Stub,
    proxy: Proxy,
    lag: LagMeter,
    /// What was true, minute by minute.
    known: Vec<Vec<Bytes>>,
}

impl Scene {
    async fn warmed(toml: &str) -> Self {
        let clock = Clock::manual(NOW);
        let (vendor, twin) = (support::vendor(&clock).await, support::vendor(&clock).await);
        let proxy = Setup::new(&vendor, toml).clock(&clock).start().await;
        let mut scene = Self {
            twin: Client::new(twin.addr()),
            _twin: twin,
            vendor,
            proxy,
            lag: LagMeter::start(),
            known: Vec::new(),
        };
        scene.learn_the_truth().await;
        for reply in scene.ask_each().await {
            assert_eq!(reply.cache("fwd"), Some("uri-miss"), "{reply:?}");
        }
        scene
    }

    async fn learn_the_truth(&mut self) {
        let mut bodies = Vec::new();
        for path in PATHS {
            bodies.push(self.twin.get(path).await.body);
        }
        self.known.push(bodies);
    }

    /// The data changes, and everything stored is past its lifetime.
    async fn next_minute(&mut self) {
        self.proxy.advance(CHANGE);
        self.learn_the_truth().await;
    }

    async fn ask_each(&self) -> Vec<Reply> {
        let mut replies = Vec::new();
        for (nth, path) in PATHS.iter().enumerate() {
            replies.push(self.checked(nth, self.proxy.get(path).await));
        }
        replies
    }

    async fn ask_at_once(&self, clients: usize) -> Vec<Reply> {
        let asked = (0..clients).map(|client| async move {
            let nth = client % PATHS.len();
            self.checked(nth, self.proxy.get(PATHS[nth]).await)
        });
        join_all(asked).await
    }

    /// 200, in time, true now or once true and marked as such.
    fn checked(&self, nth: usize, reply: Reply) -> Reply {
        assert_eq!(reply.status, 200, "{reply:?}");
        let bound = STALE_AFTER + GRACE + self.lag.worst();
        if !self.is_first_minute() {
            assert!(reply.elapsed <= bound, "{:?} > {bound:?}", reply.elapsed);
        }
        let minute = self
            .known
            .iter()
            .position(|bodies| bodies[nth] == reply.body);
        let minute = minute.unwrap_or_else(|| panic!("never true: {reply:?}"));
        if minute + 1 < self.known.len() {
            assert!(reply.is_stale(), "old, and not marked: {reply:?}");
        }
        reply
    }

    fn is_first_minute(&self) -> bool {
        self.known.len() == 1
    }

    fn is_current(&self, nth: usize, reply: &Reply) -> bool {
        self.known.last().is_some_and(|now| now[nth] == reply.body)
    }

    /// Asks until every answer is true now; time passes for cool-downs as it does for breakers.
    async fn recovers(&self) -> Duration {
        const TICK: Duration = Duration::from_millis(20);
        let mended = Instant::now();
        let mut passed = mended;
        loop {
            let replies = self.ask_each().await;
            let mut replies = replies.iter().enumerate();
            if replies.all(|(nth, reply)| self.is_current(nth, reply)) {
                return mended.elapsed();
            }
            assert!(
                mended.elapsed() < RECOVERY_MAX + self.lag.worst(),
                "still old"
            );
            // The pace of asking, bounded above: breakers rest in real time. However long a round takes on a busy machine,
            // cool-downs end as soon as the rests do.
            tokio::time::sleep(TICK).await;
            let now = Instant::now();
            self.proxy.advance(now - passed);
            passed = now;
        }
    }
}

struct Row {
    name: &'static str,
    fault: Fault,
    /// Now and then a good answer comes through.
    comes_through: bool,
}

fn rows() -> Vec<Row> {
    let row = |name, fault| Row {
        name,
        fault,
        comes_through: false,
    };
    let long = Duration::from_secs(60);
    let status = |status: StatusCode, seconds: Option<u32>, as_date| Fault::Status {
        status,
        retry_after: seconds.map(|seconds| RetryAfter { seconds, as_date }),
    };
    vec![
        row("refuse", Fault::Refuse),
        row("reset", Fault::Reset),
        row("reset mid body", Fault::ResetMidBody),
        row("close", Fault::Close),
        row("hang", Fault::Hang),
        row("slow head", Fault::SlowHead { delay: long }),
        row(
            "drip",
            Fault::Drip {
                bytes: 1,
                every: Duration::from_millis(100),
            },
        ),
        row("truncated length", Fault::Truncate { chunked: false }),
        row("truncated chunks", Fault::Truncate { chunked: true }),
        row(
            "500",
            status(StatusCode::INTERNAL_SERVER_ERROR, None, false),
        ),
        row("502", status(StatusCode::BAD_GATEWAY, None, false)),
        row("503", status(StatusCode::SERVICE_UNAVAILABLE, None, false)),
        row(
            "503, Retry-After: 1",
            status(StatusCode::SERVICE_UNAVAILABLE, Some(1), false),
        ),
        row(
            "503, Retry-After as a date",
            status(StatusCode::SERVICE_UNAVAILABLE, Some(1), true),
        ),
        row("504", status(StatusCode::GATEWAY_TIMEOUT, None, false)),
        row("429", status(StatusCode::TOO_MANY_REQUESTS, None, false)),
        row(
            "429, Retry-After: 1",
            status(StatusCode::TOO_MANY_REQUESTS, Some(1), false),
        ),
        row("garbage", Fault::Garbage),
        row("latency beyond the attempt", Fault::latency(long)),
        Row {
            name: "latency within the attempt",
            fault: Fault::latency(Duration::from_millis(150)),
            comes_through: true,
        },
        Row {
            name: "flapping",
            fault: Fault::Flap {
                period: Duration::from_millis(200),
                fault: Box::new(Fault::Reset),
            },
            comes_through: true,
        },
    ]
}

/// One row of the table: warm, break, ask a lot, mend, be fresh again.
async fn rides_out(row: &Row, while_revalidate: &str) -> Duration {
    let mut scene = Scene::warmed(&prices(while_revalidate, "")).await;
    scene.vendor.break_path("*", row.fault.clone()).unwrap();
    scene.next_minute().await;
    for _round in 0..3 {
        let mut replies = scene.ask_each().await;
        replies.extend(scene.ask_at_once(20).await);
        if !row.comes_through {
            assert!(replies.iter().all(Reply::is_stale), "{replies:?}");
        }
        scene.proxy.advance(COOL_DOWN_MAX);
    }
    scene.next_minute().await;
    scene.vendor.mend_all();
    scene.recovers().await
}

async fn table(while_revalidate: &'static str) {
    let rows = rows().into_iter().map(|row| async move {
        let name = row.name;
        let ridden = tokio::spawn(async move { rides_out(&row, while_revalidate).await });
        (name, ridden.await)
    });
    let ended: Vec<_> = stream::iter(rows).buffer_unordered(4).collect().await;
    let broken: Vec<_> = ended
        .iter()
        .filter_map(|(name, ended)| ended.is_err().then_some(*name))
        .collect();
    assert!(broken.is_empty(), "did not ride out: {broken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_ridden_out_while_revalidating_is_allowed() {
    table("1h").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_ridden_out_where_each_request_asks_first() {
    table("0s").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_left_alone_for_its_cool_down_and_fresh_right_after_it() {
    let mut scene = Scene::warmed(&prices("0s", "breaker.enabled = false")).await;
    scene
        .vendor
        .break_path("*", Fault::status(StatusCode::SERVICE_UNAVAILABLE))
        .unwrap();
    scene.next_minute().await;
    let first = scene.proxy.get("/prices/A").await;
    assert_eq!(first.cache("detail"), Some("stale-if-error"), "{first:?}");
    assert!(first.field("proxy-status").contains("received-status=503"));
    scene.vendor.mend_all();

    let asked = scene.vendor.asked_total();
    scene.proxy.advance(Duration::from_millis(499));
    scene.ask_at_once(20).await;
    let resting = scene.proxy.get("/prices/A").await;
    assert!(resting.is_stale() && resting.is_hit(), "{resting:?}");
    // B, C and D had no failure: they were asked for once each.
    assert_eq!(scene.vendor.asked_total(), asked + 3);

    scene
        .proxy
        .advance(COOL_DOWN_MAX - Duration::from_millis(499));
    let rested = scene.proxy.get("/prices/A").await;
    assert!(scene.is_current(0, &rested), "{rested:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_honoured_while_stale_answers_go_on() {
    for as_date in [false, true] {
        let mut scene = Scene::warmed(&prices("1h", "")).await;
        let busy = Fault::Status {
            status: StatusCode::SERVICE_UNAVAILABLE,
            retry_after: Some(RetryAfter {
                seconds: 120,
                as_date,
            }),
        };
        scene.vendor.break_path("*", busy).unwrap();
        scene.next_minute().await;
        let asked = scene.vendor.asked_total();
        scene.proxy.get("/prices/A").await;
        within(
            Duration::from_secs(5),
            "the refresh behind is sent",
            scene.vendor.wait_asked("*", asked + 1),
        )
        .await
        .unwrap();
        // The refusal is on its way back; the key rests once it is here.
        scene.proxy.settled().await;

        scene.vendor.mend_all();
        scene.proxy.advance(Duration::from_secs(118));
        scene.learn_the_truth().await;
        for _ in 0..5 {
            let reply = scene.proxy.get("/prices/A").await;
            assert!(reply.status == 200 && reply.is_stale(), "{reply:?}");
        }
        scene.proxy.settled().await;
        assert_eq!(
            scene.vendor.asked_total(),
            asked + 1,
            "asked within Retry-After"
        );

        scene.proxy.advance(Duration::from_secs(3));
        scene.learn_the_truth().await;
        scene.recovers().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_opens_the_breaker_and_tells_the_owner_and_its_end_closes_it() {
    let mut scene = Scene::warmed(&prices("0s", "")).await;
    scene.vendor.break_path("*", Fault::Refuse).unwrap();
    scene.next_minute().await;
    for _round in 0..3 {
        scene.ask_each().await;
        scene.proxy.advance(COOL_DOWN_MAX);
    }
    let status = scene.proxy.status().await;
    let opened = status["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|alert| alert["kind"] == "breaker_open")
        .unwrap_or_else(|| panic!("no alert in {status}"));
    assert_eq!(opened["owner"], "Vendor desk");
    assert_eq!(opened["runbook"], "docs/pricing.md");
    assert_eq!(opened["subject"], "pricing");
    assert!(status["upstreams"][0]["failures"]["connect_refused"].as_u64() >= Some(5));

    scene.vendor.mend_all();
    scene.next_minute().await;
    scene.recovers().await;
    let mended = Instant::now();
    while scene.proxy.breaker().await != "closed" {
        assert!(mended.elapsed() < RECOVERY_MAX, "the breaker stays open");
        scene.proxy.advance(Duration::from_secs(11));
        scene.proxy.get("/prices/A").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn past_max_stale_an_outage_shows_and_nothing_old_is_passed_off() {
    let scene = Scene::warmed(&prices("1h", "")).await;
    let refused = Fault::status(StatusCode::SERVICE_UNAVAILABLE);
    scene.vendor.break_path("*", refused).unwrap();
    scene.proxy.advance(Duration::from_secs(24 * 3600 + 9));
    assert_eq!(scene.proxy.get("/prices/A").await.status, 200);
    scene.proxy.advance(Duration::from_secs(2));
    let reply = scene.proxy.get("/prices/A").await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.field("cache-status").contains("fwd=stale"));
}

#[tokio::test(flavor = "multi_thread")]
async fn must_revalidate_is_obeyed_unless_the_route_overrides_it() {
    let target = "/lab/response?Cache-Control=max-age%3D5,must-revalidate";
    for (policy, want) in [("", 504), ("override = true\nfresh = \"5s\"", 200)] {
        let clock = Clock::manual(NOW);
        let vendor = support::vendor(&clock).await;
        let toml = format!(
            "[upstream.lab]\nendpoints = [\"{{vendor}}\"]\n[policy.p]\n{policy}\n\
             [[route]]\npath = \"/lab/{{*rest}}\"\nupstream = \"lab\"\npolicy = \"p\"\n"
        );
        let proxy = Setup::new(&vendor, &toml).clock(&clock).start().await;
        assert_eq!(proxy.get(target).await.status, 200);
        vendor.break_path("*", Fault::Reset).unwrap();
        proxy.advance(Duration::from_secs(6));
        let reply = proxy.get(target).await;
        assert_eq!(reply.status, want, "{policy:?}: {reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_insists_gets_the_copy_where_the_vendor_is_down() {
    let toml = prices("1h", "").replace("override = true", "");
    let mut scene = Scene::warmed(&toml).await;
    scene.vendor.break_path("*", Fault::Close).unwrap();
    scene.next_minute().await;
    let insisting = request(
        http::Method::GET,
        "/prices/A",
        &[("cache-control", "no-cache")],
    );
    let reply = scene.checked(0, scene.proxy.client.send(insisting).await);
    assert_eq!(reply.cache("detail"), Some("stale-if-error"), "{reply:?}");
}
