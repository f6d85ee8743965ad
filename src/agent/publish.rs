//! Publishes the agent's state, for `wasp-agent status` and metrics.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::sync::watch;

use super::{Agent, api::rfc3339, effects::Effects, health::Health};
use crate::{
    config::settings::{EvictionMode, Grants},
    decide::{
        decision::{Action, Decision},
        evict::signals::Reading,
        grant::swap_for_pods,
        provision::wanted_bytes,
    },
    errors::FileError,
    messages,
    model::{
        clock::SinceStart,
        host::Holder,
        pressure::{Sample, Stalled},
        published::{self, Counters, Evicted, Published},
        trouble::{Problem, Trouble},
    },
    observe::{clock::since_boot, pressure},
    report::metrics,
    roots::Roots,
    state::{self, StateContent as _},
};

/// The least time between two writes of the file.
const PAUSE: Duration = Duration::from_secs(2);
/// The least time between two writes of the textfile. node_exporter does not read it more often.
const TEXTFILE_PAUSE: Duration = Duration::from_secs(15);
/// Number of evictions shown.
const RECENT: usize = 20;

/// Published values that are not part of the agent's state elsewhere.
#[derive(Debug, Default)]
pub(super) struct Publisher {
    pub(super) counters: Counters,
    recent: Vec<Evicted>,
    sample: Option<Sample>,
    readings: Vec<Reading>,
    held_back: Option<String>,
    /// The configuration that the kubelet uses.
    pub(super) kubelet: published::KubeletStatus,
    started: Option<String>,
    next: SinceStart,
    /// The latest publication, for the metrics server.
    pub(super) latest: watch::Sender<Option<Arc<Published>>>,
    pub(super) textfile: Textfile,
    /// The state has changed since the file was written.
    stale: bool,
}

/// Metrics for node_exporter.
#[derive(Debug, Default)]
pub(super) struct Textfile {
    /// Its path on the host.
    written: Option<PathBuf>,
    next: SinceStart,
}

impl Textfile {
    /// Writes the file if its time has come.
    fn write(
        &mut self,
        effects: &impl Effects,
        roots: &Roots,
        wanted: Option<PathBuf>,
        published: &Published,
        health: &mut Health,
        now: SinceStart,
    ) {
        if self.written != wanted {
            self.remove(effects, roots);
            self.next = now;
        }
        let Some(file) = wanted else {
            health.problem(Trouble::Textfile, None);
            return;
        };
        if now < self.next {
            return;
        }
        self.next = now + TEXTFILE_PAUSE;
        let path = roots.path(&file);
        let written = metrics::prometheus(published)
            .map_err(io::Error::other)
            .and_then(|text| effects.publish(&path, &text, 0o644));
        let failed = written.err().map(|error| {
            format!("cannot write metrics.textfile = {:?}: {error}", file.display().to_string())
        });
        if failed.is_none() {
            self.written = Some(file);
        }
        health.problem(Trouble::Textfile, failed);
    }

    /// Leaves only the time of the last publication in the file: old values must not look current, and an
    /// alert must know that an agent has been here.
    fn leave_time(&mut self, effects: &impl Effects, roots: &Roots, published: &Published) {
        let Some(file) = self.written.clone() else { return };
        let left = metrics::last_published(published)
            .map_err(io::Error::other)
            .and_then(|text| effects.publish(&roots.path(&file), &text, 0o644));
        if left.is_err() {
            self.remove(effects, roots);
        }
    }

    fn remove(&mut self, effects: &impl Effects, roots: &Roots) {
        if let Some(file) = self.written.take()
            && let Err(error) = effects.remove_file(&roots.path(&file))
        {
            messages::TextfileLeft { path: &file.display() }
                .emit(format_args!("cannot remove {}: {error}", file.display()));
        }
    }
}

impl Publisher {
    /// Ends the publication in files that outlive the agent.
    pub(super) fn end(&mut self, effects: &impl Effects, roots: &Roots) {
        let latest = self.latest.borrow().clone();
        if let Some(published) = latest {
            self.textfile.leave_time(effects, roots, &published);
        }
    }

    /// Returns the time of the next publication.
    pub(super) fn next(&self, has_news: bool) -> Option<SinceStart> {
        (self.stale || has_news).then_some(self.next)
    }

    /// Marks the file as outdated.
    pub(super) fn mark_stale(&mut self) {
        self.stale = true;
    }

    /// Counts new containers by whether the hook had set the right limit.
    pub(super) fn count_starts(&mut self, new: &[Holder], decision: &Decision) {
        let corrected = |new: &&Holder| {
            decision
                .actions
                .iter()
                .any(|action| matches!(action, Action::WriteLimit { owner, .. } if owner == *new))
        };
        let corrected = new.iter().filter(corrected).count() as u64;
        self.counters.starts_corrected += corrected;
        self.counters.starts_right += new.len() as u64 - corrected;
    }

    /// Returns the last sample of the node.
    pub(super) fn sample(&self) -> Option<Sample> {
        self.sample
    }

    /// Returns the highest ratio of a signal to its threshold.
    pub(super) fn nearest_signal(&self) -> Option<f64> {
        self.readings.iter().map(|reading| reading.ratio).reduce(f64::max)
    }

    pub(super) fn sampled(
        &mut self,
        sample: Sample,
        readings: Vec<Reading>,
        held_back: Option<String>,
    ) {
        (self.sample, self.readings, self.held_back) = (Some(sample), readings, held_back);
        self.stale = true;
    }

