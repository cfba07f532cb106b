//! Asking: how a fetch puts its question to the upstream, given what is stored, and what the answer is an answer to.
//!
//! - A stored response is asked about with its own validators (RFC 9111 4.3.1), in place of the client's conditions.
//! - Of a stored beginning the rest is asked for (RFC 9111 3.4).
//! - Where nothing is stored the client's own conditions and range go along, so that it gets what it would get without
//!   us. Where the policy itself says that answers are stored (`fresh`, `override`), conditions do not: an answer is then
//!   worth more than a 304, because there is an outage to come.

use std::sync::Arc;

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, response};
use tower::ServiceExt;

use super::{
    content::Content,
    entry::{StoredResponse, without_places},
    fetch::{Behind, Fetch, response_in},
    freshness::Facts,
    graphql,
    pass::add_via,
    range,
    storable::storable,
    validate,
};
use crate::{
    config::RouteConfig,
    failure::{Cause, Failure, Sent},
    http::{
        Body, Request, Response,
        fetch::{LastGood, Reads, WholeIf},
        forwarded::Forwarded,
        interim::Interim,
        uri::AsWritten,
    },
};

/// What is asked.
#[derive(Clone, Copy)]
pub(super) enum Question<'s> {
    /// What the client asks, in its own words.
    AsAsked,
    /// The same without any condition.
    Unconditional,
    /// Whether this still holds, or what holds instead.
    Whether(&'s StoredResponse),
    /// What this beginning lacks.
    Rest(&'s StoredResponse),
}

/// What came back.
pub(super) enum Asked<'s> {
    /// A response of its own.
    Answered(Response),
    /// A 304 to our condition, and what it confirms.
    Confirmed(Response, &'s StoredResponse),
    /// A 304 to what the client asked: for it alone.
    Unmodified(Response),
}

/// What to ask where this is stored: a copy, or a part that does not answer the request. `ranged`: the client's `Range`
/// goes along.
pub(super) fn question<'s>(
    route: &RouteConfig,
    method: &Method,
    ranged: bool,
    copy: Option<&'s StoredResponse>,
    part: Option<&'s StoredResponse>,
) -> Question<'s> {
    let policy = &route.policy;
    let mapped_by = route
        .contract
        .as_ref()
        .map_or(0, |contract| contract.mapping);
    match (copy, part) {
        // To a POST a condition is no question but an order (RFC 9110 13.2.1: 412).
        _ if *method == Method::POST => Question::Unconditional,
        // A 304 would confirm what the content was before it was mapped.
        (Some(copy), _) if copy.judgement.mapped_by() != mapped_by => Question::Unconditional,
        (Some(copy), _) => Question::Whether(copy),
        (None, Some(part)) if !ranged && range::can_be_completed(part) => Question::Rest(part),
        _ if ranged => Question::AsAsked,
        _ if policy.fresh.is_some() || policy.override_origin => Question::Unconditional,
        _ => Question::AsAsked,
    }
}

