//! `[upstream.NAME]`: one third-party API.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Uri, uri::PathAndQuery};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretString};
use toml::de::DeValue;

use super::{
    headers::{check_editable, header_name},
    limits, version,
};
use crate::config::{
    BreakerConfig, Credential, EjectionConfig, EndpointConfig, HealthConfig, RetryConfig,
    StatusSet, UpstreamConfig, UpstreamHost, UpstreamProtocol, keys,
    reader::{Item, Table},
    values::{self, Complaint, Parsed},
};

pub(super) fn upstreams(root: &Table<'_>) -> Vec<Arc<UpstreamConfig>> {
    let tables = root.named_tables("upstream");
    if tables.is_empty() && !root.is_written("upstream") {
        root.error("upstream", "there is no upstream")
            .hint("add `[upstream.NAME]` with `endpoints = [\"https://…\"]`");
    }
    let compiled = tables
        .iter()
        .map(|(name, table)| Arc::new(upstream(name, table)));
    compiled.collect()
}

fn upstream(name: &str, table: &Table<'_>) -> UpstreamConfig {
    check_name(name, table);
    let endpoints = endpoints(table);
    let upstream = UpstreamConfig {
        name: Arc::from(name),
        ejection: ejection(&table.table("ejection"), endpoints.len()),
        health: table.optional_table("health").map(|table| health(&table)),
        slow_start: table.duration("slow_start"),
        dns_refresh: table.duration("dns_refresh"),
        endpoints,
        owner: table.text("owner"),
        runbook: table.text("runbook"),
        review_by: version::review_by(table),
        api_version: version::read(table).map(Arc::new),
        host: table.read("host", host).unwrap_or(UpstreamHost::Endpoint),
        connect_timeout: table.duration("connect_timeout"),
        attempt_timeout: table.duration("attempt_timeout"),
        attempt_timeout_stale: table.duration("attempt_timeout_stale"),
        body_idle_timeout: table.duration("body_idle_timeout"),
        protocol: match table.word("protocol") {
            "http1" => UpstreamProtocol::Http1,
            "http2" => UpstreamProtocol::Http2,
            _ => UpstreamProtocol::Auto,
        },
        ca_file: None,
        pool_idle_max: table.count("pool_idle_max"),
        pool_idle_timeout: table.duration("pool_idle_timeout"),
        credentials: credentials(table),
        breaker: breaker(&table.table("breaker")),
        retry: retry(&table.table("retry")),
        in_flight_max: table.count("in_flight_max"),
        failures: status_set(table, "failures"),
        adaptive: limits::adaptive(table, table.count("in_flight_max")),
        shares: limits::shares(&table.table("shares")),
        quota: limits::quota(table),
        quota_headers: table.flag("quota_headers"),
        retry_after_max: table.duration("retry_after_max"),
        error_bytes_max: table.size("error_bytes_max"),
        written: table.written(),
    };
    if table.is_written("connect_timeout") && upstream.connect_timeout > upstream.attempt_timeout {
        let message = "is longer than `attempt_timeout`, which ends the connection attempt first";
        table.warning("connect_timeout", message);
    }
    // Who raises one because the vendor is slow would otherwise never see a stored copy renewed.
    if table.is_written("attempt_timeout")
        && !table.is_written("attempt_timeout_stale")
        && upstream.attempt_timeout > upstream.attempt_timeout_stale
    {
        let message = format!(
            "holds only where nothing is stored: a stored copy is renewed within `attempt_timeout_stale` ({:?}); set that too if the vendor takes longer",
            upstream.attempt_timeout_stale
        );
        table.warning("attempt_timeout", message);
    }
    UpstreamConfig {
        ca_file: ca_file(table, &upstream.endpoints),
        ..upstream
    }
}

fn check_name(name: &str, table: &Table<'_>) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_word) {
        let findings = &table.cx.findings;
        findings
            .error(format!("upstream.{name}"), table.span(), "is not a name")
            .hint("letters, digits, `-`, `_` and `.`, at most 64");
    }
}

