//! Bulkhead: caps the requests in flight to one upstream, so that a slow one cannot take all the proxy has.
//!
//! `breaker -> [bulkhead] -> quota`
//!
//! The cap is fixed (`in_flight_max`) or found out below it by the upstream's latency (`adaptive`, [`limit`]). Where it
//! comes near, the least worth is shed first: each priority is admitted only while less than its share (`shares`) of the
//! limit is in flight.
//!
//! Full means a failure at once, never a queue: a stale answer above is sooner than a queue is short. The permit lives
//! until the response body has ended or is dropped, because a body that drips occupies the upstream as much as a head
//! that hangs. The latency that is measured ends with the attempt: at what pace a body is read on is the client's doing.
//!
//! # Invariants
//!
//! - Nothing is admitted while the limit is in flight, whatever it was when those were admitted.
//! - A permit always comes back: with the end of the body, or when the call is dropped, cancelled or panics.
//! - The lock is held for a decision, never across an await.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::StatusCode;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::{FetchContext, Priority, Progress, UpstreamStats, body::watched};
use crate::{
    config::{SharesConfig, UpstreamConfig},
    failure::{Cause, Failure, Sent},
    http::{Request, Response},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

mod aimd;
mod gradient;
pub mod limit;

pub use aimd::Aimd;
pub use gradient::Gradient;
pub use limit::{Limiter, Outcome, Sample};

/// The compartment of one upstream; clones share its permits.
#[derive(Clone, Debug)]
pub struct BulkheadLayer {
    shared: Arc<Shared>,
    stats: std::sync::Arc<UpstreamStats>,
}

#[derive(Debug)]
struct Shared {
    shares: SharesConfig,
    state: Mutex<State>,
    shed: [AtomicU64; Priority::ALL.len()],
}

#[derive(Debug)]
struct State {
    limiter: Limiter,
    in_flight: usize,
}

/// A bulkhead at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkheadSnapshot {
    /// Requests with the upstream, streaming bodies included.
    pub in_flight: usize,
    /// How many may be.
    pub limit: usize,
    /// Requests refused so far, in the order of [`Priority::ALL`].
    pub shed: [u64; Priority::ALL.len()],
}

impl BulkheadLayer {
    /// Room for `in_flight_max` requests, or for as many as `adaptive` finds.
    pub fn new(upstream: &UpstreamConfig, stats: std::sync::Arc<UpstreamStats>) -> Self {
        let limiter = Limiter::new(
            upstream.in_flight_max,
            upstream.adaptive.as_ref(),
            Instant::now(),
        );
        let state = State {
            limiter,
            in_flight: 0,
        };
        let shared = Shared {
            shares: upstream.shares,
            state: Mutex::new(state),
            shed: Default::default(),
        };
        Self {
            shared: Arc::new(shared),
            stats,
        }
    }

    /// What metrics and status pages show.
    pub fn snapshot(&self) -> BulkheadSnapshot {
        let state = self.shared.state();
        BulkheadSnapshot {
            in_flight: state.in_flight,
            limit: state.limiter.limit(),
            shed: std::array::from_fn(|nth| self.shared.shed[nth].load(Ordering::Relaxed)),
        }
    }
}

impl<S> Layer<S> for BulkheadLayer {
    type Service = Bulkhead<S>;

    fn layer(&self, inner: S) -> Bulkhead<S> {
        Bulkhead {
            inner,
            shared: self.clone(),
        }
    }
}

// --- Shared ---

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A count, and a limit that is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_admit(self: &Arc<Self>, priority: Priority, now: Instant) -> Option<Permit> {
        let mut state = self.state();
        let percent = self.shares.percent(priority);
        if state.in_flight >= limit::room(state.limiter.limit(), percent) {
            drop(state);
            self.shed[priority as usize].fetch_add(1, Ordering::Relaxed);
            return None;
        }
        state.in_flight += 1;
        Some(Permit {
            shared: Arc::clone(self),
            began: now,
            in_flight: state.in_flight,
            deadline: None,
        })
    }
}

