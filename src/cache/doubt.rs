//! Doubt: a write that failed without an answer may have been carried out all the same.
//!
//! RFC 9111 4.4 invalidates after a success, and an error that came as an answer changes nothing. A time-out or a broken
//! connection is neither: the vendor may have acted, and then what is stored for the target is out of date. So it is asked
//! about before it is used again, because the next one to look is the visitor who wants to know whether it worked. It
//! remains the last known good answer: a write that failed takes nothing away from an outage.
//!
//! Remembered in memory, as many as marks and for an hour: a restart forgets it.

use http::request::Parts;

use super::{
    RouteCache, Shared,
    entry::{Entry, StoredResponse},
    freshness::{State, Verdict},
    key,
    pass::only_reads,
};
use crate::{
    clock::Timestamp,
    failure::{Cause, Failure, Sent},
    store::Key,
};

/// Whether a write that ended so may have been carried out, and nobody knows.
fn leaves_doubt(failure: &Failure) -> bool {
    let was_answered = matches!(failure.cause(), Cause::Status(_) | Cause::GraphqlErrors);
    failure.sent() == Sent::MayHaveActed && !was_answered
}

/// The judgement on a stored response that is in doubt: asked about first.
pub(super) fn doubtful(verdict: &Verdict) -> Verdict {
    let just_ended = verdict
        .age
        .saturating_sub(std::time::Duration::from_millis(1));
    Verdict {
        state: verdict.state.max(State::Stale),
        lifetime: verdict.lifetime.min(just_ended),
        ..*verdict
    }
}

impl RouteCache {
    /// Puts what is stored for the target of a write in doubt if its end leaves any, under the keys of every route that
    /// leads to the same upstream.
    pub(super) async fn doubt(&self, parts: &Parts, failure: &Failure) {
        if only_reads(parts) || !leaves_doubt(failure) {
            return;
        }
        let (target, headers) = (&parts.uri, &parts.headers);
        let host = key::host(target, headers);
        let mut doubted = Vec::new();
        for route in self.shared.routes_to(&self.route.upstream.name) {
            let own = key::target_key(&route, target.path(), target.query(), host, headers);
            let equivalent = self.shared.equivalents(&route, target, host, headers);
            let equivalent = equivalent.into_iter().map(|(primary, _)| primary);
            for primary in std::iter::once(own).chain(equivalent) {
                if !doubted.contains(&primary) {
                    self.shared.doubt(&primary).await;
                    doubted.push(primary);
                }
            }
        }
    }
}

impl Shared {
    /// Puts in doubt what is stored under a primary key, all variants that the store knows in time.
    async fn doubt(&self, primary: &Key) {
        let now = self.clock.now();
        self.marks.doubt(*primary, now);
        let stored = self.store.load_within(primary, self.read_timeout).await;
        if let Some(Entry::Variants { variants, .. }) = stored.as_deref() {
            for key in variants.keys() {
                self.marks.doubt(key, now);
            }
        }
    }

    /// Whether what is stored under this key was asked for before a write that may have changed it.
    pub(super) fn is_doubted(&self, key: &Key, stored: &StoredResponse, now: Timestamp) -> bool {
        let doubted = self.marks.doubted_at(key, now);
        doubted.is_some_and(|at| stored.request_time < at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;

    use super::*;

    #[test]
    fn only_a_write_without_an_answer_leaves_doubt() {
        let status = Cause::Status(StatusCode::SERVICE_UNAVAILABLE);
        for (name, cause, sent, want) in [
            (
                "nothing was sent",
                Cause::ConnectRefused,
                Sent::Nothing,
                false,
            ),
            (
                "a breaker refused it",
                Cause::BreakerOpen,
                Sent::Nothing,
                false,
            ),
            ("an error is an answer", status, Sent::MayHaveActed, false),
            (
                "no answer in time",
                Cause::ResponseTimeout,
                Sent::MayHaveActed,
                true,
            ),
            (
                "the connection broke",
                Cause::ConnectionTerminated,
                Sent::MayHaveActed,
                true,
            ),
            (
                "the deadline came first",
                Cause::Deadline,
                Sent::MayHaveActed,
                true,
            ),
        ] {
            assert_eq!(leaves_doubt(&Failure::new(cause, sent)), want, "{name}");
        }
    }

    #[test]
    fn what_is_in_doubt_is_asked_about_and_stands_in() {
        let fresh = Verdict {
            state: State::Fresh,
            age: Duration::from_secs(5),
            lifetime: Duration::from_secs(10),
            stale_allowed: true,
        };
        let verdict = doubtful(&fresh);
        assert_eq!(verdict.state, State::Stale);
        assert!(verdict.is_last_known_good() && verdict.ttl_secs() < 0);
        let gone = Verdict {
            state: State::Gone,
            ..fresh
        };
        assert_eq!(doubtful(&gone).state, State::Gone);
    }
}
