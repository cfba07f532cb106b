use std::collections::BTreeMap;

use secrecy::SecretString;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

use super::*;
use crate::{clock::Timestamp, observe::Outcome};

struct Fixed(Result<(), Vec<String>>);

impl StatusSource for Fixed {
    fn status(&self) -> Status {
        Status {
            version: "0.1.0",
            uptime_seconds: 5,
            draining: false,
            routes: Vec::new(),
            upstreams: vec![UpstreamStatus {
                name: "pricing".to_owned(),
                endpoints: vec!["http://127.0.0.1:9100".to_owned()],
                endpoint_states: vec![EndpointStatus {
                    url: "http://127.0.0.1:9100".to_owned(),
                    priority: 0,
                    state: "up",
                    ejections: 0,
                }],
                owner: Some("Vendor desk".to_owned()),
                runbook: None,
                review_by: None,
                review_overdue_days: None,
                breaker: BreakerState::HalfOpen,
                in_flight: 1,
                in_flight_limit: 64,
                quota_remaining: None,
                attempts: 7,
                failures: [("connect_refused", 2)].into(),
                last_failure: None,
            }],
            store: StoreStatus {
                state: "disk",
                ..StoreStatus::default()
            },
            admission: AdmissionStatus::default(),
            alerts: Vec::new(),
        }
    }

    fn readiness(&self) -> Result<(), Vec<String>> {
        self.0.clone()
    }
}

impl Operations for Fixed {
    fn purge(&self, orders: Vec<PurgeOrder>) -> Purging<'_> {
        let done = |order: PurgeOrder| match order.tag.as_deref() {
            None => Err(PurgeRefused::Unclear("say a tag".to_owned())),
            Some("lost") => Err(PurgeRefused::Undurable("the disk is full".to_owned())),
            Some(tag) => Ok(PurgeDone {
                number: 7,
                mode: order.mode,
                what: serde_json::json!({ "tag": tag }),
            }),
        };
        Box::pin(std::future::ready(orders.into_iter().map(done).collect()))
    }

    fn explain(&self, question: ExplainQuestion) -> Explaining<'_> {
        let ExplainQuestion {
            url,
            method,
            fields,
        } = question;
        let explained = match &*url {
            "nowhere" => Err("no URL".to_owned()),
            _ => Ok(serde_json::json!({ "url": url, "method": method, "fields": fields })),
        };
        Box::pin(std::future::ready(explained))
    }

    fn purges(&self, limit: usize) -> Vec<PurgeDone> {
        let done = PurgeDone {
            number: limit as u64,
            mode: PurgeMode::Hard,
            what: serde_json::json!({ "all": true }),
        };
        vec![done]
    }

    fn reload(self: Arc<Self>) -> Reloading {
        Box::pin(std::future::ready(Err("line 3 is wrong".to_owned())))
    }

    fn breakers(&self) -> Vec<BreakerStatus> {
        vec![breaker(BreakerState::HalfOpen)]
    }

    fn move_breaker(&self, order: BreakerOrder) -> Result<BreakerStatus, String> {
        match order.upstream.as_deref() {
            Some("pricing") => Ok(breaker(BreakerState::Isolated)),
            _ => Err("there is `pricing`".to_owned()),
        }
    }

    fn contracts(&self) -> Vec<ContractStatus> {
        vec![contract().status]
    }

    fn contract(&self, route: &str) -> Option<ContractReport> {
        (route == "a/{b}").then(contract)
    }

    fn accept_dataset(&self, name: &str) -> bool {
        name == "catalogue"
    }

    fn drift(&self) -> serde_json::Value {
        serde_json::json!({ "routes": [] })
    }

    fn drift_of(&self, route: &str) -> Result<serde_json::Value, String> {
        match route {
            "/prices/{sku}" => Ok(serde_json::json!({ "route": route })),
            _ => Err("there is `/prices/{sku}`".to_owned()),
        }
    }

    fn accept_drift(&self, route: &str, order: DriftAccept) -> Result<serde_json::Value, String> {
        Ok(serde_json::json!({ "route": route, "path": order.path, "change": order.change }))
    }
}

fn contract() -> ContractReport {
    let episode = EpisodeStatus {
        kind: "rule".to_owned(),
        term: "/price: above".to_owned(),
        first: Timestamp::from_secs(1),
        last: Timestamp::from_secs(2),
        ended: None,
        breaches: 3,
        message: "0".to_owned(),
        visitors: "last_good",
    };
    ContractReport {
        status: ContractStatus {
            route: "a/{b}".to_owned(),
            upstream: "pricing".to_owned(),
            mode: "enforce",
            owner: None,
            runbook: None,
            good: 9,
            observed: 0,
            breach: 3,
            breaches: [("rule", 3)].into(),
            bad_records: BTreeMap::new(),
            open: vec![episode],
        },
        ended: Vec::new(),
        samples: vec![serde_json::json!({ "body": "{}" })],
    }
}

