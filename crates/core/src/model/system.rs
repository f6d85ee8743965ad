//! The node's operating system, as far as the commands that change it depend on it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// OpenShift's pools whose nodes run the API server and etcd.
pub const CONTROL_PLANE: [&str; 3] = ["master", "control-plane", "arbiter"];

/// The operating system, and the program that owns its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    /// The OS is an image of ostree or bootc: `/usr` is read-only, and a package or a kernel
    /// argument needs a new deployment.
    pub is_image: bool,
    /// The node's pool of OpenShift's Machine Config Operator.
    pub pool: Option<String>,
    /// Files of the pool's MachineConfigs. The operator marks a node as degraded that changes one.
    pub files: BTreeSet<PathBuf>,
}

impl System {
    /// Returns the node's pool if the Machine Config Operator owns the file.
    pub fn owner_of(&self, file: &Path) -> Option<&str> {
        self.pool.as_deref().filter(|_| self.files.contains(file))
    }
}

/// Returns true for the text of an os-release(5) of an OpenShift node: RHEL CoreOS or CentOS Stream
/// CoreOS.
pub fn is_openshift_coreos(os_release: &str) -> bool {
    let value = |name: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim().trim_matches(['"', '\'']))
    };
    let id = value("ID");
    let coreos = value("VARIANT_ID") == Some("coreos");
    matches!(id, Some("rhcos" | "scos")) || coreos && matches!(id, Some("rhel" | "centos"))
}

/// Returns the pool in the name of a rendered MachineConfig: `rendered-worker-0123abcd…`.
pub fn pool_of(rendered: &str) -> Option<&str> {
    let (pool, hash) = rendered.strip_prefix("rendered-")?.rsplit_once('-')?;
    let is_hash = !hash.is_empty() && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_hash && !pool.is_empty()).then_some(pool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coreos_of_openshift_is_told_from_other_systems() {
        let rhcos =
            "NAME=\"Red Hat Enterprise Linux CoreOS\"\nID=\"rhcos\"\nID_LIKE=\"rhel fedora\"\n";
        assert!(is_openshift_coreos(rhcos));
        assert!(is_openshift_coreos("ID=\"rhel\"\nVERSION_ID=\"9.6\"\nVARIANT_ID=coreos\n"));
        assert!(!is_openshift_coreos("ID=\"rhel\"\nVERSION_ID=\"9.4\"\n"));
        assert!(!is_openshift_coreos("ID=fedora\nVARIANT_ID=coreos\n"), "no operator there");
        assert!(!is_openshift_coreos(""));
    }

    #[test]
    fn a_pool_is_in_the_name_of_its_configuration() {
        assert_eq!(pool_of("rendered-worker-5f0d3c2e1a"), Some("worker"));
        assert_eq!(pool_of("rendered-infra-large-5f0d"), Some("infra-large"));
        assert_eq!((pool_of("rendered-worker-x y"), pool_of("worker")), (None, None));
    }
}
