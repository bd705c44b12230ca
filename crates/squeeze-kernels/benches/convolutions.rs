//! Layers of published networks by every family that computes them, in turn: `cargo bench --bench convolutions [filter] [--threads N]
//! [--best] [--bytes]`.
//!
//! With `--bytes` over images in bytes: windows as they are and, where these are written for the machine, transforms in whole numbers.
//! Each figure is the median of many rounds in which the ways take turns, or the best of them where others use the machine; weights
//! and images lie as cold as a network's would, behind a buffer that is walked between two runs.

use std::time::Instant;

use squeeze_kernels::activation::Activation;
use squeeze_kernels::conv_f32::{self, Conv};
use squeeze_kernels::gemm_f32::{self, Epilogue, Geometry, Residual};
use squeeze_kernels::gemm_i8::codes::{Codes, Fixed, Output};
use squeeze_kernels::winograd::{self, Size};
use squeeze_kernels::{Buffer, Quantization, Slab, Threads, Tier, Weight, conv_i8, winograd_i8};

/// Rounds, and at most so many seconds a line.
const ROUNDS: usize = 60;
const SECONDS: f64 = 1.0;
/// Bytes walked between two runs: what a second cache holds.
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
    let named = std::env::var("TIER")
        .ok()
        .and_then(|name| Tier::named(&name));
    let tier = named.unwrap_or(Tier::detect());
    let in_bytes = arguments.iter().any(|word| word == "--bytes");
    for (name, conv) in layers() {
        if name.contains(&filter[..]) && in_bytes {
            line_in_bytes(name, &conv, tier, &threads);
        } else if name.contains(&filter[..]) {
            line(name, &conv, tier, &threads);
        }
    }
    for (name, g, residual) in points() {
        if name.contains(&filter[..]) && !in_bytes {
            point(name, &g, residual, (tier, &threads));
        }
    }
}

fn point(name: &str, g: &Geometry, adds: bool, (tier, threads): (Tier, &Threads)) {
    let (a, w) = (Buffer::zeros(g.m * g.lda), vec![0.25; g.groups * g.n * g.k]);
    let packed = gemm_f32::Packed::pack(&w, g, tier);
    let other = Buffer::zeros(g.m * g.ldc);
    let mut c = Buffer::zeros(g.m * g.ldc);
    let epilogue = Epilogue {
        residual: match adds {
            true => Some(Residual::plain(&other)),
            false => None,
        },
        ..Epilogue::default()
    };
    let [time] = rounds([&mut || packed.run(&a, &epilogue, &mut c, threads)]);
    let rate = 2e-9 * g.macs() as f64 / time;
    println!("{name:44} direct {:8.1} us {rate:6.1} GFLOP/s", time * 1e6);
}

fn line(name: &str, conv: &Conv, tier: Tier, threads: &Threads) {
    let mut x = Buffer::zeros(conv.input());
    x.fill(0.5);
    let w = vec![0.25; conv.weight()];
    let epilogue = Epilogue::default();
    let direct = conv_f32::Packed::pack(&w, conv, tier);
    let [mut y0, mut y1, mut y2] = [(); 3].map(|()| Buffer::zeros(conv.output()));
    let rate = |seconds: f64| 2e-9 * conv.macs() as f64 / seconds;
    if !winograd::computes(conv) {
        let [time] = rounds([&mut || direct.run(&x, &epilogue, &mut y0, threads)]);
        return println!(
            "{name:44} direct {:8.1} us {:6.1} GFLOP/s",
            time * 1e6,
            rate(time)
        );
    }
    let [two, four] = Size::ALL.map(|size| winograd::Packed::pack(&w, conv, size, tier));
    let [mut s2, mut s4] =
        [&two, &four].map(|packed| Buffer::zeros(packed.scratch(threads.count())));
    let times = rounds([
        &mut || direct.run(&x, &epilogue, &mut y0, threads),
        &mut || two.run(&x, &epilogue, &mut y1, &mut s2, threads),
        &mut || four.run(&x, &epilogue, &mut y2, &mut s4, threads),
    ]);
    println!(
        "{name:44} direct {:8.1} us {:6.1} GFLOP/s, 2x2 {:8.1} us ({:.2}), 4x4 {:8.1} us ({:.2})",
        times[0] * 1e6,
        rate(times[0]),
        times[1] * 1e6,
        times[0] / times[1],
        times[2] * 1e6,
        times[0] / times[2],
    );
}

fn line_in_bytes(name: &str, conv: &Conv, tier: Tier, threads: &Threads) {
    let code = Quantization::of(-1.0, 1.0);
    let fixed = Fixed {
        codes: Codes {
            input: code,
            output: Some(code),
            residual: None,
        },
        bias: None,
        activation: Activation::Relu,
    };
    let w = vec![0.25; conv.weight()];
    let (weight, slab) = (Weight::Numbers(&w), Slab::default());
    let x = vec![100; conv.input()];
    let [mut y0, mut y1] = [(); 2].map(|()| vec![0; conv.output()]);
    let windows = conv_i8::Packed::pack_fixed(weight, conv, &fixed, tier, &slab);
    let mut s0 = Buffer::zeros(windows.scratch());
    let mut direct = || windows.run_bytes(&x, Output::Bytes(&mut y0, None), &mut s0, threads);
    let rate = |seconds: f64| 2e-9 * conv.macs() as f64 / seconds;
    if tier != Tier::Avx2 || !winograd_i8::computes(conv) {
        let [time] = rounds([&mut direct]);
        let us = time * 1e6;
        return println!("{name:44} direct {us:8.1} us {:6.1} GOP/s", rate(time));
    }
    let packed = winograd_i8::Packed::pack_fixed(weight, conv, &fixed, tier, &slab);
    let mut s1 = Buffer::zeros(packed.scratch(threads.count()));
    let times = rounds([&mut direct, &mut || {
        packed.run_bytes(&x, &mut y1, None, &mut s1, threads);
    }]);
    println!(
        "{name:44} direct {:8.1} us {:6.1} GOP/s, 2x2 {:8.1} us ({:.2})",
        times[0] * 1e6,
        rate(times[0]),
        times[1] * 1e6,
        times[0] / times[1],
    );
}

