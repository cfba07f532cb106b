//! Lists: a few bad records need not cost the whole answer.
//!
//! Pure. A violation at or under a record makes that record bad, whoever finds it: the schema, a rule, or a rule of the
//! records. Up to a share of them the answer is taken, with the bad ones kept, dropped or marked; above it the answer is a
//! breach.
//!
//! # Invariants
//!
//! - Without a bad record nothing is edited.
//! - Dropping and marking leave every other byte as it was ([`super::splice`]).
//! - The share is of the records as they came; a list without any has none that is bad.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::{
    Breach, Effort, Exhausted, Field, Kind, Percent, Rule, Violations,
    rules::Scope,
    splice::{self, Edit},
    values::{kind, shown},
};

/// What becomes of bad records in an answer that is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Remedy {
    /// They stay as they came. The default.
    #[default]
    Keep,
    /// They go.
    Drop,
    /// They get a member that says so; what is no object goes.
    Mark,
}

/// The records of an answer, and what is asked of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records {
    /// `records`: names the list.
    pub field: Field,
    /// `record_rules`: fields are relative to the record.
    pub rules: Vec<Rule>,
    /// `bad_records_max`: the share up to which the answer is taken. Default: none.
    pub bad_max: Percent,
    /// `bad_records`.
    pub bad: Remedy,
    /// `mark`: the member that says so. Default: `_bad`.
    pub mark: Box<str>,
}

/// What is left to do with an answer that is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// How many records are bad, of how many.
    pub bad_records: usize,
    /// All of them.
    pub records: usize,
    /// The answer with its bad records dropped or marked; `None` where it stays as it came.
    pub body: Option<Vec<u8>>,
    /// What is wrong with the first of them.
    pub violations: Vec<super::Violation>,
}

impl Remedy {
    /// The word of the config.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::Mark => "mark",
        }
    }
}

