//! Draws the node's history: memory, swap traffic and waits, over the same time.

use std::fmt::Write;

use plotters::{
    chart::{ChartBuilder, LabelAreaPosition},
    coord::combinators::BindKeyPoints,
    drawing::IntoDrawingArea,
    element::{Circle, PathElement, Rectangle, Text},
    prelude::SVGBackend,
    series::LineSeries,
    style::{Color, RGBColor, WHITE},
};

use super::history::shown_time;
use crate::{
    decide::history::Summary,
    model::{history::Minute, plain::plain},
};

const WIDTH: u32 = 960;
const HEIGHT: u32 = 900;
/// Width of the legends, right of the plots.
const LEGEND: u32 = 136;
/// Most labels of the axis of time.
const TICKS: usize = 8;
/// Colours that people with any colour vision can distinguish.
///
/// Source: Okabe and Ito, "Color Universal Design".
const BLUE: RGBColor = RGBColor(0, 114, 178);
const ORANGE: RGBColor = RGBColor(230, 159, 0);
const RED: RGBColor = RGBColor(213, 94, 0);
const GREY: RGBColor = RGBColor(120, 120, 120);
/// No line connects minutes that are further apart than this.
const APART: u64 = 150;
const GIB: f64 = (1_u64 << 30) as f64;

/// A line of a plot.
struct PlotLine {
    name: &'static str,
    color: RGBColor,
    points: Vec<(u64, f64)>,
}

