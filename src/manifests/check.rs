//! Rejects a rollout that would not work on the nodes before it reaches them.

use super::{GrantsAsked, Install, Package, Rollout, kubelet::grants_differently};
use crate::{
    config::{
        keys::{percent, size},
        settings::{Share, SwapKind, SwapSize},
    },
    decide::{kubelet::disk_reserve, provision::WantedSwap},
    model::{swap::human_bytes, system::CONTROL_PLANE},
};

const PAGE: u64 = 4096;

/// Returns every problem of `rollout`, with the fix.
pub(crate) fn problems(rollout: &Rollout) -> Vec<String> {
    let mut problems = Vec::new();
    let pool = &rollout.pool;
    if !is_label(pool) {
        problems.push(format!(
            "--role {pool:?} is not a machine config pool: use lower case letters, digits and \
             '-', at most 63 characters"
        ));
    }
    if CONTROL_PLANE.contains(&pool.as_str()) && !rollout.control_plane_allowed {
        problems.push(format!(
            "--role {pool} is the control plane: a disk that swaps slows etcd down, and no VM \
             runs there; if its nodes run VMs anyway, use --allow-control-plane"
        ));
    }
    not_in_this_version(rollout, &mut problems);
    let swap = &rollout.settings.swap;
    if swap.size == (SwapSize::Overcommit { percent: 100 }) && swap.kind != SwapKind::Partition {
        problems.push(
            "no swap is requested: --overcommit-percent 150 makes swap of half the RAM, \
             --swap-size 32Gi makes 32 GiB on every node"
                .to_owned(),
        );
    }
    does_not_fit(rollout, &mut problems);
    if let Install::Layer { package, .. } | Install::FirstBoot { package } = &rollout.install {
        package_problems(package, &mut problems);
    }
    if let Install::Layer { push_spec, push_secret, .. } = &rollout.install {
        if push_spec.is_empty() || !push_spec.bytes().all(|b| b.is_ascii_graphic()) {
            problems.push(format!("--push-spec {push_spec:?} is not an image"));
        }
        if push_secret.is_empty() || !push_secret.bytes().all(is_name_byte) {
            problems.push(
                "--push-secret names no secret: use one in openshift-machine-config-operator that \
                 may push the nodes' image"
                    .to_owned(),
            );
        }
    }
    if let Some(soft) = &rollout.eviction_soft {
        if size(&soft.threshold).is_none() && percent(&soft.threshold).is_none() {
            problems.push(format!(
                "--eviction-soft {:?} is neither a size (1Gi) nor a percentage (5%)",
                soft.threshold
            ));
        }
        if !is_duration(&soft.grace_period) {
            problems.push(format!(
                "--eviction-soft-grace {:?} is not a duration (90s, 1m30s)",
                soft.grace_period
            ));
        }
    }
    problems
}

/// Finds settings that this version of OpenShift rejects or lacks.
fn not_in_this_version(rollout: &Rollout, problems: &mut Vec<String>) {
    let (version, pool) = (rollout.openshift, &rollout.pool);
    if !version.reads_drop_ins(pool) && CONTROL_PLANE.contains(&pool.as_str()) {
        problems.push(format!(
            "--role {pool}: on OpenShift {version} the control plane's kubelet has failSwapOn: \
             true and reads no drop-in; OpenShift 4.21 and 4.22 reject a KubeletConfig that \
             changes it, and cannot be upgraded to with one; swap is possible from 4.23 on"
        ));
    }
    if rollout.grants == GrantsAsked::Kubelet && !version.kubelet_can_grant() {
        problems.push(format!(
            "grants = \"kubelet\": the kubelet of OpenShift {version} does not start with \
             swapBehavior, because its feature gate NodeSwap is off; remove grants, and the \
             agent sets the limits"
        ));
    }
    if rollout.grants == GrantsAsked::Kubelet && grants_differently(rollout) {
        problems.push(
            "grants = \"kubelet\" contradicts limits.policy, limits.eligibility and \
             limits.system-reserved-percent: only the agent supports them; remove grants, and \
             the agent sets the limits"
                .to_owned(),
        );
    }
    if matches!(rollout.install, Install::Layer { .. }) && !version.builds_images() {
        problems.push(format!(
            "--install layer: OpenShift {version} has no MachineOSConfig of version v1, which comes \
             with 4.18; use --install first-boot"
        ));
    }
}

/// Checks that a swapfile fits on the disk in addition to the reserve, and that a zram device fits
/// into RAM.
fn does_not_fit(rollout: &Rollout, problems: &mut Vec<String>) {
    let swap = &rollout.settings.swap;
    let ram = match (rollout.node_ram, swap.size) {
        (Some(ram), _) => ram,
        (None, SwapSize::Bytes(_)) => 0,
        (None, SwapSize::Overcommit { .. }) => {
            if rollout.node_disk.is_some() {
                problems.push(
                    "--node-disk needs --node-ram: the size of the swap follows from RAM"
                        .to_owned(),
                );
            }
            return;
        }
    };
    let Some(WantedSwap { bytes, .. }) = WantedSwap::new(swap.size, ram, PAGE) else { return };
    match (swap.kind, rollout.node_disk) {
        (SwapKind::File, Some(disk)) => {
            let reserve = match swap.reserve {
                Some(reserve) => Share::of(reserve, disk),
                // RHCOS has images, swapfile and pods on one file system.
                None => disk_reserve(None, disk, true),
            };
            if bytes.saturating_add(reserve) > disk {
                problems.push(format!(
                    "a swapfile of {} does not fit on a disk of {} of which {} stay free \
                     (swap.reserve): lower --overcommit-percent or --swap-size",
                    human_bytes(bytes),
                    human_bytes(disk),
                    human_bytes(reserve)
                ));
            }
        }
        (SwapKind::Zram, _) if ram > 0 && bytes > ram.saturating_mul(2) => problems.push(format!(
            "a zram of {} in {} of RAM: compressed data is rarely smaller than half",
            human_bytes(bytes),
            human_bytes(ram)
        )),
        _ => {}
    }
}

fn package_problems(Package { url, sha256 }: &Package, problems: &mut Vec<String>) {
    // The text becomes part of a unit and of a shell command.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?&=+,@".contains(&b);
    let http = url.starts_with("https://") || url.starts_with("http://");
    if !http || !url.bytes().all(plain) {
        problems.push(format!(
            "--rpm-url {url:?} is not the http(s) address of a package, without blanks and quotes"
        ));
    }
    if sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
        problems.push(format!(
            "--rpm-sha256 {sha256:?} is not a SHA-256: run `sha256sum` on the package, 64 \
             hexadecimal digits"
        ));
    }
}

/// RFC 1123.
fn is_label(name: &str) -> bool {
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    name.len() <= 63
        && ends(name.as_bytes().first())
        && ends(name.as_bytes().last())
        && name.bytes().all(|b| is_name_byte(b) && b != b'.')
}

fn is_name_byte(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b)
}

/// Checks for a duration in Go's format, in the units that make sense for an eviction: hours,
/// minutes, seconds.
fn is_duration(text: &str) -> bool {
    let mut rest = text;
    for unit in ['h', 'm', 's'] {
        if let Some((number, after)) = rest.split_once(unit)
            && number.parse::<u32>().is_ok()
        {
            rest = after;
        }
    }
    rest.is_empty() && !text.is_empty()
}
