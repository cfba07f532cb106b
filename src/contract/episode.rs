//! Episodes: from the first breach of a term until answers are good again, so that a person is told once.
//!
//! Pure: callers pass `now` and do what comes back (an alert, a line in the log).
//!
//! An episode is over when nothing broke its term for `quiet` and every target that broke it was good since. What is never
//! asked again (a product that no longer exists) does not keep it open for ever: after [`LINGER`] times `quiet` one good
//! answer of the route is enough.
//!
//! # Invariants
//!
//! - [`News::Began`] comes once per kind and term from the first breach until [`News::Ended`], restarts included.
//! - No more than `open_max` are open, and one for all others; all that is kept is bounded.
//! - A clock that was set back keeps no episode open longer than one that was not.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    breach::Kind,
    sample::{TERM_CHARS_MAX, printable},
};
use crate::clock::Timestamp;

/// Episodes open at once per route; what comes beyond shares one.
pub(super) const OPEN_MAX: usize = 64;
/// Episodes that are over and remembered, per route.
pub(super) const ENDED_MAX: usize = 32;
/// How many times `quiet` an episode outlasts its last breach where what broke it is not asked again.
pub(super) const LINGER: u32 = 12;
/// Targets remembered per episode.
const TARGETS_MAX: usize = 64;
/// Characters of a message.
const MESSAGE_CHARS_MAX: usize = 600;

/// What an episode is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum EpisodeKind {
    /// Answers break the contract.
    Breach(Kind),
    /// Records are bad, within what the route allows.
    BadRecords,
    /// More terms are broken at once than are told apart.
    Others,
}

impl EpisodeKind {
    /// The word for it in logs and the admin API: that of the breach, `bad_records_allowed` or `others`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Breach(kind) => kind.as_str(),
            Self::BadRecords => "bad_records_allowed",
            Self::Others => "others",
        }
    }

    fn named(word: &str) -> Option<Self> {
        let own = [Self::BadRecords, Self::Others];
        let breaches = Kind::ALL.into_iter().map(Self::Breach);
        breaches.chain(own).find(|kind| kind.as_str() == word)
    }
}

/// What visitors get instead of an answer that breaks the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visitors {
    /// The last good answer.
    LastGood,
    /// There is none: the route's fallback, or an error.
    Nothing,
    /// The answer all the same: the contract only observes.
    Served,
}

impl Visitors {
    /// The word for it in the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LastGood => "last_good",
            Self::Nothing => "nothing",
            Self::Served => "served",
        }
    }

    /// What it means, in words for operators.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::LastGood => "visitors get the last good answer",
            Self::Nothing => {
                "there is no good answer in store, so visitors get the route's fallback or an error"
            }
            Self::Served => "it was served all the same (mode observe)",
        }
    }
}

/// One breach, as an episode takes it.
#[derive(Clone, Debug)]
pub(super) struct Broken<'b> {
    /// What is broken.
    pub kind: EpisodeKind,
    /// Which term.
    pub term: &'b str,
    /// What is wrong, in words.
    pub message: &'b str,
    /// What visitors got.
    pub visitors: Visitors,
    /// What was asked, as a digest.
    pub target: u64,
}

/// What is known of one kind and term.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Episode {
    /// See [`EpisodeKind::as_str`].
    pub kind: String,
    /// Which term of the contract.
    pub term: String,
    /// The first breach, in milliseconds since the epoch.
    #[serde(rename = "first_ms")]
    pub first: Timestamp,
    /// The last one.
    #[serde(rename = "last_ms")]
    pub last: Timestamp,
    /// When it was over; absent while it is open.
    #[serde(rename = "ended_ms", default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Breaches so far.
    pub breaches: u64,
    /// What was wrong at first, in words for operators.
    pub message: String,
    /// What visitors got at first.
    pub visitors: Visitors,
    /// A good answer of the route came after the last breach.
    #[serde(default)]
    good_since: bool,
    /// What broke it and was not good since, as digests.
    #[serde(default)]
    targets: Vec<u64>,
}

