//! Drift: the shape of a route's good answers is learnt, and what changes in it is noticed.
//!
//! Not on the way of a request: the contract's layer hands over the bytes of answers that were good, as the vendor sent
//! them (before `transform`), and one thread looks at them. [`Shape`] is the pure part: answers, numbers and times in,
//! changes out.
//!
//! ```text
//! bytes -> sight (what one answer shows) -> node (what is known) -> watch (is it news?) -> change
//! ```
//!
//! # Invariants
//!
//! - What is known of a route is bounded in places, depth, values and names, whatever its vendor sends.
//! - A change is reported once per place and kind, until it is accepted; a restart does not report it again.
//! - An answer changes nothing by itself: a steady vendor is told from one that changed by what chance would do
//!   ([`chance`]), so that fields that are missing at times, rare values and long tails report nothing.
//!
//! What this does not do: it judges no answer (that is the contract), and keeps no answer.

mod accept;
mod bounds;
mod chance;
mod change;
mod example;
mod format;
mod kinds;
mod layer;
mod learner;
mod listen;
mod members;
mod node;
mod pace;
mod pattern;
mod queue;
mod shapes;
mod sight;
mod values;
mod view;
mod watch;

#[cfg(test)]
mod accept_tests;
#[cfg(test)]
mod props;
#[cfg(test)]
mod steady_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::{
    accept::Accepted,
    bounds::{Bounds, DriftConfig},
    change::{Change, ChangeKind, Class},
    layer::{EarLayer, HearsLayer},
    learner::{Learner, Question},
    pattern::{Pattern, PatternError},
    shapes::{Known, Shapes},
    view::Place,
};
use self::{
    bounds::KEYS_MAX,
    node::{Learning, Node},
    pattern::Matching,
    watch::Now,
};
use crate::clock::Timestamp;

/// The first byte of what [`Shape::encode`] writes.
const FORMAT: u8 = 1;

/// What is known of the answers of one route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    root: Node,
    answers: u64,
    unreadable: u64,
    /// Values of the latest answer that were beyond the bounds.
    unwatched: u64,
    /// The first answer of each document, by what tells documents apart.
    documents: BTreeMap<u64, u64>,
}

/// It is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not JSON")]
pub struct Unreadable;

impl Shape {
    /// One more good answer of this document; what has to be reported now.
    ///
    /// # Errors
    /// It is not JSON. That is counted and changes nothing else.
    pub fn learn(
        &mut self,
        body: &[u8],
        document: u64,
        at: Timestamp,
        bounds: &Bounds,
    ) -> Result<Vec<Change>, Unreadable> {
        let Ok(seen) = sight::look(body, bounds) else {
            self.unreadable += 1;
            return Err(Unreadable);
        };
        self.answers += 1;
        let answer = self.answers;
        let is_known = self.documents.contains_key(&document);
        if !is_known && self.documents.len() < KEYS_MAX {
            self.documents.insert(document, answer);
        }
        let mut learning = Learning {
            now: Now {
                at,
                answer,
                document: self.documents.get(&document).copied().unwrap_or(answer),
                documents: self.documents.len() as u64,
                bounds,
            },
            places: self.root.places(),
            unwatched: seen.unwatched,
            changes: Vec::new(),
        };
        self.root.learn(&seen.root, &mut root(), &mut learning);
        self.unwatched = learning.unwatched;
        Ok(learning.changes)
    }

    /// Every change that is reported or suspected, worst first.
    pub fn changes(&self) -> Vec<Change> {
        let mut found = Vec::new();
        self.root.changes(&mut root(), &mut found);
        found.sort_by(|a, b| {
            let order = |it: &Change| (!it.reported, it.ended, it.class, it.first_seen);
            order(a).cmp(&order(b)).then_with(|| a.path.cmp(&b.path))
        });
        found
    }

    /// Takes reported changes into what is known; those that were.
    pub fn accept(&mut self, wanted: &Accepted) -> Vec<Change> {
        let mut done = Vec::new();
        self.root.accept(wanted, &mut root(), &mut done);
        done
    }

    /// Forgets what the config ignores by now.
    pub fn ignore(&mut self, patterns: &[Pattern]) {
        if !patterns.is_empty() {
            self.root.ignore(patterns, &Matching::start(patterns));
        }
    }

    /// What is known, place by place.
    pub fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        self.root.view(false, &mut root(), &mut places);
        places
    }

    /// Answers learnt.
    pub fn answers(&self) -> u64 {
        self.answers
    }

    /// Answers that were not JSON.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Values of the latest answer beyond the bounds: too deep, too many places, names too long.
    pub fn unwatched(&self) -> u64 {
        self.unwatched
    }

    /// For a file.
    pub fn encode(&self) -> Vec<u8> {
        // Into memory, of numbers and texts only: there is no way to fail. An empty file would be one that starts anew.
        postcard::to_extend(self, vec![FORMAT]).unwrap_or_default()
    }

    /// From a file; `None` where it is another format or damaged.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [FORMAT, rest @ ..] => postcard::from_bytes(rest).ok(),
            _ => None,
        }
    }
}

fn root() -> String {
    "$".to_owned()
}
