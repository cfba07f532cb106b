//! From a stored response, or from a failure, to the answer a client gets.
//!
//! This is the only place where a [`Failure`] turns into an answer. Down the ladder: the last known good response, that of
//! the route's sibling, the route's fallback document, the upstream's own error response, a problem made here (RFC 9457).

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};

use super::{
    entry::StoredResponse,
    freshness::Verdict,
    pass::only_reads,
    range::{self, Cut},
    sibling::Sibling,
    status::{CacheStatus, append_proxy_status, set_age},
    validate::{into_not_modified, is_not_modified},
};
use crate::{
    chance,
    config::RouteConfig,
    failure::{Cause, Failure, Sent},
    http::{
        Body, Response,
        fetch::Reads,
        idempotency::has_key,
        method::{is_idempotent, is_query},
        problem::{Problem, Write},
    },
    observe::Outcome,
};

/// What a request came to, for the log line and the metrics.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    /// The closed set of ends a request can have.
    pub outcome: Outcome,
    /// Age of the stored response that answered.
    pub age: Option<Duration>,
    /// Attempts upstream that this request waited for.
    pub attempts: u32,
    /// What failed behind it.
    pub cause: Option<Cause>,
    /// How far the request got that failed; says nothing without a `cause`.
    pub sent: Sent,
}

impl Note {
    /// Nothing but the outcome.
    pub fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            age: None,
            attempts: 0,
            cause: None,
            sent: Sent::Nothing,
        }
    }
}

/// A response and what is known about how it came about.
#[derive(Debug)]
pub struct Answer {
    /// What the client gets.
    pub response: Response,
    /// What operators get.
    pub note: Note,
}

/// A stored response as the answer to this request. A client that has it already gets a 304.
pub(super) fn from_stored(
    method: &Method,
    request: &HeaderMap,
    stored: &StoredResponse,
    age: Duration,
    cache_status: &CacheStatus,
    note: Note,
) -> Answer {
    let mut headers = stored.headers.clone();
    set_age(&mut headers, age);
    cache_status.append_to(&mut headers);
    // RFC 9110 13.2.2: conditions first, then `Range`, which is about GET only (14.2).
    let (status, body) = if is_not_modified(request, stored.status, &stored.headers) {
        into_not_modified(&mut headers);
        (StatusCode::NOT_MODIFIED, Body::empty())
    } else if method == Method::HEAD {
        // RFC 9110 8.6: not with a 204.
        if stored.status != StatusCode::NO_CONTENT {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(stored.body.len()));
        }
        (stored.status, Body::empty())
    } else if request.contains_key(header::RANGE) {
        cut_from(request, stored, &mut headers)
    } else {
        (stored.status, Body::full(stored.body.clone()))
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    if let Some(aside) = stored.aside.as_ref().filter(|_| status == stored.status) {
        // A part of a stored part has its status, too.
        let is_whole = method != Method::HEAD && stored.part.is_none();
        aside.say(&mut response, is_whole);
    }
    Answer {
        response,
        note: Note {
            age: Some(age),
            ..note
        },
    }
}

/// What a request with a `Range` gets of a stored response: status and content, and the fields that go with them.
fn cut_from(
    request: &HeaderMap,
    stored: &StoredResponse,
    headers: &mut HeaderMap,
) -> (StatusCode, Body) {
    match range::cut(request, stored, chance::word128) {
        Cut::All => (stored.status, Body::full(stored.body.clone())),
        Cut::One {
            bytes,
            content_range,
        } => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
            headers.insert(header::CONTENT_RANGE, content_range);
            let body = Body::full(stored.body.slice(bytes));
            (StatusCode::PARTIAL_CONTENT, body)
        }
        Cut::Several { body, content_type } => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
            headers.insert(header::CONTENT_TYPE, content_type);
            (StatusCode::PARTIAL_CONTENT, Body::full(body))
        }
        Cut::Unsatisfiable { content_range } => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
            headers.insert(header::CONTENT_RANGE, content_range);
            // They describe content that this answer has not.
            for name in [
                header::CONTENT_TYPE,
                header::CONTENT_ENCODING,
                header::CONTENT_LANGUAGE,
            ] {
                headers.remove(name);
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, Body::empty())
        }
    }
}

/// The answer where the upstream failed. `copy`: what is stored, and what it may be used for.
pub(super) fn from_failure(
    route: &RouteConfig,
    request: &Parts,
    copy: Option<(&StoredResponse, &Verdict)>,
    sibling: Option<&Sibling>,
    failure: &Failure,
    status: CacheStatus,
) -> Answer {
    if let Some((stored, verdict)) = copy
        && verdict.is_last_known_good()
    {
        let (method, headers) = (&request.method, &request.headers);
        return standing_in(method, headers, stored, verdict, failure, status);
    }
    if let Some(sibling) = sibling
        && let Some(stored) = sibling.stored()
    {
        return from_sibling(&request.method, sibling, stored, failure, status);
    }
    let (mut response, outcome, detail) = without_copy(route, request, copy.is_some(), failure);
    let cache_status = CacheStatus {
        detail: Some(detail),
        ..behind(failure, status)
    };
    cache_status.append_to(response.headers_mut());
    append_proxy_status(response.headers_mut(), failure);
    let note = note(failure, outcome);
    Answer { response, note }
}

/// The last known good answer in place of what failed.
pub(super) fn standing_in(
    method: &Method,
    request: &HeaderMap,
    stored: &StoredResponse,
    verdict: &Verdict,
    failure: &Failure,
    status: CacheStatus,
) -> Answer {
    let detail = match failure.cause() {
        Cause::Drill => "drill",
        _ => "stale-if-error",
    };
    let cache_status = CacheStatus {
        ttl_secs: Some(verdict.ttl_secs()),
        detail: Some(detail),
        ..behind(failure, status)
    };
    let note = note(failure, Outcome::StaleIfError);
    let age = verdict.age;
    let mut answer = from_stored(method, request, stored, age, &cache_status, note);
    append_proxy_status(answer.response.headers_mut(), failure);
    answer
}

