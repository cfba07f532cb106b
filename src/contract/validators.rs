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
mod tests {
    use super::*;

    const MAPPING: Mapping = Mapping(0x0123_abcd);

    fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                let value = HeaderValue::from_str(value).expect("a value");
                (HeaderName::from_static(name), value)
            })
            .collect()
    }

    #[test]
    fn conditions_of_a_request_that_reads_become_the_vendors_or_go() {
        const DATE: &str = "Thu, 26 Nov 2026 20:00:00 GMT";
        for (name, tags, date, want_tags, want_date) in [
            (
                "a tag of this mapping is turned back",
                Some("\"abc;t=0123abcd\""),
                true,
                Some("\"abc\""),
                true,
            ),
            (
                "a weak one stays weak",
                Some("W/\"abc;t=0123abcd\""),
                false,
                Some("W/\"abc\""),
                false,
            ),
            (
                "an empty one, too",
                Some("\";t=0123abcd\""),
                false,
                Some("\"\""),
                false,
            ),
            (
                "a tag of another mapping goes, and the date with it",
                Some("\"abc;t=00000001\""),
                true,
                None,
                false,
            ),
            (
                "a tag from before there was a mapping goes, and the date with it",
                Some("\"abc\""),
                true,
                None,
                false,
            ),
            (
                "a tag made here goes; the date says when it was mapped",
                Some("\"0f;o=0123abcd\""),
                true,
                None,
                true,
            ),
            (
                "one made here for another mapping takes the date with it",
                Some("\"0f;o=00000001\""),
                true,
                None,
                false,
            ),
            (
                "a date alone says nothing about the mapping",
                None,
                true,
                None,
                false,
            ),
            (
                "of a list what is of this mapping stays",
                Some("\"a;t=0123abcd\", \"b\", W/\"c;t=0123abcd\""),
                true,
                Some("\"a\", W/\"c\""),
                false,
            ),
            (
                "a comma inside a tag is part of it",
                Some("\"a,b;t=0123abcd\", \"x\""),
                false,
                Some("\"a,b\""),
                false,
            ),
            (
                "any version is any version",
                Some("*"),
                false,
                Some("*"),
                false,
            ),
            ("what is no tag goes", Some("abc"), true, None, false),
            (
                "a tag that only looks like one is the vendor's",
                Some("\"abc;t=0123ABCD\""),
                false,
                None,
                false,
            ),
            (
                "a mapped tag of a tag that looks mapped loses one end",
                Some("\"a;t=11111111;t=0123abcd\""),
                false,
                Some("\"a;t=11111111\""),
                false,
            ),
            ("no condition stays none", None, false, None, false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(tags) = tags {
                headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(tags));
            }
            if date {
                headers.insert(header::IF_MODIFIED_SINCE, HeaderValue::from_static(DATE));
            }
            MAPPING.on_request(&mut headers, true);
            let got = headers
                .get(header::IF_NONE_MATCH)
                .and_then(|value| value.to_str().ok());
            assert_eq!(got, want_tags, "{name}");
            assert_eq!(
                headers.contains_key(header::IF_MODIFIED_SINCE),
                want_date,
                "{name}: the date"
            );
        }
    }

    #[test]
    fn conditions_of_a_write_are_about_the_vendors_version() {
        for (name, field, given, want) in [
            (
                "this mapping's",
                "if-match",
                "\"abc;t=0123abcd\"",
                "\"abc\"",
            ),
            (
                "another mapping's: the version is the same",
                "if-match",
                "\"abc;t=00000001\"",
                "\"abc\"",
            ),
            ("the vendor's own", "if-match", "\"abc\"", "\"abc\""),
            (
                "made here: it matches nothing, so the vendor refuses",
                "if-match",
                "\"0f;o=0123abcd\"",
                "\"0f;o=0123abcd\"",
            ),
            ("any", "if-match", "*", "*"),
            ("what must not be there yet", "if-none-match", "*", "*"),
            (
                "a list",
                "if-match",
                "\"a;t=0123abcd\",\"b\"",
                "\"a\", \"b\"",
            ),
        ] {
            let mut headers = fields(&[(field, given)]);
            MAPPING.on_request(&mut headers, false);
            assert_eq!(
                headers.get(field).map(HeaderValue::as_bytes),
                Some(want.as_bytes()),
                "{name}"
            );
        }
    }

    #[test]
    fn several_lines_of_one_condition_are_one_list() {
        let mut headers = HeaderMap::new();
        for tag in ["\"a;t=0123abcd\"", "\"b\"", "\"c;t=0123abcd\""] {
            headers.append(header::IF_NONE_MATCH, HeaderValue::from_static(tag));
        }
        MAPPING.on_request(&mut headers, true);
        let got: Vec<_> = headers.get_all(header::IF_NONE_MATCH).iter().collect();
        assert_eq!(got, ["\"a\", \"c\""]);
    }

    #[test]
    fn fields_of_a_mapped_body_are_about_the_mapped_body() {
        let vendors = [
            ("content-length", "999"),
            ("content-encoding", "gzip"),
            ("content-type", "application/json"),
            ("content-md5", "x"),
            ("digest", "sha-256=x"),
            ("content-digest", "sha-256=:x:"),
            ("repr-digest", "sha-256=:x:"),
            ("accept-ranges", "bytes"),
            ("trailer", "digest"),
            ("last-modified", "Thu, 26 Nov 2026 20:00:00 GMT"),
            ("vary", "accept-encoding"),
            ("etag", "\"abc\""),
        ];
        let mut headers = fields(&vendors);
        MAPPING.on_body(&mut headers, b"{\"price\":1}");
        let want = fields(&[
            ("content-length", "11"),
            ("content-type", "application/json"),
            ("last-modified", "Thu, 26 Nov 2026 20:00:00 GMT"),
            ("vary", "accept-encoding"),
            ("etag", "\"abc;t=0123abcd\""),
        ]);
        assert_eq!(headers, want);

        // A 304 and an answer to HEAD name the same tag, and no length.
        let mut headers = fields(&vendors);
        MAPPING.on_no_body(&mut headers);
        assert_eq!(
            headers.get(header::ETAG).map(HeaderValue::as_bytes),
            Some(&b"\"abc;t=0123abcd\""[..])
        );
        assert!(!headers.contains_key(header::CONTENT_LENGTH));
        assert!(!headers.contains_key("repr-digest"));

        let mut trailers = fields(&[("digest", "x"), ("server-timing", "a")]);
        Mapping::on_trailers(&mut trailers);
        assert_eq!(trailers, fields(&[("server-timing", "a")]));
    }

    #[test]
    fn a_body_without_a_tag_gets_one_of_its_own() {
        let tag = |body: &[u8], tag: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(tag) = tag {
                headers.insert(header::ETAG, HeaderValue::from_static(tag));
            }
            MAPPING.on_body(&mut headers, body);
            headers.remove(header::ETAG).expect("a tag")
        };
        assert_eq!(tag(b"1", None), tag(b"1", None));
        assert_ne!(tag(b"1", None), tag(b"2", None));
        // What is no tag is none.
        assert_eq!(tag(b"1", Some("abc")), tag(b"1", None));
        assert!(MAPPING.is_mapped_by(&tag(b"1", None)));
        assert!(MAPPING.is_mapped_by(&tag(b"1", Some("W/\"a\""))));
        assert!(!Mapping(7).is_mapped_by(&tag(b"1", None)));
        assert!(!MAPPING.is_mapped_by(&HeaderValue::from_static("\"abc\"")));
        // A 304 without a tag speaks of what the date was about.
        let mut headers = HeaderMap::new();
        MAPPING.on_no_body(&mut headers);
        assert!(headers.is_empty());
    }

    #[test]
    fn whatever_the_vendors_tag_it_comes_back_as_it_was() {
        proptest::proptest!(|(tag in "(W/)?\"[!#-~]{0,40}\"", fingerprint: u64)| {
            let mapping = Mapping::new(fingerprint);
            let mut headers = HeaderMap::new();
            headers.insert(header::ETAG, HeaderValue::from_str(&tag).expect("a value"));
            mapping.on_body(&mut headers, b"{}");
            let mapped = headers.remove(header::ETAG).expect("a tag");
            proptest::prop_assert!(mapping.is_mapped_by(&mapped));
            proptest::prop_assert_ne!(mapped.as_bytes(), tag.as_bytes());
            headers.insert(header::IF_NONE_MATCH, mapped);
            mapping.on_request(&mut headers, true);
            proptest::prop_assert_eq!(headers[header::IF_NONE_MATCH].as_bytes(), tag.as_bytes());
        });
    }
}
