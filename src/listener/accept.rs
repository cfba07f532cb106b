//! Accept: from a listening socket to served connections.
//!
//! One loop owns everything: it accepts while there is room, joins the tasks of connections that ended, and at regular
//! times asks those that begin no request to end. So a connection carries no timer and takes no lock; a request costs
//! one addition to a counter of its own connection.

use std::{
    collections::{HashMap, hash_map},
    convert::Infallible,
    error::Error,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{body::Incoming, service::Service};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at},
};

use super::{
    connection::{Protocols, serve_connection},
    drain::{DrainReport, Leash, Shutdown},
};
use crate::{
    admission::ClientKey,
    config::{Network, ServerConfig},
    http::interim::Interims,
    observe::{Samples, Source},
};

/// Connections the system keeps for us until we accept them. The system may allow fewer (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;
/// Rest after an accept that failed for want of something that only time gives back (file descriptors, memory).
const ACCEPT_RETRY_MIN: Duration = Duration::from_millis(5);
const ACCEPT_RETRY_MAX: Duration = Duration::from_secs(1);

/// Why there is nothing to accept from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Another process, or another section of the config, has the address.
    #[error(
        "{address} is already in use; stop what listens there (`ss -ltnp` shows it) or set another address"
    )]
    InUse {
        /// The address from the config.
        address: SocketAddr,
    },
    /// Ports below 1024 need a privilege.
    #[error(
        "no permission to listen on {address}; use a port from 1024 on, or grant CAP_NET_BIND_SERVICE"
    )]
    NotPermitted {
        /// The address from the config.
        address: SocketAddr,
    },
    /// The address belongs to no interface of this machine.
    #[error(
        "{address} is not an address of this machine; use one of its own, 127.0.0.1 or 0.0.0.0"
    )]
    NotLocal {
        /// The address from the config.
        address: SocketAddr,
    },
    /// Anything else the system objects to.
    #[error("cannot listen on {address}")]
    Other {
        /// The address from the config.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl ListenError {
    fn new(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address },
            io::ErrorKind::PermissionDenied => Self::NotPermitted { address },
            io::ErrorKind::AddrNotAvailable => Self::NotLocal { address },
            _ => Self::Other { address, source },
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address the connection came from. Not what a header claims.
    pub address: SocketAddr,
    /// How interim responses get there.
    pub interims: Interims,
}

/// Counts for metrics; read at scrape time.
#[derive(Debug, Default)]
pub struct ListenerStats {
    open: AtomicUsize,
    accepted: AtomicU64,
    accept_errors: AtomicU64,
    client_limited: AtomicU64,
    full: AtomicU64,
    idle_closed: AtomicU64,
    stalled: AtomicU64,
}

impl ListenerStats {
    /// Connections open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Accepts that failed so far.
    pub fn accept_errors(&self) -> u64 {
        self.accept_errors.load(Ordering::Relaxed)
    }

    /// Connections closed because their client had `client_connections_max` of them already.
    pub fn client_limited(&self) -> u64 {
        self.client_limited.load(Ordering::Relaxed)
    }

    /// How often `connections_max` was reached and accepting stopped for a while.
    pub fn full(&self) -> u64 {
        self.full.load(Ordering::Relaxed)
    }

    /// Connections cut off because their client took nothing of its answer in time.
    pub fn stalled(&self) -> u64 {
        self.stalled.load(Ordering::Relaxed)
    }

    /// Connections asked to end because they began no request in time.
    pub fn idle_closed(&self) -> u64 {
        self.idle_closed.load(Ordering::Relaxed)
    }
}

impl Source for ListenerStats {
    fn sample(&self, samples: &mut Samples) {
        let open = self.open() as f64;
        samples.gauge("listener_connections", "Client connections open", &[], open);
        for (name, help, count) in [
            (
                "listener_accepted",
                "Client connections accepted",
                self.accepted(),
            ),
            (
                "listener_accept_errors",
                "Client connections that could not be accepted",
                self.accept_errors(),
            ),
            (
                "listener_full",
                "Times connections_max was reached",
                self.full(),
            ),
            (
                "listener_stalled",
                "Client connections cut off because nothing of an answer was taken",
                self.stalled(),
            ),
            (
                "listener_idle_closed",
                "Client connections closed for want of a request",
                self.idle_closed(),
            ),
        ] {
            samples.counter(name, help, &[], count);
        }
    }
}

