//! Limit: how many requests may be with an upstream at once, fixed or found out. Pure: `now` is an argument.
//!
//! An upstream tells its capacity by its latency: beyond it requests queue there (Little's law), so that more of them in
//! flight are not more answers. Two ways to find it, the names those of Netflix' concurrency-limits: [`Gradient`] compares
//! latency with what it is without a queue; [`Aimd`] adds slowly and takes away quickly, by a threshold.
//!
//! # Invariants
//!
//! - The limit is never below the floor (`in_flight_min`) and never above the cap (`in_flight_max`).
//! - Only an answer raises it, and only where the limit is in use: neither idle time nor a failure that came quickly.
//! - One flight of requests that fail together lowers it once.

use std::time::Duration;

use tokio::time::Instant;

use super::{aimd::Aimd, gradient::Gradient};
use crate::config::{AdaptiveConfig, LimitAlgorithm};

/// Of the limit that is in use.
const IN_USE: f64 = 0.5;

/// How a request ended, as far as it says something about capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered: its latency counts.
    Answered,
    /// Too much for the upstream, in its own words (429, 503) or by its silence (a timeout).
    Overloaded,
    /// Anything else: given up, or an error, which comes quickly whatever the load is.
    Unknown,
}

/// One request that ended.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// From its start to its answer.
    pub latency: Duration,
    /// Requests in flight when it started, itself included.
    pub in_flight: usize,
    /// How it ended.
    pub outcome: Outcome,
}

/// The limit of one upstream.
#[derive(Clone, Debug)]
pub enum Limiter {
    /// As the config says.
    Fixed(usize),
    /// By the gradient of latency.
    Gradient(Gradient),
    /// By additive increase and multiplicative decrease.
    Aimd(Aimd),
}

impl Limiter {
    /// At most `in_flight_max`, and that where nothing is said of adapting.
    pub fn new(in_flight_max: usize, adaptive: Option<&AdaptiveConfig>, now: Instant) -> Self {
        let in_flight_max = in_flight_max.max(1);
        let Some(config) = adaptive else {
            return Self::Fixed(in_flight_max);
        };
        match config.algorithm {
            LimitAlgorithm::Gradient => Self::Gradient(Gradient::new(config, in_flight_max, now)),
            LimitAlgorithm::Aimd => Self::Aimd(Aimd::new(config, in_flight_max)),
        }
    }

    /// How many may be in flight now.
    pub fn limit(&self) -> usize {
        match self {
            Self::Fixed(limit) => *limit,
            Self::Gradient(gradient) => gradient.limit(),
            Self::Aimd(aimd) => aimd.limit(),
        }
    }

    /// A request ended.
    pub fn on_sample(&mut self, sample: &Sample, now: Instant) {
        match self {
            Self::Fixed(_) => {}
            Self::Gradient(gradient) => gradient.on_sample(sample, now),
            Self::Aimd(aimd) => aimd.on_sample(sample, now),
        }
    }
}

/// How much of `limit` a class that may use `percent` of it may find in flight and add to; never nothing.
pub fn room(limit: usize, percent: u32) -> usize {
    let room = limit as u128 * u128::from(percent.min(100)) / 100;
    usize::try_from(room).unwrap_or(limit).max(1)
}

// --- Level ---

/// A limit between its bounds, in fractions of a request, and when it was last taken back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    at: f64,
    min: f64,
    max: f64,
    backed_off_at: Option<Instant>,
}

/// Where a limit starts: enough for a page, little enough for most vendors.
const START: usize = 20;

impl Level {
    pub(super) fn new(in_flight_min: usize, in_flight_max: usize) -> Self {
        let min = in_flight_min.clamp(1, in_flight_max);
        Self {
            at: START.clamp(min, in_flight_max) as f64,
            min: min as f64,
            max: in_flight_max as f64,
            backed_off_at: None,
        }
    }

    pub(super) fn at(&self) -> f64 {
        self.at
    }

    pub(super) fn min(&self) -> f64 {
        self.min
    }

    pub(super) fn set(&mut self, at: f64) {
        self.at = at.clamp(self.min, self.max);
    }

    /// Whether so many in flight are a use of the limit.
    pub(super) fn is_used_by(&self, in_flight: usize) -> bool {
        in_flight as f64 >= self.at * IN_USE
    }

    /// Lowers the limit to `percent` of it, unless the request began before it was lowered last: that is the same overload.
    pub(super) fn back_off(&mut self, percent: u32, sample: &Sample, now: Instant) -> bool {
        // Before the clock's own beginning is before everything.
        let began = now.checked_sub(sample.latency);
        let is_known = self
            .backed_off_at
            .is_some_and(|at| began.is_none_or(|began| began <= at));
        if !is_known {
            self.backed_off_at = Some(now);
            self.set(self.at * f64::from(percent.min(100)) / 100.0);
        }
        !is_known
    }
}

#[cfg(test)]
#[path = "limit_tests.rs"]
mod tests;
