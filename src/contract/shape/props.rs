//! Whatever is learnt: bounded, never a panic, and the order of what has none does not matter.

use proptest::{collection::vec, prelude::*};
use serde_json::{Map, Value};

use super::*;

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z]{0,3}".prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        Just(Value::from("2026-11-26T12:00:00Z")),
        Just(Value::from("-12.50")),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Value::from),
            vec(("[a-d0-9]{1,2}|\\PC{0,80}", inner), 0..8)
                .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn small() -> Bounds {
    Bounds {
        answers_min: 3,
        answers_confirm: 1,
        nodes_max: 20,
        members_max: 4,
        depth_max: 4,
        enum_max: 3,
        ignore: vec![
            Pattern::parse("$..a").unwrap(),
            Pattern::parse("/b/*").unwrap(),
        ],
        ..Bounds::default()
    }
}

fn learn(answers: &[Value], bounds: &Bounds) -> Shape {
    let mut shape = Shape::default();
    for (at, answer) in answers.iter().enumerate() {
        let body = answer.to_string();
        let at = at as u64;
        shape
            .learn(body.as_bytes(), at % 5, Timestamp::from_secs(at), bounds)
            .unwrap();
    }
    shape
}

/// The same with members and elements the other way round.
fn reversed(value: &Value) -> String {
    match value {
        Value::Array(list) => {
            let list: Vec<_> = list.iter().rev().map(reversed).collect();
            format!("[{}]", list.join(","))
        }
        Value::Object(members) => {
            let members: Vec<_> = members
                .iter()
                .rev()
                .map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), reversed(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        value => value.to_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_is_learnt_is_bounded_and_kept_as_it_is(answers in vec(json(), 1..40)) {
        let bounds = small();
        let mut shape = learn(&answers, &bounds);
        prop_assert!(shape.root.places() <= bounds.nodes_max, "{}", shape.root.places());
        prop_assert_eq!(Shape::decode(&shape.encode()), Some(shape.clone()));
        for change in shape.changes() {
            prop_assert!(change.answers <= change.of);
            prop_assert!(change.values.len() <= 10 && change.example.len() < 1_000);
        }
        for place in shape.places() {
            prop_assert!(place.present.is_none_or(|share| (0.0..=1.0).contains(&share)));
        }
        shape.accept(&Accepted::default());
        prop_assert!(!shape.changes().iter().any(|change| change.reported));
        shape.ignore(&bounds.ignore);
        prop_assert!(shape.root.places() <= bounds.nodes_max);
    }

    #[test]
    fn any_bytes_are_learnt_or_not_json(bytes in vec(any::<u8>(), 0..200)) {
        let mut shape = Shape::default();
        let learnt = shape.learn(&bytes, 1, Timestamp::EPOCH, &Bounds::default());
        prop_assert_eq!(learnt.is_ok(), serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok());
    }

    #[test]
    fn any_bytes_are_a_shape_or_nothing(bytes in vec(any::<u8>(), 0..400)) {
        let _ = Shape::decode(&bytes);
    }

    #[test]
    fn the_order_of_members_and_elements_does_not_matter(answers in vec(json(), 1..30)) {
        // With room for everything, since what has none left is decided by what came first.
        let bounds = Bounds { nodes_max: 100_000, ..small() };
        let one = learn(&answers, &bounds);
        let mut other = Shape::default();
        for (at, answer) in answers.iter().enumerate() {
            let at = at as u64;
            let body = reversed(answer);
            other.learn(body.as_bytes(), at % 5, Timestamp::from_secs(at), &bounds).unwrap();
        }
        prop_assert_eq!(one.places(), other.places());
        let named = |shape: &Shape| -> Vec<_> {
            let changes = shape.changes().into_iter();
            changes.map(|it| (it.path, it.change, it.answers, it.of, it.reported)).collect()
        };
        prop_assert_eq!(named(&one), named(&other));
    }
}

#[test]
fn deep_and_wide_answers_cost_no_more_than_the_bounds() {
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let members: Vec<_> = (0..20_000)
        .map(|at| format!("\"k{at}x\":{{\"v{at}\":1}}"))
        .collect();
    let wide = format!("{{{}}}", members.join(","));
    let bounds = Bounds::default();
    let mut shape = Shape::default();
    for body in [&deep, &wide, &deep, &wide] {
        shape
            .learn(body.as_bytes(), 1, Timestamp::EPOCH, &bounds)
            .unwrap();
        assert!(shape.root.places() <= bounds.nodes_max);
    }
    assert!(shape.encode().len() < 1 << 20);
    let deeper = "[".repeat(100_000);
    assert!(
        shape
            .learn(deeper.as_bytes(), 1, Timestamp::EPOCH, &bounds)
            .is_err()
    );
    assert_eq!(shape.unreadable(), 1);
}
