//! Kubernetes Events that the agent publishes on pods and on its Node.

crate::vocabulary! {
    /// The `reason` of an Event.
    pub enum EventReason {
        SwapPressure = "SwapPressure",
        NoSwapPressure = "NoSwapPressure",
        /// The agent would evict the pod if it enforced evictions.
        WouldEvict = "WouldEvict",
        SwapEviction = "SwapEviction",
        SwapMigration = "SwapMigration",
        SwapEvictionRefused = "SwapEvictionRefused",
        /// The evicted pod still runs after the time that it had.
        SwapEvictionOverdue = "SwapEvictionOverdue",
        /// The workload of an evicted pod came back to the node.
        SwapEvictionInVain = "SwapEvictionInVain",
        SwapSuspended = "SwapSuspended",
        SwapResumed = "SwapResumed",
        /// An annotation that limits swap is invalid.
        SwapLimitInvalid = "SwapLimitInvalid",
    }
}

impl EventReason {
    /// Returns the `action` of the Event: what the agent was doing.
    pub const fn action(self) -> &'static str {
        match self {
            Self::SwapPressure | Self::NoSwapPressure => "SettingCondition",
            Self::WouldEvict
            | Self::SwapEviction
            | Self::SwapMigration
            | Self::SwapEvictionRefused
            | Self::SwapEvictionOverdue
            | Self::SwapEvictionInVain => "Evicting",
            Self::SwapSuspended => "Suspending",
            Self::SwapResumed => "Resuming",
            Self::SwapLimitInvalid => "LimitingSwap",
        }
    }
}
