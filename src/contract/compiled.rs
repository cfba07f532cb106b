//! `[route.contract]` as it is used: everything compiled, once.

use std::time::Duration;

use super::{ContentTypes, Limits, Mapping, Program, Schema, Terms};

/// What a breach means for the one who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Counted, told and kept as a sample; the answer is served all the same.
    Observe,
    /// A failure: the last good answer is served instead.
    #[default]
    Enforce,
}

impl Mode {
    /// The word for it in the config and the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

/// What an answer of a route must be like. Made at start, shared by all its answers.
#[derive(Debug, Default)]
pub struct Contract {
    /// Default: enforce.
    pub mode: Mode,
    /// `content_type`: the types that are taken. Default: JSON where anything looks into it, any otherwise.
    pub types: ContentTypes,
    /// Least bytes of content, decoded. Default: 1.
    pub size_bytes_min: u64,
    /// What maps it before it is judged. Default: none.
    pub transform: Option<Program>,
    /// What it has to fit. Default: none.
    pub schema: Option<Schema>,
    /// How much of an answer is judged.
    pub limits: Limits,
    /// What is asked of the values of an answer, beside its schema.
    pub terms: Terms,
    /// A breach is asked about again, within the retry budget. Default: false.
    pub retry: bool,
    /// A breach counts as a failure for the breakers. Default: false.
    pub breaker: bool,
    /// By what an answer is judged, as a number: the same as long as the terms are. 0 where a stored answer need not meet
    /// any: they are not enforced.
    pub fingerprint: u64,
    /// By what content is rewritten on its way to the site, as a number; 0 where it stays as it came.
    pub mapping: u64,
    /// What operators are told.
    pub telling: Telling,
}

/// How much of what breaks a contract is told and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Telling {
    /// A term is broken until nothing broke it for so long and answers are good again; then a next breach is told anew.
    /// Default: 5 min.
    pub quiet: Duration,
    /// Answers that broke the contract and are kept, redacted, for an operator to look at. Default: 5.
    pub samples_max: usize,
    /// Bytes of an answer that a sample shows. Default: 4 KiB.
    pub sample_bytes_max: usize,
}

impl Default for Telling {
    fn default() -> Self {
        Self {
            quiet: Duration::from_secs(300),
            samples_max: 5,
            sample_bytes_max: 4 << 10,
        }
    }
}

impl Contract {
    /// What its rewritten content does to validators; none where content stays as it came.
    pub fn mapping(&self) -> Option<Mapping> {
        (self.mapping != 0).then(|| Mapping::new(self.mapping))
    }

    /// What it asks, in a few words: `enforce: 2 rules, records of /items; mapped by jq`.
    pub fn summary(&self) -> String {
        let mut asks = Vec::new();
        if self.schema.is_some() {
            asks.push("a schema".to_owned());
        }
        match self.terms.rules.len() {
            0 => {}
            1 => asks.push("1 rule".to_owned()),
            rules => asks.push(format!("{rules} rules")),
        }
        if let Some(records) = &self.terms.records {
            asks.push(format!("records of {}", records.field));
        }
        match self.terms.figures.len() {
            0 => {}
            1 => asks.push("1 figure".to_owned()),
            figures => asks.push(format!("{figures} figures")),
        }
        if asks.is_empty() {
            asks.push("type, size and form".to_owned());
        }
        let mapped = match &self.transform {
            Some(_) => "; mapped by jq",
            None => "",
        };
        format!("{}: {}{mapped}", self.mode.as_str(), asks.join(", "))
    }
}
