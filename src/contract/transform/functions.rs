//! The functions that programs call: jq's, without those that see or do anything outside.

use jaq_core::{
    Native,
    box_iter::box_once,
    load::parse::Def,
    native::{Filter, Fun, bome, run, unary, v},
};

use super::{
    data::Jq,
    meter::{self, Stop},
    number, read, regex,
    value::{Array, DEPTH_MAX, Error, Value},
};

/// Functions of jq that look outside of the answer, or end what runs them. They do not exist here.
pub(super) const OUTSIDE: [&str; 13] = [
    "env",
    "halt",
    "halt_error",
    "input",
    "input_filename",
    "input_line_number",
    "inputs",
    "localtime",
    "now",
    "repl",
    "strflocaltime",
    "get_search_list",
    "$__prog_args",
];

/// What functions are named that only the definitions here may call.
pub(super) const INTERNAL: &str = "_larder_";

/// Calls of functions that call themselves with filters for arguments: each holds on to the one before.
const NESTED_CALLS_MAX: u64 = 20_000;

/// Definitions that the crate's stand on: what must be paid for, or must not look outside, before it is called.
const BELOW: &str = r"
def matches($re; $flags): _larder_regex($re) | _larder_matches($re; $flags);
def split_matches($re; $flags): _larder_regex($re) | _larder_split_matches($re; $flags);
def split_($re; $flags): _larder_regex($re) | _larder_split_($re; $flags);
def strptime($format): _larder_time($format) | _larder_strptime($format);
";

/// Definitions in the place of the crate's, as jq's manual has them, and some that it lacks.
const ABOVE: &str = r#"
def join($s):
  reduce .[] as $x (null;
    (if . == null then "" else . + $s end)
    + ($x | if . == null then "" else tostring end)
  ) // "";
def from_entries:
  reduce .[] as $e ({}; . + {
    ($e | if has("key") then .key elif has("k") then .k elif has("name") then .name else .Key end | tostring):
    ($e | if has("value") then .value elif has("v") then .v else .Value end)
  });
def with_entries(f): to_entries | map(f) | from_entries;
def toarray: if isarray then . else [.] end;
def trimstr($s): ltrimstr($s) | rtrimstr($s);
def ascii: [.] | implode;
def date: todate;
def INDEX(stream; f): reduce stream as $row ({}; .[$row | f | tostring] = $row);
def INDEX(f): INDEX(.[]; f);
def IN(stream): any(stream == .; .);
def IN(source; stream): any(source == stream; .);
def have_literal_numbers: true;
"#;

fn parsed(text: &'static str) -> Vec<Def<&'static str>> {
    jaq_core::load::parse(text, |parser| parser.defs()).unwrap_or_default()
}

/// Functions that are defined in jq.
pub(super) fn definitions() -> impl Iterator<Item = Def<&'static str>> {
    let crates = jaq_std::defs().chain(jaq_json::defs());
    // Of this name there is a native one.
    let crates = crates.filter(|def| !OUTSIDE.contains(&def.name) && def.name != "tonumber");
    jaq_core::defs()
        .chain(parsed(BELOW))
        .chain(crates)
        .chain(parsed(ABOVE))
}

/// Functions that are not.
pub(super) fn natives() -> impl Iterator<Item = Fun<Jq>> {
    let crates = jaq_core::funs::<Jq>().chain(jaq_std::funs::<Jq>());
    let crates = crates.filter_map(|(name, arity, function)| {
        let name = match name {
            "matches" => "_larder_matches",
            "split_matches" => "_larder_split_matches",
            "split_" => "_larder_split_",
            "strptime" => "_larder_strptime",
            // They write to the log of whoever runs them.
            "debug_empty" | "stderr_empty" => return None,
            name if OUTSIDE.contains(&name) => return None,
            name => name,
        };
        Some((name, arity, function))
    });
    crates
        .chain(own().into_iter().map(|function| run::<Jq>(function)))
        .chain([nested_call()])
}

/// Passes its input on, and counts.
fn nested_call() -> Fun<Jq> {
    fn count() {
        meter::step();
        if meter::call() > NESTED_CALLS_MAX {
            meter::stop(Stop::Stack);
        }
    }
    let native = Native::new(|cv| {
        count();
        box_once(Ok(cv.1))
    });
    let native = native.with_paths(|cv| {
        count();
        box_once(Ok(cv.1))
    });
    let native = native.with_update(|cv, f| {
        count();
        f(cv.1)
    });
    ("_larder_call", [].into(), native)
}

fn cannot_parse(text: &str, why: &str) -> Error {
    let shown = &text[..text.floor_char_boundary(100)];
    Error::str(format_args!("cannot read \"{shown}\" as JSON: {why}"))
}

fn from_json(value: &Value) -> Result<Value, Error> {
    let Value::Str(text) = value else {
        return Err(Error::str(format_args!(
            "cannot read {} as JSON: it is not a string",
            value.kind()
        )));
    };
    let bounds = read::Bounds {
        depth_max: DEPTH_MAX as usize,
        values_max: usize::MAX,
    };
    read::read(text.as_str(), bounds).map_err(|error| match error {
        read::NotRead::Malformed(expected, at) => {
            cannot_parse(text.as_str(), &format!("expected {expected} at byte {at}"))
        }
        read::NotRead::TooComplex(_) => cannot_parse(text.as_str(), "too complex"),
    })
}

fn to_number(value: Value) -> Result<Value, Error> {
    match value {
        number @ Value::Num(_) => Ok(number),
        Value::Str(text) => match number::from_text(text.as_str().trim()) {
            Some(num) => Ok(Value::Num(num)),
            None => Err(Error::str(format_args!(
                "cannot read {} as a number",
                Value::Str(text)
            ))),
        },
        other => Err(Error::str(format_args!(
            "cannot read {} as a number",
            other.kind()
        ))),
    }
}

