//! Contracts as operators see them: the list of the admin API, and one with its samples.

use super::report::Report;
use crate::{
    admin::{ContractReport, ContractStatus, EpisodeStatus, RouteContract},
    contract::{Episode, LedgerSnapshot},
};

impl Report {
    /// Those of all routes that have one, in the order of the config.
    pub(super) fn list_contracts(&self) -> Vec<ContractStatus> {
        let ledgers = self.contracts.snapshots();
        ledgers.iter().map(status).collect()
    }

    /// How the answers of this route meet its contract, in short.
    pub(super) fn route_contract(&self, route: &str) -> Option<RouteContract> {
        let ledger = self.contracts.of(route)?.snapshot();
        let open = ledger.open.iter().filter(|episode| episode.is_breach());
        Some(RouteContract {
            mode: ledger.reporting.mode,
            breaches: ledger.breach + ledger.observed,
            broken: open.map(Episode::named).collect(),
        })
    }

    /// That of one route.
    pub(super) fn report_contract(&self, route: &str) -> Option<ContractReport> {
        let ledger = self.contracts.of(route)?.snapshot();
        let samples = ledger.samples.iter().map(serde_json::to_value);
        Some(ContractReport {
            status: status(&ledger),
            ended: ledger.ended.iter().map(episode).collect(),
            // Text and numbers are always JSON.
            samples: samples.filter_map(Result::ok).collect(),
        })
    }
}

fn status(ledger: &LedgerSnapshot) -> ContractStatus {
    let reporting = &ledger.reporting;
    let breaches = ledger.by_kind.iter().filter(|(_, count)| *count > 0);
    let bad_records = ledger.bad_records.iter().filter(|(_, count)| *count > 0);
    ContractStatus {
        route: reporting.route.to_string(),
        upstream: reporting.upstream.to_string(),
        mode: reporting.mode,
        owner: reporting.owner.clone(),
        runbook: reporting.runbook.clone(),
        good: ledger.good,
        observed: ledger.observed,
        breach: ledger.breach,
        breaches: breaches
            .map(|(kind, count)| (kind.as_str(), *count))
            .collect(),
        bad_records: bad_records
            .map(|(fate, count)| (fate.as_str(), *count))
            .collect(),
        open: ledger.open.iter().map(episode).collect(),
    }
}

fn episode(episode: &Episode) -> EpisodeStatus {
    EpisodeStatus {
        kind: episode.kind.clone(),
        term: episode.term.clone(),
        first: episode.first,
        last: episode.last,
        ended: episode.ended,
        breaches: episode.breaches,
        message: episode.message.clone(),
        visitors: episode.visitors.as_str(),
    }
}
