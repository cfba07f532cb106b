//! GraphQL over HTTP: which requests only ask, and which answers are failures though their status says 200.
//!
//! Pure. Nothing of a schema is known here, and a document is split into tokens only as far as it takes to find its
//! operations (GraphQL, section 2.1 and 2.3).
//!
//! # Invariants
//!
//! - In doubt a request is no question: a document that cannot be split, one with any other operation than queries,
//!   content with a member twice, or a document in the target beside the one in the content, which servers disagree about.
//! - In doubt an answer is a failure: one with `errors` is, partial data or not, and so is JSON that cannot be read.

use http::{StatusCode, Uri, header, response::Parts};
use serde_json::Value;

use super::canonical::canonical;
use crate::{
    failure::Cause,
    http::{MediaType, fetch::Judge, uri::normalize_query},
};

/// What tells failures from answers.
pub(super) const JUDGE: Judge = Judge {
    applies: is_judged,
    verdict: |answer| is_failure(answer).then_some(Cause::GraphqlErrors),
};

/// Whether a request with this content only queries.
pub(super) fn only_queries(target: &Uri, media_type: &MediaType, content: &[u8]) -> bool {
    let names = |pair: &str| pair.split('=').next() == Some("query");
    let in_target = target.query().map(normalize_query);
    if in_target.is_some_and(|query| query.split('&').any(names)) {
        return false;
    }
    if media_type.is("application/graphql") {
        return std::str::from_utf8(content).is_ok_and(has_only_queries);
    }
    if !media_type.is_json {
        return false;
    }
    // Without a canonical form two readers may find two documents in it.
    let Some(content) = canonical(content) else {
        return false;
    };
    let asks = |request: &Value| request["query"].as_str().is_some_and(has_only_queries);
    match serde_json::from_slice(&content) {
        Ok(Value::Array(requests)) => !requests.is_empty() && requests.iter().all(asks),
        Ok(request) => asks(&request),
        Err(_) => false,
    }
}

/// Whether every operation of a document is a query, and there is one.
fn has_only_queries(document: &str) -> bool {
    let mut tokens = Tokens(document.strip_prefix('\u{feff}').unwrap_or(document));
    let (mut depth, mut has_operation) = (0usize, false);
    loop {
        match tokens.next_one() {
            Ok(None) => return depth == 0 && has_operation,
            Ok(Some(Token::Opening(bracket))) => {
                // Without a keyword before it a selection is a query; behind one it belongs to that.
                has_operation |= depth == 0 && bracket == '{';
                depth += 1;
            }
            Ok(Some(Token::Closing)) if depth > 0 => depth -= 1,
            // Also where it is a name: `query mutation { a }` is rare enough to be asked about each time.
            Ok(Some(Token::Name("mutation" | "subscription"))) if depth == 0 => return false,
            Ok(Some(Token::Name(_) | Token::Other)) => {}
            Ok(Some(Token::Closing)) | Err(Unreadable) => return false,
        }
    }
}

struct Tokens<'d>(&'d str);

enum Token<'d> {
    Name(&'d str),
    Opening(char),
    Closing,
    Other,
}

struct Unreadable;

impl<'d> Tokens<'d> {
    fn next_one(&mut self) -> Result<Option<Token<'d>>, Unreadable> {
        loop {
            let Some(first) = self.0.chars().next() else {
                return Ok(None);
            };
            let rest = &self.0[first.len_utf8()..];
            match first {
                ' ' | '\t' | '\n' | '\r' | ',' => self.0 = rest,
                '#' => self.0 = rest.find(['\n', '\r']).map_or("", |end| &rest[end..]),
                '"' => {
                    self.0 = after_string(self.0)?;
                    return Ok(Some(Token::Other));
                }
                '{' | '(' | '[' => {
                    self.0 = rest;
                    return Ok(Some(Token::Opening(first)));
                }
                '}' | ')' | ']' => {
                    self.0 = rest;
                    return Ok(Some(Token::Closing));
                }
                'a'..='z' | 'A'..='Z' | '_' => {
                    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    let end = self.0.find(|c| !is_name(c)).unwrap_or(self.0.len());
                    let (name, rest) = self.0.split_at(end);
                    self.0 = rest;
                    return Ok(Some(Token::Name(name)));
                }
                '!' | '$' | '&' | '.' | ':' | '=' | '@' | '|' | '-' | '+' | '0'..='9' => {
                    self.0 = rest;
                    return Ok(Some(Token::Other));
                }
                _ => return Err(Unreadable),
            }
        }
    }
}

