//! Forwarded: what an upstream is told about the client behind a request (RFC 7239, and the older `X-Forwarded-*`).
//!
//! Nothing, unless a route says so (`forwarded`): an upstream is a third party, and who visits the site is none of its
//! business. What clients say about themselves in these fields is taken out before anything reads it (`sanitize`); only
//! the fields of trusted proxies (`trusted_proxies`) are taken over.
//!
//! # Invariants
//!
//! - The fields are put on below the cache: no key, no condition and no other rule of the cache sees them. A response
//!   that varies by them is shared with nobody ([`is_about_client`]).
//! - They tell of the client whose request led to the fetch. A refresh behind an answer is nobody's and has none.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header::FORWARDED};

use crate::config::{ForwardedPolicy, Network};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// How clients reach us: `https` ends before us.
const PROTO: HeaderValue = HeaderValue::from_static("http");

/// The fields to put on, in place of any of the same name. A request extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded(HeaderMap);

/// Whether a field tells of a client and the way it came.
pub fn is_about_client(name: &str) -> bool {
    name.starts_with("x-forwarded") || matches!(name, "forwarded" | "x-real-ip")
}

/// What a trusted proxy says about its client. `None` from anybody else.
pub fn told(trusted: &[Network], peer: IpAddr, headers: &HeaderMap) -> Option<HeaderMap> {
    if !trusted.iter().any(|network| network.contains(peer)) {
        return None;
    }
    let fields = headers
        .iter()
        .filter(|(name, _)| is_about_client(name.as_str()));
    let mut told = HeaderMap::new();
    for (name, value) in fields {
        told.append(name.clone(), value.clone());
    }
    Some(told)
}

/// The address of the client behind the trusted proxies: the last one that they name and that is none of them. `told`: what
/// the peer said, if it is trusted ([`told`]). `None`: nobody knows, so that nobody can be held to a limit.
///
/// Where there are both fields, `X-Forwarded-For` counts: nearly every proxy writes it, and some pass on a `Forwarded` that
/// the client made up.
pub fn client(trusted: &[Network], peer: IpAddr, told: Option<&HeaderMap>) -> Option<IpAddr> {
    let Some(told) = told else {
        return Some(peer);
    };
    let lines = |name: &HeaderName| {
        let lines = told.get_all(name).iter().rev();
        lines.map(|line| line.to_str().unwrap_or_default())
    };
    let mut nodes: Box<dyn Iterator<Item = Option<IpAddr>>> = if told.contains_key(&X_FORWARDED_FOR)
    {
        Box::new(lines(&X_FORWARDED_FOR).flat_map(|line| line.rsplit(',').map(node)))
    } else {
        // RFC 7239 4: a comma or semicolon inside quotes is none of these; no address has one, so such a node is unknown.
        let node_of = |element: &str| {
            let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
            let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
            node(value)
        };
        Box::new(lines(&FORWARDED).flat_map(move |line| line.rsplit(',').map(node_of)))
    };
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    nodes
        .find(|node| node.is_none_or(|address| !is_trusted(address)))
        .flatten()
}

/// An address with or without quotes, brackets and port (RFC 7239 6).
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    if let Some(rest) = text.strip_prefix('[') {
        let (address, _port) = rest.split_once(']')?;
        return address.parse().ok();
    }
    let address = match text.split_once(':') {
        Some((address, port)) if !port.contains(':') => address,
        _ => text,
    };
    address.parse().ok()
}