// --- Permit ---

/// A place that finds its way back.
#[derive(Debug)]
struct Permit {
    shared: Arc<Shared>,
    began: Instant,
    /// When it was taken, itself included.
    in_flight: usize,
    /// Until its outcome is known: when its fetch has to be over.
    deadline: Option<Instant>,
}

impl Permit {
    /// The outcome is known; the place is still taken.
    fn ended(&mut self, outcome: Outcome, now: Instant) {
        self.deadline = None;
        let sample = Sample {
            latency: now.saturating_duration_since(self.began),
            in_flight: self.in_flight,
            outcome,
        };
        self.shared.state().limiter.on_sample(&sample, now);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Cut off by the deadline: the upstream did not answer in time. Given up before: nothing was learnt.
        if let Some(deadline) = self.deadline.take() {
            let now = Instant::now();
            if now >= deadline {
                self.ended(Outcome::Overloaded, now);
            }
        }
        let mut state = self.shared.state();
        state.in_flight = state.in_flight.saturating_sub(1);
    }
}

fn outcome(result: &Result<Response, Failure>) -> Outcome {
    let of_status = |status: StatusCode| match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Outcome::Overloaded,
        // Errors come quickly; that they do is no room.
        _ if status.is_client_error() || status.is_server_error() => Outcome::Unknown,
        _ => Outcome::Answered,
    };
    match result {
        Ok(response) => of_status(response.status()),
        Err(failure) => match failure.cause() {
            Cause::Status(status) => of_status(status),
            Cause::ConnectTimeout
            | Cause::ResponseTimeout
            | Cause::BodyTimeout
            | Cause::Deadline => Outcome::Overloaded,
            _ => Outcome::Unknown,
        },
    }
}

// --- Bulkhead ---

/// Admits while there is room.
#[derive(Clone, Debug)]
pub struct Bulkhead<S> {
    inner: S,
    shared: BulkheadLayer,
}

impl<S> Service<Request> for Bulkhead<S>
where
    S: Service<Request, Response = Response, Error = Failure>,
{
    type Response = Response;
    type Error = Failure;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let extensions = request.extensions();
        let context = extensions.get::<FetchContext>();
        let priority = context.map_or_else(Priority::default, |context| context.priority);
        let deadline = extensions.get().map(Progress::deadline);
        let state = match self.shared.shared.try_admit(priority, Instant::now()) {
            Some(mut permit) => {
                permit.deadline = deadline;
                Passage::Admitted {
                    inner: self.inner.call(request),
                    permit: Some(permit),
                }
            }
            None => {
                self.shared.stats.failed(Cause::BulkheadFull);
                Passage::Full
            }
        };
        ResponseFuture { state }
    }
}

pin_project! {
    /// The response with its permit on it, or [`Cause::BulkheadFull`].
    pub struct ResponseFuture<F> {
        #[pin]
        state: Passage<F>,
    }
}

pin_project! {
    #[project = Projected]
    enum Passage<F> {
        Admitted { #[pin] inner: F, permit: Option<Permit> },
        Full,
    }
}

impl<F> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response, Failure>>,
{
    type Output = Result<Response, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            Projected::Admitted { inner, permit } => {
                let result = ready!(inner.poll(cx));
                let mut permit = permit.take();
                if let Some(permit) = &mut permit {
                    permit.ended(outcome(&result), Instant::now());
                }
                Poll::Ready(
                    result.map(|response| {
                        response.map(|body| watched(body, move |_end| drop(permit)))
                    }),
                )
            }
            Projected::Full => Poll::Ready(Err(Failure::new(Cause::BulkheadFull, Sent::Nothing))),
        }
    }
}

#[cfg(test)]
#[path = "shell_tests.rs"]
mod tests;

#[cfg(all(test, shuttle))]
mod shuttle_tests;