// --- endpoints ---

fn endpoints(table: &Table<'_>) -> Vec<EndpointConfig> {
    let Some(item) = table.item("endpoints") else {
        table
            .error("endpoints", "is missing")
            .hint("write `endpoints = [\"https://api.vendor.example\"]`");
        return Vec::new();
    };
    let mut endpoints: Vec<EndpointConfig> = Vec::new();
    let items = item.elements();
    if items.is_empty() {
        table.error("endpoints", "is empty");
    }
    for item in items {
        // Text, or a table with more to say.
        let (item, priority) = match item.value {
            DeValue::Table(_) => {
                let Some(table) = item.table(&keys::ENDPOINT) else {
                    continue;
                };
                let priority = table.count("priority");
                let Some(item) = table.item("url") else {
                    table.error("url", "is missing");
                    continue;
                };
                (item, priority)
            }
            _ => (item, 0),
        };
        let uri = match endpoint(&item) {
            Ok(uri) => uri,
            Err(complaint) => {
                item.complain(complaint);
                continue;
            }
        };
        let endpoint = EndpointConfig { uri, priority };
        if endpoints.iter().any(|known| known.uri == endpoint.uri) {
            item.complain(Complaint::new("is the same endpoint again"));
        } else if let Some(first) = endpoints.first()
            && first.uri.scheme() != endpoint.uri.scheme()
        {
            let complaint = Complaint::new("endpoints of one upstream have one scheme");
            item.complain(complaint.hint("all `https://`, or all `http://`"));
        } else {
            endpoints.push(endpoint);
        }
    }
    endpoints
}

fn endpoint(item: &Item<'_>) -> Parsed<Uri> {
    let text = values::line(item.value)?;
    if text.contains('@') {
        // It may hold a password.
        item.mask();
        return Err(
            Complaint::new("a URL here carries no user and no password").hint(
                "use `credentials = { header = \"Authorization\", value = { env = \"NAME\" } }`",
            ),
        );
    }
    if text.contains(['?', '#']) {
        return Err(Complaint::new("an endpoint has no query and no fragment")
            .hint("keys in the query are not supported; send them with `credentials`"));
    }
    let not_a_url = || {
        Complaint::new(format!("`{text}` is not a URL")).hint(format!(
            "write \"https://{}\"",
            text.trim_start_matches('/')
        ))
    };
    let uri: Uri = text.parse().map_err(|_| not_a_url())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(not_a_url());
    };
    if !matches!(scheme, "http" | "https") {
        let complaint = Complaint::new(format!("`{scheme}://` is not spoken here"));
        return Err(complaint.hint("`https://` or `http://`"));
    }
    if authority.host().is_empty() || authority.as_str().ends_with(':') {
        return Err(not_a_url());
    }
    if has_bad_port(authority) {
        return Err(Complaint::new("has a port that is none").hint("1 to 65535"));
    }
    let base = uri.path().trim_end_matches('/');
    let base = crate::http::uri::normalize_path(base);
    let clean = format!("{scheme}://{authority}{base}");
    clean.parse().map_err(|_| not_a_url())
}

fn has_bad_port(authority: &http::uri::Authority) -> bool {
    let text = authority.as_str();
    let after_host = text.rsplit_once(']').map_or(text, |(_, after)| after);
    after_host.contains(':') && authority.port_u16().is_none_or(|port| port == 0)
}

fn host(value: &DeValue<'_>) -> Parsed<UpstreamHost> {
    let text = values::line(value)?;
    match text.as_str() {
        "preserve" => return Ok(UpstreamHost::Preserve),
        "endpoint" => return Ok(UpstreamHost::Endpoint),
        _ => {}
    }
    let is_authority = text
        .parse::<http::uri::Authority>()
        .is_ok_and(|authority| !authority.as_str().contains('@') && !has_bad_port(&authority));
    match HeaderValue::from_str(&text) {
        Ok(value) if is_authority => Ok(UpstreamHost::Fixed(value)),
        _ => Err(Complaint::new(format!("`{text}` is not a host"))
            .hint("a name (\"api.vendor.example\") or \"preserve\"")),
    }
}

