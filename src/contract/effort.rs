//! How much work one answer is worth: steps that are counted, and a deadline that is asked about on the way.
//!
//! Pure: whether time is up is asked of the caller. A step is about one value looked at once. Whoever judges by a schema or
//! by rules pays for what it looks at, so that none of them stalls, however its text and an answer fall together.

use std::{cell::Cell, fmt};

use super::{Breach, Kind, Limits};

/// Steps for each value that an answer may have: a schema of some dozens of keywords for every single one.
const STEPS_PER_VALUE: u64 = 64;

/// Time is asked about once in so many steps: a look at a clock costs about as much as one of them. A power of two.
const STEPS_PER_LOOK: u64 = 256;

/// What is left for judging one answer. Belongs to the thread that judges.
pub struct Effort<'a> {
    steps_left: Cell<u64>,
    steps_max: u64,
    is_late: &'a dyn Fn() -> bool,
}

/// Nothing is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// So many steps were not enough.
    Steps(u64),
    /// Time is up.
    Time,
}

// --- Effort ---

impl<'a> Effort<'a> {
    /// For one answer within these limits. `is_late` is asked now and then, from the thread that judges.
    pub fn new(limits: &Limits, is_late: &'a dyn Fn() -> bool) -> Self {
        let values = u64::try_from(limits.values_max).unwrap_or(u64::MAX);
        Self::of_steps(values.saturating_mul(STEPS_PER_VALUE), is_late)
    }

    /// For this number of steps.
    pub fn of_steps(steps_max: u64, is_late: &'a dyn Fn() -> bool) -> Self {
        Self {
            steps_left: Cell::new(steps_max),
            steps_max,
            is_late,
        }
    }

    /// Pays for what is about to be done.
    ///
    /// # Errors
    ///
    /// Where there is nothing left to pay with, now and from now on.
    #[inline]
    pub fn spend(&self, steps: u64) -> Result<(), Exhausted> {
        let before = self.steps_left.get();
        let Some(left) = before.checked_sub(steps) else {
            self.steps_left.set(0);
            return Err(Exhausted::Steps(self.steps_max));
        };
        self.steps_left.set(left);
        if before / STEPS_PER_LOOK == left / STEPS_PER_LOOK {
            return Ok(());
        }
        self.look()
    }

    #[cold]
    fn look(&self) -> Result<(), Exhausted> {
        if (self.is_late)() {
            self.steps_left.set(0);
            return Err(Exhausted::Time);
        }
        Ok(())
    }

    /// Steps paid so far.
    pub fn spent(&self) -> u64 {
        self.steps_max - self.steps_left.get()
    }
}

impl fmt::Debug for Effort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Effort({} of {})", self.steps_left.get(), self.steps_max)
    }
}

// --- Exhausted ---

impl From<Exhausted> for Breach {
    fn from(exhausted: Exhausted) -> Self {
        let (term, message) = match exhausted {
            Exhausted::Steps(steps) => (
                "values_max",
                format!(
                    "judging it takes more than {steps} steps ({STEPS_PER_VALUE} for each of `values_max`)"
                ),
            ),
            Exhausted::Time => (
                "time_max",
                "judging it took longer than `time_max`".to_owned(),
            ),
        };
        Self::new(Kind::TooComplex, term, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_paid_for_ends_with_the_steps() {
        let effort = Effort::of_steps(1000, &|| false);
        assert_eq!(effort.spend(999), Ok(()));
        assert_eq!(effort.spend(1), Ok(()));
        assert_eq!(effort.spend(1), Err(Exhausted::Steps(1000)));
        assert_eq!(effort.spend(u64::MAX), Err(Exhausted::Steps(1000)));
        assert_eq!(effort.spend(0), Ok(()), "doing nothing is free");
        assert_eq!(effort.spent(), 1000);
    }

    #[test]
    fn time_is_asked_about_now_and_then_and_ends_it_for_good() {
        let looks = Cell::new(0);
        let is_late = || {
            looks.set(looks.get() + 1);
            looks.get() > 3
        };
        let effort = Effort::of_steps(1 << 20, &is_late);
        let mut paid = 0;
        while effort.spend(1).is_ok() {
            paid += 1;
        }
        assert_eq!(looks.get(), 4);
        assert!((3 * 256..=4 * 256).contains(&paid), "{paid}");
        assert!(effort.spend(1).is_err());
    }

    #[test]
    fn more_values_are_worth_more_steps() {
        let limits = Limits {
            values_max: 10,
            ..Limits::default()
        };
        let effort = Effort::new(&limits, &|| false);
        assert_eq!(effort.spend(641), Err(Exhausted::Steps(640)));
        let breach = Breach::from(Exhausted::Steps(640));
        assert_eq!(
            (breach.kind, &*breach.term),
            (Kind::TooComplex, "values_max")
        );
        assert!(breach.message.contains("more than 640 steps"), "{breach}");
    }
}
