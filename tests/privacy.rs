//! Privacy: two visitors share an answer only where someone said so, and the vendor's credentials stay between us and it.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use std::path::Path;

use larder::{
    clock::Clock,
    stub::{Fault, Stub},
};
use support::{Binary, Client, NOW, Origin, Play, Proxy, Reply, Setup, one_route, request};

const SECRET: &str = "s3cr3t-of-the-vendor";

fn lab(upstream: &str, route: &str) -> String {
    format!(
        r#"
        [upstream.lab]
        endpoints = ["{{vendor}}"]
        {upstream}
        [policy.p]
        spread_percent = 0
        early = false
        [[route]]
        name = "lab"
        path = "/lab/{{*rest}}"
        upstream = "lab"
        policy = "p"
        {route}
        [[route]]
        path = "/prices/{{sku}}"
        upstream = "lab"
        "#
    )
}

async fn scene(route: &str) -> (Stub, Proxy) {
    let clock = Clock::manual(NOW);
    let vendor = support::vendor(&clock).await;
    let proxy = Setup::new(&vendor, &lab("", route))
        .clock(&clock)
        .start()
        .await;
    (vendor, proxy)
}

async fn as_user(proxy: &Proxy, user: &str, path: &str) -> Reply {
    let credential = format!("Bearer {user}");
    let fields = [("authorization", credential.as_str())];
    proxy.client.get_with(path, &fields).await
}

