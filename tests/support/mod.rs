//! The harness of the integration tests: a vendor (the stub) and the whole proxy in this process, over real sockets.
//!
//! A test writes its own TOML, in which `{vendor}` stands for the stub's URL; ports are free ones and the store is a
//! folder that goes away with the [`Proxy`]. Ages are exact where both sides follow one manual clock; breakers, timeouts
//! and the stub's faults follow real time.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "every test file compiles its own copy and uses a part of it"
)]

mod binary;
mod client;
mod origin;
mod patience;
mod raw;

pub mod paused;
pub mod traffic;

use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use larder::{
    app::App,
    cache::Entry,
    clock::{Clock, Timestamp},
    config::{self, FixedEnv},
    listener::{DrainReport, Shutdown},
    observe::TransactionLogger,
    store::Store,
    stub::{Stub, StubOptions},
    upstream::Network,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use toml::Table;

pub use binary::{Binary, config_file, larder};
pub use client::{Arriving, Client, Reply, request};
pub use origin::{Asked, Gate, Origin, Piece, Play, one_route};
pub use patience::{LagMeter, until, within};
pub use raw::{RawOrigin, Wire};

/// Where every manual clock starts.
pub const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// How often the data of [`vendor`] changes.
pub const CHANGE: Duration = Duration::from_secs(60);

/// A vendor whose data follows `clock` and changes once a minute.
pub async fn vendor(clock: &Clock) -> Stub {
    let options = StubOptions {
        clock: clock.clone(),
        change_every: CHANGE,
        ..StubOptions::default()
    };
    Stub::start(options).await.expect("the stub starts")
}

/// What a proxy under test is made from.
pub struct Setup {
    toml: String,
    clock: Clock,
    env: FixedEnv,
    folder: Option<Arc<TempDir>>,
    on_disk: bool,
    network: Network,
}

/// A proxy that serves, in this process.
pub struct Proxy {
    pub client: Client,
    pub clock: Clock,
    admin: SocketAddr,
    store: Store<Entry>,
    folder: Arc<TempDir>,
    shutdown: Shutdown,
    served: Option<JoinHandle<DrainReport>>,
}

// --- Setup ---

impl Setup {
    /// A proxy in front of `vendor`, in memory only.
    pub fn new(vendor: &Stub, toml: &str) -> Self {
        Self::at(&vendor.url(""), toml)
    }

    /// The same in front of this origin.
    pub fn before(origin: &Origin, toml: &str) -> Self {
        Self::at(origin.url(), toml)
    }

    /// The same in front of this origin, which the test plays itself.
    pub fn facing(origin: &RawOrigin, toml: &str) -> Self {
        Self::at(origin.url(), toml)
    }

    fn at(url: &str, toml: &str) -> Self {
        Self {
            toml: toml.replace("{vendor}", url),
            clock: Clock::System,
            env: FixedEnv::default(),
            folder: None,
            on_disk: false,
            network: Network::system(),
        }
    }

    /// Follows this clock.
    pub fn clock(mut self, clock: &Clock) -> Self {
        self.clock = clock.clone();
        self
    }

    /// With this environment variable.
    pub fn var(mut self, name: &str, value: &str) -> Self {
        self.env.vars.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With this file beside the config.
    pub fn file(mut self, path: &str, text: &str) -> Self {
        self.env.files.insert(path.into(), text.into());
        self
    }

    /// With a disk tier, in a folder of its own.
    pub fn on_disk(mut self) -> Self {
        self.on_disk = true;
        self
    }

    /// With the disk tier that this proxy had.
    pub fn where_was(mut self, proxy: &Proxy) -> Self {
        self.folder = Some(Arc::clone(&proxy.folder));
        self.on_disk()
    }

    /// With upstreams over this network.
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Starts it.
    pub async fn start(self) -> Proxy {
        let folder = self.folder.unwrap_or_else(|| {
            Arc::new(tempfile::tempdir().expect("there is a place for temporary folders"))
        });
        let toml = framed(&self.toml, self.on_disk);
        let mut config = config::parse(&toml, Path::new("test.toml"), &self.env)
            .unwrap_or_else(|errors| panic!("{errors}"));
        if config.store.path.is_some() {
            config.store.path = Some(folder.path().join("store"));
        }
        let transactions = TransactionLogger::off();
        let app = App::start_over(&self.network, config, self.clock.clone(), transactions)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        Proxy {
            client: Client::new(app.addr()),
            clock: self.clock,
            admin: app.admin_addr().expect("the harness leaves admin on"),
            store: app.store().clone(),
            folder,
            shutdown: app.shutdown(),
            served: Some(tokio::spawn(app.run())),
        }
    }
}

/// Adds what every test needs to the tables the test wrote itself.
fn framed(toml: &str, on_disk: bool) -> String {
    let mut tables: Table = toml.parse().unwrap_or_else(|error| panic!("{error}"));
    let mut set = |table: &str, key: &str, value: &str| {
        let table = tables.entry(table).or_insert_with(|| Table::new().into());
        let table = table.as_table_mut().expect("a table of the config");
        table.insert(key.to_owned(), value.into());
    };
    set("server", "listen", "127.0.0.1:0");
    set("admin", "listen", "127.0.0.1:0");
    if on_disk {
        set("store", "flush_every", "20ms");
    } else {
        set("store", "disk", "0");
    }
    tables.to_string()
}

// --- Proxy ---

impl Proxy {
    /// `GET path`.
    pub async fn get(&self, path: &str) -> Reply {
        self.client.get(path).await
    }

    /// Speaks to the admin API.
    pub fn admin_client(&self) -> Client {
        Client::new(self.admin)
    }

    /// What `/api/v1/status` says.
    pub async fn status(&self) -> serde_json::Value {
        let reply = Client::new(self.admin).get("/api/v1/status").await;
        assert_eq!(reply.status, 200);
        reply.json()
    }

    /// The first upstream's breaker, as the status page names it.
    pub async fn breaker(&self) -> String {
        let status = self.status().await;
        let breaker = status["upstreams"][0]["breaker"].as_str();
        breaker.expect("a breaker has a state").to_owned()
    }

    /// Requests so far by route and outcome.
    pub async fn outcomes(&self, route: &str) -> BTreeMap<String, u64> {
        let status = self.status().await;
        let routes = status["routes"].as_array().expect("routes are a list");
        let route = routes.iter().find(|known| known["name"] == route);
        let requests = route.expect("the route is known")["requests"].clone();
        serde_json::from_value(requests).expect("counts by outcome")
    }

    /// What `/metrics` says.
    pub async fn metrics(&self) -> String {
        let reply = Client::new(self.admin).get("/metrics").await;
        assert_eq!(reply.status, 200);
        reply.text().to_owned()
    }

    /// One sample without labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let metrics = self.metrics().await;
        let mut lines = metrics.lines().filter_map(|line| line.split_once(' '));
        let sample = lines.find(|(sample, _)| sample.trim_end_matches("{}") == name);
        let (_, value) = sample.unwrap_or_else(|| panic!("no {name} in {metrics}"));
        value.parse().expect("a sample is a number")
    }

    /// Waits until no fetch is under way, those behind answers included.
    pub async fn settled(&self) {
        within(Duration::from_secs(10), "fetches end", async {
            while self.metric("larder_fetches_in_flight").await > 0.0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    /// Where the store lies.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns once everything stored so far is durable.
    pub async fn flushed(&self) {
        self.store.flush().await.expect("the disk tier is there");
    }

    /// Begins a drain without waiting for its end.
    pub fn begin_shutdown(&self) {
        self.shutdown.begin();
    }

    /// Drains, and says how that went.
    pub async fn stop(mut self) -> DrainReport {
        self.shutdown.begin();
        let served = self.served.take().expect("stopped once");
        within(Duration::from_secs(20), "the proxy stops", served)
            .await
            .expect("the proxy does not panic")
    }

    /// Moves data, ages and cool-downs on.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}
