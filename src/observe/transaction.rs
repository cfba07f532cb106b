//! Transactions: one line per request, for the operator who asks at night what happened.
//!
//! The line is written into the log's bounded queue after the answer is on its way; a full queue drops it and counts.
//! Where no line is wanted, asking costs one comparison ([`TransactionLogger::wants`]).
//!
//! # Invariants
//!
//! - Values of the query parameters in `redact_query` never appear, nor do any header's.
//! - One transaction is one line, whatever the client put into its path: control characters are escaped.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
    io::Write,
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use http::{Method, StatusCode, Version};
use serde::Serialize;
use tracing_appender::non_blocking::NonBlocking;

use super::Outcome;
use crate::{
    clock::Timestamp,
    config::{LogConfig, LogFormat, TransactionLog},
    failure::{Cause, Sent},
};

/// What happened to one request. Borrowed: building it costs nothing.
#[derive(Clone, Debug)]
pub struct Transaction<'a> {
    /// When the request's head had arrived.
    pub time: Timestamp,
    /// The name it goes by.
    pub request_id: &'a str,
    /// The route's name; "-" where none matched.
    pub route: &'a str,
    /// Method.
    pub method: &'a Method,
    /// Path and query as they came; redaction happens here.
    pub target: &'a str,
    /// Where the connection came from.
    pub client: Option<IpAddr>,
    /// Protocol spoken with the client.
    pub version: Version,
    /// Status of the answer.
    pub status: StatusCode,
    /// How it was answered.
    pub outcome: Outcome,
    /// The upstream's name, where one was or would have been asked.
    pub upstream: Option<&'a str>,
    /// Why the upstream gave nothing usable, where that was so.
    pub cause: Option<Cause>,
    /// Attempts made for this request; 0 where nothing was asked.
    pub attempts: u32,
    /// How far the request got that failed; shown beside a `cause`.
    pub sent: Sent,
    /// `Age` of the answer, where it came from the store.
    pub age: Option<Duration>,
    /// Length of the answer's content, where it is known.
    pub bytes: Option<u64>,
    /// From the request's head to the answer's.
    pub took: Duration,
}

impl Transaction<'_> {
    /// Whether something went wrong behind this answer, or in it.
    pub fn is_failure(&self) -> bool {
        is_failure(self.status, self.cause.is_some())
    }
}

fn is_failure(status: StatusCode, has_cause: bool) -> bool {
    has_cause || status.is_server_error()
}

/// Writes transactions into the log. Clones share one queue.
#[derive(Clone, Debug)]
pub struct TransactionLogger(Option<Arc<Sink>>);

struct Sink {
    format: LogFormat,
    failures_only: bool,
    redact_query: Vec<String>,
    queue: NonBlocking,
}

impl TransactionLogger {
    /// Writes what `[log]` asks for into this queue.
    pub fn new(config: &LogConfig, queue: NonBlocking) -> Self {
        if config.transactions == TransactionLog::Off {
            return Self::off();
        }
        Self(Some(Arc::new(Sink {
            format: config.format,
            failures_only: config.transactions == TransactionLog::Failures,
            redact_query: config.redact_query.clone(),
            queue,
        })))
    }

    /// Writes nothing.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Whether a transaction like this gets a line: asked before one is put together.
    pub fn wants(&self, status: StatusCode, has_cause: bool) -> bool {
        self.0
            .as_ref()
            .is_some_and(|sink| !sink.failures_only || is_failure(status, has_cause))
    }

    /// Writes its line, if it gets one. Formats here, never waits: what the queue has no room for is dropped and
    /// counted.
    pub fn emit(&self, transaction: &Transaction<'_>) {
        let Some(sink) = &self.0 else { return };
        if !self.wants(transaction.status, transaction.cause.is_some()) {
            return;
        }
        let target = redacted(transaction.target, &sink.redact_query);
        let mut line = match sink.format {
            LogFormat::Text => text_line(transaction, &target),
            LogFormat::Json => json_line(transaction, &target),
        };
        line.push('\n');
        // The queue takes everything; what it drops it counts.
        let _ = sink.queue.clone().write_all(line.as_bytes());
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink")
            .field("format", &self.format)
            .field("failures_only", &self.failures_only)
            .finish_non_exhaustive()
    }
}

