//! Cache keys: which requests ask for the same thing.
//!
//! Pure. The primary key (RFC 9111 2) is the upstream and the target URI, less what the route says does not count; a
//! variant key adds the request fields that `Vary` names (4.1). Both are SHA-256, because an attacker chooses the input.
//!
//! # Invariants
//!
//! - What is not in the key is not sent to the upstream either, where the route picks query parameters: an unkeyed
//!   parameter cannot change what others get.
//! - Every part is ended by a byte that cannot occur in it, so that no two requests run together into one text.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, Uri, header};
use ring::digest::{Context, SHA256};

use super::selecting;
use crate::{
    config::{HostPattern, KeyConfig, QueryKey, RouteConfig},
    store::Key,
};

const END: &[u8] = &[0];
/// Stands for a field that is not there, which is not the same as an empty one.
const ABSENT: &[u8] = &[1];

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
    part(
        kept_query(&route.key.query, query)
            .as_deref()
            .unwrap_or_default()
            .as_bytes(),
    );
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

/// The query that counts: whole, or the kept parameters sorted by name (order of equal names kept). `None`: empty.
pub(super) fn kept_query<'a>(kept: &QueryKey, query: Option<&'a str>) -> Option<Cow<'a, str>> {
    let query = query.filter(|query| !query.is_empty())?;
    let QueryKey::Only(names) = kept else {
        return Some(Cow::Borrowed(query));
    };
    let name_of = |pair: &&'a str| pair.split_once('=').map_or(*pair, |(name, _)| name);
    let mut pairs: Vec<_> = query
        .split('&')
        .filter(|pair| names.iter().any(|name| **name == *name_of(pair)))
        .collect();
    pairs.sort_by_key(name_of);
    (!pairs.is_empty()).then(|| Cow::Owned(pairs.join("&")))
}

/// The target as it is sent on and shown to people: path and the query that counts.
pub(super) fn kept_path_and_query(key: &KeyConfig, uri: &Uri) -> String {
    match kept_query(&key.query, uri.query()) {
        Some(query) => format!("{}?{query}", uri.path()),
        None => uri.path().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kept_parameters_count_in_any_order() {
        let kept = QueryKey::Only(vec!["currency".into(), "a".into()]);
        for (name, query, want) in [
            ("none", None, None),
            ("empty", Some(""), None),
            ("only others", Some("utm=1&x"), None),
            ("sorted", Some("currency=EUR&a=1"), Some("a=1&currency=EUR")),
            (
                "others dropped",
                Some("utm=1&currency=EUR"),
                Some("currency=EUR"),
            ),
            (
                "equal names keep their order",
                Some("a=2&a=1"),
                Some("a=2&a=1"),
            ),
            ("a longer name is another", Some("currency2=EUR"), None),
        ] {
            assert_eq!(kept_query(&kept, query).as_deref(), want, "{name}");
        }
        assert_eq!(
            kept_query(&QueryKey::Whole, Some("b=1&a=2")).as_deref(),
            Some("b=1&a=2")
        );
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