/// What a listener lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; more wait in the backlog. At least 1.
    pub connections_max: usize,
    /// Connections at once of one client address; more are closed.
    pub client_connections_max: Option<usize>,
    /// Who may have any number of them.
    pub trusted_proxies: Vec<Network>,
    /// A connection that begins no request for this long is asked to end. So this also bounds the wait for a head.
    pub idle_timeout: Duration,
    /// Largest request head in bytes, else 431.
    pub header_bytes_max: usize,
    /// Most request fields in HTTP/1, else 431.
    pub headers_max: usize,
    /// Streams at once per HTTP/2 connection.
    pub http2_streams_max: u32,
    /// How long a shutdown waits for what is under way.
    pub drain_for: Duration,
}

impl From<&ServerConfig> for Limits {
    fn from(config: &ServerConfig) -> Self {
        Self {
            connections_max: config.connections_max,
            client_connections_max: config.client_connections_max,
            trusted_proxies: config.trusted_proxies.clone(),
            idle_timeout: config.header_read_timeout,
            header_bytes_max: config.header_bytes_max,
            headers_max: config.headers_max,
            http2_streams_max: config.http2_streams_max,
            drain_for: config.drain_for,
        }
    }
}

/// A bound socket and the limits of what it lets in.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    limits: Limits,
    stats: Arc<ListenerStats>,
}

impl Listener {
    /// Binds the address of `[server]`. Needs a running tokio runtime.
    ///
    /// # Errors
    /// The address cannot be had; the message says what to do about it.
    pub fn bind(config: &ServerConfig) -> Result<Self, ListenError> {
        Self::bind_with(config.listen, config.into())
    }

    /// Binds any address under any limits.
    ///
    /// # Errors
    /// As [`Listener::bind`].
    pub fn bind_with(address: SocketAddr, limits: Limits) -> Result<Self, ListenError> {
        let socket =
            listening_socket(address).map_err(|source| ListenError::new(address, source))?;
        Ok(Self {
            socket,
            limits,
            stats: Arc::default(),
        })
    }

    /// The address it listens on, with the port the system chose where the config said 0.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Counts for metrics, valid as long as anyone holds them.
    pub fn stats(&self) -> Arc<ListenerStats> {
        Arc::clone(&self.stats)
    }

    /// Serves until `shutdown` begins, then drains: nothing new is accepted, what is under way may finish within
    /// `drain_for`, the rest is cut off. `service_for` is called once per connection.
    pub async fn serve<M, S, B>(self, service_for: M, shutdown: Shutdown) -> DrainReport
    where
        M: Fn(Peer) -> S + Send,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let Self {
            socket,
            limits,
            stats,
        } = self;
        let protocols = Protocols::new(&limits);
        let connections_max = limits.connections_max.max(1);
        let mut connections = Connections::new(&limits, stats);
        let mut sweep = interval(sweep_interval(limits.idle_timeout));
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut accept = Accept::new(&socket);
        let begun = shutdown.begun();
        tokio::pin!(begun);
        loop {
            let has_room = connections.len() < connections_max;
            tokio::select! {
                biased;
                () = &mut begun => break,
                Some(ended) = connections.tasks.join_next_with_id() => connections.forget(ended),
                now = sweep.tick() => connections.sweep(now),
                accepted = accept.next(), if has_room => match accepted {
                    Ok((stream, peer)) => {
                        let Some(client) = connections.admitted(&peer) else {
                            // Closed unread and unanswered: whoever opens too many is not owed the work of an answer.
                            drop(stream);
                            continue;
                        };
                        let interims = peer.interims.clone();
                        let service = service_for(peer);
                        connections.spawn(&protocols, stream, service, interims, client);
                        if connections.len() == connections_max {
                            connections.stats.full.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    Err(_) => {
                        connections.stats.accept_errors.fetch_add(1, Ordering::Relaxed);
                    }
                },
            }
        }
        // Closed before anything else, so that new clients are refused and go elsewhere.
        drop(socket);
        connections.drain(limits.drain_for).await
    }
}

fn listening_socket(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Connections of the process before us may linger on the port; they are no reason not to start.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Often enough that a connection outstays its time by a quarter at most.
fn sweep_interval(idle_timeout: Duration) -> Duration {
    (idle_timeout / 4).clamp(Duration::from_millis(10), Duration::from_secs(5))
}

// --- Accept ---

/// Accepting with a rest after each failure that time alone mends.
struct Accept<'s> {
    socket: &'s TcpListener,
    not_before: Option<Instant>,
    rest: Duration,
}

impl<'s> Accept<'s> {
    fn new(socket: &'s TcpListener) -> Self {
        Self {
            socket,
            not_before: None,
            rest: ACCEPT_RETRY_MIN,
        }
    }

