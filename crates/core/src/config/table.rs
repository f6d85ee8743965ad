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
        help: "The program that sets the containers' swap limits. \"auto\": the kubelet if its \
            configuration in effect has swapBehavior: LimitedSwap, otherwise the agent. \"agent\": \
            the agent. If the kubelet has LimitedSwap, its limits apply, and the agent reports the \
            contradiction. \"kubelet\": the kubelet. If it has no LimitedSwap, no container gets \
            swap, and the agent reports the contradiction.",
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
        help: "How much swap `wasp-agent provision` creates. \"\": the size that follows from \
            overcommit-percent. The agent uses a partition as a whole.",
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
        help: "How much space a swapfile must leave free on its file system. \"\": 5 % of the file \
            system above the kubelet's eviction threshold for nodefs.available, or for \
            imagefs.available if the images are there; 20 % by default.",
    },
    Key {
        path: "swap.beside-others",
        kind: ValueKind::Boolean,
        default: Default::Boolean(false),
        environment: None,
        help: "Whether to create the configured swap even on a node where units of OpenShift \
            create swap (swap-disk-enable.service, ocpswap-file-enable.service).",
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
        help: "The latency target of the protected slices for the disks of /, /var and the swap. \
            If their requests take longer, the kernel throttles other slices (io.latency). 0: no \
            target.",
    },
    Key {
        path: "protection.pods-io-latency-target-ms",
        kind: ValueKind::Integer { min: 0, max: 10_000 },
        default: Default::Integer(0),
        environment: None,
        help: "The same target for the slice of the pods (kubepods.slice). Pods then have priority \
            over slices without a target, but not over the protected slices. Set it larger than \
            protection.io-latency-target-ms. 0: no target. `docs/figures.md` has the measurements.",
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
            agent keeps a larger weight that another program has set, and raises a smaller one. \
            From OpenShift 4.22 on, the kubelet sets a smaller one (system-reserved-compressible). \
            \"keep\": the agent does not change it.",
    },
    Key {
        path: "protection.working-set-percent",
        kind: ValueKind::Integer { min: 0, max: 50 },
        default: Default::Integer(10),
        environment: None,
        help: "The largest share of RAM that the kernel keeps for the working sets of \
            protection.working-set-services while pods thrash. Working sets include programs and \
            other file pages. The agent sets MemoryMin= of the services and of their slices. Each \
            service gets its use plus an eighth. 0: none.",
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
        help: "Whether the kernel swaps before the kubelet evicts because of memory.available, on \
            a node with swap. The agent raises vm.min_free_kbytes to just above the kubelet's \
            threshold. It raises vm.watermark_scale_factor so that kswapd starts 256 MiB or 1 % of \
            RAM above the threshold, whichever is more, but at most 1/64 of RAM. Both values \
            follow changes of the threshold. The agent restores them when this is false, when the \
            node has no swap, and with `wasp-agent deprovision`. It does not change them if a unit \
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
        help: "The limit that the hook sets if the agent does not know the container's pod. The \
            agent does not run then, or the API server is unreachable. \"estimate\": a limit from \
            the request that the kubelet has encoded in oomScoreAdj. \"deny\": no swap.",
    },
    Key {
        path: "hook.denied-namespaces",
        kind: ValueKind::Namespaces,
        default: Default::List(&["openshift*", "kube-system*"]),
        environment: None,
        help: "Namespaces for whose containers the hook never estimates a limit, because it cannot \
            see whether a pod's priority makes it critical.",
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
        help: "Which pods may swap: all Burstable pods that are not critical, or only those of \
            KubeVirt (label kubevirt.io: virt-launcher). Any author of a pod can set that label, \
            so this is not a boundary between tenants.",
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
        help: "Namespaces whose pods get no swap. Annotations do not change this.",
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
        help: "The interval at which the agent compares every limit, even without a notification \
            of a change.",
    },
    Key {
        path: "limits.follow-seconds",
        kind: ValueKind::Integer { min: 1, max: 60 },
        default: Default::Integer(2),
        environment: None,
        help: "The interval at which the agent examines a container above its grant, to lower its \
            limit as its use goes down.",
    },
    Key {
        path: "limits.repair",
        kind: ValueKind::Boolean,
        default: Default::Boolean(true),
        environment: None,
        help: "Whether the agent repairs a limit that differs from the kubelet's, for example \
            after systemctl daemon-reload, if the kubelet sets the limits. false: the agent only \
            reports the difference.",
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
            \"taint\". The unit sees no files below /root and /home, and reads only those of root.",
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
        help: "How long the node's condition shows swap pressure, and the agent keeps new pods \
            away, after the last signal has ended. The kubelet's evictionPressureTransitionPeriod \
            is similar.",
    },
    Key {
        path: "eviction.last-resort-delete",
        kind: ValueKind::Boolean,
        default: Default::Boolean(false),
        environment: None,
        help: "Whether the agent deletes a pod whose eviction a PodDisruptionBudget has refused, \
            after a signal has been critical for last-resort-seconds. The pod keeps its own grace \
            period. The agent never deletes a VM that migrates or that KubeVirt refuses to move.",
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
        help: "The multiple of its threshold at which a signal is critical. A pod that does not \
            leave within eviction.overtake-seconds then does not delay the next eviction.",
    },
    Key {
        path: "eviction.overtake-seconds",
        kind: ValueKind::Integer { min: 30, max: 3600 },
        default: Default::Integer(180),
        environment: None,
        help: "While a signal is critical, the agent evicts one more pod if the last one has not \
            left after this time. Possible reasons are a migration, a finalizer, or a process that \
            cannot be killed.",
    },
    Key {
        path: "eviction.longest-grace-seconds",
        kind: ValueKind::Integer { min: 0, max: 31_536_000 },
        default: Default::Integer(3600),
        environment: None,
        help: "The longest grace period of an evicted pod. The agent shortens a longer grace \
            period to this one, even if the pod is being deleted already. 0: the pod's own grace \
            period applies.",
    },
    Key {
        path: "eviction.wait-for-descheduler-seconds",
        kind: ValueKind::Integer { min: 0, max: 3600 },
        default: Default::Integer(120),
        environment: None,
        help: "How long the agent waits for the descheduler before it evicts a pod. It waits only \
            while the descheduler's soft taint is on the Node and no signal is critical. The time \
            begins with the signal. 0: no wait.",
    },
    Key {
        path: "eviction.min-relief-percent",
        kind: ValueKind::Integer { min: 0, max: 100 },
        default: Default::Integer(10),
        environment: None,
        help: "The agent evicts a pod only if this frees at least this share of the missing \
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
        help: "The threshold of the signal utilization: working set + swap in use exceed RAM + \
            swap × factor.",
    },
    Key {
        path: "eviction.max-average-swap-in-pages-per-second",
        kind: ValueKind::Integer { min: 0, max: 100_000_000 },
        default: Default::Integer(1000),
        environment: Some("MAX_AVERAGE_SWAP_IN_PAGES_PER_SECOND"),
        help: "The threshold of pages swapped in per second. The signal traffic is active when \
            both averages exceed their thresholds.",
    },
    Key {
        path: "eviction.max-average-swap-out-pages-per-second",
        kind: ValueKind::Integer { min: 0, max: 100_000_000 },
        default: Default::Integer(1000),
        environment: Some("MAX_AVERAGE_SWAP_OUT_PAGES_PER_SECOND"),
        help: "The threshold of pages swapped out per second. The signal traffic is active when \
            both averages exceed their thresholds.",
    },
    Key {
        path: "eviction.average-window-seconds",
        kind: ValueKind::Integer { min: 5, max: 3600 },
        default: Default::Integer(30),
        environment: Some("AVERAGE_WINDOW_SIZE_SECONDS"),
        help: "The time over which the agent averages swap traffic.",
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
        help: "How long the signal traffic must be above its threshold before it is active.",
    },
    Key {
        path: "eviction.traffic.release",
        kind: ValueKind::Float { min: 0.0, max: 1.0 },
        default: Default::Float(0.8),
        environment: None,
        help: "The fraction of its threshold below which the signal traffic ends.",
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
        help: "How long the signal utilization must be above its threshold before it is active.",
    },
    Key {
        path: "eviction.utilization.release",
        kind: ValueKind::Float { min: 0.0, max: 1.0 },
        default: Default::Float(0.95),
        environment: None,
        help: "The fraction of its threshold below which the signal utilization ends.",
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
        help: "How long the signal overcommit must be above its threshold before it is active.",
    },
    Key {
        path: "eviction.overcommit.release",
        kind: ValueKind::Float { min: 0.0, max: 1.0 },
        default: Default::Float(0.95),
        environment: None,
        help: "The fraction of its threshold below which the signal overcommit ends.",
    },
    Key {
        path: "eviction.overcommit.max-ratio",
        kind: ValueKind::Float { min: 0.1, max: 100.0 },
        default: Default::Float(1.5),
        environment: None,
        help: "The threshold of the signal overcommit: (working set + swap in use) / RAM exceeds \
            this value.",
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
        help: "How long the signal pressure must be above its threshold before it is active.",
    },
    Key {
        path: "eviction.pressure.release",
        kind: ValueKind::Float { min: 0.0, max: 1.0 },
        default: Default::Float(0.8),
        environment: None,
        help: "The fraction of its threshold below which the signal pressure ends.",
    },
    Key {
        path: "eviction.pressure.max-full-percent",
        kind: ValueKind::Float { min: 0.0, max: 100.0 },
        default: Default::Float(20.0),
        environment: None,
        help: "The threshold of the signal pressure: all processes of kubepods or of the protected \
            slices wait for memory for more than this share of 10 s.",
    },
    Key {
        path: "eviction.pressure.max-some-percent",
        kind: ValueKind::Float { min: 0.0, max: 100.0 },
        default: Default::Float(80.0),
        environment: None,
        help: "A second threshold of the signal pressure: some of these processes wait for memory \
            for more than this share of 10 s.",
    },
    Key {
        path: "suspend.keep-swap-free",
        kind: ValueKind::SizeOrPercent,
        default: Default::Text("10%"),
        environment: None,
        help: "How much swap stays free when the agent suspends a pod, as a size or in percent of \
            all swap. \"\": a suspended pod may fill the swap.",
    },
    Key {
        path: "suspend.reserve",
        kind: ValueKind::SizeOrPercent,
        default: Default::Text(""),
        environment: None,
        help: "How much swap the agent lends to all suspended pods together, beyond their grants, \
            as a size or in percent of all swap. \"\": none. After a resume the pod's limit \
            follows its use down to the grant.",
    },
    Key {
        path: "suspend.longest-silence-seconds",
        kind: ValueKind::Integer { min: 75, max: 3600 },
        default: Default::Integer(90),
        environment: None,
        help: "How long the API server may send nothing before the agent resumes suspended pods. \
            Without the server, the agent does not see that a pod is being deleted. The time \
            begins with the last answer, event or bookmark. A healthy server sends a bookmark \
            about every minute.",
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
        help: "The pods from which the agent reclaims memory: those of KubeVirt, all Burstable \
            pods, or those with the annotation wasp-agent.kubevirt.io/reclaim: \"true\". The value \
            \"false\" always exempts a pod. Guaranteed, BestEffort, critical and static pods and \
            those of eviction.protected-namespaces are always exempt.",
    },
    Key {
        path: "reclaim.max-pressure-percent",
        kind: ValueKind::Float { min: 0.01, max: 10.0 },
        default: Default::Float(0.1),
        environment: None,
        help: "The largest share of time in which processes of a pod may wait for memory or a disk \
            (`some` of its pressure files: avg10, avg60 and since the last sample). Above it the \
            agent reclaims nothing from the pod.",
    },
    Key {
        path: "reclaim.max-refault-percent",
        kind: ValueKind::Float { min: 0.1, max: 100.0 },
        default: Default::Float(2.0),
        environment: None,
        help: "The largest share of reclaimed memory that may come back. If more of the memory \
            that the agent reclaimed from a pod in the last minutes comes back, the agent pauses \
            for this pod.",
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
            Each MiB/s writes up to 30 TiB a year to the disk.",
    },
    Key {
        path: "reclaim.floor",
        kind: ValueKind::Size,
        default: Default::Text("16Mi"),
        environment: None,
        help: "How much memory a pod always keeps in RAM. If memory.min or memory.low of its \
            cgroup is larger, that value applies.",
    },
    Key {
        path: "reclaim.start-delay-seconds",
        kind: ValueKind::Integer { min: 0, max: 86_400 },
        default: Default::Integer(300),
        environment: None,
        help: "How long the agent reclaims nothing from a pod after its start, or after its VM has \
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
            agent reads it for each connection, so a renewed one takes effect immediately.",
    },
    Key {
        path: "metrics.key",
        kind: ValueKind::Path,
        default: Default::Text(""),
        environment: None,
        help: "The private key of metrics.certificate, in PEM format.",
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
        help: "A file to which the agent writes metrics for node_exporter's textfile collector, at \
            most every 15 s. The unit must have permission to write to its directory. When the \
            agent stops, it leaves only the time of its last publication there. \"\": none.",
    },
    Key {
        path: "log.verbosity",
        kind: ValueKind::Integer { min: 0, max: 10 },
        default: Default::Integer(1),
        environment: Some("VERBOSITY"),
        help: "Like klog's -v: 0 to 2 logs changes, 3 to 5 also every pass, 6 and more everything.",
    },
];
