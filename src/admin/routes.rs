//! Routes of the admin listener.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{
        Path, Query, State,
        rejection::{BytesRejection, QueryRejection},
    },
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
};
use serde::Serialize;
use tower_http::{
    catch_panic::CatchPanicLayer,
    limit::RequestBodyLimitLayer,
    request_id::{PropagateRequestIdLayer, SetRequestIdLayer},
    sensitive_headers::SetSensitiveRequestHeadersLayer,
    set_header::SetResponseHeaderLayer,
    trace::TraceLayer,
};

use super::{
    breakers, drift,
    guard::{self, Guard},
    operations::{self, Operations},
    status::StatusSource,
};
use crate::{
    http::Problem,
    listener::request_id::SharedRequestIds,
    observe::{Metrics, metrics},
};

/// A thousand orders to purge, each with a URL of a kilobyte.
const BODY_BYTES_MAX: usize = 1 << 20;

#[derive(Clone)]
pub(super) struct Shown {
    status: Arc<dyn StatusSource>,
    pub(super) operations: Arc<dyn Operations>,
    metrics: Metrics,
}

pub(super) fn router(
    status: Arc<dyn StatusSource>,
    operations: Arc<dyn Operations>,
    metrics: Metrics,
    guard: Guard,
) -> Router {
    let probes = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz));
    let guarded = Router::new()
        .route("/metrics", get(metrics_text))
        .route("/api/v1/status", get(status_json))
        .route("/api/v1/purge", post(purge))
        .route("/api/v1/purges", get(purges))
        .route("/api/v1/breakers", get(list_breakers).post(move_breaker))
        .route("/api/v1/versions", get(versions))
        .route("/api/v1/reload", post(reload))
        .route("/api/v1/contracts", get(list_contracts))
        // Names of routes may hold slashes.
        .route("/api/v1/contracts/{*route}", get(report_contract))
        .route("/api/v1/datasets/{name}/accept", post(accept_dataset))
        .route("/api/v1/explain", get(explain))
        .route("/api/v1/drift", get(drift::list))
        .route("/api/v1/drift/{route}", get(drift::one))
        .route("/api/v1/drift/{route}/accept", post(drift::accept))
        .fallback(not_found)
        // Outside the routes and their fallback alike: without a token nobody learns which paths exist.
        .layer(middleware::from_fn_with_state(guard, guard::check));
    let no_store = HeaderValue::from_static("no-store");
    let nosniff = HeaderValue::from_static("nosniff");
    guarded
        .merge(probes)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(Shown {
            status,
            operations,
            metrics,
        })
        .layer(RequestBodyLimitLayer::new(BODY_BYTES_MAX))
        .layer(CatchPanicLayer::custom(|_| {
            tracing::error!("the admin listener survived a defect of ours");
            problem(
                &Problem::new(StatusCode::INTERNAL_SERVER_ERROR),
                &Method::GET,
                &HeaderMap::new(),
            )
        }))
        .layer(SetResponseHeaderLayer::overriding(CACHE_CONTROL, no_store))
        .layer(SetResponseHeaderLayer::overriding(
            X_CONTENT_TYPE_OPTIONS,
            nosniff,
        ))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(SharedRequestIds::default()))
        // At level debug; the token is marked before it, so that it prints as "Sensitive".
        .layer(TraceLayer::new_for_http())
        .layer(SetSensitiveRequestHeadersLayer::new([AUTHORIZATION]))
}

/// The process runs: always 200. A restart would mend nothing that a failing upstream breaks.
async fn livez() -> &'static str {
    "ok\n"
}

#[derive(Serialize)]
struct NotReady {
    ready: bool,
    reasons: Vec<String>,
}

/// Whether to send traffic here.
async fn readyz(State(shown): State<Shown>) -> Response {
    match shown.status.readiness() {
        Ok(()) => "ok\n".into_response(),
        Err(reasons) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(NotReady {
                ready: false,
                reasons,
            }),
        )
            .into_response(),
    }
}

async fn metrics_text(State(shown): State<Shown>) -> impl IntoResponse {
    (
        [(CONTENT_TYPE, metrics::CONTENT_TYPE)],
        shown.metrics.encode(),
    )
}

async fn status_json(State(shown): State<Shown>) -> impl IntoResponse {
    Json(shown.status.status())
}

/// The content of a request that changes something: it has to come as JSON, or is told in words what it lacks.
pub(super) fn ordered(
    headers: &HeaderMap,
    content: Result<Bytes, BytesRejection>,
) -> Result<Bytes, Response> {
    if !operations::is_json(headers) {
        let detail = "send the order as JSON, with `Content-Type: application/json`";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(refuse(headers, status, detail.to_owned()));
    }
    content.map_err(|rejection| refuse(headers, rejection.status(), rejection.body_text()))
}

pub(super) fn refuse(headers: &HeaderMap, status: StatusCode, detail: String) -> Response {
    problem(&Problem::new(status).detail(detail), &Method::POST, headers)
}

