//! What operators read about a running proxy: the admin API's status and the samples of `/metrics`.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::reload::Reloading;
use crate::{
    admin::{
        AdmissionStatus, BreakerState, EndpointStatus, LastFailure, RouteStatus, Status,
        StatusSource, StoreStatus, UpstreamStatus,
    },
    cache,
    clock::Clock,
    config::{Config, UpstreamConfig},
    contract::{
        Contracts,
        shape::Shapes,
        version::{Versions, review},
    },
    front::Front,
    listener::{ListenerStats, Shutdown},
    observe::{Alerts, Metrics, Samples, Source},
    resilience::{BreakerLayer, BulkheadSnapshot, Priority, QuotaSnapshot, breaker::Phase},
    store::Store,
    upstream::{EndpointSnapshot, Upstream},
};

/// Reads every layer, changes none.
pub(super) struct Report {
    pub(super) config: ArcSwap<Config>,
    pub(super) reloading: Reloading,
    pub(super) upstreams: Vec<Upstream>,
    pub(super) store: Store<cache::Entry>,
    pub(super) alerts: Alerts,
    pub(super) metrics: Metrics,
    pub(super) listener: Arc<ListenerStats>,
    pub(super) cache: Arc<cache::Shared>,
    pub(super) versions: Versions,
    pub(super) contracts: Contracts,
    pub(super) front: Front,
    pub(super) shapes: Shapes,
    pub(super) shutdown: Shutdown,
    pub(super) started: Instant,
    pub(super) clock: Clock,
}

impl Report {
    /// The config at this moment.
    pub(super) fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }
}

impl StatusSource for Report {
    fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.started.elapsed().as_secs(),
            draining: self.shutdown.has_begun(),
            routes: self.routes(),
            upstreams: self
                .upstreams
                .iter()
                .map(|upstream| self.upstream_status(upstream))
                .collect(),
            store: self.store_status(),
            admission: self.admission_status(),
            alerts: self.alerts.recent(),
        }
    }

    fn readiness(&self) -> Result<(), Vec<String>> {
        if self.shutdown.has_begun() {
            return Err(vec!["draining".to_owned()]);
        }
        Ok(())
    }
}

impl Report {
    fn routes(&self) -> Vec<RouteStatus> {
        let counted = self.metrics.requests();
        let requests = |name: &str| {
            let outcomes = counted
                .iter()
                .find(|(route, _)| route == name)
                .map(|(_, outcomes)| outcomes.as_slice());
            let happened = outcomes
                .unwrap_or_default()
                .iter()
                .filter(|(_, count)| *count > 0);
            happened
                .map(|(outcome, count)| (outcome.as_str(), *count))
                .collect()
        };
        let status = |route: &Arc<crate::config::RouteConfig>| RouteStatus {
            name: route.name.to_string(),
            path: route.path.as_str().to_owned(),
            upstream: route.upstream.name.to_string(),
            policy: route.policy.name.to_string(),
            requests: requests(&route.name),
            breaker: self.route_breaker(&route.name).map(breaker_state),
            version: self.version_status(route),
            contract: self.route_contract(&route.name),
        };
        self.config().routes.iter().map(status).collect()
    }

    fn admission_status(&self) -> AdmissionStatus {
        let admission = self.cache.admission();
        AdmissionStatus {
            requests_waiting: admission.waiting(),
            requests_max: admission.waiting_max(),
            fetches: admission.fetches(),
            fetches_max: self.config().server.fetches_max,
            bodies_bytes: self.cache.bodies().held(),
            bodies_bytes_max: self.cache.bodies().max(),
            shed: admission.shed(),
            client_connections_limited: self.listener.client_limited(),
            client_requests_limited: self.front.client_limited(),
        }
    }

    /// The phase of this route's own breaker, if it has one.
    fn route_breaker(&self, name: &str) -> Option<Phase> {
        let mut breakers = self.upstreams.iter().flat_map(Upstream::route_breakers);
        let own = breakers.find(|breaker| breaker.route().is_some_and(|route| **route == *name));
        own.map(BreakerLayer::phase)
    }

    fn store_status(&self) -> StoreStatus {
        let (stats, config) = (self.store.stats(), self.config());
        let config = &config.store;
        StoreStatus {
            state: stats.disk.as_str(),
            memory_bytes: stats.memory_bytes,
            memory_bytes_max: config.memory_bytes,
            memory_entries: stats.memory_entries,
            disk_bytes: stats.disk_used_bytes,
            disk_bytes_max: config.path.as_ref().map_or(0, |_| config.disk_bytes),
            disk_entries: stats.disk_entries,
            write_queue: stats.queue_entries,
            writes_dropped: stats.drops,
            quarantines: stats.quarantines,
        }
    }
}

