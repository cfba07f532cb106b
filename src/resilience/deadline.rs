//! Deadline: one budget of time over all attempts of a fetch.
//!
//! `contract -> [deadline] -> retry`
//!
//! Creates the [`Progress`] that the layers below share. Where it cuts a fetch off, the failure says whether anything may
//! have been acted on. Attempts end themselves at the deadline, so that the breaker sees their end; this layer is what
//! holds when the time passed elsewhere. A streamed body is not covered: its idle timeout is.
//!
//! Where the route asks, each attempt tells the upstream what is left of the time ([`DeadlineHeader`]), so that it need not work
//! for an answer that nobody waits for. Time that a client took to send its content is the client's (`upload.rs`).

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::HeaderName;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::{Layer, Service};

use super::{DeadlineHeader, FetchContext, Progress, UpstreamStats, moved_on};
use crate::{
    failure::{Cause, Failure},
    http::{Request, Response},
};

/// Wraps a service in one [`Deadline`]; the time comes with each request ([`FetchContext::deadline`]).
#[derive(Clone, Debug)]
pub struct DeadlineLayer {
    stats: Arc<UpstreamStats>,
    header: Option<DeadlineHeader>,
}

impl DeadlineLayer {
    /// Expiries are counted in `stats`.
    pub fn new(stats: Arc<UpstreamStats>) -> Self {
        Self {
            stats,
            header: None,
        }
    }

    /// Has attempts say in this field how many milliseconds they have left.
    #[must_use]
    pub fn told_in(mut self, header: Option<HeaderName>) -> Self {
        self.header = header.map(DeadlineHeader);
        self
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline {
            inner,
            shared: self.clone(),
        }
    }
}

/// Ends a fetch at its deadline.
#[derive(Clone, Debug)]
pub struct Deadline<S> {
    inner: S,
    shared: DeadlineLayer,
}

impl<S> Service<Request> for Deadline<S>
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
        let context = request
            .extensions()
            .get::<FetchContext>()
            .copied()
            .unwrap_or_default();
        let progress = Progress::new(moved_on(Instant::now(), context.deadline));
        request.extensions_mut().insert(progress.clone());
        if let Some(header) = &self.shared.header {
            request.extensions_mut().insert(header.clone());
        }
        ResponseFuture {
            inner: self.inner.call(request),
            sleep: sleep_until(progress.deadline()),
            progress,
            stats: Arc::clone(&self.shared.stats),
        }
    }
}

pin_project! {
    /// The response, or [`Cause::Deadline`].
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        #[pin]
        sleep: Sleep,
        progress: Progress,
        stats: Arc<UpstreamStats>,
    }
}

impl<F> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response, Failure>>,
{
    type Output = Result<Response, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // First what is below: an answer that came in time is an answer even if this task was woken late.
        if let Poll::Ready(result) = this.inner.poll(cx) {
            return Poll::Ready(result);
        }
        if this.sleep.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let cause = if this.progress.upload().waits_for_client() {
            Cause::RequestTimeout
        } else {
            Cause::Deadline
        };
        this.stats.failed(cause);
        let failure =
            Failure::new(cause, this.progress.sent()).with_attempts(this.progress.attempts());
        Poll::Ready(Err(failure))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tower::{ServiceBuilder, ServiceExt};

    use super::*;
    use crate::{failure::Sent, http::Body};

    fn request(deadline: Duration) -> Request {
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(FetchContext {
            deadline,
            ..FetchContext::default()
        });
        request
    }

    async fn cut_off(began: bool) -> Failure {
        let hanging = tower::service_fn(move |request: Request| {
            if began {
                let progress = request.extensions().get::<Progress>();
                progress.expect("inserted by the layer").attempt_begun();
            }
            std::future::pending::<Result<Response, Failure>>()
        });
        ServiceBuilder::new()
            .layer(DeadlineLayer::new(Arc::default()))
            .service(hanging)
            .oneshot(request(Duration::from_secs(2)))
            .await
            .expect_err("hangs")
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_ends_at_its_deadline_and_says_what_was_sent() {
        let began = Instant::now();
        let failure = cut_off(true).await;
        assert_eq!(began.elapsed().as_secs(), 2);
        assert_eq!(failure.cause(), Cause::Deadline);
        assert_eq!(failure.sent(), Sent::MayHaveActed);
        assert_eq!(failure.attempts(), 1);
        assert_eq!(cut_off(false).await.sent(), Sent::Nothing);
    }
}
