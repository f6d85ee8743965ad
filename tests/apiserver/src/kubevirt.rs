//! KubeVirt as a node sees it, by version: the webhooks before pods/eviction, the budgets, and the
//! marks of virt-controller on launcher pods during a migration (from KubeVirt v1.0.0 to v1.9.0:
//! pod-eviction-admitter.go, disruptionbudget.go, descheduler.go, migration.go, lifecycle.go).
//!
//! The namespace and the annotation `kubevirt.io/domain` of its launcher pods identify a VM. The
//! pod's annotation [`STRATEGY`] is its strategy, `LiveMigrate` by default; [`MIGRATABLE`] decides
//! if it can migrate.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::json::{list, name_suffix, remove, text, timestamp, uid};
use crate::pdb;
use crate::status::{ApiError, ApiResult};
use crate::store::{Inner, Key};

/// On a virt-launcher pod: its VM can live-migrate.
pub const MIGRATABLE: &str = "test.wasp/live-migratable";
/// On a virt-launcher pod: LiveMigrate, LiveMigrateIfPossible, External or None.
pub const STRATEGY: &str = "test.wasp/eviction-strategy";

pub const DOMAIN: &str = "kubevirt.io/domain";
pub const NODE: &str = "kubevirt.io/nodeName";
pub const JOB: &str = "kubevirt.io/migrationJobUID";
pub const JOB_NAME: &str = "kubevirt.io/migrationJobName";
pub const TARGET_READY: &str = "kubevirt.io/migration-target-ready-timestamp";
pub const IN_PROGRESS: &str = "descheduler.alpha.kubernetes.io/eviction-in-progress";
const UNPAUSED: &str = "kubevirt.io/virtual-machine-unpaused";
const LAUNCHER_WEBHOOK: &str = "virt-launcher-eviction-interceptor.kubevirt.io";
const HOTPLUG_WEBHOOK: &str = "hotplug-pod-eviction-interceptor.kubevirt.io";

/// Major, minor, patch.
pub type Version = (u32, u32, u32);

/// The content of `POST /_test/kubevirt`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct World {
    /// "1.5" or "1.6.1"; empty: no KubeVirt.
    pub version: String,
    /// A migration ends by itself after this time; otherwise on request.
    pub migration_ms: Option<u64>,
    /// The target node of migrations; "node-kubevirt" by default.
    pub target: String,
}

/// Namespace and name of a VM.
pub type Vm = (String, String);

#[derive(Debug, Default)]
pub struct Kubevirt {
    version: Option<Version>,
    world: World,
    /// VMs with status.evacuationNodeName.
    marked: BTreeSet<Vm>,
    /// Migrations in progress: source and target pod.
    moving: BTreeMap<Vm, (Key, Key)>,
    /// Migrations begun since the last call, and their targets.
    begun: Vec<(Vm, Key)>,
}

pub fn is_launcher(pod: &Value) -> bool {
    pod["metadata"]["labels"]["kubevirt.io"] == "virt-launcher"
}

