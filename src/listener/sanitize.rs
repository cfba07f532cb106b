//! Sanitize: what a request must look like before anything else reads it.
//!
//! `accept -> [sanitize] -> route`. Pure: a head goes in, and comes out in one form whatever the client wrote.
//!
//! # Invariants (of what comes out)
//!
//! - The target is in origin-form; its host, in lower case, is the one `Host` line (RFC 9112 3.2, 3.3).
//! - No hop-by-hop field, and none of the fields by which a client can speak over the key's head ([`is_hostile`]).
//! - `X-Request-Id` is taken out; the id is in [`Sanitized`], to be added on the way up and to the answer.
//! - Where the end of the request is in doubt, the answer is 400 and the connection closes (RFC 9112 11.2).
//!
//! hyper has refused by now what it cannot parse: an invalid or differing `Content-Length`, `Transfer-Encoding` in
//! HTTP/1.0 or not ending in `chunked`, spaces before a colon, too large or too many fields. `Content-Length` beside
//! `Transfer-Encoding` it resolves as RFC 9112 6.3 allows (the length is dropped, the connection ends after the
//! answer), so that nothing here or further up ever sees two framings. Tests in `accept` hold it to that.

use bytes::BytesMut;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode, Uri, Version,
    header::{ALLOW, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, TRANSFER_ENCODING},
    request,
    uri::{Authority, PathAndQuery},
};

use super::request_id::{RequestIds, X_REQUEST_ID};
use crate::{
    config::ServerConfig,
    http::{Body, Problem, Response, hop, upgrade},
};

/// What `Allow` says of methods that are refused for every target.
const ALLOWED: HeaderValue =
    HeaderValue::from_static("GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE");

/// A request that can be trusted to mean what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sanitized {
    /// The name it goes by: the client's own, or made here.
    pub request_id: HeaderValue,
    /// `Host` in lower case, port included. Empty only for HTTP/1.0 without `Host`.
    host: HeaderValue,
    /// Where the name in `host` ends and the port begins.
    name_len: usize,
    /// What it offers to switch to (RFC 9110 7.8). The field itself is taken out with the others of its connection.
    pub upgrade: Option<HeaderValue>,
}

/// Why a request ends here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 4xx, or 204 for `OPTIONS *`, which is answered here and refused nowhere.
    pub status: StatusCode,
    /// What is wrong with it, for whoever wrote the client.
    pub detail: &'static str,
    /// The connection cannot be used again: where the next request begins is in doubt.
    pub close: bool,
    /// The name the request goes by.
    pub request_id: HeaderValue,
}

/// What every request is held to. One per listener.
#[derive(Debug)]
pub struct Sanitizer {
    ids: RequestIds,
    headers_max: usize,
}

// --- Sanitizer ---

impl Sanitizer {
    /// With the limits of `[server]`.
    pub fn new(config: &ServerConfig) -> Self {
        Self {
            ids: RequestIds::new(),
            headers_max: config.headers_max,
        }
    }

    /// Checks a request's head and brings it into one form.
    ///
    /// # Errors
    /// The answer the client gets instead.
    pub fn sanitize(&self, parts: &mut request::Parts) -> Result<Sanitized, Refusal> {
        let request_id = self.ids.of(&parts.headers);
        let upgrade = upgrade::offered(parts);
        match check_and_normalise(parts, self.headers_max) {
            Ok((host, name_len)) => Ok(Sanitized {
                request_id,
                host,
                name_len,
                upgrade,
            }),
            Err(fault) => Err(fault.refusal(request_id)),
        }
    }
}

// --- Sanitized ---

impl Sanitized {
    /// The host without its port, in lower case. Empty only for HTTP/1.0 without `Host`.
    pub fn host_name(&self) -> &str {
        self.host
            .to_str()
            .map_or("", |host| host.get(..self.name_len).unwrap_or(host))
    }

    /// The host as it stands in `Host`: in lower case, with its port.
    pub fn host(&self) -> &HeaderValue {
        &self.host
    }
}

// --- Refusal ---

