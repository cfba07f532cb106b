//! Datasets: the figures that are added up over many answers, by name, shared by all routes that name them and kept over
//! restarts.
//!
//! The shell of [`super::dataset`]: it asks the clock, holds the lock and says when there is something to save.
//!
//! # Invariants
//!
//! - An answer is taken into all its datasets or into none.
//! - A dataset keeps what it knows over a reload as long as something names it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Breach, Contract,
    dataset::Dataset,
    saver::{Saved, Saver},
};
use crate::{clock::Clock, config::Config};

/// All datasets. Clones share them.
#[derive(Clone)]
pub struct Datasets(Arc<Inner>);

struct Inner {
    saver: Saver,
    clock: Clock,
    shared: Mutex<BTreeMap<Arc<str>, Shared>>,
}

/// One dataset. Clones are of the same one.
#[derive(Clone)]
struct Shared {
    dataset: Arc<Mutex<Dataset>>,
    saved: Saved,
}

/// The datasets of one route, in the order of [`super::Terms::of_datasets`].
#[derive(Clone)]
pub struct RouteDatasets {
    route: Arc<str>,
    contract: Arc<Contract>,
    shared: Arc<[Shared]>,
    clock: Clock,
}

impl Datasets {
    /// None yet; what they know outlives a restart in `saver`.
    pub fn new(saver: Saver, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            saver,
            clock,
            shared: Mutex::default(),
        }))
    }

    /// From now on those of this config. Blocks: what is known of one that is new here is read from disk.
    pub fn follow(&self, config: &Config) {
        let before = locked(&self.0.shared).clone();
        let mut after = BTreeMap::new();
        for contract in config.routes.iter().filter_map(|it| it.contract.as_ref()) {
            for (figure, name) in contract.terms.of_datasets() {
                if after.contains_key(name) {
                    continue;
                }
                let shared = match before.get(name) {
                    Some(known) => {
                        locked(&known.dataset).follow(figure.window, figure.keys_max);
                        known.clone()
                    }
                    None => self.begin(name, Dataset::new(figure.window, figure.keys_max)),
                };
                after.insert(Arc::from(name), shared);
            }
        }
        *locked(&self.0.shared) = after;
    }

    fn begin(&self, name: &str, empty: Dataset) -> Shared {
        let saver = &self.0.saver;
        let name = format!("reconcile/{name}");
        let kept = saver.load(&name).and_then(|bytes| empty.restored(&bytes));
        let dataset = Arc::new(Mutex::new(kept.unwrap_or(empty)));
        let written = Arc::clone(&dataset);
        let write_down = Arc::new(move || locked(&written).to_bytes());
        let saved = saver.source(name, write_down);
        Shared { dataset, saved }
    }

    /// Those of a route, if its contract names any.
    pub fn of(&self, route: &Arc<str>, contract: &Arc<Contract>) -> Option<RouteDatasets> {
        let known = locked(&self.0.shared);
        let of_route = contract.terms.of_datasets();
        let shared: Option<Vec<_>> = of_route.map(|(_, name)| known.get(name).cloned()).collect();
        let shared = shared.filter(|shared| !shared.is_empty())?;
        Some(RouteDatasets {
            route: Arc::clone(route),
            contract: Arc::clone(contract),
            shared: shared.into(),
            clock: self.0.clock.clone(),
        })
    }

    /// Takes whatever comes next as it is; `false` where there is no dataset of this name.
    pub fn accept(&self, name: &str) -> bool {
        let known = locked(&self.0.shared).get(name).cloned();
        let Some(shared) = known else { return false };
        locked(&shared.dataset).accept();
        shared.saved.mark();
        true
    }
}

impl RouteDatasets {
    /// Takes an answer with these figures (in the order of the terms), unless too much would be gone; where `is_enforced` is
    /// false it is taken all the same. `target` is what was asked for.
    ///
    /// # Errors
    ///
    /// [`super::Kind::Reconcile`] of the first figure that would pull its dataset down too far.
    pub fn take(
        &self,
        target: &str,
        figures: &[f64],
        has_last_good: bool,
        is_enforced: bool,
    ) -> Result<(), Breach> {
        let now = self.clock.now();
        let terms = &self.contract.terms;
        let answers: Vec<_> = terms
            .of_datasets()
            .zip(figures)
            .zip(self.shared.iter())
            .map(|(((figure, _), value), shared)| {
                (figure, figure.key(&self.route, target), *value, shared)
            })
            .collect();
        let verdict = answers.iter().try_for_each(|(figure, key, value, shared)| {
            let dataset = locked(&shared.dataset);
            dataset.check(figure, *key, *value, has_last_good, now)
        });
        if verdict.is_err() && is_enforced {
            return verdict;
        }
        for (_, key, value, shared) in answers {
            locked(&shared.dataset).take(key, value, has_last_good, now);
            shared.saved.mark();
        }
        verdict
    }
}

impl fmt::Debug for Datasets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datasets").finish_non_exhaustive()
    }
}

impl fmt::Debug for RouteDatasets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RouteDatasets({} of {})", self.shared.len(), self.route)
    }
}

/// Nothing panics while it holds one of these; if ever, what is there is still numbers.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        clock::Timestamp,
        config::{self, FixedEnv},
    };

    fn config() -> Config {
        let text = r#"
upstream.api.endpoints = ["http://127.0.0.1:9100"]
[[route]]
name = "pages"
path = "/pages/{page}"
upstream = "api"
contract.reconcile = [{ field = "$.items[*]", drop_max = "20%", dataset = "catalogue" }]
[[route]]
path = "/other"
upstream = "api"
contract.reconcile = [{ field = "$.items[*]", drop_max = "20%" }]
"#;
        config::parse(text, Path::new("proxy.toml"), &FixedEnv::default()).unwrap()
    }

    fn of(datasets: &Datasets, config: &Config, route: usize) -> Option<RouteDatasets> {
        let route = &config.routes[route];
        datasets.of(&route.name, route.contract.as_ref().unwrap())
    }

    #[test]
    fn a_drop_over_several_answers_is_refused_until_it_is_accepted() {
        let config = config();
        let datasets = Datasets::new(Saver::nowhere(), Clock::manual(Timestamp::from_secs(1)));
        datasets.follow(&config);
        assert!(of(&datasets, &config, 1).is_none());
        let pages = of(&datasets, &config, 0).unwrap();
        for page in ["/pages/1", "/pages/2"] {
            assert_eq!(pages.take(page, &[100.0], false, true), Ok(()));
        }
        assert!(pages.take("/pages/1", &[50.0], true, true).is_err());
        assert!(
            pages.take("/pages/1", &[50.0], true, true).is_err(),
            "it was not taken"
        );
        // A reload keeps what is known.
        datasets.follow(&config);
        let pages = of(&datasets, &config, 0).unwrap();
        assert!(pages.take("/pages/1", &[50.0], true, true).is_err());
        assert!(!datasets.accept("none"));
        assert!(datasets.accept("catalogue"));
        assert_eq!(pages.take("/pages/1", &[50.0], true, true), Ok(()));
    }

    #[test]
    fn where_it_is_only_observed_a_drop_is_told_and_taken() {
        let config = config();
        let datasets = Datasets::new(Saver::nowhere(), Clock::manual(Timestamp::from_secs(1)));
        datasets.follow(&config);
        let pages = of(&datasets, &config, 0).unwrap();
        assert_eq!(pages.take("/pages/1", &[100.0], false, false), Ok(()));
        assert!(pages.take("/pages/1", &[50.0], true, false).is_err());
        assert_eq!(pages.take("/pages/1", &[50.0], true, false), Ok(()));
    }
}
