//! A directory that is used as the host, an API server that answers like a real one, and the real
//! agent between the two. Such a host has no systemd; the VM of `tests/node` has one.

#![allow(dead_code, reason = "each test program uses some of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

pub(crate) mod node;

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::unix::{fs::FileExt, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use test_apiserver::{ApiServer, Handle, Options};

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const NODE: &str = "node-a";
/// Long enough for a busy machine; no test waits for its end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct FakeHost {
    folder: tempfile::TempDir,
}

impl FakeHost {
    pub(crate) fn new(ram_bytes: u64, swap_bytes: u64) -> Self {
        let host = Self { folder: tempfile::tempdir().unwrap() };
        host.write("/sys/fs/cgroup/cgroup.controllers", "memory\n");
        host.write("/proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
        host.memory(ram_bytes, swap_bytes);
        host.write("/proc/vmstat", "pswpin 0\npswpout 0\n");
        // Without systemd there is no slice to protect.
        let no_slices = "[protection]\nprotected-slices = []\nworking-set-percent = 0\n";
        host.write("/usr/lib/wasp-agent/config.d/10-test.toml", no_slices);
        let hooks = "[crio.runtime]\nhooks_dir = [\"/run/containers/oci/hooks.d\"]\n";
        host.write("/etc/crio/crio.conf.d/10-test.conf", hooks);
        host
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// Writes atomically, because the agent may read at any time.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        let folder = path.parent().unwrap();
        fs::create_dir_all(folder).unwrap();
        let mut file = tempfile::NamedTempFile::new_in(folder).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.persist(path).unwrap();
    }

    pub(crate) fn memory(&self, ram_bytes: u64, swap_bytes: u64) {
        let (ram, swap) = (ram_bytes / 1024, swap_bytes / 1024);
        let zero = [
            "Buffers",
            "Cached",
            "SwapCached",
            "Active",
            "Inactive",
            "Dirty",
            "Writeback",
            "Mapped",
            "Slab",
            "Committed_AS",
            "VmallocTotal",
            "VmallocUsed",
            "VmallocChunk",
        ];
        let rest: String = zero.iter().map(|key| format!("{key}: 0 kB\n")).collect();
        let text = format!(
            "MemTotal: {ram} kB\nMemFree: {ram} kB\nSwapTotal: {swap} kB\nSwapFree: {swap} kB\n{rest}"
        );
        self.write("/proc/meminfo", &text);
    }

    pub(crate) fn use_kubeconfig(&self, server: &Handle) {
        let link = self.path("/var/lib/kubelet/kubeconfig");
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(server.node_kubeconfig(NODE).unwrap(), link).unwrap();
    }

    /// Creates a container's cgroup as a runtime leaves it, with the bundle that has its name;
    /// returns the cgroup's path on the host.
    pub(crate) fn container(&self, pod_uid: &str, id: &str, name: &str, swap_max: &str) -> String {
        let bundle = json!({"annotations": {
            "io.kubernetes.pod.uid": pod_uid,
            "io.kubernetes.cri-o.ContainerType": if name == "POD" { "sandbox" } else { "container" },
            "io.kubernetes.container.name": name,
        }});
        let userdata = format!("/run/containers/storage/overlay-containers/{id}/userdata");
        self.write(&format!("{userdata}/config.json"), &bundle.to_string());
        let cgroup = format!("/sys/fs/cgroup/kubepods/burstable/pod{pod_uid}/crio-{id}");
        self.write(&format!("{cgroup}/memory.swap.current"), "0\n");
        self.write(&format!("{cgroup}/memory.swap.max"), swap_max);
        cgroup
    }

    /// Removes the cgroup immediately, as the kernel does.
    pub(crate) fn remove_container(&self, cgroup: &str) {
        self.remove(&self.path(cgroup));
    }

    /// Removes the cgroup of the pod that contains the container's `cgroup`, as a kubelet does when
    /// the pod's containers have ended.
    pub(crate) fn remove_pod_of(&self, cgroup: &str) {
        self.remove_container(cgroup);
        self.remove(self.path(cgroup).parent().unwrap());
    }

    fn remove(&self, cgroup: &Path) {
        let gone = self.path("/gone");
        fs::rename(cgroup, &gone).unwrap();
        // cgroups-rs opens files with O_CREAT, which creates them here, but not in cgroupfs.
        while let Err(error) = fs::remove_dir_all(&gone) {
            assert_eq!(error.kind(), std::io::ErrorKind::DirectoryNotEmpty);
        }
    }

    pub(crate) fn limit(&self, cgroup: &str) -> String {
        let text = fs::read_to_string(self.path(cgroup).join("memory.swap.max")).unwrap();
        text.trim_end().to_owned()
    }

    /// Writes once, without truncating, like a write to cgroupfs: the agent never reads half a
    /// limit.
    pub(crate) fn set_limit(&self, cgroup: &str, value: &str) {
        let file =
            File::options().write(true).open(self.path(cgroup).join("memory.swap.max")).unwrap();
        file.write_all_at(format!("{value:\n<20}").as_bytes(), 0).unwrap();
    }

    /// Waits for the limit, and returns the time that it took.
    pub(crate) fn await_limit(&self, cgroup: &str, expected: &str) -> Duration {
        let start = Instant::now();
        while self.limit(cgroup) != expected {
            assert!(
                start.elapsed() < PATIENCE,
                "{cgroup} has {}, not {expected}",
                self.limit(cgroup)
            );
            std::thread::sleep(Duration::from_micros(200));
        }
        start.elapsed()
    }
}

/// Starts an API server with its data in a separate directory.
pub(crate) fn api_server() -> (tempfile::TempDir, Handle) {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::new(folder.path());
    options.nodes = vec![NODE.to_owned()];
    let server = ApiServer::start(options).unwrap();
    (folder, server)
}

/// Builds a pod with one container `main`, with these requests and limits of memory.
pub(crate) fn pod(name: &str, node: &str, request: Option<&str>, limit: Option<&str>) -> Value {
    let amount =
        |amount: Option<&str>| amount.map_or(json!({}), |memory| json!({"memory": memory}));
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": node, "containers": [{
            "name": "main", "image": "x",
            "resources": {"requests": amount(request), "limits": amount(limit)},
        }]},
    })
}

