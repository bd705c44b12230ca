//! Every operator and fusion: the plan against the reference, on every tier, with one and two threads
//! and in every precision, from a poisoned arena.

mod cases;
mod reference;

use squeeze_graph::{Element, Graph, Node, Op, elements};
use squeeze_infer::prices::{Bytes, Least, NEVER, Tile, Tiles, Transform, Winograd};
use squeeze_infer::{
    Input, Precision, Prices, Target, calibrate, channels_last, compile, lacks_ranges, quantize,
};
use squeeze_kernels::{Tier, amx};
use squeeze_rewrite::{Prune, fold_norms, fresh, prune};
use squeeze_tensor::{Random, Seed, Tensor, Weights};

use cases::case;
use reference::Array;

#[test]
fn plans_compute_what_graphs_say() {
    let (mut in_bytes, mut on_tiles, mut transformed) = (0, 0, 0);
    for graph in cases::cases() {
        let weights = lively(&graph);
        let inputs = inputs(&graph);
        let wanted = reference::forward(&graph, &weights, &inputs);
        for tier in Tier::here() {
            for threads in [1, 2] {
                for precision in Precision::ALL {
                    let target = Target::here(threads).at(tier).with_precision(precision);
                    check(&graph, &weights, (&inputs, &wanted), &target);
                    let plan = compile(&graph, &weights, &target).expect("it was compiled before");
                    in_bytes += plan.steps().filter(|s| s.kernel.starts_with("i8_")).count();
                    let tiles =
                        |kernel: &str| kernel.starts_with("bf16") || kernel.ends_with("_amx");
                    on_tiles += plan.steps().filter(|s| tiles(s.kernel)).count();
                    transformed += plan.steps().filter(|s| is_transformed(s.kernel)).count();
                }
            }
        }
    }
    assert!(in_bytes > 0, "no case has a product large enough for bytes");
    assert!(
        on_tiles > 0 || amx::Kernel::of(Tier::detect(), amx::Element::Bf16).tier == Tier::Scalar,
        "no case has a product large enough for tiles"
    );
    assert!(
        transformed > 0 || !Tier::Avx2.is_present(),
        "no case has a window large enough for Winograd's transforms"
    );
}

/// Scales become part of the layers before them, layers whose readers take rows with gaps become one, and heads stay numbers.
#[test]
fn a_bottleneck_has_few_steps() {
    let graph = case("bottleneck_of_scales");
    let plan = compile(&graph, &lively(&graph), &Target::here(1)).expect("it fits");
    assert!(plan.steps().all(|step| step.kind != "no_norm"));
    assert!(plan.steps().any(|step| step.name == "shared + value"));
    let target = Target::here(1).with_precision(Precision::Int8);
    let plan = compile(&graph, &lively(&graph), &target).expect("it fits");
    let in_bytes = |name: &str| {
        let step = plan.steps().find(|step| step.name == name);
        step.expect("there is such a step").kernel.contains("i8")
    };
    assert!(in_bytes("after"), "layers of tokens are in bytes");
    assert!(!in_bytes("pooler"), "heads of texts are not");
}

/// Whatever a profile says, a plan computes what the graph says: every family gets every layer that it can compute, and none.
#[test]
fn plans_compute_it_at_any_price() {
    for graph in cases::cases() {
        let weights = lively(&graph);
        let inputs = inputs(&graph);
        let wanted = reference::forward(&graph, &weights, &inputs);
        for tier in Tier::here() {
            for precision in Precision::ALL {
                let target = Target::here(1).at(tier).with_precision(precision);
                for prices in [nothing_costs, everything_costs] {
                    let target = target.with_prices(prices(target.prices));
                    check(&graph, &weights, (&inputs, &wanted), &target);
                }
            }
        }
    }
}

/// All families beyond dense products and windows in single precision for nothing.
fn nothing_costs(prices: Prices) -> Prices {
    let tile = Tile {
        mac: 0.0,
        split: 0.0,
        finish: 0.0,
        weight: 0.0,
    };
    at_prices(prices, 0.0, Some(tile), 0)
}

/// The same, never bought.
fn everything_costs(prices: Prices) -> Prices {
    at_prices(prices, NEVER, None, usize::MAX)
}

