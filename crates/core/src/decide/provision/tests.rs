use proptest::prelude::*;

use super::*;
use crate::model::{
    host::SwapDevice,
    storage::{Area, CgroupMemory, FilePlace, FileSystem},
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

#[test]
fn the_formula_is_that_of_the_documentation() {
    let wanted = |percent, ram| WantedSwap::new(SwapSize::Overcommit { percent }, ram, 4096);
    assert_eq!(wanted(150, 16 * GIB).unwrap().bytes, 8 * GIB);
    assert_eq!(wanted(100, 16 * GIB), None);
    assert_eq!(wanted(1000, u64::MAX / 4), None, "more than there are bytes");
    // 1 % of an odd RAM, in whole pages, never less than the formula gives.
    assert_eq!(wanted(101, 4_106_436_608).unwrap().bytes, 10026 * 4096);
    let size = WantedSwap::new(SwapSize::Bytes(5000), GIB, 4096).unwrap();
    assert_eq!((size.bytes, size.exact), (8192, true));
}

#[test]
fn a_size_is_met_exactly_and_the_formula_nearly() {
    let size = WantedSwap { bytes: GIB, exact: true };
    assert!(size.is_met_by(GIB) && !size.is_met_by(GIB + 4096));
    let formula = WantedSwap { bytes: GIB, exact: false };
    assert!(formula.is_met_by(GIB + 16 * MIB) && !formula.is_met_by(GIB + 17 * MIB));
}

fn device(path: &str, size_bytes: u64, used_bytes: u64) -> SwapDevice {
    SwapDevice { path: path.into(), kind: "file".into(), size_bytes, used_bytes, priority: 0 }
}

fn ours(bytes: u64) -> Area {
    Area::Ours { bytes, allocated_bytes: bytes }
}

fn place(found: Area, active: Option<u64>, available_bytes: u64) -> FilePlace {
    let size = if let Area::Ours { bytes, .. } = found { bytes } else { 0 };
    FilePlace {
        path: "/swap".into(),
        found,
        active: active.map(|used| device("/swap", size, used)),
        next_path: "/swap.next".into(),
        next: Area::Nothing,
        next_active: None,
        filesystem: FileSystem {
            total_bytes: 100 * GIB,
            available_bytes,
            holds_images: true,
            obstacle: None,
        },
    }
}

fn memory(available_bytes: u64) -> MemoryFacts {
    MemoryFacts {
        ram_bytes: 2 * GIB,
        available_bytes,
        kubelet_threshold_bytes: 0,
        cgroups: Vec::new(),
    }
}

/// Plans for one GiB, and keeps 5 GiB free on the disk.
fn plan(place: &FilePlace, memory: &MemoryFacts) -> Result<ProvisionPlan, ProvisionRefusal> {
    plan_file(WantedSwap { bytes: GIB, exact: true }, place, 5 * GIB, 0, memory)
}

fn steps(place: &FilePlace, memory: &MemoryFacts) -> Vec<String> {
    let plan = plan(place, memory).unwrap();
    assert_eq!(plan.kept, None);
    plan.steps.iter().map(ToString::to_string).collect()
}

#[test]
fn a_lost_swapfile_gets_no_second_one_beside_it() {
    let lost = place(Area::Nothing, Some(GIB / 4), 90 * GIB);
    let refused = Err(ProvisionRefusal::Lost { path: "/swap".into() });
    assert_eq!(plan(&lost, &memory(8 * GIB)), refused);
    let active = device("/swap", GIB, 0);
    let retired = |found: &Area| {
        let of = (Path::new("/swap"), Some(&active), memory(8 * GIB));
        plan_retirement(SwapKind::File, of.0, found, of.1, 0, &of.2)
    };
    let plan = retired(&Area::Nothing);
    assert_eq!((plan.steps.len(), plan.kept.map(Err::<ProvisionPlan, _>)), (0, Some(refused)));
    assert_eq!(retired(&ours(GIB)).steps.len(), 2);
}

#[test]
fn a_partition_counts_as_configured_without_a_size() {
    let node = NodeMemory { ram_bytes: 16 * GIB, swap_bytes: 0, page_bytes: 4096 };
    let mut swap = crate::config::settings::Settings::defaults().swap;
    assert!(!is_configured(&swap, &node));
    (swap.kind, swap.path) = (SwapKind::Partition, "/dev/disk/by-id/scsi-x".into());
    assert!(is_configured(&swap, &node));
    let why = shortage(&swap, &node).unwrap();
    assert!(why.contains("/dev/disk/by-id/scsi-x is configured"), "{why}");
    assert_eq!(shortage(&swap, &NodeMemory { swap_bytes: GIB, ..node }), None);
}

#[test]
fn a_partition_that_comes_late_is_asked_for_and_one_that_was_there_is_left() {
    let mut swap = crate::config::settings::Settings::defaults().swap;
    let number = |minor| DeviceNumber { major: 8, minor };
    let (sda, sdb) = (number(0), number(16));
    assert_eq!(late(&swap, Some(sda), &[], true), Late::No, "a file");
    swap.kind = SwapKind::Partition;
    assert_eq!(late(&swap, None, &[sdb], false), Late::Awaited);
    assert_eq!(late(&swap, Some(sda), &[sdb], true), Late::Here);
    assert_eq!(late(&swap, Some(sda), &[sdb, sda], true), Late::No, "on already");
    assert_eq!(late(&swap, Some(sda), &[], false), Late::No, "switched off by another user");
}

/// The agent creates a file again that the kernel refuses (a reflinked copy, a file in a snapshot).
#[test]
fn a_file_that_the_kernel_refuses_is_made_anew() {
    let refused = |path: &str, mut place: FilePlace| {
        place.refused(path.as_ref());
        steps(&place, &memory(GIB))
    };
    let make = ["make a swapfile of 1.0 GiB at /swap", "switch on /swap"];
    let anew = [&["remove /swap"], &make[..]].concat();
    assert_eq!(refused("/swap", place(ours(GIB), None, 5 * GIB + 1)), anew, "in its own room");
    assert_eq!(refused("/swap", place(ours(GIB), Some(0), 10 * GIB)), [""; 0], "it is in use");
    let foreign = place(Area::Other("a file".into()), None, 10 * GIB);
    let mut same = foreign.clone();
    same.refused("/swap".as_ref());
    assert_eq!(same, foreign);
}

#[test]
fn each_state_of_the_file_has_its_steps() {
    let (disk, ram) = (10 * GIB, memory(GIB));
    let make = "make a swapfile of 1.0 GiB at /swap";
    assert_eq!(steps(&place(Area::Nothing, None, disk), &ram), [make, "switch on /swap"]);
    assert_eq!(steps(&place(ours(GIB), None, disk), &ram), ["switch on /swap"]);
    assert_eq!(steps(&place(ours(GIB), Some(0), disk), &ram), [""; 0]);
    assert_eq!(
        steps(&place(ours(2 * GIB), None, disk), &ram),
        ["remove /swap", make, "switch on /swap"]
    );
    let beside = [
        "make a swapfile of 1.0 GiB at /swap.next",
        "switch on /swap.next",
        "switch off /swap",
        "remove /swap",
    ];
    assert_eq!(steps(&place(ours(2 * GIB), Some(GIB), disk), &ram), beside);
    assert_eq!(
        steps(&place(ours(2 * GIB), Some(512 * MIB), 5 * GIB), &ram),
        ["switch off /swap", "remove /swap", make, "switch on /swap"],
        "no room for both"
    );
}

#[test]
fn an_exchange_that_was_cut_short_goes_on() {
    let ram = memory(GIB);
    let cut = |next_bytes, next_on: bool, active| {
        let mut place = place(ours(2 * GIB), active, 10 * GIB);
        place.next = ours(next_bytes);
        place.next_active = next_on.then(|| device("/swap.next", next_bytes, 0));
        steps(&place, &ram)
    };
    let rename = "rename /swap.next to /swap";
    assert_eq!(cut(GIB, false, None), ["remove /swap", rename, "switch on /swap"]);
    assert_eq!(cut(GIB, true, None), ["remove /swap"]);
    let off = ["switch off /swap", "remove /swap"];
    assert_eq!(cut(GIB, true, Some(MIB)), off);
    assert_eq!(cut(GIB, false, Some(MIB)), ["switch on /swap.next", off[0], off[1]]);
    assert_eq!(cut(3 * GIB, true, Some(MIB))[..2], ["switch off /swap.next", "remove /swap.next"]);
}

#[test]
fn what_is_not_ours_is_never_touched() {
    let foreign = place(Area::Other("a file that is not a swap area".into()), None, 10 * GIB);
    let said = plan(&foreign, &memory(GIB)).unwrap_err().to_string();
    assert_eq!(
        said,
        "/swap is a file that is not a swap area, and the agent did not make it: move it away, or set \
         swap.path"
    );
    let mut next = place(ours(2 * GIB), None, 10 * GIB);
    next.next = Area::Other("a folder".into());
    assert!(matches!(plan(&next, &memory(GIB)), Err(ProvisionRefusal::Foreign { .. })));
}

#[test]
fn pages_return_to_ram_only_as_far_as_the_kubelet_does_not_evict() {
    let fits = |available_bytes: u64, kubelet_threshold_bytes: u64| {
        let memory = MemoryFacts { kubelet_threshold_bytes, ..memory(available_bytes) };
        super::fits(Path::new("/s"), GIB / 4, 0, &memory).is_ok()
    };
    // 128 MiB stay free of 2 GiB, or 2 % above the threshold.
    assert!(fits(GIB / 4 + (128 << 20), 0) && !fits(GIB / 4 + (127 << 20), 0));
    assert!(fits(GIB, GIB / 2) && !fits(GIB / 4 + GIB / 2, GIB / 2));
}

#[test]
fn the_disk_keeps_its_reserve() {
    let full = place(Area::Nothing, None, 6 * GIB - 1);
    let said = plan(&full, &memory(GIB)).unwrap_err().to_string();
    assert!(said.contains("would leave 5.0 GiB free") && said.contains("swap.reserve"), "{said}");
    assert!(plan(&place(Area::Nothing, None, 6 * GIB), &memory(GIB)).is_ok());
    // An existing smaller file is better than none.
    let kept = plan(&place(ours(GIB / 2), None, 5 * GIB), &memory(GIB)).unwrap();
    assert_eq!(kept.steps, [ProvisionStep::SwapOn { path: "/swap".into() }]);
    assert!(matches!(kept.kept, Some(ProvisionRefusal::DiskFull { .. })));
    let mut tmpfs = place(Area::Nothing, None, 10 * GIB);
    tmpfs.filesystem.obstacle = Some("tmpfs lives in RAM".into());
    let said = plan(&tmpfs, &memory(GIB)).unwrap_err().to_string();
    assert!(said.starts_with("/swap cannot hold swap: tmpfs lives in RAM"), "{said}");
}

#[test]
fn pages_that_do_not_fit_stay_where_they_are() {
    let kept = |place: &FilePlace, memory: &MemoryFacts| {
        let plan = plan(place, memory).unwrap();
        assert_eq!(plan.steps, []);
        plan.kept.unwrap().to_string()
    };
    // 4 GiB to 1 GiB, 2 GiB of it in use: 1 GiB goes to the new file, 0.5 GiB less the margin to
    // RAM.
    let said = kept(&place(ours(4 * GIB), Some(2 * GIB), 10 * GIB), &memory(512 * MIB));
    assert!(said.contains("of its 2.0 GiB in use only 1.4 GiB fit"), "{said}");
    // Into RAM alone: in total they would fit, but not the pages that must go to RAM.
    let mut tight = memory(2 * GIB);
    let (max_bytes, working_set_bytes) = (100 * MIB, 90 * MIB);
    let path = "kubepods.slice/pod".into();
    tight.cgroups = vec![CgroupMemory { path, max_bytes, working_set_bytes, swap_bytes: 20 * MIB }];
    let said = kept(&place(ours(2 * GIB), Some(20 * MIB), 5 * GIB), &tight);
    assert!(said.contains("cgroup kubepods.slice/pod has 20.0 MiB in swap"), "{said}");
    tight.cgroups[0].max_bytes = 110 * MIB;
    assert_eq!(steps(&place(ours(2 * GIB), Some(20 * MIB), 5 * GIB), &tight).len(), 4);
}

/// A power cut during an exchange leaves two files in use: the pages of the first to go move to the
/// other, and need a place again when that goes.
#[test]
fn pages_that_move_twice_are_counted_twice() {
    let mut place = place(ours(2 * GIB), Some(1310 * MIB), 11 * GIB / 2);
    place.next = ours(GIB / 2);
    place.next_active = Some(device("/swap.next", GIB / 2, 400 * MIB));
    let plan = plan(&place, &memory(415 * MIB)).unwrap();
    assert!(
        !plan.steps.contains(&ProvisionStep::SwapOff { path: "/swap".into() }),
        "{:?}",
        plan.steps
    );
    assert!(plan.kept.unwrap().to_string().contains("1.7 GiB in use only 1.3 GiB fit"));
}

#[test]
fn zram_of_another_size_is_exchanged() {
    let wanted = WantedSwap { bytes: GIB, exact: true };
    let zram = |number: u8, bytes, used: Option<u64>| {
        let path = format!("/dev/zram{number}");
        let active = used.map(|used| device(&path, bytes, used));
        ZramDevice { path: path.into(), bytes, active }
    };
    let plan = |devices: &[ZramDevice]| {
        let plan = plan_zram(wanted, devices, 0, &memory(GIB));
        (plan.steps.iter().map(ToString::to_string).collect::<Vec<_>>(), plan.kept.is_some())
    };
    let none: Vec<String> = Vec::new();
    assert_eq!(plan(&[zram(0, GIB, Some(0))]), (none.clone(), false));
    assert_eq!(plan(&[]), (vec!["make a zram swap of 1.0 GiB".into()], false));
    let (steps, _) = plan(&[zram(0, 2 * GIB, Some(MIB)), zram(1, 3 * GIB, None)]);
    assert_eq!(
        steps,
        [
            "make a zram swap of 1.0 GiB",
            "switch off /dev/zram0",
            "remove /dev/zram0",
            "remove /dev/zram1"
        ]
    );
    assert_eq!(plan(&[zram(0, 2 * GIB, Some(GIB))]), (none, true), "its pages fit nowhere");
}

#[test]
fn a_partition_is_formatted_only_where_it_is_blank() {
    let place = |content, active: bool| PartitionPlace {
        path: "/dev/p".into(),
        bytes: GIB,
        content,
        active: active.then(|| device("/dev/p", GIB, 0)),
    };
    let steps = |content, active| plan_partition(&place(content, active)).unwrap().steps;
    let path = || "/dev/p".into();
    assert_eq!(steps(Content::Swap, true), []);
    assert_eq!(steps(Content::Swap, false), [ProvisionStep::SwapOn { path: path() }]);
    assert_eq!(
        steps(Content::Blank, false),
        [
            ProvisionStep::Format { path: path(), bytes: GIB },
            ProvisionStep::SwapOn { path: path() }
        ]
    );
    let said = plan_partition(&place(Content::Other, false)).unwrap_err().to_string();
    assert!(said.contains("wipefs --all /dev/p"), "{said}");
}

/// A disk with up to two swapfiles, on which steps take effect.
#[derive(Clone, Debug)]
struct Disk {
    files: [Option<(u64, Option<u64>)>; 2],
    available: u64,
    ram_available: u64,
}

impl Disk {
    fn place(&self) -> FilePlace {
        let mut place = place(Area::Nothing, None, self.available);
        let area = |file: &Option<(u64, Option<u64>)>| {
            file.map_or(Area::Nothing, |(bytes, _)| ours(bytes))
        };
        let active = |path: &str, file: &Option<(u64, Option<u64>)>| {
            file.and_then(|(bytes, used)| Some(device(path, bytes, used?)))
        };
        place.found = area(&self.files[0]);
        place.active = active("/swap", &self.files[0]);
        place.next = area(&self.files[1]);
        place.next_active = active("/swap.next", &self.files[1]);
        place
    }

    fn apply(&mut self, step: &ProvisionStep) {
        let index = |path: &PathBuf| usize::from(path.ends_with("swap.next"));
        match step {
            ProvisionStep::MakeFile { path, bytes } => {
                assert_eq!(self.files[index(path)], None, "overwritten");
                self.files[index(path)] = Some((*bytes, None));
                self.available = self.available.checked_sub(*bytes).unwrap();
                assert!(self.available >= 5 * GIB, "the reserve is gone");
            }
            ProvisionStep::SwapOn { path } => {
                let (_, used) = self.files[index(path)].as_mut().unwrap();
                assert_eq!(used.replace(0), None, "switched on twice");
            }
            ProvisionStep::SwapOff { path } => {
                let (_, used) = self.files[index(path)].as_mut().unwrap();
                let pages = used.take().expect("switched off twice");
                let other = self.files[1 - index(path)].as_mut();
                let free = other.as_ref().map_or(0, |(b, u)| u.map_or(0, |u| b - u));
                let there = pages.min(free);
                if let Some((_, Some(used))) = other {
                    *used += there;
                }
                let left = self.ram_available.checked_sub(pages - there);
                self.ram_available = left.expect("pages were dropped");
            }
            ProvisionStep::RemoveFile { path } => {
                let (bytes, used) = self.files[index(path)].take().unwrap();
                assert_eq!(used, None, "removed while in use");
                self.available += bytes;
            }
            ProvisionStep::Rename { .. } => {
                assert_eq!(self.files[0], None, "overwritten");
                self.files[0] = self.files[1].take();
                assert!(matches!(self.files[0], Some((_, None))), "renamed while in use");
            }
            other => panic!("{other}"),
        }
    }

    /// Simulates a power cut: the contents of swap and RAM are gone.
    fn reboot(&mut self) {
        for (_, used) in self.files.iter_mut().flatten() {
            *used = None;
        }
        self.ram_available = 2 * GIB;
    }
}

fn file() -> impl Strategy<Value = Option<(u64, Option<u64>)>> {
    let sizes = (1_u64..5).prop_map(|half| half * GIB / 2);
    prop::option::of(
        (sizes, prop::option::of(0_u64..=100))
            .prop_map(|(bytes, percent)| (bytes, percent.map(|percent| bytes / 100 * percent))),
    )
}

proptest! {
    /// Cuts any plan after any of its steps, with or without a reboot: the next run finishes the
    /// job or reports why it cannot, and no page is lost on the way.
    #[test]
    fn an_interrupted_plan_is_finished_by_the_next(
        files in [file(), file()],
        available in 5 * GIB..12 * GIB,
        ram in 0..2 * GIB,
        cuts in prop::collection::vec((0_usize..5, any::<bool>()), 0..4),
    ) {
        let mut disk = Disk { files, available, ram_available: ram };
        let wanted = |disk: &Disk| plan(&disk.place(), &memory(disk.ram_available));
        for (cut, reboots) in cuts {
            if let Ok(plan) = wanted(&disk) {
                plan.steps.iter().take(cut).for_each(|step| disk.apply(step));
            }
            if reboots {
                disk.reboot();
            }
        }
        match wanted(&disk) {
            Ok(ProvisionPlan { steps, kept: None }) => {
                steps.iter().for_each(|step| disk.apply(step));
                let files: Vec<_> = disk.files.iter().flatten().collect();
                prop_assert!(matches!(files[..], [(GIB, Some(_))]), "{disk:?}");
                prop_assert_eq!(wanted(&disk), Ok(ProvisionPlan::default()));
            }
            Ok(ProvisionPlan { steps, kept: Some(_) }) => {
                steps.iter().for_each(|step| disk.apply(step));
                prop_assert!(disk.files.iter().flatten().any(|(_, used)| used.is_some()));
            }
            Err(refusal) => prop_assert!(matches!(refusal, ProvisionRefusal::DiskFull { .. }), "{refusal}"),
        }
    }
}
