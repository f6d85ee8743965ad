//! The objects, with one resourceVersion for all of them and a bounded history of changes, like
//! etcd and the watch cache in front of it (apiserver, pkg/storage/cacher).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::journal::Journal;
use crate::json::text;

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

/// One change. `new` is absent if the object was removed.
#[derive(Debug)]
pub struct Change {
    pub rv: u64,
    pub key: Key,
    pub old: Option<Arc<Value>>,
    pub new: Option<Arc<Value>>,
}

/// The start of a watch.
#[derive(Debug)]
pub struct Subscription {
    /// Changes that have happened already.
    pub backlog: Vec<Arc<Change>>,
    pub changes: mpsc::UnboundedReceiver<Arc<Change>>,
    /// resourceVersion at the time of subscribing.
    pub rv: u64,
}

/// The history no longer contains this resourceVersion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOld {
    pub oldest: u64,
}

/// A resource; for pods possibly only those of one node.
#[derive(Debug)]
struct Scope {
    resource: String,
    node: Option<String>,
}

impl Scope {
    fn has(&self, change: &Change) -> bool {
        let of = |object: &Arc<Value>| {
            self.node.as_deref().is_none_or(|node| text(object, "/spec/nodeName") == node)
        };
        change.key.resource == self.resource
            && [&change.old, &change.new].into_iter().flatten().any(of)
    }
}

#[derive(Debug)]
pub struct Inner {
    rv: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    /// Pods by node, for which the watch cache has an index, too.
    by_node: BTreeMap<String, BTreeSet<Key>>,
    history: VecDeque<Arc<Change>>,
    capacity: usize,
    /// Watches may start at this version or later.
    oldest: u64,
    subscribers: Vec<(Scope, mpsc::UnboundedSender<Arc<Change>>)>,
    journal: Option<Journal>,
    /// The error of the first write that could not be persisted.
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
        let mut inner = Inner {
            rv,
            objects: state.objects.into_iter().map(|(k, v)| (k, Arc::new(v))).collect(),
            by_node: BTreeMap::new(),
            history: VecDeque::new(),
            capacity,
            oldest: rv,
            subscribers: Vec::new(),
            journal,
            journal_error: None,
        };
        let pods: Vec<_> = inner.list("pods", "").map(|(k, v)| (k.clone(), v.clone())).collect();
        pods.iter().for_each(|(key, pod)| inner.index(key, pod));
        Self(Mutex::new(inner))
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

    /// Returns the objects of a resource, of one namespace if given, in key order.
    pub fn list<'a>(
        &'a self,
        resource: &'a str,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> {
        self.objects.range(Key::new(resource, namespace, "")..).take_while(move |(k, _)| {
            k.resource == resource && (namespace.is_empty() || k.namespace == namespace)
        })
    }

    /// Returns the list at an earlier resourceVersion by undoing history. With `node`, leaves out
    /// other nodes' objects that have not changed since.
    pub fn list_at(
        &self,
        resource: &str,
        namespace: &str,
        node: Option<&str>,
        rv: u64,
    ) -> Result<BTreeMap<Key, Arc<Value>>, TooOld> {
        if rv < self.oldest {
            return Err(TooOld { oldest: self.oldest });
        }
        let owned = |(key, object): (&Key, &Arc<Value>)| (key.clone(), object.clone());
        let mut objects: BTreeMap<_, _> = match node {
            None => self.list(resource, namespace).map(owned).collect(),
            Some(node) => {
                let keys = self.by_node.get(node).into_iter().flatten();
                let keys = keys.filter(|key| namespace.is_empty() || key.namespace == namespace);
                keys.filter_map(|key| self.objects.get_key_value(key)).map(owned).collect()
            }
        };
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
        self.index(&key, &object);
        self.publish(Change { rv: self.rv, key, old, new: Some(object.clone()) });
        object
    }

    pub fn remove(&mut self, key: &Key) {
        if let Some(old) = self.objects.remove(key) {
            self.rv += 1;
            if let Some(keys) = self.by_node.get_mut(text(&old, "/spec/nodeName")) {
                keys.remove(key);
            }
            self.publish(Change { rv: self.rv, key: key.clone(), old: Some(old), new: None });
        }
    }

    /// A bound pod stays on its node.
    fn index(&mut self, key: &Key, object: &Value) {
        let node = text(object, "/spec/nodeName");
        if key.resource == "pods" && !node.is_empty() {
            self.by_node.entry(node.to_owned()).or_default().insert(key.clone());
        }
    }

    fn publish(&mut self, change: Change) {
        if let Some(journal) = &mut self.journal
            && let Err(e) = journal.append(&change)
        {
            self.journal_error.get_or_insert(format!("{e:#}"));
        }
        let change = Arc::new(change);
        self.subscribers.retain(|(scope, sender)| {
            if scope.has(&change) {
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

    /// Returns the changes after `since`, and all later ones; with a node, only those of its pods.
    pub fn subscribe(
        &mut self,
        resource: &str,
        node: Option<&str>,
        since: u64,
    ) -> Result<Subscription, TooOld> {
        if since < self.oldest {
            return Err(TooOld { oldest: self.oldest });
        }
        let scope = Scope { resource: resource.to_owned(), node: node.map(str::to_owned) };
        let backlog =
            self.history.iter().filter(|c| c.rv > since && scope.has(c)).cloned().collect();
        let (sender, changes) = mpsc::unbounded_channel();
        self.subscribers.push((scope, sender));
        Ok(Subscription { backlog, changes, rv: self.rv })
    }

    /// Drops the history, like etcd's compaction. Open watches continue.
    pub fn compact(&mut self) {
        self.history.clear();
        self.oldest = self.rv;
    }

    pub fn compacted_at(&self) -> u64 {
        self.oldest
    }

    /// Writes the complete state and empties the journal.
    pub fn snapshot(&mut self) -> Result<()> {
        let (rv, objects) = (self.rv, &self.objects);
        match &mut self.journal {
            Some(journal) => journal.snapshot(rv, objects.iter().map(|(k, v)| (k, &**v))),
            None => Ok(()),
        }
    }

    /// Returns the error of persisting, if there was one.
    pub fn journal_error(&self) -> Option<&str> {
        self.journal_error.as_deref()
    }
}
