//! Space: how much the records take, which of them make room, and whether the file system has any left.
//!
//! Pure: a catalogue in memory (24 bytes a record), decisions over it, no disk and no clock. The writer is its only
//! user. Last use is coarse, in seconds, and starts as the time of writing after a restart.
//!
//! # Invariants
//!
//! - What is dead goes before anything live; what is live goes least recently used first.
//! - The catalogue knows keys by their first 8 bytes. Two keys that share them share a slot: one of them may then stay
//!   uncounted, or be evicted for the other. With a million records that happens once in 37 million stores.

use std::{collections::HashMap, hash::BuildHasherDefault};

use super::{key::PrefixHasher, tier::Size};
use crate::clock::Timestamp;

/// What the index really takes per live byte, between two copies of it.
const INDEX_FACTOR: u64 = 3;
/// The index is copied where it takes more than this per live byte.
const INDEX_FACTOR_MAX: u64 = 4;
/// Under pressure it is copied from here on: what a fresh copy takes is below it.
const INDEX_FACTOR_PRESSED: u64 = 2;
/// An index smaller than this is not worth a copy: sled takes as much for next to nothing.
const INDEX_COPY_MIN: u64 = 4 * 1024 * 1024;
/// File systems give out blocks.
const BLOCK: u64 = 4096;

/// One record, as small as it goes.
#[derive(Clone, Copy, Debug)]
struct Slot {
    index: u32,
    file: u32,
    used_at: u32,
    dead_at: u32,
}

/// What is on disk, by prefix of the key.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    slots: HashMap<u64, Slot, BuildHasherDefault<PrefixHasher>>,
    index: u64,
    file: u64,
}

impl Catalogue {
    /// Notes a record as written, or found, and used at `used_at`.
    pub(crate) fn insert(
        &mut self,
        prefix: u64,
        size: Size,
        used_at: Timestamp,
        dead_at: Timestamp,
    ) {
        self.remove(prefix);
        let slot = Slot {
            index: clamp(size.index),
            file: clamp(size.file.next_multiple_of(BLOCK)),
            used_at: seconds(used_at),
            dead_at: seconds(dead_at),
        };
        self.index += u64::from(slot.index);
        self.file += u64::from(slot.file);
        self.slots.insert(prefix, slot);
    }

    /// Notes a record as gone.
    pub(crate) fn remove(&mut self, prefix: u64) {
        if let Some(slot) = self.slots.remove(&prefix) {
            self.index -= u64::from(slot.index);
            self.file -= u64::from(slot.file);
        }
    }

    /// Notes a record as used. Says whether that is news: it was last used in an earlier second.
    pub(crate) fn touch(&mut self, prefix: u64, now: Timestamp) -> bool {
        let now = seconds(now);
        self.slots.get_mut(&prefix).is_some_and(|slot| {
            let is_news = slot.used_at < now;
            slot.used_at = slot.used_at.max(now);
            is_news
        })
    }

    pub(crate) fn contains(&self, prefix: u64) -> bool {
        self.slots.contains_key(&prefix)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Live bytes in the index, without what the index adds.
    pub(crate) fn index_live(&self) -> u64 {
        self.index
    }

    /// Bytes in body files.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file
    }

    /// Bytes charged against the bound of the tier.
    pub(crate) fn charged(&self) -> u64 {
        self.index * INDEX_FACTOR + self.file
    }

    /// Who goes so that at most `goal` bytes are charged, in the order of going: the dead, then the least recently used.
    pub(crate) fn victims(&self, goal: u64, now: Timestamp) -> Vec<u64> {
        let mut surplus = self.charged().saturating_sub(goal);
        if surplus == 0 {
            return Vec::new();
        }
        let now = seconds(now);
        let mut candidates: Vec<(bool, u32, u64)> = self
            .slots
            .iter()
            .map(|(prefix, slot)| (slot.dead_at >= now, slot.used_at, *prefix))
            .collect();
        candidates.sort_unstable();
        let mut victims = Vec::new();
        for (_, _, prefix) in candidates {
            if surplus == 0 {
                break;
            }
            let slot = &self.slots[&prefix];
            let charged = u64::from(slot.index) * INDEX_FACTOR + u64::from(slot.file);
            surplus = surplus.saturating_sub(charged);
            victims.push(prefix);
        }
        victims
    }
}

