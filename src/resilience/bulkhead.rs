//! Bulkhead: caps the requests in flight to one upstream, so that a slow one cannot take all the proxy has.
//!
//! `breaker -> [bulkhead] -> attempt`
//!
//! Full means a failure at once, never a queue: a stale answer above is sooner than a queue is short. The permit lives
//! until the response body has ended or is dropped, because a body that drips occupies the upstream as much as a head
//! that hangs.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{Layer, Service};

use super::{UpstreamStats, body::watched};
use crate::{
    failure::{Cause, Failure, Sent},
    http::{Request, Response},
};

/// The compartment of one upstream; clones share its permits.
#[derive(Clone, Debug)]
pub struct BulkheadLayer {
    in_flight_max: usize,
    permits: Arc<Semaphore>,
    stats: Arc<UpstreamStats>,
}

impl BulkheadLayer {
    /// Room for `in_flight_max` requests.
    pub fn new(in_flight_max: usize, stats: Arc<UpstreamStats>) -> Self {
        let in_flight_max = in_flight_max.min(Semaphore::MAX_PERMITS);
        Self {
            in_flight_max,
            permits: Arc::new(Semaphore::new(in_flight_max)),
            stats,
        }
    }

    /// Requests with the upstream now, streaming bodies included.
    pub fn in_flight(&self) -> usize {
        self.in_flight_max - self.permits.available_permits()
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
        let state = match Arc::clone(&self.shared.permits).try_acquire_owned() {
            Ok(permit) => State::Admitted {
                inner: self.inner.call(request),
                permit: Some(permit),
            },
            Err(_) => {
                self.shared.stats.failed(Cause::BulkheadFull);
                State::Full
            }
        };
        ResponseFuture { state }
    }
}

pin_project! {
    /// The response with its permit on it, or [`Cause::BulkheadFull`].
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = Projected]
    enum State<F> {
        Admitted { #[pin] inner: F, permit: Option<OwnedSemaphorePermit> },
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
                let permit = permit.take();
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
mod tests {
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::{
        http::Body,
        resilience::body::script::{Step, scripted},
    };

    fn request() -> Request {
        Request::new(Body::empty())
    }

    #[tokio::test]
    async fn one_request_too_many_fails_at_once_and_a_dropped_one_makes_room() {
        let layer = BulkheadLayer::new(1, Arc::default());
        let hanging = tower::service_fn(|_| std::future::pending::<Result<Response, Failure>>());
        let mut service = layer.layer(hanging);
        let first = service.call(request());
        let refused = service.call(request()).await.expect_err("full");
        assert_eq!(refused.cause(), Cause::BulkheadFull);
        assert_eq!(refused.sent(), Sent::Nothing);
        assert_eq!(layer.in_flight(), 1);
        drop(first);
        assert_eq!(layer.in_flight(), 0);
    }

    #[tokio::test]
    async fn a_streamed_body_keeps_its_place_until_it_has_ended_or_is_dropped() {
        let layer = BulkheadLayer::new(2, Arc::default());
        let streaming = layer.layer(tower::service_fn(|_| async {
            Ok::<_, Failure>(Response::new(scripted([Step::Data(b"a")])))
        }));
        let read = streaming
            .clone()
            .oneshot(request())
            .await
            .expect("admitted");
        let dropped = streaming.oneshot(request()).await.expect("admitted");
        assert_eq!(layer.in_flight(), 2);
        drop(dropped);
        assert_eq!(layer.in_flight(), 1);
        let mut body = read.into_body();
        while body.frame().await.is_some() {}
        assert_eq!(layer.in_flight(), 0, "ended, though not dropped");
    }

    #[tokio::test]
    async fn a_whole_body_gives_its_place_back_with_the_head() {
        let layer = BulkheadLayer::new(1, Arc::default());
        let whole = layer.layer(tower::service_fn(|_| async {
            Ok::<_, Failure>(Response::new(Body::full("whole")))
        }));
        let _response = whole.oneshot(request()).await.expect("admitted");
        assert_eq!(layer.in_flight(), 0);
    }
}
