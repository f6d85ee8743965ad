//! Finds remains of the DaemonSet agent on the host: OCI hooks that change swap limits, and units.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    node::{memory, swap_devices},
    rivals,
    swap::{area::swap_header, unescaped},
};
use crate::{
    bounded::read_bounded, decide::hook::FILE_NAME, model::check::Leftovers, roots::Roots,
};

/// CRI-O's default directories, and the one that OpenShift adds (crio.conf(5), `hooks_dir`).
pub const USUAL_FOLDERS: [&str; 3] = [
    "/usr/share/containers/oci/hooks.d",
    "/run/containers/oci/hooks.d",
    "/etc/containers/oci/hooks.d",
];

/// The hook's file name: `swap-for-burstable.json`, or with the name of the DaemonSet's pod in it.
const RIVAL_HOOK: (&str, &str) = ("swap-for-burstable", ".json");
const RIVAL_SCRIPT: (&str, &str) = ("oci-hook-swap", ".sh");
const SCRIPTS: &str = "/opt";

/// The units of its MachineConfig.
const UNITS: [&str; 2] = ["swap-provision.service", "cgroup-system-slice-config.service"];

/// Returns the DaemonSet's hooks and their scripts.
pub fn rival_files(roots: &Roots) -> Vec<PathBuf> {
    let hooks = USUAL_FOLDERS.map(|folder| (folder, RIVAL_HOOK));
    let mut found: Vec<PathBuf> = hooks
        .into_iter()
        .chain([(SCRIPTS, RIVAL_SCRIPT)])
        .flat_map(|(folder, (prefix, suffix))| {
            let entries = fs::read_dir(roots.path(folder)).into_iter().flatten().flatten();
            let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
            names
                .filter(move |name| name.starts_with(prefix) && name.ends_with(suffix))
                .map(move |name| Path::new(folder).join(name))
        })
        .collect();
    found.sort();
    found
}

/// Bytes of a hook's program that are searched.
const LOOKED_AT: u64 = 256 << 10;
/// Texts in a program that sets a swap limit.
const SETS_SWAP: [&[u8]; 2] = [b"memory.swap.max", b"MemorySwapMax"];

/// The stages of the OCI runtime specification.
const STAGES: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// Directories that the agent's unit hides, or has of its own.
const HIDDEN: [&str; 6] =
    ["/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/", "/var/lib/kubelet/"];

/// Returns the reason why CRI-O does not start with this definition; then no container does.
///
/// Source: containers/podman `pkg/hooks`, `read`, and `Hook.Validate` of version 1.0.0. Of other
/// versions only the JSON is known.
fn stops_crio(roots: &Roots, text: &str) -> Option<String> {
    let definition: serde_json::Value = match serde_json::from_str(text) {
        Ok(definition) => definition,
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            return Some(format!("it is not JSON (line {line}, column {column})"));
        }
    };
    match of_key(&definition, "version").and_then(|version| version.as_str()) {
        Some("1.0.0") => {}
        Some("0.1.0") => return None,
        Some(other) => {
            return Some(format!("its version is \"{}\", not \"1.0.0\"", other.escape_default()));
        }
        None => return Some("it has no version".to_owned()),
    }
    let path = of_key(&definition, "hook").and_then(|hook| of_key(hook, "path")?.as_str());
    let path = path.unwrap_or_default();
    let Some(stages) = of_key(&definition, "stages").and_then(|stages| stages.as_array()) else {
        return Some("it has no stages".to_owned());
    };
    let unknown = stages.iter().find(|stage| !stage.as_str().is_some_and(|s| STAGES.contains(&s)));
    match (path, unknown) {
        ("", _) => Some("it has no hook.path".to_owned()),
        (_, Some(stage)) => Some(format!("it has an unknown stage, {stage}")),
        (path, None) if path.starts_with('/') && !HIDDEN.iter().any(|at| path.starts_with(at)) => {
            let error = fs::metadata(roots.path(path)).err()?;
            let gone = error.kind() == std::io::ErrorKind::NotFound;
            gone.then(|| format!("its program {path} does not exist"))
        }
        _ => None,
    }
}

/// Returns the value of a key, whose letters may be small or capital, as for Go's encoding/json.
fn of_key<'a>(object: &'a serde_json::Value, key: &str) -> Option<&'a serde_json::Value> {
    object
        .as_object()?
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(key))
        .map(|(_, value)| value)
}

