//! What is accepted is known, what is ignored is not.

use serde_json::{Value, json};

use super::{
    Accepted, Bounds,
    tests::{Answer, Vendor, named, price, with, without},
};

#[test]
fn accepted_the_new_shape_is_what_is_known() {
    let changes: Vec<(&str, Answer, &str, Option<&str>)> = vec![
        (
            "removed",
            Box::new(without("/price")),
            "$.price",
            Some("field_added"),
        ),
        (
            "string",
            Box::new(with("/price", json!("12.50"))),
            "$.price",
            Some("type_changed"),
        ),
        (
            "null",
            Box::new(with("/price", Value::Null)),
            "$.price",
            None,
        ),
        (
            "large",
            Box::new(with("/price", json!(1250.0))),
            "$.price",
            Some("range_changed"),
        ),
        (
            "empty",
            Box::new(with("/items", json!([]))),
            "$.items",
            None,
        ),
        (
            "new",
            Box::new(with("/discount", json!(1))),
            "$.discount",
            Some("field_removed"),
        ),
        (
            "state",
            Box::new(with("/state", json!("gone"))),
            "$.state",
            None,
        ),
    ];
    for (name, changed, path, back) in changes {
        let mut vendor = Vendor::new();
        vendor.answers(40, price);
        assert_eq!(vendor.answers(40, &changed).len(), 1, "{name}");
        let other = Accepted {
            path: Some("$.other".into()),
            change: None,
        };
        assert_eq!(
            vendor.shape.accept(&other),
            [],
            "{name}: not what was named"
        );
        let wanted = Accepted {
            path: Some(path.into()),
            change: None,
        };
        assert_eq!(vendor.shape.accept(&wanted).len(), 1, "{name}");
        assert_eq!(vendor.shape.changes(), [], "{name}");
        assert_eq!(
            vendor.answers(40, &changed),
            [],
            "{name}: is as it should be"
        );
        let reported = vendor.answers(40, price);
        let reported: Vec<_> = reported.iter().map(|it| it.change.as_str()).collect();
        assert_eq!(reported, Vec::from_iter(back), "{name}: and back again");
    }
}

#[test]
fn accepting_a_route_takes_all_changes() {
    let mut vendor = Vendor::new();
    vendor.answers(40, price);
    let changed = |number| {
        let mut answer = without("/currency")(number);
        answer["price"] = Value::Null;
        answer["items"][0]["net"] = json!(3);
        answer
    };
    assert_eq!(vendor.answers(40, changed).len(), 3);
    assert_eq!(vendor.shape.accept(&Accepted::default()).len(), 3);
    assert_eq!(vendor.answers(40, changed), []);
    assert_eq!(vendor.shape.accept(&Accepted::default()), []);
}

#[test]
fn what_is_ignored_is_neither_learnt_nor_reported() {
    let mut vendor = Vendor::new().ignoring(&["/price", "$.items[*].net", "$..since"]);
    vendor.answers(40, price);
    let places = vendor.shape.places();
    let price_place = places.iter().find(|it| it.path == "$.price").unwrap();
    assert!(price_place.ignored && price_place.types.is_empty());
    let changed = |number| {
        let mut answer = without("/price")(number);
        answer["items"][0]["net"] = Value::Null;
        answer["seller"]["since"] = json!(3);
        answer
    };
    assert_eq!(vendor.answers(40, changed), []);
}

#[test]
fn to_ignore_later_forgets_and_to_look_again_learns_anew() {
    let mut vendor = Vendor::new();
    vendor.answers(40, price);
    vendor.answers(10, without("/price"));
    let ignoring = Vendor::new().ignoring(&["/price", "$.items[*]"]);
    vendor.bounds = ignoring.bounds;
    vendor.shape.ignore(&vendor.bounds.ignore);
    assert_eq!(vendor.shape.changes(), []);
    assert!(
        !vendor
            .shape
            .places()
            .iter()
            .any(|it| it.path.starts_with("$.items[*]"))
    );
    assert_eq!(vendor.answers(30, price), []);
    vendor.bounds = Bounds::default();
    assert_eq!(vendor.answers(60, price), [], "neither is new");
    let reported = vendor.answers(20, without("/price"));
    assert_eq!(named(&reported), [("$.price", "field_removed", "breaking")]);
}
