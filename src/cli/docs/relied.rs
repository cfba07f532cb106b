//! The fields that a route relies on, as its contract names them. Pure: the tables of the file and the text of a schema in,
//! rows out.
//!
//! Read from the file as it is written and not from what was compiled of it: a page says what somebody wrote down, and names
//! every key of a rule, whether or not it knows it.

use serde_json::Value as Json;
use toml::{Table, Value};

use super::model::{Field, Relied};

/// Rows of a page; more are counted.
const FIELDS_MAX: usize = 200;
/// Schemas inside each other that are followed.
const DEPTH_MAX: usize = 12;

/// What `[[route]]` says of its answers. `read` is a file beside the config, as text.
pub(super) fn relied(route: &Table, read: &dyn Fn(&str) -> Option<String>) -> Relied {
    let mut relied = Relied {
        transform: transform(route, read),
        ..Relied::default()
    };
    if let Some(drift) = route.get("drift").and_then(Value::as_table) {
        let ignored = texts(drift.get("ignore"));
        if !ignored.is_empty() {
            let note = format!("Changes of these fields are not told: {}.", codes(&ignored));
            relied.notes.push(note);
        }
    }
    let Some(contract) = route.get("contract").and_then(Value::as_table) else {
        return relied;
    };
    let mode = contract.get("mode").and_then(Value::as_str);
    relied.notes.insert(0, mode_in_words(mode).to_owned());
    notes(contract, &mut relied.notes);
    for (key, by) in [("rules", "rule"), ("record_rules", "rule for each record")] {
        let rules = contract.get(key).and_then(Value::as_array);
        for rule in rules.into_iter().flatten().filter_map(Value::as_table) {
            let field = rule.get("field").and_then(Value::as_str);
            relied.fields.push(Field {
                field: field.unwrap_or_default().to_owned(),
                what: checks(rule, "field"),
                by,
            });
        }
    }
    let reconcile = contract.get("reconcile").and_then(Value::as_array);
    for figure in reconcile.into_iter().flatten().filter_map(Value::as_table) {
        let field = figure.get("field").and_then(Value::as_str);
        relied.fields.push(Field {
            field: field.unwrap_or_default().to_owned(),
            what: checks(figure, "field"),
            by: "against the last good answer",
        });
    }
    if let Some(schema) = contract.get("schema") {
        match schema_document(schema, read) {
            Some(document) => {
                let mut walk = Walk {
                    root: &document,
                    fields: &mut relied.fields,
                };
                walk.schema(&document, "", false, 0);
            }
            None => relied
                .notes
                .push("The schema could not be read here.".to_owned()),
        }
    }
    relied.more = relied.fields.len().saturating_sub(FIELDS_MAX);
    relied.fields.truncate(FIELDS_MAX);
    relied
}

fn mode_in_words(mode: Option<&str>) -> &'static str {
    match mode {
        Some("off") => "The contract is turned off: answers are served as they come.",
        Some("observe") => "What breaks the contract is counted and told, and served all the same.",
        _ => "What breaks the contract reaches nobody: the ladder below answers instead.",
    }
}

/// What a contract says beside its fields.
fn notes(contract: &Table, notes: &mut Vec<String>) {
    let types = texts(contract.get("content_type"));
    if !types.is_empty() {
        notes.push(format!("Answers are {}.", codes(&types)));
    }
    if let Some(size) = contract.get("size_min").and_then(Value::as_str) {
        notes.push(format!("They have at least {size}."));
    }
    match contract.get("schema") {
        Some(Value::String(path)) if !path.trim_start().starts_with('{') => {
            notes.push(format!("Their schema is `{}`.", path.replace('`', "'")));
        }
        Some(_) => notes.push("Their schema stands in the config.".to_owned()),
        None => {}
    }
    if let Some(records) = contract.get("records").and_then(Value::as_str) {
        let text = |key: &str| contract.get(key).and_then(Value::as_str);
        let max = text("bad_records_max").unwrap_or("0%");
        let what = match text("bad_records") {
            Some("drop") => "dropped",
            Some("mark") => "marked",
            _ => "kept",
        };
        notes.push(format!(
            "Its records are at `{}`; up to {max} of them may be bad, and are {what}.",
            records.replace('`', "'")
        ));
    }
}