fn length(value: Value) -> Result<Value, Error> {
    Ok(match value {
        Value::Null(_) => Value::from(0_usize),
        Value::Num(num) => {
            let is_negative = number::as_f64(&num) < 0.0;
            Value::Num(if is_negative { -num } else { num })
        }
        Value::Str(text) => {
            meter::spend_bytes(text.as_str().len());
            Value::from(text.as_str().chars().count())
        }
        Value::Arr(array) => Value::from(array.items().len()),
        Value::Obj(object) => Value::from(object.len()),
        Value::Bool(_) => return Err(Error::str("a boolean has no length")),
    })
}

fn has(value: &Value, key: &Value) -> Result<Value, Error> {
    match (value, key) {
        (Value::Obj(object), Value::Str(key)) => Ok(object.get(key.as_str()).is_some().into()),
        (Value::Arr(array), Value::Num(place)) => {
            let place = number::as_place(place).and_then(|place| usize::try_from(place).ok());
            Ok(place
                .is_some_and(|place| place < array.items().len())
                .into())
        }
        _ => Err(Error::str(format_args!(
            "{} has no key like {key}",
            value.kind()
        ))),
    }
}

/// As deep as the shallower of both.
fn contains(value: &Value, part: &Value) -> bool {
    meter::step();
    match (value, part) {
        (Value::Str(value), Value::Str(part)) => {
            meter::spend_bytes(value.as_str().len());
            value.as_str().contains(part.as_str())
        }
        (Value::Arr(value), Value::Arr(parts)) => parts
            .items()
            .iter()
            .all(|part| value.items().iter().any(|value| contains(value, part))),
        (Value::Obj(value), Value::Obj(parts)) => parts.members().all(|(key, part)| {
            value
                .get(key.as_str())
                .is_some_and(|value| contains(value, part))
        }),
        _ => value == part,
    }
}

fn indices(value: &Value, part: &Value) -> Result<Value, Error> {
    match (value, part) {
        (Value::Null(_), _) => Ok(Value::NULL),
        (Value::Arr(array), Value::Arr(run)) => Ok(Value::places_of(array, run)),
        (Value::Arr(array), item) => Ok(array
            .items()
            .iter()
            .enumerate()
            .filter(|(_, value)| *value == item)
            .map(|(index, _)| Value::from(index))
            .collect()),
        (Value::Str(text), Value::Str(part)) => {
            let (text, part) = (text.as_str(), part.as_str());
            meter::spend_bytes(text.len());
            let mut places = Array::new();
            if part.is_empty() {
                return Ok(Value::NULL);
            }
            // Overlapping ones, too, by character.
            for (place, (at, _)) in text.char_indices().enumerate() {
                meter::spend(1);
                if text[at..].starts_with(part) {
                    places.push(Value::from(place));
                }
            }
            Ok(places.into())
        }
        _ => Err(Error::str(format_args!(
            "cannot look for {part} in {}",
            value.kind()
        ))),
    }
}

fn search(value: &Value, item: &Value) -> Result<Value, Error> {
    let Value::Arr(array) = value else {
        return Err(Error::str(format_args!(
            "cannot search in {}",
            value.kind()
        )));
    };
    let place = |place: usize| isize::try_from(place).unwrap_or(isize::MAX);
    Ok(Value::from(match array.items().binary_search(item) {
        Ok(found) => place(found),
        Err(free) => -1 - place(free),
    }))
}

/// Pays for a search, before it is made.
fn regex_paid(value: Value, pattern: &Value) -> Result<Value, Error> {
    if let (Value::Str(text), Value::Str(pattern)) = (&value, pattern) {
        let steps = regex::steps(pattern.as_str(), text.as_str().len());
        meter::spend(steps.ok_or_else(|| Error::str("the regular expression is too large"))?);
    }
    Ok(value)
}

/// Names of time zones would be looked up on the disk.
fn time_checked(value: Value, format: &Value) -> Result<Value, Error> {
    match format {
        Value::Str(format) if format.as_str().contains('Q') => Err(Error::str(
            "%Q, the name of a time zone, does not exist here",
        )),
        _ => Ok(value),
    }
}

fn own() -> Vec<Filter<jaq_core::RunPtr<Jq>>> {
    let empty: jaq_core::RunPtr<Jq> = |_| Box::new(std::iter::empty());
    let mut own: Vec<Filter<jaq_core::RunPtr<Jq>>> =
        vec![("debug_empty", v(0), empty), ("stderr_empty", v(0), empty)];
    own.push(("fromjson", v(0), |cv| bome(from_json(&cv.1))));
    own.push(("tojson", v(0), |cv| bome(Ok(Value::Str(cv.1.to_json())))));
    own.push(("tonumber", v(0), |cv| bome(to_number(cv.1))));
    own.push(("length", v(0), |cv| bome(length(cv.1))));
    own.push(("has", v(1), |cv| unary(cv, |value, key| has(&value, &key))));
    own.push(("contains", v(1), |cv| {
        unary(cv, |value, part| Ok(contains(&value, &part).into()))
    }));
    own.push(("indices", v(1), |cv| {
        unary(cv, |value, part| indices(&value, &part))
    }));
    own.push(("bsearch", v(1), |cv| {
        unary(cv, |value, item| search(&value, &item))
    }));
    own.push(("_larder_regex", v(1), |cv| {
        unary(cv, |value, pattern| regex_paid(value, &pattern))
    }));
    own.push(("_larder_time", v(1), |cv| {
        unary(cv, |value, format| time_checked(value, &format))
    }));
    own
}
