//! The parsers of foreign input as functions of any bytes: each panics if an invariant is violated.
//! libFuzzer calls them (`make fuzz`), and `tests/fuzz.rs` with the corpus and its mutations.

pub mod files;
pub mod hook;
pub mod host;
pub mod pods;
pub mod saved;

pub type Target = fn(&[u8]);

pub const TARGETS: [(&str, Target); 7] = [
    ("oci_config", hook::oci_config),
    ("runtime_state", hook::runtime_state),
    ("kernel_files", host::kernel_files),
    ("host_config", host::host_config),
    ("settings", host::settings),
    ("watch_events", pods::watch_events),
    ("saved_state", saved::saved_state),
];
