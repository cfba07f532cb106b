//! Repeat: leave to send a request once more where it was lost on a kept connection.
//!
//! `retry -> [leave] -> client`
//!
//! A vendor may close a connection that it kept open just as we write to it (RFC 9112 9.3.1, 9.5). That says nothing about its
//! health, so it is no failed attempt: no backoff, allowed where `retries_max` is 0, nothing that a breaker should hear. But it is
//! a further request, and one that the vendor may have acted on: leave is given for idempotent requests only, once per fetch (RFC
//! 9112 9.3.1: a repetition is not repeated), and out of the budget of retries, so that a vendor that hangs up on every second
//! request cannot double what it is sent. Counted as an attempt and as a retry; where it fails too, as one of `retries_max`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{Priority, Progress, Quota, RetryBudget, UpstreamStats};

/// Leave to repeat. A request extension, on requests that may be repeated; clones are the same leave.
#[derive(Clone, Debug)]
pub struct Repeat {
    inner: Arc<Inner>,
    /// What it is taken out of besides the budget: whatever is sent counts.
    quota: Option<(Quota, Priority)>,
}

#[derive(Debug)]
struct Inner {
    taken: AtomicBool,
    went: AtomicBool,
    budget: RetryBudget,
    stats: Arc<UpstreamStats>,
    progress: Option<Progress>,
}

impl Repeat {
    pub(crate) fn new(
        budget: RetryBudget,
        stats: Arc<UpstreamStats>,
        progress: Option<Progress>,
    ) -> Self {
        let inner = Arc::new(Inner {
            taken: AtomicBool::new(false),
            went: AtomicBool::new(false),
            budget,
            stats,
            progress,
        });
        Self { inner, quota: None }
    }

    /// Lets the repetition count for this quota.
    pub(crate) fn counts_for(&mut self, quota: Quota, priority: Priority) {
        self.quota = Some((quota, priority));
    }

    /// Whether the request went once more.
    pub(crate) fn is_used(&self) -> bool {
        self.inner.went.load(Ordering::Acquire)
    }

    /// Whether the request may go once more; if so, that is counted.
    pub fn take(&self) -> bool {
        let Inner {
            taken,
            went,
            budget,
            stats,
            progress,
        } = &*self.inner;
        if taken.swap(true, Ordering::AcqRel) {
            return false;
        }
        if !budget.withdraw() {
            stats.retry_denied();
            return false;
        }
        let quota = self.quota.as_ref();
        if quota.is_some_and(|(quota, priority)| quota.try_take(*priority).is_err()) {
            return false;
        }
        went.store(true, Ordering::Release);
        stats.retried();
        stats.attempted();
        if let Some(progress) = progress {
            progress.repeated();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::{config::RetryConfig, failure::Sent, upstream::client_config};

    fn repeat(per_second: u32, stats: &Arc<UpstreamStats>, progress: &Progress) -> Repeat {
        let config = RetryConfig {
            budget_min_per_second: per_second,
            ..client_config(&["http://v"]).retry
        };
        let budget = RetryBudget::new(&config);
        Repeat::new(budget, Arc::clone(stats), Some(progress.clone()))
    }

    #[tokio::test]
    async fn leave_is_taken_once_out_of_the_budget_and_counted() {
        let (stats, progress) = (Arc::default(), Progress::new(Instant::now()));
        let leave = repeat(1, &stats, &progress);
        let again = leave.clone();
        assert!(leave.take());
        assert!(!again.take(), "the same leave");
        let counts = stats.snapshot();
        assert_eq!((counts.attempts, counts.retries), (1, 1));
        assert_eq!(
            (progress.attempts(), progress.sent()),
            (1, Sent::MayHaveActed)
        );
        assert!(leave.is_used());
        let denied = repeat(0, &stats, &progress);
        assert!(!denied.take(), "nothing in the budget");
        assert!(!denied.is_used());
        assert_eq!(stats.snapshot().retries_denied, 1);
    }
}
