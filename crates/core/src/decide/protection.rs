//! Decides how to protect a slice, and evaluates the protection in effect.

use std::time::Duration;

use crate::{
    config::settings::ProtectionSettings,
    model::{
        check::OomdFacts,
        protection::{Disks, SliceFacts, SliceProperties},
        swap::SwapMax,
        trouble::{Problem, Trouble},
        unknown::Unknown,
    },
};

/// Properties to set in systemd; those that are `None` or empty are right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropertyChange {
    pub swap_max: Option<SwapMax>,
    /// Devices and their latency targets in microseconds.
    pub io_latency: Vec<(String, u64)>,
}

impl PropertyChange {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Permission of a slice's processes to swap; the slices of pods have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    Denied,
    Allowed,
}

fn target(settings: &ProtectionSettings) -> Option<u64> {
    settings.io_latency_target.map(micros)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Returns the properties to change. The values that systemd holds must be right as well as the
/// kernel's, because systemd writes its own again.
pub fn change(
    settings: &ProtectionSettings,
    swap: Swap,
    disks: &Disks,
    slice: &SliceFacts,
) -> PropertyChange {
    let Some(properties) = &slice.properties else { return PropertyChange::default() };
    let may_swap = swap == Swap::Denied && swaps(properties, slice);
    let mut io_latency = Vec::new();
    if let Some(target) = target(settings) {
        for (number, device) in disks {
            // The last value given for a device counts.
            let told = properties.io_latency.iter().rfind(|(path, _)| path == device);
            let told = told.is_some_and(|(_, micros)| *micros == target);
            let in_force = slice.io_latency.as_ref().map(|targets| targets.get(number));
            // Without io.latency in the kernel, no target can be wrong.
            if !told || in_force.is_some_and(|micros| micros != Some(&target)) {
                io_latency.push((device.clone(), target));
            }
        }
    }
    PropertyChange { swap_max: may_swap.then_some(SwapMax::ZERO), io_latency }
}

fn swaps(properties: &SliceProperties, slice: &SliceFacts) -> bool {
    properties.swap_max != SwapMax::ZERO
        || slice.swap_max.is_some_and(|swap_max| swap_max != SwapMax::ZERO)
}

/// The protection of a slice, read from the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceProtection {
    pub unit: String,
    /// The parts of the protection that are missing, in words.
    pub missing: Vec<String>,
}

/// Evaluates the kernel's values, never systemd's reply, which is success even without io.latency
/// in the kernel.
pub fn protection(
    settings: &ProtectionSettings,
    swap: Swap,
    disks: &Disks,
    slice: &SliceFacts,
) -> SliceProtection {
    let mut missing = Vec::new();
    match slice.swap_max {
        _ if swap == Swap::Allowed => {}
        Some(SwapMax::ZERO) => {}
        Some(swap_max) => missing.push(format!("it may swap (memory.swap.max is {swap_max})")),
        None => missing.push("it has no memory.swap.max".to_owned()),
    }
    match (target(settings), &slice.io_latency) {
        (None, _) => {}
        (Some(_), None) => missing.push(
            "io.latency has no effect: this kernel does not support it \
             (CONFIG_BLK_CGROUP_IOLATENCY)"
                .to_owned(),
        ),
        (Some(_), Some(_)) if disks.is_empty() => {
            missing
                .push("io.latency has no effect: the agent found no disk for / or /var".to_owned());
        }
        (Some(target), Some(targets)) => {
            let unmet = disks.iter().filter(|(number, _)| targets.get(number) != Some(&target));
            let unmet: Vec<&str> = unmet.map(|(_, device)| &**device).collect();
            if !unmet.is_empty() {
                missing.push(format!("io.latency has no effect on {}", unmet.join(", ")));
            }
        }
    }
    SliceProtection { unit: slice.unit.clone(), missing }
}

/// Lists slices in which systemd-oomd may kill.
pub fn oomd_in(slices: &[String]) -> String {
    match slices {
        [first] => first.clone(),
        [first, second] => format!("{first} and {second}"),
        [first, second, more @ ..] => format!("{first}, {second} and {} more", more.len()),
        [] => String::new(),
    }
}

/// Describes that systemd-oomd may kill in `slices`.
fn oomd_said(slices: &[String]) -> String {
    format!(
        "systemd-oomd kills in {} when memory is short, whatever swap pods may use: set \
         ManagedOOMSwap=auto and ManagedOOMMemoryPressure=auto there, or disable systemd-oomd",
        oomd_in(slices)
    )
}

/// Reports that systemd-oomd kills, or that this is not known.
pub fn oomd(facts: &OomdFacts) -> Option<Problem> {
    match (&facts.kills[..], &facts.unknown) {
        ([], None) => None,
        ([], Some((slices, why))) => Some(
            Problem::new(Trouble::Oomd, oomd_unknown(slices, why))
                .with_remedy(vec![oomd_shown(slices)]),
        ),
        (slices, _) => {
            Some(Problem::new(Trouble::Oomd, oomd_said(slices)).with_remedy(oomd_remedy(slices)))
        }
    }
}

/// Describes that systemd does not tell whether systemd-oomd kills in `slices`.
pub fn oomd_unknown(slices: &[String], why: &Unknown) -> String {
    format!("systemd does not tell whether systemd-oomd kills in {}: {why}", oomd_in(slices))
}

/// Returns the command that shows whether systemd-oomd kills in `slices`.
pub fn oomd_shown(slices: &[String]) -> String {
    let properties = "-p ManagedOOMSwap -p ManagedOOMMemoryPressure";
    format!("systemctl show {properties} -- {}", slices.join(" "))
}

