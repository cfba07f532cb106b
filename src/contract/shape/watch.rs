//! Watch: one thing that always held at one place, and what has been seen since it first did not.
//!
//! The first exception opens a *window*. It counts the answers from there on, and those that are exceptional. It ends in
//! one of two ways: so many are exceptional that a steady vendor would hardly show it by chance, which is a change to be
//! reported; or so few that it was an odd one, which is taken into what is known.
//!
//! # Invariants
//!
//! - A change is reported once; afterwards its window only counts, until somebody accepts it.
//! - No single answer is a change, and no change needs more than a few answers that all show it.
//! - Nothing is exceptional before `answers_min` answers were seen; until then it is learnt.

use serde::{Deserialize, Serialize};

use super::{
    bounds::{Bounds, NEW_VALUES_MAX},
    chance::by_chance,
    change::{Change, ChangeKind},
    example,
    kinds::{Kinds, Range},
};
use crate::clock::Timestamp;

/// A steady vendor shows as much by chance in one of 10,000 cases: unseen so far at all.
const CHANCE_MAX: f64 = 1e-4;
/// Of an enumeration, whose values are known to be repeated, in one of 1,000: half of what is new there is rare.
const CHANCE_OF_VALUE_MAX: f64 = 1e-3;
/// Where exceptions were known before, windows open again and again, and each is another chance to be wrong.
const CHANCE_AGAIN_MAX: f64 = 1e-8;
/// Documents never asked for before may be of another sort: they count in a row of 6 to 10 only, by how many are known.
const NEW_DOCUMENTS: (u64, u64) = (6, 10);

/// What is known while an answer is learnt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now<'b> {
    pub(super) at: Timestamp,
    /// Its number, from 1.
    pub(super) answer: u64,
    /// The number of the first answer of the same document; its own where it is new.
    pub(super) document: u64,
    /// Documents that are told apart.
    pub(super) documents: u64,
    pub(super) bounds: &'b Bounds,
}

/// What becomes of what an answer shows at a place.
#[derive(Debug)]
pub(super) enum Verdict {
    /// As always.
    Usual,
    /// Learnt: it is not known yet what is usual.
    Learn,
    /// Exceptional: counted, not learnt.
    Held,
    /// It was nothing: what was held is to be learnt.
    Nothing(Box<Window>),
}

/// One thing that is watched at one place, from its first exception on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Watch {
    pub(super) kind: ChangeKind,
    /// Exceptional answers outside of the window.
    pub(super) before: u64,
    pub(super) window: Option<Box<Window>>,
}

/// What has been seen since the first exception.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Window {
    /// The number of the answer that opened it.
    opened: u64,
    /// Answers before it.
    usual: u64,
    /// Answers in it, and those that are exceptional.
    pub(super) of: u64,
    pub(super) exceptional: u64,
    /// Of those, of documents that were known as usual.
    known: u64,
    /// Of those, answers in which the member is missing everywhere; all of them in a row at the end.
    pub(super) wholly: u64,
    wholly_run: u64,
    /// Usual answers in a row at the end.
    quiet: u64,
    first_seen: Timestamp,
    last_seen: Timestamp,
    was: String,
    example: String,
    pub(super) values: Vec<Box<str>>,
    /// Everything seen in it.
    pub(super) since: Since,
    /// As what it was reported.
    pub(super) reported: Option<ChangeKind>,
    ended: bool,
}

/// What values were like in a window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Since {
    pub(super) kinds: Kinds,
    pub(super) formats: u16,
    pub(super) range: Option<Range>,
}

/// An exception in words.
#[derive(Debug, Default)]
pub(super) struct Exception {
    pub(super) was: String,
    pub(super) example: String,
    pub(super) values: Vec<Box<str>>,
    /// Of a member: missing in all objects.
    pub(super) is_whole: bool,
}

impl Watch {
    pub(super) fn new(kind: ChangeKind) -> Self {
        Self {
            kind,
            before: 0,
            window: None,
        }
    }

    /// One more answer for which this matters; `usual` came before it, those in the window among them.
    ///
    /// The second is what has to be reported.
    pub(super) fn note(
        &mut self,
        usual: u64,
        exception: Option<Exception>,
        since: &Since,
        now: &Now<'_>,
    ) -> (Verdict, Option<ChangeKind>) {
        let Some(window) = &mut self.window else {
            let Some(exception) = exception else {
                return (Verdict::Usual, None);
            };
            let is_rare = self.before.saturating_mul(10) <= usual;
            if usual < now.bounds.answers_min || !is_rare {
                self.before += 1;
                return (Verdict::Learn, None);
            }
            let mut window = Window::open(usual, exception, now);
            window.since.take(since);
            self.window = Some(Box::new(window));
            return (Verdict::Held, None);
        };
        window.of += 1;
        window.since.take(since);
        let is_exception = exception.is_some();
        match exception {
            Some(exception) => window.count(exception, now),
            None => window.pass(),
        }
        if window.reported.is_some() {
            let report = window.is_gone().then_some(ChangeKind::FieldRemoved);
            window.reported = report.or(window.reported);
            return (held(is_exception), report);
        }
        if is_exception && window.is_news(self.kind, self.before, now) {
            let kind = window.named(self.kind);
            window.reported = Some(kind);
            return (Verdict::Held, Some(kind));
        }
        if window.is_nothing(now)
            && let Some(window) = self.window.take()
        {
            self.before += window.exceptional;
            return (Verdict::Nothing(window), None);
        }
        (held(is_exception), None)
    }

