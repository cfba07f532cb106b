//! What it answered, how fast, and whether it knows what it answered before.

use std::time::Duration;

use http::{
    StatusCode,
    header::{ACCEPT_RANGES, ETAG, LAST_MODIFIED, LOCATION, WWW_AUTHENTICATE},
};
use serde_json::json;

use super::{
    super::{
        seen::{BodyEnd, Exchange, Observations, Purpose, shown},
        target::Target,
    },
    Found, count, millis, time,
};

/// An answer that takes longer makes a page slow.
const SLOW: Duration = Duration::from_secs(1);

pub(super) fn status(seen: &Observations, first: &Exchange, found: &mut Found) {
    for from in &seen.redirected_from {
        found
            .note(
                "status.redirected",
                format!("{from} leads to {}", seen.target.shown()),
            )
            .advise("the rest is about that; configure it, so that no request takes the detour")
            .value(json!({ "from": from, "to": seen.target.shown() }));
    }
    let status = first.answer.status;
    let named = match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    };
    let value = json!({ "status": status.as_u16() });
    if status.is_success() {
        found.ok("status.code", named).value(value);
        return later_statuses(seen, first, found);
    }
    let advice = match status.as_u16() {
        300..=399 => redirection(seen, first),
        401 | 403 => "see below, under auth".to_owned(),
        404 | 410 => "check the path; some vendors answer so without credentials".to_owned(),
        405 => "it takes no GET: larder stores answers to GET (and QUERY, cache_post)".to_owned(),
        406 => "name a type that it has: --header 'Accept: application/json'".to_owned(),
        429 => "you are over its limit already; wait, then probe again".to_owned(),
        400..=499 => {
            "the vendor does not take the request: check path, query and fields".to_owned()
        }
        _ => "the vendor is ill: probe again when it is well".to_owned(),
    };
    found
        .problem("status.code", named)
        .advise(advice)
        .value(value);
}

/// The same question may be answered otherwise a moment later.
fn later_statuses(seen: &Observations, first: &Exchange, found: &mut Found) {
    let later = seen.exchanges.iter().skip(1).find(|one| {
        let is_plain = matches!(one.purpose, Purpose::Plain | Purpose::Encoded);
        is_plain && one.answer.status != first.answer.status
    });
    if let Some(later) = later {
        found
            .warning(
                "status.changed",
                format!("asked again, it answered {}", later.answer.status),
            )
            .advise("run it again: does it limit or fail so often?")
            .value(json!({ "status": later.answer.status.as_u16() }));
    }
}

fn redirection(seen: &Observations, first: &Exchange) -> String {
    let Some(location) = first.answer.field(LOCATION.as_str()) else {
        return "it does not say where to: ask the vendor for the right URL".to_owned();
    };
    match seen.target.join(location) {
        Some(to) if to.same_origin(&seen.target) => {
            format!("too many redirects, now to {}", to.shown())
        }
        Some(to) => format!(
            "it leads to another host, which is not followed (nor does larder): probe {}",
            Target::shown(&to)
        ),
        None => format!("it leads to `{}`, which is no URL", shown(location, 200)),
    }
}

// --- Auth ---

pub(super) fn auth(seen: &Observations, first: &Exchange, found: &mut Found) {
    let status = first.answer.status;
    let has_credentials = !seen.fields_sent.is_empty();
    let schemes = schemes(first);
    if status != StatusCode::UNAUTHORIZED && status != StatusCode::FORBIDDEN {
        if status.is_success() {
            let text = match has_credentials {
                true => format!("accepted with {}", seen.fields_sent.join(", ")),
                false => "none asked for".to_owned(),
            };
            found.ok("auth.demanded", text).value(false);
        }
        return;
    }
    let asks = match schemes.as_slice() {
        // RFC 9110 15.5.2: a 401 names one at least.
        [] if status == StatusCode::UNAUTHORIZED => {
            "credentials are demanded; it does not say which".to_owned()
        }
        [] => "forbidden; it does not say what would be allowed".to_owned(),
        schemes => {
            let schemes: Vec<String> = schemes.iter().map(Scheme::words).collect();
            format!("credentials are demanded: {}", schemes.join(", or "))
        }
    };
    let bearer = schemes
        .iter()
        .any(|one| one.name.eq_ignore_ascii_case("bearer"));
    let advice = match (has_credentials, bearer) {
        (true, _) => {
            "what was sent is not accepted: expired, for another environment, or too few rights?"
        }
        (false, true) => "put the token in a variable and pass its name: --bearer-env VENDOR_TOKEN",
        (false, false) => {
            "pass what the vendor gave you: --header 'Name: value', or --bearer-env NAME"
        }
    };
    let names: Vec<&str> = schemes.iter().map(|one| one.name.as_str()).collect();
    found
        .problem("auth.demanded", asks)
        .advise(advice)
        .value(json!({ "schemes": names }));
}

