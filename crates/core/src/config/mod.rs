//! Configuration: turns layered files and the environment into [`settings::Settings`], or into a
//! list of every problem in them.

#[macro_use]
mod read;
mod eviction;
pub mod keys;
pub mod layers;
mod metrics;
mod places;
mod reclaim;
pub mod settings;
pub mod show;
mod suspend;
pub mod sysconfig;
mod table;
pub mod value;
