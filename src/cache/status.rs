//! `Cache-Status` (RFC 9211), `Age` (RFC 9111 5.1) and `Proxy-Status` (RFC 9209): every answer explains itself.
//!
//! Pure. `Cache-Status` is appended after the members of caches nearer the origin, as RFC 9211 2 orders.

use std::{fmt::Write as _, io::Write as _, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::freshness::Verdict;
use crate::failure::{Cause, Failure};

/// RFC 9211.
pub(super) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// RFC 9209.
pub(super) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Why a request was forwarded (RFC 9211 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forward {
    /// The route or the request makes the cache stand aside.
    Bypass,
    /// The method is one a cache cannot answer.
    Method,
    /// Nothing stored for this URI.
    UriMiss,
    /// Something stored, but for other request fields.
    VaryMiss,
    /// The request's own directives asked for it.
    Request,
    /// Stored, and stale.
    Stale,
    /// A range, and no whole response to take it from.
    Partial,
}

impl Forward {
    fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

/// Our member of `Cache-Status`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CacheStatus {
    /// `None`: a hit.
    pub forward: Option<Forward>,
    /// What the upstream answered, where that is not what the client gets anyway or is worth knowing.
    pub forward_status: Option<StatusCode>,
    /// Seconds of freshness left, negative when stale.
    pub ttl_secs: Option<i64>,
    /// The answer was stored.
    pub stored: bool,
    /// The request waited for another's fetch.
    pub collapsed: bool,
    /// A token that says more (`stale-if-error`, `breaker_open`).
    pub detail: Option<&'static str>,
    /// Whether the cache had any part in this answer; a refused or failed request has no `hit`.
    pub hit: bool,
}

impl CacheStatus {
    /// The answer came from the store without asking.
    pub(super) fn hit(verdict: &Verdict) -> Self {
        Self {
            hit: true,
            ttl_secs: Some(verdict.ttl_secs()),
            ..Self::default()
        }
    }

    /// The request was forwarded.
    pub(super) fn forwarded(forward: Forward) -> Self {
        Self {
            forward: Some(forward),
            ..Self::default()
        }
    }

    /// Appends this member.
    pub(super) fn append_to(&self, headers: &mut HeaderMap) {
        // Longest: all parameters, 20 digits of ttl and the longest detail; a write beyond it would be cut, not panic.
        let mut text = [0u8; 160];
        let mut rest = &mut text[..];
        let written = self.write(&mut rest);
        let left = rest.len();
        let end = text.len() - left;
        debug_assert!(written.is_ok(), "a Cache-Status member fits its buffer");
        if let Ok(value) = HeaderValue::from_bytes(&text[..end]) {
            match headers.get_mut(CACHE_STATUS) {
                // The place that a stored response keeps for it.
                Some(place) if place.is_empty() => *place = value,
                _ => {
                    headers.append(CACHE_STATUS, value);
                }
            }
        }
    }

    fn write(&self, out: &mut &mut [u8]) -> std::io::Result<()> {
        out.write_all(b"larder")?;
        if self.hit {
            out.write_all(b"; hit")?;
        }
        if let Some(forward) = self.forward {
            write!(out, "; fwd={}", forward.as_str())?;
        }
        if let Some(status) = self.forward_status {
            write!(out, "; fwd-status={}", status.as_u16())?;
        }
        if let Some(ttl) = self.ttl_secs {
            write!(out, "; ttl={ttl}")?;
        }
        if self.stored {
            out.write_all(b"; stored")?;
        }
        if self.collapsed {
            out.write_all(b"; collapsed")?;
        }
        if let Some(detail) = self.detail {
            write!(out, "; detail={detail}")?;
        }
        Ok(())
    }
}

/// Sets `Age` in whole seconds.
pub(super) fn set_age(headers: &mut HeaderMap, age: Duration) {
    headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
}

/// Appends our `Proxy-Status` member for a failure behind this answer: what RFC 9209 has a word for, and as `details` the
/// words of the log and the metrics. Names no upstream and no detail an outsider should not see.
pub(super) fn append_proxy_status(headers: &mut HeaderMap, failure: &Failure) {
    let mut member = "larder".to_owned();
    // Writing into a string cannot fail.
    let _ = match (failure.cause(), failure.cause().proxy_status_error()) {
        (Cause::Status(status) | Cause::Contract(status), _) => {
            write!(member, "; received-status={}", status.as_u16())
        }
        (Cause::GraphqlErrors, _) => member.write_str("; received-status=200"),
        (_, Some(error)) => write!(member, "; error={error}"),
        (_, None) => Ok(()),
    };
    // An sf-string (RFC 9651 3.3.3) without a byte that would have to be escaped: three closed sets of words.
    let _ = write!(
        member,
        "; details=\"{}; attempts={}; sent={}\"",
        failure.cause().as_str(),
        failure.attempts(),
        failure.sent().as_str()
    );
    if let Ok(value) = HeaderValue::try_from(member) {
        headers.append(PROXY_STATUS, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_written_as_rfc9211_spells_it() {
        let stale = CacheStatus {
            forward: Some(Forward::Stale),
            forward_status: Some(StatusCode::SERVICE_UNAVAILABLE),
            ttl_secs: Some(-12),
            stored: true,
            collapsed: true,
            detail: Some("stale-if-error"),
            hit: false,
        };
        let hit = CacheStatus {
            hit: true,
            ttl_secs: Some(7),
            ..CacheStatus::default()
        };
        for (status, want) in [
            (hit, "larder; hit; ttl=7"),
            (
                CacheStatus::forwarded(Forward::UriMiss),
                "larder; fwd=uri-miss",
            ),
            (
                stale,
                "larder; fwd=stale; fwd-status=503; ttl=-12; stored; collapsed; detail=stale-if-error",
            ),
        ] {
            let mut headers = HeaderMap::new();
            status.append_to(&mut headers);
            assert_eq!(headers[CACHE_STATUS], want);
        }
    }

    #[test]
    fn a_failure_is_said_in_the_words_of_rfc9209_and_in_ours() {
        use crate::failure::Sent::{MayHaveActed, Nothing};
        let status = Cause::Status(StatusCode::SERVICE_UNAVAILABLE);
        for (cause, attempts, sent, want) in [
            (
                Cause::ConnectRefused,
                2,
                Nothing,
                "larder; error=connection_refused; details=\"connect_refused; attempts=2; sent=nothing\"",
            ),
            (
                status,
                1,
                MayHaveActed,
                "larder; received-status=503; details=\"status; attempts=1; sent=may_have_acted\"",
            ),
            (
                Cause::GraphqlErrors,
                3,
                MayHaveActed,
                "larder; received-status=200; details=\"graphql_errors; attempts=3; sent=may_have_acted\"",
            ),
            (
                Cause::BreakerOpen,
                0,
                Nothing,
                "larder; error=destination_unavailable; details=\"breaker_open; attempts=0; sent=nothing\"",
            ),
        ] {
            let mut headers = HeaderMap::new();
            let failure = Failure::new(cause, sent)
                .with_attempts(attempts)
                .with_source("http://10.0.0.7:9100 is nobody's business");
            append_proxy_status(&mut headers, &failure);
            assert_eq!(headers[PROXY_STATUS], want);
        }
    }
}
