//! Whether content is well-formed XML (XML 1.0, section 2.1): one root, tags that match, entities that exist.
//!
//! Pure, and cheaper than reading it: nothing is expanded, and nothing is kept. A document that declares entities of its own
//! is not read (`too_complex`): expanding ten lines of them can take more memory than there is. What a document type beyond
//! the document declares is not fetched, so that a name from there is believed.

use std::borrow::Cow;

use quick_xml::{
    Reader,
    events::{BytesStart, Event},
};

use crate::contract::{Breach, Effort, Kind, Limits};

/// Content of one element that is no error of it: an attribute is looked for among all before it.
const ATTRIBUTES_MAX: usize = 1000;

/// Where reading stands.
struct Document<'a> {
    limits: &'a Limits,
    effort: &'a Effort<'a>,
    depth: usize,
    values: usize,
    has_root: bool,
    has_doctype: bool,
    is_first: bool,
}

/// Holds content against the rules. `charset` is what its media type says.
pub(super) fn well_formed(
    body: &[u8],
    charset: Option<&str>,
    limits: &Limits,
    effort: &Effort<'_>,
) -> Result<(), Breach> {
    let text = text(body, charset)?;
    let mut reader = Reader::from_str(&text);
    reader.config_mut().enable_all_checks(true);
    let mut document = Document {
        limits,
        effort,
        depth: 0,
        values: 0,
        has_root: false,
        has_doctype: false,
        is_first: true,
    };
    loop {
        let before = reader.buffer_position();
        let event = reader
            .read_event()
            .map_err(|error| malformed(&text, reader.error_position(), &error.to_string()))?;
        let is_end = matches!(event, Event::Eof);
        let bytes = reader.buffer_position() - before;
        effort.spend(1 + bytes / 64)?;
        document
            .take(&event)
            .map_err(|breach| at_line(&text, before, breach))?;
        if is_end {
            return Ok(());
        }
    }
}

impl Document<'_> {
    fn take(&mut self, event: &Event<'_>) -> Result<(), Breach> {
        match event {
            Event::Start(tag) => {
                self.open(tag)?;
                self.depth += 1;
                if self.depth > self.limits.depth_max {
                    let message = format!("elements are more than {} deep", self.limits.depth_max);
                    return Err(Breach::new(Kind::TooComplex, "depth_max", message));
                }
            }
            Event::Empty(tag) => self.open(tag)?,
            Event::End(_) => self.depth = self.depth.saturating_sub(1),
            Event::Text(text) => {
                characters(text)?;
                if self.depth == 0
                    && !text
                        .trim_matches([' ', '\t', '\r', '\n', '\u{feff}'])
                        .is_empty()
                {
                    return Err(wrong("there is text outside the root element"));
                }
                // 2.4: only to end a section may this stand in text.
                if text.contains("]]>") {
                    return Err(wrong("`]]>` stands in text"));
                }
            }
            Event::CData(text) => {
                characters(text)?;
                if self.depth == 0 {
                    return Err(wrong("there is text outside the root element"));
                }
            }
            Event::GeneralRef(reference) => {
                if self.depth == 0 {
                    return Err(wrong("there is text outside the root element"));
                }
                self.refer(reference)?;
            }
            Event::DocType(text) => {
                if self.has_doctype || self.has_root {
                    return Err(wrong("a document type stands where none may"));
                }
                if text.contains('[') {
                    let message = "it declares entities of its own, which are not expanded here";
                    return Err(Breach::new(Kind::TooComplex, "xml doctype", message));
                }
                self.has_doctype = true;
            }
            Event::Decl(_) if !self.is_first => {
                return Err(wrong("`<?xml` stands elsewhere than at the beginning"));
            }
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::Eof if !self.has_root => return Err(wrong("there is no element")),
            Event::Eof if self.depth > 0 => {
                return Err(wrong("it is cut off: an element has no end"));
            }
            Event::Eof => {}
        }
        self.is_first = false;
        Ok(())
    }

    fn open(&mut self, tag: &BytesStart<'_>) -> Result<(), Breach> {
        self.count()?;
        if self.depth == 0 && self.has_root {
            return Err(wrong("there is a second root element"));
        }
        self.has_root = true;
        name(tag.name().as_ref())?;
        for (index, attribute) in tag.attributes().enumerate() {
            self.count()?;
            self.effort.spend(1 + index as u64 / 8)?;
            if index >= ATTRIBUTES_MAX {
                let message = format!("an element has more than {ATTRIBUTES_MAX} attributes");
                return Err(Breach::new(Kind::TooComplex, "values_max", message));
            }
            let attribute = attribute.map_err(|error| wrong(&error.to_string()))?;
            name(attribute.key.as_ref())?;
            characters(&attribute.value)?;
            self.attribute_value(&attribute.value)?;
        }
        Ok(())
    }

    fn attribute_value(&self, value: &str) -> Result<(), Breach> {
        if value.contains('<') {
            return Err(wrong("`<` stands in the value of an attribute"));
        }
        let mut rest = value;
        while let Some((_, after)) = rest.split_once('&') {
            let Some((reference, after)) = after.split_once(';') else {
                return Err(wrong(
                    "`&` in the value of an attribute begins no reference",
                ));
            };
            self.refer(reference)?;
            rest = after;
        }
        Ok(())
    }

    /// 4.1: an entity that is referred to has to be declared; five are (4.6).
    fn refer(&self, reference: &str) -> Result<(), Breach> {
        let is_known = match reference.strip_prefix('#') {
            Some(number) => {
                let code = match number.strip_prefix('x') {
                    Some(hex) => u32::from_str_radix(hex, 16).ok(),
                    None => number.parse().ok(),
                };
                code.and_then(char::from_u32).is_some_and(is_character)
            }
            None => {
                matches!(reference, "amp" | "lt" | "gt" | "apos" | "quot")
                    || (self.has_doctype && name(reference).is_ok())
            }
        };
        if is_known {
            return Ok(());
        }
        let reference: String = reference.chars().take(32).collect();
        Err(wrong(&format!("there is no entity `&{reference};`")))
    }

    fn count(&mut self) -> Result<(), Breach> {
        self.values += 1;
        if self.values <= self.limits.values_max {
            return Ok(());
        }
        let message = format!(
            "there are more than {} elements and attributes",
            self.limits.values_max
        );
        Err(Breach::new(Kind::TooComplex, "values_max", message))
    }
}

