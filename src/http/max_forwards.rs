//! Max-Forwards: how many more hops a question about the chain itself may take (RFC 9110 7.6.2).
//!
//! Only `OPTIONS` has it here; `TRACE`, the other one, is refused at the door.

use http::{
    HeaderMap, HeaderValue, Method,
    header::{ALLOW, MAX_FORWARDS},
};

/// Whether this hop is the last one: then it is answered here. Otherwise the field counts one hop less from here on.
///
/// A value that is no number is left to those behind.
pub fn is_last_hop(method: &Method, headers: &mut HeaderMap) -> bool {
    if method != Method::OPTIONS {
        return false;
    }
    let Some(hops) = headers.get(MAX_FORWARDS).and_then(number) else {
        return false;
    };
    if hops > 0 {
        headers.insert(MAX_FORWARDS, HeaderValue::from(hops - 1));
    }
    hops == 0
}

fn number(value: &HeaderValue) -> Option<u64> {
    let digits = value.to_str().ok()?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // Further than anybody can count is far (RFC 9110 7.6.2 lets us take the largest number we support).
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// `Allow` for these methods; `None` stands for all that are common.
pub fn allow(methods: Option<&[Method]>) -> HeaderValue {
    const COMMON: HeaderValue =
        HeaderValue::from_static("GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE");
    let Some(methods) = methods else {
        return COMMON;
    };
    let names: Vec<_> = methods.iter().map(Method::as_str).collect();
    HeaderValue::try_from(names.join(", ")).unwrap_or(COMMON)
}

/// What the last hop answers.
pub fn answer(methods: Option<&[Method]>) -> super::Response {
    let mut response = super::Response::new(super::Body::empty());
    *response.status_mut() = http::StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, allow(methods));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hop_counts_one_and_the_last_one_answers() {
        for (name, method, value, want_last, want) in [
            ("absent", "OPTIONS", None, false, None),
            ("the last hop", "OPTIONS", Some("0"), true, Some("0")),
            ("leading zeroes", "OPTIONS", Some("000"), true, Some("000")),
            ("one more", "OPTIONS", Some("1"), false, Some("0")),
            ("several more", "OPTIONS", Some("10"), false, Some("9")),
            (
                "more than can be counted",
                "OPTIONS",
                Some("99999999999999999999999"),
                false,
                Some("18446744073709551614"),
            ),
            ("no number", "OPTIONS", Some("-1"), false, Some("-1")),
            ("nothing", "OPTIONS", Some(""), false, Some("")),
            (
                "means nothing for other methods",
                "GET",
                Some("0"),
                false,
                Some("0"),
            ),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(MAX_FORWARDS, HeaderValue::from_static(value));
            }
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(is_last_hop(&method, &mut headers), want_last, "{name}");
            let left = headers.get(MAX_FORWARDS).map(|left| left.to_str().unwrap());
            assert_eq!(left, want, "{name}");
        }
    }

    #[test]
    fn the_answer_says_what_is_allowed() {
        let some = answer(Some(&[Method::GET, Method::OPTIONS]));
        assert_eq!(some.status(), 204);
        assert_eq!(some.headers()[ALLOW], "GET, OPTIONS");
        assert!(
            answer(None).headers()[ALLOW]
                .to_str()
                .unwrap()
                .contains("PATCH")
        );
    }
}