/// Returns other programs' hooks that set swap limits or with which CRI-O does not start, in the
/// directories that CRI-O reads, with the evidence.
pub fn foreign(roots: &Roots, folders: &[PathBuf]) -> Vec<(PathBuf, String)> {
    let rivals = rival_files(roots);
    let mut found = Vec::new();
    for folder in folders {
        for entry in fs::read_dir(roots.path(folder)).into_iter().flatten().flatten() {
            let file = folder.join(entry.file_name());
            let is_hook = file.extension().is_some_and(|suffix| suffix == "json");
            if !is_hook || file.ends_with(FILE_NAME) || rivals.contains(&file) {
                continue;
            }
            let Ok(Some(text)) = read_bounded(&roots.path(&file)) else { continue };
            if sets_swap(text.as_bytes()) {
                found.push((file, "its command sets a swap limit".to_owned()));
                continue;
            }
            if let Some(why) = stops_crio(roots, &text) {
                found.push((file, format!("CRI-O does not start with it: {why}")));
                continue;
            }
            let Ok(hook) = serde_json::from_str::<serde_json::Value>(&text) else { continue };
            let arguments = hook["hook"]["args"].as_array().into_iter().flatten();
            let programs = std::iter::once(&hook["hook"]["path"]).chain(arguments);
            let programs = programs.filter_map(|path| path.as_str());
            let sets = |path: &&str| path.starts_with('/') && sets_swap(&beginning(roots, path));
            if let Some(program) = programs.into_iter().find(sets) {
                found.push((file, format!("its program {program} sets swap limits")));
            }
        }
    }
    found.sort();
    found
}

fn sets_swap(text: &[u8]) -> bool {
    SETS_SWAP.iter().any(|word| text.windows(word.len()).any(|part| part == *word))
}

/// Reads only regular files, because others could block.
fn beginning(roots: &Roots, path: &str) -> Vec<u8> {
    use std::io::Read;
    let path = roots.path(path);
    let mut bytes = Vec::new();
    if path.is_file()
        && let Ok(file) = fs::File::open(path)
    {
        // An unreadable file gives no evidence.
        let _ = file.take(LOOKED_AT).read_to_end(&mut bytes);
    }
    bytes
}

/// Returns the units of the DaemonSet's MachineConfig.
pub fn rival_units(roots: &Roots) -> Vec<PathBuf> {
    // virt-platform-autopilot has a unit of the same name.
    let autopilot = rivals::provisions_file(roots);
    let units = UNITS.into_iter().filter(|unit| !(autopilot && *unit == UNITS[0]));
    let units = units.map(|unit| Path::new("/etc/systemd/system").join(unit));
    units.filter(|unit| roots.path(unit).exists()).collect()
}

/// The swapfile that the DaemonSet's MachineConfig creates.
const SWAPFILE: &str = "/var/tmp/swapfile";

/// Returns the DaemonSet's swapfile, and true if the kernel swaps to it. `own` is `swap.path`.
pub fn rival_swapfile(roots: &Roots, own: &Path) -> Option<(PathBuf, bool)> {
    let path = Path::new(SWAPFILE);
    if path == own {
        return None;
    }
    let is_on = swap_devices(roots).iter().any(|on| unescaped(&on.path) == path);
    // An administrator's file may have the same name. The agent's own /var/tmp is private.
    let is_its = match is_on {
        true => rival_units(roots).iter().any(|unit| unit.ends_with(UNITS[0])),
        false => {
            let page_bytes = memory(roots).map_or(4096, |node| node.page_bytes);
            swap_header(roots, path, page_bytes)
                .is_ok_and(|header| header.is_some_and(|header| !header.is_ours()))
        }
    };
    is_its.then(|| (path.to_owned(), is_on))
}

/// Returns everything that the DaemonSet has left.
pub fn leftovers(roots: &Roots, own_swap: &Path) -> Leftovers {
    Leftovers {
        hooks: rival_files(roots),
        units: rival_units(roots),
        swapfile: rival_swapfile(roots, own_swap),
    }
}

/// Formats paths for a sentence.
pub fn listed(files: &[PathBuf]) -> String {
    let shown: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    shown.join(" and ")
}

