//! `larder probe`: what it says of vendors of all kinds, how often it asks, and what it writes to start from.

mod support;

use std::{path::Path, process::Output, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use larder::stub::{Stub, StubOptions};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use support::{Asked, Binary, Gate, Origin, Piece, Play, larder};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

/// A secret that must not be seen anywhere.
const SECRET: &str = "s3cr3t-v4lue";

async fn probe(args: &[&str]) -> Output {
    let mut command = larder();
    command
        .arg("probe")
        .args(args)
        .env("PROBE_TEST_TOKEN", SECRET)
        .env_remove("PROBE_TEST_NONE");
    let run = tokio::task::spawn_blocking(move || command.output());
    run.await.expect("no panic").expect("the binary runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

/// Exit code, and the findings as a script sees them.
async fn findings(args: &[&str]) -> (i32, Value) {
    let mut all = args.to_vec();
    all.push("--json");
    let output = probe(&all).await;
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code().expect("an exit code"), report)
}

/// `level` and `text` of a finding.
fn finding<'r>(report: &'r Value, name: &str) -> (&'r str, &'r str) {
    let all = report["findings"].as_array().expect("a list");
    let found = all.iter().find(|one| one["name"] == name);
    let found = found.unwrap_or_else(|| panic!("no {name} in {report:#}"));
    let part = |key: &str| found[key].as_str().expect("text");
    (part("level"), part("text"))
}

const PRICE: &str = r#"{"sku":"sku-1","currency":"EUR","price":12.5,"note":null}"#;

/// A vendor that does all that one can do.
fn model(asked: &Asked) -> Play {
    let fields = [
        ("content-type", "application/json"),
        ("cache-control", "max-age=60"),
        ("etag", "\"v1\""),
        ("last-modified", "Fri, 01 Jan 2027 00:00:00 GMT"),
        ("x-ratelimit-limit", "100"),
        ("x-ratelimit-remaining", "98"),
        ("x-ratelimit-reset", "30"),
    ];
    if asked.is_conditional() {
        return Play::answer(304, &fields, "");
    }
    Play::answer(200, &fields, PRICE)
}

#[tokio::test]
async fn a_good_vendor_is_asked_eight_times_at_most_and_by_get_and_head_only() {
    let origin = Origin::start(model).await;
    let url = format!("{}/prices/sku-1?currency=EUR", origin.url());
    let (code, report) = findings(&[&url]).await;
    assert_eq!((code, &report["usable"]), (0, &json!(true)), "{report:#}");
    for (name, want) in [
        (
            "validators.etag",
            "a strong ETag, and If-None-Match is answered 304",
        ),
        (
            "validators.last_modified",
            "Last-Modified, and If-Modified-Since is answered 304",
        ),
        ("validators.head", "HEAD is answered as GET is"),
        ("caching.lifetime", "fresh for 1m by the vendor"),
        (
            "http.keep_alive",
            "connections are kept: 8 requests over one",
        ),
    ] {
        assert_eq!(finding(&report, name), ("ok", want));
    }
    let (_, limit) = finding(&report, "quota.limit");
    assert!(limit.starts_with("98 of 100 left"), "{limit}");
    assert_eq!(report["suggestion"]["conditional_requests"], true);
    assert_eq!(
        report["schema"]["required"],
        json!(["currency", "note", "price", "sku"])
    );
    let asked = origin.asked();
    assert_eq!(asked.len(), 8);
    assert_eq!(report["requests"], 8);
    for one in &asked {
        assert!([Method::GET, Method::HEAD].contains(&one.method));
        assert!(one.field("user-agent").contains("larder"), "{one:?}");
        assert_eq!(one.target, "/prices/sku-1?currency=EUR");
    }
    let (_, report) = findings(&[&url, "--requests", "2"]).await;
    assert_eq!((origin.asked_total(), &report["requests"]), (10, &json!(2)));
}

#[tokio::test]
async fn people_read_it_in_eighty_columns() {
    let origin = Origin::start(model).await;
    let output = probe(&[&format!("{}/prices/sku-1", origin.url())]).await;
    let shown = text(&output.stdout);
    for line in shown.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    for want in [
        "validators  ok       a strong ETag",
        "what is in it (from 3 answers)",
        "  price     number",
        "what larder can do for you here",
        "usable: ",
    ] {
        assert!(shown.contains(want), "no `{want}` in\n{shown}");
    }
}

#[tokio::test]
async fn what_cannot_be_used_is_exit_1_and_says_why() {
    let json = [("content-type", "application/json")];
    let html = [("content-type", "text/html")];
    let bearer = [("www-authenticate", "Bearer realm=\"api\"")];
    let late = || vec![Piece::Bytes("[1".into()), Piece::Await(Gate::closed())];
    // The head has to be on its way before it breaks.
    let pause = Piece::Pause(Duration::from_millis(200));
    let broken = || vec![Piece::Bytes("[1".into()), pause.clone(), Piece::BreakOff];
    let large = || "[".repeat(9 << 20);
    for (name, play, want_code, finds, level, words) in [
        (
            "credentials demanded",
            Play::answer(401, &bearer, ""),
            1,
            "auth.demanded",
            "problem",
            "Bearer (api)",
        ),
        (
            "an error",
            Play::answer(500, &json, "{}"),
            1,
            "status.code",
            "problem",
            "500",
        ),
        (
            "a page",
            Play::answer(200, &html, "<html>hello"),
            0,
            "shape.html",
            "warning",
            "a page for people",
        ),
        (
            "a page in place of JSON",
            Play::answer(200, &json, "<html>sorry"),
            1,
            "oddities.type",
            "problem",
            "HTML",
        ),
        (
            "broken JSON",
            Play::answer(200, &json, "{\"price\":"),
            1,
            "shape.malformed",
            "problem",
            "says JSON",
        ),
        (
            "nothing",
            Play::answer(200, &json, ""),
            1,
            "content.size",
            "problem",
            "empty",
        ),
        (
            "no answer",
            Play::refuse(),
            1,
            "http.answer",
            "problem",
            "the connection ended",
        ),
        (
            "a hanging vendor",
            Play::hang(),
            1,
            "http.answer",
            "problem",
            "no answer came in time",
        ),
        (
            "an endless body",
            Play::pieces(200, &json, late()),
            1,
            "content.size",
            "problem",
            "did not end in time",
        ),
        (
            "a body that breaks off",
            Play::pieces(200, &json, broken()),
            1,
            "content.size",
            "problem",
            "broke off",
        ),
        (
            "a huge body",
            Play::answer(200, &json, large()),
            0,
            "content.size",
            "warning",
            "8.0 MiB of 9.0 MiB",
        ),
        (
            "an error inside",
            Play::answer(200, &json, "{\"errors\":[{\"message\":\"no\"}]}"),
            1,
            "oddities.error_inside",
            "problem",
            "/errors",
        ),
    ] {
        let origin = Origin::start(move |_| play.clone()).await;
        // Two wait until it is over; the others have to be done by then on a machine that is busy.
        let patience = match name {
            "a hanging vendor" => "1s",
            "an endless body" => "4s",
            _ => "10s",
        };
        let (code, report) = findings(&[origin.url(), "--timeout", patience]).await;
        let (got_level, got) = finding(&report, finds);
        assert_eq!((got_level, code), (level, want_code), "{name}: {report:#}");
        assert!(got.contains(words), "{name}: {got}");
    }
}

#[tokio::test]
async fn who_asks_to_be_left_alone_is_left_alone() {
    let refused = Play::answer(429, &[("retry-after", "30")], "");
    let origin = Origin::start(move |_| refused.clone()).await;
    let (code, report) = findings(&[origin.url()]).await;
    assert_eq!((code, origin.asked_total()), (1, 1), "{report:#}");
    let (_, wait) = finding(&report, "quota.retry_after");
    assert_eq!(wait, "it asks to be left alone: Retry-After 30 s");
    // The same in the middle of it.
    let refused = Play::answer(429, &[("retry-after", "30")], "");
    origin.now(move |asked| match asked.nth {
        2 => Play::answer(200, &[("content-type", "application/json")], "[1]"),
        _ => refused.clone(),
    });
    let (_, report) = findings(&[origin.url()]).await;
    assert_eq!(
        (origin.asked_total(), finding(&report, "status.changed").0),
        (3, "warning")
    );
}

#[tokio::test]
async fn nobody_is_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let (code, report) = findings(&[&format!("http://{address}/")]).await;
    assert_eq!((code, finding(&report, "reach.connect").0), (1, "problem"));
}

