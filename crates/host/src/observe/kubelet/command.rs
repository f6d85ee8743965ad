//! Finds the kubelet's command line: from its process, from systemd, or from the files of its unit.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use super::{
    KubeletError, config_by,
    glob::globbed,
    unit::{Environment, Service, environment_file, expand},
};
use crate::{
    bounded::read_lossy,
    config::settings::Settings,
    model::kubelet::{KubeletConfig, Teller},
    observe::{process::cgroup_of, units},
    roots::Roots,
};

/// The kubelet's unit, except in distributions that build the kubelet into another program.
pub const UNIT: &str = "kubelet.service";

/// The slice of a unit without `Slice=`.
const USUAL_SLICE: &str = "system.slice";

/// Files that kubeadm's unit reads: it appends these variables to the command line in this order.
const KUBEADM: [(&str, &str); 3] = [
    ("/var/lib/kubelet/kubeadm-flags.env", "KUBELET_KUBEADM_ARGS"),
    ("/etc/sysconfig/kubelet", "KUBELET_EXTRA_ARGS"),
    ("/etc/default/kubelet", "KUBELET_EXTRA_ARGS"),
];

/// Upper bound of a command line, in bytes (`MAX_ARG_STRLEN`, 32 pages of at most 64 KiB).
const LONGEST_BYTES: u64 = 2 << 20;

/// A command line: the arguments of the kubelet, and their source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeletCommand {
    pub words: Vec<String>,
    pub told_by: Teller,
    pub folders: Folders,
}

/// Where the paths of the arguments begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// The root directory of a kubelet in a container, or `/`.
    root: PathBuf,
    /// The working directory, below that root.
    working: PathBuf,
}

impl Folders {
    pub const HOST: fn() -> Self = || Self::at("/");

    fn at(working: impl Into<PathBuf>) -> Self {
        Self { root: "/".into(), working: Path::new("/").join(working.into()) }
    }

    /// Returns true unless the kubelet has another root directory than the host.
    pub fn is_host(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Returns the place on the host of a path in the arguments.
    pub fn place(&self, path: &Path) -> PathBuf {
        let path = self.working.join(path);
        match path.strip_prefix("/") {
            Ok(below) if !self.is_host() => self.root.join(below),
            _ => path,
        }
    }
}

/// State of the kubelet from look to look.
#[derive(Clone, Debug, Default)]
pub struct Kubelet {
    /// systemd's last answer about the unit.
    pub unit: Option<Service>,
    /// The kubelet that ran last, with its arguments. They stay valid while none runs: the kubelet
    /// restarts, and its containers continue.
    last: Option<Running>,
}

impl Kubelet {
    pub fn by(unit: Option<Service>) -> Self {
        Self { unit, last: None }
    }

    /// Returns true if no kubelet has been seen running, so that its unit is the source.
    pub fn is_by_unit(&self) -> bool {
        self.last.is_none()
    }

    /// Forgets the arguments of the last kubelet.
    pub fn forget(&mut self) {
        self.last = None;
    }

