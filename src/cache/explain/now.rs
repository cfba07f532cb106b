//! What would happen to a request now, and if the upstream failed.

use http::{HeaderMap, Method, header};

use super::{
    departures::route_setting,
    model::{FailingShown, NowShown, Pair, QuestionShown, Reason, WaitShown},
    request::by_policy,
    seen::{Seen, Way},
    stored::stale_forbidden,
    words::{instant, seconds, short},
};
use crate::{
    cache::{
        answer::takes_fallback,
        ask::{Question, question},
        entry::StoredResponse,
        fetch::{asks_for_part, response_in},
        freshness::{State, Verdict},
        lookup::spread,
        plan::{InVain, Plan, Why, Wish, plan_and_why},
        range, validate,
    },
    config::RouteConfig,
    http::{
        method::{is_query, is_safe},
        upgrade::Upgrade,
    },
    store::Key,
};

pub(super) fn now_shown(seen: &Seen<'_>) -> NowShown {
    if seen.way != Way::Cache {
        return passed_on(seen);
    }
    let usable = seen.usable();
    let verdict = usable.as_ref().map(|(_, verdict)| verdict);
    let (plan, why) = plan_and_why(verdict, &seen.wishes, seen.prospects);
    let mut reasons = vec![reason(seen, verdict, why)];
    if seen.answers_by_another_query() {
        let what = "what is stored for another query answers: its `No-Vary-Search` says that they mean the same";
        reasons.push(Reason::set(
            what,
            route_setting(seen.route, "no_vary_search"),
        ));
    }
    if seen.wishes.only_if_cached {
        let what = "the client says `only-if-cached`: nobody is asked for it";
        reasons.push(Reason::rule(what, "RFC 9111 5.2.1.7"));
    }
    let (plan, what) = match plan {
        Plan::Serve { refresh: false } => ("serve", "answered from the store; nobody is asked"),
        Plan::Serve { refresh: true } => (
            "serve_and_refresh",
            "answered from the store at once; the upstream is asked behind the answer",
        ),
        Plan::Ask if seen.standby().is_none() && seen.parts.method == Method::HEAD => {
            let what = "an answer to HEAD is a head, which is nothing to share";
            reasons.push(Reason::rule(what, "RFC 9111 3"));
            (
                "pass_on",
                "passed on to the upstream; the answer is not stored",
            )
        }
        Plan::Ask => ("ask", "the upstream is asked first"),
        Plan::Unsatisfiable => (
            "gateway_timeout",
            "answered 504: nothing stored may be used",
        ),
    };
    if plan == "serve" || plan == "serve_and_refresh" {
        if let Some((stored, _)) = &usable {
            reasons.extend(own_evaluation(seen, stored));
        }
        if plan == "serve" && why == Why::State {
            reasons.extend(early(seen));
        }
    }
    let asks = matches!(plan, "ask" | "serve_and_refresh");
    let is_stale = verdict.is_some_and(|verdict| {
        verdict.state >= State::StaleWhileRevalidate && verdict.is_last_known_good()
    });
    if asks && is_stale && seen.route.drill_percent > 0 {
        let percent = seen.route.drill_percent;
        let what = format!(
            "{percent} % of such requests are a drill: answered from the store, nobody is asked"
        );
        let setting = route_setting(seen.route, "drill_percent");
        reasons.push(Reason::set(what, setting));
    }
    if plan == "ask" && verdict.is_none() {
        reasons.extend(seen.alone_because());
    }
    NowShown {
        plan: plan.to_owned(),
        what: what.to_owned(),
        why: reasons,
        question: asks.then(|| question_shown(seen)),
        wait: (plan == "ask").then(|| wait(seen)),
    }
}

