//! Sync: the locks and atomics of state that threads share, so that `shuttle` can try their interleavings.
//!
//! In a build these are `std`'s, at no cost. With `--cfg shuttle` they are those of the crate `shuttle`, which runs a test
//! again and again and lets another thread go on at each lock and each atomic, by chance that it can repeat. Shells whose
//! invariants depend on what threads do to each other (breaker, budget, limiter, admission) take theirs from here and are
//! tested in a module named `shuttle_tests`:
//!
//! ```text
//! RUSTFLAGS="--cfg shuttle" cargo test --target-dir target/shuttle --lib shuttle_
//! ```
//!
//! What this does not do: tokio's own primitives are not shuttle's, and outside a shuttle test shuttle's primitives panic,
//! so such a build runs those tests alone.

#[cfg(not(shuttle))]
pub use std::sync::{
    Arc, LockResult, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
    TryLockError, Weak, atomic,
};

#[cfg(shuttle)]
pub use shuttle::sync::{
    Arc, LockResult, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
    TryLockError, Weak, atomic,
};

#[cfg(all(test, shuttle))]
mod shuttle_tests {
    use super::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    };

    /// That interleavings are tried at all: what reads and writes in two steps must lose a count in one of them.
    #[test]
    #[should_panic(expected = "a count was lost")]
    fn shuttle_finds_a_count_that_two_threads_lose() {
        shuttle::check_random(
            || {
                let count = Arc::new(AtomicUsize::new(0));
                let threads: Vec<_> = (0..2)
                    .map(|_| {
                        let count = Arc::clone(&count);
                        shuttle::thread::spawn(move || {
                            let seen = count.load(Ordering::SeqCst);
                            count.store(seen + 1, Ordering::SeqCst);
                        })
                    })
                    .collect();
                for thread in threads {
                    thread.join().expect("no panic");
                }
                assert_eq!(count.load(Ordering::SeqCst), 2, "a count was lost");
            },
            1_000,
        );
    }

    #[test]
    fn a_lock_keeps_every_count() {
        shuttle::check_random(
            || {
                let count = Arc::new(Mutex::new(0));
                let threads: Vec<_> = (0..2)
                    .map(|_| {
                        let count = Arc::clone(&count);
                        shuttle::thread::spawn(move || {
                            *count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                        })
                    })
                    .collect();
                for thread in threads {
                    thread.join().expect("no panic");
                }
                assert_eq!(*count.lock().unwrap_or_else(PoisonError::into_inner), 2);
            },
            200,
        );
    }
}
