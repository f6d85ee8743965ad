//! Finds KubeVirt's VMs by their QEMU processes, for commands that can wait: reading the command
//! line of a process blocks while the process keeps its memory locked.

use std::{
    fs,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    decide::guests::guest_bytes,
    model::{
        guest::Guest,
        pod::{PodUid, Pods},
    },
    observe::{
        names::{Below, below_kubepods},
        process::{cgroup_of, command_line, name_of},
    },
    roots::Roots,
};

/// Time for all command lines together.
const PATIENCE: Duration = Duration::from_secs(2);

/// Returns the VMs among `pods` whose guest's memory can be determined.
pub fn guests(roots: &Roots, pods: &Pods) -> Vec<Guest> {
    if !pods.values().any(|pod| pod.virt_launcher) {
        return Vec::new();
    }
    let (send, sizes) = mpsc::channel();
    let (from, known) = (roots.clone(), pods.clone());
    let read = move || {
        let entries = fs::read_dir(from.proc("")).into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        for pid in pids.filter(|pid| is_qemu(&from, *pid)) {
            let uid = cgroup_of(&from, pid).and_then(|path| pod_of(&path));
            let Some(uid) = uid.filter(|uid| known.get(uid).is_some_and(|pod| pod.virt_launcher))
            else {
                continue;
            };
            let size = command_line(&from, pid).ok().and_then(|line| guest_bytes(&line));
            if let Some(size) = size
                && send.send((uid, size)).is_err()
            {
                return;
            }
        }
    };
    if thread::Builder::new().name("guests".to_owned()).spawn(read).is_err() {
        return Vec::new();
    }
    let mut guests = Vec::new();
    let end = Instant::now() + PATIENCE;
    while let Ok((uid, guest_bytes)) =
        sizes.recv_timeout(end.saturating_duration_since(Instant::now()))
    {
        let Some(pod) = pods.get(&uid) else { continue };
        let request =
            pod.container("compute").and_then(|compute| compute.effective().requests.memory);
        guests.push(Guest {
            pod: format!("{}/{}", pod.namespace, pod.name),
            guest_bytes,
            request_bytes: request.map_or(0, |request| u64::try_from(request.value()).unwrap_or(0)),
        });
    }
    guests.sort_by(|a, b| a.pod.cmp(&b.pod));
    guests
}

/// The kernel keeps 15 characters of a name.
fn is_qemu(roots: &Roots, pid: u32) -> bool {
    name_of(roots, pid).is_some_and(|name| name == "qemu-kvm" || name.starts_with("qemu-system-"))
}

fn pod_of(path: &str) -> Option<PodUid> {
    path.split('/').find_map(|name| match below_kubepods(name) {
        Below::Pod(uid) => Some(uid),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use wasp_core::fixtures;

    const UID: &str = "0a1b2c3d-0000-4000-8000-000000000001";

    #[test]
    fn a_vm_is_found_by_the_process_in_its_launchers_cgroup() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let process = |pid: u32, name: &str, cgroup: &str, arguments: &str| {
            let folder = roots.proc(&pid.to_string());
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("comm"), format!("{name}\n")).unwrap();
            fs::write(folder.join("cgroup"), format!("0::{cgroup}\n")).unwrap();
            fs::write(folder.join("cmdline"), arguments).unwrap();
        };
        let slice = format!(
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice/crio-0a.scope",
            UID.replace('-', "_")
        );
        let arguments = "/usr/libexec/qemu-kvm\0-name\0guest=vms_a\0-m\0size=4194304k\0";
        process(7, "qemu-kvm", &slice, arguments);
        process(8, "virtqemud", &slice, arguments);
        process(9, "qemu-kvm", "/system.slice/x.service", arguments);
        let mut pod = fixtures::pod("a", &["- - 4Gi -"]);
        pod.uid = PodUid::new(UID).unwrap();
        pod.containers[0].name = "compute".into();
        let with = |pod: &crate::model::pod::Pod| -> Pods {
            [(pod.uid.clone(), Arc::new(pod.clone()))].into()
        };
        assert_eq!(guests(&roots, &with(&pod)), [], "no launcher");
        pod.virt_launcher = true;
        let [guest] = &guests(&roots, &with(&pod))[..] else { panic!("one VM") };
        assert_eq!(guest.guest_bytes, 4 << 30);
        assert!(guest.pod.ends_with("/a"), "{}", guest.pod);
    }
}
