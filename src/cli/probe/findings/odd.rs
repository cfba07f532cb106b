//! What does not fit together, and bites later.

use std::time::Duration;

use http::{
    HeaderName,
    header::{
        AGE, CONTENT_LENGTH, CONTENT_TYPE, DATE, ETAG, EXPIRES, LAST_MODIFIED, LOCATION, SET_COOKIE,
    },
};
use serde_json::{Value, json};

use super::{
    super::{
        content::{Content, Kind},
        seen::{Exchange, Observations, Purpose, shown},
    },
    Found, Reading,
    caching::facts,
};
use crate::{cache::short, clock::Timestamp, http::date};

/// A clock that is off by less is as good as right: a date is a whole second, and an answer takes its time.
const SKEW_MIN: Duration = Duration::from_secs(5);
/// By more, freshness is computed wrongly.
const SKEW_BAD: Duration = Duration::from_secs(60);

/// Fields that are there once or not at all (RFC 9110 5.3).
const ONCE: [HeaderName; 8] = [
    AGE,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    DATE,
    ETAG,
    EXPIRES,
    LAST_MODIFIED,
    LOCATION,
];

pub(super) fn oddities(
    seen: &Observations,
    first: &Exchange,
    reading: &Reading,
    found: &mut Found,
) {
    clock(first, found);
    duplicates(first, found);
    cookies(first, found);
    if !first.answer.status.is_success() {
        return;
    }
    if let Some(content) = &reading.content {
        error_inside(content, found);
        type_does_not_fit(content, found);
    }
    secrets(seen, found);
    never_kept(seen, found);
}

fn clock(first: &Exchange, found: &mut Found) {
    let Some(text) = first.answer.headers.get(DATE) else {
        found
            .note(
                "oddities.date",
                "it sends no Date: ages are counted from its arrival",
            )
            .value(Value::Null);
        return;
    };
    let Some(date) = date::parse(text.as_bytes()) else {
        found.warning("oddities.date", "its Date is no date of HTTP");
        return;
    };
    let is_stored = first.answer.headers.contains_key(AGE);
    let answered_at = first.asked_at.after(first.first_byte);
    let (skew, ahead) = skew(date, first.asked_at, answered_at);
    // What a cache kept is as old as it says.
    if skew < SKEW_MIN || (is_stored && !ahead) {
        return;
    }
    let way = if ahead { "ahead of" } else { "behind" };
    let text = format!("its clock is {} {way} this machine's", short(skew));
    let finding = match skew > SKEW_BAD {
        true => found.warning("oddities.date", text).advise(
            "freshness by Expires, and early refreshes, will be off: one of the two is wrong",
        ),
        false => found.note("oddities.date", text),
    };
    finding.value(json!({ "skew_s": skew.as_secs(), "ahead": ahead }));
}

/// How far a date lies outside of the time in which it was written, and on which side.
fn skew(date: Timestamp, asked_at: Timestamp, answered_at: Timestamp) -> (Duration, bool) {
    let ahead = date.since(answered_at);
    if ahead.is_zero() {
        return (asked_at.since(date), false);
    }
    (Duration::from_secs(ahead.as_secs()), true)
}

fn duplicates(first: &Exchange, found: &mut Found) {
    let headers = &first.answer.headers;
    let twice = ONCE
        .iter()
        .filter(|name| headers.get_all(*name).iter().nth(1).is_some());
    let twice: Vec<&str> = twice.map(HeaderName::as_str).collect();
    if !twice.is_empty() {
        found
            .warning(
                "oddities.duplicates",
                format!("sent more than once: {}", twice.join(", ")),
            )
            .advise("readers disagree about which one counts; tell the vendor")
            .value(json!(twice));
    }
}

