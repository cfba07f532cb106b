//! The rules of a contract as the config writes them: what compiles, and what is told where.

use std::{path::Path, time::Duration};

use super::*;
use crate::contract::{Measure, Remedy, Rule, Terms};

/// A route whose contract has these lines, which begin at line 5.
fn text_of(contract: &str) -> String {
    format!(
        "upstream.api.endpoints = [\"http://127.0.0.1:9100\"]\n[[route]]\npath = \"/{{*rest}}\"\n\
         upstream = \"api\"\n{contract}\n"
    )
}

fn parsed(contract: &str) -> Result<Config, ConfigErrors> {
    parse(
        &text_of(contract),
        Path::new("proxy.toml"),
        &FixedEnv::default(),
    )
}

fn terms(contract: &str) -> Terms {
    let config = parsed(contract).unwrap_or_else(|errors| panic!("{errors}"));
    let contract = config.routes[0].contract.clone();
    contract.map(|it| it.terms.clone()).unwrap_or_default()
}

#[test]
fn every_check_is_read() {
    let terms = terms(
        r#"contract.rules = [
  { field = "/price", required = true, above = 0, max = 10_000.5 },
  { field = "/n", nullable = true, type = ["integer", "string"], min = -1, below = 0x10 },
  { field = "/currency", equals = "EUR" }, { field = "/state", one_of = ["on", 1, true] },
  { field = "/items", non_empty = true }, { field = "$.items[*].sku", unique = true },
  { field = "/net", at_most = "/gross" }, { field = "", type = "object" },
  { field = "$.items[*]", count_min = 1, count_max = 5000, count_within = "30%" },
]
contract.records = "/items"
contract.record_rules = [{ field = "/price", above = 0 }]
contract.bad_records_max = "0.5%"
contract.bad_records = "mark"
contract.reconcile = [{ field = "$.items[*]", drop_max = "20%" },
  { field = "$.items[*].stock", measure = "sum", drop_max = "50%", dataset = "catalogue", window = "2h" }]"#,
    );
    let rules: Vec<_> = terms.rules.iter().map(Rule::terms).collect();
    assert_eq!(
        rules,
        [
            "/price: required, max 10000.5, above 0",
            "/n: type integer or string, min -1, below 16",
            "/currency: equals \"EUR\"",
            "/state: one_of \"on\", 1, true",
            "/items: required, non_empty",
            "$.items[*].sku: unique",
            "/net: at_most /gross",
            "the whole: type object",
            "$.items[*]: count_min 1, count_max 5000, count_within 30%",
        ]
    );
    assert!(terms.rules[1].nullable);
    let records = terms.records.clone().unwrap();
    assert_eq!(records.field.as_str(), "/items");
    assert_eq!(records.rules[0].terms(), "/price: above 0");
    assert_eq!((records.bad, &*records.mark), (Remedy::Mark, "_bad"));
    assert_eq!(records.bad_max.to_string(), "0.5%");
    let [count, sum] = &terms.figures[..] else {
        panic!("{:?}", terms.figures)
    };
    assert_eq!((count.measure, sum.measure), (Measure::Count, Measure::Sum));
    assert_eq!(count.window, Duration::from_secs(24 * 3600));
    assert_eq!(sum.window, Duration::from_secs(2 * 3600));
    assert_eq!(sum.dataset.as_deref(), Some("catalogue"));
    let (whole, of_records) = terms.fields();
    assert!(whole.iter().any(|it| it.as_str() == "/gross"));
    assert_eq!(of_records[0].as_str(), "/price");
}

