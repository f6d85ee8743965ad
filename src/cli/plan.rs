//! `wasp-agent plan`: shows the actions that the agent would take on this node now, with their
//! reasons.

use std::{sync::Arc, time::Duration};

use anyhow::Context;

use crate::{
    config::settings::Settings,
    decide::{
        decision::Snapshot,
        grant::swap_for_pods,
        kubelet::{as_in_force, grants_otherwise, unusable},
        limits::decide,
        obstacles::limit_above_pods,
        pods::{lost_pods, without_cgroup, without_limit},
        state::LimitStates,
        suspend::Suspensions,
        what_if::{self, with_percent},
    },
    model::{clock::SinceStart, failure::Failure, pod::Pods, published::Published},
    observe::{
        accounting::swap_control,
        kube::{credentials, list::PodList, pods::failure},
        kubelet, node,
        obstacles::obstacles,
        published::is_running,
        records,
        tree::Tree,
    },
    provision::Provisioning,
    report::{plan::NodePlan, what_if as shown},
    roots::Roots,
    state::StateFile,
};

/// Time to wait for the API server before using the agent's records.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn plan(
    roots: &Roots,
    settings: &Settings,
    json: bool,
    all: bool,
) -> anyhow::Result<()> {
    let runtime = super::runtime()?;
    let (pods, mut notes) = pods(roots, settings, &runtime);
    let kubelet = runtime.block_on(kubelet::service(roots));
    let kubelet = kubelet::config_of(roots, settings, kubelet.as_ref());
    let roots = &match &kubelet {
        Ok(Some(config)) => roots.with_pods(&config.pods_roots()),
        Ok(None) | Err(_) => roots.clone(),
    };
    let node = node::memory(roots)?;
    let _within = runtime.enter();
    let (mut tree, _) = Tree::new(roots).context("cannot read cgroups")?;
    let mut containers = Vec::new();
    let mut unreadable = Vec::new();
    for id in tree.ids().cloned().collect::<Vec<_>>() {
        let pod = tree.pod_of(&id).and_then(|uid| pods.get(uid));
        match tree.facts(&id, pod.map(AsRef::as_ref)) {
            Ok(facts) => containers.extend(facts),
            Err(error) => unreadable.push(error.to_string()),
        }
    }
    let mut slices = Vec::new();
    for uid in tree.pods() {
        match tree.pod_facts(uid) {
            Ok(facts) => slices.extend(facts),
            Err(error) => unreadable.push(error.to_string()),
        }
    }
    let (pods, containers, slices) = (&pods, &containers[..], &slices[..]);
    // As in the agent: in kubelet mode the kubelet's limits are compared and repaired.
    if let Ok(config) = &kubelet {
        let configured = (settings.grants, settings.grant.clone());
        notes.extend(
            config.iter().filter_map(|config| grants_otherwise(configured.clone(), config)),
        );
    }
    let running = running(roots);
    let config = kubelet.as_ref().map(Option::as_ref).map_err(drop);
    let (in_force, counted, swap_is_certain) =
        as_in_force(settings, config, running.as_ref().map(|running| &running.kubelet), node);
    let suspensions =
        &StateFile::<Suspensions>::new(roots).load().ok().flatten().unwrap_or_default();
    let snapshot = Snapshot {
        node: counted,
        pods,
        containers,
        slices,
        suspensions,
        swap_is_certain,
        thorough: true,
    };
    let settings = &in_force;
    let (_, decision) = decide(settings, snapshot, LimitStates::default(), SinceStart::default());
    notes.extend(unreadable);
    match &kubelet {
        Ok(Some(config)) => notes.extend(unusable(config)),
        Ok(None) => {}
        Err(error) => notes.push(error.to_string()),
    }
    notes.extend(swap_control(roots).lacks().map(str::to_owned));
    let without = tree.without_limit().count();
    notes.extend(without_limit(without));
    let lost = without_cgroup(pods, |uid| tree.of_pod(uid).next().is_some()).len();
    if lost > 0 {
        notes.push(lost_pods(lost, roots.pods()));
    }
    let found = obstacles(roots);
    let above = limit_above_pods(&found, swap_for_pods(&settings.grant_rules(), &node));
    notes.extend(above.map(|problem| problem.text));
    let devices = node::swap_devices(roots);
    let traffic = node::swap_traffic(roots);
    let above = &found.above_pods;
    let plan = NodePlan::new(settings, snapshot, &decision, above, devices, traffic, notes);
    super::print(&if json { plan.json()? } else { plan.table(all) })
}

