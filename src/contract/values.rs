//! When two JSON values are the same, which of two is more, and how one is shown.
//!
//! Pure. JSON has one kind of number (RFC 8259 6), so 1 and 1.0 are the same here, whatever a reader keeps them as; integers
//! and doubles are compared without rounding one to the other.

use std::{
    cmp::Ordering,
    hash::{Hash, Hasher},
};

use jiff::{Timestamp, civil::Date};
use serde_json::Value;

/// A number in the form in which equal ones are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Num {
    /// A whole one that 128 bits can hold.
    Int(i128),
    /// The bits of any other double; never of one that is whole and could be held.
    Float(u64),
}

/// A value as the key of a map: equal and hashed as JSON, 1 as 1.0.
#[derive(Clone, Copy, Debug)]
pub struct Same<'v>(pub &'v Value);

// --- Num ---

impl Num {
    /// Of a double; infinite ones become the outermost finite one, and what is no number is none.
    pub fn from_f64(number: f64) -> Option<Self> {
        if number.is_nan() {
            return None;
        }
        let number = number.clamp(f64::MIN, f64::MAX);
        // 2^126 and all doubles below are exact as integers.
        if number.trunc() == number && number.abs() < 2f64.powi(126) {
            return Some(Self::Int(number as i128));
        }
        Some(Self::Float(number.to_bits()))
    }

    /// Of a JSON number.
    pub fn of_number(number: &serde_json::Number) -> Option<Self> {
        if let Some(int) = number.as_i64() {
            return Some(Self::Int(int.into()));
        }
        if let Some(int) = number.as_u64() {
            return Some(Self::Int(int.into()));
        }
        number.as_f64().and_then(Self::from_f64)
    }

    /// Of a number, or of a text that is a decimal number: many price APIs send `"12.50"`, so that no reader rounds it.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => Self::of_number(number),
            Value::String(text) => Self::of_decimal(text),
            _ => None,
        }
    }

    /// Of `-12.50`, `1e3`: a sign, digits, a point with digits, an exponent; nothing else, so neither `1,000` nor `12 EUR`.
    fn of_decimal(text: &str) -> Option<Self> {
        const DECIMAL_BYTES_MAX: usize = 64;
        if text.len() > DECIMAL_BYTES_MAX {
            return None;
        }
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (unsigned, None),
        };
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let is_mantissa = match mantissa.split_once('.') {
            Some((whole, fraction)) => is_digits(whole) && is_digits(fraction),
            None => is_digits(mantissa),
        };
        let unsigned_exponent = |it: &str| is_digits(it.strip_prefix(['-', '+']).unwrap_or(it));
        if !is_mantissa || !exponent.is_none_or(unsigned_exponent) {
            return None;
        }
        if let Ok(int) = text.parse::<i128>() {
            return Some(Self::Int(int));
        }
        text.parse::<f64>().ok().and_then(Self::from_f64)
    }

    /// As the nearest double.
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Int(int) => int as f64,
            Self::Float(bits) => f64::from_bits(bits),
        }
    }
}

impl Ord for Num {
    fn cmp(&self, other: &Self) -> Ordering {
        match (*self, *other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(&b),
            (Self::Float(a), Self::Float(b)) => f64::from_bits(a).total_cmp(&f64::from_bits(b)),
            (Self::Int(a), Self::Float(b)) => int_to_float(a, f64::from_bits(b)),
            (Self::Float(a), Self::Int(b)) => int_to_float(b, f64::from_bits(a)).reverse(),
        }
    }
}

impl PartialOrd for Num {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Neither is rounded. `float` is finite.
fn int_to_float(int: i128, float: f64) -> Ordering {
    if float.abs() >= 2f64.powi(127) {
        return if float > 0.0 {
            Ordering::Less
        } else {
            Ordering::Greater
        };
    }
    let whole = float.trunc();
    int.cmp(&(whole as i128))
        .then_with(|| 0f64.total_cmp(&(float - whole)))
}

impl std::fmt::Display for Num {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Int(int) => write!(f, "{int}"),
            Self::Float(bits) => match serde_json::Number::from_f64(f64::from_bits(*bits)) {
                Some(number) => write!(f, "{number}"),
                None => f.write_str("no number"),
            },
        }
    }
}

