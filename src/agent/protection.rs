//! Guards the protected slices, beside the loop: systemd takes its time to answer.

use std::{collections::HashMap, time::Duration};

use nix::sys::inotify::AddWatchFlags;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};
use zbus::Connection;

use super::reserves;
use crate::{
    act::{bus, slices},
    config::settings::{ProtectionSettings, Settings},
    decide::protection::{self as decide, Protection, Swap, oomd_remedy, oomd_said, protection},
    messages,
    model::{
        protection::{Disks, SliceFacts},
        swap::SwapMax,
        trouble::{Problem, Trouble},
    },
    observe::{
        alarm::Alarm,
        disks,
        events::Events,
        slices::{FILES, facts, folder, unit},
    },
    roots::Roots,
};

/// systemd writes to cgroupfs some time after it has answered.
const SETTLES: Duration = Duration::from_millis(100);
const SETTLED_AFTER: u32 = 20;
/// So often at most is a slice repaired, whoever fights for it.
const REPAIR_PAUSE: Duration = Duration::from_secs(1);
/// So often at most is it said.
const SAID_AGAIN: Duration = Duration::from_secs(60);

/// What the guard has to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Slices that are protected in every respect.
    pub protected: Vec<String>,
    /// For the status line.
    pub problem: Option<String>,
    /// systemd-oomd kills among the pods.
    pub oomd: Option<Problem>,
    /// systemd cannot be reached.
    pub bus: Option<String>,
}

/// Guards until nobody listens. Settings may change on the way.
pub async fn guard(
    roots: Roots,
    mut settings: watch::Receiver<Settings>,
    act: bool,
    reports: mpsc::Sender<Report>,
) {
    let wanted = (settings.borrow().protection.clone(), Disks::new());
    let mut guard =
        Guard { roots, act, connection: None, told: Vec::new(), wanted, fights: HashMap::new() };
    let mut alarm = Alarm::new();
    loop {
        let now = settings.borrow_and_update().clone();
        let events = guard.watch(&now);
        let report = guard.turn(&now).await;
        if reports.send(report).await.is_err() {
            return;
        }
        let turned = Instant::now();
        let resync = turned + now.limits.resync;
        tokio::select! {
            () = happened(events.as_ref()) => {}
            () = alarm.at(resync.into_std()) => {}
            changed = settings.changed() => if changed.is_err() { return },
        }
        // The next turn looks at all that happens during the pause.
        sleep_until(turned + REPAIR_PAUSE).await;
    }
}

/// Returns when a slice's file has changed. Without a queue, the resync serves.
async fn happened(events: Option<&Events>) {
    match events {
        Some(events) if events.next().await.is_ok() => {}
        _ => std::future::pending().await,
    }
}

struct Guard {
    roots: Roots,
    act: bool,
    connection: Option<Connection>,
    /// Slices whose protection was logged: what comes later is a repair, unless something else is
    /// wanted by then.
    told: Vec<String>,
    wanted: (ProtectionSettings, Disks),
    /// Repairs by slice.
    fights: HashMap<String, Fight>,
}

/// Somebody keeps undoing it.
#[derive(Default)]
struct Fight {
    /// Since it was said.
    repairs: u64,
    said: Option<Instant>,
}

impl Guard {
    /// A queue for changes of the slices' files.
    fn watch(&self, settings: &Settings) -> Option<Events> {
        let events = Events::new().ok()?;
        for slice in &settings.protection.slices {
            for file in FILES {
                // A file that is not there yet is found at the resync.
                let path = folder(&self.roots, slice).join(file);
                let _ = events.watch(&path, AddWatchFlags::IN_MODIFY);
            }
        }
        Some(events)
    }

