//! Several endpoints of one vendor: standbys, ejection, health checks, slow start, names that move.

mod support;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use larder::upstream::{
    Network,
    network::{Connecting, Tcp, Transport},
    resolve::{Resolve, Resolving},
};
use support::{Origin, Play, Proxy, Setup, within};

const PATIENCE: Duration = Duration::from_secs(30);

/// One route for everything, on which nothing is stored; `upstream` are further lines of its table.
fn lab(upstream: &str) -> String {
    format!(
        r#"
        [upstream.lab]
        owner = "Vendor desk"
        runbook = "docs/runbooks/lab.md"
        {upstream}
        [[route]]
        name = "all"
        path = "/{{*rest}}"
        upstream = "lab"
        "#
    )
}

fn ok(name: &'static str) -> impl Fn(&support::Asked) -> Play {
    move |_| Play::answer(200, &[("cache-control", "no-store")], name)
}

fn down() -> impl Fn(&support::Asked) -> Play {
    |_| Play::answer(500, &[], "broken")
}

/// A proxy before these; `{0}`, `{1}` in `upstream` are their URLs.
async fn before(origins: &[&Origin], upstream: &str) -> Proxy {
    let mut upstream = upstream.to_owned();
    for (nth, origin) in origins.iter().enumerate() {
        upstream = upstream.replace(&format!("{{{nth}}}"), origin.url());
    }
    Setup::before(origins[0], &lab(&upstream)).start().await
}

/// How each endpoint is doing, as the status page says.
async fn states(proxy: &Proxy) -> Vec<String> {
    let status = proxy.status().await;
    let endpoints = status["upstreams"][0]["endpoint_states"].as_array();
    let state =
        |endpoint: &serde_json::Value| endpoint["state"].as_str().expect("a word").to_owned();
    endpoints.expect("a list").iter().map(state).collect()
}

/// Asks until the endpoints are in these states. Every answer is to be good where `always_good`.
async fn asked_until(proxy: &Proxy, want: &[&str], always_good: bool) {
    let what = format!("{want:?}");
    within(PATIENCE, &what, async {
        while states(proxy).await != want {
            let reply = proxy.get("/x").await;
            assert!(!always_good || reply.status == 200, "{reply:?}");
        }
    })
    .await;
}

