//! Serving: connections, and what a fault does to them.
//!
//! `gate -> [connection] -> request: count, read, decide, answer -> line`
//!
//! # Invariants
//!
//! - A request is counted before anything is done to it, unless the vendor refuses connections: then a
//!   request on a connection from before is reset and not counted, as if it had never arrived.
//! - Every connection is a task in one set, which the accept loop ends with itself.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::answer::{Answer, Question, http_date};
use super::asked::{Asked, Entry};
use super::body::{Content, StubBody};
use super::fault::Fault;
use super::line::{Cut, Ending, LineIo, end_line};
use super::spoil::{acts_first, spoiled};
use super::vendor::Vendor;
use crate::http::uri::normalize_path;

/// Wait after a failed accept (out of descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Accepts until `stop`, then ends every connection.
pub(crate) async fn accept_loop(vendor: Arc<Vendor>, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let has_room = connections.len() < vendor.connections_max;
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = poll_fn(|cx| vendor.gate.poll_accept(cx)), if has_room => accepted,
        };
        match accepted {
            Ok(stream) => {
                connections.spawn(connection(Arc::clone(&vendor), stream));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
    vendor.gate.shut();
    connections.shutdown().await;
}

async fn connection(vendor: Arc<Vendor>, stream: TcpStream) {
    let _open = vendor.connected();
    let _ = stream.set_nodelay(true);
    let mut refusals = vendor.refusals.subscribe();
    if vendor.is_refusing() {
        return;
    }
    let stream = Arc::new(stream);
    let cut = Arc::new(Cut::default());
    let io = TokioIo::new(LineIo::new(Arc::clone(&stream), Arc::clone(&cut)));
    let service = service_fn(|request| answer(Arc::clone(&vendor), Arc::clone(&cut), request));
    let builder = protocols();
    let mut served = Box::pin(builder.serve_connection(io, service));
    let ending = loop {
        tokio::select! {
            biased;
            ending = cut.asked_for() => break Some(ending),
            _ = &mut served => break None,
            // What is being answered is finished; without a request the connection ends now.
            Ok(()) = refusals.changed() => served.as_mut().graceful_shutdown(),
        }
    };
    drop(served);
    if let Some(ending) = ending {
        end_line(&stream, ending);
    }
}

/// HTTP/1.1, or HTTP/2 by prior knowledge. `Date` is ours: it follows the data's clock.
fn protocols() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .auto_date_header(false)
        .header_read_timeout(None);
    builder.http2().auto_date_header(false);
    builder
}

async fn answer(
    vendor: Arc<Vendor>,
    cut: Arc<Cut>,
    request: Request<Incoming>,
) -> Result<Response<StubBody>, Infallible> {
    let (head, body) = request.into_parts();
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let fault = vendor.fault_for(target);
    if fault == Some(Fault::Refuse) {
        cut.now(Ending::Reset);
        return pending().await;
    }
    let noted = Noted::new(&vendor, &head, target, fault.as_ref());
    let Some(body) = noted.read(body).await else {
        // Half a write must not be acted upon; hyper ends the connection.
        return Ok(Response::new(StubBody::new(Content::empty())));
    };
    let question = question(&vendor, head, body);
    let good = if acts_first(fault.as_ref()) {
        vendor.shop.answer(&question)
    } else {
        Answer::new(StatusCode::OK, Content::empty())
    };
    if let Some(fault) = &fault {
        swallow(fault, &question, &cut, &noted).await;
    }
    let answer = match &fault {
        Some(fault) if fault.needs_body() => spoiled(good, fault, &question),
        Some(fault) => spoiled(good, fault, &question).unless_not_modified(&question),
        None => good.unless_not_modified(&question),
    };
    if !answer.delay.is_zero() {
        tokio::time::sleep(answer.delay).await;
    }
    noted.answered(answer.status);
    Ok(response(answer, &question, fault.as_ref(), &cut, &vendor))
}

/// Does not return where the fault leaves no answer: the line ends under this future.
async fn swallow(fault: &Fault, question: &Question, cut: &Cut, noted: &Noted) {
    let is_head = question.method == Method::HEAD;
    let ending = match fault {
        Fault::Hang => None,
        Fault::Reset => Some(Ending::Reset),
        // Without a body there is no half of it: the answer is lost as a whole.
        Fault::ResetMidBody if is_head => Some(Ending::Reset),
        Fault::Close => Some(Ending::Close),
        Fault::Truncate { .. } if is_head => Some(Ending::Close),
        Fault::Garbage => Some(Ending::Garbage),
        _ => return,
    };
    noted.unanswered();
    if let Some(ending) = ending {
        cut.now(ending);
    }
    pending::<()>().await;
}

