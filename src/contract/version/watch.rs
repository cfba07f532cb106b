//! What one route's vendor has announced, what of it was told, and what is to be told next. Pure: `now` is an argument.
//!
//! Each date of each kind is a [`Notice`]. It is told when it is first heard, then each time the days left pass one of
//! [`REMIND_AT_DAYS`], then once more when it is past; what was told is remembered, over restarts too.
//!
//! # Invariants
//!
//! - A notice is told once per milestone, however many answers repeat it.
//! - Another date is another notice. A vendor whose date moves with every answer is told of [`DATES_PER_DAY_MAX`] times a
//!   day at most.
//! - At most [`NOTICES_MAX`] notices of a kind and [`MISMATCHES_MAX`] versions are remembered.
//! - A field that is missing from one answer is not gone: a route may lead to several resources, and errors come from
//!   elsewhere. It is gone when no answer had it for [`GONE_AFTER`] and a good one came without it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    fields::{Form, Told, VersionLink},
    pin::{How, Statement},
};
use crate::clock::Timestamp;

/// Days left at which a sunset is told of again.
pub const REMIND_AT_DAYS: [u64; 6] = [90, 30, 14, 7, 1, 0];
/// Dates of one kind that are remembered per route; the one not heard for longest makes room.
pub const NOTICES_MAX: usize = 8;
/// Versions other than the pinned one that are remembered per route; more are not told of.
pub const MISMATCHES_MAX: usize = 8;
/// New dates of one kind that are told of within a day.
pub const DATES_PER_DAY_MAX: usize = 4;
/// A field that no answer had for this long is gone.
pub const GONE_AFTER: Duration = DAY;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Which field announced it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// `Deprecation`
    Deprecated,
    /// `Sunset`
    Sunset,
}

/// Something that a vendor announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// By which field.
    pub kind: NoticeKind,
    /// The date; `None`: deprecated, and it does not say since when.
    pub at: Option<Timestamp>,
    /// It was not written as its RFC has it.
    pub is_lenient: bool,
    /// When it was heard first.
    pub first_seen: Timestamp,
    /// When it was heard last; kept to the hour over a restart.
    pub last_seen: Timestamp,
    /// Milestones that had passed when it was last told of.
    told: u8,
    /// Answers no longer say so.
    pub is_gone: bool,
}

/// A version that the vendor named in place of the pinned one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mismatch {
    /// How.
    pub how: How,
    /// Which.
    pub version: String,
    /// When it was heard first.
    pub first_seen: Timestamp,
}

/// What is remembered of one route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteRecord {
    notices: Vec<Notice>,
    links: Vec<(String, String)>,
    pinned: Option<String>,
    mismatches: Vec<Mismatch>,
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A date that is heard for the first time, or that has come nearer.
    Announced {
        /// What is announced.
        notice: Notice,
        /// How long until then.
        left: Left,
        /// It was told of before.
        is_reminder: bool,
    },
    /// A field that answers no longer have. No alert: good news, or a vendor who forgot.
    Gone(Notice),
    /// A version other than the pinned one, heard for the first time.
    Mismatch {
        /// What is pinned.
        pinned: String,
        /// What the vendor says.
        statement: Statement,
    },
}

/// How long until a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// So many whole days; 0: less than one.
    Days(u64),
    /// It is over.
    Past,
    /// There is no date.
    Unknown,
}

impl Left {
    /// From `now` to `at`.
    pub fn until(at: Option<Timestamp>, now: Timestamp) -> Self {
        match at {
            None => Self::Unknown,
            Some(at) if at <= now => Self::Past,
            Some(at) => Self::Days(at.since(now).as_secs() / DAY.as_secs()),
        }
    }

    /// In words: "in 12 days".
    pub fn in_words(self) -> String {
        match self {
            Self::Days(0) => "in less than a day".to_owned(),
            Self::Days(1) => "in 1 day".to_owned(),
            Self::Days(days) => format!("in {days} days"),
            Self::Past => "past".to_owned(),
            Self::Unknown => "at a time it does not name".to_owned(),
        }
    }
}

impl NoticeKind {
    /// The kind of its alerts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deprecated => "deprecated",
            Self::Sunset => "sunset",
        }
    }

    /// How many milestones have passed with so much left.
    fn milestones(self, left: Left) -> u8 {
        match (self, left) {
            (_, Left::Past) => REMIND_AT_DAYS.len() as u8 + 1,
            (Self::Sunset, Left::Days(left)) => {
                let passed = REMIND_AT_DAYS.iter().filter(|days| left <= **days);
                passed.count() as u8
            }
            // What is deprecated goes on answering: only its beginning is news.
            (Self::Deprecated, Left::Days(_)) | (_, Left::Unknown) => 0,
        }
    }
}

// --- RouteRecord ---

impl RouteRecord {
    /// Whether anything has to be looked at even where an answer says nothing.
    pub fn has_notices(&self) -> bool {
        self.notices.iter().any(|notice| !notice.is_gone)
    }

    /// What answers said lately, the latest last.
    pub fn notices(&self) -> impl Iterator<Item = &Notice> {
        self.notices.iter().filter(|notice| !notice.is_gone)
    }

    /// The notice of this kind that was heard last.
    pub fn latest(&self, kind: NoticeKind) -> Option<&Notice> {
        let own = self.notices().filter(|notice| notice.kind == kind);
        own.max_by_key(|notice| notice.last_seen)
    }

    /// Links that came with the notices: relation type and target.
    pub fn links(&self) -> &[(String, String)] {
        &self.links
    }

