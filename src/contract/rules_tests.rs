use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::contract::{
    check::{OneOf, Type, contradiction},
    testing::any_json,
    values::Num,
};

fn num(number: f64) -> Num {
    Num::from_f64(number).unwrap()
}

fn field(text: &str) -> Field {
    Field::parse(text).unwrap()
}

fn rule(text: &str, checks: Vec<Check>) -> Rule {
    Rule::new(field(text), None, false, checks)
}

fn required(text: &str) -> Rule {
    Rule::new(field(text), Some(true), false, Vec::new())
}

fn broken(rule: &Rule, document: &Value, last_good: Option<&Value>) -> Vec<(String, String)> {
    let mut out = Violations::new(None);
    let scope = Scope {
        document,
        last_good,
        place: "",
    };
    let effort = Effort::of_steps(1 << 20, &|| false);
    rule.check(scope, &effort, &mut out).unwrap();
    let of_document = out.of_document().iter();
    of_document
        .map(|it| (it.term.to_string(), it.place.clone()))
        .collect()
}

#[test]
fn a_value_is_judged_by_each_check() {
    use Check::{Above, Below, Equals, Max, Min, NonEmpty};
    let one_of = || Check::OneOf(OneOf::new(vec![json!("on"), json!("off"), json!(1)]));
    for (name, check, document, is_broken) in [
        (
            "a price of 0 is not above 0",
            Above(num(0.0)),
            json!({"a": 0}),
            true,
        ),
        (
            "nor is one of 0.0",
            Above(num(0.0)),
            json!({"a": 0.0}),
            true,
        ),
        ("one cent is", Above(num(0.0)), json!({"a": 0.01}), false),
        (
            "a decimal text is a number",
            Above(num(0.0)),
            json!({"a": "12.50"}),
            false,
        ),
        (
            "and judged like one",
            Above(num(0.0)),
            json!({"a": "0.00"}),
            true,
        ),
        (
            "a word is none",
            Above(num(0.0)),
            json!({"a": "free"}),
            true,
        ),
        ("nor is a list", Min(num(0.0)), json!({"a": [1]}), true),
        ("nor true", Min(num(0.0)), json!({"a": true}), true),
        (
            "the bound itself is at least it",
            Min(num(5.0)),
            json!({"a": 5}),
            false,
        ),
        ("less is not", Min(num(5.0)), json!({"a": 4.99}), true),
        (
            "the bound itself is at most it",
            Max(num(5.0)),
            json!({"a": 5}),
            false,
        ),
        ("more is not", Max(num(5.0)), json!({"a": 6}), true),
        (
            "beyond all doubles is more",
            Max(num(5.0)),
            json!({"a": f64::MAX}),
            true,
        ),
        (
            "the bound itself is not below it",
            Below(num(5.0)),
            json!({"a": 5}),
            true,
        ),
        ("less is below", Below(num(5.0)), json!({"a": 4}), false),
        (
            "a field that is not there breaks no value check",
            Min(num(1.0)),
            json!({}),
            false,
        ),
        (
            "null counts as not there",
            Min(num(1.0)),
            json!({"a": null}),
            false,
        ),
        (
            "the currency is fixed",
            Equals(json!("EUR")),
            json!({"a": "EUR"}),
            false,
        ),
        (
            "another one is wrong",
            Equals(json!("EUR")),
            json!({"a": "USD"}),
            true,
        ),
        (
            "case counts",
            Equals(json!("EUR")),
            json!({"a": "eur"}),
            true,
        ),
        ("1.0 is 1", Equals(json!(1)), json!({"a": 1.0}), false),
        (
            "a text is not a number here",
            Equals(json!(1)),
            json!({"a": "1"}),
            true,
        ),
        ("one of them", one_of(), json!({"a": "off"}), false),
        (
            "one of them, as a double",
            one_of(),
            json!({"a": 1.0}),
            false,
        ),
        ("none of them", one_of(), json!({"a": "idle"}), true),
        ("a blank text is empty", NonEmpty, json!({"a": " \n"}), true),
        ("a word is not", NonEmpty, json!({"a": "x"}), false),
        ("an empty list is", NonEmpty, json!({"a": []}), true),
        ("an empty object is", NonEmpty, json!({"a": {}}), true),
        (
            "a list of null is not",
            NonEmpty,
            json!({"a": [null]}),
            false,
        ),
        ("0 is not", NonEmpty, json!({"a": 0}), false),
        (
            "what is not there is not non-empty",
            NonEmpty,
            json!({}),
            true,
        ),
        ("nor is null", NonEmpty, json!({"a": null}), true),
    ] {
        let term = format!("/a: {check}");
        let got = broken(&rule("/a", vec![check]), &document, None);
        assert_eq!(!got.is_empty(), is_broken, "{name}");
        for (got, place) in got {
            assert!(got == term || got == "/a: required", "{name}: {got}");
            assert_eq!(place, "/a", "{name}");
        }
    }
}

