//! Read-along: one body that arrives, several readers that get it as it comes, each at its own pace.
//!
//! The fetch writes, clients read. While the whole may still be stored, everything is kept and the writer never waits:
//! storing must not depend on a client. Once it is clear that it will not be ([`Writer::stop_keeping`]: larger than what
//! is stored), only a window is kept and the slowest reader sets the pace, so that memory stays constant.
//!
//! # Invariants
//!
//! - A reader sees every byte from the first on, or an error; never a gap, never a short end.
//! - After `stop_keeping`, at most `window_bytes` plus one piece are held.
//! - What is held is reserved (`bodies_max`), but for one piece on its way where there is no room at all.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use crate::http::{
    Body, BodyError,
    bodies::{Bodies, Reservation},
};

/// Opens a body of this length, where it is known.
pub(super) fn channel(
    length: Option<u64>,
    window_bytes: u64,
    bodies: &Bodies,
) -> (Writer, ReadAlong) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State::new(bodies.reservation())),
        length,
        window_bytes,
    });
    (Writer(Arc::clone(&shared)), ReadAlong(shared))
}

struct Shared {
    state: Mutex<State>,
    length: Option<u64>,
    window_bytes: u64,
}

struct State {
    /// For what is held, as far as there is room.
    reservation: Reservation,
    /// There was none for the latest piece.
    no_room: bool,
    pieces: VecDeque<Bytes>,
    /// Index of the first piece that is still here.
    first: usize,
    held_bytes: u64,
    keeping_ended: bool,
    /// Come behind the last piece (RFC 9110 6.5).
    trailers: Option<HeaderMap>,
    end: Option<Result<(), BodyError>>,
    /// Woken in the order of their coming.
    readers: BTreeMap<u64, Place>,
    next_reader: u64,
    writer: Option<Waker>,
}

#[derive(Default)]
struct Place {
    next: usize,
    waker: Option<Waker>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every operation leaves the state whole, so a panic elsewhere has not broken it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(reservation: Reservation) -> Self {
        Self {
            reservation,
            no_room: false,
            pieces: VecDeque::new(),
            first: 0,
            held_bytes: 0,
            keeping_ended: false,
            trailers: None,
            end: None,
            readers: BTreeMap::new(),
            next_reader: 0,
            writer: None,
        }
    }

    fn wake_readers(&mut self) {
        for place in self.readers.values_mut() {
            if let Some(waker) = place.waker.take() {
                waker.wake();
            }
        }
    }

