//! Resilience: what stands between the cache and an upstream that may be slow, down or rate-limited.
//!
//! `cache -> coalesce -> [deadline -> retry -> hedge -> breaker] -> contract -> [bulkhead -> quota -> attempt] -> balance`
//!
//! Every layer is a `tower` service over [`crate::http::Request`] that answers `Result<Response, Failure>`; none turns a
//! failure into an answer. What the caller wishes and what the layers learn travels as extensions (`http/fetch.rs`).
//!
//! # Invariants
//!
//! - Whatever a layer takes (permit, probe slot, budget) is given back on every path: end, error, panic, cancellation.
//! - A request that may have been acted on is sent again only if its method is idempotent (RFC 9110 9.2.2), or if it carries a key
//!   by which the upstream knows it again.
//! - Nothing here waits without a bound.

use std::time::Duration;

use tokio::time::Instant;

pub mod attempt;
pub mod backoff;
pub(crate) mod body;
pub mod breaker;
pub mod budget;
pub mod bulkhead;
pub mod deadline;
pub mod events;
pub mod hedge;
pub mod latencies;
pub mod progress;
pub mod quota;
pub mod repeat;
pub mod retry;
pub mod stats;
mod upload;

pub use attempt::AttemptLayer;
pub use breaker::BreakerLayer;
pub use budget::RetryBudget;
pub use bulkhead::{BulkheadLayer, BulkheadSnapshot};
pub use deadline::DeadlineLayer;
pub use events::{EndpointChange, EndpointEvent, Events, UpstreamEvent};
pub use hedge::HedgeLayer;
pub use progress::Progress;
pub use quota::{Quota, QuotaLayer, QuotaSnapshot};
pub use repeat::Repeat;
pub use retry::RetryLayer;
pub use stats::{LastFailure, StatsSnapshot, UpstreamStats};

pub use crate::http::fetch::{
    Attempts, DeadlineHeader, FetchContext, Judge, Priority, Reads, Streaming, Timing, WholeIf,
};

/// `now` moved on by `duration`. One that no clock can represent is as good as thirty years.
fn moved_on(now: Instant, duration: Duration) -> Instant {
    now.checked_add(duration)
        .unwrap_or_else(|| now + Duration::from_secs(30 * 365 * 24 * 3600))
}
