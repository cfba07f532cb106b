//! Invalidation: an unsafe method that succeeded makes what is stored for its target obsolete (RFC 9111 4.4).
//!
//! `Location` and `Content-Location` of the same origin count too: their paths are keyed as if requested here.

use http::{HeaderMap, Method, StatusCode, Uri, header};

use super::{RouteCache, key};
use crate::http::method::is_safe;

/// Whether an answer to this method makes stored responses obsolete: unsafe and not an error.
pub(super) fn invalidates(method: &Method, status: StatusCode) -> bool {
    !is_safe(method) && (status.is_success() || status.is_redirection())
}

/// The other targets that an answer names, if they are of the same origin: as path and query.
pub(super) fn named_targets(host: Option<&str>, answer: &HeaderMap) -> Vec<Uri> {
    [header::LOCATION, header::CONTENT_LOCATION]
        .iter()
        .filter_map(|name| answer.get(name)?.to_str().ok()?.parse::<Uri>().ok())
        .filter(|uri| match (uri.authority(), host) {
            // Relative references without a leading slash do not parse as a path and name nothing we can key.
            (None, _) => uri.path().starts_with('/'),
            (Some(authority), Some(host)) => authority.as_str().eq_ignore_ascii_case(host),
            (Some(_), None) => false,
        })
        .collect()
}

impl RouteCache {
    /// Removes what is stored for the target of this request and the targets its answer names, under the keys of every
    /// route that leads to the same upstream: a write often has a route of its own.
    pub(super) async fn invalidate(&self, uri: &Uri, request: &HeaderMap, answer: &HeaderMap) {
        let host = key::host(uri, request);
        let named = named_targets(host, answer);
        let mut forgotten = Vec::new();
        for target in std::iter::once(uri).chain(&named) {
            for route in self.shared.routes_to(&self.route.upstream.name) {
                let (path, query) = (target.path(), target.query());
                let primary = key::target_key(route, path, query, host, request);
                if !forgotten.contains(&primary) {
                    self.shared.forget(&primary).await;
                    forgotten.push(primary);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_targets_of_the_same_origin_are_named() {
        for (name, location, want) in [
            ("a path", "/prices/1?a=b", Some("/prices/1?a=b")),
            (
                "the same host",
                "http://shop.example/prices/1",
                Some("http://shop.example/prices/1"),
            ),
            ("another host", "http://evil.example/prices/1", None),
            ("no URI at all", "::", None),
        ] {
            let answer =
                HeaderMap::from_iter([(header::LOCATION, HeaderValue::from_static(location))]);
            let got = named_targets(Some("shop.example"), &answer);
            assert_eq!(
                got.first().map(ToString::to_string).as_deref(),
                want,
                "{name}"
            );
        }
    }

    #[test]
    fn an_error_or_a_safe_method_invalidates_nothing() {
        assert!(invalidates(&Method::POST, StatusCode::CREATED));
        assert!(invalidates(&Method::DELETE, StatusCode::SEE_OTHER));
        assert!(!invalidates(&Method::POST, StatusCode::BAD_REQUEST));
        assert!(!invalidates(&Method::GET, StatusCode::OK));
        let query = Method::from_bytes(b"QUERY").unwrap();
        assert!(!invalidates(&query, StatusCode::OK), "RFC 10008");
    }
}
