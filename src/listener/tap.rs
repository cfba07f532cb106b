//! Tap: a connection's socket, and whether the client takes what is written to it.
//!
//! A client that asks and then does not read would hold its connection, and the body on its way to it, for ever. So
//! the leash learns when writing stops, and the sweep cuts what has not moved for too long. While everything moves the
//! cost is one comparison per write.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::drain::Leash;

/// A socket whose writes are watched.
#[derive(Debug)]
pub(super) struct Tap {
    socket: TokioIo<TcpStream>,
    leash: Arc<Leash>,
    is_stalled: bool,
}

impl Tap {
    pub(super) fn new(socket: TcpStream, leash: Arc<Leash>) -> Self {
        Self {
            socket: TokioIo::new(socket),
            leash,
            is_stalled: false,
        }
    }

    fn note<T>(&mut self, written: Poll<T>) -> Poll<T> {
        if written.is_pending() != self.is_stalled {
            self.is_stalled = !self.is_stalled;
            if self.is_stalled {
                self.leash.begin_stall();
            } else {
                self.leash.end_stall();
            }
        }
        written
    }
}

impl Read for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl Write for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
