//! The built-in sets: a vendor of prices, of bookings, of a catalogue, and a laboratory for tests.
//!
//! Data is a function of seed and time (`Question`); what must be remembered (bookings, counters) is
//! bounded and lives in [`Shop`].

mod booking;
mod catalogue;
mod lab;
mod pricing;

use std::fmt;
use std::str::FromStr;

use http::StatusCode;
use serde_json::json;

use super::answer::{Answer, Question};
use super::breaks::instead;
use super::file::Resource;

/// A family of resources that is served together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Set {
    /// `/prices/{sku}?currency=EUR`.
    Pricing,
    /// `/availability/{hotel}?date=`, `/bookings`, `/bookings/{id}`.
    Booking,
    /// `/catalogue?page=1`, `/catalogue/{id}`.
    Catalogue,
    /// `/lab/...`: answers made to order.
    Lab,
}

/// All resources of one stub.
#[derive(Debug, Default)]
pub(crate) struct Shop {
    sets: Vec<Set>,
    /// From a file; asked before the sets, so that a file can replace a built-in resource.
    resources: Vec<Resource>,
    bookings: booking::Bookings,
    counters: lab::Counters,
}

// --- Set ---

impl Set {
    /// Every set.
    pub const ALL: [Self; 4] = [Self::Pricing, Self::Booking, Self::Catalogue, Self::Lab];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pricing => "pricing",
            Self::Booking => "booking",
            Self::Catalogue => "catalogue",
            Self::Lab => "lab",
        }
    }

    /// A path worth trying first.
    pub fn example(self) -> &'static str {
        match self {
            Self::Pricing => "/prices/A-1?currency=EUR",
            Self::Booking => "/availability/grand?date=2026-12-24",
            Self::Catalogue => "/catalogue?page=1",
            Self::Lab => "/lab/response?Cache-Control=max-age%3D5&_etag=v1",
        }
    }
}

impl fmt::Display for Set {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Set {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|set| set.name() == text);
        named.ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            let hint = instead(text, "sets", &names);
            format!("unknown set '{text}'{hint}")
        })
    }
}

// --- Shop ---

impl Shop {
    pub(crate) fn new(sets: Vec<Set>, resources: Vec<Resource>) -> Self {
        Self {
            sets,
            resources,
            ..Self::default()
        }
    }

    /// The good answer; 404 in JSON where nothing lives at the path.
    pub(crate) fn answer(&self, question: &Question) -> Answer {
        let from_file = self
            .resources
            .iter()
            .find_map(|resource| resource.answer(question));
        let built_in = || {
            self.sets
                .iter()
                .find_map(|set| self.answer_of(*set, question))
        };
        from_file
            .or_else(built_in)
            .or_else(|| health(question))
            .unwrap_or_else(|| not_found("nothing lives at this path"))
    }

    /// Bookings made since the start: a write that was doubled shows here.
    pub(crate) fn bookings_made(&self) -> u64 {
        self.bookings.made()
    }

    fn answer_of(&self, set: Set, question: &Question) -> Option<Answer> {
        match set {
            Set::Pricing => pricing::answer(question),
            Set::Booking => self.bookings.answer(question),
            Set::Catalogue => catalogue::answer(question),
            Set::Lab => self.counters.answer(question),
        }
    }
}

fn health(question: &Question) -> Option<Answer> {
    if question.path != "/health" {
        return None;
    }
    Some(
        question
            .refused_method(&["GET", "HEAD"])
            .unwrap_or_else(|| {
                Answer::json(StatusCode::OK, &json!({ "status": "ok" }))
                    .with(http::header::CACHE_CONTROL, "no-store")
            }),
    )
}

fn not_found(text: &str) -> Answer {
    Answer::problem(StatusCode::NOT_FOUND, text)
}

fn bad_request(text: &str) -> Answer {
    Answer::problem(StatusCode::BAD_REQUEST, text)
}

/// A time as APIs write it: `2026-11-20T12:00:00Z`.
fn iso_time(time: crate::clock::Timestamp) -> String {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| String::new(), |at| at.to_string())
}

#[cfg(test)]
fn json_of(answer: &Answer) -> serde_json::Value {
    match &answer.content {
        super::body::Content::Whole(bytes) => serde_json::from_slice(bytes).unwrap(),
        other => panic!("no whole body but {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::question;
    use super::*;

    #[test]
    fn unknown_path_is_404_and_wrong_method_405_with_allow() {
        let shop = Shop::new(Set::ALL.to_vec(), Vec::new());
        for (method, path, want, allow) in [
            ("GET", "/nowhere", 404, None),
            ("GET", "/prices", 404, None),
            ("POST", "/prices/A", 405, Some("GET, HEAD")),
            ("DELETE", "/bookings", 405, Some("GET, HEAD, POST")),
            ("PUT", "/bookings/b-1", 405, Some("GET, HEAD")),
            ("POST", "/catalogue", 405, Some("GET, HEAD")),
            ("POST", "/health", 405, Some("GET, HEAD")),
            ("GET", "/health", 200, None),
        ] {
            let answer = shop.answer(&question(method, path));
            assert_eq!(answer.status.as_u16(), want, "{method} {path}");
            let got = answer
                .headers
                .get("allow")
                .map(|allow| allow.to_str().unwrap());
            assert_eq!(got, allow, "{method} {path}");
            assert!(json_of(&answer).is_object(), "{method} {path}");
        }
    }

    #[test]
    fn set_that_is_off_does_not_answer() {
        let shop = Shop::new(vec![Set::Catalogue], Vec::new());
        assert_eq!(shop.answer(&question("GET", "/prices/A")).status, 404);
        assert_eq!(shop.answer(&question("GET", "/catalogue")).status, 200);
        let why = "pricng".parse::<Set>().unwrap_err();
        assert!(why.contains("did you mean 'pricing'?"), "{why}");
    }
}