/// A transformed number for so much, tiles for so much, and bytes for sums of so many.
fn at_prices(prices: Prices, number: f64, tile: Option<Tile>, inputs: usize) -> Prices {
    let transform = Transform {
        number,
        weight: 0.0,
    };
    let least = Least {
        inputs,
        outputs: 0,
        weights: 0,
    };
    Prices {
        winograd: Winograd {
            two: transform,
            four: transform,
            weight: 0.0,
            far: 1.0,
            bytes: 1.0,
        },
        tiles: Tiles {
            f32: tile,
            bf16x3: tile,
            bf16: tile,
            f16: tile,
        },
        bytes: Bytes {
            product: least,
            window: least,
        },
        ..prices
    }
}

fn is_transformed(kernel: &str) -> bool {
    kernel.contains("winograd")
}

#[test]
fn texts_of_any_length_in_batches() {
    for graph in cases::cases() {
        let Some(lengths) = lengths_of(&graph) else {
            continue;
        };
        let weights = lively(&graph);
        for n in [1, 3, 8] {
            let graph = graph.with_batch(n).expect("any batch");
            let mut inputs = inputs(&graph);
            let tokens = inputs[0].shape[1];
            for turn in 0..3 {
                let of = |text: usize| [1, tokens.div_ceil(2), tokens][(text * 2 + turn) % 3];
                inputs[lengths].data = (0..n).map(|text| of(text) as f64).collect();
                let wanted = reference::forward(&graph, &weights, &inputs);
                for tier in Tier::here() {
                    for precision in Precision::ALL {
                        let target = Target::here(2).at(tier).with_precision(precision);
                        check(&graph, &weights, (&inputs, &wanted), &target);
                    }
                }
            }
        }
    }
}

/// What a text gives is the same to the bit whatever is beside it, and whatever length the plan was made for.
#[test]
fn a_text_does_not_depend_on_its_neighbours() {
    let mut compared = 0;
    for graph in cases::cases() {
        let Some(lengths) = lengths_of(&graph) else {
            continue;
        };
        if sees_padding(&graph) {
            continue;
        }
        let weights = lively(&graph);
        let together = graph.with_batch(4).expect("any batch");
        let mut inputs = inputs(&together);
        let tokens = inputs[0].shape[1];
        inputs[lengths].data = vec![2.0, tokens as f64, 1.0, 3.0];
        for tier in Tier::here().into_iter().filter(|&tier| tier < Tier::Amx) {
            for precision in [Precision::F32, Precision::Int8] {
                let target = Target::here(2).at(tier).with_precision(precision);
                let found = outputs(&together, &weights, &inputs, &target);
                for text in 0..4 {
                    let length = inputs[lengths].data[text] as usize;
                    let alone = graph.with_batch(1).expect("any batch");
                    let alone = alone.with_length(length).expect("any length");
                    let own: Vec<Array> = inputs
                        .iter()
                        .map(|x| one_text(x, text, (length, 2)))
                        .collect();
                    let wanted = outputs(&alone, &weights, &own, &target);
                    for (found, wanted) in found.iter().zip(&wanted) {
                        let found = one_text(found, text, (length, 3));
                        assert_eq!(found.data, wanted.data, "{} at {target:?}", graph.name());
                        compared += 1;
                    }
                }
            }
        }
    }
    assert!(compared > 0, "no network has texts of different lengths");
}

/// The input that holds the lengths of texts, where all are of these lengths.
fn lengths_of(graph: &Graph) -> Option<usize> {
    let inputs = graph.inputs();
    if graph.find("target").is_some() {
        return None;
    }
    inputs
        .iter()
        .position(|&id| graph.node(id).name == "lengths")
}

/// Whether texts may lie evenly, padding included, for the sake of windows over tokens.
fn has_windows(graph: &Graph) -> bool {
    let is_window = |node: &Node| matches!(&node.op, Op::Conv1d(row) if row.kernel > 1);
    graph.nodes().iter().any(is_window)
}

/// Whether a token's result depends on padding.
fn sees_padding(graph: &Graph) -> bool {
    graph
        .nodes()
        .iter()
        .any(|node| matches!(&node.op, Op::Conv1d(row) if row.kernel > 1 && node.inputs.len() == 1))
}

/// What one text has of an array, of which those with so many axes have a row a token.
fn one_text(x: &Array, text: usize, (length, axes): (usize, usize)) -> Array {
    let each = x.data.len() / x.shape[0];
    let mut own = Array::new(&x.shape, x.data.clone());
    own.data = x.data[text * each..(text + 1) * each].to_vec();
    own.shape[0] = 1;
    if x.shape.len() == axes {
        own.data.truncate(each / x.shape[1] * length);
        own.shape[1] = length;
    }
    own
}

