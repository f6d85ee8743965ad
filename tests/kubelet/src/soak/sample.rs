//! Samples the agent's resources, and detects growth.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::ledger::number;

/// One sample: names and figures, always the same names.
pub(super) type Sample = BTreeMap<&'static str, u64>;

/// The largest allowed difference of the last third's median to the first's. Resources that vary
/// with containers are compared when no container is left.
const GROWTH: [(&str, u64); 5] =
    [("rss_anon_kib", 1024), ("fds", 4), ("threads", 1), ("bus_names", 0), ("bus_matches", 4)];

/// Resources that must have their initial values once no container is left.
pub(super) const HELD: [&str; 7] =
    ["fds", "inotify_watches", "bus_names", "bus_matches", "drop_ins", "records", "threads"];

pub(super) fn property(name: &str) -> Result<String> {
    let output = Command::new("systemctl").args(["show", "-P", name, "wasp-agent"]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

pub(super) fn agent_pid() -> Result<u64> {
    property("MainPID")?.parse().context("the agent's MainPID")
}

pub(super) fn take() -> Result<Sample> {
    let pid = agent_pid()?;
    let process = format!("/proc/{pid}");
    let status = fs::read_to_string(format!("{process}/status")).context("the agent is gone")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    let (mut fds, mut sockets, mut watches) = (0, 0, 0);
    for entry in fs::read_dir(format!("{process}/fd"))?.flatten() {
        fds += 1;
        let target = fs::read_link(entry.path()).unwrap_or_default();
        sockets += u64::from(target.to_string_lossy().starts_with("socket:"));
        let info = Path::new(&process).join("fdinfo").join(entry.file_name());
        let info = fs::read_to_string(info).unwrap_or_default();
        watches += info.lines().filter(|line| line.starts_with("inotify ")).count() as u64;
    }
    let stat = fs::read_to_string(format!("{process}/stat"))?;
    let stat: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |index: usize| stat.get(index).and_then(|t| t.parse::<u64>().ok()).unwrap_or(0);
    let (names, matches) = bus(pid)?;
    Ok(Sample::from([
        ("pid", pid),
        ("rss_kib", field("VmRSS:")),
        ("rss_anon_kib", field("RssAnon:")),
        ("threads", field("Threads:")),
        ("fds", fds),
        ("sockets", sockets),
        ("inotify_watches", watches),
        // A tick is 10 ms.
        ("cpu_ms", (ticks(11) + ticks(12)) * 10),
        ("bus_names", names),
        ("bus_matches", matches),
        ("drop_ins", drop_ins("/run/systemd/transient") + drop_ins("/run/systemd/system.control")),
        ("records", entries(Path::new("/run/wasp-agent/pods"), ".json")),
        ("scopes", scopes(Path::new("/sys/fs/cgroup/kubepods.slice"))),
        ("node_swap_used_kib", swap_used_kib()?),
    ]))
}

/// Returns the agent's connections to the bus, and its match rules, as the daemon counts them.
fn bus(pid: u64) -> Result<(u64, u64)> {
    let list = Command::new("busctl").args(["list", "--unique", "--no-legend"]).output()?;
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let own = list.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?, words.next()?.parse::<u64>().ok()?))
    });
    let (mut names, mut matches) = (0, 0);
    for (name, _) in own.filter(|(_, owner)| *owner == pid) {
        names += 1;
        let bus = ["org.freedesktop.DBus", "/org/freedesktop/DBus"];
        let output = Command::new("busctl")
            .args(["call", "--json=short"])
            .args(bus)
            .args(["org.freedesktop.DBus.Debug.Stats", "GetConnectionStats", "s", name])
            .output()?;
        // The connection may be gone by now.
        if output.status.success() {
            let answer: Value = serde_json::from_slice(&output.stdout)?;
            let rules = answer.pointer("/data/0/MatchRules/data").and_then(Value::as_u64);
            matches += rules.context("the bus counts no MatchRules")?;
        }
    }
    Ok((names, matches))
}

/// Counts drop-in directories of containers' scopes.
fn drop_ins(folder: &str) -> u64 {
    entries(Path::new(folder), ".scope.d")
}

fn entries(folder: &Path, end: &str) -> u64 {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_string_lossy().ends_with(end)).count() as u64
}

fn scopes(folder: &Path) -> u64 {
    let below = fs::read_dir(folder).into_iter().flatten().flatten();
    let slices = below.filter(|entry| entry.file_name().to_string_lossy().ends_with(".slice"));
    entries(folder, ".scope") + slices.map(|slice| scopes(&slice.path())).sum::<u64>()
}

/// Returns the cgroups below `kubepods.slice`, two levels deep.
pub(super) fn cgroups_of_pods() -> Vec<PathBuf> {
    let below = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    };
    let first = below(Path::new("/sys/fs/cgroup/kubepods.slice"));
    first.iter().flat_map(|path| [vec![path.clone()], below(path)].concat()).collect()
}

fn swap_used_kib() -> Result<u64> {
    Ok(super::meminfo("SwapTotal")?.saturating_sub(super::meminfo("SwapFree")?) / 1024)
}

/// Returns `pswpin` or `pswpout`.
pub(super) fn pages(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn median(samples: &[Sample], name: &str) -> u64 {
    let mut values: Vec<u64> = samples.iter().filter_map(|s| s.get(name).copied()).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// Returns a table of the last agent's samples, the same as JSON, and the resources that have
/// grown.
pub(super) fn compare(samples: &[Sample]) -> (Value, Vec<String>) {
    let third = samples.len() / 3;
    let (first, last) = (&samples[..third], &samples[samples.len() - third..]);
    let (mut rows, mut grown) = (Map::new(), Vec::new());
    println!(
        "# {:<20}{:>10}{:>10}{:>10}{:>14}{:>14}",
        "", "min", "median", "max", "first third", "last third"
    );
    for name in samples.first().into_iter().flat_map(BTreeMap::keys) {
        let values = || samples.iter().map(|sample| sample[name]);
        let (min, max) = (values().min().unwrap_or(0), values().max().unwrap_or(0));
        let (before, after) = (median(first, name), median(last, name));
        let middle = median(samples, name);
        println!("# {name:<20}{min:>10}{middle:>10}{max:>10}{before:>14}{after:>14}");
        rows.insert(
            (*name).to_owned(),
            json!({"min": min, "median": middle, "max": max, "first_third": before, "last_third": after}),
        );
        let bound = GROWTH.iter().find(|(bounded, _)| bounded == name).map(|(_, bound)| *bound);
        if bound.is_some_and(|bound| after > before + bound) {
            grown.push(format!("{name} has grown from {before} to {after} (medians of thirds)"));
        }
    }
    (Value::Object(rows), grown)
}

/// Checks that the agent holds the same resources as before there were pods.
pub(super) fn is_back(now: &Sample, baseline: &Sample) -> std::result::Result<(), String> {
    let more: Vec<String> = HELD
        .iter()
        .filter(|name| now[*name] > baseline[*name])
        .map(|name| format!("{name} {} (was {})", now[name], baseline[name]))
        .collect();
    if more.is_empty() { Ok(()) } else { Err(more.join(", ")) }
}

pub(super) fn limit_in_systemd(unit: &str) -> Option<u64> {
    let output = Command::new("systemctl").args(["show", "-P", "MemorySwapMax", unit]).output();
    String::from_utf8_lossy(&output.ok()?.stdout).trim().parse().ok()
}

/// Returns the swap in use by a pod's slice.
pub(super) fn swap_of(slice: &Path) -> u64 {
    number(&slice.join("memory.swap.current")).unwrap_or(0)
}
