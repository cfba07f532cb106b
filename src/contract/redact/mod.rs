//! Redact: what of an answer may be kept for an operator to look at.
//!
//! An answer may be about a person, and may hold what opens doors. What an operator needs is its shape and the values that
//! are wrong. So JSON keeps structure, member names, `true`, `false` and `null`, and the values at the places of violations,
//! cut short; every other value becomes what it was (`"string(12)"`, `"number"`). Anything else is shown as text, with what
//! looks like an address, a number of somebody or a secret masked.
//!
//! Pure. One pass over a bounded beginning, nothing recursive: broken and hostile input included.
//!
//! # Invariants
//!
//! - Of JSON, whole or broken, no text of a string that is not at a place of a violation is kept.
//! - What is kept is bounded, whatever the answer is.
//! - What is kept prints on a terminal: control characters and those that change the direction of text are escaped.

mod json;
mod text;

use std::fmt::Write as _;

/// Bytes of an answer that are looked at; what comes later is not in the sample.
pub(super) const SCANNED_BYTES_MAX: usize = 256 << 10;
/// Characters of a value that is shown.
const VALUE_CHARS_MAX: usize = 64;

/// The answer without what is nobody's business, in at most about `bytes_max` bytes; `places` are JSON Pointers (RFC 6901).
pub(super) fn redact(body: &[u8], is_json: bool, places: &[&str], bytes_max: usize) -> String {
    let scanned = &body[..body.len().min(SCANNED_BYTES_MAX)];
    let start = scanned.strip_prefix(b"\xef\xbb\xbf").unwrap_or(scanned);
    let looks_like_json = matches!(start.trim_ascii_start().first(), Some(b'{' | b'['));
    let looks_like_markup = start.trim_ascii_start().first() == Some(&b'<');
    if looks_like_json || (is_json && !looks_like_markup) {
        json::redact(start, places, bytes_max)
    } else {
        text::redact(start, bytes_max)
    }
}

/// What a vendor or a client wrote, fit for a terminal: cut to this many characters, control characters escaped.
pub(super) fn printable(text: &str, chars_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(4 * chars_max));
    for (at, character) in text.chars().enumerate() {
        if at == chars_max {
            out.push('\u{2026}');
            break;
        }
        push_printable(&mut out, character);
    }
    out
}

