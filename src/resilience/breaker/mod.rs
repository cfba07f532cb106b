//! Breaker: stops asking an upstream that fails or crawls, and finds out cautiously when it is back.
//!
//! `retry -> [breaker] -> bulkhead`
//!
//! The decision is [`BreakerState`]; this is its tower shell. A refused call fails at once with nothing sent. A streamed
//! response is a success at its head; if its body breaks, that counts as a failure after all.
//!
//! # Invariants
//!
//! - A ticket always comes back: with the outcome, or through its guard when the call is dropped, cancelled or panics.
//! - The lock is held for a decision, never across an await or a call of the event sink.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use http::StatusCode;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::{Events, Progress, UpstreamEvent, UpstreamStats, body::watched};
use crate::{
    chance,
    config::UpstreamConfig,
    failure::{Cause, Failure, Sent},
    http::{
        Request, Response,
        fetch::{Condition, Outlook},
    },
    sync::atomic::{AtomicU64, Ordering},
};

mod state;
mod window;

pub use state::{
    BreakerChange, BreakerSnapshot, BreakerState, OpenReason, Outcome, Phase, Refused, Ticket,
};
pub use window::Counts;

/// The breaker of one upstream; clones share its state.
#[derive(Clone)]
pub struct BreakerLayer(Arc<Shared>);

struct Shared {
    upstream: Arc<UpstreamConfig>,
    state: Mutex<BreakerState>,
    events: Events,
    stats: Arc<UpstreamStats>,
    /// The [`Condition`] after the latest decision: twice the recoveries, and one where it is not closed.
    condition: AtomicU64,
}

impl BreakerLayer {
    /// A closed breaker by `upstream.breaker`; changes go to `events`.
    pub fn new(upstream: Arc<UpstreamConfig>, events: Events, stats: Arc<UpstreamStats>) -> Self {
        let state = BreakerState::new(upstream.breaker, Instant::now());
        Self(Arc::new(Shared {
            upstream,
            state: Mutex::new(state),
            events,
            stats,
            condition: AtomicU64::new(0),
        }))
    }

    /// How the upstream fares, without the lock.
    pub fn outlook(&self) -> Outlook {
        let shared = Arc::clone(&self.0);
        Outlook::new(move || {
            let packed = shared.condition.load(Ordering::Relaxed);
            Condition {
                well: packed & 1 == 0,
                recoveries: packed >> 1,
            }
        })
    }

    /// The state now.
    pub fn snapshot(&self) -> BreakerSnapshot {
        self.0.state().snapshot(Instant::now())
    }
}

impl<S> Layer<S> for BreakerLayer {
    type Service = Breaker<S>;

    fn layer(&self, inner: S) -> Breaker<S> {
        Breaker {
            inner,
            shared: Arc::clone(&self.0),
        }
    }
}

// --- Shared ---

impl Shared {
    fn state(&self) -> MutexGuard<'_, BreakerState> {
        // The state is whole between any two statements that can panic, so a poisoned lock is as good as a sound one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides under the lock, and shows what came of it before the next decision.
    fn decide<T>(&self, decision: impl FnOnce(&mut BreakerState) -> T) -> T {
        let mut state = self.state();
        let decided = decision(&mut state);
        let packed = state.recoveries() << 1 | u64::from(state.phase() != Phase::Closed);
        self.condition.store(packed, Ordering::Relaxed);
        decided
    }

    fn try_admit(self: &Arc<Self>, progress: Option<Progress>) -> Result<Guard, Refused> {
        let now = Instant::now();
        let (admitted, change) = self.decide(|state| state.try_admit(now));
        self.tell(change);
        Ok(Guard {
            ticket: Some(admitted?),
            shared: Arc::clone(self),
            admitted_at: now,
            deadline: progress.map(|progress| progress.deadline()),
        })
    }

    fn finish(&self, ticket: Ticket, outcome: Outcome) {
        let change =
            self.decide(|state| state.finish(ticket, outcome, Instant::now(), chance::fraction()));
        self.tell(change);
    }

