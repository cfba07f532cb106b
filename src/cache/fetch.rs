//! Fetching: asking the upstream for a key, storing what may be stored, and telling everybody who waits.
//!
//! A fetch is a task of its own. It puts its question (`ask.rs`), judges the answer, and ends in one of the ways of
//! [`Fetched`]. Whoever started it may hang up at any time.
//!
//! # Invariants
//!
//! - What may be stored is in the store before the key's flight ends, so that nobody asks for it twice.
//! - A failure leaves the stored response as it is and gives the key a rest; so does an answer that could not be stored.
//! - What was meant for the one who asked reaches nobody else: no error answer to credentials, no `Set-Cookie` of an
//!   overridden origin.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts, response};
use tokio::{sync::oneshot, time::Instant};

use super::{
    Joined, RouteCache,
    arrival::Arrival,
    aside::Aside,
    ask::Asked,
    coalesce::Guard,
    content::{Content, written_as},
    control::ResponseDirectives,
    entry::{Entry, StoredResponse, with_places, without_places},
    fetched::{Brought, Fetched, Own, Reply, Stored},
    freshness::Facts,
    graphql,
    judgement::Judgement,
    key::kept_path_and_query,
    lookup::Found,
    marks::Rest,
    purge::Labels,
    range,
    storable::{NotStored, storable},
    validate,
    vary::Vary,
};
use crate::{
    admission::Permit,
    chance,
    clock::Timestamp,
    failure::{Cause, Failure},
    http::{
        Body, Request, Response,
        fetch::{Attempts, Priority, Timing},
        hop,
        uri::AsWritten,
    },
    store::Key,
};

/// One fetch: what it needs to know, and whom it has to tell.
pub(super) struct Fetch {
    pub(super) cache: Arc<RouteCache>,
    pub(super) parts: Parts,
    pub(super) primary: Key,
    pub(super) key: Key,
    pub(super) copy: Option<Arc<Entry>>,
    pub(super) copy_is_usable: bool,
    /// A stored part that does not answer the request, to be completed or put together with what comes.
    pub(super) part: Option<Arc<Entry>>,
    /// The upstream is asked for a part: the client's `Range` goes along.
    pub(super) ranged: bool,
    asked_at: Timestamp,
    pub(super) started: Instant,
    /// The latest purge when it began.
    pub(super) epoch: u64,
    /// How often the upstream had recovered when it began.
    recoveries: u64,
    pub(super) guard: Option<Guard<Fetched>>,
    reply: Option<oneshot::Sender<Reply>>,
    _permit: Option<Permit>,
}

/// Of a fetch that whoever led to it was answered before: nobody waits for it. An extension of its request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behind;

impl RouteCache {
    /// Refreshes behind an answer; nothing happens if somebody does already.
    pub(super) fn refresh_behind(
        self: &Arc<Self>,
        uri: &http::Uri,
        headers: &HeaderMap,
        content: Option<&Content>,
        found: &Found,
        primary: Key,
    ) {
        let admit = || self.admission.fetch(Priority::UserRevalidate);
        if let Joined::Leader(guard) = self.shared.flights.join(found.key, admit) {
            let mut parts = Request::new(Body::empty()).into_parts().0;
            parts.uri = uri.clone();
            parts.headers = headers.clone();
            parts.extensions.insert(Behind);
            self.keep_cookies(&mut parts.headers);
            if let Some(content) = content {
                content.clone().ask_by(&mut parts);
            }
            drop(self.spawn_fetch(parts, found, primary, Some(guard), None));
        }
    }

