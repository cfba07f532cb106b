use proptest::prelude::*;

use super::*;

fn shape(documents: &[Value]) -> Shape {
    let mut merger = Merger::new();
    for document in documents {
        merger.merge(document);
    }
    merger.shape()
}

#[test]
fn a_schema_says_what_was_always_so_and_nothing_more() {
    for (name, documents, want) in [
        (
            "members that are always there are required",
            vec![json!({"a": 1, "b": "x"}), json!({"a": 2})],
            json!({"type": "object", "required": ["a"],
                   "properties": {"a": {"type": "number"}, "b": {"type": "string"}}}),
        ),
        (
            "an integer may have a fraction tomorrow",
            vec![json!(1), json!(1.5)],
            json!({"type": "number"}),
        ),
        (
            "what was null once may be null",
            vec![json!({"a": null}), json!({"a": "x"})],
            json!({"type": "object", "required": ["a"], "properties": {"a": {"type": ["string", "null"]}}}),
        ),
        (
            "of what was only ever null nothing is known",
            vec![json!({"a": null})],
            json!({"type": "object", "required": ["a"], "properties": {"a": {}}}),
        ),
        (
            "of an empty list neither",
            vec![json!([])],
            json!({"type": "array"}),
        ),
        (
            "elements of all lists are one",
            vec![json!([{"a": 1}, {"a": 2, "b": true}])],
            json!({"type": "array", "items": {"type": "object", "required": ["a"],
                   "properties": {"a": {"type": "number"}, "b": {"type": "boolean"}}}}),
        ),
        (
            "ids as members make a table",
            vec![json!({"1": {"a": 1}, "2": {"a": 2}, "3": {}})],
            json!({"type": "object", "additionalProperties": {"type": "object",
                   "properties": {"a": {"type": "number"}}}}),
        ),
        (
            "and so do codes",
            vec![json!({"EUR": 1, "USD": 1.1, "GBP": 0.9})],
            json!({"type": "object", "additionalProperties": {"type": "number"}}),
        ),
        (
            "several types at one place",
            vec![json!(true), json!("x"), json!([1])],
            json!({"type": ["boolean", "string", "array"], "items": {"type": "number"}}),
        ),
    ] {
        assert_eq!(shape(&documents).schema(), want, "{name}");
    }
}

#[test]
fn a_tree_is_read_from_the_top() {
    let shape = shape(&[json!({
        "currency": "EUR",
        "items": [{"sku": "a", "note": null}, {"sku": "b"}],
    })]);
    let (leaves, is_all) = shape.tree(100);
    let lines: Vec<String> = leaves
        .iter()
        .map(|leaf| format!("{}{} {}", " ".repeat(leaf.depth), leaf.name, leaf.about))
        .collect();
    assert!(is_all);
    assert_eq!(
        lines,
        [
            "currency string",
            "items list of 2",
            " [] object",
            "  note null, in 1 of 2",
            "  sku string",
        ]
    );
    let (leaves, is_all) = shape.tree(2);
    assert_eq!((leaves.len(), is_all), (2, false));
}

#[test]
fn records_are_the_longest_list_of_objects() {
    for (name, document, want) in [
        ("the document itself", json!([{"a": 1}]), Some("")),
        (
            "a member, the longest",
            json!({"links": [{"a": 1}], "it/ems": [{"a": 1}, {"a": 2}]}),
            Some("/it~1ems"),
        ),
        ("a list of numbers", json!([1, 2]), None),
        ("an empty list", json!({"items": []}), None),
        ("no list", json!({"a": 1}), None),
    ] {
        let shape = shape(&[document]);
        let found = records(&shape);
        assert_eq!(found.map(|(place, _)| place).as_deref(), want, "{name}");
    }
}

#[test]
fn ids_are_told_from_words() {
    for (text, want) in [
        ("17", true),
        ("2026-12-24", true),
        ("0d9f8a4e-7a1b-4c52-9a50-0f1b2c3d4e5f", true),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", true),
        ("sku-1", true),
        ("p_17", true),
        ("prices", false),
        ("v1", false),
        ("v2.1", false),
        ("oauth2", false),
        ("cafe-babe", false),
        ("", false),
    ] {
        assert_eq!(is_id(text), want, "{text}");
    }
}

#[test]
fn what_is_huge_is_bounded_and_still_fits() {
    let wide: Map<String, Value> = (0..5_000)
        .map(|n| (format!("member{n}"), json!(n)))
        .collect();
    let mut deep = json!(1);
    for _ in 0..60 {
        deep = json!([deep]);
    }
    let odd: Vec<Value> = (0..3_000)
        .map(|n| if n < 2_500 { json!(n) } else { json!("x") })
        .collect();
    for document in [Value::Object(wide), deep, json!(odd)] {
        let schema = shape(std::slice::from_ref(&document)).schema();
        assert!(jsonschema::is_valid(&schema, &document), "{schema}");
        assert!(schema.to_string().len() < 100_000);
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(|n: f64| json!(n)),
        "[a-z]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-c]|[0-9]|[A-D]{2}", inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn every_document_that_was_merged_fits(documents in prop::collection::vec(any_json(), 1..5)) {
        let schema = shape(&documents).schema();
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        for document in &documents {
            prop_assert!(validator.is_valid(document), "{schema} {document}");
        }
    }
}
