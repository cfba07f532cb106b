//! Bodies the stub sends: whole, made as they are read, dripping, or cut off half-way.
//!
//! # Invariants
//!
//! - Memory is constant: a body of a gigabyte is made piece by piece, as the client reads it.
//! - A body that is cut off never ends: the line does. In HTTP/1.1 when the last piece before the cut
//!   was flushed; in HTTP/2, whose frames another task writes, [`FRAMES_OUT`] later.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http_body::Frame;
use tokio::time::{Sleep, sleep};

use super::line::{Cut, Ending};

/// Largest piece of a made body, unless the request asks for another.
pub(crate) const PIECE_BYTES: usize = 64 * 1024;

/// Time for HTTP/2 frames to leave before the line is cut. No event tells: the task of the connection
/// may have flushed them before the body knows, or after.
const FRAMES_OUT: Duration = Duration::from_millis(50);

/// What a body consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Bytes in memory.
    Whole(Bytes),
    /// The first `bytes` of an endless text (see [`made_bytes`]), in pieces of `piece` bytes.
    Made {
        bytes: u64,
        piece: usize,
        /// Whether the length is told beforehand; if not, HTTP/1.1 sends chunks.
        length_known: bool,
    },
    /// Server-sent events, numbered from 1, one per interval.
    Events { count: u64, every: Duration },
}

/// A body on its way out.
pub(crate) struct StubBody {
    content: Content,
    sent: u64,
    events_sent: u64,
    piece_max: usize,
    gap: Duration,
    pause: Option<Pin<Box<Sleep>>>,
    cut: Option<CutAt>,
}

struct CutAt {
    bytes: u64,
    ending: Ending,
    line: Arc<Cut>,
    protocol: Version,
}

// --- Content ---

impl Content {
    pub(crate) fn empty() -> Self {
        Self::Whole(Bytes::new())
    }

    /// The length, where it is told beforehand.
    pub(crate) fn known_bytes(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::Made {
                bytes,
                length_known,
                ..
            } => length_known.then_some(*bytes),
            Self::Events { .. } => None,
        }
    }
}

// --- StubBody ---

impl StubBody {
    pub(crate) fn new(content: Content) -> Self {
        let (piece_max, gap) = match &content {
            Content::Whole(_) => (usize::MAX, Duration::ZERO),
            Content::Made { piece, .. } => (*piece, Duration::ZERO),
            Content::Events { every, .. } => (usize::MAX, *every),
        };
        Self {
            content,
            sent: 0,
            events_sent: 0,
            piece_max,
            gap,
            pause: None,
            cut: None,
        }
    }

    /// Sends pieces of at most `bytes`, with `gap` before each.
    pub(crate) fn dripping(mut self, bytes: usize, gap: Duration) -> Self {
        self.piece_max = bytes.max(1);
        self.gap = gap;
        self
    }

    /// Ends the line once `bytes` were sent (or the content is out, if that is sooner).
    pub(crate) fn cut_at(
        mut self,
        bytes: u64,
        ending: Ending,
        line: Arc<Cut>,
        protocol: Version,
    ) -> Self {
        self.cut = Some(CutAt {
            bytes,
            ending,
            line,
            protocol,
        });
        self
    }

