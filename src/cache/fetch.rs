//! Fetching: asking the upstream for a key, storing what may be stored, and telling everybody who waits.
//!
//! A fetch is a task of its own. It sends a conditional request where something is stored, judges the answer, and ends
//! in one of the ways of [`Fetched`]. Whoever started it may hang up at any time.
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
use tower::ServiceExt;

use super::{
    Joined, RouteCache,
    arrival::Arrival,
    coalesce::{Guard, Permit},
    control::ResponseDirectives,
    entry::{Entry, StoredResponse, without_places},
    fetched::{Fetched, Own, Reply, Stored},
    freshness::Facts,
    lookup::Found,
    pass::add_via,
    storable::{NotStored, storable},
    validate,
    vary::Vary,
};
use crate::{
    clock::Timestamp,
    failure::{Cause, Failure, Sent},
    http::{
        Body, Request, Response,
        fetch::{Attempts, Timing, WholeIf},
        hop,
    },
    store::Key,
};

/// One fetch: what it needs to know, and whom it has to tell.
pub(super) struct Fetch {
    pub(super) cache: Arc<RouteCache>,
    pub(super) parts: Parts,
    pub(super) primary: Key,
    pub(super) key: Key,
    copy: Option<Arc<Entry>>,
    copy_is_usable: bool,
    pub(super) started: Instant,
    pub(super) guard: Option<Guard<Fetched>>,
    reply: Option<oneshot::Sender<Reply>>,
    _permit: Option<Permit>,
}

impl RouteCache {
    /// Refreshes behind an answer; nothing happens if somebody does already.
    pub(super) fn refresh_behind(
        self: &Arc<Self>,
        uri: &http::Uri,
        headers: &HeaderMap,
        found: &Found,
        primary: Key,
    ) {
        if let Joined::Leader(guard) = self.shared.flights.join(found.key) {
            let mut parts = Request::new(Body::empty()).into_parts().0;
            parts.uri = uri.clone();
            parts.headers = headers.clone();
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
        // HEAD comes here only to renew a stored GET.
        parts.method = Method::GET;
        let fetch = Fetch {
            cache: Arc::clone(self),
            parts,
            primary,
            key: found.key,
            copy: found.copy.clone(),
            copy_is_usable: found.is_last_known_good(),
            started: Instant::now(),
            guard,
            reply: Some(reply),
            _permit: permit,
        };
        self.shared.tasks.spawn(fetch.run());
        receiver
    }
}

// --- Asking ---

impl Fetch {
    async fn run(self) {
        let copy = self.copy.clone();
        let stored = match copy.as_deref() {
            Some(Entry::Response(stored)) => Some(stored),
            _ => None,
        };
        match self.ask(stored).await {
            Err(failure) => self.fail(failure),
            Ok((response, Some(confirmed))) => self.confirm(response, confirmed).await,
            Ok((response, None)) => self.receive(response).await,
        }
    }

