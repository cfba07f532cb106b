//! Where answers are heard: on both sides of the contract.
//!
//! `... -> breaker -> [hears] -> contract -> [ear] -> bulkhead -> ...`
//!
//! The inner one sees an answer as the vendor sent it, the outer one whether it was good: what the contract refuses never
//! comes up. Where there is no contract, what streams goes on streaming, and the inner one listens.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::Either;
use http::{HeaderMap, StatusCode};
use tower::{Layer, Service};

use super::learner::{Learner, Question};
use crate::{
    failure::Failure,
    http::{Request, Response},
};

/// What an answer said before it was judged and mapped; comes up with it.
#[derive(Clone)]
struct Overheard(Arc<(Question, StatusCode, HeaderMap, Bytes)>);

/// The outer one: `None` hears nothing and costs nothing.
#[derive(Clone, Debug)]
pub struct HearsLayer(pub Option<Learner>);

/// The inner one.
#[derive(Clone, Copy, Debug)]
pub struct EarLayer;

/// Has good answers learnt.
#[derive(Clone, Debug)]
pub struct Hears<S> {
    inner: S,
    learner: Option<Learner>,
}

/// Hears answers as they came.
#[derive(Clone, Debug)]
pub struct Ear<S>(S);

type BoxFuture = Pin<Box<dyn Future<Output = Result<Response, Failure>> + Send>>;

impl<S> Layer<S> for HearsLayer {
    type Service = Hears<S>;

    fn layer(&self, inner: S) -> Hears<S> {
        let learner = self.0.clone();
        Hears { inner, learner }
    }
}

impl<S> Layer<S> for EarLayer {
    type Service = Ear<S>;

    fn layer(&self, inner: S) -> Ear<S> {
        Ear(inner)
    }
}

impl<S> Service<Request> for Hears<S>
where
    S: Service<Request, Response = Response, Error = Failure>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Failure;
    type Future = Either<S::Future, BoxFuture>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let asked = self
            .learner
            .as_ref()
            .and_then(|learner| learner.asked(request.method(), request.uri(), request.headers()));
        let Some(question) = asked else {
            return Either::Left(self.inner.call(request));
        };
        request.extensions_mut().insert(question);
        let answer = self.inner.call(request);
        Either::Right(Box::pin(async move {
            let mut response = answer.await?;
            if let Some(Overheard(heard)) = response.extensions_mut().remove() {
                let (question, status, headers, body) = &*heard;
                question.heard(*status, headers, body);
            }
            Ok(response)
        }))
    }
}

impl<S> Service<Request> for Ear<S>
where
    S: Service<Request, Response = Response, Error = Failure>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Failure;
    type Future = Either<S::Future, BoxFuture>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let Some(question) = request.extensions_mut().remove::<Question>() else {
            return Either::Left(self.0.call(request));
        };
        let answer = self.0.call(request);
        Either::Right(Box::pin(
            async move { Ok(overhear(question, answer.await?)) },
        ))
    }
}

fn overhear(question: Question, response: Response) -> Response {
    let Some(bytes) = response.body().bytes() else {
        return question.listen(response);
    };
    let (mut head, body) = response.into_parts();
    if head.status.is_success() {
        let heard = (question, head.status, head.headers.clone(), bytes);
        head.extensions.insert(Overheard(Arc::new(heard)));
    }
    Response::from_parts(head, body)
}
