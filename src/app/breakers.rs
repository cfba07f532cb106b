//! Breakers as operators see and move them: alerts, the list of the admin API, orders by hand.

use std::time::Duration;

use tokio::time::Instant;

use super::report::{Report, breaker_state};
use crate::{
    admin::{BreakerAction, BreakerCounts, BreakerOrder, BreakerStatus},
    observe::Alert,
    resilience::{
        BreakerLayer, UpstreamEvent,
        breaker::{Action, BreakerChange, Phase},
    },
    upstream::Upstream,
};

/// A change of a breaker, for whoever is called about this upstream.
pub(super) fn alert(event: &UpstreamEvent) -> Alert {
    let (kind, message) = match &event.change {
        BreakerChange::Opened { reason, rest } => {
            let rest = whole_millis(*rest);
            let until = match rest.is_zero() {
                true => "not asked but by the next probe".to_owned(),
                false => format!("not asked for {rest:?}"),
            };
            (
                "breaker_open",
                format!("{until}: {reason}; stored answers are served meanwhile"),
            )
        }
        BreakerChange::HalfOpened => (
            "breaker_half_open",
            "probing whether it has recovered: its rest is over".to_owned(),
        ),
        BreakerChange::Closed { reason } => (
            "breaker_closed",
            format!("asked as usual again: {reason}"),
        ),
        BreakerChange::Isolated => (
            "breaker_isolated",
            "not asked until its breaker is closed by hand: isolated by hand; stored answers are served meanwhile"
                .to_owned(),
        ),
    };
    let upstream = &event.upstream;
    let (subject, message) = match &event.route {
        None => (upstream.name.to_string(), message),
        Some(route) => (
            format!("route {route}"),
            format!("upstream {} by this route: {message}", upstream.name),
        ),
    };
    Alert {
        kind,
        subject,
        message,
        owner: upstream.owner.clone(),
        runbook: upstream.runbook.clone(),
    }
}

/// Nobody who is woken by it wants the nanoseconds that jitter leaves.
pub(super) fn whole_millis(duration: Duration) -> Duration {
    let half = Duration::from_micros(500);
    Duration::from_millis(duration.saturating_add(half).as_millis() as u64)
}

impl Report {
    /// Every breaker: those of upstreams in the order of the config, each followed by those of its routes.
    pub(super) fn list_breakers(&self) -> Vec<BreakerStatus> {
        let mut listed = Vec::new();
        for upstream in &self.upstreams {
            listed.push(self.shown(upstream, &upstream.breaker_layer()));
            let routes = upstream.route_breakers().iter();
            listed.extend(routes.map(|breaker| self.shown(upstream, breaker)));
        }
        listed
    }

    pub(super) fn order_breaker(&self, order: &BreakerOrder) -> Result<BreakerStatus, String> {
        let (upstream, breaker) = self.ordered(order)?;
        let status = self.shown(upstream, &breaker);
        tracing::info!(
            upstream = status.upstream,
            route = status.route,
            action = order.action.as_str(),
            was = status.phase.as_str(),
            "a breaker is moved by hand"
        );
        breaker.order(match order.action {
            BreakerAction::Open => Action::Open,
            BreakerAction::Close => Action::Close,
            BreakerAction::Isolate => Action::Isolate,
        });
        Ok(self.shown(upstream, &breaker))
    }

    /// Which breaker an order means.
    fn ordered(&self, order: &BreakerOrder) -> Result<(&Upstream, BreakerLayer), String> {
        match (&order.upstream, &order.route) {
            (Some(name), None) => {
                let mut upstreams = self.upstreams.iter();
                let found = upstreams.find(|upstream| *upstream.config().name == **name);
                let found = found.ok_or_else(|| {
                    let known = self.upstreams.iter().map(|known| &*known.config().name);
                    format!(
                        "there is no upstream named `{name}`; there are {}",
                        listed(known)
                    )
                })?;
                Ok((found, found.breaker_layer()))
            }
            (None, Some(name)) => self.of_route(name),
            _ => Err(
                "an order says which breaker: either {\"upstream\": \"NAME\"} or {\"route\": \"NAME\"}"
                    .to_owned(),
            ),
        }
    }

