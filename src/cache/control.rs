//! `Cache-Control`: the directives of requests and responses, parsed once.
//!
//! Pure. RFC 9111 5.2; list syntax of RFC 9110 5.6.1, quoted forms accepted for every argument (5.2: "recipients ought
//! to accept both forms"). A targeted field (RFC 9213) stands in for `Cache-Control` and `Expires` where it is there and
//! valid; those are structured fields (RFC 9651) and parsed as such.
//!
//! # Invariants
//!
//! - What cannot be read makes a response less reusable, never more: an unreadable lifetime is zero, of two the shorter
//!   holds, a `stale-*` permission that cannot be read is none.
//! - Numbers beyond 2^31 are 2^31 seconds (RFC 9111 1.2.2).

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use sfv::{BareItem, Dictionary, ListEntry};

use super::freshness::StaleForbidden;

/// Largest delta-seconds that is kept (RFC 9111 1.2.2).
const DELTA_SECS_MAX: u64 = 1 << 31;

/// Fields that speak to this cache rather than to every cache, the nearest first (RFC 9213 2.2: the target list).
static TARGETED: [HeaderName; 2] = [
    HeaderName::from_static("larder-cache-control"),
    HeaderName::from_static("cdn-cache-control"),
];

/// Directives of a response (RFC 9111 5.2.2, RFC 5861).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    /// They come from a targeted field: `Cache-Control` and `Expires` are ignored (RFC 9213 2.2).
    pub targeted: bool,
    /// Must not be stored.
    pub no_store: bool,
    /// Stored, but never used without asking. The qualified form (`no-cache="x"`) counts as the whole one.
    pub no_cache: bool,
    /// For one user. The qualified form counts as the whole one.
    pub private: bool,
    /// May be stored whatever else forbids it (`Authorization`).
    pub public: bool,
    /// Once stale, never used without asking.
    pub must_revalidate: bool,
    /// The same for shared caches, which we are.
    pub proxy_revalidate: bool,
    /// Stored only by caches that understand the status.
    pub must_understand: bool,
    /// Lifetime.
    pub max_age: Option<Duration>,
    /// Lifetime in shared caches; implies `proxy-revalidate` (5.2.2.10).
    pub s_maxage: Option<Duration>,
    /// RFC 5861 3.
    pub stale_while_revalidate: Option<Duration>,
    /// RFC 5861 4.
    pub stale_if_error: Option<Duration>,
}

/// Directives of a request (RFC 9111 5.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestDirectives {
    /// Neither the request nor its answer may be stored.
    pub no_store: bool,
    /// Ask before answering. Also `Pragma: no-cache` where there is no `Cache-Control` (5.4).
    pub no_cache: bool,
    /// Answer from the store or not at all.
    pub only_if_cached: bool,
    /// No older than this.
    pub max_age: Option<Duration>,
    /// Fresh for at least this much longer.
    pub min_fresh: Option<Duration>,
    /// Stale by up to this is welcome; without an argument, by any time.
    pub max_stale: Option<Duration>,
}

impl ResponseDirectives {
    /// Reads the first targeted field that is there and valid, or else every `Cache-Control` line.
    pub fn parse(headers: &HeaderMap) -> Self {
        if let Some((_, targeted)) = Self::targeted(headers) {
            return targeted;
        }
        let mut found = Self::default();
        for_each_directive(headers, &header::CACHE_CONTROL, |name, argument| {
            found.apply(name, argument);
        });
        found
    }

    /// The first targeted field that is there and valid, and what it says.
    pub(super) fn targeted(headers: &HeaderMap) -> Option<(&'static HeaderName, Self)> {
        let mut names = TARGETED.iter();
        names.find_map(|name| Some((name, targeted(headers, name)?)))
    }

    /// One member of a targeted field: the types of RFC 9213 2.1. A lifetime that is no integer is one that cannot be
    /// read: zero; a flag may carry anything but `?0`, which says that it is not meant.
    fn apply_member(&mut self, name: &str, member: &ListEntry) {
        let item = match member {
            ListEntry::Item(item) => Some(&item.bare_item),
            ListEntry::InnerList(_) => None,
        };
        if let Some(BareItem::Boolean(false)) = item {
            return;
        }
        let text = match item {
            Some(BareItem::Integer(secs)) => Some(secs.to_string()),
            _ => None,
        };
        self.apply(name, text.as_deref());
    }

    fn apply(&mut self, name: &str, argument: Option<&str>) {
        let is = |word: &str| name.eq_ignore_ascii_case(word);
        if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache = true;
        } else if is("private") {
            self.private = true;
        } else if is("public") {
            self.public = true;
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is("must-understand") {
            self.must_understand = true;
        } else if is("max-age") {
            shorten(&mut self.max_age, argument);
        } else if is("s-maxage") {
            shorten(&mut self.s_maxage, argument);
        } else if is("stale-while-revalidate") {
            shorten(&mut self.stale_while_revalidate, argument);
        } else if is("stale-if-error") {
            shorten(&mut self.stale_if_error, argument);
        }
    }

