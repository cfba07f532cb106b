//! larder: a reverse proxy that keeps the last known good answer of third-party APIs.
//!
//! One request, in the order of its way down (`ARCHITECTURE.md` tells the whole story):
//!
//! ```text
//! listener    accept, HTTP/1.1 and HTTP/2, limits, drain; sanitize: one form, whatever the client wrote
//! front       host + path + method -> route; the answer's id, counters and log line
//!   tunnel    what has left HTTP by an upgrade that the route allows
//! admission   places for what waits, shared fairly between routes; rates; what is over them is shed
//! cache       fresh: answer. stale and allowed: answer, refresh behind. failure below: the last known good answer
//!   store     memory tier over disk tier: only whole answers
//! contract    mapped to what the site expects, and is it something the site can use?
//! resilience  deadline, retry, breaker, bulkhead, quota, attempt
//! upstream    which endpoint, pooled client, TLS, credentials
//! ```
//!
//! Below the cache every service answers `Result<Response, Failure>`; above it every service answers. `stack` is the only
//! place that knows all layers, `app` owns every task.

pub mod app;
pub mod stack;

pub mod listener;
pub mod front;
pub mod route;
pub mod tunnel;
pub mod admission;
pub mod cache;
pub mod store;
pub mod contract;
pub mod resilience;
pub mod upstream;

pub mod admin;
pub mod chance;
pub mod cli;
pub mod clock;
pub mod config;
pub mod failure;
pub mod http;
pub mod observe;
pub mod stub;
pub mod sync;

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