/// The bytes as text. In an encoding that is not read here, what is beyond ASCII is some character or other.
fn text<'a>(body: &'a [u8], charset: Option<&str>) -> Result<Cow<'a, str>, Breach> {
    let utf16 = |pair: fn([u8; 2]) -> u16| {
        let units = body[2..].chunks_exact(2).map(|two| pair([two[0], two[1]]));
        let text: Result<String, _> = char::decode_utf16(units).collect();
        text.map(Cow::Owned).map_err(|_| wrong("it is not UTF-16"))
    };
    match body {
        [0xfe, 0xff, ..] => return utf16(u16::from_be_bytes),
        [0xff, 0xfe, ..] => return utf16(u16::from_le_bytes),
        _ => {}
    }
    let error = match std::str::from_utf8(body) {
        Ok(text) => return Ok(Cow::Borrowed(text)),
        Err(error) => error,
    };
    let head = String::from_utf8_lossy(&body[..body.len().min(256)]).to_ascii_lowercase();
    let declared = head.split_once("encoding").map(|(_, rest)| rest);
    let declared = declared.and_then(|rest| rest.split(['"', '\'']).nth(1));
    match charset.or(declared) {
        Some(other) if !other.eq_ignore_ascii_case("utf-8") => {
            let character = |byte: &u8| {
                if byte.is_ascii() {
                    char::from(*byte)
                } else {
                    '\u{e9}'
                }
            };
            Ok(Cow::Owned(body.iter().map(character).collect()))
        }
        _ => Err(wrong(&format!("byte {} is not UTF-8", error.valid_up_to()))),
    }
}

/// 2.2: which characters there are.
fn characters(text: &str) -> Result<(), Breach> {
    // Everything that is none is below a space or beyond the surrogates; looking at bytes is enough for the first.
    let is_odd = |byte: u8| byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r');
    if text.bytes().any(is_odd) {
        return Err(wrong("there is a control character in it"));
    }
    Ok(())
}

fn is_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// 2.3, as far as ASCII goes.
fn name(name: &str) -> Result<(), Breach> {
    let begins = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | ':') || !c.is_ascii();
    let goes_on = |c: char| begins(c) || c.is_ascii_digit() || matches!(c, '-' | '.');
    if name.starts_with(begins) && name.chars().all(goes_on) {
        return Ok(());
    }
    let name: String = name.chars().take(32).collect();
    Err(wrong(&format!("`{name}` is no name")))
}

fn wrong(what: &str) -> Breach {
    Breach::new(Kind::Malformed, "xml", what)
}

fn malformed(text: &str, position: u64, what: &str) -> Breach {
    at_line(text, position, wrong(what))
}

