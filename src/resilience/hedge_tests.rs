//! The layer under a paused clock, over a service that is told for each request when and how to answer.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderValue;
use tower::ServiceBuilder;

use super::*;
use crate::{
    config::RetryConfig,
    failure::{Cause, Sent},
    http::Body,
    resilience::{Attempts, BreakerLayer, Events, RetryLayer, breaker::Phase},
    upstream::client_config,
};

const MS: Duration = Duration::from_millis(1);

fn config() -> HedgeConfig {
    HedgeConfig {
        percentile: 90,
        delay_min: 5 * MS,
        window: 60_000 * MS,
        samples_min: 10,
        samples_max: 100,
    }
}

fn retry(percent: u32, per_second: u32) -> RetryConfig {
    RetryConfig {
        budget_percent: percent,
        budget_min_per_second: per_second,
        ..client_config(&["http://v"]).retry
    }
}

/// An answer, after this time: its status, or a cause of failure.
type Act = (u64, Result<u16, Cause>);

/// Answers the nth request as the nth act says, and later ones as the last does.
#[derive(Clone)]
struct Vendor {
    acts: Arc<Vec<Act>>,
    asked: Arc<AtomicUsize>,
    /// Requests that were not dropped before they were answered.
    ended: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Vendor {
    fn new(acts: Vec<Act>) -> Self {
        Self {
            acts: Arc::new(acts),
            asked: Arc::default(),
            ended: Arc::default(),
            seen: Arc::default(),
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }
}

impl Service<Request> for Vendor {
    type Response = Response;
    type Error = Failure;
    type Future = BoxFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> BoxFuture {
        let nth = self.asked.fetch_add(1, Ordering::Relaxed);
        let (after, act) = self.acts[nth.min(self.acts.len() - 1)];
        let ended = Arc::clone(&self.ended);
        let in_flight = request
            .extensions()
            .get::<Progress>()
            .map(Progress::attempt_begun);
        self.seen.lock().expect("no panic").push(request);
        Box::pin(async move {
            tokio::time::sleep(after as u32 * MS).await;
            ended.fetch_add(1, Ordering::Relaxed);
            if let Some(in_flight) = in_flight {
                in_flight.ended(Sent::MayHaveActed);
            }
            let status =
                act.map_err(|cause| Failure::new(cause, Sent::MayHaveActed).with_attempts(1))?;
            let mut response = Response::default();
            let value = HeaderValue::from(nth);
            response.headers_mut().insert("x-nth", value);
            *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
            Ok(response)
        })
    }
}

fn request() -> Request {
    let mut request = Request::new(Body::empty());
    let deadline = Instant::now() + 10_000 * MS;
    request.extensions_mut().insert(Progress::new(deadline));
    request
}

struct Scene {
    vendor: Vendor,
    hedge: Hedge<Vendor>,
    stats: Arc<UpstreamStats>,
}

impl Scene {
    /// Ten quick answers are known; then `acts`.
    async fn warmed(budget: &RetryConfig, acts: Vec<Act>) -> Self {
        let quick = std::iter::repeat_n((10, Ok(200)), 10);
        let vendor = Vendor::new(quick.chain(acts).collect());
        let stats = Arc::<UpstreamStats>::default();
        let layer = HedgeLayer::new(Some(config()), RetryBudget::new(budget), Arc::clone(&stats));
        let hedge = layer.layer(vendor.clone());
        for _ in 0..10 {
            hedge.clone().oneshot(request()).await.expect("quick");
        }
        assert_eq!(
            vendor.asked(),
            10,
            "nothing is hedged while little is known"
        );
        Self {
            vendor,
            hedge,
            stats,
        }
    }

    /// Hedges sent, won and denied.
    fn counts(&self) -> (u64, u64, u64) {
        let counts = self.stats.snapshot();
        (counts.hedges, counts.hedges_won, counts.hedges_denied)
    }

    async fn ask(&self, request: Request) -> (Result<Response, Failure>, u128) {
        let began = Instant::now();
        let result = self.hedge.clone().oneshot(request).await;
        (result, began.elapsed().as_millis())
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_good_answer_of_two_wins_and_a_failure_waits_for_the_other() {
    let (reset, refused) = (Cause::ConnectionTerminated, Cause::ConnectRefused);
    for (name, first, second, want, want_ms, want_counts) in [
        (
            "quick: none is sent",
            (9, Ok(200)),
            (0, Ok(200)),
            Ok("10"),
            9,
            (0, 0, 0),
        ),
        (
            "a failure in time is retry's",
            (9, Err(reset)),
            (0, Ok(200)),
            Err(reset),
            9,
            (0, 0, 0),
        ),
        (
            "hung: the second",
            (2_000, Ok(200)),
            (10, Ok(200)),
            Ok("11"),
            20,
            (1, 1, 0),
        ),
        (
            "slow: still the first",
            (15, Ok(200)),
            (10, Ok(200)),
            Ok("10"),
            15,
            (1, 0, 0),
        ),
        (
            "the second fails",
            (100, Ok(200)),
            (10, Err(reset)),
            Ok("10"),
            100,
            (1, 0, 0),
        ),
        (
            "the first fails",
            (15, Err(reset)),
            (40, Ok(200)),
            Ok("11"),
            50,
            (1, 1, 0),
        ),
        (
            "both fail",
            (15, Err(reset)),
            (40, Err(refused)),
            Err(reset),
            50,
            (1, 0, 0),
        ),
        (
            "both fail, the first last",
            (90, Err(reset)),
            (40, Err(refused)),
            Err(reset),
            90,
            (1, 0, 0),
        ),
    ] {
        let scene = Scene::warmed(&retry(0, 1), vec![first, second]).await;
        let (result, took_ms) = scene.ask(request()).await;
        let got = result
            .as_ref()
            .map(|response| response.headers()["x-nth"].to_str().unwrap());
        assert_eq!(got.map_err(Failure::cause), want, "{name}");
        // A timer fires up to a millisecond late.
        assert!(
            (want_ms..=want_ms + 3).contains(&took_ms),
            "{name}: {took_ms} ms"
        );
        assert_eq!(scene.counts(), want_counts, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_loser_is_dropped_and_both_count() {
    let scene = Scene::warmed(&retry(0, 1), vec![(2_000, Ok(200)), (10, Ok(200))]).await;
    let request = request();
    let progress = request.extensions().get::<Progress>().cloned().unwrap();
    let ended = scene.vendor.ended();
    scene.ask(request).await.0.expect("the second");
    tokio::time::sleep(5_000 * MS).await;
    assert_eq!(scene.vendor.ended() - ended, 1, "the first was given up");
    assert_eq!(progress.attempts(), 2);
    assert_eq!(progress.sent(), Sent::MayHaveActed);
}

#[tokio::test(start_paused = true)]
async fn an_answer_says_how_many_requests_it_took_with_a_hedge() {
    let quick = std::iter::repeat_n((10, Ok(200)), 10);
    let vendor = Vendor::new(quick.chain([(2_000, Ok(200)), (10, Ok(200))]).collect());
    let retries = RetryLayer::new(retry(0, 1), Arc::default());
    let hedges = HedgeLayer::new(Some(config()), retries.budget().clone(), Arc::default());
    let service = ServiceBuilder::new()
        .layer(retries)
        .layer(hedges)
        .service(vendor);
    for want in std::iter::repeat_n(1, 10).chain([2]) {
        let response = service.clone().oneshot(request()).await.expect("answered");
        assert_eq!(response.extensions().get(), Some(&Attempts(want)));
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_reads_and_can_be_sent_twice_is_hedged() {
    let with = |change: fn(&mut Request)| {
        let mut request = request();
        change(&mut request);
        request
    };
    for (name, request, want_asked) in [
        ("GET", with(|_| {}), 2),
        ("HEAD", with(|it| *it.method_mut() = Method::HEAD), 2),
        (
            "QUERY with content",
            with(|it| {
                *it.method_mut() = Method::from_bytes(b"QUERY").unwrap();
                *it.body_mut() = Body::full("question");
            }),
            2,
        ),
        ("POST", with(|it| *it.method_mut() = Method::POST), 1),
        (
            "POST that only reads",
            with(|it| {
                *it.method_mut() = Method::POST;
                it.extensions_mut().insert(Reads);
            }),
            2,
        ),
        (
            "PUT, idempotent as it is",
            with(|it| *it.method_mut() = Method::PUT),
            1,
        ),
        (
            "what nobody waits for",
            with(|it| {
                it.extensions_mut().insert(FetchContext {
                    awaited: false,
                    ..FetchContext::default()
                });
            }),
            1,
        ),
        (
            "an upgrade",
            with(|it| {
                it.extensions_mut()
                    .insert(Upgrade(HeaderValue::from_static("websocket")));
            }),
            1,
        ),
        (
            "content that streams",
            with(|it| {
                *it.body_mut() = crate::resilience::body::script::scripted([]);
            }),
            1,
        ),
        (
            "no time for an answer",
            with(|it| {
                it.extensions_mut()
                    .insert(Progress::new(Instant::now() + 15 * MS));
            }),
            1,
        ),
    ] {
        let scene = Scene::warmed(&retry(0, 1), vec![(60, Ok(200))]).await;
        // Made before the clock moved on.
        let mut request = request;
        if want_asked == 2 {
            request
                .extensions_mut()
                .insert(Progress::new(Instant::now() + 10_000 * MS));
        } else if name == "no time for an answer" {
            request
                .extensions_mut()
                .insert(Progress::new(Instant::now() + 15 * MS));
        }
        scene.ask(request).await.0.expect(name);
        assert_eq!(scene.vendor.asked() - 10, want_asked, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_second_is_the_same_request_but_for_what_is_the_clients() {
    let scene = Scene::warmed(&retry(0, 1), vec![(60, Ok(200))]).await;
    let mut request = request();
    *request.uri_mut() = "/a?b".parse().expect("a path");
    request
        .headers_mut()
        .insert("x-a", HeaderValue::from_static("1"));
    request.extensions_mut().insert(FetchContext::default());
    let interim = crate::http::interim::Interims::default().begin().interim();
    request.extensions_mut().insert(interim);
    scene.ask(request).await.0.expect("answered");
    let seen = scene.vendor.seen.lock().expect("no panic");
    let [.., first, second] = seen.as_slice() else {
        panic!("two");
    };
    assert_eq!(first.uri(), second.uri());
    assert_eq!(first.headers(), second.headers());
    assert!(second.extensions().get::<Interim>().is_none());
    let priority = |it: &Request| it.extensions().get::<FetchContext>().unwrap().priority;
    assert!(priority(second) < priority(first), "the first to be shed");
}

#[tokio::test(start_paused = true)]
async fn without_a_token_nothing_is_hedged() {
    let scene = Scene::warmed(&retry(0, 0), vec![(60, Ok(200))]).await;
    scene.ask(request()).await.0.expect("the first");
    assert_eq!(scene.vendor.asked() - 10, 1);
    assert_eq!(scene.counts(), (0, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_hedge_that_the_breaker_refuses_was_none() {
    let upstream = Arc::new(client_config(&["http://v"]));
    let stats = Arc::<UpstreamStats>::default();
    let breaker = BreakerLayer::new(Arc::clone(&upstream), Events::none(), Arc::clone(&stats));
    let quick = std::iter::repeat_n((10, Ok(200)), 10);
    let failing = std::iter::repeat_n((1, Err(Cause::ConnectionTerminated)), 5);
    let vendor = Vendor::new(quick.chain([(300, Ok(200))]).chain(failing).collect());
    let layer = HedgeLayer::new(
        Some(config()),
        RetryBudget::new(&retry(0, 1)),
        Arc::clone(&stats),
    );
    let below = breaker.layer(vendor.clone());
    let hedge = layer.layer(below.clone());
    for _ in 0..10 {
        hedge.clone().oneshot(request()).await.expect("quick");
    }
    let slow = tokio::spawn(hedge.clone().oneshot(request()));
    tokio::time::sleep(MS).await;
    for _ in 0..5 {
        below.clone().oneshot(request()).await.expect_err("fails");
    }
    assert_eq!(breaker.snapshot().phase, Phase::Open);
    slow.await.expect("no panic").expect("the first");
    let counts = stats.snapshot();
    assert_eq!((counts.hedges, counts.hedges_denied), (0, 1));
    assert_eq!(vendor.asked(), 16);
}

#[tokio::test(start_paused = true)]
async fn a_loser_is_nothing_learnt_for_its_breaker() {
    let mut upstream = client_config(&["http://v"]);
    upstream.breaker.slow_after = 1_000 * MS;
    let breaker = BreakerLayer::new(Arc::new(upstream), Events::none(), Arc::default());
    let quick = std::iter::repeat_n((10, Ok(200)), 10);
    let hung = (0..30).map(|nth| {
        if nth % 2 == 0 {
            (9_000, Ok(200))
        } else {
            (10, Ok(200))
        }
    });
    let vendor = Vendor::new(quick.chain(hung).collect());
    let layer = HedgeLayer::new(
        Some(config()),
        RetryBudget::new(&retry(0, 99)),
        Arc::default(),
    );
    let hedge = layer.layer(breaker.layer(vendor.clone()));
    for _ in 0..25 {
        hedge.clone().oneshot(request()).await.expect("answered");
    }
    assert_eq!(vendor.asked(), 40);
    assert_eq!(breaker.snapshot().phase, Phase::Closed);
}