/// Returns the commands that keep systemd-oomd from killing in `slices`.
pub fn oomd_remedy(slices: &[String]) -> Vec<String> {
    let auto = |slice: &String| {
        format!(
            "systemctl set-property -- {slice} ManagedOOMSwap=auto ManagedOOMMemoryPressure=auto"
        )
    };
    slices.iter().map(auto).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::settings::Settings, model::protection::DeviceNumber};

    const VDA: DeviceNumber = DeviceNumber { major: 254, minor: 0 };

    fn slice() -> SliceFacts {
        SliceFacts {
            unit: "system.slice".into(),
            properties: Some(SliceProperties {
                swap_max: SwapMax::ZERO,
                io_latency: vec![("/dev/vda".into(), 50_000)],
            }),
            swap_max: Some(SwapMax::ZERO),
            io_latency: Some([(VDA, 50_000)].into()),
        }
    }

    fn decided(slice: &SliceFacts) -> (PropertyChange, Vec<String>) {
        let settings = Settings::defaults().protection;
        let disks = Disks::from([(VDA, "/dev/vda".to_owned())]);
        (
            change(&settings, Swap::Denied, &disks, slice),
            protection(&settings, Swap::Denied, &disks, slice).missing,
        )
    }

    fn changed(change: impl FnOnce(&mut SliceFacts)) -> (PropertyChange, Vec<String>) {
        let mut slice = slice();
        change(&mut slice);
        decided(&slice)
    }

    #[test]
    fn what_systemd_does_not_tell_of_oomd_is_a_problem_and_what_it_tells_comes_first() {
        let slices =
            |names: &[&str]| -> Vec<String> { names.iter().map(|n| (*n).into()).collect() };
        let facts = |kills: &[&str], unknown: &[&str]| OomdFacts {
            kills: slices(kills),
            unknown: (!unknown.is_empty()).then(|| (slices(unknown), "no answer".into())),
        };
        assert_eq!(oomd(&facts(&[], &[])), None);
        let unknown = oomd(&facts(&[], &["-.slice", "a.slice"])).unwrap();
        let expected = "systemd does not tell whether systemd-oomd kills in -.slice and a.slice: \
                        no answer";
        assert_eq!((unknown.about, &*unknown.text), (Trouble::Oomd, expected));
        let kills = oomd(&facts(&["b.slice"], &["-.slice"])).unwrap();
        assert!(kills.text.starts_with("systemd-oomd kills in b.slice when"), "{}", kills.text);
    }

    #[test]
    fn a_protected_slice_is_left_alone() {
        assert_eq!(decided(&slice()), (PropertyChange::default(), vec![]));
    }

    #[test]
    fn what_the_kernel_has_and_what_systemd_holds_must_both_be_right() {
        let no_swap = PropertyChange { swap_max: Some(SwapMax::ZERO), ..PropertyChange::default() };
        let (change, missing) = changed(|s| s.swap_max = Some(SwapMax::Max));
        assert_eq!(change, no_swap);
        assert_eq!(missing, ["it may swap (memory.swap.max is max)"]);
        let (change, missing) = changed(|s| {
            s.properties.as_mut().unwrap().swap_max = SwapMax::Max;
        });
        assert_eq!((change, missing), (no_swap, vec![]), "a daemon-reload would bring it back");

        let latency = PropertyChange {
            io_latency: vec![("/dev/vda".into(), 50_000)],
            ..PropertyChange::default()
        };
        let (change, missing) = changed(|s| s.io_latency = Some([(VDA, 70_000)].into()));
        assert_eq!(change, latency);
        assert_eq!(missing, ["io.latency has no effect on /dev/vda"]);
        let (change, missing) = changed(|s| s.properties.as_mut().unwrap().io_latency.clear());
        assert_eq!((change, missing), (latency, vec![]));
    }

    #[test]
    fn a_kernel_without_io_latency_is_told_once_and_reported() {
        let (change, missing) = changed(|s| s.io_latency = None);
        assert!(change.is_none());
        assert!(missing[0].contains("CONFIG_BLK_CGROUP_IOLATENCY"), "{missing:?}");
    }

    #[test]
    fn nothing_is_changed_while_systemd_cannot_be_asked() {
        let (change, missing) = changed(|s| {
            s.properties = None;
            s.swap_max = Some(SwapMax::Max);
        });
        assert!(change.is_none());
        assert_eq!(missing.len(), 1);
    }

    #[test]
    fn no_target_is_no_target() {
        let settings =
            ProtectionSettings { io_latency_target: None, ..Settings::defaults().protection };
        let mut slice = slice();
        slice.properties.as_mut().unwrap().io_latency.clear();
        slice.io_latency = None;
        assert!(change(&settings, Swap::Denied, &Disks::new(), &slice).is_none());
        assert_eq!(protection(&settings, Swap::Denied, &Disks::new(), &slice).missing, [""; 0]);
    }

    #[test]
    fn pods_keep_their_swap() {
        let settings = Settings::defaults().protection;
        let disks = Disks::from([(VDA, "/dev/vda".to_owned())]);
        let mut slice = slice();
        slice.swap_max = Some(SwapMax::Max);
        slice.properties.as_mut().unwrap().swap_max = SwapMax::Max;
        assert!(change(&settings, Swap::Allowed, &disks, &slice).is_none());
        assert_eq!(protection(&settings, Swap::Allowed, &disks, &slice).missing, [""; 0]);
    }
}
