use http::{Method, StatusCode};
use proptest::prelude::*;
use tower::ServiceExt;
use tower_test::{assert_request_eq, mock};

use super::*;
use crate::{
    failure::Cause,
    resilience::body::script::{Step, scripted},
};

fn config() -> RetryConfig {
    RetryConfig {
        retries_max: 2,
        retries_max_stale: 1,
        backoff_min: Duration::from_millis(50),
        backoff_max: Duration::from_secs(1),
        budget_percent: 20,
        budget_min_per_second: 10,
    }
}

fn refused() -> Failure {
    Failure::new(Cause::ConnectRefused, Sent::Nothing).with_attempts(1)
}

fn status(code: u16, retry_after: Option<Duration>) -> Failure {
    let status = StatusCode::from_u16(code).expect("a status");
    Failure::new(Cause::Status(status), Sent::MayHaveActed)
        .with_attempts(1)
        .with_retry_after(retry_after)
}

fn request(method: Method, stale_copy: bool) -> Request {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    let context = FetchContext {
        stale_copy,
        ..FetchContext::default()
    };
    request.extensions_mut().insert(context);
    let deadline = Instant::now() + Duration::from_secs(10);
    request.extensions_mut().insert(Progress::new(deadline));
    request
}

/// Plays `failures` and then answers; how the caller fared, and how often the service was asked.
async fn play(
    layer: &RetryLayer,
    request: Request,
    failures: &[Failure],
) -> (Result<Response, Failure>, usize) {
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let failures = failures.to_vec();
    let service = tower::service_fn(move |_| {
        let call = counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let result = failures
            .get(call)
            .cloned()
            .map_or_else(|| Ok(Response::default()), Err);
        std::future::ready(result)
    });
    let result = layer.layer(service).oneshot(request).await;
    (result, asked.load(std::sync::atomic::Ordering::Relaxed))
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_read_cannot_be_sent_again() {
    use http_body_util::BodyExt;

    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let service = tower::service_fn(move |mut request: Request| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move {
            request.body_mut().frame().await;
            Err::<Response, _>(
                Failure::new(Cause::ConnectionTerminated, Sent::MayHaveActed).with_attempts(1),
            )
        }
    });
    let mut put = request(Method::PUT, false);
    *put.body_mut() = scripted([Step::Data(b"half"), Step::Data(b"whole")]);
    let layer = RetryLayer::new(config(), Arc::default());
    layer.layer(service).oneshot(put).await.unwrap_err();
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn what_may_be_tried_again_is_and_nothing_else() {
    let secs = Duration::from_secs;
    let may_have_acted =
        Failure::new(Cause::ConnectionTerminated, Sent::MayHaveActed).with_attempts(1);
    let open = Failure::new(Cause::BreakerOpen, Sent::Nothing);
    let mut streaming = request(Method::PUT, false);
    *streaming.body_mut() = scripted([]);
    let mut late = request(Method::GET, false);
    late.extensions_mut().insert(Progress::new(Instant::now()));
    for (name, request, failure, want_asked) in [
        (
            "nothing stored: twice more",
            request(Method::GET, false),
            refused(),
            3,
        ),
        (
            "a copy stored: once more",
            request(Method::GET, true),
            refused(),
            2,
        ),
        (
            "POST of which nothing was sent",
            request(Method::POST, false),
            refused(),
            3,
        ),
        (
            "POST that may have been acted on",
            request(Method::POST, false),
            may_have_acted.clone(),
            1,
        ),
        (
            "PUT that may have been acted on",
            request(Method::PUT, false),
            may_have_acted,
            3,
        ),
        (
            "a stream of which nothing was read",
            streaming,
            refused(),
            3,
        ),
        ("no time left", late, refused(), 1),
        ("open breaker", request(Method::GET, false), open, 1),
        ("503", request(Method::GET, false), status(503, None), 3),
        (
            "503, back in a second",
            request(Method::GET, false),
            status(503, Some(secs(1))),
            3,
        ),
        (
            "429, back in a minute",
            request(Method::GET, false),
            status(429, Some(secs(60))),
            1,
        ),
    ] {
        let layer = RetryLayer::new(config(), Arc::default());
        let (result, asked) = play(&layer, request, &vec![failure.clone(); 9]).await;
        let last = result.expect_err(name);
        assert_eq!(asked, want_asked, "{name}");
        assert_eq!(last.cause(), failure.cause(), "{name}");
        let want_attempts = if failure.attempts() == 0 {
            0
        } else {
            want_asked as u32
        };
        assert_eq!(last.attempts(), want_attempts, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_says_how_many_attempts_it_took() {
    let layer = RetryLayer::new(config(), Arc::default());
    let (result, _) = play(&layer, request(Method::GET, false), &[refused()]).await;
    let response = result.expect("the second one");
    assert_eq!(response.extensions().get(), Some(&Attempts(2)));
}

#[tokio::test(start_paused = true)]
async fn an_early_attempt_that_may_have_acted_is_not_forgotten() {
    let layer = RetryLayer::new(config(), Arc::default());
    let failures = [status(503, None), refused(), refused()];
    let (result, _) = play(&layer, request(Method::PUT, false), &failures).await;
    let last = result.expect_err("all failed");
    assert_eq!(
        (last.cause(), last.sent()),
        (Cause::ConnectRefused, Sent::MayHaveActed)
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_retry_does_not_hide_the_failure_behind_it() {
    let rest = Some(Duration::from_millis(400));
    let open = Failure::new(Cause::BreakerOpen, Sent::Nothing).with_retry_after(rest);
    let failure = status(503, None);
    let layer = RetryLayer::new(config(), Arc::default());
    let failures = [failure.clone(), open];
    let (result, asked) = play(&layer, request(Method::GET, false), &failures).await;
    let last = result.expect_err("failed, then refused");
    assert_eq!((last.cause(), last.attempts()), (failure.cause(), 1));
    assert_eq!((last.retry_after(), asked), (rest, 2));
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_waited_for() {
    let began = Instant::now();
    let layer = RetryLayer::new(config(), Arc::default());
    let failures = [status(503, Some(Duration::from_secs(1)))];
    let (result, _) = play(&layer, request(Method::GET, false), &failures).await;
    result.expect("the second one");
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_retry_sends_the_same_request() {
    let (mock, mut upstream) = mock::pair::<String, Result<(), Failure>>();
    let service = tower::service_fn(move |request: Request| {
        let body = request.body().bytes().expect("kept");
        let seen = format!("{} {} {body:?}", request.method(), request.uri());
        let answer = mock.clone().oneshot(seen);
        async { answer.await.expect("mock").map(|()| Response::default()) }
    });
    let mut request = request(Method::PUT, false);
    *request.uri_mut() = "/a?b".parse().expect("path");
    *request.body_mut() = Body::full("same");
    let layer = RetryLayer::new(config(), Arc::default());
    let call = tokio::spawn(layer.layer(service).oneshot(request));
    assert_request_eq!(upstream, "PUT /a?b b\"same\"").send_response(Err(refused()));
    assert_request_eq!(upstream, "PUT /a?b b\"same\"").send_response(Ok(()));
    call.await.expect("no panic").expect("answered");
}

#[tokio::test(start_paused = true)]
async fn retries_stay_inside_the_shared_budget() {
    let stats = Arc::new(UpstreamStats::default());
    let config = RetryConfig {
        budget_min_per_second: 0,
        ..config()
    };
    let layer = RetryLayer::new(config, Arc::clone(&stats));
    let mut asked = 0;
    for _ in 0..100 {
        let failures = vec![refused(); 9];
        asked += play(&layer, request(Method::GET, false), &failures).await.1;
    }
    let snapshot = stats.snapshot();
    assert!(
        snapshot.retries > 0 && snapshot.retries <= 20,
        "{snapshot:?}"
    );
    assert_eq!(asked as u64, 100 + snapshot.retries);
    assert!(snapshot.retries_denied >= 80, "{snapshot:?}");
}

proptest! {
    #[test]
    fn the_budget_is_never_exceeded(percent in 0u32..=100, firsts in 0u32..400) {
        let budget = budget(&RetryConfig {
            budget_percent: percent,
            budget_min_per_second: 0,
            ..config()
        });
        (0..firsts).for_each(|_| budget.deposit());
        let allowed = (0..1_000).filter(|_| budget.withdraw()).count() as u64;
        prop_assert!(allowed * 100 <= u64::from(percent) * u64::from(firsts), "{allowed}");
        // Rounded, but not away.
        prop_assert!(allowed * 200 + 200 >= u64::from(percent) * u64::from(firsts), "{allowed}");
    }

    #[test]
    fn the_floor_is_always_allowed_and_no_more(floor in 0u32..50, percent in 0u32..=100) {
        let budget = budget(&RetryConfig {
            budget_percent: percent,
            budget_min_per_second: floor,
            ..config()
        });
        let allowed = (0..1_000).filter(|_| budget.withdraw()).count();
        prop_assert_eq!(allowed, floor as usize * 10);
    }
}
