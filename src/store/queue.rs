//! The write queue: what is to reach the disk, newest version of each key only.
//!
//! Bounded by count and by bytes. A write that finds it full is dropped, and a removal takes its place: an older copy on
//! disk must not come back as if it were current. Removals are small and have a bound of their own; past it the disk tier
//! has fallen so far behind that it counts as hung.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::oneshot;

use super::{Record, codec::Stamp, key::Key};

/// Waiting removals per waiting write that are kept.
const REMOVALS_PER_WRITE: usize = 8;

/// What is to happen to a key on disk.
#[derive(Debug)]
pub(crate) enum Op<R> {
    /// This record is to be there.
    Write {
        stamp: Stamp,
        record: Arc<R>,
        /// A removal this write came after before it was logged; the log must have it all the same.
        after: Option<Stamp>,
    },
    /// Nothing is to be there, ever again, that is not later than the stamp.
    Remove { stamp: Stamp },
    /// What is there is out of date: a newer record was dropped.
    Outdated,
    /// This record is damaged.
    Corrupt { stamp: Option<Stamp> },
}

impl<R> Clone for Op<R> {
    fn clone(&self) -> Self {
        match self {
            Self::Write {
                stamp,
                record,
                after,
            } => Self::Write {
                stamp: *stamp,
                record: Arc::clone(record),
                after: *after,
            },
            Self::Remove { stamp } => Self::Remove { stamp: *stamp },
            Self::Outdated => Self::Outdated,
            Self::Corrupt { stamp } => Self::Corrupt { stamp: *stamp },
        }
    }
}

impl<R> Op<R> {
    /// The removal that must be logged for this to hold.
    pub(crate) fn removal(&self) -> Option<Stamp> {
        match self {
            Self::Remove { stamp } => Some(*stamp),
            Self::Write { after, .. } => *after,
            Self::Outdated | Self::Corrupt { .. } => None,
        }
    }

    /// This, where a removal still waited.
    fn coming_after(self, removal: Option<Stamp>) -> Self {
        match (self, removal) {
            (Self::Write { stamp, record, .. }, after) => Self::Write {
                stamp,
                record,
                after,
            },
            (Self::Outdated, Some(stamp)) => Self::Remove { stamp },
            (op, _) => op,
        }
    }
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    Queued,
    /// Full: the record will not be on disk.
    Dropped,
    /// More removals wait than can be kept.
    Overrun(usize),
}

/// What waits for a key.
#[derive(Debug)]
pub(crate) enum Waiting<R> {
    Record(Arc<R>),
    /// The key is being removed: the disk must not be asked.
    Removed,
    Nothing,
}

/// What the writer does next.
pub(crate) struct Turn<R> {
    pub(crate) batch: Vec<(Key, Op<R>)>,
    /// Everything these wait for is applied once the batch is.
    pub(crate) flushes: Vec<oneshot::Sender<()>>,
    /// Nothing more will come.
    pub(crate) closed: bool,
}

/// See the module's documentation.
pub(crate) struct WriteQueue<R> {
    state: Mutex<State<R>>,
    wake: Condvar,
    writes_max: usize,
    bytes_max: u64,
}

struct State<R> {
    /// Keys in the order of their first push since they last left, each with its number.
    order: VecDeque<(u64, Key)>,
    waiting: HashMap<Key, Op<R>>,
    /// Taken by the writer, not yet on disk.
    applying: HashMap<Key, Op<R>>,
    pushed: u64,
    writes: usize,
    bytes: u64,
    flushes: Vec<(u64, oneshot::Sender<()>)>,
    closed: bool,
}

impl<R: Record> WriteQueue<R> {
    pub(crate) fn new(writes_max: usize, bytes_max: u64) -> Self {
        Self {
            state: Mutex::new(State {
                order: VecDeque::new(),
                waiting: HashMap::new(),
                applying: HashMap::new(),
                pushed: 0,
                writes: 0,
                bytes: 0,
                flushes: Vec::new(),
                closed: false,
            }),
            wake: Condvar::new(),
            writes_max,
            bytes_max,
        }
    }

    /// Queues a write over whatever waited for the key.
    pub(crate) fn push(&self, key: Key, op: Op<R>) -> Pushed {
        let mut state = self.lock();
        if state.closed {
            return Pushed::Dropped;
        }
        // A key keeps its place in the order, so that one written again and again cannot lengthen the queue.
        let before = state.take_waiting(&key);
        let has_place = before.is_some();
        let removal = before.and_then(|op| op.removal());
        let weight = weight(&op);
        let mut pushed = Pushed::Queued;
        let op = match op {
            Op::Write { .. }
                if state.writes >= self.writes_max
                    || state.bytes.saturating_add(weight) > self.bytes_max =>
            {
                pushed = Pushed::Dropped;
                Op::Outdated
            }
            op => op,
        }
        .coming_after(removal);
        let removals = state.waiting.len() - state.writes;
        if !matches!(op, Op::Write { .. })
            && removals >= self.writes_max.saturating_mul(REMOVALS_PER_WRITE)
        {
            return Pushed::Overrun(removals);
        }
        state.put_waiting(key, op, has_place);
        drop(state);
        self.wake.notify_one();
        pushed
    }

