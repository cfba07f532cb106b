//! From a compiled config, and the file as it is written, to pages. Pure.

use std::collections::HashSet;

use http::Method;
use toml::{Table, Value};

use super::{
    model::{Auth, Endpoint, Page, Relied, Route},
    relied::relied,
};
use crate::{
    cache::short,
    config::{
        ApiVersion, BreakerConfig, Config, HealthConfig, HostPattern, PinnedVersion, Policy,
        RouteConfig, StatusSet, UpstreamConfig, UpstreamHost, UpstreamProtocol,
        template::PathRewrite,
    },
    http::method::is_safe,
};

/// A page for each upstream, in the order of the config. `file` is the config's text as tables; `read` a file beside it.
pub(super) fn pages(
    config: &Config,
    file: &Table,
    read: &dyn Fn(&str) -> Option<String>,
) -> Vec<Page> {
    // One table stands for a list of one.
    let written = match file.get("route") {
        Some(Value::Array(list)) => list.as_slice(),
        Some(table) => std::slice::from_ref(table),
        None => &[],
    };
    let mut taken = HashSet::from(["readme.md".to_owned()]);
    let mut pages = Vec::new();
    for upstream in &config.upstreams {
        // Both lists have the routes in the order of the file.
        let theirs = config.routes.iter().enumerate();
        let theirs = theirs.filter(|(_, route)| route.upstream.name == upstream.name);
        let routes = theirs.map(|(index, route)| {
            let table = written.get(index).and_then(|table| table.as_table());
            let relied = table.map_or_else(Relied::default, |table| relied(table, read));
            self::route(route, relied)
        });
        pages.push(Page {
            file: file_name(&upstream.name, &mut taken),
            routes: routes.collect(),
            ..page(upstream)
        });
    }
    pages
}

/// A name that every file system takes; names of upstreams have no other characters than letters, digits, `-`, `_`, `.`.
fn file_name(name: &str, taken: &mut HashSet<String>) -> String {
    let stem = match name.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => name.to_owned(),
    };
    let mut file = format!("{stem}.md");
    let mut nth = 2;
    // Some file systems do not tell letter cases apart.
    while !taken.insert(file.to_ascii_lowercase()) {
        file = format!("{stem}-{nth}.md");
        nth += 1;
    }
    file
}

fn page(upstream: &UpstreamConfig) -> Page {
    let endpoints = upstream.endpoints.iter().map(|endpoint| Endpoint {
        url: endpoint.uri.to_string().trim_end_matches('/').to_owned(),
        priority: endpoint.priority,
    });
    let auth = upstream.credentials.iter().map(|credential| Auth {
        header: credential.header.to_string(),
        source: credential.source.to_string(),
    });
    Page {
        name: upstream.name.to_string(),
        file: String::new(),
        owner: upstream.owner.clone(),
        runbook: upstream.runbook.clone(),
        review_by: upstream.review_by.map(|day| day.to_string()),
        endpoints: endpoints.collect(),
        connection: connection(upstream),
        auth: auth.collect(),
        limits: limits(upstream),
        failing: failing(upstream),
        version: upstream.api_version.as_deref().map(version),
        routes: Vec::new(),
    }
}

// --- The upstream ---

fn connection(upstream: &UpstreamConfig) -> Vec<String> {
    let mut lines = vec![
        match upstream.protocol {
            UpstreamProtocol::Auto => {
                "HTTP/1.1 or HTTP/2, as both sides agree over TLS; HTTP/1.1 in the clear."
            }
            UpstreamProtocol::Http1 => "HTTP/1.1.",
            UpstreamProtocol::Http2 => "HTTP/2.",
        }
        .to_owned(),
    ];
    match &upstream.host {
        UpstreamHost::Endpoint => {}
        UpstreamHost::Preserve => lines.push("It sees the `Host` that the client sent.".to_owned()),
        UpstreamHost::Fixed(host) => {
            let host = String::from_utf8_lossy(host.as_bytes()).into_owned();
            lines.push(format!("It sees the `Host` `{host}`."));
        }
    }
    if upstream.ca_file.is_some() {
        lines.push("Its certificate is signed by an authority of its own (`ca_file`).".to_owned());
    }
    lines.push(match &upstream.health {
        Some(health) => health_check(health),
        None => "No health checks.".to_owned(),
    });
    lines
}

fn health_check(health: &HealthConfig) -> String {
    format!(
        "Each endpoint is asked for `{}` every {}; {} failed checks in a row leave it out.",
        health.path,
        short(health.every),
        health.unhealthy_after
    )
}

fn limits(upstream: &UpstreamConfig) -> Vec<String> {
    let mut lines = Vec::new();
    match &upstream.quota {
        Some(quota) => lines.push(format!(
            "At most {} requests in {}, {} of them at once (`quota`); who has nothing else comes first.",
            quota.rate.count,
            short(quota.rate.per),
            quota.burst
        )),
        None => lines.push("No quota is configured.".to_owned()),
    }
    lines.push(match upstream.quota_headers {
        true => "What its answers say of its limits is heeded.".to_owned(),
        false => "What its answers say of its limits is not heeded (`quota_headers`).".to_owned(),
    });
    lines.push(match upstream.adaptive {
        Some(_) => format!(
            "At most {} requests with it at once, fewer while it is slow (`adaptive`).",
            upstream.in_flight_max
        ),
        None => format!(
            "At most {} requests with it at once.",
            upstream.in_flight_max
        ),
    });
    lines
}

