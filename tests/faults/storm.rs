//! Random faults of all kinds at the same time, for some seconds, repeatable by a seed.
//! `FAULT_SECONDS` (20) and `FAULT_SEED` are environment variables.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use fastrand::Rng;
use serde_json::json;
use test_apiserver::pki::Validity;

use crate::{
    node::{Container, Node, SWAP, burstable, files, lives_until, share},
    support::{Agent, MIB, NODE},
};

/// The longest time that a limit may stand above its grant while an agent runs. The agent repairs
/// it immediately; the rest is an allowance for a busy machine.
const REPAIR_BOUND: Duration = Duration::from_secs(10);
/// Failpoints that occur so often that an agent always reaches them again, and rarely enough that
/// it makes progress.
const EVERY: [&str; 5] = ["cgroup.read", "limit.write", "file.open", "file.rename", "evict.asked"];

#[test]
fn a_storm_of_faults_leaves_every_limit_right() {
    let from = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = from("FAULT_SEED").unwrap_or_else(|| Rng::new().u64(..));
    let seconds = from("FAULT_SECONDS").unwrap_or(20);
    #[expect(clippy::print_stderr, reason = "what a failure is repeated with")]
    {
        eprintln!("FAULT_SEED={seed} FAULT_SECONDS={seconds}");
    }
    let mut storm = Storm::new(seed);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        storm.step();
    }
    storm.calm_down();
}

/// Right limits of containers, by cgroup.
type Grants = Arc<Mutex<BTreeMap<String, u64>>>;