#[expect(clippy::cast_precision_loss, reason = "a picture")]
fn lines(minutes: &[Minute]) -> [(&'static str, Vec<PlotLine>); 3] {
    let line = |name, color, of: fn(&Minute) -> Option<f64>| {
        let points = minutes.iter().filter_map(|minute| Some((minute.at, of(minute)?))).collect();
        PlotLine { name, color, points }
    };
    [
        (
            "Memory, GiB",
            vec![
                line("RAM", GREY, |m| Some(m.ram_bytes as f64 / GIB)),
                line("working set", BLUE, |m| Some(m.working_set_bytes as f64 / GIB)),
                line("swap in use", ORANGE, |m| Some(m.swap_used_bytes as f64 / GIB)),
            ],
        ),
        (
            "Swap traffic, pages/s",
            vec![
                line("in", BLUE, |m| Some(f64::from(m.rates?.pages_in))),
                line("out", ORANGE, |m| Some(f64::from(m.rates?.pages_out))),
            ],
        ),
        (
            "Waited for memory, % of the time",
            vec![
                line("pods, some", BLUE, |m| Some(f64::from(m.rates?.pods?.some) / 100.0)),
                line("pods, all", RED, |m| Some(f64::from(m.rates?.pods?.full) / 100.0)),
                line("system, some", GREY, |m| Some(f64::from(m.rates?.system?.some) / 100.0)),
            ],
        ),
    ]
}

/// Returns round times, at most [`TICKS`] of them.
fn round_times(from: u64, to: u64) -> Vec<u64> {
    const MINUTES: [u64; 12] = [1, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880];
    let span = to.saturating_sub(from);
    let fits = |step: &u64| span / step < TICKS as u64;
    let step = MINUTES.map(|minutes| minutes * 60).into_iter().find(fits);
    let step = usize::try_from(step.unwrap_or(7 * 86_400)).unwrap_or(usize::MAX);
    (from.next_multiple_of(step as u64)..=to).step_by(step).collect()
}

fn as_pixels(pixels: u32) -> i32 {
    i32::try_from(pixels).unwrap_or(i32::MAX)
}

/// Returns an SVG of `minutes`, which are those of the summary's period. Shaded areas: an eviction
/// signal was active. Dashes at the lower edge of the first plot: evictions.
pub fn svg(summary: &Summary, minutes: &[Minute]) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        area.fill(&WHITE)?;
        for (part, (title, lines)) in area.split_evenly((3, 1)).iter().zip(lines(minutes)) {
            let values = lines.iter().flat_map(|line| line.points.iter().map(|(_, value)| *value));
            let top = values.fold(1.0, f64::max) * 1.1;
            let title = match lines.iter().all(|line| line.points.is_empty()) {
                true => format!("{title}: not recorded"),
                false => title.to_owned(),
            };
            let (from, to) = (summary.from, summary.to.max(summary.from + 60));
            let mut chart = ChartBuilder::on(part)
                .margin(12)
                .margin_right(LEGEND)
                .caption(title, ("sans-serif", 18))
                .set_label_area_size(LabelAreaPosition::Left, 60)
                .set_label_area_size(LabelAreaPosition::Bottom, 32)
                .build_cartesian_2d((from..to).with_key_points(round_times(from, to)), 0.0..top)?;
            chart.draw_series(minutes.iter().filter(|minute| minute.signal_active).map(
                |minute| {
                    let ends = [(minute.at.saturating_sub(60).max(from), 0.0), (minute.at, top)];
                    Rectangle::new(ends, RED.mix(0.15).filled())
                },
            ))?;
            chart
                .configure_mesh()
                .light_line_style(WHITE)
                .x_labels(TICKS)
                .y_labels(6)
                .label_style(("sans-serif", 13))
                .x_label_formatter(&|at| shown_time(*at)[5..].to_owned())
                .draw()?;
            for (row, PlotLine { name, color, points }) in (0..).zip(lines) {
                for piece in points.chunk_by(|a, b| b.0.saturating_sub(a.0) <= APART) {
                    match piece {
                        // A line of one point is invisible.
                        [lone] => {
                            chart.draw_series([Circle::new(*lone, 2, color.filled())])?;
                        }
                        _ => {
                            let line = piece.iter().copied();
                            chart.draw_series(LineSeries::new(line, color.stroke_width(2)))?;
                        }
                    }
                }
                if !points.is_empty() {
                    // Beside the plot, where it covers no line.
                    let (x, y) = (as_pixels(WIDTH - LEGEND) + 12, 48 + 20 * row);
                    let ends = [(x, y), (x + 18, y)];
                    part.draw(&PathElement::new(ends, color.stroke_width(3)))?;
                    part.draw(&Text::new(name, (x + 24, y - 5), ("sans-serif", 13)))?;
                }
            }
            chart.draw_series(summary.evictions.iter().map(|line| {
                PathElement::new([(line.at, 0.0), (line.at, top)], RED.stroke_width(1))
            }))?;
        }
        area.present()?;
    }
    Ok(svg)
}

/// Returns a self-contained page with the report's text and the pictures.
pub fn html(text: &str, svg: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for line in text.lines() {
        for letter in plain(line).chars() {
            match letter {
                '&' => escaped.push_str("&amp;"),
                '<' => escaped.push_str("&lt;"),
                '>' => escaped.push_str("&gt;"),
                _ => escaped.push(letter),
            }
        }
        escaped.push('\n');
    }
    let mut page = String::new();
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>wasp-agent report</title>\n\
         <style>body {{ max-width: 60rem; margin: 2rem auto; font-family: sans-serif }}\n\
         pre {{ white-space: pre-wrap }} svg {{ max-width: 100%; height: auto }}</style>\n\
         <h1>wasp-agent report</h1>\n{svg}\n<p>Shaded: a signal of eviction was active. Red lines: evictions. \
         Times are UTC.</p>\n<pre>{escaped}</pre>\n</html>\n"
    );
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_of_time_has_round_times() {
        let hour = 3600;
        assert_eq!(round_times(100, 7 * 60), [120, 180, 240, 300, 360, 420]);
        assert_eq!(round_times(90, 37 * hour), [6, 12, 18, 24, 30, 36].map(|n| n * hour));
        let days = round_times(hour, 14 * 24 * hour);
        assert_eq!((days.len(), days[0]), (7, 48 * hour));
        assert!(round_times(5, 6).is_empty());
    }
}
