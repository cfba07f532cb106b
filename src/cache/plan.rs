//! What to do about a request, given what is stored: answer, answer and refresh behind, ask, or refuse.
//!
//! Pure. The states of DESIGN.md section 4 meet the request's own directives (RFC 9111 5.2.1) here, and what is known of
//! the upstream: whoever has a usable copy waits only where waiting is likely to bring something better.

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
    /// Waiting is in vain at the moment: the copy answers at once, and somebody finds out behind it.
    InVain(InVain),
    /// The key's last refresh failed and the upstream has recovered since: one request waits for what is new.
    Recovered,
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

/// Why nobody with a usable copy waits for the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InVain {
    /// Its breaker is open or half-open: what gets through is a probe.
    Unwell,
    /// Those who waited last waited for `stale_after` and got nothing.
    TooSlow,
}

/// What is known of the upstream and of the last refresh of this key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Prospects {
    /// The key has a cool-down after a failed refresh.
    pub(super) resting: bool,
    /// Waiting for an answer is in vain.
    pub(super) in_vain: Option<InVain>,
    /// The key's last refresh failed, and the upstream was found recovered since.
    pub(super) recovered: bool,
}

/// Decides.
pub(super) fn plan(
    verdict: Option<&Verdict>,
    wishes: &RequestDirectives,
    prospects: Prospects,
) -> Plan {
    plan_and_why(verdict, wishes, prospects).0
}

/// The same with what decided.
pub(super) fn plan_and_why(
    verdict: Option<&Verdict>,
    wishes: &RequestDirectives,
    prospects: Prospects,
) -> (Plan, Why) {
    let (plan, why) = match verdict {
        Some(verdict) => by_state(verdict, wishes, prospects),
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

fn by_state(verdict: &Verdict, wishes: &RequestDirectives, prospects: Prospects) -> (Plan, Why) {
    const SERVE: Plan = Plan::Serve { refresh: false };
    const REFRESH: Plan = Plan::Serve { refresh: true };
    let resting = prospects.resting;
    let stands_in = verdict.is_last_known_good() && verdict.state >= State::StaleWhileRevalidate;
    if resting && stands_in {
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
    if let Some(why) = prospects.in_vain.filter(|_| stands_in) {
        return (REFRESH, Why::InVain(why));
    }
    match verdict.state {
        State::Fresh => (SERVE, Why::State),
        State::Early => (Plan::Serve { refresh: !resting }, Why::State),
        // Else the first visitor of every key would get what is old once more after an outage.
        State::StaleWhileRevalidate if prospects.recovered && stands_in => {
            (Plan::Ask, Why::Recovered)
        }
        State::StaleWhileRevalidate => (Plan::Serve { refresh: !resting }, Why::State),
        State::Stale if verdict.stale_allowed && welcomes_stale(verdict, wishes) => {
            (REFRESH, Why::Welcome)
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
            let prospects = Prospects {
                resting,
                ..Prospects::default()
            };
            assert_eq!(plan(verdict.as_ref(), &wishes, prospects), want, "{name}");
        }
    }

    #[test]
    fn whoever_has_a_copy_waits_only_where_that_is_likely_to_help() {
        let none = RequestDirectives::default();
        let no_cache = RequestDirectives {
            no_cache: true,
            ..none
        };
        let unwell = Prospects {
            in_vain: Some(InVain::Unwell),
            ..Prospects::default()
        };
        let slow = Prospects {
            in_vain: Some(InVain::TooSlow),
            ..Prospects::default()
        };
        let recovered = Prospects {
            recovered: true,
            ..Prospects::default()
        };
        let fresh = verdict(State::Fresh, 5);
        let early = verdict(State::Early, 9);
        let swr = verdict(State::StaleWhileRevalidate, 15);
        let stale = verdict(State::Stale, 90);
        let forbidden = Verdict {
            stale_allowed: false,
            ..stale
        };
        let gone = verdict(State::Gone, 900);
        for (name, verdict, wishes, prospects, want, why) in [
            (
                "unwell, fresh: a hit like any",
                fresh,
                none,
                unwell,
                SERVE,
                Why::State,
            ),
            (
                "unwell, early: refreshed as ever",
                early,
                none,
                unwell,
                REFRESH,
                Why::State,
            ),
            (
                "unwell, within the window: a probe goes on behind",
                swr,
                none,
                unwell,
                REFRESH,
                Why::InVain(InVain::Unwell),
            ),
            (
                "unwell, stale: nobody waits for the probe",
                stale,
                none,
                unwell,
                REFRESH,
                Why::InVain(InVain::Unwell),
            ),
            (
                "unwell, stale and forbidden: there is nothing else",
                forbidden,
                none,
                unwell,
                Plan::Ask,
                Why::State,
            ),
            (
                "unwell, gone: there is nothing else",
                gone,
                none,
                unwell,
                Plan::Ask,
                Why::State,
            ),
            (
                "unwell, and the client insists",
                stale,
                no_cache,
                unwell,
                Plan::Ask,
                Why::Unsatisfied(Wish::NoCache),
            ),
            (
                "unwell and resting: not even a probe",
                stale,
                none,
                Prospects {
                    resting: true,
                    ..unwell
                },
                SERVE,
                Why::Resting,
            ),
            (
                "too slow, stale: the slow answer is for those who come later",
                stale,
                none,
                slow,
                REFRESH,
                Why::InVain(InVain::TooSlow),
            ),
            (
                "recovered, fresh: a hit like any",
                fresh,
                none,
                recovered,
                SERVE,
                Why::State,
            ),
            (
                "recovered, within the window: the first one waits",
                swr,
                none,
                recovered,
                Plan::Ask,
                Why::Recovered,
            ),
            (
                "recovered, stale: asked as ever",
                stale,
                none,
                recovered,
                Plan::Ask,
                Why::State,
            ),
            (
                "recovered, and unwell again",
                swr,
                none,
                Prospects {
                    recovered: true,
                    ..unwell
                },
                REFRESH,
                Why::InVain(InVain::Unwell),
            ),
            (
                "recovered, but slow",
                swr,
                none,
                Prospects {
                    recovered: true,
                    ..slow
                },
                REFRESH,
                Why::InVain(InVain::TooSlow),
            ),
            (
                "recovered, and resting as the upstream asked",
                swr,
                none,
                Prospects {
                    resting: true,
                    ..recovered
                },
                SERVE,
                Why::Resting,
            ),
        ] {
            let got = plan_and_why(Some(&verdict), &wishes, prospects);
            assert_eq!(got, (want, why), "{name}");
        }
    }
}
