//! Settings of proactive reclaim.

use std::time::Duration;

use super::read::Read;

crate::vocabulary! {
    pub enum ReclaimMode {
        Off = "off",
        /// Decides and reports, and reclaims nothing.
        Observe = "observe",
        On = "on",
    }
}

crate::vocabulary! {
    /// Which pods memory is reclaimed from. Never Guaranteed, critical and protected ones.
    pub enum ReclaimPods {
        VirtLauncher = "virt-launcher",
        Burstable = "burstable",
        Annotated = "annotated",
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct ReclaimSettings {
    pub mode: ReclaimMode,
    pub pods: ReclaimPods,
    /// In percent of the time.
    pub max_pressure_percent: f64,
    /// Bytes that come back, in percent of what was reclaimed within the last minutes.
    pub max_refault_percent: f64,
    /// Of the pod's grant, and of the node's swap. 0 to 100.
    pub max_swap_percent: u64,
    pub write_bytes_per_second: u64,
    /// What a pod keeps in RAM in any case.
    pub floor_bytes: u64,
    /// A pod that has started is left alone for so long.
    pub start_delay: Duration,
}

impl ReclaimSettings {
    pub(super) fn read(read: Read<'_>) -> Self {
        let size = |key| super::keys::size(read.text(key));
        Self {
            mode: read.choice("reclaim.mode", ReclaimMode::Off),
            pods: read.choice("reclaim.pods", ReclaimPods::VirtLauncher),
            max_pressure_percent: read.float("reclaim.max-pressure-percent"),
            max_refault_percent: read.float("reclaim.max-refault-percent"),
            max_swap_percent: read.integer("reclaim.max-swap-percent"),
            write_bytes_per_second: size("reclaim.write-budget").unwrap_or(0),
            floor_bytes: size("reclaim.floor").unwrap_or(0),
            start_delay: read.seconds("reclaim.start-delay-seconds"),
        }
    }
}
