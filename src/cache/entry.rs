//! What is stored: a whole response with the facts of its freshness, or the list of a key's variants.
//!
//! Records outlive versions of this program: the meta part starts with a format byte, and a byte that is not ours is a
//! miss for the store, never a guess. The store below adds lengths and checksums and knows nothing of HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::{
    aside::Aside, freshness::Facts, judgement::Judgement, purge::Labels, range::Part,
    status::CACHE_STATUS, vary::Variants,
};
use crate::{
    clock::Timestamp,
    store::{DecodeError, Record},
};

/// Leads every meta record; raised when the shape of [`Meta`] changes, or what follows it.
const FORMAT: u8 = 3;
/// The same without [`Judged`] at its end: such records have not been judged.
const FORMAT_WITHOUT_JUDGED: u8 = 2;
/// The same without [`Added`] after it: such records are read as known by nothing, so that every purge by a label matches
/// them.
const FORMAT_WITHOUT_ADDED: u8 = 1;

/// What a field costs in a map beside its text: bucket, index, slack.
const FIELD_BYTES: usize = 144;
/// What an entry costs beside its fields and body: itself, and the memory tier's bookkeeping.
const ENTRY_BYTES: usize = size_of::<Entry>() + 400;

/// Set on every answer by the front.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A record of the store.
// Almost every record is a response, and all of them live behind an `Arc`: boxing would add an allocation to each.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Entry {
    /// A response, whole or a part of one.
    Response(StoredResponse),
    /// Where the variants of this primary key are.
    Variants {
        /// The list.
        variants: Variants,
        /// When the last of them is of no use any more.
        dead_at: Timestamp,
    },
}

/// A complete response as it is reused (RFC 9111 "stored response").
#[derive(Clone, Debug, PartialEq)]
pub struct StoredResponse {
    /// Its status.
    pub status: StatusCode,
    /// Its fields, as they are sent: no hop-by-hop fields. Those that every answer sets anew have their place already
    /// ([`with_places`]), so that a hit copies the map once and never grows it.
    pub headers: HeaderMap,
    /// Its body, complete.
    pub body: Bytes,
    /// Of a 206: which part it is.
    pub part: Option<Part>,
    /// Target URI as people know it, for operators.
    pub url: Box<str>,
    /// When the request that brought or last confirmed it was sent.
    pub request_time: Timestamp,
    /// Parsed from the fields and times.
    pub facts: Facts,
    /// When it is of no use any more, not even in an outage.
    pub dead_at: Timestamp,
    /// What purges know it by.
    pub labels: Labels,
    /// Reason phrase and trailers of its own.
    pub aside: Option<Box<Aside>>,
    /// How it stands under the contract of its route.
    pub judgement: Judgement,
}

#[derive(Serialize, Deserialize)]
enum Meta {
    Response {
        status: u16,
        headers: Vec<(String, Vec<u8>)>,
        url: String,
        request_time: Timestamp,
        response_time: Timestamp,
        /// What `Age` and `Date` came to on arrival: `Age` itself is not among the fields.
        initial_age: Duration,
        dead_at: Timestamp,
    },
    Variants {
        variants: Variants,
        dead_at: Timestamp,
    },
}

/// What a response's record holds behind its [`Meta`], since format 2.
#[derive(Serialize, Deserialize)]
struct Added {
    labels: Labels,
    /// The upstream counted it as a failure when it was stored.
    failing: bool,
    part: Option<Part>,
    aside: Option<Box<Aside>>,
}

/// What follows [`Added`], since format 3.
#[derive(Default, Serialize, Deserialize)]
struct Judged {
    good_under: u64,
    mapped_by: u64,
}

impl Added {
    /// What records without it are: those of format 1 were neither failures nor parts.
    fn before() -> Self {
        Self {
            labels: Labels::unknown(),
            failing: false,
            part: None,
            aside: None,
        }
    }
}

