//! Write: what a config and a schema to start from say. `files` puts them where they belong.
//!
//! # Invariants
//!
//! - No value of a field or of a parameter goes into a file, but for the few fields that never hold a secret.
//! - What could show one visitor's answer to another (`override`) is there as a comment, for the operator to decide.

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use http::{HeaderMap, HeaderName, header::AUTHORIZATION};
use serde_json::{Value, json};

use super::{
    content::MediaType,
    files::SCHEMAS,
    findings::Reading,
    seen::Observations,
    shape::{self, Shape, is_id, pointer},
    suggest::{Contract, Freshness, Suggestion},
    target::Target,
};
use crate::cache::short;

/// Fields whose values say what is wanted, never who wants it.
const HARMLESS: [&str; 4] = ["accept", "accept-language", "user-agent", "prefer"];
/// Members that are worth nothing at zero.
const WORTHS: [&str; 6] = ["price", "rate", "amount", "cost", "gross", "net"];

/// How the vendor was asked.
pub(super) struct How<'h> {
    pub(super) bearer_env: Option<&'h str>,
    pub(super) fields: &'h HeaderMap,
    pub(super) ca_file: Option<&'h Path>,
}

/// Both files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) config: String,
    /// Its name below `contracts/`, and its text.
    pub(super) schema: Option<(String, String)>,
    /// Environment variables that the config asks for.
    pub(super) variables: Vec<String>,
}

/// What the files say.
pub(super) fn draft(
    seen: &Observations,
    reading: &Reading,
    suggestion: &Suggestion,
    how: &How<'_>,
) -> Draft {
    let upstream = upstream_name(&seen.target);
    let route = route_name(&seen.target, &upstream);
    let schema = schema(&route, seen, reading);
    let credentials = credentials(&upstream, how);
    let mut out = String::new();
    let shown = seen.target.shown();
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "# Begun by `larder probe {shown}`: look every line over, then run `larder check`.\n# Every other key and its \
         default: docs/config.md.\n"
    );
    write_upstream(&mut out, &upstream, seen, suggestion, &credentials, how);
    write_policy(&mut out, &upstream, suggestion);
    write_route(&mut out, &upstream, &route, seen, how);
    write_contract(&mut out, &route, seen, reading, suggestion);
    Draft {
        config: out,
        schema,
        variables: credentials.into_iter().map(|one| one.variable).collect(),
    }
}

// --- Names ---

/// `vendor`, of `api.vendor.example`.
fn upstream_name(target: &Target) -> String {
    let host = target.host.as_str();
    if host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok() {
        return "vendor".to_owned();
    }
    let labels: Vec<&str> = host.split('.').filter(|label| !label.is_empty()).collect();
    let name = match labels.as_slice() {
        [.., name, second, _] if second.len() <= 3 && name.len() > 3 => name,
        [.., name, _] => name,
        [name] => name,
        [] => "vendor",
    };
    word(name)
}

/// `prices`, of `/v1/prices/{id}`: the last segment that is no parameter.
fn route_name(target: &Target, upstream: &str) -> String {
    let segments = target.path.split('/').filter(|one| !one.is_empty());
    let mut names = segments.filter(|one| !is_parameter(one)).map(word);
    names
        .next_back()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| upstream.to_owned())
}

/// Letters, digits and `-_` of it: what a name and a file may be made of.
fn word(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| match c {
            'A'..='Z' => c.to_ascii_lowercase(),
            'a'..='z' | '0'..='9' | '-' | '_' => c,
            _ => '-',
        })
        .take(40)
        .collect();
    text.trim_matches('-').to_owned()
}

fn is_parameter(segment: &str) -> bool {
    is_id(segment) || segment.contains(['{', '}', '*'])
}

