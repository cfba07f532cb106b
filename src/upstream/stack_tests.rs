//! The whole way from the cache's border to a socket, composed as the stack composes it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use http::{StatusCode, header};
use tower::{Service, ServiceBuilder, ServiceExt};

use super::{
    client::tests::{Refusing, config, origin},
    *,
};
use crate::{
    failure::{Cause, Failure, Sent},
    http::{Body, Request, Response},
    resilience::{
        Attempts, FetchContext, Timing,
        breaker::{BreakerChange, Phase},
    },
};

/// Outermost first, as in the design.
fn stack(
    upstream: &Upstream,
) -> impl Service<Request, Response = Response, Error = Failure, Future: Send>
+ Clone
+ Send
+ Sync
+ use<> {
    ServiceBuilder::new()
        .layer(upstream.deadline_layer())
        .layer(upstream.retry_layer())
        .layer(upstream.breaker_layer())
        .layer(upstream.bulkhead_layer())
        .layer(upstream.quota_layer())
        .layer(upstream.verdict_layer())
        .layer(upstream.attempt_layer())
        .map_response(upstream.quota().ears())
        .service(upstream.balance())
}

fn request() -> Request {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = "/prices/1".parse().expect("path");
    request.extensions_mut().insert(FetchContext {
        whole_bytes_max: Some(1_024),
        deadline: Duration::from_secs(5),
        ..FetchContext::default()
    });
    request
}

fn upstream(config: UpstreamConfig) -> Upstream {
    Upstream::new(Arc::new(config), Clock::System, Events::none()).expect("sound config")
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_again_and_hidden() {
    let origin = origin([
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwhole",
    ])
    .await;
    let upstream = upstream(config(&[origin.uri()]));
    let response = stack(&upstream)
        .oneshot(request())
        .await
        .expect("second one");
    assert_eq!(response.body().bytes().as_deref(), Some(&b"whole"[..]));
    assert_eq!(response.extensions().get(), Some(&Attempts(2)));
    assert!(response.extensions().get::<Timing>().is_some());
    assert_eq!(origin.asked().len(), 2);
    let stats = upstream.snapshot().stats;
    assert_eq!((stats.attempts, stats.retries), (2, 1));
    assert!(stats.failures.contains(&("response_incomplete", 1)));
}

#[tokio::test]
async fn a_retry_goes_to_the_endpoint_that_did_not_refuse() {
    let origin = origin(["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"; 8]).await;
    let refusing = Refusing::new();
    for _ in 0..8 {
        // Which one is drawn first is chance; a new upstream draws anew.
        let upstream = upstream(config(&[refusing.uri(), origin.uri()]));
        let response = stack(&upstream)
            .oneshot(request())
            .await
            .expect("the other");
        let served = response.extensions().get::<ServedBy>().expect("marked");
        assert_eq!((served.index, &*served.uri), (1, origin.uri()));
    }
}

#[tokio::test]
async fn a_retry_goes_to_another_endpoint_than_the_one_that_failed() {
    for _ in 0..8 {
        let failing = origin(["HTTP/1.1 503 Down\r\ncontent-length: 0\r\n\r\n"; 3]).await;
        let well = origin(["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]).await;
        let upstream = upstream(config(&[failing.uri(), well.uri()]));
        let response = stack(&upstream).oneshot(request()).await;
        let attempts = response
            .expect("the other")
            .extensions()
            .get::<Attempts>()
            .copied();
        assert!(attempts <= Some(Attempts(2)), "{attempts:?}");
    }
}

#[tokio::test]
async fn an_upstream_that_refuses_is_soon_left_alone_and_its_owner_told() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = {
        let told = Arc::clone(&told);
        Events::to(move |event: &crate::resilience::UpstreamEvent| {
            let owner = event.upstream.owner.clone();
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            told.push((owner, event.change));
        })
    };
    let refusing = Refusing::new();
    let mut config = config(&[refusing.uri()]);
    config.breaker.open_for = Duration::from_secs(10);
    config.owner = Some("Vendor desk".to_owned());
    let upstream = Upstream::new(Arc::new(config), Clock::System, sink).expect("sound config");
    let mut causes = Vec::new();
    for _ in 0..10 {
        let failure = stack(&upstream)
            .oneshot(request())
            .await
            .expect_err("refuses");
        assert_eq!(failure.sent(), Sent::Nothing);
        causes.push(failure.cause());
    }
    assert_eq!(causes.last(), Some(&Cause::BreakerOpen));
    assert!(
        upstream.snapshot().stats.attempts <= 5,
        "a run of five opens it"
    );
    assert_eq!(upstream.snapshot().breaker.phase, Phase::Open);
    let told = told.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(matches!(
        told.as_slice(),
        [(Some(owner), BreakerChange::Opened { .. })] if owner == "Vendor desk"
    ));
}

#[tokio::test]
async fn the_upstreams_own_error_response_is_kept_without_hop_by_hop_fields() {
    let origin = origin(
        ["HTTP/1.1 503 Down\r\nretry-after: 7\r\nconnection: x-once\r\nx-once: 1\r\ncontent-length: 4\r\n\r\nnope"],
    )
    .await;
    let upstream = upstream(config(&[origin.uri()]));
    let failure = stack(&upstream).oneshot(request()).await.expect_err("503");
    assert_eq!(failure.retry_after(), Some(Duration::from_secs(7)));
    assert_eq!(failure.attempts(), 1, "seven seconds are too long to wait");
    let answer = failure.answer().expect("kept");
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(&answer.body[..], b"nope");
    assert!(!answer.headers.contains_key("x-once"));
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_at_start() {
    let mut empty = config(&[]);
    empty.endpoints.clear();
    let mut pathless = config(&["http://127.0.0.1:1"]);
    pathless.endpoints[0].uri = "/only/a/path".parse().expect("uri");
    for (name, config, want) in [
        ("no endpoint", empty, "name at least one URL"),
        ("no host", pathless, "write scheme and host"),
    ] {
        let error = Upstream::new(Arc::new(config), Clock::System, Events::none())
            .err()
            .expect(name);
        assert!(error.to_string().contains(want), "{name}: {error}");
    }
}
