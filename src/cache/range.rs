//! Ranges: what a client asked for a part of, what a stored part covers, and parts put together (RFC 9110 14, RFC 9111 3.3, 3.4).
//!
//! Pure. A stored response is whole, or it is a [`Part`]: the answer to one `Range`, kept because others may ask for
//! the same bytes or for some of them.
//!
//! # Invariants
//!
//! - A part answers the very request it came for, and requests for bytes that it holds. It never answers for bytes that it
//!   has not got.
//! - A part whose length contradicts its `Content-Range` answers the very request it came for and no other: where its
//!   bytes belong is in doubt.
//! - Parts are put together only where both carry the same strong validator (RFC 9110 15.3.7.3).

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::{
    entry::StoredResponse,
    freshness::{Facts, date},
    judgement::Judgement,
};
/// More ranges than any reader of documents or media asks for at once. A request for more gets the whole (RFC 9110 14.2
/// lets a server ignore `Range`; 17.15 asks it to where requests are egregious).
const RANGES_MAX: usize = 32;

// --- What a client asks for ---

/// One range of a `Range` field, not yet held against a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spec {
    /// From a byte on, to another (inclusive) or to the end.
    From(u64, Option<u64>),
    /// That many last bytes.
    Last(u64),
}

impl Spec {
    /// The bytes it means in a representation of this length; `None` where it is not satisfiable (RFC 9110 14.1.2).
    fn within(self, len: u64) -> Option<Range<u64>> {
        match self {
            Self::From(first, last) if first < len => {
                let last = last.map_or(len - 1, |last| last.min(len - 1));
                Some(first..last + 1)
            }
            Self::Last(count) if count > 0 && len > 0 => Some(len.saturating_sub(count)..len),
            Self::From(..) | Self::Last(_) => None,
        }
    }
}

/// The ranges a request asks for. `None`: none, or the field is to be ignored (RFC 9110 14.2): another unit, not a range
/// set, more than one line.
fn specs(request: &HeaderMap) -> Option<Vec<Spec>> {
    let mut lines = request.get_all(header::RANGE).iter();
    let line = lines.next()?.to_str().ok()?;
    if lines.next().is_some() {
        return None;
    }
    let (unit, set) = line.split_once('=')?;
    if !unit.trim_matches(WHITE).eq_ignore_ascii_case("bytes") {
        return None;
    }
    let members = set.split(',').map(|member| member.trim_matches(WHITE));
    let specs: Option<Vec<_>> = members
        .filter(|member| !member.is_empty())
        .map(spec)
        .collect();
    specs.filter(|specs| !specs.is_empty())
}

const WHITE: [char; 2] = [' ', '\t'];

fn spec(member: &str) -> Option<Spec> {
    let (first, last) = member.split_once('-')?;
    match (first, last) {
        ("", count) => Some(Spec::Last(position(count)?)),
        (first, "") => Some(Spec::From(position(first)?, None)),
        (first, last) => {
            let (first, last) = (position(first)?, position(last)?);
            (first <= last).then_some(Spec::From(first, Some(last)))
        }
    }
}

