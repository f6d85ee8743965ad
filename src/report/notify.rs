//! What systemd hears of the agent: READY, STATUS, WATCHDOG, RELOADING, STOPPING (sd_notify(3)).

use std::time::Duration;

use sd_notify::NotifyState;

/// Sends notifications, a STATUS only when it is another. Without systemd, nothing.
#[derive(Debug, Default)]
pub struct Notifier {
    status: String,
}

impl Notifier {
    /// The first pass is complete; from now on a pass at least every `longest_pause` is promised.
    pub fn ready(&self, longest_pause: Duration) {
        let watchdog = u32::try_from(longest_pause.as_micros()).unwrap_or(u32::MAX);
        send(&[NotifyState::WatchdogUsec(watchdog), NotifyState::Ready]);
    }

    /// A complete pass is done.
    pub fn alive(&self) {
        send(&[NotifyState::Watchdog]);
    }

    pub fn status(&mut self, status: &str) {
        if self.status != status {
            status.clone_into(&mut self.status);
            send(&[NotifyState::Status(status)]);
        }
    }

    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => send(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!(%error, "no monotonic clock for RELOADING"),
        }
    }

    pub fn reloaded(&self) {
        send(&[NotifyState::Ready]);
    }

    pub fn stopping(&self) {
        send(&[NotifyState::Stopping]);
    }
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be notified");
    }
}
