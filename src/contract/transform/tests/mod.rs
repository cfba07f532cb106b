//! What programs make of answers, and that every one of them ends.

mod bounds;
mod compiling;
mod failing;

use super::*;

fn program(text: &str) -> Program {
    Program::compile(text).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

/// Enough for what a mapping does, too little to wait for. Time never runs out.
const GRANT: Grant = Grant {
    steps: 2_000_000,
    bytes: 32 << 20,
    contexts: CONTEXTS_MAX,
    stack: STACK_MAX,
};

fn run_with(text: &str, body: &str, grant: Grant) -> Result<String, Breach> {
    let limits = Limits::default();
    program(text)
        .run_with(body.as_bytes(), &limits, grant, Arc::new(|| false))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn run(text: &str, body: &str) -> Result<String, Breach> {
    run_with(text, body, GRANT)
}

/// What was given, or what was said.
fn said(text: &str, body: &str) -> String {
    run(text, body).unwrap_or_else(|breach| breach.message)
}

#[test]
fn a_mapping_does_what_jq_does() {
    for (name, text, body, want) in [
        (
            "a member is renamed",
            ".price = .cost | del(.cost)",
            r#"{"sku":"a","cost":12.50,"cur":"EUR"}"#,
            r#"{"sku":"a","cur":"EUR","price":12.50}"#,
        ),
        (
            "the others stay in order",
            "del(.b)",
            r#"{"a":1,"b":2,"c":3,"d":4}"#,
            r#"{"a":1,"c":3,"d":4}"#,
        ),
        (
            "numbers stay as they are",
            ".",
            "[12.50,123456789012345678901234567890,1E5,-0,0.10]",
            "[12.50,123456789012345678901234567890,1E5,-0,0.10]",
        ),
        (
            "numbers keep their text where the rest is rebuilt",
            "{a: .b[0], c: [.b[] | select(. > 1)]}",
            r#"{"b":[1.50,0.20,2.0]}"#,
            r#"{"a":1.50,"c":[1.50,2.0]}"#,
        ),
        (
            "cents become euros",
            ".price = .cents / 100 | del(.cents)",
            r#"{"cents":1250}"#,
            r#"{"price":12.5}"#,
        ),
        (
            "whole euros have no fraction",
            ".cents / 100",
            r#"{"cents":1200}"#,
            "12",
        ),
        (
            "text becomes a number",
            ".price |= tonumber",
            r#"{"price":"12.50"}"#,
            r#"{"price":12.50}"#,
        ),
        (
            "lists of records",
            ".items |= map({sku: .id, price: .cost})",
            r#"{"items":[{"id":"a","cost":1},{"id":"b","cost":2}]}"#,
            r#"{"items":[{"sku":"a","price":1},{"sku":"b","price":2}]}"#,
        ),
        (
            "what is nested is flattened",
            "{sku, price: .offer.price.amount}",
            r#"{"sku":"a","offer":{"price":{"amount":5}}}"#,
            r#"{"sku":"a","price":5}"#,
        ),
        (
            "lists are flattened",
            "flatten",
            "[1,[2,[3,[]]],4]",
            "[1,2,3,4]",
        ),
        (
            "strings keep what they say",
            ".",
            r#"{"a":"\u00e9\u0000\"\\\/\ud83d\ude00\u007f"}"#,
            "{\"a\":\"é\\u0000\\\"\\\\/😀\u{7f}\"}",
        ),
        (
            "a key twice is one",
            ".",
            r#"{"a":1,"b":2,"a":3}"#,
            r#"{"a":3,"b":2}"#,
        ),
        ("white space goes", ".", " [ 1 , 2 ]\r\n", "[1,2]"),
        ("a mark at the beginning goes", ".", "\u{feff}[1]", "[1]"),
        ("what is missing is null", ".a.b[0].c", "{}", "null"),
        (
            "what is missing is made",
            ".a.b[2] = 1",
            "{}",
            r#"{"a":{"b":[null,null,1]}}"#,
        ),
        ("alternatives", ".a // \"x\"", r#"{"a":null}"#, r#""x""#),
        (
            "conditions",
            "if .n > 1 then \"many\" elif .n == 1 then \"one\" else \"none\" end",
            r#"{"n":1}"#,
            r#""one""#,
        ),
        (
            "errors are caught",
            "try error(\"no\") catch .",
            "1",
            r#""no""#,
        ),
        (
            "a failed path is nothing",
            "[.[] | .a?]",
            r#"[{"a":1},2,{"a":3}]"#,
            "[1,3]",
        ),
        ("folds", "reduce .[] as $x (0; . + $x)", "[1,2,3]", "6"),
        (
            "foreach",
            "[foreach .[] as $x (0; . + $x)]",
            "[1,2,3]",
            "[1,3,6]",
        ),
        (
            "variables and patterns",
            ". as {a: $x, b: [$y]} | $x + $y",
            r#"{"a":1,"b":[2]}"#,
            "3",
        ),
        (
            "text in text",
            "\"\\(.a): \\(.b)\"",
            r#"{"a":"x","b":[1]}"#,
            r#""x: [1]""#,
        ),
        (
            "members as a list and back",
            "with_entries(.key |= ascii_upcase)",
            r#"{"a":1,"b":2}"#,
            r#"{"A":1,"B":2}"#,
        ),
        (
            "entries by other names",
            "from_entries",
            r#"[{"name":"a","value":1},{"k":2,"v":3}]"#,
            r#"{"a":1,"2":3}"#,
        ),
        (
            "groups",
            "group_by(.a) | map(length)",
            r#"[{"a":1},{"a":2},{"a":1}]"#,
            "[2,1]",
        ),
        (
            "order",
            "sort",
            r#"[{"a":1},[1],"a",2,true,false,null]"#,
            r#"[null,false,true,2,"a",[1],{"a":1}]"#,
        ),
        (
            "order by several",
            "sort_by(.a, .b) | map(.b)",
            r#"[{"a":2,"b":1},{"a":1,"b":2},{"a":1,"b":1}]"#,
            "[1,2,1]",
        ),
        ("unique", "unique", "[2,1,2.0,1]", "[1,2]"),
        ("least and most", "[min, max]", "[3,1,2]", "[1,3]"),
        (
            "walk",
            "walk(if type == \"number\" then . + 1 else . end)",
            r#"{"a":[1,{"b":2}]}"#,
            r#"{"a":[2,{"b":3}]}"#,
        ),
        ("paths", "[paths]", r#"{"a":[1]}"#, r#"[["a"],["a",0]]"#),
        (
            "getpath and setpath",
            "setpath([\"a\",\"b\"]; getpath([\"x\",0]))",
            r#"{"x":[5]}"#,
            r#"{"x":[5],"a":{"b":5}}"#,
        ),
        (
            "delpaths",
            "delpaths([[\"a\"],[\"b\",0]])",
            r#"{"a":1,"b":[1,2]}"#,
            r#"{"b":[2]}"#,
        ),
        (
            "to_entries",
            "to_entries",
            r#"{"a":1}"#,
            r#"[{"key":"a","value":1}]"#,
        ),
        (
            "regular expressions",
            "[.[] | select(test(\"^a+$\"))]",
            r#"["a","aa","b"]"#,
            r#"["a","aa"]"#,
        ),
        (
            "captures",
            "capture(\"(?<y>[0-9]{4})-(?<m>[0-9]{2})\")",
            r#""2026-11""#,
            r#"{"y":"2026","m":"11"}"#,
        ),
        (
            "substitution",
            "gsub(\"[, ]\"; \"\") | tonumber",
            r#""1,234 567""#,
            "1234567",
        ),
        (
            "split and join",
            "split(\",\") | join(\"-\")",
            r#""a,b,c""#,
            r#""a-b-c""#,
        ),
        (
            "join takes what is missing as empty",
            "join(\",\")",
            "[1,null,\"a\",true]",
            r#""1,,a,true""#,
        ),
        ("dates", "todate", "1700000000", r#""2023-11-14T22:13:20Z""#),
        (
            "dates back",
            "fromdate",
            r#""2023-11-14T22:13:20Z""#,
            "1700000000",
        ),
        (
            "dates in other forms",
            "strptime(\"%d.%m.%Y\") | mktime | todate",
            r#""14.11.2023""#,
            r#""2023-11-14T00:00:00Z""#,
        ),
        ("base64", "@base64d", r#""aGk=""#, r#""hi""#),
        (
            "JSON in text",
            ".a | fromjson",
            r#"{"a":"{\"b\":[1.50]}"}"#,
            r#"{"b":[1.50]}"#,
        ),
        (
            "text of JSON",
            "tojson",
            r#"{"b":[1.50]}"#,
            r#""{\"b\":[1.50]}""#,
        ),
        ("rounding", "[.[] | round, floor, ceil]", "[1.5]", "[2,1,2]"),
        (
            "long division",
            "[10 / 4, 10 % 4, 7 * 3]",
            "null",
            "[2.5,2,21]",
        ),
        (
            "slices",
            "[.[1:], .[:-1], .[1:2]]",
            "[1,2,3]",
            "[[2,3],[1,2],[2]]",
        ),
        (
            "slices of text count letters",
            ".[1:3]",
            r#""äöü""#,
            r#""öü""#,
        ),
        (
            "slices are replaced",
            ".[1:2] = [7,8]",
            "[1,2,3]",
            "[1,7,8,3]",
        ),
        (
            "objects are merged",
            ". * {a: {c: 2}}",
            r#"{"a":{"b":1}}"#,
            r#"{"a":{"b":1,"c":2}}"#,
        ),
        (
            "limit, first, until",
            "[limit(3; range(10))], first(range(5; 9)), (1 | until(. > 100; . * 2)) | tojson",
            "null",
            "the program gave several values, and it must give one",
        ),
        (
            "any and all",
            "[any(. > 2), all(. > 0)]",
            "[1,2,3]",
            "[true,true]",
        ),
        (
            "indices",
            "[indices(1), index(\"b\")?]",
            "[0,1,1]",
            "[[1,2],null]",
        ),
        (
            "has, in, inside, contains",
            "[has(\"a\"), contains({a: \"b\"}), (\"a\" | in({a: 1}))]",
            r#"{"a":"abc"}"#,
            "[true,true,true]",
        ),
        (
            "length",
            "map(length)",
            r#"[[1],{"a":1},"äb",null,-5]"#,
            "[1,1,2,0,5]",
        ),
        (
            "functions of its own",
            "def f(g): [.[] | g]; def twice: . * 2; f(twice)",
            "[1,2]",
            "[2,4]",
        ),
        (
            "functions that call themselves",
            "def fac: if . <= 1 then 1 else . * (. - 1 | fac) end; fac",
            "10",
            "3628800",
        ),
        (
            "functions that take filters and call themselves",
            "def w(f): if type == \"array\" then map(w(f)) else f end; w(. + 1)",
            "[1,[2,[3]]]",
            "[2,[3,[4]]]",
        ),
        (
            "changes through a function",
            "def p: .a.b; p |= . + 1",
            r#"{"a":{"b":1}}"#,
            r#"{"a":{"b":2}}"#,
        ),
        (
            "changes through a function that calls itself",
            "def w(f): f, (.[]? | w(f)); [path(w(.))] | length",
            r#"{"a":{"b":1}}"#,
            "3",
        ),
        (
            "labels",
            "[label $out | .[] | if . > 2 then break $out else . end]",
            "[1,2,3,1]",
            "[1,2]",
        ),
        (
            "env is not needed for names",
            ".env, .now | select(. != null)",
            r#"{"now":1}"#,
            "1",
        ),
        (
            "debug does nothing",
            ".a | debug | debug(\"x\") | stderr",
            r#"{"a":1}"#,
            "1",
        ),
        (
            "sums of text",
            "reduce range(1000) as $i (\"\"; . + \"ab\") | length",
            "null",
            "2000",
        ),
    ] {
        assert_eq!(said(text, body), want, "{name}");
    }
}

#[test]
fn json_is_read_as_others_read_it_and_means_the_same_afterwards() {
    let known = |text: &str| serde_json::from_str::<serde_json::Value>(text);
    let same = program(".");
    proptest::proptest!(|(text in r#"[\[\]{}",:0-9a-ntrue\\ .E+-]{0,30}|[\[\],01 ]{0,20}|"(\\u[0-9d][89a-f][0-9]{2}|[a-z]|\\["n/]){0,6}"|\PC{0,20}"#)| {
        let got = same.run_with(text.as_bytes(), &Limits::default(), GRANT, Arc::new(|| false));
        match (known(&text), got) {
            (Ok(want), Ok(got)) => {
                let got = std::str::from_utf8(&got).map(|got| known(got).ok());
                proptest::prop_assert_eq!(got, Ok(Some(want)));
            }
            (Ok(_), Err(breach)) => proptest::prop_assert!(false, "{}: {}", text, breach),
            // Floating point has no room for it; here it stays text.
            (Err(error), Ok(_)) => proptest::prop_assert!(error.to_string().contains("out of range"), "{}", text),
            (Err(_), Err(_)) => {}
        }
    });
}

#[test]
fn what_a_program_gives_is_the_same_each_time() {
    let body = r#"{"z":1,"a":{"y":[1,2,{"q":1,"b":2}]},"m":[3,1,2]}"#;
    let text = "with_entries(.value |= tojson) + {keys: keys, all: [.. | numbers]}";
    let first = said(text, body);
    assert!(first.starts_with(r#"{"z":"1","a":"#), "{first}");
    for _ in 0..20 {
        assert_eq!(said(text, body), first);
    }
}

#[test]
fn a_program_is_the_same_by_its_text() {
    let (one, same, other) = (program(".a"), program(".a"), program(".b"));
    assert_eq!(one, same);
    assert_eq!(one.fingerprint(), same.fingerprint());
    assert_ne!(one, other);
    assert_ne!(one.fingerprint(), other.fingerprint());
    // Written into entity tags that outlive the process: it must not change from one release to the next.
    assert_eq!(one.fingerprint(), 9_320_619_010_580_802_535);
}
