//! Amplification: how often a vendor in trouble is asked for each request of a visitor, and what the visitors notice.
//!
//! Default settings, every key warmed before, no health URL, virtual time: what is measured is what the proxy decides, not
//! how busy the machine is. The bounds are those of the table in `docs/failures.md`; a test holds them against each other.
//! `LARDER_LONG=1` makes each storm two minutes long.

mod support;

use std::time::Duration;

use support::{
    paused::{Scene, Trouble},
    traffic::{Traffic, percent, percentile},
};

/// Expired, each key is asked for four times a second.
const TRAFFIC: Traffic = Traffic {
    keys: 25,
    per_second: 100,
};

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

/// A storm, and what it may come to. All answers are good ones in any.
struct Row {
    /// As the document calls it.
    name: &'static str,
    trouble: Trouble,
    /// Requests upstream for each thousand of visitors.
    per_thousand_max: u64,
    p99_millis_max: u64,
}

fn rows() -> Vec<Row> {
    let row = |name, trouble, per_thousand_max| Row {
        name,
        trouble,
        per_thousand_max,
        p99_millis_max: 50,
    };
    let status = |status, retry_after| Trouble::Status {
        status,
        retry_after,
    };
    let flap = |trouble| Trouble::Flap(Duration::from_secs(2), Box::new(trouble));
    vec![
        row("none", Trouble::None, 250),
        row("503", status(503, None), 50),
        row("refused connections", Trouble::Refuse, 50),
        row("no answer (hang)", Trouble::Hang, 50),
        row("nothing passes (a dead network)", Trouble::Vanish, 50),
        row("503 to every second request", Trouble::Half(503), 250),
        row("flapping every 2 s, 503", flap(status(503, None)), 250),
        row("flapping every 2 s, hang", flap(Trouble::Hang), 250),
        row(
            "800 ms latency",
            Trouble::Latency(Duration::from_millis(800)),
            250,
        ),
        row("429", status(429, None), 50),
        row("429, `Retry-After: 1`", status(429, Some(1)), 50),
        row("429, `Retry-After: 120`", status(429, Some(120)), 50),
    ]
}

fn length() -> Duration {
    let long = std::env::var_os("LARDER_LONG").is_some();
    Duration::from_secs(if long { 120 } else { 12 })
}

/// What a storm came to.
struct Storm {
    good_percent: f64,
    p50: Duration,
    p99: Duration,
    per_thousand: u64,
}

async fn storm(trouble: &Trouble) -> Storm {
    let scene = Scene::start(TOML, 1).await;
    scene.warm(TRAFFIC.keys).await;
    scene.visits(TRAFFIC, Duration::from_secs(10)).await;
    scene.vendor.suffers(trouble.clone());
    let before = scene.attempts();
    let visits = scene.visits(TRAFFIC, length()).await;
    let attempts = scene.attempts() - before;
    Storm {
        good_percent: percent(visits.iter().map(|visit| visit.good)),
        p50: percentile(visits.iter().map(|visit| visit.elapsed), 50),
        p99: percentile(visits.iter().map(|visit| visit.elapsed), 99),
        per_thousand: attempts * 1000 / visits.len() as u64,
    }
}

#[tokio::test(start_paused = true)]
async fn a_vendor_in_trouble_is_asked_no_more_than_the_table_says_and_no_visitor_notices() {
    let mut complaints = Vec::new();
    for row in rows() {
        let seen = storm(&row.trouble).await;
        let line = format!(
            "| {} | {:.1} % | {} ms | {} ms | {:.3} |",
            row.name,
            seen.good_percent,
            seen.p50.as_millis(),
            seen.p99.as_millis(),
            seen.per_thousand as f64 / 1e3,
        );
        println!("{line}");
        let is_right = seen.good_percent >= 100.0
            && seen.p99 <= Duration::from_millis(row.p99_millis_max)
            && seen.per_thousand <= row.per_thousand_max;
        if !is_right {
            complaints.push(line);
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

impl Row {
    /// Its line in the document, up to what was measured.
    fn documented(&self) -> String {
        format!(
            "| {} | 100 % | {} ms | {} |",
            self.name,
            self.p99_millis_max,
            self.per_thousand_max as f64 / 1e3
        )
    }
}

#[test]
fn the_document_has_the_bounds_that_are_tested() {
    let document = include_str!("../docs/failures.md");
    let section = document
        .split("\n## ")
        .find(|it| it.starts_with("Amplification"));
    let table = section.unwrap_or_default().lines();
    let documented: Vec<_> = table.filter(|line| line.contains(" | 100 % | ")).collect();
    let rows = rows();
    assert_eq!(documented.len(), rows.len(), "{documented:#?}");
    for (row, line) in rows.iter().zip(documented) {
        assert!(
            line.starts_with(&row.documented()),
            "{line}\nis not\n{}",
            row.documented()
        );
    }
}
