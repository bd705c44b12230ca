//! The ranges of a network's values on examples, from which bytes are given their scales: calibration.

use std::collections::BTreeMap;

use squeeze_graph::{Graph, Node, Op, RANGE};
use squeeze_rewrite::{drop_dropout, fold_norms};
use squeeze_tensor::{Tensor, Weights};

use crate::bind;
use crate::error::CompileError;
use crate::input::Input;
use crate::lower::lower;
use crate::passes;
use crate::target::{Precision, Target};

/// Whether a plan for this target would keep images in bytes if it knew their ranges, and the weights have none.
pub fn lacks_ranges(graph: &Graph, weights: &Weights, target: &Target) -> bool {
    let is_image = |node: &Node| matches!(node.op, Op::Input(_)) && node.shape.len() == 4;
    target.keeps_bytes()
        && graph.nodes().iter().any(is_image)
        && !weights
            .iter()
            .any(|(name, _)| graph.node_of_range(name).is_some())
}

/// The weights with the range of every node's result on these examples, each the inputs of one run, in tensors `NODE.range` of the
/// smallest and the largest number that bytes should hold: of all ranges the one whose bytes are off by the least mean square. Plans in [`Precision::Int8`] then keep images in bytes between layers. Ranges that were there
/// before go.
///
/// A range is that of the network with its norms folded: a layer's is what leaves the norm behind it.
///
/// # Errors
/// When the weights are not those of the network, or a node has no kernel.
///
/// # Panics
/// When an example does not fit the network's inputs.
pub fn calibrate(
    graph: &Graph,
    weights: &Weights,
    target: &Target,
    examples: &[Vec<Input>],
) -> Result<Weights, CompileError> {
    Ok(observe(graph, weights, target, examples)?.weights)
}

/// What examples show of a network.
pub(crate) struct Observed {
    /// The weights with ranges.
    pub weights: Weights,
    /// The mean of each channel of every node's result, by the node's name; of inputs too.
    pub means: BTreeMap<String, Vec<f64>>,
}

/// What [`calibrate`] does, and the means.
pub(crate) fn observe(
    graph: &Graph,
    weights: &Weights,
    target: &Target,
    examples: &[Vec<Input>],
) -> Result<Observed, CompileError> {
    let mut plain = Weights::default();
    for (name, tensor) in weights
        .iter()
        .filter(|(name, _)| graph.node_of_range(name).is_none())
    {
        plain.insert(name, tensor.clone());
    }
    let (folded, of_folded) = fold_norms(&drop_dropout(graph), &plain)?;
    // Nothing is fused, so that every node's result is there to be seen.
    let mut program = lower(&folded, &of_folded, None)?;
    passes::embed(&mut program);
    passes::settle(&mut program);
    let outputs = program
        .steps
        .iter()
        .map(|step| &program.values[step.output]);
    let rows: Vec<[usize; 2]> = outputs
        .map(|value| [value.home.stride, value.columns()])
        .collect();
    let plan = bind::bind(program, target.with_precision(Precision::F32));
    let mut scratch = plan.scratch();
    let count = plan.inputs.len() + rows.len();
    // Shows each input's and each step's numbers, a row of channels at a time, under one number for both.
    let mut watch = |see: &mut dyn FnMut(usize, &[f32])| {
        for example in examples {
            for (at, (input, spec)) in example.iter().zip(&plan.inputs).enumerate() {
                if let Input::Numbers(values) = input {
                    let channels = spec.channels();
                    values.chunks(channels).for_each(|row| see(at, row));
                }
            }
            plan.run_watched(example, &mut scratch, |at, values| {
                let [stride, columns] = rows[at];
                for row in values.chunks(stride) {
                    see(plan.inputs.len() + at, &row[..columns.min(row.len())]);
                }
            });
        }
    };
    let mut bounds = vec![NONE; count];
    let mut sums: Vec<Sums> = vec![Sums::default(); count];
    watch(&mut |at, values| {
        widen(&mut bounds[at], values);
        sums[at].add(values);
    });
    let mut seen: Vec<Histogram> = bounds.into_iter().map(Histogram::within).collect();
    watch(&mut |at, values| seen[at].count(values));
    let inputs = plan.inputs.iter().map(|input| &input.name);
    let names = inputs.chain(plan.steps.iter().map(|step| &step.name));
    let mut ranges: BTreeMap<&str, [f32; 2]> = BTreeMap::new();
    let mut means = BTreeMap::new();
    for ((name, seen), sums) in names.zip(seen).zip(sums) {
        // A node's last step gives its result.
        means.insert(name.clone(), sums.means());
        let Some([low, high]) = seen.range() else {
            continue;
        };
        if folded.find(name).is_some() {
            let range = ranges.entry(name).or_insert(NONE);
            *range = [range[0].min(low), range[1].max(high)];
        }
    }
    for (name, range) in ranges {
        plain.insert(format!("{name}{RANGE}"), Tensor::from_f32(&[2], &range));
    }
    Ok(Observed {
        weights: plain,
        means,
    })
}

