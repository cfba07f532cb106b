//! Events: state changes of an upstream, told to whoever alerts, with the owner and runbook of the upstream.
//!
//! A sink is called from the request path, outside every lock: it must not block.

use std::{fmt, sync::Arc};

use super::breaker::BreakerChange;
use crate::config::UpstreamConfig;

/// Something about an upstream changed.
#[derive(Clone, Debug)]
pub struct UpstreamEvent {
    /// Its config: name, owner, runbook.
    pub upstream: Arc<UpstreamConfig>,
    /// What happened to its breaker.
    pub change: BreakerChange,
}

/// Where events go. Clones share the sink.
#[derive(Clone)]
pub struct Events(Arc<dyn Fn(&UpstreamEvent) + Send + Sync>);

impl Events {
    /// Calls `sink` with every event.
    pub fn to(sink: impl Fn(&UpstreamEvent) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }

    /// Tells nobody.
    pub fn none() -> Self {
        Self::to(|_| {})
    }

    pub(crate) fn send(&self, event: &UpstreamEvent) {
        (self.0)(event);
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}
