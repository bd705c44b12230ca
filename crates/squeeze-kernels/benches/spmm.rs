//! Weights without their zeros against the dense product, in interleaved rounds on one thread:
//! `cargo bench -p squeeze-kernels --bench spmm [filter] [-- --at 90]`. Medians in microseconds, and how many times as quick as dense.

use std::time::Instant;

use squeeze_kernels::gemm_f32::{self, Epilogue, Geometry};
use squeeze_kernels::spmm::{Block, Element, Packed};
use squeeze_kernels::{Threads, Tier, Weight, gemm_i8};

/// Interleaved rounds of a line.
const ROUNDS: usize = 15;

/// Percentages of weights that are zero.
const SPARSITIES: [usize; 8] = [20, 35, 50, 60, 70, 80, 90, 95];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let at = arguments.iter().position(|argument| argument == "--at");
    let only: Option<usize> = at.and_then(|at| arguments.get(at + 1)?.parse().ok());
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let filter = filter.filter(|_| at != Some(0)).map_or("", String::as_str);
    let tier = std::env::var("TIER")
        .ok()
        .and_then(|name| Tier::named(&name));
    let tier = tier.unwrap_or_else(Tier::detect);
    println!("us and times as quick at tier {tier}: dense | 1x1 | 4x1 | 16x1, in f32 and in bytes");
    for (name, g) in shapes() {
        if !name.contains(filter) {
            continue;
        }
        for sparsity in SPARSITIES {
            if only.is_none_or(|only| only == sparsity) {
                line(&format!("{name} {sparsity} %"), &g, sparsity, tier);
            }
        }
    }
}

fn shapes() -> Vec<(&'static str, Geometry)> {
    let dense = Geometry::dense;
    vec![
        ("128 x 768 -> 768", dense(128, 768, 768)),
        ("128 x 768 -> 3072", dense(128, 3072, 768)),
        ("128 x 3072 -> 768", dense(128, 768, 3072)),
        ("16 x 768 -> 768", dense(16, 768, 768)),
        (
            "128 x 4 x (192 -> 192)",
            Geometry::grouped(128, 192, 192, 4),
        ),
        (
            "128 x 4 x (192 -> 768)",
            Geometry::grouped(128, 768, 192, 4),
        ),
        (
            "128 x 4 x (768 -> 192)",
            Geometry::grouped(128, 192, 768, 4),
        ),
        ("12544 x 32 -> 16", dense(12_544, 16, 32)),
        ("3136 x 24 -> 144", dense(3136, 144, 24)),
        ("3136 x 64 -> 256", dense(3136, 256, 64)),
        ("784 x 128 -> 512", dense(784, 512, 128)),
        ("196 x 384 -> 64", dense(196, 64, 384)),
        ("196 x 1024 -> 256", dense(196, 256, 1024)),
        ("49 x 960 -> 160", dense(49, 160, 960)),
        ("49 x 512 -> 2048", dense(49, 2048, 512)),
    ]
}

/// Weights of which so many per cent are zero, block by block.
fn weights(g: &Geometry, sparsity: usize, block: Block) -> Vec<f32> {
    let mut state = 12345u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 40) as f32 / (1 << 24) as f32
    };
    let mut weight = vec![0.0; g.groups * g.n * g.k];
    for rows in weight.chunks_mut(g.k * block.outputs()) {
        for k in 0..g.k {
            if next() * 100.0 >= sparsity as f32 {
                let column = rows.iter_mut().skip(k).step_by(g.k);
                column.for_each(|weight| *weight = next() - 0.5);
            }
        }
    }
    weight
}

fn line(name: &str, g: &Geometry, sparsity: usize, tier: Tier) {
    let threads = Threads::new(1);
    let epilogue = Epilogue::default();
    let a: Vec<f32> = (0..g.m * g.lda)
        .map(|at| (at * 7919 % 1000) as f32 / 500.0 - 1.0)
        .collect();
    let dense = weights(g, sparsity, Block::One);
    let numbers = gemm_f32::Packed::pack(&dense, g, tier);
    let bytes = gemm_i8::Packed::pack(Weight::Numbers(&dense), g, tier);
    print!("{name:32}");
    for element in Element::ALL {
        let sparse = Block::ALL.map(|block| {
            let weight = weights(g, sparsity, block);
            Packed::pack(Weight::Numbers(&weight), g, block, element, tier)
        });
        let most = sparse.iter().map(|sparse| sparse.scratch(1)).max();
        let mut scratch = vec![0.0; most.unwrap_or(0).max(bytes.scratch())];
        let mut c = vec![0.0; g.m * g.ldc];
        let mut times: [Vec<f64>; 4] = Default::default();
        for _ in 0..ROUNDS {
            for (index, times) in times.iter_mut().enumerate() {
                // The second run counts: weights come from where one run leaves them.
                for run in 0..2 {
                    let start = Instant::now();
                    match (index, element) {
                        (0, Element::F32) => numbers.run(&a, &epilogue, &mut c, &threads),
                        (0, Element::I8) => {
                            bytes.run(&a, &epilogue, &mut c, &mut scratch, &threads);
                        }
                        _ => sparse[index - 1].run(&a, &epilogue, &mut c, &mut scratch, &threads),
                    }
                    if run == 1 {
                        times.push(1e6 * start.elapsed().as_secs_f64());
                    }
                }
            }
        }
        let medians = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[ROUNDS / 2]
        });
        print!(" |");
        for (index, median) in medians.iter().enumerate() {
            print!(" {median:7.1}");
            if index > 0 {
                print!(" ({:5.2})", medians[0] / median);
            }
        }
    }
    println!();
}
