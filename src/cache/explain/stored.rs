//! The stored response's side of an explanation: its age, its lifetime and who named it, its state and what comes next.

use std::time::Duration;

use http::header;

use super::{
    model::{
        BecomesShown, CheckShown, LabelsShown, LifetimeShown, NotStoredShown, Pair, Reason,
        StoredShown,
    },
    request::{by_policy, hex},
    seen::Seen,
    words::{instant, seconds, short},
};
use crate::{
    cache::{
        control::ResponseDirectives,
        entry::StoredResponse,
        freshness::{Bound, Source, StaleForbidden, State, Verdict},
        lookup::spread,
        storable::{NotStored, may_answer},
    },
    config::RouteConfig,
    store::Key,
};

/// A state as the API names it.
pub(super) fn state_name(state: State) -> &'static str {
    match state {
        State::Fresh | State::Early => "fresh",
        State::StaleWhileRevalidate => "stale_while_revalidate",
        State::Stale => "stale",
        State::Gone => "gone",
    }
}

pub(super) fn stored_shown(
    seen: &Seen<'_>,
    key: &Key,
    stored: &StoredResponse,
    lies_in: Vec<String>,
) -> StoredShown {
    let verdict = seen.verdict(key, stored);
    let (answers, why) = answers(seen, stored, &verdict);
    StoredShown {
        hash: hex(key),
        url: stored.url.to_string(),
        status: stored.status.as_u16(),
        received_at: instant(stored.facts.response_time),
        state: state_name(verdict.state).to_owned(),
        answers,
        why,
        age_seconds: seconds(verdict.age),
        lifetime: lifetime(seen.route, key, stored, &verdict),
        becomes: becomes(seen, key, stored),
        validators: validators(stored),
        body_bytes: stored.body.len() as u64,
        part: stored.part.as_ref().map(|part| part.asked().to_owned()),
        failing: stored.facts.failing,
        lies_in,
        labels: LabelsShown {
            tags: texts(&stored.labels.tags),
            groups: texts(&stored.labels.groups),
            epoch: stored.labels.epoch,
            overflow: stored.labels.overflow,
        },
    }
}

fn texts(labels: &[Box<str>]) -> Vec<String> {
    labels.iter().map(ToString::to_string).collect()
}

/// Whether it may answer this request at all, and what else is to be known of its state.
fn answers(seen: &Seen<'_>, stored: &StoredResponse, verdict: &Verdict) -> (bool, Vec<Reason>) {
    let mut why = Vec::new();
    let mut answers = seen.found.copy.is_some();
    if !may_answer(seen.route, &seen.parts.headers, &stored.facts) {
        let what = "it was not declared to be for everybody, and this request has `Authorization`";
        why.push(Reason::rule(what, "RFC 9111 3.5"));
    } else if seen.found.part.is_some() {
        let what = "it is a part of a whole, and not the part that this request asks for";
        why.push(Reason::rule(what, "RFC 9111 3.3, 3.4"));
    } else if stored.facts.failing && verdict.state == State::Gone {
        answers = false;
        why.push(Reason::plain(
            "it is an error that counts as a failure, and its lifetime has ended: as if it were not there",
        ));
    }
    if let Some(mode) = seen.purged {
        why.push(Reason::plain(format!(
            "it was purged ({}), whatever its lifetime says",
            mode.as_str()
        )));
    }
    if stored.facts.is_from_the_future(seen.now) {
        why.push(Reason::plain(
            "it was received later than now: a clock was set back, and nobody can say how old it is",
        ));
    }
    if let Some((forbidden, rule)) = stale_forbidden(seen.route, stored) {
        why.push(Reason::rule(forbidden, rule));
    } else if seen.route.policy.override_origin
        && stored.facts.directives.stale_forbidden_by().is_some()
    {
        let what = "the origin forbids its use once stale; the policy overrides that";
        why.push(Reason::set(what, by_policy(seen.route, "override")).by("RFC 9111 4.2.4"));
    }
    (answers, why)
}

/// What forbids use once stale, and the section.
pub(super) fn stale_forbidden(
    route: &RouteConfig,
    stored: &StoredResponse,
) -> Option<(&'static str, &'static str)> {
    Some(match stored.facts.stale_forbidden_by(&route.policy)? {
        StaleForbidden::Failing => (
            "once stale it stands in for nothing: it counts as a failure",
            "RFC 9111 4.2.4",
        ),
        StaleForbidden::NoCache => ("`no-cache`: never used without asking", "RFC 9111 5.2.2.4"),
        StaleForbidden::MustRevalidate => {
            ("`must-revalidate`: not used once stale", "RFC 9111 5.2.2.2")
        }
        StaleForbidden::ProxyRevalidate => (
            "`proxy-revalidate`: not used once stale",
            "RFC 9111 5.2.2.8",
        ),
        StaleForbidden::SMaxage => (
            "`s-maxage` implies `proxy-revalidate`: not used once stale",
            "RFC 9111 5.2.2.10",
        ),
    })
}

// --- Lifetime ---

