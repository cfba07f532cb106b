//! Bad data is a failure: whatever a vendor says with 200, clients see only what the route can use.
//!
//! Each bad body against each state of an entry, before and after a restart; without a copy; validation once per fetch.

mod support;

use std::time::Duration;

use larder::clock::Clock;
use serde_json::Value;
use support::{Asked, NOW, Origin, Play, Proxy, Reply, Setup, one_route};

const SECOND: Duration = Duration::from_secs(1);
const JSON: (&str, &str) = ("content-type", "application/json");
const POLICY: &str = "fresh = \"60s\"\noverride = true\nstale_while_revalidate = \"60s\"\nstale_after = \"5s\"\ncool_down = \"0s\"";
const MESSAGE: &str = "prices are being looked up";

/// A price list as the site needs it.
const GOOD: &str = r#"{"currency":"EUR","items":[{"sku":"a","price":10},{"sku":"b","price":20},{"sku":"c","price":30},{"sku":"d","price":40}]}"#;

const CONTRACT: &str = r#"
    message = "prices are being looked up"
    [route.contract]
    records = "/items"
    record_rules = [
        { field = "/sku", required = true },
        { field = "/price", required = true, above = 0 },
    ]
    rules = [
        { field = "/currency", required = true, equals = "EUR" },
        { field = "$.items[*]", count_within = "30%" },
    ]
"#;

