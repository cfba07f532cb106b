//! The ledger as the layer and operators see it.

use http::{HeaderMap, Method};

use super::*;
use crate::contract::{Kept as States, Violation};

const START: Timestamp = Timestamp::from_secs(1_000_000);
const LONG: Duration = Duration::from_secs(60);

struct Shell {
    ledger: Ledger,
    clock: Clock,
    alerts: Alerts,
}

fn shell() -> Shell {
    let clock = Clock::manual(START);
    let alerts = Alerts::new(clock.clone());
    let ledger = Ledger::new(reporting(), clock.clone(), alerts.clone());
    Shell {
        ledger,
        clock,
        alerts,
    }
}

fn reporting() -> Reporting {
    Reporting {
        route: "prices".into(),
        upstream: "pricing".into(),
        owner: Some("desk".to_owned()),
        runbook: Some("https://wiki.example/pricing".to_owned()),
        mode: "enforce",
        telling: Telling::default(),
    }
}

fn uri(path: &str) -> Uri {
    path.parse().unwrap()
}

fn zero_price() -> Breach {
    Breach {
        violations: vec![Violation {
            kind: Kind::Rule,
            term: "/price: above".into(),
            place: "/price".to_owned(),
            message: "0 is not above 0".to_owned(),
        }],
        ..Breach::new(Kind::Rule, "/price: above", "`/price` is 0, not above 0")
    }
}

impl Shell {
    fn breach(&self, breach: &Breach, path: &str, visitors: Visitors) {
        let answer = Answer {
            method: &Method::GET,
            uri: &uri(path),
            status: 200,
            headers: &HeaderMap::new(),
            body: br#"{"price":0,"sku":"SECRET-SKU"}"#,
            mapped: None,
        };
        self.ledger.breach(breach, &answer, visitors);
    }

    fn told(&self) -> Vec<(&'static str, String)> {
        let mut told: Vec<_> = self.alerts.recent();
        told.reverse();
        told.into_iter()
            .map(|alert| (alert.kind, alert.subject))
            .collect()
    }
}

#[test]
fn many_breaches_of_many_keys_are_one_alert_and_their_end_is_one_more() {
    let shell = shell();
    for round in 0..100 {
        let path = format!("/prices/{}", round % 7);
        shell.breach(&zero_price(), &path, Visitors::LastGood);
        shell.clock.advance(Duration::from_secs(20));
    }
    assert_eq!(
        shell.told(),
        [("contract_breach", "prices rule /price: above".to_owned())]
    );
    let alert = &shell.alerts.recent()[0];
    assert_eq!(
        alert.message,
        "answers of upstream pricing break the contract (rule /price: above): `/price` is 0, not above 0; visitors get the \
         last good answer"
    );
    assert_eq!(alert.owner.as_deref(), Some("desk"));
    assert_eq!(
        alert.runbook.as_deref(),
        Some("https://wiki.example/pricing")
    );

    for key in 0..7 {
        shell.ledger.good(&uri(&format!("/prices/{key}")));
    }
    shell.clock.advance(Duration::from_secs(300));
    shell.ledger.settle();
    assert_eq!(
        shell.told()[1..],
        [("contract_recovered", "prices rule /price: above".to_owned())]
    );
    assert!(
        shell.alerts.recent()[0]
            .message
            .ends_with("100 breaches in 1980s")
    );
    let snapshot = shell.ledger.snapshot();
    assert_eq!(
        (snapshot.good, snapshot.breach, snapshot.observed),
        (7, 100, 0)
    );
    assert_eq!((snapshot.open.len(), snapshot.ended.len()), (0, 1));
}

#[test]
fn what_is_only_observed_is_counted_and_told_as_such() {
    let shell = shell();
    shell.breach(&zero_price(), "/prices/1", Visitors::Served);
    let snapshot = shell.ledger.snapshot();
    assert_eq!(
        (snapshot.good, snapshot.breach, snapshot.observed),
        (0, 0, 1)
    );
    assert!(
        shell.alerts.recent()[0]
            .message
            .ends_with("it was served all the same (mode observe)")
    );
}

#[test]
fn each_kind_and_term_is_an_alert_of_its_own() {
    let shell = shell();
    for (kind, term) in [
        (Kind::Rule, "/price"),
        (Kind::Schema, "/price"),
        (Kind::Rule, "/currency"),
        (Kind::ContentType, "content_type"),
    ] {
        shell.breach(
            &Breach::new(kind, term, "bad"),
            "/prices/1",
            Visitors::Nothing,
        );
    }
    let subjects: Vec<_> = shell
        .told()
        .into_iter()
        .map(|(_, subject)| subject)
        .collect();
    assert_eq!(
        subjects,
        [
            "prices rule /price",
            "prices schema /price",
            "prices rule /currency",
            "prices content_type"
        ]
    );
}

