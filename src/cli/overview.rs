//! `wasp-agent status` and `wasp-agent explain`: read the host as the agent does, and the agent's
//! publication.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use anyhow::Context;

use crate::{
    config::settings::Settings,
    decide::kubelet::as_in_force,
    decide::{decision::Snapshot, guests::without_overcommitment, suspend::Suspensions},
    model::{
        counted::counted,
        host::{ContainerFacts, MemoryEvents, PodFacts, Role},
        pod::{ContainerId, Pods},
        pressure::PodUsage,
        published::Published,
    },
    observe::{
        clock::unix_time,
        guests::guests,
        kubelet, node,
        obstacles::obstacles,
        pressure::{activity, memory_events, pod_usage, usage},
        published::{age, is_running, published},
        records,
        tree::Tree,
    },
    report::{
        explain,
        overview::{Activity, AgentState, Overview, OverviewPodRow, VERSION, for_pods, pods},
        screen::{fitted, screen},
        verdict::NodeVerdict,
    },
    roots::Roots,
    state::StateFile,
};

/// The time over which rates are measured.
const BETWEEN: Duration = Duration::from_secs(1);
/// The time between two screens.
const WATCH: Duration = Duration::from_secs(2);
/// An agent that has not published for this long has stopped working, with any configuration.
const SILENT: Duration = Duration::from_secs(3 * 3600);

/// Options of the display.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OverviewOptions {
    pub json: bool,
    pub brief: bool,
    pub watch: bool,
    pub all: bool,
    pub sort: Sort,
}

/// In which order pods are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sort {
    /// Swap used
    Swap,
    /// Pages read back from swap
    In,
    /// Time in which all processes of the pod wait for memory
    Stall,
    /// Order of eviction
    Eviction,
}

/// Sorts the pods; equal ones keep their order.
fn sort(pods: &mut [OverviewPodRow], by: Sort) {
    let most = |a: Option<f64>, b: Option<f64>| b.unwrap_or(-1.0).total_cmp(&a.unwrap_or(-1.0));
    match by {
        Sort::Swap => {}
        Sort::In => {
            pods.sort_by(|a, b| most(a.swap_in_pages_per_second, b.swap_in_pages_per_second));
        }
        Sort::Stall => pods.sort_by(|a, b| most(a.stalled_percent, b.stalled_percent)),
        Sort::Eviction => pods.sort_by_key(|pod| pod.eviction_order.unwrap_or(usize::MAX)),
    }
}

/// With `brief`, returns true if the node is right.
pub(crate) fn status(
    roots: &Roots,
    settings: &Settings,
    shown: OverviewOptions,
) -> anyhow::Result<bool> {
    let mut host = OverviewHost::new(roots, settings)?;
    let mut before = host.look()?;
    let mut pause = BETWEEN;
    loop {
        std::thread::sleep(pause);
        let look = host.look()?;
        let mut overview = host.overview(&look, &before);
        if shown.brief {
            let verdict = NodeVerdict::of(&overview);
            super::print(&verdict.line())?;
            return Ok(verdict.is_right());
        }
        sort(&mut overview.pods, shown.sort);
        let text = match (shown.json, size()) {
            (true, _) => serde_json::to_string(&overview)? + "\n",
            (false, Some((width, height))) if shown.watch && !shown.all => {
                fitted(&overview, width, height)
            }
            (false, size) => screen(&overview, size.map_or(usize::MAX, |(w, _)| w), shown.all),
        };
        // Moves the cursor to the upper left, and clears the screen from there.
        let clear = if shown.watch && !shown.json { "\u{1b}[H\u{1b}[2J" } else { "" };
        match anstream::stdout().write_all(format!("{clear}{text}").as_bytes()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(true),
            result => result?,
        }
        if !shown.watch {
            return Ok(true);
        }
        (before, pause) = (look, WATCH);
    }
}

/// `wanted` is a pod's name, with or without its namespace and a slash, or its UID.
pub(crate) fn explain(roots: &Roots, settings: &Settings, wanted: &str) -> anyhow::Result<()> {
    let mut host = OverviewHost::new(roots, settings)?;
    let look = host.look()?;
    let overview = host.overview(&look, &look);
    let is_wanted = |pod: &&OverviewPodRow| {
        wanted == pod.uid
            || wanted == pod.pod
            || wanted.split_once('/') == Some((&pod.namespace, &pod.pod))
    };
    let found: Vec<_> = overview.pods.iter().filter(is_wanted).collect();
    match found[..] {
        [pod] => super::print(&explain::explain(&overview, pod)),
        [] => anyhow::bail!(
            "no pod {wanted} with running containers on this node (wasp-agent status --all lists \
             the pods; a pod that the agent does not know yet is not listed)"
        ),
        _ => {
            let names: Vec<String> =
                found.iter().map(|pod| format!("{}/{}", pod.namespace, pod.pod)).collect();
            anyhow::bail!("several pods have the name {wanted}: choose {}", names.join(" or "))
        }
    }
}

