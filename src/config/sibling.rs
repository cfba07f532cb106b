//! Siblings: where else on this proxy to look for something that will do, when a route has nothing and its upstream fails.
//!
//! Pure. `/prices/{sku}` may stand in for `/prices/{sku}?currency=EUR`: the target is put together from the parameters of
//! the request's path, and belongs to whichever route a request for it would take.
//!
//! # Invariants
//!
//! - A value stays within its place: it adds no segment (but a rest, which is several), no parameter, no query.
//! - Only a route whose `request_headers` change a request in the same way is looked at: a key holds what is left after that,
//!   so that anything else could find what the client itself would not.

use std::{borrow::Cow, sync::Arc};

use http::Method;

use super::{
    HostPattern, RouteConfig,
    template::{Params, PathRewrite, PathTemplate, RewriteError, Segment},
};

/// `sibling` of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sibling {
    text: Box<str>,
    template: PathTemplate,
    path: PathRewrite,
    query: Option<Vec<Piece>>,
    /// Routes that a request for it could take, by their place in the config.
    routes: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Value(Box<str>),
}

/// Why a text is no sibling's target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SiblingError {
    /// Its path is none, or names what the route's path does not have.
    #[error(transparent)]
    Path(#[from] RewriteError),
    /// A brace of the query that encloses no name.
    #[error("`{{` and `}}` come in pairs, around the name of a parameter")]
    Brace,
    /// The route's path has no such parameter.
    #[error("the path has no parameter `{0}`")]
    UnknownParameter(String),
    /// A character that cannot stand in a query (RFC 3986 3.4).
    #[error("`{0}` cannot stand in a query; write it percent-encoded")]
    Character(char),
}

// --- Sibling ---

impl Sibling {
    /// Reads a target whose parameters are those of `path`. Which routes it could belong to is still to be said.
    ///
    /// # Errors
    ///
    /// Where it is no target, or names a parameter that `path` does not have.
    pub fn parse(text: &str, path: &PathTemplate) -> Result<Self, SiblingError> {
        let (written, query) = match text.split_once('?') {
            Some((written, query)) => (written, Some(query)),
            None => (text, None),
        };
        let template = PathTemplate::parse(written).map_err(RewriteError::from)?;
        Ok(Self {
            text: text.into(),
            path: PathRewrite::template(written, path)?,
            query: query.map(|query| pieces(query, path)).transpose()?,
            template,
            routes: Vec::new(),
        })
    }

    /// As the config wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its path and query for a request with this path.
    pub fn target(&self, path: &str, params: Params<'_>) -> String {
        let mut target = self.path.apply(path, params).into_owned();
        for (nth, piece) in self.query.iter().flatten().enumerate() {
            if nth == 0 {
                target.push('?');
            }
            match piece {
                Piece::Text(text) => target.push_str(text),
                Piece::Value(name) => push_value(params.get(name).unwrap_or_default(), &mut target),
            }
        }
        target
    }

    /// Says which of all routes a request for it could take.
    pub(super) fn resolve(&mut self, routes: &[RouteConfig]) {
        let could = |route: &RouteConfig| takes_get(route) && meet(&self.template, &route.path);
        let routes = routes.iter().enumerate();
        self.routes = routes
            .filter_map(|(index, route)| could(route).then_some(index))
            .collect();
    }

    /// Whether any route could answer for it.
    pub(super) fn leads_nowhere(&self) -> bool {
        self.routes.is_empty()
    }

    /// Whether this route could.
    pub(super) fn leads_to(&self, index: usize) -> bool {
        self.routes.contains(&index)
    }

    /// The route that a GET of this path takes, as the path table chooses it (`route.rs`): by host, then path, then whether
    /// it lists the method. `None`: no route, or one that changes a request otherwise than `own`.
    pub fn route<'r>(
        &self,
        own: &RouteConfig,
        routes: &'r [Arc<RouteConfig>],
        host: Option<&str>,
        path: &str,
    ) -> Option<&'r Arc<RouteConfig>> {
        let host = comparable(host.unwrap_or_default());
        let found = self
            .routes
            .iter()
            .filter_map(|index| routes.get(*index))
            .filter(|route| route.path.matches(path))
            .filter_map(|route| Some((host_rank(&route.hosts, &host)?, route)))
            .min_by(|(a_host, a), (b_host, b)| {
                a_host
                    .cmp(b_host)
                    .then_with(|| a.path.cmp_specificity(&b.path))
                    .then_with(|| a.methods.is_none().cmp(&b.methods.is_none()))
            });
        let (_, route) = found?;
        (route.request_headers == own.request_headers).then_some(route)
    }
}

