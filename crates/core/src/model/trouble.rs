//! Every kind of problem that the agent reports. STATUS, `wasp-agent status`, metrics and
//! `wasp-agent check` all use this list, the worst first.

use serde::{Deserialize, Serialize};

/// The severity of a problem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It passes without action.
    Note,
    /// The agent works, but less safely or more slowly.
    #[default]
    Warn,
    /// A part of the work of the agent, or of the node, fails.
    Fail,
}

/// Builds the enum and its table from one list, so that neither can lack a kind.
macro_rules! troubles {
    ($($(#[$doc:meta])* $kind:ident $word:literal $severity:ident [$($check:literal),*], [$($fix:literal),*];)*) => {
        /// A kind of problem. The order is the rank: the worst first.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Trouble {
            $($(#[$doc])* $kind,)*
        }

        impl Trouble {
            /// The worst first.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The word in the journal's field `PROBLEM`, in metrics and in JSON. A word never
            /// changes its meaning.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$kind => $word,)*
                }
            }

            pub fn severity(self) -> Severity {
                match self {
                    $(Self::$kind => Severity::$severity,)*
                }
            }

            /// The checks of `wasp-agent check` that look for the same cause on the host.
            pub fn checks(self) -> &'static [&'static str] {
                match self {
                    $(Self::$kind => &[$($check),*],)*
                }
            }

            /// Commands that fix the problem, or that show its cause.
            pub fn remedy(self) -> &'static [&'static str] {
                match self {
                    $(Self::$kind => &[$($fix),*],)*
                }
            }
        }
    };
}

troubles! {
    /// The hook's program does not run: no container can start while its definition is installed.
    HookProgram "hook-program" Fail ["hook-program", "hook-label"], ["wasp-agent check"];
    /// An eviction signal is above its threshold, or a pod is leaving.
    Eviction "eviction" Warn [], ["wasp-agent status --all --sort eviction"];
    /// The API server does not answer, or refuses.
    Api "api" Fail ["api-server", "certificate", "kubeconfig"], ["journalctl -u kubelet -b -p warning"];
    /// The node's client certificate has expired or soon expires.
    Certificate "certificate" Fail ["certificate"], ["journalctl -u kubelet -b -g certificate"];
    /// The configuration on disk is wrong.
    Reload "reload" Fail ["configuration", "agent-settings"], ["wasp-agent check-config", "systemctl reload-or-restart wasp-agent"];
    /// Files beside the configuration that the agent does not read.
    NotRead "configuration-not-read" Warn ["configuration"], ["wasp-agent check"];
    /// A disk of the swap fails.
    SwapDisk "swap-disk-fails" Fail ["swap-devices"], ["wasp-agent check"];
    Cgroup "cgroup" Fail ["cgroup-v2", "swap-controller", "controllers-kubepods"], ["wasp-agent check"];
    /// A limit above the pods is tighter than theirs.
    PodsLimit "pods-limit" Fail ["limits-above-pods"], ["wasp-agent check"];
    LostPods "lost-pods" Fail [], ["systemctl cat kubelet", "ls -d /sys/fs/cgroup/kube*"];
    /// Limits that cannot be read or set.
    Limits "limits" Fail [], ["journalctl -u wasp-agent -b -p err"];
    Inotify "inotify" Warn [], ["sysctl fs.inotify.max_user_watches"];
    Memory "memory" Fail [], [];
    Systemd "systemd" Warn ["systemd-bus"], ["systemctl start dbus.socket"];
    /// Limits that the agent could not set in systemd.
    Untold "systemd-limits" Warn ["systemd-bus"], ["systemctl start dbus.socket"];
    Records "records" Warn ["run-space"], ["df -h /run/wasp-agent/pods"];
    Pods "pods" Warn [], ["journalctl -u wasp-agent -b -p warning"];
    Signals "signals" Fail [], [];
    Evictions "evictions" Fail ["run-space"], ["df -h /run/wasp-agent"];
    /// The state of suspended pods cannot be saved, or a pod cannot be thawed.
    Suspend "suspend" Fail ["run-space"], ["wasp-agent suspended"];
    /// The commands' socket does not work.
    Control "control" Warn ["run-space"], ["df -h /run/wasp-agent"];
    Status "status" Fail ["run-space"], ["df -h /run/wasp-agent"];
    Announce "announce" Warn ["may-patch-node-status"], ["journalctl -u wasp-agent -b -p warning"];
    Kubelet "kubelet" Fail ["kubelet-config", "kubelet-fail-swap-on", "kubelet-swap-behavior"], ["wasp-agent check"];
    /// The kubelet counts another amount of swap than the node has.
    KubeletSwap "kubelet-swap" Warn [], ["systemctl restart kubelet"];
    Protection "protection" Warn ["protection"], ["systemctl restart wasp-agent"];
    Rival "conflict" Fail ["daemonset-hook", "foreign-hook"], ["wasp-agent check"];
    /// Units or the swapfile of the DaemonSet agent are left on the node.
    Leftovers "leftovers" Warn ["daemonset-units"], ["wasp-agent check"];
    /// A state file of the agent cannot be read.
    State "state" Warn ["state"], ["wasp-agent check"];
    /// Containers start with a program that the agent does not know.
    Runtime "runtime" Warn ["crio-runtime"], ["wasp-agent check"];
    /// No hook is installed.
    Hook "hook" Warn ["hook-installed", "hook-program", "crio-hooks-folder"], ["journalctl -u wasp-agent -b -p warning"];
    Oomd "oomd" Warn ["systemd-oomd"], ["systemctl set-property -- -.slice ManagedOOMSwap=auto ManagedOOMMemoryPressure=auto"];
    /// Another program keeps changing limits.
    Contended "contended" Fail [], ["journalctl -u wasp-agent -b -g 'another writer'"];
    /// The kubelet's limits differ from LimitedSwap.
    Differs "kubelet-limits" Warn [], ["wasp-agent plan", "# with limits.repair = true the agent repairs them; else restart the pods that the plan names"];
    /// Pods of the same workload are evicted again and again.
    EvictedOften "evicted-often" Warn [], ["# raise its memory request, or keep it off this node (docs/evictions.md)", "wasp-agent report --since 1d"];
    Pressure "pressure" Warn ["psi"], ["wasp-agent check"];
    /// Proactive reclaim is configured, but the kernel does not support it.
    Reclaim "reclaim" Warn [], ["wasp-agent check-config"];
    Swap "swap" Fail ["swap", "swap-provisioning", "kubelet-fail-swap-on", "kubelet-config"], ["systemctl restart wasp-swap"];
    /// No swap is configured.
    NoSwap "no-swap" Warn ["swap"], ["wasp-agent check"];
    /// Another program's swap is not what is configured here.
    OtherSwap "other-swap" Warn ["other-swap"], ["wasp-agent check"];
    /// All devices of the swap are full.
    SwapFull "swap-full" Fail ["swap-used"], ["wasp-agent status --all", "# then move VMs to other nodes, or raise overcommit-percent"];
    /// The order of the swap's devices makes swapping slow.
    SwapDevices "swap-devices" Warn ["swap-devices"], ["wasp-agent check"];
    /// `vm.swappiness = 0`.
    Swappiness "swappiness" Warn ["swappiness"], ["sysctl -w vm.swappiness=60"];
    /// `vm.overcommit_memory = 2`.
    OvercommitMemory "overcommit-memory" Warn ["overcommit-memory"], ["sysctl -w vm.overcommit_memory=0"];
    Watermarks "watermarks" Warn ["watermarks"], ["systemctl restart wasp-swap"];
    /// The configured scheduling guard is not in place.
    Guard "guard" Warn [], ["wasp-agent check-config"];
    Metrics "metrics" Warn [], ["ss -ltnp"];
    Textfile "textfile" Warn [], ["wasp-agent check-config"];
    /// Events cannot be recorded for `wasp-agent report`.
    History "history" Warn [], ["df -h /var/lib/wasp-agent/history", "# then, or if the directory was removed: systemctl restart wasp-agent"];
    /// Containers use more swap than their grant.
    Above "above-grant" Note [], [];
    /// Pods hold more swap than their containers may have together.
    PodsAbove "pods-above-grant" Note [], [];
}

