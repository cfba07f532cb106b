//! A JSON value that counts how often it is looked at, so that validation has an end of its own.
//!
//! A validator takes as long as schema and answer together make it: a schema of some lines can ask for 2^60 visits of a small
//! answer. It has no bound and hears no call to stop. So it is handed values that pay for every look out of an [`Effort`],
//! and that unwind out of it when there is nothing left to pay with: the only way out of a call that has no other.
//!
//! # Invariants
//!
//! - No look is free, so that whatever is asked ends after as many steps as there are.
//! - How deep the validator is in itself is looked at with each of them, too: it has no bound of that either, and a stack that
//!   overflows is the end of the process.
//! - Unwinding starts here only, and ends in [`within`]; no hook hears of it, and no panic of anybody else passes it.
//! - Errors of the validator hold no parts of the answer (but the names of members): copies of it, one for each level of
//!   nested `anyOf`, would cost more than judging it.

use std::{
    borrow::Cow,
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use jsonschema::{
    JsonType,
    json::{Array, Json, Node, NodeIdentity, Object, cmp, unique},
};
use serde_json::{Map, Value, map};

use crate::contract::{Effort, effort::Exhausted};

/// Text is paid for by its length, too: a pattern looks at all of it.
const TEXT_BYTES_PER_STEP: usize = 64;
/// An error is built out of two paths and a message.
const STEPS_PER_ERROR: u64 = 16;
/// How much of the thread's stack a validation may take: half of what the smallest has (2 MiB).
const STACK_BYTES_MAX: usize = 1 << 20;

/// What the values of one answer pay from.
pub(super) struct Meter<'a> {
    effort: &'a Effort<'a>,
    errors_left: Cell<u32>,
    root: &'a Value,
    /// Where on the stack the validation began.
    stack_base: usize,
}

/// Why a validation was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It took too much.
    Exhausted(Exhausted),
    /// It led too deep.
    Deep,
    /// It found more errors than anybody will read.
    Errors,
    /// The validator panicked.
    Broken,
}

/// The representation for the validator: [`Metered`] values.
pub(super) struct MeteredJson;

/// A value, and what it pays from. The names of members have nothing to pay with: their objects did.
#[derive(Clone, Copy)]
pub(super) struct Metered<'a> {
    value: &'a Value,
    meter: Option<&'a Meter<'a>>,
}

#[derive(Clone, Copy)]
pub(super) struct Members<'a> {
    members: &'a Map<String, Value>,
    meter: Option<&'a Meter<'a>>,
}

#[derive(Clone, Copy)]
pub(super) struct Elements<'a> {
    elements: &'a [Value],
    meter: Option<&'a Meter<'a>>,
}

pub(super) struct Paid<'a, I> {
    inner: I,
    meter: Option<&'a Meter<'a>>,
}

/// Runs a validation to its end, or to the end of what it may take.
pub(super) fn within<T>(run: impl FnOnce() -> T) -> Result<T, Stop> {
    // Nothing that was changed inside is looked at afterwards but the meter, which is made of cells.
    catch_unwind(AssertUnwindSafe(run))
        .map_err(|payload| payload.downcast().map_or(Stop::Broken, |stop| *stop))
}

// --- Meter ---

impl<'a> Meter<'a> {
    /// For one answer, in which this many errors may be found.
    pub(super) fn new(root: &'a Value, effort: &'a Effort<'a>, errors_max: u32) -> Self {
        Self {
            effort,
            errors_left: Cell::new(errors_max),
            root,
            stack_base: stack_address(),
        }
    }

    /// The answer, as the validator takes it.
    pub(super) fn root(&'a self) -> Metered<'a> {
        Metered {
            value: self.root,
            meter: Some(self),
        }
    }

    #[inline]
    fn pay(&self, steps: u64) {
        self.look_down();
        if let Err(exhausted) = self.effort.spend(steps) {
            leave(Stop::Exhausted(exhausted));
        }
    }

    #[inline]
    fn look_down(&self) {
        if self.stack_base.abs_diff(stack_address()) > STACK_BYTES_MAX {
            leave(Stop::Deep);
        }
    }

    fn pay_for_error(&self) {
        self.pay(STEPS_PER_ERROR);
        match self.errors_left.get().checked_sub(1) {
            Some(left) => self.errors_left.set(left),
            None => leave(Stop::Errors),
        }
    }
}

/// About where on its stack this thread is.
#[inline]
fn stack_address() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)) as usize
}

#[cold]
fn leave(stop: Stop) -> ! {
    resume_unwind(Box::new(stop))
}

#[inline]
fn pay(meter: Option<&Meter<'_>>, steps: u64) {
    if let Some(meter) = meter {
        meter.pay(steps);
    }
}

/// Values inside each other and beside each other, the value itself included.
fn size(value: &Value) -> u64 {
    match value {
        Value::Array(elements) => 1 + elements.iter().map(size).sum::<u64>(),
        Value::Object(members) => 1 + members.values().map(size).sum::<u64>(),
        Value::String(text) => 1 + (text.len() / TEXT_BYTES_PER_STEP) as u64,
        _ => 1,
    }
}

// --- MeteredJson ---

