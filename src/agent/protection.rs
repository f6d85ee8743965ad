//! Repairs the protected slices, in a separate task, because systemd may be slow.

pub(super) mod effects;

use std::{collections::HashMap, sync::Arc, time::Duration};

use nix::sys::inotify::AddWatchFlags;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep, sleep_until},
};
use zbus::Connection;

use super::reserves;
use crate::{
    act::slices,
    bus,
    config::settings::{ProtectionSettings, Settings},
    decide::protection::{self as decide, SliceProtection, Swap, protection},
    messages,
    model::{
        protection::{Disks, SliceFacts},
        swap::SwapMax,
        trouble::Problem,
    },
    observe::{
        disks,
        events::RenewedEvents,
        slices::{FILES, facts, folder, unit},
    },
    roots::Roots,
};

use effects::SliceEffects;

/// systemd writes to cgroupfs some time after its answer.
const SETTLES: Duration = Duration::from_millis(100);
const SETTLED_AFTER: u32 = 20;
/// The least time between two repairs of a slice that another program keeps changing.
const REPAIR_PAUSE: Duration = Duration::from_secs(1);
/// The least time between two reports of such changes.
const SAID_AGAIN: Duration = Duration::from_secs(60);

/// The guard's report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SliceReport {
    /// Slices that are fully protected.
    pub protected: Vec<String>,
    /// The problem for the status line.
    pub problem: Option<String>,
    /// The problem if systemd-oomd kills among the pods.
    pub oomd: Option<Problem>,
    /// The error if systemd cannot be reached.
    pub bus: Option<String>,
}

/// Runs until the receiver is gone. Settings may change while it runs. `resync`: the agent compares
/// everything now. A timer of the guard's own would wake the process a second time.
pub(crate) async fn guard(
    roots: Roots,
    mut settings: watch::Receiver<Settings>,
    resync: Arc<Notify>,
    effects: impl SliceEffects,
    reports: mpsc::UnboundedSender<SliceReport>,
) {
    let wanted = (settings.borrow().protection.clone(), Disks::new());
    let mut guard = SliceGuard {
        roots,
        effects,
        connection: None,
        told: Vec::new(),
        wanted,
        fights: HashMap::new(),
        oomd: None,
    };
    let mut watched = WatchedSlices(None);
    loop {
        let now = settings.borrow_and_update().clone();
        watched.renew(&guard.roots, &now.protection.slices);
        let report = guard.turn(&now).await;
        if reports.send(report).is_err() {
            return;
        }
        let turned = Instant::now();
        tokio::select! {
            () = watched.changed() => {}
            () = resync.notified() => {}
            changed = settings.changed() => if changed.is_err() { return },
        }
        // The next turn handles all changes during the pause.
        sleep_until(turned + REPAIR_PAUSE).await;
    }
}

/// The watched files of the slices. Without a queue, the resync serves.
struct WatchedSlices(Option<RenewedEvents>);

impl WatchedSlices {
    /// Watches the current files of `slices`. The resync finds a file that does not exist yet.
    fn renew(&mut self, roots: &Roots, slices: &[String]) {
        let files = slices.iter().flat_map(|slice| {
            let folder = folder(roots, slice);
            FILES.map(|file| folder.join(file))
        });
        if self.0.is_none() {
            self.0 = RenewedEvents::new().ok();
        }
        if let Some(events) = &mut self.0 {
            events.renew(files, AddWatchFlags::IN_MODIFY);
        }
    }

    /// Returns when a file has changed.
    async fn changed(&self) {
        match &self.0 {
            Some(events) if events.next().await.is_ok() => {}
            _ => std::future::pending().await,
        }
    }
}

struct SliceGuard<S> {
    roots: Roots,
    effects: S,
    connection: Option<Connection>,
    /// Slices whose protection was logged: a later change is a repair, unless the settings have
    /// changed.
    told: Vec<String>,
    wanted: (ProtectionSettings, Disks),
    /// Repairs by slice.
    fights: HashMap<String, Fight>,
    /// The problem by systemd's last answer about systemd-oomd.
    oomd: Option<Problem>,
}

/// Another program keeps undoing the protection.
#[derive(Default)]
struct Fight {
    /// Repairs since the last report.
    repairs: u64,
    said: Option<Instant>,
}

impl<S: SliceEffects> SliceGuard<S> {
    async fn turn(&mut self, settings: &Settings) -> SliceReport {
        let disks = disks_in_use(&self.roots, settings);
        let wanted = (settings.protection.clone(), disks.clone());
        if wanted != self.wanted {
            self.told.clear();
            self.wanted = wanted;
        }
        let mut report = SliceReport::default();
        let mut problems = Vec::new();
        let slices = &settings.protection.slices;
        if slices.is_empty()
            && settings.protection.pods_io_latency_target.is_none()
            && (settings.protection.services.is_empty()
                || settings.protection.working_set_percent == 0)
            // Restore slices that are no longer configured.
            && !crate::state::StateFile::<crate::act::slices::ReservesBefore>::new(&self.roots).path().exists()
        {
            return report;
        }
        if let Err(error) = self.connect().await {
            let bus = self.roots.system_bus();
            report.bus = Some(format!(
                "cannot reach systemd at {}: {error}",
                self.roots.shown(&bus).display()
            ));
        }
        for slice in slices {
            match self.ensure(settings, &disks, slice, Swap::Denied).await {
                Ok(SliceProtection { unit, missing }) if missing.is_empty() => {
                    report.protected.push(unit);
                }
                Ok(SliceProtection { unit, missing }) => {
                    problems.push(format!("{unit} is not fully protected: {}", missing.join(", ")));
                }
                Err(error) => {
                    if bus::is_broken(&error) {
                        self.connection = None;
                    }
                    problems.push(format!("cannot protect {slice}: {error}"));
                }
            }
        }
        problems.extend(self.serve_pods(settings, &disks).await);
        if let Some(connection) = &self.connection {
            match reserves::ensure(&self.roots, connection, &settings.protection, &self.effects)
                .await
            {
                Ok(failed) => problems.extend(failed),
                Err(error) => {
                    self.connection = None;
                    problems.push(format!("cannot reserve memory for services: {error}"));
                }
            }
        }
        // Without an answer, the last one stays.
        if let Some(connection) = &self.connection {
            self.oomd = decide::oomd(&slices::oomd_above_pods(connection, &self.roots).await);
        }
        report.oomd = self.oomd.clone();
        report.problem = (!problems.is_empty()).then(|| problems.join("; "));
        report
    }

