//! One check of a rule: what a value, or all values of a field, have to be.
//!
//! Pure. A check is shown as the config wrote it (`above 0`, `at_most /gross`), which with its field makes the term of a
//! violation.

use std::{
    cmp::Ordering,
    collections::HashMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use serde_json::Value;

use super::{
    Field, Percent,
    values::{Num, Same, cut, kind},
};

/// What a rule asks of its field.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// Each value is of one of these types.
    Type(Vec<Type>),
    /// Each value is a number, or a decimal text, and this or more.
    Min(Num),
    /// This or less.
    Max(Num),
    /// More than this.
    Above(Num),
    /// Less than this.
    Below(Num),
    /// Each value is this one.
    Equals(Value),
    /// Each value is one of these.
    OneOf(OneOf),
    /// Each text has more than space in it, each list and object something.
    NonEmpty,
    /// No two values are the same: of a path, the values that it finds; of a pointer, the elements of its list.
    Unique,
    /// Each value is at most that of the other field: numbers by size, dates by time, other texts by code points.
    AtMost(Field),
    /// So many values, or elements of a list, or more.
    CountMin(u64),
    /// So many or less.
    CountMax(u64),
    /// As many as in the last good answer, or more or less by at most this share of them.
    CountWithin(Percent),
}

/// The types of JSON, and its whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Text.
    String,
    /// Any number.
    Number,
    /// A number without a fraction: 1.0 is one, as JSON Schema has it.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A list.
    Array,
    /// An object.
    Object,
}

/// A set of values that is looked up by hash, since a list of thousands may be asked for each of many thousand values.
#[derive(Clone, Debug)]
pub struct OneOf {
    values: Vec<Value>,
    by_hash: HashMap<u64, Vec<usize>>,
}

// --- Type ---

impl Type {
    /// All of them, by the word of the config.
    pub const WORDS: [&'static str; 6] =
        ["string", "number", "integer", "boolean", "array", "object"];

    /// The type of this word.
    pub fn of_word(word: &str) -> Option<Self> {
        Some(match word {
            "string" => Self::String,
            "number" => Self::Number,
            "integer" => Self::Integer,
            "boolean" => Self::Boolean,
            "array" => Self::Array,
            "object" => Self::Object,
            _ => return None,
        })
    }

    /// The word of the config.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::Array => "array",
            Self::Object => "object",
        }
    }

    fn takes(self, value: &Value) -> bool {
        match (self, value) {
            (Self::String, Value::String(_))
            | (Self::Number, Value::Number(_))
            | (Self::Boolean, Value::Bool(_))
            | (Self::Array, Value::Array(_))
            | (Self::Object, Value::Object(_)) => true,
            (Self::Integer, Value::Number(number)) => {
                // A double beyond 2^53 has no fraction, whatever it says.
                number.as_f64().is_some_and(|number| number.fract() == 0.0)
            }
            _ => false,
        }
    }
}

// --- OneOf ---

impl OneOf {
    /// Of these values.
    pub fn new(values: Vec<Value>) -> Self {
        let mut by_hash: HashMap<u64, Vec<usize>> = HashMap::new();
        for (index, value) in values.iter().enumerate() {
            by_hash.entry(hash(value)).or_default().push(index);
        }
        Self { values, by_hash }
    }

    /// Whether it is one of them.
    pub fn contains(&self, value: &Value) -> bool {
        let candidates = self.by_hash.get(&hash(value));
        let mut candidates = candidates.into_iter().flatten();
        candidates.any(|index| {
            self.values
                .get(*index)
                .is_some_and(|it| Same(it) == Same(value))
        })
    }
}

impl PartialEq for OneOf {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl Eq for OneOf {}

fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    Same(value).hash(&mut hasher);
    hasher.finish()
}

// --- Check ---

impl Check {
    /// What is wrong with a single value; `None` where nothing is, or where the check is about more than one value.
    pub(super) fn wrong(&self, value: &Value) -> Option<String> {
        let is_met = match self {
            Self::Type(types) => types.iter().any(|it| it.takes(value)),
            Self::Min(min) => return wrong_number(value, |it| it >= *min, "at least", *min),
            Self::Max(max) => return wrong_number(value, |it| it <= *max, "at most", *max),
            Self::Above(min) => return wrong_number(value, |it| it > *min, "above", *min),
            Self::Below(max) => return wrong_number(value, |it| it < *max, "below", *max),
            Self::Equals(wanted) => Same(value) == Same(wanted),
            Self::OneOf(wanted) => wanted.contains(value),
            Self::NonEmpty => match value {
                Value::String(text) => !text.trim().is_empty(),
                Value::Array(elements) => !elements.is_empty(),
                Value::Object(members) => !members.is_empty(),
                Value::Null => false,
                Value::Bool(_) | Value::Number(_) => true,
            },
            Self::Unique
            | Self::AtMost(_)
            | Self::CountMin(_)
            | Self::CountMax(_)
            | Self::CountWithin(_) => true,
        };
        if is_met {
            return None;
        }
        Some(match self {
            Self::Type(types) => format!("not {}", type_words(types)),
            Self::Equals(wanted) => format!("not {}", cut(&wanted.to_string(), 60)),
            Self::OneOf(wanted) => format!("not one of {}", listed(&wanted.values)),
            _ => "empty".to_owned(),
        })
    }

