//! Progress of one fetch: what its attempts have done so far, shared through a request extension.
//!
//! The deadline creates it; attempts, retry and balance write to it. It answers what a failure has to say when the
//! fetch is cut off: whether anything was sent, and how often.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
};

use tokio::time::Instant;

use crate::failure::Sent;

/// A fetch on its way. Clones share it.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    deadline: Instant,
    attempts: AtomicU32,
    /// An attempt that has begun has perhaps sent something, until it says otherwise.
    in_flight: AtomicBool,
    acted: AtomicBool,
    endpoint: AtomicUsize,
}

const NO_ENDPOINT: usize = usize::MAX;

impl Progress {
    /// A fetch that has sent nothing and must end by `deadline`.
    pub fn new(deadline: Instant) -> Self {
        Self(Arc::new(Inner {
            deadline,
            attempts: AtomicU32::new(0),
            in_flight: AtomicBool::new(false),
            acted: AtomicBool::new(false),
            endpoint: AtomicUsize::new(NO_ENDPOINT),
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
        if self.0.in_flight.load(Ordering::Acquire) || self.0.acted.load(Ordering::Acquire) {
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

    pub(crate) fn attempt_begun(&self) {
        self.0.attempts.fetch_add(1, Ordering::AcqRel);
        self.0.in_flight.store(true, Ordering::Release);
    }

    pub(crate) fn attempt_ended(&self, sent: Sent) {
        if sent == Sent::MayHaveActed {
            self.0.acted.store(true, Ordering::Release);
        }
        self.0.in_flight.store(false, Ordering::Release);
    }

    pub(crate) fn endpoint_chosen(&self, index: usize) {
        self.0.endpoint.store(index, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_one_attempt_may_have_done_is_not_forgotten_by_the_next() {
        let progress = Progress::new(Instant::now());
        assert_eq!(progress.sent(), Sent::Nothing);
        progress.attempt_begun();
        assert_eq!(progress.sent(), Sent::MayHaveActed, "under way");
        progress.attempt_ended(Sent::Nothing);
        assert_eq!(progress.sent(), Sent::Nothing, "refused");
        progress.attempt_begun();
        progress.attempt_ended(Sent::MayHaveActed);
        progress.attempt_begun();
        progress.attempt_ended(Sent::Nothing);
        assert_eq!(progress.sent(), Sent::MayHaveActed);
        assert_eq!(progress.attempts(), 3);
    }
}