    /// Lets go of what every reader has had, once nothing needs the whole.
    fn trim(&mut self) {
        if !self.keeping_ended {
            return;
        }
        let needed = self.readers.values().map(|place| place.next).min();
        let needed = needed.unwrap_or(self.first + self.pieces.len());
        while self.first < needed {
            let Some(piece) = self.pieces.pop_front() else {
                break;
            };
            self.first += 1;
            self.held_bytes -= piece.len() as u64;
        }
        self.reservation.shrink_to(self.held_bytes);
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

/// The end that the fetch holds. Dropped without an end, readers get [`BodyError::Abandoned`].
pub(super) struct Writer(Arc<Shared>);

impl Writer {
    /// Adds a piece. False: there is no room to hold it, so that keeping the whole has to stop; the piece goes to those who
    /// read, as one on its way, and the next has to wait until they have had it ([`Writer::room`]).
    pub(super) fn push(&self, piece: Bytes) -> bool {
        if piece.is_empty() {
            return true;
        }
        let mut state = self.0.lock();
        let has_room = state.reservation.grow(piece.len() as u64);
        state.no_room = !has_room;
        state.held_bytes += piece.len() as u64;
        state.pieces.push_back(piece);
        state.wake_readers();
        has_room
    }

    /// What comes behind the last piece.
    pub(super) fn trailers(&self, trailers: HeaderMap) {
        self.0.lock().trailers = Some(trailers);
    }

    /// The body ended, well or badly.
    pub(super) fn end(&self, end: Result<(), BodyError>) {
        let mut state = self.0.lock();
        if state.end.is_none() {
            state.end = Some(end);
            state.wake_readers();
        }
    }

    /// From now on the whole is not needed: readers that are there go on, none can join.
    pub(super) fn stop_keeping(&self) {
        let mut state = self.0.lock();
        state.keeping_ended = true;
        state.trim();
    }

    /// Waits until there is room for another piece. False: nobody reads any more, so there is no point in going on.
    pub(super) async fn room(&self) -> bool {
        std::future::poll_fn(|cx| {
            let mut state = self.0.lock();
            if !state.keeping_ended {
                return Poll::Ready(true);
            }
            if state.readers.is_empty() {
                return Poll::Ready(false);
            }
            let window_bytes = if state.no_room {
                1
            } else {
                self.0.window_bytes
            };
            if state.held_bytes < window_bytes {
                return Poll::Ready(true);
            }
            state.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Everything so far in one piece. Only whole before `stop_keeping`.
    pub(super) fn collected(&self) -> Bytes {
        let state = self.0.lock();
        if state.pieces.len() == 1 {
            return state.pieces[0].clone();
        }
        let mut whole = BytesMut::with_capacity(state.held_bytes as usize);
        for piece in &state.pieces {
            whole.extend_from_slice(piece);
        }
        whole.freeze()
    }
}

impl Writer {
    /// The trailers, if they have come.
    pub(super) fn collected_trailers(&self) -> Option<HeaderMap> {
        self.0.lock().trailers.clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end(Err(BodyError::Abandoned));
    }
}

/// What readers are made from.
#[derive(Clone)]
pub(super) struct ReadAlong(Arc<Shared>);

impl ReadAlong {
    /// A body from the first byte on; `None` if it is too late for that.
    pub(super) fn reader(&self) -> Option<Body> {
        let mut state = self.0.lock();
        if state.first > 0 || state.keeping_ended {
            return None;
        }
        let id = state.next_reader;
        state.next_reader += 1;
        state.readers.insert(id, Place::default());
        drop(state);
        Some(Body::stream(Reader {
            shared: Arc::clone(&self.0),
            id,
            read_bytes: 0,
        }))
    }
}

struct Reader {
    shared: Arc<Shared>,
    id: u64,
    read_bytes: u64,
}

impl http_body::Body for Reader {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let shared = Arc::clone(&self.shared);
        let mut guard = shared.lock();
        let state = &mut *guard;
        let Some(place) = state.readers.get_mut(&self.id) else {
            return Poll::Ready(None);
        };
        let Some(piece) = state.pieces.get(place.next - state.first) else {
            return match &state.end {
                None => {
                    place.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
                Some(Ok(())) => {
                    let trailers = state.trailers.clone();
                    // Gone from the list: its next frame is the end.
                    state.readers.remove(&self.id);
                    Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
                }
                Some(Err(error)) => Poll::Ready(Some(Err(error.clone()))),
            };
        };
        let piece = piece.clone();
        place.next += 1;
        state.trim();
        self.read_bytes += piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        match self.shared.length {
            Some(length) => SizeHint::with_exact(length.saturating_sub(self.read_bytes)),
            None => SizeHint::default(),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.readers.remove(&self.id);
        state.trim();
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn piece(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    async fn text(body: Body) -> Result<String, BodyError> {
        let bytes = body.collect().await?.to_bytes();
        Ok(String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn without_room_pieces_go_one_by_one_and_nothing_stays_reserved() {
        let bodies = Bodies::new(4);
        let (writer, along) = channel(None, 100, &bodies);
        let mut reader = along.reader().unwrap();
        assert!(writer.push(piece("abc")));
        assert!(!writer.push(piece("de")), "there is room for four");
        writer.stop_keeping();
        assert_eq!(bodies.held(), 3);
        let mut room = Box::pin(writer.room());
        for want in ["abc", "de"] {
            assert!(futures_util::poll!(&mut room).is_pending(), "{want}");
            let got = reader.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(got, want);
        }
        assert!(room.await);
        assert_eq!(bodies.held(), 0);
        assert!(writer.push(piece("f")), "there is room again");
        assert!(writer.room().await);
        drop(reader);
        assert_eq!(bodies.held(), 0);
        drop((writer, along));
        assert_eq!(bodies.held(), 0);
    }

    #[tokio::test]
    async fn a_late_reader_gets_everything_from_the_start() {
        let (writer, along) = channel(None, 4, &Bodies::default());
        let early = tokio::spawn(text(along.reader().unwrap()));
        writer.push(piece("ab"));
        writer.push(piece("cd"));
        let late = tokio::spawn(text(along.reader().unwrap()));
        writer.push(piece("ef"));
        writer.end(Ok(()));
        assert_eq!(early.await.unwrap().unwrap(), "abcdef");
        assert_eq!(late.await.unwrap().unwrap(), "abcdef");
        assert_eq!(writer.collected(), "abcdef");
    }

    #[tokio::test]
    async fn every_reader_gets_the_trailers_once_behind_the_last_piece() {
        let (writer, along) = channel(None, 4, &Bodies::default());
        let readers = [along.reader().unwrap(), along.reader().unwrap()];
        writer.push(piece("ab"));
        let trailers = HeaderMap::from_iter([(http::header::ETAG, "\"x\"".parse().unwrap())]);
        writer.trailers(trailers.clone());
        writer.end(Ok(()));
        for reader in readers {
            let read = reader.collect().await.unwrap();
            assert_eq!(read.trailers(), Some(&trailers));
            assert_eq!(read.to_bytes(), "ab");
        }
    }

    #[tokio::test]
    async fn a_body_that_breaks_is_an_error_for_every_reader() {
        let (writer, along) = channel(Some(6), 4, &Bodies::default());
        let reader = along.reader().unwrap();
        writer.push(piece("ab"));
        drop(writer);
        assert!(matches!(text(reader).await, Err(BodyError::Abandoned)));
    }

    #[tokio::test]
    async fn once_not_kept_the_slowest_reader_sets_the_pace_and_memory_is_constant() {
        let (writer, along) = channel(None, 4, &Bodies::default());
        let mut slow = along.reader().unwrap();
        writer.push(piece("abcd"));
        writer.stop_keeping();
        assert!(along.reader().is_none(), "too late to join");
        let mut room = Box::pin(writer.room());
        assert!(futures_util::poll!(&mut room).is_pending());
        slow.frame().await.unwrap().unwrap();
        assert!(room.await);
        assert_eq!(writer.0.lock().held_bytes, 0);
        drop(slow);
        assert!(!writer.room().await, "nobody reads any more");
    }
}
