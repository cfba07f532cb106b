//! What is reported, as what, and when.

use serde_json::{Value, json};

use super::*;

/// A vendor whose answers are given; the same few documents in turn.
pub(super) struct Vendor {
    pub(super) shape: Shape,
    pub(super) bounds: Bounds,
    asked: u64,
    documents: u64,
}

impl Vendor {
    pub(super) fn new() -> Self {
        Self {
            shape: Shape::default(),
            bounds: Bounds::default(),
            asked: 0,
            documents: 1,
        }
    }

    pub(super) fn ignoring(mut self, patterns: &[&str]) -> Self {
        let patterns = patterns.iter().map(|it| Pattern::parse(it).unwrap());
        self.bounds.ignore = patterns.collect();
        self
    }

    /// What is reported over so many answers.
    pub(super) fn answers(&mut self, count: u64, answer: impl Fn(u64) -> Value) -> Vec<Change> {
        let mut reported = Vec::new();
        for number in 0..count {
            self.asked += 1;
            let body = answer(number).to_string();
            let document = self.asked % self.documents;
            let at = Timestamp::from_secs(self.asked);
            let learnt = self
                .shape
                .learn(body.as_bytes(), document, at, &self.bounds);
            reported.extend(learnt.unwrap());
        }
        reported
    }
}

pub(super) fn named(changes: &[Change]) -> Vec<(&str, &str, &str)> {
    let named = changes.iter();
    named
        .map(|it| (&*it.path, it.change.as_str(), it.class.as_str()))
        .collect()
}

/// Between two values, so that neither is a constant.
pub(super) fn price(number: u64) -> Value {
    json!({
        "sku": "A1", "price": 12.5 + (number % 7) as f64, "stock": 10 + number % 30, "currency": "EUR",
        "state": if number.is_multiple_of(3) { "sold_out" } else { "in_stock" },
        "items": vec![json!({ "id": number, "net": "10.00" }); 3 + (number % 3) as usize],
        "seller": { "name": "Vendor & Sons", "since": "2020-01-01" },
    })
}

pub(super) fn with(pointer: &str, value: Value) -> impl Fn(u64) -> Value {
    let pointer = pointer.to_owned();
    move |number| {
        let mut answer = price(number);
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = answer.pointer_mut(parent).unwrap();
        parent[name] = value.clone();
        answer
    }
}

pub(super) fn without(pointer: &str) -> impl Fn(u64) -> Value {
    let pointer = pointer.to_owned();
    move |number| {
        let mut answer = price(number);
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = answer.pointer_mut(parent).unwrap();
        parent.as_object_mut().unwrap().remove(name);
        answer
    }
}

pub(super) type Answer = Box<dyn Fn(u64) -> Value>;
/// Path, change and class of each report.
type Reports = &'static [(&'static str, &'static str, &'static str)];

