//! The reports of the tasks outside the loop.

use tokio::sync::mpsc;

use super::{announce, eviction, protection, suspend};
use crate::{
    act::{reclaim, systemd},
    model::trouble::Problem,
    observe::kubelet,
};

#[derive(Debug)]
pub(super) enum Event {
    /// systemd answered a request about a unit's limit.
    Systemd(systemd::UnitAnswer),
    /// The API server answered a request for an eviction.
    Evicted(eviction::Answered),
    /// The kernel reclaimed memory of a pod.
    Reclaimed(reclaim::Answer),
    /// The announcer finished a turn.
    Announcer(announce::AnnouncerReport),
    /// The guard of the protected slices finished a turn.
    Slices(protection::SliceReport),
    /// The problem of the metrics endpoint, or none.
    Metrics(Option<Problem>),
    /// systemd described the kubelet's unit.
    KubeletUnit(Option<kubelet::Service>),
    /// A request from the control socket, or the end of a suspension.
    Suspend(suspend::SuspendNews),
}

/// The channel to the loop.
#[derive(Clone, Debug)]
pub(super) struct EventSender(mpsc::UnboundedSender<Event>);

impl EventSender {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (send, receive) = mpsc::unbounded_channel();
        (Self(send), receive)
    }

    /// Returns false if the agent is about to end.
    pub(super) fn send(&self, event: Event) -> bool {
        self.0.send(event).is_ok()
    }

    /// Forwards the items of `receiver`, until its senders are gone or the agent ends.
    pub(super) fn forward<T: Send + 'static>(
        &self,
        mut receiver: mpsc::UnboundedReceiver<T>,
        event: fn(T) -> Event,
    ) {
        let events = self.clone();
        tokio::spawn(async move {
            while let Some(item) = receiver.recv().await {
                if !events.send(event(item)) {
                    return;
                }
            }
        });
    }
}
