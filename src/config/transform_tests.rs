//! What is wrong with a route's `transform`, told where it stands.

use super::tests::{complaints_with, parsed_with};

const ROUTE: &str = "upstream.api.endpoints = [\"http://127.0.0.1:9100\"]
[[route]]
name = \"prices\"
path = \"/{*rest}\"
upstream = \"api\"
";

fn files() -> Vec<(&'static str, &'static str)> {
    vec![
        (
            "conf/mappings/prices.jq",
            "# the vendor says cost\n.price = .cost\n| del(.cost)\n",
        ),
        (
            "conf/mappings/broken.jq",
            "# the vendor says cost\n.price = .cost\n| dell(.cost)\n",
        ),
    ]
}

fn mapping_of(route: &str) -> (u64, u64) {
    let config = parsed_with(&format!("{ROUTE}{route}"), &files());
    let contract = config.routes[0].contract.as_ref();
    contract.map_or((0, 0), |contract| (contract.mapping, contract.fingerprint))
}

#[test]
fn a_program_is_a_text_or_a_file_with_a_contract_or_without() {
    for (name, route, judged) in [
        (
            "a text",
            "transform = \".price = .cost | del(.cost)\"",
            false,
        ),
        (
            "lines of it",
            "transform = '''\n.price = .cost\n| del(.cost)\n'''",
            false,
        ),
        (
            "a file",
            "transform = { file = \"mappings/prices.jq\" }",
            false,
        ),
        (
            "beside a contract",
            "transform = \".\"\n[route.contract]\nsize_min = \"2 B\"",
            true,
        ),
        (
            "beside one that only looks",
            "transform = \".\"\n[route.contract]\nmode = \"observe\"",
            false,
        ),
        (
            "beside one that is off",
            "transform = \".\"\n[route.contract]\nmode = \"off\"\nsize_min = \"2 B\"",
            false,
        ),
    ] {
        let (mapping, fingerprint) = mapping_of(route);
        assert_ne!(mapping, 0, "{name}");
        assert_eq!(fingerprint != 0, judged, "{name}");
    }
    assert_eq!(mapping_of("contract.mode = \"off\""), (0, 0));
    assert_ne!(
        mapping_of("transform = \".a\""),
        mapping_of("transform = \".b\"")
    );
}

#[test]
fn what_is_wrong_with_a_program_is_told_where_it_stands() {
    for (name, route, want) in [
        (
            "a function that does not exist",
            "transform = \".name | upcase\"",
            "conf/proxy.toml:6:22: route.prices.transform: there is no function `upcase/0`; did you mean `ascii_upcase/0`?",
        ),
        (
            "behind escapes",
            "transform = \".[\\\"a\\\"] | upcase\"",
            "conf/proxy.toml:6:25: route.prices.transform: there is no function `upcase/0`",
        ),
        (
            "in the third line of a text",
            "transform = '''\n.price = .cost\n  | dell(.cost)\n'''",
            "conf/proxy.toml:8:5: route.prices.transform: there is no function `dell/1`; did you mean `del/1`?",
        ),
        (
            "in the third line of a file",
            "transform = { file = \"mappings/broken.jq\" }",
            "conf/mappings/broken.jq:3:3: route.prices.transform.file: there is no function `dell/1`; did you mean `del/1`?",
        ),
        (
            "a program that is not finished",
            "transform = \".price = (.cost\"",
            "conf/proxy.toml:6:23: route.prices.transform: `(` is never closed",
        ),
        (
            "one that looks outside",
            "transform = \".at = now\"",
            "conf/proxy.toml:6:20: route.prices.transform: `now` does not exist here: a program sees the answer and nothing else",
        ),
        (
            "a file that is not there",
            "transform = { file = \"mappings/none.jq\" }",
            "conf/proxy.toml:6:22: route.prices.transform.file: cannot read conf/mappings/none.jq: ",
        ),
        (
            "a file where a program belongs",
            "transform = \"mappings/prices.jq\"",
            "conf/proxy.toml:6:14: route.prices.transform: there is no function `mappings/0`; a file is written as { file = \"mappings/prices.jq\" }",
        ),
        (
            "a key that does not exist",
            "transform = { path = \"mappings/prices.jq\" }",
            "conf/proxy.toml:6:15: route.prices.transform.path: unknown key",
        ),
        (
            "neither",
            "transform = 1",
            "conf/proxy.toml:6:13: route.prices.transform: expected a jq program or a file of one, found ",
        ),
        (
            "on answers that are no JSON",
            "transform = \".\"\ncontract.content_type = [\"text/csv\"]",
            "conf/proxy.toml:7:25: route.prices.contract.content_type: `text/csv` is no JSON, and `transform` looks into JSON",
        ),
    ] {
        let complaints = complaints_with(&format!("{ROUTE}{route}"), &files());
        let is_told = complaints.iter().any(|it| it.starts_with(want));
        assert!(is_told, "{name}:\n{complaints:?}\n{want}");
    }
}
