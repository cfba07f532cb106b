//! What a page takes from a config.

use std::path::Path;

use super::*;
use crate::config::{self, FixedEnv};

fn pages_of(text: &str) -> Vec<Page> {
    let mut env = FixedEnv::default();
    env.vars.insert("TOKEN".to_owned(), "hunter2".to_owned());
    env.files.insert("price.json".into(), b"{}".to_vec());
    let config = config::parse(text, Path::new("proxy.toml"), &env);
    let config = config.unwrap_or_else(|errors| panic!("{errors}"));
    pages(&config, &text.parse().unwrap(), &|_| None)
}

const EXAMPLE: &str = r#"
[upstream.pricing]
endpoints = ["https://a.example/api", { url = "https://b.example/api", priority = 1 }]
owner = "Desk"
runbook = "docs/pricing.md"
review_by = 2099-01-31
credentials = { header = "Authorization", prefix = "Bearer ", value = { env = "TOKEN" } }
quota = "100 / minute"
health.path = "/health"
api_version = { header = "X-Api-Version", value = "2024-10-01" }
[policy.live]
fresh = "30s"
override = true
[policy.never]
max_stale = "0s"
stale_while_revalidate = "0s"
negative = { "404" = "30s", "5xx" = "2s" }
[[route]]
name = "prices"
path = "/prices/{sku}"
methods = ["GET"]
host = "shop.example"
upstream = "pricing"
policy = "live"
rewrite = "/v2/{sku}"
sibling = "/prices/{sku}?currency=EUR"
fallback = { body = "price.json" }
request_headers.remove = ["Cookie"]
drill_percent = 1
[[route]]
name = "orders"
path = "/shop/orders"
methods = ["POST"]
upstream = "pricing"
policy = "never"
strip_prefix = "/shop"
message = "Please try again."
[[route]]
name = "stock"
path = "/stock"
upstream = "pricing"
policy = "never"
api_version = { path = "api" }
breaker = { consecutive_failures = 3 }
"#;

#[test]
fn a_page_has_what_the_config_says_and_no_secret() {
    let pages = pages_of(EXAMPLE);
    let page = &pages[0];
    let shown = format!("{page:#?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    for want in [
        "https://a.example/api",
        "environment variable `TOKEN`",
        "2099-01-31",
        "Version `2024-10-01` is pinned, sent as `x-api-version`; its answers say theirs in `x-api-version`.",
        "At most 100 requests in 1m, 10 of them at once",
        "asked for `/health` every 5s",
        "These statuses are failures: 429, 5xx.",
        "It is left alone after 5 failures in a row, or when 50 % of at least 10 calls within 30s failed",
        "tried again up to 2 times where nothing is stored, once where a copy stands behind",
    ] {
        assert!(shown.contains(want), "{want} in {shown}");
    }
    let [prices, orders, stock] = &page.routes[..] else {
        panic!("three routes");
    };
    assert_eq!(prices.asked, "GET HEAD shop.example/prices/{sku}");
    assert_eq!(prices.sent, "/v2/{sku}");
    assert_eq!(prices.sends, ["Not sent on: `cookie`."]);
    assert_eq!(
        prices.promise,
        [
            "Fresh for 30s, whatever the vendor says (policy `live`).",
            "For 1m after that visitors get it at once while it is renewed behind.",
            "Then the vendor is asked first, and visitors wait at most 300ms while a copy is at hand.",
            "In an outage a copy is served for 24h after it was no longer fresh.",
            "Without a copy visitors wait at most 10s.",
            "An outage is rehearsed on 1 % of the requests for a stale copy.",
        ]
    );
    assert_eq!(
        prices.ladder,
        [
            "the last good answer, up to 24h after it was fresh",
            "what is stored for `/prices/{sku}?currency=EUR`",
            "a document of this site (200, application/json)",
        ]
    );
    assert_eq!(orders.sent, "/orders");
    assert_eq!(
        orders.promise,
        ["Writes are passed on, and nothing is stored."]
    );
    assert_eq!(
        orders.ladder,
        [
            "the vendor's own error, if it sent one",
            "an error page (502, 503 or 504) that says: Please try again.",
        ]
    );
    let promise = stock.promise.join("\n");
    for want in [
        "In an outage nothing stale is served.",
        "An error 404 is answered from the store for 30s.",
        "An error 5xx is answered from the store for 2s.",
    ] {
        assert!(promise.contains(want), "{want} in {promise}");
    }
    assert_eq!(
        stock.version.as_deref(),
        Some("Version `api` is pinned, a segment of its paths.")
    );
    assert!(stock.sends[0].starts_with("By this route it is left alone after 3 failures"));
    assert!(prices.version.is_none(), "the upstream's own");
}

#[test]
fn pages_have_names_that_every_file_system_takes() {
    let mut taken = HashSet::from(["readme.md".to_owned()]);
    for (name, want) in [
        ("pricing", "pricing.md"),
        ("README", "README-2.md"),
        ("Pricing", "Pricing-2.md"),
        ("..", "_..md"),
        (".hidden", "_hidden.md"),
        ("a.b-c_d", "a.b-c_d.md"),
    ] {
        assert_eq!(file_name(name, &mut taken), want, "{name}");
    }
}
