//! Upgrade: leaving HTTP for another protocol on the same connection (RFC 9110 7.8), and the words in which front, cache
//! and client speak about it.
//!
//! The fields are hop-by-hop: what a client offers is taken out with all others of its connection, and what a route
//! allows of it is asked of the upstream anew.
//!
//! # Invariants
//!
//! - Nothing travels on but protocols the route names; what the upstream switches to was asked for.
//! - Only what can have no content and is sent once: a GET of HTTP/1.1 without a body. HTTP/2 has no `Upgrade`
//!   (RFC 9113 8.6), and its extended CONNECT (RFC 8441) is not spoken here.

use http::{
    HeaderMap, HeaderValue, Method, Version,
    header::{CONNECTION, UPGRADE},
    request,
};
use hyper::upgrade::OnUpgrade;

use super::hop::{lists_token, tokens};

/// The protocols to ask the upstream for, as its `Upgrade` field says it. A request extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade(pub HeaderValue);

/// The upstream has switched: its end of the connection, once the head is read. A response extension.
#[derive(Clone, Debug)]
pub struct Switched(pub OnUpgrade);

/// What a client offers to switch to, as it wrote it. To be asked before hop-by-hop fields are taken out.
pub fn offered(parts: &request::Parts) -> Option<HeaderValue> {
    let headers = &parts.headers;
    if !headers.contains_key(UPGRADE)
        || parts.version != Version::HTTP_11
        || parts.method != Method::GET
        || !lists_token(headers, &CONNECTION, "upgrade")
    {
        return None;
    }
    joined(tokens(headers, &UPGRADE))
}

/// What of the offer a route allows, in the client's order of preference.
pub fn allowed(offered: &HeaderValue, route: &[Box<str>]) -> Option<Upgrade> {
    let offered = offered.to_str().ok()?.split(',').map(str::trim);
    let is_named = |protocol: &&str| route.iter().any(|named| is_same(named, protocol));
    joined(offered.filter(is_named)).map(Upgrade)
}

/// Whether the answer's `Upgrade` names a protocol that was asked for, and no other (RFC 9110 7.8, 15.2.2).
pub fn is_answer_to(answer: &HeaderMap, asked: &Upgrade) -> bool {
    let asked = asked.0.to_str().unwrap_or_default();
    let is_asked = |protocol: &str| asked.split(", ").any(|asked| is_same(asked, protocol));
    let mut protocols = tokens(answer, &UPGRADE).peekable();
    protocols.peek().is_some() && protocols.all(is_asked)
}

/// Says in `headers` that this connection switches, or is asked to.
pub fn say(headers: &mut HeaderMap, protocols: HeaderValue) {
    headers.insert(UPGRADE, protocols);
    headers.append(CONNECTION, HeaderValue::from_static("upgrade"));
}

/// `name ["/" version]`: names are compared in any case (RFC 9110 7.8); without a version every version is meant.
fn is_same(one: &str, other: &str) -> bool {
    let parts = |protocol| match str::split_once(protocol, '/') {
        Some((name, version)) => (name, Some(version)),
        None => (protocol, None),
    };
    let ((name, version), (other_name, other_version)) = (parts(one), parts(other));
    let agree = |(version, other)| version == other;
    name.eq_ignore_ascii_case(other_name) && version.zip(other_version).is_none_or(agree)
}

fn joined<'p>(protocols: impl Iterator<Item = &'p str>) -> Option<HeaderValue> {
    let list = protocols.collect::<Vec<_>>().join(", ");
    Some(list)
        .filter(|list| !list.is_empty())
        .and_then(|list| HeaderValue::try_from(list).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_a_get_of_http_1_1_that_says_so_in_both_fields() {
        let websocket: &[_] = &[("connection", "Upgrade"), ("upgrade", "websocket")];
        for (name, method, version, fields, want) in [
            (
                "a WebSocket",
                "GET",
                Version::HTTP_11,
                websocket,
                Some("websocket"),
            ),
            (
                "not of HTTP/1.0 (RFC 9110 7.8)",
                "GET",
                Version::HTTP_10,
                websocket,
                None,
            ),
            ("HTTP/2 knows none", "GET", Version::HTTP_2, websocket, None),
            (
                "other methods may have content",
                "POST",
                Version::HTTP_11,
                websocket,
                None,
            ),
            (
                "not without Connection",
                "GET",
                Version::HTTP_11,
                &[("upgrade", "websocket")],
                None,
            ),
            (
                "not without Upgrade",
                "GET",
                Version::HTTP_11,
                &[("connection", "upgrade")],
                None,
            ),
            (
                "an empty list is no offer",
                "GET",
                Version::HTTP_11,
                &[("connection", "upgrade"), ("upgrade", " , ")],
                None,
            ),
            (
                "several lines are one list",
                "GET",
                Version::HTTP_11,
                &[
                    ("connection", "keep-alive, Upgrade"),
                    ("upgrade", "h2c, a/1"),
                    ("upgrade", "websocket"),
                ],
                Some("h2c, a/1, websocket"),
            ),
        ] {
            let mut request = http::Request::builder().method(method).version(version);
            for (field, value) in fields {
                request = request.header(*field, *value);
            }
            let parts = request.body(()).unwrap().into_parts().0;
            let got = offered(&parts);
            assert_eq!(
                got.as_ref().map(|got| got.to_str().unwrap()),
                want,
                "{name}"
            );
        }
    }

    #[test]
    fn only_what_the_route_names_is_asked_for() {
        for (name, offer, route, want) in [
            ("nothing is allowed by default", "websocket", &[][..], None),
            (
                "case does not matter",
                "WebSocket",
                &["websocket"],
                Some("WebSocket"),
            ),
            (
                "the rest of the offer goes",
                "h2c, websocket",
                &["websocket"],
                Some("websocket"),
            ),
            (
                "a name means every version",
                "irc/6.9",
                &["irc"],
                Some("irc/6.9"),
            ),
            (
                "a version means that one",
                "irc/6.9, irc/7",
                &["irc/7"],
                Some("irc/7"),
            ),
        ] {
            let route: Vec<Box<str>> = route.iter().map(|name| Box::from(*name)).collect();
            let got = allowed(&HeaderValue::from_static(offer), &route);
            assert_eq!(
                got.as_ref().map(|got| got.0.to_str().unwrap()),
                want,
                "{name}"
            );
        }
    }

    #[test]
    fn an_upstream_switches_only_to_what_was_asked_for() {
        let asked = Upgrade(HeaderValue::from_static("websocket, irc/7"));
        for (name, answered, want) in [
            ("as asked", Some("websocket"), true),
            ("in another case", Some("WebSocket"), true),
            ("the second choice", Some("irc/7"), true),
            ("another version", Some("irc/6"), false),
            ("another protocol", Some("h2c"), false),
            (
                "one of two was not asked for",
                Some("websocket, h2c"),
                false,
            ),
            ("to nothing in particular", None, false),
        ] {
            let mut answer = HeaderMap::new();
            if let Some(value) = answered {
                answer.insert(UPGRADE, HeaderValue::from_static(value));
            }
            assert_eq!(is_answer_to(&answer, &asked), want, "{name}");
        }
    }
}
