//! Plans the steps from the node's current swap to the configured one.
//!
//! A crash or a power cut may end a plan after any step: from the state found afterwards, the next
//! plan finishes the job (`tests.rs` cuts every plan everywhere).

mod file;
mod retire;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::{Path, PathBuf},
};

pub use file::plan_file;
pub use retire::{plan_retirement, plan_zram_retirement};

use crate::{
    config::settings::{SwapKind, SwapSettings, SwapSize},
    decide::remedy::set,
    model::{
        host::NodeMemory,
        origin::Origins,
        protection::DeviceNumber,
        shell::quoted,
        storage::{Content, MemoryFacts, PartitionPlace, ZramDevice},
        swap::human_bytes,
        system::System,
    },
};

/// One change of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProvisionStep {
    /// Create a swapfile with header, which appears at `path` complete or not at all.
    MakeFile {
        path: PathBuf,
        bytes: u64,
    },
    /// Write a swap header onto a blank partition.
    Format {
        path: PathBuf,
        bytes: u64,
    },
    /// Create a zram device with swap header, and switch it on.
    MakeZram {
        bytes: u64,
    },
    SwapOn {
        path: PathBuf,
    },
    SwapOff {
        path: PathBuf,
    },
    RemoveFile {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    RemoveZram {
        path: PathBuf,
    },
    /// Make a partition blank again.
    Erase {
        path: PathBuf,
    },
}

impl fmt::Display for ProvisionStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeFile { path, bytes } => {
                write!(f, "make a swapfile of {} at {}", human_bytes(*bytes), path.display())
            }
            Self::Format { path, bytes } => {
                write!(f, "write a swap header onto {} ({})", path.display(), human_bytes(*bytes))
            }
            Self::MakeZram { bytes } => write!(f, "make a zram swap of {}", human_bytes(*bytes)),
            Self::SwapOn { path } => write!(f, "switch on {}", path.display()),
            Self::SwapOff { path } => write!(f, "switch off {}", path.display()),
            Self::RemoveFile { path } => write!(f, "remove {}", path.display()),
            Self::Rename { from, to } => {
                write!(f, "rename {} to {}", from.display(), to.display())
            }
            Self::RemoveZram { path } => write!(f, "remove {}", path.display()),
            Self::Erase { path } => write!(f, "erase the swap header of {}", path.display()),
        }
    }
}

/// The steps to take, and the part of the configuration that they cannot reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProvisionPlan {
    pub steps: Vec<ProvisionStep>,
    /// The reason why the swap stays usable, but differs from the configuration.
    pub kept: Option<ProvisionRefusal>,
}

/// The reason for not doing something. Nothing has been changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProvisionRefusal {
    /// Another program provides the node's swap.
    #[error("{0}")]
    Others(String),
    #[error("{path} is {what}, and the agent did not make it: move it away, or set swap.path")]
    Foreign { path: PathBuf, what: String },
    /// The kernel swaps to a file that no path leads to, so nothing can switch it off.
    #[error(
        "the kernel swaps to {path}, but the file is deleted, or another file system is mounted over \
         it: drain the node and reboot it"
    )]
    Lost { path: PathBuf },
    #[error("{path} cannot hold swap: {why}; set swap.path to a file on ext4 or xfs, for example")]
    FileSystem { path: PathBuf, why: String },
    #[error(
        "{path} does not exist: the agent makes swap on it as soon as it appears (set swap.path \
         if it has another name)"
    )]
    NoDevice { path: PathBuf },
    #[error(
        "{path} holds data that is neither swap nor blank: if you do not need the data, run \
         `wipefs --all {path}`"
    )]
    PartitionInUse { path: PathBuf },
    #[error(
        "a swapfile of {} at {path} {}, less than the reserve of {}: free {}, or lower swap.size or \
         overcommit-percent (swap.reserve sets the reserve)",
        human_bytes(*.bytes), left_free(*.available, *.bytes), human_bytes(*.reserve),
        human_bytes(.bytes.saturating_add(*.reserve).saturating_sub(*.available))
    )]
    DiskFull { path: PathBuf, bytes: u64, available: u64, reserve: u64 },
    #[error(
        "{path} stays on: {} of it are in use; after the VMs have moved away, run `swapoff {path}`",
        human_bytes(*.used)
    )]
    InUse { path: PathBuf, used: u64 },
    #[error(
        "{path} stays on: of its {} in use only {} fit into RAM (with {} kept free) and other \
         swap; move VMs away from this node first",
        human_bytes(*.used), human_bytes(*.room), human_bytes(*.margin)
    )]
    PagesDoNotFit { path: PathBuf, used: u64, room: u64, margin: u64 },
    #[error(
        "{path} stays on: cgroup {cgroup} has {} in swap and no room for it below its memory.max, \
         so the kernel would kill its processes; move that pod away first"
        , human_bytes(*.swapped)
    )]
    CgroupDoesNotFit { path: PathBuf, cgroup: PathBuf, swapped: u64 },
}

