//! Writes `config.json` as CRI-O does.

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::node::Node;
use crate::pod::{Container, Pod, memory};
use crate::{Kubelet, Runtime};

pub(crate) const ROOTFS: &str = "/var/lib/test-kubelet/rootfs";
/// Names a tmpfs on the host, which is mounted at `/run` in the pod's containers: an emptyDir with
/// medium Memory.
const MEMORY_DIR: &str = "test-kubelet/memory-dir";

pub(crate) struct Ids<'a> {
    pub(crate) container: &'a str,
    pub(crate) sandbox: &'a str,
    /// The parent cgroup in CRI-O's notation.
    pub(crate) slice: &'a str,
    pub(crate) cgroups_path: &'a str,
    pub(crate) restarts: u32,
    /// A process of the sandbox, whose IPC and network namespaces the container joins
    pub(crate) sandbox_pid: Option<u32>,
}

pub(crate) fn container(
    pod: &Pod,
    container: &Container,
    ids: &Ids,
    runtime: Runtime,
    kubelet: Kubelet,
    node: &Node,
) -> Result<Value> {
    let own = kubelet_annotations(container.name, ids.restarts);
    let mut annotations = pod.annotations();
    let own_text = json!(own).to_string();
    annotations.extend(own);
    common(&mut annotations, pod, ids, container.name, "container");
    for (key, value) in [
        ("io.kubernetes.cri-o.Annotations", own_text),
        ("io.kubernetes.cri-o.Metadata", json!({"name": container.name}).to_string()),
        ("org.systemd.property.TimeoutStopUSec", "uint64 30000000".to_owned()),
        ("org.systemd.property.DefaultDependencies", "true".to_owned()),
    ] {
        annotations.insert(key.to_owned(), json!(value));
    }
    let mut resources = json!({
        "devices": [{"allow": false, "access": "rwm"}],
        "cpu": {"shares": 2, "period": 100_000},
        "pids": {"limit": -1},
    });
    if let Some(limit) = memory(container.spec, "limits")? {
        // Memory and swap together: no swap.
        resources["memory"] = json!({"limit": limit, "swap": limit});
    }
    let swap_max = match kubelet {
        Kubelet::Old => None,
        Kubelet::Current => Some(0),
        Kubelet::Limited => Some(pod.limited_swap(container, node)?),
    };
    if let Some(bytes) = swap_max {
        let unified = json!({"memory.oom.group": "1", "memory.swap.max": bytes.to_string()});
        resources["unified"] = unified;
    }
    Ok(config(
        &container.spec["command"],
        pod.oom_score_adj(container, node.memory_bytes)?,
        &annotations,
        &resources,
        ids,
        runtime,
    ))
}

/// The kubelet's annotations of a container; hooks match on these and the pod's.
pub(crate) fn kubelet_annotations(name: &str, restarts: u32) -> Map<String, Value> {
    // Any 32 bits: the kubelet hashes the container's spec.
    let hash =
        name.bytes().fold(0x69b5_adb8_u32, |hash, byte| hash.rotate_left(5) ^ u32::from(byte));
    [
        ("io.kubernetes.container.hash", format!("{hash:08x}")),
        ("io.kubernetes.container.restartCount", restarts.to_string()),
        ("io.kubernetes.container.terminationMessagePath", "/dev/termination-log".to_owned()),
        ("io.kubernetes.container.terminationMessagePolicy", "File".to_owned()),
        ("io.kubernetes.pod.terminationGracePeriod", "30".to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), json!(value)))
    .into_iter()
    .collect()
}

pub(crate) fn sandbox(pod: &Pod, ids: &Ids, runtime: Runtime) -> Value {
    let mut annotations = pod.annotations();
    annotations.extend(pod.labels());
    common(&mut annotations, pod, ids, "POD", "sandbox");
    for (key, value) in [
        ("io.kubernetes.cri-o.CgroupParent", ids.slice.to_owned()),
        ("io.kubernetes.cri-o.KubeName", pod.name().to_owned()),
        ("io.kubernetes.cri-o.Namespace", pod.namespace().to_owned()),
        (
            "io.kubernetes.cri-o.Metadata",
            json!({"name": pod.name(), "uid": pod.uid, "namespace": pod.namespace()}).to_string(),
        ),
    ] {
        annotations.insert(key.to_owned(), json!(value));
    }
    let resources = json!({"devices": [{"allow": false, "access": "rwm"}], "cpu": {"shares": 2}});
    let pause = json!(["/bin/sleep", "1000000000"]);
    config(&pause, -998, &annotations, &resources, ids, runtime)
}