fn ca_file(table: &Table<'_>, endpoints: &[EndpointConfig]) -> Option<std::path::PathBuf> {
    if !table.is_written("ca_file") {
        return None;
    }
    let (path, bytes) = table.file("ca_file")?;
    let mut certificates = CertificateDer::pem_slice_iter(&bytes);
    if !matches!(certificates.next(), Some(Ok(_))) {
        let message = format!("{} has no certificate in PEM form", path.display());
        table
            .error("ca_file", message)
            .hint("the file has to hold `-----BEGIN CERTIFICATE-----`");
    }
    let is_plain = |endpoint: &EndpointConfig| endpoint.uri.scheme_str() == Some("http");
    if endpoints.iter().any(is_plain) {
        table.warning("ca_file", "has no effect on `http://` endpoints");
    }
    Some(path)
}

// --- credentials ---

fn credentials(table: &Table<'_>) -> Vec<Credential> {
    let tables = table.tables("credentials");
    let mut credentials: Vec<Credential> = Vec::new();
    for table in &tables {
        let Some(credential) = credential(table) else {
            continue;
        };
        if credentials
            .iter()
            .any(|earlier| earlier.header == credential.header)
        {
            table.error("header", "this field has a credential already");
        }
        credentials.push(credential);
    }
    credentials
}

fn credential(table: &Table<'_>) -> Option<Credential> {
    let header = table.read("header", |value| {
        let name = header_name(value)?;
        check_editable(&name).map(|()| name)
    });
    let prefix = table.read("prefix", values::text).unwrap_or_default();
    let secret = table.secret("value")?;
    let whole = format!("{prefix}{}", secret.expose_secret());
    if HeaderValue::from_str(&whole).is_err() {
        table
            .error(
                "value",
                "prefix and secret together cannot stand in a header field",
            )
            .hint("line breaks and control characters cannot; check for a stray newline");
    }
    Some(Credential {
        header: header?,
        value: SecretString::from(whole),
        source: secret_source(table).into(),
    })
}

/// Where a secret comes from, never what it is.
fn secret_source(table: &Table<'_>) -> String {
    let source = table.pairs("value").into_iter().next();
    let place = source.map(|(source, _, item)| (source, values::line(item.value)));
    match place {
        Some(("env", Ok(name))) => format!("environment variable `{name}`"),
        Some(("file", Ok(path))) => format!("file `{path}`"),
        _ => String::new(),
    }
}

// --- resilience ---

/// `breaker` of an upstream or a route.
pub(super) fn breaker(table: &Table<'_>) -> BreakerConfig {
    let mut breaker = BreakerConfig {
        enabled: table.flag("enabled"),
        failure_percent: table.count("failure_percent"),
        slow_percent: table.count("slow_percent"),
        slow_after: table.duration("slow_after"),
        consecutive_failures: table.count("consecutive_failures"),
        min_calls: table.count("min_calls"),
        window_calls: table.count("window_calls"),
        window: table.duration("window"),
        open_for: table.duration("open_for"),
        open_for_max: table.duration("open_for_max"),
        open_for_max_after: table.duration("open_for_max_after"),
        probes: table.count("probes"),
        probe_calls: table.count("probe_calls"),
        probe_success_percent: table.count("probe_success_percent"),
    };
    // Whoever asks for a long first rest alone means it.
    if !table.is_written("open_for_max") {
        breaker.open_for_max = breaker.open_for_max.max(breaker.open_for);
    }
    check_order(
        table,
        "open_for",
        breaker.open_for,
        "open_for_max",
        breaker.open_for_max,
    );
    breaker
}

