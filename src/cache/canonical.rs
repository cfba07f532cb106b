//! JSON in one form: what two spellings of one value have in common, as bytes to be hashed.
//!
//! Pure. After RFC 8785, which sorts members and drops white space; it departs from that where a reader could tell the
//! spellings apart: numbers and strings stay as they are written (`1.0` is not `1`, `"\u0041"` is not `"A"`).
//!
//! # Invariants
//!
//! - Two texts of one form differ in white space between tokens and in the order of members only.
//! - What readers disagree about has no form: a member named twice in one object, invalid UTF-8, anything that is not
//!   JSON (RFC 8259), nesting deeper than [`DEPTH_MAX`].

use serde::de::IgnoredAny;

/// Deeper nesting than any question needs; also serde_json's own limit.
const DEPTH_MAX: usize = 100;

/// The form of this JSON text; `None` where it has none.
pub(super) fn canonical(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    // From here on the grammar can be relied upon; what follows only moves pieces of it about.
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
    };
    let mut form = String::with_capacity(text.len());
    reader.value(&mut form)?;
    Some(form.into_bytes())
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl<'t> Reader<'t> {
    fn value(&mut self, form: &mut String) -> Option<()> {
        match self.peek()? {
            b'{' => self.nested(|reader| reader.object(form)),
            b'[' => self.nested(|reader| reader.array(form)),
            b'"' => {
                form.push_str(self.string()?);
                Some(())
            }
            _ => {
                form.push_str(self.word());
                Some(())
            }
        }
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        self.at += 1;
        read(self)?;
        self.depth -= 1;
        Some(())
    }

    fn object(&mut self, form: &mut String) -> Option<()> {
        let mut members: Vec<(String, String)> = Vec::new();
        while self.peek()? != b'}' {
            let name = self.string()?;
            self.skip(b':')?;
            let mut member = format!("{name}:");
            self.value(&mut member)?;
            // Compared as readers see it: `"a"` and `"\u0061"` are one name.
            members.push((serde_json::from_str(name).ok()?, member));
            if self.peek()? == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
        members.sort_unstable();
        if members.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return None;
        }
        form.push('{');
        for (nth, (_, member)) in members.iter().enumerate() {
            if nth > 0 {
                form.push(',');
            }
            form.push_str(member);
        }
        form.push('}');
        Some(())
    }

    fn array(&mut self, form: &mut String) -> Option<()> {
        form.push('[');
        while self.peek()? != b']' {
            self.value(form)?;
            if self.peek()? == b',' {
                self.at += 1;
                form.push(',');
            }
        }
        self.at += 1;
        form.push(']');
        Some(())
    }

    /// A string as it is written, quotes included.
    fn string(&mut self) -> Option<&'t str> {
        self.peek()?;
        let bytes = &self.text.as_bytes()[self.at..];
        let mut end = 1;
        loop {
            match bytes.get(end)? {
                b'"' => break,
                b'\\' => end += 2,
                _ => end += 1,
            }
        }
        let string = self.text.get(self.at..=self.at + end)?;
        self.at += end + 1;
        Some(string)
    }

    /// A number, `true`, `false` or `null`, as it is written.
    fn word(&mut self) -> &'t str {
        let rest = &self.text[self.at..];
        let ends = |c: char| matches!(c, ',' | ']' | '}' | ' ' | '\t' | '\n' | '\r');
        let word = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn skip(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at)?, b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn form(text: &str) -> Option<String> {
        canonical(text.as_bytes()).map(|form| String::from_utf8(form).unwrap())
    }

    #[test]
    fn one_value_has_one_form_and_what_is_in_doubt_has_none() {
        for (name, text, want) in [
            ("a scalar", " 1 ", Some("1")),
            (
                "white space between tokens",
                "{ \"a\" :\t[ 1 ,\n2 ] }",
                Some("{\"a\":[1,2]}"),
            ),
            (
                "members are sorted at every depth",
                r#"{"b":{"d":1,"c":2},"a":0}"#,
                Some(r#"{"a":0,"b":{"c":2,"d":1}}"#),
            ),
            ("elements are not", "[2,1]", Some("[2,1]")),
            (
                "white space in strings counts",
                r#"{"q":"{ a }"}"#,
                Some(r#"{"q":"{ a }"}"#),
            ),
            (
                "punctuation in strings is text",
                r#"["],{\"","\\"]"#,
                Some(r#"["],{\"","\\"]"#),
            ),
            (
                "numbers stay as written",
                "[1.0,1,1e0,-0,10000000000000000000001]",
                Some("[1.0,1,1e0,-0,10000000000000000000001]"),
            ),
            (
                "escapes stay as written",
                r#"["\u0041","A","\/"]"#,
                Some(r#"["\u0041","A","\/"]"#),
            ),
            ("empty ones", "[{},[],\"\"]", Some("[{},[],\"\"]")),
            ("a member twice", r#"{"a":1,"a":1}"#, None),
            (
                "a member twice in two spellings",
                r#"{"a":1,"\u0061":2}"#,
                None,
            ),
            (
                "the same name in two objects",
                r#"[{"a":1},{"a":1}]"#,
                Some(r#"[{"a":1},{"a":1}]"#),
            ),
            ("a trailing comma", "[1,]", None),
            ("two values", "1 2", None),
            ("a byte order mark", "\u{feff}1", None),
            ("a lone surrogate in a name", r#"{"\ud800":1}"#, None),
            ("nothing", "", None),
        ] {
            assert_eq!(form(text).as_deref(), want, "{name}");
        }
        assert_eq!(canonical(b"\"\xff\""), None, "invalid UTF-8");
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(form(&deep(DEPTH_MAX)).is_some());
        assert!(form(&deep(DEPTH_MAX + 1)).is_none());
        assert!(form(&deep(100_000)).is_none());
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ a,:{}\"\\\\\u{e4}]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c\"]{0,2}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// The same value with its members the other way round, and white space where it does not count.
    fn respelled(value: &Value, out: &mut String) {
        match value {
            Value::Object(members) => {
                out.push_str("{ ");
                for (nth, (name, member)) in members.iter().rev().enumerate() {
                    out.push_str(if nth > 0 { " ,\n" } else { "" });
                    out.push_str(&serde_json::to_string(name).unwrap());
                    out.push_str(" :\t");
                    respelled(member, out);
                }
                out.push_str(" }");
            }
            Value::Array(elements) => {
                out.push('[');
                for (nth, element) in elements.iter().enumerate() {
                    out.push_str(if nth > 0 { " , " } else { "\r\n" });
                    respelled(element, out);
                }
                out.push(']');
            }
            scalar => out.push_str(&scalar.to_string()),
        }
    }

    proptest! {
        #[test]
        fn order_and_white_space_do_not_count_and_all_else_does(a in any_value(), b in any_value()) {
            let mut other = String::new();
            respelled(&a, &mut other);
            let form_of_a = form(&a.to_string());
            prop_assert!(form_of_a.is_some());
            prop_assert_eq!(&form(&other), &form_of_a);
            prop_assert_eq!(form(&b.to_string()) == form_of_a, a == b);
        }

        #[test]
        fn a_form_is_its_own_form_and_nothing_panics(text in "[\\[\\]{},:\"a\\\\u0 1.e-]{0,24}") {
            if let Some(once) = form(&text) {
                prop_assert_eq!(form(&once), Some(once.clone()));
            }
        }
    }
}