    /// Whether the check looks at all values of the field together.
    pub(super) fn is_of_all(&self) -> bool {
        matches!(
            self,
            Self::Unique
                | Self::AtMost(_)
                | Self::CountMin(_)
                | Self::CountMax(_)
                | Self::CountWithin(_)
        )
    }
}

fn wrong_number(
    value: &Value,
    is_met: impl Fn(Num) -> bool,
    word: &str,
    bound: Num,
) -> Option<String> {
    match Num::of(value) {
        Some(number) if is_met(number) => None,
        Some(_) => Some(format!("not {word} {bound}")),
        None => Some(format!(
            "{} and no number, which has to be {word} {bound}",
            kind(value)
        )),
    }
}

fn type_words(types: &[Type]) -> String {
    let words: Vec<_> = types.iter().map(|it| it.as_str()).collect();
    words.join(" or ")
}

fn listed(values: &[Value]) -> String {
    let mut words = String::new();
    for (index, value) in values.iter().enumerate() {
        if words.len() > 60 {
            words.push_str(", …");
            break;
        }
        let separator = if index == 0 { "" } else { ", " };
        words = format!("{words}{separator}{}", cut(&value.to_string(), 40));
    }
    words
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(types) => write!(f, "type {}", type_words(types)),
            Self::Min(min) => write!(f, "min {min}"),
            Self::Max(max) => write!(f, "max {max}"),
            Self::Above(min) => write!(f, "above {min}"),
            Self::Below(max) => write!(f, "below {max}"),
            Self::Equals(value) => write!(f, "equals {}", cut(&value.to_string(), 60)),
            Self::OneOf(wanted) => write!(f, "one_of {}", listed(&wanted.values)),
            Self::NonEmpty => f.write_str("non_empty"),
            Self::Unique => f.write_str("unique"),
            Self::AtMost(other) => write!(f, "at_most {other}"),
            Self::CountMin(min) => write!(f, "count_min {min}"),
            Self::CountMax(max) => write!(f, "count_max {max}"),
            Self::CountWithin(share) => write!(f, "count_within {share}"),
        }
    }
}

/// What two checks of one rule cannot both be; in words.
pub fn contradiction(checks: &[Check]) -> Option<String> {
    let number = |want: fn(&Check) -> Option<Num>| checks.iter().find_map(want);
    let min = number(|it| {
        if let Check::Min(min) = it {
            Some(*min)
        } else {
            None
        }
    });
    let max = number(|it| {
        if let Check::Max(max) = it {
            Some(*max)
        } else {
            None
        }
    });
    let above = number(|it| {
        if let Check::Above(min) = it {
            Some(*min)
        } else {
            None
        }
    });
    let below = number(|it| {
        if let Check::Below(max) = it {
            Some(*max)
        } else {
            None
        }
    });
    for (low_word, low, high_word, high, equal_fits) in [
        ("min", min, "max", max, true),
        ("min", min, "below", below, false),
        ("above", above, "max", max, false),
        ("above", above, "below", below, false),
    ] {
        let (Some(low), Some(high)) = (low, high) else {
            continue;
        };
        let order = low.cmp(&high);
        if order == Ordering::Greater || (order == Ordering::Equal && !equal_fits) {
            return Some(format!(
                "no value is at the same time `{low_word}` {low} and `{high_word}` {high}"
            ));
        }
    }
    let count = |want: fn(&Check) -> Option<u64>| checks.iter().find_map(want);
    let min = count(|it| {
        if let Check::CountMin(min) = it {
            Some(*min)
        } else {
            None
        }
    });
    let max = count(|it| {
        if let Check::CountMax(max) = it {
            Some(*max)
        } else {
            None
        }
    });
    match (min, max) {
        (Some(min), Some(max)) if min > max => Some(format!(
            "no list has at the same time `count_min` {min} and `count_max` {max}"
        )),
        _ => None,
    }
}
