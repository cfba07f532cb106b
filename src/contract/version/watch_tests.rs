//! Tests of what is told of a route's versions, and when.

use proptest::prelude::*;

use super::*;
use crate::contract::version::fields::{Deprecation, Sunset};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn days(days: u64) -> Duration {
    DAY * days as u32
}

fn sunset(at: Timestamp) -> Told {
    let form = Form::Standard;
    Told {
        sunset: Some(Sunset { at, form }),
        ..Told::default()
    }
}

fn deprecated(at: Option<Timestamp>) -> Told {
    let form = Form::Standard;
    Told {
        deprecation: Some(Deprecation { at, form }),
        ..Told::default()
    }
}

/// What is announced, as days left.
fn announced(changes: &[Change]) -> Vec<(Left, bool)> {
    let announced = changes.iter().filter_map(|change| match change {
        Change::Announced {
            left, is_reminder, ..
        } => Some((*left, *is_reminder)),
        _ => None,
    });
    announced.collect()
}

#[test]
fn a_date_is_told_once_and_again_as_its_milestones_pass() {
    let mut record = RouteRecord::default();
    let at = NOW.after(days(100));
    let mut told = Vec::new();
    for hour in 0..24 * 110 {
        let now = NOW.after(Duration::from_secs(hour * 3600));
        // Three answers an hour, and the clock alone.
        for _ in 0..3 {
            told.extend(announced(&record.hear(&sunset(at), true, now)));
        }
        told.extend(announced(&record.due(now)));
    }
    let want = [
        (Left::Days(100), false),
        (Left::Days(90), true),
        (Left::Days(30), true),
        (Left::Days(14), true),
        (Left::Days(7), true),
        (Left::Days(1), true),
        (Left::Days(0), true),
        (Left::Past, true),
    ];
    assert_eq!(told, want);
}

#[test]
fn milestones_that_passed_before_it_was_heard_are_told_in_one() {
    let mut record = RouteRecord::default();
    let at = NOW.after(days(10));
    assert_eq!(
        announced(&record.hear(&sunset(at), true, NOW)),
        [(Left::Days(10), false)]
    );
    assert!(record.due(NOW.after(days(2))).is_empty());
    assert_eq!(
        announced(&record.due(NOW.after(days(3)))),
        [(Left::Days(7), true)]
    );
    // Nothing ran for a week.
    assert_eq!(
        announced(&record.due(NOW.after(days(11)))),
        [(Left::Past, true)]
    );
    assert!(record.due(NOW.after(days(400))).is_empty());
}

#[test]
fn deprecation_is_told_when_it_is_heard_and_when_it_begins() {
    for (name, at, want) in [
        ("without a date", None, vec![(Left::Unknown, false)]),
        (
            "since long",
            Some(NOW.before(days(9))),
            vec![(Left::Past, false)],
        ),
        (
            "from next week on",
            Some(NOW.after(days(7))),
            vec![(Left::Days(7), false), (Left::Past, true)],
        ),
    ] {
        let mut record = RouteRecord::default();
        let told: Vec<_> = (0..20)
            .flat_map(|day| announced(&record.hear(&deprecated(at), true, NOW.after(days(day)))))
            .collect();
        assert_eq!(told, want, "{name}");
    }
}

#[test]
fn a_changed_date_is_news_and_the_old_one_holds_no_longer() {
    let mut record = RouteRecord::default();
    let (first, second) = (NOW.after(days(40)), NOW.after(days(80)));
    record.hear(&sunset(first), true, NOW);
    let later = NOW.after(days(2));
    assert_eq!(
        announced(&record.hear(&sunset(second), true, later)),
        [(Left::Days(78), false)]
    );
    assert_eq!(record.latest(NoticeKind::Sunset).unwrap().at, Some(second));
    // Thirty days before the old date nothing is said of it.
    let later = NOW.after(days(11));
    assert!(announced(&record.due(later)).is_empty());
    assert!(announced(&record.hear(&sunset(second), true, later)).is_empty());
}

