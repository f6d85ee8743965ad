//! Notifies systemd: READY, STATUS, WATCHDOG, RELOADING, STOPPING (sd_notify(3)).

use std::time::Duration;

use sd_notify::NotifyState;

use crate::model::{clock::SinceStart, plain::plain};

/// The status can change with every container, but systemd, whose queue is short and whose reload
/// takes seconds, gets it at most once in this time.
const STATUS_PAUSE: Duration = Duration::from_secs(1);

/// Sends notifications; does nothing without systemd.
#[derive(Debug, Default)]
pub struct Notifier {
    sent: String,
    next: SinceStart,
}

impl Notifier {
    /// Reports the first complete pass, or the end of a reload, which may change the promise: from
    /// now on, the agent completes a pass at least every `longest_pause`.
    pub fn ready(&self, longest_pause: Duration) {
        let watchdog = u32::try_from(longest_pause.as_micros()).unwrap_or(u32::MAX);
        send(&[NotifyState::WatchdogUsec(watchdog), NotifyState::Ready]);
    }

    /// Reports a complete pass.
    pub fn alive(&self) {
        send(&[NotifyState::Watchdog]);
    }

    /// Sends a changed status. Returns the time to call again if it is too early.
    pub fn status(&mut self, status: &str, now: SinceStart) -> Option<SinceStart> {
        if self.sent == status {
            return None;
        }
        if now < self.next {
            return Some(self.next);
        }
        status.clone_into(&mut self.sent);
        self.next = now + STATUS_PAUSE;
        status_now(status);
        None
    }

    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => send(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!(%error, "no monotonic clock for RELOADING"),
        }
    }

    pub fn stopping(&self) {
        send(&[NotifyState::Stopping]);
    }
}

/// Sends `status` immediately, as one line: systemd would read a second line as another assignment.
pub fn status_now(status: &str) {
    send(&[NotifyState::Status(&plain(status))]);
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be notified");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_sent_on_change_and_not_too_often() {
        let at = |millis| SinceStart(Duration::from_millis(millis));
        let mut notifier = Notifier::default();
        assert_eq!(notifier.status("one", at(100)), None);
        assert_eq!(notifier.status("one", at(200)), None);
        assert_eq!(notifier.status("two", at(300)), Some(at(1100)));
        assert_eq!(notifier.sent, "one");
        assert_eq!(notifier.status("three", at(1100)), None);
        assert_eq!(notifier.sent, "three");
    }
}
