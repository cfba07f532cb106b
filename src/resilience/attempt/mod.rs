//! Attempt: one try at the upstream, in bounded time, with an end that is either an answer or a failure.
//!
//! `bulkhead -> [attempt] -> balance`
//!
//! Where the caller has something better than a broken answer ([`FetchContext::whole_bytes_max`]) the body is read to its
//! end here, so that a truncated, reset or dripping one is a failure that can be retried or hidden. Where there is nothing
//! better it is only held back for a while in the hope of its end ([`FetchContext::hold_back`]). Everything else streams,
//! marked [`Streaming`], under an idle timeout. A status in `failures` is a failure, its answer kept where it is small
//! enough and does not keep the failure waiting.
//!
//! # Invariants
//!
//! - A response without [`Streaming`] has its whole body here, and as long as `Content-Length` says.
//! - The attempt ends at the fetch's deadline if that is nearer than its own timeout: with [`Cause::Deadline`] where no
//!   head had come, so that whoever counts failures below the deadline sees it. Where it was the client who kept both waiting
//!   (`upload.rs`), it is the client's failure.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, header, response::Parts};
use hyper::ext::ReasonPhrase;
use tokio::time::{Instant, timeout_at};
use tower::{Layer, Service};

use super::{
    Attempts, DeadlineHeader, FetchContext, Judge, Progress, Streaming, Timing, UpstreamStats,
    WholeIf, moved_on, upload::Upload,
};
use crate::{
    clock::{Clock, Timestamp},
    config::UpstreamConfig,
    failure::{Cause, Failure, Sent, UpstreamAnswer},
    http::{
        Body, BodyError, Request, Response,
        bodies::Bodies,
        whole::{Read, read_whole},
    },
};

mod idle;
mod retry_after;

use idle::idle_limited;
pub(super) use retry_after::retry_after;

/// How long the body of a failing status is waited for. The status alone decides what happens next, and a retry or a stored
/// answer is worth more than the upstream's words about it: they usually come with the head, so this is only patience for
/// a slow network.
const ERROR_BODY_WAIT: Duration = Duration::from_millis(250);

/// The attempts of one upstream.
#[derive(Clone, Debug)]
pub struct AttemptLayer {
    upstream: Arc<UpstreamConfig>,
    clock: Clock,
    stats: Arc<UpstreamStats>,
}

impl AttemptLayer {
    /// Limits and failing statuses by `upstream`; `clock` dates requests and responses ([`Timing`]).
    pub fn new(upstream: Arc<UpstreamConfig>, clock: Clock, stats: Arc<UpstreamStats>) -> Self {
        Self {
            upstream,
            clock,
            stats,
        }
    }
}

impl<S> Layer<S> for AttemptLayer {
    type Service = Attempt<S>;

    fn layer(&self, inner: S) -> Attempt<S> {
        Attempt {
            inner,
            shared: self.clone(),
        }
    }
}

/// Makes one attempt per call.
#[derive(Clone, Debug)]
pub struct Attempt<S> {
    inner: S,
    shared: AttemptLayer,
}

impl<S> Service<Request> for Attempt<S>
where
    S: Service<Request, Response = Response, Error = Failure>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Failure;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let shared = self.shared.clone();
        let wishes = Wishes::of(&request, &shared.upstream);
        wishes.tell_time_left(&mut request);
        let request = request.map(|body| wishes.upload.watch(body));
        let request_time = shared.clock.now();
        shared.stats.attempted();
        let in_flight = wishes.progress.as_ref().map(Progress::attempt_begun);
        let head = self.inner.call(request);
        Box::pin(async move {
            let result = shared.attempt(head, wishes, request_time).await;
            if let Some(in_flight) = in_flight {
                let sent = result
                    .as_ref()
                    .map_or_else(Failure::sent, |_| Sent::MayHaveActed);
                in_flight.ended(sent);
            }
            result.map_err(|failure| {
                shared.stats.failed(failure.cause());
                failure.with_attempts(1)
            })
        })
    }
}

/// Boxed: what gets here is a miss already.
pub type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response, Failure>> + Send>>;

// --- Wishes ---

/// What the request asks of this attempt.
struct Wishes {
    method: Method,
    whole_bytes_max: Option<u64>,
    /// There is something better than a body that nobody keeps: a copy, or an answer that says why.
    has_better: bool,
    bodies: Bodies,
    whole_if: Option<WholeIf>,
    judge: Option<Judge>,
    hold_back: Option<Duration>,
    ends_at: Instant,
    /// Why it ends then.
    cut_off: Cause,
    progress: Option<Progress>,
    upload: Upload,
}