    /// Returns the configuration in effect, as [`config_of`](super::config_of) does.
    pub fn config(
        &mut self,
        roots: &Roots,
        settings: &Settings,
    ) -> Result<Option<KubeletConfig>, KubeletError> {
        match self.command(roots) {
            Ok(known) => config_by(roots, settings, known),
            // The administrator has configured the file that the kubelet reads.
            Err(KubeletError::Program { .. }) if settings.kubelet_config.is_some() => {
                config_by(roots, settings, None)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the command line of the running kubelet, of the one that ran last, or of the unit;
    /// `None` if there is none of them.
    pub(super) fn command(
        &mut self,
        roots: &Roots,
    ) -> Result<Option<KubeletCommand>, KubeletError> {
        let before = self.last.as_ref().map(|last| last.pid);
        let (found, teller): (_, fn(u32) -> Teller) = match running(roots, before) {
            Some(found) => (found, Teller::Process),
            None => match &self.last {
                Some(last) => (last.clone(), Teller::LastProcess),
                None => return by_unit(roots, self.unit.as_ref()),
            },
        };
        self.last = Some(found.clone());
        let Running { pid, words, folders } = found;
        Ok(Some(KubeletCommand { words, told_by: teller(pid), folders }))
    }
}

/// A kubelet's process.
#[derive(Clone, Debug)]
struct Running {
    pid: u32,
    words: Vec<String>,
    folders: Folders,
}

/// `None` without a unit, or if it starts nothing, like a masked one.
fn by_unit(
    roots: &Roots,
    by_systemd: Option<&Service>,
) -> Result<Option<KubeletCommand>, KubeletError> {
    let service = by_systemd.cloned().or_else(|| on_disk(roots, UNIT));
    let Some(service) = service else { return Ok(None) };
    let command = service.command_line(environment_files(roots));
    let Some(program) = command.first() else { return Ok(None) };
    let words = match takes_arguments_over(program) {
        true => None,
        false => after_program(&command),
    };
    let words = words.ok_or_else(|| KubeletError::Program { program: program.clone() })?;
    let folders = Folders::at(service.folder);
    Ok(Some(KubeletCommand { words, told_by: Teller::Unit(UNIT.to_owned()), folders }))
}

/// Reads the environment files that a name with wildcards means.
fn environment_files(roots: &Roots) -> impl FnMut(&PathBuf) -> Vec<String> {
    |pattern| {
        let files = globbed(roots, pattern).into_iter();
        files.filter_map(|path| units::text(roots, &path)).collect()
    }
}

/// Returns the command line of any unit, and the variables that its program gets, from its files.
pub fn of_unit(roots: &Roots, unit: &str) -> Option<(Vec<String>, Environment)> {
    let service = on_disk(roots, unit)?;
    let read = || environment_files(roots);
    let command = service.command_line(read());
    (!command.is_empty()).then(|| (command, service.variables(read())))
}

/// Programs whose arguments are not those of the kubelet that they start.
const STARTERS: [&str; 17] = [
    "ash",
    "bash",
    "busybox",
    "crun",
    "ctr",
    "dash",
    "docker",
    "ksh",
    "machinectl",
    "nerdctl",
    "podman",
    "python3",
    "rkt",
    "runc",
    "sh",
    "systemd-nspawn",
    "zsh",
];

fn takes_arguments_over(program: &str) -> bool {
    program.rsplit('/').next().is_some_and(|name| STARTERS.contains(&name))
}

/// Reads kubeadm's environment files, if no unit reads them.
pub fn kubeadm(roots: &Roots) -> Option<KubeletCommand> {
    let mut words = Vec::new();
    let mut told_by = None;
    for (path, name) in KUBEADM {
        let Ok(Some(text)) = read_lossy(&roots.path(path)) else { continue };
        let environment: BTreeMap<_, _> = environment_file(&text).into_iter().collect();
        let found = expand(&[format!("${name}")], &environment);
        if !found.is_empty() {
            told_by = Some(PathBuf::from(path));
        }
        words.extend(found);
    }
    told_by.map(|path| KubeletCommand {
        words,
        told_by: Teller::Environment(path),
        folders: Folders::HOST(),
    })
}

/// Returns the arguments after the kubelet's program; `None` for another program. Wrappers may
/// precede it, as on OpenShift.
fn after_program(words: &[String]) -> Option<Vec<String>> {
    let named = |word: &String, name: &str| word.rsplit('/').next() == Some(name);
    let at = words.iter().position(|word| named(word, "kubelet"))?;
    Some(words[at + 1..].to_vec())
}

/// Finds the kubelet's process: in the unit's cgroup if that is in its usual slice, or the process
/// that was the kubelet before, or else among all processes.
fn running(roots: &Roots, before: Option<u32>) -> Option<Running> {
    let procs = limited(&roots.cgroup().join(USUAL_SLICE).join(UNIT).join("cgroup.procs"));
    let of_unit = procs.iter().flat_map(|text| text.lines()).filter_map(|pid| pid.parse().ok());
    if let Some(found) = of_processes(roots, of_unit.chain(before)) {
        return Some(found);
    }
    let entries = fs::read_dir(roots.proc("")).ok()?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    of_processes(roots, pids)
}

/// Tells the kubelet from other processes with its name: it runs as root, in the host's PID
/// namespace, and in no pod's cgroup. A process in the unit's cgroup takes precedence, then one
/// that is in no container.
fn of_processes(roots: &Roots, pids: impl Iterator<Item = u32>) -> Option<Running> {
    let mut found: Vec<(Place, u32)> =
        pids.filter_map(|pid| Some((kubelet_at_host(roots, pid)?, pid))).collect();
    found.sort_unstable();
    found.into_iter().find_map(|(place, pid)| {
        let words = after_program(&command_line(roots, pid)?)?;
        let working = fs::read_link(roots.proc(&format!("{pid}/cwd")));
        let mut folders = Folders::at(working.unwrap_or_default());
        if place == Place::Container {
            folders.root = format!("/proc/{pid}/root").into();
        }
        Some(Running { pid, words, folders })
    })
}

/// Where a kubelet runs, the surest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Unit,
    Host,
    /// A container that no pod made: the administrator runs the kubelet by Docker or podman.
    Container,
}

/// `None` if it is not the kubelet. Checks the properties that tenants cannot choose first.
fn kubelet_at_host(roots: &Roots, pid: u32) -> Option<Place> {
    let read = |name: &str| limited(&roots.proc(&format!("{pid}/{name}")));
    let comm = read("comm")?;
    if !matches!(comm.trim_end(), "kubelet" | "hyperkube") {
        return None;
    }
    let cgroup = cgroup_of(roots, pid)?;
    let named = |prefixes: &[&str]| {
        cgroup.split('/').any(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)))
    };
    if cgroup.contains("kubepods") || named(&["crio-", "cri-containerd-"]) {
        return None;
    }
    let status = read("status")?;
    let field = |name: &str| -> Option<Vec<&str>> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().collect())
    };
    // One number for each of its PID namespaces, starting with ours.
    let at_host = field("NSpid:").is_none_or(|pids| pids.len() == 1);
    let by_root = field("Uid:").is_some_and(|uids| uids.first() == Some(&"0"));
    (at_host && by_root).then(|| {
        if named(&["docker-", "libpod-", "machine.slice"]) {
            Place::Container
        } else if cgroup.split('/').any(|name| name == UNIT) {
            Place::Unit
        } else {
            Place::Host
        }
    })
}

