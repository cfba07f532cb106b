//! What is said where a program fails, or its answer is not read.

use super::*;

#[test]
fn what_a_program_does_wrong_is_said_in_words() {
    for (text, body, want) in [
        (
            "empty",
            "1",
            "the program gave nothing, and it must give one value",
        ),
        (
            ".[]",
            "[1,2]",
            "the program gave several values, and it must give one",
        ),
        ("., error(\"late\")", "1", "the program failed: late"),
        (
            ".a.b",
            r#"{"a":[1]}"#,
            "the program failed: cannot read \"b\" of an array",
        ),
        (
            ".[0]",
            r#"{"a":1}"#,
            "the program failed: cannot read 0 of an object",
        ),
        (
            ".[]",
            "1",
            "the program failed: cannot iterate over a number (1)",
        ),
        (
            ".a + 1",
            r#"{"a":"x"}"#,
            "the program failed: cannot add a string (\"x\") and a number (1)",
        ),
        (
            "error",
            r#"{"why":"x"}"#,
            r#"the program failed: {"why":"x"}"#,
        ),
        (
            ".a | tonumber",
            r#"{"a":"1,5"}"#,
            "the program failed: cannot read \"1,5\" as a number",
        ),
        (
            "1 / .",
            "0",
            "what the program gave has a number that JSON cannot say (a division by zero?)",
        ),
        (". % 0", "1", "the program failed: cannot divide by zero"),
        (
            "{(.): 1}",
            "1",
            "the program failed: a key must be a string, not 1",
        ),
        (
            "strptime(\"%Q\")",
            "\"x\"",
            "the program failed: %Q, the name of a time zone, does not exist here",
        ),
        ("test(\"(\")", "\"x\"", "the program failed: invalid regex"),
        (
            "test(\"(a{1000}){1000}\")",
            "\"x\"",
            "the program failed: the regular expression is too large",
        ),
        (
            "[splits(\"a\"; \"q\")]",
            "\"x\"",
            "the program failed: invalid regex flag: q",
        ),
    ] {
        let got = run(text, body);
        let Err(breach) = got else {
            panic!("{text}: {got:?}");
        };
        assert_eq!(breach.kind, Kind::Transform, "{text}");
        assert_eq!(&*breach.term, "transform", "{text}");
        assert!(
            breach.message.starts_with(want),
            "{text}: {}",
            breach.message
        );
    }
}

#[test]
fn what_is_not_read_is_a_breach_of_its_own_kind() {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let limits = Limits {
        body_bytes_max: 4000,
        depth_max: 8,
        values_max: 20,
        ..Limits::default()
    };
    for (name, body, want) in [
        ("nothing", String::new(), Some(Kind::Malformed)),
        (
            "half of it",
            r#"{"a":[1,"#.to_owned(),
            Some(Kind::Malformed),
        ),
        (
            "half of a string",
            r#"{"a"#.to_owned(),
            Some(Kind::Malformed),
        ),
        ("a page", "<html></html>".to_owned(), Some(Kind::Malformed)),
        ("two values", "1 2".to_owned(), Some(Kind::Malformed)),
        ("a comma too many", "[1,]".to_owned(), Some(Kind::Malformed)),
        (
            "a number that is none",
            "[NaN]".to_owned(),
            Some(Kind::Malformed),
        ),
        ("a leading zero", "[01]".to_owned(), Some(Kind::Malformed)),
        ("a comment", "[1] # x".to_owned(), Some(Kind::Malformed)),
        (
            "half of a pair",
            r#"["\ud800"]"#.to_owned(),
            Some(Kind::Malformed),
        ),
        (
            "the other half",
            r#"["\udc00"]"#.to_owned(),
            Some(Kind::Malformed),
        ),
        (
            "a control character",
            "[\"a\nb\"]".to_owned(),
            Some(Kind::Malformed),
        ),
        (
            "an escape that is none",
            r#"["\x"]"#.to_owned(),
            Some(Kind::Malformed),
        ),
        (
            "letters that are none",
            r#"["\u12é4"]"#.to_owned(),
            Some(Kind::Malformed),
        ),
        ("as deep as it may be", deep(8), None),
        ("deeper", deep(9), Some(Kind::TooComplex)),
        ("deeper than any stack", deep(1990), Some(Kind::TooComplex)),
        (
            "as many values as there may be",
            format!("[{}1]", "1,".repeat(18)),
            None,
        ),
        (
            "more",
            format!("[{}1]", "1,".repeat(19)),
            Some(Kind::TooComplex),
        ),
        (
            "longer",
            format!("\"{}\"", "x".repeat(4000)),
            Some(Kind::TooComplex),
        ),
        (
            "more digits than a number has",
            "1".repeat(1025),
            Some(Kind::TooComplex),
        ),
    ] {
        let got = program(".").run_with(body.as_bytes(), &limits, GRANT, Arc::new(|| false));
        assert_eq!(got.err().map(|breach| breach.kind), want, "{name}");
    }
    let got = program(".").run_with(b"\"\xff\"", &limits, GRANT, Arc::new(|| false));
    assert_eq!(got.err().map(|breach| breach.kind), Some(Kind::Malformed));
}