/// Fields as they are kept: in memory of their own, so that a small response does not hold on to the large buffer it was
/// read into, and with room for the fields that every answer sets: `Age`, `Cache-Status` (kept if a cache nearer the
/// origin wrote one) and `X-Request-Id`.
pub(super) fn with_places(received: &HeaderMap) -> HeaderMap {
    const EMPTY: HeaderValue = HeaderValue::from_static("");
    let values: Vec<u8> = received
        .values()
        .flat_map(|value| value.as_bytes().iter().copied())
        .collect();
    let (values, mut at) = (Bytes::from(values), 0);
    let mut headers = HeaderMap::with_capacity(received.len() + 3);
    for (name, value) in received {
        let own = values.slice(at..at + value.len());
        at += value.len();
        // What was a value is one.
        let own = HeaderValue::from_maybe_shared(own).unwrap_or_else(|_| value.clone());
        headers.append(name.clone(), own);
    }
    headers.insert(header::AGE, EMPTY);
    headers.insert(X_REQUEST_ID, EMPTY);
    headers.entry(CACHE_STATUS).or_insert(EMPTY);
    headers
}

/// The fields without the places kept in them.
pub(super) fn without_places(mut headers: HeaderMap) -> HeaderMap {
    headers.remove(header::AGE);
    headers.remove(X_REQUEST_ID);
    if headers.get(CACHE_STATUS).is_some_and(HeaderValue::is_empty) {
        headers.remove(CACHE_STATUS);
    }
    headers
}

/// Whether a field only keeps a place.
fn is_place(name: &HeaderName, value: &HeaderValue) -> bool {
    *name == header::AGE || *name == X_REQUEST_ID || (*name == CACHE_STATUS && value.is_empty())
}

impl StoredResponse {
    fn meta(&self) -> Meta {
        Meta::Response {
            status: self.status.as_u16(),
            headers: self
                .headers
                .iter()
                .filter(|(name, value)| !is_place(name, value))
                .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
                .collect(),
            url: self.url.to_string(),
            request_time: self.request_time,
            response_time: self.facts.response_time,
            initial_age: self.facts.initial_age,
            dead_at: self.dead_at,
        }
    }

    fn added(&self) -> Added {
        Added {
            labels: self.labels.clone(),
            failing: self.facts.failing,
            part: self.part.clone(),
            aside: self.aside.clone(),
        }
    }

    fn judged(&self) -> Judged {
        Judged {
            good_under: self.judgement.good_under(),
            mapped_by: self.judgement.mapped_by(),
        }
    }

    /// The field that 304 answers and conditional requests compare (RFC 9110 8.8.3).
    pub fn etag(&self) -> Option<&HeaderValue> {
        self.headers.get(header::ETAG)
    }
}

