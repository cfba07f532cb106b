//! The query of a target: which parameters tell answers apart, and what of them the upstream gets to see.
//!
//! Pure. Used by `key` for the key and by `pass` and `fetch` for the target that is sent on.
//!
//! Names and values are compared in one spelling: what RFC 3986 6.2.2 declares equal (case of the hexadecimal digits,
//! encoded unreserved characters) is equal, and nothing else is. `+` is not `%20`, `%26` is no `&`, and `?` with nothing
//! behind it is not the same as no `?` (6.2.3).
//!
//! # Invariants
//!
//! - Where a route picks or sorts parameters, what is sent is the very text that is keyed: no parameter that is not in the
//!   key reaches the upstream, however it is spelled, and nobody can send two meanings under one key.
//! - Where the whole query counts it is sent byte for byte as it came (a signature over it may depend on that). Two
//!   spellings of one key then differ only where RFC 3986 says that they identify the same resource.

use std::borrow::Cow;

use crate::{
    config::{ParameterPattern, QueryKey},
    http::uri::normalize_query,
};

/// The query as it is keyed. `None`: nothing that counts.
pub(super) fn keyed<'q>(rule: &QueryKey, query: Option<&'q str>) -> Option<Cow<'q, str>> {
    match rule {
        QueryKey::Whole => query.map(normalize_query),
        _ => picked(rule, query?).map(Cow::Owned),
    }
}

/// The query as it is sent on.
pub(super) fn sent<'q>(rule: &QueryKey, query: Option<&'q str>) -> Option<Cow<'q, str>> {
    match rule {
        QueryKey::Whole => query.map(Cow::Borrowed),
        _ => picked(rule, query?).map(Cow::Owned),
    }
}

/// The names of the parameters that do not count, in one spelling, in the order in which they came.
pub(super) fn left_out(rule: &QueryKey, query: Option<&str>) -> Vec<String> {
    let query = query.map(normalize_query).unwrap_or_default();
    let names = query.split('&').filter(|pair| !pair.is_empty());
    let names = names.map(name_of).filter(|name| !counts(rule, name));
    names.map(str::to_owned).collect()
}

/// The parameters that count, in one spelling and, unless only some are ignored, sorted by name; those of one name keep
/// their order, which may mean something.
fn picked(rule: &QueryKey, query: &str) -> Option<String> {
    let query = normalize_query(query);
    let mut pairs: Vec<_> = query
        .split('&')
        .filter(|pair| !pair.is_empty() && counts(rule, name_of(pair)))
        .collect();
    if !matches!(rule, QueryKey::Except(_)) {
        pairs.sort_by_key(|pair| name_of(pair));
    }
    (!pairs.is_empty()).then(|| pairs.join("&"))
}

fn name_of(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(name, _)| name)
}

fn counts(rule: &QueryKey, name: &str) -> bool {
    match rule {
        QueryKey::Whole | QueryKey::Sorted => true,
        QueryKey::Only(names) => names.iter().any(|known| **known == *name),
        QueryKey::Except(patterns) => !patterns.iter().any(|pattern| matches(pattern, name)),
    }
}

