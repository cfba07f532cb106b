//! What the program uses: compiled once from the file, cannot be invalid.
//!
//! The file's own shape, its defaults and its errors live beside this; layers read only these types. Durations carry
//! their unit in the type, sizes are bytes.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, uri::PathAndQuery};
use secrecy::SecretString;

use super::{
    Written,
    document::Document,
    fixed::Fixed,
    network::Network,
    rate::Rate,
    report::Finding,
    sibling::Sibling,
    tags::RouteTags,
    template::{PathRewrite, PathTemplate},
};
use crate::{
    contract::{Contract, shape::DriftConfig},
    http::fetch::Priority,
};

/// Everything a running proxy is made from.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[admin]`; `None` where it is turned off (`enabled = false`).
    pub admin: Option<AdminConfig>,
    /// `[store]`
    pub store: StoreConfig,
    /// `[log]`
    pub log: LogConfig,
    /// `[upstream.NAME]`, in the order of the file.
    pub upstreams: Vec<Arc<UpstreamConfig>>,
    /// `[[route]]`, in the order of the file.
    pub routes: Vec<Arc<RouteConfig>>,
    /// `[dev]`: what `larder dev` plays.
    pub dev: DevConfig,
    /// What is allowed but hardly meant; to be shown when the config takes effect.
    pub warnings: Vec<Finding>,
    /// What a reload cannot change.
    pub fixed: Fixed,
}

/// `[server]`: the listener and the bounds of the whole process.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Default: 127.0.0.1:8080.
    pub listen: SocketAddr,
    /// Threads that serve requests. Default: one per core.
    pub workers: usize,
    /// Client connections at once; more wait in the listen backlog. Default: 10,000.
    pub connections_max: usize,
    /// A request head must be complete this long after its first byte is awaited; also ends idle connections. Default: 60s.
    pub header_read_timeout: Duration,
    /// Largest request head. Default: 64 KiB.
    pub header_bytes_max: usize,
    /// Most request fields. Default: 100.
    pub headers_max: usize,
    /// Largest request body, else 413. Default: 16 MiB.
    pub request_body_bytes_max: u64,
    /// Streams at once per HTTP/2 connection. Default: 128.
    pub http2_streams_max: u32,
    /// Whose `Forwarded` and `X-Forwarded-*` are believed. Default: nobody's.
    pub trusted_proxies: Vec<Network>,
    /// How long a shutdown waits for requests under way. Default: 10s.
    pub drain_for: Duration,
    /// Upgraded connections at once; more are answered 503. Default: 1,024.
    pub tunnels_max: usize,
    /// Fetches from upstreams at once; more are shed with 503. Default: 4,096.
    pub fetches_max: usize,
    /// Requests at once that wait for an upstream; more are shed. Default: three quarters of `connections_max`, so that a
    /// quarter of the connections is left for what the store answers.
    pub requests_max: usize,
    /// Answers over 64 KiB that are judged at once, each on a thread of its own. Default: one per core, at least 2.
    pub judges_max: usize,
    /// Bytes of answers that wait to be learnt. Default: 16 MiB.
    pub drift_queue_bytes_max: u64,
    /// Share of `requests_max` and `fetches_max` that is kept for the routes in equal parts, 0 to 100. Default: 50.
    pub reserved_percent: u32,
    /// Bytes of bodies held at once. Default: 512 MiB.
    pub bodies_bytes_max: u64,
    /// Connections at once of one client address; more are closed. Default: none but `connections_max`.
    pub client_connections_max: Option<usize>,
    /// Requests of one client address; more are answered 429. Default: no limit.
    pub client_rate: Option<RateLimit>,
    /// Client addresses remembered for `client_rate`. Default: 65,536.
    pub clients_max: usize,
}

/// A rate and what may come at once after a quiet time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// So many in so long, in the long run.
    pub rate: Rate,
    /// At once, at least 1. Default: as many as the rate counts.
    pub burst: u32,
}

