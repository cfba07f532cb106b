//! Values as JSON text, bounded while they are written.

use super::{meter, number, value::Value};

/// Why a value has no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotWritten {
    /// It would be longer than it may.
    TooLong,
    /// It has a number that JSON cannot say: infinity, or none at all.
    NotANumber,
}

/// The compact text of a value, of `bytes_max` bytes at most.
pub(super) fn compact(value: &Value, bytes_max: usize) -> Result<String, NotWritten> {
    let mut writer = Writer {
        text: String::new(),
        bytes_max,
        is_lenient: false,
    };
    writer.value(value)?;
    Ok(writer.text)
}

/// The beginning of it, whatever it has; whether that is all.
pub(super) fn shown(value: &Value, bytes_max: usize) -> (String, bool) {
    let mut writer = Writer {
        text: String::new(),
        bytes_max,
        is_lenient: true,
    };
    let is_whole = writer.value(value).is_ok();
    (writer.text, is_whole)
}

struct Writer {
    text: String,
    bytes_max: usize,
    /// Numbers that JSON cannot say are `null`, and what is too long is cut.
    is_lenient: bool,
}

impl Writer {
    /// Goes as deep as the value, which is bounded ([`super::value::DEPTH_MAX`]).
    fn value(&mut self, value: &Value) -> Result<(), NotWritten> {
        meter::spend(1);
        match value {
            Value::Null(_) => self.push("null"),
            Value::Bool(true) => self.push("true"),
            Value::Bool(false) => self.push("false"),
            Value::Num(num) => match number::to_json(num) {
                Some(text) => self.push(&text),
                None if self.is_lenient => self.push("null"),
                None => Err(NotWritten::NotANumber),
            },
            Value::Str(text) => self.string(text.as_str()),
            Value::Arr(array) => {
                self.push("[")?;
                for (index, item) in array.items().iter().enumerate() {
                    if index > 0 {
                        self.push(",")?;
                    }
                    self.value(item)?;
                }
                self.push("]")
            }
            Value::Obj(object) => {
                self.push("{")?;
                for (index, (key, value)) in object.members().enumerate() {
                    if index > 0 {
                        self.push(",")?;
                    }
                    self.string(key.as_str())?;
                    self.push(":")?;
                    self.value(value)?;
                }
                self.push("}")
            }
        }
    }

    fn push(&mut self, text: &str) -> Result<(), NotWritten> {
        let room = self.bytes_max - self.text.len();
        if text.len() <= room {
            self.text.push_str(text);
            return Ok(());
        }
        if self.is_lenient {
            self.text.push_str(&text[..text.floor_char_boundary(room)]);
        }
        Err(NotWritten::TooLong)
    }

    fn string(&mut self, text: &str) -> Result<(), NotWritten> {
        meter::spend_bytes(text.len());
        self.push("\"")?;
        let mut rest = text;
        // What must be escaped is ASCII (RFC 8259 7), so it is a boundary.
        while let Some(at) = rest
            .bytes()
            .position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\')
        {
            self.push(&rest[..at])?;
            match rest.as_bytes()[at] {
                b'"' => self.push("\\\"")?,
                b'\\' => self.push("\\\\")?,
                b'\n' => self.push("\\n")?,
                b'\r' => self.push("\\r")?,
                b'\t' => self.push("\\t")?,
                control => self.push(&format!("\\u{control:04x}"))?,
            }
            rest = &rest[at + 1..];
        }
        self.push(rest)?;
        self.push("\"")
    }
}
