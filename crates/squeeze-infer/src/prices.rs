//! What kernels cost, as the compiler weighs one family against another: a table built in, or one measured on the machine.

use serde::{Deserialize, Serialize};
use squeeze_kernels::Tier;
use squeeze_kernels::spmm::{Block, Element};

use crate::target::Precision;

/// What kernels cost. Unless it is said otherwise a price is in multiply-adds of the single precision kernel on vectors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// Winograd's transforms, against windows as they are.
    pub winograd: Winograd,
    /// Tiles of bfloat16 or half precision, against vectors.
    pub tiles: Tiles,
    /// Bytes, against single precision.
    pub bytes: Bytes,
    /// Products without their zeros, against those with them.
    pub sparse: Sparse,
}

/// What Winograd's transforms cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Winograd {
    /// Tiles of 2 x 2 outputs.
    pub two: Transform,
    /// Tiles of 4 x 4 outputs.
    pub four: Transform,
    /// Reading a weight of windows as they are.
    pub weight: f64,
    /// By how much weights are dearer to read where there are 4 MB of them or more.
    pub far: f64,
    /// A multiply-add between transforms in whole numbers over images of bytes, in those of windows over them; 0 where windows always win.
    #[serde(default)]
    pub bytes: f64,
}

/// What tiles of one size cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transform {
    /// A transformed number, input or sum.
    pub number: f64,
    /// Reading a transformed weight.
    pub weight: f64,
}

/// What layers on tiles cost, by what the tiles are made of; `None` where vectors always win.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tiles {
    /// Single precision as six products of three bfloat16 parts.
    pub f32: Option<Tile>,
    /// Three products of two parts.
    pub bf16x3: Option<Tile>,
    /// bfloat16.
    pub bf16: Option<Tile>,
    /// Half precision.
    pub f16: Option<Tile>,
}

/// What a layer on tiles costs beyond the way of the vectors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tile {
    /// A multiply-add.
    pub mac: f64,
    /// Splitting a number that is read.
    pub split: f64,
    /// Finishing a sum.
    pub finish: f64,
    /// Reading a weight.
    pub weight: f64,
}

/// The smallest layers that gain in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bytes {
    /// Of layers of one tap.
    pub product: Least,
    /// Of larger windows.
    pub window: Least,
}

/// What a group of a layer must have at least.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Least {
    /// Numbers that a sum is made of.
    pub inputs: usize,
    /// Channels that come out.
    pub outputs: usize,
    /// Weights.
    pub weights: usize,
}

/// What products cost with their zeros and without.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sparse {
    /// In single precision.
    pub f32: Product,
    /// In bytes.
    pub int8: Product,
    /// The share of the dense product's price that must not be reached, since prices are off.
    pub under: Under,
}

/// What a product costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    /// Of the dense product a multiply-add, a number that it reads and one that it writes.
    pub dense: [f64; 3],
    /// Without zeros, a number turned.
    pub turned: f64,
    /// And a sum finished.
    pub finished: f64,
    /// A stored weight of blocks of one output, times each row, and once for each tile of 64 rows.
    pub one: [f64; 2],
    /// Of blocks of four.
    pub four: [f64; 2],
    /// Of blocks of sixteen.
    pub sixteen: [f64; 2],
}

/// A share for each precision.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Under {
    /// In single precision.
    pub f32: f64,
    /// Of two bfloat16.
    pub bf16x3: f64,
    /// Of one.
    pub bf16: f64,
    /// In half precision.
    #[serde(default = "Under::of_halves")]
    pub f16: f64,
    /// In bytes.
    pub int8: f64,
}

/// What has this price is never bought.
pub const NEVER: f64 = 1e12;

impl Prices {
    /// The table built in for a tier.
    pub fn built_in(tier: Tier) -> Self {
        if tier >= Tier::Amx {
            Self::MATRIX_REGISTERS
        } else if tier >= Tier::Avx512 {
            Self::WIDE_VECTORS
        } else {
            Self::VECTORS
        }
    }

    /// Of Winograd's transforms of `squeeze measure --kernels` on a Zen 3 (docs/prices.md), the others of the kernels' benchmarks on a Zen 4.
    const VECTORS: Self = Self {
        winograd: Winograd {
            two: Transform {
                number: 12.0,
                weight: 4.7,
            },
            four: Transform {
                number: 3.9,
                weight: 8.0,
            },
            weight: 8.0,
            far: 1.0,
            bytes: 1.1,
        },
        tiles: Tiles {
            f32: None,
            bf16x3: None,
            bf16: None,
            f16: None,
        },
        bytes: Bytes {
            product: Least {
                inputs: 16,
                outputs: 16,
                weights: 1024,
            },
            window: Least {
                inputs: 16,
                outputs: 16,
                weights: 0,
            },
        },
        sparse: Sparse {
            f32: Product {
                dense: [1.0, 0.0, 5.0],
                turned: 7.0,
                finished: 15.5,
                one: [1.9, 23.0],
                four: [1.0, 0.0],
                sixteen: [1.0, 0.0],
            },
            int8: Product {
                dense: [0.218, 9.3, 12.9],
                turned: 10.8,
                finished: 19.2,
                one: [0.12, 27.0],
                four: [0.162, 5.2],
                sixteen: [0.162, 5.2],
            },
            // Of the benchmark's 720 lines 10 are then up to 11 % slower than the dense product, and 45 are left dense that were up
            // to 28 % quicker.
            under: Under {
                f32: 0.9,
                bf16x3: 0.9,
                bf16: 0.45,
                f16: Under::HALVES,
                int8: 0.9,
            },
        },
    };