    /// Queues the removal of a damaged record, unless something newer waits for its key.
    pub(crate) fn push_corrupt(&self, key: Key, stamp: Option<Stamp>) {
        let mut state = self.lock();
        let busy = state.waiting.contains_key(&key) || state.applying.contains_key(&key);
        // Where there is no room the record stays: it will be met, and counted, again.
        if !busy && !state.closed && state.waiting.len() < self.writes_max {
            state.put_waiting(key, Op::Corrupt { stamp }, false);
            drop(state);
            self.wake.notify_one();
        }
    }

    /// What waits for a key, or is being written just now.
    pub(crate) fn waiting(&self, key: &Key) -> Waiting<R> {
        let state = self.lock();
        let op = state.waiting.get(key).or_else(|| state.applying.get(key));
        match op {
            Some(Op::Write { record, .. }) => Waiting::Record(Arc::clone(record)),
            Some(Op::Remove { .. } | Op::Outdated) => Waiting::Removed,
            Some(Op::Corrupt { .. }) | None => Waiting::Nothing,
        }
    }

    /// Asks for a flush of everything pushed so far. The answer is a closed channel where there will be none.
    pub(crate) fn ask_flush(&self) -> oneshot::Receiver<()> {
        let (done, flushed) = oneshot::channel();
        let mut state = self.lock();
        if !state.closed {
            let upto = state.pushed;
            state.flushes.push((upto, done));
            drop(state);
            self.wake.notify_one();
        }
        flushed
    }

    /// The batch taken last is on disk: reads may look there.
    pub(crate) fn applied(&self) {
        self.lock().applying.clear();
    }

    /// Waits for work, at most until `until`, and takes the next batch.
    pub(crate) fn next_turn(&self, until: Instant, writes: usize, bytes: u64) -> Turn<R> {
        let mut state = self.lock();
        while state.order.is_empty() && state.flushes.is_empty() && !state.closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self
                .wake
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let batch = state.take_batch(writes, bytes);
        let flushes = state.take_flushes();
        Turn {
            closed: state.closed && state.order.is_empty(),
            batch,
            flushes,
        }
    }

    /// Takes no more; what waits is still written.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_all();
    }

    /// Forgets everything: the disk tier is gone.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.order.clear();
        state.waiting.clear();
        state.applying.clear();
        state.flushes.clear();
        (state.writes, state.bytes) = (0, 0);
        drop(state);
        self.wake.notify_all();
    }

    /// Writes that wait, and their bytes.
    pub(crate) fn load(&self) -> (u64, u64) {
        let state = self.lock();
        (state.writes as u64, state.bytes)
    }

    /// Whether less than half of it is in use.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.writes * 2 < self.writes_max && state.bytes * 2 < self.bytes_max
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Record> State<R> {
    fn put_waiting(&mut self, key: Key, op: Op<R>, has_place: bool) {
        if matches!(op, Op::Write { .. }) {
            self.writes += 1;
            self.bytes += weight(&op);
        }
        if !has_place {
            self.pushed += 1;
            self.order.push_back((self.pushed, key));
        }
        self.waiting.insert(key, op);
    }

    /// Takes back what waits for a key. Its place in the order stays.
    fn take_waiting(&mut self, key: &Key) -> Option<Op<R>> {
        let op = self.waiting.remove(key)?;
        if matches!(op, Op::Write { .. }) {
            self.writes -= 1;
            self.bytes -= weight(&op);
        }
        Some(op)
    }

    fn take_batch(&mut self, writes: usize, bytes: u64) -> Vec<(Key, Op<R>)> {
        let mut batch = Vec::new();
        let mut taken = 0;
        while batch.len() < writes && taken < bytes {
            let Some((_, key)) = self.order.pop_front() else {
                break;
            };
            if let Some(op) = self.take_waiting(&key) {
                taken += weight(&op);
                self.applying.insert(key, op.clone());
                batch.push((key, op));
            }
        }
        batch
    }

    /// The flushes whose writes are all in the batches taken so far.
    fn take_flushes(&mut self) -> Vec<oneshot::Sender<()>> {
        let reached = self
            .order
            .front()
            .map_or(u64::MAX, |(number, _)| number - 1);
        let (due, later) = std::mem::take(&mut self.flushes)
            .into_iter()
            .partition(|(upto, _)| *upto <= reached);
        self.flushes = later;
        let due: Vec<(u64, oneshot::Sender<()>)> = due;
        due.into_iter().map(|(_, done)| done).collect()
    }
}