/// A current problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub about: Trouble,
    pub text: String,
    /// `namespace/name` of the affected pods, if they are few and known.
    pub pods: Vec<String>,
    /// Commands: those of the kind, unless the reporting code gives more specific ones.
    pub remedy: Vec<String>,
}

impl Problem {
    pub fn new(about: Trouble, text: impl Into<String>) -> Self {
        let remedy = about.remedy().iter().map(|&line| line.to_owned()).collect();
        Self { about, text: text.into(), pods: Vec::new(), remedy }
    }

    #[must_use]
    pub fn with_remedy(self, remedy: Vec<String>) -> Self {
        Self { remedy, ..self }
    }
}

impl Problem {
    /// Joins problems of one kind, with the remedies of all.
    pub fn joined(all: Vec<Self>) -> Option<Self> {
        all.into_iter().reduce(|mut first, next| {
            first.text = format!("{}; {}", first.text, next.text);
            first.pods.extend(next.pods);
            first.remedy.extend(next.remedy);
            first
        })
    }

    /// Returns the remedy's commands in one line; `None` if there are none, or none is needed.
    pub fn fix(&self) -> Option<String> {
        fix(self.about.severity(), &self.remedy)
    }
}

/// Joins commands into one line, without the remarks between them.
pub fn fix(severity: Severity, remedy: &[String]) -> Option<String> {
    let (first, rest) = remedy.split_first().filter(|_| severity > Severity::Note)?;
    // A manual step comes before the commands or after them; a remark about an alternative is
    // omitted.
    let by_hand = first.strip_prefix("# ");
    let last = rest.iter().find_map(|line| line.strip_prefix("# then "));
    let commands = rest.iter().filter(|line| !line.starts_with('#')).map(String::as_str);
    let commands: Vec<&str> =
        by_hand.is_none().then_some(&**first).into_iter().chain(commands).collect();
    let commands = commands.join(" && ");
    let steps = [by_hand.unwrap_or_default(), &commands, last.unwrap_or_default()];
    let steps: Vec<&str> = steps.into_iter().filter(|step| !step.is_empty()).collect();
    Some(steps.join("; then "))
}

/// Returns all texts and the fix of the first problem as one sentence.
pub fn sentence(problems: &[Problem]) -> Option<String> {
    let first = problems.first()?;
    let fix = first.fix().map_or_else(String::new, |fix| format!(" [fix: {fix}]"));
    let others = problems[1..].iter().map(|problem| format!("; {}", problem.text));
    Some(others.fold(format!("{}{fix}", first.text), |all, other| all + &other))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_a_word_of_its_own() {
        let words: BTreeSet<_> = Trouble::ALL.iter().map(|trouble| trouble.word()).collect();
        assert_eq!(words.len(), Trouble::ALL.len());
        let plain = |word: &str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        assert!(words.into_iter().all(plain));
    }

    #[test]
    fn a_check_that_is_named_exists() {
        let ids: BTreeSet<_> = crate::decide::check::CHECKS.iter().map(|check| check.id).collect();
        for check in Trouble::ALL.iter().flat_map(|trouble| trouble.checks()) {
            assert!(ids.contains(check), "{check}");
        }
    }
}
