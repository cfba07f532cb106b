//! Health: active checks of an endpoint, so that it is left out before visitors notice.
//!
//! A check goes the way of every request to the endpoint (its pool, TLS, `Host`, credentials), but past retry, breaker and
//! bulkhead: it is about this endpoint alone. Here is what makes a check pass and what its results add up to; when checks
//! are made is [`super::upkeep`]'s matter.
//!
//! # Invariants
//!
//! - A check ends within its `timeout`, and reads at most `body_max` of a body.
//! - One result against the run changes nothing: `unhealthy_after` failures in a row do, and `healthy_after` passes.

use http::{HeaderValue, Method, header};
use tokio::time::timeout;
use tower::{Service, ServiceExt};

use crate::{
    config::HealthConfig,
    failure::{Cause, Failure},
    http::{
        Body, Request, Response,
        bodies::Bodies,
        whole::{Read, Whole, read_whole},
    },
};

/// What the checks of one endpoint add up to. Pure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    unhealthy: bool,
    /// Results in a row that speak against the present state.
    against: u32,
}

/// What the owner of the upstream should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HealthChange {
    /// Left out from now on.
    Unhealthy,
    /// In the choice again.
    Healthy,
}

impl Health {
    /// A check ended.
    pub(super) fn checked(
        &mut self,
        passed: bool,
        unhealthy_after: u32,
        healthy_after: u32,
    ) -> Option<HealthChange> {
        if passed != self.unhealthy {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        let (enough, change) = match passed {
            true => (healthy_after, HealthChange::Healthy),
            false => (unhealthy_after, HealthChange::Unhealthy),
        };
        if self.against < enough {
            return None;
        }
        self.against = 0;
        self.unhealthy = !passed;
        Some(change)
    }

    pub(super) fn is_unhealthy(&self) -> bool {
        self.unhealthy
    }
}

/// Asks an endpoint how it is; `Err` says in a phrase why the check failed.
pub(super) async fn check<S>(endpoint: S, config: &HealthConfig) -> Result<(), String>
where
    S: Service<Request, Response = Response, Error = Failure> + Clone,
{
    let asking = async {
        let mut result = endpoint.clone().oneshot(request(config)).await;
        // RFC 9112 9.3.1: a connection that was kept since the last check may be closed at any time, and says nothing.
        if matches!(&result, Err(failure) if failure.cause() == Cause::ConnectionTerminated) {
            result = endpoint.oneshot(request(config)).await;
        }
        match result {
            Ok(response) => verdict(response, config).await,
            Err(failure) => Err(failure.to_string()),
        }
    };
    timeout(config.timeout, asking)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {:?}", config.timeout)))
}

fn request(config: &HealthConfig) -> Request {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = config.path.clone().into();
    let headers = request.headers_mut();
    headers.insert(header::USER_AGENT, HeaderValue::from_static("larder"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    request
}

async fn verdict(response: Response, config: &HealthConfig) -> Result<(), String> {
    let status = response.status();
    if !config.expect.contains(status) {
        return Err(format!("answered {}", status.as_u16()));
    }
    // Read also where nothing is looked for in it: the connection can be used again, and a body that breaks off is no
    // sign of health.
    // Few and small, and needed when everything else is too much: not out of the budget of clients' bodies.
    let bodies = Bodies::default();
    match read_whole(response.into_body(), config.body_bytes_max, None, &bodies).await {
        Err(error) => Err(error.to_string()),
        Ok(Read::Part(_) | Read::NoRoom(_)) if config.body_contains.is_some() => {
            Err("the body is longer than body_max".to_owned())
        }
        Ok(Read::Part(_) | Read::NoRoom(_)) => Ok(()),
        Ok(Read::Whole(Whole { bytes: body, .. })) => match &config.body_contains {
            Some(text) if !contains(&body, text.as_bytes()) => {
                Err("the body does not contain what it should".to_owned())
            }
            _ => Ok(()),
        },
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
