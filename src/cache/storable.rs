//! May this response be stored, and shared with others who ask the same?
//!
//! Pure. RFC 9111 3 and 3.5, for a shared cache.
//!
//! - Departure, less reusable: a response with `Set-Cookie` is shared only if it says `public` or `s-maxage`, or the
//!   route overrides (then it is stored without the cookie). 7.3 leaves this to the origin's care; vendors are careless.
//! - Departure, less reusable: without any lifetime from origin or policy, an answer to a request with `Cookie` is not
//!   stored: nobody said that it is the same for everyone.
//!
//! # Invariants
//!
//! - `no-store` and `private` end the decision unless the route overrides in writing.
//! - `Authorization` is never overridden: only the origin (3.5) or the route's key, which then holds it, shares.

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::{
    control::RequestDirectives,
    freshness::{Facts, is_heuristically_cacheable},
    vary::Vary,
};
use crate::{
    config::{ForwardedPolicy, RouteConfig},
    http::forwarded,
};

/// Why a response is not stored. The word is shown to operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStored {
    /// Interim, a part nobody asked for, an error about a condition or a range, a status with no meaning for a cache (RFC
    /// 9111 3), or one that `must-understand` asks us to know and we do not.
    Status,
    /// The request had a condition, and the answer is to that.
    Condition,
    /// An error to a path in another spelling than the key's: to whoever spells it as usual it may be none.
    Spelling,
    /// The response says `no-store`.
    NoStore,
    /// The request does.
    RequestNoStore,
    /// `private`.
    Private,
    /// The request had `Authorization` (RFC 9111 3.5).
    Authorization,
    /// The request had `Cookie`, and nobody named a lifetime.
    Cookie,
    /// `Set-Cookie`, and nothing that says that it is for everybody.
    SetCookie,
    /// `Vary: *`.
    VaryAnything,
    /// An endless stream (`text/event-stream`).
    Stream,
    /// Neither a lifetime nor a status that may be kept without one.
    NoLifetime,
    /// Larger than `body_max`.
    TooLarge,
    /// A part or encoded, on a route that looks into bodies.
    Unjudged,
}

impl NotStored {
    /// All of them, in the order in which an answer is held against them.
    pub(super) const ALL: [Self; 13] = [
        Self::Unjudged,
        Self::Status,
        Self::NoStore,
        Self::Private,
        Self::RequestNoStore,
        Self::Authorization,
        Self::Stream,
        Self::SetCookie,
        Self::NoLifetime,
        Self::Cookie,
        Self::VaryAnything,
        Self::TooLarge,
        Self::Condition,
    ];

    /// Whether the reason lies in what this client sent: another's request may get an answer for everybody.
    pub(super) fn is_about_request(self) -> bool {
        matches!(
            self,
            Self::RequestNoStore
                | Self::Authorization
                | Self::Cookie
                | Self::Condition
                | Self::Spelling
        )
    }

    /// Whether `override` makes it give way.
    pub(super) fn gives_way(self) -> bool {
        matches!(
            self,
            Self::NoStore | Self::Private | Self::RequestNoStore | Self::SetCookie
        )
    }

    /// What is not stored for this reason, and the section that says so; for operators.
    pub(super) fn about(self) -> (&'static str, &'static str) {
        match self {
            Self::Status => (
                "an interim response, a part nobody asked for, an error about a condition or a range, a status that `must-understand` asks us to know and we do \
                 not; beside a good copy, any error but 404 and 410",
                "RFC 9111 3",
            ),
            Self::Condition => ("an answer to the client's own condition", "RFC 9111 4.3.3"),
            Self::Spelling => (
                "an error to a path that the client spelled otherwise than the key does",
                "RFC 3986 6.2.2",
            ),
            Self::NoStore => ("the response says `no-store`", "RFC 9111 5.2.2.5"),
            Self::RequestNoStore => ("the request says `no-store`", "RFC 9111 5.2.1.5"),
            Self::Private => ("the response says `private`", "RFC 9111 5.2.2.7"),
            Self::Authorization => (
                "the request had `Authorization`, the key does not hold it, and the response says none of `public`, \
                 `must-revalidate`, `s-maxage`",
                "RFC 9111 3.5",
            ),
            Self::Cookie => (
                "the request had a `Cookie` that the key does not hold, and nobody named a lifetime",
                "RFC 9111 3",
            ),
            Self::SetCookie => (
                "the response has `Set-Cookie` and says neither `public` nor `s-maxage`",
                "RFC 9111 7.3",
            ),
            Self::VaryAnything => ("the response says `Vary: *`", "RFC 9111 4.1"),
            Self::Stream => ("an endless stream (`text/event-stream`)", "RFC 9111 3"),
            Self::NoLifetime => (
                "nobody named a lifetime, and the status lets nobody guess one or counts as a failure",
                "RFC 9111 3",
            ),
            Self::TooLarge => ("the body is larger than `store.body_max`", "RFC 9111 3"),
            Self::Unjudged => (
                "a part, or encoded, on a route that looks into bodies",
                "RFC 9111 3",
            ),
        }
    }

    /// The word for it in `Cache-Status`: a token.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Condition => "condition",
            Self::Spelling => "spelling",
            Self::NoStore => "no-store",
            Self::RequestNoStore => "request-no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::Cookie => "cookie",
            Self::SetCookie => "set-cookie",
            Self::VaryAnything => "vary",
            Self::Stream => "stream",
            Self::NoLifetime => "no-lifetime",
            Self::TooLarge => "too-large",
            Self::Unjudged => "unjudged",
        }
    }
}

