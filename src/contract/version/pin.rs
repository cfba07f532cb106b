//! The pinned version (`api_version`) against what the vendor's answers say. Pure.
//!
//! A vendor states its version in three ways: in a field of its answers, by a link to a successor or to the latest version
//! (RFC 5829 3), and by redirecting a pinned path to another version's.
//!
//! # Invariants
//!
//! - Saying nothing is no difference.
//! - `2` pins every `2.x`; `v2` in a path and `2` in a field are the same version.
//! - In a path only what looks like the pinned segment is another version: `/v3/` beside `v2`, never `/items/3`.
//!
//! What this does not do: refuse an answer. Whether another version is a breach is for the contract's schema and rules to
//! say, which look at the data; this says early that they might.

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::fields::VersionLink;
use crate::{
    config::{ApiVersion, PinnedVersion},
    http::Request,
};

/// Longest version that is told of; a longer one is cut off.
const VALUE_CHARS_MAX: usize = 64;

/// A version that the vendor names, and that is not the pinned one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// How it says so.
    pub how: How,
    /// Which version.
    pub version: String,
}

/// How a vendor states a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// In the answer's own field.
    Answer,
    /// By a link to a successor.
    Successor,
    /// By a link to the latest version.
    Latest,
    /// By a redirect.
    Redirect,
}

impl How {
    /// What the vendor did, for a sentence: "the vendor … `v3`".
    pub fn as_words(self) -> &'static str {
        match self {
            Self::Answer => "answers as version",
            Self::Successor => "names as successor version",
            Self::Latest => "names as latest version",
            Self::Redirect => "redirects to version",
        }
    }

    /// The word for it in the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Successor => "successor",
            Self::Latest => "latest",
            Self::Redirect => "redirect",
        }
    }
}

/// The request with the field that pins the version, in place of what a client sent under its name.
pub fn send(pinned: Option<&ApiVersion>, mut request: Request) -> Request {
    if let Some((name, value)) = pinned.and_then(ApiVersion::sent) {
        request.headers_mut().insert(name.clone(), value.clone());
    }
    request
}

/// Which versions an answer names that are not the pinned one.
pub fn statements(
    pinned: &ApiVersion,
    status: StatusCode,
    headers: &HeaderMap,
    links: &[VersionLink],
) -> Vec<Statement> {
    let mut found = Vec::new();
    if let Some(field) = &pinned.answer {
        let other = headers.get_all(field).iter();
        found.extend(other.filter_map(|said| answered(pinned.text(), said)));
    }
    if let PinnedVersion::Path { segment } = &pinned.pin {
        for link in links {
            let how = match link.rel {
                "successor-version" => How::Successor,
                "latest-version" => How::Latest,
                _ => continue,
            };
            let version = other_version(segment, path_of(&link.target));
            found.extend(version.map(|version| Statement::new(how, version)));
        }
        let location = status
            .is_redirection()
            .then(|| headers.get(header::LOCATION));
        let location = location
            .flatten()
            .and_then(|location| location.to_str().ok());
        let version = location.and_then(|location| other_version(segment, path_of(location)));
        found.extend(version.map(|version| Statement::new(How::Redirect, version)));
    }
    found
}

impl Statement {
    fn new(how: How, version: &str) -> Self {
        let printable = version.chars().filter(|c| !c.is_control());
        Self {
            how,
            version: printable.take(VALUE_CHARS_MAX).collect(),
        }
    }
}

/// The version an answer's field names, where it is another one. A field that lists several names the pinned one if any is.
fn answered(pinned: &str, said: &HeaderValue) -> Option<Statement> {
    let said = String::from_utf8_lossy(said.as_bytes());
    let mut members = said
        .split(',')
        .map(|member| member.trim().trim_matches('"'))
        .filter(|member| !member.is_empty())
        .peekable();
    members.peek()?;
    let is_pinned = members.any(|member| is_version(pinned, member));
    (!is_pinned).then(|| Statement::new(How::Answer, said.trim()))
}

/// Whether `said` is the pinned version or a part of it.
fn is_version(pinned: &str, said: &str) -> bool {
    let (pinned, said) = (bare(pinned), bare(said));
    let rest = said
        .get(..pinned.len())
        .filter(|start| start.eq_ignore_ascii_case(pinned))
        .map(|_| &said[pinned.len()..]);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// `2` of `v2`.
fn bare(version: &str) -> &str {
    let rest = version.strip_prefix(['v', 'V']);
    let is_number = |rest: &&str| rest.starts_with(|c: char| c.is_ascii_digit());
    rest.filter(is_number).unwrap_or(version)
}

/// The segment of a path that names another version than the pinned one.
pub fn other_version<'p>(pinned: &str, path: &'p str) -> Option<&'p str> {
    let mut segments = path.split('/');
    let is_pinned = |segment: &str| segment.eq_ignore_ascii_case(pinned);
    if segments.clone().any(is_pinned) {
        return None;
    }
    segments.find(|segment| is_kin(pinned, segment))
}

/// Whether a segment looks like another version of the same scheme: `v3` beside `v2`, `2025-01-15` beside `2024-10-01`.
fn is_kin(pinned: &str, segment: &str) -> bool {
    let (stem, number) = split_stem(pinned);
    let (other_stem, other_number) = split_stem(segment);
    if number.is_empty() || other_number.is_empty() || !stem.eq_ignore_ascii_case(other_stem) {
        return false;
    }
    if !stem.is_empty() {
        let is_part = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        return other_number.len() <= 16 && other_number.chars().all(is_part);
    }
    // A bare number is in many paths.
    let shape = shape(number);
    shape.len() > 1 && shape == self::shape(other_number)
}

