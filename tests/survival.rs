//! Survival: what is left after `kill -9`, how a drain ends, and what a process says that cannot start.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use std::{
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

use assert_cmd::assert::Assert;
use http::Method;
use larder::{
    clock::Clock,
    stub::{Fault, Stub},
};
use support::{Binary, Reply, config_file, larder, request, within};
use tempfile::TempDir;

const KEYS: usize = 200;

fn folder() -> TempDir {
    tempfile::tempdir().expect("there is a place for temporary folders")
}

fn serving(vendor: &Stub) -> String {
    format!(
        r#"
        [server]
        listen = "127.0.0.1:0"
        drain_for = "10s"
        [admin]
        listen = "127.0.0.1:0"
        [store]
        path = "data"
        flush_every = "50ms"
        # These tests are about what is on disk, not about how busy this machine is.
        read_timeout = "1s"
        [log]
        transactions = "failures"
        [upstream.vendor]
        endpoints = ["{}"]
        [policy.live]
        fresh = "1s"
        override = true
        [[route]]
        path = "/prices/{{sku}}"
        upstream = "vendor"
        policy = "live"
        [[route]]
        path = "/lab/{{*rest}}"
        upstream = "vendor"
        "#,
        vendor.url("")
    )
}

fn key(nth: usize) -> String {
    // A few larger than what the index holds: these are files of their own.
    match nth % 10 {
        9 => format!("/lab/bytes/{}", 10_000 + nth),
        _ => format!("/prices/sku-{nth}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_in_an_outage_every_warmed_key_answers_from_disk() {
    let vendor = support::vendor(&Clock::System).await;
    let folder = folder();
    let toml = serving(&vendor);
    let first = Binary::serve(folder.path(), &toml).await;
    for nth in 0..KEYS {
        assert_eq!(first.client.get(&key(nth)).await.status, 200);
    }
    first.durable(KEYS as f64).await;

    vendor.break_path("*", Fault::Refuse).unwrap();
    // What the outage answers is what must be answered after it.
    let mut before: Vec<Reply> = Vec::new();
    for nth in 0..KEYS {
        before.push(first.client.get(&key(nth)).await);
    }
    first.durable(KEYS as f64).await;
    first.kill().await;
    let asked = vendor.asked_total();

    let second = Binary::serve(folder.path(), &toml).await;
    let reply = second.client.get(&key(0)).await;
    let first_answer = second.started.elapsed();
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(first_answer < Duration::from_secs(1), "{first_answer:?}");
    for (nth, before) in before.iter().enumerate() {
        let after = second.client.get(&key(nth)).await;
        assert_eq!(after.status, 200, "{}: {after:?}", key(nth));
        assert_eq!(after.body, before.body, "{}", key(nth));
        assert!(after.elapsed < Duration::from_secs(1), "{after:?}");
    }
    assert_eq!(
        vendor.asked_total(),
        asked,
        "the vendor was down all the time"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_is_set_aside_and_the_proxy_starts_cold() {
    let vendor = support::vendor(&Clock::System).await;
    let folder = folder();
    let toml = serving(&vendor);
    let first = Binary::serve(folder.path(), &toml).await;
    for nth in 0..20 {
        first.client.get(&key(nth)).await;
    }
    first.durable(20.0).await;
    first.kill().await;
    for file in files(&folder.path().join("data")) {
        let garbage = vec![0xa5; std::fs::metadata(&file).unwrap().len() as usize];
        std::fs::write(file, garbage).unwrap();
    }
    let second = Binary::serve(folder.path(), &toml).await;
    for nth in 0..20 {
        let reply = second.client.get(&key(nth)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    second.durable(20.0).await;
    assert_eq!(second.metric("larder_store_quarantines_total").await, 1.0);
    assert!(second.log().contains("set aside"), "{}", second.log());
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .flat_map(|entry| {
            let path = entry.path();
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

// --- Drain ---

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_a_request_under_way_finish_and_exits_0() {
    let vendor = support::vendor(&Clock::System).await;
    let folder = folder();
    let mut larder = Binary::serve(folder.path(), &serving(&vendor)).await;
    let client = larder.client.clone();
    let slow = tokio::spawn(async move { client.get("/lab/slow/1000").await });
    within(
        Duration::from_secs(10),
        "the vendor is asked",
        vendor.wait_asked("/lab/slow/1000", 1),
    )
    .await
    .unwrap();
    let asked_to_stop = Instant::now();
    larder.signal("TERM");
    let reply = slow.await.unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json()["slow_ms"], 1000);
    let ended = larder.ended().await;
    assert_eq!(ended.code(), Some(0), "{}", larder.log());
    assert!(
        asked_to_stop.elapsed() < Duration::from_secs(8),
        "it waited for nothing"
    );
    assert!(larder.log().contains("stopped"), "{}", larder.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_before_a_drain_is_there_after_it() {
    let vendor = support::vendor(&Clock::System).await;
    let folder = folder();
    // A flush that would come too late by itself.
    let toml = serving(&vendor).replace("50ms", "1h");
    let mut first = Binary::serve(folder.path(), &toml).await;
    let before = first.client.get("/lab/bytes/500").await;
    first.signal("INT");
    assert_eq!(first.ended().await.code(), Some(0), "{}", first.log());
    vendor.break_path("*", Fault::Refuse).unwrap();
    let second = Binary::serve(folder.path(), &toml).await;
    let after = second.client.get("/lab/bytes/500").await;
    assert_eq!((after.status.as_u16(), after.body), (200, before.body));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once_with_exit_1() {
    let vendor = support::vendor(&Clock::System).await;
    let folder = folder();
    let mut larder = Binary::serve(folder.path(), &serving(&vendor)).await;
    let client = larder.client.clone();
    let cut_off = tokio::spawn(async move {
        client
            .try_send(request(Method::GET, "/lab/slow/60000", &[]))
            .await
    });
    within(
        Duration::from_secs(10),
        "the vendor is asked",
        vendor.wait_asked("*", 1),
    )
    .await
    .unwrap();
    larder.signal("TERM");
    within(
        Duration::from_secs(10),
        "the first signal is heard",
        async {
            while !larder.log().contains("shutting down") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        },
    )
    .await;
    let second = Instant::now();
    larder.signal("TERM");
    assert_eq!(larder.ended().await.code(), Some(1));
    assert!(second.elapsed() < Duration::from_secs(3));
    assert!(cut_off.await.unwrap().is_err());
}

// --- What cannot start ---

const MINIMAL: &str = r#"
[server]
listen = "127.0.0.1:0"
[admin]
enabled = false
[store]
path = "data"
[upstream.vendor]
endpoints = ["http://127.0.0.1:9"]
[[route]]
path = "/{*rest}"
upstream = "vendor"
"#;

/// Runs `larder serve` on a config that it must refuse.
fn refused(folder: &TempDir, toml: &str) -> String {
    let path = config_file(folder.path(), toml);
    let run = larder()
        .args(["serve", "--config"])
        .arg(path)
        .current_dir(folder.path())
        .assert();
    said(&run.code(2))
}

fn said(run: &Assert) -> String {
    let stderr = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

#[test]
fn a_config_that_cannot_take_effect_is_one_clear_message_and_exit_2() {
    for (name, change, want) in [
        (
            "unknown key",
            ("path = \"data\"", "path = \"data\"\nmemroy = \"1 MiB\""),
            &["store.memroy", "proxy.toml:8", "did you mean", "memory"][..],
        ),
        (
            "missing variable",
            (
                "[[route]]",
                "credentials = { header = \"Authorization\", value = { env = \"NOT_SET_ANYWHERE\" } }\n[[route]]",
            ),
            &["NOT_SET_ANYWHERE", "proxy.toml:10"],
        ),
        (
            "a literal where a secret belongs",
            (
                "[[route]]",
                "credentials = { header = \"Authorization\", value = \"hunter2\" }\n[[route]]",
            ),
            &["env", "proxy.toml:10"],
        ),
        ("not TOML", ("[server]", "[server"), &["proxy.toml:2"]),
        (
            "no such upstream",
            ("upstream = \"vendor\"", "upstream = \"vndor\""),
            &["vndor", "vendor", "proxy.toml:12"],
        ),
    ] {
        let folder = folder();
        let toml = MINIMAL.replacen(change.0, change.1, 1);
        let message = refused(&folder, &toml);
        for part in want {
            assert!(message.contains(part), "{name}: no {part:?} in\n{message}");
        }
        assert!(
            !folder.path().join("data").exists(),
            "{name}: it made a store all the same"
        );
    }
}

#[test]
fn an_unreadable_config_is_one_clear_message_and_exit_2() {
    let folder = folder();
    let run = larder()
        .args(["serve", "--config", "nowhere.toml"])
        .current_dir(folder.path())
        .assert();
    let message = said(&run.code(2));
    assert!(message.contains("nowhere.toml"), "{message}");

    std::fs::create_dir(folder.path().join("proxy.toml")).unwrap();
    let run = larder().arg("serve").current_dir(folder.path()).assert();
    assert!(said(&run.code(2)).contains("proxy.toml"));
}

#[test]
fn a_port_in_use_is_one_clear_message_and_exit_2() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let message = refused(&folder(), &MINIMAL.replace("127.0.0.1:0", &address));
    for part in ["server.listen", &address, "already in use"] {
        assert!(message.contains(part), "{message}");
    }
    let admin = MINIMAL.replace("enabled = false", &format!("listen = \"{address}\""));
    let message = refused(&folder(), &admin);
    assert!(message.contains("admin.listen"), "{message}");
}

#[test]
fn an_unwritable_store_is_one_clear_message_and_exit_2() {
    let folder = folder();
    std::fs::write(
        folder.path().join("data"),
        "a file where a folder should be",
    )
    .unwrap();
    let message = refused(&folder, MINIMAL);
    for part in ["data", "store.path"] {
        assert!(message.contains(part), "{message}");
    }
    let kept = std::fs::read_to_string(folder.path().join("data")).unwrap();
    assert_eq!(kept, "a file where a folder should be");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_in_use_by_another_is_one_clear_message_and_exit_2() {
    let vendor = support::vendor(&Clock::System).await;
    let folder = folder();
    let _first = Binary::serve(folder.path(), &serving(&vendor)).await;
    let message = refused(&folder, MINIMAL);
    assert!(message.contains("in use by another larder"), "{message}");
}

#[test]
fn check_tells_every_error_at_once_with_its_line() {
    let folder = folder();
    let toml = MINIMAL
        .replace("127.0.0.1:0", "somewhere")
        .replace(
            "path = \"data\"",
            "path = \"data\"\nmemory = \"lots\"\ndsik = \"1 GiB\"",
        )
        .replace("http://127.0.0.1:9", "ftp://vendor");
    config_file(folder.path(), &toml);
    let run = larder().arg("check").current_dir(folder.path()).assert();
    let message = said(&run.code(2));
    for part in [
        "proxy.toml:3",
        "proxy.toml:8",
        "proxy.toml:9",
        "proxy.toml:11",
    ] {
        assert!(message.contains(part), "no {part} in\n{message}");
    }
    assert!(message.contains("disk"), "a hint: {message}");

    config_file(folder.path(), MINIMAL);
    let run = larder().arg("check").current_dir(folder.path()).assert();
    assert!(String::from_utf8_lossy(&run.code(0).get_output().stdout).contains("is valid"));
}
