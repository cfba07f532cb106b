//! What an explanation is made from: everything that was looked at, so that explaining is pure.

use http::request::Parts;

use super::model::{Reason, VariantsShown};
use crate::{
    cache::{
        Alone,
        control::RequestDirectives,
        doubt::doubtful,
        entry::StoredResponse,
        freshness::{State, Verdict},
        lookup::{Found, spread},
        plan::Prospects,
        purge::{Mode, purged},
        sibling::Sibling,
    },
    clock::Timestamp,
    config::RouteConfig,
    store::Key,
};

/// How a request goes on its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By way of the store.
    Cache,
    /// By its content, which is not known here.
    Content,
    /// Past it: its method is not one whose answers are stored, or it has a condition or an upgrade that only the origin
    /// can judge.
    Past,
}

/// Everything that was looked at.
pub(super) struct Seen<'s> {
    pub(super) route: &'s RouteConfig,
    /// As the cache sees it: cookies that do not count taken off.
    pub(super) parts: &'s Parts,
    pub(super) way: Way,
    pub(super) wishes: RequestDirectives,
    pub(super) found: &'s Found,
    /// What is stored for another query and may answer this one (`No-Vary-Search`).
    pub(super) equivalent: Option<&'s Found>,
    /// The stored response at the key found, whether it answers or not.
    pub(super) stored: Option<&'s StoredResponse>,
    /// The tiers that hold it.
    pub(super) lies_in: Vec<String>,
    pub(super) variants: Option<VariantsShown>,
    /// A write may have changed it.
    pub(super) doubted: bool,
    /// What the route's sibling has that could stand in.
    pub(super) sibling: Option<&'s Sibling>,
    /// The purge that covers it.
    pub(super) purged: Option<Mode>,
    pub(super) alone: Option<Alone>,
    /// What it may expect of the upstream.
    pub(super) prospects: Prospects,
    /// When the cool-down of its key ends or ended.
    pub(super) resting_until: Option<Timestamp>,
    pub(super) now: Timestamp,
}

impl Seen<'_> {
    /// The judgement on a stored response, without the chance of an early refresh.
    pub(super) fn verdict(&self, key: &Key, stored: &StoredResponse) -> Verdict {
        let policy = &self.route.policy;
        let by_chance = stored.facts.judge(policy, spread(key), self.now, || 1.0);
        let alone = match by_chance.state {
            State::Early => Verdict {
                state: State::Fresh,
                ..by_chance
            },
            _ => by_chance,
        };
        let by_purges = self
            .purged
            .map_or(alone, |mode| purged(&alone, mode, policy));
        match self.doubted {
            true => doubtful(&by_purges),
            false => by_purges,
        }
    }

    /// The judgement on the stored response that answers this request, if one does.
    pub(super) fn usable(&self) -> Option<(&StoredResponse, Verdict)> {
        let (stored, _) = self.found.copy_and_verdict()?;
        Some((stored, self.verdict(&self.found.key, stored)))
    }

    /// Whether what answers is stored for another query.
    pub(super) fn answers_by_another_query(&self) -> bool {
        let key = self.equivalent.map(|other| other.key);
        self.found.copy.is_some() && key == Some(self.found.key)
    }

    /// What may stand in for a failed or slow upstream: what answers this request, or what is stored for another query.
    pub(super) fn standby(&self) -> Option<(&Key, &StoredResponse, Verdict)> {
        let own = self
            .usable()
            .map(|(stored, verdict)| (&self.found.key, stored, verdict));
        own.or_else(|| {
            let other = self.equivalent?;
            let (stored, verdict) = other.copy_and_verdict()?;
            verdict
                .is_last_known_good()
                .then_some((&other.key, stored, *verdict))
        })
    }

    /// Why this request does not share an answer with others.
    pub(super) fn alone_because(&self) -> Option<Reason> {
        Some(match self.alone? {
            Alone::NoStore => Reason::rule("the request says `no-store`", "RFC 9111 5.2.1.5"),
            Alone::Range => Reason::rule("the request asks for a part", "RFC 9110 14.2"),
            Alone::Authorization => Reason::rule(
                "the request has `Authorization`, which the key does not hold",
                "RFC 9111 3.5",
            ),
            Alone::Unshared => Reason::plain(
                "the latest answer could not be stored for others; its `Cache-Status` said why (`detail`)",
            ),
        })
    }
}
