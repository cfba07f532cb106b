//! `Failure`: why an upstream gave no usable answer, and what had already happened by then.
//!
//! Below the cache every service answers `Result<Response, Failure>`; the cache is the only place where one becomes an
//! answer. The failure itself, not the call site, knows which status fits, whether another attempt is safe, and what
//! `Proxy-Status` (RFC 9209) calls it; logs and metrics use the same words.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Extensions, HeaderMap, Method, StatusCode};

use crate::http::{body::SharedError, method::is_idempotent};

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The name of the endpoint could not be resolved.
    Dns,
    /// The endpoint refused the connection, or cannot be reached.
    ConnectRefused,
    /// No connection within `connect_timeout`.
    ConnectTimeout,
    /// The TLS handshake failed: protocol or certificate.
    Tls,
    /// The connection was reset or closed before a response head arrived.
    ConnectionTerminated,
    /// No response head within the attempt's timeout.
    ResponseTimeout,
    /// The head came, the body did not end in time.
    BodyTimeout,
    /// The body ended before its framing said so.
    ResponseIncomplete,
    /// What arrived is not HTTP.
    Protocol,
    /// A complete response whose status the route counts as a failure.
    Status(StatusCode),
    /// A GraphQL answer with `errors`, or one that is no JSON, on a route that looks into them.
    GraphqlErrors,
    /// A complete answer with this status that breaks the route's contract; the breach is the source.
    Contract(StatusCode),
    /// All attempts together took longer than the route's `deadline`.
    Deadline,
    /// The circuit breaker is open: nothing was asked.
    BreakerOpen,
    /// `in_flight_max` requests are already with this upstream, or as many as this one's priority may add to.
    BulkheadFull,
    /// The upstream's quota leaves no room for this request now: nothing was asked.
    QuotaExhausted,
    /// Played on purpose (`drill`): nothing was asked although it could have been.
    Drill,
    /// This proxy has no room for it: `requests_max`, `fetches_max`, `bodies_max` or the route's `rate` (`admission`).
    Overloaded,
    /// The client's own request body broke off while it was passed on.
    RequestBody,
    /// The client did not send its request body in time.
    RequestTimeout,
    /// The client's own request body, of a length not told beforehand, turned out larger than `request_body_max`.
    RequestTooLarge,
    /// A defect of ours, survived.
    Internal,
}

impl Cause {
    /// The error type of RFC 9209 section 2.3; `None` where a status was received (then `received-status` says it).
    pub fn proxy_status_error(self) -> Option<&'static str> {
        Some(match self {
            Self::Dns => "dns_error",
            Self::ConnectRefused => "connection_refused",
            Self::ConnectTimeout => "connection_timeout",
            Self::Tls => "tls_protocol_error",
            Self::ConnectionTerminated => "connection_terminated",
            Self::ResponseTimeout | Self::Deadline => "http_response_timeout",
            Self::BodyTimeout => "connection_read_timeout",
            Self::ResponseIncomplete => "http_response_incomplete",
            Self::Protocol => "http_protocol_error",
            Self::Status(_) | Self::GraphqlErrors | Self::Contract(_) => return None,
            Self::BreakerOpen | Self::Drill => "destination_unavailable",
            Self::BulkheadFull | Self::QuotaExhausted | Self::Overloaded => {
                "connection_limit_reached"
            }
            Self::RequestBody | Self::RequestTimeout | Self::RequestTooLarge => {
                "http_request_error"
            }
            Self::Internal => "proxy_internal_error",
        })
    }

    /// The word for it in logs, metrics and problem details: snake_case, a closed set.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::ConnectionTerminated => "connection_terminated",
            Self::ResponseTimeout => "response_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::ResponseIncomplete => "response_incomplete",
            Self::Protocol => "protocol",
            Self::Status(_) => "status",
            Self::GraphqlErrors => "graphql_errors",
            Self::Contract(_) => "contract",
            Self::Deadline => "deadline",
            Self::BreakerOpen => "breaker_open",
            Self::BulkheadFull => "bulkhead_full",
            Self::QuotaExhausted => "quota_exhausted",
            Self::Drill => "drill",
            Self::Overloaded => "overloaded",
            Self::RequestBody => "request_body",
            Self::RequestTimeout => "request_timeout",
            Self::RequestTooLarge => "request_too_large",
            Self::Internal => "internal",
        }
    }

    /// Whether the client itself is why: nothing that could stand in was asked for properly.
    pub fn is_clients(self) -> bool {
        matches!(
            self,
            Self::RequestBody | Self::RequestTimeout | Self::RequestTooLarge
        )
    }

    /// Whether the upstream itself showed this, so that it counts for its breaker. What we refused to send does not.
    pub fn is_upstream(self) -> bool {
        !matches!(
            self,
            Self::BreakerOpen
                | Self::BulkheadFull
                | Self::QuotaExhausted
                | Self::Drill
                | Self::Overloaded
                | Self::RequestBody
                | Self::RequestTimeout
                | Self::RequestTooLarge
                | Self::Internal
        )
    }
}

