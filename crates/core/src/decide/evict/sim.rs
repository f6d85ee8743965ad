//! A simulated node with its API server and controllers around the decision code, second by second
//! and deterministic. The server answers with the texts of real ones (Kubernetes 1.36, KubeVirt 1.1
//! to 1.9), which [`classify`] has to understand.

use std::{sync::Arc, time::Duration};

use super::{
    answer::{EvictionAnswer, Refusal, classify},
    efforts::Efforts,
    evictions::Evictions,
    machine::{Inputs, decide},
    signals::Signals,
    verdict::{MachineVerdict, Victim},
};
use crate::{
    config::settings::{EvictionMode, EvictionSettings, Settings},
    fixtures::pod,
    model::{
        clock::{SinceBoot, UnixTime},
        pod::{Migration, Owner, OwnerKind, Pod, PodUid, Pods},
        pressure::{ContainerUsage, PodUsage, Sample, Stalled},
    },
};

pub(crate) const MIB: u64 = 1 << 20;
/// The simulation starts at this time, in seconds since 1970.
const EPOCH: i64 = 1_790_000_000;

fn unix_time(second: u64) -> UnixTime {
    UnixTime(EPOCH) + Duration::from_secs(second)
}

pub(crate) fn enforcing() -> EvictionSettings {
    EvictionSettings { mode: EvictionMode::Enforce, ..Settings::defaults().eviction }
}

/// The version of KubeVirt that guards the VMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KubeVirt {
    /// 1.0 to 1.2: the webhook marks the VM and lets the request pass; KubeVirt's budget refuses it.
    V1_1,
    /// 1.3 and 1.4: the first answer is the webhook's, later ones are the budget's.
    V1_3,
    /// 1.5 and later: all answers are the webhook's.
    V1_5,
}

/// The reaction of a pod to its eviction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Takes {
    Leaves {
        after: u64,
    },
    Migrates {
        after: u64,
    },
    /// Its migration fails, and KubeVirt gives up after this time.
    MigrationFails {
        after: u64,
    },
    /// KubeVirt refuses to migrate it.
    Unwilling,
    Budget,
    Refuses,
    /// The API server no longer has the pod, whose containers still run.
    IsGone,
    /// No answer arrives, and nothing happens.
    Silent,
    /// The server answers 500, because the webhook has not answered it in time; nothing happens.
    Fails,
    /// It leaves, and the answer is lost.
    Lost {
        after: u64,
    },
}

/// The behaviour of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SimServer {
    Works,
    /// API Priority and Fairness refuses every request.
    Overloaded,
    /// The server answers 503 and carries out nothing.
    Restarts,
    /// The server answers 500 `etcdserver: request timed out`, but carries out the request.
    TimesOutAfterCommit,
}

#[derive(Debug)]
pub(crate) struct SimPod {
    pub pod: Arc<Pod>,
    pub usage: PodUsage,
    pub takes: Takes,
    /// A controller creates the pod again on this node, this many seconds after it has left.
    pub comes_back_after: Option<u64>,
    pub leaves_at: Option<u64>,
    marked: bool,
    unmarked_at: Option<u64>,
}

impl SimPod {
    pub(crate) fn new(
        name: &str,
        resources: &str,
        memory_mib: u64,
        swap_mib: u64,
        takes: Takes,
    ) -> Self {
        let mut pod = pod(name, &[resources]);
        pod.owner = owner(OwnerKind::Other, name);
        let usage = PodUsage {
            uid: pod.uid.clone(),
            containers: vec![ContainerUsage {
                name: Some("c0".into()),
                working_set_bytes: memory_mib * MIB,
                swap_bytes: swap_mib * MIB,
            }],
            slice: None,
            effort: None,
        };
        let pod = Arc::new(pod);
        let (comes_back_after, leaves_at, unmarked_at) = (None, None, None);
        Self { pod, usage, takes, comes_back_after, leaves_at, marked: false, unmarked_at }
    }

    /// Builds the launcher pod of a VM.
    pub(crate) fn vm(name: &str, memory_mib: u64, swap_mib: u64, takes: Takes) -> Self {
        let mut vm = Self::new(name, "- - 100Mi -", memory_mib, swap_mib, takes);
        let pod = vm.change();
        pod.virt_launcher = true;
        pod.owner = owner(OwnerKind::VirtualMachineInstance, name);
        vm
    }