fn lifetime(
    route: &RouteConfig,
    key: &Key,
    stored: &StoredResponse,
    verdict: &Verdict,
) -> LifetimeShown {
    let policy = &route.policy;
    let Some(lifetime) = stored.facts.lifetime_with_source(policy) else {
        let what = "nobody named one: it is asked about on every use";
        let none = Reason::set(what, by_policy(route, "heuristic_percent")).by("RFC 9111 4.2.2");
        return LifetimeShown {
            seconds: 0.0,
            from: vec![none],
        };
    };
    let mut from = vec![named_by(route, stored, lifetime.source)];
    if lifetime.source == Source::Fresh || lifetime.source == Source::Negative {
        let origin = stored.facts.origin_lifetime();
        if let Some(origin) = origin.filter(|_| policy.override_origin) {
            let what = format!("overrides what the origin named: {}", short(origin.length));
            from.push(Reason::set(what, by_policy(route, "override")).by("RFC 9111 4.2.1"));
        }
    }
    if let Some(bound) = lifetime.bound {
        let (what, key) = match bound {
            Bound::FreshMin => ("made longer by the policy", "fresh_min"),
            Bound::FreshMax => ("made shorter by the policy", "fresh_max"),
            Bound::NegativeMax => ("made shorter by the policy", "negative_max"),
            Bound::HeuristicMax => ("made shorter by the policy", "heuristic_max"),
        };
        let what = format!("{what}: {}", short(lifetime.length));
        from.push(Reason::set(what, by_policy(route, key)));
    }
    let ages = stored.facts.ages(policy, spread(key));
    if ages.fresh < lifetime.length {
        let what = format!(
            "shortened by this key's share of the spread: {}",
            short(ages.fresh)
        );
        from.push(Reason::set(what, by_policy(route, "spread_percent")));
    }
    if verdict.lifetime < ages.fresh {
        from.push(Reason::plain("ended by a purge"));
    }
    LifetimeShown {
        seconds: seconds(verdict.lifetime),
        from,
    }
}

fn named_by(route: &RouteConfig, stored: &StoredResponse, source: Source) -> Reason {
    let named = stored.facts.lifetime_with_source(&route.policy);
    let origin = stored.facts.origin_lifetime();
    let length = short(match source {
        Source::Fresh | Source::Negative => named.map_or(Duration::ZERO, |named| named.length),
        _ => origin.map_or(Duration::ZERO, |origin| origin.length),
    });
    let directive = |name: &str, section: &str| match ResponseDirectives::targeted(&stored.headers)
    {
        Some((field, _)) => Reason::rule(
            format!("`{name}` in `{field}`: {length}"),
            &format!("RFC 9213 2.2, {section}"),
        ),
        None => Reason::rule(format!("`{name}`: {length}"), section),
    };
    match source {
        Source::SMaxage => directive("s-maxage", "RFC 9111 5.2.2.10"),
        Source::MaxAge => directive("max-age", "RFC 9111 5.2.2.1"),
        Source::NoCache => Reason::rule("`no-cache`: none", "RFC 9111 5.2.2.4"),
        Source::Expires => Reason::rule(format!("`Expires` less `Date`: {length}"), "RFC 9111 5.3"),
        Source::Heuristic => {
            let percent = route.policy.heuristic_percent;
            let what = format!("a guess: {percent} % of the time since `Last-Modified`");
            Reason::set(what, by_policy(route, "heuristic_percent")).by("RFC 9111 4.2.2")
        }
        Source::Fresh => {
            let what = format!("the policy's `fresh`: {length}");
            Reason::set(what, by_policy(route, "fresh"))
        }
        Source::Negative => {
            let status = stored.status.as_u16();
            let what = format!("the policy's lifetime of status {status}: {length}");
            Reason::set(what, by_policy(route, "negative"))
        }
    }
}

fn validators(stored: &StoredResponse) -> Vec<Pair> {
    let names = [header::ETAG, header::LAST_MODIFIED].into_iter();
    let pairs = names.filter_map(|name| {
        let value = stored.headers.get(&name)?;
        Some(Pair {
            name: name.to_string(),
            value: Some(String::from_utf8_lossy(value.as_bytes()).into_owned()),
        })
    });
    pairs.collect()
}

// --- What comes next ---

fn becomes(seen: &Seen<'_>, key: &Key, stored: &StoredResponse) -> Vec<BecomesShown> {
    let facts = &stored.facts;
    if seen.purged.is_some() || facts.is_from_the_future(seen.now) {
        return Vec::new();
    }
    let ages = facts.ages(&seen.route.policy, spread(key));
    let steps = [
        (State::StaleWhileRevalidate, ages.fresh, ages.at_once),
        (State::Stale, ages.at_once, ages.stale),
        (State::Gone, ages.stale, Duration::MAX),
    ];
    let steps = steps.into_iter().filter(|(_, from, to)| from < to);
    let step = |(state, from, _): (State, Duration, Duration)| {
        let at = facts.comes_of_age(from);
        let in_seconds = if at >= seen.now {
            seconds(at.since(seen.now))
        } else {
            -seconds(seen.now.since(at))
        };
        BecomesShown {
            state: state_name(state).to_owned(),
            at: instant(at),
            in_seconds,
        }
    };
    steps.map(step).collect()
}

// --- What is not stored ---

/// What is known of why nothing is stored, and what an answer would be held against.
pub(super) fn not_stored_shown(seen: &Seen<'_>) -> NotStoredShown {
    let route = seen.route;
    let check = |reason: &NotStored| {
        let (what, rule) = reason.about();
        let gives_way = match reason {
            NotStored::SetCookie if route.policy.share_set_cookie => {
                Some(by_policy(route, "share_set_cookie"))
            }
            reason if route.policy.override_origin && reason.gives_way() => {
                Some(by_policy(route, "override"))
            }
            _ => None,
        };
        CheckShown {
            word: reason.as_str().to_owned(),
            what: what.to_owned(),
            rule: rule.to_owned(),
            gives_way,
        }
    };
    let looks_into_bodies = |reason: &&NotStored| **reason != NotStored::Unjudged || route.graphql;
    NotStoredShown {
        known: seen.alone_because().into_iter().collect(),
        checks: NotStored::ALL
            .iter()
            .filter(looks_into_bodies)
            .map(check)
            .collect(),
    }
}
