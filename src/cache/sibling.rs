//! A sibling's stored response in place of what a request asked for, where nothing else is left and the upstream fails.
//!
//! It is looked up as a GET of the sibling's target by the same client would be, on the route that such a request takes:
//! same host, same fields, same rules of `may_answer`, `Vary`, purges and age. It is never asked for, and never stored under
//! what was asked.
//!
//! What the client gets is honest about being something else:
//!
//! - Its conditions and ranges were about another representation and are left aside (RFC 9110 13.1, 14.2): an equal entity
//!   tag of another resource means nothing (8.8.3), so there is neither a 304 nor a 206.
//! - Validators do not go along, and `Content-Location` says what it is a representation of (8.7).
//! - `no-store`, and no lifetime: no cache downstream keeps it under the wrong URL.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri, header, request::Parts, uri::PathAndQuery,
};

use super::{
    RouteCache,
    answer::takes_stand_in,
    entry::{Entry, StoredResponse},
    fetch::response_in,
    freshness::Verdict,
    key::{host, primary_key},
    lookout::Lookout,
    lookup::{Found, Reading},
    validate,
};
use crate::http::{Request, fetch::Reads, upgrade::Upgrade};

/// What may answer in place of what was asked.
pub(super) struct Sibling {
    entry: Arc<Entry>,
    pub(super) verdict: Verdict,
    location: HeaderValue,
}

impl Sibling {
    pub(super) fn stored(&self) -> Option<&StoredResponse> {
        response_in(&self.entry)
    }

    /// Makes the fields of the stored response those of an answer for another target.
    pub(super) fn disown(&self, headers: &mut HeaderMap) {
        for name in [
            header::ETAG,
            header::LAST_MODIFIED,
            header::EXPIRES,
            header::PRAGMA,
            header::ACCEPT_RANGES,
            HeaderName::from_static("no-vary-search"),
        ] {
            headers.remove(name);
        }
        let targeted: Vec<HeaderName> = headers
            .keys()
            .filter(|name| is_for_other_caches(name.as_str()))
            .cloned()
            .collect();
        for name in targeted {
            headers.remove(name);
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::CONTENT_LOCATION, self.location.clone());
    }
}

/// RFC 9213: to the cache it is for, a targeted field counts more than `Cache-Control`.
fn is_for_other_caches(name: &str) -> bool {
    name.ends_with("-cache-control") || matches!(name, "surrogate-control" | "x-accel-expires")
}

impl RouteCache {
    /// What is stored under the sibling's key and may stand in for an answer to this request.
    pub(super) async fn sibling(&self, parts: &Parts, reading: Reading) -> Option<Sibling> {
        let template = self.route.sibling.as_ref()?;
        let reads = parts.extensions.get::<Reads>().is_some();
        let upgrades = parts.extensions.get::<Upgrade>().is_some();
        if !takes_stand_in(&parts.method, reads) || upgrades {
            return None;
        }
        let path = parts.uri.path();
        let target = template.target(path, self.route.path.params(path));
        let target: PathAndQuery = target.parse().ok()?;
        let routes = self.shared.routes.load_full();
        let route = template.route(
            &self.route,
            &routes,
            host(&parts.uri, &parts.headers),
            target.path(),
        )?;
        let asked = asking_for(parts, target.clone())?;
        // Only for its lookups: nothing below it is asked.
        let other = Self {
            route: Arc::clone(route),
            admission: self.admission.clone(),
            shared: Arc::clone(&self.shared),
            below: self.below.clone(),
            lookout: Lookout::default(),
            metrics: self.metrics.clone(),
        };
        let found = other.found_for(&asked, reading).await?;
        let (stored, verdict) = found.copy_and_verdict()?;
        if !verdict.is_last_known_good() || !stored.status.is_success() || stored.part.is_some() {
            return None;
        }
        Some(Sibling {
            verdict: *verdict,
            location: HeaderValue::try_from(target.as_str()).ok()?,
            entry: found.copy?,
        })
    }

    /// What is stored for a GET, for its own query or for one that means the same.
    async fn found_for(&self, asked: &Parts, reading: Reading) -> Option<Found> {
        let primary = primary_key(&self.route, &asked.uri, &asked.headers);
        let found = self
            .lookup_by(&primary, &asked.method, &asked.headers, reading)
            .await;
        if found.copy.is_some() {
            return Some(found);
        }
        self.equivalent(asked, &primary, reading).await
    }
}

/// The same client's GET of this target, without what it said about the representation that it asked for.
fn asking_for(parts: &Parts, target: PathAndQuery) -> Option<Parts> {
    let mut uri = parts.uri.clone().into_parts();
    uri.path_and_query = Some(target);
    let mut asked = Request::default().into_parts().0;
    asked.method = Method::GET;
    asked.uri = Uri::from_parts(uri).ok()?;
    asked.headers = parts.headers.clone();
    validate::remove_conditions(&mut asked.headers);
    asked.headers.remove(header::RANGE);
    asked.headers.remove(header::IF_RANGE);
    Some(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_other_caches_is_known_by_its_name() {
        for (name, want) in [
            ("cdn-cache-control", true),
            ("larder-cache-control", true),
            ("surrogate-control", true),
            ("cache-control", false),
            ("content-type", false),
        ] {
            assert_eq!(is_for_other_caches(name), want, "{name}");
        }
    }
}
