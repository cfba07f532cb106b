//! What a route asks of the values of its answers, beside the schema: rules, records, figures.
//!
//! Pure. Holds the order in which they are asked; each has a file of its own.

use serde_json::Value;

use super::{
    Breach, Effort, Exhausted, Field, Figure, Records, Rule, Settled, Violations, check::Check,
    rules::Scope,
};

/// The rules, the records and the figures of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// `rules`: of the whole answer.
    pub rules: Vec<Rule>,
    /// `records` and what belongs to them.
    pub records: Option<Records>,
    /// `reconcile`.
    pub figures: Vec<Figure>,
}

impl Terms {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.records.is_none() && self.figures.is_empty()
    }

    /// Whether anything is compared with the last good answer.
    pub fn needs_last_good(&self) -> bool {
        let within = |check: &Check| matches!(check, Check::CountWithin(_));
        self.figures.iter().any(|it| it.dataset.is_none())
            || self.rules.iter().any(|rule| rule.checks().any(within))
    }

    /// Whether answers may be edited: their validators are not the vendor's then.
    pub fn edits(&self) -> bool {
        let records = self.records.as_ref();
        records.is_some_and(|it| it.bad != super::Remedy::Keep)
    }

    /// What collects the violations of an answer; the schema reports there, too.
    pub fn violations(&self, document: &Value) -> Violations {
        let located = self.records.as_ref().and_then(|it| it.locate(document));
        Violations::new(located.map(|(place, _)| place))
    }

    /// Notes what breaks the rules of the answer and of its records, paying for each.
    ///
    /// # Errors
    ///
    /// Where there is nothing left to pay with: the answer is too complex to judge.
    pub fn check(
        &self,
        document: &Value,
        last_good: Option<&Value>,
        effort: &Effort<'_>,
        out: &mut Violations,
    ) -> Result<(), Exhausted> {
        let scope = Scope {
            document,
            last_good,
            place: "",
        };
        for rule in &self.rules {
            rule.check(scope, effort, out)?;
        }
        match &self.records {
            Some(records) => records.check(document, effort, out),
            None => Ok(()),
        }
    }

    /// What the violations, all noted, come to. `body` is what `document` was read from.
    ///
    /// # Errors
    ///
    /// The breach of the first violation outside of the records, or of too many bad ones.
    pub fn settle(
        &self,
        violations: &Violations,
        document: &Value,
        body: &[u8],
    ) -> Result<Settled, Breach> {
        if let Some(breach) = violations.breach_of_document() {
            return Err(breach);
        }
        match &self.records {
            Some(records) => records.settle(violations, document, body),
            None => Ok(Settled::default()),
        }
    }

    /// Compares the figures with those of the last good answer, where there is one. `document` as it is served: without the
    /// records that were dropped, as the last good one is.
    ///
    /// # Errors
    ///
    /// [`super::Kind::Reconcile`] of the first figure that fell too far.
    pub fn reconcile(&self, document: &Value, last_good: Option<&Value>) -> Result<(), Breach> {
        let Some(last_good) = last_good else {
            return Ok(());
        };
        let mut figures = self.figures.iter();
        figures.try_for_each(|it| it.check(document, last_good))
    }

    /// The figures that are compared over a dataset, with its name.
    pub fn of_datasets(&self) -> impl Iterator<Item = (&Figure, &str)> {
        let figures = self.figures.iter();
        figures.filter_map(|figure| Some((figure, figure.dataset.as_deref()?)))
    }

    /// The fields that the route relies on, in the order of the config: of the answer, and of each record.
    pub fn fields(&self) -> (Vec<&Field>, Vec<&Field>) {
        let mut whole: Vec<&Field> = Vec::new();
        for rule in &self.rules {
            whole.extend(rule.fields());
        }
        let mut of_records: Vec<&Field> = Vec::new();
        if let Some(records) = &self.records {
            whole.push(&records.field);
            for rule in &records.rules {
                of_records.extend(rule.fields());
            }
        }
        whole.extend(self.figures.iter().map(|it| &it.field));
        (whole, of_records)
    }
}
