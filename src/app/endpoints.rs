//! What the owner of an upstream is told about its endpoints.

use super::breakers::whole_millis;
use crate::{
    observe::Alert,
    resilience::{EndpointChange, EndpointEvent},
};

/// A change of an endpoint, for whoever is called about its upstream.
pub(super) fn alert(event: &EndpointEvent) -> Alert {
    let (kind, message) = match &event.change {
        EndpointChange::Ejected { rest, unreachable } => (
            "endpoint_ejected",
            format!(
                "left out for {:?} at first: {}",
                whole_millis(*rest),
                match unreachable {
                    true => "it cannot be connected to",
                    false => "too many calls in a row failed",
                }
            ),
        ),
        EndpointChange::Returned => ("endpoint_returned", "answers again".to_owned()),
        EndpointChange::Unhealthy { reason } => (
            "endpoint_unhealthy",
            format!("left out: its health checks fail ({reason})"),
        ),
        EndpointChange::Healthy => (
            "endpoint_healthy",
            "its health checks pass again".to_owned(),
        ),
        EndpointChange::LookupFailed => (
            "endpoint_lookup_failed",
            "its name cannot be looked up; the last good addresses stay in use".to_owned(),
        ),
        EndpointChange::LookupRecovered => (
            "endpoint_lookup_recovered",
            "its name can be looked up again".to_owned(),
        ),
    };
    Alert {
        kind,
        subject: event.upstream.name.to_string(),
        message: format!("{}: {message}", event.endpoint),
        owner: event.upstream.owner.clone(),
        runbook: event.upstream.runbook.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;

    #[test]
    fn an_alert_says_which_endpoint_and_what() {
        for (change, kind, want) in [
            (
                EndpointChange::Ejected {
                    rest: Duration::from_nanos(492_708_331),
                    unreachable: true,
                },
                "endpoint_ejected",
                "http://v: left out for 493ms at first: it cannot be connected to",
            ),
            (
                EndpointChange::Returned,
                "endpoint_returned",
                "http://v: answers again",
            ),
            (
                EndpointChange::Unhealthy {
                    reason: "answered 503".to_owned(),
                },
                "endpoint_unhealthy",
                "http://v: left out: its health checks fail (answered 503)",
            ),
        ] {
            let raised = alert(&EndpointEvent {
                upstream: Arc::new(crate::upstream::client_config(&["http://v"])),
                endpoint: "http://v".into(),
                change,
            });
            assert_eq!((raised.kind, &*raised.message), (kind, want));
        }
    }
}
