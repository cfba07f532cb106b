//! How a fetch ended, and the answers that are made of it.

use std::{borrow::Cow, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};

use super::{
    answer::{self, Answer, Note},
    aside::Aside,
    entry::Entry,
    key::variant_key,
    lookup::spread,
    purge::Labels,
    read_along::ReadAlong,
    status::{CacheStatus, set_age},
    storable::{NotStored, may_answer},
    validate,
    vary::Vary,
};
use crate::{
    clock::Timestamp,
    config::RouteConfig,
    failure::Failure,
    http::{Body, Response},
    observe::Outcome,
    store::Key,
};

/// How a fetch ended, for everybody who waits for it.
#[derive(Clone)]
pub(super) enum Fetched {
    /// Complete, and stored unless something overtook it.
    Stored(Stored),
    /// On its way; can be read along.
    Streaming(Streaming),
    /// Answered, but not for others.
    Unshared {
        /// Because of what the one who asked had sent: others may fare better.
        by_request: bool,
    },
    /// Not answered.
    Failed(Failure),
}

/// The same for the one who started it.
pub(super) enum Reply {
    /// What everybody gets.
    Shared(Fetched),
    /// The same, and cookies that came for this client alone.
    WithCookies(Fetched, Vec<HeaderValue>),
    /// The first reader of a body that arrives: taken before the rest of it is let in.
    Reading(Streaming, Body),
    /// An answer for this client alone.
    Own(Own),
}

/// What came of waiting for a fetch.
pub(super) enum Waited {
    /// There is a reply.
    Reply(Reply),
    /// `stale_after` passed; the fetch goes on.
    TooSlow,
    /// The fetch ended without any outcome.
    GivenUp,
    /// There was no room for another fetch.
    Shed(Failure),
}

/// What a request does after waiting.
pub(super) enum Next {
    /// It has its answer.
    Answered(Answer),
    /// There is none from upstream.
    Failed(Failure),
    /// What it waited for was for others: it looks and joins again, under this key if it is known.
    Again(Option<Key>),
    /// Waiting for others is pointless.
    Alone,
}

/// What a fetch that ended well brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brought {
    /// A response of its own.
    Response,
    /// A 304: the stored one holds.
    Confirmation,
    /// A whole response to a request for a part: for the one who asked it stays one.
    WholeForPart,
}

/// A response that is complete.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) key: Key,
    pub(super) vary: Arc<Vary>,
    pub(super) entry: Arc<Entry>,
    pub(super) brought: Brought,
    /// False where the target was invalidated while it was fetched.
    pub(super) kept: bool,
    pub(super) attempts: u32,
}

/// A response that arrives.
#[derive(Clone)]
pub(super) struct Streaming {
    pub(super) key: Key,
    pub(super) vary: Arc<Vary>,
    pub(super) head: Arc<(StatusCode, HeaderMap)>,
    /// Without trailers: the body brings them.
    pub(super) aside: Option<Arc<Aside>>,
    pub(super) age: Duration,
    pub(super) body: ReadAlong,
    pub(super) attempts: u32,
    /// What purges know it by as long as it arrives.
    pub(super) labels: Arc<Labels>,
}

/// A response nobody else gets.
pub(super) struct Own {
    pub(super) response: Response,
    pub(super) reason: NotStored,
    pub(super) attempts: u32,
}

/// The key under which a response with this `Vary` answers this request.
fn selected(primary: &Key, vary: &Vary, request: &HeaderMap) -> Option<Key> {
    match vary {
        Vary::Nothing => Some(*primary),
        Vary::Fields(fields) => Some(variant_key(primary, fields, request)),
        Vary::Anything => None,
    }
}

impl Stored {
    /// The answer to this request, or where to look instead.
    pub(super) fn conclude(
        &self,
        parts: &Parts,
        primary: &Key,
        route: &RouteConfig,
        now: Timestamp,
        status: CacheStatus,
    ) -> Next {
        let selected = selected(primary, &self.vary, &parts.headers);
        match &*self.entry {
            Entry::Response(stored) if !may_answer(route, &parts.headers, &stored.facts) => {
                Next::Alone
            }
            Entry::Response(stored) if selected == Some(self.key) => {
                let verdict = stored
                    .facts
                    .judge(&route.policy, spread(&self.key), now, || 1.0);
                let revalidated = self.brought == Brought::Confirmation;
                let forward_status = if revalidated {
                    StatusCode::NOT_MODIFIED
                } else {
                    stored.status
                };
                let outcome = match (status.collapsed, revalidated) {
                    (true, _) => Outcome::Collapsed,
                    (false, true) => Outcome::Revalidated,
                    (false, false) => Outcome::Miss,
                };
                let status = CacheStatus {
                    forward_status: Some(forward_status),
                    ttl_secs: Some(verdict.ttl_secs()),
                    stored: self.kept,
                    ..status
                };
                let note = Note {
                    attempts: self.attempts,
                    ..Note::new(outcome)
                };
                let mut request = Cow::Borrowed(&parts.headers);
                if self.brought == Brought::WholeForPart {
                    request.to_mut().remove(header::RANGE);
                }
                Next::Answered(answer::from_stored(
                    &parts.method,
                    &request,
                    stored,
                    verdict.age,
                    &status,
                    note,
                ))
            }
            _ => Next::Again(selected),
        }
    }
}

impl Streaming {
    /// The answer to this request, or where to look instead.
    pub(super) fn conclude(&self, parts: &Parts, primary: &Key, status: CacheStatus) -> Next {
        let selected = selected(primary, &self.vary, &parts.headers);
        if selected != Some(self.key) {
            return Next::Again(selected);
        }
        match self.body.reader() {
            Some(body) => Next::Answered(self.answer(parts, body, status)),
            None => Next::Alone,
        }
    }

    /// The answer to this request, read through this body.
    pub(super) fn answer(&self, parts: &Parts, body: Body, status: CacheStatus) -> Answer {
        let (code, headers) = &*self.head;
        let not_modified = validate::is_not_modified(&parts.headers, *code, headers);
        let mut response = Response::new(if not_modified { Body::empty() } else { body });
        *response.status_mut() = if not_modified {
            StatusCode::NOT_MODIFIED
        } else {
            *code
        };
        if let Some(aside) = self.aside.as_ref().filter(|_| !not_modified) {
            aside.say(&mut response, false);
        }
        *response.headers_mut() = headers.clone();
        let headers = response.headers_mut();
        if not_modified {
            validate::into_not_modified(headers);
        }
        set_age(headers, self.age);
        let outcome = if status.collapsed {
            Outcome::Collapsed
        } else {
            Outcome::Miss
        };
        CacheStatus {
            forward_status: Some(*code),
            ..status
        }
        .append_to(headers);
        let note = Note {
            attempts: self.attempts,
            age: Some(self.age),
            ..Note::new(outcome)
        };
        Answer { response, note }
    }
}

impl Own {
    /// The answer to the one who asked.
    pub(super) fn into_answer(self, parts: &Parts, status: CacheStatus) -> Answer {
        let mut response = self.response;
        CacheStatus {
            forward_status: Some(response.status()),
            detail: Some(self.reason.as_str()),
            ..status
        }
        .append_to(response.headers_mut());
        if validate::is_not_modified(&parts.headers, response.status(), response.headers()) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Body::empty();
            validate::into_not_modified(response.headers_mut());
        }
        let note = Note {
            attempts: self.attempts,
            ..Note::new(Outcome::Pass)
        };
        Answer { response, note }
    }
}
