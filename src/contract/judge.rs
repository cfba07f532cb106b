//! Judging: one answer against the contract of its route, in the order in which things can be known.
//!
//! Pure. Content type, encoding, size, form, `transform`, schema, rules, records, reconciliation; the first that does not
//! hold is the breach.

use bytes::Bytes;
use http::{HeaderMap, header};
use serde_json::Value;

use super::{
    Breach, Contract, Effort, Kind, MediaKind, Remedy, Violations, check_size, check_type, decode,
    json, well_formed,
};
use crate::http::fetch::LastGood;

/// What comes of an answer that is good.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Good {
    /// `Some`: its content is another one now, not encoded.
    pub rewritten: Option<Bytes>,
    /// Its content as the vendor meant it: decoded, not mapped.
    pub content: Bytes,
    /// Records that are bad, within `bad_records_max`.
    pub bad_records: usize,
    /// Records there were.
    pub records: usize,
    /// What is wrong with the bad ones, in words for operators; empty where none is.
    pub sentence: String,
    /// What its figures came to, in the order of [`super::Terms::of_datasets`].
    pub figures: Vec<f64>,
}

/// What comes of one that is not.
#[derive(Clone, Debug, PartialEq)]
pub struct Broken {
    /// Why.
    pub breach: Breach,
    /// What its mapping made of it, where that worked: what is served where the contract is only observed.
    pub mapped: Option<Bytes>,
}

impl From<Breach> for Broken {
    fn from(breach: Breach) -> Self {
        Self {
            breach,
            mapped: None,
        }
    }
}

/// What stands behind an answer that is judged.
#[derive(Clone, Copy, Default)]
pub struct Behind<'a> {
    /// The stored answer that it would replace.
    pub last_good: Option<&'a LastGood>,
    /// Whether it takes too long.
    pub is_late: Option<&'a dyn Fn() -> bool>,
}

impl Contract {
    /// Judges this content under these fields.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn judge(
        &self,
        headers: &HeaderMap,
        body: &Bytes,
        behind: Behind<'_>,
    ) -> Result<Good, Broken> {
        let kind = check_type(&self.types, headers, body)?;
        let content = decode(headers, body, self.limits.body_bytes_max)?;
        let mapped = match &self.transform {
            Some(program) if kind == MediaKind::Json => {
                check_size(self.size_bytes_min, &content)?;
                Some(program.run(&content, &self.limits)?)
            }
            _ => None,
        };
        let seen = mapped.as_ref().unwrap_or(&content);
        let good = match self.judge_content(&kind, seen, behind) {
            Ok(good) => good,
            Err(breach) => return Err(Broken { breach, mapped }),
        };
        Ok(Good {
            rewritten: good.rewritten.or(mapped),
            content,
            ..good
        })
    }

    /// Whether stored content, mapped already, under these fields meets the terms that speak of one answer alone.
    pub fn is_met_by(&self, headers: &HeaderMap, body: &Bytes) -> bool {
        let behind = Behind::default();
        let judged = check_type(&self.types, headers, body).and_then(|kind| {
            let content = decode(headers, body, self.limits.body_bytes_max)?;
            self.judge_content(&kind, &content, behind)
        });
        // Bad records were dropped before it was stored, where the route says so; marked ones are still there.
        judged.is_ok_and(|good| good.rewritten.is_none() || self.remedy() == Remedy::Mark)
    }

    /// Judges what the site would see.
    fn judge_content(
        &self,
        kind: &MediaKind,
        content: &Bytes,
        behind: Behind<'_>,
    ) -> Result<Good, Breach> {
        if content.len() as u64 > self.limits.body_bytes_max {
            return Err(too_large(self.limits.body_bytes_max));
        }
        check_size(self.size_bytes_min, content)?;
        let never = || false;
        let effort = Effort::new(&self.limits, behind.is_late.unwrap_or(&never));
        well_formed(kind, content, &self.limits, &effort)?;
        if *kind != MediaKind::Json {
            return Ok(Good::default());
        }
        let document = json::read(content, &self.limits)?;
        let last_good = match behind.last_good {
            Some(last_good) if self.terms.needs_last_good() => self.read_last_good(last_good),
            _ => None,
        };
        let violations = self.violations(&document, last_good.as_ref(), &effort)?;
        let settled = self.terms.settle(&violations, &document, content)?;
        let edited = settled.body.map(Bytes::from);
        let served = match &edited {
            Some(edited) => json::read(edited, &self.limits)?,
            None => document,
        };
        self.terms.reconcile(&served, last_good.as_ref())?;
        let figures = self.terms.of_datasets();
        Ok(Good {
            rewritten: edited,
            content: Bytes::new(),
            bad_records: settled.bad_records,
            records: settled.records,
            sentence: violations.terms_of_records(),
            figures: figures.map(|(figure, _)| figure.value(&served)).collect(),
        })
    }

    fn violations(
        &self,
        document: &Value,
        last_good: Option<&Value>,
        effort: &Effort<'_>,
    ) -> Result<Violations, Breach> {
        let mut violations = self.terms.violations(document);
        if let Some(schema) = &self.schema {
            schema.check_each(document, effort, &mut |misfit| {
                let term = misfit.term().into();
                let place = misfit.place().to_owned();
                violations.push(Kind::Schema, &term, place, || misfit.violation().message);
            })?;
        }
        self.terms
            .check(document, last_good, effort, &mut violations)?;
        Ok(violations)
    }

    /// What cannot be read is compared with nothing: it was stored under another contract.
    fn read_last_good(&self, last_good: &LastGood) -> Option<Value> {
        let mut headers = HeaderMap::new();
        if let Some(encoding) = &last_good.encoding {
            headers.insert(header::CONTENT_ENCODING, encoding.clone());
        }
        let content = decode(&headers, &last_good.body, self.limits.body_bytes_max).ok()?;
        json::read(&content, &self.limits).ok()
    }

    /// Whether bad records stay, as far as the route says.
    pub fn remedy(&self) -> Remedy {
        let records = self.terms.records.as_ref();
        records.map_or(Remedy::Keep, |records| records.bad)
    }
}

/// The breach of an answer that is longer than what is judged.
pub(super) fn too_large(bytes_max: u64) -> Breach {
    let message = format!("the answer is longer than `body_max`, {bytes_max} bytes");
    Breach::new(Kind::TooComplex, "body_max", message)
}
