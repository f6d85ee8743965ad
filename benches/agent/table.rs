//! The table of measured figures and their baselines.

use std::{fs, path::Path, time::Duration};

use serde::Serialize;
use serde_json::json;

/// One figure. A time is in seconds.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    what: String,
    value: f64,
    unit: Unit,
    #[serde(skip_serializing_if = "Option::is_none")]
    worst: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<Baseline>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    grows: &'static str,
}

#[derive(Debug, Serialize)]
struct Baseline {
    what: String,
    value: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unit {
    Seconds,
    Bytes,
    Count,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Seconds if value < 1e-6 => format!("{:.0} ns", value * 1e9),
            Self::Seconds if value < 1e-3 => format!("{:.1} µs", value * 1e6),
            Self::Seconds if value < 1.0 => format!("{:.2} ms", value * 1e3),
            Self::Seconds => format!("{value:.2} s"),
            Self::Bytes if value < 1e5 => format!("{value:.0} B"),
            Self::Bytes => format!("{:.2} MB", value / 1e6),
            Self::Count => format!("{value:.1}"),
        }
    }
}

impl Row {
    pub(crate) fn new(
        what: impl Into<String>,
        value: f64,
        unit: Unit,
        grows: &'static str,
    ) -> Self {
        Self { what: what.into(), value, unit, worst: None, baseline: None, ratio: None, grows }
    }

    /// A row with the median of many rounds, and the worst of them.
    pub(crate) fn of_times(
        what: impl Into<String>,
        sorted: &[Duration],
        grows: &'static str,
    ) -> Self {
        let worst = sorted.last().map(Duration::as_secs_f64);
        Self { worst, ..Self::new(what, median(sorted), Unit::Seconds, grows) }
    }

    /// Adds the baseline: the least that the same work can take, in the same unit.
    pub(crate) fn against(self, what: impl Into<String>, value: f64) -> Self {
        let ratio = (value > 0.0).then(|| self.value / value);
        Self { baseline: Some(Baseline { what: what.into(), value }), ratio, ..self }
    }

    /// Describes the problem if the row with that name takes more than this multiple of its
    /// baseline.
    pub(crate) fn breaks(&self, (what, times): &(&str, f64)) -> Option<String> {
        let ratio = self.ratio.filter(|ratio| self.what == *what && ratio > times)?;
        Some(format!("{what} takes {ratio:.1} times its baseline, more than {times}"))
    }

    fn line(&self) -> String {
        let shown = |value: f64| self.unit.show(value);
        let worst = self.worst.map(|worst| format!(", worst {}", shown(worst))).unwrap_or_default();
        let figure = format!("{}{worst}", shown(self.value));
        let ratio = self.ratio.map(|ratio| format!("{ratio:.2} ×")).unwrap_or_default();
        let baseline = self.baseline.as_ref();
        let baseline = baseline.map(|b| format!("{}: {}", b.what, shown(b.value)));
        format!(
            "{:<52} {figure:<28} {ratio:>8} {:<52} {}",
            self.what,
            baseline.unwrap_or_default(),
            self.grows
        )
    }
}

pub(crate) fn median(sorted: &[Duration]) -> f64 {
    sorted[sorted.len() / 2].as_secs_f64()
}

/// Prints all rows, and writes them as JSON.
pub(crate) fn report(rows: &[Row], broken: &[String], file: &Path) {
    println!("\n{:<52} {:<28} {:>8} {:<52} grows with", "what", "figure", "ratio", "to");
    for row in rows {
        println!("{}", row.line());
    }
    let kept = json!({"version": env!("CARGO_PKG_VERSION"), "rows": rows, "broken": broken});
    fs::write(file, format!("{kept:#}\n")).unwrap();
    println!("\nkept in {}", file.display());
}
