//! Reading a body whole, or finding out that it is too large to, or too slow, or that there is no room to hold it.
//!
//! Trailers stay with their body, however it was read (RFC 9110 6.5).

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::{
    Body, BodyError,
    bodies::{Bodies, Held, Reservation},
};

/// What came of reading.
pub enum Read {
    /// The end was reached.
    Whole(Whole),
    /// There is more than the limit, or it takes longer than it is held back: what was read, and the rest behind it.
    Part(Body),
    /// There is no room to hold more of it (`bodies_max`): what was read, and the rest behind it.
    NoRoom(Body),
}

/// A body that is all here.
pub struct Whole {
    /// All of it.
    pub bytes: Bytes,
    /// What came behind it, where there is something.
    pub trailers: Option<HeaderMap>,
    /// What is reserved for the bytes: as long as there are any, or until it is released. `None`: they were here already.
    pub held: Option<Held>,
}

/// Reads `body` to its end, until it is known to be larger than `bytes_max`, until `hold_until`, or until `bodies` has no
/// room for more.
///
/// # Errors
///
/// How the body broke before that.
pub async fn read_whole(
    mut body: Body,
    bytes_max: u64,
    hold_until: Option<Instant>,
    bodies: &Bodies,
) -> Result<Read, BodyError> {
    if let Some(bytes) = body.bytes()
        && bytes.len() as u64 <= bytes_max
    {
        return Ok(Read::Whole(Whole {
            bytes,
            trailers: body.trailers().cloned(),
            held: None,
        }));
    }
    if body.size_hint().lower() > bytes_max {
        return Ok(Read::Part(body));
    }
    let mut read = Pieces::held_in(bodies);
    loop {
        let frame = match hold_until {
            Some(hold_until) => timeout_at(hold_until, body.frame()).await,
            None => Ok(body.frame().await),
        };
        match frame {
            Ok(None) => return Ok(Read::Whole(read.into_whole(None))),
            Ok(Some(frame)) => match frame?.into_data() {
                Ok(data) if read.push(&data) => {}
                // The piece that is here already goes on in front of the rest: it is on its way, as any that streams.
                Ok(data) => return Ok(Read::NoRoom(read.before(body.after(data)))),
                // Nothing follows trailers.
                Err(frame) => {
                    return Ok(Read::Whole(read.into_whole(frame.into_trailers().ok())));
                }
            },
            Err(_held_long_enough) => return Ok(Read::Part(read.before(body))),
        }
        if read.len > bytes_max {
            return Ok(Read::Part(read.before(body)));
        }
    }
}

/// Bytes as they came. One piece, the usual case, is never copied.
struct Pieces {
    first: Bytes,
    more: BytesMut,
    len: u64,
    reservation: Reservation,
}

impl Pieces {
    fn held_in(bodies: &Bodies) -> Self {
        Self {
            first: Bytes::new(),
            more: BytesMut::new(),
            len: 0,
            reservation: bodies.reservation(),
        }
    }

    /// False: there is no room for it.
    fn push(&mut self, data: &Bytes) -> bool {
        if !self.reservation.grow(data.len() as u64) {
            return false;
        }
        self.len += data.len() as u64;
        if self.first.is_empty() {
            self.first = data.clone();
        } else {
            self.more.extend_from_slice(data);
        }
        true
    }

    /// What was read, then the rest.
    fn before(self, rest: Body) -> Body {
        let (bytes, reservation) = self.into_bytes();
        rest.after_held(bytes, reservation)
    }

    fn into_whole(self, trailers: Option<HeaderMap>) -> Whole {
        let (bytes, reservation) = self.into_bytes();
        let (bytes, held) = Held::with(bytes, reservation);
        Whole {
            bytes,
            trailers,
            held: Some(held),
        }
    }

    fn into_bytes(self) -> (Bytes, Reservation) {
        if self.more.is_empty() {
            return (self.first, self.reservation);
        }
        let mut all = BytesMut::with_capacity(self.first.len() + self.more.len());
        all.extend_from_slice(&self.first);
        all.extend_from_slice(&self.more);
        (all.freeze(), self.reservation)
    }
}

#[cfg(test)]
mod tests {
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    fn body() -> Body {
        let pieces = ["abcd", "efgh", "ij"].map(|piece| Ok(Frame::data(Bytes::from(piece))));
        Body::stream(StreamBody::new(futures_util::stream::iter(pieces)))
    }

    #[tokio::test]
    async fn a_whole_body_is_reserved_until_its_bytes_are_gone() {
        let bodies = Bodies::new(10);
        let Ok(Read::Whole(whole)) = read_whole(body(), 100, None, &bodies).await else {
            panic!("there is room for it");
        };
        assert_eq!((&whole.bytes[..], bodies.held()), (&b"abcdefghij"[..], 10));
        drop(whole);
        assert_eq!(bodies.held(), 0);
    }

    #[tokio::test]
    async fn without_room_it_goes_on_from_its_first_byte_and_gives_back_as_it_goes() {
        let bodies = Bodies::new(9);
        let Ok(Read::NoRoom(mut body)) = read_whole(body(), 100, None, &bodies).await else {
            panic!("there is no room for the last piece");
        };
        assert_eq!(bodies.held(), 8);
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((&first[..], bodies.held()), (&b"abcdefgh"[..], 0));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "ij");
    }

    #[tokio::test]
    async fn what_is_too_large_or_abandoned_keeps_nothing_reserved() {
        let bodies = Bodies::new(100);
        let Ok(Read::Part(part)) = read_whole(body(), 6, None, &bodies).await else {
            panic!("it is larger");
        };
        assert_eq!(bodies.held(), 8);
        drop(part);
        assert_eq!(bodies.held(), 0);
    }
}
