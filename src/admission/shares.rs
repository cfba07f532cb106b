//! Shares: who may take one more of the places that all routes want. A pure state machine: no clock, no lock, no queue.
//!
//! A part of the places is kept for each route (`reserved_percent`, in equal parts by upstream and then by route, so that
//! an upstream with many routes is not owed more than one with a single one). The rest is common: whoever comes first
//! takes it. So a route may borrow what nobody uses, up to its own part and all of the common one, and a route whose
//! vendor hangs cannot have the others' parts, however many requests it is sent.
//!
//! Nobody waits here: there is a place or there is none. So priority is room left free: a request behind which a copy
//! stands is refused a little before the last place is taken, and one that has nothing but this may have all of them.
//!
//! # Invariants
//!
//! - Never more than `total` taken, and never more by a route than its own bound.
//! - A client's miss on a route that has not its own part yet is never refused, whatever the others do.
//! - Where a request is granted a place, one of a higher priority would have been.
//! - What is given back is there again at once.

use crate::http::fetch::Priority;

/// One route, as it takes part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Party {
    /// Routes of one upstream have one number.
    pub(super) group: usize,
    /// Its own bound, where it has one.
    pub(super) max: Option<usize>,
}

/// The places and who has them.
#[derive(Debug)]
pub(super) struct Shares {
    total: usize,
    taken: usize,
    common: usize,
    common_taken: usize,
    parties: Vec<Share>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    /// Kept for it.
    own: usize,
    max: usize,
    taken: usize,
}

impl Shares {
    /// `total` places, of which `reserved_percent` are kept for the parties.
    pub(super) fn new(total: usize, reserved_percent: u32, parties: &[Party]) -> Self {
        let own = own_parts(total, reserved_percent, parties);
        let parties: Vec<_> = parties
            .iter()
            .zip(own)
            .map(|(party, own)| {
                let max = party.max.unwrap_or(total).min(total);
                Share {
                    own: own.min(max),
                    max,
                    taken: 0,
                }
            })
            .collect();
        let reserved: usize = parties.iter().map(|share| share.own).sum();
        Self {
            total,
            taken: 0,
            common: total - reserved,
            common_taken: 0,
            parties,
        }
    }

    /// Takes a place for this party, if there is one for it. False also for a party that is not known.
    pub(super) fn take(&mut self, party: usize, priority: Priority) -> bool {
        let Some(room) = self.room(party) else {
            return false;
        };
        let share = &mut self.parties[party];
        let reach = share.max.min(share.own + self.common);
        if room <= kept_free(reach, priority) {
            return false;
        }
        if share.taken >= share.own {
            self.common_taken += 1;
        }
        share.taken += 1;
        self.taken += 1;
        true
    }

    /// Gives one back that this party took.
    pub(super) fn give_back(&mut self, party: usize) {
        let Some(share) = self.parties.get_mut(party).filter(|share| share.taken > 0) else {
            return;
        };
        if share.taken > share.own {
            self.common_taken -= 1;
        }
        share.taken -= 1;
        self.taken -= 1;
    }

    /// How many more this party could take now.
    fn room(&self, party: usize) -> Option<usize> {
        let share = self.parties.get(party)?;
        let places = share.own.saturating_sub(share.taken) + (self.common - self.common_taken);
        Some(places.min(share.max - share.taken))
    }

    /// Places taken by everybody.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Places there are.
    pub(super) fn total(&self) -> usize {
        self.total
    }
}

/// What is kept for each party: at least one place where there are enough for that.
fn own_parts(total: usize, reserved_percent: u32, parties: &[Party]) -> Vec<usize> {
    let reserved = total as u128 * u128::from(reserved_percent.min(100)) / 100;
    if reserved_percent == 0 || parties.is_empty() {
        return vec![0; parties.len()];
    }
    let members = |group| parties.iter().filter(|party| party.group == group).count();
    let groups = parties.iter().enumerate().filter(|(nth, party)| {
        let earlier = &parties[..*nth];
        earlier.iter().all(|other| other.group != party.group)
    });
    let groups = groups.count();
    let own = |party: &Party| {
        let own = reserved / groups as u128 / members(party.group) as u128;
        (own as usize).max(1)
    };
    let own: Vec<_> = parties.iter().map(own).collect();
    if own.iter().sum::<usize>() <= total {
        return own;
    }
    // Too few places for one each by upstream: one each, or nothing for anybody.
    vec![total / parties.len(); parties.len()]
}