fn breaker(phase: BreakerState) -> BreakerStatus {
    BreakerStatus {
        upstream: "pricing".to_owned(),
        route: None,
        phase,
        since: crate::clock::Timestamp::from_secs(7),
        reason: "by hand".to_owned(),
        manual: true,
        rest_ms: None,
        counts: BreakerCounts::default(),
        probes_in_flight: 0,
        owner: None,
        runbook: None,
    }
}

struct Running {
    address: SocketAddr,
    shutdown: Shutdown,
    task: JoinHandle<DrainReport>,
}

impl Running {
    fn start(token: Option<&str>, readiness: Result<(), Vec<String>>) -> Self {
        let config = AdminConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            token: token.map(SecretString::from),
        };
        let admin = Admin::bind(&config).unwrap();
        let address = admin.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let metrics = Metrics::new();
        metrics.route("prices").record(
            Outcome::Hit,
            http::StatusCode::OK,
            Duration::from_millis(1),
        );
        let fixed = Arc::new(Fixed(readiness));
        let task = tokio::spawn(admin.serve(fixed.clone(), fixed, metrics, shutdown.clone()));
        Self {
            address,
            shutdown,
            task,
        }
    }

    /// Head and body of the answer.
    async fn ask(&self, line: &str, fields: &str) -> (String, String) {
        self.ask_with(line, fields, "").await
    }

    async fn post(&self, path: &str, fields: &str, content: &str) -> (String, String) {
        let fields = format!("{fields}content-length: {}\r\n", content.len());
        self.ask_with(&format!("POST {path}"), &fields, content)
            .await
    }

    async fn ask_with(&self, line: &str, fields: &str, content: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nconnection: close\r\n{fields}\r\n{content}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    async fn stop(self) {
        self.shutdown.begin();
        self.task.await.unwrap();
    }
}

const LOCAL: &str = "host: localhost\r\n";

#[tokio::test]
async fn everything_is_answered_on_loopback_without_a_token() {
    let admin = Running::start(None, Ok(()));
    for (line, status) in [
        ("GET /livez", "200"),
        ("GET /readyz", "200"),
        ("GET /metrics", "200"),
        ("HEAD /metrics", "200"),
        ("GET /api/v1/status", "200"),
        ("GET /nothing", "404"),
        ("POST /metrics", "405"),
        ("POST /livez", "405"),
    ] {
        let (head, _) = admin.ask(line, LOCAL).await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line}: {head}"
        );
        assert!(head.contains("x-request-id: "), "{line}: {head}");
        assert!(head.contains("cache-control: no-store"), "{line}: {head}");
        if status.starts_with('4') {
            assert!(
                head.contains("content-type: application/problem+json"),
                "{line}: {head}"
            );
        }
        if status == "405" {
            assert!(head.contains("allow: GET,HEAD"), "{line}: {head}");
        }
    }
    admin.stop().await;
}

#[tokio::test]
async fn a_website_that_rebinds_its_name_reads_nothing() {
    let admin = Running::start(None, Ok(()));
    for line in ["GET /metrics", "GET /api/v1/status", "GET /nothing"] {
        let (head, body) = admin.ask(line, "host: evil.example\r\n").await;
        assert!(head.starts_with("HTTP/1.1 403 "), "{line}: {head}");
        assert!(!body.contains("larder_"), "{line}: {body}");
    }
    admin.stop().await;
}

#[tokio::test]
async fn with_a_token_only_the_probes_answer_without_it() {
    let admin = Running::start(Some("s3cret"), Ok(()));
    for (line, fields, status) in [
        ("GET /livez", "host: any.example\r\n", "200"),
        ("GET /readyz", "host: any.example\r\n", "200"),
        ("GET /metrics", LOCAL, "401"),
        ("GET /nothing", LOCAL, "401"),
        (
            "GET /metrics",
            "host: any.example\r\nauthorization: Bearer wrong\r\n",
            "401",
        ),
        (
            "GET /metrics",
            "host: any.example\r\nauthorization: Bearer s3cret\r\n",
            "200",
        ),
        (
            "GET /api/v1/status",
            "host: any.example\r\nauthorization: Bearer s3cret\r\n",
            "200",
        ),
    ] {
        let (head, _) = admin.ask(line, fields).await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line} {fields}: {head}"
        );
        assert_eq!(
            head.contains("www-authenticate: Bearer"),
            status == "401",
            "{line}: {head}"
        );
    }
    admin.stop().await;
}

