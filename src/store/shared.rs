//! What the store's handles and threads share, and the order between them.
//!
//! # Invariants
//!
//! - Writes and removals of a key happen under its stripe's lock and raise the stripe's version. A read from disk goes
//!   into memory only if the version is what it was before the read began: so a slow read never brings back what was
//!   replaced or removed meanwhile.
//! - Stamps only grow, whatever the wall clock does.

use std::{
    fs::File,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::Thread,
};

use arc_swap::ArcSwapOption;
use tokio::sync::mpsc;

use super::{
    Record,
    codec::Stamp,
    guard::Opener,
    key::Key,
    memory::Memory,
    mount::{Alive, Mount},
    queue::{Op, Pushed},
    stats::{Counters, DiskState},
    tier::DiskError,
};
use crate::{
    clock::{Clock, Timestamp},
    config::model::StoreConfig,
    observe::alert::Alerts,
};

/// Enough that two keys in use at the same moment rarely share one.
const STRIPES: usize = 1024;

/// See the module's documentation.
pub(crate) struct Shared<R> {
    pub(crate) config: StoreConfig,
    pub(crate) clock: Clock,
    pub(crate) alerts: Alerts,
    pub(crate) counters: Arc<Counters>,
    pub(crate) memory: Memory<R>,
    pub(crate) opener: Opener,
    pub(crate) stamps: Stamps,
    pub(crate) keeper: KeeperHandle,
    stripes: Box<[Mutex<u64>]>,
    mount: ArcSwapOption<Mount<R>>,
    /// Ends when the threads of the current mount have, and its tier is closed.
    mount_life: Mutex<Option<mpsc::Receiver<()>>>,
    is_closing: AtomicBool,
    /// Held as long as the folder is ours.
    lock: Mutex<Option<File>>,
}

impl<R: Record> Shared<R> {
    pub(crate) fn new(
        config: StoreConfig,
        clock: Clock,
        alerts: Alerts,
        opener: Opener,
        lock: Option<File>,
    ) -> Self {
        let counters = Arc::new(Counters::default());
        counters.disk_is(DiskState::MemoryOnly);
        Self {
            memory: Memory::new(config.memory_bytes, Arc::clone(&counters)),
            config,
            clock,
            alerts,
            counters,
            opener,
            stamps: Stamps::default(),
            keeper: KeeperHandle::default(),
            stripes: (0..STRIPES).map(|_| Mutex::new(0)).collect(),
            mount: ArcSwapOption::empty(),
            mount_life: Mutex::default(),
            is_closing: AtomicBool::new(false),
            lock: Mutex::new(lock),
        }
    }

    // --- entries ---

    /// In memory at once, on its way to the disk.
    pub(crate) fn put(&self, key: Key, record: Arc<R>) {
        let mut version = self.stripe(&key);
        *version += 1;
        self.memory.insert(key, Arc::clone(&record));
        self.push_write(key, record);
    }

    /// The same, unless memory holds a record for which `keeps` holds. Nothing can come between the look and the put.
    pub(crate) fn put_unless(&self, key: Key, record: Arc<R>, keeps: impl FnOnce(&R) -> bool) {
        let mut version = self.stripe(&key);
        if self
            .memory
            .record(&key)
            .is_some_and(|current| keeps(&current))
        {
            return;
        }
        *version += 1;
        self.memory.insert(key, Arc::clone(&record));
        self.push_write(key, record);
    }

    /// Out of memory at once, on its way out of the disk.
    pub(crate) fn remove(&self, key: &Key) {
        let mut version = self.stripe(key);
        *version += 1;
        self.memory.remove(key);
        if let Some(mount) = self.mount() {
            let stamp = self.stamps.next(self.clock.now());
            self.push(&mount, *key, Op::Remove { stamp });
        }
    }

    /// Sends what memory holds to the disk, if it still holds it.
    pub(crate) fn rewrite(&self, key: Key, record: Arc<R>) {
        let _version = self.stripe(&key);
        let current = self.memory.record(&key);
        if current.is_some_and(|current| Arc::ptr_eq(&current, &record)) {
            self.push_write(key, record);
        }
    }

    /// The version of a key: it changes with every write and removal.
    pub(crate) fn version(&self, key: &Key) -> u64 {
        *self.stripe(key)
    }

    /// Puts a record read from below into memory, if the key was not written or removed since `version`.
    pub(crate) fn promote(&self, key: Key, record: &Arc<R>, version: u64) -> bool {
        let current = self.stripe(&key);
        if *current != version {
            return false;
        }
        self.memory.insert(key, Arc::clone(record));
        true
    }

