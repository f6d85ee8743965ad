//! The agent as a process: memory, idleness, and how long a wrong limit stands. `make bench`.
//!
//! Times are also given as a ratio to a baseline of the same run: a thread that does nothing but
//! wait for inotify on that one file and write the right value back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark fails by panicking"
)]
#![allow(clippy::print_stdout, clippy::cast_precision_loss, reason = "it prints a table")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use support::{Agent, FakeHost, MIB, NODE, api_server, container_id, pod, uid};

const CONTAINERS: usize = 250;
const PODS_IN_CLUSTER: usize = 2000;
const ROUNDS: usize = 300;
const IDLE: Duration = Duration::from_secs(60);

fn main() {
    let host = FakeHost::new(256 * 1024 * MIB, 128 * 1024 * MIB);
    let (_data, server) = api_server();
    host.use_kubeconfig(&server);
    let mut cgroups = Vec::new();
    for number in 0..CONTAINERS {
        let pod =
            server.apply(&pod(&format!("p{number}"), NODE, Some("100Mi"), Some("1Gi"))).unwrap();
        cgroups.push(host.container(uid(&pod), &container_id(number), "main", "max"));
        host.container(uid(&pod), &container_id(CONTAINERS + number), "POD", "max");
    }
    for number in CONTAINERS..PODS_IN_CLUSTER {
        server.apply(&pod(&format!("p{number}"), "node-b", Some("100Mi"), None)).unwrap();
    }
    let right = (50 * MIB).to_string();

    let started = Instant::now();
    let agent = Agent::start(&host);
    let ready = started.elapsed();
    assert!(cgroups.iter().all(|cgroup| host.limit(cgroup) == right));
    let process = Process(agent.pid());
    let binary = fs::metadata(support::agent_binary()).unwrap().len();
    row("binary size", &format!("{:.1} MB", binary as f64 / 1e6));
    row(
        &format!("ready, {CONTAINERS} containers and as many sandboxes"),
        &format!("{} ms", ready.as_millis()),
    );
    row(
        "RSS",
        &format!("{} kB (anonymous {} kB)", process.status("VmRSS"), process.status("RssAnon")),
    );

    // The status that follows READY, and whatever else is left to do.
    std::thread::sleep(Duration::from_secs(3));
    let before = (process.cpu_ticks(), process.status("voluntary_ctxt_switches"));
    std::thread::sleep(IDLE);
    let after = (process.cpu_ticks(), process.status("voluntary_ctxt_switches"));
    let ticks_per_second = 100;
    row(
        &format!("idle for {} s", IDLE.as_secs()),
        &format!(
            "{} ms CPU, {} wake-ups",
            (after.0 - before.0) * 1000 / ticks_per_second,
            after.1 - before.1
        ),
    );

    let baseline = baseline();
    let drifts = times(|round| {
        let cgroup = &cgroups[round % CONTAINERS];
        // The agent repairs eight drifts of one container at once, then one a second.
        host.set_limit(cgroup, "max");
        host.await_limit(cgroup, &right)
    });
    compare("drift to repair", &drifts, &baseline);

    let appeared = times(|round| {
        let number = 3 * CONTAINERS + round;
        let pod = server.apply(&pod(&format!("new{round}"), NODE, Some("100Mi"), None)).unwrap();
        let record = host.path(&format!("/run/wasp-agent/pods/{}.json", uid(&pod)));
        while !record.exists() {
            std::thread::sleep(Duration::from_micros(200));
        }
        let cgroup = host.container(uid(&pod), &container_id(number), "main", "max");
        host.await_limit(&cgroup, &right)
    });
    compare("container's cgroup to its limit, pod known", &appeared, &baseline);
    row("RSS afterwards", &format!("{} kB", process.status("VmRSS")));
    assert_eq!(agent.stop().0, Some(0));
}

fn row(what: &str, figure: &str) {
    println!("{what:<55} {figure}");
}

/// Sorted times of all rounds.
fn times(mut round: impl FnMut(usize) -> Duration) -> Vec<Duration> {
    let mut times: Vec<Duration> = (0..ROUNDS).map(&mut round).collect();
    times.sort();
    times
}

fn median(sorted: &[Duration]) -> Duration {
    sorted[sorted.len() / 2]
}

fn compare(what: &str, sorted: &[Duration], baseline: &[Duration]) {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    let (middle, worst) = (median(sorted), sorted[sorted.len() - 1]);
    row(
        what,
        &format!(
            "median {:.2} ms, worst {:.2} ms; {:.1} × baseline ({:.2} ms)",
            milliseconds(middle),
            milliseconds(worst),
            middle.as_secs_f64() / median(baseline).as_secs_f64(),
            milliseconds(median(baseline)),
        ),
    );
}

/// The least that a repair can cost: wait, compare, write.
fn baseline() -> Vec<Duration> {
    let host = FakeHost::new(MIB, 0);
    let cgroup =
        host.container("9192cfa8-0000-4444-9bb8-9701e3620c02", &container_id(1), "main", "0");
    let file: PathBuf = host.path(&cgroup).join("memory.swap.max");
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC).unwrap();
    inotify.add_watch(&file, AddWatchFlags::IN_MODIFY).unwrap();
    let repaired = file.clone();
    std::thread::spawn(move || {
        while inotify.read_events().is_ok() {
            if fs::read_to_string(&repaired).is_ok_and(|text| text == "max") {
                fs::write(&repaired, "0").unwrap();
            }
        }
    });
    times(|_| {
        host.set_limit(&cgroup, "max");
        host.await_limit(&cgroup, "0")
    })
}

struct Process(u32);

impl Process {
    /// The number in a line of `/proc/PID/status`.
    fn status(&self, key: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// User and system time, in clock ticks.
    fn cpu_ticks(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap();
        let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}
