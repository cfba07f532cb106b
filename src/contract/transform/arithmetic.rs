//! What values do with each other: arithmetic and order, as jq's manual has them.

use std::{
    cmp::Ordering,
    collections::BTreeSet,
    ops::{Add, Div, Mul, Neg, Rem, Sub},
    rc::Rc,
};

use jaq_json::Num;

use super::{
    meter, number,
    value::{Error, Object, Str, ValR, Value},
};

fn cannot(left: &Value, verb: &str, right: &Value) -> Error {
    let (of_left, of_right) = (left.kind(), right.kind());
    Error::str(format_args!(
        "cannot {verb} {of_left} ({left}) and {of_right} ({right})"
    ))
}

fn calculated(num: Num) -> ValR {
    Ok(Value::Num(number::bounded(num)))
}

impl Add for Value {
    type Output = ValR;

    fn add(self, other: Self) -> ValR {
        meter::spend(1);
        match (self, other) {
            (Self::Null(_), value) | (value, Self::Null(_)) => Ok(value),
            (Self::Num(left), Self::Num(right)) => calculated(left + right),
            (Self::Str(left), Self::Str(right)) => Ok(Self::Str(left.join(&right))),
            (Self::Arr(mut left), Self::Arr(right)) => {
                let own = Rc::make_mut(&mut left);
                for item in right.items() {
                    own.push(item.clone());
                }
                Ok(Self::Arr(left))
            }
            (Self::Obj(mut left), Self::Obj(right)) => {
                let own = Rc::make_mut(&mut left);
                for (key, value) in right.members() {
                    own.insert(key.clone(), value.clone());
                }
                Ok(Self::Obj(left))
            }
            (left, right) => Err(cannot(&left, "add", &right)),
        }
    }
}

impl Sub for Value {
    type Output = ValR;

    fn sub(self, other: Self) -> ValR {
        meter::spend(1);
        match (self, other) {
            (Self::Num(left), Self::Num(right)) => calculated(left - right),
            (Self::Arr(left), Self::Arr(right)) => {
                let gone: BTreeSet<&Self> = right.items().iter().collect();
                let kept = left.items().iter().filter(|item| !gone.contains(item));
                Ok(kept.cloned().collect())
            }
            (left, right) => Err(cannot(&left, "subtract", &right)),
        }
    }
}

/// Members of both, the right one's where both have one that is not an object. As deep as the left one.
fn merge(left: &mut Rc<Object>, right: &Object) {
    meter::step();
    let own = Rc::make_mut(left);
    for (key, value) in right.members() {
        let merged = match (own.take(key.as_str()), value) {
            (Some(Value::Obj(mut inner)), Value::Obj(more)) => {
                merge(&mut inner, more);
                Value::Obj(inner)
            }
            (_, value) => value.clone(),
        };
        own.insert(key.clone(), merged);
    }
}

fn repeated(text: &Str, times: &Num) -> Value {
    let times = number::as_f64(times);
    if times.is_nan() || times <= 0.0 {
        return Value::NULL;
    }
    // Casts of floats saturate, and a part of one is one.
    Value::Str(text.repeat((times as usize).max(1)))
}

impl Mul for Value {
    type Output = ValR;

    fn mul(self, other: Self) -> ValR {
        meter::spend(1);
        match (self, other) {
            (Self::Num(left), Self::Num(right)) => calculated(left * right),
            (Self::Str(text), Self::Num(times)) | (Self::Num(times), Self::Str(text)) => {
                Ok(repeated(&text, &times))
            }
            (Self::Obj(mut left), Self::Obj(right)) => {
                merge(&mut left, &right);
                Ok(Self::Obj(left))
            }
            (left, right) => Err(cannot(&left, "multiply", &right)),
        }
    }
}

impl Div for Value {
    type Output = ValR;

    fn div(self, other: Self) -> ValR {
        meter::spend(1);
        match (self, other) {
            // By zero: infinity or nothing, which JSON cannot say; writing it fails.
            (Self::Num(left), Self::Num(right)) => calculated(left / right),
            (Self::Str(text), Self::Str(separator)) => {
                let (text, separator) = (text.as_str(), separator.as_str());
                meter::spend_bytes(text.len());
                Ok(if text.is_empty() {
                    [].into_iter().collect()
                } else if separator.is_empty() {
                    text.chars().map(Self::str).collect()
                } else {
                    text.split(separator).map(Self::str).collect()
                })
            }
            (left, right) => Err(cannot(&left, "divide", &right)),
        }
    }
}

impl Rem for Value {
    type Output = ValR;

    fn rem(self, other: Self) -> ValR {
        meter::spend(1);
        match (self, other) {
            (Self::Num(_), Self::Num(right)) if number::as_f64(&right) == 0.0 => {
                Err(Error::str("cannot divide by zero"))
            }
            (Self::Num(left), Self::Num(right)) => calculated(left % right),
            (left, right) => Err(cannot(&left, "divide", &right)),
        }
    }
}

impl Neg for Value {
    type Output = ValR;

    fn neg(self) -> ValR {
        meter::spend(1);
        match self {
            Self::Num(num) => calculated(-num),
            other => Err(Error::str(format_args!(
                "cannot negate {} ({other})",
                other.kind()
            ))),
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        meter::spend(1);
        match (self, other) {
            (Self::Null(_), Self::Null(_)) => true,
            (Self::Bool(left), Self::Bool(right)) => left == right,
            (Self::Num(left), Self::Num(right)) => left == right,
            (Self::Str(left), Self::Str(right)) => left == right,
            (Self::Arr(left), Self::Arr(right)) => {
                Rc::ptr_eq(left, right) || left.items() == right.items()
            }
            (Self::Obj(left), Self::Obj(right)) => {
                Rc::ptr_eq(left, right)
                    || (left.len() == right.len()
                        && left
                            .members()
                            .all(|(key, value)| right.get(key.as_str()) == Some(value)))
            }
            _ => false,
        }
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The order of kinds: null, false, true, numbers, strings, arrays, objects.
fn rank(value: &Value) -> u8 {
    match value {
        Value::Null(_) => 0,
        Value::Bool(_) => 1,
        Value::Num(_) => 2,
        Value::Str(_) => 3,
        Value::Arr(_) => 4,
        Value::Obj(_) => 5,
    }
}

/// Members by key.
fn sorted(object: &Object) -> Vec<(&Str, &Value)> {
    let mut members: Vec<_> = object.members().collect();
    members.sort_by_key(|(key, _)| *key);
    members
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        meter::spend(1);
        match (self, other) {
            (Self::Bool(left), Self::Bool(right)) => left.cmp(right),
            (Self::Num(left), Self::Num(right)) => left.cmp(right),
            (Self::Str(left), Self::Str(right)) => left.cmp(right),
            (Self::Arr(left), Self::Arr(right)) => left.items().cmp(right.items()),
            (Self::Obj(left), Self::Obj(right)) => {
                let (left, right) = (sorted(left), sorted(right));
                let keys = left
                    .iter()
                    .map(|(key, _)| key)
                    .cmp(right.iter().map(|(key, _)| key));
                // All keys first, then the values.
                keys.then_with(|| {
                    left.iter()
                        .map(|(_, value)| value)
                        .cmp(right.iter().map(|(_, value)| value))
                })
            }
            (left, right) => rank(left).cmp(&rank(right)),
        }
    }
}