    /// The change that it has seen, if any.
    pub(super) fn change(&self, path: &str) -> Option<Change> {
        let window = self.window.as_ref()?;
        let kind = window.reported.unwrap_or_else(|| window.named(self.kind));
        Some(Change {
            path: path.to_owned(),
            change: kind,
            class: kind.class(window.share()),
            reported: window.reported.is_some(),
            was: window.was.clone(),
            example: window.example.clone(),
            values: match kind {
                ChangeKind::EnumValueAdded => window
                    .values
                    .iter()
                    .map(|value| example::cut(value))
                    .collect(),
                _ => Vec::new(),
            },
            first_seen: window.first_seen,
            last_seen: window.last_seen,
            answers: window.exceptional,
            of: window.of,
            ended: window.ended,
        })
    }

    /// Whether exceptions are so frequent that they are no exceptions.
    pub(super) fn is_frequent(&self, answers: u64) -> bool {
        self.before.saturating_mul(10) > answers
    }
}

fn held(is_exception: bool) -> Verdict {
    match is_exception {
        true => Verdict::Held,
        false => Verdict::Usual,
    }
}

impl Since {
    fn take(&mut self, other: &Self) {
        self.kinds.add(other.kinds);
        self.formats |= other.formats;
        Range::widen(&mut self.range, other.range);
    }
}

impl Window {
    fn open(usual: u64, exception: Exception, now: &Now<'_>) -> Self {
        let mut window = Self {
            opened: now.answer,
            usual,
            of: 1,
            exceptional: 0,
            known: 0,
            wholly: 0,
            wholly_run: 0,
            quiet: 0,
            first_seen: now.at,
            last_seen: now.at,
            was: exception.was.clone(),
            example: exception.example.clone(),
            values: Vec::new(),
            since: Since::default(),
            reported: None,
            ended: false,
        };
        window.count(exception, now);
        window
    }

    fn count(&mut self, exception: Exception, now: &Now<'_>) {
        self.exceptional += 1;
        self.known += u64::from(now.document < self.opened);
        self.last_seen = now.at;
        self.quiet = 0;
        self.ended = false;
        if exception.is_whole {
            self.wholly += 1;
            self.wholly_run += 1;
        } else {
            self.wholly_run = 0;
        }
        for value in exception.values {
            if self.values.len() < NEW_VALUES_MAX && !self.values.contains(&value) {
                self.values.push(value);
            }
        }
    }

    fn pass(&mut self) {
        self.wholly_run = 0;
        self.quiet += 1;
        // So many usual answers in a row, given how often they were exceptional?
        let loud = self.of - self.quiet;
        let share = self.exceptional as f64 / (loud + 1) as f64;
        self.ended |= self.reported.is_some()
            && self.quiet >= 3
            && (1.0 - share).powf(self.quiet as f64) < 1e-3;
    }

    /// A member that the latest answer did not have at all.
    pub(super) fn is_missing_now(&self) -> bool {
        self.wholly_run > 0
    }

    fn share(&self) -> f64 {
        self.exceptional as f64 / self.of.max(1) as f64
    }

    /// A member that is missing in every answer is gone; in some, it is optional.
    fn named(&self, kind: ChangeKind) -> ChangeKind {
        match kind {
            ChangeKind::FieldRemoved if self.wholly < self.of => ChangeKind::BecameOptional,
            kind => kind,
        }
    }

    fn is_news(&self, kind: ChangeKind, before: u64, now: &Now<'_>) -> bool {
        let confirm = now.bounds.answers_confirm.max(1);
        if self.exceptional < confirm {
            return false;
        }
        let chance = by_chance(self.usual, before, self.of, self.exceptional);
        let chance_max = match kind {
            _ if before > 0 => CHANCE_AGAIN_MAX,
            ChangeKind::EnumValueAdded => CHANCE_OF_VALUE_MAX,
            _ => CHANCE_MAX,
        };
        let (few, many) = NEW_DOCUMENTS;
        let row = (now.documents / 3).clamp(few, many);
        let is_row = self.exceptional == self.of && self.exceptional >= row;
        let is_plain = self.exceptional >= many && chance < chance_max * 1e-2;
        chance < chance_max && (self.known >= confirm || is_row || is_plain)
    }

    /// Less than one answer in a hundred, or no more to be told from chance.
    fn is_nothing(&self, now: &Now<'_>) -> bool {
        let is_rare = self.of >= self.exceptional.saturating_mul(100);
        let is_long = self.of >= self.usual.saturating_mul(4).max(now.bounds.answers_min * 4);
        is_rare || is_long
    }

    /// Reported as optional, and now missing for so long that it is gone.
    fn is_gone(&self) -> bool {
        let (_, row) = NEW_DOCUMENTS;
        let before = self.of - self.wholly_run;
        let share = self.exceptional.saturating_sub(self.wholly_run) as f64 / (before + 1) as f64;
        self.reported == Some(ChangeKind::BecameOptional)
            && self.wholly_run >= row
            && share.max(0.01).powf(self.wholly_run as f64) < CHANCE_AGAIN_MAX
    }
}
