//! Balance: which endpoint answers this attempt.
//!
//! `attempt -> [balance] -> client`
//!
//! The decision is [`Roster`]'s; this is its shell. It counts, tells changes, and hands a [`Taken`] out to whoever learns
//! how the attempt ended ([`super::verdict`]).
//!
//! # Invariants
//!
//! - The lock is held for a decision, never across an await or a call of the event sink.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::Service;

use super::{
    ejection::{Ejected, Outcome},
    endpoint::{self, Endpoint, EndpointSnapshot},
    health::HealthChange,
    roster::{Change, Roster, Rules, Ticket},
};
use crate::{
    chance,
    config::UpstreamConfig,
    failure::Failure,
    http::{Request, Response},
    resilience::{EndpointChange, EndpointEvent, Events, Progress},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The endpoint behind a response. A response extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedBy {
    /// Its place in the config.
    pub index: usize,
    /// Its URL, without credentials.
    pub uri: std::sync::Arc<str>,
}

/// The endpoints of one upstream as one service. Clones share them.
#[derive(Clone)]
pub struct Balance {
    endpoints: std::sync::Arc<[Endpoint]>,
    ledger: Ledger,
}

impl Balance {
    /// Over these, the endpoints of `upstream`; at least one.
    pub(super) fn new(
        upstream: std::sync::Arc<UpstreamConfig>,
        endpoints: Vec<Endpoint>,
        events: Events,
    ) -> Self {
        let uris = endpoints.iter().map(|it| std::sync::Arc::clone(it.uri()));
        Self {
            ledger: Ledger::new(upstream, uris.collect(), events),
            endpoints: endpoints.into(),
        }
    }

    pub(super) fn endpoints(&self) -> &std::sync::Arc<[Endpoint]> {
        &self.endpoints
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(super) fn snapshot(&self) -> Vec<EndpointSnapshot> {
        let now = Instant::now();
        let roster = self.ledger.roster();
        let (states, ejections) = (roster.states(now), roster.ejections());
        drop(roster);
        let endpoints = self.endpoints.iter().zip(states).zip(ejections);
        endpoints
            .map(|((endpoint, state), ejections)| endpoint.snapshot(state, ejections))
            .collect()
    }
}

impl Service<Request> for Balance {
    type Response = Response;
    type Error = Failure;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let slot = request
            .extensions_mut()
            .remove::<Slot>()
            .unwrap_or_default();
        let progress = request.extensions().get::<Progress>();
        let avoid = progress.and_then(Progress::last_endpoint);
        let taken = self
            .ledger
            .take(avoid, |index| self.endpoints[index].cost());
        let index = taken.index();
        if let Some(progress) = progress {
            progress.endpoint_chosen(index);
        }
        slot.put(taken);
        ResponseFuture {
            inner: self.endpoints[index].call(request),
            endpoints: std::sync::Arc::clone(&self.endpoints),
            index,
            _slot: slot,
        }
    }
}

pin_project! {
    /// The response, marked with its endpoint ([`ServedBy`]).
    pub struct ResponseFuture {
        #[pin]
        inner: endpoint::ResponseFuture,
        endpoints: std::sync::Arc<[Endpoint]>,
        index: usize,
        // Until the end, so that what is taken comes back when nobody else holds it.
        _slot: Slot,
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut result = ready!(this.inner.poll(cx));
        if let Ok(response) = &mut result {
            response.extensions_mut().insert(ServedBy {
                index: *this.index,
                uri: std::sync::Arc::clone(this.endpoints[*this.index].uri()),
            });
        }
        Poll::Ready(result)
    }
}

// --- Ledger ---

/// The roster of one upstream, shared by all who choose from it and all who report to it.
#[derive(Clone)]
pub(super) struct Ledger(Arc<LedgerInner>);

struct LedgerInner {
    roster: Mutex<Roster>,
    upstream: std::sync::Arc<UpstreamConfig>,
    uris: Vec<std::sync::Arc<str>>,
    events: Events,
}

impl Ledger {
    fn new(
        upstream: std::sync::Arc<UpstreamConfig>,
        uris: Vec<std::sync::Arc<str>>,
        events: Events,
    ) -> Self {
        let checks = upstream.health.as_ref();
        let rules = Rules {
            ejection: upstream.ejection,
            slow_start: upstream.slow_start,
            unhealthy_after: checks.map_or(1, |checks| checks.unhealthy_after),
            healthy_after: checks.map_or(1, |checks| checks.healthy_after),
        };
        let priorities = upstream.endpoints.iter().map(|it| it.priority);
        Self(Arc::new(LedgerInner {
            roster: Mutex::new(Roster::new(priorities, rules)),
            uris,
            upstream,
            events,
        }))
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        // What a panic inside could leave half changed is one endpoint's standing, and its next call sets that right.
        self.0.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Chooses an endpoint for one attempt.
    fn take<C: PartialOrd>(&self, avoid: Option<usize>, cost: impl Fn(usize) -> C) -> Taken {
        let now = Instant::now();
        let ticket = self
            .roster()
            .choose(avoid, now, cost, &mut chance::fraction);
        Taken {
            ticket: Some(ticket),
            index: ticket.index,
            ledger: self.clone(),
        }
    }

    /// Whether others are well.
    fn finish(&self, ticket: Ticket, outcome: Outcome) -> bool {
        let now = Instant::now();
        let mut roster = self.roster();
        let change = roster.finish(ticket, outcome, now, chance::fraction());
        let others_well = roster.others_well(ticket.index, now);
        drop(roster);
        self.tell(ticket.index, change, "");
        others_well
    }

    /// A health check of this endpoint ended; `Err` says why it failed.
    pub(super) fn checked(&self, index: usize, result: Result<(), String>) {
        let passed = result.is_ok();
        let change = self.roster().checked(index, passed, Instant::now());
        self.tell(index, change, &result.err().unwrap_or_default());
    }

    fn tell(&self, index: usize, change: Option<Change>, reason: &str) {
        let Some(change) = change else {
            return;
        };
        self.say(
            index,
            match change {
                Change::Ejected(Ejected::Out { rest, unreachable }) => {
                    EndpointChange::Ejected { rest, unreachable }
                }
                Change::Ejected(Ejected::Returned) => EndpointChange::Returned,
                Change::Health(HealthChange::Healthy) => EndpointChange::Healthy,
                Change::Health(HealthChange::Unhealthy) => EndpointChange::Unhealthy {
                    reason: reason.to_owned(),
                },
            },
        );
    }

    /// Tells whoever alerts.
    pub(super) fn say(&self, index: usize, change: EndpointChange) {
        self.0.events.send_of_endpoint(&EndpointEvent {
            upstream: std::sync::Arc::clone(&self.0.upstream),
            endpoint: std::sync::Arc::clone(&self.0.uris[index]),
            change,
        });
    }
}

// --- Taken ---

/// One attempt's leave to use an endpoint. Dropped, it comes back with nothing learnt.
pub(super) struct Taken {
    ticket: Option<Ticket>,
    index: usize,
    ledger: Ledger,
}

impl Taken {
    fn index(&self) -> usize {
        self.index
    }

    /// The attempt has ended so. Whether another endpoint is well.
    pub(super) fn finish(mut self, outcome: Outcome) -> bool {
        let ticket = self.ticket.take();
        ticket.is_some_and(|ticket| self.ledger.finish(ticket, outcome))
    }

    /// It has begun to answer: what is left to learn is how the body ends.
    pub(super) fn begun(self) -> Self {
        if let Some(ticket) = self.ticket {
            let _others_well = self.ledger.finish(ticket, Outcome::Begun);
        }
        self
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let _others_well = self.ledger.finish(ticket, Outcome::Unknown);
        }
    }
}

/// Where balance leaves what it took for whoever judges the attempt. A request extension.
#[derive(Clone, Default)]
pub(super) struct Slot(std::sync::Arc<std::sync::Mutex<Option<Taken>>>);

impl Slot {
    fn put(&self, taken: Taken) {
        let before = self.inner().replace(taken);
        drop(before);
    }

    pub(super) fn take(&self) -> Option<Taken> {
        self.inner().take()
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Option<Taken>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

#[cfg(test)]
#[path = "balance_tests.rs"]
mod tests;
