//! `tags`, `tag_fields` and `tag_paths` of a route.

use serde_json_path::JsonPath;

use super::headers;
use crate::config::{
    RouteTags, TagTemplate,
    reader::Table,
    template::PathTemplate,
    values::{self, Complaint, listed},
};

pub(super) fn tags(table: &Table<'_>, path: Option<&PathTemplate>) -> RouteTags {
    RouteTags {
        templates: templates(table, path),
        fields: table.list("tag_fields", headers::header_name),
        paths: paths(table).into(),
    }
}

fn templates(table: &Table<'_>, path: Option<&PathTemplate>) -> Vec<TagTemplate> {
    // Without a path there is an error already, and no parameter to name.
    let Some(path) = path else {
        return Vec::new();
    };
    table.list("tags", |value| {
        TagTemplate::parse(&values::line(value)?, path).map_err(|error| {
            let hint = match path.parameter_names().next() {
                Some(_) => format!("parameters of the path: {}", listed(path.parameter_names())),
                None => "the path has no parameters".to_owned(),
            };
            Complaint::new(error.to_string()).hint(hint)
        })
    })
}

fn paths(table: &Table<'_>) -> Vec<(Box<str>, JsonPath)> {
    let mut paths = Vec::new();
    for (name, _, item) in table.pairs("tag_paths") {
        let parsed = values::line(item.value).and_then(|text| {
            JsonPath::parse(&text).map_err(|error| {
                Complaint::new(format!("`{text}` is not a JSONPath: {error}"))
                    .hint("write it as RFC 9535 has it: \"$.product.id\", \"$.items[*].sku\"")
            })
        });
        match parsed {
            Ok(path) => paths.push((name.into(), path)),
            Err(complaint) => item.complain(complaint),
        }
    }
    paths
}