impl Report {
    fn upstream_status(&self, upstream: &Upstream) -> UpstreamStatus {
        let review_by = upstream.config().review_by;
        UpstreamStatus {
            review_by: review_by.map(|day| day.to_string()),
            review_overdue_days: review_by
                .and_then(|day| review::overdue_days(day, self.clock.now())),
            ..upstream_status(upstream)
        }
    }
}

fn upstream_status(upstream: &Upstream) -> UpstreamStatus {
    let (config, now) = (upstream.config(), upstream.snapshot());
    let failed = now.stats.failures.iter().filter(|(_, count)| *count > 0);
    UpstreamStatus {
        name: config.name.to_string(),
        endpoints: config
            .endpoints
            .iter()
            .map(|endpoint| endpoint.uri.to_string())
            .collect(),
        endpoint_states: endpoint_states(config, &now.endpoints),
        owner: config.owner.clone(),
        runbook: config.runbook.clone(),
        review_by: None,
        review_overdue_days: None,
        breaker: breaker_state(now.breaker.phase),
        in_flight: now.bulkhead.in_flight as u64,
        in_flight_limit: now.bulkhead.limit as u64,
        quota_remaining: now.quota.remaining,
        attempts: now.stats.attempts,
        failures: failed.copied().collect(),
        last_failure: now.stats.last_failure.map(|failure| LastFailure {
            at: failure.at,
            cause: failure.cause,
        }),
    }
}

fn endpoint_states(config: &UpstreamConfig, endpoints: &[EndpointSnapshot]) -> Vec<EndpointStatus> {
    let configured = config.endpoints.iter().zip(endpoints);
    configured
        .map(|(configured, endpoint)| EndpointStatus {
            url: endpoint.uri.to_string(),
            priority: configured.priority,
            state: endpoint.state.as_str(),
            ejections: endpoint.ejections,
        })
        .collect()
}

pub(super) fn breaker_state(phase: Phase) -> BreakerState {
    match phase {
        Phase::Closed => BreakerState::Closed,
        Phase::HalfOpen => BreakerState::HalfOpen,
        Phase::Open => BreakerState::Open,
        Phase::Isolated => BreakerState::Isolated,
    }
}

/// The report as a source of samples.
pub(super) struct Sampled(pub(super) Arc<Report>);

impl Source for Sampled {
    fn sample(&self, samples: &mut Samples) {
        self.0.sample_process(samples);
    }
}

impl Report {
    fn sample_process(&self, samples: &mut Samples) {
        for upstream in &self.upstreams {
            sample_upstream(upstream, samples);
        }
        self.sample_versions(samples);
        self.sample_store(samples);
        self.sample_purges(samples);
        self.cache.admission().sample(samples);
        samples.gauge(
            "bodies_bytes",
            "Bytes of bodies held for requests",
            &[],
            self.cache.bodies().held() as f64,
        );
        samples.counter(
            "bodies_full",
            "Times that a body could not be held because bodies_max was",
            &[],
            self.cache.bodies().full(),
        );
        for (limit, count) in [
            ("connections", self.listener.client_limited()),
            ("rate", self.front.client_limited()),
        ] {
            samples.counter(
                "client_limited",
                "Connections and requests refused because their client had too many",
                &[("limit", limit)],
                count,
            );
        }
        let gauge = |samples: &mut Samples, name, help, value: usize| {
            samples.gauge(name, help, &[], value as f64);
        };
        gauge(
            samples,
            "client_connections",
            "Client connections open now",
            self.listener.open(),
        );
        gauge(
            samples,
            "fetches_in_flight",
            "Fetches from upstreams under way",
            self.cache.fetches(),
        );
        samples.counter(
            "client_connections_accepted",
            "Client connections accepted",
            &[],
            self.listener.accepted(),
        );
        samples.counter(
            "client_connections_full",
            "Times connections_max was reached",
            &[],
            self.listener.full(),
        );
        samples.counter(
            "accept_errors",
            "Accepts that failed",
            &[],
            self.listener.accept_errors(),
        );
    }