/// Returns columns and lines of the terminal, if there is one.
fn size() -> Option<(usize, usize)> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok();
    let size = size.map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)));
    // A serial console does not know its size.
    let (width, height) = size.filter(|(w, h)| *w > 0 && *h > 0).unwrap_or((80, 24));
    Some((width.max(40), height.max(10)))
}

struct OverviewHost<'a> {
    roots: Roots,
    settings: &'a Settings,
    pods: Pods,
    tree: Tree,
    /// The kubelet's unit, if systemd answered.
    unit: Option<kubelet::Service>,
    // Keeps the runtime alive for the tree's notifications.
    _runtime: tokio::runtime::Runtime,
}

/// Counters since the creation of the cgroup: pages swapped in, and microseconds in which all
/// processes waited.
type ContainerCounters = (Option<u64>, Option<u64>);

/// The containers at one moment.
struct OverviewSample {
    at: Instant,
    containers: Vec<ContainerFacts>,
    slices: Vec<PodFacts>,
    usage: Vec<PodUsage>,
    counters: BTreeMap<ContainerId, ContainerCounters>,
    events: BTreeMap<ContainerId, MemoryEvents>,
    notes: Vec<String>,
}

impl<'a> OverviewHost<'a> {
    fn new(roots: &Roots, settings: &'a Settings) -> anyhow::Result<Self> {
        let runtime = super::runtime()?;
        // The kubelet's configuration determines the place of the pods' cgroups.
        let unit = runtime.block_on(kubelet::service(roots));
        let roots = match kubelet::config_of(roots, settings, unit.as_ref()) {
            Ok(Some(config)) => roots.with_pods(&config.pods_roots()),
            Ok(None) | Err(_) => roots.clone(),
        };
        let (tree, _) = {
            let _within = runtime.enter();
            Tree::new(&roots).context("cannot read cgroups")?
        };
        Ok(Self { roots, settings, pods: Pods::new(), tree, unit, _runtime: runtime })
    }

    fn look(&mut self) -> anyhow::Result<OverviewSample> {
        // The agent's own records: it keeps them while the API server is unreachable, and after its
        // end.
        self.pods = records::pods(&self.roots);
        let mut changes = crate::observe::tree::Changes::default();
        self.tree.scan(&mut changes);
        let (mut containers, mut notes) = (Vec::new(), Vec::new());
        let mut unknown = 0_usize;
        let mut counters = BTreeMap::new();
        let mut events = BTreeMap::new();
        let mut used: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut slices = Vec::new();
        for uid in self.tree.pods() {
            used.insert(uid.clone(), Vec::new());
            match self.tree.pod_facts(uid) {
                Ok(facts) => slices.extend(facts),
                Err(error) => notes.push(error.to_string()),
            }
        }
        for id in self.tree.ids().cloned().collect::<Vec<_>>() {
            let pod = self.tree.pod_of(&id).and_then(|uid| self.pods.get(uid)).cloned();
            match self.tree.facts(&id, pod.as_deref()) {
                Ok(Some(facts)) => {
                    let folder = self.roots.cgroup().join(&facts.path);
                    let name = match &facts.role {
                        Role::Container(name) => Some(name.clone()),
                        Role::Helper | Role::Unknown => None,
                    };
                    unknown += usize::from(pod.is_none() && facts.role != Role::Helper);
                    events.insert(id.clone(), memory_events(&folder));
                    counters.insert(id, activity(&folder));
                    used.entry(facts.pod.clone()).or_default().extend(usage(&folder, name));
                    containers.push(facts);
                }
                Ok(None) => {}
                Err(error) => notes.push(error.to_string()),
            }
        }
        if unknown > 0 {
            let containers = counted(unknown, "container was", "containers were");
            notes.push(format!("{containers} not compared: the pod is not known"));
        }
        let of_pod = |(uid, containers)| {
            let folder = self.tree.folder_of(&uid).map(|path| self.roots.cgroup().join(path));
            folder.map(|folder| pod_usage(&folder, uid, containers))
        };
        let usage = used.into_iter().filter_map(of_pod).collect();
        Ok(OverviewSample {
            at: Instant::now(),
            containers,
            slices,
            usage,
            counters,
            events,
            notes,
        })
    }