/// Only digits; beyond any length is as far as one can go.
fn position(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Whether `Range` counts beside this `If-Range` (RFC 9110 13.1.5): the validator in it is strong, and that of the stored
/// response.
fn if_range_holds(request: &HeaderMap, response: &HeaderMap) -> bool {
    let Some(wanted) = request.get(header::IF_RANGE) else {
        return true;
    };
    if wanted.as_bytes().starts_with(b"\"") {
        return strong_etag(response) == Some(wanted);
    }
    strong_date(response) == Some(wanted)
}

/// The entity tag, if it is a strong one (RFC 9110 8.8.1).
pub(super) fn strong_etag(response: &HeaderMap) -> Option<&HeaderValue> {
    let etag = response.get(header::ETAG)?;
    etag.as_bytes().starts_with(b"\"").then_some(etag)
}

/// `Last-Modified`, where it is a strong validator (RFC 9110 8.8.2.2): what it dates was a second old when it was sent.
fn strong_date(response: &HeaderMap) -> Option<&HeaderValue> {
    let modified = date(response, &header::LAST_MODIFIED)?;
    let sent = date(response, &header::DATE)?;
    let is_strong = sent.as_millis() >= modified.as_millis().saturating_add(1000);
    response.get(header::LAST_MODIFIED).filter(|_| is_strong)
}

/// Whether two responses carry the same strong validator, so that their bytes are those of one representation.
fn is_same_representation(one: &HeaderMap, other: &HeaderMap) -> bool {
    match (one.get(header::ETAG), other.get(header::ETAG)) {
        (None, None) => strong_date(one).is_some_and(|date| strong_date(other) == Some(date)),
        _ => strong_etag(one).is_some_and(|etag| strong_etag(other) == Some(etag)),
    }
}

// --- What a stored response gives ---

/// What of a stored response answers a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// All of it, as it was received.
    All,
    /// One run of its bytes.
    One {
        /// In the stored body.
        bytes: Range<usize>,
        /// `Content-Range`.
        content_range: HeaderValue,
    },
    /// Several, as `multipart/byteranges` (RFC 9110 14.6).
    Several {
        /// The document.
        body: Bytes,
        /// Its `Content-Type`, with the boundary.
        content_type: HeaderValue,
    },
    /// There are no such bytes (RFC 9110 15.5.17).
    Unsatisfiable {
        /// `Content-Range` with the length there is.
        content_range: HeaderValue,
    },
}

/// What of this stored response answers a GET with these fields. `boundary` is drawn where there are several parts: by
/// chance, so that nobody can put it into a body beforehand.
pub(super) fn cut(
    request: &HeaderMap,
    stored: &StoredResponse,
    boundary: impl FnOnce() -> u128,
) -> Cut {
    if let Some(part) = &stored.part {
        return part.cut(request, &stored.body);
    }
    // RFC 9110 14.2: `Range` is about a 200. An origin that refuses ranges has its reasons (14.3).
    if stored.status != StatusCode::OK || refuses_ranges(&stored.headers) {
        return Cut::All;
    }
    let Some(specs) = specs(request).filter(|_| if_range_holds(request, &stored.headers)) else {
        return Cut::All;
    };
    let len = stored.body.len() as u64;
    let ranges: Vec<_> = specs.iter().filter_map(|spec| spec.within(len)).collect();
    let asked: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    match ranges.as_slice() {
        [] => Cut::Unsatisfiable {
            content_range: content_range(None, Some(len)),
        },
        [one] => Cut::One {
            bytes: one.start as usize..one.end as usize,
            content_range: content_range(Some(one), Some(len)),
        },
        // Overlapping ranges ask for more bytes than there are.
        several if several.len() > RANGES_MAX || asked > len => Cut::All,
        several => multipart(several, stored, boundary()),
    }
}

fn refuses_ranges(response: &HeaderMap) -> bool {
    let accepted = response.get(header::ACCEPT_RANGES);
    accepted.is_some_and(|accepted| accepted.as_bytes().eq_ignore_ascii_case(b"none"))
}

/// `bytes 0-4/10`, or `bytes */10` where there is no range.
fn content_range(range: Option<&Range<u64>>, total: Option<u64>) -> HeaderValue {
    let total = total.map_or("*".to_owned(), |total| total.to_string());
    let text = match range {
        Some(range) => format!("bytes {}-{}/{total}", range.start, range.end - 1),
        None => format!("bytes */{total}"),
    };
    // Digits and punctuation.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("bytes */*"))
}

fn multipart(ranges: &[Range<u64>], stored: &StoredResponse, boundary: u128) -> Cut {
    let len = stored.body.len() as u64;
    let boundary = format!("{boundary:032x}");
    let content_type = stored.headers.get(header::CONTENT_TYPE);
    let mut body = BytesMut::new();
    for range in ranges {
        body.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
        if let Some(content_type) = content_type {
            body.extend_from_slice(b"Content-Type: ");
            body.extend_from_slice(content_type.as_bytes());
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"Content-Range: ");
        body.extend_from_slice(content_range(Some(range), Some(len)).as_bytes());
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(&stored.body[range.start as usize..range.end as usize]);
    }
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    let content_type = format!("multipart/byteranges; boundary={boundary}");
    Cut::Several {
        body: body.freeze(),
        // Letters, digits and punctuation.
        content_type: HeaderValue::try_from(content_type)
            .unwrap_or(HeaderValue::from_static("multipart/byteranges")),
    }
}