#[test]
fn a_type_is_one_of_those_written() {
    for (types, value, is_broken) in [
        (vec![Type::Number], json!(1.5), false),
        (vec![Type::Number], json!("1.5"), true),
        (vec![Type::Integer], json!(1.0), false),
        (vec![Type::Integer], json!(1.5), true),
        (vec![Type::Integer], json!(u64::MAX), false),
        (vec![Type::String, Type::Integer], json!("x"), false),
        (vec![Type::String, Type::Integer], json!([]), true),
        (vec![Type::Object], json!({}), false),
        (vec![Type::Array], json!({}), true),
        (vec![Type::Boolean], json!(false), false),
        (vec![Type::String], json!(null), false),
    ] {
        let rule = rule("/a", vec![Check::Type(types.clone())]);
        let got = broken(&rule, &json!({"a": value}), None);
        assert_eq!(!got.is_empty(), is_broken, "{value} as {types:?}");
    }
    for word in Type::WORDS {
        assert_eq!(Type::of_word(word).map(Type::as_str), Some(word));
    }
}

#[test]
fn required_means_there_and_not_null() {
    let nullable = |text| Rule::new(field(text), Some(true), true, Vec::new());
    for (name, rule, document, want) in [
        ("there", required("/a"), json!({"a": 0}), vec![]),
        ("missing", required("/a"), json!({}), vec!["/a"]),
        (
            "of something else",
            required("/a/b"),
            json!({"a": 7}),
            vec!["/a/b"],
        ),
        ("null", required("/a"), json!({"a": null}), vec!["/a"]),
        (
            "null where it may be",
            nullable("/a"),
            json!({"a": null}),
            vec![],
        ),
        (
            "missing where it may be null",
            nullable("/a"),
            json!({}),
            vec!["/a"],
        ),
        (
            "at least one",
            required("$.l[*].a"),
            json!({"l": [{"a": 1}, {}]}),
            vec![],
        ),
        (
            "none",
            required("$.l[*].a"),
            json!({"l": [{}, {}]}),
            vec![""],
        ),
        (
            "null among them",
            required("$.l[*].a"),
            json!({"l": [{"a": 1}, {"a": null}]}),
            vec!["/l/1/a"],
        ),
        (
            "not asked for",
            Rule::new(field("/a"), Some(false), false, vec![Check::NonEmpty]),
            json!({}),
            vec![],
        ),
    ] {
        let got = broken(&rule, &document, None);
        let places: Vec<_> = got.iter().map(|(_, place)| &**place).collect();
        assert_eq!(places, want, "{name}");
    }
}

#[test]
fn unique_finds_what_stands_twice() {
    let document = json!({
        "items": [{"sku": "a"}, {"sku": "b"}, {"sku": "a"}, {"sku": null}, {"sku": null}, {"sku": "a"}],
        "tags": [1, 2, 1.0, "1", {"x": [1]}, {"x": [1.0]}], "name": "x",
    });
    for (text, want) in [
        ("$.items[*].sku", vec!["/items/2/sku", "/items/5/sku"]),
        ("/tags", vec!["/tags/2", "/tags/5"]),
        ("/name", vec!["/name"]),
        ("/none", vec![]),
        ("$.none[*]", vec![]),
    ] {
        let got = broken(&rule(text, vec![Check::Unique]), &document, None);
        let places: Vec<_> = got.iter().map(|(_, place)| &**place).collect();
        assert_eq!(places, want, "{text}");
    }
}

