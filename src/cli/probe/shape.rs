//! Shape: what JSON documents have in common. Pure.
//!
//! Several documents of one kind are merged: which types each value has, which members are always there, how long lists
//! are. From that follow a tree for people and a JSON Schema (2020-12) that those documents fit and that leaves room for
//! the next ones: no ranges, no enumerations, no limits of length, and members that were not seen are welcome.
//!
//! # Invariants
//!
//! - Every document that was merged fits the schema.
//! - Bounded in depth, in members, in elements looked at and in places altogether; beyond that anything is said to fit.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Objects and lists inside each other that are told apart.
const DEPTH_MAX: usize = 16;
/// Members of one object; one with more is taken for a table of records by their keys.
const MEMBERS_MAX: usize = 200;
/// Elements of one list that are looked at.
const ELEMENTS_MAX: usize = 2_000;
/// Places altogether.
const PLACES_MAX: usize = 2_000;
/// Members that look like keys of records make an object a table from here on.
const TABLE_MIN: usize = 3;

/// What was seen at one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// Values merged into it.
    pub(super) seen: u64,
    pub(super) null: bool,
    pub(super) boolean: bool,
    pub(super) integer: bool,
    /// A number with a fraction, or too large for an integer.
    pub(super) fraction: bool,
    pub(super) string: bool,
    pub(super) object: Option<Object>,
    pub(super) list: Option<List>,
    /// Beyond the bounds: whatever is there was not looked at.
    pub(super) unknown: bool,
}

/// What objects at one place have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Object {
    /// Objects merged.
    pub(super) seen: u64,
    pub(super) members: BTreeMap<String, Shape>,
    /// Members are records by their keys: all of one shape.
    pub(super) table: Option<Box<Shape>>,
    /// There were members beyond the bounds.
    pub(super) more: bool,
}

/// What lists at one place have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct List {
    pub(super) len_min: usize,
    pub(super) len_max: usize,
    pub(super) element: Box<Shape>,
}

/// Merges documents into one shape.
#[derive(Debug)]
pub(super) struct Merger {
    shape: Shape,
    places_left: usize,
}

impl Merger {
    pub(super) fn new() -> Self {
        Self {
            shape: Shape::default(),
            places_left: PLACES_MAX,
        }
    }

    pub(super) fn merge(&mut self, document: &Value) {
        merge(&mut self.shape, document, DEPTH_MAX, &mut self.places_left);
    }

    pub(super) fn shape(self) -> Shape {
        self.shape
    }
}

fn merge(shape: &mut Shape, value: &Value, depth: usize, places: &mut usize) {
    shape.seen += 1;
    match value {
        Value::Null => shape.null = true,
        Value::Bool(_) => shape.boolean = true,
        Value::Number(number) if number.is_f64() => shape.fraction = true,
        Value::Number(_) => shape.integer = true,
        Value::String(_) => shape.string = true,
        Value::Object(_) | Value::Array(_) if depth == 0 => shape.unknown = true,
        Value::Object(members) => {
            let object = shape.object.get_or_insert_default();
            merge_object(object, members, depth - 1, places);
        }
        Value::Array(elements) => {
            let len = elements.len();
            let list = shape.list.get_or_insert_with(|| List {
                len_min: len,
                len_max: len,
                element: Box::default(),
            });
            list.len_min = list.len_min.min(len);
            list.len_max = list.len_max.max(len);
            for element in elements.iter().take(ELEMENTS_MAX) {
                merge(&mut list.element, element, depth - 1, places);
            }
            list.element.unknown |= len > ELEMENTS_MAX;
        }
    }
}

fn merge_object(
    object: &mut Object,
    members: &Map<String, Value>,
    depth: usize,
    places: &mut usize,
) {
    object.seen += 1;
    if object.table.is_none() && is_table(members) {
        // What was told apart so far are records, too.
        let mut table = Shape::default();
        for (_, known) in std::mem::take(&mut object.members) {
            absorb(&mut table, known);
        }
        object.table = Some(Box::new(table));
    }
    if let Some(table) = &mut object.table {
        for value in members.values().take(ELEMENTS_MAX) {
            merge(table, value, depth, places);
        }
        table.unknown |= members.len() > ELEMENTS_MAX;
        return;
    }
    for (name, value) in members {
        let known = object.members.len();
        if let Some(shape) = object.members.get_mut(name) {
            merge(shape, value, depth, places);
        } else if known < MEMBERS_MAX && *places > 0 {
            *places -= 1;
            let shape = object.members.entry(name.clone()).or_default();
            merge(shape, value, depth, places);
        } else {
            object.more = true;
        }
    }
}

