//! Purging: stored responses are declared stale or void by what they are known by, whatever their lifetime says.
//!
//! A purge costs one row of a table and one line of a log, however much is stored and however much it matches: each
//! stored response carries its labels and its epoch, the number of the latest purge when its fetch began, and is held
//! against the purges after that when it is looked up. So a purge also meets what was being fetched when it came, what
//! lies on disk only, and what a damaged index hands back; and no clock is compared with another.
//!
//! `what`: the words. `labels`, `tags`: what a response is known by. `table`: which purges match it. `log`: over restarts.
//!
//! # Invariants
//!
//! - A response whose fetch began before a purge that describes it is never answered as if there had been none.
//! - What was purged hard is never answered again, not in an outage nor after a restart.
//! - A hit costs one atomic load and a comparison where nothing was purged since it was last looked up.

mod labels;
mod log;
mod table;
mod tags;
mod what;

use std::{
    borrow::Cow,
    io,
    path::Path,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::oneshot;

pub(super) use self::tags::{groups_invalidated, groups_of, labels_of_head, tags_of_body};
pub use self::{
    labels::Labels,
    log::Undurable,
    tags::host_label,
    what::{Mode, Number, Purge, What},
};
use self::{
    log::{Batch, INSTEAD_OF_LOST, PurgeLog},
    table::{PurgeTable, Subject},
};
use super::{
    entry::StoredResponse,
    freshness::{State, Verdict},
};
use crate::{
    clock::Clock,
    config::Policy,
    http::uri::normalize_query,
    observe::{Alert, Alerts},
};

/// Longest tag and longest name of a group, in bytes. Names of things, not documents; RFC 9875 2 asks for 32 characters.
pub const LABEL_BYTES_MAX: usize = 256;

/// The log's name in the store's folder.
const LOG: &str = "purges.log";

/// All purges of a proxy.
#[derive(Debug)]
pub struct Purges {
    remembered: Arc<Remembered>,
    /// `None`: in memory only, as is what it purges.
    log: Option<PurgeLog>,
    clock: Clock,
}

/// What the table's users and the log's thread share.
#[derive(Debug)]
struct Remembered {
    table: RwLock<PurgeTable>,
    latest: AtomicU64,
    counters: Counters,
    alerts: Alerts,
}

#[derive(Debug, Default)]
struct Counters {
    issued: [[AtomicU64; Mode::ALL.len()]; What::KINDS.len()],
    met: [AtomicU64; Mode::ALL.len()],
    undurable: AtomicU64,
}

/// Numbers for metrics.
#[derive(Clone, Debug)]
pub struct PurgeStats {
    /// Purges issued since the start, by kind and mode.
    pub issued: Vec<(&'static str, Mode, u64)>,
    /// Times a stored response was looked up and found purged, by the strictest mode.
    pub met: [(Mode, u64); Mode::ALL.len()],
    /// Things remembered as purged.
    pub remembered: usize,
    /// Batches of purges that could not be made durable.
    pub undurable: u64,
}

/// Purges that are in force already.
#[must_use = "they may not be durable yet"]
pub struct Issued {
    /// With their numbers, in the order they were asked for.
    pub purges: Vec<Purge>,
    durable: Option<oneshot::Receiver<Result<(), Undurable>>>,
}

// --- Purges ---

impl Purges {
    /// Remembers in memory only.
    pub fn in_memory(purges_max: usize, clock: Clock) -> Self {
        Self {
            remembered: Arc::new(Remembered::new(purges_max, Alerts::default())),
            log: None,
            clock,
        }
    }

    /// Reads the log in the store's `folder` and goes on with it. Blocks for as long as the file takes to read. What
    /// cannot be read is not an error: everything stored so far is asked about before it is used, and an alert raised.
    ///
    /// # Errors
    ///
    /// Where the log's thread cannot be started.
    pub fn open(
        folder: &Path,
        purges_max: usize,
        clock: Clock,
        alerts: Alerts,
    ) -> io::Result<Self> {
        let path = folder.join(LOG);
        let remembered = Arc::new(Remembered::new(purges_max, alerts));
        let read = log::read(&path);
        let lost = match &read {
            Ok(read) => (read.damaged > 0).then(|| format!("{} lines are damaged", read.damaged)),
            Err(error) => Some(error.to_string()),
        };
        let read = read.unwrap_or_default();
        for purge in &read.purges {
            remembered.insert(purge.clone());
        }
        let log = PurgeLog::start(path.clone(), &read, Arc::clone(&remembered))?;
        let purges = Self {
            remembered,
            log: Some(log),
            clock,
        };
        if let Some(lost) = lost {
            // Not waited for: it is in force, and the log says so soon.
            let _written = purges.issue(vec![(What::All, INSTEAD_OF_LOST)]);
            purges.remembered.alerts.raise(Alert {
                kind: "purge_log_damaged",
                subject: path.display().to_string(),
                message: format!(
                    "the log of purges cannot be read whole ({lost}), so everything stored so far is asked about before \
                     it is used; purge again what must not be used at all"
                ),
                owner: None,
                runbook: None,
            });
        }
        Ok(purges)
    }

    /// The epoch of a fetch that begins now.
    pub fn latest(&self) -> Number {
        self.remembered.latest.load(Ordering::Acquire)
    }

    /// Purges: in force when it returns. Never blocks.
    pub fn issue(&self, purges: Vec<(What, Mode)>) -> Issued {
        let now_micros = self.clock.now().as_millis().saturating_mul(1000);
        let purges = self.remembered.issue(purges, now_micros);
        let durable = self.log.as_ref().map(|log| {
            let (durable, told) = oneshot::channel();
            log.write(Batch {
                purges: purges.clone(),
                durable,
            });
            told
        });
        Issued { purges, durable }
    }

    /// The strictest purge that matches a stored response of this upstream. The hot path: nothing is looked up where
    /// nothing was purged since the last time.
    pub(super) fn mode_of(&self, stored: &StoredResponse, upstream: &str) -> Option<Mode> {
        self.mode(&stored.labels, upstream, &stored.url)
    }

    /// The same by its parts.
    pub(super) fn mode(&self, labels: &Labels, upstream: &str, url: &str) -> Option<Mode> {
        let latest = self.latest();
        let seen = labels.epoch.max(labels.checked.get());
        if seen == latest {
            return None;
        }
        let subject = Subject {
            labels,
            upstream,
            url: &one_spelling(url),
        };
        let mode = self.remembered.verdict(&subject);
        match mode {
            // What was purged while the table was asked is later than `latest`.
            None => labels.checked.raise(latest),
            Some(mode) => {
                self.remembered.counters.met[mode.index()].fetch_add(1, Ordering::Relaxed);
            }
        }
        mode
    }

    /// The latest purges, newest first.
    pub fn recent(&self, limit: usize) -> Vec<Purge> {
        let mut purges = self.remembered.purges();
        purges.sort_unstable_by_key(|purge| std::cmp::Reverse(purge.number));
        purges.truncate(limit);
        purges
    }

    /// Numbers for metrics.
    pub fn stats(&self) -> PurgeStats {
        let counters = &self.remembered.counters;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut issued = Vec::new();
        for (kind, modes) in What::KINDS.iter().zip(&counters.issued) {
            for (mode, counter) in Mode::ALL.iter().zip(modes) {
                issued.push((*kind, *mode, count(counter)));
            }
        }
        PurgeStats {
            issued,
            met: Mode::ALL.map(|mode| (mode, count(&counters.met[mode.index()]))),
            remembered: self.remembered.rows(),
            undurable: count(&counters.undurable),
        }
    }

    /// Writes what waits and ends the log's thread.
    pub async fn close(&self, within: Duration) {
        if let Some(log) = &self.log {
            log.close(within).await;
        }
    }
}

impl Issued {
    /// Waits until they survive a restart. In memory only, there is nothing to wait for.
    ///
    /// # Errors
    ///
    /// They are in force, but a restart may forget them.
    pub async fn durable(self, within: Duration) -> Result<Vec<Purge>, Undurable> {
        let Some(told) = self.durable else {
            return Ok(self.purges);
        };
        match tokio::time::timeout(within, told).await {
            Ok(Ok(Ok(()))) => Ok(self.purges),
            Ok(Ok(Err(why))) => Err(why),
            Ok(Err(_gone)) => Err(Undurable::Closed),
            Err(_) => Err(Undurable::Late(within)),
        }
    }
}

// --- Remembered ---

impl Remembered {
    fn new(purges_max: usize, alerts: Alerts) -> Self {
        Self {
            table: RwLock::new(PurgeTable::new(purges_max)),
            latest: AtomicU64::new(0),
            counters: Counters::default(),
            alerts,
        }
    }

    fn issue(&self, purges: Vec<(What, Mode)>, now_micros: u64) -> Vec<Purge> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let mut issued = Vec::with_capacity(purges.len());
        for (what, mode) in purges {
            self.counters.issued[what.kind_index()][mode.index()].fetch_add(1, Ordering::Relaxed);
            let number = table.next_number(now_micros);
            let purge = Purge { number, mode, what };
            say_folded(table.insert(purge.clone()));
            issued.push(purge);
        }
        // After the table: who sees the number sees the row.
        self.latest.store(table.latest(), Ordering::Release);
        issued
    }

    fn insert(&self, purge: Purge) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        say_folded(table.insert(purge));
        self.latest.store(table.latest(), Ordering::Release);
    }

    fn verdict(&self, subject: &Subject<'_>) -> Option<Mode> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        if subject.labels.epoch > table.latest() {
            drop(table);
            self.raise(subject.labels.epoch);
            return None;
        }
        table.verdict(subject)
    }

    /// A response knows a purge that the log does not: the log was lost. Numbers go on from there.
    fn raise(&self, number: Number) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.raise(number);
        self.latest.store(table.latest(), Ordering::Release);
    }

    fn rows(&self) -> usize {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.rows()
    }

    fn purges(&self) -> Vec<Purge> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.purges().collect()
    }

    fn could_not_write(&self, path: &Path, error: &io::Error) {
        self.counters.undurable.fetch_add(1, Ordering::Relaxed);
        self.alerts.raise(Alert {
            kind: "purge_log_failed",
            subject: path.display().to_string(),
            message: format!(
                "purges cannot be written ({error}): they are in force, but a restart forgets them; with the next one all \
                 are written again"
            ),
            owner: None,
            runbook: None,
        });
    }
}