    async fn turn(&mut self, settings: &Settings) -> Report {
        let disks = disks_in_use(&self.roots, settings);
        let wanted = (settings.protection.clone(), disks.clone());
        if wanted != self.wanted {
            self.told.clear();
            self.wanted = wanted;
        }
        let mut report = Report::default();
        let mut problems = Vec::new();
        let slices = &settings.protection.slices;
        if slices.is_empty()
            && settings.protection.pods_io_latency_target.is_none()
            && (settings.protection.services.is_empty()
                || settings.protection.working_set_percent == 0)
            // What is no longer configured goes back.
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
                Ok(Protection { unit, missing }) if missing.is_empty() => {
                    report.protected.push(unit);
                }
                Ok(Protection { unit, missing }) => {
                    problems.push(format!("{unit} is not fully protected: {}", missing.join(", ")));
                }
                Err(error) => {
                    if bus::is_broken(&error) {
                        self.connection = None;
                    }
                    problems.push(format!("{slice} cannot be protected: {error}"));
                }
            }
        }
        problems.extend(self.serve_pods(settings, &disks).await);
        if let Some(connection) = &self.connection {
            match reserves::ensure(&self.roots, connection, &settings.protection, self.act).await {
                Ok(failed) => problems.extend(failed),
                Err(error) => {
                    self.connection = None;
                    problems.push(format!("memory cannot be reserved for services: {error}"));
                }
            }
        }
        report.oomd = self.oomd().await;
        report.problem = (!problems.is_empty()).then(|| problems.join("; "));
        report
    }

    /// Gives the pods' slices their IO latency target, where the kernel has one and the slices are there.
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
                Ok(Protection { missing, .. }) if missing.is_empty() => {}
                Ok(Protection { unit, missing }) => {
                    problems.push(format!("{unit}: {}", missing.join(", ")));
                }
                Err(error) => problems.push(format!("{slice} gets no IO latency target: {error}")),
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

    /// Observes, decides, acts, and sees what the kernel made of it.
    async fn ensure(
        &mut self,
        settings: &Settings,
        disks: &Disks,
        slice: &str,
        swap: Swap,
    ) -> zbus::Result<Protection> {
        let settings = &settings.protection;
        let mut found = self.observe(slice).await?;
        let change = decide::change(settings, swap, disks, &found);
        if change.is_none() {
            return Ok(protection(settings, swap, disks, &found));
        }
        if !self.act {
            messages::DryRun {
                cgroup: None,
                path: None,
                unit: None,
                swap_max: None,
                slice: Some(&slice),
                change: Some(&format_args!("{:?}", change)),
            }
            .emit(format_args!("would protect {slice}"));
            return Ok(protection(settings, swap, disks, &found));
        }
        let (Some(connection), Some(properties)) = (&self.connection, &found.properties) else {
            return Ok(protection(settings, swap, disks, &found));
        };
        if let Err(error) = slices::remember(&self.roots, slice, properties) {
            messages::SliceNotRemembered { slice: &slice }
                .emit(format_args!("cannot remember what {slice} had: {error}"));
        }
        slices::set(connection, slice, &change).await?;
        let before = found.swap_max;
        for _ in 0..SETTLED_AFTER {
            sleep(SETTLES).await;
            found = self.observe(slice).await?;
            // What the kernel lacks does not come by waiting.
            if decide::change(settings, swap, disks, &found).is_none() {
                break;
            }
        }
        self.tell(slice, before, &change);
        Ok(protection(settings, swap, disks, &found))
    }

    fn tell(&mut self, slice: &str, before: Option<SwapMax>, change: &decide::Change) {
        let latency: Vec<&str> = change.io_latency.iter().map(|(device, _)| &**device).collect();
        let mut what = Vec::new();
        if change.swap_max.is_some() {
            let before = before.map_or_else(|| "unknown".to_owned(), |max| max.to_string());
            what.push(format!("no swap (memory.swap.max was {before})"));
        }
        if !latency.is_empty() {
            what.push(format!("an IO latency target for {}", latency.join(", ")));
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
            messages::SliceRepaired { slice: &slice, repairs: &repairs }
                .emit(format_args!("somebody changed the protection of {slice}; again {what}"));
        } else {
            messages::SliceProtected { slice: &slice }
                .emit(format_args!("protected {slice}: {what}"));
            self.told.push(slice.to_owned());
        }
    }

    async fn oomd(&self) -> Option<Problem> {
        let slice = slices::oomd_above_pods(self.connection.as_ref()?).await?;
        let problem = Problem::new(Trouble::Oomd, oomd_said(slice));
        Some(problem.with_remedy(vec![oomd_remedy(slice)]))
    }
}

/// None where no target is set.
fn disks_in_use(roots: &Roots, settings: &Settings) -> Disks {
    let settings = &settings.protection;
    let target = settings.io_latency_target.or(settings.pods_io_latency_target);
    target.map_or_else(Disks::new, |_| disks::in_use(roots))
}