#[test]
fn what_cannot_be_a_rule_is_told_with_its_place() {
    for (name, contract, place, want) in [
        (
            "no pointer",
            r#"contract.rules = [{ field = "price", min = 1 }]"#,
            r#""price""#,
            "`price` is neither a JSON Pointer nor a JSONPath",
        ),
        (
            "no JSONPath",
            r#"contract.rules = [{ field = "$.items[", min = 1 }]"#,
            r#""$.items[""#,
            "is not a JSONPath",
        ),
        (
            "a leading zero",
            r#"contract.rules = [{ field = "/items/01", min = 1 }]"#,
            r#""/items/01""#,
            "no leading zero",
        ),
        (
            "a wrong escape",
            r#"contract.rules = [{ field = "/a~b", min = 1 }]"#,
            r#""/a~b""#,
            "`~0`",
        ),
        (
            "no field",
            r#"contract.rules = [{ min = 1 }]"#,
            r#"{ min"#,
            "is missing",
        ),
        (
            "no check",
            r#"contract.rules = [{ field = "/a" }]"#,
            r#""/a""#,
            "has no check",
        ),
        (
            "no check but null",
            r#"contract.rules = [{ field = "/a", nullable = true }]"#,
            r#""/a""#,
            "has no check",
        ),
        (
            "an unknown check",
            r#"contract.rules = [{ field = "/a", minimum = 1 }]"#,
            r#"minimum"#,
            "did you mean `min`?",
        ),
        (
            "another unknown check",
            r#"contract.rules = [{ field = "/a", requried = true }]"#,
            r#"requried"#,
            "did you mean `required`?",
        ),
        (
            "an unknown type",
            r#"contract.rules = [{ field = "/a", type = "int" }]"#,
            r#""int""#,
            "did you mean \"integer\"?",
        ),
        (
            "the lower bound above the upper",
            r#"contract.rules = [{ field = "/a", min = 2, max = 1 }]"#,
            r#"2, max"#,
            "`min` 2 and `max` 1",
        ),
        (
            "counts",
            r#"contract.rules = [{ field = "/a", count_min = 2, count_max = 1 }]"#,
            r#"2, count_max"#,
            "`count_min` 2",
        ),
        (
            "a number in quotes",
            r#"contract.rules = [{ field = "/a", min = "12.5" }]"#,
            r#""12.5""#,
            "write 12.5 without quotes",
        ),
        (
            "equal to nothing",
            r#"contract.rules = [{ field = "/a", equals = nan }]"#,
            r#"nan"#,
            "no value in JSON is `nan`",
        ),
        (
            "infinite",
            r#"contract.rules = [{ field = "/a", max = inf }]"#,
            r#"inf"#,
            "no value in JSON is `inf`",
        ),
        (
            "a date",
            r#"contract.rules = [{ field = "/a", equals = 2026-01-01 }]"#,
            r#"2026"#,
            "write \"2026-01-01\"",
        ),
        (
            "one of none",
            r#"contract.rules = [{ field = "/a", one_of = [] }]"#,
            r#"[] }"#,
            "is empty",
        ),
        (
            "a share without its sign",
            r#"contract.rules = [{ field = "/a", count_within = 30 }]"#,
            r#"30 }"#,
            "write \"30%\"",
        ),
        (
            "another field that is none",
            r#"contract.rules = [{ field = "/a", at_most = "b" }]"#,
            r#""b""#,
            "neither",
        ),
        (
            "rules of no records",
            r#"contract.record_rules = [{ field = "/a", min = 1 }]"#,
            "",
            "`records` does not say where they are",
        ),
        (
            "a share of no records",
            r#"contract.bad_records_max = "5%""#,
            r#""5%""#,
            "`records` does not say where they are",
        ),
        (
            "too large a share",
            "contract.records = \"/a\"\ncontract.bad_records_max = \"101%\"",
            r#""101%""#,
            "more than 100%",
        ),
        (
            "a mark that marks nothing",
            "contract.records = \"/a\"\ncontract.mark = \"_x\"",
            r#""_x""#,
            "`bad_records` is not \"mark\"",
        ),
        (
            "written from the root",
            "contract.records = \"/items\"\ncontract.record_rules = [{ field = \"/items/0/price\", above = 0 }]",
            r#""/items/0/price""#,
            "write \"/price\"",
        ),
        (
            "written from the root, as a path",
            "contract.records = \"/items\"\ncontract.record_rules = [{ field = \"$.items[*].price\", above = 0 }]",
            r#""$.items[*].price""#,
            "write \"/price\"",
        ),
        (
            "a record and the last good one",
            "contract.records = \"/items\"\ncontract.record_rules = [{ field = \"/a\", count_within = \"5%\" }]",
            r#""5%""#,
            "no counterpart",
        ),
        (
            "a figure without its limit",
            r#"contract.reconcile = [{ field = "/a" }]"#,
            "",
            "is missing",
        ),
        (
            "an unknown measure",
            r#"contract.reconcile = [{ field = "/a", measure = "sums", drop_max = "5%" }]"#,
            r#""sums""#,
            "did you mean \"sum\"?",
        ),
    ] {
        let shown = parsed(contract).expect_err(name).to_string();
        assert!(shown.contains(want), "{name}: {shown}");
        // The place is where this stands; where nothing is given, only the line is looked at.
        let text = text_of(contract);
        let at = text.find(place).filter(|_| !place.is_empty());
        let line = 1 + text[..at.unwrap_or(text.len() - 1)].matches('\n').count();
        let column = at.map(|at| at - text[..at].rfind('\n').map_or(0, |it| it + 1) + 1);
        let column = column.map(|column| column.to_string()).unwrap_or_default();
        assert!(
            shown.contains(&format!("proxy.toml:{line}:{column}")),
            "{name}: {shown}"
        );
    }
}

