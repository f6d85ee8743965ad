//! What the hook's definition says, and where it goes.
//!
//! Source: oci-hooks(5), the 1.0.0 format.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::model::program::{Image, ProgramFacts};

/// After the hooks of others: the last to write a limit wins.
pub const FILE_NAME: &str = "99-wasp-agent.json";

/// Called when a container's cgroup is made and before its program runs. Always: CRI-O has no hooks
/// for sandboxes, and compares the pod's annotations, among which `io.kubernetes.cri-o.…` is not
/// (crio.conf(5)). No timeout: the runtime would keep the container from starting.
pub fn definition(hook: &Path) -> String {
    let definition = serde_json::json!({
        "version": "1.0.0",
        "hook": { "path": hook },
        "when": { "always": true },
        "stages": ["createRuntime"],
    });
    definition.to_string() + "\n"
}

/// The folders that CRI-O reads, those that the next boot empties first: what is installed there
/// is never left behind.
pub fn preferred(mut folders: Vec<PathBuf>) -> Vec<PathBuf> {
    folders.sort_by_key(|folder| !folder.starts_with("/run"));
    folders
}

/// Stands before the version in the program, which keeps it for [`version`] to find.
const MARK: &str = "wasp-hook is of version ";
/// What `wasp-hook` holds of itself.
pub const SELF: &str = concat!("wasp-hook is of version ", env!("CARGO_PKG_VERSION"), ";");
/// The agent's own version, and the hook's where both are of one package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
const LONGEST_VERSION: usize = 64;

/// The version that a program names, where it is a `wasp-hook`; `bytes` are its constants.
pub fn version(bytes: &[u8]) -> Option<String> {
    let mark = MARK.as_bytes();
    let mut rest = bytes;
    loop {
        let at = rest.iter().position(|byte| *byte == mark[0])?;
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix(mark) {
            let end = after.iter().take(LONGEST_VERSION).position(|byte| *byte == b';');
            let version = end.and_then(|end| std::str::from_utf8(&after[..end]).ok());
            if let Some(version) = version.filter(|v| v.starts_with(|c: char| c.is_ascii_digit())) {
                return Some(version.to_owned());
            }
        }
        rest = &rest[1..];
    }
}

/// Why the runtime could not start the hook's program. No container starts while its definition is
/// installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    Missing,
    NoFile,
    NotExecutable,
    NoExec(PathBuf),
    /// It is cut, made for another machine, or no program.
    Format(String),
    /// A program, and not ours.
    Replaced,
}

/// Whether the runtime can start the program.
pub fn unfit(program: &ProgramFacts) -> Option<Unfit> {
    let Some(mode) = program.mode else { return Some(Unfit::Missing) };
    if !program.is_file {
        return Some(Unfit::NoFile);
    }
    // The runtime is root, whom one bit is enough.
    if mode & 0o111 == 0 {
        return Some(Unfit::NotExecutable);
    }
    if let Some(mount) = &program.noexec {
        return Some(Unfit::NoExec(mount.clone()));
    }
    match &program.image {
        Err(why) => Some(Unfit::Format(why.clone())),
        Ok(Image { target, .. }) if program.machine.is_some_and(|machine| machine != *target) => {
            Some(Unfit::Format("it is built for another architecture".to_owned()))
        }
        Ok(Image { version: None, .. }) => Some(Unfit::Replaced),
        Ok(_) => None,
    }
}

/// A hook that runs, and is not of the agent's own version: one of them was not installed, or the agent
/// not started, with the other.
pub fn other_version(program: &ProgramFacts) -> Option<String> {
    let found = program.image.as_ref().ok()?.version.as_deref()?;
    (found != VERSION)
        .then(|| format!("{} has version {found}, the agent {VERSION}", program.path.display()))
}

impl Unfit {
    /// What is wrong with the program at `path`.
    pub fn about(&self, path: &Path) -> String {
        format!("{} {self}", path.display())
    }