#[test]
fn each_change_is_reported_once_with_its_class() {
    let answers: Vec<(&str, Answer, Reports)> = vec![
        (
            "a field is gone",
            Box::new(without("/price")),
            &[("$.price", "field_removed", "breaking")],
        ),
        (
            "an object is gone, and with it what is inside",
            Box::new(without("/seller")),
            &[("$.seller", "field_removed", "breaking")],
        ),
        (
            "a field inside is gone",
            Box::new(without("/seller/name")),
            &[("$.seller.name", "field_removed", "breaking")],
        ),
        (
            "a number is a string",
            Box::new(with("/price", json!("12.5"))),
            &[("$.price", "type_changed", "breaking")],
        ),
        (
            "an object is a list",
            Box::new(with("/seller", json!([1]))),
            &[("$.seller", "type_changed", "breaking")],
        ),
        (
            "null",
            Box::new(with("/price", Value::Null)),
            &[("$.price", "became_nullable", "breaking")],
        ),
        (
            "a fraction",
            Box::new(with("/stock", json!(3.5))),
            &[("$.stock", "integer_to_number", "warning")],
        ),
        (
            "a new value",
            Box::new(with("/state", json!("discontinued"))),
            &[("$.state", "enum_value_added", "warning")],
        ),
        (
            "another currency",
            Box::new(with("/currency", json!("USD"))),
            &[("$.currency", "enum_value_added", "warning")],
        ),
        (
            "a hundred times the price",
            Box::new(|number| {
                let mut answer = price(number);
                answer["price"] = json!(answer["price"].as_f64().unwrap() * 100.0);
                answer
            }),
            &[("$.price", "range_changed", "warning")],
        ),
        (
            "a price of nothing",
            Box::new(with("/price", json!(0))),
            &[("$.price", "range_changed", "warning")],
        ),
        (
            "negative",
            Box::new(with("/stock", json!(-3))),
            &[("$.stock", "sign_changed", "warning")],
        ),
        (
            "another format",
            Box::new(with("/seller/since", json!("1 January 2020"))),
            &[("$.seller.since", "format_changed", "warning")],
        ),
        (
            "a list without elements",
            Box::new(with("/items", json!([]))),
            &[("$.items", "list_became_empty", "warning")],
        ),
        (
            "a list of hundreds",
            Box::new(with(
                "/items",
                json!(vec![json!({"id": 1, "net": "10.00"}); 300]),
            )),
            &[("$.items", "list_size_changed", "warning")],
        ),
        (
            "decimal strings a hundred times larger",
            Box::new(with(
                "/items",
                json!([{"id": 1, "net": "1000.00"}, {"id": 2, "net": "1000.00"}, {"id": 3, "net": "1000.00"}]),
            )),
            &[("$.items[*].net", "range_changed", "warning")],
        ),
        (
            "a field of elements is gone",
            Box::new(with("/items", json!([{"id": 1}, {"id": 2}, {"id": 3}]))),
            &[("$.items[*].net", "field_removed", "breaking")],
        ),
        (
            "a field of some elements is gone",
            Box::new(with(
                "/items",
                json!([{"id": 1}, {"id": 2, "net": "10.00"}, {"id": 3, "net": "10.00"}]),
            )),
            &[("$.items[*].net", "became_optional", "breaking")],
        ),
        (
            "a new field",
            Box::new(with("/discount", json!(5))),
            &[("$.discount", "field_added", "info")],
        ),
        (
            "the whole answer is another",
            Box::new(|_| json!(["sorry"])),
            &[("$", "type_changed", "breaking")],
        ),
    ];
    for (name, changed, want) in answers {
        for documents in [1, 5] {
            let mut vendor = Vendor::new();
            vendor.documents = documents;
            assert_eq!(named(&vendor.answers(40, price)), [], "{name}: before");
            let reported = vendor.answers(40, &changed);
            assert_eq!(named(&reported), want, "{name}, {documents} documents");
            let found = vendor.shape.changes();
            let found: Vec<_> = found.into_iter().filter(|it| it.reported).collect();
            assert_eq!(named(&found), want, "{name}: listed");
            assert_eq!((found[0].answers, found[0].of), (40, 40), "{name}");
            assert_eq!(found[0].first_seen, Timestamp::from_secs(41), "{name}");
        }
    }
}

#[test]
fn a_change_is_reported_within_a_few_answers_and_an_odd_one_is_not() {
    for (known, documents, want) in [
        (20, 1, 4),
        (40, 1, 3),
        (100, 1, 3),
        (10_000, 1, 3),
        (30, u64::MAX, 10),
    ] {
        let mut vendor = Vendor::new();
        vendor.documents = documents;
        vendor.answers(known, price);
        for number in 1..=want {
            let reported = vendor.answers(1, without("/price"));
            assert_eq!(
                reported.len(),
                usize::from(number == want),
                "{known} {number}"
            );
        }
    }
    let mut vendor = Vendor::new();
    vendor.answers(100, price);
    for _ in 0..20 {
        let odd = vendor.answers(1, without("/price"));
        let usual = vendor.answers(150, price);
        assert_eq!((odd.len(), usual.len()), (0, 0), "an odd one now and then");
    }
    let reported = vendor.answers(20, without("/price"));
    assert_eq!(
        named(&reported),
        [("$.price", "field_removed", "breaking")],
        "that odd ones were seen does not hide it"
    );
}

#[test]
fn nothing_is_reported_before_enough_was_seen() {
    let mut vendor = Vendor::new();
    vendor.answers(5, price);
    assert_eq!(vendor.answers(30, without("/price")), []);
    assert_eq!(vendor.answers(30, price), [], "it is optional");
}

#[test]
fn what_goes_away_again_has_ended_and_is_not_reported_again() {
    let mut vendor = Vendor::new();
    vendor.answers(40, price);
    assert_eq!(vendor.answers(10, without("/price")).len(), 1);
    assert!(!vendor.shape.changes()[0].ended);
    assert_eq!(vendor.answers(10, price).len(), 0);
    assert!(vendor.shape.changes()[0].ended);
    assert_eq!(vendor.answers(10, without("/price")).len(), 0);
    let change = &vendor.shape.changes()[0];
    assert!(!change.ended);
    assert_eq!((change.answers, change.of), (20, 30));
}

