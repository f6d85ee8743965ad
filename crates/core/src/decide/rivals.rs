//! Decides how the agent works together with other programs that do the same work on this node. It
//! does not change their settings.

use crate::{
    config::settings::{Grants, Settings, SwapKind},
    decide::provision::{is_configured, shortage, wanted_bytes},
    model::{
        host::NodeMemory,
        rivals::{Job, Rival, Who},
        swap::human_bytes,
    },
};

/// The latency target of system.slice in virt-platform-autopilot's 20-io-latency.conf.
const AUTOPILOT_TARGET_MILLIS: u128 = 5;

/// A row of the table in docs/comparison.md for one of the other programs: the part of its work
/// that the agent keeps, the part that the agent adds, and the part that contradicts the agent's
/// settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RivalRow {
    pub who: Who,
    pub kept: Vec<&'static str>,
    pub completed: Vec<&'static str>,
    pub contradicts: Vec<String>,
}

impl RivalRow {
    pub fn text(&self) -> String {
        let mut text = format!("{} is on this node", self.who.name());
        if !self.kept.is_empty() {
            text += &format!("; kept: {}", self.kept.join(", "));
        }
        if !self.completed.is_empty() {
            text += &format!("; added by the agent: {}", self.completed.join(", "));
        }
        if !self.contradicts.is_empty() {
            text += &format!("; contradicts: {}", self.contradicts.join("; "));
        }
        text
    }
}

/// Returns a row for each of the programs on this node. `node` is `None` if it cannot be read.
pub fn rows(rivals: &[Rival], settings: &Settings, node: Option<&NodeMemory>) -> Vec<RivalRow> {
    let row = |who: Who| {
        let its: Vec<&Rival> = rivals.iter().filter(|rival| rival.who == who).collect();
        let mut jobs: Vec<Job> = its.iter().map(|rival| rival.job).collect();
        jobs.sort_unstable();
        jobs.dedup();
        let mut row = RivalRow { who, kept: vec![], completed: vec![], contradicts: vec![] };
        for job in jobs {
            match job {
                Job::Swap => match node.and_then(|node| others_swap(rivals, settings, node)) {
                    Some(OthersSwap::Contradicts(why)) => row.contradicts.push(why),
                    Some(OthersSwap::Serves) | None => row.kept.push(job.name()),
                },
                Job::Slices => {
                    row.kept.push(job.name());
                    // The other program skips the disk of a swapfile.
                    row.completed.push("io.latency for the disk of a swapfile");
                    row.contradicts.extend(looser_target(&its, settings));
                }
                Job::Kubelet if settings.grants == Grants::Agent => row.completed.push(job.name()),
                Job::Limits => row.contradicts.extend(
                    its.iter().map(|rival| format!("{} ({})", rival.does, rival.path.display())),
                ),
                Job::Watermarks | Job::Kubelet | Job::Cleanup => {
                    row.kept.push(job.name());
                }
            }
        }
        if who == Who::Autopilot {
            let configured = node.is_some_and(|node| is_configured(&settings.swap, node));
            if configured && !its.iter().any(|rival| rival.job == Job::Swap) {
                row.completed.push(Job::Swap.name());
            }
            row.completed.extend(["repair of limits that others change", "eviction", "status"]);
        }
        (!its.is_empty()).then_some(row)
    };
    [Who::Autopilot, Who::DaemonSet].into_iter().filter_map(row).collect()
}

/// The agent sets its own target for system.slice, whatever another program has set.
fn looser_target(its: &[&Rival], settings: &Settings) -> Option<String> {
    let sets = its.iter().any(|rival| rival.path.ends_with("system.slice.d/20-io-latency.conf"));
    let ours = settings.protection.io_latency_target?.as_millis();
    (sets && ours > AUTOPILOT_TARGET_MILLIS).then(|| {
        format!(
            "its target for system.slice is {AUTOPILOT_TARGET_MILLIS} ms, but the agent sets \
             {ours} ms: set protection.io-latency-target-ms = {AUTOPILOT_TARGET_MILLIS}"
        )
    })
}

/// Describes the DaemonSet's pod on this node: both agents would set the same limits.
pub fn daemonset<'a>(pods: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<String> {
    let (namespace, pod) = pods.into_iter().min()?;
    let remedy = match namespace {
        "openshift-cnv" => {
            "set memoryOvercommitPercentage of HyperConverged to 100, and apply \
             60-hyperconverged.yaml instead"
        }
        _ => "delete the DaemonSet",
    };
    Some(format!(
        "the DaemonSet wasp-agent has the pod {namespace}/{pod} on this node: two agents set the \
         same limits, and its hook removes them at each container start; {remedy} \
         (docs/migration.md)"
    ))
}

/// The swap of another program, compared with the configured swap. The agent creates none in
/// addition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OthersSwap {
    /// The node has at least the configured amount.
    Serves,
    Contradicts(String),
}

/// Returns `None` if swap is not configured, if no other program creates it, or if the agent must
/// create its own in addition.
pub fn others_swap(rivals: &[Rival], settings: &Settings, node: &NodeMemory) -> Option<OthersSwap> {
    let other = rivals.iter().find(|rival| rival.job == Job::Swap)?;
    let swap = &settings.swap;
    if swap.beside_others || !is_configured(swap, node) {
        return None;
    }
    let differs = match wanted_bytes(swap, node) {
        _ if swap.kind == SwapKind::Partition => {
            format!("swap.path, {}, is not used", swap.path.display())
        }
        Some(wanted) if shortage(swap, node).is_some() => format!(
            "the node has {} of swap, but {} are configured",
            human_bytes(node.swap_bytes),
            human_bytes(wanted)
        ),
        _ => return Some(OthersSwap::Serves),
    };
    Some(OthersSwap::Contradicts(format!(
        "{} {}, and the agent creates no second swap: {differs}; enlarge that swap, lower \
         overcommit-percent (swap.size), or set swap.beside-others = true",
        other.path.display(),
        other.does
    )))
}

