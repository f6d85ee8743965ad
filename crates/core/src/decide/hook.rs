//! The definition of the OCI hook, and the directory to install it in.
//!
//! Source: oci-hooks(5), the 1.0.0 format.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::remedy::{file_by_pool, set, winning};
use crate::model::{
    origin::Origins,
    program::{Image, ProgramFacts},
    runtime::{CrioDropIns, DefaultRuntime},
    shell::{self, quoted},
    system::System,
    trouble::{Problem, Trouble},
};

/// Sorts after other hooks: the last hook to write a limit wins.
pub const FILE_NAME: &str = "99-wasp-agent.json";

/// Returns the definition. The runtime calls the hook when it has created a container's cgroup,
/// before the program runs. It applies to all containers: CRI-O runs no hooks for sandboxes, and it
/// compares the pod's annotations, which do not include `io.kubernetes.cri-o.…` (crio.conf(5)). It
/// has no timeout, because the runtime would then fail the container.
pub fn definition(hook: &Path) -> String {
    let definition = serde_json::json!({
        "version": "1.0.0",
        "hook": { "path": hook },
        "when": { "always": true },
        "stages": ["createRuntime"],
    });
    definition.to_string() + "\n"
}

/// Sorts the directories that CRI-O reads so that those which the next boot empties come first: a
/// definition there is never left behind.
pub fn preferred(mut folders: Vec<PathBuf>) -> Vec<PathBuf> {
    folders.sort_by_key(|folder| !folder.starts_with("/run"));
    folders
}

/// Returns commands that configure that no hook is installed.
pub fn no_hook(origins: &Origins) -> Vec<String> {
    set(origins, "hook", &[("hook.install", "false")])
}

/// Directories that the agent's unit may write to.
pub const WRITABLE: [&str; 3] = [
    "/run/containers/oci/hooks.d",
    "/etc/containers/oci/hooks.d",
    "/usr/share/containers/oci/hooks.d",
];

/// Has CRI-O read a directory that the agent can write, besides the `folders` that it reads now.
pub fn another_folder(system: &System, drop_ins: &CrioDropIns, folders: &[PathBuf]) -> Vec<String> {
    let added = WRITABLE.iter().map(Path::new).find(|one| folders.iter().all(|f| f != one));
    let all = folders.iter().map(PathBuf::as_path).chain(added);
    // A string of JSON is one of TOML.
    let text = |folder: &Path| serde_json::Value::from(folder.display().to_string()).to_string();
    let all: Vec<String> = all.map(text).collect();
    let text = format!("[crio.runtime]\nhooks_dir = [{}]\n", all.join(", "));
    let mut lines = crio_drop_in(system, drop_ins, "hooks", &text);
    if system.pool.is_none() {
        lines.push("systemctl restart wasp-agent".to_owned());
    }
    lines
}

/// Returns commands that write a drop-in of CRI-O, which it reads last.
fn crio_drop_in(
    system: &System,
    CrioDropIns { folder, last }: &CrioDropIns,
    own: &str,
    text: &str,
) -> Vec<String> {
    let path = folder.join(winning(&format!("99-wasp-agent-{own}.conf"), last.as_deref()));
    match &system.pool {
        Some(pool) => file_by_pool(pool, &format!("crio-{own}"), &path, text),
        None => {
            let text = text.replace('\\', r"\\").replace('%', "%%").replace('\n', r"\n");
            let (text, path) = (quoted(&text), shell::path(&path));
            vec![format!("printf {text} > {path}"), "systemctl restart crio".to_owned()]
        }
    }
}

/// Returns the command that puts another hook's definition out of effect, and overwrites no file.
pub fn put_aside(file: &Path) -> String {
    let aside = quoted(&format!("{}.off", file.display()));
    format!("mv {} {aside} --backup=numbered", shell::path(file))
}

/// The runtimes that put a container's processes into the cgroup that the kubelet names.
const RUNTIMES: [&str; 2] = ["crun", "runc"];

/// Reports a runtime whose processes the agent does not tell from those of containers.
pub fn unknown_runtime(
    system: &System,
    drop_ins: &CrioDropIns,
    runtime: &DefaultRuntime,
) -> Option<Problem> {
    if RUNTIMES.contains(&runtime.program()) {
        return None;
    }
    let text = format!("{runtime}: the agent supports only crun and runc");
    let crun = "[crio.runtime]\ndefault_runtime = \"crun\"\n";
    let drop_in = crio_drop_in(system, drop_ins, "runtime", crun);
    let unless = "# unless you chose it for its isolation".to_owned();
    let remedy = [unless].into_iter().chain(drop_in).collect();
    Some(Problem::new(Trouble::Runtime, text).with_remedy(remedy))
}

/// Lists directories in a sentence.
pub fn listed(paths: &[PathBuf]) -> String {
    let shown: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    if shown.is_empty() { "no directory".to_owned() } else { shown.join(" and ") }
}