#[test]
fn bad_records_within_the_limit_are_counted_and_wake_nobody() {
    let shell = shell();
    for _ in 0..3 {
        shell.ledger.good_but_for(
            &uri("/items"),
            2,
            100,
            BadRecords::Dropped,
            "`/items/3/price` is 0",
        );
    }
    shell
        .ledger
        .good_but_for(&uri("/items"), 0, 100, BadRecords::Dropped, "");
    let snapshot = shell.ledger.snapshot();
    assert_eq!((snapshot.good, snapshot.breach), (4, 0));
    assert_eq!(
        snapshot.bad_records[BadRecords::Dropped as usize],
        (BadRecords::Dropped, 6)
    );
    assert_eq!(snapshot.open[0].kind, "bad_records_allowed");
    assert!(shell.told().is_empty());
}

#[test]
fn samples_are_redacted_and_taken_now_and_then() {
    let shell = shell();
    for _ in 0..10 {
        shell.breach(&zero_price(), "/prices/1?key=SECRET", Visitors::LastGood);
        shell.clock.advance(SAMPLE_EVERY / 2);
    }
    shell.breach(
        &Breach::new(Kind::Rule, "/currency: equals", "USD"),
        "/prices/1",
        Visitors::LastGood,
    );
    let samples = shell.ledger.snapshot().samples;
    assert_eq!(samples.len(), 5);
    assert_eq!(samples[0].term, "/currency: equals");
    assert_eq!(samples[1].body, r#"{"price": 0, "sku": "string(10)"}"#);
    assert!(!format!("{samples:?}").contains("SECRET"));
    assert_eq!(samples[1].at.since(samples[2].at), SAMPLE_EVERY);

    let mut none = reporting();
    none.telling.samples_max = 0;
    shell.ledger.follow(none);
    shell.breach(
        &Breach::new(Kind::Size, "size_min", "empty"),
        "/prices/1",
        Visitors::LastGood,
    );
    assert!(shell.ledger.snapshot().samples.is_empty());
}

#[tokio::test]
async fn a_restart_in_the_middle_tells_nothing_twice_and_loses_no_sample() {
    let dir = tempfile::tempdir().unwrap();
    let saver = || {
        let states = States::open(Some(dir.path().to_owned()), 1 << 20, Alerts::default());
        Saver::start(states, LONG)
    };
    let (before, first) = (shell(), saver());
    before.ledger.keep_in(&first);
    before.breach(&zero_price(), "/prices/1", Visitors::LastGood);
    first.close(LONG).await;

    let (after, second) = (shell(), saver());
    after.clock.advance(LONG);
    after.ledger.keep_in(&second);
    assert_eq!(
        after.ledger.snapshot().samples,
        before.ledger.snapshot().samples
    );
    after.breach(&zero_price(), "/prices/1", Visitors::LastGood);
    assert!(after.told().is_empty(), "{:?}", after.told());
    assert_eq!(after.ledger.snapshot().open[0].breaches, 2);
    after.ledger.good(&uri("/prices/1"));
    after.clock.advance(Duration::from_secs(300));
    after.ledger.good(&uri("/prices/1"));
    assert_eq!(after.told().len(), 1);
    assert_eq!(after.told()[0].0, "contract_recovered");
    second.close(LONG).await;
}

#[tokio::test]
async fn what_was_kept_in_another_format_starts_anew() {
    for kept in [
        &b""[..],
        b"{}",
        br#"{"format":2,"open":[],"ended":[],"samples":[]}"#,
        b"\xff",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let states = States::open(Some(dir.path().to_owned()), 1 << 20, Alerts::default());
        states.save("contract/prices", kept);
        let (shell, saver) = (shell(), Saver::start(states, LONG));
        shell.ledger.keep_in(&saver);
        assert!(shell.ledger.snapshot().open.is_empty());
        saver.close(LONG).await;
    }
}

#[test]
fn what_a_vendor_confirms_is_good_again_though_nothing_is_judged() {
    let shell = shell();
    shell.breach(&zero_price(), "/prices/1", Visitors::LastGood);
    shell.ledger.confirmed(&uri("/prices/1"));
    shell.clock.advance(Duration::from_secs(300));
    shell.ledger.settle();
    assert_eq!(shell.told()[1].0, "contract_recovered");
    assert_eq!(shell.ledger.snapshot().good, 0);
}
