//! Observe: what the proxy says about itself. Every layer may speak here; this module knows none of them.
//!
//! - `log`: the process's log, and a line per transaction.
//! - `metrics`: counters that cost an addition, and what is read from elsewhere when somebody asks.
//! - `alert`: what a person has to know, with whom to call and what to read.
//!
//! # Invariants
//!
//! - Nothing here waits: a full log queue drops and counts, a repeated alert is suppressed and counted.
//! - Labels are routes, upstreams and closed sets of words, never a URL.

pub mod alert;
mod failures;
pub mod log;
pub mod metrics;
mod outcome;
pub mod transaction;

pub use alert::{Alert, Alerts, RaisedAlert};
pub use log::{Log, LogError};
pub use metrics::{Metrics, RouteMetrics, Samples, Source};
pub use outcome::Outcome;
pub use transaction::{Transaction, TransactionLogger};