/// How far the request got. Decides what may be tried again (RFC 9110 9.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sent {
    /// Not a byte of the request left us.
    Nothing,
    /// Some or all of it left; the upstream may have acted on it.
    MayHaveActed,
}

impl Sent {
    /// The word for it in `Proxy-Status`, logs, metrics and problem details: snake_case, a closed set.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::MayHaveActed => "may_have_acted",
        }
    }
}

/// The upstream's own error response, kept so that it can be passed on where nothing better exists.
#[derive(Clone, Debug)]
pub struct UpstreamAnswer {
    /// Its status.
    pub status: StatusCode,
    /// Its fields, hop-by-hop ones removed.
    pub headers: HeaderMap,
    /// What its head brought beside: a reason phrase of its own.
    pub extensions: Extensions,
    /// Its body, whole. At most `error_bytes_max` of the upstream's config.
    pub body: Bytes,
}

/// Why there is no usable answer from the upstream. Cheap to clone: several waiters share one.
#[derive(Clone)]
pub struct Failure(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    cause: Cause,
    sent: Sent,
    attempts: u32,
    one_endpoint: bool,
    /// Asking again would bring the same.
    stands: bool,
    /// The upstream did its part.
    excused: bool,
    retry_after: Option<Duration>,
    answer: Option<Arc<UpstreamAnswer>>,
    source: Option<SharedError>,
}

impl Failure {
    /// A failure of this cause, nothing more known.
    pub fn new(cause: Cause, sent: Sent) -> Self {
        Self(Arc::new(Inner {
            cause,
            sent,
            attempts: 0,
            one_endpoint: false,
            stands: false,
            excused: false,
            retry_after: None,
            answer: None,
            source: None,
        }))
    }

    /// A failure by status: the upstream answered, and its answer is kept.
    pub fn from_answer(answer: UpstreamAnswer) -> Self {
        let mut failure = Self::new(Cause::Status(answer.status), Sent::MayHaveActed);
        failure.inner().answer = Some(Arc::new(answer));
        failure
    }

