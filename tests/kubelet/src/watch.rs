//! Measures how long files take to get a value, by inotify: polling would distort the measurement.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
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
