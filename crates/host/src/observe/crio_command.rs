//! CRI-O's own command line and variables, which override its files.
//!
//! Source: CRI-O `internal/criocli/criocli.go`; crio(8).

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    kubelet::{command_line, files_of_unit, of_unit},
    process::{name_of, started, variables},
    units::place,
};
use crate::roots::Roots;

const UNIT: &str = "crio.service";
const PROGRAM: &str = "crio";

/// The values that matter here; `None` if they are not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CrioFlags {
    /// Empty means no file.
    pub config: Option<String>,
    /// Empty means none.
    pub config_dir: Option<String>,
    pub hooks_dir: Option<Vec<PathBuf>>,
    pub default_runtime: Option<String>,
}

/// The variables that matter here.
const VARIABLES: [&str; 4] = [
    "CONTAINER_CONFIG",
    "CONTAINER_CONFIG_DIR",
    "CONTAINER_HOOKS_DIR",
    "CONTAINER_DEFAULT_RUNTIME",
];

/// The running CRI-O may have other variables than its unit gives now.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the variables of the running CRI-O are not known: its process's cannot be read, and {} has \
     changed since it started; systemctl restart crio applies the change",
    .changed.display()
)]
pub struct CrioVariablesError {
    changed: PathBuf,
}

/// Returns the flags of the running CRI-O, else of its unit; `None` if there is neither.
pub(crate) fn crio_flags(roots: &Roots) -> Result<Option<CrioFlags>, CrioVariablesError> {
    let unit = of_unit(roots, UNIT);
    let Some((pid, words)) = running(roots) else {
        return Ok(unit.map(|(words, variables)| parsed(&words, &variables)));
    };
    let variables = match variables(roots, pid) {
        Some(variables) => variables,
        None => of_files(roots, pid, unit.map(|(_, variables)| variables).unwrap_or_default())?,
    };
    Ok(Some(parsed(&words, &variables)))
}

/// Returns the variables of the unit, if the process has them too: the agent in its service may not
/// read those of a process with capabilities. A variable that a file does not set any more is not
/// noticed.
fn of_files(
    roots: &Roots,
    pid: u32,
    of_unit: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, CrioVariablesError> {
    if !VARIABLES.iter().any(|name| of_unit.contains_key(*name)) {
        return Ok(of_unit);
    }
    let started = started(roots, pid).map(|at| at + INACCURACY);
    let changed = files_of_unit(roots, UNIT).into_iter().find(|file| {
        changed(&place(roots, file)).is_some_and(|at| started.is_none_or(|of| at > of))
    });
    changed.map_or(Ok(of_unit), |changed| Err(CrioVariablesError { changed }))
}

/// Of the time at which a process started.
const INACCURACY: Duration = Duration::from_secs(2);

/// Returns when a file, or the link to it, last changed: its content, name, or owner.
fn changed(file: &Path) -> Option<SystemTime> {
    let at = |of: Metadata| {
        let since = Duration::new(of.ctime().try_into().ok()?, of.ctime_nsec().try_into().ok()?);
        UNIX_EPOCH.checked_add(since)
    };
    let link = fs::symlink_metadata(file).ok().and_then(at);
    link.max(fs::metadata(file).ok().and_then(at))
}

/// Finds CRI-O in its unit's cgroup.
fn running(roots: &Roots) -> Option<(u32, Vec<String>)> {
    let procs = roots.cgroup().join("system.slice").join(UNIT).join("cgroup.procs");
    let procs = fs::read_to_string(procs).ok()?;
    let mut pids = procs.lines().filter_map(|pid| pid.parse().ok());
    let pid = pids.find(|pid| name_of(roots, *pid).as_deref() == Some(PROGRAM))?;
    Some((pid, command_line(roots, pid)?))
}

/// Parses as Go's `flag` and `urfave/cli`: one or two dashes, up to the first word that is no flag.
/// A flag overrides its variable.
fn parsed(words: &[String], variables: &BTreeMap<String, String>) -> CrioFlags {
    let variable = |name: &str| variables.get(name).cloned();
    let mut flags = CrioFlags {
        config: variable(VARIABLES[0]),
        config_dir: variable(VARIABLES[1]),
        hooks_dir: variable(VARIABLES[2]).map(|text| split(&text).collect()),
        default_runtime: variable(VARIABLES[3]),
    };
    let program = |word: &String| word.rsplit('/').next() == Some(PROGRAM);
    let start = words.iter().position(program).map_or(0, |at| at + 1);
    let mut hooks: Option<Vec<PathBuf>> = None;
    let mut words = words.iter().skip(start).peekable();
    while let Some(word) = words.next() {
        let Some(rest) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else { break };
        if rest.is_empty() {
            break;
        }
        let (name, value) = match rest.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (rest, words.next_if(|next| !next.starts_with('-')).cloned()),
        };
        let Some(value) = value else { continue };
        match name {
            "config" | "c" => flags.config = Some(value),
            "config-dir" | "d" => flags.config_dir = Some(value),
            "hooks-dir" => hooks.get_or_insert_default().extend(split(&value)),
            "default-runtime" => flags.default_runtime = Some(value),
            _ => {}
        }
    }
    flags.hooks_dir = hooks.or(flags.hooks_dir);
    flags
}

