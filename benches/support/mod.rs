//! A proxy without sockets: the front over one warmed route, its upstream a function.

#![allow(unreachable_pub)] // shared by binaries that each use a part

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::Arc,
};

use larder::{
    cache::{self, Cache, Purges},
    clock::Clock,
    config::{self, Config, FixedEnv},
    failure::Failure,
    front::{Front, Mounted},
    http::{Body, Request, Response},
    listener::Shutdown,
    observe::{Alerts, Metrics, TransactionLogger},
    route::{RoutePattern, RouteTable},
    store::Store,
    tunnel::Tunnels,
};
use tokio_util::task::TaskTracker;
use tower::util::BoxCloneSyncService;

/// Where requests come from.
pub const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

const CONFIG: &str = r#"
[store]
disk = "0"
[log]
transactions = "off"
[upstream.vendor]
endpoints = ["http://127.0.0.1:9100"]
[[route]]
path = "/prices/{sku}"
upstream = "vendor"
"#;

/// The compiled configuration above.
pub fn config() -> Config {
    config::parse(CONFIG, Path::new("bench.toml"), &FixedEnv::default()).expect("a sound config")
}

/// A request as a browser's fetch would send it.
pub fn request(path: &str) -> Request {
    http::Request::builder()
        .uri(path)
        .header("host", "shop.example:8080")
        .header("accept", "application/json")
        .header("user-agent", "bench")
        .body(Body::empty())
        .expect("a valid request")
}

/// A front whose vendor answers 2 KiB that are fresh for an hour; `/prices/1` is in memory already.
pub async fn warmed_front() -> Front {
    let config = config();
    let clock = Clock::System;
    let store =
        Store::open(&config.store, clock.clone(), Alerts::default()).expect("a store in memory");
    let purges = Arc::new(Purges::in_memory(config.store.purges_max, clock.clone()));
    let shared = cache::Shared::new(&config, store, purges, clock.clone(), TaskTracker::new());
    let metrics = Metrics::new();
    let vendor = BoxCloneSyncService::new(tower::service_fn(|_request| async {
        Ok::<_, Failure>(answer())
    }));
    let mounted = |route: &Arc<config::RouteConfig>| Mounted {
        route: Arc::clone(route),
        cache: Cache::new(Arc::clone(route), Arc::clone(&shared), vendor.clone()),
        metrics: metrics.route(&route.name),
    };
    let table = RouteTable::new(
        config
            .routes
            .iter()
            .map(|route| (RoutePattern::from(route), Arc::new(mounted(route)))),
    );
    let front = Front::new(
        &config.server,
        table,
        metrics.route("-"),
        TransactionLogger::off(),
        clock,
        Tunnels::new(1, TaskTracker::new(), Shutdown::new()),
    );
    let Ok(answer) = front.answer(CLIENT, request("/prices/1")).await;
    assert_eq!(answer.status(), 200);
    front
}

fn answer() -> Response {
    http::Response::builder()
        .header("content-type", "application/json")
        .header("etag", "\"v1\"")
        .header("cache-control", "max-age=3600")
        .body(Body::full(vec![b'x'; 2048]))
        .expect("a valid response")
}
