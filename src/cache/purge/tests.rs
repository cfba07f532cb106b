//! Purges as a whole: numbers, log and table together, over restarts.

use std::fs;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::*;
use crate::{
    cache::{entry::Entry, freshness::Facts, judgement::Judgement},
    clock::Timestamp,
    config::{self, FixedEnv},
    store::{Key, Store},
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const WITHIN: Duration = Duration::from_secs(20);

fn open(folder: &Path, purges_max: usize) -> Purges {
    Purges::open(folder, purges_max, Clock::manual(NOW), Alerts::default()).unwrap()
}

fn tag(tag: &str) -> What {
    What::Tag(tag.into())
}

async fn issue(purges: &Purges, what: What, mode: Mode) -> Number {
    let issued = purges.issue(vec![(what, mode)]).durable(WITHIN).await;
    issued.unwrap()[0].number
}

fn stored(tag: &str, epoch: Number) -> StoredResponse {
    StoredResponse {
        aside: None,
        judgement: Judgement::default(),
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"body"),
        url: "/prices/1".into(),
        request_time: NOW,
        part: None,
        facts: Facts::new(StatusCode::OK, &HeaderMap::new(), NOW, NOW),
        dead_at: Timestamp::NEVER,
        labels: Labels {
            epoch,
            route: "prices".into(),
            tags: [tag.into()].into(),
            ..Labels::default()
        },
    }
}