impl Record for Entry {
    fn weight(&self) -> u64 {
        match self {
            Self::Response(stored) => {
                let fields: usize = stored
                    .headers
                    .iter()
                    .map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES)
                    .sum();
                let aside = stored.aside.as_ref().map_or(0, |aside| aside.weight());
                let rest = stored.url.len() + stored.body.len() + stored.labels.weight() + aside;
                (ENTRY_BYTES + fields + rest) as u64
            }
            Self::Variants { variants, .. } => ENTRY_BYTES as u64 + variants.weight(),
        }
    }

    fn dead_at(&self) -> Timestamp {
        match self {
            Self::Response(stored) => stored.dead_at,
            Self::Variants { dead_at, .. } => *dead_at,
        }
    }

    fn encode_meta(&self) -> Vec<u8> {
        let meta = match self {
            Self::Response(stored) => stored.meta(),
            Self::Variants { variants, dead_at } => Meta::Variants {
                variants: variants.clone(),
                dead_at: *dead_at,
            },
        };
        let encoded = postcard::to_extend(&meta, vec![FORMAT]);
        let encoded = match self {
            Self::Response(stored) => encoded
                .and_then(|meta| postcard::to_extend(&stored.added(), meta))
                .and_then(|meta| postcard::to_extend(&stored.judged(), meta)),
            Self::Variants { .. } => encoded,
        };
        // Serialising owned values into memory has no way to fail; an empty record would be a miss when read.
        encoded.unwrap_or_default()
    }

    fn body(&self) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        match self {
            Self::Response(stored) => &stored.body,
            Self::Variants { .. } => &NONE,
        }
    }

    fn decode(meta: &[u8], body: Bytes) -> Result<Self, DecodeError> {
        let (format, meta) = match meta.split_first() {
            Some((&format @ (FORMAT | FORMAT_WITHOUT_JUDGED | FORMAT_WITHOUT_ADDED), meta)) => {
                (format, meta)
            }
            Some(_) => return Err(DecodeError::new("written in another format")),
            None => return Err(DecodeError::new("empty record")),
        };
        let malformed = |_| DecodeError::new("malformed meta");
        let (meta, added) = postcard::take_from_bytes(meta).map_err(malformed)?;
        match meta {
            Meta::Variants { variants, dead_at } => Ok(Self::Variants { variants, dead_at }),
            Meta::Response {
                status,
                headers,
                url,
                request_time,
                response_time,
                initial_age,
                dead_at,
            } => {
                let headers = decode_headers(headers)?;
                let (added, judged) = match format {
                    FORMAT_WITHOUT_ADDED => (Added::before(), Judged::default()),
                    FORMAT_WITHOUT_JUDGED => {
                        let added = postcard::from_bytes(added).map_err(malformed)?;
                        (added, Judged::default())
                    }
                    _ => {
                        let (added, judged) =
                            postcard::take_from_bytes::<Added>(added).map_err(malformed)?;
                        (added, postcard::from_bytes(judged).map_err(malformed)?)
                    }
                };
                let status =
                    StatusCode::from_u16(status).map_err(|_| DecodeError::new("no such status"))?;
                Ok(Self::Response(StoredResponse {
                    status,
                    facts: Facts {
                        initial_age,
                        failing: added.failing,
                        ..Facts::new(status, &headers, request_time, response_time)
                    },
                    headers: with_places(&headers),
                    body,
                    part: added.part,
                    url: url.into(),
                    request_time,
                    dead_at,
                    labels: added.labels,
                    aside: added.aside,
                    judgement: Judgement::new(judged.good_under, judged.mapped_by),
                }))
            }
        }
    }
}

