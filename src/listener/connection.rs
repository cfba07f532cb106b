//! Connection: one client's connection, from its first bytes to its end.
//!
//! Which protocol it speaks is seen by looking at those bytes without taking them, so that HTTP/1.1 reads straight
//! from the socket, and a client that sends too little to tell is bounded like any silent one.

use std::{convert::Infallible, error::Error, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{HttpService, Service},
};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::{net::TcpStream, time::sleep};

use super::{
    accept::Limits,
    drain::{Graceful, Leash, Leashed},
    tap::Tap,
};
use crate::http::interim::Interims;

/// Rest between two looks at a connection that has sent only a part of what HTTP/2 begins with.
const PREFACE_RETRY: Duration = Duration::from_millis(10);
/// What HTTP/2 begins with (RFC 9113 3.4): enough of it that no HTTP/1 request begins so.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";
/// Read and write buffer per connection where the head's limit is smaller: large enough for bodies to flow.
const H1_BUFFER: usize = 64 * 1024;
/// A silent HTTP/2 peer is asked for a sign of life this often at least, and has as long to give it.
const H2_PING_EVERY: Duration = Duration::from_secs(20);

/// Both protocols, set up once.
#[derive(Clone, Debug)]
pub(super) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Protocols {
    pub(super) fn new(limits: &Limits) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            // The sweep bounds the wait for a head; a timer here would be set and dropped again for every request.
            .header_read_timeout(None)
            .keep_alive(true)
            // Head and body in one write: for the answers of APIs a copy is cheaper than a vector of pieces. Large bodies
            // come in pieces (`Body`), so that the copy is bounded.
            .writev(false)
            // Not `pipeline_flush`: with it hyper 1.12 closes without sending what it answered while anything more of
            // the client's is in its buffer, which is just when a refusal closes (test: `requests_whose_framing_…`).
            .max_buf_size(limits.header_bytes_max.max(H1_BUFFER))
            .max_header_size(limits.header_bytes_max);
        // Only where it differs: hyper parses into the stack as long as its own default (100) holds.
        if limits.headers_max != 100 {
            http1.max_headers(limits.headers_max);
        }
        // Also what ends a peer that, asked to end, says nothing at all.
        let ping_every = limits.idle_timeout.min(H2_PING_EVERY);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.http2_streams_max)
            .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
            .keep_alive_interval(ping_every)
            .keep_alive_timeout(ping_every);
        Self { http1, http2 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Preface {
    Http1,
    Http2,
    /// Too little to tell.
    Undecided,
}

fn preface(first_bytes: &[u8]) -> Preface {
    let len = first_bytes.len().min(H2_PREFACE.len());
    match first_bytes[..len] == H2_PREFACE[..len] {
        false => Preface::Http1,
        true if len == H2_PREFACE.len() => Preface::Http2,
        true => Preface::Undecided,
    }
}

/// Looks at what the client sends first, without taking it. `None` where it closed before.
async fn peek_preface(stream: &TcpStream) -> Option<Preface> {
    let mut first_bytes = [0; H2_PREFACE.len()];
    loop {
        match stream.peek(&mut first_bytes).await {
            Ok(0) | Err(_) => return None,
            Ok(len) => match preface(&first_bytes[..len]) {
                // Bytes that are there and not taken would wake us at once and for ever.
                Preface::Undecided => sleep(PREFACE_RETRY).await,
                decided => return Some(decided),
            },
        }
    }
}

pub(super) async fn serve_connection<S, B>(
    protocols: Protocols,
    stream: TcpStream,
    service: S,
    leash: Arc<Leash>,
    interims: Interims,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let preface = tokio::select! {
        preface = peek_preface(&stream) => preface,
        () = leash.asked() => None,
    };
    let service = Counted {
        inner: service,
        leash: Arc::clone(&leash),
    };
    let io = Tap::new(stream, Arc::clone(&leash), interims);
    let ended = match preface {
        Some(Preface::Http1) => {
            let connection = protocols.http1.serve_connection(io, service);
            Leashed::new(connection.with_upgrades(), leash).await
        }
        Some(Preface::Http2) => {
            Leashed::new(protocols.http2.serve_connection(io, service), leash).await
        }
        Some(Preface::Undecided) | None => return,
    };
    if let Err(error) = ended {
        // Clients that hang up or talk nonsense are everyday; hyper has answered 400 where an answer was possible.
        tracing::debug!(%error, "connection ended");
    }
}

// --- Graceful ---

type BoxError = Box<dyn Error + Send + Sync>;

/// Ends also by an upgrade: then it is no connection of the listener's any more, and no leash holds it.
impl<S, B> Graceful for http1::UpgradeableConnection<Tap, S>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<BoxError>,
    B: http_body::Body + 'static,
    B::Error: Into<BoxError>,
{
    fn begin_end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S, B> Graceful for http2::Connection<Tap, S, TokioExecutor>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    fn begin_end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Tells the leash of every request.
struct Counted<S> {
    inner: S,
    leash: Arc<Leash>,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for Counted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.leash.count_request();
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_protocol() {
        for (first_bytes, want) in [
            (&b"G"[..], Preface::Http1),
            (b"GET / HTTP/1.1\r\n", Preface::Http1),
            (b"P", Preface::Undecided),
            (b"PUT /", Preface::Http1),
            (b"PRI", Preface::Undecided),
            (b"PRI / HTTP/1.1", Preface::Http1),
            (b"PRI * HTTP/2.0\r\n\r", Preface::Undecided),
            (b"PRI * HTTP/2.0\r\n\r\n", Preface::Http2),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Preface::Http2),
            (b"\x16\x03\x01", Preface::Http1),
        ] {
            assert_eq!(preface(first_bytes), want, "{first_bytes:?}");
        }
    }
}
