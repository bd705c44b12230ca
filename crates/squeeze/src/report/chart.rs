//! The plot of accuracy against measured latency, as SVG whose colours follow the page's.

use super::mark;
use super::markup::{escape, percent};
use crate::record::{Candidate, Origin, RunRecord};
use crate::units;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 48.0;

/// A range of values along one side of the plot.
struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    /// A little more than all values, with round steps.
    fn around(values: impl Iterator<Item = f64> + Clone) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        let width = (high - low).max(high.abs() * 0.02).max(1e-9);
        let (low, high) = (low - 0.08 * width, high + 0.08 * width);
        let rough = (high - low) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|s| s * power)
            .find(|&s| s >= rough);
        Self {
            low,
            high,
            step: step.unwrap_or(rough),
        }
    }

    fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let first = (self.low / self.step).ceil() as i64;
        let last = (self.high / self.step).floor() as i64;
        (first..=last).map(|at| at as f64 * self.step)
    }
}

struct Frame {
    x: Axis,
    y: Axis,
}

impl Frame {
    fn x(&self, ms: f64) -> f64 {
        LEFT + self.x.share(ms) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, accuracy: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.share(accuracy) * (HEIGHT - TOP - BOTTOM)
    }
}

/// Every candidate with a measured time as a point, the Pareto front as a line, the limit as another.
pub fn scatter(record: &RunRecord) -> String {
    let points: Vec<(f64, &Candidate)> = record
        .candidates
        .iter()
        .filter_map(|one| Some((one.timing?.p50_ms, one)))
        .collect();
    if points.is_empty() {
        return String::new();
    }
    let limit = record
        .limits
        .iter()
        .find(|limit| limit.unit == "ms")
        .map(|limit| limit.limit);
    // A limit far above everything would squeeze the points into a corner.
    let slowest = points.iter().map(|(ms, _)| *ms).fold(0.0, f64::max);
    let limit = limit.filter(|&limit| limit < 1.5 * slowest);
    let frame = Frame {
        x: Axis::around(points.iter().map(|(ms, _)| *ms).chain(limit)),
        y: Axis::around(points.iter().map(|(_, one)| one.accuracy)),
    };
    let body = [
        axes(&frame),
        limit
            .map(|limit| limit_line(&frame, limit))
            .unwrap_or_default(),
        front(&frame, &points),
        points
            .iter()
            .map(|point| dot(&frame, record, point))
            .collect(),
        legend(),
    ]
    .concat();
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=img aria-label=\"accuracy against measured latency\">{body}</svg>\
         <p>Time is the median of the whole network, measured. The dashed line joins the networks that no other one \
         beats in both. Touch or point at a dot for its name and what its accuracy was measured on: that of \
         fully trained networks is on the test split, the others' are on validation after a short training.</p>"
    )
}

