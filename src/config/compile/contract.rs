//! `[route.contract]`: what an answer must be like, compiled once.

use std::sync::Arc;

use toml::de::DeValue;
use xxhash_rust::xxh3::xxh3_64;

use super::rules;
use crate::{
    config::{
        fixed::number,
        reader::{Item, Table},
        values::{self, Complaint},
    },
    contract::{ContentTypes, Contract, Limits, Mode, Program, Remedy, Schema, Telling, Terms},
};

/// Keys that do not change which answers are good.
const BESIDE: [&str; 6] = [
    "mode",
    "retry",
    "breaker",
    "quiet",
    "samples_max",
    "sample_bytes_max",
];
/// All samples of a route are one small file (`store.kept_bytes_max`), written when one of them is new.
const SAMPLE_BYTES_MAX: u64 = 64 << 10;

/// Keys that look into JSON.
const LOOKING: [&str; 5] = ["schema", "rules", "records", "record_rules", "reconcile"];

/// The contract of a route; `None` where there is nothing to judge.
pub(super) fn contract(route: &Table<'_>) -> Option<Arc<Contract>> {
    let written = route.optional_table("contract");
    let table = route.table("contract");
    let mode = match table.word("mode") {
        // Switches off the judging: what the site expects is made all the same.
        "off" => None,
        "observe" => Some(Mode::Observe),
        _ => Some(Mode::Enforce),
    };
    let schema = super::schema::schema(&table);
    let looking = LOOKING.iter().copied().find(|key| table.is_written(key));
    let looking = looking.or(route.is_written("transform").then_some("transform"));
    let transform = super::transform::transform(route);
    let contract = Contract {
        mode: mode.unwrap_or_default(),
        types: types(&table, looking),
        size_bytes_min: table.size("size_min"),
        limits: limits(&table),
        terms: rules::terms(&table, schema.as_ref().map(Schema::as_value)),
        retry: table.flag("retry"),
        breaker: table.flag("breaker"),
        fingerprint: match (mode, route.item("contract")) {
            (Some(Mode::Enforce), Some(item)) => fingerprint(&item, schema.as_ref()),
            _ => 0,
        },
        mapping: 0,
        transform,
        schema,
        telling: telling(&table),
    };
    if mode.is_none() || written.is_none() {
        return mapping_alone(contract);
    }
    let records = match (contract.remedy(), route.item("contract")) {
        (Remedy::Drop | Remedy::Mark, Some(item)) => fingerprint(&item, contract.schema.as_ref()),
        _ => 0,
    };
    let mapping = mapping(contract.transform.as_ref(), records);
    Some(Arc::new(Contract {
        mapping,
        ..contract
    }))
}

/// A number for all that rewrites content: the program, and by what records are found bad that are dropped or marked. 0
/// where nothing does.
fn mapping(transform: Option<&Program>, records: u64) -> u64 {
    match transform.map_or(0, |program| program.fingerprint().max(1)) {
        0 => records,
        program if records == 0 => program,
        program => xxh3_64(format!("{program:016x}{records:016x}").as_bytes()).max(1),
    }
}

/// What is left of a contract where nothing is judged: what maps, within its bounds.
fn mapping_alone(contract: Contract) -> Option<Arc<Contract>> {
    let mapping = mapping(Some(contract.transform.as_ref()?), 0);
    Some(Arc::new(Contract {
        mode: Mode::Enforce,
        mapping,
        schema: None,
        terms: Terms::default(),
        fingerprint: 0,
        ..contract
    }))
}

fn telling(table: &Table<'_>) -> Telling {
    let sample_bytes_max = table.size("sample_bytes_max");
    if sample_bytes_max > SAMPLE_BYTES_MAX {
        table.error("sample_bytes_max", "is more than 64 KiB");
    }
    Telling {
        quiet: table.duration("quiet"),
        samples_max: table.count("samples_max"),
        sample_bytes_max: usize::try_from(sample_bytes_max).unwrap_or_default(),
    }
}

fn limits(table: &Table<'_>) -> Limits {
    Limits {
        body_bytes_max: table.size("body_max"),
        depth_max: table.count("depth_max"),
        values_max: table.count("values_max"),
        time_max: table.duration("time_max"),
    }
}

/// `content_type`, where `looking` is a key that looks into JSON.
fn types(table: &Table<'_>, looking: Option<&str>) -> ContentTypes {
    let list = table.list("content_type", |value| {
        let text = values::line(value)?;
        ContentTypes::parse([text.as_str()], false).map_err(|message| {
            Complaint::new(message)
                .hint("write \"application/json\", \"application/*+json\", \"text/*\" or \"*/*\"")
        })?;
        Ok(text)
    });
    let list = list.iter().map(String::as_str);
    let Ok(types) = ContentTypes::parse(list, looking.is_some()) else {
        return looking.map_or_else(ContentTypes::any, |_| ContentTypes::json());
    };
    if let (Some(looking), Some(other)) = (looking, types.first_not_json()) {
        let message = format!("`{other}` is no JSON, and `{looking}` looks into JSON");
        let hint = "name the type that the vendor sends its JSON as, or leave that key out";
        table.error("content_type", message).hint(hint);
    }
    types
}

/// A number for the terms as they are written, wherever in the file, and for what they name. Never 0.
fn fingerprint(contract: &Item<'_>, schema: Option<&Schema>) -> u64 {
    let DeValue::Table(entries) = contract.value else {
        return 1;
    };
    let mut text = String::new();
    for (name, value) in entries {
        if !BESIDE.contains(&name.get_ref().as_ref()) {
            text.push_str(&format!("{}={};", name.get_ref(), number(value.get_ref())));
        }
    }
    if let Some(schema) = schema {
        text.push_str(&schema.all_text());
    }
    xxh3_64(text.as_bytes()).max(1)
}
