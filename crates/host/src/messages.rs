//! Every kind of message in the journal: its level, MESSAGE_ID, fields, meaning and remedy.
//!
//! Each kind is a struct. Its fields are the journal's fields, in upper case, so a message cannot
//! be logged with fields other than those that the reference (docs/journal.md) and the catalog
//! (`journalctl -x`) name.
//!
//! clippy.toml forbids tracing's macros for these levels elsewhere.
//!
//! An ID is permanent: a search for it must always find the same kind. Take new ones from
//! `systemd-id128 new`.

use std::fmt::{Arguments, Display, Write};

/// The level of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Info,
    Warn,
    Error,
}

/// The description of a kind of message.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    pub id: &'static str,
    pub name: &'static str,
    pub level: Level,
    /// One line. `@FIELD@` stands for a field's value, here and below.
    pub subject: &'static str,
    /// Fields in addition to MESSAGE and those that the journal adds.
    pub fields: &'static [&'static str],
    pub meaning: &'static str,
    pub remedy: &'static str,
}

/// A field that a message may lack.
pub type Optional<'a> = Option<&'a dyn Display>;

/// Converts `value` to an optional field.
pub fn optional<T: Display>(value: &Option<T>) -> Optional<'_> {
    value.as_ref().map(|value| value as &dyn Display)
}

macro_rules! messages {
    ($($name:ident $level:ident $id:literal $subject:literal
        $fields:tt $optional:tt $meaning:literal $remedy:literal)*) => {
        $(message!($name $level $id $subject $fields $optional $meaning $remedy);)*
        /// Every kind of message.
        pub const ALL: &[Message] = &[$($name::MESSAGE),*];
    };
}

