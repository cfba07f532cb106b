//! Network: how names become addresses and addresses connections; the one seam between an upstream and the world.
//!
//! In a running proxy this is the system's resolver and TCP. Tests and simulations put theirs in its place.
//!
//! Several addresses of one name are raced as RFC 8305 (Happy Eyeballs) 5 has it: the next one starts when the one before
//! has failed or has taken [`ATTEMPT_DELAY`], the first that connects wins. What lost is told, so that a dead address does
//! not cost every connection that delay.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::sleep,
};

use super::resolve::{Resolve, SystemResolver};

/// RFC 8305 5: how long one address is waited for before the next is tried beside it.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Resolver and transport of all upstreams. Clones share them.
#[derive(Clone)]
pub struct Network {
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) transport: Arc<dyn Transport>,
}

impl Network {
    /// The system's.
    pub fn system() -> Self {
        Self {
            resolver: Arc::new(SystemResolver),
            transport: Arc::new(Tcp),
        }
    }

    /// The same with this resolver.
    #[must_use]
    pub fn with_resolver(mut self, resolver: impl Resolve) -> Self {
        self.resolver = Arc::new(resolver);
        self
    }

    /// The same over this transport.
    #[must_use]
    pub fn with_transport(mut self, transport: impl Transport) -> Self {
        self.transport = Arc::new(transport);
        self
    }
}

/// A connection, or why there is none.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

/// Opens connections.
pub trait Transport: Send + Sync + 'static {
    /// One connection to `address`.
    fn connect(&self, address: SocketAddr) -> Connecting;
}

/// TCP, without Nagle's delay.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

impl Transport for Tcp {
    fn connect(&self, address: SocketAddr) -> Connecting {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Stream::Tcp(stream))
        })
    }
}

/// Something that bytes go through both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection to an upstream, before TLS.
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// Anything else: a test's, a simulation's.
    Other(Box<dyn Duplex>),
}

/// Races `addresses`. `losers` are those that were tried and did not win; it is kept up to date, so that it holds also
/// where the race is given up.
pub(super) async fn race(
    transport: &dyn Transport,
    addresses: &[SocketAddr],
    losers: &mut Vec<SocketAddr>,
) -> io::Result<(SocketAddr, Stream)> {
    let mut waiting = addresses.iter().copied();
    let mut racing = FuturesUnordered::new();
    let mut latest = None;
    loop {
        if let Some(address) = waiting.next() {
            losers.push(address);
            let connecting = transport.connect(address);
            racing.push(async move { (address, connecting.await) });
        } else if racing.is_empty() {
            let none = || io::Error::new(io::ErrorKind::NotFound, "there is no address");
            return Err(latest.unwrap_or_else(none));
        }
        let is_last = waiting.len() == 0;
        tokio::select! {
            // In this order, so that a simulation can repeat it: a connection before another attempt.
            biased;
            Some((address, result)) = racing.next() => match result {
                Ok(stream) => {
                    losers.retain(|loser| *loser != address);
                    return Ok((address, stream));
                }
                Err(error) => latest = Some(error),
            },
            () = sleep(ATTEMPT_DELAY), if !is_last => {}
        }
    }
}

// --- Stream ---

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::Tcp(stream) => stream.connected(),
            Self::Other(_) => Connected::new(),
        }
    }
}

impl Stream {
    fn inner(self: Pin<&mut Self>) -> Pin<&mut dyn Duplex> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream),
            Self::Other(stream) => Pin::new(&mut **stream),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.inner().poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Other(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
