//! Tunnels: connections that have left HTTP (`upgrade` of a route), their bytes copied both ways.
//!
//! `front -> [tunnel] <- client`: both ends come from one 101 that went all the way from an upstream to a client. Nothing
//! here looks at what passes.
//!
//! # Invariants
//!
//! - At most `tunnels_max` at once; the place is taken before the upstream is asked.
//! - A tunnel ends when either side closes both directions, when nothing passed for the route's `upgrade_idle_timeout`, and
//!   when a shutdown begins: it has no end of its own to wait for.
//! - Every tunnel is a task of the [`TaskTracker`] it was given, and is counted until it ends.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};
use tokio_util::task::TaskTracker;

use crate::{
    listener::Shutdown,
    observe::{Samples, Source},
};

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides closed it.
    Closed,
    /// Nothing passed for `upgrade_idle_timeout`.
    Idle,
    /// A shutdown began.
    Drained,
    /// A connection broke, or was gone before the first byte.
    Broken,
}

impl End {
    const ALL: [Self; 4] = [Self::Closed, Self::Idle, Self::Drained, Self::Broken];

    /// The word for it in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Idle => "idle",
            Self::Drained => "drained",
            Self::Broken => "broken",
        }
    }
}

/// The tunnels of the process. Clones share the bound and the counts.
#[derive(Clone, Debug)]
pub struct Tunnels(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max: usize,
    places: Arc<Semaphore>,
    refused: AtomicU64,
    ended: [AtomicU64; End::ALL.len()],
    tasks: TaskTracker,
    shutdown: Shutdown,
}

/// A place for a tunnel, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

/// Both ends of a tunnel, and whom it is for.
#[derive(Debug)]
pub struct Ends {
    /// The client's, once its 101 is written.
    pub client: OnUpgrade,
    /// The upstream's.
    pub upstream: OnUpgrade,
    /// How long it may be silent.
    pub idle_timeout: Duration,
    /// The route's name, for the log.
    pub route: Arc<str>,
    /// The request's name, for the log.
    pub request_id: String,
}

// --- Tunnels ---

impl Tunnels {
    /// At most `max` at once, as tasks of `tasks`, until `shutdown` begins.
    pub fn new(max: usize, tasks: TaskTracker, shutdown: Shutdown) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Shared {
            max,
            places: Arc::new(Semaphore::new(max)),
            refused: AtomicU64::new(0),
            ended: Default::default(),
            tasks,
            shutdown,
        }))
    }

    /// A place for one more; `None` where there is none.
    pub fn place(&self) -> Option<Place> {
        let place = Arc::clone(&self.0.places).try_acquire_owned().ok();
        if place.is_none() {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
        }
        place.map(|_permit| Place { _permit })
    }

    /// Tunnels now, those included whose head is still awaited.
    pub fn in_flight(&self) -> usize {
        self.0.max - self.0.places.available_permits()
    }

    /// Copies both ways until the tunnel ends, in a task of its own.
    pub fn open(&self, ends: Ends, place: Place) {
        let shared = Arc::clone(&self.0);
        self.0.tasks.spawn(async move {
            let began = Instant::now();
            let passed = Arc::new(Passed::new(began));
            let end = tokio::select! {
                end = run(ends.client, ends.upstream, &passed) => end,
                () = passed.idle(ends.idle_timeout) => End::Idle,
                () = shared.shutdown.begun() => End::Drained,
            };
            shared.ended[end as usize].fetch_add(1, Ordering::Relaxed);
            drop(place);
            tracing::info!(
                route = %ends.route,
                request_id = %ends.request_id,
                end = end.as_str(),
                from_client_bytes = passed.from_client_bytes.load(Ordering::Relaxed),
                to_client_bytes = passed.to_client_bytes.load(Ordering::Relaxed),
                took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                "tunnel ended"
            );
        });
    }
}

impl Source for Tunnels {
    fn sample(&self, samples: &mut Samples) {
        let help = "Tunnels open now, those included whose head is awaited";
        samples.gauge("tunnels_in_flight", help, &[], self.in_flight() as f64);
        let help = "Tunnels that ended";
        for end in End::ALL {
            let count = self.0.ended[end as usize].load(Ordering::Relaxed);
            samples.counter("tunnels", help, &[("end", end.as_str())], count);
        }
        let help = "Upgrades not asked for because tunnels_max was reached";
        let refused = self.0.refused.load(Ordering::Relaxed);
        samples.counter("tunnels_refused", help, &[], refused);
    }
}

async fn run(client: OnUpgrade, upstream: OnUpgrade, passed: &Arc<Passed>) -> End {
    let (Ok(client), Ok(upstream)) = tokio::join!(client, upstream) else {
        return End::Broken;
    };
    let mut client = Watched {
        io: TokioIo::new(client),
        passed: Arc::clone(passed),
    };
    let mut upstream = TokioIo::new(upstream);
    match copy_bidirectional(&mut client, &mut upstream).await {
        Ok(_) => End::Closed,
        Err(_) => End::Broken,
    }
}

// --- Passed ---

/// What has passed so far, and when the last of it did.
#[derive(Debug)]
struct Passed {
    began: Instant,
    /// Since `began`.
    latest_millis: AtomicU64,
    from_client_bytes: AtomicU64,
    to_client_bytes: AtomicU64,
}

impl Passed {
    fn new(began: Instant) -> Self {
        Self {
            began,
            latest_millis: AtomicU64::new(0),
            from_client_bytes: AtomicU64::new(0),
            to_client_bytes: AtomicU64::new(0),
        }
    }

    fn count(&self, counter: &AtomicU64, bytes: usize) {
        if bytes > 0 {
            counter.fetch_add(bytes as u64, Ordering::Relaxed);
            let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.latest_millis.store(millis, Ordering::Relaxed);
        }
    }

    /// Waits until nothing has passed for this long.
    async fn idle(&self, timeout: Duration) {
        loop {
            let latest = Duration::from_millis(self.latest_millis.load(Ordering::Relaxed));
            let until = self.began.checked_add(latest.saturating_add(timeout));
            let Some(until) = until else {
                return std::future::pending().await;
            };
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// The client's end: all that passes passes here once.
struct Watched {
    io: TokioIo<Upgraded>,
    passed: Arc<Passed>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        let bytes = buf.filled().len() - before;
        self.passed.count(&self.passed.from_client_bytes, bytes);
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        if let Poll::Ready(Ok(bytes)) = written {
            self.passed.count(&self.passed.to_client_bytes, bytes);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_is_idle_only_when_nothing_has_passed_for_the_whole_time() {
        let passed = Arc::new(Passed::new(Instant::now()));
        let second = Duration::from_secs(1);
        let watch = Arc::clone(&passed);
        let idle = tokio::spawn(async move {
            watch.idle(second * 10).await;
            watch.began.elapsed()
        });
        tokio::time::sleep(second * 7).await;
        passed.count(&passed.from_client_bytes, 1);
        passed.count(&passed.to_client_bytes, 0);
        assert_eq!(idle.await.unwrap().as_secs(), 17);
    }

    #[tokio::test]
    async fn no_more_tunnels_than_allowed_and_places_come_back() {
        let tunnels = Tunnels::new(1, TaskTracker::new(), Shutdown::new());
        let first = tunnels.place();
        assert!(first.is_some() && tunnels.place().is_none());
        assert_eq!(tunnels.in_flight(), 1);
        drop(first);
        assert!(tunnels.place().is_some());
    }
}