#[tokio::test]
async fn redirects_are_followed_on_the_same_host_only() {
    let other = Origin::start(model).await;
    let away = other.url().to_owned();
    let origin = Origin::start(move |asked| match asked.target.as_str() {
        "/old" => Play::answer(301, &[("location", "/new")], ""),
        "/away" => Play::answer(302, &[("location", &away)], ""),
        "/loop" => Play::answer(302, &[("location", "/loop?more")], ""),
        "/loop?more" => Play::answer(302, &[("location", "/loop")], ""),
        _ => model(asked),
    })
    .await;
    let (code, report) = findings(&[&format!("{}/old", origin.url())]).await;
    assert_eq!(code, 0, "{report:#}");
    assert!(
        report["url"]
            .as_str()
            .is_some_and(|url| url.ends_with("/new"))
    );
    assert!(origin.asked_total() <= 8);
    let (code, report) = findings(&[&format!("{}/away", origin.url())]).await;
    let advice = report["findings"].to_string();
    assert!(code == 1 && advice.contains(other.url()), "{report:#}");
    assert_eq!(other.asked_total(), 0);
    let (code, _) = findings(&[&format!("{}/loop", origin.url())]).await;
    assert_eq!(code, 1);
}

#[tokio::test]
async fn bad_usage_is_exit_2_and_asks_nobody() {
    let origin = Origin::start(model).await;
    let url = origin.url();
    for (args, want) in [
        (vec!["api.vendor.example"], "write scheme and host"),
        (vec!["ftp://a/"], "`ftp` is not spoken here"),
        (vec!["https://a b/"], "is no URL"),
        (vec![url, "--header", "s3cr3t-v4lue"], "has no colon"),
        (vec![url, "--header", "a b: c"], "is no name of a field"),
        (vec![url, "--requests", "9"], "1 to 8"),
        (vec![url, "--timeout", "soon"], "is no time"),
        (
            vec![url, "--bearer-env", "PROBE_TEST_NONE"],
            "PROBE_TEST_NONE is not set",
        ),
        (
            vec!["https://127.0.0.1:1/", "--ca-file", "no/such.pem"],
            "no/such.pem",
        ),
    ] {
        let output = probe(&args).await;
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {told}");
        assert!(
            told.contains(want) && !told.contains(SECRET),
            "{args:?}: {told}"
        );
    }
    assert_eq!(origin.asked_total(), 0);
}

