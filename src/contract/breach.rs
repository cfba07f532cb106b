//! What can be wrong with an answer, in a closed set of words and in a sentence.

use std::{fmt, sync::Arc};

/// How an answer breaks its contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// It is of a type that the route does not take: a maintenance page where JSON was due.
    ContentType,
    /// Its content is encoded in a way that cannot be read here, or it is a part where the whole was asked for.
    Encoding,
    /// It is shorter than the route takes; empty, mostly.
    Size,
    /// It is not what it says it is: broken JSON, CSV or XML.
    Malformed,
    /// It is larger, deeper or slower to judge than the bounds allow.
    TooComplex,
    /// The route's `transform` failed on it.
    Transform,
    /// It does not fit the route's JSON Schema.
    Schema,
    /// It breaks one of the route's rules.
    Rule,
    /// More of its records are bad than `bad_records_max` allows.
    BadRecords,
    /// It lost more, against the last good one, than the route allows.
    Reconcile,
}

impl Kind {
    /// All of them, in the order in which an answer is judged.
    pub const ALL: [Self; 10] = [
        Self::ContentType,
        Self::Encoding,
        Self::Size,
        Self::Malformed,
        Self::TooComplex,
        Self::Transform,
        Self::Schema,
        Self::Rule,
        Self::BadRecords,
        Self::Reconcile,
    ];

    /// The word for it in logs, metrics and the admin API: snake_case, a closed set.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ContentType => "content_type",
            Self::Encoding => "encoding",
            Self::Size => "size",
            Self::Malformed => "malformed",
            Self::TooComplex => "too_complex",
            Self::Transform => "transform",
            Self::Schema => "schema",
            Self::Rule => "rule",
            Self::BadRecords => "bad_records",
            Self::Reconcile => "reconcile",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One term of a contract that one value of an answer does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// [`Kind::Schema`], [`Kind::Rule`] or [`Kind::Reconcile`].
    pub kind: Kind,
    /// Which term: the same for every answer that breaks it, whatever its values (`"/price: min"`).
    pub term: Arc<str>,
    /// Where in the answer, as a JSON Pointer (RFC 6901); `""` is the whole.
    pub place: String,
    /// What is wrong, in words for operators: names the value, cut short.
    pub message: String,
}

/// Why an answer is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// In a word.
    pub kind: Kind,
    /// Which term of the contract: the same for every answer that breaks it, so that it is reported once.
    pub term: Arc<str>,
    /// In words for operators, never for visitors.
    pub message: String,
    /// The values that are wrong, where the answer could be read. Bounded.
    pub violations: Vec<Violation>,
}

impl Breach {
    /// A breach by the answer as a whole.
    pub fn new(kind: Kind, term: impl Into<Arc<str>>, message: impl Into<String>) -> Self {
        Self {
            kind,
            term: term.into(),
            message: message.into(),
            violations: Vec::new(),
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl std::error::Error for Breach {}