/// The wanted size of the swap, and its tolerance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedSwap {
    pub bytes: u64,
    /// The RAM that the kernel counts differs a little from boot to boot, so a size derived from it
    /// need not be met exactly.
    pub exact: bool,
}

impl WantedSwap {
    /// Returns the wanted size; `None` if no swap is configured.
    ///
    /// Source: OpenShift Virtualization, "Configuring higher VM workload density": `NODE_SWAP_SPACE
    /// = NODE_RAM × (MEMORY_OVER_COMMIT_PERCENT / 100% − 1)`.
    pub fn new(size: SwapSize, ram_bytes: u64, page_bytes: u64) -> Option<Self> {
        let (bytes, exact) = match size {
            SwapSize::Bytes(bytes) => (bytes, true),
            SwapSize::Overcommit { percent } => {
                let beyond = u128::from(percent.checked_sub(100)?);
                let bytes = (u128::from(ram_bytes) * beyond).div_ceil(100);
                (u64::try_from(bytes).ok()?, false)
            }
        };
        let bytes = bytes.div_ceil(page_bytes).checked_mul(page_bytes)?;
        (bytes > 0).then_some(Self { bytes, exact })
    }

    /// Returns true if an area of `bytes` satisfies this size.
    pub fn is_met_by(self, bytes: u64) -> bool {
        let tolerance = if self.exact { 0 } else { self.bytes / 64 };
        bytes.abs_diff(self.bytes) <= tolerance
    }
}

/// Returns the configured amount of swap in bytes; `None` if none is configured.
pub fn wanted_bytes(settings: &SwapSettings, node: &NodeMemory) -> Option<u64> {
    let wanted = WantedSwap::new(settings.size, node.ram_bytes, node.page_bytes);
    wanted.filter(|_| settings.kind != SwapKind::Partition).map(|wanted| wanted.bytes)
}

/// Describes what a file of `bytes` leaves of the `available` bytes.
fn left_free(available: u64, bytes: u64) -> String {
    match available.checked_sub(bytes) {
        Some(left) => format!("would leave {} free on its file system", human_bytes(left)),
        None => {
            format!("does not fit on its file system, which has {} free", human_bytes(available))
        }
    }
}

/// Describes swap that is missing, or smaller than configured.
pub fn shortage(settings: &SwapSettings, node: &NodeMemory) -> Option<String> {
    match wanted_bytes(settings, node) {
        // Other swap counts too; the header takes a page.
        Some(wanted) if node.swap_bytes + node.page_bytes < wanted - wanted / 64 => Some(format!(
            "the node has {} of swap, but {} are configured (systemctl status wasp-swap)",
            human_bytes(node.swap_bytes),
            human_bytes(wanted)
        )),
        _ if node.swap_bytes > 0 => None,
        _ if settings.kind == SwapKind::Partition => {
            let path = settings.path.display();
            Some(format!(
                "the node has no swap, but {path} is configured (systemctl status \
                wasp-swap)"
            ))
        }
        _ => Some("the node has no swap, and none is configured".to_owned()),
    }
}

/// Returns the commands against a shortage.
pub fn shortage_remedy(
    settings: &SwapSettings,
    node: &NodeMemory,
    origins: &Origins,
) -> Vec<String> {
    let mut lines = match is_configured(settings, node) {
        true => Vec::new(),
        false => set(origins, "swap", &[("overcommit-percent", "150")]),
    };
    if node.swap_bytes == 0 {
        lines.push("systemctl enable wasp-swap".to_owned());
    }
    lines.push("systemctl restart wasp-swap".to_owned());
    lines
}

/// Describes a swap partition whose device has not appeared.
pub fn device_missing(path: &Path) -> String {
    format!(
        "the device of swap.path, {}, does not exist: the agent switches swap on as soon as it \
         appears",
        path.display()
    )
}

/// Returns the steps that bring a missing device back.
pub fn device_remedy(system: &System, path: &Path) -> Vec<String> {
    let by_hand = "# partition the new disk, and name the partition as before (docs/swap.md)";
    let name = path.strip_prefix("/dev/mapper").ok().map(|name| name.display().to_string());
    // As systemd-escape(1) writes it. On OpenShift, wasp-swap itself wants the unit that opens it.
    let open = name.filter(|_| system.pool.is_none()).map(|name| {
        let unit = format!("systemd-cryptsetup@{}", name.replace('-', r"\x2d"));
        format!("systemctl restart {}", quoted(&unit))
    });
    let restart = "systemctl restart wasp-swap".to_owned();
    [by_hand.to_owned()].into_iter().chain(open).chain([restart]).collect()
}