    /// Commands that make it run.
    pub fn remedy(&self, path: &Path) -> Vec<String> {
        // First boot of RHEL CoreOS: its service fetches the package again when its mark is gone.
        let reinstall = match path.starts_with("/usr/local") {
            true => vec![
                "rm -f /var/lib/wasp-agent/package.sha256".to_owned(),
                "systemctl restart wasp-agent-install".to_owned(),
            ],
            false => vec![
                "rpm -V wasp-agent".to_owned(),
                "# reinstall the package: dnf reinstall ./wasp-agent-VERSION.rpm".to_owned(),
            ],
        };
        match self {
            Self::NotExecutable => vec![format!("chmod 0755 {}", path.display())],
            Self::NoExec(mount) => vec![format!("mount -o remount,exec {}", mount.display())],
            Self::Missing | Self::NoFile | Self::Format(_) | Self::Replaced => reinstall,
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::NoFile => f.write_str("is not a file"),
            Self::NotExecutable => f.write_str("is not executable"),
            Self::NoExec(mount) => {
                write!(f, "cannot run: {} is mounted with noexec", mount.display())
            }
            Self::Format(why) => write!(f, "cannot run: {why}"),
            Self::Replaced => f.write_str("is another program than wasp-hook"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::program::Target;

    fn program() -> ProgramFacts {
        let target = Target { class: 2, data: 1, machine: 62 };
        ProgramFacts {
            path: "/usr/bin/wasp-hook".into(),
            mode: Some(0o755),
            is_file: true,
            noexec: None,
            image: Ok(Image { target, version: Some(VERSION.to_owned()) }),
            machine: Some(target),
        }
    }

    #[test]
    fn a_program_that_would_not_run_is_told_and_how_to_make_it_run() {
        assert_eq!(unfit(&program()), None);
        let told = |break_it: fn(&mut ProgramFacts)| {
            let mut program = program();
            break_it(&mut program);
            let unfit = unfit(&program).unwrap();
            (unfit.to_string(), unfit.remedy(&program.path).join("; "))
        };
        let reinstall = "rpm -V wasp-agent; # reinstall the package: dnf reinstall \
                         ./wasp-agent-VERSION.rpm"
            .to_owned();
        assert_eq!(told(|p| p.mode = None), ("is missing".to_owned(), reinstall.clone()));
        let chmod = "chmod 0755 /usr/bin/wasp-hook".to_owned();
        assert_eq!(told(|p| p.mode = Some(0o644)), ("is not executable".to_owned(), chmod));
        let remount = "mount -o remount,exec /usr".to_owned();
        let noexec = "cannot run: /usr is mounted with noexec".to_owned();
        assert_eq!(told(|p| p.noexec = Some("/usr".into())), (noexec, remount));
        let cut = "cannot run: the file is incomplete".to_owned();
        assert_eq!(
            told(|p| p.image = Err("the file is incomplete".into())),
            (cut, reinstall.clone())
        );
        let other = "cannot run: it is built for another architecture".to_owned();
        assert_eq!(
            told(|p| p.machine = Some(Target { class: 2, data: 1, machine: 183 })),
            (other, reinstall.clone())
        );
        let replaced = "is another program than wasp-hook".to_owned();
        let no_version = |p: &mut ProgramFacts| p.image.as_mut().unwrap().version = None;
        assert_eq!(told(no_version), (replaced, reinstall));
    }

    #[test]
    fn a_version_is_found_among_other_bytes() {
        assert_eq!(version(SELF.as_bytes()).as_deref(), Some(VERSION));
        let text = [b"wasp-hook is of version \0wwasp", SELF.as_bytes(), b"\xff"].concat();
        assert_eq!(version(&text).as_deref(), Some(VERSION));
        assert_eq!(version(b"wasp-hook is of version 1.2"), None);
        assert_eq!(version(b""), None);
        let mut newer = program();
        newer.image.as_mut().unwrap().version = Some("9.0.0".to_owned());
        assert_eq!((unfit(&newer), other_version(&program())), (None, None));
        assert!(other_version(&newer).unwrap().contains("has version 9.0.0, the agent "));
    }

    #[test]
    fn run_comes_first_and_the_order_stays_otherwise() {
        let folders = ["/usr/x", "/run/b", "/etc/y", "/run/a"].map(PathBuf::from).to_vec();
        let expected = ["/run/b", "/run/a", "/usr/x", "/etc/y"].map(PathBuf::from);
        assert_eq!(preferred(folders), expected);
    }

    #[test]
    fn the_definition_is_of_the_1_0_0_format() {
        let json: serde_json::Value =
            serde_json::from_str(&definition(Path::new("/usr/bin/wasp-hook"))).unwrap();
        assert_eq!(json["version"], "1.0.0");
        assert_eq!(json["hook"], serde_json::json!({"path": "/usr/bin/wasp-hook"}));
        assert_eq!(json["stages"], serde_json::json!(["createRuntime"]));
        assert_eq!(json["when"], serde_json::json!({"always": true}));
    }
}