    /// The next connection, or the failure to take it; after one the next call rests first. May be dropped at any
    /// await and called again.
    async fn next(&mut self) -> io::Result<(TcpStream, Peer)> {
        if let Some(not_before) = self.not_before {
            sleep_until(not_before).await;
            self.not_before = None;
        }
        match self.socket.accept().await {
            Ok((stream, address)) => {
                self.rest = ACCEPT_RETRY_MIN;
                // Answers are written whole; waiting for more to send with them only delays them.
                let _ = stream.set_nodelay(true);
                Ok((
                    stream,
                    Peer {
                        address,
                        interims: Interims::default(),
                    },
                ))
            }
            Err(error) => {
                self.note(&error);
                Err(error)
            }
        }
    }

    fn note(&mut self, error: &io::Error) {
        if is_of_one_connection(error) {
            return;
        }
        tracing::warn!(%error, rest_ms = self.rest.as_millis() as u64, "cannot accept a connection; is the limit of open files (`ulimit -n`) too low?");
        self.not_before = Some(Instant::now() + self.rest);
        self.rest = (self.rest * 2).min(ACCEPT_RETRY_MAX);
    }
}

/// Failures of the connection that was about to be accepted, not of accepting.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

// --- Connections ---

/// Every connection's task, and the other end of its leash.
struct Connections {
    tasks: JoinSet<()>,
    leashes: HashMap<Id, Tracked>,
    /// Connections by client, where they are counted. As many clients as connections at most.
    clients: HashMap<ClientKey, usize>,
    client_connections_max: Option<usize>,
    trusted_proxies: Vec<Network>,
    idle_timeout: Duration,
    stats: Arc<ListenerStats>,
}

/// As whose connection one is counted; nobody's where there is no limit for it.
type Counted = Option<ClientKey>;

struct Tracked {
    client: Counted,
    task: AbortHandle,
    leash: Arc<Leash>,
    stall: Option<u64>,
    stalled_since: Instant,
    requests_seen: u64,
    quiet_since: Instant,
    asked: bool,
}

impl Tracked {
    fn new(task: AbortHandle, leash: Arc<Leash>, client: Counted) -> Self {
        let now = Instant::now();
        Self {
            client,
            task,
            leash,
            stall: None,
            stalled_since: now,
            requests_seen: 0,
            quiet_since: now,
            asked: false,
        }
    }

    fn is_stalled(&mut self, now: Instant, timeout: Duration) -> bool {
        let stall = self.leash.stall();
        if stall != self.stall {
            self.stall = stall;
            self.stalled_since = now;
        }
        stall.is_some() && now.saturating_duration_since(self.stalled_since) >= timeout
    }

    fn is_idle(&mut self, now: Instant, timeout: Duration) -> bool {
        let requests = self.leash.requests();
        if requests != self.requests_seen {
            self.requests_seen = requests;
            self.quiet_since = now;
        }
        !self.asked && now.saturating_duration_since(self.quiet_since) >= timeout
    }
}

impl Connections {
    fn new(limits: &Limits, stats: Arc<ListenerStats>) -> Self {
        Self {
            tasks: JoinSet::new(),
            leashes: HashMap::new(),
            clients: HashMap::new(),
            client_connections_max: limits.client_connections_max,
            trusted_proxies: limits.trusted_proxies.clone(),
            idle_timeout: limits.idle_timeout,
            stats,
        }
    }

