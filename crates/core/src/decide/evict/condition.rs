//! The node's condition `SwapPressure`: derives it from the signals, and decides when to send it.
//!
//! Source: Kubernetes "Node Status", "Conditions"; kubelet `evictionPressureTransitionPeriod`,
//! `nodeStatusReportFrequency`.

use std::{ops::Range, time::Duration};

use serde::Serialize;

use super::signals::Reading;
use crate::model::clock::SinceBoot;

pub const TYPE: &str = "SwapPressure";

/// Seconds after which the agent confirms an unchanged condition; the kubelet confirms its own
/// after 300. The value differs by node, so that nodes which start together do not all write at the
/// same moment.
pub const HEARTBEAT: Range<u32> = 240..300;

/// As `NodeCondition.status` spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ConditionValue {
    True,
    False,
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapCondition {
    pub status: ConditionValue,
    pub reason: &'static str,
    pub message: String,
}

impl SwapCondition {
    /// Returns true if the status or the reason differs from `sent`. Changed figures alone are not
    /// news.
    pub fn is_news_after(&self, sent: &Self) -> bool {
        (self.status, self.reason) != (sent.status, sent.reason)
    }
}

/// The time and the signal of the node's last pressure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressed(Option<(SinceBoot, &'static str)>);

impl Pressed {
    /// Returns the condition for these readings. The node counts as under pressure until
    /// `transition` after the last signal, so that the scheduler does not send new pods to a node
    /// that has just recovered.
    pub fn condition(
        &mut self,
        readings: &[Reading],
        transition: Duration,
        now: SinceBoot,
    ) -> SwapCondition {
        let active: Vec<&Reading> = readings.iter().filter(|reading| reading.active).collect();
        if let Some(first) = active.first() {
            let reason = first.signal.reason();
            self.0 = Some((now, reason));
            let texts: Vec<String> =
                active.iter().map(|r| format!("{}: {}", r.signal, r.text)).collect();
            return SwapCondition {
                status: ConditionValue::True,
                reason,
                message: texts.join("; "),
            };
        }
        if let Some((last, reason)) = self.0
            && now.since(last) < transition
        {
            let message = format!(
                "no signal is active; the pressure ends when none becomes \
                active for {transition:?}"
            );
            return SwapCondition { status: ConditionValue::True, reason, message };
        }
        self.0 = None;
        let message = match readings.iter().max_by(|a, b| a.ratio.total_cmp(&b.ratio)) {
            Some(highest) => {
                format!("no signal is active; the highest is {}: {}", highest.signal, highest.text)
            }
            None => "no signal".to_owned(),
        };
        SwapCondition { status: ConditionValue::False, reason: "NoSwapPressure", message }
    }
}

/// Returns the condition Unknown, for the reason `why`.
pub fn unknown(why: &str) -> SwapCondition {
    SwapCondition { status: ConditionValue::Unknown, reason: "NoSamples", message: why.to_owned() }
}

/// Returns the condition False: a node without swap has no swap pressure.
pub fn no_swap() -> SwapCondition {
    let message = "the node has no swap".to_owned();
    SwapCondition { status: ConditionValue::False, reason: "NoSwap", message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Signal;

    fn at(second: u64) -> SinceBoot {
        SinceBoot(Duration::from_secs(second))
    }

    fn reading(signal: Signal, ratio: f64, active: bool) -> Reading {
        Reading {
            signal,
            ratio,
            text: format!("ratio {ratio}"),
            value: ratio.to_string(),
            threshold: "1".to_owned(),
            active,
            critical: false,
            discounted: None,
            missing_bytes: 0,
        }
    }

    #[test]
    fn it_lasts_a_while_beyond_the_last_signal() {
        let mut pressed = Pressed::default();
        let minute = Duration::from_secs(60);
        let calm = [reading(Signal::Traffic, 0.1, false), reading(Signal::Pressure, 0.4, false)];
        let before = pressed.condition(&calm, minute, at(0));
        assert_eq!((before.status, before.reason), (ConditionValue::False, "NoSwapPressure"));
        assert_eq!(
            before.message,
            "no signal is active; the highest is memory pressure: ratio 0.4"
        );
        let hot = [reading(Signal::Traffic, 1.2, true), reading(Signal::Pressure, 2.0, true)];
        let during = pressed.condition(&hot, minute, at(10));
        assert_eq!((during.status, during.reason), (ConditionValue::True, "SwapTrafficHigh"));
        assert_eq!(during.message, "swap traffic: ratio 1.2; memory pressure: ratio 2");
        assert!(during.is_news_after(&before));
        let lingering = pressed.condition(&calm, minute, at(69));
        assert_eq!((lingering.status, lingering.reason), (ConditionValue::True, "SwapTrafficHigh"));
        assert!(!lingering.is_news_after(&during), "another message is none");
        assert_eq!(pressed.condition(&calm, minute, at(70)).status, ConditionValue::False);
        assert_eq!(pressed.condition(&[], minute, at(71)).message, "no signal");
    }
}
