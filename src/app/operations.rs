//! What operators do to a running proxy, or ask it: orders from the admin API become purges, questions explanations.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use serde_json::{Value, json};

use super::{
    breakers,
    report::{Report, breaker_state},
};
use crate::{
    admin::{
        BreakerOrder, BreakerStatus, ContractReport, ContractStatus, DriftAccept, ExplainQuestion,
        Explaining, Operations, PurgeDone, PurgeMode, PurgeOrder, PurgeRefused, Purging,
        ReloadDone, Reloading,
    },
    cache::{self, Explained, LABEL_BYTES_MAX, Mode, What},
    config::{Config, RouteConfig},
    front::Question,
    http::uri::{normalize_path, normalize_query},
    route::{Match, RoutePattern, RouteTable},
};

/// Methods whose answers can be stored.
const STORED_METHODS: [&str; 4] = ["GET", "HEAD", "POST", "QUERY"];

impl Operations for Report {
    fn purge(&self, orders: Vec<PurgeOrder>) -> Purging<'_> {
        Box::pin(async move {
            let config = self.config();
            let resolver = Resolver::new(&config);
            let resolved: Result<Vec<Resolved>, PurgeRefused> = orders
                .iter()
                .map(|order| resolver.resolve(order).map_err(PurgeRefused::Unclear))
                .collect();
            let resolved = resolved?;
            let purges = resolved
                .iter()
                .flat_map(|resolved| {
                    resolved
                        .whats
                        .iter()
                        .cloned()
                        .map(|what| (what, resolved.mode))
                })
                .collect();
            let issued = self.cache.purges().issue(purges);
            let mut numbers = issued.purges.iter().map(|purge| purge.number);
            let mut done = Vec::with_capacity(resolved.len());
            for resolved in &resolved {
                let number = numbers.by_ref().take(resolved.whats.len()).max();
                done.push(PurgeDone {
                    number: number.unwrap_or_default(),
                    mode: shown_mode(resolved.mode),
                    what: resolved.shown.clone(),
                });
            }
            drop(numbers);
            for (route, uri, headers) in resolved.iter().flat_map(|resolved| &resolved.remove) {
                self.cache.remove(route, uri, headers).await;
            }
            match issued.durable(config.store.stall_after).await {
                Ok(_) => Ok(done),
                Err(why) => Err(PurgeRefused::Undurable(format!(
                    "purged, but a restart would forget it: {why}; look at the disk of store.path, then purge again"
                ))),
            }
        })
    }

    fn explain(&self, question: ExplainQuestion) -> Explaining<'_> {
        Box::pin(async move {
            let question = Question::parse(&question.url, &question.method, &question.fields)?;
            let mut explained = self.front.explain(question).await;
            if let Explained::Routed(explanation) = &mut explained {
                let route = &mut explanation.route;
                let mut upstreams = self.upstreams.iter();
                let upstream =
                    upstreams.find(|upstream| *upstream.config().name == *route.upstream);
                route.breaker = upstream.map(|upstream| {
                    let phase = breakers::worst_of(upstream, &route.name);
                    breaker_state(phase).as_str().to_owned()
                });
            }
            // What is serialised is owned text and numbers: there is no way to fail.
            Ok(serde_json::to_value(explained).unwrap_or_default())
        })
    }

    fn purges(&self, limit: usize) -> Vec<PurgeDone> {
        let purges = self.cache.purges().recent(limit).into_iter();
        let done = purges.map(|purge| PurgeDone {
            number: purge.number,
            mode: shown_mode(purge.mode),
            what: shown(&purge.what),
        });
        done.collect()
    }

    fn reload(self: Arc<Self>) -> Reloading {
        Box::pin(async move {
            let reloading = tokio::task::spawn_blocking(move || self.reload_now());
            match reloading.await {
                Ok(Ok(done)) => Ok(ReloadDone {
                    routes: done.routes,
                    warnings: done.warnings,
                }),
                Ok(Err(why)) => Err(why.to_string()),
                Err(_) => Err(
                    "reloading failed in a defect of larder; the old configuration goes on"
                        .to_owned(),
                ),
            }
        })
    }

    fn breakers(&self) -> Vec<BreakerStatus> {
        self.list_breakers()
    }

    fn move_breaker(&self, order: BreakerOrder) -> Result<BreakerStatus, String> {
        self.order_breaker(&order)
    }

    fn contracts(&self) -> Vec<ContractStatus> {
        self.list_contracts()
    }

    fn contract(&self, route: &str) -> Option<ContractReport> {
        self.report_contract(route)
    }

    fn accept_dataset(&self, name: &str) -> bool {
        self.contracts.datasets().accept(name)
    }

    fn drift(&self) -> Value {
        self.list_drift()
    }

    fn drift_of(&self, route: &str) -> Result<Value, String> {
        self.show_drift(route)
    }

    fn accept_drift(&self, route: &str, order: DriftAccept) -> Result<Value, String> {
        self.take_drift(route, order)
    }
}

