//! What an answer says it is, and whether it is that: its type, its size, and the form of what is neither JSON nor unknown.
//!
//! Pure. `headers -> its type, if the route takes it -> its size -> well-formed`. JSON is read elsewhere: it is looked into,
//! too. A page of HTML where JSON was due is told by its type alone, whatever its status says.
//!
//! # Invariants
//!
//! - A type is believed, never guessed from the content (RFC 9110 8.3). Where there is none, the answer is held to be what
//!   the route takes first, so that it has to be well-formed as that.

mod csv;
mod xml;

use std::{borrow::Cow, fmt};

use http::{HeaderMap, header};

use super::{Breach, Effort, Kind, Limits};
use crate::http::MediaType;

/// How far into a page its title is looked for, in bytes.
const TITLE_WITHIN_BYTES: usize = 1 << 10;
/// Most characters of a title or a type that are shown.
const SHOWN_CHARS_MAX: usize = 80;

/// `content_type`: the types that a route takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentTypes {
    patterns: Vec<Pattern>,
    reads_json: bool,
}

/// `application/json`, `application/*`, `application/*+json`, `*/*`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    /// `None`: any.
    kind: Option<Box<str>>,
    subtype: Subtype,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Subtype {
    Any,
    /// With this structured syntax suffix (RFC 6838 4.2.8).
    Suffix(Box<str>),
    Is(Box<str>),
}

/// How the content of an answer is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// As JSON.
    Json,
    /// As CSV, or as the same with tabs.
    Csv {
        /// Whether its first record names the fields.
        has_header: bool,
        /// Whether it has to be UTF-8.
        is_utf8: bool,
        /// Whether tabs separate its fields.
        is_tabs: bool,
    },
    /// As XML.
    Xml {
        /// In this encoding, as its type says.
        charset: Option<Box<str>>,
    },
    /// Not at all.
    Other,
}

// --- ContentTypes ---

impl ContentTypes {
    /// What is JSON by its name, for routes that look into it and say nothing else.
    pub fn json() -> Self {
        let json = Pattern {
            kind: Some("application".into()),
            subtype: Subtype::Is("json".into()),
        };
        let suffixed = Pattern {
            kind: None,
            subtype: Subtype::Suffix("json".into()),
        };
        Self {
            patterns: vec![json, suffixed],
            reads_json: true,
        }
    }

    /// Anything, for routes that do not look into it.
    pub fn any() -> Self {
        let any = Pattern {
            kind: None,
            subtype: Subtype::Any,
        };
        Self {
            patterns: vec![any],
            reads_json: false,
        }
    }

    /// Reads a list of them; at least one. `reads_json`: the route looks into JSON, so that whatever it takes is read as that.
    ///
    /// # Errors
    ///
    /// What is wrong with the first one that is none.
    pub fn parse<'t>(
        types: impl IntoIterator<Item = &'t str>,
        reads_json: bool,
    ) -> Result<Self, String> {
        let patterns: Result<Vec<_>, _> = types.into_iter().map(Pattern::parse).collect();
        let patterns = patterns?;
        if patterns.is_empty() {
            return Err("names no type".to_owned());
        }
        Ok(Self {
            patterns,
            reads_json,
        })
    }

    /// The first of them that can be no JSON, for those who look into it.
    pub fn first_not_json(&self) -> Option<String> {
        let is_other = |pattern: &&Pattern| match (&pattern.kind, &pattern.subtype) {
            (Some(kind), Subtype::Is(subtype)) => {
                !matches!(
                    kind_of(&format!("{kind}/{subtype}"), None),
                    MediaKind::Json | MediaKind::Other
                ) || matches!(&**subtype, "html" | "xhtml+xml")
                    || matches!(&**kind, "image" | "audio" | "video" | "font" | "multipart")
            }
            (Some(kind), _) => {
                matches!(&**kind, "image" | "audio" | "video" | "font" | "multipart")
            }
            (None, Subtype::Suffix(suffix)) => **suffix != *"json",
            _ => false,
        };
        self.patterns.iter().find(is_other).map(ToString::to_string)
    }

    /// Whether answers are looked into as JSON.
    pub fn reads_json(&self) -> bool {
        self.reads_json
    }

    fn takes(&self, essence: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(essence))
    }

    fn kind(&self, essence: &str, media_type: Option<&MediaType>) -> MediaKind {
        if self.reads_json {
            return MediaKind::Json;
        }
        kind_of(essence, media_type)
    }
}

