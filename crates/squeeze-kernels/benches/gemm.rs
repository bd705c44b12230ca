//! How near to a thread's peak the products, convolutions and their gradients come: `cargo bench --bench gemm [filter]`.
//!
//! Each figure is the best of many short rounds; one and two threads are measured in turn with the peak, so that a machine that slows
//! down slows them alike.

use std::time::Instant;

use squeeze_kernels::conv_f32::{self, Conv};
use squeeze_kernels::conv_i8;
use squeeze_kernels::gemm_f32::{self, Epilogue, Geometry, Scratch, Start};
use squeeze_kernels::{Cpu, Threads, Tier, Weight, peak};

/// Rounds, and about how long each runs.
const ROUNDS: usize = 60;
const SECONDS: f64 = 0.001;
/// A line takes no longer than this.
const MOST_SECONDS: f64 = 1.5;

fn main() {
    let filter = std::env::args()
        .skip(1)
        .find(|arg| !arg.starts_with('-'))
        .unwrap_or_default();
    let tiers: Vec<Tier> = match std::env::var("TIER")
        .ok()
        .and_then(|name| Tier::named(&name))
    {
        Some(tier) => vec![tier],
        None => vec![Tier::detect()],
    };
    for tier in tiers {
        println!(
            "{:32} {:>9} {:>9} {:>7} {:>9}",
            tier.name(),
            "1 thread",
            "of peak",
            "peak",
            "2 threads"
        );
        for (name, g) in products() {
            let (a, w) = (vec![0.5; g.m * g.lda], vec![0.25; g.groups * g.n * g.k]);
            let packed = gemm_f32::Packed::pack(&w, &g, tier);
            let mut c = vec![0.0; g.m * g.ldc];
            report(&filter, name, tier, g.macs(), |threads| {
                packed.run(&a, &Epilogue::default(), &mut c, threads)
            });
        }
        for (name, g) in trained() {
            let (x, w) = (vec![0.5; g.m * g.lda], vec![0.25; g.groups * g.n * g.k]);
            let (mut y, mut dx, mut dw) = (
                vec![0.5; g.m * g.ldc],
                vec![0.0; x.len()],
                vec![0.0; w.len()],
            );
            let mut s = Scratch::default();
            report(
                &filter,
                &format!("{name} forward"),
                tier,
                g.macs(),
                |threads| {
                    gemm_f32::forward(
                        &g,
                        (&x, &w),
                        &Epilogue::default(),
                        &mut y,
                        &mut s,
                        Cpu { tier, threads },
                    );
                },
            );
            report(&filter, &format!("{name} dx"), tier, g.macs(), |threads| {
                gemm_f32::input_gradient(
                    &g,
                    (&w, &y),
                    &mut dx,
                    Start::Zero,
                    &mut s,
                    Cpu { tier, threads },
                );
            });
            report(&filter, &format!("{name} dw"), tier, g.macs(), |threads| {
                gemm_f32::weight_gradient(&g, (&y, &x), &mut dw, &mut s, Cpu { tier, threads });
            });
        }
        for (name, g) in convolutions() {
            let (x, w) = (vec![0.5; g.input()], vec![0.25; g.weight()]);
            let (mut y, mut dx, mut dw) = (
                vec![0.5; g.output()],
                vec![0.0; x.len()],
                vec![0.0; w.len()],
            );
            let packed = conv_f32::Packed::pack(&w, &g, tier);
            let mut s = Scratch::default();
            report(&filter, name, tier, g.macs(), |threads| {
                packed.run(&x, &Epilogue::default(), &mut y, threads)
            });
            let bytes = conv_i8::Packed::pack(Weight::Numbers(&w), &g, tier);
            let mut scratch = vec![0.0; bytes.scratch()];
            report(&filter, &format!("{name} i8"), tier, g.macs(), |threads| {
                bytes.run(&x, &Epilogue::default(), &mut y, &mut scratch, threads)
            });
            report(&filter, &format!("{name} dx"), tier, g.macs(), |threads| {
                conv_f32::input_gradient(
                    &g,
                    (&w, &y),
                    &mut dx,
                    Start::Zero,
                    &mut s,
                    Cpu { tier, threads },
                );
            });
            report(&filter, &format!("{name} dw"), tier, g.macs(), |threads| {
                conv_f32::weight_gradient(&g, (&y, &x), &mut dw, &mut s, Cpu { tier, threads });
            });
        }
    }
}

