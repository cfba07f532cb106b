//! Metrics: what is counted on the way of a request, and what is read from elsewhere at scrape time.
//!
//! A route's counters are plain atomics behind a handle that is resolved once per route; a request costs three
//! additions. Whatever already counts for itself (breakers, the store, the listener) is a [`Source`] and is asked only
//! when somebody scrapes.
//!
//! # Invariants
//!
//! - Every name begins with `larder_` and ends in its unit; counters get their `_total` from the encoder.
//! - Labels are routes, upstreams and closed sets of words, never a URL: the number of series is set by the config.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use super::{Outcome, failures::FetchFailures};
use crate::failure::Failure;

/// `Content-Type` of what [`Metrics::encode`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper edges of the duration buckets in microseconds: a hit in memory to a route's longest deadline.
const BUCKETS_MICROS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];
const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// All metrics of the process. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    collected: Arc<Collected>,
}

/// Asked at scrape time for what it counts itself.
pub trait Source: Send + Sync {
    /// Adds its samples. Must not block: it runs on the admin listener's threads.
    fn sample(&self, samples: &mut Samples);
}

impl<F: Fn(&mut Samples) + Send + Sync> Source for F {
    fn sample(&self, samples: &mut Samples) {
        self(samples);
    }
}

/// One route's counters. Cheap to clone; hold it, do not look it up per request.
#[derive(Clone, Debug)]
pub struct RouteMetrics(Arc<RouteCounters>);

#[derive(Debug)]
struct RouteCounters {
    requests: [[AtomicU64; STATUS_CLASSES.len()]; Outcome::COUNT],
    duration: DurationHistogram,
    failures: FetchFailures,
}

/// A histogram without a lock.
#[derive(Debug, Default)]
struct DurationHistogram {
    buckets: [AtomicU64; BUCKETS_MICROS.len() + 1],
    sum_micros: AtomicU64,
}

