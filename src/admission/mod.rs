//! Admission: what this process takes on at once, so that overload is an answer and not a collapse.
//!
//! `route -> [admission] -> cache -> coalesce -> ...`
//!
//! - **Clients.** So many connections of one address (`listener`), and so many requests (`clients`, answered 429).
//! - **Requests that wait.** Whoever the store does not answer takes a place among those that wait for an upstream, and
//!   whoever asks the upstream takes one among the fetches. Both are divided between the routes (`shares`), so that those
//!   of a vendor that hangs cannot have the places of another's. A route may have a rate of its own (`rate`).
//! - **Bodies.** What is held of bodies has a budget (`http::bodies`).
//!
//! There is no queue: a place is free or it is not, and what is refused ("shed") goes down the cache's ladder at once with
//! [`Cause::Overloaded`]: the stored copy, the fallback, a 503 with `Retry-After`. So the cache asks for the place, when it
//! knows that the store does not answer: a hit costs nothing here, and is never shed.
//!
//! # Invariants
//!
//! - Nobody waits for a place.
//! - However many requests one route is sent, every other has its own part of the places at once (`shares`).
//! - Permits come back on every way: they are given back when dropped.

mod client;
mod clients;
mod memory;
mod pool;
mod rate;
mod shares;

use std::time::Duration;

use tokio::time::Instant;

pub use self::{client::ClientKey, clients::ClientRate, memory::memory_bytes_max, pool::Permit};
use self::{
    pool::Pool,
    rate::{Arrival, Cells},
    shares::Party,
};
use crate::{
    config::{Config, RateLimit},
    failure::{Cause, Failure, Sent},
    http::fetch::Priority,
    observe::{Samples, Source},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// When whoever was shed may come back. What is full here empties within fractions of a second, or stays full for as long
/// as a vendor hangs, which nobody knows: the shortest time that `Retry-After` can say.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Of a route's burst, what requests with a copy behind them leave to those without.
const KEPT_OF_BURST_PERCENT: u32 = 20;

/// The failure of a request for which there is no room in this process. Nothing was sent.
pub fn overloaded() -> Failure {
    Failure::new(Cause::Overloaded, Sent::Nothing).with_retry_after(Some(RETRY_AFTER))
}

/// Why a request was shed; a closed set, in the words of the keys that bound it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShedReason {
    /// Too many wait for an upstream: of the route, or of all beside what is kept for others.
    RequestsMax,
    /// Too many fetches are under way.
    FetchesMax,
    /// The route's `rate`.
    Rate,
}

impl ShedReason {
    /// All of them, in the order of their index.
    pub const ALL: [Self; 3] = [Self::RequestsMax, Self::FetchesMax, Self::Rate];

    /// The word for it in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequestsMax => "requests_max",
            Self::FetchesMax => "fetches_max",
            Self::Rate => "rate",
        }
    }
}

/// The places of the process, and who has them.
#[derive(Debug)]
pub struct Admission {
    requests: Pool,
    fetches: Pool,
    routes: Vec<RouteAdmission>,
}

impl Admission {
    /// By `[server]` and the routes of this config.
    pub fn new(config: &Config) -> Self {
        let server = &config.server;
        let group = |name: &str| {
            let upstreams = &mut config.upstreams.iter();
            upstreams.position(|upstream| *upstream.name == *name)
        };
        let party = |max: fn(&crate::config::RouteConfig) -> Option<usize>| -> Vec<_> {
            let party = |route: &std::sync::Arc<crate::config::RouteConfig>| Party {
                group: group(&route.upstream.name).unwrap_or_default(),
                max: max(route),
            };
            config.routes.iter().map(party).collect()
        };
        let reserved = server.reserved_percent;
        let waiting = party(|route| route.requests_max);
        let requests = Pool::new(server.requests_max, reserved, &waiting);
        let fetches = Pool::new(server.fetches_max, reserved, &party(|_| None));
        let mut admission = Self {
            requests,
            fetches,
            routes: Vec::new(),
        };
        let routes = config.routes.iter().enumerate();
        admission.routes = routes
            .map(|(party, route)| admission.admitting(party, &route.name, route.rate))
            .collect();
        admission
    }

