//! A POST's answer as the answer to a GET: where it is the target's own new representation (RFC 9110 9.3.3).
//!
//! It says so with a `Content-Location` that is the target and a lifetime of its own. It is kept after the POST has made
//! obsolete what was stored before (RFC 9111 4.4), under the rules and by the way of any other answer (`fetch`).
//!
//! # Invariants
//!
//! - Nothing that the key leaves out has reached the upstream: a POST is passed on as it came, so where the route picks
//!   parameters or cookies, one that has others is no stand-in.
//! - What was asked before somebody else invalidated the target is not kept.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, header, request::Parts, response};
use tokio::time::Instant;

use super::{
    RouteCache,
    fetch::Fetch,
    freshness::Facts,
    key::{host, primary_key},
    query,
};
use crate::{
    clock::Timestamp,
    http::{
        Body, Response,
        fetch::{FetchContext, WholeIf},
        uri::{normalize_query, resolve},
    },
    store::Key,
};

/// A POST whose answer may be kept for those who GET its target.
pub(super) struct StandIn {
    cache: Arc<RouteCache>,
    parts: Parts,
    primary: Key,
    asked: Instant,
    epoch: u64,
}

impl StandIn {
    /// `None`: whatever the answer says, it is for the one who posted.
    pub(super) fn of(cache: &Arc<RouteCache>, parts: &Parts) -> Option<Self> {
        let route = &cache.route;
        let methods = route.methods.as_ref();
        let takes_get = methods.is_none_or(|methods| methods.contains(&Method::GET));
        let is_keyed = query::sent(&route.key.query, parts.uri.query()).as_deref()
            == parts.uri.query()
            && (route.key.cookies.is_none() || !parts.headers.contains_key(header::COOKIE));
        // What is passed on is not judged: neither a mutation that failed in part could be told, nor a breach of contract.
        let judges = route.graphql || route.contract.is_some();
        if parts.method != Method::POST || !takes_get || !is_keyed || judges {
            return None;
        }
        let mut get = parts.clone();
        get.method = Method::GET;
        Some(Self {
            cache: Arc::clone(cache),
            primary: primary_key(route, &parts.uri, &parts.headers),
            parts: get,
            asked: Instant::now(),
            epoch: cache.shared.purges.latest(),
        })
    }

    /// Asks the layers below for the whole body of an answer that can be kept, if it comes soon.
    pub(super) fn wishes(&self, context: &mut FetchContext) -> WholeIf {
        let route = &self.cache.route;
        context.whole_bytes_max = Some(route.whole_bytes_max);
        context.hold_back = Some(route.hold_back);
        let storable =
            Fetch::taking(&self.cache, &self.parts, self.primary, self.epoch).whole_if(false);
        let (cache, target) = (Arc::clone(&self.cache), self.parts.clone());
        WholeIf::new(move |head| {
            is_representation(&target, head, cache.shared.clock.now()) && storable.holds(head)
        })
    }

    /// Whether nobody else invalidated the target since it was asked.
    pub(super) fn is_current(&self) -> bool {
        let marks = &self.cache.shared.marks;
        !marks.was_forgotten_since(&self.primary, self.asked)
    }

    /// The keeping of this answer, if it is whole and may be kept.
    pub(super) fn keeping(
        self,
        answer: &Response,
        wishes: &WholeIf,
    ) -> Option<impl Future<Output = ()> + use<>> {
        let mut kept = Response::new(Body::full(answer.body().bytes()?));
        *kept.status_mut() = answer.status();
        *kept.headers_mut() = answer.headers().clone();
        *kept.extensions_mut() = answer.extensions().clone();
        let (head, body) = kept.into_parts();
        wishes.holds(&head).then(|| {
            let fetch = Fetch::taking(&self.cache, &self.parts, self.primary, self.epoch);
            fetch.receive(Response::from_parts(head, body))
        })
    }
}

/// RFC 9110 9.3.3: explicit freshness, and a `Content-Location` that is the target.
fn is_representation(target: &Parts, head: &response::Parts, now: Timestamp) -> bool {
    let facts = Facts::new(head.status, &head.headers, now, now);
    head.status == StatusCode::OK
        && facts
            .origin_lifetime()
            .is_some_and(|lifetime| !lifetime.length.is_zero())
        && is_located_at(target, &head.headers)
}

fn is_located_at(target: &Parts, answer: &HeaderMap) -> bool {
    let mut lines = answer.get_all(header::CONTENT_LOCATION).into_iter();
    let location = lines
        .next()
        .and_then(|line| resolve(target.uri.path(), line.to_str().ok()?));
    let Some((authority, location)) = location.filter(|_| lines.next().is_none()) else {
        return false;
    };
    let is_same_origin = match (authority, host(&target.uri, &target.headers)) {
        (None, _) => true,
        (Some(named), Some(host)) => named.eq_ignore_ascii_case(host),
        (Some(_), None) => false,
    };
    is_same_origin
        && location.path() == target.uri.path()
        && location.query().map(normalize_query) == target.uri.query().map(normalize_query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_target_itself_is_where_its_representation_is() {
        let target = http::Request::get("/a%2Fb?x=~")
            .header("host", "shop.example")
            .body(())
            .unwrap()
            .into_parts()
            .0;
        for (name, lines, want) in [
            ("none", &[][..], false),
            ("the path and query", &["/a%2Fb?x=~"], true),
            ("in another spelling", &["/./a%2fb?x=%7e"], true),
            ("the whole URI", &["http://Shop.example/a%2Fb?x=~"], true),
            ("another host", &["http://other.example/a%2Fb?x=~"], false),
            ("another path", &["/a/b?x=~"], false),
            ("a sibling that it is", &["a%2Fb?x=~"], true),
            ("another query", &["/a%2Fb"], false),
            ("two", &["/a%2Fb?x=~", "/a%2Fb?x=~"], false),
        ] {
            let mut answer = HeaderMap::new();
            for line in lines {
                answer.append(
                    header::CONTENT_LOCATION,
                    http::HeaderValue::from_static(line),
                );
            }
            assert_eq!(is_located_at(&target, &answer), want, "{name}");
        }
    }
}
