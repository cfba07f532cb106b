//! Fallback documents with parameters: `{sku}` in the document stands for the value that the request's path has there.
//!
//! Pure. Cut into pieces once, at start. The value is percent-decoded and escaped for what the document is, so that a path
//! that a stranger wrote stays a value wherever it lands: it ends no string, no element and no line, and is never read
//! again for parameters of its own.
//!
//! | content type | what becomes of a value |
//! | --- | --- |
//! | JSON (`application/json`, `+json`) | escaped as RFC 8259 7 has it, and `<`, `>`, `&`, `'` too, so that a page can hold it; outside of a string it brings its own quotes |
//! | HTML, XML (`+xml`) | character references for `&`, `<`, `>`, `"`, `'`, `` ` `` and `\`; for text and for quoted attributes, not for scripts, styles and addresses |
//! | JavaScript | `\uXXXX` for all but letters and digits; for the inside of strings |
//! | CSV | quotes doubled (RFC 4180 2); outside of quotes it brings its own |
//! | other `text/*` | as it is, without control characters |
//! | anything else | such documents have no parameters: nobody knows how to escape for them |
//!
//! Control characters that none of these can hold are left out; bytes that are no UTF-8 become U+FFFD.
//!
//! # Invariants
//!
//! - What is rendered is at most [`PARAMETERS_MAX`] values of [`VALUE_BYTES_MAX`] bytes longer than the file, escaping aside.
//! - Braces that do not enclose a parameter of the route stay as they are.

use std::{borrow::Cow, fmt::Write};

use bytes::Bytes;
use http::HeaderValue;

use super::template::{Params, PathTemplate};

/// Most parameters in one document.
const PARAMETERS_MAX: usize = 256;
/// A decoded value that is longer is cut.
const VALUE_BYTES_MAX: usize = 1024;

/// A document, ready to be rendered. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    whole: Bytes,
    /// Empty where it has no parameters.
    pieces: Vec<Piece>,
    escaping: Escaping,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Bytes),
    Value {
        name: Box<str>,
        /// Inside quotes that the document brings.
        quoted: bool,
    },
}

/// How a value is made part of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escaping {
    Json,
    Markup,
    Script,
    Csv,
    Plain,
    /// Not at all: no parameters.
    Unknown,
}

/// Why a text is no document with parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// More than [`PARAMETERS_MAX`].
    #[error("has more than {PARAMETERS_MAX} parameters")]
    TooMany,
}

// --- Document ---

impl Document {
    /// Cuts a document of this type into pieces. Its parameters are those of `path`.
    ///
    /// # Errors
    ///
    /// Where it has too many of them.
    pub fn new(
        whole: Bytes,
        content_type: &HeaderValue,
        path: Option<&PathTemplate>,
    ) -> Result<Self, DocumentError> {
        let escaping = Escaping::of(content_type);
        let mut pieces = Vec::new();
        if let Some(path) = path.filter(|_| escaping != Escaping::Unknown) {
            pieces = cut(&whole, path, escaping)?;
        }
        Ok(Self {
            whole,
            pieces,
            escaping,
        })
    }

    /// The document for a request whose path has these parameters.
    pub fn render(&self, params: Params<'_>) -> Bytes {
        if self.pieces.is_empty() {
            return self.whole.clone();
        }
        let mut out = Vec::with_capacity(self.whole.len() + 64);
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Value { name, quoted } => {
                    let value = decoded(params.get(name).unwrap_or_default());
                    let value = self.escaping.apply(&value, *quoted);
                    out.extend_from_slice(value.as_bytes());
                }
            }
        }
        Bytes::from(out)
    }

    /// As the file has it.
    pub fn whole(&self) -> &Bytes {
        &self.whole
    }

    /// Whether it depends on the request.
    pub fn has_parameters(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// What stands in braces as a parameter would, and is none of this document's.
    pub fn others_in_braces(&self) -> impl Iterator<Item = &str> {
        let texts: Vec<&[u8]> = match self.pieces.is_empty() {
            true => vec![&self.whole],
            false => self
                .pieces
                .iter()
                .filter_map(|piece| match piece {
                    Piece::Text(text) => Some(&**text),
                    Piece::Value { .. } => None,
                })
                .collect(),
        };
        texts.into_iter().flat_map(|text| {
            let opened = text.split(|byte| *byte == b'{').skip(1);
            opened.filter_map(|after| Some(word_in_braces(after)?.0))
        })
    }
}