fn axes(frame: &Frame) -> String {
    let mut svg = String::new();
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for ms in frame.x.ticks() {
        let x = frame.x(ms);
        svg +=
            &format!("<line class=axis x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>");
        svg += &format!(
            "<text x=\"{x:.1}\" y=\"{}\" text-anchor=middle>{}</text>",
            bottom + 18.0,
            number(ms)
        );
    }
    for accuracy in frame.y.ticks() {
        let y = frame.y(accuracy);
        svg +=
            &format!("<line class=axis x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
        let shown = number(100.0 * accuracy);
        svg += &format!(
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=end>{shown} %</text>",
            LEFT - 6.0,
            y + 4.0
        );
    }
    let middle = (LEFT + right) / 2.0;
    svg + &format!(
        "<text x=\"{middle}\" y=\"{}\" text-anchor=middle>measured latency, ms</text>",
        HEIGHT - 8.0
    )
}

fn limit_line(frame: &Frame, limit: f64) -> String {
    let x = frame.x(limit);
    let bottom = HEIGHT - BOTTOM;
    let name = format!(
        "<text x=\"{:.1}\" y=\"{}\" text-anchor=end>limit</text>",
        x - 4.0,
        TOP + 12.0
    );
    format!("<line class=limit x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>{name}")
}

/// The networks that no other one beats in both time and accuracy, quickest first.
fn front(frame: &Frame, points: &[(f64, &Candidate)]) -> String {
    let mut order: Vec<_> = points.iter().map(|(ms, one)| (*ms, one.accuracy)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
    let mut best = f64::NEG_INFINITY;
    order.retain(|&(_, accuracy)| {
        let leads = accuracy > best;
        best = best.max(accuracy);
        leads
    });
    let place =
        |&(ms, accuracy): &(f64, f64)| format!("{:.1},{:.1}", frame.x(ms), frame.y(accuracy));
    let places: Vec<String> = order.iter().map(place).collect();
    format!("<polyline class=front points=\"{}\"/>", places.join(" "))
}

fn dot(frame: &Frame, record: &RunRecord, (ms, one): &(f64, &Candidate)) -> String {
    let (x, y) = (frame.x(*ms), frame.y(one.accuracy));
    let is_winner = record
        .winner()
        .is_some_and(|winner| std::ptr::eq(winner, *one));
    let (class, radius) = if is_winner {
        (" winner", 8.0)
    } else {
        ("", 5.0)
    };
    let tip = format!(
        "{}: {} on {}, {}",
        one.name,
        percent(one.accuracy),
        one.accuracy_on,
        units::show_time(*ms)
    );
    let name = if is_winner || one.origin == Origin::Reference {
        // Names stay inside of the picture: left of a point in its right half.
        let (at, anchor) = if x > WIDTH / 2.0 {
            (x - 11.0, "end")
        } else {
            (x + 11.0, "start")
        };
        let text = escape(if is_winner { "winner" } else { &one.name });
        format!(
            "<text class=name x=\"{at:.1}\" y=\"{:.1}\" text-anchor={anchor}>{text}</text>",
            y - 8.0
        )
    } else {
        String::new()
    };
    format!(
        "<circle class=\"{}{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"><title>{}</title></circle>{name}",
        mark(one.origin),
        escape(&tip)
    )
}

fn legend() -> String {
    let mut svg = String::new();
    let mut x = LEFT + 6.0;
    for origin in [Origin::Supernet, Origin::Random, Origin::Reference] {
        svg += &format!(
            "<circle class={} cx=\"{x}\" cy=\"14\" r=\"5\"/>",
            mark(origin)
        );
        svg += &format!("<text x=\"{}\" y=\"18\">{}</text>", x + 10.0, origin.name());
        x += 40.0 + 7.5 * origin.name().len() as f64;
    }
    svg
}

/// A tick without needless zeros.
fn number(value: f64) -> String {
    let text = format!("{value:.4}");
    let short = text.trim_end_matches('0').trim_end_matches('.');
    if short == "-0" {
        "0".into()
    } else {
        short.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Timing;

    fn record(points: &[(f64, f64)]) -> RunRecord {
        let one = |&(ms, accuracy): &(f64, f64)| Candidate {
            accuracy,
            timing: Some(Timing {
                p50_ms: ms,
                ..Timing::default()
            }),
            ..Candidate::default()
        };
        RunRecord {
            candidates: points.iter().map(one).collect(),
            ..RunRecord::default()
        }
    }

    #[test]
    fn the_front_leaves_out_what_is_beaten() {
        let svg = scatter(&record(&[(1.0, 0.5), (2.0, 0.4), (3.0, 0.9)]));
        let line = svg
            .split("points=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        assert_eq!(line.expect("a front").split(' ').count(), 2);
    }

    #[test]
    fn one_point_and_equal_points_are_finite() {
        for points in [&[(1.0, 0.5)][..], &[(1.0, 0.5), (1.0, 0.5)], &[(0.0, 0.0)]] {
            let svg = scatter(&record(points));
            assert!(
                svg.contains("<circle") && !svg.contains("NaN") && !svg.contains("inf"),
                "{svg}"
            );
        }
    }

    #[test]
    fn nothing_measured_is_no_picture() {
        assert_eq!(scatter(&RunRecord::default()), "");
    }

    #[test]
    fn ticks_are_round() {
        let axis = Axis::around([0.13, 0.97].into_iter());
        let ticks: Vec<String> = axis.ticks().map(number).collect();
        assert_eq!(ticks, ["0.2", "0.4", "0.6", "0.8", "1"]);
    }
}
