use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;
use crate::{
    http::Body,
    resilience::{
        DeadlineLayer, FetchContext,
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

#[tokio::test(start_paused = true)]
async fn probes_in_flight_are_capped_and_slots_come_back_however_a_call_ends() {
    let layer = layer();
    rested(&layer).await;
    let mut hanging = layer.layer(tower::service_fn(|_| {
        std::future::pending::<Result<Response, Failure>>()
    }));
    let probes: Vec<_> = (0..3).map(|_| hanging.call(request())).collect();
    assert_eq!(layer.snapshot().probes_in_flight, 3);
    let fourth = hanging.call(request()).await.expect_err("one too many");
    assert_eq!(fourth.cause(), Cause::BreakerOpen);
    assert_eq!(fourth.retry_after(), None, "no known end, none invented");
    drop(probes);
    assert_eq!(layer.snapshot().probes_in_flight, 0, "given up");

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
