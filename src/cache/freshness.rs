//! Freshness: may a stored response answer this request, and for how long?
//!
//! Pure functions over facts and times; callers pass `now`. Nothing here reads a clock or a store.
//!
//! - RFC 9111 4.2.1 (lifetime), 4.2.2 (heuristics), 4.2.3 (age), 4.2.4 (stale); RFC 5861 (both directives).
//! - Heuristics are off unless the policy sets `heuristic_percent`: a guess may serve old data that looks current. A
//!   response without any lifetime is kept as the last known good answer and asked about on every use.
//! - A route's [`Policy`] fills in, bounds or overrides what the origin says.
//! - An answer that counts as a failure of the upstream has a lifetime at most, and nothing after it.
//!
//! # Invariants
//!
//! - State never goes back towards fresh as time passes.
//! - A clock that was set back makes nothing fresher: what seems to come from the future is not fresh.
//! - `no-cache`, `must-revalidate`, `proxy-revalidate` and `s-maxage` forbid stale use unless the policy overrides.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};

use super::control::{ResponseDirectives, delta_secs, split_list};
use crate::{clock::Timestamp, config::Policy, http::date as http_date};

/// A response time further ahead of the clock than this was written by a clock that has been set back since. What is
/// nearer is two readings that overtook each other, or a clock being slewed.
pub(super) const AHEAD_MAX: Duration = Duration::from_secs(2);

/// What a stored response says about its own freshness, parsed once when it is stored or loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its status.
    pub status: StatusCode,
    /// The upstream counts it as a failure: it may answer while it is fresh, and never stands in for a better one.
    pub failing: bool,
    /// `Cache-Control`.
    pub directives: ResponseDirectives,
    /// `Expires` minus `Date`: zero where unreadable or past.
    pub expires_in: Option<Duration>,
    /// `Date` minus `Last-Modified`, what a heuristic goes by (RFC 9111 4.2.2).
    pub unmodified_for: Option<Duration>,
    /// Age when it was received (RFC 9111 4.2.3, `corrected_initial_age`).
    pub initial_age: Duration,
    /// When it was received, or last confirmed by a 304.
    pub response_time: Timestamp,
    /// How long the upstream took, for early refresh.
    pub fetch_time: Duration,
}

impl Facts {
    /// Reads the fields of a response asked for at `request_time` and received at `response_time`.
    pub fn new(
        status: StatusCode,
        headers: &HeaderMap,
        request_time: Timestamp,
        response_time: Timestamp,
    ) -> Self {
        let directives = ResponseDirectives::parse(headers);
        let date = date(headers, &header::DATE);
        let made_at = date.unwrap_or(response_time);
        Self {
            status,
            failing: false,
            directives,
            // RFC 9213 2.2: beside a targeted field `Expires` is ignored.
            expires_in: expires_in(headers, made_at).filter(|_| !directives.targeted),
            unmodified_for: self::date(headers, &header::LAST_MODIFIED)
                .filter(|modified| *modified <= made_at)
                .map(|modified| made_at.since(modified)),
            initial_age: initial_age(headers, date, request_time, response_time),
            response_time,
            fetch_time: response_time.since(request_time),
        }
    }

    /// RFC 9111 4.2.3 `current_age`. A clock that was set back makes nobody younger than on arrival.
    pub fn age(&self, now: Timestamp) -> Duration {
        self.initial_age + now.since(self.response_time)
    }

    /// RFC 9111 4.2.1 in the order of a shared cache, under the policy; a guess where nobody named one and the policy
    /// allows it. `None`: nobody named a lifetime.
    pub fn lifetime(&self, policy: &Policy) -> Option<Duration> {
        Some(self.lifetime_with_source(policy)?.length)
    }

    /// The same with where it comes from.
    pub(super) fn lifetime_with_source(&self, policy: &Policy) -> Option<Lifetime> {
        self.named_lifetime(policy)
            .or_else(|| self.heuristic_lifetime(policy))
    }

