//! Reads JSON that nobody vouches for, within bounds, in one pass.
//!
//! Pure. What comes out is a whole document of a bounded size, depth and number of values, or the reason why not. The
//! reader keeps its own stack, so that neither a nest of brackets nor the depth that the config allows reaches that of the
//! thread, and it counts while it reads, so that a bomb is never built.
//!
//! - RFC 8259 2: the grammar, nothing beside it: no comments, no trailing commas, nothing behind the document.
//! - RFC 8259 8.1: UTF-8. A byte order mark at the start is passed over, as the section allows: some vendors send one, and
//!   sites get along with it. It stays in the answer.
//! - RFC 8259 4: a member that stands twice is [`Kind::Malformed`], which is stricter: two readers may see two documents, so
//!   that what is judged here need not be what the site reads.
//! - RFC 8259 6: any number is taken. What an integer of 64 bits cannot hold is kept as the nearest double; what is beyond
//!   the doubles as the outermost one, so that `1e400` is still larger than every `max`.
//! - RFC 8259 8.2: an escape of half a surrogate pair is no text, so it is [`Kind::Malformed`].
//!
//! # Invariants
//!
//! - Time grows with the bytes (times the logarithm of the members of an object), whatever they are.
//! - What is read here is what `serde_json` reads, wherever both take it.

use serde_json::{Map, Number, Value};

use super::{Breach, Kind, Limits, values::cut};

/// Reads a document.
///
/// # Errors
///
/// [`Kind::TooComplex`] where it is larger, deeper or of more values than `limits` allows, [`Kind::Malformed`] where it is no
/// JSON; with line and column in the message.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Value, Breach> {
    if bytes.len() as u64 > limits.body_bytes_max {
        let (size, max) = (bytes.len(), limits.body_bytes_max);
        let message = format!("has {size} bytes, at most {max} are judged");
        return Err(Breach::new(Kind::TooComplex, "body_max", message));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let before = String::from_utf8_lossy(before);
            return Err(malformed(&before, before.len(), "it is not UTF-8"));
        }
    };
    let reader = Reader {
        text,
        bytes,
        at: if text.starts_with('\u{feff}') { 3 } else { 0 },
        values: 0,
        limits,
    };
    reader.document()
}

fn malformed(text: &str, at: usize, what: impl std::fmt::Display) -> Breach {
    let (line, column) = position(text, at);
    let message = format!("is not JSON: {what} (line {line}, column {column})");
    Breach::new(Kind::Malformed, "json", message)
}

/// Line and column of a byte, in characters from 1.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before[line_start..].chars().count() + 1;
    (line, column)
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    values: usize,
    limits: &'a Limits,
}

/// An array or object whose end has not been read.
enum Open {
    Array(Vec<Value>),
    Object {
        members: Map<String, Value>,
        /// Of the member whose value comes next, and where it stands.
        name: String,
        name_at: usize,
    },
}