/// `[admin]`
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// Default: 127.0.0.1:9090. Only a loopback address unless `token` is set.
    pub listen: SocketAddr,
    /// Asked for as `Authorization: Bearer …` on everything but `/livez` and `/readyz`. Default: none.
    pub token: Option<SecretString>,
}

/// `[store]`
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Folder of the disk tier. Default: "data". `None` (`disk = "0"`): memory only.
    pub path: Option<PathBuf>,
    /// Bound of the memory tier in bytes. Default: 256 MiB.
    pub memory_bytes: u64,
    /// Bound of the disk tier in bytes. Default: 4 GiB.
    pub disk_bytes: u64,
    /// Largest body that is stored. Default: 16 MiB.
    pub body_bytes_max: u64,
    /// How often written records are made durable; what a power cut can cost. Default: 500ms.
    pub flush_every: Duration,
    /// Records that wait to be written; more are dropped and counted. Default: 8,192.
    pub write_queue_max: usize,
    /// Bytes that wait to be written. Default: 64 MiB.
    pub write_queue_bytes_max: u64,
    /// A disk read that takes longer is a miss. Default: 100ms.
    pub read_timeout: Duration,
    /// Reads that wait or run at once; more are misses. Default: 1,024.
    pub reads_max: usize,
    /// A flush that takes longer means the disk tier hangs: it is set aside. Default: 30s.
    pub stall_after: Duration,
    /// Free space on the file system below which nothing is written (the larger of this and 5 %). Default: 256 MiB.
    pub free_bytes_min: u64,
    /// Variants (`Vary`) kept per key; the oldest makes room. Default: 64.
    pub variants_max: usize,
    /// Keys remembered as resting after a failed refresh, or as not shareable; the least used are forgotten. Default: 65,536.
    pub marks_max: u64,
    /// Purges remembered one by one; the oldest become one purge of everything before them. Default: 65,536.
    pub purges_max: usize,
    /// Tags kept per answer; one with more is matched by every purge of a tag. Default: 64.
    pub tags_max: usize,
    /// Largest JSON body that is looked through for tags; a larger one is matched by every purge of a tag. Default: 1 MiB.
    pub tag_body_bytes_max: u64,
    /// Largest file of what is known about a route's answers (`contracts/`); a larger one is not saved. Default: 4 MiB.
    pub kept_bytes_max: u64,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Default: text on a terminal's behalf.
    pub format: LogFormat,
    /// Filter of tracing-subscriber's `EnvFilter`; `RUST_LOG` wins. Default: "info".
    pub level: String,
    /// Which transactions get a line. Default: all.
    pub transactions: TransactionLog,
    /// Query parameters whose values are never logged. Default: token, key, api_key, apikey, access_token, signature, sig, password, secret.
    pub redact_query: Vec<String>,
    /// Lines that wait to be written; more are dropped and counted. Default: 8,192.
    pub queue_max: usize,
}

/// `log.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `log.transactions`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionLog {
    /// A line per request.
    All,
    /// Only requests behind which an upstream failed, or that got a 5xx.
    Failures,
    /// None.
    Off,
}

