//! The line: one accepted socket, and the ways to end it that HTTP does not offer.
//!
//! hyper drives the socket through [`LineIo`]; a fault anywhere below asks [`Cut`] to end it; the task of
//! the connection waits on [`Cut::asked_for`], drops hyper and then calls [`end_line`], which still has
//! the socket.
//!
//! # Invariant
//!
//! - In HTTP/1.1 [`Cut::after_flush`] ends the line when everything written before it has left for the
//!   kernel: what a half-sent answer shows does not depend on timing. HTTP/2 writes from another task and
//!   uses [`Cut::now`] after a pause (`body`).

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Bytes that no version of HTTP begins with.
pub(crate) const GARBAGE: &[u8] = b"\x16\x03\x01 %PDF this is not HTTP \x00\xff\xfe\r\n\r\n";

/// How a line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// RST: what was sent but not yet delivered may be lost.
    Reset,
    /// FIN.
    Close,
    /// Bytes that are not HTTP, then FIN.
    Garbage,
}

/// Asks for the end of one line. Held by whatever answers on it; does not keep the socket open.
#[derive(Debug, Default)]
pub(crate) struct Cut {
    wish: Mutex<Wish>,
    bell: Notify,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wish {
    #[default]
    None,
    AfterFlush(Ending),
    Now(Ending),
}

// --- Cut ---

impl Cut {
    /// Ends the line at once.
    pub(crate) fn now(&self, ending: Ending) {
        *self.wish() = Wish::Now(ending);
        self.bell.notify_one();
    }

    /// Ends the line when hyper has flushed what it holds.
    pub(crate) fn after_flush(&self, ending: Ending) {
        let mut wish = self.wish();
        if *wish == Wish::None {
            *wish = Wish::AfterFlush(ending);
        }
    }

    /// Returns when the line shall end.
    pub(crate) async fn asked_for(&self) -> Ending {
        loop {
            if let Wish::Now(ending) = *self.wish() {
                return ending;
            }
            self.bell.notified().await;
        }
    }

    fn flushed(&self) {
        let wish = *self.wish();
        if let Wish::AfterFlush(ending) = wish {
            self.now(ending);
        }
    }

    fn wish(&self) -> MutexGuard<'_, Wish> {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the socket, which closes when the caller, its last holder, drops it.
pub(crate) fn end_line(stream: &TcpStream, ending: Ending) {
    match ending {
        // With a linger of zero, close sends RST instead of FIN (SO_LINGER in socket(7)).
        Ending::Reset => {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
        Ending::Close => close_cleanly(stream),
        Ending::Garbage => {
            // A client that does not read must not keep this task; what fits the buffer is enough.
            let _ = stream.try_write(GARBAGE);
            close_cleanly(stream);
        }
    }
}

/// Bytes left unread would make the kernel send RST where FIN was meant, so they are read first.
fn close_cleanly(stream: &TcpStream) {
    let _ = SockRef::from(stream).shutdown(std::net::Shutdown::Write);
    let mut unread = [0; 4096];
    for _ in 0..64 {
        if !matches!(stream.try_read(&mut unread), Ok(1..)) {
            return;
        }
    }
}

/// The socket as hyper sees it.
#[derive(Debug)]
pub(crate) struct LineIo {
    stream: Arc<TcpStream>,
    cut: Arc<Cut>,
}

// --- LineIo ---

impl LineIo {
    pub(crate) fn new(stream: Arc<TcpStream>, cut: Arc<Cut>) -> Self {
        Self { stream, cut }
    }
}

impl AsyncRead for LineIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read(buf.initialize_unfilled()) {
                Ok(bytes) => {
                    buf.advance(bytes);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for LineIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is buffered here; hyper calls this when its own buffer is empty.
        self.cut.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&*self.stream).shutdown(std::net::Shutdown::Write))
    }
}