impl Refusal {
    /// The answer. Problem details, in the form the client prefers; nothing but fields for `OPTIONS *`.
    pub fn response(&self, method: &Method, request_headers: &HeaderMap) -> Response {
        let mut response = if self.status.is_success() {
            Response::new(Body::empty())
        } else {
            Problem::new(self.status)
                .detail(self.detail)
                .request_id(self.request_id.clone())
                .response(method, request_headers)
        };
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if self.status.is_success() || self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, ALLOWED);
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        headers.insert(X_REQUEST_ID, self.request_id.clone());
        response
    }
}

/// A refusal before it has a request id.
struct Fault {
    status: StatusCode,
    detail: &'static str,
    close: bool,
}

impl Fault {
    /// The request is understood, and so is where the next one begins.
    const fn refused(status: StatusCode, detail: &'static str) -> Self {
        Self {
            status,
            detail,
            close: false,
        }
    }

    /// The request is malformed: whatever follows it cannot be trusted.
    const fn malformed(detail: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            detail,
            close: true,
        }
    }

    fn refusal(self, request_id: HeaderValue) -> Refusal {
        let Self {
            status,
            detail,
            close,
        } = self;
        Refusal {
            status,
            detail,
            close,
            request_id,
        }
    }
}

fn check_and_normalise(
    parts: &mut request::Parts,
    headers_max: usize,
) -> Result<(HeaderValue, usize), Fault> {
    // HTTP/1 never comes this far; HTTP/2 knows a limit in bytes only.
    if parts.headers.len() > headers_max {
        return Err(Fault::refused(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "too many fields",
        ));
    }
    framing(parts)?;
    method(&parts.method)?;
    let (host, name_len) = host(parts)?;
    target(parts)?;
    hop::strip_request(&mut parts.headers);
    if parts.version < Version::HTTP_11 {
        // RFC 9110 10.1.1: from HTTP/1.0 it is ignored.
        parts.headers.remove(EXPECT);
    }
    join_cookies(parts.version, &mut parts.headers);
    strip_hostile(&mut parts.headers);
    Ok((host, name_len))
}

/// RFC 9112 6.1, 6.3: one framing, one that we know.
fn framing(parts: &request::Parts) -> Result<(), Fault> {
    let mut codings = parts.headers.get_all(TRANSFER_ENCODING).into_iter();
    let Some(coding) = codings.next() else {
        return Ok(());
    };
    if parts.version != Version::HTTP_11 {
        return Err(Fault::malformed(
            "Transfer-Encoding belongs to HTTP/1.1 only",
        ));
    }
    if parts.headers.contains_key(CONTENT_LENGTH) {
        return Err(Fault::malformed(
            "a request has either Content-Length or Transfer-Encoding",
        ));
    }
    // hyper looks at the last coding only; any other would reach the upstream undone.
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(Fault::malformed(
            "the only transfer coding understood here is chunked",
        ));
    }
    Ok(())
}

/// RFC 9110 9.3.6, 9.3.8: we are no tunnel, and we reflect nothing.
fn method(method: &Method) -> Result<(), Fault> {
    match *method {
        // What follows a CONNECT is meant for the tunnel.
        Method::CONNECT => Err(Fault {
            close: true,
            ..Fault::refused(StatusCode::METHOD_NOT_ALLOWED, "this is no tunnel")
        }),
        Method::TRACE => Err(Fault::refused(
            StatusCode::METHOD_NOT_ALLOWED,
            "TRACE is not answered here",
        )),
        _ => Ok(()),
    }
}

