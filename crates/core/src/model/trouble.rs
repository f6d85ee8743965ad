//! Every kind of trouble that the agent reports. STATUS, `wasp-agent status`, metrics and
//! `wasp-agent check` draw on this one list, the worst first.

use serde::{Deserialize, Serialize};

/// How bad a trouble is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It passes by itself.
    Note,
    /// The agent works, with less safety or speed.
    #[default]
    Warn,
    /// A part of the agent's work, or of the node's, is not done.
    Fail,
}

/// Makes the enum and its table of one list, so that neither can lack a kind.
macro_rules! troubles {
    ($($(#[$doc:meta])* $kind:ident $word:literal $severity:ident $check:expr, [$($fix:literal),*];)*) => {
        /// A kind of trouble. The order is the rank: the worst first.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Trouble {
            $($(#[$doc])* $kind,)*
        }

        impl Trouble {
            /// The worst first.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// In the journal's field `ABOUT`, in metrics and in JSON. A word never changes its meaning.
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

            /// The check of `wasp-agent check` that looks for the same cause on the host.
            pub fn check(self) -> Option<&'static str> {
                match self {
                    $(Self::$kind => $check,)*
                }
            }

            /// Commands that fix the trouble, or that show whom it comes from.
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
    HookProgram "hook-program" Fail Some("hook-program"), ["dnf reinstall -y wasp-agent"];
    /// A signal of eviction is above its threshold, or a pod is on its way.
    Eviction "eviction" Warn None, ["wasp-agent status"];
    /// The API server does not answer, or refuses.
    Api "api" Fail Some("api-server"), ["journalctl -u kubelet -b -p warning"];
    /// The node's client certificate has expired or soon expires.
    Certificate "certificate" Fail Some("certificate"), ["journalctl -u kubelet -b -g certificate"];
    /// The configuration on disk is wrong.
    Reload "reload" Fail Some("configuration"), ["wasp-agent check-config", "systemctl reload wasp-agent"];
    Cgroup "cgroup" Fail Some("cgroup-v2"), ["grubby --update-kernel=ALL --args=systemd.unified_cgroup_hierarchy=1", "systemctl reboot"];
    LostPods "lost-pods" Fail None, ["wasp-agent status"];
    /// Limits that cannot be read or set.
    Limits "limits" Fail None, ["journalctl -u wasp-agent -b -p err"];
    Inotify "inotify" Warn None, ["sysctl fs.inotify.max_user_watches"];
    Memory "memory" Fail None, [];
    Systemd "systemd" Warn Some("systemd-bus"), ["systemctl start dbus.socket"];
    /// Limits that systemd could not be told.
    Untold "untold" Warn Some("systemd-bus"), ["systemctl start dbus.socket"];
    Records "records" Warn Some("run-space"), ["df /run"];
    Pods "pods" Warn None, ["journalctl -u wasp-agent -b -p warning"];
    Signals "signals" Fail None, [];
    Evictions "evictions" Fail Some("run-space"), ["df /run"];
    Status "status" Fail Some("run-space"), ["df /run"];
    Announce "announce" Warn Some("may-patch-node-status"), ["wasp-agent check"];
    Kubelet "kubelet" Fail None, ["wasp-agent check"];
    Protection "protection" Warn Some("protection"), ["systemctl restart wasp-agent"];
    Rival "rival" Fail Some("daemonset-hook"), ["wasp-agent check"];
    /// No hook is installed.
    Hook "hook" Warn Some("hook-installed"), ["wasp-agent check"];
    Oomd "oomd" Warn Some("systemd-oomd"), ["systemctl set-property -- -.slice ManagedOOMSwap=auto ManagedOOMMemoryPressure=auto"];
    /// Another writer keeps changing limits.
    Contended "contended" Fail None, ["journalctl -u wasp-agent -b -g 'another writer'"];
    /// The kubelet's limits are not what LimitedSwap gives.
    Differs "differs" Warn None, ["systemctl restart kubelet"];
    Pressure "pressure" Warn Some("psi"), ["grubby --update-kernel=ALL --args=psi=1", "systemctl reboot"];
    Swap "swap" Fail Some("swap"), ["systemctl restart wasp-swap"];
    Watermarks "watermarks" Warn Some("watermarks"), ["systemctl restart wasp-swap"];
    /// A configured guard is not applied.
    Guard "guard" Warn None, ["wasp-agent check-config"];
    Metrics "metrics" Warn None, ["ss -ltnp"];
    Textfile "textfile" Warn None, ["wasp-agent check-config"];
    /// Containers use more swap than their grant.
    Above "above" Note None, [];
    /// Pods hold more swap than their containers may have together.
    PodsAbove "pods-above" Note None, [];
}

/// A trouble that is there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub about: Trouble,
    pub text: String,
    /// `namespace/name` of the pods concerned, as far as they are few and known.
    pub pods: Vec<String>,
    /// Commands; the kind's own unless the place knows better.
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

/// What is wrong, in one sentence: all texts, and what fixes the first.
pub fn sentence(problems: &[Problem]) -> Option<String> {
    let texts: Vec<&str> = problems.iter().map(|problem| &*problem.text).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
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
        for check in Trouble::ALL.iter().filter_map(|trouble| trouble.check()) {
            assert!(ids.contains(check), "{check}");
        }
    }
}