/// Returns the UID that the API server gave.
pub(crate) fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap()
}

pub(crate) fn container_id(number: usize) -> String {
    format!("{number:064x}")
}

/// Returns `promtool`; without it, prints that the test is skipped.
pub(crate) fn promtool() -> Option<Command> {
    match Command::new("promtool").arg("--version").output() {
        Ok(_) => Some(Command::new("promtool")),
        Err(error) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "promtool: {error}");
            #[expect(clippy::print_stderr, reason = "a test that skips says so")]
            {
                eprintln!("SKIPPED, loudly: no promtool (apt-get install prometheus): {error}");
            }
            None
        }
    }
}

/// Returns the agent that cargo has built next to this program.
pub(crate) fn agent_binary() -> PathBuf {
    option_env!("CARGO_BIN_EXE_wasp-agent").map_or_else(
        || {
            let here = std::env::current_exe().unwrap();
            here.parent().and_then(Path::parent).unwrap().join("wasp-agent")
        },
        PathBuf::from,
    )
}

pub(crate) struct Agent {
    child: Child,
    notifications: mpsc::Receiver<String>,
    _socket: tempfile::TempDir,
    heard: Vec<String>,
    log: Option<std::thread::JoinHandle<String>>,
}

impl Agent {
    pub(crate) fn command(host: &FakeHost, arguments: &[&str]) -> Command {
        Self::command_of(&agent_binary(), host, arguments)
    }

    fn command_of(program: &Path, host: &FakeHost, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.arg("--root").arg(host.root()).args(arguments).env_clear().stdin(Stdio::null());
        command
    }

    /// Starts the agent as systemd would and waits until it is ready.
    pub(crate) fn start(host: &FakeHost) -> Self {
        Self::start_with(host, &["run"])
    }

    pub(crate) fn start_with(host: &FakeHost, arguments: &[&str]) -> Self {
        let mut agent = Self::spawn(host, arguments, "");
        agent.hears_beside("READY=1");
        agent
    }

    /// Starts the agent with `FAILPOINTS` and does not wait.
    pub(crate) fn spawn(host: &FakeHost, arguments: &[&str], failpoints: &str) -> Self {
        Self::spawn_program(&agent_binary(), host, arguments, failpoints)
    }

    /// As [`Agent::start_with`], with an agent at another path.
    pub(crate) fn start_program(program: &Path, host: &FakeHost, arguments: &[&str]) -> Self {
        let mut agent = Self::spawn_program(program, host, arguments, "");
        agent.hears_beside("READY=1");
        agent
    }

    fn spawn_program(
        program: &Path,
        host: &FakeHost,
        arguments: &[&str],
        failpoints: &str,
    ) -> Self {
        let socket = tempfile::tempdir().unwrap();
        let path = socket.path().join("notify");
        let notifications = listen(&path);
        let mut child = Self::command_of(program, host, arguments)
            .env("NOTIFY_SOCKET", &path)
            .env("FAILPOINTS", failpoints)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Read continuously: a full pipe would block the agent.
        let mut stderr = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            let _ = stderr.read_to_string(&mut log);
            log
        });
        Self { child, notifications, _socket: socket, heard: Vec::new(), log: Some(log) }
    }

    /// Returns the exit status if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a notification line that contains `text` and returns it. Consumes it and the lines
    /// before it.
    pub(crate) fn hears(&mut self, text: &str) -> String {
        let index = self.hears_beside(text);
        self.heard.drain(..=index).next_back().unwrap()
    }

    fn hears_beside(&mut self, text: &str) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(index) = self.heard.iter().position(|line| line.contains(text)) {
                return index;
            }
            let message = match self
                .notifications
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(message) => message,
                Err(error) => {
                    let log = self.log();
                    panic!(
                        "the agent did not say {text:?}: {error}; it said {:?}\n{log}",
                        self.heard
                    )
                }
            };
            self.heard.extend(message.lines().map(str::to_owned));
        }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end; returns the exit code and its complete log.
    pub(crate) fn ends(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        (status.code(), self.read_log())
    }

    pub(crate) fn stop(self) -> (Option<i32>, String) {
        self.signal("-TERM");
        self.ends()
    }

    /// Ends it; returns its complete log.
    pub(crate) fn log(&mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.read_log()
    }

    fn read_log(&mut self) -> String {
        self.log.take().and_then(|log| log.join().ok()).unwrap_or_default()
    }
}

/// Reads all pending notifications, as systemd does: a full socket would block the agent.
fn listen(path: &Path) -> mpsc::Receiver<String> {
    let socket = UnixDatagram::bind(path).unwrap();
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length) = socket.recv(&mut buffer) {
            if send.send(String::from_utf8_lossy(&buffer[..length]).into_owned()).is_err() {
                return;
            }
        }
    });
    receive
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