// --- A stored part ---

/// Which part of a representation a stored 206 holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The `Range` it was the answer to.
    asked: Box<str>,
    /// Where its bytes belong. `None`: several ranges, or a `Content-Range` that its length contradicts.
    span: Option<Span>,
}

/// Where the bytes of a part begin, and how many the whole has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Span {
    first: u64,
    total: Option<u64>,
}

impl Part {
    /// The part that a 206 with these fields and this body is, asked for with this request.
    pub(super) fn received(request: &HeaderMap, response: &HeaderMap, body: &Bytes) -> Self {
        let asked = request.get(header::RANGE);
        Self {
            asked: asked
                .and_then(|asked| asked.to_str().ok())
                .unwrap_or_default()
                .into(),
            span: span(response).and_then(|(span, len)| (len == body.len() as u64).then_some(span)),
        }
    }

    /// The `Range` it was the answer to.
    pub(super) fn asked(&self) -> &str {
        &self.asked
    }

    /// Whether it answers this GET.
    pub(super) fn covers(&self, request: &HeaderMap, stored: &StoredResponse) -> bool {
        if_range_holds(request, &stored.headers)
            && (self.is_asked_again(request) || self.bytes_for(request, &stored.body).is_some())
    }

    fn is_asked_again(&self, request: &HeaderMap) -> bool {
        let mut lines = request.get_all(header::RANGE).iter();
        let asked = lines.next().is_some_and(|line| line == &*self.asked);
        asked && lines.next().is_none()
    }

    /// The bytes of the representation that a request for one range asks for, if all of them are here.
    fn bytes_for(&self, request: &HeaderMap, body: &Bytes) -> Option<Range<u64>> {
        let span = self.span?;
        let specs = specs(request)?;
        let [spec] = specs.as_slice() else {
            return None;
        };
        let range = match (spec, span.total) {
            (spec, Some(total)) => spec.within(total)?,
            // Where it ends is known only for a range that says so.
            (Spec::From(first, Some(last)), None) => *first..last.checked_add(1)?,
            (Spec::From(_, None) | Spec::Last(_), None) => return None,
        };
        let end = span.first.saturating_add(body.len() as u64);
        (span.first <= range.start && range.end <= end).then_some(range)
    }

    fn cut(&self, request: &HeaderMap, body: &Bytes) -> Cut {
        if self.is_asked_again(request) {
            return Cut::All;
        }
        let (Some(span), Some(range)) = (self.span, self.bytes_for(request, body)) else {
            // Nobody asks for it unless it covers; as it was received it is right in any case.
            return Cut::All;
        };
        let (start, end) = (range.start - span.first, range.end - span.first);
        Cut::One {
            bytes: start as usize..end as usize,
            content_range: content_range(Some(&range), span.total),
        }
    }

    /// The first byte that is missing from a part that is a beginning.
    fn missing_from(&self, body: &Bytes) -> Option<u64> {
        let span = self.span.filter(|span| span.first == 0)?;
        let len = body.len() as u64;
        (span.total != Some(len)).then_some(len)
    }
}

/// `Content-Range: bytes FIRST-LAST/TOTAL` and how many bytes that is; `None` for anything else (RFC 9110 14.4).
fn span(response: &HeaderMap) -> Option<(Span, u64)> {
    let mut lines = response.get_all(header::CONTENT_RANGE).iter();
    let line = lines.next()?.to_str().ok()?;
    if lines.next().is_some() {
        return None;
    }
    let (unit, rest) = line.split_once(' ')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (range, total) = rest.trim_matches(WHITE).split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (position(first)?, position(last)?);
    let total = match total {
        "*" => None,
        total => Some(position(total)?),
    };
    let is_valid = total.is_none_or(|total| last < total);
    let len = last.checked_sub(first)?.checked_add(1)?;
    is_valid.then_some((Span { first, total }, len))
}

// --- Putting parts together ---