/// Path and query as the key compares them: where the whole query counts it is stored as the first client spelled it.
pub(super) fn one_spelling(target: &str) -> Cow<'_, str> {
    let Some((path, query)) = target.split_once('?') else {
        return Cow::Borrowed(target);
    };
    match normalize_query(query) {
        Cow::Borrowed(_) => Cow::Borrowed(target),
        Cow::Owned(query) => Cow::Owned(format!("{path}?{query}")),
    }
}

fn say_folded(folded: usize) {
    if folded > 0 {
        tracing::warn!(
            folded,
            "more purges than store.purges_max: the oldest are now one purge of everything stored before them"
        );
    }
}

// --- What a purge makes of a judgement ---

/// The judgement on a stored response that was purged: its lifetime has ended. One that was purged hard is good for
/// nothing; there is no response any more, so nobody should ask.
pub(super) fn purged(verdict: &Verdict, mode: Mode, policy: &Policy) -> Verdict {
    let stale_allowed = match mode {
        Mode::Soft => verdict.stale_allowed,
        // RFC 9111 4.4: not without validation. A policy that overrides the origin is above that, in an outage.
        Mode::Invalid => verdict.stale_allowed && policy.override_origin,
        Mode::Hard => false,
    };
    let at_least = match mode {
        Mode::Soft if stale_allowed => State::StaleWhileRevalidate,
        Mode::Soft | Mode::Invalid => State::Stale,
        Mode::Hard => State::Gone,
    };
    let just_ended = verdict.age.saturating_sub(Duration::from_millis(1));
    Verdict {
        state: verdict.state.max(at_least),
        lifetime: verdict.lifetime.min(just_ended),
        stale_allowed,
        ..*verdict
    }
}

#[cfg(test)]
mod tests;
