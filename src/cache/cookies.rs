//! Cookies that tell answers apart: chosen by name, and the only ones the upstream then sees.
//!
//! Pure. RFC 6265 4.2.1: pairs separated by `;`, over all `Cookie` lines in their order (RFC 9113 8.2.3 splits them). Of
//! several of one name the first counts, which is the one a browser puts first for its longer path (RFC 6265 5.4).
//!
//! # Invariants
//!
//! - With chosen cookies a request that others may share carries each of them once and no other: what is not in the key
//!   cannot change the answer.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderValue, header};

/// The value of the first cookie of this name.
pub(super) fn value_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    let mut pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.find_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (known, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
        (known == name.as_bytes()).then_some(value)
    })
}

/// Leaves the cookies of these names, each once and in this order, and no others.
pub(super) fn keep(headers: &mut HeaderMap, names: &[Box<str>]) {
    if !headers.contains_key(header::COOKIE) {
        return;
    }
    let mut kept = BytesMut::new();
    for name in names {
        let Some(value) = value_of(headers, name) else {
            continue;
        };
        if !kept.is_empty() {
            kept.put_slice(b"; ");
        }
        kept.put_slice(name.as_bytes());
        kept.put_u8(b'=');
        kept.put_slice(value);
    }
    headers.remove(header::COOKIE);
    // Made of parts of field values and of names that are tokens.
    if !kept.is_empty()
        && let Ok(kept) = HeaderValue::from_maybe_shared(kept.freeze())
    {
        headers.insert(header::COOKIE, kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        let line = |line: &&'static str| (header::COOKIE, HeaderValue::from_static(line));
        let mut headers = HeaderMap::new();
        for (name, value) in lines.iter().map(line) {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn chosen_cookies_are_kept_once_and_no_others() {
        let names = ["currency".into(), "lang".into()];
        for (name, lines, want) in [
            ("none", &[][..], None),
            ("only others", &["session=1; Currency=EUR"], None),
            (
                "one among others",
                &["a=1; currency=EUR; b=2"],
                Some("currency=EUR"),
            ),
            (
                "in the order of the config",
                &["lang=de;currency=EUR"],
                Some("currency=EUR; lang=de"),
            ),
            (
                "over several lines",
                &["lang=de", "x=1", "currency=EUR"],
                Some("currency=EUR; lang=de"),
            ),
            (
                "the first of one name",
                &["currency=EUR; currency=USD", "currency=GBP"],
                Some("currency=EUR"),
            ),
            ("an empty one is one", &["currency="], Some("currency=")),
            (
                "without an equals sign it has no name",
                &["currency; lang"],
                None,
            ),
            (
                "an equals sign in a value",
                &["currency=a=b"],
                Some("currency=a=b"),
            ),
            (
                "quotes are part of a value",
                &["currency=\"EUR\""],
                Some("currency=\"EUR\""),
            ),
        ] {
            let mut headers = headers(lines);
            keep(&mut headers, &names);
            let kept: Vec<_> = headers.get_all(header::COOKIE).iter().collect();
            assert_eq!(kept, want.into_iter().collect::<Vec<_>>(), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_kept_reads_as_what_came(line in "[ab=; \"x]{0,24}") {
            let names = ["a".into(), "b".into()];
            let mut kept = HeaderMap::new();
            kept.insert(header::COOKIE, HeaderValue::from_str(&line).unwrap());
            let came = kept.clone();
            keep(&mut kept, &names);
            for name in ["a", "b"] {
                proptest::prop_assert_eq!(value_of(&kept, name), value_of(&came, name), "{}", line);
            }
        }
    }
}
