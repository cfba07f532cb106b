//! What a vendor says about its limits, in the spellings that are in use. Pure: clocks are arguments.
//!
//! - `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers, from 08 on): lists of items,
//!   `"default";r=50;t=30` and `"default";q=100;w=60`. Draft 07: a dictionary, `limit=100, remaining=50, reset=30`.
//! - `RateLimit-Limit`, `-Remaining`, `-Reset` (drafts up to 06), and the same with `X-RateLimit-` and `X-Rate-Limit-`
//!   before them, also with what they count behind them: `-Requests`, `-Second`, `-Minute`, `-Hour`, `-Day`, `-Month`.
//!   Several limits may stand in one line, in the same order in each field.
//!
//! A reset is a number of seconds, a time since the epoch in seconds or milliseconds (told apart by size), a duration
//! (`6m0s`) or a date. Times are read against the vendor's own `Date`, so that a clock that is wrong does not matter.
//!
//! # Invariants
//!
//! - What cannot be read is absent: it neither allows nor forbids anything.
//! - Nothing is said of units other than requests.
//! - At most [`LIMITS_MAX`] limits are read, and no reset is further away than [`RESET_MAX`].

use std::time::Duration;

use http::{HeaderMap, HeaderName, header};
use sfv::{BareItem, Dictionary, List, ListEntry, Parameters, Parser};

use crate::{clock::Timestamp, http::date};

/// How many limits of one vendor are told apart.
pub const LIMITS_MAX: usize = 8;
/// The longest time to a reset that is believed.
pub const RESET_MAX: Duration = Duration::from_secs(31 * 24 * 3600);
/// The largest number of requests that makes a difference.
const REQUESTS_MAX: u64 = 1_000_000_000;

/// The state of one of the vendor's limits as its answer tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceLimit {
    /// The vendor's own name for it, or what its fields have in common.
    pub policy: String,
    /// Requests that may still be sent before the reset.
    pub remaining: u64,
    /// Requests in a whole window.
    pub limit: Option<u64>,
    /// Time until `remaining` is whole again.
    pub reset: Duration,
    /// The length of a window.
    pub window: Option<Duration>,
}

impl ServiceLimit {
    fn new(policy: &str, remaining: u64, limit: Option<u64>, reset: Duration) -> Self {
        Self {
            policy: policy.chars().take(64).collect(),
            remaining: remaining.min(REQUESTS_MAX),
            limit: limit
                .map(|limit| limit.min(REQUESTS_MAX))
                .filter(|limit| *limit > 0),
            reset: reset.min(RESET_MAX),
            window: None,
        }
    }

    fn within(mut self, window: Option<Duration>) -> Self {
        self.window = window
            .map(|window| window.min(RESET_MAX))
            .filter(|window| !window.is_zero());
        self
    }
}

/// All limits that this answer tells of and that have a time to their reset. Standard fields before others: where a vendor
/// sends both, they say the same.
pub fn service_limits(headers: &HeaderMap, now: Timestamp) -> Vec<ServiceLimit> {
    // Most vendors tell nothing; a look at the names is all that costs.
    let tells = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with("ratelimit") || FAMILIES.iter().any(|family| name.starts_with(family))
    };
    if !headers.keys().any(tells) {
        return Vec::new();
    }
    // A stored answer (RFC 9111 5.1) tells how things were.
    if headers.get(header::AGE).is_some_and(|age| age != "0") {
        return Vec::new();
    }
    let date = headers
        .get(header::DATE)
        .and_then(|value| date::parse(value.as_bytes()))
        .unwrap_or(now);
    let mut limits = structured(headers);
    if limits.is_empty() {
        limits = FAMILIES
            .iter()
            .flat_map(|prefix| family(headers, prefix, date))
            .collect();
    }
    limits.truncate(LIMITS_MAX);
    limits
}

// --- RateLimit ---

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What `RateLimit-Policy` says of one policy.
struct QuotaPolicy {
    name: String,
    quota: u64,
    window: Option<Duration>,
}

