//! Sums up what `tests/node/run --density` has measured: `make bench-density`.
//!
//! usage: `bench-density DIRECTORY JSON SVG`: reads DIRECTORY/*.json, one for each arm and seed, and
//! writes the summary and its picture. Ratios are those of one repeat: the same seed, with and without
//! swap.

#![allow(clippy::print_stdout, reason = "it prints a table")]

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, bail, ensure};
use plotters::{
    chart::{ChartBuilder, LabelAreaPosition},
    drawing::IntoDrawingArea,
    element::{Circle, PathElement, Rectangle},
    prelude::SVGBackend,
    style::{Color, RGBColor, WHITE},
};
use serde::{Deserialize, Serialize};

/// The arms, in the order of the table; the others are compared with the first.
const ARMS: [(&str, &str); 5] = [
    ("no-swap", "no swap"),
    ("limited-swap", "LimitedSwap"),
    ("agent", "agent"),
    ("reclaim", "agent, reclaim"),
    ("senpai", "agent, Senpai's form"),
];
const BLUE: RGBColor = RGBColor(0, 114, 178);
const GREY: RGBColor = RGBColor(120, 120, 120);

/// The result of one run of `test-kubelet density`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Run {
    arm: String,
    seed: u64,
    pods: u32,
    ended: String,
    mib: u64,
    hot_mib: u64,
    request_mib: u64,
    pause_seconds: u64,
    /// The seconds for which a level stands.
    window_seconds: u32,
    ram_bytes: u64,
    swap_bytes: u64,
    empty_p50_us: u64,
    empty_p99_us: u64,
    seconds: u64,
    swapped_out_pages: u64,
    swapped_in_pages: u64,
    #[serde(skip_serializing)]
    levels: Vec<Level>,
}

/// How the pods did in one window.
#[derive(Clone, Debug, Deserialize)]
struct Level {
    pods: u32,
    /// The pods whose p99 was too long.
    slow: Vec<u32>,
}

impl Run {
    /// The seconds for which pods were slow, added up over the pods, while there were at most this many.
    fn slow_seconds(&self, up_to: u32) -> f64 {
        let levels = self.levels.iter().filter(|level| level.pods <= up_to);
        levels.fold(0.0, |sum, level| {
            let slow = u32::try_from(level.slow.len()).unwrap_or(u32::MAX);
            sum + f64::from(slow) * f64::from(self.window_seconds)
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = (values.len() - 1) / 2;
        let median = f64::midpoint(values[middle], values[values.len() / 2]);
        Some(Self { median, least, most })
    }

    fn shown(self, digits: usize) -> String {
        format!(
            "{:.*} ({:.*} to {:.*})",
            digits, self.median, digits, self.least, digits, self.most
        )
    }
}

#[derive(Debug, Serialize)]
struct Arm {
    arm: &'static str,
    repeats: usize,
    pods: Spread,
    /// The pods, divided by those without swap in the same repeat; `None` if no repeat has both.
    times_no_swap: Option<Spread>,
    /// With at most as many pods as every run with swap has reached.
    slow_pod_seconds: Option<Spread>,
    ended: BTreeMap<String, usize>,
}

#[derive(Debug, Serialize)]
struct Summary<'a> {
    command: &'static str,
    seeds: Vec<u64>,
    /// The number of pods up to which `slow_pod_seconds` counts.
    slow_up_to_pods: u32,
    arms: Vec<Arm>,
    runs: &'a [Run],
}

fn read(folder: &Path) -> anyhow::Result<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        if path.extension().is_some_and(|name| name == "json") {
            let text = fs::read_to_string(&path)?;
            let run = serde_json::from_str(&text);
            runs.push(run.with_context(|| format!("cannot use {}", path.display()))?);
        }
    }
    runs.sort_by(|a, b| (a.seed, &a.arm).cmp(&(b.seed, &b.arm)));
    Ok(runs)
}

fn arms(runs: &[Run], up_to: u32) -> Vec<Arm> {
    let sum_up = |(arm, _): &(&'static str, &str)| {
        let own: Vec<&Run> = runs.iter().filter(|run| run.arm == *arm).collect();
        let pods = Spread::of(own.iter().map(|run| f64::from(run.pods)).collect())?;
        let ratio = |run: &&Run| {
            let base =
                runs.iter().find(|other| other.arm == ARMS[0].0 && other.seed == run.seed)?;
            Some(f64::from(run.pods) / f64::from(base.pods.max(1)))
        };
        let mut ended = BTreeMap::new();
        for run in &own {
            *ended.entry(run.ended.clone()).or_insert(0) += 1;
        }
        let times_no_swap = Spread::of(own.iter().filter_map(ratio).collect());
        let reached = own.iter().filter(|run| run.pods >= up_to);
        let slow_pod_seconds = Spread::of(reached.map(|run| run.slow_seconds(up_to)).collect());
        Some(Arm { arm, repeats: own.len(), pods, times_no_swap, slow_pod_seconds, ended })
    };
    ARMS.iter().filter_map(sum_up).collect()
}

