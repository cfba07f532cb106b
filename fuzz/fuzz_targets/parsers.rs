//! One target of `larder::fuzzing`, the one that `LARDER_FUZZ_TARGET` names.

#![no_main]

use std::sync::LazyLock;

use larder::fuzzing::{TARGETS, Target, target};
use libfuzzer_sys::fuzz_target;

static CHOSEN: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("LARDER_FUZZ_TARGET").unwrap_or_default();
    target(&name).unwrap_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
        panic!("LARDER_FUZZ_TARGET is {name:?}, not one of {names:?}")
    })
});

fuzz_target!(|bytes: &[u8]| CHOSEN(bytes));