#[test]
fn one_field_is_at_most_another() {
    for (name, a, b, document, want) in [
        (
            "less",
            "/net",
            "/gross",
            json!({"net": 1, "gross": 2}),
            vec![],
        ),
        (
            "the same",
            "/net",
            "/gross",
            json!({"net": 2.0, "gross": 2}),
            vec![],
        ),
        (
            "more",
            "/net",
            "/gross",
            json!({"net": 3, "gross": 2}),
            vec!["/net"],
        ),
        (
            "a text and a number",
            "/net",
            "/gross",
            json!({"net": "10", "gross": 9}),
            vec!["/net"],
        ),
        (
            "dates",
            "/net",
            "/gross",
            json!({"net": "2026-01-02", "gross": "2026-01-10"}),
            vec![],
        ),
        (
            "not comparable",
            "/net",
            "/gross",
            json!({"net": "soon", "gross": 2}),
            vec!["/net"],
        ),
        (
            "the other is not there",
            "/net",
            "/gross",
            json!({"net": 3}),
            vec![],
        ),
        (
            "the other is null",
            "/net",
            "/gross",
            json!({"net": 3, "gross": null}),
            vec![],
        ),
        (
            "it is not there",
            "/net",
            "/gross",
            json!({"gross": 3}),
            vec![],
        ),
        (
            "pairs",
            "$.l[*].a",
            "$.l[*].b",
            json!({"l": [{"a": 1, "b": 2}, {"a": 5, "b": 4}]}),
            vec!["/l/1/a"],
        ),
        (
            "pairs with one half missing",
            "$.l[*].a",
            "$.l[*].b",
            json!({"l": [{"a": 9}, {"a": 1, "b": 2}, {"b": 0}]}),
            vec![],
        ),
        (
            "one bound for all",
            "$.l[*].a",
            "/max",
            json!({"max": 4, "l": [{"a": 1}, {"a": 5}]}),
            vec!["/l/1/a"],
        ),
        (
            "all for one bound",
            "/min",
            "$.l[*].a",
            json!({"min": 2, "l": [{"a": 1}, {"a": 5}]}),
            vec!["/min"],
        ),
        (
            "in order, where elements do not tell",
            "$.a.*",
            "$.b.*",
            json!({"a": {"x": 1, "y": 9}, "b": {"x": 2, "y": 8}}),
            vec!["/a/y"],
        ),
        (
            "not as many, where elements do not tell",
            "$.a.*",
            "$.b.*",
            json!({"a": {"x": 1, "y": 9}, "b": {"x": 2}}),
            vec![""],
        ),
    ] {
        let got = broken(&rule(a, vec![Check::AtMost(field(b))]), &document, None);
        let places: Vec<_> = got.iter().map(|(_, place)| &**place).collect();
        assert_eq!(places, want, "{name}");
    }
}

#[test]
fn counts_are_of_values_or_of_elements() {
    use Check::{CountMax, CountMin, CountWithin};
    let list = |count: usize| json!({"items": vec![0; count]});
    let within = |share| CountWithin(Percent::whole(share));
    for (name, text, check, document, last, is_broken) in [
        ("enough", "$.items[*]", CountMin(2), list(2), None, false),
        ("too few", "$.items[*]", CountMin(2), list(1), None, true),
        (
            "none at all",
            "$.items[*]",
            CountMin(1),
            json!({}),
            None,
            true,
        ),
        (
            "elements of a list",
            "/items",
            CountMin(2),
            list(1),
            None,
            true,
        ),
        (
            "a list that is not there has none",
            "/items",
            CountMin(1),
            json!({}),
            None,
            true,
        ),
        (
            "and none is not too many",
            "/items",
            CountMax(1),
            json!({}),
            None,
            false,
        ),
        ("too many", "/items", CountMax(1), list(2), None, true),
        (
            "what is no list",
            "/items",
            CountMax(9),
            json!({"items": "x"}),
            None,
            true,
        ),
        (
            "members of an object",
            "/items",
            CountMax(1),
            json!({"items": {"a": 1, "b": 2}}),
            None,
            true,
        ),
        (
            "no last good one",
            "/items",
            within(30),
            list(1),
            None,
            false,
        ),
        (
            "within",
            "/items",
            within(30),
            list(7),
            Some(list(10)),
            false,
        ),
        (
            "lost more",
            "/items",
            within(30),
            list(6),
            Some(list(10)),
            true,
        ),
        (
            "grew within",
            "/items",
            within(30),
            list(13),
            Some(list(10)),
            false,
        ),
        (
            "grew by more",
            "/items",
            within(30),
            list(14),
            Some(list(10)),
            true,
        ),
        (
            "the last one had none",
            "/items",
            within(30),
            list(14),
            Some(list(0)),
            false,
        ),
        (
            "the last one was no list",
            "/items",
            within(30),
            list(14),
            Some(json!({"items": 1})),
            false,
        ),
        (
            "all gone",
            "$.items[*]",
            within(30),
            list(0),
            Some(list(10)),
            true,
        ),
    ] {
        let got = broken(&rule(text, vec![check]), &document, last.as_ref());
        assert_eq!(!got.is_empty(), is_broken, "{name}");
    }
}

