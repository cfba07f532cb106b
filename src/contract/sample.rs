//! Sample: one answer that broke the contract, without what is nobody's business, for the operator to look at.
//!
//! Pure. How a body is masked is in `redact`.
//!
//! # Invariants
//!
//! - Of the request there is the method, the path and the names in the query: no value of it, no field, no body.
//! - There are never more than `samples_max`; the newest stay, but no kind and term loses its last one while another has two.

use std::{borrow::Cow, collections::BTreeMap, io::Read};

use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, Method, Uri, header};
use serde::{Deserialize, Serialize};

pub(super) use super::redact::printable;
use super::{
    breach::{Breach, Violation},
    redact::{SCANNED_BYTES_MAX, redact},
};
use crate::clock::Timestamp;

/// Codings that are undone one after another (RFC 9110 8.4).
const CODINGS_MAX: usize = 4;
/// Violations shown in a sample.
const VIOLATIONS_MAX: usize = 10;
/// Characters of a term, by which episodes and samples are told apart.
pub(super) const TERM_CHARS_MAX: usize = 200;
/// Characters of the request's target, and of each place and message.
const TEXT_CHARS_MAX: usize = 300;

/// An answer, as it was judged.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The method it was asked for by.
    pub method: &'a Method,
    /// What was asked for, as the upstream knows it.
    pub uri: &'a Uri,
    /// Its status.
    pub status: u16,
    /// Its fields, as they came.
    pub headers: &'a HeaderMap,
    /// Its content, as it came.
    pub body: &'a [u8],
    /// What was judged instead, where its content was rewritten: what the places of violations are places of.
    pub mapped: Option<&'a [u8]>,
}

/// One answer that broke the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When, in milliseconds since the epoch.
    #[serde(rename = "at_ms")]
    pub at: Timestamp,
    /// What was asked: method, path and the names in the query.
    pub request: String,
    /// The answer's status.
    pub status: u16,
    /// Its type.
    pub content_type: Option<String>,
    /// Bytes of its content, as it came.
    pub bytes: u64,
    /// How it breaks the contract.
    pub kind: String,
    /// Which term.
    pub term: String,
    /// In words.
    pub message: String,
    /// The first values that are wrong.
    pub violations: Vec<SampleViolation>,
    /// Its content, masked and cut.
    pub body: String,
}

/// One value that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleViolation {
    /// Where, as a JSON Pointer.
    pub place: String,
    /// Which term of the contract.
    pub term: String,
    /// What is wrong.
    pub message: String,
}

impl Sample {
    /// What of this answer may be kept, its content in about `bytes_max` bytes.
    pub fn of(breach: &Breach, answer: &Answer<'_>, bytes_max: usize, now: Timestamp) -> Self {
        let shown = &breach.violations[..breach.violations.len().min(VIOLATIONS_MAX)];
        let places: Vec<&str> = shown.iter().map(|violation| &*violation.place).collect();
        let content_type = answer.headers.get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let is_json = content_type.is_some_and(is_json);
        let body = match answer.mapped {
            Some(mapped) => Cow::Borrowed(mapped),
            None => beginning(answer.headers, answer.body),
        };
        Self {
            at: now,
            request: request(answer.method, answer.uri),
            status: answer.status,
            content_type: content_type.map(|text| printable(text, TEXT_CHARS_MAX)),
            bytes: answer.body.len() as u64,
            kind: breach.kind.as_str().to_owned(),
            term: printable(&breach.term, TERM_CHARS_MAX),
            message: printable(&breach.message, TEXT_CHARS_MAX),
            violations: shown.iter().map(SampleViolation::of).collect(),
            body: redact(&body, is_json, &places, bytes_max),
        }
    }
}

impl SampleViolation {
    fn of(violation: &Violation) -> Self {
        Self {
            place: printable(&violation.place, TEXT_CHARS_MAX),
            term: printable(&violation.term, TERM_CHARS_MAX),
            message: printable(&violation.message, TEXT_CHARS_MAX),
        }
    }
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.to_ascii_lowercase().ends_with("json")
}

