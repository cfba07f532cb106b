//! Quota: keeps what is sent to one upstream inside the rate that its vendor allows, clients' own requests first.
//!
//! `bulkhead -> [quota] -> attempt`, and ears between attempt and balance
//!
//! Two sources, both hold: the configured rate (`quota`, [`pace`]) and what the vendor says in its answers
//! (`quota_headers`, [`fields`], [`learned`]). Whatever is sent counts, retries, hedges and health checks too: who sends
//! past this layer takes from the [`Quota`] itself. Those of lower priority leave a reserve to those above (`shares`).
//!
//! Too much is a failure at once, never a queue: a stale answer above is sooner than the next permit. It says when that
//! would come.
//!
//! # Invariants
//!
//! - What was allowed is spent, whether or not it was sent: a permit that came back could be used twice in one window.
//! - The lock is held for a decision, never across an await.
//!
//! What this does not do: know of others who use the same key of the vendor's, but for what the vendor's answers tell.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, StatusCode};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::{FetchContext, Priority, Repeat, UpstreamStats, attempt::retry_after};
use crate::{
    clock::Clock,
    config::UpstreamConfig,
    failure::{Cause, Failure, Sent},
    http::{Request, Response},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

pub mod fields;
pub mod learned;
pub mod pace;

use learned::Learned;
use pace::Pace;

/// The quota of one upstream; clones share it.
#[derive(Clone, Debug)]
pub struct Quota(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    upstream: std::sync::Arc<UpstreamConfig>,
    clock: Clock,
    state: Mutex<State>,
    refused: [AtomicU64; Priority::ALL.len()],
}

#[derive(Debug)]
struct State {
    pace: Option<Pace>,
    learned: Learned,
}

/// There is no room for a request of this priority now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When there would be, if nobody else came.
    pub retry_after: Duration,
}

/// A quota at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaSnapshot {
    /// Requests that may still be sent in this period; `None` where neither the config nor the vendor names a quota.
    pub remaining: Option<u64>,
    /// Requests refused so far, in the order of [`Priority::ALL`].
    pub refused: [u64; Priority::ALL.len()],
}

/// What somebody who may use `percent` of `whole` has to leave, in whole requests, rounded up.
fn reserve_of(whole: u64, percent: u32) -> u64 {
    let left = u64::from(100 - percent.min(100));
    whole.saturating_mul(left).div_ceil(100)
}

// --- Quota ---

impl Quota {
    /// By `upstream.quota`, `quota_headers` and `shares`; `clock` reads the vendor's dates.
    pub fn new(upstream: std::sync::Arc<UpstreamConfig>, clock: Clock) -> Self {
        let state = State {
            pace: upstream.quota.as_ref().map(Pace::new),
            learned: Learned::new(upstream.retry_after_max),
        };
        Self(Arc::new(Shared {
            upstream,
            clock,
            state: Mutex::new(state),
            refused: Default::default(),
        }))
    }