fn failing(upstream: &UpstreamConfig) -> Vec<String> {
    let retry = &upstream.retry;
    let mut lines = vec![format!(
        "An attempt takes at most {} ({} where a stored copy stands behind), a connection at most {}.",
        short(upstream.attempt_timeout),
        short(upstream.attempt_timeout.min(upstream.attempt_timeout_stale)),
        short(upstream.connect_timeout)
    )];
    lines.push(format!(
        "A failed attempt is tried again {} where nothing is stored, {} where a copy stands behind, within a budget of {} % of all requests.",
        times(retry.retries_max),
        times(retry.retries_max_stale),
        retry.budget_percent
    ));
    lines.push(breaker("It", &upstream.breaker));
    let failures = statuses(&upstream.failures);
    lines.push(format!("These statuses are failures: {failures}."));
    lines
}

fn times(count: u32) -> String {
    match count {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        count => format!("up to {count} times"),
    }
}

fn breaker(whose: &str, breaker: &BreakerConfig) -> String {
    if !breaker.enabled {
        return format!("{whose} is asked however it fails (`breaker.enabled = false`).");
    }
    format!(
        "{whose} is left alone after {} failures in a row, or when {} % of at least {} calls within {} failed or {} % took longer than {}: first for {}, at most for {} at a time.",
        breaker.consecutive_failures,
        breaker.failure_percent,
        breaker.min_calls,
        short(breaker.window),
        breaker.slow_percent,
        short(breaker.slow_after),
        short(breaker.open_for),
        short(breaker.open_for_max)
    )
}

/// `500-599, 429` in the order of their numbers.
fn statuses(set: &StatusSet) -> String {
    let contains = |code: u16| http::StatusCode::from_u16(code).is_ok_and(|it| set.contains(it));
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for code in (200..600).filter(|code| contains(*code)) {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == code => *end = code,
            _ => ranges.push((code, code)),
        }
    }
    let shown = ranges.iter().map(|(start, end)| match (start, end) {
        (start, end) if start == end => start.to_string(),
        (start, end) if start % 100 == 0 && *end == start + 99 => format!("{}xx", start / 100),
        (start, end) => format!("{start} to {end}"),
    });
    let shown: Vec<_> = shown.collect();
    match shown.is_empty() {
        true => "none".to_owned(),
        false => shown.join(", "),
    }
}

fn version(pinned: &ApiVersion) -> String {
    let text = pinned.text();
    let how = match &pinned.pin {
        PinnedVersion::Header {
            name, send: true, ..
        } => format!("sent as `{name}`"),
        PinnedVersion::Header { .. } => "not sent: the vendor knows it from the account".to_owned(),
        PinnedVersion::Path { .. } => "a segment of its paths".to_owned(),
    };
    let compared = match &pinned.answer {
        Some(answer) => format!("; its answers say theirs in `{answer}`"),
        None => String::new(),
    };
    format!("Version `{text}` is pinned, {how}{compared}.")
}

// --- A route ---

fn route(route: &RouteConfig, relied: Relied) -> Route {
    let is_own = |own: &std::sync::Arc<ApiVersion>| {
        let upstreams = route.upstream.api_version.as_ref();
        upstreams.is_none_or(|known| !std::sync::Arc::ptr_eq(known, own))
    };
    let own = route.api_version.as_ref().filter(|own| is_own(own));
    Route {
        name: route.name.to_string(),
        asked: asked(route),
        sent: sent(route),
        sends: sends(route),
        version: own.map(|own| version(own)),
        promise: promise(route),
        ladder: ladder(route),
        relied,
    }
}

fn asked(route: &RouteConfig) -> String {
    let methods = match &route.methods {
        Some(methods) => methods
            .iter()
            .map(Method::as_str)
            .collect::<Vec<_>>()
            .join(" "),
        None => "any method".to_owned(),
    };
    let hosts = route.hosts.iter().map(|host| match host {
        HostPattern::Exact(name) => name.to_string(),
        HostPattern::Suffix(suffix) => format!("*{suffix}"),
    });
    let hosts: Vec<_> = hosts.collect();
    format!("{methods} {}{}", hosts.join("|"), route.path)
}

/// The path that the upstream sees, below the path of the endpoint.
fn sent(route: &RouteConfig) -> String {
    match &route.rewrite {
        PathRewrite::Unchanged => route.path.to_string(),
        PathRewrite::Template(template) => template.to_string(),
        PathRewrite::StripPrefix(prefix) => {
            let path = route.path.to_string();
            let rest = path.strip_prefix(&**prefix).unwrap_or(&path);
            match rest.starts_with('/') {
                true => rest.to_owned(),
                false => format!("/{rest}"),
            }
        }
    }
}