fn passed_on(seen: &Seen<'_>) -> NowShown {
    let method = &seen.parts.method;
    let mut why = Vec::new();
    if seen.way == Way::Content {
        let what =
            "it asks by its content, which was not given here: the key shown is that of its target";
        let reason = Reason::rule(what, "RFC 10008 2.7");
        why.push(match is_query(method) {
            true => reason,
            false => reason.with(route_setting(seen.route, "cache_post")),
        });
        return NowShown {
            plan: "by_content".to_owned(),
            what: "answered from the store or asked about, by its content".to_owned(),
            why,
            question: None,
            wait: None,
        };
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        why.push(Reason::rule(
            format!("answers to {method} are not stored"),
            "RFC 9111 3",
        ));
        if !is_safe(method) {
            let what = "a success invalidates what is stored for its target";
            why.push(Reason::rule(what, "RFC 9111 4.4"));
            let what = "one that ends without an answer puts it in doubt: it is asked about before it is used again";
            why.push(Reason::rule(what, "RFC 9111 4.4"));
        }
    } else if seen.parts.extensions.get::<Upgrade>().is_some() {
        let what = "it asks for another protocol";
        why.push(Reason::rule(what, "RFC 9110 7.8").with(route_setting(seen.route, "upgrade")));
    } else {
        let what = "`If-Match` and `If-Unmodified-Since` are for the origin to judge";
        why.push(Reason::rule(what, "RFC 9110 13.1.1"));
    }
    NowShown {
        plan: "pass_on".to_owned(),
        what: "passed on to the upstream; no cache is asked".to_owned(),
        why,
        question: None,
        wait: None,
    }
}

fn reason(seen: &Seen<'_>, verdict: Option<&Verdict>, why: Why) -> Reason {
    match (why, verdict) {
        (Why::Nothing, _) | (_, None) => nothing(seen),
        (Why::Resting, Some(_)) => {
            let until = seen.resting_until.map(instant).unwrap_or_default();
            let what = format!(
                "a refresh failed or brought nothing to store a moment ago: the key rests until {until}"
            );
            Reason::set(what, by_policy(seen.route, "cool_down"))
        }
        (Why::InVain(InVain::Unwell), Some(_)) => Reason::plain(
            "the breaker of its upstream is not closed: the copy answers at once, and what is asked behind it is a probe",
        ),
        (Why::InVain(InVain::TooSlow), Some(_)) => {
            let what = "those who asked last waited for `stale_after` and got nothing: the copy answers at once";
            Reason::set(what, by_policy(seen.route, "stale_after"))
        }
        (Why::Recovered, Some(_)) => Reason::plain(
            "its last refresh failed, and the upstream has recovered since: what is new is waited for",
        ),
        (Why::Unsatisfied(wish), Some(_)) => {
            let (what, rule) = match wish {
                Wish::NoCache => ("the client says `no-cache`", "RFC 9111 5.2.1.4"),
                Wish::MinFresh => (
                    "it is not fresh for as long as the client's `min-fresh` asks",
                    "RFC 9111 5.2.1.3",
                ),
                Wish::MaxAge => (
                    "it is older than the client's `max-age`",
                    "RFC 9111 5.2.1.1",
                ),
            };
            Reason::rule(what, rule)
        }
        (Why::Welcome, Some(_)) => Reason::rule(
            "it is stale, and the client's `max-stale` welcomes that",
            "RFC 9111 5.2.1.2",
        ),
        (Why::State, Some(verdict)) => by_state(seen, verdict),
    }
}

fn nothing(seen: &Seen<'_>) -> Reason {
    match (&seen.variants, seen.stored) {
        (_, Some(stored)) if stored.part.is_some() => Reason::rule(
            "only a part is stored, and not the one that is asked for",
            "RFC 9111 3.3",
        ),
        (_, Some(_)) => Reason::plain("what is stored does not answer this request"),
        (Some(variants), None) if !variants.selected => Reason::rule(
            "other variants are stored, none for these request fields",
            "RFC 9111 4.1",
        ),
        _ if seen.found.purged => Reason::plain("what was stored was purged"),
        _ => Reason::rule("nothing is stored under this key", "RFC 9111 4"),
    }
}

