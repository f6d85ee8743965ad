//! Finds the slices that systemd must be asked about: does systemd-oomd kill in them?

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{obstacles::above_pods, units};
use crate::roots::Roots;

const PROPERTY: &str = "ManagedOOM";

/// Returns the root's slice, all slices above pods, and the slices of pods with a drop-in about
/// systemd-oomd: to ask systemd about each of 250 pods a minute would cost more than all other work
/// of the agent.
pub fn candidates(roots: &Roots) -> Vec<String> {
    let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
    let above: Vec<String> =
        above_pods(roots).iter().filter_map(|path| name(path)).filter(|n| is_slice(n)).collect();
    let mut names = vec!["-.slice".to_owned()];
    names.extend(above.iter().cloned());
    let about = about(roots, &above);
    if about.is_empty() {
        return names;
    }
    let mut pods: Vec<String> = above_pods(roots)
        .iter()
        .filter(|path| path.extension().is_some())
        .flat_map(|path| children(&roots.cgroup().join(path)))
        .filter_map(|path| name(&path))
        .filter(|name| is_slice(name) && !names.contains(name))
        .filter(|name| about.iter().any(|drop_in| covers(drop_in, name)))
        .collect();
    pods.sort();
    pods.dedup();
    names.extend(pods);
    names
}

fn is_slice(name: &str) -> bool {
    name.ends_with(".slice")
}

fn children(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Returns the names, without `.d`, of the directories of drop-ins that name the property and may
/// concern slices below those `above` pods.
fn about(roots: &Roots, above: &[String]) -> Vec<String> {
    let concerns = |name: &str| {
        name == "slice" || is_slice(name) && above.iter().any(|slice| shares_prefix(slice, name))
    };
    units::all_drop_in_folders(roots)
        .into_iter()
        .filter(|(name, folder)| {
            concerns(name)
                && units::conf_files(roots, folder).iter().any(|file| may_set(roots, file))
        })
        .map(|(name, _)| name)
        .collect()
}

/// Returns true if one of the two names, without suffix, begins with the other.
fn shares_prefix(one: &str, other: &str) -> bool {
    let [one, other] = [one, other].map(|name| name.trim_end_matches(".slice"));
    one.starts_with(other) || other.starts_with(one)
}

/// Returns true if a drop-in sets the property, or if it cannot be read: systemd's answer decides.
/// The names of those that systemd writes tell.
fn may_set(roots: &Roots, file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    match name.strip_prefix("50-") {
        Some(property) if property.starts_with(PROPERTY) => true,
        Some("MemorySwapMax.conf") => false,
        _ => units::text(roots, file).is_none_or(|text| text.contains(PROPERTY)),
    }
}

/// Returns true if drop-ins in `NAME.d` apply to `slice`: its own, those of all slices, and those
/// of a prefix that ends in a dash.
fn covers(drop_in: &str, slice: &str) -> bool {
    let prefix = drop_in.strip_suffix(".slice").filter(|prefix| prefix.ends_with('-'));
    drop_in == slice || drop_in == "slice" || prefix.is_some_and(|p| slice.starts_with(p))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_asked_about_only_if_a_drop_in_may_concern_them() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let put = |path: &str, text: &str| {
            let path = roots.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let burstable = "/sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice";
        for pod in ["kubepods-burstable-poda.slice", "kubepods-burstable-podb.slice"] {
            put(&format!("{burstable}/{pod}/cgroup.procs"), "");
        }
        put("/sys/fs/cgroup/kubepods.slice/kubepods-podc.slice/cgroup.procs", "");
        let usual =
            ["-.slice", "kubepods.slice", "kubepods-burstable.slice", "kubepods-besteffort.slice"];
        let transient = "/run/systemd/transient/kubepods-burstable-podb.slice.d";
        put(&format!("{transient}/50-MemorySwapMax.conf"), "[Slice]\nMemorySwapMax=0\n");
        assert_eq!(candidates(&roots), usual);
        put(&format!("{transient}/50-ManagedOOMSwap.conf"), "");
        assert_eq!(candidates(&roots)[4..], ["kubepods-burstable-podb.slice"]);
        let text = "[Slice]\nManagedOOMMemoryPressure=kill\n";
        put("/etc/systemd/system/kubepods-burstable-.slice.d/site.conf", text);
        let both = ["kubepods-burstable-poda.slice", "kubepods-burstable-podb.slice"];
        assert_eq!(candidates(&roots)[4..], both);
        put("/etc/systemd/system/slice.d/site.conf", text);
        assert_eq!(candidates(&roots).len(), 7);
        // A link is followed below the root. A file that cannot be read may set the property.
        fs::remove_dir_all(roots.path("/etc/systemd/system")).unwrap();
        fs::remove_dir_all(roots.path("/run/systemd/transient")).unwrap();
        assert_eq!(candidates(&roots), usual);
        put("/opt/drop-ins/site.conf", text);
        let link = roots.path("/run/systemd/system.attached/kubepods-burstable-podb.slice.d");
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink("/opt/drop-ins", link).unwrap();
        assert_eq!(candidates(&roots)[4..], ["kubepods-burstable-podb.slice"]);
        put("/opt/drop-ins/site.conf", "[Slice]\n");
        assert_eq!(candidates(&roots), usual);
        fs::create_dir(roots.path("/opt/drop-ins/unreadable.conf")).unwrap();
        assert_eq!(candidates(&roots)[4..], ["kubepods-burstable-podb.slice"]);
        let below = roots.with_pods(&["kubelet.slice/kubelet-kubepods.slice".into()]);
        assert_eq!(candidates(&below)[1..3], ["kubelet.slice", "kubelet-kubepods.slice"]);
    }
}
