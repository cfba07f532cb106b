//! Validators of mapped bodies: what tells one version from another follows what the site is served, not what the vendor
//! sent.
//!
//! An entity tag of a mapped body is the vendor's own with the mapping written behind it, so that another mapping of the
//! same version has another tag, and so that it can be turned back when a condition goes to the vendor:
//!
//! ```text
//! vendor "abc"  ->  site "abc;t=0123abcd"        the version abc, mapped by 0123abcd
//! vendor none   ->  site "9f8e..;o=0123abcd"     made here, of the mapped body
//! ```
//!
//! A strong tag stays strong (RFC 9110 8.8.1): a mapping is a pure function, so the same bytes in give the same bytes out.
//!
//! # Invariants
//!
//! - A 304 of the vendor never confirms a body that another mapping made, or none: conditions that are not about this
//!   mapping do not reach the vendor with a request that reads.
//! - What reaches the vendor is what the vendor made: tags in `If-Match` of a write are its own again.
//! - No field that describes the vendor's bytes (length, digests, encoding, ranges) is served with other bytes.
//!
//! Pure. Ranges are the layer's: a mapped route reads whole bodies, and the cache answers ranges from what it stores.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use xxhash_rust::xxh3::xxh3_64;

/// Fields that describe the vendor's bytes: RFC 9530 (`Content-Digest`, `Repr-Digest`) and the older ones it replaces.
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// Tags of one condition that are looked at. No list of versions is longer.
const TAGS_MAX: usize = 64;

/// What makes the site's bodies of the vendor's on one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping(u32);

/// Whose tag it is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// The vendor's, of a body as it came.
    Plain,
    /// The vendor's, mapped: its own tag, and by which mapping.
    Mapped(Vec<u8>, u32),
    /// Made here, for a mapping.
    Ours(u32),
}

impl Mapping {
    /// Of the number that stands for all that changes bodies on the route.
    pub fn new(fingerprint: u64) -> Self {
        Self((fingerprint ^ (fingerprint >> 32)) as u32)
    }

    /// On the way to the vendor: conditions become the vendor's own, or go.
    pub fn on_request(&self, headers: &mut HeaderMap, is_read: bool) {
        self.turn_back_if_match(headers);
        if is_read {
            self.turn_back_if_none_match(headers);
        }
    }

    /// On the way back, with the body that the mapping made: fields that describe the vendor's bytes become the new
    /// body's, or go.
    pub fn on_body(&self, headers: &mut HeaderMap, body: &[u8]) {
        headers.remove(header::CONTENT_ENCODING);
        headers.remove(header::TRANSFER_ENCODING);
        self.on_no_body(headers);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        if !headers.contains_key(header::ETAG) {
            let own = format!("\"{:016x};o={:08x}\"", xxh3_64(body), self.0);
            if let Ok(tag) = HeaderValue::try_from(own) {
                headers.insert(header::ETAG, tag);
            }
        }
    }

