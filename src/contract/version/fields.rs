//! What an answer says of its own end: `Deprecation` (RFC 9745), `Sunset` (RFC 8594), and the links that go with them. Pure.
//!
//! - `Deprecation` is a date of structured fields, `@1688169599` (RFC 9745 2.1), in the past or the future.
//! - `Sunset` is an HTTP date (RFC 8594 3).
//! - Departure: vendors write what was drafted before, and what they think is meant: `true`, an HTTP date in
//!   `Deprecation`, `@…` in `Sunset`, a day as `2027-01-31`. These are read too, and [`Form::Lenient`] says so: a date that
//!   nobody hears of breaks a site, however it was written.
//!
//! # Invariants
//!
//! - What cannot be read is absent: nothing is announced that the vendor did not say.
//! - An answer that says nothing costs three look-ups by name.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use sfv::{BareItem, Item, Parser};

use crate::{clock::Timestamp, http::date, http::link::links};

/// `Deprecation` (RFC 9745).
pub const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
/// `Sunset` (RFC 8594).
pub const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// Links of one answer that are kept.
pub const LINKS_MAX: usize = 8;
/// Longest target of a link that is kept; a longer one is cut off.
const TARGET_CHARS_MAX: usize = 512;
/// Relation types that speak of versions: RFC 9745 3, RFC 8594 6, RFC 5829 3.
const RELS: [&str; 4] = [
    "deprecation",
    "sunset",
    "successor-version",
    "latest-version",
];

/// How a field was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As its RFC has it.
    Standard,
    /// As an earlier draft had it, or in another form that can hardly be misunderstood.
    Lenient,
}

/// What an answer says of its own end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Whether it is deprecated.
    pub deprecation: Option<Deprecation>,
    /// When it may stop answering.
    pub sunset: Option<Sunset>,
    /// What it points to in this matter.
    pub links: Vec<VersionLink>,
}

/// A resource that is, or will be, deprecated: it answers as before, and should not be built on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deprecation {
    /// Since when, or from when on; `None`: it does not say.
    pub at: Option<Timestamp>,
    /// How it was written.
    pub form: Form,
}

/// When a resource is expected to stop answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sunset {
    /// From then on it may be gone.
    pub at: Timestamp,
    /// How it was written.
    pub form: Form,
}

/// A link that speaks of versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionLink {
    /// `deprecation`, `sunset`, `successor-version` or `latest-version`.
    pub rel: &'static str,
    /// Where it leads, as written.
    pub target: String,
}

impl Told {
    /// Whether it says nothing at all.
    pub fn is_nothing(&self) -> bool {
        self.deprecation.is_none() && self.sunset.is_none() && self.links.is_empty()
    }
}

/// What an answer with these fields says of its own end.
pub fn told(headers: &HeaderMap) -> Told {
    Told {
        deprecation: first(headers, &DEPRECATION, deprecation),
        sunset: first(headers, &SUNSET, sunset),
        links: version_links(headers),
    }
}

/// The first line of a field that can be read.
fn first<T>(
    headers: &HeaderMap,
    name: &HeaderName,
    read: impl Fn(&HeaderValue) -> Option<T>,
) -> Option<T> {
    headers.get_all(name).iter().find_map(read)
}

/// A value of `Deprecation`.
pub fn deprecation(value: &HeaderValue) -> Option<Deprecation> {
    let text = value.to_str().ok()?.trim();
    if let Some(at) = structured_date(text) {
        let (at, form) = (Some(at), Form::Standard);
        return Some(Deprecation { at, form });
    }
    let form = Form::Lenient;
    if text.eq_ignore_ascii_case("true") || text == "?1" {
        return Some(Deprecation { at: None, form });
    }
    let at = Some(other_date(text)?);
    Some(Deprecation { at, form })
}

/// A value of `Sunset`.
pub fn sunset(value: &HeaderValue) -> Option<Sunset> {
    let text = value.to_str().ok()?.trim();
    if let Some(at) = date::parse(text.as_bytes()) {
        let form = Form::Standard;
        return Some(Sunset { at, form });
    }
    let at = structured_date(text).or_else(|| other_date(text))?;
    let form = Form::Lenient;
    Some(Sunset { at, form })
}

/// RFC 9651 3.3.7. Times before 1970 are as good as the beginning of it: long ago.
fn structured_date(text: &str) -> Option<Timestamp> {
    if !text.starts_with('@') {
        return None;
    }
    let item: Item = Parser::new(text).parse().ok()?;
    let BareItem::Date(date) = item.bare_item else {
        return None;
    };
    let secs = i64::from(date.unix_seconds());
    Some(Timestamp::from_secs(u64::try_from(secs).unwrap_or(0)))
}

/// A date that is written as neither RFC has it: an HTTP date, a time or a day of RFC 3339.
fn other_date(text: &str) -> Option<Timestamp> {
    date::parse(text.as_bytes())
        .or_else(|| {
            let millis = text.parse::<jiff::Timestamp>().ok()?.as_millisecond();
            Some(Timestamp::from_millis(u64::try_from(millis).ok()?))
        })
        .or_else(|| {
            // A whole day: until its end, so that nobody is told too early that it is over.
            let day = (text.len() == 10).then_some(text)?;
            day_end(day.parse().ok()?)
        })
}

