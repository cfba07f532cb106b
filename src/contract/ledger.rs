//! Ledger: what is known of a route's answers against its contract: how many were good, what is broken since when, samples.
//!
//! The layer that judges says what it found; operators are told through alerts, the log, metrics and the admin API. The rules
//! are in `episode` and `sample`.
//!
//! # Invariants
//!
//! - A good answer costs two atomics where nothing is broken; nothing here waits for a disk.
//! - One alert per kind and term from its first breach until it has ended, restarts included.
//! - Samples are redacted before they are kept, and no more than one per kind and term in [`SAMPLE_EVERY`].

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use http::Uri;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    breach::{Breach, Kind},
    compiled::Telling,
    episode::{Broken, Episode, EpisodeKind, Episodes, News, OPEN_MAX, Visitors},
    records::Remedy,
    sample::{Answer, Sample, Samples, TERM_CHARS_MAX, printable},
    saver::{Saved, Saver},
};
use crate::{
    clock::{Clock, Timestamp},
    observe::{Alert, Alerts},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// The same kind and term is sampled once in this time, so that a vendor that is broken costs no more than one that is not.
pub(super) const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// The format of what is kept.
const FORMAT: u32 = 1;

/// How a route's answers are reported on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reporting {
    /// The route.
    pub route: Arc<str>,
    /// Where it leads.
    pub upstream: Arc<str>,
    /// Whom to call.
    pub owner: Option<String>,
    /// What to read then.
    pub runbook: Option<String>,
    /// What happens to answers that break the contract: `off`, `observe` or `enforce`.
    pub mode: &'static str,
    /// How much of it is told and kept.
    pub telling: Telling,
}

/// The ledger of a route. Clones are of the same one.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    alerts: Alerts,
    counters: Counters,
    /// Whether any episode is open: good answers look into the book only then.
    has_open: AtomicBool,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Counters {
    good: AtomicU64,
    observed: AtomicU64,
    breach: AtomicU64,
    by_kind: [AtomicU64; Kind::ALL.len()],
    bad_records: [AtomicU64; BadRecords::ALL.len()],
    judge_micros: AtomicU64,
}

#[derive(Debug)]
struct Book {
    reporting: Reporting,
    episodes: Episodes,
    samples: Samples,
    saved: Option<Saved>,
}

/// What happens to bad records within the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRecords {
    /// They stay as they are.
    Kept,
    /// They are taken out.
    Dropped,
    /// They are marked.
    Marked,
}

impl From<Remedy> for BadRecords {
    fn from(remedy: Remedy) -> Self {
        match remedy {
            Remedy::Keep => Self::Kept,
            Remedy::Drop => Self::Dropped,
            Remedy::Mark => Self::Marked,
        }
    }
}

impl BadRecords {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 3] = [Self::Kept, Self::Dropped, Self::Marked];

    /// The word for it in metrics and the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Dropped => "dropped",
            Self::Marked => "marked",
        }
    }
}

/// What a ledger says at one moment.
#[derive(Clone, Debug)]
pub struct LedgerSnapshot {
    /// What it is about.
    pub reporting: Reporting,
    /// Answers that met the contract, bad records within the limit included.
    pub good: u64,
    /// Answers that broke it and were served all the same.
    pub observed: u64,
    /// Answers that broke it and reached nobody.
    pub breach: u64,
    /// Breaches by kind, those that never happened included.
    pub by_kind: [(Kind, u64); Kind::ALL.len()],
    /// Bad records within the limit, by what happened to them.
    pub bad_records: [(BadRecords, u64); BadRecords::ALL.len()],
    /// Time spent on judging.
    pub judging: Duration,
    /// Episodes that are open, the first one first.
    pub open: Vec<Episode>,
    /// Episodes that are over, newest first.
    pub ended: Vec<Episode>,
    /// Answers that broke the contract, newest first.
    pub samples: Vec<Sample>,
}

/// What outlives a restart.
#[derive(Serialize, Deserialize)]
struct Kept {
    format: u32,
    open: Vec<Episode>,
    /// Oldest first.
    ended: Vec<Episode>,
    /// Oldest first.
    samples: Vec<Sample>,
}

impl Ledger {
    /// Knows nothing yet.
    pub fn new(reporting: Reporting, clock: Clock, alerts: Alerts) -> Self {
        let book = Book {
            episodes: Episodes::new(reporting.telling.quiet, OPEN_MAX),
            samples: Samples::new(reporting.telling.samples_max),
            reporting,
            saved: None,
        };
        Self(Arc::new(Inner {
            clock,
            alerts,
            counters: Counters::default(),
            has_open: AtomicBool::new(false),
            book: Mutex::new(book),
        }))
    }