/// What comes after the string that `text` begins with.
fn after_string(text: &str) -> Result<&str, Unreadable> {
    if let Some(mut rest) = text.strip_prefix("\"\"\"") {
        loop {
            let end = rest.find("\"\"\"").ok_or(Unreadable)?;
            let is_escaped = rest[..end].ends_with('\\');
            rest = &rest[end + 3..];
            if !is_escaped {
                return Ok(rest);
            }
        }
    }
    let mut chars = text.char_indices().skip(1);
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok(&text[at + 1..]),
            '\\' => _ = chars.next(),
            '\n' | '\r' => return Err(Unreadable),
            _ => {}
        }
    }
    Err(Unreadable)
}

/// Other statuses say themselves what they are, and of some nothing can be said ([`cannot_be_judged`]).
fn is_judged(head: &Parts) -> bool {
    head.status == StatusCode::OK
        && !cannot_be_judged(head)
        && MediaType::of(&head.headers).is_some_and(|media_type| media_type.is_json)
}

/// Whether there is no telling what an answer says: it is a part, or encoded though nobody asked for that. Then it is not
/// stored.
pub(super) fn cannot_be_judged(head: &Parts) -> bool {
    head.status == StatusCode::PARTIAL_CONTENT
        || head.headers.contains_key(header::CONTENT_ENCODING)
}

