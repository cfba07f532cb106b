//! Learned: the quota as the vendor tells it in its answers, and the pace that follows. Pure: `now` is an argument.
//!
//! For each limit the vendor tells of: so many requests left, and until when. Between two answers what is sent is
//! subtracted. A client that has nothing else may have whatever is left. Everybody else is paced, `remaining` over the time
//! left, and stops at a reserve: a share of the limit that shrinks with the time left, so that what nobody needed is used
//! up by the end. At zero nothing is sent until the reset, or for as long as the longest wait that is believed.
//!
//! After the reset a whole limit is assumed until the next answer says more, or one request where no limit is known: the
//! crowd that waited for the reset would otherwise spend what nobody counts.
//!
//! # Invariants
//!
//! - Within a window what is left only falls, however answers overtake each other.
//! - What nothing was heard of for a window after its reset is forgotten.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    fields::{LIMITS_MAX, ServiceLimit},
    reserve_of,
};
use crate::{config::QuotaConfig, resilience::moved_on};

/// Resets are told in whole seconds: what differs by less is the same window.
const ROUNDING: Duration = Duration::from_millis(1_500);
/// How long the one request after a reset is waited for before others may go.
const FIRST_ANSWER: Duration = Duration::from_secs(1);

/// What one upstream said of its limits.
#[derive(Clone, Debug)]
pub struct Learned {
    wait_max: Duration,
    limits: Vec<Known>,
    /// The vendor refused, and said for how long.
    refused_until: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Known {
    policy: String,
    limit: Option<u64>,
    remaining: u64,
    /// The most that was left at once in this window: what stands for a limit that is not told.
    most: u64,
    heard_at: Instant,
    resets_at: Instant,
    /// The longest time to a reset so far: what stands for a window that is not told.
    window: Duration,
    /// Assumed after a reset, not heard.
    assumed: bool,
    /// When the burst of those who are paced is whole again.
    whole_at: Option<Instant>,
}

impl Learned {
    /// Nothing heard yet. No wait for a reset is longer than `wait_max`.
    pub fn new(wait_max: Duration) -> Self {
        Self {
            wait_max,
            limits: Vec::new(),
            refused_until: None,
        }
    }

    /// An answer came, and told these limits. `retry_after` is that of a 429.
    pub fn heard(&mut self, told: &[ServiceLimit], retry_after: Option<Duration>, now: Instant) {
        if let Some(retry_after) = retry_after {
            let until = moved_on(now, retry_after.min(self.wait_max));
            self.refused_until = Some(self.refused_until.map_or(until, |known| known.max(until)));
        }
        for told in told {
            let same = |known: &&mut Known| known.policy == told.policy;
            if let Some(known) = self.limits.iter_mut().find(same) {
                known.heard(told, now);
            } else if self.limits.len() < LIMITS_MAX {
                self.limits.push(Known::new(told, now));
            } else if let Some(over) = self.limits.iter_mut().find(|it| it.resets_at <= now) {
                // One that is over makes room; where none is, this vendor's limits cannot be told apart.
                *over = Known::new(told, now);
            }
        }
        // What an answer after a reset does not mention any more was not renewed.
        self.limits
            .retain(|known| !known.assumed || !told.is_empty());
    }

    /// When a request of somebody who may use `percent` of what there is may be sent: now or earlier means now.
    pub fn ready_at(&mut self, percent: u32, now: Instant) -> Instant {
        let refused = self.refused_until.filter(|until| *until > now);
        self.refused_until = refused;
        let wait_max = self.wait_max;
        self.limits.retain_mut(|known| known.roll(wait_max, now));
        let limits = self.limits.iter();
        let ready = limits.map(|known| known.ready_at(percent, wait_max, now));
        ready.chain(refused).fold(now, Instant::max)
    }

    /// Counts a request that is sent now.
    pub fn take(&mut self, now: Instant) {
        for known in &mut self.limits {
            known.take(now);
        }
    }

    /// Requests left of the limit that is nearest; `None` where none is known.
    pub fn remaining(&mut self, now: Instant) -> Option<u64> {
        let wait_max = self.wait_max;
        self.limits.retain_mut(|known| known.roll(wait_max, now));
        let remaining = self.limits.iter().map(|known| known.remaining).min();
        match self.refused_until {
            Some(until) if now < until => Some(0),
            _ => remaining,
        }
    }
}

// --- Known ---

impl Known {
    fn new(told: &ServiceLimit, now: Instant) -> Self {
        Self {
            policy: told.policy.clone(),
            limit: told.limit,
            remaining: told.remaining,
            most: told.remaining,
            heard_at: now,
            resets_at: moved_on(now, told.reset),
            window: told.window.unwrap_or(told.reset).max(told.reset),
            assumed: false,
            whole_at: None,
        }
    }

