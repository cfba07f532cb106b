//! The laboratory: answers made to order, for tests and for trying things out.
//!
//! | path | answer |
//! | --- | --- |
//! | `/lab/echo` | the request as JSON |
//! | `/lab/bytes/{n}` | `n` bytes with `Content-Length`, storable for a minute |
//! | `/lab/chunked/{n}?chunk=4096` | `n` bytes of a length not told beforehand |
//! | `/lab/events?count=10&every=1s` | server-sent events |
//! | `/lab/response?Name=Value` | 200 with these fields; `_status`, `_body`, `_etag`, `_date=off` |
//! | `/lab/counter/{name}?Name=Value` | the same, the body tells how often it was asked |
//! | `/lab/slow/{ms}` | 200 after so many milliseconds |

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use super::bad_request;
use crate::stub::answer::{Answer, Question};
use crate::stub::body::{Content, PIECE_BYTES};
use crate::stub::breaks::duration;

const BYTES_MAX: u64 = 1 << 30;
const EVENTS_MAX: u64 = 1_000_000;
const SLOW_MILLIS_MAX: u64 = 600_000;
const COUNTERS_MAX: usize = 10_000;

/// Counters by name.
#[derive(Debug, Default)]
pub(super) struct Counters {
    by_name: Mutex<HashMap<String, u64>>,
}

// --- Counters ---

impl Counters {
    /// Answers `/lab/...`.
    pub(super) fn answer(&self, question: &Question) -> Option<Answer> {
        let segments = question.segments();
        let ["lab", ref order @ ..] = segments[..] else {
            return None;
        };
        let ordered = match *order {
            ["echo"] => Ok(echo(question)),
            ["bytes", n] => bytes(n),
            ["chunked", n] => chunked(question, n),
            ["events"] => events(question),
            ["response"] => response(question, None),
            ["counter", name] => self.counted(question, name),
            ["slow", millis] => slow(millis),
            _ => return None,
        };
        Some(ordered.unwrap_or_else(|why| bad_request(&why)))
    }

    fn counted(&self, question: &Question, name: &str) -> Result<Answer, String> {
        let count = self.count(name)?;
        response(
            question,
            Some(json!({ "name": name, "count": count }).to_string()),
        )
    }

    fn count(&self, name: &str) -> Result<u64, String> {
        let mut counters = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if counters.len() >= COUNTERS_MAX && !counters.contains_key(name) {
            return Err(format!("more than {COUNTERS_MAX} counters"));
        }
        let count = counters.entry(name.to_owned()).or_default();
        *count += 1;
        Ok(*count)
    }
}

fn echo(question: &Question) -> Answer {
    let fields: Vec<_> = question
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let body = json!({
        "method": question.method.as_str(),
        "path": question.path,
        "query": question.query,
        "headers": fields,
        "body": String::from_utf8_lossy(&question.body),
    });
    Answer::json(StatusCode::OK, &body).with(header::CACHE_CONTROL, "no-store")
}

fn bytes(n: &str) -> Result<Answer, String> {
    let bytes = within(n, "n", 0..=BYTES_MAX)?;
    Ok(made(bytes, PIECE_BYTES, true).with(header::ETAG, &format!("\"bytes-{bytes}\"")))
}

fn chunked(question: &Question, n: &str) -> Result<Answer, String> {
    let bytes = within(n, "n", 0..=BYTES_MAX)?;
    let piece = question.parameter("chunk").unwrap_or("4096");
    let piece = within(piece, "chunk", 1..=PIECE_BYTES as u64)?;
    Ok(made(bytes, piece as usize, false))
}

fn made(bytes: u64, piece: usize, length_known: bool) -> Answer {
    let content = Content::Made {
        bytes,
        piece,
        length_known,
    };
    Answer::new(StatusCode::OK, content)
        .with(header::CONTENT_TYPE, "text/plain")
        .with(header::CACHE_CONTROL, "max-age=60")
}

fn events(question: &Question) -> Result<Answer, String> {
    let count = within(
        question.parameter("count").unwrap_or("10"),
        "count",
        0..=EVENTS_MAX,
    )?;
    let every = question.parameter("every").unwrap_or("1s");
    let every = duration(every).map_err(|expected| format!("every must be {expected}"))?;
    let content = Content::Events { count, every };
    Ok(Answer::new(StatusCode::OK, content)
        .with(header::CONTENT_TYPE, "text/event-stream")
        .with(header::CACHE_CONTROL, "no-cache"))
}

