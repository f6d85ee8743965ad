//! Reads CRI-O's configuration for its hooks directories and its default runtime: its files, then
//! its flags.
//!
//! Source: crio.conf(5) `hooks_dir`; CRI-O `pkg/config/config.go`, `UpdateFromPath`: every file of
//! crio.conf.d and of the directories below it, with any suffix, in lexical order within each
//! directory; later files override earlier ones. Keys match in any case, as in BurntSushi's TOML.
//! oci-hooks(5).

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::crio_command::{CrioFlags, CrioVariablesError, crio_flags};
use crate::{
    bounded::read_bounded,
    config::layers::line_and_column,
    decide::remedy::{RELOAD, correct_in_pool},
    errors::FileError,
    model::{
        runtime::{CrioDropIns, DefaultRuntime, Runtime},
        shell,
        system::System,
    },
    roots::Roots,
};

const FOLDER: &str = "/etc/crio";
const MAIN_FILE: &str = "/etc/crio/crio.conf";
const DROP_INS: &str = "/etc/crio/crio.conf.d";
/// The directory that CRI-O reads by default.
const DEFAULT: &str = "/usr/share/containers/oci/hooks.d";
const CONTAINERD: &str = "/run/containerd/containerd.sock";

/// The reason why CRI-O's configuration is not known. Most files CRI-O cannot read either.
#[derive(Debug, thiserror::Error)]
pub enum CrioError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Variables(#[from] CrioVariablesError),
    #[error("{0} does not exist, which CRI-O's --config (CONTAINER_CONFIG) names")]
    Missing(PathBuf),
    #[error("cannot read {path}: {source}")]
    Content {
        path: PathBuf,
        #[source]
        source: CrioContentError,
    },
}

/// A fault in the content of a file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrioContentError {
    /// The parser's message, without the lines that it quotes.
    #[error("it is not TOML (line {line}, column {column}): {message}")]
    Toml { line: usize, column: usize, message: String },
    #[error("{key} is not {expected} (line {line}, column {column})")]
    Type { key: &'static str, expected: &'static str, line: usize, column: usize },
}

impl CrioContentError {
    fn place(&self) -> (usize, usize) {
        match self {
            Self::Toml { line, column, .. } | Self::Type { line, column, .. } => (*line, *column),
        }
    }
}

impl CrioError {
    /// Returns the commands that let CRI-O read its configuration again.
    pub fn remedy(&self, system: &System) -> Vec<String> {
        let restart = ["systemctl restart crio", RELOAD].map(str::to_owned);
        let path = match self {
            Self::Variables(_) => None,
            Self::File(FileError { path, .. }) | Self::Missing(path) => Some(path),
            Self::Content { path, .. } => Some(path),
        };
        if let Some((path, pool)) = path.and_then(|path| Some((path, system.owner_of(path)?))) {
            return correct_in_pool(pool, path);
        }
        match self {
            // A restarted CRI-O has the variables that its unit has now.
            Self::Variables(_) => restart.into(),
            Self::Content { path, source } => {
                let (line, column) = source.place();
                let or = format!("# or correct line {line}, column {column} of it");
                let aside = format!(
                    "mv --backup=numbered {} {}",
                    shell::path(path),
                    shell::path(&off(path))
                );
                [aside].into_iter().chain(restart).chain([or]).collect()
            }
            Self::Missing(path) => {
                let by_hand = format!("# restore {}, or correct --config", path.display());
                [by_hand].into_iter().chain(restart).collect()
            }
            Self::File(FileError { path, .. }) => {
                let look = format!("ls -ld {}", shell::path(path));
                let then = "# then correct what the message names".to_owned();
                [look, then].into_iter().chain(restart).collect()
            }
        }
    }
}

/// Returns a name for a file that CRI-O does not read. In its directory of drop-ins, CRI-O reads files
/// with any name.
fn off(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".off");
    let among = path.ancestors().find(|folder| folder.extension().is_some_and(|end| end == "d"));
    let folder = among.and_then(Path::parent).or_else(|| path.parent());
    folder.unwrap_or(Path::new("/")).join(name)
}

/// Returns where a drop-in must be that CRI-O reads last.
pub fn drop_ins(roots: &Roots) -> CrioDropIns {
    let flags = crio_flags(roots).ok().flatten().unwrap_or_default();
    let folder = flags.config_dir.filter(|folder| !folder.is_empty());
    let folder = folder.map_or_else(|| DROP_INS.into(), PathBuf::from);
    let entries = fs::read_dir(roots.path(&folder)).into_iter().flatten().flatten();
    let last = entries.filter_map(|entry| entry.file_name().into_string().ok()).max();
    CrioDropIns { folder, last }
}

