//! Content: what a body is, by what it says it is and by what it looks like. Pure.
//!
//! # Invariants
//!
//! - What is decoded is bounded, whatever a small body unpacks to.

use std::io::Read;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::Value;

use super::seen::{Answer, BodyEnd, shown};
use crate::contract::{Effort, Kind as BreachKind, Limits, MediaKind, well_formed};

/// Most that a body unpacks to.
const DECODED_BYTES_MAX: u64 = 32 << 20;
/// Columns of a CSV document that are named.
const COLUMNS_MAX: usize = 200;

/// A media type (RFC 9110 8.3.1), as far as it is looked at here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MediaType {
    /// `application/json`, in small letters.
    pub(super) essence: String,
    /// Its `charset`, in small letters.
    pub(super) charset: Option<String>,
}

/// What a body is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Empty,
    Json(Value),
    Csv {
        columns: Vec<String>,
        rows: usize,
        delimiter: char,
    },
    Xml {
        root: String,
    },
    Html,
    /// Readable, and nothing of the above.
    Text,
    Binary,
    /// It says that it is something, and cannot be read as that.
    Malformed {
        claimed: &'static str,
        why: String,
    },
    /// Encoded in a way that is not read here, or not to its end.
    Unread(String),
}

/// A body, looked at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Content {
    pub(super) kind: Kind,
    pub(super) claimed: Option<MediaType>,
    /// Bytes after decoding.
    pub(super) decoded_len: u64,
    /// It begins with a byte order mark.
    pub(super) has_bom: bool,
}

impl MediaType {
    /// Reads a field's value.
    pub(super) fn parse(text: &str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
        let charset = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            let value = value.trim_matches('"').to_ascii_lowercase();
            name.eq_ignore_ascii_case("charset").then_some(value)
        });
        Self {
            essence: shown(&essence, 80),
            charset: charset.map(|charset| shown(&charset, 40)),
        }
    }

    /// Of this answer.
    pub(super) fn of(answer: &Answer) -> Option<Self> {
        answer.field(CONTENT_TYPE.as_str()).map(Self::parse)
    }

    pub(super) fn is_json(&self) -> bool {
        matches!(self.essence.as_str(), "application/json" | "text/json")
            || self.essence.ends_with("+json")
    }

    fn is_csv(&self) -> bool {
        matches!(self.essence.as_str(), "text/csv" | "application/csv")
    }

    fn is_xml(&self) -> bool {
        matches!(self.essence.as_str(), "application/xml" | "text/xml")
            || self.essence.ends_with("+xml")
    }

    fn is_html(&self) -> bool {
        matches!(self.essence.as_str(), "text/html" | "application/xhtml+xml")
    }
}

impl Content {
    /// Looks at the body of an answer.
    pub(super) fn of(answer: &Answer) -> Self {
        let claimed = MediaType::of(answer);
        let mut content = Self {
            kind: Kind::Empty,
            claimed,
            decoded_len: 0,
            has_bom: false,
        };
        content.kind = match decoded(answer) {
            Err(why) => Kind::Unread(why),
            Ok(bytes) => {
                content.decoded_len = bytes.len() as u64;
                let text = bytes.strip_prefix(b"\xef\xbb\xbf");
                content.has_bom = text.is_some();
                let is_whole = answer.end == BodyEnd::Whole;
                kind(content.claimed.as_ref(), text.unwrap_or(&bytes), is_whole)
            }
        };
        content
    }

    pub(super) fn json(&self) -> Option<&Value> {
        match &self.kind {
            Kind::Json(document) => Some(document),
            _ => None,
        }
    }
}

/// The codings of a body, in the order in which they were applied.
pub(super) fn codings(answer: &Answer) -> Vec<String> {
    let mut codings = Vec::new();
    for line in answer.headers.get_all(CONTENT_ENCODING) {
        let line = line.to_str().unwrap_or_default();
        let names = line.split(',').map(|name| name.trim().to_ascii_lowercase());
        codings.extend(names.filter(|name| !name.is_empty() && name != "identity"));
    }
    codings
}

fn decoded(answer: &Answer) -> Result<Bytes, String> {
    let mut bytes = answer.body.clone();
    for coding in codings(answer).iter().rev() {
        bytes = match coding.as_str() {
            "gzip" | "x-gzip" => unpacked(flate2::read::MultiGzDecoder::new(&*bytes), answer)?,
            "deflate" => unpacked(flate2::read::ZlibDecoder::new(&*bytes), answer)?,
            other => return Err(format!("it is encoded as {}", shown(other, 40))),
        };
    }
    Ok(bytes)
}

