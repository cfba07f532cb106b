//! What the vendor says about keeping its answers, and about how often it may be asked.
//!
//! Read as the proxy reads it: the same functions.

use std::time::Duration;

use http::header::{AGE, EXPIRES, RETRY_AFTER, VARY};
use serde_json::json;

use super::{
    super::seen::{Exchange, Observations, shown},
    Found,
};
use crate::{
    cache::{Facts, short},
    config::Policy,
    resilience::quota::fields::{ServiceLimit, service_limits},
};

/// What the answer says of its own freshness.
pub(in crate::cli::probe) fn facts(exchange: &Exchange) -> Facts {
    let answered_at = exchange.asked_at.after(exchange.first_byte);
    Facts::new(
        exchange.answer.status,
        &exchange.answer.headers,
        exchange.asked_at,
        answered_at,
    )
}

/// The lifetime that the vendor names, without what its own caches used up; `None` where it names none.
pub(in crate::cli::probe) fn named_lifetime(exchange: &Exchange) -> Option<Duration> {
    let lifetime = facts(exchange).lifetime(&Policy::default())?;
    Some(lifetime.saturating_sub(told_age(exchange)))
}

fn told_age(exchange: &Exchange) -> Duration {
    let age = exchange.answer.field(AGE.as_str()).unwrap_or_default();
    let secs: u32 = age.trim().parse().unwrap_or_default();
    Duration::from_secs(u64::from(secs))
}

pub(super) fn caching(seen: &Observations, first: &Exchange, found: &mut Found) {
    if !first.answer.status.is_success() {
        return;
    }
    let facts = facts(first);
    let directives = facts.directives;
    let lifetime = named_lifetime(first);
    let value = json!({
        "fresh_s": lifetime.map(|one| one.as_secs()),
        "no_store": directives.no_store, "private": directives.private, "no_cache": directives.no_cache,
        "cache_control": first.answer.field("cache-control"),
    });
    let finding = if directives.no_store {
        found
            .warning("caching.lifetime", "no-store: nothing may be kept")
            .advise("where its terms allow it anyway: a policy with `override = true`")
    } else if directives.private {
        found
            .warning(
                "caching.lifetime",
                "private: for one user, not shared between visitors",
            )
            .advise("where all visitors get the same: a policy with `override = true`")
    } else if directives.no_cache {
        found
            .note(
                "caching.lifetime",
                "no-cache: kept, and asked about before each use",
            )
            .advise("each request waits for the vendor; `override = true` and `fresh` change that")
    } else {
        match lifetime {
            Some(fresh) if fresh.is_zero() => found
                .note(
                    "caching.lifetime",
                    "stale at once (max-age=0, or Expires in the past)",
                )
                .advise("each request waits for the vendor; `fresh_min` keeps it a while"),
            Some(fresh) => found.ok(
                "caching.lifetime",
                format!("fresh for {} by the vendor{}", short(fresh), by(first)),
            ),
            None => found
                .note(
                    "caching.lifetime",
                    "the vendor does not say how long it is fresh",
                )
                .advise("each request waits for the vendor; `fresh` of a policy says it instead"),
        }
    };
    finding.value(value);
    age(first, found);
    stale(&facts, found);
    vary(first, found);
    shared(seen, &facts, found);
}

fn by(first: &Exchange) -> &'static str {
    let has_directives = first.answer.headers.contains_key("cache-control");
    match first.answer.headers.contains_key(EXPIRES) && !has_directives {
        true => " (Expires)",
        false => "",
    }
}

fn age(first: &Exchange, found: &mut Found) {
    let age = told_age(first);
    if !age.is_zero() {
        let age = short(age);
        found
            .note(
                "caching.age",
                format!("it comes from a cache of the vendor's, {age} old"),
            )
            .advise("that time is taken off what is left of its freshness");
    }
}

fn stale(facts: &Facts, found: &mut Found) {
    let directives = facts.directives;
    let windows = [
        ("stale-while-revalidate", directives.stale_while_revalidate),
        ("stale-if-error", directives.stale_if_error),
    ];
    let allowed: Vec<String> = windows
        .iter()
        .filter_map(|(name, window)| Some(format!("{name} for {}", short((*window)?))))
        .collect();
    let forbids =
        directives.must_revalidate || directives.proxy_revalidate || directives.s_maxage.is_some();
    if forbids {
        found
            .warning(
                "caching.stale",
                "once stale it may not be used, not even in an outage (must-revalidate or s-maxage)",
            )
            .advise("for a last known good answer: a policy with `override = true`")
            .value(false);
    } else if !allowed.is_empty() {
        found
            .ok(
                "caching.stale",
                format!("stale use is allowed: {}", allowed.join(", ")),
            )
            .value(true);
    }
}

