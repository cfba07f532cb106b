//! Selecting fields: what of a request field tells variants apart (RFC 9111 4.1).
//!
//! Pure. Fields match where one can be turned into the other by adding or removing white space where the syntax allows
//! it, by combining lines, and by changes that their definition says mean nothing. Known to mean nothing here: the order
//! and the letter case of the members of `Accept`, `Accept-Charset`, `Accept-Encoding` and `Accept-Language` (RFC 9110
//! 12.4.2, 12.5: weights decide, not places), a weight of 1, and how a weight is written.
//!
//! # Invariants
//!
//! - A field whose syntax is not understood is compared as it came, apart from white space around its members.
//! - Absent is not empty; quoted strings are left alone.

use http::{HeaderMap, HeaderName, header};

/// Gives `out` the bytes that stand for a field of this request; nothing at all where it is absent, which the caller tells
/// apart.
pub(super) fn describe(name: &HeaderName, headers: &HeaderMap, mut out: impl FnMut(&[u8])) {
    let lines = || {
        headers
            .get_all(name)
            .iter()
            .map(http::HeaderValue::as_bytes)
    };
    if has_weights(name)
        && let Some(members) = weighted(lines().flat_map(members))
    {
        for (nth, member) in members.iter().enumerate() {
            if nth > 0 {
                out(b",");
            }
            member.describe(&mut out);
        }
        return;
    }
    for (nth, member) in lines().flat_map(members).enumerate() {
        if nth > 0 {
            out(b",");
        }
        out(member);
    }
}

fn has_weights(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::ACCEPT | header::ACCEPT_CHARSET | header::ACCEPT_ENCODING | header::ACCEPT_LANGUAGE
    )
}

/// The members of a line, white space around them taken away. Commas in quoted strings do not part them. A line without
/// any is one empty member: `Foo:` is not the same as no `Foo`.
fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    split(line, b',').map(<[u8]>::trim_ascii)
}

/// The pieces between separators outside quoted strings.
fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |byte| match byte {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' if quoted => {
            escaped = true;
            false
        }
        b'"' => {
            quoted = !quoted;
            false
        }
        byte => *byte == separator && !quoted,
    })
}

// --- Weighted ---

/// A member with its weight in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Weighted<'a> {
    /// Range, coding or tag, with its parameters but without the weight.
    what: &'a [u8],
    weight: u16,
}

impl Weighted<'_> {
    /// Lower case, its pieces without the white space around them. A parameter's value keeps its case.
    fn describe(&self, out: &mut impl FnMut(&[u8])) {
        for (nth, piece) in split(self.what, b';').enumerate() {
            let piece = piece.trim_ascii();
            let name_len = match nth {
                0 => piece.len(),
                _ => piece
                    .iter()
                    .position(|byte| *byte == b'=')
                    .unwrap_or(piece.len()),
            };
            if nth > 0 {
                out(b";");
            }
            let (name, value) = piece.split_at(name_len);
            for byte in name {
                out(&[byte.to_ascii_lowercase()]);
            }
            out(value);
        }
        if self.weight != 1000 {
            out(b";q=");
            let digit = |unit| b'0' + (self.weight / unit % 10) as u8;
            out(&[digit(100), digit(10), digit(1)]);
        }
    }
}

/// The members in an order of their own, each once. `None`: one of them is not understood.
fn weighted<'a>(members: impl Iterator<Item = &'a [u8]>) -> Option<Vec<Weighted<'a>>> {
    let read: Option<Vec<_>> = members
        // RFC 9110 5.6.1.2: empty members mean nothing.
        .filter(|member| !member.is_empty())
        .map(read)
        .collect();
    let mut read = read?;
    read.sort_by(|a, b| {
        let lower = |what: &'a [u8]| what.iter().map(u8::to_ascii_lowercase);
        lower(a.what)
            .cmp(lower(b.what))
            .then(a.weight.cmp(&b.weight))
    });
    read.dedup();
    Some(read)
}

/// `what;parameters;q=0.5`; what stands behind the weight is an extension that nobody defines, so it is not understood.
fn read(member: &[u8]) -> Option<Weighted<'_>> {
    let mut at = 0;
    for (nth, piece) in split(member, b';').enumerate() {
        let begins = at;
        at += piece.len() + 1;
        let piece = piece.trim_ascii();
        let is_weight = nth > 0 && matches!(piece, [b'q' | b'Q', b'=', ..]);
        if is_weight {
            let is_last = at > member.len();
            let weight = weight(&piece[2..]).filter(|_| is_last)?;
            let what = member[..begins - 1].trim_ascii();
            return Some(Weighted { what, weight });
        }
    }
    let weight = 1000;
    let what = member;
    Some(Weighted { what, weight })
}

