//! Broken nodes, one after another: STATUS, `wasp-agent status` and `wasp-agent check` name the
//! same cause first and the same remedy, and the remedy works when pasted into a shell.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;
#[path = "broken_nodes/table.rs"]
mod table;

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
    Agent, FakeHost, PATIENCE, api_server,
    node::{HOOK, healthy, selinux},
};
use table::{BROKEN, SLOW_WRITER, judge};
use test_apiserver::Handle;

/// A healthy node with an API server, on which the agent has nothing to report.
struct Node {
    host: FakeHost,
    server: Handle,
    _data: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let node = Self::with_hook();
        // The hook of the tested agent is not in the directory that stands for the host.
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

    /// Pastes `lines` into a shell whose host is the directory. `systemctl` and others act on the
    /// directory as they would on a host.
    fn paste(&self, lines: &[String], agent: u32) {
        let stubs = tempfile::tempdir().unwrap();
        let stub = |name: &str, script: &str| {
            let path = stubs.path().join(name);
            fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        stub(
            "systemctl",
            r#"case "$1 $2" in
"reload-or-restart wasp-agent") kill -HUP "$AGENT";;
set-property*) for set in "${@:3}"; do
    case $set in MemorySwapMax=infinity) echo max > "$ROOT/sys/fs/cgroup/$2/memory.swap.max";; esac
  done;;
"restart kubelet"|"restart crio"|"restart wasp-swap"|"daemon-reload "|"disable swap-provision.service") ;;
"restart wasp-agent") kill -HUP "$AGENT";;
*) echo "systemctl $*: not expected" >&2; exit 1;;
esac"#,
        );
        stub("sysctl", r#"set=${2//./\/}; echo "${set#*=}" > "$ROOT/proc/sys/${set%%=*}""#);
        stub(
            "grubby",
            r#"[[ $* == *--args=systemd.unified_cgroup_hierarchy=1 ]] && echo memory > "$ROOT/sys/fs/cgroup/cgroup.controllers"
[[ $* == *--args=psi=1 ]] && { echo 'some avg10=0.00 avg60=0.00 avg300=0.00 total=0'; echo 'full avg10=0.00 avg60=0.00 avg300=0.00 total=0'; } > "$ROOT/proc/pressure/memory"; exit 0"#,
        );
        // As the Machine Config Operator: it writes files, and kernel arguments take effect.
        stub(
            "oc",
            r#"[[ $1 == apply ]] || exit 0
object=$(cat)
[[ $object == *'"psi=1"'* ]] && grubby --args=psi=1
path=$(sed -n 's/.*"path":"\([^"]*\)".*/\1/p' <<< "$object")
text=$(sed -n 's/.*"source":"data:,\([^"]*\)".*/\1/p' <<< "$object")
[[ $path ]] && printf "${text//%/\\x}" > "$ROOT${path#"$ROOT"}"; exit 0"#,
        );
        // The directory keeps the list of what is swapped on.
        stub("swapoff", r#"sed -i "\|^${1#"$ROOT"} |d" "$ROOT/proc/swaps""#);
        stub("swapon", r#"echo "${3#"$ROOT"} partition 33554432 0 $2" >> "$ROOT/proc/swaps""#);
        stub("wasp-agent", r#"exec "$PROGRAM" --root "$ROOT" "$@""#);
        let root = self.host.root().display().to_string();
        let mut script = String::new();
        for line in lines {
            let mut line = line.clone();
            // The file contains paths as the host names them.
            let places = if line.starts_with("printf") {
                &["> "][..]
            } else {
                &[" ", "'", "\"", "> ", ">> "]
            };
            for folder in ["etc", "usr", "opt", "run", "sys", "proc", "var"] {
                for before in places {
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
            .env("AGENT", agent.to_string())
            .env("PROGRAM", support::agent_binary())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{script}: {said}");
    }
}

#[test]
fn three_places_name_the_same_cause_and_remedy_and_it_works() {
    BROKEN.iter().for_each(judge);
}

/// It takes half a minute, so it does not hold up the others.
#[test]
fn a_writer_that_changes_a_limit_once_a_second_is_named_too() {
    judge(&SLOW_WRITER);
}

/// systemd shows the last STATUS of a service that waits to be restarted.
#[test]
fn a_wrong_word_at_a_restart_is_named_in_three_places_and_its_fix_works() {
    let node = Node::new();
    let agent = node.start();
    node.published(|published| published["api"]["reachable"] == true);
    agent.stop();
    let text = "# mine\noverkommit-percent = 200\n";
    node.host.write("/etc/wasp-agent/config.d/95-typo.toml", text);
    let cause = "/etc/wasp-agent/config.d/95-typo.toml:2: unknown key overkommit-percent";
    let remedy = "sed -i --follow-symlinks '2s/^/# /' /etc/wasp-agent/config.d/95-typo.toml";

    let mut agent = Agent::spawn(&node.host, &["run"], "");
    let status = agent.hears("STATUS=");
    assert!(status.contains(cause) && status.contains(remedy), "{status}");
    let (code, log) = agent.ends();
    assert_eq!(code, Some(78), "{log}");
    let output = Agent::command(&node.host, &["status"]).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains(cause) && err.contains(remedy), "{err}");
    let checks = node.checks();
    let worst = checks.iter().find(|line| line["level"] == "fail").unwrap();
    assert_eq!(worst["id"], "configuration", "{worst}");
    assert!(worst["found"].as_str().unwrap().contains(cause), "{worst}");
    let fix: Vec<String> = serde_json::from_value(worst["fix"].clone()).unwrap();
    assert!(fix.join("; ").contains(remedy), "{worst}");

    // The last command starts the agent; here the test does.
    let (_start, commands) = fix.split_last().unwrap();
    node.paste(commands, std::process::id());
    let _agent = node.start();
    let checks = node.checks();
    let line = checks.iter().find(|line| line["id"] == "configuration").unwrap();
    assert_eq!(line["level"], "ok", "{line}");
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
    // The loader looks for a library that is nowhere.
    let without_library = || {
        let (from, to) = (b"libc.so.6\0", b"libq.so.6\0");
        let mut bytes = original.clone();
        let mut at = 0;
        while let Some(found) = bytes[at..].windows(from.len()).position(|part| part == from) {
            at += found;
            bytes[at..at + to.len()].copy_from_slice(to);
        }
        assert!(at > 0, "the hook is linked statically");
        fs::write(&hook, bytes).unwrap();
    };
    let broken: [(&str, &dyn Fn()); 5] = [
        ("it does not start: libq.so.6: cannot open shared object file", &without_library),
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

/// With a typing error on disk, commands about a running node use the settings in effect.
#[test]
fn one_wrong_word_does_not_disable_the_other_commands() {
    let node = Node::new();
    node.host.write("/etc/wasp-agent/config.d/91-x.toml", "[eviction]\nmode = \"observe\"\n");
    let agent = node.start();
    node.published(|published| published["api"]["reachable"] == true);
    node.host.write("/etc/wasp-agent/config.d/95-typo.toml", "nonsense = 1\n");
    // The checks use the settings in effect: with the defaults, eviction would be enforced.
    let checks = node.checks();
    let found = |id: &str| checks.iter().find(|line| line["id"] == id).unwrap()["found"].clone();
    let text = found("configuration");
    let text = text.as_str().unwrap();
    assert!(text.ends_with("\nthe other checks use the settings in effect"), "{text}");
    assert_eq!(found("crio-hooks-folder"), "no hook is configured (hook.install, grants)");
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
    assert_eq!(line["fix"], json!(["systemctl reload-or-restart wasp-agent"]));
    drop(agent);
}