    /// Adds the error underneath; shown in logs, never to clients.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.inner().source = Some(SharedError::new(source));
        self
    }

    /// Adds how long the upstream, or an open breaker, asks us to stay away.
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.inner().retry_after = retry_after;
        self
    }

    /// Says how many attempts were made in all, this one included.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.inner().attempts = attempts;
        self
    }

    /// Says that this is about one endpoint: another of the same upstream is well, and would have been asked next.
    #[must_use]
    pub fn of_one_endpoint(mut self) -> Self {
        self.inner().one_endpoint = true;
        self
    }

    /// Says that asking again would bring the same: no attempt follows.
    #[must_use]
    pub fn that_stands(mut self) -> Self {
        self.inner().stands = true;
        self
    }

    /// Says that this is no reason to leave the upstream alone: it answered, and in time.
    #[must_use]
    pub fn excused(mut self) -> Self {
        self.inner().excused = true;
        self
    }

    /// The same failure under another cause (an attempt cut off by the deadline keeps what was sent).
    #[must_use]
    pub fn with_cause(mut self, cause: Cause) -> Self {
        self.inner().cause = cause;
        self
    }

    /// Raises how far the request got: over several attempts the furthest counts, not the last.
    #[must_use]
    pub fn at_least_sent(mut self, sent: Sent) -> Self {
        if sent > self.sent() {
            self.inner().sent = sent;
        }
        self
    }

    /// The same failure without the upstream's own error response: for those who did not ask for it.
    #[must_use]
    pub fn without_answer(&self) -> Self {
        let mut failure = self.clone();
        failure.inner().answer = None;
        failure
    }

    fn inner(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.0)
    }

    /// What went wrong.
    pub fn cause(&self) -> Cause {
        self.0.cause
    }

    /// How far the request got.
    pub fn sent(&self) -> Sent {
        self.0.sent
    }

    /// Attempts made, 0 if nothing was tried.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Whether this says something about one endpoint only, and not about its upstream.
    pub fn is_of_one_endpoint(&self) -> bool {
        self.0.one_endpoint
    }

    /// Whether it is no reason to leave the upstream alone, although it is one to answer with something else.
    pub fn is_excused(&self) -> bool {
        self.0.excused
    }

    /// How long to stay away: the upstream's own `Retry-After` (capped), an open breaker's rest, or a second where this proxy
    /// itself is what is overloaded. Never invented for an upstream.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The upstream's own error response, where there was one.
    pub fn answer(&self) -> Option<&UpstreamAnswer> {
        self.0.answer.as_deref()
    }

    /// Whether another attempt cannot repeat a side effect (RFC 9110 9.2.2) and could go better than this one.
    pub fn is_retryable(&self, method: &Method) -> bool {
        self.cause().is_upstream()
            && self.cause() != Cause::Deadline
            && !self.0.stands
            && (self.sent() == Sent::Nothing || is_idempotent(method))
    }

    /// The status for a client that gets nothing better (RFC 9110 15.6.3 to 15.6.5).
    pub fn status(&self) -> StatusCode {
        match self.cause() {
            Cause::ConnectTimeout
            | Cause::ResponseTimeout
            | Cause::BodyTimeout
            | Cause::Deadline => StatusCode::GATEWAY_TIMEOUT,
            Cause::BreakerOpen
            | Cause::BulkheadFull
            | Cause::QuotaExhausted
            | Cause::Drill
            | Cause::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Cause::Status(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Cause::Status(StatusCode::GATEWAY_TIMEOUT) => StatusCode::GATEWAY_TIMEOUT,
            Cause::RequestBody => StatusCode::BAD_REQUEST,
            // RFC 9110 15.5.9.
            Cause::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Cause::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Cause::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_GATEWAY,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause() {
            Cause::Status(status) => write!(f, "upstream answered {}", status.as_u16()),
            cause => f.write_str(cause.as_str()),
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("cause", &self.0.cause)
            .field("sent", &self.0.sent)
            .field("attempts", &self.0.attempts)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_repeat_a_side_effect_is_retryable() {
        for (name, cause, sent, method, want) in [
            (
                "refused: any method, nothing was sent",
                Cause::ConnectRefused,
                Sent::Nothing,
                Method::POST,
                true,
            ),
            (
                "terminated: an idempotent method",
                Cause::ConnectionTerminated,
                Sent::MayHaveActed,
                Method::PUT,
                true,
            ),
            (
                "terminated: not a POST that may have been acted on",
                Cause::ConnectionTerminated,
                Sent::MayHaveActed,
                Method::POST,
                false,
            ),
            (
                "an open breaker is not asked again",
                Cause::BreakerOpen,
                Sent::Nothing,
                Method::GET,
                false,
            ),
            (
                "past the deadline there is no time",
                Cause::Deadline,
                Sent::MayHaveActed,
                Method::GET,
                false,
            ),
            (
                "a broken request body cannot be sent again",
                Cause::RequestBody,
                Sent::MayHaveActed,
                Method::PUT,
                false,
            ),
        ] {
            assert_eq!(
                Failure::new(cause, sent).is_retryable(&method),
                want,
                "{name}"
            );
        }
    }
}