/// The median seconds of each way.
fn rounds<const N: usize>(mut ways: [&mut dyn FnMut(); N]) -> [f64; N] {
    let between = vec![1u8; BETWEEN];
    let mut times = [(); N].map(|()| vec![]);
    let start = Instant::now();
    for round in 0..ROUNDS {
        for (way, times) in ways.iter_mut().zip(&mut times) {
            let sum: u64 = between
                .iter()
                .step_by(64)
                .map(|&byte| u64::from(byte))
                .sum();
            assert!(sum > 0);
            let start = Instant::now();
            way();
            times.push(start.elapsed().as_secs_f64());
        }
        if round > 4 && start.elapsed().as_secs_f64() > SECONDS {
            break;
        }
    }
    let best = std::env::args().any(|argument| argument == "--best");
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[if best { 0 } else { times.len() / 2 }]
    })
}

fn square(size: usize, c: usize, out: usize) -> Conv {
    Conv {
        n: 1,
        h: size,
        w: size,
        c,
        out,
        kernel: [3; 2],
        stride: [1; 2],
        dilation: [1; 2],
        padding: [1; 4],
        groups: 1,
    }
}

fn dilated(dilation: usize) -> Conv {
    Conv {
        dilation: [dilation; 2],
        padding: [dilation; 4],
        ..square(32, 960, 256)
    }
}

fn layers() -> Vec<(&'static str, Conv)> {
    let strided = |size, out| Conv {
        stride: [2; 2],
        ..square(size, 3, out)
    };
    vec![
        ("resnet50 56 x 64 -> 64", square(56, 64, 64)),
        ("resnet50 28 x 128 -> 128", square(28, 128, 128)),
        ("resnet50 14 x 256 -> 256", square(14, 256, 256)),
        ("resnet50 7 x 512 -> 512", square(7, 512, 512)),
        ("squeezenet 55 x 16 -> 64", square(55, 16, 64)),
        ("squeezenet 27 x 32 -> 128", square(27, 32, 128)),
        ("squeezenet 13 x 48 -> 192", square(13, 48, 192)),
        ("squeezenet 13 x 64 -> 256", square(13, 64, 256)),
        ("56 x 8 -> 8", square(56, 8, 8)),
        ("56 x 16 -> 16", square(56, 16, 16)),
        ("28 x 16 -> 16", square(28, 16, 16)),
        ("14 x 16 -> 16", square(14, 16, 16)),
        ("7 x 64 -> 64", square(7, 64, 64)),
        ("4 x 128 -> 128", square(4, 128, 128)),
        (
            "14 x 4 x (32 -> 32)",
            Conv {
                groups: 4,
                ..square(14, 128, 128)
            },
        ),
        (
            "28 x 32 x (8 -> 8)",
            Conv {
                groups: 32,
                ..square(28, 256, 256)
            },
        ),
        ("deeplab 32 x 960 -> 256, dilation 12", dilated(12)),
        ("deeplab 32 x 960 -> 256, dilation 24", dilated(24)),
        ("deeplab 32 x 960 -> 256, dilation 36", dilated(36)),
        ("deeplab 32 x 256 -> 256", square(32, 256, 256)),
        ("first 224 x 3 -> 16", strided(224, 16)),
        ("first 224 x 3 -> 32", strided(224, 32)),
        (
            "first 224 x 3 -> 64",
            Conv {
                padding: [0; 4],
                ..strided(224, 64)
            },
        ),
        (
            "first 7x7 224 x 3 -> 64",
            Conv {
                kernel: [7; 2],
                padding: [3; 4],
                ..strided(224, 64)
            },
        ),
    ]
}

fn points() -> Vec<(&'static str, Geometry, bool)> {
    let dense = Geometry::dense;
    vec![
        (
            "point 3136 x 64 -> 256 + residual",
            dense(3136, 256, 64),
            true,
        ),
        ("point 3136 x 256 -> 64", dense(3136, 64, 256), false),
        (
            "point 784 x 128 -> 512 + residual",
            dense(784, 512, 128),
            true,
        ),
        ("point 784 x 512 -> 128", dense(784, 128, 512), false),
        (
            "point 196 x 256 -> 1024 + residual",
            dense(196, 1024, 256),
            true,
        ),
        ("point 196 x 1024 -> 256", dense(196, 256, 1024), false),
        (
            "point 49 x 512 -> 2048 + residual",
            dense(49, 2048, 512),
            true,
        ),
        ("point 3025 x 64 -> 16", dense(3025, 16, 64), false),
        ("point 3025 x 16 -> 64", dense(3025, 64, 16), false),
        ("point 3025 x 128 -> 16", dense(3025, 16, 128), false),
        ("point 729 x 32 -> 128", dense(729, 128, 32), false),
        ("point 169 x 512 -> 1000", dense(169, 1000, 512), false),
        ("point 3136 x 24 -> 144", dense(3136, 144, 24), false),
    ]
}
