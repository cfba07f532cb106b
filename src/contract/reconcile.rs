//! Figures of an answer, compared from one good version to the next: "the catalogue lost 40 % of its products".
//!
//! Pure. Each value of an answer may be fine while half of them are gone. A figure counts or sums; where it falls by more
//! than `drop_max` against the last good answer, the new one is a breach. Growing is never one here (`count_within` of a rule
//! looks both ways). A figure that names a dataset is compared over all its answers instead ([`super::dataset`]).
//!
//! How a real drop gets in: raise `drop_max` and reload; or purge the copy, since what is compared with is the stored answer
//! itself, and without one there is nothing to fall from.
//!
//! # Invariants
//!
//! - Without a last good answer, or where its figure is not above zero, no answer is a breach.
//! - A value that is no number adds nothing to a sum, so that prices turning into words are seen as a drop.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

use super::{Breach, Field, Kind, Percent, Violation, rules::count_of, values::Num};

/// What of a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// How many values a path finds, or elements the list of a pointer has.
    Count,
    /// What the values, numbers or decimal texts, add up to.
    Sum,
}

/// One figure, and how far it may fall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// What is counted or summed.
    pub field: Field,
    /// How.
    pub measure: Measure,
    /// The share that may be gone at once.
    pub drop_max: Percent,
    /// Compared over all answers of this dataset, not with the last good one of the same key.
    pub dataset: Option<Arc<str>>,
    /// How long the highest total of a dataset is what others are compared with. Default: 24 h.
    pub window: Duration,
    /// Answers of a dataset whose figures are remembered. Default: 10,000.
    pub keys_max: usize,
}

impl Measure {
    /// The word of the config.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
        }
    }
}

impl Figure {
    /// The figure of an answer: zero where there is nothing to count.
    pub fn value(&self, document: &Value) -> f64 {
        match self.measure {
            Measure::Count => count_of(&self.field, document).unwrap_or_default() as f64,
            Measure::Sum => {
                let mut values = self.field.values(document);
                // A pointer that names a list stands for its elements, as it does for a count.
                if let (false, [Value::Array(elements)]) = (self.field.is_path(), &*values) {
                    values = elements.iter().collect();
                }
                let numbers = values.into_iter().filter_map(Num::of);
                let sum: f64 = numbers.map(Num::as_f64).sum();
                // Sums of the outermost doubles may leave them; infinity less infinity is no number.
                if sum.is_nan() {
                    0.0
                } else {
                    sum.clamp(f64::MIN, f64::MAX)
                }
            }
        }
    }

    /// Compares an answer with the last good one of the same key; nothing where a dataset is compared instead.
    ///
    /// # Errors
    ///
    /// [`Kind::Reconcile`] where the figure fell by more than `drop_max`.
    pub fn check(&self, document: &Value, last_good: &Value) -> Result<(), Breach> {
        if self.dataset.is_some() {
            return Ok(());
        }
        let (new, last) = (self.value(document), self.value(last_good));
        if self.is_beyond(new, last) {
            return Err(self.breach(new, last, "the last good answer"));
        }
        Ok(())
    }

    /// Whether a fall from `last` to `new` is more than may go at once.
    pub(super) fn is_beyond(&self, new: f64, last: f64) -> bool {
        if last <= 0.0 || new >= last {
            return false;
        }
        // Counts are whole: what is beyond by less than this is a rounding of the share.
        const ROUNDING: f64 = 1e-9;
        (last - new) / last > self.drop_max.fraction() + ROUNDING
    }

    pub(super) fn breach(&self, new: f64, last: f64, than: &str) -> Breach {
        let whole = match &self.dataset {
            Some(dataset) => format!("the dataset `{dataset}`"),
            None => "the answer".to_owned(),
        };
        let of = match self.measure {
            Measure::Count => format!("its values at {}", self.field),
            Measure::Sum => format!("its sum of {}", self.field),
        };
        let lost = format!("{:.1}", (last - new) / last * 100.0);
        let lost = lost.strip_suffix(".0").unwrap_or(&lost);
        let message = format!(
            "{whole} lost {lost}% of {of}: {} -> {} against {than}, at most {} may go at once",
            grouped(last),
            grouped(new),
            self.drop_max
        );
        let mut breach = Breach::new(Kind::Reconcile, self.term(), message);
        breach.violations = vec![Violation {
            kind: Kind::Reconcile,
            term: Arc::clone(&breach.term),
            place: self.field.own_place().to_owned(),
            message: breach.message.clone(),
        }];
        breach
    }

    /// In words: `$.items[*]: count drop_max 20%`.
    pub fn term(&self) -> String {
        let measure = self.measure.as_str();
        let of = self.dataset.as_ref().map(|it| format!(" of {it}"));
        format!(
            "{}: {measure}{} drop_max {}",
            self.field,
            of.unwrap_or_default(),
            self.drop_max
        )
    }

    /// What tells this figure of one answer apart from others in its dataset: the route, what was asked for, the field.
    pub fn key(&self, route: &str, target: &str) -> u128 {
        let mut hash = Xxh3::new();
        for part in [route, target, self.field.as_str()] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        hash.digest128()
    }
}

