//! Names of endpoints and their addresses: looked up off the request path, kept while the resolver is down.
//!
//! `client -> connector -> [names] -> network`
//!
//! The system's resolver tells no TTL, so names are looked up again by interval (`dns_refresh`) while their endpoint is in
//! use, and sooner after a failed connect. The first lookup alone is waited for.
//!
//! # Invariants
//!
//! - A failed or empty lookup keeps the last good addresses (as RFC 8767 has resolvers do).
//! - An address that did not connect is tried after the others for a while; every address is tried before giving up.
//! - One lookup of a name at a time: a resolver that hangs is not asked again by everybody who waits.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use super::cause::Unresolved;
use crate::chance;

/// An address that did not connect comes after the others for this long.
const ADDRESS_REST: Duration = Duration::from_secs(30);
/// After a failed connect a name is looked up again, but not more often than this.
const LOOKUP_PAUSE: Duration = Duration::from_secs(1);
/// Intervals are shortened by up to this share, so that names are not all looked up at once.
const JITTER: f64 = 0.1;

/// The addresses of a name, or why there are none.
pub type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Looks names up.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of `host`, in the order in which they are best tried.
    fn resolve(&self, host: &str) -> Resolving;
}

/// The system's resolver (`getaddrinfo`): hosts file, search domains and all.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str) -> Resolving {
        let host = host.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Where one endpoint is, of late. Shared by its connectors and the task that keeps it fresh.
pub(super) struct Names {
    host: Box<str>,
    port: u16,
    resolver: Arc<dyn Resolve>,
    book: Mutex<AddressBook>,
    /// Held during a lookup.
    looking_up: tokio::sync::Mutex<()>,
    used: Notify,
    hurry: Notify,
    counts: LookupCounts,
}

/// Lookups since start.
#[derive(Debug, Default)]
struct LookupCounts {
    good: AtomicU64,
    failed: AtomicU64,
}

/// What a lookup changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// Nothing of note.
    Same,
    /// Some addresses are not there any more.
    Left,
    /// It failed, the first one in a row; the last good addresses stay in use.
    Failed,
    /// It succeeded after some that failed.
    Recovered {
        /// Some addresses are not there any more.
        left: bool,
    },
}

// --- Names ---

impl Names {
    /// `host` as in a URL: a name, or an address that needs no looking up.
    pub(super) fn new(host: &str, port: u16, resolver: Arc<dyn Resolve>) -> Self {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let mut book = AddressBook::default();
        if let Ok(address) = host.parse() {
            book.fixed = true;
            book.learn(&[address]);
        }
        Self {
            host: host.into(),
            port,
            resolver,
            book: Mutex::new(book),
            looking_up: tokio::sync::Mutex::default(),
            used: Notify::new(),
            hurry: Notify::new(),
            counts: LookupCounts::default(),
        }
    }

    fn book(&self) -> MutexGuard<'_, AddressBook> {
        // Every change of the book is one assignment: a panic cannot leave it half changed.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody is asking the endpoint: its addresses matter.
    pub(super) fn touch(&self) {
        self.used.notify_one();
    }

    /// Where to connect to, best first. Waits for a lookup only where nothing is known yet.
    pub(super) async fn addresses(&self) -> Result<Vec<SocketAddr>, Unresolved> {
        let known = self.book().order(Instant::now());
        let addresses = if known.is_empty() {
            self.first_lookup().await?
        } else {
            known
        };
        let with_port = |address| SocketAddr::new(address, self.port);
        Ok(addresses.into_iter().map(with_port).collect())
    }

    async fn first_lookup(&self) -> Result<Vec<IpAddr>, Unresolved> {
        let _one_at_a_time = self.looking_up.lock().await;
        let known = self.book().order(Instant::now());
        if !known.is_empty() {
            return Ok(known);
        }
        let _ = self.look_up().await?;
        Ok(self.book().order(Instant::now()))
    }

    async fn look_up(&self) -> Result<Lookup, Unresolved> {
        let found = self.resolver.resolve(&self.host).await;
        let mut book = self.book();
        book.looked_up = Some(Instant::now());
        let error = match found {
            Ok(found) if !found.is_empty() => {
                self.counts.good.fetch_add(1, Relaxed);
                return Ok(book.learn(&found));
            }
            Ok(_none) => io::Error::new(io::ErrorKind::NotFound, "the name has no address"),
            Err(error) => error,
        };
        self.counts.failed.fetch_add(1, Relaxed);
        drop(book);
        Err(Unresolved(error))
    }