/// `[upstream.NAME]`: one third-party API.
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// NAME of the table.
    pub name: Arc<str>,
    /// Where it is; at least one.
    pub endpoints: Vec<EndpointConfig>,
    /// Who is called when it breaks.
    pub owner: Option<String>,
    /// What they read then.
    pub runbook: Option<String>,
    /// When somebody was to look at this integration again.
    pub review_by: Option<jiff::civil::Date>,
    /// The version of its API that the site is built for.
    pub api_version: Option<Arc<ApiVersion>>,
    /// The `Host` it sees. Default: the endpoint's own.
    pub host: UpstreamHost,
    /// TCP and TLS handshake together. Default: 1s.
    pub connect_timeout: Duration,
    /// One attempt: connection, head and (where it is read whole) body. Default: 5s. A route may set its own.
    pub attempt_timeout: Duration,
    /// The same where a stored copy stands behind; the shorter one holds. Default: 2s.
    pub attempt_timeout_stale: Duration,
    /// A streamed body that brings no byte for this long is broken off. Default: 30s.
    pub body_idle_timeout: Duration,
    /// Protocol spoken to it. Default: auto (ALPN over TLS, HTTP/1.1 in the clear).
    pub protocol: UpstreamProtocol,
    /// PEM file of the certificate authority to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Idle connections kept per endpoint. Default: 64.
    pub pool_idle_max: usize,
    /// An idle connection is closed after this. Default: 30s.
    pub pool_idle_timeout: Duration,
    /// Added to every request, last.
    pub credentials: Vec<Credential>,
    /// `breaker`
    pub breaker: BreakerConfig,
    /// `retry`
    pub retry: RetryConfig,
    /// Requests with it at once; the cap where the limit adapts. Default: 64.
    pub in_flight_max: usize,
    /// How the limit adapts below `in_flight_max`. Default: it is fixed.
    pub adaptive: Option<AdaptiveConfig>,
    /// Room and quota that each priority may use. Default: 80, 60, 40 %.
    pub shares: SharesConfig,
    /// The rate that its vendor allows. Default: none.
    pub quota: Option<QuotaConfig>,
    /// What its answers say of its limits is heeded (`RateLimit`, `X-RateLimit-*`, `Retry-After` on 429). Default: true.
    pub quota_headers: bool,
    /// Statuses that are failures, not answers. Default: 5xx and 429.
    pub failures: StatusSet,
    /// Longest `Retry-After` that is believed. Default: 15min.
    pub retry_after_max: Duration,
    /// Largest error response that is kept to be passed on. Default: 256 KiB.
    pub error_bytes_max: u64,
    /// `ejection`
    pub ejection: EjectionConfig,
    /// `health`
    pub health: Option<HealthConfig>,
    /// An endpoint that was left out and comes back takes its full share only after this. Default: 10s.
    pub slow_start: Duration,
    /// How often the names of endpoints in use are looked up again. Default: 30s.
    pub dns_refresh: Duration,
    /// Where the file says so.
    pub written: Written,
}

/// `upstream.api_version`, `route.api_version`: the version of a vendor's API that the site is built for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiVersion {
    /// How it is pinned.
    pub pin: PinnedVersion,
    /// The field by which answers name their version. Default: the field that pins it.
    pub answer: Option<HeaderName>,
}

/// How a version is pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinnedVersion {
    /// By a field of requests.
    Header {
        /// Its name.
        name: HeaderName,
        /// The version: visible ASCII.
        value: HeaderValue,
        /// It is sent with every request. Default: true.
        send: bool,
    },
    /// By a segment of the path, which the endpoints' URLs or the routes have.
    Path {
        /// The segment.
        segment: Box<str>,
    },
}

impl ApiVersion {
    /// The version as it is written.
    pub fn text(&self) -> &str {
        match &self.pin {
            PinnedVersion::Header { value, .. } => value.to_str().unwrap_or_default(),
            PinnedVersion::Path { segment } => segment,
        }
    }

    /// The field to send, where it is pinned by one that is sent.
    pub fn sent(&self) -> Option<(&HeaderName, &HeaderValue)> {
        match &self.pin {
            PinnedVersion::Header { name, value, send } => send.then_some((name, value)),
            PinnedVersion::Path { .. } => None,
        }
    }
}

/// One address of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointConfig {
    /// Its group: 0 is primary, later ones stand by. Default: 0.
    pub priority: u32,
    /// `http://` or `https://`, authority, optional base path without a trailing slash.
    pub uri: Uri,
}

