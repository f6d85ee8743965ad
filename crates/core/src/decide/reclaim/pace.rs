//! Sets the pace at which the agent reclaims memory from one pod, by the pod's reactions.
//!
//! The pace grows while the pod does not react, and drops to the minimum when it does. Reclaim then
//! pauses for minutes, longer each time. If the pod immediately read back much, the memory that it
//! held at that time is its working set. Reclaim does not go below it for several pauses.

use std::time::Duration;

use super::{
    INTERVAL, News,
    gates::{self, pressure},
};
use crate::{
    config::settings::ReclaimSettings,
    model::{
        clock::SinceBoot,
        pod::PodUid,
        reclaim::{HeldBack, Look, NodeLook, PodMemory, Reclaimed},
    },
};

/// The smallest and the largest share of the reclaimable memory that one step takes.
const LEAST_PACE: f64 = 0.01;
const MOST_PACE: f64 = 0.08;
/// Bytes of a step when little is left, so that the rest leaves too.
const SMALL_STEP: f64 = 256.0 * 1024.0;
/// The factor by which the pace grows with each step that the pod does not notice.
const FASTER: f64 = 1.4;
/// The pause after a pod's first reaction; each further reaction doubles it.
const PAUSE: Duration = Duration::from_secs(120);
const LONGEST_PAUSE: Duration = Duration::from_secs(1800);
/// If this share of the reclaimed bytes returns immediately, the memory was not cold: the pod needs
/// all of its memory.
const MUCH: f64 = 0.2;
/// The number of pauses for which a learned working set stays valid.
const BELIEVED: u32 = 4;
/// The period over which reclaimed and returned bytes are compared.
const WINDOW: Duration = Duration::from_secs(300);
/// Bytes that may return regardless of the amount reclaimed: 16 reads from swap, of 8 pages each
/// (`vm.page-cluster`).
const UNNOTICED: f64 = 512.0 * 1024.0;
/// A look that is later than this after the one before has no base.
const LONGEST_GAP: Duration = Duration::from_secs(30);

crate::vocabulary! {
    /// The phase of a pod.
    #[derive(Default)]
    pub enum Phase {
        #[default]
        Waiting = "waiting",
        Reclaiming = "reclaiming",
        BackingOff = "backing-off",
    }
}

/// The state of reclaim for a pod, for status and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Learned {
    pub phase: Phase,
    pub held: Option<HeldBack>,
    /// Bytes in swap now.
    pub offloaded_bytes: u64,
    /// Bytes asked for since the agent watches the pod; in mode "observe": bytes that it would have
    /// asked for.
    pub asked_bytes: u64,
    pub refaults_per_minute: f64,
    pub pressure_percent: f64,
    pub working_set_bytes: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    last: Option<(SinceBoot, PodMemory)>,
    last_step: Option<SinceBoot>,
    in_progress: bool,
    pace: f64,
    /// These values decay over time.
    reclaimed: f64,
    returned: f64,
    /// The part of `returned` that a pause has answered for.
    answered: f64,
    until: Option<SinceBoot>,
    pause: Duration,
    /// The time at which the last pause no longer counts.
    forgiven: Option<SinceBoot>,
    /// The learned working set, and the time until which it is valid.
    needs: Option<(u64, SinceBoot)>,
    /// Only in mode "observe": bytes that would have left.
    imagined: u64,
    /// Reclaim has taken all that it can from the pod: the pod needs the memory that it holds.
    settled: bool,
    asked: u64,
    pressure: f64,
    phase: Phase,
    said: Phase,
    why: Option<HeldBack>,
    pub(super) held: Option<HeldBack>,
}

impl Pace {
    pub(super) fn last_step(&self) -> Option<SinceBoot> {
        self.last_step
    }

    /// Reads the pod's figures; returns the bytes to reclaim now.
    pub(super) fn look(
        &mut self,
        settings: &ReclaimSettings,
        node: &NodeLook,
        look: &Look,
    ) -> Result<u64, HeldBack> {
        let now = node.at;
        let Some(memory) = &look.memory else {
            self.last = None;
            return Err(look.left_alone.unwrap_or(HeldBack::Unreadable));
        };
        let before = self.last.replace((now, memory.clone()));
        let before = before.filter(|(at, _)| now > *at && now.since(*at) <= LONGEST_GAP);
        let Some((at, before)) = before else { return Err(HeldBack::FirstLook) };
        self.answer(settings, node, memory, &before, now.since(at))?;
        if let Some(held) = look.left_alone {
            return Err(held);
        }
        if self.in_progress {
            return Err(HeldBack::InProgress);
        }
        self.wish(settings, node, memory)
    }

