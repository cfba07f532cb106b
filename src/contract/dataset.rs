//! A figure over many answers: the pages of a catalogue, several keys and routes.
//!
//! Pure state; the shell holds one per name, passes `now`, and persists the bytes. Of each answer the figure of its last good
//! version is remembered; together they are the total. A new version of one answer is a breach where the total with it would
//! be below the highest total of the window by more than `drop_max`: ten pages that lose a tenth each, one after the other,
//! are seen as what they are.
//!
//! How a real drop gets in: raise `drop_max` and reload; purge the copies, since an answer without a last good one counts as
//! new; or [`Dataset::accept`], which starts anew with what comes.
//!
//! # Invariants
//!
//! - The total is the sum of the figures remembered; first versions only add to it.
//! - An answer whose own figure did not fall is never a breach, whatever others did.
//! - What is forgotten (too many answers, or purged) leaves the highest total, too, so that nobody has to answer for it.
//! - Bounded: `keys_max` figures, [`SLOTS`] totals.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Breach, reconcile::Figure};
use crate::clock::Timestamp;

/// Parts of the window whose highest totals are remembered: a total is let go of by no more than one part late.
const SLOTS: u64 = 48;

/// Of the bytes that are kept.
const FORMAT: u8 = 1;

/// The figures of a dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    window: Duration,
    keys_max: usize,
    state: State,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    parts: BTreeMap<u128, Part>,
    /// The highest total of each part of the window in which one changed, the latest last.
    highs: VecDeque<(u64, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Part {
    value: f64,
    at: Timestamp,
}

impl Dataset {
    /// One of which nothing is known.
    pub fn new(window: Duration, keys_max: usize) -> Self {
        Self {
            window,
            keys_max: keys_max.max(1),
            state: State::default(),
        }
    }

    /// The sum of the figures remembered.
    pub fn total(&self) -> f64 {
        let values = self.state.parts.values();
        finite(values.map(|part| part.value).sum())
    }

    /// Answers whose figures are remembered.
    pub fn keys(&self) -> usize {
        self.state.parts.len()
    }

    /// Whether a new version of an answer may come in. `has_last_good`: whether there is a stored one to fall back on; without
    /// it this is a first version.
    ///
    /// # Errors
    ///
    /// [`super::Kind::Reconcile`] where too much would be gone.
    pub fn check(
        &self,
        figure: &Figure,
        key: u128,
        value: f64,
        has_last_good: bool,
        now: Timestamp,
    ) -> Result<(), Breach> {
        let old = self.state.parts.get(&key).filter(|_| has_last_good);
        let Some(old) = old else { return Ok(()) };
        if value >= old.value {
            return Ok(());
        }
        let total = self.total();
        let high = self.high(total, now);
        let with = finite(total - old.value + value);
        if figure.is_beyond(with, high) {
            let hours = self.window.as_secs_f64() / 3600.0;
            let than = format!("its highest total of the last {hours} h");
            return Err(figure.breach(with, high, &than));
        }
        Ok(())
    }

    /// Notes the figure of an answer that was taken as good.
    pub fn take(&mut self, key: u128, value: f64, has_last_good: bool, now: Timestamp) {
        let value = finite(value);
        if !has_last_good {
            self.forget(key);
        }
        // The total so far held until now.
        self.note_high(now);
        self.state.parts.insert(key, Part { value, at: now });
        self.make_room();
        self.note_high(now);
    }

    /// Lets go of one answer, as if it had never been there.
    pub fn forget(&mut self, key: u128) {
        let Some(part) = self.state.parts.remove(&key) else {
            return;
        };
        for (_, high) in &mut self.state.highs {
            *high = finite(*high - part.value);
        }
    }

    /// Takes whatever comes next as it is: all answers count as new.
    pub fn accept(&mut self) {
        self.state = State::default();
    }

    /// Goes by other bounds from now on.
    pub fn follow(&mut self, window: Duration, keys_max: usize) {
        if self.window != window {
            // Totals are kept by parts of the window.
            self.state.highs.clear();
        }
        (self.window, self.keys_max) = (window, keys_max.max(1));
        self.make_room();
    }

    fn slot(&self, at: Timestamp) -> u64 {
        let millis = u64::try_from(self.window.as_millis()).unwrap_or(u64::MAX);
        at.as_millis() / (millis / SLOTS).max(1)
    }

    /// The highest total of the window.
    fn high(&self, total: f64, now: Timestamp) -> f64 {
        let oldest = self.slot(now).saturating_sub(SLOTS);
        let highs = self.state.highs.iter();
        let highs = highs.filter(|(slot, _)| *slot >= oldest);
        highs.fold(total, |highest, (_, high)| highest.max(*high))
    }

    fn note_high(&mut self, now: Timestamp) {
        let (slot, total) = (self.slot(now), self.total());
        match self.state.highs.back_mut() {
            // Also where the clock was set back: the order of the slots stays.
            Some((last, high)) if *last >= slot => *high = high.max(total),
            _ => self.state.highs.push_back((slot, total)),
        }
        let oldest = slot.saturating_sub(SLOTS);
        while self
            .state
            .highs
            .front()
            .is_some_and(|(slot, _)| *slot < oldest)
            || self.state.highs.len() as u64 > SLOTS + 1
        {
            self.state.highs.pop_front();
        }
    }

    /// Lets go of an eighth, those not renewed for longest, where there are too many: rarely, so that it costs little each.
    fn make_room(&mut self) {
        if self.state.parts.len() <= self.keys_max {
            return;
        }
        let parts = self.state.parts.iter();
        let mut by_age: Vec<_> = parts.map(|(key, part)| (part.at, *key)).collect();
        by_age.sort_unstable();
        let excess = self.state.parts.len() - self.keys_max;
        for (_, key) in by_age.into_iter().take(excess.max(self.keys_max / 8)) {
            self.forget(key);
        }
    }

    // --- persistence ---

    /// As bytes to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Numbers in maps: nothing of it can fail; nothing kept is a start anew.
        postcard::to_extend(&self.state, vec![FORMAT]).unwrap_or_default()
    }

    /// The same dataset with what was kept of it; `None` as for [`Dataset::from_bytes`].
    pub fn restored(&self, bytes: &[u8]) -> Option<Self> {
        Self::from_bytes(bytes, self.window, self.keys_max)
    }

    /// From bytes that were kept; `None` where they are of another format or damaged.
    pub fn from_bytes(bytes: &[u8], window: Duration, keys_max: usize) -> Option<Self> {
        let (&FORMAT, bytes) = bytes.split_first()? else {
            return None;
        };
        let (state, rest): (State, _) = postcard::take_from_bytes(bytes).ok()?;
        let highs = state.highs.iter().map(|(_, high)| *high);
        let mut numbers = state.parts.values().map(|part| part.value).chain(highs);
        if !rest.is_empty() || !numbers.all(f64::is_finite) {
            return None;
        }
        let mut dataset = Self {
            state,
            ..Self::new(window, keys_max)
        };
        dataset.make_room();
        Some(dataset)
    }
}

