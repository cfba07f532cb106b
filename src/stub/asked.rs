//! The ledger: what the stub was asked, so that a test can count and an operator can read along.
//!
//! # Invariants
//!
//! - A request is counted as soon as its head was read, whatever a fault does to it afterwards.
//! - The list of requests is a ring; the counts by target go on when it turns over.
//! - Nobody polls: a waiter wakes when a request is noted.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, Method, header};
use tokio::sync::watch;

use super::pattern::PathPattern;
use crate::clock::Timestamp;

/// Targets counted one by one; further ones count towards the total only.
pub const TARGETS_MAX: usize = 16_384;

/// One request as it reached the stub.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Asked {
    /// Number of the request since the start or the last reset, from 1.
    pub number: u64,
    /// When its head had been read, by the stub's clock.
    pub at: Timestamp,
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// The fields, credentials included.
    pub headers: HeaderMap,
    /// Length of the body; 0 until it has been read.
    pub body_bytes: u64,
    /// The fault that was applied, in its text form.
    pub fault: Option<String>,
    /// Status of the answer; `None` while there is none, or if a fault swallowed it.
    pub status: Option<u16>,
}

/// Requests in a ring, counts by target, and a bell for waiters.
#[derive(Debug)]
pub(crate) struct Ledger {
    pages: Mutex<Pages>,
    total: watch::Sender<u64>,
    requests_max: usize,
}

#[derive(Debug, Default)]
struct Pages {
    ring: VecDeque<Asked>,
    by_target: HashMap<String, u64>,
    total: u64,
    /// Requests before the last reset: a late answer to one of them must not be written to another.
    forgotten: u64,
}

/// Names one noted request, also across a reset of the ledger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry(u64);

// --- Asked ---

impl Asked {
    /// Whether the request asked for a change only (RFC 9110 13.1).
    pub fn is_conditional(&self) -> bool {
        self.headers.contains_key(header::IF_NONE_MATCH)
            || self.headers.contains_key(header::IF_MODIFIED_SINCE)
    }
}

// --- Ledger ---

impl Ledger {
    pub(crate) fn new(requests_max: usize) -> Self {
        Self {
            pages: Mutex::default(),
            total: watch::Sender::new(0),
            requests_max: requests_max.max(1),
        }
    }

    /// Counts a request and rings the bell.
    pub(crate) fn note(&self, mut asked: Asked) -> Entry {
        let mut pages = self.pages();
        pages.total += 1;
        asked.number = pages.total;
        pages.count(&asked.target);
        if pages.ring.len() == self.requests_max {
            pages.ring.pop_front();
        }
        pages.ring.push_back(asked);
        let entry = Entry(pages.forgotten + pages.total);
        self.total.send_replace(pages.total);
        entry
    }

    /// Writes down what was learnt after the head; silent if the ring has turned over. Returns the
    /// entry as it stands now.
    pub(crate) fn amend(&self, entry: Entry, change: impl FnOnce(&mut Asked)) -> Option<Asked> {
        let mut pages = self.pages();
        let number = entry.0.checked_sub(pages.forgotten)?;
        let asked = pages
            .ring
            .iter_mut()
            .rev()
            .find(|asked| asked.number == number)?;
        change(asked);
        Some(asked.clone())
    }

    pub(crate) fn requests(&self) -> Vec<Asked> {
        self.pages().ring.iter().cloned().collect()
    }

    pub(crate) fn total(&self) -> u64 {
        self.pages().total
    }

    pub(crate) fn matching(&self, pattern: &PathPattern) -> u64 {
        let pages = self.pages();
        if pattern.is_all() {
            return pages.total;
        }
        let covered = pages
            .by_target
            .iter()
            .filter(|(target, _)| pattern.matches(target));
        covered.map(|(_, count)| count).sum()
    }

    /// Counts by path and query, most asked first.
    pub(crate) fn by_target(&self) -> Vec<(String, u64)> {
        let mut counts: Vec<_> = self.pages().by_target.clone().into_iter().collect();
        counts.sort_by(|(a, count_a), (b, count_b)| count_b.cmp(count_a).then(a.cmp(b)));
        counts
    }

    pub(crate) fn reset(&self) {
        let mut pages = self.pages();
        let forgotten = pages.forgotten + pages.total;
        *pages = Pages {
            forgotten,
            ..Pages::default()
        };
        self.total.send_replace(0);
    }

    /// Returns once `pattern` was asked for `count` times.
    pub(crate) async fn reached(&self, pattern: &PathPattern, count: u64) {
        // Subscribed before the first look, so that a request in between is not missed.
        let mut bell = self.total.subscribe();
        while self.matching(pattern) < count {
            // The sender lives as long as `self`.
            if bell.changed().await.is_err() {
                return;
            }
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// --- Pages ---

impl Pages {
    fn count(&mut self, target: &str) {
        if let Some(count) = self.by_target.get_mut(target) {
            *count += 1;
        } else if self.by_target.len() < TARGETS_MAX {
            self.by_target.insert(target.to_owned(), 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(target: &str) -> Asked {
        Asked {
            number: 0,
            at: Timestamp::EPOCH,
            method: Method::GET,
            target: target.into(),
            headers: HeaderMap::new(),
            body_bytes: 0,
            fault: None,
            status: None,
        }
    }

    fn pattern(text: &str) -> PathPattern {
        text.parse().unwrap()
    }

    #[test]
    fn counts_outlive_the_ring() {
        let ledger = Ledger::new(2);
        for target in ["/a?x=1", "/a?x=2", "/b"] {
            ledger.note(asked(target));
        }
        let numbers: Vec<_> = ledger.requests().iter().map(|asked| asked.number).collect();
        assert_eq!(numbers, [2, 3]);
        assert_eq!(ledger.total(), 3);
        assert_eq!(ledger.matching(&pattern("/a")), 2);
        assert_eq!(ledger.matching(&pattern("/a?x=1")), 1);
        assert_eq!(ledger.matching(&pattern("*")), 3);
    }

    #[test]
    fn answer_after_a_reset_is_not_written_to_another_request() {
        let ledger = Ledger::new(8);
        let before = ledger.note(asked("/slow"));
        ledger.reset();
        ledger.note(asked("/new"));
        assert!(
            ledger
                .amend(before, |asked| asked.status = Some(200))
                .is_none()
        );
        assert_eq!(ledger.requests()[0].status, None);
    }

    #[tokio::test]
    async fn waiter_wakes_when_the_count_is_reached() {
        let ledger = std::sync::Arc::new(Ledger::new(8));
        let waiting = tokio::spawn({
            let ledger = ledger.clone();
            async move { ledger.reached(&pattern("/a"), 2).await }
        });
        ledger.note(asked("/a"));
        ledger.note(asked("/b"));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        ledger.note(asked("/a"));
        waiting.await.unwrap();
    }
}
