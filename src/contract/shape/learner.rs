//! What is heard of answers on their way out, and what is not.
//!
//! A layer asks [`Learner::asked`] on the way down and hands over on the way up ([`Question::heard`], or
//! [`Question::listen`] where the body still streams). That costs a check of a few fields, a hash of the target and clones
//! of `Bytes`; everything else happens on the thread `larder-drift` ([`super::shapes`]).
//!
//! # Invariants
//!
//! - Nobody waits for the learner: what there is no room for is not learnt, and counted.
//! - What may be personal is not learnt unless the route says so: answers marked `private` or `no-store` or with a cookie,
//!   and answers to credentials.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri, header};
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    bounds::DriftConfig,
    listen::Listening,
    queue::{Answer, Held, Queue},
    shapes::Route,
};
use crate::http::{Body, Response};

/// Why an answer is not learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skipped {
    /// Marked private, with a cookie, or to credentials.
    Private,
    /// More than `answers_per_second`.
    Rate,
    /// Longer than `body_max`.
    Large,
    /// Too much waits to be learnt.
    Full,
    /// Not JSON, though it says so; or encoded in another way than gzip.
    Unreadable,
}

impl Skipped {
    pub(super) const ALL: [(Self, &'static str); 5] = [
        (Self::Private, "private"),
        (Self::Rate, "rate"),
        (Self::Large, "large"),
        (Self::Full, "full"),
        (Self::Unreadable, "unreadable"),
    ];
}

/// Hears the answers of one route. Cheap to clone.
#[derive(Clone)]
pub struct Learner {
    pub(super) route: Arc<Route>,
    pub(super) drift: Arc<DriftConfig>,
    pub(super) queue: Arc<Queue>,
    pub(super) started: Instant,
}

/// A request whose answer may be learnt.
#[derive(Clone)]
pub struct Question {
    pub(super) learner: Learner,
    pub(super) document: u64,
}

// --- Learner, Question ---

impl Learner {
    /// Whether the answer to this request may be learnt.
    pub fn asked(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Question> {
        if *method != Method::GET {
            return None;
        }
        let has_credentials = || {
            headers.contains_key(header::AUTHORIZATION)
                || headers.contains_key(header::PROXY_AUTHORIZATION)
        };
        if !self.drift.private && has_credentials() {
            self.route.skip(Skipped::Private);
            return None;
        }
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        Some(Question {
            learner: self.clone(),
            document: xxh3_64(target.as_bytes()),
        })
    }
}

impl fmt::Debug for Learner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Learner").finish_non_exhaustive()
    }
}

impl Question {
    /// An answer that is whole and good, as the vendor sent it.
    pub fn heard(&self, status: StatusCode, headers: &HeaderMap, body: &Bytes) {
        let Some(is_gzip) = self.takes(status, headers) else {
            return;
        };
        let mut held = Held::new(&self.learner.queue);
        match body.len() as u64 {
            bytes if bytes > self.learner.drift.body_bytes_max => self.skip(Skipped::Large),
            bytes if !held.add(bytes) => self.skip(Skipped::Full),
            _ => self.clone().learn(Answer {
                question: self.clone(),
                pieces: vec![body.clone()],
                is_gzip,
                held,
            }),
        }
    }

    /// An answer that may still stream: it is heard as it passes, and learnt where it ends well.
    pub fn listen(self, response: Response) -> Response {
        let (head, body) = response.into_parts();
        if let Some(bytes) = body.bytes() {
            self.heard(head.status, &head.headers, &bytes);
            return Response::from_parts(head, body);
        }
        let body = match self.takes(head.status, &head.headers) {
            None => body,
            Some(_)
                if body
                    .exact_len()
                    .is_some_and(|bytes| bytes > self.bytes_max()) =>
            {
                self.skip(Skipped::Large);
                body
            }
            Some(is_gzip) => {
                let held = Held::new(&self.learner.queue);
                Body::stream(Listening::new(body, self, is_gzip, held))
            }
        };
        Response::from_parts(head, body)
    }

    /// Whether such an answer is learnt, and then whether it is compressed.
    fn takes(&self, status: StatusCode, headers: &HeaderMap) -> Option<bool> {
        let is_whole = status.is_success()
            && !matches!(
                status,
                StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::PARTIAL_CONTENT
            );
        if !is_whole || !is_json(headers) {
            return None;
        }
        if !self.learner.drift.private && is_private(headers) {
            self.skip(Skipped::Private);
            return None;
        }
        let Ok(is_gzip) = is_gzip(headers) else {
            self.skip(Skipped::Unreadable);
            return None;
        };
        Some(is_gzip)
    }

    /// Hands an answer over: at once, or to the few that wait until there is time for them.
    pub(super) fn learn(self, answer: Answer) {
        let learner = self.learner;
        let now = learner.started.elapsed();
        learner.route.hand_over(answer, &learner.queue, now);
    }

    pub(super) fn skip(&self, why: Skipped) {
        self.learner.route.skip(why);
    }

    pub(super) fn bytes_max(&self) -> u64 {
        self.learner.drift.body_bytes_max
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE);
    let essence = value
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

/// RFC 9111 5.2.2.5, 5.2.2.7; and a cookie is for one client.
fn is_private(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CACHE_CONTROL).iter();
    let mut directives = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    headers.contains_key(header::SET_COOKIE)
        || directives.any(|directive| {
            let name = directive.split('=').next().unwrap_or_default().trim();
            name.eq_ignore_ascii_case("private") || name.eq_ignore_ascii_case("no-store")
        })
}

/// `Err`: encoded in a way that is not read here.
fn is_gzip(headers: &HeaderMap) -> Result<bool, ()> {
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
    match (
        values.next().map(http::HeaderValue::as_bytes),
        values.next(),
    ) {
        (None, _) => Ok(false),
        (Some(value), None) if value.eq_ignore_ascii_case(b"identity") => Ok(false),
        (Some(value), None)
            if value.eq_ignore_ascii_case(b"gzip") || value.eq_ignore_ascii_case(b"x-gzip") =>
        {
            Ok(true)
        }
        _ => Err(()),
    }
}

#[cfg(test)]
#[path = "learner_tests.rs"]
mod tests;