    fn heard(&mut self, told: &ServiceLimit, now: Instant) {
        let resets_at = moved_on(now, told.reset);
        let moved = resets_at.max(self.resets_at) - resets_at.min(self.resets_at);
        if self.assumed || now >= self.resets_at || moved > ROUNDING {
            let window = told.window.unwrap_or(self.window).max(told.reset);
            let whole_at = self.whole_at;
            *self = Self {
                window,
                whole_at,
                ..Self::new(told, now)
            };
            return;
        }
        self.limit = told.limit.or(self.limit);
        // Answers overtake each other, and what is under way is not in them yet.
        self.remaining = self.remaining.min(told.remaining);
        self.heard_at = now;
    }

    /// Goes on behind the reset; `false` where there is nothing to go on from.
    fn roll(&mut self, wait_max: Duration, now: Instant) -> bool {
        if now < self.waits_until(wait_max) {
            return true;
        }
        if self.assumed {
            return false;
        }
        let (remaining, length) = match self.limit {
            Some(limit) if now >= self.resets_at => (limit, self.window),
            _ => (1, FIRST_ANSWER),
        };
        self.remaining = remaining;
        self.most = remaining;
        self.heard_at = now;
        self.resets_at = moved_on(now, length);
        self.assumed = true;
        true
    }

    /// Until when what is known holds.
    fn waits_until(&self, wait_max: Duration) -> Instant {
        match self.remaining {
            0 => self.resets_at.min(moved_on(self.heard_at, wait_max)),
            _ => self.resets_at,
        }
    }

    fn ready_at(&self, percent: u32, wait_max: Duration, now: Instant) -> Instant {
        if self.remaining == 0 {
            return self.waits_until(wait_max);
        }
        if percent >= 100 {
            return now;
        }
        self.reserve_shrunk_at(percent, now).max(self.paced_at(now))
    }

    /// When the reserve has shrunk below what is left.
    fn reserve_shrunk_at(&self, percent: u32, now: Instant) -> Instant {
        let whole = self.limit.unwrap_or(self.most).max(self.remaining);
        let reserve = reserve_of(whole, percent);
        let left = self.resets_at.saturating_duration_since(now);
        let window = self.window.max(left).as_secs_f64();
        // A request has to leave the reserve behind it; one that is all of the limit leaves nothing.
        let spare = self.remaining - u64::from(whole > 1);
        if reserve == 0 || window == 0.0 || spare >= whole {
            return now;
        }
        let enough = (spare as f64 / reserve as f64).min(1.0) * window;
        let wait = left.as_secs_f64() - enough;
        // Nanoseconds of rounding are not worth a refusal.
        match Duration::try_from_secs_f64(wait) {
            Ok(wait) if wait > Duration::from_micros(1) => moved_on(now, wait),
            _ => now,
        }
    }

    /// When what is left allows one more at an even pace, after a burst.
    fn paced_at(&self, now: Instant) -> Instant {
        let Some(whole_at) = self.whole_at else {
            return now;
        };
        let burst = QuotaConfig::burst_of(self.limit.unwrap_or(self.most));
        let ahead = moved_on(now, self.interval(now).saturating_mul(burst - 1));
        moved_on(now, whole_at.saturating_duration_since(ahead))
    }

    fn interval(&self, now: Instant) -> Duration {
        let left = self.resets_at.saturating_duration_since(now);
        let remaining = u32::try_from(self.remaining).unwrap_or(u32::MAX);
        left / remaining.max(1)
    }

    fn take(&mut self, now: Instant) {
        let from = self.whole_at.map_or(now, |whole_at| whole_at.max(now));
        let interval = self.interval(now);
        let whole_at = moved_on(from, interval);
        // Never behind the reset: a new window begins with a whole burst.
        self.whole_at = Some(whole_at.min(self.resets_at.max(now)));
        self.remaining = self.remaining.saturating_sub(1);
    }
}

#[cfg(test)]
#[path = "learned_tests.rs"]
mod tests;