/// Returns the node's container runtime, with CRI-O's hooks directories.
pub fn runtime(roots: &Roots) -> Result<Runtime, CrioError> {
    let flags = crio_flags(roots)?;
    let has_containerd = roots.path(CONTAINERD).exists();
    // A directory of settings alone may be left from an earlier runtime.
    let has_crio = flags.is_some() || (roots.path(FOLDER).is_dir() && !has_containerd);
    if !has_crio {
        return Ok(if has_containerd { Runtime::Containerd } else { Runtime::Unknown });
    }
    let configured = configured(roots, flags.unwrap_or_default())?;
    let folders = configured.hooks_dir.unwrap_or_else(|| vec![PathBuf::from(DEFAULT)]);
    // systemd starts CRI-O in "/", and CRI-O takes relative paths from there.
    let folders = folders.into_iter().filter(|folder| !folder.as_os_str().is_empty());
    Ok(Runtime::Crio(folders.map(|folder| Path::new("/").join(folder)).collect()))
}

/// Returns `default_runtime`; `None` means CRI-O's own default.
pub fn default_runtime(roots: &Roots) -> Result<Option<DefaultRuntime>, CrioError> {
    let flags = crio_flags(roots)?.unwrap_or_default();
    let Configured { default_runtime, mut paths, .. } = configured(roots, flags)?;
    Ok(default_runtime.map(|name| DefaultRuntime { path: paths.remove(&name).flatten(), name }))
}

/// Maximum depth of nested directories.
const DEEPEST: u8 = 32;

#[derive(Default)]
struct Configured {
    hooks_dir: Option<Vec<PathBuf>>,
    default_runtime: Option<String>,
    /// `runtime_path` of the runtimes. A table of a later file replaces that of an earlier one.
    paths: BTreeMap<String, Option<PathBuf>>,
}

/// Merges all of CRI-O's files, and its flags, which override them.
fn configured(roots: &Roots, flags: CrioFlags) -> Result<Configured, CrioError> {
    let main = flags.config.as_deref().unwrap_or(MAIN_FILE);
    let mut files = Vec::new();
    if !main.is_empty() {
        files.push(roots.path(main));
    }
    let drop_ins = flags.config_dir.as_deref().unwrap_or(DROP_INS);
    if !drop_ins.is_empty() {
        let start = roots.path(drop_ins);
        match start.symlink_metadata().is_ok_and(|of| of.is_dir()) {
            true => walk(roots, &start, &mut files, 0)?,
            // Go's `filepath.Walk` takes what is no directory for a file, even a link to one.
            false if start.exists() => files.push(start),
            false => {}
        }
    }
    let mut configured = Configured::default();
    for (at, file) in files.into_iter().enumerate() {
        let shown = roots.shown(&file);
        let text = read_bounded(&file).map_err(FileError::of("read", &shown))?;
        let Some(text) = text else {
            if flags.config.as_deref().is_some_and(|named| *shown == *Path::new(named)) {
                return Err(CrioError::Missing(shown.into_owned()));
            }
            // CRI-O reads each entry of the directory: with a link that leads nowhere it does not start.
            let is_main = at == 0 && !main.is_empty();
            if !is_main && file.is_symlink() {
                let gone = io::Error::from(io::ErrorKind::NotFound);
                return Err(FileError::of("read", &shown)(gone).into());
            }
            continue;
        };
        let read = parsed(&text)
            .map_err(|source| CrioError::Content { path: shown.into_owned(), source })?;
        configured.hooks_dir = read.hooks_dir.or(configured.hooks_dir);
        configured.default_runtime = read.default_runtime.or(configured.default_runtime);
        configured.paths.extend(read.paths);
    }
    Ok(Configured {
        hooks_dir: flags.hooks_dir.or(configured.hooks_dir),
        default_runtime: match flags.default_runtime {
            Some(name) => Some(name).filter(|name| !name.is_empty()),
            None => configured.default_runtime,
        },
        paths: configured.paths,
    })
}

/// Walks a directory like Go's `filepath.Walk`, which follows no link to a directory.
fn walk(
    roots: &Roots,
    folder: &Path,
    files: &mut Vec<PathBuf>,
    depth: u8,
) -> Result<(), FileError> {
    let failed = |error| FileError::of("read", &roots.shown(folder))(error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let mut entries: Vec<_> = entries.collect::<Result<_, _>>().map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true if depth < DEEPEST => walk(roots, &entry.path(), files, depth + 1)?,
            true => return Err(failed(io::Error::other("directories are nested too deeply"))),
            false => files.push(entry.path()),
        }
    }
    Ok(())
}

