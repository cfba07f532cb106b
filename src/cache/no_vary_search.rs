//! `No-Vary-Search`: a stored response that answers other queries too, because its origin says that they mean the same
//! (draft-ietf-httpbis-no-vary-search; behind a switch of the route).
//!
//! The rule of a response is read from its fields (5.1) and applied to queries (6). Which stored response answers which
//! queries is remembered in memory only, as a hint: what is found by it is used only if its own fields still say so, so that
//! a hint that is lost or outdated costs a request upstream and never a wrong answer.
//!
//! Departures, all less reusable: a key that is not known makes the field void, and values are compared in the spelling
//! of RFC 3986 instead of decoded as a form.
//!
//! # Invariants
//!
//! - A field that cannot be read is none (5.1): the whole query counts.
//! - It never applies across what else is in the key: host, fields, cookies, path.

use std::{borrow::Cow, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, request::Parts};
use moka::sync::Cache;
use sfv::{BareItem, Dictionary, InnerList, ListEntry};

use super::{
    RouteCache, Shared,
    entry::Entry,
    key::{equivalent_key, host, target_key},
    lookup::{Found, Reading},
    query,
};
use crate::{config::RouteConfig, http::uri::normalize_query, store::Key};

const NO_VARY_SEARCH: HeaderName = HeaderName::from_static("no-vary-search");

/// Rules remembered for one path: an origin has one, and others only while it changes it.
const RULES_MAX: usize = 4;

/// What of a query does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    sorted: bool,
    ignored: Ignored,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Ignored {
    These(Vec<String>),
    AllBut(Vec<String>),
}

impl Rule {
    /// What a response says (5.1). `None`: nothing, or nothing that can be read.
    pub(super) fn of(response: &HeaderMap) -> Option<Self> {
        let lines = response.get_all(&NO_VARY_SEARCH).into_iter();
        let lines: Vec<_> = lines.map(HeaderValue::as_bytes).collect();
        let text = lines.join(&b", "[..]);
        let members = sfv::Parser::new(&text).parse::<Dictionary>().ok()?;
        let (mut sorted, mut all, mut these, mut except) = (false, false, None, None);
        for (name, member) in &members {
            match (name.as_str(), member) {
                ("key-order", ListEntry::Item(item)) => sorted = flag(&item.bare_item)?,
                ("params", ListEntry::Item(item)) => all = flag(&item.bare_item)?,
                ("params", ListEntry::InnerList(list)) => these = Some(names(list)?),
                ("except", ListEntry::InnerList(list)) => except = Some(names(list)?),
                _ => return None,
            }
        }
        let ignored = match (all, except) {
            (true, except) => Ignored::AllBut(except.unwrap_or_default()),
            (false, Some(_)) => return None,
            (false, None) => Ignored::These(these.unwrap_or_default()),
        };
        let rule = Self { sorted, ignored };
        (rule != Self::nothing()).then_some(rule)
    }

    /// Everything counts.
    fn nothing() -> Self {
        Self {
            sorted: false,
            ignored: Ignored::These(Vec::new()),
        }
    }

