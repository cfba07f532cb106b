use std::collections::HashMap;

use serde_json::json;

use super::*;

fn nothing(path: &str) -> Result<Vec<u8>, String> {
    Err(format!("no file {path}"))
}

fn schema(document: Value) -> Schema {
    Schema::of(document, "", &nothing).unwrap()
}

fn check(schema: &Schema, answer: &Value) -> Result<Vec<Violation>, Breach> {
    let effort = Effort::of_steps(1 << 20, &|| false);
    let mut violations = Vec::new();
    schema.check(answer, &effort, 10, &mut violations)?;
    Ok(violations)
}

#[test]
fn what_does_not_fit_is_named_by_place_and_by_keyword() {
    let schema = schema(json!({
        "type": "object",
        "required": ["price"],
        "properties": {
            "price": {"$ref": "#/$defs/money"},
            "state": {"enum": ["on", "off"]},
            "day": {"format": "date"},
            "items": {"items": {"properties": {"sku": {"pattern": "^[A-Z]{2}\\d+$"}}}},
            "either": {"anyOf": [{"type": "string"}, {"properties": {"a": {"type": "number"}}, "type": "object"}]}
        },
        "propertyNames": {"maxLength": 10},
        "$defs": {"money": {"type": "number", "minimum": 0.01}}
    }));
    for (name, answer, want) in [
        ("it fits", json!({"price": 1}), &[][..]),
        (
            "a price of zero",
            json!({"price": 0}),
            &[(
                "schema /$defs/money/minimum",
                "/price",
                "`/price`: 0 is less than the minimum of 0.01",
            )],
        ),
        (
            "a missing field",
            json!({}),
            &[("schema /required", "", "the document: \"price\" is missing")],
        ),
        (
            "another type",
            json!([]),
            &[(
                "schema /type",
                "",
                "the document: [] is not of type \"object\"",
            )],
        ),
        (
            "an unknown word",
            json!({"price": 1, "state": "of"}),
            &[(
                "schema /properties/state/enum",
                "/state",
                "`/state`: \"of\" is not one of \"on\" or \"off\"",
            )],
        ),
        (
            "a format is checked",
            json!({"price": 1, "day": "2026-02-30"}),
            &[(
                "schema /properties/day/format",
                "/day",
                "`/day`: \"2026-02-30\" is not a \"date\"",
            )],
        ),
        (
            "an element of a list: the term has no index",
            json!({"price": 1, "items": [{"sku": "AB1"}, {"sku": "x"}]}),
            &[(
                "schema /properties/items/items/properties/sku/pattern",
                "/items/1/sku",
                "`/items/1/sku`: \"x\" does not match \"^[A-Z]{2}\\d+$\"",
            )],
        ),
        (
            "the branch that got furthest",
            json!({"price": 1, "either": {"a": "b"}}),
            &[(
                "schema /properties/either/anyOf",
                "/either",
                "`/either`: {\"a\":\"b\"} fits none of the schemas of `anyOf`; nearest: at `/either/a`, it is not of type \"number\"",
            )],
        ),
        (
            "the name of a member",
            json!({"price": 1, "muchtoolong": 1}),
            &[(
                "schema /propertyNames/maxLength",
                "",
                "the document: the name of a member does not fit: it is longer than 10 characters",
            )],
        ),
    ] {
        let got = check(&schema, &answer).unwrap();
        let got: Vec<_> = got
            .iter()
            .map(|v| (&*v.term, &*v.place, &*v.message))
            .collect();
        assert_eq!(got, want, "{name}");
    }
}

#[test]
fn the_draft_is_2020_12_unless_the_document_says_otherwise() {
    let tuple = |schema: Option<&str>| {
        let mut document = json!({"prefixItems": [{"type": "string"}]});
        if let Some(schema) = schema {
            document["$schema"] = json!(schema);
        }
        check(&self::schema(document), &json!([1])).unwrap().len()
    };
    assert_eq!(tuple(None), 1);
    assert_eq!(
        tuple(Some("https://json-schema.org/draft/2020-12/schema")),
        1
    );
    assert_eq!(
        tuple(Some("http://json-schema.org/draft-07/schema#")),
        0,
        "draft 7 has no `prefixItems`"
    );
}

