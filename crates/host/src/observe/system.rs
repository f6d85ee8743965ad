//! Reads which operating system the node runs, and which of its files OpenShift's Machine Config
//! Operator owns.
//!
//! Source: os-release(5); ostree's `/run/ostree-booted`; machine-config-operator
//! `pkg/daemon/constants/constants.go`, `CurrentMachineConfigPath`.

use serde_json::Value;

use crate::{
    bounded::read_lossy,
    model::system::{System, is_openshift_coreos, pool_of},
    roots::Roots,
};

/// The first that exists counts.
const RELEASES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];
const OSTREE: &str = "/run/ostree-booted";
/// The MachineConfig that the operator's daemon has applied to this node.
const CURRENT: &str = "/etc/machine-config-daemon/currentconfig";
/// The static pod of etcd, which only nodes of the control plane have.
const ETCD: &str = "/etc/kubernetes/manifests/etcd-pod.yaml";

pub fn system(roots: &Roots) -> System {
    let text = |path: &str| read_lossy(&roots.path(path)).ok().flatten();
    let release = RELEASES.iter().find_map(|path| text(path)).unwrap_or_default();
    let current = text(CURRENT).and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let coreos = is_openshift_coreos(&release);
    let role = if roots.path(ETCD).exists() { "master" } else { "worker" };
    let managed = coreos || current.is_some();
    let current = current.unwrap_or_default();
    let pool = current["metadata"]["name"].as_str().and_then(pool_of);
    let files = current["spec"]["config"]["storage"]["files"].as_array().into_iter().flatten();
    System {
        is_image: roots.path(OSTREE).exists() || coreos,
        pool: pool.or(managed.then_some(role)).map(str::to_owned),
        files: files.filter_map(|file| Some(file["path"].as_str()?.into())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn each_kind_of_node_is_known_by_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let put = |path: &str, text: &str| {
            std::fs::create_dir_all(roots.path(path).parent().unwrap()).unwrap();
            std::fs::write(roots.path(path), text).unwrap();
        };
        assert_eq!(system(&roots), System::default());
        put("/usr/lib/os-release", "ID=\"rhel\"\n");
        assert_eq!(system(&roots), System::default());
        put("/run/ostree-booted", "");
        assert_eq!(system(&roots), System { is_image: true, ..System::default() });
        put("/etc/os-release", "ID=\"rhcos\"\n");
        assert_eq!(system(&roots).pool.as_deref(), Some("worker"), "before the first update");
        put(ETCD, "");
        assert_eq!(system(&roots).pool.as_deref(), Some("master"));
        put(
            CURRENT,
            r#"{"metadata":{"name":"rendered-infra-0a1b"},
                "spec":{"config":{"storage":{"files":[{"path":"/etc/a"}]}}}}"#,
        );
        let found = system(&roots);
        assert_eq!(found.pool.as_deref(), Some("infra"));
        assert_eq!(found.owner_of(Path::new("/etc/a")), Some("infra"));
        assert_eq!(found.owner_of(Path::new("/etc/b")), None);
    }
}
