//! What the interpreter asks of values: reading into them, changing them in place.
//!
//! Where jq and the crate differ (a path into `null`, a place behind the end of an array, several results of one update),
//! this follows jq's manual.

use std::rc::Rc;

use jaq_core::{Exn, ValT, ValX, path::Opt, val::Range};

use super::{
    meter::{self, Charge},
    number,
    value::{Array, Error, Object, Str, ValR, Value},
    write,
};

/// Values one after another, with a step paid for each.
type Values<T> = Box<dyn Iterator<Item = Result<T, Error>>>;

impl Value {
    fn cannot_iterate(self) -> Error {
        let kind = self.kind();
        Error::str(format_args!("cannot iterate over {kind} ({self})"))
    }

    fn cannot_index(self, index: &Self) -> Error {
        Error::str(match index {
            Self::Str(key) => format!("cannot read \"{}\" of {}", shortened(key), self.kind()),
            index => format!("cannot read {index} of {}", self.kind()),
        })
    }

    /// As the place of an item, counted from the end where it is negative. None where it lies outside.
    fn place(index: &Self, len: usize) -> Option<usize> {
        let Self::Num(num) = index else { return None };
        let place = number::as_place(num)?;
        let place = if place < 0 {
            place.checked_add(i64::try_from(len).ok()?)?
        } else {
            place
        };
        usize::try_from(place).ok()
    }

    /// From where to where a slice reaches.
    fn bounds(range: &Range<&Self>, len: usize) -> Result<(usize, usize), Error> {
        let bound = |bound: Option<&Self>, default: usize, is_end: bool| match bound {
            None | Some(Self::Null(_)) => Ok(default),
            Some(Self::Num(num)) => {
                let float = number::as_f64(num);
                let float = if is_end { float.ceil() } else { float.floor() };
                let from_end = if float < 0.0 { len as f64 } else { 0.0 };
                // Casts of floats saturate: 0 for what is negative, the length for what is larger.
                Ok(((float + from_end) as usize).min(len))
            }
            Some(other) => Err(Error::str(format_args!(
                "a slice is from number to number, not {other}"
            ))),
        };
        let start = bound(range.start, 0, false)?;
        let end = bound(range.end, len, true)?;
        Ok((start, end.max(start)))
    }

    /// The items of an array that are a slice.
    pub(super) fn slice(self, range: &Range<&Self>) -> ValR {
        match self {
            Self::Null(reached) => Ok(Self::beyond(reached)),
            Self::Arr(array) => {
                let (start, end) = Self::bounds(range, array.items().len())?;
                let items = array.items()[start..end].iter().cloned();
                Ok(Array::part(items, array.parts()).into())
            }
            Self::Str(text) => {
                let (parts, text) = (text.parts(), text.as_str());
                meter::spend_bytes(text.len());
                let (start, end) = Self::bounds(range, text.chars().count())?;
                let part: String = text.chars().skip(start).take(end - start).collect();
                Ok(Self::Str(Str::part(part, parts)))
            }
            other => Err(Error::str(format_args!("cannot slice {}", other.kind()))),
        }
    }

    /// Where an array has a run of items.
    pub(super) fn places_of(array: &Array, run: &Array) -> Self {
        let run = run.items();
        if run.is_empty() {
            return Self::NULL;
        }
        let windows = array.items().windows(run.len()).enumerate();
        let places = windows
            .filter(|(_, window)| *window == run)
            .map(|(index, _)| Self::from(index));
        Array::part(places, array.parts()).into()
    }

    /// What it is, as text.
    pub(super) fn to_json(&self) -> Str {
        // More than memory has room for stops the program before it is written.
        let (text, _) = write::shown(self, meter::room());
        Str::new(text)
    }
}

fn shortened(key: &Str) -> String {
    let key = key.as_str();
    let shown = &key[..key.floor_char_boundary(100)];
    if shown.len() < key.len() {
        format!("{shown}...")
    } else {
        shown.to_owned()
    }
}

