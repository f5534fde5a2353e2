//! SVG plots: panels one below the other, each with lines over one pair of axes.

use plotters::prelude::*;

use crate::axis::Axis;
use crate::failure::{Failure, Result};

const WIDTH: u32 = 1000;
const HEIGHT: u32 = 340;

/// Width of the legend, right of a panel.
const LEGEND: u32 = 120;

/// One panel of a plot.
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    /// Whether the y axis is logarithmic, which omits values that are not positive.
    pub(crate) is_log: bool,
    pub(crate) lines: Vec<Line>,
    /// Events on the x axis.
    pub(crate) marks: Vec<f64>,
}

/// A line of a panel.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Draws `panels`.
pub(crate) fn draw(panels: &[Panel]) -> Result<String> {
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT * panels.len() as u32))
        .into_drawing_area();
    let cannot =
        |error: &dyn std::error::Error| Failure::from(format!("cannot draw the plot: {error}"));
    root.fill(&WHITE).map_err(|error| cannot(&error))?;
    for (panel, area) in panels.iter().zip(root.split_evenly((panels.len(), 1))) {
        draw_panel(panel, &area).map_err(|error| cannot(&error))?;
    }
    root.present().map_err(|error| cannot(&error))?;
    drop(root);
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = std::result::Result<(), DrawingAreaErrorKind<std::io::Error>>;

fn draw_panel(panel: &Panel, area: &Area<'_>) -> Drawn {
    let (area, legend) = area.split_horizontally(WIDTH - LEGEND);
    let points = || panel.lines.iter().flat_map(|line| &line.points);
    let (left, right) = range(
        points()
            .map(|point| point.0)
            .chain(panel.marks.iter().copied()),
    );
    let axis = Axis::over(points().map(|point| point.1), panel.is_log);
    let mut chart = ChartBuilder::on(&area)
        .caption(&panel.title, ("sans-serif", 17))
        .margin(12)
        .x_label_area_size(38)
        .y_label_area_size(64)
        .build_cartesian_2d(left..right, axis)?;
    chart
        .configure_mesh()
        .x_desc(panel.x)
        .y_desc(panel.y)
        .x_label_formatter(&|x| number(*x))
        .y_label_formatter(&|y| number(*y))
        .light_line_style(WHITE)
        .draw()?;
    for &mark in &panel.marks {
        let ends = axis.range();
        chart.draw_series(LineSeries::new(
            [(mark, ends.start), (mark, ends.end)],
            BLACK.mix(0.4),
        ))?;
    }
    for (index, line) in panel.lines.iter().enumerate() {
        let color = Palette99::pick(index).stroke_width(2);
        let points: Vec<_> = line
            .points
            .iter()
            .copied()
            .filter(|point| axis.contains(point.1))
            .collect();
        // A single point draws no visible line.
        let lonely = points.first().filter(|_| points.len() == 1).copied();
        chart.draw_series(lonely.map(|point| Circle::new(point, 3, color.filled())))?;
        chart.draw_series(LineSeries::new(points, color))?;
        let row = 50 + 20 * index as i32;
        legend.draw(&PathElement::new([(0, row), (18, row)], color))?;
        legend.draw(&Text::new(line.name, (24, row - 6), ("sans-serif", 13)))?;
    }
    Ok(())
}

/// From the smallest to the largest value; never empty.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    match (low < high, low.is_finite()) {
        (true, _) => (low, high),
        (false, true) => (low, low + 1.0),
        (false, false) => (0.0, 1.0),
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        large if large >= 100.0 => format!("{value:.0}"),
        medium if medium >= 1.0 => format!("{:.1}", value).trim_end_matches(".0").to_owned(),
        _ => format!("{value:.2}"),
    }
}
