//! The body every layer passes on: nothing, bytes in memory (with trailers, if it had some), or a stream that arrives.
//!
//! A hit is `Bytes` by reference and costs no box; only what streams is boxed.
//!
//! # Invariants
//!
//! - A stream that ends early is an error, never a short end: framing is checked by whoever made the stream.
//! - Of the handles on one stream ([`Body::another`]) one reads all of it and the others none of it.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::bodies::Reservation;

/// Why a body did not reach its end.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The sender closed or reset the connection, or broke the framing, before the end.
    #[error("body ended early")]
    Incomplete(#[source] SharedError),
    /// No byte, or not the last byte, arrived in time.
    #[error("body did not arrive in time")]
    Timeout,
    /// Larger than this place accepts.
    #[error("body is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit that was passed, in bytes.
        limit_bytes: u64,
    },
    /// Whoever fetched the body for several readers gave up.
    #[error("the fetch behind this body was given up")]
    Abandoned,
}

/// A cause that several waiters can hold.
#[derive(Clone, Debug)]
pub struct SharedError(Arc<dyn Error + Send + Sync>);

impl SharedError {
    /// Wraps any error.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::from(error.into()))
    }
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for SharedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

type BoxStream = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError> + Send>>;

/// Bytes in memory are handed on in pieces of this size at most, so that whoever buffers a piece buffers no more.
const PIECE_BYTES: usize = 64 << 10;

/// A request or response body.
#[derive(Default)]
pub struct Body(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    /// Boxed, because hardly any body has trailers.
    Trailed(Box<(Bytes, HeaderMap)>),
    Stream(BoxStream),
    Handle(Handle),
}

/// One of several handles on a stream. The first that reads takes the stream out of the shared place.
struct Handle {
    place: Arc<Mutex<Option<BoxStream>>>,
    taken: Option<BoxStream>,
}

impl Body {
    /// No content.
    pub const fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// Bytes that are all here.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() {
            Self::empty()
        } else {
            Self(Kind::Full(bytes))
        }
    }

    /// The same with trailers behind it (RFC 9110 6.5). A stream has its own already.
    ///
    /// Its length is not told: what says a length in HTTP/1 has no place for trailers (RFC 9112 7.1.2).
    #[must_use]
    pub fn with_trailers(self, trailers: Option<HeaderMap>) -> Self {
        let Some(trailers) = trailers.filter(|trailers| !trailers.is_empty()) else {
            return self;
        };
        match self.0 {
            Kind::Empty => Self(Kind::Trailed(Box::new((Bytes::new(), trailers)))),
            Kind::Full(bytes) => Self(Kind::Trailed(Box::new((bytes, trailers)))),
            Kind::Trailed(trailed) => Self(Kind::Trailed(Box::new((trailed.0, trailers)))),
            stream => Self(stream),
        }
    }

    /// The trailers of a body that is all here.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        match &self.0 {
            Kind::Trailed(trailed) => Some(&trailed.1),
            _ => None,
        }
    }

    /// A body that arrives piece by piece. Its size hint must be exact where the length is known.
    pub fn stream<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes, Error = BodyError> + Send + 'static,
    {
        Self(Kind::Stream(Box::pin(body)))
    }

    /// A body received by hyper; its errors become [`BodyError::Incomplete`].
    pub fn received(body: hyper::body::Incoming) -> Self {
        if http_body::Body::is_end_stream(&body) {
            return Self::empty();
        }
        Self::stream(Received(body))
    }

    /// The bytes, if all of them are already here.
    pub fn bytes(&self) -> Option<Bytes> {
        match &self.0 {
            Kind::Empty => Some(Bytes::new()),
            Kind::Full(bytes) => Some(bytes.clone()),
            Kind::Trailed(trailed) => Some(trailed.0.clone()),
            Kind::Stream(_) | Kind::Handle(_) => None,
        }
    }

    /// The same body, ready for [`Body::another`].
    #[must_use]
    pub fn with_handles(self) -> Self {
        match self.0 {
            Kind::Stream(stream) => Self(Kind::Handle(Handle {
                place: Arc::new(Mutex::new(Some(stream))),
                taken: None,
            })),
            kind => Self(kind),
        }
    }

    /// The same body once more, for another attempt: bytes are shared, of a stream it is a further handle. `None` for a
    /// stream without handles.
    pub fn another(&self) -> Option<Self> {
        match &self.0 {
            Kind::Empty => Some(Self::empty()),
            Kind::Full(bytes) => Some(Self::full(bytes.clone())),
            Kind::Trailed(trailed) => Some(Self(Kind::Trailed(trailed.clone()))),
            Kind::Stream(_) => None,
            Kind::Handle(handle) => Some(Self(Kind::Handle(Handle {
                place: Arc::clone(&handle.place),
                taken: None,
            }))),
        }
    }

    /// Another handle has begun to read the stream, so that nothing can be read here any more.
    pub fn is_spent(&self) -> bool {
        match &self.0 {
            Kind::Handle(handle) => handle.taken.is_none() && handle.place().is_none(),
            _ => false,
        }
    }

    /// These bytes, then this body.
    #[must_use]
    pub fn after(self, first: Bytes) -> Self {
        Self::stream(Prefixed {
            first,
            held: None,
            rest: self,
        })
    }

    /// The same, with what is reserved for these bytes: given back as they go.
    #[must_use]
    pub(super) fn after_held(self, first: Bytes, held: Reservation) -> Self {
        Self::stream(Prefixed {
            first,
            held: Some(held),
            rest: self,
        })
    }

    /// The length in bytes, where it is known.
    pub fn exact_len(&self) -> Option<u64> {
        http_body::Body::size_hint(self).exact()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) if bytes.len() > PIECE_BYTES => {
                let piece = bytes.split_to(PIECE_BYTES);
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Trailed(trailed) if !trailed.0.is_empty() => {
                let len = trailed.0.len().min(PIECE_BYTES);
                Poll::Ready(Some(Ok(Frame::data(trailed.0.split_to(len)))))
            }
            Kind::Trailed(trailed) => {
                let trailers = std::mem::take(&mut trailed.1);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Kind::Stream(stream) => stream.as_mut().poll_frame(cx),
            Kind::Handle(handle) => handle.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(_) | Kind::Trailed(_) => false,
            Kind::Stream(stream) => stream.is_end_stream(),
            Kind::Handle(handle) => handle.look(http_body::Body::is_end_stream, false),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Trailed(trailed) => {
                let mut hint = SizeHint::new();
                hint.set_lower(trailed.0.len() as u64);
                hint
            }
            Kind::Stream(stream) => stream.size_hint(),
            Kind::Handle(handle) => handle.look(http_body::Body::size_hint, SizeHint::default()),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Empty => f.write_str("Body::Empty"),
            Kind::Full(bytes) => write!(f, "Body::Full({} bytes)", bytes.len()),
            Kind::Trailed(trailed) => {
                write!(f, "Body::Trailed({} bytes)", trailed.0.len())
            }
            Kind::Stream(_) | Kind::Handle(_) => f.write_str("Body::Stream"),
        }
    }
}

