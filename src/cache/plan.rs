//! What to do about a request, given what is stored: answer, answer and refresh behind, ask, or refuse.
//!
//! Pure. The states of DESIGN.md section 4 meet the request's own directives (RFC 9111 5.2.1) here.

use std::time::Duration;

use super::{
    control::RequestDirectives,
    freshness::{State, Verdict},
};

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// The stored response answers.
    Serve {
        /// A fetch goes on behind the answer.
        refresh: bool,
    },
    /// The upstream is asked; whether the stored response may stand in is the verdict's to say.
    Ask,
    /// `only-if-cached`, and nothing that may be used: 504 (RFC 9111 5.2.1.7).
    Unsatisfiable,
}

/// Decides. `resting`: the key has a cool-down after a failed refresh.
pub(super) fn plan(verdict: Option<&Verdict>, wishes: &RequestDirectives, resting: bool) -> Plan {
    let Some(verdict) = verdict else {
        return if wishes.only_if_cached {
            Plan::Unsatisfiable
        } else {
            Plan::Ask
        };
    };
    let plan = by_state(verdict, wishes, resting);
    if !wishes.only_if_cached {
        return plan;
    }
    match plan {
        Plan::Serve { .. } => Plan::Serve { refresh: false },
        Plan::Ask | Plan::Unsatisfiable => Plan::Unsatisfiable,
    }
}

fn by_state(verdict: &Verdict, wishes: &RequestDirectives, resting: bool) -> Plan {
    if resting && verdict.is_last_known_good() && verdict.state >= State::StaleWhileRevalidate {
        return Plan::Serve { refresh: false };
    }
    if !satisfies(verdict, wishes) {
        // Asking again so soon after a failure helps nobody; the rest is short.
        return if resting && verdict.is_last_known_good() {
            Plan::Serve { refresh: false }
        } else {
            Plan::Ask
        };
    }
    match verdict.state {
        State::Fresh => Plan::Serve { refresh: false },
        State::Early | State::StaleWhileRevalidate => Plan::Serve { refresh: !resting },
        State::Stale if verdict.stale_allowed && welcomes_stale(verdict, wishes) => {
            Plan::Serve { refresh: true }
        }
        State::Stale | State::Gone => Plan::Ask,
    }
}

/// `no-cache`, `max-age` and `min-fresh` (RFC 9111 5.2.1.1, 5.2.1.3, 5.2.1.4).
fn satisfies(verdict: &Verdict, wishes: &RequestDirectives) -> bool {
    let left = verdict.lifetime.saturating_sub(verdict.age);
    !wishes.no_cache
        && wishes.min_fresh.is_none_or(|wanted| left >= wanted)
        && wishes
            .max_age
            .is_none_or(|wanted| verdict.age <= wanted + wishes.max_stale.unwrap_or(Duration::ZERO))
}

/// `max-stale` (RFC 9111 5.2.1.2).
fn welcomes_stale(verdict: &Verdict, wishes: &RequestDirectives) -> bool {
    let stale_for = verdict.age.saturating_sub(verdict.lifetime);
    wishes.max_stale.is_some_and(|wanted| stale_for <= wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFRESH: Plan = Plan::Serve { refresh: true };
    const SERVE: Plan = Plan::Serve { refresh: false };

    fn verdict(state: State, age: u64) -> Verdict {
        Verdict {
            state,
            age: Duration::from_secs(age),
            lifetime: Duration::from_secs(10),
            stale_allowed: true,
        }
    }

    #[test]
    fn each_state_and_wish_has_its_plan() {
        let none = RequestDirectives::default();
        let secs = |secs| Some(Duration::from_secs(secs));
        let no_cache = RequestDirectives {
            no_cache: true,
            ..none
        };
        let only = RequestDirectives {
            only_if_cached: true,
            ..none
        };
        let fresh = verdict(State::Fresh, 5);
        let (swr, stale, gone) = (
            verdict(State::StaleWhileRevalidate, 12),
            verdict(State::Stale, 90),
            verdict(State::Gone, 9000),
        );
        let forbidden = Verdict {
            stale_allowed: false,
            ..stale
        };
        for (name, verdict, wishes, resting, want) in [
            ("nothing stored", None, none, false, Plan::Ask),
            (
                "nothing stored, only-if-cached",
                None,
                only,
                false,
                Plan::Unsatisfiable,
            ),
            ("fresh", Some(fresh), none, false, SERVE),
            (
                "early",
                Some(verdict(State::Early, 9)),
                none,
                false,
                REFRESH,
            ),
            (
                "early, resting",
                Some(verdict(State::Early, 9)),
                none,
                true,
                SERVE,
            ),
            ("within the window", Some(swr), none, false, REFRESH),
            ("within the window, resting", Some(swr), none, true, SERVE),
            ("stale", Some(stale), none, false, Plan::Ask),
            ("stale, resting", Some(stale), none, true, SERVE),
            (
                "stale, forbidden, resting: asked all the same",
                Some(forbidden),
                none,
                true,
                Plan::Ask,
            ),
            (
                "gone, resting: asked all the same",
                Some(gone),
                none,
                true,
                Plan::Ask,
            ),
            (
                "fresh, but the client wants it asked",
                Some(fresh),
                no_cache,
                false,
                Plan::Ask,
            ),
            ("the same while resting", Some(fresh), no_cache, true, SERVE),
            (
                "older than the client wants",
                Some(fresh),
                RequestDirectives {
                    max_age: secs(4),
                    ..none
                },
                false,
                Plan::Ask,
            ),
            (
                "older, but stale is welcome",
                Some(stale),
                RequestDirectives {
                    max_age: secs(4),
                    max_stale: secs(100),
                    ..none
                },
                false,
                REFRESH,
            ),
            (
                "not fresh for long enough",
                Some(fresh),
                RequestDirectives {
                    min_fresh: secs(6),
                    ..none
                },
                false,
                Plan::Ask,
            ),
            (
                "stale is welcome",
                Some(stale),
                RequestDirectives {
                    max_stale: secs(80),
                    ..none
                },
                false,
                REFRESH,
            ),
            (
                "stale is welcome, not so much",
                Some(stale),
                RequestDirectives {
                    max_stale: secs(79),
                    ..none
                },
                false,
                Plan::Ask,
            ),
            (
                "stale is welcome, but forbidden",
                Some(forbidden),
                RequestDirectives {
                    max_stale: secs(100),
                    ..none
                },
                false,
                Plan::Ask,
            ),
            ("fresh, only-if-cached", Some(fresh), only, false, SERVE),
            (
                "stale, only-if-cached",
                Some(stale),
                only,
                false,
                Plan::Unsatisfiable,
            ),
        ] {
            assert_eq!(plan(verdict.as_ref(), &wishes, resting), want, "{name}");
        }
    }
}
