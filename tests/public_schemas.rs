//! The JSON Schema Test Suite, which nobody here wrote, by the validator as routes use it.
//!
//! It is shipped in a package; `tests/real/contracts` gets it and names its folder in `LARDER_SCHEMAS`. Without that there is
//! nothing to run. Every case in which larder answers otherwise than the suite is listed here with its reason, and has to
//! go on doing so.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use larder::contract::{Effort, Limits, Schema};
use serde_json::{Value, json};

/// Folder of the suite, and what its schemas say they are where they say nothing.
const DRAFTS: [(&str, &str); 5] = [
    (
        "draft2020-12",
        "https://json-schema.org/draft/2020-12/schema",
    ),
    (
        "draft2019-09",
        "https://json-schema.org/draft/2019-09/schema",
    ),
    ("draft7", "http://json-schema.org/draft-07/schema#"),
    ("draft6", "http://json-schema.org/draft-06/schema#"),
    ("draft4", "http://json-schema.org/draft-04/schema#"),
];

/// File, end of the case's name, what the suite says of it, and why larder says otherwise.
const KNOWN: [(&str, &str, bool, &str); 3] = [
    (
        "draft2020-12/format.json",
        "is only an annotation by default",
        true,
        "`format` is checked: who writes `format: date` expects dates",
    ),
    (
        "optional/format/idn-hostname.json",
        "",
        false,
        "names beyond ASCII are believed: the crate would take the tables of IDNA for it",
    ),
    (
        "optional/format/idn-email.json",
        "",
        false,
        "the same for addresses",
    ),
];

#[derive(Default)]
struct Tally {
    held: usize,
    fetched: usize,
    known: BTreeMap<&'static str, usize>,
    wrong: Vec<String>,
}

#[test]
fn the_suite_of_json_schema_is_answered_as_it_says() {
    let Some(folder) = std::env::var_os("LARDER_SCHEMAS") else {
        println!(
            "LARDER_SCHEMAS names no folder: tests/real/contracts gets the suite and runs this"
        );
        return;
    };
    let folder = PathBuf::from(folder).join("tests");
    let mut tally = Tally::default();
    for (draft, dialect) in DRAFTS {
        let before = tally.held;
        for file in files(&folder.join(draft)) {
            run(&file, &folder, dialect, &mut tally);
        }
        println!("{draft}: {} cases as the suite says", tally.held - before);
    }
    println!(
        "{} cases refer to the network, which is refused",
        tally.fetched
    );
    for (reason, count) in &tally.known {
        println!("{count} cases otherwise: {reason}");
    }
    assert!(
        tally.wrong.is_empty(),
        "{} cases:\n{}",
        tally.wrong.len(),
        tally.wrong.join("\n")
    );
    assert_eq!(tally.known.len(), KNOWN.len(), "what is listed is still so");
    assert!(tally.held > 5000, "{} cases are no suite", tally.held);
}

/// What every implementation has to do, and formats, which larder checks. Other optional files ask for choices of others.
fn files(draft: &Path) -> Vec<PathBuf> {
    let list = |folder: PathBuf| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let paths = entries.map(|entry| entry.expect("the folder can be listed").path());
        paths
            .filter(|path| path.extension().is_some_and(|end| end == "json"))
            .collect()
    };
    let mut files = list(draft.to_owned());
    if draft.ends_with("draft2020-12") {
        files.extend(list(draft.join("optional/format")));
        files.push(draft.join("optional/ecmascript-regex.json"));
    }
    files.sort();
    files
}

fn run(file: &Path, folder: &Path, dialect: &str, tally: &mut Tally) {
    let name = file
        .strip_prefix(folder)
        .expect("it is below")
        .display()
        .to_string();
    let groups: Value = serde_json::from_slice(&std::fs::read(file).expect("it can be read"))
        .expect("the suite is JSON");
    for group in groups.as_array().expect("a list of groups") {
        let title = group["description"].as_str().expect("a group has a title");
        let mut document = group["schema"].clone();
        if let Some(members) = document.as_object_mut() {
            members.entry("$schema").or_insert_with(|| json!(dialect));
        }
        let schema = Schema::of(document, "", &|path| Err(format!("no {path}")));
        for case in group["tests"].as_array().expect("a group has tests") {
            let title = format!(
                "{title}: {}",
                case["description"].as_str().expect("a test has a title")
            );
            let want = case["valid"].as_bool().expect("a test has a verdict");
            let got = match &schema {
                Ok(schema) => fits(schema, &case["data"]),
                Err(error) if error.message.contains("nothing is fetched") => {
                    tally.fetched += 1;
                    continue;
                }
                Err(error) if error.message.contains("cannot be read: no ") => {
                    tally.fetched += 1;
                    continue;
                }
                Err(error) => Err(error.to_string()),
            };
            if got == Ok(want) {
                tally.held += 1;
                continue;
            }
            let known = KNOWN.iter().find(|(file, end, valid, _)| {
                name.ends_with(file) && title.ends_with(end) && *valid == want
            });
            match known {
                Some((.., reason)) if got == Ok(!want) => {
                    *tally.known.entry(reason).or_default() += 1;
                }
                _ => tally.wrong.push(format!("{name}: {title}: {got:?}")),
            }
        }
    }
}

fn fits(schema: &Schema, value: &Value) -> Result<bool, String> {
    let effort = Effort::new(&Limits::default(), &|| false);
    let mut violations = Vec::new();
    let checked = schema.check(value, &effort, 1, &mut violations);
    checked.map_err(|breach| breach.to_string())?;
    Ok(violations.is_empty())
}