/// Decides for the response to a GET with these request and response heads. `ranged`: the upstream was asked for a part,
/// so that a 206 is one (RFC 9111 3.3). Of a response with an encoded body that
/// forgets to say so, the variants are told apart by `Accept-Encoding` all the same: others could not read it.
pub(super) fn storable(
    route: &RouteConfig,
    request: &HeaderMap,
    ranged: bool,
    response: &HeaderMap,
    facts: &Facts,
) -> Result<Vary, NotStored> {
    let overrides = route.policy.override_origin;
    let (policy, status) = (&route.policy, facts.status);
    let directives = &facts.directives;
    let is_part = status == StatusCode::PARTIAL_CONTENT;
    if !is_final(status) || (is_part && !ranged) || is_about_conditions(status) {
        return Err(NotStored::Status);
    }
    // RFC 9111 5.2.2.3: only for caches that know the status; those ignore `no-store` beside it.
    if directives.must_understand && !is_understood(status) {
        return Err(NotStored::Status);
    }
    let counts = |reason: NotStored| !(overrides && reason.gives_way());
    if counts(NotStored::NoStore) && directives.no_store && !directives.must_understand {
        return Err(NotStored::NoStore);
    }
    if counts(NotStored::Private) && directives.private {
        return Err(NotStored::Private);
    }
    if counts(NotStored::RequestNoStore) && RequestDirectives::parse(request).no_store {
        return Err(NotStored::RequestNoStore);
    }
    if has_unkeyed_authorization(route, request) && !directives.shares_authorized() {
        return Err(NotStored::Authorization);
    }
    if is_event_stream(response) {
        return Err(NotStored::Stream);
    }
    let explicit = facts.origin_lifetime().is_some();
    let shared_in_writing = !counts(NotStored::SetCookie)
        || directives.public
        || directives.s_maxage.is_some()
        || (policy.share_set_cookie && explicit);
    if response.contains_key(header::SET_COOKIE) && !shared_in_writing {
        return Err(NotStored::SetCookie);
    }
    // A policy's own lifetime is for answers: an error or a redirect is kept only where the origin says so, or the policy
    // speaks of its status.
    let kept_without = !facts.failing
        && (directives.public
            || is_heuristically_cacheable(status)
            || status == StatusCode::PARTIAL_CONTENT);
    if !explicit && policy.negative.of(status).is_none() && !kept_without {
        return Err(NotStored::NoLifetime);
    }
    if facts.failing && facts.lifetime(policy).unwrap_or_default().is_zero() {
        return Err(NotStored::NoLifetime);
    }
    // Chosen cookies are in the key, and no others were sent. Beside others a guess is nobody's word that the answer is the
    // same for everyone.
    let has_unkeyed_cookie = route.key.cookies.is_none() && request.contains_key(header::COOKIE);
    if facts.named_lifetime(policy).is_none() && has_unkeyed_cookie {
        return Err(NotStored::Cookie);
    }
    match Vary::parse(response) {
        Vary::Anything => Err(NotStored::VaryAnything),
        vary if tells_of_client(route, &vary) => Err(NotStored::VaryAnything),
        vary if response.contains_key(header::CONTENT_ENCODING) => {
            Ok(vary.and(header::ACCEPT_ENCODING))
        }
        vary => Ok(vary),
    }
}

/// Whether a response varies by what the upstream is told about its client: put on below the cache, it is in no key.
fn tells_of_client(route: &RouteConfig, vary: &Vary) -> bool {
    let Vary::Fields(fields) = vary else {
        return false;
    };
    let mut names = fields.iter().map(HeaderName::as_str);
    route.forwarded != ForwardedPolicy::Off && names.any(forwarded::is_about_client)
}

/// Whether a request carries credentials that the route's key does not hold (RFC 9111 3.5).
pub(super) fn has_unkeyed_authorization(route: &RouteConfig, request: &HeaderMap) -> bool {
    request.contains_key(header::AUTHORIZATION)
        && !route.key.headers.contains(&header::AUTHORIZATION)
}

/// Whether a stored response may answer a request with these fields. Departure, less reusable: RFC 9111 3.5 lets an
/// answer to an anonymous request serve one with `Authorization`; vendors whose prices depend on the account forget
/// `Vary`, so here it does so only where the origin says that it is for everybody.
pub(super) fn may_answer(route: &RouteConfig, request: &HeaderMap, facts: &Facts) -> bool {
    !has_unkeyed_authorization(route, request) || facts.directives.shares_authorized()
}

/// 1xx are not final, and a 304 is about another response.
fn is_final(status: StatusCode) -> bool {
    !status.is_informational() && status != StatusCode::NOT_MODIFIED
}

/// Answers to a condition, a range or an expectation that is not in the key (RFC 9110 15.5.13, 15.5.17, 15.5.18): whoever
/// asks without one would get an error that he did not cause, for as long as it is fresh.
fn is_about_conditions(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::PRECONDITION_FAILED
            | StatusCode::RANGE_NOT_SATISFIABLE
            | StatusCode::EXPECTATION_FAILED
    )
}

/// Statuses whose meaning for a cache we know (RFC 9111 5.2.2.3): those of RFC 9110 15 and RFC 6585. An unknown one may
/// bring rules of its own.
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=206 | 300..=305 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 428 | 429 | 431 | 500..=505 | 511
    )
}

fn is_event_stream(response: &HeaderMap) -> bool {
    response
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            let essence = value.split(';').next().unwrap_or_default();
            essence.trim().eq_ignore_ascii_case("text/event-stream")
        })
}

#[cfg(test)]
#[path = "storable_tests.rs"]
mod tests;