#[tokio::test]
async fn readyz_says_why_no_traffic_should_come() {
    let admin = Running::start(None, Err(vec!["draining".to_owned()]));
    let (head, body) = admin.ask("GET /readyz", LOCAL).await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!(
        serde_json::from_str::<Value>(&body).unwrap(),
        serde_json::json!({"ready": false, "reasons": ["draining"]})
    );
    admin.stop().await;
}

#[tokio::test]
async fn status_shows_whom_to_call_and_what_the_breaker_does() {
    let admin = Running::start(None, Ok(()));
    let (_, body) = admin.ask("GET /api/v1/status", LOCAL).await;
    let status: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status["version"], "0.1.0");
    assert_eq!(status["upstreams"][0]["owner"], "Vendor desk");
    assert_eq!(status["upstreams"][0]["breaker"], "half_open");
    assert_eq!(status["upstreams"][0]["failures"]["connect_refused"], 2);
    assert_eq!(status["store"]["state"], "disk");
    admin.stop().await;
}

#[tokio::test]
async fn metrics_are_openmetrics_text() {
    let admin = Running::start(None, Ok(()));
    let (head, body) = admin.ask("GET /metrics", LOCAL).await;
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    assert!(
        body.contains("larder_requests_total{route=\"prices\",outcome=\"hit\",status=\"2xx\"} 1"),
        "{body}"
    );
    assert!(body.ends_with("# EOF\n"), "{body}");
    admin.stop().await;
}

