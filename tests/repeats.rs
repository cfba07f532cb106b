//! What is sent more than once, and what is not: keys of idempotency, hedges, lost connections, and the time that each attempt
//! is told it has. A whole proxy before vendors that fail in chosen places.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use http::{Method, StatusCode};
use http_body_util::Full;
use support::{Asked, Origin, Play, Proxy, RawOrigin, Setup, Wire};

/// Routes to a scripted vendor; `retry` and `route` are further keys.
fn toml(retry: &str, route: &str) -> String {
    format!(
        r#"
        [upstream.lab]
        endpoints = ["{{vendor}}"]
        breaker = {{ enabled = false }}
        in_flight_max = 1000
        retry = {{ backoff_min = "1ms", backoff_max = "5ms", {retry} }}
        [[route]]
        name = "all"
        path = "/{{*rest}}"
        upstream = "lab"
        {route}
        "#
    )
}

async fn proxy(origin: &Origin, toml: &str) -> Proxy {
    Setup::before(origin, toml).start().await
}

async fn upstream_metric(proxy: &Proxy, name: &str) -> u64 {
    let metrics = proxy.metrics().await;
    let sample = format!("{name}{{upstream=\"lab\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&*sample));
    let value = value.unwrap_or_else(|| panic!("no {name} in {metrics}"));
    value.parse().expect("a count")
}

fn post(key: Option<&'static str>, content: String) -> http::Request<Full<bytes::Bytes>> {
    let fields = key.map(|key| ("idempotency-key", key));
    let mut post = support::request(Method::POST, "/bookings", fields.as_slice());
    *post.body_mut() = Full::from(content);
    post
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_with_a_key_is_repeated_as_it_was_and_without_one_never() {
    let small = "{\"room\":7}".to_owned();
    let large = "x".repeat(70 << 10);
    for (name, key, content, want_asked) in [
        ("with a key", Some("\"8e03978e\""), &small, 2),
        ("without", None, &small, 1),
        ("an empty key", Some("\"\""), &small, 1),
        ("more content than is kept", Some("\"8e03978e\""), &large, 1),
    ] {
        // It books, and then the connection breaks before it has said so.
        let origin = Origin::start(|asked| match asked.nth {
            1 => Play::refuse(),
            _ => Play::answer(201, &[], "booked"),
        })
        .await;
        let proxy = proxy(&origin, &toml("", "")).await;
        let reply = proxy.client.send(post(key, content.clone())).await;
        let asked = origin.asked();
        assert_eq!(asked.len(), want_asked, "{name}");
        let want = match want_asked {
            1 => StatusCode::BAD_GATEWAY,
            _ => StatusCode::CREATED,
        };
        assert_eq!(reply.status, want, "{name}");
        for asked in &asked {
            assert_eq!(asked.method, Method::POST, "{name}");
            assert_eq!(asked.content, content.as_bytes(), "{name}");
            assert_eq!(
                asked.field("idempotency-key"),
                key.unwrap_or_default(),
                "{name}"
            );
        }
    }
}

/// Of ten answers one hangs for two seconds.
fn one_in_ten_hangs(asked: &Asked) -> Play {
    let answer = Play::answer(200, &[("cache-control", "no-store")], "{}");
    match asked.nth % 10 {
        3 => answer.after(Duration::from_secs(2)),
        _ => answer,
    }
}

const HEDGED: &str = r#"hedge = { percentile = 80, delay_min = "50ms", samples_min = 10 }"#;

/// The times of forty requests, one after the other, the slowest last.
async fn times(proxy: &Proxy) -> Vec<Duration> {
    let mut times = Vec::new();
    for nth in 0..40 {
        let reply = proxy.get(&format!("/prices/{nth}")).await;
        assert_eq!(reply.status, 200);
        times.push(reply.elapsed);
    }
    times.sort_unstable();
    times
}

/// Ten quick answers, so that something is known.
async fn warm(origin: &Origin, proxy: &Proxy) {
    origin.now(|_| Play::answer(200, &[("cache-control", "no-store")], "{}"));
    for nth in 0..20 {
        assert_eq!(proxy.get(&format!("/prices/warm-{nth}")).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hedge_cuts_the_tail_of_a_vendor_that_hangs_now_and_then() {
    let hang = Duration::from_secs(2);
    let origin = Origin::start(one_in_ten_hangs).await;
    let proxy = proxy(
        &origin,
        &toml("budget_percent = 100, budget_min_per_second = 10", HEDGED),
    )
    .await;
    warm(&origin, &proxy).await;
    origin.now(one_in_ten_hangs);
    let times = times(&proxy).await;
    assert!(times[39] < hang, "{times:?}");
    let hedges = upstream_metric(&proxy, "larder_upstream_hedges_total").await;
    let won = upstream_metric(&proxy, "larder_upstream_hedges_won_total").await;
    assert!(won >= 1 && hedges >= won, "{won} of {hedges}");
    let attempts = upstream_metric(&proxy, "larder_upstream_attempts_total").await;
    assert_eq!(attempts, 60 + hedges);
    // One that was given up at once may never have got there.
    assert!(origin.asked_total() as u64 <= attempts);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_budget_used_up_nothing_is_hedged() {
    let origin = Origin::start(one_in_ten_hangs).await;
    let proxy = proxy(
        &origin,
        &toml("budget_percent = 0, budget_min_per_second = 0", HEDGED),
    )
    .await;
    warm(&origin, &proxy).await;
    origin.now(|asked| {
        Play::answer(200, &[], "{}").after(match asked.nth {
            25 => Duration::from_secs(1),
            _ => Duration::ZERO,
        })
    });
    let times = times(&proxy).await;
    assert!(times[39] >= Duration::from_secs(1), "{times:?}");
    assert_eq!(origin.asked_total(), 60);
    assert_eq!(
        upstream_metric(&proxy, "larder_upstream_hedges_total").await,
        0
    );
    assert!(upstream_metric(&proxy, "larder_upstream_hedges_denied_total").await >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_is_told_how_long_it_has_and_later_ones_less() {
    let origin = Origin::start(|_| {
        // Each attempt costs some time.
        Play::answer(503, &[], "").after(Duration::from_millis(30))
    })
    .await;
    let route = "deadline = \"4s\"\nattempt_timeout = \"4s\"\ndeadline_header = \"X-Time-Left\"";
    let proxy = proxy(&origin, &toml("budget_percent = 1000", route)).await;
    proxy
        .client
        .get_with("/a", &[("x-time-left", "999999")])
        .await;
    let asked = origin.asked();
    let told: Vec<u64> = asked
        .iter()
        .map(|asked| {
            let lines = asked.headers.get_all("x-time-left").iter().count();
            assert_eq!(lines, 1, "the client's own is replaced");
            asked
                .field("x-time-left")
                .parse()
                .expect("whole milliseconds")
        })
        .collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0] <= 4_000, "{told:?}");
    assert!(
        told.windows(2).all(|pair| pair[1] + 30 <= pair[0]),
        "{told:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_bounds_what_many_failing_requests_cost() {
    let origin = Origin::start(|_| Play::answer(503, &[], "")).await;
    let proxy = proxy(
        &origin,
        &toml("budget_percent = 10, budget_min_per_second = 1", ""),
    )
    .await;
    let began = Instant::now();
    let asking = (0..300).map(|nth| {
        let client = proxy.client.clone();
        async move { client.get(&format!("/prices/{nth}")).await.status }
    });
    let statuses = join_all(asking).await;
    assert!(statuses.iter().all(|status| *status == 503), "{statuses:?}");
    let retries = upstream_metric(&proxy, "larder_upstream_retries_total").await;
    // A tenth of the first attempts, and ten by the floor for each window that passed.
    let windows = 1 + began.elapsed().as_secs().div_ceil(10);
    assert!((10..=30 + 10 * windows).contains(&retries), "{retries}");
    assert_eq!(origin.asked_total() as u64, 300 + retries);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_uploads_too_slowly_is_no_failure_of_the_vendor() {
    let origin = Origin::start(|_| Play::answer(200, &[], "")).await;
    let proxy = proxy(&origin, &toml("", "deadline = \"300ms\"")).await;
    for (name, key) in [
        ("passed on", ""),
        ("kept first", "Idempotency-Key: \"a\"\r\n"),
    ] {
        let mut client = Wire::connect(proxy.client.addr()).await;
        let head = format!("POST /a HTTP/1.1\r\nHost: a\r\n{key}Content-Length: 10\r\n\r\nfirst");
        client.send(head).await;
        let answer = client.head().await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{name}: {answer}");
    }
    let metrics = proxy.metrics().await;
    let failed = |cause: &str| {
        let sample =
            format!("larder_upstream_failures_total{{upstream=\"lab\",cause=\"{cause}\"}} ");
        let count = metrics.lines().find_map(|line| line.strip_prefix(&*sample));
        count
            .unwrap_or_else(|| panic!("no {cause} in {metrics}"))
            .to_owned()
    };
    assert_eq!(
        (failed("request_timeout"), failed("deadline")),
        ("2".into(), "0".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_hangs_up_on_a_kept_connection_is_asked_again_at_once() {
    let origin = RawOrigin::start().await;
    let toml = toml("retries_max = 0, retries_max_stale = 0", "");
    let proxy = Setup::facing(&origin, &toml).start().await;
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let (mut kept, ()) = tokio::join!(
        async {
            let (mut wire, _) = origin.request().await;
            wire.send(answer).await;
            wire
        },
        async { assert_eq!(proxy.get("/first").await.status, 200) },
    );
    // It reads the next request on the same connection, acts or not, and is gone.
    let vendor = async {
        let lost = kept.head().await;
        drop(kept);
        let (mut wire, again) = origin.request().await;
        wire.send(answer).await;
        (lost, again)
    };
    let (reply, (lost, again)) = tokio::join!(proxy.get("/second"), vendor);
    assert_eq!(reply.status, 200);
    assert_eq!(lost, again);
    assert_eq!(
        upstream_metric(&proxy, "larder_upstream_retries_total").await,
        1
    );
    let failures =
        "larder_upstream_failures_total{upstream=\"lab\",cause=\"connection_terminated\"} 0";
    assert!(
        proxy.metrics().await.contains(failures),
        "not a failed attempt"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hedge_goes_to_the_other_endpoint() {
    let quick = |_: &Asked| Play::answer(200, &[("cache-control", "no-store")], "{}");
    let origins = [Origin::start(quick).await, Origin::start(quick).await];
    let endpoints = format!("endpoints = [\"{{vendor}}\", \"{}\"]", origins[1].url());
    let toml = toml("budget_percent = 100, budget_min_per_second = 10", HEDGED);
    let toml = toml.replace("endpoints = [\"{vendor}\"]", &endpoints);
    let proxy = proxy(&origins[0], &toml).await;
    for nth in 0..20 {
        assert_eq!(proxy.get(&format!("/prices/warm-{nth}")).await.status, 200);
    }
    // Wherever it goes, the first request for something hangs and the second is answered.
    let places = Arc::new(Mutex::new(Vec::new()));
    for (place, origin) in origins.iter().enumerate() {
        let places = Arc::clone(&places);
        origin.now(move |asked| {
            let mut places = places.lock().unwrap();
            places.push(place);
            match places.len() % 2 {
                1 => Play::hang(),
                _ => quick(asked),
            }
        });
    }
    for nth in 0..20 {
        assert_eq!(proxy.get(&format!("/prices/{nth}")).await.status, 200);
    }
    let places = places.lock().unwrap();
    assert_eq!(places.len(), 40);
    assert!(
        places.chunks(2).all(|pair| pair[0] != pair[1]),
        "{places:?}"
    );
}
