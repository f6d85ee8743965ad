//! Memory pressure, and its effect on a service: an allocator, the kubelet's view of available
//! memory, a simulation of the kubelet's file working set, and small requests to the disk.

use std::{
    fs::{self, File, OpenOptions},
    io::{Write as _, stdout},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use clap::Subcommand;
use nix::{
    fcntl::{PosixFadviseAdvice, posix_fadvise},
    sys::mman::{MlockAllFlags, mlockall},
};

const MIB: usize = 1 << 20;
const PAGE: usize = 4096;

#[derive(Subcommand)]
pub(crate) enum Thrash {
    /// Fill this number of MiB of anonymous memory as fast as possible; print how long it took and
    /// the rate; then hold it until killed
    Allocate {
        mib: usize,
        /// Create this file when the memory is full
        #[arg(long, value_name = "FILE")]
        done: Option<PathBuf>,
        /// Touch all of it repeatedly in random order, and append the number of pages that were
        /// touched to this file each second
        #[arg(long, value_name = "FILE")]
        again: Option<PathBuf>,
    },
    /// Sample available memory as the kubelet computes it, and print the lowest value, when it first
    /// fell below the threshold, and when the first page was swapped out
    Available {
        /// The kubelet's threshold
        #[arg(long)]
        below_mib: u64,
        /// Sample until this file exists, but at most five minutes
        #[arg(long, value_name = "FILE")]
        until: PathBuf,
        #[arg(long, default_value_t = 5)]
        every_ms: u64,
    },
    /// Read a file of this number of MiB completely in random order, as a kubelet uses its binary
    /// and its state. Print for each round when it ended, in ms since 1970, and how long it took
    Heartbeat {
        file: PathBuf,
        #[arg(long)]
        mib: usize,
        #[arg(long, default_value_t = 1000)]
        every_ms: u64,
        #[arg(long)]
        rounds: u32,
    },
    /// Time small writes with fsync, and requests as a container runtime serves them: start a program,
    /// read its output, write the state and flush it
    Requests {
        folder: PathBuf,
        #[arg(long, default_value_t = 200)]
        every_ms: u64,
        #[arg(long)]
        rounds: u32,
    },
}

pub(crate) fn run(thrash: Thrash) -> Result<()> {
    match thrash {
        Thrash::Allocate { mib, done, again } => allocate(mib, done.as_deref(), again.as_deref()),
        Thrash::Available { below_mib, until, every_ms } => {
            available(below_mib * 1024, &until, every_ms)
        }
        Thrash::Heartbeat { file, mib, every_ms, rounds } => {
            heartbeat(&file, mib, Duration::from_millis(every_ms), rounds)
        }
        Thrash::Requests { folder, every_ms, rounds } => {
            requests(&folder, Duration::from_millis(every_ms), rounds)
        }
    }
}

fn allocate(mib: usize, done: Option<&Path>, again: Option<&Path>) -> Result<()> {
    let start = Instant::now();
    let mut memory = vec![0_u8; mib * MIB];
    // Not zeros: some kernels store pages of zeros without IO.
    memory.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    let ms = start.elapsed().as_millis().max(1);
    println!("allocated_mib={mib} ms={ms} mib_per_s={}", mib as u128 * 1000 / ms);
    stdout().flush()?;
    if let Some(done) = done {
        fs::write(done, "")?;
    }
    let Some(file) = again else {
        loop {
            sleep(Duration::from_secs(3600));
        }
    };
    let mut log = OpenOptions::new().create(true).append(true).open(file)?;
    let (mut pages, mut since) = (0_u64, Instant::now());
    loop {
        let page = fastrand::usize(..memory.len() / PAGE) * PAGE;
        memory[page] = memory[page].wrapping_add(1);
        pages += 1;
        if pages.is_multiple_of(64) && since.elapsed() >= Duration::from_secs(1) {
            writeln!(log, "{}", u128::from(pages) * 1000 / since.elapsed().as_millis())?;
            (pages, since) = (0, Instant::now());
        }
    }
}

/// Returns a field of `/proc/meminfo` or `/proc/vmstat`.
fn field(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).context(name.to_owned())?;
    let digits = line.trim_start_matches(':').split_whitespace().next().context("no number")?;
    Ok(digits.parse()?)
}

