//! The contract of a route: what an answer must look like for the site to use it.
//!
//! `... -> breaker -> [contract] -> bulkhead -> ... -> attempt`
//!
//! "200 OK, price 0" is an outage, too. What comes back whole is mapped (`transform`), read, and judged; what breaks the
//! contract is a [`crate::failure::Failure`] like any other, and the cache above answers with what was good.
//!
//! # Invariants
//!
//! - An answer is judged once, when it is fetched; a hit never is.
//! - What is judged is bounded in size, depth, number of values and time. What goes beyond is a breach, never a stall.
//! - Pure: nothing here but the shell asks for the time, waits, or touches a disk.

mod breach;
mod limits;

pub use self::{
    breach::{Breach, Kind, Violation},
    limits::Limits,
};