/// `1,000`, `-12,345.60`
fn grouped(number: f64) -> String {
    if number.abs() >= 1e15 {
        return format!("{number:e}");
    }
    let text = if number.fract() == 0.0 {
        format!("{number:.0}")
    } else {
        format!("{number:.2}")
    };
    let (sign, text) = text
        .strip_prefix('-')
        .map_or(("", &*text), |text| ("-", text));
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = sign.to_owned();
    for (index, digit) in whole.char_indices() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::contract::testing::any_json;

    fn figure(text: &str, measure: Measure, drop_max: &str) -> Figure {
        Figure {
            field: Field::parse(text).unwrap(),
            measure,
            drop_max: Percent::parse(drop_max, 100).unwrap(),
            dataset: None,
            window: Duration::from_secs(86_400),
            keys_max: 100,
        }
    }

    fn items(count: usize) -> Value {
        json!({"items": vec![json!({"stock": 2}); count]})
    }

    #[test]
    fn a_figure_may_fall_by_its_share_and_no_further() {
        use Measure::{Count, Sum};
        for (name, text, measure, drop_max, last, new, is_beyond) in [
            (
                "as many as before",
                "$.items[*]",
                Count,
                "20%",
                items(10),
                items(10),
                false,
            ),
            (
                "exactly the share",
                "$.items[*]",
                Count,
                "20%",
                items(10),
                items(8),
                false,
            ),
            (
                "more",
                "$.items[*]",
                Count,
                "20%",
                items(10),
                items(7),
                true,
            ),
            (
                "elements of a list",
                "/items",
                Count,
                "20%",
                items(10),
                items(7),
                true,
            ),
            (
                "growing",
                "$.items[*]",
                Count,
                "20%",
                items(10),
                items(100),
                false,
            ),
            (
                "nothing may go",
                "$.items[*]",
                Count,
                "0%",
                items(10),
                items(9),
                true,
            ),
            (
                "all of it may",
                "$.items[*]",
                Count,
                "100%",
                items(10),
                items(0),
                false,
            ),
            (
                "nothing was there",
                "$.items[*]",
                Count,
                "0%",
                items(0),
                items(0),
                false,
            ),
            (
                "the list is not there",
                "/items",
                Count,
                "50%",
                items(10),
                json!({}),
                true,
            ),
            (
                "a sum",
                "$.items[*].stock",
                Sum,
                "50%",
                items(10),
                items(4),
                true,
            ),
            (
                "a sum within",
                "$.items[*].stock",
                Sum,
                "50%",
                items(10),
                items(5),
                false,
            ),
            (
                "a sum of the elements of a list",
                "/n",
                Sum,
                "50%",
                json!({"n": [1, 2]}),
                json!({"n": [1]}),
                true,
            ),
            (
                "decimal texts",
                "$[*]",
                Sum,
                "10%",
                json!(["1.5", "2.5"]),
                json!([1.5, "2.5"]),
                false,
            ),
            (
                "words add nothing",
                "$[*]",
                Sum,
                "10%",
                json!(["1.5", "2.5"]),
                json!(["1.5", "n/a"]),
                true,
            ),
            (
                "a third of a sum",
                "$[*]",
                Sum,
                "0.1%",
                json!([0.1, 0.2]),
                json!([0.3]),
                false,
            ),
            (
                "a negative sum has no share",
                "$[*]",
                Sum,
                "10%",
                json!([-5]),
                json!([-50]),
                false,
            ),
            (
                "beyond all doubles",
                "$[*]",
                Sum,
                "10%",
                json!([f64::MAX, f64::MAX]),
                json!([f64::MAX]),
                false,
            ),
        ] {
            let got = figure(text, measure, drop_max).check(&new, &last);
            assert_eq!(got.is_err(), is_beyond, "{name}");
        }
    }

    #[test]
    fn a_breach_says_what_was_lost_in_plain_words() {
        let breach = figure("$.items[*]", Measure::Count, "20%").check(&items(600), &items(1000));
        let breach = breach.unwrap_err();
        assert_eq!(breach.kind, Kind::Reconcile);
        assert_eq!(&*breach.term, "$.items[*]: count drop_max 20%");
        assert_eq!(
            breach.message,
            "the answer lost 40% of its values at $.items[*]: 1,000 -> 600 against the last good answer, \
             at most 20% may go at once"
        );
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, want) in [
            (0.0, "0"),
            (999.0, "999"),
            (1000.0, "1,000"),
            (-1_234_567.891, "-1,234,567.89"),
            (1e300, "1e300"),
        ] {
            assert_eq!(grouped(number), want);
        }
    }

    proptest! {
        #[test]
        fn no_document_makes_a_figure_panic_or_infinite(new in any_json(), last in any_json(), text in "\\$\\.\\*|\\$\\.\\.items|/items|") {
            for measure in [Measure::Count, Measure::Sum] {
                let figure = figure(&text, measure, "10%");
                prop_assert!(figure.value(&new).is_finite());
                let _ = figure.check(&new, &last);
                prop_assert!(figure.check(&new, &new).is_ok());
            }
        }
    }
}
