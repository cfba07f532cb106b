//! Requests that ask by their content: QUERY always (RFC 10008), POST where the route says that it only reads.
//!
//! The content is read whole before anything is looked up, since it is part of the key (RFC 10008 2.7); what is sent on
//! is what the first who asked had sent. Where it cannot be part of a key (no `Content-Type`, too large, a condition or a
//! range) the request is passed on as it came.
//!
//! # Invariants
//!
//! - Nothing that was read is lost: content larger than `content_max` is passed on with what was read of it in front.
//! - Two contents have one key only if they are the same bytes, or JSON that differs in white space between tokens and in
//!   the order of members only (`canonical`); and only under one method, media type, encoding and language.
//!
//! Departure for POST, by the route's word (`cache_post`): RFC 9110 9.3.3 lets a POST's answer serve no other POST. Such a
//! request is treated as safe and idempotent: it invalidates nothing, is retried, and a stored answer stands in for it.
//! On a GraphQL route that holds for content that only queries (`graphql`); a mutation is any other POST, and ends no
//! answer that is stored by content.

use bytes::Bytes;
use http::{Method, Uri, header, request::Parts};
use tokio::time::Instant;

use super::{
    RouteCache,
    canonical::canonical,
    doubt::doubtful,
    graphql::only_queries,
    key::content_key,
    lookup::Found,
    pass::only_reads,
    validate::{has_condition, is_for_origin_only},
};
use crate::{
    failure::{Cause, Failure, Sent},
    http::{
        Body, BodyError, MediaType,
        fetch::Reads,
        method::is_query,
        whole::{Read, read_whole},
    },
    store::Key,
};

/// Longer content is parsed on a thread of its own.
const PARSE_AT_ONCE_BYTES: usize = 64 << 10;

/// The content of a request, whole; an extension of the request that asks by it.
#[derive(Clone, Debug)]
pub(super) struct Content {
    method: Method,
    bytes: Bytes,
    target: Key,
}

impl Content {
    /// As it came.
    pub(super) fn body(&self) -> Body {
        Body::full(self.bytes.clone())
    }

    /// The key of what is asked, as writes to it know it: an answer to QUERY ends with its target (RFC 9111 4.4), one to a POST that the route calls a question only by its age.
    fn written_as(&self) -> Option<Key> {
        is_query(&self.method).then_some(self.target)
    }

    /// Makes a request ask by this content.
    pub(super) fn ask_by(self, parts: &mut Parts) {
        parts.method = self.method.clone();
        parts.extensions.insert(Reads);
        parts.extensions.insert(self);
    }
}

/// How a request asks.
pub(super) enum Asking {
    /// By its target and fields.
    Plain,
    /// By its content too, under this key. The content is an extension of the request.
    ByContent(Key),
    /// Not a cache: it is passed on with this body.
    Elsewhere(Body),
    /// Its content did not arrive.
    Broken(Failure),
}

impl RouteCache {
    /// Finds out how a request asks, reads its content if that is part of it, and takes off what does not count.
    /// `target`: the key of the same request without content.
    pub(super) async fn asking(&self, parts: &mut Parts, body: Body, target: &Key) -> Asking {
        let asks_by_route = self.route.cache_post && parts.method == Method::POST;
        // What a GraphQL document does is known once it is read.
        if asks_by_route && !self.route.graphql {
            parts.extensions.insert(Reads);
        }
        if only_reads(parts) {
            self.keep_cookies(&mut parts.headers);
        }
        if !asks_by_route && !is_query(&parts.method) {
            let is_plain = !is_for_origin_only(&parts.method, &parts.headers)
                && http_body::Body::is_end_stream(&body);
            return if is_plain {
                Asking::Plain
            } else {
                Asking::Elsewhere(body)
            };
        }
        let Some(media_type) = MediaType::of(&parts.headers).filter(|_| can_be_keyed(parts)) else {
            return Asking::Elsewhere(body);
        };
        // Content that drips is passed on as it drips.
        let read_until = Instant::now() + self.route.deadline;
        let (bytes_max, bodies) = (self.route.content_bytes_max, &self.shared.bodies);
        let bytes = match read_whole(body, bytes_max, Some(read_until), bodies).await {
            Ok(Read::Whole(read)) => read.bytes,
            Ok(Read::Part(body) | Read::NoRoom(body)) => return Asking::Elsewhere(body),
            Err(error) => return Asking::Broken(broken(error)),
        };
        // Whoever waited to be told to send content has been told.
        parts.headers.remove(header::EXPECT);
        let question = Question {
            target: parts.uri.clone(),
            is_encoded: parts.headers.contains_key(header::CONTENT_ENCODING),
            is_graphql: self.route.graphql,
            media_type,
            bytes: bytes.clone(),
        };
        let Some((question, form)) = question.read().await else {
            return Asking::Elsewhere(Body::full(bytes));
        };
        let content = Content {
            method: parts.method.clone(),
            bytes,
            target: *target,
        };
        content.ask_by(parts);
        self.keep_cookies(&mut parts.headers);
        Asking::ByContent(question.key(target, parts, form.as_deref()))
    }
}

