//! What a check asks for, what makes it pass, and what results add up to.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use tokio::sync::Mutex;

use super::*;
use crate::{
    config::StatusSet,
    failure::{Cause, Sent},
    resilience::body::script::{Step, scripted},
};

fn config() -> HealthConfig {
    let mut expect = StatusSet::none();
    (200..300).for_each(|code| expect.insert(code));
    HealthConfig {
        path: "/health?deep".parse().expect("path"),
        every: Duration::from_secs(5),
        timeout: Duration::from_secs(1),
        expect,
        body_contains: Some("ok".to_owned()),
        body_bytes_max: 8,
        unhealthy_after: 2,
        healthy_after: 2,
    }
}

#[test]
fn one_result_against_the_run_changes_nothing() {
    use HealthChange::{Healthy, Unhealthy};
    let mut health = Health::default();
    let told: Vec<_> = "fpffpfppffpfpp"
        .chars()
        .map(|result| health.checked(result == 'p', 2, 2))
        .collect();
    let mut want = vec![None; 14];
    want[3] = Some(Unhealthy);
    want[7] = Some(Healthy);
    want[9] = Some(Unhealthy);
    want[13] = Some(Healthy);
    assert_eq!(told, want);
    assert!(!health.is_unhealthy());
}

fn answer(status: u16, body: Body) -> Result<Response, Failure> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).expect("status");
    Ok(response)
}

#[tokio::test(start_paused = true)]
async fn a_check_passes_by_status_and_body_within_its_time() {
    let long = || {
        scripted([
            Step::Data(b"ok, and more"),
            Step::Wait(Duration::from_secs(9)),
        ])
    };
    let broken = scripted([Step::Data(b"ok"), Step::Break]);
    let drips = scripted([Step::Data(b"ok"), Step::Wait(Duration::from_secs(9))]);
    let refused = Err(Failure::new(Cause::ConnectRefused, Sent::Nothing));
    let plain = HealthConfig {
        body_contains: None,
        ..config()
    };
    for (name, config, result, want) in [
        ("well", config(), answer(204, Body::full("all ok")), Ok(())),
        (
            "another status",
            config(),
            answer(503, Body::full("ok")),
            Err("answered 503"),
        ),
        (
            "another body",
            config(),
            answer(200, Body::full("down")),
            Err("does not contain"),
        ),
        (
            "no body",
            config(),
            answer(200, Body::empty()),
            Err("does not contain"),
        ),
        (
            "a long body",
            config(),
            answer(200, long()),
            Err("longer than body_max"),
        ),
        (
            "a long body that nobody looks at",
            plain.clone(),
            answer(200, long()),
            Ok(()),
        ),
        (
            "a body that breaks off",
            plain.clone(),
            answer(200, broken),
            Err(""),
        ),
        (
            "a body without end",
            plain,
            answer(200, drips),
            Err("no answer within 1s"),
        ),
        ("refused", config(), refused, Err("connect_refused")),
    ] {
        let asked = Arc::new(Mutex::new(None));
        let (noted, answer) = (Arc::clone(&asked), Arc::new(Mutex::new(Some(result))));
        let endpoint = tower::service_fn(move |request: Request| {
            let (noted, answer) = (Arc::clone(&noted), Arc::clone(&answer));
            async move {
                *noted.lock().await = Some((request.method().clone(), request.uri().to_string()));
                answer.lock().await.take().expect("asked once")
            }
        });
        let result = check(endpoint, &config).await;
        match (&result, want) {
            (Ok(()), Ok(())) => {}
            (Err(said), Err(want)) => assert!(said.contains(want), "{name}: {said}"),
            (got, want) => panic!("{name}: {got:?}, not {want:?}"),
        }
        let asked = asked.lock().await.take();
        assert_eq!(
            asked,
            Some((Method::GET, "/health?deep".to_owned())),
            "{name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_ends_in_time() {
    let hanging = tower::service_fn(|_| std::future::pending::<Result<Response, Failure>>());
    let began = tokio::time::Instant::now();
    assert!(check(hanging, &config()).await.is_err());
    assert_eq!(began.elapsed(), Duration::from_secs(1));
}