/// The first moment after this day, in UTC.
pub(super) fn day_end(day: jiff::civil::Date) -> Option<Timestamp> {
    let next = day
        .tomorrow()
        .ok()?
        .to_zoned(jiff::tz::TimeZone::UTC)
        .ok()?;
    let secs = u64::try_from(next.timestamp().as_second()).ok()?;
    Some(Timestamp::from_secs(secs))
}

/// Whether any of [`RELS`] can be in it.
fn speaks_of_versions(line: &[u8]) -> bool {
    let has = |word: &[u8]| {
        let mut windows = line.windows(word.len());
        windows.any(|window| window.eq_ignore_ascii_case(word))
    };
    has(b"-version") || has(b"sunset") || has(b"deprecation")
}

fn version_links(headers: &HeaderMap) -> Vec<VersionLink> {
    // Many answers have links to the next page and to style sheets, and only these are worth being taken apart.
    let mut lines = headers.get_all(header::LINK).iter();
    if !lines.any(|line| speaks_of_versions(line.as_bytes())) {
        return Vec::new();
    }
    let mut found: Vec<VersionLink> = Vec::new();
    // A link about something else says nothing about this resource (RFC 8288 3.2).
    let own = links(headers)
        .into_iter()
        .filter(|link| link.anchor.is_none());
    for link in own {
        for rel in RELS.into_iter().filter(|rel| link.is(rel)) {
            let target: String = link.target.chars().take(TARGET_CHARS_MAX).collect();
            let link = VersionLink { rel, target };
            if found.len() < LINKS_MAX && !found.contains(&link) {
                found.push(link);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> HeaderValue {
        HeaderValue::from_bytes(text.as_bytes()).unwrap()
    }

    #[test]
    fn deprecation_is_a_structured_date_and_other_forms_are_understood() {
        use Form::{Lenient, Standard};
        let at = |secs| Some(Timestamp::from_secs(secs));
        for (name, text, want) in [
            (
                "as RFC 9745 has it",
                "@1688169599",
                Some((at(1_688_169_599), Standard)),
            ),
            (
                "with parameters",
                "@1688169599;a=1",
                Some((at(1_688_169_599), Standard)),
            ),
            ("before 1970", "@-5", Some((at(0), Standard))),
            ("of a draft", "true", Some((None, Lenient))),
            ("a structured boolean", "?1", Some((None, Lenient))),
            (
                "of another draft",
                "Sun, 06 Nov 1994 08:49:37 GMT",
                Some((at(784_111_777), Lenient)),
            ),
            (
                "a time of RFC 3339",
                "2026-11-26T00:00:00Z",
                Some((at(1_795_651_200), Lenient)),
            ),
            (
                "a day is over at its end",
                "2026-11-25",
                Some((at(1_795_651_200), Lenient)),
            ),
            ("a fraction is no date", "@1.5", None),
            ("a boolean that says no", "?0", None),
            ("false", "false", None),
            ("a number", "1688169599", None),
            ("words", "version=\"v1\"", None),
            ("nothing", "", None),
            ("a date and more", "@1, @2", None),
        ] {
            let got = deprecation(&value(text)).map(|found| (found.at, found.form));
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn sunset_is_an_http_date_and_other_forms_are_understood() {
        use Form::{Lenient, Standard};
        for (name, text, want) in [
            (
                "as RFC 8594 has it",
                "Sun, 06 Nov 1994 08:49:37 GMT",
                Some((784_111_777, Standard)),
            ),
            (
                "a structured date",
                "@1688169599",
                Some((1_688_169_599, Lenient)),
            ),
            ("a day", "2026-11-25", Some((1_795_651_200, Lenient))),
            ("true is no date", "true", None),
            ("a day that is not", "2026-02-30", None),
            ("words", "next spring", None),
        ] {
            let got = sunset(&value(text)).map(|found| (found.at.as_millis() / 1000, found.form));
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn links_about_versions_are_kept_and_others_are_not() {
        let mut headers = HeaderMap::new();
        assert!(told(&headers).is_nothing());
        for line in [
            "</docs>; rel=\"deprecation\"; type=\"text/html\", </2>; rel=next",
            "<https://api.example/v3>; rel=\"successor-version latest-version\"",
            "</v9>; rel=successor-version; anchor=\"/elsewhere\"",
        ] {
            headers.append(header::LINK, value(line));
        }
        let links = told(&headers).links;
        let links: Vec<_> = links
            .iter()
            .map(|link| (link.rel, link.target.as_str()))
            .collect();
        let want = [
            ("deprecation", "/docs"),
            ("successor-version", "https://api.example/v3"),
            ("latest-version", "https://api.example/v3"),
        ];
        assert_eq!(links, want);
    }

    proptest::proptest! {
        #[test]
        fn no_value_panics_and_what_is_kept_is_bounded(bytes in proptest::collection::vec(32u8..=255, 0..200)) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                for name in [DEPRECATION, SUNSET, header::LINK] {
                    headers.append(name, value.clone());
                }
            }
            proptest::prop_assert!(told(&headers).links.len() <= LINKS_MAX);
        }

        #[test]
        fn every_date_of_the_standards_is_read_back(secs in 0u64..250_000_000_000) {
            let at = Timestamp::from_secs(secs);
            let deprecated = deprecation(&value(&format!("@{secs}"))).unwrap();
            proptest::prop_assert_eq!(deprecated, Deprecation { at: Some(at), form: Form::Standard });
            let gone = sunset(&value(&httpdate::fmt_http_date(at.into()))).unwrap();
            proptest::prop_assert_eq!(gone, Sunset { at, form: Form::Standard });
        }
    }
}
