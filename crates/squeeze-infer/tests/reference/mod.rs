//! The definition of every operator: plain loops over the graph's own shapes (`[n, c, h, w]`) in
//! double precision. The judge of the plan; it shares no code with it.

mod rearrange;
mod window;

use squeeze_graph::ops::{Activation, Attention};
use squeeze_graph::{Graph, Node, Op, channel_axis, elements};
use squeeze_tensor::Weights;

/// A value of the network: shape and numbers; indices are numbers too.
#[derive(Clone, Debug)]
pub struct Array {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

impl Array {
    pub fn new(shape: &[usize], data: Vec<f64>) -> Self {
        assert_eq!(elements(shape), data.len());
        let shape = shape.to_vec();
        Self { shape, data }
    }

    /// Sizes before, of, and after the channel axis.
    fn around_channels(&self) -> [usize; 3] {
        let axis = channel_axis(&self.shape);
        [
            elements(&self.shape[..axis]),
            self.shape[axis],
            elements(&self.shape[axis + 1..]),
        ]
    }

    /// Applies `work` to each position's channels.
    fn each_row(&self, mut work: impl FnMut(Vec<f64>) -> Vec<f64>) -> Self {
        let [before, c, after] = self.around_channels();
        let mut out = self.clone();
        for b in 0..before {
            for a in 0..after {
                let at = |channel: usize| (b * c + channel) * after + a;
                let row = work((0..c).map(|channel| self.data[at(channel)]).collect());
                for channel in 0..c {
                    out.data[at(channel)] = row[channel];
                }
            }
        }
        out
    }
}

/// What the network gives for these inputs.
pub fn forward(graph: &Graph, weights: &Weights, inputs: &[Array]) -> Vec<Array> {
    let mut inputs = inputs.iter();
    let mut values: Vec<Array> = vec![];
    for node in graph.nodes() {
        let value = match &node.op {
            Op::Input(_) => inputs.next().expect("one array an input").clone(),
            _ => {
                let taken: Vec<&Array> = node.inputs.iter().map(|id| &values[id.0]).collect();
                compute(node, weights, &taken)
            }
        };
        assert_eq!(value.shape, node.shape, "{}", node.name);
        values.push(value);
    }
    graph
        .outputs()
        .iter()
        .map(|id| values[id.0].clone())
        .collect()
}

fn compute(node: &Node, weights: &Weights, inputs: &[&Array]) -> Array {
    let weight = |suffix: &str| -> Option<Vec<f64>> {
        let tensor = weights.get(&format!("{}.{suffix}", node.weights))?;
        Some(tensor.floats().into_iter().map(f64::from).collect())
    };
    let needed = |suffix: &str| weight(suffix).expect("weights are complete");
    let x = inputs[0];
    match &node.op {
        Op::Conv2d(row) => window::conv2d(row, x, &needed("weight"), weight("bias")),
        Op::Conv1d(row) => {
            let lengths = inputs.get(1).map(|lengths| &lengths.data[..]);
            window::conv1d(row, (x, lengths), &needed("weight"), weight("bias"))
        }
        Op::Linear(row) => window::linear(row, x, &needed("weight"), weight("bias")),
        Op::BatchNorm(row) => {
            let (scale, shift) = (needed("weight"), needed("bias"));
            let (mean, var) = (needed("running_mean"), needed("running_var"));
            x.each_row(|channels| {
                let norm = |(c, x): (usize, f64)| {
                    (x - mean[c]) / (var[c] + row.epsilon).sqrt() * scale[c] + shift[c]
                };
                channels.into_iter().enumerate().map(norm).collect()
            })
        }
        Op::NoNorm(_) => {
            let (scale, shift) = (needed("weight"), needed("bias"));
            x.each_row(|channels| {
                let scaled = |(c, x): (usize, f64)| x * scale[c] + shift[c];
                channels.into_iter().enumerate().map(scaled).collect()
            })
        }
        Op::LayerNorm(row) => {
            let (scale, shift) = (needed("weight"), needed("bias"));
            x.each_row(|channels| {
                let c = channels.len() as f64;
                let mean = channels.iter().sum::<f64>() / c;
                let var = channels.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / c;
                let norm = |(c, x): (usize, f64)| {
                    (x - mean) / (var + row.epsilon).sqrt() * scale[c] + shift[c]
                };
                channels.into_iter().enumerate().map(norm).collect()
            })
        }
        Op::Activation(row) => {
            let data = x.data.iter().map(|&x| activation(row.kind, x)).collect();
            Array::new(&x.shape, data)
        }
        Op::Softmax(_) => x.each_row(softmax),
        Op::Scale(row) => {
            let data = x.data.iter().map(|x| x * row.factor).collect();
            Array::new(&x.shape, data)
        }
        Op::Add(_) => fold(inputs, |a, b| a + b),
        Op::Mul(_) => fold(inputs, |a, b| a * b),
        Op::Pool(row) => window::pool(row, x, &node.shape),
        Op::GlobalAverage(_) => {
            let pixels = x.shape[2] * x.shape[3];
            let mean = |image: &[f64]| image.iter().sum::<f64>() / pixels as f64;
            Array::new(&node.shape, x.data.chunks(pixels).map(mean).collect())
        }
        Op::TokenMax(_) => {
            let [n, s, c] = [x.shape[0], x.shape[1], x.shape[2]];
            let largest = |at: usize| {
                let (text, channel) = (at / c, at % c);
                let length = inputs[1].data[text] as usize;
                let tokens = (0..length).map(|token| x.data[(text * s + token) * c + channel]);
                tokens.reduce(f64::max).unwrap_or(0.0)
            };
            Array::new(&node.shape, (0..n * c).map(largest).collect())
        }
        Op::TokenMean(_) => {
            let [n, s, c] = [x.shape[0], x.shape[1], x.shape[2]];
            let mean = |at: usize| {
                let (text, channel) = (at / c, at % c);
                let length = inputs[1].data[text] as usize;
                let tokens = (0..length).map(|token| x.data[(text * s + token) * c + channel]);
                tokens.sum::<f64>() / length as f64
            };
            Array::new(&node.shape, (0..n * c).map(mean).collect())
        }
        Op::Embedding(row) => {
            let table = needed("weight");
            let rows = x.data.iter().map(|&id| id as usize * row.width);
            let data = rows.flat_map(|at| table[at..at + row.width].to_vec());
            Array::new(&node.shape, data.collect())
        }
        Op::Position(row) => {
            let s = x.shape[1];
            let data = (0..elements(&node.shape)).map(|at| (row.first + at % s) as f64);
            Array::new(&node.shape, data.collect())
        }
        Op::ClassToken(_) => {
            let (rows, text) = (needed("weight"), x.shape[1] * x.shape[2]);
            let texts = x.data.chunks(text);
            let data = texts.flat_map(|text| [&rows[..], text].concat());
            Array::new(&node.shape, data.collect())
        }
        Op::Attention(row) => attention(row, inputs),
        Op::Concat(row) => rearrange::concat(row.axis, inputs),
        Op::Reshape(_) => Array::new(&node.shape, x.data.clone()),
        Op::Transpose(row) => rearrange::transpose(&row.order, x),
        Op::ChannelShuffle(row) => x.each_row(|channels| {
            let each = channels.len() / row.groups;
            let from = |to: usize| channels[to % row.groups * each + to / row.groups];
            (0..channels.len()).map(from).collect()
        }),
        Op::Slice(row) => rearrange::slice(row.axis, row.start..row.end, x),
        Op::Select(row) => {
            let kept = rearrange::slice(row.axis, row.index..row.index + 1, x);
            Array::new(&node.shape, kept.data)
        }
        Op::Resize(row) => window::resize(row.mode, x, &node.shape),
        Op::Dropout(_) => x.clone(),
        Op::Input(_) | Op::Slot(_) => unreachable!("no operator of a resolved network"),
    }
}

fn fold(inputs: &[&Array], work: fn(f64, f64) -> f64) -> Array {
    let mut total = inputs[0].clone();
    let [_, c, after] = total.around_channels();
    let each = total.data.len() / total.shape[0];
    for other in &inputs[1..] {
        let gate = other.shape != total.shape;
        for at in 0..total.data.len() {
            let (example, channel) = (at / each, at / after % c);
            let from = if gate { example * c + channel } else { at };
            total.data[at] = work(total.data[at], other.data[from]);
        }
    }
    total
}

fn softmax(row: Vec<f64>) -> Vec<f64> {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exps: Vec<f64> = row.iter().map(|x| (x - largest).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.iter().map(|x| x / sum).collect()
}

fn attention(row: &Attention, inputs: &[&Array]) -> Array {
    let heads = row.heads;
    let [query, key, value] = [inputs[0], inputs[1], inputs[2]];
    let [n, s, c] = [query.shape[0], query.shape[1], query.shape[2]];
    let (keys, dim) = (key.shape[1], c / heads);
    let mut out = Array::new(&query.shape, vec![0.0; n * s * c]);
    for (text, head, q) in (0..n)
        .flat_map(|text| (0..heads).map(move |head| (text, head)))
        .flat_map(|(text, head)| (0..s).map(move |q| (text, head, q)))
    {
        let length = inputs.get(3).map_or(keys, |l| l.data[text] as usize);
        let length = if row.causal {
            length.min(q + 1)
        } else {
            length
        };
        let at = |token: usize, tokens: usize| (text * tokens + token) * c + head * dim;
        let score = |k: usize| {
            let dot = |i: usize| query.data[at(q, s) + i] * key.data[at(k, keys) + i];
            (0..dim).map(dot).sum::<f64>() / (dim as f64).sqrt()
        };
        let p = softmax((0..length).map(score).collect());
        for i in 0..dim {
            let seen = (0..length).map(|k| p[k] * value.data[at(k, keys) + i]);
            out.data[at(q, s) + i] = seen.sum();
        }
    }
    out
}

fn activation(kind: Activation, x: f64) -> f64 {
    let relu6 = |x: f64| x.clamp(0.0, 6.0);
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match kind {
        Activation::Relu => x.max(0.0),
        Activation::Relu6 => relu6(x),
        Activation::Gelu => x * 0.5 * (1.0 + erf(x / 2f64.sqrt())),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::Silu => x * sigmoid(x),
        Activation::HardSwish => x * relu6(x + 3.0) / 6.0,
        Activation::HardSigmoid => relu6(x + 3.0) / 6.0,
        Activation::Sigmoid => sigmoid(x),
        Activation::Tanh => x.tanh(),
    }
}

/// The error function by the series whose terms have one sign, so that nothing cancels.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / (2.0 * f64::from(n) + 1.0);
        sum += term;
    }
    sum * (-x * x).exp() * 2.0 / std::f64::consts::PI.sqrt()
}
