//! Reads command lines on threads of their own: a process that keeps its memory locked makes whoever
//! reads its command line wait for as long as it likes.

use std::{collections::BTreeSet, future::pending, thread};

use tokio::sync::mpsc;

use super::process::{Runs, is_program_by_command_line};
use crate::{model::pod::ContainerId, roots::Roots};

/// So many containers are waited for at once. Where others take all places, a container counts as one
/// that starts, and it is asked about again at the next look.
const MOST: usize = 2;

#[derive(Debug)]
pub struct CommandLines {
    roots: Roots,
    asked: BTreeSet<ContainerId>,
    send: mpsc::UnboundedSender<(ContainerId, Runs)>,
    answers: mpsc::UnboundedReceiver<(ContainerId, Runs)>,
}

impl CommandLines {
    pub fn new(roots: &Roots) -> Self {
        let (send, answers) = mpsc::unbounded_channel();
        Self { roots: roots.clone(), asked: BTreeSet::new(), send, answers }
    }

    /// Finds out what `processes` of the container run, unless that is being done. A thread of the
    /// standard library, since a runtime would wait for its own at the agent's end.
    pub fn ask(&mut self, id: &ContainerId, processes: Vec<u32>) {
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
        // Where there is no thread to be had, it is asked for again.
        if thread::Builder::new().name("command-line".to_owned()).spawn(read).is_ok() {
            self.asked.insert(id.clone());
        }
    }

    /// The next answer. Cancel safe.
    pub async fn answered(&mut self) -> (ContainerId, Runs) {
        match self.answers.recv().await {
            Some((id, runs)) => {
                self.asked.remove(&id);
                (id, runs)
            }
            // Never, since a sender is kept.
            None => pending().await,
        }
    }
}
