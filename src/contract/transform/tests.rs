//! What programs make of answers, and that every one of them ends.

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

/// Programs that do not end, or not before there is no room left.
const ENDLESS: [&str; 45] = [
    "def f: f; f",
    "def f: f, f; f",
    "def f: 1 + f; f",
    "def f: f | f; f",
    "def f: [f]; f",
    "def f: {a: f}; f",
    "def f: f as $x | $x; f",
    "def f($n): f($n + 1); f(0)",
    "def f($n): $n + f($n + 1); f(0)",
    "def f(g): f(g | . + 1); f(.)",
    "def f(g; h): f(g | h; h | g); f(.; .)",
    "def f(g): [f(g | . + 1)]; f(.)",
    "def a: def b: a; b; a",
    "def a(f): def b(g): a(g | f); b(f | f); a(.)",
    "last(range(1e15))",
    "[limit(1e12; repeat(1))]",
    "[limit(1e12; repeat(1))] | length",
    ". as $x | [range(1e9)] | length",
    "[range(1e9)]",
    "reduce range(1e12) as $i (0; . + 1)",
    "last(foreach range(1e12) as $i (0; . + $i; .))",
    "reduce range(60) as $i (\"x\"; . + .)",
    "reduce range(60) as $i ([0]; . + .)",
    "reduce range(60) as $i (0; [., .]) | tojson",
    "reduce range(60) as $i (0; [., .]) | [..] | length",
    "reduce range(60) as $i (0; [., .]) | last(..)",
    "(reduce range(60) as $i (0; [., .])) == (reduce range(60) as $i (0; [., .]))",
    "[(reduce range(60) as $i (0; [., .])), (reduce range(60) as $i (0; [., .]))] | sort",
    "reduce range(60) as $i (0; [., .]) | flatten",
    "reduce range(60) as $i (0; [., .]) | walk(. + 1)",
    "reduce range(60) as $i (0; [., .]) | contains(reduce range(60) as $i (0; [., .]))",
    "reduce range(60) as $i (0; [., .])",
    "reduce range(1e6) as $i (0; [.])",
    "reduce range(1e6) as $i (0; {a: .})",
    "reduce range(1e9) as $i (1; . * 1000000007)",
    "\"x\" * 1e12",
    "null | [limit(1000000; recurse(.[0]))] | last",
    "path(def r: .[0] | r; null | r)",
    "[path(def r: .[0:] | r; r)]",
    "path(last(recurse(.a)))",
    "def r: (.a | r) |= 1; r",
    "until(false; . + 1)",
    "[while(true; . + 1)]",
    "[recurse(. + 1)]",
    ".[1e12] = 1",
];

#[test]
fn every_program_ends_in_bounds() {
    let small = Grant {
        steps: 150_000,
        bytes: 4 << 20,
        contexts: 20_000,
        ..GRANT
    };
    for text in ENDLESS {
        let body = if text.contains("1e12] = 1") {
            "[]"
        } else {
            "null"
        };
        let got = run_with(text, body, small);
        let Err(breach) = got else {
            panic!("{text}: {got:?}");
        };
        assert_eq!(breach.kind, Kind::Transform, "{text}: {breach}");
    }
}

#[test]
fn what_hangs_together_in_a_chain_never_gets_too_long_to_be_dropped() {
    for (text, body, want) in [
        ("def f: 1 + f; f", "1", Stop::Stack),
        ("def f(g): f(g | . + 1); f(.)", "1", Stop::Stack),
        ("def f(g; h): f(g | h; h | g); f(.; .)", "1", Stop::Stack),
        (
            "def a(f): def b(g): a(g | f); b(f | f); a(.)",
            "1",
            Stop::Stack,
        ),
        ("reduce range(1e6) as $i (0; [.])", "1", Stop::Depth),
        ("path(last(recurse(.a)))", "null", Stop::Depth),
        ("[path(def r: .[0:] | r; r)]", "[]", Stop::Depth),
        ("[path(def r: .[0:] | r; r)]", "\"\"", Stop::Depth),
        ("def f: f, f; f", "1", Stop::Memory),
    ] {
        let got = run(text, body).map_err(|breach| breach.message);
        assert_eq!(got, Err(format!("the program {}", want.words())), "{text}");
    }
}

#[test]
fn where_a_program_stops_does_not_depend_on_the_machine() {
    let grant = Grant {
        steps: 100_000,
        ..GRANT
    };
    for (steps, want) in [(1_000, true), (200_000, false)] {
        let grant = Grant { steps, ..grant };
        let got = run_with("reduce range(1000) as $i (0; . + $i)", "null", grant);
        assert_eq!(got.is_err(), want, "{steps}: {got:?}");
    }
}

