//! JSON for the property tests of this folder.

use proptest::prelude::*;
use serde_json::{Value, json};

/// Small documents of every shape, with names and numbers that collide now and then.
pub(super) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..4).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-8i32..8).prop_map(|quarters| json!(f64::from(quarters) / 4.0)),
        "[a-c\"\\\\\n\u{e9}~/.0-9-]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-c]|items|price|c d|a/b", inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}
