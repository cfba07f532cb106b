use proptest::prelude::*;

use super::*;
use crate::config::Rate;

fn pace(count: u32, period: Duration, burst: u32) -> Pace {
    Pace::new(&QuotaConfig {
        rate: Rate { count, per: period },
        burst,
    })
}

/// Takes one where it may.
fn try_take(pace: &mut Pace, reserve: u32, now: Instant) -> bool {
    let ready = pace.ready_at(reserve, now) <= now;
    if ready {
        pace.take(now);
    }
    ready
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_rate_is_spread_over_its_period() {
    let start = Instant::now();
    for (name, burst, want_at_once, want_in_first_half, want_in_period) in [
        ("one by one", 1, 1, 5, 10),
        ("a burst comes first", 4, 4, 8, 10),
        ("a burst of all of it, then nothing", 10, 10, 10, 10),
        ("more than the rate is the rate", 99, 10, 10, 10),
    ] {
        let mut pace = pace(10, Duration::from_secs(1), burst);
        let mut taken = Vec::new();
        for at in 0..1000 {
            while try_take(&mut pace, 0, start + millis(at)) {
                taken.push(at);
            }
        }
        let until = |end| taken.iter().filter(|at| **at < end).count();
        assert_eq!(until(1), want_at_once, "{name}");
        assert_eq!(until(500), want_in_first_half, "{name}");
        assert_eq!(until(1000), want_in_period, "{name}");
    }
}

#[test]
fn the_time_it_names_is_the_first_at_which_it_may() {
    let start = Instant::now();
    let mut pace = pace(4, Duration::from_secs(2), 2);
    assert!(try_take(&mut pace, 0, start));
    assert!(try_take(&mut pace, 0, start));
    for (name, reserve, want_millis) in [
        ("one interval for the next", 0, 500),
        ("two for one that leaves one", 1, 1000),
        (
            "the period has to be empty for one that leaves all",
            9,
            5000,
        ),
    ] {
        let at = pace.ready_at(reserve, start);
        assert_eq!((at - start).as_millis(), want_millis, "{name}");
        assert!(
            pace.ready_at(reserve, at - millis(1)) > at - millis(1),
            "{name}"
        );
        let mut later = pace.clone();
        assert!(try_take(&mut later, reserve, at), "{name}");
    }
}

#[test]
fn idle_time_saves_up_one_burst_and_no_more() {
    let start = Instant::now();
    let mut pace = pace(100, Duration::from_secs(60), 5);
    let hour = Duration::from_secs(3600);
    for round in 0..3 {
        let now = start + hour * round;
        let taken = (0..50).filter(|_| try_take(&mut pace, 0, now)).count();
        assert_eq!(taken, 5, "round {round}");
    }
}

#[test]
fn a_single_request_a_day_is_open_to_everybody() {
    let start = Instant::now();
    let day = Duration::from_secs(24 * 3600);
    let mut pace = pace(1, day, 1);
    let reserve = pace.reserve(40);
    assert!(try_take(&mut pace, reserve, start));
    assert!(!try_take(&mut pace, 0, start + day - millis(1)));
    assert!(try_take(&mut pace, 0, start + day));
    assert!(
        try_take(&mut pace, reserve, start + day * 3),
        "after a rest"
    );
}

#[test]
fn even_a_large_rate_is_remembered_in_bounded_space() {
    let start = Instant::now();
    let mut pace = pace(1_000_000, Duration::from_secs(60), 1_000_000);
    let mut taken = 0;
    for at in 0..120_000 {
        for _ in 0..10 {
            taken += u32::from(try_take(&mut pace, 0, start + millis(at)));
        }
        assert!(pace.log.len() <= LOG_PARTS as usize + 1);
        assert!(pace.logged <= 1_000_000);
    }
    assert_eq!(taken, 1_200_000, "600,000 a minute are inside of it");
}

proptest! {
    /// Against a log that remembers everything.
    #[test]
    fn no_window_has_more_than_the_rate_and_no_shorter_one_more_than_its_share_and_a_burst(
        count in 1u32..40,
        burst in 1u32..50,
        period_millis in 100u64..5000,
        steps in prop::collection::vec((0u64..400, 0u32..=100, 1usize..6), 1..200),
    ) {
        let period = millis(period_millis);
        let mut pace = pace(count, period, burst);
        let start = Instant::now();
        let mut now = start;
        let mut log: Vec<Instant> = Vec::new();
        for (wait, percent, tries) in steps {
            now += millis(wait);
            let reserve = pace.reserve(percent);
            for _ in 0..tries {
                let at = pace.ready_at(reserve, now);
                prop_assert!(at <= now + period * 2 + period * (reserve + 1), "nobody is sent away for good");
                if at <= now {
                    pace.take(now);
                    log.push(now);
                }
            }
        }
        let burst = burst.clamp(1, count);
        for (nth, first) in log.iter().enumerate() {
            for (further, last) in log[nth..].iter().enumerate() {
                let (sent, length) = (further + 1, *last - *first);
                if length < period {
                    prop_assert!(sent <= count as usize, "{sent} within {length:?}");
                }
                let share = length.as_secs_f64() / period.as_secs_f64() * f64::from(count);
                prop_assert!(sent as f64 <= share + f64::from(burst) + 1e-6, "{sent} within {length:?}");
            }
        }
    }

    #[test]
    fn who_has_to_leave_a_reserve_leaves_it(
        count in 2u32..60,
        burst in 2u32..60,
        percent in 0u32..=100,
        steps in prop::collection::vec((0u64..300, any::<bool>()), 1..100),
    ) {
        let mut pace = pace(count, millis(1000), burst);
        let reserve = pace.reserve(percent);
        // A reserve of all there is, or more, is waited for in another way.
        prop_assume!(reserve < burst.min(count));
        let mut now = Instant::now();
        for (wait, first) in steps {
            now += millis(wait);
            if first {
                try_take(&mut pace, 0, now);
            } else if try_take(&mut pace, reserve, now) && pace.logged > 1 {
                let mut rest = pace.clone();
                let left = (0..reserve).filter(|_| try_take(&mut rest, 0, now)).count();
                prop_assert_eq!(left, reserve as usize);
            }
        }
    }
}