/// What a plan gives for inputs of a text network.
fn outputs(graph: &Graph, weights: &Weights, inputs: &[Array], target: &Target) -> Vec<Array> {
    let plan = compile(graph, weights, target).expect("it was compiled before");
    let mut scratch = plan.scratch();
    scratch.arena_mut().fill(f32::NAN);
    let whole = |x: &f64| *x as i32;
    let indices = inputs.iter().map(|x| x.data.iter().map(whole).collect());
    let indices: Vec<Vec<i32>> = indices.collect();
    let taken: Vec<Input> = indices.iter().map(|x| Input::Indices(x)).collect();
    let found = plan.run(&taken, &mut scratch);
    let numbers = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect();
    let pairs = plan.outputs().zip(found.iter());
    pairs
        .map(|(shape, x)| Array::new(shape, numbers(x)))
        .collect()
}

/// With ranges that were seen before: images stay in bytes between layers, on every tier that has no matrix registers.
#[test]
fn images_stay_in_bytes() {
    let mut kernels = std::collections::BTreeSet::new();
    for graph in cases::cases() {
        let weights = lively(&graph);
        let inputs = inputs(&graph);
        let plain = Target::here(1).with_precision(Precision::Int8);
        if !lacks_ranges(&graph, &weights, &plain) {
            continue;
        }
        let wanted = reference::forward(&graph, &weights, &inputs);
        let numbers: Vec<Vec<f32>> = inputs.iter().map(in_memory).collect();
        let example = numbers.iter().map(|x| Input::Numbers(x)).collect();
        let weights =
            calibrate(&graph, &weights, &plain, &[example]).expect("it is compiled above");
        for tier in Tier::here() {
            for threads in [1, 2] {
                let target = Target { threads, ..plain }.at(tier);
                let mut free = target.prices;
                free.winograd = nothing_costs(target.prices).winograd;
                for target in [target, target.with_prices(free)] {
                    check(&graph, &weights, (&inputs, &wanted), &target);
                    let plan = compile(&graph, &weights, &target).expect("it was compiled before");
                    kernels.extend(plan.steps().map(|step| (tier, step.kind, step.kernel)));
                }
            }
        }
    }
    for tier in Tier::here() {
        let of_bytes = |kernel: &str| kernel.starts_with("i8_") || kernel.starts_with("u8_");
        for wanted in [
            "conv2d",
            "pool",
            "global_average",
            "mul",
            "resize",
            "activation",
            "add",
            "quantize",
            "concat",
        ] {
            let mut steps = kernels
                .iter()
                .filter(|step| step.0 == tier && step.1 == wanted);
            assert!(
                steps.any(|step| of_bytes(step.2)),
                "no case runs {wanted} in bytes"
            );
        }
        let mut steps = kernels.iter().filter(|step| step.0 == tier);
        assert!(steps.any(|step| step.2.contains("depthwise") && of_bytes(step.2)));
        let mut steps = kernels.iter().filter(|step| step.0 == tier);
        assert!(tier == Tier::Scalar || steps.any(|step| step.2.contains("winograd")));
    }
}

/// Weights in bytes give what their numbers give, to the bit: in bytes those that became bytes, in single precision those that bytes
/// stand for.
#[test]
fn weights_in_bytes() {
    let mut in_bytes = std::collections::BTreeSet::new();
    for graph in cases::cases() {
        let mut weights = lively(&graph);
        let inputs = inputs(&graph);
        let plain = Target::here(2).with_precision(Precision::Int8);
        if lacks_ranges(&graph, &weights, &plain) {
            let numbers: Vec<Vec<f32>> = inputs.iter().map(in_memory).collect();
            let example = numbers.iter().map(|x| Input::Numbers(x)).collect();
            weights = calibrate(&graph, &weights, &plain, &[example]).expect("it is compiled");
        }
        let (folded, small) = quantize(&graph, &weights).expect("its own weights");
        let (_, numbers) = fold_norms(&graph, &weights).expect("its own weights");
        let (mut before, mut after) = (numbers.clone(), numbers.clone());
        for node in folded.nodes() {
            let name = format!("{}.weight", node.name);
            let Some(tensor) = small.get(&name).filter(|tensor| tensor.scaled().is_some()) else {
                continue;
            };
            in_bytes.insert(node.op.name());
            let stands_for = Tensor::from_f32(tensor.shape(), &tensor.floats());
            // A table has no number that is not one of its bytes.
            if node.op.name() == "embedding" {
                before.insert(name.clone(), stands_for.clone());
            }
            after.insert(name, stands_for);
        }
        assert_eq!(Precision::of(&small) == Precision::Int8, after != numbers);
        for tier in Tier::here() {
            for (precision, alike) in [(Precision::Int8, &before), (Precision::F32, &after)] {
                let target = plain.at(tier).with_precision(precision);
                let found = bits(&folded, &small, &inputs, &target);
                let wanted = bits(&folded, alike, &inputs, &target);
                // A scale behind a sum multiplies numbers before they become bytes, and the scales of bytes: both round.
                // A weight that layers in bytes and in numbers share is in bytes for both.
                let shares = folded.nodes().iter().any(|node| node.weights != node.name);
                let behind_sums = ["no_norm", "batch_norm"];
                let rounds = behind_sums.map(|norm| folded.census().contains_key(norm));
                let pairs = found.iter().flatten().zip(wanted.iter().flatten());
                let mut numbers = pairs.map(|(a, b)| [*a, *b].map(f32::from_bits));
                let near = |[a, b]: [f32; 2]| (a - b).abs() <= 0.01 * (1.0 + b.abs());
                let alike =
                    found == wanted || (rounds.contains(&true) || shares) && numbers.all(near);
                assert!(alike, "{} at {target:?}", graph.name());
            }
        }
    }
    for op in ["conv1d", "conv2d", "embedding", "linear"] {
        assert!(in_bytes.contains(op), "no case has a {op} in bytes");
    }
}