    /// Returns an error if the pod has noticed that memory left it.
    #[expect(clippy::cast_precision_loss, reason = "shares and sums that fade")]
    fn answer(
        &mut self,
        settings: &ReclaimSettings,
        node: &NodeLook,
        memory: &PodMemory,
        before: &PodMemory,
        span: Duration,
    ) -> Result<(), HeldBack> {
        let pages = memory.refaults_anon_pages.saturating_sub(before.refaults_anon_pages)
            + memory.refaults_file_pages.saturating_sub(before.refaults_file_pages);
        let fade = (-span.as_secs_f64() / WINDOW.as_secs_f64()).exp();
        let returned = pages.saturating_mul(node.page_bytes) as f64;
        self.reclaimed *= fade;
        self.returned = self.returned * fade + returned;
        self.answered *= fade;
        let waits = pressure(memory.memory, before.memory, span);
        let io = memory.io.zip(before.io).map_or(0.0, |(now, old)| pressure(now, old, span));
        self.pressure = waits.max(io);
        let allowed = (self.reclaimed * settings.max_refault_percent / 100.0).max(UNNOTICED);
        let why = if waits >= settings.max_pressure_percent {
            HeldBack::MemoryPressure
        } else if io >= settings.max_pressure_percent {
            HeldBack::IoPressure
        } else if self.returned - self.answered > allowed {
            HeldBack::Refaults
        } else {
            return match self.until {
                Some(until) if node.at < until => Err(HeldBack::BackingOff),
                _ => Ok(()),
            };
        };
        let much = returned >= (self.reclaimed * MUCH).max(UNNOTICED * 2.0);
        self.back_off(node.at, why, memory.current_bytes, much);
        Err(why)
    }

    /// Starts a pause. If `much` has returned, the memory that the pod holds now is its working
    /// set.
    fn back_off(&mut self, now: SinceBoot, why: HeldBack, current_bytes: u64, much: bool) {
        self.pace = LEAST_PACE;
        self.answered = self.returned;
        let backing_off = self.until.is_some_and(|until| now < until);
        let asked_before = self.last_step.is_some();
        // This is a late part of the same reaction, so it does not count again.
        if !backing_off && asked_before {
            let forgiven = self.forgiven.is_some_and(|at| now >= at);
            self.pause = match (self.pause.is_zero(), forgiven) {
                (true, _) => PAUSE,
                (_, true) => (self.pause / 2).max(PAUSE),
                (_, false) => (self.pause * 2).min(LONGEST_PAUSE),
            };
            self.why = Some(why);
        }
        let pause = self.pause.max(PAUSE);
        self.until = Some(now + pause);
        self.forgiven = Some(now + pause * 2 * BELIEVED);
        if asked_before {
            self.settle();
            self.phase = Phase::BackingOff;
            let going_on = self.needs.filter(|_| backing_off);
            if much || going_on.is_some() {
                let needed = going_on.map_or(0, |(bytes, _)| bytes);
                self.needs = Some((current_bytes.max(needed), now + pause * BELIEVED));
            }
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a size"
    )]
    fn wish(
        &mut self,
        settings: &ReclaimSettings,
        node: &NodeLook,
        memory: &PodMemory,
    ) -> Result<u64, HeldBack> {
        if self.phase == Phase::BackingOff {
            self.phase = Phase::Waiting;
        }
        let limit = memory.swap_max_bytes.unwrap_or(node.swap_bytes);
        let room = gates::room(settings, limit, memory.swap_bytes);
        if room == 0 {
            self.settle();
            return Err(HeldBack::PodSwap);
        }
        let mut floor = gates::floor(settings, memory);
        if let Some((bytes, until)) = self.needs
            && node.at < until
        {
            floor = floor.max(bytes);
        }
        let current = memory.current_bytes.saturating_sub(self.imagined);
        let above = current.saturating_sub(floor);
        let reclaimable = above.min(memory.anon_bytes.saturating_add(memory.file_bytes));
        if reclaimable == 0 {
            self.settle();
            return Err(HeldBack::Floor);
        }
        let calm = 1.0 - self.pressure / settings.max_pressure_percent;
        let share = self.pace.max(LEAST_PACE) * calm.clamp(0.0, 1.0);
        // A share of the memory that is left, so that the steps are small when only hot memory is
        // left: the kernel's order is not exact, and the pod reacts after a step at the earliest.
        let step = (reclaimable as f64 * share).max(SMALL_STEP * calm.clamp(0.0, 1.0)) as u64;
        Ok(step.min(above).min(room))
    }

