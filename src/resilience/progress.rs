//! Progress of one fetch: what its attempts have done so far, shared through a request extension.
//!
//! The deadline creates it; attempts, retry and balance write to it. It answers what a failure has to say when the
//! fetch is cut off: whether anything was sent, and how often.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::upload::Upload;
use crate::failure::Sent;

/// A fetch on its way. Clones share it.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    deadline: Instant,
    attempts: AtomicU32,
    /// An attempt that has begun has perhaps sent something, until it says otherwise. Two at once where one is a hedge.
    in_flight: AtomicU32,
    acted: AtomicBool,
    endpoint: AtomicUsize,
    upload: Upload,
}

const NO_ENDPOINT: usize = usize::MAX;

impl Progress {
    /// A fetch that has sent nothing and must end by `deadline`.
    pub fn new(deadline: Instant) -> Self {
        Self(Arc::new(Inner {
            deadline,
            attempts: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            acted: AtomicBool::new(false),
            endpoint: AtomicUsize::new(NO_ENDPOINT),
            upload: Upload::default(),
        }))
    }

    /// When all attempts together must have ended.
    pub fn deadline(&self) -> Instant {
        self.0.deadline
    }

    /// Attempts begun.
    pub fn attempts(&self) -> u32 {
        self.0.attempts.load(Ordering::Acquire)
    }

    /// How far the request got, over all attempts.
    pub fn sent(&self) -> Sent {
        if self.0.in_flight.load(Ordering::Acquire) > 0 || self.0.acted.load(Ordering::Acquire) {
            Sent::MayHaveActed
        } else {
            Sent::Nothing
        }
    }

    /// The endpoint of the latest attempt, by its place in the config.
    pub fn last_endpoint(&self) -> Option<usize> {
        match self.0.endpoint.load(Ordering::Acquire) {
            NO_ENDPOINT => None,
            index => Some(index),
        }
    }

    /// Counts an attempt as under way until what is returned has ended, or is dropped.
    pub(crate) fn attempt_begun(&self) -> InFlight {
        self.0.attempts.fetch_add(1, Ordering::AcqRel);
        self.0.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight {
            progress: self.clone(),
            // Of one that was given up nobody will say how far it got.
            sent: Sent::MayHaveActed,
        }
    }

    /// The request went out once more inside one attempt.
    pub(crate) fn repeated(&self) {
        self.0.attempts.fetch_add(1, Ordering::AcqRel);
        self.0.acted.store(true, Ordering::Release);
    }

    /// How long the client was waited for while it sent the request's content: no time that the upstream took.
    pub fn waited_for_client(&self) -> Duration {
        self.0.upload.waited()
    }

    /// The request's content on its way.
    pub(crate) fn upload(&self) -> &Upload {
        &self.0.upload
    }

    pub(crate) fn endpoint_chosen(&self, index: usize) {
        self.0.endpoint.store(index, Ordering::Release);
    }
}

// --- InFlight ---

/// An attempt under way.
#[derive(Debug)]
pub(crate) struct InFlight {
    progress: Progress,
    sent: Sent,
}

impl InFlight {
    /// It is over, and its request got this far.
    pub(crate) fn ended(mut self, sent: Sent) {
        self.sent = sent;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let shared = &self.progress.0;
        // First what it did, then that it is over: in between it counts twice, not never.
        if self.sent == Sent::MayHaveActed {
            shared.acted.store(true, Ordering::Release);
        }
        shared.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_one_attempt_may_have_done_is_not_forgotten_by_the_next() {
        let progress = Progress::new(Instant::now());
        assert_eq!(progress.sent(), Sent::Nothing);
        let first = progress.attempt_begun();
        assert_eq!(progress.sent(), Sent::MayHaveActed, "under way");
        first.ended(Sent::Nothing);
        assert_eq!(progress.sent(), Sent::Nothing, "refused");
        progress.attempt_begun().ended(Sent::MayHaveActed);
        progress.attempt_begun().ended(Sent::Nothing);
        assert_eq!(progress.sent(), Sent::MayHaveActed);
        assert_eq!(progress.attempts(), 3);
    }

    #[tokio::test]
    async fn of_two_at_once_the_end_of_one_does_not_hide_the_other() {
        let progress = Progress::new(Instant::now());
        let (first, second) = (progress.attempt_begun(), progress.attempt_begun());
        first.ended(Sent::Nothing);
        assert_eq!(
            progress.sent(),
            Sent::MayHaveActed,
            "the second is under way"
        );
        second.ended(Sent::Nothing);
        assert_eq!(progress.sent(), Sent::Nothing);
        drop(progress.attempt_begun());
        assert_eq!(progress.sent(), Sent::MayHaveActed, "given up half-way");
    }
}
