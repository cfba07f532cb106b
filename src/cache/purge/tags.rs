//! Tags and groups of a response: from its route, its fields and its body.
//!
//! Pure. `Surrogate-Key` and the like name tags; `Cache-Groups` (RFC 9875 2) names groups, which are another thing: groups
//! belong to an origin, tags to the proxy.
//!
//! # Invariants
//!
//! - What cannot be kept or read whole is marked, and every purge of a tag or group matches it.

use http::{HeaderMap, HeaderName, header};
use serde_json::Value;
use serde_json_path::JsonPath;
use sfv::{BareItem, List, ListEntry, Parser};

use super::{
    LABEL_BYTES_MAX,
    labels::Labels,
    what::{Mode, What},
};
use crate::config::RouteConfig;

const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// Groups that a field may list at the least (RFC 9875 2).
const GROUPS_MIN: usize = 32;
/// Groups that one answer may invalidate one by one. With more it is the whole upstream.
const INVALIDATED_MAX: usize = 256;

/// Labels of one kind, gathered within their bounds.
struct Gathered {
    texts: Vec<Box<str>>,
    texts_max: usize,
    overflow: bool,
}

impl Gathered {
    fn new(texts_max: usize) -> Self {
        Self {
            texts: Vec::new(),
            texts_max,
            overflow: false,
        }
    }

    fn add(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let Err(place) = self.texts.binary_search_by(|known| (**known).cmp(text)) else {
            return;
        };
        if self.texts.len() >= self.texts_max || text.len() > LABEL_BYTES_MAX {
            self.overflow = true;
        } else {
            self.texts.insert(place, text.into());
        }
    }
}

/// The labels of a response to a request for this target, as far as its head tells them. `host`: the client's, where the
/// key has it.
pub(in crate::cache) fn labels_of_head(
    route: &RouteConfig,
    path: &str,
    host: Option<&str>,
    response: &HeaderMap,
    tags_max: usize,
) -> Labels {
    let mut tags = Gathered::new(tags_max);
    for template in &route.tags.templates {
        tags.add(&template.render(route.path.params(path)));
    }
    for name in &route.tags.fields {
        add_field(&mut tags, name, response);
    }
    let mut groups = Gathered::new(tags_max.max(GROUPS_MIN));
    for group in group_names(response) {
        groups.add(&group);
    }
    Labels {
        epoch: 0,
        route: Box::from(&*route.name),
        host: host.map(host_label),
        overflow: tags.overflow || groups.overflow,
        tags: tags.texts.into(),
        groups: groups.texts.into(),
        ..Labels::default()
    }
}

/// A host as labels and purges have it: in lower case, without its port.
pub fn host_label(host: &str) -> Box<str> {
    let name = match host.rsplit_once(':') {
        // The colon belongs to an IPv6 address.
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    };
    name.to_ascii_lowercase().into()
}

fn add_field(tags: &mut Gathered, name: &HeaderName, response: &HeaderMap) {
    let by_spaces = matches!(name.as_str(), "surrogate-key" | "xkey");
    for line in response.get_all(name) {
        let Ok(line) = std::str::from_utf8(line.as_bytes()) else {
            tags.overflow = true;
            continue;
        };
        let is_end = |c: char| {
            if by_spaces {
                c.is_ascii_whitespace()
            } else {
                c == ','
            }
        };
        for tag in line.split(is_end) {
            tags.add(tag.trim_ascii());
        }
    }
}

/// Adds the tags that `tag_paths` find in the body. Takes time in proportion to the body.
pub(in crate::cache) fn tags_of_body(
    labels: &mut Labels,
    paths: &[(Box<str>, JsonPath)],
    response: &HeaderMap,
    body: &[u8],
    tags_max: usize,
    body_bytes_max: u64,
) {
    if paths.is_empty() || !is_json(response) {
        return;
    }
    // A body in an encoding would have to be decoded for it: not worth a decoder, but to be marked.
    let is_readable =
        body.len() as u64 <= body_bytes_max && !response.contains_key(header::CONTENT_ENCODING);
    let Some(document) = is_readable
        .then(|| serde_json::from_slice::<Value>(body).ok())
        .flatten()
    else {
        labels.overflow = true;
        return;
    };
    let mut tags = Gathered::new(tags_max);
    tags.texts = std::mem::take(&mut labels.tags).into_vec();
    for (prefix, path) in paths {
        for found in path.query(&document).iter() {
            let text = match found {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Bool(flag) => flag.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => continue,
            };
            if prefix.is_empty() {
                tags.add(&text);
            } else {
                tags.add(&format!("{prefix}:{text}"));
            }
        }
    }
    labels.overflow |= tags.overflow;
    labels.tags = tags.texts.into();
}

