//! `[[route]]`: which request goes where; and that no two routes want the same one.

use std::{collections::HashMap, ops::Range, path::Path, sync::Arc};

use http::{HeaderValue, Method, StatusCode, header};
use toml::de::DeValue;

use super::{
    headers, process::rate_limit, report_unknown_name, rules, sibling, tags,
    upstream::breaker as breaker_of, version,
};
use crate::{
    config::{
        Document, Fallback, ForwardedPolicy, HedgeConfig, HostPattern, KeyConfig, ParameterPattern,
        Policy, QueryKey, RouteConfig, UpstreamConfig, UpstreamHost, UpstreamProtocol,
        reader::Table,
        template::{PathRewrite, PathTemplate},
        values::{self, Complaint, Parsed, listed, nearest},
    },
    http::uri::normalize_query,
};

/// A fallback is held in memory for each route.
const FALLBACK_BYTES_MAX: usize = 1 << 20;

pub(super) fn routes(
    root: &Table<'_>,
    upstreams: &[Arc<UpstreamConfig>],
    policies: &[Arc<Policy>],
) -> Vec<Arc<RouteConfig>> {
    let tables = root.tables("route");
    if tables.is_empty()
        && root
            .item("route")
            .is_none_or(|item| matches!(item.value, DeValue::Array(_)))
    {
        root.error("route", "there is no route")
            .hint("add `[[route]]` with `path = \"/{*rest}\"` and `upstream = \"NAME\"`");
    }
    let mut claims = Vec::new();
    let (mut routes, mut compiled) = (Vec::new(), Vec::new());
    for (index, table) in tables.into_iter().enumerate() {
        let label = label(&table, index);
        let table = table.renamed(format!("route.{label}"));
        let draft = Draft::read(&table);
        if let Some(claim) = draft.claim(&table) {
            claims.push(claim);
        }
        if let Some(route) = compile(&table, draft, upstreams, policies) {
            routes.push(route);
            compiled.push(table);
        }
    }
    check_names(root, &claims);
    check_overlaps(root, &claims);
    if !root.cx.findings.has_errors() {
        sibling::resolve(&mut routes, &compiled);
        rules::check_datasets(&routes, &compiled);
    }
    routes.into_iter().map(Arc::new).collect()
}

/// How messages call a route: its name, or its number in the file from 1.
fn label(table: &Table<'_>, index: usize) -> String {
    let name = table.item("name").map(|item| values::line(item.value));
    match name {
        Some(Ok(name)) => name,
        _ => format!("#{}", index + 1),
    }
}

/// What a route is found by.
struct Draft {
    name: Option<Arc<str>>,
    hosts: Vec<HostPattern>,
    path: Option<PathTemplate>,
    methods: Option<Vec<Method>>,
}

impl Draft {
    fn read(table: &Table<'_>) -> Self {
        let path = table.read("path", |value| {
            let text = values::line(value)?;
            PathTemplate::parse(&text).map_err(|error| Complaint::new(error.to_string()))
        });
        let name = table.read("name", name);
        let by_path = || path.as_ref().map(PathTemplate::to_string);
        Self {
            name: name.or_else(by_path).map(Arc::from),
            hosts: table.list("host", host),
            methods: methods(table),
            path,
        }
    }

    fn claim(&self, table: &Table<'_>) -> Option<Claim> {
        Some(Claim {
            name: self.name.clone()?,
            hosts: self.hosts.clone(),
            shape: self.path.as_ref()?.shape(),
            methods: self.methods.clone(),
            name_span: table.span_of(if table.is_written("name") {
                "name"
            } else {
                "path"
            }),
            path_span: table.span_of("path"),
        })
    }
}

