use std::time::Duration;

use http::HeaderValue;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;
use crate::{
    resilience::body::script::{Step, scripted},
    upstream::client_config,
};

const SECOND: Duration = Duration::from_secs(1);

fn request(whole_bytes_max: Option<u64>) -> Request {
    let mut request = Request::new(Body::empty());
    request.extensions_mut().insert(FetchContext {
        whole_bytes_max,
        attempt_timeout: SECOND,
        ..FetchContext::default()
    });
    request
}

/// The outcome of one attempt at a service that answers `status` with `fields` and `steps` after `head_after`.
async fn attempt(
    request: Request,
    head_after: Duration,
    status: u16,
    fields: &[(&'static str, &'static str)],
    steps: Vec<Step>,
) -> Result<Response, Failure> {
    let mut response = http::Response::builder().status(status);
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    let response = response.body(scripted(steps)).expect("sound");
    let mut response = Some(response);
    let service = tower::service_fn(move |_| {
        let response = response.take();
        async move {
            tokio::time::sleep(head_after).await;
            Ok(response.expect("asked once"))
        }
    });
    let clock = Clock::manual(Timestamp::from_secs(1_000));
    AttemptLayer::new(
        Arc::new(client_config(&["http://v"])),
        clock,
        Arc::default(),
    )
    .layer(service)
    .oneshot(request)
    .await
}

async fn text(response: Response) -> String {
    let body = response.into_body().collect().await.expect("whole");
    String::from_utf8(body.to_bytes().to_vec()).expect("text")
}