    fn sample_purges(&self, samples: &mut Samples) {
        let stats = self.cache.purges().stats();
        for (kind, mode, count) in stats.issued {
            let labels = [("kind", kind), ("mode", mode.as_str())];
            samples.counter("purges", "Purges issued", &labels, count);
        }
        for (mode, count) in stats.met {
            samples.counter(
                "purged_lookups",
                "Lookups of a stored response that found it purged",
                &[("mode", mode.as_str())],
                count,
            );
        }
        samples.gauge(
            "purges_remembered",
            "Things remembered as purged",
            &[],
            stats.remembered as f64,
        );
        samples.counter(
            "purges_undurable",
            "Times purges could not be written to their log",
            &[],
            stats.undurable,
        );
    }

    fn sample_store(&self, samples: &mut Samples) {
        let stats = self.store.stats();
        let tier = |tier: &'static str| [("tier", tier)];
        let entries = "Stored entries";
        samples.gauge(
            "store_entries",
            entries,
            &tier("memory"),
            stats.memory_entries as f64,
        );
        samples.gauge(
            "store_entries",
            entries,
            &tier("disk"),
            stats.disk_entries as f64,
        );
        let bytes = "Bytes that stored entries take";
        samples.gauge(
            "store_bytes",
            bytes,
            &tier("memory"),
            stats.memory_bytes as f64,
        );
        samples.gauge(
            "store_bytes",
            bytes,
            &tier("disk"),
            stats.disk_used_bytes as f64,
        );
        let evictions = "Entries evicted to make room";
        samples.counter(
            "store_evictions",
            evictions,
            &tier("memory"),
            stats.memory_evictions,
        );
        samples.counter(
            "store_evictions",
            evictions,
            &tier("disk"),
            stats.disk_evictions,
        );
        samples.gauge(
            "store_write_queue_entries",
            "Records that wait to be written",
            &[],
            stats.queue_entries as f64,
        );
        samples.gauge(
            "store_write_queue_bytes",
            "Bytes that wait to be written",
            &[],
            stats.queue_bytes as f64,
        );
        for (name, help, value) in [
            ("store_writes", "Records written to disk", stats.writes),
            (
                "store_writes_durable",
                "Records written to disk and flushed",
                stats.writes_durable,
            ),
            (
                "store_writes_dropped",
                "Records not written: the queue or the disk was full",
                stats.drops,
            ),
            (
                "store_disk_hits",
                "Lookups answered from disk",
                stats.disk_hits,
            ),
            (
                "store_disk_late",
                "Lookups on disk given up at read_timeout",
                stats.disk_late,
            ),
            (
                "store_records_corrupt",
                "Records found damaged and removed",
                stats.corrupt,
            ),
            (
                "store_quarantines",
                "Times the disk tier was set aside",
                stats.quarantines,
            ),
        ] {
            samples.counter(name, help, &[], value);
        }
        samples.gauge(
            "store_flush_seconds",
            "Length of the last flush",
            &[],
            seconds(stats.last_flush),
        );
    }
}

fn sample_upstream(upstream: &Upstream, samples: &mut Samples) {
    let (name, now) = (&*upstream.config().name, upstream.snapshot());
    let label = [("upstream", name)];
    samples.counter(
        "upstream_attempts",
        "Attempts begun, retries included",
        &label,
        now.stats.attempts,
    );
    samples.counter(
        "upstream_retries",
        "Attempts after a first one",
        &label,
        now.stats.retries,
    );
    samples.counter(
        "upstream_retries_denied",
        "Retries the budget did not allow",
        &label,
        now.stats.retries_denied,
    );
    samples.gauge(
        "upstream_retry_budget_tokens",
        "Retries and hedges that the budget would allow now",
        &label,
        now.retry_budget as f64,
    );
    samples.counter(
        "upstream_hedges",
        "Second requests sent because a first one took long",
        &label,
        now.stats.hedges,
    );
    samples.counter(
        "upstream_hedges_won",
        "Hedges that answered before the first request",
        &label,
        now.stats.hedges_won,
    );
    samples.counter(
        "upstream_hedges_denied",
        "Hedges that budget, breaker or bulkhead did not allow",
        &label,
        now.stats.hedges_denied,
    );
    for (cause, count) in now.stats.failures {
        let labels = [("upstream", name), ("cause", cause)];
        samples.counter("upstream_failures", "Failures by cause", &labels, count);
    }
    sample_breaker("upstream", name, &upstream.breaker_layer(), samples);
    for breaker in upstream.route_breakers() {
        if let Some(route) = breaker.route() {
            sample_breaker("route", route, breaker, samples);
        }
    }
    samples.gauge(
        "upstream_in_flight",
        "Requests with this upstream now",
        &label,
        now.bulkhead.in_flight as f64,
    );
    sample_bulkhead(name, &now.bulkhead, samples);
    sample_quota(name, &now.quota, samples);
    for endpoint in &now.endpoints {
        sample_endpoint(name, endpoint, samples);
    }
}

