//! Paths and queries in one spelling, so that routes and cache keys can compare bytes.
//!
//! RFC 3986 6.2.2: percent-encoded triplets in upper case (6.2.2.1), encoded unreserved characters decoded (6.2.2.2), dot
//! segments removed (6.2.2.3, by 5.2.4). Nothing else: `//` stays, an encoded `/` (`%2F`) stays encoded, since to an origin
//! both may mean something.

use std::borrow::Cow;

use http::Uri;

/// The path in its normal form. Borrowed where it already is, which is the usual case.
///
/// A dot segment that was hidden behind `%2e` is removed too. A `%` without two hexadecimal digits is left as it is.
pub fn normalize_path(path: &str) -> Cow<'_, str> {
    let decoded = if path.as_bytes().contains(&b'%') {
        decode_unreserved(path)
    } else {
        Cow::Borrowed(path)
    };
    if !has_dot_segment(&decoded) {
        return decoded;
    }
    Cow::Owned(remove_dot_segments(&decoded))
}

/// The query in one spelling: triplets in upper case, encoded unreserved characters decoded (RFC 3986 6.2.2.1, 6.2.2.2).
/// What delimits stays as it is written: `%26` is no `&`, `+` is no `%20`. Borrowed where nothing is to do.
pub fn normalize_query(query: &str) -> Cow<'_, str> {
    if query.as_bytes().contains(&b'%') {
        decode_unreserved(query)
    } else {
        Cow::Borrowed(query)
    }
}

/// The path as its sender wrote it, where only the spelling differs from the normal form. A request extension: routes and
/// keys go by the normal form, the upstream gets the sender's own bytes (a signature may depend on them).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsWritten(pub Box<str>);

impl AsWritten {
    /// `None` where it had dot segments: what those stand for must be the same here and behind us.
    pub fn new(path: &str) -> Option<Self> {
        (!has_dot_segment(&decode_unreserved(path))).then(|| Self(path.into()))
    }
}

/// Unreserved characters decoded, except where that would make a triplet of a `%` that begins none: read again, by us or
/// by the origin, it would mean what nobody wrote (`%%32e` is not `%2e`).
fn decode_unreserved(path: &str) -> Cow<'_, str> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    let mut stray: Option<usize> = None;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some(byte) = triplet(rest.as_bytes()) else {
            stray = Some(out.len());
            out.push('%');
            rest = &rest[1..];
            continue;
        };
        let is_behind_stray = stray.is_some_and(|at| match &out.as_bytes()[at + 1..] {
            [] => true,
            [digit] => digit.is_ascii_hexdigit(),
            _ => false,
        });
        let is_unreserved =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if is_unreserved && !(is_behind_stray && byte.is_ascii_hexdigit()) {
            out.push(char::from(byte));
        } else {
            out.push_str(&rest[..3].to_ascii_uppercase());
        }
        rest = &rest[3..];
    }
    out.push_str(rest);
    if out == path {
        return Cow::Borrowed(path);
    }
    Cow::Owned(out)
}

/// The byte that `%xx` at the start stands for.
fn triplet(bytes: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    u8::try_from(digit(1)? * 16 + digit(2)?).ok()
}

fn has_dot_segment(path: &str) -> bool {
    let bytes = path.as_bytes();
    bytes.windows(2).enumerate().any(|(at, pair)| {
        pair == b"/." && {
            let tail = &bytes[at + 2..];
            matches!(tail, [] | [b'/', ..] | [b'.'] | [b'.', b'/', ..])
        }
    })
}

/// RFC 3986 5.2.4 for a path that starts with a slash.
fn remove_dot_segments(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    out.truncate(out.rfind('/').unwrap_or(0));
                }
                if is_last {
                    out.push('/');
                }
            }
            _ => {
                out.push('/');
                out.push_str(part);
            }
        }
    }
    out
}

/// A reference that a message makes, resolved against the path of its target (RFC 3986 5.2): the authority if it names
/// one, and path and query in their normal form, without a fragment. `None`: it is no reference to something of HTTP.
pub fn resolve<'r>(base_path: &str, reference: &'r str) -> Option<(Option<&'r str>, Uri)> {
    let reference = reference.split('#').next().unwrap_or_default();
    let (authority, rest) = match split_scheme(reference) {
        Some((scheme, rest)) => {
            let is_http = ["http", "https"]
                .iter()
                .any(|http| scheme.eq_ignore_ascii_case(http));
            let rest = rest.strip_prefix("//").filter(|_| is_http)?;
            split_authority(rest)
        }
        None => match reference.strip_prefix("//") {
            Some(rest) => split_authority(rest),
            // RFC 3986 4.2: a colon in its first segment would make a scheme of what stands before.
            None if first_segment(reference).contains(':') => return None,
            None => (None, reference),
        },
    };
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    let path = match path {
        "" if authority.is_some() => "/".to_owned(),
        "" => base_path.to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        // RFC 3986 5.2.3: in place of what stands behind the last slash.
        path => format!("{}{path}", &base_path[..=base_path.rfind('/')?]),
    };
    let path = normalize_path(&path).into_owned();
    let target = match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    Some((authority, target.parse().ok()?))
}

