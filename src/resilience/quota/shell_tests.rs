use http::HeaderValue;
use tower::ServiceExt;

use super::*;
use crate::{
    clock::Timestamp,
    config::{QuotaConfig, Rate},
    http::Body,
    upstream::client_config,
};

fn quota(change: impl FnOnce(&mut UpstreamConfig)) -> Quota {
    let mut config = client_config(&["http://127.0.0.1:1"]);
    change(&mut config);
    let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
    Quota::new(std::sync::Arc::new(config), clock)
}

fn five_a_second(config: &mut UpstreamConfig) {
    config.quota = Some(QuotaConfig {
        rate: Rate {
            count: 5,
            per: Duration::from_secs(1),
        },
        burst: 5,
    });
}

fn request(priority: Priority) -> Request {
    let mut request = Request::new(Body::empty());
    request.extensions_mut().insert(FetchContext {
        priority,
        ..FetchContext::default()
    });
    request
}

fn taken(quota: &Quota, priority: Priority, tries: usize) -> usize {
    (0..tries)
        .filter(|_| quota.try_take(priority).is_ok())
        .count()
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_is_not_sent_and_learns_when_it_could_be() {
    let quota = quota(five_a_second);
    let stats = std::sync::Arc::<UpstreamStats>::default();
    let service = quota
        .layer(std::sync::Arc::clone(&stats))
        .layer(tower::service_fn(|_| async {
            Ok::<_, Failure>(Response::new(Body::empty()))
        }));
    for _ in 0..5 {
        let answer = service.clone().oneshot(request(Priority::UserMiss)).await;
        answer.expect("inside the quota");
    }
    let refused = service.clone().oneshot(request(Priority::UserMiss)).await;
    let failure = refused.expect_err("one too many");
    assert_eq!(failure.cause(), Cause::QuotaExhausted);
    assert_eq!((failure.sent(), failure.attempts()), (Sent::Nothing, 0));
    // 200 ms by the pace, but the period has to leave the five behind.
    assert_eq!(failure.retry_after(), Some(Duration::from_secs(1)));
    tokio::time::advance(Duration::from_secs(1)).await;
    let answer = service.oneshot(request(Priority::UserMiss)).await;
    answer.expect("the time it named");
    assert!(stats.snapshot().failures.contains(&("quota_exhausted", 1)));
    let snapshot = quota.snapshot();
    assert_eq!(snapshot.remaining, Some(4));
    assert_eq!(snapshot.refused, [0, 0, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn lower_priorities_leave_a_reserve_to_higher_ones() {
    let quota = quota(five_a_second);
    for (priority, want) in [
        (Priority::Sync, 2),
        (Priority::Webhook, 1),
        (Priority::UserRevalidate, 1),
        (Priority::UserMiss, 1),
        (Priority::UserMiss, 0),
    ] {
        assert_eq!(taken(&quota, priority, 9), want, "{priority:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_vendor_says_is_heeded_unless_the_config_says_not_to() {
    for (name, heeded, status, fields, want_refused) in [
        (
            "nothing left",
            true,
            200,
            &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "2")][..],
            true,
        ),
        (
            "on a failing answer too",
            true,
            403,
            &[("ratelimit", "\"a\";r=0;t=2")],
            true,
        ),
        (
            "429 with Retry-After",
            true,
            429,
            &[("retry-after", "2")],
            true,
        ),
        (
            "503 with Retry-After is the breaker's",
            true,
            503,
            &[("retry-after", "2")],
            false,
        ),
        ("429 alone says nothing of time", true, 429, &[], false),
        (
            "turned off",
            false,
            429,
            &[("retry-after", "2"), ("ratelimit", "\"a\";r=0;t=2")],
            false,
        ),
    ] {
        let quota = quota(|config| config.quota_headers = heeded);
        assert_eq!(quota.snapshot().remaining, None, "{name}");
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        for (field, value) in fields {
            response
                .headers_mut()
                .insert(*field, HeaderValue::from_static(value));
        }
        let _passed_on = quota.ears()(response);
        let refused = quota.try_take(Priority::UserMiss).err();
        let want = want_refused.then_some(Refused {
            retry_after: Duration::from_secs(2),
        });
        assert_eq!(refused, want, "{name}");
        tokio::time::advance(Duration::from_secs(2)).await;
        quota.try_take(Priority::UserMiss).expect(name);
    }
}