/// `application/json`, `application/problem+json`.
fn is_json(response: &HeaderMap) -> bool {
    let value = response.get(header::CONTENT_TYPE);
    let essence = value
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|essence| essence.trim().to_ascii_lowercase());
    essence.is_some_and(|essence| {
        let subtype = essence.split_once('/').map_or("", |(_, subtype)| subtype);
        subtype == "json" || subtype.ends_with("+json")
    })
}

// --- Groups (RFC 9875) ---

/// The groups a response belongs to (RFC 9875 2).
pub(in crate::cache) fn group_names(response: &HeaderMap) -> Vec<String> {
    strings(response, &CACHE_GROUPS)
}

/// What the answer to an unsafe method invalidates by name (RFC 9875 3).
pub(in crate::cache) fn groups_invalidated(
    response: &HeaderMap,
    upstream: &str,
) -> Vec<(What, Mode)> {
    let groups = strings(response, &CACHE_GROUP_INVALIDATION);
    if groups.len() > INVALIDATED_MAX {
        return vec![(What::Upstream(upstream.into()), Mode::Invalid)];
    }
    groups_of(upstream, groups.iter().map(String::as_str))
}

/// Purges of these groups, each once.
pub(in crate::cache) fn groups_of<'g>(
    upstream: &str,
    groups: impl Iterator<Item = &'g str>,
) -> Vec<(What, Mode)> {
    let mut purges = Vec::new();
    for group in groups {
        let what = What::Group {
            upstream: upstream.into(),
            group: group.into(),
        };
        // A longer one is kept by no response: those that have it are marked and matched by any group.
        if !purges.iter().any(|(known, _)| *known == what) {
            purges.push((what, Mode::Invalid));
        }
    }
    purges
}

