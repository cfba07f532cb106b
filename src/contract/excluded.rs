//! Whether a schema leaves no room for a field: a rule about it could never be met, so that it is a slip of the pen.
//!
//! Pure, over the schema as JSON. Says so only where it is certain: everything that it does not understand (patterns, anchors,
//! other dialects, schemas with identities of their own) leaves room.
//!
//! - JSON Schema 2020-12, Core 10.2 (`allOf`, `anyOf`, `oneOf`), 10.3 (`properties`, `additionalProperties`, `prefixItems`,
//!   `items`), 11 (`unevaluated…` only where nothing beside it evaluates), 8.2.3.1 (`$ref` within the document); Validation
//!   6.1.1 (`type`), 6.4.1 (`maxItems`).
//!
//! # Invariants
//!
//! - Bounded work, also where references go round in circles.

use serde_json::{Map, Value};

use super::field::index;

/// Schemas looked at for one field.
const LOOKS_MAX: usize = 500;

/// A step down from a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A reference token (RFC 6901): a member, or an element.
    Token(&'a str),
    /// Any element of a list.
    Element,
}

/// Why nothing that fits `schema` has a value there; `None` where it may.
pub fn ruled_out(schema: &Value, steps: &[Step<'_>]) -> Option<String> {
    let is_understood = |uri: &str| uri.contains("2020-12");
    let dialect = schema.get("$schema").and_then(Value::as_str);
    if !dialect.is_none_or(is_understood) {
        return None;
    }
    let mut search = Search {
        root: schema,
        // A reference is resolved against the nearest `$id`: with one inside, `#/…` may mean another place.
        follows: !has_inner_id(schema),
        looks: 0,
    };
    search.ruled_out(&[schema], steps, steps)
}

struct Search<'s> {
    root: &'s Value,
    follows: bool,
    looks: usize,
}

/// What a schema says of one step down.
enum Below<'s> {
    /// There is nothing there, for this reason.
    Nothing(String),
    /// What is there fits this.
    Fits(&'s Value),
    /// Anything.
    Anything,
}

impl<'s> Search<'s> {
    /// `schemas` all hold of one value.
    fn ruled_out(
        &mut self,
        schemas: &[&'s Value],
        steps: &[Step<'_>],
        all: &[Step<'_>],
    ) -> Option<String> {
        let schemas = self.expanded(schemas)?;
        let here = shown(&all[..all.len() - steps.len()]);
        if schemas.iter().any(|it| **it == Value::Bool(false)) {
            return Some(format!("the schema allows nothing at {here}"));
        }
        let (step, rest) = steps.split_first()?;
        let mut below = Vec::new();
        for schema in schemas.iter().filter_map(|it| it.as_object()) {
            match below_of(schema, *step, &here) {
                Below::Nothing(why) => return Some(why),
                Below::Fits(schema) => below.push(schema),
                Below::Anything => {}
            }
            for word in ["anyOf", "oneOf"] {
                let Some(branches) = schema.get(word).and_then(Value::as_array) else {
                    continue;
                };
                let mut why = None;
                let is_none_open = !branches.is_empty()
                    && branches.iter().all(|branch| {
                        // The last reason: branches for `null` come first, mostly.
                        why = self.ruled_out(&[branch], steps, all);
                        why.is_some()
                    });
                if is_none_open {
                    return why;
                }
            }
        }
        self.ruled_out(&below, rest, all)
    }

    /// With what they refer to and consist of. `None` where there is too much of it.
    fn expanded(&mut self, schemas: &[&'s Value]) -> Option<Vec<&'s Value>> {
        let mut all: Vec<&'s Value> = Vec::new();
        let mut open: Vec<&'s Value> = schemas.to_vec();
        while let Some(schema) = open.pop() {
            self.looks += 1;
            if self.looks > LOOKS_MAX {
                return None;
            }
            if all.iter().any(|known| std::ptr::eq(*known, schema)) {
                continue;
            }
            all.push(schema);
            if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
                open.extend(parts);
            }
            if self.follows
                && let Some(pointer) = schema
                    .get("$ref")
                    .and_then(Value::as_str)
                    .and_then(fragment)
                && let Some(target) = self.root.pointer(&pointer)
            {
                open.push(target);
            }
        }
        Some(all)
    }
}

fn below_of<'s>(schema: &'s Map<String, Value>, step: Step<'_>, here: &str) -> Below<'s> {
    let may_be = |word: &str| match schema.get("type") {
        Some(Value::String(only)) => only == word,
        Some(Value::Array(words)) => words.iter().any(|it| it == word),
        _ => true,
    };
    let as_member = match step {
        Step::Token(name) if may_be("object") => Some(member(schema, name, here)),
        _ => None,
    };
    let element_at = match step {
        Step::Token(token) => index(token),
        Step::Element => Some(0),
    };
    let as_element = match (step, element_at) {
        (Step::Element, _) if may_be("array") => Some(any_element(schema, here)),
        (_, Some(at)) if may_be("array") => Some(element(schema, at, here)),
        _ => None,
    };
    match (as_member, as_element) {
        (None, None) => {
            let words = schema.get("type").map_or(String::new(), Value::to_string);
            Below::Nothing(format!("the schema says that {here} is of type {words}"))
        }
        (Some(only), None) | (None, Some(only)) => only,
        (Some(Below::Nothing(why)), Some(Below::Nothing(_))) => Below::Nothing(why),
        // A list or an object: what is below is either.
        _ => Below::Anything,
    }
}

fn member<'s>(schema: &'s Map<String, Value>, name: &str, here: &str) -> Below<'s> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let own = properties.and_then(|it| it.get(name));
    let has_patterns = schema.get("patternProperties").and_then(Value::as_object);
    let has_patterns = has_patterns.is_some_and(|it| !it.is_empty());
    if let Some(own) = own {
        return Below::Fits(own);
    }
    if has_patterns {
        return Below::Anything;
    }
    let others = schema.get("additionalProperties").or_else(|| {
        let evaluating = [
            "$ref",
            "$dynamicRef",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
            "if",
            "dependentSchemas",
        ];
        let is_alone = !evaluating.iter().any(|word| schema.contains_key(*word));
        schema.get("unevaluatedProperties").filter(|_| is_alone)
    });
    match others {
        Some(Value::Bool(false)) => {
            let known: Vec<_> = properties.into_iter().flat_map(Map::keys).take(8).collect();
            let known: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
            Below::Nothing(format!(
                "the schema allows no member `{name}` in {here}, only {}",
                if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                }
            ))
        }
        Some(schema) => Below::Fits(schema),
        None => Below::Anything,
    }
}

fn element<'s>(schema: &'s Map<String, Value>, at: usize, here: &str) -> Below<'s> {
    let max = schema.get("maxItems").and_then(Value::as_u64);
    if let Some(max) = max.filter(|max| at as u64 >= *max) {
        return Below::Nothing(format!(
            "the schema allows at most {max} elements in {here}"
        ));
    }
    let first = schema.get("prefixItems").and_then(Value::as_array);
    match first
        .and_then(|first| first.get(at))
        .or_else(|| schema.get("items"))
    {
        Some(Value::Bool(false)) => {
            Below::Nothing(format!("the schema allows no element {at} in {here}"))
        }
        Some(schema) => Below::Fits(schema),
        None => Below::Anything,
    }
}

