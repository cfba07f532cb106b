//! Endpoint: one URL of an upstream, its client and its load.
//!
//! Load is tower's peak-EWMA: latency, raised at once by a slow answer and lowered slowly by quick ones, times the
//! requests under way. A refused connection is very quick, so load alone would send everything to a dead endpoint: that is
//! what ejection is for.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::Uri;
use tower::{
    Service,
    load::{CompleteOnResponse, Load, PeakEwma, peak_ewma::Cost},
};

use super::{
    EndpointState, UpstreamError,
    client::EndpointClient,
    network::Network,
    tls::{self, Trust},
};
use crate::{config::UpstreamConfig, http::Request};

/// What an endpoint that was never asked is taken to answer in.
const RTT_AT_START: Duration = Duration::from_millis(50);
/// Over which time an old latency is forgotten.
const RTT_DECAY: Duration = Duration::from_secs(10);
/// A request with an endpoint; counts for its load until its head is here.
pub type ResponseFuture = <PeakEwma<EndpointClient> as Service<Request>>::Future;

/// One URL of an upstream.
pub struct Endpoint {
    uri: Arc<str>,
    client: EndpointClient,
    /// The same client, its load measured.
    measured: Mutex<PeakEwma<EndpointClient>>,
    checks: CheckCounts,
}

/// Health checks since start.
#[derive(Debug, Default)]
struct CheckCounts {
    passed: AtomicU64,
    failed: AtomicU64,
    skipped: AtomicU64,
}

/// An endpoint at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSnapshot {
    /// Its URL, without credentials.
    pub uri: Arc<str>,
    /// How it is doing.
    pub state: EndpointState,
    /// Times it was left out after failures, since start.
    pub ejections: u64,
    /// Health checks since start by their result.
    pub checks: [(&'static str, u64); 3],
    /// Lookups of its name since start by their result.
    pub lookups: [(&'static str, u64); 2],
}

/// The endpoints of `upstream`, in the order of its config.
///
/// # Errors
///
/// As [`super::Upstream::new`].
pub fn endpoints(
    upstream: &UpstreamConfig,
    network: &Network,
) -> Result<Vec<Endpoint>, UpstreamError> {
    if upstream.endpoints.is_empty() {
        return Err(UpstreamError::NoEndpoint {
            upstream: Arc::clone(&upstream.name),
        });
    }
    let is_https = |uri: &Uri| uri.scheme_str() == Some("https");
    let trust = match &upstream.ca_file {
        _ if !upstream.endpoints.iter().any(|it| is_https(&it.uri)) => Trust::Nobody,
        Some(path) => Trust::File(path),
        None => Trust::System,
    };
    let tls = tls::client_config(trust)?;
    upstream
        .endpoints
        .iter()
        .map(|endpoint| {
            let client = EndpointClient::new(upstream, &endpoint.uri, &tls, network)?;
            Ok(Endpoint::new(&endpoint.uri, client))
        })
        .collect()
}

impl Endpoint {
    fn new(uri: &Uri, client: EndpointClient) -> Self {
        let decay_ns = RTT_DECAY.as_nanos() as f64;
        let measured = PeakEwma::new(
            client.clone(),
            RTT_AT_START,
            decay_ns,
            CompleteOnResponse::default(),
        );
        Self {
            uri: shown(uri).into(),
            client,
            measured: Mutex::new(measured),
            checks: CheckCounts::default(),
        }
    }

    /// Its URL, without credentials.
    pub fn uri(&self) -> &Arc<str> {
        &self.uri
    }

    pub(super) fn cost(&self) -> Cost {
        lock(&self.measured).load()
    }

    pub(super) fn call(&self, request: Request) -> ResponseFuture {
        // Locked to start the request, not while it runs. The client is always ready.
        lock(&self.measured).call(request)
    }

    /// The client past every measure: for checks.
    pub(super) fn client(&self) -> &EndpointClient {
        &self.client
    }

    /// Counts a health check; `None` is one that was not made.
    pub(super) fn count_check(&self, passed: Option<bool>) {
        let counter = match passed {
            Some(true) => &self.checks.passed,
            Some(false) => &self.checks.failed,
            None => &self.checks.skipped,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn snapshot(&self, state: EndpointState, ejections: u64) -> EndpointSnapshot {
        let CheckCounts {
            passed,
            failed,
            skipped,
        } = &self.checks;
        let (found, not_found) = self.client.names().counts();
        EndpointSnapshot {
            uri: Arc::clone(&self.uri),
            state,
            ejections,
            checks: [
                ("passed", passed.load(Relaxed)),
                ("failed", failed.load(Relaxed)),
                ("skipped", skipped.load(Relaxed)),
            ],
            lookups: [("ok", found), ("failed", not_found)],
        }
    }
}

/// The URL as it may be logged: without a password, and without the slash that is added to an empty path.
fn shown(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or_default();
    let authority = uri.authority().map_or("", |it| it.as_str());
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{}", uri.path().trim_end_matches('/'))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A load estimate cannot be left half changed by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_the_url_is_not_shown() {
        let uri = Uri::from_static("https://user:pw@api.vendor.example:8443/v2/");
        assert_eq!(shown(&uri), "https://api.vendor.example:8443/v2");
    }
}
