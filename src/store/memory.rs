//! The memory tier: moka, bounded by weight.
//!
//! A read is one moka lookup. Moka has no thread of its own: the keeper calls [`Memory::settle`] each second, so that
//! weights and evictions are right even where nobody writes.

use std::sync::Arc;

use moka::{notification::RemovalCause, sync::Cache};

use super::{
    Record,
    key::{BuildPrefixHasher, Key},
    stats::Counters,
};

/// Bookkeeping of moka per entry, roughly: node, hash table slot, queues, the `Arc` and the key twice.
const OVERHEAD: u64 = 256;

/// Entries in memory by key.
pub(crate) struct Memory<R> {
    cache: Cache<Key, Arc<R>, BuildPrefixHasher>,
}

impl<R: Record> Memory<R> {
    /// Holds at most `bytes_max` bytes of records and bookkeeping.
    pub(crate) fn new(bytes_max: u64, counters: Arc<Counters>) -> Self {
        let cache = Cache::builder()
            .name("store")
            .max_capacity(bytes_max)
            .weigher(|_, record: &Arc<R>| {
                // Moka's weights are u32: a record of 4 GiB or more counts as 4 GiB.
                u32::try_from(record.weight().saturating_add(OVERHEAD)).unwrap_or(u32::MAX)
            })
            // A panic in here would turn the listener off, so it does nothing that can fail.
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    counters.memory_evictions.add(1);
                }
            })
            .build_with_hasher(BuildPrefixHasher::default());
        Self { cache }
    }

    pub(crate) fn record(&self, key: &Key) -> Option<Arc<R>> {
        self.cache.get(key)
    }

    pub(crate) fn contains(&self, key: &Key) -> bool {
        self.cache.contains_key(key)
    }

    pub(crate) fn insert(&self, key: Key, record: Arc<R>) {
        self.cache.insert(key, record);
    }

    pub(crate) fn remove(&self, key: &Key) {
        self.cache.invalidate(key);
    }

    /// Everything it holds, in no order. What comes and goes meanwhile may or may not be met.
    pub(crate) fn records(&self) -> impl Iterator<Item = (Key, Arc<R>)> + '_ {
        self.cache.iter().map(|(key, record)| (*key, record))
    }

    /// Applies what is due: weights, evictions.
    pub(crate) fn settle(&self) {
        self.cache.run_pending_tasks();
    }

    pub(crate) fn entries(&self) -> u64 {
        self.cache.entry_count()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.cache.weighted_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{TestRecord, key};

    #[test]
    fn memory_stays_below_its_bound_in_bytes() {
        let counters = Arc::new(Counters::default());
        let memory = Memory::new(64 * 1024, Arc::clone(&counters));
        for n in 0..200 {
            memory.insert(key(n), Arc::new(TestRecord::new("m", &[7; 1024])));
        }
        memory.settle();
        assert!(memory.bytes() <= 64 * 1024, "{} bytes", memory.bytes());
        assert!(
            memory.entries() > 30,
            "the bound is used: {}",
            memory.entries()
        );
        assert!(counters.snapshot().memory_evictions > 100);
    }
}
