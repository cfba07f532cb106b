//! The path table: host, path and method of a request to the route that serves it.
//!
//! `sanitize -> [route] -> admission`
//!
//! Built once per config and swapped whole. Generic in what hangs on a route, so that the composed service can. Paths come
//! in normalised (`http::uri::normalize_path`).
//!
//! The most specific wins, whatever the order in the file: host (a name, then the longest suffix, then any), then path
//! segment by segment (literal, parameter, end, rest), then a route that lists the method before one for all. A route that
//! does not take the method is passed over for a less specific one that does.
//!
//! # Invariants
//!
//! - Finding a route allocates nothing (unless the host has capitals), and costs at most one visit per node of the tree,
//!   so a path cannot be made that is expensive to match.
//! - A path that some route has is never "not found": if none takes the method the answer is 405 with all that are taken.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use http::Method;

use crate::config::{
    HostPattern, RouteConfig,
    template::{Params, PathTemplate, Segment, Segments},
};

/// What a route is found by.
#[derive(Clone, Debug)]
pub struct RoutePattern {
    /// Empty for any host.
    pub hosts: Vec<HostPattern>,
    /// Form of the path.
    pub path: PathTemplate,
    /// `None` for all methods. `HEAD` has to be listed beside `GET` (the config's compiler does).
    pub methods: Option<Vec<Method>>,
}

/// All routes of a config, ready to be asked.
#[derive(Clone, Debug)]
pub struct RouteTable<T> {
    routes: Vec<(RoutePattern, T)>,
    exact: HashMap<Box<str>, Tree>,
    /// Longest first.
    suffixes: Vec<(Box<str>, Tree)>,
    any: Tree,
}

/// The answer to "who serves this?".
#[derive(Debug)]
pub enum Match<'t, 'p, T> {
    /// This route.
    Found {
        /// What hangs on it.
        route: &'t T,
        /// Its parameters, read from the path on demand.
        params: RouteParams<'t, 'p>,
    },
    /// The path is known, the method is not taken (RFC 9110 15.5.6).
    MethodNotAllowed {
        /// For the `Allow` field; sorted.
        allow: Vec<Method>,
    },
    /// No route has this path.
    NotFound,
}

/// Parameters of a match: the template and the path they are read from.
#[derive(Clone, Copy, Debug)]
pub struct RouteParams<'t, 'p> {
    template: &'t PathTemplate,
    path: &'p str,
}

// --- RoutePattern ---

impl From<&RouteConfig> for RoutePattern {
    fn from(route: &RouteConfig) -> Self {
        Self {
            hosts: route.hosts.clone(),
            path: route.path.clone(),
            methods: route.methods.clone(),
        }
    }
}

impl From<&Arc<RouteConfig>> for RoutePattern {
    fn from(route: &Arc<RouteConfig>) -> Self {
        Self::from(&**route)
    }
}

impl RoutePattern {
    fn takes(&self, method: &Method) -> bool {
        let methods = self.methods.as_ref();
        methods.is_none_or(|methods| methods.contains(method))
    }
}

// --- RouteTable ---

impl<T> RouteTable<T> {
    /// The table of these routes. Of two that match equally (the config's compiler refuses them) the first wins.
    pub fn new(routes: impl IntoIterator<Item = (RoutePattern, T)>) -> Self {
        let mut table = Self {
            routes: routes.into_iter().collect(),
            exact: HashMap::new(),
            suffixes: Vec::new(),
            any: Tree::default(),
        };
        // A route that lists its methods is asked before one that takes all: it goes into the tree first.
        let mut order: Vec<usize> = (0..table.routes.len()).collect();
        order.sort_by_key(|index| table.routes[*index].0.methods.is_none());
        for index in order {
            table.insert(index);
        }
        table
            .suffixes
            .sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        table
    }

    fn insert(&mut self, index: usize) {
        let pattern = &self.routes[index].0;
        if pattern.hosts.is_empty() {
            self.any.insert(pattern.path.segments(), index);
        }
        for host in &pattern.hosts {
            let tree = match host {
                HostPattern::Exact(name) => self.exact.entry(name.clone()).or_default(),
                HostPattern::Suffix(suffix) => tree_of(&mut self.suffixes, suffix),
            };
            tree.insert(pattern.path.segments(), index);
        }
    }

    /// The route for a request. `host` is as the client sent it, port and all; `path` is normalised, without the query.
    pub fn find<'t, 'p>(
        &'t self,
        host: Option<&str>,
        path: &'p str,
        method: &Method,
    ) -> Match<'t, 'p, T> {
        let host = self.comparable(host);
        let mut is_known = false;
        let found = self.visit(&host, path, &mut |index| {
            is_known = true;
            self.routes[index].0.takes(method)
        });
        match found {
            Some(index) => {
                let (pattern, route) = &self.routes[index];
                let template = &pattern.path;
                Match::Found {
                    route,
                    params: RouteParams { template, path },
                }
            }
            None if is_known => Match::MethodNotAllowed {
                allow: self.allow(&host, path),
            },
            None => Match::NotFound,
        }
    }

