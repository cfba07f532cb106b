//! Wall-clock time as a value: what ages, expiries and stored records are counted in.
//!
//! Pure cores take a [`Timestamp`] as an argument; only shells own a [`Clock`]. Stored records outlive the process, so
//! these are wall-clock times; waiting inside one process uses tokio's monotonic clock instead.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// Milliseconds since the Unix epoch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The epoch: before everything that was ever stored.
    pub const EPOCH: Self = Self(0);
    /// Later than everything: "never".
    pub const NEVER: Self = Self(u64::MAX);

    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// From whole seconds since the Unix epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to here; zero if `earlier` is later (a clock that was set back makes nothing negative).
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This time moved on by `duration`; saturates at [`Timestamp::NEVER`].
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        )
    }

    /// This time moved back by `duration`; saturates at the epoch.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::EPOCH.after(since_epoch)
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        // A time no platform can represent is as good as the epoch for the only use of this: writing a date.
        UNIX_EPOCH
            .checked_add(Duration::from_millis(time.0))
            .unwrap_or(UNIX_EPOCH)
    }
}

/// Where shells read the time. Tests hold a manual one, a simulation that of its runtime.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's wall clock.
    #[default]
    System,
    /// Stands still until it is moved. Clones share the time.
    Manual(Arc<AtomicU64>),
    /// Moves with the clock of the tokio runtime, which a simulation pauses: this time, since then.
    Runtime(Timestamp, Instant),
}

impl Clock {
    /// A clock that stands at `now` until [`Clock::advance`] moves it.
    pub fn manual(now: Timestamp) -> Self {
        Self::Manual(Arc::new(AtomicU64::new(now.as_millis())))
    }

    /// A clock that shows `now` and from then on moves with the runtime's, whose waits it agrees with.
    pub fn of_runtime(now: Timestamp) -> Self {
        Self::Runtime(now, Instant::now())
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => SystemTime::now().into(),
            Self::Manual(millis) => Timestamp::from_millis(millis.load(Ordering::Acquire)),
            Self::Runtime(start, since) => start.after(since.elapsed()),
        }
    }

    /// Sets a manual clock, back as well as on: what happens to the system's when somebody corrects it.
    pub fn set(&self, to: Timestamp) {
        if let Self::Manual(millis) = self {
            millis.store(to.as_millis(), Ordering::Release);
        }
    }

    /// Moves a manual clock on; the system's clock is not ours to move.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(millis) = self {
            let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
            millis.fetch_add(by, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_yields_zero_not_a_negative_age() {
        let (earlier, later) = (Timestamp::from_secs(10), Timestamp::from_secs(20));
        assert_eq!(earlier.since(later), Duration::ZERO);
        assert_eq!(later.since(earlier), Duration::from_secs(10));
        assert_eq!(Timestamp::NEVER.after(Duration::MAX), Timestamp::NEVER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_of_the_runtime_moves_with_its_waits() {
        let clock = Clock::of_runtime(Timestamp::from_secs(10));
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(clock.now(), Timestamp::from_millis(11_500));
    }
}
