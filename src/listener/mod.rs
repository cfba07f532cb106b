//! Listener: takes connections and requests in, whole and well-formed, and lets them out in order at shutdown.
//!
//! `client -> [listener: accept -> HTTP/1.1 or HTTP/2 -> sanitize] -> route`
//!
//! - `accept`: the socket and the limits; owns every connection's task.
//! - `connection`: one of them: which protocol, and its settings; `tap`: whether its client reads.
//! - `drain`: the shutdown signal, and the leash on which each connection can be asked to end.
//! - `sanitize`: what a request must look like before anything else reads it; pure.
//! - `request_id`: the name a request goes by.
//!
//! # Invariants
//!
//! - At most `connections_max` connections; more are not accepted until one ends.
//! - No error of a client or of the system ends the accept loop, and none makes it spin.
//! - A connection that begins no request for `header_read_timeout` is asked to end, whatever it does meanwhile;
//!   one that takes nothing of its answer for as long is cut off.
//! - After a shutdown has begun nothing new is accepted; when `drain_for` has passed nothing is left.
//!
//! What it does not do: routing, bodies (their limits and time-outs are the readers'), TLS towards clients (later).

mod accept;
mod connection;
mod drain;
pub mod request_id;
pub mod sanitize;
mod tap;

pub use accept::{Limits, ListenError, Listener, ListenerStats, Peer};
pub use drain::{DrainReport, Shutdown};
pub use request_id::RequestIds;
pub use sanitize::{Refusal, Sanitized, Sanitizer};

#[cfg(test)]
mod tests;
