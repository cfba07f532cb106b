//! One breaker as threads share it: the state machine behind a lock, and who is told of its changes.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    BreakerChange, BreakerSnapshot, BreakerState, Generation, Outcome, Phase, Ticket,
    change::Action,
};
use crate::{
    chance,
    config::{BreakerConfig, UpstreamConfig},
    http::fetch::Condition,
    resilience::{Events, UpstreamEvent, UpstreamStats},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

pub(super) struct Shared {
    pub(super) upstream: Arc<UpstreamConfig>,
    /// Where it is a route's.
    pub(super) route: Option<Arc<str>>,
    pub(super) config: BreakerConfig,
    state: Mutex<BreakerState>,
    /// The phase and the recoveries after the latest decision, for those who only look: see [`packed`].
    shown: AtomicU64,
    events: Events,
    pub(super) stats: Arc<UpstreamStats>,
}

impl Shared {
    pub(super) fn new(
        upstream: Arc<UpstreamConfig>,
        route: Option<Arc<str>>,
        config: BreakerConfig,
        events: Events,
        stats: Arc<UpstreamStats>,
    ) -> Self {
        Self {
            upstream,
            route,
            config,
            state: Mutex::new(BreakerState::new(config, Instant::now())),
            shown: AtomicU64::new(0),
            events,
            stats,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, BreakerState> {
        // The state is whole between any two statements that can panic, so a poisoned lock is as good as a sound one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn phase(&self) -> Phase {
        unpacked(self.shown.load(Ordering::Relaxed)).0
    }

    pub(super) fn condition(&self) -> Condition {
        let (phase, recoveries) = unpacked(self.shown.load(Ordering::Relaxed));
        Condition {
            well: phase == Phase::Closed,
            recoveries,
        }
    }

    pub(super) fn snapshot(&self, now: Instant) -> BreakerSnapshot {
        self.state().snapshot(now)
    }

    pub(super) fn finish(&self, ticket: Ticket, outcome: Outcome) {
        self.change(|state| state.finish(ticket, outcome, Instant::now(), chance::fraction()));
    }

    pub(super) fn body_broke(&self, admitted_in: Generation) {
        self.change(|state| state.body_broke(admitted_in, Instant::now(), chance::fraction()));
    }

    pub(super) fn order(&self, action: Action, now: Instant) -> BreakerSnapshot {
        self.change(|state| state.order(action, now, chance::fraction()));
        self.snapshot(now)
    }

    fn change(&self, decide: impl FnOnce(&mut BreakerState) -> Option<BreakerChange>) {
        let mut state = self.state();
        let change = decide(&mut state);
        self.mirror(&state, change);
        drop(state);
        self.tell(change);
    }

    /// Shows a change to those who only look. Under the lock, so that the last one shown is the last one made.
    pub(super) fn mirror(&self, state: &BreakerState, change: Option<BreakerChange>) {
        if change.is_some() {
            self.shown.store(packed(state), Ordering::Relaxed);
        }
    }

    /// Without a lock: a sink may do what it likes.
    pub(super) fn tell(&self, change: Option<BreakerChange>) {
        if let Some(change) = change {
            self.events.send(&UpstreamEvent {
                upstream: Arc::clone(&self.upstream),
                route: self.route.clone(),
                change,
            });
        }
    }
}

/// Four phases take two bits; the rest is left to the recoveries. A breaker that was just made is 0.
fn packed(state: &BreakerState) -> u64 {
    state.recoveries() << 2 | state.phase().index() as u64
}

fn unpacked(word: u64) -> (Phase, u64) {
    (Phase::ALL[(word & 3) as usize], word >> 2)
}
