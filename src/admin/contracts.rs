//! Contracts in the admin API: what `GET /api/v1/contracts` lists, and `GET /api/v1/contracts/ROUTE` tells of one. The names
//! of members are part of the API.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::clock::Timestamp;

/// What is known of a route's answers against its contract.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ContractStatus {
    /// The route.
    pub route: String,
    /// Where it leads.
    pub upstream: String,
    /// What a breach does: "observe" or "enforce".
    pub mode: &'static str,
    /// Who is called when it is broken.
    pub owner: Option<String>,
    /// What they read then.
    pub runbook: Option<String>,
    /// Answers since the start that met it, bad records within the limit included.
    pub good: u64,
    /// Those that broke it and were served all the same.
    pub observed: u64,
    /// Those that broke it and reached nobody.
    pub breach: u64,
    /// Both of those by kind; kinds that never happened are left out.
    pub breaches: BTreeMap<&'static str, u64>,
    /// Bad records within the limit by what happened to them: "kept", "dropped", "marked".
    pub bad_records: BTreeMap<&'static str, u64>,
    /// What is broken now, the first one first.
    pub open: Vec<EpisodeStatus>,
}

/// The same with what was broken before, and samples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ContractReport {
    /// See [`ContractStatus`].
    #[serde(flatten)]
    pub status: ContractStatus,
    /// What was broken and is kept again, newest first.
    pub ended: Vec<EpisodeStatus>,
    /// Answers that broke the contract, redacted, newest first.
    pub samples: Vec<Value>,
}

/// One term of a contract that answers broke, from the first one until they were good again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EpisodeStatus {
    /// How: the kind of the breach, "bad_records_allowed" or "others".
    pub kind: String,
    /// Which term.
    pub term: String,
    /// The first breach, in milliseconds since the epoch.
    #[serde(rename = "first_ms")]
    pub first: Timestamp,
    /// The last one.
    #[serde(rename = "last_ms")]
    pub last: Timestamp,
    /// When it was over.
    #[serde(rename = "ended_ms", skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Answers that broke it.
    pub breaches: u64,
    /// What was wrong at first, in words for operators.
    pub message: String,
    /// What visitors got at first: "last_good", "nothing" or "served".
    pub visitors: &'static str,
}