impl Json for MeteredJson {
    type Node<'a> = Metered<'a>;
    type PreparedKey = String;
    type StringBuffer = Value;

    // As the crate has it for its own serde_json representation.
    const KEYS_PER_LOOKUP: usize = 2;
    const ACYCLIC: bool = true;

    fn prepare_key(key: &str) -> String {
        key.to_owned()
    }

    fn with_string_node<T>(
        buffer: &mut Value,
        string: &str,
        f: impl FnOnce(Metered<'_>) -> T,
    ) -> T {
        if let Value::String(text) = buffer {
            text.clear();
            text.push_str(string);
        } else {
            *buffer = Value::String(string.to_owned());
        }
        f(Metered {
            value: buffer,
            meter: None,
        })
    }
}

// --- Metered ---

impl<'a> Node<'a, MeteredJson> for Metered<'a> {
    type Object = Members<'a>;
    type Array = Elements<'a>;
    type Number = &'a serde_json::Number;

    fn as_object(&self) -> Option<Members<'a>> {
        pay(self.meter, 1);
        let meter = self.meter;
        let members = self.value.as_object()?;
        Some(Members { members, meter })
    }

    fn as_array(&self) -> Option<Elements<'a>> {
        pay(self.meter, 1);
        let meter = self.meter;
        let elements = self.value.as_array()?;
        Some(Elements { elements, meter })
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        let text = self.value.as_str();
        let bytes = text.map_or(0, str::len);
        pay(self.meter, 1 + (bytes / TEXT_BYTES_PER_STEP) as u64);
        text.map(Cow::Borrowed)
    }

    fn as_number(&self) -> Option<&'a serde_json::Number> {
        pay(self.meter, 1);
        self.value.as_number()
    }

    fn as_boolean(&self) -> Option<bool> {
        pay(self.meter, 1);
        self.value.as_bool()
    }

    fn is_null(&self) -> bool {
        pay(self.meter, 1);
        self.value.is_null()
    }

    fn json_type(&self) -> JsonType {
        pay(self.meter, 1);
        match self.value {
            Value::Null => JsonType::Null,
            Value::Bool(_) => JsonType::Boolean,
            Value::Number(_) => JsonType::Number,
            Value::String(_) => JsonType::String,
            Value::Array(_) => JsonType::Array,
            Value::Object(_) => JsonType::Object,
        }
    }

    fn equals_value(&self, expected: &Value) -> bool {
        pay(self.meter, 1);
        cmp::equal(self.value, expected)
    }

    /// What an error says of its instance, and nobody else asks. It is found by its place again, so nothing is handed out.
    fn to_value(&self) -> Cow<'a, Value> {
        let Some(meter) = self.meter else {
            return Cow::Owned(self.value.clone());
        };
        meter.pay_for_error();
        if std::ptr::eq(self.value, meter.root) {
            // Of the root, parts are taken where a match by a pattern had to be given up.
            meter.pay(size(self.value));
            return Cow::Borrowed(self.value);
        }
        Cow::Borrowed(&Value::Null)
    }

    /// Asked for wherever a reference is followed, also where nothing is looked at.
    fn identity(&self) -> Option<NodeIdentity> {
        if let Some(meter) = self.meter {
            meter.look_down();
        }
        let address = std::ptr::from_ref::<Value>(self.value) as usize;
        Some(NodeIdentity::new(address))
    }
}

// --- Members ---

impl<'a> Object<'a, MeteredJson> for Members<'a> {
    type Node = Metered<'a>;
    type MemberName = &'a str;
    type MembersIter = Paid<'a, map::Iter<'a>>;

    fn len(&self) -> usize {
        self.members.len()
    }

    fn get(&self, key: &String) -> Option<Metered<'a>> {
        pay(self.meter, 1);
        let meter = self.meter;
        let value = self.members.get(key.as_str())?;
        Some(Metered { value, meter })
    }

    fn members(&self) -> Self::MembersIter {
        Paid {
            inner: self.members.iter(),
            meter: self.meter,
        }
    }
}

impl<'a> Iterator for Paid<'a, map::Iter<'a>> {
    type Item = (&'a str, Metered<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        pay(self.meter, 1);
        let meter = self.meter;
        let (name, value) = self.inner.next()?;
        Some((name.as_str(), Metered { value, meter }))
    }
}

// --- Elements ---

impl<'a> Array<'a, MeteredJson> for Elements<'a> {
    type Node = Metered<'a>;
    type ElementsIter = Paid<'a, std::slice::Iter<'a, Value>>;

    fn len(&self) -> usize {
        self.elements.len()
    }

    fn elements(&self) -> Self::ElementsIter {
        Paid {
            inner: self.elements.iter(),
            meter: self.meter,
        }
    }

    fn is_unique(&self) -> bool {
        if let Some(meter) = self.meter {
            self.elements
                .iter()
                .for_each(|value| meter.pay(size(value)));
        }
        unique::is_unique(self.elements)
    }
}

impl<'a> Iterator for Paid<'a, std::slice::Iter<'a, Value>> {
    type Item = Metered<'a>;

    fn next(&mut self) -> Option<Metered<'a>> {
        pay(self.meter, 1);
        let meter = self.meter;
        let value = self.inner.next()?;
        Some(Metered { value, meter })
    }
}
