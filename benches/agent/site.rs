//! A node in a directory with its API server, and the kernel's counters of the agent between the
//! two.

use std::{fs, ops::Sub};

use serde_json::{Value, json};
use test_apiserver::Handle;

use crate::{
    bare::Admin,
    support::{Agent, FakeHost, MIB, NODE, api_server, container_id, pod},
};

/// A pod as large as those of real clusters: about 8 kB of JSON, most of which the agent does not
/// need.
pub(crate) fn real_pod(name: &str, number: usize) -> Value {
    let mut pod = pod(name, NODE, Some("100Mi"), Some("1Gi"));
    let last_applied = "x".repeat(4000);
    pod["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": last_applied});
    let variable = |n| json!({"name": format!("VARIABLE_{n}"), "value": "a value of some length"});
    pod["spec"]["containers"][0]["env"] = (0..60).map(variable).collect();
    pod["metadata"]["labels"] = json!({"app": format!("app-{number}")});
    pod
}

pub(crate) fn with_uid(mut pod: Value, number: usize) -> Value {
    pod["metadata"]["uid"] = json!(format!("{number:08x}-0000-4444-9bb8-9701e3620c02"));
    pod
}

pub(crate) struct Site {
    pub host: FakeHost,
    pub server: Handle,
    pub admin: Admin,
    /// The containers' cgroups, in the order of their pods.
    pub cgroups: Vec<String>,
    _data: tempfile::TempDir,
}

impl Site {
    /// A node with `pods`, each with a container and a sandbox.
    pub(crate) fn new(pods: usize) -> Self {
        Self::of(pods, real_pod)
    }

    pub(crate) fn of(pods: usize, pod: fn(&str, usize) -> Value) -> Self {
        let host = FakeHost::new(256 * 1024 * MIB, 128 * 1024 * MIB);
        let (data, server) = api_server();
        host.use_kubeconfig(&server);
        let admin = Admin::new(&server.admin_kubeconfig());
        let mut cgroups = Vec::new();
        for number in 0..pods {
            let uid = admin.create(pod(&format!("p{number}"), number));
            cgroups.push(host.container(&uid, &container_id(number), "main", "max"));
            host.container(&uid, &container_id(pods + number), "POD", "max");
        }
        Self { host, server, admin, cgroups, _data: data }
    }

    pub(crate) fn pods(&self) -> usize {
        self.cgroups.len()
    }

    /// Adds this many pods to other nodes.
    pub(crate) fn elsewhere(&self, pods: usize) {
        for number in 0..pods {
            let mut pod = real_pod(&format!("other{number}"), number);
            pod["spec"]["nodeName"] = json!("node-b");
            self.admin.create(pod);
        }
    }

    /// Starts an agent; returns once it is ready and its startup work is done.
    pub(crate) fn start(&self) -> Agent {
        let agent = Agent::start(&self.host);
        std::thread::sleep(std::time::Duration::from_secs(3));
        agent
    }

    /// Returns the bytes that the API server has sent the agent on its watch, before TLS.
    pub(crate) fn watched_bytes(&self) -> u64 {
        let report = self.server.requests().unwrap();
        let of_agent = |row: &&Value| {
            row["user"] == format!("system:node:{NODE}")
                && row["verb"] == "watch"
                && row["resource"] == "pods"
        };
        let rows = report["requests"].as_array().unwrap().iter();
        rows.filter(of_agent).map(|row| row["bytes"].as_u64().unwrap()).sum()
    }
}

/// The kernel's counters of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub cpu_seconds: f64,
    pub wake_ups: u64,
    /// System calls that read.
    pub reads: u64,
}

impl Counted {
    pub(crate) fn of(agent: &Agent) -> Self {
        let file =
            |name: &str| fs::read_to_string(format!("/proc/{}/{name}", agent.pid())).unwrap();
        let nanoseconds = number(file("schedstat").split_whitespace().next());
        Self {
            cpu_seconds: nanoseconds as f64 / 1e9,
            wake_ups: line(&file("status"), "voluntary_ctxt_switches"),
            reads: line(&file("io"), "syscr"),
        }
    }
}

impl Sub for Counted {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
            wake_ups: self.wake_ups - before.wake_ups,
            reads: self.reads - before.reads,
        }
    }
}

/// Returns RSS and its anonymous part, in bytes.
pub(crate) fn memory(agent: &Agent) -> [f64; 2] {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    ["VmRSS", "RssAnon"].map(|key| line(&status, key) as f64 * 1024.0)
}

/// Returns the agent's peak RSS, in bytes.
pub(crate) fn peak(agent: &Agent) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    line(&status, "VmHWM") as f64 * 1024.0
}

fn line(text: &str, key: &str) -> u64 {
    number(text.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().nth(1)))
}

fn number(word: Option<&str>) -> u64 {
    word.unwrap().parse().unwrap()
}
