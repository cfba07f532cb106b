//! Findings: what observations mean, in a closed, ordered list. Pure.
//!
//! One file per group of topics; each pushes what it has to say. Printing is somebody else's business (`print.rs`), and so
//! is what follows for a config (`suggest.rs`).
//!
//! # Invariants
//!
//! - The same observations give the same findings, in the same order: by topic, as [`Topic`] lists them.
//! - Where one is a [`Level::Problem`], larder can do nothing with this URL as it was asked, and only then.
//! - No value of a field that the operator added is in any of them.

mod answer;
mod body;
pub(super) mod caching;
mod links;
mod odd;
mod reach;

use std::time::Duration;

use serde_json::Value;

use super::{
    content::Content,
    seen::{BodyEnd, Exchange, Observations, Purpose},
    shape::{Merger, Shape},
};

/// What a finding is about, in the order in which findings are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    Reach,
    Tls,
    Http,
    Status,
    Auth,
    Content,
    Latency,
    Validators,
    Caching,
    Quota,
    Pagination,
    Versions,
    Shape,
    Oddities,
}

/// How good or bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// Works, and will hurt.
    Warning,
    /// Does not work.
    Problem,
}

/// One thing found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Finding {
    pub(super) topic: Topic,
    /// Stable, for scripts: `reach.addresses`.
    pub(super) name: &'static str,
    pub(super) level: Level,
    /// One sentence without a full stop.
    pub(super) text: String,
    /// What to do about it.
    pub(super) advice: Option<String>,
    /// The same for scripts.
    pub(super) value: Value,
}

/// What the bodies came to.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// Of the first answer.
    pub(super) content: Option<Content>,
    /// What all JSON answers have in common.
    pub(super) shape: Option<Shape>,
    /// How many of them there are.
    pub(super) documents: u64,
}

impl Topic {
    /// All of them, in order.
    pub(super) const ALL: [Self; 14] = [
        Self::Reach,
        Self::Tls,
        Self::Http,
        Self::Status,
        Self::Auth,
        Self::Content,
        Self::Latency,
        Self::Validators,
        Self::Caching,
        Self::Quota,
        Self::Pagination,
        Self::Versions,
        Self::Shape,
        Self::Oddities,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Reach => "reach",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Status => "status",
            Self::Auth => "auth",
            Self::Content => "content",
            Self::Latency => "latency",
            Self::Validators => "validators",
            Self::Caching => "caching",
            Self::Quota => "quota",
            Self::Pagination => "pagination",
            Self::Versions => "versions",
            Self::Shape => "shape",
            Self::Oddities => "oddities",
        }
    }
}

impl Level {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// Findings while they are collected.
#[derive(Debug, Default)]
struct Found(Vec<Finding>);

impl Found {
    fn add(&mut self, level: Level, name: &'static str, text: impl Into<String>) -> &mut Finding {
        // A name begins with its topic; a test holds that.
        let topic = name.split('.').next().unwrap_or_default();
        let topic = Topic::ALL.into_iter().find(|one| one.as_str() == topic);
        self.0.push(Finding {
            topic: topic.unwrap_or(Topic::Oddities),
            name,
            level,
            text: text.into(),
            advice: None,
            value: Value::Null,
        });
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    fn ok(&mut self, name: &'static str, text: impl Into<String>) -> &mut Finding {
        self.add(Level::Ok, name, text)
    }

    fn note(&mut self, name: &'static str, text: impl Into<String>) -> &mut Finding {
        self.add(Level::Note, name, text)
    }

    fn warning(&mut self, name: &'static str, text: impl Into<String>) -> &mut Finding {
        self.add(Level::Warning, name, text)
    }

    fn problem(&mut self, name: &'static str, text: impl Into<String>) -> &mut Finding {
        self.add(Level::Problem, name, text)
    }
}

impl Finding {
    fn advise(&mut self, advice: impl Into<String>) -> &mut Self {
        self.advice = Some(advice.into());
        self
    }

    fn value(&mut self, value: impl Into<Value>) -> &mut Self {
        self.value = value.into();
        self
    }
}

/// Looks at the bodies. Takes a while for large ones.
pub(super) fn read(seen: &Observations) -> Reading {
    let content = seen.first().map(|first| Content::of(&first.answer));
    let (mut merger, mut documents) = (Merger::new(), 0);
    let mut take = |content: &Content| {
        if let Some(document) = content.json() {
            merger.merge(document);
            documents += 1;
        }
    };
    // What stands in an error says nothing of the data.
    let is_good = |first: &&Exchange| first.answer.status.is_success();
    if let (Some(content), Some(_)) = (&content, seen.first().filter(is_good)) {
        take(content);
        let more = seen.of(Purpose::Plain).skip(1);
        let good = more.filter(|one| one.answer.status.is_success());
        for one in good.filter(|one| one.answer.end == BodyEnd::Whole) {
            take(&Content::of(&one.answer));
        }
    }
    Reading {
        content,
        shape: (documents > 0).then(|| merger.shape()),
        documents,
    }
}

/// All findings.
pub(super) fn findings(seen: &Observations, reading: &Reading) -> Vec<Finding> {
    let mut found = Found::default();
    reach::reach(seen, &mut found);
    reach::tls(seen, &mut found);
    reach::http(seen, &mut found);
    if let Some(first) = seen.first() {
        answer::status(seen, first, &mut found);
        answer::auth(seen, first, &mut found);
        body::content(seen, first, reading, &mut found);
        answer::latency(seen, &mut found);
        answer::validators(seen, first, &mut found);
        caching::caching(seen, first, &mut found);
        caching::quota(seen, first, &mut found);
        links::pagination(seen, first, reading, &mut found);
        links::versions(seen, first, &mut found);
        body::shape(first, reading, &mut found);
        odd::oddities(seen, first, reading, &mut found);
    }
    found.0.sort_by_key(|finding| finding.topic);
    found.0
}

/// Whether larder can do something with this URL as it was asked.
pub(super) fn is_usable(findings: &[Finding]) -> bool {
    findings
        .iter()
        .all(|finding| finding.level != Level::Problem)
}

/// `250 ms`, `1.2 s`.
pub(super) fn time(duration: Duration) -> String {
    match duration.as_millis() {
        0 => "less than 1 ms".to_owned(),
        millis @ 1..=999 => format!("{millis} ms"),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

/// Milliseconds, for scripts.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `1 request`, `2 requests`.
pub(super) fn count(number: usize, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ if one.ends_with('s') => format!("{number} {one}es"),
        _ => format!("{number} {one}s"),
    }
}

/// `1.2 KiB`.
pub(super) fn size(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec().to_string()
}

#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tests;