struct Storm {
    node: Node,
    random: Rng,
    pods: Vec<(Container, u64)>,
    grants: Grants,
    next: usize,
    agent: Option<Agent>,
    /// For the guard: an agent runs and can repair limits.
    repairs: Arc<AtomicBool>,
    guard: Option<std::thread::JoinHandle<Vec<String>>>,
    over: Arc<AtomicBool>,
    swap: u64,
    history: Vec<String>,
    agents: usize,
    evicted: BTreeSet<String>,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let node = Node::new();
        let config = "[eviction]\nmode = \"enforce\"\ncooldown-seconds = 1\n\
                      [eviction.utilization]\nsustain-seconds = 0\n[limits]\nresync-seconds = 10\n";
        node.host.write("/etc/wasp-agent/config.d/50.toml", config);
        let grants = Grants::default();
        let [repairs, over] = [false, false].map(|flag| Arc::new(AtomicBool::new(flag)));
        let guard = {
            let root = node.host.root().to_owned();
            let (grants, repairs, over) = (grants.clone(), repairs.clone(), over.clone());
            std::thread::spawn(move || guard(&root, &grants, &repairs, &over))
        };
        let mut critical = burstable("critical", 100);
        critical["spec"]["priorityClassName"] = "system-node-critical".into();
        let mut protected = burstable("protected", 100);
        protected["metadata"]["namespace"] = "openshift-x".into();
        for (number, pod) in [critical, protected].iter().enumerate() {
            let container = node.pod(pod, number, "0");
            node.uses(&container.cgroup, 900 * MIB, 100 * MIB);
        }
        let mut storm = Self {
            node,
            random: Rng::with_seed(seed),
            pods: Vec::new(),
            grants,
            next: 10,
            agent: None,
            repairs,
            guard: Some(guard),
            over,
            swap: SWAP,
            history: Vec::new(),
            agents: 0,
            evicted: BTreeSet::new(),
        };
        storm.node.presses(true);
        storm.start_agent();
        storm
    }

    fn step(&mut self) {
        let what = self.random.u32(..100);
        match what {
            0..18 => self.new_pod(),
            18..28 => self.pod_ends(),
            28..45 => self.drift(),
            45..52 => self.path_is_used_again(),
            52..67 => self.api_fault(),
            67..72 => self.node.server.drop_watches().unwrap(),
            72..74 => self.node.server.compact().unwrap(),
            74..77 => self.api_server_is_away(),
            77..80 => self.certificates(),
            80..84 => self.kill(),
            84..88 => self.garble(),
            88..91 => self.swap_changes(),
            91..95 => self.node.presses(self.random.u32(..4) > 0),
            _ => self.reload(),
        }
        self.history.push(what.to_string());
        self.be_the_kubelet();
        if self.agent.as_mut().is_none_or(|agent| agent.ended().is_some()) {
            self.start_agent();
        }
        std::thread::sleep(Duration::from_millis(self.random.u64(1..60)));
    }

    /// Starts a new agent as systemd would, with failpoints that fire occasionally.
    fn start_agent(&mut self) {
        self.repairs.store(false, Ordering::SeqCst);
        self.agent = None;
        let mut failpoints = Vec::new();
        for place in EVERY {
            let errors = ["EIO", "EINTR", "EBUSY", "ENOSPC"];
            let mut chain = Vec::new();
            for _ in 0..50 {
                let error = match self.random.u32(..200) {
                    0 if place != "cgroup.read" => "kill",
                    _ => self.random.choice(errors).unwrap(),
                };
                chain.push(format!("{}*off->1*return({error})", self.random.u32(5..60)));
            }
            failpoints.push(format!("{place}={}", chain.join("->")));
        }
        let mut agent = Agent::spawn(&self.node.host, &["run"], &failpoints.join(";"));
        let published = self.node.host.path("/run/wasp-agent/status.json");
        let _ = std::fs::remove_file(&published);
        // It may die at a failpoint again; the next step starts another.
        lives_until(&mut agent, "an agent that works", || published.exists());
        self.agent = Some(agent);
        self.agents += 1;
        self.repairs.store(true, Ordering::SeqCst);
    }

    fn new_pod(&mut self) {
        self.next += 1;
        let requested = self.random.u64(1..200);
        let name = format!("p{}", self.next);
        let limit = self.random.choice(["max", "0", "4096"]).unwrap();
        let container = self.node.pod(&burstable(&name, requested), self.next, limit);
        self.node.uses(&container.cgroup, self.random.u64(..300) * MIB, 0);
        self.pods.push((container, requested));
        self.tell_guard();
    }

    fn pod_ends(&mut self) {
        if self.pods.len() > 3 {
            let at = self.random.usize(..self.pods.len());
            self.remove(at);
        }
    }

    fn remove(&mut self, at: usize) {
        let (container, _) = self.pods.swap_remove(at);
        self.tell_guard();
        self.node.host.remove_pod_of(&container.cgroup);
        let _ = self.node.server.delete(&container.path);
    }

    /// Ends the pods that are being deleted.
    fn be_the_kubelet(&mut self) {
        let leaving = self.node.leaving();
        for name in ["critical", "protected"] {
            assert!(!leaving.iter().any(|leaving| leaving == name), "{name} is evicted");
        }
        assert!(leaving.len() <= 1, "{leaving:?} are evicted at the same time");
        self.evicted.extend(leaving.iter().cloned());
        let left = |(container, _): &(Container, u64)| {
            leaving.iter().any(|name| container.path.ends_with(&format!("/{name}")))
        };
        if self.random.u32(..4) == 0
            && let Some(at) = self.pods.iter().position(left)
        {
            self.remove(at);
        }
    }

    fn drift(&mut self) {
        if let Some((container, _)) = self.random.choice(&self.pods) {
            let to = self.random.choice(["max", "0", "8192", "9000000000"]).unwrap();
            self.node.host.set_limit(&container.cgroup, to);
        }
    }

    /// Replaces a container by another one with the same path, as after a restart with a fixed
    /// name.
    fn path_is_used_again(&mut self) {
        let Some((container, _)) = self.random.choice(&self.pods) else { return };
        let path = self.node.host.path(&container.cgroup);
        let _ = self.grants.lock().unwrap().remove(&container.cgroup);
        let kept: Vec<_> = files(&path).collect();
        std::fs::remove_dir_all(&path).unwrap();
        for (name, text) in kept {
            let text = if name == "memory.swap.max" { "max\n" } else { &text };
            self.node.host.write(&format!("{}/{name}", container.cgroup), text);
        }
        self.tell_guard();
    }

    fn api_fault(&mut self) {
        let faults = [
            json!({"delayMs": 700}),
            json!({"verb": "watch", "cutAfterEvents": 1}),
            json!({"code": 401}),
            json!({"code": 403}),
            json!({"resource": "pods/eviction", "code": 409}),
            json!({"verb": "watch", "code": 410}),
            json!({"resource": "pods/eviction", "code": 429, "retryAfter": 1}),
            json!({"code": 429, "retryAfter": 1}),
            json!({"code": 500}),
            json!({"garbage": "invalid"}),
            json!({"garbage": "truncated"}),
            json!({"reset": true}),
            json!({"resource": "pods/eviction", "hang": true}),
        ];
        let mut fault = self.random.choice(faults).unwrap();
        fault["user"] = format!("system:node:{NODE}").into();
        fault["times"] = self.random.u64(1..4).into();
        self.history.push(fault.to_string());
        self.node.server.fault(serde_json::from_value(fault).unwrap()).unwrap();
    }

    fn api_server_is_away(&mut self) {
        self.node.server.stop().unwrap();
        std::thread::sleep(Duration::from_millis(self.random.u64(..1500)));
        self.node.server.start().unwrap();
    }

    fn certificates(&mut self) {
        let hour = Validity::for_the_next(Duration::from_secs(3600));
        match self.random.u32(..3) {
            0 => drop(self.node.server.rotate(NODE, Validity::expired())),
            1 => drop(self.node.server.pki().rotate_from_wrong_ca(NODE, hour)),
            _ => drop(self.node.server.rotate(NODE, hour)),
        }
    }

    fn kill(&mut self) {
        if let Some(agent) = self.agent.take() {
            self.repairs.store(false, Ordering::SeqCst);
            agent.signal("-KILL");
            agent.ends();
        }
    }

    /// Writes garbage into the agent's files.
    fn garble(&mut self) {
        let folder = self.random.choice(["/run/wasp-agent", "/run/wasp-agent/pods"]).unwrap();
        let names: Vec<String> =
            files(&self.node.host.path(folder)).map(|(name, _)| name).collect();
        // evictions.json keeps the agent from evicting twice.
        let names: Vec<_> = names.iter().filter(|name| *name != "evictions.json").collect();
        if let Some(name) = self.random.choice(names) {
            let garbage = self.random.choice(["", "{", "{\"version\":1}", "null"]).unwrap();
            self.node.host.write(&format!("{folder}/{name}"), garbage);
        }
    }

    fn swap_changes(&mut self) {
        self.swap = self.random.choice([SWAP / 2, SWAP, SWAP * 2]).unwrap();
        // Grants fall with the next look at the node, which the kernel triggers on a real one.
        let _ = self.grants.lock().map(|mut grants| grants.clear());
        self.node.host.memory(crate::node::RAM, self.swap);
        self.reload();
        std::thread::sleep(Duration::from_millis(300));
        self.tell_guard();
    }

    fn reload(&mut self) {
        if let Some(agent) = &mut self.agent
            && agent.ended().is_none()
        {
            agent.signal("-HUP");
        }
    }

    fn tell_guard(&self) {
        let share = |requested: u64| share(requested) * self.swap / SWAP;
        let right = |(container, requested): &(Container, u64)| {
            (container.cgroup.clone(), share(*requested))
        };
        *self.grants.lock().unwrap() = self.pods.iter().map(right).collect();
    }

    /// Ends the faults: all limits become right again, and the agent reports that.
    fn calm_down(mut self) {
        self.node.server.clear_faults().unwrap();
        self.node.presses(false);
        self.node.host.memory(crate::node::RAM, self.swap);
        self.node.server.rotate(NODE, Validity::for_the_next(Duration::from_secs(3600))).unwrap();
        self.kill();
        let mut agent = Agent::start(&self.node.host);
        for (container, requested) in &self.pods {
            let right = share(*requested) * self.swap / SWAP;
            self.node.host.await_limit(&container.cgroup, &right.to_string());
        }
        // One of the pods that are never evicted may swap as well.
        agent.hears(&format!(": {} of ", self.pods.len() + 1));
        assert_eq!(agent.stop().0, Some(0));
        self.over.store(true, Ordering::SeqCst);
        let violations = self.guard.take().unwrap().join().unwrap();
        assert!(violations.is_empty(), "{violations:#?}\nafter {}", self.history.join(" "));
        self.node.assert_nothing_is_left_over("at last");
        #[expect(clippy::print_stderr, reason = "what the storm was")]
        {
            eprintln!(
                "{} faults and changes, {} pods, {} agents, {} evictions",
                self.history.len(),
                self.next,
                self.agents,
                self.evicted.len()
            );
        }
    }
}

/// Watches that no container stays above its grant for longer than the bound.
fn guard(
    root: &std::path::Path,
    grants: &Grants,
    repairs: &AtomicBool,
    over: &AtomicBool,
) -> Vec<String> {
    let mut above: BTreeMap<String, Instant> = BTreeMap::new();
    let mut violations = Vec::new();
    while !over.load(Ordering::SeqCst) {
        let now = Instant::now();
        let grants = grants.lock().unwrap().clone();
        above.retain(|cgroup, _| grants.contains_key(cgroup));
        for (cgroup, grant) in &grants {
            let path = root.join(cgroup.trim_start_matches('/')).join("memory.swap.max");
            let limit = std::fs::read_to_string(path).unwrap_or_default();
            let is_above = match limit.trim_end() {
                "max" => true,
                bytes => bytes.parse().is_ok_and(|bytes: u64| bytes > *grant),
            };
            if !is_above || !repairs.load(Ordering::SeqCst) {
                above.remove(cgroup);
            } else if now.duration_since(*above.entry(cgroup.clone()).or_insert(now)) > REPAIR_BOUND
            {
                violations.push(format!("{cgroup}: {} instead of {grant}", limit.trim_end()));
                above.remove(cgroup);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    violations
}
