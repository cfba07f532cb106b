//! Versions as operators hear of them: alerts, the list of the admin API, samples; and the hourly look at dates.

use std::{sync::Arc, time::Duration};

use super::report::Report;
use crate::{
    admin::{DeprecationStatus, LinkStatus, MismatchStatus, SunsetStatus, VersionStatus},
    clock::Timestamp,
    config::{RouteConfig, UpstreamConfig},
    contract::version::{Change, Left, Notice, NoticeKind, Statement, VersionEvent, review},
    observe::{Alert, Alerts, Samples},
};

/// How often dates are looked at that come nearer while nobody asks.
const REMIND_EVERY: Duration = Duration::from_secs(3600);

/// Looks at dates now and every hour. Ends only by being dropped.
pub(super) async fn remind(report: Arc<Report>) {
    loop {
        let config = report.config();
        report.versions.remind(&config.routes, &config.upstreams);
        tokio::time::sleep(REMIND_EVERY).await;
    }
}

/// Raises the alert of an event, or notes what needs none.
pub(super) fn tell(alerts: &Alerts, event: &VersionEvent<'_>) {
    match event {
        VersionEvent::Changed { route, change } => match change {
            Change::Announced {
                notice,
                left,
                is_reminder,
            } => alerts.raise(announced(route, notice, *left, *is_reminder)),
            Change::Mismatch { pinned, statement } => {
                alerts.raise(mismatch(route, pinned, statement));
            }
            Change::Gone(notice) => tracing::info!(
                route = &*route.name,
                upstream = &*route.upstream.name,
                kind = notice.kind.as_str(),
                date = notice.at.map(day),
                last_seen = day(notice.last_seen),
                "answers no longer say what they said of this route's end"
            ),
        },
        VersionEvent::ReviewOverdue { upstream, days } => {
            alerts.raise(overdue(upstream, *days));
        }
    }
}

fn announced(route: &RouteConfig, notice: &Notice, left: Left, is_reminder: bool) -> Alert {
    let upstream = &route.upstream;
    let date = notice.at.map(day);
    let again = if is_reminder {
        ", as it said before"
    } else {
        ""
    };
    let lenient = match notice.is_lenient {
        true => " (not written as the standard has it)",
        false => "",
    };
    let message = match (notice.kind, date.as_deref()) {
        (NoticeKind::Deprecated, None) => format!(
            "upstream {} calls what this route asks for deprecated{lenient}: it answers as before, and should not be built on",
            upstream.name
        ),
        (NoticeKind::Deprecated, Some(date)) => {
            let when = match left {
                Left::Past => format!("since {date}"),
                left => format!("from {date} on, {}", left.in_words()),
            };
            format!(
                "upstream {} calls what this route asks for deprecated {when}{lenient}{again}",
                upstream.name
            )
        }
        (NoticeKind::Sunset, date) => {
            let date = date.unwrap_or_default();
            let when = match left {
                Left::Past => format!("may be gone: its sunset {date} is past"),
                left => format!("ends on {date}, {}", left.in_words()),
            };
            format!(
                "what this route asks of upstream {} {when}{lenient}{again}",
                upstream.name
            )
        }
    };
    // Two dates of one route are two things, also within a minute.
    let subject = match date {
        Some(date) => format!("route {} ({date})", route.name),
        None => format!("route {}", route.name),
    };
    alert(notice.kind.as_str(), subject, message, upstream)
}

fn mismatch(route: &RouteConfig, pinned: &str, statement: &Statement) -> Alert {
    let upstream = &route.upstream;
    let Statement { how, version } = statement;
    let message = format!(
        "upstream {} {} `{version}`, and `{pinned}` is pinned; its answers are served as before",
        upstream.name,
        how.as_words(),
    );
    let subject = format!("route {} ({version})", route.name);
    alert("version_mismatch", subject, message, upstream)
}