    fn overview(&self, look: &OverviewSample, before: &OverviewSample) -> Overview {
        let mut notes = look.notes.clone();
        let published = published(&self.roots);
        let unreadable = published.is_err();
        let published = published.map_err(|error| notes.push(error.to_string())).ok().flatten();
        let node = node::memory(&self.roots);
        let node = node.map_err(|error| notes.push(error.to_string())).unwrap_or_default();
        let running = published.as_ref().filter(|published| is_running(&self.roots, published));
        let config = kubelet::config_of(&self.roots, self.settings, self.unit.as_ref());
        let config = config.as_ref().map(Option::as_ref).map_err(drop);
        let running = running.map(|running| &running.kubelet);
        let (settings, node, swap_is_certain) = as_in_force(self.settings, config, running, node);
        let OverviewSample { containers, slices, .. } = look;
        let suspensions = StateFile::<Suspensions>::new(&self.roots).load();
        let suspensions = suspensions.ok().flatten().unwrap_or_default();
        let snapshot = Snapshot {
            node,
            pods: &self.pods,
            containers,
            slices,
            suspensions: &suspensions,
            swap_is_certain,
            thorough: true,
        };
        let seconds = look.at.duration_since(before.at).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "rates")]
        let rates = |ids: &[ContainerId]| {
            let rate = |of: fn(&ContainerCounters) -> Option<u64>, join: fn(u64, u64) -> u64| {
                let grown = |id: &ContainerId| {
                    let (now, then) = (look.counters.get(id)?, before.counters.get(id)?);
                    Some(of(now)?.saturating_sub(of(then)?))
                };
                let joined = ids.iter().filter_map(grown).reduce(join)?;
                (seconds > 0.0).then(|| joined as f64 / seconds)
            };
            let stalled = rate(|(_, micros)| *micros, u64::max);
            Activity {
                swap_in_pages_per_second: rate(|(pages, _)| *pages, u64::saturating_add),
                stalled_percent: stalled.map(|micros| (micros / 10_000.0).min(100.0)),
            }
        };
        let now = unix_time();
        Overview {
            version: VERSION,
            at: jiff::Timestamp::now().to_string(),
            agent: self.state(published.as_ref(), unreadable),
            swap_for_pods_bytes: for_pods(&settings, &snapshot),
            unknown_containers: crate::report::overview::unknown_containers(&snapshot),
            swap_devices: node::swap_devices(&self.roots).into_iter().map(Into::into).collect(),
            pods: pods(
                &settings,
                snapshot,
                &look.usage,
                now,
                rates,
                |id| look.events.get(id).copied().unwrap_or_default(),
                &obstacles(&self.roots).above_pods,
            ),
            vms_without_overcommit: without_overcommitment(&guests(&self.roots, &self.pods)),
            published,
            notes,
        }
    }

    /// Returns the state of the agent that made the publication.
    fn state(&self, published: Option<&Published>, unreadable: bool) -> AgentState {
        let Some(published) = published else {
            if unreadable {
                let warning =
                    "not known: its publication cannot be read (wasp-agent check, as root)";
                return AgentState {
                    running: false,
                    warning: Some(warning.to_owned()),
                    unreadable,
                };
            }
            let warning = "not running: it has published nothing since the boot (systemctl status \
                wasp-agent)";
            return AgentState { running: false, warning: Some(warning.to_owned()), unreadable };
        };
        let (running, age) = (is_running(&self.roots, published), age(published));
        let late = self.settings.limits.resync * 3 + Duration::from_secs(30);
        let warning = match (running, age) {
            (false, _) => Some(format!(
                "not running: the data is from {} (systemctl status wasp-agent)",
                published.written
            )),
            (true, Some(age)) if age > late.min(SILENT) => {
                Some(format!("it has published nothing for {} s", age.as_secs()))
            }
            (true, _) => None,
        };
        AgentState { running, warning, unreadable }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(
        name: &str,
        pages: Option<f64>,
        stalled: Option<f64>,
        order: Option<usize>,
    ) -> OverviewPodRow {
        OverviewPodRow {
            namespace: "n".into(),
            pod: name.into(),
            uid: String::new(),
            qos_class: String::new(),
            swap_bytes: 0,
            swap_outside_containers_bytes: 0,
            swap_grant: "0".into(),
            swap_max_in_force: None,
            working_set_bytes: 0,
            swap_in_pages_per_second: pages,
            stalled_percent: stalled,
            eviction_order: order,
            eviction_reason: String::new(),
            eviction_cost: None,
            containers: Vec::new(),
        }
    }

    #[test]
    fn pods_are_shown_in_the_order_that_is_asked_for() {
        let pods = [
            pod("a", None, Some(1.0), Some(3)),
            pod("b", Some(0.0), Some(9.0), None),
            pod("c", Some(7.5), None, Some(1)),
        ];
        for (by, order) in
            [(Sort::Swap, "abc"), (Sort::In, "cba"), (Sort::Stall, "bac"), (Sort::Eviction, "cab")]
        {
            let mut pods = pods.clone();
            sort(&mut pods, by);
            assert_eq!(pods.map(|pod| pod.pod).concat(), order, "{by:?}");
        }
    }
}