// --- Same ---

impl PartialEq for Same<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self.0, other.0) {
            (Value::Number(a), Value::Number(b)) => Num::of_number(a) == Num::of_number(b),
            (Value::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Same(a) == Same(b))
            }
            (Value::Object(a), Value::Object(b)) => {
                let same = |(name, a)| b.get(name).is_some_and(|b| Same(a) == Same(b));
                a.len() == b.len() && a.iter().all(same)
            }
            (a, b) => a == b,
        }
    }
}

impl Eq for Same<'_> {}

impl Hash for Same<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self.0).hash(state);
        match self.0 {
            Value::Null => {}
            Value::Bool(flag) => flag.hash(state),
            Value::Number(number) => Num::of_number(number).hash(state),
            Value::String(text) => text.hash(state),
            Value::Array(elements) => {
                elements.len().hash(state);
                elements.iter().for_each(|it| Same(it).hash(state));
            }
            Value::Object(members) => {
                members.len().hash(state);
                // Members are kept by name, so that equal objects are walked alike.
                for (name, value) in members {
                    name.hash(state);
                    Same(value).hash(state);
                }
            }
        }
    }
}

// --- order ---

/// How two values compare; `None` where that makes no sense.
///
/// Two numbers (or decimal texts) by size; two dates, or two times, of RFC 3339 by when they are, whatever their offsets;
/// two other texts by their code points, so that `"09:30"` comes before `"18:00"`. A number and a word, or a date and a
/// word, do not compare.
pub fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (Num::of(a), Num::of(b)) {
        (Some(a), Some(b)) => return Some(a.cmp(&b)),
        (None, None) => {}
        _ => return None,
    }
    let (Value::String(a), Value::String(b)) = (a, b) else {
        return None;
    };
    match (When::of(a), When::of(b)) {
        (Some(When::Day(a)), Some(When::Day(b))) => Some(a.cmp(&b)),
        (Some(When::Time(a)), Some(When::Time(b))) => Some(a.cmp(&b)),
        (None, None) => Some(a.cmp(b)),
        _ => None,
    }
}

/// RFC 3339 5.6: a full-date, or a date-time.
enum When {
    Day(Date),
    Time(Timestamp),
}

impl When {
    fn of(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let is_day = |at: usize| match at {
            4 | 7 => bytes.get(at) == Some(&b'-'),
            _ => bytes.get(at).is_some_and(u8::is_ascii_digit),
        };
        if bytes.len() > 64 || !(0..10).all(is_day) {
            return None;
        }
        if bytes.len() == 10 {
            return text.parse().ok().map(Self::Day);
        }
        text.parse().ok().map(Self::Time)
    }
}

// --- words ---

/// What a value is, with its article.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A value for people: its beginning, in a bounded time whatever its size.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) => value.to_string(),
        Value::Number(number) => cut(&number.to_string(), 40),
        Value::String(text) => format!("{:?}", cut(text, 40)),
        Value::Array(elements) => format!("a list of {}", elements.len()),
        Value::Object(members) => format!("an object of {} members", members.len()),
    }
}

