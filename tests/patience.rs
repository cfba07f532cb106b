//! Nobody waits for what is not worth it: not beyond `stale_after` with a copy at hand, not along with a body that drips,
//! and no body comes where there is none to come.

mod support;

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use larder::clock::Clock;
use support::{
    Client, Gate, LagMeter, NOW, Origin, Piece, Play, Proxy, Reply, Setup, one_route, request,
};

const SECOND: Duration = Duration::from_secs(1);
const STRICT: &str = "stale_while_revalidate = \"0s\"";

async fn proxy(origin: &Origin, policy: &str, route: &str, more: &str) -> Proxy {
    let toml = one_route(&format!("{STRICT}\n{policy}"), route) + more;
    let setup = Setup::before(origin, &toml);
    setup.clock(&Clock::manual(NOW)).start().await
}

// --- With a copy at hand ---

#[tokio::test(flavor = "multi_thread")]
async fn nobody_with_a_copy_waits_longer_than_stale_after_whatever_the_answers_are() {
    const STALE_AFTER: Duration = Duration::from_millis(300);
    const FORGIVEN: Duration = Duration::from_millis(150);
    const COOKIE: (&str, &str) = ("set-cookie", "visit=1");
    for (name, policy, fields) in [
        ("a rest follows", "", &[COOKIE][..]),
        ("no rest follows", "cool_down = \"0s\"", &[COOKIE]),
        (
            "it becomes private",
            "cool_down = \"0s\"",
            &[("cache-control", "private")],
        ),
        (
            "it is another variant",
            "cool_down = \"0s\"",
            &[("vary", "x-client"), ("cache-control", "max-age=0")],
        ),
    ] {
        let origin = Origin::start(|_| {
            let fields = [("cache-control", "max-age=1")];
            Play::answer(200, &fields, "good")
        })
        .await;
        let policy = format!("stale_after = \"300ms\"\n{policy}");
        let proxy = proxy(&origin, &policy, "", "").await;
        proxy.get("/a").await;
        proxy.advance(SECOND * 2);
        origin.now(move |asked| match asked.nth {
            2 => Play::answer(200, fields, "not for all").after(STALE_AFTER * 2 / 3),
            _ => Play::hang(),
        });
        let lag = LagMeter::start();
        let waiting = (0..10).map(|nth| {
            let (addr, client) = (proxy.client.addr(), nth.to_string());
            async move {
                let fields = [("x-client", client.as_str())];
                Client::new(addr).get_with("/a", &fields).await
            }
        });
        for reply in join_all(waiting).await {
            let bound = STALE_AFTER + FORGIVEN + lag.worst();
            assert!(reply.elapsed < bound, "{name}: {reply:?}");
            assert_eq!(reply.status, 200, "{name}: {reply:?}");
        }
    }
}

// --- Bodies ---

