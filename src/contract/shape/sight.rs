//! What one answer shows: its values by place, elements of a list as one. Made straight from the bytes, bounded.
//!
//! # Invariants
//!
//! - At most `nodes_max` places, `depth_max` deep, whatever the answer is; what is beyond is counted, not kept.
//! - The order of members and of elements changes nothing but which value serves as the example.

use std::{collections::BTreeMap, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{
    bounds::{Bounds, ENUM_BYTES_MAX, NAME_BYTES_MAX},
    example,
    format::{Format, is_generated_name},
    kinds::{Kinds, Range},
    pattern::{Inside, Matching},
};

/// One place in one answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sight {
    /// Ignored by the config: it is there, and nothing else is known.
    pub(super) is_ignored: bool,
    pub(super) kinds: Kinds,
    /// Objects that have it as a member.
    pub(super) holders: u64,
    /// Objects among its values.
    pub(super) objects: u64,
    /// Numbers, and strings that are decimal numbers.
    pub(super) numbers: Option<Range>,
    /// The first string, cut.
    pub(super) text: Option<Box<str>>,
    pub(super) boolean: Option<bool>,
    pub(super) formats: u16,
    /// Characters of its strings.
    pub(super) lengths: Option<Range>,
    /// Elements of its lists.
    pub(super) sizes: Option<Range>,
    pub(super) words: Words,
    pub(super) members: BTreeMap<Box<str>, Sight>,
    /// Members whose names say nothing.
    pub(super) rest: Option<Box<Sight>>,
    /// There are so many members that they are a map.
    pub(super) is_map: bool,
    pub(super) element: Option<Box<Sight>>,
}

/// Values that may be those of an enumeration.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Words {
    /// Different ones.
    pub(super) seen: Vec<Box<str>>,
    /// All of them.
    pub(super) total: u64,
    /// Some value cannot be one of an enumeration, or there are too many.
    pub(super) is_open: bool,
    /// Some of them are numbers.
    pub(super) is_numeric: bool,
}

/// Different words that are kept where places are taken for one.
const WORDS_MERGED_MAX: usize = 64;

/// An answer as a whole.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) root: Sight,
    /// Values that are not looked at: too deep, too many, names too long.
    pub(super) unwatched: u64,
}

/// Looks at an answer.
///
/// # Errors
/// It is not JSON.
pub(super) fn look(body: &[u8], bounds: &Bounds) -> Result<Seen, serde_json::Error> {
    let mut root = Sight::default();
    let mut look = Look {
        bounds,
        left: bounds.nodes_max,
        unwatched: 0,
    };
    let mut reader = serde_json::Deserializer::from_slice(body);
    let seed = Seed {
        sight: &mut root,
        look: &mut look,
        matching: Matching::start(&bounds.ignore),
        depth: 0,
    };
    seed.deserialize(&mut reader)?;
    reader.end()?;
    let unwatched = look.unwatched;
    Ok(Seen { root, unwatched })
}

struct Look<'b> {
    bounds: &'b Bounds,
    left: usize,
    unwatched: u64,
}

struct Seed<'s, 'b> {
    sight: &'s mut Sight,
    look: &'s mut Look<'b>,
    matching: Matching,
    depth: usize,
}

impl Seed<'_, '_> {
    fn is_deep(&self) -> bool {
        self.depth >= self.look.bounds.depth_max
    }