    pub(super) fn evicted(&mut self, pod: String, outcome: &str, why: String, answer: &str) {
        Counters::add(&mut self.counters.evictions, outcome);
        if self.recent.len() == RECENT {
            self.recent.remove(0);
        }
        let at = now();
        let (outcome, answer) = (outcome.to_owned(), answer.to_owned());
        self.recent.push(Evicted { at, pod, outcome, why, answer });
        self.stale = true;
    }
}

fn now() -> String {
    rfc3339(std::time::SystemTime::now())
}

fn stalled(stalled: Stalled) -> published::StallStatus {
    let Stalled { some_micros, full_micros } = stalled;
    published::StallStatus { some_micros, full_micros }
}

impl<E: Effects> Agent<E> {
    /// Publishes a change. Writes a new status when its time has come.
    pub(super) fn publish(&mut self, status: &str, problems: &[Problem]) {
        let now = self.now();
        if !self.publisher.stale || now < self.publisher.next {
            return;
        }
        self.publisher.stale = false;
        self.publisher.next = now + PAUSE;
        self.measure();
        let published = self.published(status, problems);
        let shown = Path::new(Published::FILE.path);
        let written = state::text(&published)
            .and_then(|text| self.effects.publish(&self.roots.path(shown), &text, 0o600))
            .map_err(FileError::of("write", shown));
        let failed = written.err().map(|error| {
            Problem::new(Trouble::Status, error.to_string()).with_remedy(error.remedy_of_write())
        });
        self.health.problem_is(Trouble::Status, failed);
        let wanted = self.settings.metrics.textfile.clone();
        let textfile = &mut self.publisher.textfile;
        textfile.write(&self.effects, &self.roots, wanted, &published, &mut self.health, now);
        self.publisher.latest.send_replace(Some(Arc::new(published)));
    }

    /// Samples the node for metrics if eviction does not.
    fn measure(&mut self) {
        if self.settings.eviction.mode == EvictionMode::Off || self.node.swap_bytes == 0 {
            // On the clock of eviction and reclaim, which outlives the agent.
            let now = since_boot();
            let slices = &self.settings.protection.slices;
            let working_set = self.eviction.working_set();
            self.publisher.sample = pressure::sample(&self.roots, now, slices, working_set).ok();
            self.publisher.readings.clear();
            self.publisher.held_back = None;
        }
    }

    fn published(&mut self, status: &str, problems: &[Problem]) -> Published {
        self.read_suspended();
        let started = self.publisher.started.get_or_insert_with(now).clone();
        let Publisher { counters, recent, sample, readings, held_back, .. } = &self.publisher;
        let signals = readings.iter().map(|reading| published::SignalStatus {
            name: reading.signal.word().to_owned(),
            ratio: reading.ratio,
            text: reading.text.clone(),
            active: reading.active,
            critical: reading.critical,
        });
        let counted = (self.settings.grants == Grants::Kubelet)
            .then(|| self.granting.granted_from(self.settings.grants, self.node).0);
        let in_flight = self.eviction.in_flight().iter().map(|pod| published::InFlightStatus {
            uid: pod.uid.to_string(),
            pod: format!("{}/{}", pod.namespace, pod.name),
            stage: pod.stage.word().to_owned(),
        });
        Published {
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started,
            written: now(),
            status: status.to_owned(),
            problems: problems.iter().map(Into::into).collect(),
            node: published::NodeStatus {
                ram_bytes: self.node.ram_bytes,
                swap_bytes: self.node.swap_bytes,
                swap_configured_bytes: wanted_bytes(&self.settings.swap, &self.node),
                swap_for_pods_bytes: swap_for_pods(
                    &self.settings.grant,
                    &self.granting.granted_from(self.settings.grants, self.node).0,
                ),
                page_bytes: self.node.page_bytes,
                swap_used_bytes: sample.map_or(0, |sample| sample.swap_used_bytes),
                working_set_bytes: sample.map_or(0, |sample| sample.working_set_bytes),
                swapped_in_pages: sample.map_or(0, |sample| sample.swapped_in_pages),
                swapped_out_pages: sample.map_or(0, |sample| sample.swapped_out_pages),
                system_stalled: sample.and_then(|sample| sample.system).map(stalled),
                pods_stalled: sample.and_then(|sample| sample.pods).map(stalled),
            },
            condition: self.eviction.condition().map(|condition| published::ConditionStatus {
                status: format!("{:?}", condition.status),
                reason: condition.reason.to_owned(),
                message: condition.message.clone(),
            }),
            signals: signals.collect(),
            eviction: published::EvictionStatus {
                mode: match self.settings.eviction.mode {
                    EvictionMode::Off => "off",
                    EvictionMode::Observe => "observe",
                    EvictionMode::Enforce => "enforce",
                }
                .to_owned(),
                held_back: held_back.clone(),
                in_flight: in_flight.collect(),
                recent: recent.clone(),
                in_the_last_hour: self.eviction.in_the_last_hour(),
            },
            protection: published::ProtectionStatus {
                wanted: self.settings.protection.slices.clone(),
                protected: self.protection.protected.clone(),
            },
            hook: published::Hook { file: self.installed.file() },
            kubelet: published::KubeletStatus {
                grants: self.settings.grants.word().to_owned(),
                swap_bytes: counted.map(|node| node.swap_bytes),
                ram_bytes: counted.map(|node| node.ram_bytes),
                ..self.publisher.kubelet.clone()
            },
            api: self.api.published(self.pods.len()),
            containers: self.limits.totals(),
            suspended: self.suspend.published(),
            reclaim: self.reclaim.published(self.lookup(), self.settings.reclaim.mode),
            counters: counters.clone(),
        }
    }
}
