//! Guard: who may read the admin API.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{
    HeaderValue, StatusCode,
    header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE},
};
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};

use super::routes::problem;
use crate::http::Problem;

/// What a request has to show.
#[derive(Clone, Debug)]
pub(super) enum Guard {
    /// The token of `[admin]`.
    Token(Box<Token>),
    /// That it was meant for this machine, by name.
    OwnName,
}

/// A token, kept as something that can only be compared with, in constant time.
#[derive(Clone, Debug)]
pub(super) struct Token {
    key: hmac::Key,
    tag: hmac::Tag,
}

impl Guard {
    pub(super) fn new(token: Option<&SecretString>) -> Self {
        match token {
            Some(token) => Self::Token(Box::new(Token::new(token.expose_secret().as_bytes()))),
            None => Self::OwnName,
        }
    }

    fn check(&self, request: &Request) -> Result<(), Refused> {
        let (is_allowed, refused) = match self {
            Self::Token(token) => (
                bearer(request).is_some_and(|presented| token.is(presented)),
                NO_TOKEN,
            ),
            Self::OwnName => (host_name(request).is_some_and(is_own_name), OTHER_NAME),
        };
        if is_allowed { Ok(()) } else { Err(refused) }
    }
}

/// What a request lacks.
#[derive(Clone, Copy, Debug)]
struct Refused {
    status: StatusCode,
    detail: &'static str,
}

const NO_TOKEN: Refused = Refused {
    status: StatusCode::UNAUTHORIZED,
    detail: "send the token of [admin] as `Authorization: Bearer TOKEN`",
};
const OTHER_NAME: Refused = Refused {
    status: StatusCode::FORBIDDEN,
    detail: "ask for localhost, 127.0.0.1 or [::1]; other names need a token in [admin]",
};

impl Token {
    fn new(token: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, token);
        let tag = hmac::sign(&key, token);
        Self { key, tag }
    }

    fn is(&self, presented: &[u8]) -> bool {
        hmac::verify(&self.key, presented, self.tag.as_ref()).is_ok()
    }
}

/// Lets a request through that shows what it has to.
pub(super) async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.check(&request) {
        Ok(()) => next.run(request).await,
        Err(Refused { status, detail }) => {
            let refused = Problem::new(status).detail(detail);
            let mut response = problem(&refused, request.method(), request.headers());
            if status == StatusCode::UNAUTHORIZED {
                response
                    .headers_mut()
                    .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response
        }
    }
}

/// RFC 6750 2.1; the scheme's name in any case (RFC 9110 11.1).
fn bearer(request: &Request) -> Option<&[u8]> {
    let value = request.headers().get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| token.trim_ascii())
}

/// The host that the client meant, without its port.
fn host_name(request: &Request) -> Option<&str> {
    if let Some(host) = request.uri().host() {
        return Some(host);
    }
    let host = request.headers().get(HOST)?.to_str().ok()?;
    match host.rsplit_once(':') {
        // The colon belongs to an IPv6 address.
        Some((name, port)) if !port.ends_with(']') => Some(name),
        _ => Some(host),
    }
}

/// Names that no DNS server can point elsewhere.
fn is_own_name(name: &str) -> bool {
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&str, &str)]) -> Request {
        let mut request = Request::new(axum::body::Body::empty());
        for (name, value) in fields {
            let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            request
                .headers_mut()
                .insert(name, HeaderValue::from_str(value).unwrap());
        }
        request
    }

    #[test]
    fn without_a_token_only_this_machines_own_names_are_answered() {
        let guard = Guard::new(None);
        for (host, want) in [
            ("localhost", true),
            ("LOCALHOST:9090", true),
            ("127.0.0.1:9090", true),
            ("127.1.2.3", true),
            ("[::1]:9090", true),
            ("[::1]", true),
            ("evil.example", false),
            ("evil.example:9090", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("10.0.0.1", false),
            ("", false),
        ] {
            assert_eq!(
                guard.check(&request(&[("host", host)])).is_ok(),
                want,
                "{host}"
            );
        }
        assert!(guard.check(&request(&[])).is_err(), "no Host at all");
    }

    #[test]
    fn with_a_token_only_the_token_counts() {
        let guard = Guard::new(Some(&SecretString::from("s3cret")));
        for (value, want) in [
            ("Bearer s3cret", true),
            ("bearer s3cret", true),
            ("Bearer s3cre", false),
            ("Bearer s3cret2", false),
            ("Bearer ", false),
            ("Bearer", false),
            ("Basic s3cret", false),
            ("s3cret", false),
        ] {
            let request = request(&[("authorization", value), ("host", "admin.example")]);
            assert_eq!(guard.check(&request).is_ok(), want, "{value}");
        }
        assert!(
            guard.check(&request(&[("host", "localhost")])).is_err(),
            "the name does not stand in for the token"
        );
    }
}