fn overdue(upstream: &UpstreamConfig, days: u64) -> Alert {
    let by = upstream.review_by.map(|day| day.to_string());
    let days = match days {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    let message = format!(
        "its review was due by {} and is {days} late: look at `larder docs --upstream {}`, and set the next `review_by`",
        by.unwrap_or_default(),
        upstream.name
    );
    alert(
        "review_overdue",
        upstream.name.to_string(),
        message,
        upstream,
    )
}

fn alert(kind: &'static str, subject: String, message: String, upstream: &UpstreamConfig) -> Alert {
    Alert {
        kind,
        subject,
        message,
        owner: upstream.owner.clone(),
        runbook: upstream.runbook.clone(),
    }
}

/// The day of a time, in UTC.
pub(super) fn day(at: Timestamp) -> String {
    let millis = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map_or_else(
        // Later than the calendar goes.
        |_| "a day that never comes".to_owned(),
        |at| at.strftime("%Y-%m-%d").to_string(),
    )
}

impl Report {
    /// What there is to say of a route's versions.
    pub(super) fn version_status(&self, route: &RouteConfig) -> Option<VersionStatus> {
        let pinned = route
            .api_version
            .as_ref()
            .map(|pinned| pinned.text().to_owned());
        let (now, heard) = (self.versions.now(), self.versions.snapshot(&route.name));
        let heard = heard
            .filter(|heard| heard.record.has_notices() || !heard.record.mismatches().is_empty());
        if pinned.is_none() && heard.is_none() {
            return None;
        }
        let mut status = VersionStatus {
            route: route.name.to_string(),
            upstream: route.upstream.name.to_string(),
            pinned,
            deprecated: None,
            sunset: None,
            other_dates: Vec::new(),
            links: Vec::new(),
            mismatches: Vec::new(),
            mismatched_answers: 0,
        };
        let Some(heard) = heard else {
            return Some(status);
        };
        let record = &heard.record;
        let deprecated = record.latest(NoticeKind::Deprecated);
        status.deprecated = deprecated.map(|notice| DeprecationStatus {
            at: notice.at,
            first_seen: notice.first_seen,
            last_seen: notice.last_seen,
            lenient: notice.is_lenient,
        });
        let sunset = record.latest(NoticeKind::Sunset);
        status.sunset = sunset.and_then(|notice| sunset_status(notice, now));
        let is_other = |notice: &&Notice| {
            ![deprecated, sunset].contains(&Some(*notice)) && notice.at.is_some()
        };
        let others = record.notices().filter(is_other);
        status.other_dates = others.filter_map(|notice| notice.at).collect();
        status.links = record
            .links()
            .iter()
            .map(|(rel, target)| LinkStatus {
                rel: rel.clone(),
                target: target.clone(),
            })
            .collect();
        let mismatches = record.mismatches().iter();
        status.mismatches = mismatches
            .map(|known| MismatchStatus {
                how: known.how.as_str(),
                version: known.version.clone(),
                first_seen: known.first_seen,
            })
            .collect();
        status.mismatched_answers = heard.mismatches;
        Some(status)
    }

    pub(super) fn sample_versions(&self, samples: &mut Samples) {
        for route in &self.config().routes {
            let heard = self.versions.snapshot(&route.name);
            let date = |kind| {
                let heard = heard.as_ref()?;
                Some(
                    heard
                        .record
                        .latest(kind)?
                        .at
                        .unwrap_or(Timestamp::from_secs(1)),
                )
            };
            let label = [("route", &*route.name)];
            samples.gauge(
                "route_deprecation_timestamp_seconds",
                "When what the route asks for was or will be deprecated, 1 where the vendor names no date, 0 where it says nothing",
                &label,
                seconds(date(NoticeKind::Deprecated)),
            );
            samples.gauge(
                "route_sunset_timestamp_seconds",
                "When what the route asks for may be gone, 0 where the vendor names no date",
                &label,
                seconds(date(NoticeKind::Sunset)),
            );
            samples.counter(
                "route_version_mismatches",
                "Answers that named another version than the pinned one",
                &label,
                heard.map_or(0, |heard| heard.mismatches),
            );
        }
        for upstream in &self.config().upstreams {
            samples.gauge(
                "upstream_review_timestamp_seconds",
                "End of the day by which somebody was to look at this integration, 0 where none is set",
                &[("upstream", &*upstream.name)],
                seconds(upstream.review_by.map(review::review_ends)),
            );
        }
    }
}

fn sunset_status(notice: &Notice, now: Timestamp) -> Option<SunsetStatus> {
    let at = notice.at?;
    let left = Left::until(Some(at), now);
    Some(SunsetStatus {
        at,
        days_left: match left {
            Left::Days(days) => days,
            Left::Past | Left::Unknown => 0,
        },
        past: left == Left::Past,
        first_seen: notice.first_seen,
        last_seen: notice.last_seen,
        lenient: notice.is_lenient,
    })
}

fn seconds(at: Option<Timestamp>) -> f64 {
    at.map_or(0.0, |at| (at.as_millis() / 1000) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_written_as_calendars_have_it() {
        for (secs, want) in [
            (0, "1970-01-01"),
            (1_800_000_000, "2027-01-15"),
            (u64::MAX / 1000, "a day that never comes"),
        ] {
            assert_eq!(day(Timestamp::from_secs(secs)), want);
        }
    }
}