/// The name that a brace opens, and what follows the brace that closes it.
fn word_in_braces(after_brace: &[u8]) -> Option<(&str, &[u8])> {
    let after = after_brace.strip_prefix(b"*").unwrap_or(after_brace);
    let end = after
        .iter()
        .position(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_'))?;
    let rest = after.get(end..)?.strip_prefix(b"}")?;
    let word = std::str::from_utf8(after.get(..end)?).ok()?;
    (!word.is_empty()).then_some((word, rest))
}

fn cut(
    whole: &Bytes,
    path: &PathTemplate,
    escaping: Escaping,
) -> Result<Vec<Piece>, DocumentError> {
    let mut pieces = Vec::new();
    let (mut from, mut at, mut quoted) = (0, 0, false);
    let mut values = 0;
    while let Some(byte) = whole.get(at) {
        let word = (*byte == b'{').then(|| word_in_braces(&whole[at + 1..]));
        let known = |name: &str| path.parameter_names().any(|known| known == name);
        if let Some((name, rest)) = word.flatten().filter(|(name, _)| known(name)) {
            values += 1;
            if values > PARAMETERS_MAX {
                return Err(DocumentError::TooMany);
            }
            if from < at {
                pieces.push(Piece::Text(whole.slice(from..at)));
            }
            pieces.push(Piece::Value {
                name: name.into(),
                quoted,
            });
            at = whole.len() - rest.len();
            from = at;
            continue;
        }
        match byte {
            // The next byte is escaped by this one.
            b'\\' if quoted && escaping == Escaping::Json => at += 1,
            b'"' => quoted = !quoted,
            _ => {}
        }
        at += 1;
    }
    if from < whole.len() && !pieces.is_empty() {
        pieces.push(Piece::Text(whole.slice(from..)));
    }
    Ok(pieces)
}

// --- Escaping ---

impl Escaping {
    fn of(content_type: &HeaderValue) -> Self {
        let text = content_type.to_str().unwrap_or_default();
        let essence = text.split(';').next().unwrap_or_default().trim();
        let essence = essence.to_ascii_lowercase();
        let Some((main, sub)) = essence.split_once('/') else {
            return Self::Unknown;
        };
        match (main, sub) {
            _ if sub == "json" || sub.ends_with("+json") => Self::Json,
            _ if sub == "xml" || sub == "html" || sub.ends_with("+xml") => Self::Markup,
            _ if ["javascript", "x-javascript", "ecmascript"].contains(&sub) => Self::Script,
            ("text", "csv") => Self::Csv,
            ("text", "css") => Self::Unknown,
            ("text", _) => Self::Plain,
            _ => Self::Unknown,
        }
    }

    fn apply(self, value: &str, quoted: bool) -> String {
        let mut out = String::with_capacity(value.len() + 2);
        let brings_quotes = !quoted && matches!(self, Self::Json | Self::Csv);
        if brings_quotes {
            out.push('"');
        }
        for c in value.chars() {
            self.push(c, &mut out);
        }
        if brings_quotes {
            out.push('"');
        }
        out
    }

    fn push(self, c: char, out: &mut String) {
        match self {
            Self::Json => match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '<' | '>' | '&' | '\'' | '\u{2028}' | '\u{2029}' => push_unit(c, out),
                c if c.is_control() => push_unit(c, out),
                c => out.push(c),
            },
            Self::Markup => match c {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '"' => out.push_str("&quot;"),
                '\'' => out.push_str("&#39;"),
                '`' => out.push_str("&#96;"),
                '\\' => out.push_str("&#92;"),
                c if is_unfit_for_xml(c) => {}
                c => out.push(c),
            },
            Self::Script if c.is_ascii_alphanumeric() => out.push(c),
            Self::Script => push_unit(c, out),
            Self::Csv if c == '"' => out.push_str("\"\""),
            Self::Csv | Self::Plain if c.is_control() => {}
            Self::Csv | Self::Plain => out.push(c),
            Self::Unknown => {}
        }
    }
}

