//! JSON, whole or broken: its shape, its names, and the values at the places of violations.
//!
//! A scanner and not a parser: what is no JSON goes through it as well, masked. Commas and colons of the input are passed
//! over and those of the output put where they belong; whether a string is a name is told by the colon after it.

use super::{VALUE_CHARS_MAX, push_printable};

/// Elements of a list that are shown whether they are wrong or not.
const ELEMENTS_SHOWN: usize = 3;
/// Members of an object likewise.
const MEMBERS_SHOWN: usize = 40;
/// Containers inside each other that are shown unless they lead to a place.
const DEPTH_SHOWN: usize = 32;
/// Containers inside each other that are followed at all.
const DEPTH_MAX: usize = 1024;
/// A name that is longer, or has so many digits, tells of somebody: a map by address or by number.
const NAME_CHARS_MAX: usize = 48;
const NAME_DIGITS_MAX: usize = 5;

/// See [`super::redact`].
pub(super) fn redact(body: &[u8], places: &[&str], bytes_max: usize) -> String {
    let mut scan = Scan {
        body,
        at: 0,
        places,
        path: String::new(),
        stack: Vec::new(),
        at_root: 0,
        hidden_from: None,
        is_cut: false,
        out: Out {
            text: String::new(),
            bytes_max,
            is_full: false,
        },
    };
    scan.run();
    scan.out.text
}

struct Scan<'a> {
    body: &'a [u8],
    at: usize,
    places: &'a [&'a str],
    /// JSON Pointer of the value that is being read.
    path: String,
    stack: Vec<Frame>,
    /// Values printed outside of all containers.
    at_root: usize,
    /// The height of the stack below the container that is not shown.
    hidden_from: Option<usize>,
    /// The body ends inside of a string.
    is_cut: bool,
    out: Out,
}

/// A container that is open.
struct Frame {
    is_object: bool,
    /// The length of its own pointer.
    path_len: usize,
    values: usize,
    printed: usize,
    hidden: usize,
    /// The name that was read last, without its value so far.
    name: Option<String>,
}

/// How a value is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    Hidden,
    Masked,
    /// It is at the place of a violation.
    Whole,
}

