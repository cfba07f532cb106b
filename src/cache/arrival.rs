//! Taking in: the body of a response that may be stored, at once or piece by piece.
//!
//! # Invariants
//!
//! - It is stored only when it arrived complete; until then everybody who asks for the key can read along.
//! - A body that drips does not capture those who come later, and one that turns out too large, or for which there is
//!   no room (`bodies_max`), is not kept: it streams on to those who read it.

use std::sync::Arc;

use bytes::Bytes;
use http::{Extensions, HeaderMap, StatusCode, response};
use http_body_util::BodyExt;
use tokio::time::timeout_at;

use super::{
    aside::Aside,
    entry::{Entry, StoredResponse, with_places},
    fetch::Fetch,
    fetched::{Brought, Fetched, Reply, Streaming},
    freshness::Facts,
    graphql,
    judgement::Judgement,
    key::{kept_path_and_query, variant_key},
    purge::Labels,
    range::{self, Part},
    read_along,
    storable::storable,
    vary::Vary,
};
use crate::{
    clock::Timestamp,
    http::{
        Body,
        bodies::Held,
        fetch::{JudgedGood, MappedBy},
    },
    store::Key,
};

/// Held for readers of a body that is too large to be stored. The slowest reader sets the pace.
const WINDOW_BYTES: u64 = 256 << 10;

/// A storable response whose body is on its way.
pub(super) struct Arrival {
    pub(super) head: response::Parts,
    pub(super) facts: Facts,
    pub(super) request_time: Timestamp,
    pub(super) vary: Vary,
    pub(super) attempts: u32,
}

impl Arrival {
    /// What the store gets: a part put together with the one that is there already, where they belong together.
    fn into_stored(
        self,
        body: Bytes,
        trailers: Option<&HeaderMap>,
        fetch: &Fetch,
    ) -> StoredResponse {
        let route = &fetch.cache.route;
        let body = own(body);
        let is_part = self.head.status == StatusCode::PARTIAL_CONTENT;
        let part = is_part.then(|| Part::received(&fetch.parts.headers, &self.head.headers, &body));
        // Behind a part there are none: they are about the whole.
        let trailers = trailers.filter(|_| !is_part);
        let stored = StoredResponse {
            aside: Aside::of(&self.head.extensions, trailers),
            judgement: judgement(&self.head.extensions),
            status: self.head.status,
            headers: with_places(&self.head.headers),
            body,
            part,
            url: kept_path_and_query(&route.key, &fetch.parts.uri).into(),
            request_time: self.request_time,
            dead_at: self.facts.dead_at(&route.policy),
            facts: self.facts,
            labels: Labels::unknown(),
        };
        let combined = match fetch.part.as_deref() {
            Some(Entry::Response(older)) if is_part => range::combined(older, &stored),
            _ => None,
        };
        // The fields of both may forbid what those of the newer alone allow, or tell variants apart otherwise.
        let fits = |combined: &StoredResponse| {
            let (request, headers) = (&fetch.parts.headers, &combined.headers);
            combined.body.len() as u64 <= fetch.cache.shared.body_bytes_max
                && storable(route, request, true, headers, &combined.facts)
                    .is_ok_and(|vary| vary == self.vary)
        };
        let combined = combined.filter(fits).map(|combined| StoredResponse {
            dead_at: combined.facts.dead_at(&route.policy),
            ..combined
        });
        combined.unwrap_or(stored)
    }
}

/// What the layers below found out about it.
pub(super) fn judgement(head: &Extensions) -> Judgement {
    let good_under = head.get().map_or(0, |JudgedGood(contract)| *contract);
    let mapped_by = head.get().map_or(0, |MappedBy(mapping)| *mapping);
    Judgement::new(good_under, mapped_by)
}

/// A body in memory of its own: a piece of a read buffer would keep all of the buffer. Larger ones were put together
/// from pieces and have their own already.
fn own(body: Bytes) -> Bytes {
    const READ_BUFFER_MAX: usize = 512 << 10;
    if body.len() > READ_BUFFER_MAX {
        return body;
    }
    Bytes::copy_from_slice(&body)
}

