//! Decides whether swap slows the node down, which pod to evict, and when.
//!
//! signals.rs, efforts.rs: pressure and its cause · select.rs, spared.rs, fit.rs: which pod ·
//! machine.rs, held.rs: when, one at a time · evictions.rs, flight.rs, workload.rs: its state ·
//! request.rs: a pod's own figures · verdict.rs: the result · answer.rs: the API server's answers ·
//! condition.rs: the node's condition.

pub mod answer;
pub mod condition;
pub mod efforts;
pub mod evictions;
pub mod fit;
pub mod flight;
mod held;
pub mod machine;
mod request;
pub mod select;
pub mod signals;
#[cfg(test)]
mod sim;
pub mod spared;
pub mod verdict;
pub mod workload;
