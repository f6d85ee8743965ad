//! Measures how long files take to get a value, by inotify: polling would distort the measurement.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// Runs `act`, and returns the ms from its end until every file has `value`.
pub(crate) fn until(
    files: &[PathBuf],
    value: &str,
    timeout_secs: u64,
    act: impl FnOnce() -> Result<()>,
) -> Result<u128> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK)?;
    for file in files {
        inotify
            .add_watch(file, AddWatchFlags::IN_MODIFY)
            .with_context(|| format!("watch {}", file.display()))?;
    }
    act()?;
    let start = Instant::now();
    let deadline = Duration::from_secs(timeout_secs);
    loop {
        let mut wrong = Vec::new();
        for file in files {
            let now =
                fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
            if now.trim() != value {
                wrong.push(format!("{} is {}", file.display(), now.trim()));
            }
        }
        if wrong.is_empty() {
            return Ok(start.elapsed().as_millis());
        }
        if start.elapsed() > deadline {
            bail!("not {value} after {timeout_secs} s: {}", wrong.join(", "));
        }
        poll(&mut [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)], PollTimeout::from(200u8))?;
        // The events only wake this loop; their content does not matter.
        let _ = inotify.read_events();
    }
}

/// Runs `act`, and returns the time for which the file had `value`, until it has had another one for `settle` after the
/// end of `act`.
pub(crate) fn time_at(
    file: &Path,
    value: &str,
    settle: Duration,
    timeout: Duration,
    act: impl FnOnce() -> Result<()> + Send,
) -> Result<Duration> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK)?;
    inotify
        .add_watch(file, AddWatchFlags::IN_MODIFY)
        .with_context(|| format!("watch {}", file.display()))?;
    let has_value = || -> Result<bool> {
        let now = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        Ok(now.trim() == value)
    };
    thread::scope(|scope| {
        let act = scope.spawn(act);
        let start = Instant::now();
        let (mut last, mut other_since, mut total) = (start, start, Duration::ZERO);
        let mut had_value = has_value()?;
        while had_value || !act.is_finished() || other_since.elapsed() < settle {
            if start.elapsed() > timeout {
                bail!("{} is {value} or changes for {timeout:?}", file.display());
            }
            poll(&mut [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)], PollTimeout::from(100u8))?;
            let _ = inotify.read_events();
            let now = Instant::now();
            if had_value {
                total += now - last;
            }
            had_value = has_value()?;
            if had_value || !act.is_finished() {
                other_since = now;
            }
            last = now;
        }
        act.join().map_err(|_| anyhow!("the command panicked"))??;
        Ok(total)
    })
}
