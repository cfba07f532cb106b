//! A mount: one opened disk tier with its queues, from opening to letting go.
//!
//! Whoever meets a fault says so with [`Mount::fail`]; from then on nobody asks this mount for anything, its threads end
//! when they come back from the tier, and the keeper puts another one in its place.

use std::{
    ops::Deref,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    Record,
    guard::Pulse,
    key::Key,
    presence::Presence,
    queue::WriteQueue,
    reader::ReadQueue,
    shared::KeeperHandle,
    tier::{DiskError, DiskTier},
};

/// Reads noted for the eviction order between two looks of the writer; more are forgotten.
const TOUCHED_MAX: usize = 4096;

/// See the module's documentation.
pub(crate) struct Mount<R> {
    pub(crate) tier: HeldTier,
    pub(crate) folder: PathBuf,
    pub(crate) writes: WriteQueue<R>,
    pub(crate) reads: ReadQueue<R>,
    pub(crate) presence: Presence,
    pub(crate) mounted_at: Instant,
    /// The writer's first, then one per reader.
    pub(crate) pulses: Vec<Pulse>,
    touched: Mutex<Vec<u64>>,
    is_gone: AtomicBool,
    fault: Mutex<Option<DiskError>>,
    keeper: KeeperHandle,
}

impl<R: Record> Mount<R> {
    pub(crate) fn new(
        tier: HeldTier,
        folder: PathBuf,
        writes: WriteQueue<R>,
        reads: ReadQueue<R>,
        readers: usize,
        keeper: KeeperHandle,
    ) -> Self {
        Self {
            tier,
            folder,
            writes,
            reads,
            presence: Presence::new(),
            mounted_at: Instant::now(),
            pulses: (0..=readers).map(|_| Pulse::new()).collect(),
            touched: Mutex::default(),
            is_gone: AtomicBool::new(false),
            fault: Mutex::default(),
            keeper,
        }
    }

    /// The tier cannot be used any more. The first fault is kept for the alert.
    pub(crate) fn fail(&self, fault: DiskError) {
        let mut first = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_gone.swap(true, Ordering::AcqRel) {
            *first = Some(fault);
        }
        drop(first);
        self.reads.close();
        self.writes.abandon();
        self.keeper.wake();
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }

    pub(crate) fn take_fault(&self) -> Option<DiskError> {
        self.fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// The longest that a thread has now been inside the tier.
    pub(crate) fn busy_for(&self) -> Duration {
        let busy = self.pulses.iter().map(Pulse::busy_for);
        busy.max().unwrap_or_default()
    }

    /// Notes a read for the eviction order.
    pub(crate) fn touch(&self, key: &Key) {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        if touched.len() < TOUCHED_MAX {
            touched.push(key.prefix());
        }
    }

    /// The reads noted since the last call.
    pub(crate) fn take_touched(&self) -> Vec<u64> {
        std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// --- HeldTier ---

/// A tier that is closed on a thread of its own, wherever it is let go: closing blocks, and on a sick disk may hang.
pub(crate) struct HeldTier {
    tier: Option<Arc<dyn DiskTier>>,
    alive: Alive,
}

impl HeldTier {
    /// `alive` ends once the tier is closed.
    pub(crate) fn new(tier: Arc<dyn DiskTier>, alive: Alive) -> Self {
        Self {
            tier: Some(tier),
            alive,
        }
    }
}

impl Deref for HeldTier {
    type Target = dyn DiskTier;

    fn deref(&self) -> &Self::Target {
        self.tier
            .as_deref()
            .expect("the tier is taken only when this is dropped")
    }
}

impl Drop for HeldTier {
    fn drop(&mut self) {
        let (tier, alive) = (self.tier.take(), self.alive.clone());
        // Without a thread to be had it is closed here after all: what a failed spawn is given, it drops.
        let _ = thread::Builder::new()
            .name("larder-store-close".to_owned())
            .spawn(move || {
                drop(tier);
                drop(alive);
            });
    }
}

/// Held by a thread while it runs. When all are dropped, all have ended.
pub(crate) type Alive = mpsc::Sender<()>;
