//! Depthwise layers of published networks in bytes and in single precision, in turn:
//! `cargo bench --bench depthwise [filter] [--threads N] [--warm] [--best]`.
//!
//! Each line gives medians with quartiles of many rounds in which the two take turns, or the best in place of the medians where others
//! use the machine. Behind the time of single precision stands what the longer of two would take of it: its multiply-adds at the peak, and
//! copying as many bytes as it reads and writes; activations are in the time only. Unless `--warm` is asked for, a buffer as large as a
//! second cache is walked between two runs, so that images come from behind it.

use std::time::Instant;

use squeeze_kernels::activation::Activation::{self, HardSwish, Relu, Relu6, Silu};
use squeeze_kernels::depthwise::{self, Depthwise};
use squeeze_kernels::depthwise_i8::{Codes, Filter, Packed};
use squeeze_kernels::{Buffer, Cpu, Quantization, Threads, Tier, Weight, peak};

/// Rounds, and at most so many seconds a line.
const ROUNDS: usize = 2000;
const SECONDS: f64 = 1.0;
/// How often peaks are measured; the best counts.
const PEAKS: usize = 20;
/// Bytes walked between two runs.
const BETWEEN: usize = 2 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filter = arguments
        .iter()
        .find(|word| !word.starts_with('-') && word.parse::<usize>().is_err());
    let filter = filter.cloned().unwrap_or_default();
    let at = arguments.iter().position(|word| word == "--threads");
    let threads = at
        .and_then(|at| arguments.get(at + 1)?.parse().ok())
        .unwrap_or(1);
    let threads = Threads::new(threads);
    let between = match arguments.iter().any(|word| word == "--warm") {
        true => 0,
        false => BETWEEN,
    };
    let named = std::env::var("TIER")
        .ok()
        .and_then(|name| Tier::named(&name));
    let tier = named.unwrap_or(Tier::detect());
    for layer in LAYERS {
        if layer.name().contains(&filter[..]) {
            line(layer, (tier, &threads), between);
        }
    }
}