/// The kinds of the alerts so far, oldest first. All of them are for the owner.
async fn alerts(proxy: &Proxy) -> Vec<String> {
    let status = proxy.status().await;
    let alerts = status["alerts"].as_array().expect("a list").iter().rev();
    let kind = |alert: &serde_json::Value| {
        assert_eq!(alert["owner"], "Vendor desk", "{alert}");
        assert_eq!(alert["runbook"], "docs/runbooks/lab.md", "{alert}");
        alert["kind"].as_str().expect("a word").to_owned()
    };
    alerts.map(kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standby_answers_while_the_primary_is_down_and_hands_back_slowly() {
    let (primary, standby) = (
        Origin::start(ok("one")).await,
        Origin::start(ok("two")).await,
    );
    let upstream = r#"
        endpoints = ["{0}", { url = "{1}", priority = 1 }]
        ejection = { eject_for = "20ms", eject_for_max = "100ms" }
        slow_start = "400ms"
        breaker.enabled = false
        "#;
    let proxy = before(&[&primary, &standby], upstream).await;
    for _ in 0..20 {
        assert_eq!(proxy.get("/x").await.body, "one");
    }
    assert_eq!(standby.asked_total(), 0, "it stands by");
    assert_eq!(states(&proxy).await, ["up", "standby"]);

    primary.is_down();
    asked_until(&proxy, &["ejected", "up"], true).await;
    for _ in 0..40 {
        let reply = proxy.get("/x").await;
        assert_eq!((reply.status.as_u16(), &*reply.body), (200, &b"two"[..]));
    }

    primary.now(ok("one"));
    asked_until(&proxy, &["slow_start", "standby"], true).await;
    let before = standby.asked_total();
    asked_until(&proxy, &["up", "standby"], true).await;
    assert!(
        standby.asked_total() > before,
        "a share of the traffic went on to the standby"
    );
    let before = standby.asked_total();
    for _ in 0..20 {
        assert_eq!(proxy.get("/x").await.body, "one");
    }
    assert_eq!(standby.asked_total(), before);
    assert_eq!(
        alerts(&proxy).await,
        ["endpoint_ejected", "endpoint_returned"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_dies_under_load_does_not_open_the_breaker_of_its_upstream() {
    let (primary, standby) = (
        Origin::start(ok("one")).await,
        Origin::start(ok("two")).await,
    );
    let upstream = r#"
        endpoints = ["{0}", { url = "{1}", priority = 1 }]
        retry = { budget_min_per_second = 100 }
        "#;
    let proxy = before(&[&primary, &standby], upstream).await;
    primary.now(down());
    // More at once than it takes to open a breaker, and more in the end than it looks at.
    for _ in 0..3 {
        let paths: Vec<_> = (0..12).map(|nth| format!("/x/{nth}")).collect();
        let burst = paths.iter().map(|path| proxy.get(path));
        for reply in futures_util::future::join_all(burst).await {
            assert_eq!((reply.status.as_u16(), &*reply.body), (200, &b"two"[..]));
        }
    }
    assert_eq!(proxy.breaker().await, "closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_that_always_fails_is_left_out_and_errors_stop() {
    let well = [
        Origin::start(ok("one")).await,
        Origin::start(ok("two")).await,
    ];
    let failing = Origin::start(down()).await;
    let upstream = r#"
        endpoints = ["{0}", "{1}", "{2}"]
        ejection = { consecutive_failures = 3, eject_for = "10m", eject_for_max = "10m" }
        retry.retries_max = 0
        "#;
    let proxy = before(&[&well[0], &well[1], &failing], upstream).await;
    asked_until(&proxy, &["up", "up", "ejected"], false).await;
    assert_eq!(failing.asked_total(), 3, "it takes as many as it says");
    for _ in 0..60 {
        assert_eq!(proxy.get("/x").await.status, 200);
    }
    assert_eq!(failing.asked_total(), 3);
    assert!(well.iter().all(|origin| origin.asked_total() > 0));
    let metrics = proxy.metrics().await;
    for (name, want) in [("endpoint_state", "3.0"), ("ejections_total", "1")] {
        let of = format!(
            "larder_upstream_{name}{{upstream=\"lab\",endpoint=\"{}\"}}",
            failing.url()
        );
        let line = metrics.lines().find(|line| line.starts_with(&of));
        assert_eq!(line, Some(&*format!("{of} {want}")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_endpoints_fail_they_are_still_asked() {
    let origins = [
        Origin::start(down()).await,
        Origin::start(down()).await,
        Origin::start(down()).await,
    ];
    let all: Vec<&Origin> = origins.iter().collect();
    let upstream = r#"
        endpoints = ["{0}", "{1}", { url = "{2}", priority = 1 }]
        ejection = { consecutive_failures = 1, eject_for = "10m", eject_for_max = "10m" }
        retry.retries_max = 0
        breaker.enabled = false
        "#;
    let proxy = before(&all, upstream).await;
    let total = || all.iter().map(|origin| origin.asked_total()).sum::<usize>();
    for nth in 1..=30 {
        assert_eq!(proxy.get("/x").await.status, 500, "passed on");
        assert_eq!(total(), nth, "an attempt always goes somewhere");
    }
    let states = states(&proxy).await;
    assert!(states.iter().any(|state| state != "ejected"), "{states:?}");

    // Whichever recovers is found, although all were to be left alone for minutes.
    for origin in &origins {
        origin.now(ok("back"));
        within(PATIENCE, "the one that recovered is found", async {
            while proxy.get("/x").await.status != 200 {}
        })
        .await;
        origin.now(down());
        within(PATIENCE, "down again", async {
            while proxy.get("/x").await.status == 200 {}
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_checks_take_an_endpoint_out_before_visitors_notice() {
    let (one, two) = (
        Origin::start(ok("fine")).await,
        Origin::start(ok("fine")).await,
    );
    let upstream = r#"
        endpoints = ["{0}", "{1}"]
        health = { path = "/health", every = "10ms", timeout = "10s", body_contains = "fine", unhealthy_after = 1, healthy_after = 2 }
        credentials = { header = "X-Key", value = { env = "KEY" } }
        slow_start = "0s"
        "#;
    let upstream = upstream.replace("{0}", one.url()).replace("{1}", two.url());
    let toml = format!("server.drain_for = \"60s\"\n{}", lab(&upstream));
    let proxy = Setup::before(&one, &toml)
        .var("KEY", "s3cret")
        .start()
        .await;
    asked_until(&proxy, &["up", "up"], true).await;

    // The page is still fine, the check is not.
    one.now(|asked| match &*asked.target {
        "/health" => Play::answer(200, &[], "tired"),
        _ => Play::answer(200, &[], "fine"),
    });
    within(PATIENCE, "it is found unhealthy", async {
        while states(&proxy).await != ["unhealthy", "up"] {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let visitors = |origin: &Origin| {
        let asked = origin.asked();
        asked
            .iter()
            .filter(|asked| asked.target != "/health")
            .count()
    };
    let before = visitors(&one);
    for nth in 0..30 {
        assert_eq!(proxy.get(&format!("/x/{nth}")).await.status, 200);
    }
    assert_eq!(visitors(&one), before, "nobody is sent there");
    let check = one
        .asked()
        .into_iter()
        .find(|asked| asked.target == "/health")
        .unwrap();
    assert_eq!(
        check.field("x-key"),
        "s3cret",
        "checks carry the credentials"
    );
    assert_eq!(format!("http://{}", check.field("host")), one.url());

    one.now(ok("fine"));
    asked_until(&proxy, &["up", "up"], true).await;
    assert_eq!(
        alerts(&proxy).await,
        ["endpoint_unhealthy", "endpoint_healthy"]
    );

    // With all of them unhealthy all are asked.
    for origin in [&one, &two] {
        origin.now(|asked| match &*asked.target {
            "/health" => Play::answer(503, &[], "fine"),
            _ => Play::answer(200, &[("cache-control", "no-store")], "fine"),
        });
    }
    asked_until(&proxy, &["unhealthy", "unhealthy"], true).await;
    let before = (visitors(&one), visitors(&two));
    within(PATIENCE, "both are asked", async {
        while visitors(&one) == before.0 || visitors(&two) == before.1 {
            assert_eq!(proxy.get("/x").await.status, 200);
        }
    })
    .await;
    // Sooner than `drain_for`: the checks end with the proxy.
    proxy.stop().await;
}

// --- Names ---

/// A resolver that says what the test says, and a network on which its addresses lead to the test's origins.
#[derive(Clone, Default)]
struct World {
    /// `None`: the resolver is down.
    known: Arc<Mutex<Option<Vec<IpAddr>>>>,
    lookups: Arc<AtomicUsize>,
    /// Without a place here an address swallows what is sent to it.
    places: Arc<Mutex<HashMap<IpAddr, SocketAddr>>>,
}

impl World {
    fn say(&self, known: Option<&[IpAddr]>) {
        *self.known.lock().expect("no panic under it") = known.map(<[IpAddr]>::to_vec);
    }

    fn place(&self, ip: IpAddr, origin: &Origin) {
        let at = origin
            .url()
            .trim_start_matches("http://")
            .parse()
            .expect("an address");
        self.places
            .lock()
            .expect("no panic under it")
            .insert(ip, at);
    }

    fn network(&self) -> Network {
        Network::system()
            .with_resolver(self.clone())
            .with_transport(self.clone())
    }
}

impl Resolve for World {
    fn resolve(&self, host: &str) -> Resolving {
        assert_eq!(host, "api.vendor.example");
        self.lookups.fetch_add(1, Relaxed);
        let known = self.known.lock().expect("no panic under it").clone();
        Box::pin(async move { known.ok_or_else(|| io::Error::other("the resolver is down")) })
    }
}

impl Transport for World {
    fn connect(&self, address: SocketAddr) -> Connecting {
        match self
            .places
            .lock()
            .expect("no panic under it")
            .get(&address.ip())
        {
            Some(place) => Tcp.connect(*place),
            None => Box::pin(std::future::pending()),
        }
    }
}

const OLD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const NEW: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_moves_takes_its_traffic_along_and_its_old_connections_are_left() {
    let (old, new) = (
        Origin::start(ok("old")).await,
        Origin::start(ok("new")).await,
    );
    let world = World::default();
    world.place(OLD, &old);
    world.place(NEW, &new);
    world.say(Some(&[OLD]));
    let toml = lab("endpoints = [\"http://api.vendor.example\"]\ndns_refresh = \"10ms\"");
    let proxy = Setup::before(&old, &toml)
        .network(world.network())
        .start()
        .await;
    for _ in 0..10 {
        // On a connection that is kept: nothing would ever lead to the new address.
        assert_eq!(proxy.get("/x").await.body, "old");
    }
    world.say(Some(&[NEW]));
    within(PATIENCE, "the new address is found", async {
        while proxy.get("/x").await.body != "new" {}
    })
    .await;
    let before = old.asked_total();
    for _ in 0..20 {
        assert_eq!(proxy.get("/x").await.body, "new");
    }
    assert_eq!(old.asked_total(), before);
    assert_eq!(new.asked()[0].field("host"), "api.vendor.example");
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_that_fails_keeps_the_last_addresses() {
    let origin = Origin::start(ok("here")).await;
    let world = World::default();
    world.place(OLD, &origin);
    world.say(Some(&[OLD]));
    let upstream =
        "endpoints = [\"http://api.vendor.example\"]\ndns_refresh = \"10ms\"\npool_idle_max = 0";
    let proxy = Setup::before(&origin, &lab(upstream))
        .network(world.network())
        .start()
        .await;
    assert_eq!(proxy.get("/x").await.body, "here");
    world.say(None);
    let before = world.lookups.load(Relaxed);
    within(PATIENCE, "lookups fail", async {
        while world.lookups.load(Relaxed) < before + 3 {
            assert_eq!(proxy.get("/x").await.body, "here");
        }
    })
    .await;
    world.say(Some(&[OLD]));
    within(PATIENCE, "the owner knows of both", async {
        while alerts(&proxy).await != ["endpoint_lookup_failed", "endpoint_lookup_recovered"] {
            assert_eq!(proxy.get("/x").await.body, "here");
        }
    })
    .await;
    let failed = "result=\"failed\"} 0";
    let metrics = proxy.metrics().await;
    let lookups = metrics
        .lines()
        .filter(|line| line.starts_with("larder_upstream_dns_lookups_total"));
    let lookups: Vec<_> = lookups.collect();
    assert!(
        lookups.iter().all(|line| !line.ends_with(failed)),
        "{lookups:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_first_address_is_passed_over() {
    let origin = Origin::start(ok("here")).await;
    let world = World::default();
    world.place(NEW, &origin);
    world.say(Some(&[OLD, NEW]));
    // Every request connects anew, and has not the time to wait for a dead address each time.
    let upstream = "endpoints = [\"http://api.vendor.example\"]\nconnect_timeout = \"60s\"\nattempt_timeout = \"70s\"\npool_idle_max = 0";
    let toml = lab(upstream).replace(
        "upstream = \"lab\"",
        "upstream = \"lab\"\ndeadline = \"80s\"",
    );
    let proxy = Setup::before(&origin, &toml)
        .network(world.network())
        .start()
        .await;
    within(PATIENCE, "two hundred connections", async {
        for _ in 0..200 {
            assert_eq!(proxy.get("/x").await.body, "here");
        }
    })
    .await;
}