fn cookies(first: &Exchange, found: &mut Found) {
    let cookies = first.answer.headers.get_all(SET_COOKIE).iter();
    let names: Vec<String> = cookies
        .map(|cookie| {
            let text = String::from_utf8_lossy(cookie.as_bytes()).into_owned();
            shown(text.split('=').next().unwrap_or_default().trim(), 40)
        })
        .collect();
    if !names.is_empty() {
        found
            .warning("oddities.set_cookie", format!("it sets cookies: {}", names.join(", ")))
            .advise(
                "such an answer is shared only if it says public or s-maxage; `share_set_cookie` or `override` of a \
                 policy keeps it, and `response_headers.remove` of the route takes the cookies off",
            )
            .value(json!(names));
    }
}

/// A member that says that this is no answer at all.
fn error_inside(content: &Content, found: &mut Found) {
    let Some(document) = content.json() else {
        return;
    };
    let is_error = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Bool(true) => true,
    };
    let member = ["error", "errors"]
        .into_iter()
        .find(|name| document.get(name).is_some_and(is_error));
    if let Some(member) = member {
        let value = document.get(member).map(ToString::to_string);
        found
            .problem(
                "oddities.error_inside",
                format!("success by its status, and /{member} inside: {}", shown(&value.unwrap_or_default(), 80)),
            )
            .advise(
                "a contract sees that: a rule, or a schema without it; for GraphQL `graphql = true` of the route",
            )
            .value(format!("/{member}"));
    }
}

fn type_does_not_fit(content: &Content, found: &mut Found) {
    if content.has_bom {
        found
            .note(
                "oddities.byte_order_mark",
                "it begins with a byte order mark, which JSON must not have",
            )
            .advise("strict readers, a contract among them, may refuse it");
    }
    let Some(claimed) = &content.claimed else {
        return;
    };
    let is = match &content.kind {
        Kind::Json(_) if !claimed.is_json() => "JSON",
        Kind::Html if !claimed.essence.contains("html") => "HTML",
        Kind::Xml { .. } if !claimed.essence.contains("xml") => "XML",
        _ => return,
    };
    let text = format!("it says {} and is {is}", claimed.essence);
    match is {
        // Under another name a page has taken the place of data.
        "HTML" => found
            .problem("oddities.type", text)
            .advise("a maintenance page? a contract that names `content_type` is not enough here: give it a schema"),
        _ => found
            .warning("oddities.type", text)
            .advise(format!("name what it says: `content_type = [\"{}\"]` of the contract", claimed.essence)),
    }
    .value(json!({ "claimed": claimed.essence, "is": is }));
}

fn secrets(seen: &Observations, found: &mut Found) {
    let secrets = seen.target.secret_parameters();
    if !secrets.is_empty() {
        found
            .warning(
                "oddities.secret_in_url",
                format!("a secret in the URL: {}", shown(&secrets.join(", "), 80)),
            )
            .advise("URLs end up in logs; does the vendor take it in a field? then --header 'Name: value'")
            .value(json!(secrets));
    }
}

fn never_kept(seen: &Observations, found: &mut Found) {
    let mut answers = seen
        .exchanges
        .iter()
        .filter(|one| matches!(one.purpose, Purpose::Plain | Purpose::Encoded));
    let number = answers.clone().count();
    if number > 1 && answers.all(|one| facts(one).directives.no_store) {
        found
            .note(
                "oddities.no_store",
                format!("no-store on all {number} answers, data that anybody gets or not"),
            )
            .advise("often a default of its framework: ask the vendor whether it is meant");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_off_by_what_the_way_does_not_explain() {
        let at = Timestamp::from_secs;
        for (name, date, want) in [
            ("the second of the question", 100, (0, false)),
            ("the second of the answer", 102, (0, false)),
            ("before the question", 40, (60, false)),
            ("after the answer", 160, (58, true)),
        ] {
            let (skew, ahead) = skew(at(date), at(100), at(102));
            assert_eq!((skew.as_secs(), ahead), want, "{name}");
        }
    }
}
