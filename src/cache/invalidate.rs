//! Invalidation: an unsafe method that succeeded makes what is stored for its target obsolete (RFC 9111 4.4).
//!
//! `Location` and `Content-Location` of the same origin count too: their paths are keyed as if requested here. So do, by
//! RFC 9875, the groups of what is invalidated (2.2.1; theirs are not invalidated in turn) and those that the answer
//! names (3).

use http::{HeaderMap, Method, StatusCode, Uri, header};

use super::{RouteCache, Shared, entry::Entry, key, purge};
use crate::{
    http::{method::is_safe, uri::resolve},
    store::Key,
};

/// Whether an answer to this method makes stored responses obsolete: unsafe and not an error.
pub(super) fn invalidates(method: &Method, status: StatusCode) -> bool {
    !is_safe(method) && (status.is_success() || status.is_redirection())
}

/// The other targets that an answer names, if they are of the same origin: as path and query. References may be
/// relative to the target (RFC 9110 8.7, 10.2.2).
pub(super) fn named_targets(target: &Uri, host: Option<&str>, answer: &HeaderMap) -> Vec<Uri> {
    [header::LOCATION, header::CONTENT_LOCATION]
        .iter()
        .filter_map(|name| resolve(target.path(), answer.get(name)?.to_str().ok()?))
        .filter(|(authority, _)| match (authority, host) {
            (None, _) => true,
            (Some(authority), Some(host)) => authority.eq_ignore_ascii_case(host),
            (Some(_), None) => false,
        })
        .map(|(_, target)| target)
        .collect()
}

impl RouteCache {
    /// Removes what is stored for the target of this request and the targets its answer names, under the keys of every
    /// route that leads to the same upstream: a write often has a route of its own.
    pub(super) async fn invalidate(&self, uri: &Uri, request: &HeaderMap, answer: &HeaderMap) {
        let host = key::host(uri, request);
        let named = named_targets(uri, host, answer);
        let (mut forgotten, mut groups) = (Vec::new(), Vec::new());
        for target in std::iter::once(uri).chain(&named) {
            for route in self.shared.routes_to(&self.route.upstream.name) {
                let (path, query) = (target.path(), target.query());
                let primary = key::target_key(&route, path, query, host, request);
                let equivalent = self.shared.equivalents(&route, target, host, request);
                let equivalent = equivalent.into_iter().map(|(primary, _)| primary);
                for primary in std::iter::once(primary).chain(equivalent) {
                    if !forgotten.contains(&primary) {
                        groups.extend(self.shared.groups_of(&primary).await);
                        self.shared.forget(&primary).await;
                        forgotten.push(primary);
                    }
                }
            }
        }
        let upstream = &self.route.upstream.name;
        let mut purges = purge::groups_invalidated(answer, upstream);
        purges.extend(purge::groups_of(
            upstream,
            groups.iter().map(|group| &**group),
        ));
        if !purges.is_empty() {
            // In force at once. Whether it is on disk is waited for as long as for a read: a slow disk is no fault of
            // this request, and who looks after the disk has an alert.
            let _durable = self
                .shared
                .purges
                .issue(purges)
                .durable(self.shared.read_timeout)
                .await;
        }
    }
}

impl Shared {
    /// The groups of what is stored under this key, all variants together, as far as the store knows in time.
    async fn groups_of(&self, primary: &Key) -> Vec<Box<str>> {
        let mut groups = Vec::new();
        let gathering = async {
            match self.store.load(primary).await.as_deref() {
                Some(Entry::Response(stored)) => groups.extend_from_slice(&stored.labels.groups),
                Some(Entry::Variants { variants, .. }) => {
                    for key in variants.keys() {
                        if let Some(Entry::Response(stored)) =
                            self.store.load(&key).await.as_deref()
                        {
                            groups.extend_from_slice(&stored.labels.groups);
                        }
                    }
                }
                None => {}
            }
        };
        // Departure in time, not in kind: 2.2.1 is a "may".
        let _in_time = tokio::time::timeout(self.read_timeout, gathering).await;
        groups
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
                Some("/prices/1"),
            ),
            ("another host", "http://evil.example/prices/1", None),
            ("a sibling", "1", Some("/prices/1")),
            ("another spelling", "/x/../prices/%31", Some("/prices/1")),
            ("no URI at all", "::", None),
        ] {
            let answer =
                HeaderMap::from_iter([(header::LOCATION, HeaderValue::from_static(location))]);
            let target = Uri::from_static("/prices/2");
            let got = named_targets(&target, Some("shop.example"), &answer);
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
