//! App: builds everything from a `Config`, owns every task, and takes it all down again in order.
//!
//! # Invariants
//!
//! - Nothing is accepted before everything stands: addresses are bound, the store is open, routes are mounted.
//! - Down in the order of the way in: stop accepting, finish requests within `drain_for`, let fetches behind them end,
//!   flush the store, and the admin listener last, so that a drain can be watched.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use tokio::{sync::Semaphore, task::JoinHandle, time::Instant};
use tokio_util::task::TaskTracker;

use crate::{
    admin::Admin,
    admission::memory_bytes_max,
    cache::{self, Purges},
    clock::Clock,
    config::Config,
    contract::{Contracts, Kept, SAVE_EVERY, Saver, shape::Shapes, version::Versions},
    front::Front,
    listener::{DrainReport, ListenError, Listener, Peer, Shutdown},
    observe::{Alerts, Metrics, TransactionLogger},
    resilience::{Events, UpstreamEvent},
    route::{RoutePattern, RouteTable},
    stack::{Common, route_stack},
    store::{Store, StoreError},
    tunnel::Tunnels,
    upstream::{Network, Upkeep, Upstream, UpstreamError},
};

mod breakers;
mod contracts;
mod drift;
mod endpoints;
mod operations;
mod reload;
mod report;
mod versions;

use reload::Reloading;
use report::{Report, Sampled};

pub use reload::{Load, ReloadError, Reloaded};

/// The counters of requests that reached no route. No route can have this name.
const UNROUTED: &str = "-";

