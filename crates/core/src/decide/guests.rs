//! Finds VMs without overcommitment: their pod requests all of the guest's memory.
//!
//! KubeVirt computes the request of the container `compute` as the guest's memory divided by the
//! overcommit percentage, plus an overhead. A VM's own `resources.requests.memory` replaces the
//! first part, undivided (`WithMemoryRequests`, `WithMemoryOverhead` in
//! pkg/virt-controller/services/renderresources.go). The pod shows neither figure, but QEMU's
//! command line has the guest's memory.

use crate::model::guest::Guest;

/// KubeVirt's overhead for the smallest VM, in the oldest supported version, in bytes: monitor 25,
/// launcher 75, virtlogd 25, virtqemud 35, QEMU 30, a CPU 8, IO threads 8 MiB.
const LEAST_OVERHEAD: u64 = 206 << 20;

/// The field to remove, and the one to use instead.
pub const REMEDY: &str = "remove spec.template.spec.domain.resources.requests.memory from the VM, \
    set spec.template.spec.domain.memory.guest, then restart the VM; a VM that started before \
    overcommit was configured needs only the restart";

/// Returns true if the pod requests all of the guest's memory. A small guest with a large overhead
/// may be a false positive, up to a size of three times the overhead beyond the least.
pub fn requests_all(guest: &Guest) -> bool {
    guest.request_bytes >= guest.guest_bytes.saturating_add(LEAST_OVERHEAD)
}

/// Returns the names of the VMs' pods that request all of the guest's memory.
pub fn without_overcommitment(guests: &[Guest]) -> Vec<String> {
    guests.iter().filter(|guest| requests_all(guest)).map(|guest| guest.pod.clone()).collect()
}

/// Parses the guest's memory in bytes from QEMU's command line, whose arguments end in NUL: `-m
/// size=4194304k,slots=…` or `-m 4096`, in MiB if there is no suffix (qemu(1)).
pub fn guest_bytes(command_line: &[u8]) -> Option<u64> {
    let mut arguments = command_line.split(|byte| *byte == 0);
    arguments.find(|argument| *argument == b"-m")?;
    let value = std::str::from_utf8(arguments.next()?).ok()?;
    let size = value.split(',').next()?;
    let size = size.strip_prefix("size=").unwrap_or(size);
    let (digits, shift) = match size.as_bytes().last()? {
        b'b' | b'B' => (&size[..size.len() - 1], 0),
        b'k' | b'K' => (&size[..size.len() - 1], 10),
        b'm' | b'M' => (&size[..size.len() - 1], 20),
        b'g' | b'G' => (&size[..size.len() - 1], 30),
        b't' | b'T' => (&size[..size.len() - 1], 40),
        _ => (size, 20),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_guests_memory_is_read_from_qemus_command_line() {
        for (arguments, mib) in [
            // libvirt 9 and later, with and without hotplug; older libvirt; a manual command line.
            ("qemu-kvm\0-name\0guest=vms_a\0-m\0size=4194304k\0-smp\x002", Some(4096)),
            ("qemu-kvm\0-m\0size=2097152k,slots=16,maxmem=8388608k\0", Some(2048)),
            ("qemu-system-x86_64\0-m\x001536\0", Some(1536)),
            ("qemu-system-x86_64\0-m\x004G\0", Some(4096)),
            ("qemu-kvm\0-m", None),
            ("qemu-kvm\0-m\0much\0", None),
            ("qemu-kvm\0-m\x0099999999999999T\0", None),
            ("qemu-kvm\0-name\0-m=4\0", None),
        ] {
            assert_eq!(
                guest_bytes(arguments.as_bytes()),
                mib.map(|mib| mib * MIB),
                "{arguments:?}"
            );
        }
    }

    /// Requests as KubeVirt computes them, calculated manually: guest × 100 / percent + overhead.
    #[test]
    fn a_vm_that_requests_all_of_its_memory_is_named() {
        let guest = |pod: &str, guest: u64, request: u64| Guest {
            pod: pod.to_owned(),
            guest_bytes: guest * MIB,
            request_bytes: request * MIB,
        };
        let guests = [
            // 4 GiB at 150 %: 2730 + 288.
            guest("vms/divided", 4096, 3018),
            // requests.memory: 4Gi: 4096 + 8 of page tables + 288.
            guest("vms/whole", 4096, 4392),
            // A small one at 150 %: 341 + 288.
            guest("vms/small", 512, 629),
            // overcommitGuestOverhead, and requests.memory below the guest's: overcommitted manually.
            guest("vms/by-hand", 4096, 2048),
        ];
        assert_eq!(without_overcommitment(&guests), ["vms/whole"]);
    }
}
