//! Tells if the processes in a container's cgroup are the container's, or still the runtime's.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::unistd::{SysconfVar, sysconf};
use procfs::{FromRead, ProcessCGroups, process::Stat};

use super::fields::{self, counter};
use crate::roots::Roots;

const RUNTIMES: [&str; 3] = ["crun", "runc", "youki"];
/// Upper bound of a path, in bytes.
const LONGEST_BYTES: u64 = 4096;
/// Upper bound of all variables of a process, in bytes.
const MOST_BYTES: u64 = 4 << 20;

/// The programs that the processes of a container run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runs {
    /// One runs the container's program.
    Program,
    /// They are the runtime's, or gone.
    Runtime,
    /// Only the command lines of these processes show it.
    Doubtful(Vec<u32>),
}

/// Decides by the names of the processes, which the kernel provides without blocking. Until it
/// executes the container's program, a runtime's process has one of these names: `crun`,
/// `runc:[2:INIT]`, `exe` or `6` (runc executes itself by descriptor), or a name that begins with
/// `memfd:`.
pub fn runs(roots: &Roots, processes: &[u32]) -> Runs {
    let mut doubtful = Vec::new();
    for pid in processes {
        let Ok(comm) = read(roots, *pid, "comm") else { continue };
        let comm = String::from_utf8_lossy(&comm);
        let name = comm.trim_end();
        let by_descriptor = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        if by_descriptor || name == "exe" || name.starts_with("memfd:") {
            doubtful.push(*pid);
        } else if !RUNTIMES.contains(&name.split(":[").next().unwrap_or_default()) {
            return Runs::Program;
        }
    }
    if doubtful.is_empty() { Runs::Runtime } else { Runs::Doubtful(doubtful) }
}

/// Decides by the command line: a runtime's begins with its name. The kernel reads it from the
/// process's memory, and blocks while the process keeps that locked.
pub fn is_program_by_command_line(roots: &Roots, pid: u32) -> bool {
    let Ok(command_line) = read(roots, pid, "cmdline") else { return false };
    let program = command_line.split(|byte| *byte == 0).next().unwrap_or_default();
    let program = program.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    !RUNTIMES.iter().any(|runtime| runtime.as_bytes() == program)
}

/// Returns the cgroup of a process on cgroup v2, from the root of the cgroups; `None` if the
/// process is gone.
pub fn cgroup_of(roots: &Roots, pid: u32) -> Option<String> {
    let all = ProcessCGroups::from_file(roots.proc(&format!("{pid}/cgroup"))).ok()?;
    // cgroup v2 has a single hierarchy 0, without controllers (cgroups(7)).
    all.into_iter().find(|one| one.hierarchy == 0).map(|one| one.pathname)
}

/// Returns the command line, up to a bound; it can block, see [`is_program_by_command_line`].
pub fn command_line(roots: &Roots, pid: u32) -> std::io::Result<Vec<u8>> {
    read(roots, pid, "cmdline")
}

/// Returns the kernel's name of the process.
pub fn name_of(roots: &Roots, pid: u32) -> Option<String> {
    let name = read(roots, pid, "comm").ok()?;
    Some(String::from_utf8_lossy(&name).trim_end().to_owned())
}

/// Returns the variables with which a process has started; `None` if this process may not read them.
/// A process without a capability reads only those of processes without one.
pub fn variables(roots: &Roots, pid: u32) -> Option<BTreeMap<String, String>> {
    let file = File::open(roots.proc(&format!("{pid}/environ"))).ok()?;
    let mut text = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut text).ok()?;
    let mut variables = BTreeMap::new();
    for one in text.split(|byte| *byte == 0) {
        if let Some((name, value)) = String::from_utf8_lossy(one).split_once('=') {
            // As in Go, the first of several counts.
            variables.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    // A process that ends has none, and a service of systemd always has some.
    (!variables.is_empty()).then_some(variables)
}

/// Returns when a process started; accurate to a second.
pub fn started(roots: &Roots, pid: u32) -> Option<SystemTime> {
    let ticks = Stat::from_file(roots.proc(&format!("{pid}/stat"))).ok()?.starttime;
    let per_second = sysconf(SysconfVar::CLK_TCK).ok()??;
    let boot = counter(&fields::read(&roots.proc("stat")).ok()?, "btime")?;
    let since_boot = ticks / u64::try_from(per_second).ok().filter(|ticks| *ticks > 0)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(boot.checked_add(since_boot)?))
}

/// Reads up to a bound, because a process can make its command line arbitrarily long.
fn read(roots: &Roots, pid: u32, name: &str) -> std::io::Result<Vec<u8>> {
    let file = File::open(roots.proc(&format!("{pid}/{name}")))?;
    let mut text = Vec::new();
    file.take(LONGEST_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_told_from_what_they_run() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        std::fs::create_dir_all(folder.path().join("proc/7")).unwrap();
        let doubtful = || Runs::Doubtful(vec![7]);
        for (comm, expected) in [
            ("crun", Runs::Runtime),
            ("runc:[2:INIT]", Runs::Runtime),
            ("runc:[1:CHILD]", Runs::Runtime),
            ("exe", doubtful()),
            ("6", doubtful()),
            ("memfd:runc_clon", doubtful()),
            ("virt-launcher", Runs::Program),
            ("crunch", Runs::Program),
            ("kworker:[x]", Runs::Program),
            ("", Runs::Program),
        ] {
            std::fs::write(roots.proc("7/comm"), format!("{comm}\n")).unwrap();
            assert_eq!(runs(&roots, &[7]), expected, "{comm}");
            assert_eq!(runs(&roots, &[8, 7]), expected, "{comm}");
        }
        std::fs::create_dir_all(folder.path().join("proc/8")).unwrap();
        std::fs::write(roots.proc("8/comm"), "6\n").unwrap();
        assert_eq!(runs(&roots, &[8, 7]), Runs::Program, "one is enough");
        assert_eq!(runs(&roots, &[9]), Runs::Runtime);
    }

    #[test]
    fn a_command_line_decides_where_the_name_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        std::fs::create_dir_all(folder.path().join("proc/7")).unwrap();
        for (command_line, is_program) in [
            ("/usr/bin/crun\0--systemd-cgroup\0create\0", false),
            ("runc\0init\0", false),
            ("/usr/bin/runc\0init\0", false),
            ("/usr/bin/virt-launcher\0--qemu-timeout\0", true),
            ("crunch\0", true),
        ] {
            std::fs::write(roots.proc("7/cmdline"), command_line).unwrap();
            assert_eq!(is_program_by_command_line(&roots, 7), is_program, "{command_line}");
        }
        let longest = File::create(roots.proc("7/cmdline")).unwrap();
        longest.set_len(1 << 40).unwrap();
        assert!(is_program_by_command_line(&roots, 7), "no more is read than tells");
        assert!(!is_program_by_command_line(&roots, 8), "it is gone");
    }
}
