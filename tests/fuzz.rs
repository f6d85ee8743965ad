//! Runs the functions that `make fuzz` calls on the committed corpus and its mutations, which are
//! the same in every run. libFuzzer takes minutes to build, and finds more.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_debug_implementations,
    reason = "a test fails by panicking"
)]

// A crate of its own for libFuzzer.
#[allow(unreachable_pub)]
#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::{fs, path::Path};

use fastrand::Rng;

/// Mutations of each seed.
const MUTATIONS: u64 = 40;
/// Words that are difficult for parsers.
const WORDS: [&[u8]; 16] = [
    b"\n",
    b"\"",
    b"{",
    b"}",
    b"[[[[[[[[",
    b"\\",
    b"\0",
    b"\xff\xfe",
    b"../",
    b"-1",
    b"1e999",
    b"18446744073709551615",
    b"99999999999999999999999999",
    b"null",
    b"\\u001b[2J",
    b" ",
];

fn mutated(seed: &[u8], other: &[u8], dice: &mut Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=dice.usize(..4) {
        let from = dice.usize(..bytes.len() + 1);
        let to = from + dice.usize(..(bytes.len() - from).min(16) + 1);
        match dice.usize(..5) {
            0 => drop(bytes.splice(from..to, [])),
            1 => drop(bytes.splice(from..to, WORDS[dice.usize(..WORDS.len())].iter().copied())),
            2 => bytes.extend_from_within(from..to),
            3 => bytes.truncate(to),
            _ => drop(bytes.splice(from.., other[dice.usize(..=other.len())..].iter().copied())),
        }
    }
    bytes
}

#[test]
fn what_must_hold_holds_for_the_corpus_and_its_mutations() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, target) in fuzz::TARGETS {
        let mut folders = vec![root.join("fuzz/corpus").join(name)];
        if name == "oci_config" {
            folders.push(root.join("tests/fixtures/oci"));
        }
        let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let seeds: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
        assert!(seeds.len() > 3, "{name} has no corpus");
        let mut dice = Rng::with_seed(1);
        for (path, seed) in paths.iter().zip(&seeds) {
            for round in 0..=MUTATIONS {
                let other = &seeds[dice.usize(..seeds.len())];
                let bytes = if round == 0 { seed.clone() } else { mutated(seed, other, &mut dice) };
                let run = std::panic::catch_unwind(|| target(&bytes));
                assert!(run.is_ok(), "{name}, {path:?}, round {round}: {}", bytes.escape_ascii());
            }
        }
    }
}