/// `scheme:rest` (RFC 3986 3.1), where it begins with one.
fn split_scheme(reference: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = reference.split_once(':')?;
    let mut chars = scheme.chars();
    let is_scheme = chars.next()?.is_ascii_alphabetic()
        && chars.all(|char| char.is_ascii_alphanumeric() || "+-.".contains(char));
    is_scheme.then_some((scheme, rest))
}

fn first_segment(reference: &str) -> &str {
    reference.split(['/', '?']).next().unwrap_or_default()
}

fn split_authority(rest: &str) -> (Option<&str>, &str) {
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    (Some(&rest[..end]), &rest[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_path_has_one_spelling() {
        for (name, path, want) in [
            ("nothing to do", "/prices/1", "/prices/1"),
            (
                "unreserved characters are decoded",
                "/%7Euser/%41%2d",
                "/~user/A-",
            ),
            ("triplets are in upper case", "/a%2fb%c3%a9", "/a%2Fb%C3%A9"),
            ("reserved characters stay encoded", "/a%3Fb", "/a%3Fb"),
            ("a broken triplet stays", "/100%/%4", "/100%/%4"),
            (
                "a broken triplet is not mended by what is decoded behind it",
                "/%%32e%%32e/%6%35/%%7e/%&%44",
                "/%%32e%%32e/%6%35/%~/%&D",
            ),
            ("dot segments go", "/a/./b/../c", "/a/c"),
            ("hidden dot segments go", "/a/%2e%2E/b", "/b"),
            (
                "nobody climbs above the root",
                "/../../etc/passwd",
                "/etc/passwd",
            ),
            ("a last dot leaves its slash", "/a/b/.", "/a/b/"),
            ("two last dots leave the slash before", "/a/b/..", "/a/"),
            ("the root is kept", "/..", "/"),
            ("empty segments are kept", "/a//b", "/a//b"),
            (
                "an empty segment is a segment to climb from",
                "/a//../b",
                "/a/b",
            ),
            (
                "names that start with dots are kept",
                "/.well-known/..a/...",
                "/.well-known/..a/...",
            ),
            ("RFC 3986 5.2.4, example", "/a/b/c/./../../g", "/a/g"),
        ] {
            let once = normalize_path(path);
            assert_eq!(once, want, "{name}");
            assert_eq!(normalize_path(&once), want, "twice: {name}");
        }
    }

    #[test]
    fn references_are_resolved_as_rfc3986_5_says() {
        for (name, reference, want) in [
            ("a path", "/x?y=1", Some((None, "/x?y=1"))),
            ("a sibling", "g", Some((None, "/b/c/g"))),
            ("with a query", "g?y", Some((None, "/b/c/g?y"))),
            ("up", "../g", Some((None, "/b/g"))),
            ("here", "./", Some((None, "/b/c/"))),
            ("the target itself", "", Some((None, "/b/c/d"))),
            (
                "the same path, another query",
                "?y",
                Some((None, "/b/c/d?y")),
            ),
            ("a fragment does not count", "#s", Some((None, "/b/c/d"))),
            (
                "a whole URI",
                "http://a:80/x/../g#s",
                Some((Some("a:80"), "/g")),
            ),
            ("one without a path", "HTTPS://a", Some((Some("a"), "/"))),
            (
                "one without a path, with a query",
                "http://a?y",
                Some((Some("a"), "/?y")),
            ),
            ("the same scheme", "//a/g", Some((Some("a"), "/g"))),
            ("another scheme", "mailto:a@b", None),
            ("a colon in a path", "./g:h", Some((None, "/b/c/g:h"))),
            ("a colon where none may be", "::", None),
            ("what is no URI", "/ /", None),
        ] {
            let got = resolve("/b/c/d", reference);
            let got = got.map(|(authority, target)| (authority, target.to_string()));
            let want = want.map(|(authority, target)| (authority, target.to_owned()));
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn a_path_with_dot_segments_is_never_sent_as_it_was_written() {
        for (path, want) in [
            ("/%7Euser/%c3%a9", true),
            ("/a/../b", false),
            ("/a/%2E%2e/b", false),
            ("/%2e", false),
            ("/a.b/%2e%2e%2e", true),
        ] {
            assert_eq!(AsWritten::new(path).is_some(), want, "{path}");
        }
    }

    #[test]
    fn a_normal_path_is_not_copied() {
        for path in ["/", "/prices/1", "/a%2Fb", "/a.b/.c", "/100%"] {
            assert!(matches!(normalize_path(path), Cow::Borrowed(_)), "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn resolving_never_panics(base in "/[a-b/.]{0,6}", reference in "[a-b/.:?#@% é]{0,12}") {
            resolve(&base, &reference);
        }

        #[test]
        fn normalising_twice_changes_nothing(path in "/[a-c./%2356eE7~]{0,24}") {
            let once = normalize_path(&path).into_owned();
            proptest::prop_assert_eq!(normalize_path(&once), once.as_str());
            proptest::prop_assert!(once.starts_with('/'));
        }
    }
}
