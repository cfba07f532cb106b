//! What a breaker can be, what it changes to, and why: the words for it in logs, metrics, alerts and the admin API.

use std::{fmt, time::Duration};

/// The name of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Calls pass.
    Closed,
    /// Calls are refused until its rest is over.
    Open,
    /// Probes pass.
    HalfOpen,
    /// Calls are refused until somebody says otherwise.
    Isolated,
}

impl Phase {
    /// All of them; [`Phase::index`] is the place in here.
    pub const ALL: [Self; 4] = [Self::Closed, Self::HalfOpen, Self::Open, Self::Isolated];

    /// The word for it in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Isolated => "isolated",
        }
    }

    /// The number that stands for it in the metrics: 0 closed, 1 half-open, 2 open, 3 isolated.
    pub const fn index(self) -> usize {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
            Self::Isolated => 3,
        }
    }
}

/// Why a breaker is in its phase. Its `Display` is for people: a fragment with the numbers that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// As it was made.
    Start,
    /// `failure_percent` of the calls in the window failed.
    FailureRate {
        /// So many of them.
        failed: u32,
        /// Calls in the window.
        calls: u32,
        /// Its length.
        window: Duration,
    },
    /// `slow_percent` of the calls in the window were slow.
    SlowRate {
        /// So many of them.
        slow: u32,
        /// Calls in the window.
        calls: u32,
        /// Its length.
        window: Duration,
    },
    /// `consecutive_failures` in a row.
    Run {
        /// So many.
        failures: u32,
    },
    /// Too many probes failed or were slow.
    Probes {
        /// So many of them.
        bad: u32,
        /// Results that were in.
        results: u32,
    },
    /// The rest was over, and somebody asked.
    RestOver,
    /// Enough probes were good.
    Recovered {
        /// So many of them.
        good: u32,
        /// Results that were in.
        results: u32,
    },
    /// Somebody said so.
    Manual,
}

impl Reason {
    /// Whether somebody said so.
    pub const fn is_manual(self) -> bool {
        matches!(self, Self::Manual)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Start => f.write_str("as it started"),
            Self::FailureRate {
                failed,
                calls,
                window,
            } => write!(f, "{failed} of {calls} calls failed in {window:?}"),
            Self::SlowRate {
                slow,
                calls,
                window,
            } => write!(f, "{slow} of {calls} calls were slow in {window:?}"),
            Self::Run { failures } => write!(f, "{failures} calls in a row failed"),
            Self::Probes { bad, results } => {
                write!(f, "{bad} of {results} probes failed or were slow")
            }
            Self::RestOver => f.write_str("its rest is over"),
            Self::Recovered { good, results } => {
                write!(f, "{good} of {results} probes succeeded")
            }
            Self::Manual => f.write_str("by hand"),
        }
    }
}

/// A change of phase, as told to whoever alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerChange {
    /// Nothing is asked for `rest`.
    Opened {
        /// Why.
        reason: Reason,
        /// For how long; zero where a probe hung for longer than that.
        rest: Duration,
    },
    /// The rest is over: probes are let through.
    HalfOpened,
    /// Asked as usual.
    Closed {
        /// Why.
        reason: Reason,
    },
    /// Nothing is asked until somebody says otherwise.
    Isolated,
}

/// What somebody wants of a breaker, whatever calls say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// As if it had tripped: probes find out whether it may close.
    Open,
    /// Asked as usual from now on, with all counters at zero.
    Close,
    /// Not asked until it is closed or opened by hand.
    Isolate,
}
