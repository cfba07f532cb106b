//! Purging: what is stored is declared stale or void by what it is known by, whatever its own lifetime says.

mod labels;

pub use self::labels::Labels;