impl Fetch {
    /// At once if it is all here, else piece by piece.
    pub(super) async fn take_in(mut self, arrival: Arrival, body: Body) {
        let (vary, attempts) = (arrival.vary.clone(), arrival.attempts);
        let is_part = arrival.head.status == StatusCode::PARTIAL_CONTENT;
        let brought = if self.ranged && !is_part {
            Brought::WholeForPart
        } else {
            Brought::Response
        };
        if let Some(bytes) = body.bytes() {
            let held = arrival.head.extensions.get::<Held>().cloned();
            let stored = arrival.into_stored(bytes, body.trailers(), &self);
            let fetched = self.store(stored, vary, brought, attempts).await;
            if let Some(held) = held {
                // From now on the bytes are the store's, which has a bound of its own.
                held.release();
            }
            return self.settle(fetched);
        }
        let (writer, along) =
            read_along::channel(body.exact_len(), WINDOW_BYTES, &self.cache.shared.bodies);
        let streaming = Streaming {
            key: self.storage_key(&vary),
            vary: Arc::new(vary.clone()),
            head: Arc::new((arrival.head.status, arrival.head.headers.clone())),
            aside: Aside::of(&arrival.head.extensions, None).map(Arc::from),
            age: arrival.facts.age(self.cache.shared.clock.now()),
            body: along.clone(),
            attempts,
            labels: Arc::new(self.labels_for_now(&arrival.head.headers)),
        };
        // Its reader is taken before anything is read: it must not come too late for its own answer.
        if let Some(first) = along.reader() {
            self.reply(Reply::Reading(streaming.clone(), first));
        }
        self.settle(Fetched::Streaming(streaming));
        match self.pump(body, &writer).await {
            None => self.rest_key(None),
            // Too large to be judged before it was passed on; it is judged before it is kept.
            Some(bytes) if self.is_failure(&arrival.head, &bytes).await => {
                self.rest_key(None);
                writer.end(Ok(()));
            }
            Some(bytes) => {
                let trailers = writer.collected_trailers();
                let stored = arrival.into_stored(bytes, trailers.as_ref(), &self);
                self.store(stored, vary, brought, attempts).await;
                // Readers learn of the end only now: who asks again after it finds the response in the store.
                writer.end(Ok(()));
            }
        }
    }

    async fn is_failure(&self, head: &response::Parts, body: &Bytes) -> bool {
        let judges = self.cache.route.graphql;
        judges && graphql::JUDGE.judge(head, body.clone()).await.is_some()
    }

    /// Moves the body to its readers. Returns it, its end not yet told, if it arrived whole and small enough to be stored.
    async fn pump(&mut self, mut body: Body, writer: &read_along::Writer) -> Option<Bytes> {
        let (mut read_bytes, mut keeping) = (0u64, true);
        // A body that drips must not capture everybody who comes later: after this the next one asks anew.
        let joinable_until = self.started + self.cache.route.deadline;
        loop {
            let frame = if self.guard.is_some() {
                let Ok(frame) = timeout_at(joinable_until, body.frame()).await else {
                    self.guard = None;
                    continue;
                };
                frame
            } else {
                body.frame().await
            };
            match frame.map(|frame| frame.map(http_body::Frame::into_data)) {
                None if keeping => return Some(writer.collected()),
                None => {
                    writer.end(Ok(()));
                    return None;
                }
                Some(Ok(Ok(piece))) => {
                    read_bytes += piece.len() as u64;
                    let has_room = writer.push(piece);
                    let is_too_large = read_bytes > self.cache.shared.body_bytes_max;
                    if keeping && (is_too_large || !has_room) {
                        keeping = false;
                        if is_too_large {
                            self.cache.shared.marks.set_unshared(self.key, true);
                        }
                        self.guard = None;
                        writer.stop_keeping();
                    }
                    if !writer.room().await {
                        return None;
                    }
                }
                Some(Ok(Err(frame))) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        writer.trailers(trailers);
                    }
                }
                Some(Err(error)) => {
                    writer.end(Err(error));
                    return None;
                }
            }
        }
    }

    /// Where a response with this `Vary` is stored.
    pub(super) fn storage_key(&self, vary: &Vary) -> Key {
        match vary {
            Vary::Fields(fields) => variant_key(&self.primary, fields, &self.parts.headers),
            Vary::Nothing | Vary::Anything => self.primary,
        }
    }
}