    pub(crate) fn change(&mut self) -> &mut Pod {
        Arc::make_mut(&mut self.pod)
    }
}

pub(crate) fn owner(kind: OwnerKind, name: &str) -> Option<Owner> {
    Some(Owner { kind, name: name.into(), uid: format!("{name}-owner").into(), controller: true })
}

/// A node whose pods thrash while they use more than its RAM.
pub(crate) struct Sim {
    pub settings: EvictionSettings,
    pub pods: Vec<SimPod>,
    pub kubevirt: KubeVirt,
    pub server: SimServer,
    pub ram_mib: u64,
    pub signals: Signals,
    pub efforts: Efforts,
    pub evictions: Evictions,
    pub second: u64,
    pub sample: Sample,
    pub fresh: bool,
    /// The pods as the API server has reported them last.
    pub told: Pods,
    /// Second and name of each request that the agent decided on.
    pub asked: Vec<(u64, String)>,
    /// Second and name of each pod that a request has set moving.
    pub moved: Vec<(u64, String)>,
    pub held_back: Vec<String>,
    /// Second of the return, and the pod that a controller creates again.
    pub returns: Vec<(u64, SimPod)>,
    pub made: u64,
    pub critical: bool,
}

impl Sim {
    pub(crate) fn new(pods: Vec<SimPod>) -> Self {
        Self {
            settings: enforcing(),
            pods,
            kubevirt: KubeVirt::V1_5,
            server: SimServer::Works,
            ram_mib: 1000,
            signals: Signals::default(),
            efforts: Efforts::default(),
            evictions: Evictions::default(),
            second: 0,
            sample: Sample {
                at: SinceBoot::default(),
                swapped_in_pages: 0,
                swapped_out_pages: 0,
                direct_reclaims: 0,
                ram_bytes: 1000 * MIB,
                swap_bytes: 1000 * MIB,
                swap_used_bytes: 0,
                working_set_bytes: 0,
                system: None,
                pods: Some(Stalled::default()),
            },
            fresh: true,
            told: Pods::new(),
            asked: Vec::new(),
            moved: Vec::new(),
            held_back: Vec::new(),
            returns: Vec::new(),
            made: 0,
            critical: false,
        }
    }

    pub(crate) fn now(&self) -> SinceBoot {
        SinceBoot(Duration::from_secs(self.second))
    }

    pub(crate) fn used_mib(&self) -> u64 {
        self.pods.iter().map(|pod| pod.usage.bytes() / MIB).sum()
    }

    pub(crate) fn step(&mut self) -> MachineVerdict {
        let over = self.used_mib().saturating_sub(self.ram_mib);
        self.step_with(over * 20, if over > 0 { 300_000 } else { 0 })
    }

