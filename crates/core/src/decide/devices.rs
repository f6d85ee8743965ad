//! Problems with the devices that hold the swap, and their fixes.

use crate::model::{
    check::SwapArea,
    shell::quoted,
    swap::human_bytes,
    trouble::{Problem, Trouble},
};

fn path(area: &SwapArea) -> &str {
    &area.device.path
}

/// Reports the devices whose disks fail. Pods with pages there are killed when the kernel cannot read them.
pub fn failing(areas: &[SwapArea], available_bytes: Option<u64>) -> Option<Problem> {
    let found = areas.iter().filter_map(|area| Some((path(area), area.failing.as_ref()?)));
    let (paths, texts): (Vec<&str>, Vec<String>) =
        found.map(|(path, why)| (path, format!("the disk of {path} fails: {why}"))).unzip();
    let text = format!("{}; a VM whose pages it loses is killed", texts.join("; "));
    let off = paths.iter().map(|path| format!("swapoff {}", quoted(path)));
    let then = "# then replace the disk, and switch the swap on again: systemctl restart wasp-swap";
    let failing = areas.iter().filter(|area| area.failing.is_some());
    let remedy = room_for(failing, available_bytes)
        .into_iter()
        .chain(off)
        .chain([then.to_owned()])
        .collect();
    (!paths.is_empty()).then(|| Problem::new(Trouble::SwapDisk, text).with_remedy(remedy))
}

/// Returns the step before devices are switched off, if their pages do not fit into RAM: the kernel
/// reads them back, and kills processes when RAM is full.
pub fn room_for<'a>(
    devices: impl Iterator<Item = &'a SwapArea>,
    available_bytes: Option<u64>,
) -> Option<String> {
    let used = devices.fold(0_u64, |sum, area| sum.saturating_add(area.device.used_bytes));
    let room = match available_bytes {
        Some(available) if used <= available => return None,
        Some(available) => format!("RAM has {} available", human_bytes(available)),
        None if used == 0 => return None,
        None => "the available RAM is not known".to_owned(),
    };
    let used = human_bytes(used);
    Some(format!("# first move VMs away from the node: {used} are in this swap, and {room}"))
}

/// A device counts as full if the kernel finds no room for more than a few pages.
fn is_full(area: &SwapArea) -> bool {
    let device = &area.device;
    device.size_bytes > 0 && device.used_bytes >= device.size_bytes / 100 * 99
}

/// Reports that all devices are full.
pub fn full(areas: &[SwapArea]) -> Option<Problem> {
    (!areas.is_empty() && areas.iter().all(is_full)).then(|| {
        let text = "swap is full: the kernel swaps out no more, and kills processes when memory is \
                    short";
        Problem::new(Trouble::SwapFull, text)
    })
}

/// Reports slow devices that the kernel fills before a fast one, and a full device before slower
/// ones.
pub fn order(areas: &[SwapArea], available_bytes: Option<u64>) -> Option<Problem> {
    let priority = |area: &SwapArea| area.device.priority;
    let (slow, fast): (Vec<&SwapArea>, Vec<&SwapArea>) =
        areas.iter().partition(|area| area.rotating);
    let lowest = fast.iter().map(|area| priority(area)).min();
    let first: Vec<&&SwapArea> =
        slow.iter().filter(|slow| lowest.is_some_and(|fast| fast <= priority(slow))).collect();
    if let Some(area) = first.iter().max_by_key(|area| priority(area)) {
        let text = format!(
            "{} rotates and is filled first (priority {}), although there is a faster device",
            path(area),
            priority(area)
        );
        let again = |area: &SwapArea, priority: u8| {
            let path = quoted(path(area));
            [format!("swapoff {path}"), format!("swapon -p {priority} {path}")]
        };
        // The kernel gives a negative priority where none is set.
        let raised = fast.iter().filter(|area| priority(area) < 1).flat_map(|area| again(area, 10));
        let lowered = first.iter().flat_map(|area| again(area, 0));
        let off = fast.iter().filter(|area| priority(area) < 1).chain(first.iter().copied());
        let room = room_for(off.copied(), available_bytes);
        let remedy = room.into_iter().chain(raised).chain(lowered).collect();
        return Some(Problem::new(Trouble::SwapDevices, text).with_remedy(remedy));
    }
    let first = areas.iter().max_by_key(|area| priority(area)).filter(|area| is_full(area))?;
    let next = areas.iter().filter(|area| !is_full(area)).max_by_key(|area| priority(area))?;
    let in_ram = |area: &SwapArea| area.in_ram || path(area).starts_with("/dev/zram");
    let slower = !first.rotating && next.rotating || in_ram(first) && !in_ram(next);
    slower.then(|| {
        let text = format!(
            "{} is full: from now on the kernel swaps to {}, a slower device",
            path(first),
            path(next)
        );
        let fix = vec!["wasp-agent status --all".to_owned()];
        Problem::new(Trouble::SwapDevices, text).with_remedy(fix)
    })
}

