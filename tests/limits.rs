//! Limits: a vendor whose latency grows with load is given as much as it can do, and not more.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use support::{Origin, Play, Setup};

const TOML: &str = r#"
    [upstream.lab]
    endpoints = ["{vendor}"]
    in_flight_max = 100
    retry = { retries_max = 0, retries_max_stale = 0 }
    breaker = { enabled = false }
    {adaptive}
    [[route]]
    name = "all"
    path = "/{*rest}"
    upstream = "lab"
"#;

/// Requests at once without a queue.
const CAPACITY: usize = 10;
/// What one takes then. Long, so that a busy machine adds little to it.
const LATENCY: Duration = Duration::from_millis(60);
const CLIENTS: usize = 80;
const LENGTH: Duration = Duration::from_secs(8);

/// Answers so many at once in [`LATENCY`], and those beyond as much later.
async fn vendor() -> Origin {
    let under_way = Arc::new(AtomicUsize::new(0));
    Origin::start(move |_| {
        let in_flight = under_way.fetch_add(1, Ordering::SeqCst) + 1;
        let queue = (in_flight as f64 / CAPACITY as f64).max(1.0);
        let delay = LATENCY.mul_f64(queue);
        let under_way = Arc::clone(&under_way);
        // Part of the play: this is when it is done.
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            under_way.fetch_sub(1, Ordering::SeqCst);
        });
        Play::answer(200, &[("cache-control", "no-store")], "ok").after(delay)
    })
    .await
}

/// Answers in [`LENGTH`], their median latency in milliseconds, and the limit at the end.
async fn played(adaptive: &str) -> (usize, u128, u64) {
    let vendor = vendor().await;
    let proxy = Setup::before(&vendor, &TOML.replace("{adaptive}", adaptive));
    let proxy = proxy.start().await;
    let end = Instant::now() + LENGTH;
    let clients = (0..CLIENTS).map(|nth| {
        let client = proxy.client.clone();
        async move {
            let mut latencies = Vec::new();
            for round in 0.. {
                let begun = Instant::now();
                if begun >= end {
                    break;
                }
                let reply = client.get(&format!("/{nth}-{round}")).await;
                if reply.status == 200 {
                    latencies.push(begun.elapsed().as_millis());
                } else {
                    assert_eq!(reply.status, 503, "{reply:?}");
                    // A visitor who is turned away does not come back at once.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            latencies
        }
    });
    let mut latencies = join_all(clients).await.concat();
    latencies.sort_unstable();
    let status = proxy.status().await;
    let limit = status["upstreams"][0]["in_flight_limit"].as_u64();
    let median = latencies[latencies.len() / 2];
    (latencies.len(), median, limit.expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adaptive_limit_keeps_throughput_and_takes_the_queue_away() {
    let (fixed, fixed_median, limit) = played("").await;
    assert_eq!(limit, 100);
    for adaptive in [
        "adaptive = { algorithm = \"gradient\", in_flight_min = 2 }",
        "adaptive = { algorithm = \"aimd\", in_flight_min = 2, latency_max = \"150ms\" }",
    ] {
        let (answers, median, limit) = played(adaptive).await;
        println!(
            "{adaptive}: {answers} of {fixed} answers, {median} of {fixed_median} ms, limit {limit}"
        );
        assert!(limit < 60, "{adaptive}: {limit}");
        // How much throughput it keeps is shown in virtual time beside the limiter: to a busy machine this vendor is slow
        // whatever the limit is.
        assert!(
            answers * 5 >= fixed,
            "{adaptive}: {answers} answers, {fixed} without"
        );
        assert!(
            median < fixed_median,
            "{adaptive}: {median} ms, {fixed_median} without"
        );
    }
}
