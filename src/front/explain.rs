//! Explaining a request from where it comes in: read as the listener reads it, routed as any other, then handed to its
//! route's cache to be explained. Nothing of it is counted or logged.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, Uri, Version, header, request::Parts};

use super::{Front, normalize};
use crate::{
    cache::{self, Explained, Refused},
    config::{Config, RouteConfig},
    http::{max_forwards::is_last_hop, upgrade},
    listener::Sanitizer,
    route::{Match, RoutePattern, RouteTable},
};

/// Routes named where none takes a request.
const NEAREST_MAX: usize = 3;
/// Below this likeness (0 to 1) a route is not worth naming.
const LIKENESS_MIN: f64 = 0.5;

/// A request to be explained.
#[derive(Clone, Debug)]
pub struct Question(Parts);

impl Question {
    /// From what an operator writes: `/prices/1` or `http://shop.example/prices/1`, a method, fields as `Name: value`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what to write.
    pub fn parse(url: &str, method: &str, fields: &[String]) -> Result<Self, String> {
        let mut parts = http::Request::new(()).into_parts().0;
        parts.method = Method::from_bytes(method.as_bytes())
            .map_err(|_| format!("`{method}` is no method; write GET"))?;
        for field in fields {
            let (name, value) = field_of(field)
                .ok_or_else(|| format!("`{field}` is no field; write it as 'Name: value'"))?;
            parts.headers.append(name, value);
        }
        let url = url.trim();
        let (target, _fragment) = url.split_once('#').unwrap_or((url, ""));
        let unclear = || {
            format!(
                "`{url}` is no URL; write http://shop.example/prices/1, or /prices/1 where the host does not matter"
            )
        };
        let uri: Uri = target.parse().map_err(|_| unclear())?;
        let named = uri.scheme().is_some() && uri.authority().is_some();
        if !named && !target.starts_with('/') {
            return Err(unclear());
        }
        if let Some(host) = uri.authority() {
            let host = HeaderValue::from_str(host.as_str()).map_err(|_| unclear())?;
            parts.headers.insert(header::HOST, host);
        }
        // Only HTTP/1.0 can do without a host.
        if !parts.headers.contains_key(header::HOST) {
            parts.version = Version::HTTP_10;
        }
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        parts.uri = target.parse().map_err(|_| unclear())?;
        Ok(Self(parts))
    }
}

fn field_of(text: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once(':')?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
    Some((name, HeaderValue::from_str(value.trim()).ok()?))
}

impl Front {
    /// What would happen to this request now, and why. Asks no upstream, changes nothing.
    pub async fn explain(&self, question: Question) -> Explained {
        let Question(mut parts) = question;
        let table = self.0.table.load_full();
        let routed = routed(&self.0.sanitizer, &table, &mut parts, |mounted| {
            &mounted.route
        });
        match routed {
            Ok(mounted) => Explained::Routed(Box::new(mounted.cache.explain(parts).await)),
            Err(refused) => Explained::Refused(refused),
        }
    }
}

/// What the config alone says of this request: its route, its key, where the route leaves the RFCs.
pub fn explain_by_config(config: &Config, question: Question) -> Explained {
    let Question(mut parts) = question;
    let routes = config.routes.iter();
    let table = RouteTable::new(routes.map(|route| (RoutePattern::from(route), Arc::clone(route))));
    let sanitizer = Sanitizer::new(&config.server);
    match routed(&sanitizer, &table, &mut parts, |route| route) {
        Ok(route) => Explained::Routed(Box::new(cache::unasked(route, &parts))),
        Err(refused) => Explained::Refused(refused),
    }
}

/// The way of a request to its route, as `Front::answer` goes it.
fn routed<'t, T>(
    sanitizer: &Sanitizer,
    table: &'t RouteTable<T>,
    parts: &mut Parts,
    config_of: impl Fn(&T) -> &RouteConfig,
) -> Result<&'t T, Refused> {
    let refused = |parts: &Parts, status, why: &str| Refused {
        request: cache::asked(parts),
        status,
        why: why.to_owned(),
        allow: Vec::new(),
        nearest: Vec::new(),
    };
    let sanitized = sanitizer
        .sanitize(parts)
        .map_err(|refusal| refused(parts, refusal.status.as_u16(), refusal.detail))?;
    normalize(parts);
    let host = Some(sanitized.host_name()).filter(|host| !host.is_empty());
    let route = match table.find(host, parts.uri.path(), &parts.method) {
        Match::Found { route, .. } => route,
        Match::MethodNotAllowed { allow } => {
            return Err(Refused {
                allow: allow.iter().map(Method::to_string).collect(),
                ..refused(parts, 405, "no route takes this method here")
            });
        }
        Match::NotFound => {
            let routes = table.iter().map(config_of);
            return Err(Refused {
                nearest: nearest(parts.uri.path(), routes),
                ..refused(parts, 404, "no route leads here")
            });
        }
    };
    let config = config_of(route);
    if is_last_hop(&parts.method, &mut parts.headers) {
        return Err(refused(parts, 200, "`Max-Forwards: 0`: answered here"));
    }
    config.request_headers.apply(&mut parts.headers);
    let offered = sanitized.upgrade.as_ref();
    if let Some(upgrade) = offered.and_then(|offered| upgrade::allowed(offered, &config.upgrade)) {
        parts.extensions.insert(upgrade);
    }
    Ok(route)
}