fn by_state(seen: &Seen<'_>, verdict: &Verdict) -> Reason {
    let left = short(verdict.lifetime.saturating_sub(verdict.age));
    let over = short(verdict.age.saturating_sub(verdict.lifetime));
    match verdict.state {
        State::Fresh | State::Early => {
            Reason::rule(format!("it is fresh for another {left}"), "RFC 9111 4.2")
        }
        State::StaleWhileRevalidate if seen.purged.is_some() => {
            Reason::plain("it was purged: answered once more, and refreshed")
        }
        State::StaleWhileRevalidate => {
            let what =
                format!("it has been stale for {over}, which is within stale-while-revalidate");
            window(seen, what)
        }
        State::Stale if seen.doubted => Reason::rule(
            "a write to its target ended without an answer and may have changed it",
            "RFC 9111 4.4",
        ),
        State::Stale if verdict.stale_allowed => {
            Reason::rule(format!("it has been stale for {over}"), "RFC 9111 4.2.4")
        }
        State::Stale => {
            let forbidden = seen
                .stored
                .and_then(|stored| stale_forbidden(seen.route, stored));
            let (why, rule) =
                forbidden.unwrap_or(("it may not be used without asking", "RFC 9111 4.2.4"));
            Reason::rule(why, rule)
        }
        State::Gone => {
            let what =
                format!("it has been stale for {over}, past every use: good for validation only");
            Reason::set(what, by_policy(seen.route, "max_stale")).by("RFC 9111 4.3")
        }
    }
}

/// Who opened the window in which a stale response is answered at once.
fn window(seen: &Seen<'_>, what: String) -> Reason {
    let named = seen
        .stored
        .and_then(|stored| stored.facts.directives.stale_while_revalidate);
    if named.is_some() && !seen.route.policy.override_origin {
        return Reason::rule(what, "RFC 5861 3");
    }
    Reason::set(what, by_policy(seen.route, "stale_while_revalidate"))
}

/// What the client's own condition or range makes of an answer from the store.
fn own_evaluation(seen: &Seen<'_>, stored: &StoredResponse) -> Option<Reason> {
    let headers = &seen.parts.headers;
    if validate::is_not_modified(headers, stored.status, &stored.headers) {
        let what = "the client has it already: answered 304 without content";
        return Some(Reason::rule(what, "RFC 9111 4.3.2"));
    }
    let has_range = seen.parts.method == Method::GET && headers.contains_key(header::RANGE);
    has_range.then(|| Reason::rule("the client's `Range` is cut from it", "RFC 9110 14.2"))
}

/// Fresh ones are refreshed ahead of time by chance.
fn early(seen: &Seen<'_>) -> Option<Reason> {
    let (stored, verdict) = seen.usable()?;
    let ahead = stored.facts.early_within();
    let left = verdict.lifetime.saturating_sub(verdict.age);
    let is_near = verdict.state == State::Fresh && seen.route.policy.early && left < ahead;
    is_near.then(|| {
        let what = "its end is near: one request may, by chance, refresh it behind";
        Reason::set(what, by_policy(seen.route, "early"))
    })
}

// --- Asking ---

fn question_shown(seen: &Seen<'_>) -> QuestionShown {
    let (method, headers) = (&seen.parts.method, &seen.parts.headers);
    let ranged = asks_for_part(method, headers, seen.found);
    let copy = seen.found.copy.as_ref().and_then(response_in);
    let part = seen.found.part.as_ref().and_then(response_in);
    let asked = question(seen.route, method, ranged, copy, part);
    let mut fields = HeaderMap::new();
    let what = match asked {
        Question::Whether(stored) => match validate::add_conditions(stored, &mut fields) {
            true => "whether what is stored still holds",
            false => "for all of it: what is stored has no validator",
        },
        Question::Rest(beginning) => {
            range::ask_for_rest(beginning, &mut fields);
            "for what the stored part lacks"
        }
        Question::AsAsked => "what the client asks, with its own conditions and range",
        Question::Unconditional => "for all of it, without the client's conditions",
    };
    QuestionShown {
        what: what.to_owned(),
        fields: pairs(&fields),
    }
}

fn pairs(fields: &HeaderMap) -> Vec<Pair> {
    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| Pair {
        name: name.to_string(),
        value: Some(String::from_utf8_lossy(value.as_bytes()).into_owned()),
    };
    fields.iter().map(pair).collect()
}