impl Wishes {
    fn of(request: &Request, upstream: &UpstreamConfig) -> Self {
        let extensions = request.extensions();
        let context = extensions.get::<FetchContext>();
        let progress = extensions.get::<Progress>().cloned();
        let timeout = match context {
            // A hung refresh holds its key's fetch, and a probe of a half-open breaker, for as long as it may take.
            Some(wish) if wish.stale_copy => {
                wish.attempt_timeout.min(upstream.attempt_timeout_stale)
            }
            Some(wish) => wish.attempt_timeout,
            None => upstream.attempt_timeout,
        };
        let timeout_at = moved_on(Instant::now(), timeout);
        let deadline = progress.as_ref().map(Progress::deadline);
        let (ends_at, cut_off) = match deadline {
            Some(deadline) if deadline <= timeout_at => (deadline, Cause::Deadline),
            _ => (timeout_at, Cause::ResponseTimeout),
        };
        Self {
            method: request.method().clone(),
            whole_bytes_max: context.and_then(|wish| wish.whole_bytes_max),
            has_better: context.is_some_and(|wish| wish.stale_copy || wish.unseen_before_whole),
            bodies: extensions.get().cloned().unwrap_or_default(),
            whole_if: extensions.get().cloned(),
            judge: extensions.get().copied(),
            hold_back: context.and_then(|wish| wish.hold_back),
            ends_at,
            cut_off,
            upload: match &progress {
                Some(progress) => progress.upload().clone(),
                None => Upload::default(),
            },
            progress,
        }
    }

    /// Says in the route's field how long the upstream has, in place of what a client said there.
    fn tell_time_left(&self, request: &mut Request) {
        if let Some(DeadlineHeader(name)) = request.extensions_mut().remove() {
            let left = self.ends_at.saturating_duration_since(Instant::now());
            // Rounded down: rather too little time than an answer too late.
            let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            request
                .headers_mut()
                .insert(name, HeaderValue::from(millis));
        }
    }

    /// Why no head came in time.
    fn cut_off(&self) -> Cause {
        if self.upload.waits_for_client() {
            Cause::RequestTimeout
        } else {
            self.cut_off
        }
    }

    /// Up to which size to read this response whole.
    fn whole_bytes_max(&self, head: &Parts) -> Option<u64> {
        // It has no end to wait for.
        let worth_it = !is_event_stream(&head.headers)
            && self.whole_if.as_ref().is_none_or(|whole| whole.holds(head));
        self.whole_bytes_max.filter(|_| worth_it)
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("text/event-stream"))
}

// --- AttemptLayer ---

impl AttemptLayer {
    async fn attempt(
        &self,
        head: impl Future<Output = Result<Response, Failure>>,
        wishes: Wishes,
        request_time: Timestamp,
    ) -> Result<Response, Failure> {
        let response = match timeout_at(wishes.ends_at, head).await {
            Ok(result) => result?,
            Err(_) => return Err(Failure::new(wishes.cut_off(), Sent::MayHaveActed)),
        };
        let (mut head, body) = response.into_parts();
        let response_time = self.clock.now();
        if self.upstream.failures.contains(head.status) {
            return Err(self.status_failure(head, body, &wishes).await);
        }
        let body = if is_bodiless(&wishes.method, head.status) {
            Body::empty()
        } else {
            self.body(&mut head, body, &wishes).await?
        };
        head.extensions.insert(Attempts(1));
        head.extensions.insert(Timing {
            request_time,
            response_time,
        });
        Ok(Response::from_parts(head, body))
    }

