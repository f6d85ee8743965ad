//! Delayed work of controllers: migrations that end, pods that return.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::app::App;
use crate::controllers;
use crate::kubevirt::{Kubevirt, Vm};
use crate::store::{Inner, Key};

#[derive(Debug)]
pub enum Task {
    /// Of a VM to this pod.
    EndMigration(Vm, Key),
    Create(Key, Box<Value>),
}

pub(crate) fn later(app: &App, delay: Duration, task: Task) {
    app.tasks.lock().unwrap_or_else(PoisonError::into_inner).push((delay, task));
}

/// Schedules the end of migrations that have begun, if they end by themselves.
pub(crate) fn end_migrations(app: &App, kubevirt: &mut Kubevirt) {
    for (vm, target) in kubevirt.take_begun() {
        if let Some(time) = kubevirt.migration_time() {
            later(app, time, Task::EndMigration(vm, target));
        }
    }
}

/// Reacts to the deletion of a pod; `old` is its state before.
pub(crate) fn deleted(app: &App, store: &mut Inner, old: &Value, gone: bool) {
    let controllers = app.controllers.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some((key, pod)) = controllers.replacement(old, gone) {
        if controllers.delay_ms == 0 {
            controllers::create(store, key, pod);
        } else {
            later(app, controllers.delay(), Task::Create(key, Box::new(pod)));
        }
    }
}

/// Runs the delayed work of the last requests.
pub(crate) fn spawn(app: &Arc<App>) {
    let tasks = std::mem::take(&mut *app.tasks.lock().unwrap_or_else(PoisonError::into_inner));
    for (delay, task) in tasks {
        let app = app.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            run(&app, task);
        });
    }
}

fn run(app: &App, task: Task) {
    let mut kubevirt = app.kubevirt.lock().unwrap_or_else(PoisonError::into_inner);
    let mut store = app.store.lock();
    match task {
        Task::EndMigration(vm, target) => {
            // A test may have ended it meanwhile.
            if kubevirt.target_of(&vm) == Some(&target) {
                drop(kubevirt.finish(&mut store, &vm, true));
            }
            app.after_write(&mut store, "pods", &vm.0);
        }
        Task::Create(key, pod) => {
            let namespace = key.namespace.clone();
            controllers::create(&mut store, key, *pod);
            app.after_write(&mut store, "pods", &namespace);
        }
    }
}
