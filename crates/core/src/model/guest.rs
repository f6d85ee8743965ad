//! A KubeVirt VM on this node, with the figures of its overcommitment.

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Its launcher pod, as `namespace/name`.
    pub pod: String,
    /// The guest's memory in QEMU, in bytes.
    pub guest_bytes: u64,
    /// The memory request of the container `compute`, in bytes.
    pub request_bytes: u64,
}
