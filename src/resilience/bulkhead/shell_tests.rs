use std::{sync::Arc as StdArc, time::Duration};

use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;
use crate::{
    config::{AdaptiveConfig, LimitAlgorithm},
    http::Body,
    resilience::body::script::{Step, scripted},
    upstream::client_config,
};

fn layer_with(change: impl FnOnce(&mut UpstreamConfig)) -> BulkheadLayer {
    let mut config = client_config(&["http://127.0.0.1:1"]);
    change(&mut config);
    BulkheadLayer::new(&config, StdArc::default())
}

fn layer(in_flight_max: usize) -> BulkheadLayer {
    layer_with(|config| config.in_flight_max = in_flight_max)
}

fn request() -> Request {
    Request::new(Body::empty())
}

fn request_of(priority: Priority) -> Request {
    let mut request = request();
    request.extensions_mut().insert(FetchContext {
        priority,
        ..FetchContext::default()
    });
    request
}

fn hanging() -> impl Service<
    Request,
    Response = Response,
    Error = Failure,
    Future = impl Future<Output = Result<Response, Failure>>,
> + Clone {
    tower::service_fn(|_| std::future::pending::<Result<Response, Failure>>())
}

#[tokio::test]
async fn one_request_too_many_fails_at_once_and_a_dropped_one_makes_room() {
    let layer = layer(1);
    let mut service = layer.layer(hanging());
    let first = service.call(request());
    let refused = service.call(request()).await.expect_err("full");
    assert_eq!(refused.cause(), Cause::BulkheadFull);
    assert_eq!(refused.sent(), Sent::Nothing);
    assert_eq!(layer.snapshot().in_flight, 1);
    drop(first);
    let snapshot = layer.snapshot();
    assert_eq!((snapshot.in_flight, snapshot.limit), (0, 1));
    assert_eq!(snapshot.shed, [0, 0, 0, 1]);
}

#[tokio::test]
async fn a_streamed_body_keeps_its_place_until_it_has_ended_or_is_dropped() {
    let layer = layer(2);
    let streaming = layer.layer(tower::service_fn(|_| async {
        Ok::<_, Failure>(Response::new(scripted([Step::Data(b"a")])))
    }));
    let read = streaming
        .clone()
        .oneshot(request())
        .await
        .expect("admitted");
    let dropped = streaming.oneshot(request()).await.expect("admitted");
    assert_eq!(layer.snapshot().in_flight, 2);
    drop(dropped);
    assert_eq!(layer.snapshot().in_flight, 1);
    let mut body = read.into_body();
    while body.frame().await.is_some() {}
    assert_eq!(layer.snapshot().in_flight, 0, "ended, though not dropped");
}

#[tokio::test]
async fn a_whole_body_gives_its_place_back_with_the_head() {
    let layer = layer(1);
    let whole = layer.layer(tower::service_fn(|_| async {
        Ok::<_, Failure>(Response::new(Body::full("whole")))
    }));
    let _response = whole.oneshot(request()).await.expect("admitted");
    assert_eq!(layer.snapshot().in_flight, 0);
}

#[tokio::test]
async fn a_panic_gives_its_place_back() {
    let layer = layer(1);
    let panicking = layer.layer(tower::service_fn(|_| async {
        assert!(std::hint::black_box(false), "in the middle of it");
        Ok::<_, Failure>(Response::new(Body::empty()))
    }));
    let died = tokio::spawn(panicking.oneshot(request())).await;
    assert!(died.expect_err("it panicked").is_panic());
    assert_eq!(layer.snapshot().in_flight, 0);
}

#[tokio::test]
async fn the_least_worth_is_shed_first_and_each_class_has_a_place_where_nothing_is_in_flight() {
    for (limit, want) in [(10, [4, 2, 2, 2]), (2, [1, 0, 0, 1]), (1, [1, 0, 0, 0])] {
        let layer = layer(limit);
        let mut service = layer.layer(hanging());
        let mut held = Vec::new();
        for (priority, want) in Priority::ALL.into_iter().zip(want) {
            let before = layer.snapshot().in_flight;
            for _ in 0..limit {
                held.push(service.call(request_of(priority)));
            }
            let admitted = layer.snapshot().in_flight - before;
            assert_eq!(admitted, want, "{priority:?} of {limit}");
        }
        assert_eq!(layer.snapshot().in_flight, limit);
        for (shed, admitted) in layer.snapshot().shed.iter().zip(want) {
            assert_eq!(*shed, (limit - admitted) as u64);
        }
        drop(held);
        assert_eq!(layer.snapshot().in_flight, 0);
    }
}

fn aimd(config: &mut UpstreamConfig) {
    config.adaptive = Some(AdaptiveConfig {
        algorithm: LimitAlgorithm::Aimd,
        ..AdaptiveConfig::default()
    });
}

#[tokio::test(start_paused = true)]
async fn what_an_upstream_answers_moves_the_limit() {
    let status = |status: u16| {
        let status = StatusCode::from_u16(status).expect("a status");
        Err(Failure::new(Cause::Status(status), Sent::MayHaveActed))
    };
    let cause = |cause| Err(Failure::new(cause, Sent::Nothing));
    let answer = || Ok(Response::new(Body::empty()));
    let not_found = || {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_FOUND;
        Ok(response)
    };
    for (name, result, want) in [
        ("an answer", answer(), Outcome::Answered),
        ("an error that came quickly", not_found(), Outcome::Unknown),
        ("a failure that came quickly", status(500), Outcome::Unknown),
        ("503", status(503), Outcome::Overloaded),
        ("429", status(429), Outcome::Overloaded),
        (
            "silence",
            cause(Cause::ResponseTimeout),
            Outcome::Overloaded,
        ),
        (
            "the end of all patience",
            cause(Cause::Deadline),
            Outcome::Overloaded,
        ),
        (
            "refused connections",
            cause(Cause::ConnectRefused),
            Outcome::Unknown,
        ),
        (
            "refused below",
            cause(Cause::QuotaExhausted),
            Outcome::Unknown,
        ),
    ] {
        assert_eq!(outcome(&result), want, "{name}");
    }
    let layer = layer_with(aimd);
    let overloaded = layer.layer(tower::service_fn(|_| async {
        let cause = Cause::Status(StatusCode::SERVICE_UNAVAILABLE);
        Err::<Response, _>(Failure::new(cause, Sent::MayHaveActed))
    }));
    assert_eq!(layer.snapshot().limit, 20);
    overloaded.oneshot(request()).await.expect_err("503");
    assert_eq!(layer.snapshot().limit, 18);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_cut_off_at_its_deadline_was_too_slow_and_one_that_is_given_up_says_nothing()
{
    for (wait, want) in [(1, 20), (2, 18)] {
        let layer = layer_with(aimd);
        let mut service = layer.layer(hanging());
        let mut request = request();
        let deadline = Instant::now() + Duration::from_secs(2);
        request.extensions_mut().insert(Progress::new(deadline));
        let call = service.call(request);
        tokio::time::advance(Duration::from_secs(wait)).await;
        drop(call);
        assert_eq!(layer.snapshot().limit, want, "after {wait} s");
        assert_eq!(layer.snapshot().in_flight, 0);
    }
}
