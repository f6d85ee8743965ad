//! The time that the OCI hook adds to a container's start. `make bench-hook`.
//!
//! Runs three programs in turn, each on the same files and with the same state on standard input:
//! `/bin/true`, the least that a process can take; the hook; and a shell script that reads the same
//! three fields with jq, as hooks usually do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark fails by panicking"
)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it prints a table")]

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio, exit},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

const ROUNDS: usize = 300;
const CONFIG: &str = include_str!("../tests/fixtures/oci/burstable-request-200Mi.json");
const GRANT: &str = "123456789";
const PID: u32 = 4242;
/// Reads the bundle, the container's name and its grant; writes the grant like the hook.
const SCRIPT: &str = r#"#!/bin/bash
set -eu
root=$1
state=$(cat)
bundle=$(jq -r .bundle <<<"$state")
read -r uid name < <(jq -r '.annotations | "\(.["io.kubernetes.pod.uid"]) \(.["io.kubernetes.container.name"])"' "$bundle/config.json")
grant=$(jq -r --arg name "$name" '.grants[$name]' "$root/run/wasp-agent/pods/$uid.json")
pid=$(jq -r .pid <<<"$state")
cgroup=$(<"$root/proc/$pid/cgroup")
echo "$grant" >"$root/sys/fs/cgroup${cgroup#0::}/../memory.swap.max"
echo "$grant" >"$root/sys/fs/cgroup${cgroup#0::}/memory.swap.max"
"#;

/// A host on which a runtime has created a container and calls its hook.
struct Host {
    folder: tempfile::TempDir,
    scope: String,
}

impl Host {
    fn new() -> Self {
        let config: Value = serde_json::from_str(CONFIG).unwrap();
        let annotation = |name: &str| config["annotations"][name].as_str().unwrap().to_owned();
        let uid = annotation("io.kubernetes.pod.uid");
        let id = annotation("io.kubernetes.cri-o.ContainerID");
        let name = annotation("io.kubernetes.container.name");
        let pod = format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_"));
        let scope = format!("kubepods.slice/kubepods-burstable.slice/{pod}/crio-{id}.scope");
        let host = Self { folder: tempfile::tempdir().unwrap(), scope };
        host.write("bundle/config.json", CONFIG);
        host.write(&format!("proc/{PID}/cgroup"), &format!("0::/{}/container\n", host.scope));
        let record = json!({"version": 1, "pod": {}, "grants": {name: GRANT}});
        host.write(&format!("run/wasp-agent/pods/{uid}.json"), &record.to_string());
        let state = json!({
            "ociVersion": "1.3.0", "id": id, "pid": PID, "status": "created",
            "bundle": host.folder.path().join("bundle"), "annotations": config["annotations"],
        });
        host.write("state", &state.to_string());
        host.write("script", SCRIPT);
        host
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn levels(&self) -> [PathBuf; 2] {
        ["", "/container"].map(|level| {
            let file = format!("sys/fs/cgroup/{}{level}/memory.swap.max", self.scope);
            self.folder.path().join(file)
        })
    }

    /// Starts `command` on this host and waits for it; checks its effect if `works`.
    fn time(&self, command: &[&str], works: bool) -> Duration {
        for level in self.levels() {
            fs::create_dir_all(level.parent().unwrap()).unwrap();
            fs::write(level, "max\n").unwrap();
        }
        let mut program = Command::new(command[0]);
        program.args(&command[1..]).arg(self.folder.path());
        program.stdin(File::open(self.folder.path().join("state")).unwrap());
        program.stdout(Stdio::null());
        let started = Instant::now();
        let status = program.status().unwrap();
        let took = started.elapsed();
        assert!(status.success(), "{command:?}: {status}");
        for level in self.levels().iter().filter(|_| works) {
            assert_eq!(fs::read_to_string(level).unwrap().trim(), GRANT, "{command:?}");
        }
        took
    }
}

fn main() {
    if Command::new("jq").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("SKIPPED, loudly: jq is not installed (apt-get install jq)");
        exit(i32::from(env::var_os("CI").is_some()));
    }
    let folder = env::current_exe().unwrap().parent().and_then(Path::parent).unwrap().to_owned();
    let hook = folder.join("wasp-hook");
    let host = Host::new();
    let script = host.folder.path().join("script");
    let commands: [(&str, &[&str], bool); 3] = [
        ("/bin/true", &["/bin/true"], false),
        ("wasp-hook", &[hook.to_str().unwrap()], true),
        ("bash and jq", &["/bin/bash", script.to_str().unwrap()], true),
    ];
    let mut times = commands.map(|_| Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        for ((_, command, works), times) in commands.iter().zip(&mut times) {
            times.push(host.time(command, *works));
        }
    }

    let mut kept = json!({
        "rounds": ROUNDS,
        "hook_bytes": fs::metadata(&hook).unwrap().len(),
        "libraries": libraries(&hook),
    });
    times.iter_mut().for_each(|times| times.sort());
    let median = |index: usize| micros(times[index][ROUNDS / 2]);
    for (index, (name, ..)) in commands.iter().enumerate() {
        let [fast, slow] = [ROUNDS / 20, ROUNDS * 19 / 20].map(|at| micros(times[index][at]));
        println!("{name:<12} median {:>9.1} µs, 5 % to 95 % {fast:.1} to {slow:.1}", median(index));
        kept[*name] = json!({"median_us": median(index), "p5_us": fast, "p95_us": slow});
    }
    kept["hook_to_true"] = json!(median(1) / median(0));
    kept["script_to_hook"] = json!(median(2) / median(1));
    println!("the hook takes {:.2} × /bin/true", median(1) / median(0));
    println!("the script takes {:.1} × the hook", median(2) / median(1));
    println!("{} bytes, linked with {}", kept["hook_bytes"], kept["libraries"]);
    let file = folder.join("bench-hook.json");
    fs::write(&file, kept.to_string() + "\n").unwrap();
    println!("kept in {}", file.display());
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Returns the names of the shared libraries, as `ldd` prints them.
fn libraries(program: &Path) -> Vec<String> {
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
}