/// RFC 9112 3.2, 3.2.2; RFC 9113 8.3.1: which host is meant, said once and validly. Leaves it in the `Host` field.
fn host(parts: &mut request::Parts) -> Result<(HeaderValue, usize), Fault> {
    let mut lines = parts.headers.get_all(HOST).into_iter();
    let line = lines.next();
    if lines.next().is_some() {
        return Err(Fault::malformed("more than one Host field"));
    }
    if line.is_none() && parts.version == Version::HTTP_11 {
        return Err(Fault::malformed("an HTTP/1.1 request needs a Host field"));
    }
    let host = match (parts.uri.authority(), line) {
        (Some(authority), line) => authority_as_host(parts.version, authority, line)?,
        (None, Some(line)) => line.clone(),
        (None, None) if parts.version >= Version::HTTP_2 => {
            return Err(Fault::malformed("neither :authority nor Host"));
        }
        // HTTP/1.0 knew no Host.
        (None, None) => return Ok((HeaderValue::from_static(""), 0)),
    };
    let name_len = host_name_len(host.as_bytes()).ok_or(Fault::malformed("Host is not a host"))?;
    let host = in_lower_case(host);
    if parts.headers.get(HOST) != Some(&host) {
        parts.headers.insert(HOST, host.clone());
    }
    Ok((host, name_len))
}

/// The target's authority decides. In HTTP/1.1 it replaces `Host` (RFC 9112 3.2.2); in HTTP/2 a `Host` beside it that
/// says something else makes the request malformed (RFC 9113 8.3.1).
fn authority_as_host(
    version: Version,
    authority: &Authority,
    line: Option<&HeaderValue>,
) -> Result<HeaderValue, Fault> {
    let same = line.filter(|line| {
        line.as_bytes()
            .eq_ignore_ascii_case(authority.as_str().as_bytes())
    });
    match (same, line) {
        (Some(line), _) => Ok(line.clone()),
        (None, Some(_)) if version >= Version::HTTP_2 => {
            Err(Fault::malformed(":authority and Host differ"))
        }
        _ => HeaderValue::from_str(authority.as_str())
            .map_err(|_| Fault::malformed("the target's authority is not a host")),
    }
}

/// Length of the name in `name [":" port]`, `None` where that is not a host (RFC 3986 3.2.2). Userinfo is not part of
/// one (RFC 9110 4.2.4).
fn host_name_len(host: &[u8]) -> Option<usize> {
    let name_len = if host.first() == Some(&b'[') {
        let end = host.iter().position(|&byte| byte == b']')?;
        let literal = std::str::from_utf8(host.get(1..end)?).ok()?;
        literal.parse::<std::net::Ipv6Addr>().ok()?;
        end + 1
    } else {
        let end = host
            .iter()
            .position(|&byte| byte == b':')
            .unwrap_or(host.len());
        let is_name = end > 0 && host[..end].iter().all(|&byte| is_reg_name(byte));
        is_name.then_some(end)?
    };
    is_port(&host[name_len..]).then_some(name_len)
}

/// Unreserved characters and sub-delims of RFC 3986 3.2.2, without percent-encoding: no host we could route has one.
fn is_reg_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}

fn is_port(rest: &[u8]) -> bool {
    match rest.split_first() {
        None => true,
        Some((b':', digits)) => {
            digits.is_empty()
                || std::str::from_utf8(digits)
                    .is_ok_and(|digits| digits.parse::<u16>().is_ok() && !digits.starts_with('+'))
        }
        Some(_) => false,
    }
}

fn in_lower_case(host: HeaderValue) -> HeaderValue {
    if !host.as_bytes().iter().any(u8::is_ascii_uppercase) {
        return host;
    }
    let mut lower = BytesMut::from(host.as_bytes());
    lower.make_ascii_lowercase();
    HeaderValue::from_maybe_shared(lower.freeze()).unwrap_or(host)
}

/// RFC 9112 3.2: brings the target into origin-form.
fn target(parts: &mut request::Parts) -> Result<(), Fault> {
    if parts.uri.path() == "*" {
        return Err(if parts.method == Method::OPTIONS {
            Fault::refused(StatusCode::NO_CONTENT, "")
        } else {
            Fault::malformed("only OPTIONS can be about *")
        });
    }
    if parts
        .uri
        .scheme_str()
        .is_some_and(|scheme| scheme != "http" && scheme != "https")
    {
        return Err(Fault::malformed(
            "the target's scheme is neither http nor https",
        ));
    }
    if parts.uri.scheme().is_none() && parts.uri.authority().is_some() {
        return Err(Fault::malformed("the target is not a path"));
    }
    if !parts.uri.path().starts_with('/') {
        return Err(Fault::malformed(
            "the target's path does not begin with a slash",
        ));
    }
    if parts.uri.authority().is_some() {
        let path = parts
            .uri
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        parts.uri = Uri::from(path);
    }
    Ok(())
}

