//! Takes elements out of a list in a JSON text, or marks them, without touching a byte of anything else.
//!
//! Pure. The text is one that [`super::json::read`] has read, so that ends are found by looking for them; how numbers are
//! written, the order of members, space and escapes stay as the vendor sent them. One that is no JSON gives `None`, never a
//! panic.
//!
//! # Invariants
//!
//! - What comes out is JSON, and says what editing the values would say.
//! - One pass over the text.

use std::ops::Range;

/// What happens to one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// It goes.
    Drop,
    /// An object gets a first member; anything else goes.
    Mark,
}

/// Edits the elements of the list at `place` (reference tokens, unescaped) for which `is_chosen` says so. `mark` is the name
/// of the member that a marked object gets. `None` where there is no such list.
pub fn edit(
    text: &[u8],
    place: &[Box<str>],
    edit: Edit,
    mark: &str,
    is_chosen: impl Fn(usize) -> bool,
) -> Option<Vec<u8>> {
    let list = locate(text, place)?;
    let elements = elements(text, list.clone())?;
    let mut out = Vec::with_capacity(text.len() + 64);
    // Everything before the first element, the bracket included.
    let first = elements.first().map_or(list.end - 1, |it| it.start);
    out.extend_from_slice(text.get(..first)?);
    let mut is_first = true;
    let mut end = first;
    for (index, element) in elements.iter().enumerate() {
        let bytes = text.get(element.clone())?;
        let is_object = bytes.first() == Some(&b'{');
        let is_chosen = is_chosen(index);
        if is_chosen && (edit == Edit::Drop || !is_object) {
            end = element.end;
            continue;
        }
        if !is_first {
            // What stood between it and the one before it: the comma and its space.
            out.extend_from_slice(text.get(end..element.start)?);
        }
        if is_chosen {
            push_marked(&mut out, text, element.clone(), mark)?;
        } else {
            out.extend_from_slice(bytes);
        }
        is_first = false;
        end = element.end;
    }
    out.extend_from_slice(text.get(elements.last().map_or(first, |it| it.end)..)?);
    Some(out)
}

fn push_marked(out: &mut Vec<u8>, text: &[u8], object: Range<usize>, mark: &str) -> Option<()> {
    let (start, end) = (object.start + 1, object.end);
    out.push(b'{');
    // A member of that name would stand twice: it becomes the mark.
    if let Some(value) = member(text, object, mark) {
        out.extend_from_slice(text.get(start..value.start)?);
        out.extend_from_slice(b"true");
        out.extend_from_slice(text.get(value.end..end)?);
        return Some(());
    }
    out.extend_from_slice(serde_json::Value::from(mark).to_string().as_bytes());
    out.extend_from_slice(b":true");
    if text.get(space(text, start)) != Some(&b'}') {
        out.push(b',');
    }
    out.extend_from_slice(text.get(start..end)?);
    Some(())
}

/// Where the value at a place stands.
fn locate(text: &[u8], place: &[Box<str>]) -> Option<Range<usize>> {
    // RFC 8259 8.1: a byte order mark may be there.
    let start = if text.starts_with(b"\xef\xbb\xbf") {
        3
    } else {
        0
    };
    let start = space(text, start);
    let mut at = start..value_end(text, start)?;
    for token in place {
        at = match text.get(at.start)? {
            b'{' => member(text, at, token)?,
            b'[' => elements(text, at)?
                .get(super::field::index(token)?)?
                .clone(),
            _ => return None,
        };
    }
    Some(at)
}

fn member(text: &[u8], object: Range<usize>, name: &str) -> Option<Range<usize>> {
    let mut at = space(text, object.start + 1);
    while text.get(at) == Some(&b'"') {
        let name_end = string_end(text, at)?;
        let written = text.get(at..name_end)?;
        at = space(text, name_end);
        at = space(text, (text.get(at) == Some(&b':')).then_some(at + 1)?);
        let value = at..value_end(text, at)?;
        if is_name(written, name) {
            return Some(value);
        }
        at = space(text, value.end);
        at = space(text, (text.get(at) == Some(&b',')).then_some(at + 1)?);
    }
    None
}

/// Whether a name, as written with its quotes, is this one.
fn is_name(written: &[u8], name: &str) -> bool {
    if !written.contains(&b'\\') {
        return written.get(1..written.len().saturating_sub(1)) == Some(name.as_bytes());
    }
    serde_json::from_slice::<String>(written).is_ok_and(|it| it == name)
}

fn elements(text: &[u8], list: Range<usize>) -> Option<Vec<Range<usize>>> {
    if text.get(list.start) != Some(&b'[') {
        return None;
    }
    let mut elements = Vec::new();
    let mut at = space(text, list.start + 1);
    if text.get(at) == Some(&b']') {
        return Some(elements);
    }
    loop {
        let element = at..value_end(text, at)?;
        at = space(text, element.end);
        elements.push(element);
        match text.get(at)? {
            b',' => at = space(text, at + 1),
            b']' => return Some(elements),
            _ => return None,
        }
    }
}