    // --- What the layer says ---

    /// This answer was judged, which took so long.
    pub fn took(&self, judging: Duration) {
        let micros = u64::try_from(judging.as_micros()).unwrap_or(u64::MAX);
        let sum = &self.0.counters.judge_micros;
        sum.fetch_add(micros, Ordering::Relaxed);
    }

    /// The answer to this met the contract.
    pub fn good(&self, uri: &Uri) {
        self.0.counters.good.fetch_add(1, Ordering::Relaxed);
        self.confirmed(uri);
    }

    /// What is stored for this was confirmed by its vendor (304), and it was good when it was stored: nothing is judged, but
    /// what broke the contract is gone.
    pub fn confirmed(&self, uri: &Uri) {
        if self.0.has_open.load(Ordering::Acquire) {
            self.update(|book, now| {
                book.episodes.good(target(uri), true);
                book.episodes.settle(now)
            });
        }
    }

    /// The answer to this met the contract but for `bad` of its `records`, which the route allows; `sentence` says what is
    /// wrong with one of them.
    pub fn good_but_for(
        &self,
        uri: &Uri,
        bad: usize,
        records: usize,
        fate: BadRecords,
        sentence: &str,
    ) {
        if bad == 0 {
            return self.good(uri);
        }
        self.0.counters.good.fetch_add(1, Ordering::Relaxed);
        self.0.counters.bad_records[fate as usize].fetch_add(bad as u64, Ordering::Relaxed);
        let message = format!(
            "{bad} of {records} records are bad, within bad_records_max, and {}: {sentence}",
            fate.as_str()
        );
        self.update(|book, now| {
            let broken = Broken {
                kind: EpisodeKind::BadRecords,
                term: "records",
                message: &message,
                visitors: Visitors::Served,
                target: target(uri),
            };
            book.episodes.good(broken.target, false);
            let mut news = book.episodes.settle(now);
            news.extend(book.episodes.broken(&broken, now));
            news
        });
    }

