//! CRI-O's own command line and variables, which override its files.
//!
//! Source: CRI-O `internal/criocli/criocli.go`; crio(8).

use std::{collections::BTreeMap, fs, path::PathBuf};

use super::{
    kubelet::{command_line, of_unit},
    process::name_of,
};
use crate::roots::Roots;

const UNIT: &str = "crio.service";
const PROGRAM: &str = "crio";

/// The values that matter here; `None` if they are not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CrioFlags {
    /// Empty means no file.
    pub config: Option<String>,
    pub config_dir: Option<PathBuf>,
    pub hooks_dir: Option<Vec<PathBuf>>,
    pub default_runtime: Option<String>,
}

/// Returns the flags of the running CRI-O, else of its unit; `None` if there is neither.
///
/// The agent may not read the variables of another process: they are those of the unit.
pub(crate) fn crio_flags(roots: &Roots) -> Option<CrioFlags> {
    let unit = of_unit(roots, UNIT);
    let (words, variables) = unit.clone().unwrap_or_default();
    match running(roots) {
        Some(words) => Some(parsed(&words, &variables)),
        None => unit.map(|_| parsed(&words, &variables)),
    }
}

/// Finds CRI-O in its unit's cgroup.
fn running(roots: &Roots) -> Option<Vec<String>> {
    let procs = roots.cgroup().join("system.slice").join(UNIT).join("cgroup.procs");
    let procs = fs::read_to_string(procs).ok()?;
    let mut pids = procs.lines().filter_map(|pid| pid.parse().ok());
    let pid = pids.find(|pid| name_of(roots, *pid).as_deref() == Some(PROGRAM))?;
    command_line(roots, pid)
}

/// Parses as Go's `flag` and `urfave/cli`: one or two dashes, up to the first word that is no flag.
/// A flag overrides its variable.
fn parsed(words: &[String], variables: &BTreeMap<String, String>) -> CrioFlags {
    let variable = |name: &str| variables.get(name).cloned();
    let mut flags = CrioFlags {
        config: variable("CONTAINER_CONFIG"),
        config_dir: variable("CONTAINER_CONFIG_DIR").map(PathBuf::from),
        hooks_dir: variable("CONTAINER_HOOKS_DIR").map(|text| split(&text).collect()),
        default_runtime: variable("CONTAINER_DEFAULT_RUNTIME"),
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
            "config-dir" | "d" => flags.config_dir = Some(value.into()),
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
    use super::*;

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
