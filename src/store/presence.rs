//! Presence: what is surely not on disk, so that a miss costs no thread.
//!
//! A filter over key prefixes (Bloom, two bits a key). It says "surely not" or "perhaps"; bits are set before a record is
//! written and never cleared, so that it errs only towards "perhaps", which costs one look at the disk. After a start it
//! says "perhaps" to everything until the writer has met every record there is.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// 2^25 bits, 4 MiB: at a million records about one miss in 280 looks at the disk in vain.
const BITS: u64 = 1 << 25;

/// The filter of one mount.
pub(crate) struct Presence {
    is_complete: AtomicBool,
    words: Box<[AtomicU64]>,
}

impl Presence {
    pub(crate) fn new() -> Self {
        let words = (0..BITS / 64).map(|_| AtomicU64::new(0));
        Self {
            is_complete: AtomicBool::new(false),
            words: words.collect(),
        }
    }

    /// Says that a record with this prefix is there, or is about to be.
    pub(crate) fn note(&self, prefix: u64) {
        for bit in bits(prefix) {
            self.words[(bit / 64) as usize].fetch_or(1 << (bit % 64), Ordering::Release);
        }
    }

    /// Says that everything that is there was noted.
    pub(crate) fn complete(&self) {
        self.is_complete.store(true, Ordering::Release);
    }

    /// Whether everything that is there was noted.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete.load(Ordering::Acquire)
    }

    /// Whether a record with this prefix may be there.
    pub(crate) fn may_hold(&self, prefix: u64) -> bool {
        !self.is_complete()
            || bits(prefix).into_iter().all(|bit| {
                self.words[(bit / 64) as usize].load(Ordering::Acquire) & (1 << (bit % 64)) != 0
            })
    }
}

/// A prefix is part of a digest: any of its bits are as good as a hash.
fn bits(prefix: u64) -> [u64; 2] {
    [prefix % BITS, (prefix >> 32) % BITS]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_denies_what_was_noted_and_denies_nothing_before_it_is_complete() {
        let presence = Presence::new();
        assert!(presence.may_hold(7), "nobody knows yet");
        presence.note(u64::MAX);
        presence.complete();
        assert!(presence.may_hold(u64::MAX));
        assert!(!presence.may_hold(7));
    }
}