/// One challenge (RFC 9110 11.6.1), of which the realm is shown.
#[derive(Debug, PartialEq, Eq)]
struct Scheme {
    name: String,
    realm: Option<String>,
}

impl Scheme {
    fn words(&self) -> String {
        match &self.realm {
            Some(realm) => format!("{} ({realm})", self.name),
            None => self.name.clone(),
        }
    }
}

/// Challenges of all lines. A list of challenges whose parameters are lists themselves: what has a `=` behind its first
/// token belongs to the challenge before it (11.6.1), what has none begins another.
fn schemes(exchange: &Exchange) -> Vec<Scheme> {
    let mut schemes: Vec<Scheme> = Vec::new();
    for line in exchange.answer.headers.get_all(WWW_AUTHENTICATE) {
        let line = String::from_utf8_lossy(line.as_bytes());
        for member in members(&line) {
            let member = member.trim();
            let (first, rest) = member.split_once([' ', '\t']).unwrap_or((member, ""));
            let is_parameter = first.contains('=') || rest.trim_start().starts_with('=');
            let parameter = if is_parameter {
                member
            } else {
                if first.is_empty() || schemes.len() >= 10 {
                    continue;
                }
                let (name, realm) = (shown(first, 40), None);
                schemes.push(Scheme { name, realm });
                rest
            };
            if let Some((name, value)) = parameter.split_once('=')
                && name.trim().eq_ignore_ascii_case("realm")
                && let Some(scheme) = schemes.last_mut()
            {
                let realm = value.trim().trim_matches('"').replace('\\', "");
                scheme.realm = Some(shown(&realm, 60)).filter(|realm| !realm.is_empty());
            }
        }
    }
    schemes
}

/// Members of a list, commas inside quoted strings kept.
fn members(line: &str) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    line.split(|c: char| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' => return !quoted,
            _ => {}
        }
        false
    })
    .filter(|member| !member.trim().is_empty())
    .collect()
}

// --- Latency ---

pub(super) fn latency(seen: &Observations, found: &mut Found) {
    let whole = |one: &&Exchange| {
        matches!(one.purpose, Purpose::Plain | Purpose::Encoded)
            && one.answer.status.is_success()
            && one.answer.end == BodyEnd::Whole
    };
    let answers: Vec<&Exchange> = seen.exchanges.iter().filter(whole).collect();
    if answers.is_empty() {
        return;
    }
    let sorted = |of: fn(&Exchange) -> Duration| {
        let mut times: Vec<Duration> = answers.iter().map(|one| of(one)).collect();
        times.sort();
        (times[0], times[times.len() / 2], times[times.len() - 1])
    };
    let (min, median, max) = sorted(|one| one.total);
    let (_, first_byte, _) = sorted(|one| one.first_byte);
    let text = match answers.len() {
        1 => time(median),
        several => format!(
            "{} (median of {several}, {} to {})",
            time(median),
            time(min),
            time(max)
        ),
    };
    let text = format!("{text}, first byte after {}", time(first_byte));
    let value = json!({
        "answers": answers.len(), "min_ms": millis(min), "median_ms": millis(median), "max_ms": millis(max),
        "first_byte_ms": millis(first_byte),
    });
    let finding = match max > SLOW {
        true => found.warning("latency.total", text).advise(
            "too slow to wait for: a policy with stale_while_revalidate answers first and asks behind",
        ),
        false => found.ok("latency.total", text),
    };
    finding.value(value);
}

// --- Validators ---

pub(super) fn validators(seen: &Observations, first: &Exchange, found: &mut Found) {
    if !first.answer.status.is_success() {
        return;
    }
    entity_tag(seen, first, found);
    last_modified(seen, first, found);
    let has = |name| first.answer.headers.contains_key(name);
    if !has(ETAG) && !has(LAST_MODIFIED) {
        found
            .note(
                "validators.none",
                "neither ETag nor Last-Modified: every refresh is a whole answer",
            )
            .value(true);
    }
    head(seen, first, found);
    range(seen, first, found);
}