/// RFC 9113 8.2.3: HTTP/2 lets a client split its cookies over several fields, and nobody else.
fn join_cookies(version: Version, headers: &mut HeaderMap) {
    if version < Version::HTTP_2 || headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let lines: Vec<_> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// Fields by which a client can claim another origin, path, method, scheme, address or device than the request has, or
/// speak to the servers behind in words that only a proxy uses. They are no part of the key, so whoever believes them could
/// be made to answer one visitor with another's page, and behind this proxy nobody put them there but the client.
///
/// `_` counts as `-`: whoever hands fields on as CGI variables (RFC 3875 4.1.18) cannot tell them apart.
///
/// Out of reach are fields that ordinary clients send and a vendor reflects without `Vary`: a route that has such a vendor
/// lists them in `key.headers` or `request_headers.remove`.
pub fn is_hostile(name: &str) -> bool {
    if name.contains('_') {
        return is_hostile_name(&name.replace('_', "-"));
    }
    is_hostile_name(name)
}

fn is_hostile_name(name: &str) -> bool {
    // Families, each of one proxy or platform that strips or sets them itself.
    const FAMILIES: [&str; 12] = [
        "x-forward",
        "forwarded-",
        "cloudfront-",
        "wl-proxy-",
        "x-appengine-",
        "x-azure-",
        "x-envoy-",
        "x-http-method",
        "x-invoke-",
        "x-middleware-",
        "x-rewrite-",
        "x-vercel-ip-",
    ];
    if matches!(name.as_bytes().first(), Some(b'x' | b'f' | b'c' | b'w'))
        && FAMILIES.iter().any(|family| name.starts_with(family))
    {
        return true;
    }
    matches!(
        name,
        // Origin and target.
        "forwarded"
            | "x-original-url"
            | "x-original-uri"
            | "x-original-path"
            | "x-original-host"
            | "x-original-method"
            | "x-original-scheme"
            | "x-original-proto"
            | "x-original-prefix"
            | "x-host"
            | "x-host-override"
            | "x-http-host-override"
            | "x-http-destinationurl"
            | "x-backend-host"
            | "x-proxy-host"
            | "x-proxy-url"
            | "x-real-host"
            | "x-real-uri"
            | "x-real-url"
            | "x-replaced-path"
            | "x-request-uri"
            | "x-request-url"
            | "x-script-name"
            | "fastly-orig-host"
            // Method.
            | "x-method-override"
            // Scheme.
            | "front-end-https"
            | "x-arr-ssl"
            | "x-scheme"
            | "x-url-scheme"
            | "cf-visitor"
            | "fastly-ssl"
            // Address.
            | "akamai-client-ip"
            | "akamai-origin-hop"
            | "cf-connecting-ip"
            | "cf-connecting-ipv6"
            | "cf-ipcountry"
            | "cf-pseudo-ipv4"
            | "client-ip"
            | "fastly-client-ip"
            | "fastly-temp-xff"
            | "proxy-client-ip"
            | "true-client-ip"
            | "x-akamai-edgescape"
            | "x-client-ip"
            | "x-cluster-client-ip"
            | "x-custom-ip-authorization"
            | "x-nf-client-connection-ip"
            | "x-original-forwarded-for"
            | "x-original-remote-addr"
            | "x-originating-ip"
            | "x-proxyuser-ip"
            | "x-real-ip"
            | "x-remote-addr"
            | "x-remote-ip"
            | "x-vercel-forwarded-for"
            // Device.
            | "device-stock-ua"
            | "x-att-deviceid"
            | "x-bolt-phone-ua"
            | "x-device-user-agent"
            | "x-operamini-phone-ua"
            | "x-original-user-agent"
            | "x-ucbrowser-device-ua"
            | "x-wap-profile"
            // Where the server sends its own requests, and which files it hands out.
            | "proxy"
            | "x-accel-mapping"
            | "x-sendfile-type"
    )
}

fn is_removed(name: &str) -> bool {
    is_hostile(name) || name == X_REQUEST_ID.as_str()
}

fn strip_hostile(headers: &mut HeaderMap) {
    if !headers.keys().any(|name| is_removed(name.as_str())) {
        return;
    }
    let names: Vec<_> = headers
        .keys()
        .filter(|name| is_removed(name.as_str()))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, Request};

    use super::*;

    fn sanitizer() -> Sanitizer {
        Sanitizer {
            ids: RequestIds::new(),
            headers_max: 20,
        }
    }

    fn parts(method: &str, uri: &str, version: Version, fields: &[(&str, &str)]) -> request::Parts {
        let mut request = Request::builder().method(method).uri(uri).version(version);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_host_is_said_once_and_validly() {
        use Version as V;
        for (name, version, uri, hosts, want) in [
            ("a name", V::HTTP_11, "/", &["a"][..], Some("a")),
            (
                "a name in capitals, a port",
                V::HTTP_11,
                "/",
                &["A.Example:80"],
                Some("a.example"),
            ),
            (
                "an IPv4 address",
                V::HTTP_11,
                "/",
                &["127.0.0.1:80"],
                Some("127.0.0.1"),
            ),
            (
                "an IPv6 address",
                V::HTTP_11,
                "/",
                &["[::1]:80"],
                Some("[::1]"),
            ),
            ("an empty port", V::HTTP_11, "/", &["a:"], Some("a")),
            ("none in HTTP/1.1", V::HTTP_11, "/", &[], None),
            ("none in HTTP/1.0", V::HTTP_10, "/", &[], Some("")),
            ("none in HTTP/2", V::HTTP_2, "/", &[], None),
            ("two", V::HTTP_11, "/", &["a", "b"], None),
            ("two in HTTP/1.0", V::HTTP_10, "/", &["a", "a"], None),
            ("an empty one", V::HTTP_11, "/", &[""], None),
            ("a port alone", V::HTTP_11, "/", &[":80"], None),
            (
                "a port that is no number",
                V::HTTP_11,
                "/",
                &["a:http"],
                None,
            ),
            ("a port with a sign", V::HTTP_11, "/", &["a:+80"], None),
            ("a port beyond 65535", V::HTTP_11, "/", &["a:65536"], None),
            ("two ports", V::HTTP_11, "/", &["a:80:80"], None),
            ("userinfo", V::HTTP_11, "/", &["u@a"], None),
            ("a path", V::HTTP_11, "/", &["a/b"], None),
            ("a backslash", V::HTTP_11, "/", &["a\\b"], None),
            ("percent-encoding", V::HTTP_11, "/", &["a%2eb"], None),
            (
                "an IPv6 address that is none",
                V::HTTP_11,
                "/",
                &["[::g]"],
                None,
            ),
            (
                "an IPv6 address without its end",
                V::HTTP_11,
                "/",
                &["[::1"],
                None,
            ),
            (
                "something behind an IPv6 address",
                V::HTTP_11,
                "/",
                &["[::1]x"],
                None,
            ),
            (
                "absolute-form wins",
                V::HTTP_11,
                "http://t.example/",
                &["h.example"],
                Some("t.example"),
            ),
            (
                "absolute-form needs Host too",
                V::HTTP_11,
                "http://t.example/",
                &[],
                None,
            ),
            (
                "absolute-form with userinfo",
                V::HTTP_11,
                "http://u@t.example/",
                &["t.example"],
                None,
            ),
            (
                ":authority",
                V::HTTP_2,
                "http://T.example/",
                &[],
                Some("t.example"),
            ),
            (
                ":authority and the same Host",
                V::HTTP_2,
                "http://t.example/",
                &["T.Example"],
                Some("t.example"),
            ),
            (
                ":authority and another Host",
                V::HTTP_2,
                "http://t.example/",
                &["h.example"],
                None,
            ),
            (
                "Host alone in HTTP/2",
                V::HTTP_2,
                "/",
                &["h.example"],
                Some("h.example"),
            ),
        ] {
            let fields: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            let mut parts = parts("GET", uri, version, &fields);
            let got = sanitizer().sanitize(&mut parts);
            assert_eq!(
                got.as_ref().ok().map(Sanitized::host_name),
                want,
                "{name}: {got:?}"
            );
            match got {
                Ok(sanitized) => {
                    assert!(parts.uri.authority().is_none(), "{name}: origin-form");
                    let lines = parts.headers.get_all(HOST).iter().count();
                    assert_eq!(
                        lines,
                        usize::from(!sanitized.host().is_empty()),
                        "{name}: one line"
                    );
                }
                Err(refusal) => assert!(
                    refusal.close && refusal.status == 400,
                    "{name}: {refusal:?}"
                ),
            }
        }
    }

    #[test]
    fn what_clients_cannot_be_believed_is_removed() {
        let hostile = [
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-anything",
            "forwarded",
            "x_forwarded_host",
            "x-original-url",
            "x-rewrite-url",
            "x-http-method-override",
            "x-real-ip",
            "x_real-ip",
            "proxy",
            "connection",
            "keep-alive",
            "x-nominated",
            "x-request-id",
        ];
        let mut fields: Vec<_> = hostile.iter().map(|name| (*name, "x-nominated")).collect();
        fields.extend([
            ("host", "a"),
            ("accept", "*/*"),
            ("cookie", "c=1"),
            ("x-custom", "1"),
            ("x_custom", "1"),
            ("fastly-key", "1"),
            ("cf-access-client-id", "1"),
            ("x-amz-date", "1"),
        ]);
        let mut parts = parts("GET", "/", Version::HTTP_11, &fields);
        let sanitizer = Sanitizer {
            headers_max: fields.len(),
            ..sanitizer()
        };
        let sanitized = sanitizer.sanitize(&mut parts).unwrap();
        let mut left: Vec<_> = parts.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        let credentials = ["cf-access-client-id", "cookie", "fastly-key"];
        let others = ["accept", "host", "x-amz-date", "x-custom", "x_custom"];
        let mut want = [&credentials[..], &others].concat();
        want.sort_unstable();
        assert_eq!(left, want);
        assert_eq!(
            sanitized.request_id, "x-nominated",
            "the client's id is kept, beside the fields"
        );
    }

    #[test]
    fn a_refusal_says_whether_the_connection_can_go_on() {
        for (name, method, uri, status, close, allow) in [
            ("OPTIONS * is answered", "OPTIONS", "*", 204, false, true),
            ("TRACE is not", "TRACE", "/", 405, false, true),
            (
                "after CONNECT come bytes for a tunnel",
                "CONNECT",
                "a:443",
                405,
                true,
                true,
            ),
            ("* is for OPTIONS only", "GET", "*", 400, true, false),
            ("a host is no target", "GET", "a:443", 400, true, false),
            ("nor is another scheme", "GET", "ftp://a/", 400, true, false),
        ] {
            let mut parts = parts(
                method,
                uri,
                Version::HTTP_11,
                &[("host", "a:443"), ("x-request-id", "id-1")],
            );
            let refusal = sanitizer().sanitize(&mut parts).unwrap_err();
            let response = refusal.response(&parts.method, &parts.headers);
            assert_eq!(response.status(), status, "{name}");
            assert_eq!(response.headers().contains_key(CONNECTION), close, "{name}");
            assert_eq!(response.headers().contains_key(ALLOW), allow, "{name}");
            assert_eq!(response.headers()[X_REQUEST_ID], "id-1", "{name}");
            assert_eq!(
                response.body().exact_len() == Some(0),
                status == 204,
                "{name}"
            );
        }
    }

    #[test]
    fn one_field_too_many_is_refused() {
        let names: Vec<_> = (0..20).map(|index| format!("x-{index}")).collect();
        let mut fields: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
        fields.push(("host", "a"));
        let mut crowded = parts("GET", "/", Version::HTTP_2, &fields);
        assert_eq!(sanitizer().sanitize(&mut crowded).unwrap_err().status, 431);
        let mut full = parts("GET", "/", Version::HTTP_2, &fields[1..]);
        assert!(sanitizer().sanitize(&mut full).is_ok());
    }
}