/// `upstream.host`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamHost {
    /// The endpoint's authority.
    Endpoint,
    /// What the client sent (`host = "preserve"`); it is then part of the cache key.
    Preserve,
    /// This.
    Fixed(HeaderValue),
}

/// `upstream.protocol`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// ALPN over TLS, HTTP/1.1 in the clear.
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only; in the clear by prior knowledge.
    Http2,
}

/// A field added to upstream requests, from the environment or a file. Never printed, logged or stored.
#[derive(Clone, Debug)]
pub struct Credential {
    /// Field name.
    pub header: HeaderName,
    /// Whole field value, prefix included.
    pub value: SecretString,
    /// Where the secret comes from, for those who may know that: "environment variable `TOKEN`".
    pub source: Box<str>,
}

/// `upstream.breaker`, `route.breaker`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Whether it opens by itself. Default: true.
    pub enabled: bool,
    /// Share of failed calls in the window that opens it, 1 to 100. Default: 50.
    pub failure_percent: u32,
    /// Share of slow calls in the window that opens it, 1 to 100. Default: 80.
    pub slow_percent: u32,
    /// A call slower than this is slow, unless the route has a budget of its own. Default: 2s.
    pub slow_after: Duration,
    /// Failures in a row that open it. Default: 5.
    pub consecutive_failures: u32,
    /// Calls in the window before percentages count. Default: 10.
    pub min_calls: u32,
    /// Calls that percentages look back at most; never fewer than `min_calls`. Default: 50.
    pub window_calls: u32,
    /// Default: 30s.
    pub window: Duration,
    /// First rest. Default: 500ms.
    pub open_for: Duration,
    /// Longest rest, unless the upstream asks for a longer one. Default: 3s, or `open_for` if that is longer.
    pub open_for_max: Duration,
    /// Length of an outage from which on a rest is `open_for_max`; up to there it grows evenly. Default: 6min.
    pub open_for_max_after: Duration,
    /// Probes in flight while half-open. Default: 3.
    pub probes: u32,
    /// Probes whose results decide whether it closes. Default: 3.
    pub probe_calls: u32,
    /// Share of them that have to be good, 1 to 100. Default: 100.
    pub probe_success_percent: u32,
}

/// `upstream.retry`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryConfig {
    /// Attempts after the first where nothing is stored. Default: 2.
    pub retries_max: u32,
    /// Attempts after the first where a stored copy stands behind and a client waits; a refresh behind an answer is tried once.
    /// Default: 1.
    pub retries_max_stale: u32,
    /// Upper edge of the first delay (full jitter: from zero to here). Default: 50ms.
    pub backoff_min: Duration,
    /// Upper edge of any delay. Default: 1s.
    pub backoff_max: Duration,
    /// Least time before the deadline that an attempt is worth being begun for. Default: 100ms.
    pub attempt_min: Duration,
    /// Retries and hedges per 100 first attempts, over `budget_window`. Default: 20.
    pub budget_percent: u32,
    /// Retries and hedges a second that are always allowed. Default: 1.
    pub budget_min_per_second: u32,
    /// Over which time the budget counts. Default: 10s.
    pub budget_window: Duration,
    /// A request with this field may be repeated whatever its method. `None`: none may. Default: `Idempotency-Key`.
    pub idempotency_header: Option<HeaderName>,
    /// Longest content of such a request that is kept to be sent again. Default: 64 KiB.
    pub body_bytes_max: u64,
}

/// `route.hedge`: a second request where the first takes longer than most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HedgeConfig {
    /// After this percentile of the latencies of successful attempts, 50 to 99. Default: 95.
    pub percentile: u32,
    /// But not before this. Default: 20ms.
    pub delay_min: Duration,
    /// Over which time latencies count. Default: 60s.
    pub window: Duration,
    /// Without this many latencies nothing is hedged. Default: 20.
    pub samples_min: usize,
    /// Latencies that are kept; the oldest makes room. Default: 512.
    pub samples_max: usize,
}

