//! The breaker's state machine: pure, times and chance are arguments.
//!
//! ```text
//!           failure rate, slow rate, run of failures; by hand
//!   Closed ───────────────────────────────────────────────────▶ Open
//!      ▲                                                         │ rest is over, and somebody asks
//!      │ enough of `probe_calls` probes are good; by hand        ▼
//!      └────────────────────────────────────────────────────── HalfOpen ── too many are not ──▶ Open
//!
//!   any ── by hand ──▶ Isolated ── by hand alone ──▶ Closed or Open
//! ```
//!
//! A rest is `open_for` at first and grows evenly with the length of the outage, to `open_for_max` after
//! `open_for_max_after`; each is shortened by up to a fifth by chance, and prolonged to what the upstream asked for
//! (`Retry-After`). Departure: `DESIGN.md` has it grow by half to 10 s. Six failed probes, six seconds into an outage, made
//! that a rest of 4 s, and a minute made it 10 s: answers were stale for that long after the upstream was well again. A
//! probe is one request behind a stale answer, so one every 0.7 s, after minutes one every 3 s, is rest enough. It is
//! counted from the probe that failed, so that one that hung until it was given up has rested meanwhile.
//!
//! # Invariants
//!
//! - Never more than `probes` probes in flight, those of an earlier half-open phase included.
//! - What a call admitted in an earlier phase comes back with decides nothing in a later one; only its wish to be left
//!   alone (`Retry-After`) is heard while open.
//! - A refused call changes nothing.
//! - Open admits nothing before its rest is over, isolated nothing at all; after a rest, and with a probe slot free, there
//!   is always a way to a probe.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    change::{Action, BreakerChange, Phase, Reason},
    trial::{Trial, Verdict},
    window::{Counts, Window},
};
use crate::{config::BreakerConfig, resilience::moved_on};

/// A jittered rest is at most this much shorter than its edge, in per cent.
const JITTER_PERCENT: f64 = 20.0;

/// What a call came back with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer.
    Success {
        /// It took longer than the latency budget.
        slow: bool,
    },
    /// The upstream failed.
    Failure {
        /// It hung, or took longer than the latency budget.
        slow: bool,
        /// Whether it counts for the run of failures: a 429 says "slower", not "down".
        run: bool,
        /// How long the upstream asks us to stay away; capped by the caller.
        retry_after: Option<Duration>,
    },
    /// Given up before its end: nothing was learnt about the upstream.
    Unknown,
    /// It never got as far as the upstream.
    NotAsked,
}

/// Leave to make one call. Must come back through [`BreakerState::finish`], whatever happens.
#[derive(Debug)]
#[must_use = "a probe slot is only freed by finish()"]
pub struct Ticket {
    generation: Generation,
    kind: Kind,
}

/// The phase a ticket is from: grows with every change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Call,
    /// A probe that went before any was good.
    FirstProbe,
    Probe,
}

impl Ticket {
    /// For [`BreakerState::body_broke`].
    pub fn generation(&self) -> Generation {
        self.generation
    }
}

/// Why a call may not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The rest of the open time; `None` while probes or people decide, because that has no known end.
    pub retry_after: Option<Duration>,
}

/// The breaker at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSnapshot {
    /// Its phase; an open one whose rest is over is still open until somebody asks.
    pub phase: Phase,
    /// When it came to that.
    pub since: Instant,
    /// Why.
    pub reason: Reason,
    /// Calls in the window.
    pub counts: Counts,
    /// Failures in a row.
    pub run: u32,
    /// Rest of the open time.
    pub rest: Option<Duration>,
    /// Probes under way.
    pub probes_in_flight: u32,
    /// Changes so far to each phase, by [`Phase::index`].
    pub transitions: [u64; Phase::ALL.len()],
}

enum State {
    Closed,
    Open { until: Instant },
    HalfOpen(Trial),
    Isolated,
}

/// The breaker of one upstream or route.
pub struct BreakerState {
    config: BreakerConfig,
    state: State,
    generation: Generation,
    window: Window,
    run: u32,
    /// Of this half-open phase and of earlier ones.
    probes_in_flight: u32,
    /// When it opened first without a recovery since.
    outage_began: Option<Instant>,
    /// Until when the upstream asked to be left alone; an answer since then takes it back.
    asked_until: Option<Instant>,
    since: Instant,
    reason: Reason,
    transitions: [u64; Phase::ALL.len()],
}

impl BreakerState {
    /// Closed, nothing counted.
    pub fn new(config: BreakerConfig, now: Instant) -> Self {
        Self {
            config,
            state: State::Closed,
            generation: Generation(0),
            window: window(&config),
            run: 0,
            probes_in_flight: 0,
            outage_began: None,
            asked_until: None,
            since: now,
            reason: Reason::Start,
            transitions: [0; Phase::ALL.len()],
        }
    }

