//! The instruction sets that kernels are written for, and which of them this machine has.

use std::fmt;
use std::sync::OnceLock;

/// A set of instructions that a kernel may use, in rising order of width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Tier {
    /// Plain Rust, for every machine.
    Scalar,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512,
    /// The same with matrix registers for bfloat16 and bytes (AMX), on Linux.
    Amx,
}

impl Tier {
    /// Every tier that kernels are written for, in rising order.
    pub const ALL: [Tier; 4] = [Tier::Scalar, Tier::Avx2, Tier::Avx512, Tier::Amx];

    /// The best tier of this machine. Looked up once.
    pub fn detect() -> Tier {
        static BEST: OnceLock<Tier> = OnceLock::new();
        *BEST.get_or_init(|| {
            let mut best = Tier::Scalar;
            for tier in Tier::ALL {
                if tier.is_present() {
                    best = tier;
                }
            }
            best
        })
    }

    /// All tiers of this machine, in rising order; tests run each.
    pub fn here() -> Vec<Tier> {
        Tier::ALL
            .into_iter()
            .filter(|tier| tier.is_present())
            .collect()
    }

    /// Whether this machine can run kernels of this tier.
    #[cfg(target_arch = "x86_64")]
    pub fn is_present(self) -> bool {
        let avx2 = || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = || {
            avx2()
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
        };
        match self {
            Tier::Scalar => true,
            Tier::Avx2 => avx2(),
            Tier::Avx512 => avx512(),
            Tier::Amx => avx512() && crate::amx::is_present(),
        }
    }

    /// Whether this machine can run kernels of this tier.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn is_present(self) -> bool {
        self == Tier::Scalar
    }

    /// The name that tables and logs show.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Scalar => "scalar",
            Tier::Avx2 => "avx2",
            Tier::Avx512 => "avx512",
            Tier::Amx => "amx",
        }
    }

    /// The tier of this name, whether or not the machine has it.
    pub fn named(name: &str) -> Option<Tier> {
        Tier::ALL.into_iter().find(|tier| tier.name() == name)
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_tier_is_the_last_one_here() {
        assert_eq!(Tier::here().last(), Some(&Tier::detect()));
        assert_eq!(Tier::here()[0], Tier::Scalar);
    }

    #[test]
    fn names_round_trip() {
        for tier in Tier::ALL {
            assert_eq!(Tier::named(tier.name()), Some(tier));
        }
        assert_eq!(Tier::named("mmx"), None);
    }
}