/// `upstream.ejection`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EjectionConfig {
    /// Default: whether there are several endpoints.
    pub enabled: bool,
    /// Failures in a row that leave an endpoint out. Default: 5.
    pub consecutive_failures: u32,
    /// First time out; doubles each time it fails on its return. Default: 500ms.
    pub eject_for: Duration,
    /// Longest time out. Default: 30s.
    pub eject_for_max: Duration,
    /// Share of a group that failures leave out, 1 to 100. Default: 50.
    pub percent_max: u32,
}

/// `upstream.health`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthConfig {
    /// What is asked for, below the endpoint's base path.
    pub path: PathAndQuery,
    /// How often, shortened by up to a fifth by chance. Default: 5s.
    pub every: Duration,
    /// A check that takes longer has failed. Default: 1s.
    pub timeout: Duration,
    /// Statuses that are well. Default: 2xx.
    pub expect: StatusSet,
    /// What the body has to contain.
    pub body_contains: Option<String>,
    /// Most of the body that is read. Default: 64 KiB.
    pub body_bytes_max: u64,
    /// Failed checks in a row that leave an endpoint out. Default: 2.
    pub unhealthy_after: u32,
    /// Passed checks in a row that bring it back. Default: 2.
    pub healthy_after: u32,
}

/// `upstream.adaptive`: how many requests may be in flight is found out by latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveConfig {
    /// Default: gradient.
    pub algorithm: LimitAlgorithm,
    /// The floor of the limit, at least 1. Default: 4.
    pub in_flight_min: usize,
    /// What is left of the limit after a timeout, a 429 or a 503, in percent; with AIMD after a slow answer too. Default: 90.
    pub backoff_percent: u32,
    /// AIMD: an answer that takes longer is too slow. Default: 1s.
    pub latency_max: Duration,
    /// Gradient: latency that is no queue yet, in percent of what it is without one. Default: 120.
    pub tolerance_percent: u32,
    /// Gradient: how often latency without a queue is measured, by halving the limit for a moment. Default: 30s.
    pub measure_every: Duration,
}

impl Default for AdaptiveConfig {
    fn default() -> Self {
        Self {
            algorithm: LimitAlgorithm::Gradient,
            in_flight_min: 4,
            backoff_percent: 90,
            latency_max: Duration::from_secs(1),
            tolerance_percent: 120,
            measure_every: Duration::from_secs(30),
        }
    }
}

/// `upstream.adaptive.algorithm`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitAlgorithm {
    /// Latency now against latency without a queue.
    Gradient,
    /// Additive increase, multiplicative decrease.
    Aimd,
}

/// `upstream.shares`: how much of an upstream's room (requests in flight) and quota each priority may use up, in percent. The
/// rest is left to those above. A client that has nothing else may use all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharesConfig {
    /// Refreshes for clients that have a stored copy, 1 to 100. Default: 80.
    pub user_revalidate: u32,
    /// Refreshes that the vendor asked for; not more than `user_revalidate`. Default: 60.
    pub webhook: u32,
    /// Scheduled refreshes and health checks; not more than `webhook`. Default: 40.
    pub sync: u32,
}

impl SharesConfig {
    /// The share of this priority.
    pub fn percent(&self, priority: Priority) -> u32 {
        match priority {
            Priority::UserMiss => 100,
            Priority::UserRevalidate => self.user_revalidate,
            Priority::Webhook => self.webhook,
            Priority::Sync => self.sync,
        }
    }
}

impl Default for SharesConfig {
    fn default() -> Self {
        Self {
            user_revalidate: 80,
            webhook: 60,
            sync: 40,
        }
    }
}

/// `upstream.quota`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaConfig {
    /// What the vendor allows. Holds in every window of this length, the burst included.
    pub rate: Rate,
    /// Requests that may be sent at once, at most the count of the rate. Default: [`Self::burst_of`].
    pub burst: u32,
}

