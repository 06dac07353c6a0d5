//! Draws the plots, as SVG.

use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use crate::report::Report;
use crate::rounds::{Op, Series, Source, bytes};
use crate::subjects::names;
use crate::{cached, readers, transform};

const SIZE: (u32, u32) = (860, 480);
const FONT: &str = "sans-serif";
/// The title of the axis that has a logarithmic scale of base 10; the others have base 2.
const DEKS: &str = "cached DEKs";

/// Colours that most people can distinguish (Okabe and Ito). The lines use them in this order.
const COLOURS: [RGBColor; 10] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(110, 110, 110),
    RGBColor(0, 0, 0),
    RGBColor(145, 80, 30),
    RGBColor(190, 180, 40),
];

/// A line of a plot: its name and its points.
type Line<'a> = (&'a str, Vec<(f64, f64)>);

/// Draws all plots for which the report has figures. Returns the names of the files and their contents.
///
/// # Errors
/// Returns an error if a plot cannot be drawn.
pub fn all(report: &Report) -> Result<Vec<(&'static str, String)>> {
    let mut plots = Vec::new();
    // With these, the others could not be distinguished.
    let in_tables_only = [
        names::ACCELERATED_BATCH,
        names::HANDLES,
        names::PLANS,
        names::HANDLES_BATCH,
        names::PLANS_BATCH,
        names::RANDOM,
    ];
    for (file, title, op) in [
        ("write.svg", "A write, DEK source counter", Op::Write),
        ("read.svg", "A read, DEK source counter", Op::Read),
    ] {
        let of = |s: &&Series| {
            let is_of_plot =
                s.bench == transform::NAME && s.work.op == op && s.work.source == Source::Counter;
            is_of_plot && !in_tables_only.contains(&s.subject)
        };
        let size = |s: &Series| s.work.size as f64;
        let lines = lines(report.series.iter().filter(of), size);
        let ticks = |size: &f64| bytes(*size as usize);
        plots.push((file, draw(title, &lines, ("plaintext", &ticks), true)?));
    }
    let count = |s: &Series| s.work.count as f64;
    let ticks = |count: &f64| format!("{count:.0}");
    for (file, title, bench, axis) in [
        ("cached-deks.svg", "A cached read of 1 KiB", cached::NAME, DEKS),
        (
            "readers.svg",
            "A read of 1 KiB by concurrent readers",
            readers::NAME,
            "concurrent readers",
        ),
    ] {
        let lines = lines(report.series.iter().filter(|s| s.bench == bench), count);
        let tall = bench == readers::NAME;
        plots.push((file, draw(title, &lines, (axis, &ticks), tall)?));
    }
    plots.retain(|(_, plot)| !plot.is_empty());
    Ok(plots)
}

/// Groups series into one line for each subject, in microseconds.
fn lines<'a>(
    series: impl Iterator<Item = &'a Series>,
    x: impl Fn(&Series) -> f64,
) -> Vec<Line<'a>> {
    let mut lines: Vec<Line<'a>> = Vec::new();
    for series in series {
        let point = (x(series), series.median / 1e3);
        match lines.iter_mut().find(|(name, _)| *name == series.subject) {
            Some((_, points)) => points.push(point),
            None => lines.push((series.subject, vec![point])),
        }
    }
    lines
}

/// Formats a label of the axis.
type Ticks<'a> = &'a dyn Fn(&f64) -> String;

/// Draws a plot. Returns an empty text if there are no points.
fn draw(
    title: &str,
    lines: &[Line<'_>],
    (axis, ticks): (&str, Ticks<'_>),
    logarithmic: bool,
) -> Result<String> {
    let points = || lines.iter().flat_map(|(_, points)| points);
    if points().count() == 0 {
        return Ok(String::new());
    }
    let (mut left, mut right, mut low, mut high) = (f64::MAX, 1.0_f64, f64::MAX, 0.0_f64);
    for (x, y) in points() {
        (left, right) = (left.min(*x), right.max(*x));
        (low, high) = (low.min(*y), high.max(*y));
    }
    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
    let drawn = if logarithmic {
        let y = (low / 1.5..high * 1.5).log_scale();
        draw_on(&area, title, lines, (left..right, axis, ticks), y)
    } else {
        draw_on(&area, title, lines, (left..right, axis, ticks), 0.0..high * 1.2)
    };
    drawn.map_err(|fault| anyhow!("{title}: {fault}"))?;
    drop(area);
    Ok(text)
}

fn draw_on<'a, Y>(
    area: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
    title: &str,
    lines: &[Line<'_>],
    (x, axis, ticks): (std::ops::Range<f64>, &str, Ticks<'_>),
    y: Y,
) -> Result<(), Box<dyn std::error::Error + 'a>>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 20))
        .margin(12)
        .margin_right(32)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(
            (x.start..x.end * 1.02).log_scale().base(if axis == DEKS { 10.0 } else { 2.0 }),
            y,
        )?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc(axis)
        .y_desc("µs, median of the rounds")
        .x_label_formatter(ticks)
        .y_label_formatter(&|value: &f64| match value {
            10.0.. => format!("{value:.0}"),
            _ => format!("{value:.1}"),
        })
        .label_style((FONT, 13))
        .axis_desc_style((FONT, 14))
        .draw()?;
    for ((name, points), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        // Dekker's lines are thicker.
        let ours = [
            names::NATIVE,
            names::ACCELERATED,
            names::NPM,
            names::NPM_MANY,
            names::COMPONENT,
            names::PORTABLE,
        ];
        let width = if ours.contains(name) { 3 } else { 2 };
        let style = colour.stroke_width(width);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style).point_size(3))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .label_font((FONT, 13))
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounds::Work;

    #[test]
    fn measured_series_are_drawn_with_their_names() {
        let series = |subject, size| {
            let work = Work { op: Op::Write, source: Source::Counter, size, count: 1 };
            Series::new(transform::NAME, subject, work, "ns", vec![size as f64])
        };
        let report = Report {
            format: 2,
            quick: true,
            cores: 1,
            architecture: "x86_64",
            others: None,
            versions: Vec::new(),
            skipped: Vec::new(),
            bars: Vec::new(),
            series: vec![
                series(names::NATIVE, 64),
                series(names::NATIVE, 0x10_0000),
                series(names::PLANS, 64),
            ],
        };
        let plots = all(&report).unwrap();
        let [(file, plot)] = plots.as_slice() else {
            panic!("{plots:?}");
        };
        assert_eq!(*file, "write.svg");
        assert!(!plot.contains(names::PLANS));
        assert!(plot.starts_with("<svg") && plot.contains(names::NATIVE) && plot.contains(" KiB"));
    }
}