/// What an order comes to.
#[derive(Debug)]
struct Resolved {
    mode: Mode,
    whats: Vec<What>,
    shown: Value,
    /// What to remove at once.
    remove: Vec<(Arc<RouteConfig>, Uri, HeaderMap)>,
}

struct Resolver<'c> {
    config: &'c Config,
    table: RouteTable<Arc<RouteConfig>>,
}

impl<'c> Resolver<'c> {
    fn new(config: &'c Config) -> Self {
        let routes = config.routes.iter();
        Self {
            config,
            table: RouteTable::new(
                routes.map(|route| (RoutePattern::from(route), Arc::clone(route))),
            ),
        }
    }

    fn resolve(&self, order: &PurgeOrder) -> Result<Resolved, String> {
        let mode = match order.mode {
            PurgeMode::Soft => Mode::Soft,
            PurgeMode::Invalid => Mode::Invalid,
            PurgeMode::Hard => Mode::Hard,
        };
        let kinds = [
            ("tag", order.tag.is_some()),
            ("url", order.url.is_some()),
            ("prefix", order.prefix.is_some()),
            ("route", order.route.is_some()),
            ("group", order.group.is_some()),
            (
                "upstream",
                order.upstream.is_some() && order.group.is_none(),
            ),
            ("all", order.all),
        ];
        let named: Vec<&str> = kinds
            .iter()
            .filter_map(|(kind, is_named)| is_named.then_some(*kind))
            .collect();
        if named.len() != 1 {
            return Err(format!(
                "an order says exactly one of tag, url, prefix, route, group, upstream and all; this one says {}",
                if named.is_empty() {
                    "none".to_owned()
                } else {
                    named.join(" and ")
                }
            ));
        }
        if !order.headers.is_empty() && order.url.is_none() {
            return Err("`headers` go with `url` only".to_owned());
        }
        if let Some(url) = &order.url {
            return self.url(url, order, mode);
        }
        let what = if let Some(tag) = &order.tag {
            What::Tag(label("tag", tag)?)
        } else if let Some(prefix) = &order.prefix {
            prefix_of(prefix)?
        } else if let Some(route) = &order.route {
            self.known(
                "route",
                route,
                self.config.routes.iter().map(|route| &*route.name),
            )?;
            What::Route(route.as_str().into())
        } else if let Some(group) = &order.group {
            What::Group {
                upstream: self.upstream(order.upstream.as_deref())?.into(),
                group: label("group", group)?,
            }
        } else if let Some(upstream) = &order.upstream {
            What::Upstream(self.upstream(Some(upstream))?.into())
        } else {
            What::All
        };
        Ok(Resolved {
            mode,
            shown: shown(&what),
            whats: vec![what],
            remove: Vec::new(),
        })
    }

