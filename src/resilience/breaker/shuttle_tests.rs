//! The shell under many interleavings of threads.

use std::time::Duration;

use super::*;
use crate::{
    chance,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    upstream::client_config,
};

/// Few enough for shuttle to meet every order of the steps that matter.
const THREADS: usize = 4;
const CALLS: usize = 3;
const ITERATIONS: usize = 600;

/// Two probes at a time, a rest of no length, and results that never decide anything.
fn config() -> BreakerConfig {
    BreakerConfig {
        open_for: Duration::ZERO,
        open_for_max: Duration::ZERO,
        probes: 2,
        probe_calls: 1_000,
        probe_success_percent: 1,
        ..client_config(&["http://vendor.example"]).breaker
    }
}

fn pair(config: BreakerConfig) -> (Arc<Shared>, Arc<Shared>) {
    let upstream = Arc::new(client_config(&["http://vendor.example"]));
    let shared = |route: Option<&str>| {
        Arc::new(Shared::new(
            Arc::clone(&upstream),
            route.map(Arc::from),
            config,
            Events::none(),
            Arc::default(),
        ))
    };
    (shared(Some("prices")), shared(None))
}

fn fails() -> Result<Response, Failure> {
    Err(Failure::new(Cause::ConnectRefused, Sent::Nothing))
}

fn in_threads(body: impl Fn(usize) + Send + Sync + 'static) {
    let body = Arc::new(body);
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let body = Arc::clone(&body);
            shuttle::thread::spawn(move || body(number))
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
}

/// Drops, ends and panics.
fn ended(guard: Guard, how: usize) {
    match how % 3 {
        0 => drop(guard),
        1 => drop(guard.finish(&fails())),
        _ => drop(guard.finish(&Ok(Response::new(crate::http::Body::empty())))),
    }
}

#[test]
fn never_more_probes_than_allowed_and_every_slot_comes_back() {
    shuttle::check_random(
        || {
            chance::seed_this_thread(4);
            let (_, breaker) = pair(config());
            breaker.order(Action::Open, Instant::now());
            let out = Arc::new(AtomicUsize::new(0));
            let shared = Arc::clone(&breaker);
            in_threads(move |number| {
                for call in 0..CALLS {
                    let Ok(guard) = try_admit(None, &shared, None, None) else {
                        continue;
                    };
                    let others = out.fetch_add(1, SeqCst);
                    assert!(others < 2, "{others} probes were out already");
                    shuttle::thread::yield_now();
                    out.fetch_sub(1, SeqCst);
                    ended(guard, number + call);
                }
            });
            let now = breaker.snapshot(Instant::now());
            assert_eq!((now.phase, now.probes_in_flight), (Phase::HalfOpen, 0));
            assert!(
                try_admit(None, &breaker, None, None).is_ok(),
                "no way to a probe"
            );
        },
        ITERATIONS,
    );
}

#[test]
fn two_breakers_admit_together_while_they_open_close_and_are_moved() {
    shuttle::check_random(
        || {
            chance::seed_this_thread(4);
            let (route, upstream) = pair(BreakerConfig {
                probe_calls: 2,
                probe_success_percent: 100,
                consecutive_failures: 1,
                ..config()
            });
            let (first, second) = (Arc::clone(&route), Arc::clone(&upstream));
            in_threads(move |number| {
                let actions = [Action::Open, Action::Close, Action::Isolate, Action::Close];
                let moved = [&first, &second][number % 2];
                moved.order(actions[number % actions.len()], Instant::now());
                for call in 0..CALLS {
                    for breaker in [&first, &second] {
                        let probes = breaker.snapshot(Instant::now()).probes_in_flight;
                        assert!(probes <= 2, "{probes} probes");
                    }
                    if let Ok(guard) = try_admit(Some(&first), &second, None, None) {
                        ended(guard, number + call);
                    }
                }
            });
            for breaker in [&route, &upstream] {
                let now = breaker.snapshot(Instant::now());
                assert_eq!(now.probes_in_flight, 0);
                assert_eq!(breaker.phase(), now.phase, "what is shown is what is so");
                breaker.order(Action::Close, Instant::now());
            }
            assert!(try_admit(Some(&route), &upstream, None, None).is_ok());
        },
        ITERATIONS,
    );
}