// --- What it writes ---

fn check(folder: &Path) -> Output {
    let mut command = larder();
    command
        .args(["check", "--config"])
        .arg(folder.join("proxy.toml"))
        .env("VENDOR_TOKEN", SECRET)
        .env("VENDOR_X_API_KEY", SECRET);
    command.output().expect("the binary runs")
}

/// The same config on free ports.
fn on_free_ports(folder: &Path) -> String {
    let toml = std::fs::read_to_string(folder.join("proxy.toml")).expect("written");
    format!(
        "server.listen = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:0\"\nstore.disk = \"0\"\n{toml}"
    )
}

#[tokio::test]
async fn what_it_writes_is_a_config_that_works() {
    let vendor = Stub::start(StubOptions::default()).await.expect("the stub");
    for (path, other) in [
        ("/prices/sku-1?currency=EUR", "/prices/sku-2?currency=EUR"),
        ("/catalogue?page=1", "/catalogue?page=2"),
    ] {
        let scratch = tempfile::tempdir().expect("scratch folder");
        let folder = scratch.path().join("new");
        let shown = folder.to_str().expect("text");
        let output = probe(&[&vendor.url(path), "--write", shown]).await;
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{told}");
        assert!(told.contains("next: larder check"), "{told}");
        let checked = check(&folder);
        let (out, err) = (text(&checked.stdout), text(&checked.stderr));
        assert_eq!(checked.status.code(), Some(0), "{err}");
        assert!(out.contains("is valid") && err.is_empty(), "{out}{err}");
        let proxy = Binary::serve(&folder, &on_free_ports(&folder)).await;
        for path in [path, other] {
            let reply = proxy.client.get(path).await;
            assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        }
        let again = proxy.client.get(path).await;
        assert!(
            again.field("cache-status").contains("hit"),
            "{}",
            again.field("cache-status")
        );
    }
}

