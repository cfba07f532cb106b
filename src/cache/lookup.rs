//! Looking up what is stored for a request: by primary key, then by the variant its fields select.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Method};

use super::{
    RouteCache,
    control::RequestDirectives,
    doubt::doubtful,
    entry::{Entry, StoredResponse},
    fetch::response_in,
    freshness::{State, Verdict},
    judgement::Standing,
    purge::{Mode, purged},
    status::Forward,
    storable::may_answer,
};
use crate::{chance, clock::Timestamp, store::Key};

/// How the store is read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    /// For an answer; each read of the disk may take this long.
    Within(Duration),
    /// For people who look: leaves no trace.
    Looking,
}

/// What the store has for a request.
pub(super) struct Found {
    /// Where the response is, or would be stored going by what is known of its `Vary`.
    pub(super) key: Key,
    /// The entry, always a response.
    pub(super) copy: Option<Arc<Entry>>,
    /// The judgement on it.
    pub(super) verdict: Option<Verdict>,
    /// A stored part that does not answer this request, but may be completed (RFC 9111 3.4).
    pub(super) part: Option<Arc<Entry>>,
    /// Other variants are stored, not this one.
    vary_miss: bool,
    /// Only for a purge it is no hit.
    pub(super) purged: bool,
}

impl Found {
    pub(super) fn nothing(key: Key, vary_miss: bool) -> Self {
        Self {
            key,
            copy: None,
            verdict: None,
            part: None,
            vary_miss,
            purged: false,
        }
    }

    /// What a test says.
    #[cfg(test)]
    pub(super) fn of(key: Key, copy: Option<Arc<Entry>>, verdict: Option<Verdict>) -> Self {
        Self {
            copy,
            verdict,
            ..Self::nothing(key, false)
        }
    }

    /// The stored response and the judgement on it.
    pub(super) fn copy_and_verdict(&self) -> Option<(&StoredResponse, &Verdict)> {
        match (self.copy.as_deref(), &self.verdict) {
            (Some(Entry::Response(stored)), Some(verdict)) => Some((stored, verdict)),
            _ => None,
        }
    }

    /// Whether the copy may stand in for a failed or slow upstream.
    pub(super) fn is_last_known_good(&self) -> bool {
        self.verdict
            .as_ref()
            .is_some_and(Verdict::is_last_known_good)
    }

    /// Why a request that found this is forwarded.
    pub(super) fn forward(&self, wishes: &RequestDirectives) -> Forward {
        match &self.verdict {
            None if self.vary_miss => Forward::VaryMiss,
            None => Forward::UriMiss,
            Some(verdict) if verdict.age < verdict.lifetime || wishes.no_cache => Forward::Request,
            Some(_) => Forward::Stale,
        }
    }
}

impl RouteCache {
    /// From memory alone; `None` where only the disk could tell.
    pub(super) fn lookup_cached(
        &self,
        primary: &Key,
        method: &Method,
        headers: &HeaderMap,
    ) -> Option<Found> {
        let entry = self.shared.store.cached(primary)?;
        let Entry::Variants { variants, .. } = &*entry else {
            return self.judged_at_once(*primary, entry, method, headers);
        };
        let key = variants.select(primary, headers)?;
        let entry = self.shared.store.cached(&key)?;
        self.judged_at_once(key, entry, method, headers)
    }

    fn judged_at_once(
        &self,
        key: Key,
        entry: Arc<Entry>,
        method: &Method,
        headers: &HeaderMap,
    ) -> Option<Found> {
        let stored = response_in(&entry)?;
        let is_known = stored.standing(self.route.contract.as_ref()) != Standing::Unknown;
        is_known.then(|| self.judged(key, entry, method, headers))
    }

    /// From memory or disk, within the store's own bound.
    pub(super) async fn lookup(
        &self,
        primary: &Key,
        method: &Method,
        headers: &HeaderMap,
    ) -> Found {
        let reading = Reading::Within(self.shared.read_timeout);
        self.lookup_by(primary, method, headers, reading).await
    }

