//! A chart of a run: propagation, number of tips, and traffic.

use crate::sim::network::{NetworkReport, Sample};
use crate::sim::units::Span;

/// Width of the picture, and height of each of its charts, in pixels.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 360.0;
/// Space around a chart's area: for its caption, numbers of either axis, and nothing.
const TOP: f64 = 44.0;
const BOTTOM: f64 = 40.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 36.0;
const INK: [&str; 2] = ["#1b6ca8", "#c8551b"];

/// A line of a chart: its name and points.
type Line = (&'static str, Vec<(f64, f64)>);

/// The picture, as SVG.
pub(super) fn svg(report: &NetworkReport) -> String {
    let curve = |curve: &[Span]| {
        let step = 100.0 / curve.len().saturating_sub(1).max(1) as f64;
        curve.iter().enumerate().map(|(at, Span(took))| (took.as_secs_f64(), at as f64 * step)).collect()
    };
    let spread =
        [("blocks", curve(&report.blocks.propagation.curve)), ("payments", curve(&report.payments.propagation.curve))];
    let series = |value: &dyn Fn(&Sample) -> f64| {
        report.series.iter().map(|sample| (sample.at.0.as_secs_f64(), value(sample))).collect::<Vec<_>>()
    };
    let tips = [("different tips", series(&|sample| sample.tips as f64))];
    let nodes = f64::from(report.setup.nodes);
    let times = report.series.windows(2).map(|pair| (pair[1].at.0 - pair[0].at.0).as_secs_f64());
    let rates = report.series.iter().skip(1).zip(times);
    let rates = rates.map(|(sample, secs)| (sample.at.0.as_secs_f64(), sample.bytes as f64 / nodes / secs.max(1e-3)));
    let charts = [
        chart("Spread, median: % of the honest nodes after seconds", &spread),
        chart("Different tips, at seconds", &tips),
        chart("Bytes a second that a node gets, at seconds", &[("bytes a second", rates.collect())]),
    ];
    let height = HEIGHT * charts.len() as f64;
    let mut picture = vec![
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">"#
        ),
        r#"<rect width="100%" height="100%" fill="white"/>"#.to_owned(),
    ];
    for (number, chart) in charts.into_iter().enumerate() {
        picture.push(format!(r#"<g transform="translate(0 {})">"#, number as f64 * HEIGHT));
        picture.extend(chart);
        picture.push("</g>".to_owned());
    }
    picture.push("</svg>\n".to_owned());
    picture.join("\n")
}

/// The elements of one chart, whose axes begin at 0.
fn chart(caption: &str, lines: &[Line]) -> Vec<String> {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let (most_x, most_y) = points().fold((1e-3f64, 1f64), |(x, y), point| (x.max(point.0), y.max(point.1)));
    let (end_x, end_y) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let x = |value: f64| LEFT + value / most_x * (end_x - LEFT);
    let y = |value: f64| end_y - value / most_y * (end_y - TOP);
    let words = |x: f64, y: f64, anchor: &str, words: &str| {
        format!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{words}</text>"#)
    };
    let line = |from: (f64, f64), to: (f64, f64), ink: &str| {
        let ((x1, y1), (x2, y2)) = (from, to);
        format!(r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{ink}"/>"#)
    };
    let mut elements = vec![format!(r#"<g font-size="18">{}</g>"#, words(WIDTH / 2.0, 26.0, "middle", caption))];
    for (at, number) in ticks(most_x) {
        elements.push(line((x(at), end_y), (x(at), end_y + 5.0), "black"));
        elements.push(words(x(at), end_y + 20.0, "middle", &number));
    }
    for (at, number) in ticks(most_y) {
        elements.push(line((LEFT, y(at)), (end_x, y(at)), "#dddddd"));
        elements.push(words(LEFT - 8.0, y(at) + 4.0, "end", &number));
    }
    elements.push(line((LEFT, end_y), (end_x, end_y), "black"));
    elements.push(line((LEFT, TOP), (LEFT, end_y), "black"));
    for (number, ((name, points), ink)) in lines.iter().zip(INK.iter().cycle()).enumerate() {
        let path: Vec<String> = points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
        elements
            .push(format!(r#"<polyline fill="none" stroke="{ink}" stroke-width="2" points="{}"/>"#, path.join(" ")));
        if lines.len() > 1 {
            let level = end_y - 14.0 - 18.0 * (lines.len() - 1 - number) as f64;
            elements.push(line((end_x - 100.0, level), (end_x - 80.0, level), ink));
            elements.push(words(end_x - 74.0, level + 4.0, "start", name));
        }
    }
    elements
}

/// Round numbers from 0 to `most`, ten at most after it, and how they are written.
fn ticks(most: f64) -> impl Iterator<Item = (f64, String)> {
    let power = 10f64.powf(most.log10().floor());
    let step = [0.1, 0.2, 0.5, 1.0].map(|part| part * power).into_iter().find(|step| most / step <= 10.0);
    let step = step.unwrap_or(power);
    let digits = (-step.log10().floor()).max(0.0) as usize;
    (0..=(most / step) as u32).map(move |n| f64::from(n) * step).map(move |at| (at, format!("{at:.digits$}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_numbers() {
        let numbers = |most| ticks(most).map(|(_, number)| number).collect::<Vec<_>>().join(" ");
        assert_eq!(numbers(1.0), "0.0 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1.0");
        assert_eq!(numbers(37.0), "0 5 10 15 20 25 30 35");
        assert_eq!(numbers(1_900.0), "0 200 400 600 800 1000 1200 1400 1600 1800");
    }
}