fn log_of(folder: &Path) -> String {
    fs::read_to_string(folder.join(LOG)).unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_is_in_force_after_a_restart_without_a_farewell() {
    let folder = tempfile::tempdir().unwrap();
    let purges = open(folder.path(), 100);
    let number = issue(&purges, tag("a"), Mode::Hard).await;
    assert_eq!(number, NOW.as_millis() * 1000);
    // Not closed: as after a kill, the file is all there is.
    let again = open(folder.path(), 100);
    assert_eq!(again.latest(), number);
    assert_eq!(
        again.mode_of(&stored("a", number - 1), "v"),
        Some(Mode::Hard)
    );
    assert_eq!(again.mode_of(&stored("a", number), "v"), None);
    assert_eq!(again.mode_of(&stored("b", 0), "v"), None);
    assert_eq!(
        issue(&again, tag("b"), Mode::Soft).await,
        number + 1,
        "numbers go on where the clock stands"
    );
    purges.close(WITHIN).await;
    again.close(WITHIN).await;
}

#[tokio::test]
async fn a_damaged_log_has_everything_asked_about_and_says_so_once() {
    let folder = tempfile::tempdir().unwrap();
    let purges = open(folder.path(), 100);
    issue(&purges, tag("lost"), Mode::Hard).await;
    let number = issue(&purges, tag("kept"), Mode::Hard).await;
    purges.close(WITHIN).await;
    let damaged = log_of(folder.path()).replace("lost", "l0st");
    fs::write(folder.path().join(LOG), damaged).unwrap();

    let alerts = Alerts::default();
    let clock = Clock::manual(NOW);
    let purges = Purges::open(folder.path(), 100, clock, alerts.clone()).unwrap();
    assert_eq!(alerts.recent()[0].kind, "purge_log_damaged");
    let mode = |purges: &Purges, tag, epoch| purges.mode_of(&stored(tag, epoch), "v");
    assert_eq!(mode(&purges, "lost", 0), Some(Mode::Invalid));
    assert_eq!(mode(&purges, "kept", 0), Some(Mode::Hard));
    assert_eq!(
        mode(&purges, "other", purges.latest()),
        None,
        "what comes after"
    );
    assert!(purges.latest() > number);
    purges.close(WITHIN).await;

    let (latest, purges) = (purges.latest(), open(folder.path(), 100));
    assert_eq!(purges.latest(), latest, "the log is whole again");
    assert_eq!(mode(&purges, "lost", 0), Some(Mode::Invalid));
    purges.close(WITHIN).await;
}

#[tokio::test]
async fn a_log_that_cannot_be_written_is_told_and_mended_by_the_next_write() {
    let folder = tempfile::tempdir().unwrap();
    let purges = open(folder.path(), 100);
    // A folder where the log should be.
    let path = folder.path().join(LOG);
    fs::create_dir_all(path.join("in the way")).unwrap();
    let told = purges
        .issue(vec![(tag("a"), Mode::Hard)])
        .durable(WITHIN)
        .await;
    assert!(matches!(told, Err(Undurable::Write(_))), "{told:?}");
    assert_eq!(
        purges.mode_of(&stored("a", 0), "v"),
        Some(Mode::Hard),
        "in force"
    );
    assert_eq!(purges.stats().undurable, 1);

    fs::remove_dir_all(&path).unwrap();
    issue(&purges, tag("b"), Mode::Soft).await;
    let again = open(folder.path(), 100);
    assert_eq!(again.mode_of(&stored("a", 0), "v"), Some(Mode::Hard));
    purges.close(WITHIN).await;
    again.close(WITHIN).await;
}

#[tokio::test]
async fn log_and_table_stay_bounded_however_often_something_is_purged() {
    let folder = tempfile::tempdir().unwrap();
    let purges = open(folder.path(), 16);
    for n in 0..3_000u32 {
        let what = vec![(tag(&(n % 40).to_string()), Mode::Soft)];
        purges.issue(what).durable(WITHIN).await.unwrap();
    }
    let lines = log_of(folder.path()).lines().count();
    assert!(lines < 1_100, "{lines} lines");
    assert!(purges.stats().remembered <= 16);
    assert!(
        purges
            .recent(5)
            .is_sorted_by_key(|purge| std::cmp::Reverse(purge.number))
    );
    purges.close(WITHIN).await;
    let again = open(folder.path(), 16);
    assert_eq!(again.latest(), purges.latest());
    assert_eq!(again.mode_of(&stored("0", 0), "v"), Some(Mode::Soft));
    again.close(WITHIN).await;
}

#[test]
fn a_lost_log_and_a_clock_set_back_leave_no_response_out_of_reach() {
    let purges = Purges::in_memory(100, Clock::manual(Timestamp::from_secs(10)));
    let from_before = stored("a", NOW.as_millis() * 1000);
    assert_eq!(purges.mode_of(&from_before, "v"), None);
    let _in_memory = purges.issue(vec![(tag("a"), Mode::Soft)]);
    assert_eq!(purges.mode_of(&from_before, "v"), Some(Mode::Soft));
}

#[test]
fn a_response_that_was_checked_is_not_looked_up_again_until_the_next_purge() {
    let purges = Purges::in_memory(100, Clock::manual(NOW));
    let response = stored("a", 0);
    let _in_memory = purges.issue(vec![(tag("b"), Mode::Soft)]);
    assert_eq!(purges.mode_of(&response, "v"), None);
    assert_eq!(response.labels.checked.get(), purges.latest());
    let _in_memory = purges.issue(vec![(tag("a"), Mode::Soft)]);
    assert_eq!(purges.mode_of(&response, "v"), Some(Mode::Soft));
    assert!(response.labels.checked.get() < purges.latest());
}

/// What the store did so far, and how many rows a purge costs.
#[tokio::test]
async fn a_purge_costs_the_same_whatever_is_stored() {
    let text = "[store]\ndisk = \"0\"\nmemory = \"256 MiB\"\n[upstream.v]\nendpoints = [\"http://127.0.0.1:1\"]\n\
                [[route]]\npath = \"/{*rest}\"\nupstream = \"v\"";
    let config = config::parse(text, Path::new("t.toml"), &FixedEnv::default()).unwrap();
    let mut costs = Vec::new();
    for entries in [500u32, 50_000] {
        let clock = Clock::manual(NOW);
        let store = Store::<Entry>::open(&config.store, clock.clone(), Alerts::default()).unwrap();
        let purges = Purges::in_memory(100, clock);
        let key = |n: u32| {
            let mut bytes = [0; 32];
            // Spread as a digest's: a key is its own hash.
            let spread = u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            bytes[..8].copy_from_slice(&spread.to_be_bytes());
            Key::from_bytes(bytes)
        };
        for n in 0..entries {
            let entry = Entry::Response(stored(&format!("sku:{n}"), 0));
            store.put(key(n), Arc::new(entry));
        }
        let before = format!("{:?}", store.stats());
        let _in_memory = purges.issue(vec![(tag("sku:7"), Mode::Soft)]);
        let touched = before != format!("{:?}", store.stats());
        costs.push((touched, purges.stats().remembered));
        let mode = |n| match store.cached(&key(n)).as_deref() {
            Some(Entry::Response(response)) => purges.mode_of(response, "v"),
            _ => panic!("entry {n} is not in memory"),
        };
        assert_eq!((mode(7), mode(8)), (Some(Mode::Soft), None));
        store.close(WITHIN).await;
    }
    assert_eq!(
        costs,
        [(false, 1), (false, 1)],
        "one row, and the store is not touched"
    );
}

#[test]
fn a_purge_ends_the_lifetime_and_leaves_what_may_be_left() {
    let secs = Duration::from_secs;
    let verdict = |state, stale_allowed| Verdict {
        state,
        age: secs(5),
        lifetime: secs(60),
        stale_allowed,
    };
    let plain = Policy::default();
    let overriding = Policy {
        override_origin: true,
        ..Policy::default()
    };
    use State::{Fresh, Gone, Stale, StaleWhileRevalidate};
    for (name, judged, mode, policy, want) in [
        (
            "soft: refreshed behind",
            verdict(Fresh, true),
            Mode::Soft,
            &plain,
            (StaleWhileRevalidate, true),
        ),
        (
            "soft, stale use forbidden: asked first",
            verdict(Fresh, false),
            Mode::Soft,
            &plain,
            (Stale, false),
        ),
        (
            "soft, asked about already: still",
            verdict(Stale, true),
            Mode::Soft,
            &plain,
            (Stale, true),
        ),
        (
            "soft, past its end: still",
            verdict(Gone, true),
            Mode::Soft,
            &plain,
            (Gone, true),
        ),
        (
            "invalid: asked first, no last known good",
            verdict(Fresh, true),
            Mode::Invalid,
            &plain,
            (Stale, false),
        ),
        (
            "invalid under an overriding policy: last known good",
            verdict(Fresh, true),
            Mode::Invalid,
            &overriding,
            (Stale, true),
        ),
        (
            "hard: nothing",
            verdict(Fresh, true),
            Mode::Hard,
            &overriding,
            (Gone, false),
        ),
    ] {
        let got = purged(&judged, mode, policy);
        assert_eq!((got.state, got.stale_allowed), want, "{name}");
        assert!(
            got.lifetime < got.age && got.ttl_secs() < 0,
            "{name}: it is stale"
        );
    }
}