/// Sums of rows of channels.
#[derive(Clone, Default)]
struct Sums {
    rows: usize,
    channels: Vec<f64>,
}

impl Sums {
    fn add(&mut self, row: &[f32]) {
        self.rows += 1;
        self.channels.resize(row.len(), 0.0);
        for (sum, &value) in self.channels.iter_mut().zip(row) {
            *sum += f64::from(value);
        }
    }

    fn means(mut self) -> Vec<f64> {
        let rows = self.rows as f64;
        self.channels.iter_mut().for_each(|sum| *sum /= rows);
        self.channels
    }
}

/// The range of no number.
const NONE: [f32; 2] = [f32::INFINITY, f32::NEG_INFINITY];

fn widen([low, high]: &mut [f32; 2], values: &[f32]) {
    for &value in values {
        (*low, *high) = (low.min(value), high.max(value));
    }
}

/// How many numbers lie where, between bounds that hold all of them.
struct Histogram {
    low: f32,
    /// Bins a number.
    rate: f32,
    bins: Vec<u64>,
}

/// How many bins a histogram has.
const BINS: usize = 2048;

impl Histogram {
    fn within([low, high]: [f32; 2]) -> Self {
        let rate = BINS as f32 / (high - low);
        let is_range = low.is_finite() && high.is_finite() && rate.is_finite() && low < high;
        let bins = vec![0; if is_range { BINS } else { 0 }];
        Self { low, rate, bins }
    }

    fn count(&mut self, values: &[f32]) {
        let Some(last) = self.bins.len().checked_sub(1) else {
            return;
        };
        for value in values {
            self.bins[last.min(((value - self.low) * self.rate) as usize)] += 1;
        }
    }

    /// The range in which bytes are off by the least mean square; nothing where there were no different finite numbers.
    fn range(&self) -> Option<[f32; 2]> {
        if self.bins.is_empty() {
            return None;
        }
        let centre = |bin: usize| f64::from(self.low) + (bin as f64 + 0.5) / f64::from(self.rate);
        // Of the numbers before each bin: how many, their sum, and that of their squares.
        let mut before = vec![[0.0; 3]];
        for (bin, &count) in self.bins.iter().enumerate() {
            let [all, sum, squares] = before[bin];
            let (count, at) = (count as f64, centre(bin));
            before.push([all + count, sum + count * at, squares + count * at * at]);
        }
        let whole = before[BINS];
        let bin_of = |x: f64| {
            let bin = (x - f64::from(self.low)) * f64::from(self.rate);
            (bin.max(0.0) as usize).min(BINS)
        };
        let far = |[all, sum, squares]: [f64; 3], x: f64| squares - 2.0 * x * sum + x * x * all;
        let error = |[low, high]: [f64; 2]| {
            let (below, inside) = (before[bin_of(low)], before[bin_of(high)]);
            let above = [0, 1, 2].map(|part| whole[part] - inside[part]);
            let step = (high - low) / 255.0;
            (inside[0] - below[0]) * step * step / 12.0 + far(below, low) + far(above, high)
        };
        let top = f64::from(self.low) + BINS as f64 / f64::from(self.rate);
        let ends = [f64::from(self.low).min(0.0), top.max(0.0)];
        let shares = |end: f64| (0..=SHRINKS).map(move |step| end * (1.0 - 0.02 * step as f64));
        let ranges = shares(ends[0]).flat_map(|low| shares(ends[1]).map(move |high| [low, high]));
        let best = ranges.min_by(|&a, &b| error(a).total_cmp(&error(b)))?;
        Some(best.map(|bound| bound as f32))
    }
}

/// How many shorter ranges are tried, each a fiftieth shorter, on either side.
const SHRINKS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn range(values: &[f32]) -> Option<[f32; 2]> {
        let mut bounds = NONE;
        widen(&mut bounds, values);
        let mut seen = Histogram::within(bounds);
        seen.count(values);
        seen.range()
    }

    #[test]
    fn even_numbers_need_all_of_their_range() {
        let values: Vec<f32> = (0..10_000).map(|at| at as f32 * 1e-3 - 4.0).collect();
        let [low, high] = range(&values).expect("they are finite");
        assert!(
            (low + 4.0).abs() < 0.1 && (high - 6.0).abs() < 0.1,
            "{low} {high}"
        );
    }

    #[test]
    fn a_number_far_out_is_given_up_in_part() {
        let mut values: Vec<f32> = (0..100_000).map(|at| (at % 1000) as f32 * 1e-3).collect();
        values.push(1.5);
        let [low, high] = range(&values).expect("they are finite");
        // The steps of 100,000 numbers weigh an eighth of what is cut off.
        assert!(low == 0.0 && (high - 1.33).abs() < 0.03, "{low} {high}");
    }

    #[test]
    fn zero_is_in_every_range() {
        let [low, high] = range(&[2.0, 3.0, 2.5]).expect("they are finite");
        assert!(low <= 0.0 && high > 2.5);
        assert_eq!(range(&[]), None);
        assert_eq!(range(&[0.0, f32::INFINITY]), None);
    }
}
