//! Ejection (passive outlier detection): an endpoint that keeps failing is left out of the choice for a growing time.
//!
//! One endpoint's state machine; pure: times and chance are arguments. Who may go at all is [`super::roster`]'s matter.
//!
//! - A failed connect ejects at once: nothing is served there, and being refused is so quick that it would look like
//!   little load. Other failures (no answer in time, a broken one, 5xx) eject after `consecutive_failures` in a row.
//! - Its time over, an endpoint is *returning*: one call at a time tries it. If that fails it is out for twice as long, up
//!   to `eject_for_max`; the first that succeeds lets it in. For every `eject_for_max` that it then stays well the next
//!   time is halved again.
//! - Where it may not go, because too few would be left, it is *kept*: in the choice, but no better than one that is out.
//!
//! # Invariants
//!
//! - Calls that were under way together fail together: what began before the last ejection says nothing about the time
//!   after it.
//! - An ejection ends by itself, at most `eject_for_max` after it began.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::EjectionConfig;

/// A jittered time is at most this share shorter than its edge, so that endpoints do not return all at once.
const JITTER: f64 = 0.2;
/// More doublings than any two durations are apart.
const STEPS_MAX: u32 = 30;

/// How one call went, as far as its endpoint is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It answered, whatever it said.
    Well,
    /// It has begun to answer; what becomes of the body is told later.
    Begun,
    /// No connection.
    Unreachable,
    /// No usable answer.
    Failed,
    /// Given up before anything could be learnt.
    Unknown,
}

/// What the owner of the upstream should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ejected {
    /// Out of the choice, for this long at first.
    Out {
        /// The first time.
        rest: Duration,
        /// No connection; otherwise too many failures in a row.
        unreachable: bool,
    },
    /// It answered again.
    Returned,
}

/// Leave for one call. Comes back through [`Standing::finish`], whatever happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    epoch: u64,
    trial: bool,
}

/// Where an endpoint stands at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// In the choice.
    In,
    /// In the choice only because too few would be left.
    Kept {
        /// When it would have been back.
        until: Instant,
    },
    /// Out of the choice.
    Out {
        /// When it is tried again.
        until: Instant,
    },
    /// Tried by one call at a time.
    Returning {
        /// That call is under way.
        tried: bool,
    },
}

/// One endpoint, as its calls have shown it.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// In a row.
    failures: u32,
    /// Ejections, less what it stayed well for since.
    steps: u32,
    rest: Option<Rest>,
    /// Raised by each ejection.
    epoch: u64,
    trial: bool,
    /// Since when it is back; `None` for one that was never out.
    back_since: Option<Instant>,
    ejections: u64,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Instant,
    kept: bool,
    unreachable: bool,
    /// The owner knows.
    told: bool,
}

impl Standing {
    pub(super) fn phase(&self, now: Instant) -> Phase {
        match self.rest {
            None => Phase::In,
            Some(Rest { until, kept, .. }) if now < until => match kept {
                true => Phase::Kept { until },
                false => Phase::Out { until },
            },
            Some(_) => Phase::Returning { tried: self.trial },
        }
    }

    /// A call begins.
    pub(super) fn begin(&mut self, now: Instant) -> Ticket {
        let trial = self.phase(now) == Phase::Returning { tried: false };
        self.trial |= trial;
        Ticket {
            epoch: self.epoch,
            trial,
        }
    }

    /// A call ends. `may_go`: enough others are left. `jitter` is from 0 to 1.
    pub(super) fn finish(
        &mut self,
        ticket: Ticket,
        outcome: Outcome,
        may_go: bool,
        config: &EjectionConfig,
        now: Instant,
        jitter: f64,
    ) -> Option<Ejected> {
        if ticket.epoch != self.epoch {
            return None;
        }
        self.trial &= !ticket.trial;
        match outcome {
            Outcome::Unknown => None,
            Outcome::Begun => self.answered(now),
            Outcome::Well => {
                self.failures = 0;
                self.answered(now)
            }
            Outcome::Unreachable | Outcome::Failed => {
                self.failures = self.failures.saturating_add(1);
                let unreachable = outcome == Outcome::Unreachable;
                if !unreachable
                    && self.rest.is_none()
                    && self.failures < config.consecutive_failures
                {
                    return None;
                }
                self.eject(unreachable, may_go, config, now, jitter)
            }
        }
    }

    fn answered(&mut self, now: Instant) -> Option<Ejected> {
        let rest = self.rest.take()?;
        self.back_since = Some(now);
        rest.told.then_some(Ejected::Returned)
    }

    fn eject(
        &mut self,
        unreachable: bool,
        may_go: bool,
        config: &EjectionConfig,
        now: Instant,
        jitter: f64,
    ) -> Option<Ejected> {
        // Asked in spite of it, because there was nobody better: that shows that it is still down, not that it came
        // back too early.
        let in_vain = self.rest.is_some_and(|rest| now < rest.until);
        if !in_vain {
            let stayed = self.back_since.map_or(Duration::ZERO, |since| now - since);
            let calm = match self.rest {
                None => stayed.as_nanos() / config.eject_for_max.as_nanos().max(1),
                Some(_) => 0,
            };
            let calm = u32::try_from(calm).unwrap_or(u32::MAX);
            self.steps = (self.steps.saturating_sub(calm) + 1).min(STEPS_MAX);
        }
        let was_out = self.rest.is_some_and(|rest| !rest.kept);
        let told = self.rest.is_some_and(|rest| rest.told);
        let time = rest_time(self.steps, config, jitter);
        self.rest = Some(Rest {
            until: now + time,
            kept: !may_go,
            unreachable,
            told: told || may_go,
        });
        self.epoch += 1;
        self.trial = false;
        if may_go && !(in_vain && was_out) {
            self.ejections += 1;
        }
        (may_go && !told).then_some(Ejected::Out {
            rest: time,
            unreachable,
        })
    }

    /// An active check reached it: if that was all that was wrong, it may be tried at once.
    pub(super) fn reached(&mut self, now: Instant) {
        if let Some(rest) = &mut self.rest
            && rest.unreachable
        {
            rest.until = rest.until.min(now);
        }
    }

    /// It comes back for another reason than an ejection.
    pub(super) fn back(&mut self, now: Instant) {
        self.back_since = Some(now);
    }

    /// How long it has been back; `None` for one that is out, or never was.
    pub(super) fn back_for(&self, now: Instant) -> Option<Duration> {
        let since = self.back_since.filter(|_| self.rest.is_none())?;
        Some(now.saturating_duration_since(since))
    }

    /// Its latest call failed: its load says nothing about it.
    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0 || self.rest.is_some()
    }

    /// Out of the choice, or not proven since.
    pub(super) fn is_ejected(&self) -> bool {
        self.rest.is_some_and(|rest| !rest.kept)
    }

    /// Ejections since start, those after a vain return included.
    pub(super) fn ejections(&self) -> u64 {
        self.ejections
    }
}

/// The time out after so many ejections, the first being 1.
fn rest_time(steps: u32, config: &EjectionConfig, jitter: f64) -> Duration {
    let doublings = steps.saturating_sub(1).min(STEPS_MAX);
    let edge = config.eject_for.saturating_mul(1 << doublings);
    edge.min(config.eject_for_max)
        .mul_f64(1.0 - JITTER * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
#[path = "ejection_tests.rs"]
mod tests;