/// A file's text, for the places of what is wrong in it.
struct TomlText<'a>(&'a str);

impl TomlText<'_> {
    fn wrong_type(
        &self,
        key: &'static str,
        expected: &'static str,
        value: &Spanned<DeValue<'_>>,
    ) -> CrioContentError {
        let (line, column) = line_and_column(self.0, value.span().start);
        CrioContentError::Type { key, expected, line, column }
    }

    fn string(
        &self,
        value: &Spanned<DeValue<'_>>,
        key: &'static str,
    ) -> Result<String, CrioContentError> {
        let text = value.get_ref().as_str().map(str::to_owned);
        text.ok_or_else(|| self.wrong_type(key, "a string", value))
    }

    fn table<'t>(
        &self,
        file: &'t DeTable<'_>,
        key: &'static str,
    ) -> Result<Option<&'t DeTable<'t>>, CrioContentError>
    where
        Self: 't,
    {
        match value(file, key) {
            None => Ok(None),
            Some(found) => match found.get_ref() {
                DeValue::Table(table) => Ok(Some(table)),
                _ => Err(self.wrong_type(key, "a table", found)),
            },
        }
    }
}

fn parsed(text: &str) -> Result<Configured, CrioContentError> {
    let file = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let (line, column) = line_and_column(text, at);
        CrioContentError::Toml { line, column, message: error.message().to_owned() }
    })?;
    let (of, nothing) = (TomlText(text), DeTable::new());
    let Some(crio) = of.table(file.get_ref(), "crio")? else { return Ok(Configured::default()) };
    let runtime = of.table(crio, "runtime")?.unwrap_or(&nothing);
    let hooks_dir = match value(runtime, "hooks_dir") {
        None => None,
        Some(found) => match found.get_ref() {
            DeValue::Array(folders) => Some(
                folders
                    .iter()
                    .map(|folder| of.string(folder, "an entry of hooks_dir").map(PathBuf::from))
                    .collect::<Result<_, _>>()?,
            ),
            _ => return Err(of.wrong_type("hooks_dir", "an array of strings", found)),
        },
    };
    let default_runtime = value(runtime, "default_runtime");
    let default_runtime =
        default_runtime.map(|runtime| of.string(runtime, "default_runtime")).transpose()?;
    let runtimes = of.table(runtime, "runtimes")?.unwrap_or(&nothing);
    let path = |one: &Spanned<DeValue<'_>>| {
        let DeValue::Table(one) = one.get_ref() else { return None };
        let path = value(one, "runtime_path")?.get_ref().as_str()?;
        (!path.is_empty()).then(|| PathBuf::from(path))
    };
    let paths = runtimes.iter().map(|(name, one)| (name.get_ref().to_string(), path(one)));
    Ok(Configured {
        paths: paths.collect(),
        hooks_dir,
        // An empty name means CRI-O's own default.
        default_runtime: default_runtime.filter(|name| !name.is_empty()),
    })
}

