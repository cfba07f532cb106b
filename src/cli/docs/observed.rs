//! What a running proxy has seen, from the answers of its admin API to sentences. Pure; what it does not find it leaves out,
//! so that an older or newer proxy has something to say too.

use serde_json::Value;

use super::model::Seen;
use crate::clock::Timestamp;

/// Fields seen in answers that are listed; more are counted.
const PLACES_MAX: usize = 60;

/// What `/api/v1/status`, and where there is one `/api/v1/contracts` and `/api/v1/drift/ROUTE` (by route), say of each
/// upstream.
pub(super) fn seen(
    status: &Value,
    contracts: Option<&Value>,
    drift: &[(String, Value)],
) -> Vec<(String, Seen)> {
    let upstreams = status["upstreams"].as_array();
    let upstreams = upstreams.into_iter().flatten().filter_map(|upstream| {
        let name = upstream["name"].as_str()?;
        let routes: Vec<_> = routes_of(status, name)
            .filter_map(|route| {
                let route_name = route["name"].as_str()?;
                let contract = contracts.and_then(|all| contract_of(all, route_name));
                let mut lines = route_seen(route, contract);
                if let Some((_, learnt)) = drift.iter().find(|(known, _)| known == route_name) {
                    drift_seen(learnt, &mut lines);
                }
                Some((route_name.to_owned(), lines))
            })
            .collect();
        let broken = routes_of(status, name).any(|route| {
            let name = route["name"].as_str().unwrap_or_default();
            let contract = contracts.and_then(|all| contract_of(all, name));
            contract.is_some_and(|it| !list(&it["open"]).is_empty())
        });
        let seen = Seen {
            state: state(upstream, broken),
            upstream: upstream_seen(upstream),
            routes,
        };
        Some((name.to_owned(), seen))
    });
    upstreams.collect()
}

fn routes_of<'s>(status: &'s Value, upstream: &'s str) -> impl Iterator<Item = &'s Value> {
    let routes = list(&status["routes"]).iter();
    routes.filter(move |route| route["upstream"] == upstream)
}

fn contract_of<'c>(contracts: &'c Value, route: &str) -> Option<&'c Value> {
    let all = list(&contracts["contracts"]);
    all.iter().find(|contract| contract["route"] == route)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// In a word or two, for the index.
fn state(upstream: &Value, is_broken: bool) -> String {
    let breaker = upstream["breaker"].as_str().unwrap_or("unknown");
    match (breaker, is_broken) {
        ("closed", false) => "asked as usual".to_owned(),
        ("closed", true) => "breaks its contract".to_owned(),
        (other, _) => format!("breaker {}", other.replace('_', "-")),
    }
}

fn upstream_seen(upstream: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(breaker) = upstream["breaker"].as_str() {
        lines.push(format!("Its breaker is {}.", breaker.replace('_', "-")));
    }
    let attempts = number(&upstream["attempts"]);
    let failures = upstream["failures"].as_object();
    let by_cause: Vec<_> = failures
        .into_iter()
        .flatten()
        .map(|(cause, count)| format!("{cause} {count}"))
        .collect();
    let failed = match by_cause.is_empty() {
        true => "none of them failed".to_owned(),
        false => format!("failures by cause: {}", by_cause.join(", ")),
    };
    lines.push(format!("{attempts} attempts since its start; {failed}."));
    if let Some(at) = upstream["last_failure"]["at_ms"].as_u64() {
        let cause = upstream["last_failure"]["cause"]
            .as_str()
            .unwrap_or("unknown");
        lines.push(format!("The last failure was at {}: {cause}.", instant(at)));
    }
    for endpoint in list(&upstream["endpoint_states"]) {
        let (url, state) = (endpoint["url"].as_str(), endpoint["state"].as_str());
        if let (Some(url), Some(state)) = (url, state) {
            lines.push(format!("Endpoint {url} is {state}."));
        }
    }
    if let Some(remaining) = upstream["quota_remaining"].as_u64() {
        lines.push(format!(
            "Its quota has {remaining} requests left in this period."
        ));
    }
    if let Some(days) = upstream["review_overdue_days"].as_u64() {
        lines.push(format!("Its review is {days} days late."));
    }
    lines
}

fn route_seen(route: &Value, contract: Option<&Value>) -> Vec<String> {
    let mut lines = Vec::new();
    let requests: Vec<_> = route["requests"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(outcome, count)| format!("{outcome} {count}"))
        .collect();
    lines.push(match requests.is_empty() {
        true => "Not asked for since the start of the proxy.".to_owned(),
        false => format!("Answers since its start: {}.", requests.join(", ")),
    });
    if let Some(breaker) = route["breaker"].as_str() {
        lines.push(format!("Its own breaker is {}.", breaker.replace('_', "-")));
    }
    version_seen(&route["version"], &mut lines);
    if let Some(contract) = contract {
        lines.push(format!(
            "Answers that met the contract: {}; that broke it: {}.",
            number(&contract["good"]),
            number(&contract["breach"]) + number(&contract["observed"])
        ));
        for episode in list(&contract["open"]) {
            let message = episode["message"].as_str().unwrap_or_default();
            let since = instant(number(&episode["first_ms"]));
            lines.push(format!("Broken since {since}: {message}"));
        }
    }
    lines
}