    /// The same in another way of reading.
    pub(super) async fn lookup_by(
        &self,
        primary: &Key,
        method: &Method,
        headers: &HeaderMap,
        reading: Reading,
    ) -> Found {
        let Some(entry) = self.read(primary, reading).await else {
            return Found::nothing(*primary, false);
        };
        self.judge_stored(&entry).await;
        let Entry::Variants { variants, .. } = &*entry else {
            return self.judged_by(*primary, &entry, method, headers, reading);
        };
        let Some(key) = variants.select(primary, headers) else {
            return Found::nothing(
                variants.expected(primary, headers).unwrap_or(*primary),
                true,
            );
        };
        match self.read(&key, reading).await {
            Some(entry) if matches!(*entry, Entry::Response(_)) => {
                self.judge_stored(&entry).await;
                self.judged_by(key, &entry, method, headers, reading)
            }
            _ => Found::nothing(key, true),
        }
    }

    async fn read(&self, key: &Key, reading: Reading) -> Option<Arc<Entry>> {
        let store = &self.shared.store;
        match reading {
            Reading::Within(within) => store.load_within(key, within).await,
            Reading::Looking => store.look(key).await.record().cloned(),
        }
    }

    /// [`RouteCache::judged`], and what was purged hard is removed, unless somebody only looks. Only where the request will
    /// not look again: it is to know why there is nothing.
    fn judged_by(
        &self,
        key: Key,
        entry: &Arc<Entry>,
        method: &Method,
        request: &HeaderMap,
        reading: Reading,
    ) -> Found {
        let found = self.judged(key, Arc::clone(entry), method, request);
        if found.purged && found.copy.is_none() && matches!(reading, Reading::Within(_)) {
            self.shared.drop_purged(&key, entry);
        }
        found
    }

    fn judged(&self, key: Key, entry: Arc<Entry>, method: &Method, request: &HeaderMap) -> Found {
        let Entry::Response(stored) = &*entry else {
            return Found {
                copy: Some(entry),
                ..Found::nothing(key, false)
            };
        };
        if !may_answer(&self.route, request, &stored.facts) {
            return Found::nothing(key, true);
        }
        if stored.standing(self.route.contract.as_ref()) != Standing::Good {
            return Found::nothing(key, false);
        }
        let mode = self
            .shared
            .purges
            .mode_of(stored, &self.route.upstream.name);
        if mode == Some(Mode::Hard) {
            return Found {
                purged: true,
                ..Found::nothing(key, false)
            };
        }
        if let Some(part) = &stored.part
            && !(*method == Method::GET && part.covers(request, stored))
        {
            return Found {
                part: Some(entry),
                ..Found::nothing(key, false)
            };
        }
        let now = self.shared.clock.now();
        let alone = self.judge(&key, stored, now);
        let by_purges = mode.map_or(alone, |mode| purged(&alone, mode, &self.route.policy));
        let is_purged = alone.state <= State::Early && by_purges.state > State::Early;
        let verdict = match self.shared.is_doubted(&key, stored, now) {
            true => doubtful(&by_purges),
            false => by_purges,
        };
        if stored.facts.failing && verdict.state == State::Gone {
            // It was never a good answer, and is not even good for validation.
            return Found::nothing(key, false);
        }
        Found {
            verdict: Some(verdict),
            copy: Some(entry),
            purged: is_purged,
            ..Found::nothing(key, false)
        }
    }

    pub(super) fn judge(&self, key: &Key, stored: &StoredResponse, now: Timestamp) -> Verdict {
        stored
            .facts
            .judge(&self.route.policy, spread(key), now, || {
                1.0 - chance::fraction()
            })
    }
}

/// Where in the policy's TTL spread a key falls, 0 to 1: fixed, so that a key's lifetime does not flutter.
pub(super) fn spread(key: &Key) -> f32 {
    let bytes = key.as_bytes();
    f32::from(u16::from_be_bytes([bytes[30], bytes[31]])) / f32::from(u16::MAX)
}