    /// The same without a guess.
    pub(super) fn named_lifetime(&self, policy: &Policy) -> Option<Lifetime> {
        let directives = &self.directives;
        let origin = self.origin_lifetime();
        let negative = policy.negative.of(self.status);
        let negative = negative.map(|length| Lifetime::of(length, Source::Negative));
        let fresh = policy.fresh;
        let filled_in = negative.or(fresh.map(|length| Lifetime::of(length, Source::Fresh)));
        if policy.override_origin && filled_in.is_some() && !self.failing {
            return filled_in;
        }
        if directives.no_cache && !policy.override_origin {
            return Some(Lifetime::of(Duration::ZERO, Source::NoCache));
        }
        if self.failing {
            // Neither `fresh` nor its bounds are meant for failures.
            let origin =
                origin.map(|lifetime| lifetime.at_most(policy.negative_max, Bound::NegativeMax));
            return if policy.override_origin {
                negative.or(origin)
            } else {
                origin.or(negative)
            };
        }
        let bounded = origin.map(|lifetime| {
            let at_least = lifetime.at_least(policy.fresh_min.unwrap_or_default());
            let max = policy.fresh_max;
            max.map_or(at_least, |max| at_least.at_most(max, Bound::FreshMax))
        });
        bounded.or(filled_in)
    }

    /// RFC 9111 4.2.2: never beside an explicit expiration time, and only where the status, or `public`, marks the
    /// response as cacheable.
    fn heuristic_lifetime(&self, policy: &Policy) -> Option<Lifetime> {
        if policy.heuristic_percent == 0 || self.failing {
            return None;
        }
        if !self.directives.public && !is_heuristically_cacheable(self.status) {
            return None;
        }
        let guess = self.unmodified_for? / 100 * policy.heuristic_percent.min(100);
        let guess = Lifetime::of(guess, Source::Heuristic);
        Some(guess.at_most(policy.heuristic_max, Bound::HeuristicMax))
    }

    /// What the origin itself says, whatever the policy. `None`: nothing.
    pub(super) fn origin_lifetime(&self) -> Option<Lifetime> {
        let directives = &self.directives;
        let named = |length: Option<Duration>, source| Some(Lifetime::of(length?, source));
        named(directives.s_maxage, Source::SMaxage)
            .or(named(directives.max_age, Source::MaxAge))
            .or(named(self.expires_in, Source::Expires))
    }

    /// Whether it may be used once stale at all (RFC 9111 4.2.4).
    pub fn allows_stale(&self, policy: &Policy) -> bool {
        self.stale_forbidden_by(policy).is_none()
    }

    /// What forbids its use once stale.
    pub(super) fn stale_forbidden_by(&self, policy: &Policy) -> Option<StaleForbidden> {
        if self.failing {
            return Some(StaleForbidden::Failing);
        }
        let by_origin = self.directives.stale_forbidden_by();
        by_origin.filter(|_| !policy.override_origin)
    }

    /// The origin's own window ends at the policy's hard end.
    fn stale_while_revalidate(&self, policy: &Policy) -> Duration {
        self.directives
            .stale_while_revalidate
            .filter(|_| !policy.override_origin)
            .map_or(policy.stale_while_revalidate, |origin| {
                origin.min(policy.max_stale)
            })
    }

    fn stale_if_error(&self, policy: &Policy) -> Duration {
        self.directives
            .stale_if_error
            .filter(|_| !policy.override_origin)
            .map_or(policy.max_stale, |origin| origin.min(policy.max_stale))
    }

    /// The times of its life under the policy, counted in its age. `spread`: as for [`Facts::judge`].
    pub(super) fn ages(&self, policy: &Policy, spread: f32) -> Ages {
        let named = self.lifetime(policy);
        let lifetime = shortened(named.unwrap_or_default(), policy.spread_percent, spread);
        if self.failing {
            return Ages {
                fresh: lifetime,
                at_once: lifetime,
                stale: lifetime,
            };
        }
        // Nobody named a lifetime: there is no window after it either, only the last known good answer.
        let at_once = named.map_or(Duration::ZERO, |_| self.stale_while_revalidate(policy));
        let allowed = self.allows_stale(policy);
        Ages {
            fresh: lifetime,
            at_once: lifetime.saturating_add(if allowed { at_once } else { Duration::ZERO }),
            stale: lifetime.saturating_add(self.stale_if_error(policy).max(at_once)),
        }
    }