fn vary(first: &Exchange, found: &mut Found) {
    let mut names = Vec::new();
    for line in first.answer.headers.get_all(VARY) {
        let line = line.to_str().unwrap_or_default().to_ascii_lowercase();
        let members = line.split(',').map(|name| shown(name.trim(), 60));
        names.extend(members.filter(|name| !name.is_empty()));
    }
    if names.is_empty() {
        return;
    }
    let text = format!("varies by {}", shown(&names.join(", "), 160));
    let hurts = ["cookie", "user-agent", "authorization"];
    let finding = if names.iter().any(|name| name == "*") {
        found
            .warning(
                "caching.vary",
                "Vary: *, so that no answer may answer another request",
            )
            .advise("nothing is reused unless a policy overrides it; ask the vendor what it means")
    } else if names.iter().any(|name| hurts.contains(&name.as_str())) {
        found
            .warning("caching.vary", text)
            .advise("nearly a copy per visitor: take the field off with request_headers.remove")
    } else {
        found.ok("caching.vary", text)
    };
    finding.value(json!(names));
}

/// RFC 9111 3.5.
fn shared(seen: &Observations, facts: &Facts, found: &mut Found) {
    let is_authorized = seen.fields_sent.iter().any(|name| name == "authorization");
    if is_authorized && !facts.directives.shares_authorized() {
        found
            .note(
                "caching.authorized",
                "asked with Authorization, and it does not say that the answer may be shared",
            )
            .advise(
                "credentials of an [upstream] are larder's own, so that its answers are shared; a client's \
                 own are not",
            );
    }
}

// --- Quota ---

/// The limits that this answer tells of.
pub(in crate::cli::probe) fn limits(exchange: &Exchange) -> Vec<ServiceLimit> {
    let answered_at = exchange.asked_at.after(exchange.first_byte);
    service_limits(&exchange.answer.headers, answered_at)
}

pub(super) fn quota(seen: &Observations, first: &Exchange, found: &mut Found) {
    let last = seen.exchanges.last().unwrap_or(first);
    // What is told last is what is left.
    let told = match limits(last) {
        told if told.is_empty() => limits(first),
        told => told,
    };
    for limit in &told {
        let text = limit_words(limit);
        let is_nearly_used_up = limit.limit.is_some_and(|all| limit.remaining < all / 10);
        let finding = match is_nearly_used_up || limit.remaining == 0 {
            true => found
                .warning("quota.limit", text)
                .advise("nearly used up: who else asks with these credentials?"),
            false => found.ok("quota.limit", text),
        };
        finding.value(json!({
            "policy": limit.policy, "limit": limit.limit, "remaining": limit.remaining,
            "reset_s": limit.reset.as_secs(), "window_s": limit.window.map(|one| one.as_secs()),
        }));
    }
    if told.is_empty() && first.answer.status.is_success() {
        found
            .note("quota.none", "it does not tell its limits")
            .advise("look them up in its terms: `quota = \"100 / minute\"` keeps to them");
    }
    let answers = seen.exchanges.iter();
    let waits = answers.filter_map(|one| one.answer.field(RETRY_AFTER.as_str()));
    if let Some(wait) = waits.last() {
        let wait = shown(wait, 60);
        let unit = match wait.bytes().all(|byte| byte.is_ascii_digit()) {
            true => " s",
            false => "",
        };
        found
            .warning(
                "quota.retry_after",
                format!("it asks to be left alone: Retry-After {wait}{unit}"),
            )
            .advise("larder heeds that, and answers from its store meanwhile")
            .value(wait);
    }
}

/// `100 per minute, 98 left, whole again in 30s`.
fn limit_words(limit: &ServiceLimit) -> String {
    let mut text = match (limit.limit, limit.window) {
        (Some(all), Some(window)) => format!("{all} per {}, {} left", per(window), limit.remaining),
        (Some(all), None) => format!("{} of {all} left", limit.remaining),
        (None, _) => format!("{} left", limit.remaining),
    };
    text.push_str(&format!(", whole again in {}", short(limit.reset)));
    // Of the older fields it is the name of the field.
    let policy = shown(limit.policy.trim(), 40);
    if !policy.is_empty() && !policy.contains("ratelimit") && !policy.contains("rate-limit") {
        text.push_str(&format!(" ({policy})"));
    }
    text
}

/// `minute`, `10s`.
fn per(window: Duration) -> String {
    match window.as_secs() {
        1 => "second".to_owned(),
        60 => "minute".to_owned(),
        3600 => "hour".to_owned(),
        86_400 => "day".to_owned(),
        _ => short(window),
    }
}