fn split(text: &str) -> impl Iterator<Item = PathBuf> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use nix::unistd::{SysconfVar, sysconf};

    use super::*;

    /// The service's own variables come first; those of its files count until they change.
    #[test]
    fn variables_are_those_of_the_process_or_of_files_that_it_has_read() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let put = |path: &str, text: &str| {
            let path = roots.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let hooks = || crio_flags(&roots).map(|flags| flags.unwrap().hooks_dir);
        let unit = "[Service]\nEnvironmentFile=-/etc/sysconfig/%p\nExecStart=/usr/bin/crio\n";
        put("/usr/lib/systemd/system/crio.service", unit);
        put("/etc/sysconfig/crio", "CONTAINER_HOOKS_DIR=/of-unit\n");
        assert_eq!(hooks(), Ok(Some(vec!["/of-unit".into()])), "it does not run");
        put("/sys/fs/cgroup/system.slice/crio.service/cgroup.procs", "8\n");
        put("/proc/8/comm", "crio\n");
        put("/proc/8/cmdline", "/usr/bin/crio\0");
        put("/proc/8/environ", "PATH=/bin\0CONTAINER_HOOKS_DIR=/own\0CONTAINER_HOOKS_DIR=/2\0");
        assert_eq!(hooks(), Ok(Some(vec!["/own".into()])));
        put("/proc/8/environ", "PATH=/bin\0");
        assert_eq!(hooks(), Ok(None));
        // The kernel lets no other process read it.
        put("/proc/8/environ", "");
        assert!(hooks().is_err(), "the start is not known");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let started = |at: u64| {
            put("/proc/stat", &format!("cpu 1 2 3\nbtime {}\n", at - 1000));
            let zeros = "0 ".repeat(30);
            let ticks = 1000 * sysconf(SysconfVar::CLK_TCK).unwrap().unwrap();
            put(
                "/proc/8/stat",
                &format!("8 (cri o) S 1 8 8 0 -1 {} {ticks} {zeros}", "0 ".repeat(13).trim()),
            );
        };
        started(now + 60);
        assert_eq!(hooks(), Ok(Some(vec!["/of-unit".into()])));
        started(now - 60);
        let error = hooks().unwrap_err();
        assert_eq!(error.changed, Path::new("/usr/lib/systemd/system/crio.service"));
        put("/etc/sysconfig/crio", "OPTIONS=\n");
        assert_eq!(hooks(), Ok(None), "no file sets any of them");
    }

    #[test]
    fn flags_override_variables_and_end_at_a_word() {
        let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
        let variables = [
            ("CONTAINER_HOOKS_DIR".to_owned(), "/v1, /v2".to_owned()),
            ("CONTAINER_CONFIG_DIR".to_owned(), "/vd".to_owned()),
        ];
        let variables = variables.into();
        let of = |text: &str| parsed(&words(text), &variables);
        let none = of("/usr/bin/crio");
        assert_eq!(none.hooks_dir, Some(vec!["/v1".into(), "/v2".into()]));
        assert_eq!(none.config_dir, Some("/vd".into()));
        let some = of("/usr/bin/crio --log-level debug -d /d --hooks-dir=/a,/b --enable-metrics \
                       -hooks-dir /c --config= --default-runtime runc wipe --hooks-dir /x");
        let hooks = ["/a", "/b", "/c"].map(PathBuf::from);
        assert_eq!(some.hooks_dir, Some(hooks.into()));
        assert_eq!((some.config_dir, some.config), (Some("/d".into()), Some(String::new())));
        assert_eq!(some.default_runtime.as_deref(), Some("runc"));
    }
}
