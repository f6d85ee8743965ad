//! Checks of the swap: presence, size and place.

use super::{CheckOutcome, fail, ok, skip, warn};
use crate::{
    config::settings::Settings,
    decide::{
        devices::full,
        kubelet::{fails_with_swap, unusable},
        provision::{device_missing, device_remedy, is_configured, shortage, shortage_remedy},
        remedy::set,
    },
    model::{
        check::{Asked, CheckLevel, HostFacts, SwapArea},
        host::NodeMemory,
        swap::human_bytes,
    },
};

/// Returns true if swap is on, or is configured.
pub(super) fn is_wanted(facts: &HostFacts, settings: &Settings) -> bool {
    let configured = |node: &NodeMemory| is_configured(&settings.swap, node);
    !facts.swap.areas.is_empty() || facts.node.as_ref().is_ok_and(configured)
}

pub(super) fn size(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    let node = match &facts.node {
        Ok(node) => node,
        Err(error) => return fail(error.clone(), []),
    };
    let (ram, swap) = (human_bytes(node.ram_bytes), human_bytes(node.swap_bytes));
    if is_gone(facts) {
        return fail(device_missing(&settings.swap.path), [])
            .with(device_remedy(&facts.system, &settings.swap.path));
    }
    // The cause is reported, not what it leads to.
    let short = shortage(&settings.swap, node);
    if let Some(why) = short.as_ref().filter(|_| is_wanted(facts, settings)) {
        if facts.kubelet.is_err() || kubelet_refuses(facts).is_some() {
            return skip("the kubelet's configuration prevents swap");
        }
        if let Asked::Failed(_) = facts.swap.provisioning {
            return skip(format!("{why}: it cannot be made (swap-provisioning)"));
        }
    }
    match short {
        None => ok(format!("{swap} of swap, {ram} of RAM")),
        Some(why) if node.swap_bytes > 0 || is_wanted(facts, settings) => {
            fail(why, []).with(shortage_remedy(&settings.swap, node, &facts.origins))
        }
        Some(why) => warn(why, []).with(shortage_remedy(&settings.swap, node, &facts.origins)),
    }
}

/// Returns true if there is no swap because its device is missing.
fn is_gone(facts: &HostFacts) -> bool {
    !facts.swap.device_exists && facts.node.as_ref().is_ok_and(|node| node.swap_bytes == 0)
}

pub(super) fn provisioning(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    match &facts.swap.provisioning {
        Asked::NotAsked(why) => skip(*why),
        Asked::Failed(_) if is_gone(facts) => skip("the device is missing (swap)"),
        // The check for a kubelet that refuses swap reports this in more detail.
        Asked::Failed(why) if kubelet_refuses(facts).is_some_and(|other| why.contains(&other)) => {
            skip("the kubelet's configuration prevents swap")
        }
        Asked::Failed(why)
            if facts.kubelet.as_ref().is_err_and(|error| why.contains(&error.to_string())) =>
        {
            skip("the kubelet's configuration cannot be read (kubelet-config)")
        }
        Asked::Failed(why) => fail(why.clone(), ["wasp-agent provision --dry-run"]),
        Asked::Answered(steps) if steps.is_empty() => ok("as configured"),
        Asked::Answered(steps) => {
            let would = format!("it would {}", steps.join(", "));
            match size(facts, settings).level {
                CheckLevel::Ok | CheckLevel::Skip => warn(would, ["systemctl restart wasp-swap"]),
                CheckLevel::Warn | CheckLevel::Fail => skip(format!("{would} (swap)")),
            }
        }
    }
}

fn kubelet_refuses(facts: &HostFacts) -> Option<String> {
    let config = facts.kubelet.as_ref().ok()?.as_ref()?;
    fails_with_swap(config).or_else(|| unusable(config))
}

