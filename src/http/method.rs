//! What a method promises (RFC 9110 9.2), QUERY among the others (RFC 10008), which the `http` crate does not know.

use http::Method;

/// Whether this is QUERY: a question whose words are the request's content; safe, idempotent, cacheable (RFC 10008 2).
pub fn is_query(method: &Method) -> bool {
    method.as_str() == "QUERY"
}

/// Whether a request with this method asks for no change (RFC 9110 9.2.1).
pub fn is_safe(method: &Method) -> bool {
    method.is_safe() || is_query(method)
}

/// Whether a second one does nothing that the first did not (RFC 9110 9.2.2).
pub fn is_idempotent(method: &Method) -> bool {
    method.is_idempotent() || is_query(method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_reads_and_may_be_repeated_and_is_spelled_in_capitals() {
        for (method, safe, idempotent) in [
            ("GET", true, true),
            ("QUERY", true, true),
            ("query", false, false),
            ("PUT", false, true),
            ("POST", false, false),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(
                (is_safe(&method), is_idempotent(&method)),
                (safe, idempotent),
                "{method}"
            );
        }
    }
}