    fn body_broke(&self) {
        let change = self.decide(|state| state.body_broke(Instant::now(), chance::fraction()));
        self.tell(change);
    }

    fn tell(&self, change: Option<BreakerChange>) {
        if let Some(change) = change {
            self.events.send(&UpstreamEvent {
                upstream: Arc::clone(&self.upstream),
                change,
            });
        }
    }
}

// --- Guard ---

/// A ticket that finds its way back.
struct Guard {
    ticket: Option<Ticket>,
    shared: Arc<Shared>,
    admitted_at: Instant,
    deadline: Option<Instant>,
}

impl Guard {
    fn finish(mut self, result: &Result<Response, Failure>) {
        let outcome = outcome(result, self.admitted_at.elapsed(), &self.shared.upstream);
        if let Some(ticket) = self.ticket.take() {
            self.shared.finish(ticket, outcome);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        // Cut off by the deadline: the upstream did not answer in time. Given up before: nothing was learnt.
        let expired = self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline);
        let outcome = if expired {
            Outcome::Failure {
                took: self.admitted_at.elapsed(),
                run: true,
                retry_after: None,
            }
        } else {
            Outcome::Unknown
        };
        self.shared.finish(ticket, outcome);
    }
}

fn outcome(
    result: &Result<Response, Failure>,
    took: Duration,
    upstream: &UpstreamConfig,
) -> Outcome {
    match result {
        Ok(_) => Outcome::Success { took },
        Err(failure) if failure.cause().is_upstream() => Outcome::Failure {
            took,
            // A run of these may be one client's doing; their share in the window is not.
            run: !matches!(
                failure.cause(),
                Cause::Status(StatusCode::TOO_MANY_REQUESTS) | Cause::GraphqlErrors
            ),
            retry_after: failure
                .retry_after()
                .map(|asked| asked.min(upstream.retry_after_max)),
        },
        Err(_) => Outcome::Unknown,
    }
}

// --- Breaker ---

/// Lets calls through while the upstream is well.
#[derive(Clone)]
pub struct Breaker<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Service<Request> for Breaker<S>
where
    S: Service<Request, Response = Response, Error = Failure>,
{
    type Response = Response;
    type Error = Failure;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        // Not the place to refuse: readiness is no leave to call, and a refused caller must get its failure now.
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if !self.shared.upstream.breaker.enabled {
            let (inner, guard) = (self.inner.call(request), None);
            return ResponseFuture {
                state: State::Admitted { inner, guard },
            };
        }
        let progress = request.extensions().get::<Progress>().cloned();
        let state = match self.shared.try_admit(progress) {
            Ok(guard) => State::Admitted {
                inner: self.inner.call(request),
                guard: Some(guard),
            },
            Err(refused) => {
                self.shared.stats.failed(Cause::BreakerOpen);
                State::Refused { refused }
            }
        };
        ResponseFuture { state }
    }
}

pin_project! {
    /// The response, watched, or [`Cause::BreakerOpen`].
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = Projected]
    enum State<F> {
        // Without a guard where the breaker is turned off.
        Admitted { #[pin] inner: F, guard: Option<Guard> },
        Refused { refused: Refused },
    }
}

impl<F> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response, Failure>>,
{
    type Output = Result<Response, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            Projected::Admitted { inner, guard } => {
                let result = ready!(inner.poll(cx));
                let Some(guard) = guard.take() else {
                    return Poll::Ready(result);
                };
                let shared = Arc::clone(&guard.shared);
                guard.finish(&result);
                Poll::Ready(result.map(|response| {
                    response.map(|body| {
                        watched(body, move |end| {
                            if end.is_err() {
                                shared.body_broke();
                            }
                        })
                    })
                }))
            }
            Projected::Refused { refused } => {
                let failure = Failure::new(Cause::BreakerOpen, Sent::Nothing)
                    .with_retry_after(refused.retry_after);
                Poll::Ready(Err(failure))
            }
        }
    }
}

#[cfg(test)]
#[path = "shell_tests.rs"]
mod tests;
