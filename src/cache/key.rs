//! Cache keys: which requests ask for the same thing.
//!
//! Pure. The primary key (RFC 9111 2) is the upstream and the target URI, less what the route says does not count; a
//! variant key adds the request fields that `Vary` names (4.1). Both are SHA-256, because an attacker chooses the input.
//!
//! # Invariants
//!
//! - What is not in the key is not sent to the upstream either, where the route picks query parameters or cookies
//!   (`query`, `cookies`): an unkeyed one cannot change what others get.
//! - Every part is ended by a byte that cannot occur in it, so that no two requests run together into one text.

use http::{HeaderMap, HeaderName, Method, Uri, header};
use ring::digest::{Context, SHA256};

use super::{cookies, query, selecting};
use crate::{
    config::{HostPattern, KeyConfig, RouteConfig},
    store::Key,
};

const END: &[u8] = &[0];
/// Stands for a field, a cookie or a query that is not there, which is not the same as an empty one.
const ABSENT: &[u8] = &[1];
/// Leads the part of a scheme and of each cookie: no field's name has a colon.
const SCHEME: &[u8] = b"scheme:";
const COOKIE: &[u8] = b"cookie:";
/// The scheme of every request: what a client says of it (`:scheme`, `X-Forwarded-Proto`) is not believed, and the
/// listener speaks no TLS.
const CLIENT_SCHEME: &[u8] = b"http";

/// The primary key of a request on this route.
pub fn primary_key(route: &RouteConfig, uri: &Uri, headers: &HeaderMap) -> Key {
    target_key(route, uri.path(), uri.query(), host(uri, headers), headers)
}

/// The primary key of any target on this route's upstream; what unsafe methods invalidate.
pub(super) fn target_key(
    route: &RouteConfig,
    path: &str,
    query: Option<&str>,
    host: Option<&str>,
    headers: &HeaderMap,
) -> Key {
    let mut digest = Context::new(&SHA256);
    let mut part = |bytes: &[u8]| {
        digest.update(bytes);
        digest.update(END);
    };
    part(route.upstream.name.as_bytes());
    if route.key.host {
        part(host.unwrap_or_default().as_bytes());
    } else {
        // The hosts of one route share; those of another route may mean another path of the same upstream.
        for pattern in &route.hosts {
            part(match pattern {
                HostPattern::Exact(host) | HostPattern::Suffix(host) => host.as_bytes(),
            });
        }
        part(ABSENT);
    }
    part(path.as_bytes());
    match query::keyed(&route.key.query, query) {
        Some(query) => part(query.as_bytes()),
        None => part(ABSENT),
    }
    if route.key.scheme {
        part(SCHEME);
        part(CLIENT_SCHEME);
    }
    for name in route.key.cookies.iter().flatten() {
        part(COOKIE);
        part(name.as_bytes());
        part(cookies::value_of(headers, name).unwrap_or(ABSENT));
    }
    for name in &route.key.headers {
        update_field(&mut digest, name, headers);
    }
    finish(digest)
}

/// The key of the variant of `primary` that this request selects, by the fields a `Vary` named.
pub(super) fn variant_key(primary: &Key, fields: &[HeaderName], headers: &HeaderMap) -> Key {
    let mut digest = Context::new(&SHA256);
    digest.update(primary.as_bytes());
    for name in fields {
        update_field(&mut digest, name, headers);
    }
    finish(digest)
}

/// Stands before the method in the key of a request with content; before anything else in a variant's key stands the name
/// of a field.
const CONTENT: &[u8] = &[2];

/// The key of a request that asks by its content (RFC 10008 2.7): the target's, and the content with what says how to
/// read it. `form` tells apart what was made of the content.
pub(super) fn content_key(
    target: &Key,
    method: &Method,
    headers: &HeaderMap,
    media_type: &str,
    form: u8,
    content: &[u8],
) -> Key {
    let mut digest = Context::new(&SHA256);
    digest.update(target.as_bytes());
    digest.update(CONTENT);
    for part in [method.as_str(), media_type] {
        digest.update(part.as_bytes());
        digest.update(END);
    }
    for name in [header::CONTENT_ENCODING, header::CONTENT_LANGUAGE] {
        update_field(&mut digest, &name, headers);
    }
    digest.update(&[form]);
    digest.update(content);
    finish(digest)
}

/// Stands before the rule in the key of what is equivalent under one.
const EQUIVALENT: &[u8] = &[3];

