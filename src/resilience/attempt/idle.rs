//! Idle timeout of a streamed body: a sender that brings nothing for too long is broken off.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use crate::{
    http::{Body, BodyError},
    resilience::moved_on,
};

/// `body`, broken off with [`BodyError::Timeout`] once it was awaited for `idle_max` without a frame. The time runs only
/// while somebody waits: a slow reader is not a slow sender.
pub(super) fn idle_limited(body: Body, idle_max: Duration) -> Body {
    if body.bytes().is_some() {
        return body;
    }
    Body::stream(IdleLimited {
        inner: Some(body),
        idle_max,
        sleep: None,
        waiting: false,
    })
}

struct IdleLimited {
    /// Gone once it was broken off, so that its connection is not kept.
    inner: Option<Body>,
    idle_max: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl IdleLimited {
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let idle_max = self.idle_max;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(idle_max)));
        if !self.waiting {
            self.waiting = true;
            sleep.as_mut().reset(moved_on(Instant::now(), idle_max));
        }
        sleep.as_mut().poll(cx)
    }
}

impl http_body::Body for IdleLimited {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = Pin::new(inner).poll_frame(cx) {
            self.waiting = false;
            return Poll::Ready(frame);
        }
        if self.poll_idle(cx).is_pending() {
            return Poll::Pending;
        }
        self.inner = None;
        Poll::Ready(Some(Err(BodyError::Timeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(SizeHint::default, Body::size_hint)
    }
}
