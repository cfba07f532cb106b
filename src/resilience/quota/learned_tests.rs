use proptest::prelude::*;

use super::*;

const MISS: u32 = 100;
const REFRESH: u32 = 80;
const MAX: Duration = Duration::from_secs(900);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn told(remaining: u64, limit: Option<u64>, reset: u64) -> ServiceLimit {
    ServiceLimit {
        policy: "default".to_owned(),
        remaining,
        limit,
        reset: secs(reset),
        window: None,
    }
}

/// How long somebody with this share waits at `now`.
fn wait(learned: &mut Learned, percent: u32, now: Instant) -> Duration {
    learned.ready_at(percent, now) - now
}

fn try_take(learned: &mut Learned, percent: u32, now: Instant) -> bool {
    let ready = wait(learned, percent, now).is_zero();
    if ready {
        learned.take(now);
    }
    ready
}

fn taken(learned: &mut Learned, percent: u32, tries: usize, now: Instant) -> usize {
    (0..tries)
        .filter(|_| try_take(learned, percent, now))
        .count()
}

#[test]
fn what_was_told_says_who_may_go() {
    let now = Instant::now();
    for (name, limits, want_miss, want_refresh) in [
        ("nothing was told", vec![], 0, 0),
        ("plenty", vec![told(90, Some(100), 60)], 0, 0),
        (
            "a refresh waits until the reserve of 20 has shrunk to the 9 that are left behind it",
            vec![told(10, Some(100), 60)],
            0,
            33,
        ),
        (
            "the last one is a client's",
            vec![told(1, Some(100), 60)],
            0,
            60,
        ),
        ("nothing is left", vec![told(0, Some(100), 60)], 60, 60),
        (
            "of an unknown limit the half is plenty",
            vec![told(50, None, 60)],
            0,
            0,
        ),
        (
            "a limit of one leaves no reserve",
            vec![told(1, Some(1), 60)],
            0,
            0,
        ),
        (
            "no longer than is believed",
            vec![told(0, None, 86_400)],
            900,
            900,
        ),
    ] {
        let mut learned = Learned::new(MAX);
        learned.heard(&limits, None, now);
        let waits = [MISS, REFRESH].map(|percent| wait(&mut learned, percent, now).as_secs());
        assert_eq!(waits, [want_miss, want_refresh], "{name}");
    }
}

#[test]
fn the_tightest_of_several_limits_wins() {
    let now = Instant::now();
    let mut learned = Learned::new(MAX);
    let named = |policy: &str, limit: ServiceLimit| ServiceLimit {
        policy: policy.to_owned(),
        ..limit
    };
    let day = named("day", told(500, Some(1000), 40_000));
    learned.heard(
        &[named("second", told(2, Some(10), 1)), day.clone()],
        None,
        now,
    );
    assert_eq!(taken(&mut learned, MISS, 9, now), 2);
    assert_eq!(learned.remaining(now), Some(0));
    assert_eq!(wait(&mut learned, MISS, now), secs(1));
    let now = now + secs(1);
    learned.heard(&[named("second", told(9, Some(10), 1)), day], None, now);
    assert_eq!(taken(&mut learned, MISS, 20, now), 9);
    assert_eq!(
        learned.limits[1].remaining, 489,
        "every one counts for both"
    );
}

#[test]
fn what_is_left_falls_with_what_is_sent_and_answers_that_overtake_each_other_do_not_raise_it() {
    let start = Instant::now();
    let mut learned = Learned::new(MAX);
    learned.heard(&[told(5, Some(10), 30)], None, start);
    assert_eq!(taken(&mut learned, MISS, 3, start), 3);
    // Before the three were counted.
    learned.heard(&[told(4, Some(10), 30)], None, start);
    assert_eq!(learned.remaining(start), Some(2));
    // Somebody else uses the same key.
    learned.heard(&[told(1, Some(10), 29)], None, start + secs(1));
    assert_eq!(learned.remaining(start + secs(1)), Some(1));
    // A new window.
    learned.heard(&[told(9, Some(10), 30)], None, start + secs(10));
    assert_eq!(learned.remaining(start + secs(10)), Some(9));
}