/// Source: opencontainers/cgroups, `rootStatsFromMeminfo`, and the kubelet's `memory.available =
/// capacity - (usage - inactive_file)`; older kubelets take usage as `MemTotal - MemFree`. The
/// lower of both counts.
fn available(threshold_kib: u64, until: &Path, every_ms: u64) -> Result<()> {
    stay()?;
    let start = Instant::now();
    let swapped = || field(&fs::read_to_string("/proc/vmstat")?, "pswpout");
    let before = swapped()?;
    let (mut lowest, mut lowest_new, mut below) = (u64::MAX, u64::MAX, 0_u64);
    let (mut first_below, mut first_swap) = (None, None);
    while !until.exists() && start.elapsed() < Duration::from_secs(300) {
        let text = fs::read_to_string("/proc/meminfo")?;
        let inactive = field(&text, "Inactive(file)")?;
        let now = field(&text, "MemFree")? + inactive;
        let used = field(&text, "AnonPages")? + field(&text, "Cached")? + field(&text, "Buffers")?;
        lowest_new = lowest_new.min((field(&text, "MemTotal")? + inactive).saturating_sub(used));
        lowest = lowest.min(now);
        let ms = start.elapsed().as_millis();
        if now < threshold_kib {
            below += 1;
            first_below.get_or_insert(ms);
        }
        if first_swap.is_none() && swapped()? > before {
            first_swap = Some(ms);
        }
        sleep(Duration::from_millis(every_ms));
    }
    let shown = |ms: Option<u128>| ms.map_or_else(|| "never".to_owned(), |ms| ms.to_string());
    println!(
        "lowest_mib={} lowest_as_from_1.29_mib={} samples_below={below} first_below_ms={} \
         first_swap_ms={} swapped_out_mib={}",
        lowest / 1024,
        lowest_new / 1024,
        shown(first_below),
        shown(first_swap),
        (swapped()? - before) * PAGE as u64 / MIB as u64,
    );
    Ok(())
}

/// Locks this program into memory, because the meter itself must not wait for memory.
fn stay() -> Result<()> {
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE).context("mlockall")
}

fn heartbeat(path: &Path, mib: usize, every: Duration, rounds: u32) -> Result<()> {
    if !path.exists() {
        let mut file = File::create(path)?;
        let block: Vec<u8> = (0..MIB).map(|_| fastrand::u8(..)).collect();
        (0..mib).try_for_each(|_| file.write_all(&block))?;
        file.sync_all()?;
    }
    let file = File::open(path)?;
    // As page faults: without readahead.
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_RANDOM)?;
    let mut pages: Vec<u64> = (0..(mib * MIB / PAGE) as u64).collect();
    let mut times = Vec::new();
    let mut byte = [0];
    for _ in 0..rounds {
        fastrand::shuffle(&mut pages);
        let start = Instant::now();
        for page in &pages {
            file.read_exact_at(&mut byte, page * PAGE as u64)?;
        }
        let took = start.elapsed();
        let end = SystemTime::now().duration_since(UNIX_EPOCH)?;
        println!("end_ms={} round_ms={}", end.as_millis(), took.as_millis());
        stdout().flush()?;
        times.push(took);
        sleep(every.saturating_sub(took));
    }
    println!("heartbeat: {}", summary(&mut times));
    Ok(())
}

fn requests(folder: &Path, every: Duration, rounds: u32) -> Result<()> {
    let (mut writes, mut served) = (Vec::new(), Vec::new());
    let state = folder.join("state");
    let write = |bytes: &[u8]| -> Result<()> {
        let mut file = File::create(&state)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(())
    };
    for _ in 0..rounds {
        let start = Instant::now();
        write(&[b'x'; PAGE])?;
        writes.push(start.elapsed());
        let start = Instant::now();
        let output =
            Command::new("crun").arg("--version").stderr(Stdio::null()).output().context("crun")?;
        ensure!(output.status.success(), "crun --version failed");
        write(&output.stdout)?;
        served.push(start.elapsed());
        sleep(every.saturating_sub(start.elapsed()));
    }
    println!("fsync: {}", summary(&mut writes));
    println!("request: {}", summary(&mut served));
    Ok(())
}

fn summary(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |percent: usize| {
        times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)))
    };
    let ms = |percent| at(percent).map_or(0, Duration::as_millis);
    format!("median_ms={} p90_ms={} max_ms={}", ms(50), ms(90), ms(100))
}
