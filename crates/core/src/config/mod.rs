//! Configuration: layered files and the environment become [`settings::Settings`], or a list of
//! everything that is wrong with them.

mod eviction;
pub mod keys;
pub mod layers;
mod metrics;
mod read;
pub mod settings;
pub mod show;
pub mod sysconfig;
mod table;
pub mod value;
