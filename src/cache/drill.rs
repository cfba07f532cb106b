//! Drills: a share of requests is answered as if the upstream had failed, so that this way is known to work before it has to.
//!
//! Pure but for the draw. A drill is a failure of its own cause (`drill`): the copy answers down the same ladder, with the same
//! fields, log line and counters as in an outage, and nobody is asked. No key rests for it; the next request may ask.
//!
//! # Invariants
//!
//! - Nobody gets a worse answer than a stored good one: without a usable copy there is no drill, and a fresh one is a hit.
//! - A copy is renewed in time, whatever the share: in the second half of the time in which a stale copy may be used, no
//!   drill takes a request that would renew it.

use std::time::Duration;

use http::{HeaderMap, Method};

use super::{
    RouteCache,
    answer::{self, Answer},
    control::RequestDirectives,
    freshness::{Ages, State, Verdict},
    lookup::{Found, spread},
    plan::Plan,
    status::CacheStatus,
};
use crate::{
    chance,
    failure::{Cause, Failure, Sent},
};

/// Whether a request with this plan is a drill. `chance`: drawn for it, from 0 up to but not including 1.
fn is_drill(percent: u32, plan: Plan, verdict: &Verdict, ages: &Ages, chance: f64) -> bool {
    let would_ask = matches!(plan, Plan::Ask | Plan::Serve { refresh: true });
    let is_stale = verdict.state >= State::StaleWhileRevalidate;
    let window: Duration = ages.stale.saturating_sub(ages.fresh);
    let is_early_enough = verdict.age <= ages.fresh.saturating_add(window / 2);
    would_ask
        && is_stale
        && verdict.is_last_known_good()
        && is_early_enough
        && chance * 100.0 < f64::from(percent)
}

impl RouteCache {
    /// The answer of a drill, if this request is one.
    pub(super) fn drill(
        &self,
        method: &Method,
        headers: &HeaderMap,
        found: &Found,
        wishes: &RequestDirectives,
        plan: Plan,
    ) -> Option<Answer> {
        let percent = self.route.drill_percent;
        if percent == 0 {
            return None;
        }
        let (stored, verdict) = found.copy_and_verdict()?;
        let ages = stored.facts.ages(&self.route.policy, spread(&found.key));
        if !is_drill(percent, plan, verdict, &ages, chance::fraction()) {
            return None;
        }
        let failure = self.counted(Failure::new(Cause::Drill, Sent::Nothing));
        let status = CacheStatus::forwarded(found.forward(wishes));
        Some(answer::standing_in(
            method, headers, stored, verdict, &failure, status,
        ))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AGES: Ages = Ages {
        fresh: Duration::from_secs(10),
        at_once: Duration::from_secs(70),
        stale: Duration::from_secs(110),
    };
    const REFRESH: Plan = Plan::Serve { refresh: true };
    const SERVE: Plan = Plan::Serve { refresh: false };

    fn verdict(state: State, age: u64) -> Verdict {
        Verdict {
            state,
            age: Duration::from_secs(age),
            lifetime: AGES.fresh,
            stale_allowed: true,
        }
    }

    #[test]
    fn only_what_a_usable_stale_copy_can_answer_is_a_drill() {
        let swr = verdict(State::StaleWhileRevalidate, 20);
        let stale = verdict(State::Stale, 40);
        let forbidden = Verdict {
            stale_allowed: false,
            ..stale
        };
        for (name, percent, plan, verdict, chance, want) in [
            (
                "drawn, would be renewed behind",
                50,
                REFRESH,
                swr,
                0.49,
                true,
            ),
            (
                "drawn, would be asked about",
                50,
                Plan::Ask,
                stale,
                0.49,
                true,
            ),
            ("not drawn", 50, Plan::Ask, stale, 0.5, false),
            ("off", 0, Plan::Ask, stale, 0.0, false),
            ("all of them", 100, Plan::Ask, stale, 0.999_999, true),
            (
                "nobody would ask: the key rests",
                100,
                SERVE,
                stale,
                0.0,
                false,
            ),
            (
                "fresh, whatever the client wishes",
                100,
                Plan::Ask,
                verdict(State::Fresh, 5),
                0.0,
                false,
            ),
            (
                "early: fresh still",
                100,
                REFRESH,
                verdict(State::Early, 9),
                0.0,
                false,
            ),
            (
                "not to be used without asking",
                100,
                Plan::Ask,
                forbidden,
                0.0,
                false,
            ),
            (
                "past its use",
                100,
                Plan::Ask,
                verdict(State::Gone, 200),
                0.0,
                false,
            ),
            (
                "in the first half of its use",
                100,
                Plan::Ask,
                verdict(State::Stale, 60),
                0.0,
                true,
            ),
            (
                "in the second half it is renewed",
                100,
                Plan::Ask,
                verdict(State::Stale, 61),
                0.0,
                false,
            ),
            (
                "only-if-cached",
                100,
                Plan::Unsatisfiable,
                stale,
                0.0,
                false,
            ),
        ] {
            assert_eq!(
                is_drill(percent, plan, &verdict, &AGES, chance),
                want,
                "{name}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_drill_never_costs_a_good_answer(
            percent in 0u32..=100,
            age in 0u64..300,
            state in prop::sample::select(vec![
                State::Fresh, State::Early, State::StaleWhileRevalidate, State::Stale, State::Gone,
            ]),
            stale_allowed: bool,
            chance in 0.0..1.0,
        ) {
            let verdict = Verdict { stale_allowed, ..verdict(state, age) };
            if is_drill(percent, Plan::Ask, &verdict, &AGES, chance) {
                prop_assert!(verdict.is_last_known_good());
                prop_assert!(age <= 60, "renewed before half of its use is over");
                prop_assert!(state >= State::StaleWhileRevalidate);
            }
        }

        #[test]
        fn the_share_is_what_is_asked_for(percent in 0u32..=100) {
            // Every draw of an even grid: exact, without chance.
            let verdict = verdict(State::Stale, 40);
            let drills = (0..1000)
                .filter(|nth| is_drill(percent, Plan::Ask, &verdict, &AGES, f64::from(*nth) / 1000.0))
                .count();
            prop_assert!(drills.abs_diff(percent as usize * 10) <= 1, "{}", drills);
        }
    }
}
