//! Finds the slices that systemd must be asked about: does systemd-oomd kill in them?

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::obstacles::above_pods;
use crate::roots::Roots;

/// The directories of drop-ins that may set a property of a pod's slice (systemd.unit(5), "Unit File
/// Load Path"). The last one has those of transient units. The kubelet's slices are such units.
const FOLDERS: [&str; 7] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/run/systemd/transient",
];
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
    let about: Vec<String> =
        FOLDERS.iter().flat_map(|dir| drop_ins(&roots.path(dir), &above)).collect();
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

/// Returns the names of directories of drop-ins below `folder`, without `.d`, that name the
/// property and may concern slices below those `above` pods.
fn drop_ins(folder: &Path, above: &[String]) -> Vec<String> {
    let concerns = |name: &str| {
        name == "slice" || is_slice(name) && above.iter().any(|slice| shares_prefix(slice, name))
    };
    children(folder)
        .iter()
        .filter_map(|path| Some((path, path.file_name()?.to_str()?.strip_suffix(".d")?)))
        .filter(|(path, name)| concerns(name) && children(path).iter().any(|file| sets(file)))
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// Returns true if one of the two names, without suffix, begins with the other.
fn shares_prefix(one: &str, other: &str) -> bool {
    let [one, other] = [one, other].map(|name| name.trim_end_matches(".slice"));
    one.starts_with(other) || other.starts_with(one)
}

/// Returns true if a drop-in sets the property. The names of those that systemd writes tell.
fn sets(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    match name.strip_prefix("50-") {
        Some(property) if property.starts_with(PROPERTY) => true,
        Some("MemorySwapMax.conf") => false,
        _ => fs::read_to_string(file).is_ok_and(|text| text.contains(PROPERTY)),
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
        let below = roots.with_pods(&["kubelet.slice/kubelet-kubepods.slice".into()]);
        assert_eq!(candidates(&below)[1..3], ["kubelet.slice", "kubelet-kubepods.slice"]);
    }
}
