//! Rate: so many requests in so long, and a burst at once after a quiet time. The generic cell rate algorithm, pure.
//!
//! One number holds all that was: the time by which everything admitted so far would have come at exactly this rate (the
//! *theoretical arrival time*). A request is admitted as long as that is ahead of now by less than the burst allows. Times
//! are nanoseconds on a clock of the caller's.
//!
//! # Invariants
//!
//! - Over any time `t` at most `burst + rate * t` are admitted, rounded up by one.
//! - A refusal changes nothing, and says after how long the same request would be admitted.

use std::time::Duration;

use crate::config::RateLimit;

/// The theoretical arrival time, on the caller's clock.
pub(super) type Arrival = u64;

/// A rate as the algorithm wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cells {
    /// Time that one request is worth, at least 1 ns.
    pub(super) each: u64,
    burst: u32,
}

impl Cells {
    pub(super) fn new(limit: RateLimit) -> Self {
        let per = u64::try_from(limit.rate.per.as_nanos()).unwrap_or(u64::MAX);
        // Rounded up, so that the rate is never exceeded.
        let each = per.div_ceil(u64::from(limit.rate.count.max(1)));
        Self {
            each: each.max(1),
            burst: limit.burst.max(1),
        }
    }

    /// Admits a request that comes `now`, given what came before; `keep` of the burst are left to others. The arrival
    /// time after it, or how long it would have to wait.
    pub(super) fn admit(self, arrival: Arrival, now: u64, keep: u32) -> Result<Arrival, Duration> {
        let usable = self.burst.saturating_sub(keep).max(1);
        let ahead_max = self.each.saturating_mul(u64::from(usable - 1));
        let arrival = arrival.max(now);
        let ahead = arrival - now;
        match ahead.checked_sub(ahead_max) {
            None | Some(0) => Ok(arrival.saturating_add(self.each)),
            Some(wait) => Err(Duration::from_nanos(wait)),
        }
    }

    /// How much of the burst is kept for those above, where this share of it is.
    pub(super) fn share_of_burst(self, percent: u32) -> u32 {
        (u64::from(self.burst) * u64::from(percent) / 100) as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::config::Rate;

    const MS: u64 = 1_000_000;

    fn cells(count: u32, per_ms: u64, burst: u32) -> Cells {
        let per = Duration::from_millis(per_ms);
        let rate = Rate { count, per };
        Cells::new(RateLimit { rate, burst })
    }

    /// How many of `tries` at this time are admitted.
    fn admitted(cells: Cells, arrival: &mut Arrival, now: u64, tries: u32) -> u32 {
        let mut admitted = 0;
        for _ in 0..tries {
            if let Ok(after) = cells.admit(*arrival, now, 0) {
                *arrival = after;
                admitted += 1;
            }
        }
        admitted
    }

    #[test]
    fn a_burst_passes_at_once_and_then_the_rate_holds() {
        let cells = cells(10, 1_000, 5);
        let mut arrival = 0;
        let start = 3_600_000 * MS;
        for (name, at_ms, want) in [
            ("a burst after a quiet time", 0, 5),
            ("nothing is left", 0, 0),
            ("not yet", 99, 0),
            ("one after a tenth of a second", 100, 1),
            ("three after three tenths", 400, 3),
            ("never more than the burst", 60_000, 5),
        ] {
            assert_eq!(
                admitted(cells, &mut arrival, start + at_ms * MS, 20),
                want,
                "{name}"
            );
        }
    }

    #[test]
    fn a_refusal_says_how_long_to_wait_and_that_is_enough() {
        let cells = cells(2, 1_000, 1);
        let after = cells.admit(0, 1_000 * MS, 0).unwrap();
        let wait = cells.admit(after, 1_100 * MS, 0).unwrap_err();
        assert_eq!(wait, Duration::from_millis(400));
        assert!(cells.admit(after, 1_500 * MS, 0).is_ok());
    }

    #[test]
    fn what_is_kept_of_a_burst_is_left_to_others() {
        let cells = cells(10, 1_000, 10);
        assert_eq!(cells.share_of_burst(20), 2);
        let mut arrival = 0;
        while let Ok(after) = cells.admit(arrival, 0, 2) {
            arrival = after;
        }
        assert_eq!(admitted(cells, &mut arrival, 0, 20), 2);
        assert!(
            super::Cells { each: 1, burst: 1 }.admit(0, 0, 9).is_ok(),
            "one at least"
        );
    }

    proptest! {
        #[test]
        fn over_any_window_the_rate_and_the_burst_hold(
            count in 1..50u32,
            per_ms in 1..5_000u64,
            burst in 1..20u32,
            gaps in vec(0..200_000_000u64, 1..200),
        ) {
            let cells = cells(count, per_ms, burst);
            let (mut now, mut arrival, mut times) = (0u64, 0, Vec::new());
            for gap in gaps {
                now += gap;
                match cells.admit(arrival, now, 0) {
                    Ok(after) => {
                        arrival = after;
                        times.push(now);
                    }
                    Err(wait) => {
                        let wait = wait.as_nanos() as u64;
                        prop_assert!(cells.admit(arrival, now + wait, 0).is_ok());
                        prop_assert!(wait == 0 || cells.admit(arrival, now + wait - 1, 0).is_err());
                    }
                }
            }
            for (nth, first) in times.iter().enumerate() {
                for (further, last) in times[nth..].iter().enumerate() {
                    let fits = (last - first) / cells.each + u64::from(burst) + 1;
                    prop_assert!((further as u64) < fits);
                }
            }
        }
    }
}
