//! `wasp-agent plan`: what the agent would do on this node now, and why.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use kube::{Api, api::ListParams};

use crate::{
    config::settings::Settings,
    decide::{decision::Snapshot, limits::decide, state::State},
    model::{host::Monotonic, pod::Pods},
    observe::{
        kube::{
            credentials::{self, chain},
            wire::{self, WirePod},
        },
        node,
        tree::Tree,
    },
    report::{plan::Plan, records::Records},
    roots::Roots,
};

/// An administrator waits no longer for what the agent's records tell, too.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn plan(roots: &Roots, settings: &Settings, json: bool, all: bool) -> anyhow::Result<()> {
    let runtime = super::runtime()?;
    let asked = runtime.block_on(async {
        let late = || anyhow::anyhow!("no answer for {} s", PATIENCE.as_secs());
        tokio::time::timeout(PATIENCE, from_api(roots, settings))
            .await
            .unwrap_or_else(|_| Err(late()))
    });
    let (pods, note) = match asked {
        Ok(pods) => (pods, None),
        Err(error) => {
            let note = format!("API server not reachable, going by the agent's records: {error:#}");
            (Records::new(roots).load(), Some(note))
        }
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
    let snapshot = Snapshot { node, pods, containers, slices, thorough: true };
    let (_, decision) = decide(settings, snapshot, State::default(), Monotonic::default());
    let notes = note.into_iter().chain(unreadable).collect();
    let devices = node::swap_devices(roots);
    let traffic = node::swap_traffic(roots);
    let plan = Plan::new(settings, snapshot, &decision, devices, traffic, notes);
    super::print(&if json { plan.json()? } else { plan.table(all) })
}

async fn from_api(roots: &Roots, settings: &Settings) -> anyhow::Result<Pods> {
    let credentials = credentials::load(roots, settings).await?;
    let api: Api<WirePod> = Api::all(credentials.client);
    let selector = format!("spec.nodeName={}", credentials.node_name);
    let list = api.list(&ListParams::default().fields(&selector).match_any()).await;
    let list =
        list.map_err(|error| anyhow::anyhow!("{}: {}", credentials.server, chain(&error)))?;
    let pods = list.items.into_iter().filter_map(wire::pod);
    Ok(pods.map(|pod| (pod.uid.clone(), Arc::new(pod))).collect())
}
