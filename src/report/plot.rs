//! Draws the node's history: memory, swap traffic and waits, over the same time.

use std::fmt::Write;

use plotters::{
    chart::{ChartBuilder, LabelAreaPosition},
    drawing::IntoDrawingArea,
    element::{PathElement, Rectangle},
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
            let (from, to) = (summary.from, summary.to.max(summary.from + 60));
            let mut chart = ChartBuilder::on(part)
                .margin(12)
                .caption(title, ("sans-serif", 18))
                .set_label_area_size(LabelAreaPosition::Left, 60)
                .set_label_area_size(LabelAreaPosition::Bottom, 32)
                .build_cartesian_2d(from..to, 0.0..top)?;
            chart.draw_series(minutes.iter().filter(|minute| minute.signal_active).map(
                |minute| {
                    let ends = [(minute.at.saturating_sub(60).max(from), 0.0), (minute.at, top)];
                    Rectangle::new(ends, RED.mix(0.15).filled())
                },
            ))?;
            chart
                .configure_mesh()
                .light_line_style(WHITE)
                .x_labels(8)
                .y_labels(6)
                .label_style(("sans-serif", 13))
                .x_label_formatter(&|at| shown_time(*at)[5..].to_owned())
                .draw()?;
            for PlotLine { name, color, points } in lines {
                let joined = points.chunk_by(|a, b| b.0.saturating_sub(a.0) <= APART);
                for (index, piece) in joined.enumerate() {
                    let series = LineSeries::new(piece.iter().copied(), color.stroke_width(2));
                    let drawn = chart.draw_series(series)?;
                    if index == 0 {
                        drawn.label(name).legend(move |(x, y)| {
                            PathElement::new([(x, y), (x + 18, y)], color.stroke_width(3))
                        });
                    }
                }
            }
            chart.draw_series(summary.evictions.iter().map(|line| {
                PathElement::new([(line.at, 0.0), (line.at, top)], RED.stroke_width(1))
            }))?;
            chart
                .configure_series_labels()
                .label_font(("sans-serif", 13))
                .background_style(WHITE.mix(0.8))
                .border_style(GREY)
                .draw()?;
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
