//! What the DaemonSet agent leaves on the host: OCI hooks that change swap limits, and units.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::roots::Roots;

/// CRI-O's default, and what OpenShift adds (crio.conf(5), `hooks_dir`).
pub const USUAL_FOLDERS: [&str; 3] = [
    "/usr/share/containers/oci/hooks.d",
    "/run/containers/oci/hooks.d",
    "/etc/containers/oci/hooks.d",
];

/// `swap-for-burstable.json`, or with the DaemonSet's pod in its name.
const RIVAL_HOOK: (&str, &str) = ("swap-for-burstable", ".json");
const RIVAL_SCRIPT: (&str, &str) = ("oci-hook-swap", ".sh");
const SCRIPTS: &str = "/opt";

/// The units of its MachineConfig.
const UNITS: [&str; 2] = ["swap-provision.service", "cgroup-system-slice-config.service"];

/// The DaemonSet's hooks and their scripts.
pub fn rival_files(roots: &Roots) -> Vec<PathBuf> {
    let hooks = USUAL_FOLDERS.map(|folder| (folder, RIVAL_HOOK));
    let mut found: Vec<PathBuf> = hooks
        .into_iter()
        .chain([(SCRIPTS, RIVAL_SCRIPT)])
        .flat_map(|(folder, (prefix, suffix))| {
            let entries = fs::read_dir(roots.path(folder)).into_iter().flatten().flatten();
            let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
            names
                .filter(move |name| name.starts_with(prefix) && name.ends_with(suffix))
                .map(move |name| Path::new(folder).join(name))
        })
        .collect();
    found.sort();
    found
}

/// The units that the DaemonSet's MachineConfig brings.
pub fn rival_units(roots: &Roots) -> Vec<PathBuf> {
    let units = UNITS.map(|unit| Path::new("/etc/systemd/system").join(unit));
    units.into_iter().filter(|unit| roots.path(unit).exists()).collect()
}

/// Paths for a sentence.
pub fn listed(files: &[PathBuf]) -> String {
    let shown: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    shown.join(" and ")
}

/// The DaemonSet's hook, if it is there: containers would start without a limit.
pub fn rival(roots: &Roots) -> Option<String> {
    let found = rival_files(roots);
    (!found.is_empty()).then(|| {
        format!(
            "the wasp-agent DaemonSet has left {}, which lifts swap limits at every start: delete \
             the DaemonSet, then these files",
            listed(&found)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_daemonset_left_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        assert_eq!((rival(&roots), rival_units(&roots)), (None, vec![]));
        let put = |path: &str| {
            fs::create_dir_all(roots.path(path).parent().unwrap()).unwrap();
            fs::write(roots.path(path), "").unwrap();
        };
        let hook = "/run/containers/oci/hooks.d/swap-for-burstable.json";
        put(hook);
        put("/run/containers/oci/hooks.d/99-other.json");
        let said = rival(&roots).unwrap();
        assert!(said.contains(hook) && !said.contains("and") && !said.contains("99"), "{said}");
        let newer = [
            "/opt/oci-hook-swap-wasp-agent-abc12.sh",
            "/run/containers/oci/hooks.d/swap-for-burstable-wasp-agent-abc12.json",
        ];
        newer.into_iter().for_each(put);
        put("/etc/systemd/system/swap-provision.service");
        assert_eq!(rival_files(&roots), [newer[0], newer[1], hook].map(PathBuf::from));
        assert_eq!(rival_units(&roots), [Path::new("/etc/systemd/system/swap-provision.service")]);
    }
}
