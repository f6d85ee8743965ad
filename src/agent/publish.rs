//! Publishes the agent's state, for `wasp-agent status` and metrics.

use std::{io, path::Path, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{Agent, api::rfc3339, effects::Effects};
use crate::{
    config::settings::{EvictionMode, Grants},
    decide::{evict::signals::Reading, grant::swap_for_pods, provision::wanted_bytes},
    errors::FileError,
    messages,
    model::{
        host::Monotonic,
        pressure::{Sample, Stalled},
        published::{self, Counters, Evicted, Published},
        swap::SwapMax,
        trouble::{Problem, Trouble},
    },
    observe::pressure,
    report::metrics,
    state::{self, StateContent as _},
};

/// The least time between two writes of the file.
const PAUSE: Duration = Duration::from_secs(2);
/// The least time between two writes of the textfile, which is read no more often.
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
    next: Monotonic,
    /// The latest publication, for the metrics server.
    pub(super) latest: watch::Sender<Option<Arc<Published>>>,
    textfile: Textfile,
    /// The state has changed since the file was written.
    stale: bool,
}

/// Metrics for node_exporter.
#[derive(Debug, Default)]
struct Textfile {
    /// Its path on the host.
    written: Option<std::path::PathBuf>,
    next: Monotonic,
}

impl Publisher {
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
        let failed = written.err().map(|error| error.to_string());
        self.problem(Trouble::Status, failed);
        self.write_textfile(&published, now);
        self.publisher.latest.send_replace(Some(Arc::new(published)));
    }

    /// Samples the node for metrics if eviction does not.
    fn measure(&mut self) {
        if self.settings.eviction.mode == EvictionMode::Off || self.node.swap_bytes == 0 {
            // On the clock of eviction and reclaim, which outlives the agent.
            let now = super::eviction::since_boot();
            let slices = &self.settings.protection.slices;
            let working_set = self.eviction.working_set();
            self.publisher.sample = pressure::sample(&self.roots, now, slices, working_set).ok();
            self.publisher.readings.clear();
            self.publisher.held_back = None;
        }
    }

    fn write_textfile(&mut self, published: &Published, now: Monotonic) {
        let wanted = self.settings.metrics.textfile.clone();
        if self.publisher.textfile.written != wanted {
            self.remove_textfile();
            self.publisher.textfile.next = now;
        }
        let Some(file) = wanted else {
            self.problem(Trouble::Textfile, None);
            return;
        };
        if now < self.publisher.textfile.next {
            return;
        }
        self.publisher.textfile.next = now + TEXTFILE_PAUSE;
        let path = self.roots.path(&file);
        let written = metrics::prometheus(published)
            .map_err(io::Error::other)
            .and_then(|text| self.effects.publish(&path, &text, 0o644));
        let failed = written.err().map(|error| {
            format!("cannot write metrics.textfile = {:?}: {error}", file.display().to_string())
        });
        if failed.is_none() {
            self.publisher.textfile.written = Some(file);
        }
        self.problem(Trouble::Textfile, failed);
    }

    /// Removes the textfile, so that old values do not look current.
    pub(super) fn remove_textfile(&mut self) {
        if let Some(file) = self.publisher.textfile.written.take()
            && let Err(error) = self.effects.remove_file(&self.roots.path(&file))
        {
            messages::TextfileLeft { path: &file.display() }
                .emit(format_args!("cannot remove {}: {error}", file.display()));
        }
    }

    /// Returns the time of the next publication.
    pub(super) fn publication(&self) -> Option<Monotonic> {
        self.publisher.stale.then_some(self.publisher.next)
    }

    /// Marks the file as outdated.
    pub(super) fn published_is_stale(&mut self) {
        self.publisher.stale = true;
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
                swap_for_pods_bytes: swap_for_pods(&self.settings.grant, &self.granted_from().0),
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
                swap_bytes: (self.settings.grants == Grants::Kubelet)
                    .then(|| self.granted_from().0.swap_bytes),
                ..self.publisher.kubelet.clone()
            },
            api: self.api.published(self.pods.len()),
            containers: self.containers(),
            suspended: self.suspend.published(),
            reclaim: self.reclaim_published(),
            counters: counters.clone(),
        }
    }

    fn containers(&self) -> published::Containers {
        let mut sum = published::Containers::default();
        for (_, container) in self.limits.state.containers() {
            sum.count += 1;
            match container.grant.swap_max {
                SwapMax::ZERO => {}
                SwapMax::Bytes(bytes) => {
                    sum.granted += 1;
                    sum.granted_bytes += bytes;
                }
                SwapMax::Max => sum.unlimited += 1,
            }
            sum.used_bytes += container.used_bytes;
            sum.above_grant += usize::from(container.above);
        }
        // Memory outside of containers counts too.
        let of_pods = self.limits.state.pods().map(|(_, pod)| pod.used_bytes).sum();
        sum.used_bytes = sum.used_bytes.max(of_pods);
        sum
    }
}
