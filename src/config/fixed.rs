//! What of a file holds as long as the process: everything but what routes and policies say of answers.
//!
//! Pure. A value is compared by what it says, not by where it stands or how it is spelled.

use toml::de::{DeTable, DeValue};
use xxhash_rust::xxh3::xxh3_64;

/// Keys of a route by which something is counted.
const OF_A_ROUTE: [&str; 4] = ["breaker", "requests_max", "rate", "burst"];

/// The parts of a file that a reload leaves as they are, by name, each with a number for what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fixed(Vec<(String, u64)>);

impl Fixed {
    /// Those of this file.
    pub(super) fn of(root: &DeTable<'_>) -> Self {
        let mut parts = Vec::new();
        for (name, value) in root {
            let name: &str = name.get_ref();
            match (name, value.get_ref()) {
                ("policy", _) => {}
                ("route", DeValue::Array(routes)) => {
                    let routes = routes.iter().map(toml::Spanned::get_ref);
                    parts.extend(routes.flat_map(of_route));
                }
                ("route", route) => parts.extend(of_route(route)),
                ("upstream", DeValue::Table(upstreams)) => {
                    parts.extend(upstreams.iter().map(|(of, value)| {
                        let of: &str = of.get_ref();
                        (format!("[upstream.{of}]"), number(value.get_ref()))
                    }));
                }
                (_, value) => parts.push((format!("[{name}]"), number(value))),
            }
        }
        parts.sort();
        Self(parts)
    }

    /// The names of what is not the same there.
    pub fn differing(&self, other: &Self) -> Vec<String> {
        let missing = |one: &Self, other: &Self| -> Vec<String> {
            let missing = one.0.iter().filter(|part| !other.0.contains(part));
            missing.map(|(name, _)| name.clone()).collect()
        };
        let mut names = missing(self, other);
        names.extend(missing(other, self));
        names.sort();
        names.dedup();
        names
    }
}

fn of_route(route: &DeValue<'_>) -> Vec<(String, u64)> {
    let DeValue::Table(entries) = route else {
        return Vec::new();
    };
    let text = |key: &str| entries.get(key).and_then(|value| value.get_ref().as_str());
    let label = text("name").or_else(|| text("path")).unwrap_or_default();
    let keys = OF_A_ROUTE.iter().filter_map(|key| {
        let value = entries.get(*key)?;
        Some((format!("`{key}` of route {label}"), number(value.get_ref())))
    });
    keys.collect()
}

/// A number for what a value says.
pub(super) fn number(value: &DeValue<'_>) -> u64 {
    let mut text = String::new();
    write(value, &mut text);
    xxh3_64(text.as_bytes())
}

/// The value without its places in the file.
fn write(value: &DeValue<'_>, text: &mut String) {
    match value {
        DeValue::Array(list) => {
            text.push('[');
            for item in list {
                write(item.get_ref(), text);
            }
            text.push(']');
        }
        DeValue::Table(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by(|a, b| a.0.get_ref().cmp(b.0.get_ref()));
            text.push('{');
            for (name, value) in entries {
                text.push_str(&format!("{:?}", name.get_ref()));
                write(value.get_ref(), text);
            }
            text.push('}');
        }
        scalar => text.push_str(&format!("({scalar:?})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(text: &str) -> Fixed {
        Fixed::of(DeTable::parse(text).unwrap().get_ref())
    }

    #[test]
    fn what_routes_and_policies_say_of_answers_may_change() {
        let before = "[server]\nworkers = 2\n[upstream.a]\nendpoints = [\"http://a\"]\n[policy.p]\nfresh = \"1s\"\n[[route]]\nname = \"r\"\npath = \"/\"\nrate = \"5/s\"\n";
        for (name, from, to, want) in [
            ("a policy", "1s", "2s", &[][..]),
            ("a path", "path = \"/\"", "path = \"/x\"", &[]),
            (
                "more of a route",
                "path = \"/\"",
                "path = \"/\"\nmessage = \"m\"",
                &[],
            ),
            (
                "a space and a comment",
                "workers = 2",
                "\n # two\nworkers =  2",
                &[],
            ),
            ("a worker", "workers = 2", "workers = 3", &["[server]"]),
            ("an endpoint", "http://a", "http://b", &["[upstream.a]"]),
            (
                "a name",
                "upstream.a",
                "upstream.b",
                &["[upstream.a]", "[upstream.b]"],
            ),
            ("a rate", "5/s", "6/s", &["`rate` of route r"]),
            (
                "a table",
                "[server]",
                "[store]\ndisk = \"0\"\n[server]",
                &["[store]"],
            ),
        ] {
            let after = before.replace(from, to);
            assert_eq!(fixed(before).differing(&fixed(&after)), want, "{name}");
        }
    }
}
