use std::{sync::Mutex, time::Duration};

use http::StatusCode;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;
use crate::{
    http::Body,
    resilience::{
        DeadlineLayer, UpstreamEvent,
        body::script::{Step, scripted},
    },
    upstream::client_config,
};

fn upstream() -> Arc<UpstreamConfig> {
    Arc::new(client_config(&["http://vendor.example"]))
}

fn layer() -> BreakerLayer {
    BreakerLayer::new(upstream(), Events::none(), Arc::default())
}

fn request() -> Request {
    Request::new(Body::empty())
}

fn refused() -> Failure {
    Failure::new(Cause::ConnectRefused, Sent::Nothing)
}

/// Opens the breaker by a run of failures, then waits until it would half-open.
async fn rested(layer: &BreakerLayer) {
    let failing = layer.layer(tower::service_fn(|_| async { Err(refused()) }));
    for _ in 0..5 {
        failing.clone().oneshot(request()).await.expect_err("fails");
    }
    let open = failing.oneshot(request()).await.expect_err("open");
    assert_eq!(
        (open.cause(), open.sent()),
        (Cause::BreakerOpen, Sent::Nothing)
    );
    let rest = open.retry_after().expect("says for how long");
    assert!(rest >= Duration::from_millis(400) && rest <= Duration::from_millis(500));
    tokio::time::sleep(rest).await;
}

type Hanging = std::future::Pending<Result<Response, Failure>>;

fn hanging(_request: Request) -> Hanging {
    std::future::pending()
}

/// Lets a first probe succeed, so that several may go.
async fn proven(layer: &BreakerLayer) {
    rested(layer).await;
    let well = layer.layer(tower::service_fn(|_| async {
        Ok::<_, Failure>(Response::new(Body::empty()))
    }));
    well.oneshot(request()).await.expect("it answers");
}

#[tokio::test(start_paused = true)]
async fn probes_in_flight_are_capped_and_slots_come_back_however_a_call_ends() {
    let layer = layer();
    proven(&layer).await;
    let mut hanging = layer.layer(tower::service_fn(hanging));
    let probes: Vec<_> = (0..3).map(|_| hanging.call(request())).collect();
    assert_eq!(layer.snapshot().probes_in_flight, 3);
    let fourth = hanging.call(request()).await.expect_err("one too many");
    assert_eq!(fourth.cause(), Cause::BreakerOpen);
    assert_eq!(fourth.retry_after(), None, "no known end, none invented");
    drop(probes);
    assert_eq!(layer.snapshot().probes_in_flight, 0, "given up");

    let polled = tokio::spawn(hanging.call(request()));
    tokio::task::yield_now().await;
    assert_eq!(layer.snapshot().probes_in_flight, 1);
    polled.abort();
    assert!(polled.await.expect_err("cancelled").is_cancelled());
    assert_eq!(layer.snapshot().probes_in_flight, 0, "cancelled");

    let panicking = layer.layer(tower::service_fn(|_| async {
        if true {
            panic!("a defect below");
        }
        Err::<Response, _>(refused())
    }));
    tokio::spawn(panicking.oneshot(request()))
        .await
        .expect_err("panicked");
    assert_eq!(layer.snapshot().probes_in_flight, 0, "panicked");

    let mut panicking_at_once = layer.layer(tower::service_fn(|_| -> Hanging {
        panic!("a defect below")
    }));
    tokio::spawn(async move { panicking_at_once.call(request()).await })
        .await
        .expect_err("panicked");
    assert_eq!(layer.snapshot().probes_in_flight, 0, "panicked in the call");

    let rejecting = layer.layer(tower::service_fn(|_| async {
        Err::<Response, _>(Failure::new(Cause::BulkheadFull, Sent::Nothing))
    }));
    rejecting.oneshot(request()).await.expect_err("full");
    let snapshot = layer.snapshot();
    assert_eq!(
        (snapshot.probes_in_flight, snapshot.phase),
        (0, Phase::HalfOpen)
    );
}

#[tokio::test(start_paused = true)]
async fn one_probe_goes_first_and_the_next_a_rest_later() {
    let layer = layer();
    rested(&layer).await;
    let mut hanging = layer.layer(tower::service_fn(hanging));
    let _first = hanging.call(request());
    let second = hanging.call(request()).await.expect_err("one at first");
    assert_eq!(second.cause(), Cause::BreakerOpen);
    tokio::time::sleep(Duration::from_millis(600)).await;
    let _third = hanging.call(request());
    assert_eq!(layer.snapshot().probes_in_flight, 2);
}

fn of_route(config: BreakerConfig) -> BreakerLayer {
    let stats = Arc::default();
    BreakerLayer::of_route("prices".into(), config, upstream(), Events::none(), stats)
}

