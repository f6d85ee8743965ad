//! The OCI hook, stage `createRuntime`: sets a container's swap limit before its first instruction.
//! It reads the runtime's state and configuration, and the agent's files below `/run`; it queries
//! no other program. The container starts after any failure. With malformed or missing input, or if
//! the hook is blocked for five seconds, it gets no swap.
//!
//! Source: OCI runtime specification, "State" and "Hooks"; oci-hooks(5).

pub mod input;
mod rescue;
mod target;

use std::io::Read;

use crate::{
    act::{Written, cgroup::write_limit},
    decide::estimate::{self, Claims, Why},
    errors::FileError,
    model::{hook::EstimateSettings, swap::SwapMax},
    observe::records::{self, Granted},
    roots::Roots,
    state::StateFile,
};
use input::{OciConfig, OciState};
pub use rescue::{Progress, give_up};
pub use target::HookTarget;

use rescue::Reached;

/// The decision for a container, and the parts of it that failed.
#[derive(Debug, PartialEq, Eq)]
pub struct Done {
    pub target: HookTarget,
    pub container_name: Option<String>,
    pub swap_max: SwapMax,
    pub why: Why,
    /// Invalid input, for which the container got no swap.
    pub doubt: Option<String>,
    pub failed: Vec<String>,
}

/// The reason why the hook does nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nothing {
    #[error("the runtime's state on standard input is invalid: {0}")]
    State(String),
    /// The container does not belong to Kubernetes.
    #[error("the process is not in a pod's cgroup")]
    NotInAPod,
    /// The process ID now belongs to another process, whose limit is not the hook's to write.
    #[error("process {pid} is not in container {id:?}, which is gone")]
    Another { pid: i32, id: String },
    #[error("cannot read the cgroup of process {pid}: {error}")]
    NoCgroup { pid: i32, error: String },
}

/// Reads the state from `stdin` and sets the limit of its container.
pub fn run(roots: &Roots, stdin: impl Read, progress: &Progress) -> Result<Done, Nothing> {
    let state = OciState::read(stdin).map_err(|error| Nothing::State(error.to_string()))?;
    // Errors are reported further below, where the settings matter.
    let pods = settings(roots).ok().flatten().map(|settings| settings.pods).unwrap_or_default();
    let elsewhere = (!pods.is_empty()).then(|| roots.with_pods(&pods));
    let target = HookTarget::of(elsewhere.as_ref().unwrap_or(roots), state.pid)?;
    if !target.id.as_str().starts_with(&state.id) {
        *progress.lock() = Reached::Limits;
        return Err(Nothing::Another { pid: state.pid, id: state.id });
    }
    *progress.lock() = Reached::Container(target.clone());
    let config = match OciConfig::read(&state.bundle) {
        Ok(config) => Ok(config),
        Err(error) => Err(format!("cannot use {}: {error}", state.bundle.display())),
    };
    let (config, mut doubt) = match config {
        Ok(config) => (config, None),
        Err(doubt) => (OciConfig::default(), Some(doubt)),
    };
    let container_name = config.container_name(&target.pod);
    let claims = Claims {
        qos_class: target.qos_class,
        annotated: config.annotated(&target.pod),
        oom_score_adj: config.oom_score_adj(),
        memory_limit: config.memory_limit(),
    };
    let (swap_max, why) = match records::granted(roots, &target.pod) {
        Ok(Some(published)) => {
            let (granted, why) = exact(&published, container_name.as_deref());
            as_asked(roots, &claims, granted, why)
        }
        Ok(None) => estimated(roots, &claims, &mut doubt),
        Err(error) => {
            doubt = doubt.or(Some(error.to_string()));
            (SwapMax::ZERO, Why::NotPublishedForThisContainer)
        }
    };
    let mut reached = progress.lock();
    let failed = write(roots, &target, swap_max);
    *reached = Reached::Limits;
    Ok(Done { target, container_name, swap_max, why, doubt, failed })
}

/// Writes the limit at every level; returns the failures, in words.
fn write(roots: &Roots, target: &HookTarget, swap_max: SwapMax) -> Vec<String> {
    let mut failed = Vec::new();
    for level in &target.levels {
        match write_limit(&roots.cgroup().join(&level.path), level.inode, swap_max) {
            Ok(Written::Now | Written::Already | Written::Gone) => {}
            Err(error) => failed.push(error.to_string()),
        }
    }
    failed
}

fn exact(published: &Granted, container_name: Option<&str>) -> (SwapMax, Why) {
    match container_name.and_then(|name| published.grants.get(name)) {
        Some(swap_max) => (*swap_max, Why::Published),
        None => (SwapMax::ZERO, Why::NotPublishedForThisContainer),
    }
}

/// Applies a change of the pod's annotations that the agent has not seen yet.
fn as_asked(roots: &Roots, claims: &Claims, granted: SwapMax, why: Why) -> (SwapMax, Why) {
    let Ok(Some(settings)) = settings(roots) else { return (granted, why) };
    let (swap_max, lowered) = estimate::published(&settings, claims, granted);
    (swap_max, lowered.map_or(why, Why::Lowered))
}

fn estimated(roots: &Roots, claims: &Claims, doubt: &mut Option<String>) -> (SwapMax, Why) {
    let settings = match settings(roots) {
        Ok(Some(settings)) => settings,
        Ok(None) => return (SwapMax::ZERO, Why::NothingPublished),
        Err(error) => {
            *doubt = doubt.take().or(Some(error.to_string()));
            return (SwapMax::ZERO, Why::NothingPublished);
        }
    };
    estimate::estimate(&settings, claims)
}

/// `None` if the agent has written none.
fn settings(roots: &Roots) -> Result<Option<EstimateSettings>, FileError> {
    StateFile::new(roots).load()
}

#[cfg(test)]
mod tests;
