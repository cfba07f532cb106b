//! The store: where entries live. A memory tier over a disk tier, generic over what is stored; it knows nothing of HTTP.
//!
//! `cache -> [store: memory -> waiting writes -> disk]`
//!
//! A read of memory is one lookup. A read of disk happens on dedicated threads and has a deadline: a late one is a miss,
//! and warms memory for the next.
//! A write is in memory at once and reaches the disk behind the caller's back; it never blocks.
//!
//! Threads: one `writer` that alone changes the disk, a few `reader`s, one `keeper` that looks after them. They meet the
//! disk as a `tier`; the real one is a `volume` made of `disk` (the index), `bodies` and `removals`.
//!
//! # Invariants
//!
//! - What is read from disk was verified; what cannot be is a miss, counted and removed.
//! - A removed or replaced record never comes back: not from a slow read, nor from an index that was damaged.
//! - An error, a panic or a hang of the disk costs misses and one alert, never an answer that memory holds.
//! - Every queue, wait and tier has a bound in [`StoreConfig`].

mod bodies;
mod codec;
mod disk;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod guard;
mod keeper;
mod key;
mod memory;
mod mount;
mod presence;
mod queue;
mod reader;
mod removals;
mod shared;
mod space;
mod stats;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tier;
mod volume;
mod writer;

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

use self::{
    guard::Opener,
    mount::Mount,
    queue::Waiting,
    reader::Found,
    shared::{Shared, new_life},
    volume::Volume,
};
pub use self::{
    key::Key,
    stats::{DiskState, StoreStats},
};
use crate::{
    clock::{Clock, Timestamp},
    config::model::StoreConfig,
    observe::alert::Alerts,
};

/// Looks at the disk per load, where writes to the same key come between.
const LOAD_ROUNDS: usize = 3;

/// What a store can hold.
pub trait Record: Sized + Send + Sync + 'static {
    /// Bytes it takes in memory, body included.
    fn weight(&self) -> u64;
    /// After this it is of no use to anyone: it is evicted first.
    fn dead_at(&self) -> Timestamp;
    /// Everything but the body, in a format of the record's own. Called off the async threads.
    fn encode_meta(&self) -> Vec<u8>;
    /// The body.
    fn body(&self) -> &Bytes;
    /// The inverse of `encode_meta` and `body`. The bytes were checked against their checksum, but may have been written
    /// by another version of this program.
    ///
    /// # Errors
    /// Where `meta` is not understood: the record is then a miss, counted and removed.
    fn decode(meta: &[u8], body: Bytes) -> Result<Self, DecodeError>;
}

/// Why stored bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stored record not understood: {reason}")]
pub struct DecodeError {
    /// What was wrong, as a lowercase fragment.
    pub reason: &'static str,
}

impl DecodeError {
    /// With this reason.
    pub const fn new(reason: &'static str) -> Self {
        Self { reason }
    }
}

/// Why a store cannot be opened or flushed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The folder cannot be created or written.
    #[error(
        "store folder {} cannot be written: {source}; create it for the user that runs larder, set store.path to one that can be written, or set store.disk = \"0\" to keep answers in memory only",
        path.display()
    )]
    Path {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Another process holds the folder.
    #[error(
        "store folder {} is in use by another larder; stop it, or give this one its own store.path",
        path.display()
    )]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The disk tier was set aside after a fault; entries are in memory only.
    #[error("the disk tier is not available; answers are kept in memory only")]
    MemoryOnly,
    /// A thread could not be started.
    #[error(
        "the store's threads could not be started: {0}; raise the limit on processes of this user"
    )]
    Thread(std::io::Error),
    /// The disk did not confirm in time.
    #[error("the disk tier did not flush within {0:?}")]
    FlushTimeout(Duration),
}

/// A memory tier over a disk tier. Clones share both. Where the last one is dropped without [`Store::close`], the threads
/// still write what waits, but nobody waits for them.
pub struct Store<R: Record> {
    owner: Arc<Owner<R>>,
}

/// What each tier holds of one key; see [`Store::look`].
#[derive(Debug)]
pub struct Look<R> {
    /// In memory.
    pub memory: Option<Arc<R>>,
    /// On its way to the disk.
    pub waiting: Option<Arc<R>>,
    /// On disk.
    pub disk: DiskLook<R>,
}

/// What the disk tier holds of one key.
#[derive(Debug)]
pub enum DiskLook<R> {
    /// This.
    Record(Arc<R>),
    /// Nothing, or there is no disk tier.
    Nothing,
    /// It did not say in time, or failed.
    Late,
}

impl<R> Look<R> {
    /// The record that would answer: that of the uppermost tier.
    pub fn record(&self) -> Option<&Arc<R>> {
        let lower = match &self.disk {
            DiskLook::Record(record) => Some(record),
            DiskLook::Nothing | DiskLook::Late => None,
        };
        self.memory.as_ref().or(self.waiting.as_ref()).or(lower)
    }
}

