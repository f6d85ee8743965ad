//! A node with pods, and the invariants that must hold on it.

use std::{fs, path::Path, time::Instant};

use serde_json::Value;
use test_apiserver::Handle;

use crate::support::{Agent, FakeHost, MIB, NODE, PATIENCE, api_server, container_id, pod, uid};

pub(crate) const RAM: u64 = 4096 * MIB;
pub(crate) const SWAP: u64 = 2048 * MIB;
pub(crate) const HOOKS: &str = "/run/containers/oci/hooks.d";

pub(crate) struct Node {
    pub host: FakeHost,
    pub server: Handle,
    _data: tempfile::TempDir,
}

impl Node {
    pub(crate) fn new() -> Self {
        let (data, server) = api_server();
        let host = FakeHost::new(RAM, SWAP);
        host.use_kubeconfig(&server);
        Self { host, server, _data: data }
    }

    /// Creates a pod with one container in a cgroup, as the runtime leaves it.
    pub(crate) fn pod(&self, object: &Value, number: usize, swap_max: &str) -> Container {
        let pod = self.server.apply(object).unwrap();
        let cgroup = self.host.container(uid(&pod), &container_id(number), "main", swap_max);
        self.uses(&cgroup, 0, 0);
        let text = |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap().to_owned();
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        Container { cgroup, path: format!("/api/v1/namespaces/{namespace}/pods/{name}") }
    }

    pub(crate) fn uses(&self, cgroup: &str, memory_bytes: u64, swap_bytes: u64) {
        self.host.write(&format!("{cgroup}/memory.stat"), "inactive_file 0\n");
        self.host.write(&format!("{cgroup}/memory.current"), &format!("{memory_bytes}\n"));
        self.host.write(&format!("{cgroup}/memory.swap.current"), &format!("{swap_bytes}\n"));
    }

    /// Sets the use of RAM and swap: all of it, or hardly any.
    pub(crate) fn presses(&self, pressed: bool) {
        self.host.memory(RAM, SWAP);
        if pressed {
            let path = self.host.path("/proc/meminfo");
            let text = fs::read_to_string(path).unwrap();
            let free = |line: &str| line.starts_with("MemFree") || line.starts_with("SwapFree");
            let zeroed = |line| match free(line) {
                true => format!("{}: 0 kB\n", line.split(':').next().unwrap()),
                false => format!("{line}\n"),
            };
            let text: String = text.lines().map(zeroed).collect();
            self.host.write("/proc/meminfo", &text);
        }
    }

    /// Returns the names of pods that are being deleted.
    pub(crate) fn leaving(&self) -> Vec<String> {
        let list = self.server.get("/api/v1/pods").unwrap();
        let leaving = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_string();
        let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap().to_owned();
        list["items"].as_array().unwrap().iter().filter(leaving).map(name).collect()
    }

    /// Checks the invariants of files at any time when the agent may have died.
    pub(crate) fn assert_files_are_whole(&self, when: &str) {
        for folder in ["/run/wasp-agent", "/run/wasp-agent/pods", HOOKS] {
            for (name, text) in files(&self.host.path(folder)) {
                if name.ends_with(".json") && !name.starts_with(".wasp-agent-new-") {
                    let parsed: Result<Value, _> = serde_json::from_str(&text);
                    assert!(parsed.is_ok(), "{when}: {folder}/{name} is {text:?}");
                }
            }
        }
    }

    pub(crate) fn assert_nothing_is_left_over(&self, when: &str) {
        for folder in ["/run/wasp-agent", "/run/wasp-agent/pods", HOOKS] {
            let names: Vec<_> = files(&self.host.path(folder)).map(|(name, _)| name).collect();
            assert!(
                !names.iter().any(|name| name.starts_with(".wasp-agent-new-")),
                "{when}: {names:?}"
            );
        }
    }
}

pub(crate) struct Container {
    pub cgroup: String,
    /// Path of its pod in the API.
    pub path: String,
}

/// Returns name and content of each file in `folder`.
pub(crate) fn files(folder: &Path) -> impl Iterator<Item = (String, String)> {
    fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| {
        let text = fs::read_to_string(entry.path()).ok()?;
        Some((entry.file_name().into_string().ok()?, text))
    })
}

pub(crate) fn burstable(name: &str, mebibytes: u64) -> Value {
    pod(name, NODE, Some(&format!("{mebibytes}Mi")), None)
}

/// Returns LimitedSwap's grant for this request.
pub(crate) fn share(mebibytes: u64) -> u64 {
    mebibytes * MIB / (RAM / SWAP)
}

/// Waits until `done`, or until the agent has ended; returns true if it has not ended.
pub(crate) fn lives_until(agent: &mut Agent, what: &str, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = agent.ended() {
            use std::os::unix::process::ExitStatusExt;
            assert_eq!(status.signal(), Some(9), "{what}: {status}: {}", agent.log());
            return false;
        }
        if done() {
            return true;
        }
        assert!(Instant::now() < deadline, "not {what} in {PATIENCE:?}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
