//! A kernel timer that wakes the agent once for each due time.
//!
//! The runtime keeps its timers in a wheel, which wakes the process two or three times before a due
//! time that is seconds away. A timerfd (timerfd_create(2)) wakes it once.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, RawFd},
    time::{Duration, Instant},
};

use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use tokio::io::{Interest, unix::AsyncFd};

use super::events::registered;

/// One timer with one due time.
#[derive(Debug)]
pub struct Alarm {
    /// `None` if the kernel provides no timer (no free descriptor, a system call filter): then the
    /// runtime's wheel serves.
    timer: Option<AsyncFd<Timer>>,
    /// The due time of the timer; `None` once it has fired.
    set: Option<Instant>,
}

#[derive(Debug)]
struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Alarm {
    pub fn new() -> Self {
        let timer =
            timer().map_err(|error| tracing::debug!("cannot create a kernel timer: {error}"));
        Self { timer: timer.ok(), set: None }
    }

    /// Returns at `due`, not earlier. Cancel safe: the same due time leaves the timer unchanged.
    pub async fn at(&mut self, due: Instant) {
        while Instant::now() < due {
            if let Err(error) = self.wait(due).await {
                tracing::debug!("the kernel's timer failed: {error}");
                self.timer = None;
            }
        }
    }

    /// Waits for the timer, possibly less long.
    async fn wait(&mut self, due: Instant) -> io::Result<()> {
        let Some(timer) = &self.timer else {
            tokio::time::sleep_until(due.into()).await;
            return Ok(());
        };
        if self.set != Some(due) {
            // Zero would disarm the timer.
            let left = due.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
            let once = Expiration::OneShot(TimeSpec::from_duration(left));
            timer.get_ref().0.set(once, TimerSetTimeFlags::empty())?;
            self.set = Some(due);
        }
        let mut ready = timer.readable().await?;
        // An error means that reading would block: the timer was set again after it fired.
        if let Ok(read) = ready.try_io(|timer| timer.get_ref().0.wait().map_err(io::Error::from)) {
            self.set = None;
            read?;
        }
        Ok(())
    }
}

impl Default for Alarm {
    fn default() -> Self {
        Self::new()
    }
}

fn timer() -> io::Result<AsyncFd<Timer>> {
    let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
    // The clock of `Instant`.
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
    registered(Timer(timer), Interest::READABLE)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn soon(millis: u64) -> Instant {
        Instant::now() + Duration::from_millis(millis)
    }

    #[tokio::test]
    async fn it_returns_at_the_due_time_and_not_earlier() {
        for mut alarm in [Alarm::new(), Alarm { timer: None, set: None }] {
            for due in [soon(20), soon(40), soon(0)] {
                alarm.at(due).await;
                assert!(Instant::now() >= due);
            }
        }
    }

    #[tokio::test]
    async fn a_later_due_time_replaces_one_that_has_passed_unread() {
        let mut alarm = Alarm::new();
        let first = soon(5);
        assert!(alarm.at(first).now_or_never().is_none());
        // No task reads the timer that fires meanwhile.
        while Instant::now() < first + Duration::from_millis(5) {
            std::thread::yield_now();
        }
        let second = soon(50);
        alarm.at(second).await;
        assert!(Instant::now() >= second);
    }

    #[tokio::test]
    async fn an_earlier_due_time_is_kept_too() {
        let mut alarm = Alarm::new();
        let far = soon(600_000);
        assert!(alarm.at(far).now_or_never().is_none());
        alarm.at(soon(10)).await;
        assert!(Instant::now() < far);
    }
}