/// A network, its image's size and channels, the kernel's size, stride and dilation, and what follows.
struct Layer(&'static str, [usize; 2], usize, [usize; 2], Activation);

impl Layer {
    fn name(&self) -> String {
        let &Layer(network, [size, c], kernel, [stride, dilation], activation) = self;
        let every = if dilation > 1 { " dilated" } else { "" };
        format!("{network} {size} x {c}, {kernel} x {kernel} / {stride}{every}, {activation:?}")
    }
}

const LAYERS: &[Layer] = &[
    Layer("mobilenetv2", [112, 32], 3, [1, 1], Relu6),
    Layer("mobilenetv2", [112, 96], 3, [2, 1], Relu6),
    Layer("mobilenetv2", [56, 144], 3, [1, 1], Relu6),
    Layer("mobilenetv2", [56, 144], 3, [2, 1], Relu6),
    Layer("mobilenetv2", [28, 192], 3, [1, 1], Relu6),
    Layer("mobilenetv2", [28, 192], 3, [2, 1], Relu6),
    Layer("mobilenetv2", [14, 384], 3, [1, 1], Relu6),
    Layer("mobilenetv2", [14, 576], 3, [1, 1], Relu6),
    Layer("mobilenetv2", [14, 576], 3, [2, 1], Relu6),
    Layer("mobilenetv2", [7, 960], 3, [1, 1], Relu6),
    Layer("mobilenetv3", [112, 16], 3, [1, 1], Relu),
    Layer("mobilenetv3", [112, 64], 3, [2, 1], Relu),
    Layer("mobilenetv3", [56, 72], 3, [1, 1], Relu),
    Layer("mobilenetv3", [56, 72], 5, [2, 1], Relu),
    Layer("mobilenetv3", [28, 120], 5, [1, 1], Relu),
    Layer("mobilenetv3", [28, 240], 3, [2, 1], HardSwish),
    Layer("mobilenetv3", [14, 200], 3, [1, 1], HardSwish),
    Layer("mobilenetv3", [14, 672], 5, [2, 1], HardSwish),
    Layer("mobilenetv3", [7, 960], 5, [1, 1], HardSwish),
    Layer("lraspp", [32, 672], 5, [1, 2], HardSwish),
    Layer("lraspp", [32, 960], 5, [1, 2], HardSwish),
    Layer("efficientnet", [112, 32], 3, [1, 1], Silu),
    Layer("efficientnet", [112, 96], 3, [2, 1], Silu),
    Layer("efficientnet", [56, 144], 3, [1, 1], Silu),
    Layer("efficientnet", [56, 144], 5, [2, 1], Silu),
    Layer("efficientnet", [28, 240], 5, [1, 1], Silu),
    Layer("efficientnet", [14, 480], 5, [1, 1], Silu),
    Layer("efficientnet", [14, 672], 5, [1, 1], Silu),
    Layer("efficientnet", [7, 1152], 5, [1, 1], Silu),
];

fn line(layer: &Layer, (tier, threads): (Tier, &Threads), between: usize) {
    let &Layer(_, [size, c], kernel, [stride, dilation], activation) = layer;
    let geometry = Depthwise {
        n: 1,
        h: size,
        w: size,
        c,
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [dilation; 2],
        padding: [kernel / 2 * dilation; 4],
    };
    let weights: Vec<f32> = (0..geometry.taps() * c)
        .map(|at| (at as f32 * 0.7).sin())
        .collect();
    let bias = vec![0.1; c];
    let codes = Codes {
        input: Quantization::of(0.0, 6.0),
        output: Quantization::of(-0.4, 6.0),
    };
    let filter = Filter {
        weights: Weight::Numbers(&weights),
        bias: Some(&bias),
        activation,
        codes,
    };
    let packed = Packed::pack(&filter, &geometry, tier);
    let mut by_tap = vec![0.0; weights.len()];
    depthwise::pack(&geometry, &weights, &mut by_tap);
    let plain = depthwise::Filter {
        weights: &by_tap,
        bias: Some(&bias),
        activation,
    };
    let mut x = Buffer::zeros(geometry.input());
    x.fill(0.5);
    let mut y = Buffer::zeros(geometry.output());
    let [x8, mut y8] = [geometry.input(), geometry.output()].map(|len| vec![21u8; len + 64]);
    let x8 = &x8[x8.as_ptr().align_offset(64)..][..geometry.input()];
    let at = y8.as_ptr().align_offset(64);
    let y8 = &mut y8[at..][..geometry.output()];
    let cpu = Cpu { tier, threads };
    let walked = vec![1u8; between];
    let mut times = [vec![], vec![]];
    let start = Instant::now();
    for round in 0..ROUNDS {
        let ways: [&mut dyn FnMut(); 2] = [
            &mut || depthwise::forward(cpu, &geometry, &x, plain, &mut y),
            &mut || packed.run(x8, y8, threads),
        ];
        for (way, times) in ways.into_iter().zip(&mut times) {
            let sum: u64 = walked.iter().step_by(64).map(|&byte| u64::from(byte)).sum();
            assert_eq!(sum, between as u64 / 64);
            let start = Instant::now();
            way();
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        if round > 4 && start.elapsed().as_secs_f64() > SECONDS {
            break;
        }
    }
    let middle = match std::env::args().any(|argument| argument == "--best") {
        true => 0,
        false => 2,
    };
    let [[f1, f2, f3], [b1, b2, b3]] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        [1, middle, 3].map(|quarter| times[times.len() * quarter / 4])
    });
    let macs = (geometry.output() * geometry.taps()) as f64;
    let bytes = 4 * (geometry.input() + geometry.output());
    let copying = 1e-3 * bytes as f64 / peak::copy_gbytes(tier, bytes, PEAKS);
    let floor = copying.max(2e-3 * macs / peak::gflops(tier, PEAKS)) / threads.count() as f64;
    println!(
        "{:48} f32 {f2:7.1} us ({f1:.1}-{f3:.1}) {:3.0} %, bytes {b2:7.1} us ({b1:.1}-{b3:.1}) {:6.1} GOP/s, {:.2} times as quick",
        layer.name(),
        100.0 * floor / f2,
        2e-3 * macs / b2,
        f2 / b2,
    );
}
