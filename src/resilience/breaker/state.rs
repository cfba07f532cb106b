//! The breaker's state machine: pure, times and chance are arguments.
//!
//! ```text
//!            failure rate, slow rate or run of failures
//!   Closed ───────────────────────────────────────────▶ Open (rest, grows by half)
//!      ▲                                                │ rest is over
//!      │ `probes` successes                             ▼
//!      └──────────────────────────────────────────── HalfOpen ── one failed or slow probe ──▶ Open
//! ```
//!
//! # Invariants
//!
//! - Never more than `probes` probes in flight.
//! - What a call admitted in an earlier phase comes back with decides nothing in a later one; only its wish to be left
//!   alone (`Retry-After`) is heard while open.

use std::time::Duration;

use tokio::time::Instant;

use super::window::{Counts, Window};
use crate::{config::BreakerConfig, resilience::moved_on};

/// A jittered rest is at most this much shorter than its edge, in per cent.
const JITTER_PERCENT: f64 = 20.0;

/// What a call came back with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer after this long.
    Success {
        /// From admission to the head, or to the end of a body that was read whole.
        took: Duration,
    },
    /// The upstream failed.
    Failure {
        /// Likewise.
        took: Duration,
        /// Whether it counts for the run of failures: a 429 says "slower", not "down".
        run: bool,
        /// How long the upstream asks us to stay away; capped by the caller.
        retry_after: Option<Duration>,
    },
    /// Nothing was learnt about the upstream.
    Unknown,
}

/// Why the breaker opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenReason {
    /// `failure_percent` of the calls in the window failed.
    FailureRate,
    /// `slow_percent` of the calls in the window were slow.
    SlowRate,
    /// `consecutive_failures` in a row.
    Run,
    /// A probe failed or was slow.
    Probe,
}

/// A change of state, as told to whoever alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerChange {
    /// Nothing is asked for `rest`.
    Opened {
        /// Why.
        reason: OpenReason,
        /// For how long.
        rest: Duration,
    },
    /// The rest is over: probes are let through.
    HalfOpened,
    /// Recovered.
    Closed,
}

/// The name of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Calls pass.
    Closed,
    /// Calls are refused.
    Open,
    /// Probes pass.
    HalfOpen,
}

impl Phase {
    /// The word for it in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Leave to make one call. Must come back through [`BreakerState::finish`], whatever happens.
#[derive(Debug)]
#[must_use = "a probe slot is only freed by finish()"]
pub struct Ticket {
    generation: u64,
}

/// Why a call may not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The rest of the open time; `None` while probes decide, because that has no known end.
    pub retry_after: Option<Duration>,
}

/// The breaker at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSnapshot {
    /// Its phase; an open one whose rest is over is still open until somebody asks.
    pub phase: Phase,
    /// Calls in the window.
    pub counts: Counts,
    /// Failures in a row.
    pub run: u32,
    /// Rest of the open time.
    pub rest: Option<Duration>,
    /// Probes under way.
    pub probes_in_flight: u32,
}

enum State {
    Closed,
    Open { until: Instant },
    HalfOpen { in_flight: u32, successes: u32 },
}

/// One upstream's breaker.
pub struct BreakerState {
    config: BreakerConfig,
    state: State,
    /// Grows with every change of phase, so that tickets of an earlier one are known.
    generation: u64,
    window: Window,
    run: u32,
    /// Edge of the next rest.
    next_rest: Duration,
    /// How often it has closed after it had opened.
    recoveries: u64,
}

impl BreakerState {
    /// Closed, nothing counted.
    pub fn new(config: BreakerConfig, now: Instant) -> Self {
        Self {
            config,
            state: State::Closed,
            generation: 0,
            window: Window::new(config.window, now),
            run: 0,
            next_rest: config.open_for.min(config.open_for_max),
            recoveries: 0,
        }
    }