fn clamp(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.as_millis() / 1000).unwrap_or(u32::MAX)
}

/// What records may be charged where the whole tier may take `disk_bytes`: an index too small to be copied has its own
/// bytes beside them.
pub(crate) fn charged_max(disk_bytes: u64) -> u64 {
    disk_bytes - INDEX_COPY_MIN.min(disk_bytes / 4)
}

/// Whether an index that takes `used` bytes for `live` ones should be copied to a new one.
pub(crate) fn wants_copy(used: u64, live: u64, pressed: bool) -> bool {
    let factor = if pressed {
        INDEX_FACTOR_PRESSED
    } else {
        INDEX_FACTOR_MAX
    };
    used > INDEX_COPY_MIN && used > live.saturating_mul(factor)
}

/// Whether a file system with `free` of `total` bytes may be written to: more than `free_min` and more than 5 % free.
pub(crate) fn has_room(free: u64, total: u64, free_min: u64) -> bool {
    free >= free_min.max(total / 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn catalogue(rows: &[(u64, u64, u64, u64)]) -> Catalogue {
        let mut catalogue = Catalogue::default();
        for &(prefix, file, used_at, dead_at) in rows {
            let size = Size { index: 0, file };
            catalogue.insert(prefix, size, at(used_at), at(dead_at));
        }
        catalogue
    }

    #[test]
    fn the_dead_make_room_first_then_the_least_recently_used() {
        let rows = [
            (1, BLOCK, 10, 9999),
            (2, BLOCK, 90, 50),
            (3, BLOCK, 5, 9999),
            (4, BLOCK, 80, 40),
            (5, BLOCK, 70, 9999),
        ];
        for (name, goal_blocks, want) in [
            ("nothing to do", 5, vec![]),
            ("a dead one, the less recently used", 4, vec![4]),
            ("both dead ones", 3, vec![4, 2]),
            ("then the least recently used", 2, vec![4, 2, 3]),
            ("everything", 0, vec![4, 2, 3, 1, 5]),
        ] {
            let got = catalogue(&rows).victims(goal_blocks * BLOCK, at(100));
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn a_record_just_used_goes_last() {
        let mut catalogue = catalogue(&[(1, BLOCK, 10, 999), (2, BLOCK, 20, 999)]);
        catalogue.touch(1, at(30));
        assert_eq!(catalogue.victims(BLOCK, at(40)), [2]);
    }

    #[test]
    fn charges_follow_what_comes_and_goes() {
        let mut catalogue = catalogue(&[(1, 1, 0, 9), (2, BLOCK + 1, 0, 9)]);
        assert_eq!(
            catalogue.charged(),
            3 * BLOCK,
            "files are charged in blocks"
        );
        catalogue.insert(
            1,
            Size {
                index: 100,
                file: 0,
            },
            at(0),
            at(9),
        );
        assert_eq!(catalogue.charged(), 2 * BLOCK + 300, "replaced, not added");
        catalogue.remove(2);
        catalogue.remove(2);
        assert_eq!((catalogue.charged(), catalogue.len()), (300, 1));
    }

    #[test]
    fn an_index_is_copied_when_it_outgrows_what_it_holds() {
        const MIB: u64 = 1024 * 1024;
        for (name, used, live, pressed, want) in [
            ("small ones are left alone", 4 * MIB, 0, true, false),
            (
                "four times its content is tolerable",
                40 * MIB,
                10 * MIB,
                false,
                false,
            ),
            ("more is not", 41 * MIB, 10 * MIB, false, true),
            (
                "under pressure twice is enough",
                21 * MIB,
                10 * MIB,
                true,
                true,
            ),
        ] {
            assert_eq!(wants_copy(used, live, pressed), want, "{name}");
        }
    }

    #[test]
    fn a_disk_is_full_below_the_larger_of_five_percent_and_the_configured_rest() {
        assert!(has_room(300, 1000, 256));
        assert!(!has_room(255, 1000, 256));
        assert!(!has_room(300, 10_000, 256));
    }
}
