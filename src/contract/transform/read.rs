//! JSON text as values: strict (RFC 8259), bounded, numbers as they are written.

use super::{
    meter, number,
    value::{Array, DEPTH_MAX, Object, Str, Value},
};

/// Why a text is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotRead {
    /// It is not JSON: what was expected, and the byte where it was not.
    Malformed(&'static str, usize),
    /// It goes beyond this bound.
    TooComplex(&'static str),
}

/// How much is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) depth_max: usize,
    pub(super) values_max: usize,
}

/// Reads one value and nothing else.
pub(super) fn read(text: &str, bounds: Bounds) -> Result<Value, NotRead> {
    // A byte order mark is not JSON but may be ignored (RFC 8259 8.1).
    let start = if text.starts_with('\u{feff}') { 3 } else { 0 };
    let mut reader = Reader {
        text,
        at: start,
        depth_left: bounds.depth_max.min(DEPTH_MAX as usize - 1),
        values_left: bounds.values_max,
    };
    let value = reader.value()?;
    reader.space();
    if reader.at < text.len() {
        return Err(NotRead::Malformed("nothing more", reader.at));
    }
    Ok(value)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth_left: usize,
    values_left: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn fail<T>(&self, expected: &'static str) -> Result<T, NotRead> {
        Err(NotRead::Malformed(expected, self.at))
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, NotRead> {
        if !self.text[self.at..].starts_with(word) {
            return self.fail("a value");
        }
        self.at += word.len();
        Ok(value)
    }

    /// Goes as deep as the bounds say.
    fn value(&mut self) -> Result<Value, NotRead> {
        meter::spend(1);
        self.values_left = self
            .values_left
            .checked_sub(1)
            .ok_or(NotRead::TooComplex("values_max"))?;
        self.space();
        match self.peek() {
            Some(b'n') => self.word("null", Value::NULL),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'"') => self.string().map(Value::Str),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'[') => self.inside(Self::array),
            Some(b'{') => self.inside(Self::object),
            _ => self.fail("a value"),
        }
    }

    fn inside(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Value, NotRead>,
    ) -> Result<Value, NotRead> {
        self.depth_left = self
            .depth_left
            .checked_sub(1)
            .ok_or(NotRead::TooComplex("depth_max"))?;
        self.at += 1;
        let value = read(self)?;
        self.depth_left += 1;
        Ok(value)
    }

    /// After a value in a list: true where another follows.
    fn goes_on(&mut self, end: u8, expected: &'static str) -> Result<bool, NotRead> {
        self.space();
        match self.peek() {
            Some(b',') => self.at += 1,
            Some(byte) if byte == end => {
                self.at += 1;
                return Ok(false);
            }
            _ => return self.fail(expected),
        }
        Ok(true)
    }

    fn is_empty(&mut self, end: u8) -> bool {
        self.space();
        let is_empty = self.peek() == Some(end);
        self.at += usize::from(is_empty);
        is_empty
    }

    fn array(&mut self) -> Result<Value, NotRead> {
        let mut array = Array::new();
        if self.is_empty(b']') {
            return Ok(array.into());
        }
        loop {
            array.push(self.value()?);
            if !self.goes_on(b']', "a comma or the end of the array")? {
                return Ok(array.into());
            }
        }
    }

    fn object(&mut self) -> Result<Value, NotRead> {
        let mut object = Object::new();
        if self.is_empty(b'}') {
            return Ok(object.into());
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return self.fail("a member's name");
            }
            let key = self.string()?;
            self.space();
            if self.peek() != Some(b':') {
                return self.fail("a colon");
            }
            self.at += 1;
            let value = self.value()?;
            object.insert(key, value);
            if !self.goes_on(b'}', "a comma or the end of the object")? {
                return Ok(object.into());
            }
        }
    }

    fn number(&mut self) -> Result<Value, NotRead> {
        let Some(len) = number::len_of_json(&self.text.as_bytes()[self.at..]) else {
            return self.fail("a number");
        };
        if len > number::CHARS_MAX {
            return Err(NotRead::TooComplex("the digits of one number"));
        }
        let text = &self.text[self.at..self.at + len];
        self.at += len;
        Ok(Value::Num(number::from_json(text)))
    }

    fn string(&mut self) -> Result<Str, NotRead> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(len) = rest
                .bytes()
                .position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\')
            else {
                self.at = self.text.len();
                return self.fail("the end of a string");
            };
            meter::spend_bytes(len);
            self.at += len;
            let byte = rest.as_bytes()[len];
            if byte == b'"' {
                self.at += 1;
                let plain = &rest[..len];
                return Ok(if text.is_empty() {
                    Str::new(plain)
                } else {
                    text.push_str(plain);
                    Str::new(text)
                });
            }
            text.push_str(&rest[..len]);
            if byte != b'\\' {
                return self.fail("no control character in a string");
            }
            self.at += 1;
            text.push(self.escaped()?);
        }
    }

    /// What follows a backslash.
    fn escaped(&mut self) -> Result<char, NotRead> {
        let byte = self.peek();
        self.at += 1;
        Ok(match byte {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => {
                self.at -= 1;
                return self.fail("an escape");
            }
        })
    }

    fn unicode(&mut self) -> Result<char, NotRead> {
        let first = self.hex()?;
        let code = if (0xD800..0xDC00).contains(&first) {
            if !self.text[self.at..].starts_with("\\u") {
                return self.fail("the second half of a surrogate pair");
            }
            self.at += 2;
            let second = self.hex()?;
            if !(0xDC00..0xE000).contains(&second) {
                return self.fail("the second half of a surrogate pair");
            }
            0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)
        } else {
            first
        };
        match char::from_u32(code) {
            Some(char) => Ok(char),
            None => self.fail("the first half of a surrogate pair"),
        }
    }

    fn hex(&mut self) -> Result<u32, NotRead> {
        let digits = self
            .text
            .get(self.at..self.at + 4)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
            Some(code) => {
                self.at += 4;
                Ok(code)
            }
            None => self.fail("four hexadecimal digits"),
        }
    }
}
