//! Every key `proxy.toml` may have: one row with its form, bounds, default and meaning.
//!
//! The one place that knows them. The reader takes bounds and defaults from here, "did you mean" its candidates, and
//! `docs/config.md` is printed from here, so none of them can drift from the others.

use Absent::{Is, Means, Required};
use Form::{
    Address, Count, Duration, FilePath, Flag, List, Other, Secret, Size, Table, Text, Word,
};

/// A table of the file and the keys it may have.
#[derive(Debug)]
pub struct TableKeys {
    /// How it is written: `[server]`, `[upstream.NAME]`, `retry = { … }`.
    pub heading: &'static str,
    /// What it is about, one or two sentences.
    pub about: &'static str,
    /// Its keys, in the order of the reference.
    pub keys: &'static [Key],
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// As written in the file.
    pub name: &'static str,
    /// What its value looks like.
    pub form: Form,
    /// What holds where it is not written.
    pub absent: Absent,
    /// What it does, in one sentence.
    pub about: &'static str,
}

/// The form of a value and its bounds, both ends included.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// Text with a unit: `"300ms"`, `"1h 30m"`.
    Duration {
        /// Whether `"0s"` makes sense.
        zero: bool,
    },
    /// Text with a unit: `"256 MiB"`, `"64 kB"`.
    Size {
        /// Whether `"0"` makes sense.
        zero: bool,
    },
    /// A whole number.
    Count {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// `true` or `false`.
    Flag,
    /// Any text.
    Text,
    /// One of these.
    Word(&'static [&'static str]),
    /// `"127.0.0.1:8080"`, `"[::1]:8080"`.
    Address,
    /// A path, relative to the config's folder.
    FilePath,
    /// `{ env = "NAME" }` or `{ file = "path" }`.
    Secret,
    /// A list; the text says of what.
    List(&'static str),
    /// A table of its own.
    Table(&'static TableKeys),
    /// Something else; the text says what.
    Other(&'static str),
}

/// What holds where a key is not written.
#[derive(Clone, Copy, Debug)]
pub enum Absent {
    /// This value, in TOML.
    Is(&'static str),
    /// What these words say.
    Means(&'static str),
    /// An error.
    Required,
}

impl TableKeys {
    /// The key of this name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

const fn key(name: &'static str, form: Form, absent: Absent, about: &'static str) -> Key {
    Key {
        name,
        form,
        absent,
        about,
    }
}

const PERIOD: Form = Duration { zero: false };
const PERIOD_OR_ZERO: Form = Duration { zero: true };
const SIZE: Form = Size { zero: false };
const SIZE_OR_ZERO: Form = Size { zero: true };
const PERCENT: Form = Count { min: 1, max: 100 };
const MILLION: u64 = 1_000_000;

/// The file itself.
#[rustfmt::skip] // one row per key
pub static ROOT: TableKeys = TableKeys {
    heading: "proxy.toml",
    about: "The tables of the file. Only `[upstream.NAME]` and `[[route]]` have to be there.",
    keys: &[
        key("server", Table(&SERVER), Means("all defaults"), "The listener and the bounds of the whole process."),
        key("admin", Table(&ADMIN), Means("all defaults"), "Metrics, health and status on an address of their own."),
        key("store", Table(&STORE), Means("all defaults"), "Where answers are kept: memory over disk."),
        key("log", Table(&LOG), Means("all defaults"), "What is written to standard error."),
        key("upstream", Table(&UPSTREAM), Required, "The third-party APIs, one table each."),
        key("policy", Table(&POLICY), Means("the built-in policy"), "How answers age; routes name a policy."),
        key("route", Table(&ROUTE), Required, "Which request goes where."),
        key("dev", Table(&DEV), Means("all defaults"), "What `larder dev` plays; nothing else reads it."),
    ],
};

/// `[server]`
#[rustfmt::skip] // one row per key
pub static SERVER: TableKeys = TableKeys {
    heading: "[server]",
    about: "The listener and the bounds of the whole process.",
    keys: &[
        key("listen", Address, Is("\"127.0.0.1:8080\""), "Where clients connect. Port 0 takes a free one."),
        key("workers", Count { min: 1, max: 1024 }, Means("one per core"), "Threads that serve requests."),
        key("connections_max", Count { min: 1, max: MILLION }, Is("10000"), "Client connections at once; more wait in the listen backlog."),
        key("header_read_timeout", PERIOD, Is("\"60s\""), "A request head has to be complete this long after its first byte is awaited; also ends idle connections."),
        key("header_bytes_max", Size { zero: false }, Is("\"64 KiB\""), "Largest request head, 8 KiB to 16 MiB."),
        key("headers_max", Count { min: 1, max: 10_000 }, Is("100"), "Most request fields."),
        key("request_body_max", SIZE_OR_ZERO, Is("\"16 MiB\""), "Largest request body; more is answered 413."),
        key("http2_streams_max", Count { min: 1, max: 100_000 }, Is("128"), "Streams at once per HTTP/2 connection."),
        key("trusted_proxies", List("addresses and networks"), Is("[]"), "Proxies in front of larder (`\"10.0.0.0/8\"`) whose `Forwarded` and `X-Forwarded-*` are believed; those of anybody else are removed."),
        key("drain_for", PERIOD_OR_ZERO, Is("\"10s\""), "How long a shutdown waits for requests under way."),
        key("tunnels_max", Count { min: 1, max: MILLION }, Is("1024"), "Upgraded connections (`upgrade` of a route) at once; more are answered 503."),
        key("fetches_max", Count { min: 1, max: MILLION }, Is("4096"), "Fetches from upstreams at once, over all routes; more are answered from the store or 503."),
        key("requests_max", Count { min: 1, max: MILLION }, Means("three quarters of `connections_max`"), "Requests at once that wait for an upstream, over all routes, those that wait for another's fetch included; more are answered from the store or 503. What the store answers does not count."),
        key("judges_max", Count { min: 1, max: 1024 }, Means("one per core, at least 2"), "Answers over 64 KiB that are judged by contracts at once, each on a thread of its own; more wait for their turn."),
        key("drift_queue_max", SIZE, Is("\"16 MiB\""), "Bytes of answers that wait to be learnt, over all routes; more are not learnt."),
        key("reserved_percent", Count { min: 0, max: 100 }, Is("50"), "Share of `requests_max` and of `fetches_max` that is kept for the routes, in equal parts by upstream and then by route; the rest is for whoever comes first. `0` keeps nothing for anybody."),
        key("bodies_max", SIZE, Is("\"512 MiB\""), "Bytes of bodies held at once over all requests: read whole, read along, or content that is asked by. When they are used up, bodies are streamed without being held or stored, and a stored copy answers where there is one."),
        key("client_connections_max", Count { min: 1, max: MILLION }, Means("no limit but `connections_max`"), "Connections at once of one client address (IPv6: of one /64); more are closed at once. `trusted_proxies` are exempt."),
        key("client_rate", Other("a rate: `\"100 / second\"`"), Means("no limit"), "Requests of one client address (IPv6: of one /64), whatever answers them; more are answered 429. Behind `trusted_proxies` the client is the one they name."),
        key("client_burst", Count { min: 1, max: MILLION }, Means("as many as `client_rate` counts"), "Requests of a client that was quiet that may come at once."),
        key("clients_max", Count { min: 16, max: 10 * MILLION }, Is("65536"), "Client addresses remembered for `client_rate`; of more, the least active are forgotten, and so have their whole burst again."),
    ],
};

/// `[admin]`
#[rustfmt::skip] // one row per key
pub static ADMIN: TableKeys = TableKeys {
    heading: "[admin]",
    about: "Metrics, health and status on an address of their own.",
    keys: &[
        key("enabled", Flag, Is("true"), "Whether there is an admin listener."),
        key("listen", Address, Is("\"127.0.0.1:9090\""), "Its address; only loopback unless `token` is set."),
        key("token", Secret, Means("no token asked for"), "Asked for as `Authorization: Bearer …` on everything but `/livez` and `/readyz`."),
    ],
};

/// `[store]`
#[rustfmt::skip] // one row per key
pub static STORE: TableKeys = TableKeys {
    heading: "[store]",
    about: "Where answers are kept: a memory tier over a disk tier.",
    keys: &[
        key("path", FilePath, Is("\"data\""), "Folder of the disk tier; made at start."),
        key("memory", SIZE, Is("\"256 MiB\""), "Bound of the memory tier."),
        key("disk", SIZE_OR_ZERO, Is("\"4 GiB\""), "Bound of the disk tier; `\"0\"` keeps answers in memory only, and a restart forgets them."),
        key("body_max", SIZE, Is("\"16 MiB\""), "Largest body that is stored."),
        key("flush_every", PERIOD, Is("\"500ms\""), "How often written records are made durable: what a power cut can cost."),
        key("write_queue_max", Count { min: 1, max: MILLION }, Is("8192"), "Records that wait to be written; more are dropped and counted."),
        key("write_queue_bytes_max", SIZE, Is("\"64 MiB\""), "Bytes that wait to be written; more are dropped and counted."),
        key("read_timeout", PERIOD, Is("\"100ms\""), "A disk read that takes longer is a miss."),
        key("reads_max", Count { min: 1, max: MILLION }, Is("1024"), "Disk reads that wait or run at once; more are misses."),
        key("stall_after", PERIOD, Is("\"30s\""), "A flush that takes longer means that the disk tier hangs: it is set aside."),
        key("free_min", SIZE_OR_ZERO, Is("\"256 MiB\""), "Free space on the file system below which nothing is written (this or 5 %, whichever is more)."),
        key("variants_max", Count { min: 1, max: 10_000 }, Is("64"), "Variants (`Vary`) kept per key; the oldest makes room."),
        key("marks_max", Count { min: 1, max: 10 * MILLION }, Is("65536"), "Keys remembered as resting after a failed refresh, as not shareable, or as in doubt after a write that ended without an answer; the least used are forgotten."),
        key("purges_max", Count { min: 16, max: 10 * MILLION }, Is("65536"), "Purges remembered one by one; of more, the oldest half becomes one purge of everything stored before it."),
        key("tags_max", Count { min: 1, max: 10_000 }, Is("64"), "Tags kept per answer (of groups at least 32); an answer with more is matched by every purge of a tag or group."),
        key("tag_body_max", SIZE_OR_ZERO, Is("\"1 MiB\""), "Largest JSON body that `tag_paths` looks through; an answer with a larger one is matched by every purge of a tag or group."),
        key("kept_bytes_max", SIZE, Is("\"4 MiB\""), "Largest file in the folder `contracts`, where what is known about the answers of a route outlives a restart; what is larger is not saved."),
    ],
};

/// `[log]`
#[rustfmt::skip] // one row per key
pub static LOG: TableKeys = TableKeys {
    heading: "[log]",
    about: "What is written to standard error.",
    keys: &[
        key("format", Word(&["text", "json"]), Is("\"text\""), "Lines for people, or one JSON object a line."),
        key("level", Text, Is("\"info\""), "A level or a filter (`\"larder=debug,info\"`); the variable `RUST_LOG` wins."),
        key("transactions", Word(&["all", "failures", "off"]), Is("\"all\""), "Which requests get a line: all, those behind which an upstream failed or that got a 5xx, or none."),
        key("redact_query", List("query parameter names"), Is("[\"token\", \"key\", \"api_key\", \"apikey\", \"access_token\", \"signature\", \"sig\", \"password\", \"secret\"]"), "Query parameters whose values are never logged."),
        key("queue_max", Count { min: 1, max: 10_000_000 }, Is("8192"), "Lines that wait to be written; more are dropped and counted."),
    ],
};

/// `[upstream.NAME]`
#[rustfmt::skip] // one row per key
pub static UPSTREAM: TableKeys = TableKeys {
    heading: "[upstream.NAME]",
    about: "One third-party API. NAME appears in routes, logs and metrics: letters, digits, `-`, `_` and `.`.",
    keys: &[
        key("endpoints", Table(&ENDPOINT), Required, "Where it is, a list: `https://api.vendor.example`, with a base path if it has one, or a table with its `priority`; all of one scheme."),
        key("owner", Text, Means("nobody"), "Who is called when it breaks."),
        key("runbook", Text, Means("none"), "What they read then: a path or a URL."),
        key("review_by", Other("a day: `2027-01-31`"), Means("never"), "When somebody was to look at this integration again; warned about when past, at start, by `larder check`, and as an alert once a day."),
        key("api_version", Table(&API_VERSION), Means("none"), "The version of its API that the site is built for. Routes may have their own."),
        key("host", Text, Means("the endpoint's own"), "The `Host` it sees: a name, or `\"preserve\"` for what the client sent (which is then part of the key)."),
        key("connect_timeout", PERIOD, Is("\"1s\""), "Looking up the name where it is not known yet, TCP and TLS handshake together."),
        key("attempt_timeout", PERIOD, Is("\"5s\""), "One attempt: connection, head and, where it is read whole, body. A route may set its own."),
        key("attempt_timeout_stale", PERIOD, Is("\"2s\""), "One attempt where a stored copy stands behind: a hung vendor is given up sooner, and seen sooner when it is back. The shorter of this and `attempt_timeout` holds."),
        key("body_idle_timeout", PERIOD, Is("\"30s\""), "A streamed body that brings no byte for this long is broken off."),
        key("protocol", Word(&["auto", "http1", "http2"]), Is("\"auto\""), "`auto` is ALPN over TLS and HTTP/1.1 in the clear; `http2` in the clear is by prior knowledge."),
        key("ca_file", FilePath, Means("the system's roots"), "PEM file of the certificate authority to trust instead."),
        key("pool_idle_max", Count { min: 0, max: 100_000 }, Is("64"), "Idle connections kept per endpoint."),
        key("pool_idle_timeout", PERIOD, Is("\"30s\""), "An idle connection is closed after this."),
        key("credentials", Table(&CREDENTIAL), Means("none"), "Fields added to every request, last; one table or a list of them."),
        key("breaker", Table(&BREAKER), Means("all defaults"), "When it is left alone."),
        key("retry", Table(&RETRY), Means("all defaults"), "How a failed attempt is tried again."),
        key("in_flight_max", Count { min: 1, max: MILLION }, Is("64"), "Requests with it at once; more fail at once."),
        key("adaptive", Table(&ADAPTIVE), Means("fixed at `in_flight_max`"), "Finds out by latency how many that should be, with `in_flight_max` as the cap. `{}` turns it on with all defaults."),
        key("shares", Table(&SHARES), Means("all defaults"), "How much of this room, and of the quota, each priority may use up."),
        key("quota", Table(&QUOTA), Means("no rate of its own"), "The rate its vendor allows, shared by clients and refreshes; `\"100 / minute\"` is short for `{ rate = \"100 / minute\" }`. What would be more fails at once."),
        key("quota_headers", Flag, Is("true"), "Whether what its answers say of its limits is heeded: `RateLimit`, `RateLimit-*`, `X-RateLimit-*`, `X-Rate-Limit-*`, and `Retry-After` on 429."),
        key("failures", List("statuses and classes"), Is("[\"5xx\", 429]"), "Statuses that are failures, not answers: codes (`429`) and classes (`\"5xx\"`)."),
        key("retry_after_max", PERIOD_OR_ZERO, Is("\"15m\""), "Longest `Retry-After` that is believed."),
        key("error_bytes_max", SIZE_OR_ZERO, Is("\"256 KiB\""), "Largest error response that is kept to be passed on."),
        key("ejection", Table(&EJECTION), Means("all defaults"), "When one of several endpoints is left out."),
        key("health", Table(&HEALTH), Means("no checks"), "How each endpoint is asked whether it is well."),
        key("slow_start", PERIOD_OR_ZERO, Is("\"10s\""), "An endpoint that was left out and comes back takes its full share only after this; what it does not take goes to the others, standbys included."),
        key("dns_refresh", PERIOD, Is("\"30s\""), "How often the names of endpoints in use are looked up again (the system tells no TTL); while that fails the last good addresses stay."),
    ],
};

/// An element of `endpoints` of an upstream.
#[rustfmt::skip] // one row per key
pub static ENDPOINT: TableKeys = TableKeys {
    heading: "endpoints = [{ … }]",
    about: "One endpoint. Text in place of the table is its `url`.",
    keys: &[
        key("url", Text, Required, "`https://api.vendor.example`, with a base path if it has one."),
        key("priority", Count { min: 0, max: 100 }, Is("0"), "Its group: 0 is primary; a later one stands by, and is asked while all endpoints of the groups before it are left out."),
    ],
};

/// `api_version` of an upstream or a route.
#[rustfmt::skip] // one row per key
pub static API_VERSION: TableKeys = TableKeys {
    heading: "api_version = { … }",
    about: "The pinned version of a vendor's API: by `header` and `value`, or by a segment of the `path`. Where the vendor says that it answers as another one, an alert says so, once per version; answers are served as before.",
    keys: &[
        key("header", Text, Means("none: `path` pins it"), "Field that names the version in requests."),
        key("value", Text, Means("none"), "The version, as that field has it; needed beside `header`."),
        key("send", Flag, Is("true"), "Whether that field is sent with every request, in place of what a client sent; `false` where the vendor knows the version from the account."),
        key("path", Text, Means("none: `header` pins it"), "Segment of the path that names the version, such as `\"v2\"`; in an endpoint's URL, or in the path or `rewrite` of the routes."),
        key("answer", Text, Means("`header`"), "Field of answers that names the version they are of, or several of them; `2` pins every `2.x`."),
    ],
};

/// `credentials` of an upstream.
#[rustfmt::skip] // one row per key
pub static CREDENTIAL: TableKeys = TableKeys {
    heading: "credentials = { … }",
    about: "A field added to every request of an upstream, last; never printed, logged or stored.",
    keys: &[
        key("header", Text, Required, "Field name."),
        key("value", Secret, Required, "`{ env = \"NAME\" }` or `{ file = \"path\" }` (a newline at its end is dropped); never the secret itself."),
        key("prefix", Text, Is("\"\""), "Put before the value, such as `\"Bearer \"`."),
    ],
};

/// `breaker` of an upstream, and of a route that has one of its own.
#[rustfmt::skip] // one row per key
pub static BREAKER: TableKeys = TableKeys {
    heading: "breaker = { … }",
    about: "When an upstream is left alone, and for how long; of a route: when it leaves its upstream alone, beside that one's own. Any of the three conditions opens it: failure rate, slow rate, failures in a row.",
    keys: &[
        key("enabled", Flag, Is("true"), "Whether it ever opens by itself; by hand (`larder breaker`) it always does."),
        key("failure_percent", PERCENT, Is("50"), "Share of failed calls in the window that opens it."),
        key("slow_percent", PERCENT, Is("80"), "Share of slow calls in the window that opens it."),
        key("slow_after", PERIOD, Is("\"2s\""), "A call that takes longer is slow, and so is one that failed because it hung. `slow_after` of a route goes before it."),
        key("consecutive_failures", Count { min: 1, max: MILLION }, Is("5"), "Failures in a row that open it."),
        key("min_calls", Count { min: 1, max: MILLION }, Is("10"), "Calls in the window before percentages count."),
        key("window_calls", Count { min: 1, max: 10_000 }, Is("50"), "Calls that percentages look back at most, however many the window holds; never fewer than `min_calls`."),
        key("window", PERIOD, Is("\"30s\""), "How far back percentages look."),
        key("open_for", PERIOD, Is("\"500ms\""), "First rest; each is up to 20 % shorter by chance."),
        key("open_for_max", PERIOD, Is("\"3s\""), "Longest rest, unless the upstream asks for a longer one (`Retry-After`); where it is not written, never shorter than `open_for`."),
        key("open_for_max_after", PERIOD, Is("\"6m\""), "Length of an outage from which on a rest is `open_for_max`; up to there it grows evenly with the outage."),
        key("probes", Count { min: 1, max: 1000 }, Is("3"), "Probes in flight at once while half-open; until the first has succeeded they are a rest apart."),
        key("probe_calls", Count { min: 1, max: 1000 }, Is("3"), "Probes whose results decide whether it closes."),
        key("probe_success_percent", PERCENT, Is("100"), "Share of them that have to succeed, and not be slow; it opens again as soon as that is out of reach."),
    ],
};

/// `retry` of an upstream.
#[rustfmt::skip] // one row per key
pub static RETRY: TableKeys = TableKeys {
    heading: "retry = { … }",
    about: "How a failed attempt is tried again; only where that cannot repeat a side effect.",
    keys: &[
        key("retries_max", Count { min: 0, max: 10 }, Is("2"), "Attempts after the first where nothing is stored."),
        key("retries_max_stale", Count { min: 0, max: 10 }, Is("1"), "Attempts after the first where a stored copy stands behind and a client waits; a refresh behind an answer is tried once."),
        key("backoff_min", PERIOD, Is("\"50ms\""), "Upper edge of the first delay (full jitter: from zero to here)."),
        key("backoff_max", PERIOD, Is("\"1s\""), "Upper edge of any delay."),
        key("attempt_min", PERIOD_OR_ZERO, Is("\"100ms\""), "Least time before the deadline that a retry is worth: with less than this, or than the route's answers take on average, none is begun."),
        key("budget_percent", Count { min: 0, max: 1000 }, Is("20"), "Retries and hedges per 100 first attempts, over `budget_window`, so that they cannot feed an outage."),
        key("budget_min_per_second", Count { min: 0, max: 10_000 }, Is("1"), "Retries and hedges a second that are always allowed."),
        key("budget_window", PERIOD, Is("\"10s\""), "Over which time the budget counts."),
        key("idempotency_header", Text, Is("\"Idempotency-Key\""), "Field by which a client says that the vendor knows a repeated request by its key: with it a POST or PATCH may be tried again as a PUT may. `\"\"`: no field does."),
        key("body_bytes_max", SIZE_OR_ZERO, Is("\"64 KiB\""), "Longest content of a request with such a key that is read before the first attempt, so that it can be sent again; longer ones are sent once."),
    ],
};

/// `hedge` of a route.
#[rustfmt::skip] // one row per key
pub static HEDGE: TableKeys = TableKeys {
    heading: "hedge = { … }",
    about: "A second request for a GET, HEAD or QUERY (or a POST that only reads) where the first takes longer than most: the first good answer counts, the other request is given up. Inside the upstream's retry budget; `hedge = {}` takes all defaults.",
    keys: &[
        key("percentile", Count { min: 50, max: 99 }, Is("95"), "It is sent once the first has taken longer than this percentile of the route's successful attempts."),
        key("delay_min", PERIOD_OR_ZERO, Is("\"20ms\""), "But not before this."),
        key("window", PERIOD, Is("\"60s\""), "How far back latencies count."),
        key("samples_min", Count { min: 1, max: 10_000 }, Is("20"), "Latencies in the window before anything is hedged."),
        key("samples_max", Count { min: 1, max: 10_000 }, Is("512"), "Latencies kept; the oldest makes room."),
    ],
};

/// `ejection` of an upstream.
#[rustfmt::skip] // one row per key
pub static EJECTION: TableKeys = TableKeys {
    heading: "ejection = { … }",
    about: "When one of several endpoints is left out after failures (passive outlier detection); never all of them. A failed connect leaves it out at once.",
    keys: &[
        key("enabled", Flag, Means("whether there are several endpoints"), "Whether failures leave an endpoint out."),
        key("consecutive_failures", Count { min: 1, max: MILLION }, Is("5"), "Failures in a row (no answer in time, a broken one, 5xx among `failures`) that leave it out."),
        key("eject_for", PERIOD, Is("\"500ms\""), "For how long at first; doubles each time it fails on its return."),
        key("eject_for_max", PERIOD, Is("\"30s\""), "Longest time; each such time that it then stays well undoes one doubling."),
        key("percent_max", PERCENT, Is("50"), "Share of a group that failures leave out, but one always may be. Does not hold while a later group can take its place, nor for those that cannot be connected to."),
    ],
};

/// `health` of an upstream.
#[rustfmt::skip] // one row per key
pub static HEALTH: TableKeys = TableKeys {
    heading: "health = { … }",
    about: "How each endpoint is asked whether it is well (active health checks), past retry and breaker. One that is not is left out; if none is, all are asked.",
    keys: &[
        key("path", Text, Required, "What is asked for by GET, below the endpoint's base path: `\"/health\"`."),
        key("every", PERIOD, Is("\"5s\""), "How often, shortened by up to a fifth by chance."),
        key("timeout", PERIOD, Is("\"1s\""), "A check that takes longer has failed."),
        key("expect", List("statuses and classes"), Is("[\"2xx\"]"), "Statuses that are well."),
        key("body_contains", Text, Means("whatever it says"), "What the body has to contain."),
        key("body_max", SIZE_OR_ZERO, Is("\"64 KiB\""), "Most of the body that is read."),
        key("unhealthy_after", Count { min: 1, max: 1000 }, Is("2"), "Failed checks in a row that leave it out."),
        key("healthy_after", Count { min: 1, max: 1000 }, Is("2"), "Passed checks in a row that bring it back."),
    ],
};

/// `adaptive` of an upstream.
#[rustfmt::skip] // one row per key
pub static ADAPTIVE: TableKeys = TableKeys {
    heading: "adaptive = { … }",
    about: "How the number of requests in flight adapts to what an upstream can do.",
    keys: &[
        key("algorithm", Word(&["gradient", "aimd"]), Is("\"gradient\""), "`gradient` compares latency with what it is without a queue and needs no number; `aimd` adds one per round of answers and takes a share away where one is slower than `latency_max`."),
        key("in_flight_min", Count { min: 1, max: MILLION }, Is("4"), "The floor: the limit is never lower."),
        key("backoff_percent", Count { min: 10, max: 99 }, Is("90"), "What is left of the limit after a timeout, a 429 or a 503, once per round."),
        key("latency_max", PERIOD, Is("\"1s\""), "`aimd` only: an answer that takes longer is too slow."),
        key("tolerance_percent", Count { min: 100, max: 1000 }, Is("120"), "`gradient` only: latency up to this share of what it is without a queue is no queue yet."),
        key("measure_every", PERIOD, Is("\"30s\""), "`gradient` only: how often latency without a queue is measured, by halving the limit for a moment."),
    ],
};

/// `shares` of an upstream.
#[rustfmt::skip] // one row per key
pub static SHARES: TableKeys = TableKeys {
    heading: "shares = { … }",
    about: "How much of an upstream's room (`in_flight_max`) and of its quota's burst each priority may use up, in percent; the rest is left to those above. A client that has nothing else may use all of it, and where nothing is in flight one request of any priority may go.",
    keys: &[
        key("user_revalidate", PERCENT, Is("80"), "Refreshes for clients that have a stored copy."),
        key("webhook", PERCENT, Is("60"), "Refreshes that the vendor asked for; not more than `user_revalidate`."),
        key("sync", PERCENT, Is("40"), "Scheduled refreshes and health checks; not more than `webhook`."),
    ],
};

/// `quota` of an upstream.
#[rustfmt::skip] // one row per key
pub static QUOTA: TableKeys = TableKeys {
    heading: "quota = { … }",
    about: "The rate an upstream's vendor allows. It is spread over its period, and holds in any window of that length.",
    keys: &[
        key("rate", Other("`\"COUNT / PERIOD\"`"), Required, "Requests in a period: `\"10 / second\"`, `\"100 / minute\"`, `\"5000 / hour\"`, `\"1000 / day\"`, `\"30 / 15m\"`; over up to 31 days."),
        key("burst", Count { min: 1, max: MILLION }, Means("a tenth of the rate, at least 5, at most 100"), "Requests that may be sent at once; part of the rate, not on top of it."),
    ],
};

/// `[policy.NAME]`
#[rustfmt::skip] // one row per key
pub static POLICY: TableKeys = TableKeys {
    heading: "[policy.NAME]",
    about: "How answers age; several routes can name one. `[policy.default]` holds for routes that name none.",
    keys: &[
        key("fresh", PERIOD_OR_ZERO, Means("what the origin says"), "Lifetime where the origin names none; with `override`, in place of what it names."),
        key("fresh_min", PERIOD_OR_ZERO, Means("no bound"), "Lower bound of an origin's lifetime."),
        key("fresh_max", PERIOD_OR_ZERO, Means("no bound"), "Upper bound of an origin's lifetime."),
        key("stale_while_revalidate", PERIOD_OR_ZERO, Is("\"60s\""), "After expiry: answered at once, refreshed behind. Holds where the origin names none."),
        key("stale_after", PERIOD_OR_ZERO, Is("\"300ms\""), "A client waits at most this long for the upstream where a stale copy is at hand."),
        key("max_stale", PERIOD_OR_ZERO, Is("\"24h\""), "After expiry: the hard end of any use while the upstream fails."),
        key("override", Flag, Is("false"), "Whether the origin's `no-store`, `private`, `must-revalidate` and lifetimes give way."),
        key("heuristic_percent", Count { min: 0, max: 100 }, Is("0"), "Where nobody names a lifetime: this share of the time since `Last-Modified` (RFC 9111 4.2.2). `0` guesses nothing; 10 is usual."),
        key("heuristic_max", PERIOD_OR_ZERO, Is("\"24h\""), "Longest lifetime that is guessed so."),
        key("negative", Other("`{ \"404\" = \"30s\", \"5xx\" = \"2s\" }`"), Means("what the origin says"), "Lifetimes of error statuses where the origin names none; with `override`, in place of what it names. A status that the upstream counts as a failure is stored only where no good answer is."),
        key("negative_max", PERIOD_OR_ZERO, Is("\"0s\""), "How long at most an answer whose status counts as a failure is stored because the origin names a lifetime; `\"0s\"` is never."),
        key("share_set_cookie", Flag, Is("false"), "Whether an answer with `Set-Cookie` and a lifetime of the origin's is stored and shared, cookie included, as RFC 9111 7.3 has it. Without it only `public` or `s-maxage` says so."),
        key("client_directives", Flag, Means("whether the policy does not override"), "Whether a client's own `Cache-Control` and `Pragma` are obeyed."),
        key("spread_percent", Count { min: 0, max: 50 }, Is("10"), "Lifetimes are shortened by up to this share, by key, so that a warmed set does not expire at once."),
        key("early", Flag, Is("true"), "Whether a hot key is refreshed a little before it expires."),
        key("cool_down", PERIOD_OR_ZERO, Is("\"500ms\""), "Rest per key after a failed refresh, plus up to half of it by chance."),
    ],
};

/// `[[route]]`
#[rustfmt::skip] // one row per key
pub static ROUTE: TableKeys = TableKeys {
    heading: "[[route]]",
    about: "Which request goes where. The most specific route wins, whatever the order in the file: host (a name, then the longest `*.suffix`, then any), then path segment by segment (literal, parameter, rest), then a route that lists the method.",
    keys: &[
        key("name", Text, Means("the path"), "Its name in logs, metrics and `larder check`."),
        key("host", Other("a name or a list of names"), Means("any host"), "Hosts it answers for: `\"shop.example\"` or `\"*.shop.example\"`."),
        key("path", Text, Required, "`/prices/{sku}` (one segment), `/files/{*rest}` (all that remains, also nothing)."),
        key("methods", List("methods"), Means("all"), "Methods it answers for; `HEAD` comes with `GET`."),
        key("upstream", Text, Required, "NAME of an `[upstream.NAME]`."),
        key("policy", Text, Is("\"default\""), "NAME of a `[policy.NAME]`."),
        key("deadline", PERIOD, Is("\"10s\""), "One budget of time over all attempts."),
        key("attempt_timeout", PERIOD, Means("the upstream's"), "One attempt."),
        key("deadline_header", Text, Means("none"), "Field by which each attempt tells the upstream how many whole milliseconds it has left; a client's own is replaced."),
        key("hedge", Table(&HEDGE), Means("no hedging"), "A second request where the first takes longer than most."),
        key("requests_max", Count { min: 1, max: MILLION }, Means("what the shares of `server.requests_max` leave it"), "Requests of this route at once that wait for the upstream; more are answered from the store or 503."),
        key("rate", Other("a rate: `\"200 / second\"`"), Means("no limit"), "Requests of this route, over all clients, that the store alone does not answer; more are answered from the store or 503."),
        key("burst", Count { min: 1, max: MILLION }, Means("as many as `rate` counts"), "Requests that may come at once after a quiet time."),
        key("slow_after", PERIOD, Means("`slow_after` of its own breaker, or else of the upstream's"), "Its latency budget: a call that takes longer counts as slow for the breakers."),
        key("breaker", Table(&BREAKER), Means("none of its own"), "When it leaves its upstream alone, beside the upstream's own breaker; `{}` is one with all defaults."),
        key("key", Table(&ROUTE_KEY), Means("all defaults"), "What tells answers apart, beside method and path."),
        key("strip_prefix", Text, Means("nothing is stripped"), "Leading literal segments taken away on the way to the upstream: `\"/api\"`."),
        key("api_version", Table(&API_VERSION), Means("the upstream's"), "The version of the vendor's API that this route is built for."),
        key("rewrite", Text, Means("the path as it came"), "The path for the upstream, from the route's parameters: `\"/v2/items/{sku}\"`."),
        key("upgrade", List("protocol names"), Is("[]"), "Protocols a client may switch to on this route (`\"websocket\"`): such a request goes past the cache, and what follows its 101 is copied both ways. HTTP/1.1 only, towards clients and upstream."),
        key("upgrade_idle_timeout", PERIOD, Is("\"1h\""), "An upgraded connection on which nothing passes for this long is closed; a shutdown closes it at once."),
        key("forwarded", Word(&["off", "forwarded", "x-forwarded", "keep"]), Is("\"off\""), "What the upstream is told about the client: nothing; `Forwarded` (RFC 7239) or `X-Forwarded-For`, `-Proto` and `-Host`, each behind what a trusted proxy sent; or only what a trusted proxy sent, as it came."),
        key("request_headers", Table(&HEADERS), Means("no changes"), "Changes to the request."),
        key("response_headers", Table(&HEADERS), Means("no changes"), "Changes to every answer of this route."),
        key("sibling", Text, Means("none"), "Whose stored answer stands in where nothing is stored for a request and the upstream fails, from the parameters of the path: `\"/prices/{sku}\"`, `\"/prices/{sku}?currency=EUR\"`. A path of this or another route; looked up as a GET for it by the same client would be, and never stored for what was asked."),
        key("fallback", Table(&FALLBACK), Means("a problem document"), "Answered where nothing is stored and the upstream fails."),
        key("drill_percent", Count { min: 0, max: 100 }, Is("0"), "Share of requests with a stale but usable copy that are answered from it as if the upstream had failed, nobody asked, so that this way is known to work. Never where that would cost a good answer: not without a copy, and not in the second half of the time that a copy may be used once stale, so that it is renewed in time even at 100."),
        key("message", Text, Means("general words"), "What visitors read in a problem document made here."),
        key("whole_bytes_max", SIZE_OR_ZERO, Is("\"4 MiB\""), "A storable body is read whole inside the attempt up to this size, so that a truncated one is a failure."),
        key("hold_back", PERIOD_OR_ZERO, Is("\"100ms\""), "How long a body is held back in the hope of its end where nothing is stored."),
        key("no_vary_search", Flag, Is("false"), "Whether a stored answer may answer other queries that its `No-Vary-Search` calls equivalent."),
        key("cache_post", Flag, Is("false"), "POST only reads here, as QUERY does: its answers are stored by content (JSON: whatever the order of members), it is tried again as a GET would be, and it invalidates nothing."),
        key("graphql", Flag, Is("false"), "A GraphQL endpoint: an answer 200 with `errors`, partial data or not, is a failure; with `cache_post`, only documents of queries alone are answered by content, and mutations are passed on."),
        key("transform", Other("a jq program: `\".price = .cost\"`, or `{ file = \"mappings/prices.jq\" }`"), Means("answers stay as they came"), "Makes what the site expects of a good JSON answer, before the contract judges it: one value of one value, with no way to anything else, within the bounds of `contract`. A program that fails on an answer is a breach of kind `transform`, also without a `contract`."),
        key("contract", Table(&CONTRACT), Means("none"), "What an answer must look like for the site to use it."),
        key("drift", Table(&DRIFT), Means("all defaults"), "How the shape of its answers is learnt, so that changes of its vendor are noticed."),
        key("content_max", SIZE, Is("\"64 KiB\""), "Longest content of a QUERY, or of such a POST, that is answered by content; longer ones are passed on."),
        key("tags", List("tags"), Is("[]"), "What its answers can be purged by, beside URL and route; may hold parameters of the path: `[\"price\", \"sku:{sku}\"]`."),
        key("tag_fields", List("field names"), Is("[\"Surrogate-Key\", \"Cache-Tag\"]"), "Response fields whose members are tags too: `Surrogate-Key` and `xkey` separated by spaces, others by commas."),
        key("tag_paths", Other("`{ prefix = \"JSONPath\" }`"), Is("{}"), "Values in a JSON body that are tags too: `{ sku = \"$.items[*].sku\" }` gives `sku:VALUE` (with `\"\"` as prefix: `VALUE`)."),
    ],
};

/// `contract` of a route.
#[rustfmt::skip] // one row per key
pub static CONTRACT: TableKeys = TableKeys {
    heading: "[route.contract]",
    about: "What an answer must look like for the site to use it. Judged are whole answers 2xx to requests that only read; a breach is a failure like any other: the last good answer is served instead, and without one 502 with the route's `message`.",
    keys: &[
        key("mode", Word(&["off", "observe", "enforce"]), Is("\"enforce\""), "What a breach does: nothing; it is counted, told and kept as a sample, and the answer served; or it is a failure, too."),
        key("schema", Other("a file, JSON that begins with `{`, or a table"), Means("none"), "JSON Schema that answers have to fit: 2020-12, or what its `$schema` names. It may refer to files beside it; nothing is fetched. `format` is checked."),
        key("content_type", List("media types"), Means("`[\"application/json\", \"*/*+json\"]` where anything looks into JSON, any otherwise"), "Types that are taken: `application/json`, `application/*`, `*/*+json`. What looks into JSON reads them all as JSON; otherwise CSV and XML have to be well-formed."),
        key("size_min", SIZE_OR_ZERO, Is("\"1 B\""), "Least content, decoded; less is a breach of kind `size`."),
        key("retry", Flag, Is("false"), "Whether a breach is asked about again, within the retry budget."),
        key("breaker", Flag, Is("false"), "Whether a breach counts as a failure for the breakers."),
        key("rules", Table(&RULE), Means("none"), "What has to hold of the values of a JSON answer, a list: `{ field = \"/price\", required = true, above = 0 }`."),
        key("records", Other("a JSON Pointer or JSONPath"), Means("nothing counts as a record"), "The list whose elements are records (`\"/items\"`, or `\"\"` where the whole answer is the list): what is wrong in one of them makes that record bad, whoever finds it, and not the whole answer."),
        key("record_rules", Table(&RULE), Means("none"), "Rules that each record is held against, a list; fields are relative to the record."),
        key("bad_records_max", Other("a share: `\"5%\"`"), Is("\"0%\""), "Share of the records that may be bad; with more, the answer is a breach of kind `bad_records`."),
        key("bad_records", Word(&["keep", "drop", "mark"]), Means("`\"keep\"`"), "What becomes of bad records in an answer that is taken: they stay, go, or get a member `mark` that is true; every other byte stays as it came."),
        key("mark", Text, Is("\"_bad\""), "The member that a marked record gets."),
        key("reconcile", Table(&FIGURE), Means("none"), "Figures that may not fall too far from one good answer to the next, a list."),
        key("body_max", SIZE, Is("\"8 MiB\""), "Longest content that is judged, decoded and mapped too; an answer beyond this or one of the next three is a breach of kind `too_complex`."),
        key("depth_max", Count { min: 1, max: 1_000 }, Is("64"), "Objects and arrays inside each other."),
        key("values_max", Count { min: 1, max: 100 * MILLION }, Is("500000"), "Values in a document: members, elements and the document itself."),
        key("time_max", PERIOD, Is("\"1s\""), "Time from an answer's last byte to the verdict."),
        key("quiet", PERIOD, Is("\"5m\""), "A broken term is told once, from its first breach until nothing broke it for so long and what broke it is good again."),
        key("samples_max", Count { min: 0, max: 50 }, Is("5"), "Answers that broke the contract and are kept, redacted, for an operator to look at (`larder contracts`)."),
        key("sample_bytes_max", SIZE, Is("\"4 KiB\""), "How much of an answer a sample shows, at most 64 KiB."),
    ],
};

/// `rules` and `record_rules` of a contract.
#[rustfmt::skip] // one row per key
pub static RULE: TableKeys = TableKeys {
    heading: "contract.rules, contract.record_rules = [{ field = … }]",
    about: "A field and what has to hold of it: at least one check. A field that is not there, or null, breaks only `required`, `non_empty` and `count_min`.",
    keys: &[
        key("field", Other("a JSON Pointer or JSONPath"), Required, "What it is about: `\"/price\"` names one value (RFC 6901), `\"$.items[*].sku\"` all that it finds (RFC 9535), `\"\"` the whole."),
        key("required", Flag, Means("whether it says `non_empty`"), "Whether it has to be there and, unless `nullable`, not null; a JSONPath has to find something."),
        key("nullable", Flag, Is("false"), "Whether null is as good as a value."),
        key("type", List("`string`, `number`, `integer`, `boolean`, `array`, `object`"), Means("any"), "Its type, or those it may be of."),
        key("min", Other("a number"), Means("no bound"), "A number, or text that is a decimal number, this large or larger."),
        key("max", Other("a number"), Means("no bound"), "This large or smaller."),
        key("above", Other("a number"), Means("no bound"), "Larger than this."),
        key("below", Other("a number"), Means("no bound"), "Smaller than this."),
        key("equals", Other("a value"), Means("any"), "Exactly this value; 1 and 1.0 are the same, 1 and \"1\" are not."),
        key("one_of", List("values"), Means("any"), "One of these."),
        key("non_empty", Flag, Is("false"), "There, and neither blank text nor an empty list or object."),
        key("unique", Flag, Is("false"), "No two values are the same: of a JSONPath those it finds, of a JSON Pointer the elements of its list."),
        key("at_most", Other("a JSON Pointer or JSONPath"), Means("no bound"), "At most the value of this other field: numbers by size, dates and times of RFC 3339 by when they are, other text by code points. Two JSONPaths are paired by list element."),
        key("count_min", Count { min: 0, max: 1_000_000_000 }, Means("no bound"), "So many values found by a JSONPath, or elements of the list of a JSON Pointer, or more; what is not there has none."),
        key("count_max", Count { min: 0, max: 1_000_000_000 }, Means("no bound"), "So many or less."),
        key("count_within", Other("a share: `\"30%\"`"), Means("no bound"), "As many as in the last good answer, or more or less by at most this share of them."),
    ],
};

/// `reconcile` of a contract.
#[rustfmt::skip] // one row per key
pub static FIGURE: TableKeys = TableKeys {
    heading: "contract.reconcile = [{ field = … }]",
    about: "A figure that may not fall by more than its share from one good answer to the next; more is a breach of kind `reconcile`.",
    keys: &[
        key("field", Other("a JSON Pointer or JSONPath"), Required, "What is counted or added up: what a JSONPath finds, or the elements of the list of a JSON Pointer."),
        key("measure", Word(&["count", "sum"]), Is("\"count\""), "How many there are, or what they add up to: numbers, or texts that are decimal numbers."),
        key("drop_max", Other("a share: `\"20%\"`"), Required, "Share that may be gone at once."),
        key("dataset", Text, Means("compared with the last good answer of the same key"), "A name under which the figures of many answers, of this and other routes, are added up: the pages of a catalogue. Compared is their total with the highest of `window`."),
        key("window", PERIOD, Is("\"24h\""), "How long the highest total of the dataset is what later ones are compared with."),
        key("keys_max", Count { min: 1, max: MILLION }, Is("10000"), "Answers of the dataset whose figures are remembered; of more, those not renewed for longest are let go of."),
    ],
};

/// `transform` of a route, where it is a file.
#[rustfmt::skip] // one row per key
pub static TRANSFORM: TableKeys = TableKeys {
    heading: "transform = { … }",
    about: "A jq program in a file of its own.",
    keys: &[
        key("file", FilePath, Required, "The program; read at start and at a reload."),
    ],
};

/// `drift` of a route.
#[rustfmt::skip] // one row per key
pub static DRIFT: TableKeys = TableKeys {
    heading: "[route.drift]",
    about: "The shape of good JSON answers to GET is learnt from live traffic, and changes in it are reported once each: docs/drift.md. It asks nobody, holds nothing up, and looks at answers as the vendor sent them, before `transform`.",
    keys: &[
        key("mode", Word(&["off", "learn"]), Is("\"learn\""), "Whether answers of this route are learnt."),
        key("answers_min", Count { min: 5, max: MILLION }, Is("20"), "Answers until what they have in common is known, and changes in it are reported."),
        key("answers_confirm", Count { min: 1, max: 1_000 }, Is("3"), "Answers that must show a change before it is reported, whatever chance says."),
        key("range_factor", Count { min: 2, max: MILLION }, Is("10"), "How many times beyond what was seen a number, or the length of a list, is a change."),
        key("ignore", List("JSON Pointers or JSONPaths"), Is("[]"), "Places that change by nature, with everything inside: `[\"/updated_at\", \"$.items[*].id\", \"$..etag\"]`. They are not learnt at all."),
        key("private", Flag, Is("false"), "Whether answers are learnt that may be personal: those marked `private` or `no-store`, with `Set-Cookie`, or to a request with credentials. What is learnt is kept on disk: values of enumerations and ranges of numbers."),
        key("answers_per_second", Count { min: 1, max: 10_000 }, Is("20"), "Answers that are learnt in a second, each counted once per begun 64 KiB. Of more the latest wait until there is time for them."),
        key("answers_burst", Count { min: 1, max: 100_000 }, Is("500"), "Answers that are learnt at once after a quiet time."),
        key("body_max", SIZE, Is("\"1 MiB\""), "Longest answer that is learnt, as it came and decoded."),
        key("nodes_max", Count { min: 10, max: 100_000 }, Is("1000"), "Places of an answer that are watched; what is beyond is counted as not watched."),
        key("depth_max", Count { min: 1, max: 64 }, Is("16"), "Objects and arrays inside each other that are looked into."),
        key("members_max", Count { min: 4, max: 10_000 }, Is("64"), "Members of an object that come and go, beyond which it is a map: they are learnt as one, `*`. Four times as many at once are a map in any case."),
        key("enum_max", Count { min: 1, max: 256 }, Is("16"), "Different values of a field that are still an enumeration."),
    ],
};

/// `key` of a route.
#[rustfmt::skip] // one row per key
pub static ROUTE_KEY: TableKeys = TableKeys {
    heading: "key = { … }",
    about: "What tells answers of a route apart, beside method and path.",
    keys: &[
        key("query", Other("`\"all\"`, `\"sorted\"`, a list of names, or `{ ignore = [names] }`"), Is("\"all\""), "Query parameters that matter: all as they came; all, sorted by name; those listed, sorted; or all but those ignored (`\"utm_*\"`: all that begin so). What does not matter is neither in the key nor sent on. Spellings that RFC 3986 6.2.2 calls equal are one."),
        key("headers", List("field names"), Is("[]"), "Request fields that matter."),
        key("cookies", List("cookie names"), Means("all are sent on, none is in the key"), "Cookies that matter; others are then neither in the key nor sent on with a request that others may share (the first of one name counts). `[]`: none matters."),
        key("host", Flag, Means("whether the route names hosts or the upstream sees the client's"), "Whether the client's host matters."),
        key("scheme", Flag, Is("false"), "Whether the scheme matters that the client used with this listener; it is always `http` as long as the listener speaks no TLS."),
    ],
};

/// `request_headers` and `response_headers` of a route.
#[rustfmt::skip] // one row per key
pub static HEADERS: TableKeys = TableKeys {
    heading: "request_headers, response_headers = { … }",
    about: "Changes to fields: removed first, then set, then added. Framing and hop-by-hop fields cannot be changed.",
    keys: &[
        key("remove", List("field names"), Is("[]"), "Removed."),
        key("set", Other("`{ name = \"value\" }`"), Is("{}"), "Replaced or created."),
        key("add", Other("`{ name = \"value\" }`"), Is("{}"), "Added as a further line."),
    ],
};

/// `fallback` of a route.
#[rustfmt::skip] // one row per key
pub static FALLBACK: TableKeys = TableKeys {
    heading: "fallback = { … }",
    about: "A document answered where nothing is stored and the upstream fails.",
    keys: &[
        key("status", Count { min: 200, max: 599 }, Is("200"), "Its status."),
        key("body", FilePath, Required, "The document, at most 1 MiB; read at start. In JSON, HTML, XML, JavaScript, CSV and text, `{sku}` stands for that parameter of the route's path: decoded, cut after 1 KiB, escaped for the type."),
        key("content_type", Text, Means("by the file's extension"), "Its `Content-Type`."),
    ],
};

/// `[dev]`
#[rustfmt::skip] // one row per key
pub static DEV: TableKeys = TableKeys {
    heading: "[dev]",
    about: "What `larder dev` plays; nothing else reads it.",
    keys: &[
        key("upstream", Text, Means("the first one"), "NAME of the upstream whose address the stub takes."),
        key("stub_file", FilePath, Means("the built-in sets"), "Resources and faults of the stub."),
        key("control", Address, Is("\"127.0.0.1:9101\""), "Control API of the stub."),
    ],
};

/// Every table, in the order of the reference.
pub static TABLES: [&TableKeys; 27] = [
    &ROOT,
    &SERVER,
    &ADMIN,
    &STORE,
    &LOG,
    &UPSTREAM,
    &ENDPOINT,
    &API_VERSION,
    &CREDENTIAL,
    &BREAKER,
    &RETRY,
    &EJECTION,
    &HEALTH,
    &ADAPTIVE,
    &SHARES,
    &QUOTA,
    &POLICY,
    &ROUTE,
    &HEDGE,
    &CONTRACT,
    &RULE,
    &FIGURE,
    &DRIFT,
    &ROUTE_KEY,
    &HEADERS,
    &FALLBACK,
    &DEV,
];