    fn upstream(&self, named: Option<&str>) -> Result<&'c str, String> {
        let upstreams = &self.config.upstreams;
        match (named, &upstreams[..]) {
            (None, [only]) => Ok(&only.name),
            (None, _) => Err(format!(
                "a group belongs to an upstream: say `upstream` too, one of {}",
                listed(upstreams.iter().map(|upstream| &*upstream.name))
            )),
            (Some(name), _) => self.known(
                "upstream",
                name,
                upstreams.iter().map(|upstream| &*upstream.name),
            ),
        }
    }

    fn known<'n>(
        &self,
        kind: &str,
        name: &str,
        mut known: impl Iterator<Item = &'n str> + Clone,
    ) -> Result<&'n str, String> {
        let all = listed(known.clone());
        let found = known.find(|known| *known == name);
        found.ok_or_else(|| format!("there is no {kind} named `{name}`; there are {all}"))
    }

    /// Every route that may have stored this URL, whatever the method.
    fn url(&self, text: &str, order: &PurgeOrder, mode: Mode) -> Result<Resolved, String> {
        let (host, uri) = target_of(text)?;
        let mut headers = HeaderMap::new();
        for (name, value) in &order.headers {
            let name = HeaderName::from_bytes(name.as_bytes());
            let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) else {
                return Err("`headers` has what is no field name or no field value".to_owned());
            };
            headers.append(name, value);
        }
        if let Some(host) = &host {
            let host = HeaderValue::from_str(host).map_err(|_| unclear_url(text))?;
            headers.insert(header::HOST, host);
        }
        let mut routes: Vec<Arc<RouteConfig>> = Vec::new();
        for method in STORED_METHODS {
            let method = Method::from_bytes(method.as_bytes()).unwrap_or_default();
            let found = self.table.find(host.as_deref(), uri.path(), &method);
            if let Match::Found { route, .. } = found
                && !routes.iter().any(|known| known.name == route.name)
            {
                routes.push(Arc::clone(route));
            }
        }
        if routes.is_empty() {
            return Err(format!(
                "no route leads to {text}; write the URL as a client asks for it, with its host where routes name hosts"
            ));
        }
        let mut resolved = Resolved {
            mode,
            whats: Vec::new(),
            shown: json!({
                "url": text,
                "routes": routes.iter().map(|route| &*route.name).collect::<Vec<_>>(),
            }),
            remove: Vec::new(),
        };
        for route in routes {
            // As the cache sees it.
            let mut headers = headers.clone();
            route.request_headers.apply(&mut headers);
            for what in cache::urls_of(&route, &uri, &headers) {
                if !resolved.whats.contains(&what) {
                    resolved.whats.push(what);
                }
            }
            if mode == Mode::Hard {
                resolved.remove.push((route, uri.clone(), headers));
            }
        }
        Ok(resolved)
    }
}

/// A tag or the name of a group, as responses may have it.
fn label(kind: &str, text: &str) -> Result<Box<str>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err(format!("`{kind}` is empty"));
    }
    if text.len() > LABEL_BYTES_MAX {
        return Err(format!(
            "`{kind}` is longer than {LABEL_BYTES_MAX} bytes, so no answer has it"
        ));
    }
    Ok(text.into())
}

fn unclear_url(text: &str) -> String {
    format!("`{text}` is no URL; write https://shop.example/prices/1, or /prices/1 for every host")
}

/// Host (in lower case) and target, in the form in which the front sees them.
fn target_of(text: &str) -> Result<(Option<String>, Uri), String> {
    let unclear = || unclear_url(text);
    let uri: Uri = text.trim().parse().map_err(|_| unclear())?;
    let host = uri
        .authority()
        .map(|host| host.as_str().to_ascii_lowercase());
    if host.is_none() && !text.trim().starts_with('/') {
        return Err(unclear());
    }
    let path = normalize_path(uri.path());
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.into_owned(),
    };
    Ok((host, target.parse().map_err(|_| unclear())?))
}

