//! The values that programs work on: JSON, counted.
//!
//! A type of our own instead of the crate's, so that everything it does is paid for (see [`super::meter`]), strings are
//! always text, keys are always strings, members stay in order, and numbers that are only passed on stay as the vendor
//! wrote them.
//!
//! # Invariants
//!
//! - A value is never deeper than [`DEPTH_MAX`], so that dropping, comparing and writing it are bounded in stack.
//! - Whatever holds memory holds a [`Charge`] for it.

use std::{borrow::Borrow, fmt, hash, rc::Rc};

use indexmap::IndexMap;
use jaq_json::Num;

use super::{
    meter::{self, Charge, Stop},
    write,
};

/// Arrays and objects inside each other, while a program runs.
pub(super) const DEPTH_MAX: u32 = 1024;
/// Steps of a path into what is not there, or from a slice to a slice of it.
const PARTS_MAX: u32 = 10_000;
/// What an error message shows of a value, in bytes.
const SHOWN_MAX: usize = 100;

/// A JSON value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// What is not there; how far into it a path has reached.
    Null(u32),
    Bool(bool),
    Num(Num),
    Str(Str),
    Arr(Rc<Array>),
    Obj(Rc<Object>),
}

/// A value or an error of the program.
pub(super) type ValR = jaq_core::ValR<Value>;
/// An error of the program.
pub(super) type Error = jaq_core::Error<Value>;

impl Value {
    pub(super) const NULL: Self = Self::Null(0);

    /// What lies inside of what is not there: nothing. A path may go on like that, but not for ever: the list of its steps
    /// is dropped one inside the other.
    pub(super) fn beyond(reached: u32) -> Self {
        Self::Null(next_part(reached))
    }

    pub(super) fn str(text: impl Into<String>) -> Self {
        Self::Str(Str::new(text))
    }

    /// How deep it is: 0 for what holds nothing.
    pub(super) fn depth(&self) -> u32 {
        match self {
            Self::Arr(array) => array.depth,
            Self::Obj(object) => object.depth,
            _ => 0,
        }
    }

    /// For messages: "an object".
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null(_) => "null",
            Self::Bool(_) => "a boolean",
            Self::Num(_) => "a number",
            Self::Str(_) => "a string",
            Self::Arr(_) => "an array",
            Self::Obj(_) => "an object",
        }
    }
}

impl fmt::Display for Value {
    /// As JSON, cut short: what messages show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, is_whole) = write::shown(self, SHOWN_MAX);
        f.write_str(&text)?;
        if is_whole { Ok(()) } else { f.write_str("...") }
    }
}

/// Text that many values may share.
#[derive(Clone, Debug)]
pub(super) struct Str(Rc<Text>);

#[derive(Debug)]
struct Text {
    text: String,
    /// Slices of slices it was cut from.
    parts: u32,
    charge: Charge,
}

impl Str {
    const OVERHEAD: usize = 64;

    pub(super) fn new(text: impl Into<String>) -> Self {
        Self::with_parts(text.into(), 0)
    }

    /// A slice of a text that is itself the slice of a slice, so many times.
    pub(super) fn part(text: String, parts: u32) -> Self {
        Self::with_parts(text, next_part(parts))
    }

    fn with_parts(text: String, parts: u32) -> Self {
        meter::spend_bytes(text.len());
        let charge = Charge::new(Self::OVERHEAD + text.capacity());
        Self(Rc::new(Text {
            text,
            parts,
            charge,
        }))
    }

    pub(super) fn parts(&self) -> u32 {
        self.0.parts
    }

