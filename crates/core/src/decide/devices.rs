//! Problems with the devices that hold the swap, and their fixes.

use crate::model::{
    check::SwapArea,
    trouble::{Problem, Trouble},
};

fn path(area: &SwapArea) -> &str {
    &area.device.path
}

/// Returns the first device whose disk fails. Pods with pages there are killed when the kernel cannot read them.
pub fn failing(areas: &[SwapArea]) -> Option<Problem> {
    let (area, why) = areas.iter().find_map(|area| Some((area, area.failing.as_ref()?)))?;
    let path = path(area);
    let text = format!("the disk of {path} fails: {why}; a VM whose pages it loses is killed");
    let fix = [
        format!("swapoff {path}"),
        "# then replace the disk, and switch the swap on again: systemctl restart wasp-swap"
            .to_owned(),
    ];
    Some(Problem::new(Trouble::SwapDisk, text).with_remedy(fix.into()))
}

/// Reports a slow device that the kernel fills before a fast one, and a full device before slower ones.
pub fn order(areas: &[SwapArea]) -> Option<Problem> {
    let slow_first = areas.iter().find(|slow| {
        let faster =
            |fast: &SwapArea| !fast.rotating && fast.device.priority <= slow.device.priority;
        slow.rotating && areas.iter().any(faster)
    });
    if let Some(area) = slow_first {
        let (slow, priority) = (path(area), area.device.priority);
        let text = format!(
            "{slow} rotates and is filled first (priority {priority}), although there is a faster device"
        );
        let fix = [format!("swapoff {slow}"), format!("swapon -p 0 {slow}")];
        return Some(Problem::new(Trouble::SwapDevices, text).with_remedy(fix.into()));
    }
    let first = areas.iter().max_by_key(|area| area.device.priority)?;
    let device = &first.device;
    let is_full = device.size_bytes > 0 && device.used_bytes >= device.size_bytes / 100 * 99;
    (areas.len() > 1 && is_full).then(|| {
        let text =
            format!("{} is full: from now on the kernel swaps to a slower device", path(first));
        let fix = vec!["wasp-agent status --all".to_owned()];
        Problem::new(Trouble::SwapDevices, text).with_remedy(fix)
    })
}

/// Reports a rotating disk. Only `wasp-agent check` does: the node works as it was built.
pub fn rotating(areas: &[SwapArea]) -> Option<Problem> {
    // Behind a faster device it only takes what that one has no room for.
    let area = areas.iter().max_by_key(|area| area.device.priority).filter(|area| area.rotating)?;
    let path = path(area);
    let text = format!("{path} rotates: a VM stalls for each page that it reads from there");
    let fix = ["lsblk -d -o NAME,ROTA,SIZE,MODEL", "wasp-agent provision --dry-run"];
    Some(Problem::new(Trouble::SwapDevices, text).with_remedy(fix.map(str::to_owned).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::host::SwapDevice;

    fn area(path: &str, priority: i32, rotating: bool) -> SwapArea {
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
        assert_eq!(order(std::slice::from_ref(&slow)), None);
        assert!(
            rotating(std::slice::from_ref(&slow)).unwrap().text.starts_with("/dev/sda rotates")
        );
        let first = [area("/dev/nvme0n1", -2, false), slow.clone()];
        let problem = order(&first).unwrap();
        assert_eq!(problem.remedy, ["swapoff /dev/sda", "swapon -p 0 /dev/sda"]);
        let second = [area("/dev/nvme0n1", 10, false), slow];
        assert_eq!((order(&second), rotating(&second)), (None, None));
    }

    #[test]
    fn a_full_device_and_a_disk_that_fails_are_reported() {
        let mut areas = [area("/dev/zram0", 100, false), area("/dev/sda", 5, false)];
        assert_eq!((order(&areas), failing(&areas)), (None, None));
        areas[0].device.used_bytes = areas[0].device.size_bytes - 4096;
        assert!(order(&areas).unwrap().text.starts_with("/dev/zram0 is full"));
        assert_eq!(order(&areas[..1]), None, "no device follows");
        areas[1].failing = Some("/dev/sda is offline".to_owned());
        let problem = failing(&areas).unwrap();
        assert!(problem.text.contains("/dev/sda fails: /dev/sda is offline"), "{problem:?}");
        assert_eq!(problem.remedy[0], "swapoff /dev/sda");
    }
}