impl Forwarded {
    /// What to tell about the client at `peer` that asked for `host`, behind what a trusted proxy told.
    pub fn new(
        policy: ForwardedPolicy,
        peer: IpAddr,
        host: &HeaderValue,
        told: Option<HeaderMap>,
    ) -> Option<Self> {
        let told = told.unwrap_or_default();
        let fields = match policy {
            ForwardedPolicy::Off => return None,
            ForwardedPolicy::Keep => told,
            ForwardedPolicy::Forwarded => {
                let own = element(peer, host);
                HeaderMap::from_iter([(FORWARDED, appended(&told, &FORWARDED, &own)?)])
            }
            ForwardedPolicy::XForwarded => {
                let peer = peer.to_canonical().to_string();
                let first = |name: &HeaderName| told.get(name).cloned();
                let host = first(&X_FORWARDED_HOST).unwrap_or_else(|| host.clone());
                let mut fields = HeaderMap::new();
                fields.insert(X_FORWARDED_FOR, appended(&told, &X_FORWARDED_FOR, &peer)?);
                fields.insert(
                    X_FORWARDED_PROTO,
                    first(&X_FORWARDED_PROTO).unwrap_or(PROTO),
                );
                if !host.is_empty() {
                    fields.insert(X_FORWARDED_HOST, host);
                }
                fields
            }
        };
        (!fields.is_empty()).then_some(Self(fields))
    }

