//! What a `Content-Type` says (RFC 9110 8.3).

use std::borrow::Cow;

use http::{HeaderMap, header};

/// A type with its parameters.
#[derive(Debug, PartialEq, Eq)]
pub struct MediaType {
    /// Type and parameters in one spelling, where that is certain.
    text: String,
    /// Whether it is JSON, in UTF-8.
    pub is_json: bool,
}

impl MediaType {
    /// `None`: there is none, or more than one, or it cannot be read.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(header::CONTENT_TYPE).into_iter();
        let line = lines.next()?.to_str().ok()?.trim();
        if lines.next().is_some() || line.is_empty() {
            return None;
        }
        Self::read(line)
    }

    /// One line's value.
    fn read(line: &str) -> Option<Self> {
        if line.contains('"') {
            // A delimiter may stand inside quotes: nothing is certain but the text.
            let text = line.to_owned();
            return Some(Self {
                text,
                is_json: false,
            });
        }
        let mut parts = line.split(';').map(str::trim);
        let essence = parts.next()?.to_ascii_lowercase();
        let is_type = essence == "application/json" || essence.ends_with("+json");
        let (mut text, mut is_utf8) = (essence, true);
        for parameter in parts.filter(|parameter| !parameter.is_empty()) {
            // Names are case-insensitive (5.6.6), and so are the values of `charset` (8.3.2).
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let name = name.to_ascii_lowercase();
            let is_charset = name == "charset";
            let value = if is_charset {
                value.to_ascii_lowercase()
            } else {
                value.to_owned()
            };
            is_utf8 &= !is_charset || value == "utf-8";
            text.push_str(&format!(";{name}={value}"));
        }
        Some(Self {
            text,
            is_json: is_type && is_utf8,
        })
    }

    /// Type and parameters in one spelling, where that is certain.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is of this type, whatever its parameters.
    pub fn is(&self, essence: &str) -> bool {
        self.text.split(';').next() == Some(essence)
    }

    /// The type without its parameters, in lower case.
    pub fn essence(&self) -> Cow<'_, str> {
        // No quote can stand before the first semicolon of what is a type at all.
        let essence = self.text.split(';').next().unwrap_or_default().trim();
        if essence.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Cow::Owned(essence.to_ascii_lowercase());
        }
        Cow::Borrowed(essence)
    }

    /// The value of a parameter, without its quotes (5.6.6). Of several of one name the first counts.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let mut rest = self.text.split_once(';')?.1;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ';']);
            let (found, after) = rest.split_once('=')?;
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => unquoted(quoted)?,
                None => {
                    let end = after.find(';').unwrap_or(after.len());
                    (after[..end].trim().to_owned(), &after[end..])
                }
            };
            if found.trim().eq_ignore_ascii_case(name) {
                return Some(value);
            }
            rest = after;
        }
    }
}

/// A quoted string (5.6.4) up to its closing quote, and what follows it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_media_type_is_read_in_one_spelling() {
        for (name, lines, want) in [
            ("none", &[][..], None),
            ("two", &["text/plain", "text/plain"], None),
            ("empty", &[""], None),
            (
                "JSON",
                &["application/json"],
                Some(("application/json", true)),
            ),
            (
                "capitals and a charset",
                &["Application/JSON ; Charset=UTF-8"],
                Some(("application/json;charset=utf-8", true)),
            ),
            (
                "JSON by its suffix",
                &["application/problem+json"],
                Some(("application/problem+json", true)),
            ),
            (
                "JSON in another charset is bytes",
                &["application/json;charset=utf-16"],
                Some(("application/json;charset=utf-16", false)),
            ),
            (
                "the case of other values counts",
                &["text/x; V=A"],
                Some(("text/x;v=A", false)),
            ),
            (
                "quotes are left alone",
                &["application/json; x=\";\""],
                Some(("application/json; x=\";\"", false)),
            ),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::CONTENT_TYPE, HeaderValue::from_static(line));
            }
            let got = MediaType::of(&headers);
            let got = got.as_ref().map(|got| (&*got.text, got.is_json));
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn type_and_parameters_are_told_apart_also_with_quotes() {
        for (line, essence, header) in [
            ("text/csv", "text/csv", None),
            ("Text/CSV; Header=absent", "text/csv", Some("absent")),
            (
                "text/csv; charset=utf-8;header=absent",
                "text/csv",
                Some("absent"),
            ),
            (
                "Text/CSV ; a=\"x;header=y\"; header=\"ab\\\"s\"",
                "text/csv",
                Some("ab\"s"),
            ),
            ("text/csv; header=", "text/csv", Some("")),
            ("text/csv; a=\"open; header=x", "text/csv", None),
            ("text/csv;;; header", "text/csv", Some("")),
        ] {
            let media_type = MediaType::read(line).unwrap();
            assert_eq!(media_type.essence(), essence, "{line}");
            assert_eq!(media_type.parameter("header").as_deref(), header, "{line}");
        }
    }
}
