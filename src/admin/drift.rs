//! Drift in the admin API: `GET /api/v1/drift` lists the routes that learn with their changes, `GET /api/v1/drift/ROUTE` has
//! its places too, `POST /api/v1/drift/ROUTE/accept` takes changes into what is known. ROUTE is percent-encoded. The names
//! of members are part of the API.

use axum::{
    Json,
    body::Bytes,
    extract::{
        Path, State,
        rejection::{BytesRejection, PathRejection},
    },
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;

use super::routes::{Shown, ordered, problem, refuse};
use crate::http::Problem;

/// Which changes are accepted; nothing said: all of the route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DriftAccept {
    /// Those at this path, as it is listed.
    pub path: Option<String>,
    /// Those of this kind.
    pub change: Option<String>,
}

pub(super) async fn list(State(shown): State<Shown>) -> impl IntoResponse {
    Json(shown.operations.drift())
}

pub(super) async fn one(
    State(shown): State<Shown>,
    headers: HeaderMap,
    route: Result<Path<String>, PathRejection>,
) -> Response {
    match named(route).and_then(|route| shown.operations.drift_of(&route)) {
        Ok(known) => Json(known).into_response(),
        Err(detail) => problem(
            &Problem::new(StatusCode::BAD_REQUEST).detail(detail),
            &Method::GET,
            &headers,
        ),
    }
}

pub(super) async fn accept(
    State(shown): State<Shown>,
    headers: HeaderMap,
    route: Result<Path<String>, PathRejection>,
    content: Result<Bytes, BytesRejection>,
) -> Response {
    let content = match ordered(&headers, content) {
        Ok(content) => content,
        Err(refusal) => return refusal,
    };
    let accepted = named(route).and_then(|route| {
        let order = order(&content)?;
        shown.operations.accept_drift(&route, order)
    });
    match accepted {
        Ok(accepted) => Json(accepted).into_response(),
        Err(detail) => refuse(&headers, StatusCode::BAD_REQUEST, detail),
    }
}

fn named(route: Result<Path<String>, PathRejection>) -> Result<String, String> {
    match route {
        Ok(Path(route)) => Ok(route),
        Err(rejection) => Err(rejection.body_text()),
    }
}

fn order(content: &[u8]) -> Result<DriftAccept, String> {
    if content.trim_ascii().is_empty() {
        return Ok(DriftAccept::default());
    }
    serde_json::from_slice(content).map_err(|error| {
        format!(
            "not an order to accept: {error}; send {{}} for all changes of the route, or {{\"path\": \"$.price\", \
             \"change\": \"type_changed\"}} for one"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_names_one_change_or_none() {
        let accept = |path: Option<&str>, change: Option<&str>| DriftAccept {
            path: path.map(Into::into),
            change: change.map(Into::into),
        };
        for (content, want) in [
            ("", Some(accept(None, None))),
            ("{}", Some(accept(None, None))),
            (r#"{"path": "$.a"}"#, Some(accept(Some("$.a"), None))),
            (
                r#"{"path": "$.a", "change": "type_changed"}"#,
                Some(accept(Some("$.a"), Some("type_changed"))),
            ),
            (r#"{"paths": "$.a"}"#, None),
            ("$.a", None),
        ] {
            assert_eq!(order(content.as_bytes()).ok(), want, "{content}");
        }
    }
}
