//! Upload: whose turn it is while a request's content is passed on, so that a client that dawdles is not taken for a vendor
//! that does.
//!
//! `[attempt, retry, deadline] -> upload`
//!
//! The content is asked for whenever the connection to the upstream has room. While such a question waits for its answer it is the
//! client's turn; while nothing is asked it is the upstream's, which does not read. A time that runs out in the client's turn is
//! the client's ([`Cause::RequestTimeout`](crate::failure::Cause::RequestTimeout), RFC 9110 15.5.9): it counts for no breaker and
//! is not tried again. How long it was the client's turn in all is no part of what the upstream took.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use crate::http::{Body, BodyError};

/// The content of one request on its way. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Upload(Arc<Mutex<Turns>>);

/// Of the client's turns.
#[derive(Clone, Copy, Debug, Default)]
struct Turns {
    /// When the one that is not over began.
    began: Option<Instant>,
    /// All that are over.
    took: Duration,
}

impl Upload {
    /// Content was asked for and the client has not sent it yet.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.turns().began.is_some()
    }

    /// How long the client was waited for, in all.
    pub(crate) fn waited(&self) -> Duration {
        let Turns { began, took } = *self.turns();
        took + began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    /// `body`, watched. What is here already is nobody's to wait for.
    pub(crate) fn watch(&self, body: Body) -> Body {
        if body.bytes().is_some() {
            return body;
        }
        Body::stream(Watched {
            body,
            upload: self.clone(),
        })
    }

    fn set(&self, waits: bool) {
        let mut turns = self.turns();
        match (turns.began, waits) {
            (None, true) => turns.began = Some(Instant::now()),
            (Some(began), false) => {
                turns.began = None;
                turns.took += began.elapsed();
            }
            _ => {}
        }
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        // Two numbers: whole after a panic too.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Watched {
    body: Body,
    upload: Upload,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.upload.set(polled.is_pending());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::resilience::body::script::{Step, scripted};

    #[tokio::test(start_paused = true)]
    async fn it_is_the_clients_turn_only_while_content_is_asked_for_and_not_there() {
        let upload = Upload::default();
        let steps = [
            Step::Data(b"a"),
            Step::Wait(Duration::from_secs(1)),
            Step::Data(b"b"),
        ];
        let mut body = upload.watch(scripted(steps));
        assert!(!upload.waits_for_client(), "not asked for yet");
        assert!(body.frame().await.is_some());
        assert!(!upload.waits_for_client(), "here");
        assert!(futures_util::poll!(body.frame()).is_pending());
        assert!(upload.waits_for_client(), "asked for");
        assert!(body.frame().await.is_some());
        assert!(!upload.waits_for_client(), "here");
        assert_eq!(upload.waited().as_secs(), 1);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(upload.waited().as_secs(), 1, "the upstream's turn");
    }
}
