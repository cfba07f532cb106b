//! The gate: the listening socket, which can be closed for real and opened again on its port.
//!
//! While refusing, a socket is bound to the port without listening on it: connecting is refused by the
//! kernel, and no other program is given the port by chance in the meantime.
//!
//! # Invariant
//!
//! - [`Gate::refuse`] and [`Gate::admit`] act before they return: no connection is accepted after the
//!   one, none is refused after the other.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

/// Connections the kernel holds ready to be accepted.
const BACKLOG: i32 = 1024;

/// A listening socket that can be closed and opened again.
#[derive(Debug)]
pub(crate) struct Gate {
    addr: SocketAddr,
    runtime: Handle,
    door: Mutex<Door>,
    /// The accept loop. Closing a listener wakes nobody, so the loop may still wait for the one before.
    accepting: Mutex<Option<Waker>>,
}

#[derive(Debug)]
enum Door {
    Open(TcpListener),
    /// Holds the port; `None` if even that failed, and it is bound anew when admitting.
    Refusing(Option<Socket>),
    /// The stub is gone: never opens again.
    Shut,
}

// --- Gate ---

impl Gate {
    /// Listens on `addr`; port 0 takes a free one. Needs a tokio runtime.
    pub(crate) fn open(addr: SocketAddr) -> io::Result<Self> {
        let listener = listening(bound(addr)?)?;
        Ok(Self {
            addr: listener.local_addr()?,
            runtime: Handle::current(),
            door: Mutex::new(Door::Open(listener)),
            accepting: Mutex::default(),
        })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The next connection; waits for ever while refusing. For one caller at a time.
    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        let door = self.door();
        *self.accepting() = Some(cx.waker().clone());
        match &*door {
            Door::Open(listener) => listener
                .poll_accept(cx)
                .map(|accepted| accepted.map(|(stream, _)| stream)),
            Door::Refusing(_) | Door::Shut => Poll::Pending,
        }
    }

    /// Closes the listening socket. Says whether it was open.
    pub(crate) fn refuse(&self) -> bool {
        let mut door = self.door();
        if !matches!(*door, Door::Open(_)) {
            return false;
        }
        // The listener is dropped here: the port cannot be bound again before.
        *door = Door::Shut;
        *door = Door::Refusing(bound(self.addr).ok());
        true
    }

    /// Listens again, if it was refusing.
    pub(crate) fn admit(&self) -> io::Result<()> {
        let mut door = self.door();
        let Door::Refusing(held) = &mut *door else {
            return Ok(());
        };
        let socket = held.take().map_or_else(|| bound(self.addr), Ok)?;
        // The caller may be on a thread that knows no runtime.
        let _runtime = self.runtime.enter();
        *door = Door::Open(listening(socket)?);
        if let Some(accepting) = self.accepting().take() {
            accepting.wake();
        }
        Ok(())
    }

    /// Closes for good and gives the port back.
    pub(crate) fn shut(&self) {
        *self.door() = Door::Shut;
    }

    fn accepting(&self) -> MutexGuard<'_, Option<Waker>> {
        self.accepting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bound(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of the time before still hold the port, most of them in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

fn listening(socket: Socket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn refused_port_stays_ours_and_opens_again() {
        let gate = Gate::open("127.0.0.1:0".parse().unwrap()).unwrap();
        assert!(gate.refuse());
        let refused = TcpStream::connect(gate.addr()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let taken = other.bind(&gate.addr().into()).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);

        gate.admit().unwrap();
        let (asked, accepted) = tokio::join!(
            TcpStream::connect(gate.addr()),
            poll_fn(|cx| gate.poll_accept(cx))
        );
        assert_eq!(
            asked.unwrap().local_addr().unwrap(),
            accepted.unwrap().peer_addr().unwrap()
        );
    }

    #[tokio::test]
    async fn accept_that_waited_before_the_refusal_gets_the_first_connection_after() {
        let gate = std::sync::Arc::new(Gate::open("127.0.0.1:0".parse().unwrap()).unwrap());
        let accepting = tokio::spawn({
            let gate = gate.clone();
            async move { poll_fn(|cx| gate.poll_accept(cx)).await }
        });
        tokio::task::yield_now().await;
        gate.refuse();
        gate.admit().unwrap();
        let asked = TcpStream::connect(gate.addr()).await.unwrap();
        let accepted = tokio::time::timeout(std::time::Duration::from_secs(20), accepting).await;
        let accepted = accepted.unwrap().unwrap().unwrap();
        assert_eq!(asked.local_addr().unwrap(), accepted.peer_addr().unwrap());
    }
}
