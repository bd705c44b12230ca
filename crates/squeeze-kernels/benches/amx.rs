//! Layers on matrix registers, every element, against the vector kernels: `cargo bench -p squeeze-kernels --bench amx`.

use std::time::Instant;

use squeeze_kernels::amx::{Element, Kernel, Packed};
use squeeze_kernels::conv_f32::{self, Conv};
use squeeze_kernels::gemm_f32::Epilogue;
use squeeze_kernels::{Threads, Tier};

/// The best time of some runs, in seconds.
fn best(mut run: impl FnMut()) -> f64 {
    (0..15).fold(f64::INFINITY, |best, _| {
        let start = Instant::now();
        run();
        best.min(start.elapsed().as_secs_f64())
    })
}

fn layer(name: &str, conv: Conv) {
    let number = |at: usize| (at * 7919 % 1000) as f32 / 500.0 - 1.0;
    let x: Vec<f32> = (0..conv.input()).map(number).collect();
    let w: Vec<f32> = (0..conv.weight()).map(number).collect();
    let mut y = vec![0.0; conv.output()];
    let threads = Threads::new(1);
    let epilogue = Epilogue::default();
    let vectors = conv_f32::Packed::pack(&w, &conv, Tier::detect());
    let gop = 2e-9 * conv.macs() as f64;
    let time = best(|| vectors.run(&x, &epilogue, &mut y, &threads));
    print!("{name:28} {:7.1} us {:5.0} |", 1e6 * time, gop / time);
    for element in Element::ALL {
        if Kernel::of(Tier::detect(), element).tier == Tier::Scalar {
            continue;
        }
        let packed = Packed::pack(&w, &conv, (conv.c, conv.out), element, Tier::detect());
        let mut scratch = vec![0.0; packed.scratch(1)];
        let time = best(|| packed.run(&x, &epilogue, &mut y, &mut scratch, &threads));
        print!(" {:7.1} us {:5.0} |", 1e6 * time, gop / time);
    }
    println!();
}

fn main() {
    let image = |side: usize, c: usize, out: usize, kernel: usize, stride: usize| Conv {
        n: 1,
        h: side,
        w: side,
        c,
        out,
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1, 1],
        padding: [kernel / 2; 4],
        groups: 1,
    };
    let text = |m: usize, n: usize, k: usize, groups: usize| Conv {
        h: 1,
        w: m,
        groups,
        ..image(1, k * groups, n * groups, 1, 1)
    };
    println!(
        "us and GOP/s: vectors in f32 | bf16 | bf16x3 | bf16x6 | i8 | f16, where the CPU has it"
    );
    layer("128 x 768 -> 768", text(128, 768, 768, 1));
    layer("128 x 768 -> 3072", text(128, 3072, 768, 1));
    layer("128 x 3072 -> 768", text(128, 768, 3072, 1));
    layer("128 x 4 (192 -> 192)", text(128, 192, 192, 4));
    layer("128 x 4 (192 -> 768)", text(128, 768, 192, 4));
    layer("128 x 4 (768 -> 192)", text(128, 192, 768, 4));
    layer("16 x 768 -> 768", text(16, 768, 768, 1));
    layer("32 x 768 -> 768", text(32, 768, 768, 1));
    layer("56 x 56 x 64 -> 64, 3x3", image(56, 64, 64, 3, 1));
    layer("28 x 28 x 128 -> 128, 3x3", image(28, 128, 128, 3, 1));
    layer("14 x 14 x 256 -> 256, 3x3", image(14, 256, 256, 3, 1));
    layer("7 x 7 x 512 -> 512, 3x3", image(7, 512, 512, 3, 1));
    layer("56 x 56 x 128 -> 128, 3x3/2", image(56, 128, 128, 3, 2));
    layer("56 x 56 x 64 -> 256", image(56, 64, 256, 1, 1));
    layer("112 x 112 x 16 -> 96", image(112, 16, 96, 1, 1));
    layer("112 x 112 x 32 -> 16", image(112, 32, 16, 1, 1));
    layer("56 x 56 x 24 -> 144", image(56, 24, 144, 1, 1));
    layer("14 x 14 x 384 -> 64", image(14, 384, 64, 1, 1));
    layer("14 x 14 x 64 -> 384", image(14, 64, 384, 1, 1));
    layer("7 x 7 x 960 -> 160", image(7, 960, 160, 1, 1));
    layer("7 x 7 x 160 -> 960", image(7, 160, 960, 1, 1));
}