    /// This answer broke the contract, and visitors get this.
    pub fn breach(&self, breach: &Breach, answer: &Answer<'_>, visitors: Visitors) {
        let counters = &self.0.counters;
        let counter = match visitors {
            Visitors::Served => &counters.observed,
            Visitors::LastGood | Visitors::Nothing => &counters.breach,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        counters.by_kind[breach.kind as usize].fetch_add(1, Ordering::Relaxed);
        let broken = Broken {
            kind: EpisodeKind::Breach(breach.kind),
            term: &breach.term,
            message: &breach.message,
            visitors,
            target: target(answer.uri),
        };
        let mut sample_bytes = None;
        self.update(|book, now| {
            sample_bytes = book.sample_bytes(breach, now);
            let mut news = book.episodes.settle(now);
            news.extend(book.episodes.broken(&broken, now));
            news
        });
        if let Some(bytes_max) = sample_bytes {
            // Outside of the lock: it takes as long as the answer is.
            let sample = Sample::of(breach, answer, bytes_max, self.0.clock.now());
            let mut book = self.book();
            book.samples.keep(sample);
            book.mark();
        }
    }

    // --- What the owner of all ledgers does ---

    /// Goes on from what was kept, and keeps what comes in `saver`. Blocks.
    pub fn keep_in(&self, saver: &Saver) {
        let name = format!("contract/{}", self.book().reporting.route);
        let kept = saver.load(&name);
        let kept = kept.and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        let source = self.clone();
        let saved = saver.source(name, Arc::new(move || source.write_down()));
        let mut book = self.book();
        if let Some(kept) = kept.filter(|kept| kept.format == FORMAT) {
            book.episodes
                .restore(kept.ended.into_iter().chain(kept.open));
            for sample in kept.samples {
                book.samples.keep(sample);
            }
            let is_any_open = book.episodes.is_any_open();
            self.0.has_open.store(is_any_open, Ordering::Release);
        }
        book.saved = Some(saved);
    }

    /// From now on by this config; what is known stays.
    pub fn follow(&self, reporting: Reporting) {
        let mut book = self.book();
        book.episodes.set_quiet(reporting.telling.quiet);
        book.samples.set_max(reporting.telling.samples_max);
        book.reporting = reporting;
    }

    /// Ends what is over. To be called now and then: where nothing is asked any more, nobody else does.
    pub fn settle(&self) {
        if self.0.has_open.load(Ordering::Acquire) {
            self.update(|book, now| book.episodes.settle(now));
        }
    }

    /// How long an episode has to be quiet to be over.
    pub fn quiet(&self) -> Duration {
        self.book().reporting.telling.quiet
    }

    /// All that is known.
    pub fn snapshot(&self) -> LedgerSnapshot {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.0.counters;
        let book = self.book();
        LedgerSnapshot {
            reporting: book.reporting.clone(),
            good: count(&counters.good),
            observed: count(&counters.observed),
            breach: count(&counters.breach),
            by_kind: Kind::ALL.map(|kind| (kind, count(&counters.by_kind[kind as usize]))),
            bad_records: BadRecords::ALL
                .map(|fate| (fate, count(&counters.bad_records[fate as usize]))),
            judging: Duration::from_micros(count(&counters.judge_micros)),
            open: book.episodes.open(),
            ended: book.episodes.ended().cloned().collect(),
            samples: book.samples.newest_first().cloned().collect(),
        }
    }

    fn write_down(&self) -> Vec<u8> {
        let book = self.book();
        let mut ended: Vec<_> = book.episodes.ended().cloned().collect();
        ended.reverse();
        let kept = Kept {
            format: FORMAT,
            open: book.episodes.open(),
            ended,
            samples: book.samples.as_slice().to_vec(),
        };
        drop(book);
        // Text and numbers are always JSON; what is no JSON would start anew.
        serde_json::to_vec(&kept).unwrap_or_default()
    }

    /// Changes the book and tells what is new.
    fn update(&self, change: impl FnOnce(&mut Book, Timestamp) -> Vec<News>) {
        let now = self.0.clock.now();
        let mut book = self.book();
        let news = change(&mut book, now);
        let is_any_open = book.episodes.is_any_open();
        self.0.has_open.store(is_any_open, Ordering::Release);
        if news.is_empty() {
            return book.mark();
        }
        if let Some(saved) = &book.saved {
            // Told from here on: a crash right after it must not make it told twice.
            saved.mark_urgent();
        }
        let reporting = book.reporting.clone();
        drop(book);
        for one in news {
            self.tell(&reporting, &one);
        }
    }

    fn tell(&self, reporting: &Reporting, news: &News) {
        match news {
            News::Began(episode) | News::Ended(episode) if !episode.is_breach() => {
                tell_of_records(reporting, news, episode);
            }
            News::Began(episode) => self.alert(
                reporting,
                episode,
                "contract_breach",
                format!(
                    "answers of upstream {} break the contract ({}): {}; {}",
                    reporting.upstream,
                    episode.named(),
                    episode.message,
                    episode.visitors.in_words(),
                ),
            ),
            News::Ended(episode) => self.alert(
                reporting,
                episode,
                "contract_recovered",
                format!(
                    "answers of upstream {} meet the contract again ({}): {} {} in {:?}",
                    reporting.upstream,
                    episode.named(),
                    episode.breaches,
                    if episode.breaches == 1 {
                        "breach"
                    } else {
                        "breaches"
                    },
                    Duration::from_secs(episode.lasted().as_secs()),
                ),
            ),
        }
    }

    fn alert(&self, reporting: &Reporting, episode: &Episode, kind: &'static str, message: String) {
        self.0.alerts.raise(Alert {
            kind,
            subject: format!("{} {}", reporting.route, episode.named()),
            message,
            owner: reporting.owner.clone(),
            runbook: reporting.runbook.clone(),
        });
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Whole at any time: a panic passes between changes.
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn mark(&self) {
        if let Some(saved) = &self.saved {
            saved.mark();
        }
    }

    /// How much of this answer a sample may show; `None` where none is wanted now.
    fn sample_bytes(&self, breach: &Breach, now: Timestamp) -> Option<usize> {
        let (kind, term) = (
            breach.kind.as_str(),
            printable(&breach.term, TERM_CHARS_MAX),
        );
        let mut newest_first = self.samples.newest_first();
        let latest = newest_first.find(|sample| sample.kind == kind && sample.term == term);
        let is_due = latest.is_none_or(|latest| now.since(latest.at) >= SAMPLE_EVERY);
        let telling = &self.reporting.telling;
        (is_due && telling.samples_max > 0).then_some(telling.sample_bytes_max)
    }
}

/// Bad records that the route allows wake nobody.
fn tell_of_records(reporting: &Reporting, news: &News, episode: &Episode) {
    let route = &*reporting.route;
    match news {
        News::Began(_) => tracing::info!(route, "{}", episode.message),
        News::Ended(_) => tracing::info!(
            route,
            answers = episode.breaches,
            "all records are good again"
        ),
    }
}

/// What was asked, as a digest: targets may be long, and there may be many.
fn target(uri: &Uri) -> u64 {
    uri.path_and_query()
        .map_or(0, |target| xxh3_64(target.as_str().as_bytes()))
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