    /// Counts a further connection of this peer. `None`: it has as many as it may have.
    fn admitted(&mut self, peer: &Peer) -> Option<Counted> {
        let Some(max) = self.client_connections_max else {
            return Some(None);
        };
        let address = peer.address.ip();
        let mut trusted = self.trusted_proxies.iter();
        if trusted.any(|network| network.contains(address)) {
            return Some(None);
        }
        let client = ClientKey::from(address);
        let open = self.clients.entry(client).or_default();
        if *open >= max.max(1) {
            self.stats.client_limited.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        *open += 1;
        Some(Some(client))
    }

    fn len(&self) -> usize {
        self.tasks.len()
    }

    fn spawn<S, B>(
        &mut self,
        protocols: &Protocols,
        stream: TcpStream,
        service: S,
        interims: Interims,
        client: Counted,
    ) where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let leash = Arc::new(Leash::default());
        let task = self.tasks.spawn(serve_connection(
            protocols.clone(),
            stream,
            service,
            Arc::clone(&leash),
            interims,
        ));
        let tracked = Tracked::new(task, leash, client);
        self.leashes.insert(tracked.task.id(), tracked);
        self.stats.accepted.fetch_add(1, Ordering::Relaxed);
        self.stats.open.store(self.tasks.len(), Ordering::Relaxed);
    }

    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                // Cut off by us otherwise.
                if error.is_panic() {
                    tracing::error!("a connection ended by a defect of ours; the others go on");
                }
                error.id()
            }
        };
        let client = self.leashes.remove(&id).and_then(|ended| ended.client);
        if let Some(client) = client
            && let hash_map::Entry::Occupied(mut open) = self.clients.entry(client)
        {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
        self.stats.open.store(self.tasks.len(), Ordering::Relaxed);
    }

    /// Asks connections to end that have begun no request for `idle_timeout` (one that is still answering finishes),
    /// and cuts off those that have taken nothing of an answer for as long.
    fn sweep(&mut self, now: Instant) {
        for tracked in self.leashes.values_mut() {
            if tracked.is_stalled(now, self.idle_timeout) {
                tracked.task.abort();
                // Counted once, even if the task has not ended by the next sweep.
                tracked.stalled_since = now;
                self.stats.stalled.fetch_add(1, Ordering::Relaxed);
            } else if tracked.is_idle(now, self.idle_timeout) {
                tracked.asked = true;
                tracked.leash.ask();
                self.stats.idle_closed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    async fn drain(mut self, drain_for: Duration) -> DrainReport {
        let began = Instant::now();
        for tracked in self.leashes.values() {
            tracked.leash.ask();
        }
        let mut report = DrainReport::default();
        while let Ok(Some(ended)) =
            timeout_at(began + drain_for, self.tasks.join_next_with_id()).await
        {
            self.forget(ended);
            report.finished += 1;
        }
        report.cut_off = self.tasks.len();
        self.tasks.shutdown().await;
        self.stats.open.store(0, Ordering::Relaxed);
        report.took = began.elapsed();
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_that_time_mends_is_followed_by_a_growing_rest() {
        let socket = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mut accept = Accept::new(&socket);
        accept.note(&io::Error::from(io::ErrorKind::ConnectionAborted));
        assert!(
            accept.not_before.is_none(),
            "a client that left costs no rest"
        );
        let too_many_files = io::Error::from_raw_os_error(24);
        let mut rests = Vec::new();
        for _ in 0..10 {
            rests.push(accept.rest);
            accept.note(&too_many_files);
            assert!(accept.not_before.is_some());
        }
        assert_eq!(rests[0], ACCEPT_RETRY_MIN);
        assert!(rests.is_sorted() && rests[1] > rests[0], "{rests:?}");
        assert_eq!(rests[9], ACCEPT_RETRY_MAX);
        let client = TcpStream::connect(socket.local_addr().unwrap())
            .await
            .unwrap();
        assert!(accept.next().await.is_ok(), "after the rest it goes on");
        assert_eq!(accept.rest, ACCEPT_RETRY_MIN, "and begins anew");
        drop(client);
    }
}
