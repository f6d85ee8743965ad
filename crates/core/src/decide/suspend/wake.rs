//! Decides when a suspended pod must be resumed.

use std::{fmt, time::Duration};

use crate::{
    config::settings::SuspendSettings,
    model::{
        pod::Pod,
        suspend::{ProcessesSeen, Sleeper, SuspendStage, Suspended},
    },
};

/// The reason for resuming a suspended pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wake {
    Asked,
    Terminating,
    Finished,
    Gone,
    Evicted,
    Resized,
    ContainersChanged,
    Signalled,
    Entered,
    /// By another program.
    Thawed,
    /// KubeVirt runs the VM again.
    VmRuns,
    WatchLost(Duration),
    AgentStops,
    /// The agent that suspended the pod ended before it was done.
    Interrupted,
    Failed(String),
}

impl fmt::Display for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("an administrator asked for it"),
            Self::Terminating => f.write_str("the pod is being deleted"),
            Self::Finished => f.write_str("the pod has finished"),
            Self::Gone => f.write_str("the pod is gone"),
            Self::Evicted => f.write_str("the pod is being evicted"),
            Self::Resized => f.write_str("the pod is being resized"),
            Self::ContainersChanged => f.write_str("a container of the pod has started or ended"),
            Self::Signalled => f.write_str("one of its processes has received a signal to end"),
            Self::Entered => f.write_str("a process has entered one of its containers"),
            Self::Thawed => f.write_str("another program has thawed it"),
            Self::VmRuns => f.write_str("KubeVirt runs the VM again"),
            Self::WatchLost(span) => {
                write!(f, "the API server has sent nothing for {} s", span.as_secs())
            }
            Self::AgentStops => f.write_str("the agent stops"),
            Self::Interrupted => f.write_str("the agent restarted before it had suspended the pod"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl Wake {
    /// Returns true for a reason that needs no investigation.
    pub fn is_expected(&self) -> bool {
        matches!(self, Self::Asked | Self::VmRuns | Self::Finished | Self::Gone)
    }
}

/// Returns the reason why `suspended` must be resumed now; `pod` is the pod in the API server.
pub(super) fn wake(
    settings: &SuspendSettings,
    suspended: &Suspended,
    pod: Option<&Pod>,
    evicting: bool,
    silence: Duration,
) -> Option<Wake> {
    let Some(pod) = pod else { return Some(Wake::Gone) };
    if pod.is_terminating() {
        return Some(Wake::Terminating);
    }
    if pod.finished {
        return Some(Wake::Finished);
    }
    if evicting || pod.evicted_by_api || pod.disrupted {
        return Some(Wake::Evicted);
    }
    if suspended.vm && !pod.vm_paused {
        return Some(Wake::VmRuns);
    }
    if pod.resources != suspended.resources {
        return Some(Wake::Resized);
    }
    for sleeper in &suspended.containers {
        let Some(container) = pod.container(&sleeper.name) else {
            return Some(Wake::ContainersChanged);
        };
        if container.id.as_ref().is_some_and(|id| *id != sleeper.id) {
            return Some(Wake::ContainersChanged);
        }
        // The spec shows a resize before the kubelet has carried it out.
        if container.effective() != sleeper.resources || container.spec != sleeper.spec {
            return Some(Wake::Resized);
        }
    }
    (silence > settings.longest_silence).then_some(Wake::WatchLost(silence))
}

/// Returns true for a signal that another program may send to end or restart a program: `SIGTERM`,
/// or the image's `STOPSIGNAL`. The others come from timers, children and files of the program
/// itself.
fn is_sent(signal: u32) -> bool {
    const OWN: [u32; 6] = [
        /* ALRM */ 14, /* CHLD */ 17, /* URG */ 23, /* VTALRM */ 26,
        /* PROF */ 27, /* IO */ 29,
    ];
    // systemd as a container's program stops at SIGRTMIN+3. Other real-time signals are timers'.
    (signal < 32 && !OWN.contains(&signal)) || signal == 37
}

impl Sleeper {
    /// Compares a look with those before. The first one at a frozen container determines its
    /// processes.
    pub(super) fn looked(&mut self, stage: SuspendStage, look: &ProcessesSeen) -> Option<Wake> {
        let sent = |(process, pending): (&u32, &u64)| {
            let new = pending & !self.pending.get(process).copied().unwrap_or(0);
            (1..=64).any(|signal| new >> (signal - 1) & 1 == 1 && is_sent(signal))
        };
        if look.pending.iter().any(sent) {
            return Some(Wake::Signalled);
        }
        if stage == SuspendStage::Asleep && !look.freezing {
            return Some(Wake::Thawed);
        }
        if let Some(known) = self.processes.as_ref().filter(|_| !self.probed) {
            return (!look.processes.is_subset(known)).then_some(Wake::Entered);
        }
        self.processes = look.frozen.then(|| look.processes.clone());
        None
    }
}