    /// Takes one request of this priority out of the quota. It counts, whatever becomes of it.
    ///
    /// # Errors
    ///
    /// The quota has no room for it now; nothing was taken.
    pub fn try_take(&self, priority: Priority) -> Result<(), Refused> {
        let percent = self.0.upstream.shares.percent(priority);
        let now = Instant::now();
        let taken = self.0.state().try_take(percent, now);
        if taken.is_err() {
            self.0.refused[priority as usize].fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// Hears what an answer of this upstream, failing or not, says of its limits.
    pub fn heard(&self, status: StatusCode, headers: &HeaderMap) {
        let upstream = &self.0.upstream;
        if !upstream.quota_headers {
            return;
        }
        let now = self.0.clock.now();
        let told = fields::service_limits(headers, now);
        let retry_after = (status == StatusCode::TOO_MANY_REQUESTS)
            .then(|| retry_after(headers, now, upstream.retry_after_max))
            .flatten();
        let mut state = self.0.state();
        state.learned.heard(&told, retry_after, Instant::now());
    }

    /// What metrics and status pages show.
    pub fn snapshot(&self) -> QuotaSnapshot {
        let now = Instant::now();
        let remaining = self.0.state().remaining(now);
        QuotaSnapshot {
            remaining,
            refused: std::array::from_fn(|nth| self.0.refused[nth].load(Ordering::Relaxed)),
        }
    }

    /// The gate: refuses what the quota has no room for.
    pub fn layer(&self, stats: std::sync::Arc<UpstreamStats>) -> QuotaLayer {
        QuotaLayer {
            quota: self.clone(),
            stats,
        }
    }

    /// The ears, as close to the upstream as there is one: hears the head of every answer.
    pub fn ears(&self) -> impl Fn(Response) -> Response + Clone + Send + Sync + 'static + use<> {
        let quota = self.clone();
        move |response| {
            quota.heard(response.status(), response.headers());
            response
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Counts and times, each whole by itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn try_take(&mut self, percent: u32, now: Instant) -> Result<(), Refused> {
        let mut ready = self.learned.ready_at(percent, now);
        if let Some(pace) = &mut self.pace {
            ready = ready.max(pace.ready_at(pace.reserve(percent), now));
        }
        if ready > now {
            return Err(Refused {
                retry_after: ready - now,
            });
        }
        self.learned.take(now);
        if let Some(pace) = &mut self.pace {
            pace.take(now);
        }
        Ok(())
    }

    fn remaining(&mut self, now: Instant) -> Option<u64> {
        let configured = self.pace.as_mut().map(|pace| pace.remaining(now).into());
        let learned = self.learned.remaining(now);
        configured.into_iter().chain(learned).min()
    }
}

// --- QuotaLayer ---

/// Lets requests through as long as the quota has room.
#[derive(Clone, Debug)]
pub struct QuotaLayer {
    quota: Quota,
    stats: std::sync::Arc<UpstreamStats>,
}

impl<S> Layer<S> for QuotaLayer {
    type Service = QuotaGate<S>;

    fn layer(&self, inner: S) -> QuotaGate<S> {
        QuotaGate {
            inner,
            shared: self.clone(),
        }
    }
}

/// The service of [`QuotaLayer`].
#[derive(Clone, Debug)]
pub struct QuotaGate<S> {
    inner: S,
    shared: QuotaLayer,
}

impl<S> Service<Request> for QuotaGate<S>
where
    S: Service<Request, Response = Response, Error = Failure>,
{
    type Response = Response;
    type Error = Failure;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let context = request.extensions().get::<FetchContext>();
        let priority = context.map_or_else(Priority::default, |context| context.priority);
        // What goes once more below, on another connection, is a further request.
        if let Some(leave) = request.extensions_mut().get_mut::<Repeat>() {
            leave.counts_for(self.shared.quota.clone(), priority);
        }
        let state = match self.shared.quota.try_take(priority) {
            Ok(()) => Passage::Admitted {
                inner: self.inner.call(request),
            },
            Err(refused) => {
                self.shared.stats.failed(Cause::QuotaExhausted);
                Passage::Refused { refused }
            }
        };
        ResponseFuture { state }
    }
}

pin_project! {
    /// The response, or [`Cause::QuotaExhausted`].
    pub struct ResponseFuture<F> {
        #[pin]
        state: Passage<F>,
    }
}

pin_project! {
    #[project = Projected]
    enum Passage<F> {
        Admitted { #[pin] inner: F },
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
            Projected::Admitted { inner } => inner.poll(cx),
            Projected::Refused { refused } => {
                let failure = Failure::new(Cause::QuotaExhausted, Sent::Nothing)
                    .with_retry_after(Some(refused.retry_after));
                Poll::Ready(Err(failure))
            }
        }
    }
}

#[cfg(test)]
#[path = "shell_tests.rs"]
mod tests;
