//! Retry: another attempt where that is safe and likely to help, inside a budget shared by all fetches of an upstream.
//!
//! `deadline -> [retry] -> breaker`
//!
//! Safe: the failure says so ([`Failure::is_retryable`], RFC 9110 9.2.2) and the body is still here to be sent again: bytes
//! are, and a stream of which nothing was read (the connection was refused, say).
//! Likely to help: the wait ends before the deadline, and the upstream did not ask for a longer one than we would wait.
//! The budget keeps retries from feeding an outage: a share of first attempts over 10 s, plus a floor per second.

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Method;
use tokio::time::{Instant, Sleep, sleep};
use tower::{
    Layer, Service,
    retry::{
        Policy, Retry as TowerRetry,
        budget::{Budget, TpsBudget},
        future::ResponseFuture,
    },
};

use super::{
    Attempts, FetchContext, Progress, Reads, UpstreamStats,
    backoff::{Delays, FullJitter},
};
use crate::{
    config::RetryConfig,
    failure::{Failure, Sent},
    http::{Body, Request, Response, upgrade::Upgrade},
};

/// Over which time the budget counts.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// The retries of one upstream; clones share the budget.
#[derive(Clone, Debug)]
pub struct RetryLayer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: RetryConfig,
    budget: TpsBudget,
    stats: Arc<UpstreamStats>,
}

impl RetryLayer {
    /// Retries by `upstream.retry`.
    pub fn new(config: RetryConfig, stats: Arc<UpstreamStats>) -> Self {
        Self(Arc::new(Shared {
            config,
            budget: budget(&config),
            stats,
        }))
    }
}

impl<S> Layer<S> for RetryLayer {
    type Service = Retry<S>;

    fn layer(&self, inner: S) -> Retry<S> {
        Retry {
            inner,
            shared: Arc::clone(&self.0),
        }
    }
}

/// tower's budget counts in whole retries per `n` first attempts and rounds `n` down; rounding it up here keeps the
/// share at or below the percentage that was asked for. From 100 % on it is exact to a thousandth.
fn budget(config: &RetryConfig) -> TpsBudget {
    let share = match config.budget_percent {
        0 => 0.0,
        percent @ 1..100 => 1.0 / (100_u32.div_ceil(percent) as f32 + 0.5),
        percent => percent.min(1_000) as f32 / 100.0,
    };
    let floor = config.budget_min_per_second.min(10_000);
    TpsBudget::new(BUDGET_WINDOW, floor, share)
}

/// Tries again what may be tried again.
#[derive(Clone, Debug)]
pub struct Retry<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Service<Request> for Retry<S>
where
    S: Service<Request, Response = Response, Error = Failure> + Clone,
{
    type Response = Response;
    type Error = Failure;
    type Future = ResponseFuture<RetryPolicy, S, Request>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let request = request.map(Body::with_handles);
        let policy = RetryPolicy::of(&request, Arc::clone(&self.shared));
        // The clone is not ready; the service that was polled is.
        let clone = self.inner.clone();
        let ready = mem::replace(&mut self.inner, clone);
        TowerRetry::new(policy, ready).call(request)
    }
}

/// The decisions for one fetch.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    shared: Arc<Shared>,
    delays: FullJitter,
    retries_left: u32,
    attempts: u32,
    /// The furthest any attempt got: a last one that was refused does not undo what an earlier one may have done.
    sent: Sent,
    deadline: Option<Instant>,
    /// The failure of the latest attempt that was made.
    latest: Option<Failure>,
}

impl RetryPolicy {
    fn of(request: &Request, shared: Arc<Shared>) -> Self {
        let stale_copy = request
            .extensions()
            .get::<FetchContext>()
            .is_some_and(|context| context.stale_copy);
        let retries_left = if stale_copy {
            shared.config.retries_max_stale
        } else {
            shared.config.retries_max
        };
        Self {
            delays: FullJitter::new(&shared.config),
            retries_left,
            attempts: 0,
            sent: Sent::Nothing,
            deadline: request.extensions().get().map(Progress::deadline),
            latest: None,
            shared,
        }
    }

    /// How long to wait before another attempt; `None` where this failure stands.
    fn delay(&mut self, request: &Request, failure: &Failure) -> Option<Duration> {
        let reads = request.extensions().get::<Reads>().is_some();
        let method = if reads {
            &Method::GET
        } else {
            request.method()
        };
        if self.retries_left == 0
            || !failure.is_retryable(method)
            || request.body().is_spent()
            || is_tunnel_under_way(request, failure)
        {
            return None;
        }
        let mut delay = self.delays.next_delay();
        if let Some(asked) = failure.retry_after() {
            // RFC 9110 10.2.3: earlier would be asking for the same answer, and longer is no work for a waiting client.
            if asked > self.shared.config.backoff_max {
                return None;
            }
            delay = delay.max(asked);
        }
        let past_deadline = |deadline: Instant| Instant::now() + delay >= deadline;
        if self.deadline.is_some_and(past_deadline) {
            return None;
        }
        if !self.shared.budget.withdraw() {
            self.shared.stats.retry_denied();
            return None;
        }
        Some(delay)
    }

    /// Counts the attempt behind this result, and writes the sum of all into it.
    fn count(&mut self, result: &mut Result<Response, Failure>) {
        let first = self.attempts == 0;
        match result {
            Ok(response) => {
                self.attempts += 1;
                response.extensions_mut().insert(Attempts(self.attempts));
            }
            Err(failure) if failure.attempts() == 0 => {
                // Refused by breaker or bulkhead. The failure that led here says more, and may bring the upstream's answer.
                if let Some(latest) = self.latest.take() {
                    let retry_after = latest.retry_after().or(failure.retry_after());
                    *failure = latest.with_retry_after(retry_after);
                    self.retries_left = 0;
                }
            }
            Err(failure) => {
                self.attempts += 1;
                self.sent = self.sent.max(failure.sent());
                *failure = failure
                    .clone()
                    .with_attempts(self.attempts)
                    .at_least_sent(self.sent);
                self.latest = Some(failure.clone());
            }
        }
        if first && self.attempts > 0 {
            self.shared.budget.deposit();
        }
    }
}

/// A GET, but for a tunnel: what the upstream has begun for it would begin twice.
fn is_tunnel_under_way(request: &Request, failure: &Failure) -> bool {
    failure.sent() > Sent::Nothing && request.extensions().get::<Upgrade>().is_some()
}

impl Policy<Request, Response, Failure> for RetryPolicy {
    type Future = Sleep;

    fn retry(
        &mut self,
        request: &mut Request,
        result: &mut Result<Response, Failure>,
    ) -> Option<Sleep> {
        self.count(result);
        let failure = result.as_ref().err()?;
        let delay = self.delay(request, failure)?;
        self.retries_left -= 1;
        self.shared.stats.retried();
        Some(sleep(delay))
    }

    fn clone_request(&mut self, request: &Request) -> Option<Request> {
        // Without retries there is nothing to keep a copy for; `Attempts` comes from the attempt itself.
        if self.retries_left == 0 && self.attempts == 0 {
            return None;
        }
        let mut clone = Request::new(request.body().another()?);
        *clone.method_mut() = request.method().clone();
        *clone.uri_mut() = request.uri().clone();
        *clone.version_mut() = request.version();
        *clone.headers_mut() = request.headers().clone();
        *clone.extensions_mut() = request.extensions().clone();
        Some(clone)
    }
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
