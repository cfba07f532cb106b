//! Ask: the few requests of a probe, one after another on one connection where the vendor keeps it.
//!
//! # Invariants
//!
//! - GET and HEAD only, never two at once, never more than the bound; whoever asks us to go away (429, 503) is left alone,
//!   and so is whoever let a request wait until its end.
//! - Every wait has an end, and no more of a body is kept than [`BODY_BYTES_MAX`].
//! - Nothing is sent to another host than the one that was named.

use std::{path::Path, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, ETAG, HOST, IF_MODIFIED_SINCE, IF_NONE_MATCH,
        LAST_MODIFIED, LOCATION, RANGE, USER_AGENT,
    },
};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use super::{
    connect::{Connected, Dialer},
    seen::{Answer, BodyEnd, Exchange, Observations, Purpose, Trouble, shown},
    target::Target,
};
use crate::clock::Clock;

/// Most requests of a probe.
pub(super) const REQUESTS_MAX: usize = 8;
/// Answers in full that latency is told from, where the requests suffice.
const SAMPLES: usize = 5;
/// Longest part of a body that is read.
pub(super) const BODY_BYTES_MAX: usize = 8 << 20;
/// Redirects on the same host that are followed.
const REDIRECTS_MAX: usize = 2;
/// Most fields of an answer over HTTP/1.1, as the proxy takes them.
const HTTP1_FIELDS_MAX: usize = 1000;
/// Largest head over HTTP/2, as the proxy takes it.
const HTTP2_HEADER_BYTES_MAX: u32 = 64 * 1024;
/// Who asks.
const AGENT: &str = concat!("larder/", env!("CARGO_PKG_VERSION"), " (probe)");

/// What to ask, and how.
pub(super) struct Plan<'p> {
    /// The operator's fields, credentials among them.
    pub(super) fields: &'p HeaderMap,
    /// 1 to [`REQUESTS_MAX`].
    pub(super) requests_max: usize,
    /// Longest wait for each step and each request.
    pub(super) patience: Duration,
    /// Whom to trust, where not the system's authorities.
    pub(super) ca_file: Option<&'p Path>,
}

/// Probes. What a vendor does is an observation, whatever it is.
///
/// # Errors
///
/// Only for what is wrong on this side: nobody to trust, a name that cannot be one.
pub(super) async fn probe(
    target: Target,
    plan: &Plan<'_>,
    clock: &Clock,
) -> Result<Observations, String> {
    let dialer = Dialer::new(&target, plan.ca_file, plan.patience)?;
    let (reach, connected) = dialer.reach(&target).await;
    let mut seen = Observations {
        target,
        now: clock.now(),
        reach,
        tls: None,
        exchanges: Vec::new(),
        trouble: None,
        redirected_from: Vec::new(),
        fields_sent: plan.fields.keys().map(ToString::to_string).collect(),
        connections: 1,
        requests: 0,
    };
    let (tls, connected) = match connected {
        Ok(stream) => dialer.secure(stream).await,
        Err(trouble) => (None, Err(trouble)),
    };
    seen.tls = tls;
    let asked = match connected {
        Ok(connected) => {
            let line = Line::over(connected, plan.patience).await;
            Asking {
                plan,
                clock,
                dialer: &dialer,
                line: None,
            }
            .ask(line, &mut seen)
            .await
        }
        Err(trouble) => Err(trouble),
    };
    seen.trouble = asked.err();
    if let Some(tls) = &mut seen.tls
        && tls.alpn.as_deref() == Some("h2")
        && let Some(address) = seen.reach.connected
    {
        tls.http1 = dialer.speaks_http1(address).await;
    }
    Ok(seen)
}

// --- Line ---

/// A connection that requests go on.
struct Line {
    sender: Sender,
    /// Moves the bytes; ends with the line.
    driver: JoinHandle<()>,
    used: bool,
}

enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Line {
    async fn over(connected: Connected, patience: Duration) -> Result<Self, Trouble> {
        let io = TokioIo::new(connected.stream);
        let (sender, driver) = if connected.http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.max_header_list_size(HTTP2_HEADER_BYTES_MAX);
            let shaking = timeout(patience, builder.handshake(io)).await;
            let (sender, connection) = shaking
                .map_err(|_| Trouble::AnswerLate)?
                .map_err(|error| unanswered(&error))?;
            // How it ends is seen by whoever waits for an answer on it.
            let driver = tokio::spawn(async move { drop(connection.await) });
            (Sender::Http2(sender), driver)
        } else {
            let mut builder = http1::Builder::new();
            builder.max_headers(HTTP1_FIELDS_MAX);
            let shaking = builder.handshake(io).await;
            let (sender, connection) = shaking.map_err(|error| unanswered(&error))?;
            let driver = tokio::spawn(async move { drop(connection.await) });
            (Sender::Http1(sender), driver)
        };
        Ok(Self {
            sender,
            driver,
            used: false,
        })
    }

    /// Whether it can be used once more; waits a moment for the end of what was there.
    async fn is_ready(&mut self) -> bool {
        let ready = async {
            match &mut self.sender {
                Sender::Http1(sender) => sender.ready().await.is_ok(),
                Sender::Http2(sender) => sender.ready().await.is_ok(),
            }
        };
        // A server that closes after its answer does so at once.
        timeout(Duration::from_secs(1), ready)
            .await
            .unwrap_or(false)
    }

    async fn send(&mut self, request: Request<Empty<Bytes>>) -> hyper::Result<Response<Incoming>> {
        self.used = true;
        match &mut self.sender {
            Sender::Http1(sender) => sender.send_request(request).await,
            Sender::Http2(sender) => sender.send_request(request).await,
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What an error of a connection means where no answer came.
fn unanswered(error: &hyper::Error) -> Trouble {
    let words = std::error::Error::source(error)
        .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
    let words = shown(&words, 200);
    if error.is_parse() {
        return Trouble::NotHttp(words);
    }
    Trouble::Closed(words)
}

// --- Asking ---

struct Asking<'a> {
    plan: &'a Plan<'a>,
    clock: &'a Clock,
    dialer: &'a Dialer,
    line: Option<Line>,
}

impl Asking<'_> {
    async fn ask(
        &mut self,
        line: Result<Line, Trouble>,
        seen: &mut Observations,
    ) -> Result<(), Trouble> {
        self.line = Some(line?);
        self.first(seen).await?;
        let usable = |one: &Exchange| one.answer.status.is_success();
        if !seen.first().is_some_and(usable) {
            return Ok(());
        }
        for purpose in [
            Purpose::Encoded,
            Purpose::Plain,
            Purpose::IfNoneMatch,
            Purpose::IfModifiedSince,
            Purpose::Head,
            Purpose::Range,
        ] {
            self.once_more(purpose, seen).await?;
        }
        for _ in seen.of(Purpose::Plain).count()..SAMPLES {
            self.once_more(Purpose::Plain, seen).await?;
        }
        Ok(())
    }

    /// The first answer, behind redirects on the same host.
    async fn first(&mut self, seen: &mut Observations) -> Result<(), Trouble> {
        for _ in 0..=REDIRECTS_MAX {
            let exchange = self.exchange(Purpose::Plain, seen).await?;
            let to = exchange
                .answer
                .status
                .is_redirection()
                .then(|| exchange.answer.headers.get(LOCATION)?.to_str().ok())
                .flatten()
                .and_then(|location| seen.target.join(location));
            let follows = seen.redirected_from.len() < REDIRECTS_MAX && self.may_go_on(seen);
            match to {
                Some(to) if follows && to.same_origin(&seen.target) && to != seen.target => {
                    let from = std::mem::replace(&mut seen.target, to);
                    seen.redirected_from.push(from.shown());
                }
                _ => {
                    seen.exchanges.push(exchange);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// One more request, unless it makes no sense or would be too many.
    async fn once_more(
        &mut self,
        purpose: Purpose,
        seen: &mut Observations,
    ) -> Result<(), Trouble> {
        let Some(first) = seen.first() else {
            return Ok(());
        };
        let has = |name: &HeaderName| first.answer.headers.contains_key(name);
        let makes_sense = match purpose {
            Purpose::IfNoneMatch => has(&ETAG),
            Purpose::IfModifiedSince => has(&LAST_MODIFIED),
            // What is large or slow is asked for once.
            Purpose::Plain | Purpose::Encoded => first.answer.end == BodyEnd::Whole,
            Purpose::Head | Purpose::Range => true,
        };
        if makes_sense && self.may_go_on(seen) {
            let exchange = self.exchange(purpose, seen).await?;
            seen.exchanges.push(exchange);
        }
        Ok(())
    }

    fn may_go_on(&self, seen: &Observations) -> bool {
        let is_told_off = |one: &Exchange| {
            let status = one.answer.status;
            status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE
        };
        let is_late = |one: &Exchange| one.answer.end == BodyEnd::Late;
        seen.requests < self.plan.requests_max
            && !seen
                .exchanges
                .iter()
                .any(|one| is_told_off(one) || is_late(one))
    }

    /// Sends one request, on the connection there is or on a new one, and reads its answer.
    async fn exchange(
        &mut self,
        purpose: Purpose,
        seen: &mut Observations,
    ) -> Result<Exchange, Trouble> {
        let mut kept = self.line.take();
        if let Some(line) = &mut kept
            && line.used
            && !line.is_ready().await
        {
            kept = None;
        }
        let mut line = match kept {
            Some(line) => line,
            None => self.another_line(seen).await?,
        };
        seen.requests += 1;
        let request = self.request(purpose, seen, &line);
        let (asked_at, began) = (self.clock.now(), Instant::now());
        let until = began + self.plan.patience;
        let response = match timeout_at(until, line.send(request)).await {
            Err(_late) => return Err(Trouble::AnswerLate),
            Ok(Err(error)) => return Err(unanswered(&error)),
            Ok(Ok(response)) => response,
        };
        let first_byte = began.elapsed();
        let (head, body) = response.into_parts();
        // Of what turned out to be large, nothing is read twice.
        let bytes_max = match seen.first().map(|first| &first.answer.end) {
            None | Some(BodyEnd::Whole) => BODY_BYTES_MAX,
            Some(_) => 64 * 1024,
        };
        let (body, end) = read(body, bytes_max, until).await;
        let total = began.elapsed();
        if end == BodyEnd::Whole {
            self.line = Some(line);
        }
        Ok(Exchange {
            purpose,
            asked_at,
            answer: Answer {
                status: head.status,
                version: head.version,
                headers: head.headers,
                body,
                end,
            },
            first_byte,
            total,
        })
    }

    async fn another_line(&mut self, seen: &mut Observations) -> Result<Line, Trouble> {
        let address = seen.reach.connected.ok_or(Trouble::Refused)?;
        let stream = self.dialer.tcp(address).await?;
        let (_, connected) = self.dialer.secure(stream).await;
        seen.connections += 1;
        Line::over(connected?, self.plan.patience).await
    }

    fn request(&self, purpose: Purpose, seen: &Observations, line: &Line) -> Request<Empty<Bytes>> {
        let target = &seen.target;
        let mut request = Request::new(Empty::new());
        if purpose == Purpose::Head {
            *request.method_mut() = Method::HEAD;
        }
        let path = target.path_and_query();
        let text = match line.sender {
            Sender::Http1(_) => path,
            Sender::Http2(_) => format!("{}{path}", target.origin()),
        };
        // It was read from a URI; what was put together from pieces of one is one.
        *request.uri_mut() = text.parse().unwrap_or_default();
        let mut fields = HeaderMap::new();
        if matches!(line.sender, Sender::Http1(_))
            && let Ok(host) = HeaderValue::try_from(target.authority())
        {
            fields.insert(HOST, host);
        }
        fields.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        fields.insert(ACCEPT, HeaderValue::from_static("*/*"));
        let coding = match purpose {
            Purpose::Encoded => "gzip, br, zstd",
            _ => "identity",
        };
        fields.insert(ACCEPT_ENCODING, HeaderValue::from_static(coding));
        for name in self.plan.fields.keys() {
            fields.remove(name);
        }
        fields.extend(self.plan.fields.clone());
        let first = seen.first().map(|first| &first.answer.headers);
        let from_first = |name: &HeaderName| first.and_then(|first| first.get(name)).cloned();
        let condition = match purpose {
            Purpose::IfNoneMatch => from_first(&ETAG).map(|tag| (IF_NONE_MATCH, tag)),
            Purpose::IfModifiedSince => {
                from_first(&LAST_MODIFIED).map(|date| (IF_MODIFIED_SINCE, date))
            }
            Purpose::Range => Some((RANGE, HeaderValue::from_static("bytes=0-0"))),
            _ => None,
        };
        fields.extend(condition.map(|(name, value)| (Some(name), value)));
        *request.headers_mut() = fields;
        request
    }
}

/// Reads a body as far as the bounds allow.
async fn read(mut body: Incoming, bytes_max: usize, until: Instant) -> (Bytes, BodyEnd) {
    let mut read = BytesMut::new();
    let end = loop {
        let frame = match timeout_at(until, body.frame()).await {
            Err(_late) => break BodyEnd::Late,
            Ok(None) => break BodyEnd::Whole,
            Ok(Some(Err(error))) => break BodyEnd::Broken(shown(&error.to_string(), 200)),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let room = bytes_max - read.len();
        if data.len() > room {
            read.extend_from_slice(&data[..room]);
            break BodyEnd::Bound;
        }
        read.extend_from_slice(&data);
    };
    (read.freeze(), end)
}

/// How long a body said it would be.
pub(super) fn told_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}
