//! The request's side of an explanation: which route, which key, and what of the request does not count.

use http::{HeaderMap, HeaderName, Uri, header, request::Parts};

use super::{
    departures::{policy_setting, route_setting},
    model::{Asked, Explanation, KeyShown, Pair, Reason, RouteShown, Setting, VariantsShown},
};
use crate::{
    cache::{
        cookies, departures_of_route,
        key::{host, kept_path_and_query, primary_key},
        query,
        storable::has_unkeyed_authorization,
        vary::Variants,
    },
    config::{HostPattern, QueryKey, RouteConfig},
    store::Key,
};

/// Stands for a value that is nobody's business.
const GIVEN: &str = "(given)";

/// What can be said of a request on its route without asking a proxy.
pub fn unasked(route: &RouteConfig, parts: &Parts) -> Explanation {
    let primary = primary_key(route, &parts.uri, &parts.headers);
    Explanation {
        request: asked(parts),
        route: route_shown(route),
        key: key_shown(route, parts, &primary),
        found: None,
        departures: departures_of_route(route),
    }
}

/// A request as it was understood.
pub fn asked(parts: &Parts) -> Asked {
    let host = host(&parts.uri, &parts.headers).filter(|host| !host.is_empty());
    let target = parts.uri.path_and_query();
    Asked {
        method: parts.method.to_string(),
        host: host.map(str::to_owned),
        target: target
            .map_or("/", http::uri::PathAndQuery::as_str)
            .to_owned(),
    }
}

/// A route as it is shown.
pub fn route_shown(route: &RouteConfig) -> RouteShown {
    let hosts = route.hosts.iter().map(|host| match host {
        HostPattern::Exact(name) => name.to_string(),
        HostPattern::Suffix(suffix) => format!("*{suffix}"),
    });
    let methods = route.methods.iter().flatten();
    RouteShown {
        name: route.name.to_string(),
        hosts: hosts.collect(),
        path: route.path.as_str().to_owned(),
        methods: methods.map(http::Method::to_string).collect(),
        upstream: route.upstream.name.to_string(),
        breaker: None,
        place: route.written.table(),
        policy: route.policy.name.to_string(),
        policy_place: route.policy.written.table(),
    }
}

pub(super) fn hex(key: &Key) -> String {
    key.as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

pub(super) fn key_shown(route: &RouteConfig, parts: &Parts, key: &Key) -> KeyShown {
    let (uri, headers) = (&parts.uri, &parts.headers);
    let fields = route.key.headers.iter().map(|name| field(name, headers));
    let cookies = route.key.cookies.iter().flatten().map(|name| Pair {
        name: format!("cookie:{name}"),
        value: cookies::value_of(headers, name).map(|_| GIVEN.to_owned()),
    });
    let host = host(uri, headers).unwrap_or_default();
    KeyShown {
        hash: hex(key),
        upstream: route.upstream.name.to_string(),
        host: route.key.host.then(|| host.to_owned()),
        target: keyed_target(route, uri),
        fields: fields.chain(cookies).collect(),
        left_out: left_out(route, uri, headers),
    }
}

/// Path and query in the spelling in which they are compared.
fn keyed_target(route: &RouteConfig, uri: &Uri) -> String {
    match query::keyed(&route.key.query, uri.query()) {
        Some(query) => format!("{}?{query}", uri.path()),
        None => uri.path().to_owned(),
    }
}

/// A request field; what may be a secret is only said to be there.
fn field(name: &HeaderName, headers: &HeaderMap) -> Pair {
    let is_secret = matches!(
        *name,
        header::AUTHORIZATION | header::COOKIE | header::PROXY_AUTHORIZATION
    );
    let lines: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(|line| String::from_utf8_lossy(line.as_bytes()))
        .collect();
    let value = if is_secret {
        GIVEN.to_owned()
    } else {
        lines.join(", ")
    };
    Pair {
        name: name.to_string(),
        value: (!lines.is_empty()).then_some(value),
    }
}

fn left_out(route: &RouteConfig, uri: &Uri, headers: &HeaderMap) -> Vec<Reason> {
    let key = &route.key;
    let setting = |name: &str| route_setting(route, name);
    let mut reasons = Vec::new();
    let parameters = query::left_out(&key.query, uri.query());
    if !parameters.is_empty() {
        let what = format!(
            "query parameters {}: neither in the key nor sent on",
            parameters.join(", ")
        );
        reasons.push(Reason::set(what, setting("key.query")));
    }
    let is_reordered = kept_path_and_query(key, uri) != keyed_target(route, uri)
        || (matches!(key.query, QueryKey::Sorted | QueryKey::Only(_))
            && parameters.is_empty()
            && uri.query().is_some_and(|query| {
                query::keyed(&key.query, Some(query)).as_deref() != Some(query)
            }));
    if is_reordered {
        let what = "order or spelling of the query: compared in one form";
        let reason = match key.query {
            QueryKey::Whole | QueryKey::Except(_) => Reason::rule(what, "RFC 3986 6.2.2"),
            QueryKey::Sorted | QueryKey::Only(_) => Reason::set(what, setting("key.query")),
        };
        reasons.push(reason);
    }
    if !key.host {
        let what = "the client's host: all hosts of this route share";
        reasons.push(Reason::set(what, setting("key.host")));
    }
    if headers.contains_key(header::COOKIE) {
        let what = match &key.cookies {
            None => "cookies: all are sent on, none is in the key",
            Some(_) => "other cookies: neither in the key nor sent on",
        };
        reasons.push(Reason::set(what, setting("key.cookies")));
    }
    if has_unkeyed_authorization(route, headers) {
        let what = "`Authorization`: the answer is shared only where the origin says that it is for everybody";
        let reason = Reason::set(what, setting("key.headers"));
        reasons.push(reason.by("RFC 9111 3.5"));
    }
    let others = "all other fields of the request, unless a stored answer's `Vary` names them";
    reasons.push(Reason::rule(others, "RFC 9111 4.1"));
    reasons
}

/// The variants of a key, and which of them a request selects.
pub(super) fn variants_shown(
    variants: &Variants,
    primary: &Key,
    headers: &HeaderMap,
) -> VariantsShown {
    let selected = variants.select(primary, headers);
    let key = selected.or_else(|| variants.expected(primary, headers));
    VariantsShown {
        count: variants.keys().count(),
        fields: variants
            .field_names()
            .iter()
            .map(|name| field(name, headers))
            .collect(),
        selected: selected.is_some(),
        hash: hex(&key.unwrap_or(*primary)),
    }
}

/// A key of the route's policy, and where it stands.
pub(super) fn by_policy(route: &RouteConfig, key: &str) -> Setting {
    policy_setting(&route.policy, key)
}
