//! Marks on keys: which rest after a failed refresh, which answers turned out not to be shareable, which targets were
//! invalidated a while ago, which may have changed.
//!
//! All have an end and a bound. Losing one of the first two costs a request upstream, never a wrong answer; losing the
//! last makes an answer as old as its lifetime allows.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

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
/// What was in doubt this long ago has been asked about, or nobody cares.
const DOUBTED_FOR: Duration = Duration::from_secs(3600);

/// What a failed refresh leaves at its key. It stays past its end, until a refresh succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    /// Nobody asks before.
    pub(super) until: Timestamp,
    /// How often the upstream had recovered when that refresh began.
    pub(super) recoveries: u64,
    /// The upstream itself asked for this time (`Retry-After`).
    pub(super) asked_for: bool,
}

impl Rest {
    /// When it ends, while it lasts. One that seems to last for hours is one that a clock set back made so; and what
    /// rests because the upstream was down has rested once the upstream is back.
    pub(super) fn lasts_until(&self, now: Timestamp, recoveries: u64) -> Option<Timestamp> {
        let is_void = self.is_outlived(recoveries) && !self.asked_for;
        let lasts = now < self.until && self.until.since(now) < REST_MAX;
        (lasts && !is_void).then_some(self.until)
    }

    /// Whether the upstream has recovered since.
    pub(super) fn is_outlived(&self, recoveries: u64) -> bool {
        recoveries > self.recoveries
    }
}

/// The marks of one proxy.
pub(super) struct Marks {
    resting: Cache<Key, Rest>,
    unshared: Cache<Key, ()>,
    forgotten: Cache<Key, Instant>,
    forgotten_at: Cache<Key, Timestamp>,
    doubted: Cache<Key, (Timestamp, Instant)>,
    /// Milliseconds of the clock until when any doubt may last: a hit looks no further where there is none.
    doubts_until: AtomicU64,
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
            doubted: Cache::new(marks_max),
            doubts_until: AtomicU64::new(0),
            forgotten: Cache::builder()
                .max_capacity(marks_max)
                .time_to_live(FORGOTTEN_FOR)
                .build(),
        }
    }

    /// What the key's last refresh left, if it failed.
    pub(super) fn rest_of(&self, key: &Key) -> Option<Rest> {
        self.resting.get(key)
    }

    /// Begins a cool-down.
    pub(super) fn rest(&self, key: Key, rest: Rest) {
        self.resting.insert(key, rest);
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

    /// Remembers that a write which may have changed what is stored under this key ended just now.
    pub(super) fn doubt(&self, key: Key, now: Timestamp) {
        self.doubted.insert(key, (now, Instant::now()));
        let until = now.after(DOUBTED_FOR).as_millis();
        self.doubts_until.fetch_max(until, Ordering::Release);
    }

    /// When such a write ended last, as far as that is remembered.
    pub(super) fn doubted_at(&self, key: &Key, now: Timestamp) -> Option<Timestamp> {
        if self.doubts_until.load(Ordering::Acquire) <= now.as_millis() {
            return None;
        }
        let (at, _) = self.doubted.get(key)?;
        (now < at.after(DOUBTED_FOR)).then_some(at)
    }

    /// Whether a target was invalidated, or may have been changed, at this moment or later.
    pub(super) fn was_written_since(&self, primary: &Key, since: Instant) -> bool {
        let doubted = self.doubted.get(primary);
        self.was_forgotten_since(primary, since) || doubted.is_some_and(|(_, at)| at >= since)
    }

    /// Whether a target was invalidated at this moment or later.
    pub(super) fn was_forgotten_since(&self, primary: &Key, since: Instant) -> bool {
        self.forgotten.get(primary).is_some_and(|at| at >= since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_ends_in_time_or_with_the_outage() {
        let now = Timestamp::from_secs(1000);
        let at = |secs| Timestamp::from_secs(secs);
        for (name, until, asked_for, recoveries, want) in [
            ("it lasts", at(1001), false, 3, true),
            ("it is over", at(1000), false, 3, false),
            ("the upstream has recovered", at(1001), false, 4, false),
            (
                "recovered, but asked for this long",
                at(1001),
                true,
                4,
                true,
            ),
            ("a clock was set back", at(9000), false, 3, false),
        ] {
            let rest = Rest {
                until,
                recoveries: 3,
                asked_for,
            };
            let lasts = rest.lasts_until(now, recoveries);
            assert_eq!(lasts, want.then_some(until), "{name}");
        }
    }
}