/// Reads the pods from the API server, else from the agent's records.
fn pods(
    roots: &Roots,
    settings: &Settings,
    runtime: &tokio::runtime::Runtime,
) -> (Pods, Vec<String>) {
    let asked = runtime.block_on(async {
        let late = || Failure {
            text: format!("no answer within {} s", PATIENCE.as_secs()),
            ..Failure::default()
        };
        tokio::time::timeout(PATIENCE, from_api(roots, settings))
            .await
            .unwrap_or_else(|_| Err(late()))
    });
    asked.unwrap_or_else(|failure| {
        (records::pods(roots), vec![failure.sentence("using the agent's records")])
    })
}

/// Shows the effect of another `overcommit-percent`, and changes nothing.
pub(crate) fn other_percent(
    roots: &Roots,
    settings: &Settings,
    percent: u64,
    json: bool,
) -> anyhow::Result<()> {
    let runtime = super::runtime()?;
    let (pods, notes) = pods(roots, settings, &runtime);
    let node = node::memory(roots)?;
    let running = running(roots);
    let config = kubelet::config(roots, settings);
    let config = config.as_ref().map(Option::as_ref).map_err(drop);
    let published = running.as_ref().map(|running| &running.kubelet);
    let (in_force, counted, _) = as_in_force(settings, config, published, node);
    let what_if = what_if::what_if(&in_force, &counted, &pods, percent);
    let then = with_percent(settings, percent);
    let kubelet = runtime.block_on(kubelet::service(roots));
    let provisioning = Provisioning {
        roots,
        settings: &then,
        kubelet_unit: kubelet.as_ref(),
        dry_run: true,
        progress: &|_, _| {},
    };
    let steps = match provisioning.preview() {
        Ok(None) => Ok(Vec::new()),
        Ok(Some(plan)) => match plan.kept {
            Some(refusal) => Err(refusal.into()),
            None => Ok(plan.steps.iter().map(ToString::to_string).collect()),
        },
        Err(error) => Err(error),
    };
    let text = match json {
        true => shown::json(&what_if, &steps, &notes)?,
        false => shown::table(&what_if, &steps, &notes),
    };
    super::print(&text)
}

/// Returns the publication of a running agent.
fn running(roots: &Roots) -> Option<Published> {
    let published = StateFile::<Published>::new(roots).load().ok()??;
    is_running(roots, &published).then_some(published)
}

/// Returns the node's pods, and a note for each that cannot be read.
async fn from_api(roots: &Roots, settings: &Settings) -> Result<(Pods, Vec<String>), Failure> {
    let credentials =
        credentials::load(roots, settings).await.map_err(|error| credentials::failure(&error))?;
    let failed = |error| failure(&credentials.server, &error);
    let list = PodList::begin(&credentials.client, &credentials.node_name, &[]);
    let mut list = list.await.map_err(failed)?;
    let (mut pods, mut notes) = (Pods::new(), Vec::new());
    while let Some(pod) = list.next().await.map_err(failed)? {
        match pod {
            Ok(pod) => drop(pods.insert(pod.uid.clone(), Arc::new(pod))),
            Err(odd) => notes.push(format!("skipped, it cannot be read: {odd}")),
        }
    }
    Ok((pods, notes))
}