    /// What of it forbids use once stale, in a shared cache (RFC 9111 4.2.4).
    pub(super) fn stale_forbidden_by(&self) -> Option<StaleForbidden> {
        [
            (self.no_cache, StaleForbidden::NoCache),
            (self.must_revalidate, StaleForbidden::MustRevalidate),
            (self.proxy_revalidate, StaleForbidden::ProxyRevalidate),
            (self.s_maxage.is_some(), StaleForbidden::SMaxage),
        ]
        .into_iter()
        .find_map(|(forbids, why)| forbids.then_some(why))
    }

    /// Whether an answer to a request with `Authorization` may be shared (RFC 9111 3.5).
    pub fn shares_authorized(&self) -> bool {
        self.public || self.must_revalidate || self.s_maxage.is_some()
    }
}

impl RequestDirectives {
    /// Reads every `Cache-Control` line, and `Pragma` where there is none.
    pub(super) fn parse(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        if !headers.contains_key(header::CACHE_CONTROL) {
            for_each_directive(headers, &header::PRAGMA, |name, _| {
                found.no_cache |= name.eq_ignore_ascii_case("no-cache");
            });
            return found;
        }
        for_each_directive(headers, &header::CACHE_CONTROL, |name, argument| {
            found.apply(name, argument);
        });
        found
    }

    fn apply(&mut self, name: &str, argument: Option<&str>) {
        let is = |word: &str| name.eq_ignore_ascii_case(word);
        if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache = true;
        } else if is("only-if-cached") {
            self.only_if_cached = true;
        } else if is("max-age") {
            shorten(&mut self.max_age, argument);
        } else if is("min-fresh") {
            // Unreadable: as if not there. A client's wish that cannot be read binds nobody.
            self.min_fresh = argument.and_then(delta_secs).or(self.min_fresh);
        } else if is("max-stale") {
            self.max_stale = match argument {
                None => Some(Duration::from_secs(DELTA_SECS_MAX)),
                Some(argument) => delta_secs(argument).or(self.max_stale),
            };
        }
    }
}

/// What a targeted field says; `None` where it is absent, empty or no structured field (RFC 9213 2.1: then it is
/// ignored). Lines are one dictionary, and of equal names the last counts (RFC 9651 4.2).
fn targeted(headers: &HeaderMap, name: &HeaderName) -> Option<ResponseDirectives> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    let mut text = first.as_bytes().to_vec();
    for line in lines {
        text.extend_from_slice(b", ");
        text.extend_from_slice(line.as_bytes());
    }
    let members = sfv::Parser::new(&text).parse::<Dictionary>().ok()?;
    if members.is_empty() {
        return None;
    }
    let mut found = ResponseDirectives {
        targeted: true,
        ..ResponseDirectives::default()
    };
    for (name, member) in &members {
        found.apply_member(name.as_str(), member);
    }
    Some(found)
}

/// Of several, the shortest; an unreadable one is zero.
fn shorten(slot: &mut Option<Duration>, argument: Option<&str>) {
    let read = argument.and_then(delta_secs).unwrap_or_default();
    *slot = Some(slot.map_or(read, |known| known.min(read)));
}

/// Non-negative whole seconds (RFC 9111 1.2.2); `None` for anything but digits.
pub(super) fn delta_secs(text: &str) -> Option<Duration> {
    let text = text.trim_matches([' ', '\t']);
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Only digits: a parse error can only be an overflow.
    let secs = text.parse().unwrap_or(u64::MAX);
    Some(Duration::from_secs(secs.min(DELTA_SECS_MAX)))
}

/// Calls `each(name, argument)` for every directive on every line of a field. An argument's quotes are taken off.
fn for_each_directive(
    headers: &HeaderMap,
    field: &http::HeaderName,
    mut each: impl FnMut(&str, Option<&str>),
) {
    for line in headers.get_all(field) {
        let Some(line) = text(line) else {
            continue;
        };
        for member in split_list(line) {
            let (name, argument) = match member.split_once('=') {
                Some((name, argument)) => (name, Some(unquote(argument))),
                None => (member, None),
            };
            // White space around "=" is not in the grammar; the directive is then another, unknown one.
            each(name, argument);
        }
    }
}

/// A field line as text. Bytes beyond ASCII are possible in quoted strings only and concern no directive we know; a
/// line that has them is read as far as its ASCII prefix goes.
fn text(line: &HeaderValue) -> Option<&str> {
    let bytes = line.as_bytes();
    let ascii = bytes.iter().take_while(|byte| byte.is_ascii()).count();
    std::str::from_utf8(&bytes[..ascii]).ok()
}

/// The members of a list (RFC 9110 5.6.1), commas inside quoted strings kept; empty members skipped.
pub(super) fn split_list(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            let end = member_end(rest);
            let member = rest[..end].trim_matches([' ', '\t']);
            rest = rest.get(end + 1..).unwrap_or_default();
            if !member.is_empty() {
                return Some(member);
            }
        }
    })
}

