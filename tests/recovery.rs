//! Recovery: how soon answers are fresh again once the trouble is over, and what that costs the vendor.
//!
//! Default settings, virtual time, and more keys than are asked for during the lifetime of an answer: the vendor is asked
//! for every request while it is healthy, so the *healthy request rate* is the rate of the visitors. Every key has failed
//! and rests when the trouble ends, the breaker is open, and connections that were kept are dead.
//!
//! Measured over one round of all keys from the end of the trouble: when 9 in 10 answers are fresh (within their lifetime)
//! for good, and the most that the vendor is asked within any second, wherever it begins.
//!
//! `LARDER_LONG=1` has 10,000 keys and outages of up to an hour.

mod support;

use std::time::Duration;

use support::{
    paused::{Scene, Trouble},
    traffic::{Traffic, fresh_again, percent, percentile},
};
use tokio::time::Instant;

/// After an outage of up to half a minute.
const SOON: Duration = Duration::from_secs(1);
/// After an hour.
const LATER: Duration = Duration::from_secs(5);
/// One in so many requests may be a repeated one: what was lost on a dead connection is sent again.
const REPEATED: usize = 50;
/// Nobody notices: a copy is at hand.
const P99_MAX: Duration = Duration::from_millis(50);

const TOML: &str = r#"
    [upstream.pricing]
    endpoints = ["{vendor}"]
    [policy.live]
    fresh = "1s"
    override = true
    [[route]]
    path = "/prices/{sku}"
    upstream = "pricing"
    policy = "live"
"#;

struct Row {
    name: &'static str,
    trouble: Trouble,
    lasting: Duration,
    traffic: Traffic,
    bound: Duration,
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn is_long() -> bool {
    std::env::var_os("LARDER_LONG").is_some()
}

/// All of them; how many are played in short form.
fn rows() -> (Vec<Row>, usize) {
    let few = Traffic {
        keys: 300,
        per_second: 150,
    };
    let many = Traffic {
        keys: 10_000,
        per_second: 1000,
    };
    let unavailable = Trouble::Status {
        status: 503,
        retry_after: None,
    };
    let row = |name, trouble: &Trouble, lasting, traffic, bound| Row {
        name,
        trouble: trouble.clone(),
        lasting,
        traffic,
        bound,
    };
    let mut rows = vec![
        row("503 for 2 s", &unavailable, secs(2), few, SOON),
        row("refused for 2 s", &Trouble::Refuse, secs(2), few, SOON),
        row("hang for 3 s", &Trouble::Hang, secs(3), few, SOON),
        row("dead network for 3 s", &Trouble::Vanish, secs(3), few, SOON),
        row("refused for 30 s", &Trouble::Refuse, secs(30), few, SOON),
    ];
    let short = rows.len();
    rows.extend([
        row(
            "503 for 10 s, 10,000 keys",
            &unavailable,
            secs(10),
            many,
            SOON,
        ),
        row(
            "refused for 30 s, 10,000 keys",
            &Trouble::Refuse,
            secs(30),
            many,
            SOON,
        ),
        row(
            "hang for 30 s, 10,000 keys",
            &Trouble::Hang,
            secs(30),
            many,
            SOON,
        ),
        row(
            "dead network for 30 s, 10,000 keys",
            &Trouble::Vanish,
            secs(30),
            many,
            SOON,
        ),
        row(
            "refused for an hour",
            &Trouble::Refuse,
            secs(3600),
            many,
            LATER,
        ),
        row("503 for an hour", &unavailable, secs(3600), many, LATER),
        row(
            "dead network for an hour",
            &Trouble::Vanish,
            secs(3600),
            many,
            LATER,
        ),
    ]);
    (rows, short)
}

struct Recovery {
    fresh_again: Duration,
    good_percent: f64,
    /// While the trouble lasted, and after it.
    p99_during: Duration,
    p99_after: Duration,
    healthy_peak: usize,
    peak: usize,
}

async fn recovery(row: &Row) -> Recovery {
    let scene = Scene::start(TOML, 1).await;
    scene.warm(row.traffic.keys).await;
    let healthy = Instant::now();
    scene.visits(row.traffic, secs(3)).await;
    let healthy_peak = scene.vendor.peak_per_second(healthy);

    scene.vendor.suffers(row.trouble.clone());
    // Most of a long outage is quiet: nights are.
    let busy = row.lasting.min(secs(30));
    let quiet = Traffic {
        per_second: 1,
        ..row.traffic
    };
    scene.visits(quiet, row.lasting - busy).await;
    let during = scene.visits(row.traffic, busy).await;

    scene.vendor.suffers(Trouble::None);
    let ended = Instant::now();
    let round = Duration::from_secs(1) * row.traffic.keys as u32 / row.traffic.per_second;
    let after = scene.visits(row.traffic, round.min(secs(6))).await;
    let all = during.iter().chain(&after);
    let elapsed = |visit: &support::traffic::Visit| visit.elapsed;
    Recovery {
        fresh_again: fresh_again(&after),
        good_percent: percent(all.map(|visit| visit.good)),
        p99_during: percentile(during.iter().map(elapsed), 99),
        p99_after: percentile(after.iter().map(elapsed), 99),
        healthy_peak,
        peak: scene.vendor.peak_per_second(ended),
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_answers_are_fresh_at_once_and_the_vendor_is_asked_no_more_than_ever() {
    let mut complaints = Vec::new();
    let (rows, short) = rows();
    let played = if is_long() { rows.len() } else { short };
    for row in &rows[..played] {
        let seen = recovery(row).await;
        let line = format!(
            "| {} | {:.1} s | {:.1} % | {} ms | {} ms | {} | {} |",
            row.name,
            seen.fresh_again.as_secs_f64(),
            seen.good_percent,
            seen.p99_during.as_millis(),
            seen.p99_after.as_millis(),
            seen.healthy_peak,
            seen.peak,
        );
        println!("{line}");
        let is_right = seen.fresh_again < row.bound
            && seen.good_percent >= 100.0
            && seen.p99_during <= P99_MAX
            && seen.p99_after <= P99_MAX
            && seen.peak <= seen.healthy_peak + seen.healthy_peak / REPEATED;
        if !is_right {
            complaints.push(line);
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn the_document_has_the_bounds_that_are_tested() {
    let document = include_str!("../docs/failures.md");
    let section = document
        .split("\n## ")
        .find(|it| it.starts_with("Recovery"));
    let table = section.unwrap_or_default().lines();
    let documented: Vec<_> = table.filter(|line| line.contains(" s | ")).collect();
    let (rows, _) = rows();
    assert_eq!(documented.len(), rows.len(), "{documented:#?}");
    for (row, line) in rows.iter().zip(documented) {
        let want = format!("| {} | {} s |", row.name, row.bound.as_secs());
        assert!(line.starts_with(&want), "{line}\nis not\n{want}");
    }
}
