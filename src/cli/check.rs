//! `larder check`: is this config good, and what will it do?
//!
//! Prints every error and warning at once, or a summary that an operator understands in a minute: the routes in the order
//! they are matched, where each leads, and what its freshness promises. Starts nothing and asks nobody.

use std::{
    cmp::Reverse,
    fmt::Write as _,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    time::Duration,
};

use bytesize::ByteSize;
use jiff::fmt::friendly::SpanPrinter;
use serde_json::{Value, json};

use crate::{
    cache::{Departure, DepartureKind, departures_of_route},
    config::{self, Config, EndpointConfig, Finding, HostPattern, Policy, RouteConfig, Severity},
};

/// Below a name.
const INDENT: &str = "               ";

/// Arguments of `larder check`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// The config to look at
    #[arg(long, short, value_name = "FILE", default_value = "proxy.toml")]
    pub config: PathBuf,
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}

/// What a check came to; the caller makes an exit code of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Verdict {
    /// The config may take effect; there may be warnings. Exit code 0.
    Valid,
    /// It may not. Exit code 2.
    Invalid,
}

/// Checks a config: findings go to `err`, the summary (or the JSON) to `out`.
///
/// # Errors
///
/// Where `out` or `err` cannot be written to.
pub(super) fn run(
    args: &CheckArgs,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<Verdict> {
    let outcome = config::load(&args.config);
    let verdict = match outcome {
        Ok(_) => Verdict::Valid,
        Err(_) => Verdict::Invalid,
    };
    if args.json {
        let findings: Vec<_> = match &outcome {
            Ok(config) => config.warnings.iter().map(finding_json).collect(),
            Err(errors) => errors.iter().map(finding_json).collect(),
        };
        let report = json!({ "valid": verdict == Verdict::Valid, "findings": findings });
        writeln!(out, "{report:#}")?;
        return Ok(verdict);
    }
    let color = wants_color();
    match &outcome {
        Ok(config) => {
            for warning in &config.warnings {
                writeln!(err, "{}\n", warning.render(color))?;
            }
            writeln!(
                out,
                "{} is valid\n\n{}",
                args.config.display(),
                summary(config)
            )?;
        }
        Err(errors) => writeln!(err, "{}", errors.render(color))?,
    }
    Ok(verdict)
}

/// Colours only for a person: a terminal, and no `NO_COLOR`.
fn wants_color() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "severity": match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        "key": finding.key,
        "message": finding.message,
        "hint": finding.hint,
        "file": finding.file.display().to_string(),
        "line": finding.place.as_ref().map(|place| place.line),
        "column": finding.place.as_ref().map(|place| place.column),
    })
}

// --- Summary ---

/// What a config will do, for people.
pub(super) fn summary(config: &Config) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "listens on   http://{}", config.server.listen);
    let _ = match &config.admin {
        Some(admin) => writeln!(out, "admin on     http://{}", admin.listen),
        None => writeln!(out, "admin        off"),
    };
    let _ = writeln!(out, "store        {}", store(config));
    out.push_str("\nroutes, in the order they are matched\n");
    for route in match_order(config) {
        write_route(&mut out, route);
    }
    out.push_str("\nupstreams\n");
    for upstream in &config.upstreams {
        let shown = |endpoint: &EndpointConfig| match endpoint.priority {
            0 => url(&endpoint.uri),
            priority => format!("{} (priority {priority})", url(&endpoint.uri)),
        };
        let endpoints: Vec<_> = upstream.endpoints.iter().map(shown).collect();
        let owner = upstream
            .owner
            .as_deref()
            .unwrap_or("nobody is named as its owner");
        let _ = writeln!(
            out,
            "  {:<12} {}  ({owner})",
            upstream.name,
            endpoints.join(", ")
        );
    }
    out.truncate(out.trim_end().len());
    out
}

fn url(uri: &http::Uri) -> String {
    uri.to_string().trim_end_matches('/').to_owned()
}

fn store(config: &Config) -> String {
    let size = |bytes| ByteSize::b(bytes).display().iec().to_string();
    let memory = size(config.store.memory_bytes);
    match &config.store.path {
        Some(path) => format!(
            "{memory} in memory over {} in {}",
            size(config.store.disk_bytes),
            path.display()
        ),
        None => format!("{memory} in memory only: a restart forgets every answer"),
    }
}

