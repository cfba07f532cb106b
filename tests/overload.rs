//! Overload of ourselves: what cannot be served now is answered at once, hits are always served, and a vendor that hangs
//! takes nothing from the routes of another.

mod support;

use std::{net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use http::{Method, StatusCode};
use support::{Client, Gate, Origin, Play, Proxy, Reply, Setup, one_route, request, until, within};
use tokio::{
    io::AsyncReadExt,
    net::{TcpSocket, TcpStream},
};

/// Longest wait for what the test brings about itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// Two vendors, each with a route of its own; few places, so that a flood of a few hundred is one.
fn two_vendors(second: &Origin) -> String {
    format!(
        r#"
        [server]
        requests_max = 80
        fetches_max = 40
        [upstream.hanging]
        endpoints = ["{{vendor}}"]
        retry = {{ retries_max = 0, retries_max_stale = 0 }}
        breaker = {{ enabled = false }}
        in_flight_max = 1000
        [upstream.sound]
        endpoints = ["{}"]
        [policy.p]
        fresh = "1h"
        spread_percent = 0
        early = false
        [[route]]
        name = "hanging"
        path = "/hanging/{{*rest}}"
        upstream = "hanging"
        policy = "p"
        deadline = "60s"
        attempt_timeout = "60s"
        [[route]]
        name = "sound"
        path = "/sound/{{*rest}}"
        upstream = "sound"
        policy = "p"
        "#,
        second.url()
    )
}

fn fine(body: &str) -> Play {
    Play::answer(200, &[("content-type", "text/plain")], body)
}

/// A sample with labels.
async fn sample(proxy: &Proxy, sample: &str) -> f64 {
    let metrics = proxy.metrics().await;
    let mut lines = metrics.lines().filter_map(|line| line.rsplit_once(' '));
    let found = lines.find(|(name, _)| *name == sample);
    let (_, value) = found.unwrap_or_else(|| panic!("no {sample} in {metrics}"));
    value.parse().expect("a sample is a number")
}

async fn waiting(proxy: &Proxy, least: f64) {
    within(PATIENCE, "requests wait", async {
        while proxy.metric("larder_requests_waiting").await < least {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn assert_shed(reply: &Reply) {
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_eq!(reply.field("retry-after"), "1", "{reply:?}");
    assert_eq!(reply.field("content-type"), "application/problem+json");
    assert_eq!(reply.json()["status"], 503);
    assert_eq!(reply.cache("detail"), Some("overloaded"), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_hangs_takes_nothing_from_the_routes_of_another() {
    let gate = Gate::closed();
    let hanging = {
        let gate = gate.clone();
        Origin::start(move |_| fine("late").behind(&gate)).await
    };
    let sound = Origin::start(|asked| fine(&asked.target)).await;
    let proxy = Setup::before(&hanging, &two_vendors(&sound)).start().await;
    assert_eq!(proxy.get("/sound/warm").await.status, 200);

    // 300 clients without a copy, each on a connection of its own and at a key of its own.
    let flood: Vec<_> = (0..300)
        .map(|nth| {
            let client = proxy.client.clone();
            tokio::spawn(async move {
                let target = format!("/hanging/{nth}");
                let asked = client.open(request(Method::GET, &target, &[])).await;
                asked.expect("an answer").head.status
            })
        })
        .collect();
    until("the vendor is asked", || hanging.asked_total() >= 30).await;

    // Every miss of the other vendor's is served, as are its hits.
    for round in 0..20 {
        let misses = (0..5).map(|nth| {
            let client = proxy.client.clone();
            async move { client.get(&format!("/sound/{round}-{nth}")).await }
        });
        for reply in join_all(misses).await {
            assert_eq!(reply.status, 200, "{reply:?}");
            assert!(!reply.is_hit());
        }
        assert!(proxy.get("/sound/warm").await.is_hit());
    }
    assert_eq!(
        sample(
            &proxy,
            "larder_shed_total{route=\"sound\",reason=\"requests_max\"}"
        )
        .await,
        0.0
    );
    assert_eq!(
        sample(
            &proxy,
            "larder_shed_total{route=\"sound\",reason=\"fetches_max\"}"
        )
        .await,
        0.0
    );
    // Half of each is common, and half of the rest is the route's own: 60 wait, 30 of them with a fetch.
    assert!(
        sample(
            &proxy,
            "larder_shed_total{route=\"hanging\",reason=\"fetches_max\"}"
        )
        .await
            >= 200.0
    );
    assert_eq!(hanging.asked_total(), 30);

    gate.open();
    let statuses: Vec<_> = join_all(flood)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let (served, shed): (Vec<StatusCode>, Vec<StatusCode>) =
        statuses.iter().partition(|status| **status == 200);
    assert_eq!((served.len(), shed.len()), (30, 270), "{statuses:?}");
    assert!(shed.iter().all(|status| *status == 503));
    assert_eq!(
        proxy.metric("larder_requests_waiting").await,
        0.0,
        "places come back"
    );
    assert_eq!(proxy.metric("larder_fetches_in_flight").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_anothers_fetch_takes_a_place_and_what_is_stored_takes_none() {
    let gate = Gate::closed();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |asked| match asked.target.as_str() {
            "/crowd" => fine("late").behind(&gate),
            _ => fine(&asked.target),
        })
        .await
    };
    let toml = one_route("fresh = \"1h\"", "requests_max = 5");
    let proxy = Setup::before(&origin, &toml).start().await;
    assert_eq!(proxy.get("/warm").await.status, 200);
    let crowd: Vec<_> = (0..5)
        .map(|_| {
            let client = proxy.client.clone();
            tokio::spawn(async move { client.get("/crowd").await })
        })
        .collect();
    waiting(&proxy, 5.0).await;
    assert_eq!(origin.asked_total(), 2, "one fetch for all");

    assert_shed(&proxy.get("/crowd").await);
    assert_shed(&proxy.get("/other").await);
    assert_shed(&proxy.client.post("/write", "{}").await);
    let page = proxy
        .client
        .get_with("/other", &[("accept", "text/html")])
        .await;
    assert!(page.text().contains("try again in a second"), "{page:?}");
    for _ in 0..20 {
        assert!(proxy.get("/warm").await.is_hit());
    }
    let status = proxy.status().await;
    assert_eq!(status["admission"]["requests_waiting"], 5);
    assert_eq!(status["admission"]["shed"], 4);

    gate.open();
    for reply in join_all(crowd).await {
        assert_eq!(reply.unwrap().status, 200);
    }
    assert_eq!(proxy.get("/other").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shed_request_gets_the_stored_copy_before_a_refusal() {
    let gate = Gate::closed();
    let clock = larder::clock::Clock::manual(support::NOW);
    let origin = Origin::start(|asked| fine(&asked.target)).await;
    let toml = one_route(
        "fresh = \"1m\"\nstale_while_revalidate = \"0s\"",
        "requests_max = 1",
    );
    let proxy = Setup::before(&origin, &toml).clock(&clock).start().await;
    assert_eq!(proxy.get("/copy").await.status, 200);
    clock.advance(Duration::from_secs(120));
    origin.now({
        let gate = gate.clone();
        move |_| fine("late").behind(&gate)
    });
    let client = proxy.client.clone();
    let hanging = tokio::spawn(async move { client.get("/none").await });
    waiting(&proxy, 1.0).await;

    let reply = proxy.get("/copy").await;
    assert_eq!((reply.status.as_u16(), reply.text()), (200, "/copy"));
    assert!(reply.is_stale(), "{reply:?}");
    assert_eq!(reply.cache("detail"), Some("stale-if-error"));
    assert!(
        reply
            .field("proxy-status")
            .contains("connection_limit_reached"),
        "{reply:?}"
    );
    assert_shed(&proxy.get("/neither").await);
    gate.open();
    assert_eq!(hanging.await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_routes_rate_the_store_answers_or_a_503_says_when_to_come_back() {
    let origin = Origin::start(|asked| fine(&asked.target)).await;
    let toml = one_route("fresh = \"1h\"", "rate = \"3 / hour\"");
    let proxy = Setup::before(&origin, &toml).start().await;
    for nth in 0..3 {
        assert_eq!(proxy.get(&format!("/{nth}")).await.status, 200);
    }
    let reply = proxy.get("/more").await;
    assert_eq!(reply.status, 503, "{reply:?}");
    let wait: u64 = reply.field("retry-after").parse().unwrap();
    assert!(
        (1_100..=1_200).contains(&wait),
        "a third of an hour: {wait}"
    );
    for nth in 0..3 {
        assert!(proxy.get(&format!("/{nth}")).await.is_hit());
    }
    assert_eq!(origin.asked_total(), 3);
    assert_eq!(
        sample(&proxy, "larder_shed_total{route=\"all\",reason=\"rate\"}").await,
        1.0
    );
}

/// `GET path` over a connection of its own from this address of this machine.
async fn get_from(local: &str, proxy: &Proxy, path: &str) -> String {
    use tokio::io::AsyncWriteExt;
    let socket = TcpSocket::new_v4().expect("a socket");
    let local = SocketAddr::new(local.parse().expect("an address"), 0);
    socket
        .bind(local)
        .expect("every address of 127.0.0.0/8 is ours");
    let mut stream = socket
        .connect(proxy.client.addr())
        .await
        .expect("it listens");
    let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("it is read");
    let mut answer = String::new();
    within(PATIENCE, "an answer", stream.read_to_string(&mut answer))
        .await
        .expect("it ends well");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_over_its_rate_gets_a_429_and_another_is_not_affected() {
    let origin = Origin::start(|asked| fine(&asked.target)).await;
    let toml = format!(
        "server = {{ client_rate = \"60 / hour\", client_burst = 4 }}\n{}",
        one_route("fresh = \"1h\"", "")
    );
    let proxy = Setup::before(&origin, &toml).start().await;
    for _ in 0..4 {
        let answer = get_from("127.0.0.2", &proxy, "/a").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let answer = get_from("127.0.0.2", &proxy, "/a").await;
    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    for field in [
        "retry-after: 60\r\n",
        "ratelimit-policy: \"client\";q=60;w=3600\r\n",
        "ratelimit: \"client\";r=0;t=60\r\n",
        "content-type: application/problem+json\r\n",
    ] {
        assert!(answer.contains(field), "{field} in {answer}");
    }
    let answer = get_from("127.0.0.3", &proxy, "/a").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(
        sample(&proxy, "larder_client_limited_total{limit=\"rate\"}").await,
        1.0
    );
    assert_eq!(
        proxy.outcomes("all").await["hit"],
        4,
        "whoever is refused reaches no route"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_the_rate_is_the_named_clients() {
    let origin = Origin::start(|asked| fine(&asked.target)).await;
    let toml = format!(
        "server = {{ client_rate = \"2 / hour\", trusted_proxies = [\"127.0.0.0/8\"], client_connections_max = 1 }}\n{}",
        one_route("fresh = \"1h\"", "")
    );
    let proxy = Setup::before(&origin, &toml).start().await;
    let from = |address: &'static str| {
        let client = proxy.client.clone();
        async move {
            let named = [("x-forwarded-for", address)];
            client.get_with("/a", &named).await.status.as_u16()
        }
    };
    assert_eq!(from("2001:db8::1").await, 200);
    assert_eq!(from("2001:db8::2").await, 200);
    assert_eq!(from("2001:db8::3").await, 429, "one /64 is one client");
    assert_eq!(
        from("198.51.100.1, 203.0.113.9").await,
        200,
        "the last one counts"
    );
    assert_eq!(from("203.0.113.9").await, 200);
    assert_eq!(from("198.51.100.2, 203.0.113.9").await, 429);
    for _ in 0..5 {
        assert_eq!(
            proxy.get("/a").await.status,
            200,
            "nobody is named, nobody is limited"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_too_many_connections_is_closed_and_another_is_not() {
    let origin = Origin::start(|asked| fine(&asked.target)).await;
    let toml = format!(
        "server.client_connections_max = 3\n{}",
        one_route("fresh = \"1h\"", "")
    );
    let proxy = Setup::before(&origin, &toml).start().await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(TcpStream::connect(proxy.client.addr()).await.unwrap());
    }
    let mut fourth = TcpStream::connect(proxy.client.addr()).await.unwrap();
    let end = within(PATIENCE, "it is closed", fourth.read(&mut [0; 1])).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    let answer = get_from("127.0.0.9", &proxy, "/a").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(
        sample(&proxy, "larder_client_limited_total{limit=\"connections\"}").await,
        1.0
    );
    drop(held);
    within(PATIENCE, "the client's connections have ended", async {
        while proxy.metric("larder_client_connections").await > 0.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(Client::new(proxy.client.addr()).get("/a").await.status, 200);
}
