//! Breaker: stops asking an upstream that fails or crawls, and finds out cautiously when it is back.
//!
//! `retry -> [breaker of the route, breaker of the upstream] -> bulkhead`
//!
//! The decision is [`BreakerState`], pure; this is its tower shell, one for both breakers: a call is admitted by both or by
//! none, so that what one refuses takes no probe slot of the other and half-opens nothing. A refused call fails at once
//! with nothing sent. A streamed response is a success at its head; if its body breaks, that counts as a failure after
//! all. How long may be too long is the route's latency budget ([`FetchContext::slow_after`]); a call that failed because
//! it hung is slow whatever it took.
//!
//! # Invariants
//!
//! - A ticket always comes back: with the outcome, or through its guard when the call is dropped, cancelled or panics.
//! - Locks are held for a decision, never across an await or a call of the event sink; the route's is taken first.
//!
//! What this does not do: keep its state over a restart. A breaker that was isolated is closed then.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::{Events, FetchContext, Progress, UpstreamStats, body::watched};
use crate::{
    config::{BreakerConfig, UpstreamConfig},
    failure::{Cause, Failure, Sent},
    http::{Request, Response, fetch::Outlook},
};

mod change;
mod guard;
mod shared;
mod state;
mod trial;
mod window;

pub use change::{Action, BreakerChange, Phase, Reason};
pub use state::{BreakerSnapshot, BreakerState, Generation, Outcome, Refused, Ticket};
pub use window::Counts;

use guard::{Guard, try_admit};
use shared::Shared;

/// The breaker of one upstream or route; clones share its state.
#[derive(Clone)]
pub struct BreakerLayer {
    shared: Arc<Shared>,
    /// Where this is an upstream's and the route has one of its own.
    route: Option<Arc<Shared>>,
}

impl BreakerLayer {
    /// A closed breaker by `upstream.breaker`; changes go to `events`.
    pub fn new(upstream: Arc<UpstreamConfig>, events: Events, stats: Arc<UpstreamStats>) -> Self {
        let config = upstream.breaker;
        Self::with(Shared::new(upstream, None, config, events, stats))
    }

    /// A closed breaker by `route.breaker`, for the route of this name that leads to `upstream`.
    pub fn of_route(
        route: Arc<str>,
        config: BreakerConfig,
        upstream: Arc<UpstreamConfig>,
        events: Events,
        stats: Arc<UpstreamStats>,
    ) -> Self {
        Self::with(Shared::new(upstream, Some(route), config, events, stats))
    }

    fn with(shared: Shared) -> Self {
        Self {
            shared: Arc::new(shared),
            route: None,
        }
    }

    /// This breaker of an upstream, with that of a route in front.
    #[must_use]
    pub fn behind(mut self, route: Option<&Self>) -> Self {
        self.route = route.map(|route| Arc::clone(&route.shared));
        self
    }

    /// The route whose breaker this is; `None`: an upstream's.
    pub fn route(&self) -> Option<&Arc<str>> {
        self.shared.route.as_ref()
    }

    /// The state now.
    pub fn snapshot(&self) -> BreakerSnapshot {
        self.shared.snapshot(Instant::now())
    }

    /// The phase now; takes no lock.
    pub fn phase(&self) -> Phase {
        self.shared.phase()
    }

    /// How what is behind it fares, behind the route's breaker too, without a lock.
    pub fn outlook(&self) -> Outlook {
        let outlook = |shared: &Arc<Shared>| {
            let shared = Arc::clone(shared);
            Outlook::new(move || shared.condition())
        };
        let own = outlook(&self.shared);
        match &self.route {
            None => own,
            Some(route) => outlook(route).and(own),
        }
    }

    /// Does what somebody wants; the state after it.
    pub fn order(&self, action: Action) -> BreakerSnapshot {
        self.shared.order(action, Instant::now())
    }
}

impl<S> Layer<S> for BreakerLayer {
    type Service = Breaker<S>;

    fn layer(&self, inner: S) -> Breaker<S> {
        Breaker {
            inner,
            layer: self.clone(),
        }
    }
}

// --- Breaker ---

/// Lets calls through while the upstream is well.
#[derive(Clone)]
pub struct Breaker<S> {
    inner: S,
    layer: BreakerLayer,
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
        let BreakerLayer { shared, route } = &self.layer;
        let extensions = request.extensions();
        let progress = extensions.get::<Progress>().cloned();
        let slow_after = extensions
            .get::<FetchContext>()
            .and_then(|context| context.slow_after);
        let state = match try_admit(route.as_ref(), shared, slow_after, progress) {
            Ok(guard) => State::Admitted {
                inner: self.inner.call(request),
                guard: Some(guard),
            },
            Err(refused) => {
                shared.stats.failed(Cause::BreakerOpen);
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
        // The guard is gone once the response is there.
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
                let streams = guard.finish(&result);
                Poll::Ready(result.map(|response| {
                    response.map(|body| {
                        watched(body, move |end| {
                            if end.is_err() {
                                streams.broke();
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

#[cfg(all(test, shuttle))]
#[path = "shuttle_tests.rs"]
mod shuttle_tests;
