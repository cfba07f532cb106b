//! Counters of one upstream: written by its layers, read when metrics are scraped.
//!
//! Plain atomics: an increment is all a request pays.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{
    clock::{Clock, Timestamp},
    failure::Cause,
};

/// The words of [`Cause::as_str`], one counter each.
const CAUSES: [&str; 22] = [
    "dns",
    "connect_refused",
    "connect_timeout",
    "tls",
    "connection_terminated",
    "response_timeout",
    "body_timeout",
    "response_incomplete",
    "protocol",
    "status",
    "graphql_errors",
    "contract",
    "deadline",
    "breaker_open",
    "bulkhead_full",
    "quota_exhausted",
    "drill",
    "overloaded",
    "request_body",
    "request_timeout",
    "request_too_large",
    "internal",
];

/// Counts since start.
#[derive(Debug, Default)]
pub struct UpstreamStats {
    attempts: AtomicU64,
    retries: AtomicU64,
    retries_denied: AtomicU64,
    hedges: AtomicU64,
    hedges_won: AtomicU64,
    hedges_denied: AtomicU64,
    failures: [AtomicU64; CAUSES.len()],
    /// Time and cause in one word, so that they always belong together; 0 for none. See [`LastFailure::packed`].
    last_failure: AtomicU64,
    clock: Clock,
}

/// The latest failure that the upstream itself showed: what was refused here meanwhile does not hide it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastFailure {
    /// When it was seen.
    pub at: Timestamp,
    /// The word of its cause.
    pub cause: &'static str,
}

/// [`UpstreamStats`] at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsSnapshot {
    /// Attempts begun, retries included.
    pub attempts: u64,
    /// Attempts after a first one.
    pub retries: u64,
    /// Retries that the budget did not allow.
    pub retries_denied: u64,
    /// Second requests sent because a first one took long.
    pub hedges: u64,
    /// Those that answered first.
    pub hedges_won: u64,
    /// Those that the budget, the breaker or the bulkhead did not allow.
    pub hedges_denied: u64,
    /// Failures by the word of their cause, in a fixed order; those refused here included.
    pub failures: [(&'static str, u64); CAUSES.len()],
    /// The latest of them that the upstream itself showed.
    pub last_failure: Option<LastFailure>,
}

// --- LastFailure ---

/// Bits of a packed word that hold the cause; milliseconds in the others last until long after the year 9999.
const CAUSE_BITS: u32 = 8;

impl LastFailure {
    /// The cause by its place in [`CAUSES`] counted from one, so that no failure is 0.
    fn packed(at: Timestamp, cause: usize) -> u64 {
        (at.as_millis() << CAUSE_BITS) | (cause as u64 + 1)
    }

    fn unpacked(word: u64) -> Option<Self> {
        let cause = (word & ((1 << CAUSE_BITS) - 1)).checked_sub(1)?;
        Some(Self {
            at: Timestamp::from_millis(word >> CAUSE_BITS),
            cause: CAUSES.get(cause as usize)?,
        })
    }
}

// --- UpstreamStats ---

impl UpstreamStats {
    /// All zero; `clock` dates failures.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            ..Self::default()
        }
    }

    pub(crate) fn attempted(&self) {
        self.attempts.fetch_add(1, Relaxed);
    }

    pub(crate) fn retried(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub(crate) fn retry_denied(&self) {
        self.retries_denied.fetch_add(1, Relaxed);
    }

    pub(crate) fn hedged(&self) {
        self.hedges.fetch_add(1, Relaxed);
    }

    pub(crate) fn hedge_won(&self) {
        self.hedges_won.fetch_add(1, Relaxed);
    }

    pub(crate) fn hedge_denied(&self) {
        self.hedges_denied.fetch_add(1, Relaxed);
    }

    pub(crate) fn failed(&self, cause: Cause) {
        let Some(index) = CAUSES.iter().position(|word| *word == cause.as_str()) else {
            return;
        };
        self.failures[index].fetch_add(1, Relaxed);
        if cause.is_upstream() {
            let last = LastFailure::packed(self.clock.now(), index);
            self.last_failure.store(last, Relaxed);
        }
    }

    /// The counts now.
    pub fn snapshot(&self) -> StatsSnapshot {
        StatsSnapshot {
            attempts: self.attempts.load(Relaxed),
            retries: self.retries.load(Relaxed),
            retries_denied: self.retries_denied.load(Relaxed),
            hedges: self.hedges.load(Relaxed),
            hedges_won: self.hedges_won.load(Relaxed),
            hedges_denied: self.hedges_denied.load(Relaxed),
            failures: std::array::from_fn(|index| {
                (CAUSES[index], self.failures[index].load(Relaxed))
            }),
            last_failure: LastFailure::unpacked(self.last_failure.load(Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;

    use super::*;

    #[test]
    fn every_cause_has_its_counter() {
        let causes = [
            Cause::Dns,
            Cause::ConnectRefused,
            Cause::ConnectTimeout,
            Cause::Tls,
            Cause::ConnectionTerminated,
            Cause::ResponseTimeout,
            Cause::BodyTimeout,
            Cause::ResponseIncomplete,
            Cause::Protocol,
            Cause::Status(StatusCode::BAD_GATEWAY),
            Cause::Deadline,
            Cause::BreakerOpen,
            Cause::BulkheadFull,
            Cause::QuotaExhausted,
            Cause::Drill,
            Cause::Overloaded,
            Cause::RequestBody,
            Cause::RequestTimeout,
            Cause::RequestTooLarge,
            Cause::GraphqlErrors,
            Cause::Contract(StatusCode::OK),
            Cause::Internal,
        ];
        let stats = UpstreamStats::default();
        for cause in causes {
            stats.failed(cause);
        }
        for (word, count) in stats.snapshot().failures {
            assert_eq!(count, 1, "{word}");
        }
    }

    #[test]
    fn the_last_failure_is_the_upstreams_own_and_dated() {
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let stats = UpstreamStats::new(clock.clone());
        assert_eq!(stats.snapshot().last_failure, None);
        stats.failed(Cause::Dns);
        clock.advance(Duration::from_millis(1_234));
        stats.failed(Cause::Deadline);
        let want = Some(LastFailure {
            at: clock.now(),
            cause: "deadline",
        });
        clock.advance(Duration::from_secs(9));
        stats.failed(Cause::BreakerOpen);
        assert_eq!(stats.snapshot().last_failure, want);
    }
}
