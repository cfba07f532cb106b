//! Upstreams: HTTP/2 on either side, and several endpoints of one vendor.

mod support;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::{StatusCode, Version};
use larder::{clock::Clock, stub::Fault};
use support::{Client, NOW, Proxy, Setup};

fn lab(upstream: &str) -> String {
    format!(
        r#"
        [upstream.lab]
        {upstream}
        [policy.live]
        fresh = "10s"
        stale_while_revalidate = "0s"
        override = true
        [[route]]
        path = "/prices/{{sku}}"
        upstream = "lab"
        policy = "live"
        [[route]]
        path = "/lab/{{*rest}}"
        upstream = "lab"
        "#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_vendor_is_asked_over_few_connections_and_its_faults_are_ridden_out() {
    let clock = Clock::manual(NOW);
    let vendor = support::vendor(&clock).await;
    let upstream = "endpoints = [\"{vendor}\"]\nprotocol = \"http2\"\nattempt_timeout = \"500ms\"\nbreaker.enabled = false";
    let toml = lab(upstream);
    let proxy = Setup::new(&vendor, &toml).clock(&clock).start().await;
    let paths: Vec<_> = (0..40).map(|nth| format!("/prices/{nth}")).collect();
    let warm = join_all(paths.iter().map(|path| proxy.get(path))).await;
    assert!(warm.iter().all(|reply| reply.status == 200));
    assert!(
        vendor.connections_open() <= 4,
        "{}",
        vendor.connections_open()
    );
    let echo = proxy.get("/lab/echo").await;
    let fields = echo.json()["headers"].to_string();
    assert!(!fields.contains("\"connection\""), "{fields}");

    for fault in [
        Fault::Reset,
        Fault::ResetMidBody,
        Fault::Close,
        Fault::Hang,
        Fault::Truncate { chunked: false },
        Fault::Truncate { chunked: true },
        Fault::Refuse,
        Fault::Garbage,
        Fault::status(StatusCode::BAD_GATEWAY),
    ] {
        vendor.break_path("*", fault.clone()).unwrap();
        proxy.advance(Duration::from_secs(11));
        let before = vendor.asked_total();
        let replies = join_all(paths.iter().take(8).map(|path| proxy.get(path))).await;
        for (reply, warm) in replies.iter().zip(&warm) {
            assert_eq!(reply.status, 200, "{fault}: {reply:?}");
            assert!(reply.is_stale(), "{fault}: {reply:?}");
            assert_eq!(reply.body, warm.body, "{fault}");
        }
        // A fetch that hangs would be joined by the next request.
        proxy.settled().await;
        assert_eq!(
            vendor.asked_total() > before,
            fault != Fault::Refuse,
            "{fault}"
        );
    }
    vendor.mend_all();
    recovers(&proxy, "/prices/0").await;
}

/// Asks until an answer is not stale any more.
async fn recovers(proxy: &Proxy, path: &str) {
    let mended = Instant::now();
    let mut passed = mended;
    while proxy.get(path).await.is_stale() {
        assert!(mended.elapsed() < Duration::from_secs(10), "still stale");
        // The pace of asking, bounded above: breakers rest in real time, and cool-downs pass with it.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = Instant::now();
        proxy.advance(now - passed);
        passed = now;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_endpoint_down_nobody_notices() {
    let clock = Clock::manual(NOW);
    let (down, up) = (support::vendor(&clock).await, support::vendor(&clock).await);
    let endpoints = format!("endpoints = [\"{}\", \"{}\"]", down.url(""), up.url(""));
    let proxy = Setup::new(&up, &lab(&endpoints))
        .clock(&clock)
        .start()
        .await;
    for nth in 0..20 {
        assert_eq!(proxy.get(&format!("/prices/a{nth}")).await.status, 200);
    }
    assert!(
        down.asked_total() > 0 && up.asked_total() > 0,
        "both are used"
    );

    down.break_path("*", Fault::Refuse).unwrap();
    for nth in 0..40 {
        let reply = proxy.get(&format!("/prices/b{nth}")).await;
        assert_eq!(reply.status, 200, "{nth}: {reply:?}");
        assert!(!reply.is_stale());
    }
    assert_eq!(proxy.breaker().await, "closed");

    down.mend_all();
    let before = down.asked_total();
    let mended = Instant::now();
    let mut nth = 0;
    while down.asked_total() == before {
        assert!(
            mended.elapsed() < Duration::from_secs(15),
            "left out for good"
        );
        assert_eq!(proxy.get(&format!("/prices/c{nth}")).await.status, 200);
        nth += 1;
        // The pace of asking, bounded above: an endpoint is left out in real time.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_may_speak_http2_and_share_what_http1_clients_stored() {
    let clock = Clock::manual(NOW);
    let vendor = support::vendor(&clock).await;
    let toml = lab("endpoints = [\"{vendor}\"]");
    let proxy = Setup::new(&vendor, &toml).clock(&clock).start().await;
    let stored = proxy.get("/prices/A").await;

    let http2 = Client::http2(proxy.client.addr());
    let each = (0..50).map(|_| http2.get("/prices/A"));
    for reply in join_all(each).await {
        assert_eq!(reply.version, Version::HTTP_2);
        assert_eq!(reply.body, stored.body);
        assert!(reply.is_hit(), "{reply:?}");
    }
    assert_eq!(vendor.asked_total(), 1);
    assert_eq!(
        proxy
            .metric("larder_client_connections_accepted_total")
            .await,
        2.0
    );

    let posted = http2.post("/lab/echo", "{\"a\":1}").await.json();
    assert_eq!(posted["body"], "{\"a\":1}");
    let host = format!("\"{}\"", vendor.addr());
    assert!(posted["headers"].to_string().contains(&host), "{posted}");
    vendor
        .break_path("*", Fault::Truncate { chunked: true })
        .unwrap();
    let reply = http2.get("/prices/B").await;
    assert_eq!(reply.status, 502);
}
