//! Interim responses (1xx) on their way from an upstream to the client whose request led there (RFC 9110 15.2).
//!
//! The server side of hyper sends final responses only, so interim ones go round it: whoever speaks to the upstream
//! queues them through the request's [`Interim`], and the connection's socket writes them ([`Interims`], [`Turn`]) where
//! one message has ended and the next has not begun.
//!
//! Where that is: HTTP/1 answers one request at a time. From the moment a request has begun ([`Interims::begin`]) all
//! that hyper had to write belongs to earlier messages, whole ones. A flush of the socket means that hyper has handed
//! over all of it. So
//!
//! - at a flush, while the request waits for its final response, the connection is between two messages;
//! - at the first write after such a flush, what is written begins a message (`100 Continue` or the final response);
//! - at any other write, it may be the middle of one.
//!
//! # Invariants
//!
//! - Interim responses stand whole, in order, before the final response of their own request, or nowhere.
//! - Once the final response is on its way nothing more is queued; what could not be written before it is dropped.
//! - No `100` (whether content is wanted is decided hop by hop) and no `101` (`upgrade.rs`) goes this way.
//! - At most [`COUNT_MAX`] and [`BYTES_MAX`] per request, so that an upstream cannot fill memory before it answers.
//!
//! HTTP/2 is without: hyper's HTTP/2 neither hands interim responses out nor takes them in.

use std::{
    future::poll_fn,
    mem,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Waker},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};

use super::hop;

/// Interim responses passed on per request; a few hints and a sign of life now and then are usual.
pub const COUNT_MAX: u32 = 32;
/// Bytes of them per request: as much as two heads.
pub const BYTES_MAX: usize = 128 << 10;

/// The interim responses of one client connection. Clones are the same queue.
#[derive(Clone, Debug, Default)]
pub struct Interims(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The request that waits for its final response, counted from 1; 0 for none. Written by the connection's task only.
    open: AtomicU64,
    /// Whether the queue is worth a lock.
    queued: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The latest request that began.
    request: u64,
    /// Of that request.
    bytes: BytesMut,
    count: u32,
    total_bytes: usize,
    /// The connection's task.
    waker: Option<Waker>,
}

/// Where one request's interim responses go. A request extension.
#[derive(Clone, Debug)]
pub struct Interim {
    interims: Interims,
    request: u64,
}

/// One request's time from its head to its final response. Ends it when dropped.
#[derive(Debug)]
pub struct Exchange(Interim);

// --- Interims ---

impl Interims {
    /// A request begins to wait for its final response. To be called in the connection's task.
    pub fn begin(&self) -> Exchange {
        let mut state = self.lock();
        let request = state.request + 1;
        *state = State {
            request,
            ..State::default()
        };
        self.0.queued.store(false, Ordering::Release);
        self.0.open.store(request, Ordering::Release);
        Exchange(Interim {
            interims: self.clone(),
            request,
        })
    }

    fn open(&self) -> u64 {
        self.0.open.load(Ordering::Acquire)
    }

    fn has_queued(&self) -> bool {
        self.0.queued.load(Ordering::Acquire)
    }

    /// What is queued for this request.
    fn take(&self, request: u64) -> Bytes {
        let mut state = self.lock();
        if state.request != request {
            return Bytes::new();
        }
        self.0.queued.store(false, Ordering::Release);
        mem::take(&mut state.bytes).freeze()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every operation leaves the state whole.
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }
}

// --- Interim ---