fn completed(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// The VM of a launcher pod.
pub fn vm_of(pod: &Value) -> Option<Vm> {
    let vm = pod["metadata"]["annotations"][DOMAIN].as_str()?;
    is_launcher(pod).then(|| (text(pod, "/metadata/namespace").to_owned(), vm.to_owned()))
}

/// A webhook's own answer has no reason and no details.
fn denied<T>(webhook: &str, message: &str) -> ApiResult<T> {
    let message = format!("admission webhook {webhook:?} denied the request: {message}");
    Err(ApiError::new(429, "", message))
}

fn parse_version(text: &str) -> Option<Version> {
    let mut parts = text.trim_start_matches('v').split('.').map(str::parse);
    let (major, minor) = (parts.next()?.ok()?, parts.next()?.ok()?);
    Some((major, minor, parts.next().unwrap_or(Ok(0)).ok()?))
}

/// Replaces the webhook if no version is set: every VM that can migrate is told to, each time.
fn any_version(pod: &Value) -> ApiResult<()> {
    let meta = &pod["metadata"];
    if !is_launcher(pod) || meta["annotations"][MIGRATABLE] != "true" {
        return Ok(());
    }
    let domain = text(meta, "/annotations/kubevirt.io~1domain");
    let name = match text(meta, "/labels/vm.kubevirt.io~1name") {
        "" if domain.is_empty() => text(meta, "/name"),
        "" => domain,
        name => name,
    };
    let namespace = text(meta, "/namespace");
    let message = format!("Eviction triggered evacuation of VMI \"{namespace}/{name}\"");
    denied(LAUNCHER_WEBHOOK, &message)
}

/// The two kinds of dry run: only the request's own reaches the older webhooks.
#[derive(Debug, Clone, Copy)]
pub struct DryRun {
    pub by_query: bool,
    pub by_options: bool,
}

impl Kubevirt {
    pub fn set(&mut self, world: World) -> Result<(), String> {
        let version = match world.version.as_str() {
            "" => None,
            text => Some(parse_version(text).ok_or_else(|| format!("not a version: {text:?}"))?),
        };
        *self = Self { version, world, ..Self::default() };
        Ok(())
    }

    pub fn migration_time(&self) -> Option<Duration> {
        self.world.migration_ms.map(Duration::from_millis)
    }

    pub fn take_begun(&mut self) -> Vec<(Vm, Key)> {
        std::mem::take(&mut self.begun)
    }

    /// Returns the target pod of a VM's migration.
    pub fn target_of(&self, vm: &Vm) -> Option<&Key> {
        self.moving.get(vm).map(|(_, target)| target)
    }

    /// Starts a migration to a node without an eviction.
    pub fn migrate(&mut self, store: &mut Inner, vm: &Vm, node: &str) -> Result<(), String> {
        let found = store
            .list("pods", &vm.0)
            .find(|(_, pod)| vm_of(pod).as_ref() == Some(vm) && !completed(pod))
            .map(|(key, pod)| (key.clone(), pod.clone()));
        let (key, pod) = found.ok_or_else(|| format!("{}/{} has no launcher", vm.0, vm.1))?;
        self.begin(store, &key, &pod, (!node.is_empty()).then_some(node), false);
        Ok(())
    }

    fn at_least(&self, minor: u32, patch: u32) -> bool {
        self.version.is_some_and(|version| version >= (1, minor, patch))
    }

    /// The admission of an eviction; returns a VM whose migration begins.
    pub fn admit(
        &mut self,
        store: &mut Inner,
        key: &Key,
        pod: &Value,
        dry_run: DryRun,
    ) -> ApiResult<Option<Vm>> {
        if self.version.is_none() {
            return any_version(pod).map(|()| None);
        }
        let labels = &pod["metadata"]["labels"];
        if labels["kubevirt.io"] == "hotplug-disk" {
            return self.admit_hotplug(store, key, pod).map(|()| None);
        }
        // Since 1.5 the webhook handles only pods with such names.
        if self.at_least(5, 0) && !key.name.starts_with("virt-launcher") {
            return Ok(None);
        }
        let Some(vm) = vm_of(pod).filter(|_| !(self.at_least(3, 1) && completed(pod))) else {
            return Ok(None);
        };
        let annotations = &pod["metadata"]["annotations"];
        let migratable = annotations[MIGRATABLE] == "true";
        let moves = match annotations[STRATEGY].as_str().unwrap_or("LiveMigrate") {
            "LiveMigrate" if !migratable => {
                let message = format!(
                    "VMI {} is configured with an eviction strategy but is not live-migratable",
                    vm.1
                );
                return denied(LAUNCHER_WEBHOOK, &message);
            }
            "LiveMigrateIfPossible" => migratable,
            "LiveMigrate" | "External" => true,
            _ => false,
        };
        if !moves {
            return Ok(None);
        }
        let here = text(pod, "/spec/nodeName");
        let runs_here = self.node_of(store, &vm).is_none_or(|node| node == here);
        let marked = self.marked.contains(&vm);
        let triggered = format!("Eviction triggered evacuation of VMI \"{}/{}\"", vm.0, vm.1);
        if self.at_least(5, 0) {
            if marked {
                let message = format!("Evacuation in progress: {triggered}");
                return denied(LAUNCHER_WEBHOOK, &message);
            }
            if !runs_here {
                return denied(LAUNCHER_WEBHOOK, "Eviction request for target Pod");
            }
        } else if marked || !runs_here {
            // Left to the budget.
            return Ok(None);
        }
        let dry = dry_run.by_query || (dry_run.by_options && self.at_least(4, 0));
        if !dry {
            self.marked.insert(vm.clone());
            self.begin(store, key, pod, None, true);
        }
        if self.at_least(3, 0) { denied(LAUNCHER_WEBHOOK, &triggered) } else { Ok(Some(vm)) }
    }

    fn admit_hotplug(&self, store: &Inner, key: &Key, pod: &Value) -> ApiResult<()> {
        let [owner] = list(pod, "/metadata/ownerReferences") else { return Ok(()) };
        if !self.at_least(6, 1) || !key.name.starts_with("hp-volume-") {
            return Ok(());
        }
        let owner = store.get(&Key::new("pods", &key.namespace, text(owner, "/name")));
        match owner.filter(|owner| !completed(owner)).and_then(|owner| vm_of(owner)) {
            None => Ok(()),
            Some((namespace, vm)) => {
                let message = format!(
                    "cannot evict hotplug pod: {} associated with running vmi: {vm} in namespace \
                     {namespace}",
                    key.name
                );
                denied(HOTPLUG_WEBHOOK, &message)
            }
        }
    }

    /// Returns status.nodeName of the VM: the last value on its pods, else the node of its only
    /// pod.
    fn node_of(&self, store: &Inner, vm: &Vm) -> Option<String> {
        let pods = store.list("pods", &vm.0).map(|(_, pod)| pod);
        let pod = pods
            .filter(|p| vm_of(p).as_ref() == Some(vm) && !completed(p))
            .min_by_key(|p| text(p, "/metadata/creationTimestamp").to_owned())?;
        let told = text(pod, "/metadata/labels/kubevirt.io~1nodeName");
        let node = if told.is_empty() { text(pod, "/spec/nodeName") } else { told };
        Some(node.to_owned())
    }

    /// Creates the target pod, and marks the source as the version does.
    fn begin(
        &mut self,
        store: &mut Inner,
        source: &Key,
        pod: &Value,
        node: Option<&str>,
        evacuation: bool,
    ) {
        let Some(vm) = vm_of(pod).filter(|vm| !self.moving.contains_key(vm)) else { return };
        let usual = Some(self.world.target.as_str()).filter(|node| !node.is_empty());
        let node = node.or(usual).unwrap_or("node-kubevirt").to_owned();
        let mut marked = pod.clone();
        let here = text(pod, "/spec/nodeName").to_owned();
        marked["metadata"]["labels"][NODE] = json!(here);
        if evacuation && self.at_least(3, 0) {
            let value = if self.at_least(7, 0) { "true" } else { "kubevirt" };
            marked["metadata"]["annotations"][IN_PROGRESS] = json!(value);
        }
        store.put(source.clone(), marked.clone());
        let mut target = marked;
        let name = format!("virt-launcher-{}-{}", vm.1, name_suffix());
        let meta = &mut target["metadata"];
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
            remove(meta, field);
        }
        remove(&mut meta["annotations"], IN_PROGRESS);
        meta["name"] = json!(name);
        meta["uid"] = json!(uid());
        meta["creationTimestamp"] = json!(timestamp(0));
        meta["labels"][JOB] = json!(uid());
        let origin = if evacuation { "evacuation" } else { "migration" };
        meta["annotations"][JOB_NAME] = json!(format!("kubevirt-{origin}-{}", name_suffix()));
        target["spec"]["nodeName"] = json!(node);
        let condition = json!({"type": "Ready", "status": "False", "reason": "ReadinessGatesNotReady",
            "message": format!("corresponding condition of pod readiness gate {UNPAUSED:?} does not \
                                exist."), "lastTransitionTime": timestamp(0)});
        let qos = target["status"]["qosClass"].clone();
        target["status"] = json!({"phase": "Running", "qosClass": qos, "startTime": timestamp(0),
                                  "conditions": [condition]});
        let key = Key::new("pods", &source.namespace, &name);
        store.put(key.clone(), target);
        self.begun.push((vm.clone(), key.clone()));
        self.moving.insert(vm.clone(), (source.clone(), key));
        self.budgets(store, &vm.0);
    }

    /// Ends a migration: the VM is on its target, or at its source.
    pub fn finish(&mut self, store: &mut Inner, vm: &Vm, succeeded: bool) -> Result<(), String> {
        let (source, target) =
            self.moving.remove(vm).ok_or_else(|| format!("{}/{} is not migrating", vm.0, vm.1))?;
        if let Some(mut pod) = store.get(&target).map(|pod| (**pod).clone()) {
            if succeeded {
                let node = text(&pod, "/spec/nodeName").to_owned();
                pod["metadata"]["labels"][NODE] = json!(node);
                pod["metadata"]["annotations"][TARGET_READY] = json!(timestamp(0));
                pod["status"]["conditions"] = json!([
                    {"type": "Ready", "status": "True", "lastTransitionTime": timestamp(0)},
                    {"type": UNPAUSED, "status": "True", "reason": "NotPaused",
                     "message": "the virtual machine is not paused",
                     "lastTransitionTime": timestamp(0)}]);
            } else {
                pod["status"]["phase"] = json!("Failed");
            }
            store.put(target, pod);
        }
        if let Some(mut pod) = store.get(&source).map(|pod| (**pod).clone()) {
            if succeeded {
                pod["status"]["phase"] = json!("Succeeded");
                pod["status"]["conditions"] = json!([{"type": "Ready", "status": "False",
                    "reason": "PodCompleted", "lastTransitionTime": timestamp(0)}]);
            } else if !self.at_least(7, 0) {
                // Before 1.7 each failed attempt removes it; the VM stays marked.
                remove(&mut pod["metadata"]["annotations"], IN_PROGRESS);
            }
            store.put(source, pod);
        }
        if succeeded {
            self.marked.remove(vm);
        }
        self.budgets(store, &vm.0);
        Ok(())
    }

    /// Cancels the evacuation.
    pub fn cancel(&mut self, store: &mut Inner, vm: &Vm) -> Result<(), String> {
        let source = self.moving.get(vm).map(|(source, _)| source.clone());
        self.marked.remove(vm);
        if source.is_some() {
            self.finish(store, vm, false)?;
        }
        let pods: Vec<(Key, Value)> = store
            .list("pods", &vm.0)
            .filter(|(_, pod)| {
                vm_of(pod).as_ref() == Some(vm)
                    && !pod["metadata"]["annotations"][IN_PROGRESS].is_null()
            })
            .map(|(key, pod)| (key.clone(), (**pod).clone()))
            .collect();
        for (key, mut pod) in pods {
            remove(&mut pod["metadata"]["annotations"], IN_PROGRESS);
            store.put(key, pod);
        }
        Ok(())
    }

    /// Maintains virt-controller's budgets, which exist up to 1.5: one pod, two while migrating.
    /// Later versions remove any that they find.
    pub fn budgets(&self, store: &mut Inner, namespace: &str) {
        if self.version.is_none() {
            return;
        }
        let mut wanted: BTreeMap<String, (Vm, i64)> = BTreeMap::new();
        for (_, pod) in store.list("pods", namespace) {
            let annotations = &pod["metadata"]["annotations"];
            let Some(vm) = vm_of(pod).filter(|_| !completed(pod)) else { continue };
            let budget = !self.at_least(6, 0)
                && match annotations[STRATEGY].as_str().unwrap_or("LiveMigrate") {
                    "LiveMigrate" | "External" => true,
                    "LiveMigrateIfPossible" => annotations[MIGRATABLE] == "true",
                    _ => false,
                };
            let creator = text(pod, "/metadata/labels/kubevirt.io~1created-by");
            if budget && !creator.is_empty() {
                let least = if self.moving.contains_key(&vm) { 2 } else { 1 };
                wanted.insert(creator.to_owned(), (vm, least));
            }
        }
        let superfluous: Vec<Key> = store
            .list("poddisruptionbudgets", namespace)
            .filter(|(key, budget)| {
                let creator = &budget["spec"]["selector"]["matchLabels"]["kubevirt.io/created-by"];
                let wanted = creator.as_str().is_some_and(|creator| wanted.contains_key(creator));
                key.name.starts_with("kubevirt-disruption-budget-") && !wanted
            })
            .map(|(key, _)| key.clone())
            .collect();
        superfluous.iter().for_each(|key| store.remove(key));
        for (creator, (vm, least)) in wanted {
            let found = store
                .list("poddisruptionbudgets", namespace)
                .find(|(_, b)| {
                    b["spec"]["selector"]["matchLabels"]["kubevirt.io/created-by"] == *creator
                })
                .map(|(key, budget)| (key.clone(), (**budget).clone()));
            let fresh = || {
                let name = format!("kubevirt-disruption-budget-{}", name_suffix());
                let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
                    "metadata": {"name": name, "namespace": namespace, "uid": uid(),
                        "generation": 1, "creationTimestamp": timestamp(0), "ownerReferences": [{
                            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
                            "name": vm.1, "uid": creator, "controller": true,
                            "blockOwnerDeletion": true}]},
                    "spec": {"selector": {"matchLabels": {"kubevirt.io/created-by": creator}}},
                    "status": {}});
                (Key::new("poddisruptionbudgets", namespace, &name), budget)
            };
            let (key, mut budget) = found.unwrap_or_else(fresh);
            if budget["spec"]["minAvailable"] != least {
                budget["spec"]["minAvailable"] = json!(least);
                store.put(key, budget);
            }
        }
        pdb::reconcile(store, namespace);
    }
}