/// `/path`, `host/path` or a URL as a prefix.
fn prefix_of(text: &str) -> Result<What, String> {
    let text = text.trim();
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let (host, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    if host.is_empty() && !rest.starts_with('/') || host.contains(char::is_whitespace) {
        return Err(
            "`prefix` is a path (`/prices/`) or a host with a path (`shop.example/prices/`)"
                .to_owned(),
        );
    }
    let path = match path.split_once('?') {
        Some((path, query)) => format!("{}?{}", normalize_path(path), normalize_query(query)),
        None => normalize_path(path).into_owned(),
    };
    Ok(What::Prefix {
        host: (!host.is_empty()).then(|| cache::host_label(host)),
        path: path.into(),
    })
}

fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let quoted: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

fn shown_mode(mode: Mode) -> PurgeMode {
    match mode {
        Mode::Soft => PurgeMode::Soft,
        Mode::Invalid => PurgeMode::Invalid,
        Mode::Hard => PurgeMode::Hard,
    }
}

/// In the members of an order.
fn shown(what: &What) -> Value {
    let on = |host: &Option<Box<str>>, path: &str| {
        format!("{}{path}", host.as_deref().unwrap_or_default())
    };
    match what {
        What::All => json!({ "all": true }),
        What::Upstream(name) => json!({ "upstream": name }),
        What::Route(name) => json!({ "route": name }),
        What::Tag(tag) => json!({ "tag": tag }),
        What::Group { upstream, group } => json!({ "group": group, "upstream": upstream }),
        What::Url {
            upstream,
            host,
            target,
        } => json!({ "url": on(host, target), "upstream": upstream }),
        What::Prefix { host, path } => json!({ "prefix": on(host, path) }),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{self, FixedEnv};

    const CONFIG: &str = r#"
        [upstream.pricing]
        endpoints = ["http://127.0.0.1:1"]
        [upstream.booking]
        endpoints = ["http://127.0.0.1:1"]
        [[route]]
        name = "prices"
        path = "/prices/{sku}"
        methods = ["GET"]
        upstream = "pricing"
        key = { query = ["currency"] }
        [[route]]
        name = "writes"
        path = "/prices/{sku}"
        methods = ["POST"]
        upstream = "pricing"
        [[route]]
        name = "shop"
        host = "shop.example"
        path = "/{*rest}"
        upstream = "booking"
    "#;

    fn resolve(order: &str) -> Result<Vec<What>, String> {
        let config = config::parse(CONFIG, Path::new("t.toml"), &FixedEnv::default()).unwrap();
        let order = serde_json::from_str(order).unwrap();
        let resolved = Resolver::new(&config).resolve(&order)?;
        Ok(resolved.whats)
    }

    fn url(upstream: &str, host: Option<&str>, target: &str) -> What {
        What::Url {
            upstream: upstream.into(),
            host: host.map(Into::into),
            target: target.into(),
        }
    }

    fn prefix(host: Option<&str>, path: &str) -> What {
        What::Prefix {
            host: host.map(Into::into),
            path: path.into(),
        }
    }

    #[test]
    fn an_order_says_what_is_meant() {
        let shop = Some("shop.example");
        for (order, want) in [
            (r#"{"tag": " sku:1 "}"#, vec![What::Tag("sku:1".into())]),
            (r#"{"all": true}"#, vec![What::All]),
            (r#"{"route": "prices"}"#, vec![What::Route("prices".into())]),
            (
                r#"{"upstream": "booking"}"#,
                vec![What::Upstream("booking".into())],
            ),
            (r#"{"prefix": "/prices/"}"#, vec![prefix(None, "/prices/")]),
            (
                r#"{"prefix": "/%70rices?a=%70"}"#,
                vec![prefix(None, "/prices?a=p")],
            ),
            (
                r#"{"prefix": "Shop.example:80/a"}"#,
                vec![prefix(shop, "/a")],
            ),
            (
                r#"{"prefix": "https://shop.example"}"#,
                vec![prefix(shop, "/")],
            ),
            // As every route that may have stored it keys it.
            (
                r#"{"url": "/%70rices/1?b=2&currency=EUR"}"#,
                vec![
                    url("pricing", None, "/prices/1?currency=EUR"),
                    url("pricing", None, "/prices/1?b=2&currency=EUR"),
                ],
            ),
            (
                r#"{"url": "http://Shop.example:8080/x"}"#,
                vec![url("booking", shop, "/x")],
            ),
        ] {
            assert_eq!(resolve(order), Ok(want), "{order}");
        }
    }

    #[test]
    fn an_order_that_is_not_clear_is_told_what_to_write() {
        let long = format!(r#"{{"tag": "{}"}}"#, "x".repeat(LABEL_BYTES_MAX + 1));
        for (order, want) in [
            ("{}", "says none"),
            (r#"{"tag": "a", "all": true}"#, "tag and all"),
            (r#"{"tag": " "}"#, "is empty"),
            (&long, "longer than 256 bytes"),
            (r#"{"tag": "a", "headers": {"x": "y"}}"#, "with `url` only"),
            (
                r#"{"route": "price"}"#,
                "there are `prices`, `writes`, `shop`",
            ),
            (
                r#"{"group": "g"}"#,
                "say `upstream` too, one of `pricing`, `booking`",
            ),
            (
                r#"{"group": "g", "upstream": "x"}"#,
                "no upstream named `x`",
            ),
            (r#"{"url": "prices/1"}"#, "is no URL"),
            (r#"{"url": "/nothing"}"#, "no route leads to"),
            (
                r#"{"url": "/prices/1", "headers": {"a b": "c"}}"#,
                "no field name",
            ),
            (r#"{"prefix": ""}"#, "is a path"),
        ] {
            let told = resolve(order).unwrap_err();
            assert!(told.contains(want), "{order}: {told}");
        }
    }
}
