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
//! - Pure: nothing here but the shells (`kept`, `saver`, `ledger`) asks for the time, waits, or touches a disk.

mod breach;
mod compiled;
mod episode;
mod judge;
mod effort;
mod encoding;
mod formats;
pub mod check;
pub mod dataset;
mod datasets;
pub mod excluded;
pub mod field;
pub mod json;
mod kept;
mod layer;
mod ledger;
mod limits;
mod redact;
mod registry;
mod sample;
pub mod percent;
pub mod reconcile;
pub mod records;
pub mod rules;
mod saver;
pub mod version;
pub mod schema;
mod transform;
mod validators;
pub mod splice;
mod terms;
pub mod values;
mod violations;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod testing;
pub mod shape;

pub use self::{
    breach::{Breach, Kind, Violation},
    check::{Check, OneOf, Type},
    compiled::{Contract, Mode, Telling},
    dataset::Dataset,
    datasets::{Datasets, RouteDatasets},
    effort::{Effort, Exhausted},
    encoding::{decode, is_encoded, restrict_accept_encoding},
    episode::{Episode, Visitors},
    field::{Field, FieldError, Found},
    formats::{ContentTypes, MediaKind, check_size, check_type, well_formed},
    judge::{Behind, Broken, Good},
    kept::Kept,
    layer::ContractLayer,
    ledger::{BadRecords, Ledger, LedgerSnapshot, Reporting},
    limits::Limits,
    percent::{Percent, PercentError},
    reconcile::{Figure, Measure},
    records::{Records, Remedy, Settled},
    registry::Contracts,
    rules::{Rule, Scope},
    sample::{Answer, Sample, SampleViolation},
    saver::{SAVE_EVERY, Saved, Saver, WriteDown},
    schema::{Schema, SchemaError},
    terms::Terms,
    transform::{Program, ProgramError},
    validators::Mapping,
    violations::{KEPT_MAX, Violations},
};

#[cfg(all(test, shuttle))]
mod shuttle_tests;
