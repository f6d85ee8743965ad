//! Reads the kubelet's configuration.
//!
//! Source: Kubernetes `KubeletConfiguration` (kubelet.config.k8s.io/v1beta1), "Kubelet Configuration
//! Directory Merging" (KEP-3983). Values given by the kubelet's deprecated flags are not seen.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::kube::credentials::wrong_place;
use crate::{config::settings::Settings, model::kubelet::KubeletConfig, roots::Roots};

/// OpenShift, then kubeadm (where the first is a kubeconfig).
const USUAL_PLACES: [&str; 2] = ["/etc/kubernetes/kubelet.conf", "/var/lib/kubelet/config.yaml"];

/// Beside OpenShift's file: the `--config-dir` of its kubelets, on workers from 4.21 on
/// (machine-config-operator, templates/worker/01-worker-kubelet). Before, nothing of OpenShift writes there.
const DROP_INS: &str = "/etc/openshift/kubelet.conf.d";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    kind: Option<String>,
    fail_swap_on: Option<bool>,
    memory_swap: Option<MemorySwap>,
    eviction_hard: Option<BTreeMap<String, String>>,
    eviction_soft: Option<BTreeMap<String, String>>,
    merge_default_eviction_settings: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MemorySwap {
    swap_behavior: Option<String>,
}

/// `None` where there is none (yet); `Err` names the file that cannot be read.
pub fn config(roots: &Roots, settings: &Settings) -> Result<Option<KubeletConfig>, String> {
    let configured = settings.kubelet_config.iter().map(std::path::PathBuf::as_path);
    let usual = USUAL_PLACES.iter().map(Path::new).filter(|_| settings.kubelet_config.is_none());
    for path in configured.chain(usual) {
        let Some(mut wire) = wire(roots, path)? else { continue };
        if wire.kind.as_deref() != Some("KubeletConfiguration") {
            continue;
        }
        if path == Path::new(USUAL_PLACES[0]) {
            for path in drop_ins(roots) {
                if let Some(over) = self::wire(roots, &path)? {
                    wire = wire.under(over);
                }
            }
        }
        return Ok(Some(parsed(path, wire)));
    }
    Ok(None)
}

/// `None` where there is no such file.
fn wire(roots: &Roots, path: &Path) -> Result<Option<Wire>, String> {
    let text = match fs::read_to_string(roots.path(path)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
    };
    serde_saphyr::from_str(&text)
        .map(Some)
        // On kubeadm's nodes it is a kubeconfig.
        .map_err(|error| format!("cannot read {}: {}", path.display(), wrong_place(&error)))
}

/// In the order in which they count.
fn drop_ins(roots: &Roots) -> Vec<PathBuf> {
    let entries = fs::read_dir(roots.path(DROP_INS)).into_iter().flatten().flatten();
    let names = entries.map(|entry| Path::new(DROP_INS).join(entry.file_name()));
    let mut found: Vec<PathBuf> =
        names.filter(|path| path.extension().is_some_and(|suffix| suffix == "conf")).collect();
    found.sort();
    found
}

impl Wire {
    /// What `over` says counts; maps are merged by their keys.
    fn under(self, over: Self) -> Self {
        let merged = |below: Option<BTreeMap<_, _>>, above: Option<BTreeMap<_, _>>| match below {
            Some(mut below) => {
                below.extend(above.unwrap_or_default());
                Some(below)
            }
            None => above,
        };
        Self {
            kind: self.kind,
            fail_swap_on: over.fail_swap_on.or(self.fail_swap_on),
            memory_swap: over.memory_swap.or(self.memory_swap),
            eviction_hard: merged(self.eviction_hard, over.eviction_hard),
            eviction_soft: merged(self.eviction_soft, over.eviction_soft),
            merge_default_eviction_settings: over
                .merge_default_eviction_settings
                .or(self.merge_default_eviction_settings),
        }
    }
}