fn any_element<'s>(schema: &'s Map<String, Value>, here: &str) -> Below<'s> {
    let has_first = schema.get("prefixItems").and_then(Value::as_array);
    match schema.get("items") {
        // Elements differ.
        _ if has_first.is_some_and(|it| !it.is_empty()) => Below::Anything,
        Some(Value::Bool(false)) => {
            Below::Nothing(format!("the schema allows no element in {here}"))
        }
        Some(schema) => Below::Fits(schema),
        None => Below::Anything,
    }
}

/// The JSON Pointer of `#/…`, percent-decoded (RFC 6901 6).
fn fragment(reference: &str) -> Option<String> {
    let raw = reference.strip_prefix('#')?;
    if !raw.is_empty() && !raw.starts_with('/') {
        return None;
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(after.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after.get(2..)?;
    }
    String::from_utf8(bytes).ok()
}

fn has_inner_id(schema: &Value) -> bool {
    let mut open = vec![(schema, true)];
    while let Some((value, is_root)) = open.pop() {
        match value {
            Value::Object(members) => {
                let id = members.get("$id");
                if !is_root && id.is_some_and(Value::is_string) {
                    return true;
                }
                open.extend(members.values().map(|it| (it, false)));
            }
            Value::Array(elements) => open.extend(elements.iter().map(|it| (it, false))),
            _ => {}
        }
    }
    false
}

fn shown(steps: &[Step<'_>]) -> String {
    if steps.is_empty() {
        return "the answer".to_owned();
    }
    let mut out = String::new();
    for step in steps {
        out.push('/');
        match step {
            Step::Token(token) => out.push_str(&token.replace('~', "~0").replace('/', "~1")),
            Step::Element => out.push('*'),
        }
    }
    format!("`{out}`")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::contract::testing::any_json;

    fn steps(text: &str) -> Vec<Step<'_>> {
        let tokens = text.split('/').skip(1);
        tokens
            .map(|it| {
                if it == "*" {
                    Step::Element
                } else {
                    Step::Token(it)
                }
            })
            .collect()
    }

    #[test]
    fn a_field_is_ruled_out_only_where_that_is_certain() {
        let price = json!({"type": "object", "properties": {"price": {"type": "number"}}, "additionalProperties": false});
        let list =
            json!({"properties": {"items": {"type": "array", "items": price}}, "type": "object"});
        let closed = |inner: Value| json!({"type": "object", "additionalProperties": false, "properties": {"a": inner}});
        for (name, schema, text, want) in [
            ("a member that is named", price.clone(), "/price", None),
            (
                "one that is not, in a closed object",
                price.clone(),
                "/cost",
                Some("no member `cost` in the answer, only `price`"),
            ),
            (
                "below a number",
                price.clone(),
                "/price/amount",
                Some("`/price` is of type \"number\""),
            ),
            ("an open object", list.clone(), "/other", None),
            ("below a list", list.clone(), "/items/0/price", None),
            (
                "a name in a list",
                list.clone(),
                "/items/price",
                Some("`/items` is of type \"array\""),
            ),
            (
                "a slip below a list",
                list.clone(),
                "/items/0/cost",
                Some("no member `cost` in `/items/0`"),
            ),
            ("any element", list.clone(), "/items/*/price", None),
            (
                "a slip in any element",
                list.clone(),
                "/items/*/cost",
                Some("no member `cost` in `/items/*`"),
            ),
            (
                "an element of an object",
                price.clone(),
                "/*",
                Some("the answer is of type \"object\""),
            ),
            (
                "several types",
                json!({"type": ["string", "null"]}),
                "/a",
                Some("of type [\"string\",\"null\"]"),
            ),
            (
                "several types with an object",
                json!({"type": ["object", "null"]}),
                "/a",
                None,
            ),
            (
                "no type at all: a list may be there",
                json!({"properties": {}, "additionalProperties": false}),
                "/0",
                None,
            ),
            (
                "but no list has a name",
                json!({"properties": {}, "additionalProperties": false}),
                "/a",
                Some("only none"),
            ),
            (
                "patterns",
                json!({"patternProperties": {"^c": true}, "additionalProperties": false}),
                "/cost",
                None,
            ),
            (
                "others of a type",
                json!({"additionalProperties": {"type": "string"}}),
                "/a/b",
                Some("`/a` is of type"),
            ),
            (
                "false",
                json!(false),
                "",
                Some("allows nothing at the answer"),
            ),
            ("true", json!(true), "/a/b/c", None),
            (
                "a property that is false",
                closed(json!(false)),
                "/a",
                Some("allows nothing at `/a`"),
            ),
            (
                "first elements",
                json!({"type": "array", "prefixItems": [{"type": "string"}], "items": false}),
                "/1",
                Some("no element 1"),
            ),
            (
                "the first of them",
                json!({"type": "array", "prefixItems": [{"type": "string"}], "items": false}),
                "/0/a",
                Some("`/0` is of type"),
            ),
            (
                "at most so many",
                json!({"type": "array", "maxItems": 2}),
                "/2",
                Some("at most 2 elements"),
            ),
            (
                "all of",
                json!({"allOf": [{"type": "object"}, price.clone()]}),
                "/cost",
                Some("no member `cost`"),
            ),
            (
                "any of, one is open",
                json!({"anyOf": [price.clone(), {"type": "object"}]}),
                "/cost",
                None,
            ),
            (
                "any of, none is",
                json!({"anyOf": [{"type": "null"}, price.clone()]}),
                "/cost",
                Some("no member `cost`"),
            ),
            (
                "one of",
                json!({"oneOf": [{"type": "null"}, price.clone()]}),
                "/price",
                None,
            ),
            (
                "a reference",
                json!({"$ref": "#/$defs/a%20b", "$defs": {"a b": price.clone()}}),
                "/cost",
                Some("no member `cost`"),
            ),
            (
                "a reference in a circle",
                json!({"$ref": "#"}),
                "/cost",
                None,
            ),
            (
                "a circle further down",
                closed(json!({"$ref": "#"})),
                "/a/a/a/b",
                Some("no member `b` in `/a/a/a`"),
            ),
            (
                "a reference to elsewhere",
                json!({"$ref": "other.json"}),
                "/cost",
                None,
            ),
            (
                "identities inside",
                json!({"$ref": "#/$defs/x", "$defs": {"x": price.clone(), "y": {"$id": "y"}}}),
                "/cost",
                None,
            ),
            (
                "another dialect",
                json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "string"}),
                "/a",
                None,
            ),
            (
                "unevaluated, alone",
                json!({"type": "object", "properties": {"a": true}, "unevaluatedProperties": false}),
                "/b",
                Some("no member `b`"),
            ),
            (
                "unevaluated, beside others",
                json!({"type": "object", "anyOf": [true], "unevaluatedProperties": false}),
                "/b",
                None,
            ),
        ] {
            let got = ruled_out(&schema, &steps(text));
            match want {
                None => assert_eq!(got, None, "{name}"),
                Some(want) => assert!(
                    got.as_deref().is_some_and(|it| it.contains(want)),
                    "{name}: {got:?}"
                ),
            }
        }
    }

    #[test]
    fn references_that_fan_out_cost_bounded_work() {
        let fan = json!({"anyOf": vec![json!({"$ref": "#"}); 50], "allOf": vec![json!({"$ref": "#"}); 50]});
        assert_eq!(ruled_out(&fan, &steps("/a/b/c")), None);
        let object = json!({"properties": {"a": {"anyOf": vec![json!({"$ref": "#"}); 50]}}});
        assert_eq!(ruled_out(&object, &steps("/a/a/a/a/a/a/a/a/a/a")), None);
    }

    proptest! {
        #[test]
        fn no_schema_makes_it_panic(schema in any_json(), text in "(/(a|b|0|\\*)){0,4}") {
            let _ = ruled_out(&schema, &steps(&text));
        }
    }
}
