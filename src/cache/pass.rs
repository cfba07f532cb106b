//! Passing on: requests the cache cannot answer or share go straight through, bodies streamed both ways.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode, Version, header, request::Parts};
use tower::ServiceExt;

use super::{
    RouteCache,
    answer::{Answer, Note},
    cookies,
    invalidate::invalidates,
    key::kept_path_and_query,
    lookup::Found,
    post::StandIn,
    status::{CacheStatus, Forward},
};
use crate::{
    admission::Permit,
    failure::Failure,
    http::{
        Body, Request,
        fetch::{Attempts, FetchContext, Priority, Reads},
        hop,
        method::is_safe,
    },
    observe::Outcome,
};

/// RFC 9110 7.6.3: a gateway names itself, and the protocol it received, in what it sends on.
pub(super) fn add_via(received: Version, headers: &mut HeaderMap) {
    let via = match received {
        Version::HTTP_2 => "2 larder",
        Version::HTTP_10 => "1.0 larder",
        _ => "1.1 larder",
    };
    headers.append(header::VIA, HeaderValue::from_static(via));
}

/// Whether a request changes nothing: by its method, or because the route says so.
pub(super) fn only_reads(parts: &Parts) -> bool {
    is_safe(&parts.method) || parts.extensions.get::<Reads>().is_some()
}

/// Who is served where a client asks: whoever has a copy behind him goes last.
pub(super) fn priority(stale_copy: bool) -> Priority {
    match stale_copy {
        true => Priority::UserRevalidate,
        false => Priority::UserMiss,
    }
}

impl RouteCache {
    /// Sends the request on as it is and the answer back as it comes.
    pub(super) async fn pass(self: &Arc<Self>, parts: Parts, body: Body, why: Forward) -> Answer {
        self.pass_for(parts, body, why, None).await
    }

    /// The same. `found`: what is stored for it, where that was looked up.
    pub(super) async fn pass_for(
        self: &Arc<Self>,
        parts: Parts,
        body: Body,
        why: Forward,
        found: Option<&Found>,
    ) -> Answer {
        let status = CacheStatus::forwarded(why);
        // Places until the answer's head: a body that streams, for hours perhaps, is nobody's waiting.
        let _permits = match self.places() {
            Ok(permits) => permits,
            Err(failure) => {
                let failure = self.counted(failure);
                return self.fall_back(&parts, found, &failure, status).await;
            }
        };
        let mut request = Request::from_parts(parts.clone(), body);
        if only_reads(&parts) {
            *request.uri_mut() = self.target(&parts);
        }
        add_via(parts.version, request.headers_mut());
        let mut context = self.context(false);
        let stand_in = StandIn::of(self, &parts).filter(|_| !only_reads(&parts));
        let stand_in = stand_in.map(|stand_in| {
            let wishes = stand_in.wishes(&mut context);
            request.extensions_mut().insert(wishes.clone());
            (stand_in, wishes)
        });
        request.extensions_mut().insert(context);
        request.extensions_mut().insert(self.shared.bodies.clone());
        match self.below.clone().oneshot(request).await {
            Err(failure) => {
                let failure = self.counted(failure);
                self.doubt(&parts, &failure).await;
                self.fall_back(&parts, found, &failure, status).await
            }
            Ok(mut response) => {
                // What it switches to is for this client's connection (`upstream/client.rs` has looked at it).
                if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                    hop::strip_response(response.headers_mut());
                }
                let stand_in = stand_in.filter(|(stand_in, _)| stand_in.is_current());
                if !only_reads(&parts) && invalidates(&parts.method, response.status()) {
                    self.invalidate(&parts.uri, &parts.headers, response.headers())
                        .await;
                }
                let keeping =
                    stand_in.and_then(|(stand_in, wishes)| stand_in.keeping(&response, &wishes));
                if let Some(keeping) = keeping {
                    keeping.await;
                }
                let attempts = response
                    .extensions()
                    .get::<Attempts>()
                    .map_or(1, |attempts| attempts.0);
                status.append_to(response.headers_mut());
                Answer {
                    response,
                    note: Note {
                        attempts,
                        ..Note::new(Outcome::Pass)
                    },
                }
            }
        }
    }

    /// What a request takes that waits for an answer of its own.
    fn places(&self) -> Result<(Permit, Permit), Failure> {
        let waiting = self.admission.wait(Priority::UserMiss)?;
        Ok((waiting, self.admission.fetch(Priority::UserMiss)?))
    }

    /// What every fetch of this route says to the layers below; streamed unless more is asked for.
    pub(super) fn context(&self, stale_copy: bool) -> FetchContext {
        FetchContext {
            stale_copy,
            awaited: true,
            priority: priority(stale_copy),
            whole_bytes_max: None,
            unseen_before_whole: false,
            hold_back: None,
            deadline: self.route.deadline,
            attempt_timeout: self.route.attempt_timeout,
            slow_after: Some(self.route.slow_after),
        }
    }

    /// Takes the cookies that do not count off a request that reads. One that writes is nobody else's answer, and its
    /// session may hang on any of them.
    pub(super) fn keep_cookies(&self, headers: &mut HeaderMap) {
        if let Some(names) = &self.route.key.cookies {
            cookies::keep(headers, names);
        }
    }

    /// The target as the upstream should see it: without what does not count.
    pub(super) fn target(&self, parts: &Parts) -> http::Uri {
        let target = kept_path_and_query(&self.route.key, &parts.uri);
        // A part of a valid path and query is one; should that ever fail, the target stays as it came.
        target.parse().unwrap_or_else(|_| parts.uri.clone())
    }
}
