//! Whether swap hurts, which pod is to leave, and when.
//!
//! signals.rs: whether · select.rs: which · machine.rs: when, one at a time · condition.rs: what the
//! cluster is told.

pub mod condition;
pub mod machine;
pub mod select;
pub mod signals;
