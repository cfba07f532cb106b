//! Registry: the ledgers of all routes that have a contract, by the names of the routes.
//!
//! # Invariants
//!
//! - A route keeps its ledger over a reload as long as it keeps its name, whatever else changes.
//! - There are as many ledgers as routes with a contract; a route that is gone leaves only its file.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    Datasets, Mode,
    ledger::{Ledger, LedgerSnapshot, Reporting},
    saver::Saver,
};
use crate::{
    clock::Clock,
    config::{Config, RouteConfig},
    observe::{Alerts, Samples, Source},
};

/// How often what is over is looked for, at least and at most.
const SETTLE_EVERY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// All ledgers. Clones share them.
#[derive(Clone, Debug)]
pub struct Contracts(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    saver: Saver,
    clock: Clock,
    alerts: Alerts,
    /// In the order of the config.
    ledgers: Mutex<Vec<(Arc<str>, Ledger)>>,
    datasets: Datasets,
}

impl Contracts {
    /// None yet; what they know outlives a restart in `saver`.
    pub fn new(saver: Saver, clock: Clock, alerts: Alerts) -> Self {
        Self(Arc::new(Inner {
            datasets: Datasets::new(saver.clone(), clock.clone()),
            saver,
            clock,
            alerts,
            ledgers: Mutex::default(),
        }))
    }

    /// From now on those of this config. Blocks: what is known of a route that is new here is read from disk.
    pub fn follow(&self, config: &Config) {
        self.0.datasets.follow(config);
        let before = self.ledgers().clone();
        let mut ledgers = Vec::new();
        for route in &config.routes {
            let Some(reporting) = reporting(route) else {
                continue;
            };
            let known = before.iter().find(|(name, _)| *name == route.name);
            let ledger = match known {
                Some((_, ledger)) => {
                    ledger.follow(reporting);
                    ledger.clone()
                }
                None => self.begin(reporting),
            };
            ledgers.push((Arc::clone(&route.name), ledger));
        }
        *self.ledgers() = ledgers;
    }

    fn begin(&self, reporting: Reporting) -> Ledger {
        let inner = &self.0;
        let ledger = Ledger::new(reporting, inner.clock.clone(), inner.alerts.clone());
        ledger.keep_in(&inner.saver);
        ledger
    }

    /// What is known of figures that are added up over many answers.
    pub fn datasets(&self) -> &Datasets {
        &self.0.datasets
    }

    /// The ledger of this route, if it has a contract.
    pub fn of(&self, route: &str) -> Option<Ledger> {
        let ledgers = self.ledgers();
        let found = ledgers.iter().find(|(name, _)| **name == *route);
        found.map(|(_, ledger)| ledger.clone())
    }

    /// What all of them say, in the order of the config.
    pub fn snapshots(&self) -> Vec<LedgerSnapshot> {
        let ledgers = self.ledgers().clone();
        ledgers
            .iter()
            .map(|(_, ledger)| ledger.snapshot())
            .collect()
    }

    /// Ends what is over, now and then, for ever: nobody else does where nothing is asked any more.
    pub async fn keep_settled(self) {
        loop {
            tokio::time::sleep(self.settle_every()).await;
            for (_, ledger) in self.ledgers().clone() {
                ledger.settle();
            }
        }
    }

    fn settle_every(&self) -> Duration {
        let ledgers = self.ledgers();
        let shortest = ledgers.iter().map(|(_, ledger)| ledger.quiet()).min();
        let every = shortest.unwrap_or(SETTLE_EVERY.1) / 5;
        every.clamp(SETTLE_EVERY.0, SETTLE_EVERY.1)
    }

    fn ledgers(&self) -> MutexGuard<'_, Vec<(Arc<str>, Ledger)>> {
        // Replaced whole.
        self.0
            .ledgers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn reporting(route: &RouteConfig) -> Option<Reporting> {
    let contract = route.contract.as_ref()?;
    let upstream = &route.upstream;
    Some(Reporting {
        route: Arc::clone(&route.name),
        upstream: Arc::clone(&upstream.name),
        owner: upstream.owner.clone(),
        runbook: upstream.runbook.clone(),
        mode: match contract.mode {
            Mode::Observe => "observe",
            Mode::Enforce => "enforce",
        },
        telling: contract.telling,
    })
}

impl Source for Contracts {
    fn sample(&self, samples: &mut Samples) {
        for ledger in self.snapshots() {
            sample(&ledger, samples);
        }
    }
}

fn sample(ledger: &LedgerSnapshot, samples: &mut Samples) {
    let route = ("route", &*ledger.reporting.route);
    for (result, count) in [
        ("good", ledger.good),
        ("observed", ledger.observed),
        ("breach", ledger.breach),
    ] {
        samples.counter(
            "contract_judged",
            "Answers judged by the contract of their route, by result",
            &[route, ("result", result)],
            count,
        );
    }
    for (kind, count) in ledger.by_kind {
        samples.counter(
            "contract_breaches",
            "Answers that broke the contract of their route, by kind",
            &[route, ("kind", kind.as_str())],
            count,
        );
    }
    for (handling, count) in ledger.bad_records {
        samples.counter(
            "contract_bad_records",
            "Bad records of answers that were taken all the same, by what happened to them",
            &[route, ("handling", handling.as_str())],
            count,
        );
    }
    samples.counter_seconds(
        "contract_judging_seconds",
        "Time spent on judging answers",
        &[route],
        ledger.judging,
    );
    let open = ledger.open.iter().filter(|episode| episode.is_breach());
    samples.gauge(
        "contract_episodes_open",
        "Kinds and terms that answers break, from the first breach until they are good again",
        &[route],
        open.count() as f64,
    );
}
