//! Latencies: how long the attempts of one route take, over a sliding window of time, bounded in number.
//!
//! Pure: `now` is an argument. Exact: percentiles are those of the latencies that are kept, by nearest rank.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// The latest latencies. At most `samples_max`; of more, the oldest makes room.
#[derive(Clone, Debug)]
pub struct Latencies {
    window: Duration,
    samples_max: usize,
    /// When each was seen, and what it was; the oldest first.
    samples: VecDeque<(Instant, Duration)>,
}

impl Latencies {
    /// Nothing known yet; what is older than `window` is forgotten.
    pub fn new(window: Duration, samples_max: usize) -> Self {
        Self {
            window,
            samples_max: samples_max.max(1),
            samples: VecDeque::new(),
        }
    }

    /// An attempt that ended now took this long.
    pub fn record(&mut self, now: Instant, latency: Duration) {
        self.forget(now);
        if self.samples.len() >= self.samples_max {
            self.samples.pop_front();
        }
        self.samples.push_back((now, latency));
    }

    /// The smallest latency that `percent` of those in the window do not exceed; `None` where there are fewer than `samples_min`.
    pub fn percentile(
        &mut self,
        now: Instant,
        percent: u32,
        samples_min: usize,
    ) -> Option<Duration> {
        self.forget(now);
        let len = self.samples.len();
        if len < samples_min.max(1) {
            return None;
        }
        let rank = (len * percent.min(100) as usize).div_ceil(100).max(1);
        let mut latencies: Vec<_> = self.samples.iter().map(|(_, latency)| *latency).collect();
        let (_, latency, _) = latencies.select_nth_unstable(rank - 1);
        Some(*latency)
    }

    fn forget(&mut self, now: Instant) {
        let is_old =
            |(seen, _): &(Instant, Duration)| now.saturating_duration_since(*seen) >= self.window;
        while self.samples.front().is_some_and(is_old) {
            self.samples.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_percentile_is_that_of_the_latest_in_the_window() {
        let start = Instant::now();
        let hundred: Vec<_> = (1..=100).map(|ms| (0, ms)).collect();
        for (name, seen, asked_at, percent, want_ms) in [
            ("nothing is known", vec![], 0, 95, None),
            ("too few are known", vec![(0, 5), (0, 7)], 0, 95, None),
            ("enough are", vec![(0, 5), (0, 7), (0, 6)], 0, 95, Some(7)),
            (
                "the middle of three",
                vec![(0, 5), (0, 7), (0, 6)],
                0,
                50,
                Some(6),
            ),
            ("of a hundred", hundred.clone(), 0, 95, Some(95)),
            ("of a hundred, the last but one", hundred, 0, 99, Some(99)),
            (
                "what is old does not count",
                vec![(0, 900), (8, 5), (8, 7), (8, 6)],
                10,
                95,
                Some(7),
            ),
            (
                "too few are young",
                vec![(0, 5), (0, 7), (8, 6)],
                10,
                95,
                None,
            ),
        ] {
            let mut latencies = Latencies::new(10 * SECOND, 1_000);
            for (at, ms) in seen {
                latencies.record(start + at * SECOND, Duration::from_millis(ms));
            }
            let got = latencies.percentile(start + asked_at * SECOND, percent, 3);
            assert_eq!(got, want_ms.map(Duration::from_millis), "{name}");
        }
    }

    proptest! {
        #[test]
        fn it_is_what_sorting_says(
            seen in proptest::collection::vec((0_u64..400, 0_u64..5_000), 1..120),
            samples_max in 1_usize..60,
            percent in 1_u32..=100,
            window_ms in 1_u64..4_000,
        ) {
            let (window, mut now) = (Duration::from_millis(window_ms), Instant::now());
            let mut latencies = Latencies::new(window, samples_max);
            let mut log = Vec::new();
            for (gap_ms, latency_ms) in seen {
                now += Duration::from_millis(gap_ms);
                latencies.record(now, Duration::from_millis(latency_ms));
                log.push((now, latency_ms));
                let latest = log.iter().rev().take(samples_max);
                let mut young: Vec<_> = latest
                    .filter(|(at, _)| now < *at + window)
                    .map(|(_, ms)| *ms)
                    .collect();
                young.sort_unstable();
                let rank = (young.len() * percent as usize).div_ceil(100).max(1);
                let want = young[rank - 1];
                let got = latencies.percentile(now, percent, 1);
                prop_assert_eq!(got, Some(Duration::from_millis(want)));
                prop_assert!(latencies.samples.len() <= samples_max);
            }
        }
    }
}
