//! A sliding window of calls in a fixed number of buckets: bounded memory, whatever the traffic.
//!
//! Pure: times are arguments. A bucket is a tenth of the window, so counts leave in steps of a tenth.

use std::time::Duration;

use tokio::time::Instant;

const BUCKETS: u64 = 10;

/// Calls of one bucket, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that ended.
    pub calls: u32,
    /// Those that failed.
    pub failed: u32,
    /// Those that were slow, failed ones included.
    pub slow: u32,
}

/// What happened in the last `window`.
#[derive(Clone, Debug)]
pub(super) struct Window {
    bucket: Duration,
    epoch: Instant,
    /// Bucket number since `epoch` that was written last.
    newest: u64,
    buckets: [Counts; BUCKETS as usize],
}

impl Window {
    pub(super) fn new(window: Duration, now: Instant) -> Self {
        Self {
            // A bucket of no length could not be counted in.
            bucket: (window / BUCKETS as u32).max(Duration::from_millis(1)),
            epoch: now,
            newest: 0,
            buckets: [Counts::default(); BUCKETS as usize],
        }
    }

    pub(super) fn record(&mut self, failed: bool, slow: bool, now: Instant) {
        self.slide(now);
        let bucket = &mut self.buckets[(self.newest % BUCKETS) as usize];
        bucket.calls = bucket.calls.saturating_add(1);
        bucket.failed = bucket.failed.saturating_add(u32::from(failed));
        bucket.slow = bucket.slow.saturating_add(u32::from(slow));
    }

    /// A call that was counted as a success turned out to be a failure.
    pub(super) fn amend_failed(&mut self, now: Instant) {
        self.slide(now);
        let total = self.total();
        let bucket = &mut self.buckets[(self.newest % BUCKETS) as usize];
        bucket.failed = bucket.failed.saturating_add(1);
        // Its call may have left the window already: more failures than calls would be nonsense.
        if total.failed >= total.calls {
            bucket.calls = bucket.calls.saturating_add(1);
        }
    }

    pub(super) fn counts(&mut self, now: Instant) -> Counts {
        self.slide(now);
        self.total()
    }

    fn total(&self) -> Counts {
        self.buckets
            .iter()
            .fold(Counts::default(), |sum, bucket| Counts {
                calls: sum.calls.saturating_add(bucket.calls),
                failed: sum.failed.saturating_add(bucket.failed),
                slow: sum.slow.saturating_add(bucket.slow),
            })
    }

    fn slide(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.epoch).as_nanos();
        let current = u64::try_from(elapsed / self.bucket.as_nanos()).unwrap_or(u64::MAX);
        let passed = current.saturating_sub(self.newest);
        for step in 1..=passed.min(BUCKETS) {
            self.buckets[((self.newest + step) % BUCKETS) as usize] = Counts::default();
        }
        self.newest = self.newest.max(current);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_leave_after_the_window() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut window = Window::new(Duration::from_secs(1), start);
        window.record(true, false, at(0));
        window.record(false, true, at(550));
        for (name, millis, calls, failed, slow) in [
            ("both inside", 900, 2, 1, 1),
            ("the first has left", 1_050, 1, 0, 1),
            ("both have left", 1_700, 0, 0, 0),
            ("long after", 90_000, 0, 0, 0),
        ] {
            let want = Counts {
                calls,
                failed,
                slow,
            };
            assert_eq!(window.clone().counts(at(millis)), want, "{name}");
        }
    }

    #[test]
    fn a_clock_that_stands_or_steps_back_loses_nothing() {
        let start = Instant::now() + Duration::from_secs(10);
        let mut window = Window::new(Duration::from_secs(1), start);
        window.record(true, true, start + Duration::from_millis(500));
        window.record(true, true, start);
        assert_eq!(window.counts(start).calls, 2);
    }

    #[test]
    fn an_amended_call_is_not_counted_twice() {
        let start = Instant::now();
        let mut window = Window::new(Duration::from_secs(1), start);
        window.record(false, false, start);
        window.amend_failed(start);
        let counts = window.counts(start);
        assert_eq!((counts.calls, counts.failed), (1, 1));
        let later = start + Duration::from_secs(5);
        window.amend_failed(later);
        let counts = window.counts(later);
        assert_eq!((counts.calls, counts.failed), (1, 1), "its call had left");
    }
}