#[tokio::test(start_paused = true)]
async fn what_one_of_two_breakers_refuses_takes_nothing_of_the_other() {
    for (name, refusing_is_route) in [("the route's", true), ("the upstream's", false)] {
        let (route, upstream) = (of_route(upstream().breaker), layer());
        let (refusing, other) = match refusing_is_route {
            true => (&route, &upstream),
            false => (&upstream, &route),
        };
        // The other's rest is over: the next call would half-open it.
        rested(other).await;
        refusing.order(Action::Isolate);
        let before = other.snapshot();
        let both = upstream.clone().behind(Some(&route));
        let service = both.layer(tower::service_fn(hanging));
        let failure = service.oneshot(request()).await.expect_err("refused");
        assert_eq!(failure.cause(), Cause::BreakerOpen, "{name}");
        assert_eq!(other.snapshot(), before, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_counts_for_both_breakers_and_gives_both_slots_back() {
    let (route, upstream) = (of_route(upstream().breaker), layer());
    let both = upstream.clone().behind(Some(&route));
    for layer in [&route, &upstream] {
        layer.order(Action::Open);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut hanging = both.layer(tower::service_fn(hanging));
    let probe = hanging.call(request());
    assert_eq!(route.snapshot().probes_in_flight, 1);
    assert_eq!(upstream.snapshot().probes_in_flight, 1);
    drop(probe);
    assert_eq!(route.snapshot().probes_in_flight, 0);
    assert_eq!(upstream.snapshot().probes_in_flight, 0);

    for layer in [&route, &upstream] {
        layer.order(Action::Close);
    }
    let failing = both.layer(tower::service_fn(|_| async { Err(refused()) }));
    for _ in 0..3 {
        failing.clone().oneshot(request()).await.expect_err("fails");
    }
    assert_eq!(route.snapshot().run, 3);
    assert_eq!(upstream.snapshot().run, 3);
}

#[tokio::test(start_paused = true)]
async fn a_route_that_fails_opens_its_own_breaker_and_leaves_others_alone() {
    let config = BreakerConfig {
        consecutive_failures: 2,
        ..upstream().breaker
    };
    let (route, upstream) = (of_route(config), layer());
    let both = upstream.clone().behind(Some(&route));
    let failing = both.layer(tower::service_fn(|_| async { Err(refused()) }));
    for _ in 0..2 {
        failing.clone().oneshot(request()).await.expect_err("fails");
    }
    assert_eq!(
        (route.phase(), upstream.phase()),
        (Phase::Open, Phase::Closed)
    );
    let well = upstream.layer(tower::service_fn(|_| async {
        Ok::<_, Failure>(Response::new(Body::empty()))
    }));
    well.oneshot(request()).await.expect("another route");
}

#[tokio::test(start_paused = true)]
async fn slow_is_what_takes_longer_than_the_budget_of_its_route_or_hung() {
    let answering = |millis, result: fn() -> Result<Response, Failure>| {
        tower::service_fn(move |_: Request| async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            result()
        })
    };
    let answer = || Ok(Response::new(Body::empty()));
    let timeout = || Err(Failure::new(Cause::ResponseTimeout, Sent::MayHaveActed));
    for (name, budget, millis, result, want) in [
        (
            "inside the breaker's own",
            None,
            1_999,
            answer as fn() -> _,
            0,
        ),
        ("beyond it", None, 2_000, answer, 1),
        ("beyond the route's shorter one", Some(500), 500, answer, 1),
        (
            "inside the route's longer one",
            Some(5_000),
            4_999,
            answer,
            0,
        ),
        ("it hung, however short it was given", None, 100, timeout, 1),
        ("it failed at once", None, 0, || Err(refused()), 0),
        ("it failed late", None, 2_500, || Err(refused()), 1),
    ] {
        let layer = layer();
        let mut request = request();
        request.extensions_mut().insert(FetchContext {
            slow_after: budget.map(Duration::from_millis),
            ..FetchContext::default()
        });
        let service = layer.layer(answering(millis, result));
        drop(service.oneshot(request).await);
        assert_eq!(layer.snapshot().counts.slow, want, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_change_is_an_event_that_says_whose_breaker_it_is() {
    let told: Arc<Mutex<Vec<UpstreamEvent>>> = Arc::default();
    let sink = Arc::clone(&told);
    let events = Events::to(move |event: &UpstreamEvent| {
        sink.lock().expect("no panic").push(event.clone());
    });
    let config = upstream().breaker;
    let stats = Arc::default();
    let layer = BreakerLayer::of_route("prices".into(), config, upstream(), events, stats);
    rested(&layer).await;
    let well = layer.layer(tower::service_fn(|_| async {
        Ok::<_, Failure>(Response::new(Body::empty()))
    }));
    for _ in 0..3 {
        well.clone().oneshot(request()).await.expect("it answers");
    }
    layer.order(Action::Isolate);
    layer.order(Action::Isolate);
    layer.order(Action::Close);
    let told = told.lock().expect("no panic");
    assert!(
        told.iter()
            .all(|event| event.route.as_deref() == Some("prices"))
    );
    let changes: Vec<_> = told.iter().map(|event| event.change).collect();
    assert!(
        matches!(
            changes[..],
            [
                BreakerChange::Opened {
                    reason: Reason::Run { failures: 5 },
                    ..
                },
                BreakerChange::HalfOpened,
                BreakerChange::Closed {
                    reason: Reason::Recovered { .. }
                },
                BreakerChange::Isolated,
                BreakerChange::Closed {
                    reason: Reason::Manual
                },
            ]
        ),
        "{changes:?}"
    );
    assert_eq!(layer.phase(), Phase::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_call_cut_off_by_the_deadline_counts_as_a_failure() {
    let layer = layer();
    let hanging = tower::ServiceBuilder::new()
        .layer(DeadlineLayer::new(Arc::default()))
        .layer(layer.clone())
        .service(tower::service_fn(|_| {
            std::future::pending::<Result<Response, Failure>>()
        }));
    for _ in 0..5 {
        let mut request = request();
        request.extensions_mut().insert(FetchContext {
            deadline: Duration::from_millis(100),
            ..FetchContext::default()
        });
        hanging.clone().oneshot(request).await.expect_err("hangs");
    }
    assert_eq!(layer.snapshot().phase, Phase::Open);
}

#[tokio::test(start_paused = true)]
async fn a_429_slows_the_rate_but_is_no_sign_of_being_down() {
    let layer = layer();
    let limited = layer.layer(tower::service_fn(|_| async {
        let cause = Cause::Status(StatusCode::TOO_MANY_REQUESTS);
        Err::<Response, _>(Failure::new(cause, Sent::MayHaveActed))
    }));
    for _ in 0..9 {
        limited.clone().oneshot(request()).await.expect_err("429");
    }
    let snapshot = layer.snapshot();
    assert_eq!((snapshot.phase, snapshot.run), (Phase::Closed, 0));
    assert_eq!(snapshot.counts.failed, 9);
}

#[tokio::test(start_paused = true)]
async fn a_streamed_body_that_breaks_counts_against_the_upstream() {
    let layer = layer();
    let breaking = layer.layer(tower::service_fn(|_| async {
        Ok::<_, Failure>(Response::new(scripted([Step::Data(b"a"), Step::Break])))
    }));
    let response = breaking.oneshot(request()).await.expect("the head is fine");
    assert_eq!(layer.snapshot().counts.failed, 0);
    response.into_body().collect().await.expect_err("breaks");
    assert_eq!(layer.snapshot().counts.failed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_is_turned_off_never_refuses() {
    let mut config = client_config(&["http://vendor.example"]);
    config.breaker.enabled = false;
    let layer = BreakerLayer::new(Arc::new(config), Events::none(), Arc::default());
    let failing = layer.layer(tower::service_fn(|_| async { Err(refused()) }));
    for _ in 0..50 {
        let failure = failing.clone().oneshot(request()).await.expect_err("fails");
        assert_eq!(failure.cause(), Cause::ConnectRefused);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_uploads_slowly_makes_no_upstream_slow() {
    let second = Duration::from_secs(1);
    for (name, upload, answer, want) in [
        (
            "the upstream takes long",
            Duration::ZERO,
            3 * second,
            Phase::Open,
        ),
        ("the client does", 3 * second, Duration::ZERO, Phase::Closed),
        (
            "the client, then the upstream",
            second / 2,
            second * 11 / 5,
            Phase::Open,
        ),
    ] {
        let layer = layer();
        let service = layer.layer(tower::service_fn(move |request: Request| async move {
            let progress = request.extensions().get::<Progress>().cloned();
            let upload = progress.expect("a fetch").upload().clone();
            let content = upload.watch(request.into_body()).collect().await;
            content.expect("whole");
            tokio::time::sleep(answer).await;
            Ok::<_, Failure>(Response::default())
        }));
        for _ in 0..10 {
            let mut post = request();
            *post.body_mut() = scripted([Step::Wait(upload), Step::Data(b"content")]);
            let deadline = Instant::now() + 60 * second;
            post.extensions_mut().insert(Progress::new(deadline));
            service.clone().oneshot(post).await.expect(name);
        }
        assert_eq!(layer.snapshot().phase, want, "{name}");
    }
}
