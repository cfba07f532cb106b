//! What judges answers as targets of `crate::fuzzing`.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use serde_json::Value;

use crate::contract::{
    ContentTypes, Effort, Limits, MediaKind, Schema, check_type, decode, well_formed,
};

const LIMITS: Limits = Limits {
    body_bytes_max: 64 << 10,
    depth_max: 16,
    values_max: 1000,
    time_max: std::time::Duration::from_secs(1),
};

/// The same bytes as CSV, as XML, zipped, and as a page: no panic, and nothing larger than the bound.
pub(crate) fn forms(bytes: &[u8]) {
    for kind in [
        MediaKind::Csv {
            has_header: true,
            is_utf8: bytes.len().is_multiple_of(2),
            is_tabs: false,
        },
        MediaKind::Xml { charset: None },
    ] {
        let effort = Effort::new(&LIMITS, &|| false);
        let _ = well_formed(&kind, bytes, &LIMITS, &effort);
    }
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    let page = check_type(&ContentTypes::json(), &headers, bytes);
    assert!(page.is_err_and(|breach| breach.message.chars().count() < 300));
    if let Ok(line) = HeaderValue::from_bytes(bytes) {
        headers.insert(header::CONTENT_TYPE, line);
        let _ = check_type(&ContentTypes::any(), &headers, b"");
    }
    for coding in ["gzip", "deflate"] {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
        if let Ok(decoded) = decode(&headers, &Bytes::copy_from_slice(bytes), 4096) {
            assert!(decoded.len() <= 4096);
        }
    }
}

/// A schema on the first line, an answer below it: what is refused is refused at a place, and judging ends.
pub(crate) fn schemas(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (document, answer) = text.split_once('\n').unwrap_or((&text, "null"));
    let schema = match Schema::compile(document, "a/b.json", &|_| Err("no files".to_owned())) {
        Ok(schema) => schema,
        Err(error) => {
            assert!(!error.message.is_empty());
            let span = error.span(document);
            assert!(span.start <= span.end);
            return;
        }
    };
    let Ok(answer) = serde_json::from_str::<Value>(answer) else {
        return;
    };
    let effort = Effort::of_steps(100_000, &|| false);
    let mut violations = Vec::new();
    let checked = schema.check(&answer, &effort, 5, &mut violations);
    assert!(violations.len() <= 5 && (checked.is_ok() || violations.is_empty()));
    for violation in violations {
        assert!(answer.pointer(&violation.place).is_some(), "{violation:?}");
    }
}