fn wait(seen: &Seen<'_>) -> WaitShown {
    if seen
        .standby()
        .is_some_and(|(_, _, verdict)| verdict.is_last_known_good())
    {
        return WaitShown {
            seconds: seconds(seen.route.policy.stale_after),
            then: "the stored response".to_owned(),
            setting: by_policy(seen.route, "stale_after"),
        };
    }
    WaitShown {
        seconds: seconds(seen.route.deadline),
        then: otherwise(seen.route, &seen.parts.method).0.to_owned(),
        setting: route_setting(seen.route, "deadline"),
    }
}

// --- If the upstream fails ---

pub(super) fn failing_shown(seen: &Seen<'_>) -> FailingShown {
    let standby = seen.standby().filter(|_| seen.way == Way::Cache);
    let mut why = Vec::new();
    if let Some((key, stored, verdict)) = &standby {
        if verdict.is_last_known_good() {
            return stands_in(seen, key, stored);
        }
        why.push(match (verdict.state, stale_forbidden(seen.route, stored)) {
            (_, Some((what, rule))) => Reason::rule(what, rule),
            (State::Gone, None) => {
                let what = "what is stored is past the last use";
                Reason::set(what, by_policy(seen.route, "max_stale"))
            }
            (_, None) => {
                Reason::plain("what is stored was purged and may not be used without asking")
            }
        });
    } else if seen.way == Way::Content {
        why.push(Reason::plain(
            "what is stored for its content, if anything is, stands in first",
        ));
    } else {
        why.push(Reason::plain("nothing is stored that could stand in"));
    }
    if seen.sibling.is_some() {
        let what = "something is stored for the route's sibling";
        why.push(Reason::set(what, route_setting(seen.route, "sibling")));
        return FailingShown {
            answer: "sibling".to_owned(),
            what: "what is stored for the sibling stands in".to_owned(),
            until: None,
            for_seconds: None,
            why,
        };
    }
    let (what, fallback) = otherwise(seen.route, &seen.parts.method);
    if fallback {
        why.push(Reason::set(
            "the route has a document for it",
            route_setting(seen.route, "fallback"),
        ));
    }
    FailingShown {
        answer: if fallback { "fallback" } else { "error" }.to_owned(),
        what: what.to_owned(),
        until: None,
        for_seconds: None,
        why,
    }
}

fn otherwise(route: &RouteConfig, method: &Method) -> (&'static str, bool) {
    let reads_by_route = route.cache_post && *method == Method::POST;
    if takes_fallback(route, method, reads_by_route) {
        ("the route's fallback document", true)
    } else {
        (
            "the upstream's own error, or a problem document (502, 503 or 504)",
            false,
        )
    }
}

fn stands_in(seen: &Seen<'_>, key: &Key, stored: &StoredResponse) -> FailingShown {
    let (facts, policy) = (&stored.facts, &seen.route.policy);
    let ends = if facts.allows_stale(policy) {
        let what = "a stale response stands in for an upstream that fails";
        let by_origin = facts.directives.stale_if_error.is_some() && !policy.override_origin;
        let end = facts.ages(policy, spread(key)).stale;
        let max_stale = by_policy(seen.route, "max_stale");
        let reason = if by_origin {
            Reason::rule(
                format!("{what}: `stale-if-error`, at most `max_stale`"),
                "RFC 5861 4",
            )
        } else {
            Reason::rule(what, "RFC 9111 4.2.4")
        };
        (end, reason.with(max_stale))
    } else {
        let end = facts.ages(policy, spread(key)).fresh;
        let (what, rule) =
            stale_forbidden(seen.route, stored).unwrap_or(("while it is fresh", "RFC 9111 4.2"));
        (end, Reason::rule(what, rule))
    };
    let until = facts.comes_of_age(ends.0);
    let is_known = seen.purged.is_none() && !facts.is_from_the_future(seen.now);
    FailingShown {
        answer: "stored".to_owned(),
        what: "what is stored stands in".to_owned(),
        until: is_known.then(|| instant(until)),
        for_seconds: is_known.then(|| seconds(until.since(seen.now))),
        why: vec![ends.1],
    }
}
