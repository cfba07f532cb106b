//! Retry budget: how many further requests an upstream may be sent, as a share of first attempts, so that retries and hedges
//! cannot feed an outage.
//!
//! `[retry, hedge] and repeats of the client -> budget`, one per upstream, shared by all its routes.
//!
//! A token bucket with a time window: a first attempt deposits `budget_percent` hundredths of a token, `budget_min_per_second`
//! times the window lie in it always, a retry withdraws a whole one. Deposits and withdrawals both leave it when they are
//! `budget_window` old, so that quiet hours save up nothing for the first second of an outage.
//!
//! tower's `TpsBudget` is not used: it reads a clock of its own, so that nothing can be shown about it but by waiting; it turns
//! the percentage into whole retries per whole number of first attempts, which rounds 35 % to 33 %; and what it lets through
//! depends on when its slots turn over, so that no bound can be stated over any window.
//!
//! # Invariants
//!
//! - Over any window of that length, taken to end at a withdrawal: withdrawals <= floor * window + percent of the deposits in it.
//!   A window that ends elsewhere has no more withdrawals than the one that ends at its last, so this bounds all of them. (Held
//!   against deposits in a window that begins just behind them no budget could allow anything: a deposit is always earlier than
//!   what it allows.)
//! - Time is counted in [`SLOTS`] slots per window, and each is rounded against the retry: a slot's deposits count while all of
//!   it lies in the window, its withdrawals while any of it does. So a token may go up to window / `SLOTS` early and come back as
//!   much late; nothing is ever allowed that exact times would not allow.
//! - Memory is `SLOTS + 1` slots, whatever happens.
//! - Time that runs backwards counts as standing still.
//!
//! What it does not do: give a token back. What was withdrawn for a retry that a breaker then refused stays withdrawn.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    config::RetryConfig,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Slots per window.
pub const SLOTS: usize = 20;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// The tokens. Pure: `now` is an argument.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Hundredths of a token per deposit.
    percent: u128,
    /// What lies in it always, in hundredths of a nanotoken.
    floor: u128,
    window: u64,
    slot_width: u64,
    started: Instant,
    /// The latest time seen, in nanoseconds since `started`.
    latest: u64,
    /// A ring, by number of the slot.
    slots: [Slot; SLOTS + 1],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Counted from `started`.
    number: u64,
    deposits: u64,
    withdrawals: u64,
}

impl Budget {
    /// With the floor in it, and nothing else.
    pub fn new(config: &RetryConfig, now: Instant) -> Self {
        let window = nanos(config.budget_window).max(1);
        let floor = u128::from(config.budget_min_per_second) * u128::from(window);
        Self {
            percent: config.budget_percent.into(),
            floor: floor * 100,
            window,
            slot_width: window.div_ceil(SLOTS as u64),
            started: now,
            latest: 0,
            slots: [Slot::default(); SLOTS + 1],
        }
    }

    /// A first attempt was made.
    pub fn deposit(&mut self, now: Instant) {
        let slot = self.slot(now);
        slot.deposits = slot.deposits.saturating_add(1);
    }

    /// Whether another request may be sent; if so, it is counted.
    pub fn withdraw(&mut self, now: Instant) -> bool {
        let slot = self.slot(now);
        // Tried first, so that both sides are summed over the same slots.
        slot.withdrawals = slot.withdrawals.saturating_add(1);
        let (allowed, withdrawn) = self.sums();
        let is_allowed = withdrawn * 100 * NANOS_PER_SECOND <= allowed;
        if !is_allowed {
            let slot = self.slot(now);
            slot.withdrawals = slot.withdrawals.saturating_sub(1);
        }
        is_allowed
    }

    /// How many could be withdrawn now.
    pub fn balance(&self, now: Instant) -> u64 {
        let mut here = self.clone();
        here.slot(now);
        let (allowed, withdrawn) = here.sums();
        let whole = allowed / (100 * NANOS_PER_SECOND);
        u64::try_from(whole.saturating_sub(withdrawn)).unwrap_or(u64::MAX)
    }

