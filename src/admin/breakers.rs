//! Breakers in the admin API: what `GET /api/v1/breakers` lists and `POST /api/v1/breakers` moves. The names of members are
//! part of the API.

use serde::{Deserialize, Serialize};

use super::status::BreakerState;
use crate::clock::Timestamp;

/// One order: which breaker, by its upstream or its route, and what is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakerOrder {
    /// The breaker of this upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// The breaker that this route has of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// What is wanted.
    pub action: BreakerAction,
}

/// What is wanted of a breaker, whatever calls say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerAction {
    /// As if it had tripped: probes find out whether it may close.
    Open,
    /// Asked as usual from now on, counters at zero.
    Close,
    /// Not asked until it is closed (or opened) by hand, or the proxy is restarted.
    Isolate,
}

impl BreakerAction {
    /// The word for it in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Close => "close",
            Self::Isolate => "isolate",
        }
    }
}

/// One breaker at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BreakerStatus {
    /// The upstream that it stands before.
    pub upstream: String,
    /// The route whose own it is; absent: it is the upstream's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// What it lets through.
    pub phase: BreakerState,
    /// Since when, in milliseconds since the epoch.
    #[serde(rename = "since_ms")]
    pub since: Timestamp,
    /// Why, in words.
    pub reason: String,
    /// Whether somebody moved it by hand to where it is.
    pub manual: bool,
    /// Open: milliseconds until a probe may go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rest_ms: Option<u64>,
    /// What it counted while closed.
    pub counts: BreakerCounts,
    /// Probes under way.
    pub probes_in_flight: u32,
    /// Who is called when the upstream breaks.
    pub owner: Option<String>,
    /// What they read then.
    pub runbook: Option<String>,
}

/// Calls of the window, and failures in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BreakerCounts {
    /// Calls that ended in the window.
    pub calls: u32,
    /// Those that failed.
    pub failed: u32,
    /// Those that were slow.
    pub slow: u32,
    /// Failures since the last success, 429 not among them.
    pub failures_in_a_row: u32,
}

/// The order in a request's content.
pub(super) fn order(content: &[u8]) -> Result<BreakerOrder, String> {
    serde_json::from_slice(content).map_err(|error| {
        format!(
            "not an order to a breaker: {error}; send {{\"upstream\": \"NAME\", \"action\": \"isolate\"}}, or \"route\" \
             for a route's own; actions are open, close and isolate"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_one_order_with_an_action() {
        for (name, content, want) in [
            (
                "an upstream's",
                r#"{"upstream": "a", "action": "isolate"}"#,
                Some((Some("a"), None, BreakerAction::Isolate)),
            ),
            (
                "a route's",
                r#"{"route": "a", "action": "close"}"#,
                Some((None, Some("a"), BreakerAction::Close)),
            ),
            ("no action", r#"{"upstream": "a"}"#, None),
            (
                "an unknown action",
                r#"{"upstream": "a", "action": "trip"}"#,
                None,
            ),
            (
                "an unknown member",
                r#"{"upstream": "a", "action": "open", "for": "1h"}"#,
                None,
            ),
            ("no JSON", "upstream=a", None),
        ] {
            let got = order(content.as_bytes());
            let got = got.as_ref().ok().map(|order| {
                (
                    order.upstream.as_deref(),
                    order.route.as_deref(),
                    order.action,
                )
            });
            assert_eq!(got, want, "{name}");
        }
    }
}
