//! Events: state changes of an upstream, told to whoever alerts, with the owner and runbook of the upstream.
//!
//! A sink is called from the request path, outside every lock: it must not block.

use std::{fmt, sync::Arc, time::Duration};

use super::breaker::BreakerChange;
use crate::config::UpstreamConfig;

/// Something about an upstream changed.
#[derive(Clone, Debug)]
pub struct UpstreamEvent {
    /// Its config: name, owner, runbook.
    pub upstream: Arc<UpstreamConfig>,
    /// The route whose own breaker it is; `None`: the upstream's.
    pub route: Option<Arc<str>>,
    /// What happened to its breaker.
    pub change: BreakerChange,
}

/// Something about one endpoint of an upstream changed.
#[derive(Clone, Debug)]
pub struct EndpointEvent {
    /// The upstream's config: name, owner, runbook.
    pub upstream: Arc<UpstreamConfig>,
    /// The endpoint's URL, without credentials.
    pub endpoint: Arc<str>,
    /// What happened.
    pub change: EndpointChange,
}

/// What happened to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointChange {
    /// Left out after failures.
    Ejected {
        /// For this long at first.
        rest: Duration,
        /// It could not be connected to; otherwise it failed too often in a row.
        unreachable: bool,
    },
    /// It answered again.
    Returned,
    /// Left out because its health checks fail.
    Unhealthy {
        /// How the last one failed.
        reason: String,
    },
    /// Its health checks pass again.
    Healthy,
    /// Its name cannot be looked up; the last good addresses stay in use.
    LookupFailed,
    /// Its name can be looked up again.
    LookupRecovered,
}

/// Where events go. Clones share the sink.
#[derive(Clone)]
pub struct Events(
    Arc<dyn Fn(&UpstreamEvent) + Send + Sync>,
    Arc<dyn Fn(&EndpointEvent) + Send + Sync>,
);

impl Events {
    /// Calls `sink` with every event of a breaker.
    pub fn to(sink: impl Fn(&UpstreamEvent) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink), Arc::new(|_| {}))
    }

    /// Calls `sink` with every event of an endpoint, too.
    #[must_use]
    pub fn and_of_endpoints(
        mut self,
        sink: impl Fn(&EndpointEvent) + Send + Sync + 'static,
    ) -> Self {
        self.1 = Arc::new(sink);
        self
    }

    /// Tells nobody.
    pub fn none() -> Self {
        Self::to(|_| {})
    }

    pub(crate) fn send(&self, event: &UpstreamEvent) {
        (self.0)(event);
    }

    pub(crate) fn send_of_endpoint(&self, event: &EndpointEvent) {
        (self.1)(event);
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}
