//! A running proxy reads its config again: what routes say of answers takes effect for whoever asks from then on; an error,
//! or a change that takes a restart, changes nothing.

mod support;

use std::{path::Path, time::Duration};

use support::{Binary, Origin, Play, config_file, larder, within};

const TOML: &str = r#"
    [server]
    listen = "127.0.0.1:0"
    [admin]
    listen = "127.0.0.1:0"
    [store]
    path = "store"
    [upstream.vendor]
    endpoints = ["{vendor}"]
    retry.retries_max = 0
    [policy.p]
    fresh = "1h"
    override = true
    [[route]]
    name = "prices"
    path = "/prices/{sku}"
    upstream = "vendor"
    policy = "p"
    message = "some words"
"#;

async fn started(folder: &Path) -> (Origin, Binary, String) {
    let origin = Origin::start(|asked| match asked.target.as_str() {
        "/prices/a" => Play::answer(200, &[], "10"),
        _ => Play::answer(503, &[("content-length", "0")], ""),
    })
    .await;
    let toml = TOML.replace("{vendor}", origin.url());
    let proxy = Binary::serve(folder, &toml).await;
    (origin, proxy, toml)
}

/// `larder reload`: whether it took effect, and what it says.
async fn reloaded(proxy: &Binary) -> (bool, String) {
    let admin = format!("http://{}", proxy.admin_addr());
    let output =
        tokio::task::spawn_blocking(move || larder().args(["reload", "--admin", &admin]).output());
    let output = output.await.expect("no panic").expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_route_says_takes_effect_and_what_is_stored_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (origin, proxy, toml) = started(folder.path()).await;
    assert_eq!(proxy.client.get("/prices/a").await.text(), "10");
    let more = "\n[[route]]\nname = \"all\"\npath = \"/{*rest}\"\nupstream = \"vendor\"\nfallback = { body = \"sorry.txt\" }\n";
    std::fs::write(folder.path().join("sorry.txt"), "sorry").unwrap();
    config_file(folder.path(), &(toml + more));
    assert_eq!(proxy.client.get("/else").await.status, 404);
    let (done, said) = reloaded(&proxy).await;
    assert!(done && said.contains("reloaded: 2 routes"), "{said}");
    assert_eq!(proxy.client.get("/else").await.text(), "sorry");
    let stored = proxy.client.get("/prices/a").await;
    assert!(stored.is_hit(), "{stored:?}");
    let asked = origin.asked();
    let of_a = asked.iter().filter(|asked| asked.target == "/prices/a");
    assert_eq!(of_a.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_config_and_one_that_takes_a_restart_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (_origin, proxy, toml) = started(folder.path()).await;
    for (name, from, to, says) in [
        (
            "an error",
            "fresh = \"1h\"",
            "fresh = \"1 light year\"",
            "policy.p.fresh",
        ),
        ("no TOML", "[policy.p]", "[policy.p", "proxy.toml"),
        (
            "a bound of the process",
            "[admin]",
            "workers = 7\n[admin]",
            "[server]",
        ),
        (
            "an upstream",
            "retries_max = 0",
            "retries_max = 1",
            "[upstream.vendor]",
        ),
        (
            "a rate",
            "message =",
            "rate = \"5/s\"\nmessage =",
            "`rate` of route prices",
        ),
    ] {
        let changed = toml
            .replace(from, to)
            .replace("\"/prices/{sku}\"", "\"/elsewhere/{sku}\"");
        assert_ne!(changed, toml);
        config_file(folder.path(), &changed);
        let (done, said) = reloaded(&proxy).await;
        assert!(!done, "{name}: {said}");
        assert!(
            said.contains("the old configuration goes on"),
            "{name}: {said}"
        );
        assert!(said.contains(says), "{name}: {said}");
        assert_eq!(proxy.client.get("/prices/a").await.text(), "10", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_reloads_and_the_log_says_what_came_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (_origin, proxy, toml) = started(folder.path()).await;
    let told = |words: &'static str| {
        let proxy = &proxy;
        within(Duration::from_secs(20), words, async move {
            while !proxy.log().contains(words) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    };
    config_file(folder.path(), "nonsense");
    proxy.signal("HUP");
    told("the old configuration goes on").await;
    config_file(folder.path(), &toml.replace("/prices/{sku}", "/p/{sku}"));
    proxy.signal("HUP");
    // Not the refusal, which ends in the same word.
    told("reloaded routes=1").await;
    assert_eq!(proxy.client.get("/prices/a").await.status, 404);
}
