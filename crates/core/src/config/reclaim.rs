//! Settings of proactive reclaim: table `[reclaim]`.

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
    /// The pods that the agent reclaims memory from. It always leaves out Guaranteed, critical and
    /// protected pods.
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
    /// In percent of time.
    pub max_pressure_percent: f64,
    /// Bytes that return from swap, in percent of the bytes reclaimed within the last minutes.
    pub max_refault_percent: f64,
    /// The largest part of the pod's grant, and of the node's swap, that reclaim may fill: 0 to
    /// 100.
    pub max_swap_percent: u64,
    pub write_bytes_per_second: u64,
    /// Bytes that the agent always leaves a pod in RAM.
    pub floor_bytes: u64,
    /// The agent leaves a pod alone for this long after its start.
    pub start_delay: Duration,
    /// The largest part of the pod's grant that its compressed pages may occupy in RAM: 0 to 100.
    /// `None`: the kernel's value stays.
    pub zswap_max_percent: Option<u64>,
    /// Whether compressed pages may be written to the swap's disk. `None`: the kernel's value
    /// stays.
    pub zswap_writeback: Option<bool>,
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
            zswap_max_percent: read.kept("reclaim.zswap-max-percent"),
            zswap_writeback: read.switch("reclaim.zswap-writeback"),
        }
    }
}
