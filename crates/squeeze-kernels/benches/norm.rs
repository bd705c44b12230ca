//! How long layer norms take, with and without a residual: `cargo bench --bench norm [filter]`.
//!
//! Each figure is the best of many rounds; rows begin on cache lines, as those of plans do.

mod best;

use squeeze_kernels::norm::{Affine, layer};
use squeeze_kernels::{Cpu, Threads, Tier};

fn main() {
    let filter = best::filter();
    let (tier, threads) = (Tier::detect(), Threads::new(1));
    let cpu = Cpu {
        tier,
        threads: &threads,
    };
    println!(
        "{:24} {:>12} {:>16}",
        tier.name(),
        "ns a row",
        "with residual"
    );
    for (rows, channels) in [(4, 768), (128, 768), (1024, 768), (128, 384), (128, 128)] {
        let name = format!("{rows} x {channels}");
        if !name.contains(&filter) {
            continue;
        }
        let mut all = vec![0.0; 3 * rows * channels + 2 * channels + 16];
        let start = all.as_ptr().align_offset(64);
        for (at, x) in all.iter_mut().enumerate() {
            *x = (at * 7 % 31) as f32 * 0.1 - 1.5;
        }
        let (x, rest) = all[start..].split_at_mut(rows * channels);
        let (residual, rest) = rest.split_at_mut(rows * channels);
        let (y, rest) = rest.split_at_mut(rows * channels);
        let (gamma, rest) = rest.split_at_mut(channels);
        let affine = Affine {
            gamma,
            beta: &rest[..channels],
        };
        let norm = layer::LayerNorm {
            channels,
            eps: 1e-12,
        };
        let plain = best::best(&mut || layer::forward(cpu, &norm, Some(x), None, affine, y));
        let added =
            best::best(&mut || layer::forward(cpu, &norm, Some(x), Some(residual), affine, y));
        let [plain, added] = [plain, added].map(|seconds| 1e9 * seconds / rows as f64);
        println!(
            "{:24} {plain:12.1} {added:16.1}",
            format!("{rows} x {channels}")
        );
    }
}