    /// Its phase; an open one whose rest is over is still open until somebody asks.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Closed => Phase::Closed,
            State::Open { .. } => Phase::Open,
            State::HalfOpen { .. } => Phase::HalfOpen,
        }
    }

    /// How often it has closed after it had opened.
    pub fn recoveries(&self) -> u64 {
        self.recoveries
    }

    /// Asks for leave to make a call. The first one after the rest half-opens the breaker.
    pub fn try_admit(&mut self, now: Instant) -> (Result<Ticket, Refused>, Option<BreakerChange>) {
        let mut change = None;
        if let State::Open { until } = self.state {
            if now < until {
                let retry_after = Some(until - now);
                return (Err(Refused { retry_after }), None);
            }
            self.enter(State::HalfOpen {
                in_flight: 0,
                successes: 0,
            });
            change = Some(BreakerChange::HalfOpened);
        }
        if let State::HalfOpen { in_flight, .. } = &mut self.state {
            if *in_flight >= self.config.probes.max(1) {
                return (Err(Refused { retry_after: None }), change);
            }
            *in_flight += 1;
        }
        let ticket = Ticket {
            generation: self.generation,
        };
        (Ok(ticket), change)
    }

    /// Takes a ticket back with what the call came back with. `jitter` is from 0 to 1.
    // The ticket is consumed on purpose: it counts once.
    #[allow(clippy::needless_pass_by_value)]
    pub fn finish(
        &mut self,
        ticket: Ticket,
        outcome: Outcome,
        now: Instant,
        jitter: f64,
    ) -> Option<BreakerChange> {
        if ticket.generation != self.generation {
            self.heed_late(outcome, now);
            return None;
        }
        match &mut self.state {
            // A ticket of this generation is only held while closed or half-open.
            State::Open { .. } => None,
            State::Closed => self.count(outcome, now, jitter),
            State::HalfOpen {
                in_flight,
                successes,
            } => {
                *in_flight = in_flight.saturating_sub(1);
                match outcome {
                    Outcome::Unknown => None,
                    Outcome::Success { took } if took < self.config.slow_after => {
                        *successes += 1;
                        let recovered = *successes >= self.config.probes.max(1);
                        recovered.then(|| self.close(now))
                    }
                    Outcome::Success { .. } => {
                        Some(self.open(OpenReason::Probe, None, now, jitter))
                    }
                    Outcome::Failure { retry_after, .. } => {
                        Some(self.open(OpenReason::Probe, retry_after, now, jitter))
                    }
                }
            }
        }
    }

    /// A response that was counted as a success at its head broke off in its body.
    pub fn body_broke(&mut self, now: Instant, jitter: f64) -> Option<BreakerChange> {
        match self.state {
            State::Open { .. } => None,
            State::HalfOpen { .. } => Some(self.open(OpenReason::Probe, None, now, jitter)),
            State::Closed => {
                self.window.amend_failed(now);
                self.run = self.run.saturating_add(1);
                let reason = self.reason_to_open(now)?;
                Some(self.open(reason, None, now, jitter))
            }
        }
    }

    /// The state now.
    pub fn snapshot(&self, now: Instant) -> BreakerSnapshot {
        let (phase, rest, probes_in_flight) = match self.state {
            State::Closed => (Phase::Closed, None, 0),
            State::Open { until } => {
                let rest = until.saturating_duration_since(now);
                (Phase::Open, Some(rest), 0)
            }
            State::HalfOpen { in_flight, .. } => (Phase::HalfOpen, None, in_flight),
        };
        BreakerSnapshot {
            phase,
            counts: self.window.clone().counts(now),
            run: self.run,
            rest,
            probes_in_flight,
        }
    }

    fn count(&mut self, outcome: Outcome, now: Instant, jitter: f64) -> Option<BreakerChange> {
        let (failed, took, asked) = match outcome {
            Outcome::Unknown => return None,
            Outcome::Success { took } => {
                self.run = 0;
                (false, took, None)
            }
            Outcome::Failure {
                took,
                run,
                retry_after,
            } => {
                self.run = self.run.saturating_add(u32::from(run));
                (true, took, retry_after)
            }
        };
        self.window
            .record(failed, took >= self.config.slow_after, now);
        let reason = self.reason_to_open(now)?;
        Some(self.open(reason, asked, now, jitter))
    }

    fn reason_to_open(&mut self, now: Instant) -> Option<OpenReason> {
        if self.run >= self.config.consecutive_failures.max(1) {
            return Some(OpenReason::Run);
        }
        let counts = self.window.counts(now);
        if counts.calls < self.config.min_calls.max(1) {
            return None;
        }
        let reaches = |part: u32, percent: u32| {
            u64::from(part) * 100 >= u64::from(percent.max(1)) * u64::from(counts.calls)
        };
        if reaches(counts.failed, self.config.failure_percent) {
            Some(OpenReason::FailureRate)
        } else if reaches(counts.slow, self.config.slow_percent) {
            Some(OpenReason::SlowRate)
        } else {
            None
        }
    }

    fn open(
        &mut self,
        reason: OpenReason,
        asked: Option<Duration>,
        now: Instant,
        jitter: f64,
    ) -> BreakerChange {
        let share = 1.0 - JITTER_PERCENT / 100.0 * jitter.clamp(0.0, 1.0);
        let rest = self.next_rest.mul_f64(share).max(asked.unwrap_or_default());
        self.next_rest = self.next_rest.mul_f64(1.5).min(self.config.open_for_max);
        self.enter(State::Open {
            until: moved_on(now, rest),
        });
        BreakerChange::Opened { reason, rest }
    }

    fn close(&mut self, now: Instant) -> BreakerChange {
        self.enter(State::Closed);
        self.recoveries += 1;
        self.window = Window::new(self.config.window, now);
        self.run = 0;
        self.next_rest = self.config.open_for.min(self.config.open_for_max);
        BreakerChange::Closed
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
    }

    /// A call of an earlier phase comes back while open and asks for more rest than was planned.
    fn heed_late(&mut self, outcome: Outcome, now: Instant) {
        if let (
            State::Open { until },
            Outcome::Failure {
                retry_after: Some(asked),
                ..
            },
        ) = (&mut self.state, outcome)
        {
            *until = (*until).max(moved_on(now, asked));
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