impl Records {
    /// Where the list is in this answer, as a JSON Pointer, and what is in it.
    pub fn locate<'v>(&'v self, document: &'v Value) -> Option<(String, &'v [Value])> {
        let found = self.field.find(document);
        let [one] = found.as_slice() else {
            return None;
        };
        let Value::Array(records) = one.value else {
            return None;
        };
        Some((one.place(), records))
    }

    /// Notes what breaks the rules of the records, or that there are none.
    ///
    /// # Errors
    ///
    /// Where there is nothing left to pay with.
    pub fn check(
        &self,
        document: &Value,
        effort: &Effort<'_>,
        out: &mut Violations,
    ) -> Result<(), Exhausted> {
        let Some((place, records)) = self.locate(document) else {
            let term = Arc::from(format!("{}: records", self.field));
            let found = self.field.find(document);
            let place = self.field.own_place();
            out.push(Kind::Rule, &term, place.to_owned(), || match &*found {
                [] => format!("{} is missing, where the records are due", self.field),
                [one] => format!(
                    "{} is {}: {}, where a list of records is due",
                    self.field,
                    shown(one.value),
                    kind(one.value)
                ),
                several => format!(
                    "{} finds {} values, not one list",
                    self.field,
                    several.len()
                ),
            });
            return Ok(());
        };
        for (index, record) in records.iter().enumerate() {
            let place = format!("{place}/{index}");
            let scope = Scope {
                document: record,
                last_good: None,
                place: &place,
            };
            for rule in &self.rules {
                rule.check(scope, effort, out)?;
            }
        }
        Ok(())
    }

    /// Whether the bad ones are too many, and the answer without or with them marked where they are not.
    ///
    /// # Errors
    ///
    /// [`Kind::BadRecords`] where more are bad than `bad_max` allows.
    pub fn settle(
        &self,
        violations: &Violations,
        document: &Value,
        body: &[u8],
    ) -> Result<Settled, Breach> {
        let Some((place, records)) = self.locate(document) else {
            return Ok(Settled::default());
        };
        // Violations may only name records that are there, but nothing hangs on it.
        let bad: BTreeSet<_> = violations
            .bad_records()
            .filter(|it| *it < records.len())
            .collect();
        if self
            .bad_max
            .is_exceeded_by(bad.len() as u64, records.len() as u64)
        {
            let (count, all, terms) = (bad.len(), records.len(), violations.terms_of_records());
            let are = if count == 1 { "is" } else { "are" };
            let message = format!(
                "{count} of {all} records {are} bad, at most {} may be: {terms}",
                self.bad_max
            );
            let term = format!("{}: bad_records_max {}", self.field, self.bad_max);
            let mut breach = Breach::new(Kind::BadRecords, term, message);
            breach.violations = violations.of_records().to_vec();
            return Err(breach);
        }
        let edit = match self.bad {
            Remedy::Drop => Some(Edit::Drop),
            Remedy::Mark => Some(Edit::Mark),
            Remedy::Keep => None,
        };
        let edit = edit.filter(|_| !bad.is_empty());
        let edited = match edit.zip(Field::parse(&place).ok()) {
            None => None,
            Some((edit, list)) => {
                let tokens = list.tokens().unwrap_or_default();
                let is_bad = |index| bad.contains(&index);
                let edited = splice::edit(body, tokens, edit, &self.mark, is_bad);
                // What was read from these bytes is found in them again; if ever not, bad records do not slip through.
                Some(edited.ok_or_else(|| {
                    let message = "its records cannot be found in its bytes";
                    Breach::new(
                        Kind::BadRecords,
                        format!("{}: records", self.field),
                        message,
                    )
                })?)
            }
        };
        Ok(Settled {
            bad_records: bad.len(),
            records: records.len(),
            body: edited,
            violations: violations.of_records().to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::contract::{Limits, check::Check, json, testing::any_json, values::Num};

    fn records(bad_max: &str, bad: Remedy) -> Records {
        let price = Field::parse("/price").unwrap();
        let above = Check::Above(Num::Int(0));
        Records {
            field: Field::parse("/items").unwrap(),
            rules: vec![Rule::new(price, Some(true), false, vec![above])],
            bad_max: Percent::parse(bad_max, 100).unwrap(),
            bad,
            mark: "_bad".into(),
        }
    }

    fn settled(records: &Records, text: &str) -> Result<Settled, Breach> {
        let document = json::read(text.as_bytes(), &Limits::default()).unwrap();
        let place = records.locate(&document).map(|(place, _)| place);
        let mut violations = Violations::new(place);
        let effort = Effort::new(&Limits::default(), &|| false);
        records.check(&document, &effort, &mut violations).unwrap();
        if let Some(breach) = violations.breach_of_document() {
            return Err(breach);
        }
        records.settle(&violations, &document, text.as_bytes())
    }

    fn body(settled: Settled) -> Option<String> {
        settled.body.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_list_is_taken_up_to_a_share_of_bad_records() {
        let list = |good: usize, bad: usize| {
            let good = std::iter::repeat_n(json!({"price": 1}), good);
            let all: Vec<_> = good
                .chain(std::iter::repeat_n(json!({"price": 0}), bad))
                .collect();
            json!({"items": all}).to_string()
        };
        for (name, max, good, bad, is_taken) in [
            ("none is bad", "0%", 10, 0, true),
            ("one is, and none may be", "0%", 10, 1, false),
            ("exactly the share", "5%", 95, 5, true),
            ("one more", "5%", 94, 6, false),
            ("half a percent of 100 is none", "0.5%", 99, 1, false),
            ("half a percent of 200 is one", "0.5%", 199, 1, true),
            ("all may be", "100%", 0, 3, true),
            ("an empty list", "0%", 0, 0, true),
        ] {
            let got = settled(&records(max, Remedy::Keep), &list(good, bad));
            assert_eq!(got.is_ok(), is_taken, "{name}");
            match got {
                Ok(settled) => {
                    assert_eq!((settled.bad_records, settled.body), (bad, None), "{name}");
                }
                Err(breach) => assert_eq!(breach.kind, Kind::BadRecords, "{name}"),
            }
        }
        let breach = settled(&records("5%", Remedy::Keep), &list(88, 12)).unwrap_err();
        assert_eq!(
            breach.message,
            "12 of 100 records are bad, at most 5% may be: /price: above 0 (12)"
        );
        assert_eq!(&*breach.term, "/items: bad_records_max 5%");
        assert_eq!(breach.violations[0].place, "/items/88/price");
    }

    #[test]
    fn bad_records_are_kept_dropped_or_marked() {
        let text = r#"{"n": 1.0, "items": [{"price": 0}, {"price": 1.50}, 7, {}]}"#;
        for (bad, want) in [
            (Remedy::Keep, None),
            (
                Remedy::Drop,
                Some(r#"{"n": 1.0, "items": [{"price": 1.50}]}"#),
            ),
            (
                Remedy::Mark,
                Some(
                    r#"{"n": 1.0, "items": [{"_bad":true,"price": 0}, {"price": 1.50}, {"_bad":true}]}"#,
                ),
            ),
        ] {
            let got = settled(&records("75%", bad), text).unwrap();
            assert_eq!(got.bad_records, 3, "{bad:?}");
            assert_eq!(body(got).as_deref(), want, "{bad:?}");
        }
        let good = r#"{"items": [{"price": 1}]}"#;
        assert_eq!(
            settled(&records("0%", Remedy::Drop), good).unwrap().body,
            None
        );
    }

    #[test]
    fn records_that_are_not_there_are_a_violation_of_the_document() {
        for (text, want) in [
            ("{}", "is missing"),
            (r#"{"items": {}}"#, "an object"),
            (r#"{"items": null}"#, "null"),
            (r#"{"items": "x"}"#, "text"),
        ] {
            let breach = settled(&records("100%", Remedy::Drop), text).unwrap_err();
            assert_eq!(breach.kind, Kind::Rule, "{text}");
            assert!(breach.message.contains(want), "{}", breach.message);
        }
    }

    #[test]
    fn a_path_may_name_the_list() {
        let mut records = records("50%", Remedy::Drop);
        records.field = Field::parse("$.a['b/c']").unwrap();
        let got = settled(&records, r#"{"a":{"b/c":[{"price":1},{"price":0}]}}"#).unwrap();
        assert_eq!(body(got).as_deref(), Some(r#"{"a":{"b/c":[{"price":1}]}}"#));
    }

    proptest! {
        #[test]
        fn editing_the_bytes_is_editing_the_values(
            elements in prop::collection::vec(any_json(), 0..8),
            chosen in prop::collection::btree_set(0usize..8, 0..8),
            is_mark in any::<bool>(), is_pretty in any::<bool>(), is_below in any::<bool>(),
        ) {
            let wrap = |list: Vec<Value>| if is_below { json!({"a": 1, "x/y": [0, list], "z": "]"}) } else { Value::Array(list) };
            let document = wrap(elements.clone());
            let text = if is_pretty { serde_json::to_string_pretty(&document).unwrap() } else { document.to_string() };
            let place = Field::parse(if is_below { "/x~1y/1" } else { "" }).unwrap();
            let how = if is_mark { Edit::Mark } else { Edit::Drop };
            let got = splice::edit(text.as_bytes(), place.tokens().unwrap(), how, "a", |it| chosen.contains(&it)).unwrap();
            let want = elements.into_iter().enumerate().filter_map(|(index, mut it)| {
                if !chosen.contains(&index) { return Some(it); }
                let members = it.as_object_mut().filter(|_| is_mark)?;
                // `a` is one of the names that documents have anyway.
                members.insert("a".to_owned(), Value::Bool(true));
                Some(it)
            });
            let got = json::read(&got, &Limits::default()).unwrap();
            prop_assert_eq!(got, wrap(want.collect()));
        }
    }
}
