//! Purging: soft is answered at once and renewed behind, hard is a miss; by tag, URL, prefix, route, group, upstream or all
//! of it; from the admin API, the command line or a response (RFC 9875); over `kill -9` and an outage.

mod support;

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};
use support::{
    Arriving, Binary, Gate, Origin, Piece, Play, Proxy, Reply, Setup, larder, one_route, request,
    until,
};

const FRESH: (&str, &str) = ("cache-control", "max-age=3600");
const STRICT: (&str, &str) = ("cache-control", "max-age=3600, must-revalidate");

/// Every answer is fresh for an hour, says how often the origin was asked, and has these fields.
async fn origin(fields: &'static [(&'static str, &'static str)]) -> Origin {
    Origin::start(move |asked| {
        let fields: Vec<_> = [FRESH].into_iter().chain(fields.iter().copied()).collect();
        match asked.method {
            Method::GET => Play::answer(200, &fields, format!("answer {}", asked.nth)),
            _ => Play::answer(204, &fields, ""),
        }
    })
    .await
}

async fn purge(proxy: &Proxy, order: Value) -> Reply {
    let reply = proxy
        .admin_client()
        .post("/api/v1/purge", &order.to_string())
        .await;
    assert_eq!(reply.status, 200, "{order}: {}", reply.text());
    reply
}

/// With `"mode": "hard"`.
fn hard(order: &Value) -> Value {
    let mut order = order.clone();
    order["mode"] = "hard".into();
    order
}

const TAGGED: &[(&str, &str)] = &[
    ("surrogate-key", "price shop-7"),
    ("cache-groups", "\"offers\";x=1"),
];