impl Reader<'_> {
    fn document(mut self) -> Result<Value, Breach> {
        let mut open: Vec<Open> = Vec::new();
        self.skip_space();
        if self.at == self.bytes.len() {
            return Err(self.error("it is empty"));
        }
        loop {
            let Some(mut value) = self.value(&mut open)? else {
                continue;
            };
            // Whole: put into what is open, which may end with it, and so on outwards.
            loop {
                let Some(mut above) = open.pop() else {
                    self.skip_space();
                    if self.at < self.bytes.len() {
                        return Err(self.error("something follows the document"));
                    }
                    return Ok(value);
                };
                if self.is_last(&mut above, value)? {
                    value = match above {
                        Open::Array(elements) => Value::Array(elements),
                        Open::Object { members, .. } => Value::Object(members),
                    };
                } else {
                    open.push(above);
                    break;
                }
            }
        }
    }

    /// The value that begins here; `None` where it is an array or object that has something in it, which is open now.
    fn value(&mut self, open: &mut Vec<Open>) -> Result<Option<Value>, Breach> {
        self.skip_space();
        self.count()?;
        let value = match self.peek() {
            Some(first @ (b'[' | b'{')) => {
                self.check_depth(open.len() + 1)?;
                self.at += 1;
                self.skip_space();
                match (first, self.peek()) {
                    (b'[', Some(b']')) => {
                        self.at += 1;
                        Value::Array(Vec::new())
                    }
                    (b'{', Some(b'}')) => {
                        self.at += 1;
                        Value::Object(Map::new())
                    }
                    (b'[', _) => {
                        open.push(Open::Array(Vec::new()));
                        return Ok(None);
                    }
                    _ => {
                        let (name, name_at) = self.name()?;
                        let members = Map::new();
                        open.push(Open::Object {
                            members,
                            name,
                            name_at,
                        });
                        return Ok(None);
                    }
                }
            }
            Some(b'"') => Value::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => Value::Number(self.number()?),
            Some(b't') => self.literal("true", Value::Bool(true))?,
            Some(b'f') => self.literal("false", Value::Bool(false))?,
            Some(b'n') => self.literal("null", Value::Null)?,
            _ => return Err(self.expected("a value")),
        };
        Ok(Some(value))
    }

    /// Puts a value into what it belongs to, and reads on: whether that ends here.
    fn is_last(&mut self, above: &mut Open, value: Value) -> Result<bool, Breach> {
        match above {
            Open::Array(elements) => {
                elements.push(value);
                self.skip_space();
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b']') => {
                        self.at += 1;
                        return Ok(true);
                    }
                    _ => return Err(self.expected("`,` or `]`")),
                }
            }
            Open::Object {
                members,
                name,
                name_at,
            } => {
                let shown = cut(name, 40);
                if members.insert(std::mem::take(name), value).is_some() {
                    let what = format!("the member {shown:?} stands twice in one object");
                    return Err(malformed(self.text, *name_at, what));
                }
                self.skip_space();
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        self.skip_space();
                        (*name, *name_at) = self.name()?;
                    }
                    Some(b'}') => {
                        self.at += 1;
                        return Ok(true);
                    }
                    _ => return Err(self.expected("`,` or `}`")),
                }
            }
        }
        Ok(false)
    }

    /// The name of a member with its colon, and where it stands.
    fn name(&mut self) -> Result<(String, usize), Breach> {
        let at = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.expected("the name of a member in quotes"));
        }
        let name = self.string()?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.expected("`:`"));
        }
        self.at += 1;
        Ok((name, at))
    }

    fn literal(&mut self, word: &str, value: Value) -> Result<Value, Breach> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if rest.starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(value);
        }
        // A word that only breaks off is a truncated answer, not a wrong one.
        if word.as_bytes().starts_with(rest) {
            self.at = self.bytes.len();
        }
        Err(self.expected(&format!("`{word}`")))
    }

    /// RFC 8259 6.
    fn number(&mut self) -> Result<Number, Breach> {
        let start = self.at;
        let is_negative = self.skip_if(b'-');
        if !self.skip_if(b'0') && self.skip_digits() == 0 {
            return Err(self.expected("a digit"));
        }
        let mut is_integer = true;
        if self.skip_if(b'.') {
            is_integer = false;
            if self.skip_digits() == 0 {
                return Err(self.expected("a digit behind the point"));
            }
        }
        if self.skip_if(b'e') || self.skip_if(b'E') {
            is_integer = false;
            let _ = self.skip_if(b'+') || self.skip_if(b'-');
            if self.skip_digits() == 0 {
                return Err(self.expected("a digit of the exponent"));
            }
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        if is_integer && is_negative {
            if let Ok(number) = text.parse::<i64>() {
                return Ok(number.into());
            }
        } else if is_integer && let Ok(number) = text.parse::<u64>() {
            return Ok(number.into());
        }
        let number = text.parse::<f64>().unwrap_or_default();
        let number = number.clamp(f64::MIN, f64::MAX);
        Ok(Number::from_f64(number).unwrap_or_else(|| 0.into()))
    }

    /// RFC 8259 7. Stands at the opening quote.
    fn string(&mut self) -> Result<String, Breach> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let start = self.at;
            let rest = self.bytes.get(start..).unwrap_or_default();
            let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
            let Some(length) = rest.iter().position(is_special) else {
                self.at = self.bytes.len();
                return Err(self.error("it ends inside a text"));
            };
            self.at += length;
            // What is special is ASCII, so both ends lie between characters.
            out.push_str(self.text.get(start..self.at).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escaped()?),
                _ => return Err(self.error("a control character stands in a text")),
            }
        }
    }

    /// The character that an escape stands for. Stands at the backslash.
    fn escaped(&mut self) -> Result<char, Breach> {
        self.at += 1;
        let escaped = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.code_point();
            }
            _ => return Err(self.expected("an escape that JSON has")),
        };
        self.at += 1;
        Ok(escaped)
    }

    fn code_point(&mut self) -> Result<char, Breach> {
        let first = self.unit()?;
        let code = match first {
            0xd800..=0xdbff if self.skip_if(b'\\') && self.skip_if(b'u') => {
                let second = self.unit()?;
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err(self.error("half a surrogate pair is no character"));
                }
                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            code => code,
        };
        char::from_u32(code).ok_or_else(|| self.error("half a surrogate pair is no character"))
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Result<u32, Breach> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.expected("a hexadecimal digit"));
            };
            unit = unit * 16 + digit;
            self.at += 1;
        }
        Ok(unit)
    }

    fn count(&mut self) -> Result<(), Breach> {
        self.values += 1;
        let max = self.limits.values_max;
        if self.values <= max {
            return Ok(());
        }
        let message = format!("has more than {max} values");
        Err(Breach::new(Kind::TooComplex, "values_max", message))
    }

    fn check_depth(&self, depth: usize) -> Result<(), Breach> {
        let max = self.limits.depth_max;
        if depth <= max {
            return Ok(());
        }
        let (line, column) = position(self.text, self.at);
        let message =
            format!("has objects and arrays more than {max} deep (line {line}, column {column})");
        Err(Breach::new(Kind::TooComplex, "depth_max", message))
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_if(&mut self, byte: u8) -> bool {
        let is_it = self.peek() == Some(byte);
        self.at += usize::from(is_it);
        is_it
    }

    fn skip_digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expected(&self, what: &str) -> Breach {
        if self.at >= self.bytes.len() {
            return self.error(format!("it ends where {what} is expected"));
        }
        self.error(format!("expected {what}"))
    }

    fn error(&self, what: impl std::fmt::Display) -> Breach {
        malformed(self.text, self.at, what)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::contract::{fuzzing::is_close, testing::any_json};

    fn kind_of(bytes: &[u8]) -> Option<Kind> {
        read(bytes, &Limits::default()).err().map(|it| it.kind)
    }

    #[test]
    fn what_is_json_is_read() {
        for (name, text, want) in [
            ("a number", "1", json!(1)),
            ("space around", " \t\r\n[ 1 , 2 ]\n", json!([1, 2])),
            ("nothing in it", r#"[{},[],""]"#, json!([{}, [], ""])),
            (
                "nested",
                r#"{"a":{"b":[null,true,false]}}"#,
                json!({"a": {"b": [null, true, false]}}),
            ),
            (
                "escapes",
                r#""\"\\\/\b\f\n\r\tA""#,
                json!("\"\\/\u{8}\u{c}\n\r\tA"),
            ),
            (
                "a pair of surrogates",
                "\"\\ud83d\\ude00x\"",
                json!("\u{1f600}x"),
            ),
            (
                "fractions and exponents",
                "[-1.5,1e2,1E-2,0.0]",
                json!([-1.5, 100.0, 0.01, 0.0]),
            ),
            ("a byte order mark", "\u{feff}[1]", json!([1])),
            (
                "the largest integers",
                "[18446744073709551615,-9223372036854775808]",
                json!([u64::MAX, i64::MIN]),
            ),
            (
                "an integer beyond them",
                "18446744073709551616",
                json!(18446744073709551616.0),
            ),
            (
                "numbers beyond all doubles",
                "[1e400,-1e400,1e-400]",
                json!([f64::MAX, f64::MIN, 0.0]),
            ),
        ] {
            assert_eq!(
                read(text.as_bytes(), &Limits::default()),
                Ok(want),
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_not_json_is_malformed_with_its_place() {
        for (name, bytes, want) in [
            ("nothing", &b""[..], "it is empty (line 1, column 1)"),
            ("only space", b" \n ", "it is empty (line 2, column 2)"),
            (
                "a truncated list",
                b"[1,\n2",
                "it ends where `,` or `]` is expected (line 2, column 2)",
            ),
            (
                "a truncated text",
                b"[\"ab",
                "it ends inside a text (line 1, column 5)",
            ),
            (
                "a truncated word",
                b"[tru",
                "it ends where `true` is expected (line 1, column 5)",
            ),
            (
                "a truncated object",
                b"{\"a\"",
                "it ends where `:` is expected (line 1, column 5)",
            ),
            (
                "a word that is none",
                b"[nul]",
                "expected `null` (line 1, column 2)",
            ),
            (
                "a second document",
                b"{} {}",
                "something follows the document (line 1, column 4)",
            ),
            (
                "a comma before the end",
                b"[1,]",
                "expected a value (line 1, column 4)",
            ),
            (
                "a name without quotes",
                b"{a:1}",
                "expected the name of a member in quotes (line 1, column 2)",
            ),
            (
                "a leading zero",
                b"[01]",
                "expected `,` or `]` (line 1, column 3)",
            ),
            ("a plus", b"[+1]", "expected a value (line 1, column 2)"),
            (
                "not a number",
                b"NaN",
                "expected a value (line 1, column 1)",
            ),
            (
                "a point without digits",
                b"1.",
                "it ends where a digit behind the point is expected (line 1, column 3)",
            ),
            (
                "a line break in a text",
                b"\"a\nb\"",
                "a control character stands in a text (line 1, column 3)",
            ),
            (
                "an unknown escape",
                br#""\x""#,
                "expected an escape that JSON has (line 1, column 3)",
            ),
            (
                "half a pair",
                br#""\ud800""#,
                "half a surrogate pair is no character (line 1, column 8)",
            ),
            (
                "bytes that are no UTF-8",
                b"[\"\xff\"]",
                "it is not UTF-8 (line 1, column 3)",
            ),
            (
                "UTF-16",
                b"\xff\xfe[\0]\0",
                "it is not UTF-8 (line 1, column 1)",
            ),
            ("HTML", b"<html>", "expected a value (line 1, column 1)"),
            (
                "a member twice",
                br#"{"a":1,"b":2,"a":3}"#,
                "the member \"a\" stands twice in one object (line 1, column 14)",
            ),
            (
                "a member twice, written otherwise",
                b"{\"a\":1,\"\\u0061\":3}",
                "the member \"a\" stands twice in one object (line 1, column 8)",
            ),
        ] {
            let breach = read(bytes, &Limits::default()).expect_err(name);
            assert_eq!(breach.kind, Kind::Malformed, "{name}");
            assert_eq!(breach.message, format!("is not JSON: {want}"), "{name}");
        }
    }

    #[test]
    fn what_goes_beyond_a_bound_is_too_complex_and_never_built() {
        let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let limits = Limits::default();
        assert!(read(deep(limits.depth_max).as_bytes(), &limits).is_ok());
        let breach = read(deep(limits.depth_max + 1).as_bytes(), &limits).unwrap_err();
        assert_eq!(
            (breach.kind, &*breach.term),
            (Kind::TooComplex, "depth_max")
        );
        // Brackets that are never closed end at the bound, not at the end of the bytes.
        assert_eq!(
            kind_of("[".repeat(4 << 20).as_bytes()),
            Some(Kind::TooComplex)
        );
        assert_eq!(
            kind_of(r#"{"a":"#.repeat(1 << 20).as_bytes()),
            Some(Kind::TooComplex)
        );
        let wide = format!("[{}0]", "0,".repeat(limits.values_max));
        let breach = read(wide.as_bytes(), &limits).unwrap_err();
        assert_eq!(
            (breach.kind, &*breach.term),
            (Kind::TooComplex, "values_max")
        );
        let small = Limits {
            body_bytes_max: 3,
            ..limits
        };
        assert!(read(b"[1]", &small).is_ok());
        let breach = read(b"[1] ", &small).unwrap_err();
        assert_eq!((breach.kind, &*breach.term), (Kind::TooComplex, "body_max"));
    }

    #[test]
    fn a_depth_that_the_config_allows_is_not_bounded_by_the_thread() {
        let limits = Limits {
            depth_max: 1000,
            ..Limits::default()
        };
        let text = format!("{}{}", r#"{"a":["#.repeat(500), "]}".repeat(500));
        assert!(read(text.as_bytes(), &limits).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes, &Limits::default());
        }

        #[test]
        fn text_that_looks_like_json_is_read_as_serde_json_reads_it(text in r#"([\[\]{},: ]|"[a-c\\u0-9]{0,6}"|-?[0-9.eE+-]{1,5}|true|null){0,12}"#) {
            let theirs: Result<Value, _> = serde_json::from_str(&text);
            match (read(text.as_bytes(), &Limits::default()), theirs) {
                (Ok(ours), Ok(theirs)) => prop_assert!(is_close(&ours, &theirs), "{} and {}", ours, theirs),
                (Err(ours), Ok(_)) => prop_assert!(ours.message.contains("twice"), "{}: {}", text, ours),
                (Ok(_), Err(theirs)) => prop_assert!(theirs.to_string().contains("out of range"), "{}", text),
                (Err(_), Err(_)) => {}
            }
        }

        #[test]
        fn whatever_is_written_is_read_back(value in any_json()) {
            let text = serde_json::to_string_pretty(&value).unwrap();
            let got = read(text.as_bytes(), &Limits::default()).unwrap();
            prop_assert!(is_close(&got, &value), "{} and {}", got, value);
        }
    }
}
