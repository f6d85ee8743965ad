//! Suspended pods: requested over the control socket, suspended by separate tasks, resumed by the
//! loop.

mod errors;
mod sleep;
mod wake;

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::oneshot;

use errors::SuspendError;
use wake::RETRY;

use super::{Agent, effects::Effects, health::Health};
use crate::{
    act::offload::{self, Orders},
    decide::suspend::{Suspensions, Wake},
    errors::FileError,
    model::{
        clock::SinceStart,
        pod::PodUid,
        published,
        suspend::{Reply, SuspendRequest, SuspendStage, Suspended, Usage},
        trouble::Trouble,
    },
    roots::Roots,
    state::StateFile,
};

type SuspendReply = oneshot::Sender<Reply>;

/// News for the loop.
#[derive(Debug)]
pub(super) enum SuspendNews {
    Asked(SuspendRequest, SuspendReply),
    /// A pod is suspended, or could not be suspended; the number is [`Falling::generation`].
    Fell(Box<Suspended>, u64, Result<Vec<Option<Usage>>, SuspendError>),
    /// A problem with the control socket.
    Problem(Option<String>),
}

/// A pod that is being suspended.
#[derive(Debug)]
struct Falling {
    orders: Arc<Orders>,
    answer: SuspendReply,
    /// Distinguishes its task from that of an earlier suspension, which was cancelled and may end
    /// later.
    generation: u64,
}

#[derive(Debug)]
pub(super) struct Suspend {
    pods: Suspensions,
    falling: BTreeMap<PodUid, Falling>,
    /// Number of tasks that may still freeze something.
    at_work: usize,
    generation: u64,
    /// The reason why an earlier agent's frozen pods are unknown; the file stays until all of them
    /// run.
    lost: Option<String>,
    /// Problems, each until it is solved: thaws, the thaw of all, the file.
    unthawed: BTreeMap<PodUid, String>,
    unthawed_lost: Option<String>,
    unwritten: Option<String>,
    adopted: bool,
    /// Pods that could not be thawed, and when to retry.
    stuck: BTreeMap<PodUid, Wake>,
    again: Option<SinceStart>,
    /// The time of the next look at the processes of frozen pods.
    look: SinceStart,
}

impl Suspend {
    /// `found`: the pods that the agent before this one has suspended.
    pub(super) fn new(found: Result<Suspensions, FileError>) -> Self {
        let (pods, lost) = match found {
            Ok(found) => (found, None),
            Err(error) => (Suspensions::default(), Some(error.to_string())),
        };
        Self {
            pods,
            falling: BTreeMap::new(),
            at_work: 0,
            generation: 0,
            lost,
            unthawed: BTreeMap::new(),
            unthawed_lost: None,
            unwritten: None,
            adopted: false,
            stuck: BTreeMap::new(),
            again: None,
            look: SinceStart::default(),
        }
    }

    pub(super) fn pods(&self) -> &Suspensions {
        &self.pods
    }

    /// The time of the next look, on the agent's clock; `silent` is when the API server has been
    /// silent for too long.
    pub(super) fn next(&self, silent: SinceStart) -> Option<SinceStart> {
        if self.pods.is_empty() && self.lost.is_none() {
            return None;
        }
        let lost = Some(silent + RETRY);
        let look = self.pods.iter().any(|pod| !pod.vm).then_some(self.look);
        [lost, self.again, look].into_iter().flatten().min()
    }

    /// Returns true if the pod is suspended or is being suspended.
    pub(super) fn has(&self, uid: &PodUid) -> bool {
        self.pods.get(uid).is_some()
    }

    /// Saves the suspensions for a restarted agent.
    fn remember(&mut self, roots: &Roots, health: &mut Health) -> Result<(), SuspendError> {
        if let Some(lost) = &self.lost {
            return Err(SuspendError::StateLost(lost.clone()));
        }
        let written = StateFile::new(roots).save(&self.pods);
        self.unwritten = written.as_ref().err().map(ToString::to_string);
        health.problem(Trouble::Suspend, self.trouble());
        Ok(written?)
    }

    /// Describes all current problems.
    fn trouble(&self) -> Option<String> {
        let parts = self.unthawed.values().chain(&self.unthawed_lost).chain(&self.unwritten);
        let parts: Vec<&str> = parts.map(String::as_str).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// Returns the memory of suspended pods in swap, in bytes.
    pub(super) fn swap_bytes(&self) -> u64 {
        self.published().iter().map(|pod| pod.swap_bytes).sum()
    }

    pub(super) fn published(&self) -> Vec<published::SuspendedStatus> {
        let of = |pod: &Suspended| {
            let (memory_before_bytes, memory_bytes, swap_bytes) = pod.sums();
            published::SuspendedStatus {
                uid: pod.uid.to_string(),
                pod: format!("{}/{}", pod.namespace, pod.name),
                frozen: !pod.vm,
                memory_before_bytes,
                memory_bytes,
                swap_bytes,
            }
        };
        self.pods.iter().filter(|pod| pod.stage == SuspendStage::Asleep).map(of).collect()
    }
}

impl<E: Effects> Agent<E> {
    pub(super) fn suspend_news(&mut self, news: SuspendNews) {
        match news {
            SuspendNews::Asked(request, answer) => self.asked(request, answer),
            SuspendNews::Fell(suspended, generation, result) => {
                self.fell(&suspended, generation, result)
            }
            SuspendNews::Problem(problem) => self.health.problem(Trouble::Control, problem),
        }
    }

    fn asked(&mut self, request: SuspendRequest, answer: SuspendReply) {
        let reply = match request {
            SuspendRequest::Suspended => {
                self.read_suspended();
                let rows = self.suspend.pods.iter().flat_map(Suspended::rows).collect();
                Reply::Done { text: String::new(), rows }
            }
            SuspendRequest::Resume { namespace, pod } => {
                let found = self.suspend.pods.named(&namespace, &pod).map(|pod| pod.uid.clone());
                match found.map(|uid| self.wake(&uid, &Wake::Asked)) {
                    Some(Ok(text)) => Reply::Done { text, rows: Vec::new() },
                    Some(Err(text)) => Reply::Refused { text: text.to_string() },
                    None => Reply::Refused { text: format!("{namespace}/{pod} is not suspended") },
                }
            }
            SuspendRequest::Suspend { namespace, pod, dry_run, force } => {
                match self.planned(&namespace, &pod, force) {
                    Ok(planned) if dry_run => Reply::Done {
                        text: format!("would suspend {namespace}/{pod} ({})", planned.qos_class),
                        rows: planned.rows(),
                    },
                    Ok(planned) => {
                        self.begin(planned, answer);
                        return;
                    }
                    Err(text) => Reply::Refused { text: text.to_string() },
                }
            }
        };
        // The client may have gone.
        let _ = answer.send(reply);
    }

    /// Reads the use of suspended pods again, before it is shown.
    pub(super) fn read_suspended(&mut self) {
        offload::read_again(&self.roots, &mut self.suspend.pods);
    }

    /// It is being evicted, or the API server no longer has it.
    pub(super) fn is_leaving(&self, uid: &PodUid) -> bool {
        self.eviction.is_evicting(uid) || self.api.deleted.contains(uid)
    }
}
