//! Labels: what a stored response is known by to purges, and the purge that was the latest when its fetch began.
//!
//! Pure. Written with every record, after its other parts.
//!
//! # Invariants
//!
//! - What is not known of a record makes more purges match it, never fewer.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// What a stored response is known by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Labels {
    /// The number of the latest purge when the fetch that brought it began; later purges can match it.
    pub epoch: u64,
    /// The route that stored it; empty where that is not known.
    pub route: Box<str>,
    /// The client's host in lower case and without its port, where the key has it. `None`: it answers for every host.
    pub host: Option<Box<str>>,
    /// Its tags, sorted, each once.
    pub tags: Box<[Box<str>]>,
    /// Its groups (RFC 9875 2), sorted, each once.
    pub groups: Box<[Box<str>]>,
    /// Not all its tags and groups are known: every purge of a tag or a group matches it.
    pub overflow: bool,
    /// Not written: the copy on disk starts anew.
    #[serde(skip)]
    pub(in crate::cache) checked: Checked,
}

/// The number of a purge up to which a response in memory is known to be matched by none.
#[derive(Debug, Default)]
pub(in crate::cache) struct Checked(AtomicU64);

impl Labels {
    /// Those of a record that has none.
    pub(in crate::cache) fn unknown() -> Self {
        Self {
            overflow: true,
            ..Self::default()
        }
    }

    /// Bytes they take in memory, roughly.
    pub(in crate::cache) fn weight(&self) -> usize {
        let text = |texts: &[Box<str>]| -> usize { texts.iter().map(|text| text.len() + 16).sum() };
        text(&self.tags)
            + text(&self.groups)
            + self.route.len()
            + self.host.as_deref().map_or(0, str::len)
    }
}

impl Checked {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn raise(&self, number: u64) {
        self.0.fetch_max(number, Ordering::Relaxed);
    }
}

/// A copy has its labels changed before anybody asks for it.
impl Clone for Checked {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// What was looked at does not make two records differ.
impl PartialEq for Checked {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}
