//! Reads command lines on separate threads: a process that keeps its memory locked can block the
//! reader of its command line for any time.

use std::{collections::BTreeSet, future::pending, thread};

use tokio::sync::mpsc;

use super::process::{Runs, is_program_by_command_line};
use crate::{model::pod::ContainerId, roots::Roots};

/// Number of containers to wait for at the same time. If others use all places, a container counts
/// as starting, and the next pass tries again.
const MOST: usize = 2;

#[derive(Debug)]
pub(crate) struct CommandLines {
    roots: Roots,
    asked: BTreeSet<ContainerId>,
    send: mpsc::UnboundedSender<(ContainerId, Runs)>,
    answers: mpsc::UnboundedReceiver<(ContainerId, Runs)>,
}

impl CommandLines {
    pub(crate) fn new(roots: &Roots) -> Self {
        let (send, answers) = mpsc::unbounded_channel();
        Self { roots: roots.clone(), asked: BTreeSet::new(), send, answers }
    }

    /// Finds out which programs `processes` of the container run, unless a query is in progress.
    /// Uses a thread of the standard library, because a runtime would wait for its own at the
    /// agent's end.
    pub(crate) fn ask(&mut self, id: &ContainerId, processes: Vec<u32>) {
        if self.asked.len() >= MOST || self.asked.contains(id) {
            return;
        }
        let (roots, send, of) = (self.roots.clone(), self.send.clone(), id.clone());
        let read = move || {
            let mut processes = processes.iter();
            let runs = match processes.any(|pid| is_program_by_command_line(&roots, *pid)) {
                true => Runs::Program,
                false => Runs::Runtime,
            };
            // Fails only while the agent ends.
            let _ = send.send((of, runs));
        };
        // If no thread can be started, the next pass tries again.
        if thread::Builder::new().name("command-line".to_owned()).spawn(read).is_ok() {
            self.asked.insert(id.clone());
        }
    }

    /// Returns the next answer. Cancel safe.
    pub(crate) async fn answered(&mut self) -> (ContainerId, Runs) {
        match self.answers.recv().await {
            Some((id, runs)) => {
                self.asked.remove(&id);
                (id, runs)
            }
            // Never happens, because this keeps a sender.
            None => pending().await,
        }
    }
}