/// The bits of what a plan gives.
fn bits(graph: &Graph, weights: &Weights, inputs: &[Array], target: &Target) -> Vec<Vec<u32>> {
    let plan = compile(graph, weights, target).expect("it is compiled above");
    let mut scratch = plan.scratch();
    let numbers: Vec<Vec<f32>> = inputs.iter().map(in_memory).collect();
    let whole = |x: &f32| *x as i32;
    let indices = numbers.iter().map(|x| x.iter().map(whole).collect());
    let indices: Vec<Vec<i32>> = indices.collect();
    let specs = plan.inputs().iter().enumerate();
    let taken = specs.map(|(at, spec)| match spec.element {
        Element::Number => Input::Numbers(&numbers[at]),
        Element::Index => Input::Indices(&indices[at]),
    });
    let taken: Vec<Input> = taken.collect();
    let found = plan.run(&taken, &mut scratch);
    let found = found.iter();
    found
        .map(|x| x.iter().map(|x| x.to_bits()).collect())
        .collect()
}

/// With nine in ten weights zero, by themselves and in blocks: the plan leaves zeros out where that is quicker, and computes the same.
#[test]
fn plans_leave_out_zeros() {
    let mut kernels = std::collections::BTreeSet::new();
    for (graph, block) in cases::cases()
        .iter()
        .flat_map(|graph| [1, 4, 16].map(|block| (graph, block)))
    {
        let how = Prune {
            fraction: 0.9,
            block,
        };
        let pruned = prune(graph, &lively(graph), &how);
        let (graph, weights, _) = pruned.expect("they are its own weights");
        let inputs = inputs(&graph);
        let wanted = reference::forward(&graph, &weights, &inputs);
        for tier in Tier::here() {
            for (threads, precision) in [
                (1, Precision::F32),
                (2, Precision::F32),
                (1, Precision::Int8),
                (2, Precision::Int8),
            ] {
                let target = Target::here(threads).at(tier).with_precision(precision);
                check(&graph, &weights, (&inputs, &wanted), &target);
                let plan = compile(&graph, &weights, &target).expect("it was compiled before");
                kernels.extend(plan.steps().map(|step| step.kernel));
            }
        }
    }
    let best = Tier::detect().min(Tier::Avx512);
    for kernel in squeeze_kernels::spmm::KERNELS {
        for name in kernel.names {
            let runs = kernel.tier == best && kernel.is_here() && !Tier::Amx.is_present();
            assert!(!runs || kernels.contains(name), "no case runs {name}");
        }
    }
}