    fn integer<E>(self, value: f64) -> Result<(), E> {
        self.sight.kinds.add(Kinds::INTEGER);
        Range::widen(&mut self.sight.numbers, Some(Range::of(value)));
        // 0 to 99: codes; larger ones are amounts.
        if (0.0..100.0).contains(&value) {
            let word = value.to_string();
            self.sight.words.add(&word, true, self.look.bounds.enum_max);
        } else {
            self.sight.words.is_open = true;
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.sight.kinds.add(Kinds::NULL);
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.sight.kinds.add(Kinds::BOOLEAN);
        self.sight.boolean = Some(value);
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.integer(value as f64)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.integer(value as f64)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        // A whole number that is too large for 64 bits arrives here, too.
        if value.abs() >= 9e18 && value.fract() == 0.0 {
            return self.integer(value);
        }
        self.sight.kinds.add(Kinds::NUMBER);
        self.sight.words.is_open = true;
        Range::widen(&mut self.sight.numbers, Some(Range::of(value)));
        Ok(())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        let sight = self.sight;
        sight.kinds.add(Kinds::STRING);
        let format = Format::of(value);
        sight.formats |= format.bit();
        let length = value.chars().count() as f64;
        Range::widen(&mut sight.lengths, Some(Range::of(length)));
        if format == Format::Decimal {
            let number = value.parse().ok().filter(|number: &f64| number.is_finite());
            Range::widen(&mut sight.numbers, number.map(Range::of));
        }
        if sight.text.is_none() {
            sight.text = Some(example::cut(value).into());
        }
        if format == Format::Text && is_word(value) {
            sight.words.add(value, false, self.look.bounds.enum_max);
        } else {
            sight.words.is_open = true;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.sight.kinds.add(Kinds::ARRAY);
        let matching = self
            .matching
            .step(&self.look.bounds.ignore, Inside::Element);
        let Some(matching) = matching.filter(|_| !self.is_deep() && self.look.left > 0) else {
            self.look.unwatched += u64::from(self.is_deep() || self.look.left == 0);
            let mut size = 0_u64;
            while list.next_element::<IgnoredAny>()?.is_some() {
                size += 1;
            }
            Range::widen(&mut self.sight.sizes, Some(Range::of(size as f64)));
            return Ok(());
        };
        let mut size = 0_u64;
        loop {
            if self.sight.element.is_none() {
                // Made for the first element only: an empty list says nothing of its elements.
                let mut first = Sight::default();
                let seed = Seed {
                    sight: &mut first,
                    look: &mut *self.look,
                    matching: matching.clone(),
                    depth: self.depth + 1,
                };
                if list.next_element_seed(seed)?.is_none() {
                    break;
                }
                self.look.left = self.look.left.saturating_sub(1);
                self.sight.element = Some(Box::new(first));
            } else if let Some(element) = &mut self.sight.element {
                let seed = Seed {
                    sight: element,
                    look: &mut *self.look,
                    matching: matching.clone(),
                    depth: self.depth + 1,
                };
                if list.next_element_seed(seed)?.is_none() {
                    break;
                }
            }
            size += 1;
        }
        Range::widen(&mut self.sight.sizes, Some(Range::of(size as f64)));
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.sight.kinds.add(Kinds::OBJECT);
        self.sight.objects += 1;
        let is_deep = self.is_deep();
        while let Some(name) = map.next_key::<String>()? {
            if is_deep || name.len() > NAME_BYTES_MAX {
                self.look.unwatched += 1;
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let matching = self
                .matching
                .step(&self.look.bounds.ignore, Inside::Member(&name));
            let is_nameless = self.sight.is_map || is_generated_name(&name);
            if is_nameless && matching.is_none() {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let Some(child) = self.sight.child(&name, is_nameless, &mut self.look.left) else {
                self.look.unwatched += 1;
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            child.holders += 1;
            match matching {
                None => {
                    child.is_ignored = true;
                    map.next_value::<IgnoredAny>()?;
                }
                Some(matching) => map.next_value_seed(Seed {
                    sight: child,
                    look: &mut *self.look,
                    matching,
                    depth: self.depth + 1,
                })?,
            }
            if self.sight.members.len() > self.look.bounds.members_max.saturating_mul(4) {
                self.look.left += self.sight.fold();
            }
        }
        Ok(())
    }
}

impl Sight {
    /// Where a member is looked at; `None` where there is no room for another place.
    fn child(&mut self, name: &str, is_nameless: bool, left: &mut usize) -> Option<&mut Self> {
        if is_nameless {
            if self.rest.is_none() {
                *left = left.checked_sub(1)?;
            }
            return Some(self.rest.get_or_insert_default());
        }
        if !self.members.contains_key(name) {
            *left = left.checked_sub(1)?;
        }
        Some(self.members.entry(name.into()).or_default())
    }

    /// Takes all members for one; how many places that frees.
    pub(super) fn fold(&mut self) -> usize {
        self.is_map = true;
        let before = self.places();
        for member in std::mem::take(&mut self.members).into_values() {
            if !member.is_ignored {
                self.rest.get_or_insert_default().merge(member);
            }
        }
        before.saturating_sub(self.places())
    }

    /// All members as one, for a place that is known to be a map.
    pub(super) fn as_map(&self) -> Option<Box<Self>> {
        let members = self.members.values().filter(|member| !member.is_ignored);
        members.fold(self.rest.clone(), |mut all, member| {
            all.get_or_insert_default().merge(member.clone());
            all
        })
    }

    /// Places below this one.
    pub(super) fn places(&self) -> usize {
        let inner = [&self.rest, &self.element].into_iter().flatten();
        let inner: usize = inner.map(|inner| 1 + inner.places()).sum();
        let members: usize = self
            .members
            .values()
            .map(|member| 1 + member.places())
            .sum();
        inner + members
    }

    fn merge(&mut self, other: Self) {
        self.kinds.add(other.kinds);
        self.holders += other.holders;
        self.objects += other.objects;
        self.formats |= other.formats;
        Range::widen(&mut self.numbers, other.numbers);
        Range::widen(&mut self.lengths, other.lengths);
        Range::widen(&mut self.sizes, other.sizes);
        self.text = self.text.take().or(other.text);
        self.boolean = self.boolean.or(other.boolean);
        self.words.is_open |= other.words.is_open;
        self.words.is_numeric |= other.words.is_numeric;
        self.words.total += other.words.total;
        for word in other.words.seen {
            if !self.words.seen.contains(&word) {
                self.words.seen.push(word);
            }
        }
        if self.words.seen.len() > WORDS_MERGED_MAX {
            self.words.is_open = true;
            self.words.seen.clear();
        }
        if other.is_map && !self.is_map {
            self.fold();
        }
        if let Some(rest) = other.rest {
            self.rest.get_or_insert_default().merge(*rest);
        }
        if let Some(element) = other.element {
            self.element.get_or_insert_default().merge(*element);
        }
        for (name, member) in other.members {
            match self.is_map {
                true => self.rest.get_or_insert_default().merge(member),
                false => self.members.entry(name).or_default().merge(member),
            }
        }
    }
}

impl Words {
    fn add(&mut self, word: &str, is_numeric: bool, max: usize) {
        self.total += 1;
        self.is_numeric |= is_numeric;
        if self.is_open || self.seen.iter().any(|seen| **seen == *word) {
            return;
        }
        if self.seen.len() > max {
            self.is_open = true;
            self.seen.clear();
            return;
        }
        self.seen.push(word.into());
    }
}

/// Whether a string looks like a value of an enumeration: short, of at most three words.
pub(super) fn is_word(text: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || "_-./+ ".contains(c);
    text.len() <= ENUM_BYTES_MAX
        && text.starts_with(char::is_alphanumeric)
        && text.chars().all(is_part)
        && text.matches(' ').count() <= 2
}
