//! Status: what `/api/v1/status` says. The names of its members are part of the API.

use std::collections::BTreeMap;

use serde::Serialize;

use super::versions::VersionStatus;
use crate::{clock::Timestamp, observe::RaisedAlert};

/// Where the admin listener reads what it shows; implemented by whoever owns everything.
pub trait StatusSource: Send + Sync + 'static {
    /// The state of everything. Must not block.
    fn status(&self) -> Status;

    /// Whether traffic should be sent here.
    ///
    /// # Errors
    /// The reasons why not, each a phrase: "starting", "draining".
    fn readiness(&self) -> Result<(), Vec<String>>;

    /// The versions of the routes of which there is something to say, in the order of the config.
    fn versions(&self) -> Vec<VersionStatus> {
        let routes = self.status().routes.into_iter();
        routes.filter_map(|route| route.version).collect()
    }
}

/// The state of the process.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// larder's version.
    pub version: &'static str,
    /// Seconds since the process started.
    pub uptime_seconds: u64,
    /// A shutdown has begun.
    pub draining: bool,
    /// Routes, in the order of the config.
    pub routes: Vec<RouteStatus>,
    /// Upstreams, in the order of the config.
    pub upstreams: Vec<UpstreamStatus>,
    /// The store.
    pub store: StoreStatus,
    /// What this process has taken on.
    pub admission: AdmissionStatus,
    /// Recent alerts, newest first.
    pub alerts: Vec<RaisedAlert>,
}

/// One route.
#[derive(Clone, Debug, Serialize)]
pub struct RouteStatus {
    /// Its name.
    pub name: String,
    /// Its path as the config has it.
    pub path: String,
    /// Where it leads.
    pub upstream: String,
    /// Its freshness policy.
    pub policy: String,
    /// Requests so far by outcome; outcomes that never happened are left out.
    pub requests: BTreeMap<&'static str, u64>,
    /// What its own breaker lets through, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerState>,
    /// Which version it is built for and what its vendor announced; absent where there is neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionStatus>,
    /// How its answers meet its contract, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contract: Option<RouteContract>,
}

/// How the answers of a route meet its contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteContract {
    /// What a breach does: "observe" or "enforce".
    pub mode: &'static str,
    /// Answers that broke it since the start.
    pub breaches: u64,
    /// What is broken now, each by its kind and term; empty: nothing.
    pub broken: Vec<String>,
}

/// One upstream.
#[derive(Clone, Debug, Serialize)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: String,
    /// Its endpoints, without credentials.
    pub endpoints: Vec<String>,
    /// How each of them is doing, in the same order.
    pub endpoint_states: Vec<EndpointStatus>,
    /// Who is called when it breaks.
    pub owner: Option<String>,
    /// What they read then.
    pub runbook: Option<String>,
    /// When somebody was to look at it again, as `2027-01-31`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review_by: Option<String>,
    /// Since how many days that is past.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review_overdue_days: Option<u64>,
    /// What its breaker lets through.
    pub breaker: BreakerState,
    /// Requests with it now.
    pub in_flight: u64,
    /// Requests that may be with it: fixed, or what its latency allows.
    pub in_flight_limit: u64,
    /// Requests that its quota has left in this period, by the config and by what the vendor says; absent where neither
    /// names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_remaining: Option<u64>,
    /// Attempts so far.
    pub attempts: u64,
    /// Failed attempts so far by cause.
    pub failures: BTreeMap<&'static str, u64>,
    /// The last failure, if there was one.
    pub last_failure: Option<LastFailure>,
}

/// One endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointStatus {
    /// Its URL, without credentials.
    pub url: String,
    /// Its group: 0 is primary, later ones stand by.
    pub priority: u32,
    /// "up", "slow_start", "standby", "ejected" or "unhealthy".
    pub state: &'static str,
    /// Times it was left out after failures.
    pub ejections: u64,
}

/// What a breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Everything.
    Closed,
    /// A few probes.
    HalfOpen,
    /// Nothing, until its rest is over.
    Open,
    /// Nothing, until somebody says otherwise.
    Isolated,
}

impl BreakerState {
    /// The word for it in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
            Self::Isolated => "isolated",
        }
    }

    /// The number that stands for it in the metrics: 0 closed, 1 half-open, 2 open, 3 isolated.
    pub const fn as_number(self) -> u8 {
        self as u8
    }
}

/// An upstream's last failure.
#[derive(Clone, Debug, Serialize)]
pub struct LastFailure {
    /// When, in milliseconds since the epoch.
    #[serde(rename = "at_ms")]
    pub at: Timestamp,
    /// The word for it.
    pub cause: &'static str,
}

/// What this process has taken on, and what it refused because of that.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AdmissionStatus {
    /// Requests that wait for an upstream now.
    pub requests_waiting: usize,
    /// Their bound.
    pub requests_max: usize,
    /// Fetches under way.
    pub fetches: usize,
    /// Their bound.
    pub fetches_max: usize,
    /// Bytes of bodies held for requests now.
    pub bodies_bytes: u64,
    /// Their bound.
    pub bodies_bytes_max: u64,
    /// Requests and refreshes shed so far.
    pub shed: u64,
    /// Connections closed because their client had too many.
    pub client_connections_limited: u64,
    /// Requests refused because their client had sent too many.
    pub client_requests_limited: u64,
}

/// The store's tiers.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StoreStatus {
    /// "disk" with both tiers, "memory_only" without a disk tier or after it was set aside.
    pub state: &'static str,
    /// Bytes in memory.
    pub memory_bytes: u64,
    /// Their bound.
    pub memory_bytes_max: u64,
    /// Entries in memory.
    pub memory_entries: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Their bound; 0 without a disk tier.
    pub disk_bytes_max: u64,
    /// Entries on disk.
    pub disk_entries: u64,
    /// Records that wait to be written.
    pub write_queue: u64,
    /// Records dropped because the queue was full.
    pub writes_dropped: u64,
    /// Times the disk tier was set aside.
    pub quarantines: u64,
}
