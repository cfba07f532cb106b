//! Waiting with a bound, and knowing what a busy machine adds to every wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

/// Longest wait for a condition.
const CONDITION: Duration = Duration::from_secs(15);

/// Between two looks at a condition that cannot ring a bell.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Beat of the lag meter.
const BEAT: Duration = Duration::from_millis(5);

/// The future's outcome, or a panic that says what did not happen.
pub async fn within<T>(bound: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(bound, future).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("waited {bound:?} in vain: {what}"),
    }
}

/// Looks again and again until the condition holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    within(CONDITION, what, async {
        while !holds() {
            // The pace of looking; the bound is around it.
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
    .await;
}

/// How late this machine wakes a timer at worst: what a bound on an answer has to forgive.
pub struct LagMeter {
    worst_micros: Arc<AtomicU64>,
    beating: JoinHandle<()>,
}

impl LagMeter {
    /// Measures until it is dropped.
    pub fn start() -> Self {
        let worst_micros = Arc::new(AtomicU64::new(0));
        let worst = Arc::clone(&worst_micros);
        let beating = tokio::spawn(async move {
            loop {
                let started = Instant::now();
                // How late it ends is what is measured.
                tokio::time::sleep(BEAT).await;
                let late = started.elapsed().saturating_sub(BEAT);
                worst.fetch_max(late.as_micros() as u64, Ordering::Relaxed);
            }
        });
        Self {
            worst_micros,
            beating,
        }
    }

    /// The worst so far.
    pub fn worst(&self) -> Duration {
        Duration::from_micros(self.worst_micros.load(Ordering::Relaxed))
    }
}

impl Drop for LagMeter {
    fn drop(&mut self) {
        self.beating.abort();
    }
}
