//! What can change in a vendor's answers, in a closed set of words, and how bad each is.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// How a place changed. The words are those of tools that compare API descriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A value has another type.
    TypeChanged,
    /// A member that was there is gone.
    FieldRemoved,
    /// A member that was there is missing at times.
    BecameOptional,
    /// A value is `null` that never was.
    BecameNullable,
    /// A number has a fraction where all were whole.
    IntegerToNumber,
    /// Numbers are `range_factor` times beyond what they were.
    RangeChanged,
    /// Numbers are negative where none was.
    SignChanged,
    /// A value that its enumeration did not have.
    EnumValueAdded,
    /// A string has another form.
    FormatChanged,
    /// A list is `range_factor` times longer or shorter than any was.
    ListSizeChanged,
    /// A list is empty that never was.
    ListBecameEmpty,
    /// A member that was not there.
    FieldAdded,
}

/// How bad a change is for those who read the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Programs that read the old shape break.
    Breaking,
    /// They may: the data has to be looked at.
    Warning,
    /// They do not.
    Info,
}

impl ChangeKind {
    /// All of them, worst first.
    pub const ALL: [Self; 12] = [
        Self::TypeChanged,
        Self::FieldRemoved,
        Self::BecameNullable,
        Self::BecameOptional,
        Self::IntegerToNumber,
        Self::RangeChanged,
        Self::SignChanged,
        Self::EnumValueAdded,
        Self::FormatChanged,
        Self::ListSizeChanged,
        Self::ListBecameEmpty,
        Self::FieldAdded,
    ];

    /// The word for it in the API, the log and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TypeChanged => "type_changed",
            Self::FieldRemoved => "field_removed",
            Self::BecameOptional => "became_optional",
            Self::BecameNullable => "became_nullable",
            Self::IntegerToNumber => "integer_to_number",
            Self::RangeChanged => "range_changed",
            Self::SignChanged => "sign_changed",
            Self::EnumValueAdded => "enum_value_added",
            Self::FormatChanged => "format_changed",
            Self::ListSizeChanged => "list_size_changed",
            Self::ListBecameEmpty => "list_became_empty",
            Self::FieldAdded => "field_added",
        }
    }

    /// The kind of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// How bad it is, where this share of answers shows it.
    pub(super) fn class(self, share: f64) -> Class {
        match self {
            Self::TypeChanged | Self::FieldRemoved | Self::BecameNullable => Class::Breaking,
            // Missing in every second answer, it is as good as gone.
            Self::BecameOptional if share >= 0.5 => Class::Breaking,
            Self::FieldAdded => Class::Info,
            _ => Class::Warning,
        }
    }

    /// In a few words, as part of a sentence.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::TypeChanged => "has another type",
            Self::FieldRemoved => "is gone",
            Self::BecameOptional => "is missing at times",
            Self::BecameNullable => "is null, which it never was",
            Self::IntegerToNumber => "has a fraction, which it never had",
            Self::RangeChanged => "is far outside of what it was",
            Self::SignChanged => "is negative, which it never was",
            Self::EnumValueAdded => "has a new value",
            Self::FormatChanged => "has another format",
            Self::ListSizeChanged => "is far longer or shorter than it was",
            Self::ListBecameEmpty => "is empty, which it never was",
            Self::FieldAdded => "is new",
        }
    }
}

impl Class {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Breaking => "breaking",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }

    /// Worst first.
    pub const ALL: [Self; 3] = [Self::Breaking, Self::Warning, Self::Info];
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A change that was seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Where, as a path: `$.items[*].price`.
    pub path: String,
    /// What.
    pub change: ChangeKind,
    /// How bad.
    pub class: Class,
    /// `false`: suspected, in too few answers yet.
    pub reported: bool,
    /// What it was.
    pub was: String,
    /// What it is, by an example.
    pub example: String,
    /// New values of an enumeration; bounded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// The first answer that showed it, in milliseconds since the epoch.
    #[serde(rename = "first_seen_ms")]
    pub first_seen: Timestamp,
    /// The latest.
    #[serde(rename = "last_seen_ms")]
    pub last_seen: Timestamp,
    /// Answers that showed it since then…
    pub answers: u64,
    /// …of so many.
    pub of: u64,
    /// Answers are again as they were.
    pub ended: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            change,
            was,
            example,
            answers,
            of,
            ..
        } = self;
        write!(f, "{path} {}: was {was}; now {example}", change.in_words())?;
        write!(f, " ({answers} of {of} answers)")
    }
}
