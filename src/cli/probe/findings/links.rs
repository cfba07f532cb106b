//! What comes after this answer: further pages, and the end of this version.

use serde_json::{Value, json};

use super::{
    super::{
        seen::{Exchange, Observations, shown},
        shape::pointer,
    },
    Found, Reading,
};
use crate::{
    clock::Timestamp,
    contract::version::{Told, told},
    http::link::links,
};

/// Members that usually tell of further pages.
const PAGES: [&str; 24] = [
    "next",
    "next_page",
    "nextpage",
    "next_page_url",
    "next_url",
    "next_cursor",
    "nextcursor",
    "next_page_token",
    "nextpagetoken",
    "cursor",
    "continuation",
    "continuationtoken",
    "has_more",
    "hasmore",
    "has_next",
    "hasnextpage",
    "total",
    "total_count",
    "total_pages",
    "page",
    "per_page",
    "page_size",
    "offset",
    "limit",
];
/// Members that hold them.
const HOLDERS: [&str; 10] = [
    "links",
    "_links",
    "meta",
    "_meta",
    "metadata",
    "paging",
    "pagination",
    "page",
    "page_info",
    "pageinfo",
];

pub(super) fn pagination(
    seen: &Observations,
    first: &Exchange,
    reading: &Reading,
    found: &mut Found,
) {
    if !first.answer.status.is_success() {
        return;
    }
    // RFC 8288 3.2: one about something else says nothing of this answer.
    let links = links(&first.answer.headers).into_iter();
    for link in links.filter(|link| link.is("next") && link.anchor.is_none()) {
        let to = seen.target.join(&link.target);
        let to = to.map_or(link.target, |to| to.shown());
        found
            .note(
                "pagination.link",
                format!("Link: the next page is {}", shown(&to, 200)),
            )
            .advise(TO_DO)
            .value(shown(&to, 500));
    }
    let document = reading.content.as_ref().and_then(|one| one.json());
    let told = document.map(page_members).unwrap_or_default();
    if !told.is_empty() {
        let shown: Vec<String> = told
            .iter()
            .map(|(place, value)| format!("{place} = {value}"))
            .collect();
        let places: Vec<&String> = told.iter().map(|(place, _)| place).collect();
        found
            .note(
                "pagination.members",
                format!("pages by {}", shown.join(", ")),
            )
            .advise(TO_DO)
            .value(json!(places));
    }
}

const TO_DO: &str = "the list is not whole: each page is a URL, and so an entry of its own; keep its parameters in key.query";

/// Members that tell of pages, with their values; at the top, and one level down where that is usual.
fn page_members(document: &Value) -> Vec<(String, String)> {
    let mut told = Vec::new();
    let Value::Object(top) = document else {
        return told;
    };
    let is_in =
        |list: &[&str], name: &str| list.iter().any(|known| name.eq_ignore_ascii_case(known));
    for (name, value) in top {
        if let Value::Object(held) = value {
            if is_in(&HOLDERS, name) {
                let inner = held.iter().filter(|(inner, _)| is_in(&PAGES, inner));
                told.extend(inner.map(|(inner, value)| {
                    (format!("{}{}", pointer(name), pointer(inner)), word(value))
                }));
            }
        } else if is_in(&PAGES, name) {
            told.push((pointer(name), word(value)));
        }
    }
    // One that stands alone may be anything: the total of a bill, the limit of a credit card.
    let is_ambiguous = |place: &str| {
        ["/total", "/page", "/limit", "/offset"]
            .iter()
            .any(|name| place.eq_ignore_ascii_case(name))
    };
    if told.len() == 1 && is_ambiguous(&told[0].0) {
        told.clear();
    }
    told.truncate(8);
    told
}

fn word(value: &Value) -> String {
    match value {
        Value::Object(_) => "{…}".to_owned(),
        Value::Array(_) => "[…]".to_owned(),
        other => shown(&other.to_string(), 40),
    }
}

// --- Versions ---

pub(super) fn versions(seen: &Observations, first: &Exchange, found: &mut Found) {
    let told = told(&first.answer.headers);
    if let Some(deprecation) = told.deprecation {
        let finding = match deprecation.at {
            Some(at) => {
                let days = days(seen.now, at);
                let when = match days {
                    days if days > 0 => format!("in {days} days"),
                    days => format!("{} days ago", -days),
                };
                let text = format!("deprecated {when} ({})", day(at));
                found
                    .warning("versions.deprecation", text)
                    .value(json!({ "days_left": days }))
            }
            None => found.warning("versions.deprecation", "deprecated, the vendor says"),
        };
        finding.advise(read_about(&told, &["deprecation", "successor-version"]));
    }
    if let Some(sunset) = told.sunset {
        let days = days(seen.now, sunset.at);
        let when = match days {
            days if days >= 0 => format!("{days} days left"),
            days => format!("since {} days", -days),
        };
        let text = format!("it is switched off on {}: {when}", day(sunset.at));
        found
            .warning("versions.sunset", text)
            .value(json!({ "days_left": days }))
            .advise(read_about(&told, &["sunset", "successor-version"]));
    }
    let fields = [
        (
            "deprecation",
            told.deprecation.is_none(),
            "versions.deprecation",
        ),
        ("sunset", told.sunset.is_none(), "versions.sunset"),
    ];
    for (field, is_unread, name) in fields {
        if let Some(text) = first.answer.field(field).filter(|_| is_unread) {
            let text = format!("{field} that cannot be read: {}", shown(text, 60));
            found.note(name, text);
        }
    }
}

/// What to do about the end of a version: the first of these links, if there is one.
fn read_about(told: &Told, relations: &[&str]) -> String {
    let of = |relation: &&str| told.links.iter().find(|link| link.rel == *relation);
    match relations.iter().find_map(of) {
        Some(link) => format!("read {}", shown(&link.target, 200)),
        None => "ask the vendor what replaces it, and move before that day".to_owned(),
    }
}

fn days(now: Timestamp, then: Timestamp) -> i64 {
    super::super::certificate::days_between(now, then)
}

/// `2026-12-24`.
fn day(time: Timestamp) -> String {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map_or_else(
        |_| "a day that no calendar has".to_owned(),
        |time| time.strftime("%Y-%m-%d").to_string(),
    )
}

#[cfg(test)]
#[path = "links_tests.rs"]
mod tests;