impl Default for ContentTypes {
    fn default() -> Self {
        Self::any()
    }
}

impl fmt::Display for ContentTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pattern) in self.patterns.iter().enumerate() {
            let separator = if index == 0 { "" } else { " or " };
            write!(f, "{separator}{pattern}")?;
        }
        Ok(())
    }
}

// --- Pattern ---

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        // RFC 6838 4.2: what the names of types are made of.
        let is_name = |name: &str| {
            !name.is_empty()
                && name.len() <= 127
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
        };
        if text.contains(';') {
            return Err(format!(
                "`{text}` has parameters, and types are compared without theirs"
            ));
        }
        let lower = text.trim().to_ascii_lowercase();
        let Some((kind, subtype)) = lower.split_once('/') else {
            return Err(format!("`{text}` is no media type"));
        };
        let subtype = match (subtype, subtype.strip_prefix("*+")) {
            ("*", _) => Some(Subtype::Any),
            (_, Some(suffix)) if is_name(suffix) => Some(Subtype::Suffix(suffix.into())),
            (subtype, None) if is_name(subtype) => Some(Subtype::Is(subtype.into())),
            _ => None,
        };
        let kind = match kind {
            "*" if matches!(subtype, Some(Subtype::Is(_))) => None,
            "*" => Some(None),
            kind if is_name(kind) => Some(Some(kind.into())),
            _ => None,
        };
        match (kind, subtype) {
            (Some(kind), Some(subtype)) => Ok(Self { kind, subtype }),
            _ => Err(format!("`{text}` is no media type")),
        }
    }

    fn matches(&self, essence: &str) -> bool {
        let (kind, subtype) = essence.split_once('/').unwrap_or((essence, ""));
        self.kind.as_deref().is_none_or(|own| own == kind)
            && match &self.subtype {
                Subtype::Any => true,
                Subtype::Suffix(suffix) => {
                    let end = subtype.rsplit_once('+').map(|(_, end)| end);
                    end == Some(&**suffix)
                }
                Subtype::Is(own) => **own == *subtype,
            }
    }

    /// A type that it matches, for an answer that has none.
    fn example(&self) -> String {
        let kind = self.kind.as_deref().unwrap_or("application");
        match &self.subtype {
            Subtype::Any => format!("{kind}/*"),
            Subtype::Suffix(suffix) => format!("{kind}/x+{suffix}"),
            Subtype::Is(subtype) => format!("{kind}/{subtype}"),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.as_deref().unwrap_or("*");
        match &self.subtype {
            Subtype::Any => write!(f, "{kind}/*"),
            Subtype::Suffix(suffix) => write!(f, "{kind}/*+{suffix}"),
            Subtype::Is(subtype) => write!(f, "{kind}/{subtype}"),
        }
    }
}

/// How a type is read.
fn kind_of(essence: &str, media_type: Option<&MediaType>) -> MediaKind {
    let charset = media_type.and_then(|media_type| media_type.parameter("charset"));
    match essence {
        "application/json" | "text/json" => MediaKind::Json,
        "text/csv" | "application/csv" | "text/tab-separated-values" => {
            // RFC 7111 5.1, RFC 4180 3: there is a header unless the type says otherwise.
            let header = media_type.and_then(|media_type| media_type.parameter("header"));
            MediaKind::Csv {
                has_header: !header.is_some_and(|header| header.eq_ignore_ascii_case("absent")),
                is_utf8: charset.is_none_or(|charset| is_utf8(&charset)),
                is_tabs: essence == "text/tab-separated-values",
            }
        }
        "application/xml" | "text/xml" => MediaKind::Xml {
            charset: charset.map(Into::into),
        },
        suffixed => match suffixed.rsplit_once('+') {
            Some((_, "json")) => MediaKind::Json,
            // RFC 7303 4.2.
            Some((_, "xml")) => MediaKind::Xml {
                charset: charset.map(Into::into),
            },
            _ => MediaKind::Other,
        },
    }
}

