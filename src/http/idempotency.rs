//! Idempotency: whether a request names a key by which its receiver knows it again (draft-ietf-httpapi-idempotency-key-header).
//!
//! Pure: a look at fields. What follows from a key (that a POST may be sent once more) is `resilience/retry.rs`.

use http::{HeaderMap, HeaderName};

use super::Request;

/// Whether the receiver of this request can tell that it is a repetition, by the field of this name: it is there, is not empty,
/// and says one thing. Several lines or members that differ are no key, because nobody knows which of them would count.
pub fn has_key(headers: &HeaderMap, name: &HeaderName) -> bool {
    let mut members = headers
        .get_all(name)
        .into_iter()
        .flat_map(|line| members(line.as_bytes()))
        .peekable();
    let Some(first) = members.peek().copied() else {
        return false;
    };
    !is_empty(first) && members.all(|member| member == first)
}

/// The same of a request, where there is such a field at all.
pub fn is_keyed(request: &Request, name: Option<&HeaderName>) -> bool {
    name.is_some_and(|name| has_key(request.headers(), name))
}

/// Nothing, white space, or the empty string of RFC 9651.
fn is_empty(member: &[u8]) -> bool {
    matches!(member.trim_ascii(), b"" | b"\"\"")
}

/// What stands between commas outside quotes (RFC 9110 5.3: several lines are one list), white space around it taken off.
fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    line.split(move |byte| {
        let ends = *byte == b',' && !quoted;
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            _ => {}
        }
        ends
    })
    .map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_key_is_there_and_says_one_thing() {
        for (name, lines, want) in [
            ("no field", &[][..], false),
            ("a string of RFC 9651", &["\"8e03978e\""][..], true),
            (
                "a bare word, as most vendors take it",
                &["8e03978e-40d5"],
                true,
            ),
            ("an empty line", &[""], false),
            ("white space", &["  \t"], false),
            ("an empty string", &["\"\""], false),
            ("the same twice", &["\"a\"", "\"a\""], true),
            ("two that differ", &["\"a\"", "\"b\""], false),
            ("one and an empty one", &["\"a\"", ""], false),
            ("two in one line", &["\"a\", \"b\""], false),
            ("the same twice in one line", &["\"a\",\"a\""], true),
            ("a comma inside a string", &["\"a,b\""], true),
            ("a quote inside a string", &["\"a\\\",b\""], true),
            ("only a comma", &[","], false),
        ] {
            let field = HeaderName::from_static("idempotency-key");
            let headers: HeaderMap = lines
                .iter()
                .map(|line| (field.clone(), HeaderValue::from_static(line)))
                .collect();
            assert_eq!(has_key(&headers, &field), want, "{name}");
        }
    }
}
