//! Types of JSON values as a set, and ranges of numbers.

use serde::{Deserialize, Serialize};

/// A set of types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kinds(u8);

impl Kinds {
    pub(super) const NULL: Self = Self(1);
    pub(super) const BOOLEAN: Self = Self(1 << 1);
    /// Written without a fraction.
    pub(super) const INTEGER: Self = Self(1 << 2);
    /// Written with one.
    pub(super) const NUMBER: Self = Self(1 << 3);
    pub(super) const STRING: Self = Self(1 << 4);
    pub(super) const ARRAY: Self = Self(1 << 5);
    pub(super) const OBJECT: Self = Self(1 << 6);
    const NUMERIC: Self = Self(Self::INTEGER.0 | Self::NUMBER.0);

    /// In the order of `names`.
    pub(super) const EACH: [(Self, &'static str); 7] = [
        (Self::NULL, "null"),
        (Self::BOOLEAN, "boolean"),
        (Self::INTEGER, "integer"),
        (Self::NUMBER, "number"),
        (Self::STRING, "string"),
        (Self::ARRAY, "array"),
        (Self::OBJECT, "object"),
    ];

    pub(super) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn is_numeric(self) -> bool {
        self.has(Self::NUMERIC)
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those of `self` that a reader of `known` does not expect. Whether a number has a fraction is another matter.
    pub(super) fn foreign_to(self, known: Self) -> Self {
        let known = match known.is_numeric() {
            true => Self(known.0 | Self::NUMERIC.0),
            false => known,
        };
        self.without(known).without(Self::NULL)
    }

    /// `integer or null`.
    pub(super) fn in_words(self) -> String {
        let names = Self::EACH.iter().filter(|(kind, _)| self.has(*kind));
        let names: Vec<_> = names.map(|(_, name)| *name).collect();
        match names.is_empty() {
            true => "nothing".to_owned(),
            false => names.join(" or "),
        }
    }

    /// As a schema lists them.
    pub(super) fn names(self) -> Vec<&'static str> {
        let names = Self::EACH.iter().filter(|(kind, _)| self.has(*kind));
        names.map(|(_, name)| *name).collect()
    }
}

/// Smallest and largest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Range {
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Range {
    pub(super) fn of(value: f64) -> Self {
        Self {
            min: value,
            max: value,
        }
    }

    pub(super) fn widen(slot: &mut Option<Self>, by: Option<Self>) {
        *slot = match (*slot, by) {
            (Some(a), Some(b)) => Some(Self {
                min: a.min.min(b.min),
                max: a.max.max(b.max),
            }),
            (a, b) => a.or(b),
        };
    }

    /// Whether something in `self` is `factor` times and more beyond what `known` has: larger than its largest, or
    /// nearer to zero than its smallest, where that has one sign. Below `floor` nothing counts as large: from 1 to 20
    /// is no news of a count.
    pub(super) fn is_far_from(self, known: Self, factor: f64, floor: f64) -> bool {
        let size = |range: Self| range.min.abs().max(range.max.abs());
        let least = |range: Self| match range.min <= 0.0 && range.max >= 0.0 {
            true => 0.0,
            false => range.min.abs().min(range.max.abs()),
        };
        let known_size = size(known).max(floor);
        let is_large = known_size > 0.0 && size(self) >= known_size * factor;
        let is_small = least(known) > 0.0 && least(self) <= least(known) / factor;
        is_large || is_small
    }

    pub(super) fn in_words(self) -> String {
        match self.min == self.max {
            true => number(self.min),
            false => format!("{} to {}", number(self.min), number(self.max)),
        }
    }
}

/// As short as it can be written.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1e15 || (size > 0.0 && size < 1e-6) => format!("{value:e}"),
        _ => format!("{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_is_a_factor_beyond_on_either_side() {
        let range = |min, max| Range { min, max };
        for (name, known, new, floor, want) in [
            ("inside", range(1.0, 9.0), range(2.0, 3.0), 0.0, false),
            ("nine times", range(1.0, 9.0), range(2.0, 80.0), 0.0, false),
            ("ten times", range(1.0, 9.0), range(2.0, 90.0), 0.0, true),
            ("a tenth", range(10.0, 90.0), range(1.0, 20.0), 0.0, true),
            ("to zero", range(10.0, 90.0), range(0.0, 20.0), 0.0, true),
            (
                "known near zero",
                range(0.0, 90.0),
                range(0.0, 0.0),
                0.0,
                false,
            ),
            (
                "only zeros known",
                range(0.0, 0.0),
                range(5.0, 5.0),
                0.0,
                false,
            ),
            ("negative", range(-9.0, -1.0), range(-90.0, -2.0), 0.0, true),
            (
                "small counts",
                range(1.0, 3.0),
                range(1.0, 40.0),
                10.0,
                false,
            ),
            (
                "large for a count",
                range(1.0, 3.0),
                range(1.0, 100.0),
                10.0,
                true,
            ),
        ] {
            assert_eq!(new.is_far_from(known, 10.0, floor), want, "{name}");
        }
    }

    #[test]
    fn a_fraction_is_no_foreign_type() {
        let integer_or_null = Kinds(Kinds::INTEGER.0 | Kinds::NULL.0);
        assert!(Kinds::NUMBER.foreign_to(Kinds::INTEGER).is_empty());
        assert!(integer_or_null.foreign_to(Kinds::NUMBER).is_empty());
        assert_eq!(Kinds::STRING.foreign_to(Kinds::INTEGER), Kinds::STRING);
        assert_eq!(integer_or_null.in_words(), "null or integer");
    }
}
