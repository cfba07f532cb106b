//! Marks on keys: which rest after a failed refresh, which answers turned out not to be shareable, which targets were
//! invalidated a while ago.
//!
//! All have an end and a bound. Losing one of the first two costs a request upstream, never a wrong answer.

use std::time::Duration;

use moka::sync::Cache;
use tokio::time::Instant;

use crate::{clock::Timestamp, store::Key};

/// How long a key whose answer could not be shared is fetched without waiting for one another. Short, because an answer
/// that becomes shareable again ends it anyway, and one that does not costs only the wait for a response head.
const UNSHARED_FOR: Duration = Duration::from_secs(60);

/// No rest is longer: `Retry-After` is believed for minutes.
const REST_MAX: Duration = Duration::from_secs(3600);
/// No fetch that was under way at an invalidation is under way this long after.
const FORGOTTEN_FOR: Duration = Duration::from_secs(900);

/// The marks of one proxy.
pub(super) struct Marks {
    resting: Cache<Key, Timestamp>,
    unshared: Cache<Key, ()>,
    forgotten: Cache<Key, Instant>,
    forgotten_at: Cache<Key, Timestamp>,
}

impl Marks {
    /// At most `marks_max` of either kind; the least used are forgotten.
    pub(super) fn new(marks_max: u64) -> Self {
        Self {
            resting: Cache::new(marks_max),
            unshared: Cache::builder()
                .max_capacity(marks_max)
                .time_to_live(UNSHARED_FOR)
                .build(),
            forgotten_at: Cache::new(marks_max),
            forgotten: Cache::builder()
                .max_capacity(marks_max)
                .time_to_live(FORGOTTEN_FOR)
                .build(),
        }
    }

    /// Whether the key's cool-down lasts. A rest that seems to last for hours is one that a clock set back made so.
    pub(super) fn is_resting(&self, key: &Key, now: Timestamp) -> bool {
        self.resting_until(key, now).is_some()
    }

    /// When the key's cool-down ends, while it lasts.
    pub(super) fn resting_until(&self, key: &Key, now: Timestamp) -> Option<Timestamp> {
        let until = self.resting.get(key)?;
        (now < until && until.since(now) < REST_MAX).then_some(until)
    }

    /// Begins a cool-down.
    pub(super) fn rest(&self, key: Key, until: Timestamp) {
        self.resting.insert(key, until);
    }

    /// Ends a cool-down: a refresh succeeded.
    pub(super) fn wake(&self, key: &Key) {
        if self.resting.contains_key(key) {
            self.resting.invalidate(key);
        }
    }

    /// Whether waiting for another's answer to this key is pointless.
    pub(super) fn is_unshared(&self, key: &Key) -> bool {
        self.unshared.contains_key(key)
    }

    /// Remembers that an answer could not be shared, or that one could.
    pub(super) fn set_unshared(&self, key: Key, unshared: bool) {
        if unshared {
            self.unshared.insert(key, ());
        } else if self.unshared.contains_key(&key) {
            self.unshared.invalidate(&key);
        }
    }

    /// Remembers that a target was invalidated: what was asked before is not stored after.
    pub(super) fn forget(&self, primary: Key, now: Timestamp) {
        self.forgotten.insert(primary, Instant::now());
        self.forgotten_at.insert(primary, now);
    }

    /// When a target was invalidated last, as far as that is remembered.
    pub(super) fn forgotten_at(&self, primary: &Key) -> Option<Timestamp> {
        self.forgotten_at.get(primary)
    }

    /// Whether a target was invalidated at this moment or later.
    pub(super) fn was_forgotten_since(&self, primary: &Key, since: Instant) -> bool {
        self.forgotten.get(primary).is_some_and(|at| at >= since)
    }
}