#[test]
fn messages_name_place_and_value_and_terms_do_not() {
    let mut out = Violations::new(Some("/items".to_owned()));
    let scope = Scope {
        document: &json!({"price": 0}),
        last_good: None,
        place: "/items/3",
    };
    let effort = Effort::of_steps(1 << 20, &|| false);
    let above = rule("/price", vec![Check::Above(num(0.0))]);
    above.check(scope, &effort, &mut out).unwrap();
    required("/sku").check(scope, &effort, &mut out).unwrap();
    let got: Vec<_> = out
        .of_records()
        .iter()
        .map(|it| (&*it.term, &*it.place, &*it.message))
        .collect();
    let want = [
        (
            "/price: above 0",
            "/items/3/price",
            "/items/3/price is 0: not above 0",
        ),
        ("/sku: required", "/items/3/sku", "/items/3/sku is missing"),
    ];
    assert_eq!(got, want);
    assert!(out.is_bad(3));
}

#[test]
fn what_is_looked_at_is_paid_for() {
    let document = Value::from(vec![1; 1000]);
    let scope = Scope {
        document: &document,
        last_good: None,
        place: "",
    };
    let rule = rule("$[*]", vec![Check::Unique, Check::Min(num(0.0))]);
    for (steps, is_enough) in [(500, false), (3000, true)] {
        let effort = Effort::of_steps(steps, &|| false);
        let got = rule.check(scope, &effort, &mut Violations::new(None));
        assert_eq!(got.is_ok(), is_enough, "{steps}");
    }
}

#[test]
fn checks_that_cannot_both_hold_are_found() {
    use Check::{Above, Below, CountMax, CountMin, Max, Min};
    for (checks, want) in [
        (vec![Min(num(2.0)), Max(num(1.0))], true),
        (vec![Min(num(1.0)), Max(num(1.0))], false),
        (vec![Above(num(1.0)), Max(num(1.0))], true),
        (vec![Min(num(1.0)), Below(num(1.0))], true),
        (vec![Above(num(1.0)), Below(num(1.5))], false),
        (vec![CountMin(3), CountMax(2)], true),
        (vec![CountMin(2), CountMax(2)], false),
        (vec![], false),
    ] {
        assert_eq!(contradiction(&checks).is_some(), want, "{checks:?}");
    }
}

proptest! {
    #[test]
    fn no_document_makes_a_rule_panic(document in any_json(), last in any_json(), at in 0usize..6) {
        let text = ["", "/items", "/items/0/price", "$.items[*]", "$..price", "$.*"][at];
        let checks = vec![
            Check::Type(vec![Type::Integer]), Check::Min(num(0.5)), Check::Above(num(0.0)), Check::Max(num(2.0)),
            Check::Below(num(2.0)), Check::Equals(json!(1)), Check::OneOf(OneOf::new(vec![json!(1)])), Check::NonEmpty,
            Check::Unique, Check::AtMost(field("$..items")), Check::AtMost(field("/a")), Check::CountMin(1),
            Check::CountMax(2), Check::CountWithin(Percent::whole(10)),
        ];
        let got = broken(&rule(text, checks), &document, Some(&last));
        for (_, place) in got {
            // A place is one of the document, or that of a value that is missing.
            prop_assert!(document.pointer(&place).is_some() || field(text).find(&document).is_empty() || place == text);
        }
    }

    #[test]
    fn unique_finds_as_many_as_comparing_each_with_all_before(values in prop::collection::vec(any_json(), 0..12)) {
        let naive = values.iter().enumerate()
            .filter(|(index, it)| !it.is_null() && values[..*index].iter().any(|before| Same(before) == Same(it)))
            .count();
        let got = broken(&rule("", vec![Check::Unique]), &Value::Array(values.clone()), None);
        prop_assert_eq!(got.len(), naive.min(crate::contract::KEPT_MAX));
    }
}
