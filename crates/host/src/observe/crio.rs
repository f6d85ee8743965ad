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
#[path = "crio_tests.rs"]
mod tests;
