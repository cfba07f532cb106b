//! Chance: what jitter, spread and draws are made of, in one place, so that a simulation can repeat it.
//!
//! Pure cores take what was drawn as an argument; only shells draw. In a running proxy this is the system's generator; a
//! thread that calls [`seed_this_thread`] gets the same draws from the same seed ever after, which is of use only where
//! one thread does everything. Not for secrets.

use std::cell::RefCell;

use rand::{Rng, SeedableRng, rngs::SmallRng};

thread_local! {
    static SEEDED: RefCell<Option<SmallRng>> = const { RefCell::new(None) };
}

/// Makes every later draw of this thread follow from `seed`.
pub fn seed_this_thread(seed: u64) {
    SEEDED.set(Some(SmallRng::seed_from_u64(seed)));
}

/// Evenly from 0 up to but not including 1.
pub fn fraction() -> f64 {
    SEEDED.with_borrow_mut(|seeded| match seeded {
        Some(generator) => generator.random(),
        None => rand::random(),
    })
}

/// 32 even bits.
pub fn word() -> u32 {
    SEEDED.with_borrow_mut(|seeded| match seeded {
        Some(generator) => generator.random(),
        None => rand::random(),
    })
}

/// 128 even bits.
pub fn word128() -> u128 {
    SEEDED.with_borrow_mut(|seeded| match seeded {
        Some(generator) => generator.random(),
        None => rand::random(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seeded_thread_repeats_its_draws() {
        let drawn = |seed| {
            seed_this_thread(seed);
            (fraction(), word(), word128())
        };
        let first = std::thread::spawn(move || drawn(7));
        let again = std::thread::spawn(move || drawn(7));
        let other = std::thread::spawn(move || drawn(8));
        let first = first.join().expect("no panic");
        assert_eq!(first, again.join().expect("no panic"));
        assert_ne!(first, other.join().expect("no panic"));
    }
}