/// Most specific first, as requests meet them.
fn match_order(config: &Config) -> Vec<&RouteConfig> {
    let mut routes: Vec<&RouteConfig> = config.routes.iter().map(|route| &**route).collect();
    routes.sort_by(|a, b| {
        host_rank(a)
            .cmp(&host_rank(b))
            .then_with(|| a.path.cmp_specificity(&b.path))
            .then_with(|| a.path.shape().cmp(&b.path.shape()))
            .then_with(|| a.methods.is_none().cmp(&b.methods.is_none()))
    });
    routes
}

/// Names before suffixes before any; a longer suffix before a shorter one.
fn host_rank(route: &RouteConfig) -> (u8, Reverse<usize>) {
    let rank = |host: &HostPattern| match host {
        HostPattern::Exact(_) => (0, Reverse(0)),
        HostPattern::Suffix(suffix) => (1, Reverse(suffix.len())),
    };
    let ranks = route.hosts.iter().map(rank);
    ranks.min().unwrap_or((2, Reverse(0)))
}

fn write_route(out: &mut String, route: &RouteConfig) {
    let hosts: Vec<_> = route.hosts.iter().map(host).collect();
    let methods = match &route.methods {
        Some(methods) => methods
            .iter()
            .map(http::Method::as_str)
            .collect::<Vec<_>>()
            .join(" "),
        None => "any method".to_owned(),
    };
    let mut fallback = match &route.fallback {
        Some(fallback) => format!("the fallback document ({})", fallback.status.as_u16()),
        None => "a problem document".to_owned(),
    };
    if let Some(sibling) = &route.sibling {
        fallback = format!("what is stored for {}, or {fallback}", sibling.as_str());
    }
    if route.drill_percent > 0 {
        let _ = write!(
            fallback,
            "; drilled on {} % of stale answers",
            route.drill_percent
        );
    }
    let contract = route.contract.as_ref();
    let contract = contract.map_or_else(String::new, |contract| {
        format!("{INDENT}contract {}\n", contract.summary())
    });
    let _ = write!(
        out,
        "  {name:<12} {hosts}{path}  [{methods}]  -> {upstream}\n{indent}{promise}\n{contract}{indent}nothing stored and the vendor down: {fallback}\n",
        name = route.name,
        hosts = hosts.join("|"),
        path = route.path,
        upstream = route.upstream.name,
        indent = INDENT,
        contract = contract,
        promise = promise(&route.policy),
    );
    let sections = sections(&departures_of_route(route));
    if !sections.is_empty() {
        let _ = writeln!(
            out,
            "               departs from {sections} (docs/departures.md)"
        );
    }
}

/// What is departed from, by RFC: `RFC 9111 4.2.4, 5.2.1; RFC 5861 3, 4`.
fn sections(departures: &[Departure]) -> String {
    let mut by_rfc: Vec<(&str, Vec<&str>)> = Vec::new();
    let departs = departures
        .iter()
        .filter(|one| one.kind == DepartureKind::Departs);
    for one in departs {
        let split = one.section.match_indices(' ').nth(1);
        let (rfc, section) = one.section.split_at(split.map_or(0, |(at, _)| at));
        let at = by_rfc.iter().position(|(known, _)| *known == rfc);
        let at = at.unwrap_or_else(|| {
            by_rfc.push((rfc, Vec::new()));
            by_rfc.len() - 1
        });
        let sections = &mut by_rfc[at].1;
        if !sections.contains(&section.trim()) {
            sections.push(section.trim());
        }
    }
    let texts = by_rfc
        .iter()
        .map(|(rfc, sections)| format!("{rfc} {}", sections.join(", ")));
    texts.collect::<Vec<_>>().join("; ")
}

fn host(host: &HostPattern) -> String {
    match host {
        HostPattern::Exact(name) => name.to_string(),
        HostPattern::Suffix(suffix) => format!("*{suffix}"),
    }
}

/// A policy as one sentence: what a client gets, from fresh to gone.
fn promise(policy: &Policy) -> String {
    let mut out = format!("policy {}: fresh ", policy.name);
    out.push_str(&match (policy.fresh, policy.override_origin) {
        (Some(fresh), true) => format!("for {} whatever the vendor says", short(fresh)),
        (Some(fresh), false) => format!("as the vendor says, else for {}", short(fresh)),
        (None, true) => "as the vendor says, also where it forbids to store".to_owned(),
        (None, false) => "as the vendor says".to_owned(),
    });
    match (policy.fresh_min, policy.fresh_max) {
        (Some(min), Some(max)) => out.push_str(&format!(" ({} to {})", short(min), short(max))),
        (Some(min), None) => out.push_str(&format!(" (at least {})", short(min))),
        (None, Some(max)) => out.push_str(&format!(" (at most {})", short(max))),
        (None, None) => {}
    }
    if !policy.stale_while_revalidate.is_zero() {
        let behind = short(policy.stale_while_revalidate);
        out.push_str(&format!("; then {behind} stale at once, refreshed behind"));
    }
    out.push_str(&if policy.max_stale.is_zero() {
        "; never stale while the vendor is down".to_owned()
    } else {
        let (end, wait) = (short(policy.max_stale), short(policy.stale_after));
        format!("; while the vendor is down stale for {end}, after at most {wait}")
    });
    out
}

