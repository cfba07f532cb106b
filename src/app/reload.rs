//! Reload: the config file read again while requests are served.
//!
//! What routes and policies say of answers takes effect at once, for whoever asks from then on: paths, freshness, contracts,
//! mappings, fallbacks. What holds as long as the process (`config::Fixed`) has to be as it is.
//!
//! # Invariants
//!
//! - A config with an error, or with a change that takes a restart, changes nothing: the old one goes on.
//! - What is stored, counted and open stays. Fetches under way end by the rules they began with.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    config::{Config, ConfigErrors},
    stack::Common,
    upstream::Upstream,
};

use super::{mount, report::Report};

/// Reads the config again. Blocks.
pub type Load = dyn Fn() -> Result<Config, ConfigErrors> + Send + Sync;

/// What it takes to put new routes in the place of old ones.
pub(super) struct Reloading {
    pub(super) common: Common,
    /// Where the config comes from; one reload at a time.
    pub(super) load: Mutex<Option<Arc<Load>>>,
}

/// What a reload came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Routes there are now.
    pub routes: usize,
    /// What is allowed but hardly meant.
    pub warnings: Vec<String>,
}

/// Why the old config goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// It has errors.
    #[error("the old configuration goes on, the new one has errors:\n{0}")]
    Config(ConfigErrors),
    /// It changes what holds as long as the process.
    #[error("the old configuration goes on, these changes take a restart: {}", .0.join(", "))]
    TakesRestart(Vec<String>),
    /// There is no file to read again.
    #[error("this proxy was not started from a configuration file")]
    NoFile,
}

impl Report {
    /// Reads the config again, and mounts its routes. Blocks.
    pub(super) fn reload_now(&self) -> Result<Reloaded, ReloadError> {
        let load = self.reloading.load.lock();
        let load = load.unwrap_or_else(PoisonError::into_inner);
        let load = load.as_ref().ok_or(ReloadError::NoFile)?;
        let config = Arc::new(load().map_err(ReloadError::Config)?);
        let differing = self.config().fixed.differing(&config.fixed);
        if !differing.is_empty() {
            return Err(ReloadError::TakesRestart(differing));
        }
        let common = &self.reloading.common;
        common.follow(&config);
        let upstreams: &[Upstream] = &self.upstreams;
        self.front.mount(mount(&config, common, upstreams));
        let reloaded = Reloaded {
            routes: config.routes.len(),
            warnings: config.warnings.iter().map(ToString::to_string).collect(),
        };
        self.config.store(config);
        tracing::info!(routes = reloaded.routes, "reloaded");
        Ok(reloaded)
    }
}
