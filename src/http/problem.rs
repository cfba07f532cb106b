//! Problem details (RFC 9457): the answer made here when nothing better exists, as JSON or as a page for people.
//!
//! The only text in it that did not come from this file is the route's own message for visitors, the request id and a
//! short `detail` of the caller's making: never an upstream's name, address or error.
//!
//! # Invariants
//!
//! - Never stored by anyone: `Cache-Control: no-store`.
//! - The page needs nothing but itself, and every inserted text is escaped.
//! - An answer to `HEAD` has the fields of the answer to `GET` and no content (RFC 9110 9.3.2).

use std::{borrow::Cow, fmt::Write as _, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, VARY},
};
use serde::Serialize;

use super::{Body, Response};
use crate::failure::Sent;

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const VARY_ACCEPT: HeaderValue = HeaderValue::from_static("Accept");

/// What a client is told when there is no answer for it.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The response's status.
    pub status: StatusCode,
    /// URI of the problem type. Default: `about:blank`, the status alone says it (RFC 9457 4.2.1).
    pub kind: &'static str,
    /// Short and the same for every problem of this type. Default: the status's reason phrase.
    pub title: Cow<'static, str>,
    /// What is particular about this occurrence, for whoever wrote the client. Nothing internal.
    pub detail: Option<Cow<'static, str>>,
    /// Names the occurrence; shown so that a visitor can quote it.
    pub request_id: Option<HeaderValue>,
    /// The route's own words for the site's visitors.
    pub message: Option<Arc<str>>,
    /// When to come back, where it is known. Rounded up to whole seconds.
    pub retry_after: Option<Duration>,
    /// Of a request that changes something: how far it got. Default: nothing is said about it.
    pub write: Option<Write>,
}

/// How far a request got that was to change something, and what sending it again would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// What left us.
    pub sent: Sent,
    /// Several of the same have the effect of one: by the method (RFC 9110 9.2.2), or by a key that tells repetitions.
    pub idempotent: bool,
}

impl Problem {
    /// A problem of this status, nothing more known.
    pub fn new(status: StatusCode) -> Self {
        Self {
            status,
            kind: "about:blank",
            title: Cow::Borrowed(status.canonical_reason().unwrap_or("Error")),
            detail: None,
            request_id: None,
            message: None,
            retry_after: None,
            write: None,
        }
    }

    /// Adds what is particular about this occurrence.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the request's id.
    #[must_use]
    pub fn request_id(mut self, id: HeaderValue) -> Self {
        self.request_id = Some(id);
        self
    }

    /// Adds the route's words for visitors.
    #[must_use]
    pub fn message(mut self, message: Option<Arc<str>>) -> Self {
        self.message = message;
        self
    }

    /// Adds when to come back.
    #[must_use]
    pub fn retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// Adds how far a request got that was to change something.
    #[must_use]
    pub fn write(mut self, write: Option<Write>) -> Self {
        self.write = write;
        self
    }

    /// The response to a request with this method and these fields: a page where `Accept` prefers HTML, else JSON.
    pub fn response(&self, method: &Method, request_headers: &HeaderMap) -> Response {
        let (content_type, content) = if prefers_html(request_headers) {
            (HTML, self.html())
        } else {
            (PROBLEM_JSON, self.json())
        };
        let length = content.len();
        let body = if method == Method::HEAD {
            Body::empty()
        } else {
            Body::full(Bytes::from(content))
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, content_type);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(CACHE_CONTROL, NO_STORE);
        headers.insert(VARY, VARY_ACCEPT);
        if let Some(secs) = self.retry_after_secs() {
            headers.insert(RETRY_AFTER, HeaderValue::from(secs));
        }
        response
    }

    /// The RFC 9457 document.
    pub fn json(&self) -> String {
        let request_id = self.request_id_text();
        let document = Document {
            kind: self.kind,
            title: &self.title,
            status: self.status.as_u16(),
            detail: self.full_detail(),
            instance: (!request_id.is_empty()).then(|| instance(&request_id)),
            request_id: (!request_id.is_empty()).then_some(&*request_id),
            message: self.message.as_deref(),
            retry_after: self.retry_after_secs(),
            sent: self.write.map(|write| write.sent.as_str()),
        };
        serde_json::to_string(&document).expect("strings and numbers always serialise")
    }