struct Owner<R: Record> {
    shared: Arc<Shared<R>>,
    keeper_life: Mutex<Option<mpsc::Receiver<()>>>,
}

impl<R: Record> Clone for Store<R> {
    fn clone(&self) -> Self {
        Self {
            owner: Arc::clone(&self.owner),
        }
    }
}

impl<R: Record> Drop for Owner<R> {
    fn drop(&mut self) {
        self.shared.start_closing();
        self.shared.end_threads();
    }
}

impl<R: Record> Store<R> {
    /// Opens the store. Damage of its content is never an error: it is set aside, an alert is raised, and the store
    /// starts cold. Blocks for as long as the index takes to open (less than half a second for a million records).
    ///
    /// # Errors
    /// Where the folder cannot be created or written, or another process holds it.
    pub fn open(config: &StoreConfig, clock: Clock, alerts: Alerts) -> Result<Self, StoreError> {
        let opener: Opener = Arc::new(|folder| Ok(Arc::new(Volume::open(folder)?)));
        Self::open_with(config, clock, alerts, opener)
    }

    fn open_with(
        config: &StoreConfig,
        clock: Clock,
        alerts: Alerts,
        opener: Opener,
    ) -> Result<Self, StoreError> {
        let root = config.path.clone().filter(|_| config.disk_bytes > 0);
        let lock = root.as_deref().map(lock_folder).transpose()?;
        let shared = Arc::new(Shared::new(config.clone(), clock, alerts, opener, lock));
        if let Some(root) = &root {
            keeper::mount_first(&shared, root);
        }
        let (alive, life) = new_life();
        let kept = Arc::clone(&shared);
        // From here on: where the keeper cannot be started, dropping the owner ends the other threads.
        let owner = Arc::new(Owner {
            shared,
            keeper_life: Mutex::new(Some(life)),
        });
        keeper::spawn("larder-store-keep".to_owned(), &alive, move || {
            keeper::run(&kept, root.as_deref());
        })
        .map_err(StoreError::Thread)?;
        Ok(Self { owner })
    }

    /// The record, if it is in memory. The hot path: one lookup, never blocks.
    pub fn cached(&self, key: &Key) -> Option<Arc<R>> {
        let shared = &*self.owner.shared;
        let found = shared.memory.record(key);
        match found {
            Some(_) => shared.counters.memory_hit(key),
            None => shared.counters.memory_misses.add(1),
        }
        found
    }

    /// The record, wherever it is: memory, waiting to be written, disk. A read that takes longer than
    /// `store.read_timeout`, or fails, is a miss. Needs a tokio runtime with time; what it finds is in memory after.
    pub async fn load(&self, key: &Key) -> Option<Arc<R>> {
        self.load_within(key, self.owner.shared.config.read_timeout)
            .await
    }

    /// [`Store::load`] with a bound of its own: for who would rather wait than go without. A read that is late all the
    /// same is finished behind, and what it finds is in memory for the next one who asks.
    pub async fn load_within(&self, key: &Key, within: Duration) -> Option<Arc<R>> {
        let shared = &*self.owner.shared;
        let deadline = Instant::now() + within;
        for _ in 0..LOAD_ROUNDS {
            // Taken before anything is looked at: what changes from here on shows in it.
            let version = shared.version(key);
            if let Some(record) = shared.memory.record(key) {
                shared.counters.memory_hit(key);
                return Some(record);
            }
            let Some(mount) = shared.mount() else {
                break;
            };
            match mount.writes.waiting(key) {
                Waiting::Removed => break,
                Waiting::Record(record) => {
                    if shared.promote(*key, &record, version) {
                        shared.counters.queue_hits.add(1);
                        return Some(record);
                    }
                }
                Waiting::Nothing if !mount.presence.may_hold(key.prefix()) => break,
                Waiting::Nothing => match self.read(&mount, key, version, deadline).await? {
                    Found::Record(record) => {
                        shared.counters.disk_hits.add(1);
                        return Some(record);
                    }
                    Found::Nothing => break,
                    Found::Outdated => {}
                },
            }
        }
        shared.counters.disk_misses.add(1);
        None
    }

    /// What each tier holds of a key, for people who look: nothing is counted, moved up or kept longer for it (but memory's
    /// own estimate of popularity sees one read). The disk is given `store.read_timeout`.
    pub async fn look(&self, key: &Key) -> Look<R> {
        let shared = &*self.owner.shared;
        let mut look = Look {
            memory: shared.memory.record(key),
            waiting: None,
            disk: DiskLook::Nothing,
        };
        let Some(mount) = shared.mount() else {
            return look;
        };
        look.waiting = match mount.writes.waiting(key) {
            Waiting::Removed => return look,
            Waiting::Record(record) => Some(record),
            Waiting::Nothing => None,
        };
        if !mount.presence.may_hold(key.prefix()) {
            return look;
        }
        let asked = async { mount.reads.look(*key)?.await.ok() };
        look.disk = match timeout(shared.config.read_timeout, asked).await {
            Ok(Some(Found::Record(record))) => DiskLook::Record(record),
            Ok(Some(Found::Nothing | Found::Outdated)) => DiskLook::Nothing,
            Ok(None) | Err(_) => DiskLook::Late,
        };
        look
    }

