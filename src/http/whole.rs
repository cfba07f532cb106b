//! Reading a body whole, or finding out that it is too large to, or too slow.
//!
//! Trailers stay with their body, however it was read (RFC 9110 6.5).

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::{Body, BodyError};

/// What came of reading.
pub enum Read {
    /// The end was reached; with the trailers, where there are some.
    Whole(Bytes, Option<HeaderMap>),
    /// There is more than the limit, or it takes longer than it is held back: what was read, and the rest behind it.
    Part(Body),
}

/// Reads `body` to its end, until it is known to be larger than `bytes_max`, or until `hold_until`.
///
/// # Errors
///
/// How the body broke before that.
pub async fn read_whole(
    mut body: Body,
    bytes_max: u64,
    hold_until: Option<Instant>,
) -> Result<Read, BodyError> {
    if let Some(bytes) = body.bytes()
        && bytes.len() as u64 <= bytes_max
    {
        return Ok(Read::Whole(bytes, body.trailers().cloned()));
    }
    if body.size_hint().lower() > bytes_max {
        return Ok(Read::Part(body));
    }
    let mut read = Pieces::default();
    loop {
        let frame = match hold_until {
            Some(hold_until) => timeout_at(hold_until, body.frame()).await,
            None => Ok(body.frame().await),
        };
        match frame {
            Ok(None) => return Ok(Read::Whole(read.into_bytes(), None)),
            Ok(Some(frame)) => match frame?.into_data() {
                Ok(data) => read.push(data),
                // Nothing follows trailers.
                Err(frame) => {
                    return Ok(Read::Whole(read.into_bytes(), frame.into_trailers().ok()));
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
#[derive(Default)]
struct Pieces {
    first: Bytes,
    more: BytesMut,
    len: u64,
}

impl Pieces {
    fn push(&mut self, data: Bytes) {
        self.len += data.len() as u64;
        if self.first.is_empty() {
            self.first = data;
        } else {
            self.more.extend_from_slice(&data);
        }
    }

    /// What was read, then the rest.
    fn before(self, rest: Body) -> Body {
        rest.after(self.into_bytes())
    }

    fn into_bytes(self) -> Bytes {
        if self.more.is_empty() {
            return self.first;
        }
        let mut all = BytesMut::with_capacity(self.first.len() + self.more.len());
        all.extend_from_slice(&self.first);
        all.extend_from_slice(&self.more);
        all.freeze()
    }
}