/// Routes whose path looks like this one, nearest first.
fn nearest<'r>(
    path: &str,
    routes: impl Iterator<Item = &'r RouteConfig>,
) -> Vec<cache::RouteShown> {
    let mut known: Vec<_> = routes
        .map(|route| (likeness(path, route.path.as_str()), route))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .collect();
    known.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    known.truncate(NEAREST_MAX);
    let shown = known.iter().map(|(_, route)| cache::route_shown(route));
    shown.collect()
}

/// How much a path looks like one of a template, 0 to 1: its parameters could be anything, so they are taken to be what
/// the path has there.
fn likeness(path: &str, template: &str) -> f64 {
    let mut given = path.split('/');
    let mut filled = Vec::new();
    for segment in template.split('/') {
        let here = given.next();
        if segment.starts_with("{*") {
            filled.extend(here);
            filled.extend(given.by_ref());
        } else if segment.starts_with('{') {
            filled.push(here.filter(|here| !here.is_empty()).unwrap_or(segment));
        } else {
            filled.push(segment);
        }
    }
    strsim::normalized_levenshtein(path, &filled.join("/"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{self, FixedEnv};

    fn explained(url: &str, method: &str, fields: &[&str]) -> Result<Explained, String> {
        let text = r#"
            [upstream.v]
            endpoints = ["http://127.0.0.1:1"]
            [[route]]
            name = "prices"
            path = "/prices/{sku}"
            methods = ["GET"]
            upstream = "v"
            key = { query = ["currency"], headers = ["X-Region"] }
            [[route]]
            name = "shop"
            host = "shop.example"
            path = "/{*rest}"
            upstream = "v"
            request_headers = { set = { x-region = "eu" } }
            key = { headers = ["X-Region"] }
        "#;
        let config = config::parse(text, Path::new("t.toml"), &FixedEnv::default()).unwrap();
        let fields: Vec<_> = fields.iter().map(ToString::to_string).collect();
        Ok(explain_by_config(
            &config,
            Question::parse(url, method, &fields)?,
        ))
    }

    #[test]
    fn a_url_finds_its_route_and_key_as_a_request_would() {
        for (name, url, fields, want_route, want_target, want_region) in [
            ("a path", "/prices/1", vec![], "prices", "/prices/1", None),
            (
                "in the proxy's spelling, without what does not count",
                "/a/../%70rices/1?utm=1&currency=EUR#top",
                vec!["X-Region: us"],
                "prices",
                "/prices/1?currency=EUR",
                Some("us"),
            ),
            (
                "a URL; fields as the route edits them",
                "http://Shop.Example:8080/x?b=1&a=2",
                vec!["x-region: us"],
                "shop",
                "/x?b=1&a=2",
                Some("eu"),
            ),
        ] {
            let Explained::Routed(found) = explained(url, "GET", &fields).unwrap() else {
                panic!("{name}: no route");
            };
            assert_eq!(found.route.name, want_route, "{name}");
            assert_eq!(found.key.target, want_target, "{name}");
            let region = found.key.fields[0].value.as_deref();
            assert_eq!(region, want_region, "{name}");
            assert_eq!(found.found, None, "{name}: nobody was asked");
        }
    }

    #[test]
    fn what_no_route_takes_is_told_with_what_is_near() {
        for (name, url, method, want_status, want_near, want_allow) in [
            ("a slip", "/price/1", "GET", 404, vec!["prices"], vec![]),
            (
                "nothing like it",
                "/zzzzzzzzzzzzzzzzzzz",
                "GET",
                404,
                vec!["shop"],
                vec![],
            ),
            (
                "another method",
                "/prices/1",
                "PUT",
                405,
                vec![],
                vec!["GET", "HEAD"],
            ),
            (
                "no way to write it",
                "/prices/1",
                "TRACE",
                405,
                vec![],
                vec![],
            ),
        ] {
            let Explained::Refused(refused) = explained(url, method, &[]).unwrap() else {
                panic!("{name}: there is a route");
            };
            assert_eq!(refused.status, want_status, "{name}");
            let near: Vec<_> = refused.nearest.iter().map(|route| &*route.name).collect();
            assert!(
                want_near.iter().all(|want| near.contains(want)),
                "{name}: {near:?}"
            );
            assert_eq!(refused.allow, want_allow, "{name}");
        }
    }

    #[test]
    fn what_is_no_request_is_told_what_to_write() {
        for (url, method, fields, want) in [
            ("prices/1", "GET", vec![], "is no URL"),
            ("http://", "GET", vec![], "is no URL"),
            ("/a b", "GET", vec![], "is no URL"),
            ("/a", "G T", vec![], "is no method"),
            ("/a", "GET", vec!["nothing"], "is no field"),
            ("/a", "GET", vec!["a b: c"], "is no field"),
        ] {
            let told = explained(url, method, &fields).unwrap_err();
            assert!(told.contains(want), "{url}: {told}");
        }
    }
}
