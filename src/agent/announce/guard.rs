//! The guard against new pods under swap pressure: carries out the cordon or taint that
//! `decide::guard` decides.

use std::path::PathBuf;

use tokio::time::Instant;

use super::{AnnounceFailure, AnnounceWanted, Work};
use crate::{
    act::node::{self, NodeApi},
    config::settings::{SchedulingGuard, Settings},
    decide::guard::{CORDON_LEFT, GuardStep, cordon, leave, taint},
    messages,
    observe::kube::{credentials, node::WireNode},
};

/// The taint's key, and the credentials that may set it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Taint {
    key: String,
    kubeconfig: Option<PathBuf>,
}

impl Taint {
    /// `None` if none is configured.
    pub(super) fn wanted(settings: &Settings) -> Option<Self> {
        let eviction = &settings.eviction;
        (eviction.guard == SchedulingGuard::Taint).then(|| Self {
            key: eviction.taint.clone(),
            kubeconfig: eviction.guard_kubeconfig.clone(),
        })
    }
}

/// The guard's own changes.
#[derive(Default)]
pub(super) struct MigrationGuard {
    pub(super) pressed: bool,
    /// Set since the pressure began.
    set: bool,
    /// A change of ours exists that has to be undone.
    pub(super) there: bool,
    /// The node was drained at the last look.
    pub(super) drained: bool,
    pub(super) looked: Option<Instant>,
    left: Option<String>,
}

impl MigrationGuard {
    /// Returns true to set it, false to undo it, `None` for no change.
    fn due(&mut self, step: &GuardStep, what: &str) -> Option<bool> {
        match step {
            GuardStep::Nothing => None,
            GuardStep::Set => Some(true),
            GuardStep::Unset => Some(false),
            GuardStep::Leave(why) => {
                if self.left.as_ref() != Some(why) {
                    messages::GuardLeft
                        .emit(format_args!("the agent does not change {what}: {why}"));
                    self.left = Some(why.clone());
                }
                None
            }
        }
    }

    fn done(&mut self, set: bool, what: &str) {
        self.set |= set;
        if set {
            messages::GuardSet.emit(format_args!("set {what}: no new pods under swap pressure"));
        } else {
            messages::GuardRemoved.emit(format_args!("removed {what}: new pods are allowed again"));
        }
    }
}

impl Work {
    pub(super) async fn guard(
        &mut self,
        settings: &Settings,
        name: &str,
        node: &NodeApi,
        read: &WireNode,
        wanted_now: &AnnounceWanted,
    ) -> Result<(), AnnounceFailure> {
        let pressed = wanted_now.keep_away;
        if pressed != self.guard.pressed {
            self.guard = MigrationGuard { pressed, ..MigrationGuard::default() };
        }
        let eviction = &settings.eviction;
        let wanted = Taint::wanted(settings);
        // Undo the previous configuration: a taint with the credentials that set it.
        let before = self.tainted.clone().filter(|before| wanted.as_ref() != Some(before));
        let mut facts = node::facts(read, &eviction.taint, eviction.taint_effect);
        (facts.others_leave, facts.drained) = (wanted_now.others_leave, wanted_now.drained);
        // Until everything is undone.
        self.guard.there = facts.ours
            || before.is_some()
            || (wanted.is_some() && facts.tainted)
            || self.tainted.is_some();
        let for_cordon = pressed && eviction.guard == SchedulingGuard::Cordon;
        let what = "spec.unschedulable";
        let mut cordoned = facts.ours;
        let (mut told, mut annotated) = (Ok(()), None);
        if let Some(left) = leave(&facts) {
            // Without the annotation, the rest is right all the same.
            match node.leave_cordon(left).await {
                Ok(node) => annotated = Some(node),
                Err(error) => told = Err(AnnounceFailure::of(CORDON_LEFT, &error)),
            }
            facts.left = left;
        }
        let read = annotated.as_ref().unwrap_or(read);
        if let Some(set) = self.guard.due(&cordon(for_cordon, self.guard.set, &facts), what) {
            let done = if set { node.cordon(read).await } else { node.uncordon(read).await };
            done.map_err(|error| AnnounceFailure::of(what, &error))?;
            self.guard.done(set, what);
            cordoned = set;
        }
        if let Some(before) = before {
            if node::facts(read, &before.key, eviction.taint_effect).tainted {
                self.taint(settings, name, read, &before, false).await?;
            }
            self.tainted = None;
        }
        if let Some(wanted) = wanted {
            let what = format!("the taint {}", wanted.key);
            match self.guard.due(&taint(pressed, &facts), &what) {
                Some(set) => {
                    self.taint(settings, name, read, &wanted, set).await?;
                    self.tainted = set.then_some(wanted);
                }
                None => self.tainted = facts.tainted.then_some(wanted),
            }
        }
        self.guard.there = cordoned || facts.left || self.tainted.is_some();
        self.guard.drained = wanted_now.drained;
        self.guard.looked = Some(Instant::now());
        told
    }

    async fn taint(
        &mut self,
        settings: &Settings,
        name: &str,
        read: &WireNode,
        by: &Taint,
        set: bool,
    ) -> Result<(), AnnounceFailure> {
        let what = format!("the taint {}", by.key);
        let other = Settings {
            kubeconfig: by.kubeconfig.clone(),
            node_name: Some(name.to_owned()),
            ..settings.clone()
        };
        let loaded = credentials::load(&self.roots, &other).await.map_err(|error| {
            AnnounceFailure::Refused(format!("{what}: {error} (eviction.guard-kubeconfig)"))
        })?;
        let effect = set.then_some(settings.eviction.taint_effect);
        let tainted = NodeApi::new(loaded.client, name).taint(read, &by.key, effect).await;
        tainted.map_err(|error| AnnounceFailure::of(&what, &error))?;
        self.guard.done(set, &what);
        Ok(())
    }
}
