//! The words for how swap is granted.

crate::vocabulary! {
    /// How much swap an eligible container gets.
    pub enum Policy {
        /// Its share as the kubelet's LimitedSwap computes it.
        Limited = "limited",
        /// As much as it wants.
        Max = "max",
        None = "none",
    }
}

crate::vocabulary! {
    /// Which containers get swap at all.
    pub enum Eligibility {
        /// Those of Burstable pods, as the kubelet has it.
        Burstable = "burstable",
        /// Of those, only KubeVirt's launcher pods.
        VirtLauncher = "virt-launcher",
    }
}
