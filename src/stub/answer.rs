//! Questions and answers: what a resource sees, what it gives back, and the conditions of RFC 9110 13.
//!
//! Pure: a resource is a function of a [`Question`], which carries the time and the seed. Faults come
//! after this (`spoil`, `serve`).

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::body::Content;
use crate::clock::Timestamp;

/// A request, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) method: Method,
    pub(crate) protocol: Version,
    pub(crate) path: String,
    /// Decoded pairs, in order.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) now: Timestamp,
    /// All data is a function of this and the time.
    pub(crate) seed: u64,
    /// How often data changes.
    pub(crate) change_every: Duration,
}

/// What a resource gives back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) content: Content,
    /// Wait before the head.
    pub(crate) delay: Duration,
    /// Whether to send `Date`; a vendor without a clock does not (RFC 9110 6.6.1).
    pub(crate) dated: bool,
}

// --- Question ---

impl Question {
    pub(crate) fn segments(&self) -> Vec<&str> {
        self.path.trim_start_matches('/').split('/').collect()
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let pair = self.query.iter().find(|(key, _)| key == name);
        pair.map(|(_, value)| value.as_str())
    }

    /// Counts how often data has changed; `slower` multiplies the interval.
    pub(crate) fn version(&self, slower: u32) -> u64 {
        self.now.as_millis() / self.change_millis(slower)
    }

    /// When the current version began.
    pub(crate) fn version_began(&self, slower: u32) -> Timestamp {
        Timestamp::from_millis(self.version(slower) * self.change_millis(slower))
    }

    fn change_millis(&self, slower: u32) -> u64 {
        let millis = self.change_every.saturating_mul(slower).as_millis();
        u64::try_from(millis).unwrap_or(u64::MAX).max(1)
    }

    /// A number that looks like chance and is a function of seed, `what` and `version`.
    pub(crate) fn draw(&self, what: &[&str], version: u64) -> u64 {
        let named = what.join("\u{1f}");
        xxh3_64_with_seed(named.as_bytes(), self.seed ^ version.rotate_left(32))
    }

    /// Answers 405 unless the method is one of `methods` (RFC 9110 15.5.6).
    pub(crate) fn refused_method(&self, methods: &[&str]) -> Option<Answer> {
        if methods.contains(&self.method.as_str()) {
            return None;
        }
        let allowed = methods.join(", ");
        let text = format!("this resource takes {allowed}");
        let refusal = Answer::problem(StatusCode::METHOD_NOT_ALLOWED, &text);
        Some(refusal.with(header::ALLOW, &allowed))
    }
}

// --- Answer ---

impl Answer {
    pub(crate) fn new(status: StatusCode, content: Content) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            content,
            delay: Duration::ZERO,
            dated: true,
        }
    }

    pub(crate) fn json(status: StatusCode, value: &Value) -> Self {
        let content = Content::Whole(value.to_string().into());
        Self::new(status, content).with(header::CONTENT_TYPE, "application/json")
    }

    /// An error in the vendor's own format, which is not Problem Details: few vendors know it.
    pub(crate) fn problem(status: StatusCode, text: &str) -> Self {
        Self::json(status, &json!({ "error": text, "status": status.as_u16() }))
    }

    /// JSON with both validators and a lifetime.
    pub(crate) fn cacheable(value: &Value, cache_control: &str, modified: Timestamp) -> Self {
        Self::json(StatusCode::OK, value)
            .with(header::CACHE_CONTROL, cache_control)
            .with(header::LAST_MODIFIED, &http_date(modified))
            .with_etag_of_content()
    }

    /// Sets a field; text that no field can hold leaves it out.
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// A strong validator made from the bytes; made bodies have none.
    pub(crate) fn with_etag_of_content(self) -> Self {
        match &self.content {
            Content::Whole(bytes) => {
                let etag = format!("\"{:016x}\"", xxh3_64_with_seed(bytes, 0));
                self.with(header::ETAG, &etag)
            }
            _ => self,
        }
    }

    /// This answer, or 304 where the request's conditions say that the client has it.
    pub(crate) fn unless_not_modified(self, question: &Question) -> Self {
        let asks = question.method == Method::GET || question.method == Method::HEAD;
        if asks && self.status == StatusCode::OK && self.is_what_client_has(&question.headers) {
            self.not_modified()
        } else {
            self
        }
    }

    /// RFC 9110 13.2.2: `If-Modified-Since` is looked at only where there is no `If-None-Match`.
    fn is_what_client_has(&self, asked: &HeaderMap) -> bool {
        if asked.contains_key(header::IF_NONE_MATCH) {
            let lists = asked.get_all(header::IF_NONE_MATCH).iter();
            return lists
                .filter_map(|list| list.to_str().ok())
                .any(|list| self.is_listed(list));
        }
        let since = asked.get(header::IF_MODIFIED_SINCE).and_then(date_of);
        let modified = self.headers.get(header::LAST_MODIFIED).and_then(date_of);
        matches!((since, modified), (Some(since), Some(modified)) if modified <= since)
    }

    /// Weak comparison, RFC 9110 8.8.3.2.
    fn is_listed(&self, list: &str) -> bool {
        let Some(etag) = self
            .headers
            .get(header::ETAG)
            .and_then(|etag| etag.to_str().ok())
        else {
            return list.trim() == "*";
        };
        let opaque = |etag: &str| etag.trim().trim_start_matches("W/").to_owned();
        list.trim() == "*" || list.split(',').any(|listed| opaque(listed) == opaque(etag))
    }

    /// RFC 9110 15.4.5: the fields of the 200, without those that describe a body.
    fn not_modified(mut self) -> Self {
        self.headers.remove(header::CONTENT_TYPE);
        self.headers.remove(header::CONTENT_LENGTH);
        Self {
            status: StatusCode::NOT_MODIFIED,
            content: Content::empty(),
            ..self
        }
    }
}

