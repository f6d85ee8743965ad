//! The table of all keys. The loader, `check-config`, the messages and the reference in the manual
//! all read it.

use super::{
    keys::{Default, Key, ValueKind},
    settings::{
        Discard, Eligibility, EvictionMode, Grants, Policy, ReclaimMode, ReclaimPods,
        SchedulingGuard, SwapKind, TaintEffect,
    },
};
use crate::model::{hook::WhenUnknown, words::Vocabulary};

/// In display order: the top level first, then table by table.
pub const KEYS: &[Key] = &[
    Key {
        path: "grants",
        kind: ValueKind::Choice(Grants::WORDS),
        default: Default::Text("auto"),
        environment: None,
        help: "The program that sets the containers' swap limits. \"auto\": the kubelet if its configuration \
            in effect has swapBehavior: LimitedSwap, otherwise the agent. \"agent\": the agent; \
            if the kubelet has LimitedSwap, the agent reports it, and the kubelet's limits \
            apply. \"kubelet\": the kubelet; if it has no LimitedSwap, the agent reports it, \
            and no container gets swap.",
    },
    Key {
        path: "overcommit-percent",
        kind: ValueKind::Integer { min: 100, max: 1000 },
        default: Default::Integer(100),
        environment: None,
        help: "How much memory the node's pods may use, in percent of its RAM. The agent \
            provisions swap for the part above 100: RAM × (percent / 100 − 1). 100: no swap.",
    },
    Key {
        path: "node.name",
        kind: ValueKind::NodeName,
        default: Default::Text(""),
        environment: Some("NODE_NAME"),
        help: "This node's name in the cluster. \"\": the name in the client certificate \
            (CN=system:node:NAME).",
    },
    Key {
        path: "node.kubeconfig",
        kind: ValueKind::Path,
        default: Default::Text(""),
        environment: None,
        help: "The kubelet's kubeconfig. \"\": the file of --kubeconfig on the command line of the \
            kubelet or of kubelet.service; if neither names one, the first that exists of \
            /var/lib/kubelet/kubeconfig and /etc/kubernetes/kubelet.conf.",
    },
    Key {
        path: "node.kubelet-config",
        kind: ValueKind::Path,
        default: Default::Text(""),
        environment: None,
        help: "The kubelet's KubeletConfiguration, from which the agent reads the kubelet's swap \
            settings. \"\": the file of --config on the command line of the kubelet or of \
            kubelet.service; if neither exists, the first of /etc/kubernetes/kubelet.conf and \
            /var/lib/kubelet/config.yaml. The agent always reads drop-ins and flags.",
    },
    Key {
        path: "swap.kind",
        kind: ValueKind::Choice(SwapKind::WORDS),
        default: Default::Text("file"),
        environment: None,
        help: "Where the kernel writes swapped pages. \"zram\": to RAM, compressed.",
    },
    Key {
        path: "swap.size",
        kind: ValueKind::Size,
        default: Default::Text(""),
        environment: None,
        help: "How much swap `wasp-agent provision` makes. \"\": the size that follows from \
            overcommit-percent. A partition is used as a whole.",
    },
    Key {
        path: "swap.path",
        kind: ValueKind::Path,
        default: Default::Text(""),
        environment: None,
        help: "The swapfile (\"\": /var/lib/wasp-agent/swapfile), or the partition, by a stable \
            name: /dev/disk/by-….",
    },
    Key {
        path: "swap.priority",
        kind: ValueKind::Integer { min: 0, max: 32767 },
        default: Default::Integer(10),
        environment: None,
        help: "The priority of the swap. If the node has several swap areas, the kernel fills the \
            one with the highest priority first, and those without a priority last.",
    },
    Key {
        path: "swap.discard",
        kind: ValueKind::Choice(Discard::WORDS),
        default: Default::Text("none"),
        environment: None,
        help: "Whether the kernel tells the disk which blocks are free: all blocks at swapon \
            (\"once\"), freed clusters while the swap is in use (\"pages\"), or both. See \
            swapon(8).",
    },
    Key {
        path: "swap.reserve",
        kind: ValueKind::SizeOrPercent,
        default: Default::Text(""),
        environment: None,
        help: "How much space a swapfile must leave free on its file system. \"\": the kubelet's \
            eviction threshold for nodefs.available plus 5 % of the file system, so 15 % by \
            default.",
    },
    Key {
        path: "swap.beside-others",
        kind: ValueKind::Boolean,
        default: Default::Boolean(false),
        environment: None,
        help: "Whether to make the configured swap also on a node where units of OpenShift make \
            swap (swap-disk-enable.service, ocpswap-file-enable.service).",
    },
    Key {
        path: "protection.protected-slices",
        kind: ValueKind::Slices,
        default: Default::List(&["system.slice"]),
        environment: None,
        help: "The slices whose processes never swap (MemorySwapMax=0) and have priority at the \
            disks (IODeviceLatencyTargetSec=).",
    },
    Key {
        path: "protection.io-latency-target-ms",
        kind: ValueKind::Integer { min: 0, max: 10_000 },
        default: Default::Integer(50),
        environment: None,
        help: "The latency target of the protected slices for the disks of /, /var and the swap: \
            if they wait longer, the kernel throttles others (io.latency). 0: no target.",
    },
    Key {
        path: "protection.pods-io-latency-target-ms",
        kind: ValueKind::Integer { min: 0, max: 10_000 },
        default: Default::Integer(0),
        environment: None,
        help: "The same target for the slice of the pods (kubepods.slice): pods have priority \
            over what has no target, and less than the protected slices. Set it larger than \
            protection.io-latency-target-ms. 0: no target; `docs/figures.md` has the \
            measurements.",
    },
    Key {
        path: "protection.io-weight",
        kind: ValueKind::IntegerOrKeep { min: 1, max: 10_000 },
        default: Default::Text("keep"),
        environment: None,
        help: "IOWeight= of the protected slices; others have 100. It has an effect only if the \
            disk has the BFQ scheduler or io.cost is enabled. \"keep\": the agent does not \
            change it.",
    },
    Key {
        path: "protection.cpu-weight",
        kind: ValueKind::IntegerOrKeep { min: 1, max: 10_000 },
        default: Default::Integer(800),
        environment: None,
        help: "CPUWeight= of the protected slices; others have 100, and the kubelet gives the \
            pods about 39 for each CPU. It has an effect only while all CPUs are busy. The \
            agent keeps a larger weight that another program has set. \"keep\": the agent does \
            not change it.",
    },
    Key {
        path: "protection.working-set-percent",
        kind: ValueKind::Integer { min: 0, max: 50 },
        default: Default::Integer(10),
        environment: None,
        help: "How much of RAM at most the kernel keeps for the working sets of \
            protection.working-set-services, including programs and other file pages, while \
            pods thrash (MemoryMin=, of the services and of their slices). Each service gets \
            its use plus an eighth. 0: none.",
    },
    Key {
        path: "protection.working-set-services",
        kind: ValueKind::Services,
        default: Default::List(&[
            "wasp-agent.service",
            "kubelet.service",
            "crio.service",
            "containerd.service",
        ]),
        environment: None,
        help: "The services whose working sets the kernel keeps. The agent reserves memory for \
            them in this order, up to protection.working-set-percent, and skips services that \
            do not run.",
    },
    Key {
        path: "kernel.align-watermarks",
        kind: ValueKind::Boolean,
        default: Default::Boolean(true),
        environment: None,
        help: "Whether the kernel swaps before the kubelet evicts for memory.available, on a node \
            that has swap: the agent raises vm.min_free_kbytes to just above the kubelet's \
            threshold, and vm.watermark_scale_factor until kswapd starts 256 MiB or 1 % of RAM \
            above it, whichever is more, but at most 1/64 of RAM. Both follow the kubelet's \
            threshold up and down. The agent restores them when this is false, when the node \
            has no swap, and with `wasp-agent deprovision`. It does not change them if a unit \
            of OpenShift sets them.",
    },
    Key {
        path: "kernel.swappiness",
        kind: ValueKind::IntegerOrKeep { min: 0, max: 200 },
        default: Default::Text("keep"),
        environment: None,
        help: "vm.swappiness: how strongly the kernel prefers swapping to dropping file cache.",
    },
    Key {
        path: "kernel.zswap",
        kind: ValueKind::Choice(&["keep", "on", "off"]),
        default: Default::Text("keep"),
        environment: None,
        help: "Whether the kernel keeps swapped pages compressed in RAM before it writes them to \
            disk.",
    },
    Key {
        path: "hook.install",
        kind: ValueKind::Boolean,
        default: Default::Boolean(true),
        environment: None,
        help: "Whether to install the OCI hook in a hooks directory that CRI-O reads. The hook \
            sets the limit of a container before its first instruction.",
    },
    Key {
        path: "hook.when-unknown",
        kind: ValueKind::Choice(WhenUnknown::WORDS),
        default: Default::Text("estimate"),
        environment: None,
        help: "The limit that the hook sets for a container whose pod the agent does not know \
            (the agent does not run, or the API server is unreachable). \"estimate\": a limit \
            from the request that the kubelet has encoded in oomScoreAdj. \"deny\": no swap.",
    },
    Key {
        path: "hook.denied-namespaces",
        kind: ValueKind::Namespaces,
        default: Default::List(&["openshift*", "kube-system*"]),
        environment: None,
        help: "Namespaces for whose containers the hook never estimates: it cannot see whether a \
            pod's priority makes it critical.",
    },
    Key {
        path: "limits.policy",
        kind: ValueKind::Choice(Policy::WORDS),
        default: Default::Text("limited"),
        environment: None,
        help: "How much swap an eligible container may use. \"limited\": the share request / RAM \
            of the swap for pods, like the kubelet's LimitedSwap. \"max\": no limit. \"none\": \
            no swap.",
    },
    Key {
        path: "limits.eligibility",
        kind: ValueKind::Choice(Eligibility::WORDS),
        default: Default::Text("burstable"),
        environment: None,
        help: "Which pods may swap: all Burstable pods that are not critical, or only KubeVirt's \
            of those (label kubevirt.io: virt-launcher). Any author of a pod can set that \
            label: this selects pods, and is not a boundary between tenants.",
    },
    Key {
        path: "limits.system-reserved-percent",
        kind: ValueKind::Integer { min: 0, max: 100 },
        default: Default::Integer(0),
        environment: None,
        help: "The share of all swap that the agent reserves for the system and does not grant to \
            pods.",
    },
    Key {
        path: "limits.annotations",
        kind: ValueKind::Boolean,
        default: Default::Boolean(true),
        environment: None,
        help: "Whether a pod's annotations swap.wasp.io/limit and swap.wasp.io/limit.CONTAINER \
            lower the grant of the policy: \"0\", a quantity (\"512Mi\") or a percentage of the \
            grant (\"25%\"). They never raise it. With grants = \"kubelet\" they have no effect.",
    },
    Key {
        path: "limits.no-swap-namespaces",
        kind: ValueKind::Namespaces,
        default: Default::List(&[]),
        environment: None,
        help: "Namespaces whose pods get no swap, whatever their annotations ask for.",
    },
    Key {
        path: "limits.opt-in-namespaces",
        kind: ValueKind::Namespaces,
        default: Default::List(&[]),
        environment: None,
        help: "Namespaces whose pods get swap only with an annotation swap.wasp.io/limit. With \
            \"100%\" a pod gets its whole grant.",
    },
    Key {
        path: "limits.resync-seconds",
        kind: ValueKind::Integer { min: 10, max: 3600 },
        default: Default::Integer(60),
        environment: None,
        help: "How often the agent compares every limit, even without a notification of a change.",
    },
    Key {
        path: "limits.follow-seconds",
        kind: ValueKind::Integer { min: 1, max: 60 },
        default: Default::Integer(2),
        environment: None,
        help: "How often the agent looks at a container that uses more swap than its grant, to \
            lower its limit as its use goes down.",
    },
    Key {
        path: "limits.repair",
        kind: ValueKind::Boolean,
        default: Default::Boolean(true),
        environment: None,
        help: "If the kubelet sets the limits: whether the agent repairs a limit that differs \
            from the kubelet's, for example after systemctl daemon-reload. false: the agent \
            only reports it.",
    },
    Key {
        path: "eviction.mode",
        kind: ValueKind::Choice(EvictionMode::WORDS),
        default: Default::Text("enforce"),
        environment: None,
        help: "The action of the agent under swap pressure. \"enforce\": it evicts one pod at a time. \
            \"observe\": it reports which pod it would evict, and why. \"off\": nothing.",
    },
    Key {
        path: "eviction.scheduling-guard",
        kind: ValueKind::Choice(SchedulingGuard::WORDS),
        default: Default::Text("condition"),
        environment: None,
        help: "How the agent informs the scheduler, or keeps new pods away, under swap pressure. \
            \"none\": it writes nothing to the Node. \"condition\": it sets the condition \
            SwapPressure, which keeps no pod away. \"cordon\": it also sets spec.unschedulable, \
            unless another user has set it or the Machine Config Operator is at work. \
            \"taint\": it also sets a taint. The kubelet's credentials may not do this: set \
            eviction.guard-kubeconfig.",
    },
    Key {
        path: "eviction.guard-kubeconfig",
        kind: ValueKind::Path,
        default: Default::Text(""),
        environment: None,
        help: "A kubeconfig whose user may get and patch this node, for scheduling-guard = \
            \"taint\".",
    },
    Key {
        path: "eviction.taint",
        kind: ValueKind::LabelKey,
        default: Default::Text("waspEvictionTaint"),
        environment: None,
        help: "The key of the taint.",
    },
    Key {
        path: "eviction.taint-effect",
        kind: ValueKind::Choice(TaintEffect::WORDS),
        default: Default::Text("NoSchedule"),
        environment: None,
        help: "The effect of the taint. \"NoSchedule\": no new pod comes to the node. \
            \"PreferNoSchedule\": the scheduler prefers other nodes.",
    },
    Key {
        path: "eviction.pressure-transition-seconds",
        kind: ValueKind::Integer { min: 0, max: 3600 },
        default: Default::Integer(300),
        environment: None,
        help: "How long the node still has swap pressure, and the agent keeps new pods away, \
            after the last signal has ended; like the kubelet's \
            evictionPressureTransitionPeriod.",
    },
    Key {
        path: "eviction.last-resort-delete",
        kind: ValueKind::Boolean,
        default: Default::Boolean(false),
        environment: None,
        help: "Whether the agent deletes a pod whose eviction was refused, by a budget or because \
            its VM cannot migrate, after a signal has been critical for last-resort-seconds. \
            The pod keeps its own grace period; budgets do not count.",
    },
    Key {
        path: "eviction.last-resort-seconds",
        kind: ValueKind::Integer { min: 60, max: 3600 },
        default: Default::Integer(300),
        environment: None,
        help: "How long a signal must be critical before the agent deletes a pod.",
    },
    Key {
        path: "eviction.confirm-with-pressure",
        kind: ValueKind::Boolean,
        default: Default::Boolean(true),
        environment: None,
        help: "Swap traffic counts only while processes wait for memory (some 10 % or full 2 % of \
            the last 10 s): with fast disks and zswap a high rate is harmless. If the kernel \
            does not measure pressure (psi=1), traffic alone counts.",
    },
    Key {
        path: "eviction.critical-factor",
        kind: ValueKind::Float { min: 1.0, max: 100.0 },
        default: Default::Float(2.0),
        environment: None,
        help: "The factor above its threshold at which a signal is critical: a pod that does not \
            leave within eviction.overtake-seconds then does not delay the next one.",
    },
    Key {
        path: "eviction.overtake-seconds",
        kind: ValueKind::Integer { min: 30, max: 3600 },
        default: Default::Integer(180),
        environment: None,
        help: "While a signal is critical, the agent evicts one more pod if the last one has not \
            left after this time (a migration, a finalizer, a process that cannot be killed).",
    },
    Key {
        path: "eviction.longest-grace-seconds",
        kind: ValueKind::Integer { min: 0, max: 31_536_000 },
        default: Default::Integer(3600),
        environment: None,
        help: "The longest grace period: the agent evicts a pod with a longer one with this one, \
            also if the pod is being deleted already. 0: the pod's own grace period applies, \
            whatever its author has set.",
    },
    Key {
        path: "eviction.wait-for-descheduler-seconds",
        kind: ValueKind::Integer { min: 0, max: 3600 },
        default: Default::Integer(120),
        environment: None,
        help: "How long a signal must be active before the agent evicts a pod, while the \
            descheduler relieves the node (its soft taint is on the Node) and no signal is \
            critical. 0: no wait.",
    },
    Key {
        path: "eviction.min-relief-percent",
        kind: ValueKind::Integer { min: 0, max: 100 },
        default: Default::Integer(10),
        environment: None,
        help: "The agent evicts a pod only if that frees at least this share of the missing \
            memory. 0: any pod that frees memory.",
    },
    Key {
        path: "eviction.opt-out-annotations",
        kind: ValueKind::Annotations,
        default: Default::List(&[]),
        environment: None,
        help: "Annotation keys. The agent never evicts a pod that has one of them, unless its \
            value is \"false\". Anyone who may create pods can set them.",
    },
    Key {
        path: "eviction.cooldown-seconds",
        kind: ValueKind::Integer { min: 0, max: 3600 },
        default: Default::Integer(30),
        environment: None,
        help: "How long the agent evicts no pod after a pod has left.",
    },
    Key {
        path: "eviction.max-per-hour",
        kind: ValueKind::Integer { min: 0, max: 1000 },
        default: Default::Integer(10),
        environment: None,
        help: "How many pods the agent evicts in an hour at most.",
    },
    Key {
        path: "eviction.protected-namespaces",
        kind: ValueKind::Namespaces,
        default: Default::List(&["openshift*", "kube-system*"]),
        environment: None,
        help: "Namespaces whose pods the agent never evicts. A list replaces the default, so repeat \
            \"openshift*\" and \"kube-system*\" if they should stay protected.",
    },
    Key {
        path: "eviction.swap-utilization-factor",
        kind: ValueKind::Float { min: 0.0, max: 1.0 },
        default: Default::Float(0.8),
        environment: Some("SWAP_UTILIZATION_THRESHOLD_FACTOR"),
        help: "Swap use is too high when working set + swap used exceed RAM + swap × factor.",
    },
    Key {
        path: "eviction.max-average-swap-in-pages-per-second",
        kind: ValueKind::Integer { min: 0, max: 100_000_000 },
        default: Default::Integer(1000),
        environment: Some("MAX_AVERAGE_SWAP_IN_PAGES_PER_SECOND"),
        help: "Swap traffic is too high when both averages are above their thresholds.",
    },
    Key {
        path: "eviction.max-average-swap-out-pages-per-second",
        kind: ValueKind::Integer { min: 0, max: 100_000_000 },
        default: Default::Integer(1000),
        environment: Some("MAX_AVERAGE_SWAP_OUT_PAGES_PER_SECOND"),
        help: "Swap traffic is too high when both averages are above their thresholds.",
    },
    Key {
        path: "eviction.average-window-seconds",
        kind: ValueKind::Integer { min: 5, max: 3600 },
        default: Default::Integer(30),
        environment: Some("AVERAGE_WINDOW_SIZE_SECONDS"),
        help: "The window over which swap traffic is averaged.",
    },
    Key {
        path: "eviction.traffic.enabled",
        kind: ValueKind::Boolean,
        default: Default::Boolean(true),
        environment: None,
        help: "Whether swap traffic can cause an eviction.",
    },
    Key {
        path: "eviction.traffic.sustain-seconds",
        kind: ValueKind::Integer { min: 0, max: 3600 },
        default: Default::Integer(0),
        environment: None,
        help: "How long it must be above its threshold.",
    },
    Key {
        path: "eviction.traffic.release",
        kind: ValueKind::Float { min: 0.0, max: 1.0 },
        default: Default::Float(0.8),
        environment: None,
        help: "It ends below this fraction of its threshold.",
    },
    Key {
        path: "eviction.utilization.enabled",
        kind: ValueKind::Boolean,
        default: Default::Boolean(true),
        environment: None,
        help: "Whether swap that is nearly full can cause an eviction.",
    },
    Key {
        path: "eviction.utilization.sustain-seconds",
        kind: ValueKind::Integer { min: 0, max: 3600 },
        default: Default::Integer(10),
        environment: None,
        help: "How long it must be above its threshold.",
    },
    Key {
        path: "eviction.utilization.release",
        kind: ValueKind::Float { min: 0.0, max: 1.0 },
        default: Default::Float(0.95),
        environment: None,
        help: "It ends below this fraction of its threshold.",
    },
    Key {
        path: "eviction.overcommit.enabled",
        kind: ValueKind::Boolean,
        default: Default::Boolean(false),
        environment: None,
        help: "Whether a high ratio of memory in use to RAM can cause an eviction.",
    },
    Key {
        path: "eviction.overcommit.sustain-seconds",
        kind: ValueKind::Integer { min: 0, max: 3600 },
        default: Default::Integer(30),
        environment: None,
        help: "How long it must be above its threshold.",
    },
    Key {
        path: "eviction.overcommit.release",
        kind: ValueKind::Float { min: 0.0, max: 1.0 },
        default: Default::Float(0.95),
        environment: None,
        help: "It ends below this fraction of its threshold.",
    },
    Key {
        path: "eviction.overcommit.max-ratio",
        kind: ValueKind::Float { min: 0.1, max: 100.0 },
        default: Default::Float(1.5),
        environment: None,
        help: "Overcommit is too high when (working set + swap used) / RAM is above this value.",
    },
    Key {
        path: "eviction.pressure.enabled",
        kind: ValueKind::Boolean,
        default: Default::Boolean(true),
        environment: None,
        help: "Whether waiting for memory can cause an eviction.",
    },
    Key {
        path: "eviction.pressure.sustain-seconds",
        kind: ValueKind::Integer { min: 0, max: 3600 },
        default: Default::Integer(10),
        environment: None,
        help: "How long it must be above its threshold.",
    },
    Key {
        path: "eviction.pressure.release",
        kind: ValueKind::Float { min: 0.0, max: 1.0 },
        default: Default::Float(0.8),
        environment: None,
        help: "It ends below this fraction of its threshold.",
    },
    Key {
        path: "eviction.pressure.max-full-percent",
        kind: ValueKind::Float { min: 0.0, max: 100.0 },
        default: Default::Float(20.0),
        environment: None,
        help: "Pressure is too high when all processes of kubepods or of the node wait for memory \
            for more than this share of 10 s.",
    },
    Key {
        path: "eviction.pressure.max-some-percent",
        kind: ValueKind::Float { min: 0.0, max: 100.0 },
        default: Default::Float(80.0),
        environment: None,
        help: "Or when some of them wait for more than this share.",
    },
    Key {
        path: "suspend.keep-swap-free",
        kind: ValueKind::SizeOrPercent,
        default: Default::Text("10%"),
        environment: None,
        help: "How much of the swap stays free when the agent suspends a pod, as a size or in \
            percent of all swap. \"\": a suspended pod may fill it.",
    },
    Key {
        path: "suspend.reserve",
        kind: ValueKind::SizeOrPercent,
        default: Default::Text(""),
        environment: None,
        help: "How much swap suspended pods together may have beyond their grants, as a size or in percent of \
               all swap. \"\": none. A pod that is resumed loses what it was lent as its memory comes back.",
    },
    Key {
        path: "suspend.longest-silence-seconds",
        kind: ValueKind::Integer { min: 75, max: 3600 },
        default: Default::Integer(90),
        environment: None,
        help: "How long the API server may send nothing before the agent resumes suspended pods: without \
            it, the agent does not see that a pod is being deleted. It counts from the last answer, event \
            or bookmark; a server that is well sends a bookmark about every minute.",
    },
    Key {
        path: "reclaim.mode",
        kind: ValueKind::Choice(ReclaimMode::WORDS),
        default: Default::Text("off"),
        environment: None,
        help: "Whether the agent moves cold memory of pods to swap before the node is short of \
            memory (docs/reclaim.md). \"observe\": it reports how much it would move.",
    },
    Key {
        path: "reclaim.pods",
        kind: ValueKind::Choice(ReclaimPods::WORDS),
        default: Default::Text("virt-launcher"),
        environment: None,
        help: "The pods from which the agent reclaims memory: KubeVirt's, all Burstable ones, or \
            those with the annotation wasp-agent.kubevirt.io/reclaim: \"true\". The value \
            \"false\" always exempts a pod. Guaranteed, BestEffort, critical and static pods \
            and those of eviction.protected-namespaces are always exempt.",
    },
    Key {
        path: "reclaim.max-pressure-percent",
        kind: ValueKind::Float { min: 0.01, max: 10.0 },
        default: Default::Float(0.1),
        environment: None,
        help: "The share of the time (`some` of a pod's pressure files, avg10, avg60 and since the \
            last look) from which on its processes wait too long for memory or a disk. The agent \
            then reclaims nothing from the pod.",
    },
    Key {
        path: "reclaim.max-refault-percent",
        kind: ValueKind::Float { min: 0.1, max: 100.0 },
        default: Default::Float(2.0),
        environment: None,
        help: "The agent backs off when more than this share of what it reclaimed from a pod in \
            the last minutes comes back.",
    },
    Key {
        path: "reclaim.max-swap-percent",
        kind: ValueKind::Integer { min: 1, max: 100 },
        default: Default::Integer(80),
        environment: None,
        help: "Reclaim uses at most this share of a pod's swap grant and of the node's swap; the \
            rest is for times when the node is short of memory.",
    },
    Key {
        path: "reclaim.write-budget",
        kind: ValueKind::Size,
        default: Default::Text("1Mi"),
        environment: None,
        help: "How many bytes a second reclaim may write to swap on the whole node, on average. \
            Each MiB/s wears out a disk by up to 31 TiB a year.",
    },
    Key {
        path: "reclaim.floor",
        kind: ValueKind::Size,
        default: Default::Text("16Mi"),
        environment: None,
        help: "How much memory a pod always keeps in RAM; memory.min and memory.low of its cgroup \
            count too.",
    },
    Key {
        path: "reclaim.start-delay-seconds",
        kind: ValueKind::Integer { min: 0, max: 86_400 },
        default: Default::Integer(300),
        environment: None,
        help: "How long the agent reclaims nothing from a pod that has started, or whose VM has \
            arrived by a migration.",
    },
    Key {
        path: "reclaim.zswap-max-percent",
        kind: ValueKind::IntegerOrKeep { min: 0, max: 100 },
        default: Default::Text("keep"),
        environment: None,
        help: "With zswap, the kernel compresses the pages of these pods in RAM first. Their \
            compressed pages may occupy at most this share of the pod's swap grant \
            (memory.zswap.max, Linux 5.19); further pages go to the disk. \"keep\": the agent does \
            not change the kernel's limit.",
    },
    Key {
        path: "reclaim.zswap-writeback",
        kind: ValueKind::Choice(&["keep", "on", "off"]),
        default: Default::Text("keep"),
        environment: None,
        help: "Whether the kernel may write compressed pages of these pods to the swap's disk \
            (memory.zswap.writeback, Linux 6.8). \"off\" also keeps pages that do not compress in \
            RAM. \"keep\": the agent does not change the kernel's setting.",
    },
    Key {
        path: "metrics.listen",
        kind: ValueKind::Listen,
        default: Default::Text(""),
        environment: None,
        help: "Where the agent serves metrics over TLS, as an address and a port. \"\": only on \
            /run/wasp-agent/metrics.sock, which always exists.",
    },
    Key {
        path: "metrics.certificate",
        kind: ValueKind::Path,
        default: Default::Text(""),
        environment: None,
        help: "The server's certificate for metrics.listen, in PEM, followed by its chain. The \
            agent reads it for each connection, so a renewed one takes effect at once.",
    },
    Key {
        path: "metrics.key",
        kind: ValueKind::Path,
        default: Default::Text(""),
        environment: None,
        help: "The private key of metrics.certificate, in PEM.",
    },
    Key {
        path: "metrics.client-ca",
        kind: ValueKind::Path,
        default: Default::Text(""),
        environment: None,
        help: "Certificates, in PEM, of the authorities whose clients may read metrics. \"\": any \
            client that reaches the port may.",
    },
    Key {
        path: "metrics.textfile",
        kind: ValueKind::Path,
        default: Default::Text(""),
        environment: None,
        help: "A file to which the agent writes metrics at most every 15 s, for node_exporter's \
            textfile collector, in a directory that the unit may write to. The agent removes it \
            when it stops. \"\": none.",
    },
    Key {
        path: "log.verbosity",
        kind: ValueKind::Integer { min: 0, max: 10 },
        default: Default::Integer(1),
        environment: Some("VERBOSITY"),
        help: "Like klog's -v: 0 to 2 logs changes, 3 to 5 also every pass, 6 and more everything.",
    },
];