#[test]
fn rules_on_a_route_that_takes_no_json_are_told() {
    for rules in [
        r#"contract.rules = [{ field = "/a", min = 1 }]"#,
        r#"contract.records = """#,
        r#"contract.reconcile = [{ field = "/a", drop_max = "5%" }]"#,
    ] {
        let errors = parsed(&format!("contract.content_type = [\"text/csv\"]\n{rules}"));
        let shown = errors.expect_err(rules).to_string();
        assert!(shown.contains("is no JSON"), "{shown}");
        assert!(shown.contains("proxy.toml:5:"), "{shown}");
    }
}

#[test]
fn a_field_that_the_schema_rules_out_is_told() {
    let schema = r#"contract.schema = """{"type": "object", "additionalProperties": false, "properties": {
  "price": {"type": "number"}, "items": {"type": "array", "items": {"type": "object", "additionalProperties": false,
    "properties": {"sku": true}}}}}""""#;
    for (rules, want) in [
        (r#"contract.rules = [{ field = "/price", min = 1 }]"#, None),
        (
            r#"contract.rules = [{ field = "/cost", min = 1 }]"#,
            Some("`/cost` cannot exist"),
        ),
        (
            r#"contract.rules = [{ field = "/price/amount", min = 1 }]"#,
            Some("`/price/amount` cannot exist"),
        ),
        (
            r#"contract.rules = [{ field = "/price", at_most = "/gross" }]"#,
            Some("`/gross` cannot exist"),
        ),
        (
            r#"contract.records = "/list""#,
            Some("`/list` cannot exist"),
        ),
        (
            "contract.records = \"/items\"\ncontract.record_rules = [{ field = \"/sku\", required = true }]",
            None,
        ),
        (
            "contract.records = \"/items\"\ncontract.record_rules = [{ field = \"/name\", required = true }]",
            Some("`/name` cannot exist"),
        ),
        (
            r#"contract.reconcile = [{ field = "/stock", drop_max = "5%" }]"#,
            Some("`/stock` cannot exist"),
        ),
    ] {
        let outcome = parsed(&format!("{schema}\n{rules}"));
        let shown = outcome.map_or_else(|errors| errors.to_string(), |_| String::new());
        match want {
            None => assert_eq!(shown, "", "{rules}"),
            Some(want) => assert!(shown.contains(want), "{rules}: {shown}"),
        }
    }
}

#[test]
fn figures_of_one_dataset_measure_the_same() {
    let second = |figure: &str| {
        let figure = format!("{{ field = \"/b\", drop_max = \"5%\", dataset = \"c\"{figure} }}");
        parsed(&format!(
            "contract.reconcile = [{{ field = \"/a\", drop_max = \"9%\", dataset = \"c\" }}]\n\
             [[route]]\npath = \"/b\"\nupstream = \"api\"\ncontract.reconcile = [{figure}]"
        ))
    };
    assert!(second("").is_ok());
    for (key, figure) in [
        ("measure", ", measure = \"sum\""),
        ("window", ", window = \"1h\""),
        ("keys_max", ", keys_max = 5"),
    ] {
        let shown = second(figure).expect_err(key).to_string();
        assert!(
            shown.contains(&format!("whose `{key}` is not that of an earlier one")),
            "{shown}"
        );
    }
}

#[test]
fn a_star_in_a_pointer_is_warned_about() {
    let config = parsed(r#"contract.rules = [{ field = "/items/*/price", min = 1 }]"#).unwrap();
    let warning = config.warnings[0].to_string();
    assert!(warning.contains("a member of that name"), "{warning}");
}