fn common(annotations: &mut Map<String, Value>, pod: &Pod, ids: &Ids, name: &str, kind: &str) {
    let mut labels = json!({
        "io.kubernetes.container.name": name, "io.kubernetes.pod.name": pod.name(),
        "io.kubernetes.pod.namespace": pod.namespace(), "io.kubernetes.pod.uid": pod.uid,
    });
    if kind == "sandbox" {
        for (key, value) in pod.labels() {
            labels[key] = value;
        }
    }
    let full_name =
        |name: &str| format!("k8s_{name}_{}_{}_{}_0", pod.name(), pod.namespace(), pod.uid);
    for (key, value) in [
        ("io.container.manager", "cri-o".to_owned()),
        ("io.kubernetes.container.name", name.to_owned()),
        ("io.kubernetes.cri-o.ContainerID", ids.container.to_owned()),
        ("io.kubernetes.cri-o.ContainerType", kind.to_owned()),
        ("io.kubernetes.cri-o.Labels", labels.to_string()),
        ("io.kubernetes.cri-o.Name", full_name(name)),
        ("io.kubernetes.cri-o.SandboxID", ids.sandbox.to_owned()),
        ("io.kubernetes.cri-o.SandboxName", full_name("POD")),
        ("io.kubernetes.pod.name", pod.name().to_owned()),
        ("io.kubernetes.pod.namespace", pod.namespace().to_owned()),
        ("io.kubernetes.pod.uid", pod.uid.clone()),
    ] {
        annotations.insert(key.to_owned(), json!(value));
    }
}

fn config(
    command: &Value,
    oom_score_adj: i64,
    annotations: &Map<String, Value>,
    resources: &Value,
    ids: &Ids,
    runtime: Runtime,
) -> Value {
    let mount = |at: &str, kind: &str, options: &[&str]| json!({"destination": at, "type": kind, "source": kind, "options": options});
    // As in CRI-O where a runtime class allows the annotation.
    let writable = annotations.get("io.kubernetes.cri-o.cgroup2-mount-hierarchy-rw");
    let cgroups = if writable == Some(&json!("true")) { "rw" } else { "ro" };
    let capabilities = json!(["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL"]);
    // The sandbox creates the namespaces that a pod's containers share, and each container joins
    // them.
    let mut namespaces: Vec<Value> =
        ["pid", "uts", "mount", "cgroup"].iter().map(|kind| json!({"type": kind})).collect();
    if let Some(pid) = ids.sandbox_pid {
        for (kind, file) in [("ipc", "ipc"), ("network", "net")] {
            namespaces.push(json!({"type": kind, "path": format!("/proc/{pid}/ns/{file}")}));
        }
    } else {
        namespaces.push(json!({"type": "ipc"}));
        // A container without a sandbox uses the host's network.
        if ids.container == ids.sandbox {
            namespaces.push(json!({"type": "network"}));
        }
    }
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", cgroups]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/tmp", "tmpfs", &["nosuid", "nodev"]),
    ];
    if let Some(source) = annotations.get(MEMORY_DIR) {
        mounts.push(json!({
            "destination": "/run", "type": "bind", "source": source, "options": ["rbind", "rw"],
        }));
    }
    json!({
        "ociVersion": oci_version(runtime),
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": command, "cwd": "/",
            "env": ["PATH=/bin", "TERM=xterm", "HOSTNAME=node-a"],
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "oomScoreAdj": oom_score_adj,
        },
        "root": {"path": ROOTFS, "readonly": true},
        "hostname": "node-a",
        "mounts": mounts,
        "annotations": annotations,
        "linux": {
            "resources": resources,
            "cgroupsPath": ids.cgroups_path,
            "namespaces": namespaces,
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
            "readonlyPaths": ["/proc/bus", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

/// CRI-O 1.36 writes 1.3.0, which the crun of Debian 12 rejects.
fn oci_version(runtime: Runtime) -> &'static str {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    if runtime == Runtime::Crun && release.contains("VERSION_ID=\"12\"") {
        "1.0.2"
    } else {
        "1.3.0"
    }
}
