//! What the store counts: plain atomics inside, one value outside.

use std::{
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
    time::Duration,
};

use super::key::Key;

/// State of the disk tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskState {
    /// Reads and writes work, or nothing shows that they do not.
    Ok,
    /// There is no disk tier: not configured, or set aside after a fault and not yet replaced.
    #[default]
    MemoryOnly,
    /// Reads work; nothing is written until the file system has room again.
    Full,
}

impl DiskState {
    /// The word for it in metrics and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::MemoryOnly => "memory_only",
            Self::Full => "full",
        }
    }
}

/// Numbers of a store since it was opened. Counters only grow; the others are of this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Entries in memory.
    pub memory_entries: u64,
    /// Their weight in bytes.
    pub memory_bytes: u64,
    /// Records on disk; a lower bound until the index was read once after a start.
    pub disk_entries: u64,
    /// Whether that has been done.
    pub disk_is_counted: bool,
    /// Bytes charged for them against the bound of the disk tier.
    pub disk_live_bytes: u64,
    /// Bytes the disk tier's files really take.
    pub disk_used_bytes: u64,
    /// Records that wait to be written.
    pub queue_entries: u64,
    /// Their weight in bytes.
    pub queue_bytes: u64,
    /// Lookups answered from memory.
    pub memory_hits: u64,
    /// Lookups of `cached` that found nothing.
    pub memory_misses: u64,
    /// Loads answered from a record that waited to be written.
    pub queue_hits: u64,
    /// Loads answered from disk.
    pub disk_hits: u64,
    /// Loads that found nothing anywhere.
    pub disk_misses: u64,
    /// Loads given up at the deadline, or refused because too many waited.
    pub disk_late: u64,
    /// Records written to disk.
    pub writes: u64,
    /// Of those, the ones that a flush has made durable: what `kill -9` or a power cut cannot take.
    pub writes_durable: u64,
    /// Writes of those that changed only metadata: the body was already there.
    pub writes_meta_only: u64,
    /// Writes dropped: the queue or the disk was full.
    pub drops: u64,
    /// Records found damaged or of an unknown format, and removed.
    pub corrupt: u64,
    /// Entries that left memory to make room.
    pub memory_evictions: u64,
    /// Records that left the disk to make room.
    pub disk_evictions: u64,
    /// Times the disk tier was set aside.
    pub quarantines: u64,
    /// Length of the last flush.
    pub last_flush: Duration,
    /// State of the disk tier.
    pub disk: DiskState,
}

/// Hits are counted on the hot path by every thread, so neighbours share no cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe(AtomicU64);

/// The counters behind [`StoreStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    memory_hits: [Stripe; 16],
    pub(crate) memory_misses: Count,
    pub(crate) memory_evictions: Count,
    pub(crate) queue_hits: Count,
    pub(crate) disk_hits: Count,
    pub(crate) disk_misses: Count,
    pub(crate) disk_late: Count,
    pub(crate) writes: Count,
    writes_durable: Count,
    pub(crate) writes_meta_only: Count,
    pub(crate) drops: Count,
    pub(crate) corrupt: Count,
    pub(crate) disk_evictions: Count,
    pub(crate) quarantines: Count,
    pub(crate) disk_entries: Count,
    pub(crate) disk_live_bytes: Count,
    pub(crate) disk_used_bytes: Count,
    last_flush_micros: AtomicU64,
    disk: AtomicU8,
}

/// One number.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, to: u64) {
        self.0.store(to, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(crate) fn memory_hit(&self, key: &Key) {
        let stripe = &self.memory_hits[usize::from(key.as_bytes()[31]) % 16];
        stripe.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Called by the writer alone, which also counts the writes: what it wrote before the flush is durable after it.
    pub(crate) fn flushed_in(&self, took: Duration) {
        self.writes_durable.set(self.writes.value());
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.last_flush_micros.store(micros, Ordering::Relaxed);
    }

    pub(crate) fn disk_is(&self, state: DiskState) {
        self.disk.store(state as u8, Ordering::Relaxed);
    }

    pub(crate) fn disk(&self) -> DiskState {
        match self.disk.load(Ordering::Relaxed) {
            0 => DiskState::Ok,
            1 => DiskState::MemoryOnly,
            _ => DiskState::Full,
        }
    }

    /// Everything counted here; sizes of memory and queue are the caller's to add.
    pub(crate) fn snapshot(&self) -> StoreStats {
        StoreStats {
            memory_hits: self
                .memory_hits
                .iter()
                .map(|stripe| stripe.0.load(Ordering::Relaxed))
                .sum(),
            memory_misses: self.memory_misses.value(),
            memory_evictions: self.memory_evictions.value(),
            queue_hits: self.queue_hits.value(),
            disk_hits: self.disk_hits.value(),
            disk_misses: self.disk_misses.value(),
            disk_late: self.disk_late.value(),
            writes: self.writes.value(),
            writes_durable: self.writes_durable.value(),
            writes_meta_only: self.writes_meta_only.value(),
            drops: self.drops.value(),
            corrupt: self.corrupt.value(),
            disk_evictions: self.disk_evictions.value(),
            quarantines: self.quarantines.value(),
            disk_entries: self.disk_entries.value(),
            disk_live_bytes: self.disk_live_bytes.value(),
            disk_used_bytes: self.disk_used_bytes.value(),
            last_flush: Duration::from_micros(self.last_flush_micros.load(Ordering::Relaxed)),
            disk: self.disk(),
            ..StoreStats::default()
        }
    }
}