/// Letters before the first digit, and the rest; the rest is empty where something else comes first.
fn split_stem(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_alphabetic());
    let (stem, rest) = text.split_at(end.unwrap_or(text.len()));
    match rest.starts_with(|c: char| c.is_ascii_digit()) {
        true => (stem, rest),
        false => (stem, ""),
    }
}

/// `#-#-#` of `2024-10-01`.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' if shape.ends_with('#') => {}
            '0'..='9' => shape.push('#'),
            c => shape.push(c),
        }
    }
    shape
}

/// The path of a URI or of a relative reference (RFC 3986 4.1).
fn path_of(reference: &str) -> &str {
    let end = reference.find(['?', '#']).unwrap_or(reference.len());
    let reference = &reference[..end];
    let after_scheme = reference.split_once("://").map(|(_, rest)| rest);
    match after_scheme.or_else(|| reference.strip_prefix("//")) {
        Some(rest) => rest.find('/').map_or("", |at| &rest[at..]),
        None => reference,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;
    use crate::contract::version::fields::told;

    const ANSWER: HeaderName = HeaderName::from_static("x-api-version");

    fn path(segment: &str) -> ApiVersion {
        ApiVersion {
            pin: PinnedVersion::Path {
                segment: segment.into(),
            },
            answer: None,
        }
    }

    fn said(pinned: &ApiVersion, status: u16, fields: &[(&str, &str)]) -> Vec<(How, String)> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let links = told(&headers).links;
        let status = StatusCode::from_u16(status).unwrap();
        let found = statements(pinned, status, &headers, &links).into_iter();
        found.map(|it| (it.how, it.version)).collect()
    }

    #[test]
    fn an_answers_field_names_the_pinned_version_or_another() {
        for (name, pinned, answer, want) in [
            ("the same day", "2024-10-01", "2024-10-01", None),
            (
                "another day",
                "2024-10-01",
                "2025-01-15",
                Some("2025-01-15"),
            ),
            ("quoted", "2024-10-01", "\"2024-10-01\"", None),
            ("a part of it", "2", "2.3.1", None),
            ("with and without v", "v2", "2.0", None),
            ("not a part of it", "2.1", "2.10", Some("2.10")),
            ("less than is pinned", "2.1", "2", Some("2")),
            ("one of several", "1.0", "1.0, 2.0", None),
            ("none of several", "1.0", "2.0, 3.0", Some("2.0, 3.0")),
            ("nothing", "1.0", " ", None),
        ] {
            let pinned = ApiVersion {
                pin: PinnedVersion::Header {
                    name: ANSWER,
                    value: HeaderValue::from_static(pinned),
                    send: true,
                },
                answer: Some(ANSWER),
            };
            let got = said(&pinned, 200, &[("x-api-version", answer)]);
            let want: Vec<_> = want
                .map(|it| (How::Answer, it.to_owned()))
                .into_iter()
                .collect();
            assert_eq!(got, want, "{name}");
            assert!(said(&pinned, 200, &[]).is_empty(), "it says nothing");
        }
    }

    #[test]
    fn links_and_redirects_to_another_versions_path_are_told_from_others() {
        let link = "link";
        for (name, pinned, status, field, value, want) in [
            (
                "a successor",
                "v2",
                200,
                link,
                "</v3/items>; rel=successor-version",
                Some((How::Successor, "v3")),
            ),
            (
                "the latest, elsewhere",
                "v2",
                200,
                link,
                "<https://api2.example/rest/v4?x=/v2/>; rel=latest-version",
                Some((How::Latest, "v4")),
            ),
            (
                "the latest is the pinned one",
                "v2",
                200,
                link,
                "</v2/items>; rel=latest-version",
                None,
            ),
            ("another link", "v2", 200, link, "</v3>; rel=next", None),
            (
                "a redirect",
                "v2",
                301,
                "location",
                "/api/v3/items",
                Some((How::Redirect, "v3")),
            ),
            (
                "a redirect within the version",
                "v2",
                302,
                "location",
                "/v2/login",
                None,
            ),
            (
                "a redirect to no version",
                "v2",
                302,
                "location",
                "https://v3.example",
                None,
            ),
            (
                "created, not redirected",
                "v2",
                201,
                "location",
                "/v3/items/7",
                None,
            ),
            (
                "a dated version",
                "2024-10-01",
                308,
                "location",
                "/2025-01-15/items",
                Some((How::Redirect, "2025-01-15")),
            ),
            (
                "a bare number is in many paths",
                "2",
                301,
                "location",
                "/items/42",
                None,
            ),
            (
                "a pre-release",
                "v2",
                301,
                "location",
                "/v3beta1/items",
                Some((How::Redirect, "v3beta1")),
            ),
            (
                "a word that begins alike",
                "v2",
                301,
                "location",
                "/video/7",
                None,
            ),
        ] {
            let got = said(&path(pinned), status, &[(field, value)]);
            let want: Vec<_> = want
                .map(|(how, version)| (how, version.to_owned()))
                .into_iter()
                .collect();
            assert_eq!(got, want, "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_path_panics_and_the_pinned_one_is_never_another(pinned in "[a-z]{0,3}[0-9.]{0,4}", path in "[ -~]{0,80}") {
            if let Some(found) = other_version(&pinned, path_of(&path)) {
                proptest::prop_assert!(!found.eq_ignore_ascii_case(&pinned));
            }
        }
    }
}
