//! The envelope around a record on disk: format byte, fixed fields, metadata, checksum.
//!
//! Pure functions. The checksum covers key, fields, metadata and the reference to the body, so that a record found under
//! another key, or paired with another body, is as bad as a torn one. The body carries its own checksum, in the reference.
//!
//! # Invariants
//!
//! - Decoding never panics and never reads past its input, whatever the bytes.
//! - An envelope of another format is an error, never a guess.

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::key::Key;
use crate::clock::Timestamp;

/// The only format there is; a change of any field below needs the next number.
const FORMAT: u8 = 1;
const FIXED: usize = 1 + 8 + 8 + 1 + 8 + 8 + 16 + 4;
const CHECKSUM: usize = 8;

/// Order of writes and removals, over restarts too. Larger is later.
pub(crate) type Stamp = u64;

/// Where a body lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the index, in a tree of its own. Also an empty body, which lies nowhere.
    Index,
    /// In a file.
    File,
}

/// Names a body and says how to know it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BodyRef {
    pub(crate) place: Place,
    /// With the key, the body's name. Bodies are never changed in place: a new one gets a new stamp.
    pub(crate) stamp: Stamp,
    pub(crate) len: u64,
    pub(crate) sum: u128,
}

impl BodyRef {
    /// Whether `body` is the body meant. 128 bits, because "same checksum" also decides not to write a body again.
    pub(crate) fn matches(&self, body: &[u8]) -> bool {
        self.len == body.len() as u64 && self.sum == body_sum(body)
    }
}

/// Checksum of a body.
pub(crate) fn body_sum(body: &[u8]) -> u128 {
    xxh3_128(body)
}

/// Everything of a record but its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Envelope<'a> {
    pub(crate) stamp: Stamp,
    pub(crate) dead_at: Timestamp,
    pub(crate) body: BodyRef,
    pub(crate) meta: &'a [u8],
}

/// Why bytes are not an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    #[error("length does not fit")]
    Length,
    #[error("format {0} is not known")]
    Format(u8),
    #[error("checksum does not match")]
    Checksum,
    #[error("place of the body is not known")]
    Place,
}

/// The bytes of an envelope, for `key` only.
pub(crate) fn encode(key: &Key, envelope: &Envelope<'_>) -> Vec<u8> {
    let Envelope {
        stamp,
        dead_at,
        body,
        meta,
    } = envelope;
    let mut bytes = Vec::with_capacity(FIXED + meta.len() + CHECKSUM);
    bytes.push(FORMAT);
    bytes.extend_from_slice(&stamp.to_le_bytes());
    bytes.extend_from_slice(&dead_at.as_millis().to_le_bytes());
    bytes.push(match body.place {
        Place::Index => 0,
        Place::File => 1,
    });
    bytes.extend_from_slice(&body.stamp.to_le_bytes());
    bytes.extend_from_slice(&body.len.to_le_bytes());
    bytes.extend_from_slice(&body.sum.to_le_bytes());
    // A longer one would fail its length check when read: a miss. The writer refuses it long before.
    bytes.extend_from_slice(&(meta.len() as u32).to_le_bytes());
    bytes.extend_from_slice(meta);
    let sum = checksum(key, &bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// The envelope in `bytes`, if they are one and belong to `key`.
pub(crate) fn decode<'a>(key: &Key, bytes: &'a [u8]) -> Result<Envelope<'a>, Damage> {
    // The format comes first: what follows it is for that format to say.
    match bytes.first() {
        None => return Err(Damage::Length),
        Some(&FORMAT) => {}
        Some(&other) => return Err(Damage::Format(other)),
    }
    let (content, sum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(Damage::Length)?;
    if u64::from_le_bytes(*sum) != checksum(key, content) {
        return Err(Damage::Checksum);
    }
    let mut rest = Fields(&content[1..]);
    let stamp = u64::from_le_bytes(rest.take()?);
    let dead_at = Timestamp::from_millis(u64::from_le_bytes(rest.take()?));
    let place = match rest.take::<1>()? {
        [0] => Place::Index,
        [1] => Place::File,
        _ => return Err(Damage::Place),
    };
    let body = BodyRef {
        place,
        stamp: u64::from_le_bytes(rest.take()?),
        len: u64::from_le_bytes(rest.take()?),
        sum: u128::from_le_bytes(rest.take()?),
    };
    let meta_len = u32::from_le_bytes(rest.take()?);
    if rest.0.len() as u64 != u64::from(meta_len) {
        return Err(Damage::Length);
    }
    Ok(Envelope {
        stamp,
        dead_at,
        body,
        meta: rest.0,
    })
}

fn checksum(key: &Key, content: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(key.as_bytes());
    hasher.update(content);
    hasher.digest()
}

/// Fixed-size fields from the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(Damage::Length)?;
        self.0 = rest;
        Ok(*field)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::testing::key;

    fn envelope(meta: &[u8]) -> Envelope<'_> {
        Envelope {
            stamp: 7,
            dead_at: Timestamp::from_secs(9),
            body: BodyRef {
                place: Place::File,
                stamp: 6,
                len: 3,
                sum: body_sum(b"abc"),
            },
            meta,
        }
    }

    #[test]
    fn an_envelope_is_bound_to_its_key_and_format() {
        let bytes = encode(&key(1), &envelope(b"meta"));
        assert_eq!(decode(&key(1), &bytes), Ok(envelope(b"meta")));
        assert_eq!(decode(&key(2), &bytes), Err(Damage::Checksum));
        let mut other = bytes.clone();
        other[0] = 2;
        assert_eq!(decode(&key(1), &other), Err(Damage::Format(2)));
    }

    #[test]
    fn every_flipped_byte_and_every_truncation_is_damage() {
        let bytes = encode(&key(1), &envelope(b"some meta"));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert!(decode(&key(1), &flipped).is_err(), "byte {at}");
            assert!(decode(&key(1), &bytes[..at]).is_err(), "cut at {at}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            meta in prop::collection::vec(any::<u8>(), 0..600),
            stamp: u64, dead_at: u64, file: bool, body_stamp: u64, len: u64, sum: u128,
        ) {
            let place = if file { Place::File } else { Place::Index };
            let envelope = Envelope {
                stamp,
                dead_at: Timestamp::from_millis(dead_at),
                body: BodyRef { place, stamp: body_stamp, len, sum },
                meta: &meta,
            };
            let bytes = encode(&key(3), &envelope);
            prop_assert_eq!(decode(&key(3), &bytes), Ok(envelope));
        }

        #[test]
        fn decoding_any_bytes_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..200), ours: bool) {
            if ours && let Some(first) = bytes.first_mut() {
                *first = FORMAT;
            }
            prop_assert!(decode(&key(4), &bytes).is_err());
        }
    }
}