fn at_line(text: &str, position: u64, mut breach: Breach) -> Breach {
    let at = usize::try_from(position)
        .unwrap_or(usize::MAX)
        .min(text.len());
    let lines = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n');
    let is = if breach.kind == Kind::Malformed {
        "it is no well-formed XML: "
    } else {
        ""
    };
    let what: String = breach.message.chars().take(200).collect();
    breach.message = format!("{is}line {}: {what}", lines.count() + 1);
    breach
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(body: &[u8], charset: Option<&str>) -> Result<(), Breach> {
        let limits = Limits {
            depth_max: 5,
            values_max: 50,
            ..Limits::default()
        };
        well_formed(body, charset, &limits, &Effort::new(&limits, &|| false))
    }

    #[test]
    fn what_is_well_formed_passes() {
        for (name, text) in [
            ("an element", "<a/>"),
            (
                "with all there is",
                "\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- x -->\n<a b='1' c:d=\"&lt;&#65;&#x42;\"><b>&amp; &#10; é</b><![CDATA[<x> & y]]><?p i?></a>\n<!-- y -->",
            ),
            (
                "a document type elsewhere",
                "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0\" \"http://x/y.dtd\"><html>&nbsp;</html>",
            ),
            ("names", "<ns:é-1._><_/></ns:é-1._>"),
            ("white space in an end tag", "<a></a >"),
        ] {
            assert_eq!(check(text.as_bytes(), None), Ok(()), "{name}");
        }
        assert_eq!(
            check(
                b"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a>\xe9</a>",
                None
            ),
            Ok(())
        );
        assert_eq!(check(b"<a>\xe9</a>", Some("iso-8859-1")), Ok(()));
        let utf16: Vec<u8> = "\u{feff}<a>\u{e9}</a>"
            .encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect();
        assert_eq!(check(&utf16, None), Ok(()));
    }

    #[test]
    fn what_is_not_is_named_with_its_line() {
        for (name, text, want) in [
            ("nothing", "", "line 1: there is no element"),
            ("text", "Sorry!", "text outside the root"),
            (
                "cut off",
                "<a>\n<b>",
                "line 2: it is cut off: an element has no end",
            ),
            ("in a tag", "<a>\n<b", "line 2: "),
            ("tags that do not match", "<a>\n<b></a>", "expected `</b>`"),
            ("an end too many", "<a/></a>", "does not match any open tag"),
            ("two roots", "<a/>\n<b/>", "line 2: there is a second root"),
            ("text behind the root", "<a/>x", "text outside the root"),
            (
                "an entity that is nowhere",
                "<a>&nbsp;</a>",
                "no entity `&nbsp;`",
            ),
            ("in an attribute", "<a b='&x;'/>", "no entity `&x;`"),
            ("a bare ampersand", "<a>x & y</a>", "not closed"),
            (
                "in an attribute, too",
                "<a b='x & y'/>",
                "begins no reference",
            ),
            ("an attribute twice", "<a b='1' b='2'/>", "duplicate"),
            ("an attribute without quotes", "<a b=1/>", ""),
            ("a `<` in an attribute", "<a b='<'/>", "`<` stands in"),
            (
                "a number that is no character",
                "<a>&#0;</a>",
                "no entity `&#0;`",
            ),
            ("a control character", "<a>\u{1}</a>", "control character"),
            (
                "a late declaration",
                "<!-- x --><?xml version=\"1.0\"?><a/>",
                "elsewhere than at the beginning",
            ),
            ("a name that is none", "<1/>", "`1` is no name"),
            ("the end of a section", "<a>]]></a>", "stands in text"),
        ] {
            let breach = check(text.as_bytes(), None).unwrap_err();
            assert_eq!(breach.kind, Kind::Malformed, "{name}: {breach}");
            assert!(
                breach
                    .message
                    .starts_with("it is no well-formed XML: line "),
                "{breach}"
            );
            assert!(breach.message.contains(want), "{name}: {breach}");
        }
        assert!(
            check(b"<a>\xe9</a>", None)
                .unwrap_err()
                .message
                .contains("byte 3 is not UTF-8")
        );
    }

    #[test]
    fn what_is_too_much_is_left() {
        let laughs = "<!DOCTYPE a [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\">]><a>&b;</a>";
        let deep = "<a>".repeat(100_000);
        let wide = format!("<a>{}</a>", "<b/>".repeat(100_000));
        let many: String = (0..100_000).map(|n| format!(" a{n}='1'")).collect();
        for (name, text) in [
            ("entities of its own", laughs.to_owned()),
            ("deep", deep),
            ("wide", wide),
            ("many attributes", format!("<a{many}/>")),
        ] {
            let breach = check(text.as_bytes(), None).unwrap_err();
            assert_eq!(breach.kind, Kind::TooComplex, "{name}: {breach}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "[<>a/&;=\"'! \\-\\[\\]?\\n#x1é]{0,60}") {
            let _ = check(text.as_bytes(), None);
        }
    }
}