/// Purges what is ordered.
async fn purge(
    State(shown): State<Shown>,
    headers: HeaderMap,
    content: Result<Bytes, BytesRejection>,
) -> Response {
    let content = match ordered(&headers, content) {
        Ok(content) => content,
        Err(refusal) => return refusal,
    };
    let (orders, is_list) = match operations::orders(&content) {
        Ok(orders) => orders,
        Err(detail) => return refuse(&headers, StatusCode::BAD_REQUEST, detail),
    };
    match shown.operations.purge(orders).await {
        Err(refused) => refuse(&headers, refused.status(), refused.to_string()),
        Ok(done) => match &done[..] {
            [one] if !is_list => Json(one).into_response(),
            all => Json(serde_json::json!({ "purges": all })).into_response(),
        },
    }
}

/// The latest purges.
async fn purges(State(shown): State<Shown>) -> impl IntoResponse {
    let purges = shown.operations.purges(operations::LISTED_MAX);
    Json(serde_json::json!({ "purges": purges }))
}

/// Every breaker, as it stands.
async fn list_breakers(State(shown): State<Shown>) -> impl IntoResponse {
    Json(serde_json::json!({ "breakers": shown.operations.breakers() }))
}

/// What vendors announced, and the versions that are pinned.
async fn versions(State(shown): State<Shown>) -> impl IntoResponse {
    Json(serde_json::json!({ "versions": shown.status.versions() }))
}

/// Reads the config again.
async fn reload(
    State(shown): State<Shown>,
    headers: HeaderMap,
    content: Result<Bytes, BytesRejection>,
) -> Response {
    if let Err(refusal) = ordered(&headers, content) {
        return refusal;
    }
    match Arc::clone(&shown.operations).reload().await {
        Ok(done) => Json(done).into_response(),
        Err(detail) => refuse(&headers, StatusCode::BAD_REQUEST, detail),
    }
}

/// Moves a breaker as ordered.
async fn move_breaker(
    State(shown): State<Shown>,
    headers: HeaderMap,
    content: Result<Bytes, BytesRejection>,
) -> Response {
    let content = match ordered(&headers, content) {
        Ok(content) => content,
        Err(refusal) => return refusal,
    };
    let moved = breakers::order(&content).and_then(|order| shown.operations.move_breaker(order));
    match moved {
        Ok(breaker) => Json(breaker).into_response(),
        Err(detail) => refuse(&headers, StatusCode::BAD_REQUEST, detail),
    }
}

/// Every contract, and how answers met it.
async fn list_contracts(State(shown): State<Shown>) -> impl IntoResponse {
    Json(serde_json::json!({ "contracts": shown.operations.contracts() }))
}

/// What is known of one route's answers against its contract.
async fn report_contract(
    State(shown): State<Shown>,
    Path(route): Path<String>,
    headers: HeaderMap,
) -> Response {
    match shown.operations.contract(&route) {
        Some(report) => Json(report).into_response(),
        None => {
            let detail = "no route of this name has a contract: look at /api/v1/contracts";
            let nothing = Problem::new(StatusCode::NOT_FOUND).detail(detail);
            problem(&nothing, &Method::GET, &headers)
        }
    }
}

/// Takes whatever comes next into a dataset as it is.
async fn accept_dataset(
    State(shown): State<Shown>,
    Path(name): Path<String>,
    headers: HeaderMap,
    content: Result<Bytes, BytesRejection>,
) -> Response {
    if let Err(refusal) = ordered(&headers, content) {
        return refusal;
    }
    if shown.operations.accept_dataset(&name) {
        return Json(serde_json::json!({ "accepted": name })).into_response();
    }
    let detail = "no contract names a dataset of this name: look at `reconcile` of the routes";
    refuse(&headers, StatusCode::NOT_FOUND, detail.to_owned())
}

/// What would happen to a request, and why.
async fn explain(
    State(shown): State<Shown>,
    headers: HeaderMap,
    parameters: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    let question = match parameters {
        Ok(Query(parameters)) => operations::question(parameters),
        Err(rejection) => Err(rejection.body_text()),
    };
    let explained = match question {
        Ok(question) => shown.operations.explain(question).await,
        Err(detail) => Err(detail),
    };
    match explained {
        Ok(explained) => Json(explained).into_response(),
        Err(detail) => problem(
            &Problem::new(StatusCode::BAD_REQUEST).detail(detail),
            &Method::GET,
            &headers,
        ),
    }
}

async fn not_found(method: Method, headers: HeaderMap) -> Response {
    let nothing = Problem::new(StatusCode::NOT_FOUND)
        .detail(
        "there are /livez, /readyz, /metrics, /api/v1/status, /api/v1/explain, /api/v1/versions, /api/v1/purges, /api/v1/breakers, /api/v1/drift, /api/v1/contracts and, by POST, /api/v1/purge and /api/v1/breakers",
    );
    problem(&nothing, &method, &headers)
}

async fn method_not_allowed(method: Method, headers: HeaderMap) -> Response {
    problem(
        &Problem::new(StatusCode::METHOD_NOT_ALLOWED),
        &method,
        &headers,
    )
}

/// A problem as this listener answers it.
pub(super) fn problem(problem: &Problem, method: &Method, request_headers: &HeaderMap) -> Response {
    const X_REQUEST_ID: HeaderName = crate::listener::request_id::X_REQUEST_ID;
    let mut problem = problem.clone();
    problem.request_id = request_headers.get(X_REQUEST_ID).cloned();
    problem.response(method, request_headers).map(Body::new)
}