    /// Starts a fetch; the reply comes when there is something to tell.
    pub(super) fn spawn_fetch(
        self: &Arc<Self>,
        mut parts: Parts,
        found: &Found,
        primary: Key,
        guard: Option<Guard<Fetched>>,
        permit: Option<Permit>,
    ) -> oneshot::Receiver<Reply> {
        let (reply, receiver) = oneshot::channel();
        if parts.extensions.get::<Content>().is_none() {
            // HEAD comes here only to renew a stored GET.
            parts.method = Method::GET;
        }
        let fetch = Fetch {
            part: found.part.clone(),
            ranged: asks_for_part(&parts.method, &parts.headers, found),
            asked_at: self.shared.clock.now(),
            cache: Arc::clone(self),
            parts,
            primary,
            key: found.key,
            copy: found.copy.clone(),
            copy_is_usable: found.is_last_known_good(),
            started: Instant::now(),
            epoch: self.shared.purges.latest(),
            recoveries: self.lookout.condition().recoveries,
            guard,
            reply: Some(reply),
            _permit: permit,
        };
        self.shared.tasks.spawn(fetch.run());
        receiver
    }
}

/// Whether the upstream is asked for a part. Whoever asks for a part of what is stored whole gets it of the whole.
pub(super) fn asks_for_part(method: &Method, headers: &HeaderMap, found: &Found) -> bool {
    let is_whole = |entry: &Arc<Entry>| response_in(entry).is_some_and(|it| it.part.is_none());
    *method == Method::GET
        && headers.contains_key(header::RANGE)
        && !found.copy.as_ref().is_some_and(is_whole)
}

pub(super) fn response_in(entry: &Arc<Entry>) -> Option<&StoredResponse> {
    match &**entry {
        Entry::Response(stored) => Some(stored),
        Entry::Variants { .. } => None,
    }
}

impl Fetch {
    /// For an answer that is here already, as one to these `parts`: nobody waits for it.
    /// `epoch`: the latest purge when it was asked for.
    pub(super) fn taking(cache: &Arc<RouteCache>, parts: &Parts, primary: Key, epoch: u64) -> Self {
        Self {
            cache: Arc::clone(cache),
            parts: parts.clone(),
            primary,
            key: primary,
            copy: None,
            copy_is_usable: false,
            part: None,
            ranged: false,
            asked_at: cache.shared.clock.now(),
            started: Instant::now(),
            epoch,
            recoveries: cache.lookout.condition().recoveries,
            guard: None,
            reply: None,
            _permit: None,
        }
    }

    async fn run(self) {
        let (copy, part) = (self.copy.clone(), self.part.clone());
        let copy = copy.as_ref().and_then(response_in);
        let part = part.as_ref().and_then(response_in);
        let asked = self.ask(self.question(copy, part)).await;
        // What we refused ourselves says nothing about how fast the upstream is.
        let is_news = asked
            .as_ref()
            .err()
            .is_none_or(|failure| failure.cause().is_upstream());
        if is_news {
            let lookout = &self.cache.lookout;
            match self.started.elapsed() < self.cache.route.policy.stale_after {
                true => lookout.heard_in_time(),
                false => lookout.heard_late(self.cache.shared.clock.now()),
            }
        }
        match asked {
            Err(failure) => self.fail(failure).await,
            Ok(Asked::Answered(response)) => self.receive(response).await,
            Ok(Asked::Confirmed(response, stored)) => self.confirm(response, stored).await,
            Ok(Asked::Unmodified(response)) => self.pass_on_unmodified(response),
        }
    }
}

// --- Judging the answer ---

