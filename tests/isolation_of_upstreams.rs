//! Isolation of upstreams: a vendor that hangs costs the visitors of another vendor's routes nothing.
//!
//! One route is flooded while its vendor hangs for 60 s, by visitors with a copy and by visitors without. Another route,
//! of another vendor, is under load before and meanwhile, turn by turn, so that what else the machine does weighs on both;
//! medians of several turns are compared. Its 99th percentile may grow by [`FACTOR`], and to [`FLOOR`] whatever it was.

mod support;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use larder::{clock::Clock, stub::Break};
use support::{
    Client, LagMeter, Proxy, Setup,
    traffic::{percent, percentile},
};
use tokio::{task::JoinSet, time::Instant};

/// By how much the other route's 99th percentile may move.
const FACTOR: u32 = 2;
/// Below this it is noise.
const FLOOR: Duration = Duration::from_millis(20);
const TURNS: usize = 3;
/// Of each half of a turn.
const LASTING: Duration = Duration::from_millis(1200);
/// Of both routes.
const PER_SECOND: u32 = 100;
/// Keys with a copy.
const WARM: u64 = 10;

const TOML: &str = r#"
    [upstream.hanging]
    endpoints = ["{hanging}"]
    [upstream.well]
    endpoints = ["{vendor}"]
    [policy.live]
    fresh = "60s"
    override = true
    [policy.expired]
    fresh = "0s"
    override = true
    stale_while_revalidate = "0s"
    [[route]]
    path = "/prices/{sku}"
    upstream = "well"
    policy = "live"
    [[route]]
    path = "/availability/{hotel}"
    upstream = "hanging"
    policy = "expired"
"#;

/// So that no two requests for something new ask for the same.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Every second request is for something that is stored, the others for something that is not.
fn path(folder: &str, nth: u64) -> String {
    match nth % 2 {
        0 => format!("/{folder}/{}", nth / 2 % WARM),
        _ => format!("/{folder}/new-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
    }
}

/// Asks at a steady rate and does not wait; the answers so far when time is over. What hangs then is let go.
async fn load(client: &Client, folder: &'static str) -> Vec<(bool, Duration)> {
    let begun = Instant::now();
    let mut asked = JoinSet::new();
    let mut answers = Vec::new();
    let mut beat = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
    for nth in 0.. {
        beat.tick().await;
        if begun.elapsed() >= LASTING {
            break;
        }
        let client = client.clone();
        asked.spawn(async move {
            let started = Instant::now();
            let asked = support::request(http::Method::GET, &path(folder, nth), &[]);
            let reply = client.try_send(asked).await;
            (
                reply.is_ok_and(|reply| reply.status == 200),
                started.elapsed(),
            )
        });
        while let Some(answer) = asked.try_join_next() {
            answers.push(answer.expect("no request panics"));
        }
    }
    answers
}

/// The load on the healthy route: all of it is answered well. Its 99th percentile.
async fn p99_of_the_other(proxy: &Proxy) -> Duration {
    let answers = load(&proxy.client, "prices").await;
    assert!(percent(answers.iter().map(|(good, _)| *good)) >= 100.0);
    percentile(answers.iter().map(|(_, elapsed)| *elapsed), 99)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// One turn, over a proxy that has not seen this vendor hang before.
async fn turn() -> (Duration, Duration) {
    let hanging = support::vendor(&Clock::System).await;
    let vendor = support::vendor(&Clock::System).await;
    let toml = TOML.replace("{hanging}", &hanging.url(""));
    let proxy = Setup::new(&vendor, &toml).start().await;
    for key in 0..WARM {
        for folder in ["prices", "availability"] {
            let reply = proxy.get(&format!("/{folder}/{key}")).await;
            assert_eq!(reply.status, 200, "{reply:?}");
        }
    }
    let before = p99_of_the_other(&proxy).await;
    let hang: Break = "kind=hang for=60s".parse().expect("a fault");
    hanging.break_with(hang).expect("a fault");
    let asked = hanging.asked_total();
    let flood = {
        // Connections of its own: what hangs at the client is not what is measured.
        let client = Client::new(proxy.client.addr());
        tokio::spawn(async move { load(&client, "availability").await })
    };
    let during = p99_of_the_other(&proxy).await;
    flood.await.expect("no flood panics");
    assert!(hanging.asked_total() > asked, "nobody was left hanging");
    (before, during)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_hangs_costs_another_vendors_visitors_nothing() {
    let lag = LagMeter::start();
    let (mut before, mut during) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let (one, other) = turn().await;
        before.push(one);
        during.push(other);
    }
    let (before, during) = (median(before), median(during));
    println!(
        "p99 before {before:?}, during {during:?}, lag {:?}",
        lag.worst()
    );
    let bound = FLOOR.max(before * FACTOR) + lag.worst();
    assert!(
        during <= bound,
        "{during:?} > {bound:?}; before: {before:?}"
    );
}
