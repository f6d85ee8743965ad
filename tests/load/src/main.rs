//! `test-load`: a workload for the node tests. It holds memory of which a part is hot, serves
//! requests that touch pages of the hot part, measures each of them, and can record the accessed
//! memory.
//!
//! usage: `test-load [mib=64] [hot=16] [pattern=idle|half-idle|bursty|periodic|growing|scanning]
//! [seconds=600] [requests=20] [pages=64] [fill=random|half] [report=FILE] [record=FILE] [times=FILE] [seed=1]`
//!
//! The report has a line per second: second, requests, and p50, p99 and the maximum in
//! microseconds. The record has a line per second: for each MiB, the number of pages that the
//! kernel has seen referenced within it. The
//! file of times has a line a second: for each request the microseconds that it took, and those in which it was
//! blocked: neither on the CPU nor ready to run. Only the latter are comparable on a busy machine.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::Write as _,
    os::unix::fs::FileExt as _,
    time::{Duration, Instant},
};

use crate::memory::{CHUNK, Memory, PAGE};

mod memory;

struct Wanted {
    mib: usize,
    hot: usize,
    pattern: String,
    seconds: u64,
    requests: u32,
    pages: usize,
    half: bool,
    report: Option<String>,
    record: Option<String>,
    times: Option<String>,
    seed: u64,
}

fn wanted() -> Result<Wanted, String> {
    let mut wanted = Wanted {
        mib: 64,
        hot: 16,
        pattern: "half-idle".to_owned(),
        seconds: 600,
        requests: 20,
        pages: 64,
        half: false,
        report: None,
        record: None,
        times: None,
        seed: 1,
    };
    for argument in std::env::args().skip(1) {
        let (key, value) = argument.split_once('=').ok_or(format!("{argument}: not KEY=VALUE"))?;
        let number = || value.parse::<u64>().map_err(|error| format!("{argument}: {error}"));
        let small = || number().and_then(|n| usize::try_from(n).map_err(|e| e.to_string()));
        match key {
            "mib" => wanted.mib = small()?,
            "hot" => wanted.hot = small()?,
            "pattern" => value.clone_into(&mut wanted.pattern),
            "seconds" => wanted.seconds = number()?,
            "requests" => wanted.requests = u32::try_from(number()?).map_err(|e| e.to_string())?,
            "pages" => wanted.pages = small()?,
            "fill" => wanted.half = value == "half",
            "report" => wanted.report = Some(value.to_owned()),
            "record" => wanted.record = Some(value.to_owned()),
            "times" => wanted.times = Some(value.to_owned()),
            "seed" => wanted.seed = number()?,
            _ => return Err(format!("{argument}: no such key")),
        }
    }
    Ok(wanted)
}

/// Nanoseconds in which this program was ready to run and another one had the CPU.
///
/// Source: Linux `Documentation/scheduler/sched-stats.rst`, "/proc/<pid>/schedstat".
fn queued(file: &File) -> u64 {
    let mut text = [0; 80];
    let length = file.read_at(&mut text, 0).unwrap_or(0);
    let text = std::str::from_utf8(&text[..length]).unwrap_or_default();
    text.split(' ').nth(1).and_then(|field| field.parse().ok()).unwrap_or(0)
}

/// The number of the only thread.
#[allow(unsafe_code, clippy::cast_sign_loss, clippy::cast_possible_truncation)]
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes into a local variable.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn main() -> Result<(), String> {
    let wanted = wanted()?;
    let failed = |error: std::io::Error| error.to_string();
    let mut random = fastrand::Rng::with_seed(wanted.seed);
    let growing = wanted.pattern == "growing";
    let mut memory =
        Memory::new(if growing { wanted.hot } else { wanted.mib }, wanted.half).map_err(failed)?;
    let create = |path: &Option<String>| path.as_ref().map(File::create).transpose();
    let mut report = create(&wanted.report).map_err(failed)?;
    let mut record = create(&wanted.record).map_err(failed)?;
    let mut times = create(&wanted.times).map_err(failed)?;
    let schedule = File::open("/proc/self/schedstat").map_err(failed)?;
    let start = Instant::now();
    for second in 0..wanted.seconds {
        if record.is_some() {
            // Clears the mark "referenced" of every page.
            fs::write("/proc/self/clear_refs", "1").map_err(failed)?;
        }
        match wanted.pattern.as_str() {
            "bursty" if second % 60 < 3 && second >= 60 => memory.touch(0, memory.chunks()),
            "periodic" if second % 20 == 10 => {
                let quarter = memory.chunks() / 4;
                let at = usize::try_from(second / 20).unwrap_or(0) % 4;
                memory.touch(at * quarter, (at + 1) * quarter);
            }
            "scanning" => {
                let at = usize::try_from(second).unwrap_or(0) * 2 % memory.chunks();
                memory.touch(at, (at + 2).min(memory.chunks()));
            }
            "growing" if memory.chunks() < wanted.mib && second % 2 == 0 => {
                memory.grow(wanted.half).map_err(failed)?;
            }
            _ => {}
        }
        let mut took = Vec::new();
        let mut line = second.to_string();
        if wanted.pattern != "idle" {
            for request in 0..wanted.requests {
                let cpu_before = cpu_time();
                let queued_before = if times.is_some() { queued(&schedule) } else { 0 };
                let began = Instant::now();
                for _ in 0..wanted.pages {
                    let page = random.usize(0..wanted.hot.max(1) * CHUNK / PAGE);
                    memory.touch_page(page);
                }
                let took_now = began.elapsed();
                took.push(took_now.as_micros());
                if times.is_some() {
                    let queued = Duration::from_nanos(queued(&schedule) - queued_before);
                    let used = cpu_time().saturating_sub(cpu_before) + queued;
                    let blocked = took_now.saturating_sub(used);
                    let _ = write!(line, " {}/{}", took_now.as_micros(), blocked.as_micros());
                }
                let due = Duration::from_secs(second)
                    + Duration::from_secs(1) * (request + 1) / wanted.requests;
                if let Some(pause) = due.checked_sub(start.elapsed()) {
                    std::thread::sleep(pause);
                }
            }
        }
        let due = Duration::from_secs(second + 1);
        if let Some(pause) = due.checked_sub(start.elapsed()) {
            std::thread::sleep(pause);
        }
        if let Some(times) = &mut times {
            line.push('\n');
            times.write_all(line.as_bytes()).map_err(failed)?;
        }
        took.sort_unstable();
        let of = |percent: usize| took.get(took.len() * percent / 100).copied().unwrap_or(0);
        if let Some(report) = &mut report {
            let longest = took.last().copied().unwrap_or(0);
            let line = format!("{second} {} {} {} {longest}\n", took.len(), of(50), of(99));
            report.write_all(line.as_bytes()).map_err(failed)?;
        }
        if let Some(record) = &mut record {
            let mut line = second.to_string();
            for pages in memory.referenced().map_err(failed)? {
                let _ = write!(line, " {pages}");
            }
            line.push('\n');
            record.write_all(line.as_bytes()).map_err(failed)?;
        }
    }
    Ok(())
}
