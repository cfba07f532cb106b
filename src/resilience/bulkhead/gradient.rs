//! Gradient: a limit that follows the ratio of the latency without a queue to the latency now. Pure: `now` is an argument.
//!
//! Samples are taken together in windows; a window's latency is its median, which single slow answers do not move. The
//! limit goes towards `limit * gradient + sqrt(limit)`: as long as latency is what it is without a queue (and a tolerance
//! above it), the second part, the headroom, raises it; once requests queue, the first part lowers it to about the
//! capacity.
//!
//! What the latency is without a queue is measured: every `measure_every` the limit is halved for a window, and again as
//! long as that makes answers quicker. The outcome replaces what was known, so that neither a lucky value nor one of an
//! upstream that was sick stays for good. A quicker window is believed at once; a limit that lies on its floor is reason to
//! measure at once.

use std::time::Duration;

use tokio::time::Instant;

use super::limit::{Level, Outcome, Sample};
use crate::{config::AdaptiveConfig, resilience::moved_on};

/// Samples that make a window …
const WINDOW_SAMPLES: usize = 10;
/// … and the time they have to cover. Of more samples the latest are kept.
const WINDOW_MIN: Duration = Duration::from_millis(100);
const KEPT_SAMPLES: usize = 64;
/// A window that takes longer begins anew: what it holds is history.
const WINDOW_MAX: Duration = Duration::from_secs(10);
/// How far one window moves the limit towards its target.
const SMOOTHING: f64 = 0.2;
/// The least that a window may leave of the limit, before smoothing.
const GRADIENT_MIN: f64 = 0.5;
/// Halving the limit has to make answers quicker by this to be worth another halving.
const QUICKER: f64 = 0.9;
/// Windows on the floor until it is measured again.
const WINDOWS_ON_FLOOR: u32 = 5;

/// The state of one limit.
#[derive(Clone, Debug)]
pub struct Gradient {
    config: AdaptiveConfig,
    level: Level,
    /// Latency without a queue.
    unloaded: Option<Duration>,
    measured_at: Instant,
    measuring: Option<Measuring>,
    windows_on_floor: u32,
    window: Window,
}

/// While latency without a queue is measured.
#[derive(Clone, Copy, Debug)]
struct Measuring {
    limit: f64,
    best: Option<Duration>,
    /// Only what began since is measured.
    since: Instant,
}

#[derive(Clone, Debug)]
struct Window {
    began: Instant,
    latencies: Vec<Duration>,
    seen: usize,
    in_flight: usize,
}

impl Gradient {
    pub(super) fn new(config: &AdaptiveConfig, in_flight_max: usize, now: Instant) -> Self {
        let level = Level::new(config.in_flight_min, in_flight_max);
        Self {
            config: *config,
            unloaded: None,
            measured_at: now,
            measuring: Some(Measuring {
                limit: level.at(),
                best: None,
                since: now,
            }),
            windows_on_floor: 0,
            window: Window::new(now),
            level,
        }
    }

    pub(super) fn limit(&self) -> usize {
        let at = self.level.at();
        let limit = self
            .measuring
            .map_or(at, |measuring| measuring.limit.min(at));
        limit.max(self.level.min()) as usize
    }

    pub(super) fn on_sample(&mut self, sample: &Sample, now: Instant) {
        match sample.outcome {
            Outcome::Unknown => return,
            Outcome::Overloaded => {
                self.level
                    .back_off(self.config.backoff_percent, sample, now);
                return;
            }
            Outcome::Answered => {}
        }
        // What began under another limit does not say what this one does.
        let since = self.measuring.map(|measuring| measuring.since);
        let began = now.checked_sub(sample.latency);
        if since.is_some_and(|since| began.is_none_or(|began| began < since)) {
            return;
        }
        if now > moved_on(self.window.began, WINDOW_MAX) {
            self.window = Window::new(now);
        }
        self.window.add(sample);
        if self.window.seen >= WINDOW_SAMPLES && now >= moved_on(self.window.began, WINDOW_MIN) {
            let (latency, in_flight) = (self.window.median(), self.window.in_flight);
            self.window = Window::new(now);
            self.end_window(latency, in_flight, now);
        }
    }

    fn end_window(&mut self, latency: Duration, in_flight: usize, now: Instant) {
        if let Some(measuring) = self.measuring {
            self.measure(measuring, latency, now);
            return;
        }
        let unloaded = self.unloaded.map_or(latency, |known| known.min(latency));
        self.unloaded = Some(unloaded);
        let tolerated = unloaded.as_secs_f64() * f64::from(self.config.tolerance_percent) / 100.0;
        // The smallest latency there is keeps the quotient a number.
        let ratio = tolerated / latency.as_secs_f64().max(1e-9);
        let at = self.level.at();
        let target = at * ratio.clamp(GRADIENT_MIN, 1.0) + at.sqrt();
        let next = at + SMOOTHING * (target - at);
        if next < at || self.level.is_used_by(in_flight) {
            self.level.set(next);
        }
        self.windows_on_floor = match self.level.at() <= self.level.min() {
            true => self.windows_on_floor + 1,
            false => 0,
        };
        if self.windows_on_floor >= WINDOWS_ON_FLOOR
            || now >= moved_on(self.measured_at, self.config.measure_every)
        {
            self.measure_below(self.level.at(), None, now);
        }
    }

    /// A window at a lowered limit has ended.
    fn measure(&mut self, measuring: Measuring, latency: Duration, now: Instant) {
        let is_quicker = measuring
            .best
            .is_none_or(|best| latency.as_secs_f64() < best.as_secs_f64() * QUICKER);
        if is_quicker && measuring.limit > self.level.min() {
            self.measure_below(measuring.limit, Some(latency), now);
            return;
        }
        self.unloaded = Some(measuring.best.map_or(latency, |best| best.min(latency)));
        self.measuring = None;
        self.measured_at = now;
        self.windows_on_floor = 0;
    }

    fn measure_below(&mut self, limit: f64, best: Option<Duration>, now: Instant) {
        self.measuring = Some(Measuring {
            limit: (limit / 2.0).max(self.level.min()),
            best,
            since: now,
        });
        self.window = Window::new(now);
    }
}

impl Window {
    fn new(began: Instant) -> Self {
        Self {
            began,
            latencies: Vec::new(),
            seen: 0,
            in_flight: 0,
        }
    }

    fn add(&mut self, sample: &Sample) {
        if self.latencies.len() < KEPT_SAMPLES {
            self.latencies.push(sample.latency);
        } else {
            self.latencies[self.seen % KEPT_SAMPLES] = sample.latency;
        }
        self.seen += 1;
        self.in_flight = self.in_flight.max(sample.in_flight);
    }

    fn median(&mut self) -> Duration {
        let middle = self.latencies.len() / 2;
        match self.latencies.is_empty() {
            true => Duration::ZERO,
            false => *self.latencies.select_nth_unstable(middle).1,
        }
    }
}