    /// Of half precision in vectors, of `squeeze measure --kernels` on a Xeon with AVX512-FP16 (docs/prices.md).
    const HALVES: Option<Tile> = Some(Tile {
        mac: 0.66,
        split: 5.5,
        finish: 7.0,
        weight: 0.5,
    });

    /// Of `squeeze measure --kernels` on a Zen 4 with AVX-512 (docs/prices.md), where whole networks gained. Of tiles only bfloat16 gains:
    /// products and windows in bytes have families of their own, and six products of three parts are slower than FMA.
    const WIDE_VECTORS: Self = Self {
        winograd: Winograd {
            two: Transform {
                number: 12.0,
                weight: 5.75,
            },
            four: Transform {
                number: 12.0,
                weight: 5.6,
            },
            weight: 8.0,
            far: 1.8,
            bytes: 0.0,
        },
        tiles: Tiles {
            bf16: Some(Tile {
                mac: 0.61,
                split: 5.5,
                finish: 7.0,
                weight: 0.5,
            }),
            f16: Self::HALVES,
            ..Self::VECTORS.tiles
        },
        sparse: Sparse {
            f32: Product {
                four: [0.95, 8.0],
                sixteen: [0.95, 8.0],
                ..Self::VECTORS.sparse.f32
            },
            ..Self::VECTORS.sparse
        },
        ..Self::VECTORS
    };

    /// Of the kernels' benchmark `amx`. A multiply-add in them takes so little that it is left out. Single precision is in vectors, and so are
    /// its products without zeros; bytes leave the registers where nine tenths are zeros in blocks (docs/sparse.md), other elements keep them.
    const MATRIX_REGISTERS: Self = Self {
        winograd: Winograd {
            four: Transform {
                number: 6.0,
                weight: 7.8,
            },
            ..Self::WIDE_VECTORS.winograd
        },
        tiles: Tiles {
            // Six products gain too little for a core's matrix registers to be shared with another thread or a neighbour (docs/prices.md).
            f32: Some(Tile {
                mac: 1.0,
                split: 37.0,
                finish: 28.0,
                weight: 18.0,
            }),
            bf16x3: Tile::without_macs(14.0, 20.0, 14.0),
            bf16: Tile::without_macs(12.0, 24.0, 4.0),
            f16: Self::HALVES,
        },
        sparse: Sparse {
            // Of the vectors' dense product in bytes too: by 0.35 single zeros of nine tenths took longer than the registers.
            under: Under {
                f32: 0.9,
                bf16x3: 0.0,
                bf16: 0.0,
                f16: Under::HALVES,
                int8: 0.28,
            },
            ..Self::WIDE_VECTORS.sparse
        },
        ..Self::WIDE_VECTORS
    };
}

impl Tile {
    const fn without_macs(split: f64, finish: f64, weight: f64) -> Option<Self> {
        Some(Self {
            mac: 0.0,
            split,
            finish,
            weight,
        })
    }
}

impl Tiles {
    /// Those of a precision.
    pub fn of(&self, precision: Precision) -> Option<Tile> {
        match precision {
            Precision::F32 => self.f32,
            Precision::Bf16x3 => self.bf16x3,
            Precision::Bf16 => self.bf16,
            Precision::F16 => self.f16,
            Precision::Int8 => None,
        }
    }

    /// The same, to be changed.
    ///
    /// # Panics
    /// In bytes, which have no tiles of their own.
    pub fn of_mut(&mut self, precision: Precision) -> &mut Option<Tile> {
        match precision {
            Precision::F32 => &mut self.f32,
            Precision::Bf16x3 => &mut self.bf16x3,
            Precision::Bf16 => &mut self.bf16,
            Precision::F16 => &mut self.f16,
            Precision::Int8 => unreachable!("bytes have families of their own"),
        }
    }
}

impl Sparse {
    pub(crate) fn of(&self, element: Element) -> &Product {
        match element {
            Element::F32 => &self.f32,
            Element::I8 => &self.int8,
        }
    }
}

impl Product {
    /// What a stored weight costs in blocks of this size.
    pub(crate) fn stored(&self, block: Block) -> [f64; 2] {
        match block {
            Block::One => self.one,
            Block::Four => self.four,
            Block::Sixteen => self.sixteen,
        }
    }
}

impl Under {
    /// As for bfloat16 in vectors, which is as quick.
    const HALVES: f64 = 0.45;

    fn of_halves() -> f64 {
        Self::HALVES
    }

    /// That of a precision.
    pub fn of(&self, precision: Precision) -> f64 {
        match precision {
            Precision::F32 => self.f32,
            Precision::Bf16x3 => self.bf16x3,
            Precision::Bf16 => self.bf16,
            Precision::F16 => self.f16,
            Precision::Int8 => self.int8,
        }
    }

    /// The same, to be changed.
    pub fn of_mut(&mut self, precision: Precision) -> &mut f64 {
        match precision {
            Precision::F32 => &mut self.f32,
            Precision::Bf16x3 => &mut self.bf16x3,
            Precision::Bf16 => &mut self.bf16,
            Precision::F16 => &mut self.f16,
            Precision::Int8 => &mut self.int8,
        }
    }
}