/// What a vendor may answer with 200, and the kind of breach that it is.
fn bad_answers() -> Vec<(&'static str, &'static str, Play)> {
    let json = |body: &str| Play::answer(200, &[JSON], body);
    let html = "<!doctype html><title>Back soon</title><p>We are making things better for you.";
    vec![
        (
            "zero price",
            "bad_records",
            json(&GOOD.replace("\"price\":20", "\"price\":0")),
        ),
        (
            "missing field",
            "bad_records",
            json(&GOOD.replace(",\"price\":20", "")),
        ),
        (
            "HTML with 200",
            "content_type",
            Play::answer(200, &[("content-type", "text/html")], html),
        ),
        ("empty 200", "size", json("")),
        ("no content", "size", Play::answer(204, &[], "")),
        ("truncated JSON", "malformed", json(&GOOD[..GOOD.len() / 2])),
        ("wrong currency", "rule", json(&GOOD.replace("EUR", "USD"))),
        (
            "half the list gone",
            "rule",
            json(&GOOD.replace(r#",{"sku":"c","price":30},{"sku":"d","price":40}"#, "")),
        ),
    ]
}

fn good(_: &Asked) -> Play {
    Play::answer(200, &[JSON, ("etag", "\"1\"")], GOOD)
}

fn setup(origin: &Origin, clock: &Clock) -> Setup {
    Setup::before(origin, &one_route(POLICY, CONTRACT))
        .clock(clock)
        .on_disk()
}

/// What the admin API says of the route's contract.
async fn told(proxy: &Proxy) -> Value {
    let reply = proxy.admin_client().get("/api/v1/contracts/all").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

/// Alerts of this kind.
async fn alerts(proxy: &Proxy, kind: &str) -> usize {
    let status = proxy.status().await;
    let alerts = status["alerts"].as_array().expect("a list of alerts");
    alerts.iter().filter(|alert| alert["kind"] == kind).count()
}

fn is_good(reply: &Reply) -> bool {
    reply.status == 200 && reply.text() == GOOD
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_see_only_good_data_in_all_states_and_after_a_restart() {
    for (name, kind, bad) in bad_answers() {
        let clock = Clock::manual(NOW);
        let origin = Origin::start(good).await;
        let proxy = setup(&origin, &clock).start().await;
        assert!(is_good(&proxy.get("/list").await), "{name}");
        proxy.flushed().await;
        origin.now(move |_| bad.clone());
        for (state, passes) in [
            ("fresh", 1),
            ("revalidated behind", 70),
            ("stale", 120),
            ("long stale", 3_600),
        ] {
            proxy.advance(SECOND * passes);
            for nth in 0..3 {
                let reply = proxy.get("/list").await;
                assert!(is_good(&reply), "{name}, {state}, {nth}: {reply:?}");
                proxy.settled().await;
            }
        }
        let asked = origin.asked_total();
        assert!(asked > 3, "{name}: it was asked {asked} times");
        let before = told(&proxy).await;
        assert_ne!(
            before["samples"].as_array().map_or(0, Vec::len),
            0,
            "{name}: {before}"
        );
        assert!(
            before["breaches"][kind].as_u64() > Some(2),
            "{name}: {before}"
        );
        assert_eq!(alerts(&proxy, "contract_breach").await, 1, "{name}");
        let status = proxy.breaker().await;
        assert_eq!(
            status, "closed",
            "{name}: it is no reason to leave the vendor alone"
        );

        let again = setup(&origin, &clock).where_was(&proxy);
        proxy.stop().await;
        let again = again.start().await;
        for nth in 0..3 {
            let reply = again.get("/list").await;
            assert!(is_good(&reply), "{name}, restarted, {nth}: {reply:?}");
            again.settled().await;
        }
        assert_eq!(
            alerts(&again, "contract_breach").await,
            0,
            "{name}: it was told before the restart"
        );
        let after = told(&again).await;
        assert_ne!(
            after["samples"].as_array().map_or(0, Vec::len),
            0,
            "{name}: {after}"
        );
        // The vendor is well again: what is new is served.
        let renewed = GOOD.replace("\"price\":20", "\"price\":25");
        let body = renewed.clone();
        origin.now(move |_| Play::answer(200, &[JSON], body.clone()));
        again.advance(SECOND * 130);
        assert_eq!(again.get("/list").await.text(), renewed, "{name}");
        again.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_copy_a_bad_answer_is_a_502_with_the_routes_message() {
    for (name, _, bad) in bad_answers() {
        if name == "half the list gone" {
            // There is nothing that it would be half of.
            continue;
        }
        let origin = Origin::start(move |_| bad.clone()).await;
        let proxy = setup(&origin, &Clock::manual(NOW)).start().await;
        for _ in 0..2 {
            let reply = proxy.get("/list").await;
            assert_eq!(reply.status, 502, "{name}: {reply:?}");
            assert_eq!(
                reply.field("content-type"),
                "application/problem+json",
                "{name}"
            );
            let text = reply.text();
            assert!(text.contains(MESSAGE), "{name}: {text}");
            for word in [
                "sku",
                "USD",
                "doctype",
                "price\":",
                "above",
                "malformed",
                "contract",
            ] {
                assert!(
                    !text.contains(word),
                    "{name}: a visitor reads {word:?} in {text}"
                );
            }
            assert_eq!(reply.cache("detail"), Some("contract"), "{name}");
        }
        let html = proxy
            .client
            .get_with("/list", &[("accept", "text/html")])
            .await;
        assert_eq!(html.status, 502, "{name}");
        assert!(!html.text().contains("sku"), "{name}: {html:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breach_is_asked_about_again_and_counts_only_where_the_route_says_so() {
    for (more, asked, breaker) in [
        ("", 6, "closed"),
        ("retry = true", 18, "closed"),
        ("breaker = true", 5, "open"),
    ] {
        let origin = Origin::start(|_| Play::answer(200, &[JSON], "{}")).await;
        let toml = one_route(POLICY, &format!("{CONTRACT}\n{more}"))
            .replace("retry = { retries_max = 0, retries_max_stale = 0 }", "retry = { budget_percent = 100, budget_min_per_second = 100, backoff_min = \"1ms\", backoff_max = \"1ms\" }")
            .replace("breaker = { enabled = false }", "breaker = { min_calls = 5, open_for = \"10m\", open_for_max = \"10m\" }");
        let proxy = Setup::before(&origin, &toml).start().await;
        for nth in 0..6 {
            let reply = proxy.get(&format!("/{nth}")).await;
            assert!(
                matches!(reply.status.as_u16(), 502 | 503),
                "{more}: {reply:?}"
            );
        }
        assert_eq!(origin.asked_total(), asked, "{more:?}");
        assert_eq!(proxy.breaker().await, breaker, "{more:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_judged_once_when_it_is_fetched_and_never_on_a_hit() {
    let origin = Origin::start(good).await;
    let proxy = setup(&origin, &Clock::manual(NOW)).start().await;
    for _ in 0..200 {
        assert!(is_good(&proxy.get("/list").await));
    }
    assert_eq!(origin.asked_total(), 1);
    let told = told(&proxy).await;
    assert_eq!(told["good"], 1, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_only_observed_a_bad_answer_is_served_and_told() {
    let bad = GOOD.replace("EUR", "USD");
    let body = bad.clone();
    let origin = Origin::start(move |_| Play::answer(200, &[JSON], body.clone())).await;
    let contract = format!("{CONTRACT}\nmode = \"observe\"");
    let proxy = Setup::before(&origin, &one_route(POLICY, &contract))
        .start()
        .await;
    for path in ["/a", "/b", "/c"] {
        assert_eq!(proxy.get(path).await.text(), bad);
    }
    assert_eq!(alerts(&proxy, "contract_breach").await, 1);
    let told = told(&proxy).await;
    assert_eq!(
        (&told["observed"], &told["breach"]),
        (&3.into(), &0.into()),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_judged_is_a_breach_and_no_stall() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let wide = format!("[{}0]", "0,".repeat(600_000));
    let huge = format!("\"{}\"", "x".repeat(9 << 20));
    for (name, body) in [("deep", deep), ("wide", wide), ("huge", huge)] {
        let origin = Origin::start(move |_| Play::answer(200, &[JSON], body.clone())).await;
        let proxy = setup(&origin, &Clock::manual(NOW)).start().await;
        assert_eq!(proxy.get("/list").await.status, 502, "{name}");
        let told = told(&proxy).await;
        assert_eq!(told["breaches"]["too_complex"], 1, "{name}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_given_to_a_route_holds_for_what_is_stored_already() {
    let clock = Clock::manual(NOW);
    let nonsense = GOOD.replace("\"price\":20", "\"price\":0");
    let body = nonsense.clone();
    let origin = Origin::start(move |asked| match asked.target.as_str() {
        "/good" => good(asked),
        _ => Play::answer(200, &[JSON], body.clone()),
    })
    .await;
    let without = Setup::before(&origin, &one_route(POLICY, ""));
    let proxy = without.clock(&clock).on_disk().start().await;
    assert!(is_good(&proxy.get("/good").await));
    assert_eq!(proxy.get("/bad").await.text(), nonsense);
    proxy.flushed().await;
    let again = setup(&origin, &clock).where_was(&proxy);
    proxy.stop().await;
    origin.is_down();
    let proxy = again.start().await;
    for nth in 0..2 {
        let reply = proxy.get("/good").await;
        assert!(is_good(&reply) && reply.is_hit(), "{nth}: {reply:?}");
        let reply = proxy.get("/bad").await;
        assert_ne!(reply.status, 200, "{nth}: {reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_for_a_part_gets_it_of_the_whole_that_was_judged() {
    let origin = Origin::start(|asked| {
        assert_eq!(asked.field("range"), "", "a part cannot be judged");
        good(asked)
    })
    .await;
    let proxy = setup(&origin, &Clock::manual(NOW)).start().await;
    let first = proxy
        .client
        .get_with("/list", &[("range", "bytes=0-9")])
        .await;
    assert!(
        first.status == 200 || first.text() == &GOOD[..10],
        "{first:?}"
    );
    let second = proxy
        .client
        .get_with("/list", &[("range", "bytes=0-9")])
        .await;
    assert_eq!((second.status.as_u16(), second.text()), (206, &GOOD[..10]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_write_answers_is_passed_on_it_has_happened() {
    let origin = Origin::start(|_| Play::answer(201, &[JSON], "{\"order\":7}")).await;
    let proxy = setup(&origin, &Clock::manual(NOW)).start().await;
    let reply = proxy.client.post("/list", "{}").await;
    assert_eq!(
        (reply.status.as_u16(), reply.text()),
        (201, "{\"order\":7}")
    );
}
