//! Decides whether evicting a pod frees enough, and whether the pod contributes to the pressure.

use std::fmt;

use super::{efforts::Efforts, select::Ranked, signals::Reading};
use crate::{
    config::settings::{EvictionSettings, Signal},
    model::swap::human_bytes,
};

/// A pod whose processes wait for a smaller share of time takes no part in the pressure.
const WAITS_PERCENT: f64 = 1.0;

/// The requirements that the active signals place on a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Evicting a pod that frees less is not worthwhile.
    least_bytes: u64,
    missing_bytes: u64,
    /// All active signals measure movement: traffic or pressure.
    movement: bool,
    /// Only pods at their own memory limit wait.
    own_limits: bool,
}

/// The reason for not evicting a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfitness {
    FreesTooLittle { frees_bytes: u64, missing_bytes: u64 },
    NotInvolved,
    NotAtLimit,
}

impl fmt::Display for Unfitness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FreesTooLittle { frees_bytes, missing_bytes } => write!(
                f,
                "would free only {} of about {} that are missing",
                human_bytes(*frees_bytes),
                human_bytes(*missing_bytes)
            ),
            Self::NotInvolved => {
                f.write_str("is within its request, uses no swap and does not wait for memory")
            }
            Self::NotAtLimit => {
                f.write_str("does not cause the traffic of pods at their own memory limit")
            }
        }
    }
}

impl Need {
    pub fn of(settings: &EvictionSettings, active: &[&Reading], only_own_limits: bool) -> Self {
        // A pod is worthwhile if it satisfies one of the signals.
        let missing_bytes = active.iter().map(|reading| reading.missing_bytes).min().unwrap_or(0);
        let share = u128::from(missing_bytes) * u128::from(settings.min_relief_percent) / 100;
        let of = |signal: Signal| active.iter().all(|reading| reading.signal == signal);
        Self {
            least_bytes: u64::try_from(share).unwrap_or(u64::MAX),
            missing_bytes,
            movement: active.iter().all(|reading| reading.signal.is_of_movement()),
            own_limits: only_own_limits && of(Signal::Traffic),
        }
    }

    /// The requirements once a signal has been active for long: a tenth of the share, but at least
    /// a thousandth of RAM.
    pub fn in_the_end(self, ram_bytes: u64) -> Self {
        let least_bytes = self.least_bytes.min((self.least_bytes / 10).max(ram_bytes / 1000));
        Self { least_bytes, ..self }
    }

    /// Checks the pod against these requirements.
    ///
    /// # Errors
    /// The reason for not evicting the pod.
    pub fn is_met_by(&self, pod: &Ranked, efforts: &Efforts) -> Result<(), Unfitness> {
        if self.own_limits && !efforts.is_at_own_limit(&pod.uid) {
            return Err(Unfitness::NotAtLimit);
        }
        let known = efforts.knows(&pod.uid);
        let moves = pod.pages_per_second > 0 || efforts.waits_percent(&pod.uid) >= WAITS_PERCENT;
        let quiet = !known || !moves;
        if self.movement && quiet && pod.swap_bytes == 0 && pod.above_request == 0 {
            return Err(Unfitness::NotInvolved);
        }
        if pod.frees_bytes < self.least_bytes {
            let (frees_bytes, missing_bytes) = (pod.frees_bytes, self.missing_bytes);
            return Err(Unfitness::FreesTooLittle { frees_bytes, missing_bytes });
        }
        Ok(())
    }
}