impl Fetch {
    /// A 304 renews what is stored, unless it says that it is not for everybody any more.
    async fn confirm(mut self, response: Response, stored: &StoredResponse) {
        let (mut head, _no_content) = response.into_parts();
        let (request_time, response_time) = self.times(&mut head);
        let attempts = attempts(&mut head);
        hop::strip_response(&mut head.headers);
        add_date(&mut head.headers, response_time);
        let others = NotModified {
            headers: head.headers.clone(),
            request_time,
            response_time,
        };
        let route = &self.cache.route;
        // What is stored goes to everybody; a cookie is for the one who asked (`updates` leaves it out).
        let is_for_asker = !route.policy.share_set_cookie && !route.policy.override_origin;
        let cookies: Vec<HeaderValue> = head
            .headers
            .get_all(header::SET_COOKIE)
            .iter()
            .filter(|_| is_for_asker)
            .cloned()
            .collect();
        let renewed = validate::freshened(
            stored,
            head.headers,
            &route.policy,
            request_time,
            response_time,
        );
        let request = &self.parts.headers;
        let is_part = renewed.part.is_some();
        match storable(route, request, is_part, &renewed.headers, &renewed.facts) {
            Ok(vary) => {
                self.freshen_others(stored, &others).await;
                let fetched = self
                    .store(renewed, vary, Brought::Confirmation, attempts)
                    .await;
                self.settle_with(fetched, cookies);
            }
            Err(reason) => {
                let mut response = Response::new(Body::full(renewed.body.clone()));
                *response.status_mut() = renewed.status;
                *response.headers_mut() = without_places(renewed.headers);
                for cookie in cookies {
                    response.headers_mut().append(header::SET_COOKIE, cookie);
                }
                self.hand_over(response, reason, attempts);
            }
        }
    }

    pub(super) async fn receive(self, response: Response) {
        let (mut head, body) = response.into_parts();
        let (request_time, response_time) = self.times(&mut head);
        let attempts = attempts(&mut head);
        hop::strip_response(&mut head.headers);
        add_date(&mut head.headers, response_time);
        let facts = Facts::new(head.status, &head.headers, request_time, response_time);
        match self.storable(&head, &body, &facts) {
            Err(reason) => self.hand_over(Response::from_parts(head, body), reason, attempts),
            Ok(vary) => {
                let vary = self.varying_as_the_others(vary, head.status).await;
                if self.cache.route.policy.override_origin {
                    // Shared only because the route says so: what was meant for one visitor does not go along.
                    head.headers.remove(header::SET_COOKIE);
                }
                let arrival = Arrival {
                    head,
                    facts,
                    request_time,
                    vary,
                    attempts,
                };
                self.take_in(arrival, body).await;
            }
        }
    }

    /// A 304 to the client's own condition is for it alone; the others ask for themselves.
    fn pass_on_unmodified(self, response: Response) {
        let (mut head, _no_content) = response.into_parts();
        let (_, response_time) = self.times(&mut head);
        let attempts = attempts(&mut head);
        hop::strip_response(&mut head.headers);
        add_date(&mut head.headers, response_time);
        let response = Response::from_parts(head, Body::empty());
        self.hand_over(response, NotStored::Condition, attempts);
    }

    /// RFC 9111 4.3.4: a 304 with a strong validator renews every stored response that has it, not only the one that was
    /// asked about: the other variants of the key with the same entity tag.
    async fn freshen_others(&self, asked_about: &StoredResponse, not_modified: &NotModified) {
        let named = not_modified.headers.get(header::ETAG);
        let Some(etag) = range::strong_etag(&asked_about.headers) else {
            return;
        };
        if self.key == self.primary || named.is_some_and(|named| named != etag) {
            return;
        }
        let shared = &self.cache.shared;
        let Some(list) = shared.store.load(&self.primary).await else {
            return;
        };
        let Entry::Variants { variants, .. } = &*list else {
            return;
        };
        for key in variants.keys().filter(|key| *key != self.key) {
            let Some(entry) = shared.store.load(&key).await else {
                continue;
            };
            if let Some(stored) = response_in(&entry)
                && range::strong_etag(&stored.headers) == Some(etag)
            {
                let mut renewed = validate::freshened(
                    stored,
                    not_modified.headers.clone(),
                    &self.cache.route.policy,
                    not_modified.request_time,
                    not_modified.response_time,
                );
                // Its fields are new; what was purged of it stays purged.
                renewed.labels = self.labels(&renewed).await;
                renewed.labels.epoch = stored.labels.epoch;
                shared.store.put(key, Arc::new(Entry::Response(renewed)));
            }
        }
    }