/// No figure, and no sum of them, leaves the numbers.
fn finite(number: f64) -> f64 {
    if number.is_nan() {
        return 0.0;
    }
    number.clamp(f64::MIN, f64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::contract::{Field, Percent, reconcile::Measure};

    const HOUR: u64 = 3600;
    const WINDOW: Duration = Duration::from_secs(24 * HOUR);

    fn figure(drop_max: u32) -> Figure {
        Figure {
            field: Field::parse("$.items[*]").unwrap(),
            measure: Measure::Count,
            drop_max: Percent::whole(drop_max),
            dataset: Some("catalogue".into()),
            window: WINDOW,
            keys_max: 100,
        }
    }

    fn at(hours: u64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + hours * HOUR)
    }

    /// Ten pages of a hundred.
    fn ten_pages() -> Dataset {
        let mut dataset = Dataset::new(WINDOW, 100);
        for page in 0..10 {
            dataset.take(page, 100.0, false, at(0));
        }
        dataset
    }

    #[test]
    fn a_dataset_may_fall_by_its_share_over_all_its_answers() {
        let mut dataset = ten_pages();
        assert_eq!(dataset.total(), 1000.0);
        let figure = figure(20);
        // One page of ten may go whole, and then another; the third would be more than a fifth.
        for page in 0..2 {
            assert_eq!(dataset.check(&figure, page, 0.0, true, at(1)), Ok(()));
            dataset.take(page, 0.0, true, at(1));
        }
        let breach = dataset.check(&figure, 2, 0.0, true, at(2)).unwrap_err();
        assert_eq!(
            breach.message,
            "the dataset `catalogue` lost 30% of its values at $.items[*]: 1,000 -> 700 against its highest total of \
             the last 24 h, at most 20% may go at once"
        );
        assert_eq!(&*breach.term, "$.items[*]: count of catalogue drop_max 20%");
        assert!(
            dataset.check(&figure, 2, 99.0, true, at(2)).is_err(),
            "nor a single one"
        );
        for (name, page, value) in [
            ("a page that did not change", 5, 100.0),
            ("one that grew", 5, 101.0),
            ("a page nobody knew", 77, 0.0),
        ] {
            assert_eq!(
                dataset.check(&figure, page, value, true, at(2)),
                Ok(()),
                "{name}"
            );
        }
    }

    #[test]
    fn slow_decline_is_seen_within_the_window_and_forgotten_after() {
        let mut dataset = ten_pages();
        let figure = figure(20);
        for page in 0..4 {
            dataset.take(page, 50.0, true, at(page as u64));
        }
        assert!(dataset.check(&figure, 4, 50.0, true, at(5)).is_err());
        // A day after the last change the lower total is the highest of the window.
        assert_eq!(dataset.check(&figure, 4, 50.0, true, at(3 + 26)), Ok(()));
    }

    #[test]
    fn a_real_drop_gets_in_by_a_purge_or_by_accepting_it() {
        let figure = figure(5);
        let mut purged = ten_pages();
        for page in 0..10 {
            assert!(purged.check(&figure, page, 10.0, true, at(1)).is_err());
            // Purged: there is no last good one.
            assert_eq!(purged.check(&figure, page, 10.0, false, at(1)), Ok(()));
            purged.take(page, 10.0, false, at(1));
        }
        assert_eq!(purged.total(), 100.0);
        assert_eq!(purged.check(&figure, 0, 10.0, true, at(1)), Ok(()));
        assert!(purged.check(&figure, 0, 0.0, true, at(1)).is_err());

        let mut accepted = ten_pages();
        accepted.accept();
        for page in 0..10 {
            assert_eq!(accepted.check(&figure, page, 10.0, true, at(1)), Ok(()));
            accepted.take(page, 10.0, true, at(1));
        }
        assert_eq!(accepted.total(), 100.0);
    }

    #[test]
    fn answers_beyond_the_bound_are_let_go_of_without_a_breach() {
        let mut dataset = Dataset::new(WINDOW, 16);
        for page in 0..1000u64 {
            let now = Timestamp::from_secs(page);
            assert!(
                dataset
                    .check(&figure(0), page.into(), 5.0, true, now)
                    .is_ok()
            );
            dataset.take(page.into(), 5.0, true, now);
            assert!(dataset.keys() <= 16);
            assert_eq!(
                dataset.check(&figure(0), page.into(), 5.0, true, now),
                Ok(())
            );
        }
        // The oldest went: what is left may not fall, and has nothing to answer for.
        assert!(
            dataset
                .check(&figure(0), 999, 4.0, true, Timestamp::from_secs(1000))
                .is_err()
        );
    }

    #[test]
    fn what_is_kept_is_read_again_and_what_is_damaged_is_not() {
        let dataset = ten_pages();
        let bytes = dataset.to_bytes();
        assert_eq!(
            Dataset::from_bytes(&bytes, WINDOW, 100),
            Some(dataset.clone())
        );
        assert_eq!(
            Dataset::from_bytes(&bytes, WINDOW, 4).map(|it| it.keys()),
            Some(4)
        );
        assert_eq!(
            Dataset::from_bytes(&bytes[..bytes.len() - 1], WINDOW, 100),
            None
        );
        assert_eq!(Dataset::from_bytes(&[2], WINDOW, 100), None);
        assert_eq!(Dataset::from_bytes(&[], WINDOW, 100), None);
        let mut infinite = dataset;
        infinite.state.highs.push_back((1, f64::INFINITY));
        assert_eq!(Dataset::from_bytes(&infinite.to_bytes(), WINDOW, 100), None);
    }

    proptest! {
        #[test]
        fn the_total_is_the_sum_of_the_answers(
            steps in prop::collection::vec((0u128..6, 0u32..1000, any::<bool>(), 0u64..50), 0..60),
        ) {
            let mut dataset = Dataset::new(WINDOW, 100);
            let mut model = BTreeMap::new();
            let figure = figure(30);
            let mut highest = 0.0f64;
            for (key, value, has_last_good, hours) in steps {
                let value = f64::from(value);
                let is_new = !has_last_good || !model.contains_key(&key);
                let got = dataset.check(&figure, key, value, has_last_good, at(hours));
                prop_assert!(!is_new || got.is_ok(), "a first version is no breach");
                if got.is_ok() {
                    dataset.take(key, value, has_last_good, at(hours));
                    model.insert(key, value);
                }
                let sum: f64 = model.values().sum();
                prop_assert_eq!(dataset.total(), sum);
                highest = highest.max(sum);
                prop_assert!(dataset.high(sum, at(hours)) <= highest, "no higher than any total was");
                prop_assert!(dataset.state.highs.len() as u64 <= SLOTS + 1);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Dataset::from_bytes(&bytes, WINDOW, 4);
        }
    }
}
