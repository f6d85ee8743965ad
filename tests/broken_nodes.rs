//! Broken nodes, one after another: STATUS, `wasp-agent status` and `wasp-agent check` name the
//! same cause first and the same remedy, and the remedy works when pasted into a shell.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use support::{
    Agent, FakeHost, NODE, PATIENCE, api_server, container_id,
    node::{HOOK, KUBELET, healthy, selinux},
    pod, uid,
};
use test_apiserver::{Handle, pki::Validity};

/// A healthy node with an API server, on which the agent has nothing to report.
struct Node {
    host: FakeHost,
    server: Handle,
    _data: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let node = Self::with_hook();
        // The hook of the tested agent is not in the folder that stands for the host.
        node.host.write("/etc/wasp-agent/config.d/92-hook.toml", "[hook]\ninstall = false\n");
        node
    }

    fn with_hook() -> Self {
        let ((data, server), host) = (api_server(), healthy());
        // There is no systemd here to protect a slice.
        host.write(
            "/usr/lib/wasp-agent/config.d/10-test.toml",
            "[protection]\nprotected-slices = []\nworking-set-percent = 0\n",
        );
        // Nor a partition: the active swap is all that is configured.
        host.write("/etc/wasp-agent/config.d/90-swap.toml", "");
        host.write("/proc/vmstat", "pswpin 0\npswpout 0\n");
        host.write("/proc/sys/vm/swappiness", "60\n");
        host.write("/proc/sys/vm/overcommit_memory", "1\n");
        host.write("/sys/fs/cgroup/kubepods.slice/memory.swap.max", "max\n");
        host.use_kubeconfig(&server);
        Self { host, server, _data: data }
    }

    fn start(&self) -> Agent {
        let agent = Agent::start(&self.host);
        // `status` and `check` recognize the running agent by its name.
        self.host.write(&format!("/proc/{}/comm", agent.pid()), "wasp-agent\n");
        agent
    }

    fn out(&self, arguments: &[&str]) -> String {
        let output = Agent::command(&self.host, arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn checks(&self) -> Vec<Value> {
        let out = self.out(&["check", "--json"]);
        let report: Value = serde_json::from_str(&out).unwrap();
        report["checks"].as_array().unwrap().clone()
    }

    /// Waits until `is_there` holds for the agent's publication, and returns it.
    fn published(&self, is_there: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = fs::read_to_string(self.host.path("/run/wasp-agent/status.json"));
            let value = text.ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
            if let Some(value) = value.as_ref().filter(|value| is_there(value)) {
                return value.clone();
            }
            assert!(Instant::now() < deadline, "it is not published: {value:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Pastes `lines` into a shell whose host is the folder. `systemctl` and others act on the
    /// folder as they would on a host.
    fn paste(&self, lines: &[String], agent: &Agent) {
        let stubs = tempfile::tempdir().unwrap();
        let stub = |name: &str, script: &str| {
            let path = stubs.path().join(name);
            fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        stub(
            "systemctl",
            r#"case "$1 $2" in
"reload wasp-agent"|"reload-or-restart wasp-agent") kill -HUP "$AGENT";;
set-property*) for set in "${@:3}"; do
    case $set in MemorySwapMax=infinity) echo max > "$ROOT/sys/fs/cgroup/$2/memory.swap.max";; esac
  done;;
"restart kubelet"|"reboot ") ;;
*) echo "systemctl $*: not expected" >&2; exit 1;;
esac"#,
        );
        stub("sysctl", r#"set=${2//./\/}; echo "${set#*=}" > "$ROOT/proc/sys/${set%%=*}""#);
        stub(
            "grubby",
            r#"[[ $* == *--args=psi=1 ]] && { echo 'some avg10=0.00 avg60=0.00 avg300=0.00 total=0'; echo 'full avg10=0.00 avg60=0.00 avg300=0.00 total=0'; } > "$ROOT/proc/pressure/memory"; exit 0"#,
        );
        stub("oc", "exit 0");
        stub("wasp-agent", r#"exec "$PROGRAM" --root "$ROOT" "$@""#);
        let root = self.host.root().display().to_string();
        let mut script = String::new();
        for line in lines {
            let mut line = line.clone();
            for folder in ["etc", "usr", "opt", "run", "sys", "proc", "var"] {
                for before in [" ", "'", "\"", "> ", ">> "] {
                    line = line.replace(
                        &format!("{before}/{folder}/"),
                        &format!("{before}{root}/{folder}/"),
                    );
                }
            }
            script += &format!("{line}\n");
        }
        let output = Command::new("bash")
            .args(["-e", "-c", &script])
            .env("PATH", format!("{}:/usr/bin:/bin", stubs.path().display()))
            .env("ROOT", &root)
            .env("AGENT", agent.pid().to_string())
            .env("PROGRAM", support::agent_binary())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{script}: {said}");
    }
}

/// A broken node.
struct Broken {
    name: &'static str,
    /// A change before the agent starts.
    breaks: fn(&Node),
    /// A change while it runs.
    then: fn(&Node, &mut Agent),
    cause: &'static str,
    remedy: &'static str,
    /// The check that reports it.
    check: &'static str,
    /// True if the remedy can be pasted here.
    paste: bool,
}

const QUIET: fn(&Node, &mut Agent) = |_, _| {};
const WELL: fn(&Node) = |_| {};

fn unit(node: &Node, flags: &str) {
    let text = format!(
        "[Service]\nExecStart=/usr/bin/kubelet --config=/etc/kubernetes/kubelet.conf {flags}\n"
    );
    node.host.write("/etc/systemd/system/kubelet.service", &text);
}

fn refuse(node: &Node, code: u16, message: &str) {
    for verb in ["list", "watch"] {
        let fault = json!({"verb": verb, "resource": "pods", "code": code, "message": message});
        node.server.fault(serde_json::from_value(fault).unwrap()).unwrap();
    }
}

const BROKEN: &[Broken] = &[
    Broken {
        name: "a drop-in of the kubelet overrides its file",
        breaks: |n| {
            unit(n, "--config-dir=/etc/kubernetes/kubelet.conf.d");
            let head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";
            n.host.write(
                "/etc/kubernetes/kubelet.conf.d/95-user.conf",
                &format!("{head}failSwapOn: true\n"),
            );
        },
        then: QUIET,
        cause: "failSwapOn is true (/etc/kubernetes/kubelet.conf.d/95-user.conf)",
        remedy: "/etc/kubernetes/kubelet.conf.d/99-wasp-agent.conf",
        check: "kubelet-fail-swap-on",
        paste: true,
    },
    Broken {
        name: "a flag of the kubelet",
        breaks: |n| unit(n, "--fail-swap-on=true"),
        then: QUIET,
        cause: "failSwapOn is true (a flag of kubelet.service)",
        remedy: "remove --fail-swap-on from the command line of kubelet.service",
        check: "kubelet-fail-swap-on",
        paste: false,
    },
    Broken {
        name: "the kubelet grants swap, and grants = \"agent\"",
        breaks: |n| {
            n.host.write("/etc/wasp-agent/config.d/50-grants.toml", "grants = \"agent\"\n");
            n.host.write(
                "/etc/kubernetes/kubelet.conf",
                &format!("{KUBELET}memorySwap:\n  swapBehavior: LimitedSwap\n"),
            )
        },
        then: QUIET,
        cause: "swapBehavior is LimitedSwap (/etc/kubernetes/kubelet.conf)",
        remedy: "swapBehavior: NoSwap",
        check: "kubelet-swap-behavior",
        paste: true,
    },
    Broken {
        name: "a foreign swap hook",
        breaks: |n| {
            n.host.write("/run/containers/oci/hooks.d/50-swap.json", r#"{"version":"1.0.0","hook":{"path":"/opt/swap.sh"},"when":{"always":true},"stages":["createRuntime"]}"#);
            n.host
                .write("/opt/swap.sh", "#!/bin/sh\necho max > /sys/fs/cgroup/x/memory.swap.max\n");
        },
        then: QUIET,
        cause: "/run/containers/oci/hooks.d/50-swap.json: its program /opt/swap.sh",
        remedy: "mv /run/containers/oci/hooks.d/50-swap.json",
        check: "foreign-hook",
        paste: true,
    },
    Broken {
        name: "leftovers of the DaemonSet",
        breaks: WELL,
        // The agent notices it at once, not at the next resync.
        then: |n, _| n.host.write("/run/containers/oci/hooks.d/swap-for-burstable.json", "{}"),
        cause: "/run/containers/oci/hooks.d/swap-for-burstable.json, which removes swap limits",
        remedy: "rm /run/containers/oci/hooks.d/swap-for-burstable.json",
        check: "daemonset-hook",
        paste: true,
    },
    Broken {
        name: "kubepods.slice at 0",
        breaks: |n| n.host.write("/sys/fs/cgroup/kubepods.slice/memory.swap.max", "0\n"),
        then: QUIET,
        cause: "memory.swap.max of kubepods.slice is 0",
        remedy: "systemctl set-property kubepods.slice MemorySwapMax=infinity",
        check: "limits-above-pods",
        paste: true,
    },
    Broken {
        name: "vm.swappiness is 0",
        breaks: |n| n.host.write("/proc/sys/vm/swappiness", "0\n"),
        then: QUIET,
        cause: "vm.swappiness is 0",
        remedy: "sysctl -w vm.swappiness=60",
        check: "swappiness",
        paste: true,
    },
    Broken {
        name: "vm.overcommit_memory is 2",
        breaks: |n| n.host.write("/proc/sys/vm/overcommit_memory", "2\n"),
        then: QUIET,
        cause: "vm.overcommit_memory is 2",
        remedy: "sysctl -w vm.overcommit_memory=0",
        check: "overcommit-memory",
        paste: true,
    },
    Broken {
        name: "psi is off",
        breaks: |n| fs::remove_file(n.host.path("/proc/pressure/memory")).unwrap(),
        then: QUIET,
        cause: "no pressure-stall information",
        remedy: "grubby --update-kernel=ALL --args=psi=1",
        check: "psi",
        paste: true,
    },
    Broken {
        name: "cgroup v1 or hybrid",
        breaks: |n| fs::remove_file(n.host.path("/sys/fs/cgroup/cgroup.controllers")).unwrap(),
        then: QUIET,
        cause: "not mounted at /sys/fs/cgroup",
        remedy: "--args=systemd.unified_cgroup_hierarchy=1",
        check: "cgroup-v2",
        paste: false,
    },
    Broken {
        name: "a typo at a reload",
        breaks: WELL,
        then: |n, agent| {
            n.host.write(
                "/etc/wasp-agent/config.d/95-typo.toml",
                "# mine\noverkommit-percent = 200\n",
            );
            agent.signal("-HUP");
        },
        cause: "/etc/wasp-agent/config.d/95-typo.toml:2: unknown key overkommit-percent",
        remedy: "sed -i '2s/^/# /' /etc/wasp-agent/config.d/95-typo.toml",
        check: "configuration",
        paste: true,
    },
    Broken {
        name: "a kubeconfig that is a dangling link",
        breaks: |n| {
            let link = n.host.path("/var/lib/kubelet/kubeconfig");
            fs::remove_file(&link).unwrap();
            symlink("/gone/kubeconfig", link).unwrap();
        },
        then: QUIET,
        cause: "/var/lib/kubelet/kubeconfig is a link to /gone/kubeconfig, which does not exist",
        remedy: "systemctl restart kubelet",
        check: "agent-problems",
        paste: false,
    },
    Broken {
        name: "the API server refuses",
        breaks: |n| {
            refuse(
                n,
                403,
                r#"pods is forbidden: User "system:node:node-a" cannot list resource "pods" in API group "" at the cluster scope"#,
            )
        },
        then: QUIET,
        cause: "refused: system:node:node-a may not list pods (403)",
        remedy: "wasp-agent check",
        check: "agent-problems",
        paste: false,
    },
    Broken {
        name: "the API server is broken",
        breaks: |n| refuse(n, 500, "etcdserver: request timed out"),
        then: QUIET,
        cause: "etcdserver: request timed out (500)",
        remedy: "journalctl -u kubelet",
        check: "agent-problems",
        paste: false,
    },
    Broken {
        name: "a clock that is years late",
        // The certificate begins as far in the future as the clock is late.
        breaks: |n| {
            drop(
                n.server
                    .rotate(NODE, Validity { from: 6 * 31_556_952, until: 8 * 31_556_952 })
                    .unwrap(),
            )
        },
        then: QUIET,
        cause: "this node's clock is wrong",
        remedy: "chronyc makestep",
        check: "agent-problems",
        paste: false,
    },
    Broken {
        name: "node.name is another node's",
        breaks: |n| {
            n.host.write("/etc/wasp-agent/config.d/95-name.toml", "[node]\nname = \"node-b\"\n")
        },
        then: QUIET,
        cause: "node.name = \"node-b\", but the certificate is for node node-a",
        remedy: "wasp-agent check",
        check: "agent-problems",
        paste: false,
    },
    Broken {
        name: "a writer that fights",
        breaks: WELL,
        then: |n, _| {
            let pod = n.server.apply(&pod("vm-7", NODE, Some("100Mi"), None)).unwrap();
            let cgroup = n.host.container(uid(&pod), &container_id(1), "main", "max");
            let deadline = Instant::now() + PATIENCE;
            // The agent repairs every change until it counts as a fight.
            loop {
                let text = fs::read_to_string(n.host.path("/run/wasp-agent/status.json"))
                    .unwrap_or_default();
                if text.contains("\"contended\"") {
                    break;
                }
                assert!(Instant::now() < deadline, "{text}");
                n.host.set_limit(&cgroup, "max");
                std::thread::sleep(Duration::from_millis(5));
            }
        },
        cause: "1 limit that another writer keeps changing (default/vm-7)",
        remedy: "journalctl -u wasp-agent",
        check: "agent-problems",
        paste: false,
    },
];

#[test]
fn three_places_name_the_same_cause_and_remedy_and_it_works() {
    for broken in BROKEN {
        let Broken { name, breaks, then, cause, remedy, check, paste } = broken;
        let node = Node::new();
        breaks(&node);
        let mut agent = node.start();
        then(&node, &mut agent);
        let first = |published: &Value| published["problems"][0].clone();
        let published = node.published(|published| {
            first(published)["text"].as_str().is_some_and(|text| text.contains(cause))
        });
        let problem = first(&published);
        let lines: Vec<String> = serde_json::from_value(problem["remedy"].clone()).unwrap();
        assert!(lines.join("; ").contains(remedy), "{name}: {problem}");

        let status = published["status"].as_str().unwrap();
        assert!(status.contains(cause) && status.contains(remedy), "{name}: {status}");
        let screen = node.out(&["status"]);
        let problems =
            screen.split("\nProblems").nth(1).unwrap_or_else(|| panic!("{name}: {screen}"));
        let first_line = problems.lines().next().unwrap();
        assert!(first_line.contains(cause) && problems.contains(remedy), "{name}: {screen}");

        let checks = node.checks();
        let worst =
            ["fail", "warn"].iter().find_map(|level| checks.iter().find(|c| c["level"] == *level));
        let worst = worst.unwrap_or_else(|| panic!("{name}: {checks:#?}"));
        assert_eq!(worst["id"], *check, "{name}: {worst}");
        assert!(worst["found"].as_str().unwrap().contains(cause), "{name}: {worst}");
        let fix: Vec<String> = serde_json::from_value(worst["fix"].clone()).unwrap();
        assert!(fix.join("; ").contains(remedy), "{name}: {worst}");

        if *paste {
            for remedy in [&lines, &fix] {
                node.paste(remedy, &agent);
                breaks(&node);
                then(&node, &mut agent);
            }
            node.paste(&fix, &agent);
            let checks = node.checks();
            let level = checks.iter().find(|line| line["id"] == *check).unwrap();
            assert!(matches!(level["level"].as_str(), Some("ok" | "skip")), "{name}: {level}");
        }
    }
}

#[test]
fn a_healthy_node_reports_nothing() {
    let node = Node::new();
    let mut agent = node.start();
    let status = agent.hears("STATUS=Swap 32.0 GiB");
    assert!(!status.contains("fix"), "{status}");
    node.published(|published| {
        published["problems"] == json!([]) && published["api"]["reachable"] == true
    });
    let bad: Vec<_> = node
        .checks()
        .into_iter()
        .filter(|c| c["level"] == "warn" || c["level"] == "fail")
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

/// The agent and its hook as separate files, which a test may break.
fn installed() -> (tempfile::TempDir, std::path::PathBuf) {
    let built = support::agent_binary();
    let folder = tempfile::tempdir_in(built.parent().unwrap()).unwrap();
    let agent = folder.path().join("wasp-agent");
    fs::hard_link(&built, &agent).unwrap();
    let hook = folder.path().join("wasp-hook");
    fs::copy(built.with_file_name("wasp-hook"), &hook).unwrap();
    (folder, agent)
}

#[test]
fn the_definition_is_withdrawn_while_the_hook_s_program_would_not_run() {
    let node = Node::with_hook();
    let (folder, program) = installed();
    let hook = folder.path().join("wasp-hook");
    selinux(&node.host, "1");
    let mut agent = Agent::start_program(&program, &node.host, &["run"]);
    agent.hears("STATUS=Swap");
    let definition = node.host.path(HOOK);
    assert!(definition.exists());
    let original = fs::read(&hook).unwrap();
    let broken: [(&str, &dyn Fn()); 4] = [
        ("is not executable", &|| {
            fs::set_permissions(&hook, fs::Permissions::from_mode(0o644)).unwrap();
        }),
        ("is missing", &|| fs::remove_file(&hook).unwrap()),
        ("is another program than wasp-hook", &|| {
            assert!(fs::copy("/bin/true", &hook).unwrap() > 0)
        }),
        ("it is not an ELF program", &|| fs::write(&hook, "#!/bin/sh\n").unwrap()),
    ];
    for (cause, breaks) in broken {
        breaks();
        let status = agent.hears(cause);
        assert!(status.starts_with("STATUS=the OCI hook is removed"), "{status}");
        assert!(status.contains("fix: "), "{status}");
        assert!(!definition.exists(), "{cause}");
        let new = folder.path().join("new");
        fs::write(&new, &original).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&new, &hook).unwrap();
        agent.hears("STATUS=Swap");
        assert!(definition.exists(), "{cause}");
    }
    // A label that no runtime may execute, if SELinux enforces.
    if label(&hook, b"unconfined_u:object_r:user_home_t:s0\0") {
        let status = agent.hears("has the SELinux label unconfined_u:object_r:user_home_t:s0");
        assert!(status.contains(&format!("restorecon -v {}", hook.display())), "{status}");
        assert!(!definition.exists());
        label(&hook, b"system_u:object_r:bin_t:s0\0");
        agent.hears("STATUS=Swap");
        assert!(definition.exists());
    }
}

/// Labels a file as SELinux does, and returns true if this was allowed.
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn label(file: &Path, label: &[u8]) -> bool {
    let flags = rustix::fs::XattrFlags::empty();
    let set = rustix::fs::setxattr(file, "security.selinux", label, flags);
    if let Err(error) = set {
        eprintln!("SKIPPED: only root may label files ({error})");
    }
    set.is_ok()
}

/// A process with its own mount namespace, which stands for PID 1 of the host.
struct Init {
    child: std::process::Child,
    mounted: BufReader<std::process::ChildStdout>,
}

impl Init {
    fn new() -> Option<Self> {
        let shell = r#"echo ready; while read -r line; do eval "$line" && echo done; done"#;
        let mut child = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", shell])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mounted = BufReader::new(child.stdout.take().unwrap());
        let mut init = Self { child, mounted };
        init.hears("ready").then_some(init)
    }

    fn hears(&mut self, word: &str) -> bool {
        let mut line = String::new();
        self.mounted.read_line(&mut line).unwrap() > 0 && line.trim_end() == word
    }

    fn run(&mut self, command: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{command}").unwrap();
        assert!(self.hears("done"), "{command}");
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The agent's unit has its own mount namespace, which does not show changed options of the host's
/// mount.
#[test]
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn a_remount_without_exec_on_the_host_is_noticed_at_once() {
    let Some(mut init) = Init::new() else {
        eprintln!("SKIPPED: user namespaces are not allowed here");
        return;
    };
    let node = Node::with_hook();
    let (folder, program) = installed();
    let hook = folder.path().join("wasp-hook");
    symlink(format!("/proc/{}", init.child.id()), node.host.path("/proc/1")).unwrap();
    // No resync finds it before the test ends.
    node.host.write("/etc/wasp-agent/config.d/93-slow.toml", "[limits]\nresync-seconds = 3600\n");
    init.run(&format!("mount --bind {0} {0}", hook.display()));
    let mut agent = Agent::start_program(&program, &node.host, &["run"]);
    agent.hears("STATUS=Swap");
    let definition = node.host.path(HOOK);
    assert!(definition.exists());
    for _ in 0..2 {
        init.run(&format!("mount -o remount,bind,noexec {}", hook.display()));
        let status = agent.hears("is mounted with noexec");
        assert!(status.contains("mount -o remount,exec /"), "{status}");
        assert!(!definition.exists());
        init.run(&format!("mount -o remount,bind,exec {}", hook.display()));
        agent.hears("STATUS=Swap");
        assert!(definition.exists());
    }
}

/// With a typing error on disk, commands about a running node use the settings in force.
#[test]
fn one_wrong_word_does_not_disable_the_other_commands() {
    let node = Node::new();
    node.host.write("/etc/wasp-agent/config.d/91-x.toml", "[eviction]\nmode = \"observe\"\n");
    let agent = node.start();
    node.published(|published| published["api"]["reachable"] == true);
    node.host.write("/etc/wasp-agent/config.d/95-typo.toml", "nonsense = 1\n");
    for arguments in [&["status"][..], &["plan"], &["deprovision", "--dry-run"]] {
        let output = Agent::command(&node.host, arguments).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {err}");
        assert!(err.contains("unknown key nonsense"), "{arguments:?}: {err}");
    }
    // Commands that start something still refuse.
    let output = Agent::command(&node.host, &["provision", "--dry-run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    // A valid file that was not loaded.
    node.host.write("/etc/wasp-agent/config.d/95-typo.toml", "[eviction]\nmode = \"off\"\n");
    let checks = node.checks();
    let line = checks.iter().find(|line| line["id"] == "agent-settings").unwrap();
    assert_eq!(line["level"], "fail");
    assert_eq!(line["found"], "eviction.mode: \"off\" on disk, \"observe\" in effect");
    assert_eq!(line["fix"], json!(["systemctl reload wasp-agent"]));
    drop(agent);
}
