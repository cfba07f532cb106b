//! The shell: what is heard through ears, told, and kept over a restart.

use http::HeaderValue;

use super::*;
use crate::{
    config::{self, FixedEnv},
    http::Body,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Default)]
struct Desk {
    kept: Arc<Mutex<Option<Vec<u8>>>>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Desk {
    fn versions(&self, clock: &Clock) -> Versions {
        let kept = lock(&self.kept).clone();
        let heard = Arc::clone(&self.heard);
        Versions::new(clock.clone(), kept.as_deref(), move |event| {
            lock(&heard).push(match event {
                VersionEvent::Changed { route, change } => match change {
                    Change::Announced { notice, left, .. } => {
                        format!(
                            "{} {} {}",
                            route.name,
                            notice.kind.as_str(),
                            left.in_words()
                        )
                    }
                    Change::Gone(_) => format!("{} gone", route.name),
                    Change::Mismatch { pinned, statement } => {
                        format!("{} {pinned} {}", route.name, statement.version)
                    }
                },
                VersionEvent::ReviewOverdue { upstream, days } => {
                    format!("{} overdue {days}", upstream.name)
                }
            });
        })
    }

    /// As at the end of a process.
    fn keep(&self, versions: &Versions) {
        *lock(&self.kept) = Some(versions.0.written_down());
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.heard))
    }
}

fn config(lines: &str) -> config::Config {
    let text = format!(
        "upstream.api.endpoints = [\"http://127.0.0.1:9100\"]\n{lines}\n[[route]]\nname = \"prices\"\npath = \"/{{*rest}}\"\nupstream = \"api\"\n"
    );
    let env = FixedEnv::default();
    config::parse(&text, std::path::Path::new("proxy.toml"), &env).unwrap()
}

fn answer(status: u16, fields: &[(&'static str, &str)]) -> Response {
    let mut response = http::Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in fields {
        let value = HeaderValue::from_str(value).unwrap();
        response.headers_mut().append(*name, value);
    }
    response
}

fn sunset(at: Timestamp) -> String {
    httpdate::fmt_http_date(at.into())
}

#[test]
fn many_answers_and_a_restart_tell_once() {
    let (clock, desk) = (Clock::manual(NOW), Desk::default());
    let config = config("");
    let date = sunset(NOW.after(DAY * 40));
    for _ in 0..2 {
        let versions = desk.versions(&clock);
        versions.remind(&config.routes, &config.upstreams);
        let ears = versions.ears(&config.routes[0]);
        for status in [200, 503, 304, 404] {
            ears(answer(
                status,
                &[("sunset", &date), ("deprecation", "@1688169599")],
            ));
        }
        desk.keep(&versions);
    }
    let want = ["prices deprecated past", "prices sunset in 40 days"];
    assert_eq!(desk.told(), want);
    // Nobody asks for weeks: time alone reminds, and once.
    clock.advance(DAY * 11);
    let versions = desk.versions(&clock);
    for _ in 0..3 {
        versions.remind(&config.routes, &config.upstreams);
    }
    assert_eq!(desk.told(), ["prices sunset in 29 days"]);
}

#[test]
fn an_answer_that_lacks_the_field_is_looked_at_where_there_was_one() {
    let (clock, desk) = (Clock::manual(NOW), Desk::default());
    let config = config("");
    let versions = desk.versions(&clock);
    let ears = versions.ears(&config.routes[0]);
    ears(answer(200, &[("sunset", &sunset(NOW.after(DAY * 400)))]));
    clock.advance(DAY * 2);
    ears(answer(500, &[]));
    assert_eq!(desk.told(), ["prices sunset in 400 days"]);
    ears(answer(200, &[]));
    ears(answer(200, &[]));
    assert_eq!(desk.told(), ["prices gone"]);
    assert!(
        !versions
            .watch(&config.routes[0].name)
            .has_notices
            .load(Ordering::Relaxed)
    );
}

#[test]
fn an_answer_as_another_version_is_told_once() {
    let (clock, desk) = (Clock::manual(NOW), Desk::default());
    let config =
        config("upstream.api.api_version = { header = \"X-Api-Version\", value = \"2024-10-01\" }");
    let versions = desk.versions(&clock);
    let ears = versions.ears(&config.routes[0]);
    for version in ["2024-10-01", "2025-01-15", "2025-01-15", "2024-10-01"] {
        ears(answer(200, &[("x-api-version", version)]));
    }
    assert_eq!(desk.told(), ["prices 2024-10-01 2025-01-15"]);
    assert_eq!(versions.snapshot("prices").unwrap().mismatches, 2);
}

#[test]
fn an_overdue_review_is_told_once_a_day_over_restarts() {
    let (clock, desk) = (Clock::manual(NOW), Desk::default());
    // NOW is 2027-01-15.
    let config = config("upstream.api.review_by = 2027-01-13");
    let mut told = 0;
    for hour in 0..72 {
        let versions = desk.versions(&clock);
        versions.remind(&config.routes, &config.upstreams);
        let now = desk.told();
        assert_eq!(now.len(), usize::from(hour % 24 == 0), "{hour}: {now:?}");
        told += now.len();
        desk.keep(&versions);
        clock.advance(Duration::from_secs(3600));
    }
    assert_eq!(told, 3);
}

#[test]
fn what_was_kept_and_cannot_be_read_is_as_good_as_nothing() {
    for bytes in [&b"{"[..], b"{\"format\":9}", b"", b"[]"] {
        let versions = Versions::new(Clock::manual(NOW), Some(bytes), |_| {});
        assert!(versions.snapshot("prices").is_none());
    }
}

#[test]
fn former_routes_are_forgotten() {
    let (clock, desk) = (Clock::manual(NOW), Desk::default());
    let config = config("");
    let versions = desk.versions(&clock);
    let mut other = (*config.routes[0]).clone();
    other.name = "former".into();
    let ears = versions.ears(&Arc::new(other));
    ears(answer(200, &[("deprecation", "true")]));
    versions.remind(&config.routes, &config.upstreams);
    assert!(versions.snapshot("former").is_some());
    clock.advance(FORMER_FOR + DAY);
    versions.remind(&config.routes, &config.upstreams);
    assert!(versions.snapshot("former").is_none());
}
