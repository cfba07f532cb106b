//! Kept: a connection that knows whether it has answered before, so that a request lost on one that was kept open can be told from
//! one that the upstream failed.
//!
//! A connection that has answered and then ends without a word to the next request was closed by a peer that no longer wanted to
//! keep it (RFC 9112 9.3.1, 9.5), or at least may have been. One that never answered was not kept: its end is a failure.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use hyper::{
    body::Incoming,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::client::legacy::{
    self, Client,
    connect::{Connect, Connected, Connection},
};

use super::cause;
use crate::{
    failure::{Failure, Sent},
    http::{Body, Request, interim::Interim},
    resilience::Repeat,
};

/// Whether a connection has answered a request before. Clones are of the same connection.
#[derive(Clone, Debug, Default)]
pub(super) struct HasAnswered(Arc<AtomicBool>);

impl HasAnswered {
    /// Notes that this came over its connection.
    pub(super) fn note<B>(response: &mut http::Response<B>) {
        if let Some(Self(answered)) = response.extensions_mut().remove() {
            answered.store(true, Ordering::Release);
        }
    }
}

// --- Again ---

/// A request that may go out a second time, on a new connection.
pub(super) struct Again<C> {
    request: Request,
    leave: Repeat,
    client: Client<C, Body>,
}

impl<C> Again<C>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    /// The same request once more by this leave, if all of it is here; `client` opens a connection for each request.
    pub(super) fn of(
        request: &Request,
        leave: Repeat,
        interim: Option<Interim>,
        client: Client<C, Body>,
    ) -> Option<Self> {
        let mut another = Request::new(request.body().another()?);
        *another.method_mut() = request.method().clone();
        *another.uri_mut() = request.uri().clone();
        *another.version_mut() = request.version();
        *another.headers_mut() = request.headers().clone();
        if let Some(interim) = interim {
            hyper::ext::on_informational(&mut another, move |response| {
                interim.send(response.status(), response.headers());
            });
        }
        Some(Self {
            request: another,
            leave,
            client,
        })
    }

    /// What it brings where the first one ended so, if that is one that it may stand in for.
    pub(super) async fn instead_of(
        self,
        error: legacy::Error,
    ) -> Result<http::Response<Incoming>, Failure> {
        if !is_lost(&error) || !self.leave.take() {
            return Err(cause::failure(error));
        }
        let response = self.client.request(self.request).await;
        // However the second one ended: the first may have been acted on.
        response.map_err(|error| cause::failure(error).at_least_sent(Sent::MayHaveActed))
    }
}

/// Whether this request was lost on a kept HTTP/1 connection: the peer ended it before it answered.
fn is_lost(error: &legacy::Error) -> bool {
    let Some(connection) = error.connect_info().filter(|info| !info.is_negotiated_h2()) else {
        return false;
    };
    let mut extras = http::Extensions::new();
    connection.get_extras(&mut extras);
    let was_kept = extras
        .get()
        .is_some_and(|HasAnswered(answered)| answered.load(Ordering::Acquire));
    was_kept && cause::is_end_of_connection(error)
}

// --- Kept ---

/// A transport whose connection is marked.
pub(super) struct Kept<T> {
    transport: T,
    answered: HasAnswered,
}

impl<T> Kept<T> {
    pub(super) fn new(transport: T) -> Self {
        Self {
            transport,
            answered: HasAnswered::default(),
        }
    }
}

impl<T: Connection> Connection for Kept<T> {
    fn connected(&self) -> Connected {
        self.transport.connected().extra(self.answered.clone())
    }
}

impl<T: Read + Unpin> Read for Kept<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_read(cx, buf)
    }
}

impl<T: Write + Unpin> Write for Kept<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write_vectored(cx, bufs)
    }
}
