//! Failures: what fetches ended with instead of a usable answer, counted in the words of `Proxy-Status` and of the log.
//!
//! Counted where a fetch, a request passed on, a refusal or a drill ends, once each, however many waited for it. Behind a
//! lock, because nothing here is on the way of an answer that succeeds.
//!
//! # Invariants
//!
//! - The number of series is bounded: closed sets of words, and attempts up to [`ATTEMPTS_MAX`].

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};

use crate::failure::Failure;

/// More attempts than this are counted as this many.
const ATTEMPTS_MAX: u32 = 12;

/// The failures of one route.
#[derive(Debug, Default)]
pub(super) struct FetchFailures(Mutex<BTreeMap<Series, u64>>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    upstream: Arc<str>,
    cause: &'static str,
    attempts: u32,
    sent: &'static str,
}

impl FetchFailures {
    pub(super) fn count(&self, upstream: &Arc<str>, failure: &Failure) {
        let series = Series {
            upstream: Arc::clone(upstream),
            cause: failure.cause().as_str(),
            attempts: failure.attempts().min(ATTEMPTS_MAX),
            sent: failure.sent().as_str(),
        };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(series).or_default() += 1;
    }

    /// Adds a sample per series to a family.
    pub(super) fn encode(&self, route: &str, family: &mut MetricEncoder<'_>) -> fmt::Result {
        let counts = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for (series, count) in counts {
            let attempts = series.attempts.to_string();
            let labels = [
                ("route", route),
                ("upstream", &series.upstream),
                ("cause", series.cause),
                ("attempts", &attempts),
                ("sent", series.sent),
            ];
            family
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::{
        failure::{Cause, Sent},
        observe::Metrics,
    };

    #[test]
    fn failures_are_counted_by_cause_attempts_and_what_was_sent() {
        let metrics = Metrics::new();
        let (route, upstream) = (metrics.route("prices"), Arc::from("pricing"));
        let failed = |cause, attempts, sent| {
            route.failed(
                &upstream,
                &Failure::new(cause, sent).with_attempts(attempts),
            );
        };
        failed(Cause::ConnectRefused, 2, Sent::Nothing);
        failed(Cause::ConnectRefused, 2, Sent::Nothing);
        for status in [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE] {
            failed(Cause::Status(status), 1, Sent::MayHaveActed);
        }
        failed(Cause::Protocol, 1_000_000, Sent::MayHaveActed);
        let text = metrics.encode();
        for want in [
            "cause=\"connect_refused\",attempts=\"2\",sent=\"nothing\"} 2",
            "cause=\"status\",attempts=\"1\",sent=\"may_have_acted\"} 2",
            "cause=\"protocol\",attempts=\"12\",sent=\"may_have_acted\"} 1",
        ] {
            let line = format!(
                "larder_fetch_failures_total{{route=\"prices\",upstream=\"pricing\",{want}"
            );
            assert!(
                text.lines().any(|known| known == line),
                "{line} in:\n{text}"
            );
        }
    }
}
