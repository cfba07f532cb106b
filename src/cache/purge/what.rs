//! What a purge says: of which stored responses, and how they may be used from then on.
//!
//! These types are written to the log of purges and to the admin API: their names are part of both.

use serde::{Deserialize, Serialize};

/// Order of purges, over restarts too; larger is later. Microseconds of the wall clock where that is later than the last.
pub type Number = u64;

/// What may still be done with a purged response. Later in this order is stricter.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Stale: answered at once and refreshed behind, where the origin lets stale answers be used at all. Stays the last
    /// known good answer.
    #[default]
    Soft,
    /// Asked about before any use (RFC 9111 4.4 "invalid"). Only a policy that overrides the origin uses it in an outage.
    Invalid,
    /// As if it had never been stored.
    Hard,
}

/// Which stored responses a purge is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// All.
    All,
    /// Those of one upstream.
    Upstream(Box<str>),
    /// Those that a route stored.
    Route(Box<str>),
    /// Those with a tag.
    Tag(Box<str>),
    /// Those of a group (RFC 9875) of an upstream.
    Group {
        /// Its upstream: groups of two origins are two groups.
        upstream: Box<str>,
        /// Its name.
        group: Box<str>,
    },
    /// Those of one URL, whatever else is in their keys: all variants, all keyed fields.
    Url {
        /// Where it leads.
        upstream: Box<str>,
        /// In lower case, without a port. `None`: of every host.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<Box<str>>,
        /// Path and the query that counts, in the spelling of keys.
        target: Box<str>,
    },
    /// Those whose path and query begin so.
    Prefix {
        /// In lower case, without a port. `None`: of every host.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<Box<str>>,
        /// Begins with a slash.
        path: Box<str>,
    },
}

/// One purge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// Its place in the order. It matches what was fetched under an earlier one.
    pub number: Number,
    /// How strict it is.
    pub mode: Mode,
    /// What it matches.
    pub what: What,
}

impl Mode {
    /// Every mode, from lenient to strict.
    pub const ALL: [Self; 3] = [Self::Soft, Self::Invalid, Self::Hard];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Soft => "soft",
            Self::Invalid => "invalid",
            Self::Hard => "hard",
        }
    }

    /// Its place in [`Mode::ALL`].
    pub(super) fn index(self) -> usize {
        self as usize
    }
}

impl What {
    /// Every kind, in the order of [`What::kind_index`].
    pub const KINDS: [&'static str; 7] =
        ["all", "upstream", "route", "tag", "group", "url", "prefix"];

    /// The word for what it goes by.
    pub fn kind(&self) -> &'static str {
        Self::KINDS[self.kind_index()]
    }

    pub(super) fn kind_index(&self) -> usize {
        match self {
            Self::All => 0,
            Self::Upstream(_) => 1,
            Self::Route(_) => 2,
            Self::Tag(_) => 3,
            Self::Group { .. } => 4,
            Self::Url { .. } => 5,
            Self::Prefix { .. } => 6,
        }
    }
}