fn weight<R: Record>(op: &Op<R>) -> u64 {
    match op {
        Op::Write { record, .. } => record.weight(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{TestRecord, key};

    fn write(stamp: Stamp, body: &[u8]) -> Op<TestRecord> {
        Op::Write {
            stamp,
            record: Arc::new(TestRecord::new("", body)),
            after: None,
        }
    }

    fn turn(queue: &WriteQueue<TestRecord>) -> Turn<TestRecord> {
        queue.next_turn(Instant::now(), 100, 1 << 20)
    }

    #[test]
    fn a_newer_write_takes_the_place_of_a_waiting_one() {
        let queue = WriteQueue::new(1, 100);
        assert_eq!(queue.push(key(1), write(1, b"old")), Pushed::Queued);
        assert_eq!(queue.push(key(1), write(2, b"new")), Pushed::Queued);
        assert_eq!(queue.load(), (1, 3));
        assert_eq!(queue.lock().order.len(), 1);
        let turn = turn(&queue);
        assert_eq!(turn.batch.len(), 1);
        assert!(matches!(turn.batch[0].1, Op::Write { stamp: 2, .. }));
    }

    #[test]
    fn what_finds_it_full_is_dropped_and_its_older_copy_marked() {
        for (name, writes_max, bytes_max) in [("by count", 1, 100), ("by bytes", 9, 5)] {
            let queue = WriteQueue::new(writes_max, bytes_max);
            queue.push(key(1), write(1, b"abc"));
            assert_eq!(
                queue.push(key(2), write(2, b"abc")),
                Pushed::Dropped,
                "{name}"
            );
            assert!(matches!(queue.waiting(&key(2)), Waiting::Removed), "{name}");
            assert!(matches!(turn(&queue).batch[1].1, Op::Outdated), "{name}");
        }
    }

    #[test]
    fn removals_are_never_dropped_but_have_a_bound() {
        let queue = WriteQueue::<TestRecord>::new(2, 100);
        for n in 0..16 {
            assert_eq!(queue.push(key(n), Op::Remove { stamp: n }), Pushed::Queued);
        }
        let pushed = queue.push(key(99), Op::Remove { stamp: 99 });
        assert_eq!(pushed, Pushed::Overrun(16));
    }

    #[test]
    fn a_removal_is_logged_even_where_a_write_overtakes_it() {
        let queue = WriteQueue::new(1, 100);
        queue.push(key(1), Op::Remove { stamp: 5 });
        queue.push(key(1), write(6, b"new"));
        queue.push(key(1), write(7, b"newer"));
        assert_eq!(turn(&queue).batch[0].1.removal(), Some(5));
        queue.push(key(2), write(8, b"fills it"));
        queue.push(key(1), Op::Remove { stamp: 9 });
        assert_eq!(queue.push(key(1), write(10, b"x")), Pushed::Dropped);
        assert_eq!(turn(&queue).batch[1].1.removal(), Some(9));
    }

    #[test]
    fn a_record_is_found_until_it_is_on_disk() {
        let queue = WriteQueue::new(9, 100);
        queue.push(key(1), write(1, b"abc"));
        let batch = turn(&queue).batch;
        assert!(
            matches!(queue.waiting(&key(1)), Waiting::Record(_)),
            "while it is written"
        );
        drop(batch);
        queue.applied();
        assert!(matches!(queue.waiting(&key(1)), Waiting::Nothing));
    }

    #[test]
    fn a_flush_is_due_with_the_batch_that_holds_the_last_write_before_it() {
        let queue = WriteQueue::new(9, 100);
        queue.push(key(1), write(1, b"a"));
        queue.push(key(2), write(2, b"b"));
        let _flushed = queue.ask_flush();
        queue.push(key(3), write(3, b"c"));
        assert!(queue.next_turn(Instant::now(), 1, 100).flushes.is_empty());
        assert_eq!(queue.next_turn(Instant::now(), 1, 100).flushes.len(), 1);
        assert_eq!(queue.next_turn(Instant::now(), 1, 100).batch.len(), 1);
    }

    #[test]
    fn a_damaged_record_never_pushes_a_newer_write_aside() {
        let queue = WriteQueue::new(9, 100);
        queue.push(key(1), write(2, b"new"));
        queue.push_corrupt(key(1), Some(1));
        assert!(matches!(turn(&queue).batch[0].1, Op::Write { .. }));
    }
}