fn version_seen(version: &Value, lines: &mut Vec<String>) {
    let deprecated = &version["deprecated"];
    if deprecated.is_object() {
        lines.push(match deprecated["at_ms"].as_u64() {
            Some(at) => format!("Deprecated as of {}.", instant(at)),
            None => "Deprecated; the vendor does not say since when.".to_owned(),
        });
    }
    let sunset = &version["sunset"];
    if let Some(at) = sunset["at_ms"].as_u64() {
        let left = match sunset["past"].as_bool() {
            Some(true) => "it may be gone".to_owned(),
            _ => format!("{} days left", number(&sunset["days_left"])),
        };
        lines.push(format!("Its sunset is {}: {left}.", instant(at)));
    }
    for link in list(&version["links"]) {
        let (rel, target) = (link["rel"].as_str(), link["target"].as_str());
        if let (Some(rel), Some(target)) = (rel, target) {
            lines.push(format!("The vendor points to {target} ({rel})."));
        }
    }
    for mismatch in list(&version["mismatches"]) {
        let named = mismatch["version"].as_str().unwrap_or_default();
        let pinned = version["pinned"].as_str().unwrap_or_default();
        lines.push(format!(
            "The vendor named version {named} in place of {pinned}."
        ));
    }
}

/// What was learnt of the shape of a route's answers, and how it changed.
fn drift_seen(learnt: &Value, lines: &mut Vec<String>) {
    for change in list(&learnt["changes"]) {
        let word = |name: &str| change[name].as_str().unwrap_or_default();
        let ended = match change["ended"].as_bool() {
            Some(true) => ", and is again as it was",
            _ => "",
        };
        lines.push(format!(
            "Changed ({}): {} {} since {}, {} of {} answers{ended}.",
            word("class"),
            word("path"),
            word("change").replace('_', " "),
            instant(number(&change["first_seen_ms"])),
            number(&change["answers"]),
            number(&change["of"])
        ));
    }
    let places = list(&learnt["places"]);
    let shown: Vec<_> = places.iter().take(PLACES_MAX).filter_map(place).collect();
    if shown.is_empty() {
        return;
    }
    let more = match places.len().saturating_sub(PLACES_MAX) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let answers = number(&learnt["answers"]);
    lines.push(format!(
        "Fields seen in {answers} answers: {}{more}.",
        shown.join("; ")
    ));
}

/// `$.price number or null`
fn place(place: &Value) -> Option<String> {
    let path = place["path"].as_str()?;
    let types = list(&place["types"]).iter().filter_map(Value::as_str);
    let mut shown = format!("{path} {}", types.collect::<Vec<_>>().join(" or "));
    if let Some(present) = place["present"].as_f64().filter(|present| *present < 1.0) {
        shown.push_str(&format!(" (in {:.0} %)", present * 100.0));
    }
    Some(shown.trim_end().to_owned())
}

/// RFC 3339 in UTC, to the second.
pub(super) fn instant(millis: u64) -> String {
    let secs = i64::try_from(Timestamp::from_millis(millis).as_millis() / 1000);
    let at = secs
        .ok()
        .and_then(|it| jiff::Timestamp::from_second(it).ok());
    at.map_or_else(|| "an unknown time".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_proxy_says_is_told_by_upstream_and_route() {
        let status = json!({
            "upstreams": [{
                "name": "pricing", "breaker": "half_open", "attempts": 7,
                "failures": {"connect_refused": 2}, "quota_remaining": 5,
                "last_failure": {"at_ms": 1_800_000_000_000u64, "cause": "connect_refused"},
                "endpoint_states": [{"url": "http://a/", "state": "up"}]
            }],
            "routes": [
                {"name": "prices", "upstream": "pricing", "requests": {"hit": 3},
                 "version": {"pinned": "1", "sunset": {"at_ms": 1_800_000_000_000u64, "days_left": 12, "past": false},
                             "mismatches": [{"how": "answer", "version": "2"}]}},
                {"name": "other", "upstream": "booking", "requests": {}}
            ]
        });
        let contracts = json!({"contracts": [{"route": "prices", "good": 9, "breach": 1, "observed": 0,
            "open": [{"first_ms": 1_800_000_000_000u64, "message": "price is 0"}]}]});
        let drift = [(
            "prices".to_owned(),
            json!({"answers": 40, "changes": [{"path": "$.price", "change": "type_changed", "class": "breaking",
                "first_seen_ms": 1_800_000_000_000u64, "answers": 3, "of": 4}],
                "places": [{"path": "$.price", "types": ["number", "null"], "present": 0.5}, {"path": "$.sku", "types": ["string"]}]}),
        )];
        let seen = seen(&status, Some(&contracts), &drift);
        let (name, pricing) = &seen[0];
        assert_eq!(
            (name.as_str(), pricing.state.as_str()),
            ("pricing", "breaker half-open")
        );
        let all = pricing.upstream.join("\n");
        for want in [
            "breaker is half-open",
            "7 attempts since its start; failures by cause: connect_refused 2",
            "2027-01-15T08:00:00Z: connect_refused",
            "http://a/ is up",
            "5 requests left",
        ] {
            assert!(all.contains(want), "{want} in {all}");
        }
        assert_eq!(pricing.routes.len(), 1);
        let all = pricing.routes[0].1.join("\n");
        for want in [
            "Answers since its start: hit 3.",
            "Its sunset is 2027-01-15T08:00:00Z: 12 days left.",
            "named version 2 in place of 1",
            "met the contract: 9; that broke it: 1",
            "Broken since 2027-01-15T08:00:00Z: price is 0",
            "Changed (breaking): $.price type changed since 2027-01-15T08:00:00Z, 3 of 4 answers.",
            "Fields seen in 40 answers: $.price number or null (in 50 %); $.sku string.",
        ] {
            assert!(all.contains(want), "{want} in {all}");
        }
    }

    #[test]
    fn an_answer_of_another_kind_is_no_panic() {
        for status in [
            json!(null),
            json!([]),
            json!({"upstreams": [{}, {"name": 5}]}),
        ] {
            assert!(seen(&status, Some(&json!({})), &[]).is_empty());
        }
    }
}