/// `\uXXXX`, twice where UTF-16 needs two (RFC 8259 7).
fn push_unit(c: char, out: &mut String) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        // Writing into a string cannot fail.
        let _ = write!(out, "\\u{unit:04x}");
    }
}

/// XML 1.0 2.2: not even a character reference may name these. Line ends are not part of a value either.
fn is_unfit_for_xml(c: char) -> bool {
    c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// What a segment of a path says: percent-decoded, as text, at most [`VALUE_BYTES_MAX`] bytes.
fn decoded(raw: &str) -> Cow<'_, str> {
    if raw.len() <= VALUE_BYTES_MAX && !raw.contains('%') {
        return Cow::Borrowed(raw);
    }
    let bytes = raw.as_bytes();
    let mut out = Vec::with_capacity(bytes.len().min(VALUE_BYTES_MAX));
    let mut at = 0;
    while at < bytes.len() && out.len() < VALUE_BYTES_MAX {
        let digits = raw.get(at + 1..at + 3).filter(|digits| {
            bytes[at] == b'%' && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        });
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document(text: &str, content_type: &'static str) -> Document {
        let path = PathTemplate::parse("/prices/{sku}/{*rest}").unwrap();
        let content_type = HeaderValue::from_static(content_type);
        Document::new(Bytes::from(text.to_owned()), &content_type, Some(&path)).unwrap()
    }

    fn rendered(document: &Document, path: &str) -> String {
        let template = PathTemplate::parse("/prices/{sku}/{*rest}").unwrap();
        String::from_utf8(document.render(template.params(path)).to_vec()).unwrap()
    }

    #[test]
    fn a_parameter_of_the_path_is_replaced_and_nothing_else_is() {
        for (name, text, path, want) in [
            (
                "in a string",
                r#"{"sku":"{sku}"}"#,
                "/prices/7",
                r#"{"sku":"7"}"#,
            ),
            (
                "outside of one it brings its quotes",
                r#"{"sku":{sku}}"#,
                "/prices/7",
                r#"{"sku":"7"}"#,
            ),
            (
                "behind an escaped quote it is still inside",
                r#"{"a":"\"{sku}"}"#,
                "/prices/7",
                r#"{"a":"\"7"}"#,
            ),
            ("twice", r#"["{sku}","{sku}"]"#, "/prices/7", r#"["7","7"]"#),
            (
                "the rest, with its star or without",
                r#"["{rest}","{*rest}"]"#,
                "/prices/7/a/b",
                r#"["a/b","a/b"]"#,
            ),
            (
                "a rest that is not there",
                r#"["{rest}"]"#,
                "/prices/7",
                r#"[""]"#,
            ),
            (
                "braces that are none",
                r#"{"a":{},"b":"{ sku }{other}{sku"}"#,
                "/prices/7",
                r#"{"a":{},"b":"{ sku }{other}{sku"}"#,
            ),
            (
                "a value is not read again",
                r#"["{sku}"]"#,
                "/prices/%7Brest%7D/secret",
                r#"["{rest}"]"#,
            ),
            (
                "decoded",
                r#"["{sku}"]"#,
                "/prices/a%20b%C3%A9",
                r#"["a bé"]"#,
            ),
            (
                "a broken escape stays",
                r#"["{sku}"]"#,
                "/prices/%zz%4",
                r#"["%zz%4"]"#,
            ),
        ] {
            let document = document(text, "application/json");
            assert_eq!(rendered(&document, path), want, "{name}");
        }
    }

    #[test]
    fn a_value_stays_a_value_whatever_the_document_is() {
        // "</script>'` & \ NUL, line end, half a UTF-8 sequence.
        let path = "/prices/%22%3C%2Fscript%3E%27%60%26%5C%00%0A%C3";
        for (content_type, text, want) in [
            (
                "application/json",
                "\"{sku}\"",
                "\"\\\"\\u003c/script\\u003e\\u0027`\\u0026\\\\\\u0000\\u000a\u{fffd}\"",
            ),
            (
                "application/problem+json; charset=utf-8",
                "{sku}",
                "\"\\\"\\u003c/script\\u003e\\u0027`\\u0026\\\\\\u0000\\u000a\u{fffd}\"",
            ),
            (
                "text/html; charset=utf-8",
                "<p title=\"{sku}\">",
                "<p title=\"&quot;&lt;/script&gt;&#39;&#96;&amp;&#92;\u{fffd}\">",
            ),
            (
                "image/svg+xml",
                "<a>{sku}</a>",
                "<a>&quot;&lt;/script&gt;&#39;&#96;&amp;&#92;\u{fffd}</a>",
            ),
            (
                "text/javascript",
                "'{sku}'",
                "'\\u0022\\u003c\\u002fscript\\u003e\\u0027\\u0060\\u0026\\u005c\\u0000\\u000a\\ufffd'",
            ),
            (
                "text/csv",
                "\"{sku}\",{sku}",
                "\"\"\"</script>'`&\\\u{fffd}\",\"\"\"</script>'`&\\\u{fffd}\"",
            ),
            ("text/plain", "{sku}", "\"</script>'`&\\\u{fffd}"),
            ("application/octet-stream", "{sku}", "{sku}"),
            ("text/css", "a{sku}", "a{sku}"),
            ("", "{sku}", "{sku}"),
        ] {
            let document = document(text, content_type);
            assert_eq!(rendered(&document, path), want, "{content_type}");
        }
    }

    #[test]
    fn what_is_rendered_has_a_bound() {
        let long = format!("/prices/{}", "x".repeat(60_000));
        let got = rendered(&document("{sku}", "text/plain"), &long);
        assert_eq!(got.len(), VALUE_BYTES_MAX);
        let path = PathTemplate::parse("/{sku}").unwrap();
        let many = Bytes::from("{sku}".repeat(PARAMETERS_MAX + 1));
        let plain = HeaderValue::from_static("text/plain");
        let refused = Document::new(many, &plain, Some(&path));
        assert_eq!(refused, Err(DocumentError::TooMany));
    }

    #[test]
    fn words_in_braces_that_are_no_parameter_are_named() {
        let document = document("{skv} {sku} {\"a\":1} {*other}", "text/plain");
        let others: Vec<_> = document.others_in_braces().collect();
        assert_eq!(others, ["skv", "other"]);
    }

    proptest! {
        #[test]
        fn json_stays_json_and_says_what_the_path_says(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let segment: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
            let document = document(r#"{"in":"<{sku}>","out":{sku}}"#, "application/json");
            let text = rendered(&document, &format!("/prices/{segment}"));
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            let said = String::from_utf8_lossy(&bytes);
            prop_assert_eq!(json["out"].as_str(), Some(&*said));
            let inside = format!("<{said}>");
            prop_assert_eq!(json["in"].as_str(), Some(&*inside));
        }

        #[test]
        fn no_markup_comes_out_of_a_value(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let segment: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
            let text = rendered(&document("{sku}", "text/html"), &format!("/prices/{segment}"));
            prop_assert!(!text.contains(['<', '>', '"', '\'', '`']), "{}", text);
            prop_assert!(!text.chars().any(char::is_control));
        }
    }
}