fn count(reply: &Reply) -> u64 {
    reply.json()["count"].as_u64().expect("a counted answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_credentials_share_an_answer_only_where_the_vendor_says_so() {
    for (cache_control, shared) in [
        ("max-age%3D60", false),
        ("private,max-age%3D60", false),
        ("public,max-age%3D60", true),
        ("s-maxage%3D60", true),
        ("must-revalidate,max-age%3D60", true),
    ] {
        let (vendor, proxy) = scene("").await;
        let path = format!("/lab/counter/a?Cache-Control={cache_control}");
        let first = as_user(&proxy, "a", &path).await;
        let second = as_user(&proxy, "b", &path).await;
        let nobody = proxy.get(&path).await;
        assert_eq!(count(&first) == count(&second), shared, "{cache_control}");
        assert_eq!(count(&first) == count(&nobody), shared, "{cache_control}");
        assert_eq!(count(&second) == count(&nobody), shared, "{cache_control}");
        assert_eq!(vendor.asked_total(), if shared { 1 } else { 3 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_credentials_at_the_same_moment_share_nothing_either() {
    let (vendor, proxy) = scene("").await;
    let slow = Fault::latency(std::time::Duration::from_millis(200));
    vendor.break_path("*", slow).unwrap();
    let path = "/lab/counter/a?Cache-Control=max-age%3D60";
    let (first, second, nobody) = tokio::join!(
        as_user(&proxy, "a", path),
        as_user(&proxy, "b", path),
        proxy.get(path)
    );
    let mut counts = [count(&first), count(&second), count(&nobody)];
    counts.sort_unstable();
    assert_eq!(counts, [1, 2, 3]);
    // What the anonymous left in the store is for the anonymous.
    assert_eq!(count(&proxy.get(path).await), count(&nobody));
    assert_eq!(count(&as_user(&proxy, "a", path).await), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_the_credential_in_it_stores_a_copy_for_each() {
    let (vendor, proxy) = scene("key.headers = [\"Authorization\"]").await;
    let path = "/lab/counter/a?Cache-Control=max-age%3D60";
    for (user, want) in [("a", 1), ("b", 2), ("a", 1), ("b", 2)] {
        assert_eq!(count(&as_user(&proxy, user, path).await), want, "{user}");
    }
    vendor.break_path("*", Fault::Refuse).unwrap();
    assert!(as_user(&proxy, "b", path).await.is_hit());
    assert!(as_user(&proxy, "c", path).await.status.is_server_error());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_that_is_set_reaches_the_visitor_it_was_set_for_and_nobody_else() {
    let silent = "/lab/counter/s?Cache-Control=max-age%3D60&Set-Cookie=visit%3D1";
    let (vendor, proxy) = scene("").await;
    let first = proxy.get(silent).await;
    assert_eq!(first.field("set-cookie"), "visit=1");
    let second = proxy.get(silent).await;
    assert_ne!(
        count(&first),
        count(&second),
        "one visitor's cookie went to another"
    );

    // Where the route shares all the same, it shares without the cookie.
    let overriding = lab("", "").replace("early = false", "override = true\nfresh = \"60s\"");
    let forced = Setup::new(&vendor, &overriding).start().await;
    let first = forced.get(silent).await;
    let second = forced.get(silent).await;
    assert_eq!(count(&first), count(&second));
    assert_eq!(second.field("set-cookie"), "", "{second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_a_cookie_that_nobody_called_storable_is_not_stored() {
    let (vendor, proxy) = scene("").await;
    let path = "/lab/counter/k?X-Quiet=1";
    let fields = [("cookie", "session=1")];
    let first = proxy.client.get_with(path, &fields).await;
    let other = proxy
        .client
        .get_with(path, &[("cookie", "session=2")])
        .await;
    assert_ne!(count(&first), count(&other));
    vendor.break_path("*", Fault::Refuse).unwrap();
    let nobody = proxy.get(path).await;
    assert!(
        nobody.status.is_server_error(),
        "somebody's page: {nobody:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_store_leaves_no_trace() {
    let clock = Clock::manual(NOW);
    let vendor = support::vendor(&clock).await;
    let setup = Setup::new(&vendor, &lab("", "")).clock(&clock).on_disk();
    let proxy = setup.start().await;
    let path = "/lab/response?Cache-Control=no-store&_body=only-for-your-eyes";
    assert_eq!(proxy.get(path).await.text(), "only-for-your-eyes");
    proxy
        .get("/lab/response?Cache-Control=max-age%3D60&_body=for-all-to-see")
        .await;
    proxy.flushed().await;
    assert!(!is_written(proxy.folder(), "only-for-your-eyes"));
    assert!(
        is_written(proxy.folder(), "for-all-to-see"),
        "the search finds what is there"
    );
    vendor.break_path("*", Fault::Refuse).unwrap();
    assert!(proxy.get(path).await.status.is_server_error());
}

/// Whether any file below this folder holds these bytes.
fn is_written(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return is_written(&path, text);
        }
        let bytes = std::fs::read(&path).unwrap();
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    })
}

// --- The vendor's own credentials ---

fn serving(vendor: &Stub) -> String {
    let toml = lab(
        "credentials = [
            { header = \"Authorization\", value = { env = \"VENDOR_TOKEN\" }, prefix = \"Bearer \" },
            { header = \"X-Api-Key\", value = { file = \"key.txt\" } },
        ]",
        "",
    );
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [store]\npath = \"data\"\nflush_every = \"20ms\"\n{}",
        toml.replace("{vendor}", &vendor.url(""))
    )
}

/// What the vendor was sent, over all requests.
fn sent(vendor: &Stub, name: &str) -> Vec<String> {
    let requests = vendor.requests();
    let fields = requests
        .iter()
        .flat_map(|asked| asked.headers.get_all(name));
    fields
        .map(|value| value.to_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_reach_the_vendor_and_nothing_else_ever() {
    let vendor = support::vendor(&Clock::System).await;
    let folder = tempfile::tempdir().unwrap();
    let key = format!("{SECRET}-key");
    std::fs::write(folder.path().join("key.txt"), format!("{key}\n")).unwrap();
    let vars = [("VENDOR_TOKEN", SECRET), ("RUST_LOG", "trace")];
    let mut larder = Binary::serve_with(folder.path(), &serving(&vendor), &vars).await;
    std::fs::remove_file(folder.path().join("key.txt")).unwrap();

    let client: &Client = &larder.client;
    let mut replies = vec![
        client.get("/prices/A").await,
        client
            .get_with(
                "/prices/B",
                &[("authorization", "Bearer visitor"), ("x-api-key", "mine")],
            )
            .await,
        client.post("/lab/response?_body=made", "{}").await,
        client.get("/nowhere").await,
    ];
    for fault in [Fault::Garbage, Fault::Refuse] {
        vendor.break_path("*", fault).unwrap();
        replies.push(client.get("/prices/C").await);
        let asked = request(http::Method::GET, "/prices/D", &[("accept", "text/html")]);
        replies.push(client.send(asked).await);
    }
    let authorizations = sent(&vendor, "authorization");
    assert!(authorizations.len() >= 3);
    assert!(
        authorizations
            .iter()
            .all(|sent| *sent == format!("Bearer {SECRET}")),
        "{authorizations:?}"
    );
    assert!(sent(&vendor, "x-api-key").iter().all(|sent| *sent == key));

    larder.durable(1.0).await;
    larder.signal("TERM");
    larder.ended().await;
    for reply in &replies {
        let shown = format!("{:?} {}", reply.headers, reply.text());
        assert!(!shown.contains(SECRET), "{shown}");
    }
    let log = larder.log();
    assert!(
        log.contains("/prices/A"),
        "there is a log to look at:\n{log}"
    );
    assert!(
        !log.contains(SECRET) && !log.contains("Bearer visitor"),
        "{log}"
    );
    assert!(
        is_written(folder.path(), "\"sku\":\"A\""),
        "there is a store to look at"
    );
    assert!(!is_written(folder.path(), SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_of_a_304_is_for_the_one_who_asked() {
    let origin = Origin::start(|asked| {
        let revalidated = [
            ("etag", "\"a\""),
            ("cache-control", "max-age=60"),
            ("set-cookie", "session=1"),
            ("set-cookie", "theme=dark"),
        ];
        if asked.is_conditional() {
            return Play::answer(304, &revalidated, "");
        }
        Play::answer(
            200,
            &[("etag", "\"a\""), ("cache-control", "max-age=0")],
            "a page",
        )
    })
    .await;
    let proxy = Setup::before(&origin, &one_route("stale_while_revalidate = \"0s\"", ""))
        .start()
        .await;
    proxy.get("/a").await;
    let asker = proxy.get("/a").await;
    let cookies: Vec<_> = asker.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["session=1", "theme=dark"]);
    assert_eq!(asker.text(), "a page");
    let next = proxy.get("/a").await;
    assert!(next.is_hit(), "{next:?}");
    assert!(!next.headers.contains_key("set-cookie"), "{next:?}");
}
