//! Problems with the devices that hold the swap, and their fixes.

use crate::model::{
    check::SwapArea,
    trouble::{Problem, Trouble},
};

/// The highest priority that swapon(8) accepts.
const HIGHEST_PRIORITY: i32 = 32767;

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
        return Some(Problem::new(Trouble::SwapDevices, text).with_remedy(fast_first(areas)));
    }
    let first = areas.iter().filter(|area| !is_full(area)).max_by_key(|a| a.device.priority)?;
    let before = areas.iter().filter(|area| area.device.priority > first.device.priority);
    let faster =
        |area: &&SwapArea| (area.in_ram && !first.in_ram) || (!area.rotating && first.rotating);
    before.into_iter().find(faster).map(|area| {
        let text = format!(
            "{} is full: from now on the kernel swaps to {}, which is slower",
            path(area),
            path(first)
        );
        let fix = vec!["wasp-agent status --all".to_owned()];
        Problem::new(Trouble::SwapDevices, text).with_remedy(fix)
    })
}

/// Returns commands after which the kernel fills every fast device before any slow one. It moves
/// the fast ones, which hold less.
fn fast_first(areas: &[SwapArea]) -> Vec<String> {
    let priority = |area: &SwapArea| area.device.priority;
    let (slow, fast): (Vec<&SwapArea>, Vec<&SwapArea>) =
        areas.iter().partition(|area| area.rotating);
    let highest = slow.iter().map(|area| priority(area)).max().unwrap_or(0);
    let moved = |area: &SwapArea, option: String| {
        [format!("swapoff {}", path(area)), format!("swapon {option}{}", path(area))]
    };
    let mut commands: Vec<String> = match highest < HIGHEST_PRIORITY {
        true => {
            let below = fast.iter().filter(|area| priority(area) <= highest);
            let option = format!("-p {} ", highest.max(-1) + 1);
            below.flat_map(|area| moved(area, option.clone())).collect()
        }
        // Without a priority the kernel gives one below all others.
        false => {
            let first =
                slow.iter().filter(|area| fast.iter().any(|f| priority(f) <= priority(area)));
            first.flat_map(|area| moved(area, String::new())).collect()
        }
    };
    commands.push(
        "# set the same priorities in /etc/fstab or swap.priority, for the next boot".to_owned(),
    );
    commands
}

fn is_full(area: &SwapArea) -> bool {
    let device = &area.device;
    device.size_bytes > 0 && device.used_bytes >= device.size_bytes / 100 * 99
}

/// Reports that every device is full.
pub fn full(areas: &[SwapArea]) -> Option<Problem> {
    (!areas.is_empty() && areas.iter().all(is_full)).then(|| {
        let text =
            "all swap is full: the kernel can only drop file cache, and then kills processes";
        Problem::new(Trouble::SwapFull, text)
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
        assert_eq!(problem.remedy[..2], ["swapoff /dev/nvme0n1", "swapon -p 6 /dev/nvme0n1"]);
        let own = |slow, fast| {
            let areas = [area("/dev/nvme0n1", fast, false), area("/dev/sda", slow, true)];
            order(&areas).unwrap().remedy[1].clone()
        };
        assert_eq!(own(-2, -3), "swapon -p 0 /dev/nvme0n1");
        assert_eq!(own(0, 0), "swapon -p 1 /dev/nvme0n1");
        assert_eq!(own(32767, 10), "swapon /dev/sda");
        let second = [area("/dev/nvme0n1", 10, false), slow];
        assert_eq!((order(&second), rotating(&second)), (None, None));
    }

    #[test]
    fn a_full_device_and_a_disk_that_fails_are_reported() {
        let mut areas = [area("/dev/zram0", 100, false), area("/dev/sda", 5, false)];
        assert_eq!((order(&areas), failing(&areas)), (None, None));
        areas[0].device.used_bytes = areas[0].device.size_bytes - 4096;
        areas[0].in_ram = true;
        let text = "/dev/zram0 is full: from now on the kernel swaps to /dev/sda, which is slower";
        assert_eq!(order(&areas).unwrap().text, text);
        areas[0].in_ram = false;
        assert_eq!(order(&areas), None, "the other one is as fast");
        assert_eq!((order(&areas[..1]), full(&areas)), (None, None));
        let problem = full(&areas[..1]).unwrap();
        assert!(problem.text.starts_with("all swap is full"), "{problem:?}");
        areas[0].device.used_bytes = 0;
        areas[1].failing = Some("/dev/sda is offline".to_owned());
        let problem = failing(&areas).unwrap();
        assert!(problem.text.contains("/dev/sda fails: /dev/sda is offline"), "{problem:?}");
        assert_eq!(problem.remedy[0], "swapoff /dev/sda");
    }
}