/// The beginning of the content, decoded as far as it goes: what is cut off or damaged is shown up to there.
fn beginning<'a>(headers: &HeaderMap, body: &'a [u8]) -> Cow<'a, [u8]> {
    let lines = headers.get_all(header::CONTENT_ENCODING).iter();
    let codings: Vec<&str> = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .collect();
    let mut body = Cow::Borrowed(body);
    for coding in codings.iter().rev().take(CODINGS_MAX) {
        body = match coding.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => read(MultiGzDecoder::new(&*body)).into(),
            "deflate" => match read(ZlibDecoder::new(&*body)) {
                nothing if nothing.is_empty() => read(DeflateDecoder::new(&*body)).into(),
                decoded => decoded.into(),
            },
            _ => body,
        };
    }
    body
}

fn read(decoder: impl Read) -> Vec<u8> {
    let mut decoded = Vec::new();
    // How it ends was judged already; what was read before is there.
    let _ = decoder
        .take(SCANNED_BYTES_MAX as u64)
        .read_to_end(&mut decoded);
    decoded
}

/// `GET /prices/42?currency=*&key=*`: credentials often stand in a query, names are enough to find the request.
fn request(method: &Method, uri: &Uri) -> String {
    let mut target = uri.path().to_owned();
    let pairs = uri.query().unwrap_or_default().split('&');
    for (at, pair) in pairs.filter(|pair| !pair.is_empty()).enumerate() {
        target.push(if at == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((name, "")) => target.push_str(&format!("{name}=")),
            Some((name, _)) => target.push_str(&format!("{name}=*")),
            // A name, or a value without one.
            None => target.push('*'),
        }
    }
    printable(&format!("{method} {target}"), TEXT_CHARS_MAX)
}

// --- Samples ---

/// The samples of a route.
#[derive(Clone, Debug)]
pub(super) struct Samples {
    kept: Vec<Sample>,
    samples_max: usize,
}

impl Samples {
    /// None yet, and never more than so many.
    pub(super) fn new(samples_max: usize) -> Self {
        Self {
            kept: Vec::new(),
            samples_max,
        }
    }

    /// The same by another bound.
    pub(super) fn set_max(&mut self, samples_max: usize) {
        self.samples_max = samples_max;
        self.make_room();
    }

    /// Keeps this one, the newest.
    pub(super) fn keep(&mut self, sample: Sample) {
        self.kept.push(sample);
        self.make_room();
    }