    fn push_write(&self, key: Key, record: Arc<R>) {
        let Some(mount) = self.mount() else {
            return;
        };
        if self.counters.disk() == DiskState::Full {
            self.counters.drops.add(1);
            return self.push(&mount, key, Op::Outdated);
        }
        let stamp = self.stamps.next(self.clock.now());
        self.push(
            &mount,
            key,
            Op::Write {
                stamp,
                record,
                after: None,
            },
        );
    }

    fn push(&self, mount: &Mount<R>, key: Key, op: Op<R>) {
        match mount.writes.push(key, op) {
            Pushed::Queued => {}
            Pushed::Dropped => self.counters.drops.add(1),
            Pushed::Overrun(waiting) => mount.fail(DiskError::Overrun(waiting)),
        }
    }

    fn stripe(&self, key: &Key) -> MutexGuard<'_, u64> {
        let stripe = key.prefix() as usize % STRIPES;
        lock(&self.stripes[stripe])
    }

    // --- mounts ---

    /// The disk tier, where there is a sound one.
    pub(crate) fn mount(&self) -> Option<Arc<Mount<R>>> {
        self.mount.load_full().filter(|mount| !mount.is_gone())
    }

    /// The disk tier, sound or failed.
    pub(crate) fn mounted(&self) -> Option<Arc<Mount<R>>> {
        self.mount.load_full()
    }

    pub(crate) fn mount_now(&self, mount: Arc<Mount<R>>, life: mpsc::Receiver<()>) {
        *lock(&self.mount_life) = Some(life);
        self.mount.store(Some(mount));
        self.counters.disk_is(DiskState::Ok);
        if self.is_closing() {
            self.end_threads();
        }
    }

    /// Lets the disk tier go. Its threads end when they come back; who wants to wait for them has what is returned.
    pub(crate) fn unmount(&self) -> Option<mpsc::Receiver<()>> {
        self.counters.disk_is(DiskState::MemoryOnly);
        self.mount.store(None);
        lock(&self.mount_life).take()
    }

    // --- end ---

    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
    }

    /// Says that the store is closing. `false`: it was already.
    pub(crate) fn start_closing(&self) -> bool {
        !self.is_closing.swap(true, Ordering::AcqRel)
    }

    /// Asks all threads to end; the writer first writes what waits.
    pub(crate) fn end_threads(&self) {
        if let Some(mount) = self.mounted() {
            mount.reads.close();
            mount.writes.close();
        }
        self.keeper.wake();
    }

    /// Gives the folder back.
    pub(crate) fn unlock(&self) {
        lock(&self.lock).take();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// --- Stamps ---

/// Makes stamps: microseconds of the wall clock, or one more than the last one, whichever is later.
#[derive(Debug, Default)]
pub(crate) struct Stamps(AtomicU64);

impl Stamps {
    pub(crate) fn next(&self, now: Timestamp) -> Stamp {
        let now = now.as_millis().saturating_mul(1000);
        let next = |last: Stamp| now.max(last.saturating_add(1));
        let last = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(next(last)));
        next(last.unwrap_or_else(|last| last))
    }

    /// From here on stamps are later than this one.
    pub(crate) fn raise(&self, to: Stamp) {
        self.0.fetch_max(to, Ordering::AcqRel);
    }
}

// --- KeeperHandle ---

/// Wakes the keeper, once there is one.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeeperHandle(Arc<OnceLock<Thread>>);

impl KeeperHandle {
    pub(crate) fn is(&self, thread: Thread) {
        // Set once, by the keeper itself.
        let _ = self.0.set(thread);
    }

    pub(crate) fn wake(&self) {
        if let Some(thread) = self.0.get() {
            thread.unpark();
        }
    }
}

/// A life to be held by threads, and its end to be awaited.
pub(crate) fn new_life() -> (Alive, mpsc::Receiver<()>) {
    mpsc::channel(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_grow_even_where_the_clock_stands_or_is_set_back() {
        let stamps = Stamps::default();
        let first = stamps.next(Timestamp::from_secs(10));
        assert_eq!(first, 10_000_000);
        assert_eq!(stamps.next(Timestamp::from_secs(10)), first + 1);
        assert_eq!(stamps.next(Timestamp::from_secs(5)), first + 2);
        stamps.raise(first + 100);
        assert_eq!(stamps.next(Timestamp::from_secs(5)), first + 101);
    }
}