macro_rules! message {
    ($name:ident $level:ident $id:literal $subject:literal {} [] $meaning:literal $remedy:literal) => {
        #[doc = $subject]
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
        emitted!($name [$name] $level $id $subject {} [] $meaning $remedy);
    };
    ($name:ident $level:ident $id:literal $subject:literal
        { $($field:ident),* } [ $($optional:ident),* ] $meaning:literal $remedy:literal) => {
        #[doc = $subject]
        #[derive(Clone, Copy)]
        pub struct $name<'a> {
            $(pub $field: &'a dyn Display,)*
            $(pub $optional: Optional<'a>,)*
        }

        impl std::fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        }
        emitted!($name [$name<'_>] $level $id $subject { $($field),* } [ $($optional),* ] $meaning $remedy);
    };
}

macro_rules! emitted {
    ($name:ident [$type:ty] $level:ident $id:literal $subject:literal
        { $($field:ident),* } [ $($optional:ident),* ] $meaning:literal $remedy:literal) => {
        impl $type {
            pub const MESSAGE: Message = Message {
                id: $id,
                name: stringify!($name),
                level: Level::$level,
                subject: $subject,
                fields: &[$(stringify!($field),)* $(stringify!($optional),)*],
                meaning: $meaning,
                remedy: $remedy,
            };

            /// Logs the message; `text` is the part that people read.
            pub fn emit(&self, text: Arguments<'_>) {
                self.emit_at(Level::$level, text);
            }

            /// Logs the message at another level than usual.
            pub fn emit_at(&self, level: Level, text: Arguments<'_>) {
                macro_rules! event {
                    ($level_of_tracing:ident) => {
                        tracing::event!(
                            tracing::Level::$level_of_tracing,
                            message_id = $id,
                            $($field = %self.$field,)*
                            $($optional = self.$optional.map(tracing::field::display),)*
                            "{text}"
                        )
                    };
                }
                match level {
                    Level::Info => event!(INFO),
                    Level::Warn => event!(WARN),
                    Level::Error => event!(ERROR),
                }
            }
        }
    };
}

/// Returns the name of a field in the journal.
pub fn journal_field(name: &str) -> String {
    name.to_ascii_uppercase()
}

/// Returns the text of systemd's message catalog.
///
/// Source: systemd, "Journal Message Catalogs".
pub fn catalog() -> String {
    let mut text = "# Written by `BLESS=1 cargo test --test documents`.\n".to_owned();
    for Message { id, subject, meaning, remedy, .. } in ALL {
        let _ = write!(
            text,
            "\n-- {id}\nSubject: {subject}\nDefined-By: wasp-agent\nDocumentation: man:wasp-agent(8)\n\
             Documentation: file:///usr/share/doc/wasp-agent/docs/journal.md\n\n{meaning}\n\n{remedy}\n"
        );
    }
    text
}

/// Returns the reference of all messages as Markdown: `docs/journal.md`.
pub fn reference() -> String {
    let mut text = String::new();
    for Message { id, name, subject, fields, meaning, remedy, .. } in ALL {
        let _ = writeln!(text, "### {name}: {}\n", shown(subject));
        let _ = writeln!(text, "{} {}\n\n- MESSAGE_ID: `{id}`", shown(meaning), shown(remedy));
        if !fields.is_empty() {
            let fields: Vec<String> =
                fields.iter().map(|field| format!("`{}`", journal_field(field))).collect();
            let _ = writeln!(text, "- fields: {}", fields.join(", "));
        }
        text.push('\n');
    }
    text
}

/// Removes the marks of fields: their names stand for their values.
fn shown(text: &str) -> String {
    text.replace('@', "")
}

messages! {
    Started Info "96fe8dd7468246f2a6b18a466987fcfd"
        "The agent has started"
        { version, containers, recorded_pods } []
        "wasp-agent @VERSION@ looks after this node's containers: @CONTAINERS@ were there, and \
         @RECORDED_PODS@ pods were known from an earlier run."
        "Nothing is to be done."

    Stopping Info "40a14c17e2b74b49916e03403ba70f41"
        "The agent stops"
        {} []
        "Containers keep the limits that they have. Until it runs again, new ones get what the \
         OCI hook estimates, changed limits are not repaired, and nobody is evicted."
        "Nothing is to be done, unless it was not meant: `systemctl start wasp-agent`."

    Reloaded Info "43dd64ae20f44482a50bbe0ff60f95e3"
        "New settings are in force"
        {} []
        "The configuration was read anew, and every limit is compared with it."
        "Nothing is to be done."

    ReloadRefused Error "a64ca4e2e18646a18d6184e38e1f2d05"
        "New settings are refused"
        {} []
        "The configuration on disk is wrong; the settings from before stay in force. The message \
         names each problem by file, line, key, value and what is allowed."
        "`wasp-agent check-config`, fix the file, then `systemctl reload wasp-agent`."

    ProblemBegan Warn "280c3f35f866480f88da8b592d336fac"
        "The agent has a problem: @PROBLEM@"
        { problem } []
        "Something that the agent needs does not work; the message names it. The agent logs it once, \
         and once more when it is over. Until then `systemctl status wasp-agent` shows it."
        "Find the row @PROBLEM@ in docs/operations.md."

    ProblemOver Info "0e6d2564b34e4e798ee2e29d5ac3e4bf"
        "The agent no longer has a problem: @PROBLEM@"
        { problem } []
        "The problem that the message names is over."
        "Nothing is to be done."

    CredentialsRead Info "315c64142c374da1aea89e3a6c57cc7a"
        "The node's credentials were read"
        { node_name, server, certificate_expires } []
        "The agent speaks to @SERVER@ as @NODE_NAME@, with the kubelet's client certificate, \
         valid until @CERTIFICATE_EXPIRES@. It is read anew whenever the kubelet renews it."
        "Nothing is to be done."

    ApiLost Warn "f5b033fa14254472868905eca8d26281"
        "The API server cannot be reached"
        {} []
        "Pods that are known keep their grants, new ones get none, nobody is evicted. The agent \
         tries again, at most 16 s apart; what fails meanwhile is counted, not said."
        "The kubelet has the same problem: `journalctl -u kubelet`. `oc get csr` shows whether \
         its certificate waits for approval."

    ApiBack Info "9cbe3230406440c9891bd948218ba645"
        "The API server can be reached again"
        { failures } []
        "After @FAILURES@ failures. What has changed meanwhile is taken over at once."
        "Nothing is to be done."

    PodsListed Info "98ec24b340f642ee8bb5af52e95ba528"
        "The node's pods are known"
        { pods } []
        "The API server has listed the @PODS@ pods of this node."
        "Nothing is to be done."

    PodUnreadable Warn "49f7fd99f8f1417197d1356c52d45738"
        "A pod cannot be read"
        { pod_namespace, pod_name, reason } [ pod_uid ]
        "The API server sent a pod with a field that the agent cannot read: @REASON@. The agent leaves \
         this pod out: its containers get no swap, and it is not evicted. All other pods are not \
         affected. The status shows the pod until it can be read or is deleted."
        "Correct the field in whatever creates @POD_NAMESPACE@/@POD_NAME@. If the field is correct, \
         report a bug."

    SwapLimitInvalid Warn "f8aced256c1040b7bdb02ebd21fb51ed"
        "A pod's swap annotation is invalid"
        { pod_namespace, pod_name, pod_uid, reason } []
        "@POD_NAMESPACE@/@POD_NAME@: @REASON@. A value that cannot be read counts as 0: the container gets no \
         swap. A key that names no container of the pod has no effect."
        "Correct the annotation: \"0\", a quantity (\"512Mi\") or a percentage of the grant (\"25%\")."

    RecordLeftOut Warn "626b02eab0ea4281ac6cc4904380e221"
        "A record of an earlier run is not understood"
        { path } [ reason ]
        "@PATH@ is left out. Only an agent that starts while the API server is away misses it."
        "Nothing is to be done: it is written anew."

    SwapChanged Info "918dc9250e6f4d998988c68c722ca479"
        "The node's swap has changed"
        { swap_bytes, swap_bytes_before } []
        "Swap was switched on or off: @SWAP_BYTES@ bytes now, @SWAP_BYTES_BEFORE@ before. Every \
         grant is reckoned anew."
        "Nothing is to be done, unless it was not meant: `swapon --show`, `systemctl status \
         wasp-swap`."

    LimitSet Info "8e110d4eddb74164a0712129c6df7ef5"
        "A swap limit was set"
        { pod_namespace, pod_name, swap_max, swap_max_before, cause } [ pod_uid, container_id ]
        "memory.swap.max of a container of @POD_NAMESPACE@/@POD_NAME@, or of the pod's own cgroup \
         (then without CONTAINER_ID), is @SWAP_MAX@, and was @SWAP_MAX_BEFORE@. CAUSE is found \
         (seen for the first time), grant-changed, drift (another program had changed it) or step-down \
         (the limit follows the use down)."
        "Nothing is to be done. With CAUSE=drift, look for who writes: another agent, a script, a \
         second hook."

    LimitFailed Error "8942283c64284dfd8bada7ad4e6d70b7"
        "A swap limit cannot be read or set"
        { pod_namespace, pod_name } [ pod_uid, container_id, swap_max ]
        "The kernel refuses; the message names the file. The agent tries again every second, and \
         counts what fails meanwhile."
        "The error is the kernel's: a read-only /sys/fs/cgroup, or a security policy (`ausearch \
         -m avc`)."

    LimitWorks Info "0757d907cf7046a2930ab2291a609833"
        "A swap limit works again"
        { pod_namespace, pod_name, failures } [ pod_uid, container_id ]
        "After @FAILURES@ failures."
        "Nothing is to be done."

    LimitFought Warn "cf5dd6a0a8974c728d19c05ada29ac6f"
        "Another writer keeps changing a swap limit"
        { pod_namespace, pod_name } [ pod_uid, container_id ]
        "Eight repairs of a limit of @POD_NAMESPACE@/@POD_NAME@ did not last. It is repaired \
         once a second from now on, without a word for each."
        "Find the writer: another agent, a script, a second hook, the kubelet's own LimitedSwap \
         (`swapBehavior`)."

    LimitDiffers Warn "9f9467b097604a9b8b41ddc0b71acab9"
        "A limit is not the one that the kubelet's LimitedSwap gives, and is left as it is"
        { pod_namespace, pod_name } [ pod_uid, container_id ]
        "The kubelet grants swap on this node. With `limits.repair = false` the agent only reports. \
         With true it sets every other limit to the kubelet's value, but does not raise a limit while \
         it cannot know how much swap the kubelet counts (before Kubernetes 1.34)."
        "Compare with `wasp-agent plan`. If swap was added after the kubelet had started: `systemctl \
         restart kubelet`, then restart the pod."

    Grants Info "d1d3f1c7a5c64b0c9c63e2a47b09a4e1"
        "Who grants swap on this node is known or has changed"
        { grants } []
        "@GRANTS@: agent or kubelet. It follows the setting `grants` and the kubelet's configuration \
         in effect (`swapBehavior`, the feature gate NodeSwap)."
        "Nothing is to be done. `wasp-agent check` shows the file that decides."

    AboveGrant Warn "6da71fbbe6c4465da985fb6605f4f075"
        "A container or pod uses more swap than its grant"
        { pod_namespace, pod_name } [ pod_uid, container_id ]
        "The grant of a container of @POD_NAMESPACE@/@POD_NAME@ became smaller than its use. A \
         limit below use would have it OOM-killed, so the limit follows the use down. Without \
         CONTAINER_ID it is the pod's own cgroup: memory that outlived a container (shared memory, \
         files of an emptyDir in memory) was swapped before the pod had a limit."
        "Nothing is to be done. To make it quicker, migrate or restart the VM; delete the pod where \
         `wasp-agent explain` shows swap in no container."

    WithinGrant Info "c7be522e60c944b09a58c70bc4518af4"
        "A container or pod is within its grant again"
        { pod_namespace, pod_name } [ pod_uid, container_id ]
        "A container of @POD_NAMESPACE@/@POD_NAME@, or the pod, uses no more swap than it was granted."
        "Nothing is to be done."

    SystemdNotTold Warn "5f2729603f6b49a8b8612e2dc16d3560"
        "A file that systemd changed could not be put back"
        {} []
        "The limit may be wrong for a moment; the next look at it repairs it."
        "The error is the kernel's, as with a limit that cannot be set."

    SliceProtected Info "c0bd3c476c474d1e82531b37003eb4e3"
        "A slice is protected"
        { slice } []
        "@SLICE@ does not swap, and is served first by the disk where that is configured."
        "Nothing is to be done."

    MemoryNotLocked Warn "c27bc7d834014018aec903b1ed0fe568"
        "The agent's memory is not locked"
        {} []
        "The kernel refused to lock the agent's memory. While pods thrash, it may reclaim the agent's \
         program and libraries, and the agent waits for the disk."
        "Set LimitMEMLOCK=infinity for wasp-agent.service, as its unit file does, and allow the system \
         call mlockall."

    Reserved Info "b9ad12fffa3a4c0da49c06383f6f48f3"
        "Memory or a share was reserved for a service or slice"
        { unit, property } []
        "The agent has set @PROPERTY@ of @UNIT@, so that the node's own services work while pods thrash. \
         `wasp-agent unprotect` puts back what was there."
        "Nothing is to be done."

    SliceRepaired Warn "48e6eefff0d04266ac197f7297e8cf0a"
        "The protection of a slice was changed, and repaired"
        { slice, repairs } []
        "Somebody had changed what protects @SLICE@ from swapping: @REPAIRS@ repairs since it was \
         said last. It is said at most once a minute."
        "Look for `systemctl set-property`, drop-ins of @SLICE@, and scripts that write below \
         /sys/fs/cgroup."

    SliceNotRemembered Warn "37cdef2e08a24ed891c21dada880527e"
        "What a slice had before is not remembered"
        { slice } []
        "@SLICE@ is protected; `wasp-agent unprotect` will not put it back."
        "Free space in /run (`df /run`)."

    HookInstalled Info "40fe399649904a4f89b06994c01ad943"
        "The OCI hook was installed"
        { path } []
        "CRI-O reads @PATH@ from now on: new containers have their limit before their first \
         instruction."
        "Nothing is to be done."

    HookRemoved Info "366d88819a5b42e09bb632e2064f1c85"
        "The OCI hook was removed"
        { path } []
        "@PATH@ is gone: new containers get their limit a moment after their start."
        "Nothing is to be done, unless it was not meant: `[hook] install`, `grants`."

    HookSet Info "dd6c990c5b434c1c933a603acddabae4"
        "The hook set a limit that needs a word"
        {} [ pod_uid, container_id ]
        "The container's pod was not published yet, so the limit is an estimate, or 0; the agent \
         corrects it. As a warning: something was malformed, and the limit is 0 for that."
        "As a warning: the message names what was malformed. Else nothing is to be done."

    HookFailed Error "012afc0ffc494d7aa255afa3bc3a05ef"
        "The hook could not set a limit"
        { pod_uid, container_id } []
        "The container has started with the limit that the runtime has set; the agent sets the \
         right one as soon as it sees it."
        "The message names file and error; `wasp-agent check` looks at the hook."

    SignalBegan Warn "8a7e6a2f619c45078e11283e5a009b0f"
        "A signal of swap-driven eviction is active"
        { signal, ratio, value, threshold } []
        "The signal @SIGNAL@ is above its threshold for long enough: @VALUE@, the threshold is @THRESHOLD@. \
         With mode = \"enforce\" a pod is chosen to leave."
        "Migrate VMs away, or lower the overcommitment. docs/runbooks/WaspSwapPressure.md."

    SignalOver Info "e37e1eb9d63648e3b36ebe854820aa57"
        "A signal of swap-driven eviction is over"
        { signal, ratio, value, threshold } []
        "The signal @SIGNAL@ is clearly below its threshold: @VALUE@, the threshold is @THRESHOLD@."
        "Nothing is to be done."

    PressureBegan Warn "68636148dbdd424a86490c75d040692c"
        "The node is under swap pressure"
        {} []
        "The node's condition SwapPressure is True, and stays so for a while after the last \
         signal."
        "docs/runbooks/WaspSwapPressure.md."

    PressureOver Info "ce29d43cdd70413faa9edb0c7fdf72ad"
        "The node is no longer under swap pressure"
        {} []
        "The node's condition SwapPressure is False."
        "Nothing is to be done."

    Evicting Warn "f9901de1f7e74eb1b6ef7b6505fde239"
        "A pod is asked to leave"
        { pod_namespace, pod_name, pod_uid } []
        "Swap hurts, and @POD_NAMESPACE@/@POD_NAME@ comes first of all pods that may go; the message \
         gives the reasons. The API server is asked to evict it; a further message reports its answer. As \
         the last resort, where that is configured, it is deleted."
        "Nothing is to be done: its owner starts it elsewhere, a VM migrates. To stop evicting at \
         once: `[eviction] mode = \"off\"`, `systemctl reload wasp-agent`."

    EvictionsLost Warn "01bbe46626294d678676645c065e4edf"
        "What was asked to leave is not known any more"
        { path } []
        "@PATH@ cannot be read, so that a pod may be on its way that the agent before has asked for. \
         None is evicted for ten minutes, in which it would have left."
        "Nothing is to be done if it happens once: the file is written anew. Else look at /run."

    WouldEvict Warn "f542ba201e8a4bf3bdfc35f168b3f2d3"
        "A pod would be asked to leave"
        { pod_namespace, pod_name, pod_uid } []
        "Swap hurts, and @POD_NAMESPACE@/@POD_NAME@ would be evicted if mode were \"enforce\"."
        "Migrate it by hand, or set `[eviction] mode = \"enforce\"`."

    EvictionAccepted Info "f33c247f365a4470a128b469f8d54e84"
        "A pod is on its way"
        { pod_namespace, pod_name, pod_uid, outcome } []
        "The API server has agreed that @POD_NAMESPACE@/@POD_NAME@ leaves (OUTCOME accepted or \
         migrating), the pod is gone already (gone), or it was not asked for after all because the \
         pressure was over (withdrawn)."
        "Nothing is to be done."

    EvictionRefused Warn "6b381c76162b4c0d862e9e07ad1ff357"
        "A pod is not evicted now"
        { pod_namespace, pod_name, pod_uid, outcome } []
        "The message has the API server's own words. OUTCOME budget (a PodDisruptionBudget), unwilling \
         (KubeVirt does not move this VM) and refused: the pod is asked again later, another one \
         meanwhile. OUTCOME busy (the API server is overloaded or broken) and unreachable: no pod is to \
         blame, and the agent asks again within seconds. OUTCOME unknown: the request was sent and no \
         answer came; no other pod is evicted until it is known what became of this one."
        "docs/runbooks/WaspEvictionFailing.md."

    PodLeft Info "831d144f121d420cbebdf6ee5b3fdd88"
        "An evicted pod has left"
        { pod_namespace, pod_name, pod_uid } []
        "The last of its cgroups is gone. The next pod is chosen only after a cooldown."
        "Nothing is to be done."

    WorkloadReturned Warn "98a77699051e4b648296e25f115faeec"
        "A workload came back after an eviction"
        { pod_namespace, pod_name, pod_uid, workload } []
        "@POD_NAMESPACE@/@POD_NAME@ started on this node within minutes after another pod of @WORKLOAD@ \
         was evicted from it. Evicting that workload does not relieve the node, so none of its pods is \
         evicted for an hour."
        "Find out why the scheduler puts it here again (node selectors, affinity, the only node with \
         room), or lower its memory: `kubectl -n @POD_NAMESPACE@ describe pod @POD_NAME@`. \
         `eviction.scheduling-guard = \"cordon\"` keeps new pods away while swap hurts."

    PodOverdue Warn "bad4136bb9c74a38843efe114c9e87ca"
        "An evicted pod did not leave in time"
        { pod_namespace, pod_name, pod_uid, stage } []
        "@POD_NAMESPACE@/@POD_NAME@ was to be gone by now (STAGE: @STAGE@)."
        "Processes that ignore SIGTERM, or a migration that does not end: `oc describe pod -n \
         @POD_NAMESPACE@ @POD_NAME@`."

    Suspended Info "bd2b851c5f444cdc88b0d656b0b30391"
        "A pod is suspended"
        { pod_namespace, pod_name, pod_uid } []
        "@POD_NAMESPACE@/@POD_NAME@ does not run, and its memory is in swap as far as its grant allows. The \
         message has the figures."
        "Nothing is to be done. `wasp-agent resume @POD_NAMESPACE@/@POD_NAME@` lets it run again."

    Resumed Info "e676581d989d4a26be6e38c84853234a"
        "A suspended pod runs again"
        { pod_namespace, pod_name, pod_uid } []
        "@POD_NAMESPACE@/@POD_NAME@ runs; its pages come back from swap as it uses them. The message has the \
         reason."
        "Nothing is to be done, unless it was not meant: docs/suspend.md has every reason."

    SuspendedLost Warn "64b6a6cbecf44cd2b46d87647a4a371a"
        "What was suspended is not known any more"
        {} []
        "/run/wasp-agent/suspended.json cannot be read, so that the agent lets every container run that is \
         frozen."
        "Nothing is to be done if it happens once. Else look at /run."

    GuardSet Warn "73169318296c408ab432dc50c3c68c18"
        "New pods are kept away"
        {} []
        "spec.unschedulable or the taint was set, since swap hurts and eviction.scheduling-guard \
         says so."
        "Nothing is to be done: it is taken back when the pressure is over."

    GuardRemoved Info "32f9250e07e246d2b246caa3b8a96f8c"
        "New pods are welcome again"
        {} []
        "What kept new pods away was taken back."
        "Nothing is to be done."

    GuardLeft Info "c8617b879e9346bc99599370ac1e8316"
        "What keeps new pods away is left as it is"
        {} []
        "Somebody else has set or undone it, or the Machine Config Operator is at work."
        "`oc adm uncordon` when you know why it was set."

    EventLost Warn "4e34459dd57647c88c28b79f40aa20ca"
        "An event was not sent"
        { reason } []
        "The journal has what it would have said."
        "The API server's words are in the message; `wasp-agent check` looks at what the node may \
         do."

    LastWordsLost Warn "89d0c2604f744ef8b70d542af9f9f9b2"
        "The API server was not told that the agent stops"
        {} []
        "The node's condition SwapPressure stays as it was until the agent runs again."
        "Nothing is to be done, if the agent comes back. Else remove a cordon by hand: `oc adm \
         uncordon`."

    TextfileLeft Warn "15920b26b55446168c2fc8c41cef7d88"
        "The file of metrics could not be removed"
        { path } []
        "node_exporter goes on reading old values from @PATH@."
        "Remove @PATH@."

    Provisioned Info "bbab11af0f9c417ba9f864234e57b96a"
        "The swap is as configured"
        {} []
        "`wasp-agent provision` or `deprovision` is done; the message is its summary."
        "Nothing is to be done."

    ProvisionStep Info "e83ec87db46a4b11b399e5980f5d7318"
        "A step of provisioning"
        {} []
        "Swap is made, switched on or off, or a setting of the kernel is changed; the message \
         says which."
        "Nothing is to be done."

    ProvisionDiffers Warn "8f08c3651fd348c2a5da0760f66dfe1c"
        "There is swap, but not as configured"
        {} []
        "The message says why: often pages that fit nowhere while an area would be replaced. Swap \
         that is there stays in use."
        "Do what the message says; then `systemctl restart wasp-swap`."

    ProvisionFailed Error "a96b0f6a766f44f88f8c8821303dfc46"
        "The swap could not be made"
        {} []
        "The message names path and reason: a full disk, a file that is not ours, a file system \
         that cannot hold swap, a kubelet that would not start (`failSwapOn`)."
        "Fix it, then `systemctl restart wasp-swap`. docs/operations.md has the exit statuses."

    ReclaimBegan Info "e1c13594fb39449e96b3d63a3b391a97"
        "Cold memory of a pod is reclaimed"
        { pod_namespace, pod_name, pod_uid } []
        "Proactive reclaim (`[reclaim]`) moves memory that @POD_NAMESPACE@/@POD_NAME@ does not use to \
         swap. The message is logged when that begins, and again only after the pod has needed memory \
         back."
        "Nothing is to be done."

    ReclaimBackedOff Info "e18a27090b0b4c799cd952946c43ceca"
        "A pod needs memory back that was reclaimed"
        { pod_namespace, pod_name, pod_uid, reason } []
        "The agent reclaims nothing from @POD_NAMESPACE@/@POD_NAME@ for a few minutes (REASON: @REASON@). The \
         pause is longer each time."
        "Nothing is to be done. Where it repeats, exempt the pod with the annotation \
         wasp-agent.kubevirt.io/reclaim: \"false\"."

    ReclaimPaused Info "f097a49fb5bf475da081745d1ccb03ce"
        "Proactive reclaim pauses on the whole node"
        { reason } []
        "Nothing is reclaimed from any pod (REASON: @REASON@)."
        "docs/reclaim.md describes each reason."

    ReclaimResumed Info "4732433207c04e5891381a6bf10b0cae"
        "Proactive reclaim goes on"
        {} []
        "What held it back on the whole node does not any more."
        "Nothing is to be done."

    DryRun Info "7a703a07a110428c8c02d9bc7404ed8a"
        "What would be done"
        {} [ cgroup, path, unit, swap_max, slice, change ]
        "With --dry-run nothing is changed."
        "Nothing is to be done."
}