fn compile(
    table: &Table<'_>,
    draft: Draft,
    upstreams: &[Arc<UpstreamConfig>],
    policies: &[Arc<Policy>],
) -> Option<RouteConfig> {
    let upstream = table.text("upstream").and_then(|name| {
        let found = upstreams.iter().find(|upstream| *upstream.name == *name);
        if found.is_none() {
            let known = || upstreams.iter().map(|upstream| &*upstream.name);
            report_unknown_name(table, "upstream", &name, known);
        }
        found.cloned()
    });
    let policy = table.text("policy").and_then(|name| {
        let found = policies.iter().find(|policy| *policy.name == *name);
        if found.is_none() {
            let known = || policies.iter().map(|policy| &*policy.name);
            report_unknown_name(table, "policy", &name, known);
        }
        found.cloned()
    });
    let deadline = table.duration("deadline");
    let attempt_timeout = table.optional_duration("attempt_timeout");
    if attempt_timeout.is_some_and(|timeout| timeout > deadline) {
        let message = "is longer than the route's `deadline`, which ends every attempt first";
        table.warning("attempt_timeout", message);
    }
    let slow_after = table.optional_duration("slow_after");
    let breaker = table.optional_table("breaker");
    let own_slow_after = breaker
        .as_ref()
        .filter(|breaker| breaker.is_written("slow_after"));
    if let (Some(breaker), Some(_)) = (own_slow_after, slow_after) {
        breaker.warning(
            "slow_after",
            "has no effect beside the route's `slow_after`",
        );
    }
    let own_slow_after = own_slow_after.map(|breaker| breaker.duration("slow_after"));
    let breaker = breaker.map(|table| breaker_of(&table));
    let rewrite = rewrite(table, draft.path.as_ref());
    let api_version = version::of_route(table, draft.path.as_ref(), &rewrite, upstream.as_deref());
    let request_headers = headers::edits(&table.table("request_headers"));
    let response_headers = headers::edits(&table.table("response_headers"));
    let fallback = table.optional_table("fallback");
    let fallback = fallback.and_then(|table| self::fallback(&table, draft.path.as_ref()));
    let sibling = sibling::read(table, draft.path.as_ref());
    let message = table.text("message").map(Arc::from);
    let whole_bytes_max = table.size("whole_bytes_max");
    let hold_back = table.duration("hold_back");
    let cache_post = table.flag("cache_post");
    let takes_post = draft.methods.as_ref();
    if cache_post && takes_post.is_some_and(|methods| !methods.contains(&Method::POST)) {
        table.warning("cache_post", "changes nothing: `methods` lists no POST");
    }
    let tags = tags::tags(table, draft.path.as_ref());
    let key = key(&table.table("key"), &draft.hosts, upstream.as_deref());
    let upgrade = upgrade(table, upstream.as_deref());
    let upgrade_idle_timeout = table.duration("upgrade_idle_timeout");
    let deadline_header = table.read("deadline_header", |value| {
        let name = headers::header_name(value)?;
        headers::check_editable(&name).map(|()| name)
    });
    let hedge = table.optional_table("hedge");
    let hedge = hedge.map(|table| self::hedge(&table));
    let contract = super::contract::contract(table);
    let drift = super::drift::drift(table);
    let upstream = upstream?;
    if upstream.retry.attempt_min >= deadline && upstream.retry.retries_max > 0 {
        let message = "leaves no time for a retry: `retry.attempt_min` of its upstream is as long";
        table.warning("deadline", message);
    }
    Some(RouteConfig {
        name: draft.name?,
        hosts: draft.hosts,
        path: draft.path?,
        methods: draft.methods,
        policy: policy?,
        deadline,
        attempt_timeout: attempt_timeout.unwrap_or(upstream.attempt_timeout),
        deadline_header,
        hedge,
        requests_max: table.optional_count("requests_max"),
        rate: rate_limit(table, "rate", "burst"),
        slow_after: slow_after
            .or(own_slow_after)
            .unwrap_or(upstream.breaker.slow_after),
        breaker,
        key,
        rewrite,
        api_version: api_version.or_else(|| upstream.api_version.clone()),
        upgrade,
        upgrade_idle_timeout,
        forwarded: match table.word("forwarded") {
            "forwarded" => ForwardedPolicy::Forwarded,
            "x-forwarded" => ForwardedPolicy::XForwarded,
            "keep" => ForwardedPolicy::Keep,
            _ => ForwardedPolicy::Off,
        },
        request_headers,
        response_headers,
        sibling,
        fallback,
        drill_percent: table.count("drill_percent"),
        message,
        whole_bytes_max,
        hold_back,
        no_vary_search: table.flag("no_vary_search"),
        cache_post,
        graphql: table.flag("graphql"),
        contract,
        drift,
        content_bytes_max: table.size("content_max"),
        tags,
        written: table.written(),
        upstream,
    })
}

