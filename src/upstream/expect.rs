//! Expect: a request whose sender waits to hear whether its content is wanted (`Expect: 100-continue`, RFC 9110 10.1.1).
//!
//! The expectation goes on to the origin with the head, and the content is not touched: hyper tells the client
//! `100 Continue` when the content is first asked for, so nothing is promised here that the origin did not say. What ends
//! the waiting is the origin's `100`, its final response (then the content is never asked for and the connection to the
//! origin, half-way through a request, is closed), or [`WAIT_MAX`]: RFC 9110 10.1.1 has clients not wait for ever, since
//! there are origins that know no expectations.
//!
//! HTTP/2 connections hand out no `100` (`client.rs`): there the content goes at once.
//!
//! # Invariants
//!
//! - The content is asked for once or not at all; a retry finds it untouched.
//! - A connection whose request was never finished is not used again.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{HeaderMap, header};
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::http::{Body, BodyError, Request};

/// How long an origin may keep silent. Clients that do not wait for ever wait about this long (RFC 9110 10.1.1).
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Whether this sender waits before it sends content.
pub(super) fn expects_continue(request: &Request) -> bool {
    is_expectation(request.headers()) && !http_body::Body::is_end_stream(request.body())
}

fn is_expectation(headers: &HeaderMap) -> bool {
    let expect = headers.get(header::EXPECT);
    expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Whether the content may go. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: AtomicU8,
    waker: AtomicWaker,
}

/// Nothing is known yet.
const WAITING: u8 = 0;
/// The content is wanted, or as good as.
const OPEN: u8 = 1;
/// There is a final response; the content is not wanted, and the connection is still needed to read it.
const ANSWERED: u8 = 2;
/// Nothing more is wanted of the connection.
const SHUT: u8 = 3;

impl Gate {
    /// The origin said `100`.
    pub(super) fn open(&self) {
        self.settle(OPEN);
    }

    /// The origin has answered. Its answer's body, which keeps the connection until it ends.
    pub(super) fn answered(self, body: Body) -> Body {
        if !self.settle(ANSWERED) {
            // The content is on its way, and goes on: the origin may read it all before its answer ends.
            return body;
        }
        let shut = Shut(self);
        if body.bytes().is_some() {
            return body;
        }
        Body::stream(Answer { body, _shut: shut })
    }

    /// Whether this ended the waiting.
    fn settle(&self, state: u8) -> bool {
        let settled =
            self.0
                .state
                .compare_exchange(WAITING, state, Ordering::AcqRel, Ordering::Acquire);
        self.0.waker.wake();
        settled.is_ok()
    }

    /// `body`, not touched before the gate is open.
    pub(super) fn before(&self, body: Body) -> Body {
        Body::stream(Held {
            body: Some(body),
            gate: self.clone(),
            sleep: None,
        })
    }
}

/// Shuts the gate when dropped.
struct Shut(Gate);

impl Drop for Shut {
    fn drop(&mut self) {
        let shared = &self.0.0;
        shared.state.store(SHUT, Ordering::Release);
        shared.waker.wake();
    }
}

struct Answer {
    body: Body,
    _shut: Shut,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct Held {
    /// Gone once nobody wants it.
    body: Option<Body>,
    gate: Gate,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Held {
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let shared = &self.gate.0;
        // Registered before the look, or a change between the two would never be heard.
        shared.waker.register(cx.waker());
        match shared.state.load(Ordering::Acquire) {
            OPEN => return Poll::Ready(Ok(())),
            ANSWERED => return Poll::Pending,
            SHUT => {
                self.body = None;
                return Poll::Ready(Err(BodyError::Abandoned));
            }
            _ => {}
        }
        // From here the head is on its way: hyper asks for content only behind it.
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(WAIT_MAX)));
        if sleep.as_mut().poll(cx).is_ready() && self.gate.settle(OPEN) {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.poll_open(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
            Poll::Ready(Ok(())) => self.sleep = None,
        }
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(SizeHint::default, Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn only_a_sender_with_content_expects() {
        for (name, expect, content, want) in [
            ("content and expectation", Some("100-continue"), "x", true),
            ("in any case", Some("100-Continue"), "x", true),
            (
                "no content, nothing to wait for",
                Some("100-continue"),
                "",
                false,
            ),
            (
                "another expectation is the origin's to judge",
                Some("tea"),
                "x",
                false,
            ),
            ("none", None, "x", false),
        ] {
            let mut request = Request::new(Body::full(content));
            if let Some(expect) = expect {
                let expect = http::HeaderValue::from_static(expect);
                request.headers_mut().insert(header::EXPECT, expect);
            }
            assert_eq!(expects_continue(&request), want, "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn content_is_asked_for_after_a_100_and_at_the_latest_after_a_second() {
        for (name, says_so) in [("100", true), ("silence", false)] {
            let (gate, began) = (Gate::default(), Instant::now());
            let mut held = gate.before(Body::full("content"));
            assert!(futures_util::poll!(held.frame()).is_pending(), "{name}");
            if says_so {
                gate.open();
            }
            assert_eq!(
                held.collect().await.unwrap().to_bytes(),
                "content",
                "{name}"
            );
            let waited = if says_so { Duration::ZERO } else { WAIT_MAX };
            assert!(began.elapsed() >= waited && began.elapsed() < waited + WAIT_MAX);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_without_a_100_keeps_the_connection_to_its_end_and_no_longer() {
        let gate = Gate::default();
        let mut held = gate.before(Body::full("content"));
        assert!(futures_util::poll!(held.frame()).is_pending());
        let streaming = Body::full("answer").with_handles();
        let answer = gate.answered(Body::stream(streaming));
        tokio::time::sleep(WAIT_MAX * 3).await;
        assert!(
            futures_util::poll!(held.frame()).is_pending(),
            "never asked for"
        );
        assert_eq!(answer.collect().await.unwrap().to_bytes(), "answer");
        assert!(
            held.frame().await.unwrap().is_err(),
            "hyper closes the connection"
        );
    }
}