    /// What counts of a query: queries for which this is the same are equivalent (6).
    fn apply(&self, query: Option<&str>) -> String {
        let query = normalize_query(query.unwrap_or_default());
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let mut pairs: Vec<_> = pairs
            .map(|pair| (decoded(pair.split('=').next().unwrap_or_default()), pair))
            .filter(|(name, _)| self.counts(name))
            .collect();
        if self.sorted {
            pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        let pairs: Vec<_> = pairs.into_iter().map(|(_, pair)| pair).collect();
        pairs.join("&")
    }

    fn counts(&self, name: &str) -> bool {
        match &self.ignored {
            Ignored::These(names) => !names.iter().any(|known| known == name),
            Ignored::AllBut(names) => names.iter().any(|known| known == name),
        }
    }

    fn key(&self, target: &Key, query: Option<&str>) -> Key {
        let (mark, names) = match &self.ignored {
            Ignored::These(names) => ("these", names),
            Ignored::AllBut(names) => ("all but", names),
        };
        let order = if self.sorted { "sorted" } else { "as written" };
        let words = [order, mark].into_iter();
        equivalent_key(
            target,
            words.chain(names.iter().map(String::as_str)),
            &self.apply(query),
        )
    }
}

fn flag(item: &BareItem) -> Option<bool> {
    match item {
        BareItem::Boolean(flag) => Some(*flag),
        _ => None,
    }
}

/// The names in a list, decoded as those of a query are (5.2).
fn names(list: &InnerList) -> Option<Vec<String>> {
    let name = |item: &sfv::Item| match &item.bare_item {
        BareItem::String(name) => Some(decoded(name.as_str()).into_owned()),
        _ => None,
    };
    let mut names: Vec<_> = list.items.iter().map(name).collect::<Option<_>>()?;
    names.sort_unstable();
    names.dedup();
    Some(names)
}

/// A name as a form spells it: `+` is a space.
fn decoded(name: &str) -> Cow<'_, str> {
    if !name.contains(['%', '+']) {
        return Cow::Borrowed(name);
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(name.len()), name.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        let hex = |at: usize| char::from(*after.get(at)?).to_digit(16);
        let triplet = hex(0).zip(hex(1)).filter(|_| first == b'%');
        let (byte, read) = match triplet {
            Some((high, low)) => (u8::try_from(high * 16 + low).unwrap_or_default(), 2),
            None if first == b'+' => (b' ', 0),
            None => (first, 0),
        };
        bytes.push(byte);
        rest = &after[read..];
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// Which stored responses answer more than their own query.
pub(super) struct Equivalents {
    /// By the key of a target without its query: the rules of its latest responses.
    rules: Cache<Key, Arc<Vec<Rule>>>,
    /// By target, rule and what counts of the query: the primary key of the latest response.
    stored: Cache<Key, Key>,
}

impl Equivalents {
    /// At most `marks_max` of either kind; the least used are forgotten.
    pub(super) fn new(marks_max: u64) -> Self {
        Self {
            rules: Cache::new(marks_max),
            stored: Cache::new(marks_max),
        }
    }

    /// Remembers a response stored under `primary`. `target`: the key of its target without a query.
    pub(super) fn remember(
        &self,
        target: Key,
        query: Option<&str>,
        response: &HeaderMap,
        primary: Key,
    ) {
        let Some(rule) = Rule::of(response) else {
            return;
        };
        self.stored.insert(rule.key(&target, query), primary);
        let known = self.rules.get(&target).unwrap_or_default();
        if known.first() != Some(&rule) {
            let others = known.iter().filter(|known| **known != rule).cloned();
            let rules = std::iter::once(rule.clone()).chain(others);
            let rules = rules.take(RULES_MAX).collect();
            self.rules.insert(target, Arc::new(rules));
        }
    }

    /// Where responses lie that may answer this query, and the rule by which they do; latest rule first.
    pub(super) fn of(&self, target: &Key, query: Option<&str>) -> Vec<(Key, Rule)> {
        let rules = self.rules.get(target).unwrap_or_default();
        let stored = |rule: &Rule| {
            let primary = self.stored.get(&rule.key(target, query))?;
            Some((primary, rule.clone()))
        };
        rules.iter().filter_map(stored).collect()
    }
}

impl RouteCache {
    /// What may answer this request though it was stored for another query. Nothing where its own query has a copy.
    pub(super) async fn equivalent(
        &self,
        parts: &Parts,
        primary: &Key,
        reading: Reading,
    ) -> Option<Found> {
        if !self.route.no_vary_search {
            return None;
        }
        let (method, headers) = (&parts.method, &parts.headers);
        let own = self.lookup_by(primary, method, headers, reading).await;
        if own.copy.is_some() {
            return None;
        }
        let host = host(&parts.uri, headers);
        let others = self
            .shared
            .equivalents(&self.route, &parts.uri, host, headers);
        for (other, rule) in others {
            let found = self.lookup_by(&other, method, headers, reading).await;
            let says_so = |headers| Rule::of(headers).as_ref() == Some(&rule);
            let copy = found.copy_and_verdict();
            if copy.is_some_and(|(stored, _)| says_so(&stored.headers)) {
                return Some(found);
            }
        }
        None
    }

    /// Remembers for which queries a response stored under `primary` is one.
    pub(super) fn remember_equivalent(&self, parts: &Parts, primary: Key, entry: &Entry) {
        if let Entry::Response(stored) = entry
            && self.route.no_vary_search
        {
            let host = host(&parts.uri, &parts.headers);
            let target = target_key(&self.route, parts.uri.path(), None, host, &parts.headers);
            let query = query::keyed(&self.route.key.query, parts.uri.query());
            let equivalents = &self.shared.equivalents;
            equivalents.remember(target, query.as_deref(), &stored.headers, primary);
        }
    }
}

impl Shared {
    /// Where responses lie that may answer this target on a route, and the rules by which they do.
    pub(super) fn equivalents(
        &self,
        route: &RouteConfig,
        target: &Uri,
        host: Option<&str>,
        headers: &HeaderMap,
    ) -> Vec<(Key, Rule)> {
        if !route.no_vary_search {
            return Vec::new();
        }
        let query = query::keyed(&route.key.query, target.query());
        let target = target_key(route, target.path(), None, host, headers);
        self.equivalents.of(&target, query.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(lines: &[&'static str]) -> Option<Rule> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(NO_VARY_SEARCH, HeaderValue::from_static(line));
        }
        Rule::of(&headers)
    }

    #[test]
    fn queries_are_equivalent_as_the_origin_says_and_exact_where_it_cannot_be_read() {
        for (name, lines, a, b, want) in [
            ("no field", &[][..], "a=1&b=2", "b=2&a=1", false),
            ("order", &["key-order"], "a=1&b=2", "b=2&a=1", true),
            (
                "order within a name counts",
                &["key-order"],
                "a=1&a=2",
                "a=2&a=1",
                false,
            ),
            ("no order", &["key-order=?0"], "a=1&b=2", "b=2&a=1", false),
            (
                "some",
                &["params=(\"utm\")"],
                "a=1&utm=x",
                "utm=y&a=1",
                true,
            ),
            (
                "others count",
                &["params=(\"utm\")"],
                "a=1&utm=x",
                "a=2&utm=x",
                false,
            ),
            (
                "order counts beside",
                &["params=(\"utm\")"],
                "a=1&b=2",
                "b=2&a=1",
                false,
            ),
            ("all", &["params"], "a=1&b=2", "", true),
            ("none", &["params=?0"], "a=1", "a=2", false),
            (
                "all but some",
                &["params, except=(\"a\")"],
                "a=1&b=2",
                "a=1",
                true,
            ),
            (
                "but those count",
                &["params, except=(\"a\")"],
                "a=1",
                "a=2",
                false,
            ),
            (
                "over two lines",
                &["params", "except=(\"a\")"],
                "a=1",
                "a=2",
                false,
            ),
            (
                "a name in another spelling",
                &["params=(\"%61+b\")"],
                "a%20b=1",
                "a+b=2",
                true,
            ),
            (
                "a value in another spelling",
                &["key-order"],
                "a=%7e&b=1",
                "b=1&a=~",
                true,
            ),
            (
                "except without params",
                &["except=(\"a\")"],
                "b=1",
                "b=2",
                false,
            ),
            (
                "except without all",
                &["params=(\"b\"), except=(\"a\")"],
                "b=1",
                "b=2",
                false,
            ),
            ("no dictionary", &["params=(a"], "a=1", "a=2", false),
            (
                "names that are no strings",
                &["params=(a)"],
                "a=1",
                "a=2",
                false,
            ),
            ("a number", &["params=1"], "a=1", "a=2", false),
            (
                "a key that is not known",
                &["params, x"],
                "a=1",
                "a=2",
                false,
            ),
        ] {
            let rule = rule(lines).unwrap_or_else(Rule::nothing);
            let same = rule.apply(Some(a)) == rule.apply(Some(b));
            assert_eq!(same, want, "{name}");
        }
    }

    #[test]
    fn a_response_is_found_by_every_query_that_its_rule_calls_equivalent() {
        let equivalents = Equivalents::new(100);
        let key = |byte| Key::from_bytes([byte; 32]);
        let says =
            |value| HeaderMap::from_iter([(NO_VARY_SEARCH, HeaderValue::from_static(value))]);
        let found = |target, query| -> Vec<_> {
            let found = equivalents.of(&target, query).into_iter();
            found.map(|(primary, _)| primary).collect()
        };
        equivalents.remember(key(1), Some("a=1&u=1"), &says("params=(\"u\")"), key(2));
        assert_eq!(found(key(1), Some("u=2&a=1")), [key(2)]);
        assert_eq!(found(key(1), Some("a=1")), [key(2)]);
        assert!(found(key(1), Some("a=2")).is_empty());
        assert!(found(key(9), Some("a=1")).is_empty(), "another target");
        equivalents.remember(key(1), Some("a=1&u=3"), &says("params=(\"u\")"), key(3));
        assert_eq!(found(key(1), Some("a=1")), [key(3)], "the latest");
        equivalents.remember(key(1), Some("a=1"), &says("params"), key(4));
        assert_eq!(found(key(1), Some("a=1")), [key(4), key(3)]);
        for n in 0..10 {
            let value = format!("params=(\"{n}\")");
            let says = HeaderMap::from_iter([(NO_VARY_SEARCH, value.try_into().unwrap())]);
            equivalents.remember(key(1), Some("b"), &says, key(5));
        }
        assert!(found(key(1), Some("b")).len() <= RULES_MAX);
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics_and_only_a_readable_field_ignores_anything(
            value in "[a-z?=(),\" 01;-]{0,24}", query in "[a%&=+61]{0,16}",
        ) {
            let headers = HeaderMap::from_iter([(NO_VARY_SEARCH, HeaderValue::from_str(&value).unwrap())]);
            if let Some(rule) = Rule::of(&headers) {
                proptest::prop_assert_ne!(&rule, &Rule::nothing());
                let once = rule.apply(Some(&query));
                proptest::prop_assert!(once.len() <= query.len());
            }
        }
    }
}