/// The key by which writes know what this request asks for.
pub(super) fn written_as(parts: &Parts, primary: &Key) -> Key {
    let content = parts.extensions.get::<Content>();
    content.and_then(Content::written_as).unwrap_or(*primary)
}

impl RouteCache {
    /// What was found for a request, unless it is an answer by content from before a write to its target (RFC 9111 4.4).
    ///
    /// Writes are remembered in memory, as many as marks: after a restart such an answer can be used until it is stale.
    pub(super) fn unless_written(&self, mut found: Found, parts: &Parts) -> Found {
        let content = parts.extensions.get::<Content>();
        let Some(target) = content.and_then(Content::written_as) else {
            return found;
        };
        let Some((stored, verdict)) = found.copy_and_verdict() else {
            return found;
        };
        let (shared, asked) = (&self.shared, stored.request_time);
        let now = shared.clock.now();
        let written = shared.marks.forgotten_at(&target);
        // What seems to come from the future was asked when the clock was wrong: nobody knows when.
        if written.is_some_and(|written| asked <= written || asked > now) {
            return Found::nothing(found.key, false);
        }
        if shared.is_doubted(&target, stored, now) {
            found.verdict = Some(doubtful(verdict));
        }
        found
    }
}

/// Content and what it takes to read it.
struct Question {
    target: Uri,
    is_encoded: bool,
    is_graphql: bool,
    media_type: MediaType,
    bytes: Bytes,
}

impl Question {
    /// With its canonical form, where it has one. `None`: it is no question.
    async fn read(self) -> Option<(Self, Option<Vec<u8>>)> {
        let at_once = self.bytes.len() <= PARSE_AT_ONCE_BYTES;
        let read = move || {
            let Self {
                target,
                media_type,
                bytes,
                ..
            } = &self;
            if self.is_graphql && (self.is_encoded || !only_queries(target, media_type, bytes)) {
                return None;
            }
            let is_json = media_type.is_json && !self.is_encoded;
            let form = if is_json { canonical(bytes) } else { None };
            Some((self, form))
        };
        if at_once {
            return read();
        }
        tokio::task::spawn_blocking(read).await.ok().flatten()
    }

    fn key(&self, target: &Key, parts: &Parts, form: Option<&[u8]>) -> Key {
        let (mark, content) = match form {
            Some(form) => (1, form),
            None => (0, &self.bytes[..]),
        };
        let text = self.media_type.as_str();
        content_key(target, &parts.method, &parts.headers, text, mark, content)
    }
}

/// Whether an answer to this request is one that others could get: whole, and under no condition of the origin's.
fn can_be_keyed(parts: &Parts) -> bool {
    let headers = &parts.headers;
    let is_plain_get = !is_for_origin_only(&Method::GET, headers);
    // To a POST a condition is an order (RFC 9110 13.2.1); to a QUERY it is what it is to a GET (RFC 10008 2.6).
    let has_order = parts.method == Method::POST && has_condition(headers);
    is_plain_get && !has_order && !headers.contains_key(header::RANGE)
}

fn broken(error: BodyError) -> Failure {
    let cause = match error {
        BodyError::TooLarge { .. } => Cause::RequestTooLarge,
        _ => Cause::RequestBody,
    };
    Failure::new(cause, Sent::Nothing).with_source(error)
}