/// Where the first member ends: a comma outside quotes, or the end.
fn member_end(text: &str) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

fn unquote(argument: &str) -> &str {
    argument
        .strip_prefix('"')
        .and_then(|inner| inner.strip_suffix('"'))
        .unwrap_or(argument)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(lines: &[&str]) -> ResponseDirectives {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(
                header::CACHE_CONTROL,
                HeaderValue::from_bytes(line.as_bytes()).unwrap(),
            );
        }
        ResponseDirectives::parse(&headers)
    }

    #[test]
    fn lifetimes_are_read_as_rfc9111_5_2_says() {
        for (name, lines, want_secs) in [
            ("plain", &["max-age=10"][..], Some(10)),
            ("any case", &["Max-Age=10"], Some(10)),
            ("quoted", &["max-age=\"10\""], Some(10)),
            ("on the second line", &["public", "max-age=10"], Some(10)),
            ("of two the shorter", &["max-age=10, max-age=5"], Some(5)),
            ("a fraction is unreadable: zero", &["max-age=1.5"], Some(0)),
            ("negative is unreadable: zero", &["max-age=-5"], Some(0)),
            ("no argument: zero", &["max-age"], Some(0)),
            (
                "overflow: 2^31",
                &["max-age=99999999999999999999"],
                Some(1 << 31),
            ),
            (
                "inside another's quotes: not there",
                &["x=\"max-age=10, y\""],
                None,
            ),
            ("a longer name: not there", &["x-max-age=10"], None),
            (
                "white space before =: another directive",
                &["max-age =10"],
                None,
            ),
            ("empty members are skipped", &[",, ,max-age=3,"], Some(3)),
        ] {
            let got = response(lines).max_age.map(|age| age.as_secs());
            assert_eq!(got, want_secs, "{name}");
        }
    }

    #[test]
    fn a_targeted_field_stands_in_for_cache_control() {
        let short = ("cache-control", "max-age=1");
        for (name, fields, want_secs, want_targeted) in [
            ("none", vec![short], Some(1), false),
            (
                "for caches of our kind",
                vec![short, ("cdn-cache-control", "max-age=60")],
                Some(60),
                true,
            ),
            (
                "our own goes first",
                vec![
                    short,
                    ("cdn-cache-control", "max-age=60"),
                    ("larder-cache-control", "max-age=90"),
                ],
                Some(90),
                true,
            ),
            (
                "an empty one is not there",
                vec![short, ("cdn-cache-control", "")],
                Some(1),
                false,
            ),
            (
                "one that is no structured field is not there",
                vec![short, ("cdn-cache-control", "max-age=60, &&&")],
                Some(1),
                false,
            ),
            (
                "the next one is looked at instead",
                vec![
                    ("larder-cache-control", "max-age"),
                    ("larder-cache-control", "=;"),
                    ("cdn-cache-control", "max-age=60"),
                ],
                Some(60),
                true,
            ),
            (
                "a lifetime of another type is zero",
                vec![("cdn-cache-control", "max-age=\"60\"")],
                Some(0),
                true,
            ),
            (
                "so is a fraction, and a negative one",
                vec![("cdn-cache-control", "max-age=60.5")],
                Some(0),
                true,
            ),
            (
                "of equal names the last counts",
                vec![
                    ("cdn-cache-control", "max-age=90"),
                    ("cdn-cache-control", "max-age=60"),
                ],
                Some(60),
                true,
            ),
            (
                "parameters are ignored",
                vec![("cdn-cache-control", "max-age=60;x=1, foo")],
                Some(60),
                true,
            ),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(name, HeaderValue::from_static(value));
            }
            let got = ResponseDirectives::parse(&headers);
            assert_eq!(got.max_age.map(|age| age.as_secs()), want_secs, "{name}");
            assert_eq!(got.targeted, want_targeted, "{name}");
        }
    }

    #[test]
    fn flags_of_a_targeted_field_are_booleans() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "cdn-cache-control",
            HeaderValue::from_static("no-store, private=?0, no-cache=?1"),
        );
        let got = ResponseDirectives::parse(&headers);
        assert!(got.no_store && got.no_cache && !got.private);
    }

    #[test]
    fn qualified_forms_count_as_whole_ones() {
        let found = response(&["private=\"set-cookie\", no-cache=\"x, y\""]);
        assert!(found.private && found.no_cache);
    }

    #[test]
    fn pragma_counts_only_without_cache_control() {
        let mut headers = HeaderMap::new();
        headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
        assert!(RequestDirectives::parse(&headers).no_cache);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-stale"));
        let found = RequestDirectives::parse(&headers);
        assert!(!found.no_cache);
        assert_eq!(found.max_stale, Some(Duration::from_secs(1 << 31)));
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(bytes: Vec<u8>) {
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, value.clone());
            ResponseDirectives::parse(&headers);
            RequestDirectives::parse(&headers);
            headers.insert("cdn-cache-control", value);
            ResponseDirectives::parse(&headers);
        }
    }
}