#[test]
fn two_resources_of_one_route_have_their_own_dates() {
    let mut record = RouteRecord::default();
    let dates = [NOW.after(days(40)), NOW.after(days(80))];
    let mut told = 0;
    for minute in 0..1_000 {
        let now = NOW.after(Duration::from_secs(minute * 60));
        let answer = match minute % 3 {
            2 => Told::default(),
            nth => sunset(dates[nth as usize]),
        };
        let changes = record.hear(&answer, true, now);
        told += announced(&changes).len();
        assert!(!changes.iter().any(|it| matches!(it, Change::Gone(_))));
    }
    assert_eq!(told, 2);
}

#[test]
fn a_date_that_moves_with_every_answer_is_no_flood() {
    let mut record = RouteRecord::default();
    let mut told = 0;
    for minute in 0..24 * 60 {
        let now = NOW.after(Duration::from_secs(minute * 60));
        told += announced(&record.hear(&sunset(now.after(days(365))), true, now)).len();
        assert!(record.notices().count() <= NOTICES_MAX);
    }
    assert!(told <= DATES_PER_DAY_MAX, "{told}");
}

#[test]
fn a_field_is_gone_when_good_answers_lack_it_for_a_day() {
    let mut record = RouteRecord::default();
    let at = NOW.after(days(100));
    record.hear(&sunset(at), true, NOW);
    let nothing = Told::default();
    for (name, after, is_success, want) in [
        ("a minute later", Duration::from_secs(60), true, 0),
        ("an error a day later", GONE_AFTER, false, 0),
        ("a good answer a day later", GONE_AFTER, true, 1),
        ("and no second time", GONE_AFTER * 2, true, 0),
    ] {
        let changes = record.hear(&nothing, is_success, NOW.after(after));
        assert_eq!(changes.len(), want, "{name}");
    }
    assert!(!record.has_notices());
    assert!(
        record.due(at).is_empty(),
        "nobody is reminded of what was withdrawn"
    );
    // The same date again is not news, unless time has passed.
    let again = record.hear(&sunset(at), true, NOW.after(days(3)));
    assert!(again.is_empty());
    assert!(record.has_notices());
}

#[test]
fn another_version_is_told_once_until_the_pin_changes() {
    let mut record = RouteRecord::default();
    let statement = |version: &str| Statement {
        how: How::Answer,
        version: version.to_owned(),
    };
    let mut compare =
        |pinned: &str, version: &str| record.compare(pinned, vec![statement(version)], NOW).len();
    assert_eq!(compare("1", "2"), 1);
    assert_eq!(compare("1", "2"), 0);
    assert_eq!(compare("1", "3"), 1);
    assert_eq!(compare("2", "3"), 1);
    let many: usize = (10..100)
        .map(|version| compare("2", &version.to_string()))
        .sum();
    assert_eq!(many, MISMATCHES_MAX - 1);
}

#[test]
fn what_was_told_is_not_told_again_after_a_restart() {
    let mut record = RouteRecord::default();
    let at = NOW.after(days(20));
    record.hear(&sunset(at), true, NOW);
    record.hear(&deprecated(None), true, NOW);
    let text = serde_json::to_string(&record).unwrap();
    let mut again: RouteRecord = serde_json::from_str(&text).unwrap();
    assert_eq!(again, record);
    assert!(again.hear(&sunset(at), true, NOW).is_empty());
    assert!(again.hear(&deprecated(None), true, NOW).is_empty());
    assert_eq!(
        announced(&again.hear(&sunset(at), true, NOW.after(days(6)))),
        [(Left::Days(14), true)]
    );
}

proptest! {
    #[test]
    fn whatever_is_heard_memory_is_bounded_and_no_milestone_is_told_twice(
        answers in prop::collection::vec((0u64..4, prop::option::of(0u64..6), any::<bool>()), 1..200),
    ) {
        let mut record = RouteRecord::default();
        let mut now = NOW;
        let mut told = std::collections::HashSet::new();
        for (hours, date, is_success) in answers {
            now = now.after(Duration::from_secs(hours * 3600 * 7));
            let answer = date.map_or_else(Told::default, |nth| sunset(NOW.after(days(nth * 13))));
            for change in record.hear(&answer, is_success, now) {
                if let Change::Announced { notice, left, .. } = change {
                    let passed = notice.kind.milestones(left);
                    prop_assert!(told.insert((notice.at, passed)), "{notice:?} twice");
                }
            }
            prop_assert!(record.notices.len() <= NOTICES_MAX * 2);
        }
    }
}
