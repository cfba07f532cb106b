//! Hop-by-hop fields: what belongs to one connection and never travels on (RFC 9110 7.6.1).
//!
//! Used in both directions: on what clients send, before anything reads it, and on what upstreams answer, before
//! anything stores it.
//!
//! # Invariants
//!
//! - A message without such fields costs one look at each name and no allocation.
//! - `Connection` cannot nominate a field away that decides framing, routing or storability (see [`is_protected`]).
//!
//! `Trailer` stays: RFC 9110 does not list it, and trailers are passed on with the body they belong to.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONNECTION, TE},
};

/// Removes hop-by-hop fields from a request. `TE` is reduced to `trailers`, which is the one promise we can pass on.
pub fn strip_request(headers: &mut HeaderMap) {
    let wants_trailers = headers.contains_key(TE) && lists_token(headers, &TE, "trailers");
    strip(headers);
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes hop-by-hop fields from a response.
pub fn strip_response(headers: &mut HeaderMap) {
    strip(headers);
}

/// Whether a comma-separated field lists this token, in any case.
pub fn lists_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|listed| listed.eq_ignore_ascii_case(token))
}

/// Fields that stay even if `Connection` nominates them: without them a message would be framed, routed or stored
/// under other rules than its sender set, so their nomination is a mistake or an attack.
pub fn is_protected(name: &str) -> bool {
    matches!(
        name,
        "host"
            | "content-length"
            | "content-type"
            | "content-encoding"
            | "cache-control"
            | "vary"
            | "date"
            | "age"
    )
}

fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-authentication-info"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        for name in nominated(headers) {
            headers.remove(name);
        }
    }
    if headers.keys().any(|name| is_hop_by_hop(name.as_str())) {
        for name in HOP_BY_HOP {
            headers.remove(name);
        }
    }
}

const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-authentication-info",
    "te",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Names in `Connection` that may be removed. Empty, and without an allocation, for `close` and `keep-alive`.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    tokens(headers, &CONNECTION)
        .filter(|token| {
            !token.eq_ignore_ascii_case("close") && !token.eq_ignore_ascii_case("keep-alive")
        })
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        .filter(|name| !is_protected(name.as_str()))
        .collect()
}

/// The members of a comma-separated field, over all its lines, empty ones left out.
pub fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn hop_by_hop_fields_do_not_travel_on() {
        for (name, lines, want) in [
            (
                "end-to-end fields stay",
                &[("accept", "*/*"), ("trailer", "x-sum")][..],
                &["accept", "trailer"][..],
            ),
            (
                "the fields of RFC 9110 7.6.1 go",
                &[
                    ("connection", "close"),
                    ("keep-alive", "timeout=5"),
                    ("proxy-connection", "keep-alive"),
                    ("transfer-encoding", "chunked"),
                    ("upgrade", "websocket"),
                    ("accept", "*/*"),
                ],
                &["accept"],
            ),
            (
                "what Connection nominates goes, in any case, from every line",
                &[
                    ("connection", "X-One, close"),
                    ("connection", "x-two"),
                    ("x-one", "1"),
                    ("x-two", "2"),
                    ("x-three", "3"),
                ],
                &["x-three"],
            ),
            (
                "what decides storing and routing cannot be nominated away",
                &[
                    ("connection", "host, cache-control, vary"),
                    ("host", "a"),
                    ("cache-control", "private"),
                    ("vary", "cookie"),
                ],
                &["cache-control", "host", "vary"],
            ),
            (
                "a nominated name that is no token is ignored",
                &[("connection", "a b, @"), ("accept", "*/*")],
                &["accept"],
            ),
            (
                "credentials for proxies are ours, not the upstream's",
                &[("proxy-authorization", "Basic eA==")],
                &[],
            ),
        ] {
            let mut request: HeaderMap = HeaderMap::new();
            for (field, value) in lines {
                request.append(
                    HeaderName::from_static(field),
                    HeaderValue::from_static(value),
                );
            }
            let mut response = request.clone();
            strip_request(&mut request);
            strip_response(&mut response);
            assert_eq!(names(&request), want, "request: {name}");
            assert_eq!(names(&response), want, "response: {name}");
        }
    }

    #[test]
    fn te_is_reduced_to_trailers_in_requests_only() {
        let mut request = headers(&[("te", "gzip;q=0.5, Trailers"), ("connection", "TE")]);
        let mut response = request.clone();
        strip_request(&mut request);
        strip_response(&mut response);
        assert_eq!(request.get(TE).unwrap(), "trailers");
        assert!(response.is_empty());
    }

    #[test]
    fn te_without_trailers_is_removed() {
        let mut request = headers(&[("te", "gzip")]);
        strip_request(&mut request);
        assert!(request.is_empty());
    }
}