fn is_utf8(charset: &str) -> bool {
    ["utf-8", "utf8", "us-ascii"]
        .iter()
        .any(|name| charset.eq_ignore_ascii_case(name))
}

// --- What is checked ---

/// How the content is to be read, where the route takes its type. `body` is only looked at for what a page is called, and
/// may be encoded or empty.
///
/// # Errors
///
/// `content_type`, where the route does not.
pub fn check_type(
    types: &ContentTypes,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<MediaKind, Breach> {
    let mut lines = headers.get_all(header::CONTENT_TYPE).into_iter();
    let Some(first) = lines
        .next()
        .filter(|line| !line.as_bytes().trim_ascii().is_empty())
    else {
        let first = types.patterns.first().map(Pattern::example);
        return Ok(types.kind(&first.unwrap_or_default(), None));
    };
    // Said twice it is still the same (RFC 9110 8.3 leaves what else it might be to whoever reads it).
    if lines.any(|line| line != first) {
        let message = "it has more than one `Content-Type`";
        return Err(Breach::new(Kind::ContentType, "content_type", message));
    }
    let mut single = HeaderMap::with_capacity(1);
    single.insert(header::CONTENT_TYPE, first.clone());
    let Some(media_type) = MediaType::of(&single) else {
        let message = "its `Content-Type` cannot be read";
        return Err(Breach::new(Kind::ContentType, "content_type", message));
    };
    let essence = media_type.essence();
    if types.takes(&essence) {
        return Ok(types.kind(&essence, Some(&media_type)));
    }
    Err(Breach::new(
        Kind::ContentType,
        "content_type",
        other_type(&essence, types, body),
    ))
}

fn other_type(essence: &str, types: &ContentTypes, body: &[u8]) -> String {
    let shown = shown(essence);
    if !matches!(essence, "text/html" | "application/xhtml+xml") {
        return format!("{shown} where {types} was due");
    }
    let title = match title(body) {
        Some(title) => format!("titled \"{title}\""),
        None => "without a title".to_owned(),
    };
    format!("a page of {shown} where {types} was due, {title}: a maintenance page?")
}

/// What a page calls itself, where it does so early.
fn title(body: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(body.get(..TITLE_WITHIN_BYTES).unwrap_or(body));
    // Lower case of ASCII alone, so that places stay.
    let lower = head.to_ascii_lowercase();
    let tag = lower.find("<title")?;
    let start = tag + lower.get(tag..)?.find('>')? + 1;
    let end = start + lower.get(start..)?.find("</title").unwrap_or(0);
    let words: Vec<_> = head.get(start..end)?.split_whitespace().collect();
    Some(shown(&words.join(" ")).into_owned()).filter(|title| !title.is_empty())
}

/// Text of a vendor in a sentence of ours: short, and without what a terminal would take for an order.
fn shown(text: &str) -> Cow<'_, str> {
    if text.chars().count() <= SHOWN_CHARS_MAX && !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let plain = text.chars().filter(|c| !c.is_control());
    Cow::Owned(plain.take(SHOWN_CHARS_MAX).collect())
}

/// Whether there is as much as the route takes.
///
/// # Errors
///
/// `size`, where there is less than `bytes_min`.
pub fn check_size(bytes_min: u64, body: &[u8]) -> Result<(), Breach> {
    let bytes = body.len() as u64;
    if bytes >= bytes_min {
        return Ok(());
    }
    let message = match bytes {
        0 => "it is empty".to_owned(),
        bytes => format!("it has {bytes} bytes, and {bytes_min} is the least (`size_min`)"),
    };
    Err(Breach::new(Kind::Size, "size_min", message))
}

