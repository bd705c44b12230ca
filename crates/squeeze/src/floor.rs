//! The least time that a step of a plan can take on this machine: operations over the peak of its instructions, or bytes over
//! the bandwidth of the memory that they come from and go to.

use squeeze_infer::StepInfo;
use squeeze_kernels::amx::Element;
use squeeze_kernels::{Tier, peak};
use squeeze_measure::Subject;

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
    /// The first cache, the second, the third if there is one, and what lies beyond.
    pub memory: Vec<Level>,
}

/// A cache, or the memory beyond them.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Level {
    /// How much fits; anything beyond the last cache.
    pub bytes: Option<usize>,
    /// Billions of bytes a second that are read.
    pub read_gbytes: f64,
    /// Billions of bytes a second that are read and written where each one is copied; both count.
    pub copy_gbytes: f64,
}

impl Level {
    /// Measures one that holds so many bytes, of which some are read and copied.
    fn measure(bytes: Option<usize>, some: usize, tries: usize) -> Level {
        let tier = Tier::detect();
        Level {
            bytes,
            read_gbytes: peak::read_gbytes(tier, some, tries),
            copy_gbytes: peak::copy_gbytes(tier, some, tries),
        }
    }

    /// Nanoseconds that reading and writing so many bytes take. Writing is what copying takes longer than reading.
    fn ns(&self, read: usize, written: usize) -> f64 {
        let write = (2.0 / self.copy_gbytes - 1.0 / self.read_gbytes).max(0.0);
        read as f64 / self.read_gbytes + written as f64 * write
    }
}

/// What is taken for the sizes of caches where the system does not say them.
const CACHES: [usize; 3] = [32 << 10, 1 << 20, 0];
/// More than a third cache holds, or than a virtual machine has of one.
const MEMORY: usize = 64 << 20;

/// How often each peak is measured: the best counts. Fewer while a network runs in between.
const TRIES: [usize; 2] = [20, 3];

impl Peaks {
    /// Measures them: about half a second.
    pub fn measure() -> Peaks {
        let [_, _, l3] = caches();
        let beyond = (2 * l3).clamp(MEMORY, 4 * MEMORY);
        let [many, few] = TRIES;
        Peaks::with(Level::measure(None, beyond, few), many)
    }

    /// Measures them once more, but for what lies beyond all caches: some milliseconds.
    pub fn again(&self) -> Peaks {
        let beyond = self.memory.last().expect("it lies beyond all caches");
        let [_, few] = TRIES;
        Peaks::with(*beyond, few)
    }

    fn with(beyond: Level, tries: usize) -> Peaks {
        let tier = Tier::detect();
        let [l1, l2, l3] = caches();
        let tiles = peak::tile_gops(tries);
        let mut memory = vec![
            Level::measure(Some(l1), l1 / 2, tries),
            Level::measure(Some(l2), l2 / 4, tries),
        ];
        if l3 > l2 {
            memory.push(Level::measure(Some(l3), (4 * l2).min(l3 / 2), tries));
        }
        memory.push(beyond);
        Peaks {
            f32_gflops: peak::gflops(tier, tries),
            int8_gops: peak::gemm_i8_gops(tier, tries),
            bf16_gflops: peak::vector_gflops(Element::Bf16, tries),
            f16_gflops: peak::vector_gflops(Element::F16, tries),
            bf16_tiles_gflops: tiles.map(|[bf16, _]| bf16),
            int8_tiles_gops: tiles.map(|[_, int8]| int8),
            memory,
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
        let rates = |rate: fn(&Level) -> f64| {
            let rates: Vec<String> = (self.memory.iter())
                .map(|level| format!("{:.0}", rate(level)))
                .collect();
            rates.join(", ")
        };
        format!(
            "f32 {:.0} GFLOP/s, {bf16}{f16}int8 {:.0} GOP/s{tiles}; from the first cache on to beyond the last, reads {} GB/s, copies {} GB/s",
            self.f32_gflops,
            self.int8_gops,
            rates(|level| level.read_gbytes),
            rates(|level| level.copy_gbytes),
        )
    }

    /// The floor of a step on so many threads, in milliseconds. Weights are read at so many gigabytes a second, activations come from the
    /// smallest cache that holds the step's.
    fn floor_ms(&self, step: &StepInfo, weights_gbytes: f64, threads: usize) -> f64 {
        let operations = 2.0 * step.macs as f64 / self.rate(step.kernel);
        // A table is not read whole, only the rows that are asked for.
        let weights = match step.macs {
            0 => 0,
            _ => step.weight_bytes,
        };
        let activations = self.holding(step.read_bytes + step.write_bytes);
        let bytes =
            activations.ns(step.read_bytes, step.write_bytes) + weights as f64 / weights_gbytes;
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

    /// The smallest cache that holds so many bytes.
    fn holding(&self, bytes: usize) -> &Level {
        let fits = |level: &&Level| level.bytes.is_none_or(|all| bytes <= all);
        self.memory
            .iter()
            .find(fits)
            .expect("anything fits beyond all caches")
    }
}

/// Rounds in which the steps of a plan are timed.
pub const ROUNDS: usize = 30;

/// What a step takes.
#[derive(Debug)]
pub struct StepTime {
    /// Milliseconds.
    pub ms: f64,
    /// The least it can take.
    pub floor_ms: f64,
    /// How much of its time that is.
    pub fraction: f64,
}

/// The time of each step of a plan beside its floor, medians of rounds. Both are measured in each: what else the machine does makes both
/// longer. Calls `at` with the number of each round.
pub fn step_times(
    (subject, threads): (&mut Subject, usize),
    peaks: &Peaks,
    at: impl Fn(usize),
) -> Vec<StepTime> {
    // What is read of as many bytes as all weights have: of a third cache that others use too, only a part is at hand.
    let [_, tries] = TRIES;
    let weights = peak::read_gbytes(Tier::detect(), subject.plan().weight_bytes(), tries);
    let mut rounds: Vec<[Vec<f64>; 2]> = vec![];
    for round in 0..ROUNDS {
        at(round);
        let peaks = peaks.again();
        let times = subject.step_times(1);
        let floor = |step: StepInfo| peaks.floor_ms(&step, weights, threads);
        rounds.push([times, subject.plan().steps().map(floor).collect()]);
    }
    let of_step = |step: usize| {
        let middle = |of: fn(f64, f64) -> f64| {
            let rounds = rounds.iter();
            median(rounds.map(|[times, floors]| of(times[step], floors[step])))
        };
        StepTime {
            ms: middle(|ms, _| ms),
            floor_ms: middle(|_, floor| floor),
            fraction: middle(|ms, floor| floor / ms),
        }
    };
    (0..rounds[0][0].len()).map(of_step).collect()
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
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

    #[test]
    fn bytes_take_as_long_as_they_are_read_and_copied() {
        let level = |bytes, read_gbytes, copy_gbytes| Level {
            bytes,
            read_gbytes,
            copy_gbytes,
        };
        let (near, far) = (level(Some(100), 4.0, 2.0), level(None, 1.0, 1.0));
        assert_eq!(near.ns(8, 0), 2.0);
        assert_eq!(near.ns(8, 8), 8.0);
        assert_eq!(near.ns(0, 8), 6.0);
        let peaks = Peaks {
            memory: vec![near, far],
            ..Peaks::with(far, 1)
        };
        assert_eq!(peaks.holding(100).read_gbytes, 4.0);
        assert_eq!(peaks.holding(101).read_gbytes, 1.0);
        assert!(peaks.again().memory.len() >= 3);
    }
}