    /// Puts them on.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in self.0.keys() {
            headers.remove(name);
        }
        for (name, value) in &self.0 {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// RFC 7239 4, 6: `for`, `host` and `proto` of one hop.
fn element(peer: IpAddr, host: &HeaderValue) -> String {
    let node = match peer.to_canonical() {
        IpAddr::V4(peer) => peer.to_string(),
        // RFC 7239 6: the brackets and colons want quotes.
        IpAddr::V6(peer) => format!("\"[{peer}]\""),
    };
    match host.to_str() {
        Ok("") | Err(_) => format!("for={node};proto=http"),
        Ok(host) if host.bytes().all(is_tchar) => format!("for={node};host={host};proto=http"),
        // A host has neither quotes nor backslashes (`sanitize`).
        Ok(host) => format!("for={node};host=\"{host}\";proto=http"),
    }
}

fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The members that were told, then ours.
fn appended(told: &HeaderMap, name: &HeaderName, own: &str) -> Option<HeaderValue> {
    let mut list = Vec::new();
    for value in told.get_all(name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(own.as_bytes());
    HeaderValue::from_bytes(&list).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_the_last_address_that_is_no_trusted_proxys() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        for (name, peer, fields, want) in [
            (
                "nobody in front",
                "192.0.2.1",
                &[("x-forwarded-for", "203.0.113.9")][..],
                Some("192.0.2.1"),
            ),
            (
                "one proxy",
                "10.0.0.1",
                &[("x-forwarded-for", "203.0.113.9")],
                Some("203.0.113.9"),
            ),
            (
                "what the client claims stands before it",
                "10.0.0.1",
                &[("x-forwarded-for", "198.51.100.1, 203.0.113.9")],
                Some("203.0.113.9"),
            ),
            (
                "two proxies",
                "10.0.0.1",
                &[("x-forwarded-for", "203.0.113.9, 10.0.0.2")],
                Some("203.0.113.9"),
            ),
            (
                "two lines",
                "10.0.0.1",
                &[
                    ("x-forwarded-for", "203.0.113.9"),
                    ("x-forwarded-for", "10.0.0.2"),
                ],
                Some("203.0.113.9"),
            ),
            (
                "with a port",
                "10.0.0.1",
                &[("x-forwarded-for", "203.0.113.9:4711")],
                Some("203.0.113.9"),
            ),
            (
                "IPv6",
                "10.0.0.1",
                &[("x-forwarded-for", "2001:db8::1")],
                Some("2001:db8::1"),
            ),
            (
                "IPv6 with a port",
                "10.0.0.1",
                &[("x-forwarded-for", "[2001:db8::1]:80")],
                Some("2001:db8::1"),
            ),
            (
                "RFC 7239",
                "10.0.0.1",
                &[(
                    "forwarded",
                    "for=198.51.100.1, proto=https;For=\"[2001:db8::1]:80\"",
                )],
                Some("2001:db8::1"),
            ),
            (
                "RFC 7239 without quotes",
                "10.0.0.1",
                &[("forwarded", "for=203.0.113.9;proto=http")],
                Some("203.0.113.9"),
            ),
            (
                "both",
                "10.0.0.1",
                &[
                    ("forwarded", "for=198.51.100.1"),
                    ("x-forwarded-for", "203.0.113.9"),
                ],
                Some("203.0.113.9"),
            ),
            ("hidden", "10.0.0.1", &[("forwarded", "for=_hidden")], None),
            (
                "nobody named",
                "10.0.0.1",
                &[("x-forwarded-proto", "https")],
                None,
            ),
            (
                "only proxies named",
                "10.0.0.1",
                &[("x-forwarded-for", "10.0.0.2")],
                None,
            ),
            (
                "nonsense behind a proxy",
                "10.0.0.1",
                &[("x-forwarded-for", "203.0.113.9, ?, 10.0.0.2")],
                None,
            ),
        ] {
            let peer = peer.parse().unwrap();
            let told = told(&trusted, peer, &map(fields));
            let found = client(&trusted, peer, told.as_ref());
            assert_eq!(found, want.map(|want| want.parse().unwrap()), "{name}");
        }
    }

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn lines(headers: &HeaderMap) -> Vec<String> {
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        headers.iter().map(line).collect()
    }

    #[test]
    fn an_upstream_is_told_what_the_route_says() {
        use ForwardedPolicy::{Forwarded as Rfc, Keep, Off, XForwarded};
        let told = &[
            ("forwarded", "for=203.0.113.7;proto=https"),
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "www.example"),
            ("x-real-ip", "203.0.113.7"),
        ];
        for (name, policy, peer, host, told, want) in [
            (
                "nothing by default",
                Off,
                "192.0.2.1",
                "a.example",
                Some(&told[..]),
                &[][..],
            ),
            (
                "RFC 7239, in front of the client",
                Rfc,
                "192.0.2.1",
                "a.example",
                None,
                &["forwarded: for=192.0.2.1;host=a.example;proto=http"],
            ),
            (
                "what wants quotes has them",
                Rfc,
                "2001:db8::1",
                "a.example:8080",
                None,
                &["forwarded: for=\"[2001:db8::1]\";host=\"a.example:8080\";proto=http"],
            ),
            (
                "an IPv4 address inside an IPv6 one is that address",
                Rfc,
                "::ffff:192.0.2.1",
                "",
                None,
                &["forwarded: for=192.0.2.1;proto=http"],
            ),
            (
                "RFC 7239, behind a trusted proxy",
                Rfc,
                "10.0.0.1",
                "a.example",
                Some(told),
                &["forwarded: for=203.0.113.7;proto=https, for=10.0.0.1;host=a.example;proto=http"],
            ),
            (
                "the older fields, in front of the client",
                XForwarded,
                "2001:db8::1",
                "a.example",
                None,
                &[
                    "x-forwarded-for: 2001:db8::1",
                    "x-forwarded-proto: http",
                    "x-forwarded-host: a.example",
                ],
            ),
            (
                "the older fields, behind a trusted proxy: it knows scheme and host better",
                XForwarded,
                "10.0.0.1",
                "a.example",
                Some(told),
                &[
                    "x-forwarded-for: 203.0.113.7, 10.0.0.1",
                    "x-forwarded-proto: https",
                    "x-forwarded-host: www.example",
                ],
            ),
            (
                "kept as told",
                Keep,
                "10.0.0.1",
                "a.example",
                Some(&told[1..2]),
                &["x-forwarded-for: 203.0.113.7"],
            ),
            (
                "nothing told, nothing kept",
                Keep,
                "10.0.0.1",
                "a.example",
                None,
                &[],
            ),
        ] {
            let host = HeaderValue::from_static(host);
            let forwarded = Forwarded::new(policy, peer.parse().unwrap(), &host, told.map(map));
            let mut headers = map(&[("x-forwarded-proto", "gopher")]);
            headers.remove(X_FORWARDED_PROTO);
            if let Some(forwarded) = forwarded {
                forwarded.apply(&mut headers);
            }
            assert_eq!(lines(&headers), want, "{name}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_about_its_client() {
        let headers = map(&[
            ("x-forwarded-for", "1"),
            ("x-rewrite-url", "/admin"),
            ("accept", "*/*"),
        ]);
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let told = |peer: &str| told(&trusted, peer.parse().unwrap(), &headers);
        assert_eq!(told("192.0.2.1"), None);
        assert_eq!(lines(&told("10.1.1.1").unwrap()), ["x-forwarded-for: 1"]);
    }
}