/// Precedes the version in the program's constants, so that [`version`] finds it.
const MARK: &str = "wasp-hook is of version ";
/// The constant in `wasp-hook` that holds its version.
pub const SELF: &str = concat!("wasp-hook is of version ", env!("CARGO_PKG_VERSION"), ";");
/// The version of the agent, and of a hook from the same package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
const LONGEST_VERSION: usize = 64;

/// Returns the version in a program's constants (`bytes`), if it is a `wasp-hook`.
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

/// The reason why the runtime cannot start the hook's program. No container starts while the
/// definition of such a hook is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookUnfit {
    Missing,
    NoFile,
    NotExecutable,
    NoExec(PathBuf),
    /// SELinux enforces, and the runtime may not execute a file with this label.
    Label(String),
    /// The file is truncated, for another machine, or not a program.
    Format(String),
    /// The file is a program, but not wasp-hook.
    Replaced,
}

/// Returns the reason why the runtime cannot start the program, if there is one.
pub fn unfit(program: &ProgramFacts) -> Option<HookUnfit> {
    let Some(mode) = program.mode else { return Some(HookUnfit::Missing) };
    if !program.is_file {
        return Some(HookUnfit::NoFile);
    }
    // The runtime is root, for which one execute bit suffices.
    if mode & 0o111 == 0 {
        return Some(HookUnfit::NotExecutable);
    }
    if let Some(mount) = &program.noexec {
        return Some(HookUnfit::NoExec(mount.clone()));
    }
    // A label that cannot be read proves nothing.
    if let Some(selinux) = program.selinux.as_ref().filter(|it| it.enforces && !it.allows())
        && let Some(label) = &selinux.label
    {
        return Some(HookUnfit::Label(label.clone()));
    }
    match &program.image {
        Err(why) => Some(HookUnfit::Format(why.to_string())),
        Ok(Image { target, .. }) if program.machine.is_some_and(|machine| machine != *target) => {
            Some(HookUnfit::Format("it is built for another architecture".to_owned()))
        }
        Ok(Image { version: None, .. }) => Some(HookUnfit::Replaced),
        Ok(_) => match (&program.no_interpreter, &program.not_started) {
            (Some(path), _) => Some(HookUnfit::Format(format!(
                "it is built for another system: {} is missing",
                path.display()
            ))),
            (None, Some(why)) => Some(HookUnfit::Format(format!("it does not start: {why}"))),
            (None, None) => None,
        },
    }
}

/// Describes a hook that runs but has another version than the agent: only one of them was
/// installed, or the agent was not restarted.
pub fn other_version(program: &ProgramFacts) -> Option<String> {
    let found = program.image.as_ref().ok()?.version.as_deref()?;
    (found != VERSION)
        .then(|| format!("{} has version {found}, the agent {VERSION}", program.path.display()))
}

impl HookUnfit {
    /// Describes the problem with the program at `path`.
    pub fn about(&self, path: &Path) -> String {
        format!("{} {self}", path.display())
    }

    /// Returns commands that repair the program at `path`.
    pub fn remedy(&self, system: &System, path: &Path) -> Vec<String> {
        // On RHEL CoreOS the service of the first boot fetches the package again if its mark is
        // missing.
        let reinstall = match path.starts_with("/usr/local") {
            true => vec![
                "rm -f /var/lib/wasp-agent/package.sha256".to_owned(),
                "systemctl restart wasp-agent-install".to_owned(),
            ],
            // No program can write there: another deployment of the image has the intact file.
            false if system.is_image => {
                let image = match &system.pool {
                    Some(pool) => format!(
                        "# then correct the image of pool {pool}: oc get machineosconfig -o yaml"
                    ),
                    None => "# then boot an image that has it: rpm-ostree rollback".to_owned(),
                };
                return vec!["rpm -V wasp-agent".to_owned(), "rpm-ostree status".to_owned(), image];
            }
            false => vec![
                "# reinstall the package: dnf reinstall ./wasp-agent-VERSION.rpm".to_owned(),
                "rpm -V wasp-agent".to_owned(),
            ],
        };
        match self {
            Self::NotExecutable => vec![format!("chmod 0755 {}", shell::path(path))],
            Self::NoExec(mount) => vec![format!("mount -o remount,exec {}", shell::path(mount))],
            Self::Label(_) => vec![format!("restorecon -v {}", shell::path(path))],
            Self::Missing | Self::NoFile | Self::Format(_) | Self::Replaced => reinstall,
        }
    }
}

