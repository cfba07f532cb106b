//! Reading from disk: a bounded queue and the threads behind it.
//!
//! Whoever asks has a deadline and stops waiting at it. A question nobody waits for any more is passed over, but a read
//! that has begun is finished and kept in memory: on a slow disk the next one who asks finds it there.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use tokio::sync::oneshot;

use super::{
    Record,
    key::Key,
    mount::Mount,
    shared::Shared,
    tier::{DiskError, Lookup},
};

/// What came of a question.
pub(crate) enum Found<R> {
    /// The record; it is in memory now.
    Record(Arc<R>),
    /// A record that was replaced or removed while it was read.
    Outdated,
    /// None.
    Nothing,
}

struct Job<R> {
    key: Key,
    /// The key's version before anything was looked at. `None`: somebody only looks, and nothing is kept in memory.
    version: Option<u64>,
    answer: oneshot::Sender<Found<R>>,
}

/// Questions that wait for a reader.
pub(crate) struct ReadQueue<R> {
    state: Mutex<State<R>>,
    wake: Condvar,
    reads_max: usize,
}

struct State<R> {
    jobs: VecDeque<Job<R>>,
    closed: bool,
}

impl<R: Record> ReadQueue<R> {
    pub(crate) fn new(reads_max: usize) -> Self {
        Self {
            state: Mutex::new(State {
                jobs: VecDeque::new(),
                closed: false,
            }),
            wake: Condvar::new(),
            reads_max,
        }
    }

    /// Asks for a record of a key that had this version. `None`: too many ask, or the disk tier is gone.
    pub(crate) fn ask(&self, key: Key, version: u64) -> Option<oneshot::Receiver<Found<R>>> {
        self.push(key, Some(version))
    }

    /// The same for who only looks: the record counts as no more used than before.
    pub(crate) fn look(&self, key: Key) -> Option<oneshot::Receiver<Found<R>>> {
        self.push(key, None)
    }

    fn push(&self, key: Key, version: Option<u64>) -> Option<oneshot::Receiver<Found<R>>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.jobs.len() >= self.reads_max {
            state.jobs.retain(|job| !job.answer.is_closed());
        }
        if state.closed || state.jobs.len() >= self.reads_max {
            return None;
        }
        let (answer, asked) = oneshot::channel();
        state.jobs.push_back(Job {
            key,
            version,
            answer,
        });
        drop(state);
        self.wake.notify_one();
        Some(asked)
    }

    /// Ends the readers. Who still waits gets a miss.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        state.jobs.clear();
        drop(state);
        self.wake.notify_all();
    }

    fn next(&self) -> Option<Job<R>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = state.jobs.pop_front() {
                if !job.answer.is_closed() {
                    return Some(job);
                }
            } else if state.closed {
                return None;
            } else {
                state = self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// A reader's life: from question to question until the mount is let go.
pub(crate) fn run<R: Record>(shared: &Shared<R>, mount: &Mount<R>, number: usize) {
    let pulse = &mount.pulses[number];
    while let Some(job) = mount.reads.next() {
        let Some(version) = job.version else {
            match pulse.during(|| record(shared, mount, &job.key, Touch::Look)) {
                Ok(found) => drop(job.answer.send(found.map_or(Found::Nothing, Found::Record))),
                Err(fault) => return mount.fail(fault),
            }
            continue;
        };
        // A read that was late for somebody else may have brought it meanwhile.
        let found = match shared.memory.record(&job.key) {
            Some(record) => Ok(Some(record)),
            None => pulse.during(|| record(shared, mount, &job.key, Touch::Use)),
        };
        let found = match found {
            Ok(None) => Found::Nothing,
            // Here and not where it is waited for: nobody may wait any more.
            Ok(Some(record)) if shared.promote(job.key, &record, version) => Found::Record(record),
            Ok(Some(_)) => Found::Outdated,
            Err(fault) => return mount.fail(fault),
        };
        drop(job.answer.send(found));
    }
}

/// Whether a read counts as a use, by which the disk tier chooses what to evict.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Touch {
    Use,
    Look,
}

fn record<R: Record>(
    shared: &Shared<R>,
    mount: &Mount<R>,
    key: &Key,
    touch: Touch,
) -> Result<Option<Arc<R>>, DiskError> {
    let damaged = match mount.tier.read(key)? {
        Lookup::Absent => return Ok(None),
        Lookup::Corrupt { stamp } => stamp,
        Lookup::Found { stamp, meta, body } => match R::decode(&meta, body) {
            Ok(record) => {
                if touch == Touch::Use {
                    mount.touch(key);
                }
                return Ok(Some(Arc::new(record)));
            }
            Err(_) => Some(stamp),
        },
    };
    shared.counters.corrupt.add(1);
    mount.writes.push_corrupt(*key, damaged);
    Ok(None)
}