    /// Read whole where that is wished and possible, else streamed.
    async fn body(&self, head: &mut Parts, body: Body, wishes: &Wishes) -> Result<Body, Failure> {
        let body = match wishes.whole_bytes_max(head) {
            // What is here already needs no waiting, wished or not.
            None => match body.bytes() {
                Some(bytes) => {
                    let trailers = body.trailers().cloned();
                    return whole(head, bytes, trailers, wishes).await;
                }
                None => body,
            },
            Some(bytes_max) => {
                let hold_until = wishes.hold_back.map(|hold_back| Instant::now() + hold_back);
                let reading = read_whole(body, bytes_max, hold_until, &wishes.bodies);
                let Ok(read) = timeout_at(wishes.ends_at, reading).await else {
                    return Err(body_failure(&BodyError::Timeout));
                };
                match read.map_err(|error| body_failure(&error))? {
                    Read::Whole(read) => {
                        announce(&mut head.headers, read.trailers.as_ref());
                        if let Some(held) = read.held {
                            head.extensions.insert(held);
                        }
                        return whole(head, read.bytes, read.trailers, wishes).await;
                    }
                    Read::NoRoom(_) if wishes.has_better => {
                        return Err(Failure::new(Cause::Overloaded, Sent::MayHaveActed));
                    }
                    Read::NoRoom(body) => body,
                    Read::Part(body) => body,
                }
            }
        };
        head.extensions.insert(Streaming);
        Ok(idle_limited(body, self.upstream.body_idle_timeout))
    }

    /// The failure a failing status is, with the answer where it is small enough and arrives in time.
    async fn status_failure(&self, head: Parts, body: Body, wishes: &Wishes) -> Failure {
        let retry_after = retry_after(
            &head.headers,
            self.clock.now(),
            self.upstream.retry_after_max,
        );
        let body = if is_bodiless(&wishes.method, head.status) {
            Body::empty()
        } else {
            body
        };
        let until = wishes.ends_at.min(Instant::now() + ERROR_BODY_WAIT);
        let bytes_max = self.upstream.error_bytes_max;
        let read = timeout_at(until, read_whole(body, bytes_max, None, &wishes.bodies));
        let failure = match read.await {
            // An error's trailers are not worth keeping (RFC 9110 6.5.1).
            Ok(Ok(Read::Whole(read))) => Failure::from_answer(UpstreamAnswer {
                status: head.status,
                headers: head.headers,
                extensions: own_words(&head.extensions),
                body: read.bytes,
            }),
            // The status alone says that it failed.
            _ => Failure::new(Cause::Status(head.status), Sent::MayHaveActed),
        };
        failure.with_retry_after(retry_after)
    }
}

/// The reason phrase (RFC 9112 4) alone: other extensions belong to this attempt.
fn own_words(head: &Extensions) -> Extensions {
    let mut kept = Extensions::new();
    if let Some(reason) = head.get::<ReasonPhrase>() {
        kept.insert(reason.clone());
    }
    kept
}

/// RFC 9110 6.4.1: these have no content, whatever their fields say.
fn is_bodiless(method: &Method, status: StatusCode) -> bool {
    *method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// RFC 9110 6.6.2: which trailers follow. Without it hyper sends none over HTTP/1.
fn announce(headers: &mut HeaderMap, trailers: Option<&HeaderMap>) {
    let Some(trailers) = trailers.filter(|_| !headers.contains_key(header::TRAILER)) else {
        return;
    };
    let names: Vec<_> = trailers.keys().map(header::HeaderName::as_str).collect();
    if let Ok(names) = HeaderValue::try_from(names.join(", ")) {
        headers.insert(header::TRAILER, names);
    }
}

/// A body that is here, if it is all of it and no failure by what it says.
async fn whole(
    head: &Parts,
    bytes: bytes::Bytes,
    trailers: Option<HeaderMap>,
    wishes: &Wishes,
) -> Result<Body, Failure> {
    let body = checked(head, bytes.clone(), trailers)?;
    let Some(judge) = wishes.judge else {
        return Ok(body);
    };
    match judge.judge(head, bytes.clone()).await {
        None => Ok(body),
        Some(cause) => Err(Failure::from_answer(UpstreamAnswer {
            status: head.status,
            headers: head.headers.clone(),
            extensions: own_words(&head.extensions),
            body: bytes,
        })
        .with_cause(cause)),
    }
}

/// A body that is here, if it is as long as it was announced (RFC 9112 6.3, RFC 9113 8.1.1).
fn checked(
    head: &Parts,
    bytes: bytes::Bytes,
    trailers: Option<HeaderMap>,
) -> Result<Body, Failure> {
    let announced = head
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    if announced.is_some_and(|announced| announced != bytes.len() as u64) {
        return Err(Failure::new(Cause::ResponseIncomplete, Sent::MayHaveActed));
    }
    Ok(Body::full(bytes).with_trailers(trailers))
}

fn body_failure(error: &BodyError) -> Failure {
    let cause = match error {
        BodyError::Timeout => Cause::BodyTimeout,
        _ => Cause::ResponseIncomplete,
    };
    Failure::new(cause, Sent::MayHaveActed).with_source(error.clone())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
