//! Permits under all interleavings of those who take them, give them back and move the limit.

use super::*;
use crate::{
    config::{AdaptiveConfig, LimitAlgorithm},
    sync::atomic::AtomicUsize,
};

const THREADS: usize = 4;

fn shared(in_flight_max: usize, adaptive: bool) -> Arc<Shared> {
    let adaptive = adaptive.then(|| AdaptiveConfig {
        algorithm: LimitAlgorithm::Aimd,
        in_flight_min: 1,
        ..AdaptiveConfig::default()
    });
    Arc::new(Shared {
        shares: SharesConfig::default(),
        state: Mutex::new(State {
            limiter: Limiter::new(in_flight_max, adaptive.as_ref(), Instant::now()),
            in_flight: 0,
        }),
        shed: Default::default(),
    })
}

#[test]
fn permits_never_exceed_the_limit_and_all_come_back() {
    shuttle::check_random(
        || {
            let shared = shared(2, false);
            let held = Arc::new(AtomicUsize::new(0));
            let threads: Vec<_> = (0..THREADS)
                .map(|nth| {
                    let (shared, held) = (Arc::clone(&shared), Arc::clone(&held));
                    shuttle::thread::spawn(move || {
                        let priority = Priority::ALL[nth % Priority::ALL.len()];
                        for _ in 0..2 {
                            let now = Instant::now();
                            if let Some(mut permit) = shared.try_admit(priority, now) {
                                assert!(held.fetch_add(1, Ordering::SeqCst) < 2, "one too many");
                                if nth % 2 == 0 {
                                    permit.ended(Outcome::Answered, now);
                                }
                                held.fetch_sub(1, Ordering::SeqCst);
                                drop(permit);
                            }
                        }
                    })
                })
                .collect();
            for thread in threads {
                thread.join().expect("no panic");
            }
            assert_eq!(shared.state().in_flight, 0);
        },
        1_000,
    );
}

#[test]
fn a_limit_that_moves_loses_no_permit() {
    shuttle::check_random(
        || {
            let shared = shared(4, true);
            let threads: Vec<_> = (0..THREADS)
                .map(|nth| {
                    let shared = Arc::clone(&shared);
                    shuttle::thread::spawn(move || {
                        let now = Instant::now();
                        if let Some(mut permit) = shared.try_admit(Priority::UserMiss, now) {
                            let outcome = match nth % 2 {
                                0 => Outcome::Overloaded,
                                _ => Outcome::Answered,
                            };
                            permit.ended(outcome, now);
                        }
                        let limit = shared.state().limiter.limit();
                        assert!((1..=4).contains(&limit), "{limit}");
                    })
                })
                .collect();
            for thread in threads {
                thread.join().expect("no panic");
            }
            assert_eq!(shared.state().in_flight, 0);
        },
        1_000,
    );
}
