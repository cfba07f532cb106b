//! The vendor, played locally: a third-party API whose data changes and which breaks on command.
//!
//! The origin of the tests, the vendor of `larder dev`, and `larder stub` for site developers. It is no
//! part of the proxy's path: it stands where the third-party API would, behind real sockets, and its
//! faults are real on the wire (RST, FIN, a closed port), because a fault played above the socket would
//! test only itself.
//!
//! ```text
//! gate       the listening socket, closed for real by `refuse`
//! serve      connections: count, decide the fault, answer or swallow
//! table      which fault for this request at this time (pure)
//! sets, file the good answer, a function of seed and time (pure)
//! spoil      what faults of content make of it (pure)
//! body, line half-sent bodies, resets
//! asked      what the vendor was asked
//! control    the API that breaks and mends
//! ```
//!
//! # Invariants
//!
//! - A request that reached the stub is counted, whatever a fault does to it; while it refuses, none does.
//! - `break_path` and `mend` have taken effect when they return.
//! - Dropping the [`Stub`] ends everything it started.
//!
//! What it does not do: TLS, request trailers, record and replay.

mod answer;
mod asked;
mod body;
mod breaks;
mod control;
mod fault;
mod file;
mod gate;
mod line;
mod pattern;
mod print;
mod serve;
mod sets;
mod spoil;
mod table;
#[cfg(test)]
mod tests;
mod vendor;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

pub use asked::{Asked, TARGETS_MAX};
pub use breaks::{Break, BreakError};
pub use fault::{Fault, RetryAfter};
pub use file::FileError;
pub use pattern::{PathPattern, PatternError};
pub use sets::Set;
pub use table::{FaultTable, RULES_MAX, fault_at};

use crate::clock::Clock;
use asked::Ledger;
use file::VendorFile;
use gate::Gate;
use print::Printer;
use sets::Shop;
use vendor::Vendor;

/// Longest wait for a task to end; past it the task is aborted.
const SHUTDOWN_MAX: Duration = Duration::from_secs(2);

/// How a stub is set up.
#[derive(Clone, Debug)]
pub struct StubOptions {
    /// Where the vendor listens. Default: a free port on loopback.
    pub listen: SocketAddr,
    /// Where the control API listens. Default: a free port on loopback.
    pub control: SocketAddr,
    /// The sets that answer. Default: all.
    pub sets: Vec<Set>,
    /// A TOML file with own resources and scheduled faults. Default: none.
    pub file: Option<PathBuf>,
    /// Faults scheduled from the start, beside those of the file. Default: none.
    pub schedule: Vec<Break>,
    /// All data and all chance follow from this. Default: 1.
    pub seed: u64,
    /// How often prices and availability change; the catalogue is ten times slower. Default: 10 s.
    pub change_every: Duration,
    /// Prints a line per request to standard output. Default: no.
    pub print: bool,
    /// The time the data follows (`Date` too); faults follow real time. Default: the system's.
    pub clock: Clock,
    /// Requests kept to be looked at; counts go on beyond. Default: 1000.
    pub requests_max: usize,
    /// Bytes kept of a request's body; all of them are counted. Default: 1 MiB.
    pub body_bytes_max: usize,
    /// Connections served at a time; further ones wait in the kernel. Default: 4096.
    pub connections_max: usize,
}

/// Why a stub could not be started, or run to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StubError {
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {addr} ({source}): end the program that uses it, or choose another address with --{option}"
    )]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The option that sets it.
        option: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The vendor file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A fault contradicts itself.
    #[error("fault: {0}")]
    Break(#[from] BreakError),
    /// The printing thread or the signals could not be set up.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

/// A running vendor.
///
/// Dropping it closes its ports and ends its tasks; [`Stub::shutdown`] also waits for them.
#[derive(Debug)]
pub struct Stub {
    vendor: Arc<Vendor>,
    control_addr: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

// --- StubOptions ---

impl Default for StubOptions {
    fn default() -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            listen: any_port,
            control: any_port,
            sets: Set::ALL.to_vec(),
            file: None,
            schedule: Vec::new(),
            seed: 1,
            change_every: Duration::from_secs(10),
            print: false,
            clock: Clock::System,
            requests_max: 1000,
            body_bytes_max: 1 << 20,
            connections_max: 4096,
        }
    }
}

// --- Stub ---