/// A field that is a list of strings. One that is not is as if it were not there (RFC 9651 4.2), parameters are ignored.
fn strings(response: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let lines: Vec<&[u8]> = response
        .get_all(name)
        .iter()
        .map(http::HeaderValue::as_bytes)
        .collect();
    if lines.is_empty() {
        return Vec::new();
    }
    let combined = lines.join(&b","[..]);
    let members = Parser::new(&combined).parse::<List>().unwrap_or_default();
    let strings = members.into_iter().map(|member| match member {
        ListEntry::Item(item) => match item.bare_item {
            BareItem::String(text) => Some(String::from(text)),
            _ => None,
        },
        ListEntry::InnerList(_) => None,
    });
    strings.collect::<Option<_>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use http::HeaderValue;

    use super::*;
    use crate::config::{self, FixedEnv};

    fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn labels(route: &str, response: &HeaderMap, body: &str, tags_max: usize) -> Labels {
        let text = format!(
            "[upstream.v]\nendpoints = [\"http://127.0.0.1:1\"]\n[[route]]\nname = \"r\"\npath = \"/x/{{id}}\"\n\
             upstream = \"v\"\n{route}"
        );
        let config = config::parse(&text, Path::new("t.toml"), &FixedEnv::default())
            .unwrap_or_else(|errors| panic!("{errors}"));
        let route = &config.routes[0];
        let mut labels = labels_of_head(route, "/x/7", Some("Shop.example:80"), response, tags_max);
        let paths = &route.tags.paths;
        tags_of_body(&mut labels, paths, response, body.as_bytes(), tags_max, 100);
        labels
    }

    #[test]
    fn tags_come_from_route_fields_and_body() {
        const JSON: (&str, &str) = ("content-type", "application/vnd.x+json; charset=utf-8");
        const PATHS: &str = "tag_paths = { sku = \"$.items[*].sku\", \"\" = \"$.kind\" }";
        let body = r#"{"kind": "price", "items": [{"sku": "a"}, {"sku": 7}, {"sku": true}, {"sku": null}]}"#;
        let long = "x".repeat(LABEL_BYTES_MAX + 1);
        let text = |value: &str| fields(&[("surrogate-key", value)]);
        for (name, route, response, body, want, overflow) in [
            ("none", "", fields(&[]), "", &[][..], false),
            (
                "the route's",
                "tags = [\"x\", \"id:{id}\"]",
                fields(&[]),
                "",
                &["id:7", "x"],
                false,
            ),
            (
                "Surrogate-Key by spaces, each once",
                "",
                fields(&[("surrogate-key", " b  a,b b"), ("surrogate-key", "c")]),
                "",
                &["a,b", "b", "c"],
                false,
            ),
            (
                "Cache-Tag by commas",
                "",
                fields(&[("cache-tag", "a b, c,,")]),
                "",
                &["a b", "c"],
                false,
            ),
            (
                "only the fields that are named",
                "tag_fields = [\"xkey\"]",
                fields(&[("cache-tag", "a"), ("xkey", "b c")]),
                "",
                &["b", "c"],
                false,
            ),
            (
                "the body's",
                PATHS,
                fields(&[JSON]),
                body,
                &["price", "sku:7", "sku:a", "sku:true"],
                false,
            ),
            (
                "a body of another type has none",
                PATHS,
                fields(&[]),
                body,
                &[],
                false,
            ),
            (
                "a body that cannot be read may have any",
                PATHS,
                fields(&[JSON]),
                "{",
                &[],
                true,
            ),
            (
                "one that is encoded too",
                PATHS,
                fields(&[JSON, ("content-encoding", "gzip")]),
                body,
                &[],
                true,
            ),
            (
                "one that is too large too",
                PATHS,
                fields(&[JSON]),
                &format!("{{\"kind\": \"{}\"}}", "x".repeat(100)),
                &[],
                true,
            ),
            (
                "more than are kept",
                "",
                text("a b c d e"),
                "",
                &["a", "b", "c", "d"],
                true,
            ),
            (
                "one that is too long",
                "",
                text(&format!("a {long}")),
                "",
                &["a"],
                true,
            ),
            (
                "what is no text",
                "",
                text("\u{e9}"),
                "",
                &["\u{e9}"],
                false,
            ),
        ] {
            let got = labels(route, &response, body, 4);
            let tags: Vec<&str> = got.tags.iter().map(|tag| &**tag).collect();
            assert_eq!(tags, want, "{name}");
            assert_eq!(got.overflow, overflow, "{name}");
            assert_eq!(
                (&*got.route, got.host.as_deref()),
                ("r", Some("shop.example"))
            );
        }
    }

    #[test]
    fn groups_are_a_list_of_strings_or_nothing() {
        for (name, lines, want) in [
            ("none", &[][..], &[][..]),
            ("one", &["\"a\""], &["a"]),
            (
                "lines are one list",
                &["\"a\"", "\"b\", \"a\""],
                &["a", "b", "a"],
            ),
            (
                "parameters are ignored",
                &["\"a\";p=1;q, \"b\""],
                &["a", "b"],
            ),
            ("a token is no string: nothing", &["\"a\", b"], &[]),
            ("an inner list is none either", &["(\"a\")"], &[]),
            (
                "a list that does not parse: nothing",
                &["\"a\",, \"b\""],
                &[],
            ),
            ("nor where one line does not", &["\"a\"", "\"b"], &[]),
            ("case and white space count", &["\"A \""], &["A "]),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| ("cache-groups", *line)).collect();
            assert_eq!(group_names(&fields(&lines)), want, "{name}");
        }
    }

    #[test]
    fn thirty_two_groups_are_kept_however_few_tags_are() {
        let names: Vec<String> = (0..33).map(|n| format!("\"{n:032}\"")).collect();
        let at_most = |count: usize| {
            let response = fields(&[("cache-groups", &names[..count].join(", "))]);
            let got = labels("", &response, "", 1);
            (got.groups.len(), got.overflow)
        };
        assert_eq!(at_most(32), (32, false));
        assert_eq!(at_most(33), (32, true));
    }

    #[test]
    fn an_answer_invalidates_its_groups_or_the_whole_upstream() {
        let purges =
            |value: &str| groups_invalidated(&fields(&[("cache-group-invalidation", value)]), "v");
        let group = |group: &str| What::Group {
            upstream: "v".into(),
            group: group.into(),
        };
        assert_eq!(
            purges("\"a\", \"b\", \"a\""),
            [(group("a"), Mode::Invalid), (group("b"), Mode::Invalid)]
        );
        assert_eq!(purges("a"), []);
        let many: Vec<String> = (0..=INVALIDATED_MAX).map(|n| format!("\"{n}\"")).collect();
        assert_eq!(
            purges(&many.join(", ")),
            [(What::Upstream("v".into()), Mode::Invalid)]
        );
    }
}