    pub(crate) fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            let _ = self.step();
        }
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.asked.iter().map(|(_, name)| name.as_str()).collect()
    }

    /// Number of pods that the agent's requests have set moving and that have not left yet.
    pub(crate) fn moving(&self) -> usize {
        self.moving_names().len()
    }

    pub(crate) fn moving_names(&self) -> Vec<String> {
        let moving = self.pods.iter().filter(|pod| pod.leaves_at.is_some() || pod.marked);
        moving.map(|pod| pod.pod.name.to_string()).collect()
    }

    pub(crate) fn is_here(&self, name: &str) -> bool {
        self.pods.iter().any(|pod| &*pod.pod.name == name)
    }

    /// Runs one second with this many pages each way and this many microseconds of waiting.
    pub(crate) fn step_with(&mut self, pages: u64, full_micros: u64) -> MachineVerdict {
        self.second += 1;
        self.leave_and_return();
        let sample = &mut self.sample;
        sample.at = SinceBoot(Duration::from_secs(self.second));
        sample.swapped_in_pages += pages;
        sample.swapped_out_pages += pages;
        sample.swap_used_bytes = self.pods.iter().map(|pod| pod.usage.swap_bytes()).sum();
        sample.working_set_bytes =
            self.pods.iter().map(|pod| pod.usage.bytes() - pod.usage.swap_bytes()).sum();
        if let Some(stalled) = &mut sample.pods {
            stalled.some_micros += full_micros;
            stalled.full_micros += full_micros;
        }
        let heard =
            self.fresh && matches!(self.server, SimServer::Works | SimServer::TimesOutAfterCommit);
        if heard {
            self.told = self.pods.iter().map(|p| (p.pod.uid.clone(), p.pod.clone())).collect();
        }
        let usage: Vec<_> = self.pods.iter().map(|pod| pod.usage.clone()).collect();
        let inputs = Inputs {
            sample: self.sample,
            wall_clock: unix_time(self.second),
            pods: &self.told,
            usage: &usage,
            pods_are_fresh: self.fresh,
            others_relieve: false,
        };
        let (signals, efforts) = (&mut self.signals, &mut self.efforts);
        let verdict = decide(&self.settings, inputs, signals, efforts, &mut self.evictions);
        self.critical = verdict.readings.iter().any(|reading| reading.critical);
        self.held_back.extend(verdict.held_back.clone());
        if let Some(victim) = &verdict.evict {
            self.asked.push((self.second, victim.ranked.name.clone()));
            self.answer(victim);
        }
        verdict
    }

    fn leave_and_return(&mut self) {
        let (second, now) = (self.second, self.now());
        let (left, stay): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pods)
            .into_iter()
            .partition(|pod| pod.leaves_at.is_some_and(|at| at <= second));
        self.pods = stay;
        for mut gone in left {
            if self.evictions.left(&self.settings, &gone.pod.uid, now) {
                self.signals.clear();
            }
            if let Some(after) = gone.comes_back_after {
                self.made += 1;
                let uid = format!("{}-{}", gone.pod.uid, self.made);
                let name = format!("{}-{}", gone.pod.name, self.made);
                let again = gone.change();
                again.uid = PodUid::new(&uid).unwrap();
                again.name = name.into();
                again.created = unix_time(second + after);
                again.deletion_deadline = None;
                // KubeVirt starts a VM again as a new instance.
                if let Some(owner) = &mut again.owner
                    && owner.kind == OwnerKind::VirtualMachineInstance
                {
                    owner.uid = uid.into();
                }
                gone.usage.uid = gone.pod.uid.clone();
                (gone.leaves_at, gone.marked) = (None, false);
                self.returns.push((second + after, gone));
            }
        }
        for pod in &mut self.pods {
            if pod.unmarked_at.is_some_and(|at| at <= second) {
                (pod.marked, pod.unmarked_at) = (false, None);
                pod.change().migration = None;
            }
        }
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.returns).into_iter().partition(|(at, _)| *at <= second);
        self.returns = later;
        self.pods.extend(due.into_iter().map(|(_, pod)| pod));
    }

    /// Delivers the answer to the agent's request, as the agent reads it.
    fn answer(&mut self, victim: &Victim) {
        if self.settings.mode == EvictionMode::Observe {
            return;
        }
        let uid = victim.ranked.uid.clone();
        let Some(at) = self.pods.iter().position(|pod| pod.pod.uid == uid) else { panic!() };
        let answer = match self.server {
            SimServer::Works => self.carry_out(at, victim.last_resort),
            SimServer::Overloaded => Some(Err(Refusal {
                code: 429,
                message: "Too many requests, please try again later.".into(),
                retry_after: Some(Duration::from_secs(1)),
                ..Refusal::default()
            })),
            SimServer::Restarts => Some(Err(Refusal {
                code: 503,
                message: "apiserver is shutting down".into(),
                ..Refusal::default()
            })),
            SimServer::TimesOutAfterCommit => {
                let _ = self.carry_out(at, victim.last_resort);
                Some(Err(Refusal {
                    code: 500,
                    message: "etcdserver: request timed out".into(),
                    ..Refusal::default()
                }))
            }
        };
        let Some(answer) = answer else { return };
        let answer = match answer {
            Ok(()) => EvictionAnswer::Accepted,
            Err(refusal) => classify(&refusal, victim.ranked.launcher),
        };
        // The agent reads the pod again if the server may have carried out its request.
        let pod = &self.pods[at];
        let answer = match answer {
            EvictionAnswer::Unknown { text } if matches!(pod.takes, Takes::Lost { .. }) => {
                EvictionAnswer::Unknown { text }
            }
            EvictionAnswer::Unknown { .. } if pod.pod.is_terminating() => EvictionAnswer::Accepted,
            EvictionAnswer::Unknown { text } if pod.pod.migration == Some(Migration::Leaving) => {
                EvictionAnswer::Migrating { text }
            }
            // KubeVirt 1.1 shows no migration, so its absence proves nothing.
            EvictionAnswer::Unknown { text } if pod.pod.virt_launcher => {
                EvictionAnswer::Unknown { text }
            }
            EvictionAnswer::Unknown { text } => EvictionAnswer::Busy { retry_after: None, text },
            answer => answer,
        };
        self.evictions.answered(&self.settings, &uid, &answer, self.now());
    }

    /// Carries out a request; `None` means that no answer arrives.
    fn carry_out(&mut self, at: usize, delete: bool) -> Option<Result<(), Refusal>> {
        let (second, kubevirt) = (self.second, self.kubevirt);
        let pod = &mut self.pods[at];
        let name = pod.pod.name.to_string();
        let mut leaves = |pod: &mut SimPod, after: u64| {
            pod.leaves_at = Some(second + after);
            pod.change().deletion_deadline = Some(unix_time(second + 30));
            self.moved.push((second, name.clone()));
        };
        if delete {
            leaves(pod, 5);
            return Some(Ok(()));
        }
        let budget = |name: &str| Refusal {
            code: 429,
            reason: "TooManyRequests".into(),
            message: "Cannot evict pod as it would violate the pod's disruption budget.".into(),
            causes: vec![(
                "DisruptionBudget".into(),
                format!("The disruption budget {name} needs 1 healthy pods and has 1 currently"),
            )],
            retry_after: None,
        };
        let webhook = |words: &str| Refusal {
            code: 429,
            message: format!(
                "admission webhook \"virt-launcher-eviction-interceptor.kubevirt.io\" denied the \
                 request: {words}"
            ),
            ..Refusal::default()
        };
        let evacuates = "Eviction triggered evacuation of VMI \"default/vm\"";
        Some(match pod.takes {
            Takes::Leaves { after } => {
                leaves(pod, after);
                Ok(())
            }
            Takes::Migrates { after } | Takes::MigrationFails { after } => {
                let before = pod.marked;
                if !before {
                    pod.marked = true;
                    if kubevirt != KubeVirt::V1_1 {
                        pod.change().migration = Some(Migration::Leaving);
                    }
                    match pod.takes {
                        Takes::Migrates { .. } => pod.leaves_at = Some(second + after),
                        _ => pod.unmarked_at = Some(second + after),
                    }
                    self.moved.push((second, name));
                }
                Err(match (kubevirt, before) {
                    (KubeVirt::V1_1, _) | (KubeVirt::V1_3, true) => {
                        budget("kubevirt-disruption-budget-x7x2p")
                    }
                    (KubeVirt::V1_3 | KubeVirt::V1_5, false) => webhook(evacuates),
                    (KubeVirt::V1_5, true) => {
                        webhook(&format!("Evacuation in progress: {evacuates}"))
                    }
                })
            }
            Takes::Unwilling => Err(webhook(
                "VMI vm is configured with an eviction strategy but is not live-migratable",
            )),
            Takes::Budget => Err(budget("web")),
            Takes::Refuses => {
                Err(Refusal { code: 403, message: "not allowed".into(), ..Refusal::default() })
            }
            Takes::IsGone => {
                let message = "pods \"x\" not found".into();
                Err(Refusal { code: 404, message, ..Refusal::default() })
            }
            Takes::Silent => return None,
            Takes::Fails => {
                let message = "failed calling webhook: context deadline exceeded".into();
                Err(Refusal { code: 500, message, ..Refusal::default() })
            }
            Takes::Lost { after } => {
                leaves(pod, after);
                Err(Refusal { code: 504, message: "timeout".into(), ..Refusal::default() })
            }
        })
    }
}