pub fn command_line(roots: &Roots, pid: u32) -> Option<Vec<String>> {
    let text = limited(&roots.proc(&format!("{pid}/cmdline")))?;
    let words = text.strip_suffix('\0').unwrap_or(&text).split('\0');
    Some(words.map(str::to_owned).collect())
}

fn limited(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(LONGEST_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads the unit's files with its drop-ins, as systemd does.
fn on_disk(roots: &Roots, unit: &str) -> Option<Service> {
    let mut service = Service::of_manager(units::default_environment(roots));
    let unit = units::find(roots, unit)?;
    if !unit.masked {
        service.read(&unit.name, &unit.text);
        for drop_in in unit.drop_ins(roots) {
            service.read(&unit.name, &drop_in);
        }
    }
    Some(service)
}

/// Returns the files of a unit, the directories of its drop-ins, and its environment files.
pub fn files_of_unit(roots: &Roots, unit: &str) -> Vec<PathBuf> {
    let Some(found) = units::find(roots, unit) else { return Vec::new() };
    let mut files = found.files(roots);
    files.extend(found.drop_in_folders(roots));
    let service = on_disk(roots, unit).unwrap_or_default();
    let patterns = service.environment_files.iter().map(|(pattern, _)| pattern);
    files.extend(patterns.flat_map(|pattern| globbed(roots, pattern)));
    files
}

/// Returns the files of the kubelet's unit, and its environment files, that contain `flag`.
pub fn files_with(roots: &Roots, flag: &str) -> Vec<PathBuf> {
    let mut files = files_of_unit(roots, UNIT);
    files.extend(KUBEADM.map(|(path, _)| PathBuf::from(path)));
    let mut seen = Vec::new();
    files.retain(|file| {
        let text = read_lossy(&roots.path(file)).ok().flatten();
        // On most hosts /lib is a link to /usr/lib.
        let real = fs::canonicalize(roots.path(file)).unwrap_or_else(|_| file.clone());
        let is_new = text.is_some_and(|text| text.contains(flag)) && !seen.contains(&real);
        seen.push(real);
        is_new
    });
    files
}
