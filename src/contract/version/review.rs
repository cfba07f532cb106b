//! When an integration was to be looked at again (`review_by`), and whether that day is past. Pure.

use std::time::Duration;

use jiff::civil::Date;

use super::fields::day_end;
use crate::clock::Timestamp;

/// How often it is told of at most.
pub const TELL_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Since how many days the day of the review is past, in UTC, today included; `None`: it is not.
pub fn overdue_days(review_by: Date, now: Timestamp) -> Option<u64> {
    let end = day_end(review_by)?;
    (end <= now).then(|| now.since(end).as_secs() / (24 * 3600) + 1)
}

/// The end of that day, for metrics.
pub fn review_ends(review_by: Date) -> Timestamp {
    day_end(review_by).unwrap_or(Timestamp::NEVER)
}

/// Whether to tell of it again, having done so at `last`.
pub fn is_due(last: Option<Timestamp>, now: Timestamp) -> bool {
    last.is_none_or(|last| now.since(last) >= TELL_EVERY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_is_overdue_from_the_day_after_its_date() {
        let day: Date = "2026-11-25".parse().unwrap();
        // 2026-11-26T00:00:00Z
        let next_day = Timestamp::from_secs(1_795_651_200);
        for (name, now, want) in [
            (
                "that day's last moment",
                next_day.before(Duration::from_millis(1)),
                None,
            ),
            ("the day after", next_day, Some(1)),
            (
                "the day after, in the evening",
                next_day.after(Duration::from_secs(80_000)),
                Some(1),
            ),
            ("a week after", next_day.after(TELL_EVERY * 6), Some(7)),
            ("the year before", next_day.before(TELL_EVERY * 365), None),
        ] {
            assert_eq!(overdue_days(day, now), want, "{name}");
        }
    }

    #[test]
    fn it_is_told_of_once_a_day() {
        let now = Timestamp::from_secs(1_795_651_200);
        assert!(is_due(None, now));
        assert!(!is_due(
            Some(now),
            now.after(TELL_EVERY - Duration::from_secs(1))
        ));
        assert!(is_due(Some(now), now.after(TELL_EVERY)));
        assert!(
            !is_due(Some(now), now.before(TELL_EVERY)),
            "a clock set back"
        );
    }
}