    /// The same for people: plain words, the request id, nothing internal.
    pub fn html(&self) -> String {
        let status = self.status.as_u16();
        let mut page = String::with_capacity(2048);
        page.push_str(PAGE_HEAD);
        push_escaped(&mut page, headline(self.status));
        page.push_str("</title>\n</head>\n<body>\n<main>\n<h1>");
        push_escaped(&mut page, headline(self.status));
        page.push_str("</h1>\n<p>");
        push_escaped(
            &mut page,
            self.message.as_deref().unwrap_or_else(|| match self.write {
                // What to do about it follows; a general word about trying again would speak against it.
                Some(_) => "We cannot do this at the moment. It is not your fault.",
                None => advice(self.status),
            }),
        );
        page.push_str("</p>\n");
        if let Some(write) = self.write {
            page.push_str("<p>");
            push_escaped(&mut page, write.sentences());
            page.push_str("</p>\n");
        }
        let may_repeat = self.write.is_some_and(Write::may_repeat);
        if let Some(secs) = self.retry_after_secs().filter(|_| !may_repeat) {
            page.push_str("<p>Please try again in ");
            push_escaped(&mut page, &spoken_duration(secs));
            page.push_str(".</p>\n");
        }
        let id = self.request_id_text();
        let _ = write!(page, "<footer>{status}");
        if !id.is_empty() {
            page.push_str(" &middot; reference <code>");
            push_escaped(&mut page, &id);
            page.push_str("</code>");
        }
        page.push_str("</footer>\n</main>\n</body>\n</html>\n");
        page
    }

    /// The detail, and how far a write got.
    fn full_detail(&self) -> Option<Cow<'_, str>> {
        let detail = self.detail.as_deref();
        match (detail, self.write) {
            (Some(detail), Some(write)) => Some(Cow::Owned(format!("{detail}; {}", write.words()))),
            (None, Some(write)) => Some(Cow::Borrowed(write.words())),
            (detail, None) => detail.map(Cow::Borrowed),
        }
    }

    fn request_id_text(&self) -> Cow<'_, str> {
        self.request_id.as_ref().map_or(Cow::Borrowed(""), |id| {
            String::from_utf8_lossy(id.as_bytes())
        })
    }

    fn retry_after_secs(&self) -> Option<u64> {
        self.retry_after
            .map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
    }
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<&'static str>,
}

impl Write {
    /// What that means for whoever sent it, without a capital and a stop.
    fn words(self) -> &'static str {
        match (self.sent, self.idempotent) {
            (Sent::Nothing, _) => "nothing was sent; it is safe to try again",
            (Sent::MayHaveActed, false) => {
                "it may have been carried out; look before you try again"
            }
            (Sent::MayHaveActed, true) => {
                "it may have been carried out; trying the same again does not do it twice"
            }
        }
    }

    /// The same for people, as sentences.
    fn sentences(self) -> &'static str {
        match (self.sent, self.idempotent) {
            (Sent::Nothing, _) => "Nothing was sent. It is safe to try again.",
            (Sent::MayHaveActed, false) => {
                "It may have been carried out. Please look before you try again."
            }
            (Sent::MayHaveActed, true) => {
                "It may have been carried out. Trying the same again does not do it twice."
            }
        }
    }

    /// Whether sending it again could do it twice.
    fn may_repeat(self) -> bool {
        self.sent == Sent::MayHaveActed && !self.idempotent
    }
}