/// What a [`Source`] adds to.
#[derive(Debug, Default)]
pub struct Samples(BTreeMap<&'static str, Family>);

#[derive(Debug)]
struct Family {
    help: &'static str,
    kind: MetricType,
    series: Vec<(Vec<(&'static str, String)>, Number)>,
}

#[derive(Clone, Copy, Debug)]
enum Number {
    Whole(u64),
    Real(f64),
}

// --- Metrics ---

impl Metrics {
    /// With nothing counted yet.
    pub fn new() -> Self {
        let collected = Arc::new(Collected::default());
        let mut registry = Registry::with_prefix("larder");
        registry.register_collector(Box::new(Arc::clone(&collected)));
        Self(Arc::new(Inner {
            registry,
            collected,
        }))
    }

    /// The counters of the route with this name; the same ones for the same name, so that a reload goes on counting.
    pub fn route(&self, name: &str) -> RouteMetrics {
        let mut routes = lock(&self.0.collected.routes);
        if let Some(route) = routes.get(name) {
            return route.clone();
        }
        let route = RouteMetrics::detached();
        routes.insert(name.to_owned(), route.clone());
        route
    }

    /// Registers something that is asked at each scrape, for the life of the process.
    pub fn register(&self, source: impl Source + 'static) {
        lock(&self.0.collected.sources).push(Arc::new(source));
    }

    /// Everything, as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        text::encode(&mut text, &self.0.registry).expect("writing into a string cannot fail");
        text
    }

    /// Requests so far per route and outcome, for the admin API. Routes in the order of their names.
    pub fn requests(&self) -> Vec<(String, Vec<(Outcome, u64)>)> {
        let routes = lock(&self.0.collected.routes);
        routes
            .iter()
            .map(|(name, route)| (name.clone(), route.by_outcome()))
            .collect()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only maps of handles in here: whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// --- RouteMetrics ---

impl RouteMetrics {
    /// Counters that nobody reads.
    pub fn detached() -> Self {
        Self(Arc::new(RouteCounters::new()))
    }

    /// Counts what a fetch from this upstream ended with.
    pub fn failed(&self, upstream: &Arc<str>, failure: &Failure) {
        self.0.failures.count(upstream, failure);
    }

    /// Counts one answered request.
    pub fn record(&self, outcome: Outcome, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, STATUS_CLASSES.len()) - 1;
        self.0.requests[outcome.index()][class].fetch_add(1, Ordering::Relaxed);
        self.0.duration.observe(took);
    }

    /// Requests so far with this outcome.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.0.requests[outcome.index()]
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    fn by_outcome(&self) -> Vec<(Outcome, u64)> {
        Outcome::ALL
            .into_iter()
            .map(|outcome| (outcome, self.count(outcome)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

impl RouteCounters {
    fn new() -> Self {
        Self {
            requests: Default::default(),
            duration: DurationHistogram::default(),
            failures: FetchFailures::default(),
        }
    }
}

impl DurationHistogram {
    fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_MICROS.partition_point(|edge| *edge < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let edges = BUCKETS_MICROS
            .iter()
            .map(|edge| *edge as f64 / 1e6)
            .chain([f64::INFINITY]);
        let buckets: Vec<_> = edges
            .zip(&self.buckets)
            .map(|(edge, count)| (edge, count.load(Ordering::Relaxed)))
            .collect();
        // Summed from the buckets read, so that one scrape agrees with itself.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.sum_micros.load(Ordering::Relaxed) as f64 / 1e6;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

// --- Samples ---

impl Samples {
    /// Adds one series of a counter. `name` without prefix and `_total`. The first help text of a name stays.
    pub fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: u64,
    ) {
        self.add(
            name,
            help,
            MetricType::Counter,
            labels,
            Number::Whole(value),
        );
    }

    /// Adds one series of a counter of time. `name` without prefix and `_total`, ending in `_seconds`.
    pub fn counter_seconds(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: Duration,
    ) {
        let value = Number::Real(value.as_secs_f64());
        self.add(name, help, MetricType::Counter, labels, value);
    }

    /// Adds one series of a gauge. `name` without prefix, ending in its unit where it has one.
    pub fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        self.add(name, help, MetricType::Gauge, labels, Number::Real(value));
    }

    fn add(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: MetricType,
        labels: &[(&'static str, &str)],
        value: Number,
    ) {
        let labels = labels
            .iter()
            .map(|(label, value)| (*label, (*value).to_owned()))
            .collect();
        let family = self.0.entry(name).or_insert_with(|| Family {
            help,
            kind,
            series: Vec::new(),
        });
        family.series.push((labels, value));
    }
}

impl Family {
    fn encode(&self, name: &str, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut encoder = encoder.encode_descriptor(name, self.help, None, self.kind)?;
        for (labels, value) in &self.series {
            let labels = labels.as_slice();
            let mut series = encoder.encode_family(&labels)?;
            match (self.kind, *value) {
                (MetricType::Counter, Number::Whole(n)) => {
                    series.encode_counter::<NoLabelSet, _, u64>(&n, None)?;
                }
                (MetricType::Counter, Number::Real(n)) => {
                    series.encode_counter::<NoLabelSet, _, u64>(&n, None)?;
                }
                (_, Number::Whole(n)) => series.encode_gauge(&n)?,
                (_, Number::Real(n)) => series.encode_gauge(&n)?,
            }
        }
        Ok(())
    }
}

// --- Collected ---

/// What the encoder walks through.
#[derive(Default)]
struct Collected {
    routes: Mutex<BTreeMap<String, RouteMetrics>>,
    sources: Mutex<Vec<Arc<dyn Source>>>,
}

impl Collected {
    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let routes = lock(&self.routes);
        let help = "Requests answered, by route, outcome and class of status";
        let mut encoder = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
        for (name, route) in routes.iter() {
            for (outcome, classes) in Outcome::ALL.iter().zip(&route.0.requests) {
                for (class, count) in STATUS_CLASSES.iter().zip(classes) {
                    let count = count.load(Ordering::Relaxed);
                    // Most of the 60 combinations never happen; a series that was never counted is left out.
                    if count > 0 {
                        let labels = [
                            ("route", name.as_str()),
                            ("outcome", outcome.as_str()),
                            ("status", class),
                        ];
                        encoder
                            .encode_family(&labels)?
                            .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn encode_failures(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let routes = lock(&self.routes);
        let help =
            "Fetches that ended without a usable answer, by cause, attempts and what was sent";
        let mut encoder =
            encoder.encode_descriptor("fetch_failures", help, None, MetricType::Counter)?;
        routes
            .iter()
            .try_for_each(|(name, route)| route.0.failures.encode(name, &mut encoder))
    }

    fn encode_durations(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let routes = lock(&self.routes);
        let help = "Time from a request's head to its answer's head, in seconds";
        let mut encoder = encoder.encode_descriptor(
            "request_duration_seconds",
            help,
            None,
            MetricType::Histogram,
        )?;
        for (name, route) in routes.iter() {
            route
                .0
                .duration
                .encode(encoder.encode_family(&[("route", name.as_str())])?)?;
        }
        Ok(())
    }
}

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_requests(&mut encoder)?;
        self.encode_durations(&mut encoder)?;
        self.encode_failures(&mut encoder)?;
        let sources = lock(&self.sources).clone();
        let mut samples = Samples::default();
        for source in sources {
            source.sample(&mut samples);
        }
        samples
            .0
            .iter()
            .try_for_each(|(name, family)| family.encode(name, &mut encoder))
    }
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_reads_as_openmetrics() {
        let metrics = Metrics::new();
        let prices = metrics.route("prices");
        prices.record(Outcome::Hit, StatusCode::OK, Duration::from_micros(80));
        prices.record(Outcome::Hit, StatusCode::OK, Duration::from_micros(100));
        prices.record(
            Outcome::Error,
            StatusCode::BAD_GATEWAY,
            Duration::from_secs(60),
        );
        metrics.register(|samples: &mut Samples| {
            samples.gauge(
                "breaker_state",
                "0 closed, 1 half-open, 2 open",
                &[("upstream", "pricing")],
                2.0,
            );
            samples.counter(
                "upstream_attempts",
                "Attempts",
                &[("upstream", "pricing")],
                7,
            );
        });
        metrics.register(|samples: &mut Samples| {
            samples.counter("upstream_attempts", "Attempts", &[("upstream", "a\"b")], 1);
        });
        let text = metrics.encode();
        let want = "\
# HELP larder_requests Requests answered, by route, outcome and class of status
# TYPE larder_requests counter
larder_requests_total{route=\"prices\",outcome=\"hit\",status=\"2xx\"} 2
larder_requests_total{route=\"prices\",outcome=\"error\",status=\"5xx\"} 1
# HELP larder_request_duration_seconds Time from a request's head to its answer's head, in seconds
# TYPE larder_request_duration_seconds histogram
larder_request_duration_seconds_sum{route=\"prices\"} 60.00018
larder_request_duration_seconds_count{route=\"prices\"} 3
larder_request_duration_seconds_bucket{le=\"0.0001\",route=\"prices\"} 2
";
        assert!(text.starts_with(want), "{text}");
        for line in [
            "larder_request_duration_seconds_bucket{le=\"10.0\",route=\"prices\"} 2",
            "larder_request_duration_seconds_bucket{le=\"+Inf\",route=\"prices\"} 3",
            "larder_breaker_state{upstream=\"pricing\"} 2.0",
            "larder_upstream_attempts_total{upstream=\"pricing\"} 7",
            "larder_upstream_attempts_total{upstream=\"a\\\"b\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in:\n{text}");
        }
        assert_eq!(
            text.matches("# TYPE larder_upstream_attempts ").count(),
            1,
            "one family, several sources"
        );
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_same_route_goes_on_counting_after_a_reload() {
        let metrics = Metrics::new();
        metrics
            .route("prices")
            .record(Outcome::Miss, StatusCode::OK, Duration::ZERO);
        metrics
            .route("prices")
            .record(Outcome::Miss, StatusCode::OK, Duration::ZERO);
        assert_eq!(metrics.route("prices").count(Outcome::Miss), 2);
        assert_eq!(
            metrics.requests(),
            [("prices".to_owned(), vec![(Outcome::Miss, 2)])]
        );
    }

    #[test]
    fn a_status_out_of_the_ordinary_is_counted_too() {
        let route = Metrics::new().route("odd");
        for code in [100, 299, 599, 600, 999] {
            route.record(
                Outcome::Pass,
                StatusCode::from_u16(code).unwrap(),
                Duration::MAX,
            );
        }
        assert_eq!(route.count(Outcome::Pass), 5);
    }
}