    /// Looks the name up again, within `limit`. What failed is told once, until it succeeds.
    pub(super) async fn refresh(&self, limit: Duration) -> Lookup {
        let _one_at_a_time = self.looking_up.lock().await;
        match timeout(limit, self.look_up()).await {
            Ok(Ok(lookup)) => lookup,
            Ok(Err(_)) => self.book().failed_lookup(Instant::now()),
            Err(_) => {
                self.counts.failed.fetch_add(1, Relaxed);
                self.book().failed_lookup(Instant::now())
            }
        }
    }

    /// Waits until the name should be looked up again: `every` after the last lookup if somebody asked since, soon after
    /// a failed connect, never for a bare address.
    pub(super) async fn due(&self, every: Duration) {
        if self.book().fixed {
            return std::future::pending().await;
        }
        self.used.notified().await;
        let last = self.book().looked_up.unwrap_or_else(Instant::now);
        let every = every.mul_f64(1.0 - JITTER * chance::fraction());
        tokio::select! {
            biased;
            () = sleep_until(last + every) => {}
            () = self.hurry.notified() => {
                let last = self.book().looked_up.unwrap_or(last);
                sleep_until(last + LOOKUP_PAUSE.min(every)).await;
            }
        }
    }

    /// These did not connect; perhaps the endpoint has moved.
    pub(super) fn not_connected(&self, addresses: &[SocketAddr]) {
        let now = Instant::now();
        let mut book = self.book();
        for address in addresses {
            book.rest(address.ip(), now + ADDRESS_REST);
        }
        drop(book);
        if !addresses.is_empty() {
            self.hurry.notify_one();
        }
    }

    /// This one did.
    pub(super) fn connected(&self, address: SocketAddr) {
        self.book().well(address.ip());
    }

    /// Lookups that succeeded and that failed, since start.
    pub(super) fn counts(&self) -> (u64, u64) {
        let LookupCounts { good, failed } = &self.counts;
        (good.load(Relaxed), failed.load(Relaxed))
    }
}

// --- AddressBook ---

/// The addresses of one name. Pure: `now` is an argument.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct AddressBook {
    /// In the resolver's order.
    known: Vec<Address>,
    looked_up: Option<Instant>,
    /// The last lookup failed.
    failing: bool,
    /// An address in the first place: never looked up.
    fixed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Address {
    ip: IpAddr,
    /// Did not connect: after the others until then.
    rests_until: Option<Instant>,
}

impl AddressBook {
    fn learn(&mut self, found: &[IpAddr]) -> Lookup {
        let mut known: Vec<Address> = Vec::with_capacity(found.len());
        for ip in found {
            if known.iter().any(|address| address.ip == *ip) {
                continue;
            }
            let before = self.known.iter().find(|address| address.ip == *ip);
            known.push(Address {
                ip: *ip,
                rests_until: before.and_then(|address| address.rests_until),
            });
        }
        let stays = |address: &Address| known.iter().any(|other| other.ip == address.ip);
        let left = !self.known.iter().all(stays);
        self.known = known;
        match (std::mem::take(&mut self.failing), left) {
            (true, left) => Lookup::Recovered { left },
            (false, true) => Lookup::Left,
            (false, false) => Lookup::Same,
        }
    }

    fn failed_lookup(&mut self, now: Instant) -> Lookup {
        self.looked_up = Some(now);
        if std::mem::replace(&mut self.failing, true) {
            Lookup::Same
        } else {
            Lookup::Failed
        }
    }

    /// All of them: those that rest come last, the one that rests the shortest first.
    fn order(&self, now: Instant) -> Vec<IpAddr> {
        let mut ordered: Vec<_> = self.known.iter().collect();
        // Stable, so that the resolver's order holds among those that are well.
        ordered.sort_by_key(|address| address.rests_until.filter(|until| now < *until));
        ordered.iter().map(|address| address.ip).collect()
    }

    fn rest(&mut self, ip: IpAddr, until: Instant) {
        for address in self.known.iter_mut().filter(|address| address.ip == ip) {
            address.rests_until = Some(until);
        }
    }

    fn well(&mut self, ip: IpAddr) {
        for address in self.known.iter_mut().filter(|address| address.ip == ip) {
            address.rests_until = None;
        }
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