/// The key of all queries of a target that are one under a rule (`no_vary_search`): the rule's words, and what counts.
pub(super) fn equivalent_key<'w>(
    target: &Key,
    rule: impl Iterator<Item = &'w str>,
    query: &str,
) -> Key {
    let mut digest = Context::new(&SHA256);
    digest.update(target.as_bytes());
    digest.update(EQUIVALENT);
    // A word may hold any byte, so its length says where it ends.
    for word in rule {
        digest.update(&(word.len() as u64 + 1).to_le_bytes());
        digest.update(word.as_bytes());
    }
    digest.update(&0u64.to_le_bytes());
    digest.update(query.as_bytes());
    finish(digest)
}

/// A field as it tells variants apart (`selecting.rs`).
fn update_field(digest: &mut Context, name: &HeaderName, headers: &HeaderMap) {
    digest.update(name.as_str().as_bytes());
    digest.update(END);
    if headers.contains_key(name) {
        selecting::describe(name, headers, |bytes| digest.update(bytes));
    } else {
        digest.update(ABSENT);
    }
    digest.update(END);
}

fn finish(digest: Context) -> Key {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.finish().as_ref());
    Key::from_bytes(bytes)
}

/// The host a request is for, as it stands in `Host` or the URI.
pub(super) fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    uri.authority()
        .map(http::uri::Authority::as_str)
        .or_else(|| headers.get(header::HOST)?.to_str().ok())
}

/// The target as it is sent on and shown to people: path and the query that counts.
pub(super) fn kept_path_and_query(key: &KeyConfig, uri: &Uri) -> String {
    match query::sent(&key.query, uri.query()) {
        Some(query) => format!("{}?{query}", uri.path()),
        None => uri.path().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::config::{self, FixedEnv};

    fn route(key: &str) -> Arc<RouteConfig> {
        let text = format!(
            "[upstream.v]\nendpoints = [\"http://127.0.0.1:1\"]\n[[route]]\npath = \"/{{*rest}}\"\nupstream = \"v\"\nkey = {{ {key} }}\n"
        );
        let config = config::parse(&text, Path::new("t.toml"), &FixedEnv::default()).unwrap();
        Arc::clone(&config.routes[0])
    }

    /// What this route counts: path, query, host, a field and two cookies, each absent or there.
    type Parts = (String, [Option<String>; 5]);

    fn any_parts() -> impl Strategy<Value = Parts> {
        let maybe = || prop::option::of("[a:=c]{0,2}");
        let rest = [maybe(), maybe(), maybe(), maybe(), maybe()];
        ("/[a:=]{0,2}", rest)
    }

    fn key_of(route: &RouteConfig, (path, [query, host, field, c, d]): &Parts) -> Key {
        let mut headers = HeaderMap::new();
        let mut add = |name: &'static str, value: String| {
            headers.append(name, HeaderValue::try_from(value).unwrap());
        };
        for (name, value) in [("host", host), ("x-a", field)] {
            if let Some(value) = value {
                add(name, value.clone());
            }
        }
        for (name, value) in [("c", c), ("d", d)] {
            if let Some(value) = value {
                add("cookie", format!("{name}={value}"));
            }
        }
        let uri = match query {
            Some(query) => format!("{path}?{query}"),
            None => path.clone(),
        };
        primary_key(route, &uri.parse().unwrap(), &headers)
    }

    proptest! {
        #[test]
        fn two_requests_have_one_key_only_if_all_that_counts_is_the_same(a in any_parts(), b in any_parts()) {
            let route = route("host = true, scheme = true, headers = [\"X-A\"], cookies = [\"c\", \"d\"]");
            // No host at all is the same as an empty one: neither is sent by anything but HTTP/1.0.
            let hosted = |parts: &Parts| {
                let mut parts = parts.clone();
                parts.1[1] = Some(parts.1[1].take().unwrap_or_default());
                parts
            };
            prop_assert_eq!(key_of(&route, &a) == key_of(&route, &b), hosted(&a) == hosted(&b));
        }
    }

    #[test]
    fn a_variant_is_told_by_values_not_by_white_space() {
        let primary = Key::from_bytes([7; 32]);
        let fields = [header::ACCEPT_LANGUAGE];
        let key = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(
                    header::ACCEPT_LANGUAGE,
                    http::HeaderValue::from_static(line),
                );
            }
            variant_key(&primary, &fields, &headers)
        };
        assert_eq!(key(&["de, en"]), key(&["de,en"]));
        assert_eq!(
            key(&["de", "en"]),
            key(&["de, en"]),
            "repeated lines are one list"
        );
        assert_ne!(key(&[]), key(&[""]), "absent is not empty");
        assert_ne!(key(&["de"]), key(&["en"]));
        assert_ne!(key(&["de"]), primary);
    }
}
