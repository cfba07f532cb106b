//! A good copy stays until something better comes: no error takes its place, no visitor's own answer ends it, and what
//! renews it or ends it is what the vendor said about it.

mod support;

use std::time::Duration;

use larder::clock::Clock;
use support::{Asked, Gate, NOW, Origin, Play, Proxy, Setup, one_route, until, within};

const SECOND: Duration = Duration::from_secs(1);
const STRICT: &str = "stale_while_revalidate = \"0s\"\nstale_after = \"5s\"";
const SESSION: &[(&str, &str)] = &[("cookie", "session=1")];

async fn proxy(origin: &Origin, policy: &str) -> Proxy {
    let setup = Setup::before(origin, &one_route(policy, ""));
    setup.clock(&Clock::manual(NOW)).start().await
}

fn good(_: &Asked) -> Play {
    Play::answer(200, &[("cache-control", "max-age=1")], "good")
}

// --- What may take its place ---

#[tokio::test(flavor = "multi_thread")]
async fn an_error_or_a_redirect_never_takes_the_place_of_a_good_copy() {
    const LONG: (&str, &str) = ("cache-control", "public, max-age=3600");
    for (status, fields) in [
        (302, &[][..]),
        (400, &[]),
        (401, &[]),
        (403, &[]),
        (403, &[LONG]),
    ] {
        let origin = Origin::start(|_| Play::answer(200, &[], "good")).await;
        let proxy = proxy(&origin, &format!("{STRICT}\nfresh = \"1s\"")).await;
        proxy.get("/a").await;
        proxy.advance(SECOND * 2);
        origin.now(move |_| Play::answer(status, fields, "no better"));
        assert_eq!(proxy.get("/a").await.text(), "no better", "{status}");
        assert_eq!(proxy.get("/a").await.text(), "good", "{status}: it rests");
        origin.is_down();
        proxy.advance(SECOND * 3600);
        let outage = proxy.get("/a").await;
        assert_eq!(outage.text(), "good", "{status} {fields:?}: {outage:?}");
        assert!(outage.is_stale(), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policys_lifetime_is_not_for_errors_and_redirects() {
    for status in [302, 400, 401, 403] {
        let origin = Origin::start(move |_| Play::answer(status, &[], "no good")).await;
        let proxy = proxy(&origin, &format!("{STRICT}\nfresh = \"60s\"")).await;
        for _ in 0..3 {
            assert_eq!(proxy.get("/a").await.status, status);
        }
        assert_eq!(origin.asked_total(), 3, "{status} was stored");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_ends_the_copy() {
    const NO_STORE: (&str, &str) = ("cache-control", "no-store");
    for (status, fields) in [(404, &[][..]), (404, &[NO_STORE]), (410, &[])] {
        let origin = Origin::start(|_| Play::answer(200, &[], "good")).await;
        let proxy = proxy(&origin, &format!("{STRICT}\nfresh = \"1s\"")).await;
        proxy.get("/a").await;
        proxy.advance(SECOND * 2);
        origin.now(move |_| Play::answer(status, fields, "gone"));
        assert_eq!(proxy.get("/a").await.text(), "gone");
        origin.is_down();
        proxy.advance(SECOND * 2);
        let outage = proxy.get("/a").await;
        assert_ne!(outage.status, 200, "{status} {fields:?}: {outage:?}");
    }
}

// --- How often it is asked about ---

#[tokio::test(flavor = "multi_thread")]
async fn refreshes_that_bring_nothing_storable_leave_the_vendor_a_rest() {
    let origin = Origin::start(good).await;
    let proxy = proxy(&origin, "stale_while_revalidate = \"1h\"").await;
    proxy.get("/a").await;
    proxy.advance(SECOND * 2);
    origin.now(|_| {
        let fields = [("cache-control", "max-age=1"), ("set-cookie", "visit=1")];
        Play::answer(200, &fields, "for one visitor")
    });
    for refreshes in 1..=2 {
        for nth in 0..50 {
            let reply = proxy.get("/a").await;
            assert_eq!(reply.text(), "good", "request {nth}: {reply:?}");
            until("it is asked", || origin.asked_total() > refreshes).await;
        }
        proxy.settled().await;
        assert_eq!(origin.asked_total(), 1 + refreshes, "once a rest");
        proxy.advance(SECOND);
    }
}

// --- How long it lives ---

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_own_window_ends_where_the_policy_ends() {
    let origin = Origin::start(|_| {
        let control = "max-age=1, stale-while-revalidate=1000";
        Play::answer(200, &[("cache-control", control)], "good")
    })
    .await;
    let proxy = proxy(&origin, "max_stale = \"10s\"").await;
    proxy.get("/a").await;
    origin.is_down();
    for (name, more, want) in [
        ("within its window", 5, 200),
        ("just before the end", 5, 200),
        ("past the end", 1, 504),
    ] {
        proxy.advance(SECOND * more);
        let reply = proxy.get("/a").await;
        assert_eq!(reply.status, want, "{name}: {reply:?}");
        proxy.settled().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_304_without_a_date_makes_it_fresh_again() {
    let origin = Origin::start(|asked| {
        let fields = [("cache-control", "max-age=10"), ("etag", "\"a\"")];
        let status = if asked.is_conditional() { 304 } else { 200 };
        Play::answer(status, &fields, if status == 200 { "good" } else { "" })
    })
    .await;
    let proxy = proxy(&origin, STRICT).await;
    proxy.get("/a").await;
    for round in 1..=3 {
        proxy.advance(SECOND * 11);
        let renewed = proxy.get("/a").await;
        assert_eq!(renewed.field("age"), "0", "round {round}: {renewed:?}");
        proxy.advance(SECOND * 5);
        let hit = proxy.get("/a").await;
        assert!(hit.is_hit() && !hit.is_stale(), "round {round}: {hit:?}");
        assert_eq!(hit.text(), "good");
        assert_eq!(origin.asked_total(), 1 + round);
    }
}

// --- Who can end it ---

#[tokio::test(flavor = "multi_thread")]
async fn a_visitors_own_answer_does_not_end_what_others_have() {
    for (status, control) in [
        (404, ""),
        (404, "private"),
        (410, "no-store"),
        (200, "private"),
    ] {
        let origin = Origin::start(good).await;
        let proxy = proxy(&origin, STRICT).await;
        proxy.get("/a").await;
        proxy.advance(SECOND * 2);
        origin.now(move |_| Play::answer(status, &[("cache-control", control)], "for you"));
        let own = proxy.client.get_with("/a", SESSION).await;
        assert_eq!(own.text(), "for you", "{status} {control}");
        origin.is_down();
        proxy.advance(SECOND * 2);
        let others = proxy.get("/a").await;
        assert_eq!(others.text(), "good", "{status} {control}: {others:?}");
    }
}

/// Says good day in the language it is asked for.
fn polyglot(asked: &Asked) -> Play {
    let fields = [
        ("cache-control", "max-age=1"),
        ("vary", "accept-language"),
        ("content-type", "text/plain"),
    ];
    let language = asked.field("accept-language");
    Play::answer(200, &fields, format!("good day in {language}"))
}

async fn in_language(proxy: &Proxy, language: &str) -> support::Reply {
    let fields = [("accept-language", language)];
    proxy.client.get_with("/a", &fields).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_one_variant_is_not_the_end_of_the_others() {
    for (language, status, control) in [
        ("de", 404, "no-store"),
        ("de", 410, "private"),
        ("de", 200, "private"),
        ("de", 404, ""),
        ("de", 410, "max-age=60"),
        ("none there ever was", 404, ""),
        ("none there ever was", 404, "max-age=60"),
    ] {
        let origin = Origin::start(polyglot).await;
        let proxy = proxy(&origin, STRICT).await;
        for language in ["de", "en", "fr"] {
            in_language(&proxy, language).await;
        }
        proxy.advance(SECOND * 2);
        origin.now(move |_| Play::answer(status, &[("cache-control", control)], "ended"));
        assert_eq!(in_language(&proxy, language).await.text(), "ended");
        origin.is_down();
        proxy.advance(SECOND * 2);
        let ended = in_language(&proxy, language).await;
        assert_ne!(ended.status, 200, "{language} {status} {control}");
        for language in ["en", "fr"] {
            let other = in_language(&proxy, language).await;
            let want = format!("good day in {language}");
            assert_eq!(other.text(), want, "{status} {control}: {other:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_variant_answers_in_an_outage_with_the_list_of_them_on_disk_only() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |asked| match asked.field("accept-language") {
        "pl" => polyglot(asked).behind(&held),
        _ => polyglot(asked),
    })
    .await;
    let toml = one_route(STRICT, "") + "\n[store]\nmemory = \"1 B\"\nread_timeout = \"10s\"";
    let setup = Setup::before(&origin, &toml).on_disk();
    let proxy = setup.clock(&Clock::manual(NOW)).start().await;
    for language in ["de", "en", "fr", "it"] {
        in_language(&proxy, language).await;
    }
    let evicted = evictions(&proxy).await;
    // Between its lookup and its end the list leaves memory.
    let last = in_language(&proxy, "pl");
    let meanwhile = async {
        until("the last one is asked for", || origin.asked_total() == 5).await;
        within(SECOND * 10, "memory lets go", async {
            while evictions(&proxy).await == evicted {
                // The pace of looking: nothing tells when memory evicts.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        gate.open();
    };
    tokio::join!(last, meanwhile);
    origin.is_down();
    proxy.advance(SECOND * 2);
    for language in ["de", "en", "fr", "it", "pl"] {
        let reply = in_language(&proxy, language).await;
        assert_eq!(reply.text(), format!("good day in {language}"), "{reply:?}");
    }
}

/// What the memory tier has let go of.
async fn evictions(proxy: &Proxy) -> String {
    let metrics = proxy.metrics().await;
    let mut lines = metrics.lines();
    let sample =
        lines.find(|line| line.starts_with("larder_store_evictions_total{tier=\"memory\"}"));
    sample.unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_asked_for_earlier_does_not_take_the_place_of_a_later_one() {
    const SHARED: (&str, &str) = ("cache-control", "public, max-age=3600");
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |asked| {
        let play = Play::answer(200, &[SHARED], format!("answer {}", asked.nth));
        if asked.nth == 1 {
            play.behind(&held)
        } else {
            play
        }
    })
    .await;
    let proxy = std::sync::Arc::new(proxy(&origin, STRICT).await);
    let early = tokio::spawn({
        let proxy = std::sync::Arc::clone(&proxy);
        async move { proxy.get("/a").await }
    });
    until("the early one is under way", || origin.asked_total() == 1).await;
    proxy.advance(SECOND);
    // Credentials ask for themselves; their answer says that it is for everybody.
    let credentials = [("authorization", "Bearer a")];
    let late = proxy.client.get_with("/a", &credentials).await;
    assert_eq!(late.text(), "answer 2");
    gate.open();
    assert_eq!(
        early.await.unwrap().text(),
        "answer 1",
        "for the one who waited"
    );
    proxy.settled().await;
    let next = proxy.get("/a").await;
    assert!(next.is_hit(), "{next:?}");
    assert_eq!(next.text(), "answer 2");
}