/// A URI for the occurrence; a client's own id may hold characters a URI may not (RFC 3986 2.1).
fn instance(request_id: &str) -> String {
    let mut uri = String::from("urn:larder:request:");
    for byte in request_id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

const PAGE_HEAD: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<style>
:root { color-scheme: light dark }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; font: 1.1rem/1.6 system-ui, sans-serif;
  color: #222; background: #fafaf8 }
main { max-width: 34rem; padding: 2rem 1.5rem }
h1 { font-size: 1.5rem; line-height: 1.3; margin: 0 0 1rem }
footer { margin-top: 2rem; font-size: .85rem; color: #666; overflow-wrap: anywhere }
@media (prefers-color-scheme: dark) { body { color: #e8e8e4; background: #1b1c1e } footer { color: #9a9a96 } }
</style>
<title>"#;

fn headline(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => "This page does not exist",
        StatusCode::METHOD_NOT_ALLOWED => "That is not possible here",
        StatusCode::PAYLOAD_TOO_LARGE => "That was too large",
        StatusCode::TOO_MANY_REQUESTS => "Too many requests",
        StatusCode::GATEWAY_TIMEOUT => "This is taking too long",
        status if status.is_client_error() => "The request could not be understood",
        _ => "Not available right now",
    }
}

fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => "Please check the address.",
        StatusCode::METHOD_NOT_ALLOWED => "This address exists, but not for this kind of request.",
        StatusCode::PAYLOAD_TOO_LARGE => "Please try again with less.",
        StatusCode::TOO_MANY_REQUESTS => "Please wait a moment before you try again.",
        status if status.is_client_error() => "Please go back and try again.",
        _ => {
            "We cannot get this information at the moment. It is not your fault. Please try again in a little while."
        }
    }
}

fn spoken_duration(secs: u64) -> String {
    match secs {
        0 | 1 => "a second".to_owned(),
        2..=90 => format!("{secs} seconds"),
        91..=5_400 => format!("{} minutes", secs.div_ceil(60)),
        _ => format!("{} hours", secs.div_ceil(3_600)),
    }
}

fn push_escaped(page: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            c => page.push(c),
        }
    }
}

/// Whether `Accept` prefers `text/html` to JSON (RFC 9110 12.5.1). No wish, or both alike, means JSON: only browsers
/// ask for HTML by name.
pub fn prefers_html(headers: &HeaderMap) -> bool {
    let mut html = Wish::default();
    let mut json = Wish::default();
    for value in headers.get_all(ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let (range, quality) = media_range(range);
            html.consider(specificity(range, "text", &["html"]), quality);
            json.consider(
                specificity(range, "application", &["problem+json", "json"]),
                quality,
            );
        }
    }
    html.quality > json.quality
}

/// The quality of the most specific media range that matched so far.
#[derive(Default)]
struct Wish {
    specificity: u8,
    quality: u16,
}

impl Wish {
    fn consider(&mut self, specificity: u8, quality: u16) {
        if specificity > self.specificity {
            *self = Self {
                specificity,
                quality,
            };
        } else if specificity == self.specificity && specificity > 0 {
            self.quality = self.quality.max(quality);
        }
    }
}

/// 3 for the type by name, 2 for `type/*`, 1 for `*/*`, 0 where the range does not match.
fn specificity(range: &str, main: &str, subs: &[&str]) -> u8 {
    let Some((range_main, range_sub)) = range.split_once('/') else {
        return 0;
    };
    match (range_main, range_sub) {
        ("*", "*") => 1,
        (m, "*") if m.eq_ignore_ascii_case(main) => 2,
        (m, s)
            if m.eq_ignore_ascii_case(main)
                && subs.iter().any(|sub| s.eq_ignore_ascii_case(sub)) =>
        {
            3
        }
        _ => 0,
    }
}