/// A bar for the median, a line from the least to the most, a dot for each repeat.
fn svg(arms: &[Arm], runs: &[Run]) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (720, 420)).into_drawing_area();
        area.fill(&WHITE)?;
        let top = arms.iter().map(|arm| arm.pods.most).fold(1.0, f64::max) * 1.15;
        let count = f64::from(u32::try_from(arms.len())?);
        let label = |at: &f64| {
            let whole = (at.fract() - 0.5).abs() < 0.01;
            let arm =
                arms.iter().zip(0_u32..).find(|(_, n)| (at - 0.5 - f64::from(*n)).abs() < 0.01);
            let name = arm.and_then(|(arm, _)| ARMS.iter().find(|(name, _)| *name == arm.arm));
            name.filter(|_| whole).map_or_else(String::new, |(_, shown)| (*shown).to_owned())
        };
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .caption("Pods that one node can run", ("sans-serif", 18))
            .set_label_area_size(LabelAreaPosition::Left, 50)
            .set_label_area_size(LabelAreaPosition::Bottom, 36)
            .build_cartesian_2d(0.0..count, 0.0..top)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .disable_x_mesh()
            .x_labels(arms.len() * 2 + 1)
            .x_label_formatter(&label)
            .label_style(("sans-serif", 13))
            .draw()?;
        for (arm, n) in arms.iter().zip(0_u32..) {
            let middle = f64::from(n) + 0.5;
            let bar = [(middle - 0.3, 0.0), (middle + 0.3, arm.pods.median)];
            chart.draw_series([Rectangle::new(bar, BLUE.mix(0.35).filled())])?;
            let line = vec![(middle, arm.pods.least), (middle, arm.pods.most)];
            chart.draw_series([PathElement::new(line, GREY.stroke_width(2))])?;
            let own = runs.iter().filter(|run| run.arm == arm.arm);
            chart.draw_series(
                own.map(|run| Circle::new((middle, f64::from(run.pods)), 4, BLUE.filled())),
            )?;
        }
        area.present()?;
    }
    Ok(svg)
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, json, picture] = arguments.as_slice() else {
        bail!("usage: bench-density DIRECTORY JSON SVG");
    };
    let runs = read(Path::new(folder))?;
    ensure!(!runs.is_empty(), "{folder} has no results: run tests/node/run --density");
    ensure!(
        runs.iter().all(|run| run.pause_seconds == runs[0].pause_seconds),
        "{folder} has runs with different PAUSE, which cannot be compared: remove some"
    );
    let with_swap = runs.iter().filter(|run| run.arm != ARMS[0].0);
    let slow_up_to_pods = with_swap.map(|run| run.pods).min().unwrap_or(0);
    let arms = arms(&runs, slow_up_to_pods);
    let mut seeds: Vec<u64> = runs.iter().map(|run| run.seed).collect();
    seeds.dedup();
    println!(
        "| arm | repeats | pods | times no swap | slow pod-seconds up to {slow_up_to_pods} pods | ended by |\n\
         |---|---|---|---|---|---|"
    );
    for arm in &arms {
        let ended: Vec<String> =
            arm.ended.iter().map(|(word, count)| format!("{word} {count}")).collect();
        let ratio = arm.times_no_swap.map_or("-".to_owned(), |ratio| ratio.shown(2));
        let slow = arm.slow_pod_seconds.map_or("-".to_owned(), |seconds| seconds.shown(0));
        let (repeats, pods) = (arm.repeats, arm.pods.shown(0));
        println!("| {} | {repeats} | {pods} | {ratio} | {slow} | {} |", arm.arm, ended.join(", "));
    }
    println!("seeds: {seeds:?}");
    fs::write(picture, svg(&arms, &runs)? + "\n")?;
    let summary =
        Summary { command: "make bench-density", seeds, slow_up_to_pods, arms, runs: &runs };
    Ok(fs::write(json, serde_json::to_string_pretty(&summary)? + "\n")?)
}