fn transform(route: &Table, read: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    match route.get("transform")? {
        Value::String(program) => Some(program.clone()),
        Value::Table(table) => {
            let file = table.get("file").and_then(Value::as_str)?;
            Some(read(file).unwrap_or_else(|| format!("# {file} could not be read here")))
        }
        _ => None,
    }
}

/// A text or a list of texts.
fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) => {
            let texts = list.iter().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

fn codes(texts: &[String]) -> String {
    let codes = texts.iter().map(|it| format!("`{}`", it.replace('`', "'")));
    codes.collect::<Vec<_>>().join(", ")
}

/// The checks of a rule in words, in the order in which people read them.
fn checks(rule: &Table, but: &str) -> String {
    let words = rule.iter().filter(|(key, _)| *key != but);
    let words = words.map(|(key, value)| match (key.as_str(), value) {
        ("required" | "unique" | "non_empty", Value::Boolean(true)) => key.replace('_', " "),
        ("required", Value::Boolean(false)) => "may be absent".to_owned(),
        (_, value) => format!("{} {}", key.replace('_', " "), shown(value)),
    });
    let mut words: Vec<_> = words.collect();
    words.sort_by_key(|word| (word != "required", word.clone()));
    words.join("; ")
}

/// A value as people read it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

// --- Schema ---

fn schema_document(schema: &Value, read: &dyn Fn(&str) -> Option<String>) -> Option<Json> {
    match schema {
        Value::String(text) if text.trim_start().starts_with('{') => {
            serde_json::from_str(text).ok()
        }
        Value::String(path) => serde_json::from_str(&read(path)?).ok(),
        Value::Table(_) => serde_json::to_value(schema).ok(),
        _ => None,
    }
}

/// Goes through a schema for the fields it names.
struct Walk<'w> {
    root: &'w Json,
    fields: &'w mut Vec<Field>,
}

impl Walk<'_> {
    /// The schema of the value at `place`, a JSON Pointer in which `*` stands for every element.
    fn schema(&mut self, schema: &Json, place: &str, is_required: bool, depth: usize) {
        if depth > DEPTH_MAX || self.fields.len() > 4 * FIELDS_MAX {
            return;
        }
        let followed = self.followed(schema);
        let schema = followed.as_ref().unwrap_or(schema);
        if !place.is_empty() {
            let mut what = Vec::new();
            if is_required {
                what.push("required".to_owned());
            }
            what.extend(limits(schema));
            self.fields.push(Field {
                field: place.to_owned(),
                what: what.join("; "),
                by: "schema",
            });
        }
        let required = schema.get("required").and_then(Json::as_array);
        let is_named = |name: &str| {
            let mut names = required.into_iter().flatten();
            names.any(|known| known.as_str() == Some(name))
        };
        let properties = schema.get("properties").and_then(Json::as_object);
        for (name, below) in properties.into_iter().flatten() {
            let escaped = name.replace('~', "~0").replace('/', "~1");
            let place = format!("{place}/{escaped}");
            self.schema(below, &place, is_named(name), depth + 1);
        }
        let is_listed = |name: &str| properties.is_some_and(|known| known.contains_key(name));
        for name in required.into_iter().flatten().filter_map(Json::as_str) {
            if !is_listed(name) {
                let escaped = name.replace('~', "~0").replace('/', "~1");
                self.fields.push(Field {
                    field: format!("{place}/{escaped}"),
                    what: "required".to_owned(),
                    by: "schema",
                });
            }
        }
        if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
            self.schema(items, &format!("{place}/*"), false, depth + 1);
        }
    }

    /// What a `$ref` within the document names.
    fn followed(&self, schema: &Json) -> Option<Json> {
        let name = schema.get("$ref")?.as_str()?;
        let pointer = name.strip_prefix('#')?;
        let mut found = self.root.pointer(pointer)?;
        for _ in 0..DEPTH_MAX {
            let further = found.get("$ref").and_then(Json::as_str);
            let Some(pointer) = further.and_then(|name| name.strip_prefix('#')) else {
                return Some(found.clone());
            };
            found = self.root.pointer(pointer)?;
        }
        None
    }
}

