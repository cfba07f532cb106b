//! Trial: what the probes of a half-open breaker found out, and when the next one may go.
//!
//! Pure. Until a first probe is good, probes are a rest apart: an upstream that is still sick sees one request per rest,
//! while one that hangs does not block the next probe until it is given up. After a first good one they may go together.

use std::time::Duration;

use tokio::time::Instant;

use crate::{config::BreakerConfig, resilience::moved_on};

/// The results of one half-open phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    /// No probe before this.
    not_before: Instant,
    /// When the latest probe went.
    pub(super) last_probe_at: Instant,
    pub(super) good: u32,
    pub(super) bad: u32,
}

/// What the results so far come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Undecided,
    Recovered,
    Sick,
}

impl Trial {
    /// The first probe may go now.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            not_before: now,
            last_probe_at: now,
            good: 0,
            bad: 0,
        }
    }

    /// Whether the next probe may go, as far as time decides.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.not_before
    }

    /// A first good probe was there: what went before it is older news than that.
    pub(super) fn is_proven(&self) -> bool {
        self.good > 0
    }

    pub(super) fn results(&self) -> u32 {
        self.good.saturating_add(self.bad)
    }

    /// A probe goes; without proof the next one is `spacing` away.
    pub(super) fn probe(&mut self, spacing: Duration, now: Instant) {
        self.last_probe_at = now;
        if !self.is_proven() {
            self.not_before = moved_on(now, spacing);
        }
    }

    /// A probe never reached the upstream: another may go in its place.
    pub(super) fn not_asked(&mut self, now: Instant) {
        self.not_before = self.not_before.min(now);
    }

    pub(super) fn succeeded(&mut self, now: Instant) {
        self.good = self.good.saturating_add(1);
        self.not_before = self.not_before.min(now);
    }

    pub(super) fn failed(&mut self) {
        self.bad = self.bad.saturating_add(1);
    }

    /// What counted as good turned out not to be.
    pub(super) fn revoke(&mut self) {
        if self.good > 0 {
            self.good -= 1;
            self.failed();
        }
    }

    /// Sick as soon as the share cannot be reached any more, recovered as soon as all results are in and it is.
    pub(super) fn verdict(&self, config: &BreakerConfig) -> Verdict {
        let of = config.probe_calls.max(1);
        let percent = u64::from(config.probe_success_percent.clamp(1, 100));
        // Rounded up: half of three is two.
        let needed = (u64::from(of) * percent).div_ceil(100) as u32;
        if self.bad > of - needed {
            Verdict::Sick
        } else if self.results() >= of && self.good >= needed {
            Verdict::Recovered
        } else {
            Verdict::Undecided
        }
    }
}
