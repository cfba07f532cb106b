//! The vendor: the state that all connections, the control API and the handle share.
//!
//! # Invariant
//!
//! - Whether the gate is open follows the fault table under the table's lock: a `mend` that returned
//!   cannot be undone by a schedule that looked before.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::asked::{Asked, Entry, Ledger};
use super::breaks::Break;
use super::fault::Fault;
use super::gate::Gate;
use super::pattern::PathPattern;
use super::print::Printer;
use super::sets::Shop;
use super::table::{FaultTable, fault_at};
use crate::clock::Clock;

/// How long after a failed attempt the port is tried again.
const REOPEN_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Vendor {
    pub(crate) shop: Shop,
    pub(crate) ledger: Ledger,
    pub(crate) gate: Gate,
    pub(crate) clock: Clock,
    pub(crate) seed: u64,
    pub(crate) change_every: Duration,
    pub(crate) body_bytes_max: usize,
    pub(crate) connections_max: usize,
    pub(crate) printer: Option<Printer>,
    pub(crate) faults: Mutex<FaultTable>,
    pub(crate) chance: Mutex<StdRng>,
    pub(crate) started: Instant,
    /// Rings when the table has changed; only [`Vendor::keep_schedule`] waits for it.
    pub(crate) changed: Notify,
    /// Counts how often the gate was closed: connections without a request end themselves then.
    pub(crate) refusals: watch::Sender<u64>,
    pub(crate) open: AtomicUsize,
}

/// One open connection, counted while this lives.
pub(crate) struct OpenConnection(Arc<Vendor>);

// --- Vendor ---

impl Vendor {
    pub(crate) fn break_now(&self, broken: Break) {
        let now = self.started.elapsed();
        self.change(|table| table.switch(broken, now));
    }

    pub(crate) fn mend(&self, path: &PathPattern) -> usize {
        self.change(|table| table.mend(path))
    }

    pub(crate) fn mend_all(&self) -> usize {
        self.change(FaultTable::mend_all)
    }

    /// The fault for a request that arrives now.
    pub(crate) fn fault_for(&self, target: &str) -> Option<Fault> {
        let table = self.table();
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        fault_at(&table, target, self.started.elapsed(), &mut *chance)
    }

    pub(crate) fn is_refusing(&self) -> bool {
        self.table().is_refusing(self.started.elapsed())
    }

    /// Each break in its text form, whether it is active, whether it was scheduled.
    pub(crate) fn breaks(&self) -> Vec<(Break, bool, bool)> {
        let now = self.started.elapsed();
        let table = self.table();
        let rules = table.rules(now);
        rules
            .map(|(rule, active)| (rule.broken.clone(), active, rule.is_scheduled()))
            .collect()
    }

    /// Opens and closes the gate as the schedule has it, until `stop`.
    pub(crate) async fn keep_schedule(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            let next = match self.follow(&self.table()) {
                Ok(edge) => edge,
                Err(_) => Some(self.started.elapsed() + REOPEN_EVERY),
            };
            let next_edge = async {
                match next.and_then(|edge| self.started.checked_add(edge)) {
                    Some(edge) => tokio::time::sleep_until(edge).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.changed.notified() => {}
                () = next_edge => {}
            }
        }
    }

    pub(crate) fn connected(self: &Arc<Self>) -> OpenConnection {
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(self))
    }

    /// Amends a request in the ledger and prints it as it stands then.
    pub(crate) fn print(&self, entry: Entry, status: Option<u16>) {
        let asked = self.ledger.amend(entry, |asked| asked.status = status);
        self.print_asked(asked.as_ref());
    }

    fn print_asked(&self, asked: Option<&Asked>) {
        if let (Some(printer), Some(asked)) = (&self.printer, asked) {
            printer.print(asked);
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut FaultTable) -> T) -> T {
        let mut table = self.table();
        let changed = change(&mut table);
        // Acted upon here, not in the schedule's task: whoever broke the vendor finds it broken at
        // once. A port that cannot be opened now is tried again by that task.
        let _ = self.follow(&table);
        drop(table);
        self.changed.notify_one();
        changed
    }

    /// Makes the gate follow the table; says when that may next change.
    fn follow(&self, table: &FaultTable) -> io::Result<Option<Duration>> {
        let now = self.started.elapsed();
        if !table.is_refusing(now) {
            self.gate.admit()?;
        } else if self.gate.refuse() {
            self.refusals.send_modify(|count| *count += 1);
        }
        Ok(table.next_edge(now))
    }

    fn table(&self) -> MutexGuard<'_, FaultTable> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