fn sample_endpoint(upstream: &str, endpoint: &EndpointSnapshot, samples: &mut Samples) {
    let labels = [("upstream", upstream), ("endpoint", &*endpoint.uri)];
    samples.gauge(
        "upstream_endpoint_state",
        "0 up, 1 slow start, 2 standby, 3 ejected, 4 unhealthy",
        &labels,
        f64::from(endpoint.state.as_number()),
    );
    samples.counter(
        "upstream_ejections",
        "Times an endpoint was left out after failures",
        &labels,
        endpoint.ejections,
    );
    for (result, count) in endpoint.checks {
        let labels = [labels[0], labels[1], ("result", result)];
        samples.counter(
            "upstream_health_checks",
            "Health checks by result",
            &labels,
            count,
        );
    }
    for (result, count) in endpoint.lookups {
        let labels = [labels[0], labels[1], ("result", result)];
        samples.counter(
            "upstream_dns_lookups",
            "Lookups of an endpoint's name by result",
            &labels,
            count,
        );
    }
}

/// `kind`: whose breaker it is, an upstream's or a route's.
fn sample_breaker(kind: &'static str, name: &str, breaker: &BreakerLayer, samples: &mut Samples) {
    let (state, transitions) = match kind {
        "route" => ("route_breaker_state", "route_breaker_transitions"),
        _ => ("upstream_breaker_state", "upstream_breaker_transitions"),
    };
    let now = breaker.snapshot();
    samples.gauge(
        state,
        "0 closed, 1 half-open, 2 open, 3 isolated",
        &[(kind, name)],
        f64::from(breaker_state(now.phase).as_number()),
    );
    for phase in Phase::ALL {
        samples.counter(
            transitions,
            "Changes of a breaker to this phase",
            &[(kind, name), ("to", phase.as_str())],
            now.transitions[phase.index()],
        );
    }
}

fn sample_bulkhead(name: &str, bulkhead: &BulkheadSnapshot, samples: &mut Samples) {
    samples.gauge(
        "upstream_in_flight_limit",
        "Requests that may be with this upstream",
        &[("upstream", name)],
        bulkhead.limit as f64,
    );
    for (priority, count) in Priority::ALL.iter().zip(bulkhead.shed) {
        samples.counter(
            "upstream_shed",
            "Requests that the bulkhead had no room for",
            &[("upstream", name), ("priority", priority.as_str())],
            count,
        );
    }
}

fn sample_quota(name: &str, quota: &QuotaSnapshot, samples: &mut Samples) {
    if let Some(remaining) = quota.remaining {
        samples.gauge(
            "upstream_quota_remaining",
            "Requests that the quota has left in this period",
            &[("upstream", name)],
            remaining as f64,
        );
    }
    for (priority, count) in Priority::ALL.iter().zip(quota.refused) {
        samples.counter(
            "upstream_quota_refused",
            "Requests that the quota had no room for",
            &[("upstream", name), ("priority", priority.as_str())],
            count,
        );
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tower::ServiceExt;

    use super::*;
    use crate::{
        clock::{Clock, Timestamp},
        http::{Body, Request},
        resilience::Events,
        upstream::{client::tests::Refusing, client_config},
    };

    #[tokio::test]
    async fn the_status_of_an_upstream_says_how_and_when_it_failed_last() {
        let now = Timestamp::from_secs(1_800_000_000);
        let refusing = Refusing::new();
        let config = Arc::new(client_config(&[refusing.uri()]));
        let upstream = Upstream::new(config, Clock::manual(now), Events::none()).unwrap();
        assert!(upstream_status(&upstream).last_failure.is_none());
        let attempt = tower::Layer::layer(&upstream.attempt_layer(), upstream.balance());
        attempt
            .oneshot(Request::new(Body::empty()))
            .await
            .unwrap_err();
        let last = upstream_status(&upstream).last_failure.unwrap();
        assert_eq!((last.at, last.cause), (now, "connect_refused"));
    }
}