/// The items of an array that others may hold, too.
fn items(array: Rc<Array>) -> Box<dyn Iterator<Item = Value>> {
    match Rc::try_unwrap(array) {
        Ok(array) => Box::new(array.into_items().inspect(|_| meter::spend(1))),
        Err(array) => {
            let len = array.items().len();
            Box::new((0..len).map(move |index| {
                meter::spend(1);
                array.items().get(index).cloned().unwrap_or(Value::NULL)
            }))
        }
    }
}

/// The members of an object that others may hold, too.
fn members(object: Rc<Object>) -> Box<dyn Iterator<Item = (Str, Value)>> {
    match Rc::try_unwrap(object) {
        Ok(object) => Box::new(object.into_members().inspect(|_| meter::spend(1))),
        Err(object) => {
            let len = object.len();
            Box::new((0..len).filter_map(move |index| {
                meter::spend(1);
                object
                    .at(index)
                    .map(|(key, value)| (key.clone(), value.clone()))
            }))
        }
    }
}

/// The first result of an update; none deletes.
fn first<'a>(
    mut results: impl Iterator<Item = ValX<'a, Value>>,
) -> Result<Option<Value>, Exn<'a, Value>> {
    results.next().transpose()
}

impl ValT for Value {
    fn from_num(text: &str) -> ValR {
        match number::from_text(text) {
            Some(num) => Ok(Self::Num(num)),
            None => Err(Error::str(format_args!("{text} is not a number"))),
        }
    }

    fn from_map<I: IntoIterator<Item = (Self, Self)>>(members: I) -> ValR {
        let mut object = Object::new();
        for (key, value) in members {
            match key {
                Self::Str(key) => object.insert(key, value),
                other => {
                    return Err(Error::str(format_args!(
                        "a key must be a string, not {other}"
                    )));
                }
            }
        }
        Ok(object.into())
    }

    fn key_values(self) -> Values<(Self, Self)> {
        meter::step();
        match self {
            Self::Arr(array) => Box::new(
                items(array)
                    .enumerate()
                    .map(|(index, value)| Ok((Self::from(index), value))),
            ),
            Self::Obj(object) => {
                Box::new(members(object).map(|(key, value)| Ok((Self::Str(key), value))))
            }
            other => Box::new(std::iter::once(Err(other.cannot_iterate()))),
        }
    }

    fn values(self) -> Box<dyn Iterator<Item = ValR>> {
        meter::step();
        match self {
            Self::Arr(array) => Box::new(items(array).map(Ok)),
            Self::Obj(object) => Box::new(members(object).map(|(_, value)| Ok(value))),
            other => Box::new(std::iter::once(Err(other.cannot_iterate()))),
        }
    }

    fn index(self, index: &Self) -> ValR {
        match (self, index) {
            (Self::Null(reached), Self::Null(_) | Self::Num(_) | Self::Str(_) | Self::Obj(_)) => {
                Ok(Self::beyond(reached))
            }
            (Self::Obj(object), Self::Str(key)) => {
                Ok(object.get(key.as_str()).cloned().unwrap_or(Self::NULL))
            }
            (Self::Arr(array), index @ Self::Num(_)) => {
                let items = array.items();
                let item = Self::place(index, items.len()).and_then(|place| items.get(place));
                Ok(item.cloned().unwrap_or(Self::NULL))
            }
            (Self::Arr(array), Self::Arr(run)) => Ok(Self::places_of(&array, run)),
            (value @ (Self::Arr(_) | Self::Str(_)), Self::Obj(slice)) => {
                value.slice(&(slice.get("start")..slice.get("end")))
            }
            (value, index) => Err(value.cannot_index(index)),
        }
    }

    fn range(self, range: Range<&Self>) -> ValR {
        self.slice(&range)
    }