impl Fetch {
    /// What to ask where this is stored: a copy, or a part that does not answer the request.
    pub(super) fn question<'s>(
        &self,
        copy: Option<&'s StoredResponse>,
        part: Option<&'s StoredResponse>,
    ) -> Question<'s> {
        question(
            &self.cache.route,
            &self.parts.method,
            self.ranged,
            copy,
            part,
        )
    }

    /// Asks. An answer that is none to the question (a 304 that speaks of something else, a part that does not fit) is
    /// followed by the question without any condition, and then a 304 is no answer at all (RFC 9110 15.4.5).
    pub(super) async fn ask<'s>(&self, question: Question<'s>) -> Result<Asked<'s>, Failure> {
        let response = self.send(question).await?;
        let is_304 = response.status() == StatusCode::NOT_MODIFIED;
        let response = match question {
            Question::Whether(stored) if is_304 => {
                if validate::confirms(stored, response.headers()) {
                    return Ok(Asked::Confirmed(response, stored));
                }
                self.send(Question::Unconditional).await?
            }
            // Where the client set no condition this is an odd answer; it gets what it would get without us.
            Question::AsAsked if is_304 => return Ok(Asked::Unmodified(response)),
            Question::Rest(beginning) => match response.status() {
                StatusCode::PARTIAL_CONTENT => {
                    match range::completes(beginning, response.headers()) {
                        Some(total) => completed(beginning, response, total),
                        None => self.send(Question::Unconditional).await?,
                    }
                }
                StatusCode::NOT_MODIFIED | StatusCode::RANGE_NOT_SATISFIABLE => {
                    self.send(Question::Unconditional).await?
                }
                _ => response,
            },
            Question::Whether(_) | Question::AsAsked | Question::Unconditional => response,
        };
        if response.status() == StatusCode::NOT_MODIFIED {
            return Err(Failure::new(Cause::Protocol, Sent::MayHaveActed)
                .with_source("304 to a request without a condition"));
        }
        Ok(Asked::Answered(response))
    }

    async fn send(&self, question: Question<'_>) -> Result<Response, Failure> {
        let cache = &self.cache;
        let content = self.parts.extensions.get::<Content>();
        let mut request = Request::new(content.map_or_else(Body::empty, Content::body));
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = cache.target(&self.parts);
        *request.headers_mut() = self.parts.headers.clone();
        let headers = request.headers_mut();
        // `If-Range` says what the range is of, and stays with it: a part of something else would be taken for more of what
        // the client has (RFC 9110 13.1.5).
        let if_range = headers.remove(header::IF_RANGE).filter(|_| self.ranged);
        if !self.ranged {
            headers.remove(header::RANGE);
        }
        match question {
            Question::AsAsked => {}
            Question::Unconditional => validate::remove_conditions(headers),
            Question::Whether(stored) => {
                validate::remove_conditions(headers);
                validate::add_conditions(stored, headers);
            }
            Question::Rest(beginning) => {
                validate::remove_conditions(headers);
                range::ask_for_rest(beginning, headers);
            }
        }
        if let Some(if_range) = if_range {
            headers.insert(header::IF_RANGE, if_range);
        }
        add_via(self.parts.version, headers);
        let mut context = cache.context(self.copy_is_usable);
        context.awaited = self.parts.extensions.get::<Behind>().is_none();
        context.whole_bytes_max = Some(cache.route.whole_bytes_max);
        context.hold_back = (!self.copy_is_usable).then_some(cache.route.hold_back);
        if cache.route.graphql {
            // An answer is judged by its whole body, and that has to be readable.
            context.hold_back = None;
            let readable = HeaderValue::from_static("identity");
            request
                .headers_mut()
                .insert(header::ACCEPT_ENCODING, readable);
            request.extensions_mut().insert(graphql::JUDGE);
        }
        request.extensions_mut().insert(context);
        if let Some(last_good) = self.last_good() {
            request.extensions_mut().insert(last_good);
        }
        request.extensions_mut().insert(cache.shared.bodies.clone());
        if content.is_some() {
            request.extensions_mut().insert(Reads);
        }
        let asks_for_part = self.ranged || matches!(question, Question::Rest(_));
        request
            .extensions_mut()
            .insert(self.whole_if(asks_for_part));
        // To and of whoever led here, if anybody did; followers and refreshes have neither.
        let client = &self.parts.extensions;
        if let Some(interim) = client.get::<Interim>() {
            request.extensions_mut().insert(interim.clone());
        }
        if let Some(forwarded) = client.get::<Forwarded>() {
            request.extensions_mut().insert(forwarded.clone());
        }
        if let Some(written) = client.get::<AsWritten>() {
            request.extensions_mut().insert(written.clone());
        }
        cache.below.clone().oneshot(request).await
    }

    /// What a new answer is compared with, where the route compares.
    fn last_good(&self) -> Option<LastGood> {
        self.cache.route.contract.as_ref()?;
        let stored = response_in(self.copy.as_ref()?)?;
        (stored.status.is_success() && stored.part.is_none()).then(|| LastGood {
            body: stored.body.clone(),
            encoding: stored.headers.get(header::CONTENT_ENCODING).cloned(),
        })
    }

    /// A body is read whole if it can be stored: everything else streams at once.
    pub(super) fn whole_if(&self, asks_for_part: bool) -> WholeIf {
        let (cache, request) = (Arc::clone(&self.cache), self.parts.headers.clone());
        WholeIf::new(move |head: &response::Parts| {
            let now = cache.shared.clock.now();
            let facts = Facts::new(head.status, &head.headers, now, now);
            if cache.route.graphql && (graphql::JUDGE.applies)(head) {
                return true;
            }
            let fits = |length| length <= cache.shared.body_bytes_max;
            content_length(&head.headers).is_none_or(fits)
                && storable(&cache.route, &request, asks_for_part, &head.headers, &facts).is_ok()
        })
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// The whole response that a beginning and its rest are (RFC 9111 3.4).
fn completed(beginning: &StoredResponse, rest: Response, total: u64) -> Response {
    let (mut head, body) = rest.into_parts();
    head.status = StatusCode::OK;
    let older = without_places(beginning.headers.clone());
    head.headers = range::merged(head.headers, &older);
    head.headers.remove(header::CONTENT_RANGE);
    head.headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(total));
    let body = match body.bytes() {
        Some(bytes) => {
            let mut whole = BytesMut::from(&beginning.body[..]);
            whole.extend_from_slice(&bytes);
            Body::full(whole.freeze())
        }
        None => body.after(beginning.body.clone()),
    };
    Response::from_parts(head, body)
}
