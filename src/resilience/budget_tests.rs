use proptest::prelude::*;

use super::*;
use crate::upstream::client_config;

fn config(percent: u32, per_second: u32, window: Duration) -> RetryConfig {
    RetryConfig {
        budget_percent: percent,
        budget_min_per_second: per_second,
        budget_window: window,
        ..client_config(&["http://v"]).retry
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// What is done to a budget, this long after the step before.
#[derive(Clone, Copy, Debug)]
enum Step {
    Deposit,
    Withdraw,
}

#[test]
fn a_share_of_first_attempts_and_a_floor_are_allowed_for_as_long_as_the_window() {
    let start = Instant::now();
    let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
    for (name, percent, floor, deposits, asked_at, want) in [
        ("nothing by default", 0, 0, &[0.0; 100][..], 0.0, 0),
        ("the floor alone", 0, 2, &[][..], 0.0, 20),
        ("a fifth of those at once", 20, 0, &[0.0; 100][..], 0.0, 20),
        (
            "a share that is no whole number",
            35,
            0,
            &[0.0; 100][..],
            0.0,
            35,
        ),
        ("no part of a token", 20, 0, &[0.0; 4][..], 0.0, 0),
        ("more than all", 150, 0, &[0.0; 10][..], 0.0, 15),
        ("both", 10, 1, &[0.0; 100][..], 0.0, 20),
        (
            "still there before the window ends",
            20,
            0,
            &[0.0; 100][..],
            9.4,
            20,
        ),
        ("gone with the window", 20, 0, &[0.0; 100][..], 10.0, 0),
        (
            "only what lies in the window",
            100,
            0,
            &[0.0, 3.0, 9.0][..],
            12.0,
            2,
        ),
        ("the floor is not saved up", 0, 2, &[][..], 3_600.0, 20),
    ] {
        let mut budget = Budget::new(&config(percent, floor, 10 * SECOND), start);
        for deposit in deposits {
            budget.deposit(at(*deposit));
        }
        assert_eq!(budget.balance(at(asked_at)), want, "{name}: balance");
        let allowed = (0..1_000).filter(|_| budget.withdraw(at(asked_at))).count();
        assert_eq!(allowed as u64, want, "{name}");
        assert_eq!(budget.balance(at(asked_at)), 0, "{name}: all gone");
    }
}

#[test]
fn a_token_comes_back_when_its_withdrawal_leaves_the_window_and_at_most_a_slot_later() {
    let start = Instant::now();
    let mut budget = Budget::new(&config(0, 1, 10 * SECOND), start);
    assert_eq!((0..99).filter(|_| budget.withdraw(start)).count(), 10);
    assert!(!budget.withdraw(start + 10 * SECOND - Duration::from_millis(1)));
    let slot = 10 * SECOND / SLOTS as u32;
    let again = start + 10 * SECOND + slot;
    assert_eq!((0..99).filter(|_| budget.withdraw(again)).count(), 10);
}

#[test]
fn time_that_runs_backwards_stands_still() {
    let start = Instant::now() + 60 * SECOND;
    let mut budget = Budget::new(&config(100, 0, SECOND), start);
    budget.deposit(start + 30 * SECOND);
    budget.deposit(start);
    assert!(budget.withdraw(start - SECOND));
    assert!(budget.withdraw(start + 30 * SECOND));
    assert!(!budget.withdraw(start + 30 * SECOND));
}

#[test]
fn the_longest_window_and_the_largest_numbers_overflow_nothing() {
    let start = Instant::now();
    for window in [Duration::from_nanos(1), Duration::MAX] {
        let mut budget = Budget::new(&config(1_000, 10_000, window), start);
        budget.deposit(start + SECOND);
        let _allowed = budget.withdraw(start + 100 * SECOND);
        let _balance = budget.balance(start + 200 * SECOND);
    }
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let step = prop_oneof![Just(Step::Deposit), Just(Step::Withdraw)];
    // Mostly close together, sometimes a large part of a window apart.
    let gap = prop_oneof![6 => 0_u64..40, 2 => 0_u64..400, 1 => 0_u64..2_500];
    proptest::collection::vec((gap, step), 0..400)
}

proptest! {
    /// Held against a log of everything that happened, with exact times.
    #[test]
    fn over_any_window_no_more_is_withdrawn_than_floor_and_share_allow(
        steps in steps(),
        percent in 0_u32..=250,
        floor in 0_u32..20,
        window_ms in 1_u64..2_000,
    ) {
        let (start, window) = (Instant::now(), Duration::from_millis(window_ms));
        let mut budget = Budget::new(&config(percent, floor, window), start);
        let (mut now, mut deposits, mut withdrawals) = (start, Vec::new(), Vec::new());
        for (gap_ms, step) in steps {
            now += Duration::from_millis(gap_ms);
            match step {
                Step::Deposit => {
                    budget.deposit(now);
                    deposits.push(now);
                }
                Step::Withdraw => {
                    let balance = budget.balance(now);
                    let allowed = budget.withdraw(now);
                    prop_assert_eq!(allowed, balance > 0);
                    if allowed {
                        withdrawals.push(now);
                    }
                }
            }
        }
        let within = |log: &[Instant], end: Instant| {
            let in_it = log.iter().filter(|at| **at <= end && **at + window > end);
            in_it.count() as u128
        };
        for end in &withdrawals {
            // In hundredths of a thousandth of a token: whole numbers on both sides.
            let allowed = u128::from(floor) * u128::from(window_ms) * 100
                + u128::from(percent) * within(&deposits, *end) * 1_000;
            let taken = within(&withdrawals, *end) * 100_000;
            prop_assert!(taken <= allowed, "{} > {}", taken, allowed);
        }
    }

    /// What slots cost: a whole slot's time of deposits at one end and of withdrawals at the other, and nothing else.
    #[test]
    fn rounding_denies_no_more_than_a_slot_of_time_explains(
        steps in steps(),
        percent in 0_u32..=250,
        floor in 0_u32..20,
    ) {
        let (start, window) = (Instant::now(), SECOND);
        let slot = window / SLOTS as u32;
        let mut budget = Budget::new(&config(percent, floor, window), start);
        let (mut now, mut deposits, mut withdrawals) = (start, Vec::new(), Vec::new());
        for (gap_ms, step) in steps {
            now += Duration::from_millis(gap_ms);
            if matches!(step, Step::Deposit) {
                budget.deposit(now);
                deposits.push(now);
            } else if budget.withdraw(now) {
                withdrawals.push(now);
            } else {
                let young = deposits.iter().filter(|at| **at + window > now + slot).count();
                let old = withdrawals.iter().filter(|at| **at + window + slot > now).count();
                let surely = u128::from(floor) * 100 + u128::from(percent) * young as u128;
                prop_assert!((old as u128 + 1) * 100 > surely, "denied with {} of {}", old, surely);
            }
        }
    }
}
