//! What the agent tells: the journal, systemd, and the files that it leaves under `/run`.

pub mod check;
pub mod log;
pub mod metrics;
pub mod notify;
pub mod plan;
pub mod records;
pub mod status;
