//! Hedge: a second request where the first takes longer than most, so that one slow answer in a hundred is nobody's wait.
//!
//! `retry -> [hedge] -> breaker`
//!
//! Only where the route asks (`hedge`) and somebody waits, only for requests that read and can be sent twice, never for one that may leave HTTP. The
//! second goes out once the first has taken longer than a percentile of the route's recent successful attempts
//! ([`Latencies`](super::latencies::Latencies)); while too few are known, none does. It needs a token of the upstream's retry budget, the breaker's and the
//! bulkhead's leave, and time before the deadline for a usual answer. It goes to another endpoint than the first where there is
//! one (`balance`).
//!
//! The first good answer wins and the other request is dropped, which its breaker hears as nothing learnt; its latency is not
//! known and not counted. Where one fails the other is waited for; where both do, the failure says the most that either knows.
//!
//! # Invariants
//!
//! - At most one hedge per attempt, and none without a token.
//! - Both requests count as attempts of the fetch.

use std::{
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{
    future::{Either, select},
    poll,
};
use http::Method;
use tokio::time::{Instant, timeout_at};
use tower::{Layer, Service, ServiceExt};

use super::{
    FetchContext, Priority, Progress, Reads, RetryBudget, UpstreamStats, latencies::Latencies,
    moved_on,
};
use crate::{
    config::HedgeConfig,
    failure::Failure,
    http::{Request, Response, interim::Interim, method::is_query, upgrade::Upgrade},
};

/// The hedges of one route; every service it makes learns latencies of its own.
#[derive(Clone, Debug)]
pub struct HedgeLayer {
    config: Option<HedgeConfig>,
    budget: RetryBudget,
    stats: Arc<UpstreamStats>,
}

impl HedgeLayer {
    /// Hedges by `config`, none without; out of `budget`.
    pub fn new(
        config: Option<HedgeConfig>,
        budget: RetryBudget,
        stats: Arc<UpstreamStats>,
    ) -> Self {
        Self {
            config,
            budget,
            stats,
        }
    }
}

impl<S> Layer<S> for HedgeLayer {
    type Service = Hedge<S>;

    fn layer(&self, inner: S) -> Hedge<S> {
        let shared = self.config.map(|config| {
            Arc::new(Shared {
                config,
                budget: self.budget.clone(),
                stats: Arc::clone(&self.stats),
                latencies: Mutex::new(Latencies::new(config.window, config.samples_max)),
            })
        });
        Hedge { inner, shared }
    }
}

/// Sends a second request where the first takes long.
#[derive(Clone, Debug)]
pub struct Hedge<S> {
    inner: S,
    /// `None` where the route does not ask for it.
    shared: Option<Arc<Shared>>,
}

#[derive(Debug)]
struct Shared {
    config: HedgeConfig,
    budget: RetryBudget,
    stats: Arc<UpstreamStats>,
    latencies: Mutex<Latencies>,
}

type BoxFuture = Pin<Box<dyn Future<Output = Result<Response, Failure>> + Send>>;

impl<S> Service<Request> for Hedge<S>
where
    S: Service<Request, Response = Response, Error = Failure> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Failure;
    /// Boxed only where a route hedges.
    type Future = Either<S::Future, BoxFuture>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let hedged = self
            .shared
            .as_ref()
            .and_then(|shared| Some((Arc::clone(shared), second(&request)?)));
        let Some((shared, second)) = hedged else {
            return Either::Left(self.inner.call(request));
        };
        let spare = self.inner.clone();
        let first = self.inner.call(request);
        Either::Right(Box::pin(shared.run(first, spare, second)))
    }
}

/// The same request once more, where it may be sent twice.
fn second(request: &Request) -> Option<Request> {
    let extensions = request.extensions();
    let only_reads = matches!(*request.method(), Method::GET | Method::HEAD)
        || is_query(request.method())
        || extensions.get::<Reads>().is_some();
    let is_awaited = extensions
        .get::<FetchContext>()
        .is_none_or(|context| context.awaited);
    // A stream can be read once only.
    let is_here = request.body().bytes().is_some();
    if !only_reads || !is_here || !is_awaited || extensions.get::<Upgrade>().is_some() {
        return None;
    }
    let mut second = Request::new(request.body().another()?);
    *second.method_mut() = request.method().clone();
    *second.uri_mut() = request.uri().clone();
    *second.version_mut() = request.version();
    *second.headers_mut() = request.headers().clone();
    let mut extensions = extensions.clone();
    // A client is told once what goes on behind its request.
    extensions.remove::<Interim>();
    // Whoever waits for it has another request under way: where room is short, it is not the one to keep.
    if let Some(context) = extensions.get_mut::<FetchContext>() {
        context.priority = context.priority.min(Priority::UserRevalidate);
    }
    *second.extensions_mut() = extensions;
    Some(second)
}