    /// Versions other than the pinned one that the vendor named.
    pub fn mismatches(&self) -> &[Mismatch] {
        &self.mismatches
    }

    /// When anything of this was heard last.
    pub fn last_seen(&self) -> Timestamp {
        let notices = self.notices.iter().map(|notice| notice.last_seen);
        let mismatches = self.mismatches.iter().map(|it| it.first_seen);
        notices.chain(mismatches).max().unwrap_or_default()
    }

    /// Takes in what one answer says; what is to be told now.
    pub fn hear(&mut self, told: &Told, is_success: bool, now: Timestamp) -> Vec<Change> {
        if let Some(found) = told.deprecation {
            self.note(NoticeKind::Deprecated, found.at, found.form, now);
        }
        if let Some(found) = told.sunset {
            self.note(NoticeKind::Sunset, Some(found.at), found.form, now);
        }
        self.note_links(&told.links);
        let mut changes = self.due(now);
        if is_success {
            changes.extend(self.gone(told, now));
        }
        changes
    }

    fn note(&mut self, kind: NoticeKind, at: Option<Timestamp>, form: Form, now: Timestamp) {
        let known = |notice: &&mut Notice| notice.kind == kind && notice.at == at;
        if let Some(notice) = self.notices.iter_mut().find(known) {
            notice.last_seen = now.max(notice.last_seen);
            notice.is_gone = false;
            return;
        }
        let own = |notice: &&Notice| notice.kind == kind;
        let is_new = |notice: &&Notice| now.since(notice.first_seen) < DAY;
        let lately = self.notices.iter().filter(own).filter(is_new).count();
        // Its date moves: the first ones said enough, and this one waits for its next milestone.
        let told = match lately < DATES_PER_DAY_MAX {
            true => UNTOLD,
            false => kind.milestones(Left::until(at, now)),
        };
        if self.notices.iter().filter(own).count() >= NOTICES_MAX {
            let oldest = self.notices.iter().enumerate();
            let oldest = oldest.filter(|(_, notice)| notice.kind == kind);
            if let Some((index, _)) = oldest.min_by_key(|(_, notice)| notice.last_seen) {
                self.notices.remove(index);
            }
        }
        self.notices.push(Notice {
            kind,
            at,
            is_lenient: form == Form::Lenient,
            first_seen: now,
            last_seen: now,
            told,
            is_gone: false,
        });
    }

    fn note_links(&mut self, links: &[VersionLink]) {
        for link in links {
            let link = (link.rel.to_owned(), link.target.clone());
            if self.links.contains(&link) {
                continue;
            }
            if self.links.len() == super::fields::LINKS_MAX {
                self.links.remove(0);
            }
            self.links.push(link);
        }
    }

    /// What time alone makes worth telling; to be asked now and then also where no answer comes.
    pub fn due(&mut self, now: Timestamp) -> Vec<Change> {
        let heard: Vec<_> = self
            .notices()
            .map(|notice| (notice.kind, notice.last_seen))
            .collect();
        let mut changes = Vec::new();
        for notice in self.notices.iter_mut().filter(|notice| !notice.is_gone) {
            // The vendor has named another date since: this one holds no longer.
            let is_superseded = heard.iter().any(|(kind, at)| {
                *kind == notice.kind && at.since(notice.last_seen) > Duration::from_secs(3600)
            });
            let left = Left::until(notice.at, now);
            let passed = notice.kind.milestones(left);
            let is_reminder = notice.told != UNTOLD;
            if is_superseded || (is_reminder && passed <= notice.told) {
                continue;
            }
            notice.told = passed;
            changes.push(Change::Announced {
                notice: notice.clone(),
                left,
                is_reminder,
            });
        }
        changes
    }

    fn gone(&mut self, told: &Told, now: Timestamp) -> Vec<Change> {
        let mut changes = Vec::new();
        for notice in self.notices.iter_mut().filter(|notice| !notice.is_gone) {
            let is_said = match notice.kind {
                NoticeKind::Deprecated => told.deprecation.is_some_and(|it| it.at == notice.at),
                NoticeKind::Sunset => told.sunset.is_some_and(|it| Some(it.at) == notice.at),
            };
            if !is_said && now.since(notice.last_seen) >= GONE_AFTER {
                notice.is_gone = true;
                changes.push(Change::Gone(notice.clone()));
            }
        }
        if !changes.is_empty() && !self.has_notices() {
            self.links.clear();
        }
        changes
    }

    /// Takes in which other versions an answer names; which of them is news.
    pub fn compare(
        &mut self,
        pinned: &str,
        statements: Vec<Statement>,
        now: Timestamp,
    ) -> Vec<Change> {
        if self.pinned.as_deref() != Some(pinned) {
            // Another pin: what was said of the old one is not said of this.
            self.pinned = Some(pinned.to_owned());
            self.mismatches.clear();
        }
        let mut changes = Vec::new();
        for statement in statements {
            let is_known =
                |known: &Mismatch| known.how == statement.how && known.version == statement.version;
            if self.mismatches.len() >= MISMATCHES_MAX || self.mismatches.iter().any(is_known) {
                continue;
            }
            self.mismatches.push(Mismatch {
                how: statement.how,
                version: statement.version.clone(),
                first_seen: now,
            });
            changes.push(Change::Mismatch {
                pinned: pinned.to_owned(),
                statement,
            });
        }
        changes
    }
}

/// `told` of what was never told.
const UNTOLD: u8 = u8::MAX;

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