    /// All of them, newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Sample> {
        self.kept.iter().rev()
    }

    /// All of them, as they came.
    pub(super) fn as_slice(&self) -> &[Sample] {
        &self.kept
    }

    fn make_room(&mut self) {
        while self.kept.len() > self.samples_max {
            let oldest = self.expendable();
            self.kept.remove(oldest);
        }
    }

    /// The oldest of the kind and term that has most; the oldest at all where each has one.
    fn expendable(&self) -> usize {
        let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for sample in &self.kept {
            *counts.entry((&sample.kind, &sample.term)).or_default() += 1;
        }
        let most = counts.values().copied().max().unwrap_or_default();
        let of_most = |sample: &Sample| counts.get(&(&*sample.kind, &*sample.term)) == Some(&most);
        self.kept.iter().position(of_most).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, bufread::GzEncoder};
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::contract::Kind;

    fn sample(kind: &str, term: &str, at: u64) -> Sample {
        Sample {
            at: Timestamp::from_secs(at),
            request: "GET /".to_owned(),
            status: 200,
            content_type: None,
            bytes: 0,
            kind: kind.to_owned(),
            term: term.to_owned(),
            message: String::new(),
            violations: Vec::new(),
            body: String::new(),
        }
    }

    #[test]
    fn a_sample_tells_what_was_asked_without_the_values_of_the_query() {
        for (target, want) in [
            ("/prices/42", "GET /prices/42"),
            (
                "/prices?sku=42&key=sec=ret&&x=",
                "GET /prices?sku=*&key=*&x=",
            ),
            ("/prices?c2VjcmV0", "GET /prices?*"),
            ("https://api.example/a?b=c", "GET /a?b=*"),
        ] {
            assert_eq!(request(&Method::GET, &target.parse().unwrap()), want);
        }
    }

    #[test]
    fn a_sample_holds_what_is_wrong_and_masks_the_rest() {
        let mut breach = Breach::new(Kind::Rule, "/price: above", "`/price` is 0, not above 0");
        breach.violations.push(Violation {
            kind: Kind::Rule,
            term: "/price: above".into(),
            place: "/price".to_owned(),
            message: "0 is not above 0".to_owned(),
        });
        let uri = "/prices/42?key=secret".parse().unwrap();
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
        let mut answer = Answer {
            method: &Method::GET,
            uri: &uri,
            status: 200,
            headers: &headers,
            body: br#"{"price":0,"for":"Ann Other"}"#,
            mapped: None,
        };
        let sample = Sample::of(&breach, &answer, 4096, Timestamp::from_secs(1));
        assert_eq!(sample.body, r#"{"price": 0, "for": "string(9)"}"#);
        answer.mapped = Some(br#"{"cost":0,"price":-1}"#);
        let mapped = Sample::of(&breach, &answer, 4096, Timestamp::from_secs(1));
        assert_eq!(mapped.body, r#"{"cost": "number", "price": -1}"#);

        let mut gzip = GzEncoder::new(answer.body, Compression::fast());
        let mut encoded = Vec::new();
        gzip.read_to_end(&mut encoded).unwrap();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        for (cut, want) in [
            (0, r#"{"price": 0, "for": "string(9)"}"#),
            (8, r#"{"price": 0, "for": "string(9)"}"#),
        ] {
            let answer = Answer {
                method: &Method::GET,
                uri: &uri,
                status: 200,
                headers: &headers,
                body: &encoded[..encoded.len() - cut],
                mapped: None,
            };
            let decoded = Sample::of(&breach, &answer, 4096, Timestamp::from_secs(1));
            assert_eq!(decoded.body, want, "without the last {cut} bytes");
        }
        assert_eq!(sample.violations[0].place, "/price");
        let whole = serde_json::to_string(&sample).unwrap();
        assert!(
            !whole.contains("secret") && !whole.contains("Ann"),
            "{whole}"
        );
    }

    #[test]
    fn the_newest_stay_but_each_term_keeps_one() {
        let mut samples = Samples::new(3);
        samples.keep(sample("html", "a", 1));
        for at in 2..10 {
            samples.keep(sample("rule", "b", at));
        }
        let left: Vec<_> = samples
            .newest_first()
            .map(|sample| sample.at.as_millis() / 1000)
            .collect();
        assert_eq!(left, [9, 8, 1]);
        samples.set_max(1);
        assert_eq!(samples.as_slice().len(), 1);
        samples.set_max(0);
        samples.keep(sample("rule", "b", 10));
        assert!(samples.as_slice().is_empty(), "none are wanted");
    }

    proptest! {
        #[test]
        fn a_new_one_is_kept_and_nothing_of_few_terms_is_lost(terms in prop::collection::vec(0..4u8, 1..50), samples_max in 4..8usize) {
            let mut samples = Samples::new(samples_max);
            for (at, term) in terms.iter().enumerate() {
                samples.keep(sample("rule", &term.to_string(), at as u64));
                prop_assert!(samples.as_slice().len() <= samples_max);
                prop_assert_eq!(samples.newest_first().next().unwrap().at, Timestamp::from_secs(at as u64));
                for earlier in &terms[..=at] {
                    let earlier = earlier.to_string();
                    prop_assert!(samples.as_slice().iter().any(|sample| *sample.term == *earlier));
                }
            }
        }
    }
}