fn is_failure(answer: &[u8]) -> bool {
    let has_errors = |answer: &Value| match &answer["errors"] {
        Value::Null => false,
        Value::Array(errors) => !errors.is_empty(),
        _ => true,
    };
    match serde_json::from_slice(answer) {
        Ok(Value::Array(answers)) => answers.iter().any(has_errors),
        Ok(answer) => has_errors(&answer),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn media_type(text: &'static str) -> MediaType {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(text));
        MediaType::of(&headers).unwrap()
    }

    #[test]
    fn a_document_asks_if_all_its_operations_are_queries() {
        for (name, document, want) in [
            ("a selection alone", "{ price }", true),
            (
                "a named query",
                "query P($a: Int = 1) @x(y: [1]) { price(a: $a) }",
                true,
            ),
            (
                "fragments and queries",
                "fragment F on P { a } query { ...F } query B { b }",
                true,
            ),
            ("a mutation", "mutation { book }", false),
            (
                "a mutation behind a query",
                "query A { a } mutation B { b }",
                false,
            ),
            ("a subscription", "subscription { a }", false),
            (
                "a mutation behind a byte order mark and a comment",
                "\u{feff}# query\nmutation{b}",
                false,
            ),
            (
                "a comment ends at a carriage return",
                "{a} # x\rmutation { b }",
                false,
            ),
            ("the word in a comment", "# mutation {\n{ a }", true),
            ("the word in a string", r#"{ a(b: "} mutation {") }"#, true),
            (
                "the word behind an escaped quote",
                r#"{ a(b: "\"} mutation {") }"#,
                true,
            ),
            (
                "the word in a block string",
                r#"{ a(b: """ " } mutation { \""" } """) }"#,
                true,
            ),
            (
                "a mutation behind a block string",
                r#"{ a(b: """x\\""") } mutation { b }"#,
                false,
            ),
            ("an empty string", r#"{ a(b: "") } mutation { b }"#, false),
            ("the word as a field", "{ mutation }", true),
            (
                "the word as a name, in doubt",
                "query mutation { a }",
                false,
            ),
            ("a longer word", "query mutations { a }", true),
            ("a fragment alone", "fragment F on P { a }", true),
            ("nothing", " # {a}", false),
            ("an open bracket", "{ a", false),
            ("a closing one too many", "} { a } {", false),
            ("a string over two lines", "{ a(b: \"\n\") }", false),
            ("an open string", "{ a(b: \"", false),
            ("no GraphQL", "{ a; }", false),
        ] {
            assert_eq!(has_only_queries(document), want, "{name}");
        }
    }

    #[test]
    fn content_asks_if_every_document_in_it_does() {
        const JSON: &str = "application/json";
        for (name, target, media, content, want) in [
            (
                "a query",
                "/g",
                JSON,
                r#"{"query":"{a}","variables":{"query":1}}"#,
                true,
            ),
            (
                "a mutation in escapes",
                "/g",
                JSON,
                r#"{"query":"\u006dutation{a}"}"#,
                false,
            ),
            (
                "the operation named is a query, in doubt",
                "/g",
                JSON,
                r#"{"query":"query A{a} mutation B{b}","operationName":"A"}"#,
                false,
            ),
            (
                "a hash alone",
                "/g",
                JSON,
                r#"{"extensions":{"persistedQuery":{}}}"#,
                false,
            ),
            (
                "two documents in one",
                "/g",
                JSON,
                r#"{"query":"mutation{a}","query":"{a}"}"#,
                false,
            ),
            (
                "a batch",
                "/g",
                JSON,
                r#"[{"query":"{a}"},{"query":"{b}"}]"#,
                true,
            ),
            (
                "a batch with a mutation",
                "/g",
                JSON,
                r#"[{"query":"{a}"},{"query":"mutation{b}"}]"#,
                false,
            ),
            ("an empty batch", "/g", JSON, "[]", false),
            ("no JSON", "/g", JSON, "{a}", false),
            (
                "a document",
                "/g",
                "application/graphql; charset=utf-8",
                "{a}",
                true,
            ),
            (
                "a form",
                "/g",
                "multipart/form-data",
                r#"{"query":"{a}"}"#,
                false,
            ),
            (
                "a document in the target too",
                "/g?%71uery=mutation{a}",
                JSON,
                r#"{"query":"{a}"}"#,
                false,
            ),
            (
                "another parameter in the target",
                "/g?queryId=1",
                JSON,
                r#"{"query":"{a}"}"#,
                true,
            ),
        ] {
            let target = target.parse().unwrap();
            let got = only_queries(&target, &media_type(media), content.as_bytes());
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn an_answer_with_errors_is_a_failure() {
        for (name, answer, want) in [
            ("data", r#"{"data":{"errors":[1]}}"#, false),
            ("no errors", r#"{"data":{},"errors":[]}"#, false),
            ("null", r#"{"data":{},"errors":null}"#, false),
            ("errors", r#"{"errors":[{"message":"x"}]}"#, true),
            (
                "errors beside data",
                r#"{"data":{"a":1,"b":null},"errors":[{}]}"#,
                true,
            ),
            ("errors of no known form", r#"{"errors":{"a":1}}"#, true),
            (
                "a batch with one that failed",
                r#"[{"data":{}},{"errors":[{}]}]"#,
                true,
            ),
            ("a batch", r#"[{"data":{}}]"#, false),
            ("no JSON", "<html>", true),
        ] {
            assert_eq!(is_failure(answer.as_bytes()), want, "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_document_makes_the_reader_panic(document in "[{}()\"\\\\# \nmutaion\u{e4},]{0,40}") {
            let _ = has_only_queries(&document);
        }

        #[test]
        fn a_mutation_behind_any_whole_query_is_found(argument in "[{}()\"\\\\#a\n]{0,12}") {
            let document = format!("{{ a(b: {}) }}", serde_json::to_string(&argument).unwrap());
            proptest::prop_assert!(has_only_queries(&document), "{}", document);
            let document = format!("{document} mutation {{ b }}");
            proptest::prop_assert!(!has_only_queries(&document), "{}", document);
        }
    }
}