    /// What hangs on the routes, in the order they were given.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.routes.iter().map(|(_, route)| route)
    }

    fn allow(&self, host: &str, path: &str) -> Vec<Method> {
        let mut allow = Vec::new();
        self.visit(host, path, &mut |index| {
            let methods = self.routes[index].0.methods.as_deref();
            allow.extend_from_slice(methods.unwrap_or_default());
            false
        });
        allow.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        allow.dedup();
        allow
    }

    /// The host as patterns are written: no port, no trailing dot, lower case. Empty where no route asks for it.
    fn comparable<'h>(&self, host: Option<&'h str>) -> Cow<'h, str> {
        if self.exact.is_empty() && self.suffixes.is_empty() {
            return Cow::Borrowed("");
        }
        let host = without_port(host.unwrap_or(""));
        let host = host.strip_suffix('.').unwrap_or(host);
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Cow::Owned(host.to_ascii_lowercase());
        }
        Cow::Borrowed(host)
    }

    /// Shows the routes that have this host and path, most specific first, until `take` takes one.
    fn visit(&self, host: &str, path: &str, take: &mut impl FnMut(usize) -> bool) -> Option<usize> {
        let parts = Segments::of(path);
        if !host.is_empty() {
            let exact = self.exact.get(host);
            if let Some(index) = exact.and_then(|tree| tree.visit(parts, take)) {
                return Some(index);
            }
            for (suffix, tree) in &self.suffixes {
                // `*.example` needs a label of its own: `.example` alone is no host of it.
                if host.len() > suffix.len()
                    && host.ends_with(&**suffix)
                    && let Some(index) = tree.visit(parts, take)
                {
                    return Some(index);
                }
            }
        }
        self.any.visit(parts, take)
    }
}

fn tree_of<'a>(trees: &'a mut Vec<(Box<str>, Tree)>, suffix: &str) -> &'a mut Tree {
    let at = trees.iter().position(|(known, _)| **known == *suffix);
    let at = at.unwrap_or_else(|| {
        trees.push((suffix.into(), Tree::default()));
        trees.len() - 1
    });
    &mut trees[at].1
}