fn parsed(path: &Path, wire: Wire) -> KubeletConfig {
    let threshold = |of: &Option<BTreeMap<String, String>>, signal: &str| {
        of.as_ref().and_then(|thresholds| thresholds.get(signal).cloned())
    };
    KubeletConfig {
        path: path.to_owned(),
        fail_swap_on: wire.fail_swap_on,
        swap_behavior: wire.memory_swap.and_then(|swap| swap.swap_behavior),
        eviction_hard_memory: threshold(&wire.eviction_hard, "memory.available"),
        eviction_soft_memory: threshold(&wire.eviction_soft, "memory.available"),
        eviction_hard_nodefs: threshold(&wire.eviction_hard, "nodefs.available"),
        eviction_soft_nodefs: threshold(&wire.eviction_soft, "nodefs.available"),
        replaces_defaults: wire.eviction_hard.is_some()
            && wire.merge_default_eviction_settings != Some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Roots) {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        for (path, text) in files {
            fs::create_dir_all(roots.path(path).parent().unwrap()).unwrap();
            fs::write(roots.path(path), text).unwrap();
        }
        (folder, roots)
    }

    const OPENSHIFT: &str = "kind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1\n\
        authentication:\n  x509:\n    clientCAFile: /etc/kubernetes/kubelet-ca.crt\nfailSwapOn: false\n\
        evictionSoft:\n  memory.available: 1Gi\nevictionSoftGracePeriod:\n  memory.available: 1m30s\n\
        memorySwap:\n  swapBehavior: LimitedSwap\n";

    #[test]
    fn the_configuration_is_found_by_its_kind() {
        let settings = Settings::defaults();
        let (_folder, roots) = host(&[
            ("/etc/kubernetes/kubelet.conf", "apiVersion: v1\nkind: Config\n"),
            ("/var/lib/kubelet/config.yaml", OPENSHIFT),
        ]);
        let config = config(&roots, &settings).unwrap().unwrap();
        assert_eq!(config.path, Path::new("/var/lib/kubelet/config.yaml"));
        assert_eq!(config.fail_swap_on, Some(false));
        assert_eq!(config.swap_behavior.as_deref(), Some("LimitedSwap"));
        assert_eq!(config.eviction_soft_memory.as_deref(), Some("1Gi"));
        assert_eq!(config.eviction_hard_memory, None);
        assert!(!config.replaces_defaults);
    }

    #[test]
    fn drop_ins_of_openshift_count_in_the_order_of_their_names() {
        let folder = "/etc/openshift/kubelet.conf.d";
        let hard = |memory: &str| format!("evictionHard:\n  memory.available: {memory}\n");
        let main = format!("kind: KubeletConfiguration\n{}  nodefs.available: 5%\n", hard("100Mi"));
        let (_folder, roots) = host(&[
            ("/etc/kubernetes/kubelet.conf", &main),
            (&format!("{folder}/90-swap.conf"), &format!("failSwapOn: false\n{}", hard("300Mi"))),
            (&format!("{folder}/50-x.conf"), &format!("failSwapOn: true\n{}", hard("200Mi"))),
            (&format!("{folder}/99-x.bak"), "failSwapOn: true\n"),
        ]);
        let config = config(&roots, &Settings::defaults()).unwrap().unwrap();
        assert_eq!(config.fail_swap_on, Some(false));
        assert_eq!(config.eviction_hard_memory.as_deref(), Some("300Mi"));
        assert_eq!(config.eviction_hard_nodefs.as_deref(), Some("5%"));
        let broken = roots.path(folder).join("95-x.conf");
        fs::write(broken, "failSwapOn: [").unwrap();
        let error = self::config(&roots, &Settings::defaults()).unwrap_err();
        assert!(error.starts_with("cannot read /etc/openshift/kubelet.conf.d/95-x.conf: "));
    }

    #[test]
    fn none_is_none_and_a_broken_one_is_named() {
        let mut settings = Settings::defaults();
        let (_folder, roots) = host(&[("/etc/kubelet.yaml", "kind: [")]);
        assert_eq!(config(&roots, &settings), Ok(None));
        settings.kubelet_config = Some("/etc/kubelet.yaml".into());
        let error = config(&roots, &settings).unwrap_err();
        assert!(error.starts_with("cannot read /etc/kubelet.yaml: "), "{error}");
    }

    #[test]
    fn json_is_yaml_too() {
        let text =
            r#"{"kind": "KubeletConfiguration", "evictionHard": {"nodefs.available": "5%"}}"#;
        let (_folder, roots) = host(&[("/etc/kubernetes/kubelet.conf", text)]);
        let config = config(&roots, &Settings::defaults()).unwrap().unwrap();
        assert!(config.replaces_defaults);
        assert_eq!(config.eviction_hard_nodefs.as_deref(), Some("5%"));
    }
}
