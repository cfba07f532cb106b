//! What is wrong with one answer: every violation counted, the first few kept, and which records they make bad.
//!
//! Pure. Schema, rules and record rules all report here, so that "a violation at or under `/items/7` makes record 7 bad" holds
//! for each of them, and an answer with a million violations costs no more memory than one with a few.
//!
//! # Invariants
//!
//! - At most [`KEPT_MAX`] violations are kept of the document and as many of its records, the first ones of each; all are
//!   counted, each bad record once.
//! - A message is only put into words where it is kept.

use std::{collections::BTreeMap, sync::Arc};

use super::{Breach, Kind, Violation, field::index};

/// Violations that are kept with their words, of the document and of its records each.
pub const KEPT_MAX: usize = 20;

/// Terms that are counted one by one.
const TERMS_MAX: usize = 256;

/// Collects violations of one answer.
#[derive(Clone, Debug, Default)]
pub struct Violations {
    /// Where the records are, as a JSON Pointer; `None` where nothing counts as one.
    records: Option<String>,
    document: Vec<Violation>,
    document_total: u64,
    of_records: Vec<Violation>,
    /// The records that are bad, by the term that each breaks first.
    bad: BTreeMap<usize, Arc<str>>,
}

impl Violations {
    /// For an answer whose records are the elements of the list at `records`, where it has any.
    pub fn new(records: Option<String>) -> Self {
        Self {
            records,
            ..Self::default()
        }
    }

    /// Notes one. `place` is a JSON Pointer; `message` is asked for where it is kept.
    pub fn push(
        &mut self,
        kind: Kind,
        term: &Arc<str>,
        place: String,
        message: impl FnOnce() -> String,
    ) {
        let record = self.record_of(&place);
        let kept = match record {
            Some(record) => {
                self.bad.entry(record).or_insert_with(|| Arc::clone(term));
                &mut self.of_records
            }
            None => {
                self.document_total += 1;
                &mut self.document
            }
        };
        if kept.len() < KEPT_MAX {
            kept.push(Violation {
                kind,
                term: Arc::clone(term),
                place,
                message: message(),
            });
        }
    }

    /// The record that a place is in.
    fn record_of(&self, place: &str) -> Option<usize> {
        let below = place.strip_prefix(self.records.as_deref()?)?;
        let below = below.strip_prefix('/')?;
        index(below.split('/').next()?)
    }

    /// Where the records are.
    pub fn records_place(&self) -> Option<&str> {
        self.records.as_deref()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.document_total == 0 && self.bad.is_empty()
    }

    /// Whether the answer as a whole is wrong: what comes after cannot make it good.
    pub fn has_of_document(&self) -> bool {
        self.document_total > 0
    }

    /// The first violations that no record has to answer for.
    pub fn of_document(&self) -> &[Violation] {
        &self.document
    }

    /// The first violations of records.
    pub fn of_records(&self) -> &[Violation] {
        &self.of_records
    }

    /// The numbers of the bad records, in order.
    pub fn bad_records(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.bad.keys().copied()
    }

    /// Whether a record is bad.
    pub fn is_bad(&self, record: usize) -> bool {
        self.bad.contains_key(&record)
    }

    /// The breach of an answer with something wrong outside of its records; `None` where nothing is.
    pub fn breach_of_document(&self) -> Option<Breach> {
        let first = self.document.first()?;
        let mut message = first.message.clone();
        if self.document_total > 1 {
            let more = self.document_total - 1;
            message = format!("{message}, and {more} more");
        }
        let mut violations = self.document.clone();
        let room = KEPT_MAX.saturating_sub(violations.len());
        violations.extend(self.of_records.iter().take(room).cloned());
        Some(Breach {
            kind: first.kind,
            term: Arc::clone(&first.term),
            message,
            violations,
        })
    }

    /// How many records break which term first, the most frequent first: `/price: above 0 (9), /sku: required (3)`.
    pub fn terms_of_records(&self) -> String {
        const SHOWN_MAX: usize = 5;
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for term in self.bad.values() {
            if counts.len() < TERMS_MAX || counts.contains_key(&**term) {
                *counts.entry(term).or_default() += 1;
            }
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then(a.cmp(b)));
        let more = counts.len().saturating_sub(SHOWN_MAX);
        let shown = counts.iter().take(SHOWN_MAX);
        let mut words: Vec<_> = shown
            .map(|(term, count)| format!("{term} ({count})"))
            .collect();
        if more > 0 {
            words.push(format!("and {more} more"));
        }
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_at_or_under_a_record_makes_that_record_bad() {
        let term: Arc<str> = "/price: above 0".into();
        for (records, place, want) in [
            (Some("/items"), "/items/3", Some(3)),
            (Some("/items"), "/items/3/price", Some(3)),
            (Some("/items"), "/items/10/a~1b/0", Some(10)),
            (Some("/items"), "/items", None),
            (Some("/items"), "/itemsets/3", None),
            (Some("/items"), "/items/x", None),
            (Some("/items"), "/items/03", None),
            (Some("/items"), "/price", None),
            (Some(""), "/3/price", Some(3)),
            (Some(""), "", None),
            (None, "/items/3", None),
        ] {
            let mut violations = Violations::new(records.map(str::to_owned));
            violations.push(Kind::Rule, &term, place.to_owned(), String::new);
            let bad: Vec<_> = violations.bad_records().collect();
            assert_eq!(bad, Vec::from_iter(want), "{place} of {records:?}");
            assert_eq!(violations.has_of_document(), want.is_none(), "{place}");
        }
    }

    #[test]
    fn the_first_are_kept_and_all_are_counted() {
        let mut violations = Violations::new(Some("/items".to_owned()));
        let (often, once): (Arc<str>, Arc<str>) =
            ("/price: above 0".into(), "/sku: required".into());
        for record in 0..1000 {
            let place = || format!("/items/{record}/price");
            violations.push(Kind::Rule, &often, place(), || {
                "0 is not above 0".to_owned()
            });
            violations.push(Kind::Rule, &often, place(), || {
                "0 is not above 0".to_owned()
            });
        }
        violations.push(Kind::Rule, &once, "/items/1000".to_owned(), String::new);
        assert_eq!(violations.of_records().len(), KEPT_MAX);
        assert_eq!(violations.bad_records().len(), 1001);
        assert_eq!(
            violations.terms_of_records(),
            "/price: above 0 (1000), /sku: required (1)"
        );
        assert_eq!(violations.breach_of_document(), None);
        for _ in 0..1000 {
            violations.push(Kind::Schema, &once, String::new(), || "is wrong".to_owned());
        }
        let breach = violations.breach_of_document().unwrap();
        assert_eq!(breach.kind, Kind::Schema);
        assert_eq!(breach.message, "is wrong, and 999 more");
        assert_eq!(breach.violations.len(), KEPT_MAX);
    }
}
