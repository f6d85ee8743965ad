//! Persistence: the server replaces `state.json` atomically at start and at stop, and appends one
//! line per change to `state.log` in between. So a killed server returns with the same objects and
//! resourceVersions.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::pki::write_atomic;
use crate::store::{Change, Key};

#[derive(Debug, Default)]
pub struct State {
    pub rv: u64,
    pub objects: BTreeMap<Key, Value>,
}

#[derive(Debug)]
pub struct Journal {
    snapshot: PathBuf,
    path: PathBuf,
    log: File,
}

fn key_of(v: &Value) -> Option<Key> {
    let part = |i: usize| v[i].as_str();
    Some(Key::new(part(0)?, part(1)?, part(2)?))
}

fn key_json(key: &Key) -> Value {
    json!([key.resource, key.namespace, key.name])
}

impl State {
    fn apply(&mut self, mut line: Value) {
        let Some(key) = key_of(&line["key"]) else { return };
        self.rv = self.rv.max(line["rv"].as_u64().unwrap_or(0));
        match line["object"].take() {
            Value::Null => self.objects.remove(&key),
            object => self.objects.insert(key, object),
        };
    }
}

fn read_state(snapshot: &Path, log: &Path) -> Result<State> {
    let mut state = State::default();
    match std::fs::read(snapshot) {
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(e).with_context(|| format!("reading {}", snapshot.display())),
        Ok(data) => {
            let mut data: Value = serde_json::from_slice(&data)
                .with_context(|| format!("parsing {}", snapshot.display()))?;
            state.rv = data["rv"].as_u64().unwrap_or(0);
            for entry in data["objects"].as_array_mut().into_iter().flatten() {
                state.apply(entry.take());
            }
        }
    }
    match File::open(log) {
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(e).with_context(|| format!("reading {}", log.display())),
        Ok(file) => {
            // A line that a kill truncated was never answered.
            for line in BufReader::new(file).lines().map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    Ok(line) => state.apply(line),
                    Err(_) => break,
                }
            }
        }
    }
    Ok(state)
}

impl Journal {
    pub fn open(data: &Path) -> Result<(Self, State)> {
        let (snapshot, path) = (data.join("state.json"), data.join("state.log"));
        let state = read_state(&snapshot, &path)?;
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .with_context(|| format!("opening {}", path.display()))?;
        let mut journal = Self { snapshot, path, log };
        journal.snapshot(state.rv, state.objects.iter())?;
        Ok((journal, state))
    }

    pub fn append(&mut self, change: &Change) -> Result<()> {
        let line = json!({"rv": change.rv, "key": key_json(&change.key),
                          "object": change.new.as_deref()});
        self.log
            .write_all(format!("{line}\n").as_bytes())
            .with_context(|| format!("writing {}", self.path.display()))
    }

    pub fn snapshot<'a>(
        &mut self,
        rv: u64,
        objects: impl Iterator<Item = (&'a Key, &'a Value)>,
    ) -> Result<()> {
        let objects: Vec<_> =
            objects.map(|(k, v)| json!({"key": key_json(k), "object": v})).collect();
        let data = json!({"rv": rv, "objects": objects}).to_string();
        write_atomic(&self.snapshot, data.as_bytes(), 0o600)?;
        self.log.set_len(0).with_context(|| format!("emptying {}", self.path.display()))
    }
}