    /// On the way back of an answer to HEAD, or of a 304: it speaks of a body that the vendor would send.
    pub fn on_no_body(&self, headers: &mut HeaderMap) {
        for name in &DIGESTS {
            headers.remove(name);
        }
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::ACCEPT_RANGES);
        headers.remove(header::TRAILER);
        let tag = headers
            .get(header::ETAG)
            .and_then(|tag| self.mapped(tag.as_bytes()));
        match tag {
            Some(tag) => {
                headers.insert(header::ETAG, tag);
            }
            // What is no tag (RFC 9110 8.8.3) is none of the mapped body either.
            None => {
                headers.remove(header::ETAG);
            }
        }
    }

    /// On the way back, behind a body that was mapped: digests are of the vendor's bytes.
    pub fn on_trailers(trailers: &mut HeaderMap) {
        for name in &DIGESTS {
            trailers.remove(name);
        }
    }

    /// Whether a tag was given by this mapping.
    pub fn is_mapped_by(&self, tag: &HeaderValue) -> bool {
        match opaque(tag.as_bytes()).map(|(_, tag)| origin(tag)) {
            Some(Origin::Mapped(_, by) | Origin::Ours(by)) => by == self.0,
            _ => false,
        }
    }

    fn mapped(&self, tag: &[u8]) -> Option<HeaderValue> {
        let (weak, tag) = opaque(tag)?;
        let mut mapped = Vec::with_capacity(weak.len() + tag.len() + 13);
        mapped.extend_from_slice(weak);
        mapped.push(b'"');
        mapped.extend_from_slice(tag);
        mapped.extend_from_slice(format!(";t={:08x}\"", self.0).as_bytes());
        HeaderValue::from_bytes(&mapped).ok()
    }

    /// `If-Match` (RFC 9110 13.1.1): of whichever mapping a tag is, the vendor's own in it is the version that the client
    /// means. What was made here matches nothing of the vendor's, so it stays: the vendor refuses.
    fn turn_back_if_match(&self, headers: &mut HeaderMap) {
        turn_back(headers, &header::IF_MATCH, |tag| match origin(tag) {
            Origin::Mapped(vendors, _) => Some(vendors),
            Origin::Plain | Origin::Ours(_) => Some(tag.to_vec()),
        });
    }

    /// `If-None-Match` (RFC 9110 13.1.2): only what this mapping made of the vendor's version may be confirmed.
    fn turn_back_if_none_match(&self, headers: &mut HeaderMap) {
        let mut is_ours = false;
        let mut is_other = !headers.contains_key(header::IF_NONE_MATCH);
        turn_back(headers, &header::IF_NONE_MATCH, |tag| match origin(tag) {
            Origin::Mapped(vendors, by) if by == self.0 => {
                is_ours = true;
                Some(vendors)
            }
            Origin::Ours(by) if by == self.0 => {
                is_ours = true;
                None
            }
            Origin::Plain | Origin::Mapped(..) | Origin::Ours(_) => {
                is_other = true;
                None
            }
        });
        // A date cannot tell which mapping it is of (RFC 9110 13.1.3: it counts where there are no tags).
        if is_other || !is_ours {
            headers.remove(header::IF_MODIFIED_SINCE);
        }
    }
}

/// Replaces the tags of a condition, one by one; the field goes where none is left. `*` stays.
fn turn_back(
    headers: &mut HeaderMap,
    name: &HeaderName,
    mut tag: impl FnMut(&[u8]) -> Option<Vec<u8>>,
) {
    if !headers.contains_key(name) {
        return;
    }
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let mut is_any = false;
    for value in headers.get_all(name) {
        is_any |= value.as_bytes().trim_ascii() == b"*";
        for (weak, opaque) in tags(value.as_bytes()).take(TAGS_MAX) {
            if let Some(opaque) = tag(opaque) {
                kept.push([weak, b"\"", opaque.as_slice(), b"\""].concat());
            }
        }
    }
    headers.remove(name);
    let joined = if is_any {
        b"*".to_vec()
    } else {
        kept.join(&b", "[..])
    };
    if !joined.is_empty()
        && let Ok(value) = HeaderValue::from_bytes(&joined)
    {
        headers.insert(name, value);
    }
}

/// The tags of a list: `W/` or nothing, and what stands between the quotes. A tag may have commas inside.
fn tags(list: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = list;
    std::iter::from_fn(move || {
        let start = rest.iter().position(|byte| *byte == b'"')?;
        let weak: &[u8] = if rest[..start].ends_with(b"W/") {
            b"W/"
        } else {
            b""
        };
        let after = &rest[start + 1..];
        let end = after.iter().position(|byte| *byte == b'"')?;
        rest = &after[end + 1..];
        Some((weak, &after[..end]))
    })
}

/// One tag, and nothing else (RFC 9110 8.8.3).
fn opaque(tag: &[u8]) -> Option<(&[u8], &[u8])> {
    let (weak, quoted): (&[u8], &[u8]) = match tag.strip_prefix(b"W/") {
        Some(quoted) => (b"W/", quoted),
        None => (b"", tag),
    };
    let inner = quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    (!inner.contains(&b'"')).then_some((weak, inner))
}

fn origin(tag: &[u8]) -> Origin {
    let Some((own, by)) = tag.len().checked_sub(11).map(|at| tag.split_at(at)) else {
        return Origin::Plain;
    };
    let number = |prefix: &[u8]| {
        let digits = std::str::from_utf8(by.strip_prefix(prefix)?).ok()?;
        let is_ours = digits
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_ours
            .then(|| u32::from_str_radix(digits, 16).ok())
            .flatten()
    };
    if let Some(by) = number(b";o=") {
        return Origin::Ours(by);
    }
    match number(b";t=") {
        Some(by) => Origin::Mapped(own.to_vec(), by),
        None => Origin::Plain,
    }
}

#[cfg(test)]
mod tests;
