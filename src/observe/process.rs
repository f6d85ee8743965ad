//! Whether a process in a container's cgroup is the container's, or still the runtime's.

use crate::roots::Roots;

/// The names of the runtimes' processes until they execute the container's program: `crun`,
/// `runc:[2:INIT]`, `youki:[2:INIT]`.
const RUNTIMES: [&str; 3] = ["crun", "runc", "youki"];

/// `false` for a process that is gone or is a runtime's.
pub fn is_started(roots: &Roots, pid: u32) -> bool {
    std::fs::read_to_string(roots.proc(&format!("{pid}/comm"))).is_ok_and(|comm| {
        let comm = comm.trim_end();
        let program = comm.split_once(":[").map_or(comm, |(program, _)| program);
        !RUNTIMES.contains(&program)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_told_from_what_they_run() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        std::fs::create_dir_all(folder.path().join("proc/7")).unwrap();
        for (comm, started) in [
            ("crun", false),
            ("runc:[2:INIT]", false),
            ("runc:[1:CHILD]", false),
            ("virt-launcher", true),
            ("crunch", true),
            ("kworker:[x]", true),
        ] {
            std::fs::write(roots.proc("7/comm"), format!("{comm}\n")).unwrap();
            assert_eq!(is_started(&roots, 7), started, "{comm}");
        }
        assert!(!is_started(&roots, 8));
    }
}
