//! Feeds the function of `TARGETS` that FUZZ_TARGET names, so that only one program has to be
//! linked.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use wasp_agent_fuzz::{TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap();
    TARGETS.iter().find(|(known, _)| *known == name).unwrap().1
});

fuzz_target!(|bytes: &[u8]| TARGET(bytes));
