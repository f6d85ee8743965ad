//! Whether swap hurts, which pod should leave, and when.
//!
//! signals.rs, efforts.rs: whether, and whose fault it is · select.rs, spared.rs, fit.rs: which pod ·
//! machine.rs, flight.rs, workload.rs: when, one at a time · answer.rs: what the API server's answer
//! means · condition.rs: what the cluster is told.

pub mod answer;
pub mod condition;
pub mod efforts;
pub mod fit;
pub mod flight;
pub mod machine;
pub mod select;
pub mod signals;
#[cfg(test)]
mod sim;
pub mod spared;
pub mod workload;
