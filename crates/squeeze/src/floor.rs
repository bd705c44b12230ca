//! The least time that a step of a plan can take on this machine: operations over the peak of its instructions, or bytes over
//! the bandwidth of the memory they come from.

use squeeze_infer::StepInfo;
use squeeze_kernels::amx::Element;
use squeeze_kernels::{Tier, peak};

/// What one thread can do at best, measured here: billions of operations or bytes a second.
#[derive(Debug, serde::Serialize)]
pub struct Peaks {
    /// Multiply-adds of single precision in vector registers, two operations each.
    pub f32_gflops: f64,
    /// Of bytes in vector registers.
    pub int8_gops: f64,
    /// Of bfloat16 in vector registers, where the CPU multiplies it.
    pub bf16_gflops: Option<f64>,
    /// Of half precision in vector registers, where the CPU multiplies it.
    pub f16_gflops: Option<f64>,
    /// Of bfloat16 in matrix registers, where there are some.
    pub bf16_tiles_gflops: Option<f64>,
    /// Of bytes in matrix registers.
    pub int8_tiles_gops: Option<f64>,
    /// Reads from the first and second cache and from beyond.
    pub l1_gbytes: f64,
    /// See above.
    pub l2_gbytes: f64,
    /// See above.
    pub memory_gbytes: f64,
}

/// What is taken for the size of the first and of the second cache, in bytes.
const L1: usize = 32 << 10;
const L2: usize = 1 << 20;
const L2_END: usize = 2 << 20;
const MEMORY: usize = 64 << 20;

impl Peaks {
    /// Measures them: about a third of a second.
    pub fn measure() -> Peaks {
        const TRIES: usize = 20;
        let tier = Tier::detect();
        Peaks {
            f32_gflops: peak::gflops(tier, TRIES),
            int8_gops: peak::gemm_i8_gops(tier, TRIES),
            bf16_gflops: peak::vector_gflops(Element::Bf16, TRIES),
            f16_gflops: peak::vector_gflops(Element::F16, TRIES),
            bf16_tiles_gflops: peak::tile_gops(Element::Bf16, TRIES),
            int8_tiles_gops: peak::tile_gops(Element::I8, TRIES),
            l1_gbytes: peak::read_gbytes(tier, L1 / 2, TRIES),
            l2_gbytes: peak::read_gbytes(tier, L2 / 4, TRIES),
            memory_gbytes: peak::read_gbytes(tier, MEMORY, 3),
        }
    }

    /// In one line, for people.
    pub fn show(&self) -> String {
        let tiles = match (self.bf16_tiles_gflops, self.int8_tiles_gops) {
            (Some(bf16), Some(int8)) => {
                format!(", in matrix registers bf16 {bf16:.0} GFLOP/s and int8 {int8:.0} GOP/s")
            }
            _ => String::new(),
        };
        let vectors = |name: &str, peak: Option<f64>| {
            peak.map_or(String::new(), |peak| format!("{name} {peak:.0} GFLOP/s, "))
        };
        let (bf16, f16) = (
            vectors("bf16", self.bf16_gflops),
            vectors("f16", self.f16_gflops),
        );
        format!(
            "f32 {:.0} GFLOP/s, {bf16}{f16}int8 {:.0} GOP/s{tiles}; reads {:.0}, {:.0} and {:.0} GB/s from first cache, second cache and beyond",
            self.f32_gflops, self.int8_gops, self.l1_gbytes, self.l2_gbytes, self.memory_gbytes
        )
    }

    /// The floor of a step on so many threads, in milliseconds. Weights come from where those of the whole network fit, activations
    /// from where the step's fit.
    pub fn floor_ms(&self, step: &StepInfo, all_weights: usize, threads: usize) -> f64 {
        let operations = 2.0 * step.macs as f64 / self.rate(step.kernel);
        let activations = step.activation_bytes;
        // A table is not read whole, only the rows that are asked for.
        let weights = match step.macs {
            0 => 0,
            _ => step.weight_bytes,
        };
        let bytes = activations as f64 / self.bandwidth(activations)
            + weights as f64 / self.bandwidth(all_weights);
        operations.max(bytes) * 1e-6 / threads as f64
    }

    /// Billions of operations a second that a kernel could do.
    fn rate(&self, kernel: &str) -> f64 {
        let tiles = |element: Element| {
            let gflops = self.bf16_tiles_gflops.unwrap_or(self.f32_gflops);
            gflops / element.products() as f64
        };
        match kernel {
            "bf16_avx512" => self.bf16_gflops.unwrap_or(self.f32_gflops),
            "f16_avx512_fp16" => self.f16_gflops.unwrap_or(self.f32_gflops),
            "bf16_amx" => tiles(Element::Bf16),
            "bf16x3_amx" => tiles(Element::Bf16x3),
            "bf16x6_amx" => tiles(Element::Bf16x6),
            "i8_amx" => self.int8_tiles_gops.unwrap_or(self.int8_gops),
            name if name.starts_with("i8_") || name.starts_with("u8_") => self.int8_gops,
            _ => self.f32_gflops,
        }
    }

    fn bandwidth(&self, bytes: usize) -> f64 {
        match bytes {
            0..L1 => self.l1_gbytes,
            L1..L2_END => self.l2_gbytes,
            _ => self.memory_gbytes,
        }
    }
}
