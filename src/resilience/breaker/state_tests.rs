use super::*;

pub(super) fn config() -> BreakerConfig {
    BreakerConfig {
        enabled: true,
        failure_percent: 50,
        slow_percent: 80,
        slow_after: Duration::from_secs(2),
        consecutive_failures: 5,
        min_calls: 10,
        window_calls: 50,
        window: Duration::from_secs(30),
        open_for: Duration::from_millis(500),
        open_for_max: Duration::from_secs(3),
        open_for_max_after: Duration::from_secs(360),
        probes: 3,
        probe_calls: 3,
        probe_success_percent: 100,
    }
}

pub(super) const OK: Outcome = Outcome::Success { slow: false };
pub(super) const CRAWL: Outcome = Outcome::Success { slow: true };
pub(super) const FAILED: Outcome = Outcome::Failure {
    slow: false,
    run: true,
    retry_after: None,
};
pub(super) const HUNG: Outcome = Outcome::Failure {
    slow: true,
    run: true,
    retry_after: None,
};
pub(super) const TOO_MANY: Outcome = Outcome::Failure {
    slow: false,
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
    let window = config().window;
    let run = Some(Reason::Run { failures: 5 });
    let failed = |failed, calls| {
        Some(Reason::FailureRate {
            failed,
            calls,
            window,
        })
    };
    let slow = |slow, calls| {
        Some(Reason::SlowRate {
            slow,
            calls,
            window,
        })
    };
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
        ("five failures in a row", calls(&[(5, FAILED)]), run),
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
        ("half of ten failed", alternating, failed(5, 10)),
        ("429 is no run", calls(&[(9, TOO_MANY)]), None),
        (
            "429 counts for the rate",
            calls(&[(10, TOO_MANY)]),
            failed(10, 10),
        ),
        ("seven of ten slow", calls(&[(3, OK), (7, CRAWL)]), None),
        (
            "eight of ten slow",
            calls(&[(2, OK), (8, CRAWL)]),
            slow(8, 10),
        ),
        (
            "what hung is slow beside failed",
            calls(&[(6, CRAWL), (2, OK), (2, HUNG)]),
            slow(8, 10),
        ),
        (
            "what taught nothing",
            calls(&[(50, Outcome::Unknown), (50, Outcome::NotAsked)]),
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
fn one_probe_goes_first_and_several_once_it_was_good() {
    let start = Instant::now();
    let mut breaker = opened(start);
    let now = start + Duration::from_secs(1);
    let first = breaker.try_admit(now).0.expect("the rest is over");
    let refused = breaker.try_admit(now).0.expect_err("one at first");
    assert_eq!(refused.retry_after, None, "no known end, none invented");
    assert_eq!(breaker.finish(first, OK, now, 0.0), None);
    let probes: Vec<_> = (0..3)
        .map(|_| breaker.try_admit(now).0.expect("the first was good"))
        .collect();
    assert!(breaker.try_admit(now).0.is_err(), "three at once");
    let changes = probes
        .into_iter()
        .filter_map(|probe| breaker.finish(probe, OK, now, 0.0));
    let reason = Reason::Recovered {
        good: 3,
        results: 3,
    };
    assert_eq!(
        changes.collect::<Vec<_>>(),
        [BreakerChange::Closed { reason }]
    );
    assert_eq!(breaker.snapshot(now).probes_in_flight, 0);
}

#[test]
fn three_good_probes_close_it_and_one_bad_one_does_not() {
    let closed = BreakerChange::Closed {
        reason: Reason::Recovered {
            good: 3,
            results: 3,
        },
    };
    let opened_again = |bad| {
        Some(BreakerChange::Opened {
            reason: Reason::Probes { bad, results: 3 },
            // Half a second, and what one second of outage adds.
            rest: Duration::from_millis(500) + Duration::from_millis(2_500) / 360,
        })
    };
    for (name, last, want) in [
        ("good", OK, Some(closed)),
        ("nothing learnt", Outcome::Unknown, None),
        ("not asked", Outcome::NotAsked, None),
        ("failed", FAILED, opened_again(1)),
        ("slow is not recovered", CRAWL, opened_again(1)),
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
fn the_share_of_good_probes_decides_as_soon_as_it_can() {
    let (open, closed, undecided) = (Phase::Open, Phase::Closed, Phase::HalfOpen);
    for (name, calls, percent, results, want) in [
        ("one of one", 1, 100, &[OK][..], closed),
        (
            "half of three is two, rounded up",
            3,
            50,
            &[OK, FAILED][..],
            undecided,
        ),
        ("and two it is", 3, 50, &[OK, FAILED, OK][..], closed),
        ("all results have to be in", 3, 50, &[OK, OK][..], undecided),
        (
            "two bad of three leave no two",
            3,
            50,
            &[FAILED, FAILED][..],
            open,
        ),
        (
            "a slow one is no good one",
            3,
            50,
            &[CRAWL, FAILED][..],
            open,
        ),
        (
            "four of five, one bad",
            5,
            80,
            &[OK, OK, FAILED, OK, OK][..],
            closed,
        ),
        (
            "four of five, two bad",
            5,
            80,
            &[OK, FAILED, OK, FAILED][..],
            open,
        ),
        (
            "a bad one at first is one of them",
            2,
            50,
            &[FAILED, OK][..],
            closed,
        ),
        (
            "one per cent of three is one",
            3,
            1,
            &[FAILED, FAILED, OK][..],
            closed,
        ),
        ("and not none", 3, 1, &[FAILED, FAILED, FAILED][..], open),
    ] {
        let start = Instant::now();
        let config = BreakerConfig {
            probe_calls: calls,
            probe_success_percent: percent,
            ..config()
        };
        let mut breaker = BreakerState::new(config, start);
        breaker.order(Action::Open, start, 0.0);
        let mut now = start;
        for outcome in results {
            now += Duration::from_secs(4);
            call(&mut breaker, *outcome, now);
        }
        assert_eq!(breaker.phase(), want, "{name}");
    }
}

#[test]
fn a_hung_probe_does_not_block_the_next_one_and_has_rested_when_it_fails() {
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    let mut breaker = opened(start);
    let mut hanging = Vec::new();
    for (millis, admitted) in [
        (1_000, true),
        (1_400, false),
        (1_600, true),
        (2_000, false),
        (2_200, true),
        (9_000, false), // three are out
    ] {
        match breaker.try_admit(at(millis)).0 {
            Ok(ticket) => {
                assert!(admitted, "{millis}");
                hanging.push(ticket);
            }
            Err(_) => assert!(!admitted, "{millis}"),
        }
    }
    let first = hanging.remove(0);
    let change = breaker.finish(first, HUNG, at(9_000), 0.0);
    let reason = Reason::Probes { bad: 1, results: 1 };
    let rest = Duration::ZERO;
    assert_eq!(change, Some(BreakerChange::Opened { reason, rest }));
    let next = breaker
        .try_admit(at(9_000))
        .0
        .expect("it rested since 2,200");
    assert!(breaker.try_admit(at(20_000)).0.is_err(), "three are out");
    for older in hanging {
        assert_eq!(breaker.finish(older, HUNG, at(20_000), 0.0), None);
    }
    assert_eq!(breaker.snapshot(at(20_000)).probes_in_flight, 1);
    assert_eq!(breaker.finish(next, OK, at(20_000), 0.0), None);
    assert_eq!(breaker.phase(), Phase::HalfOpen);
}

#[test]
fn a_probe_from_before_the_first_good_one_decides_nothing() {
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    let mut breaker = opened(start);
    let hung = breaker.try_admit(at(1_000)).0.expect("due");
    let good = breaker.try_admit(at(2_000)).0.expect("due");
    assert_eq!(breaker.finish(good, OK, at(2_010), 0.0), None);
    assert_eq!(breaker.finish(hung, HUNG, at(2_020), 0.0), None);
    call(&mut breaker, OK, at(2_030));
    call(&mut breaker, OK, at(2_030));
    assert_eq!(breaker.phase(), Phase::Closed);
}

#[test]
fn a_probe_that_was_never_sent_makes_room_and_one_given_up_does_not() {
    for (name, outcome, want) in [
        ("never sent", Outcome::NotAsked, true),
        ("given up", Outcome::Unknown, false),
    ] {
        let start = Instant::now();
        let mut breaker = opened(start);
        let now = start + Duration::from_secs(1);
        call(&mut breaker, outcome, now);
        assert_eq!(breaker.try_admit(now).0.is_ok(), want, "{name}");
        let later = now + Duration::from_secs(1);
        assert!(breaker.try_admit(later).0.is_ok(), "{name}");
    }
}

#[test]
fn the_rest_grows_with_the_outage_to_its_bound_and_starts_anew_after_a_recovery() {
    for (name, outage_secs, jitter, want_millis) in [
        ("at first", 1, 0.0, 506),
        ("half a minute", 30, 0.0, 708),
        ("half a minute, shortened by chance", 30, 1.0, 566),
        ("three minutes", 180, 0.0, 1_750),
        ("six minutes", 360, 0.0, 3_000),
        ("an hour", 3_600, 0.0, 3_000),
        ("an hour, shortened by chance", 3_600, 0.5, 2_700),
    ] {
        let start = Instant::now();
        let mut breaker = opened(start);
        let now = start + Duration::from_secs(outage_secs);
        let probe = breaker.try_admit(now).0.expect("the rest is over");
        let Some(BreakerChange::Opened { rest, .. }) = breaker.finish(probe, FAILED, now, jitter)
        else {
            panic!("{name}");
        };
        assert_eq!(rest.as_millis(), want_millis, "{name}");
        let mut later = now + Duration::from_secs(5);
        for _ in 0..3 {
            call(&mut breaker, OK, later);
        }
        later += Duration::from_secs(1);
        let opened = (0..5).find_map(|_| call(&mut breaker, FAILED, later));
        let anew = BreakerChange::Opened {
            reason: Reason::Run { failures: 5 },
            rest: Duration::from_millis(500),
        };
        assert_eq!(opened, Some(anew), "{name}");
    }
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

const fn asked(secs: u64) -> Outcome {
    Outcome::Failure {
        slow: false,
        run: true,
        retry_after: Some(Duration::from_secs(secs)),
    }
}

#[test]
fn a_vendor_that_asks_for_more_rest_gets_it() {
    let now = Instant::now();
    let mut breaker = BreakerState::new(config(), now);
    let (late, _) = breaker.try_admit(now);
    let rest = (0..5).find_map(|_| call(&mut breaker, asked(7), now));
    let opened = BreakerChange::Opened {
        reason: Reason::Run { failures: 5 },
        rest: Duration::from_secs(7),
    };
    assert_eq!(rest, Some(opened));
    let late = breaker.finish(late.expect("admitted while closed"), asked(9), now, 0.0);
    assert_eq!(late, None);
    assert_eq!(breaker.snapshot(now).rest, Some(Duration::from_secs(9)));
}

#[test]
fn what_the_vendor_asked_for_holds_whoever_opens_it_and_until_it_answers() {
    let slow_down = Outcome::Failure {
        slow: false,
        run: false,
        retry_after: Some(Duration::from_secs(60)),
    };
    for (name, calls, want) in [
        (
            "the last call asked",
            vec![FAILED, FAILED, FAILED, FAILED, asked(60)],
            60_000,
        ),
        (
            "an earlier one did",
            vec![asked(60), FAILED, FAILED, FAILED, FAILED],
            60_000,
        ),
        (
            "a 429 did",
            vec![slow_down, FAILED, FAILED, FAILED, FAILED, FAILED],
            60_000,
        ),
        (
            "it has answered since",
            vec![asked(60), OK, FAILED, FAILED, FAILED, FAILED, FAILED],
            500,
        ),
    ] {
        let now = Instant::now();
        let mut breaker = BreakerState::new(config(), now);
        for outcome in calls {
            call(&mut breaker, outcome, now);
        }
        let rest = breaker.snapshot(now).rest.expect("open");
        assert_eq!(rest.as_millis(), want, "{name}");
    }
}

#[test]
fn a_probe_that_is_asked_to_wait_holds_back_the_next_one() {
    let start = Instant::now();
    let config = BreakerConfig {
        probe_success_percent: 50,
        ..config()
    };
    let mut breaker = BreakerState::new(config, start);
    breaker.order(Action::Open, start, 0.0);
    let now = start + Duration::from_secs(1);
    assert_eq!(
        call(&mut breaker, asked(60), now),
        None,
        "one bad one is allowed"
    );
    let at = |secs| now + Duration::from_secs(secs);
    assert!(breaker.try_admit(at(59)).0.is_err());
    assert!(breaker.try_admit(at(60)).0.is_ok());
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
    let broke = |breaker: &mut BreakerState| {
        let admitted_in = breaker.generation;
        breaker.body_broke(admitted_in, now, 0.0)
    };
    let mut change = None;
    for _ in 0..5 {
        // The heads were fine, so only the last body starts the run.
        change = call(&mut breaker, OK, now).or(broke(&mut breaker));
    }
    assert_eq!(change, None);
    assert_eq!(breaker.snapshot(now).counts.failed, 5);
    let change = (0..5).find_map(|_| call(&mut breaker, OK, now).or_else(|| broke(&mut breaker)));
    assert!(
        matches!(
            change,
            Some(BreakerChange::Opened {
                reason: Reason::FailureRate { .. },
                ..
            })
        ),
        "{change:?}"
    );
}

#[test]
fn a_probe_whose_body_breaks_was_not_good() {
    let start = Instant::now();
    let mut breaker = opened(start);
    let before = breaker.generation;
    let now = start + Duration::from_secs(1);
    call(&mut breaker, OK, now);
    assert_eq!(
        breaker.body_broke(before, now, 0.0),
        None,
        "of an earlier phase"
    );
    assert_eq!(breaker.phase(), Phase::HalfOpen);
    let admitted_in = breaker.generation;
    breaker.body_broke(admitted_in, now, 0.0);
    assert_eq!(breaker.phase(), Phase::Open);
}

#[test]
fn a_hand_moves_it_from_every_phase() {
    use Action::{Close, Isolate, Open};
    let start = Instant::now();
    let phases = [Phase::Closed, Phase::Open, Phase::HalfOpen, Phase::Isolated];
    for before in phases {
        for (action, after) in [
            (Open, Phase::Open),
            (Close, Phase::Closed),
            (Isolate, Phase::Isolated),
        ] {
            let mut breaker = BreakerState::new(config(), start);
            let out = breaker.try_admit(start).0.expect("closed");
            let now = start + Duration::from_secs(1);
            let probe = match before {
                Phase::Closed => None,
                Phase::Isolated => breaker.order(Isolate, start, 0.0).and(None),
                _ => {
                    breaker.order(Open, start, 0.0);
                    let half_open = before == Phase::HalfOpen;
                    half_open.then(|| breaker.try_admit(now).0.expect("rested"))
                }
            };
            let name = format!("{before:?} {action:?}");
            assert_eq!(breaker.phase(), before, "{name}");
            let change = breaker.order(action, now, 0.0);
            assert_eq!(breaker.phase(), after, "{name}");
            let want = match action {
                Close if before == Phase::Closed => None,
                Close => Some(BreakerChange::Closed {
                    reason: Reason::Manual,
                }),
                Isolate if before == Phase::Isolated => None,
                Isolate => Some(BreakerChange::Isolated),
                Open => change.filter(|it| matches!(it, BreakerChange::Opened { .. })),
            };
            assert_eq!(change, want, "{name}");
            // What was under way comes back and moves nothing.
            for ticket in [Some(out), probe].into_iter().flatten() {
                assert_eq!(breaker.finish(ticket, FAILED, now, 0.0), None, "{name}");
            }
            assert_eq!(breaker.phase(), after, "{name}");
            assert_eq!(breaker.snapshot(now).probes_in_flight, 0, "{name}");
        }
    }
}

#[test]
fn closed_by_hand_is_closed_with_nothing_counted() {
    let now = Instant::now();
    let mut breaker = BreakerState::new(config(), now);
    for _ in 0..4 {
        call(&mut breaker, FAILED, now);
    }
    assert_eq!(breaker.order(Action::Close, now, 0.0), None);
    let snapshot = breaker.snapshot(now);
    assert_eq!((snapshot.run, snapshot.counts.calls), (0, 0));
    assert_eq!(call(&mut breaker, FAILED, now), None, "the first of a run");
}

#[test]
fn opened_by_hand_recovers_by_probes_and_isolated_does_not() {
    let start = Instant::now();
    let later = start + Duration::from_secs(3_600);
    let mut breaker = BreakerState::new(config(), start);
    breaker.order(Action::Open, start, 0.0);
    for _ in 0..3 {
        call(&mut breaker, OK, later);
    }
    assert_eq!(breaker.phase(), Phase::Closed);
    breaker.order(Action::Isolate, later, 0.0);
    let refused = breaker.try_admit(later + Duration::from_secs(86_400)).0;
    assert_eq!(refused.expect_err("isolated").retry_after, None);
}

#[test]
fn turned_off_it_opens_by_hand_only() {
    let start = Instant::now();
    let config = BreakerConfig {
        enabled: false,
        ..config()
    };
    let mut breaker = BreakerState::new(config, start);
    for _ in 0..100 {
        assert_eq!(call(&mut breaker, HUNG, start), None);
    }
    breaker.order(Action::Isolate, start, 0.0);
    assert!(breaker.try_admit(start).0.is_err());
}

#[test]
fn every_change_is_counted_dated_and_has_its_reason() {
    let start = Instant::now();
    let mut breaker = opened(start);
    let now = start + Duration::from_secs(1);
    for _ in 0..3 {
        call(&mut breaker, OK, now);
    }
    breaker.order(Action::Isolate, now, 0.0);
    let snapshot = breaker.snapshot(now);
    // Closed, half-open, open, isolated.
    assert_eq!(snapshot.transitions, [1, 1, 1, 1]);
    assert_eq!((snapshot.since, snapshot.reason), (now, Reason::Manual));
    assert_eq!(opened(start).snapshot(now).since, start);
}