    /// What a route of the config asks. One that the config does not have is never admitted anything.
    pub fn route(&self, name: &str) -> RouteAdmission {
        let mut routes = self.routes.iter();
        let found = routes.find(|route| route.0.name == name).cloned();
        found.unwrap_or_else(|| self.admitting(usize::MAX, name, None))
    }

    fn admitting(&self, party: usize, name: &str, rate: Option<RateLimit>) -> RouteAdmission {
        RouteAdmission(Arc::new(Route {
            name: name.to_owned(),
            party,
            requests: self.requests.clone(),
            fetches: self.fetches.clone(),
            rate: rate.map(RouteRate::new),
            shed: Default::default(),
        }))
    }

    /// Requests that wait for an upstream now.
    pub fn waiting(&self) -> usize {
        self.requests.taken()
    }

    /// How many may.
    pub fn waiting_max(&self) -> usize {
        self.requests.total()
    }

    /// Fetches under way.
    pub fn fetches(&self) -> usize {
        self.fetches.taken()
    }

    /// Requests of all routes shed so far.
    pub fn shed(&self) -> u64 {
        let routes = self.routes.iter();
        routes
            .flat_map(|route| ShedReason::ALL.map(|reason| route.shed(reason)))
            .sum()
    }
}

impl Source for Admission {
    fn sample(&self, samples: &mut Samples) {
        samples.gauge(
            "requests_waiting",
            "Requests that wait for an upstream",
            &[],
            self.waiting() as f64,
        );
        for route in &self.routes {
            for reason in ShedReason::ALL {
                samples.counter(
                    "shed",
                    "Requests and refreshes for which there was no room in this process",
                    &[("route", &route.0.name), ("reason", reason.as_str())],
                    route.shed(reason),
                );
            }
        }
    }
}

/// What one route may take. Clones share it.
#[derive(Clone, Debug)]
pub struct RouteAdmission(Arc<Route>);

#[derive(Debug)]
struct Route {
    name: String,
    party: usize,
    requests: Pool,
    fetches: Pool,
    rate: Option<RouteRate>,
    shed: [AtomicU64; ShedReason::ALL.len()],
}

impl RouteAdmission {
    /// A place among the requests that wait for an upstream, for as long as one does.
    ///
    /// # Errors
    ///
    /// It is shed.
    pub fn wait(&self, priority: Priority) -> Result<Permit, Failure> {
        let route = &*self.0;
        let Some(permit) = route.requests.take(route.party, priority) else {
            return Err(self.shed_by(ShedReason::RequestsMax));
        };
        match &route.rate {
            None => Ok(permit),
            Some(rate) => match rate.admit(priority) {
                Ok(()) => Ok(permit),
                Err(wait) => Err(self.shed_by(ShedReason::Rate).with_retry_after(Some(wait))),
            },
        }
    }

    /// A place among the fetches, for as long as one is under way.
    ///
    /// # Errors
    ///
    /// It is shed.
    pub fn fetch(&self, priority: Priority) -> Result<Permit, Failure> {
        let permit = self.0.fetches.take(self.0.party, priority);
        permit.ok_or_else(|| self.shed_by(ShedReason::FetchesMax))
    }

    /// How often something of this route was shed for this reason.
    pub fn shed(&self, reason: ShedReason) -> u64 {
        self.0.shed[reason as usize].load(Ordering::Relaxed)
    }

    fn shed_by(&self, reason: ShedReason) -> Failure {
        self.0.shed[reason as usize].fetch_add(1, Ordering::Relaxed);
        overloaded()
    }
}

/// `rate` of a route.
#[derive(Debug)]
struct RouteRate {
    cells: Cells,
    began: Instant,
    arrival: Mutex<Arrival>,
}

impl RouteRate {
    fn new(limit: RateLimit) -> Self {
        Self {
            cells: Cells::new(limit),
            began: Instant::now(),
            arrival: Mutex::new(0),
        }
    }

