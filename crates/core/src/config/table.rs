//! Every key there is. The loader, `check-config`, the messages and the reference in the manual all
//! read this one table.

use super::{
    keys::{Default, Key, Kind},
    settings::{
        Discard, Eligibility, EvictionMode, Grants, Policy, ReclaimMode, ReclaimPods,
        SchedulingGuard, SwapKind, TaintEffect,
    },
};
use crate::model::{hook::WhenUnknown, words::Vocabulary};

/// In the order in which they are shown: the top level first, then by table.
pub const KEYS: &[Key] = &[
    Key {
        path: "grants",
        kind: Kind::Choice(Grants::WORDS),
        default: Default::Text("auto"),
        environment: None,
        help: "Who sets the containers' swap limits. \"auto\": the kubelet where its configuration in \
               effect has swapBehavior: LimitedSwap, else the agent. \"agent\": the agent; a kubelet \
               with LimitedSwap is reported, and its limits count. \"kubelet\": the kubelet; one \
               without LimitedSwap is reported, and no container gets swap.",
    },
    Key {
        path: "overcommit-percent",
        kind: Kind::Integer { min: 100, max: 1000 },
        default: Default::Integer(100),
        environment: None,
        help: "How much memory the node's pods may use in all, in percent of its RAM. The agent \
               provisions swap for what is above 100: RAM × (percent / 100 − 1). 100: none.",
    },
    Key {
        path: "node.name",
        kind: Kind::NodeName,
        default: Default::Text(""),
        environment: Some("NODE_NAME"),
        help: "This node's name in the cluster. \"\": as the client certificate says \
               (CN=system:node:NAME).",
    },
    Key {
        path: "node.kubeconfig",
        kind: Kind::Path,
        default: Default::Text(""),
        environment: None,
        help: "The kubelet's kubeconfig. \"\": the first there is of \
               /var/lib/kubelet/kubeconfig and /etc/kubernetes/kubelet.conf.",
    },
    Key {
        path: "node.kubelet-config",
        kind: Kind::Path,
        default: Default::Text(""),
        environment: None,
        help: "The kubelet's KubeletConfiguration, which tells what it does about swap. \"\": the file \
               of --config on the command line of the kubelet or of kubelet.service; where neither is \
               there, the first of /etc/kubernetes/kubelet.conf and /var/lib/kubelet/config.yaml. \
               Drop-ins and flags are read in each case.",
    },
    Key {
        path: "swap.kind",
        kind: Kind::Choice(SwapKind::WORDS),
        default: Default::Text("file"),
        environment: None,
        help: "Where swapped pages go. \"zram\": compressed, to RAM.",
    },
    Key {
        path: "swap.size",
        kind: Kind::Size,
        default: Default::Text(""),
        environment: None,
        help: "How much swap `wasp-agent provision` makes. \"\": as overcommit-percent says. A \
               partition is used whole.",
    },
    Key {
        path: "swap.path",
        kind: Kind::Path,
        default: Default::Text(""),
        environment: None,
        help: "The swapfile (\"\": /var/lib/wasp-agent/swapfile), or the partition, by a name that \
               stays: /dev/disk/by-….",
    },
    Key {
        path: "swap.priority",
        kind: Kind::Integer { min: 0, max: 32767 },
        default: Default::Integer(10),
        environment: None,
        help: "Which swap the kernel fills first, where the node has several: the highest. Swap \
               that was added without a priority comes last.",
    },
    Key {
        path: "swap.discard",
        kind: Kind::Choice(Discard::WORDS),
        default: Default::Text("none"),
        environment: None,
        help: "Tell the disk which blocks are free: all at swapon (\"once\"), freed clusters while \
               it is in use (\"pages\"), or both. See swapon(8).",
    },
    Key {
        path: "swap.reserve",
        kind: Kind::SizeOrPercent,
        default: Default::Text(""),
        environment: None,
        help: "What a swapfile must leave free on its file system. \"\": 5 % of it more than the \
               kubelet's eviction threshold for nodefs.available, so 15 % by default.",
    },
    Key {
        path: "swap.beside-others",
        kind: Kind::Boolean,
        default: Default::Boolean(false),
        environment: None,
        help: "Make the swap that is configured also on a node where units of OpenShift make their \
               own (swap-disk-enable.service, ocpswap-file-enable.service).",
    },
    Key {
        path: "protection.protected-slices",
        kind: Kind::Slices,
        default: Default::List(&["system.slice"]),
        environment: None,
        help: "The slices whose processes never swap (MemorySwapMax=0) and are served first by the \
               disks (IODeviceLatencyTargetSec=).",
    },
    Key {
        path: "protection.io-latency-target-ms",
        kind: Kind::Integer { min: 0, max: 10_000 },
        default: Default::Integer(50),
        environment: None,
        help: "Who waits longer than this for the disk of /, /var or the swap has others slowed \
               down (the kernel's io.latency). 0: no target is set.",
    },
    Key {
        path: "protection.pods-io-latency-target-ms",
        kind: Kind::Integer { min: 0, max: 10_000 },
        default: Default::Integer(0),
        environment: None,
        help: "The same target for the slice of the pods (kubepods.slice), so that pods are served before \
               what has no target, and behind the protected slices. It should be larger than \
               protection.io-latency-target-ms. 0: no target is set; `docs/figures.md` has what was \
               measured.",
    },
    Key {
        path: "protection.io-weight",
        kind: Kind::IntegerOrKeep { min: 1, max: 10_000 },
        default: Default::Text("keep"),
        environment: None,
        help: "IOWeight= of the protected slices, where others have 100. It counts only where the disk has \
               the BFQ scheduler or io.cost is switched on. \"keep\": it is left alone.",
    },
    Key {
        path: "protection.cpu-weight",
        kind: Kind::IntegerOrKeep { min: 1, max: 10_000 },
        default: Default::Integer(800),
        environment: None,
        help: "CPUWeight= of the protected slices, where others have 100 and the kubelet gives the pods some \
               39 for each CPU. It counts only while all CPUs are busy. A larger weight that somebody else \
               has set stays. \"keep\": it is left alone.",
    },
    Key {
        path: "protection.working-set-percent",
        kind: Kind::Integer { min: 0, max: 50 },
        default: Default::Integer(10),
        environment: None,
        help: "How much of RAM at most is kept from reclaim for the working sets of \
               protection.working-set-services, programs and other file pages included, while pods thrash \
               (MemoryMin=, of the services and of the slices that they are in). Each gets what it uses, \
               an eighth more. 0: nothing is kept.",
    },
    Key {
        path: "protection.working-set-services",
        kind: Kind::Services,
        default: Default::List(&[
            "wasp-agent.service",
            "kubelet.service",
            "crio.service",
            "containerd.service",
        ]),
        environment: None,
        help: "The services whose working sets are kept. Those that come first are served first, until \
               protection.working-set-percent is used up. Those that do not run are left out.",
    },
    Key {
        path: "kernel.align-watermarks",
        kind: Kind::Boolean,
        default: Default::Boolean(true),
        environment: None,
        help: "Make the kernel swap before the kubelet evicts for memory.available, on a node that has swap: \
               raise vm.min_free_kbytes to just above the kubelet's threshold, and \
               vm.watermark_scale_factor until kswapd begins 256 MiB or 1 % of RAM above it, whichever \
               is more, but at most 1/64 of RAM. Both follow the kubelet's threshold up and down, and go \
               back to what they were when this is false, when the node has no swap, and by \
               `wasp-agent deprovision`. Left alone where a unit of OpenShift sets them.",
    },
    Key {
        path: "kernel.swappiness",
        kind: Kind::IntegerOrKeep { min: 0, max: 200 },
        default: Default::Text("keep"),
        environment: None,
        help: "vm.swappiness: how much the kernel prefers to swap over dropping file cache.",
    },
    Key {
        path: "kernel.zswap",
        kind: Kind::Choice(&["keep", "on", "off"]),
        default: Default::Text("keep"),
        environment: None,
        help: "Whether the kernel keeps swapped pages compressed in RAM before they go to disk.",
    },
    Key {
        path: "hook.install",
        kind: Kind::Boolean,
        default: Default::Boolean(true),
        environment: None,
        help: "Install the OCI hook, which gives containers their limit before their first \
               instruction, into a hooks folder that CRI-O reads.",
    },
    Key {
        path: "hook.when-unknown",
        kind: Kind::Choice(WhenUnknown::WORDS),
        default: Default::Text("estimate"),
        environment: None,
        help: "What the hook gives a container whose pod the agent does not know (it does not run, or \
               the API server is away). \"estimate\": by the request that the kubelet has encoded in \
               oomScoreAdj. \"deny\": no swap.",
    },
    Key {
        path: "hook.denied-namespaces",
        kind: Kind::Namespaces,
        default: Default::List(&["openshift*", "kube-system*"]),
        environment: None,
        help: "Namespaces whose containers the hook never estimates: it cannot tell critical pods by \
               their priority.",
    },
    Key {
        path: "limits.policy",
        kind: Kind::Choice(Policy::WORDS),
        default: Default::Text("limited"),
        environment: None,
        help: "How much swap an eligible container may have. \"limited\": request / RAM of the \
               swap for pods, as the kubelet's LimitedSwap. \"max\": no limit. \"none\": none.",
    },
    Key {
        path: "limits.eligibility",
        kind: Kind::Choice(Eligibility::WORDS),
        default: Default::Text("burstable"),
        environment: None,
        help: "Which pods may swap at all: every Burstable one that is not critical, or of \
               those only KubeVirt's (label kubevirt.io: virt-launcher). Any author of a pod may \
               set that label: this selects pods, and is no boundary between tenants.",
    },
    Key {
        path: "limits.system-reserved-percent",
        kind: Kind::Integer { min: 0, max: 100 },
        default: Default::Integer(0),
        environment: None,
        help: "Share of all swap that is kept back for the system and not granted to pods.",
    },
    Key {
        path: "limits.annotations",
        kind: Kind::Boolean,
        default: Default::Boolean(true),
        environment: None,
        help: "Whether a pod's annotations swap.wasp.io/limit and swap.wasp.io/limit.CONTAINER lower what \
               the policy grants: \"0\", a quantity (\"512Mi\") or a percentage of the grant (\"25%\"). They \
               never raise it. With grants = \"kubelet\" they do not count.",
    },
    Key {
        path: "limits.no-swap-namespaces",
        kind: Kind::Namespaces,
        default: Default::List(&[]),
        environment: None,
        help: "Namespaces whose pods get no swap, whatever their annotations ask for.",
    },
    Key {
        path: "limits.opt-in-namespaces",
        kind: Kind::Namespaces,
        default: Default::List(&[]),
        environment: None,
        help: "Namespaces whose pods get swap only if they have an annotation swap.wasp.io/limit. With \
               \"100%\" a pod gets its whole grant.",
    },
    Key {
        path: "limits.resync-seconds",
        kind: Kind::Integer { min: 10, max: 3600 },
        default: Default::Integer(60),
        environment: None,
        help: "How often every limit is compared though no change was noticed.",
    },
    Key {
        path: "limits.follow-seconds",
        kind: Kind::Integer { min: 1, max: 60 },
        default: Default::Integer(2),
        environment: None,
        help: "How often a container that uses more swap than its grant is looked at, to lower \
               its limit as its use goes down.",
    },
    Key {
        path: "limits.repair",
        kind: Kind::Boolean,
        default: Default::Boolean(true),
        environment: None,
        help: "Where the kubelet grants: whether a container's limit that is not the kubelet's own is \
               set to it, as after systemctl daemon-reload or another writer. false: it is only \
               reported.",
    },
    Key {
        path: "eviction.mode",
        kind: Kind::Choice(EvictionMode::WORDS),
        default: Default::Text("enforce"),
        environment: None,
        help: "What is done when swap hurts. \"enforce\": a pod is evicted, one at a time. \
               \"observe\": it is said which one would be, and why.",
    },
    Key {
        path: "eviction.scheduling-guard",
        kind: Kind::Choice(SchedulingGuard::WORDS),
        default: Default::Text("condition"),
        environment: None,
        help: "What tells the scheduler, or keeps new pods away, while swap hurts. \"none\": nothing \
               is written to the Node. \"condition\": its condition SwapPressure says so, which keeps \
               nobody away. \"cordon\": also spec.unschedulable, unless somebody else \
               has set it or the Machine Config Operator is at work. \"taint\": also a taint, which \
               the kubelet's credentials may not set: eviction.guard-kubeconfig names others.",
    },
    Key {
        path: "eviction.guard-kubeconfig",
        kind: Kind::Path,
        default: Default::Text(""),
        environment: None,
        help: "A kubeconfig whose user may get and patch this node, for scheduling-guard = \"taint\".",
    },
    Key {
        path: "eviction.taint",
        kind: Kind::LabelKey,
        default: Default::Text("waspEvictionTaint"),
        environment: None,
        help: "The key of the taint.",
    },
    Key {
        path: "eviction.taint-effect",
        kind: Kind::Choice(TaintEffect::WORDS),
        default: Default::Text("NoSchedule"),
        environment: None,
        help: "The effect of the taint. \"NoSchedule\": no new pod comes to the node. \
               \"PreferNoSchedule\": the scheduler prefers other nodes.",
    },
    Key {
        path: "eviction.pressure-transition-seconds",
        kind: Kind::Integer { min: 0, max: 3600 },
        default: Default::Integer(300),
        environment: None,
        help: "How long the node still counts as under swap pressure, and new pods are kept away, \
               after the last signal has ended; as the kubelet's evictionPressureTransitionPeriod.",
    },
    Key {
        path: "eviction.last-resort-delete",
        kind: Kind::Boolean,
        default: Default::Boolean(false),
        environment: None,
        help: "Delete a pod whose eviction has been refused, by a budget or because its VM could \
               not migrate, when a signal has been critical for last-resort-seconds. It ends with \
               its own grace period; budgets are not asked.",
    },
    Key {
        path: "eviction.last-resort-seconds",
        kind: Kind::Integer { min: 60, max: 3600 },
        default: Default::Integer(300),
        environment: None,
        help: "How long a signal must have been critical before a pod is deleted.",
    },
    Key {
        path: "eviction.confirm-with-pressure",
        kind: Kind::Boolean,
        default: Default::Boolean(true),
        environment: None,
        help: "Swap traffic counts only while processes wait for memory (some 10 % or full 2 % of the \
               last 10 s): fast disks and zswap make a high rate harmless. Where the kernel does not \
               count waiting (psi=1), traffic counts alone.",
    },
    Key {
        path: "eviction.critical-factor",
        kind: Kind::Float { min: 1.0, max: 100.0 },
        default: Default::Float(2.0),
        environment: None,
        help: "A signal so many times above its threshold is critical: a pod that does not leave \
               within eviction.overtake-seconds does not keep the next one waiting.",
    },
    Key {
        path: "eviction.overtake-seconds",
        kind: Kind::Integer { min: 30, max: 3600 },
        default: Default::Integer(180),
        environment: None,
        help: "While a signal is critical, one more pod is evicted when the last one has not left after \
               this time (a migration, a finalizer, a process that cannot be killed).",
    },
    Key {
        path: "eviction.longest-grace-seconds",
        kind: Kind::Integer { min: 0, max: 31_536_000 },
        default: Default::Integer(3600),
        environment: None,
        help: "A pod with a longer grace period is evicted with this one, also a pod that is being \
               deleted already. 0: the pod's own grace period counts, whatever its author has set.",
    },
    Key {
        path: "eviction.wait-for-descheduler-seconds",
        kind: Kind::Integer { min: 0, max: 3600 },
        default: Default::Integer(120),
        environment: None,
        help: "How long a signal must have been active before a pod is evicted, while the descheduler \
               relieves the node (its soft taint is on the Node) and no signal is critical. 0: no wait.",
    },
    Key {
        path: "eviction.min-relief-percent",
        kind: Kind::Integer { min: 0, max: 100 },
        default: Default::Integer(10),
        environment: None,
        help: "A pod is evicted only if it frees at least this share of the memory that is missing. \
               0: any pod that frees something.",
    },
    Key {
        path: "eviction.opt-out-annotations",
        kind: Kind::Annotations,
        default: Default::List(&[]),
        environment: None,
        help: "Keys of annotations. A pod that has one of them is never evicted, unless its value is \
               \"false\". Whoever may create pods may set them.",
    },
    Key {
        path: "eviction.cooldown-seconds",
        kind: Kind::Integer { min: 0, max: 3600 },
        default: Default::Integer(30),
        environment: None,
        help: "How long nobody is evicted after a pod has left.",
    },
    Key {
        path: "eviction.max-per-hour",
        kind: Kind::Integer { min: 0, max: 1000 },
        default: Default::Integer(10),
        environment: None,
        help: "How many pods are evicted within an hour at most.",
    },
    Key {
        path: "eviction.protected-namespaces",
        kind: Kind::Namespaces,
        default: Default::List(&["openshift*", "kube-system*"]),
        environment: None,
        help: "Namespaces whose pods are never evicted, as static, mirror and critical pods never \
               are.",
    },
    Key {
        path: "eviction.swap-utilization-factor",
        kind: Kind::Float { min: 0.0, max: 1.0 },
        default: Default::Float(0.8),
        environment: Some("SWAP_UTILIZATION_THRESHOLD_FACTOR"),
        help: "Swap is used too highly when working set + swap used exceed RAM + swap × factor.",
    },
    Key {
        path: "eviction.max-average-swap-in-pages-per-second",
        kind: Kind::Integer { min: 0, max: 100_000_000 },
        default: Default::Integer(1000),
        environment: Some("MAX_AVERAGE_SWAP_IN_PAGES_PER_SECOND"),
        help: "Swap traffic is too high when both averages are above their thresholds.",
    },
    Key {
        path: "eviction.max-average-swap-out-pages-per-second",
        kind: Kind::Integer { min: 0, max: 100_000_000 },
        default: Default::Integer(1000),
        environment: Some("MAX_AVERAGE_SWAP_OUT_PAGES_PER_SECOND"),
        help: "Swap traffic is too high when both averages are above their thresholds.",
    },
    Key {
        path: "eviction.average-window-seconds",
        kind: Kind::Integer { min: 5, max: 3600 },
        default: Default::Integer(30),
        environment: Some("AVERAGE_WINDOW_SIZE_SECONDS"),
        help: "The window over which swap traffic is averaged.",
    },
    Key {
        path: "eviction.traffic.enabled",
        kind: Kind::Boolean,
        default: Default::Boolean(true),
        environment: None,
        help: "Whether swap traffic may have a pod evicted.",
    },
    Key {
        path: "eviction.traffic.sustain-seconds",
        kind: Kind::Integer { min: 0, max: 3600 },
        default: Default::Integer(0),
        environment: None,
        help: "How long it must be above its threshold.",
    },
    Key {
        path: "eviction.traffic.release",
        kind: Kind::Float { min: 0.0, max: 1.0 },
        default: Default::Float(0.8),
        environment: None,
        help: "It ends when it is below this part of its threshold.",
    },
    Key {
        path: "eviction.utilization.enabled",
        kind: Kind::Boolean,
        default: Default::Boolean(true),
        environment: None,
        help: "Whether swap that is nearly used up may have a pod evicted.",
    },
    Key {
        path: "eviction.utilization.sustain-seconds",
        kind: Kind::Integer { min: 0, max: 3600 },
        default: Default::Integer(10),
        environment: None,
        help: "How long it must be above its threshold.",
    },
    Key {
        path: "eviction.utilization.release",
        kind: Kind::Float { min: 0.0, max: 1.0 },
        default: Default::Float(0.95),
        environment: None,
        help: "It ends when it is below this part of its threshold.",
    },
    Key {
        path: "eviction.overcommit.enabled",
        kind: Kind::Boolean,
        default: Default::Boolean(false),
        environment: None,
        help: "Whether a high ratio of memory in use to RAM may have a pod evicted.",
    },
    Key {
        path: "eviction.overcommit.sustain-seconds",
        kind: Kind::Integer { min: 0, max: 3600 },
        default: Default::Integer(30),
        environment: None,
        help: "How long it must be above its threshold.",
    },
    Key {
        path: "eviction.overcommit.release",
        kind: Kind::Float { min: 0.0, max: 1.0 },
        default: Default::Float(0.95),
        environment: None,
        help: "It ends when it is below this part of its threshold.",
    },
    Key {
        path: "eviction.overcommit.max-ratio",
        kind: Kind::Float { min: 0.1, max: 100.0 },
        default: Default::Float(1.5),
        environment: None,
        help: "Overcommit is too high when (working set + swap used) / RAM is above.",
    },
    Key {
        path: "eviction.pressure.enabled",
        kind: Kind::Boolean,
        default: Default::Boolean(true),
        environment: None,
        help: "Whether waiting for memory may have a pod evicted.",
    },
    Key {
        path: "eviction.pressure.sustain-seconds",
        kind: Kind::Integer { min: 0, max: 3600 },
        default: Default::Integer(10),
        environment: None,
        help: "How long it must be above its threshold.",
    },
    Key {
        path: "eviction.pressure.release",
        kind: Kind::Float { min: 0.0, max: 1.0 },
        default: Default::Float(0.8),
        environment: None,
        help: "It ends when it is below this part of its threshold.",
    },
    Key {
        path: "eviction.pressure.max-full-percent",
        kind: Kind::Float { min: 0.0, max: 100.0 },
        default: Default::Float(20.0),
        environment: None,
        help: "Pressure is too high when all processes of kubepods or of the node wait for memory for \
               a larger part of 10 s.",
    },
    Key {
        path: "eviction.pressure.max-some-percent",
        kind: Kind::Float { min: 0.0, max: 100.0 },
        default: Default::Float(80.0),
        environment: None,
        help: "Or when some of them do.",
    },
    Key {
        path: "suspend.keep-swap-free",
        kind: Kind::SizeOrPercent,
        default: Default::Text("10%"),
        environment: None,
        help: "How much of the swap stays free when a pod is suspended, as a size or in percent of all \
               swap. \"\": a suspended pod may fill it.",
    },
    Key {
        path: "suspend.reserve",
        kind: Kind::SizeOrPercent,
        default: Default::Text(""),
        environment: None,
        help: "How much swap suspended pods together may have beyond their grants, as a size or in percent of \
               all swap. \"\": none. A pod that is resumed loses what it was lent as its memory comes back.",
    },
    Key {
        path: "suspend.longest-silence-seconds",
        kind: Kind::Integer { min: 10, max: 3600 },
        default: Default::Integer(60),
        environment: None,
        help: "How long the API server may be unreachable before suspended pods are resumed: nobody would \
               tell that one is to be deleted.",
    },
    Key {
        path: "reclaim.mode",
        kind: Kind::Choice(ReclaimMode::WORDS),
        default: Default::Text("off"),
        environment: None,
        help: "Whether the agent moves cold memory of pods to swap before the node is short of memory \
               (docs/reclaim.md). \"observe\": it reports how much it would move.",
    },
    Key {
        path: "reclaim.pods",
        kind: Kind::Choice(ReclaimPods::WORDS),
        default: Default::Text("virt-launcher"),
        environment: None,
        help: "Which pods memory is reclaimed from: KubeVirt's, all Burstable ones, or those with the \
               annotation wasp-agent.kubevirt.io/reclaim: \"true\". The value \"false\" exempts a pod in \
               each case. Guaranteed, BestEffort, critical and static pods and those of \
               eviction.protected-namespaces are always exempt.",
    },
    Key {
        path: "reclaim.max-pressure-percent",
        kind: Kind::Float { min: 0.01, max: 10.0 },
        default: Default::Float(0.1),
        environment: None,
        help: "Nothing is reclaimed from a pod whose processes wait for memory or for a disk for this \
               share of the time or longer (`some` of its pressure files, avg10, avg60 and since the last \
               look).",
    },
    Key {
        path: "reclaim.max-refault-percent",
        kind: Kind::Float { min: 0.1, max: 100.0 },
        default: Default::Float(2.0),
        environment: None,
        help: "The agent backs off when more than this share of what it reclaimed from a pod within the \
               last minutes comes back.",
    },
    Key {
        path: "reclaim.max-swap-percent",
        kind: Kind::Integer { min: 1, max: 100 },
        default: Default::Integer(80),
        environment: None,
        help: "Reclaim uses at most this share of a pod's swap grant and of the node's swap; the rest is \
               for the time when the node is short of memory.",
    },
    Key {
        path: "reclaim.write-budget",
        kind: Kind::Size,
        default: Default::Text("1Mi"),
        environment: None,
        help: "How many bytes a second reclaim may write to swap on the whole node, on average. Each \
               MiB/s wears out a disk by up to 31 TiB a year.",
    },
    Key {
        path: "reclaim.floor",
        kind: Kind::Size,
        default: Default::Text("16Mi"),
        environment: None,
        help: "What a pod keeps in RAM in any case; memory.min and memory.low of its cgroup count too.",
    },
    Key {
        path: "reclaim.start-delay-seconds",
        kind: Kind::Integer { min: 0, max: 86_400 },
        default: Default::Integer(300),
        environment: None,
        help: "A pod that has started, or whose VM has arrived by a migration, is left alone for this \
               long.",
    },
    Key {
        path: "metrics.listen",
        kind: Kind::Listen,
        default: Default::Text(""),
        environment: None,
        help: "Where metrics are served by TLS, as an address and a port. \"\": nowhere but on \
               /run/wasp-agent/metrics.sock, which is always there.",
    },
    Key {
        path: "metrics.certificate",
        kind: Kind::Path,
        default: Default::Text(""),
        environment: None,
        help: "The server's certificate for metrics.listen, in PEM, followed by its chain. Read for \
               each connection, so a renewed one counts at once.",
    },
    Key {
        path: "metrics.key",
        kind: Kind::Path,
        default: Default::Text(""),
        environment: None,
        help: "The private key of metrics.certificate, in PEM.",
    },
    Key {
        path: "metrics.client-ca",
        kind: Kind::Path,
        default: Default::Text(""),
        environment: None,
        help: "Certificates, in PEM, of the authorities whose clients may read metrics. \"\": \
               whoever reaches the port may.",
    },
    Key {
        path: "metrics.textfile",
        kind: Kind::Path,
        default: Default::Text(""),
        environment: None,
        help: "A file that metrics are written to at most every 15 s, for node_exporter's textfile \
               collector, in a folder that the unit may write to; removed when the agent stops. \"\": \
               none.",
    },
    Key {
        path: "log.verbosity",
        kind: Kind::Integer { min: 0, max: 10 },
        default: Default::Integer(1),
        environment: Some("VERBOSITY"),
        help: "As klog's -v: 0 to 2 logs what changed, 3 to 5 also every pass, 6 and more all.",
    },
];
