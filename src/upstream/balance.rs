//! Balance: which endpoint answers this attempt.
//!
//! `attempt -> [balance] -> client`
//!
//! The less loaded of two drawn at random; not one that just failed to connect, and for a retry not the one that failed.
//! Where that leaves none, the wishes give way in that order: an attempt always goes somewhere.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::Service;

use super::endpoint::{self, Endpoint, EndpointSnapshot};
use crate::{
    chance,
    failure::Failure,
    http::{Request, Response},
    resilience::Progress,
};

/// The endpoint behind a response. A response extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedBy {
    /// Its place in the config.
    pub index: usize,
    /// Its URL, without credentials.
    pub uri: Arc<str>,
}

/// The endpoints of one upstream as one service. Clones share them.
#[derive(Clone)]
pub struct Balance(Arc<[Endpoint]>);

impl Balance {
    /// Over these; at least one.
    pub(super) fn new(endpoints: Vec<Endpoint>) -> Self {
        Self(endpoints.into())
    }

    pub(super) fn snapshot(&self) -> Vec<EndpointSnapshot> {
        let now = Instant::now();
        let endpoints = self.0.iter().map(|endpoint| EndpointSnapshot {
            uri: Arc::clone(endpoint.uri()),
            skipped: endpoint.skipped_until().is_some_and(|until| now < until),
        });
        endpoints.collect()
    }

    fn choose(&self, avoid: Option<usize>) -> usize {
        if self.0.len() == 1 {
            return 0;
        }
        let skipped: Vec<_> = self.0.iter().map(Endpoint::skipped_until).collect();
        let candidates = candidates(&skipped, avoid, Instant::now());
        match draw_two(candidates.len(), chance::word(), chance::word()) {
            (one, other) if one == other => candidates[one],
            (one, other) => {
                let (one, other) = (candidates[one], candidates[other]);
                if self.0[other].cost() < self.0[one].cost() {
                    other
                } else {
                    one
                }
            }
        }
    }
}

impl Service<Request> for Balance {
    type Response = Response;
    type Error = Failure;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let progress = request.extensions().get::<Progress>();
        let index = self.choose(progress.and_then(Progress::last_endpoint));
        if let Some(progress) = progress {
            progress.endpoint_chosen(index);
        }
        ResponseFuture {
            inner: self.0[index].call(request),
            endpoints: Arc::clone(&self.0),
            index,
        }
    }
}

pin_project! {
    /// The response, marked with its endpoint ([`ServedBy`]).
    pub struct ResponseFuture {
        #[pin]
        inner: endpoint::ResponseFuture,
        endpoints: Arc<[Endpoint]>,
        index: usize,
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut result = ready!(this.inner.poll(cx));
        let endpoint = &this.endpoints[*this.index];
        endpoint.heard(&result, Instant::now());
        if let Ok(response) = &mut result {
            response.extensions_mut().insert(ServedBy {
                index: *this.index,
                uri: Arc::clone(endpoint.uri()),
            });
        }
        Poll::Ready(result)
    }
}

/// Which endpoints may be drawn from, never none. `skipped` says until when each is out of the choice.
fn candidates(skipped: &[Option<Instant>], avoid: Option<usize>, now: Instant) -> Vec<usize> {
    let well: Vec<usize> = (0..skipped.len())
        .filter(|index| skipped[*index].is_none_or(|until| until <= now))
        .collect();
    let preferred: Vec<usize> = well
        .iter()
        .copied()
        .filter(|index| Some(*index) != avoid)
        .collect();
    if !preferred.is_empty() {
        preferred
    } else if !well.is_empty() {
        well
    } else {
        // All are out: the one that is back soonest.
        (0..skipped.len())
            .min_by_key(|index| skipped[*index])
            .into_iter()
            .collect()
    }
}

/// Two places of `len`, drawn evenly, different where there are two.
fn draw_two(len: usize, first: u32, second: u32) -> (usize, usize) {
    let one = first as usize % len;
    if len < 2 {
        return (one, one);
    }
    let other = second as usize % (len - 1);
    (one, if other >= one { other + 1 } else { other })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tower::ServiceExt;

    use super::*;
    use crate::{
        http::Body,
        upstream::{
            client::tests::{Refusing, origin},
            client_config,
            network::Network,
        },
    };

    #[test]
    fn an_attempt_always_goes_somewhere_sensible() {
        let now = Instant::now();
        let out = |millis| Some(now + Duration::from_millis(millis));
        for (name, skipped, avoid, want) in [
            ("all are well", vec![None, None, None], None, vec![0, 1, 2]),
            ("a retry goes elsewhere", vec![None, None], Some(1), vec![0]),
            (
                "one cannot be connected to",
                vec![out(5), None],
                None,
                vec![1],
            ),
            ("its time is over", vec![out(0), None], None, vec![0, 1]),
            (
                "rather the one that failed than one that is out",
                vec![out(5), None],
                Some(1),
                vec![1],
            ),
            (
                "all are out: the soonest",
                vec![out(9), out(3), out(5)],
                Some(1),
                vec![1],
            ),
            ("a single one", vec![None], Some(0), vec![0]),
        ] {
            assert_eq!(candidates(&skipped, avoid, now), want, "{name}");
        }
    }

    #[tokio::test]
    async fn an_endpoint_that_refuses_is_out_until_one_that_answers_clears_it() {
        let refusing = Refusing::new();
        let origin = origin(["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]).await;
        for (uri, want_out) in [(refusing.uri(), true), (origin.uri(), false)] {
            let endpoints = endpoint::endpoints(&client_config(&[uri]), &Network::system())
                .expect("sound config");
            let balance = Balance::new(endpoints);
            let mut request = Request::new(Body::empty());
            let progress = Progress::new(Instant::now());
            request.extensions_mut().insert(progress.clone());
            let result = balance.clone().oneshot(request).await;
            assert_eq!(result.is_err(), want_out, "{uri}");
            assert_eq!(balance.0[0].skipped_until().is_some(), want_out, "{uri}");
            assert_eq!(progress.last_endpoint(), Some(0));
        }
    }

    proptest! {
        #[test]
        fn two_are_drawn_and_they_differ(len in 1usize..9, first: u32, second: u32) {
            let (one, other) = draw_two(len, first, second);
            prop_assert!(one < len && other < len);
            prop_assert_eq!(one == other, len == 1);
        }
    }
}
