//! One key, one fetch: whatever its state, however many ask, and whoever hangs up.

mod support;

use std::time::Duration;

use futures_util::future::join_all;
use http::{Method, StatusCode};
use larder::{
    clock::Clock,
    stub::{Fault, Stub},
};
use support::{Client, NOW, Proxy, Reply, Setup, request, until, within};

const CROWD: usize = 300;

/// A vendor slow enough for a crowd to gather.
const SLOW: Duration = Duration::from_millis(400);

/// The counter tells how often the vendor was asked, so that two fetches cannot look like one.
const COUNTED: &str = "/lab/counter/c?Cache-Control=max-age%3D10";

fn lab(policy: &str) -> String {
    format!(
        r#"
        [upstream.lab]
        endpoints = ["{{vendor}}"]
        [policy.p]
        spread_percent = 0
        early = false
        stale_after = "5s"
        {policy}
        [[route]]
        name = "lab"
        path = "/lab/{{*rest}}"
        upstream = "lab"
        policy = "p"
        "#
    )
}

async fn scene(policy: &str) -> (Stub, Proxy) {
    let clock = Clock::manual(NOW);
    let vendor = support::vendor(&clock).await;
    let proxy = Setup::new(&vendor, &lab(policy)).clock(&clock);
    (vendor, proxy.start().await)
}

/// Everybody at once, each over a connection of their own.
async fn crowd(proxy: &Proxy, path: &str) -> Vec<Reply> {
    let addr = proxy.client.addr();
    let each = (0..CROWD).map(|_| {
        let path = path.to_owned();
        tokio::spawn(async move { Client::new(addr).get(&path).await })
    });
    let replies = join_all(each).await;
    replies.into_iter().map(Result::unwrap).collect()
}