#[test]
fn new_values_of_one_field_are_one_change() {
    let mut vendor = Vendor::new();
    vendor.answers(40, price);
    let states = ["paused", "archived", "recalled", "draft"];
    let mut reported = Vec::new();
    for state in states.iter().cycle().take(20) {
        reported.extend(vendor.answers(1, with("/state", json!(state))));
    }
    assert_eq!(
        named(&reported),
        [("$.state", "enum_value_added", "warning")]
    );
    let mut values = vendor.shape.changes()[0].values.clone();
    values.sort_unstable();
    assert_eq!(values, ["archived", "draft", "paused", "recalled"]);
    for number in 0..100 {
        vendor.answers(1, with("/state", json!(format!("state {number}"))));
    }
    assert_eq!(vendor.shape.changes()[0].values.len(), 10, "bounded");
}

#[test]
fn what_is_optional_and_then_gone_is_both() {
    let mut vendor = Vendor::new();
    vendor.answers(60, price);
    let gone = without("/price");
    let reported = vendor.answers(60, |number| match number % 3 {
        1 => gone(number),
        _ => price(number),
    });
    assert_eq!(
        named(&reported),
        [("$.price", "became_optional", "warning")]
    );
    let reported = vendor.answers(60, without("/price"));
    assert_eq!(named(&reported), [("$.price", "field_removed", "breaking")]);
    assert_eq!(vendor.answers(60, without("/price")), []);
}

#[test]
fn objects_whose_members_come_and_go_are_maps() {
    let mut vendor = Vendor::new();
    let by_sku = |number: u64| {
        let members = (0..20).map(|at| {
            let sku = format!("sku-{}", (number * 31 + at * 7) % 900);
            (sku, json!({ "price": 10 + at, "currency": "EUR" }))
        });
        json!({ "prices": members.collect::<serde_json::Map<_, _>>() })
    };
    assert_eq!(vendor.answers(200, by_sku), []);
    let places = vendor.shape.places();
    assert!(places.len() <= 5, "{places:#?}");
    let reported = vendor.answers(20, |number| {
        let mut answer = by_sku(number);
        for price in answer["prices"].as_object_mut().unwrap().values_mut() {
            price["price"] = json!("10");
        }
        answer
    });
    assert_eq!(
        named(&reported),
        [("$.prices.*.price", "type_changed", "breaking")]
    );
}

#[test]
fn members_named_by_dates_and_numbers_are_maps_at_once() {
    let mut vendor = Vendor::new();
    let by_day = |number: u64| {
        let day = format!("2026-{:02}-{:02}", 1 + number / 28, 1 + number % 28);
        json!({ "days": { day: { "open": true } }, "by_id": { number.to_string(): 1 } })
    };
    assert_eq!(vendor.answers(300, by_day), []);
    let paths: Vec<_> = vendor
        .shape
        .places()
        .into_iter()
        .map(|it| it.path)
        .collect();
    assert_eq!(
        paths,
        [
            "$",
            "$.by_id",
            "$.by_id.*",
            "$.days",
            "$.days.*",
            "$.days.*.open"
        ]
    );
}

#[test]
fn a_restart_changes_nothing() {
    let mut vendor = Vendor::new();
    vendor.answers(40, price);
    assert_eq!(vendor.answers(10, without("/price")).len(), 1);
    vendor.answers(2, with("/seller/name", Value::Null));
    let kept = vendor.shape.encode();
    let back = Shape::decode(&kept).unwrap();
    assert_eq!(back, vendor.shape);
    vendor.shape = back;
    assert_eq!(vendor.answers(10, without("/price")), [], "known");
    assert_eq!(Shape::decode(&[]), None);
    assert_eq!(Shape::decode(&[FORMAT + 1, 0]), None, "another format");
    assert_eq!(Shape::decode(&kept[..kept.len() / 2]), None, "cut");
}

#[test]
fn examples_show_no_addresses() {
    let mut vendor = Vendor::new();
    vendor.answers(40, price);
    let reported = vendor.answers(
        10,
        with("/stock", json!("anna@shop.example, 0170 12345678")),
    );
    let example = &reported[0].example;
    assert!(
        !example.contains("anna") && !example.contains("12345678"),
        "{example}"
    );
}
