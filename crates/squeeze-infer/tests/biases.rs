//! Biases take back what rounded weights shift.

use squeeze_graph::ops::Conv2d;
use squeeze_graph::{Builder, Element, Graph};
use squeeze_infer::{Input, Precision, Target, calibrate, compile, quantize, quantize_for};
use squeeze_rewrite::fresh;
use squeeze_tensor::{Seed, Weights};

const SIZE: usize = 9;
const CHANNELS: usize = 64;

/// A network of products of pixels and this convolution behind them, both with a bias.
fn network(conv: Conv2d) -> Graph {
    let [first, conv] =
        [Conv2d::square(CHANNELS, 1), conv].map(|conv| Conv2d { bias: true, ..conv });
    let mut b = Builder::new("two_layers");
    let shape = [1, CHANNELS, SIZE, SIZE];
    let x = b.input("x", &shape, Element::Number).expect("fits");
    let x = b.add("first", first, &[x]).expect("fits");
    let y = b.add("layer", conv, &[x]).expect("fits");
    b.finish(&[y]).expect("one output")
}

/// The mean of each channel of what the numbers that a network's weights stand for give.
fn means((graph, weights): (&Graph, &Weights), example: &[Input]) -> Vec<f64> {
    let target = Target::here(1).with_precision(Precision::F32);
    let plan = compile(graph, weights, &target).expect("it compiles");
    let mut scratch = plan.scratch();
    let y = plan.run(example, &mut scratch).first();
    let channels = graph.node(graph.outputs()[0]).shape[1];
    let mut means = vec![0.0; channels];
    for row in y.chunks(channels) {
        for (mean, &value) in means.iter_mut().zip(row) {
            *mean += f64::from(value) * channels as f64 / y.len() as f64;
        }
    }
    means
}

/// Every channel is the same everywhere, so that its mean is all that there is to know: windows, of which some taps read padding, steps,
/// distances and groups leave no error.
#[test]
fn biases_take_back_what_rounded_weights_shift() {
    for conv in [
        Conv2d::square(CHANNELS, 1),
        Conv2d::square(CHANNELS, 3),
        Conv2d {
            stride: [2, 1],
            padding: [0, 1, 1, 2],
            ..Conv2d::square(CHANNELS, 3)
        },
        Conv2d::square(CHANNELS, 3).dilated(2),
        Conv2d {
            groups: 2,
            ..Conv2d::square(96, 3)
        },
        Conv2d {
            groups: CHANNELS,
            ..Conv2d::square(CHANNELS, 5)
        },
    ] {
        let graph = network(conv.clone());
        let weights = fresh(&graph, Seed(1));
        let mut random = Seed(2).random();
        let pixel: Vec<f32> = (0..CHANNELS).map(|_| random.normal() + 1.0).collect();
        let image = pixel.repeat(SIZE * SIZE);
        let examples = [vec![Input::Numbers(&image)]];
        let wanted = means((&graph, &weights), &examples[0]);
        let shift = |(graph, weights): (Graph, Weights)| -> f64 {
            assert_eq!(Precision::of(&weights), Precision::Int8, "{conv:?}");
            let found = means((&graph, &weights), &examples[0]);
            let shifts = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs());
            shifts.fold(0.0, f64::max)
        };
        let target = Target::here(1).with_precision(Precision::Int8);
        let corrected = quantize_for(&graph, &weights, &target, &examples);
        let corrected = shift(corrected.expect("its own weights"));
        // With the same ranges, which decide what becomes bytes.
        let ranges = calibrate(&graph, &weights, &target, &examples);
        let ranges = ranges.expect("its own weights");
        let plain = shift(quantize(&graph, &ranges).expect("its own weights"));
        assert!(
            corrected < 1e-5 && plain > 1e-3,
            "{conv:?}: {corrected} {plain}"
        );
    }
}