fn takes_get(route: &RouteConfig) -> bool {
    let methods = route.methods.as_ref();
    methods.is_none_or(|methods| methods.contains(&Method::GET))
}

fn pieces(query: &str, path: &PathTemplate) -> Result<Vec<Piece>, SiblingError> {
    let text = |text: &str| {
        let fits = |c: &char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/?%".contains(*c);
        match text.chars().find(|c| !fits(c)) {
            Some('{' | '}') => Err(SiblingError::Brace),
            Some(c) => Err(SiblingError::Character(c)),
            None => Ok(Piece::Text(text.into())),
        }
    };
    let mut pieces = Vec::new();
    let mut rest = query;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or(SiblingError::Brace)?;
        let name = name.strip_prefix('*').unwrap_or(name);
        if !path.parameter_names().any(|known| known == name) {
            return Err(SiblingError::UnknownParameter(name.to_owned()));
        }
        pieces.push(text(before)?);
        pieces.push(Piece::Value(name.into()));
        rest = after;
    }
    pieces.push(text(rest)?);
    Ok(pieces)
}

/// A value of a path in a query: what stands for itself there may delimit here.
fn push_value(value: &str, target: &mut String) {
    for c in value.chars() {
        match c {
            '&' => target.push_str("%26"),
            '+' => target.push_str("%2B"),
            '=' => target.push_str("%3D"),
            ';' => target.push_str("%3B"),
            c => target.push(c),
        }
    }
}

/// Whether there is a path that both match.
fn meet(a: &PathTemplate, b: &PathTemplate) -> bool {
    let (mut left, mut right) = (a.segments().iter(), b.segments().iter());
    loop {
        match (left.next(), right.next()) {
            (Some(Segment::Rest(_)), _) | (_, Some(Segment::Rest(_))) | (None, None) => {
                return true;
            }
            (Some(Segment::Literal(a)), Some(Segment::Literal(b))) if a == b => {}
            (Some(Segment::Param(_)), Some(Segment::Param(_))) => {}
            (Some(Segment::Param(_)), Some(Segment::Literal(text)))
            | (Some(Segment::Literal(text)), Some(Segment::Param(_)))
                if !text.is_empty() => {}
            _ => return false,
        }
    }
}

/// The host as patterns are written: no port, no trailing dot, lower case.
fn comparable(host: &str) -> Cow<'_, str> {
    let name = match host.find(']') {
        Some(end) if host.starts_with('[') => host.get(..=end).unwrap_or(host),
        _ => host.split_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(name.to_ascii_lowercase());
    }
    Cow::Borrowed(name)
}