#[test]
fn refreshes_are_spread_over_the_time_left_and_clients_are_not() {
    let start = Instant::now();
    let mut learned = Learned::new(MAX);
    learned.heard(&[told(100, Some(100), 100)], None, start);
    let mut refreshed = Vec::new();
    for second in 0..100 {
        let now = start + secs(second);
        refreshed.push(taken(&mut learned, REFRESH, 50, now));
    }
    let until = |end: usize| refreshed[..end].iter().sum::<usize>();
    assert_eq!(until(1), 10, "a burst");
    assert!((11..=22).contains(&until(10)), "{}", until(10));
    assert!((50..=70).contains(&until(50)), "{}", until(50));
    assert!(
        (90..=100).contains(&until(100)),
        "nothing is wasted: {}",
        until(100)
    );

    let mut learned = Learned::new(MAX);
    learned.heard(&[told(100, Some(100), 100)], None, start);
    assert_eq!(taken(&mut learned, MISS, 200, start), 100);
}

#[test]
fn after_the_reset_a_known_limit_or_one_request_is_assumed_until_the_next_answer() {
    let start = Instant::now();
    let reset = start + secs(2);
    let mut known = Learned::new(MAX);
    known.heard(&[told(0, Some(5), 2)], None, start);
    assert_eq!(
        taken(&mut known, MISS, 9, reset - Duration::from_millis(1)),
        0
    );
    assert_eq!(taken(&mut known, MISS, 9, reset), 5);

    let mut unknown = Learned::new(MAX);
    unknown.heard(&[told(0, None, 2)], None, start);
    assert_eq!(taken(&mut unknown, MISS, 9, reset), 1, "it finds out");
    assert_eq!(
        taken(&mut unknown, MISS, 9, reset + Duration::from_millis(500)),
        0
    );
    let mut heard = unknown.clone();
    heard.heard(
        &[told(3, None, 2)],
        None,
        reset + Duration::from_millis(500),
    );
    assert_eq!(
        taken(&mut heard, MISS, 9, reset + Duration::from_millis(500)),
        3
    );
    let mut silent = unknown.clone();
    silent.heard(&[], None, reset + Duration::from_millis(500));
    assert_eq!(
        taken(&mut silent, MISS, 9, reset + Duration::from_millis(500)),
        9
    );
    assert_eq!(
        taken(&mut unknown, MISS, 9, reset + secs(1)),
        9,
        "forgotten"
    );
}

#[test]
fn a_refusal_holds_for_as_long_as_it_says_up_to_what_is_believed() {
    let start = Instant::now();
    let mut learned = Learned::new(MAX);
    learned.heard(&[], Some(secs(7)), start);
    learned.heard(&[], Some(secs(1)), start);
    assert_eq!(wait(&mut learned, MISS, start), secs(7));
    assert_eq!(learned.remaining(start), Some(0));
    assert_eq!(wait(&mut learned, MISS, start + secs(7)), secs(0));
    learned.heard(&[], Some(secs(86_400)), start);
    assert_eq!(wait(&mut learned, MISS, start), MAX);
}

#[test]
fn limits_without_end_are_not_kept() {
    let start = Instant::now();
    let mut learned = Learned::new(MAX);
    for nth in 0..1_000 {
        let limit = ServiceLimit {
            policy: nth.to_string(),
            ..told(1, None, 1)
        };
        learned.heard(&[limit], None, start + secs(nth / 10));
        assert!(learned.limits.len() <= LIMITS_MAX);
    }
}

proptest! {
    /// Whatever is told and whenever: nothing is sent at zero, and never more in a window than was told.
    #[test]
    fn never_more_than_what_was_told_and_nobody_waits_for_ever(
        steps in prop::collection::vec((0u64..3000, 0u64..20, 0u64..5, 0u32..=100), 1..150),
    ) {
        let mut learned = Learned::new(MAX);
        let mut now = Instant::now();
        for (millis, remaining, reset, percent) in steps {
            now += Duration::from_millis(millis);
            if reset > 0 {
                learned.heard(&[told(remaining, Some(20), reset)], None, now);
                let mut misses = learned.clone();
                prop_assert!(taken(&mut misses, MISS, 100, now) as u64 <= remaining);
            }
            let wait = wait(&mut learned, percent, now);
            prop_assert!(wait <= secs(6), "{wait:?}");
            // Behind a reset somebody with a reserve to leave may be told another time.
            let mut patient = learned.clone();
            let later = patient.ready_at(MISS, now);
            prop_assert_eq!(patient.ready_at(MISS, later), later, "the time it names is right");
            try_take(&mut learned, percent, now);
        }
    }
}
