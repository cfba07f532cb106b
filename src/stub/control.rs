//! The control API: breaks and mends the vendor while it runs, on an address of its own.
//!
//! Plain HTTP/1.1, one `curl` line each; the words are those of [`Break`]. Never reached by a fault: a
//! vendor that refuses connections can still be mended.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::asked::Asked;
use super::breaks::{Break, instead};
use super::pattern::PathPattern;
use super::vendor::Vendor;

/// Requests listed when none is asked for; `?last=N` lists another number.
const LISTED: usize = 100;

type Pairs = Query<Vec<(String, String)>>;
type Refusal = (StatusCode, String);

/// Serves until `stop`.
pub(crate) async fn serve(
    vendor: Arc<Vendor>,
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
) {
    let Ok(addr) = listener.local_addr() else {
        return;
    };
    let help = help(&addr.to_string());
    let router = Router::new()
        .route("/", get(move || std::future::ready(help.clone())))
        .route("/break", post(break_now))
        .route("/mend", post(mend))
        .route("/faults", get(faults))
        .route("/requests", get(requests).delete(forget))
        .with_state(vendor);
    let stopped = async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    // Fails only if accepting does, which axum tries again by itself.
    let _ = axum::serve(listener, router)
        .with_graceful_shutdown(stopped)
        .await;
}

async fn break_now(State(vendor): State<Arc<Vendor>>, pairs: Pairs) -> Result<String, Refusal> {
    let broken = Break::from_pairs(pairs.0).map_err(refused)?;
    let said = format!("broken: {broken}\n");
    vendor.break_now(broken);
    Ok(said)
}

async fn mend(State(vendor): State<Arc<Vendor>>, pairs: Pairs) -> Result<String, Refusal> {
    let mut path = None;
    for (key, value) in pairs.0 {
        if key != "path" {
            let hint = instead(&key, "keys", &["path"]);
            return Err(refused(format!("unknown key '{key}'{hint}")));
        }
        path = Some(value.parse::<PathPattern>().map_err(refused)?);
    }
    let mended = path.map_or_else(|| vendor.mend_all(), |path| vendor.mend(&path));
    Ok(format!("mended: {mended}\n"))
}

async fn faults(State(vendor): State<Arc<Vendor>>) -> Json<Value> {
    let rows = vendor
        .breaks()
        .into_iter()
        .map(|(broken, active, scheduled)| {
            json!({
                "path": broken.path.as_str(),
                "kind": broken.fault.kind(),
                "text": broken.to_string(),
                "active": active,
                "scheduled": scheduled,
            })
        });
    Json(rows.collect())
}

async fn requests(
    State(vendor): State<Arc<Vendor>>,
    pairs: Pairs,
) -> Result<impl IntoResponse, Refusal> {
    let mut listed = LISTED;
    for (key, value) in pairs.0 {
        let number = value.parse().ok().filter(|_| key == "last");
        listed = number
            .ok_or_else(|| refused(format!("'{key}={value}': expected last=N, a whole number")))?;
    }
    let asked = vendor.ledger.requests();
    let latest = asked.iter().skip(asked.len().saturating_sub(listed));
    let by_target: serde_json::Map<_, _> = (vendor.ledger.by_target().into_iter())
        .map(|(target, count)| (target, json!(count)))
        .collect();
    Ok(Json(json!({
        "total": vendor.ledger.total(),
        "bookings_made": vendor.shop.bookings_made(),
        "by_path": by_target,
        "requests": latest.map(shown).collect::<Vec<_>>(),
    })))
}

async fn forget(State(vendor): State<Arc<Vendor>>) -> &'static str {
    vendor.ledger.reset();
    "forgotten\n"
}

fn shown(asked: &Asked) -> Value {
    json!({
        "number": asked.number,
        "at_ms": asked.at.as_millis(),
        "method": asked.method.as_str(),
        "target": asked.target,
        "status": asked.status,
        "fault": asked.fault,
        "conditional": asked.is_conditional(),
        "body_bytes": asked.body_bytes,
        "headers": shown_fields(&asked.headers),
    })
}

/// Credentials are real even where the vendor is not: their values are not shown.
fn shown_fields(fields: &HeaderMap) -> Vec<[String; 2]> {
    let secret = [
        header::AUTHORIZATION,
        header::COOKIE,
        header::PROXY_AUTHORIZATION,
    ];
    let shown = fields.iter().map(|(name, value)| {
        let value = if secret.contains(name) || value.is_sensitive() {
            "(hidden)".into()
        } else {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        };
        [name.to_string(), value]
    });
    shown.collect()
}

fn refused(why: impl std::fmt::Display) -> Refusal {
    (StatusCode::BAD_REQUEST, format!("{why}\n"))
}

fn help(addr: &str) -> String {
    format!(
        "larder stub: the vendor, played locally

break it      curl -X POST 'http://{addr}/break?kind=refuse'
mend it       curl -X POST 'http://{addr}/mend'

one path      curl -X POST 'http://{addr}/break?kind=hang&path=/prices/*'
half of them  curl -X POST 'http://{addr}/break?kind=reset&percent=50'
for a while   curl -X POST 'http://{addr}/break?kind=status&status=503&retry_after=10&for=30s'
now and then  curl -X POST 'http://{addr}/break?kind=flap&period=2s&fault=status&status=500'
mend one      curl -X POST 'http://{addr}/mend?path=/prices/*'
what is on    curl 'http://{addr}/faults'
what it was asked            curl 'http://{addr}/requests?last=10'
forget what it was asked     curl -X DELETE 'http://{addr}/requests'

kinds and their settings
  refuse                             the port is closed (path=* only)
  reset  reset_mid_body  close  hang  garbage
  slow_head delay=5s                 drip bytes=16 gap=100ms
  truncate framing=length|chunked    latency delay=200ms..1s
  status status=503 retry_after=10 retry_after_as=seconds|date
  invalid_json  html  empty  zero_price  missing_field field=price
  flap period=2s fault=KIND          its settings follow
for every kind
  path=*  percent=100  at=0s  for=30s  every=60s
"
    )
}