impl Interim {
    /// Queues an interim response, its hop-by-hop fields taken out, unless the request has its final one already.
    pub fn send(&self, status: StatusCode, headers: &HeaderMap) {
        let is_ours = matches!(status.as_u16(), 102..=199);
        if !is_ours || self.interims.open() != self.request {
            return;
        }
        let head = encoded(status, headers);
        let mut state = self.interims.lock();
        // Looked at again under the lock, which `Exchange::end` takes too.
        let is_open = self.interims.open() == self.request && state.request == self.request;
        let fits = state.count < COUNT_MAX && state.total_bytes + head.len() <= BYTES_MAX;
        if !is_open || !fits {
            return;
        }
        state.count += 1;
        state.total_bytes += head.len();
        state.bytes.extend_from_slice(&head);
        self.interims.0.queued.store(true, Ordering::Release);
        let waker = state.waker.clone();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// RFC 9112 4: as it stands on the wire. Without framing fields, which a 1xx has not (RFC 9110 8.6, RFC 9112 6.1).
fn encoded(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let mut headers = headers.clone();
    hop::strip_response(&mut headers);
    headers.remove(header::CONTENT_LENGTH);
    let reason = status.canonical_reason().unwrap_or("");
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in &headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

// --- Exchange ---

impl Exchange {
    /// What this request's interim responses are sent through.
    pub fn interim(&self) -> Interim {
        self.0.clone()
    }

    /// Waits for the final response. Polled by the connection's task, which is woken for each interim one.
    pub async fn until<T>(self, response: impl Future<Output = T>) -> T {
        let mut response = pin!(response);
        poll_fn(|cx| {
            self.wakes(cx);
            let polled = response.as_mut().poll(cx);
            if polled.is_ready() {
                self.end();
            }
            polled
        })
        .await
    }

    fn wakes(&self, cx: &Context<'_>) {
        let mut state = self.0.interims.lock();
        if !state
            .waker
            .as_ref()
            .is_some_and(|it| it.will_wake(cx.waker()))
        {
            state.waker = Some(cx.waker().clone());
        }
    }

    fn end(&self) {
        let Interim { interims, request } = &self.0;
        let mut nobody_sends = interims.lock();
        if interims.open() == *request {
            nobody_sends.waker = None;
            interims.0.open.store(0, Ordering::Release);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.end();
    }
}

// --- Turn ---

/// The socket's side: when it is the interim responses' turn. Pure: told of flushes and writes, it says what goes first.
#[derive(Debug, Default)]
pub struct Turn {
    interims: Interims,
    /// The request that was waiting at the latest flush, 0 after any write.
    between_messages_of: u64,
}

impl Turn {
    /// Of this connection.
    pub fn new(interims: Interims) -> Self {
        Self {
            interims,
            between_messages_of: 0,
        }
    }

    /// hyper has handed over all it had. What is returned is written now.
    pub fn at_flush(&mut self) -> Bytes {
        self.between_messages_of = self.interims.open();
        if self.between_messages_of == 0 || !self.interims.has_queued() {
            return Bytes::new();
        }
        self.interims.take(self.between_messages_of)
    }

    /// hyper hands something over. What is returned is written before it.
    pub fn at_write(&mut self) -> Bytes {
        let request = mem::take(&mut self.between_messages_of);
        if request == 0 || !self.interims.has_queued() {
            return Bytes::new();
        }
        self.interims.take(request)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const HINTS: StatusCode = StatusCode::EARLY_HINTS;

    fn link(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::LINK, value.parse().unwrap())])
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    /// What happens on a connection, in order.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// The next request begins.
        Begin,
        /// Its upstream sends an interim response.
        Hint(&'static str),
        /// Its final response is on its way.
        End,
        Flush,
        Write,
    }

    /// The links of the interim responses that were written at each flush (`f`) and before each write (`w`).
    fn played(steps: &[Step]) -> String {
        let interims = Interims::default();
        let mut turn = Turn::new(interims.clone());
        let (mut exchange, mut out) = (None::<Exchange>, String::new());
        let links = |bytes: Bytes| {
            let text = text(&bytes);
            let links = text.lines().filter_map(|line| line.strip_prefix("link: "));
            links.collect::<Vec<_>>().join("+")
        };
        let mut interim = None;
        for step in steps {
            match step {
                Step::Begin => {
                    let begun = interims.begin();
                    interim = Some(begun.interim());
                    exchange = Some(begun);
                }
                Step::Hint(value) => interim.as_ref().unwrap().send(HINTS, &link(value)),
                Step::End => drop(exchange.take()),
                Step::Flush => out += &format!("f({})", links(turn.at_flush())),
                Step::Write => out += &format!("w({})", links(turn.at_write())),
            }
        }
        out
    }

    #[test]
    fn interim_responses_stand_between_messages_and_nowhere_else() {
        use Step::{Begin, End, Flush, Hint, Write};
        for (name, steps, want) in [
            (
                "at a flush, hyper has nothing left",
                &[Begin, Hint("a"), Flush][..],
                "f(a)",
            ),
            (
                "several, in order",
                &[Begin, Hint("a"), Hint("b"), Flush, Hint("c"), Flush],
                "f(a+b)f(c)",
            ),
            (
                "right before the final response",
                &[Begin, Flush, Hint("a"), End, Write, Flush],
                "f()w(a)f()",
            ),
            (
                "before a 100 Continue, and after it",
                &[
                    Begin,
                    Flush,
                    Hint("a"),
                    Write,
                    Hint("b"),
                    Flush,
                    Hint("c"),
                    End,
                    Write,
                ],
                "f()w(a)f(b)w(c)",
            ),
            (
                "not while an earlier response may be half written",
                &[Begin, Hint("a"), Write, Write, Flush],
                "w()w()f(a)",
            ),
            (
                "dropped if the final response went into the same buffer as an earlier one",
                &[Begin, Hint("a"), End, Write, Flush, Write],
                "w()f()w()",
            ),
            (
                "not after the final response",
                &[Begin, Flush, End, Hint("a"), Write, Flush],
                "f()w()f()",
            ),
            (
                "not in the body of a streamed response",
                &[Begin, Flush, End, Write, Flush, Hint("a"), Write, Flush],
                "f()w()f()w()f()",
            ),
            (
                "not in what is left of the request before, even where nothing of it has been written yet",
                &[Begin, Flush, End, Flush, Begin, Hint("b"), Write, Flush],
                "f()f()w()f(b)",
            ),
            (
                "what one request left over is not the next one's",
                &[Begin, Hint("a"), End, Begin, Flush, Hint("b"), Flush],
                "f()f(b)",
            ),
            ("nobody waits", &[Flush, Write, Flush], "f()w()f()"),
        ] {
            assert_eq!(played(steps), want, "{name}");
        }
    }

    #[test]
    fn an_interim_response_has_no_hop_by_hop_and_no_framing_fields() {
        let mut headers = link("</a.css>; rel=preload");
        for (name, value) in [
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        assert_eq!(
            text(&encoded(HINTS, &headers)),
            "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n"
        );
        let odd = StatusCode::from_u16(150).unwrap();
        assert_eq!(
            text(&encoded(odd, &HeaderMap::new())),
            "HTTP/1.1 150 \r\n\r\n"
        );
    }

    #[test]
    fn neither_100_nor_101_goes_this_way_and_there_is_a_bound() {
        let interims = Interims::default();
        let exchange = interims.begin();
        let interim = exchange.interim();
        for status in [100, 101, 200] {
            interim.send(StatusCode::from_u16(status).unwrap(), &HeaderMap::new());
        }
        assert!(!interims.has_queued());
        for _ in 0..COUNT_MAX + 5 {
            interim.send(HINTS, &link("a"));
        }
        let sent = text(&Turn::new(interims.clone()).at_flush());
        assert_eq!(sent.matches("HTTP/1.1 103").count(), COUNT_MAX as usize);

        let exchange = interims.begin();
        let large = "x".repeat(BYTES_MAX - 100);
        let headers = HeaderMap::from_iter([(header::LINK, large.parse().unwrap())]);
        for _ in 0..2 {
            exchange.interim().send(HINTS, &headers);
        }
        let sent = text(&Turn::new(interims).at_flush());
        assert_eq!(sent.matches("HTTP/1.1 103").count(), 1);
    }

    #[tokio::test]
    async fn the_task_that_waits_is_woken_for_each_and_the_end_is_the_answer() {
        let interims = Interims::default();
        let exchange = interims.begin();
        let interim = exchange.interim();
        let (answer, answered) = tokio::sync::oneshot::channel::<u8>();
        let mut waiting = Box::pin(exchange.until(answered));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        interim.send(HINTS, &link("a"));
        assert!(interims.has_queued());
        answer.send(1).unwrap();
        assert_eq!(waiting.now_or_never(), Some(Ok(1)));
        interims.take(1);
        interim.send(HINTS, &link("late"));
        assert!(!interims.has_queued());
    }
}