/// How well these hosts fit this one, better ones first; `None`: not at all.
fn host_rank(patterns: &[HostPattern], host: &str) -> Option<(u8, std::cmp::Reverse<usize>)> {
    let rank = |pattern: &HostPattern| match pattern {
        HostPattern::Exact(name) => (**name == *host).then_some((0, std::cmp::Reverse(0))),
        HostPattern::Suffix(suffix) => (host.len() > suffix.len() && host.ends_with(&**suffix))
            .then_some((1, std::cmp::Reverse(suffix.len()))),
    };
    match patterns {
        [] => Some((2, std::cmp::Reverse(0))),
        patterns => patterns.iter().filter_map(rank).min_by(Ord::cmp),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{self, Config, FixedEnv};

    fn path(text: &str) -> PathTemplate {
        PathTemplate::parse(text).unwrap()
    }

    #[test]
    fn a_target_is_put_together_from_the_path() {
        let own = path("/shops/{shop}/prices/{*rest}");
        for (name, text, request, want) in [
            (
                "a path",
                "/prices/{rest}",
                "/shops/7/prices/a/b",
                "/prices/a/b",
            ),
            (
                "its star is optional",
                "/prices/{*rest}",
                "/shops/7/prices/a",
                "/prices/a",
            ),
            (
                "a query",
                "/prices/{shop}?currency=EUR",
                "/shops/7/prices/a",
                "/prices/7?currency=EUR",
            ),
            (
                "a value in a query stays one value",
                "/prices?shop={shop}&all=1",
                "/shops/a&b=c+d/prices/x",
                "/prices?shop=a%26b%3Dc%2Bd&all=1",
            ),
            (
                "an encoded one stays encoded",
                "/prices/{shop}",
                "/shops/a%2Fb/prices/x",
                "/prices/a%2Fb",
            ),
            (
                "an empty query is one",
                "/prices/{shop}?",
                "/shops/7/prices/x",
                "/prices/7?",
            ),
        ] {
            let sibling = Sibling::parse(text, &own).unwrap();
            assert_eq!(sibling.target(request, own.params(request)), want, "{name}");
        }
    }

    #[test]
    fn what_is_no_target_is_refused() {
        let own = path("/prices/{sku}");
        for (text, want) in [
            ("prices", "a path starts with `/`"),
            ("/prices/{id}", "no parameter `id`"),
            ("/prices?a={id}", "no parameter `id`"),
            ("/prices?a={sku", "come in pairs"),
            ("/prices?a=sku}", "come in pairs"),
            ("/prices?a b", "` ` cannot stand in a query"),
            ("/prices#a", "no query and no fragment"),
            ("/prices?a#b", "`#` cannot stand in a query"),
        ] {
            let error = Sibling::parse(text, &own).unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn templates_meet_where_one_path_fits_both() {
        for (a, b, want) in [
            ("/a/{x}", "/a/{y}", true),
            ("/a/{x}", "/a/b", true),
            ("/a/{x}", "/b/{x}", false),
            ("/a/{x}", "/a/{x}/c", false),
            ("/a/{x}", "/{*rest}", true),
            ("/a/{*rest}", "/a", true),
            ("/a/", "/a/{x}", false),
            ("/a/b", "/a/b", true),
        ] {
            assert_eq!(meet(&path(a), &path(b)), want, "{a} {b}");
            assert_eq!(meet(&path(b), &path(a)), want, "{b} {a}");
        }
    }

    fn config(routes: &str) -> Config {
        let text = format!("[upstream.v]\nendpoints = [\"http://127.0.0.1:1\"]\n{routes}");
        config::parse(&text, Path::new("t.toml"), &FixedEnv::default())
            .unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[test]
    fn it_belongs_to_the_route_that_a_request_for_it_would_take() {
        let config = config(
            r#"
            [[route]]
            name = "own"
            path = "/offers/{sku}"
            upstream = "v"
            sibling = "/prices/{sku}"
            [[route]]
            name = "any"
            path = "/{*rest}"
            upstream = "v"
            [[route]]
            name = "prices"
            path = "/prices/{sku}"
            upstream = "v"
            [[route]]
            name = "gold"
            path = "/prices/gold"
            upstream = "v"
            request_headers.remove = ["Cookie"]
            [[route]]
            name = "shop"
            host = "*.shop.example"
            path = "/prices/{sku}"
            upstream = "v"
            [[route]]
            name = "writes"
            path = "/prices/{sku}"
            methods = ["POST"]
            upstream = "v"
            "#,
        );
        let own = &config.routes[0];
        let sibling = own.sibling.as_ref().unwrap();
        for (name, host, target, want) in [
            (
                "the most specific",
                "a.example",
                "/prices/7",
                Some("prices"),
            ),
            ("whatever follows", "a.example", "/prices/7/8", Some("any")),
            (
                "by host first",
                "A.Shop.Example.:8080",
                "/prices/7",
                Some("shop"),
            ),
            (
                "not one that changes requests otherwise",
                "a.example",
                "/prices/gold",
                None,
            ),
        ] {
            let route = sibling.route(own, &config.routes, Some(host), target);
            assert_eq!(route.map(|route| &*route.name), want, "{name}");
        }
    }
}
