//! The objects, with one resourceVersion for all of them and a bounded history of changes, as etcd
//! and the watch cache before it have (apiserver, pkg/storage/cacher).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::journal::Journal;

/// Resource ("pods"), namespace, name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub resource: String,
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(resource: &str, namespace: &str, name: &str) -> Self {
        Self {
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// One change. `new` is absent when the object went away.
#[derive(Debug)]
pub struct Change {
    pub rv: u64,
    pub key: Key,
    pub old: Option<Arc<Value>>,
    pub new: Option<Arc<Value>>,
}

/// What a watch starts from.
#[derive(Debug)]
pub struct Subscription {
    /// Changes that had happened already.
    pub backlog: Vec<Arc<Change>>,
    pub changes: mpsc::UnboundedReceiver<Arc<Change>>,
    /// resourceVersion at the time of subscribing.
    pub rv: u64,
}

/// A resourceVersion that history no longer reaches back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOld {
    pub oldest: u64,
}

#[derive(Debug)]
pub struct Inner {
    rv: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    history: VecDeque<Arc<Change>>,
    capacity: usize,
    /// Watches may start here or later.
    oldest: u64,
    subscribers: Vec<(String, mpsc::UnboundedSender<Arc<Change>>)>,
    journal: Option<Journal>,
    /// The first write that could not be persisted.
    journal_error: Option<String>,
}

#[derive(Debug)]
pub struct Store(Mutex<Inner>);

impl Store {
    pub fn new(capacity: usize, journal: Option<(Journal, crate::journal::State)>) -> Self {
        let (journal, state) = match journal {
            Some((journal, state)) => (Some(journal), state),
            None => (None, crate::journal::State::default()),
        };
        let rv = state.rv.max(1);
        Self(Mutex::new(Inner {
            rv,
            objects: state.objects.into_iter().map(|(k, v)| (k, Arc::new(v))).collect(),
            history: VecDeque::new(),
            capacity,
            oldest: rv,
            subscribers: Vec::new(),
            journal,
            journal_error: None,
        }))
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    pub fn rv(&self) -> u64 {
        self.rv
    }

    pub fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// Objects of a resource, of one namespace if that is not empty, in key order.
    pub fn list<'a>(
        &'a self,
        resource: &'a str,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> {
        self.objects.range(Key::new(resource, namespace, "")..).take_while(move |(k, _)| {
            k.resource == resource && (namespace.is_empty() || k.namespace == namespace)
        })
    }

    /// The same as it was at an earlier resourceVersion: history undone.
    pub fn list_at(
        &self,
        resource: &str,
        namespace: &str,
        rv: u64,
    ) -> Result<BTreeMap<Key, Arc<Value>>, TooOld> {
        if rv < self.oldest {
            return Err(TooOld { oldest: self.oldest });
        }
        let mut objects: BTreeMap<_, _> =
            self.list(resource, namespace).map(|(k, v)| (k.clone(), v.clone())).collect();
        for change in self.history.iter().rev().take_while(|c| c.rv > rv) {
            if change.key.resource == resource
                && (namespace.is_empty() || change.key.namespace == namespace)
            {
                match &change.old {
                    Some(old) => objects.insert(change.key.clone(), old.clone()),
                    None => objects.remove(&change.key),
                };
            }
        }
        Ok(objects)
    }

    /// Stores an object under the next resourceVersion and returns it as stored.
    pub fn put(&mut self, key: Key, mut object: Value) -> Arc<Value> {
        self.rv += 1;
        object["metadata"]["resourceVersion"] = json!(self.rv.to_string());
        let object = Arc::new(object);
        let old = self.objects.insert(key.clone(), object.clone());
        self.publish(Change { rv: self.rv, key, old, new: Some(object.clone()) });
        object
    }

    pub fn remove(&mut self, key: &Key) {
        if let Some(old) = self.objects.remove(key) {
            self.rv += 1;
            self.publish(Change { rv: self.rv, key: key.clone(), old: Some(old), new: None });
        }
    }

    fn publish(&mut self, change: Change) {
        if let Some(journal) = &mut self.journal
            && let Err(e) = journal.append(&change)
        {
            self.journal_error.get_or_insert(format!("{e:#}"));
        }
        let change = Arc::new(change);
        self.subscribers.retain(|(resource, sender)| {
            if *resource == change.key.resource {
                sender.send(change.clone()).is_ok()
            } else {
                !sender.is_closed()
            }
        });
        self.history.push_back(change);
        while self.history.len() > self.capacity {
            if let Some(gone) = self.history.pop_front() {
                self.oldest = gone.rv;
            }
        }
    }

    /// Changes after `since`, and all later ones.
    pub fn subscribe(&mut self, resource: &str, since: u64) -> Result<Subscription, TooOld> {
        if since < self.oldest {
            return Err(TooOld { oldest: self.oldest });
        }
        let backlog = self
            .history
            .iter()
            .filter(|c| c.rv > since && c.key.resource == resource)
            .cloned()
            .collect();
        let (sender, changes) = mpsc::unbounded_channel();
        self.subscribers.push((resource.to_owned(), sender));
        Ok(Subscription { backlog, changes, rv: self.rv })
    }

    /// Forgets the history, as etcd's compaction does. Open watches go on.
    pub fn compact(&mut self) {
        self.history.clear();
        self.oldest = self.rv;
    }

    pub fn compacted_at(&self) -> u64 {
        self.oldest
    }

    /// Writes the whole state; afterwards the journal is empty.
    pub fn snapshot(&mut self) -> Result<()> {
        let (rv, objects) = (self.rv, &self.objects);
        match &mut self.journal {
            Some(journal) => journal.snapshot(rv, objects.iter().map(|(k, v)| (k, &**v))),
            None => Ok(()),
        }
    }

    /// Why persisting failed, if it did.
    pub fn journal_error(&self) -> Option<&str> {
        self.journal_error.as_deref()
    }
}