    fn admit(&self, priority: Priority) -> Result<(), Duration> {
        let keep = match priority {
            Priority::UserMiss => 0,
            _ => self.cells.share_of_burst(KEPT_OF_BURST_PERCENT),
        };
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut arrival = self.arrival.lock().unwrap_or_else(PoisonError::into_inner);
        *arrival = self.cells.admit(*arrival, now, keep)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{self, FixedEnv};

    fn admission(server: &str, routes: &str) -> Admission {
        let toml = format!(
            "{server}\nupstream.a.endpoints = [\"http://127.0.0.1:9100\"]\nupstream.b.endpoints = [\"http://127.0.0.1:9100\"]\n{routes}"
        );
        let config = config::parse(&toml, Path::new("test.toml"), &FixedEnv::default())
            .unwrap_or_else(|errors| panic!("{errors}"));
        Admission::new(&config)
    }

    const ROUTES: &str = r#"
        [[route]]
        name = "a"
        path = "/a"
        upstream = "a"
        rate = "10 / second"
        [[route]]
        name = "b"
        path = "/b"
        upstream = "b"
    "#;

    #[tokio::test(start_paused = true)]
    async fn what_is_over_a_routes_rate_is_shed_with_the_time_to_wait() {
        let admission = admission("", ROUTES);
        let route = admission.route("a");
        let revalidations = (0..20).filter(|_| route.wait(Priority::UserRevalidate).is_ok());
        assert_eq!(revalidations.count(), 8, "a fifth is kept for misses");
        let misses = (0..20).filter(|_| route.wait(Priority::UserMiss).is_ok());
        assert_eq!(misses.count(), 2);
        let failure = route.wait(Priority::UserMiss).unwrap_err();
        assert_eq!(failure.cause(), Cause::Overloaded);
        assert_eq!(failure.retry_after(), Some(Duration::from_millis(100)));
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(route.wait(Priority::UserMiss).is_ok());
        assert_eq!(admission.waiting(), 0, "what was shed keeps no place");
        assert_eq!(route.shed(ShedReason::Rate), 12 + 18 + 1);
    }

    #[test]
    fn a_flooded_route_leaves_the_other_its_part_of_both() {
        let admission = admission(
            "server = { requests_max = 8, fetches_max = 4 }",
            &ROUTES.replace("rate =", "# rate ="),
        );
        let (a, b) = (admission.route("a"), admission.route("b"));
        let waiting: Vec<_> = (0..20)
            .filter_map(|_| a.wait(Priority::UserMiss).ok())
            .collect();
        let fetching: Vec<_> = (0..20)
            .filter_map(|_| a.fetch(Priority::UserMiss).ok())
            .collect();
        assert_eq!((waiting.len(), fetching.len()), (6, 3));
        let failure = a.fetch(Priority::UserMiss).unwrap_err();
        assert_eq!(failure.retry_after(), Some(RETRY_AFTER));
        let _others = (
            b.wait(Priority::UserMiss).unwrap(),
            b.fetch(Priority::UserMiss).unwrap(),
        );
        assert_eq!((admission.waiting(), admission.fetches()), (7, 4));
        assert_eq!(
            (
                b.shed(ShedReason::RequestsMax),
                b.shed(ShedReason::FetchesMax)
            ),
            (0, 0)
        );
        drop((waiting, fetching));
        assert_eq!((admission.waiting(), admission.fetches()), (1, 1));
    }

    #[test]
    fn a_route_has_a_bound_of_its_own_for_those_that_wait() {
        let routes = ROUTES.replace("rate = \"10 / second\"", "requests_max = 2");
        let admission = admission("", &routes);
        let a = admission.route("a");
        let waiting: Vec<_> = (0..5)
            .filter_map(|_| a.wait(Priority::UserMiss).ok())
            .collect();
        assert_eq!((waiting.len(), admission.waiting_max()), (2, 7_500));
        assert_eq!(a.shed(ShedReason::RequestsMax), 3);
    }
}
