//! Storms: many clients, many keys and a vendor that fails. It must be asked less than ever, not more.
//!
//! `LARDER_LONG=1` makes the storm ten seconds long instead of three.

mod support;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::StatusCode;
use larder::{clock::Clock, stub::Fault};
use support::{Client, Setup};

const KEYS: usize = 40;
const CLIENTS: usize = 8;
/// Between two requests of one client: about a thousand requests a second in all.
const PACE: Duration = Duration::from_millis(8);

/// Expires at once, so that every request would like to ask.
const TOML: &str = r#"
    [upstream.pricing]
    endpoints = ["{vendor}"]
    owner = "Vendor desk"
    [policy.live]
    fresh = "50ms"
    stale_while_revalidate = "0s"
    override = true
    [[route]]
    name = "prices"
    path = "/prices/{sku}"
    upstream = "pricing"
    policy = "live"
"#;

fn length() -> Duration {
    let long = std::env::var_os("LARDER_LONG").is_some();
    Duration::from_secs(if long { 10 } else { 3 })
}

/// One client that walks through all keys until `end`; how many answers it got.
async fn client(client: Client, first: usize, end: Instant) -> u64 {
    let mut answers = 0;
    let mut beat = tokio::time::interval(PACE);
    for nth in first.. {
        if Instant::now() >= end {
            break;
        }
        beat.tick().await;
        let reply = client.get(&format!("/prices/{}", nth % KEYS)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(reply.json()["price"].as_f64() > Some(0.0), "{reply:?}");
        answers += 1;
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_answers_503_is_asked_far_less_than_clients_ask() {
    let vendor = support::vendor(&Clock::System).await;
    let proxy = Setup::new(&vendor, TOML).start().await;
    for nth in 0..KEYS {
        assert_eq!(proxy.get(&format!("/prices/{nth}")).await.status, 200);
    }
    let refusal = Fault::status(StatusCode::SERVICE_UNAVAILABLE);
    vendor.break_path("*", refusal).unwrap();
    let before = vendor.asked_total();

    let begun = Instant::now();
    let end = begun + length();
    let clients = (0..CLIENTS).map(|nth| client(proxy.client.clone(), nth * KEYS / CLIENTS, end));
    let storm = tokio::spawn(join_all(clients));
    // The breaker needs a handful of failures; what is asked after that second is asked past an open one.
    tokio::time::sleep_until((begun + Duration::from_secs(1)).into()).await;
    let (first_second, opened) = (vendor.asked_total() - before, proxy.breaker().await);
    let answers: u64 = storm.await.unwrap().iter().sum();
    let asked = vendor.asked_total() - before;

    let seconds = begun.elapsed().as_secs();
    assert!(
        answers > 100 * seconds,
        "no storm: {answers} answers in {seconds} s"
    );
    assert_ne!(opened, "closed");
    assert!(
        first_second <= 40,
        "{first_second} requests before the breaker took hold"
    );
    // Three probes at a time, after rests of 500 ms and more: a few requests a second at most.
    let later = asked - first_second;
    assert!(
        later <= 10 * seconds,
        "{later} requests past an open breaker in {seconds} s"
    );
    assert!(
        asked * 10 <= answers,
        "{asked} of {answers} reached the vendor"
    );

    vendor.mend_all();
    let mended = Instant::now();
    for nth in 0..KEYS {
        while proxy.get(&format!("/prices/{nth}")).await.is_stale() {
            assert!(
                mended.elapsed() < Duration::from_secs(20),
                "{nth} is still stale"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_for_cold_keys_stay_inside_the_budget() {
    let vendor = support::vendor(&Clock::System).await;
    let toml = TOML.replace("owner =", "breaker.enabled = false\nowner =");
    let proxy = Setup::new(&vendor, &toml).start().await;
    let refusal = Fault::status(StatusCode::SERVICE_UNAVAILABLE);
    vendor.break_path("*", refusal).unwrap();
    let cold = (0..200).map(|nth| {
        let client = proxy.client.clone();
        async move { client.get(&format!("/prices/cold-{nth}")).await.status }
    });
    let statuses = join_all(cold).await;
    assert!(statuses.iter().all(|status| *status == 503), "{statuses:?}");
    // 64 in flight at once; the rest fail at once. Of 100 first attempts 20 retries, and one a second on top.
    let asked = vendor.asked_total();
    let retries = proxy.status().await["upstreams"][0]["attempts"]
        .as_u64()
        .unwrap();
    assert_eq!(asked, retries, "every attempt is a request");
    assert!(
        asked <= 200 * 12 / 10 + 15,
        "{asked} requests for 200 clients"
    );
}
