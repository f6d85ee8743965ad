//! The kubelet's command line: from its process, from systemd, or from the files of its unit.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use super::unit::{Service, environment_file, expand};
use crate::{model::kubelet::Teller, observe::process::cgroup_of, roots::Roots};

/// The kubelet's unit, everywhere but in distributions that build it into another program.
pub const UNIT: &str = "kubelet.service";

/// systemd.unit(5), "Unit File Load Path"; the first counts.
const UNIT_FOLDERS: [&str; 9] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// What kubeadm's unit reads: the variables are put at the end of the command line in this order.
const KUBEADM: [(&str, &str); 3] = [
    ("/var/lib/kubelet/kubeadm-flags.env", "KUBELET_KUBEADM_ARGS"),
    ("/etc/sysconfig/kubelet", "KUBELET_EXTRA_ARGS"),
    ("/etc/default/kubelet", "KUBELET_EXTRA_ARGS"),
];

/// No command line is longer (`MAX_ARG_STRLEN`, 32 pages of 64 KiB at most).
const LONGEST_BYTES: u64 = 2 << 20;

/// A command line: the words after the kubelet's program, and who told them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub words: Vec<String>,
    pub told_by: Teller,
}

/// By the running kubelet, or else by its unit; `None` where there is neither.
pub fn command(roots: &Roots, by_systemd: Option<&Service>) -> Option<Command> {
    if let Some(command) = running(roots) {
        return Some(command);
    }
    let service = by_systemd.cloned().or_else(|| on_disk(roots))?;
    let read = |path: &PathBuf| fs::read_to_string(roots.path(path)).ok();
    let words = after_program(&service.command_line(read))?;
    Some(Command { words, told_by: Teller::Unit(UNIT.to_owned()) })
}

/// What kubeadm's environment files say, where there is no unit that reads them.
pub fn kubeadm(roots: &Roots) -> Option<Command> {
    let mut words = Vec::new();
    let mut told_by = None;
    for (path, name) in KUBEADM {
        let Ok(text) = fs::read_to_string(roots.path(path)) else { continue };
        let environment: BTreeMap<_, _> = environment_file(&text).into_iter().collect();
        let found = expand(&[format!("${name}")], &environment);
        if !found.is_empty() {
            told_by = Some(PathBuf::from(path));
        }
        words.extend(found);
    }
    told_by.map(|path| Command { words, told_by: Teller::Environment(path) })
}

/// The words after the kubelet's program; `None` where it is another program. Wrappers come before
/// it, as on OpenShift.
fn after_program(words: &[String]) -> Option<Vec<String>> {
    let named = |word: &String, name: &str| word.rsplit('/').next() == Some(name);
    let at = words.iter().position(|word| named(word, "kubelet"))?;
    Some(words[at + 1..].to_vec())
}

/// The kubelet's process. Others may call themselves so: it is root's, in the host's PID namespace,
/// and in no container's cgroup; the one in the unit's cgroup comes first.
fn running(roots: &Roots) -> Option<Command> {
    let entries = fs::read_dir(roots.proc("")).ok()?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found: Vec<(bool, u32)> =
        pids.filter_map(|pid: u32| Some((!kubelet_at_host(roots, pid)?, pid))).collect();
    found.sort_unstable();
    found.into_iter().find_map(|(_, pid)| {
        let words = command_line(roots, pid)?;
        Some(Command { words: after_program(&words)?, told_by: Teller::Process(pid) })
    })
}

/// Whether it is in the unit's cgroup; `None` for what is not the kubelet.
fn kubelet_at_host(roots: &Roots, pid: u32) -> Option<bool> {
    let read = |name: &str| limited(&roots.proc(&format!("{pid}/{name}")));
    let comm = read("comm")?;
    if !matches!(comm.trim_end(), "kubelet" | "hyperkube") {
        return None;
    }
    let status = read("status")?;
    let field = |name: &str| -> Option<Vec<&str>> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().collect())
    };
    // One number for each PID namespace that it is in, beginning with ours.
    let at_host = field("NSpid:").is_none_or(|pids| pids.len() == 1);
    let by_root = field("Uid:").is_some_and(|uids| uids.first() == Some(&"0"));
    let cgroup = cgroup_of(roots, pid)?;
    let of_container = cgroup.split('/').any(|name| {
        let prefixes = ["crio-", "cri-containerd-", "docker-", "libpod-", "machine.slice"];
        name.contains("kubepods") || prefixes.iter().any(|prefix| name.starts_with(prefix))
    });
    let in_unit = cgroup.split('/').any(|name| name == UNIT);
    (at_host && by_root && !of_container).then_some(in_unit)
}

fn command_line(roots: &Roots, pid: u32) -> Option<Vec<String>> {
    let text = limited(&roots.proc(&format!("{pid}/cmdline")))?;
    let words = text.strip_suffix('\0').unwrap_or(&text).split('\0');
    Some(words.map(str::to_owned).collect())
}

fn limited(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(LONGEST_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The unit's files with its drop-ins, read as systemd reads them.
fn on_disk(roots: &Roots) -> Option<Service> {
    let text =
        UNIT_FOLDERS.iter().find_map(|folder| text_of(roots, &Path::new(folder).join(UNIT)))?;
    let mut service = Service::default();
    service.read(&text);
    let mut drop_ins = BTreeMap::new();
    for of in ["kubelet.service.d", "service.d"] {
        for folder in UNIT_FOLDERS {
            let folder = Path::new(folder).join(of);
            let entries = fs::read_dir(roots.path(&folder)).into_iter().flatten().flatten();
            for name in entries.map(|entry| entry.file_name()) {
                let path = folder.join(&name);
                if path.extension().is_some_and(|suffix| suffix == "conf") {
                    drop_ins.entry(name).or_insert(path);
                }
            }
        }
    }
    for path in drop_ins.into_values() {
        service.read(&text_of(roots, &path).unwrap_or_default());
    }
    Some(service)
}

/// Follows one link, which is the host's own where it is absolute.
fn text_of(roots: &Roots, path: &Path) -> Option<String> {
    let place = roots.path(path);
    let place = match fs::read_link(&place) {
        Ok(target) if target.is_absolute() => roots.path(target),
        _ => place,
    };
    fs::read_to_string(place).ok()
}
