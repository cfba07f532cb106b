//! `[server]`, `[admin]`, `[store]`, `[log]`: what the process as a whole needs.

use toml::de::DeValue;

use crate::config::{
    AdminConfig, LogConfig, LogFormat, Network, NetworkError, RateLimit, ServerConfig, StoreConfig,
    TransactionLog,
    rate::rate,
    reader::Table,
    values::{self, Complaint, Parsed},
};

/// hyper reads heads into a buffer of at least this size.
const HEADER_BYTES_MIN: u64 = 8 << 10;
/// A head is memory per connection, held before anything is known about the client.
const HEADER_BYTES_MAX: u64 = 16 << 20;

pub(super) fn server(table: &Table<'_>) -> ServerConfig {
    let header_bytes_max = table.size("header_bytes_max");
    if !(HEADER_BYTES_MIN..=HEADER_BYTES_MAX).contains(&header_bytes_max) {
        table.error("header_bytes_max", "is not between 8 KiB and 16 MiB");
    }
    let connections_max = table.count("connections_max");
    ServerConfig {
        listen: table.address("listen"),
        workers: table
            .optional_count("workers")
            .unwrap_or_else(|| table.cx.env.cores()),
        connections_max,
        header_read_timeout: table.duration("header_read_timeout"),
        header_bytes_max: usize::try_from(header_bytes_max).unwrap_or(usize::MAX),
        headers_max: table.count("headers_max"),
        request_body_bytes_max: table.size("request_body_max"),
        http2_streams_max: table.count("http2_streams_max"),
        trusted_proxies: table.list("trusted_proxies", network),
        drain_for: table.duration("drain_for"),
        tunnels_max: table.count("tunnels_max"),
        fetches_max: table.count("fetches_max"),
        requests_max: table
            .optional_count("requests_max")
            .unwrap_or(connections_max - connections_max / 4),
        drift_queue_bytes_max: table.size("drift_queue_max"),
        judges_max: table
            .optional_count("judges_max")
            .unwrap_or_else(|| table.cx.env.cores().max(2)),
        reserved_percent: table.count("reserved_percent"),
        bodies_bytes_max: table.size("bodies_max"),
        client_connections_max: table.optional_count("client_connections_max"),
        client_rate: rate_limit(table, "client_rate", "client_burst"),
        clients_max: table.count("clients_max"),
    }
}

/// A rate and its burst; `None` where there is no limit.
pub(super) fn rate_limit(table: &Table<'_>, rate_key: &str, burst_key: &str) -> Option<RateLimit> {
    let burst = table.optional_count(burst_key);
    let Some(rate) = table.read(rate_key, rate) else {
        if burst.is_some() && !table.is_written(rate_key) {
            let message = format!("changes nothing without `{rate_key}`");
            table.warning(burst_key, message);
        }
        return None;
    };
    let burst = burst.unwrap_or(rate.count);
    Some(RateLimit { rate, burst })
}

fn network(value: &DeValue<'_>) -> Parsed<Network> {
    let text = values::line(value)?;
    text.parse().map_err(|error: NetworkError| {
        Complaint::new(format!("`{text}` {error}")).hint(
            "write an address (\"192.0.2.1\") or a network (\"10.0.0.0/8\", \"2001:db8::/32\")",
        )
    })
}

pub(super) fn admin(table: &Table<'_>) -> Option<AdminConfig> {
    let is_enabled = table.flag("enabled");
    let listen = table.address("listen");
    let token = table.secret("token");
    // A token that could not be read has its own error already.
    if is_enabled && !listen.ip().is_loopback() && !table.is_written("token") {
        table
            .error(
                "listen",
                "others than this machine can reach it, and no token is asked for",
            )
            .hint("set `token = { env = \"NAME\" }`, or listen on 127.0.0.1");
    }
    is_enabled.then_some(AdminConfig { listen, token })
}

pub(super) fn store(table: &Table<'_>) -> StoreConfig {
    let disk_bytes = table.size("disk");
    let path = table.path("path");
    StoreConfig {
        path: path.filter(|_| disk_bytes > 0),
        memory_bytes: table.size("memory"),
        disk_bytes,
        body_bytes_max: table.size("body_max"),
        flush_every: table.duration("flush_every"),
        write_queue_max: table.count("write_queue_max"),
        write_queue_bytes_max: table.size("write_queue_bytes_max"),
        read_timeout: table.duration("read_timeout"),
        reads_max: table.count("reads_max"),
        stall_after: table.duration("stall_after"),
        free_bytes_min: table.size("free_min"),
        variants_max: table.count("variants_max"),
        marks_max: table.count("marks_max"),
        purges_max: table.count("purges_max"),
        tags_max: table.count("tags_max"),
        tag_body_bytes_max: table.size("tag_body_max"),
        kept_bytes_max: table.size("kept_bytes_max"),
    }
}

pub(super) fn log(table: &Table<'_>) -> LogConfig {
    let level = table.text("level").unwrap_or_default();
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&level) {
        table
            .error("level", format!("`{level}` is not a filter: {error}"))
            .hint("write a level (\"info\"), or levels by module: \"larder::cache=debug,info\"");
    }
    LogConfig {
        format: match table.word("format") {
            "json" => LogFormat::Json,
            _ => LogFormat::Text,
        },
        level,
        transactions: match table.word("transactions") {
            "failures" => TransactionLog::Failures,
            "off" => TransactionLog::Off,
            _ => TransactionLog::All,
        },
        redact_query: table.list("redact_query", values::line),
        queue_max: table.count("queue_max"),
    }
}
