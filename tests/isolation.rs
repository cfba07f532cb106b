//! What was meant for one client reaches nobody else: by no 304, no error, no body read along, no other route.

mod support;

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use http::Method;
use larder::clock::Clock;
use support::{Gate, NOW, Origin, Piece, Play, Proxy, Reply, Setup, one_route, request, until};

const SECOND: Duration = Duration::from_secs(1);

/// Long enough for a crowd to gather.
const SLOW: Duration = Duration::from_millis(300);

async fn proxy(origin: &Origin, policy: &str, route: &str) -> Proxy {
    let policy = format!("stale_while_revalidate = \"0s\"\nstale_after = \"5s\"\n{policy}");
    let setup = Setup::before(origin, &one_route(&policy, route));
    setup.clock(&Clock::manual(NOW)).start().await
}

// --- 304 ---

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_on_a_304_renews_the_copy_and_reaches_nobody_later() {
    for control in ["max-age=60", "public, max-age=60"] {
        let origin = Origin::start(move |asked| {
            if asked.is_conditional() {
                let fields = [("cache-control", control), ("set-cookie", "visit=2")];
                return Play::answer(304, &fields, "");
            }
            let fields = [("cache-control", "max-age=1"), ("etag", "\"a\"")];
            Play::answer(200, &fields, "good")
        })
        .await;
        let proxy = proxy(&origin, "", "").await;
        proxy.get("/a").await;
        proxy.advance(SECOND * 2);
        proxy.get("/a").await;
        for _ in 0..3 {
            let later = proxy.get("/a").await;
            assert!(later.is_hit() && !later.is_stale(), "{control}: {later:?}");
            assert_eq!(later.text(), "good");
            assert_eq!(later.field("set-cookie"), "", "{control}");
        }
        assert_eq!(origin.asked_total(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_304_that_takes_sharing_back_ends_the_copy() {
    for withdrawal in ["private", "no-store", "private, max-age=60"] {
        let origin = Origin::start(move |asked| {
            if asked.is_conditional() {
                return Play::answer(304, &[("cache-control", withdrawal)], "");
            }
            let shared = asked.nth == 1;
            let control = if shared { "max-age=1" } else { withdrawal };
            let fields = [("cache-control", control), ("etag", "\"a\"")];
            Play::answer(200, &fields, format!("for {}", asked.nth))
        })
        .await;
        let proxy = proxy(&origin, "", "").await;
        proxy.get("/a").await;
        proxy.advance(SECOND * 2);
        let own = proxy.get("/a").await;
        assert_eq!(own.text(), "for 1", "{withdrawal}");
        let next = proxy.get("/a").await;
        assert_eq!(next.text(), "for 3", "{withdrawal}: {next:?}");
        let asked = origin.asked();
        assert!(asked[1].is_conditional() && !asked[2].is_conditional());
        origin.is_down();
        let left = proxy.get("/a").await;
        assert!(left.status.is_server_error(), "{withdrawal}: {left:?}");
    }
}

// --- Errors ---

#[tokio::test(flavor = "multi_thread")]
async fn an_error_meant_for_one_goes_to_nobody_who_waited_with_it() {
    const SESSION: &[(&str, &str)] = &[("cookie", "session=1")];
    for (name, status, fields, sent) in [
        (
            "an error that sets a cookie",
            503,
            &[("set-cookie", "s3cr3t=1")][..],
            &[][..],
        ),
        (
            "an error that says private",
            503,
            &[("cache-control", "private")],
            &[],
        ),
        ("an error to a session", 503, &[], SESSION),
        (
            "a limit that a session has reached",
            429,
            &[("retry-after", "1")],
            SESSION,
        ),
    ] {
        let origin = Origin::start(move |asked| match asked.nth {
            1 => Play::answer(status, fields, "s3cr3t").after(SLOW),
            _ => Play::answer(503, &[], "too late to wait"),
        })
        .await;
        let proxy = proxy(&origin, "", "").await;
        let leading = proxy.client.get_with("/a", sent);
        let following = async {
            until("the leader has asked", || origin.asked_total() == 1).await;
            join_all((0..5).map(|_| proxy.get("/a"))).await
        };
        let (leader, followers) = tokio::join!(leading, following);
        assert_eq!(leader.status, status, "{name}: {leader:?}");
        assert_eq!(leader.text(), "s3cr3t", "{name}: the error is its own");
        let waited: Vec<_> = followers.iter().filter(|reply| waited(reply)).collect();
        assert!(!waited.is_empty(), "{name}: nobody waited");
        for follower in waited {
            assert!(follower.status.is_server_error() || follower.status == 429);
            assert_eq!(
                follower.field("content-type"),
                "application/problem+json",
                "{name}"
            );
            let shown = format!("{:?} {}", follower.headers, follower.text());
            assert!(!shown.contains("s3cr3t"), "{name}: {shown}");
        }
    }
}

fn waited(reply: &Reply) -> bool {
    reply.cache("collapsed").is_some()
}

// --- Bodies on their way ---

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_reads_along_under_override_gets_no_cookie() {
    let gate = Gate::closed();
    let rest = gate.clone();
    let origin = Origin::start(move |asked| {
        let cookie = format!("visitor={}", asked.nth);
        let fields = [("cache-control", "private"), ("set-cookie", &cookie)];
        let body = vec![
            Piece::Bytes("begin ".into()),
            Piece::Await(rest.clone()),
            Piece::Bytes("end".into()),
        ];
        Play::pieces(200, &fields, body)
    })
    .await;
    let route = "hold_back = \"20ms\"";
    let proxy = proxy(&origin, "override = true\nfresh = \"60s\"", route).await;
    let heads = (0..20).map(|_| proxy.client.open(request(Method::GET, "/a", &[])));
    let arriving = join_all(heads).await;
    gate.open();
    for arriving in arriving {
        let arriving = arriving.unwrap();
        assert_eq!(arriving.head.headers.get("set-cookie"), None);
        assert_eq!(arriving.rest().await.unwrap(), b"begin end");
    }
    assert_eq!(origin.asked_total(), 1, "they read along");
    let stored = proxy.get("/a").await;
    assert!(
        stored.is_hit() && stored.field("set-cookie").is_empty(),
        "{stored:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_private_answer_of_a_leader_that_hung_up_reaches_nobody() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |asked| {
        let fields = [("cache-control", "private, max-age=60")];
        let play = Play::answer(200, &fields, format!("for {}", asked.nth));
        match asked.nth {
            1 => play.behind(&held),
            _ => play,
        }
    })
    .await;
    let proxy = Arc::new(proxy(&origin, "", "").await);
    let asking = |proxy: Arc<Proxy>| tokio::spawn(async move { proxy.get("/a").await });
    let leader = asking(Arc::clone(&proxy));
    until("the leader has asked", || origin.asked_total() == 1).await;
    let followers: Vec<_> = (0..5).map(|_| asking(Arc::clone(&proxy))).collect();
    leader.abort();
    assert!(leader.await.is_err(), "it hung up");
    gate.open();
    let mut bodies = Vec::new();
    for follower in followers {
        bodies.push(follower.await.unwrap().text().to_owned());
    }
    proxy.settled().await;
    bodies.push(proxy.get("/a").await.text().to_owned());
    bodies.sort();
    assert_eq!(
        bodies,
        ["for 2", "for 3", "for 4", "for 5", "for 6", "for 7"]
    );
}

// --- Routes and variants ---

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_rewritten_to_different_paths_never_share_an_answer() {
    for key in ["", "key = { host = false }"] {
        let route = |shop: &str| {
            format!(
                "[[route]]\nname = \"{shop}\"\nhost = \"{shop}.example\"\npath = \"/{{*rest}}\"\nupstream = \"lab\"\n\
                 rewrite = \"/{shop}/{{*rest}}\"\n{key}\n"
            )
        };
        let origin = Origin::start(|asked| {
            let fields = [("cache-control", "max-age=60")];
            Play::answer(200, &fields, asked.target.clone())
        })
        .await;
        let toml = one_route("", "host = \"other.example\"") + &route("a") + &route("b");
        let proxy = Setup::before(&origin, &toml).start().await;
        for (host, want) in [
            ("a.example", "/a/x"),
            ("b.example", "/b/x"),
            ("a.example", "/a/x"),
            ("b.example", "/b/x"),
        ] {
            let reply = proxy.client.get_with("/x", &[("host", host)]).await;
            assert_eq!(reply.text(), want, "{host} with {key:?}: {reply:?}");
        }
        assert_eq!(origin.asked_total(), 2, "each is stored");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoded_body_goes_only_to_those_who_can_read_it() {
    let origin = Origin::start(|asked| {
        let control = ("cache-control", "max-age=60");
        if asked.field("accept-encoding").contains("gzip") {
            let fields = [control, ("content-encoding", "gzip")];
            return Play::answer(200, &fields, "packed").after(SLOW);
        }
        Play::answer(200, &[control], "plain")
    })
    .await;
    let proxy = proxy(&origin, "", "").await;
    let packed = || async {
        proxy
            .client
            .get_with("/a", &[("accept-encoding", "gzip")])
            .await
    };
    let waiting = async {
        until("the first has asked", || origin.asked_total() == 1).await;
        proxy.get("/a").await
    };
    let (first, with_it) = tokio::join!(packed(), waiting);
    assert_eq!(first.text(), "packed");
    assert_eq!(with_it.text(), "plain", "{with_it:?}");

    let origin_of = |path: &'static str| async {
        let fields = [("accept-encoding", "gzip")];
        proxy.client.get_with(path, &fields).await
    };
    assert_eq!(origin_of("/b").await.text(), "packed");
    assert!(origin_of("/b").await.is_hit());
    let plain = proxy.get("/b").await;
    assert_eq!(plain.text(), "plain", "{plain:?}");
    assert_eq!(plain.field("content-encoding"), "");
}