/// Both at one place.
fn absorb(shape: &mut Shape, other: Shape) {
    shape.seen += other.seen;
    shape.null |= other.null;
    shape.boolean |= other.boolean;
    shape.integer |= other.integer;
    shape.fraction |= other.fraction;
    shape.string |= other.string;
    shape.unknown |= other.unknown;
    if let Some(other) = other.object {
        // Which of its members are always there is not worth another rule: what differs is not looked into.
        match &shape.object {
            Some(object) if *object == other => {}
            Some(_) => shape.unknown = true,
            None => shape.object = Some(other),
        }
    }
    if let Some(other) = other.list {
        match &shape.list {
            Some(list) if *list == other => {}
            Some(_) => shape.unknown = true,
            None => shape.list = Some(other),
        }
    }
}

/// Whether its members are records by their keys: ids, dates, codes.
fn is_table(members: &Map<String, Value>) -> bool {
    members.len() > MEMBERS_MAX
        || (members.len() >= TABLE_MIN && members.keys().all(|name| is_id(name) || is_code(name)))
}

/// `EUR`: two to four capitals.
fn is_code(name: &str) -> bool {
    (2..=4).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// What names one of many: a number, a UUID, a date, a long hexadecimal number, letters and a number (`sku-1`).
pub(super) fn is_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    let has_digit = bytes.iter().any(u8::is_ascii_digit);
    if !has_digit || bytes.len() > 64 {
        return false;
    }
    let numbers = bytes
        .iter()
        .all(|byte| byte.is_ascii_digit() || b"-.:_".contains(byte));
    let hexadecimal = bytes.len() >= 16
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    let base32 = bytes.len() == 26 && bytes.iter().all(u8::is_ascii_alphanumeric);
    let named = text.split_once(['-', '_']).is_some_and(|(word, number)| {
        (1..=8).contains(&word.len())
            && word.bytes().all(|byte| byte.is_ascii_alphabetic())
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    numbers || hexadecimal || base32 || named
}

impl Shape {
    /// Whether nothing is known of it, so that anything fits.
    fn is_anything(&self) -> bool {
        // Only ever null, or nothing at all: of what it is otherwise, nothing was seen.
        self.unknown || self.types().iter().all(|name| *name == "null")
    }

    /// Names of its types, as JSON Schema has them; an integer may have a fraction tomorrow, so it is a number.
    fn types(&self) -> Vec<&'static str> {
        [
            (self.boolean, "boolean"),
            (self.integer || self.fraction, "number"),
            (self.string, "string"),
            (self.object.is_some(), "object"),
            (self.list.is_some(), "array"),
            (self.null, "null"),
        ]
        .into_iter()
        .filter_map(|(is, name)| is.then_some(name))
        .collect()
    }

    /// The schema that all of it fits.
    pub(super) fn schema(&self) -> Value {
        let mut schema = Map::new();
        if self.is_anything() {
            return Value::Object(schema);
        }
        let types = self.types();
        let named = match types.as_slice() {
            [one] => json!(one),
            several => json!(several),
        };
        schema.insert("type".to_owned(), named);
        if let Some(object) = &self.object {
            object.write_schema(&mut schema);
        }
        if let Some(list) = &self.list {
            let element = list.element.schema();
            if element != json!({}) {
                schema.insert("items".to_owned(), element);
            }
        }
        Value::Object(schema)
    }

    /// In a word or two: `number`, `string or null`, `list of 3 to 5`.
    pub(super) fn word(&self) -> String {
        let mut words = Vec::new();
        if let Some(object) = &self.object {
            words.push(match object.table {
                Some(_) => "object by key".to_owned(),
                None => "object".to_owned(),
            });
        }
        if let Some(list) = &self.list {
            words.push(match (list.len_min, list.len_max) {
                (0, 0) => "empty list".to_owned(),
                (min, max) if min == max => format!("list of {max}"),
                (min, max) => format!("list of {min} to {max}"),
            });
        }
        let simple = [
            (self.boolean, "boolean"),
            (self.integer && !self.fraction, "integer"),
            (self.fraction, "number"),
            (self.string, "string"),
            (self.null, "null"),
        ];
        let simple = simple.into_iter().filter(|(is, _)| *is);
        words.extend(simple.map(|(_, word)| word.to_owned()));
        if words.is_empty() {
            words.push("not looked into".to_owned());
        }
        words.join(" or ")
    }
}

impl Object {
    fn write_schema(&self, schema: &mut Map<String, Value>) {
        if let Some(table) = &self.table {
            let record = table.schema();
            if record != json!({}) {
                schema.insert("additionalProperties".to_owned(), record);
            }
            return;
        }
        let required: Vec<&String> = self
            .members
            .iter()
            .filter(|(_, member)| member.seen == self.seen)
            .map(|(name, _)| name)
            .collect();
        if !required.is_empty() {
            schema.insert("required".to_owned(), json!(required));
        }
        if !self.members.is_empty() {
            let members = self.members.iter();
            let members: Map<String, Value> = members
                .map(|(name, member)| (name.clone(), member.schema()))
                .collect();
            schema.insert("properties".to_owned(), Value::Object(members));
        }
    }
}

// --- Tree ---

/// One line of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    /// How deep it is.
    pub(super) depth: usize,
    /// The member's name; `[]` for what a list holds, `{}` for a record of a table.
    pub(super) name: String,
    /// Its types, and how often it is there where that is not always.
    pub(super) about: String,
}

