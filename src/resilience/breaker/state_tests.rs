use proptest::prelude::*;

use super::*;

fn config() -> BreakerConfig {
    BreakerConfig {
        enabled: true,
        failure_percent: 50,
        slow_percent: 80,
        slow_after: Duration::from_secs(2),
        consecutive_failures: 5,
        min_calls: 10,
        window: Duration::from_secs(30),
        open_for: Duration::from_millis(500),
        open_for_max: Duration::from_secs(10),
        probes: 3,
    }
}

const QUICK: Duration = Duration::from_millis(50);
const SLOW: Duration = Duration::from_secs(3);

const OK: Outcome = Outcome::Success { took: QUICK };
const CRAWL: Outcome = Outcome::Success { took: SLOW };
const FAILED: Outcome = Outcome::Failure {
    took: QUICK,
    run: true,
    retry_after: None,
};
const TOO_MANY: Outcome = Outcome::Failure {
    took: QUICK,
    run: false,
    retry_after: None,
};

/// One call from admission to its end at `now`, without jitter.
fn call(breaker: &mut BreakerState, outcome: Outcome, now: Instant) -> Option<BreakerChange> {
    let (admitted, _) = breaker.try_admit(now);
    breaker.finish(admitted.expect("admitted"), outcome, now, 0.0)
}

fn opened(start: Instant) -> BreakerState {
    let mut breaker = BreakerState::new(config(), start);
    for _ in 0..5 {
        call(&mut breaker, FAILED, start);
    }
    assert_eq!(breaker.snapshot(start).phase, Phase::Open);
    breaker
}

