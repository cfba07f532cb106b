//! Retry: another attempt where that is safe and likely to help, inside a budget shared by all fetches of an upstream.
//!
//! `deadline -> [retry] -> breaker`
//!
//! Safe: nothing was sent, or doing it twice does nothing more: the method is idempotent (RFC 9110 9.2.2), the route says that it
//! only reads, or the request carries a key by which the upstream knows it again (`retry.idempotency_header`). And the content is
//! still here to be sent again: bytes are, and a stream of which nothing was read (the connection was refused, say). Content behind
//! such a key is read before the first attempt, up to `retry.body_bytes_max`, unless its sender waits to hear whether it is wanted
//! at all (RFC 9110 10.1.1).
//!
//! Worth it: somebody waits, and the less where a stored copy can answer (`retries_max_stale`). A refresh behind an answer is tried
//! once: serving stale answers may not ask more of an upstream than serving fresh ones.
//!
//! Likely to help: behind the wait there is time for an answer before the deadline, as long as this route's answers take on average
//! and `retry.attempt_min` at least; and the upstream did not ask for a longer wait than we would take. The budget (`budget.rs`)
//! keeps retries from feeding an outage.
//!
//! A request lost on a kept connection is repeated below (`repeat.rs`), by leave from here.

use std::{
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Method, header};
use tokio::time::{Instant, Sleep, sleep};
use tower::{
    Layer, Service,
    retry::{Policy, Retry as TowerRetry},
};

use super::{
    Attempts, FetchContext, Progress, Reads, Repeat, RetryBudget, UpstreamStats,
    backoff::{Delays, FullJitter},
};
use crate::{
    config::RetryConfig,
    failure::{Cause, Failure, Sent},
    http::{
        Body, BodyError, Request, Response,
        idempotency::is_keyed,
        method::is_idempotent,
        upgrade::Upgrade,
        whole::{Read, read_whole},
    },
};

/// The retries of one upstream; clones share the budget.
#[derive(Clone, Debug)]
pub struct RetryLayer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: RetryConfig,
    budget: RetryBudget,
    stats: Arc<UpstreamStats>,
}

impl RetryLayer {
    /// Retries by `upstream.retry`.
    pub fn new(config: RetryConfig, stats: Arc<UpstreamStats>) -> Self {
        Self(Arc::new(Shared {
            budget: RetryBudget::new(&config),
            config,
            stats,
        }))
    }

    /// What all further requests to this upstream are taken out of.
    pub fn budget(&self) -> &RetryBudget {
        &self.0.budget
    }
}

impl<S> Layer<S> for RetryLayer {
    type Service = Retry<S>;

    fn layer(&self, inner: S) -> Retry<S> {
        Retry {
            inner,
            shared: Arc::clone(&self.0),
            usual: Arc::default(),
        }
    }
}

/// Tries again what may be tried again.
#[derive(Clone, Debug)]
pub struct Retry<S> {
    inner: S,
    shared: Arc<Shared>,
    /// Of one route: a layer makes one service for each.
    usual: Arc<UsualLatency>,
}

/// Boxed: what gets here is a miss already.
pub type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response, Failure>> + Send>>;

impl<S> Service<Request> for Retry<S>
where
    S: Service<Request, Response = Response, Error = Failure> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Failure;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The clone is not ready; the service that was polled is.
        let clone = self.inner.clone();
        let ready = mem::replace(&mut self.inner, clone);
        let (shared, usual) = (Arc::clone(&self.shared), Arc::clone(&self.usual));
        Box::pin(async move {
            let request = shared.keep_content(request).await?;
            let mut request = request.map(Body::with_handles);
            let mut policy = RetryPolicy::of(&request, shared, usual);
            policy.leave = policy.leave_to_repeat(&request);
            if let Some(leave) = policy.leave.clone() {
                request.extensions_mut().insert(leave);
            }
            TowerRetry::new(policy, ready).call(request).await
        })
    }
}

impl Shared {
    fn is_keyed(&self, request: &Request) -> bool {
        is_keyed(request, self.config.idempotency_header.as_ref())
    }

    /// The request, with content that can be sent again where it may be and is not too long.
    async fn keep_content(&self, request: Request) -> Result<Request, Failure> {
        let streams = request.body().bytes().is_none();
        if !streams
            || !self.is_keyed(&request)
            || request.headers().contains_key(header::EXPECT)
            || request.extensions().get::<Upgrade>().is_some()
        {
            return Ok(request);
        }
        let (head, body) = request.into_parts();
        let body = match head.extensions.get::<Progress>() {
            Some(progress) => progress.upload().watch(body),
            None => body,
        };
        let bodies = head.extensions.get().cloned().unwrap_or_default();
        let body = match read_whole(body, self.config.body_bytes_max, None, &bodies).await {
            Ok(Read::Whole(read)) => Body::full(read.bytes).with_trailers(read.trailers),
            Ok(Read::Part(body) | Read::NoRoom(body)) => body,
            Err(error) => {
                let cause = match error {
                    BodyError::TooLarge { .. } => Cause::RequestTooLarge,
                    _ => Cause::RequestBody,
                };
                self.stats.failed(cause);
                return Err(Failure::new(cause, Sent::Nothing).with_source(error));
            }
        };
        Ok(Request::from_parts(head, body))
    }
}

