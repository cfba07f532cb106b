//! Connections without sockets: a pipe whose end at the proxy can be reset, and tells when it is let go.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex},
    sync::Notify,
};

/// What a pipe holds before whoever writes has to wait.
const PIPE_BYTES: usize = 64 * 1024;

/// What both ends know of a connection.
#[derive(Default)]
pub struct Wire {
    is_reset: AtomicBool,
    is_let_go: AtomicBool,
    let_go: Notify,
}

impl Wire {
    /// From now on the proxy's end fails with a reset where it would have met the end.
    pub fn reset(&self) {
        self.is_reset.store(true, Ordering::Relaxed);
    }

    /// Whether the proxy still holds its end.
    pub fn is_held(&self) -> bool {
        !self.is_let_go.load(Ordering::Relaxed)
    }

    /// When the proxy lets go of its end.
    pub async fn let_go(&self) {
        loop {
            let told = self.let_go.notified();
            if !self.is_held() {
                return;
            }
            told.await;
        }
    }
}

/// A connection: the proxy's end, the vendor's, and what both know.
pub fn pair() -> (ProxyEnd, DuplexStream, Arc<Wire>) {
    let (ours, theirs) = duplex(PIPE_BYTES);
    let wire = Arc::new(Wire::default());
    let end = ProxyEnd {
        inner: ours,
        wire: Arc::clone(&wire),
    };
    (end, theirs, wire)
}

/// The proxy's end.
pub struct ProxyEnd {
    inner: DuplexStream,
    wire: Arc<Wire>,
}

impl ProxyEnd {
    fn broken(&self) -> Option<io::Error> {
        let is_reset = self.wire.is_reset.load(Ordering::Relaxed);
        is_reset.then(|| io::ErrorKind::ConnectionReset.into())
    }
}

impl Drop for ProxyEnd {
    fn drop(&mut self) {
        self.wire.is_let_go.store(true, Ordering::Relaxed);
        self.wire.let_go.notify_waiters();
    }
}

impl AsyncRead for ProxyEnd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        let is_end = matches!(polled, Poll::Ready(Ok(()))) && buf.filled().len() == before;
        match self.broken() {
            Some(error) if is_end && buf.remaining() > 0 => Poll::Ready(Err(error)),
            _ => polled,
        }
    }
}

impl AsyncWrite for ProxyEnd {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.broken() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut self.inner).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Does `work` unless the proxy lets go meanwhile.
pub async fn while_held<T>(wire: &Wire, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = wire.let_go() => None,
        done = work => Some(done),
    }
}
