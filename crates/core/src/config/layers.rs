//! Resolves the value of each key from the configuration layers. The caller passes the layers'
//! texts, lowest first.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use crate::model::origin::Origins;

use super::{
    keys::{KEYS, Key, key, nearest},
    places::Places,
    sysconfig,
    value::{ConfigProblem, Problems, Removal, SettingOrigin, Value},
};

/// Variables that the DaemonSet sets for itself and that have no counterpart here.
const IGNORED_VARIABLES: [&str; 1] = ["FSROOT"];

/// The value of every key, with its origin.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    values: BTreeMap<&'static str, (Value, SettingOrigin)>,
}

impl Resolved {
    /// Every key at its default.
    pub fn defaults() -> Self {
        Self::of(|key| key.default.value())
    }

    pub(super) fn of(value: impl Fn(&Key) -> Value) -> Self {
        let values = KEYS.iter().map(|key| (key.path, (value(key), SettingOrigin::Default)));
        Self { values: values.collect() }
    }

    /// Returns the value in effect for `path`, with its origin; `None` only if there is no such
    /// key.
    pub fn get(&self, path: &str) -> Option<&(Value, SettingOrigin)> {
        self.values.get(path)
    }
}

/// A TOML file of a layer; `path` is its name on the host.
struct File<'a> {
    path: &'a Path,
    places: Places<'a>,
}

/// Values that are valid one by one, but not together.
#[derive(Debug)]
pub(super) struct Contradiction {
    pub(super) keys: [&'static str; 2],
    pub(super) problem: ConfigProblem,
}

/// The layers read so far, with every problem found in them.
#[derive(Debug)]
pub struct Layers {
    values: BTreeMap<&'static str, (Value, SettingOrigin)>,
    problems: Vec<ConfigProblem>,
    /// Keys whose value is not known because of a problem.
    doubtful: BTreeSet<&'static str>,
}

impl Layers {
    /// Starts with the lowest layer: every key's default.
    pub fn defaults() -> Self {
        let values = Resolved::defaults().values;
        Self { values, problems: Vec::new(), doubtful: BTreeSet::new() }
    }

    /// Takes drop-ins that are not on a host yet: path and text of each, in the order in which the
    /// host will read them.
    pub fn of_drop_ins(drop_ins: &[(PathBuf, &str)]) -> Self {
        let mut layers = Self::defaults();
        for (path, text) in drop_ins {
            layers.take_toml(path, text);
        }
        layers
    }

    /// Returns the value in effect for each key, or the problems of all layers.
    pub fn resolved(self) -> Result<Resolved, Problems> {
        self.checked(|_| Vec::new())
    }

    /// Like [`Self::resolved`], but adds the contradictions between values that `find` returns, each
    /// with its keys; without those whose value is not known.
    pub(super) fn checked(
        self,
        find: impl FnOnce(&Resolved) -> Vec<Contradiction>,
    ) -> Result<Resolved, Problems> {
        let Self { values, mut problems, doubtful } = self;
        let resolved = Resolved { values };
        let found = find(&resolved).into_iter();
        let certain = found.filter(|found| !found.keys.iter().any(|key| doubtful.contains(key)));
        problems.extend(certain.map(|found| found.problem));
        problems.sort();
        if problems.is_empty() { Ok(resolved) } else { Err(Problems(problems)) }
    }

    /// Returns where each value is set that is not the default, even if there are problems.
    pub fn origins(self) -> Origins {
        let values = self.values.into_iter().map(|(key, (_, origin))| (key, origin));
        values.filter(|(_, origin)| *origin != SettingOrigin::Default).collect()
    }

    fn problem(&mut self, origin: SettingOrigin, text: String) {
        self.problems.push(ConfigProblem { origin, text });
    }

    /// Records that the file of a layer cannot be read.
    pub fn take_unreadable(&mut self, path: &Path, why: &impl std::fmt::Display) {
        let origin = SettingOrigin::File { path: path.to_owned(), line: 0, removal: Vec::new() };
        self.problem(origin, format!("cannot be read: {why}"));
        self.doubt_all();
    }

    /// Records that each key may have another value, in a text that cannot be read.
    fn doubt_all(&mut self) {
        self.doubtful = KEYS.iter().map(|key| key.path).collect();
    }

