//! AIMD: additive increase, multiplicative decrease, as TCP has it. Pure: `now` is an argument.
//!
//! A whole flight of answers in time adds one to the limit, if it is in use. One that is late (`latency_max`), that says
//! "too much" or that never comes takes a share of it away, once per flight. Simple and quick to react; the latency that is
//! too much has to be known.

use tokio::time::Instant;

use super::limit::{Level, Outcome, Sample};
use crate::config::AdaptiveConfig;

/// The state of one limit.
#[derive(Clone, Debug)]
pub struct Aimd {
    config: AdaptiveConfig,
    level: Level,
}

impl Aimd {
    pub(super) fn new(config: &AdaptiveConfig, in_flight_max: usize) -> Self {
        Self {
            config: *config,
            level: Level::new(config.in_flight_min, in_flight_max),
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.level.at() as usize
    }

    pub(super) fn on_sample(&mut self, sample: &Sample, now: Instant) {
        match sample.outcome {
            Outcome::Unknown => {}
            Outcome::Answered if sample.latency <= self.config.latency_max => {
                if self.level.is_used_by(sample.in_flight) {
                    self.level.set(self.level.at() + 1.0 / self.level.at());
                }
            }
            Outcome::Answered | Outcome::Overloaded => {
                self.level
                    .back_off(self.config.backoff_percent, sample, now);
            }
        }
    }
}