/// Asks for the rest of a stored beginning (RFC 9111 3.4), if the representation is still the same where that can be said.
/// Where it cannot, an origin that has no ranges for it answers with the whole; a rest that cannot be put behind the
/// beginning ([`completes`]) is no answer.
pub(super) fn ask_for_rest(stored: &StoredResponse, request: &mut HeaderMap) {
    let Some(missing_from) = missing_from(stored) else {
        return;
    };
    if let Ok(range) = HeaderValue::try_from(format!("bytes={missing_from}-")) {
        request.insert(header::RANGE, range);
    }
    let validator = strong_etag(&stored.headers).or_else(|| strong_date(&stored.headers));
    if let Some(validator) = validator {
        request.insert(header::IF_RANGE, validator.clone());
    }
}

/// Whether a stored part is a beginning that the rest can be asked for.
pub(super) fn can_be_completed(stored: &StoredResponse) -> bool {
    missing_from(stored).is_some()
}

fn missing_from(stored: &StoredResponse) -> Option<u64> {
    stored.part.as_ref()?.missing_from(&stored.body)
}

/// Whether a 206 with these fields continues this stored beginning to the end of the whole. Returns the whole's length.
pub(super) fn completes(stored: &StoredResponse, response: &HeaderMap) -> Option<u64> {
    let missing_from = missing_from(stored)?;
    let (span, len) = span(response)?;
    let total = span.total?;
    let same = is_same_representation(&stored.headers, response);
    (same && span.first == missing_from && missing_from + len == total).then_some(total)
}

/// Two parts as one, where they touch and carry the same strong validator (RFC 9111 3.4): under the fields of the newer,
/// with those that only the older has. Whole, if nothing is missing any more. `None`: the newer stands for itself.
pub(super) fn combined(older: &StoredResponse, newer: &StoredResponse) -> Option<StoredResponse> {
    if !is_same_representation(&older.headers, &newer.headers) {
        return None;
    }
    let span_of = |stored: &StoredResponse| stored.part.as_ref()?.span;
    let (old, new) = (span_of(older)?, span_of(newer)?);
    if old.total != new.total {
        return None;
    }
    let end =
        |span: Span, stored: &StoredResponse| span.first.saturating_add(stored.body.len() as u64);
    let (old_end, new_end) = (end(old, older), end(new, newer));
    if old.first > new_end || new.first > old_end {
        return None;
    }
    // Same validator, same bytes: where both have them it does not matter whose are taken.
    let mut body = BytesMut::new();
    let first = old.first.min(new.first);
    let (head, tail) = if old.first <= new.first {
        ((old, older), (new, newer))
    } else {
        ((new, newer), (old, older))
    };
    body.extend_from_slice(&head.1.body);
    let have = first + body.len() as u64;
    let skip = have.saturating_sub(tail.0.first) as usize;
    body.extend_from_slice(tail.1.body.get(skip..).unwrap_or_default());
    let body = body.freeze();
    let mut headers = merged(newer.headers.clone(), &older.headers);
    headers.remove(header::CONTENT_LENGTH);
    let span = Span {
        first,
        total: new.total,
    };
    let is_whole = first == 0 && span.total == Some(body.len() as u64);
    let (status, part) = if is_whole {
        headers.remove(header::CONTENT_RANGE);
        (StatusCode::OK, None)
    } else {
        let range = first..first + body.len() as u64;
        headers.insert(
            header::CONTENT_RANGE,
            content_range(Some(&range), span.total),
        );
        let asked = format!("bytes={}-{}", range.start, range.end - 1).into();
        let span = Some(span);
        (StatusCode::PARTIAL_CONTENT, Some(Part { asked, span }))
    };
    // What only the older says holds too, its `no-cache` as well as its body.
    let received_at = newer.facts.response_time;
    let facts = Facts {
        initial_age: newer.facts.initial_age,
        failing: newer.facts.failing,
        ..Facts::new(status, &headers, newer.request_time, received_at)
    };
    Some(StoredResponse {
        status,
        headers,
        body,
        part,
        facts,
        aside: None,
        judgement: Judgement::default(),
        ..newer.clone()
    })
}

/// The fields of the newer of two responses, and those that only the older has (RFC 9111 3.2, 3.4).
pub(super) fn merged(mut newer: HeaderMap, older: &HeaderMap) -> HeaderMap {
    for name in older.keys() {
        if !newer.contains_key(name) {
            for value in older.get_all(name) {
                newer.append(name, value.clone());
            }
        }
    }
    newer
}

#[cfg(test)]
#[path = "range_tests.rs"]
mod tests;
