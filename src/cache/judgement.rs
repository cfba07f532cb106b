//! What is known of a stored response against the contract of its route.
//!
//! It was good when it was fetched, under the contract of that time. After the contract has changed, or was given to a
//! route that had none, what is stored is judged once more before it answers, once; what does not meet the contract any
//! more answers nobody, and stays where it is until something better takes its place.
//!
//! # Invariants
//!
//! - What a contract is enforced on was judged under that very contract before it answers.
//! - A hit compares two numbers. Nothing is judged twice under one contract, not even after a restart: the verdict is
//!   stored with the response (unless the process ended before the response was written again).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{
    RouteCache,
    entry::{Entry, StoredResponse},
    fetch::response_in,
};
use crate::contract::Contract;

/// Content up to this long is judged where it is looked up; more on a thread of its own.
const AT_ONCE_BYTES: usize = 64 << 10;

/// Fingerprints of contracts: under which a response was found good or bad last, and by what its content was mapped. 0 for
/// none.
#[derive(Debug, Default)]
pub struct Judgement {
    good_under: AtomicU64,
    bad_under: AtomicU64,
    mapped_by: u64,
}

/// How a response stands under one contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Good,
    Bad,
    Unknown,
}

impl Judgement {
    /// Found good under `good_under`, mapped by `mapped_by`.
    pub(super) fn new(good_under: u64, mapped_by: u64) -> Self {
        Self {
            good_under: AtomicU64::new(good_under),
            bad_under: AtomicU64::new(0),
            mapped_by,
        }
    }

    /// The contract under which it was found good last.
    pub(super) fn good_under(&self) -> u64 {
        self.good_under.load(Ordering::Relaxed)
    }

    /// The mapping that its content came by.
    pub(super) fn mapped_by(&self) -> u64 {
        self.mapped_by
    }

    fn standing(&self, contract: u64) -> Standing {
        if contract == 0 || self.good_under() == contract {
            Standing::Good
        } else if self.bad_under.load(Ordering::Relaxed) == contract {
            Standing::Bad
        } else {
            Standing::Unknown
        }
    }

    fn found(&self, contract: u64, good: bool) {
        let place = if good {
            &self.good_under
        } else {
            &self.bad_under
        };
        place.store(contract, Ordering::Relaxed);
    }
}

impl Clone for Judgement {
    fn clone(&self) -> Self {
        Self {
            good_under: AtomicU64::new(self.good_under()),
            bad_under: AtomicU64::new(self.bad_under.load(Ordering::Relaxed)),
            mapped_by: self.mapped_by,
        }
    }
}

impl PartialEq for Judgement {
    fn eq(&self, other: &Self) -> bool {
        (self.good_under(), self.mapped_by) == (other.good_under(), other.mapped_by)
    }
}

impl StoredResponse {
    /// How it stands under this contract. What no contract speaks of (an error, a redirection) is as good as it was; a part
    /// cannot be judged.
    pub(super) fn standing(&self, contract: Option<&Arc<Contract>>) -> Standing {
        let fingerprint = contract.map_or(0, |contract| contract.fingerprint);
        match self.judgement.standing(fingerprint) {
            Standing::Unknown if !self.status.is_success() => Standing::Good,
            Standing::Unknown if self.part.is_some() => Standing::Bad,
            standing => standing,
        }
    }
}

impl RouteCache {
    /// Judges what is stored, if that has to be done.
    pub(super) async fn judge_stored(&self, entry: &Arc<Entry>) {
        let contract = self.route.contract.as_ref();
        let unknown = response_in(entry).filter(|it| it.standing(contract) == Standing::Unknown);
        let (Some(stored), Some(contract)) = (unknown, contract) else {
            return;
        };
        if stored.body.len() <= AT_ONCE_BYTES {
            return judge(contract, stored);
        }
        let (contract, entry) = (Arc::clone(contract), Arc::clone(entry));
        let judging = tokio::task::spawn_blocking(move || {
            if let Some(stored) = response_in(&entry) {
                judge(&contract, stored);
            }
        });
        // One that panicked leaves it unknown, and what is unknown answers nobody.
        let _ended = judging.await;
    }
}

fn judge(contract: &Contract, stored: &StoredResponse) {
    let good = contract.is_met_by(&stored.headers, &stored.body);
    stored.judgement.found(contract.fingerprint, good);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_holds_for_the_contract_it_was_given_under() {
        let judgement = Judgement::new(7, 0);
        assert_eq!(judgement.standing(7), Standing::Good);
        assert_eq!(judgement.standing(0), Standing::Good, "nothing is enforced");
        assert_eq!(judgement.standing(8), Standing::Unknown);
        judgement.found(8, false);
        assert_eq!(judgement.standing(8), Standing::Bad);
        assert_eq!(
            judgement.standing(7),
            Standing::Good,
            "the old contract is back: it was good under that"
        );
        judgement.found(9, true);
        assert_eq!(judgement.standing(9), Standing::Good);
        assert_eq!(judgement.standing(7), Standing::Unknown);
    }
}