    /// When it is of no use any more, not even in an outage. The store evicts such entries first.
    pub fn dead_at(&self, policy: &Policy) -> Timestamp {
        let lifetime = self.lifetime(policy).unwrap_or_default();
        let stale = if self.failing {
            Duration::ZERO
        } else {
            self.stale_if_error(policy)
                .max(self.stale_while_revalidate(policy))
        };
        self.response_time
            .after(lifetime.saturating_sub(self.initial_age))
            .after(stale)
    }

    /// When its age comes to this.
    pub(super) fn comes_of_age(&self, age: Duration) -> Timestamp {
        self.response_time
            .after(age.saturating_sub(self.initial_age))
    }

    /// Whether the clock was set back since it was received, so that nobody knows how old it is.
    pub(super) fn is_from_the_future(&self, now: Timestamp) -> bool {
        self.response_time > now.after(AHEAD_MAX)
    }

    /// How long before its end it may be refreshed early: beyond ten times the fetch time the probability is below e^-10,
    /// not worth drawing a number.
    pub(super) fn early_within(&self) -> Duration {
        self.fetch_time * 10
    }

    /// Judges the stored response at `now`. `chance` is uniform in (0, 1]: it decides early refresh only, drawn once per
    /// request. `spread` in 0..=1 is fixed per key: where in the policy's spread its lifetime falls.
    pub fn judge(
        &self,
        policy: &Policy,
        spread: f32,
        now: Timestamp,
        chance: impl FnOnce() -> f64,
    ) -> Verdict {
        let ages = self.ages(policy, spread);
        let lifetime = ages.fresh;
        let age = if self.is_from_the_future(now) {
            // The clock was set back and nothing tells by how much: taken to be as old as it may be and still answer.
            self.initial_age.max(lifetime)
        } else {
            self.age(now)
        };
        let stale_allowed = self.allows_stale(policy);
        let verdict = |state| Verdict {
            state,
            age,
            lifetime,
            stale_allowed,
        };
        if age < lifetime {
            let early = policy.early && self.is_early(lifetime - age, chance);
            return verdict(if early { State::Early } else { State::Fresh });
        }
        if age < ages.at_once {
            verdict(State::StaleWhileRevalidate)
        } else if age < ages.stale {
            verdict(State::Stale)
        } else {
            verdict(State::Gone)
        }
    }

    /// XFetch: the longer a fetch takes, and the nearer the expiry, the likelier one request refreshes ahead of time.
    /// (Vattani et al., "Optimal probabilistic cache stampede prevention", VLDB 2015, with beta = 1.)
    fn is_early(&self, left: Duration, chance: impl FnOnce() -> f64) -> bool {
        left < self.early_within()
            && self.fetch_time.as_secs_f64() * -chance().max(f64::MIN_POSITIVE).ln()
                >= left.as_secs_f64()
    }
}

/// A lifetime and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lifetime {
    /// How long.
    pub(super) length: Duration,
    /// Who named it.
    pub(super) source: Source,
    /// The bound of the policy that changed it, if one did; of several the last.
    pub(super) bound: Option<Bound>,
}

/// Who named a lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// `s-maxage` (RFC 9111 5.2.2.10).
    SMaxage,
    /// `max-age` (5.2.2.1).
    MaxAge,
    /// `Expires` (5.3).
    Expires,
    /// `no-cache`: none at all (5.2.2.4).
    NoCache,
    /// A guess (4.2.2).
    Heuristic,
    /// The policy's `fresh`.
    Fresh,
    /// The policy's `negative`.
    Negative,
}

/// A bound of the policy on a lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// `fresh_min` made it longer.
    FreshMin,
    /// `fresh_max` made it shorter.
    FreshMax,
    /// `negative_max` did.
    NegativeMax,
    /// `heuristic_max` did.
    HeuristicMax,
}

impl Lifetime {
    fn of(length: Duration, source: Source) -> Self {
        Self {
            length,
            source,
            bound: None,
        }
    }

    fn at_most(self, max: Duration, bound: Bound) -> Self {
        if self.length <= max {
            return self;
        }
        Self {
            length: max,
            bound: Some(bound),
            ..self
        }
    }

    fn at_least(self, min: Duration) -> Self {
        if self.length >= min {
            return self;
        }
        Self {
            length: min,
            bound: Some(Bound::FreshMin),
            ..self
        }
    }
}

