//! What is wrong with a contract's schema and types, told where it stands.

use super::{
    tests::{complaints_with, parsed_with},
    *,
};

const ROUTE: &str = "upstream.api.endpoints = [\"http://127.0.0.1:9100\"]
[[route]]
name = \"prices\"
path = \"/{*rest}\"
upstream = \"api\"
[route.contract]
";

fn files() -> Vec<(&'static str, &'static str)> {
    vec![
        (
            "conf/contracts/price.json",
            r#"{"type": "object", "$ref": "money.json#/$defs/m"}"#,
        ),
        (
            "conf/contracts/money.json",
            r#"{"$defs": {"m": {"required": ["price"]}}}"#,
        ),
        (
            "conf/contracts/broken.json",
            "{\n  \"type\": \"object\",\n}\n",
        ),
        (
            "conf/contracts/wrong.json",
            "{\n  \"properties\": {\n    \"price\": {\"minimum\": \"0\"}\n  }\n}\n",
        ),
        ("conf/contracts/leads.json", "{\"$ref\": \"wrong.json\"}"),
        ("shared/price.json", r#"{"$ref": "beside.json"}"#),
        ("conf/../shared/price.json", r#"{"$ref": "beside.json"}"#),
        ("conf/../shared/beside.json", "true"),
    ]
}

#[test]
fn a_schema_is_a_file_or_a_text_or_a_table() {
    for (name, contract) in [
        (
            "a file, and one beside it",
            "schema = \"contracts/price.json\"",
        ),
        ("by another way", "schema = \"./contracts/price.json\""),
        (
            "outside the config's folder",
            "schema = \"../shared/price.json\"",
        ),
        ("a text", "schema = '{\"required\": [\"price\"]}'"),
        (
            "a text of several lines",
            "schema = '''\n{\n  \"required\": [\"price\"]\n}\n'''",
        ),
        (
            "a text that refers to a file",
            "schema = '{\"$ref\": \"contracts/money.json#/$defs/m\"}'",
        ),
        (
            "a table",
            "schema = { required = [\"price\"], properties = { price = { minimum = 0.01, maximum = 100 } } }",
        ),
        (
            "a table with a header",
            "[route.contract.schema]\nrequired = [\"price\"]",
        ),
    ] {
        let config = parsed_with(&format!("{ROUTE}{contract}"), &files());
        let route = config.routes[0].contract.as_ref().unwrap();
        assert!(route.schema.is_some(), "{name}");
        assert!(route.types.reads_json(), "{name}");
        assert_ne!(route.fingerprint, 0, "{name}");
    }
}

#[test]
fn another_file_is_another_contract() {
    let text = format!("{ROUTE}schema = \"contracts/price.json\"");
    let fingerprint = |money: &'static str| {
        let mut files = files();
        files[1].1 = money;
        parsed_with(&text, &files).routes[0]
            .contract
            .as_ref()
            .unwrap()
            .fingerprint
    };
    let one = fingerprint(r#"{"$defs": {"m": true}}"#);
    assert_eq!(one, fingerprint(r#"{ "$defs" : {"m": true}}"#));
    assert_ne!(one, fingerprint(r#"{"$defs": {"m": false}}"#));
}

#[test]
fn what_is_wrong_with_a_schema_is_told_where_it_stands() {
    for (name, contract, want) in [
        (
            "a file that is not there",
            "schema = \"contracts/prices.json\"",
            "conf/proxy.toml:7:10: route.prices.contract.schema: cannot read conf/contracts/prices.json: ",
        ),
        (
            "a file that is no JSON",
            "schema = \"contracts/broken.json\"",
            "conf/contracts/broken.json:3:1: route.prices.contract.schema: is not JSON: trailing comma",
        ),
        (
            "a file that is no schema",
            "schema = \"contracts/wrong.json\"",
            "conf/contracts/wrong.json:3:26: route.prices.contract.schema: is no JSON Schema: \"0\" is not of type \"number\"",
        ),
        (
            "a file that another refers to",
            "schema = \"contracts/leads.json\"",
            "conf/contracts/wrong.json:3:26: route.prices.contract.schema: is no JSON Schema",
        ),
        (
            "a text that is no JSON",
            "schema = '{\"a\": }'",
            "conf/proxy.toml:7:17: route.prices.contract.schema: is not JSON: expected value",
        ),
        (
            "a text of several lines",
            "schema = '''\n{\n  \"type\": \"obj\"\n}\n'''",
            "conf/proxy.toml:9:11: route.prices.contract.schema: is no JSON Schema: \"obj\" ",
        ),
        (
            "a text with escapes: the key's value",
            "schema = \"{\\\"type\\\": \\\"obj\\\"}\"",
            "conf/proxy.toml:7:10: route.prices.contract.schema: is no JSON Schema: \"obj\" ",
        ),
        (
            "a table",
            "schema = { properties = { price = { minimum = \"0\" } } }",
            "conf/proxy.toml:7:47: route.prices.contract.schema: is no JSON Schema: \"0\" is not",
        ),
        (
            "a reference to the network",
            "schema = '{\"$ref\": \"https://vendor.example/price.json\"}'",
            "conf/proxy.toml:7:20: route.prices.contract.schema: refers to https://vendor.example/price.json, and nothing is fetched; put that schema beside",
        ),
        (
            "a number",
            "schema = 1",
            "conf/proxy.toml:7:10: route.prices.contract.schema: expected a file, JSON or a table, found a whole number",
        ),
        (
            "nothing",
            "schema = \"\"",
            "conf/proxy.toml:7:10: route.prices.contract.schema: is empty",
        ),
        (
            "a type that is none",
            "content_type = [\"application/json\", \"json\"]",
            "conf/proxy.toml:7:37: route.prices.contract.content_type[1]: `json` is no media type; write \"application/json\"",
        ),
        (
            "a schema for CSV",
            "schema = 'true'\ncontent_type = \"text/csv\"",
            "cannot read conf/true",
        ),
        (
            "a schema for XML",
            "schema = '{}'\ncontent_type = [\"application/json\", \"text/xml\"]",
            "conf/proxy.toml:8:16: route.prices.contract.content_type: `text/xml` is no JSON, and `schema` looks into JSON; ",
        ),
    ] {
        let complaints = complaints_with(&format!("{ROUTE}{contract}"), &files());
        assert!(complaints[0].contains(want), "{name}:\n{complaints:#?}");
    }
}

#[test]
fn a_finding_in_a_file_shows_its_line() {
    let text = format!("{ROUTE}schema = \"contracts/wrong.json\"");
    let errors = tests::errors_with(&text, &files());
    let shown = errors.render(false);
    for want in [
        "conf/contracts/wrong.json:3:26",
        "\"price\": {\"minimum\": \"0\"}",
        "^^^",
    ] {
        assert!(shown.contains(want), "{want} in:\n{shown}");
    }
}

#[test]
fn what_looks_into_nothing_takes_any_type() {
    let config = parsed_with(&format!("{ROUTE}size_min = \"10 B\""), &[]);
    let contract = config.routes[0].contract.as_ref().unwrap();
    assert_eq!(contract.types, crate::contract::ContentTypes::any());
    assert_eq!(
        (contract.size_bytes_min, contract.schema.is_some()),
        (10, false)
    );
    let config = parsed_with(&format!("{ROUTE}content_type = \"text/csv\""), &[]);
    let contract = config.routes[0].contract.as_ref().unwrap();
    assert_eq!(
        (contract.size_bytes_min, contract.types.to_string()),
        (1, "text/csv".to_owned())
    );
}

#[test]
fn what_is_told_and_kept_has_bounds() {
    for (name, contract, want) in [
        (
            "all of it",
            "quiet = \"1h\"\nsamples_max = 0\nsample_bytes_max = \"64 KiB\"",
            "",
        ),
        (
            "longer samples than can be kept",
            "sample_bytes_max = \"65 KiB\"",
            "conf/proxy.toml:7:20: route.prices.contract.sample_bytes_max: is more than 64 KiB",
        ),
        (
            "more samples than anybody reads",
            "samples_max = 51",
            "conf/proxy.toml:7:15: route.prices.contract.samples_max: ",
        ),
        (
            "no time at all",
            "quiet = \"0s\"",
            "conf/proxy.toml:7:9: route.prices.contract.quiet: ",
        ),
    ] {
        let text = format!("{ROUTE}{contract}");
        if want.is_empty() {
            let config = parsed_with(&text, &files());
            let telling = config.routes[0].contract.as_ref().unwrap().telling;
            assert_eq!(
                (telling.samples_max, telling.sample_bytes_max),
                (0, 64 << 10)
            );
            assert_eq!(telling.quiet, std::time::Duration::from_secs(3600));
            continue;
        }
        let told = complaints_with(&text, &files());
        assert!(told[0].contains(want), "{name}: {told:#?}");
    }
}
