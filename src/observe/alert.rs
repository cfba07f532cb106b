//! Alerts: what a person has to know now, whom to call and what to read.
//!
//! An alert is a log line (target `larder::alert`), a count by kind, and a place in a short list for the admin API.
//! The same kind and subject is let through once a minute; what was held back is counted in the next one.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;

use super::metrics::{Samples, Source};
use crate::clock::{Clock, Timestamp};

/// The same kind and subject is let through once in this time.
pub const REPEAT_AFTER: Duration = Duration::from_secs(60);
/// Alerts remembered for the admin API; the oldest makes room.
pub const RECENT_MAX: usize = 100;
/// Kinds and subjects whose last time is remembered; beyond it, those whose minute is over are forgotten.
const REMEMBERED_MAX: usize = 1_024;

/// Something a person has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// What sort of thing happened: `breaker_open`, `store_quarantined`. snake_case, from the code.
    pub kind: &'static str,
    /// What it happened to: an upstream, a route, a path.
    pub subject: String,
    /// What happened and what it means, in a sentence.
    pub message: String,
    /// Whom to call.
    pub owner: Option<String>,
    /// What to read then.
    pub runbook: Option<String>,
}

/// An alert that was let through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RaisedAlert {
    /// When, in milliseconds since the epoch.
    #[serde(rename = "at_ms")]
    pub at: Timestamp,
    /// See [`Alert`].
    pub kind: &'static str,
    /// See [`Alert`].
    pub subject: String,
    /// See [`Alert`].
    pub message: String,
    /// See [`Alert`].
    pub owner: Option<String>,
    /// See [`Alert`].
    pub runbook: Option<String>,
    /// Alerts of the same kind and subject that were held back since the one before.
    pub suppressed: u64,
}

/// Where alerts are raised. Clones share one memory.
#[derive(Clone, Debug)]
pub struct Alerts {
    clock: Clock,
    memory: Arc<Mutex<Memory>>,
}

#[derive(Debug, Default)]
struct Memory {
    recent: VecDeque<RaisedAlert>,
    last: HashMap<(&'static str, String), Last>,
    counts: BTreeMap<&'static str, u64>,
}

#[derive(Debug)]
struct Last {
    at: Timestamp,
    suppressed: u64,
}

impl Default for Alerts {
    /// By the system's clock.
    fn default() -> Self {
        Self::new(Clock::System)
    }
}

impl Alerts {
    /// No alerts yet.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            memory: Arc::default(),
        }
    }

    /// Raises one. Cheap where it is suppressed; never waits for anything but a short lock.
    pub fn raise(&self, alert: Alert) {
        let Some(raised) = self.memory().admit(alert, self.clock.now()) else {
            return;
        };
        let RaisedAlert {
            kind,
            subject,
            message,
            owner,
            runbook,
            suppressed,
            ..
        } = raised;
        tracing::warn!(
            target: "larder::alert",
            kind,
            subject,
            owner,
            runbook,
            suppressed = (suppressed > 0).then_some(suppressed),
            "{message}"
        );
    }

    /// The last alerts that were let through, newest first. At most [`RECENT_MAX`].
    pub fn recent(&self) -> Vec<RaisedAlert> {
        self.memory().recent.iter().rev().cloned().collect()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Nothing in here is half done when a panic passes: an alert more or less.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn admit(&mut self, alert: Alert, now: Timestamp) -> Option<RaisedAlert> {
        *self.counts.entry(alert.kind).or_default() += 1;
        if self.last.len() >= REMEMBERED_MAX {
            self.last
                .retain(|_, last| now.since(last.at) < REPEAT_AFTER);
        }
        let suppressed = self.note(&alert, now)?;
        let Alert {
            kind,
            subject,
            message,
            owner,
            runbook,
        } = alert;
        let raised = RaisedAlert {
            at: now,
            kind,
            subject,
            message,
            owner,
            runbook,
            suppressed,
        };
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(raised.clone());
        Some(raised)
    }

    /// How many were held back before this one, `None` where this one is held back too.
    fn note(&mut self, alert: &Alert, now: Timestamp) -> Option<u64> {
        let key = (alert.kind, alert.subject.clone());
        let is_full = self.last.len() >= REMEMBERED_MAX;
        match self.last.get_mut(&key) {
            Some(last) if now.since(last.at) < REPEAT_AFTER => {
                last.suppressed += 1;
                None
            }
            Some(last) => {
                last.at = now;
                Some(std::mem::take(&mut last.suppressed))
            }
            // A flood of new subjects is let into the list and the log, not into this memory.
            None if is_full => Some(0),
            None => {
                self.last.insert(
                    key,
                    Last {
                        at: now,
                        suppressed: 0,
                    },
                );
                Some(0)
            }
        }
    }
}

impl Source for Alerts {
    fn sample(&self, samples: &mut Samples) {
        for (kind, count) in &self.memory().counts {
            samples.counter(
                "alerts",
                "Alerts raised, suppressed ones included",
                &[("kind", kind)],
                *count,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(kind: &'static str, subject: &str) -> Alert {
        Alert {
            kind,
            subject: subject.to_owned(),
            message: "it broke".to_owned(),
            owner: Some("desk".to_owned()),
            runbook: None,
        }
    }

    #[test]
    fn the_same_alert_is_let_through_once_a_minute_and_says_what_was_held_back() {
        let clock = Clock::manual(Timestamp::from_secs(1_000));
        let alerts = Alerts::new(clock.clone());
        for _ in 0..5 {
            alerts.raise(alert("breaker_open", "pricing"));
        }
        alerts.raise(alert("breaker_open", "booking"));
        alerts.raise(alert("breaker_closed", "pricing"));
        assert_eq!(
            alerts.recent().len(),
            3,
            "another subject or kind is another alert"
        );
        clock.advance(REPEAT_AFTER);
        alerts.raise(alert("breaker_open", "pricing"));
        assert_eq!(alerts.recent()[0].suppressed, 4);
        assert_eq!(alerts.recent()[0].at, Timestamp::from_secs(1_060));
    }

    #[test]
    fn the_memory_is_bounded_in_every_direction() {
        let alerts = Alerts::new(Clock::manual(Timestamp::from_secs(1)));
        for subject in 0..5_000 {
            alerts.raise(alert("stuck", &subject.to_string()));
        }
        assert_eq!(alerts.recent().len(), RECENT_MAX);
        assert_eq!(alerts.recent()[0].subject, "4999", "newest first");
        assert!(alerts.memory().last.len() <= REMEMBERED_MAX);
    }

    #[test]
    fn suppressed_alerts_are_counted_all_the_same() {
        let alerts = Alerts::new(Clock::manual(Timestamp::from_secs(1)));
        for _ in 0..3 {
            alerts.raise(alert("breaker_open", "pricing"));
        }
        assert_eq!(alerts.memory().counts["breaker_open"], 3);
    }
}