#[tokio::test(start_paused = true)]
async fn a_whole_body_that_does_not_end_well_is_a_failure() {
    let none = &[][..];
    let ten = &[("content-length", "10")][..];
    for (name, head_after, fields, steps, want) in [
        (
            "slow head",
            2 * SECOND,
            none,
            vec![],
            Cause::ResponseTimeout,
        ),
        (
            "drips past the timeout",
            Duration::ZERO,
            none,
            (0..9)
                .flat_map(|_| [Step::Data(b"a"), Step::Wait(SECOND / 5)])
                .collect(),
            Cause::BodyTimeout,
        ),
        (
            "reset",
            Duration::ZERO,
            none,
            vec![Step::Data(b"a"), Step::Break],
            Cause::ResponseIncomplete,
        ),
        (
            "shorter than announced",
            Duration::ZERO,
            ten,
            vec![Step::Data(b"short")],
            Cause::ResponseIncomplete,
        ),
    ] {
        let result = attempt(request(Some(1_024)), head_after, 200, fields, steps).await;
        let failure = result.expect_err(name);
        assert_eq!(failure.cause(), want, "{name}");
        assert_eq!(failure.sent(), Sent::MayHaveActed, "{name}");
        assert_eq!(failure.attempts(), 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_is_read_whole_or_streamed_as_wished_and_possible() {
    let json = &[("content-type", "application/json")][..];
    let events = &[("content-type", "Text/Event-Stream; charset=utf-8")][..];
    let no_store = &[("cache-control", "no-store")][..];
    let announced = &[("content-length", "8")][..];
    for (name, whole_bytes_max, fields, want_streaming) in [
        ("whole", Some(8), json, false),
        ("not wished", None, json, true),
        ("a byte too large", Some(7), json, true),
        ("too large by its length", Some(7), announced, true),
        ("events have no end", Some(8), events, true),
        ("not worth it by its head", Some(8), no_store, true),
    ] {
        let mut request = request(whole_bytes_max);
        let worth_it = WholeIf::new(|head| !head.headers.contains_key("cache-control"));
        request.extensions_mut().insert(worth_it);
        let steps = vec![Step::Data(b"abc"), Step::Data(b"def"), Step::Data(b"gh")];
        let response = attempt(request, Duration::ZERO, 200, fields, steps)
            .await
            .expect(name);
        let streaming = response.extensions().get::<Streaming>().is_some();
        assert_eq!(streaming, want_streaming, "{name}");
        assert_eq!(response.body().bytes().is_some(), !want_streaming, "{name}");
        assert_eq!(text(response).await, "abcdefgh", "{name}: nothing lost");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_take_longer_than_the_attempt_but_not_fall_silent() {
    let steady = (0..4).flat_map(|_| [Step::Data(b"a"), Step::Wait(4 * SECOND)]);
    let response = attempt(request(None), Duration::ZERO, 200, &[], steady.collect()).await;
    assert_eq!(text(response.expect("head")).await, "aaaa");

    let silent = vec![Step::Data(b"a"), Step::Wait(6 * SECOND), Step::Data(b"b")];
    let response = attempt(request(None), Duration::ZERO, 200, &[], silent).await;
    let error = response
        .expect("head")
        .into_body()
        .collect()
        .await
        .expect_err("silent");
    assert!(matches!(error, BodyError::Timeout), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_pauses_is_not_a_sender_that_is_silent() {
    // The first wait starts the timer, which must not go on running while nobody waits.
    let waits = |bytes| [Step::Wait(SECOND), Step::Data(bytes)];
    let steps = [waits(b"a"), waits(b"b")].into_iter().flatten().collect();
    let response = attempt(request(None), Duration::ZERO, 200, &[], steps).await;
    let mut body = response.expect("head").into_body();
    body.frame().await.expect("first").expect("data");
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(body.collect().await.expect("rest").to_bytes(), "b");
}

#[tokio::test(start_paused = true)]
async fn a_failing_status_is_a_failure_and_keeps_its_answer_where_it_can() {
    let large: &[u8] = &[b'x'; 2_000];
    for (name, steps, want_kept) in [
        ("small", vec![Step::Data(b"down")], Some("down")),
        ("larger than error_bytes_max", vec![Step::Data(large)], None),
        ("breaks off", vec![Step::Data(b"do"), Step::Break], None),
        ("hangs", vec![Step::Wait(60 * SECOND)], None),
        (
            "drips",
            vec![Step::Data(b"do"), Step::Wait(SECOND / 2), Step::Data(b"wn")],
            None,
        ),
    ] {
        let began = Instant::now();
        let fields = &[("retry-after", "3"), ("content-type", "text/plain")];
        let result = attempt(request(None), Duration::ZERO, 503, fields, steps).await;
        let failure = result.expect_err(name);
        let want = Cause::Status(StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(failure.cause(), want, "{name}");
        assert_eq!(failure.retry_after(), Some(3 * SECOND), "{name}");
        let kept = failure.answer().map(|answer| answer.body.to_vec());
        assert_eq!(kept.as_deref(), want_kept.map(str::as_bytes), "{name}");
        // Not the attempt's whole second: a retry or a stored answer waits behind it.
        assert!(
            began.elapsed() <= ERROR_BODY_WAIT + SECOND / 100,
            "{name}: {:?}",
            began.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_body_is_not_waited_for_beyond_the_deadline() {
    let mut request = request(None);
    let progress = Progress::new(Instant::now() + ERROR_BODY_WAIT / 2);
    request.extensions_mut().insert(progress.clone());
    let steps = vec![Step::Wait(60 * SECOND)];
    let failure = attempt(request, Duration::ZERO, 503, &[], steps)
        .await
        .expect_err("503");
    assert_eq!(
        failure.cause(),
        Cause::Status(StatusCode::SERVICE_UNAVAILABLE)
    );
    assert_eq!(Instant::now(), progress.deadline());
    assert_eq!(
        (failure.attempts(), progress.sent()),
        (1, Sent::MayHaveActed)
    );
}

#[tokio::test(start_paused = true)]
async fn a_hung_refresh_with_a_stored_copy_behind_it_is_given_up_sooner() {
    for (name, stale_copy, attempt_timeout, want) in [
        ("nothing stored", false, 5 * SECOND, 5 * SECOND),
        ("a stored copy", true, 5 * SECOND, 2 * SECOND),
        ("a route in a greater hurry", true, SECOND, SECOND),
    ] {
        let mut request = request(None);
        let context = FetchContext {
            stale_copy,
            attempt_timeout,
            ..FetchContext::default()
        };
        request.extensions_mut().insert(context);
        let began = Instant::now();
        let failure = attempt(request, 60 * SECOND, 200, &[], vec![])
            .await
            .expect_err(name);
        assert_eq!(failure.cause(), Cause::ResponseTimeout, "{name}");
        assert_eq!(began.elapsed(), want, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_error_is_an_answer() {
    let response = attempt(request(Some(9)), Duration::ZERO, 404, &[], vec![]).await;
    let response = response.expect("an answer");
    assert_eq!(response.extensions().get(), Some(&Attempts(1)));
    let timing = response.extensions().get::<Timing>().expect("dated");
    assert_eq!(timing.request_time, Timestamp::from_secs(1_000));
}

#[tokio::test(start_paused = true)]
async fn head_and_not_modified_have_no_body_whatever_they_announce() {
    let fields = &[("content-length", "4096")];
    let mut head = request(Some(9));
    *head.method_mut() = Method::HEAD;
    for (name, request, status) in [("HEAD", head, 200), ("304", request(Some(9)), 304)] {
        let steps = vec![Step::Wait(60 * SECOND)];
        let response = attempt(request, Duration::ZERO, status, fields, steps)
            .await
            .expect(name);
        assert_eq!(response.body().bytes().as_deref(), Some(&b""[..]), "{name}");
        let length = response.headers().get("content-length");
        assert_eq!(length, Some(&HeaderValue::from_static("4096")), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_nearer_deadline_ends_the_attempt_and_is_its_cause() {
    let mut request = request(Some(9));
    let progress = Progress::new(Instant::now() + SECOND / 2);
    request.extensions_mut().insert(progress.clone());
    let failure = attempt(request, 2 * SECOND, 200, &[], vec![])
        .await
        .expect_err("slow");
    assert_eq!(failure.cause(), Cause::Deadline);
    assert_eq!(Instant::now(), progress.deadline());
    assert_eq!(
        (progress.attempts(), progress.sent()),
        (1, Sent::MayHaveActed)
    );
}

#[tokio::test(start_paused = true)]
async fn an_attempt_says_in_the_routes_field_how_long_it_has() {
    let name = http::HeaderName::from_static("x-time-left");
    let millis = Duration::from_millis;
    for (what, asks, deadline, want) in [
        ("the attempt's own time", true, 10 * SECOND, "1000"),
        (
            "the rest of the deadline, if that is less",
            true,
            millis(400),
            "400",
        ),
        ("rounded down", true, Duration::from_micros(400_900), "400"),
        ("nothing left", true, Duration::ZERO, "0"),
        ("not asked for: the client's own", false, SECOND, "7"),
    ] {
        let mut request = request(None);
        request
            .headers_mut()
            .append(&name, HeaderValue::from_static("7"));
        request
            .extensions_mut()
            .insert(Progress::new(Instant::now() + deadline));
        if asks {
            request
                .extensions_mut()
                .insert(DeadlineHeader(name.clone()));
        }
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let name = name.clone();
        let service = tower::service_fn(move |request: Request| {
            let values = request.headers().get_all(&name).iter().cloned();
            log.lock().expect("no panic").extend(values);
            async { Ok(Response::default()) }
        });
        let config = Arc::new(client_config(&["http://v"]));
        let layer = AttemptLayer::new(config, Clock::System, Arc::default());
        let _result = layer.layer(service).oneshot(request).await;
        assert_eq!(*seen.lock().expect("no panic"), [want], "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_that_runs_out_while_the_client_uploads_is_the_clients() {
    let cut_off = Cause::ResponseTimeout;
    for (name, reads, steps, want) in [
        (
            "the client dawdles",
            true,
            vec![Step::Data(b"a"), Step::Wait(9 * SECOND)],
            Cause::RequestTimeout,
        ),
        ("all of it is sent", true, vec![Step::Data(b"a")], cut_off),
        (
            "the upstream does not read",
            false,
            vec![Step::Wait(9 * SECOND)],
            cut_off,
        ),
    ] {
        let mut request = request(None);
        *request.method_mut() = Method::POST;
        *request.body_mut() = scripted(steps);
        let deadline = Instant::now() + 10 * SECOND;
        request.extensions_mut().insert(Progress::new(deadline));
        let service = tower::service_fn(move |mut request: Request| async move {
            while reads && request.body_mut().frame().await.is_some() {}
            std::future::pending::<Result<Response, Failure>>().await
        });
        let config = Arc::new(client_config(&["http://v"]));
        let layer = AttemptLayer::new(config, Clock::System, Arc::default());
        let failure = layer.layer(service).oneshot(request).await.expect_err(name);
        assert_eq!(failure.cause(), want, "{name}");
        assert_eq!(
            failure.cause().is_upstream(),
            want != Cause::RequestTimeout,
            "{name}"
        );
    }
}
