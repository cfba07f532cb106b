//! Operations: what operators may do to a running proxy. The names of members are part of the API.
//!
//! `POST /api/v1/purge` takes one [`PurgeOrder`], or `{"purges": [...]}` of at most [`ORDERS_MAX`]; all of them are in
//! force before it answers, or none. `GET /api/v1/purges` lists the latest. `GET /api/v1/explain?url=…&method=GET&header=Name:value`
//! explains what would happen to a request; `header` may be there several times. `GET /api/v1/breakers` lists breakers,
//! `POST /api/v1/breakers` moves one by a [`BreakerOrder`]. `POST /api/v1/reload` reads the config again.
//! `POST /api/v1/datasets/NAME/accept` lets a real drop of a dataset in.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    breakers::{BreakerOrder, BreakerStatus},
    contracts::{ContractReport, ContractStatus},
    drift::DriftAccept,
};

/// Orders in one request.
pub const ORDERS_MAX: usize = 1_000;

/// How many of the latest purges are listed.
pub(super) const LISTED_MAX: usize = 100;

/// Where the admin listener hands over what operators want done; implemented by whoever owns everything.
pub trait Operations: Send + Sync + 'static {
    /// Purges: all in force and durable when it is ready.
    fn purge(&self, orders: Vec<PurgeOrder>) -> Purging<'_>;

    /// What would happen to a request, and why. Asks no upstream, changes nothing.
    fn explain(&self, question: ExplainQuestion) -> Explaining<'_>;

    /// The latest purges, newest first, at most this many. Must not block.
    fn purges(&self, limit: usize) -> Vec<PurgeDone>;

    /// Reads the config again, and mounts its routes; what is wrong with it where nothing was changed.
    fn reload(self: Arc<Self>) -> Reloading;

    /// Every breaker. Must not block.
    fn breakers(&self) -> Vec<BreakerStatus>;

    /// Moves a breaker by hand; how it stands then. Must not block.
    ///
    /// # Errors
    /// Which breaker is meant is not clear; the words say what to write.
    fn move_breaker(&self, order: BreakerOrder) -> Result<BreakerStatus, String>;

    /// Every route that has a contract, and how its answers met it. Must not block.
    fn contracts(&self) -> Vec<ContractStatus>;

    /// The same of one route, with samples; `None` where it has none. Must not block.
    fn contract(&self, route: &str) -> Option<ContractReport>;

    /// Takes whatever comes next into this dataset as it is; `false` where no contract names it. Must not block.
    fn accept_dataset(&self, name: &str) -> bool;

    /// Every route whose answers are learnt, with the changes of its vendor. Must not block.
    fn drift(&self) -> Value;

    /// One of them, with what is known of its answers. Must not block.
    ///
    /// # Errors
    /// There is no such route, or it does not learn.
    fn drift_of(&self, route: &str) -> Result<Value, String>;

    /// Takes changes of a route into what is known; those that were. Must not block.
    ///
    /// # Errors
    /// It is not clear which are meant; the words say what to write.
    fn accept_drift(&self, route: &str, order: DriftAccept) -> Result<Value, String>;
}

/// A request to be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainQuestion {
    /// As a client asks for it; a path alone where the host does not matter.
    pub url: String,
    /// Its method.
    pub method: String,
    /// Its fields, each as `Name: value`.
    pub fields: Vec<String>,
}

/// The explanation as JSON, or what is wrong with the question.
pub type Explaining<'a> = Pin<Box<dyn Future<Output = Result<Value, String>> + Send + 'a>>;

/// What becomes of orders: one purge done for each.
pub type Purging<'a> =
    Pin<Box<dyn Future<Output = Result<Vec<PurgeDone>, PurgeRefused>> + Send + 'a>>;

/// What becomes of a reload.
pub type Reloading = Pin<Box<dyn Future<Output = Result<ReloadDone, String>> + Send>>;

/// A config that took effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadDone {
    /// Routes there are now.
    pub routes: usize,
    /// What is allowed but hardly meant.
    pub warnings: Vec<String>,
}

/// One purge as it is asked for: exactly one of the members that say of what, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PurgeOrder {
    /// Of this tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Of this URL, as a client asks for it; a path alone means every host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Request fields of that client; they only help to free space at once.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Of every URL that begins so: `/path` or `host/path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Of what this route stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Of this group (RFC 9875), of `upstream` where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// With `group`: its upstream. Alone: everything of this upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// Everything, where `true`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// What may still be done with it. Default: soft.
    pub mode: PurgeMode,
}