fn question(vendor: &Vendor, head: Parts, body: Bytes) -> Question {
    let query = axum::extract::Query::try_from_uri(&head.uri);
    Question {
        // A vendor knows its resources by any spelling (RFC 3986 6.2.2).
        path: normalize_path(head.uri.path()).into_owned(),
        query: query.map(|pairs| pairs.0).unwrap_or_default(),
        method: head.method,
        protocol: head.version,
        headers: head.headers,
        body,
        now: vendor.clock.now(),
        seed: vendor.seed,
        change_every: vendor.change_every,
    }
}

fn response(
    answer: Answer,
    question: &Question,
    fault: Option<&Fault>,
    cut: &Arc<Cut>,
    vendor: &Vendor,
) -> Response<StubBody> {
    let known_bytes = answer.content.known_bytes();
    let has_body = question.method != Method::HEAD
        && !matches!(
            answer.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    let body = if has_body {
        body(answer.content, fault, cut, question.protocol)
    } else {
        StubBody::new(Content::empty())
    };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    let fields = response.headers_mut();
    if answer.dated && !fields.contains_key(header::DATE) {
        let date = http_date(vendor.clock.now());
        fields.extend(
            HeaderValue::try_from(date)
                .ok()
                .map(|date| (header::DATE, date)),
        );
    }
    // An answer that was ordered with framing of its own keeps it.
    let is_framed = fields.contains_key(header::CONTENT_LENGTH)
        || fields.contains_key(header::TRANSFER_ENCODING);
    if (has_body || question.method == Method::HEAD) && !is_framed {
        let length = promised_bytes(known_bytes, fault).map(HeaderValue::from);
        fields.extend(length.map(|length| (header::CONTENT_LENGTH, length)));
    }
    response
}

fn body(content: Content, fault: Option<&Fault>, cut: &Arc<Cut>, protocol: Version) -> StubBody {
    // Of a body of unknown length the first piece or event counts as the half.
    let half = content.known_bytes().map_or(64, |bytes| bytes / 2);
    let body = StubBody::new(content);
    match fault {
        Some(Fault::Drip { bytes, every }) => body.dripping(*bytes, *every),
        Some(Fault::ResetMidBody) => body.cut_at(half, Ending::Reset, Arc::clone(cut), protocol),
        Some(Fault::Truncate { .. }) => body.cut_at(half, Ending::Close, Arc::clone(cut), protocol),
        _ => body,
    }
}

/// What `Content-Length` says; a truncated answer promises more than it sends, even of nothing.
fn promised_bytes(known_bytes: Option<u64>, fault: Option<&Fault>) -> Option<u64> {
    match fault {
        Some(Fault::Truncate { chunked: true }) => None,
        Some(Fault::Truncate { chunked: false }) => Some(known_bytes.unwrap_or(128).max(1)),
        _ => known_bytes,
    }
}

/// A request in the ledger, until its line is printed: at the latest when the client has gone.
struct Noted {
    vendor: Arc<Vendor>,
    entry: Entry,
    printed: AtomicBool,
}

// --- Noted ---

impl Noted {
    fn new(vendor: &Arc<Vendor>, head: &Parts, target: &str, fault: Option<&Fault>) -> Self {
        let entry = vendor.ledger.note(Asked {
            number: 0,
            at: vendor.clock.now(),
            method: head.method.clone(),
            target: target.to_owned(),
            headers: head.headers.clone(),
            body_bytes: 0,
            fault: fault.map(Fault::to_string),
            status: None,
        });
        Self {
            vendor: Arc::clone(vendor),
            entry,
            printed: false.into(),
        }
    }

    /// Reads the body to its end; counts all of it, keeps what the limit allows. `None` if the client
    /// left before the end.
    async fn read(&self, mut body: Incoming) -> Option<Bytes> {
        let mut kept = BytesMut::new();
        let mut body_bytes = 0;
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame.ok()?.into_data() else {
                continue;
            };
            body_bytes += piece.len() as u64;
            let room = self.vendor.body_bytes_max.saturating_sub(kept.len());
            kept.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        if body_bytes > 0 {
            self.vendor
                .ledger
                .amend(self.entry, |asked| asked.body_bytes = body_bytes);
        }
        Some(kept.freeze())
    }

    fn answered(&self, status: StatusCode) {
        self.print(Some(status.as_u16()));
    }

    fn unanswered(&self) {
        self.print(None);
    }

    fn print(&self, status: Option<u16>) {
        if !self.printed.swap(true, Ordering::Relaxed) {
            self.vendor.print(self.entry, status);
        }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.unanswered();
    }
}
