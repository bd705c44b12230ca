//! How whole tiles of six rows and sixteen columns become bytes in AVX2, in one piece: what is done to a register waits for what was done to
//! it before, so each step is taken by all twelve before the next one. The compiler would take one register through all steps, and what waits
//! keeps the products of the next tile from being issued.

use std::arch::asm;
use std::arch::x86_64::{__m256i, _mm256_set1_ps};

use super::tile::Tile;

/// Where fours of bytes belong that were packed within halves of registers.
#[repr(align(32))]
struct Order(#[expect(dead_code, reason = "only assembly reads it")] [i32; 8]);

static ORDER: Order = Order([0, 4, 1, 5, 2, 6, 3, 7]);

/// A step of each register: its name, and whether it is the first or the second of its row.
macro_rules! each {
    ($step:ident) => {
        concat!(
            $step!("{a0}", 0),
            $step!("{a1}", 1),
            $step!("{b0}", 0),
            $step!("{b1}", 1),
            $step!("{c0}", 0),
            $step!("{c1}", 1),
            $step!("{d0}", 0),
            $step!("{d1}", 1),
            $step!("{e0}", 0),
            $step!("{e1}", 1),
            $step!("{f0}", 0),
            $step!("{f1}", 1),
        )
    };
}

macro_rules! number {
    ($sum:literal, $column:tt) => {
        concat!("vcvtdq2ps ", $sum, ", ", $sum, "\n")
    };
}

macro_rules! scale {
    ($x:literal, 0) => {
        concat!("vfmadd213ps ", $x, ", {s}, ymmword ptr [{bias}]\n")
    };
    ($x:literal, 1) => {
        concat!("vfmadd213ps ", $x, ", {t}, ymmword ptr [{bias} + 32]\n")
    };
}

macro_rules! round {
    ($x:literal, $column:tt) => {
        concat!("vcvtps2dq ", $x, ", ", $x, "\n")
    };
}

/// Adds the residuals of three registers.
macro_rules! residuals {
    ($($x:literal $temporary:literal $at:literal),*) => {
        concat!(
            $("vpmovzxbd ", $temporary, ", qword ptr [{from}", $at, "]\n",)*
            $("vcvtdq2ps ", $temporary, ", ", $temporary, "\n",)*
            $("vfmadd231ps ", $x, ", ", $temporary, ", {factor}\n",)*
        )
    };
}

/// The same step of three registers that hold two rows each.
macro_rules! pairs {
    ($step:literal, $operand:literal) => {
        concat!(
            $step,
            "{a0}, {a0}, ",
            $operand,
            "\n",
            $step,
            "{c0}, {c0}, ",
            $operand,
            "\n",
            $step,
            "{e0}, {e0}, ",
            $operand,
            "\n",
        )
    };
}

/// All of it: `$residual` between what is done to sums and to rounded numbers.
macro_rules! write {
    ($t:ident, $sum:ident, [$($residual:expr)?], $($operands:tt)*) => {{
        let [[a0, a1], [b0, b1], [c0, c1], [d0, d1], [e0, e1], [f0, f1]] = $sum;
        let (to, step) = $t.bytes.to;
        asm!(
            "vmovups {s}, ymmword ptr [{scales}]",
            "vmovups {t}, ymmword ptr [{scales} + 32]",
            each!(number),
            each!(scale),
            $($residual,)?
            each!(round),
            "vpackssdw {a0}, {a0}, {a1}",
            "vpackssdw {b0}, {b0}, {b1}",
            "vpackssdw {c0}, {c0}, {c1}",
            "vpackssdw {d0}, {d0}, {d1}",
            "vpackssdw {e0}, {e0}, {e1}",
            "vpackssdw {f0}, {f0}, {f1}",
            "vmovdqa {s}, ymmword ptr [rip + {order}]",
            "vpackuswb {a0}, {a0}, {b0}",
            "vpackuswb {c0}, {c0}, {d0}",
            "vpackuswb {e0}, {e0}, {f0}",
            pairs!("vpmaxub ", "ymmword ptr [{limits}]"),
            pairs!("vpminub ", "ymmword ptr [{limits} + 32]"),
            "vpermd {a0}, {s}, {a0}",
            "vpermd {c0}, {s}, {c0}",
            "vpermd {e0}, {s}, {e0}",
            "vmovdqu xmmword ptr [{to}], {a0:x}",
            "vextracti128 xmmword ptr [{to} + {step}], {a0}, 1",
            "vmovdqu xmmword ptr [{to} + 2*{step}], {c0:x}",
            "vextracti128 xmmword ptr [{to} + {step3}], {c0}, 1",
            "vmovdqu xmmword ptr [{to} + 4*{step}], {e0:x}",
            "vextracti128 xmmword ptr [{to} + {step5}], {e0}, 1",
            a0 = inout(ymm_reg) a0 => _, a1 = inout(ymm_reg) a1 => _,
            b0 = inout(ymm_reg) b0 => _, b1 = inout(ymm_reg) b1 => _,
            c0 = inout(ymm_reg) c0 => _, c1 = inout(ymm_reg) c1 => _,
            d0 = inout(ymm_reg) d0 => _, d1 = inout(ymm_reg) d1 => _,
            e0 = inout(ymm_reg) e0 => _, e1 = inout(ymm_reg) e1 => _,
            f0 = inout(ymm_reg) f0 => _, f1 = inout(ymm_reg) f1 => _,
            s = out(ymm_reg) _, t = out(ymm_reg) _,
            scales = in(reg) $t.scales,
            bias = in(reg) $t.output.bias,
            limits = in(reg) $t.bytes.limits,
            to = in(reg) to,
            step = in(reg) step,
            step3 = in(reg) 3 * step,
            step5 = in(reg) 5 * step,
            order = sym ORDER,
            $($operands)*
            options(nostack, preserves_flags),
        );
    }};
}

/// The sums of six rows as bytes.
///
/// # Safety
/// As for [`super::tile::compute`]; no sum scales to more than 32 bits hold, which `Right::fixed` sees to.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn plain(t: &Tile, sum: [[__m256i; 2]; 6]) {
    // SAFETY: the caller's promise.
    unsafe { write!(t, sum, [],) }
}

/// The same with a residual.
///
/// # Safety
/// As for [`plain`].
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn with_residual(t: &Tile, sum: [[__m256i; 2]; 6]) {
    // SAFETY: the caller's promise.
    unsafe {
        write!(
            t,
            sum,
            [concat!(
                residuals!("{a0}" "{s}" "", "{a1}" "{t}" " + 8", "{b0}" "{u}" " + {step}"),
                residuals!("{b1}" "{s}" " + {step} + 8", "{c0}" "{t}" " + 2*{step}", "{c1}" "{u}" " + 2*{step} + 8"),
                residuals!("{d0}" "{s}" " + {step3}", "{d1}" "{t}" " + {step3} + 8", "{e0}" "{u}" " + 4*{step}"),
                residuals!("{e1}" "{s}" " + 4*{step} + 8", "{f0}" "{t}" " + {step5}", "{f1}" "{u}" " + {step5} + 8"),
            )],
            u = out(ymm_reg) _,
            factor = in(ymm_reg) _mm256_set1_ps(t.bytes.factor),
            from = in(reg) t.bytes.residual,
        )
    }
}
