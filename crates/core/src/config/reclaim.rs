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

settings! {
    #[derive(Clone, Debug, PartialEq)]
    pub struct ReclaimSettings of read {
        pub mode: ReclaimMode = read.choice("reclaim.mode", ReclaimMode::Off),
        pub pods: ReclaimPods = read.choice("reclaim.pods", ReclaimPods::VirtLauncher),
        /// In percent of time.
        pub max_pressure_percent: f64 = read.float("reclaim.max-pressure-percent"),
        /// Bytes that return from swap, in percent of the bytes reclaimed within the last minutes.
        pub max_refault_percent: f64 = read.float("reclaim.max-refault-percent"),
        /// The largest part of the pod's grant, and of the node's swap, that reclaim may fill: 0 to
        /// 100.
        pub max_swap_percent: u64 = read.integer("reclaim.max-swap-percent"),
        pub write_bytes_per_second: u64 = read.size("reclaim.write-budget").unwrap_or(0),
        /// Bytes that the agent always leaves a pod in RAM.
        pub floor_bytes: u64 = read.size("reclaim.floor").unwrap_or(0),
        /// The agent reclaims nothing from a pod for this long after its start.
        pub start_delay: Duration = read.seconds("reclaim.start-delay-seconds"),
        /// The largest part of the pod's grant that its compressed pages may occupy in RAM: 0 to 100.
        /// `None`: the kernel's value stays.
        pub zswap_max_percent: Option<u64> = read.kept("reclaim.zswap-max-percent"),
        /// Whether compressed pages may be written to the swap's disk. `None`: the kernel's value
        /// stays.
        pub zswap_writeback: Option<bool> = read.switch("reclaim.zswap-writeback"),
    }
}
