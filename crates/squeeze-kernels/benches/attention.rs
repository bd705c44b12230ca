//! How near to a thread's peak attention comes, in single precision and in bfloat16: `cargo bench --bench attention [filter]`.
//!
//! Each figure is the best of many rounds; multiply-adds are those of scores and sums.

use std::time::Instant;

use squeeze_kernels::amx::Element;
use squeeze_kernels::attention::{self, Attention, Qkv};
use squeeze_kernels::{Cpu, Threads, Tier, peak};

/// Rounds, and about how many seconds each takes.
const ROUNDS: usize = 40;
const SECONDS: f64 = 0.002;

fn main() {
    let filter = std::env::args()
        .skip(1)
        .find(|arg| !arg.starts_with('-'))
        .unwrap_or_default();
    let (tier, threads) = (Tier::detect(), Threads::new(1));
    let cpu = Cpu {
        tier,
        threads: &threads,
    };
    let most = [
        peak::gflops(tier, 20),
        peak::bf16_gflops(20).unwrap_or(f64::NAN),
    ];
    println!(
        "{:36} {:>9} {:>9} {:>8}",
        tier.name(),
        "us",
        "GFLOP/s",
        "of peak"
    );
    for (tokens, heads, dim) in [(128, 12, 64), (128, 12, 32), (128, 4, 32), (32, 12, 64)] {
        let attention = Attention {
            n: 1,
            tokens,
            starts: None,
            heads,
            dim,
            scale: 1.0 / (dim as f32).sqrt(),
            lengths: None,
            additive: None,
        };
        let numbers = tokens * heads * dim;
        let x: Vec<f32> = (0..3 * numbers)
            .map(|at| (at * 7 % 31) as f32 * 0.1 - 1.5)
            .collect();
        let qkv = Qkv::separate(&attention, &x[..numbers], &x[numbers..], &x[2 * numbers..]);
        let mut y = vec![0.0; numbers];
        let mut scratch = vec![
            0.0;
            attention
                .tiles_scratch(Element::Bf16, 1)
                .max(attention.forward_scratch(1))
        ];
        for (name, most) in ["f32", "bf16"].into_iter().zip(most) {
            let name = format!("{tokens} tokens, {heads} x {dim}, {name}");
            if !name.contains(&filter) {
                continue;
            }
            let is_f32 = name.ends_with("f32");
            let seconds = best(&mut || match is_f32 {
                true => attention::forward(cpu, &attention, qkv, &mut y, &mut scratch),
                false => {
                    attention::forward_on_tiles(
                        cpu,
                        &attention,
                        Element::Bf16,
                        qkv,
                        &mut y,
                        &mut scratch,
                    );
                }
            });
            let rate = 4e-9 * (tokens * numbers) as f64 / seconds;
            let share = 100.0 * rate / most;
            println!("{name:36} {:9.1} {rate:9.1} {share:7.0}%", 1e6 * seconds);
        }
    }
}

/// The best round's seconds a run.
fn best(run: &mut dyn FnMut()) -> f64 {
    run();
    let start = Instant::now();
    run();
    let times = (SECONDS / start.elapsed().as_secs_f64().max(1e-9)).ceil() as usize;
    let round = |_| {
        let start = Instant::now();
        (0..times).for_each(|_| run());
        start.elapsed().as_secs_f64() / times as f64
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}