fn unpacked(reader: impl Read, answer: &Answer) -> Result<Bytes, String> {
    let mut unpacked = Vec::new();
    let end = reader
        .take(DECODED_BYTES_MAX + 1)
        .read_to_end(&mut unpacked);
    if unpacked.len() as u64 > DECODED_BYTES_MAX {
        return Err("it unpacks to more than 32 MiB".to_owned());
    }
    match end {
        Err(error) if answer.end == BodyEnd::Whole => {
            Err(format!("it cannot be unpacked: {error}"))
        }
        _ => Ok(unpacked.into()),
    }
}

fn kind(claimed: Option<&MediaType>, bytes: &[u8], is_whole: bool) -> Kind {
    let is_claimed = |is: fn(&MediaType) -> bool| claimed.is_some_and(is);
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Kind::Empty;
    }
    if !is_whole {
        return match looks_like_html(bytes) {
            true => Kind::Html,
            false => Kind::Unread("it was not read to its end".to_owned()),
        };
    }
    // A page is a page, whatever it says.
    if looks_like_html(bytes) {
        return Kind::Html;
    }
    let json = serde_json::from_slice::<Value>(bytes);
    let malformed = |claimed, why: String| Kind::Malformed {
        claimed,
        why: shown(&why, 160),
    };
    match json {
        Ok(document) if is_claimed(MediaType::is_json) || !is_scalar(&document) => {
            return Kind::Json(document);
        }
        Err(error) if is_claimed(MediaType::is_json) => {
            return malformed("JSON", error.to_string());
        }
        _ => {}
    }
    if is_claimed(MediaType::is_html) {
        return Kind::Html;
    }
    if is_claimed(MediaType::is_xml) || bytes.trim_ascii_start().starts_with(b"<") {
        let charset = claimed.and_then(|claimed| claimed.charset.as_deref());
        let charset = charset.map(Box::from);
        let judged = judged("XML", &MediaKind::Xml { charset }, bytes);
        return judged.unwrap_or_else(|| Kind::Xml {
            root: xml_root(bytes),
        });
    }
    if is_claimed(MediaType::is_csv) {
        let as_csv = MediaKind::Csv {
            has_header: true,
            is_utf8: false,
            is_tabs: false,
        };
        return judged("CSV", &as_csv, bytes).unwrap_or_else(|| csv(bytes));
    }
    match std::str::from_utf8(bytes) {
        Ok(_) => Kind::Text,
        Err(_) if claimed.is_some_and(|claimed| claimed.essence.starts_with("text/")) => Kind::Text,
        Err(_) => Kind::Binary,
    }
}

fn is_scalar(document: &Value) -> bool {
    !document.is_object() && !document.is_array()
}

fn looks_like_html(bytes: &[u8]) -> bool {
    let begin = bytes.trim_ascii_start();
    let starts = |word: &[u8]| {
        let begin = begin.get(..word.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(word))
    };
    starts(b"<!doctype html") || starts(b"<html")
}

/// What a contract would say against it; `None` where that is nothing.
fn judged(claimed: &'static str, kind: &MediaKind, bytes: &[u8]) -> Option<Kind> {
    let limits = Limits::default();
    let never = || false;
    let breach = well_formed(kind, bytes, &limits, &Effort::new(&limits, &never)).err()?;
    let why = shown(&breach.message, 160);
    Some(match breach.kind {
        BreachKind::TooComplex => Kind::Unread(why),
        _ => Kind::Malformed { claimed, why },
    })
}

/// The root element of a well-formed document.
fn xml_root(bytes: &[u8]) -> String {
    use quick_xml::events::Event;
    let (mut reader, mut buffer) = (quick_xml::Reader::from_reader(bytes), Vec::new());
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer) {
            Ok(Event::Start(element) | Event::Empty(element)) => {
                return shown(element.name().as_ref(), 80);
            }
            Ok(Event::Eof) | Err(_) => return String::new(),
            Ok(_) => {}
        }
    }
}