/// Each query parameter becomes a field; those that begin with `_` order the rest.
fn response(question: &Question, body: Option<String>) -> Result<Answer, String> {
    let body = match (question.parameter("_body"), body) {
        (Some(text), _) => text.to_owned(),
        (None, Some(text)) => text,
        (None, None) => json!({ "version": question.version(1) }).to_string(),
    };
    let status = within(
        question.parameter("_status").unwrap_or("200"),
        "_status",
        200..=599,
    )?;
    let status = StatusCode::from_u16(status as u16).map_err(|why| why.to_string())?;
    let mut answer = Answer::new(status, Content::Whole(body.into()))
        .with(header::CONTENT_TYPE, "application/json");
    if let Some(etag) = question.parameter("_etag") {
        answer = answer.with(header::ETAG, &format!("\"{etag}\""));
    }
    answer.dated = question.parameter("_date") != Some("off");
    for (name, value) in question
        .query
        .iter()
        .filter(|(name, _)| !name.starts_with('_'))
    {
        let unusable = || format!("'{name}: {value}' is no field");
        let name: HeaderName = name.parse().map_err(|_| unusable())?;
        let value: HeaderValue = value.parse().map_err(|_| unusable())?;
        if name == header::CONTENT_TYPE {
            answer.headers.remove(&name);
        }
        answer.headers.append(name, value);
    }
    Ok(answer)
}

fn slow(millis: &str) -> Result<Answer, String> {
    let millis = within(millis, "ms", 0..=SLOW_MILLIS_MAX)?;
    let mut answer = Answer::json(StatusCode::OK, &json!({ "slow_ms": millis }));
    answer.delay = Duration::from_millis(millis);
    Ok(answer)
}

fn within(text: &str, name: &str, allowed: std::ops::RangeInclusive<u64>) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| allowed.contains(number));
    number.ok_or_else(|| {
        let (from, to) = (allowed.start(), allowed.end());
        format!("{name} must be a number from {from} to {to}, not '{text}'")
    })
}

#[cfg(test)]
mod tests {
    use super::super::json_of;
    use super::*;
    use crate::stub::answer::question;

    fn answer(target: &str) -> Answer {
        Counters::default()
            .answer(&question("GET", target))
            .unwrap()
    }

    #[test]
    fn response_is_made_to_order() {
        let made = answer(
            "/lab/response?Cache-Control=max-age%3D5&Vary=Accept&Set-Cookie=a%3D1&Set-Cookie=b%3D2\
             &_status=203&_etag=v1&_body=hello&Content-Type=text/plain",
        );
        assert_eq!(made.status.as_u16(), 203);
        assert_eq!(made.headers["cache-control"], "max-age=5");
        assert_eq!(made.headers["etag"], "\"v1\"");
        assert_eq!(made.headers.get_all("set-cookie").iter().count(), 2);
        assert_eq!(made.headers.get_all("content-type").iter().count(), 1);
        assert_eq!(made.content, Content::Whole("hello".into()));
        assert!(made.dated && !answer("/lab/response?_date=off").dated);
    }

    #[test]
    fn unusable_orders_are_refused() {
        for target in [
            "/lab/bytes/many",
            "/lab/bytes/99999999999",
            "/lab/chunked/10?chunk=0",
            "/lab/events?every=soon",
            "/lab/response?_status=100",
            "/lab/response?no%20field=x",
            "/lab/response?X=%0A",
            "/lab/slow/600001",
        ] {
            assert_eq!(answer(target).status, 400, "{target}");
        }
    }

    #[test]
    fn counter_tells_how_often_it_was_asked() {
        let counters = Counters::default();
        let ask = |target| counters.answer(&question("GET", target)).unwrap();
        ask("/lab/counter/a?Cache-Control=max-age%3D1");
        let second = ask("/lab/counter/a?Cache-Control=max-age%3D1");
        assert_eq!(json_of(&second)["count"], 2);
        assert_eq!(second.headers["cache-control"], "max-age=1");
        assert_eq!(json_of(&ask("/lab/counter/b"))["count"], 1);
    }

    #[test]
    fn echo_shows_what_arrived() {
        let mut asked = question("PATCH", "/lab/echo?a=1&a=2");
        asked
            .headers
            .insert("x-test", HeaderValue::from_static("yes"));
        asked.body = "text".into();
        let body = json_of(&Counters::default().answer(&asked).unwrap());
        assert_eq!(body["method"], "PATCH");
        assert_eq!(body["query"], json!([["a", "1"], ["a", "2"]]));
        assert_eq!(body["headers"], json!([["x-test", "yes"]]));
        assert_eq!(body["body"], "text");
    }
}