    /// One request, conditional if something is stored; with a 304 comes what it confirms. One that speaks of something
    /// else is asked about once more without a condition, and then a 304 is no answer (RFC 9110 15.4.5).
    async fn ask<'s>(
        &self,
        stored: Option<&'s StoredResponse>,
    ) -> Result<(Response, Option<&'s StoredResponse>), Failure> {
        let mut response = self.send(stored).await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            if let Some(stored) = stored {
                if validate::confirms(stored, response.headers()) {
                    return Ok((response, Some(stored)));
                }
                response = self.send(None).await?;
            }
            if response.status() == StatusCode::NOT_MODIFIED {
                return Err(Failure::new(Cause::Protocol, Sent::MayHaveActed)
                    .with_source("304 to a request without a condition"));
            }
        }
        Ok((response, None))
    }

    async fn send(&self, stored: Option<&StoredResponse>) -> Result<Response, Failure> {
        let cache = &self.cache;
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = cache.target(&self.parts);
        *request.headers_mut() = self.parts.headers.clone();
        let headers = request.headers_mut();
        headers.remove(header::RANGE);
        validate::remove_conditions(headers);
        if let Some(stored) = stored {
            validate::add_conditions(stored, headers);
        }
        add_via(self.parts.version, headers);
        let mut context = cache.context(self.copy_is_usable);
        context.whole_bytes_max = Some(cache.route.whole_bytes_max);
        context.hold_back = (!self.copy_is_usable).then_some(cache.route.hold_back);
        request.extensions_mut().insert(context);
        request.extensions_mut().insert(self.whole_if());
        cache.below.clone().oneshot(request).await
    }

    /// A body is read whole if it can be stored: everything else streams at once.
    fn whole_if(&self) -> WholeIf {
        let (cache, request) = (Arc::clone(&self.cache), self.parts.headers.clone());
        WholeIf::new(move |head: &response::Parts| {
            let now = cache.shared.clock.now();
            let facts = Facts::new(&head.headers, now, now);
            let fits = |length| length <= cache.shared.body_bytes_max;
            content_length(&head.headers).is_none_or(fits)
                && storable(&cache.route, &request, head.status, &head.headers, &facts).is_ok()
        })
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
        let route = &self.cache.route;
        let renewed = validate::freshened(
            stored,
            head.headers,
            &route.policy,
            request_time,
            response_time,
        );
        let request = &self.parts.headers;
        match storable(
            route,
            request,
            renewed.status,
            &renewed.headers,
            &renewed.facts,
        ) {
            Ok(vary) => {
                let fetched = self.store(renewed, vary, true, attempts).await;
                self.settle(fetched);
            }
            Err(reason) => {
                let mut response = Response::new(Body::full(renewed.body.clone()));
                *response.status_mut() = renewed.status;
                *response.headers_mut() = without_places(renewed.headers);
                self.hand_over(response, reason, attempts);
            }
        }
    }

    async fn receive(self, response: Response) {
        let (mut head, body) = response.into_parts();
        let (request_time, response_time) = self.times(&mut head);
        let attempts = attempts(&mut head);
        hop::strip_response(&mut head.headers);
        add_date(&mut head.headers, response_time);
        let facts = Facts::new(&head.headers, request_time, response_time);
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
        let vary = storable(&cache.route, request, head.status, &head.headers, facts)?;
        if http_body::Body::size_hint(body).lower() > cache.shared.body_bytes_max {
            return Err(NotStored::TooLarge);
        }
        if self.copy_is_usable && !supersedes(head.status) {
            return Err(NotStored::Status);
        }
        Ok(vary)
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
        stored: StoredResponse,
        vary: Vary,
        revalidated: bool,
        attempts: u32,
    ) -> Fetched {
        let shared = &self.cache.shared;
        let key = self.storage_key(&vary);
        let kept = !shared
            .marks
            .was_forgotten_since(&self.primary, self.started);
        let entry = if kept {
            shared.commit(self.primary, key, stored, &vary).await
        } else {
            Arc::new(Entry::Response(stored))
        };
        shared.marks.wake(&self.key);
        shared.marks.set_unshared(self.key, false);
        Fetched::Stored(Stored {
            key,
            vary: Arc::new(vary),
            entry,
            revalidated,
            kept,
            attempts,
        })
    }

    /// The upstream gave nothing usable: the key rests, and everybody who waits learns why. The upstream's own error
    /// response goes to others only if nothing about it was meant for the one who asked.
    fn fail(mut self, failure: Failure) {
        self.rest_key(Some(&failure));
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

    pub(super) fn settle(&mut self, fetched: Fetched) {
        if let Some(guard) = &self.guard {
            guard.publish(fetched.clone());
        }
        self.reply(Reply::Shared(fetched));
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
            let rest = rest(failure, self.cache.route.policy.cool_down, rand::random());
            shared.marks.rest(self.key, shared.clock.now().after(rest));
        }
    }
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
        Some(Cause::BreakerOpen | Cause::BulkheadFull | Cause::Overloaded) => jittered / 4,
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

fn content_length(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
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
