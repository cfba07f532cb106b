//! Short rules for what operators think in: a field, and what has to hold of it.
//!
//! Pure: a document, the last good one where there is one, and violations out.
//!
//! - A field that is not there breaks nothing unless the rule says `required` (or `non_empty`, which means it). `null` counts
//!   as not there unless the rule says `nullable`.
//! - `required` of a path asks for at least one value: where each record has to have one, it is a `record_rules` rule.
//! - A value of a type that a check cannot look at (a list where `min` is asked) is a violation. Texts that are decimal
//!   numbers count as those for `min`, `max`, `above`, `below` and `at_most`; not for `type`, `equals` and `one_of`.
//! - `at_most` between two paths pairs values of the same list elements (`$.items[*].net` with `$.items[*].gross`).
//!
//! # Invariants
//!
//! - Time is linear in the values found.
//! - A term names rule and check, never a value: it is the same for every answer that breaks it.

use std::{collections::HashMap, sync::Arc};

use serde_json::Value;

use super::{
    Effort, Exhausted, Field, Found, Kind, Percent, Violations,
    check::Check,
    values::{Same, kind, order, shown},
};

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it is about.
    pub field: Field,
    /// Whether it has to be there.
    pub required: bool,
    /// Whether `null` is a value like others, that no check looks at.
    pub nullable: bool,
    required_term: Arc<str>,
    checks: Vec<(Check, Arc<str>)>,
}

/// What rules are applied to.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'v> {
    /// The answer, or a record of it.
    pub document: &'v Value,
    /// The same of the last good answer.
    pub last_good: Option<&'v Value>,
    /// Where `document` stands in the answer, as a JSON Pointer; `""` where it is the answer.
    pub place: &'v str,
}

impl Rule {
    /// A rule of these checks. `required`: as written, or what the checks mean.
    pub fn new(field: Field, required: Option<bool>, nullable: bool, checks: Vec<Check>) -> Self {
        let needs = checks.contains(&Check::NonEmpty);
        let term = |words: &dyn std::fmt::Display| Arc::from(format!("{field}: {words}"));
        Self {
            required: required.unwrap_or(needs),
            nullable,
            required_term: term(&"required"),
            checks: checks
                .into_iter()
                .map(|check| {
                    let term = term(&check);
                    (check, term)
                })
                .collect(),
            field,
        }
    }

    /// Its checks.
    pub fn checks(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().map(|(check, _)| check)
    }

    /// The fields that it looks at: its own first.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        let others = self.checks().filter_map(|check| match check {
            Check::AtMost(other) => Some(other),
            _ => None,
        });
        std::iter::once(&self.field).chain(others)
    }

    /// In words: `/price: required, above 0, max 10000`.
    pub fn terms(&self) -> String {
        let required = self.required.then(|| "required".to_owned());
        let checks = self.checks().map(ToString::to_string);
        let words: Vec<_> = required.into_iter().chain(checks).collect();
        format!("{}: {}", self.field, words.join(", "))
    }

    /// Notes what breaks it. A step is a value found and a check of it.
    ///
    /// # Errors
    ///
    /// Where there is nothing left to pay with.
    pub fn check(
        &self,
        scope: Scope<'_>,
        effort: &Effort<'_>,
        out: &mut Violations,
    ) -> Result<(), Exhausted> {
        effort.spend(1)?;
        let found = self.field.find(scope.document);
        let found_count = found.len() as u64;
        if self.required {
            self.check_required(scope, &found, out);
        }
        for (check, term) in &self.checks {
            effort.spend(found_count)?;
            if check.is_of_all() {
                Of {
                    rule: self,
                    scope,
                    found: &found,
                    term,
                }
                .check(check, out);
                continue;
            }
            for it in found.iter().filter(|it| !it.value.is_null()) {
                if let Some(wrong) = check.wrong(it.value) {
                    let place = scope.at(&it.place());
                    out.push(Kind::Rule, term, place.clone(), || {
                        format!("{} is {}: {wrong}", named(&place), shown(it.value))
                    });
                }
            }
        }
        Ok(())
    }

    fn check_required(&self, scope: Scope<'_>, found: &[Found<'_>], out: &mut Violations) {
        let term = &self.required_term;
        if found.is_empty() {
            let place = scope.at(self.field.own_place());
            out.push(Kind::Rule, term, place.clone(), || {
                if self.field.is_path() {
                    let whole = named(&place);
                    return format!("{whole} has nothing at {}", self.field);
                }
                format!("{} is missing", named(&place))
            });
        }
        if self.nullable {
            return;
        }
        for it in found.iter().filter(|it| it.value.is_null()) {
            let place = scope.at(&it.place());
            out.push(Kind::Rule, term, place.clone(), || {
                format!("{} is null", named(&place))
            });
        }
    }
}

impl Scope<'_> {
    /// A place in the document, as one in the answer.
    fn at(&self, place: &str) -> String {
        format!("{}{place}", self.place)
    }
}

fn named(place: &str) -> &str {
    if place.is_empty() {
        "the answer"
    } else {
        place
    }
}

/// A check that looks at all values of a field together.
struct Of<'c> {
    rule: &'c Rule,
    scope: Scope<'c>,
    found: &'c [Found<'c>],
    term: &'c Arc<str>,
}

