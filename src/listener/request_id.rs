//! Request ids: the name a request goes by in logs, in answers and at the upstream.
//!
//! A well-formed id from the client is kept, so that one name leads through several systems; else one is made: 32
//! hexadecimal digits from a seed of this process and a counter. Unique, not secret.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use tower_http::request_id::{MakeRequestId, RequestId};

/// `X-Request-Id`
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken over from a client, in bytes.
pub const CLIENT_ID_LEN_MAX: usize = 128;

/// Makes ids. One per process; cheap to share by reference.
#[derive(Debug)]
pub struct RequestIds {
    seed: u64,
    key: u64,
    next: AtomicU64,
}

impl RequestIds {
    /// Ids that no other process makes, as far as chance can promise.
    pub fn new() -> Self {
        // The standard library's hasher is seeded by the system; no further source of chance is needed here.
        let random = || RandomState::new().hash_one(std::process::id());
        Self {
            seed: random(),
            key: random(),
            next: AtomicU64::new(0),
        }
    }

    /// A new id. One allocation.
    pub fn next(&self) -> HeaderValue {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        let mut text = BytesMut::with_capacity(32);
        put_hex(&mut text, self.seed);
        // Scrambled (a bijection), so that ids cannot be mistaken for a count of requests.
        put_hex(&mut text, scramble(count ^ self.key));
        HeaderValue::from_maybe_shared(text.freeze())
            .expect("hexadecimal digits are a valid field value")
    }

    /// The client's own id where it sent exactly one well-formed one, else a new one.
    pub fn of(&self, headers: &HeaderMap) -> HeaderValue {
        client_id(headers).cloned().unwrap_or_else(|| self.next())
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new()
    }
}

/// The same for stacks built from tower-http's layers: the admin listener.
#[derive(Clone, Debug, Default)]
pub struct SharedRequestIds(pub std::sync::Arc<RequestIds>);

impl MakeRequestId for SharedRequestIds {
    fn make_request_id<B>(&mut self, request: &http::Request<B>) -> Option<RequestId> {
        Some(RequestId::new(self.0.of(request.headers())))
    }
}

/// 1 to 128 visible ASCII characters, one line: what can be logged and searched for as it is.
fn client_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut lines = headers.get_all(X_REQUEST_ID).into_iter();
    let id = lines.next()?;
    let is_well_formed = (1..=CLIENT_ID_LEN_MAX).contains(&id.len())
        && id.as_bytes().iter().all(u8::is_ascii_graphic)
        && lines.next().is_none();
    is_well_formed.then_some(id)
}

fn put_hex(text: &mut BytesMut, number: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for shift in (0..16).rev() {
        text.put_u8(DIGITS[(number >> (shift * 4)) as usize & 0xf]);
    }
}

/// The finaliser of SplitMix64: every count maps to one number and back.
fn scramble(count: u64) -> u64 {
    let x = count.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn made_ids_are_32_hex_digits_and_differ() {
        let ids = RequestIds::new();
        let made: HashSet<_> = (0..1000).map(|_| ids.next()).collect();
        assert_eq!(made.len(), 1000);
        assert!(
            made.iter()
                .all(|id| id.len() == 32 && id.as_bytes().iter().all(u8::is_ascii_hexdigit))
        );
        assert_ne!(
            RequestIds::new().next().as_bytes()[..16],
            ids.next().as_bytes()[..16]
        );
    }

    #[test]
    fn a_client_id_is_kept_only_if_it_is_well_formed() {
        let long = "x".repeat(129);
        let longest = "x".repeat(128);
        for (name, lines, kept) in [
            ("a plain one is kept", &["abc-123"][..], true),
            ("the longest one is kept", &[&*longest][..], true),
            ("one byte more is not", &[&*long][..], false),
            ("an empty one is not", &[""][..], false),
            ("spaces are not", &["a b"][..], false),
            ("two are not", &["a", "b"][..], false),
            ("none is not", &[][..], false),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(X_REQUEST_ID, HeaderValue::from_str(line).unwrap());
            }
            let id = RequestIds::new().of(&headers);
            assert_eq!(
                lines.first().is_some_and(|line| id == *line),
                kept,
                "{name}"
            );
        }
        let mut headers = HeaderMap::new();
        headers.append(X_REQUEST_ID, HeaderValue::from_bytes(b"caf\xe9").unwrap());
        assert_eq!(
            RequestIds::new().of(&headers).len(),
            32,
            "bytes beyond ASCII are not"
        );
    }
}