/// Describes the DaemonSet's hook if it exists: containers would start without a limit.
pub fn rival(roots: &Roots) -> Option<String> {
    let found = rival_files(roots);
    (!found.is_empty()).then(|| {
        format!(
            "the wasp-agent DaemonSet has left {}, which removes swap limits at every container \
             start: delete the DaemonSet, then these files",
            listed(&found)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hooks as administrators write them: a script, a shell's argument, and an unrelated one.
    #[test]
    fn hooks_of_others_that_set_swap_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let put = |path: &str, text: &str| {
            fs::create_dir_all(roots.path(path).parent().unwrap()).unwrap();
            fs::write(roots.path(path), text).unwrap();
        };
        let hooks = PathBuf::from("/etc/containers/oci/hooks.d");
        let hook =
            |name: &str, text: &str| put(&format!("/etc/containers/oci/hooks.d/{name}"), text);
        hook("99-wasp-agent.json", "memory.swap.max");
        let of = |hook: &str| {
            format!(r#"{{"version":"1.0.0","hook":{hook},"when":{{}},"stages":["prestart"]}}"#)
        };
        hook("10-nvidia.json", &of(r#"{"path":"/usr/bin/nvidia-hook"}"#));
        put("/usr/bin/nvidia-hook", "#!/bin/sh\nexit 0\n");
        hook("50-swap.json", &of(r#"{"path":"/opt/swap.sh"}"#));
        put("/opt/swap.sh", "#!/bin/sh\necho max > /sys/fs/cgroup/$1/memory.swap.max\n");
        put("/bin/sh", "");
        hook("60-shell.json", &of(r#"{"path":"/bin/sh","args":["sh","/opt/swap.sh"]}"#));
        hook(
            "70-line.json",
            r#"{"hook":{"path":"/bin/sh","args":["sh","-c","echo 0 > memory.swap.max"]}}"#,
        );
        hook("80-note.txt", "memory.swap.max");
        let found: Vec<_> =
            foreign(&roots, std::slice::from_ref(&hooks)).into_iter().map(|f| f.0).collect();
        let names = ["50-swap.json", "60-shell.json", "70-line.json"];
        assert_eq!(found, names.map(|name| hooks.join(name)));
    }

    #[test]
    fn hooks_that_stop_crio_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        fs::create_dir_all(folder.path().join("bin")).unwrap();
        fs::write(folder.path().join("bin/x"), "").unwrap();
        let why = |text: &str| stops_crio(&roots, text).unwrap_or_default();
        assert_eq!(why(r#"{"version":"#), "it is not JSON (line 1, column 11)");
        assert!(why(r#"{"version":"2.0.0"}"#).starts_with(r#"its version is "2.0.0""#));
        assert_eq!(why("{}"), "it has no version");
        let of = |rest: &str| why(&format!(r#"{{"version":"1.0.0",{rest}}}"#));
        assert_eq!(of(r#""hook":{"path":"/bin/x"}"#), "it has no stages");
        assert_eq!(of(r#""hook":{},"stages":["prestart"]"#), "it has no hook.path");
        let unknown = of(r#""hook":{"path":"/bin/x"},"stages":["preStart"]"#);
        assert_eq!(unknown, r#"it has an unknown stage, "preStart""#);
        let gone = of(r#""hook":{"path":"/bin/y"},"stages":["prestart"]"#);
        assert_eq!(gone, "its program /bin/y does not exist");
        assert_eq!(of(r#""hook":{"path":"/bin/x"},"stages":["createRuntime","poststop"]"#), "");
        assert_eq!(why(r#"{"version":"0.1.0","hook":"/bin/x","stages":["prestart"]}"#), "");
        let capital = r#"{"Version":"1.0.0","Hook":{"Path":"/bin/x"},"Stages":["prestart"]}"#;
        assert_eq!(why(capital), "");
    }

    #[test]
    fn what_the_daemonset_left_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        assert_eq!((rival(&roots), rival_units(&roots)), (None, vec![]));
        let put = |path: &str| {
            fs::create_dir_all(roots.path(path).parent().unwrap()).unwrap();
            fs::write(roots.path(path), "").unwrap();
        };
        let hook = "/run/containers/oci/hooks.d/swap-for-burstable.json";
        put(hook);
        put("/run/containers/oci/hooks.d/99-other.json");
        let said = rival(&roots).unwrap();
        assert!(said.contains(hook) && !said.contains("and") && !said.contains("99"), "{said}");
        let newer = [
            "/opt/oci-hook-swap-wasp-agent-abc12.sh",
            "/run/containers/oci/hooks.d/swap-for-burstable-wasp-agent-abc12.json",
        ];
        newer.into_iter().for_each(put);
        put("/etc/systemd/system/swap-provision.service");
        assert_eq!(rival_files(&roots), [newer[0], newer[1], hook].map(PathBuf::from));
        assert_eq!(rival_units(&roots), [Path::new("/etc/systemd/system/swap-provision.service")]);

        let swapfile = || rival_swapfile(&roots, Path::new("/var/lib/wasp-agent/swapfile"));
        assert_eq!(swapfile(), None);
        put("/proc/swaps");
        let line = "Filename Type Size Used Priority\n/var/tmp/swapfile file 1024 0 -2\n";
        fs::write(roots.path("/proc/swaps"), line).unwrap();
        assert_eq!(swapfile(), Some((SWAPFILE.into(), true)));
        assert_eq!(rival_swapfile(&roots, Path::new(SWAPFILE)), None, "it is swap.path");
        fs::remove_file(roots.path("/etc/systemd/system/swap-provision.service")).unwrap();
        assert_eq!(swapfile(), None, "an administrator's file may have this name");
    }
}