/// Why it does not start. Every one of these is a matter of configuration: exit code 2.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// `[server] listen`
    #[error("server.listen: {0}")]
    Listen(#[source] ListenError),
    /// `[admin] listen`
    #[error("admin.listen: {0}")]
    AdminListen(#[source] ListenError),
    /// `[store]`
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `[store]`
    #[error(
        "the thread that writes the log of purges could not be started: {0}; raise the limit on processes of this user"
    )]
    PurgeLog(#[source] io::Error),
    /// `[upstream.NAME]`
    #[error("upstream.{name}: {source}")]
    Upstream {
        /// Which.
        name: Arc<str>,
        /// Why.
        source: UpstreamError,
    },
    /// The system does not tell which address was bound.
    #[error("the system does not tell which address is listened on")]
    Address(#[source] io::Error),
}

/// A proxy that listens. Serves once [`App::run`] is called.
pub struct App {
    config: Arc<Config>,
    listener: Listener,
    admin: Option<Admin>,
    front: Front,
    store: Store<cache::Entry>,
    purges: Arc<Purges>,
    /// Keeps what is known of answers over a restart.
    saver: Saver,
    shapes: Shapes,
    tasks: TaskTracker,
    report: Arc<Report>,
    metrics: Metrics,
    shutdown: Shutdown,
    addresses: Addresses,
}

#[derive(Clone, Copy)]
struct Addresses {
    server: SocketAddr,
    admin: Option<SocketAddr>,
}

impl App {
    /// Binds the addresses, opens the store and mounts the routes.
    ///
    /// # Errors
    ///
    /// What the configuration asks for cannot be had; the message says what to do.
    pub async fn start(
        config: Config,
        clock: Clock,
        transactions: TransactionLogger,
    ) -> Result<Self, StartError> {
        Self::start_over(&Network::system(), config, clock, transactions).await
    }

    /// The same with upstreams over this network.
    ///
    /// # Errors
    ///
    /// As [`App::start`].
    pub async fn start_over(
        network: &Network,
        config: Config,
        clock: Clock,
        transactions: TransactionLogger,
    ) -> Result<Self, StartError> {
        let config = Arc::new(config);
        warn_of_memory(&config);
        let listener = Listener::bind(&config.server).map_err(StartError::Listen)?;
        let admin = config
            .admin
            .as_ref()
            .map(Admin::bind)
            .transpose()
            .map_err(StartError::AdminListen)?;
        let addresses = Addresses {
            server: listener.local_addr().map_err(StartError::Address)?,
            admin: admin
                .as_ref()
                .map(Admin::local_addr)
                .transpose()
                .map_err(StartError::Address)?,
        };
        let alerts = Alerts::new(clock.clone());
        let metrics = Metrics::new();
        let store = open_store(&config, &clock, &alerts).await?;
        let purges = Arc::new(open_purges(&config, &clock, &alerts).await?);
        let saver = saver(&config, &alerts);
        let versions = open_versions(&saver, &clock, &alerts).await;
        let upstreams = upstreams(&config, network, &clock, &alerts)?;
        let contracts = open_contracts(&config, &saver, &clock, &alerts).await;
        let tasks = TaskTracker::new();
        let shutdown = Shutdown::new();
        let tunnels = Tunnels::new(config.server.tunnels_max, tasks.clone(), shutdown.clone());
        let shared = cache::Shared::new(
            &config,
            store.clone(),
            Arc::clone(&purges),
            clock.clone(),
            tasks.clone(),
        );
        let shapes = Shapes::new(
            clock.clone(),
            alerts.clone(),
            saver.clone(),
            config.server.drift_queue_bytes_max,
        );
        let common = Common {
            cache: Arc::clone(&shared),
            metrics: metrics.clone(),
            versions: versions.clone(),
            judges: Arc::new(Semaphore::new(config.server.judges_max)),
            judges_max: config.server.judges_max,
            contracts: contracts.clone(),
            shapes: shapes.clone(),
        };
        let table = mount(&config, &common, &upstreams);
        let front = Front::new(
            &config.server,
            table,
            metrics.route(UNROUTED),
            transactions,
            clock.clone(),
            tunnels.clone(),
        );
        let report = Arc::new(Report {
            config: ArcSwap::new(Arc::clone(&config)),
            reloading: Reloading {
                common,
                load: Mutex::default(),
            },
            upstreams,
            store: store.clone(),
            alerts: alerts.clone(),
            metrics: metrics.clone(),
            listener: listener.stats(),
            cache: Arc::clone(&shared),
            versions,
            contracts: contracts.clone(),
            front: front.clone(),
            shapes: shapes.clone(),
            shutdown: shutdown.clone(),
            started: Instant::now(),
            clock,
        });
        metrics.register(alerts);
        metrics.register(tunnels);
        metrics.register(contracts);
        metrics.register(shapes.clone());
        metrics.register(Sampled(Arc::clone(&report)));
        Ok(Self {
            config,
            listener,
            admin,
            front,
            store,
            purges,
            saver,
            shapes,
            tasks,
            report,
            metrics,
            shutdown,
            addresses,
        })
    }

    /// Where clients are answered.
    pub fn addr(&self) -> SocketAddr {
        self.addresses.server
    }

    /// Where operators are, unless `[admin]` is turned off.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.addresses.admin
    }

    /// Begins the end when it is begun.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// The metrics, to register further sources.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// From now on it can be reloaded: `load` reads the config again.
    pub fn reload_from(&self, load: Arc<Load>) {
        let place = self.report.reloading.load.lock();
        *place.unwrap_or_else(PoisonError::into_inner) = Some(load);
    }

    /// Reloads when it is called, until the proxy has ended. Blocks.
    pub fn reloader(&self) -> impl Fn() -> Result<Reloaded, ReloadError> + Clone + Send + 'static {
        let report = Arc::clone(&self.report);
        move || report.reload_now()
    }

    /// What answers requests, for those who bring them without a connection.
    pub fn front(&self) -> &Front {
        &self.front
    }

    /// The upstreams, in the order of the config.
    pub fn upstreams(&self) -> &[Upstream] {
        &self.report.upstreams
    }

    /// What has been raised.
    pub fn alerts(&self) -> &Alerts {
        &self.report.alerts
    }

    /// The store, for those who wait until something is durable.
    pub fn store(&self) -> &Store<cache::Entry> {
        &self.store
    }

    /// Health checks, lookups of names, ends of episodes, and a look at dates that come nearer, until the shutdown begins.
    fn begin_upkeep(&self) {
        let reminding: Upkeep = Box::pin(versions::remind(Arc::clone(&self.report)));
        let settling: Upkeep = Box::pin(self.report.contracts.clone().keep_settled());
        let upkeep = self.report.upstreams.iter().flat_map(Upstream::upkeep);
        for upkeep in upkeep.chain([reminding, settling]) {
            let shutdown = self.shutdown.clone();
            self.tasks.spawn(async move {
                tokio::select! {
                    biased;
                    () = upkeep => {}
                    () = shutdown.begun() => {}
                }
            });
        }
    }

    /// Serves until the shutdown begins, then drains.
    pub async fn run(self) -> DrainReport {
        self.begin_upkeep();
        let admin_shutdown = Shutdown::new();
        let admin = self.admin.map(|admin| {
            tokio::spawn(admin.serve(
                self.report.clone(),
                self.report.clone(),
                self.metrics.clone(),
                admin_shutdown.clone(),
            ))
        });
        let front = self.front;
        let drained = self
            .listener
            .serve(move |peer: Peer| front.for_peer(peer), self.shutdown)
            .await;
        self.tasks.close();
        let fetches = self.config.server.drain_for.saturating_sub(drained.took);
        if tokio::time::timeout(fetches, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                left = self.tasks.len(),
                "fetches were still under way when drain_for had passed"
            );
        }
        // What was heard last is learnt before it is saved.
        self.shapes.close(self.config.store.stall_after).await;
        self.store.close(self.config.store.stall_after).await;
        self.purges.close(self.config.store.stall_after).await;
        self.saver.close(self.config.store.stall_after).await;
        admin_shutdown.begin();
        finish(admin).await;
        drained
    }
}

