//! How near to a thread's peak of bytes products in 8-bit integers come: `cargo bench --bench gemm_i8 [filter]`.
//!
//! Rows that are bytes already and become bytes again (images), and rows of numbers (texts). Each figure is the best of many rounds.

mod best;

use squeeze_kernels::Weight;
use squeeze_kernels::activation::Activation;
use squeeze_kernels::gemm_f32::{Epilogue, Geometry};
use squeeze_kernels::gemm_i8::Packed;
use squeeze_kernels::gemm_i8::codes::{Codes, Fixed, Output};
use squeeze_kernels::{Quantization, Slab, Threads, Tier, peak};

fn main() {
    let filter = best::filter();
    let (tier, threads) = (Tier::detect(), Threads::new(1));
    let most = peak::gemm_i8_gops(tier, 20);
    println!(
        "{:44} {:>9} {:>9} {:>8}",
        tier.name(),
        "us",
        "GOP/s",
        "of peak"
    );
    let report = |name: String, macs: usize, run: &mut dyn FnMut()| {
        if !name.contains(&filter) {
            return;
        }
        let seconds = best::best(run);
        let rate = 2e-9 * macs as f64 / seconds;
        println!(
            "{name:44} {:9.1} {rate:9.1} {:7.0}%",
            1e6 * seconds,
            100.0 * rate / most
        );
    };
    for (m, k, n) in [
        (12544, 16, 96),
        (3136, 24, 144),
        (784, 32, 192),
        (784, 192, 32),
        (196, 96, 576),
        (196, 576, 96),
        (3136, 16, 64),
        (3136, 64, 256),
        (784, 128, 512),
    ] {
        let g = Geometry::dense(m, n, k);
        let input = Quantization::of(-1.0, 1.0);
        let fixed = Fixed {
            codes: Codes {
                input,
                output: Some(Quantization::of(0.0, 6.0)),
                residual: None,
            },
            bias: None,
            activation: Activation::Relu6,
        };
        let weight = vec![0.01; n * k];
        let packed =
            Packed::pack_fixed(Weight::Numbers(&weight), &g, &fixed, tier, &Slab::default());
        let (a, mut c) = (vec![131; m * k], vec![0; m * n]);
        let mut scratch = vec![0.0; packed.scratch()];
        report(format!("bytes {m} x {k} -> {n}"), g.macs(), &mut || {
            packed.run_bytes(&a, Output::Bytes(&mut c, None), &mut scratch, &threads);
        });
    }
    for (m, k, n, groups, activation) in [
        (128, 192, 192, 4, Activation::Identity),
        (128, 192, 768, 4, Activation::Gelu),
        (128, 768, 192, 4, Activation::Identity),
        (128, 768, 768, 1, Activation::Identity),
        (128, 768, 3072, 1, Activation::Gelu),
        (128, 128, 128, 1, Activation::Relu),
        (128, 128, 512, 1, Activation::Relu),
    ] {
        let g = Geometry::grouped(m, n, k, groups);
        let weight = vec![0.01; groups * n * k];
        let packed = Packed::pack(Weight::Numbers(&weight), &g, tier);
        let a: Vec<f32> = (0..m * groups * k).map(|at| (at % 17) as f32).collect();
        let mut c = vec![0.0; m * groups * n];
        let mut scratch = vec![0.0; packed.scratch()];
        let epilogue = Epilogue {
            activation,
            ..Epilogue::default()
        };
        let name = format!("numbers {m} x {groups} ({k} -> {n}) {activation:?}");
        report(name, g.macs(), &mut || {
            packed.run(&a, &epilogue, &mut c, &mut scratch, &threads);
        });
    }
}