/// Places of `reach` that a request of this priority leaves to those above it. None of the very few there may be.
fn kept_free(reach: usize, priority: Priority) -> usize {
    let percent = match priority {
        Priority::UserMiss => 0,
        Priority::UserRevalidate => 10,
        Priority::Webhook => 25,
        Priority::Sync => 50,
    };
    (reach as u128 * percent / 100) as usize
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample};

    use super::*;

    fn parties(groups: &[usize]) -> Vec<Party> {
        let party = |group: &usize| Party {
            group: *group,
            max: None,
        };
        groups.iter().map(party).collect()
    }

    fn took(shares: &mut Shares, party: usize, times: usize) -> usize {
        (0..times)
            .filter(|_| shares.take(party, Priority::UserMiss))
            .count()
    }

    #[test]
    fn every_upstream_is_owed_the_same_and_its_routes_divide_it() {
        for (name, total, percent, groups, want) in [
            ("one route", 100, 50, &[0][..], &[50][..]),
            ("two upstreams", 100, 50, &[0, 1], &[25, 25]),
            (
                "one with three routes",
                100,
                60,
                &[0, 1, 1, 1],
                &[30, 10, 10, 10],
            ),
            ("all of it", 100, 100, &[0, 1], &[50, 50]),
            ("nothing for anybody", 100, 0, &[0, 1], &[0, 0]),
            ("one at least", 10, 20, &[0, 1, 1, 1], &[1, 1, 1, 1]),
            ("as many as there are", 3, 50, &[0, 1, 2], &[1, 1, 1]),
            ("too few for one each", 2, 50, &[0, 1, 2], &[0, 0, 0]),
            (
                "one each where by upstream it would be too many",
                6,
                100,
                &[0, 1, 1, 1, 1, 1],
                &[1; 6],
            ),
            ("no routes", 10, 50, &[], &[]),
        ] {
            assert_eq!(own_parts(total, percent, &parties(groups)), want, "{name}");
        }
    }

    #[test]
    fn a_flooded_route_borrows_the_common_part_and_leaves_the_others_theirs() {
        let mut shares = Shares::new(100, 50, &parties(&[0, 1]));
        assert_eq!(
            took(&mut shares, 0, 1_000),
            75,
            "its own part and what is common"
        );
        assert_eq!(took(&mut shares, 1, 1_000), 25, "its own part, at once");
        assert_eq!(shares.taken(), shares.total());
        shares.give_back(0);
        assert!(
            shares.take(1, Priority::UserMiss),
            "what was borrowed is common again"
        );
        assert!(!shares.take(0, Priority::UserMiss));
    }

    #[test]
    fn a_route_takes_no_more_than_its_own_bound() {
        let bounded = Party {
            group: 0,
            max: Some(3),
        };
        let mut shares = Shares::new(100, 50, &[bounded, parties(&[1])[0]]);
        assert_eq!(took(&mut shares, 0, 10), 3);
        assert_eq!(
            took(&mut shares, 1, 1_000),
            97,
            "what it cannot use is kept for nobody"
        );
    }

    #[test]
    fn what_has_a_copy_behind_it_leaves_the_last_places_to_what_has_not() {
        for (priority, want) in [
            (Priority::Sync, 50),
            (Priority::Webhook, 75),
            (Priority::UserRevalidate, 90),
            (Priority::UserMiss, 100),
        ] {
            let mut shares = Shares::new(100, 50, &parties(&[0]));
            let taken = (0..200).filter(|_| shares.take(0, priority)).count();
            assert_eq!(taken, want, "{priority:?}");
        }
        let mut one = Shares::new(1, 50, &parties(&[0]));
        assert!(
            one.take(0, Priority::Sync),
            "of one place nothing can be kept free"
        );
    }

    #[test]
    fn nobody_unknown_takes_or_gives() {
        let mut shares = Shares::new(10, 50, &parties(&[0]));
        assert!(!shares.take(1, Priority::UserMiss));
        shares.give_back(1);
        shares.give_back(0);
        assert_eq!(shares.taken(), 0);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take(usize, Priority),
        GiveBack(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0..6usize, sample::select(&Priority::ALL[..])).prop_map(|(party, priority)| Step::Take(party, priority)),
            2 => (0..6usize).prop_map(Step::GiveBack),
        ];
        vec(step, 0..300)
    }

    proptest! {
        #[test]
        fn nobody_is_refused_its_own_part_and_nothing_is_taken_twice(
            total in 0..60usize,
            percent in 0..=100u32,
            given in vec((0..3usize, proptest::option::of(1..20usize)), 1..6),
            steps in steps(),
        ) {
            let parties: Vec<_> = given.iter().map(|(group, max)| Party { group: *group, max: *max }).collect();
            let mut shares = Shares::new(total, percent, &parties);
            let fresh = shares.parties.clone();
            prop_assert!(fresh.iter().map(|share| share.own).sum::<usize>() <= total);
            prop_assert!(percent == 0 || total < parties.len() || fresh.iter().all(|share| share.own > 0));
            let mut taken = vec![0usize; parties.len()];
            for step in steps {
                match step {
                    Step::Take(party, priority) if party < parties.len() => {
                        let below = Priority::ALL.into_iter().filter(|other| *other < priority);
                        let reach = fresh[party].max.min(fresh[party].own + shares.common);
                        let room = shares.room(party).unwrap_or_default();
                        let lower = below.into_iter().any(|other| room > kept_free(reach, other));
                        let granted = shares.take(party, priority);
                        prop_assert!(granted || !lower, "a lower priority would have been granted");
                        if priority == Priority::UserMiss && taken[party] < fresh[party].own {
                            prop_assert!(granted, "refused what is kept for it");
                        }
                        taken[party] += usize::from(granted);
                    }
                    Step::GiveBack(party) if party < parties.len() => {
                        shares.give_back(party);
                        taken[party] = taken[party].saturating_sub(1);
                    }
                    Step::Take(party, priority) => prop_assert!(!shares.take(party, priority)),
                    Step::GiveBack(party) => shares.give_back(party),
                }
                prop_assert_eq!(shares.taken(), taken.iter().sum::<usize>());
                prop_assert!(shares.taken() <= total);
                for (share, taken) in shares.parties.iter().zip(&taken) {
                    prop_assert!(share.taken == *taken && share.taken <= share.max);
                }
            }
            for (party, taken) in taken.into_iter().enumerate() {
                (0..taken).for_each(|_| shares.give_back(party));
            }
            prop_assert_eq!((shares.taken(), shares.common_taken), (0, 0));
            prop_assert_eq!(shares.parties, fresh);
        }
    }
}