/// The path with `{id}`, `{id2}`, … for what names one of many.
pub(super) fn path_pattern(path: &str) -> String {
    let mut parameters = 0;
    let segments = path.split('/').map(|segment| {
        if !is_parameter(segment) {
            return segment.to_owned();
        }
        parameters += 1;
        match parameters {
            1 => "{id}".to_owned(),
            more => format!("{{id{more}}}"),
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

// --- Upstream ---

struct Credential {
    field: HeaderName,
    variable: String,
    prefix: &'static str,
}

fn is_harmless(name: &HeaderName) -> bool {
    let name = name.as_str();
    HARMLESS.contains(&name) || name.ends_with("version")
}

fn credentials(upstream: &str, how: &How<'_>) -> Vec<Credential> {
    let upper = |text: &str| text.to_ascii_uppercase().replace(['-', '.'], "_");
    let secret = how.fields.iter().filter(|(name, _)| !is_harmless(name));
    let mut credentials: Vec<Credential> = Vec::new();
    for (field, value) in secret {
        if credentials.iter().any(|known| known.field == field) {
            continue;
        }
        let text = value.to_str().unwrap_or_default();
        let scheme = ["Bearer ", "Basic ", "Token "]
            .into_iter()
            .find(|scheme| text.starts_with(scheme));
        let what = match *field == AUTHORIZATION {
            true => "TOKEN".to_owned(),
            false => upper(field.as_str()),
        };
        let variable = match how.bearer_env.filter(|_| *field == AUTHORIZATION) {
            Some(variable) => variable.to_owned(),
            None => format!("{}_{what}", upper(upstream)),
        };
        credentials.push(Credential {
            field: field.clone(),
            variable,
            prefix: scheme.unwrap_or_default(),
        });
    }
    credentials
}

fn write_upstream(
    out: &mut String,
    name: &str,
    seen: &Observations,
    suggestion: &Suggestion,
    credentials: &[Credential],
    how: &How<'_>,
) {
    let _ = writeln!(
        out,
        "[upstream.{name}]\nendpoints = [{}]\n# Who is called when it breaks, and what they read then.\n# owner = \"Vendor \
         desk <support@vendor.example>\"\n# runbook = \"docs/runbooks/{name}.md\"",
        quoted(&seen.target.origin())
    );
    if !credentials.is_empty() {
        out.push_str("# Secrets stay in the environment.\n");
        let tables: Vec<String> = credentials.iter().map(Credential::table).collect();
        let _ = match tables.as_slice() {
            [one] => writeln!(out, "credentials = {one}"),
            several => writeln!(out, "credentials = [\n    {},\n]", several.join(",\n    ")),
        };
    }
    if let Some(file) = how.ca_file {
        let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        let _ = writeln!(out, "ca_file = {}", quoted(&file.display().to_string()));
    }
    match suggestion.quota {
        Some((count, window)) => {
            let _ = writeln!(
                out,
                "# As its answers tell it.\nquota = \"{count} / {}\"",
                config_time(window)
            );
        }
        None => out.push_str(
            "# It does not tell its limits; its terms may.\n# quota = \"100 / minute\"\n",
        ),
    }
    out.push('\n');
}

impl Credential {
    fn table(&self) -> String {
        let prefix = match self.prefix {
            "" => String::new(),
            prefix => format!(", prefix = {}", quoted(prefix)),
        };
        format!(
            "{{ header = {}, value = {{ env = {} }}{prefix} }}",
            quoted(self.field.as_str()),
            quoted(&self.variable)
        )
    }
}

/// A time as the config reads it.
fn config_time(time: Duration) -> String {
    match time.as_secs() {
        1 => "second".to_owned(),
        60 => "minute".to_owned(),
        3600 => "hour".to_owned(),
        86_400 => "day".to_owned(),
        _ => short(time),
    }
}

// --- Policy ---

fn write_policy(out: &mut String, name: &str, suggestion: &Suggestion) {
    let _ = writeln!(out, "[policy.{name}]");
    let _ = match suggestion.freshness {
        Freshness::Vendor(named) => writeln!(
            out,
            "# The vendor says: {}. This holds where it says nothing.\nfresh = \"60s\"",
            short(named)
        ),
        Freshness::Policy(fresh) => writeln!(
            out,
            "# The vendor does not say how long an answer is fresh; this does.\nfresh = \"{}\"",
            short(fresh)
        ),
        Freshness::Override(word, fresh) => writeln!(
            out,
            "# The vendor says {word}. Only if every visitor may see the same answer, and its terms allow it:\n# override = \
             true\n# fresh = \"{}\"",
            short(fresh)
        ),
    };
    if suggestion.stale_forbidden && !matches!(suggestion.freshness, Freshness::Override(..)) {
        out.push_str(
            "# The vendor forbids stale answers; for a last known good one in an outage:\n# override = true\n",
        );
    }
    out.push_str(
        "# How long an answer stands in while the vendor is down.\nmax_stale = \"24h\"\n\n",
    );
}

// --- Route ---

fn write_route(out: &mut String, upstream: &str, name: &str, seen: &Observations, how: &How<'_>) {
    let path = path_pattern(&seen.target.path);
    let _ = writeln!(
        out,
        "[[route]]\nname = {}\npath = {}\nmethods = [\"GET\"]\nupstream = {}\npolicy = {}",
        quoted(name),
        quoted(&path),
        quoted(upstream),
        quoted(upstream)
    );
    let parameters = seen.target.parameters();
    if !parameters.is_empty() {
        let names: Vec<String> = parameters.iter().map(|name| quoted(name)).collect();
        let _ = writeln!(
            out,
            "# If only these parameters matter, others make no further copies, and are not sent on.\n# key = {{ query = [{}] \
             }}",
            names.join(", ")
        );
    }
    let harmless = how.fields.iter().filter(|(name, _)| is_harmless(name));
    let set: Vec<String> = harmless
        .filter_map(|(name, value)| {
            Some(format!(
                "{} = {}",
                quoted(name.as_str()),
                quoted(value.to_str().ok()?)
            ))
        })
        .collect();
    if !set.is_empty() {
        let _ = writeln!(
            out,
            "request_headers = {{ set = {{ {} }} }}",
            set.join(", ")
        );
    }
    out.push_str("# What visitors read when nothing else is left.\n# message = \"Please try again in a minute.\"\n\n");
}

// --- Contract ---

fn write_contract(
    out: &mut String,
    name: &str,
    seen: &Observations,
    reading: &Reading,
    suggestion: &Suggestion,
) {
    out.push_str(
        "# Observed first: what breaks it is counted and told, and served all the same. Once nothing does, make it\n# \
         \"enforce\": then the last good answer is served instead.\n[route.contract]\nmode = \"observe\"\n",
    );
    let claimed = seen.first().and_then(|first| MediaType::of(&first.answer));
    if let Some(claimed) = claimed.filter(|claimed| claimed.essence.contains('/')) {
        let _ = writeln!(out, "content_type = [{}]", quoted(&claimed.essence));
    }
    if suggestion.contract != Contract::Schema {
        out.push_str("size_min = \"1 B\"\n");
        return;
    }
    let _ = writeln!(out, "schema = \"{SCHEMAS}/{name}.json\"");
    let (Some(shape), Some(document)) = (
        &reading.shape,
        reading.content.as_ref().and_then(|content| content.json()),
    ) else {
        return;
    };
    let records = shape::records(shape);
    let mut rules = worth_rules(shape, document);
    let mut record_rules = Vec::new();
    if let Some((place, list)) = &records {
        let elements = document.pointer(place).and_then(Value::as_array);
        let first = elements.and_then(|list| list.first());
        if let Some(first) = first {
            record_rules = worth_rules(&list.element, first);
        }
        rules.push(match place.as_str() {
            "" => "{ field = \"$[*]\", count_min = 1 }".to_owned(),
            place => format!("{{ field = {}, non_empty = true }}", quoted(place)),
        });
    }
    write_rules(out, "rules", &rules);
    if let Some((place, _)) = records {
        let _ = writeln!(out, "records = {}", quoted(&place));
        write_rules(out, "record_rules", &record_rules);
        out.push_str(
            "# Share of bad records below which the others are taken.\n# bad_records_max = \"5%\"\n",
        );
    }
}

/// Members that are always a number and are worth nothing at zero, where they are above it now.
fn worth_rules(shape: &Shape, document: &Value) -> Vec<String> {
    let Some(object) = shape
        .object
        .as_ref()
        .filter(|object| object.table.is_none())
    else {
        return Vec::new();
    };
    let is_worth = |name: &str| {
        let name = name.to_ascii_lowercase();
        WORTHS.iter().any(|worth| name == *worth)
    };
    let rules = object.members.iter().filter_map(|(name, member)| {
        let is_number = (member.integer || member.fraction)
            && !(member.null || member.string || member.boolean)
            && member.object.is_none()
            && member.list.is_none();
        let is_above = document.get(name).and_then(Value::as_f64) > Some(0.0);
        let is_ruled = is_worth(name) && is_number && member.seen == object.seen && is_above;
        let field = quoted(&pointer(name));
        is_ruled.then(|| format!("{{ field = {field}, required = true, above = 0 }}"))
    });
    rules.collect()
}

fn write_rules(out: &mut String, key: &str, rules: &[String]) {
    let _ = match rules {
        [] => Ok(()),
        [one] => writeln!(out, "{key} = [{one}]"),
        several => writeln!(out, "{key} = [\n    {},\n]", several.join(",\n    ")),
    };
}

fn schema(name: &str, seen: &Observations, reading: &Reading) -> Option<(String, String)> {
    let shape = reading.shape.as_ref()?;
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": format!(
            "Begun by `larder probe {}` from {} answers: required is what was in all of them.",
            seen.target.shown(),
            reading.documents
        ),
    });
    if let (Some(schema), Value::Object(derived)) = (schema.as_object_mut(), shape.schema()) {
        schema.extend(derived);
    }
    Some((name.to_owned(), format!("{schema:#}\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_host_and_path() {
        for (url, want) in [
            (
                "https://api.vendor.example/v1/prices/17",
                ("vendor", "prices", "/v1/prices/{id}"),
            ),
            (
                "https://api.vendor.co.uk/rates",
                ("vendor", "rates", "/rates"),
            ),
            (
                "http://127.0.0.1:9100/prices/sku-1",
                ("vendor", "prices", "/prices/{id}"),
            ),
            ("http://localhost/", ("localhost", "localhost", "/")),
            ("http://[::1]/a/1/b/2", ("vendor", "b", "/a/{id}/b/{id2}")),
            (
                "https://a.io/Some.File.json",
                ("a", "some-file-json", "/Some.File.json"),
            ),
        ] {
            let target = Target::parse(url).unwrap();
            let upstream = upstream_name(&target);
            let route = route_name(&target, &upstream);
            let path = path_pattern(&target.path);
            assert_eq!(
                (upstream.as_str(), route.as_str(), path.as_str()),
                want,
                "{url}"
            );
        }
    }
}