/// Returns the reason for leaving the watermarks alone, if it applies.
pub fn others_watermarks(rivals: &[Rival], settings: &Settings) -> Option<String> {
    let rival = rivals.iter().find(|rival| rival.job == Job::Watermarks)?;
    settings.kernel.align_watermarks.then(|| {
        format!(
            "kernel.align-watermarks: {} {}, so the agent does not set them; remove that unit if \
             the agent should align them",
            rival.path.display(),
            rival.does
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::SwapSize;

    /// A node with 8 GiB of RAM and so many GiB of swap.
    fn node(swap: u64) -> NodeMemory {
        NodeMemory { ram_bytes: 8 << 30, swap_bytes: swap << 30, page_bytes: 4096 }
    }

    #[test]
    fn others_are_left_alone_unless_configured() {
        let rival = |job| Rival { who: Who::Autopilot, path: "/x".into(), job, does: "does it" };
        let mut settings = Settings::defaults();
        let others = [rival(Job::Slices), rival(Job::Swap)];
        assert_eq!(others_swap(&others, &settings, &node(0)), None, "no swap is configured");
        settings.swap.size = SwapSize::Overcommit { percent: 150 };
        assert_eq!(others_swap(&[rival(Job::Slices)], &settings, &node(0)), None);
        let Some(OthersSwap::Contradicts(said)) = others_swap(&others, &settings, &node(1)) else {
            panic!()
        };
        let expected = "/x does it, and the agent creates no second swap: the node has 1.0 GiB of \
                        swap, but 4.0 GiB are configured";
        assert!(said.starts_with(expected), "{said}");
        for enough in [4, 5] {
            assert_eq!(others_swap(&others, &settings, &node(enough)), Some(OthersSwap::Serves));
        }
        settings.swap.beside_others = true;
        assert_eq!(others_swap(&others, &settings, &node(1)), None);
        settings.swap.beside_others = false;
        settings.swap.kind = SwapKind::Partition;
        let partition = others_swap(&others, &settings, &node(4));
        assert!(matches!(partition, Some(OthersSwap::Contradicts(_))), "{partition:?}");
        assert!(others_watermarks(&[rival(Job::Watermarks)], &settings).is_some());
        settings.kernel.align_watermarks = false;
        assert_eq!(others_watermarks(&[rival(Job::Watermarks)], &settings), None);
    }

    #[test]
    fn each_of_the_others_has_a_row() {
        let rival = |who, path: &str, job| Rival { who, path: path.into(), job, does: "does it" };
        let autopilot = [
            rival(Who::Autopilot, "/etc/systemd/system/ocpswap-file-enable.service", Job::Swap),
            rival(
                Who::Autopilot,
                "/etc/systemd/system/kubevirt-tune-watermarks.service",
                Job::Watermarks,
            ),
            rival(
                Who::Autopilot,
                "/run/systemd/system/system.slice.d/20-io-latency.conf",
                Job::Slices,
            ),
            rival(Who::Autopilot, "/etc/openshift/kubelet.conf.d/90-swap.conf", Job::Kubelet),
        ];
        let mut settings = Settings::defaults();
        settings.grants = Grants::Kubelet;
        settings.protection.io_latency_target = Some(std::time::Duration::from_millis(5));
        assert_eq!(rows(&[], &settings, Some(&node(4))), []);
        settings.swap.size = SwapSize::Overcommit { percent: 150 };
        let [row] = &rows(&autopilot, &settings, Some(&node(4)))[..] else { panic!() };
        assert_eq!(row.kept, ["swap", "watermarks", "slices", "kubelet"]);
        assert_eq!(row.contradicts, [""; 0]);
        assert!(
            row.text().contains("added by the agent: io.latency for the disk"),
            "{}",
            row.text()
        );
        let [row] = &rows(&autopilot[1..], &settings, Some(&node(4)))[..] else { panic!() };
        assert_eq!(row.completed[1], "swap", "its units have nothing to switch on");
        // Less swap than configured, and a less strict target.
        settings.protection.io_latency_target = Some(std::time::Duration::from_millis(50));
        let [row] = &rows(&autopilot, &settings, Some(&node(1)))[..] else { panic!() };
        assert_eq!(row.kept, ["watermarks", "slices", "kubelet"]);
        assert!(row.contradicts[0].contains("no second swap"), "{row:?}");
        assert!(row.contradicts[1].contains("io-latency-target-ms = 5"), "{row:?}");
        let pod = rival(Who::DaemonSet, "/var/log/pods/x_wasp-agent-y_z", Job::Limits);
        let [row] = &rows(&[pod], &settings, None)[..] else { panic!() };
        assert_eq!((row.who, row.contradicts.len()), (Who::DaemonSet, 1));
    }

    #[test]
    fn the_way_out_of_two_agents_depends_on_who_deployed_the_other() {
        assert_eq!(daemonset([]), None);
        let said =
            daemonset([("openshift-cnv", "wasp-agent-b"), ("openshift-cnv", "wasp-agent-a")]);
        let said = said.unwrap();
        assert!(said.contains("openshift-cnv/wasp-agent-a on"), "{said}");
        assert!(said.contains("memoryOvercommitPercentage"), "{said}");
        assert!(daemonset([("wasp", "wasp-agent-a")]).unwrap().contains("delete the DaemonSet"));
    }
}
