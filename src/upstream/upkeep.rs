//! Upkeep: what goes on beside requests, per endpoint: its health checks, and looking its name up again.
//!
//! Futures without an end of their own: whoever runs them (the app's tasks) drops them at shutdown.

use std::{pin::Pin, sync::Arc};

use tokio::time::sleep;
use tower::util::{MapRequest, MapResponse};

use super::{balance::Balance, health, resolve::Lookup};
use crate::{
    chance,
    config::{ApiVersion, UpstreamConfig},
    http::Request,
    resilience::{EndpointChange, Priority, Quota},
};

/// Something that goes on until it is dropped.
pub type Upkeep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Pauses between checks are shortened by up to this share, so that the endpoints of a vendor, and several proxies, do not
/// ask in step.
const JITTER: f64 = 0.2;

pub(super) fn upkeep(
    upstream: &Arc<UpstreamConfig>,
    balance: &Balance,
    quota: &Quota,
) -> Vec<Upkeep> {
    let mut all: Vec<Upkeep> = Vec::new();
    for index in 0..balance.endpoints().len() {
        all.push(Box::pin(refresh_names(
            Arc::clone(upstream),
            balance.clone(),
            index,
        )));
        if upstream.health.is_some() {
            all.push(Box::pin(check_health(
                Arc::clone(upstream),
                balance.clone(),
                quota.clone(),
                index,
            )));
        }
    }
    all
}

async fn refresh_names(upstream: Arc<UpstreamConfig>, balance: Balance, index: usize) {
    let endpoint = &balance.endpoints()[index];
    loop {
        let names = endpoint.client().names();
        names.due(upstream.dns_refresh).await;
        let ledger = balance.ledger();
        match names.refresh(upstream.connect_timeout).await {
            Lookup::Same => {}
            Lookup::Left => endpoint.client().leave_connections(),
            Lookup::Failed => ledger.say(index, EndpointChange::LookupFailed),
            Lookup::Recovered { left } => {
                if left {
                    endpoint.client().leave_connections();
                }
                ledger.say(index, EndpointChange::LookupRecovered);
            }
        }
    }
}

async fn check_health(upstream: Arc<UpstreamConfig>, balance: Balance, quota: Quota, index: usize) {
    let Some(config) = &upstream.health else {
        return;
    };
    let endpoint = &balance.endpoints()[index];
    let pin = {
        let upstream = Arc::clone(&upstream);
        move |mut request: Request| {
            let pinned = upstream.api_version.as_deref();
            if let Some((name, value)) = pinned.and_then(ApiVersion::sent) {
                request.headers_mut().insert(name.clone(), value.clone());
            }
            request
        }
    };
    // Somewhere in the first interval, so that not all are asked at once.
    let mut pause = config.every.mul_f64(chance::fraction());
    loop {
        sleep(pause).await;
        // A request like any other to who counts them, and worth the least.
        if quota.try_take(Priority::Sync).is_ok() {
            let client = MapResponse::new(endpoint.client().clone(), quota.ears());
            let client = MapRequest::new(client, pin.clone());
            let result = health::check(client, config).await;
            endpoint.count_check(Some(result.is_ok()));
            balance.ledger().checked(index, result);
        } else {
            endpoint.count_check(None);
        }
        pause = config.every.mul_f64(1.0 - JITTER * chance::fraction());
    }
}