/// Returns the value of the exact key, else of a key in another case.
fn value<'a, 'i>(table: &'a DeTable<'i>, key: &str) -> Option<&'a Spanned<DeValue<'i>>> {
    let in_any_case = || table.iter().find(|(name, _)| name.get_ref().eq_ignore_ascii_case(key));
    let exact = table.iter().find(|(name, _)| name.get_ref() == key);
    exact.or_else(in_any_case).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Roots) {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        for (path, text) in files {
            fs::create_dir_all(roots.path(path).parent().unwrap()).unwrap();
            fs::write(roots.path(path), text).unwrap();
        }
        (folder, roots)
    }

    fn crio(folders: &[&str]) -> Runtime {
        Runtime::Crio(folders.iter().map(PathBuf::from).collect())
    }

    #[test]
    fn a_drop_in_that_leads_nowhere_is_an_error() {
        let (_folder, roots) = host(&[("/etc/crio/crio.conf.d/10-x.conf", "")]);
        assert!(runtime(&roots).is_ok());
        let link = roots.path("/etc/crio/crio.conf.d/50-x.conf");
        std::os::unix::fs::symlink("/etc/crio/gone.conf", link).unwrap();
        let error = runtime(&roots).unwrap_err().to_string();
        assert!(error.contains("/etc/crio/crio.conf.d/50-x.conf"), "{error}");
    }

    #[test]
    fn the_last_file_that_says_it_wins() {
        let (_folder, roots) = host(&[
            ("/etc/crio/crio.conf", "[crio.runtime]\nhooks_dir = [\"/a\"]\n"),
            ("/etc/crio/crio.conf.d/00-default", "[crio.runtime]\ndefault_runtime = \"crun\"\n"),
            (
                "/etc/crio/crio.conf.d/10-x.conf",
                "[crio]\nruntime.hooks_dir = [\"/b\", 'c', \"/d\"]\n",
            ),
        ]);
        assert_eq!(runtime(&roots).unwrap(), crio(&["/b", "/c", "/d"]));
        let crun = DefaultRuntime { name: "crun".to_owned(), path: None };
        assert_eq!(default_runtime(&roots).unwrap(), Some(crun));
        let text = "[crio.runtime]\ndefault_runtime = \"fast\"\n[crio.runtime.runtimes.fast]\n\
                    runtime_path = \"/usr/bin/crun\"\n[crio.runtime.runtimes.slow]\n";
        fs::write(roots.path("/etc/crio/crio.conf.d/20-x.conf"), text).unwrap();
        let found = default_runtime(&roots).unwrap().unwrap();
        assert_eq!((found.program(), &*found.to_string()), ("crun", "fast (/usr/bin/crun)"));
        let text = "[crio.runtime.runtimes.fast]\nmonitor_path = \"/x\"\n";
        fs::write(roots.path("/etc/crio/crio.conf.d/30-x.conf"), text).unwrap();
        let found = default_runtime(&roots).unwrap().unwrap();
        assert_eq!(found.path, None, "its later table names no program");
    }

    #[test]
    fn the_running_crio_tells_where_its_files_are() {
        let put = |folder: &str| format!("[crio.runtime]\nhooks_dir = [\"{folder}\"]\n");
        let unit = "[Service]\nEnvironmentFile=-/etc/sysconfig/crio\n\
                    Environment=CONTAINER_CONFIG_DIR=/site.d\nExecStart=/usr/bin/crio $OPTIONS\n";
        let (_folder, roots) = host(&[
            ("/usr/lib/systemd/system/crio.service", unit),
            ("/etc/crio/crio.conf", &put("/usual")),
            ("/site.d/1.conf", &put("/site")),
            ("/site.conf", &put("/file")),
        ]);
        assert_eq!(runtime(&roots).unwrap(), crio(&["/site"]));
        let sysconfig = roots.path("/etc/sysconfig/crio");
        fs::create_dir_all(sysconfig.parent().unwrap()).unwrap();
        fs::write(&sysconfig, "OPTIONS=--config /site.conf --config-dir=/none\n").unwrap();
        assert_eq!(runtime(&roots).unwrap(), crio(&["/file"]));
        fs::write(&sysconfig, "OPTIONS='--hooks-dir /a --hooks-dir /b'\n").unwrap();
        assert_eq!(runtime(&roots).unwrap(), crio(&["/a", "/b"]));
        fs::write(&sysconfig, "OPTIONS='--config /none.conf'\n").unwrap();
        assert!(runtime(&roots).unwrap_err().to_string().starts_with("/none.conf does not exist"));
        fs::write(&sysconfig, "OPTIONS='--config /site.conf --config-dir='\n").unwrap();
        assert_eq!(
            runtime(&roots).unwrap(),
            crio(&["/file"]),
            "no drop-ins, not all files below /"
        );
        fs::write(&sysconfig, "OPTIONS='--config= --config-dir=/site.d/1.conf'\n").unwrap();
        assert_eq!(runtime(&roots).unwrap(), crio(&["/site"]), "a file in place of a directory");
        std::os::unix::fs::symlink("site.d", roots.path("/link.d")).unwrap();
        fs::write(&sysconfig, "OPTIONS='--config= --config-dir=/link.d'\n").unwrap();
        assert!(runtime(&roots).is_err(), "CRI-O cannot read it either");
        // The process has started with others.
        for (path, text) in [
            ("/sys/fs/cgroup/system.slice/crio.service/cgroup.procs", "7\n8\n"),
            ("/proc/7/comm", "crio-helper\n"),
            ("/proc/8/comm", "crio\n"),
            ("/proc/8/cmdline", "/usr/bin/crio\0--hooks-dir\0/running\0"),
            ("/proc/8/environ", "LANG=C\0"),
        ] {
            fs::create_dir_all(roots.path(path).parent().unwrap()).unwrap();
            fs::write(roots.path(path), text).unwrap();
        }
        assert_eq!(runtime(&roots).unwrap(), crio(&["/running"]));
    }

    #[test]
    fn settings_that_are_left_do_not_make_containerd_crio() {
        let (_folder, roots) = host(&[("/etc/crio/crio.conf", ""), (CONTAINERD, "")]);
        assert_eq!(runtime(&roots).unwrap(), Runtime::Containerd);
        let unit = roots.path("/etc/systemd/system/crio.service");
        fs::create_dir_all(unit.parent().unwrap()).unwrap();
        fs::write(unit, "[Service]\nExecStart=/usr/bin/crio\n").unwrap();
        assert_eq!(runtime(&roots).unwrap(), crio(&[DEFAULT]));
    }

    #[test]
    fn folders_are_walked_as_crio_walks_them() {
        let put = |folder: &str| format!("[crio.runtime]\nhooks_dir = [\"{folder}\"]\n");
        let drop_ins = "/etc/crio/crio.conf.d";
        let (_folder, roots) = host(&[
            (&*format!("{drop_ins}/10-a.conf"), &*put("/usr/share/containers/oci/hooks.d")),
            (
                &format!("{drop_ins}/site/20-b.conf"),
                "[crio.runtime]\nhooks_dir = [\"/run/containers/oci/hooks.d\"]\n\
                 default_runtime = \"kata\"\n",
            ),
            (&format!("{drop_ins}/05/99.conf"), &put("/early")),
        ]);
        assert_eq!(runtime(&roots).unwrap(), crio(&["/run/containers/oci/hooks.d"]));
        assert_eq!(default_runtime(&roots).unwrap().unwrap().name, "kata");
        fs::write(roots.path(drop_ins).join("zz"), "[CRIO.Runtime]\nHooks_Dir = []\n").unwrap();
        assert_eq!(runtime(&roots).unwrap(), crio(&[]), "no folder at all; keys in any case");
        // A link to a directory stops CRI-O, too.
        std::os::unix::fs::symlink("site", roots.path(drop_ins).join("link")).unwrap();
        let error = runtime(&roots).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /etc/crio/crio.conf.d/link: "), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(?s).{0,80}", values in "[a-z_.= \\[\\]\"\n0-9]{0,60}") {
            let _ = parsed(&text);
            let _ = parsed(&format!("[crio.runtime]\n{values}"));
        }
    }

    #[test]
    fn without_a_word_it_is_the_default_and_without_crio_none() {
        let (_folder, roots) = host(&[("/etc/crio/crio.conf", "[crio.image]\n")]);
        assert_eq!(runtime(&roots).unwrap(), crio(&[DEFAULT]));
        let (_folder, roots) = host(&[]);
        assert_eq!(runtime(&roots).unwrap(), Runtime::Unknown);
        let (_folder, roots) = host(&[(CONTAINERD, "")]);
        assert_eq!(runtime(&roots).unwrap(), Runtime::Containerd);
    }

    #[test]
    fn a_broken_file_is_named() {
        let (_folder, roots) = host(&[("/etc/crio/crio.conf.d/50-x.conf", "hooks_dir = [\n")]);
        let error = runtime(&roots).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /etc/crio/crio.conf.d/50-x.conf: "), "{error}");
        let said = |text: &str| {
            fs::write(roots.path("/etc/crio/crio.conf.d/50-x.conf"), text).unwrap();
            runtime(&roots).unwrap_err()
        };
        let error = said("[crio.runtime]\n  hooks_dir = \"/a\"\n");
        let text = "hooks_dir is not an array of strings (line 2, column 15)";
        assert!(error.to_string().ends_with(text), "{error}");
        let error = said("# x\n[crio.runtime\nhooks_dir = []\n");
        assert!(error.to_string().contains("it is not TOML (line 2, column 14): "), "{error}");
        let remedy = error.remedy(&System::default());
        let from = "/etc/crio/crio.conf.d/50-x.conf";
        assert_eq!(remedy[0], format!("mv --backup=numbered {from} /etc/crio/50-x.conf.off"));
        let files = [PathBuf::from(from)].into();
        let owned = System { pool: Some("worker".to_owned()), files, ..System::default() };
        assert_eq!(error.remedy(&owned)[0], "oc get machineconfig");
    }

    #[test]
    fn the_last_entry_of_the_folder_is_known() {
        let (_folder, roots) = host(&[("/etc/crio/crio.conf", "")]);
        let none = CrioDropIns { folder: DROP_INS.into(), last: None };
        assert_eq!(drop_ins(&roots), none);
        let (_folder, roots) =
            host(&[("/etc/crio/crio.conf.d/99-zz.conf", ""), ("/etc/crio/crio.conf.d/a/b", "")]);
        assert_eq!(drop_ins(&roots).last.as_deref(), Some("a"));
    }
}