    /// Adds a TOML file as the next layer; `path` is the file's name on the host, for messages.
    pub fn take_toml(&mut self, path: &Path, text: &str) {
        let places = Places::of(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        let at =
            |error: &toml::de::Error| error.span().map_or(0, |span| span.start.min(text.len()));
        let line = |error: &toml::de::Error| places.line(at(error));
        let removal = places.without_errors(&errors.iter().map(line).collect::<Vec<_>>());
        for error in &errors {
            let (_, column) = line_and_column(text, at(error));
            let (line, removal) = (line(error), removal.clone());
            let origin = SettingOrigin::File { path: path.to_owned(), line, removal };
            self.problem(origin, format!("not TOML (column {column}): {}", error.message()));
            self.doubt_all();
        }
        self.walk("", table.get_ref(), false, &File { path, places });
    }

    fn walk(&mut self, prefix: &str, table: &DeTable<'_>, inline: bool, file: &File<'_>) {
        for (name, value) in table {
            let path = match prefix {
                "" => name.get_ref().to_string(),
                _ => format!("{prefix}.{}", name.get_ref()),
            };
            let origin = || SettingOrigin::File {
                path: file.path.to_owned(),
                line: file.places.line(name.span().start),
                removal: file.places.removal(name, value, inline),
            };
            match (key(&path), value.get_ref()) {
                (Some(key), _) => self.set(key, value, origin()),
                (None, DeValue::Table(inner)) if is_table(&path) => {
                    self.walk(&path, inner, inline || file.places.is_inline(value), file);
                }
                (None, _) if is_table(&path) => {
                    self.problem(origin(), format!("{path} is a table: write [{path}]"));
                }
                (None, _) => {
                    let near = nearest(&path);
                    self.doubtful.extend(near);
                    let hint = near.map_or(String::new(), |n| format!("; did you mean {n}?"));
                    self.problem(origin(), format!("unknown key {path}{hint}"));
                }
            }
        }
    }

    fn set(&mut self, key: &'static Key, value: &Spanned<DeValue<'_>>, origin: SettingOrigin) {
        let accepted = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
                .ok()
                .and_then(|number| key.kind.accept(Value::Integer(number))),
            DeValue::Float(number) => {
                number.as_str().parse().ok().and_then(|n| key.kind.accept(Value::Float(n)))
            }
            DeValue::String(text) => key.kind.accept(Value::Text(text.to_string())),
            DeValue::Boolean(truth) => key.kind.accept(Value::Boolean(*truth)),
            DeValue::Array(items) => texts(items).and_then(|t| key.kind.accept(Value::List(t))),
            _ => None,
        };
        match accepted {
            Some(value) => {
                self.values.insert(key.path, (value, origin));
            }
            None => {
                let (value, allowed) = (shown(value.get_ref()), key.kind.allowed());
                self.problem(origin, format!("{} = {value} is not {allowed}", key.path));
                self.doubtful.insert(key.path);
            }
        }
    }

    /// Adds an environment file (`NAME=value` lines) with the variables of the DaemonSet.
    pub fn take_sysconfig(&mut self, path: &Path, text: &str) {
        let (assignments, bad) = sysconfig::parse(text);
        let origin = |line| {
            let removal = vec![Removal::CommentOut { first: line, last: line }];
            SettingOrigin::File { path: path.to_owned(), line, removal }
        };
        for line in bad {
            self.problem(origin(line), "not an assignment: write NAME=value".to_owned());
        }
        for (line, name, value) in assignments {
            match by_variable(&name) {
                Some(key) => self.set_from_environment(key, &name, &value, origin(line)),
                None if IGNORED_VARIABLES.contains(&name.as_str()) => {}
                None => {
                    let known: Vec<&str> = KEYS.iter().filter_map(|key| key.environment).collect();
                    let text = format!("unknown variable {name}; known are {}", known.join(", "));
                    self.problem(origin(line), text);
                }
            }
        }
    }

    /// Adds the process's environment, the highest layer.
    pub fn take_environment(&mut self, environment: impl Fn(&str) -> Option<String>) {
        for key in KEYS {
            if let Some(name) = key.environment
                && let Some(value) = environment(name)
            {
                self.set_from_environment(key, name, &value, SettingOrigin::Environment { name });
            }
        }
    }

    fn set_from_environment(
        &mut self,
        key: &'static Key,
        name: &str,
        value: &str,
        origin: SettingOrigin,
    ) {
        match key.kind.from_environment(value) {
            Some(value) => {
                self.values.insert(key.path, (value, origin));
            }
            None => {
                let allowed = key.kind.allowed();
                self.problem(origin, format!("{name}={value} ({}) is not {allowed}", key.path));
                self.doubtful.insert(key.path);
            }
        }
    }
}

/// Returns the line and the column, from 1, of the byte at `at`.
pub fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

fn is_table(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

fn by_variable(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.environment == Some(name))
}

fn texts(items: &DeArray<'_>) -> Option<Vec<String>> {
    items
        .iter()
        .map(|item| match item.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            _ => None,
        })
        .collect()
}

/// Formats a value as it was written, for messages.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(when) => when.to_string(),
        DeValue::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| shown(item.get_ref())).collect();
            format!("[{}]", items.join(", "))
        }
        DeValue::Table(_) => "a table".to_owned(),
    }
}
