//! OCI hooks of others that change swap limits.

use std::path::Path;

use crate::roots::Roots;

/// CRI-O's default, and what OpenShift adds (crio.conf(5), `hooks_dir`).
pub const USUAL_FOLDERS: [&str; 3] = [
    "/usr/share/containers/oci/hooks.d",
    "/run/containers/oci/hooks.d",
    "/etc/containers/oci/hooks.d",
];

/// What the DaemonSet leaves on the host.
const RIVAL_HOOK: &str = "swap-for-burstable.json";
const RIVAL_SCRIPT: &str = "/opt/oci-hook-swap.sh";

/// The DaemonSet's hook, if it is there: containers would start without a limit.
pub fn rival(roots: &Roots) -> Option<String> {
    let hooks = USUAL_FOLDERS.iter().map(|folder| Path::new(folder).join(RIVAL_HOOK));
    let script = Path::new(RIVAL_SCRIPT).to_owned();
    let found: Vec<_> = hooks.chain([script]).filter(|file| roots.path(file).exists()).collect();
    let shown: Vec<String> = found.iter().map(|file| file.display().to_string()).collect();
    (!shown.is_empty()).then(|| {
        format!(
            "the wasp-agent DaemonSet has left {}, which lifts swap limits at every start: delete \
             the DaemonSet, then these files",
            shown.join(" and ")
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
        assert_eq!(rival(&roots), None);
        let hook = "/run/containers/oci/hooks.d/swap-for-burstable.json";
        std::fs::create_dir_all(roots.path(hook).parent().unwrap()).unwrap();
        std::fs::write(roots.path(hook), "{}").unwrap();
        let said = rival(&roots).unwrap();
        assert!(said.contains(hook) && !said.contains(RIVAL_SCRIPT), "{said}");
    }
}
