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

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Nothing is stored that could answer.
    Nothing,
    /// Where the stored response is in its life.
    State,
    /// The key has a cool-down after a failed refresh: nobody asks meanwhile.
    Resting,
    /// The client wants it asked about.
    Unsatisfied(Wish),
    /// The client welcomes a stale response (`max-stale`, RFC 9111 5.2.1.2).
    Welcome,
}

/// A wish of a client that a stored response does not fulfil.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// `no-cache` (RFC 9111 5.2.1.4).
    NoCache,
    /// `min-fresh` (5.2.1.3).
    MinFresh,
    /// `max-age` (5.2.1.1).
    MaxAge,
}

/// Decides. `resting`: the key has a cool-down after a failed refresh.
pub(super) fn plan(verdict: Option<&Verdict>, wishes: &RequestDirectives, resting: bool) -> Plan {
    plan_and_why(verdict, wishes, resting).0
}

/// The same with what decided.
pub(super) fn plan_and_why(
    verdict: Option<&Verdict>,
    wishes: &RequestDirectives,
    resting: bool,
) -> (Plan, Why) {
    let (plan, why) = match verdict {
        Some(verdict) => by_state(verdict, wishes, resting),
        None => (Plan::Ask, Why::Nothing),
    };
    if !wishes.only_if_cached {
        return (plan, why);
    }
    let plan = match plan {
        Plan::Serve { .. } => Plan::Serve { refresh: false },
        Plan::Ask | Plan::Unsatisfiable => Plan::Unsatisfiable,
    };
    (plan, why)
}

fn by_state(verdict: &Verdict, wishes: &RequestDirectives, resting: bool) -> (Plan, Why) {
    const SERVE: Plan = Plan::Serve { refresh: false };
    if resting && verdict.is_last_known_good() && verdict.state >= State::StaleWhileRevalidate {
        return (SERVE, Why::Resting);
    }
    if let Some(wish) = unsatisfied(verdict, wishes) {
        // Asking again so soon after a failure helps nobody; the rest is short.
        return if resting && verdict.is_last_known_good() {
            (SERVE, Why::Resting)
        } else {
            (Plan::Ask, Why::Unsatisfied(wish))
        };
    }
    match verdict.state {
        State::Fresh => (SERVE, Why::State),
        State::Early | State::StaleWhileRevalidate => {
            (Plan::Serve { refresh: !resting }, Why::State)
        }
        State::Stale if verdict.stale_allowed && welcomes_stale(verdict, wishes) => {
            (Plan::Serve { refresh: true }, Why::Welcome)
        }
        State::Stale | State::Gone => (Plan::Ask, Why::State),
    }
}

/// The wish that is not fulfilled: `no-cache`, `max-age` or `min-fresh` (RFC 9111 5.2.1.1, 5.2.1.3, 5.2.1.4).
fn unsatisfied(verdict: &Verdict, wishes: &RequestDirectives) -> Option<Wish> {
    let left = verdict.lifetime.saturating_sub(verdict.age);
    if wishes.no_cache {
        return Some(Wish::NoCache);
    }
    if wishes.min_fresh.is_some_and(|wanted| left < wanted) {
        return Some(Wish::MinFresh);
    }
    let is_too_old = |wanted| verdict.age > wanted + wishes.max_stale.unwrap_or(Duration::ZERO);
    wishes
        .max_age
        .is_some_and(is_too_old)
        .then_some(Wish::MaxAge)
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