    fn times(&self, head: &mut response::Parts) -> (Timestamp, Timestamp) {
        let now = self.cache.shared.clock.now();
        let timing = head.extensions.remove::<Timing>();
        timing.map_or((now, now), |timing| {
            (timing.request_time, timing.response_time)
        })
    }

    fn storable(
        &self,
        head: &response::Parts,
        body: &Body,
        facts: &Facts,
    ) -> Result<Vary, NotStored> {
        let cache = &self.cache;
        let request = &self.parts.headers;
        let vary = storable(&cache.route, request, self.ranged, &head.headers, facts)?;
        if http_body::Body::size_hint(body).lower() > cache.shared.body_bytes_max {
            return Err(NotStored::TooLarge);
        }
        if cache.route.graphql && graphql::cannot_be_judged(head) {
            return Err(NotStored::Unjudged);
        }
        if self.copy_is_usable && !supersedes(head.status) {
            return Err(NotStored::Status);
        }
        let is_error = head.status.is_client_error() || head.status.is_server_error();
        if is_error && self.is_spelled_otherwise() {
            return Err(NotStored::Spelling);
        }
        Ok(vary)
    }

    /// The upstream sees another spelling of the path than the key. What RFC 3986 says is equal is mostly answered alike, but
    /// where it is not, nobody may put an error under everybody's key by way of it.
    fn is_spelled_otherwise(&self) -> bool {
        self.parts.extensions.get::<AsWritten>().is_some()
    }

    /// An error in place of one variant seldom repeats the `Vary` of the others. Taken at its word it would be the answer to
    /// everybody (RFC 9111 4.1) and end them all; it is taken to vary as they do, which reuses it less.
    async fn varying_as_the_others(&self, vary: Vary, status: StatusCode) -> Vary {
        let is_error = status.is_client_error() || status.is_server_error();
        if vary != Vary::Nothing || !is_error || self.key == self.primary {
            return vary;
        }
        match self.cache.shared.store.load(&self.primary).await.as_deref() {
            Some(Entry::Variants { variants, .. }) => variants.latest_vary(),
            _ => vary,
        }
    }

    /// Not for others: goes to whoever started the fetch, body and all, at the pace of that client.
    fn hand_over(mut self, response: Response, reason: NotStored, attempts: u32) {
        let by_request = reason.is_about_request();
        if !by_request {
            self.cache.shared.marks.set_unshared(self.key, true);
        }
        if self.copy.is_some() && !by_request && self.ends_copy(response.status(), reason) {
            self.cache.shared.store.remove(&self.key);
            self.cache.shared.marks.wake(&self.key);
        } else {
            // Nothing new was stored: without a rest every request would ask again.
            self.rest_key(None);
        }
        if let Some(guard) = &self.guard {
            guard.publish(Fetched::Unshared { by_request });
        }
        self.reply(Reply::Own(Own {
            response,
            reason,
            attempts,
        }));
    }

    /// Whether an answer that is not stored says that what is stored is over: the vendor withdrew it, or keeps it for
    /// single users from now on. Only an anonymous request can find that out: a visitor with a session may always get
    /// an answer of his own.
    fn ends_copy(&self, status: StatusCode, reason: NotStored) -> bool {
        let withdrawn = matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE);
        let kept_private = status.is_success()
            && matches!(
                reason,
                NotStored::NoStore | NotStored::Private | NotStored::VaryAnything
            );
        !is_credentialed(&self.parts.headers) && (withdrawn || kept_private)
    }
}