#[tokio::test]
async fn no_secret_is_shown_or_written() {
    let origin = Origin::start(|asked| match asked.field("x-api-key") {
        SECRET => model(asked),
        _ => Play::answer(401, &[("www-authenticate", "ApiKey")], ""),
    })
    .await;
    let scratch = tempfile::tempdir().expect("scratch folder");
    let shown = scratch.path().to_str().expect("text");
    let url = format!("{}/prices/sku-1?api_key={SECRET}", origin.url());
    let field = format!("X-Api-Key: {SECRET}");
    let args = [
        url.as_str(),
        "--header",
        &field,
        "--header",
        "Accept: application/json",
        "--bearer-env",
        "PROBE_TEST_TOKEN",
        "--write",
        shown,
    ];
    let output = probe(&args).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(!text(&output.stdout).contains(SECRET) && !text(&output.stderr).contains(SECRET));
    let (_, report) = findings(&args[..7]).await;
    assert!(!report.to_string().contains(SECRET));
    let asked = origin.asked();
    assert!(
        asked
            .iter()
            .all(|one| one.field("authorization") == format!("Bearer {SECRET}"))
    );
    let config = std::fs::read_to_string(scratch.path().join("proxy.toml")).expect("written");
    let schema = std::fs::read_to_string(scratch.path().join("contracts/prices.json"));
    assert!(!config.contains(SECRET) && !schema.expect("written").contains(SECRET));
    for want in [
        "{ header = \"x-api-key\", value = { env = \"VENDOR_X_API_KEY\" } }",
        "{ header = \"authorization\", value = { env = \"PROBE_TEST_TOKEN\" }, prefix = \"Bearer \" }",
        "request_headers = { set = { \"accept\" = \"application/json\" } }",
        "path = \"/prices/{id}\"",
    ] {
        assert!(config.contains(want), "no `{want}` in\n{config}");
    }
}