/// RFC 9110 12.4.2: 0 to 1 with up to three decimals, as thousandths.
fn weight(text: &[u8]) -> Option<u16> {
    let (whole, decimals) = match text {
        [whole] => (whole, &[][..]),
        [whole, b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return None,
    };
    let mut thousandths = match whole {
        b'0' => 0,
        b'1' => 1000,
        _ => return None,
    };
    for (byte, unit) in decimals.iter().zip([100, 10, 1]) {
        if !byte.is_ascii_digit() {
            return None;
        }
        thousandths += u16::from(byte - b'0') * unit;
    }
    (thousandths <= 1000).then_some(thousandths)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn described(name: &'static str, lines: &[&'static str]) -> Vec<u8> {
        let name = HeaderName::from_static(name);
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&name, HeaderValue::from_static(line));
        }
        let mut out = Vec::new();
        describe(&name, &headers, |bytes| out.extend_from_slice(bytes));
        out
    }

    #[test]
    fn what_means_the_same_selects_the_same() {
        for (name, field, one, other) in [
            ("white space", "foo", &["1, 2"][..], &["1,2"][..]),
            ("lines are one list", "foo", &["1", "2"], &["1, 2"]),
            (
                "order of languages",
                "accept-language",
                &["en, de"],
                &["de, en"],
            ),
            (
                "case of languages",
                "accept-language",
                &["en-GB"],
                &["EN-gb"],
            ),
            (
                "a weight of one",
                "accept-language",
                &["en;q=1.000, de"],
                &["de, en"],
            ),
            (
                "how a weight is written",
                "accept",
                &["a/b;q=0.50"],
                &["a/b; Q=0.5"],
            ),
            (
                "order of codings",
                "accept-encoding",
                &["gzip, br"],
                &["br", "gzip"],
            ),
            (
                "twice the same",
                "accept-encoding",
                &["gzip, gzip"],
                &["gzip"],
            ),
            (
                "empty members",
                "accept-encoding",
                &["gzip,, br"],
                &["gzip, br"],
            ),
            (
                "case of media types",
                "accept",
                &["Text/HTML;Level=1"],
                &["text/html; level=1"],
            ),
        ] {
            assert_eq!(described(field, one), described(field, other), "{name}");
        }
    }

    #[test]
    fn what_may_mean_something_else_selects_something_else() {
        for (name, field, one, other) in [
            ("values", "foo", &["1"][..], &["2"][..]),
            ("order of an unknown field", "foo", &["1, 2"], &["2, 1"]),
            ("case of an unknown field", "foo", &["a"], &["A"]),
            ("white space in quotes", "foo", &["\"a, b\""], &["\"a,b\""]),
            (
                "an empty member of an unknown field",
                "foo",
                &["1,"],
                &["1"],
            ),
            (
                "weights",
                "accept-language",
                &["en, de;q=0.5"],
                &["en;q=0.5, de"],
            ),
            (
                "a weight of zero",
                "accept-encoding",
                &["gzip, br;q=0"],
                &["gzip"],
            ),
            ("a parameter's value", "accept", &["a/b;v=X"], &["a/b;v=x"]),
            ("a weight that is none", "accept", &["a/b;q=2"], &["a/b"]),
            (
                "something behind the weight",
                "accept",
                &["a/b;q=1;x=1"],
                &["a/b"],
            ),
            (
                "one coding more",
                "accept-encoding",
                &["gzip, br"],
                &["gzip"],
            ),
        ] {
            assert_ne!(described(field, one), described(field, other), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn describing_never_panics_and_order_never_matters(
            mut members in proptest::collection::vec("[a-c]{1,2}(;q=0\\.[0-9])?", 0..5), bytes: Vec<u8>,
        ) {
            let of = |text: &[u8]| {
                let value = HeaderValue::from_bytes(text).ok()?;
                let headers = HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, value)]);
                let mut out = Vec::new();
                describe(&header::ACCEPT_LANGUAGE, &headers, |bytes| out.extend_from_slice(bytes));
                Some(out)
            };
            of(&bytes);
            let one = of(members.join(", ").as_bytes());
            members.reverse();
            proptest::prop_assert_eq!(one, of(members.join(",").as_bytes()));
        }
    }
}