fn check(
    graph: &Graph,
    weights: &Weights,
    (inputs, wanted): (&[Array], &[Array]),
    target: &Target,
) {
    let name = graph.name();
    let plan = compile(graph, weights, target).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut scratch = plan.scratch();
    assert_eq!(scratch.arena_mut().len() * 4, plan.peak_bytes());
    scratch.arena_mut().fill(f32::NAN);
    let numbers: Vec<Vec<f32>> = inputs.iter().map(in_memory).collect();
    let indices: Vec<Vec<i32>> = inputs
        .iter()
        .map(|x| x.data.iter().map(|&x| x as i32).collect())
        .collect();
    let taken: Vec<Input> = (0..inputs.len())
        .map(|at| match plan.inputs()[at].element {
            Element::Number => Input::Numbers(&numbers[at]),
            Element::Index => Input::Indices(&indices[at]),
        })
        .collect();
    plan.check(&taken)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let outputs = plan.run(&taken, &mut scratch);
    let shapes: Vec<Vec<usize>> = plan.outputs().map(<[usize]>::to_vec).collect();
    for ((found, wanted), shape) in outputs.iter().zip(wanted).zip(&shapes) {
        assert_eq!(shape, &wanted.shape, "{name}");
        let wanted_values = in_memory(wanted);
        let largest = wanted_values.iter().fold(1f32, |a, b| a.max(b.abs()));
        // In each layer with weights a sum of at most 600 products, whose rounding errors grow
        // with the root of their number; activations and norms add two units.
        let layers = graph
            .nodes()
            .iter()
            .filter(|node| !graph.params_of(node).is_empty());
        let layers = layers.count().max(1) as f32;
        let unit = match target.precision {
            // Winograd's transforms add two errors as large (a test of the kernels).
            Precision::F32 if plan.steps().any(|step| is_transformed(step.kernel)) => {
                3.0 * f32::EPSILON * (600f32.sqrt() + 2.0)
            }
            Precision::F32 => f32::EPSILON * (600f32.sqrt() + 2.0),
            // A byte is off by up to 1/254 of the largest of its row or image, the errors of a sum grow as
            // above, and the sum itself does too.
            Precision::Int8 => 0.02,
            Precision::Bf16x3 => 2f32.powi(-14),
            Precision::Bf16 => 2f32.powi(-6),
            Precision::F16 => 2f32.powi(-8),
        };
        let bound = largest * layers * unit;
        for (at, (found, wanted)) in found.iter().zip(&wanted_values).enumerate() {
            if is_padding(graph, inputs, (shape, at)) {
                assert!(
                    has_windows(graph) || *found == 0.0,
                    "{name}: {found} in padding"
                );
                continue;
            }
            assert!(
                (found - wanted).abs() <= bound,
                "{name} at {target:?}, element {at}: {found} where {wanted} is right"
            );
        }
    }
}

/// Whether an element of a result lies behind the end of its text.
fn is_padding(graph: &Graph, inputs: &[Array], (shape, at): (&[usize], usize)) -> bool {
    let (Some(lengths), &[_, tokens, c]) = (lengths_of(graph), shape) else {
        return false;
    };
    let (text, token) = (at / (tokens * c), at / c % tokens);
    token >= inputs[lengths].data[text] as usize
}

/// Numbers in the order of memory.
fn in_memory(x: &Array) -> Vec<f32> {
    let data: Vec<f32> = x.data.iter().map(|&x| x as f32).collect();
    match *x.shape {
        [n, c, h, w] => channels_last([n, c, h, w], &data),
        _ => data,
    }
}

/// Fresh weights with offsets and statistics that are neither zero nor one.
fn lively(graph: &Graph) -> Weights {
    let mut random = Seed(3).random();
    let weights = fresh(graph, Seed(2));
    weights
        .iter()
        .map(|(name, tensor)| {
            let mut values = tensor.floats();
            if tensor.shape().len() == 1 {
                for value in &mut values {
                    *value += 0.5 * random.uniform();
                }
            }
            (name.to_string(), Tensor::from_f32(tensor.shape(), &values))
        })
        .collect()
}

/// Numbers around zero; tokens below 7, types below 2, lengths from one token to all.
fn inputs(graph: &Graph) -> Vec<Array> {
    let mut random: Random = Seed(4).random();
    let mut tokens = 1;
    let mut arrays = vec![];
    for id in graph.inputs() {
        let node = graph.node(id);
        let Op::Input(input) = &node.op else {
            unreachable!("inputs are inputs")
        };
        tokens = tokens.max(*input.shape.get(1).unwrap_or(&1));
        let mut draw = |at: usize| match (input.element, &node.name[..]) {
            (Element::Number, _) => f64::from(2.0 * random.normal()),
            (Element::Index, "types") => random.below(2) as f64,
            (Element::Index, "lengths") => (tokens - at % tokens) as f64,
            (Element::Index, _) => random.below(7) as f64,
        };
        let data = (0..elements(&input.shape)).map(&mut draw).collect();
        arrays.push(Array::new(&input.shape, data));
    }
    arrays
}
