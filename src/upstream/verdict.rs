//! Verdict: tells the roster how each attempt at an endpoint ended.
//!
//! `bulkhead -> [verdict] -> attempt -> balance`
//!
//! Outside of the attempt, because only there it is known that a body broke off or that the time was over; the endpoint is
//! chosen inside, so what [`super::balance`] takes is passed out through a slot on the request. Without this layer
//! attempts are made, and nothing is learnt from them.
//!
//! A failure while another endpoint is well is marked as one of this endpoint only, so that nobody leaves the upstream alone
//! for it.
//!
//! # Invariants
//!
//! - A ticket always comes back: with the outcome, or as unknown when the call is dropped, cancelled or panics.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::StatusCode;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::{
    balance::{Slot, Taken},
    ejection::Outcome,
};
use crate::{
    failure::{Cause, Failure},
    http::{Request, Response},
    resilience::{Streaming, body::watched},
};

/// Wraps an attempt in a [`Verdict`].
#[derive(Clone, Copy, Debug, Default)]
pub struct VerdictLayer;

impl<S> Layer<S> for VerdictLayer {
    type Service = Verdict<S>;

    fn layer(&self, inner: S) -> Verdict<S> {
        Verdict { inner }
    }
}

/// Judges attempts.
#[derive(Clone, Debug)]
pub struct Verdict<S> {
    inner: S,
}

impl<S> Service<Request> for Verdict<S>
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
        // A slot of its own for each attempt: a retry and a hedge are requests with the same extensions.
        let slot = Slot::default();
        request.extensions_mut().insert(slot.clone());
        ResponseFuture {
            inner: self.inner.call(request),
            slot,
        }
    }
}

pin_project! {
    /// The response, heard.
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        slot: Slot,
    }
}

impl<F> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response, Failure>>,
{
    type Output = Result<Response, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        let Some(taken) = this.slot.take() else {
            return Poll::Ready(result);
        };
        Poll::Ready(match result {
            Ok(response) if response.extensions().get::<Streaming>().is_some() => {
                Ok(streamed(response, taken))
            }
            Ok(response) => {
                let _others_well = taken.finish(Outcome::Well);
                Ok(response)
            }
            Err(failure) => {
                let outcome = outcome(&failure);
                let others_well = taken.finish(outcome);
                Err(match outcome {
                    Outcome::Unreachable | Outcome::Failed if others_well => {
                        failure.of_one_endpoint()
                    }
                    _ => failure,
                })
            }
        })
    }
}

/// A stream is well when it has ended well. Who leaves before has learnt nothing more.
fn streamed(response: Response, taken: Taken) -> Response {
    let taken = taken.begun();
    response.map(|body| {
        watched(body, move |end| {
            let _others_well = taken.finish(match end {
                Ok(()) => Outcome::Well,
                Err(_) => Outcome::Failed,
            });
        })
    })
}

fn outcome(failure: &Failure) -> Outcome {
    match failure.cause() {
        Cause::Dns | Cause::ConnectRefused | Cause::ConnectTimeout | Cause::Tls => {
            Outcome::Unreachable
        }
        // It answers. That it was asked too much, or cannot do what was asked, is no matter of this endpoint.
        Cause::Status(StatusCode::TOO_MANY_REQUESTS)
        | Cause::GraphqlErrors
        | Cause::Contract(_) => Outcome::Well,
        Cause::Status(status) if !status.is_server_error() => Outcome::Well,
        cause if cause.is_upstream() => Outcome::Failed,
        _ => Outcome::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Sent;

    #[test]
    fn an_endpoint_is_judged_by_what_it_did() {
        for (name, cause, want) in [
            ("no name", Cause::Dns, Outcome::Unreachable),
            ("refused", Cause::ConnectRefused, Outcome::Unreachable),
            (
                "no connection in time",
                Cause::ConnectTimeout,
                Outcome::Unreachable,
            ),
            ("reset", Cause::ConnectionTerminated, Outcome::Failed),
            ("no answer in time", Cause::ResponseTimeout, Outcome::Failed),
            ("the deadline", Cause::Deadline, Outcome::Failed),
            (
                "a body that broke off",
                Cause::ResponseIncomplete,
                Outcome::Failed,
            ),
            (
                "503",
                Cause::Status(StatusCode::SERVICE_UNAVAILABLE),
                Outcome::Failed,
            ),
            (
                "429",
                Cause::Status(StatusCode::TOO_MANY_REQUESTS),
                Outcome::Well,
            ),
            (
                "404 where it fails",
                Cause::Status(StatusCode::NOT_FOUND),
                Outcome::Well,
            ),
            ("our own doing", Cause::Internal, Outcome::Unknown),
            ("the client's doing", Cause::RequestBody, Outcome::Unknown),
        ] {
            let failure = Failure::new(cause, Sent::MayHaveActed);
            assert_eq!(outcome(&failure), want, "{name}");
        }
    }
}