/// Columns and rows of a well-formed document.
fn csv(bytes: &[u8]) -> Kind {
    let text = String::from_utf8_lossy(bytes);
    let (mut quoted, mut lines) = (false, 0);
    let mut head_len = text.len();
    let mut counts = [(',', 0), (';', 0), ('\t', 0), ('|', 0)];
    let mut is_blank = true;
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '\n' if !quoted => {
                head_len = head_len.min(at);
                lines += usize::from(!is_blank);
                is_blank = true;
                continue;
            }
            c if at < head_len && !quoted && lines == 0 => {
                for (delimiter, count) in &mut counts {
                    *count += usize::from(*delimiter == c);
                }
            }
            _ => {}
        }
        is_blank &= c.is_whitespace();
    }
    lines += usize::from(!is_blank);
    // Of several that are as frequent, the first.
    let delimiter = counts.iter().rev().max_by_key(|(_, count)| *count);
    let delimiter = delimiter.map_or(',', |(delimiter, _)| *delimiter);
    let mut quoted = false;
    let head = text[..head_len].trim_end_matches('\r');
    let names = head.split(|c| {
        quoted ^= c == '"';
        c == delimiter && !quoted
    });
    let names = names.take(COLUMNS_MAX);
    Kind::Csv {
        columns: names
            .map(|name| shown(name.trim().trim_matches('"'), 40))
            .collect(),
        rows: lines.saturating_sub(1),
        delimiter,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use http::{HeaderMap, HeaderValue, StatusCode, Version};

    use super::*;

    fn answer(fields: &[(&'static str, &str)], body: &[u8]) -> Answer {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        Answer {
            status: StatusCode::OK,
            version: Version::HTTP_11,
            headers,
            body: Bytes::copy_from_slice(body),
            end: BodyEnd::Whole,
        }
    }

    fn word(kind: &Kind) -> String {
        match kind {
            Kind::Empty => "empty".to_owned(),
            Kind::Json(document) => format!("json {document}"),
            Kind::Csv {
                columns,
                rows,
                delimiter,
            } => {
                format!("csv {} {rows} {delimiter:?}", columns.join("|"))
            }
            Kind::Xml { root } => format!("xml {root}"),
            Kind::Html => "html".to_owned(),
            Kind::Text => "text".to_owned(),
            Kind::Binary => "binary".to_owned(),
            Kind::Malformed { claimed, .. } => format!("no {claimed}"),
            Kind::Unread(_) => "unread".to_owned(),
        }
    }

    #[test]
    fn a_body_is_what_it_looks_like_or_not_what_it_says() {
        let json = "application/json; charset=utf-8";
        for (name, claimed, body, want) in [
            ("JSON", json, "{\"a\":1}", "json {\"a\":1}"),
            (
                "JSON of another name",
                "application/hal+json",
                "[1]",
                "json [1]",
            ),
            ("a single value that says so", json, "7", "json 7"),
            ("a single value that does not", "text/plain", "7", "text"),
            (
                "JSON that says it is text",
                "text/plain",
                "{\"a\":1}",
                "json {\"a\":1}",
            ),
            ("broken JSON", json, "{\"a\":", "no JSON"),
            ("two documents", json, "{}{}", "no JSON"),
            ("nothing", json, "", "empty"),
            ("blanks", json, " \n", "empty"),
            (
                "a page that says it is JSON",
                json,
                "<!DOCTYPE html><p>",
                "html",
            ),
            ("a page", "text/html", "hello", "html"),
            (
                "XML",
                "application/xml",
                "<?xml version='1.0'?><a><b/></a>",
                "xml a",
            ),
            ("XML in disguise", "text/plain", " <a/>", "xml a"),
            ("XML cut short", "text/xml", "<a><b>", "no XML"),
            ("XML crossed over", "text/xml", "<a><b></a></b>", "no XML"),
            ("XML twice", "text/xml", "<a/><b/>", "no XML"),
            (
                "CSV",
                "text/csv",
                "sku,price\na,1\nb,2\n",
                "csv sku|price 2 ','",
            ),
            (
                "CSV with semicolons",
                "text/csv",
                "sku;price\na;1,5\n",
                "csv sku|price 1 ';'",
            ),
            ("ragged CSV", "text/csv", "a,b\n1\n", "no CSV"),
            ("text", "text/plain", "hello", "text"),
        ] {
            let content = Content::of(&answer(&[("content-type", claimed)], body.as_bytes()));
            assert_eq!(word(&content.kind), want, "{name}");
        }
        let binary = Content::of(&answer(&[], b"\xff\xfe\x00\x01"));
        assert_eq!(binary.kind, Kind::Binary);
        let marked = Content::of(&answer(&[("content-type", json)], b"\xef\xbb\xbf{}"));
        assert!(marked.has_bom && marked.json().is_some());
    }

    #[test]
    fn what_is_packed_is_unpacked_within_bounds() {
        let packed = |plain: &[u8]| {
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        };
        let json = ("content-type", "application/json");
        let gzip = ("content-encoding", "gzip");
        let good = Content::of(&answer(&[json, gzip], &packed(b"[1]")));
        assert_eq!(
            (word(&good.kind), good.decoded_len),
            ("json [1]".to_owned(), 3)
        );
        let bomb = packed(&vec![b' '; 40 << 20]);
        for (name, fields, body) in [
            ("a bomb", [json, gzip], &bomb[..]),
            ("no gzip at all", [json, gzip], b"plain"),
            ("another coding", [json, ("content-encoding", "br")], b"x"),
        ] {
            let content = Content::of(&answer(&fields, body));
            assert_eq!(word(&content.kind), "unread", "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_body_makes_it_panic(claimed in "[a-z/+; =]{0,20}", body: Vec<u8>) {
            for claimed in [claimed.as_str(), "text/csv", "text/xml", "application/json"] {
                let _ = Content::of(&answer(&[("content-type", claimed)], &body));
            }
        }
    }
}