impl QuotaConfig {
    /// The burst where none is written: a tenth of the rate, so that a page of several parts is not torn apart, at least 5
    /// and at most 100; never more than the rate.
    pub fn burst_of(count: impl Into<u64>) -> u32 {
        let count = count.into();
        count.div_ceil(10).clamp(5, 100).min(count.max(1)) as u32
    }
}

/// A freshness policy (`[policy.NAME]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// NAME of the table, "default" for the built-in one.
    pub name: Arc<str>,
    /// Fills in a lifetime where the origin names none; with `override_origin`, replaces it. Default: none.
    pub fresh: Option<Duration>,
    /// Lower bound of an origin's lifetime. Default: none.
    pub fresh_min: Option<Duration>,
    /// Upper bound of an origin's lifetime. Default: none.
    pub fresh_max: Option<Duration>,
    /// After expiry: answered at once, refreshed behind. Fills in where the origin names none. Default: 60s.
    pub stale_while_revalidate: Duration,
    /// A stale response that has to be asked about again is used after waiting this long. Default: 300ms.
    pub stale_after: Duration,
    /// After expiry: the hard end of any use while the upstream fails. Default: 24h.
    pub max_stale: Duration,
    /// The origin's `no-store`, `private`, `must-revalidate` and lifetimes give way. Default: false.
    pub override_origin: bool,
    /// Where nobody names a lifetime: this share of the time since `Last-Modified` (RFC 9111 4.2.2), 0 to 100. Default: 0.
    pub heuristic_percent: u32,
    /// Longest lifetime that is guessed so. Default: 24h.
    pub heuristic_max: Duration,
    /// Lifetimes of error statuses where the origin names none; with `override_origin`, in place of what it names.
    pub negative: NegativeLifetimes,
    /// An answer whose status the upstream counts as a failure is stored for as long as the origin says, but no longer
    /// than this, and only where no good one is. Default: 0, never.
    pub negative_max: Duration,
    /// An answer with `Set-Cookie` is stored where the origin names a lifetime, cookie included (RFC 9111 7.3). Default:
    /// false, only where it says `public` or `s-maxage`.
    pub share_set_cookie: bool,
    /// A client's own `Cache-Control` and `Pragma` are obeyed (RFC 9111 5.2.1, 5.4). Default: where the policy does not
    /// override.
    pub client_directives: bool,
    /// Lifetimes are shortened by up to this share, by key, so that a warmed set does not expire at once. 0 to 50. Default: 10.
    pub spread_percent: u32,
    /// Refresh a hot key a little before it expires (XFetch). Default: true.
    pub early: bool,
    /// Rest per key after a failed refresh, plus up to half of it by chance. Default: 500ms.
    pub cool_down: Duration,
    /// Where the file says so.
    pub written: Written,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            name: Arc::from("default"),
            fresh: None,
            fresh_min: None,
            fresh_max: None,
            stale_while_revalidate: Duration::from_secs(60),
            stale_after: Duration::from_millis(300),
            max_stale: Duration::from_secs(24 * 3600),
            override_origin: false,
            heuristic_percent: 0,
            heuristic_max: Duration::from_secs(24 * 3600),
            negative: NegativeLifetimes::default(),
            negative_max: Duration::ZERO,
            share_set_cookie: false,
            client_directives: true,
            spread_percent: 10,
            early: true,
            cool_down: Duration::from_millis(500),
            written: Written::default(),
        }
    }
}

/// `policy.negative`: how long error statuses are answered from the store. Codes go before classes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NegativeLifetimes(Vec<(std::ops::RangeInclusive<u16>, Duration)>);

impl NegativeLifetimes {
    /// From statuses and their lifetimes; a narrower range goes before a wider one.
    pub fn new(mut lifetimes: Vec<(std::ops::RangeInclusive<u16>, Duration)>) -> Self {
        lifetimes.sort_by_key(|(range, _)| range.end() - range.start());
        Self(lifetimes)
    }

