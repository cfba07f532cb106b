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
        budget_min_per_second: 10,
        ..crate::upstream::client_config(&["http://v"]).retry
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
    let mut behind = request(Method::GET, true);
    behind.extensions_mut().insert(FetchContext {
        stale_copy: true,
        awaited: false,
        ..FetchContext::default()
    });
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
        ("a refresh that nobody waits for", behind, refused(), 1),
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

/// A POST whose content streams, with this key.
fn keyed(key: &'static str, steps: impl IntoIterator<Item = Step>) -> Request {
    let mut post = request(Method::POST, false);
    let key = http::HeaderValue::from_static(key);
    post.headers_mut().insert("idempotency-key", key);
    *post.body_mut() = scripted(steps);
    post
}

#[tokio::test(start_paused = true)]
async fn a_key_makes_a_post_repeatable_as_far_as_its_content_is_kept() {
    let small = || [Step::Data(b"half, "), Step::Data(b"whole")];
    let unnamed = RetryConfig {
        idempotency_header: None,
        ..config()
    };
    let other = RetryConfig {
        idempotency_header: Some(http::HeaderName::from_static("x-request-key")),
        ..config()
    };
    let mut waits_for_100 = keyed("a", small());
    let expect = http::HeaderValue::from_static("100-continue");
    waits_for_100.headers_mut().insert(header::EXPECT, expect);
    for (name, config, request, want_seen) in [
        (
            "small content",
            config(),
            keyed("a", small()),
            vec!["half, whole"; 3],
        ),
        ("no key", config(), keyed("", small()), vec!["half, whole"]),
        (
            "no field is one",
            unnamed,
            keyed("a", small()),
            vec!["half, whole"],
        ),
        (
            "another field is",
            other,
            keyed("a", small()),
            vec!["half, whole"],
        ),
        (
            "too large to be kept",
            RetryConfig {
                body_bytes_max: 10,
                ..self::config()
            },
            keyed("a", small()),
            vec!["half, whole"],
        ),
        (
            "just small enough",
            RetryConfig {
                body_bytes_max: 11,
                ..self::config()
            },
            keyed("a", small()),
            vec!["half, whole"; 3],
        ),
        (
            "its sender waits to hear",
            self::config(),
            waits_for_100,
            vec!["half, whole"],
        ),
    ] {
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let service = tower::service_fn(move |request: Request| {
            let log = Arc::clone(&log);
            async move {
                use http_body_util::BodyExt;
                let content = request
                    .into_body()
                    .collect()
                    .await
                    .expect("whole")
                    .to_bytes();
                let content = String::from_utf8(content.to_vec()).expect("text");
                log.lock().expect("no panic").push(content);
                let failure = Failure::new(Cause::ConnectionTerminated, Sent::MayHaveActed);
                Err::<Response, _>(failure.with_attempts(1))
            }
        });
        let layer = RetryLayer::new(config, Arc::default());
        layer.layer(service).oneshot(request).await.unwrap_err();
        assert_eq!(*seen.lock().expect("no panic"), want_seen, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn leave_to_repeat_a_lost_request_is_given_where_it_may_be_done_twice() {
    let with = |method: Method, change: fn(&mut Request)| {
        let mut request = request(method, false);
        change(&mut request);
        request
    };
    let nothing = |_: &mut Request| {};
    for (name, request, want) in [
        ("GET", with(Method::GET, nothing), true),
        ("PUT", with(Method::PUT, nothing), true),
        ("POST", with(Method::POST, nothing), false),
        ("PATCH", with(Method::PATCH, nothing), false),
        ("POST with a key", keyed("a", []), true),
        (
            "POST that only reads",
            with(Method::POST, |it| {
                it.extensions_mut().insert(Reads);
            }),
            true,
        ),
        (
            "what may leave HTTP",
            with(Method::GET, |it| {
                let websocket = http::HeaderValue::from_static("websocket");
                it.extensions_mut().insert(Upgrade(websocket));
            }),
            false,
        ),
    ] {
        let has_leave = Arc::new(std::sync::Mutex::new(None));
        let seen = Arc::clone(&has_leave);
        let service = tower::service_fn(move |request: Request| {
            let leave = request.extensions().get::<Repeat>().is_some();
            *seen.lock().expect("no panic") = Some(leave);
            async { Ok::<_, Failure>(Response::default()) }
        });
        let layer = RetryLayer::new(config(), Arc::default());
        layer.layer(service).oneshot(request).await.expect(name);
        assert_eq!(*has_leave.lock().expect("no panic"), Some(want), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_repetition_that_failed_too_was_one_of_the_retries() {
    for (retries_max, repeats, want_asked) in
        [(2, false, 3), (2, true, 2), (1, true, 1), (0, true, 1)]
    {
        let asked = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counted = Arc::clone(&asked);
        let service = tower::service_fn(move |request: Request| {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if repeats {
                // As the client does; the second time there is no leave any more.
                let leave = request
                    .extensions()
                    .get::<Repeat>()
                    .expect("may be repeated");
                leave.take();
            }
            std::future::ready(Err::<Response, _>(refused()))
        });
        let config = RetryConfig {
            retries_max,
            ..config()
        };
        let layer = RetryLayer::new(config, Arc::default());
        let get = request(Method::GET, false);
        let failure = layer
            .layer(service)
            .oneshot(get)
            .await
            .expect_err("refused");
        let asked = asked.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(asked, want_asked, "{retries_max}, {repeats}");
        assert_eq!(failure.attempts(), asked);
    }
}

#[tokio::test(start_paused = true)]
async fn content_that_breaks_while_it_is_kept_is_the_clients_failure_and_nothing_was_sent() {
    let layer = RetryLayer::new(config(), Arc::default());
    let broken = keyed("a", [Step::Data(b"half"), Step::Break]);
    let (result, asked) = play(&layer, broken, &[]).await;
    let failure = result.expect_err("broken");
    assert_eq!(
        (failure.cause(), failure.sent()),
        (Cause::RequestBody, Sent::Nothing)
    );
    assert_eq!(asked, 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_slow_to_send_what_is_kept_is_to_blame_at_the_deadline() {
    use crate::resilience::DeadlineLayer;

    let retries = RetryLayer::new(config(), Arc::default());
    let answering = tower::service_fn(|_| async { Ok::<_, Failure>(Response::default()) });
    let service = DeadlineLayer::new(Arc::default()).layer(retries.layer(answering));
    let slow = keyed(
        "a",
        [Step::Data(b"half"), Step::Wait(Duration::from_secs(60))],
    );
    let failure = service.oneshot(slow).await.expect_err("too slow");
    assert_eq!(
        (failure.cause(), failure.sent()),
        (Cause::RequestTimeout, Sent::Nothing)
    );
}

#[tokio::test(start_paused = true)]
async fn no_retry_begins_that_could_not_be_answered_in_time() {
    let millis = Duration::from_millis;
    for (name, usual, left, want_asked) in [
        ("time enough", None, 1_000, 2),
        ("less than an attempt is worth", None, 90, 1),
        ("less than answers take here", Some(400), 350, 1),
        ("as much as they take, and the wait", Some(400), 500, 2),
    ] {
        let config = RetryConfig {
            retries_max: 1,
            ..config()
        };
        let layer = RetryLayer::new(config, Arc::default());
        let first = Arc::new(std::sync::atomic::AtomicBool::new(usual.is_some()));
        let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let service = layer.layer(tower::service_fn(move |_| {
            let answers = first.swap(false, std::sync::atomic::Ordering::Relaxed);
            if !answers {
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            async move {
                if answers {
                    sleep(millis(usual.unwrap_or_default())).await;
                    return Ok(Response::default());
                }
                Err(refused())
            }
        }));
        if usual.is_some() {
            let learnt = service.clone().oneshot(request(Method::GET, false)).await;
            learnt.expect("the first one answers");
        }
        let mut hurried = request(Method::GET, false);
        let deadline = Instant::now() + millis(left);
        hurried.extensions_mut().insert(Progress::new(deadline));
        service.oneshot(hurried).await.expect_err("refused");
        assert_eq!(
            asked.load(std::sync::atomic::Ordering::Relaxed),
            want_asked,
            "{name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_attempt_feeds_the_budget_even_where_nothing_is_tried_again() {
    let config = RetryConfig {
        retries_max: 0,
        budget_percent: 100,
        budget_min_per_second: 0,
        ..config()
    };
    let layer = RetryLayer::new(config, Arc::default());
    let open = Failure::new(Cause::BreakerOpen, Sent::Nothing);
    for (failures, want) in [(vec![], 1), (vec![refused()], 2), (vec![open], 2)] {
        let _result = play(&layer, request(Method::GET, false), &failures).await;
        assert_eq!(layer.budget().balance(), want);
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
    /// Whatever attempts take and come to: there are no more than allowed, and none begins that could not end in time.
    #[test]
    fn attempts_are_bounded_in_number_and_begin_in_time(
        retries_max in 0_u32..=10,
        deadline_ms in 1_u64..3_000,
        attempt_min_ms in 0_u64..500,
        took_ms in proptest::collection::vec(0_u64..800, 11),
        stale_copy: bool,
    ) {
        let config = RetryConfig {
            retries_max,
            retries_max_stale: retries_max / 2,
            attempt_min: Duration::from_millis(attempt_min_ms),
            budget_min_per_second: 100,
            ..config()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let begun = runtime.block_on(async {
            let began = Instant::now();
            let begun = Arc::new(std::sync::Mutex::new(Vec::new()));
            let log = Arc::clone(&begun);
            let service = tower::service_fn(move |_| {
                let mut log = log.lock().expect("no panic");
                let took = took_ms[log.len().min(10)];
                log.push(began.elapsed());
                async move {
                    sleep(Duration::from_millis(took)).await;
                    Err::<Response, _>(refused())
                }
            });
            let mut asked = request(Method::GET, stale_copy);
            let deadline = began + Duration::from_millis(deadline_ms);
            asked.extensions_mut().insert(Progress::new(deadline));
            let layer = RetryLayer::new(config, Arc::default());
            layer.layer(service).oneshot(asked).await.expect_err("refused");
            let begun = begun.lock().expect("no panic");
            begun.clone()
        });
        let most = if stale_copy { retries_max / 2 } else { retries_max };
        prop_assert!(begun.len() as u32 <= 1 + most);
        for at in &begun[1..] {
            // A timer of tokio's fires up to a millisecond late.
            let least = Duration::from_millis(attempt_min_ms.saturating_sub(2));
            prop_assert!(*at + least <= Duration::from_millis(deadline_ms), "{:?}", begun);
        }
    }

    #[test]
    fn the_budget_is_never_exceeded(percent in 0u32..=100, firsts in 0u32..400) {
        let budget = RetryBudget::new(&RetryConfig {
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
        let budget = RetryBudget::new(&RetryConfig {
            budget_percent: percent,
            budget_min_per_second: floor,
            ..config()
        });
        let allowed = (0..1_000).filter(|_| budget.withdraw()).count();
        prop_assert_eq!(allowed, floor as usize * 10);
    }
}