fn hedge(table: &Table<'_>) -> HedgeConfig {
    let hedge = HedgeConfig {
        percentile: table.count("percentile"),
        delay_min: table.duration("delay_min"),
        window: table.duration("window"),
        samples_min: table.count("samples_min"),
        samples_max: table.count("samples_max"),
    };
    if hedge.samples_min > hedge.samples_max {
        table
            .error(
                "samples_min",
                "is more than `samples_max`, so that nothing would ever be hedged",
            )
            .hint("set both `samples_min` and `samples_max`");
    }
    hedge
}

// --- what it is found by ---

fn name(value: &DeValue<'_>) -> Parsed<String> {
    let name = values::line(value)?;
    if name.len() > 128 {
        return Err(Complaint::new("is longer than 128 bytes"));
    }
    Ok(name)
}

fn host(value: &DeValue<'_>) -> Parsed<HostPattern> {
    let text = values::line(value)?.to_ascii_lowercase();
    let complain = |message: String, hint: &str| Err(Complaint::new(message).hint(hint));
    let text = text.strip_suffix('.').unwrap_or(&text);
    let (suffix, name) = match text.strip_prefix('*') {
        Some(suffix) => (Some(suffix), suffix.strip_prefix('.').unwrap_or("")),
        None => (None, text),
    };
    let is_v6 = name.starts_with('[') && name.ends_with(']');
    if !is_v6 && name.contains(':') {
        let message = format!("`{text}` has a port or a scheme");
        return complain(
            message,
            "write the name only; hosts are compared without their port",
        );
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_v6_address = |name: &str| {
        name[1..name.len() - 1]
            .parse::<std::net::Ipv6Addr>()
            .is_ok()
    };
    let is_valid = if is_v6 {
        suffix.is_none() && is_v6_address(name)
    } else {
        !name.is_empty() && name.chars().all(is_name) && !name.split('.').any(str::is_empty)
    };
    if !is_valid {
        let message = format!("`{text}` is not a host");
        return complain(message, "write \"shop.example\" or \"*.shop.example\"");
    }
    Ok(match suffix {
        Some(suffix) => HostPattern::Suffix(suffix.into()),
        None => HostPattern::Exact(name.into()),
    })
}

fn methods(table: &Table<'_>) -> Option<Vec<Method>> {
    if !table.is_written("methods") {
        return None;
    }
    let mut methods = Vec::new();
    for method in table.list("methods", method) {
        if !methods.contains(&method) {
            methods.push(method);
        }
    }
    if matches!(table.item("methods")?.value, DeValue::Array(list) if list.is_empty()) {
        table
            .error("methods", "is empty, so nothing would match")
            .hint("leave it out for all methods");
    }
    // RFC 9110 9.3.2: HEAD is GET without the content.
    if methods.contains(&Method::GET) && !methods.contains(&Method::HEAD) {
        methods.push(Method::HEAD);
    }
    Some(methods)
}

fn method(value: &DeValue<'_>) -> Parsed<Method> {
    let text = values::line(value)?;
    let upper = text.to_ascii_uppercase();
    let is_standard = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    if upper != text && is_standard.contains(&&*upper) {
        let complaint = Complaint::new("methods are case-sensitive (RFC 9110 9.1)");
        return Err(complaint.hint(format!("write \"{upper}\"")));
    }
    if matches!(&*upper, "TRACE" | "CONNECT") {
        return Err(Complaint::new(format!("{upper} is never passed on")).hint("leave it out"));
    }
    Method::from_bytes(text.as_bytes())
        .map_err(|_| Complaint::new(format!("`{text}` is not a method")))
}

// --- what happens to it ---

fn rewrite(table: &Table<'_>, path: Option<&PathTemplate>) -> PathRewrite {
    if table.is_written("strip_prefix") && table.is_written("rewrite") {
        table
            .error("rewrite", "and `strip_prefix` cannot both be set")
            .related(&table.span_of("strip_prefix"), "`strip_prefix`")
            .hint("`rewrite` builds the whole path; leave `strip_prefix` out");
        return PathRewrite::Unchanged;
    }
    let Some(path) = path else {
        return PathRewrite::Unchanged;
    };
    let known = || match path.parameter_names().next() {
        Some(_) => format!("parameters of the path: {}", listed(path.parameter_names())),
        None => "the path has no parameters".to_owned(),
    };
    let strip = table.read("strip_prefix", |value| {
        PathRewrite::strip_prefix(&values::line(value)?, path).map_err(|error| {
            let literal = path.literal_prefix();
            Complaint::new(error.to_string()).hint(format!(
                "every path of this route starts with `{literal}/`; strip whole segments of that"
            ))
        })
    });
    let rewrite = table.read("rewrite", |value| {
        PathRewrite::template(&values::line(value)?, path)
            .map_err(|error| Complaint::new(error.to_string()).hint(known()))
    });
    strip.or(rewrite).unwrap_or_default()
}

/// RFC 9110 7.8, 16.7.
fn upgrade(table: &Table<'_>, upstream: Option<&UpstreamConfig>) -> Vec<Box<str>> {
    let protocols = table.list("upgrade", protocol);
    let is_http2_only = |it: &UpstreamConfig| it.protocol == UpstreamProtocol::Http2;
    if !protocols.is_empty() && upstream.is_some_and(is_http2_only) {
        table
            .error("upgrade", "needs an upstream that speaks HTTP/1.1")
            .hint("HTTP/2 has no upgrade; set the upstream's `protocol` to \"auto\" or \"http1\"");
    }
    protocols
}

fn protocol(value: &DeValue<'_>) -> Parsed<Box<str>> {
    let text = values::line(value)?;
    let (name, version) = text.split_once('/').unwrap_or((&text, "1"));
    let is_token = |part: &str| {
        let is_tchar = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        !part.is_empty() && part.chars().all(is_tchar)
    };
    if !is_token(name) || !is_token(version) {
        let complaint = Complaint::new(format!("`{text}` is not a protocol"));
        return Err(complaint.hint("write \"websocket\", or a name and a version: \"irc/6.9\""));
    }
    if ["h2c", "http", "tls"]
        .iter()
        .any(|it| name.eq_ignore_ascii_case(it))
    {
        return Err(Complaint::new(format!(
            "`{text}` would carry further requests past every rule of this file"
        ))
        .hint("clients may speak HTTP/2 to larder itself"));
    }
    Ok(text.into())
}

fn key(table: &Table<'_>, hosts: &[HostPattern], upstream: Option<&UpstreamConfig>) -> KeyConfig {
    let sees_host = upstream.is_some_and(|upstream| upstream.host == UpstreamHost::Preserve);
    let host = table
        .optional_flag("host")
        .unwrap_or(sees_host || !hosts.is_empty());
    if sees_host && !host {
        table
            .error(
                "host",
                "the upstream sees the client's host, so it has to tell answers apart",
            )
            .hint("leave `host` out of the key, or take `host = \"preserve\"` from the upstream");
    }
    let headers = table.list("headers", headers::header_name);
    let cookies = table
        .is_written("cookies")
        .then(|| table.list("cookies", cookie_name));
    if cookies.is_some() && headers.contains(&header::COOKIE) {
        table
            .error("headers", "names `Cookie`, and `cookies` picks from it")
            .related(&table.span_of("cookies"), "`cookies`")
            .hint("leave one of them out");
    }
    KeyConfig {
        query: query(table),
        headers,
        cookies,
        host,
        scheme: table.flag("scheme"),
    }
}

/// RFC 6265 4.1.1: a cookie's name is a token.
fn cookie_name(value: &DeValue<'_>) -> Parsed<Box<str>> {
    let name = values::line(value)?;
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(is_token) {
        return Err(Complaint::new(format!("`{name}` is not a cookie's name")));
    }
    Ok(name.into())
}

fn query(table: &Table<'_>) -> QueryKey {
    match table.item("query").map(|item| item.value) {
        Some(DeValue::Array(_)) => {
            let mut names = table.list("query", parameter_name);
            names.sort_unstable();
            names.dedup();
            QueryKey::Only(names)
        }
        Some(DeValue::Table(_)) => QueryKey::Except(ignored(table)),
        _ => {
            let word = table.read("query", |value| match values::text(value)?.as_str() {
                "all" => Ok(QueryKey::Whole),
                "sorted" => Ok(QueryKey::Sorted),
                other => Err(Complaint::new(format!(
                    "`{other}` is neither \"all\" nor a list of names, nor \"sorted\""
                ))
                .hint(format!("write [\"{other}\"]"))),
            });
            word.unwrap_or(QueryKey::Whole)
        }
    }
}

/// `query = { ignore = […] }`
fn ignored(table: &Table<'_>) -> Vec<ParameterPattern> {
    let mut patterns = Vec::new();
    let mut is_written = false;
    for (name, span, item) in table.pairs("query") {
        if name != "ignore" {
            let findings = &table.cx.findings;
            findings
                .error(&item.key, &span, "unknown key")
                .hint("known keys here: `ignore`");
            continue;
        }
        is_written = true;
        for element in item.elements() {
            match parameter_pattern(element.value) {
                Ok(pattern) => patterns.push(pattern),
                Err(complaint) => element.complain(complaint),
            }
        }
    }
    if !is_written {
        table
            .error("query", "says nothing about parameters")
            .hint("write { ignore = [\"utm_*\"] }");
    }
    patterns
}

fn parameter_pattern(value: &DeValue<'_>) -> Parsed<ParameterPattern> {
    let name = parameter_name(value)?;
    match name.find('*') {
        None => Ok(ParameterPattern::Exact(name)),
        Some(at) if at + 1 == name.len() => Ok(ParameterPattern::Prefix(name[..at].into())),
        Some(_) => Err(Complaint::new(format!("`{name}`: a star can only be last"))),
    }
}

/// A parameter's name as it stands in a query: percent-encoded where it has to be, in the spelling that keys use.
fn parameter_name(value: &DeValue<'_>) -> Parsed<Box<str>> {
    let name = values::line(value)?;
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_graphic() && !b"\"#&<=>\\^`{|}".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(normalize_query(&encoded).into())
}

fn fallback(table: &Table<'_>, path: Option<&PathTemplate>) -> Option<Fallback> {
    let status = table.count::<u16>("status");
    let content_type = table.read("content_type", |value| {
        HeaderValue::from_str(&values::line(value)?)
            .map_err(|_| Complaint::new("cannot stand in a header field"))
    });
    let (file, bytes) = table.file("body")?;
    if bytes.len() > FALLBACK_BYTES_MAX {
        table.error("body", "is larger than 1 MiB");
    }
    let content_type = content_type.unwrap_or_else(|| content_type_of(&file));
    let document = match Document::new(bytes.into(), &content_type, path) {
        Ok(document) => document,
        Err(error) => {
            table.error("body", error.to_string());
            return None;
        }
    };
    warn_of_words_in_braces(table, &document, path);
    Some(Fallback {
        status: StatusCode::from_u16(status).unwrap_or_default(),
        content_type,
        document,
    })
}

/// Braces are common in documents; only a word that is nearly a parameter, or would be one in a document of another type, is
/// worth a warning.
fn warn_of_words_in_braces(table: &Table<'_>, document: &Document, path: Option<&PathTemplate>) {
    let known = || path.into_iter().flat_map(PathTemplate::parameter_names);
    let mut others = document.others_in_braces();
    let near = others.find_map(|word| Some((word, nearest(word, known())?)));
    match near {
        Some((word, near)) if word == near => {
            let message =
                format!("`{{{word}}}` stays as it is: documents of this type have no parameters");
            table.warning("body", message).hint(
                "JSON, HTML, XML, JavaScript, CSV and text have; `content_type` says what it is",
            );
        }
        Some((word, near)) => {
            let message = format!("`{{{word}}}` is no parameter of the route and stays as it is");
            table
                .warning("body", message)
                .hint(format!("did you mean `{{{near}}}`?"));
        }
        None => {}
    }
}

fn content_type_of(path: &Path) -> HeaderValue {
    let extension = path.extension().and_then(|extension| extension.to_str());
    HeaderValue::from_static(match extension.unwrap_or("") {
        "json" => "application/json",
        "html" | "htm" => "text/html; charset=utf-8",
        "xml" => "application/xml",
        "txt" => "text/plain; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        _ => "application/octet-stream",
    })
}

// --- checks over all routes ---

/// What one route answers for, and where the file says so.
struct Claim {
    name: Arc<str>,
    hosts: Vec<HostPattern>,
    shape: String,
    methods: Option<Vec<Method>>,
    name_span: Range<usize>,
    path_span: Range<usize>,
}

fn check_names(root: &Table<'_>, claims: &[Claim]) {
    let mut seen: HashMap<&str, &Claim> = HashMap::new();
    for claim in claims {
        let Some(earlier) = seen.get(&*claim.name) else {
            seen.insert(&claim.name, claim);
            continue;
        };
        let message = format!("two routes are called `{}`", claim.name);
        let findings = &root.cx.findings;
        findings
            .error(
                format!("route.{}.name", claim.name),
                &claim.name_span,
                message,
            )
            .related(&earlier.name_span, "the other one")
            .hint("give one of them another `name` (without one, the path is the name)");
    }
}

/// Two routes of one shape, for one host, that take one method: no request could tell them apart.
fn check_overlaps(root: &Table<'_>, claims: &[Claim]) {
    let mut seen: HashMap<(Option<&HostPattern>, &str), Vec<&Claim>> = HashMap::new();
    for claim in claims {
        let mut rival = None;
        let hosts = claim.hosts.iter().map(Some);
        let any_host = claim.hosts.is_empty().then_some(None);
        for host in hosts.chain(any_host) {
            let group = seen.entry((host, &claim.shape)).or_default();
            let is_rival = |other: &&Claim| {
                !std::ptr::eq(*other, claim) && overlap(&other.methods, &claim.methods)
            };
            rival = rival.or(group.iter().copied().find(is_rival));
            group.push(claim);
        }
        let Some(rival) = rival else {
            continue;
        };
        let message = format!("matches the same requests as `{}`", rival.name);
        root.cx
            .findings
            .error(format!("route.{}", claim.name), &claim.path_span, message)
            .related(&rival.path_span, format!("path of `{}`", rival.name))
            .hint("give them different hosts or methods, or make one path more specific");
    }
}

fn overlap(a: &Option<Vec<Method>>, b: &Option<Vec<Method>>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.iter().any(|method| b.contains(method)),
        // One lists the method, the other takes all: the one that lists it wins.
        _ => false,
    }
}
