//! What a hit in memory costs, whole and in its parts. `cargo bench --bench hot_path`
//!
//! Allocations are counted beside the times; absolute times mean little on a shared machine, ratios between rows do.

mod support;

use std::time::Duration;

use divan::{AllocProfiler, Bencher, black_box};
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use larder::{
    cache::{Facts, primary_key},
    clock::Timestamp,
    config::{Policy, template::PathTemplate},
    route::{Match, RoutePattern, RouteTable},
};

#[global_allocator]
static ALLOCATOR: AllocProfiler<mimalloc::MiMalloc> = AllocProfiler::new(mimalloc::MiMalloc);

fn main() {
    divan::main();
}

/// From a parsed request to a finished response: sanitize, route, key, store, freshness, fields, counters.
#[divan::bench]
fn hit_as_a_service_call(bencher: Bencher<'_, '_>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let front = runtime.block_on(support::warmed_front());
    bencher
        .with_inputs(|| support::request("/prices/1"))
        .bench_values(|request| front.answer(support::CLIENT, request));
}

#[divan::bench]
fn key_building(bencher: Bencher<'_, '_>) {
    let config = support::config();
    let route = &config.routes[0];
    let uri = Uri::from_static("/prices/sku-4711?currency=EUR&locale=de");
    let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("shop.example"))]);
    bencher.bench(|| primary_key(black_box(route), black_box(&uri), &headers));
}

#[divan::bench]
fn freshness(bencher: Bencher<'_, '_>) {
    let now = Timestamp::from_secs(1_800_000_000);
    let headers = HeaderMap::from_iter([(
        header::CACHE_CONTROL,
        HeaderValue::from_static("max-age=60"),
    )]);
    let facts = Facts::new(http::StatusCode::OK, &headers, now, now);
    let policy = Policy::default();
    let later = now.after(Duration::from_secs(5));
    bencher.bench(|| black_box(&facts).judge(&policy, 0.5, black_box(later), || 1.0));
}

#[divan::bench(args = [1, 100, 1_000])]
fn route_match(bencher: Bencher<'_, '_>, routes: usize) {
    let pattern = |nth: usize| RoutePattern {
        hosts: Vec::new(),
        path: PathTemplate::parse(&format!("/api/v{nth}/prices/{{sku}}")).expect("a template"),
        methods: None,
    };
    let table = RouteTable::new((0..routes).map(|nth| (pattern(nth), nth)));
    let path = format!("/api/v{}/prices/sku-4711", routes / 2);
    bencher.bench(
        || match table.find(Some("shop.example:8080"), black_box(&path), &Method::GET) {
            Match::Found { route, .. } => *route,
            _ => usize::MAX,
        },
    );
}
