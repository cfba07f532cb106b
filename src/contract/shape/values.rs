//! Values of a place that may be an enumeration: few, short and repeated.
//!
//! What is no enumeration is told by how it behaves: an identifier is another one in each document and never twice in one
//! list; a name begins with a capital; an amount is large.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    bounds::NEW_VALUES_MAX,
    example,
    sight::{Words, is_word},
    watch::Now,
};

/// Words that two places may have together; the next answer holds them against `enum_max`.
const WORDS_MERGED_MAX: usize = 64;
/// Documents from which on values can be held against them.
const DOCUMENTS_MIN: u64 = 4;

/// Values seen, each with the number of answers that have it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Values {
    pub(super) counts: BTreeMap<Box<str>, u64>,
    /// Some value can be none of an enumeration, or there are too many.
    pub(super) is_open: bool,
    is_numeric: bool,
    answers: u64,
    /// Answers with three values and more, and of those with one that is there twice.
    several: u64,
    repeated: u64,
}

impl Values {
    pub(super) fn answers(&self) -> u64 {
        self.answers
    }

    /// Whether the values seen are likely all there are.
    pub(super) fn is_enumeration(&self, now: &Now<'_>) -> bool {
        let different = self.counts.len() as u64;
        if self.is_open || different == 0 || self.answers < now.bounds.answers_min {
            return false;
        }
        let is_repeated = match (different, self.is_numeric) {
            // A number that is always the same is an amount.
            (1 | 2, true) => false,
            (_, true) => self.answers >= different * 20,
            (1, false) => self.counts.keys().all(|word| is_code(word)),
            (_, false) => self.answers >= different * 5,
        };
        let is_identifier = now.documents >= DOCUMENTS_MIN && different * 4 > now.documents * 3;
        let is_list_of_identifiers = self.repeated * 2 < self.several;
        is_repeated
            && (different == 1 || self.counts.values().all(|count| *count >= 2))
            && !is_identifier
            && !is_list_of_identifiers
    }

    /// Values that are new; `text` stands for one that could be none of an enumeration.
    pub(super) fn new_among(&self, words: &Words, text: Option<&str>) -> Vec<Box<str>> {
        let mut new: Vec<Box<str>> = words
            .seen
            .iter()
            .filter(|word| !self.counts.contains_key(*word))
            .take(NEW_VALUES_MAX)
            .cloned()
            .collect();
        if new.is_empty() && words.is_open {
            new.extend(text.map(Into::into));
        }
        new
    }

    /// Takes what an answer has.
    pub(super) fn learn(&mut self, words: &Words, max: usize) {
        self.recall(words);
        self.is_open |= words.is_open;
        self.is_numeric |= words.is_numeric;
        for word in &words.seen {
            if !self.is_open {
                *self.counts.entry(word.clone()).or_default() += 1;
            }
        }
        self.close(max);
    }

    /// Counts an answer without taking what is new in it.
    pub(super) fn recall(&mut self, words: &Words) {
        self.answers += 1;
        if words.total >= 3 {
            self.several += 1;
            self.repeated += u64::from((words.seen.len() as u64) < words.total);
        }
    }

    /// Takes values that were held back.
    pub(super) fn admit(&mut self, values: &[Box<str>], max: usize) {
        for value in values {
            self.is_open |= !is_word(value);
            // Once more than once: it counts as repeated.
            self.counts.entry(value.clone()).or_insert(2);
        }
        self.close(max);
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.is_open |= other.is_open;
        self.is_numeric |= other.is_numeric;
        self.answers += other.answers;
        self.several += other.several;
        self.repeated += other.repeated;
        for (word, count) in other.counts {
            *self.counts.entry(word).or_default() += count;
        }
        self.close(WORDS_MERGED_MAX);
    }

    fn close(&mut self, max: usize) {
        if self.is_open || self.counts.len() > max {
            self.is_open = true;
            self.counts.clear();
        }
    }

    pub(super) fn in_words(&self) -> String {
        let words: Vec<_> = self.counts.keys().map(|word| example::cut(word)).collect();
        match words.len() {
            1 => words.join(""),
            _ => format!("one of {}", words.join(", ")),
        }
    }
}

/// A constant that is a code (`EUR`, `in_stock`) and not a name (`Widget`, `v1.2`).
fn is_code(word: &str) -> bool {
    let has = |is: fn(char) -> bool| word.chars().any(is);
    let is_mixed = has(char::is_uppercase) && has(char::is_lowercase);
    !is_mixed && !has(|c| c.is_ascii_digit() || c == ' ')
}

#[cfg(test)]
mod tests {
    use super::{super::bounds::Bounds, *};
    use crate::clock::Timestamp;

    fn words(seen: &[&str], total: u64) -> Words {
        Words {
            seen: seen.iter().map(|word| (*word).into()).collect(),
            total,
            ..Words::default()
        }
    }

    #[test]
    fn enumerations_are_told_from_names_and_identifiers() {
        let one = |word: &'static str| vec![vec![word]; 40];
        let turns = |words: &[&'static str]| -> Vec<Vec<&'static str>> {
            words
                .iter()
                .cycle()
                .take(40)
                .map(|word| vec![*word])
                .collect()
        };
        for (name, answers, documents, want) in [
            ("two states", turns(&["on", "off"]), 1, true),
            ("a currency", one("EUR"), 1, true),
            ("a name", one("Widget"), 1, false),
            ("a version", one("v1.2"), 1, false),
            (
                "a name per document",
                turns(&["a", "b", "c", "d", "e"]),
                5,
                false,
            ),
            ("states of documents", turns(&["on", "off"]), 5, true),
            (
                "identifiers in a list",
                vec![vec!["a", "b", "c"]; 40],
                1,
                false,
            ),
            (
                "states in a list",
                vec![vec!["on", "off", "on"]; 40],
                1,
                true,
            ),
        ] {
            let mut values = Values::default();
            for answer in answers {
                let mut seen = answer.clone();
                seen.sort_unstable();
                seen.dedup();
                values.learn(&words(&seen, answer.len() as u64), 16);
            }
            let bounds = Bounds::default();
            let now = Now {
                at: Timestamp::EPOCH,
                answer: 41,
                document: 1,
                documents,
                bounds: &bounds,
            };
            assert_eq!(values.is_enumeration(&now), want, "{name}");
        }
    }
}
