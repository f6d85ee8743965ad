//! A simulator of one pod's memory: pages from recorded accesses of real programs (tests/traces),
//! reclaimed coldest first, with the kernel's averages of waiting. It uses neither a kernel nor a
//! clock.

use std::time::Duration;

use crate::{
    fixtures,
    model::{
        clock::SinceBoot,
        pod::PodUid,
        reclaim::{Look, NodeLook, PodMemory, Reclaimed, Some as Stalls},
    },
};

/// Bytes that one read from swap returns: `vm.page-cluster` is 3. Each traced page stands for this
/// many.
const CLUSTER: u64 = 8 * 4096;
/// The time that a process waits for such a read, in microseconds.
const READ_MICROS: u64 = 300;
/// The kernel's order is not exact: this many of a thousand pages leave though they are not the
/// coldest.
const WRONG: u64 = 30;

/// The second at which the growing program has grown.
const BEGIN: usize = 60;

/// A pseudo-random sequence, the same in each run.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end.max(1)
    }
}

#[derive(Clone, Copy)]
struct Page {
    accessed: u64,
    out: bool,
}

/// The accesses of each second: clusters of each chunk.
pub(super) type Trace = Vec<Vec<u64>>;

pub(super) fn trace(text: &str) -> Trace {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(' ').skip(1).map(|n| n.parse().unwrap()).collect()).collect()
}

pub(super) struct TracedPod {
    trace: Trace,
    chunks: Vec<Vec<Page>>,
    chance: Chance,
    pub(super) second: u64,
    pub(super) memory: PodMemory,
    waited: u64,
    waited_since: u64,
    /// Sums over the seconds.
    pub(super) offloaded_bytes: u64,
    pub(super) waited_micros: u64,
    pub(super) written_bytes: u64,
}

/// More than the pod's memory.
const GRANT: u64 = 2 << 30;

impl TracedPod {
    pub(super) fn new(trace: Trace, seed: u64) -> Self {
        let mut pod = Self {
            trace,
            chunks: Vec::new(),
            chance: Chance(seed.max(1)),
            second: 0,
            memory: PodMemory::default(),
            waited: 0,
            waited_since: 0,
            offloaded_bytes: 0,
            waited_micros: 0,
            written_bytes: 0,
        };
        pod.memory.swap_max_bytes = Some(GRANT);
        pod.memory.io = Some(Stalls::default());
        pod
    }

    /// Runs the next second of the trace. After its end it starts over, with all memory in RAM.
    pub(super) fn tick(&mut self) {
        let (at, all) = (usize::try_from(self.second).unwrap(), self.trace.len());
        let at = if at < all { at } else { BEGIN + (at - all) % (all - BEGIN) };
        let row = self.trace[at].clone();
        let mut waited = 0;
        for (chunk, count) in row.iter().enumerate() {
            if chunk == self.chunks.len() {
                let new = Page { accessed: self.second, out: false };
                self.chunks.push(vec![new; 256]);
            }
            for nth in 0..*count {
                let page = if *count == 256 { nth } else { self.chance.below(256) };
                let page = &mut self.chunks[chunk][usize::try_from(page).unwrap()];
                page.accessed = self.second;
                if std::mem::take(&mut page.out) {
                    waited += READ_MICROS;
                    self.memory.refaults_anon_pages += CLUSTER / 4096;
                }
            }
        }
        self.second += 1;
        self.wait(waited.min(1_000_000));
        self.count();
        self.offloaded_bytes += self.memory.swap_bytes;
    }

    /// Updates the averages as the kernel does, every two seconds.
    #[expect(clippy::cast_precision_loss)]
    pub(super) fn wait(&mut self, micros: u64) {
        self.waited_micros += micros;
        self.waited += micros;
        self.memory.memory.total_micros += micros;
        if self.second.is_multiple_of(2) {
            let percent = (self.waited - self.waited_since) as f64 / 20_000.0;
            self.waited_since = self.waited;
            let stalls = &mut self.memory.memory;
            for (average, span) in [(&mut stalls.avg10, 10.0), (&mut stalls.avg60, 60.0)] {
                let kept = (-2.0_f64 / span).exp();
                *average = *average * kept + percent * (1.0 - kept);
            }
        }
    }

    fn count(&mut self) {
        let out = self.chunks.iter().flatten().filter(|page| page.out).count() as u64;
        let all = self.chunks.iter().map(Vec::len).sum::<usize>() as u64;
        self.memory.swap_bytes = out * CLUSTER;
        self.memory.anon_bytes = (all - out) * CLUSTER;
        self.memory.current_bytes = self.memory.anon_bytes;
    }

    pub(super) fn look(&self, uid: &PodUid) -> Look {
        Look { uid: uid.clone(), memory: Some(self.memory.clone()), left_alone: None }
    }

    /// Does what the kernel does for a write to `memory.reclaim`.
    pub(super) fn reclaim(&mut self, bytes: u64) -> Reclaimed {
        let wanted = bytes.div_ceil(CLUSTER);
        let mut coldest: Vec<(u64, usize, usize)> = Vec::new();
        for (chunk, pages) in self.chunks.iter().enumerate() {
            for (page, state) in pages.iter().enumerate().filter(|(_, state)| !state.out) {
                let wrong = self.chance.below(1000) < WRONG;
                let rank =
                    if wrong { self.chance.below(state.accessed + 1) } else { state.accessed };
                coldest.push((rank, chunk, page));
            }
        }
        coldest.sort_unstable();
        let mut done = 0;
        for (_, chunk, page) in coldest.into_iter().take(usize::try_from(wanted).unwrap()) {
            self.chunks[chunk][page].out = true;
            done += CLUSTER;
        }
        self.count();
        self.written_bytes += done;
        Reclaimed {
            asked_bytes: bytes,
            swapped_bytes: done,
            freed_bytes: done,
            exhausted: done < bytes,
            ..Reclaimed::default()
        }
    }
}

/// Returns a node without load at this second.
pub(super) fn calm(second: u64) -> NodeLook {
    let at = SinceBoot(Duration::from_secs(second));
    NodeLook {
        at,
        swap_bytes: 16 << 30,
        swap_used_bytes: 0,
        page_bytes: 4096,
        nearest_signal: Some(0.2),
        disk_queue: Some(0.1),
        sampled: at,
        pods_are_fresh: true,
    }
}

pub(super) fn uid(name: &str) -> PodUid {
    fixtures::pod(name, &[]).uid
}