fn decode_headers(fields: Vec<(String, Vec<u8>)>) -> Result<HeaderMap, DecodeError> {
    let mut headers = HeaderMap::with_capacity(fields.len() + 3);
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| DecodeError::new("bad field name"))?;
        let value = HeaderValue::from_maybe_shared(Bytes::from(value))
            .map_err(|_| DecodeError::new("bad field value"))?;
        headers
            .try_append(name, value)
            .map_err(|_| DecodeError::new("too many fields"))?;
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{cache::vary::Variant, store::Key};

    fn any_response() -> impl Strategy<Value = StoredResponse> {
        let field = ("[a-z][a-z0-9-]{0,12}", "[ -~]{0,40}");
        (
            100u16..1000,
            prop::collection::vec(field, 0..12),
            prop::collection::vec(any::<u8>(), 0..200),
            any::<u32>(),
            any_labels(),
            any::<bool>(),
        )
            .prop_map(|(status, fields, body, secs, labels, odd)| {
                let mut headers = HeaderMap::new();
                for (name, value) in fields {
                    headers.append(
                        HeaderName::from_bytes(name.as_bytes()).unwrap(),
                        HeaderValue::from_str(value.trim()).unwrap(),
                    );
                }
                let time = Timestamp::from_secs(secs.into());
                let initial_age = Duration::from_secs(u64::from(secs) % 1_000);
                let mut reason = http::Extensions::new();
                reason.insert(hyper::ext::ReasonPhrase::from_static(b"Own words"));
                let (status, body) = (StatusCode::from_u16(status).unwrap(), Bytes::from(body));
                StoredResponse {
                    status,
                    facts: Facts {
                        initial_age,
                        failing: odd,
                        ..Facts::new(status, &headers, time, time)
                    },
                    headers: with_places(&headers),
                    part: odd.then(|| Part::received(&headers, &headers, &body)),
                    body,
                    url: "/x?y=1".into(),
                    request_time: time,
                    dead_at: Timestamp::NEVER,
                    labels,
                    aside: odd.then(|| Aside::of(&reason, Some(&headers))).flatten(),
                    judgement: Judgement::new(secs.into(), u64::from(odd)),
                }
            })
    }

    fn any_labels() -> impl Strategy<Value = Labels> {
        let texts = || prop::collection::vec("[ -~]{0,12}", 0..4);
        let host = prop::option::of("[a-z.]{1,12}");
        (any::<u64>(), any::<bool>(), host, texts(), texts()).prop_map(
            |(epoch, overflow, host, tags, groups)| Labels {
                epoch,
                route: "prices".into(),
                host: host.map(Into::into),
                tags: tags.into_iter().map(Into::into).collect(),
                groups: groups.into_iter().map(Into::into).collect(),
                overflow,
                ..Labels::default()
            },
        )
    }

    proptest! {
        #[test]
        fn a_response_round_trips(stored in any_response()) {
            let entry = Entry::Response(stored.clone());
            let Entry::Response(read) = Entry::decode(&entry.encode_meta(), stored.body.clone()).unwrap() else {
                panic!("a response was read as variants");
            };
            prop_assert_eq!(read, stored);
        }

        #[test]
        fn a_list_of_variants_round_trips(
            listed in prop::collection::vec((prop::collection::vec("[a-z-]{1,9}", 0..3), any::<[u8; 32]>(), any::<u64>()), 0..5),
            dead_at: u64,
        ) {
            let mut variants = Variants::default();
            for (fields, key, millis) in listed {
                let response_time = Timestamp::from_millis(millis);
                let variant = Variant { fields, key: Key::from_bytes(key), response_time };
                variants.insert(variant, Timestamp::NEVER, 9);
            }
            let dead_at = Timestamp::from_millis(dead_at);
            let list = Entry::Variants { variants: variants.clone(), dead_at };
            let Entry::Variants { variants: read, dead_at: then } = Entry::decode(&list.encode_meta(), Bytes::new()).unwrap() else {
                panic!("variants were read as a response");
            };
            prop_assert_eq!((read, then), (variants, dead_at));
        }

        #[test]
        fn a_record_from_before_labels_is_read_as_known_by_nothing(stored in any_response()) {
            let facts = Facts { failing: false, ..stored.facts };
            let judgement = Judgement::default();
            let stored = StoredResponse { facts, part: None, aside: None, judgement, ..stored };
            let mut meta = vec![FORMAT_WITHOUT_ADDED];
            meta.extend(postcard::to_stdvec(&stored.meta()).unwrap());
            let Entry::Response(read) = Entry::decode(&meta, stored.body.clone()).unwrap() else {
                panic!("a response was read as variants");
            };
            prop_assert_eq!((read.labels.epoch, read.labels.overflow), (0, true));
            prop_assert_eq!(StoredResponse { labels: stored.labels.clone(), ..read }, stored.clone());
            meta[0] = FORMAT_WITHOUT_JUDGED;
            prop_assert!(Entry::decode(&meta, stored.body).is_err(), "labels are missing");
        }

        #[test]
        fn a_record_from_before_contracts_is_read_as_not_judged(stored in any_response()) {
            let mut meta = vec![FORMAT_WITHOUT_JUDGED];
            meta.extend(postcard::to_stdvec(&stored.meta()).unwrap());
            meta.extend(postcard::to_stdvec(&stored.added()).unwrap());
            let Entry::Response(read) = Entry::decode(&meta, stored.body.clone()).unwrap() else {
                panic!("a response was read as variants");
            };
            prop_assert_eq!(&read.judgement, &Judgement::default());
            prop_assert_eq!(StoredResponse { judgement: stored.judgement.clone(), ..read }, stored.clone());
            meta[0] = FORMAT;
            prop_assert!(Entry::decode(&meta, stored.body).is_err(), "the verdict is missing");
        }

        #[test]
        fn decoding_never_panics(meta: Vec<u8>) {
            let _ = Entry::decode(&meta, Bytes::new());
            for format in [FORMAT, FORMAT_WITHOUT_JUDGED, FORMAT_WITHOUT_ADDED] {
                let _ = Entry::decode(&[&[format], &meta[..]].concat(), Bytes::new());
            }
        }
    }

    #[test]
    fn another_format_is_refused() {
        assert!(Entry::decode(&[FORMAT + 1, 0, 0], Bytes::new()).is_err());
    }
}
