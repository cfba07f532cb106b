//! `Link` fields (RFC 8288): what an answer points to, and as what. Pure.
//!
//! # Invariants
//!
//! - At most [`LINKS_MAX`] links are read, of fields of at most [`FIELD_BYTES_MAX`] bytes; whatever stands in them, it ends.
//! - What cannot be read is left out, and takes nothing with it but the rest of its field line.
//!
//! What this does not do: resolve a target (RFC 3986 5); it stays as the answer has it.

use http::{HeaderMap, header};

/// How many links of one answer are read.
pub const LINKS_MAX: usize = 32;
/// Longest field line that is looked at; a longer one is not read at all.
pub const FIELD_BYTES_MAX: usize = 16 << 10;

/// One link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where it leads: a URI or a relative reference, as written.
    pub target: String,
    /// As what: relation types in lower case (RFC 8288 2.1.1: compared without regard to case).
    pub rels: Vec<String>,
    /// What it is about, where that is not the answer's own resource (RFC 8288 3.2).
    pub anchor: Option<String>,
}

impl Link {
    /// Whether it is of this type, in lower case.
    pub fn is(&self, rel: &str) -> bool {
        self.rels.iter().any(|known| known == rel)
    }
}

/// The links of an answer, in its order.
pub fn links(headers: &HeaderMap) -> Vec<Link> {
    let mut links = Vec::new();
    for line in headers.get_all(header::LINK) {
        let line = line.as_bytes();
        if line.len() > FIELD_BYTES_MAX {
            continue;
        }
        // Targets are ASCII (RFC 3986); a title may be anything.
        let line = String::from_utf8_lossy(line);
        let mut reader = Reader { rest: &line };
        while links.len() < LINKS_MAX
            && let Some(link) = reader.link()
        {
            links.push(link);
        }
    }
    links
}

/// What is left of a field line (RFC 8288 B.2).
struct Reader<'l> {
    rest: &'l str,
}

impl<'l> Reader<'l> {
    fn skip(&mut self, what: &[char]) {
        self.rest = self.rest.trim_start_matches(what);
    }

    fn eat(&mut self, what: char) -> bool {
        let rest = self.rest.strip_prefix(what);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// The next link; `None` at the end, or where something else stands.
    fn link(&mut self) -> Option<Link> {
        self.skip(&[' ', '\t', ',']);
        let (target, rest) = self.rest.strip_prefix('<')?.split_once('>')?;
        self.rest = rest;
        let (mut rels, mut anchor) = (None, None);
        loop {
            self.skip(&[' ', '\t']);
            if !self.eat(';') {
                break;
            }
            self.skip(&[' ', '\t']);
            let (name, value) = self.parameter();
            if name.eq_ignore_ascii_case("rel") {
                // RFC 8288 3.3: those after the first are ignored.
                rels.get_or_insert(value);
            } else if name.eq_ignore_ascii_case("anchor") {
                anchor.get_or_insert(value);
            }
        }
        let rels = rels.unwrap_or_default();
        let rels = rels
            .split_ascii_whitespace()
            .map(str::to_ascii_lowercase)
            .collect();
        Some(Link {
            target: target.trim().to_owned(),
            rels,
            anchor,
        })
    }

    /// Name and value; the value is `""` where there is none.
    fn parameter(&mut self) -> (&'l str, String) {
        let end = self.rest.find([' ', '\t', '=', ';', ',']);
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        self.skip(&[' ', '\t']);
        if !self.eat('=') {
            return (name, String::new());
        }
        self.skip(&[' ', '\t']);
        if self.eat('"') {
            return (name, self.quoted());
        }
        let end = self.rest.find([';', ',']).unwrap_or(self.rest.len());
        let (value, rest) = self.rest.split_at(end);
        self.rest = rest;
        (name, value.trim_end().to_owned())
    }

    /// What stands until the closing quote (RFC 9110 5.6.4); until the end where there is none.
    fn quoted(&mut self) -> String {
        let mut value = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return value;
                }
                '\\' => value.extend(chars.next().map(|(_, c)| c)),
                c => value.push(c),
            }
        }
        self.rest = "";
        value
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(lines: &[&str]) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::LINK, HeaderValue::from_str(line).unwrap());
        }
        let links = links(&headers).into_iter();
        links
            .map(|link| (link.target, link.rels.join(" ")))
            .collect()
    }

    #[test]
    fn links_are_read_as_rfc_8288_writes_them() {
        for (name, lines, want) in [
            ("one", &["</v2>; rel=\"next\""][..], &[("/v2", "next")][..]),
            (
                "a token as the type",
                &["</v2>; rel=next"],
                &[("/v2", "next")],
            ),
            (
                "two in a line, a comma in a target and in a title",
                &["</a,b>; rel=\"prev\"; title=\"x, \\\"y\\\"\" , <c>;rel=next"],
                &[("/a,b", "prev"), ("c", "next")],
            ),
            (
                "two lines",
                &["<a>; rel=a", "<b>; rel=b"],
                &[("a", "a"), ("b", "b")],
            ),
            (
                "several types, in any case",
                &["<a>; REL=\"Next  Latest-Version\""],
                &[("a", "next latest-version")],
            ),
            (
                "the first type parameter holds",
                &["<a>; rel=next; rel=prev"],
                &[("a", "next")],
            ),
            (
                "blanks wherever they may stand",
                &[" ,, < a > ; rel = \"next\" ; x"],
                &[("a", "next")],
            ),
            ("no type", &["<a>"], &[("a", "")]),
            ("an open quote", &["<a>; rel=\"next"], &[("a", "next")]),
            ("no target", &["rel=next, <b>; rel=next"], &[]),
            ("an open target", &["<a; rel=next"], &[]),
            ("nothing", &[""], &[]),
        ] {
            let got = read(lines);
            let got: Vec<_> = got.iter().map(|(a, b)| (&**a, &**b)).collect();
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn a_link_about_something_else_says_so() {
        let mut headers = HeaderMap::new();
        let line = HeaderValue::from_static("</v3>; rel=successor-version; anchor=\"/other\"");
        headers.append(header::LINK, line);
        let links = links(&headers);
        assert_eq!(links[0].anchor.as_deref(), Some("/other"));
        assert!(links[0].is("successor-version"));
    }

    proptest::proptest! {
        #[test]
        fn whatever_stands_in_it_reading_ends_and_is_bounded(
            lines in proptest::collection::vec("[ -~]{0,200}", 0..4),
            many in 0usize..80,
        ) {
            let mut headers = HeaderMap::new();
            let line = "<a>; rel=b, ".repeat(many);
            for line in lines.iter().chain([&line]) {
                headers.append(header::LINK, HeaderValue::from_str(line).unwrap());
            }
            proptest::prop_assert!(links(&headers).len() <= LINKS_MAX);
        }
    }
}
