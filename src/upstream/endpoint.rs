//! Endpoint: one address of an upstream, its load and its standing.
//!
//! Load is tower's peak-EWMA: latency, raised at once by a slow answer and lowered slowly by quick ones, times the
//! requests under way. A refused connection is very quick, so load alone would send everything to the dead endpoint:
//! its standing keeps one that failed to connect out of the choice for a short, growing time.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::Uri;
use tokio::time::Instant;
use tower::{
    Service,
    load::{CompleteOnResponse, Load, PeakEwma, peak_ewma::Cost},
};

use super::{
    UpstreamError,
    client::EndpointClient,
    network::Network,
    tls::{self, Trust},
};
use crate::{
    config::UpstreamConfig,
    failure::{Cause, Failure},
    http::{Request, Response},
};

/// What an endpoint that was never asked is taken to answer in.
const RTT_AT_START: Duration = Duration::from_millis(50);
/// Over which time an old latency is forgotten.
const RTT_DECAY: Duration = Duration::from_secs(10);
/// First time out of the choice after a failed connect; doubles with each further one …
const SKIP_FOR: Duration = Duration::from_millis(100);
/// … up to this.
const SKIP_FOR_MAX: Duration = Duration::from_secs(10);

/// A request with an endpoint; counts for its load until its head is here.
pub type ResponseFuture = <PeakEwma<EndpointClient> as Service<Request>>::Future;

/// One address of an upstream.
pub struct Endpoint {
    uri: Arc<str>,
    client: Mutex<PeakEwma<EndpointClient>>,
    standing: Mutex<Standing>,
}

/// An endpoint at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSnapshot {
    /// Its URL, without credentials.
    pub uri: Arc<str>,
    /// It failed to connect and is out of the choice for now.
    pub skipped: bool,
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
        let client = PeakEwma::new(
            client,
            RTT_AT_START,
            decay_ns,
            CompleteOnResponse::default(),
        );
        Self {
            uri: shown(uri).into(),
            client: Mutex::new(client),
            standing: Mutex::default(),
        }
    }

    /// Its URL, without credentials.
    pub fn uri(&self) -> &Arc<str> {
        &self.uri
    }

    pub(super) fn cost(&self) -> Cost {
        lock(&self.client).load()
    }

    pub(super) fn skipped_until(&self) -> Option<Instant> {
        lock(&self.standing).skipped_until
    }

    pub(super) fn call(&self, request: Request) -> ResponseFuture {
        // Locked to start the request, not while it runs. The client is always ready.
        lock(&self.client).call(request)
    }

    pub(super) fn heard(&self, result: &Result<Response, Failure>, now: Instant) {
        let connected = !matches!(
            result.as_ref().map_err(Failure::cause),
            Err(Cause::Dns | Cause::ConnectRefused | Cause::ConnectTimeout | Cause::Tls)
        );
        lock(&self.standing).heard(connected, now);
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
    // Neither a load estimate nor a standing can be left half changed by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// --- Standing ---

/// Whether an endpoint lets itself be connected to, of late. Pure: `now` is an argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Failed connects in a row.
    run: u32,
    skipped_until: Option<Instant>,
}

impl Standing {
    fn heard(&mut self, connected: bool, now: Instant) {
        if connected {
            *self = Self::default();
            return;
        }
        // Requests that were under way together fail together: they are one failure, not many.
        if self.skipped_until.is_some_and(|until| now < until) {
            return;
        }
        let doubled = SKIP_FOR.saturating_mul(1 << self.run.min(16));
        self.run = self.run.saturating_add(1);
        self.skipped_until = Some(now + doubled.min(SKIP_FOR_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_the_url_is_not_shown() {
        let uri = Uri::from_static("https://user:pw@api.vendor.example:8443/v2/");
        assert_eq!(shown(&uri), "https://api.vendor.example:8443/v2");
    }

    #[test]
    fn failed_connects_keep_an_endpoint_out_for_longer_each_time() {
        let start = Instant::now();
        let mut standing = Standing::default();
        let mut now = start;
        let mut skipped = Vec::new();
        for _ in 0..9 {
            standing.heard(false, now);
            standing.heard(false, now);
            let until = standing.skipped_until.expect("failed");
            skipped.push((until - now).as_millis());
            now = until;
        }
        assert_eq!(
            skipped,
            [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]
        );
        standing.heard(true, now);
        assert_eq!(standing, Standing::default(), "one answer clears it");
    }
}