fn retry(table: &Table<'_>) -> RetryConfig {
    let retry = RetryConfig {
        retries_max: table.count("retries_max"),
        retries_max_stale: table.count("retries_max_stale"),
        backoff_min: table.duration("backoff_min"),
        backoff_max: table.duration("backoff_max"),
        attempt_min: table.duration("attempt_min"),
        budget_percent: table.count("budget_percent"),
        budget_min_per_second: table.count("budget_min_per_second"),
        budget_window: table.duration("budget_window"),
        idempotency_header: table.read("idempotency_header", optional_header).flatten(),
        body_bytes_max: table.size("body_bytes_max"),
    };
    check_order(
        table,
        "backoff_min",
        retry.backoff_min,
        "backoff_max",
        retry.backoff_max,
    );
    retry
}

/// A field name, or none for `""`.
fn optional_header(value: &DeValue<'_>) -> Parsed<Option<HeaderName>> {
    if values::text(value)?.is_empty() {
        return Ok(None);
    }
    let name = header_name(value)?;
    check_editable(&name).map(|()| Some(name))
}

fn ejection(table: &Table<'_>, endpoints: usize) -> EjectionConfig {
    let ejection = EjectionConfig {
        enabled: table.optional_flag("enabled").unwrap_or(endpoints > 1),
        consecutive_failures: table.count("consecutive_failures"),
        eject_for: table.duration("eject_for"),
        eject_for_max: table.duration("eject_for_max"),
        percent_max: table.count("percent_max"),
    };
    check_order(
        table,
        "eject_for",
        ejection.eject_for,
        "eject_for_max",
        ejection.eject_for_max,
    );
    if endpoints == 1 && ejection.enabled {
        table.warning(
            "enabled",
            "has no effect on a single endpoint: it is never left out",
        );
    }
    ejection
}

fn health(table: &Table<'_>) -> HealthConfig {
    let health = HealthConfig {
        path: table
            .read("path", health_path)
            .unwrap_or_else(|| PathAndQuery::from_static("/")),
        every: table.duration("every"),
        timeout: table.duration("timeout"),
        expect: status_set(table, "expect"),
        body_contains: table.text("body_contains"),
        body_bytes_max: table.size("body_max"),
        unhealthy_after: table.count("unhealthy_after"),
        healthy_after: table.count("healthy_after"),
    };
    if let Some(text) = &health.body_contains
        && text.len() as u64 > health.body_bytes_max
    {
        table.error(
            "body_contains",
            "is longer than `body_max`, so it is never found",
        );
    }
    health
}

fn health_path(value: &DeValue<'_>) -> Parsed<PathAndQuery> {
    let text = values::line(value)?;
    let bad = || Complaint::new(format!("`{text}` is not a path")).hint("as in \"/health\"");
    if !text.starts_with('/') || text.contains('#') {
        return Err(bad());
    }
    text.parse().map_err(|_| bad())
}

/// `low <= high`, reported at the one that is written.
fn check_order(table: &Table<'_>, low: &str, at_low: Duration, high: &str, at_high: Duration) {
    if at_low <= at_high {
        return;
    }
    match table.is_written(low) {
        true => table.error(low, format!("is longer than `{high}`")),
        false => table.error(high, format!("is shorter than `{low}`")),
    }
    .hint(format!("set both `{low}` and `{high}`"));
}

fn status_set(table: &Table<'_>, name: &str) -> StatusSet {
    let mut set = StatusSet::none();
    for codes in table.list(name, statuses) {
        codes.for_each(|code| set.insert(code));
    }
    set
}

fn statuses(value: &DeValue<'_>) -> Parsed<std::ops::RangeInclusive<u16>> {
    let hint = "codes and classes: [\"5xx\", 429]";
    if let DeValue::String(text) = value {
        let class = match text.as_bytes() {
            [digit @ b'2'..=b'5', b'x' | b'X', b'x' | b'X'] => u16::from(digit - b'0') * 100,
            _ => {
                let message = format!("`{text}` is not a class of statuses");
                return Err(Complaint::new(message).hint(hint));
            }
        };
        return Ok(class..=class + 99);
    }
    let code = values::count(value, 200, 599).map_err(|complaint| complaint.hint(hint))?;
    let code = code as u16;
    Ok(code..=code)
}