    /// Gives the pods' slices their IO latency target, if the kernel supports it and the slices
    /// exist.
    async fn serve_pods(&mut self, settings: &Settings, disks: &Disks) -> Vec<String> {
        let Some(target) = settings.protection.pods_io_latency_target else { return Vec::new() };
        let pods = Settings {
            protection: ProtectionSettings {
                io_latency_target: Some(target),
                ..settings.protection.clone()
            },
            ..settings.clone()
        };
        let slices: Vec<String> = self.roots.pods().iter().filter_map(|path| unit(path)).collect();
        let mut problems = Vec::new();
        for slice in slices {
            if facts(&self.roots, &slice).io_latency.is_none() {
                continue;
            }
            match self.ensure(&pods, disks, &slice, Swap::Allowed).await {
                Ok(SliceProtection { missing, .. }) if missing.is_empty() => {}
                Ok(SliceProtection { unit, missing }) => {
                    problems.push(format!("{unit}: {}", missing.join(", ")));
                }
                Err(error) => problems.push(format!(
                    "cannot set an I/O latency target for \
                    {slice}: {error}"
                )),
            }
        }
        problems
    }

    async fn connect(&mut self) -> zbus::Result<()> {
        if self.connection.is_none() {
            self.connection = Some(bus::connect(&self.roots.system_bus()).await?);
        }
        Ok(())
    }

    async fn observe(&self, slice: &str) -> zbus::Result<SliceFacts> {
        let properties = match &self.connection {
            Some(connection) => Some(slices::properties(connection, slice).await?),
            None => None,
        };
        Ok(SliceFacts { properties, ..facts(&self.roots, slice) })
    }

    /// Observes, decides, acts, and checks the effect in the kernel.
    async fn ensure(
        &mut self,
        settings: &Settings,
        disks: &Disks,
        slice: &str,
        swap: Swap,
    ) -> zbus::Result<SliceProtection> {
        let settings = &settings.protection;
        let mut found = self.observe(slice).await?;
        let change = decide::change(settings, swap, disks, &found);
        if change.is_none() {
            return Ok(protection(settings, swap, disks, &found));
        }
        let (Some(connection), Some(properties)) = (&self.connection, &found.properties) else {
            return Ok(protection(settings, swap, disks, &found));
        };
        let set = self.effects.protect(&self.roots, connection, slice, properties, &change);
        if !set.await? {
            return Ok(protection(settings, swap, disks, &found));
        }
        let before = found.swap_max;
        for _ in 0..SETTLED_AFTER {
            sleep(SETTLES).await;
            found = self.observe(slice).await?;
            // Waiting does not help if the kernel lacks the feature.
            if decide::change(settings, swap, disks, &found).is_none() {
                break;
            }
        }
        self.tell(slice, before, &change);
        Ok(protection(settings, swap, disks, &found))
    }

    fn tell(&mut self, slice: &str, before: Option<SwapMax>, change: &decide::PropertyChange) {
        let latency: Vec<&str> = change.io_latency.iter().map(|(device, _)| &**device).collect();
        let mut what = Vec::new();
        if change.swap_max.is_some() {
            let before = before.map_or_else(|| "unknown".to_owned(), |max| max.to_string());
            what.push(format!("no swap (memory.swap.max was {before})"));
        }
        if !latency.is_empty() {
            what.push(format!("an I/O latency target for {}", latency.join(", ")));
        }
        let what = what.join(" and ");
        if self.told.iter().any(|told| told == slice) {
            let fight = self.fights.entry(slice.to_owned()).or_default();
            fight.repairs += 1;
            if fight.said.is_some_and(|said| said.elapsed() < SAID_AGAIN) {
                return;
            }
            let repairs = std::mem::take(&mut fight.repairs);
            fight.said = Some(Instant::now());
            messages::SliceRepaired { slice: &slice, repairs: &repairs }.emit(format_args!(
                "another program changed the protection of {slice}; again \
                    {what}"
            ));
        } else {
            messages::SliceProtected { slice: &slice }
                .emit(format_args!("protected {slice}: {what}"));
            self.told.push(slice.to_owned());
        }
    }
}

/// None if no target is set.
fn disks_in_use(roots: &Roots, settings: &Settings) -> Disks {
    let settings = &settings.protection;
    let target = settings.io_latency_target.or(settings.pods_io_latency_target);
    target.map_or_else(Disks::new, |_| disks::in_use(roots))
}
