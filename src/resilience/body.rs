//! A streamed body watched to its end, so that what a request holds is given back when its body is done.
//!
//! Bodies that are whole already are not wrapped: their end is now.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::http::{Body, BodyError};

/// Calls `end` once when the body has ended or broken. A body dropped before its end drops `end` uncalled, with all it
/// holds.
pub(crate) fn watched<F>(body: Body, end: F) -> Body
where
    F: FnOnce(Result<(), &BodyError>) + Send + Unpin + 'static,
{
    if body.bytes().is_some() {
        end(Ok(()));
        return body;
    }
    Body::stream(Watched {
        inner: body,
        end: Some(end),
    })
}

struct Watched<F> {
    inner: Body,
    end: Option<F>,
}

impl<F> http_body::Body for Watched<F>
where
    F: FnOnce(Result<(), &BodyError>) + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Err(error)) => {
                if let Some(end) = self.end.take() {
                    end(Err(error));
                }
            }
            // A reader that trusts `is_end_stream` never polls for the `None` behind the last frame.
            Some(Ok(_)) if !self.inner.is_end_stream() => {}
            Some(Ok(_)) | None => {
                if let Some(end) = self.end.take() {
                    end(Ok(()));
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
pub(crate) mod script {
    //! A body played from a list of frames, for the tests of every layer here.

    use std::collections::VecDeque;

    use tokio::time::{Duration, Instant, Sleep};

    use super::*;
    use crate::http::body::SharedError;

    /// One step of a scripted body.
    pub(crate) enum Step {
        Data(&'static [u8]),
        Wait(Duration),
        Break,
    }

    struct Scripted {
        steps: VecDeque<Step>,
        wait: Option<Pin<Box<Sleep>>>,
    }

    /// A stream that plays `steps`, then ends.
    pub(crate) fn scripted(steps: impl IntoIterator<Item = Step>) -> Body {
        Body::stream(Scripted {
            steps: steps.into_iter().collect(),
            wait: None,
        })
    }

    impl http_body::Body for Scripted {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            loop {
                if let Some(wait) = &mut self.wait {
                    ready!(wait.as_mut().poll(cx));
                    self.wait = None;
                }
                match self.steps.pop_front() {
                    None => return Poll::Ready(None),
                    Some(Step::Data(bytes)) => {
                        return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(bytes)))));
                    }
                    Some(Step::Wait(time)) => {
                        let until = Instant::now() + time;
                        self.wait = Some(Box::pin(tokio::time::sleep_until(until)));
                    }
                    Some(Step::Break) => {
                        let error = SharedError::new("connection reset");
                        return Poll::Ready(Some(Err(BodyError::Incomplete(error))));
                    }
                }
            }
        }
    }
}