#[test]
fn opens_by_rate_run_or_slowness_and_not_before() {
    use OpenReason::{FailureRate, Run, SlowRate};
    let calls = |parts: &[(usize, Outcome)]| -> Vec<Outcome> {
        parts
            .iter()
            .flat_map(|(count, outcome)| vec![*outcome; *count])
            .collect()
    };
    let alternating: Vec<_> = (0..10)
        .map(|i| if i % 2 == 0 { OK } else { FAILED })
        .collect();
    for (name, outcomes, want) in [
        ("four failures in a row", calls(&[(4, FAILED)]), None),
        ("five failures in a row", calls(&[(5, FAILED)]), Some(Run)),
        (
            "a success breaks the run",
            calls(&[(4, FAILED), (1, OK), (4, FAILED)]),
            None,
        ),
        (
            "half failed, too few calls",
            alternating[..9].to_vec(),
            None,
        ),
        ("half of ten failed", alternating, Some(FailureRate)),
        ("429 is no run", calls(&[(9, TOO_MANY)]), None),
        (
            "429 counts for the rate",
            calls(&[(10, TOO_MANY)]),
            Some(FailureRate),
        ),
        ("seven of ten slow", calls(&[(3, OK), (7, CRAWL)]), None),
        (
            "eight of ten slow",
            calls(&[(2, OK), (8, CRAWL)]),
            Some(SlowRate),
        ),
        (
            "what taught nothing",
            calls(&[(50, Outcome::Unknown)]),
            None,
        ),
        ("all is well", calls(&[(500, OK)]), None),
    ] {
        let now = Instant::now();
        let mut breaker = BreakerState::new(config(), now);
        let changes: Vec<_> = outcomes
            .into_iter()
            .filter_map(|outcome| call(&mut breaker, outcome, now))
            .collect();
        let got = match changes.as_slice() {
            [] => None,
            [BreakerChange::Opened { reason, .. }] => Some(*reason),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(got, want, "{name}");
    }
}

#[test]
fn what_left_the_window_no_longer_counts() {
    let start = Instant::now();
    for (name, seconds, want) in [
        ("inside", 20, Phase::Open),
        ("a window later", 31, Phase::Closed),
    ] {
        let mut breaker = BreakerState::new(config(), start);
        let later = start + Duration::from_secs(seconds);
        for (outcome, now) in [(FAILED, start), (OK, start), (FAILED, later)] {
            let calls = if now == start { 4 } else { 2 };
            for _ in 0..calls {
                call(&mut breaker, outcome, now);
            }
        }
        assert_eq!(breaker.snapshot(later).phase, want, "{name}");
    }
}

#[test]
fn refuses_while_open_and_says_for_how_long() {
    let start = Instant::now();
    let mut breaker = opened(start);
    let (refused, _) = breaker.try_admit(start + Duration::from_millis(200));
    let rest = refused.expect_err("open").retry_after;
    assert_eq!(rest, Some(Duration::from_millis(300)));
    let (admitted, change) = breaker.try_admit(start + Duration::from_millis(500));
    assert!(admitted.is_ok());
    assert_eq!(change, Some(BreakerChange::HalfOpened));
}

#[test]
fn three_good_probes_close_it_and_one_bad_one_does_not() {
    for (name, last, want) in [
        ("good", OK, Some(BreakerChange::Closed)),
        ("nothing learnt", Outcome::Unknown, None),
        (
            "failed",
            FAILED,
            Some(BreakerChange::Opened {
                reason: OpenReason::Probe,
                rest: Duration::from_millis(750),
            }),
        ),
        (
            "slow is not recovered",
            CRAWL,
            Some(BreakerChange::Opened {
                reason: OpenReason::Probe,
                rest: Duration::from_millis(750),
            }),
        ),
    ] {
        let start = Instant::now();
        let mut breaker = opened(start);
        let now = start + Duration::from_secs(1);
        assert_eq!(call(&mut breaker, OK, now), None, "{name}");
        assert_eq!(call(&mut breaker, OK, now), None, "{name}");
        assert_eq!(call(&mut breaker, last, now), want, "{name}");
    }
}

#[test]
fn the_rest_grows_by_half_to_its_bound_and_starts_anew_after_a_recovery() {
    let mut now = Instant::now();
    let mut breaker = opened(now);
    let mut rests = Vec::new();
    for _ in 0..9 {
        now += Duration::from_secs(60);
        match call(&mut breaker, FAILED, now) {
            Some(BreakerChange::Opened { rest, .. }) => rests.push(rest.as_millis()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        rests,
        [
            750, 1_125, 1_687, 2_531, 3_796, 5_695, 8_542, 10_000, 10_000
        ]
    );
    now += Duration::from_secs(60);
    for _ in 0..3 {
        call(&mut breaker, OK, now);
    }
    let rest = (0..5).find_map(|_| call(&mut breaker, FAILED, now));
    let rest_at_first = BreakerChange::Opened {
        reason: OpenReason::Run,
        rest: Duration::from_millis(500),
    };
    assert_eq!(rest, Some(rest_at_first));
}

#[test]
fn a_recovery_starts_with_a_clean_slate() {
    let start = Instant::now();
    let mut breaker = opened(start);
    let now = start + Duration::from_secs(1);
    for _ in 0..3 {
        call(&mut breaker, OK, now);
    }
    // The five failures of before are still within the window's length: with five good calls they would be half of ten.
    for _ in 0..5 {
        assert_eq!(call(&mut breaker, OK, now), None);
    }
    assert_eq!(breaker.snapshot(now).phase, Phase::Closed);
}

#[test]
fn a_vendor_that_asks_for_more_rest_gets_it() {
    let asked = |secs| Outcome::Failure {
        took: QUICK,
        run: true,
        retry_after: Some(Duration::from_secs(secs)),
    };
    let now = Instant::now();
    let mut breaker = BreakerState::new(config(), now);
    let (late, _) = breaker.try_admit(now);
    let rest = (0..5).find_map(|_| call(&mut breaker, asked(7), now));
    let opened = BreakerChange::Opened {
        reason: OpenReason::Run,
        rest: Duration::from_secs(7),
    };
    assert_eq!(rest, Some(opened));
    let late = breaker.finish(late.expect("admitted while closed"), asked(9), now, 0.0);
    assert_eq!(late, None);
    assert_eq!(breaker.snapshot(now).rest, Some(Duration::from_secs(9)));
}

#[test]
fn what_was_admitted_before_decides_nothing_now() {
    let start = Instant::now();
    let mut breaker = BreakerState::new(config(), start);
    let early: Vec<_> = (0..3)
        .map(|_| breaker.try_admit(start).0.expect("closed"))
        .collect();
    for _ in 0..5 {
        call(&mut breaker, FAILED, start);
    }
    let now = start + Duration::from_secs(1);
    let (probe, _) = breaker.try_admit(now);
    for ticket in early {
        assert_eq!(breaker.finish(ticket, OK, now, 0.0), None);
    }
    let snapshot = breaker.snapshot(now);
    assert_eq!(
        (snapshot.phase, snapshot.probes_in_flight),
        (Phase::HalfOpen, 1)
    );
    let probed = breaker.finish(probe.expect("half-open"), OK, now, 0.0);
    assert_eq!(probed, None, "one of three");
}

#[test]
fn a_body_that_breaks_is_a_failure_after_all() {
    let now = Instant::now();
    let mut breaker = BreakerState::new(config(), now);
    let mut change = None;
    for _ in 0..5 {
        // The heads were fine, so only the last body starts the run.
        change = call(&mut breaker, OK, now).or(breaker.body_broke(now, 0.0));
    }
    assert_eq!(change, None);
    assert_eq!(breaker.snapshot(now).counts.failed, 5);
    let change =
        (0..5).find_map(|_| call(&mut breaker, OK, now).or_else(|| breaker.body_broke(now, 0.0)));
    assert!(
        matches!(
            change,
            Some(BreakerChange::Opened {
                reason: OpenReason::FailureRate,
                ..
            })
        ),
        "{change:?}"
    );
}

/// What can happen to a breaker, in any order.
#[derive(Clone, Copy, Debug)]
enum Step {
    Admit,
    Finish(usize, u8),
    BodyBreaks,
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Admit),
        4 => (any::<usize>(), 0u8..5).prop_map(|(which, how)| Step::Finish(which, how)),
        1 => Just(Step::BodyBreaks),
        2 => any::<u16>().prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn probes_are_capped_and_only_they_close_it(steps in prop::collection::vec(step(), 0..300), jitter in 0.0f64..1.0) {
        let mut now = Instant::now();
        let mut breaker = BreakerState::new(config(), now);
        let mut tickets: Vec<Ticket> = Vec::new();
        let mut good_probes = 0;
        for step in steps {
            let before = breaker.snapshot(now).phase;
            let change = match step {
                Step::Wait(millis) => {
                    now += Duration::from_millis(millis.into());
                    None
                }
                Step::BodyBreaks => breaker.body_broke(now, jitter),
                Step::Admit => {
                    let (admitted, change) = breaker.try_admit(now);
                    match admitted {
                        Ok(ticket) => tickets.push(ticket),
                        Err(_) => prop_assert!(breaker.snapshot(now).phase != Phase::Closed),
                    }
                    change
                }
                Step::Finish(which, how) if !tickets.is_empty() => {
                    let ticket = tickets.swap_remove(which % tickets.len());
                    let outcome = [OK, CRAWL, FAILED, TOO_MANY, Outcome::Unknown][usize::from(how)];
                    let is_probe = before == Phase::HalfOpen && ticket.generation == breaker.generation;
                    good_probes += u32::from(is_probe && outcome == OK);
                    breaker.finish(ticket, outcome, now, jitter)
                }
                Step::Finish(..) => None,
            };
            match change {
                Some(BreakerChange::HalfOpened) => good_probes = 0,
                Some(BreakerChange::Closed) => prop_assert_eq!(good_probes, 3),
                Some(BreakerChange::Opened { rest, .. }) => {
                    prop_assert!(rest >= Duration::from_millis(400) && rest <= Duration::from_secs(10));
                }
                None => {}
            }
            let held = tickets.iter().filter(|it| it.generation == breaker.generation).count();
            let snapshot = breaker.snapshot(now);
            prop_assert!(snapshot.probes_in_flight <= 3);
            if snapshot.phase == Phase::HalfOpen {
                prop_assert_eq!(snapshot.probes_in_flight as usize, held, "a slot per probe, no more");
            }
        }
    }
}