    /// Records a step. Returns its swappiness: it prefers anonymous memory while swap has room.
    pub(super) fn asks(&mut self, settings: &ReclaimSettings, now: SinceBoot, bytes: u64) -> u8 {
        self.held = None;
        self.last_step = Some(now);
        self.in_progress = true;
        self.asked = self.asked.saturating_add(bytes);
        self.phase = Phase::Reclaiming;
        self.pace = (self.pace.max(LEAST_PACE) * FASTER).min(MOST_PACE);
        let Some((_, memory)) = &self.last else { return 0 };
        let Some(limit) = memory.swap_max_bytes.filter(|limit| *limit > 0) else { return 200 };
        let room = gates::room(settings, limit, memory.swap_bytes);
        let of = u128::from(limit) * u128::from(settings.max_swap_percent) / 100;
        u8::try_from(u128::from(room) * 200 / of.max(1)).unwrap_or(200).clamp(1, 200)
    }

    #[expect(clippy::cast_precision_loss, reason = "a sum that fades")]
    pub(super) fn reclaimed(&mut self, at: SinceBoot, done: Reclaimed) {
        self.in_progress = false;
        self.reclaimed += done.freed_bytes.max(done.swapped_bytes) as f64;
        self.asked = self.asked.saturating_sub(done.asked_bytes).saturating_add(done.freed_bytes);
        self.last_step = Some(at);
        if done.exhausted && done.freed_bytes < done.asked_bytes / 2 {
            // The kernel finds little: the rest is in use, or may not leave RAM. A pod is not searched
            // for more than a hundredth of the time.
            self.pace = LEAST_PACE;
            let searched = Duration::from_micros(done.micros.saturating_mul(100));
            self.until = self.until.max(Some(at + searched.clamp(PAUSE, LONGEST_PAUSE)));
            self.settle();
        }
    }

    /// Records that the pod has settled. A pod that was only observed, or not asked yet, shows
    /// nothing about its needs.
    fn settle(&mut self) {
        self.settled |= self.imagined == 0 && self.last_step.is_some();
    }

    pub(super) fn observed(&mut self, at: SinceBoot, bytes: u64) {
        self.in_progress = false;
        self.imagined = self.imagined.saturating_add(bytes);
        self.last_step = Some(at);
    }

    /// Returns the change since the last call.
    pub(super) fn news(&mut self, uid: &PodUid) -> Option<News> {
        let (before, now) = (self.said, self.phase);
        if now == Phase::Waiting || before == now {
            return None;
        }
        self.said = now;
        let uid = uid.clone();
        Some(match (now, self.why) {
            (Phase::BackingOff, Some(why)) => News::BackedOff { uid, why, pause: self.pause },
            _ => News::Began(uid),
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    pub(super) fn learned(&self) -> Learned {
        let per_window = self.returned / 4096.0;
        let memory = self.last.as_ref().map(|(_, memory)| memory);
        Learned {
            phase: self.phase,
            held: self.held,
            offloaded_bytes: memory.map_or(0, |memory| memory.swap_bytes),
            asked_bytes: self.asked,
            refaults_per_minute: per_window * 60.0 / WINDOW.as_secs() as f64,
            pressure_percent: self.pressure,
            working_set_bytes: self.working_set(),
        }
    }

    pub(super) fn working_set(&self) -> Option<u64> {
        self.last_step?;
        let current = self.last.as_ref().map(|(_, memory)| memory.current_bytes);
        self.needs.map(|(bytes, _)| bytes).or(current)
    }

    pub(super) fn settled_working_set(&self) -> Option<u64> {
        self.working_set().filter(|_| self.settled)
    }
}

/// Steps of a pod are never closer together than its looks.
const _: () = assert!(INTERVAL.as_secs() < LONGEST_GAP.as_secs());
