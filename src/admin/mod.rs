//! Admin: what operators and their tools read, on an address of its own.
//!
//! `/metrics`, `/livez`, `/readyz`, `/api/v1/status`, `/api/v1/purge`, `/api/v1/purges`, `/api/v1/breakers`,
//! `/api/v1/versions`, `/api/v1/drift`, `/api/v1/contracts`, `/api/v1/explain`. Everything shown comes through [`StatusSource`] and the metrics, everything done goes through [`Operations`]; this module knows no layer.
//!
//! # Invariants
//!
//! - With a token, nothing but the two probes is shown without it; it is compared in constant time.
//! - Without one (then the address is a loopback one) only requests that name this machine are answered, so that a
//!   website in the operator's browser cannot read along (DNS rebinding).
//! - What changes something has to be declared as JSON, so that no website can send it for the operator (CSRF).
//! - It goes on answering while the proxy drains: give it a [`Shutdown`] of its own, begun last.

mod breakers;
mod contracts;
mod drift;
mod guard;
mod operations;
mod routes;
pub mod status;
mod versions;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper_util::service::TowerToHyperService;

pub use breakers::{BreakerAction, BreakerCounts, BreakerOrder, BreakerStatus};
pub use contracts::{ContractReport, ContractStatus, EpisodeStatus};
pub use drift::DriftAccept;
pub use operations::{
    ExplainQuestion, Explaining, ORDERS_MAX, Operations, PurgeDone, PurgeMode, PurgeOrder,
    PurgeRefused, Purging, ReloadDone, Reloading,
};
pub use status::{
    AdmissionStatus, BreakerState, EndpointStatus, LastFailure, RouteContract, RouteStatus, Status,
    StatusSource, StoreStatus, UpstreamStatus,
};

pub use versions::{DeprecationStatus, LinkStatus, MismatchStatus, SunsetStatus, VersionStatus};

use crate::{
    config::AdminConfig,
    listener::{DrainReport, Limits, ListenError, Listener, Shutdown},
    observe::Metrics,
};
use guard::Guard;

/// Few clients, short questions: far below what the proxy itself allows.
const LIMITS: Limits = Limits {
    connections_max: 64,
    client_connections_max: None,
    trusted_proxies: Vec::new(),
    idle_timeout: Duration::from_secs(30),
    header_bytes_max: 16 * 1024,
    headers_max: 64,
    http2_streams_max: 16,
    drain_for: Duration::from_secs(2),
};

/// A bound admin listener.
#[derive(Debug)]
pub struct Admin {
    listener: Listener,
    guard: Guard,
}

impl Admin {
    /// Binds the address of `[admin]`. Needs a running tokio runtime.
    ///
    /// # Errors
    /// The address cannot be had; the message says what to do about it.
    pub fn bind(config: &AdminConfig) -> Result<Self, ListenError> {
        Ok(Self {
            listener: Listener::bind_with(config.listen, LIMITS)?,
            guard: Guard::new(config.token.as_ref()),
        })
    }

    /// The address it listens on, with the port the system chose where the config said 0.
    ///
    /// # Errors
    /// The system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `shutdown` begins, then for two seconds at most finishes what is under way.
    pub async fn serve(
        self,
        status: Arc<dyn StatusSource>,
        operations: Arc<dyn Operations>,
        metrics: Metrics,
        shutdown: Shutdown,
    ) -> DrainReport {
        let router = routes::router(status, operations, metrics, self.guard);
        let service = TowerToHyperService::new(router);
        self.listener
            .serve(move |_| service.clone(), shutdown)
            .await
    }
}

#[cfg(test)]
mod tests;
