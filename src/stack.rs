//! The composition: the only file that knows all layers. Read down to follow a request, up to follow its response.

use std::sync::Arc;

use http::header;
use tokio::sync::Semaphore;
use tower::{ServiceBuilder, util::BoxCloneSyncService};
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;

use crate::{
    cache::{self, Cache, FetchService},
    config::{Config, RouteConfig},
    contract::{
        ContractLayer, Contracts, RouteDatasets,
        shape::{EarLayer, HearsLayer, Shapes},
        version::{Versions, pin},
    },
    front::Mounted,
    http::{Request, forwarded::Forwarded, uri::AsWritten},
    observe::Metrics,
    upstream::Upstream,
};

/// What the stacks of all routes share.
#[derive(Clone)]
pub struct Common {
    /// Of the caches.
    pub cache: Arc<cache::Shared>,
    /// All counters.
    pub metrics: Metrics,
    /// What vendors announced.
    pub versions: Versions,
    /// Verdicts on large answers at once (`server.judges_max`).
    pub judges: Arc<Semaphore>,
    /// How many there may be, whatever is taken of them now.
    pub judges_max: usize,
    /// What is known of answers against their contracts.
    pub contracts: Contracts,
    /// What is known of the shape of answers.
    pub shapes: Shapes,
}

impl Common {
    /// What is kept by route follows a new config. Blocks: what is known of a route that is new is read from disk.
    pub fn follow(&self, config: &Config) {
        self.cache.follow(config);
        self.contracts.follow(config);
        self.shapes.follow(config);
    }
}

/// The figures of this route that are added up over many answers.
fn datasets_of(route: &RouteConfig, common: &Common) -> Option<RouteDatasets> {
    let contract = route.contract.as_ref()?;
    common.contracts.datasets().of(&route.name, contract)
}

/// One route: its cache over its fetch stack, and its counters.
pub fn route_stack(route: &Arc<RouteConfig>, common: &Common, upstream: &Upstream) -> Arc<Mounted> {
    let metrics = common.metrics.route(&route.name);
    Arc::new(Mounted {
        route: Arc::clone(route),
        // Fresh: answered here. Stale: answered here, refreshed below. Failure below: stale again.
        cache: Cache::counted(
            Arc::clone(route),
            Arc::clone(&common.cache),
            fetch_stack(route, common, upstream),
            // Above the breaker, but not blind: whoever has a copy does not wait for a probe.
            upstream.outlook_of(&route.name),
            metrics.clone(),
        ),
        metrics,
    })
}

/// Everything below the cache. From here down every error is a [`crate::failure::Failure`].
fn fetch_stack(route: &Arc<RouteConfig>, common: &Common, upstream: &Upstream) -> FetchService {
    let (rewritten, pinned) = (Arc::clone(route), route.api_version.clone());
    BoxCloneSyncService::new(
        ServiceBuilder::new()
            // Below the cache, so that keys and invalidation speak of what clients ask for.
            .map_request(move |request| rewrite(&rewritten, request))
            // Below the cache too: what tells of one client is no part of what others share.
            .map_request(tell_of_client)
            // And what is the same for all of them: the version of the vendor's API that this route is built for.
            .map_request(move |request| pin::send(pinned.as_deref(), request))
            // Whatever prints a request from here on prints these as "Sensitive".
            .layer(SetSensitiveRequestHeadersLayer::new([
                header::AUTHORIZATION,
                header::COOKIE,
                header::PROXY_AUTHORIZATION,
            ]))
            // One budget of time over all attempts, so that retries cannot outlive the interest in them.
            .layer(
                upstream
                    .deadline_layer()
                    .told_in(route.deadline_header.clone()),
            )
            .layer(upstream.retry_layer())
            // Inside retry: a hedge is a part of one attempt. Outside the breaker: both requests are admitted, and count.
            .layer(upstream.hedge_layer(route))
            // Inside retry: every attempt counts, and a breaker that opens ends the attempts. The route's own, where it has
            // one, and the upstream's in one layer: what one of them refuses takes nothing of the other.
            .layer(upstream.breaker_layer_of(&route.name))
            .layer(HearsLayer(common.shapes.learner(route)))
            // Inside both, so that a breach can be asked about again and can count; outside the bulkhead, so that no slot waits
            // for a verdict.
            .layer(ContractLayer::new(
                route.contract.as_ref(),
                common.contracts.of(&route.name),
                datasets_of(route, common),
                &common.judges,
                common.judges_max,
            ))
            // What the contract lets through is learnt, as it came before it was mapped.
            .layer(EarLayer)
            // Inside the breaker: one that is open spends nothing.
            .layer(upstream.bulkhead_layer())
            // The innermost gate: a slot of the bulkhead comes back when this one refuses, but a request taken from the
            // quota is spent, so it is taken last.
            .layer(upstream.quota_layer())
            // Around the attempt: only there it is known how it ended. Ejects endpoints that keep failing.
            .layer(upstream.verdict_layer())
            // Reads a body whole where a whole one matters, so that a broken one is a failed attempt.
            .layer(upstream.attempt_layer())
            // Below the attempt, which keeps of a failing answer only what fits: every head is heard here.
            .map_response(upstream.quota().ears())
            .map_response(common.versions.ears(route))
            .service(upstream.balance()),
    )
}

/// What the route tells the upstream about the client behind this request.
fn tell_of_client(mut request: Request) -> Request {
    if let Some(forwarded) = request.extensions_mut().remove::<Forwarded>() {
        forwarded.apply(request.headers_mut());
    }
    request
}

/// The path as the upstream knows it: in the route's words, or as the client wrote it.
fn rewrite(route: &RouteConfig, mut request: Request) -> Request {
    let written = request.extensions_mut().remove::<AsWritten>();
    let path = request.uri().path();
    let mut rewritten = route.rewrite.apply(path, route.path.params(path));
    if rewritten == path
        && let Some(AsWritten(written)) = written
    {
        rewritten = written.into_string().into();
    }
    if rewritten != path {
        let target = match request.uri().query() {
            Some(query) => format!("{rewritten}?{query}"),
            None => rewritten.into_owned(),
        };
        // Templates and parameters are valid paths, and so is what is made of them; if not, the path stays as it came.
        if let Ok(uri) = target.parse() {
            *request.uri_mut() = uri;
        }
    }
    request
}
