//! Versions: what `/api/v1/versions` and the status say of a route's. The names of its members are part of the API.

use serde::Serialize;

use crate::clock::Timestamp;

/// One route: the version it is built for, and what its vendor announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VersionStatus {
    /// Its name.
    pub route: String,
    /// Where it leads.
    pub upstream: String,
    /// The pinned version, if one is.
    pub pinned: Option<String>,
    /// What the vendor says of deprecation, as it said it last.
    pub deprecated: Option<DeprecationStatus>,
    /// What it says of the end.
    pub sunset: Option<SunsetStatus>,
    /// Other dates of either kind that answers of this route had lately.
    pub other_dates: Vec<Timestamp>,
    /// Links that came with them.
    pub links: Vec<LinkStatus>,
    /// Versions other than the pinned one that the vendor named.
    pub mismatches: Vec<MismatchStatus>,
    /// Answers so far that named one.
    pub mismatched_answers: u64,
}

/// A deprecation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DeprecationStatus {
    /// Since when, or from when on; absent: the vendor does not say.
    #[serde(rename = "at_ms", skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// When it was heard first and last.
    #[serde(rename = "first_seen_ms")]
    pub first_seen: Timestamp,
    /// See above.
    #[serde(rename = "last_seen_ms")]
    pub last_seen: Timestamp,
    /// It was written in an older form than RFC 9745's.
    pub lenient: bool,
}

/// An end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SunsetStatus {
    /// From then on it may be gone.
    #[serde(rename = "at_ms")]
    pub at: Timestamp,
    /// Whole days until then; 0: less than one, or past.
    pub days_left: u64,
    /// It is past.
    pub past: bool,
    /// When it was heard first and last.
    #[serde(rename = "first_seen_ms")]
    pub first_seen: Timestamp,
    /// See above.
    #[serde(rename = "last_seen_ms")]
    pub last_seen: Timestamp,
    /// It was written otherwise than RFC 8594 has it.
    pub lenient: bool,
}

/// A link that speaks of versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkStatus {
    /// Its relation type.
    pub rel: String,
    /// Where it leads, as written.
    pub target: String,
}

/// A version other than the pinned one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MismatchStatus {
    /// How the vendor named it: "answer", "successor", "latest" or "redirect".
    pub how: &'static str,
    /// Which.
    pub version: String,
    /// When it was heard first.
    #[serde(rename = "first_seen_ms")]
    pub first_seen: Timestamp,
}