    fn of_route(&self, name: &str) -> Result<(&Upstream, BreakerLayer), String> {
        let config = self.config();
        let routes = &config.routes;
        let Some(route) = routes.iter().find(|route| *route.name == *name) else {
            let known = routes.iter().map(|route| &*route.name);
            return Err(format!(
                "there is no route named `{name}`; there are {}",
                listed(known)
            ));
        };
        let found = self.upstreams.iter().find_map(|upstream| {
            let mut breakers = upstream.route_breakers().iter();
            let own = breakers.find(|breaker| breaker.route() == Some(&route.name))?;
            Some((upstream, own.clone()))
        });
        found.ok_or_else(|| {
            format!(
                "route `{name}` has no breaker of its own: give it one (`breaker = {{}}`), or name its upstream, `{}`",
                route.upstream.name
            )
        })
    }

    fn shown(&self, upstream: &Upstream, breaker: &BreakerLayer) -> BreakerStatus {
        let (now, snapshot) = (Instant::now(), breaker.snapshot());
        BreakerStatus {
            upstream: upstream.config().name.to_string(),
            route: breaker.route().map(ToString::to_string),
            phase: breaker_state(snapshot.phase),
            since: self
                .clock
                .now()
                .before(now.saturating_duration_since(snapshot.since)),
            reason: snapshot.reason.to_string(),
            manual: snapshot.reason.is_manual(),
            rest_ms: snapshot
                .rest
                .map(|rest| whole_millis(rest).as_millis() as u64),
            counts: BreakerCounts {
                calls: snapshot.counts.calls,
                failed: snapshot.counts.failed,
                slow: snapshot.counts.slow,
                failures_in_a_row: snapshot.run,
            },
            probes_in_flight: snapshot.probes_in_flight,
            owner: upstream.config().owner.clone(),
            runbook: upstream.config().runbook.clone(),
        }
    }
}

fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let quoted: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// The breaker that refuses more of the two that a route's calls pass.
pub(super) fn worst_of(upstream: &Upstream, route: &str) -> Phase {
    let phases = upstream
        .route_breakers()
        .iter()
        .filter(|breaker| breaker.route().is_some_and(|name| **name == *route))
        .map(BreakerLayer::phase);
    let own = upstream.breaker_layer().phase();
    phases.fold(own, |worst, phase| match phase.index() > worst.index() {
        true => phase,
        false => worst,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::resilience::breaker::Reason;

    fn raised(route: Option<&str>, change: BreakerChange) -> Alert {
        alert(&UpstreamEvent {
            upstream: Arc::new(crate::upstream::client_config(&["http://v"])),
            route: route.map(Arc::from),
            change,
        })
    }

    #[test]
    fn an_alert_says_its_durations_in_whole_milliseconds() {
        let reason = Reason::Run { failures: 5 };
        for (nanos, want) in [
            (
                492_708_331,
                "not asked for 493ms: 5 calls in a row failed; ",
            ),
            (1_500_000_001, "not asked for 1.5s: "),
            (10_000_000_000, "not asked for 10s: "),
            (100, "not asked but by the next probe: "),
        ] {
            let rest = Duration::from_nanos(nanos);
            let raised = raised(None, BreakerChange::Opened { reason, rest });
            assert!(raised.message.starts_with(want), "{}", raised.message);
            assert_eq!(raised.subject, "vendor");
        }
    }

    #[test]
    fn an_alert_says_why_in_numbers_and_whose_breaker_it_is() {
        let rest = Duration::from_secs(1);
        let window = Duration::from_secs(30);
        let (failed, calls) = (6, 10);
        let rate = Reason::FailureRate {
            failed,
            calls,
            window,
        };
        for (name, route, change, kind, subject, want) in [
            (
                "a rate",
                None,
                BreakerChange::Opened { reason: rate, rest },
                "breaker_open",
                "vendor",
                "6 of 10 calls failed in 30s",
            ),
            (
                "a route's",
                Some("prices"),
                BreakerChange::Opened { reason: rate, rest },
                "breaker_open",
                "route prices",
                "upstream vendor by this route: not asked for 1s",
            ),
            (
                "probing",
                None,
                BreakerChange::HalfOpened,
                "breaker_half_open",
                "vendor",
                "probing",
            ),
            (
                "by hand",
                None,
                BreakerChange::Closed {
                    reason: Reason::Manual,
                },
                "breaker_closed",
                "vendor",
                "asked as usual again: by hand",
            ),
            (
                "isolated",
                None,
                BreakerChange::Isolated,
                "breaker_isolated",
                "vendor",
                "until its breaker is closed by hand",
            ),
        ] {
            let raised = raised(route, change);
            assert_eq!((raised.kind, &*raised.subject), (kind, subject), "{name}");
            assert!(raised.message.contains(want), "{name}: {}", raised.message);
        }
    }
}
