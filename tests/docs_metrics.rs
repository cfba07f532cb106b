//! `docs/metrics.md` names every metric the program has, and no other.

use std::{collections::BTreeSet, path::Path, process::Stdio, sync::OnceLock, time::Duration};

use larder::{
    app::App,
    clock::Clock,
    config::{self, FixedEnv},
    observe::{Log, Outcome, TransactionLogger},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::timeout,
};

const DOCUMENT: &str = include_str!("../docs/metrics.md");

/// The first cell of every row, without its backticks.
fn documented() -> impl Iterator<Item = &'static str> {
    DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
}

/// The names of all families in this OpenMetrics text, as its samples have them.
fn named(text: &str) -> BTreeSet<String> {
    let families = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    families
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            _ => name.to_owned(),
        })
        .collect()
}

/// A port that nobody listens on any more.
async fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("a bound address").port()
}

/// All of an answer, head and body.
async fn answer(addr: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("the request is sent");
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .await
        .expect("the answer ends");
    String::from_utf8(answer).expect("text")
}

/// The log of this process: there can be one, and it says nothing here.
static LOG: OnceLock<Log> = OnceLock::new();

/// What `/metrics` says after a request that failed and opened a breaker, so that every family has a sample.
async fn scraped() -> String {
    let port = closed_port().await;
    let toml = format!(
        r#"
        server.listen = "127.0.0.1:0"
        admin.enabled = false
        store.disk = "0"
        log.level = "off"
        [upstream.vendor]
        endpoints = ["http://127.0.0.1:{port}"]
        quota = "100 / minute"
        retry.retries_max = 0
        breaker.consecutive_failures = 1
        [[route]]
        path = "/"
        upstream = "vendor"
        breaker = {{}}
        contract = {{}}
        "#
    );
    let config = config::parse(&toml, Path::new("proxy.toml"), &FixedEnv::default())
        .expect("a valid config");
    let log = LOG.get_or_init(|| Log::init(&config.log).expect("the only log"));
    let app = App::start(config, Clock::System, TransactionLogger::off())
        .await
        .expect("the proxy starts");
    let (metrics, shutdown, addr) = (app.metrics().clone(), app.shutdown(), app.addr());
    // As `larder serve` and `larder dev` do.
    metrics.register(log.dropped());
    let served = tokio::spawn(app.run());
    answer(&addr.to_string(), "/").await;
    let text = metrics.encode();
    shutdown.begin();
    served.await.expect("it ends without a panic");
    text
}

/// `larder dev`, and where its guide says that its admin listener is. `None`: somebody else took the stub's port.
async fn dev(folder: &Path) -> Option<(Child, String)> {
    let port = closed_port().await;
    let toml = format!(
        r#"
        server.listen = "127.0.0.1:0"
        admin.listen = "127.0.0.1:0"
        store.disk = "0"
        dev.control = "127.0.0.1:0"
        [upstream.vendor]
        endpoints = ["http://127.0.0.1:{port}"]
        quota = "100 / minute"
        [[route]]
        path = "/"
        upstream = "vendor"
        breaker = {{}}
        contract = {{}}
        "#
    );
    std::fs::write(folder.join("proxy.toml"), toml).expect("a folder to write to");
    let mut dev = Command::new(env!("CARGO_BIN_EXE_larder"))
        .arg("dev")
        .current_dir(folder)
        .env_remove("RUST_LOG")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    let mut guide = BufReader::new(dev.stdout.take().expect("a pipe")).lines();
    while let Some(line) = guide.next_line().await.expect("text") {
        let rest = line.trim().strip_prefix("admin");
        if let Some(url) = rest.and_then(|rest| rest.trim().strip_prefix("http://")) {
            let addr = url.split('/').next().unwrap_or_default();
            return Some((dev, addr.to_owned()));
        }
    }
    None
}

#[tokio::test]
async fn dev_has_the_metrics_that_serve_has() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let started = timeout(Duration::from_secs(20), async {
        for _ in 0..5 {
            if let Some(started) = dev(folder.path()).await {
                return Some(started);
            }
        }
        None
    });
    let (_dev, admin) = started.await.expect("in time").expect("it listens");
    let named = named(&answer(&admin, "/metrics").await);
    let missing: Vec<_> = documented()
        .filter(|name| name.starts_with("larder_") && !named.contains(*name))
        .collect();
    // There from the first alert on.
    assert_eq!(missing, ["larder_alerts_total"]);
}

#[tokio::test]
async fn the_document_lists_every_metric_and_no_other() {
    let documented: BTreeSet<_> = documented()
        .filter(|name| name.starts_with("larder_"))
        .map(str::to_owned)
        .collect();
    assert_eq!(documented, named(&scraped().await));
}

#[test]
fn the_document_lists_every_outcome() {
    for outcome in Outcome::ALL {
        let word = outcome.as_str();
        assert!(documented().any(|listed| listed == word), "{word}");
    }
}

#[tokio::test]
async fn the_document_lists_every_cause() {
    let text = scraped().await;
    let causes: BTreeSet<_> = text
        .lines()
        .filter_map(|line| Some(line.split_once("cause=\"")?.1.split_once('"')?.0))
        .collect();
    assert!(!causes.is_empty());
    for word in causes {
        assert!(documented().any(|listed| listed == word), "{word}");
    }
}
