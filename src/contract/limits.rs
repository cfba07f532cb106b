//! How much of an answer is judged.

use std::time::Duration;

/// Bounds of judging one answer; what goes beyond one is a breach of kind `too_complex`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of content, and of what it is decoded or mapped to. `body_max`, default 8 MiB.
    pub body_bytes_max: u64,
    /// Objects and arrays inside each other. `depth_max`, default 64.
    pub depth_max: usize,
    /// Values in a document: members, elements and the document itself. `values_max`, default 500,000.
    pub values_max: usize,
    /// Time from the last byte to the verdict. `time_max`, default 1 s.
    pub time_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 8 << 20,
            depth_max: 64,
            values_max: 500_000,
            time_max: Duration::from_secs(1),
        }
    }
}