/// Returns true if the configuration asks for swap on this node.
pub fn is_configured(settings: &SwapSettings, node: &NodeMemory) -> bool {
    settings.kind == SwapKind::Partition
        || WantedSwap::new(settings.size, node.ram_bytes, node.page_bytes).is_some()
}

/// The state of a swap partition, as the agent sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// No partition is configured, it is on, or it was there from the start: then the service that
    /// provisions swap, and the administrator, decide if it is on.
    No,
    /// The device of the partition has not appeared yet.
    Awaited,
    /// The device of the partition has appeared: the agent has it switched on.
    Here,
}

/// `device` is the device that the configured path names now; `awaited` is true if it named none
/// before.
pub fn late(
    settings: &SwapSettings,
    device: Option<DeviceNumber>,
    active: &[DeviceNumber],
    awaited: bool,
) -> Late {
    match device {
        _ if settings.kind != SwapKind::Partition => Late::No,
        None => Late::Awaited,
        Some(device) if awaited && !active.contains(&device) => Late::Here,
        Some(_) => Late::No,
    }
}

/// Returns the RAM to keep free, in bytes, when an area is switched off: so much that the kubelet does
/// not evict.
fn margin(memory: &MemoryFacts) -> u64 {
    let kubelet = match memory.kubelet_threshold_bytes {
        0 => 0,
        threshold => threshold.saturating_add(memory.ram_bytes / 50),
    };
    (memory.ram_bytes / 20).max(128 << 20).max(kubelet)
}

/// Checks that `used` bytes of swap at `path` fit into RAM and into `elsewhere` bytes of other
/// swap.
fn fits(
    path: &Path,
    used: u64,
    elsewhere: u64,
    memory: &MemoryFacts,
) -> Result<(), ProvisionRefusal> {
    let margin = margin(memory);
    let in_ram = memory.available_bytes.saturating_sub(margin);
    let room = in_ram.saturating_add(elsewhere);
    let path = || path.to_owned();
    if used > room {
        return Err(ProvisionRefusal::PagesDoNotFit { path: path(), used, room, margin });
    }
    if used > elsewhere {
        let tight = memory
            .cgroups
            .iter()
            .find(|c| c.working_set_bytes.saturating_add(c.swap_bytes) > c.max_bytes);
        if let Some(tight) = tight {
            let (cgroup, swapped) = (tight.path.clone(), tight.swap_bytes);
            return Err(ProvisionRefusal::CgroupDoesNotFit { path: path(), cgroup, swapped });
        }
    }
    Ok(())
}

/// The agent uses a whole partition. If swap on it is active already, it does not change.
pub fn plan_partition(place: &PartitionPlace) -> Result<ProvisionPlan, ProvisionRefusal> {
    let path = place.path.clone();
    let mut steps = Vec::new();
    if place.active.is_none() {
        match place.content {
            Content::Swap => {}
            Content::Blank => {
                steps.push(ProvisionStep::Format { path: path.clone(), bytes: place.bytes });
            }
            Content::Other => return Err(ProvisionRefusal::PartitionInUse { path }),
        }
        steps.push(ProvisionStep::SwapOn { path });
    }
    Ok(ProvisionPlan { steps, kept: None })
}

/// Plans one zram device of the wanted size, and removes the agent's other zram devices when their
/// pages fit elsewhere.
pub fn plan_zram(
    wanted: WantedSwap,
    devices: &[ZramDevice],
    other_free: u64,
    memory: &MemoryFacts,
) -> ProvisionPlan {
    let right = |device: &&ZramDevice| device.active.is_some() && wanted.is_met_by(device.bytes);
    let keep = devices.iter().find(right);
    let mut plan = ProvisionPlan::default();
    if keep.is_none() {
        plan.steps.push(ProvisionStep::MakeZram { bytes: wanted.bytes });
    }
    for device in devices.iter().filter(|device| Some(*device) != keep) {
        if let Some(active) = &device.active {
            // The pages of zram are in RAM, so room on another zram device does not help.
            if let Err(refusal) = fits(&device.path, active.used_bytes, other_free, memory) {
                // Two devices at the same time would be more swap than configured.
                return ProvisionPlan { steps: Vec::new(), kept: Some(refusal) };
            }
            plan.steps.push(ProvisionStep::SwapOff { path: device.path.clone() });
        }
        plan.steps.push(ProvisionStep::RemoveZram { path: device.path.clone() });
    }
    plan
}
