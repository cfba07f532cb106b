//! Times and durations as explanations write them.

use std::time::Duration;

use jiff::fmt::friendly::SpanPrinter;

use crate::clock::Timestamp;

/// RFC 3339 in UTC, to the second.
pub(super) fn instant(at: Timestamp) -> String {
    let secs = i64::try_from(at.as_millis() / 1000).unwrap_or(i64::MAX);
    // Beyond the year 9999 there is no such text.
    jiff::Timestamp::from_second(secs).map_or_else(|_| "never".to_owned(), |at| at.to_string())
}

/// Seconds, to the millisecond.
pub(super) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// `90s` as `1m 30s`; above a second, whole seconds.
pub fn short(duration: Duration) -> String {
    let duration = if duration >= Duration::from_secs(1) {
        Duration::from_secs(duration.as_secs())
    } else {
        Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    };
    SpanPrinter::new().unsigned_duration_to_string(&duration)
}
