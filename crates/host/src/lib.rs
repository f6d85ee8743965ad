//! The host, the API server and D-Bus as wasp-agent sees and changes them.
//!
//! [`observe`] reads, [`act`] writes, [`provision`] does both for the swap at boot. Every path begins at
//! [`roots::Roots`], so that a folder can stand for a host.

pub mod act;
pub mod failpoint;
pub mod history;
pub mod messages;
pub mod observe;
pub mod provision;
pub mod roots;
pub mod state;

// One path for each part of the core, whichever crate it is named in.
pub use wasp_core::{config, decide, model};