impl Stub {
    /// Opens both ports and starts to answer; when it returns, the vendor can be asked.
    ///
    /// Needs a tokio runtime with time and I/O; with a paused clock schedules run ahead of real sockets.
    ///
    /// # Errors
    ///
    /// A port in use, a bad file, a fault that contradicts itself. Nothing is left running.
    pub async fn start(options: StubOptions) -> Result<Self, StubError> {
        let file = match &options.file {
            Some(path) => VendorFile::read(path)?,
            None => VendorFile::default(),
        };
        let mut faults = FaultTable::default();
        for broken in file.breaks.into_iter().chain(options.schedule) {
            faults.schedule(broken.checked()?);
        }
        let printer = options.print.then(Printer::start).transpose();
        let listener = TcpListener::bind(options.control).await;
        let listener = listener.map_err(listen_error(options.control, "control"))?;
        let control_addr = listener.local_addr();
        let vendor = Arc::new(Vendor {
            shop: Shop::new(options.sets, file.resources),
            ledger: Ledger::new(options.requests_max),
            gate: Gate::open(options.listen).map_err(listen_error(options.listen, "listen"))?,
            clock: options.clock,
            seed: options.seed,
            change_every: options.change_every,
            body_bytes_max: options.body_bytes_max,
            connections_max: options.connections_max.max(1),
            printer: printer.map_err(system_error("start printing"))?,
            faults: Mutex::new(faults),
            chance: Mutex::new(StdRng::seed_from_u64(options.seed)),
            started: Instant::now(),
            changed: Notify::new(),
            refusals: watch::Sender::new(0),
            open: AtomicUsize::new(0),
        });
        let stop = watch::Sender::new(false);
        let tasks = vec![
            tokio::spawn(serve::accept_loop(Arc::clone(&vendor), stop.subscribe())),
            tokio::spawn(Arc::clone(&vendor).keep_schedule(stop.subscribe())),
            tokio::spawn(control::serve(
                Arc::clone(&vendor),
                listener,
                stop.subscribe(),
            )),
        ];
        Ok(Self {
            control_addr: control_addr.map_err(listen_error(options.control, "control"))?,
            vendor,
            stop,
            tasks,
        })
    }

    /// Where the vendor listens (or would, while it refuses).
    pub fn addr(&self) -> SocketAddr {
        self.vendor.gate.addr()
    }

    /// Where the control API listens.
    pub fn control_addr(&self) -> SocketAddr {
        self.control_addr
    }

    /// `http://address` followed by `path`, which begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr())
    }

    /// The seed that repeats this run's data and chance.
    pub fn seed(&self) -> u64 {
        self.vendor.seed
    }

    /// Breaks `pattern` from now on, in place of what was switched on for it before.
    ///
    /// # Errors
    ///
    /// `pattern` is no [`PathPattern`], or `fault` cannot be had there ([`Fault::Refuse`] is for `*`).
    pub fn break_path(&self, pattern: &str, fault: Fault) -> Result<(), BreakError> {
        self.break_with(Break::new(pattern.parse()?, fault))
    }

    /// Breaks as `broken` says, its times counted from now.
    ///
    /// # Errors
    ///
    /// Its fault, path and times contradict each other.
    pub fn break_with(&self, broken: Break) -> Result<(), BreakError> {
        self.vendor.break_now(broken.checked()?);
        Ok(())
    }

    /// Ends every break whose pattern is written like this, also the scheduled; says how many.
    pub fn mend(&self, pattern: &str) -> usize {
        let pattern = pattern.parse();
        pattern.map_or(0, |pattern| self.vendor.mend(&pattern))
    }

    /// Ends every break, also the scheduled; says how many.
    pub fn mend_all(&self) -> usize {
        self.vendor.mend_all()
    }

    /// The latest requests, oldest first; at most `requests_max`.
    pub fn requests(&self) -> Vec<Asked> {
        self.vendor.ledger.requests()
    }

    /// How often the paths that `pattern` covers were asked for; 0 for a text that is no pattern.
    ///
    /// Exact up to [`TARGETS_MAX`] different targets.
    pub fn asked(&self, pattern: &str) -> u64 {
        let pattern = pattern.parse();
        pattern.map_or(0, |pattern| self.vendor.ledger.matching(&pattern))
    }

    /// How many requests there were.
    pub fn asked_total(&self) -> u64 {
        self.vendor.ledger.total()
    }

    /// Returns once `pattern` was asked for `count` times. Waits for ever otherwise: give it a timeout.
    ///
    /// # Errors
    ///
    /// `pattern` is no [`PathPattern`].
    pub async fn wait_asked(&self, pattern: &str, count: u64) -> Result<(), PatternError> {
        let pattern = pattern.parse()?;
        self.vendor.ledger.reached(&pattern, count).await;
        Ok(())
    }

    /// Forgets requests and counts.
    pub fn reset_requests(&self) {
        self.vendor.ledger.reset();
    }

    /// Connections open at this moment.
    pub fn connections_open(&self) -> usize {
        self.vendor.open.load(Ordering::Relaxed)
    }

    /// Bookings made since the start: a doubled write shows here.
    pub fn bookings_made(&self) -> u64 {
        self.vendor.shop.bookings_made()
    }

    /// Ends connections and tasks, and waits for them, a few seconds at most.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        for mut task in std::mem::take(&mut self.tasks) {
            if timeout(SHUTDOWN_MAX, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        // The tasks end themselves on this; the port is given back before the drop returns.
        self.stop.send_replace(true);
        self.vendor.gate.shut();
    }
}

fn listen_error(addr: SocketAddr, option: &'static str) -> impl FnOnce(io::Error) -> StubError {
    move |source| StubError::Listen {
        addr,
        option,
        source,
    }
}

fn system_error(what: &'static str) -> impl FnOnce(io::Error) -> StubError {
    move |source| StubError::System { what, source }
}