async fn finish(admin: Option<JoinHandle<DrainReport>>) {
    if let Some(admin) = admin
        && let Err(error) = admin.await
    {
        tracing::error!(%error, "the admin listener ended in a defect of larder");
    }
}

/// What is allowed to be held may be more than there is.
fn warn_of_memory(config: &Config) {
    let store = &config.store;
    let allowed = store.memory_bytes + store.write_queue_bytes_max + config.server.bodies_bytes_max;
    if let Some(there) = memory_bytes_max()
        && allowed > there
    {
        tracing::warn!(
            allowed_bytes = allowed,
            memory_bytes = there,
            "store.memory, store.write_queue_bytes_max and server.bodies_max together are more than the memory of this machine or its control group; lower one of them"
        );
    }
}

/// Opening blocks: it reads an index.
async fn open_store(
    config: &Arc<Config>,
    clock: &Clock,
    alerts: &Alerts,
) -> Result<Store<cache::Entry>, StoreError> {
    let (config, clock, alerts) = (Arc::clone(config), clock.clone(), alerts.clone());
    let opening = tokio::task::spawn_blocking(move || Store::open(&config.store, clock, alerts));
    opening
        .await
        .expect("opening a store does not panic: it contains its own panics")
}

/// After the store: its folder is there then, and ours. Reading the log blocks.
async fn open_purges(
    config: &Arc<Config>,
    clock: &Clock,
    alerts: &Alerts,
) -> Result<Purges, StartError> {
    let (config, clock, alerts) = (Arc::clone(config), clock.clone(), alerts.clone());
    let opening = tokio::task::spawn_blocking(move || {
        let store = &config.store;
        match &store.path {
            Some(folder) => Purges::open(folder, store.purges_max, clock, alerts),
            None => Ok(Purges::in_memory(store.purges_max, clock)),
        }
    });
    let opened = opening
        .await
        .expect("reading a log of purges does not panic");
    opened.map_err(StartError::PurgeLog)
}

/// Beside the store's volumes, so that it outlives one that is set aside.
fn saver(config: &Config, alerts: &Alerts) -> Saver {
    let store = &config.store;
    let folder = store.path.as_ref().map(|path| path.join("contracts"));
    let kept = Kept::open(folder, store.kept_bytes_max, alerts.clone());
    Saver::start(kept, SAVE_EVERY)
}

/// Reading what was kept blocks.
async fn open_versions(saver: &Saver, clock: &Clock, alerts: &Alerts) -> Versions {
    let (saver, clock, alerts) = (saver.clone(), clock.clone(), alerts.clone());
    let opening = tokio::task::spawn_blocking(move || {
        Versions::open(clock, &saver, move |event| versions::tell(&alerts, event))
    });
    opening
        .await
        .expect("reading what was kept does not panic: it is checked first")
}

/// Reading what is known of each route blocks.
async fn open_contracts(
    config: &Arc<Config>,
    saver: &Saver,
    clock: &Clock,
    alerts: &Alerts,
) -> Contracts {
    let contracts = Contracts::new(saver.clone(), clock.clone(), alerts.clone());
    let (following, config) = (contracts.clone(), Arc::clone(config));
    let followed = tokio::task::spawn_blocking(move || following.follow(&config)).await;
    followed.expect("reading what is known of answers does not panic");
    contracts
}

fn upstreams(
    config: &Config,
    network: &Network,
    clock: &Clock,
    alerts: &Alerts,
) -> Result<Vec<Upstream>, StartError> {
    let routes = &config.routes;
    let upstream = |config: &Arc<crate::config::UpstreamConfig>| {
        let alerts = alerts.clone();
        let of_endpoints = alerts.clone();
        let events = Events::to(move |event: &UpstreamEvent| alerts.raise(breakers::alert(event)))
            .and_of_endpoints(move |event| of_endpoints.raise(endpoints::alert(event)));
        let upstream = Upstream::over(network, Arc::clone(config), clock.clone(), events.clone());
        let upstream = upstream.map_err(|source| StartError::Upstream {
            name: Arc::clone(&config.name),
            source,
        })?;
        Ok(upstream.with_route_breakers(routes, &events))
    };
    config.upstreams.iter().map(upstream).collect()
}

fn mount(
    config: &Config,
    common: &Common,
    upstreams: &[Upstream],
) -> RouteTable<Arc<crate::front::Mounted>> {
    RouteTable::new(config.routes.iter().map(|route| {
        let upstream = upstreams
            .iter()
            .find(|upstream| upstream.config().name == route.upstream.name)
            .expect("a compiled route leads to an upstream of its config");
        (
            RoutePattern::from(route),
            route_stack(route, common, upstream),
        )
    }))
}