impl Shape {
    /// The tree, no more than `lines_max` lines of it, and whether that is all.
    pub(super) fn tree(&self, lines_max: usize) -> (Vec<Leaf>, bool) {
        let mut leaves = Vec::new();
        self.grow(0, &mut leaves, lines_max);
        let is_all = leaves.len() <= lines_max;
        leaves.truncate(lines_max);
        (leaves, is_all)
    }

    fn grow(&self, depth: usize, leaves: &mut Vec<Leaf>, lines_max: usize) {
        let mut branch = |name: &str, shape: &Self, of: u64| {
            // One more than asked for is how it is known that there are more.
            if leaves.len() > lines_max {
                return;
            }
            let mut about = shape.word();
            if shape.seen < of {
                about = format!("{about}, in {} of {of}", shape.seen);
            }
            leaves.push(Leaf {
                depth,
                name: super::seen::shown(name, 40),
                about,
            });
            shape.grow(depth + 1, leaves, lines_max);
        };
        if let Some(object) = &self.object {
            if let Some(table) = &object.table {
                branch("{}", table, table.seen);
            }
            for (name, member) in &object.members {
                branch(name, member, object.seen);
            }
        }
        if let Some(list) = &self.list
            && list.element.seen > 0
        {
            branch("[]", &list.element, list.element.seen);
        }
    }
}

/// The longest list of records in it, as a JSON Pointer, where the document is one or holds one directly.
pub(super) fn records(shape: &Shape) -> Option<(String, &List)> {
    let of_records = |shape: &Shape| {
        let list = shape.list.as_ref();
        list.is_some_and(|list| list.len_min > 0 && list.element.object.is_some())
    };
    if of_records(shape) {
        return Some((String::new(), shape.list.as_ref()?));
    }
    let object = shape
        .object
        .as_ref()
        .filter(|object| object.table.is_none())?;
    let lists = object
        .members
        .iter()
        .filter(|(_, member)| of_records(member) && member.seen == object.seen && !member.null);
    let lists = lists.filter_map(|(name, member)| Some((pointer(name), member.list.as_ref()?)));
    lists.max_by_key(|(_, list)| list.len_max)
}

/// A member of the document as a JSON Pointer (RFC 6901 3).
pub(super) fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