/// What a person may have to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A term is broken that was not.
    Began(Episode),
    /// It is kept again.
    Ended(Episode),
}

/// The episodes of a route.
#[derive(Clone, Debug)]
pub(super) struct Episodes {
    open: BTreeMap<(EpisodeKind, String), Episode>,
    ended: VecDeque<Episode>,
    quiet: Duration,
    open_max: usize,
}

impl Episodes {
    /// None yet; one is over when it was quiet for so long.
    pub(super) fn new(quiet: Duration, open_max: usize) -> Self {
        Self {
            open: BTreeMap::new(),
            ended: VecDeque::new(),
            quiet,
            open_max,
        }
    }

    /// The same by another config.
    pub(super) fn set_quiet(&mut self, quiet: Duration) {
        self.quiet = quiet;
    }

    /// Those that were kept: what was told before is not told again.
    pub(super) fn restore(&mut self, kept: impl IntoIterator<Item = Episode>) {
        for mut episode in kept {
            let Some(kind) = EpisodeKind::named(&episode.kind) else {
                continue;
            };
            episode.targets.truncate(TARGETS_MAX);
            match episode.ended {
                Some(_) => self.remember(episode),
                None if self.open.len() <= self.open_max => {
                    self.open.insert((kind, episode.term.clone()), episode);
                }
                None => {}
            }
        }
    }

    /// Whether any is open.
    pub(super) fn is_any_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Those that are open, the first one first.
    pub(super) fn open(&self) -> Vec<Episode> {
        let mut open: Vec<_> = self.open.values().cloned().collect();
        open.sort_by_key(|episode| episode.first);
        open
    }

    /// The last ones that are over, newest first.
    pub(super) fn ended(&self) -> impl Iterator<Item = &Episode> {
        self.ended.iter().rev()
    }

    /// A term was broken.
    pub(super) fn broken(&mut self, broken: &Broken<'_>, now: Timestamp) -> Option<News> {
        let term = printable(broken.term, TERM_CHARS_MAX);
        let mut key = (broken.kind, term);
        if !self.open.contains_key(&key) && self.open.len() >= self.open_max {
            key = (EpisodeKind::Others, "and others".to_owned());
        }
        if let Some(episode) = self.open.get_mut(&key) {
            episode.broken_again(broken.target, now);
            return None;
        }
        let message = match key.0 {
            EpisodeKind::Others => format!(
                "more than {} terms are broken at once; further ones are told as one, first {}: {}",
                self.open_max, broken.term, broken.message
            ),
            _ => broken.message.to_owned(),
        };
        let episode = Episode {
            kind: key.0.as_str().to_owned(),
            term: key.1.clone(),
            first: now,
            last: now,
            ended: None,
            breaches: 1,
            message: printable(&message, MESSAGE_CHARS_MAX),
            visitors: broken.visitors,
            good_since: false,
            targets: vec![broken.target],
        };
        self.open.insert(key, episode.clone());
        Some(News::Began(episode))
    }

    /// An answer was good. Where its records were bad within what is allowed, `is_spotless` is false, and it says nothing of
    /// episodes about those.
    pub(super) fn good(&mut self, target: u64, is_spotless: bool) {
        for ((kind, _), episode) in &mut self.open {
            if is_spotless || *kind != EpisodeKind::BadRecords {
                episode.good_since = true;
                episode.targets.retain(|broken| *broken != target);
            }
        }
    }

    /// Those that are over by now.
    pub(super) fn settle(&mut self, now: Timestamp) -> Vec<News> {
        let quiet = self.quiet;
        let mut over = Vec::new();
        self.open.retain(|_, episode| {
            // A clock that was set back: the last breach is not later than now.
            episode.last = episode.last.min(now);
            let is_over = episode.is_over(quiet, now);
            if is_over {
                episode.ended = Some(now);
                over.push(episode.clone());
            }
            !is_over
        });
        for episode in &over {
            self.remember(episode.clone());
        }
        over.into_iter().map(News::Ended).collect()
    }

    fn remember(&mut self, episode: Episode) {
        if self.ended.len() >= ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(episode);
    }
}

