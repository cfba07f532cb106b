//! Slow start: an endpoint that comes back takes its full share of the traffic only after a while.
//!
//! What has just started has cold caches and empty pools; all of the traffic at once is what takes it down again. Pure.

use std::time::Duration;

/// The share right after the return: enough to warm up by.
const FLOOR: f64 = 0.1;

/// The share of its usual traffic for an endpoint that has been back for this long: from a tenth, evenly up to all of it
/// after `slow_start`. One that was never away (`None`) takes all.
pub(super) fn weight(back_for: Option<Duration>, slow_start: Duration) -> f64 {
    match back_for {
        Some(back) if back < slow_start => {
            let progress = back.as_secs_f64() / slow_start.as_secs_f64();
            FLOOR + (1.0 - FLOOR) * progress
        }
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_share_grows_evenly_from_a_floor() {
        for (name, back_for_secs, slow_start_secs, want) in [
            ("never away", None, 10, 1.0),
            ("just back", Some(0), 10, 0.1),
            ("half way", Some(5), 10, 0.55),
            ("over", Some(10), 10, 1.0),
            ("turned off", Some(0), 0, 1.0),
        ] {
            let back_for = back_for_secs.map(Duration::from_secs);
            let got = weight(back_for, Duration::from_secs(slow_start_secs));
            assert!((got - want).abs() < 1e-9, "{name}: {got}");
        }
    }

    proptest! {
        #[test]
        fn the_share_never_shrinks_and_is_never_nothing(millis in 0u64..20_000, more in 0u64..20_000) {
            let slow_start = Duration::from_secs(10);
            let share = |millis| weight(Some(Duration::from_millis(millis)), slow_start);
            prop_assert!(share(millis) >= FLOOR && share(millis) <= 1.0);
            prop_assert!(share(millis + more) >= share(millis));
        }
    }
}