#[test]
fn what_is_no_schema_is_refused_where_it_stands() {
    for (name, text, want_at, want) in [
        (
            "no JSON",
            "{\n  \"type\": ,\n}",
            "0,",
            "is not JSON: expected value",
        ),
        (
            "cut off",
            "{\"type\": \"object\"",
            "\"",
            "is not JSON: EOF while parsing an object",
        ),
        ("a number", "7", "7", "a schema is an object"),
        (
            "an unknown type",
            r#"{"properties": {"a": {"type": "strin"}}}"#,
            "\"strin\"",
            "is no JSON Schema: \"strin\" fits none",
        ),
        (
            "a bound that is text",
            r#"{"minimum": "1"}"#,
            "\"1\"",
            "is not of type \"number\"",
        ),
        (
            "a broken pattern",
            r#"{"items": {"pattern": "a("}}"#,
            "\"a(\"",
            "is not a \"regex\"",
        ),
        (
            "a reference to nowhere",
            r##"{"items": {"$ref": "#/$defs/x"}}"##,
            "\"#/$defs/x\"",
            "refers to `#/$defs/x`, and there is no such place",
        ),
        (
            "an anchor that is not there",
            r##"{"$ref": "#x"}"##,
            "\"#x\"",
            "no such `$anchor`",
        ),
        (
            "a reference to the network",
            r#"{"a": 1, "$ref": "https://vendor.example/money.json#/a"}"#,
            "\"https://vendor.example/money.json#/a\"",
            "refers to https://vendor.example/money.json, and nothing is fetched",
        ),
        (
            "a file that is not there",
            r#"{"$ref": "money.json"}"#,
            "\"money.json\"",
            "refers to contracts/money.json, which cannot be read: no file contracts/money.json",
        ),
        (
            "an unknown draft",
            r#"{"$schema": "https://vendor.example/meta"}"#,
            "\"https://vendor.example/meta\"",
            "vendor.example/meta",
        ),
    ] {
        let error = Schema::compile(text, "contracts/price.json", &nothing).unwrap_err();
        assert!(error.message.contains(want), "{name}: {error}");
        assert_eq!(error.file, "", "{name}");
        let shown = text.get(error.span(text)).unwrap_or_default();
        if want_at == "0," {
            assert_eq!(&text[error.span(text)], ",", "{name}");
        } else {
            assert_eq!(shown, want_at, "{name}");
        }
    }
}

