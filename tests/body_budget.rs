//! The budget of bodies: what is held never exceeds it, and every client still gets a right answer.
//!
//! `LARDER_LONG=1` makes the bodies 4 MiB instead of 1 MiB, and the budget 16 MiB.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use http::Method;
use larder::clock::Clock;
use support::{Origin, Play, Setup, one_route, request, within};

const MIB: usize = 1 << 20;

fn large(bytes: usize, word: &str) -> Play {
    Play::answer(
        200,
        &[("content-type", "text/plain")],
        word.repeat(bytes / word.len()),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_large_bodies_never_hold_more_than_the_budget_and_all_arrive() {
    let long = std::env::var_os("LARDER_LONG").is_some();
    let body_bytes = if long { 4 * MIB } else { MIB };
    let budget_bytes = 4 * body_bytes;
    let origin = Origin::start(move |_| large(body_bytes, "abcdefgh")).await;
    let toml = one_route(
        "fresh = \"1h\"",
        "deadline = \"120s\"\nattempt_timeout = \"120s\"",
    )
    .replace("[policy.p]", "in_flight_max = 200\n[policy.p]");
    let toml = format!("server.bodies_max = \"{budget_bytes} B\"\n{toml}");
    let proxy = Setup::before(&origin, &toml).start().await;

    let done = Arc::new(AtomicBool::new(false));
    let clients = (0..100).map(|nth| {
        let client = proxy.client.clone();
        tokio::spawn(async move {
            let target = format!("/{nth}");
            let answer = client.open(request(Method::GET, &target, &[])).await;
            let answer = answer.expect("an answer");
            let status = answer.head.status;
            let body = answer.rest().await.expect("a body that ends well");
            (status, body)
        })
    });
    let clients: Vec<_> = clients.collect();
    let watching = async {
        let (mut most, mut looks) = (0.0_f64, 0);
        while !done.load(Ordering::Relaxed) || looks == 0 {
            most = most.max(proxy.metric("larder_bodies_bytes").await);
            looks += 1;
            // The pace of looking.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        (most, looks)
    };
    let reading = async {
        let answers = join_all(clients).await;
        done.store(true, Ordering::Relaxed);
        answers
    };
    let ((most, looks), answers) = tokio::join!(watching, reading);
    for answer in answers {
        let (status, body) = answer.expect("no panic");
        assert_eq!((status.as_u16(), body.len()), (200, body_bytes));
        assert!(body.chunks(8).all(|word| word == b"abcdefgh"));
    }
    assert!(most <= budget_bytes as f64, "{most} bytes were held");
    assert!(most > 0.0, "{looks} looks saw nothing");
    within(Duration::from_secs(20), "all is given back", async {
        while proxy.metric("larder_bodies_bytes").await > 0.0 {
            // The pace of looking.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    // Whatever was stored is whole.
    for nth in 0..100 {
        let reply = proxy.get(&format!("/{nth}")).await;
        assert_eq!((reply.status.as_u16(), reply.body.len()), (200, body_bytes));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_a_copy_answers_and_what_has_none_streams_without_being_stored() {
    let clock = Clock::manual(support::NOW);
    let origin = Origin::start(|_| large(8 << 10, "old.")).await;
    let policy = "fresh = \"1m\"\nstale_while_revalidate = \"0s\"\nstale_after = \"30s\"";
    let toml = format!(
        "server.bodies_max = \"64 KiB\"\n{}",
        one_route(policy, "cache_post = true\ncontent_max = \"1 MiB\"")
    );
    let proxy = Setup::before(&origin, &toml).clock(&clock).start().await;
    assert_eq!(proxy.get("/copy").await.body.len(), 8 << 10);
    assert!(proxy.get("/copy").await.is_hit());
    assert_eq!(
        proxy.metric("larder_bodies_bytes").await,
        0.0,
        "it is the store's"
    );

    clock.advance(Duration::from_secs(120));
    origin.now(|_| large(200 << 10, "new."));
    let reply = proxy.get("/copy").await;
    assert!(
        reply.is_stale() && reply.body.starts_with(b"old."),
        "{reply:?}"
    );
    assert_eq!(reply.cache("detail"), Some("stale-if-error"));
    assert!(
        reply
            .field("proxy-status")
            .contains("connection_limit_reached"),
        "{reply:?}"
    );

    for _ in 0..2 {
        let reply = proxy.get("/cold").await;
        assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 200 << 10));
        assert!(!reply.is_hit(), "it was too large to be held: {reply:?}");
        proxy.settled().await;
    }

    // A question whose content cannot be held is passed on as it comes.
    origin.now(|asked| large(4, "yes.").checked(asked.content.len() == 100 << 10));
    let reply = proxy.client.post("/ask", &"q".repeat(100 << 10)).await;
    assert_eq!((reply.status.as_u16(), reply.text()), (200, "yes."));
    assert_eq!(proxy.metric("larder_bodies_bytes").await, 0.0);
    assert!(proxy.metric("larder_bodies_full_total").await >= 4.0);
}

/// A play that depends on what was asked.
trait Checked {
    fn checked(self, holds: bool) -> Self;
}

impl Checked for Play {
    fn checked(self, holds: bool) -> Self {
        if holds {
            self
        } else {
            Play::answer(400, &[], "not what was sent")
        }
    }
}
