//! Pace: so many requests in a period, spread over it. Pure: `now` is an argument.
//!
//! Two bounds hold at once. The generic cell rate algorithm (GCRA, the virtual scheduling of ITU-T I.371) spreads: after a
//! burst of `burst` one request each `period / count`. Alone it would let `count + burst - 1` through in some periods; a
//! log of the period that lies behind takes the burst out of the rate, because a vendor that counts by the minute counts
//! the burst too. The log merges what is closer together than a 256th of the period, so that it has a bound of its own,
//! and merges it to the later time, so that it never forgets anything early.
//!
//! # Invariants
//!
//! - In no window of the length of the period are there more than `count` requests, and in none of any length more than
//!   its share of the rate and one burst.
//! - Who has to leave a reserve leaves it in both bounds: behind it so many more requests may be sent at once. Only where
//!   the period behind is empty a single request is always right.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::reserve_of;
use crate::{config::QuotaConfig, resilience::moved_on};

/// Into how many parts of the period the log tells requests apart.
const LOG_PARTS: u32 = 256;

/// The requests of one upstream against its `quota`.
#[derive(Clone, Debug)]
pub struct Pace {
    count: u32,
    period: Duration,
    burst: u32,
    /// From one request to the next at the sustained rate.
    interval: Duration,
    /// GCRA's theoretical arrival time: when the burst is whole again.
    whole_at: Option<Instant>,
    log: VecDeque<Logged>,
    logged: u32,
}

/// Requests so close together that they leave the period as one.
#[derive(Clone, Copy, Debug)]
struct Logged {
    first: Instant,
    last: Instant,
    count: u32,
}

impl Pace {
    /// Nothing sent yet. A burst is at least one request and never more than the rate has.
    pub fn new(config: &QuotaConfig) -> Self {
        let count = config.rate.count.max(1);
        let period = config.rate.per.max(Duration::from_nanos(1));
        // Rounded up: a little slow is inside the rate.
        let interval = period.as_nanos().div_ceil(u128::from(count));
        Self {
            count,
            period,
            burst: config.burst.clamp(1, count),
            interval: Duration::from_nanos(u64::try_from(interval).unwrap_or(u64::MAX)),
            whole_at: None,
            log: VecDeque::new(),
            logged: 0,
        }
    }

    /// How many requests make the reserve of somebody who may use `percent` of a burst.
    pub fn reserve(&self, percent: u32) -> u32 {
        u32::try_from(reserve_of(u64::from(self.burst), percent)).unwrap_or(self.burst)
    }

    /// When a request may be sent that leaves `reserve` requests of room behind it: now or earlier means now.
    pub fn ready_at(&mut self, reserve: u32, now: Instant) -> Instant {
        self.forget(now);
        let needed = u64::from(reserve) + 1;
        let spread = match self.whole_at {
            None => now,
            // What it takes beyond a whole burst is waited for on top of it: a burst of one has a reserve too.
            Some(whole_at) => match needed.checked_sub(u64::from(self.burst)) {
                Some(over) => moved_on(whole_at, self.intervals(over)),
                None => {
                    let ahead = moved_on(now, self.intervals(u64::from(self.burst) - needed));
                    moved_on(now, whole_at.saturating_duration_since(ahead))
                }
            },
        };
        spread.max(self.room_at(reserve, now))
    }

    /// Counts a request that is sent now.
    pub fn take(&mut self, now: Instant) {
        let from = self.whole_at.map_or(now, |whole_at| whole_at.max(now));
        self.whole_at = Some(moved_on(from, self.interval));
        self.logged = self.logged.saturating_add(1);
        match self.log.back_mut() {
            Some(latest) if now < moved_on(latest.first, self.period / LOG_PARTS) => {
                latest.last = latest.last.max(now);
                latest.count = latest.count.saturating_add(1);
            }
            _ => self.log.push_back(Logged {
                first: now,
                last: now,
                count: 1,
            }),
        }
    }

    /// Requests that the period still has room for.
    pub fn remaining(&mut self, now: Instant) -> u32 {
        self.forget(now);
        self.count.saturating_sub(self.logged)
    }

    fn intervals(&self, count: u64) -> Duration {
        let nanos = self.interval.as_nanos().saturating_mul(u128::from(count));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// When the period behind has room for one request and the reserve.
    fn room_at(&self, reserve: u32, now: Instant) -> Instant {
        let most = self.count.saturating_sub(reserve.saturating_add(1));
        let mut logged = self.logged;
        let mut at = now;
        for entry in &self.log {
            if logged <= most {
                break;
            }
            logged -= entry.count;
            at = moved_on(entry.last, self.period);
        }
        at
    }

    fn forget(&mut self, now: Instant) {
        while let Some(oldest) = self.log.front()
            && moved_on(oldest.last, self.period) <= now
        {
            self.logged -= oldest.count;
            self.log.pop_front();
        }
    }
}

#[cfg(test)]
#[path = "pace_tests.rs"]
mod tests;
