//! A sliding window of calls: those of the last `window`, and of these the latest `window_calls`.
//!
//! Pure: times are arguments. Bounded in time, so that old news does not count where few ask; bounded in calls, so that a
//! window full of good ones does not hide for many seconds what a busy upstream turned into.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Calls of one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that ended.
    pub calls: u32,
    /// Those that failed.
    pub failed: u32,
    /// Those that were slow, failed ones included.
    pub slow: u32,
}

/// One call that ended.
#[derive(Clone, Copy, Debug)]
struct Call {
    at: Instant,
    failed: bool,
    slow: bool,
}

/// What happened in the last `window`.
#[derive(Clone, Debug)]
pub(super) struct Window {
    window: Duration,
    calls_max: usize,
    calls: VecDeque<Call>,
    counts: Counts,
}

impl Window {
    /// Empty. Looks back for `window`, and at most at `calls_max` calls.
    pub(super) fn new(window: Duration, calls_max: u32) -> Self {
        Self {
            window,
            calls_max: calls_max.max(1) as usize,
            calls: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    pub(super) fn record(&mut self, failed: bool, slow: bool, now: Instant) {
        self.slide(now);
        if self.calls.len() == self.calls_max {
            self.forget_oldest();
        }
        self.calls.push_back(Call {
            at: now,
            failed,
            slow,
        });
        self.counts.calls += 1;
        self.counts.failed += u32::from(failed);
        self.counts.slow += u32::from(slow);
    }

    /// A call that was counted as a success turned out to be a failure: the latest, or one that has left already.
    pub(super) fn amend_failed(&mut self, now: Instant) {
        self.slide(now);
        match self.calls.iter_mut().rev().find(|call| !call.failed) {
            Some(call) => {
                call.failed = true;
                self.counts.failed += 1;
            }
            None => self.record(true, false, now),
        }
    }

    pub(super) fn counts(&mut self, now: Instant) -> Counts {
        self.slide(now);
        self.counts
    }

    fn slide(&mut self, now: Instant) {
        let has_left = |call: &Call| now.saturating_duration_since(call.at) >= self.window;
        let left = self.calls.iter().take_while(|call| has_left(call)).count();
        for _ in 0..left {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(call) = self.calls.pop_front() {
            self.counts.calls -= 1;
            self.counts.failed -= u32::from(call.failed);
            self.counts.slow -= u32::from(call.slow);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_leave_after_the_window() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut window = Window::new(Duration::from_secs(1), 50);
        window.record(true, false, at(0));
        window.record(false, true, at(550));
        for (name, millis, calls, failed, slow) in [
            ("both inside", 900, 2, 1, 1),
            ("the first has left", 1_000, 1, 0, 1),
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
        let mut window = Window::new(Duration::from_secs(1), 50);
        window.record(true, true, start + Duration::from_millis(500));
        window.record(true, true, start);
        assert_eq!(window.counts(start).calls, 2);
    }

    #[test]
    fn only_the_latest_calls_count_however_many_there_were() {
        let start = Instant::now();
        let mut window = Window::new(Duration::from_secs(30), 4);
        for _ in 0..1000 {
            window.record(false, false, start);
        }
        for want in [1, 2, 3, 4, 4] {
            window.record(true, true, start);
            let counts = window.counts(start);
            assert_eq!((counts.calls, counts.failed, counts.slow), (4, want, want));
        }
    }

    #[test]
    fn an_amended_call_is_not_counted_twice() {
        let start = Instant::now();
        let mut window = Window::new(Duration::from_secs(1), 50);
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