impl fmt::Display for HookUnfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::NoFile => f.write_str("is not a file"),
            Self::NotExecutable => f.write_str("is not executable"),
            Self::NoExec(mount) => {
                write!(f, "cannot run: {} is mounted with noexec", mount.display())
            }
            Self::Label(label) => {
                write!(f, "has the SELinux label {label}, which CRI-O may not run")
            }
            Self::Format(why) => write!(f, "cannot run: {why}"),
            Self::Replaced => f.write_str("is another program than wasp-hook"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::program::{ProgramTarget, SeLinux};

    fn program() -> ProgramFacts {
        let target = ProgramTarget { class: 2, data: 1, machine: 62 };
        ProgramFacts {
            path: "/usr/bin/wasp-hook".into(),
            mode: Some(0o755),
            is_file: true,
            noexec: None,
            no_interpreter: None,
            not_started: None,
            image: Ok(Image { target, interpreter: None, version: Some(VERSION.to_owned()) }),
            machine: Some(target),
            selinux: None,
        }
    }

    #[test]
    fn a_drop_in_for_crio_has_the_directories_as_they_are() {
        let drop_ins = CrioDropIns { folder: "/etc/crio/crio.conf.d".into(), last: None };
        let odd = [PathBuf::from("/o%d\\n\"x")];
        let lines = another_folder(&System::default(), &drop_ins, &odd);
        // printf turns %% and \\ into % and \ again.
        let listed = r#"hooks_dir = ["/o%%d\\\\n\\"x", "/run/containers/oci/hooks.d"]\n"#;
        assert!(lines[0].contains(listed), "{}", lines[0]);
    }

    #[test]
    fn a_program_that_would_not_run_is_told_and_how_to_make_it_run() {
        assert_eq!(unfit(&program()), None);
        let told = |break_it: fn(&mut ProgramFacts)| {
            let mut program = program();
            break_it(&mut program);
            let unfit = unfit(&program).unwrap();
            (unfit.to_string(), unfit.remedy(&System::default(), &program.path).join("; "))
        };
        let reinstall = "# reinstall the package: dnf reinstall ./wasp-agent-VERSION.rpm; rpm -V \
                         wasp-agent"
            .to_owned();
        assert_eq!(told(|p| p.mode = None), ("is missing".to_owned(), reinstall.clone()));
        let chmod = "chmod 0755 /usr/bin/wasp-hook".to_owned();
        assert_eq!(told(|p| p.mode = Some(0o644)), ("is not executable".to_owned(), chmod));
        let remount = "mount -o remount,exec /usr".to_owned();
        let noexec = "cannot run: /usr is mounted with noexec".to_owned();
        assert_eq!(told(|p| p.noexec = Some("/usr".into())), (noexec, remount));
        let label = told(|p| {
            let label = Some("unconfined_u:object_r:user_home_t:s0".to_owned());
            p.selinux = Some(SeLinux { enforces: true, label });
        });
        let text =
            "has the SELinux label unconfined_u:object_r:user_home_t:s0, which CRI-O may not run";
        let restore = "restorecon -v /usr/bin/wasp-hook".to_owned();
        assert_eq!(label, (text.to_owned(), restore));
        let cut = "cannot run: the file is incomplete".to_owned();
        assert_eq!(
            told(|p| p.image = Err("the file is incomplete".into())),
            (cut, reinstall.clone())
        );
        let other = "cannot run: it is built for another architecture".to_owned();
        assert_eq!(
            told(|p| p.machine = Some(ProgramTarget { class: 2, data: 1, machine: 183 })),
            (other, reinstall.clone())
        );
        let loader = "/lib64/ld-linux-x86-64.so.9";
        let text = format!("cannot run: it is built for another system: {loader} is missing");
        let of_another = told(|p| p.no_interpreter = Some("/lib64/ld-linux-x86-64.so.9".into()));
        assert_eq!(of_another, (text, reinstall.clone()));
        let library = "libz.so.9: cannot open shared object file";
        let text = format!("cannot run: it does not start: {library}");
        let of_a_library =
            told(|p| p.not_started = Some("libz.so.9: cannot open shared object file".into()));
        assert_eq!(of_a_library, (text, reinstall.clone()));
        let replaced = "is another program than wasp-hook".to_owned();
        let no_version = |p: &mut ProgramFacts| p.image.as_mut().unwrap().version = None;
        assert_eq!(told(no_version), (replaced, reinstall));
    }

    #[test]
    fn only_a_label_that_is_known_to_be_wrong_and_enforced_counts() {
        let with = |enforces, label: Option<&str>| {
            let selinux = Some(SeLinux { enforces, label: label.map(str::to_owned) });
            unfit(&ProgramFacts { selinux, ..program() })
        };
        let home = "unconfined_u:object_r:user_home_t:s0";
        assert_eq!(with(true, Some(home)), Some(HookUnfit::Label(home.to_owned())));
        assert_eq!(with(false, Some(home)), None);
        assert_eq!(with(true, None), None);
        for kind in ["bin_t", "container_runtime_exec_t"] {
            assert_eq!(with(true, Some(&format!("system_u:object_r:{kind}:s0"))), None, "{kind}");
        }
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