#[tokio::test]
async fn a_purge_is_ordered_as_json_and_told_what_it_came_to() {
    const JSON: &str = "host: localhost\r\ncontent-type: application/json; charset=utf-8\r\n";
    let admin = Running::start(None, Ok(()));
    let one = serde_json::json!({"number": 7, "mode": "hard", "what": {"tag": "a"}});
    let several = serde_json::json!({"purges": [one]});
    for (name, fields, content, status, want) in [
        (
            "one",
            JSON,
            r#"{"tag": "a", "mode": "hard"}"#,
            "200",
            Some(&one),
        ),
        (
            "a list",
            JSON,
            r#"{"purges": [{"tag": "a", "mode": "hard"}]}"#,
            "200",
            Some(&several),
        ),
        ("unclear", JSON, r#"{"route": "a"}"#, "400", None),
        ("no order", JSON, "[]", "400", None),
        ("not durable", JSON, r#"{"tag": "lost"}"#, "503", None),
        (
            "as a form would send it",
            LOCAL,
            r#"{"tag": "a"}"#,
            "415",
            None,
        ),
        (
            "for a website that rebinds its name",
            "host: evil.example\r\ncontent-type: application/json\r\n",
            r#"{"tag": "a"}"#,
            "403",
            None,
        ),
    ] {
        let (head, body) = admin.post("/api/v1/purge", fields, content).await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{name}: {head}"
        );
        if let Some(want) = want {
            assert_eq!(
                &serde_json::from_str::<Value>(&body).unwrap(),
                want,
                "{name}"
            );
        }
    }
    let large = format!("{{\"tag\": \"{}\"}}", "a".repeat(2 << 20));
    let (head, _) = admin.post("/api/v1/purge", JSON, &large).await;
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    let (head, _) = admin.ask("GET /api/v1/purge", LOCAL).await;
    assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
    let (_, body) = admin.ask("GET /api/v1/purges", LOCAL).await;
    let listed = serde_json::from_str::<Value>(&body).unwrap();
    assert_eq!(listed["purges"][0]["number"], 100);
    admin.stop().await;
}

#[tokio::test]
async fn with_a_token_nobody_purges_without_it() {
    let admin = Running::start(Some("s3cret"), Ok(()));
    for (token, status) in [("", "401"), ("authorization: Bearer s3cret\r\n", "200")] {
        let fields = format!("{LOCAL}content-type: application/json\r\n{token}");
        let (head, _) = admin
            .post("/api/v1/purge", &fields, r#"{"tag": "a"}"#)
            .await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    }
    admin.stop().await;
}

#[tokio::test]
async fn a_breaker_is_moved_by_an_order_in_json_and_all_are_listed() {
    const JSON: &str = "host: localhost\r\ncontent-type: application/json\r\n";
    const ISOLATE: &str = r#"{"upstream": "pricing", "action": "isolate"}"#;
    let admin = Running::start(None, Ok(()));
    for (name, fields, content, status) in [
        ("an order", JSON, ISOLATE, "200"),
        ("as a form would send it", LOCAL, ISOLATE, "415"),
        (
            "for a website that rebinds its name",
            "host: evil.example\r\ncontent-type: application/json\r\n",
            ISOLATE,
            "403",
        ),
        ("no order", JSON, "{}", "400"),
        (
            "nobody's breaker",
            JSON,
            r#"{"upstream": "x", "action": "close"}"#,
            "400",
        ),
    ] {
        let (head, body) = admin.post("/api/v1/breakers", fields, content).await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{name}: {head}"
        );
        if status == "200" {
            let moved: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(moved["phase"], "isolated", "{body}");
            assert_eq!(moved["manual"], true, "{body}");
            assert_eq!(moved["since_ms"], 7_000, "{body}");
        }
    }
    let (_, body) = admin.ask("GET /api/v1/breakers", LOCAL).await;
    let listed: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(listed["breakers"][0]["phase"], "half_open");
    admin.stop().await;
    let admin = Running::start(Some("s3cret"), Ok(()));
    let (head, _) = admin.post("/api/v1/breakers", JSON, ISOLATE).await;
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    admin.stop().await;
}

#[tokio::test]
async fn a_request_is_explained_by_the_parameters_of_a_query() {
    let admin = Running::start(None, Ok(()));
    for (name, query, status, want) in [
        (
            "all of them",
            "?url=%2Fa%3Fb%3D1&method=HEAD&header=X-A%3A+1&header=x-b:2",
            "200",
            Some(
                serde_json::json!({"url": "/a?b=1", "method": "HEAD", "fields": ["X-A: 1", "x-b:2"]}),
            ),
        ),
        (
            "a URL alone",
            "?url=/a",
            "200",
            Some(serde_json::json!({"url": "/a", "method": "GET", "fields": []})),
        ),
        ("no URL", "", "400", None),
        ("what is no URL", "?url=nowhere", "400", None),
        ("an unknown parameter", "?url=/a&headers=x", "400", None),
    ] {
        let (head, body) = admin
            .ask(&format!("GET /api/v1/explain{query}"), LOCAL)
            .await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{name}: {head}"
        );
        if let Some(want) = want {
            assert_eq!(
                serde_json::from_str::<Value>(&body).unwrap(),
                want,
                "{name}"
            );
        }
    }
    admin.stop().await;
    let admin = Running::start(Some("s3cret"), Ok(()));
    let (head, _) = admin.ask("GET /api/v1/explain?url=/a", LOCAL).await;
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    admin.stop().await;
}

#[tokio::test]
async fn a_dataset_is_accepted_by_its_name() {
    const JSON: &str = "host: localhost\r\ncontent-type: application/json\r\n";
    let admin = Running::start(None, Ok(()));
    for (path, fields, status) in [
        ("/api/v1/datasets/catalogue/accept", JSON, "200"),
        ("/api/v1/datasets/other/accept", JSON, "404"),
    ] {
        let (head, body) = admin.post(path, fields, "{}").await;
        let want = format!("HTTP/1.1 {status} ");
        assert!(head.starts_with(&want), "{path}: {head}{body}");
    }
    admin.stop().await;
}

#[tokio::test]
async fn contracts_are_listed_and_one_is_told_of_by_the_name_of_its_route() {
    let admin = Running::start(None, Ok(()));
    let (_, body) = admin.ask("GET /api/v1/contracts", LOCAL).await;
    let listed: Value = serde_json::from_str(&body).unwrap();
    let contract = &listed["contracts"][0];
    assert_eq!(contract["breaches"]["rule"], 3, "{body}");
    assert_eq!(contract["open"][0]["first_ms"], 1_000, "{body}");
    assert!(contract["samples"].is_null(), "{body}");
    let (_, body) = admin.ask("GET /api/v1/contracts/a/%7Bb%7D", LOCAL).await;
    let report: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(report["route"], "a/{b}", "{body}");
    assert_eq!(report["samples"][0]["body"], "{}", "{body}");
    for path in ["b", "a%2F", "%ff"] {
        let (head, _) = admin
            .ask(&format!("GET /api/v1/contracts/{path}"), LOCAL)
            .await;
        assert!(head.starts_with("HTTP/1.1 4"), "{path}: {head}");
    }
    admin.stop().await;
}