// --- Shared ---

impl Shared {
    async fn run<S>(
        self: Arc<Self>,
        first: S::Future,
        spare: S,
        again: Request,
    ) -> Result<Response, Failure>
    where
        S: Service<Request, Response = Response, Error = Failure>,
    {
        let mut first = pin!(self.learning(first));
        let Some(delay) = self.delay() else {
            return first.await;
        };
        let until = moved_on(Instant::now(), delay);
        if let Ok(result) = timeout_at(until, first.as_mut()).await {
            return result;
        }
        if !self.may_hedge(&again) {
            return first.await;
        }
        let mut second = Box::pin(self.learning(spare.oneshot(again)));
        // What is refused is refused at once, and was never sent.
        let early = match poll!(second.as_mut()) {
            Poll::Ready(Err(refused)) if refused.attempts() == 0 => {
                self.stats.hedge_denied();
                return first.await;
            }
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        };
        self.stats.hedged();
        let second = async move {
            match early {
                Some(result) => result,
                None => second.await,
            }
        };
        let (result, by_second) = race(first, pin!(second)).await;
        if by_second && result.is_ok() {
            self.stats.hedge_won();
        }
        result
    }

    /// `attempt`, its latency noted where it succeeds.
    async fn learning(
        &self,
        attempt: impl Future<Output = Result<Response, Failure>>,
    ) -> Result<Response, Failure> {
        let began = Instant::now();
        let result = attempt.await;
        if result.is_ok() {
            let now = Instant::now();
            self.latencies().record(now, now - began);
        }
        result
    }

    /// After which time to hedge; `None` while too little is known.
    fn delay(&self) -> Option<Duration> {
        let HedgeConfig {
            percentile,
            delay_min,
            samples_min,
            ..
        } = self.config;
        let mut latencies = self.latencies();
        let measured = latencies.percentile(Instant::now(), percentile, samples_min)?;
        Some(measured.max(delay_min))
    }

    /// Whether there is time for a usual answer, and a token.
    fn may_hedge(&self, request: &Request) -> bool {
        let now = Instant::now();
        let usual = self.latencies().percentile(now, 50, 1).unwrap_or_default();
        let deadline = request.extensions().get().map(Progress::deadline);
        if deadline.is_some_and(|deadline| moved_on(now, usual) >= deadline) {
            return false;
        }
        let allowed = self.budget.withdraw();
        if !allowed {
            self.stats.hedge_denied();
        }
        allowed
    }

    fn latencies(&self) -> MutexGuard<'_, Latencies> {
        // Locked for a look or a note. A list of numbers is whole after a panic too.
        self.latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first good answer of two, or what both failures say; and whether it came from the second.
async fn race<A, B>(first: A, second: B) -> (Result<Response, Failure>, bool)
where
    A: Future<Output = Result<Response, Failure>> + Unpin,
    B: Future<Output = Result<Response, Failure>> + Unpin,
{
    match select(first, second).await {
        Either::Left((Ok(response), _)) => (Ok(response), false),
        Either::Right((Ok(response), _)) => (Ok(response), true),
        Either::Left((Err(failed), second)) => {
            let result = second.await;
            (result.map_err(|other| of_both(failed, &other)), true)
        }
        Either::Right((Err(failed), first)) => {
            let result = first.await;
            (result.map_err(|other| of_both(other, &failed)), false)
        }
    }
}

/// The first's failure, unless only the second brought the upstream's own words.
fn of_both(first: Failure, second: &Failure) -> Failure {
    let sent = first.sent().max(second.sent());
    let retry_after = first.retry_after().max(second.retry_after());
    let told = match (first.answer(), second.answer()) {
        (None, Some(_)) => second.clone(),
        _ => first,
    };
    told.at_least_sent(sent).with_retry_after(retry_after)
}

#[cfg(test)]
#[path = "hedge_tests.rs"]
mod tests;