    /// Whether a call would be refused now.
    pub fn refusal(&self, now: Instant) -> Option<Refused> {
        let unknown_end = Some(Refused { retry_after: None });
        match &self.state {
            State::Closed => None,
            State::Isolated => unknown_end,
            State::Open { until } if now < *until => Some(Refused {
                retry_after: Some(*until - now),
            }),
            State::HalfOpen(trial) if !trial.is_due(now) || self.is_asked_to_wait(now) => {
                unknown_end
            }
            State::Open { .. } | State::HalfOpen(_) => {
                let is_full = self.probes_in_flight >= self.config.probes.max(1);
                unknown_end.filter(|_| is_full)
            }
        }
    }

    /// Asks for leave to make a call. The first one after the rest half-opens the breaker.
    pub fn try_admit(&mut self, now: Instant) -> (Result<Ticket, Refused>, Option<BreakerChange>) {
        if let Some(refused) = self.refusal(now) {
            return (Err(refused), None);
        }
        let mut change = None;
        if let State::Open { .. } = self.state {
            self.enter(State::HalfOpen(Trial::new(now)), Reason::RestOver, now);
            change = Some(BreakerChange::HalfOpened);
        }
        let spacing = self.edge(now);
        let mut kind = Kind::Call;
        if let State::HalfOpen(trial) = &mut self.state {
            kind = match trial.is_proven() {
                true => Kind::Probe,
                false => Kind::FirstProbe,
            };
            trial.probe(spacing, now);
            self.probes_in_flight += 1;
        }
        let ticket = Ticket {
            generation: self.generation,
            kind,
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
        if ticket.kind != Kind::Call {
            self.probes_in_flight = self.probes_in_flight.saturating_sub(1);
        }
        if ticket.generation != self.generation {
            self.heed_late(outcome, now);
            return None;
        }
        match &mut self.state {
            // A ticket of this generation is only held while closed or half-open.
            State::Open { .. } | State::Isolated => None,
            State::Closed => self.count(outcome, now, jitter),
            // It went before the one that was good: older news.
            State::HalfOpen(trial) if ticket.kind == Kind::FirstProbe && trial.is_proven() => None,
            State::HalfOpen(trial) => {
                match outcome {
                    Outcome::Unknown => return None,
                    Outcome::NotAsked => {
                        trial.not_asked(now);
                        return None;
                    }
                    Outcome::Success { slow: false } => {
                        trial.succeeded(now);
                        self.asked_until = None;
                    }
                    Outcome::Success { slow: true } => trial.failed(),
                    Outcome::Failure { retry_after, .. } => {
                        trial.failed();
                        self.heed(retry_after, now);
                    }
                }
                self.judge(now, jitter)
            }
        }
    }

    /// A response that was counted as a success at its head broke off in its body. One good probe less, whichever it was.
    pub fn body_broke(
        &mut self,
        admitted_in: Generation,
        now: Instant,
        jitter: f64,
    ) -> Option<BreakerChange> {
        if admitted_in != self.generation {
            return None;
        }
        match &mut self.state {
            State::Open { .. } | State::Isolated => None,
            State::HalfOpen(trial) => {
                trial.revoke();
                self.judge(now, jitter)
            }
            State::Closed => {
                self.window.amend_failed(now);
                self.run = self.run.saturating_add(1);
                let reason = self.reason_to_open(now)?;
                Some(self.open(reason, now, now, jitter))
            }
        }
    }

    /// Does what somebody wants. `None`: it is so already.
    pub fn order(&mut self, action: Action, now: Instant, jitter: f64) -> Option<BreakerChange> {
        match (action, &self.state) {
            (Action::Isolate, State::Isolated) => None,
            (Action::Isolate, _) => {
                self.outage_began.get_or_insert(now);
                self.enter(State::Isolated, Reason::Manual, now);
                Some(BreakerChange::Isolated)
            }
            (Action::Open, _) => Some(self.open(Reason::Manual, now, now, jitter)),
            (Action::Close, State::Closed) => {
                self.forget();
                None
            }
            (Action::Close, _) => Some(self.close(Reason::Manual, now)),
        }
    }

    /// How often it has closed after it had opened.
    pub fn recoveries(&self) -> u64 {
        self.transitions[Phase::Closed.index()]
    }

    /// Its phase; an open one whose rest is over is still open until somebody asks.
    pub fn phase(&self) -> Phase {
        self.state.phase()
    }

    /// The state now.
    pub fn snapshot(&self, now: Instant) -> BreakerSnapshot {
        BreakerSnapshot {
            phase: self.phase(),
            since: self.since,
            reason: self.reason,
            counts: self.window.clone().counts(now),
            run: self.run,
            rest: match self.state {
                State::Open { until } => Some(until.saturating_duration_since(now)),
                _ => None,
            },
            probes_in_flight: self.probes_in_flight,
            transitions: self.transitions,
        }
    }

    /// Counts a call that was admitted while closed.
    fn count(&mut self, outcome: Outcome, now: Instant, jitter: f64) -> Option<BreakerChange> {
        let (failed, slow) = match outcome {
            Outcome::Unknown | Outcome::NotAsked => return None,
            Outcome::Success { slow } => {
                self.run = 0;
                self.asked_until = None;
                (false, slow)
            }
            Outcome::Failure {
                slow,
                run,
                retry_after,
            } => {
                self.run = self.run.saturating_add(u32::from(run));
                self.heed(retry_after, now);
                (true, slow)
            }
        };
        self.window.record(failed, slow, now);
        let reason = self.reason_to_open(now)?;
        Some(self.open(reason, now, now, jitter))
    }

    fn reason_to_open(&mut self, now: Instant) -> Option<Reason> {
        if !self.config.enabled {
            return None;
        }
        if self.run >= self.config.consecutive_failures.max(1) {
            return Some(Reason::Run { failures: self.run });
        }
        let Counts {
            calls,
            failed,
            slow,
        } = self.window.counts(now);
        if calls < self.config.min_calls.max(1) {
            return None;
        }
        let window = self.config.window;
        let reaches = |part: u32, percent: u32| {
            u64::from(part) * 100 >= u64::from(percent.max(1)) * u64::from(calls)
        };
        if reaches(failed, self.config.failure_percent) {
            Some(Reason::FailureRate {
                failed,
                calls,
                window,
            })
        } else if reaches(slow, self.config.slow_percent) {
            Some(Reason::SlowRate {
                slow,
                calls,
                window,
            })
        } else {
            None
        }
    }

    /// What the probes so far come to.
    fn judge(&mut self, now: Instant, jitter: f64) -> Option<BreakerChange> {
        let State::HalfOpen(trial) = self.state else {
            return None;
        };
        let (good, bad, results) = (trial.good, trial.bad, trial.results());
        match trial.verdict(&self.config) {
            Verdict::Undecided => None,
            Verdict::Recovered => Some(self.close(Reason::Recovered { good, results }, now)),
            Verdict::Sick => {
                let reason = Reason::Probes { bad, results };
                Some(self.open(reason, trial.last_probe_at, now, jitter))
            }
        }
    }

    /// Upper edge of a rest that begins now.
    fn edge(&self, now: Instant) -> Duration {
        let (first, longest) = (self.config.open_for, self.config.open_for_max);
        let whole = self.config.open_for_max_after;
        let outage = self
            .outage_began
            .map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
        if outage >= whole {
            return longest;
        }
        let share = outage.as_secs_f64() / whole.as_secs_f64();
        first.min(longest) + longest.saturating_sub(first).mul_f64(share)
    }

    /// Opens for a rest that began at `from`.
    fn open(&mut self, reason: Reason, from: Instant, now: Instant, jitter: f64) -> BreakerChange {
        self.outage_began.get_or_insert(now);
        let share = 1.0 - JITTER_PERCENT / 100.0 * jitter.clamp(0.0, 1.0);
        let rested = moved_on(from, self.edge(now).mul_f64(share));
        let until = self
            .asked_until
            .map_or(rested, |asked| asked.max(rested))
            .max(now);
        self.enter(State::Open { until }, reason, now);
        BreakerChange::Opened {
            reason,
            rest: until - now,
        }
    }

    fn close(&mut self, reason: Reason, now: Instant) -> BreakerChange {
        self.enter(State::Closed, reason, now);
        self.forget();
        BreakerChange::Closed { reason }
    }

    /// A clean slate; calls under way still count when they end.
    fn forget(&mut self) {
        self.window = window(&self.config);
        self.run = 0;
        self.outage_began = None;
        self.asked_until = None;
    }

    fn enter(&mut self, state: State, reason: Reason, now: Instant) {
        self.state = state;
        self.generation.0 += 1;
        self.since = now;
        self.reason = reason;
        let count = &mut self.transitions[self.phase().index()];
        *count = count.saturating_add(1);
    }

    fn is_asked_to_wait(&self, now: Instant) -> bool {
        self.asked_until.is_some_and(|asked| now < asked)
    }

    /// The upstream asks to be left alone: heard when it opens, and by the next probe.
    fn heed(&mut self, retry_after: Option<Duration>, now: Instant) {
        if let Some(asked) = retry_after {
            let until = moved_on(now, asked);
            self.asked_until = Some(self.asked_until.map_or(until, |known| known.max(until)));
        }
    }

    /// A call of an earlier phase comes back while open and asks for more rest than was planned.
    fn heed_late(&mut self, outcome: Outcome, now: Instant) {
        if let Outcome::Failure { retry_after, .. } = outcome
            && let State::Open { .. } = self.state
        {
            self.heed(retry_after, now);
            if let (State::Open { until }, Some(asked)) = (&mut self.state, self.asked_until) {
                *until = (*until).max(asked);
            }
        }
    }
}

impl State {
    fn phase(&self) -> Phase {
        match self {
            Self::Closed => Phase::Closed,
            Self::Open { .. } => Phase::Open,
            Self::HalfOpen(_) => Phase::HalfOpen,
            Self::Isolated => Phase::Isolated,
        }
    }
}

/// Nothing counted.
fn window(config: &BreakerConfig) -> Window {
    Window::new(config.window, config.window_calls.max(config.min_calls))
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "props.rs"]
mod props;
