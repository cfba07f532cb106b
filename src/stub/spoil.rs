//! Spoiled answers: what the faults of content and status make of a good answer.
//!
//! Pure. Faults of the transport leave the answer alone here; `serve` applies them to the line.
//!
//! A spoiled 200 keeps the good answer's `Cache-Control` and gets a validator of its own: it looks as
//! storable as it can, which is the case a cache must survive.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderValue};
use serde_json::{Value, json};

use super::answer::{Answer, Question, http_date};
use super::body::Content;
use super::fault::{Fault, RetryAfter};

const MAINTENANCE: &str = "<!doctype html>\n<html lang=\"en\"><head><title>Maintenance</title></head>\n\
    <body><h1>We will be back soon</h1><p>This service is being maintained.</p></body></html>\n";

/// `good` as `fault` has the vendor answer it.
pub(crate) fn spoiled(good: Answer, fault: &Fault, question: &Question) -> Answer {
    match fault {
        Fault::Status {
            status,
            retry_after,
        } => error(*status, *retry_after, question),
        Fault::InvalidJson => with_body(good, "application/json", broken_json()),
        Fault::Html => with_body(good, "text/html; charset=utf-8", MAINTENANCE.into()),
        Fault::Empty => with_body(good, "application/json", Bytes::new()),
        Fault::ZeroPrice => edited(good, &mut |object| {
            for field in ["price", "rate"] {
                if let Some(price) = object.get_mut(field) {
                    *price = json!(0);
                }
            }
        }),
        Fault::MissingField { field } => edited(good, &mut |object| {
            object.remove(field);
        }),
        Fault::SlowHead { delay } => delayed(good, *delay),
        Fault::Latency { max, .. } => delayed(good, *max),
        _ => good,
    }
}

/// Whether the vendor acts on the request before the fault shows: all but an error answer let it.
pub(crate) fn acts_first(fault: Option<&Fault>) -> bool {
    !matches!(fault, Some(Fault::Status { .. }))
}

fn error(status: StatusCode, retry_after: Option<RetryAfter>, question: &Question) -> Answer {
    let text = status.canonical_reason().unwrap_or("the vendor says no");
    let mut answer = Answer::problem(status, text);
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        answer.content = Content::empty();
        answer.headers.remove(header::CONTENT_TYPE);
    }
    match retry_after {
        None => answer,
        Some(RetryAfter { seconds, as_date }) => {
            let later = question.now.after(Duration::from_secs(seconds.into()));
            let seconds = seconds.to_string();
            let value = if as_date { http_date(later) } else { seconds };
            answer.with(header::RETRY_AFTER, &value)
        }
    }
}

fn delayed(good: Answer, delay: Duration) -> Answer {
    Answer {
        delay: good.delay.saturating_add(delay),
        ..good
    }
}

fn with_body(mut good: Answer, content_type: &'static str, body: Bytes) -> Answer {
    good.status = StatusCode::OK;
    good.headers.remove(header::CONTENT_LENGTH);
    good.headers.remove(header::LOCATION);
    good.headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    good.content = Content::Whole(body);
    good.with_etag_of_content()
}

/// Applies `edit` to every object in a JSON body; another body stays as it is.
fn edited(good: Answer, edit: &mut dyn FnMut(&mut serde_json::Map<String, Value>)) -> Answer {
    let Content::Whole(bytes) = &good.content else {
        return good;
    };
    let Ok(mut value) = serde_json::from_slice::<Value>(bytes) else {
        return good;
    };
    edit_objects(&mut value, edit);
    let edited = Content::Whole(value.to_string().into());
    Answer {
        content: edited,
        ..good
    }
    .with_etag_of_content()
}

/// Recursion is bounded: serde_json reads no deeper than 128 levels.
fn edit_objects(value: &mut Value, edit: &mut dyn FnMut(&mut serde_json::Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            edit(object);
            for inner in object.values_mut() {
                edit_objects(inner, edit);
            }
        }
        Value::Array(items) => {
            for item in items {
                edit_objects(item, edit);
            }
        }
        _ => {}
    }
}

fn broken_json() -> Bytes {
    Bytes::from_static(b"{\"sku\": \"A-1\", \"price\": 12.")
}

#[cfg(test)]
mod tests {
    use super::super::answer::question;
    use super::*;
    use crate::clock::Timestamp;

    fn good() -> Answer {
        let value = json!({ "sku": "A", "price": 9.5, "rooms": [{ "rate": 80, "price": 1 }] });
        Answer::cacheable(&value, "max-age=1", Timestamp::from_secs(1))
    }

    fn spoiled_by(text: &str) -> Answer {
        let broken: super::super::breaks::Break = text.parse().unwrap();
        spoiled(good(), &broken.fault, &question("GET", "/prices/A"))
    }

    fn body(answer: &Answer) -> String {
        let Content::Whole(bytes) = &answer.content else {
            panic!("a body that is not whole");
        };
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn content_faults_answer_200_with_something_the_site_cannot_use() {
        for (fault, content_type, want) in [
            (
                "kind=invalid_json",
                "application/json",
                "{\"sku\": \"A-1\", \"price\": 12.",
            ),
            ("kind=empty", "application/json", ""),
            ("kind=html", "text/html; charset=utf-8", MAINTENANCE),
            (
                "kind=zero_price",
                "application/json",
                r#"{"price":0,"rooms":[{"price":0,"rate":0}],"sku":"A"}"#,
            ),
            (
                "kind=missing_field field=sku",
                "application/json",
                r#"{"price":9.5,"rooms":[{"price":1,"rate":80}]}"#,
            ),
        ] {
            let answer = spoiled_by(fault);
            assert_eq!(answer.status, StatusCode::OK, "{fault}");
            assert_eq!(
                answer.headers[header::CONTENT_TYPE],
                content_type,
                "{fault}"
            );
            assert_eq!(
                answer.headers[header::CACHE_CONTROL],
                "max-age=1",
                "{fault}"
            );
            assert_ne!(
                answer.headers[header::ETAG],
                good().headers[header::ETAG],
                "{fault}"
            );
            assert_eq!(body(&answer), want, "{fault}");
        }
    }

    #[test]
    fn status_fault_says_when_to_come_back_in_both_forms() {
        let plain = spoiled_by("kind=status status=500");
        assert_eq!(plain.status.as_u16(), 500);
        assert!(!plain.headers.contains_key(header::RETRY_AFTER));
        assert!(!plain.headers.contains_key(header::CACHE_CONTROL));
        let seconds = spoiled_by("kind=status status=429 retry_after=7");
        assert_eq!(seconds.headers[header::RETRY_AFTER], "7");
        let date = spoiled_by("kind=status retry_after=7 retry_after_as=date");
        let want = http_date(Timestamp::from_secs(1_800_000_007));
        assert_eq!(date.headers[header::RETRY_AFTER], want);
    }

    #[test]
    fn transport_faults_lose_the_answer_after_the_vendor_acted() {
        let reset = Fault::Reset;
        let status = Fault::status(StatusCode::SERVICE_UNAVAILABLE);
        assert!(acts_first(Some(&reset)));
        assert!(!acts_first(Some(&status)));
    }
}
