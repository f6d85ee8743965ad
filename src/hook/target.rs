//! Finds the cgroups to write: those of the container's process, and none outside of the pods'.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::Nothing;
use crate::{
    model::pod::{ContainerId, PodUid, QosClass},
    observe::{
        cgroup::Cgroup,
        names::{Below, InPod, below_kubepods, in_pod, is_burstable},
    },
    roots::Roots,
};

/// The container's cgroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookTarget {
    pub pod: PodUid,
    pub id: ContainerId,
    pub qos_class: QosClass,
    /// The levels, outermost first.
    pub levels: Vec<LevelPath>,
}

/// A cgroup with its path and inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelPath {
    /// Path below the cgroup root.
    pub path: PathBuf,
    pub inode: u64,
}

impl HookTarget {
    /// Finds the cgroup of `pid` as the kernel reports it.
    pub fn of(roots: &Roots, pid: i32) -> Result<Self, Nothing> {
        let path = roots.proc(&format!("{pid}/cgroup"));
        let text = fs::read_to_string(path)
            .map_err(|error| Nothing::NoCgroup { pid, error: error.to_string() })?;
        // cgroup v2 has a single line `0::/path` (cgroups(7)).
        let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
        let target = path.and_then(|path| parse(path, roots.pods()));
        let mut target = target.ok_or(Nothing::NotInAPod)?;
        for level in &mut target.levels {
            let failed = |error: String| Nothing::NoCgroup { pid, error };
            let cgroup = Cgroup::open(&roots.cgroup().join(&level.path))
                .map_err(|error| failed(error.to_string()))?
                .ok_or_else(|| failed("it is gone".to_owned()))?;
            level.inode = cgroup.inode().map_err(|error| failed(error.to_string()))?;
        }
        Ok(target)
    }
}

/// Parses `kubepods…/[class/]pod/container[/deeper]`, with inodes of 0. `pods` are the paths of
/// `kubepods`.
fn parse(path: &str, pods: &[PathBuf]) -> Option<HookTarget> {
    let names: Vec<&str> = path.split('/').collect();
    if names.iter().any(|name| name.is_empty() || *name == "." || *name == "..") {
        return None;
    }
    let pods = pods.iter().find(|pods| Path::new(path).starts_with(pods))?;
    let mut depth = pods.iter().count();
    let mut qos_class = QosClass::Guaranteed;
    if below_kubepods(names.get(depth)?) == Below::QosClass {
        qos_class = match is_burstable(names[depth]) {
            true => QosClass::Burstable,
            false => QosClass::BestEffort,
        };
        depth += 1;
    }
    let Below::Pod(pod) = below_kubepods(names.get(depth)?) else { return None };
    let InPod::Container(id, _) = in_pod(names.get(depth + 1)?) else { return None };
    let level = |end: usize| LevelPath { path: names[..end].iter().collect(), inode: 0 };
    let levels = (depth + 2..=names.len()).map(level).collect();
    Some(HookTarget { pod, id, qos_class, levels })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str) -> Option<HookTarget> {
        super::parse(path, Roots::host().pods())
    }

    #[test]
    fn pods_may_be_below_another_cgroup() {
        let root = "kubelet.slice/kubelet-kubepods.slice";
        let path = format!(
            "{root}/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{UID}.slice/crio-{ID}.scope"
        );
        assert_eq!(parse(&path), None, "not unless the kubelet says so");
        let target = super::parse(&path, &[root.into()]).unwrap();
        assert_eq!((target.qos_class, target.levels.len()), (QosClass::Burstable, 1));
        assert_eq!(target.levels[0].path, Path::new(&path));
    }

    const UID: &str = "9192cfa8_679c_444e_9bb8_9701e3620c02";
    const ID: &str = "6506db16ea97b09bdd2aa6ac6c3ca21e670f69b0e2233c99eafaebd597e53728";

    #[test]
    fn levels_are_the_containers_own_and_those_below() {
        let pod =
            format!("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID}.slice");
        let target = parse(&format!("{pod}/crio-{ID}.scope/container")).unwrap();
        assert_eq!(target.qos_class, QosClass::Burstable);
        assert_eq!(target.pod.as_str(), UID.replace('_', "-"));
        assert_eq!(target.id.as_str(), ID);
        let shown: Vec<_> = target.levels.iter().map(|level| level.path.clone()).collect();
        let scope = PathBuf::from(&pod).join(format!("crio-{ID}.scope"));
        assert_eq!(shown, [scope.clone(), scope.join("container")]);

        let inner = format!("{pod}/crio-{ID}.scope/kubepods/pod{UID}/crio-{}", &ID[..20]);
        let target = parse(&inner).unwrap();
        assert_eq!(target.id.as_str(), ID, "what the container names its own cgroups is nothing");
        assert!(target.levels.iter().all(|level| level.path.starts_with(&scope)));

        let guaranteed = parse(&format!("kubepods.slice/kubepods-pod{UID}.slice/crio-{ID}.scope"));
        assert_eq!(guaranteed.unwrap().qos_class, QosClass::Guaranteed);
        let other = parse(&format!("kubepods/besteffort/pod{}/crio-{ID}", UID.replace('_', "-")));
        assert_eq!(other.unwrap().qos_class, QosClass::BestEffort);
    }

    #[test]
    fn nothing_outside_of_a_pods_container_is_a_target() {
        let pod = format!("kubepods.slice/kubepods-pod{UID}.slice");
        for path in [
            "",
            "kubepods.slice",
            "system.slice/crio.service",
            &pod,
            &format!("system.slice/crio-conmon-{ID}.scope"),
            &format!("{pod}/crio-conmon-{ID}.scope"),
            &format!("machine.slice/{pod}/crio-{ID}.scope"),
            &format!("{pod}/crio-{ID}.scope/../../../system.slice"),
            &format!("{pod}//crio-{ID}.scope"),
            &format!("../{pod}/crio-{ID}.scope"),
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
    }
}