fn push_printable(out: &mut String, character: char) {
    let is_direction = matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if character.is_control() || is_direction {
        // Writing to a String has no way to fail.
        let _ = write!(out, "\\u{{{:x}}}", u32::from(character));
    } else {
        out.push(character);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn shown(body: &str, places: &[&str]) -> String {
        redact(body.as_bytes(), true, places, 4096)
    }

    #[test]
    fn json_keeps_its_shape_and_what_is_wrong_and_nothing_else() {
        for (name, body, places, want) in [
            (
                "values are masked, names and literals kept",
                r#"{"sku": "ABC-123", "price": 0, "on": true, "note": null, "tags": ["x", 2.5]}"#,
                &[][..],
                r#"{"sku": "string(7)", "price": "number", "on": true, "note": null, "tags": ["string(1)", "number"]}"#,
            ),
            (
                "the value at the place of a violation is shown",
                r#"{"sku":"ABC-123","price":-1.50}"#,
                &["/price"],
                r#"{"sku": "string(7)", "price": -1.50}"#,
            ),
            (
                "a string that is wrong is shown, cut short",
                r#"{"currency":"USDUSDUSDUSDUSDUSDUSDUSDUSDUSDUSDUSDUSDUSDUSDUSDUSDUSDUSDUSDUSDUSDUSD"}"#,
                &["/currency"],
                "{\"currency\": \"USDUSDUSDUSDUSDUSDUSDUSDUSDUSDUSDUSDUSDUSDUSDUSDUSDUSDUSDUSDUSDU\u{2026}\"}",
            ),
            (
                "of a list the first three and those that are wrong",
                r#"[{"p":1},{"p":2},{"p":3},{"p":4},{"p":5},{"p":0},{"p":7}]"#,
                &["/5/p"],
                r#"[{"p": "number"}, {"p": "number"}, {"p": "number"}, {"p": 0}, "(3 more)"]"#,
            ),
            (
                "names are escaped in pointers",
                r#"{"a/b":{"m~n":1,"x":2}}"#,
                &["/a~1b/m~0n"],
                r#"{"a/b": {"m~n": 1, "x": "number"}}"#,
            ),
            (
                "names that are written with escapes are found",
                r#"{"\u0070rice":0,"s":"\u0041BC"}"#,
                &["/price"],
                r#"{"price": 0, "s": "string(3)"}"#,
            ),
            (
                "what is inside of what is wrong is masked",
                r#"{"owner":{"name":"Ann Other"}}"#,
                &["/owner"],
                r#"{"owner": {"name": "string(9)"}}"#,
            ),
            (
                "cut in a string",
                r#"{"a": 1, "b": "some secr"#,
                &[],
                r#"{"a": "number", "b": "string(9), cut off" (cut off)"#,
            ),
            (
                "cut in a name",
                r#"{"a": 1, "secret na"#,
                &[],
                r#"{"a": "number", "string(9), cut off" (cut off)"#,
            ),
            (
                "what is no name is masked, whatever stands where",
                r#"{"secret", "other" 5 : word}"#,
                &[],
                r#"{"string(6)", "string(5)", "number", "text(4)"}"#,
            ),
            (
                "a document that is one string",
                r#""hello there""#,
                &[],
                r#""string(11)""#,
            ),
            ("ends that fit nothing", "]}[", &[], "] } [ (cut off)"),
            ("nothing", "", &[], "(empty)"),
            (
                "a name that is somebody's address",
                r#"{"ann@example.org": 1, "4111111111111111": 2}"#,
                &[],
                r#"{"name(15)": "number", "name(16)": "number"}"#,
            ),
        ] {
            assert_eq!(shown(body, places), want, "{name}");
        }
    }

    #[test]
    fn text_keeps_what_says_which_page_it_is() {
        for (name, body, want) in [
            (
                "a maintenance page",
                "<!doctype html>\n<title>Maintenance</title>\n  <p>Back at 10:30</p>",
                "<!doctype html> <title>Maintenance</title> <p>Back at 10:30</p>",
            ),
            (
                "addresses and numbers of people",
                "mail ann.other@example.org or call +49 170 1234567, card 4111-1111-1111-1111",
                "mail (email) or call +(digits), card (digits)",
            ),
            (
                "secrets by what stands before them",
                "Authorization: Bearer abc password=\"x1\" token='q' session_id: 77",
                "Authorization: (hidden) (hidden) password=\"(hidden)\" token='(hidden)' session_id: (hidden)",
            ),
            (
                "secrets by how they look",
                "id eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0 and sk_live_51HcabcdefX done",
                "id (token).(token) and (token) done",
            ),
            (
                "control characters",
                "a\x1b[31mb\x07",
                "a\\u{1b}[31mb\\u{7}",
            ),
            (
                "what is no text",
                "\u{0}\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}",
                "(8 bytes that are no text)",
            ),
            ("nothing", " \n ", "(empty)"),
        ] {
            assert_eq!(redact(body.as_bytes(), false, &[], 4096), want, "{name}");
        }
        assert_eq!(
            redact(b"<p>secret@example.org", true, &[], 4096),
            "<p>(email)"
        );
    }

    #[test]
    fn it_is_bounded_whatever_comes_and_what_is_wrong_comes_first() {
        let items: Vec<Value> = (0..5_000)
            .map(|n| json!({"sku": format!("S{n}"), "price": n}))
            .collect();
        let long = json!({"items": items, "more": {"wrong": 0}}).to_string();
        let wide: Value = (0..10_000)
            .map(|n| (format!("name_{n}"), json!(n)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let wide = json!({"a": wide, "wrong": 0}).to_string();
        for (name, body, places) in [
            (
                "a long list",
                long.as_str(),
                &["/items/4000/price", "/more/wrong"][..],
            ),
            ("many members", &wide, &["/wrong"]),
        ] {
            let sample = redact(body.as_bytes(), true, places, 1024);
            assert!(sample.len() <= 1024 + 64, "{name}: {}", sample.len());
            assert!(sample.contains(r#""wrong": 0"#), "{name}: {sample}");
        }
        assert!(redact(long.as_bytes(), true, &["/items/4000/price"], 1024).contains("4000"));
        for body in [
            "[".repeat(1 << 21),
            "{\"a\":".repeat(1 << 18),
            "\"".repeat(1 << 20),
            "<p>".repeat(1 << 20),
        ] {
            let sample = redact(body.as_bytes(), true, &["/0/0/0/0"], 1024);
            assert!(sample.len() <= 1024 + 64, "{}", sample.len());
        }
    }

    /// Documents whose strings and names cannot be taken for each other or for anything of ours.
    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (100_000..999_999i64).prop_map(Value::from),
            "[A-Z\u{e4}\u{1f600}\"\\\\\n]{4,20}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 60, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map("[a-z/~]{1,6}", inner, 0..8).prop_map(|members| {
                    members
                        .into_iter()
                        .collect::<serde_json::Map<_, _>>()
                        .into()
                }),
            ]
        })
    }

    fn strings(document: &Value, found: &mut Vec<String>) {
        match document {
            Value::String(text) => found.push(text.clone()),
            Value::Number(number) => found.push(number.to_string()),
            Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
            Value::Object(members) => members.values().for_each(|member| strings(member, found)),
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn no_value_that_is_not_wrong_is_kept_whole_or_cut_off(document in document(), cut in 0.0..1.0f64, is_json: bool) {
            let mut secrets = Vec::new();
            strings(&document, &mut secrets);
            let body = document.to_string();
            let body = body.as_bytes();
            let start = &body[..(body.len() as f64 * cut) as usize];
            // What is neither an object nor a list and does not say that it is JSON is text like any other.
            prop_assume!(is_json || document.is_array() || document.is_object());
            for sample in [redact(body, is_json, &[], 1 << 20), redact(start, true, &[], 1 << 20)] {
                for secret in &secrets {
                    let escaped = serde_json::to_string(secret).unwrap();
                    prop_assert!(!sample.contains(secret.as_str()), "{sample}");
                    prop_assert!(!sample.contains(escaped.trim_matches('"')), "{sample}");
                }
            }
        }

        #[test]
        fn what_is_wrong_is_shown_however_far_down(document in document(), wrong in 100_000..999_999i64, before in 0..2_000usize) {
            let mut items = vec![document; before.min(50)];
            items.resize(before, Value::Null);
            items.push(json!({"x/y": [1, {"price": wrong}]}));
            let body = json!({"list": items}).to_string();
            let place = format!("/list/{before}/x~1y/1/price");
            let sample = redact(body.as_bytes(), true, &[&place], 4096);
            prop_assert!(sample.contains(&format!("\"price\": {wrong}")), "{sample}");
            prop_assert!(sample.len() <= 4096 + 64);
        }

        #[test]
        fn any_bytes_give_a_bounded_sample_that_prints(body: Vec<u8>, is_json: bool, places: Vec<String>, bytes_max in 0..300usize) {
            let places: Vec<&str> = places.iter().map(String::as_str).collect();
            let sample = redact(&body, is_json, &places, bytes_max);
            prop_assert!(sample.len() <= bytes_max + 64, "{} {sample}", sample.len());
            prop_assert!(!sample.contains(char::is_control));
        }

        #[test]
        fn what_looks_like_json_gives_a_bounded_sample(body in "[\\[\\]{}:,\"\\\\ a1-]{0,200}", place in "(/[a01]){0,3}") {
            let sample = redact(body.as_bytes(), true, &[&place], 200);
            prop_assert!(sample.len() <= 264, "{sample}");
        }
    }
}
