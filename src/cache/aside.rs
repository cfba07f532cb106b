//! What a response says aside from status, fields and content: a reason phrase of its own (RFC 9112 4) and trailers
//! (RFC 9110 6.5). Kept with what is stored, so that a hit says what the origin said; hardly any response has either.
//!
//! Trailers stay trailers: they are not merged into the fields (RFC 9111 3.1, RFC 9110 6.5.1), and go only behind the
//! whole content they came with.

use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use hyper::ext::ReasonPhrase;
use serde::{Deserialize, Serialize};

use crate::http::{Body, Response};

/// At least one of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Record", into = "Record")]
pub struct Aside {
    reason: Option<ReasonPhrase>,
    trailers: HeaderMap,
}

/// As it is written into a record of the store.
#[derive(Clone, Serialize, Deserialize)]
struct Record {
    reason: Option<Vec<u8>>,
    trailers: Vec<(String, Vec<u8>)>,
}

impl Aside {
    /// What there is beside a head with these extensions; `None` for nothing, the usual case.
    pub(super) fn of(head: &Extensions, trailers: Option<&HeaderMap>) -> Option<Box<Self>> {
        let aside = Self {
            reason: head.get().cloned(),
            trailers: trailers.cloned().unwrap_or_default(),
        };
        (aside.reason.is_some() || !aside.trailers.is_empty()).then(|| Box::new(aside))
    }

    /// Says it with a response of the same status; `is_whole`: all of the content is there.
    pub(super) fn say(&self, response: &mut Response, is_whole: bool) {
        if let Some(reason) = &self.reason {
            response.extensions_mut().insert(reason.clone());
        }
        if is_whole && !self.trailers.is_empty() {
            let body = std::mem::replace(response.body_mut(), Body::empty());
            *response.body_mut() = body.with_trailers(Some(self.trailers.clone()));
        }
    }

    /// Bytes it takes in memory, about.
    pub(super) fn weight(&self) -> usize {
        let fields = self.trailers.iter();
        let trailers: usize = fields
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        let reason = self
            .reason
            .as_ref()
            .map_or(0, |reason| reason.as_bytes().len());
        size_of::<Self>() + reason + trailers
    }
}

impl From<Aside> for Record {
    fn from(aside: Aside) -> Self {
        let fields = aside.trailers.iter();
        Self {
            reason: aside.reason.map(|reason| reason.as_bytes().to_vec()),
            trailers: fields
                .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
                .collect(),
        }
    }
}

impl From<Record> for Aside {
    /// What is not valid is left out: it is aside.
    fn from(record: Record) -> Self {
        let field = |(name, value): (String, Vec<u8>)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_bytes(&value).ok()?))
        };
        let mut trailers = HeaderMap::new();
        for (name, value) in record.trailers.into_iter().filter_map(field) {
            // One field too many for the map is aside as well.
            let _full = trailers.try_append(name, value);
        }
        Self {
            reason: record.reason.and_then(|reason| reason.try_into().ok()),
            trailers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aside() -> Aside {
        let mut head = Extensions::new();
        head.insert(ReasonPhrase::from_static(b"No such sku"));
        let mut trailers = HeaderMap::new();
        trailers.append("x-sum", HeaderValue::from_static("1"));
        trailers.append("x-sum", HeaderValue::from_bytes(b"\xff").unwrap());
        *Aside::of(&head, Some(&trailers)).unwrap()
    }

    #[test]
    fn nothing_aside_is_nothing_kept() {
        assert_eq!(Aside::of(&Extensions::new(), Some(&HeaderMap::new())), None);
        assert_eq!(Aside::of(&Extensions::new(), None), None);
    }

    #[test]
    fn a_record_round_trips_and_what_is_broken_in_one_is_left_out() {
        let written = postcard::to_stdvec(&aside()).unwrap();
        assert_eq!(postcard::from_bytes::<Aside>(&written).unwrap(), aside());
        let broken = Record {
            reason: Some(b"a\r\nb".to_vec()),
            trailers: vec![
                ("a b".to_owned(), Vec::new()),
                ("a".to_owned(), b"\n".to_vec()),
            ],
        };
        assert_eq!(Aside::from(broken), Aside::default());
    }

    #[test]
    fn trailers_go_behind_whole_content_only() {
        for is_whole in [true, false] {
            let mut response = Response::new(Body::full("content"));
            aside().say(&mut response, is_whole);
            assert_eq!(response.body().trailers().is_some(), is_whole);
            let reason = response.extensions().get::<ReasonPhrase>().unwrap();
            assert_eq!(reason.as_bytes(), b"No such sku");
        }
    }
}
