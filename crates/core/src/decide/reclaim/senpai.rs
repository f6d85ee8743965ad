//! The baseline: Senpai's "immediate backoff" as its authors publish it for oomd, with its
//! defaults, except the floor of 100 MiB, which is the agent's.
//!
//! Source: facebookincubator/oomd 0dad5f9, `src/oomd/plugins/Senpai.cpp`, `tick_immediate_backoff`:
//! every 6 ticks of a second it reclaims 1 % of the memory above the floor. It does so only while
//! the larger of avg10 and avg60 is below 0.1, for memory and for IO.

use crate::model::reclaim::{PodMemory, Some as Stalls};

const TICKS: u64 = 6;
const PRESSURE_PERCENT: f64 = 0.1;
const PROBE: u64 = 100;

/// How many bytes to reclaim in this second from a cgroup that keeps `floor`.
pub fn senpai(second: u64, memory: &PodMemory, floor: u64) -> u64 {
    let calm = |stalls: Stalls| stalls.avg10.max(stalls.avg60) < PRESSURE_PERCENT;
    let unreclaimable =
        memory.current_bytes.saturating_sub(memory.anon_bytes).saturating_sub(memory.file_bytes);
    if second.is_multiple_of(TICKS + 1) && calm(memory.memory) && memory.io.is_none_or(calm) {
        memory.current_bytes.saturating_sub(floor + unreclaimable) / PROBE
    } else {
        0
    }
}
