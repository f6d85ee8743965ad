//! A KubeVirt VM on this node, as far as its overcommitment goes.

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Its launcher, as `namespace/name`.
    pub pod: String,
    /// What QEMU gives the guest.
    pub guest_bytes: u64,
    /// What the container `compute` requests.
    pub request_bytes: u64,
}