/// A media range without parameters, and its quality in thousandths.
fn media_range(item: &str) -> (&str, u16) {
    let mut parts = item.split(';').map(str::trim);
    let range = parts.next().unwrap_or_default();
    let quality = parts
        .find_map(|parameter| {
            parameter
                .strip_prefix("q=")
                .or_else(|| parameter.strip_prefix("Q="))
        })
        .map_or(1000, |q| {
            q.trim()
                .parse::<f32>()
                .map_or(0, |q| (q.clamp(0.0, 1.0) * 1000.0) as u16)
        });
    (range, quality)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if !value.is_empty() {
            headers.insert(ACCEPT, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn html_is_chosen_only_where_it_is_preferred() {
        for (name, value, want) in [
            ("no wish", "", false),
            ("anything", "*/*", false),
            (
                "a browser",
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                true,
            ),
            ("a script", "application/json", false),
            ("both alike", "text/html, application/json", false),
            (
                "HTML a little less",
                "text/html;q=0.8, application/json",
                false,
            ),
            (
                "HTML a little more",
                "text/html, application/json;q=0.9",
                true,
            ),
            ("any text", "text/*", true),
            (
                "HTML excluded by name beats the wildcard",
                "text/html;q=0, */*",
                false,
            ),
            (
                "problem+json by name",
                "application/problem+json, text/html;q=0.5",
                false,
            ),
            ("JSON refused, rest welcome", "application/*;q=0, */*", true),
            (
                "a q that is no number counts as zero",
                "text/html;q=much, */*;q=0.1",
                false,
            ),
            ("case and spaces do not matter", " Text/HTML ; Q=1 ", true),
            (
                "parameters are passed over",
                "text/html;level=1;q=0.9",
                true,
            ),
            ("nonsense", ",;,/;q=,", false),
        ] {
            assert_eq!(prefers_html(&accept(value)), want, "{name}");
        }
    }

    #[test]
    fn every_text_in_the_page_is_escaped() {
        let problem = Problem::new(StatusCode::BAD_GATEWAY)
            .message(Some(Arc::from("<script>alert('x')</script> & \"more\"")))
            .request_id(HeaderValue::from_static("<b>id</b>"));
        let page = problem.html();
        assert!(!page.contains("<script"), "{page}");
        assert!(!page.contains("<b>"), "{page}");
        assert!(
            page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;more&quot;")
        );
        assert!(
            !page.contains("src=") && !page.contains("href="),
            "the page needs nothing but itself"
        );
    }

    #[test]
    fn json_says_everything_in_rfc_9457_members() {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE)
            .detail("the upstream is resting")
            .message(Some(Arc::from("Prices are \"on their way\".")))
            .request_id(HeaderValue::from_static("ab/1"))
            .retry_after(Some(Duration::from_millis(1500)));
        let document: serde_json::Value = serde_json::from_str(&problem.json()).unwrap();
        assert_eq!(
            document,
            serde_json::json!({
                "type": "about:blank", "title": "Service Unavailable", "status": 503,
                "detail": "the upstream is resting", "instance": "urn:larder:request:ab%2F1",
                "request_id": "ab/1", "message": "Prices are \"on their way\".", "retry_after": 2,
            })
        );
    }

    #[test]
    fn the_answer_to_head_has_the_fields_and_no_content() {
        let problem = Problem::new(StatusCode::BAD_GATEWAY);
        let get = problem.response(&Method::GET, &accept("text/html"));
        let head = problem.response(&Method::HEAD, &accept("text/html"));
        assert_eq!(get.headers(), head.headers());
        assert_eq!(get.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(get.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(head.body().exact_len(), Some(0));
        assert_eq!(
            get.headers()[CONTENT_LENGTH],
            get.body().exact_len().unwrap().to_string()
        );
    }

    #[test]
    fn retry_after_is_rounded_up_and_never_invented() {
        let with = Problem::new(StatusCode::SERVICE_UNAVAILABLE)
            .retry_after(Some(Duration::from_millis(300)));
        let without = Problem::new(StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            with.response(&Method::GET, &HeaderMap::new()).headers()[RETRY_AFTER],
            "1"
        );
        assert!(
            !without
                .response(&Method::GET, &HeaderMap::new())
                .headers()
                .contains_key(RETRY_AFTER)
        );
    }

    #[test]
    fn a_write_is_told_how_far_it_got() {
        let of = |sent, idempotent| {
            Problem::new(StatusCode::GATEWAY_TIMEOUT)
                .detail("no answer in time")
                .retry_after(Some(Duration::from_secs(5)))
                .write(Some(Write { sent, idempotent }))
        };
        for (name, sent, idempotent, word, detail, page) in [
            (
                "nothing left us",
                Sent::Nothing,
                false,
                "nothing",
                "no answer in time; nothing was sent; it is safe to try again",
                "Nothing was sent. It is safe to try again.",
            ),
            (
                "something did",
                Sent::MayHaveActed,
                false,
                "may_have_acted",
                "no answer in time; it may have been carried out; look before you try again",
                "It may have been carried out. Please look before you try again.",
            ),
            (
                "something did, and once is as good as twice",
                Sent::MayHaveActed,
                true,
                "may_have_acted",
                "no answer in time; it may have been carried out; trying the same again does not do it twice",
                "Trying the same again does not do it twice.",
            ),
        ] {
            let problem = of(sent, idempotent);
            let document: serde_json::Value = serde_json::from_str(&problem.json()).unwrap();
            assert_eq!(document["sent"], word, "{name}");
            assert_eq!(document["detail"], detail, "{name}");
            let html = problem.html();
            assert!(html.contains(page), "{name}: {html}");
            let urges = html.contains("Please try again in");
            assert_eq!(urges, !problem.write.unwrap().may_repeat(), "{name}");
        }
    }
}