    /// Text of bytes; what is not UTF-8 is replaced, as U+FFFD.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        Self::new(String::from_utf8_lossy(bytes))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0.text
    }

    /// With more at its end; in place where nobody else has it.
    pub(super) fn join(mut self, more: &Self) -> Self {
        meter::spend_bytes(more.as_str().len());
        if let Some(own) = Rc::get_mut(&mut self.0) {
            let (len, room) = (own.text.len() + more.as_str().len(), own.text.capacity());
            if len > room {
                let grown = len.max(room.saturating_mul(2));
                own.charge.grow(grown - room);
                own.text.reserve_exact(grown - own.text.len());
            }
            own.text.push_str(more.as_str());
            return self;
        }
        let mut text = String::new();
        let room = Charge::new(self.as_str().len() + more.as_str().len());
        text.reserve_exact(self.as_str().len() + more.as_str().len());
        text.push_str(self.as_str());
        text.push_str(more.as_str());
        drop(room);
        Self::new(text)
    }

    /// So many times over.
    pub(super) fn repeat(&self, times: usize) -> Self {
        let len = self.as_str().len().saturating_mul(times);
        // Before it is there: it may be more than there is.
        drop(Charge::new(len));
        Self::new(self.as_str().repeat(times))
    }
}

impl PartialEq for Str {
    fn eq(&self, other: &Self) -> bool {
        meter::spend_bytes(self.as_str().len().min(other.as_str().len()));
        Rc::ptr_eq(&self.0, &other.0) || self.as_str() == other.as_str()
    }
}

impl Eq for Str {}

impl PartialOrd for Str {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Str {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        meter::spend_bytes(self.as_str().len().min(other.as_str().len()));
        // By code point, which is the order of the bytes.
        self.as_str().cmp(other.as_str())
    }
}

impl hash::Hash for Str {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Borrow<str> for Str {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

/// Values in a row.
#[derive(Debug, Default)]
pub(super) struct Array {
    items: Vec<Value>,
    depth: u32,
    /// Slices of slices it was cut from.
    parts: u32,
    charge: Charge,
}

/// Values by key, in the order in which the keys came.
#[derive(Debug, Default)]
pub(super) struct Object {
    members: IndexMap<Str, Value>,
    depth: u32,
    charge: Charge,
}

/// Stops a program whose paths go on and on without coming deeper into a value.
fn next_part(parts: u32) -> u32 {
    if parts >= PARTS_MAX {
        meter::stop(Stop::Depth);
    }
    parts + 1
}

/// Stops a program whose values are too deep.
fn outer_depth(outer: u32, inner: &Value) -> u32 {
    let depth = outer.max(inner.depth() + 1);
    if depth > DEPTH_MAX {
        meter::stop(Stop::Depth);
    }
    depth
}

impl Array {
    const OVERHEAD: usize = 64;

    pub(super) fn new() -> Self {
        Self {
            items: Vec::new(),
            depth: 1,
            parts: 0,
            charge: Charge::new(Self::OVERHEAD),
        }
    }

    /// A slice of an array that is itself the slice of a slice, so many times.
    pub(super) fn part(items: impl Iterator<Item = Value>, parts: u32) -> Self {
        Self {
            parts: next_part(parts),
            ..items.collect()
        }
    }

    pub(super) fn parts(&self) -> u32 {
        self.parts
    }

    pub(super) fn items(&self) -> &[Value] {
        &self.items
    }

    pub(super) fn into_items(self) -> std::vec::IntoIter<Value> {
        self.items.into_iter()
    }

    pub(super) fn push(&mut self, value: Value) {
        meter::spend(1);
        self.depth = outer_depth(self.depth, &value);
        let room = self.items.capacity();
        if self.items.len() == room {
            let grown = (room * 2).max(4);
            self.charge.grow((grown - room) * size_of::<Value>());
            self.items.reserve_exact(grown - self.items.len());
        }
        self.items.push(value);
    }

    /// Puts `null` where there was a value, and hands that out.
    pub(super) fn take(&mut self, index: usize) -> Value {
        self.items
            .get_mut(index)
            .map_or(Value::NULL, |place| std::mem::replace(place, Value::NULL))
    }

    /// Puts a value where one is; at the end, or behind it, `null` fills the gap.
    pub(super) fn put(&mut self, index: usize, value: Value) {
        if index < self.items.len() {
            self.depth = outer_depth(self.depth, &value);
            self.items[index] = value;
            return;
        }
        while self.items.len() < index {
            self.push(Value::NULL);
        }
        self.push(value);
    }