/// `90s` as `1m 30s`.
fn short(duration: Duration) -> String {
    SpanPrinter::new().unsigned_duration_to_string(&duration)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::FixedEnv;

    fn compiled(text: &str) -> Config {
        config::parse(text, Path::new("proxy.toml"), &FixedEnv::default()).unwrap()
    }

    #[test]
    fn routes_are_shown_in_the_order_they_are_matched() {
        let route = |name: &str, path: &str, more: &str| {
            format!("[[route]]\nname = \"{name}\"\npath = \"{path}\"\nupstream = \"a\"\n{more}\n")
        };
        let config = compiled(&format!(
            "upstream.a.endpoints = [\"http://a\"]\n{}{}{}{}{}",
            route("rest", "/{*rest}", ""),
            route("param", "/p/{sku}", ""),
            route("put", "/p/{sku}", "methods = [\"PUT\"]"),
            route("suffix", "/{*rest}", "host = \"*.b\""),
            route("host", "/{*rest}", "host = \"a.b\""),
        ));
        let names: Vec<_> = match_order(&config)
            .iter()
            .map(|r| r.name.to_string())
            .collect();
        assert_eq!(names, ["host", "suffix", "put", "param", "rest"]);
        let text = summary(&config);
        assert!(text.contains("*.b/{*rest}  [any method]  -> a"), "{text}");
    }

    #[test]
    fn a_route_says_which_sections_it_departs_from() {
        let route = "[[route]]\npath = \"/\"\nupstream = \"a\"\npolicy = \"p\"";
        let upstream = "[upstream.a]\nendpoints = [\"http://a\"]\nfailures = [\"5xx\"]";
        let strict =
            "[policy.p]\nstale_while_revalidate = \"0s\"\nmax_stale = \"0s\"\ncool_down = \"0s\"";
        for (more, want) in [
            ("", None),
            (
                "client_directives = false\nfresh_min = \"1s\"",
                Some("departs from RFC 9111 4.2.1, 5.2.1 (docs/departures.md)"),
            ),
            ("override = true", Some("; RFC 5861 3, 4")),
        ] {
            let text = summary(&compiled(&format!("{upstream}\n{strict}\n{more}\n{route}")));
            match want {
                Some(want) => assert!(text.contains(want), "{text}"),
                None => assert!(!text.contains("departs"), "{text}"),
            }
        }
    }

    #[test]
    fn a_policy_reads_as_a_promise() {
        let policy = Policy {
            fresh: Some(Duration::from_secs(90)),
            override_origin: true,
            ..Policy::default()
        };
        assert_eq!(
            promise(&policy),
            "policy default: fresh for 1m 30s whatever the vendor says; then 1m stale at once, refreshed behind; \
             while the vendor is down stale for 24h, after at most 300ms"
        );
    }

    #[test]
    fn a_missing_file_is_one_clear_error() {
        let args = CheckArgs {
            config: "no/such/proxy.toml".into(),
            json: false,
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        assert_eq!(run(&args, &mut out, &mut err).unwrap(), Verdict::Invalid);
        let err = String::from_utf8(err).unwrap();
        assert!(err.contains("cannot read no/such/proxy.toml"), "{err}");
        assert!(err.contains("--config"), "{err}");
        assert!(out.is_empty());
    }

    #[test]
    fn findings_are_json_where_a_script_asks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy.toml");
        std::fs::write(&path, "[server]\nlistn = 1\n").unwrap();
        let args = CheckArgs {
            config: path,
            json: true,
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        assert_eq!(run(&args, &mut out, &mut err).unwrap(), Verdict::Invalid);
        let report: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(report["valid"], false);
        let findings = report["findings"].as_array().unwrap();
        let listn = findings
            .iter()
            .find(|f| f["key"] == "server.listn")
            .unwrap();
        assert_eq!((&listn["line"], &listn["column"]), (&json!(2), &json!(1)));
    }
}