impl Scan<'_> {
    fn run(&mut self) {
        while !self.out.is_full {
            let Some(&byte) = self.body.get(self.at) else {
                break;
            };
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b',' | b':' => self.at += 1,
                b'{' | b'[' => self.open(byte == b'{'),
                b'}' | b']' => self.close(char::from(byte)),
                b'"' => self.string(),
                b'-' | b'0'..=b'9' => self.number(),
                _ => self.word(),
            }
        }
        if self.out.text.is_empty() {
            self.out.put("(empty)");
        } else if self.out.is_full {
            self.out.text.push('\u{2026}');
        } else if !self.stack.is_empty() || self.is_cut {
            self.out.text.push_str(" (cut off)");
        }
    }

    fn open(&mut self, is_object: bool) {
        self.at += 1;
        let show = self.begin_value();
        if show == Show::Hidden && self.hidden_from.is_none() {
            self.hidden_from = Some(self.stack.len());
        }
        if self.stack.len() >= DEPTH_MAX {
            // Nobody looks at what is further down.
            self.out.is_full = true;
            return;
        }
        self.stack.push(Frame {
            is_object,
            path_len: self.path.len(),
            values: 0,
            printed: 0,
            hidden: 0,
            name: None,
        });
        if show != Show::Hidden {
            self.out.put(if is_object { "{" } else { "[" });
        }
    }

    fn close(&mut self, end: char) {
        self.at += 1;
        let Some(frame) = self.stack.pop() else {
            self.separate();
            self.out.put(end.encode_utf8(&mut [0; 4]));
            return;
        };
        if let Some(height) = self.hidden_from {
            if height == self.stack.len() {
                self.hidden_from = None;
            }
            return;
        }
        if frame.hidden > 0 {
            if frame.printed > 0 {
                self.out.put(", ");
            }
            self.out.put(&format!("\"({} more)\"", frame.hidden));
        }
        self.out.put(end.encode_utf8(&mut [0; 4]));
    }

    fn string(&mut self) {
        let (token, is_whole) = self.string_token();
        let text = serde_json::from_slice::<String>(token).ok();
        let chars = match &text {
            Some(text) => text.chars().count(),
            None => String::from_utf8_lossy(token).chars().count() - 1 - usize::from(is_whole),
        };
        if self.is_name()
            && let Some(frame) = self.stack.last_mut()
        {
            frame.name = Some(text.unwrap_or_else(|| format!("name({chars})")));
            return;
        }
        match (self.begin_value(), text) {
            (Show::Hidden, _) => {}
            (Show::Whole, Some(text)) => self.out.put(&quoted(&text, VALUE_CHARS_MAX)),
            _ if is_whole => self.out.put(&format!("\"string({chars})\"")),
            _ => self.out.put(&format!("\"string({chars}), cut off\"")),
        }
    }

    /// The string that begins here with its quotes, and whether it ends.
    fn string_token(&mut self) -> (&[u8], bool) {
        let start = self.at;
        let mut at = start + 1;
        while let Some(byte) = self.body.get(at) {
            at += 1;
            match byte {
                b'"' => {
                    self.at = at;
                    return (&self.body[start..at], true);
                }
                b'\\' => at += 1,
                _ => {}
            }
        }
        self.at = self.body.len();
        self.is_cut = true;
        (&self.body[start..], false)
    }

    /// Whether the string before this is the name of a member.
    fn is_name(&self) -> bool {
        let is_due = self
            .stack
            .last()
            .is_some_and(|frame| frame.is_object && frame.name.is_none());
        let mut rest = self.body[self.at..].iter();
        is_due && rest.find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
    }

    fn number(&mut self) {
        let token = self.token(|byte| {
            byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E')
        });
        match self.begin_value() {
            Show::Hidden => {}
            Show::Masked => self.out.put("\"number\""),
            Show::Whole => self.out.put(&token[..token.len().min(VALUE_CHARS_MAX)]),
        }
    }

    fn word(&mut self) {
        let token = self.token(|byte| !b" \t\r\n,:{}[]\"".contains(&byte));
        match (self.begin_value(), token.as_str()) {
            (Show::Hidden, _) => {}
            (_, "true" | "false" | "null") => self.out.put(&token),
            _ => self
                .out
                .put(&format!("\"text({})\"", token.chars().count())),
        }
    }

    fn token(&mut self, is_part: impl Fn(u8) -> bool) -> String {
        let rest = &self.body[self.at..];
        let end = rest.iter().position(|byte| !is_part(*byte));
        let token = &rest[..end.unwrap_or(rest.len())];
        self.at += token.len();
        String::from_utf8_lossy(token).into_owned()
    }

    /// A value begins: where it is, and whether it is shown; what stands before it is printed then.
    fn begin_value(&mut self) -> Show {
        if self.hidden_from.is_some() {
            return Show::Hidden;
        }
        let depth = self.stack.len();
        let Some(frame) = self.stack.last_mut() else {
            self.path.clear();
            self.separate();
            return self.at_place();
        };
        let name = frame.name.take();
        self.path.truncate(frame.path_len);
        self.path.push('/');
        match &name {
            Some(name) => push_segment(&mut self.path, name),
            None => self.path.push_str(&frame.values.to_string()),
        }
        let shown = if frame.is_object {
            MEMBERS_SHOWN
        } else {
            ELEMENTS_SHOWN
        };
        let is_early = frame.values < shown && depth <= DEPTH_SHOWN;
        frame.values += 1;
        let show = match leads_to(&self.path, self.places) {
            true => self.at_place(),
            false if is_early && !self.out.is_half_full() => Show::Masked,
            false => Show::Hidden,
        };
        let Some(frame) = self.stack.last_mut() else {
            return show;
        };
        if show == Show::Hidden {
            frame.hidden += 1;
            return show;
        }
        let mut before = String::new();
        if frame.printed > 0 {
            before.push_str(", ");
        }
        frame.printed += 1;
        if let Some(name) = name {
            before.push_str(&shown_name(&name));
            before.push_str(": ");
        }
        self.out.put(&before);
        show
    }

    /// Between what stands outside of all containers.
    fn separate(&mut self) {
        if self.at_root > 0 {
            self.out.put(" ");
        }
        self.at_root += 1;
    }

    fn at_place(&self) -> Show {
        match self.places.contains(&self.path.as_str()) {
            true => Show::Whole,
            false => Show::Masked,
        }
    }
}

/// Whether a place is here or further down.
fn leads_to(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| {
        let rest = place.strip_prefix(path);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// RFC 6901 section 3.
fn push_segment(path: &mut String, name: &str) {
    for character in name.chars() {
        match character {
            '~' => path.push_str("~0"),
            '/' => path.push_str("~1"),
            _ => path.push(character),
        }
    }
}

fn shown_name(name: &str) -> String {
    let (mut chars, mut digits) = (0, 0);
    for character in name.chars() {
        chars += 1;
        digits += usize::from(character.is_numeric());
    }
    if chars > NAME_CHARS_MAX || digits > NAME_DIGITS_MAX || name.contains('@') {
        return format!("\"name({chars})\"");
    }
    quoted(name, NAME_CHARS_MAX)
}

/// As a JSON string, cut to so many characters, fit for a terminal.
fn quoted(text: &str, chars_max: usize) -> String {
    let mut cut: String = text.chars().take(chars_max).collect();
    if cut.len() < text.len() {
        cut.push('\u{2026}');
    }
    // A string is always JSON.
    let json = serde_json::to_string(&cut).unwrap_or_default();
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        push_printable(&mut out, character);
    }
    out
}

// --- Out ---

struct Out {
    text: String,
    bytes_max: usize,
    is_full: bool,
}

impl Out {
    fn put(&mut self, text: &str) {
        if self.text.len() + text.len() > self.bytes_max && text != "(empty)" {
            self.is_full = true;
        }
        if !self.is_full {
            self.text.push_str(text);
        }
    }

    /// From here on only what leads to a place is shown.
    fn is_half_full(&self) -> bool {
        self.text.len() > self.bytes_max / 2
    }
}
