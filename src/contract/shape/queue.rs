//! What waits for the thread that learns: answers, held within a bound.

use std::{
    io::Read as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use bytes::Bytes;

use super::{
    learner::{Question, Skipped},
    shapes::{Route, lock},
};
use crate::{clock::Clock, observe::Alerts};

/// What waits for the thread.
pub(super) struct Queue {
    pub(super) jobs: Mutex<Option<mpsc::SyncSender<Job>>>,
    bytes: AtomicU64,
    bytes_max: u64,
}

pub(super) enum Job {
    /// A route is there, or has another config.
    Open(Arc<Route>),
    Answer(Answer),
    /// Some of its answers wait until there is time for them.
    Waiting(Arc<Route>),
}

/// An answer to be learnt.
pub(super) struct Answer {
    pub(super) question: Question,
    pub(super) pieces: Vec<Bytes>,
    pub(super) is_gzip: bool,
    pub(super) held: Held,
}

/// Bytes that are held for the thread; given back when dropped.
pub(super) struct Held {
    queue: Arc<Queue>,
    pub(super) bytes: u64,
}

// --- Queue ---

impl Queue {
    /// Takes nothing until there is somebody to learn it.
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            jobs: Mutex::new(None),
            bytes: AtomicU64::new(0),
            bytes_max,
        }
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Never waits; `false` where there is no room, or nobody.
    pub(super) fn send(&self, job: Job) -> bool {
        let jobs = lock(&self.jobs);
        jobs.as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok())
    }

    /// A route is there: at a start or a reload, which may wait for room.
    pub(super) fn open(&self, route: Arc<Route>) {
        let jobs = lock(&self.jobs).clone();
        if let Some(jobs) = jobs {
            // Without a thread nothing is learnt, and that was said.
            let _ = jobs.send(Job::Open(route));
        }
    }
}

impl Held {
    /// What is held beside the bytes: so that many empty answers are bounded, too.
    const EACH_BYTES: u64 = 256;

    pub(super) fn new(queue: &Arc<Queue>) -> Self {
        Self {
            queue: Arc::clone(queue),
            bytes: 0,
        }
    }

    /// Holds more; `false` where there is no room.
    pub(super) fn add(&mut self, bytes: u64) -> bool {
        let bytes = bytes.saturating_add(Self::EACH_BYTES);
        let before = self.queue.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        before.saturating_add(bytes) <= self.queue.bytes_max
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.queue.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

// --- Answer ---

impl Answer {
    pub(super) fn learn(self, clock: &Clock, alerts: &Alerts) {
        let learner = &self.question.learner;
        let (route, bytes_max) = (&learner.route, learner.drift.body_bytes_max);
        let Some(body) = self.content(bytes_max) else {
            return;
        };
        // The config of now: a reload may have come meanwhile.
        let drift = Arc::clone(&lock(&route.config).drift);
        let document = self.question.document;
        let mut shape = lock(&route.shape);
        let learnt = shape.learn(&body, document, clock.now(), &drift.bounds);
        drop(shape);
        match learnt {
            Err(_) => route.skip(Skipped::Unreadable),
            Ok(changes) => {
                route.learnt.fetch_add(1, Ordering::Relaxed);
                route.tell(&changes, alerts);
            }
        }
        route.changed();
    }

    /// The bytes of the document.
    fn content(&self, bytes_max: u64) -> Option<Bytes> {
        let whole = match &self.pieces[..] {
            [one] => one.clone(),
            pieces => Bytes::from(pieces.concat()),
        };
        if !self.is_gzip {
            return Some(whole);
        }
        let mut decoded = Vec::new();
        let reader = flate2::read::MultiGzDecoder::new(&whole[..]);
        let read = reader.take(bytes_max + 1).read_to_end(&mut decoded);
        let why = match read {
            Err(_) => Skipped::Unreadable,
            Ok(bytes) if bytes as u64 > bytes_max => Skipped::Large,
            Ok(_) => return Some(decoded.into()),
        };
        self.question.skip(why);
        None
    }
}