    /// Waits before the next piece, or before the cut.
    fn poll_pause(&mut self, cx: &mut Context<'_>, length: Duration) -> Poll<()> {
        if !length.is_zero() {
            let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(length)));
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }

    /// Ends the line under the body.
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_http2 = (self.cut.as_ref()).is_some_and(|cut| cut.protocol == Version::HTTP_2);
        if is_http2 {
            ready!(self.poll_pause(cx, FRAMES_OUT));
        }
        match &self.cut {
            Some(cut) if is_http2 => cut.line.now(cut.ending),
            // hyper polls the body and flushes in one go, so that the flush comes after this.
            Some(cut) => cut.line.after_flush(cut.ending),
            None => {}
        }
        Poll::Pending
    }

    /// The next piece; empty at the end.
    fn next_piece(&mut self) -> Bytes {
        let until_cut = (self.cut.as_ref()).map_or(u64::MAX, |cut| cut.bytes - self.sent);
        let most = until_cut.min(self.piece_max as u64);
        let piece = match &self.content {
            Content::Whole(bytes) => {
                let from = self.sent as usize;
                bytes.slice(from..from + (bytes.len() - from).min(most as usize))
            }
            Content::Made { bytes, .. } => made_bytes(self.sent, most.min(bytes - self.sent)),
            Content::Events { count, .. } if self.events_sent < *count => {
                self.events_sent += 1;
                let mut event = event(self.events_sent);
                event.truncate(until_cut as usize);
                event
            }
            Content::Events { .. } => Bytes::new(),
        };
        self.sent += piece.len() as u64;
        piece
    }

    fn is_out(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => self.sent == bytes.len() as u64,
            Content::Made { bytes, .. } => self.sent == *bytes,
            Content::Events { count, .. } => self.events_sent == *count,
        }
    }
}

impl http_body::Body for StubBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let is_out = self.is_out();
        if (self.cut.as_ref()).is_some_and(|cut| is_out || self.sent >= cut.bytes) {
            return self.poll_cut(cx).map(|()| None);
        }
        if is_out {
            return Poll::Ready(None);
        }
        let gap = self.gap;
        ready!(self.poll_pause(cx, gap));
        let piece = self.next_piece();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.cut.is_none() && self.is_out()
    }
}

/// Bytes `from..from + len` (at most [`PIECE_BYTES`]) of the text `0\n1\n2\n...`, in lines of ten.
///
/// Every line holds its own number, so that a piece put in the wrong place shows.
pub(crate) fn made_bytes(from: u64, len: u64) -> Bytes {
    const LINE: u64 = 10;
    let len = len.min(PIECE_BYTES as u64);
    let first_line = from / LINE;
    let mut text = String::with_capacity(len as usize + 2 * LINE as usize);
    let lines = (from + len).div_ceil(LINE) - first_line;
    for line in first_line..first_line + lines {
        text.push_str(&format!("{:09}\n", line % 1_000_000_000));
    }
    let skip = (from % LINE) as usize;
    Bytes::from(text).slice(skip..skip + len as usize)
}

fn event(number: u64) -> Bytes {
    format!("id: {number}\nevent: tick\ndata: {{\"number\":{number}}}\n\n").into()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn made_bytes_do_not_depend_on_how_they_are_cut() {
        let whole = made_bytes(0, 1000);
        for (from, len) in [(0, 1), (9, 2), (10, 10), (123, 456), (999, 1)] {
            let (start, end) = (from as usize, (from + len) as usize);
            assert_eq!(made_bytes(from, len), whole[start..end], "{from}+{len}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn drip_waits_before_each_piece() {
        let begun = tokio::time::Instant::now();
        let mut body =
            StubBody::new(Content::Whole("abcdefgh".into())).dripping(3, Duration::from_secs(1));
        let mut pieces = Vec::new();
        while let Some(frame) = body.frame().await {
            let piece = frame.unwrap().into_data().unwrap();
            pieces.push((begun.elapsed().as_secs(), piece));
        }
        assert_eq!(
            pieces,
            [(1, "abc".into()), (2, "def".into()), (3, "gh".into())]
        );
    }

    #[tokio::test]
    async fn made_body_has_its_length_and_no_large_piece() {
        let content = Content::Made {
            bytes: 200_000,
            piece: 4096,
            length_known: true,
        };
        let mut body = StubBody::new(content);
        let mut total = 0;
        while let Some(frame) = body.frame().await {
            let piece = frame.unwrap().into_data().unwrap();
            assert!(piece.len() <= 4096 && !piece.is_empty());
            total += piece.len();
        }
        assert_eq!(total, 200_000);
    }
}