/// Whether an answer with this status may take the place of a good copy. An error that the route does not count as a
/// failure is an answer, but not a better one; that something is gone is.
fn supersedes(status: StatusCode) -> bool {
    let is_error = status.is_client_error() || status.is_server_error();
    !is_error || matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

fn is_credentialed(request: &HeaderMap) -> bool {
    request.contains_key(header::AUTHORIZATION) || request.contains_key(header::COOKIE)
}

// --- Ends ---

impl Fetch {
    /// Puts a complete response into the store and wakes the key.
    pub(super) async fn store(
        &self,
        mut stored: StoredResponse,
        vary: Vary,
        brought: Brought,
        attempts: u32,
    ) -> Fetched {
        let shared = &self.cache.shared;
        stored.labels = self.labels(&stored).await;
        let key = self.storage_key(&vary);
        let kept = !shared
            .marks
            .was_forgotten_since(&written_as(&self.parts, &self.primary), self.started);
        let entry = if kept {
            shared.commit(self.primary, key, stored, &vary).await
        } else {
            Arc::new(Entry::Response(stored))
        };
        if kept && self.parts.extensions.get::<Content>().is_none() {
            self.cache
                .remember_equivalent(&self.parts, self.primary, &entry);
        }
        shared.marks.wake(&self.key);
        shared.marks.set_unshared(self.key, false);
        Fetched::Stored(Stored {
            key,
            vary: Arc::new(vary),
            entry,
            brought,
            kept,
            attempts,
        })
    }

    /// The upstream gave nothing usable: the key rests, and everybody who waits learns why. The upstream's own error
    /// response goes to others only if nothing about it was meant for the one who asked.
    async fn fail(mut self, failure: Failure) {
        let failure = self.cache.counted(failure);
        self.rest_key(Some(&failure));
        self.remember(&failure).await;
        let request = &self.parts.headers;
        let for_one = is_credentialed(request) || self.cache.wishes(request).no_store;
        let for_all = if for_one || !is_shareable(&failure) {
            failure.without_answer()
        } else {
            failure.clone()
        };
        if let Some(guard) = &self.guard {
            guard.publish(Fetched::Failed(for_all));
        }
        self.reply(Reply::Shared(Fetched::Failed(failure)));
    }

    /// Stores an error answer that counts as a failure, where nothing is stored that it could shadow, nothing better is
    /// promised (a sibling, a fallback), and its lifetime is one that the policy takes.
    async fn remember(&self, failure: &Failure) {
        let route = &self.cache.route;
        let nothing_better = self.copy.is_none()
            && self.part.is_none()
            && route.fallback.is_none()
            && route.sibling.is_none()
            && !self.is_spelled_otherwise();
        let Some(answer) = failure.answer().filter(|_| nothing_better) else {
            return;
        };
        let mut headers = answer.headers.clone();
        hop::strip_response(&mut headers);
        let now = self.cache.shared.clock.now();
        add_date(&mut headers, now);
        let facts = Facts {
            failing: true,
            ..Facts::new(answer.status, &headers, self.asked_at, now)
        };
        let request = &self.parts.headers;
        if let Ok(vary) = storable(route, request, false, &headers, &facts) {
            let mut stored = StoredResponse {
                status: answer.status,
                headers: with_places(&headers),
                body: answer.body.clone(),
                part: None,
                url: kept_path_and_query(&route.key, &self.parts.uri).into(),
                request_time: self.asked_at,
                dead_at: facts.dead_at(&route.policy),
                facts,
                labels: Labels::unknown(),
                aside: Aside::of(&answer.extensions, None),
                judgement: Judgement::default(),
            };
            stored.labels = self.labels(&stored).await;
            let key = self.storage_key(&vary);
            let shared = &self.cache.shared;
            shared.commit(self.primary, key, stored, &vary).await;
        }
    }

    pub(super) fn settle(&mut self, fetched: Fetched) {
        self.settle_with(fetched, Vec::new());
    }

    /// The same, with cookies for the one who asked.
    fn settle_with(&mut self, fetched: Fetched, cookies: Vec<HeaderValue>) {
        if let Some(guard) = &self.guard {
            guard.publish(fetched.clone());
        }
        self.reply(match cookies.is_empty() {
            true => Reply::Shared(fetched),
            false => Reply::WithCookies(fetched, cookies),
        });
    }

    pub(super) fn reply(&mut self, reply: Reply) {
        if let Some(sender) = self.reply.take() {
            // A client that hung up does not want it any more.
            let _gone = sender.send(reply);
        }
    }

    /// Gives a key with a copy a rest: after a failure, or after an answer that brought nothing to store.
    pub(super) fn rest_key(&self, failure: Option<&Failure>) {
        if self.copy.is_some() {
            let shared = &self.cache.shared;
            let rest = rest(
                failure,
                self.cache.route.policy.cool_down,
                chance::fraction(),
            );
            let rest = Rest {
                until: shared.clock.now().after(rest),
                recoveries: self.recoveries,
                asked_for: failure.is_some_and(|failure| {
                    failure.cause().is_upstream() && failure.retry_after().is_some()
                }),
            };
            shared.marks.rest(self.key, rest);
        }
    }
}

/// A 304 as it is applied to what is stored.
struct NotModified {
    headers: HeaderMap,
    request_time: Timestamp,
    response_time: Timestamp,
}

/// Whether the error response kept in this failure may go to everybody who waited.
fn is_shareable(failure: &Failure) -> bool {
    failure.answer().is_none_or(|answer| {
        let directives = ResponseDirectives::parse(&answer.headers);
        !directives.no_store
            && !directives.private
            && !answer.headers.contains_key(header::SET_COOKIE)
            && Vary::parse(&answer.headers) != Vary::Anything
    })
}

/// How long a key rests: the policy's cool-down and up to half of it by chance (`chance` in 0..1), so that keys that
/// failed together do not come back together; longer if the upstream asked for it. Where our own breaker refused, nothing
/// was sent and asking again is free: a quarter.
fn rest(failure: Option<&Failure>, cool_down: Duration, chance: f64) -> Duration {
    let jittered = cool_down.mul_f64(1.0 + chance.clamp(0.0, 1.0) / 2.0);
    match failure.map(Failure::cause) {
        Some(
            Cause::BreakerOpen
            | Cause::BulkheadFull
            | Cause::QuotaExhausted
            | Cause::Drill
            | Cause::Overloaded,
        ) => jittered / 4,
        _ => {
            let asked_for = failure.and_then(Failure::retry_after);
            asked_for.unwrap_or_default().max(jittered)
        }
    }
}

fn attempts(head: &mut response::Parts) -> u32 {
    let attempts = head.extensions.remove::<Attempts>();
    attempts.map_or(1, |attempts| attempts.0)
}

/// RFC 9110 6.6.1: a recipient with a clock adds a missing `Date` when it stores a response.
fn add_date(headers: &mut HeaderMap, response_time: Timestamp) {
    if !headers.contains_key(header::DATE)
        && let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(response_time.into()))
    {
        headers.insert(header::DATE, date);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Sent;

    #[test]
    fn a_key_rests_for_the_cool_down_or_as_long_as_the_upstream_asked() {
        let second = Duration::from_secs(1);
        let status = |retry_after| {
            Failure::new(
                Cause::Status(StatusCode::SERVICE_UNAVAILABLE),
                Sent::MayHaveActed,
            )
            .with_retry_after(retry_after)
        };
        assert_eq!(rest(None, second, 0.0), second);
        assert_eq!(rest(Some(&status(None)), second, 1.0), second * 3 / 2);
        assert_eq!(
            rest(Some(&status(Some(second * 30))), second, 1.0),
            second * 30
        );
        let refused =
            Failure::new(Cause::BreakerOpen, Sent::Nothing).with_retry_after(Some(second * 9));
        assert_eq!(rest(Some(&refused), second, 0.0), second / 4);
    }

    #[test]
    fn an_error_never_takes_the_place_of_a_good_copy_but_gone_does() {
        for (status, want) in [
            (200, true),
            (301, true),
            (404, true),
            (410, true),
            (403, false),
            (429, false),
            (500, false),
        ] {
            assert_eq!(
                supersedes(StatusCode::from_u16(status).unwrap()),
                want,
                "{status}"
            );
        }
    }
}
