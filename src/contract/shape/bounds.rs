//! How much of answers is learnt, and how.

use super::pattern::Pattern;

/// Bounds and measures of learning one route's shape; from `[route.drift]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    /// Answers until something counts as known. `answers_min`, default 20.
    pub answers_min: u64,
    /// Answers that must show a change before it is reported. `answers_confirm`, default 3.
    pub answers_confirm: u64,
    /// How many times beyond what was seen a number or a size counts as changed. `range_factor`, default 10.
    pub range_factor: f64,
    /// Values of a field that are still an enumeration. `enum_max`, default 16.
    pub enum_max: usize,
    /// Members of an object that come and go, beyond which it is a map. `members_max`, default 64.
    pub members_max: usize,
    /// Places of a route that are watched. `nodes_max`, default 1,000.
    pub nodes_max: usize,
    /// Objects and arrays inside each other that are looked into. `depth_max`, default 16.
    pub depth_max: usize,
    /// What is not learnt. `ignore`, default nothing.
    pub ignore: Vec<Pattern>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            answers_min: 20,
            answers_confirm: 3,
            range_factor: 10.0,
            enum_max: 16,
            members_max: 64,
            nodes_max: 1_000,
            depth_max: 16,
            ignore: Vec::new(),
        }
    }
}

/// Longest name of a member that is watched, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 64;
/// Longest value of an enumeration, in bytes.
pub(super) const ENUM_BYTES_MAX: usize = 32;
/// Longest example, in characters.
pub(super) const EXAMPLE_CHARS_MAX: usize = 64;
/// New values of one enumeration that a report lists.
pub(super) const NEW_VALUES_MAX: usize = 10;
/// Documents of a route that are told apart.
pub(super) const KEYS_MAX: usize = 4_096;

/// `[route.drift]` of a route that learns.
#[derive(Clone, Debug, PartialEq)]
pub struct DriftConfig {
    /// How much is learnt of an answer, and when a change is one.
    pub bounds: Bounds,
    /// Answers that are learnt per second, one per begun 64 KiB. `answers_per_second`, default 20.
    pub answers_per_second: u32,
    /// Answers that are learnt at once after a quiet time. `answers_burst`, default 500.
    pub answers_burst: u32,
    /// Longest answer that is learnt, as it came and decoded. `body_max`, default 1 MiB.
    pub body_bytes_max: u64,
    /// Answers that are marked private, or are to a request with credentials, are learnt too. `private`, default false.
    pub private: bool,
}

impl Default for DriftConfig {
    fn default() -> Self {
        Self {
            bounds: Bounds::default(),
            answers_per_second: 20,
            answers_burst: 500,
            body_bytes_max: 1 << 20,
            private: false,
        }
    }
}