fn products() -> Vec<(&'static str, Geometry)> {
    vec![
        ("128 x 768 -> 768", Geometry::dense(128, 768, 768)),
        (
            "128 x 4 x (192 -> 192)",
            Geometry::grouped(128, 192, 192, 4),
        ),
        ("128 x 768 -> 3072", Geometry::dense(128, 3072, 768)),
        ("128 x 3072 -> 768", Geometry::dense(128, 768, 3072)),
        (
            "128 x 4 x (192 -> 768)",
            Geometry::grouped(128, 768, 192, 4),
        ),
        ("16 x 768 -> 768", Geometry::dense(16, 768, 768)),
        ("1 x 768 -> 768", Geometry::dense(1, 768, 768)),
        ("64 x 128 -> 128", Geometry::dense(64, 128, 128)),
        ("64 x 4 x (32 -> 32)", Geometry::grouped(64, 32, 32, 4)),
        ("64 x 8 x (16 -> 16)", Geometry::grouped(64, 16, 16, 8)),
        ("64 x 16 x (8 -> 8)", Geometry::grouped(64, 8, 8, 16)),
    ]
}

fn trained() -> Vec<(&'static str, Geometry)> {
    vec![
        ("2048 x 256 -> 1024", Geometry::dense(2048, 1024, 256)),
        (
            "2048 x 4 x (64 -> 256)",
            Geometry::grouped(2048, 256, 64, 4),
        ),
        ("2048 x 1024 -> 256", Geometry::dense(2048, 256, 1024)),
        (
            "2048 x 4 x (256 -> 64)",
            Geometry::grouped(2048, 64, 256, 4),
        ),
    ]
}

fn convolutions() -> Vec<(&'static str, Conv)> {
    let square = |size: usize, c: usize, out: usize, kernel: usize| Conv {
        n: 1,
        h: size,
        w: size,
        c,
        out,
        kernel: [kernel; 2],
        stride: [1; 2],
        dilation: [1; 2],
        padding: [kernel / 2; 4],
        groups: 1,
    };
    vec![
        ("3x3 56x56 64 -> 64", square(56, 64, 64, 3)),
        (
            "3x3 56x56 64 -> 64 groups 4",
            Conv {
                groups: 4,
                ..square(56, 64, 64, 3)
            },
        ),
        (
            "3x3 56x56 64 -> 64 groups 8",
            Conv {
                groups: 8,
                ..square(56, 64, 64, 3)
            },
        ),
        (
            "3x3 56x56 64 -> 64 groups 16",
            Conv {
                groups: 16,
                ..square(56, 64, 64, 3)
            },
        ),
        ("3x3 7x7 512 -> 512", square(7, 512, 512, 3)),
        (
            "7x7/2 224x224 3 -> 64",
            Conv {
                stride: [2; 2],
                ..square(224, 3, 64, 7)
            },
        ),
        (
            "3x3/2 56x56 64 -> 128",
            Conv {
                stride: [2; 2],
                ..square(56, 64, 128, 3)
            },
        ),
        (
            "3x3 16 x 32x32 32 -> 32",
            Conv {
                n: 16,
                ..square(32, 32, 32, 3)
            },
        ),
        (
            "3x3 16 x 28x28 1 -> 16",
            Conv {
                n: 16,
                ..square(28, 1, 16, 3)
            },
        ),
    ]
}

/// Prints GFLOP/s of `run` on one thread beside the peak, and on two.
fn report(filter: &str, name: &str, tier: Tier, macs: usize, mut run: impl FnMut(&Threads)) {
    if !name.contains(filter) {
        return;
    }
    let pools = [Threads::new(1), Threads::new(2)];
    let (mut best, mut peak) = ([0.0f64; 2], 0.0f64);
    let begin = Instant::now();
    for round in 0..ROUNDS {
        if round > 3 && begin.elapsed().as_secs_f64() > MOST_SECONDS {
            break;
        }
        peak = peak.max(peak::gflops(tier, 1));
        for (threads, best) in pools.iter().zip(&mut best) {
            run(threads);
            let start = Instant::now();
            let mut runs = 0;
            while start.elapsed().as_secs_f64() < SECONDS {
                run(threads);
                runs += 1;
            }
            let seconds = start.elapsed().as_secs_f64();
            *best = best.max(2e-9 * (runs * macs) as f64 / seconds);
        }
    }
    println!(
        "{name:32} {:9.1} {:8.0}% {peak:7.1} {:9.1}",
        best[0],
        100.0 * best[0] / peak,
        best[1]
    );
}
