//! A run, drawn: how things spread, on how many tips nodes were, and what they sent.

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::sim::network::NetworkReport;

const SIZE: (u32, u32) = (960, 1_080);
const INK: [RGBColor; 2] = [RGBColor(0x1b, 0x6c, 0xa8), RGBColor(0xc8, 0x55, 0x1b)];

/// A line of a chart: its name and points.
type Line = (&'static str, Vec<(f64, f64)>);

/// The picture, as SVG.
///
/// # Errors
/// If it cannot be drawn, which only a bug would bring about.
pub(super) fn svg(report: &NetworkReport) -> anyhow::Result<String> {
    let mut text = String::new();
    draw(report, &mut text).map_err(|error| anyhow!("cannot draw the picture: {error}"))?;
    Ok(text)
}

fn draw(report: &NetworkReport, text: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let parts = area.split_evenly((3, 1));
    let curve = |curve: &[u64]| {
        let step = 100.0 / curve.len().saturating_sub(1).max(1) as f64;
        curve.iter().enumerate().map(|(at, millis)| (*millis as f64 / 1e3, at as f64 * step)).collect()
    };
    let spread =
        [("blocks", curve(&report.blocks.propagation.curve)), ("payments", curve(&report.payments.propagation.curve))];
    chart(&parts[0], "Spread, median: % of the honest nodes after seconds", &spread)?;
    let series = |value: &dyn Fn(&crate::sim::network::Sample) -> f64| {
        report.series.iter().map(|sample| (sample.at as f64 / 1e3, value(sample))).collect::<Vec<_>>()
    };
    let tips = [("different tips", series(&|sample| sample.tips as f64))];
    chart(&parts[1], "Different tips, at seconds", &tips)?;
    let nodes = f64::from(report.setup.nodes);
    let times = report.series.windows(2).map(|pair| (pair[1].at - pair[0].at) as f64 / 1e3);
    let rates = report.series.iter().skip(1).zip(times);
    let rates = rates.map(|(sample, secs)| (sample.at as f64 / 1e3, sample.bytes as f64 / nodes / secs.max(1e-3)));
    chart(&parts[2], "Bytes a second that a node gets, at seconds", &[("bytes a second", rates.collect())])?;
    area.present()?;
    Ok(())
}

fn chart(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    caption: &str,
    lines: &[Line],
) -> Result<(), Box<dyn std::error::Error>> {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let (x, y) = points().fold((1e-3f64, 1f64), |(x, y), point| (x.max(point.0), y.max(point.1)));
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 18))
        .margin(12)
        .margin_right(36)
        .x_label_area_size(28)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..x, 0.0..y * 1.05)?;
    chart.configure_mesh().light_line_style(WHITE.mix(0.0)).draw()?;
    for ((name, points), ink) in lines.iter().zip(INK.iter().cycle()) {
        chart
            .draw_series(LineSeries::new(points.iter().copied(), ink.stroke_width(2)))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], ink.stroke_width(2)));
    }
    if lines.len() > 1 {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .border_style(BLACK.mix(0.3))
            .draw()?;
    }
    Ok(())
}