#[tokio::test(flavor = "multi_thread")]
async fn soft_is_answered_at_once_and_renewed_behind_and_hard_is_a_miss() {
    const ROUTE: &str = "tags = [\"path:{rest}\"]";
    for (name, order, matches) in [
        ("a tag of the response", json!({"tag": "shop-7"}), true),
        ("a tag of the route", json!({"tag": "path:a"}), true),
        ("another tag", json!({"tag": "path:b"}), false),
        ("the URL", json!({"url": "/a?x=1"}), true),
        (
            "the URL with its host",
            json!({"url": "http://shop.example/a?x=1"}),
            true,
        ),
        ("another URL", json!({"url": "/a"}), false),
        ("a prefix", json!({"prefix": "/a"}), true),
        ("another prefix", json!({"prefix": "/b"}), false),
        ("the route", json!({"route": "all"}), true),
        (
            "a group of its upstream",
            json!({"group": "offers", "upstream": "lab"}),
            true,
        ),
        ("another group", json!({"group": "price"}), false),
        ("the upstream", json!({"upstream": "lab"}), true),
        ("everything", json!({"all": true}), true),
    ] {
        let origin = origin(TAGGED).await;
        let proxy = Setup::before(&origin, &one_route("", ROUTE)).start().await;
        proxy.get("/a?x=1").await;
        assert!(proxy.get("/a?x=1").await.is_hit(), "{name}");

        let done = purge(&proxy, order.clone()).await.json();
        assert_eq!(done["mode"], "soft", "{name}");
        let after = proxy.get("/a?x=1").await;
        assert!(
            after.is_hit() && after.text() == "answer 1",
            "{name}: {after:?}"
        );
        assert_eq!(after.cache("detail"), matches.then_some("purged"), "{name}");
        assert_eq!(after.is_stale(), matches, "{name}: {after:?}");
        proxy.settled().await;
        let renewed = proxy.get("/a?x=1").await;
        assert!(
            renewed.is_hit() && !renewed.is_stale(),
            "{name}: {renewed:?}"
        );
        let asked = if matches { 2 } else { 1 };
        assert_eq!(renewed.text(), format!("answer {asked}"), "{name}");

        let harder = purge(&proxy, hard(&order)).await.json();
        assert!(
            harder["number"].as_u64() > done["number"].as_u64(),
            "{name}"
        );
        let after = proxy.get("/a?x=1").await;
        assert_eq!(after.is_hit(), !matches, "{name}: {after:?}");
        if matches {
            assert_eq!(after.text(), "answer 3", "{name}");
            // What was removed at once left nothing behind to say so.
            if order.get("url").is_none() {
                assert_eq!(after.cache("fwd"), Some("uri-miss"), "{name}");
                assert_eq!(after.cache("detail"), Some("purged"), "{name}");
            }
        }
        assert!(
            proxy.get("/a?x=1").await.is_hit(),
            "{name}: what came after is not purged"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_stale_use_is_forbidden_a_soft_purge_is_asked_about_first() {
    let origin = Origin::start(|asked| match asked.is_conditional() {
        true => Play::answer(304, &[STRICT], ""),
        false => Play::answer(
            200,
            &[STRICT, ("etag", "\"1\""), ("cache-tag", "a, b")],
            "it",
        ),
    })
    .await;
    let proxy = Setup::before(&origin, &one_route("", "")).start().await;
    proxy.get("/a").await;
    purge(&proxy, json!({"tag": "b"})).await;
    let after = proxy.get("/a").await;
    assert_eq!(after.cache("fwd"), Some("stale"), "{after:?}");
    assert_eq!(after.cache("detail"), Some("purged"), "{after:?}");
    assert_eq!((after.text(), origin.asked_total()), ("it", 2));
    assert!(
        origin.asked()[1].is_conditional(),
        "what was purged softly is good for validation"
    );
    let confirmed = proxy.get("/a").await;
    assert!(confirmed.is_hit(), "{confirmed:?}");
    purge(&proxy, json!({"tag": "a"})).await;
    assert!(!proxy.get("/a").await.is_hit(), "a 304 keeps the tags");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_being_fetched_when_the_purge_came_is_covered() {
    for (tag, mode) in [("price", "hard"), ("price", "soft"), ("sku:7", "hard")] {
        let gate = Gate::closed();
        let held = gate.clone();
        let origin = Origin::start(move |asked| {
            let fields = [
                FRESH,
                ("surrogate-key", "price"),
                ("content-type", "application/json"),
            ];
            let play = Play::answer(
                200,
                &fields,
                format!("{{\"sku\": 7, \"nth\": {}}}", asked.nth),
            );
            if asked.nth == 1 {
                play.behind(&held)
            } else {
                play
            }
        })
        .await;
        let route = "tag_paths = { sku = \"$.sku\" }";
        let proxy = Arc::new(Setup::before(&origin, &one_route("", route)).start().await);
        let early = tokio::spawn({
            let proxy = Arc::clone(&proxy);
            async move { proxy.get("/a").await }
        });
        until("the early one is under way", || origin.asked_total() == 1).await;
        purge(&proxy, json!({"tag": tag, "mode": mode})).await;
        let late = tokio::spawn({
            let proxy = Arc::clone(&proxy);
            async move { proxy.get("/a").await }
        });
        gate.open();
        let early = early.await.unwrap();
        assert_eq!(early.json()["nth"], 1, "{tag}: asked before the purge");
        let late = late.await.unwrap();
        match mode {
            "hard" => assert_eq!(late.json()["nth"], 2, "{tag}: asked after it: {late:?}"),
            _ => assert!(
                late.json()["nth"] == 2 || late.cache("detail") == Some("purged"),
                "{late:?}"
            ),
        }
        proxy.settled().await;
        // The early fetch may still have been ending when the late one would have renewed it behind its answer; then the
        // next one does.
        proxy.get("/a").await;
        proxy.settled().await;
        let last = proxy.get("/a").await;
        assert!(last.is_hit() && !last.is_stale(), "{tag}: {last:?}");
        assert_eq!(last.json()["nth"], 2, "{tag}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reads_along_what_was_purged_while_it_arrived() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |asked| match asked.nth {
        1 => {
            let body = vec![
                Piece::Bytes("old ".into()),
                Piece::Await(held.clone()),
                Piece::Bytes("answer".into()),
            ];
            Play::pieces(200, &[FRESH, ("surrogate-key", "a")], body)
        }
        _ => Play::answer(200, &[FRESH, ("surrogate-key", "a")], "new answer"),
    })
    .await;
    let route = "hold_back = \"0s\"\nwhole_bytes_max = \"0\"";
    let proxy = Setup::before(&origin, &one_route("", route)).start().await;
    let arriving: Arriving = proxy
        .client
        .open(request(Method::GET, "/a", &[]))
        .await
        .unwrap();
    purge(&proxy, json!({"tag": "a", "mode": "hard"})).await;
    assert_eq!(proxy.get("/a").await.text(), "new answer");
    gate.open();
    assert_eq!(arriving.rest().await.unwrap(), b"old answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_variants_of_a_url_are_purged_whatever_is_in_their_keys() {
    let origin = origin(&[("vary", "accept-language")]).await;
    let route = "key = { headers = [\"x-shop\"] }";
    let proxy = Setup::before(&origin, &one_route("", route)).start().await;
    let requests = [("de", "1"), ("en", "1"), ("de", "2")];
    let get = async |language, shop| {
        let fields = [("accept-language", language), ("x-shop", shop)];
        // Stored in the spelling of who asked first.
        proxy.client.get_with("/a?x=%7e", &fields).await
    };
    for (language, shop) in requests {
        get(language, shop).await;
        assert!(get(language, shop).await.is_hit());
    }
    let done = purge(&proxy, json!({"url": "/%61?x=~", "mode": "hard"}))
        .await
        .json();
    assert_eq!(done["what"], json!({"url": "/%61?x=~", "routes": ["all"]}));
    for (language, shop) in requests {
        let after = get(language, shop).await;
        assert!(!after.is_hit(), "{language} {shop}: {after:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_for_other_queries_is_purged_by_any_of_them() {
    let origin = origin(&[("no-vary-search", "params=(\"utm\")")]).await;
    let proxy = Setup::before(&origin, &one_route("", "no_vary_search = true"))
        .start()
        .await;
    proxy.get("/a?utm=1&x=1").await;
    proxy.get("/ab?utm=1&x=1").await;
    let stands_in = proxy.get("/a?utm=2&x=1").await;
    assert!(stands_in.is_hit(), "{stands_in:?}");
    purge(&proxy, json!({"url": "/a?x=1&utm=2", "mode": "hard"})).await;
    let after = proxy.get("/a?utm=2&x=1").await;
    assert!(!after.is_hit(), "{after:?}");
    assert!(proxy.get("/ab?utm=1&x=1").await.is_hit(), "another path");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_are_purged_at_once_or_none_where_one_is_not_clear() {
    let origin = origin(&[]).await;
    let proxy = Setup::before(&origin, &one_route("", "")).start().await;
    for path in ["/a", "/b"] {
        proxy.get(path).await;
    }
    let admin = proxy.admin_client();
    let unclear = json!({"purges": [{"url": "/a", "mode": "hard"}, {"route": "al"}]});
    let refused = admin.post("/api/v1/purge", &unclear.to_string()).await;
    assert_eq!(refused.status, 400);
    assert!(
        refused.text().contains("there are `all`"),
        "{}",
        refused.text()
    );
    assert!(proxy.get("/a").await.is_hit(), "nothing was purged");

    let both = json!({"purges": [{"url": "/a", "mode": "hard"}, {"url": "/b", "mode": "hard"}]});
    let done = purge(&proxy, both).await.json();
    assert_eq!(done["purges"].as_array().map(Vec::len), Some(2));
    for path in ["/a", "/b"] {
        assert!(!proxy.get(path).await.is_hit(), "{path}");
    }
    let listed = admin.get("/api/v1/purges").await.json();
    assert_eq!(
        listed["purges"][0]["what"],
        json!({"url": "/b", "upstream": "lab"})
    );
    assert_eq!(
        listed["purges"][1]["what"],
        json!({"url": "/a", "upstream": "lab"})
    );
    let counted = "larder_purges_total{kind=\"url\",mode=\"hard\"} 2";
    assert!(proxy.metrics().await.contains(counted));
}

// --- From responses (RFC 9875) ---

/// Reads belong to groups by their path; writes are answered with this status and these fields.
async fn grouped(status: u16, fields: &'static [(&'static str, &'static str)]) -> Origin {
    Origin::start(move |asked| {
        let groups = match asked.target.as_str() {
            "/a" => "\"x\", \"y\"",
            "/b" => "\"y\"",
            _ => "\"z\"",
        };
        match asked.method {
            Method::GET => Play::answer(
                200,
                &[FRESH, ("etag", "\"1\""), ("cache-groups", groups)],
                format!("answer {}", asked.nth),
            ),
            _ => Play::answer(status, fields, ""),
        }
    })
    .await
}

/// Which of three paths a request of this method for `target` leaves as hits.
async fn left_by(origin: &Origin, method: Method, target: &str) -> Vec<&'static str> {
    let proxy = Setup::before(origin, &one_route("", "")).start().await;
    let paths = ["/a", "/b", "/c"];
    for path in paths {
        proxy.get(path).await;
        assert!(proxy.get(path).await.is_hit(), "{path}");
    }
    proxy.client.send(request(method, target, &[])).await;
    let mut left = Vec::new();
    for path in paths {
        let after = proxy.get(path).await;
        if after.is_hit() {
            assert!(
                !after.is_stale(),
                "asked about first, or not purged: {after:?}"
            );
            left.push(path);
        }
    }
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_an_unsafe_method_invalidates_the_groups_it_names() {
    const Y: &[(&str, &str)] = &[("cache-group-invalidation", "\"y\";p, \"unknown\"")];
    const BAD: &[(&str, &str)] = &[("cache-group-invalidation", "y")];
    for (name, status, fields, method, want) in [
        ("success", 204, Y, Method::POST, &["/c"][..]),
        ("a redirect is one too", 303, Y, Method::DELETE, &["/c"]),
        (
            "an error is none",
            500,
            Y,
            Method::POST,
            &["/a", "/b", "/c"],
        ),
        (
            "a safe method invalidates nothing",
            204,
            Y,
            Method::OPTIONS,
            &["/a", "/b", "/c"],
        ),
        (
            "what is no list of strings is ignored",
            204,
            BAD,
            Method::POST,
            &["/a", "/b", "/c"],
        ),
    ] {
        let origin = grouped(status, fields).await;
        assert_eq!(left_by(&origin, method, "/elsewhere").await, want, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_invalidated_takes_its_groups_along_and_no_further() {
    for (target, want) in [
        ("/b", &["/c"][..]),
        ("/c", &["/a", "/b"]),
        ("/d", &["/a", "/b", "/c"]),
    ] {
        let origin = grouped(204, &[]).await;
        assert_eq!(
            left_by(&origin, Method::PUT, target).await,
            want,
            "{target}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalidated_response_is_not_answered_in_an_outage_unless_the_route_overrides() {
    for (policy, want) in [("", 504), ("override = true", 200)] {
        let origin = grouped(204, &[("cache-group-invalidation", "\"y\"")]).await;
        let proxy = Setup::before(&origin, &one_route(policy, "")).start().await;
        proxy.get("/a").await;
        proxy
            .client
            .send(request(Method::POST, "/elsewhere", &[]))
            .await;
        origin.is_down();
        let after = proxy.get("/a").await;
        assert_eq!(after.status, want, "{policy}: {after:?}");
    }
}

// --- Over restarts ---

fn config(url: &str, admin: &str) -> String {
    format!(
        "server.listen = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:0\"\n{admin}\n\
         store = {{ flush_every = \"20ms\" }}\n{}",
        one_route("cool_down = \"10s\"", "tags = [\"path:{rest}\"]").replace("{vendor}", url)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_in_an_outage_hard_is_gone_and_soft_is_the_last_known_good_answer() {
    let folder = tempfile::tempdir().unwrap();
    let origin = origin(&[]).await;
    let toml = config(origin.url(), "");
    let proxy = Binary::serve(folder.path(), &toml).await;
    for path in ["/kept", "/soft", "/hard"] {
        assert_eq!(proxy.client.get(path).await.status, 200);
    }
    proxy.durable(3.0).await;
    let admin = format!("http://{}", proxy.admin_addr());
    for args in [
        &["--tag", "path:soft"][..],
        &["--tag", "path:hard", "--hard"],
    ] {
        let output = larder()
            .args(["purge", "--admin", &admin])
            .args(args)
            .assert()
            .success();
        let told = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
        assert!(told.starts_with("purged ("), "{told}");
    }
    // Nothing was flushed or closed since: what was acknowledged is on disk.
    proxy.kill().await;
    origin.is_down();

    let proxy = Binary::serve(folder.path(), &toml).await;
    let kept = proxy.client.get("/kept").await;
    assert!(kept.is_hit() && kept.cache("detail").is_none(), "{kept:?}");
    for _ in 0..2 {
        let soft = proxy.client.get("/soft").await;
        assert_eq!(
            (soft.status.as_u16(), soft.text()),
            (200, "answer 2"),
            "{soft:?}"
        );
        assert_eq!(soft.cache("detail"), Some("purged"), "{soft:?}");
        let hard = proxy.client.get("/hard").await;
        assert!(hard.status.is_server_error(), "{hard:?}");
    }
    proxy.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_what_to_do_where_it_cannot_purge() {
    let folder = tempfile::tempdir().unwrap();
    let origin = origin(&[]).await;
    let toml = config(origin.url(), "admin.token = { env = \"ADMIN\" }");
    let proxy = Binary::serve_with(folder.path(), &toml, &[("ADMIN", "s3cret")]).await;
    let admin = format!("http://{}", proxy.admin_addr());
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    for (args, code, want) in [
        (
            &["--all", "--admin", &admin, "--token-env", "ADMIN"][..],
            0,
            "",
        ),
        (&["--all", "--admin", &admin], 2, "--token-env"),
        (&["--all", "--admin", &closed], 1, "larder serve"),
        (
            &["--all", "--admin", "https://x"],
            2,
            "http://127.0.0.1:9090",
        ),
        (
            &["--all", "--token-env", "NO_SUCH"],
            2,
            "NO_SUCH is not set",
        ),
        (&["--all", "--config", "no.toml"], 2, "no.toml"),
        (&["--admin", &admin], 2, "required"),
        (
            &["--route", "x", "--admin", &admin, "--token-env", "ADMIN"],
            2,
            "there is no route named `x`",
        ),
        (&["--all"], 2, "--admin"),
    ] {
        let output = larder()
            .arg("purge")
            .args(args)
            .env("ADMIN", "s3cret")
            .current_dir(folder.path())
            .assert()
            .code(code);
        let told = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
        assert!(told.contains(want), "{args:?}: {told}");
    }
    let output = larder()
        .args([
            "purge", "--json", "--tag", "a", "--tag", "b", "--admin", &admin,
        ])
        .args(["--token-env", "ADMIN"])
        .env("ADMIN", "s3cret")
        .assert()
        .success();
    let told: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert_eq!(told["purges"][1]["what"], json!({"tag": "b"}));
    proxy.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_writes_one_line_whatever_it_matches() {
    let origin = origin(&[("surrogate-key", "all")]).await;
    let proxy = Setup::before(&origin, &one_route("", ""))
        .on_disk()
        .start()
        .await;
    for n in 0..200 {
        proxy.get(&format!("/{n}")).await;
    }
    proxy.flushed().await;
    let counters = async || {
        let mut seen = Vec::new();
        for name in ["larder_store_writes_total", "larder_store_disk_hits_total"] {
            seen.push(proxy.metric(name).await);
        }
        seen
    };
    let before = counters().await;
    purge(&proxy, json!({"tag": "all", "mode": "hard"})).await;
    proxy.flushed().await;
    assert_eq!(counters().await, before, "the store is not touched");
    let log = std::fs::read_to_string(proxy.folder().join("store/purges.log")).unwrap();
    assert_eq!(log.lines().count(), 2, "a heading and a line: {log}");
    assert!(!proxy.get("/7").await.is_hit());
}