/// How long attempts of one route take that succeed, on average over about the last eight.
#[derive(Debug, Default)]
struct UsualLatency(AtomicU64);

impl UsualLatency {
    fn learn(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        // A lost update between two threads loses one latency of many.
        let known = self.0.load(Ordering::Relaxed);
        let usual = match known {
            0 => took,
            known => known - known / 8 + took / 8,
        };
        self.0.store(usual, Ordering::Relaxed);
    }

    /// Zero while nothing is known.
    fn now(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// The decisions for one fetch.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    shared: Arc<Shared>,
    usual: Arc<UsualLatency>,
    /// Doing it twice does nothing more.
    is_repeatable: bool,
    /// When the latest attempt began …
    began: Instant,
    /// … and how long the client had been waited for by then.
    waited: Duration,
    progress: Option<Progress>,
    leave: Option<Repeat>,
    delays: FullJitter,
    retries_left: u32,
    attempts: u32,
    /// The furthest any attempt got: a last one that was refused does not undo what an earlier one may have done.
    sent: Sent,
    /// The failure of the latest attempt that was made.
    latest: Option<Failure>,
}

impl RetryPolicy {
    fn of(request: &Request, shared: Arc<Shared>, usual: Arc<UsualLatency>) -> Self {
        let context = request.extensions().get::<FetchContext>();
        let retries_left = match context {
            Some(context) if !context.awaited => 0,
            Some(context) if context.stale_copy => shared.config.retries_max_stale,
            _ => shared.config.retries_max,
        };
        Self {
            delays: FullJitter::new(&shared.config),
            retries_left,
            attempts: 0,
            sent: Sent::Nothing,
            progress: request.extensions().get().cloned(),
            is_repeatable: is_idempotent(request.method())
                || request.extensions().get::<Reads>().is_some()
                || shared.is_keyed(request),
            began: Instant::now(),
            waited: Duration::ZERO,
            leave: None,
            latest: None,
            usual,
            shared,
        }
    }

    /// For the client, which alone can tell that a request was lost on a kept connection.
    fn leave_to_repeat(&self, request: &Request) -> Option<Repeat> {
        let is_tunnel = request.extensions().get::<Upgrade>().is_some();
        (self.is_repeatable && !is_tunnel).then(|| {
            let Shared { budget, stats, .. } = &*self.shared;
            Repeat::new(budget.clone(), Arc::clone(stats), self.progress.clone())
        })
    }

    /// Whether an attempt that begins after `delay` could still bring an answer in time.
    fn is_in_time(&self, delay: Duration) -> bool {
        let Some(progress) = &self.progress else {
            return true;
        };
        let least = self.usual.now().max(self.shared.config.attempt_min);
        Instant::now() + delay + least < progress.deadline()
    }

    /// How long to wait before another attempt; `None` where this failure stands.
    fn delay(&mut self, request: &Request, failure: &Failure) -> Option<Duration> {
        let method = if self.is_repeatable {
            &Method::GET
        } else {
            request.method()
        };
        // A repetition that failed too was one of them.
        let repeated = self.leave.as_ref().is_some_and(Repeat::is_used);
        if self.retries_left <= u32::from(repeated)
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
        if !self.is_in_time(delay) {
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
                let waited = self.waited_for_client().saturating_sub(self.waited);
                self.usual
                    .learn(self.began.elapsed().saturating_sub(waited));
                self.attempts += 1;
                let attempts = Attempts(self.attempts_made());
                response.extensions_mut().insert(attempts);
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
                    .with_attempts(self.attempts_made())
                    .at_least_sent(self.sent);
                self.latest = Some(failure.clone());
            }
        }
        if first && self.attempts > 0 {
            self.shared.budget.deposit();
        }
    }

    fn waited_for_client(&self) -> Duration {
        let progress = self.progress.as_ref();
        progress.map_or(Duration::ZERO, Progress::waited_for_client)
    }

    /// Attempts so far, hedges and repetitions included.
    fn attempts_made(&self) -> u32 {
        let begun = self.progress.as_ref().map_or(0, Progress::attempts);
        self.attempts.max(begun)
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
        // Called just before each attempt. Where nothing may be tried again the copy is kept all the same: without it nobody
        // would be told of the first attempt's end.
        self.began = Instant::now();
        self.waited = self.waited_for_client();
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