/// Whether CSV and XML are what they say they are. What else there is passes.
///
/// # Errors
///
/// `malformed`, and `too_complex` where it goes beyond the limits.
pub fn well_formed(
    kind: &MediaKind,
    body: &[u8],
    limits: &Limits,
    effort: &Effort<'_>,
) -> Result<(), Breach> {
    match kind {
        MediaKind::Csv {
            has_header,
            is_utf8,
            is_tabs,
        } => {
            let csv = csv::Csv {
                has_header: *has_header,
                is_utf8: *is_utf8,
                is_tabs: *is_tabs,
            };
            csv::well_formed(body, csv, limits, effort)
        }
        MediaKind::Xml { charset } => xml::well_formed(body, charset.as_deref(), limits, effort),
        MediaKind::Json | MediaKind::Other => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::CONTENT_TYPE, HeaderValue::from_static(line));
        }
        headers
    }

    fn types(list: &[&str]) -> ContentTypes {
        ContentTypes::parse(list.iter().copied(), false).unwrap()
    }

    const CSV: MediaKind = MediaKind::Csv {
        has_header: true,
        is_utf8: true,
        is_tabs: false,
    };

    #[test]
    fn a_type_that_the_route_takes_says_how_to_read_it() {
        let xml = |charset: Option<&str>| MediaKind::Xml {
            charset: charset.map(Into::into),
        };
        let any = ContentTypes::any();
        for (name, types, lines, want) in [
            (
                "JSON",
                ContentTypes::json(),
                &["application/json"][..],
                MediaKind::Json,
            ),
            (
                "with a charset, in capitals",
                ContentTypes::json(),
                &["Application/JSON; Charset=UTF-8"],
                MediaKind::Json,
            ),
            (
                "by its suffix",
                ContentTypes::json(),
                &["application/problem+json"],
                MediaKind::Json,
            ),
            (
                "by its suffix, of another kind",
                ContentTypes::json(),
                &["model/gltf+json"],
                MediaKind::Json,
            ),
            (
                "a charset in quotes",
                ContentTypes::json(),
                &["application/json; charset=\"utf-8\""],
                MediaKind::Json,
            ),
            (
                "no type is the first one",
                ContentTypes::json(),
                &[],
                MediaKind::Json,
            ),
            (
                "an empty one, too",
                types(&["text/csv", "text/xml"]),
                &[""],
                CSV,
            ),
            (
                "said twice",
                ContentTypes::json(),
                &["application/json", "application/json"],
                MediaKind::Json,
            ),
            (
                "JSON that says it is text",
                ContentTypes::parse(["text/plain"], true).unwrap(),
                &["text/plain"],
                MediaKind::Json,
            ),
            ("CSV", any.clone(), &["text/csv"], CSV),
            (
                "CSV without a header",
                any.clone(),
                &["text/csv; header=absent"],
                MediaKind::Csv {
                    has_header: false,
                    is_utf8: true,
                    is_tabs: false,
                },
            ),
            (
                "CSV in another charset",
                any.clone(),
                &["text/csv;charset=windows-1252"],
                MediaKind::Csv {
                    has_header: true,
                    is_utf8: false,
                    is_tabs: false,
                },
            ),
            (
                "tabs",
                any.clone(),
                &["text/tab-separated-values"],
                MediaKind::Csv {
                    has_header: true,
                    is_utf8: true,
                    is_tabs: true,
                },
            ),
            (
                "XML",
                any.clone(),
                &["text/xml; charset=iso-8859-1"],
                xml(Some("iso-8859-1")),
            ),
            (
                "XML by its suffix",
                types(&["application/*+xml"]),
                &["application/atom+xml"],
                xml(None),
            ),
            (
                "something else",
                types(&["image/*"]),
                &["image/png"],
                MediaKind::Other,
            ),
            ("nothing at all is known", any, &[], MediaKind::Other),
        ] {
            assert_eq!(check_type(&types, &headers(lines), b""), Ok(want), "{name}");
        }
    }

    #[test]
    fn another_type_is_a_breach_that_names_it() {
        let page = b"<!DOCTYPE html>\n<html><head><TITLE lang='en'> Back\n soon </TITLE>";
        for (name, types, line, body, want) in [
            (
                "a maintenance page",
                ContentTypes::json(),
                "text/html; charset=utf-8",
                &page[..],
                "a page of text/html where application/json or */*+json was due, titled \"Back soon\": a maintenance page?",
            ),
            (
                "without a title",
                ContentTypes::json(),
                "text/html",
                b"sorry",
                "a page of text/html where application/json or */*+json was due, without a title: a maintenance page?",
            ),
            (
                "text",
                types(&["text/csv"]),
                "text/plain",
                b"",
                "text/plain where text/csv was due",
            ),
            (
                "a longer name",
                types(&["application/json"]),
                "application/jsonp",
                b"",
                "application/jsonp where",
            ),
            (
                "another suffix",
                types(&["application/*+json"]),
                "application/json",
                b"",
                "application/json where application/*+json was due",
            ),
        ] {
            let breach = check_type(&types, &headers(&[line]), body).unwrap_err();
            assert_eq!(
                (breach.kind, &*breach.term),
                (Kind::ContentType, "content_type"),
                "{name}"
            );
            assert!(breach.message.starts_with(want), "{name}: {breach}");
        }
        let two = headers(&["application/json", "text/html"]);
        let breach = check_type(&ContentTypes::json(), &two, b"").unwrap_err();
        assert_eq!(breach.kind, Kind::ContentType);
    }

    #[test]
    fn a_title_is_short_and_plain() {
        let long = format!("<title>{}</title>", "x".repeat(500));
        assert_eq!(title(long.as_bytes()).unwrap().len(), 80);
        assert_eq!(
            title(b"<title>a\x1b[0m\x07</title>"),
            Some("a[0m".to_owned())
        );
        for none in [
            "",
            "<title",
            "<title>",
            "<title>x",
            "<title> </title>",
            "<titl>x</titl>",
        ] {
            assert_eq!(title(none.as_bytes()), None, "{none}");
        }
        let late = format!("{}<title>x</title>", " ".repeat(2000));
        assert_eq!(title(late.as_bytes()), None);
    }

    #[test]
    fn what_is_no_type_is_refused() {
        for (text, want) in [
            ("json", "is no media type"),
            ("application/", "is no media type"),
            ("*/json", "is no media type"),
            ("application/*+", "is no media type"),
            ("appl ication/json", "is no media type"),
            ("application/json; charset=utf-8", "has parameters"),
        ] {
            let error = ContentTypes::parse([text], false).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
        assert!(ContentTypes::parse([], false).is_err());
    }

    #[test]
    fn types_that_can_be_no_json_are_known() {
        for (text, want) in [
            ("application/json", false),
            ("application/vnd.api+json", false),
            ("text/plain", false),
            ("*/*", false),
            ("application/*", false),
            ("application/octet-stream", false),
            ("text/csv", true),
            ("text/xml", true),
            ("application/atom+xml", true),
            ("text/html", true),
            ("image/*", true),
            ("*/*+xml", true),
        ] {
            let types = ContentTypes::parse([text], true).unwrap();
            assert_eq!(types.first_not_json().is_some(), want, "{text}");
        }
    }

    #[test]
    fn there_has_to_be_as_much_as_the_route_says() {
        assert_eq!(check_size(0, b""), Ok(()));
        assert_eq!(check_size(2, b"{}"), Ok(()));
        assert_eq!(check_size(1, b"").unwrap_err().message, "it is empty");
        let breach = check_size(3, b"{}").unwrap_err();
        assert_eq!(breach.kind, Kind::Size);
        assert_eq!(
            breach.message,
            "it has 2 bytes, and 3 is the least (`size_min`)"
        );
    }

    #[test]
    fn what_says_it_is_csv_or_xml_has_to_be() {
        let limits = Limits::default();
        let check = |kind: &MediaKind, body: &[u8]| {
            well_formed(kind, body, &limits, &Effort::new(&limits, &|| false))
        };
        let xml = MediaKind::Xml { charset: None };
        assert_eq!(check(&CSV, b"a,b\n1,2\n"), Ok(()));
        assert!(check(&CSV, b"a,b\n1\n").is_err());
        assert_eq!(check(&xml, b"<a/>"), Ok(()));
        assert!(check(&xml, b"<a>").is_err());
        assert_eq!(
            check(&MediaKind::Json, b"{"),
            Ok(()),
            "it is read elsewhere"
        );
        assert_eq!(check(&MediaKind::Other, b"\0"), Ok(()));
    }
}
