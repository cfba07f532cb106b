//! Backoff: how long to wait before the next attempt. The only file that knows the `backoff` crate.
//!
//! Full jitter: a delay is drawn evenly between zero and an edge that doubles from `backoff_min` to `backoff_max`, so
//! that many fetches that failed together do not come back together.

use std::{fmt, time::Duration};

use backoff::{ExponentialBackoff, backoff::Backoff as _};

use crate::{chance, config::RetryConfig};

/// A source of growing delays.
pub trait Delays: fmt::Debug + Send {
    /// The delay before the next attempt.
    fn next_delay(&mut self) -> Duration;
}

/// Delays between zero and a doubling edge.
#[derive(Clone, Debug)]
pub struct FullJitter {
    edges: ExponentialBackoff,
    edge_max: Duration,
}

impl FullJitter {
    /// Edges from `backoff_min`, doubled each time, to `backoff_max`.
    pub fn new(config: &RetryConfig) -> Self {
        let edge_min = config.backoff_min.min(config.backoff_max);
        let edges = ExponentialBackoff {
            current_interval: edge_min,
            initial_interval: edge_min,
            // Drawn here, so that it can be repeated.
            randomization_factor: 0.0,
            multiplier: 2.0,
            max_interval: config.backoff_max,
            // Its clock is not tokio's, and the deadline already ends the fetch.
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        Self {
            edges,
            edge_max: config.backoff_max,
        }
    }
}

impl Delays for FullJitter {
    fn next_delay(&mut self) -> Duration {
        let edge = self.edges.next_backoff().unwrap_or(self.edge_max);
        edge.min(self.edge_max).mul_f64(chance::fraction())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn retry(min_millis: u64, max_millis: u64) -> RetryConfig {
        RetryConfig {
            retries_max: 9,
            retries_max_stale: 9,
            backoff_min: Duration::from_millis(min_millis),
            backoff_max: Duration::from_millis(max_millis),
            ..crate::upstream::client_config(&["http://v"]).retry
        }
    }

    proptest! {
        #[test]
        fn a_delay_lies_between_zero_and_its_edge(min in 0u64..500, max in 0u64..2_000) {
            let mut delays = FullJitter::new(&retry(min, max));
            let mut edge = min.min(max);
            for _ in 0..12 {
                let delay = delays.next_delay();
                prop_assert!(delay <= Duration::from_millis(edge) + Duration::from_nanos(2));
                prop_assert!(delay <= Duration::from_millis(max));
                edge = (edge * 2).min(max);
            }
        }
    }

    #[test]
    fn delays_spread_over_the_whole_interval() {
        let drawn: Vec<_> = (0..400)
            .map(|_| FullJitter::new(&retry(100, 1_000)).next_delay())
            .collect();
        assert!(drawn.iter().any(|delay| *delay < Duration::from_millis(25)));
        assert!(drawn.iter().any(|delay| *delay > Duration::from_millis(75)));
    }
}
