//! Identifies a container by the OCI bundle that the runtime keeps while it runs: it is available
//! as soon as the cgroup appears, long before the pod's status names the container.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;

use crate::{
    bounded::read_bounded,
    model::{
        host::Role,
        pod::{ContainerId, PodUid, is_name},
    },
    roots::Roots,
};

/// The directories in which CRI-O and containerd keep bundles.
const PLACES: [(&str, &str); 2] = [
    ("/run/containers/storage/overlay-containers", "userdata/config.json"),
    ("/run/containerd/io.containerd.runtime.v2.task/k8s.io", "config.json"),
];

/// The needed part of `config.json`.
#[derive(Deserialize)]
struct BundleConfig {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Returns the role of container `id` of pod `pod`.
pub fn role(roots: &Roots, pod: &PodUid, id: &ContainerId) -> Role {
    PLACES
        .iter()
        .find_map(|(folder, file)| {
            let path = roots.path(folder).join(id.as_str()).join(file);
            Some(parse(&read_bounded(&path).ok()??, pod))
        })
        .unwrap_or(Role::Unknown)
}

/// A pod's author may set annotations, so they count only if they name the cgroup's own pod.
fn parse(config: &str, pod: &PodUid) -> Role {
    let Ok(BundleConfig { annotations }) = serde_json::from_str(config) else {
        return Role::Unknown;
    };
    let either = |crio: &str, containerd: &str| {
        annotations.get(crio).or_else(|| annotations.get(containerd)).map(String::as_str)
    };
    if either("io.kubernetes.pod.uid", "io.kubernetes.cri.sandbox-uid") != Some(pod.as_str()) {
        return Role::Unknown;
    }
    match either("io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri.container-type") {
        Some("sandbox") => Role::Helper,
        Some("container") => {
            either("io.kubernetes.container.name", "io.kubernetes.cri.container-name")
                .filter(|name| is_name(name))
                .map_or(Role::Unknown, |name| Role::Container(Arc::from(name)))
        }
        _ => Role::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid() -> PodUid {
        PodUid::new("9192cfa8-679c-444e-9bb8-9701e3620c02").unwrap()
    }

    #[test]
    fn crio_and_containerd_bundles_tell_the_container() {
        let crio = r#"{"ociVersion":"1.3.0","annotations":{"io.kubernetes.pod.uid":"9192cfa8-679c-444e-9bb8-9701e3620c02",
            "io.kubernetes.cri-o.ContainerType":"container","io.kubernetes.container.name":"c"}}"#;
        assert_eq!(parse(crio, &uid()), Role::Container("c".into()));
        assert_eq!(parse(&crio.replace("\"container\"", "\"sandbox\""), &uid()), Role::Helper);
        let containerd = r#"{"annotations":{"io.kubernetes.cri.sandbox-uid":"9192cfa8-679c-444e-9bb8-9701e3620c02",
            "io.kubernetes.cri.container-type":"container","io.kubernetes.cri.container-name":"main"}}"#;
        assert_eq!(parse(containerd, &uid()), Role::Container("main".into()));
    }

    #[test]
    fn what_is_not_about_this_pod_is_not_believed() {
        for config in [
            "",
            "[]",
            "{}",
            r#"{"annotations":{"io.kubernetes.pod.uid":"another-pod"}}"#,
            r#"{"annotations":{"io.kubernetes.pod.uid":"9192cfa8-679c-444e-9bb8-9701e3620c02",
                "io.kubernetes.cri-o.ContainerType":"container","io.kubernetes.container.name":"c\n"}}"#,
            r#"{"annotations":{"io.kubernetes.pod.uid":"9192cfa8-679c-444e-9bb8-9701e3620c02"}}"#,
            r#"{"annotations":{"io.kubernetes.pod.uid":"9192cfa8-679c-444e-9bb8-9701e3620c02","io.kubernetes.cri-o.ContainerType":"odd"}}"#,
        ] {
            assert_eq!(parse(config, &uid()), Role::Unknown, "{config}");
        }
    }
}