/// A date as HTTP writes it; seconds are all it can say.
pub(crate) fn http_date(time: Timestamp) -> String {
    httpdate::fmt_http_date(time.into())
}

fn date_of(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

#[cfg(test)]
pub(crate) fn question(method: &str, target: &str) -> Question {
    let uri: http::Uri = target.parse().unwrap();
    let query = axum::extract::Query::try_from_uri(&uri).unwrap();
    Question {
        method: method.parse().unwrap(),
        protocol: Version::HTTP_11,
        path: uri.path().into(),
        query: query.0,
        headers: HeaderMap::new(),
        body: Bytes::new(),
        now: Timestamp::from_secs(1_800_000_000),
        seed: 1,
        change_every: Duration::from_secs(10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_follow_rfc9110_13() {
        let modified = Timestamp::from_secs(1_800_000_000);
        let answer = Answer::cacheable(&json!({ "a": 1 }), "max-age=1", modified);
        let etag = answer.headers[header::ETAG].to_str().unwrap().to_owned();
        let (same, before) = (
            http_date(modified),
            http_date(Timestamp::from_secs(1_799_999_999)),
        );
        for (name, method, fields, want) in [
            ("no condition", "GET", vec![], 200),
            (
                "same etag",
                "GET",
                vec![("if-none-match", etag.clone())],
                304,
            ),
            (
                "HEAD too",
                "HEAD",
                vec![("if-none-match", etag.clone())],
                304,
            ),
            (
                "weak form",
                "GET",
                vec![("if-none-match", format!("\"x\", W/{etag}"))],
                304,
            ),
            ("any", "GET", vec![("if-none-match", "*".into())], 304),
            (
                "other etag",
                "GET",
                vec![("if-none-match", "\"x\"".into())],
                200,
            ),
            (
                "not modified since",
                "GET",
                vec![("if-modified-since", same.clone())],
                304,
            ),
            (
                "modified since",
                "GET",
                vec![("if-modified-since", before)],
                200,
            ),
            (
                "unreadable date",
                "GET",
                vec![("if-modified-since", "soon".into())],
                200,
            ),
            (
                "etag decides over date",
                "GET",
                vec![
                    ("if-none-match", "\"x\"".into()),
                    ("if-modified-since", same),
                ],
                200,
            ),
            (
                "POST has no 304",
                "POST",
                vec![("if-none-match", etag.clone())],
                200,
            ),
        ] {
            let mut asked = question(method, "/");
            for (field, value) in fields {
                asked.headers.insert(field, value.parse().unwrap());
            }
            let got = answer.clone().unless_not_modified(&asked);
            assert_eq!(got.status.as_u16(), want, "{name}");
            if want == 304 {
                assert_eq!(got.content, Content::empty(), "{name}");
                assert_eq!(got.headers[header::ETAG], etag, "{name}");
                assert_eq!(got.headers[header::CACHE_CONTROL], "max-age=1", "{name}");
            }
        }
    }
}
