//! How near to a thread's peak attention comes, in single precision, bfloat16 and bytes: `cargo bench --bench attention [filter]`.
//!
//! Each figure is the best of many rounds; multiply-adds are those of scores and sums.

mod best;

use squeeze_kernels::amx::Element;
use squeeze_kernels::attention::{self, Attention, Qkv, Sight};
use squeeze_kernels::{Cpu, Threads, Tier, peak};

fn main() {
    let filter = best::filter();
    let (tier, threads) = (Tier::detect(), Threads::new(1));
    let cpu = Cpu {
        tier,
        threads: &threads,
    };
    let most = [
        peak::gflops(tier, 20),
        peak::vector_gflops(Element::Bf16, 20).unwrap_or(f64::NAN),
        peak::gemm_i8_gops(tier, 20),
    ];
    println!(
        "{:36} {:>9} {:>9} {:>8}",
        tier.name(),
        "us",
        "GFLOP/s",
        "of peak"
    );
    for (tokens, heads, dim) in [
        (128, 12, 64),
        (256, 12, 64),
        (384, 12, 64),
        (128, 12, 32),
        (128, 4, 32),
        (32, 12, 64),
    ] {
        let attention = Attention {
            n: 1,
            tokens,
            sight: Sight::All,
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
                .max(attention.bytes_scratch(1))
        ];
        for (kind, most) in ["f32", "bf16", "bytes"].into_iter().zip(most) {
            let name = format!("{tokens} tokens, {heads} x {dim}, {kind}");
            if !name.contains(&filter) {
                continue;
            }
            let seconds = best::best(&mut || match kind {
                "f32" => attention::forward(cpu, &attention, qkv, &mut y, &mut scratch),
                "bytes" => {
                    attention::forward_in_bytes(cpu, &attention, qkv, &mut y, &mut scratch);
                }
                _ => {
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