fn structured(headers: &HeaderMap) -> Vec<ServiceLimit> {
    let Some(text) = joined(headers, &RATE_LIMIT) else {
        return Vec::new();
    };
    let policies = policies(headers);
    if let Some(limit) = dictionary(&text) {
        let window = policies.first().and_then(|policy| policy.window);
        return vec![limit.within(window)];
    }
    let Ok(list) = Parser::new(&text).parse::<List>() else {
        return Vec::new();
    };
    let limit = |entry: &ListEntry| {
        let (name, params) = named(entry)?;
        let policy = policies.iter().find(|policy| policy.name == name);
        let window = policy.and_then(|policy| policy.window);
        let quota = match integer(params, "q").or(integer(params, "limit")) {
            Some(quota) => Some(quota),
            None => policy.map(|policy| policy.quota),
        };
        // A unit that is not requests (`qu`) belongs to the policy; such a policy is not in the list.
        let is_known = policy.is_some() || policies.is_empty();
        let remaining = integer(params, "r").filter(|_| is_known)?;
        let reset = integer(params, "t").map(Duration::from_secs).or(window)?;
        Some(ServiceLimit::new(&name, remaining, quota, reset).within(window))
    };
    list.iter().filter_map(limit).collect()
}

/// Draft 07: `limit=100, remaining=50, reset=30`.
fn dictionary(text: &[u8]) -> Option<ServiceLimit> {
    let members = Parser::new(text).parse::<Dictionary>().ok()?;
    let number = |name| match members.get(name)? {
        ListEntry::Item(item) => whole(&item.bare_item),
        ListEntry::InnerList(_) => None,
    };
    let remaining = number("remaining")?;
    let reset = Duration::from_secs(number("reset")?);
    Some(ServiceLimit::new(
        "ratelimit",
        remaining,
        number("limit"),
        reset,
    ))
}

fn policies(headers: &HeaderMap) -> Vec<QuotaPolicy> {
    let list = joined(headers, &RATE_LIMIT_POLICY)
        .and_then(|text| Parser::new(&text).parse::<List>().ok())
        .unwrap_or_default();
    let policy = |entry: &ListEntry| {
        let window = |params| integer(params, "w").map(Duration::from_secs);
        if let ListEntry::Item(item) = entry
            && let Some(quota) = whole(&item.bare_item)
        {
            // Up to draft 07 the quota is the item and has no name.
            let (name, window) = (String::new(), window(&item.params));
            return Some(QuotaPolicy {
                name,
                quota,
                window,
            });
        }
        let (name, params) = named(entry)?;
        let unit = params.get("qu").map(word);
        let is_requests = unit.is_none_or(|unit| unit.as_deref() == Some("requests"));
        let quota = integer(params, "q").filter(|_| is_requests)?;
        Some(QuotaPolicy {
            name,
            quota,
            window: window(params),
        })
    };
    list.iter().filter_map(policy).collect()
}

fn named(entry: &ListEntry) -> Option<(String, &Parameters)> {
    match entry {
        ListEntry::Item(item) => Some((word(&item.bare_item)?, &item.params)),
        ListEntry::InnerList(_) => None,
    }
}

/// A string or a token: drafts differ.
fn word(item: &BareItem) -> Option<String> {
    match item {
        BareItem::String(text) => Some(text.as_str().to_owned()),
        BareItem::Token(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}

fn integer(params: &Parameters, name: &str) -> Option<u64> {
    params.get(name).and_then(whole)
}

fn whole(item: &BareItem) -> Option<u64> {
    match item {
        BareItem::Integer(number) => u64::try_from(i64::from(*number)).ok(),
        _ => None,
    }
}

// --- Families of three fields ---

const FAMILIES: [&str; 3] = ["ratelimit-", "x-ratelimit-", "x-rate-limit-"];
/// What a family may count, and over which time.
const KINDS: [(&str, Option<u64>); 7] = [
    ("", None),
    ("-requests", None),
    ("-second", Some(1)),
    ("-minute", Some(60)),
    ("-hour", Some(3600)),
    ("-day", Some(24 * 3600)),
    ("-month", Some(31 * 24 * 3600)),
];

/// The limits that the fields with this prefix tell of.
fn family(headers: &HeaderMap, prefix: &str, date: Timestamp) -> Vec<ServiceLimit> {
    let mut limits = Vec::new();
    for (kind, window) in KINDS {
        let values = |what: &str| values(headers, &format!("{prefix}{what}{kind}"));
        let remaining = values("remaining");
        if remaining.is_empty() {
            continue;
        }
        let (quotas, mut resets) = (values("limit"), values("reset"));
        if resets.is_empty() {
            resets = values("reset-after");
        }
        let declared: Vec<_> = policies(headers)
            .into_iter()
            .chain(policies_of(&values("policy")))
            .chain(policies_of(&quotas))
            .collect();
        // One vendor may count by kinds of resources, each with fields of the same names.
        let resource = values("resource").concat();
        let several = remaining.len() > 1;
        for (nth, value) in remaining.iter().enumerate() {
            // One value for all of them, or one each; anything else does not say which is whose.
            let of = |list: &[String]| match list.len() {
                1 => list.first().cloned(),
                len if len == remaining.len() => list.get(nth).cloned(),
                _ => None,
            };
            // Early drafts list all policies behind the limit that is nearest.
            let quota = match several {
                true => of(&quotas),
                false => quotas.first().cloned(),
            };
            let quota = quota.and_then(|text| count(&text));
            let window = window.map(Duration::from_secs).or_else(|| {
                let same = declared.iter().filter(|policy| Some(policy.quota) == quota);
                same.filter_map(|policy| policy.window).next()
            });
            let reset = of(&resets).and_then(|text| time_to(&text, date));
            let (Some(remaining), Some(reset)) = (count(value), reset.or(window)) else {
                continue;
            };
            let name = format!("{prefix}{nth}{kind} {resource}");
            limits.push(ServiceLimit::new(&name, remaining, quota, reset).within(window));
        }
    }
    limits
}

/// Policies as the early drafts have them: `100;w=60`, and `100;window=60` before that.
fn policies_of(items: &[String]) -> Vec<QuotaPolicy> {
    let policy = |item: &String| {
        let window = item.split(';').skip(1).find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            matches!(name.trim(), "w" | "window").then(|| count(value))?
        });
        Some(QuotaPolicy {
            name: String::new(),
            quota: count(item)?,
            window: window.map(Duration::from_secs),
        })
    };
    items.iter().filter_map(policy).collect()
}