/// How strict a purge is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PurgeMode {
    /// Stale: answered at once and refreshed behind.
    #[default]
    Soft,
    /// Asked about before it is used.
    Invalid,
    /// As if it had never been stored.
    Hard,
}

/// One purge that is in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PurgeDone {
    /// Its place in the order of purges: it covers what was fetched under a lower number.
    pub number: u64,
    /// How strict it is.
    pub mode: PurgeMode,
    /// What it covers, in the members of an order.
    pub what: Value,
}

/// Why orders were not carried out, or not wholly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PurgeRefused {
    /// Nothing was done: an order does not say what is meant. The words say what to write.
    #[error("{0}")]
    Unclear(String),
    /// In force, but a restart forgets it.
    #[error("{0}")]
    Undurable(String),
}

impl PurgeRefused {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Unclear(_) => StatusCode::BAD_REQUEST,
            Self::Undurable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// The orders in a request's content, and whether they came as a list.
pub(super) fn orders(content: &[u8]) -> Result<(Vec<PurgeOrder>, bool), String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Several {
        purges: Vec<PurgeOrder>,
    }
    let document: Value = serde_json::from_slice(content).map_err(|error| {
        format!("the content is not JSON ({error}); send {{\"tag\": \"NAME\"}} or the like")
    })?;
    let is_list = document.get("purges").is_some();
    let orders = if is_list {
        serde_json::from_value::<Several>(document).map(|several| several.purges)
    } else {
        serde_json::from_value::<PurgeOrder>(document).map(|order| vec![order])
    };
    let orders = orders.map_err(|error| format!("not an order to purge: {error}"))?;
    if orders.is_empty() || orders.len() > ORDERS_MAX {
        return Err(format!(
            "\"purges\" has {} orders; send 1 to {ORDERS_MAX} at once",
            orders.len()
        ));
    }
    Ok((orders, is_list))
}

/// The question in the parameters of a query.
pub(super) fn question(parameters: Vec<(String, String)>) -> Result<ExplainQuestion, String> {
    let (mut url, mut method, mut fields) = (None, None, Vec::new());
    for (name, value) in parameters {
        match &*name {
            "url" => url = Some(value),
            "method" => method = Some(value),
            "header" => fields.push(value),
            _ => {
                return Err(format!(
                    "`{name}` is no parameter; there are url, method and header"
                ));
            }
        }
    }
    Ok(ExplainQuestion {
        url: url.ok_or("say which `url`: /api/v1/explain?url=/prices/1")?,
        method: method.unwrap_or_else(|| "GET".to_owned()),
        fields,
    })
}

/// Whether the content is declared as JSON. A website's form cannot do that without being asked first (CORS), so that it
/// cannot order anything through an operator's browser.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE);
    let essence = value
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_one_order_or_a_list_of_them() {
        let tag = |tag: &str, mode| PurgeOrder {
            tag: Some(tag.to_owned()),
            mode,
            ..PurgeOrder::default()
        };
        for (name, content, want) in [
            (
                "one",
                r#"{"tag": "a"}"#,
                Some(vec![tag("a", PurgeMode::Soft)]),
            ),
            (
                "several",
                r#"{"purges": [{"tag": "a", "mode": "hard"}, {"tag": "b"}]}"#,
                Some(vec![tag("a", PurgeMode::Hard), tag("b", PurgeMode::Soft)]),
            ),
            ("none", r#"{"purges": []}"#, None),
            ("an unknown member", r#"{"tags": "a"}"#, None),
            ("an unknown mode", r#"{"tag": "a", "mode": "gone"}"#, None),
            (
                "a list and an order",
                r#"{"purges": [{"tag": "a"}], "tag": "b"}"#,
                None,
            ),
            ("no JSON", "tag=a", None),
            ("nothing", "", None),
        ] {
            let got = orders(content.as_bytes()).ok().map(|(orders, _)| orders);
            assert_eq!(got, want, "{name}");
        }
        let many = vec![PurgeOrder::default(); ORDERS_MAX + 1];
        let content = serde_json::json!({ "purges": many }).to_string();
        assert!(orders(content.as_bytes()).is_err());
    }
}
