//! Coalescing: one fetch per key; everybody else waits for its outcome, woken on completion in the order of their coming.
//!
//! The leader's fetch runs in a task of its own: no client's connection owns it. A flight stays joinable until its guard
//! is dropped, which the fetch does once the outcome is in the store or there is none.
//!
//! # Invariants
//!
//! - At most one flight per key. How many there may be at once, over all keys, is a matter of `admission`: a flight holds a
//!   permit until it ends.
//! - Waiters always wake: a guard that is dropped without an outcome (a panic, a shutdown) closes the flight.

use std::{
    collections::{HashMap, hash_map},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Notify, time::Instant};

use crate::{admission::Permit, failure::Failure, store::Key};

/// More shards than threads that meet here; a power of two.
const SHARDS: usize = 64;

type Shard<T> = Mutex<HashMap<Key, Arc<Flight<T>>>>;

/// The fetches under way.
pub(super) struct Flights<T> {
    shards: Box<[Shard<T>; SHARDS]>,
}

/// One fetch under way. `T` is its outcome, cheap to clone.
pub(super) struct Flight<T> {
    started: Instant,
    progress: Mutex<Progress<T>>,
    /// Woken once it is no longer under way.
    ended: Notify,
}

enum Progress<T> {
    UnderWay,
    Published(T),
    /// The guard was dropped without an outcome.
    GivenUp,
}

/// What [`Flights::join`] made of the caller.
pub(super) enum Joined<T> {
    /// The caller has to fetch, and publish through the guard.
    Leader(Guard<T>),
    /// Somebody fetches already.
    Follower(Arc<Flight<T>>),
    /// There is no room for another fetch.
    Shed(Failure),
}

impl<T: Clone> Flights<T> {
    /// No flights yet.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            shards: Box::new(std::array::from_fn(|_| Mutex::default())),
        })
    }

    /// Joins the flight of this key, or starts it if there is room (`admit`).
    pub(super) fn join(
        self: &Arc<Self>,
        key: Key,
        admit: impl FnOnce() -> Result<Permit, Failure>,
    ) -> Joined<T> {
        match self.shard(&key).entry(key) {
            hash_map::Entry::Occupied(known) => Joined::Follower(Arc::clone(known.get())),
            hash_map::Entry::Vacant(free) => {
                let permit = match admit() {
                    Ok(permit) => permit,
                    Err(failure) => return Joined::Shed(failure),
                };
                let flight = Arc::new(Flight {
                    started: Instant::now(),
                    progress: Mutex::new(Progress::UnderWay),
                    ended: Notify::new(),
                });
                free.insert(Arc::clone(&flight));
                Joined::Leader(Guard {
                    flights: Arc::clone(self),
                    flight,
                    key,
                    _permit: permit,
                })
            }
        }
    }
}

impl<T> Flights<T> {
    fn shard(&self, key: &Key) -> MutexGuard<'_, HashMap<Key, Arc<Flight<T>>>> {
        let shard = &self.shards[usize::from(key.as_bytes()[0]) % SHARDS];
        // The map is whole after any single operation, so a panic elsewhere has not broken it.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Flight<T> {
    /// When the fetch began: what `stale_after` is counted from.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// The outcome, as soon as there is one; `None` if the fetch was given up without.
    pub(super) async fn outcome(&self) -> Option<T> {
        loop {
            // Made before the look: it is woken by an end that comes between.
            let ended = self.ended.notified();
            match &*self.progress() {
                Progress::Published(outcome) => return Some(outcome.clone()),
                Progress::GivenUp => return None,
                Progress::UnderWay => {}
            }
            ended.await;
        }
    }
}

impl<T> Flight<T> {
    fn progress(&self) -> MutexGuard<'_, Progress<T>> {
        // One value that is only ever replaced: a panic elsewhere has not broken it.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The leader's duty to publish. Dropping it ends the flight.
pub(super) struct Guard<T> {
    flights: Arc<Flights<T>>,
    flight: Arc<Flight<T>>,
    key: Key,
    _permit: Permit,
}

impl<T> Guard<T> {
    /// Wakes every waiter with this outcome. The flight can still be joined until the guard is dropped.
    pub(super) fn publish(&self, outcome: T) {
        *self.flight.progress() = Progress::Published(outcome);
        self.flight.ended.notify_waiters();
    }

    /// The flight, for the leader's own waiting.
    pub(super) fn flight(&self) -> Arc<Flight<T>> {
        Arc::clone(&self.flight)
    }
}

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        self.flights.shard(&self.key).remove(&self.key);
        let mut progress = self.flight.progress();
        if matches!(*progress, Progress::UnderWay) {
            *progress = Progress::GivenUp;
            drop(progress);
            self.flight.ended.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        admission::Admission,
        config::{self, FixedEnv},
        failure::Cause,
        http::fetch::Priority,
    };

    const KEY: Key = Key::from_bytes([3; 32]);

    fn admission(fetches_max: usize) -> Admission {
        let toml = format!(
            "server.fetches_max = {fetches_max}\nupstream.a.endpoints = [\"http://127.0.0.1:9100\"]\nroute = [{{ path = \"/\", upstream = \"a\" }}]"
        );
        let config = config::parse(&toml, Path::new("test.toml"), &FixedEnv::default());
        Admission::new(&config.unwrap_or_else(|errors| panic!("{errors}")))
    }

    fn permit(admission: &Admission) -> Result<Permit, Failure> {
        admission.route("/").fetch(Priority::UserMiss)
    }

    #[tokio::test]
    async fn followers_get_the_leaders_outcome() {
        let (flights, admission) = (Flights::new(), admission(10));
        let Joined::Leader(guard) = flights.join(KEY, || permit(&admission)) else {
            panic!("the first is the leader");
        };
        let Joined::Follower(flight) = flights.join(KEY, || permit(&admission)) else {
            panic!("the second is a follower");
        };
        let waiting = tokio::spawn(async move { flight.outcome().await });
        guard.publish("answer");
        assert_eq!(waiting.await.unwrap(), Some("answer"));
        drop(guard);
        assert!(matches!(
            flights.join(KEY, || permit(&admission)),
            Joined::Leader(_)
        ));
    }

    #[tokio::test]
    async fn a_leader_that_dies_wakes_its_followers() {
        let (flights, admission) = (Flights::<&str>::new(), admission(10));
        let Joined::Leader(guard) = flights.join(KEY, || permit(&admission)) else {
            panic!("the first is the leader");
        };
        let Joined::Follower(flight) = flights.join(KEY, || permit(&admission)) else {
            panic!("the second is a follower");
        };
        let waiting = tokio::spawn(async move { flight.outcome().await });
        drop(guard);
        assert_eq!(waiting.await.unwrap(), None);
    }

    #[test]
    fn no_more_fetches_than_allowed_and_slots_come_back() {
        let flights = Flights::<()>::new();
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _entered = tokio.enter();
        let admission = admission(1);
        let leader = flights.join(KEY, || permit(&admission));
        let other = Key::from_bytes([4; 32]);
        let Joined::Shed(failure) = flights.join(other, || permit(&admission)) else {
            panic!("there is room for one");
        };
        assert_eq!(failure.cause(), Cause::Overloaded);
        let follower = flights.join(KEY, || panic!("a follower takes no place"));
        assert!(matches!(follower, Joined::Follower(_)));
        assert!(permit(&admission).is_err());
        drop(leader);
        assert!(permit(&admission).is_ok());
        assert_eq!(admission.fetches(), 0);
    }
}