/// The keywords that people read.
fn limits(schema: &Json) -> Vec<String> {
    let words = [
        ("type", ""),
        ("const", "equals "),
        ("enum", "one of "),
        ("format", "format "),
        ("pattern", "pattern "),
        ("minimum", "at least "),
        ("exclusiveMinimum", "above "),
        ("maximum", "at most "),
        ("exclusiveMaximum", "below "),
        ("minLength", "shortest "),
        ("maxLength", "longest "),
        ("minItems", "fewest "),
        ("maxItems", "most "),
    ];
    let found = words.iter().filter_map(|(key, word)| {
        let value = schema.get(*key)?;
        Some(format!("{word}{}", json_shown(value)))
    });
    found.collect()
}

fn json_shown(value: &Json) -> String {
    let text = match value {
        Json::String(text) => text.clone(),
        Json::Array(list) => list.iter().map(json_shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(route: &str, file: &str) -> Vec<String> {
        let route: Table = route.parse().unwrap();
        let relied = relied(&route, &|_| Some(file.to_owned()));
        let row = |field: &Field| format!("{} | {} | {}", field.field, field.what, field.by);
        relied.fields.iter().map(row).collect()
    }

    #[test]
    fn rules_are_rows_with_their_checks_in_words() {
        let got = rows(
            r#"
            [contract]
            rules = [
                { field = "/price", above = 0, max = 10000, required = true },
                { field = "/state", one_of = ["on", "off"] },
                { field = "$.items[*].sku", unique = true },
            ]
            record_rules = [{ field = "/net", at_most = "/gross" }]
            reconcile = [{ field = "$.items[*]", measure = "count", drop_max = "20%" }]
            "#,
            "",
        );
        let want = [
            "/price | required; above 0; max 10000 | rule",
            "/state | one of on, off | rule",
            "$.items[*].sku | unique | rule",
            "/net | at most /gross | rule for each record",
            "$.items[*] | drop max 20%; measure count | against the last good answer",
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn a_schema_names_fields_at_every_depth() {
        let schema = r##"{
            "required": ["items", "total"],
            "properties": {
                "items": {"type": "array", "items": {"$ref": "#/$defs/item"}},
                "a/b": {"enum": ["x", "y"]}
            },
            "$defs": {"item": {"type": "object", "required": ["sku"], "properties": {
                "sku": {"type": "string"}, "price": {"type": "number", "exclusiveMinimum": 0},
                "more": {"$ref": "#/$defs/item"}
            }}}
        }"##;
        let got = rows("contract.schema = \"a.json\"", schema);
        for want in [
            "/items | required; array | schema",
            "/items/*/sku | required; string | schema",
            "/items/*/price | number; above 0 | schema",
            "/a~1b | one of x, y | schema",
            "/total | required | schema",
        ] {
            assert!(got.iter().any(|row| row == want), "{want} in {got:#?}");
        }
        assert!(got.len() <= FIELDS_MAX, "a schema that names itself ends");
        let inline = rows(
            "contract.schema = { properties = { price = { type = \"number\" } } }",
            "",
        );
        assert_eq!(inline, ["/price | number | schema"]);
        let text = rows("contract.schema = '{\"properties\":{\"a\":true}}'", "");
        assert_eq!(text, ["/a |  | schema"]);
    }

    #[test]
    fn a_route_without_a_contract_relies_on_nothing_that_is_written_down() {
        assert_eq!(relied(&Table::new(), &|_| None), Relied::default());
        let route: Table = "contract.schema = \"gone.json\"\ntransform = { file = \"gone.jq\" }"
            .parse()
            .unwrap();
        let relied = relied(&route, &|_| None);
        assert!(
            relied
                .notes
                .iter()
                .any(|note| note.contains("could not be read"))
        );
        assert!(relied.transform.unwrap().contains("gone.jq"));
    }
}