/// Reports a rotating disk. Only `wasp-agent check` does: virtual disks often claim to rotate, and a
/// node with such a disk is still ready.
pub fn rotating(areas: &[SwapArea]) -> Option<Problem> {
    // Behind a faster device it only takes what that one has no room for.
    let area = areas.iter().max_by_key(|area| area.device.priority).filter(|area| area.rotating)?;
    let path = path(area);
    let text = format!("{path} rotates: a VM stalls for each page that it reads from there");
    let fix = ["lsblk -d -o NAME,ROTA,SIZE,MODEL", "wasp-agent provision --dry-run"];
    Some(Problem::new(Trouble::SwapDevices, text).with_remedy(fix.map(str::to_owned).into()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::host::SwapDevice;

    pub(in crate::decide) fn area(path: &str, priority: i32, rotating: bool) -> SwapArea {
        let device = SwapDevice {
            path: path.to_owned(),
            kind: "partition".to_owned(),
            size_bytes: 1 << 30,
            used_bytes: 0,
            priority,
        };
        let disks = vec!["/dev/sda".to_owned()];
        SwapArea { device, in_ram: false, disks, encrypted: false, rotating, failing: None }
    }

    #[test]
    fn a_slow_device_is_reported_only_where_it_is_filled_first() {
        let slow = area("/dev/sda", 5, true);
        assert_eq!(order(std::slice::from_ref(&slow), Some(8 << 30)), None);
        assert!(
            rotating(std::slice::from_ref(&slow)).unwrap().text.starts_with("/dev/sda rotates")
        );
        let first = [area("/dev/nvme0n1", -2, false), slow.clone()];
        let problem = order(&first, Some(8 << 30)).unwrap();
        let lines = |paths: &[(&str, u8)]| -> Vec<String> {
            let lines = paths.iter().flat_map(|(path, priority)| {
                [format!("swapoff {path}"), format!("swapon -p {priority} {path}")]
            });
            lines.collect()
        };
        assert_eq!(problem.remedy, lines(&[("/dev/nvme0n1", 10), ("/dev/sda", 0)]));
        let both = [area("/dev/vda", 3, false), slow.clone(), area("/dev/sdb", 4, true)];
        let problem = order(&both, Some(8 << 30)).unwrap();
        assert!(problem.text.starts_with("/dev/sda rotates and is filled first (priority 5)"));
        assert_eq!(problem.remedy, lines(&[("/dev/sda", 0), ("/dev/sdb", 0)]));
        let second = [area("/dev/nvme0n1", 10, false), slow];
        assert_eq!((order(&second, Some(8 << 30)), rotating(&second)), (None, None));
    }

    #[test]
    fn a_full_device_and_a_disk_that_fails_are_reported() {
        let mut areas = [area("/dev/zram0", 100, false), area("/dev/sda", 5, false)];
        assert_eq!((order(&areas, Some(8 << 30)), failing(&areas, Some(512 << 20))), (None, None));
        areas[0].device.used_bytes = areas[0].device.size_bytes - 4096;
        areas[0].device.path = "/dev/sdb".to_owned();
        assert_eq!(order(&areas, Some(8 << 30)), None, "the next is as fast");
        areas[0].device.path = "/dev/zram0".to_owned();
        assert!(order(&areas, Some(8 << 30)).unwrap().text.starts_with("/dev/zram0 is full"));
        assert_eq!(full(&areas), None);
        assert_eq!(order(&areas[..1], Some(8 << 30)), None, "no device follows");
        assert!(full(&areas[..1]).unwrap().text.starts_with("swap is full"));
        assert_eq!(full(&[]), None);
        areas[1].failing = Some("/dev/sda is offline".to_owned());
        let problem = failing(&areas, Some(512 << 20)).unwrap();
        assert!(problem.text.contains("/dev/sda fails: /dev/sda is offline"), "{problem:?}");
        assert_eq!(problem.remedy[0], "swapoff /dev/sda");
        areas[1].device.used_bytes = 1 << 30;
        let room = "# first move VMs away from the node: 1.0 GiB are in this swap, and RAM has \
                    512.0 MiB available";
        assert_eq!(
            failing(&areas, Some(512 << 20)).unwrap().remedy[..2],
            [room, "swapoff /dev/sda"]
        );
        let enough = failing(&areas, Some(1 << 30)).unwrap();
        assert_eq!(enough.remedy[0], "swapoff /dev/sda", "RAM has room for all of it");
        let unknown = failing(&areas, None).unwrap();
        assert!(unknown.remedy[0].ends_with("the available RAM is not known"), "{unknown:?}");
        areas[1].device.used_bytes = 0;
        areas[0].device.used_bytes = 0;
        areas[0].failing = Some("gone".to_owned());
        let remedy = &failing(&areas, Some(512 << 20)).unwrap().remedy;
        assert_eq!(remedy[..2], ["swapoff /dev/zram0", "swapoff /dev/sda"]);
    }
}