fn sends(route: &RouteConfig) -> Vec<String> {
    let mut lines = Vec::new();
    let names = |names: Vec<String>| {
        let codes = names.into_iter().map(|name| format!("`{name}`"));
        codes.collect::<Vec<_>>().join(", ")
    };
    let edits = &route.request_headers;
    if !edits.remove.is_empty() {
        let removed = edits.remove.iter().map(ToString::to_string).collect();
        lines.push(format!("Not sent on: {}.", names(removed)));
    }
    let added = edits.set.iter().chain(&edits.add);
    let added: Vec<_> = added.map(|(name, _)| name.to_string()).collect();
    if !added.is_empty() {
        lines.push(format!("Sent in addition: {}.", names(added)));
    }
    if let Some(header) = &route.deadline_header {
        lines.push(format!("Each attempt says in `{header}` how long it has."));
    }
    if let Some(own) = &route.breaker {
        lines.push(breaker("By this route it", own));
    }
    lines
}

/// What a client is promised, from fresh to gone.
fn promise(route: &RouteConfig) -> Vec<String> {
    if !reads(route) {
        return vec!["Writes are passed on, and nothing is stored.".to_owned()];
    }
    let policy = &*route.policy;
    let mut lines = vec![fresh(policy)];
    if !policy.stale_while_revalidate.is_zero() {
        lines.push(format!(
            "For {} after that visitors get it at once while it is renewed behind.",
            short(policy.stale_while_revalidate)
        ));
    }
    if policy.max_stale.is_zero() {
        lines.push("In an outage nothing stale is served.".to_owned());
    } else {
        lines.push(format!(
            "Then the vendor is asked first, and visitors wait at most {} while a copy is at hand.",
            short(policy.stale_after)
        ));
        lines.push(format!(
            "In an outage a copy is served for {} after it was no longer fresh.",
            short(policy.max_stale)
        ));
    }
    for (statuses, lifetime) in policy.negative.iter() {
        let statuses = match (statuses.start(), statuses.end()) {
            (start, end) if start == end => start.to_string(),
            (start, _) => format!("{}xx", start / 100),
        };
        lines.push(format!(
            "An error {statuses} is answered from the store for {}.",
            short(lifetime)
        ));
    }
    lines.push(format!(
        "Without a copy visitors wait at most {}.",
        short(route.deadline)
    ));
    if route.drill_percent > 0 {
        lines.push(format!(
            "An outage is rehearsed on {} % of the requests for a stale copy.",
            route.drill_percent
        ));
    }
    lines
}

fn fresh(policy: &Policy) -> String {
    let mut line = match (policy.fresh, policy.override_origin) {
        (Some(fresh), true) => format!("Fresh for {}, whatever the vendor says", short(fresh)),
        (Some(fresh), false) => format!("Fresh as the vendor says, else for {}", short(fresh)),
        (None, true) => "Fresh as the vendor says, also where it forbids to store".to_owned(),
        (None, false) => "Fresh as the vendor says".to_owned(),
    };
    match (policy.fresh_min, policy.fresh_max) {
        (Some(min), Some(max)) => {
            line.push_str(&format!(", from {} to {}", short(min), short(max)));
        }
        (Some(min), None) => line.push_str(&format!(", at least {}", short(min))),
        (None, Some(max)) => line.push_str(&format!(", at most {}", short(max))),
        (None, None) => {}
    }
    line.push_str(&format!(" (policy `{}`).", policy.name));
    line
}

/// Whether anything it takes can be answered from the store.
fn reads(route: &RouteConfig) -> bool {
    route.methods.as_ref().is_none_or(|methods| {
        let mut methods = methods.iter();
        methods.any(|method| is_safe(method) || (route.cache_post && *method == Method::POST))
    })
}

/// What visitors see while the vendor fails, the first that there is.
fn ladder(route: &RouteConfig) -> Vec<String> {
    let mut steps = Vec::new();
    let does_read = reads(route);
    if does_read && !route.policy.max_stale.is_zero() {
        steps.push(format!(
            "the last good answer, up to {} after it was fresh",
            short(route.policy.max_stale)
        ));
    }
    if does_read && let Some(sibling) = &route.sibling {
        steps.push(format!("what is stored for `{}`", sibling.as_str()));
    }
    if does_read && let Some(fallback) = &route.fallback {
        let content_type = String::from_utf8_lossy(fallback.content_type.as_bytes());
        steps.push(format!(
            "a document of this site ({}, {content_type})",
            fallback.status.as_u16()
        ));
    } else {
        steps.push("the vendor's own error, if it sent one".to_owned());
        steps.push(match &route.message {
            Some(message) => format!("an error page (502, 503 or 504) that says: {message}"),
            None => "an error page (502, 503 or 504) in general words".to_owned(),
        });
    }
    steps
}

#[cfg(test)]
#[path = "gather_tests.rs"]
mod tests;
