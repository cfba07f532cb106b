//! Upstream: the third-party API as the stack sees it. Its endpoints, its connections, and what all its routes share.
//!
//! `attempt -> [balance -> client] -> network`
//!
//! [`Upstream`] is built once per `[upstream.NAME]`; every route that leads there takes its layers from it, so that
//! budget, breaker, bulkhead and connections are one per upstream. In which order they stand is `stack.rs`'s business.
//!
//! # Invariants
//!
//! - Credentials are added last and appear in no log, no `Debug` output and no stored response.
//! - Hop-by-hop fields (RFC 9110 7.6.1) pass in neither direction.
//! - A failure says truly whether anything was sent; in doubt it may have been acted on.

use std::{path::PathBuf, sync::Arc};

use crate::{
    clock::Clock,
    config::{RouteConfig, UpstreamConfig},
    http::fetch::Outlook,
    resilience::{
        AttemptLayer, BreakerLayer, BulkheadLayer, BulkheadSnapshot, DeadlineLayer, Events,
        HedgeLayer, Quota, QuotaLayer, QuotaSnapshot, RetryLayer, StatsSnapshot, UpstreamStats,
        breaker::BreakerSnapshot,
    },
};

pub mod balance;
mod cause;
pub mod client;
pub mod credentials;
mod ejection;
pub mod endpoint;
mod expect;
mod health;
mod kept;
pub mod network;
pub mod resolve;
mod roster;
mod slow_start;
pub mod tls;
mod upkeep;
mod verdict;

pub use balance::{Balance, ServedBy};
pub use endpoint::EndpointSnapshot;
pub use network::Network;
pub use roster::EndpointState;
pub use upkeep::Upkeep;
pub use verdict::VerdictLayer;

/// What keeps an upstream from being set up: all of it is found at start, none of it later.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// No endpoint.
    #[error("upstream.{upstream}.endpoints is empty; name at least one URL")]
    NoEndpoint {
        /// The upstream.
        upstream: Arc<str>,
    },
    /// An endpoint that cannot be connected to.
    #[error(
        "`{uri}` is not an endpoint; write scheme and host, as in \"https://api.vendor.example\""
    )]
    Endpoint {
        /// As configured.
        uri: String,
    },
    /// The CA file cannot be read.
    #[error("cannot read the certificates in {}; check `ca_file` and its permissions", path.display())]
    CaFile {
        /// `ca_file`
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The CA file holds nothing to trust.
    #[error("no usable certificate in {}; `ca_file` has to be PEM with at least one CERTIFICATE block", path.display())]
    CaFileEmpty {
        /// `ca_file`
        path: PathBuf,
    },
    /// The system has no certificate authorities.
    #[error(
        "no certificate authorities on this system; install its ca-certificates package or set `ca_file`"
    )]
    NoSystemRoots,
    /// rustls does not take the settings.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// A credential that cannot be sent. Never shows the value.
    #[error(
        "the credential for field `{header}` has bytes that a field cannot carry; look for a line break at its end"
    )]
    Credential {
        /// Its field.
        header: http::HeaderName,
    },
}

/// One third-party API: what its routes share. Clones share all of it.
#[derive(Clone)]
pub struct Upstream {
    config: Arc<UpstreamConfig>,
    clock: Clock,
    stats: Arc<UpstreamStats>,
    retry: RetryLayer,
    breaker: BreakerLayer,
    /// Of its routes that have one of their own.
    route_breakers: Arc<[BreakerLayer]>,
    bulkhead: BulkheadLayer,
    quota: Quota,
    balance: Balance,
}

/// An upstream at one moment.
#[derive(Clone, Debug)]
pub struct UpstreamSnapshot {
    /// Counts since start.
    pub stats: StatsSnapshot,
    /// Its breaker.
    pub breaker: BreakerSnapshot,
    /// Retries and hedges that its budget would allow now.
    pub retry_budget: u64,
    /// Its bulkhead.
    pub bulkhead: BulkheadSnapshot,
    /// Its quota.
    pub quota: QuotaSnapshot,
    /// Its endpoints, in the order of its config.
    pub endpoints: Vec<EndpointSnapshot>,
}

impl Upstream {
    /// Sets the upstream up; connects to nothing yet. Reads `ca_file` or the system's certificates where an endpoint is
    /// `https://`.
    ///
    /// # Errors
    ///
    /// What the config could not check: certificates, credentials. All of it is a reason not to start.
    pub fn new(
        config: Arc<UpstreamConfig>,
        clock: Clock,
        events: Events,
    ) -> Result<Self, UpstreamError> {
        Self::over(&Network::system(), config, clock, events)
    }

