//! Isolation of upstreams: a vendor that hangs costs the visitors of another vendor's routes nothing.
//!
//! One route is flooded, by visitors with a copy and by visitors without, and after a while its vendor hangs for 60 s.
//! Another route, of another vendor, is under load before and meanwhile, turn by turn, so that what the flood and all else
//! cost this machine weighs on both; medians of several turns are compared. Its 99th percentile may grow by [`FACTOR`],
//! and to [`FLOOR`] whatever it was.
//!
//! Such a flood is smaller than the places that the process has by default. So there is a case with few places too, where
//! nothing but the parts kept for each route (`src/admission/shares.rs`) is left for visitors of the other one.

mod support;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use larder::{
    clock::Clock,
    stub::{Break, Stub},
};
use support::{
    Client, LagMeter, Proxy, Setup,
    traffic::{percent, percentile},
    until, within,
};
use tokio::{sync::Mutex, task::JoinSet, time::Instant};

/// By how much the other route's 99th percentile may move.
const FACTOR: u32 = 2;
/// Below this it is noise.
const FLOOR: Duration = Duration::from_millis(20);
const TURNS: usize = 3;
/// Longer than any test, and than the flood is needed.
const LONG: Duration = Duration::from_secs(60);
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

/// The keys that bound places, each with far fewer than the flood has requests.
const FEW_PLACES: [&str; 2] = ["fetches_max", "requests_max"];
/// Visitors of the other route then, one after the other.
const ASKED: u64 = 60;

/// Held by each test: what one does would weigh on what another measures.
static ALONE: Mutex<()> = Mutex::const_new(());

/// So that no two requests for something new ask for the same.
static NEXT: AtomicU64 = AtomicU64::new(0);

type Answer = (bool, Duration);

/// Every second request is for something that is stored, the others for something that is not.
fn path(folder: &str, nth: u64) -> String {
    match nth % 2 {
        0 => format!("/{folder}/{}", nth / 2 % WARM),
        _ => format!("/{folder}/new-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
    }
}

/// Asks at a steady rate and waits for no answer: whether each is a good one, and when it came.
async fn load(client: &Client, folder: &'static str, lasting: Duration) -> JoinSet<Answer> {
    let begun = Instant::now();
    let mut asked = JoinSet::new();
    let mut beat = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
    for nth in 0.. {
        beat.tick().await;
        if begun.elapsed() >= lasting {
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
    }
    asked
}

/// The load on the healthy route: all of it is answered, and well. Its 99th percentile.
async fn p99_of_the_other(proxy: &Proxy) -> Duration {
    let asked = load(&proxy.client, "prices", LASTING).await;
    let answers = asked.join_all().await;
    assert!(percent(answers.iter().map(|(good, _)| *good)) >= 100.0);
    percentile(answers.iter().map(|(_, elapsed)| *elapsed), 99)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// A proxy that has copies of both routes and has not seen this vendor hang before, with this beside in its config.
async fn start(hanging: &Stub, vendor: &Stub, server: &str) -> Proxy {
    let toml = server.to_owned() + &TOML.replace("{hanging}", &hanging.url(""));
    let proxy = Setup::new(vendor, &toml).start().await;
    for key in 0..WARM {
        for folder in ["prices", "availability"] {
            let reply = proxy.get(&format!("/{folder}/{key}")).await;
            assert_eq!(reply.status, 200, "{reply:?}");
        }
    }
    proxy
}

/// The hanging vendor's route is flooded until what is returned is dropped. What hangs then is let go.
fn flood(proxy: &Proxy) -> JoinSet<()> {
    // Connections of its own: what hangs at the client is not what is measured.
    let client = Client::new(proxy.client.addr());
    let mut flood = JoinSet::new();
    flood.spawn(async move {
        load(&client, "availability", LONG).await;
    });
    flood
}

/// From here on it hangs, and somebody is left hanging.
async fn hang(hanging: &Stub) {
    let hang: Break = "kind=hang for=60s".parse().expect("a fault");
    hanging.break_with(hang).expect("a fault");
    let asked = hanging.asked_total();
    until("somebody is left hanging", || hanging.asked_total() > asked).await;
}

/// One turn, over a proxy that has not seen this vendor hang before.
async fn turn() -> (Duration, Duration) {
    let hanging = support::vendor(&Clock::System).await;
    let vendor = support::vendor(&Clock::System).await;
    let proxy = start(&hanging, &vendor, "").await;
    let _flood = flood(&proxy);
    let before = p99_of_the_other(&proxy).await;
    hang(&hanging).await;
    let during = p99_of_the_other(&proxy).await;
    (before, during)
}

/// How many of the flood there was no place for, of this kind.
async fn refused(proxy: &Proxy, places: &str) -> f64 {
    let sample =
        format!("larder_shed_total{{route=\"/availability/{{hotel}}\",reason=\"{places}\"}}");
    let metrics = proxy.metrics().await;
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix(&sample));
    let value = value.unwrap_or_else(|| panic!("no {sample} in {metrics}"));
    value.trim().parse().expect("a sample is a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_hangs_costs_another_vendors_visitors_nothing() {
    let _alone = ALONE.lock().await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_more_than_there_are_places_leaves_another_vendors_route_its_own() {
    let _alone = ALONE.lock().await;
    for places in FEW_PLACES {
        let hanging = support::vendor(&Clock::System).await;
        let vendor = support::vendor(&Clock::System).await;
        let server = format!("[server]\n{places} = 20\n");
        let proxy = start(&hanging, &vendor, &server).await;
        let _flood = flood(&proxy);
        hang(&hanging).await;
        within(LONG, "the flood takes what it can have", async {
            while refused(&proxy, places).await == 0.0 {
                // The pace of looking.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        for nth in 0..ASKED {
            let reply = proxy.get(&path("prices", nth)).await;
            assert_eq!(reply.status, 200, "{places}: {reply:?}");
        }
    }
}