#[test]
fn files_beside_it_are_part_of_it() {
    let files: HashMap<&str, &str> = HashMap::from([
        (
            "contracts/money.json",
            r##"{"$defs": {"amount": {"type": "number", "minimum": 1}, "both": {"$ref": "../common/all.json#/$defs/b"}}}"##,
        ),
        (
            "common/all.json",
            r##"{"$defs": {"b": {"type": "boolean"}}}"##,
        ),
        ("contracts/broken.json", "{\"a\": \n  tru}"),
        (
            "contracts/wrong.json",
            r##"{"$defs": {"x": {"type": "nothing"}}}"##,
        ),
        ("contracts/a folder/x.json", "{\"const\": 1}"),
        (
            "contracts/far.json",
            r##"{"items": {"$ref": "gone.json"}}"##,
        ),
    ]);
    let read = |path: &str| match files.get(path) {
        Some(text) => Ok(text.as_bytes().to_vec()),
        None => Err("no such file".to_owned()),
    };
    let compile = |text: &str| Schema::compile(text, "contracts/price.json", &read);
    for (name, text, answer, fits) in [
        (
            "a part of a file",
            r##"{"$ref": "money.json#/$defs/amount"}"##,
            json!(0),
            false,
        ),
        (
            "a good one",
            r##"{"$ref": "./money.json#/$defs/amount"}"##,
            json!(2),
            true,
        ),
        (
            "a file that refers to another",
            r##"{"$ref": "money.json#/$defs/both"}"##,
            json!(2),
            false,
        ),
        (
            "a path with a space",
            r##"{"$ref": "a%20folder/x.json"}"##,
            json!(1),
            true,
        ),
        (
            "beside its vendor's name",
            r##"{"$id": "https://vendor.example/s/price.json", "$ref": "money.json#/$defs/amount"}"##,
            json!(0),
            false,
        ),
        (
            "by its vendor's name",
            r##"{"$id": "https://vendor.example/s/price.json", "$ref": "https://vendor.example/s/money.json#/$defs/amount"}"##,
            json!(0),
            false,
        ),
        (
            "its own parts, by name",
            r##"{"$id": "https://vendor.example/s/price.json", "$ref": "price.json#/$defs/a", "$defs": {"a": {"const": 1}}}"##,
            json!(0),
            false,
        ),
    ] {
        let schema = compile(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(check(&schema, &answer).unwrap().is_empty(), fits, "{name}");
    }
    for (name, text, file, want_at, want) in [
        (
            "no JSON",
            r##"{"$ref": "broken.json"}"##,
            "contracts/broken.json",
            "}",
            "is not JSON",
        ),
        (
            "no schema",
            r##"{"$ref": "wrong.json"}"##,
            "contracts/wrong.json",
            "\"nothing\"",
            "is no JSON Schema",
        ),
        (
            "a file that refers to nothing",
            r##"{"$ref": "far.json"}"##,
            "contracts/far.json",
            "\"gone.json\"",
            "refers to contracts/gone.json",
        ),
        (
            "a way out",
            r##"{"$ref": "%2e%2e/%2e%2e/x.json"}"##,
            "",
            "",
            "refers to",
        ),
    ] {
        let error = compile(text).unwrap_err();
        assert!(error.message.contains(want), "{name}: {error}");
        assert_eq!(error.file, file, "{name}");
        if !file.is_empty() {
            assert_eq!(&error.text[error.span(&error.text)], want_at, "{name}");
        }
    }
}

#[test]
fn schemas_are_equal_where_they_say_the_same() {
    let one = schema(json!({"type": "object"}));
    assert_eq!(one, schema(json!({"type": "object"})));
    assert_ne!(one, schema(json!({"type": "array"})));
    assert_eq!(one.clone(), one);
}

/// `depth` definitions, each of which asks for the next one twice.
fn doubling(depth: usize, keyword: &str) -> Schema {
    let mut definitions = serde_json::Map::new();
    for at in 0..depth {
        let next = json!({"$ref": format!("#/$defs/d{}", at + 1)});
        definitions.insert(format!("d{at}"), json!({keyword: [next, next]}));
    }
    definitions.insert(format!("d{depth}"), json!({"type": "string"}));
    schema(json!({"$defs": definitions, "$ref": "#/$defs/d0"}))
}

#[test]
fn no_schema_and_no_answer_stall() {
    let tree = schema(json!({
        "$defs": {"node": {"anyOf": [
            {"type": "object", "properties": {"l": {"$ref": "#/$defs/node"}, "r": {"$ref": "#/$defs/node"}}, "required": ["l"]},
            {"type": "object", "properties": {"l": {"$ref": "#/$defs/node"}, "r": {"$ref": "#/$defs/node"}}, "required": ["r"]},
            {"type": "string"}
        ]}},
        "$ref": "#/$defs/node"
    }));
    let mut deep = json!(0);
    for _ in 0..60 {
        deep = json!({"l": deep, "r": "x"});
    }
    let wide = Value::Array((0..100_000).map(|n| json!({"n": n})).collect());
    for (name, schema, answer) in [
        ("doubling by allOf", doubling(60, "allOf"), json!("x")),
        ("doubling by anyOf", doubling(60, "anyOf"), json!(1)),
        ("doubling by oneOf", doubling(60, "oneOf"), json!(1)),
        ("branches that are all looked into", tree, deep),
        (
            "a long list that has to be unique",
            schema(json!({"uniqueItems": true, "items": {"uniqueItems": true}})),
            wide,
        ),
        (
            "a pattern that backtracks",
            schema(json!({"pattern": "^(?=(a+)+$)(a|aa)+$"})),
            json!(format!("{}b", "a".repeat(10_000))),
        ),
        (
            "a long text for a pattern",
            schema(json!({"pattern": "^(a|b|ab)*c$"})),
            json!("ab".repeat(1 << 20)),
        ),
    ] {
        let effort = Effort::of_steps(1 << 20, &|| false);
        let mut violations = Vec::new();
        let result = schema.check(&answer, &effort, 10, &mut violations);
        assert!(effort.spent() <= 1 << 20, "{name}");
        if let Err(breach) = result {
            assert_eq!(breach.kind, Kind::TooComplex, "{name}: {breach}");
        }
    }
}

#[test]
fn time_ends_it_too() {
    let schema = doubling(60, "allOf");
    let effort = Effort::of_steps(u64::MAX, &|| true);
    let breach = schema
        .check(&json!("x"), &effort, 10, &mut Vec::new())
        .unwrap_err();
    assert_eq!((breach.kind, &*breach.term), (Kind::TooComplex, "time_max"));
}

#[test]
fn what_is_found_is_bounded_and_so_is_what_is_told() {
    let schema = schema(json!({"items": {"required": ["price"]}}));
    let list = |length: usize| Value::Array(vec![json!({}); length]);
    assert_eq!(check(&schema, &list(1000)).unwrap().len(), 10);

    let mut seen = 0;
    let effort = Effort::of_steps(1 << 20, &|| false);
    let mut see = |_: &Misfit<'_>| seen += 1;
    schema.check_each(&list(1000), &effort, &mut see).unwrap();
    assert_eq!(seen, 1000);

    let effort = Effort::of_steps(1 << 30, &|| false);
    let breach = schema
        .check(&list(60_000), &effort, 10, &mut Vec::new())
        .unwrap_err();
    assert_eq!(
        (breach.kind, &*breach.term),
        (Kind::Schema, "schema /items/required")
    );
    assert_eq!(breach.violations.len(), 1);
    assert_eq!(
        breach.message,
        "more than 50000 values do not fit the schema, as `/0`: \"price\" is missing"
    );
}

/// On a thread as small as those that judge.
fn on_a_small_stack<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    thread.spawn(run).unwrap().join().unwrap()
}

