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
    /// How large the first, second and third cache are in bytes; zero where there is none, or nothing says so.
    pub cache_bytes: [usize; 3],
    /// Reads from the first and second cache, the third if there is one, and from beyond.
    pub l1_gbytes: f64,
    /// See above.
    pub l2_gbytes: f64,
    /// See above.
    pub l3_gbytes: Option<f64>,
    /// See above.
    pub memory_gbytes: f64,
}

/// What is taken for the sizes of caches where the system does not say them.
const CACHES: [usize; 3] = [32 << 10, 1 << 20, 0];
/// More than a third cache holds, or than a virtual machine has of one.
const MEMORY: usize = 64 << 20;

impl Peaks {
    /// Measures them: about a third of a second.
    pub fn measure() -> Peaks {
        const TRIES: usize = 20;
        let tier = Tier::detect();
        let cache_bytes = caches();
        let [l1, l2, l3] = cache_bytes;
        let tiles = peak::tile_gops(TRIES);
        Peaks {
            f32_gflops: peak::gflops(tier, TRIES),
            int8_gops: peak::gemm_i8_gops(tier, TRIES),
            bf16_gflops: peak::vector_gflops(Element::Bf16, TRIES),
            f16_gflops: peak::vector_gflops(Element::F16, TRIES),
            bf16_tiles_gflops: tiles.map(|[bf16, _]| bf16),
            int8_tiles_gops: tiles.map(|[_, int8]| int8),
            cache_bytes,
            l1_gbytes: peak::read_gbytes(tier, l1 / 2, TRIES),
            l2_gbytes: peak::read_gbytes(tier, l2 / 4, TRIES),
            l3_gbytes: (l3 > l2).then(|| peak::read_gbytes(tier, (4 * l2).min(l3 / 2), TRIES)),
            memory_gbytes: peak::read_gbytes(tier, (2 * l3).clamp(MEMORY, 4 * MEMORY), 3),
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
        let third =
            (self.l3_gbytes).map_or(String::new(), |l3| format!(", {l3:.0} from the third"));
        format!(
            "f32 {:.0} GFLOP/s, {bf16}{f16}int8 {:.0} GOP/s{tiles}; reads {:.0} GB/s from the first cache, {:.0} from the second{third}, {:.0} from beyond",
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
            name if name.starts_with("i8_") && name.ends_with("_amx") => {
                self.int8_tiles_gops.unwrap_or(self.int8_gops)
            }
            name if name.starts_with("i8_") || name.starts_with("u8_") => self.int8_gops,
            _ => self.f32_gflops,
        }
    }

    /// Of the smallest cache that holds so many bytes.
    fn bandwidth(&self, bytes: usize) -> f64 {
        let [l1, l2, l3] = self.cache_bytes;
        match self.l3_gbytes {
            _ if bytes <= l1 => self.l1_gbytes,
            _ if bytes <= l2 => self.l2_gbytes,
            Some(l3_gbytes) if bytes <= l3 => l3_gbytes,
            _ => self.memory_gbytes,
        }
    }
}

/// The sizes of the first core's caches of data, as Linux says them.
fn caches() -> [usize; 3] {
    let mut sizes = CACHES;
    let Ok(entries) = std::fs::read_dir("/sys/devices/system/cpu/cpu0/cache") else {
        return sizes;
    };
    for entry in entries.flatten() {
        let read = |name: &str| std::fs::read_to_string(entry.path().join(name)).ok();
        let (Some(level), Some(kind), Some(size)) = (read("level"), read("type"), read("size"))
        else {
            continue;
        };
        let level = level.trim().parse::<usize>().unwrap_or(0);
        if let (1..=3, Some(size), true) = (level, bytes(size.trim()), kind.trim() != "Instruction")
        {
            sizes[level - 1] = size;
        }
    }
    sizes
}

/// `32K` or `1M` as bytes.
fn bytes(size: &str) -> Option<usize> {
    let (number, unit) = match size.strip_suffix('K') {
        Some(number) => (number, 1 << 10),
        None => (size.strip_suffix('M')?, 1 << 20),
    };
    number.parse::<usize>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_caches() {
        assert_eq!(bytes("32K"), Some(32 << 10));
        assert_eq!(bytes("36M"), Some(36 << 20));
        assert_eq!([bytes("K"), bytes("32"), bytes("")], [None; 3]);
        let [l1, l2, _] = caches();
        assert!(0 < l1 && l1 < l2);
    }
}