    /// Ranges of statuses and their lifetimes, narrower ones first.
    pub fn iter(&self) -> impl Iterator<Item = (&std::ops::RangeInclusive<u16>, Duration)> {
        self.0.iter().map(|(range, lifetime)| (range, *lifetime))
    }

    /// The lifetime of this status, if one is set.
    pub fn of(&self, status: StatusCode) -> Option<Duration> {
        let code = status.as_u16();
        let found = self.0.iter().find(|(range, _)| range.contains(&code));
        found.map(|(_, lifetime)| *lifetime)
    }
}

/// One `[[route]]`.
#[derive(Clone, Debug)]
pub struct RouteConfig {
    /// Default: the path.
    pub name: Arc<str>,
    /// Hosts it answers for. Default: any.
    pub hosts: Vec<HostPattern>,
    /// `/prices/{sku}`, `/{*rest}`.
    pub path: PathTemplate,
    /// Methods it answers for, `None` for all. `HEAD` comes with `GET`.
    pub methods: Option<Vec<Method>>,
    /// Where it leads.
    pub upstream: Arc<UpstreamConfig>,
    /// How its answers age.
    pub policy: Arc<Policy>,
    /// One budget of time over all attempts. Default: 10s.
    pub deadline: Duration,
    /// One attempt. Default: the upstream's.
    pub attempt_timeout: Duration,
    /// The field by which each attempt says how many milliseconds it has left. Default: none.
    pub deadline_header: Option<HeaderName>,
    /// A second request where the first takes long. Default: none.
    pub hedge: Option<HedgeConfig>,
    /// Requests at once that wait for the upstream. Default: what the shares of `server.requests_max` leave it.
    pub requests_max: Option<usize>,
    /// Requests that the store alone does not answer, over all clients. Default: no limit.
    pub rate: Option<RateLimit>,
    /// Its latency budget: a slower call is slow for the breakers. Default: `slow_after` of its breaker, or else of the
    /// upstream's.
    pub slow_after: Duration,
    /// A breaker of its own, in front of the upstream's. Default: none.
    pub breaker: Option<BreakerConfig>,
    /// What tells answers apart.
    pub key: KeyConfig,
    /// How the path is changed on its way to the upstream.
    pub rewrite: PathRewrite,
    /// The version of the vendor's API that it is built for. Default: the upstream's.
    pub api_version: Option<Arc<ApiVersion>>,
    /// Protocols a client may switch to: `name` or `name/version`. Default: none.
    pub upgrade: Vec<Box<str>>,
    /// An upgraded connection that is silent for this long is closed. Default: 1h.
    pub upgrade_idle_timeout: Duration,
    /// What the upstream is told about the client. Default: nothing.
    pub forwarded: ForwardedPolicy,
    /// Changes to the request, before the cache sees it.
    pub request_headers: HeaderEdits,
    /// Changes to every answer of this route.
    pub response_headers: HeaderEdits,
    /// Whose stored response stands in where nothing is stored for a request and the upstream fails.
    pub sibling: Option<Sibling>,
    /// Served where nothing is stored and the upstream fails.
    pub fallback: Option<Fallback>,
    /// Share of requests with a stale usable copy that are answered as if the upstream had failed, 0 to 100. Default: 0.
    pub drill_percent: u32,
    /// What visitors read in a problem made here.
    pub message: Option<Arc<str>>,
    /// A storable body is read whole inside the attempt up to this many bytes. Default: 4 MiB.
    pub whole_bytes_max: u64,
    /// How long a body is held back in the hope of its end. Default: 100ms.
    pub hold_back: Duration,
    /// A stored response may answer the queries that its `No-Vary-Search` calls equivalent. Default: false.
    pub no_vary_search: bool,
    /// POST only reads here: its answers are stored by content. Default: false.
    pub cache_post: bool,
    /// Answers are GraphQL's, and ones with `errors` are failures. Default: false.
    pub graphql: bool,
    /// What its answers must be like. Default: anything.
    pub contract: Option<Arc<Contract>>,
    /// How the shape of its answers is learnt; `None`: not at all. Default: with all defaults.
    pub drift: Option<Arc<DriftConfig>>,
    /// Longest content of a request that is answered by content. Default: 64 KiB.
    pub content_bytes_max: u64,
    /// What its answers can be purged by.
    pub tags: RouteTags,
    /// Where the file says so.
    pub written: Written,
}