fn space(text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    from + rest.iter().take_while(|byte| is_space(byte)).count()
}

/// Behind the value that begins at `from`.
fn value_end(text: &[u8], from: usize) -> Option<usize> {
    match text.get(from)? {
        b'"' => string_end(text, from),
        b'[' | b'{' => {
            let (mut at, mut depth) = (from, 0usize);
            loop {
                match text.get(at)? {
                    b'"' => {
                        at = string_end(text, at)?;
                        continue;
                    }
                    b'[' | b'{' => depth += 1,
                    b']' | b'}' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        _ => {
            let rest = text.get(from..)?;
            let is_end =
                |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
            let length = rest.iter().position(is_end).unwrap_or(rest.len());
            (length > 0).then_some(from + length)
        }
    }
}

/// Behind the text whose quote stands at `from`.
fn string_end(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from + 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn edited(text: &str, place: &[&str], how: Edit, chosen: &[usize]) -> Option<String> {
        let place: Vec<Box<str>> = place.iter().map(|token| Box::from(*token)).collect();
        let out = edit(text.as_bytes(), &place, how, "_bad", |index| {
            chosen.contains(&index)
        });
        out.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn everything_else_stays_as_it_was_written() {
        let text = "{ \"a\" : 1.50 , \"items\":[ {\"p\":1e0}, {\"p\":\"]\\\"\"} ,\n 7,{ } ] , \"z\":[1,2]}\n";
        for (how, chosen, want) in [
            (
                Edit::Drop,
                &[][..],
                "[ {\"p\":1e0}, {\"p\":\"]\\\"\"} ,\n 7,{ } ]",
            ),
            (Edit::Drop, &[0], "[ {\"p\":\"]\\\"\"} ,\n 7,{ } ]"),
            (Edit::Drop, &[1], "[ {\"p\":1e0} ,\n 7,{ } ]"),
            (Edit::Drop, &[3], "[ {\"p\":1e0}, {\"p\":\"]\\\"\"} ,\n 7 ]"),
            (Edit::Drop, &[0, 1, 2], "[ { } ]"),
            (Edit::Drop, &[0, 1, 2, 3], "[  ]"),
            (
                Edit::Mark,
                &[0],
                "[ {\"_bad\":true,\"p\":1e0}, {\"p\":\"]\\\"\"} ,\n 7,{ } ]",
            ),
            (
                Edit::Mark,
                &[3],
                "[ {\"p\":1e0}, {\"p\":\"]\\\"\"} ,\n 7,{\"_bad\":true } ]",
            ),
            (Edit::Mark, &[2], "[ {\"p\":1e0}, {\"p\":\"]\\\"\"},{ } ]"),
        ] {
            let got = edited(text, &["items"], how, chosen).unwrap();
            let want = text.replace("[ {\"p\":1e0}, {\"p\":\"]\\\"\"} ,\n 7,{ } ]", want);
            assert_eq!(got, want, "{how:?} {chosen:?}");
        }
    }

    #[test]
    fn the_list_is_found_wherever_it_is() {
        for (text, place, want) in [
            ("[1,2]", &[][..], Some("[2]")),
            ("\u{feff}[1,2]", &[], Some("\u{feff}[2]")),
            (
                "{\"a\":[0,{\"b\":[1,2]}]}",
                &["a", "1", "b"],
                Some("{\"a\":[0,{\"b\":[2]}]}"),
            ),
            ("{\"\\u0061\":[1,2]}", &["a"], Some("{\"\\u0061\":[2]}")),
            (
                "{\"b\":{\"a\":[3]},\"a\":[1,2]}",
                &["a"],
                Some("{\"b\":{\"a\":[3]},\"a\":[2]}"),
            ),
            ("[]", &[], Some("[]")),
            ("{}", &[], None),
            ("{\"a\":1}", &["a"], None),
            ("{\"a\":[1]}", &["b"], None),
            ("[[1]]", &["00"], None),
            ("", &[], None),
            ("[1,2", &[], None),
            ("[\"a", &[], None),
            ("]", &[], None),
        ] {
            assert_eq!(
                edited(text, place, Edit::Drop, &[0]).as_deref(),
                want,
                "{text}"
            );
        }
    }

    #[test]
    fn a_mark_that_is_there_already_stands_once() {
        let text = r#"[{"a":1, "_b\u0061d" : [0], "b":2}]"#;
        let want = r#"[{"a":1, "_b\u0061d" : true, "b":2}]"#;
        assert_eq!(edited(text, &[], Edit::Mark, &[0]).as_deref(), Some(want));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(text in r#"[\[\]{}",:\\ a1]{0,30}"#, index in 0usize..3) {
            let _ = edited(&text, &[], Edit::Drop, &[index]);
            let _ = edited(&text, &["a"], Edit::Mark, &[index]);
        }
    }
}