    /// One look at the disk. `None`: not in time, which is counted.
    async fn read(
        &self,
        mount: &Mount<R>,
        key: &Key,
        version: u64,
        deadline: Instant,
    ) -> Option<Found<R>> {
        let late = &self.owner.shared.counters.disk_late;
        let Some(asked) = mount.reads.ask(*key, version) else {
            late.add(1);
            return None;
        };
        match timeout_at(deadline, asked).await {
            // Where nobody answers the tier failed while it was asked.
            Ok(answer) => Some(answer.unwrap_or(Found::Nothing)),
            Err(_) => {
                late.add(1);
                None
            }
        }
    }

    /// Stores the record: in memory at once, on disk later. Never blocks. Where the write queue or the disk is full the
    /// record is in memory only, which is counted, and an older one on disk is removed.
    pub fn put(&self, key: Key, record: Arc<R>) {
        self.owner.shared.put(key, record);
    }

    /// [`Store::put`], unless memory holds a record that `keeps` says should stay.
    pub fn put_unless(&self, key: Key, record: Arc<R>, keeps: impl FnOnce(&R) -> bool) {
        self.owner.shared.put_unless(key, record, keeps);
    }

    /// Removes the record from both tiers; it does not come back.
    pub fn remove(&self, key: &Key) {
        self.owner.shared.remove(key);
    }

    /// Numbers for metrics and status.
    pub fn stats(&self) -> StoreStats {
        let shared = &*self.owner.shared;
        let mount = shared.mount();
        let disk_is_counted = mount
            .as_ref()
            .is_some_and(|mount| mount.presence.is_complete());
        let (queue_entries, queue_bytes) = mount.map_or((0, 0), |mount| mount.writes.load());
        StoreStats {
            memory_entries: shared.memory.entries(),
            memory_bytes: shared.memory.bytes(),
            queue_entries,
            queue_bytes,
            disk_is_counted,
            ..shared.counters.snapshot()
        }
    }

    /// Everything put or removed before this call is durable when it returns `Ok`. Nothing to do without a disk tier.
    ///
    /// # Errors
    /// Where the disk tier is gone, or did not confirm within `store.stall_after`.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let shared = &*self.owner.shared;
        if shared.config.path.is_none() || shared.config.disk_bytes == 0 {
            return Ok(());
        }
        let within = shared.config.stall_after;
        let mount = shared.mount().ok_or(StoreError::MemoryOnly)?;
        match timeout(within, mount.writes.ask_flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(StoreError::MemoryOnly),
            Err(_) => Err(StoreError::FlushTimeout(within)),
        }
    }

    /// Writes and flushes what waits and ends the threads; one that hangs is left behind after `within`. Memory goes on
    /// answering. Safe to call twice.
    pub async fn close(&self, within: Duration) {
        let deadline = Instant::now() + within;
        let shared = &*self.owner.shared;
        if !shared.start_closing() {
            return;
        }
        shared.end_threads();
        let keeper = self
            .owner
            .keeper_life
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // The keeper first: where it finds no mount, it makes one.
        wait_for_end(keeper, deadline).await;
        wait_for_end(shared.unmount(), deadline).await;
        shared.unlock();
    }
}

/// Waits for threads to end, at most until `deadline`. Nothing is ever sent: the channel ends when the last thread has.
async fn wait_for_end(life: Option<mpsc::Receiver<()>>, deadline: Instant) {
    if let Some(mut life) = life
        && timeout_at(deadline, life.recv()).await.is_err()
    {
        tracing::warn!("a thread of the store does not end and is left behind");
    }
}

/// Creates the folder, makes sure that it can be written, and takes it for this process.
fn lock_folder(root: &Path) -> Result<File, StoreError> {
    let fault = |source| StoreError::Path {
        path: root.to_owned(),
        source,
    };
    fs::create_dir_all(root).map_err(fault)?;
    let lock = File::create(root.join("LOCK")).map_err(fault)?;
    match lock.try_lock() {
        Ok(()) => {
            // The lock may be writable where the folder no longer is.
            let probe = root.join("probe");
            File::create(&probe)
                .and_then(|_| fs::remove_file(&probe))
                .map_err(fault)?;
            Ok(lock)
        }
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked {
            path: root.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(fault(source)),
    }
}