/// `route.forwarded`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedPolicy {
    /// Nothing.
    #[default]
    Off,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host`.
    XForwarded,
    /// What a trusted proxy sent, as it came.
    Keep,
}

/// A `host` of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `shop.example`, in lower case, without a port.
    Exact(Box<str>),
    /// `*.example`: the part from the dot on. Any number of labels.
    Suffix(Box<str>),
}

/// `route.key`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyConfig {
    /// Which query parameters tell answers apart.
    pub query: QueryKey,
    /// Request fields that tell answers apart, in the order of the file.
    pub headers: Vec<HeaderName>,
    /// Cookies that tell answers apart, in the order of the file; others are not sent on. `None`: cookies are no part of
    /// the key and are all sent on. Default: `None`.
    pub cookies: Option<Vec<Box<str>>>,
    /// Whether the client's host does. Default: whether the route names hosts or the upstream sees the client's.
    pub host: bool,
    /// Whether the scheme that the client used does. Default: false.
    pub scheme: bool,
}

/// `route.key.query`. Names are in the spelling of [`crate::http::uri::normalize_query`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryKey {
    /// The whole query, sent on as it came.
    Whole,
    /// All parameters, sorted by name.
    Sorted,
    /// These parameters, sorted; others are neither in the key nor sent on.
    Only(Vec<Box<str>>),
    /// All but these, in their order; these are neither in the key nor sent on.
    Except(Vec<ParameterPattern>),
}

/// A name in `route.key.query.ignore`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParameterPattern {
    /// `fbclid`.
    Exact(Box<str>),
    /// `utm_*`: what stands before the star.
    Prefix(Box<str>),
}

/// `request_headers` and `response_headers` of a route: removed first, then set, then added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Removed.
    pub remove: Vec<HeaderName>,
    /// Replaced or created.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Added as a further line.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderEdits {
    /// Applies the edits in place.
    pub fn apply(&self, headers: &mut http::HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }
}

/// `route.fallback`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// Default: 200.
    pub status: StatusCode,
    /// Default: by the file's extension.
    pub content_type: HeaderValue,
    /// The document, read at start.
    pub document: Document,
}

/// `[dev]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DevConfig {
    /// Upstream that the stub plays. Default: the first one.
    pub upstream: Option<Arc<str>>,
    /// Resources and faults of the stub. Default: the built-in sets.
    pub stub_file: Option<PathBuf>,
    /// Control API of the stub. Default: 127.0.0.1:9101.
    pub control: Option<SocketAddr>,
}

/// A set of status codes, 100 to 999.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSet(Box<[u64; 16]>);

impl StatusSet {
    /// The set with nothing in it.
    pub fn none() -> Self {
        Self(Box::new([0; 16]))
    }

    /// Adds one code; codes from 1024 on are not statuses and are ignored.
    pub fn insert(&mut self, code: u16) {
        if let Some(word) = self.0.get_mut(usize::from(code / 64)) {
            *word |= 1 << (code % 64);
        }
    }

    /// Whether this status is in the set.
    pub fn contains(&self, status: StatusCode) -> bool {
        let code = status.as_u16();
        self.0
            .get(usize::from(code / 64))
            .is_some_and(|word| word & (1 << (code % 64)) != 0)
    }
}
