//! Tap: a connection's socket, whether the client takes what is written to it, and what is written besides.
//!
//! A client that asks and then does not read would hold its connection, and the body on its way to it, for ever. So
//! the leash learns when writing stops, and the sweep cuts what has not moved for too long. While everything moves the
//! cost is one comparison per write.
//!
//! Interim responses are written here too, because hyper has no way to: [`Turn`] says when (`http/interim.rs`).

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::drain::Leash;
use crate::http::interim::{Interims, Turn};

/// A socket whose writes are watched.
#[derive(Debug)]
pub(super) struct Tap {
    socket: TokioIo<TcpStream>,
    leash: Arc<Leash>,
    is_stalled: bool,
    turn: Turn,
    /// Of interim responses, begun or about to be: goes before anything else.
    first: Bytes,
}

impl Tap {
    pub(super) fn new(socket: TcpStream, leash: Arc<Leash>, interims: Interims) -> Self {
        Self {
            socket: TokioIo::new(socket),
            leash,
            is_stalled: false,
            turn: Turn::new(interims),
            first: Bytes::new(),
        }
    }

    /// Writes what goes first.
    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.first.is_empty() {
            let written = Pin::new(&mut self.socket).poll_write(cx, &self.first);
            match ready!(self.note(written))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                len => self.first.advance(len),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_before_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let interim = self.turn.at_write();
        self.queue(interim);
        self.poll_first(cx)
    }

    fn queue(&mut self, interim: Bytes) {
        if self.first.is_empty() {
            self.first = interim;
        } else if !interim.is_empty() {
            // A client that takes little: behind what it has not taken yet.
            self.first = [&*self.first, &*interim].concat().into();
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
        ready!(self.poll_before_write(cx))?;
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_before_write(cx))?;
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let interim = self.turn.at_flush();
        self.queue(interim);
        ready!(self.poll_first(cx))?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