/// Columns in the order in which a tired person asks: when, how did it end, how long, what, and then why.
fn text_line(transaction: &Transaction<'_>, target: &str) -> String {
    let mut line = String::with_capacity(192);
    let t = transaction;
    let _ = write!(
        line,
        "{}  {} {:<22} {:>9}  {:<6} {target}  route={}",
        rfc3339(t.time),
        t.status.as_u16(),
        t.outcome.as_str(),
        millis_text(t.took),
        t.method.as_str(),
        t.route,
    );
    if let Some(upstream) = t.upstream {
        let _ = write!(line, " upstream={upstream}");
    }
    if let Some(cause) = t.cause {
        let _ = write!(line, " cause={}", cause.as_str());
        if let Cause::Status(status) = cause {
            let _ = write!(line, ":{}", status.as_u16());
        }
    }
    if t.attempts > 0 || t.cause.is_some() {
        let _ = write!(line, " attempts={}", t.attempts);
    }
    if t.cause.is_some() {
        let _ = write!(line, " sent={}", t.sent.as_str());
    }
    if let Some(age) = t.age {
        let _ = write!(line, " age={}s", age.as_secs());
    }
    if let Some(bytes) = t.bytes {
        let _ = write!(line, " bytes={bytes}");
    }
    if let Some(client) = t.client {
        let _ = write!(line, " client={client}");
    }
    let _ = write!(line, " id={}", t.request_id);
    line
}

/// Stable keys; those that say nothing are left out.
#[derive(Serialize)]
struct JsonLine<'a> {
    time: String,
    event: &'static str,
    request_id: &'a str,
    route: &'a str,
    method: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ip: Option<IpAddr>,
    protocol: &'static str,
    status: u16,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_status: Option<u16>,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    ms: f64,
}

fn json_line(t: &Transaction<'_>, target: &str) -> String {
    let line = JsonLine {
        time: rfc3339(t.time),
        event: "transaction",
        request_id: t.request_id,
        route: t.route,
        method: t.method.as_str(),
        path: target,
        client_ip: t.client,
        protocol: protocol(t.version),
        status: t.status.as_u16(),
        outcome: t.outcome.as_str(),
        upstream: t.upstream,
        cause: t.cause.map(Cause::as_str),
        upstream_status: match t.cause {
            Some(Cause::Status(status)) => Some(status.as_u16()),
            _ => None,
        },
        attempts: t.attempts,
        sent: t.cause.map(|_| t.sent.as_str()),
        age_s: t.age.map(|age| age.as_secs()),
        bytes: t.bytes,
        ms: millis(t.took),
    };
    serde_json::to_string(&line).expect("strings and finite numbers always serialise")
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "http/0.9",
        Version::HTTP_10 => "http/1.0",
        Version::HTTP_2 => "h2",
        Version::HTTP_3 => "h3",
        _ => "http/1.1",
    }
}

/// Milliseconds with three decimals: a hit in memory takes microseconds.
fn millis(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}

fn millis_text(took: Duration) -> String {
    let ms = millis(took);
    if ms < 10.0 {
        format!("{ms:.2}ms")
    } else {
        format!("{ms:.0}ms")
    }
}

fn rfc3339(time: Timestamp) -> String {
    i64::try_from(time.as_millis())
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .map_or_else(|| "-".to_owned(), |time| format!("{time:.3}"))
}

/// The target as it may be logged: values of these query parameters are replaced, and bytes that could break a line
/// or a terminal are escaped. Names are compared decoded and without regard to case.
pub fn redacted<'t>(target: &'t str, names: &[String]) -> Cow<'t, str> {
    let Some((path, query)) = target.split_once('?') else {
        return printable(Cow::Borrowed(target));
    };
    if !query.split('&').any(|pair| is_redacted(pair, names)) {
        return printable(Cow::Borrowed(target));
    }
    let mut shown = String::with_capacity(target.len());
    shown.push_str(path);
    for (index, pair) in query.split('&').enumerate() {
        shown.push(if index == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((name, _)) if is_redacted(pair, names) => {
                shown.push_str(name);
                shown.push_str("=***");
            }
            _ => shown.push_str(pair),
        }
    }
    printable(Cow::Owned(shown))
}

fn is_redacted(pair: &str, names: &[String]) -> bool {
    let Some((name, _)) = pair.split_once('=') else {
        return false;
    };
    let name = decoded(name);
    names
        .iter()
        .any(|redacted| name.eq_ignore_ascii_case(redacted.as_bytes()))
}