fn from_sibling(
    method: &Method,
    sibling: &Sibling,
    stored: &StoredResponse,
    failure: &Failure,
    status: CacheStatus,
) -> Answer {
    let cache_status = CacheStatus {
        ttl_secs: Some(sibling.verdict.ttl_secs()),
        detail: Some("sibling"),
        ..behind(failure, status)
    };
    let (note, age) = (note(failure, Outcome::Sibling), sibling.verdict.age);
    // No fields of the request: its conditions and ranges are about something else.
    let nothing = HeaderMap::new();
    let mut answer = from_stored(method, &nothing, stored, age, &cache_status, note);
    let headers = answer.response.headers_mut();
    sibling.disown(headers);
    append_proxy_status(headers, failure);
    answer
}

/// `Cache-Status` where this failed behind the answer.
fn behind(failure: &Failure, status: CacheStatus) -> CacheStatus {
    CacheStatus {
        forward_status: failure.answer().map(|answer| answer.status),
        ..status
    }
}

fn note(failure: &Failure, outcome: Outcome) -> Note {
    Note {
        outcome,
        age: None,
        attempts: failure.attempts(),
        cause: Some(failure.cause()),
        sent: failure.sent(),
    }
}

/// Whether a request may be answered by something made or stored for another: it only asks. `reads`: by the route's word.
pub(super) fn takes_stand_in(method: &Method, reads: bool) -> bool {
    matches!(*method, Method::GET | Method::HEAD) || is_query(method) || reads
}

/// Whether a request gets the route's fallback document where there is nothing better. `reads`: by the route's word.
pub(super) fn takes_fallback(route: &RouteConfig, method: &Method, reads: bool) -> bool {
    takes_stand_in(method, reads) && route.fallback.is_some()
}

fn without_copy(
    route: &RouteConfig,
    request: &Parts,
    copy_forbidden: bool,
    failure: &Failure,
) -> (Response, Outcome, &'static str) {
    let reads = request.extensions.get::<Reads>().is_some();
    let takes_fallback = takes_fallback(route, &request.method, reads);
    if let Some(fallback) = route.fallback.as_ref().filter(|_| takes_fallback) {
        let path = request.uri.path();
        let document = fallback.document.render(route.path.params(path));
        let length = document.len();
        let body = if request.method == Method::HEAD {
            Body::empty()
        } else {
            Body::full(document)
        };
        let mut response = Response::new(body);
        *response.status_mut() = fallback.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, fallback.content_type.clone());
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        return (response, Outcome::Fallback, "fallback");
    }
    if let Some(answer) = failure.answer() {
        let mut response = Response::new(Body::full(answer.body.clone()));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers.clone();
        *response.extensions_mut() = answer.extensions.clone();
        return (response, Outcome::Error, failure.cause().as_str());
    }
    // RFC 9111 5.2.2.2: where a stored response may not be used without asking, and asking failed.
    let status =
        if copy_forbidden && !matches!(failure.cause(), Cause::Internal | Cause::Overloaded) {
            StatusCode::GATEWAY_TIMEOUT
        } else {
            failure.status()
        };
    let response = problem(route, request, status)
        .detail(words(failure.cause()))
        .retry_after(failure.retry_after())
        .write(written(route, request, failure))
        .response(&request.method, &request.headers);
    (response, Outcome::Error, failure.cause().as_str())
}

/// What a request that was to change something is told about how far it got.
fn written(route: &RouteConfig, request: &Parts, failure: &Failure) -> Option<Write> {
    let key = route.upstream.retry.idempotency_header.as_ref();
    let is_keyed = || key.is_some_and(|name| has_key(&request.headers, name));
    (!only_reads(request)).then(|| Write {
        sent: failure.sent(),
        idempotent: is_idempotent(&request.method) || is_keyed(),
    })
}

/// The answer where the client forbids asking and nothing stored may be used (RFC 9111 5.2.1.7).
pub(super) fn unsatisfiable(route: &RouteConfig, request: &Parts) -> Answer {
    let mut response = problem(route, request, StatusCode::GATEWAY_TIMEOUT)
        .detail("the request says only-if-cached, and no stored response may be used for it")
        .response(&request.method, &request.headers);
    CacheStatus {
        detail: Some("only-if-cached"),
        ..CacheStatus::default()
    }
    .append_to(response.headers_mut());
    Answer {
        response,
        note: Note::new(Outcome::Refused),
    }
}

fn problem(route: &RouteConfig, request: &Parts, status: StatusCode) -> Problem {
    let problem = Problem::new(status).message(route.message.clone());
    match request.headers.get("x-request-id") {
        Some(id) => problem.request_id(id.clone()),
        None => problem,
    }
}

/// Plain words for outsiders: what happened, nothing about whom we asked.
fn words(cause: Cause) -> &'static str {
    match cause {
        Cause::ConnectTimeout | Cause::ResponseTimeout | Cause::BodyTimeout | Cause::Deadline => {
            "the service behind this address did not answer in time"
        }
        Cause::BreakerOpen | Cause::BulkheadFull | Cause::QuotaExhausted | Cause::Drill => {
            "the service behind this address is not available at the moment"
        }
        Cause::Overloaded => "too many requests are being answered at the moment",
        Cause::RequestBody => "the request's content did not arrive whole",
        Cause::RequestTooLarge => "the request's content is larger than this proxy accepts",
        Cause::Internal => "something went wrong here",
        _ => "the service behind this address gave no usable answer",
    }
}
