//! Where in the text of a JSON document a JSON Pointer leads, for those who have to mend it there.
//!
//! Pure. The text is known to be JSON: what is not leads to its beginning, never to a panic.

use std::ops::Range;

/// The bytes of the value that a JSON Pointer (RFC 6901) leads to; of the last one on the way where there is none.
pub(super) fn locate(text: &str, pointer: &str) -> Range<usize> {
    let bytes = text.as_bytes();
    let mut at = blank(bytes, 0);
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        let below = match bytes.get(at) {
            Some(b'{') => member(text, at, &token),
            Some(b'[') => token
                .parse()
                .ok()
                .and_then(|index| element(bytes, at, index)),
            _ => None,
        };
        match below {
            Some(below) => at = below,
            None => break,
        }
    }
    at..value_end(bytes, at)
}

/// Where the value of a member begins. Of several of one name the last one counts, as it does to who reads the document.
fn member(text: &str, object: usize, name: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut found = None;
    let mut at = blank(bytes, object + 1);
    while bytes.get(at) == Some(&b'"') {
        let end = string_end(bytes, at);
        let key: Option<String> = text
            .get(at..end)
            .and_then(|key| serde_json::from_str(key).ok());
        let value = after(bytes, end, b':')?;
        if key.as_deref() == Some(name) {
            found = Some(value);
        }
        let Some(next) = after(bytes, value_end(bytes, value), b',') else {
            break;
        };
        at = next;
    }
    found
}

fn element(bytes: &[u8], array: usize, index: usize) -> Option<usize> {
    let mut at = blank(bytes, array + 1);
    if bytes.get(at) == Some(&b']') {
        return None;
    }
    for _ in 0..index {
        at = after(bytes, value_end(bytes, at), b',')?;
    }
    Some(at)
}

/// Past white space, this delimiter and white space.
fn after(bytes: &[u8], at: usize, delimiter: u8) -> Option<usize> {
    let at = blank(bytes, at);
    (bytes.get(at) == Some(&delimiter)).then(|| blank(bytes, at + 1))
}

fn blank(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace())
        .count()
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn value_end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(bytes, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            b',' | b':' if depth == 0 => return at,
            byte if depth == 0 && byte.is_ascii_whitespace() => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_pointer_leads_to_the_bytes_of_its_value() {
        let text = r#" { "a" : [ 1, {"b\"": "x,}" } ,[]], "a/b": {"~": null}, "" : true, "e": [], "d": 1, "d": 2 } "#;
        for (name, pointer, want) in [
            ("the whole", "", text.trim()),
            ("a member", "/a", r#"[ 1, {"b\"": "x,}" } ,[]]"#),
            ("an element", "/a/0", "1"),
            ("a name with an escape", "/a/1/b\"", r#""x,}""#),
            ("an empty list", "/a/2", "[]"),
            ("a name with a slash", "/a~1b", r#"{"~": null}"#),
            ("and a tilde", "/a~1b/~0", "null"),
            ("an empty name", "/", "true"),
            ("the last of two", "/d", "2"),
            ("what is not there: what would hold it", "/e/0", "[]"),
            ("beyond the end", "/a/3", r#"[ 1, {"b\"": "x,}" } ,[]]"#),
            ("below a number", "/a/0/x/y", "1"),
            ("no such member", "/z", text.trim()),
        ] {
            assert_eq!(&text[locate(text, pointer)], want, "{name}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a\"\\\\/~{}\\[\\],: é]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a\"\\\\/~b]{0,3}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
        all.push(at.to_owned());
        match value {
            Value::Array(list) => {
                for (index, value) in list.iter().enumerate() {
                    pointers(value, &format!("{at}/{index}"), all);
                }
            }
            Value::Object(members) => {
                for (name, value) in members {
                    let name = name.replace('~', "~0").replace('/', "~1");
                    pointers(value, &format!("{at}/{name}"), all);
                }
            }
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn what_a_pointer_leads_to_reads_as_what_is_there(value in any_json(), pretty in any::<bool>()) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            let mut all = Vec::new();
            pointers(&value, "", &mut all);
            for pointer in all {
                let found: Value = serde_json::from_str(&text[locate(&text, &pointer)]).unwrap();
                prop_assert_eq!(Some(&found), value.pointer(&pointer));
            }
        }

        #[test]
        fn no_text_and_no_pointer_is_too_odd(text in "[\\[\\]{}\",:\\\\ a1é]{0,40}", pointer in "(/[a01~]{0,2}){0,4}") {
            let range = locate(&text, &pointer);
            prop_assert!(range.end <= text.len().max(range.start));
        }
    }
}
