//! The pure part of wasp-agent: data model, configuration and decisions.
//!
//! Nothing here does IO: this crate depends on no runtime, no client and no system call, so that
//! the compiler keeps decisions functions of settings, snapshot, state and time.

pub mod config;
pub mod decide;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
pub mod model;