fn matches(pattern: &ParameterPattern, name: &str) -> bool {
    match pattern {
        ParameterPattern::Exact(known) => **known == *name,
        ParameterPattern::Prefix(prefix) => name.starts_with(&**prefix),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn only() -> QueryKey {
        QueryKey::Only(vec!["a".into(), "currency".into()])
    }

    fn except() -> QueryKey {
        QueryKey::Except(vec![
            ParameterPattern::Exact("fbclid".into()),
            ParameterPattern::Prefix("utm_".into()),
        ])
    }

    #[test]
    fn a_query_is_keyed_by_what_counts_in_one_spelling() {
        for (name, rule, query, want) in [
            ("whole: none", QueryKey::Whole, None, None),
            (
                "whole: empty is not none",
                QueryKey::Whole,
                Some(""),
                Some(""),
            ),
            (
                "whole: order counts",
                QueryKey::Whole,
                Some("b=1&a=2"),
                Some("b=1&a=2"),
            ),
            (
                "whole: an encoded unreserved character is the character",
                QueryKey::Whole,
                Some("%61=%7e"),
                Some("a=~"),
            ),
            (
                "whole: the case of a triplet does not count",
                QueryKey::Whole,
                Some("a=%c3%bc"),
                Some("a=%C3%BC"),
            ),
            (
                "whole: a plus is no encoded space",
                QueryKey::Whole,
                Some("a=1+2%202"),
                Some("a=1+2%202"),
            ),
            (
                "whole: encoded delimiters stay encoded",
                QueryKey::Whole,
                Some("a=1%26b%3d2"),
                Some("a=1%26b%3D2"),
            ),
            (
                "whole: a broken triplet stays as it is",
                QueryKey::Whole,
                Some("a=100%&b=%4"),
                Some("a=100%&b=%4"),
            ),
            (
                "sorted",
                QueryKey::Sorted,
                Some("b=1&a=2&&a=1"),
                Some("a=2&a=1&b=1"),
            ),
            ("sorted: empty is none", QueryKey::Sorted, Some("&"), None),
            ("only: none", only(), None, None),
            ("only: empty", only(), Some(""), None),
            ("only: others", only(), Some("utm=1&x"), None),
            (
                "only: sorted",
                only(),
                Some("currency=EUR&a=1"),
                Some("a=1&currency=EUR"),
            ),
            (
                "only: others are dropped",
                only(),
                Some("utm=1&currency=EUR"),
                Some("currency=EUR"),
            ),
            (
                "only: equal names keep their order",
                only(),
                Some("a=2&a=1"),
                Some("a=2&a=1"),
            ),
            (
                "only: a longer name is another",
                only(),
                Some("currency2=EUR"),
                None,
            ),
            (
                "only: an encoded name is the same name",
                only(),
                Some("%63urrency=EUR"),
                Some("currency=EUR"),
            ),
            (
                "only: a parameter hidden in a value stays in it",
                only(),
                Some("a=1;currency=EUR&x=1%26currency=USD"),
                Some("a=1;currency=EUR"),
            ),
            (
                "except: all others in their order",
                except(),
                Some("z=1&fbclid=x&a=2&utm_source=y&utm_=z"),
                Some("z=1&a=2"),
            ),
            (
                "except: an encoded name is ignored all the same",
                except(),
                Some("%75tm_source=1&f%62clid=2&a=1"),
                Some("a=1"),
            ),
            (
                "except: a part of a name is not the name",
                except(),
                Some("xutm_source=1&fbclid2=1"),
                Some("xutm_source=1&fbclid2=1"),
            ),
            ("except: nothing is left", except(), Some("utm_a=1"), None),
        ] {
            assert_eq!(keyed(&rule, query).as_deref(), want, "{name}");
        }
    }

    #[test]
    fn what_is_sent_is_what_is_keyed_or_what_came() {
        for (rule, query, want) in [
            (QueryKey::Whole, "b=%7e&a=1&&", "b=%7e&a=1&&"),
            (QueryKey::Whole, "", ""),
            (QueryKey::Sorted, "b=%7e&a=1", "a=1&b=~"),
            (only(), "x=1&%63urrency=%7e", "currency=~"),
            (except(), "x=%7e&utm_x=1", "x=~"),
        ] {
            assert_eq!(sent(&rule, Some(query)).as_deref(), Some(want), "{rule:?}");
        }
    }

    proptest! {
        #[test]
        fn queries_with_one_key_are_sent_alike_or_differ_only_in_spelling(
            a in "[ab=&%64+;1]{0,10}", b in "[ab=&%64+;1]{0,10}",
        ) {
            for rule in [QueryKey::Whole, QueryKey::Sorted, only(), except()] {
                if keyed(&rule, Some(&a)) != keyed(&rule, Some(&b)) {
                    continue;
                }
                let (a, b) = (sent(&rule, Some(&a)), sent(&rule, Some(&b)));
                if rule == QueryKey::Whole {
                    prop_assert_eq!(a.map(|a| normalize_query(&a).into_owned()), b.map(|b| normalize_query(&b).into_owned()));
                } else {
                    prop_assert_eq!(a, b, "{:?}", rule);
                }
            }
        }

        #[test]
        fn only_kept_names_are_ever_sent(query in "[a-cu%56&=]{0,24}") {
            for pair in sent(&only(), Some(&query)).iter().flat_map(|sent| sent.split('&')) {
                prop_assert!(matches!(name_of(pair), "a" | "currency"), "{}", pair);
            }
        }
    }
}
