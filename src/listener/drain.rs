//! Drain: how a running process is asked to end, and how each connection is.
//!
//! [`Shutdown`] is the one signal for the whole process. A [`Leash`] is one connection's: the accept loop holds the
//! other end, so that no connection needs a timer or a place in a shared waiters' list of its own.
//!
//! # Invariants
//!
//! - Asking is gentle: a request under way is finished, then the connection closes.
//! - A second signal from outside ends the process at once with exit code 1.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use pin_project_lite::pin_project;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};

/// Asks everything that holds a clone to finish what is under way and end. Begun once, never taken back.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<watch::Sender<bool>>);

/// How a drain went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// Connections that ended by themselves in time.
    pub finished: usize,
    /// Connections that were cut off when `drain_for` had passed.
    pub cut_off: usize,
    /// How long it took.
    pub took: Duration,
}

// --- Shutdown ---

impl Shutdown {
    /// A shutdown that has not begun.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Begins it. Again is no difference.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it begins.
    pub async fn begun(&self) {
        let mut changes = self.0.subscribe();
        // An error would mean the sender is gone; we hold it.
        let _ = changes.wait_for(|begun| *begun).await;
    }

    /// Begins it at the first SIGTERM or SIGINT; the second ends the process with exit code 1. The caller owns the
    /// task and aborts it when the process ends by itself.
    ///
    /// # Errors
    /// The signal handlers could not be installed.
    pub fn on_signals(&self) -> io::Result<JoinHandle<()>> {
        let mut signals = Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        };
        let shutdown = self.clone();
        Ok(tokio::spawn(async move {
            let name = signals.next().await;
            tracing::info!(
                signal = name,
                "shutting down: requests under way are finished, a second signal ends it at once"
            );
            shutdown.begin();
            let name = signals.next().await;
            tracing::warn!(signal = name, "second signal: ending at once");
            std::process::exit(1);
        }))
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

// --- Leash ---

/// One connection's end of the rope: counts its requests, and hears when it is asked to end.
#[derive(Debug, Default)]
pub(super) struct Leash {
    asked: AtomicBool,
    waker: AtomicWaker,
    requests: AtomicU64,
    /// Odd while the client does not take what is written; each change counts one.
    stalls: AtomicU64,
}

impl Leash {
    /// Asks the connection to end after what is under way.
    pub(super) fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Counts a request that began.
    pub(super) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that began so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Writing has stopped: the client takes nothing more.
    pub(super) fn begin_stall(&self) {
        self.stalls.fetch_add(1, Ordering::Relaxed);
    }

    /// Writing goes on.
    pub(super) fn end_stall(&self) {
        self.stalls.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of the stall the connection is in, `None` while everything moves.
    pub(super) fn stall(&self) -> Option<u64> {
        let stalls = self.stalls.load(Ordering::Relaxed);
        (stalls % 2 == 1).then_some(stalls)
    }

    fn poll_asked(&self, cx: &Context<'_>) -> Poll<()> {
        // Registered before the look, or a question between the two would never be heard.
        self.waker.register(cx.waker());
        if self.asked.load(Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Waits until the connection is asked to end. For the time before it has a protocol.
    pub(super) async fn asked(&self) {
        poll_fn(|cx| self.poll_asked(cx)).await;
    }
}

/// A connection that can be asked to end after what is under way.
pub(super) trait Graceful: Future<Output = hyper::Result<()>> {
    /// Asks it.
    fn begin_end(self: Pin<&mut Self>);
}

pin_project! {
    /// A connection on its leash: runs until it ends, gently from the moment it is asked to.
    pub(super) struct Leashed<C> {
        #[pin]
        connection: C,
        leash: Arc<Leash>,
        ending: bool,
    }
}

impl<C> Leashed<C> {
    pub(super) fn new(connection: C, leash: Arc<Leash>) -> Self {
        Self {
            connection,
            leash,
            ending: false,
        }
    }
}

impl<C: Graceful> Future for Leashed<C> {
    type Output = hyper::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if !*this.ending && this.leash.poll_asked(cx).is_ready() {
            *this.ending = true;
            // Nothing is under way, but hyper would wait for the rest of a head that has begun to arrive.
            if this.leash.requests() == 0 {
                return Poll::Ready(Ok(()));
            }
            this.connection.as_mut().begin_end();
        }
        this.connection.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_shutdown_is_heard_before_and_after_it_begins() {
        let shutdown = Shutdown::new();
        assert!(!shutdown.has_begun());
        let waiter = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.begun().await }
        });
        tokio::task::yield_now().await;
        shutdown.begin();
        waiter.await.unwrap();
        shutdown.begun().await;
        assert!(shutdown.has_begun());
    }

    #[tokio::test]
    async fn the_first_sigterm_begins_the_shutdown() {
        let shutdown = Shutdown::new();
        let watch = shutdown.on_signals().unwrap();
        let killed = std::process::Command::new("kill")
            .args(["-TERM", &std::process::id().to_string()])
            .status()
            .unwrap();
        assert!(killed.success());
        shutdown.begun().await;
        watch.abort();
    }

    #[tokio::test]
    async fn a_leash_is_heard_before_and_after_the_question() {
        let leash = Arc::new(Leash::default());
        let waiter = tokio::spawn({
            let leash = Arc::clone(&leash);
            async move { leash.asked().await }
        });
        tokio::task::yield_now().await;
        leash.ask();
        waiter.await.unwrap();
        leash.asked().await;
    }
}