fn all_say(replies: &[Reply], count: u64) {
    for reply in replies {
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.json()["count"], count, "{reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_for_a_cold_key_is_one_request_upstream() {
    let (vendor, proxy) = scene("").await;
    vendor.break_path("*", Fault::latency(SLOW)).unwrap();
    let replies = crowd(&proxy, COUNTED).await;
    all_say(&replies, 1);
    assert_eq!(vendor.asked_total(), 1);
    let collapsed = replies
        .iter()
        .filter(|reply| reply.cache("collapsed").is_some());
    let collapsed = collapsed.count();
    let late = replies.iter().filter(|reply| reply.is_hit()).count();
    assert_eq!(
        collapsed + late,
        CROWD - 1,
        "{collapsed} waited, {late} came late"
    );
    assert!(collapsed > CROWD / 2, "hardly anybody waited: {collapsed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_for_an_expired_key_is_one_request_upstream() {
    for (name, policy, want) in [
        ("asks first", "stale_while_revalidate = \"0s\"", 2),
        ("answers first", "stale_while_revalidate = \"1h\"", 1),
    ] {
        let (vendor, proxy) = scene(policy).await;
        all_say(&[proxy.get(COUNTED).await], 1);
        proxy.advance(Duration::from_secs(11));
        vendor.break_path("*", Fault::latency(SLOW)).unwrap();
        let replies = crowd(&proxy, COUNTED).await;
        if want == 2 {
            all_say(&replies, 2);
        } else {
            // Who came last may have met the new one.
            let old = replies.iter().filter(|reply| reply.is_stale()).count();
            assert!(old > CROWD / 2, "{name}: {old}");
        }
        until("the refresh is sent", || vendor.asked_total() == 2).await;
        proxy.settled().await;
        all_say(&[proxy.get(COUNTED).await], 2);
        assert_eq!(vendor.asked_total(), 2, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_read_along_while_the_body_still_arrives() {
    let (vendor, proxy) = scene("").await;
    let drip = Fault::Drip {
        bytes: 100,
        every: Duration::from_millis(50),
    };
    vendor.break_path("*", drip).unwrap();
    let path = "/lab/bytes/2000";
    let ask = || request(Method::GET, path, &[]);
    let mut first = proxy.client.open(ask()).await.unwrap();
    let start = first.piece().await.unwrap().unwrap();
    assert!(start.len() < 2000, "it was held until its end");

    let mut second = proxy.client.open(ask()).await.unwrap();
    let head = second.piece().await.unwrap().unwrap();
    assert!(head.len() < 2000, "it was held until its end");
    let (first, second) = tokio::join!(first.rest(), second.rest());
    let whole = |start: &[u8], rest: Vec<u8>| [start, &rest].concat();
    let (first, second) = (whole(&start, first.unwrap()), whole(&head, second.unwrap()));
    assert_eq!(first.len(), 2000);
    assert_eq!(first, second);
    assert_eq!(vendor.asked_total(), 1);

    let stored = proxy.get(path).await;
    assert!(stored.is_hit() && stored.body == first, "{stored:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_does_not_cancel_the_fetch() {
    for (name, path, fault) in [
        ("before the head", COUNTED, Fault::latency(SLOW)),
        (
            "before the end",
            "/lab/bytes/1000",
            Fault::Drip {
                bytes: 100,
                every: Duration::from_millis(50),
            },
        ),
    ] {
        let (vendor, proxy) = scene("").await;
        vendor.break_path("*", fault).unwrap();
        // A client of its own: its connection goes with it.
        let client = Client::new(proxy.client.addr());
        let asked = tokio::spawn(async move { client.get(path).await });
        within(
            Duration::from_secs(5),
            "the vendor is asked",
            vendor.wait_asked("*", 1),
        )
        .await
        .unwrap();
        asked.abort();
        assert!(asked.await.unwrap_err().is_cancelled(), "{name}: too fast");

        proxy.settled().await;
        let reply = proxy.get(path).await;
        assert!(reply.is_hit(), "{name}: {reply:?}");
        assert_eq!(vendor.asked_total(), 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn variants_asked_for_at_once_each_get_their_own() {
    let (vendor, proxy) = scene("").await;
    let path = "/lab/counter/v?Cache-Control=max-age%3D60&Vary=Accept-Language";
    vendor.break_path("*", Fault::latency(SLOW / 4)).unwrap();
    let ask = |language: &'static str| {
        let client = proxy.client.clone();
        async move {
            let reply = client
                .get_with(path, &[("accept-language", language)])
                .await;
            (language, reply)
        }
    };
    let replies = join_all((0..40).map(|nth| ask(if nth % 2 == 0 { "de" } else { "fr" }))).await;
    let counts = |wanted: &str| {
        let of = replies.iter().filter(|(language, _)| *language == wanted);
        let mut counts: Vec<_> = of
            .map(|(_, reply)| reply.json()["count"].as_u64())
            .collect();
        counts.sort_unstable();
        counts.dedup();
        counts
    };
    let (german, french) = (counts("de"), counts("fr"));
    assert!(
        german.iter().all(|count| !french.contains(count)),
        "shared: {german:?} {french:?}"
    );
    // One each, and one more where the first answer told nobody else that it varies.
    assert!(vendor.asked_total() <= 4, "{}", vendor.asked_total());
    for language in ["de", "fr"] {
        let (_, reply) = ask(language).await;
        assert!(reply.is_hit(), "{language}: {reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_stored_is_never_shared_by_those_who_wait() {
    let (vendor, proxy) = scene("").await;
    vendor.break_path("*", Fault::latency(SLOW / 4)).unwrap();
    let path = "/lab/counter/n?Cache-Control=no-store";
    let each = (0..40).map(|_| proxy.get(path));
    let replies = join_all(each).await;
    let mut counts: Vec<_> = replies
        .iter()
        .map(|reply| reply.json()["count"].as_u64())
        .collect();
    counts.sort_unstable();
    counts.dedup();
    assert_eq!(counts.len(), 40, "two clients got one answer");
    assert_eq!(vendor.asked_total(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_fetch_fails_for_all_who_waited_and_is_not_repeated_by_each() {
    let (vendor, proxy) = scene("").await;
    let broken = Fault::status(StatusCode::INTERNAL_SERVER_ERROR);
    vendor.break_path("*", broken).unwrap();
    let replies = crowd(&proxy, COUNTED).await;
    assert!(replies.iter().all(|reply| reply.status == 500));
    // Late ones begin a fetch of their own, and the retries of all share one budget.
    let asked = vendor.asked_total();
    assert!(
        asked < CROWD as u64 / 2,
        "{asked} requests for {CROWD} clients"
    );
}