#[test]
fn time_ends_what_steps_have_not() {
    let limits = Limits::default();
    let grant = Grant {
        steps: u64::MAX / 2,
        ..GRANT
    };
    let looks = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let seen = Arc::clone(&looks);
    // Time is up at the third look at the clock.
    let is_late = Arc::new(move || seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 2);
    let got = program("def f: f; f").run_with(b"1", &limits, grant, is_late);
    assert_eq!(
        got.map_err(|breach| breach.message),
        Err("the program took longer than time_max".to_owned())
    );
    assert_eq!(looks.load(std::sync::atomic::Ordering::Relaxed), 3);
}

#[test]
fn what_a_run_holds_is_given_back() {
    let evaluated = on_own_stack(STACK, || {
        let held = meter::run(GRANT, Arc::new(|| false), || {
            let filter = program("[range(100000)] | map({a: tostring}) | def f: f, f; f");
            let context = Ctx::<Jq>::new(Scope::new(&filter.0.filter.lut), Vars::new([]));
            filter.0.filter.id.run((context, Value::NULL)).count()
        });
        (held, meter::held())
    });
    let Ok((stopped, held)) = evaluated else {
        panic!("{evaluated:?}");
    };
    assert!(stopped.is_err(), "{stopped:?}");
    assert_eq!(held, (0, 0));
}

#[test]
fn what_does_not_compile_says_what_and_where() {
    for (text, offset, message, hint) in [
        (
            ".a | upcase",
            5,
            "there is no function `upcase/0`",
            Some("did you mean `ascii_upcase/0`?"),
        ),
        (
            "map",
            0,
            "there is no function `map/0`",
            Some("`map` takes 1 arguments, not 0"),
        ),
        (
            ".a | frobnicate_it",
            5,
            "there is no function `frobnicate_it/0`",
            None,
        ),
        ("$x", 0, "there is no variable `$x` here", None),
        (
            ".a + $ENV.PATH",
            5,
            "`$ENV` does not exist here: a program sees the answer and nothing else",
            None,
        ),
        (
            "env",
            0,
            "`env` does not exist here: a program sees the answer and nothing else",
            None,
        ),
        (
            ". | input",
            4,
            "`input` does not exist here: a program sees the answer and nothing else",
            None,
        ),
        (
            "[inputs]",
            1,
            "`inputs` does not exist here: a program sees the answer and nothing else",
            None,
        ),
        (
            "now",
            0,
            "`now` does not exist here: a program sees the answer and nothing else",
            None,
        ),
        (
            "halt",
            0,
            "`halt` does not exist here: a program sees the answer and nothing else",
            None,
        ),
        (
            "halt_error(1)",
            0,
            "`halt_error` does not exist here: a program sees the answer and nothing else",
            None,
        ),
        (
            "repl",
            0,
            "`repl` does not exist here: a program sees the answer and nothing else",
            None,
        ),
        (
            "localtime",
            0,
            "`localtime` does not exist here: a program sees the answer and nothing else",
            None,
        ),
        (
            "include \"a\"; .",
            9,
            "a program cannot import or include other files",
            None,
        ),
        (
            ".a | ",
            5,
            "expected a filter, found the end of the program",
            None,
        ),
        (
            "",
            0,
            "expected a filter, found the end of the program",
            None,
        ),
        (".a | (.b", 5, "`(` is never closed", None),
        ("\"abc", 0, "`\"` is never closed", None),
        (".a b", 3, "`b` is not expected here", None),
        (
            "if . then 1",
            11,
            "expected `else` or `end`, found the end of the program",
            None,
        ),
        (".a & .b", 3, "`&` is not jq", None),
        (
            "_larder_call",
            0,
            "names that begin with `_larder_` are taken",
            None,
        ),
        ("break $x", 6, "there is no `label $x` here", None),
    ] {
        let got = Program::compile(text);
        let Err(error) = got else {
            panic!("{text}: it compiles");
        };
        let hint = hint.map(str::to_owned);
        let want = ProgramError {
            offset,
            message: message.to_owned(),
            hint,
        };
        assert_eq!(error, want, "{text}");
    }
}

#[test]
fn what_is_odd_to_compile_neither_panics_nor_overflows() {
    let long = "x".repeat(70_000);
    for text in [
        "(".repeat(50_000),
        "[".repeat(90) + &"]".repeat(90),
        ".|".repeat(4_000) + ".",
        "-".repeat(9_000) + "1",
        "1+".repeat(4_000) + "1",
        "1,".repeat(4_000) + "1",
        "1 as $x | ".repeat(2_000) + "1",
        "def f: ".repeat(2_000),
        "if . then ".repeat(6_000),
        "try ".repeat(16_000),
        "\"\\(".repeat(3_000),
        "reduce . as ".repeat(4_000),
        ".[".repeat(3_000),
        "\"\\ud800\"".to_owned(),
        "\u{0}".to_owned(),
        "é".to_owned(),
        long,
    ] {
        if let Ok(program) = Program::compile(&text) {
            // Whatever it gives: it ends.
            let _ = program.run_with(b"1", &Limits::default(), GRANT, Arc::new(|| false));
        }
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
