//! One row an operator: gradients of inputs and weights against central differences.

use squeeze_graph::ops::*;
use squeeze_graph::{Builder, Element, Graph, GraphError, NodeId, Op, Role};
use squeeze_tensor::Seed;
use squeeze_train::{Engine, Feed, Inputs, Mode, Network, Parameters};

/// Shapes of the inputs, and what is built on them.
struct Case {
    name: &'static str,
    inputs: &'static [In],
    build: fn(&mut Builder, &[NodeId]) -> Result<NodeId, GraphError>,
}

/// An input of a case.
#[derive(Clone, Copy)]
enum In {
    /// Numbers.
    X(&'static [usize]),
    /// Indices below a bound.
    Ids(&'static [usize], i32),
    /// Lengths.
    Lengths(&'static [i32]),
}

use In::{Ids, Lengths, X};

macro_rules! case {
    ($name:literal, [$($input:expr),*], $op:expr) => {
        Case {
            name: $name,
            inputs: &[$($input),*],
            build: |b, x| b.add("op", Op::from($op), x),
        }
    };
    ($name:literal, [$($input:expr),*], $first:expr, $second:expr) => {
        Case {
            name: $name,
            inputs: &[$($input),*],
            build: |b, x| {
                let x = b.add("first", Op::from($first), x)?;
                b.add("second", Op::from($second), &[x])
            },
        }
    };
}

const IMAGE: In = X(&[2, 8, 5, 6]);
const TEXT: In = X(&[3, 5, 8]);

fn pool(kind: PoolKind, ceil: bool) -> Pool {
    let padding = [1, 0, 1, 1];
    let (kernel, stride) = ([3, 2], [2, 2]);
    Pool {
        kind,
        kernel,
        stride,
        padding,
        ceil,
    }
}

fn conv(groups: usize) -> Conv2d {
    Conv2d {
        groups,
        bias: true,
        ..Conv2d::square(4, 3)
    }
}

fn strided() -> Conv2d {
    Conv2d {
        stride: [2, 1],
        padding: [1, 0, 0, 2],
        kernel: [3, 2],
        ..conv(2)
    }
}

fn depthwise(stride: usize) -> Conv2d {
    let stride = [stride; 2];
    Conv2d {
        groups: 8,
        bias: true,
        stride,
        ..Conv2d::square(8, 3)
    }
}

fn tokens(kernel: usize, dilation: usize, groups: usize) -> Conv1d {
    Conv1d {
        out: 8,
        kernel,
        dilation,
        groups,
        bias: true,
    }
}

fn resize(mode: ResizeMode, size: ResizeSize) -> Resize {
    Resize { mode, size }
}

fn slice(axis: usize) -> Slice {
    Slice {
        axis,
        start: 1,
        end: 3,
    }
}

/// Every operator, with what is special in it; then the pairs that are computed as one.
const CASES: &[Case] = &[
    case!("conv2d_dense", [IMAGE], conv(1)),
    case!("conv2d_grouped", [IMAGE], conv(4)),
    case!("conv2d_strided_uneven", [IMAGE], strided()),
    case!("conv2d_dilated", [IMAGE], conv(2).dilated(2)),
    case!("conv2d_pointwise", [IMAGE], Conv2d::square(12, 1)),
    case!(
        "conv2d_pointwise_grouped",
        [IMAGE],
        Conv2d {
            groups: 4,
            ..Conv2d::square(12, 1)
        }
    ),
    case!(
        "conv2d_pointwise_strided",
        [IMAGE],
        Conv2d {
            stride: [2; 2],
            ..Conv2d::square(5, 1)
        }
    ),
    case!("conv2d_depthwise", [IMAGE], depthwise(1)),
    case!("conv2d_depthwise_strided", [IMAGE], depthwise(2)),
    case!("conv1d_dense", [TEXT], tokens(3, 1, 1)),
    case!("conv1d_grouped_dilated", [TEXT], tokens(3, 2, 4)),
    case!("conv1d_depthwise", [TEXT], tokens(3, 1, 8)),
    case!(
        "conv1d_of_lengths",
        [TEXT, Lengths(&[5, 1, 3])],
        tokens(3, 2, 4)
    ),
    case!(
        "conv1d_depthwise_of_lengths",
        [TEXT, Lengths(&[2, 4, 5])],
        tokens(3, 1, 8)
    ),
    case!("linear_vector", [X(&[3, 8])], Linear::dense(5)),
    case!("linear_text", [TEXT], Linear::dense(5)),
    case!("linear_grouped", [TEXT], Linear::grouped(12, 4)),
    case!("batch_norm_image", [IMAGE], BatchNorm::default()),
    case!("batch_norm_vector", [X(&[6, 8])], BatchNorm::default()),
    case!("no_norm", [TEXT], NoNorm {}),
    case!("layer_norm", [TEXT], LayerNorm { epsilon: 1e-5 }),
    case!("relu", [TEXT], Activation::Relu),
    case!("relu6", [TEXT], Activation::Relu6),
    case!("gelu", [TEXT], Activation::Gelu),
    case!("gelu_tanh", [TEXT], Activation::GeluTanh),
    case!("silu", [TEXT], Activation::Silu),
    case!("hard_swish", [TEXT], Activation::HardSwish),
    case!("hard_sigmoid", [TEXT], Activation::HardSigmoid),
    case!("sigmoid", [TEXT], Activation::Sigmoid),
    case!("tanh", [TEXT], Activation::Tanh),
    case!("pool_max", [IMAGE], pool(PoolKind::Max, false)),
    case!("pool_max_ceil", [IMAGE], pool(PoolKind::Max, true)),
    case!("pool_average", [IMAGE], pool(PoolKind::Average, false)),
    case!(
        "pool_average_inside",
        [IMAGE],
        pool(PoolKind::AverageInside, true)
    ),
    case!("global_average", [IMAGE], GlobalAverage {}),
    case!("token_max", [TEXT, Lengths(&[5, 1, 3])], TokenMax {}),
    case!("token_mean", [TEXT, Lengths(&[5, 1, 3])], TokenMean {}),
    case!("add_three", [TEXT, TEXT, TEXT], Add {}),
    case!("add_gate", [IMAGE, X(&[2, 8])], Add {}),
    case!("mul", [TEXT, TEXT], Mul {}),
    case!("mul_gate", [IMAGE, X(&[2, 8])], Mul {}),
    case!(
        "concat_channels",
        [IMAGE, X(&[2, 3, 5, 6])],
        Concat { axis: 1 }
    ),
    case!("concat_tokens", [TEXT, X(&[3, 2, 8])], Concat { axis: 1 }),
    case!(
        "embedding",
        [Ids(&[3, 4], 7)],
        Embedding { rows: 7, width: 5 }
    ),
    case!("attention", [TEXT, TEXT, TEXT], Attention::new(2)),
    case!(
        "attention_masked",
        [TEXT, TEXT, TEXT, Lengths(&[5, 2, 3])],
        Attention::new(4)
    ),
    case!(
        "attention_causal",
        [TEXT, TEXT, TEXT, Lengths(&[5, 2, 3])],
        Attention::causal(2)
    ),
    case!(
        "attention_to_another_text",
        [TEXT, X(&[3, 7, 8]), X(&[3, 7, 8]), Lengths(&[7, 2, 5])],
        Attention::new(2)
    ),
    case!("scale", [TEXT], Scale { factor: -1.5 }),
    case!("softmax", [TEXT], Softmax {}),
    case!("flatten_image", [IMAGE], Reshape::flatten()),
    case!(
        "reshape_text",
        [TEXT],
        Reshape {
            dims: vec![0, 2, 20]
        }
    ),
    case!(
        "reshape_to_image",
        [TEXT],
        Reshape {
            dims: vec![0, 2, 4, 5]
        }
    ),
    case!(
        "transpose_image",
        [IMAGE],
        Transpose {
            order: vec![0, 3, 1, 2]
        }
    ),
    case!(
        "transpose_text",
        [TEXT],
        Transpose {
            order: vec![0, 2, 1]
        }
    ),
    case!("channel_shuffle", [IMAGE], ChannelShuffle { groups: 4 }),
    case!("slice_channels", [IMAGE], slice(1)),
    case!("slice_rows", [IMAGE], slice(2)),
    case!("slice_tokens", [TEXT], slice(1)),
    case!("select_token", [TEXT], Select { axis: 1, index: 2 }),
    case!("select_row", [IMAGE], Select { axis: 2, index: 3 }),
    case!(
        "resize_nearest",
        [IMAGE],
        resize(ResizeMode::Nearest, ResizeSize::Times(2))
    ),
    case!(
        "resize_bilinear",
        [IMAGE],
        resize(ResizeMode::Bilinear, ResizeSize::To([7, 4]))
    ),
    case!(
        "resize_like",
        [IMAGE, X(&[2, 1, 3, 9])],
        resize(ResizeMode::BilinearCorners, ResizeSize::Like)
    ),
    case!("dropout", [TEXT], Dropout { rate: 0.4 }),
    case!(
        "batch_norm_then_hard_swish",
        [IMAGE],
        BatchNorm::default(),
        Activation::HardSwish
    ),
    case!(
        "linear_then_tanh",
        [TEXT],
        Linear::grouped(8, 2),
        Activation::Tanh
    ),
    case!(
        "linear_then_gelu",
        [TEXT],
        Linear::dense(8),
        Activation::Gelu
    ),
    case!("conv2d_then_sigmoid", [IMAGE], conv(2), Activation::Sigmoid),
    case!(
        "depthwise_then_tanh",
        [IMAGE],
        depthwise(1),
        Activation::Tanh
    ),
    case!(
        "add_then_layer_norm",
        [TEXT, TEXT],
        Add {},
        LayerNorm { epsilon: 1e-5 }
    ),
    Case {
        name: "residual_block",
        inputs: &[TEXT],
        build: |b, x| {
            let y = b.add("first", Linear::dense(8), x)?;
            let y = b.add("gelu", Activation::Gelu, &[y])?;
            let y = b.add("second", Linear::grouped(8, 2), &[y])?;
            let y = b.add("sum", Add {}, &[y, x[0]])?;
            b.add("norm", LayerNorm { epsilon: 1e-5 }, &[y])
        },
    },
    Case {
        name: "shared_layer",
        inputs: &[TEXT],
        build: |b, x| {
            let y = b.add("layer", Linear::dense(8), x)?;
            let y = b.add("gelu", Activation::Gelu, &[y])?;
            let y = b.add("norm", LayerNorm { epsilon: 1e-5 }, &[y])?;
            let layer = x[0].0 + 1..y.0 + 1;
            let y = b.repeat(layer.clone(), ".1", [x[0], y])?;
            b.repeat(layer, ".2", [x[0], y])
        },
    },
    Case {
        name: "table_as_a_layer",
        inputs: &[Ids(&[2, 3], 9)],
        build: |b, x| {
            let table = b.add("table", Embedding { rows: 9, width: 4 }, x)?;
            let y = b.add("tanh", Activation::Tanh, &[table])?;
            let bare = Linear {
                bias: false,
                ..Linear::dense(9)
            };
            b.tied("head", table, bare, &[y])
        },
    },
    Case {
        name: "squeeze_and_excite",
        inputs: &[IMAGE],
        build: |b, x| {
            let gate = b.add("mean", GlobalAverage {}, x)?;
            let gate = b.add("gate", Linear::dense(8), &[gate])?;
            let gate = b.add("sigmoid", Activation::Sigmoid, &[gate])?;
            b.add("mul", Mul {}, &[x[0], gate])
        },
    },
    Case {
        name: "positions",
        inputs: &[Ids(&[2, 3], 9)],
        build: |b, x| {
            let (first, places) = (1, 6);
            let place = b.add("place", Position { first, places }, x)?;
            let y = b.add("places", Embedding { rows: 6, width: 4 }, &[place])?;
            let word = b.add("words", Embedding { rows: 9, width: 4 }, x)?;
            b.add("sum", Add {}, &[word, y])
        },
    },
    Case {
        name: "class_tokens_and_places",
        inputs: &[TEXT],
        build: |b, x| {
            let x = b.add("class", ClassToken { tokens: 2 }, x)?;
            let (first, places) = (0, 7);
            let place = b.add("place", Position { first, places }, &[x])?;
            let y = b.add("places", Embedding { rows: 7, width: 8 }, &[place])?;
            b.add("sum", Add {}, &[x, y])
        },
    },
];

/// Numbers 0.0173 apart in random order, none within 0.01 of where a slope jumps (0, 3, -3, 6).
fn numbers(count: usize, seed: Seed) -> Vec<f32> {
    let far = |x: &f32| {
        [0.0f32, 3.0, -3.0, 6.0]
            .iter()
            .all(|jump| (x - jump).abs() > 0.02)
    };
    let grid = (0..).map(|i| 0.0173 * (i / 2 + 1) as f32 * if i % 2 == 0 { 1.0 } else { -1.0 });
    let mut numbers: Vec<f32> = grid.filter(far).take(count).collect();
    seed.random().shuffle(&mut numbers);
    numbers
}

fn graph(case: &Case) -> Graph {
    let mut b = Builder::new(case.name);
    let mut ids = vec![];
    for (at, input) in case.inputs.iter().enumerate() {
        let (shape, element) = match input {
            X(shape) => (shape.to_vec(), Element::Number),
            Ids(shape, _) => (shape.to_vec(), Element::Index),
            Lengths(lengths) => (vec![lengths.len()], Element::Index),
        };
        ids.push(b.input(&format!("x{at}"), &shape, element).expect("fits"));
    }
    let y = (case.build)(&mut b, &ids).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    b.finish(&[y]).expect("one output")
}

/// A case at work: `loss` is the sum of outputs with random weights.
struct Trial {
    engine: Engine,
    network: Network,
    parameters: Parameters,
    numbers: Vec<Vec<f32>>,
    indices: Vec<Vec<i32>>,
    shapes: Vec<Vec<usize>>,
    weights: Vec<f32>,
}

impl Trial {
    fn new(case: &Case, threads: usize) -> Self {
        let graph = graph(case);
        let mut parameters = Parameters::fresh(&graph, Seed(5)).expect("names differ");
        for entry in parameters.layout().clone().trained() {
            let mut random = Seed(6).child(&entry.name).random();
            let values = &mut parameters.values[entry.range.clone()];
            let around = if entry.role == Role::Offset { 0.7 } else { 0.0 };
            values
                .iter_mut()
                .for_each(|v| *v = around + 0.5 * (random.uniform() - 0.5));
        }
        let network = Network::with_inputs(&graph, &parameters, Inputs::Learned).expect("bound");
        let (mut values, mut indices, mut shapes) = (vec![], vec![], vec![]);
        for (at, input) in case.inputs.iter().enumerate() {
            let seed = Seed(7).child_number(at as u64);
            let mut random = seed.random();
            let (x, ids, shape) = match input {
                X(shape) => (
                    numbers(shape.iter().product(), seed),
                    vec![],
                    shape.to_vec(),
                ),
                Ids(shape, bound) => {
                    let draw = |_| random.below(*bound as usize) as i32;
                    (
                        vec![],
                        (0..shape.iter().product()).map(draw).collect(),
                        shape.to_vec(),
                    )
                }
                Lengths(lengths) => (vec![], lengths.to_vec(), vec![lengths.len()]),
            };
            values.push(x);
            indices.push(ids);
            shapes.push(shape);
        }
        let len = graph.node(graph.outputs()[0]).shape.iter().product();
        let mut random = Seed(8).random();
        Self {
            engine: Engine::new(threads),
            network,
            parameters,
            numbers: values,
            indices,
            shapes,
            weights: (0..len).map(|_| random.uniform() - 0.4).collect(),
        }
    }

    fn run(&mut self) -> squeeze_train::Tape {
        let feeds: Vec<Feed> = (0..self.shapes.len())
            .map(|at| match &self.numbers[at][..] {
                [] => Feed::indices(&self.shapes[at], &self.indices[at]),
                x => Feed::numbers(&self.shapes[at], x),
            })
            .collect();
        let mode = Mode::Train(Seed(9));
        let tape = self
            .engine
            .forward(&self.network, &mut self.parameters, &feeds, mode);
        tape.expect("fits")
    }

    fn loss(&mut self) -> f64 {
        let tape = self.run();
        let terms = tape.output().iter().zip(&self.weights);
        terms.map(|(y, w)| f64::from(*y) * f64::from(*w)).sum()
    }

    /// Gradients of every input of numbers, and of the weights.
    fn gradients(&mut self) -> (Vec<Vec<f32>>, Vec<f32>) {
        let tape = self.run();
        self.parameters.clear_gradients();
        let dy = self.weights.clone();
        let gradients = self
            .engine
            .backward(&self.network, &mut self.parameters, tape, &dy);
        let of = |at: usize| gradients.input(at).map(<[f32]>::to_vec).unwrap_or_default();
        (
            (0..self.shapes.len()).map(of).collect(),
            self.parameters.gradients.clone(),
        )
    }
}

/// Central differences over `2 h` are wrong by `h^2` times a third derivative and by the rounding of
/// outputs over `h`: with h = 1e-2, sums below 100 and slopes near 1, less than 1 in 200.
#[track_caller]
fn compare(name: &str, what: &str, found: &[f32], wanted: &[f64]) {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let error = norm(&mut found.iter().zip(wanted).map(|(&a, &b)| f64::from(a) - b));
    let scale = norm(&mut wanted.iter().copied()).max(1e-2);
    assert!(
        error / scale < 5e-3,
        "{name}, {what}: off by {:.1e}",
        error / scale
    );
}

const H: f32 = 1e-2;

#[test]
fn gradients_are_those_of_central_differences() {
    for case in CASES {
        let mut trial = Trial::new(case, 1);
        let (of_inputs, of_weights) = trial.gradients();
        for at in 0..trial.numbers.len() {
            let wanted: Vec<f64> = (0..trial.numbers[at].len())
                .map(|i| {
                    // What the numbers are after rounding, not what was asked for.
                    let start = trial.numbers[at][i];
                    trial.numbers[at][i] = start + H;
                    let (up, high) = (trial.loss(), trial.numbers[at][i]);
                    trial.numbers[at][i] = start - H;
                    let (down, low) = (trial.loss(), trial.numbers[at][i]);
                    trial.numbers[at][i] = start;
                    (up - down) / f64::from(high - low)
                })
                .collect();
            if !wanted.is_empty() && !of_inputs[at].is_empty() {
                compare(case.name, &format!("input {at}"), &of_inputs[at], &wanted);
            }
        }
        for entry in trial.parameters.layout().clone().trained() {
            let wanted: Vec<f64> = entry
                .range
                .clone()
                .map(|i| {
                    let start = trial.parameters.values[i];
                    trial.parameters.values[i] = start + H;
                    let (up, high) = (trial.loss(), trial.parameters.values[i]);
                    trial.parameters.values[i] = start - H;
                    let (down, low) = (trial.loss(), trial.parameters.values[i]);
                    trial.parameters.values[i] = start;
                    (up - down) / f64::from(high - low)
                })
                .collect();
            compare(
                case.name,
                &entry.name,
                &of_weights[entry.range.clone()],
                &wanted,
            );
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    for case in CASES {
        let one = Trial::new(case, 1).gradients();
        let two = Trial::new(case, 2).gradients();
        assert_eq!(one, two, "{}", case.name);
    }
}

/// The compiler does not count rows of a table: this does.
#[test]
fn every_operator_has_a_case() {
    let mut seen: Vec<&str> = vec![];
    for case in CASES {
        seen.extend(graph(case).nodes().iter().map(|node| node.op.name()));
    }
    let all = [
        "input",
        "conv2d",
        "conv1d",
        "linear",
        "batch_norm",
        "layer_norm",
        "activation",
        "pool",
        "global_average",
        "token_max",
        "token_mean",
        "add",
        "mul",
        "scale",
        "concat",
        "embedding",
        "position",
        "attention",
        "softmax",
        "reshape",
        "transpose",
        "channel_shuffle",
        "slice",
        "select",
        "class_token",
        "resize",
        "dropout",
    ];
    let missing: Vec<_> = all.iter().filter(|name| !seen.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