    pub(super) fn remove(&mut self, index: usize) {
        if index < self.items.len() {
            meter::spend((self.items.len() - index) as u64 / 16);
            self.items.remove(index);
        }
    }
}

impl Clone for Array {
    fn clone(&self) -> Self {
        meter::spend(self.items.len() as u64 + 1);
        let charge = Charge::new(Self::OVERHEAD + self.items.len() * size_of::<Value>());
        Self {
            items: self.items.clone(),
            depth: self.depth,
            parts: self.parts,
            charge,
        }
    }
}

impl FromIterator<Value> for Array {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Self {
        let mut array = Self::new();
        for value in values {
            array.push(value);
        }
        array
    }
}

impl Object {
    const OVERHEAD: usize = 128;
    /// Key, value, hash, place in the table.
    const MEMBER: usize = size_of::<Str>() + size_of::<Value>() + 24;

    pub(super) fn new() -> Self {
        Self {
            members: IndexMap::new(),
            depth: 1,
            charge: Charge::new(Self::OVERHEAD),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        meter::spend_bytes(key.len());
        self.members.get(key)
    }

    /// In place: from zero.
    pub(super) fn at(&self, index: usize) -> Option<(&Str, &Value)> {
        self.members.get_index(index)
    }

    pub(super) fn members(&self) -> impl ExactSizeIterator<Item = (&Str, &Value)> {
        self.members.iter()
    }

    pub(super) fn into_members(self) -> indexmap::map::IntoIter<Str, Value> {
        self.members.into_iter()
    }

    /// A key that is there keeps its place.
    pub(super) fn insert(&mut self, key: Str, value: Value) {
        meter::spend_bytes(key.as_str().len());
        self.depth = outer_depth(self.depth, &value);
        let room = self.members.capacity();
        if self.members.len() == room {
            let grown = (room * 2).max(4);
            self.charge.grow((grown - room) * Self::MEMBER);
            self.members.reserve_exact(grown - self.members.len());
        }
        self.members.insert(key, value);
    }

    /// Puts `null` where there was a value, and hands that out.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        meter::spend_bytes(key.len());
        self.members
            .get_mut(key)
            .map(|place| std::mem::replace(place, Value::NULL))
    }

    /// The others stay in order.
    pub(super) fn remove(&mut self, key: &str) {
        meter::spend(1 + self.members.len() as u64 / 16);
        self.members.shift_remove(key);
    }
}

impl Clone for Object {
    fn clone(&self) -> Self {
        meter::spend(1 + 2 * self.members.len() as u64);
        let charge = Charge::new(Self::OVERHEAD + self.members.len() * Self::MEMBER);
        Self {
            members: self.members.clone(),
            depth: self.depth,
            charge,
        }
    }
}

impl From<Array> for Value {
    fn from(array: Array) -> Self {
        Self::Arr(Rc::new(array))
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self::Obj(Rc::new(object))
    }
}

impl FromIterator<Value> for Value {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Self {
        Array::from_iter(values).into()
    }
}

impl From<bool> for Value {
    fn from(bool: bool) -> Self {
        Self::Bool(bool)
    }
}

impl From<isize> for Value {
    fn from(int: isize) -> Self {
        Self::Num(Num::Int(int))
    }
}

impl From<usize> for Value {
    fn from(int: usize) -> Self {
        Self::Num(Num::from_integral(int))
    }
}

impl From<f64> for Value {
    fn from(float: f64) -> Self {
        Self::Num(Num::Float(float))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(Str::new(text))
    }
}

impl From<jaq_core::val::Range<Self>> for Value {
    /// How jq writes a slice in a path.
    fn from(range: jaq_core::val::Range<Self>) -> Self {
        let mut object = Object::new();
        for (key, bound) in [("start", range.start), ("end", range.end)] {
            object.insert(Str::new(key), bound.unwrap_or(Self::NULL));
        }
        object.into()
    }
}
