//! Whether a process in a container's cgroup is the container's, or still the runtime's.

use std::{fs::File, io::Read};

use crate::roots::Roots;

const RUNTIMES: [&str; 3] = ["crun", "runc", "youki"];
/// No path is longer.
const LONGEST_BYTES: u64 = 4096;

/// `false` for a process that is gone or is a runtime's: until it executes the container's program
/// it is called `crun`, `runc:[2:INIT]`, or just `exe` or `6` (runc executes itself by descriptor),
/// but its command line begins with the runtime's.
pub fn is_started(roots: &Roots, pid: u32) -> bool {
    // A process makes its command line as long as it likes.
    let read = |name: &str| -> std::io::Result<Vec<u8>> {
        let file = File::open(roots.proc(&format!("{pid}/{name}")))?;
        let mut text = Vec::new();
        file.take(LONGEST_BYTES).read_to_end(&mut text)?;
        Ok(text)
    };
    let (Ok(comm), Ok(command_line)) = (read("comm"), read("cmdline")) else { return false };
    let comm = String::from_utf8_lossy(&comm);
    let name = comm.trim_end().split(":[").next().unwrap_or_default();
    let program = command_line.split(|byte| *byte == 0).next().unwrap_or_default();
    let program = program.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    !RUNTIMES.iter().any(|runtime| *runtime == name || runtime.as_bytes() == program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_told_from_what_they_run() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        std::fs::create_dir_all(folder.path().join("proc/7")).unwrap();
        for (comm, command_line, started) in [
            ("crun", "/usr/bin/crun\0--systemd-cgroup\0create\0", false),
            ("runc:[2:INIT]", "runc\0init\0", false),
            ("runc:[1:CHILD]", "", false),
            ("exe", "/usr/bin/runc\0init\0", false),
            ("6", "runc\0init\0", false),
            ("virt-launcher", "/usr/bin/virt-launcher\0--qemu-timeout\0", true),
            ("crunch", "crunch\0", true),
            ("kworker:[x]", "", true),
        ] {
            std::fs::write(roots.proc("7/comm"), format!("{comm}\n")).unwrap();
            std::fs::write(roots.proc("7/cmdline"), command_line).unwrap();
            assert_eq!(is_started(&roots, 7), started, "{comm} {command_line}");
        }
        std::fs::write(roots.proc("7/comm"), "x\n").unwrap();
        let longest = File::create(roots.proc("7/cmdline")).unwrap();
        longest.set_len(1 << 40).unwrap();
        assert!(is_started(&roots, 7), "no more is read than tells");
        assert!(!is_started(&roots, 8));
    }
}
