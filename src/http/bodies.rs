//! Bodies: the budget of what is held of bodies at once, over all requests.
//!
//! Whoever holds on to bytes of a body (reads it whole, lets others read along, reads content to ask by it) reserves them
//! piece by piece as they come, and gives them back by dropping them. Where nothing is left, whoever can do without holding
//! does: it streams. A piece on its way through is not counted; neither is what the store holds, which has a bound of its
//! own (`store.memory`).
//!
//! # Invariants
//!
//! - Never more than the budget is reserved.
//! - Reservations come back on every way: with the last of the bytes they are for.

use bytes::Bytes;

use crate::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The budget. Clones share it. An extension of a request: the layers below the cache reserve what they read whole.
#[derive(Clone, Debug)]
pub struct Bodies(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    held: AtomicU64,
    max: u64,
    full: AtomicU64,
}

impl Bodies {
    /// `max` bytes.
    pub fn new(max: u64) -> Self {
        Self(Arc::new(Budget {
            held: AtomicU64::new(0),
            max,
            full: AtomicU64::new(0),
        }))
    }

    /// Bytes reserved now.
    pub fn held(&self) -> u64 {
        self.0.held.load(Ordering::Acquire)
    }

    /// Bytes there are.
    pub fn max(&self) -> u64 {
        self.0.max
    }

    /// How often bytes could not be reserved.
    pub fn full(&self) -> u64 {
        self.0.full.load(Ordering::Relaxed)
    }

    /// A reservation of nothing yet.
    pub fn reservation(&self) -> Reservation {
        Reservation {
            bodies: self.clone(),
            bytes: AtomicU64::new(0),
        }
    }
}

impl Default for Bodies {
    /// Without a bound: for what is built outside of a proxy.
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

/// Bytes reserved for one body. What it still has is given back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    bodies: Bodies,
    bytes: AtomicU64,
}

impl Reservation {
    /// Reserves this many more. False: there is no room, and nothing was changed.
    #[must_use]
    pub fn grow(&self, bytes: u64) -> bool {
        let budget = &self.bodies.0;
        let reserved = budget
            .held
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
                held.checked_add(bytes).filter(|held| *held <= budget.max)
            });
        if reserved.is_err() {
            budget.full.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        true
    }

    /// Gives back all but this many; nothing where it has no more than that.
    pub fn shrink_to(&self, bytes: u64) {
        let before = self.bytes.fetch_min(bytes, Ordering::AcqRel);
        let given_back = before.saturating_sub(bytes);
        self.bodies.0.held.fetch_sub(given_back, Ordering::AcqRel);
    }

    /// Bytes it has.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// A body that was read whole, and the reservation that lives as long as any of its bytes. A response extension, for the
/// store to give the reservation back when the bytes are its own.
#[derive(Clone, Debug)]
pub struct Held(std::sync::Arc<Reservation>);

impl Held {
    /// `bytes`, and with them what was reserved for them.
    pub(super) fn with(bytes: Bytes, reservation: Reservation) -> (Bytes, Self) {
        let held = Self(std::sync::Arc::new(reservation));
        let owner = Owner {
            bytes,
            _held: held.clone(),
        };
        (Bytes::from_owner(owner), held)
    }

    /// From now on somebody else answers for the bytes.
    pub fn release(&self) {
        self.0.shrink_to(0);
    }
}

struct Owner {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn a_reservation_lives_as_long_as_any_of_its_bytes() {
        let bodies = Bodies::new(10);
        let reservation = bodies.reservation();
        assert!(reservation.grow(4));
        let (bytes, held) = Held::with(Bytes::from_static(b"abcd"), reservation);
        let part = bytes.slice(1..2);
        drop((bytes, held));
        assert_eq!(bodies.held(), 4);
        drop(part);
        assert_eq!(bodies.held(), 0);
    }

    #[test]
    fn what_somebody_else_answers_for_is_given_back_once() {
        let bodies = Bodies::new(10);
        let reservation = bodies.reservation();
        assert!(reservation.grow(4));
        let (bytes, held) = Held::with(Bytes::from_static(b"abcd"), reservation);
        held.release();
        held.release();
        assert_eq!(bodies.held(), 0);
        drop((bytes, held));
        assert_eq!(bodies.held(), 0);
    }

    #[test]
    fn without_room_nothing_changes_and_it_is_counted() {
        let bodies = Bodies::new(10);
        let (one, other) = (bodies.reservation(), bodies.reservation());
        assert!(one.grow(8));
        assert!(!other.grow(3) && other.grow(2) && !one.grow(u64::MAX));
        assert_eq!((bodies.held(), other.bytes(), bodies.full()), (10, 2, 2));
        one.shrink_to(9);
        assert_eq!(one.bytes(), 8, "it does not grow by shrinking");
        one.shrink_to(1);
        assert!(other.grow(7));
    }

    proptest! {
        #[test]
        fn the_sum_is_what_all_have_and_never_more_than_the_budget(
            max in 0..100u64,
            steps in vec((0..4usize, 0..3u8, 0..60u64), 0..100),
        ) {
            let bodies = Bodies::new(max);
            let mut reservations: Vec<_> = (0..4).map(|_| bodies.reservation()).collect();
            for (which, what, bytes) in steps {
                match what {
                    0 => {
                        let room = max - bodies.held();
                        prop_assert_eq!(reservations[which].grow(bytes), bytes <= room);
                    }
                    1 => reservations[which].shrink_to(bytes),
                    _ => reservations[which] = bodies.reservation(),
                }
                let sum: u64 = reservations.iter().map(Reservation::bytes).sum();
                prop_assert_eq!(bodies.held(), sum);
                prop_assert!(sum <= max);
            }
            drop(reservations);
            prop_assert_eq!(bodies.held(), 0);
        }
    }
}

#[cfg(all(test, shuttle))]
mod shuttle_tests {
    use super::*;

    #[test]
    fn threads_never_hold_more_than_the_budget_and_give_all_of_it_back() {
        shuttle::check_random(
            || {
                let bodies = Bodies::new(4);
                let threads: Vec<_> = (0..3)
                    .map(|_| {
                        let bodies = bodies.clone();
                        shuttle::thread::spawn(move || {
                            let reservation = bodies.reservation();
                            for _ in 0..3 {
                                if !reservation.grow(1) {
                                    reservation.shrink_to(1);
                                }
                                assert!(bodies.held() <= bodies.max());
                            }
                        })
                    })
                    .collect();
                for thread in threads {
                    thread.join().expect("no panic");
                }
                assert_eq!(bodies.held(), 0);
            },
            1_000,
        );
    }
}
