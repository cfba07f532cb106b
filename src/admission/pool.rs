//! Pool: the shell of [`Shares`]: places that threads take, and give back by dropping them.
//!
//! One lock, held for a handful of additions; no hit comes here.

use super::shares::{Party, Shares};
use crate::{
    http::fetch::Priority,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Places for all routes. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Pool(Arc<Mutex<Shares>>);

impl Pool {
    pub(super) fn new(total: usize, reserved_percent: u32, parties: &[Party]) -> Self {
        let shares = Shares::new(total, reserved_percent, parties);
        Self(Arc::new(Mutex::new(shares)))
    }

    /// A place for this party, or none: nobody waits for one.
    pub(super) fn take(&self, party: usize, priority: Priority) -> Option<Permit> {
        let taken = self.shares().take(party, priority);
        taken.then(|| Permit {
            pool: self.clone(),
            party,
        })
    }

    /// Places taken now.
    pub(super) fn taken(&self) -> usize {
        self.shares().taken()
    }

    /// Places there are.
    pub(super) fn total(&self) -> usize {
        self.shares().total()
    }

    fn shares(&self) -> MutexGuard<'_, Shares> {
        // Every operation leaves the counts whole, so a panic elsewhere has not broken them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place; given back when dropped, on whatever way that happens.
#[derive(Debug)]
#[must_use = "a permit that is dropped is given back"]
pub struct Permit {
    pool: Pool,
    party: usize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pool.shares().give_back(self.party);
    }
}

#[cfg(all(test, shuttle))]
mod shuttle_tests {
    use super::*;
    use crate::sync::atomic::{AtomicUsize, Ordering};

    fn parties() -> [Party; 2] {
        [0, 1].map(|group| Party { group, max: None })
    }

    /// However threads that flood one route go on, another route has its own part at once; all of it comes back.
    #[test]
    fn a_flood_of_one_route_never_takes_anothers_part() {
        shuttle::check_random(
            || {
                let pool = Pool::new(4, 50, &parties());
                let flood: Vec<_> = (0..3)
                    .map(|_| {
                        let pool = pool.clone();
                        shuttle::thread::spawn(move || {
                            let first = pool.take(0, Priority::UserMiss);
                            let second = pool.take(0, Priority::UserMiss);
                            shuttle::thread::yield_now();
                            drop(first);
                            drop(pool.take(0, Priority::UserRevalidate));
                            drop(second);
                        })
                    })
                    .collect();
                let own = pool.take(1, Priority::UserMiss);
                assert!(own.is_some(), "one of four is kept for it");
                assert!(pool.taken() <= pool.total());
                for thread in flood {
                    thread.join().expect("no panic");
                }
                assert_eq!(pool.taken(), 1);
                drop(own);
                assert_eq!(pool.taken(), 0, "permits come back");
            },
            1_000,
        );
    }

    #[test]
    fn there_are_never_more_than_the_total() {
        shuttle::check_random(
            || {
                let pool = Pool::new(2, 0, &parties());
                let held = Arc::new(AtomicUsize::new(0));
                let threads: Vec<_> = (0..3)
                    .map(|nth| {
                        let (pool, held) = (pool.clone(), Arc::clone(&held));
                        shuttle::thread::spawn(move || {
                            let Some(permit) = pool.take(nth % 2, Priority::UserMiss) else {
                                return;
                            };
                            assert!(held.fetch_add(1, Ordering::SeqCst) < 2);
                            held.fetch_sub(1, Ordering::SeqCst);
                            drop(permit);
                        })
                    })
                    .collect();
                for thread in threads {
                    thread.join().expect("no panic");
                }
                assert_eq!(pool.taken(), 0);
            },
            1_000,
        );
    }
}
