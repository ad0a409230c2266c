//! Plots as inline SVG: a line over time, broken where nothing was measured, and a bar.

use std::fmt::Write as _;

use chrono::{DateTime, TimeDelta, Utc};

use super::page::text;
use super::{Report, SeriesRow};
use crate::output::human;

/// The size of a plot, and of the space for what stands beside its axes.
const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 130.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 22.0;

/// At which shares of its height and width a plot has a figure and a time.
const TICKS: [f64; 3] = [0.0, 0.5, 1.0];

/// The line of one metric; a step without a figure is a gap in it, and a figure between two gaps is a dot.
pub(super) fn line(series: &SeriesRow, report: &Report) -> String {
    let known = || series.steps.iter().flatten().copied();
    let lowest = known().fold(0.0, f64::min);
    let largest = known().fold(lowest, f64::max);
    // All figures alike are a line at the bottom.
    let range = if largest > lowest { largest - lowest } else { 1.0 };
    let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let span_ms = ms(report.until - series.since).max(1.0);
    let x = |step: usize| {
        let begin_ms = ms(series.step_at(step) - series.since);
        LEFT + ((begin_ms + ms(series.step()) / 2.0) / span_ms).min(1.0) * width
    };
    let y = |figure: f64| TOP + (1.0 - (figure - lowest) / range) * height;
    let mut plot = format!(
        "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\"><title>{} over time</title>",
        text(&series.metric, 64)
    );
    for share in TICKS {
        let (at, shown) =
            (TOP + (1.0 - share) * height, human::figure(&series.metric, lowest + share * range));
        write(&mut plot, format_args!("<path class=\"grid\" d=\"M{LEFT} {at:.1}H{:.1}\"/>", WIDTH - RIGHT));
        write(
            &mut plot,
            format_args!("<text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{shown}</text>", LEFT - 5.0, at + 3.5),
        );
        let moment = report.at(moment(series, report, share), "%m-%d %H:%M");
        let anchor = if share == 0.0 {
            "start"
        } else if share < 1.0 {
            "middle"
        } else {
            "end"
        };
        write(
            &mut plot,
            format_args!(
                "<text class=\"{anchor}\" x=\"{:.1}\" y=\"{:.1}\">{moment}</text>",
                LEFT + share * width,
                HEIGHT - 6.0
            ),
        );
    }
    let mut path = String::new();
    let mut dots = String::new();
    for (step, figure) in series.steps.iter().enumerate() {
        let Some(figure) = figure else { continue };
        let is_known =
            |step: Option<usize>| step.and_then(|step| series.steps.get(step)).is_some_and(Option::is_some);
        let (after, before) = (is_known(step.checked_add(1)), is_known(step.checked_sub(1)));
        if before || after {
            let act = if before { 'L' } else { 'M' };
            write(&mut path, format_args!("{act}{:.1} {:.1}", x(step), y(*figure)));
        } else {
            write(
                &mut dots,
                format_args!("<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2\"/>", x(step), y(*figure)),
            );
        }
    }
    if !path.is_empty() {
        write(&mut plot, format_args!("<path class=\"line\" d=\"{path}\"/>"));
    }
    plot + &dots + "</svg>"
}

/// A bar of this share of its column; no bar where the share is not known.
pub(super) fn bar(share: Option<f64>) -> String {
    let Some(share) = share else { return String::new() };
    format!(
        "<svg class=\"bar\" viewBox=\"0 0 100 8\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect width=\"{:.1}\" height=\"8\"/></svg>",
        share.clamp(0.0, 1.0) * 100.0
    )
}

/// When a share of the plot's time is over.
#[expect(clippy::cast_possible_truncation, reason = "within the time of a report")]
fn moment(series: &SeriesRow, report: &Report, share: f64) -> DateTime<Utc> {
    series.since + TimeDelta::milliseconds((ms(report.until - series.since) * share) as i64)
}

fn ms(time: TimeDelta) -> f64 {
    time.as_seconds_f64() * 1_000.0
}

fn write(text: &mut String, part: std::fmt::Arguments<'_>) {
    text.write_fmt(part).expect("a string takes all that is written");
}
