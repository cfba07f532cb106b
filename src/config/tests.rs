//! The config as a whole: text in, model or findings out.

use std::{path::Path, time::Duration};

use http::{Method, StatusCode};
use secrecy::ExposeSecret;

use super::*;

const PATH: &str = "conf/proxy.toml";

/// Three lines that make a config complete; tests add to them.
const BASE: &str = "\
upstream.api.endpoints = [\"http://127.0.0.1:9100\"]
";
const ROUTE: &str = "
[[route]]
path = \"/{*rest}\"
upstream = \"api\"
";

fn env() -> FixedEnv {
    let mut env = FixedEnv::default();
    env.vars.insert("TOKEN".into(), "s3cret".into());
    env.vars.insert("EMPTY".into(), String::new());
    env.vars.insert("BROKEN".into(), "a\nb".into());
    for (path, bytes) in [
        ("conf/token.txt", &b"from-file\r\n"[..]),
        ("conf/price.json", br#"{"price":null}"#),
        ("conf/not.pem", b"hello"),
    ] {
        env.files.insert(path.into(), bytes.to_vec());
    }
    env
}

/// A config that has to compile.
pub(super) fn parsed(text: &str) -> Config {
    parse(text, Path::new(PATH), &env()).unwrap_or_else(|errors| panic!("{errors}"))
}

/// One line per finding of a config that must not compile.
fn complaints(text: &str) -> Vec<String> {
    let errors = parse(text, Path::new(PATH), &env()).expect_err("the config compiled");
    errors.iter().map(ToString::to_string).collect()
}

fn env_with(files: &[(&str, &str)]) -> FixedEnv {
    let mut env = env();
    for (path, text) in files {
        env.files.insert(path.into(), text.as_bytes().to_vec());
    }
    env
}

/// A config that has to compile, beside these files.
pub(super) fn parsed_with(text: &str, files: &[(&str, &str)]) -> Config {
    let config = parse(text, Path::new(PATH), &env_with(files));
    config.unwrap_or_else(|errors| panic!("{errors}"))
}

/// What is wrong with a config beside these files.
pub(super) fn errors_with(text: &str, files: &[(&str, &str)]) -> ConfigErrors {
    parse(text, Path::new(PATH), &env_with(files)).expect_err("the config compiled")
}

/// One line per finding of [`errors_with`].
pub(super) fn complaints_with(text: &str, files: &[(&str, &str)]) -> Vec<String> {
    let errors = errors_with(text, files);
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn a_route_of_two_lines_is_complete() {
    let config = parsed(&format!("{BASE}{ROUTE}"));
    let route = &config.routes[0];
    assert_eq!(&*route.name, "/{*rest}");
    assert_eq!(*route.policy, Policy::default());
    assert_eq!(route.deadline, Duration::from_secs(10));
    assert_eq!(route.attempt_timeout, Duration::from_secs(5));
    assert_eq!(route.methods, None);
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.server.workers, 1);
    assert_eq!(config.store.path.as_deref(), Some(Path::new("conf/data")));
    let upstream = &config.upstreams[0];
    assert_eq!(upstream.endpoints[0].uri, "http://127.0.0.1:9100");
    for (status, want) in [(500, true), (599, true), (429, true), (404, false)] {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(upstream.failures.contains(status), want, "{status}");
    }
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn every_default_of_the_key_table_can_be_read() {
    // A default that its own reader refuses would silently become zero.
    let config = parsed(&format!("{BASE}{ROUTE}"));
    let (server, store) = (&config.server, &config.store);
    assert_eq!(server.header_bytes_max, 64 << 10);
    assert_eq!(server.request_body_bytes_max, 16 << 20);
    assert_eq!(server.drain_for, Duration::from_secs(10));
    assert_eq!(store.memory_bytes, 256 << 20);
    assert_eq!(store.disk_bytes, 4 << 30);
    assert_eq!(store.flush_every, Duration::from_millis(500));
    assert_eq!(
        server.requests_max, 7_500,
        "three quarters of connections_max"
    );
    assert_eq!((server.reserved_percent, server.clients_max), (50, 65_536));
    assert_eq!(server.bodies_bytes_max, 512 << 20);
    assert_eq!(
        (server.client_connections_max, server.client_rate),
        (None, None)
    );
    assert_eq!(
        (config.routes[0].requests_max, config.routes[0].rate),
        (None, None)
    );
    assert_eq!(config.log.redact_query.len(), 9);
    let upstream = &config.upstreams[0];
    assert_eq!(upstream.attempt_timeout_stale, Duration::from_secs(2));
    assert_eq!(upstream.retry_after_max, Duration::from_secs(900));
    assert_eq!(upstream.breaker.open_for, Duration::from_millis(500));
    assert_eq!(upstream.breaker.open_for_max, Duration::from_secs(3));
    assert_eq!(
        upstream.breaker.open_for_max_after,
        Duration::from_secs(360)
    );
    assert_eq!(upstream.breaker.probe_calls, 3);
    assert_eq!(upstream.breaker.probe_success_percent, 100);
    assert_eq!(config.routes[0].slow_after, Duration::from_secs(2));
    assert!(config.routes[0].breaker.is_none());
    assert_eq!(upstream.retry.backoff_min, Duration::from_millis(50));
    assert_eq!(upstream.retry.retries_max_stale, 1);
    assert_eq!(upstream.retry.attempt_min, Duration::from_millis(100));
    assert_eq!(upstream.retry.budget_window, Duration::from_secs(10));
    let key = upstream.retry.idempotency_header.as_ref().unwrap();
    assert_eq!(
        (key.as_str(), upstream.retry.body_bytes_max),
        ("idempotency-key", 64 << 10)
    );
    assert_eq!(config.routes[0].hedge, None, "only where it is asked for");
    assert!(!upstream.ejection.enabled, "there is one endpoint");
    assert_eq!(upstream.ejection.eject_for, Duration::from_millis(500));
    assert_eq!(upstream.ejection.percent_max, 50);
    assert_eq!(upstream.health, None);
    assert_eq!(upstream.slow_start, Duration::from_secs(10));
    assert_eq!(upstream.dns_refresh, Duration::from_secs(30));
    assert_eq!(config.routes[0].whole_bytes_max, 4 << 20);
    assert_eq!(config.routes[0].hold_back, Duration::from_millis(100));
    assert_eq!(config.dev.control.unwrap().port(), 9101);
}

#[test]
fn what_the_file_says_reaches_the_model() {
    let config = parsed(
        r#"
[store]
disk = "0"
[upstream.api]
endpoints = ["https://a.example/base/", { url = "https://b.example:8443", priority = 1 }]
health = { path = "/up?deep", expect = [204], body_contains = "ok" }
host = "preserve"
credentials = [
  { header = "Authorization", value = { env = "TOKEN" }, prefix = "Bearer " },
  { header = "X-Key", value = { file = "token.txt" } },
]
failures = ["4xx", 503]
[policy.live]
fresh = "30s"
override = true
[[route]]
name = "prices"
host = ["Shop.Example", "*.shop.example"]
path = "/api/{sku}"
methods = ["GET", "POST"]
upstream = "api"
policy = "live"
key = { query = ["currency", "b"], headers = ["Accept-Language"] }
rewrite = "/v2/{sku}"
request_headers = { remove = ["Cookie"], set = { X-From = "larder" } }
response_headers = { add = { Vary = "Origin" } }
fallback = { status = 203, body = "price.json" }
"#,
    );
    let (upstream, route) = (&config.upstreams[0], &config.routes[0]);
    assert_eq!(config.store.path, None);
    assert_eq!(upstream.endpoints[0].uri, "https://a.example/base");
    let priorities = upstream.endpoints.iter().map(|it| it.priority);
    assert_eq!(priorities.collect::<Vec<_>>(), [0, 1]);
    assert!(upstream.ejection.enabled, "there are several endpoints");
    let health = upstream.health.as_ref().unwrap();
    assert_eq!(health.path, "/up?deep");
    assert!(health.expect.contains(StatusCode::NO_CONTENT));
    assert!(!health.expect.contains(StatusCode::OK));
    let secrets = upstream.credentials.iter();
    let secrets: Vec<_> = secrets.map(|c| c.value.expose_secret()).collect();
    assert_eq!(secrets, ["Bearer s3cret", "from-file"]);
    assert!(!upstream.failures.contains(StatusCode::BAD_GATEWAY));
    assert!(upstream.failures.contains(StatusCode::NOT_FOUND));
    assert_eq!(
        route.hosts,
        [
            HostPattern::Exact("shop.example".into()),
            HostPattern::Suffix(".shop.example".into())
        ]
    );
    let methods = route.methods.as_deref();
    assert_eq!(
        methods,
        Some(&[Method::GET, Method::POST, Method::HEAD][..])
    );
    assert_eq!(route.policy.fresh, Some(Duration::from_secs(30)));
    assert_eq!(
        route.key.query,
        QueryKey::Only(vec!["b".into(), "currency".into()])
    );
    assert!(route.key.host, "the upstream sees the host");
    let fallback = route.fallback.as_ref().unwrap();
    assert_eq!(fallback.status, 203);
    assert_eq!(fallback.content_type, "application/json");
    let params = route.path.params("/api/7");
    assert_eq!(route.rewrite.apply("/api/7", params), "/v2/7");
}

#[test]
fn how_requests_are_repeated_is_read() {
    let config = parsed(
        r#"
upstream.api = { endpoints = ["http://a"], retry = { idempotency_header = "" } }
[[route]]
path = "/a"
upstream = "api"
hedge = {}
deadline_header = "X-Time-Left"
[[route]]
path = "/b"
upstream = "api"
deadline = "100ms"
hedge = { percentile = 80, delay_min = "0s", samples_min = 5, samples_max = 50, window = "5m" }
"#,
    );
    assert_eq!(config.upstreams[0].retry.idempotency_header, None);
    let hedges = config.routes.iter().map(|route| route.hedge.unwrap());
    let hedges: Vec<_> = hedges.collect();
    let defaults = HedgeConfig {
        percentile: 95,
        delay_min: Duration::from_millis(20),
        window: Duration::from_secs(60),
        samples_min: 20,
        samples_max: 512,
    };
    let written = HedgeConfig {
        percentile: 80,
        delay_min: Duration::ZERO,
        window: Duration::from_secs(300),
        samples_min: 5,
        samples_max: 50,
    };
    assert_eq!(hedges, [defaults, written]);
    let header = config.routes[0].deadline_header.as_ref().unwrap();
    assert_eq!(header, "x-time-left");
    let warning = config.warnings.iter().map(ToString::to_string);
    let about_time = |said: &String| said.contains("leaves no time for a retry");
    assert_eq!(warning.filter(about_time).count(), 1);
}

#[test]
fn a_limit_adapts_where_the_table_is_written() {
    let adaptive = |line: &str| parsed(&format!("{BASE}{line}\n{ROUTE}")).upstreams[0].adaptive;
    assert_eq!(adaptive(""), None);
    let on = adaptive("upstream.api.adaptive = {}");
    assert_eq!(on, Some(AdaptiveConfig::default()));
    let aimd = adaptive("upstream.api.adaptive.algorithm = \"aimd\"").unwrap();
    assert_eq!(aimd.algorithm, LimitAlgorithm::Aimd);
    let config = parsed(&format!(
        "{BASE}upstream.api.adaptive.latency_max = \"2s\"\n{ROUTE}"
    ));
    let warning = config.warnings[0].to_string();
    assert!(warning.contains("changes nothing without"), "{warning}");
    assert_eq!(config.upstreams[0].shares, SharesConfig::default());
}

#[test]
fn a_quota_is_read_in_every_form() {
    let quota = |quota: &str| parsed(&format!("{BASE}upstream.api.quota = {quota}\n{ROUTE}"));
    for (written, count, secs, burst) in [
        ("\"100 / minute\"", 100, 60, 10),
        ("\"10/second\"", 10, 1, 5),
        ("\"2 / second\"", 2, 1, 2),
        ("\"5000 / hour\"", 5000, 3600, 100),
        ("\"1000 / day\"", 1000, 86_400, 100),
        ("\"30 / 15m\"", 30, 900, 5),
        ("{ rate = \"100 / minute\", burst = 1 }", 100, 60, 1),
    ] {
        let per = Duration::from_secs(secs);
        let rate = Rate { count, per };
        let want = Some(QuotaConfig { rate, burst });
        assert_eq!(quota(written).upstreams[0].quota, want, "{written}");
    }
}

#[test]
fn a_key_is_read_in_every_form() {
    let key = |key: &str| {
        let config = parsed(&format!("{BASE}{ROUTE}key = {{ {key} }}\n"));
        config.routes[0].key.clone()
    };
    let default = key("");
    assert_eq!(default.query, QueryKey::Whole);
    assert_eq!(default.cookies, None);
    assert!(!default.scheme);
    assert_eq!(key("query = \"sorted\"").query, QueryKey::Sorted);
    assert_eq!(
        key("query = [\"a b\", \"%7e&\"]").query,
        QueryKey::Only(vec!["a%20b".into(), "~%26".into()]),
        "names in the spelling of a query"
    );
    assert_eq!(
        key("query = { ignore = [\"utm_*\", \"fbclid\"] }").query,
        QueryKey::Except(vec![
            ParameterPattern::Prefix("utm_".into()),
            ParameterPattern::Exact("fbclid".into())
        ])
    );
    assert_eq!(key("cookies = []").cookies, Some(vec![]));
    assert_eq!(
        key("cookies = [\"lang\"]").cookies,
        Some(vec!["lang".into()])
    );
    assert!(key("scheme = true").scheme);
}

#[test]
fn all_errors_come_at_once_each_with_its_place() {
    let text = r#"[server]
listn = "127.0.0.1:8080"
drain_for = 10

[upstream.api]
endpoints = ["http://127.0.0.1:9100"]
retry = { backoff_mn = "1s" }

[policy.live]
stale_aftr = "300ms"

[[route]]
path = "/a"
upstream = "apu"
policy = "life"
"#;
    let complaints = complaints(text);
    let wants = [
        "conf/proxy.toml:2:1: server.listn: unknown key; did you mean `listen`?",
        "conf/proxy.toml:3:13: server.drain_for: a duration needs a unit; write \"10ms\" or \"10s\"",
        "conf/proxy.toml:7:11: upstream.api.retry.backoff_mn: unknown key; did you mean `backoff_min`?",
        "conf/proxy.toml:10:1: policy.live.stale_aftr: unknown key; did you mean `stale_after`?",
        "conf/proxy.toml:14:12: route.#1.upstream: there is no upstream named `apu`; did you mean \"api\"?",
        "conf/proxy.toml:15:10: route.#1.policy: there is no policy named `life`; did you mean \"live\"?",
    ];
    assert_eq!(complaints, wants);
}

#[test]
fn syntax_errors_have_their_place_and_a_hint() {
    for (text, want) in [
        ("[server]\ndrain_for = 10s\n", "conf/proxy.toml:2:"),
        ("[server]\ndrain_for = 10s\n", "stand in quotes: \"10s\""),
        ("[server]\nlisten = localhost\n", "text stands in quotes"),
        ("[server\n", "conf/proxy.toml:1:"),
        ("a = 1\na = 2\n", "conf/proxy.toml:2:1"),
        ("= 1\n", "conf/proxy.toml:1:1"),
    ] {
        let all = complaints(text).join("\n");
        assert!(all.contains(want), "{want} in {all}");
    }
}

#[test]
fn a_config_without_routes_is_an_error() {
    for text in ["", BASE, "route = []\n"] {
        let all = complaints(text).join("\n");
        assert!(all.contains("there is no route"), "{all}");
    }
}

/// Lines below `[upstream.api]` and what is said about them.
#[test]
fn a_bad_upstream_is_refused() {
    for (lines, want) in [
        ("endpoints = []", "endpoints: is empty"),
        ("owner = \"x\"", "endpoints: is missing"),
        ("endpoints = [\"api.example\"]", "\"https://api.example\""),
        (
            "endpoints = [\"ftp://api.example\"]",
            "`ftp://` is not spoken",
        ),
        ("endpoints = [\"http://api.example?key=1\"]", "no query"),
        (
            "endpoints = [\"http://u:hunter2@api.example\"]",
            "use `credentials",
        ),
        (
            "endpoints = [\"http://api.example:99999\"]",
            "a port that is none",
        ),
        ("endpoints = [\"http://api.example:0\"]", "port"),
        (
            "endpoints = [\"http://a\", \"https://b\"]",
            "have one scheme",
        ),
        (
            "endpoints = [\"http://a\", \"http://a/\"]",
            "the same endpoint again",
        ),
        (
            "endpoints = [\"http://a\", { url = \"http://a\", priority = 1 }]",
            "the same endpoint again",
        ),
        ("endpoints = [{ priority = 1 }]", "url: is missing"),
        (
            "endpoints = [{ url = \"http://a\", priority = 101 }]",
            "101 is not between 0 and 100",
        ),
        (
            "endpoints = [{ url = \"http://a\", weight = 1 }]",
            "unknown key",
        ),
        ("endpoints = [7]", "endpoints[0]"),
        (
            "ejection = { eject_for = \"1m\" }",
            "longer than `eject_for_max`",
        ),
        (
            "ejection = { percent_max = 0 }",
            "0 is not between 1 and 100",
        ),
        ("health = { every = \"1s\" }", "path: is missing"),
        ("health = { path = \"health\" }", "`health` is not a path"),
        (
            "health = { path = \"/\", expect = [99] }",
            "99 is not between 200 and 599",
        ),
        (
            "health = { path = \"/\", body_contains = \"okay\", body_max = \"3 B\" }",
            "never found",
        ),
        ("dns_refresh = \"0s\"", "longer than zero"),
        (
            "retry = { backoff_min = \"2s\" }",
            "longer than `backoff_max`",
        ),
        (
            "retry = { backoff_max = \"1ms\" }",
            "shorter than `backoff_min`",
        ),
        ("retry = { budget_window = \"0s\" }", "longer than zero"),
        (
            "retry = { idempotency_header = \"a b\" }",
            "is not a field name",
        ),
        (
            "retry = { idempotency_header = \"Content-Length\" }",
            "belongs to the connection",
        ),
        (
            "breaker = { open_for = \"1m\", open_for_max = \"10s\" }",
            "longer than `open_for_max`",
        ),
        (
            "breaker = { failure_percent = 101 }",
            "101 is not between 1 and 100",
        ),
        ("breaker = { window = \"0s\" }", "longer than zero"),
        (
            "breaker = { open_for_max_after = \"0s\" }",
            "longer than zero",
        ),
        (
            "breaker = { probe_success_percent = 0 }",
            "0 is not between 1 and 100",
        ),
        ("breaker = { probe_calls = 0 }", "0 is not between 1"),
        ("in_flight_max = 0", "0 is not between 1"),
        ("adaptive = { algorithm = \"pid\" }", "`pid` is not one of"),
        (
            "adaptive = { in_flight_min = 65 }",
            "is more than `in_flight_max` (64)",
        ),
        ("adaptive = true", "expected a table"),
        (
            "adaptive = { backoff_percent = 100 }",
            "100 is not between 10 and 99",
        ),
        ("quota = \"fast\"", "`fast` is not a rate"),
        ("quota = 100", "a rate needs a time"),
        ("quota = \"0 / minute\"", "would let nothing through"),
        ("quota = \"5 / fortnight\"", "is not a rate"),
        ("quota = \"5 / 32d\"", "over more than 31 days"),
        ("quota = { burst = 5 }", "is missing"),
        (
            "quota = { rate = \"5 / second\", burst = 6 }",
            "is more than the rate has (5)",
        ),
        ("shares = { sync = 70 }", "is more than `webhook` (60)"),
        (
            "shares = { user_revalidate = 50 }",
            "is less than `webhook` (60)",
        ),
        ("shares = { webhook = 0 }", "0 is not between 1 and 100"),
        ("failures = [\"6xx\"]", "not a class of statuses"),
        ("failures = [42]", "42 is not between 200 and 599"),
        ("protocol = \"http3\"", "`http3` is not one of"),
        ("host = \"a b\"", "is not a host"),
        ("ca_file = \"missing.pem\"", "cannot read conf/missing.pem"),
        ("ca_file = \"not.pem\"", "no certificate in PEM form"),
        (
            "credentials = { header = \"Host\", value = { env = \"TOKEN\" } }",
            "set `host`",
        ),
        (
            "credentials = { header = \"X-A\", value = \"hunter2\" }",
            "never written into the config",
        ),
        (
            "credentials = { header = \"X-A\", value = { env = \"NOPE\" } }",
            "`NOPE` is not set",
        ),
        (
            "credentials = { header = \"X-A\", value = { env = \"EMPTY\" } }",
            "is empty",
        ),
        (
            "credentials = { header = \"X-A\", value = { env = \"BROKEN\" } }",
            "stray newline",
        ),
        (
            "credentials = { header = \"X-A\", value = { file = \"nope\" } }",
            "cannot read conf/nope",
        ),
        (
            "credentials = { header = \"X-A\", value = { value = \"hunter2\" } }",
            "unknown source",
        ),
        (
            "credentials = { header = \"X-A\", value = { env = \"TOKEN\", file = \"x\" } }",
            "exactly one",
        ),
        ("credentials = { header = \"X-A\" }", "value: is missing"),
    ] {
        let endpoints = match lines.contains("endpoints") || lines.contains("owner") {
            true => "",
            false => "endpoints = [\"http://a\"]\n",
        };
        let text = format!("[upstream.api]\n{endpoints}{lines}\n{ROUTE}");
        let errors = parse(&text, Path::new(PATH), &env()).expect_err(lines);
        let report = errors.render(false);
        let said: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert!(
            said.iter().any(|line| line.contains(want)),
            "{lines}: {said:?}"
        );
        assert!(!report.contains("hunter2"), "a secret is quoted:\n{report}");
    }
}

/// Lines of a route and what is said about them.
#[test]
fn a_bad_route_is_refused() {
    for (lines, want) in [
        ("path = \"prices\"", "a path starts with `/`"),
        ("path = \"/{a\"", "takes a whole segment"),
        ("path = \"/{*a}/b\"", "has to come last"),
        ("path = \"/{a}/{a}\"", "appears twice"),
        ("host = \"shop.example:80\"", "has a port"),
        ("host = \"shop..example\"", "is not a host"),
        ("host = \"*\"", "is not a host"),
        ("methods = [\"get\"]", "write \"GET\""),
        ("methods = [\"TRACE\"]", "never passed on"),
        ("methods = [\"G T\"]", "is not a method"),
        ("methods = []", "is empty"),
        ("deadline = \"0s\"", "longer than zero"),
        ("deadline_header = \"a b\"", "is not a field name"),
        ("deadline_header = \"TE\"", "belongs to the connection"),
        (
            "hedge = { percentile = 100 }",
            "100 is not between 50 and 99",
        ),
        ("hedge = { samples_max = 10 }", "more than `samples_max`"),
        ("hedge = { window = \"0s\" }", "longer than zero"),
        ("slow_after = \"0s\"", "longer than zero"),
        (
            "breaker = { open_for = \"1m\", open_for_max = \"10s\" }",
            "longer than `open_for_max`",
        ),
        (
            "breaker = { probe = 3 }",
            "unknown key; did you mean `probes`",
        ),
        ("breaker = true", "route.#1.breaker"),
        (
            "rewrite = \"/{b}\"",
            "no parameter `b`; parameters of the path: `rest`",
        ),
        ("strip_prefix = \"/api\"", "not a whole leading part"),
        (
            "strip_prefix = \"/api\"\nrewrite = \"/\"",
            "cannot both be set",
        ),
        ("key = { query = \"none\" }", "neither \"all\" nor a list"),
        ("key = { query = {} }", "says nothing about parameters"),
        ("key = { query = { drop = [\"a\"] } }", "unknown key"),
        (
            "key = { query = { ignore = [\"a*b\"] } }",
            "a star can only be last",
        ),
        ("key = { cookies = [\"a b\"] }", "is not a cookie's name"),
        (
            "key = { cookies = [\"a\"], headers = [\"Cookie\"] }",
            "`cookies` picks from it",
        ),
        ("key = { headers = [\"a b\"] }", "is not a field name"),
        (
            "request_headers = { set = { Host = \"a\" } }",
            "`host` cannot be changed",
        ),
        (
            "request_headers = { remove = [\"Connection\"] }",
            "belongs to the connection",
        ),
        (
            "response_headers = { add = { Content-Length = \"1\" } }",
            "belongs to the connection",
        ),
        (
            "request_headers = { set = { Authorization = \"hunter2\" } }",
            "never written",
        ),
        (
            "request_headers = { set = { X-A = \"a\\nb\" } }",
            "cannot stand in a header field",
        ),
        (
            "fallback = { status = 100, body = \"price.json\" }",
            "100 is not between",
        ),
        (
            "fallback = { body = \"nope.json\" }",
            "cannot read conf/nope.json",
        ),
        ("fallback = { status = 200 }", "body: is missing"),
        ("sibling = \"prices\"", "a path starts with `/`"),
        ("sibling = \"/{sku}\"", "the path has no parameter `sku`"),
        (
            "sibling = \"/a?b={sku}\"",
            "the path has no parameter `sku`",
        ),
        ("sibling = \"/a?b=%{rest\"", "come in pairs"),
        (
            "path = \"/a/{b}\"\nsibling = \"/c/{b}\"",
            "no route takes a GET of `/c/{b}`",
        ),
        (
            "path = \"/a/{b}\"\nmethods = [\"POST\"]\nsibling = \"/a/{b}\"",
            "no route takes a GET",
        ),
        (
            "path = \"/a/{b}\"\nsibling = \"/c\"\n[[route]]\nupstream = \"api\"\npath = \"/c\"\nrequest_headers.remove = [\"Cookie\"]",
            "changes other fields of a request",
        ),
        ("drill_percent = 101", "101 is not between"),
        ("drill_percent = \"10%\"", "whole number"),
        ("message = \"\"", "is empty"),
        ("whole_bytes_max = 1", "write \"1 B\""),
    ] {
        let path = if lines.contains("path =") {
            ""
        } else {
            "path = \"/{*rest}\"\n"
        };
        let text = format!("{BASE}[[route]]\nupstream = \"api\"\n{path}{lines}\n");
        let errors = parse(&text, Path::new(PATH), &env()).expect_err(lines);
        let said: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert!(
            said.iter().any(|line| line.contains(want)),
            "{lines}: {said:?}"
        );
        assert!(!errors.render(false).contains("hunter2"), "{lines}");
    }
}

#[test]
fn a_bad_process_is_refused() {
    for (lines, want) in [
        (
            "[server]\nlisten = \"127.0.0.1:9090\"",
            "the same address as admin.listen",
        ),
        (
            "[server]\nlisten = \"0.0.0.0:9090\"",
            "the same address as admin.listen",
        ),
        (
            "[server]\nheader_bytes_max = \"1 KiB\"",
            "not between 8 KiB",
        ),
        ("[server]\nworkers = 0", "0 is not between 1"),
        (
            "[admin]\nlisten = \"0.0.0.0:9090\"",
            "no token is asked for",
        ),
        ("[admin]\ntoken = \"hunter2\"", "never written"),
        ("[store]\nmemory = \"0\"", "more than zero"),
        ("[log]\nlevel = \"loud=high\"", "is not a filter"),
        ("[log]\nformat = \"jsn\"", "did you mean \"json\"?"),
        ("[dev]\nupstream = \"ap\"", "did you mean \"api\"?"),
        (
            "[policy.a]\nfresh_min = \"2s\"\nfresh_max = \"1s\"",
            "longer than `fresh_max`",
        ),
        (
            "[policy.a]\nspread_percent = 51",
            "51 is not between 0 and 50",
        ),
        ("[policy]\nfresh = \"1s\"", "`[policy.NAME]` is expected"),
    ] {
        let text = format!("{BASE}{lines}\n{ROUTE}");
        let said = complaints(&text);
        assert!(
            said.iter().any(|line| line.contains(want)),
            "{lines}: {said:?}"
        );
    }
}

#[test]
fn routes_that_match_equally_are_refused_with_both_lines() {
    let route = |name: &str, more: &str| {
        format!("[[route]]\nname = \"{name}\"\nupstream = \"api\"\n{more}\n")
    };
    for (a, b, is_refused) in [
        ("path = \"/p/{a}\"", "path = \"/p/{b}\"", true),
        ("path = \"/p/{a}\"", "path = \"/p/{*b}\"", false),
        (
            "path = \"/p\"\nhost = \"a.b\"",
            "path = \"/p\"\nhost = [\"c.d\", \"A.b.\"]",
            true,
        ),
        (
            "path = \"/p\"\nhost = \"a.b\"",
            "path = \"/p\"\nhost = \"*.b\"",
            false,
        ),
        (
            "path = \"/p\"\nmethods = [\"GET\"]",
            "path = \"/p\"\nmethods = [\"POST\"]",
            false,
        ),
        (
            "path = \"/p\"\nmethods = [\"GET\"]",
            "path = \"/p\"\nmethods = [\"HEAD\"]",
            true,
        ),
        ("path = \"/p\"\nmethods = [\"GET\"]", "path = \"/p\"", false),
        ("path = \"/%7ep\"", "path = \"/~p\"", true),
    ] {
        let text = format!("{BASE}{}{}", route("one", a), route("two", b));
        let outcome = parse(&text, Path::new(PATH), &env());
        assert_eq!(outcome.is_err(), is_refused, "{a} | {b}");
        if let Err(errors) = outcome {
            let report = errors.render(false);
            assert!(
                report.contains("route.two: matches the same requests as `one`"),
                "{report}"
            );
            assert!(report.contains("path of `one`"), "{report}");
        }
    }
}

#[test]
fn two_routes_of_one_name_are_refused() {
    let said = complaints(&format!(
        "{BASE}{ROUTE}methods = [\"GET\"]\n{ROUTE}methods = [\"PUT\"]\n"
    ));
    assert!(
        said[0].contains("two routes are called `/{*rest}`"),
        "{said:?}"
    );
}

#[test]
fn what_is_hardly_meant_is_a_warning_only() {
    let config = parsed(&format!(
        "upstream.spare.endpoints = [\"http://b\"]\npolicy.spare = {{}}\n{BASE}{ROUTE}attempt_timeout = \"11s\"\n"
    ));
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    for want in [
        "upstream.spare: no route leads to this upstream",
        "policy.spare: no route uses this policy",
        "longer than the route's `deadline`",
    ] {
        let is_said = |warning: &String| warning.contains(want);
        assert!(warnings.iter().any(is_said), "{want}: {warnings:?}");
    }
    assert_eq!(warnings.len(), 3);
}

#[test]
fn a_word_in_a_document_that_is_nearly_a_parameter_is_a_warning() {
    for (name, document, content_type, want) in [
        (
            "a parameter",
            "{\"sku\":\"{sku}\"}",
            "application/json",
            None,
        ),
        (
            "other braces",
            "{\"a\":{},\"b\":\"{count} {}\"}",
            "application/json",
            None,
        ),
        (
            "a slip",
            "{\"a\":\"{skv}\"}",
            "application/json",
            Some("did you mean `{sku}`?"),
        ),
        (
            "another case",
            "{\"a\":\"{SKU}\"}",
            "application/json",
            Some("did you mean `{sku}`?"),
        ),
        (
            "a type that has none",
            "a{sku}",
            "application/octet-stream",
            Some("documents of this type have no parameters"),
        ),
    ] {
        let mut env = env();
        env.files.insert("conf/f".into(), document.into());
        let text = format!(
            "{BASE}[[route]]\nupstream = \"api\"\npath = \"/p/{{sku}}\"\nfallback = {{ body = \"f\", content_type = \"{content_type}\" }}\n"
        );
        let config = parse(&text, Path::new(PATH), &env).unwrap_or_else(|e| panic!("{e}"));
        let warnings: Vec<_> = config.warnings.iter().map(|it| format!("{it:?}")).collect();
        match want {
            Some(want) => assert!(
                warnings.iter().any(|it| it.contains(want)),
                "{name}: {warnings:?}"
            ),
            None => assert!(warnings.is_empty(), "{name}: {warnings:?}"),
        }
    }
}

#[test]
fn who_gives_an_attempt_more_time_is_told_that_a_stored_copy_keeps_it_short() {
    for (lines, want) in [
        ("attempt_timeout = \"8s\"", true),
        (
            "attempt_timeout = \"8s\"\nattempt_timeout_stale = \"8s\"",
            false,
        ),
        ("attempt_timeout = \"2s\"", false),
        ("", false),
    ] {
        let config = parsed(&format!(
            "[upstream.a]\nendpoints = [\"http://a\"]\n{lines}\n[[route]]\npath = \"/x\"\nupstream = \"a\"\n"
        ));
        let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
        let is_said = |warning: &String| warning.contains("`attempt_timeout_stale` (2s)");
        assert_eq!(warnings.iter().any(is_said), want, "{lines}: {warnings:?}");
    }
}

#[test]
fn wrong_types_everywhere_are_complaints_not_panics() {
    for table in keys::TABLES {
        for key in table.keys {
            for value in [
                "1",
                "-1.5",
                "true",
                "\"\"",
                "\"\\u0000\"",
                "[]",
                "[[]]",
                "{}",
                "{ a = {} }",
                "1979-05-27",
            ] {
                let heading = match table.heading {
                    "proxy.toml" => String::new(),
                    "[upstream.NAME]" => "[upstream.a]\n".to_owned(),
                    "[policy.NAME]" => "[policy.a]\n".to_owned(),
                    heading if heading.starts_with('[') => format!("{heading}\n"),
                    heading if heading.starts_with("key") => "[route.key]\n".to_owned(),
                    heading if heading.starts_with("request_headers") => {
                        "[route.request_headers]\n".to_owned()
                    }
                    heading if heading.starts_with("fallback") => "[route.fallback]\n".to_owned(),
                    heading => format!("[upstream.a.{}]\n", heading.split(' ').next().unwrap()),
                };
                let text = format!("{heading}{} = {value}\n", key.name);
                let outcome = parse(&text, Path::new(PATH), &env());
                assert!(outcome.is_err(), "{text}");
            }
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[\\[\\]a-z.=\"'{} \n0-9\u{e4}\\\\*/-]{0,80}") {
        if let Err(errors) = parse(&text, Path::new(PATH), &env()) {
            proptest::prop_assert!(!errors.render(false).is_empty());
        }
    }
}

#[test]
fn tables_and_keys_know_their_lines() {
    let config = parsed(
        "\
upstream.api.endpoints = [\"http://127.0.0.1:9100\"]
[policy.p]
fresh = \"1s\"
negative = { \"404\" = \"1s\" }

[[route]]
path = \"/a\"
upstream = \"api\"
policy = \"p\"
key.query = [\"a\"]

[[route]]
path = \"/b\"
upstream = \"api\"
",
    );
    let (first, second) = (&config.routes[0], &config.routes[1]);
    let at = |line: usize| Some(format!("{PATH}:{line}"));
    for (name, got, want) in [
        ("a policy", first.policy.written.table(), at(2)),
        ("its key", first.policy.written.key("fresh"), at(3)),
        (
            "a key below",
            first.policy.written.key("negative.404"),
            at(4),
        ),
        (
            "what is not written",
            first.policy.written.key("early"),
            None,
        ),
        ("a route", first.written.table(), at(6)),
        ("its policy", first.written.key("policy"), at(9)),
        ("a dotted key", first.written.key("key.query"), at(10)),
        ("the next route", second.written.table(), at(12)),
        ("the built-in policy", second.policy.written.table(), None),
    ] {
        assert_eq!(got, want, "{name}");
    }
}

#[test]
fn upgrades_and_trusted_proxies_are_checked_when_the_file_is_read() {
    let route = |line: &str| format!("{BASE}{ROUTE}{line}\n");
    for (name, text, want) in [
        (
            "HTTP in a tunnel would pass every rule",
            route("upgrade = [\"h2c\"]"),
            "would carry further requests past every rule",
        ),
        (
            "not a token",
            route("upgrade = [\"web socket\"]"),
            "is not a protocol",
        ),
        (
            "HTTP/2 has no upgrade",
            format!("{BASE}upstream.api.protocol = \"http2\"\n{ROUTE}upgrade = [\"websocket\"]\n"),
            "needs an upstream that speaks HTTP/1.1",
        ),
        (
            "a name is no network",
            format!("{BASE}server.trusted_proxies = [\"edge.example\"]\n{ROUTE}"),
            "is neither an IP address nor a network",
        ),
        (
            "bits that do not count",
            format!("{BASE}server.trusted_proxies = [\"10.1.2.3/8\"]\n{ROUTE}"),
            "has address bits beyond its prefix",
        ),
    ] {
        let complaints = complaints(&text);
        assert!(
            complaints.iter().any(|it| it.contains(want)),
            "{name}: {complaints:?}"
        );
    }
    let config = parsed(&format!(
        "{BASE}server.trusted_proxies = [\"10.0.0.0/8\", \"::1\"]\n{ROUTE}upgrade = [\"websocket\", \"irc/6.9\"]\nforwarded = \"keep\"\n"
    ));
    assert_eq!(config.server.trusted_proxies.len(), 2);
    assert_eq!(
        config.routes[0].upgrade,
        ["websocket".into(), "irc/6.9".into()]
    );
    assert_eq!(config.routes[0].forwarded, ForwardedPolicy::Keep);
    assert_eq!(
        config.routes[0].upgrade_idle_timeout,
        Duration::from_secs(3600)
    );
}

#[test]
fn rates_come_with_a_burst() {
    let limit = |count, per_secs, burst| {
        let per = Duration::from_secs(per_secs);
        Some(RateLimit {
            rate: Rate { count, per },
            burst,
        })
    };
    let config = parsed(&format!(
        "server = {{ connections_max = 10, client_rate = \"100 / minute\" }}\n{BASE}{ROUTE}rate = \"5/s\"\nburst = 20\n"
    ));
    assert_eq!(config.server.requests_max, 8);
    assert_eq!(config.server.client_rate, limit(100, 60, 100));
    assert_eq!(config.routes[0].rate, limit(5, 1, 20));

    let config = parsed(&format!("{BASE}{ROUTE}burst = 20\n"));
    assert_eq!(config.routes[0].rate, None);
    let warning = config.warnings[0].to_string();
    assert!(
        warning.contains("changes nothing without `rate`"),
        "{warning}"
    );

    let complaints = complaints(&format!(
        "server.client_rate = 5\n{BASE}{ROUTE}rate = \"5\"\n"
    ));
    assert_eq!(complaints.len(), 2, "{complaints:?}");
    assert!(
        complaints[0].contains("server.client_rate"),
        "{complaints:?}"
    );
    assert!(complaints[1].contains("rate"), "{complaints:?}");
}

#[test]
fn a_long_first_rest_alone_is_the_longest_too() {
    let text =
        "[upstream.api]\nendpoints = [\"http://127.0.0.1:9100\"]\nbreaker.open_for = \"1m\"\n";
    let breaker = parsed(&format!("{text}{ROUTE}")).upstreams[0].breaker;
    assert_eq!(breaker.open_for_max, Duration::from_secs(60));
}

#[test]
fn a_latency_budget_is_the_routes_or_its_breakers_or_the_upstreams() {
    for (name, lines, want_millis) in [
        ("the upstream's", "", 4_000),
        ("its breaker says nothing of it", "breaker = {}", 4_000),
        ("its breaker's", "breaker = { slow_after = \"3s\" }", 3_000),
        (
            "its own",
            "slow_after = \"500ms\"\nbreaker = { probes = 2 }",
            500,
        ),
    ] {
        let text = format!(
            "[upstream.api]\nendpoints = [\"http://127.0.0.1:9100\"]\nbreaker.slow_after = \"4s\"\n\
             [[route]]\npath = \"/\"\nupstream = \"api\"\n{lines}\n"
        );
        let config = parsed(&text);
        let route = &config.routes[0];
        assert_eq!(route.slow_after.as_millis(), want_millis, "{name}");
        assert_eq!(route.breaker.is_some(), lines.contains("breaker"), "{name}");
        assert!(config.warnings.is_empty(), "{name}");
    }
    let both = parsed(&format!(
        "{BASE}{ROUTE}slow_after = \"1s\"\nbreaker = {{ slow_after = \"3s\" }}\n"
    ));
    assert_eq!(both.routes[0].slow_after, Duration::from_secs(1));
    let warned = format!("{:?}", both.warnings);
    assert!(warned.contains("has no effect beside"), "{warned}");
}
