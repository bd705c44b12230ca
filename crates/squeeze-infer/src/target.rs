//! What a plan is compiled for.

use squeeze_kernels::Tier;
use squeeze_kernels::amx::{self, Element};
use squeeze_tensor::Weights;

use crate::prices::Prices;

/// The instructions, the threads and the precision that a plan may use, and what kernels cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Instructions that kernels may use.
    pub tier: Tier,
    /// Threads, the caller among them.
    pub threads: usize,
    /// Least precise numbers that products may be made of.
    pub precision: Precision,
    /// By which families of kernels are weighed against each other.
    pub prices: Prices,
}

/// What products with weights are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Sums of two bfloat16, which hold 16 of a number's 24 bits, where the CPU has matrix registers.
    Bf16x3,
    /// bfloat16, which holds 8 of a number's 24 bits, where the CPU has matrix registers or AVX-512 with BF16.
    Bf16,
    /// Half precision, which holds 11 of a number's 24 bits, where the CPU multiplies it (AVX512-FP16), or [`Precision::Bf16x3`] where
    /// that is quicker.
    F16,
    /// Bytes where the plan knows how: weights with a scale an output channel. Images whose ranges are known
    /// ([`calibrate`](crate::calibrate)) stay in bytes between layers; other activations become bytes just before products, with a scale a
    /// row, or an image where windows share its pixels, and are single precision between them.
    Int8,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Precision; 5] = [
        Precision::F32,
        Precision::Bf16x3,
        Precision::Bf16,
        Precision::F16,
        Precision::Int8,
    ];

    /// What a network with these weights is meant to run in: bytes where some of them are bytes.
    pub fn of(weights: &Weights) -> Self {
        match weights.has_bytes() {
            true => Self::Int8,
            false => Self::F32,
        }
    }

    /// The name on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16x3 => "bf16x3",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }

    /// What its tiles are made of; products and windows in bytes have families of their own.
    pub(crate) fn element(self) -> Option<Element> {
        match self {
            Self::F32 => Some(Element::Bf16x6),
            Self::Bf16x3 => Some(Element::Bf16x3),
            Self::Bf16 => Some(Element::Bf16),
            Self::F16 => Some(Element::F16),
            Self::Int8 => None,
        }
    }

    /// The precisions whose tiles it may use: its own, and more exact ones that can be quicker.
    pub(crate) fn tiles(self) -> &'static [Precision] {
        match self {
            Self::F32 => &[Self::F32],
            Self::Bf16x3 => &[Self::Bf16x3],
            Self::Bf16 => &[Self::Bf16],
            Self::F16 => &[Self::F16, Self::Bf16x3],
            Self::Int8 => &[],
        }
    }

    /// What help texts say of it.
    pub fn about(self) -> &'static str {
        match self {
            Self::F32 => "single precision",
            Self::Bf16x3 => {
                "16 of 24 bits, where the CPU has matrix registers; else single precision"
            }
            Self::Bf16 => "8 of 24 bits, where the CPU multiplies bfloat16; else single precision",
            Self::F16 => {
                "11 of 24 bits, where the CPU multiplies half precision, or 16 where its matrix registers are quicker; else single precision"
            }
            Self::Int8 => {
                "bytes: weights with a scale a channel; images stay bytes where their ranges are known, rows become bytes as they come"
            }
        }
    }
}

impl Target {
    /// This machine's best instructions with so many threads, in single precision, by the prices built in.
    pub fn here(threads: usize) -> Self {
        let tier = Tier::detect();
        Self {
            tier,
            threads,
            precision: Precision::F32,
            prices: Prices::built_in(tier),
        }
    }

    /// Whether images whose ranges are known stay in bytes between layers.
    pub(crate) fn keeps_bytes(&self) -> bool {
        self.precision == Precision::Int8
    }

    /// The kernel that computes tiles, where the precision has any.
    pub(crate) fn tiles(&self) -> Option<&'static amx::Kernel> {
        let element = self.precision.element()?;
        Some(amx::Kernel::of(self.tier, element))
    }

    /// The same at another tier, by the prices built in for it.
    pub fn at(self, tier: Tier) -> Self {
        let prices = Prices::built_in(tier);
        Self {
            tier,
            prices,
            ..self
        }
    }

    /// The same in the precision that is asked for; without one in that which a network with these weights is made for.
    pub fn made_for(self, weights: &Weights, asked: Option<Precision>) -> Self {
        self.with_precision(asked.unwrap_or(Precision::of(weights)))
    }

    /// The same by other prices.
    pub fn with_prices(self, prices: Prices) -> Self {
        Self { prices, ..self }
    }

    /// The same with products in another precision.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }
}
