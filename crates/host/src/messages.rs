//! Every kind of message in the journal: its level, MESSAGE_ID, fields, meaning and remedy.
//!
//! Each kind is a struct. Its fields are the journal's fields, in upper case. So a message has
//! exactly the fields that the reference (docs/journal.md) and the catalog (`journalctl -x`) name.
//!
//! clippy.toml forbids tracing's macros for these levels elsewhere.
//!
//! An ID is permanent: a search for it must always find the same kind. Take new ones from
//! `systemd-id128 new`.

#[macro_use]
mod kind;
mod reference;

use std::fmt::{Arguments, Display};

pub use kind::{LogLevel, Message, Optional, optional};
pub use reference::{catalog, journal_field, reference};

messages! {
    Started Info "96fe8dd7468246f2a6b18a466987fcfd"
        "The agent has started"
        { version, containers, recorded_pods } []
        "wasp-agent @VERSION@ manages this node's containers: it found @CONTAINERS@, and knew \
         @RECORDED_PODS@ pods from an earlier run."
        "No action needed."

    Stopping Info "40a14c17e2b74b49916e03403ba70f41"
        "The agent stops"
        {} []
        "Containers keep their limits. Until the agent runs again, new containers get the \
         estimate of the OCI hook, changed limits are not repaired, and no pod is evicted."
        "If this was not intended: `systemctl start wasp-agent`."

    Reloaded Info "43dd64ae20f44482a50bbe0ff60f95e3"
        "New settings are in effect"
        {} []
        "The agent has read the configuration again, and compares every limit with it."
        "No action needed."

    ReloadRefused Error "a64ca4e2e18646a18d6184e38e1f2d05"
        "New settings are rejected"
        {} []
        "The configuration on disk is invalid; the previous settings stay in effect. The message \
         names each problem by file, line, key, value and allowed values."
        "Run `wasp-agent check-config`, fix the file, then run `systemctl reload-or-restart \
         wasp-agent`."

    ProblemBegan Warn "280c3f35f866480f88da8b592d336fac"
        "The agent has a problem: @PROBLEM@"
        { problem } []
        "Something that the agent needs does not work; the message names it. The agent logs it \
         when it begins and when it ends. Until it ends, `systemctl status wasp-agent` shows it."
        "Find the row @PROBLEM@ in docs/operations.md."

    ProblemOver Info "0e6d2564b34e4e798ee2e29d5ac3e4bf"
        "The agent no longer has a problem: @PROBLEM@"
        { problem } []
        "The problem that the message names has ended."
        "No action needed."

    CredentialsRead Info "315c64142c374da1aea89e3a6c57cc7a"
        "The node's credentials were read"
        { node_name, server, certificate_expires } []
        "The agent authenticates to @SERVER@ as @NODE_NAME@, with the kubelet's client \
         certificate, valid until @CERTIFICATE_EXPIRES@. It reads the certificate again \
         whenever the kubelet renews it."
        "No action needed."

    ApiLost Warn "f5b033fa14254472868905eca8d26281"
        "The API server cannot be reached"
        {} []
        "Known pods keep their grants, new pods get none, and no pod is evicted. The agent tries \
         again at most 16 s apart; it counts failures in between and does not log them."
        "Read `journalctl -u kubelet`: the kubelet has the same problem. `oc get csr` shows \
         whether its certificate waits for approval."

    ApiBack Info "9cbe3230406440c9891bd948218ba645"
        "The API server can be reached again"
        { failures } []
        "The agent applies all changes since the failure immediately. Failed attempts until then: \
         @FAILURES@."
        "No action needed."

    PodsListed Info "98ec24b340f642ee8bb5af52e95ba528"
        "The node's pods are known"
        { pods } []
        "The API server has listed the pods of this node. Number of pods: @PODS@."
        "No action needed."

    PodUnreadable Warn "49f7fd99f8f1417197d1356c52d45738"
        "A pod cannot be read"
        { pod_namespace, pod_name, reason } [ pod_uid ]
        "The API server sent a pod with a field that the agent cannot read: @REASON@. The agent \
         skips this pod: its containers get no swap, and it is not evicted. Other pods are not \
         affected. The status shows the pod until the agent can read it or it is deleted."
        "Correct the field in the program or manifest that creates @POD_NAMESPACE@/@POD_NAME@. If \
         the field is correct, report a bug."

    SwapLimitInvalid Warn "f8aced256c1040b7bdb02ebd21fb51ed"
        "A pod's swap annotation is invalid"
        { pod_namespace, pod_name, pod_uid, reason } []
        "@POD_NAMESPACE@/@POD_NAME@: @REASON@. A value that the agent cannot read counts as 0: \
         the container gets no swap. A key that names a container that the pod does not have \
         has no effect."
        "Correct the annotation: \"0\", a quantity (\"512Mi\") or a percentage of the grant (\"25%\")."

    RecordLeftOut Warn "626b02eab0ea4281ac6cc4904380e221"
        "A record of an earlier run cannot be read"
        { path } [ reason ]
        "The agent skips @PATH@. It needs the record only if it starts while the API server is \
         unreachable."
        "No action needed: the agent writes it again."

    SwapChanged Info "918dc9250e6f4d998988c68c722ca479"
        "The node's swap has changed"
        { swap_bytes, swap_bytes_before } []
        "Swap was switched on or off: @SWAP_BYTES@ bytes now, @SWAP_BYTES_BEFORE@ before. The \
         agent calculates every grant again."
        "If this was not intended: `swapon --show`, `systemctl status wasp-swap`."

    LimitSet Info "8e110d4eddb74164a0712129c6df7ef5"
        "A swap limit was set"
        { pod_namespace, pod_name, swap_max, swap_max_before, cause } [ pod_uid, container_id ]
        "The agent changed memory.swap.max of a container of @POD_NAMESPACE@/@POD_NAME@, or of \
         the pod's own cgroup (then without CONTAINER_ID), from @SWAP_MAX_BEFORE@ to \
         @SWAP_MAX@. CAUSE is found (seen for the first time), grant-changed, drift (another \
         program had changed it) or step-down (the limit follows the use down)."
        "With CAUSE=drift, find the other writer: another agent, a script, a second hook. \
         Otherwise no action is needed."

    LimitFailed Error "8942283c64284dfd8bada7ad4e6d70b7"
        "A swap limit cannot be read or set"
        { pod_namespace, pod_name } [ pod_uid, container_id, swap_max ]
        "The kernel refuses the access; the message names the file. The agent tries again every \
         second, and counts failures in between."
        "Fix the cause of the kernel's error: a read-only /sys/fs/cgroup, or a security policy \
         (`ausearch -m avc`)."

    LimitWorks Info "0757d907cf7046a2930ab2291a609833"
        "The agent can read or set a swap limit again"
        { pod_namespace, pod_name, failures } [ pod_uid, container_id ]
        "Failed attempts until then: @FAILURES@."
        "No action needed."

    LimitFought Warn "cf5dd6a0a8974c728d19c05ada29ac6f"
        "Another writer keeps changing a swap limit"
        { pod_namespace, pod_name } [ pod_uid, container_id ]
        "Eight repairs of a limit of @POD_NAMESPACE@/@POD_NAME@ did not last. From now on the \
         agent repairs it once a second, and does not log each repair."
        "Find the writer: another agent, a script, a second hook, the kubelet's own LimitedSwap \
         (`swapBehavior`)."

    LimitDiffers Warn "9f9467b097604a9b8b41ddc0b71acab9"
        "A limit differs from the kubelet's LimitedSwap"
        { pod_namespace, pod_name } [ pod_uid, container_id ]
        "The kubelet sets the swap limits on this node. With `limits.repair = false` the agent \
         only reports a difference. With true it sets every other limit to the kubelet's value. \
         Before Kubernetes 1.34 it may not know how much swap the kubelet counts; it then raises \
         no limit."
        "Compare with `wasp-agent plan`. If swap was added after the kubelet had started: run \
         `systemctl restart kubelet`, then restart the pod."

    Grants Info "d1d3f1c7a5c64b0c9c63e2a47b09a4e1"
        "The agent knows who sets swap limits on this node"
        { grants } []
        "@GRANTS@: agent or kubelet. This follows the setting `grants` and the kubelet's \
         configuration in effect (`swapBehavior`, the feature gate NodeSwap)."
        "No action needed. `wasp-agent check` shows the file that decides."

    AboveGrant Warn "6da71fbbe6c4465da985fb6605f4f075"
        "A container or pod uses more swap than its grant"
        { pod_namespace, pod_name } [ pod_uid, container_id ]
        "The grant of a container of @POD_NAMESPACE@/@POD_NAME@ became smaller than its use. With \
         a limit below its use the kernel would kill it, so the limit follows the use down. \
         Without CONTAINER_ID the message is about the pod's own cgroup: memory that outlived a \
         container (shared memory, files of an emptyDir in memory) was swapped before the pod \
         had a limit."
        "No action needed. To speed it up, migrate or restart the VM; delete the pod if \
         `wasp-agent explain` shows swap outside its containers."

    WithinGrant Info "c7be522e60c944b09a58c70bc4518af4"
        "A container or pod is within its grant again"
        { pod_namespace, pod_name } [ pod_uid, container_id ]
        "A container of @POD_NAMESPACE@/@POD_NAME@, or the pod, uses no more swap than its grant."
        "No action needed."

    SystemdNotTold Warn "5f2729603f6b49a8b8612e2dc16d3560"
        "A file that systemd changed could not be restored"
        {} []
        "The limit may be wrong for a moment; the next pass repairs it."
        "The error is from the kernel, as for a limit that cannot be set."

    SliceProtected Info "c0bd3c476c474d1e82531b37003eb4e3"
        "A slice is protected"
        { slice } []
        "@SLICE@ does not swap, and has priority at the disk if that is configured."
        "No action needed."

    MemoryNotLocked Warn "c27bc7d834014018aec903b1ed0fe568"
        "The agent's memory is not locked"
        {} []
        "The kernel refused to lock the agent's memory. While pods thrash, it may reclaim the \
         agent's program and libraries, and the agent then waits for the disk."
        "Set LimitMEMLOCK=infinity for wasp-agent.service, as its unit file does, and allow the system \
         call mlockall."

    Reserved Info "b9ad12fffa3a4c0da49c06383f6f48f3"
        "The agent reserved memory or a weight for a service or slice"
        { unit, property } []
        "The agent set @PROPERTY@ of @UNIT@, so that the node's own services work while pods \
         thrash. `wasp-agent unprotect` restores the previous value."
        "No action needed."

    SliceRepaired Warn "48e6eefff0d04266ac197f7297e8cf0a"
        "The protection of a slice was changed, and is repaired"
        { slice, repairs } []
        "Another program changed the properties that protect @SLICE@ from swapping: @REPAIRS@ \
         repairs since the last message. The agent logs it at most once a minute."
        "Find the writer: `systemctl set-property`, drop-ins of @SLICE@, scripts that write below \
         /sys/fs/cgroup."

    SliceNotRemembered Warn "37cdef2e08a24ed891c21dada880527e"
        "The previous settings of a slice are not saved"
        { slice } []
        "@SLICE@ is protected, but `wasp-agent unprotect` cannot restore it."
        "Free space there (`df /run/wasp-agent`)."

    HookInstalled Info "40fe399649904a4f89b06994c01ad943"
        "The OCI hook was installed"
        { path } []
        "CRI-O now reads @PATH@: new containers have their limit before their first instruction."
        "No action needed."

    HookRemoved Info "366d88819a5b42e09bb632e2064f1c85"
        "The OCI hook was removed"
        { path } []
        "The agent removed @PATH@: new containers get their limit a moment after their start."
        "If this was not intended, check the settings `hook.install` and `grants`."

    HookSet Info "dd6c990c5b434c1c933a603acddabae4"
        "The hook set an estimated or a default limit"
        {} [ pod_uid, container_id ]
        "The agent had not published the container's pod yet, so the limit is an estimate, or 0; \
         the agent corrects it. With priority warning: the input was malformed, so the limit is \
         0."
        "If the priority is warning, find the cause of the malformed input, which the message \
         names. Otherwise no action is needed."

    HookFailed Error "012afc0ffc494d7aa255afa3bc3a05ef"
        "The hook could not set a limit"
        { pod_uid, container_id } []
        "The container has started with the limit of the runtime; the agent corrects it as soon \
         as it sees the container."
        "The message names file and error; `wasp-agent check` checks the hook."

    SignalBegan Warn "8a7e6a2f619c45078e11283e5a009b0f"
        "An eviction signal is active"
        { signal, ratio, value, threshold } []
        "The signal @SIGNAL@ has been above its threshold for long enough: @VALUE@, the threshold \
         is @THRESHOLD@. With mode = \"enforce\" the agent chooses a pod to evict."
        "Migrate VMs away, or lower the overcommit. See docs/runbooks/WaspSwapPressure.md."

    SignalOver Info "e37e1eb9d63648e3b36ebe854820aa57"
        "An eviction signal is over"
        { signal, ratio, value, threshold } []
        "The signal @SIGNAL@ is clearly below its threshold: @VALUE@, the threshold is \
         @THRESHOLD@."
        "No action needed."

    PressureBegan Warn "68636148dbdd424a86490c75d040692c"
        "The node is under swap pressure"
        {} []
        "The agent sets the node's condition SwapPressure to True, until some time after the last \
         signal."
        "Move VMs to other nodes if no pod leaves. See docs/runbooks/WaspSwapPressure.md."

    PressureOver Info "ce29d43cdd70413faa9edb0c7fdf72ad"
        "The node is no longer under swap pressure"
        {} []
        "The agent sets the node's condition SwapPressure to False."
        "No action needed."

    Evicting Warn "f9901de1f7e74eb1b6ef7b6505fde239"
        "The agent evicts a pod"
        { pod_namespace, pod_name, pod_uid } []
        "The node is under swap pressure, and @POD_NAMESPACE@/@POD_NAME@ comes first of all pods that may be evicted; \
         the message gives the reasons. The agent asks the API server to evict it, and logs the \
         answer in a further message. As the last resort, if that is configured, it deletes the \
         pod."
        "No action is required: the controller creates the pod on another node, or KubeVirt migrates \
         the VM. To stop evictions immediately, write `eviction.mode = \"off\"` to \
         /etc/wasp-agent/config.d/zz-stop.toml and run `systemctl reload-or-restart wasp-agent`. Then \
         `wasp-agent status` shows that eviction is off; if it does not, stop the agent."

    EvictionsLost Warn "01bbe46626294d678676645c065e4edf"
        "The agent has lost its list of evictions"
        { path } []
        "The agent cannot read @PATH@, so a pod may be leaving that an earlier run asked to \
         evict. The agent evicts no pod for ten minutes, the time in which that pod would have \
         left."
        "No action needed if it happens once: the agent writes the file again. Otherwise check \
         /run."

    WouldEvict Warn "f542ba201e8a4bf3bdfc35f168b3f2d3"
        "The agent would evict a pod"
        { pod_namespace, pod_name, pod_uid } []
        "The node is under swap pressure, and the agent would evict @POD_NAMESPACE@/@POD_NAME@ if mode were \
         \"enforce\"."
        "Migrate it yourself, or set `eviction.mode = \"enforce\"`."

    EvictionAccepted Info "f33c247f365a4470a128b469f8d54e84"
        "The API server accepted an eviction"
        { pod_namespace, pod_name, pod_uid, outcome } []
        "@POD_NAMESPACE@/@POD_NAME@: the API server accepted its eviction (OUTCOME accepted or \
         migrating), the pod is gone already (gone), or the pressure ended before the request \
         (withdrawn)."
        "No action needed."

    EvictionRefused Warn "6b381c76162b4c0d862e9e07ad1ff357"
        "A pod is not evicted now"
        { pod_namespace, pod_name, pod_uid, outcome } []
        "The message quotes the API server. OUTCOME budget (a PodDisruptionBudget), unwilling \
         (KubeVirt does not move this VM) and refused: the agent asks again for this pod later, \
         and for another one in the meantime. OUTCOME busy (the API server is overloaded or \
         broken) and unreachable: the pod is not the cause, and the agent asks again within \
         seconds. OUTCOME unknown: the agent sent the request and got no answer; it evicts no \
         other pod until it knows the state of this one."
        "See docs/runbooks/WaspEvictionFailing.md."

    PodLeft Info "831d144f121d420cbebdf6ee5b3fdd88"
        "An evicted pod has left"
        { pod_namespace, pod_name, pod_uid } []
        "The last of its cgroups is gone. The agent chooses the next pod only after a cooldown."
        "No action needed."

    WorkloadReturned Warn "98a77699051e4b648296e25f115faeec"
        "A workload came back after an eviction"
        { pod_namespace, pod_name, pod_uid, workload } []
        "@POD_NAMESPACE@/@POD_NAME@ started on this node within minutes after another pod of \
         @WORKLOAD@ was evicted from it. Evicting that workload does not relieve the node, so \
         the agent evicts none of its pods for an hour."
        "Find out why the scheduler places it here again (node selectors, affinity, the only node \
         with room), or lower its memory: `kubectl -n @POD_NAMESPACE@ describe pod @POD_NAME@`. \
         `eviction.scheduling-guard = \"cordon\"` keeps new pods away under swap pressure."

    PodOverdue Warn "bad4136bb9c74a38843efe114c9e87ca"
        "An evicted pod did not leave in time"
        { pod_namespace, pod_name, pod_uid, stage } []
        "@POD_NAMESPACE@/@POD_NAME@ should have left by now (STAGE: @STAGE@)."
        "Find the process that ignores SIGTERM, or the migration that does not end: `oc describe \
         pod -n @POD_NAMESPACE@ @POD_NAME@`."

    Suspended Info "bd2b851c5f444cdc88b0d656b0b30391"
        "A pod is suspended"
        { pod_namespace, pod_name, pod_uid } []
        "@POD_NAMESPACE@/@POD_NAME@ is stopped, and its memory is in swap as far as its grant \
         allows. The message contains the sizes."
        "No action needed. `wasp-agent resume @POD_NAMESPACE@/@POD_NAME@` resumes it."

    Resumed Info "e676581d989d4a26be6e38c84853234a"
        "A suspended pod runs again"
        { pod_namespace, pod_name, pod_uid } []
        "@POD_NAMESPACE@/@POD_NAME@ runs; the kernel reads its pages back from swap as it uses \
         them. The message has the reason."
        "If this was not intended: docs/suspend.md describes every reason."

    SuspendedLost Warn "64b6a6cbecf44cd2b46d87647a4a371a"
        "The agent has lost its list of suspended pods"
        {} []
        "The agent cannot read /run/wasp-agent/suspended.json, so it resumes every frozen \
         container."
        "No action needed if it happens once. Otherwise check /run."

    GuardSet Warn "73169318296c408ab432dc50c3c68c18"
        "New pods are kept away"
        {} []
        "The agent has set spec.unschedulable or the taint, because the node is under swap pressure and \
         eviction.scheduling-guard asks for it."
        "No action needed: the agent removes it when the pressure is over."

    GuardRemoved Info "32f9250e07e246d2b246caa3b8a96f8c"
        "New pods are allowed again"
        {} []
        "The agent has removed spec.unschedulable or the taint."
        "No action needed."

    GuardLeft Info "c8617b879e9346bc99599370ac1e8316"
        "The agent does not change the scheduling guard"
        {} []
        "Another user has set or removed it, or the Machine Config Operator is at work."
        "Find out why it was set, then run `oc adm uncordon NODE`."

    EventLost Warn "4e34459dd57647c88c28b79f40aa20ca"
        "An event was not sent"
        { reason } []
        "The agent could not send an event to the API server. The message contains the text of the \
         event and the API server's answer."
        "`wasp-agent check` shows whether the node may create events."

    LastWordsLost Warn "89d0c2604f744ef8b70d542af9f9f9b2"
        "The agent could not report to the API server that it stops"
        {} []
        "The node's condition SwapPressure does not change until the agent runs again."
        "No action needed if the agent starts again. Otherwise remove the cordon, if there is one: \
         `oc adm uncordon NODE`."

    TextfileLeft Warn "15920b26b55446168c2fc8c41cef7d88"
        "The file of metrics could not be removed"
        { path } []
        "node_exporter continues to read old values from @PATH@."
        "Remove @PATH@."

    Provisioned Info "bbab11af0f9c417ba9f864234e57b96a"
        "The swap is as configured"
        {} []
        "`wasp-agent provision` or `deprovision` has finished; the message is its summary."
        "No action needed."

    ProvisionStep Info "e83ec87db46a4b11b399e5980f5d7318"
        "A step of provisioning"
        {} []
        "The agent creates swap, switches it on or off, or changes a kernel setting. The message \
         names the step."
        "No action needed."

    ProvisionDiffers Warn "8f08c3651fd348c2a5da0760f66dfe1c"
        "The swap is not as configured"
        {} []
        "The message contains the reason, often pages that do not fit elsewhere while an area is \
         replaced. Existing swap stays in use."
        "Follow the message; then run `systemctl restart wasp-swap`."

    ProvisionFailed Error "a96b0f6a766f44f88f8c8821303dfc46"
        "The swap could not be created"
        {} []
        "The message contains path and reason: a full disk, a file that the agent did not create, \
         a file system that cannot hold swap, a kubelet that would not start (`failSwapOn`)."
        "Fix it, then run `systemctl restart wasp-swap`. docs/operations.md lists the exit \
         statuses."

    ReclaimBegan Info "e1c13594fb39449e96b3d63a3b391a97"
        "The agent reclaims cold memory of a pod"
        { pod_namespace, pod_name, pod_uid } []
        "Proactive reclaim (`[reclaim]`) moves memory that @POD_NAMESPACE@/@POD_NAME@ does not \
         use to swap. The agent logs the start, and the next start only after the pod has \
         needed memory back."
        "No action needed."

    ReclaimBackedOff Info "e18a27090b0b4c799cd952946c43ceca"
        "A pod needs reclaimed memory back"
        { pod_namespace, pod_name, pod_uid, reason } []
        "The agent reclaims nothing from @POD_NAMESPACE@/@POD_NAME@ for a few minutes (REASON: @REASON@). The \
         pause is longer each time."
        "No action needed. If it happens again and again, exempt the pod with the annotation \
         wasp-agent.kubevirt.io/reclaim: \"false\"."

    ReclaimPaused Info "f097a49fb5bf475da081745d1ccb03ce"
        "Proactive reclaim pauses on the whole node"
        { reason } []
        "The agent reclaims memory from no pod (REASON: @REASON@)."
        "docs/reclaim.md describes each reason."

    ReclaimResumed Info "4732433207c04e5891381a6bf10b0cae"
        "Proactive reclaim continues"
        {} []
        "The reason for the pause is over."
        "No action needed."

    DryRun Info "7a703a07a110428c8c02d9bc7404ed8a"
        "A step that the agent would take"
        {} [ cgroup, path, unit, swap_max, slice, change ]
        "With --dry-run the agent changes nothing."
        "No action needed."
}

impl Default for DryRun<'_> {
    /// Without any field.
    fn default() -> Self {
        Self { cgroup: None, path: None, unit: None, swap_max: None, slice: None, change: None }
    }
}
