//! Labels: what a stored response is known by to purges, and the purge that was the latest when its fetch began.
//!
//! Pure. Written with every record, after its other parts.
//!
//! # Invariants
//!
//! - What is not known of a record makes more purges match it, never fewer.

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
}

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