pub(super) fn used(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    let sum = |of: fn(&SwapArea) -> u64| facts.swap.areas.iter().map(of).sum::<u64>();
    let (size, used) = (sum(|area| area.device.size_bytes), sum(|area| area.device.used_bytes));
    if size == 0 {
        return skip("no swap is on");
    }
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let share = used as f64 / size as f64;
    let found = format!("{} of {} used", human_bytes(used), human_bytes(size));
    if let Some(problem) = full(&facts.swap.areas) {
        return fail(problem.text, []).with(problem.remedy);
    }
    let factor = settings.eviction.thresholds.swap_utilization_factor;
    if share <= factor {
        return ok(found);
    }
    warn(
        format!("{found}, more than {:.0} %", factor * 100.0),
        ["wasp-agent status", "# then move VMs to other nodes, or raise overcommit-percent"],
    )
}

pub(super) fn encryption(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    let areas = &facts.swap.areas;
    let on_disk: Vec<&SwapArea> = areas.iter().filter(|area| !area.in_ram).collect();
    let (known, unknown): (Vec<&SwapArea>, Vec<&SwapArea>) =
        on_disk.iter().partition(|area| !area.disks.is_empty());
    let plain: Vec<&str> =
        known.iter().filter(|area| !area.encrypted).map(|area| &*area.device.path).collect();
    match (areas.len(), on_disk.len(), plain.as_slice()) {
        (0, ..) => skip("no swap is on"),
        (_, 0, _) => ok("not on a disk"),
        (.., []) if unknown.is_empty() => ok("by dm-crypt"),
        (.., []) => {
            let paths: Vec<&str> = unknown.iter().map(|area| &*area.device.path).collect();
            warn(
                format!("cannot find the disk of {}: it may not be encrypted", paths.join(", ")),
                ["lsblk --inverse"],
            )
        }
        (.., plain) => warn(
            format!(
                "{} is not encrypted (the check does not see a disk that encrypts itself)",
                plain.join(", ")
            ),
            [],
        )
        .with(encrypted_partition(facts)),
    }
}

/// Returns the commands that move the swap to a separate encrypted partition.
fn encrypted_partition(facts: &HostFacts) -> Vec<String> {
    let keys = [("swap.kind", "\"partition\""), ("swap.path", "\"/dev/mapper/wasp-swap\"")];
    let open = [
        "systemctl daemon-reload",
        "systemctl start systemd-cryptsetup@wasp\\\\x2dswap",
        "systemctl restart wasp-swap",
    ];
    [
        "# all on a separate partition, with a random key (/usr/share/doc/wasp-agent/docs/swap.md):",
        "echo 'wasp-swap /dev/disk/by-partlabel/wasp-swap /dev/urandom swap,plain,cipher=aes-xts-plain64,size=512' >> /etc/crypttab",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain(set(&facts.origins, "encryption", &keys))
    .chain(open.map(str::to_owned))
    .collect()
}

pub(super) fn disk(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    let areas = &facts.swap.areas;
    if areas.is_empty() {
        return skip("no swap is on");
    }
    let shared: Vec<String> = areas
        .iter()
        .flat_map(|area| {
            let shares = |folder: &&(&str, Vec<String>)| {
                area.disks.iter().any(|disk| folder.1.contains(disk))
            };
            let with: Vec<&str> = facts.swap.beside.iter().filter(shares).map(|f| f.0).collect();
            (!with.is_empty()).then(|| {
                let (path, disks) = (&area.device.path, area.disks.join(", "));
                format!("{path} is on {disks}, like {}", with.join(" and "))
            })
        })
        .collect();
    let is_unknown = |area: &&SwapArea| !area.in_ram && area.disks.is_empty();
    let unknown: Vec<&str> =
        areas.iter().filter(is_unknown).map(|area| &*area.device.path).collect();
    if shared.is_empty() && !unknown.is_empty() {
        return warn(
            format!("cannot find the disk of {}", unknown.join(", ")),
            ["lsblk --inverse"],
        );
    }
    if shared.is_empty() {
        let on = areas.iter().map(|area| match area.disks.join(", ") {
            _ if area.in_ram => format!("{} is on no disk", area.device.path),
            disks => format!("{} is on {disks}", area.device.path),
        });
        return ok(on.collect::<Vec<_>>().join("; "));
    }
    warn(
        shared.join("; "),
        [
            "lsblk -o NAME,SIZE,TYPE,MOUNTPOINTS",
            "# then give the swap its own disk: swap.kind = \"partition\", swap.path = the \
             partition",
        ],
    )
}