    /// The same over this network.
    ///
    /// # Errors
    ///
    /// As [`Upstream::new`].
    pub fn over(
        network: &Network,
        config: Arc<UpstreamConfig>,
        clock: Clock,
        events: Events,
    ) -> Result<Self, UpstreamError> {
        let stats = Arc::new(UpstreamStats::new(clock.clone()));
        Ok(Self {
            retry: RetryLayer::new(config.retry.clone(), Arc::clone(&stats)),
            breaker: BreakerLayer::new(Arc::clone(&config), events.clone(), Arc::clone(&stats)),
            route_breakers: Arc::default(),
            bulkhead: BulkheadLayer::new(&config, Arc::clone(&stats)),
            balance: Balance::new(
                Arc::clone(&config),
                endpoint::endpoints(&config, network)?,
                events,
            ),
            quota: Quota::new(Arc::clone(&config), clock.clone()),
            config,
            clock,
            stats,
        })
    }

    /// The same with a breaker for each of these routes that leads here and asks for one of its own.
    #[must_use]
    pub fn with_route_breakers(mut self, routes: &[Arc<RouteConfig>], events: &Events) -> Self {
        let own = routes.iter().filter_map(|route| {
            let breaker = route.breaker?;
            let leads_here = route.upstream.name == self.config.name;
            leads_here.then(|| {
                BreakerLayer::of_route(
                    Arc::clone(&route.name),
                    breaker,
                    Arc::clone(&self.config),
                    events.clone(),
                    Arc::clone(&self.stats),
                )
            })
        });
        self.route_breakers = own.collect();
        self
    }

    /// Its config.
    pub fn config(&self) -> &Arc<UpstreamConfig> {
        &self.config
    }

    /// One budget of time over all attempts. Outermost of these.
    pub fn deadline_layer(&self) -> DeadlineLayer {
        DeadlineLayer::new(Arc::clone(&self.stats))
    }

    /// Retries inside the upstream's budget.
    pub fn retry_layer(&self) -> RetryLayer {
        self.retry.clone()
    }

    /// Second requests of `route` where the first takes long, inside the same budget.
    pub fn hedge_layer(&self, route: &RouteConfig) -> HedgeLayer {
        let budget = self.retry.budget().clone();
        HedgeLayer::new(route.hedge, budget, Arc::clone(&self.stats))
    }

    /// The upstream's breaker.
    pub fn breaker_layer(&self) -> BreakerLayer {
        self.breaker.clone()
    }

    /// How what this route asks of it fares, for whoever decides about asking it.
    pub fn outlook_of(&self, route: &str) -> Outlook {
        self.breaker_layer_of(route).outlook()
    }

    /// The breakers that routes have of their own.
    pub fn route_breakers(&self) -> &[BreakerLayer] {
        &self.route_breakers
    }

    /// The upstream's breaker behind that of the route of this name, where it has one.
    pub fn breaker_layer_of(&self, route: &str) -> BreakerLayer {
        let is_own = |own: &&BreakerLayer| own.route().is_some_and(|name| **name == *route);
        let own = self.route_breakers.iter().find(is_own);
        self.breaker_layer().behind(own)
    }

    /// The upstream's compartment.
    pub fn bulkhead_layer(&self) -> BulkheadLayer {
        self.bulkhead.clone()
    }

    /// What learns from each attempt how its endpoint is. Around the attempt.
    pub fn verdict_layer(&self) -> VerdictLayer {
        VerdictLayer
    }

    /// The upstream's quota: a gate above the attempts, and ears below them ([`Quota::ears`]). Who asks the upstream past
    /// these layers takes from it too.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// The gate of the upstream's quota.
    pub fn quota_layer(&self) -> QuotaLayer {
        self.quota.layer(Arc::clone(&self.stats))
    }

    /// One try in bounded time. Innermost of these.
    pub fn attempt_layer(&self) -> AttemptLayer {
        AttemptLayer::new(
            Arc::clone(&self.config),
            self.clock.clone(),
            Arc::clone(&self.stats),
        )
    }

    /// The endpoints, as one service.
    pub fn balance(&self) -> Balance {
        self.balance.clone()
    }

    /// What has to go on beside requests: health checks, and looking names up again. Each ends only by being dropped; the
    /// caller runs them in tasks of its own.
    pub fn upkeep(&self) -> Vec<Upkeep> {
        upkeep::upkeep(&self.config, &self.balance, &self.quota)
    }

    /// What metrics and status pages show.
    pub fn snapshot(&self) -> UpstreamSnapshot {
        UpstreamSnapshot {
            stats: self.stats.snapshot(),
            breaker: self.breaker.snapshot(),
            retry_budget: self.retry.budget().balance(),
            bulkhead: self.bulkhead.snapshot(),
            quota: self.quota.snapshot(),
            endpoints: self.balance.snapshot(),
        }
    }
}

#[cfg(test)]
pub(crate) use client::tests::config as client_config;

#[cfg(test)]
#[path = "stack_tests.rs"]
mod tests;
