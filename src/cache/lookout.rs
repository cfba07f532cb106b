//! Lookout: what a route's cache knows of its upstream before it asks, so that nobody with a usable copy waits in vain and
//! nobody gets old data who could have new.
//!
//! Two witnesses: the breaker below ([`Outlook`]), and the cache's own waits. A breaker learns of an upstream that hangs or
//! crawls only when attempts time out; whoever waited for `stale_after` and got nothing knows sooner. What is made of it is
//! decided in `plan.rs`.
//!
//! # Invariants
//!
//! - One answer in time ends every doubt that came from waiting, and so does a while in which nothing fed it.
//! - Nothing here waits or locks.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use super::{
    marks::Rest,
    plan::{InVain, Prospects},
};
use crate::{
    clock::Timestamp,
    http::fetch::{Condition, Outlook},
};

/// So many fetches in a row were waited for in vain before nobody waits: one may be slow by chance, or for its key only.
const IN_VAIN_MAX: u32 = 3;

/// A doubt is this old at most: whether the upstream is still slow after a lull, only somebody who waits can find out.
/// Where there is traffic, fetches behind the answers feed or end it long before.
const DOUBT_MAX: Duration = Duration::from_secs(5);

/// One route's.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    outlook: Outlook,
    /// Fetches that were waited for in vain since one was answered in time.
    in_vain: AtomicU32,
    /// When a fetch was last found too slow to wait for, in milliseconds of [`Timestamp`].
    late_at: AtomicU64,
}

impl Lookout {
    /// Over this upstream.
    pub(super) fn new(outlook: Outlook) -> Self {
        Self {
            outlook,
            in_vain: AtomicU32::new(0),
            late_at: AtomicU64::new(0),
        }
    }

    /// How the upstream fares.
    pub(super) fn condition(&self) -> Condition {
        self.outlook.now()
    }

    /// What a request may expect whose key was left this by its last refresh.
    pub(super) fn prospects(&self, rest: Option<Rest>, now: Timestamp) -> Prospects {
        prospects(self.condition(), self.in_vain(now), rest, now)
    }

    /// Fetches that were waited for in vain of late. A clock that was set back makes none of them older.
    fn in_vain(&self, now: Timestamp) -> u32 {
        let late_at = Timestamp::from_millis(self.late_at.load(Ordering::Relaxed));
        match now.since(late_at) < DOUBT_MAX {
            true => self.in_vain.load(Ordering::Relaxed),
            false => 0,
        }
    }

    /// A fetch came to an end too late for anybody with a copy: what is doubted is doubted on.
    pub(super) fn heard_late(&self, now: Timestamp) {
        self.late_at.store(now.as_millis(), Ordering::Relaxed);
    }

    /// Somebody with a copy waited for a fetch and got nothing.
    pub(super) fn waited_in_vain(&self, now: Timestamp) {
        if self.in_vain(now) == 0 {
            self.in_vain.store(0, Ordering::Relaxed);
        }
        self.heard_late(now);
        let more = |so_far: u32| so_far.checked_add(1);
        // At the end of the numbers it stays where it is.
        let _end = self
            .in_vain
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// A fetch came to an end of which a waiting request would have heard in time.
    pub(super) fn heard_in_time(&self) {
        // Mostly there is nothing to write, and then nothing is.
        if self.in_vain.load(Ordering::Relaxed) != 0 {
            self.in_vain.store(0, Ordering::Relaxed);
        }
    }
}

fn prospects(condition: Condition, in_vain: u32, rest: Option<Rest>, now: Timestamp) -> Prospects {
    let recoveries = condition.recoveries;
    Prospects {
        resting: rest.is_some_and(|rest| rest.lasts_until(now, recoveries).is_some()),
        in_vain: if !condition.well {
            Some(InVain::Unwell)
        } else if in_vain >= IN_VAIN_MAX {
            Some(InVain::TooSlow)
        } else {
            None
        },
        // Who has been promised something new waits on firmer ground: at the first doubt nobody does.
        recovered: in_vain == 0 && rest.is_some_and(|rest| rest.is_outlived(recoveries)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1000);

    fn rest(until_secs: u64, asked_for: bool) -> Option<Rest> {
        Some(Rest {
            until: Timestamp::from_secs(until_secs),
            recoveries: 2,
            asked_for,
        })
    }

    #[test]
    fn what_may_be_expected_follows_from_what_both_witnesses_saw() {
        let well = |recoveries| Condition {
            well: true,
            recoveries,
        };
        let unwell = Condition {
            well: false,
            recoveries: 2,
        };
        let nothing = Prospects::default();
        let resting = Prospects {
            resting: true,
            ..nothing
        };
        let recovered = Prospects {
            recovered: true,
            ..nothing
        };
        let in_vain = |why| Prospects {
            in_vain: Some(why),
            ..nothing
        };
        for (name, condition, waits, rest, want) in [
            ("well, no failure", well(2), 0, None, nothing),
            ("the key rests", well(2), 0, rest(1001, false), resting),
            (
                "rested, and the outage was none or goes on",
                well(2),
                0,
                rest(999, false),
                nothing,
            ),
            (
                "the outage is over before the rest",
                well(3),
                0,
                rest(1001, false),
                recovered,
            ),
            (
                "the outage is over, the rest was asked for",
                well(3),
                0,
                rest(1001, true),
                Prospects {
                    recovered: true,
                    ..resting
                },
            ),
            (
                "recovered, but somebody waited in vain since",
                well(3),
                1,
                rest(999, false),
                nothing,
            ),
            (
                "two slow answers are no sign yet",
                well(2),
                2,
                None,
                nothing,
            ),
            ("three are", well(2), 3, None, in_vain(InVain::TooSlow)),
            (
                "the breaker is not closed",
                unwell,
                0,
                rest(999, false),
                in_vain(InVain::Unwell),
            ),
            ("both", unwell, 9, None, in_vain(InVain::Unwell)),
        ] {
            assert_eq!(prospects(condition, waits, rest, NOW), want, "{name}");
        }
    }

    #[test]
    fn one_answer_in_time_ends_the_doubt() {
        let lookout = Lookout::default();
        for _ in 0..100 {
            lookout.waited_in_vain(NOW);
        }
        let doubt = lookout.prospects(None, NOW).in_vain;
        assert_eq!(doubt, Some(InVain::TooSlow));
        lookout.heard_in_time();
        assert_eq!(lookout.prospects(None, NOW).in_vain, None);
    }

    #[test]
    fn a_doubt_that_nothing_feeds_ends_and_begins_anew() {
        let lookout = Lookout::default();
        let doubt = |now| lookout.prospects(None, now).in_vain;
        let (fed, ended) = (NOW.after(DOUBT_MAX / 2), NOW.after(DOUBT_MAX * 3 / 2));
        for _ in 0..IN_VAIN_MAX {
            lookout.waited_in_vain(NOW);
        }
        lookout.heard_late(fed);
        let still = NOW.after(DOUBT_MAX);
        assert_eq!(doubt(still), Some(InVain::TooSlow), "a late answer fed it");
        assert_eq!(doubt(ended), None);
        for nth in 1..=IN_VAIN_MAX {
            assert_eq!(doubt(ended), None, "before wait {nth}");
            lookout.waited_in_vain(ended);
        }
        assert_eq!(doubt(ended), Some(InVain::TooSlow));
    }
}