    fn map_values<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        meter::step();
        match self {
            Self::Arr(array) => {
                let mut mapped = Array::new();
                for item in items(array) {
                    if let Some(item) = first(f(item))? {
                        mapped.push(item);
                    }
                }
                Ok(mapped.into())
            }
            Self::Obj(object) => {
                let mut mapped = Object::new();
                for (key, value) in members(object) {
                    if let Some(value) = first(f(value))? {
                        mapped.insert(key, value);
                    }
                }
                Ok(mapped.into())
            }
            other => opt.fail(other, |other| Exn::from(other.cannot_iterate())),
        }
    }

    fn map_index<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        index: &Self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        meter::step();
        match (self, index) {
            (value, Self::Obj(slice)) if !matches!(value, Self::Obj(_)) => {
                value.map_range(slice.get("start")..slice.get("end"), opt, f)
            }
            (Self::Obj(mut object), Self::Str(key)) => {
                // In place where nobody else has it.
                let own = Rc::make_mut(&mut object);
                let old = own.take(key.as_str());
                let is_old = old.is_some();
                match first(f(old.unwrap_or(Self::NULL)))? {
                    Some(new) => own.insert(key.clone(), new),
                    None if is_old => own.remove(key.as_str()),
                    None => {}
                }
                Ok(Self::Obj(object))
            }
            (Self::Arr(mut array), Self::Num(_)) => {
                let Some(place) = Self::place(index, array.items().len()) else {
                    let outside =
                        |_| Exn::from(Error::str(format_args!("{index} is outside of the array")));
                    return opt.fail(Self::Arr(array), outside);
                };
                let own = Rc::make_mut(&mut array);
                match first(f(own.take(place)))? {
                    Some(new) => own.put(place, new),
                    None => own.remove(place),
                }
                Ok(Self::Arr(array))
            }
            // jq makes what is missing on the way.
            (Self::Null(_), Self::Str(_)) => Self::from(Object::new()).map_index(index, opt, f),
            (Self::Null(_), Self::Num(_)) => Self::from(Array::new()).map_index(index, opt, f),
            (other, index) => opt.fail(other, |other| Exn::from(other.cannot_index(index))),
        }
    }

    fn map_range<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        range: Range<&Self>,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        meter::step();
        let array = match self {
            Self::Null(_) => Rc::new(Array::new()),
            Self::Arr(array) => array,
            other => {
                let kind = other.kind();
                return opt.fail(other, |_| {
                    Exn::from(Error::str(format_args!("cannot change a slice of {kind}")))
                });
            }
        };
        let (start, end) = match Self::bounds(&range, array.items().len()) {
            Ok(bounds) => bounds,
            Err(error) => return opt.fail(Self::Arr(array), |_| Exn::from(error)),
        };
        let slice = array.items()[start..end].iter().cloned().collect();
        let new = match first(f(slice))? {
            Some(Self::Arr(new)) => new,
            None => Rc::new(Array::new()),
            Some(other) => {
                return Err(Exn::from(Error::str(format_args!(
                    "a slice can become an array, not {other}"
                ))));
            }
        };
        let items = array.items()[..start].iter();
        let items = items.chain(new.items()).chain(&array.items()[end..]);
        Ok(items.cloned().collect())
    }

    fn as_bool(&self) -> bool {
        !matches!(self, Self::Null(_) | Self::Bool(false))
    }

    fn into_string(self) -> Self {
        match self {
            text @ Self::Str(_) => text,
            other => Self::Str(other.to_json()),
        }
    }
}

impl jaq_std::ValT for Value {
    fn into_seq<S: FromIterator<Self>>(self) -> Result<S, Self> {
        match self {
            Self::Arr(array) => {
                // Copied out of what is counted: room for that long.
                let room = Charge::new(size_of_val(array.items()));
                let items = items(array).collect();
                drop(room);
                Ok(items)
            }
            other => Err(other),
        }
    }

    fn is_int(&self) -> bool {
        matches!(self, Self::Num(num) if number::is_int(num))
    }

    fn as_isize(&self) -> Option<isize> {
        match self {
            Self::Num(num) => num.as_isize(),
            _ => None,
        }
    }

    fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Num(num) => Some(number::as_f64(num)),
            _ => None,
        }
    }

    fn is_utf8_str(&self) -> bool {
        matches!(self, Self::Str(_))
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Str(text) => {
                // Whoever asks reads them.
                meter::spend_bytes(text.as_str().len());
                Some(text.as_str().as_bytes())
            }
            _ => None,
        }
    }

    fn as_sub_str(&self, sub: &[u8]) -> Self {
        Self::Str(Str::from_bytes(sub))
    }

    fn from_utf8_bytes(bytes: impl AsRef<[u8]> + Send + 'static) -> Self {
        Self::Str(Str::from_bytes(bytes.as_ref()))
    }
}