#[tokio::test]
async fn what_is_there_is_not_replaced_unless_asked_for() {
    let origin = Origin::start(model).await;
    let scratch = tempfile::tempdir().expect("scratch folder");
    let config = scratch.path().join("proxy.toml");
    std::fs::write(&config, "mine").expect("written");
    let shown = scratch.path().to_str().expect("text");
    let output = probe(&[origin.url(), "--write", shown]).await;
    assert_eq!((output.status.code(), origin.asked_total()), (Some(2), 0));
    assert!(text(&output.stderr).contains("--force"));
    assert_eq!(std::fs::read_to_string(&config).expect("there"), "mine");
    let output = probe(&[origin.url(), "--write", shown, "--force"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_ne!(std::fs::read_to_string(&config).expect("there"), "mine");
    // From what cannot be used nothing is written.
    let empty = tempfile::tempdir().expect("scratch folder");
    origin.now(|_| Play::answer(401, &[], ""));
    let shown = empty.path().to_str().expect("text");
    let output = probe(&[origin.url(), "--write", shown]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("nothing was written"),
        "{output:?}"
    );
    assert_eq!(std::fs::read_dir(empty.path()).expect("there").count(), 0);
}

// --- TLS ---

/// A vendor over TLS, for this host until that year, and the file with its authority.
struct Secure {
    port: u16,
    authority: tempfile::NamedTempFile,
    serving: JoinHandle<()>,
}

impl Secure {
    async fn start(host: &str, until: i32, alpn: &[&str]) -> Self {
        let mut params = rcgen::CertificateParams::new([host.to_owned()]).expect("a host");
        // Authorities are told apart by name; so these are strangers to each other.
        let name = format!("{host} until {until} {alpn:?}");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("signed");
        let authority = tempfile::NamedTempFile::new().expect("scratch file");
        std::fs::write(authority.path(), certificate.pem()).expect("written");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("certificate");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let serving = tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config))));
        Self {
            port,
            authority,
            serving,
        }
    }

    fn ca_file(&self) -> &str {
        self.authority.path().to_str().expect("text")
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        connections.spawn(async move {
            // Who does not believe us hangs up here.
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let answer = || Response::builder().header("content-type", "application/json");
            let service = service_fn(|_| async move { answer().body(Full::<Bytes>::from(PRICE)) });
            let server = auto::Builder::new(TokioExecutor::new());
            // How a connection ends is the client's business.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

#[tokio::test]
async fn tls_is_looked_at_and_distrust_is_explained() {
    let both = Secure::start("localhost", 2060, &["h2", "http/1.1"]).await;
    let url = format!("https://localhost:{}/", both.port);
    let (code, report) = findings(&[&url, "--ca-file", both.ca_file()]).await;
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(
        finding(&report, "http.versions"),
        ("ok", "HTTP/2 and HTTP/1.1, by ALPN")
    );
    assert!(finding(&report, "tls.version").1.starts_with("TLS 1.3"));
    assert!(
        finding(&report, "tls.certificate_subject")
            .1
            .contains("days left")
    );

    let old = Secure::start("localhost", 2060, &[]).await;
    let other = Secure::start("other.example", 2060, &[]).await;
    let expired = Secure::start("localhost", 2021, &[]).await;
    let stranger = both.ca_file();
    for (name, server, trusts, want_code, finds, words) in [
        (
            "no ALPN",
            &old,
            old.ca_file(),
            0,
            "http.versions",
            "HTTP/2 is not offered",
        ),
        (
            "an authority that is not known",
            &old,
            stranger,
            1,
            "tls.certificate",
            "not known here",
        ),
        (
            "another name",
            &other,
            other.ca_file(),
            1,
            "tls.certificate",
            "for other hosts",
        ),
        (
            "its day is over",
            &expired,
            expired.ca_file(),
            1,
            "tls.certificate",
            "has expired",
        ),
        (
            "which day that was",
            &expired,
            expired.ca_file(),
            1,
            "tls.certificate_subject",
            "ago",
        ),
    ] {
        let url = format!("https://localhost:{}/", server.port);
        let (code, report) = findings(&[&url, "--ca-file", trusts]).await;
        assert_eq!(code, want_code, "{name}: {report:#}");
        let (_, got) = finding(&report, finds);
        assert!(got.contains(words), "{name}: {got}");
    }
    let plain = Origin::start(model).await;
    let url = plain.url().replace("http://127.0.0.1", "https://localhost");
    let (code, report) = findings(&[&url, "--ca-file", both.ca_file()]).await;
    assert_eq!(
        (code, finding(&report, "tls.handshake").0),
        (1, "problem"),
        "{report:#}"
    );
}