impl Of<'_> {
    fn check(&self, check: &Check, out: &mut Violations) {
        match check {
            Check::Unique => self.unique(out),
            Check::AtMost(other) => self.at_most(other, out),
            Check::CountMin(min) => self.count(out, |count| {
                (count < *min).then(|| format!("at least {min} are due"))
            }),
            Check::CountMax(max) => self.count(out, |count| {
                (count > *max).then(|| format!("at most {max} are expected"))
            }),
            Check::CountWithin(share) => self.count_within(*share, out),
            _ => {}
        }
    }

    fn push(&self, out: &mut Violations, place: &str, message: impl FnOnce(&str) -> String) {
        let place = self.scope.at(place);
        let shown = place.clone();
        out.push(Kind::Rule, self.term, place, || message(named(&shown)));
    }

    // --- unique ---

    fn unique(&self, out: &mut Violations) {
        if self.rule.field.is_path() {
            let values = self.found.iter().map(|it| it.value);
            self.duplicates(values, |index| self.found[index].place(), out);
            return;
        }
        for it in self.found.iter().filter(|it| !it.value.is_null()) {
            match it.value {
                Value::Array(elements) => {
                    let place = |index| format!("{}/{index}", it.place());
                    self.duplicates(elements.iter(), place, out);
                }
                other => self.push(out, &it.place(), |place| {
                    format!(
                        "{place} is {}, and only elements of a list can be unique",
                        kind(other)
                    )
                }),
            }
        }
    }

    /// Values that stood before. `null` is no value, so that two of them are not the same one.
    fn duplicates<'v>(
        &self,
        values: impl Iterator<Item = &'v Value>,
        place: impl Fn(usize) -> String,
        out: &mut Violations,
    ) {
        let mut first_of: HashMap<Same<'v>, usize> = HashMap::new();
        for (index, value) in values.enumerate() {
            if value.is_null() {
                continue;
            }
            let first = *first_of.entry(Same(value)).or_insert(index);
            if first != index {
                self.push(out, &place(index), |here| {
                    let there = self.scope.at(&place(first));
                    format!("{here} is {}, as {there} is already", shown(value))
                });
            }
        }
    }

    // --- at_most ---

    fn at_most(&self, other: &Field, out: &mut Violations) {
        let is_there = |it: &&Found<'_>| !it.value.is_null();
        let others = other.find(self.scope.document);
        let others: Vec<_> = others.iter().filter(is_there).collect();
        let ours: Vec<_> = self.found.iter().filter(is_there).collect();
        match (self.rule.field.is_path(), other.is_path()) {
            (true, true) => self.pairs(&ours, &others, other, out),
            // One bound for all, or all bounds for one.
            _ => {
                for a in &ours {
                    for b in &others {
                        self.pair(a, b, out);
                    }
                }
            }
        }
    }

    fn pairs(
        &self,
        ours: &[&Found<'_>],
        others: &[&Found<'_>],
        other: &Field,
        out: &mut Violations,
    ) {
        let mut by_indices: HashMap<Vec<usize>, &Found<'_>> = HashMap::new();
        for it in others {
            by_indices.insert(it.indices(), it);
        }
        let mut seen: HashMap<Vec<usize>, ()> = HashMap::new();
        let is_one_each = by_indices.len() == others.len()
            && ours
                .iter()
                .all(|it| seen.insert(it.indices(), ()).is_none());
        if is_one_each {
            for a in ours {
                // Where the other is not there, there is nothing to be more than.
                if let Some(b) = by_indices.get(&a.indices()) {
                    self.pair(a, b, out);
                }
            }
        } else if ours.len() == others.len() {
            for (a, b) in ours.iter().zip(others) {
                self.pair(a, b, out);
            }
        } else {
            let (a, b) = (ours.len(), others.len());
            self.push(out, "", |whole| {
                format!(
                    "{whole} has {a} values at {} and {b} at {other}, which cannot be paired",
                    self.rule.field
                )
            });
        }
    }

    fn pair(&self, a: &Found<'_>, b: &Found<'_>, out: &mut Violations) {
        let compared = order(a.value, b.value);
        if compared.is_some_and(std::cmp::Ordering::is_le) {
            return;
        }
        self.push(out, &a.place(), |place| {
            let (what, other) = (shown(a.value), self.scope.at(&b.place()));
            let relation = match compared {
                Some(_) => "more than",
                None => "not comparable to",
            };
            format!(
                "{place} is {what}: {relation} {other}, which is {}",
                shown(b.value)
            )
        });
    }

    // --- count ---

    fn count(&self, out: &mut Violations, wrong: impl Fn(u64) -> Option<String>) {
        let Some(count) = count_of(&self.rule.field, self.scope.document) else {
            let what = self.found.first().map_or("nothing", |it| kind(it.value));
            self.push(out, self.rule.field.own_place(), |place| {
                format!("{place} is {what}, which has no elements to count")
            });
            return;
        };
        if let Some(wrong) = wrong(count) {
            self.push(out, self.rule.field.own_place(), |_| {
                format!("{} has {count}: {wrong}", self.rule.field)
            });
        }
    }

    fn count_within(&self, share: Percent, out: &mut Violations) {
        let last = self.scope.last_good;
        let last = last.and_then(|last| count_of(&self.rule.field, last));
        // Of nothing there is no share.
        let last = last.filter(|last| *last > 0);
        self.count(out, |count| {
            let last = last?;
            let is_beyond = share.is_exceeded_by(count.abs_diff(last), last);
            is_beyond.then(|| format!("the last good answer had {last}, and {share} may change"))
        });
    }
}

/// How many values a path finds; how many elements or members the value of a pointer has, none where it is not there.
/// `None` where it is neither list nor object.
pub(super) fn count_of(field: &Field, document: &Value) -> Option<u64> {
    let values = field.values(document);
    if field.is_path() {
        return Some(values.len() as u64);
    }
    match values.first() {
        None | Some(Value::Null) => Some(0),
        Some(Value::Array(elements)) => Some(elements.len() as u64),
        Some(Value::Object(members)) => Some(members.len() as u64),
        Some(_) => None,
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