impl Handle {
    fn place(&self) -> MutexGuard<'_, Option<BoxStream>> {
        // Nothing but taking it out happens under the lock.
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.taken.is_none() {
            let stream = self.place().take();
            self.taken = stream;
        }
        match &mut self.taken {
            Some(stream) => stream.as_mut().poll_frame(cx),
            None => Poll::Ready(Some(Err(BodyError::Abandoned))),
        }
    }

    fn look<T>(&self, at: impl FnOnce(&BoxStream) -> T, spent: T) -> T {
        match &self.taken {
            Some(stream) => at(stream),
            None => self.place().as_ref().map_or(spent, at),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::full(bytes)
    }
}

/// What is here already, then the rest.
struct Prefixed {
    first: Bytes,
    held: Option<Reservation>,
    rest: Body,
}

impl http_body::Body for Prefixed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.rest).poll_frame(cx);
        }
        // In pieces, so that what is on its way, and counted nowhere, is never much.
        let len = self.first.len().min(PIECE_BYTES);
        let piece = self.first.split_to(len);
        let left = self.first.len() as u64;
        if let Some(held) = &self.held {
            held.shrink_to(left);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.len() as u64;
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(first.saturating_add(rest.lower()));
        if let Some(upper) = rest.upper() {
            hint.set_upper(first.saturating_add(upper));
        }
        hint
    }
}

struct Received(hyper::body::Incoming);

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(cx));
        Poll::Ready(
            frame.map(|result| {
                result.map_err(|error| BodyError::Incomplete(SharedError::new(error)))
            }),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    fn streamed() -> Body {
        let pieces =
            ["ab", "cd"].map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))));
        Body::stream(StreamBody::new(futures_util::stream::iter(pieces)))
    }

    #[tokio::test]
    async fn the_handle_that_reads_first_gets_all_and_the_others_know() {
        let first = streamed().with_handles();
        let mut second = first.another().expect("it has handles");
        drop(first);
        assert!(!second.is_spent(), "nobody has read yet");

        let third = second.another().expect("it has handles");
        assert_eq!(
            second.frame().await.unwrap().unwrap().into_data().unwrap(),
            "ab"
        );
        assert!(third.is_spent() && !second.is_spent());
        assert!(matches!(third.collect().await, Err(BodyError::Abandoned)));
        assert_eq!(second.collect().await.unwrap().to_bytes(), "cd");
    }

    #[tokio::test]
    async fn trailers_come_behind_all_bytes_and_no_length_is_told() {
        let trailers = || HeaderMap::from_iter([(http::header::ETAG, "\"x\"".parse().unwrap())]);
        for (name, bytes) in [
            ("none", 0),
            ("one piece", 10),
            ("several", PIECE_BYTES * 2 + 1),
        ] {
            let body = Body::full(vec![b'a'; bytes]).with_trailers(Some(trailers()));
            assert_eq!(body.exact_len(), None, "{name}");
            assert!(!http_body::Body::is_end_stream(&body), "{name}");
            assert_eq!(body.bytes().unwrap().len(), bytes, "{name}");
            let read = body.another().unwrap().collect().await.unwrap();
            assert_eq!(read.trailers(), Some(&trailers()), "{name}");
            assert_eq!(read.to_bytes().len(), bytes, "{name}");
        }
        let none = Body::full("ab").with_trailers(Some(HeaderMap::new()));
        assert_eq!(none.exact_len(), Some(2), "an empty section is none");
    }

    #[test]
    fn bytes_are_shared_and_a_plain_stream_is_not() {
        let bytes = Body::full("ab").with_handles();
        assert_eq!(
            bytes.another().and_then(|body| body.bytes()),
            Some("ab".into())
        );
        assert!(!bytes.is_spent());
        assert!(streamed().another().is_none());
    }
}
