//! `[route.contract]`: what an answer must be like, compiled once.

use std::sync::Arc;

use toml::de::DeValue;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    config::reader::{Item, Table},
    contract::{Contract, Limits, Mode},
};

/// Keys that do not change which answers are good.
const BESIDE: [&str; 3] = ["mode", "retry", "breaker"];

/// The contract of a route; `None` where there is nothing to judge.
pub(super) fn contract(route: &Table<'_>) -> Option<Arc<Contract>> {
    let written = route.optional_table("contract");
    let table = route.table("contract");
    let mode = match table.word("mode") {
        "off" => None,
        "observe" => Some(Mode::Observe),
        _ => Some(Mode::Enforce),
    };
    let contract = Contract {
        mode: mode.unwrap_or_default(),
        limits: limits(&table),
        retry: table.flag("retry"),
        breaker: table.flag("breaker"),
        fingerprint: match (mode, route.item("contract")) {
            (Some(Mode::Enforce), Some(item)) => fingerprint(&item),
            _ => 0,
        },
        mapping: 0,
    };
    (written.is_some() && mode.is_some()).then(|| Arc::new(contract))
}

fn limits(table: &Table<'_>) -> Limits {
    Limits {
        body_bytes_max: table.size("body_max"),
        depth_max: table.count("depth_max"),
        values_max: table.count("values_max"),
        time_max: table.duration("time_max"),
    }
}

/// A number for the terms as they are written, wherever in the file. Never 0.
fn fingerprint(contract: &Item<'_>) -> u64 {
    let mut text = String::new();
    if let DeValue::Table(entries) = contract.value {
        for (name, value) in entries {
            if !BESIDE.contains(&name.get_ref().as_ref()) {
                text.push_str(name.get_ref());
                write_canonically(value.get_ref(), &mut text);
            }
        }
    }
    xxh3_64(text.as_bytes()).max(1)
}

/// The value without its places in the file.
fn write_canonically(value: &DeValue<'_>, text: &mut String) {
    match value {
        DeValue::Array(list) => {
            text.push('[');
            for item in list {
                write_canonically(item.get_ref(), text);
            }
            text.push(']');
        }
        DeValue::Table(entries) => {
            text.push('{');
            for (name, value) in entries {
                text.push_str(&format!("{:?}", name.get_ref()));
                write_canonically(value.get_ref(), text);
            }
            text.push('}');
        }
        scalar => text.push_str(&format!("({scalar:?})")),
    }
}