fn entity_tag(seen: &Observations, first: &Exchange, found: &mut Found) {
    let Some(tag) = first.answer.headers.get(ETAG) else {
        return;
    };
    // RFC 9110 8.8.3.
    let is_weak = tag.as_bytes().starts_with(b"W/");
    let kind = if is_weak { "a weak" } else { "a strong" };
    let mut later = seen.of(Purpose::Plain).skip(1);
    let changed = later.find(|one| one.answer.headers.get(ETAG) != Some(tag));
    // The same content under another tag is what makes a tag useless; other content has to have another.
    let is_unstable = changed.is_some_and(|one| {
        one.answer.status == first.answer.status && one.answer.body == first.answer.body
    });
    let asked = seen.of(Purpose::IfNoneMatch).next();
    let honoured = asked.map(|one| one.answer.status == StatusCode::NOT_MODIFIED);
    let value = json!({
        "weak": is_weak, "stable": !is_unstable, "answers_304": honoured,
    });
    let finding = if is_unstable {
        found
            .warning(
                "validators.etag",
                format!("{kind} ETag that changes while the content does not"),
            )
            .advise("refreshes cost whole answers; several servers of the vendor's that disagree?")
    } else {
        match honoured {
            Some(true) => found.ok(
                "validators.etag",
                format!("{kind} ETag, and If-None-Match is answered 304"),
            ),
            Some(false) if changed.is_some() => found.note(
                "validators.etag",
                format!("{kind} ETag; the content changed before it could be asked about"),
            ),
            Some(false) => found
                .warning(
                    "validators.etag",
                    format!(
                        "{kind} ETag, but If-None-Match is answered {}",
                        answered(asked)
                    ),
                )
                .advise("conditional requests do not work: every refresh is a whole answer"),
            None => found.note("validators.etag", format!("{kind} ETag, not asked about")),
        }
    };
    finding.value(value);
}

fn last_modified(seen: &Observations, first: &Exchange, found: &mut Found) {
    let Some(date) = first.answer.field(LAST_MODIFIED.as_str()) else {
        return;
    };
    let asked = seen.of(Purpose::IfModifiedSince).next();
    let honoured = asked.map(|one| one.answer.status == StatusCode::NOT_MODIFIED);
    let is_date = crate::http::date::parse(date.as_bytes()).is_some();
    let finding = match honoured {
        _ if !is_date => found
            .warning(
                "validators.last_modified",
                "Last-Modified is no date of HTTP",
            )
            .advise("tell the vendor (RFC 9110 5.6.7)"),
        Some(true) => found.ok(
            "validators.last_modified",
            "Last-Modified, and If-Modified-Since is answered 304",
        ),
        Some(false) => found.note(
            "validators.last_modified",
            format!(
                "Last-Modified, but If-Modified-Since is answered {}",
                answered(asked)
            ),
        ),
        None => found.note("validators.last_modified", "Last-Modified, not asked about"),
    };
    finding.value(json!({ "date": is_date, "answers_304": honoured }));
}

fn answered(exchange: Option<&Exchange>) -> String {
    exchange.map_or_else(String::new, |one| one.answer.status.as_u16().to_string())
}

fn head(seen: &Observations, first: &Exchange, found: &mut Found) {
    let Some(head) = seen.of(Purpose::Head).next() else {
        return;
    };
    let status = head.answer.status;
    let finding = match status == first.answer.status {
        true => found.ok("validators.head", "HEAD is answered as GET is"),
        false => found.note(
            "validators.head",
            format!(
                "HEAD is answered {}, GET {}",
                status.as_u16(),
                first.answer.status.as_u16()
            ),
        ),
    };
    finding.value(json!({ "status": status.as_u16() }));
}

fn range(seen: &Observations, first: &Exchange, found: &mut Found) {
    let Some(asked) = seen.of(Purpose::Range).next() else {
        return;
    };
    let says = first.answer.field(ACCEPT_RANGES.as_str());
    let says_bytes = says.is_some_and(|value| value.trim().eq_ignore_ascii_case("bytes"));
    let works = asked.answer.status == StatusCode::PARTIAL_CONTENT && asked.answer.body.len() == 1;
    let finding = match (works, says_bytes) {
        (true, _) => found.ok("validators.ranges", "parts of it can be asked for (Range)"),
        (false, true) => found.note(
            "validators.ranges",
            format!(
                "it says Accept-Ranges, but bytes=0-0 is answered {} with {}",
                asked.answer.status.as_u16(),
                count(asked.answer.body.len(), "byte")
            ),
        ),
        (false, false) => found.ok("validators.ranges", "no parts: always the whole of it"),
    };
    finding.value(json!({ "works": works, "accept_ranges": says_bytes }));
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