/// At most this many characters of a text.
pub fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::contract::testing::any_json;

    #[test]
    fn values_are_the_same_as_json_has_them() {
        let hasher = RandomState::new();
        for (a, b, want) in [
            (json!(1), json!(1.0), true),
            (json!(0), json!(-0.0), true),
            (json!([1, {"a": 2.0}]), json!([1.0, {"a": 2}]), true),
            (json!({"a": 1, "b": 2}), json!({"b": 2, "a": 1}), true),
            (json!(1), json!("1"), false),
            (json!(u64::MAX), json!(18446744073709551616.0), false),
            (json!(9007199254740993u64), json!(9007199254740992.0), false),
            (json!(0.1), json!(0.1), true),
            (json!(null), json!(false), false),
            (json!([1, 2]), json!([2, 1]), false),
            (json!({"a": 1}), json!({"a": 1, "b": 1}), false),
        ] {
            assert_eq!(Same(&a) == Same(&b), want, "{a} and {b}");
            if want {
                assert_eq!(hasher.hash_one(Same(&a)), hasher.hash_one(Same(&b)), "{a}");
            }
        }
    }

    #[test]
    fn numbers_compare_without_rounding() {
        use Ordering::{Equal, Greater, Less};
        for (a, b, want) in [
            (json!(1), json!(1.5), Some(Less)),
            (json!(-1), json!(-1.5), Some(Greater)),
            (
                json!(9007199254740993u64),
                json!(9007199254740992.0),
                Some(Greater),
            ),
            (json!(f64::MAX), json!(u64::MAX), Some(Greater)),
            (json!(f64::MIN), json!(i64::MIN), Some(Less)),
            (json!("12.50"), json!(12.5), Some(Equal)),
            (json!("-3"), json!("2e1"), Some(Less)),
            (json!("9"), json!("10"), Some(Less)),
            (json!("1,000"), json!(10), None),
            (json!("12 EUR"), json!(10), None),
            (json!("NaN"), json!(10), None),
            (json!("inf"), json!(10), None),
            (json!(""), json!(10), None),
            (json!("1."), json!(10), None),
            (json!(true), json!(10), None),
        ] {
            assert_eq!(order(&a, &b), want, "{a} and {b}");
            assert_eq!(order(&b, &a), want.map(Ordering::reverse), "{b} and {a}");
        }
    }

    #[test]
    fn texts_compare_as_what_they_are() {
        use Ordering::{Equal, Greater, Less};
        for (a, b, want) in [
            ("2026-01-31", "2026-02-01", Some(Less)),
            (
                "2026-01-01T00:00:00Z",
                "2026-01-01T01:00:00+01:00",
                Some(Equal),
            ),
            (
                "2026-01-01T02:00:00+02:00",
                "2026-01-01T00:30:00.5Z",
                Some(Less),
            ),
            ("2026-01-01", "2026-01-01T00:00:00Z", None),
            ("2026-01-01", "soon", None),
            ("2026-13-01", "soon", Some(Less)),
            ("18:00", "09:30", Some(Greater)),
            ("a", "b", Some(Less)),
            ("10", "b", None),
        ] {
            assert_eq!(order(&json!(a), &json!(b)), want, "{a} and {b}");
        }
    }

    #[test]
    fn a_value_is_shown_in_few_words() {
        for (value, want) in [
            (json!("a\"b"), r#""a\"b""#.to_owned()),
            (json!("é".repeat(1000)), format!("\"{}…\"", "é".repeat(40))),
            (json!([1, 2]), "a list of 2".to_owned()),
            (json!({}), "an object of 0 members".to_owned()),
            (json!(0.5), "0.5".to_owned()),
            (json!(null), "null".to_owned()),
        ] {
            assert_eq!(shown(&value), want);
        }
    }

    proptest! {
        #[test]
        fn a_value_is_the_same_as_itself_and_so_is_its_hash(value in any_json()) {
            let copy = value.clone();
            prop_assert!(Same(&value) == Same(&copy));
            let hasher = RandomState::new();
            prop_assert_eq!(hasher.hash_one(Same(&value)), hasher.hash_one(Same(&copy)));
        }

        #[test]
        fn the_order_of_numbers_is_one(a in any::<f64>(), b in any::<i64>(), c in any::<i32>()) {
            let (Some(a), b) = (Num::from_f64(a), Num::Int(b.into())) else { return Ok(()) };
            let c = Num::from_f64(f64::from(c) / 4.0).unwrap();
            let mut all = [a, b, c];
            all.sort();
            prop_assert!(all[0] <= all[1] && all[1] <= all[2] && all[0] <= all[2]);
            prop_assert_eq!(a == b, a.cmp(&b) == Ordering::Equal);
        }
    }
}