/// The members of a field over all its lines. A date is one member, whatever commas it has.
fn values(headers: &HeaderMap, name: &str) -> Vec<String> {
    let mut values = Vec::new();
    for line in headers.get_all(name) {
        if date::parse(line.as_bytes()).is_some() {
            values.push(line.to_str().unwrap_or_default().to_owned());
        } else if let Ok(text) = line.to_str() {
            let members = text.split(',').map(|member| member.trim().to_owned());
            values.extend(members.take(LIMITS_MAX));
        }
    }
    values
}

/// A number of requests: digits, perhaps with a fraction (some count by a bucket that leaks) or with parameters behind.
fn count(text: &str) -> Option<u64> {
    let number = text.split(';').next().unwrap_or_default().trim();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    // More digits than fit are very many.
    Some(whole.parse().unwrap_or(u64::MAX))
}

/// Seconds since the epoch are more than this since 2001; no reset is so many seconds away.
const EPOCH_SECONDS_MIN: f64 = 1e9;
/// Milliseconds since the epoch are more than this since 1973; in seconds it would be the year 5138.
const EPOCH_MILLIS_MIN: f64 = 1e11;

/// The time from `date` to what this names.
fn time_to(text: &str, date: Timestamp) -> Option<Duration> {
    let text = text.split(';').next().unwrap_or_default().trim();
    let until = |millis: f64| Timestamp::from_millis(millis as u64).since(date);
    let is_number = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    if text.bytes().all(is_number) {
        let number: f64 = text.parse().ok()?;
        return Some(match number {
            _ if number >= EPOCH_MILLIS_MIN => until(number),
            _ if number >= EPOCH_SECONDS_MIN => until(number * 1000.0),
            _ => Duration::try_from_secs_f64(number).ok()?,
        });
    }
    if let Some(at) = date::parse(text.as_bytes()) {
        return Some(at.since(date));
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(Timestamp::from_millis(u64::try_from(at.as_millisecond()).ok()?).since(date));
    }
    let span = jiff::fmt::friendly::SpanParser::new()
        .parse_span(text)
        .ok()?;
    let length = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours());
    Duration::try_from(length.ok()?).ok()
}

/// All lines of a field as one (RFC 9651 4.2).
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let mut lines = headers.get_all(name).iter();
    let mut text = lines.next()?.as_bytes().to_vec();
    for line in lines {
        text.extend_from_slice(b", ");
        text.extend_from_slice(line.as_bytes());
    }
    Some(text)
}

/// Lines of a name, a colon and a value, as fields: what is read of them has its bounds.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(64) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = HeaderName::from_bytes(parts.next().unwrap_or_default());
        let value = http::HeaderValue::from_bytes(parts.next().unwrap_or_default());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let limits = service_limits(&headers, Timestamp::from_secs(1_800_000_000));
    assert!(limits.len() <= LIMITS_MAX);
    for limit in limits {
        assert!(
            limit.remaining <= REQUESTS_MAX && limit.reset <= RESET_MAX,
            "{limit:?}"
        );
        assert!(limit.policy.chars().count() <= 64, "{limit:?}");
    }
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