/// Until which age a stored response is what. Each is at least the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ages {
    /// Fresh.
    pub(super) fresh: Duration,
    /// Stale, answered at once and refreshed behind.
    pub(super) at_once: Duration,
    /// Stale, asked about.
    pub(super) stale: Duration,
}

/// What forbids the use of a stored response once it is stale (RFC 9111 4.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StaleForbidden {
    /// It is an error that counts as a failure of the upstream: it never stands in for a better answer.
    Failing,
    /// `no-cache`.
    NoCache,
    /// `must-revalidate`.
    MustRevalidate,
    /// `proxy-revalidate`.
    ProxyRevalidate,
    /// `s-maxage`, which implies `proxy-revalidate`.
    SMaxage,
}

/// Where a stored response is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Answers.
    Fresh,
    /// Answers, and this request refreshes it behind.
    Early,
    /// Answers, and is refreshed behind (RFC 5861 3).
    StaleWhileRevalidate,
    /// Has to be asked about; answers if that fails or takes too long, where stale use is allowed.
    Stale,
    /// Past the hard end: good for validation only.
    Gone,
}

/// What [`Facts::judge`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Where it is in its life.
    pub state: State,
    /// Its age now.
    pub age: Duration,
    /// Its lifetime under the policy, spread included.
    pub lifetime: Duration,
    /// Whether it may be used without success of the upstream once stale.
    pub stale_allowed: bool,
}

impl Verdict {
    /// Seconds of freshness left, negative when stale (RFC 9211 2.4).
    pub fn ttl_secs(&self) -> i64 {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        millis(self.lifetime)
            .saturating_sub(millis(self.age))
            .div_euclid(1000)
    }

    /// Whether it can stand in for an answer of a failed upstream.
    pub fn is_last_known_good(&self) -> bool {
        match self.state {
            State::Fresh | State::Early => true,
            State::StaleWhileRevalidate | State::Stale => self.stale_allowed,
            State::Gone => false,
        }
    }
}

fn shortened(lifetime: Duration, spread_percent: u32, spread: f32) -> Duration {
    if spread_percent == 0 {
        return lifetime;
    }
    // The configuration holds the percentage to 50; a float that rounds up cannot lengthen anything.
    lifetime.mul_f32(1.0 - (spread_percent as f32 / 100.0).min(1.0) * spread.clamp(0.0, 1.0))
}

/// RFC 9110 15.1, without 206: a part is judged by what it is a part of.
pub(super) fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

/// RFC 9111 4.2.3. `Date` names a whole second: a response made within it is not older than its last millisecond.
fn initial_age(
    headers: &HeaderMap,
    date: Option<Timestamp>,
    request_time: Timestamp,
    response_time: Timestamp,
) -> Duration {
    let apparent_age = date.map_or(Duration::ZERO, |date| {
        response_time.since(date.after(Duration::from_millis(999)))
    });
    let response_delay = response_time.since(request_time);
    apparent_age.max(age_value(headers) + response_delay)
}

/// The first member of `Age` (RFC 9111 5.1); unreadable is zero, as if absent.
fn age_value(headers: &HeaderMap) -> Duration {
    headers
        .get(header::AGE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| split_list(value).next())
        .and_then(delta_secs)
        .unwrap_or_default()
}

/// RFC 9111 5.3: an invalid date, especially "0", is in the past; so are several that differ.
fn expires_in(headers: &HeaderMap, date: Timestamp) -> Option<Duration> {
    let mut lines = headers.get_all(header::EXPIRES).iter();
    let first = lines.next()?;
    if lines.any(|line| line != first) {
        return Some(Duration::ZERO);
    }
    Some(parse_date(first).map_or(Duration::ZERO, |expires| expires.since(date)))
}

/// A date field, `None` where absent or unreadable.
pub(super) fn date(headers: &HeaderMap, name: &http::HeaderName) -> Option<Timestamp> {
    parse_date(headers.get(name)?)
}

fn parse_date(value: &http::HeaderValue) -> Option<Timestamp> {
    http_date::parse(value.as_bytes())
}

#[cfg(test)]
#[path = "freshness_tests.rs"]
mod tests;