/// Percent-decoding as a lenient reader would do it: what it would see as the name is what counts.
fn decoded(name: &str) -> Vec<u8> {
    let bytes = name.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = name.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

fn printable(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return text;
    }
    Cow::Owned(text.chars().flat_map(char::escape_default).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use tracing_appender::non_blocking::NonBlockingBuilder;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn config(format: LogFormat, transactions: TransactionLog) -> LogConfig {
        LogConfig {
            format,
            level: "info".to_owned(),
            transactions,
            redact_query: vec!["token".to_owned(), "api_key".to_owned()],
            queue_max: 100,
        }
    }

    /// What is written for these transactions.
    fn written(config: &LogConfig, transactions: &[Transaction<'_>]) -> String {
        let out = Shared::default();
        let (queue, guard) = NonBlockingBuilder::default()
            .lossy(true)
            .finish(out.clone());
        let logger = TransactionLogger::new(config, queue);
        for transaction in transactions {
            logger.emit(transaction);
        }
        // Waits for the writing thread.
        drop(guard);
        String::from_utf8(out.0.lock().unwrap().clone()).unwrap()
    }

    fn hit() -> Transaction<'static> {
        Transaction {
            time: Timestamp::from_millis(1_763_690_851_042),
            request_id: "abc",
            route: "prices",
            method: &Method::GET,
            target: "/prices/1?currency=EUR&token=s3cret",
            client: Some(IpAddr::from([127, 0, 0, 1])),
            version: Version::HTTP_11,
            status: StatusCode::OK,
            outcome: Outcome::Hit,
            upstream: Some("pricing"),
            cause: None,
            attempts: 0,
            sent: Sent::Nothing,
            age: Some(Duration::from_secs(12)),
            bytes: Some(345),
            took: Duration::from_micros(40),
        }
    }

    fn failed() -> Transaction<'static> {
        Transaction {
            outcome: Outcome::StaleIfError,
            cause: Some(Cause::Status(StatusCode::BAD_GATEWAY)),
            attempts: 2,
            sent: Sent::MayHaveActed,
            took: Duration::from_millis(312),
            ..hit()
        }
    }

    #[test]
    fn the_text_line_is_aligned_and_says_why() {
        let lines = written(
            &config(LogFormat::Text, TransactionLog::All),
            &[hit(), failed()],
        );
        assert_eq!(
            lines,
            "2025-11-21T02:07:31.042Z  200 hit                       0.04ms  GET    /prices/1?currency=EUR&token=***  \
             route=prices upstream=pricing age=12s bytes=345 client=127.0.0.1 id=abc\n\
             2025-11-21T02:07:31.042Z  200 stale_if_error             312ms  GET    /prices/1?currency=EUR&token=***  \
             route=prices upstream=pricing cause=status:502 attempts=2 sent=may_have_acted age=12s bytes=345 client=127.0.0.1 id=abc\n"
        );
    }

    #[test]
    fn the_json_line_has_stable_keys() {
        let lines = written(&config(LogFormat::Json, TransactionLog::All), &[failed()]);
        let line: serde_json::Value = serde_json::from_str(lines.trim_end()).unwrap();
        assert_eq!(
            line,
            serde_json::json!({
                "time": "2025-11-21T02:07:31.042Z", "event": "transaction", "request_id": "abc", "route": "prices",
                "method": "GET", "path": "/prices/1?currency=EUR&token=***", "client_ip": "127.0.0.1",
                "protocol": "http/1.1", "status": 200, "outcome": "stale_if_error", "upstream": "pricing",
                "cause": "status", "upstream_status": 502, "attempts": 2, "sent": "may_have_acted", "age_s": 12, "bytes": 345, "ms": 312.0,
            })
        );
    }

    #[test]
    fn only_what_is_asked_for_gets_a_line() {
        let all = [
            hit(),
            failed(),
            Transaction {
                status: StatusCode::BAD_GATEWAY,
                outcome: Outcome::Error,
                ..hit()
            },
        ];
        for (transactions, want) in [
            (TransactionLog::All, 3),
            (TransactionLog::Failures, 2),
            (TransactionLog::Off, 0),
        ] {
            let lines = written(&config(LogFormat::Text, transactions), &all);
            assert_eq!(lines.lines().count(), want, "{transactions:?}");
        }
    }

    #[test]
    fn secrets_in_a_query_are_never_shown() {
        let names = config(LogFormat::Text, TransactionLog::All).redact_query;
        for (name, target, want) in [
            ("no query", "/a", "/a"),
            ("nothing to hide", "/a?b=c", "/a?b=c"),
            (
                "the first and the last",
                "/a?token=1&b=2&api_key=3",
                "/a?token=***&b=2&api_key=***",
            ),
            ("any case", "/a?ToKeN=1", "/a?ToKeN=***"),
            (
                "an encoded name",
                "/a?api%5Fkey=1&%74oken=2",
                "/a?api%5Fkey=***&%74oken=***",
            ),
            (
                "a value with an equals sign",
                "/a?token=1=2",
                "/a?token=***",
            ),
            (
                "a longer name is another name",
                "/a?tokens=1",
                "/a?tokens=1",
            ),
            (
                "a question mark in the query",
                "/a?b=?&token=1",
                "/a?b=?&token=***",
            ),
            (
                "a broken escape",
                "/a?%zz=1&token%=2&token=3",
                "/a?%zz=1&token%=2&token=***",
            ),
        ] {
            assert_eq!(redacted(target, &names), want, "{name}");
        }
    }

    #[test]
    fn a_path_cannot_break_the_line() {
        assert_eq!(
            redacted("/a\n200 hit\u{1b}[31m", &[]),
            r"/a\n200 hit\u{1b}[31m"
        );
    }
}