#[tokio::test(flavor = "multi_thread")]
async fn a_body_too_large_to_store_that_comes_at_once_is_whole_for_everybody() {
    const BODY_BYTES: usize = 1 << 20;
    for route in ["", "whole_bytes_max = \"16 KiB\"", "hold_back = \"0s\""] {
        let origin = Origin::start(|_| {
            let fields = [("cache-control", "max-age=60")];
            let body = vec![Piece::Bytes(vec![b'x'; BODY_BYTES].into())];
            Play::pieces(200, &fields, body).after(SECOND / 5)
        })
        .await;
        let more = "\n[store]\nbody_max = \"64 KiB\"";
        let proxy = proxy(&origin, "", route, more).await;
        for _ in 0..3 {
            for reply in join_all((0..5).map(|_| proxy.get("/a"))).await {
                assert_eq!(reply.status, 200, "{route}");
                assert_eq!(reply.body.len(), BODY_BYTES, "{route}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_drips_does_not_capture_those_who_come_after_the_deadline() {
    let never = Gate::closed();
    let held = never.clone();
    let origin = Origin::start(move |asked| {
        let fields = [("cache-control", "max-age=60")];
        match asked.nth {
            1 => {
                let drop = || Piece::Bytes("drip ".into());
                let pause = || Piece::Pause(Duration::from_millis(20));
                let mut body: Vec<_> = (0..50).flat_map(|_| [drop(), pause()]).collect();
                body.push(Piece::Await(held.clone()));
                Play::pieces(200, &fields, body)
            }
            _ => Play::answer(200, &fields, "good"),
        }
    })
    .await;
    let route = "deadline = \"300ms\"\nhold_back = \"20ms\"";
    let proxy = proxy(&origin, "", route, "").await;
    let asked = request(Method::GET, "/a", &[]);
    let mut captured = proxy.client.open(asked).await.unwrap();
    let mut read_bytes = captured.piece().await.unwrap().unwrap().len();
    // Its fetch counts as one for as long as others can join it.
    proxy.settled().await;
    let later = proxy.get("/a").await;
    assert_eq!(later.text(), "good", "{later:?}");
    assert!(proxy.get("/a").await.is_hit());
    never.open();
    read_bytes += captured.rest().await.unwrap().len();
    assert_eq!(read_bytes, 50 * "drip ".len(), "who was there gets it all");
}

// --- HEAD ---

async fn head(proxy: &Proxy, path: &str) -> Reply {
    let client = Client::http2(proxy.client.addr());
    let asked = request(Method::HEAD, path, &[]);
    let reply = client.try_send(asked).await;
    reply.unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_head_over_http2_has_no_content_in_any_outcome() {
    let origin = Origin::start(|_| {
        let control = "max-age=1, stale-while-revalidate=10";
        Play::answer(200, &[("cache-control", control)], "good")
    })
    .await;
    let route = "hold_back = \"20ms\"";
    let proxy = proxy(&origin, "max_stale = \"1h\"", route, "").await;
    let paths = ["/plain", "/own", "/streamed", "/error", "/refused"];
    for path in paths {
        proxy.get(path).await;
    }
    let mut replies = vec![("a hit", head(&proxy, "/plain").await, 200)];
    proxy.advance(SECOND * 5);
    let stale = head(&proxy, "/plain").await;
    assert!(stale.is_stale(), "{stale:?}");
    replies.push(("stale, refreshed behind", stale, 200));
    proxy.settled().await;

    // Only good for validation from here on: HEAD asks, as GET.
    proxy.advance(SECOND * 7200);
    origin.now(|asked| match asked.target.as_str() {
        "/own" => Play::answer(200, &[("cache-control", "private")], "for you"),
        "/streamed" => {
            let pause = Piece::Pause(Duration::from_millis(100));
            let body = vec![Piece::Bytes("a".into()), pause, Piece::Bytes("z".into())];
            Play::pieces(200, &[("cache-control", "max-age=1")], body)
        }
        "/error" => Play::answer(503, &[], "an error with words"),
        "/refused" => Play::refuse(),
        _ => Play::answer(200, &[("cache-control", "max-age=1")], "good"),
    });
    for (path, want) in paths.iter().zip([200, 200, 200, 503, 504]) {
        replies.push((path, head(&proxy, path).await, want));
    }
    let asked = origin.asked();
    assert!(
        asked[asked.len() - 5..]
            .iter()
            .all(|asked| asked.method == Method::GET),
        "these renewed what is stored"
    );
    proxy.settled().await;
    origin.is_down();
    proxy.advance(SECOND * 20);
    let outage = head(&proxy, "/plain").await;
    assert!(outage.is_stale(), "{outage:?}");
    replies.push(("stale in an outage", outage, 200));
    replies.push(("nothing to answer with", head(&proxy, "/cold").await, 502));
    for (name, reply, want) in replies {
        assert_eq!(reply.version, http::Version::HTTP_2);
        assert_eq!(reply.status, want, "{name}: {reply:?}");
        assert!(reply.body.is_empty(), "{name}: {reply:?}");
    }
}