fn nested(depth: usize, inner: Value, wrap: impl Fn(Value) -> Value) -> Value {
    (0..depth).fold(inner, |inner, _| wrap(inner))
}

#[test]
fn as_deep_as_an_answer_is_by_default_fits_on_a_small_stack() {
    let schema = schema(json!({
        "$defs": {"n": {"items": {"$ref": "#/$defs/n"}, "type": ["array", "null"]}},
        "$ref": "#/$defs/n"
    }));
    let checked = on_a_small_stack(move || {
        let deep = nested(64, json!(0), |inner| json!([inner]));
        check(&schema, &deep).map(|violations| violations.len())
    });
    assert_eq!(checked, Ok(1));
}

#[test]
fn a_deep_answer_does_not_lead_beyond_the_end_of_the_stack() {
    let recursive = json!({"$defs": {"n": {"anyOf": [{"type": "null"}, {"items": {"$ref": "#/$defs/n"}, "type": "array"}]}}, "$ref": "#/$defs/n"});
    let deep = || nested(1000, json!(0), |inner| json!([inner]));
    let nested_schema = nested(
        40,
        json!({"type": "string"}),
        |inner| json!({"not": {"items": inner}}),
    );
    on_a_small_stack(move || {
        for (name, document, answer) in [
            ("a deep answer", recursive, deep()),
            ("a nested schema", nested_schema, deep()),
        ] {
            let schema = schema(document);
            if let Err(breach) = check(&schema, &answer) {
                assert_eq!(breach.kind, Kind::TooComplex, "{name}: {breach}");
            }
        }
    });
}