impl Episode {
    fn broken_again(&mut self, target: u64, now: Timestamp) {
        self.breaches = self.breaches.saturating_add(1);
        self.last = now;
        self.good_since = false;
        if self.targets.len() < TARGETS_MAX && !self.targets.contains(&target) {
            self.targets.push(target);
        }
    }

    fn is_over(&self, quiet: Duration, now: Timestamp) -> bool {
        let silent_for = now.since(self.last);
        let is_mended = self.targets.is_empty() || silent_for >= quiet.saturating_mul(LINGER);
        self.good_since && silent_for >= quiet && is_mended
    }

    /// Whether answers break the contract, and not only hold bad records that the route allows.
    pub fn is_breach(&self) -> bool {
        self.kind != EpisodeKind::BadRecords.as_str()
    }

    /// The kind and the term, or one word where they are the same.
    pub fn named(&self) -> String {
        match self.term == self.kind {
            true => self.kind.clone(),
            false => format!("{} {}", self.kind, self.term),
        }
    }

    /// From the first breach to the last.
    pub fn lasted(&self) -> Duration {
        self.last.since(self.first)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUIET: Duration = Duration::from_secs(300);
    const PRICE: EpisodeKind = EpisodeKind::Breach(Kind::Rule);

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + secs)
    }

    fn breach(kind: EpisodeKind, term: &str, target: u64) -> Broken<'_> {
        Broken {
            kind,
            term,
            message: "`/price` is 0",
            visitors: Visitors::LastGood,
            target,
        }
    }

    /// What happens to one route, second by second, and what is told.
    enum Step {
        Breach(u64),
        Good(u64),
        Look,
        Restart,
    }
    use Step::{Breach, Good, Look, Restart};

    #[test]
    fn a_person_is_told_once_when_it_begins_and_once_when_it_is_over() {
        for (name, steps, want) in [
            (
                "many breaches are one",
                &[
                    (0, Breach(1)),
                    (1, Breach(1)),
                    (400, Breach(2)),
                    (900, Breach(1)),
                ][..],
                "began",
            ),
            (
                "good and quiet: over",
                &[(0, Breach(1)), (10, Good(1)), (299, Look), (300, Look)],
                "began ended",
            ),
            (
                "quiet without a good answer is not over, however long",
                &[(0, Breach(1)), (1_000_000, Look)],
                "began",
            ),
            (
                "good without quiet is not over: it comes and goes",
                &[
                    (0, Breach(1)),
                    (1, Good(1)),
                    (200, Breach(1)),
                    (201, Good(1)),
                    (400, Look),
                ],
                "began",
            ),
            (
                "another key that is good does not end it",
                &[(0, Breach(1)), (10, Good(2)), (400, Look), (800, Breach(1))],
                "began",
            ),
            (
                "a key that is never asked again does not keep it open for ever",
                &[(0, Breach(1)), (10, Good(2)), (3_599, Look), (3_600, Look)],
                "began ended",
            ),
            (
                "good before the last breach does not count",
                &[
                    (0, Breach(1)),
                    (10, Good(1)),
                    (20, Breach(1)),
                    (5_000, Look),
                ],
                "began",
            ),
            (
                "after its end it is told anew",
                &[(0, Breach(1)), (10, Good(1)), (300, Look), (301, Breach(1))],
                "began ended began",
            ),
            (
                "a restart in the middle tells nothing twice",
                &[
                    (0, Breach(1)),
                    (1, Restart),
                    (2, Breach(1)),
                    (3, Good(1)),
                    (4, Restart),
                    (302, Look),
                ],
                "began ended",
            ),
        ] {
            let mut episodes = Episodes::new(QUIET, OPEN_MAX);
            let mut told = Vec::new();
            for (secs, step) in steps {
                match step {
                    Breach(target) => {
                        told.extend(
                            episodes.broken(&breach(PRICE, "/price: above", *target), at(*secs)),
                        );
                    }
                    Good(target) => episodes.good(*target, true),
                    Look => {}
                    Restart => episodes = restarted(&episodes),
                }
                told.extend(episodes.settle(at(*secs)));
            }
            let words: Vec<_> = told
                .iter()
                .map(|news| match news {
                    News::Began(_) => "began",
                    News::Ended(_) => "ended",
                })
                .collect();
            assert_eq!(words.join(" "), want, "{name}");
        }
    }

    fn restarted(episodes: &Episodes) -> Episodes {
        let kept: Vec<_> = episodes
            .open()
            .into_iter()
            .chain(episodes.ended().cloned())
            .collect();
        let bytes = serde_json::to_vec(&kept).unwrap();
        let kept: Vec<Episode> = serde_json::from_slice(&bytes).unwrap();
        let mut anew = Episodes::new(QUIET, OPEN_MAX);
        anew.restore(kept);
        anew
    }

    #[test]
    fn each_kind_and_term_is_told_and_too_many_are_told_as_one() {
        let mut episodes = Episodes::new(QUIET, 3);
        let mut told = Vec::new();
        for term in 0..100 {
            let term = format!("/{term}: required");
            told.extend(episodes.broken(&breach(PRICE, &term, 1), at(0)));
        }
        assert_eq!(told.len(), 4);
        let open = episodes.open();
        let others = open
            .iter()
            .find(|episode| episode.kind == "others")
            .unwrap();
        assert_eq!(others.breaches, 97);
        assert!(
            others.message.contains("/3: required"),
            "{}",
            others.message
        );
    }

    #[test]
    fn bad_records_within_the_limit_say_nothing_about_those_of_others() {
        let mut episodes = Episodes::new(QUIET, OPEN_MAX);
        episodes.broken(&breach(PRICE, "a", 1), at(0));
        episodes.broken(&breach(EpisodeKind::BadRecords, "b", 1), at(0));
        episodes.good(1, false);
        assert_eq!(episodes.settle(at(300)).len(), 1, "the rule is kept again");
        episodes.good(1, true);
        assert_eq!(
            episodes.settle(at(301)).len(),
            1,
            "and now all records are good"
        );
    }

    #[test]
    fn a_clock_set_back_does_not_keep_an_episode_open() {
        let mut episodes = Episodes::new(QUIET, OPEN_MAX);
        episodes.broken(&breach(PRICE, "a", 1), at(1_000_000));
        episodes.good(1, true);
        assert!(episodes.settle(at(0)).is_empty());
        assert_eq!(episodes.settle(at(300)).len(), 1);
    }

    #[test]
    fn words_of_kinds_are_read_back() {
        for kind in Kind::ALL.map(EpisodeKind::Breach) {
            assert_eq!(EpisodeKind::named(kind.as_str()), Some(kind));
        }
        for kind in [EpisodeKind::BadRecords, EpisodeKind::Others] {
            assert_eq!(EpisodeKind::named(kind.as_str()), Some(kind));
        }
    }

    proptest! {
        #[test]
        fn each_began_has_at_most_one_ended_before_the_next(
            steps in prop::collection::vec((0..4u8, 0..3u64, 0..3u8, 0..400u64), 0..200),
        ) {
            let mut episodes = Episodes::new(QUIET, 2);
            let (mut now, mut is_open) = (0, BTreeMap::new());
            for (what, target, term, secs) in steps {
                now += secs;
                let mut told = Vec::new();
                match what {
                    0 => told.extend(episodes.broken(&breach(PRICE, &term.to_string(), target), at(now))),
                    1 => episodes.good(target, true),
                    2 => episodes = {
                        let kept = restarted(&episodes);
                        Episodes { open_max: 2, ..kept }
                    },
                    _ => {}
                }
                told.extend(episodes.settle(at(now)));
                for news in told {
                    let (episode, begins) = match news {
                        News::Began(episode) => (episode, true),
                        News::Ended(episode) => (episode, false),
                    };
                    let before = is_open.insert((episode.kind, episode.term), begins);
                    prop_assert_ne!(before.unwrap_or(false), begins);
                }
                prop_assert!(episodes.open.len() <= 3);
                prop_assert!(episodes.ended.len() <= ENDED_MAX);
            }
        }
    }
}
