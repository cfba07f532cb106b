//! What `fuzz/` and the tests throw bytes at: every parser of what somebody else wrote, with what must hold of it.
//!
//! A target panics where something does not hold. Each is run on arbitrary bytes and on its seeds by `cargo test`, and for
//! longer, guided by coverage, by `fuzz/run`.

use std::path::Path;

use crate::{
    cache, config, contract,
    http::{
        date,
        uri::{normalize_path, normalize_query, resolve},
    },
    resilience, store,
};

/// A target: bytes in, a panic where something is wrong.
pub type Target = fn(&[u8]);

/// All of them, by the name of their folder in `fuzz/seeds`.
pub const TARGETS: &[(&str, Target)] = &[
    ("control", cache::fuzzing::control),
    ("freshness", cache::fuzzing::freshness),
    ("conditions", cache::fuzzing::conditions),
    ("range", cache::fuzzing::range),
    ("vary", cache::fuzzing::vary),
    ("entry", cache::fuzzing::entry),
    ("json", cache::fuzzing::json),
    ("cookies", cache::fuzzing::cookies),
    ("query", cache::fuzzing::query),
    ("purge", cache::fuzzing::purge),
    ("contract", contract::fuzzing::terms),
    ("envelope", store::fuzzing::envelope),
    ("rate_limit", resilience::quota::fields::fuzz),
    ("forms", contract::schema::fuzzing::forms),
    ("schemas", contract::schema::fuzzing::schemas),
    ("date", dates),
    ("uri", uris),
    ("config", configs),
];

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    let mut targets = TARGETS.iter();
    let found = targets.find(|(known, _)| *known == name);
    found.map(|(_, target)| *target)
}

/// What is read as a date is written as one that is read as the same.
fn dates(bytes: &[u8]) {
    if let Some(time) = date::parse(bytes) {
        let written = httpdate::fmt_http_date(time.into());
        assert_eq!(date::parse(written.as_bytes()), Some(time), "{written}");
    }
}

/// Paths and queries have one spelling, and it is its own.
fn uris(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let path = format!("/{text}");
    let once = normalize_path(&path);
    assert!(once.starts_with('/'));
    assert_eq!(normalize_path(&once), once);
    if let Some((_, target)) = resolve("/a/b", text) {
        assert!(target.path().starts_with('/'));
    }
    let once = normalize_query(text);
    assert_eq!(normalize_query(&once), once);
}

/// No text makes the reader panic, and what it refuses it refuses with words.
fn configs(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let env = config::FixedEnv::default();
    if let Err(errors) = config::parse(&text, Path::new("proxy.toml"), &env) {
        assert!(!errors.render(false).is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_is_survived_and_every_target_has_some() {
        for (name, target) in TARGETS {
            let folder = format!("{}/fuzz/seeds/{name}", env!("CARGO_MANIFEST_DIR"));
            let seeds: Vec<_> = std::fs::read_dir(&folder)
                .unwrap_or_else(|error| panic!("{folder}: {error}"))
                .collect();
            assert!(!seeds.is_empty(), "{folder} is empty");
            for seed in seeds {
                target(&std::fs::read(seed.unwrap().path()).unwrap());
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn no_target_panics_on_any_bytes(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..120)) {
            for (_, target) in TARGETS {
                target(&bytes);
            }
        }

        #[test]
        fn no_target_panics_on_text_that_looks_right(
            text in "((cache-control|cdn-cache-control|expires|date|age|vary|range|content-range|etag|if-none-match|\
                     if-modified-since|cookie|cache-groups): ?[a-z0-9=,;\"*/ :WGMT-]{0,24}\n){0,4}[a-z&=%0-9./\\[\\]{}\"]{0,16}",
        ) {
            for (_, target) in TARGETS {
                target(text.as_bytes());
            }
        }
    }
}