    /// The slot of this moment, emptied if it held an older one.
    fn slot(&mut self, now: Instant) -> &mut Slot {
        let elapsed = nanos(now.saturating_duration_since(self.started));
        self.latest = self.latest.max(elapsed);
        let number = self.latest / self.slot_width;
        let slot = &mut self.slots[(number % (SLOTS as u64 + 1)) as usize];
        if slot.number != number {
            *slot = Slot {
                number,
                ..Slot::default()
            };
        }
        slot
    }

    /// Allowed in hundredths of a nanotoken, and withdrawn in whole tokens, by the window that ends at the latest time.
    fn sums(&self) -> (u128, u128) {
        let (latest, window) = (u128::from(self.latest), u128::from(self.window));
        let width = u128::from(self.slot_width);
        let (mut deposits, mut withdrawals) = (0_u128, 0_u128);
        for slot in &self.slots {
            let begins = u128::from(slot.number) * width;
            if begins + window > latest {
                deposits += u128::from(slot.deposits);
            }
            // Its last moment.
            if begins + width - 1 + window > latest {
                withdrawals += u128::from(slot.withdrawals);
            }
        }
        let share = deposits * self.percent * NANOS_PER_SECOND;
        (self.floor + share, withdrawals)
    }
}

fn nanos(duration: Duration) -> u64 {
    // Six hundred years.
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

// --- RetryBudget ---

/// The budget of one upstream, shared; clones are the same one.
#[derive(Clone, Debug)]
pub struct RetryBudget(Arc<Mutex<Budget>>);

impl RetryBudget {
    /// With the floor in it.
    pub fn new(config: &RetryConfig) -> Self {
        Self(Arc::new(Mutex::new(Budget::new(config, Instant::now()))))
    }

    /// A first attempt was made.
    pub fn deposit(&self) {
        // The clock is read under the lock, so that times come in order.
        let mut budget = self.lock();
        budget.deposit(Instant::now());
    }

    /// Whether another request may be sent; if so, it is counted.
    pub fn withdraw(&self) -> bool {
        let mut budget = self.lock();
        budget.withdraw(Instant::now())
    }

    /// How many could be withdrawn now.
    pub fn balance(&self) -> u64 {
        self.lock().balance(Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, Budget> {
        // Numbers in an array: a panic leaves none of them half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;

#[cfg(all(test, shuttle))]
mod shuttle_tests {
    use super::*;

    /// Whatever two threads do to it between each other's steps: no token is handed out twice, none is lost.
    #[test]
    fn threads_that_share_a_budget_never_take_more_than_is_in_it() {
        let config = crate::config::parse(
            "[upstream.a]\nendpoints = [\"http://a\"]\nretry = { budget_percent = 50, budget_min_per_second = 1, budget_window = \"2s\" }\n[[route]]\npath = \"/\"\nupstream = \"a\"\n",
            std::path::Path::new("proxy.toml"),
            &crate::config::FixedEnv::default(),
        );
        let config = config.expect("a valid config").upstreams[0].retry.clone();
        shuttle::check_random(
            move || {
                let budget = RetryBudget::new(&config);
                let threads: Vec<_> = (0..3)
                    .map(|_| {
                        let budget = budget.clone();
                        shuttle::thread::spawn(move || {
                            budget.deposit();
                            let first = budget.withdraw();
                            budget.deposit();
                            u64::from(first) + u64::from(budget.withdraw())
                        })
                    })
                    .collect();
                let mut taken = 0;
                for thread in threads {
                    taken += thread.join().expect("no panic");
                }
                // Two by the floor, three by half of six deposits; what is left has not gone astray.
                assert!(taken <= 5, "{taken}");
                assert_eq!(taken + budget.balance(), 5);
            },
            500,
        );
    }
}