/// `shop.example:8080` and `[::1]:8080` without their ports.
fn without_port(host: &str) -> &str {
    if host.starts_with('[') {
        return host.find(']').map_or(host, |end| &host[..=end]);
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

// --- RouteParams ---

impl<'t, 'p> RouteParams<'t, 'p> {
    /// The template that matched.
    pub fn template(&self) -> &'t PathTemplate {
        self.template
    }

    /// The parameters themselves, for `PathRewrite::apply`.
    pub fn params<'a>(&self) -> Params<'a>
    where
        't: 'a,
        'p: 'a,
    {
        self.template.params(self.path)
    }

    /// The raw value of a parameter.
    pub fn get<'a>(&self, name: &str) -> Option<&'a str>
    where
        't: 'a,
        'p: 'a,
    {
        self.params().get(name)
    }
}

// --- Tree ---

/// Templates by their segments. Deeper than any template it never gets.
#[derive(Clone, Debug, Default)]
struct Tree {
    /// Sorted: the few names of a level are found sooner by comparing than by hashing.
    literals: Vec<(Box<str>, Tree)>,
    param: Option<Box<Tree>>,
    /// Routes whose path ends here, the ones that list methods first.
    end: Vec<usize>,
    /// Routes that take all that remains.
    rest: Vec<usize>,
}

impl Tree {
    fn insert(&mut self, segments: &[Segment], index: usize) {
        let Some((first, others)) = segments.split_first() else {
            self.end.push(index);
            return;
        };
        match first {
            Segment::Literal(text) => self.literal(text),
            Segment::Param(_) => self.param.get_or_insert_default(),
            Segment::Rest(_) => {
                self.rest.push(index);
                return;
            }
        }
        .insert(others, index);
    }

    fn literal(&mut self, text: &str) -> &mut Self {
        let at = self
            .literals
            .binary_search_by(|(name, _)| (**name).cmp(text));
        let at = at.unwrap_or_else(|at| {
            self.literals.insert(at, (text.into(), Self::default()));
            at
        });
        &mut self.literals[at].1
    }

    /// Recursion is as deep as the deepest template of the config, not as the path.
    fn visit(&self, parts: Segments<'_>, take: &mut impl FnMut(usize) -> bool) -> Option<usize> {
        let mut following = parts;
        let found = match following.next() {
            Some(part) => self.below(part, following, take),
            None => first(&self.end, take),
        };
        found.or_else(|| first(&self.rest, take))
    }

    fn below(
        &self,
        part: &str,
        following: Segments<'_>,
        take: &mut impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let at = self
            .literals
            .binary_search_by(|(name, _)| (**name).cmp(part));
        at.ok()
            .and_then(|at| self.literals[at].1.visit(following, take))
            .or_else(|| {
                let param = self.param.as_ref().filter(|_| !part.is_empty())?;
                param.visit(following, take)
            })
    }
}

fn first(routes: &[usize], take: &mut impl FnMut(usize) -> bool) -> Option<usize> {
    routes.iter().copied().find(|index| take(*index))
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;

    fn pattern(host: &str, path: &str, methods: &[&str]) -> RoutePattern {
        RoutePattern {
            hosts: match host.strip_prefix('*') {
                Some(suffix) => vec![HostPattern::Suffix(suffix.into())],
                None if host.is_empty() => Vec::new(),
                None => vec![HostPattern::Exact(host.into())],
            },
            path: PathTemplate::parse(path).unwrap(),
            methods: (!methods.is_empty()).then(|| {
                methods
                    .iter()
                    .map(|method| method.parse().unwrap())
                    .collect()
            }),
        }
    }

    /// The text form of what was found: the route's label and its parameters.
    fn found(table: &RouteTable<&str>, host: &str, path: &str, method: &Method) -> String {
        match table.find(Some(host), path, method) {
            Match::Found { route, params } => {
                let params = params.params();
                let params = params
                    .iter()
                    .map(|(name, value)| format!(" {name}={value}"));
                format!("{route}{}", params.collect::<String>())
            }
            Match::MethodNotAllowed { allow } => format!("405 {allow:?}"),
            Match::NotFound => "404".to_owned(),
        }
    }

    #[test]
    fn the_most_specific_path_wins_whatever_the_order() {
        let mut routes = vec![
            (pattern("", "/{*rest}", &[]), "everything"),
            (pattern("", "/a/{b}", &[]), "one"),
            (pattern("", "/a/b", &[]), "literal"),
            (pattern("", "/a/{*rest}", &[]), "below a"),
            (pattern("", "/a/b/{c}/d", &[]), "deep"),
            (pattern("", "/{x}/b/c", &[]), "wide"),
        ];
        for _ in 0..routes.len() {
            routes.rotate_left(1);
            let table = RouteTable::new(routes.clone());
            for (path, want) in [
                ("/", "everything rest="),
                ("/a", "below a rest="),
                ("/a/", "below a rest="),
                ("/a/b", "literal"),
                ("/a/x", "one b=x"),
                ("/a/b/c/d", "deep c=c"),
                ("/a/b/c/e", "below a rest=b/c/e"),
                ("/x/b/c", "wide x=x"),
                ("/x/b/d", "everything rest=x/b/d"),
            ] {
                assert_eq!(found(&table, "h", path, &Method::GET), want, "{path}");
            }
        }
    }

    #[test]
    fn hosts_are_compared_without_port_case_and_trailing_dot() {
        let table = RouteTable::new([
            (pattern("", "/", &[]), "any"),
            (pattern("*.example", "/", &[]), "suffix"),
            (pattern("*.shop.example", "/", &[]), "longer suffix"),
            (pattern("shop.example", "/", &[]), "exact"),
            (pattern("[::1]", "/", &[]), "v6"),
        ]);
        for (host, want) in [
            ("shop.example", "exact"),
            ("SHOP.example.:8080", "exact"),
            ("a.shop.example", "longer suffix"),
            ("a.b.example", "suffix"),
            ("example", "any"),
            (".example", "any"),
            ("badexample", "any"),
            ("[::1]:80", "v6"),
            ("", "any"),
        ] {
            assert_eq!(found(&table, host, "/", &Method::GET), want, "{host}");
        }
        assert!(matches!(
            table.find(None, "/", &Method::GET),
            Match::Found { route: &"any", .. }
        ));
    }

    #[test]
    fn a_route_that_does_not_take_the_method_is_passed_over() {
        let table = RouteTable::new([
            (pattern("", "/a/{b}", &[]), "all"),
            (pattern("", "/a/{b}", &["PUT"]), "put"),
            (pattern("", "/a/b", &["GET", "HEAD"]), "get"),
            (pattern("", "/only", &["GET"]), "only"),
            (pattern("h", "/only", &["PUT", "GET"]), "only on h"),
        ]);
        for (host, path, method, want) in [
            ("", "/a/b", Method::GET, "get"),
            ("", "/a/b", Method::PUT, "put b=b"),
            ("", "/a/b", Method::POST, "all b=b"),
            ("", "/only", Method::POST, "405 [GET]"),
            ("h", "/only", Method::POST, "405 [GET, PUT]"),
            ("", "/other", Method::GET, "404"),
        ] {
            assert_eq!(found(&table, host, path, &method), want, "{method} {path}");
        }
    }

    #[test]
    fn a_route_can_answer_for_several_hosts() {
        let mut both = pattern("a", "/", &[]);
        both.hosts.push(HostPattern::Suffix(".b".into()));
        let table = RouteTable::new([(both, "both")]);
        assert_eq!(found(&table, "a", "/", &Method::GET), "both");
        assert_eq!(found(&table, "x.b", "/", &Method::GET), "both");
        assert_eq!(found(&table, "c", "/", &Method::GET), "404");
    }

    /// What the table should say, found the slow way: every route looked at, the best of those that match.
    fn naive(routes: &[(RoutePattern, usize)], host: &str, path: &str, method: &Method) -> String {
        let rank = |pattern: &RoutePattern| match pattern.hosts.first() {
            Some(HostPattern::Exact(name)) => (**name == *host).then_some((0, 0)),
            Some(HostPattern::Suffix(suffix)) => (host.ends_with(&**suffix)
                && host.len() > suffix.len())
            .then_some((1, usize::MAX - suffix.len())),
            None => Some((2, 0)),
        };
        let mut matching: Vec<_> = routes
            .iter()
            .filter(|(pattern, _)| pattern.path.matches(path))
            .filter_map(|(pattern, index)| Some((rank(pattern)?, pattern, index)))
            .collect();
        matching.sort_by(|(a_rank, a, _), (b_rank, b, _)| {
            let specificity = a.path.cmp_specificity(&b.path);
            let methods = a.methods.is_none().cmp(&b.methods.is_none());
            a_rank.cmp(b_rank).then(specificity).then(methods)
        });
        let taken = matching
            .iter()
            .find(|(_, pattern, _)| pattern.takes(method));
        match (taken, matching.is_empty()) {
            (Some((_, _, index)), _) => index.to_string(),
            (None, false) => "405".to_owned(),
            (None, true) => "404".to_owned(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_table_agrees_with_a_look_at_every_route(
            routes in prop::collection::vec((0..5_usize, "(/(a|b|[{]x[}])){0,3}(/|/[{][*]r[}])?", 0..4_usize), 0..12),
            host in 0..5_usize,
            path in "(/(a|b|c|)){1,4}",
            method in 0..3_usize,
        ) {
            let hosts = ["", "h", "*.e", "*.d.e", "x.d.e"];
            let methods: [&[&str]; 4] = [&[], &["GET"], &["PUT"], &["GET", "PUT"]];
            let mut given: Vec<(RoutePattern, usize)> = Vec::new();
            for (index, (host, path, listed)) in routes.iter().enumerate() {
                // Names of parameters have to differ within one template.
                let mut count = 0;
                let path: String = path.split("{x}").map(|piece| {
                    count += 1;
                    format!("{piece}{{x{count}}}")
                }).collect();
                let path = path.strip_suffix(&format!("{{x{count}}}")).unwrap().to_owned();
                let path = if path.is_empty() { "/".to_owned() } else { path };
                given.push((pattern(hosts[*host], &path, methods[*listed]), index));
            }
            let asked = ["", "h", "a.e", "y.d.e", "x.d.e"][host];
            let method = [Method::GET, Method::PUT, Method::POST][method].clone();
            let table = RouteTable::new(given.clone());
            let got = match table.find(Some(asked), &path, &method) {
                Match::Found { route, params } => {
                    prop_assert!(params.template().matches(&path));
                    route.to_string()
                }
                Match::MethodNotAllowed { .. } => "405".to_owned(),
                Match::NotFound => "404".to_owned(),
            };
            prop_assert_eq!(got, naive(&given, asked, &path, &method));
        }
    }

    #[test]
    fn specificity_never_ties_for_two_shapes_that_match_one_path() {
        let texts = [
            "/",
            "/{*r}",
            "/a",
            "/{x}",
            "/a/{*r}",
            "/{x}/{*r}",
            "/a/b",
            "/a/{x}",
            "/{x}/b",
            "/a/",
        ];
        let templates = texts.map(|text| PathTemplate::parse(text).unwrap());
        for path in ["/", "/a", "/a/", "/a/b", "/c/b"] {
            let matching: Vec<_> = templates.iter().filter(|t| t.matches(path)).collect();
            for (at, a) in matching.iter().enumerate() {
                for b in &matching[at + 1..] {
                    assert_ne!(a.cmp_specificity(b), Ordering::Equal, "{a} {b} {path}");
                }
            }
        }
    }
}
