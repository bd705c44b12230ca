//! Vectors of `f32` as one trait, so that a kernel's body is written once and instantiated for every tier.
//!
//! The bodies are `#[inline(always)]` and generic over [`Vector`]; [`per_tier`] instantiates them inside
//! `#[target_feature]` functions, where every operation becomes one instruction.

/// The function behind [`Vector::in_step`] for vectors in a class of registers.
#[cfg(target_arch = "x86_64")]
macro_rules! in_step {
    ($vector:ident, $class:ident, $feature:literal) => {
        #[target_feature(enable = $feature)]
        #[inline]
        fn in_step([mut a, mut b, mut c, mut d]: [$vector; 4]) -> [$vector; 4] {
            // SAFETY: no instruction. The compiler takes it for one that changes all four, and so has computed all four before it.
            unsafe {
                std::arch::asm!(
                    "/* {} {} {} {} */",
                    inout($class) a.0,
                    inout($class) b.0,
                    inout($class) c.0,
                    inout($class) d.0,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
            [a, b, c, d]
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod math;
mod pieces;

use std::ops::{Add, Div, Mul, Sub};

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::F32x8;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::F32x16;
pub(crate) use math::{
    Cooled, exp, gelu_parts, inverse_sigmoid, normal_tail, normal_tails, rough_exp2, rough_gelu,
    sigmoid, tail_end, tanh,
};
pub(crate) use pieces::{GELU, SILU};

/// A vector of `f32` in one register.
///
/// The methods are instructions of one tier: they may run only below a `#[target_feature]` function of that tier,
/// which is what [`per_tier`] makes. `min` and `max` give the right operand when either one is NaN.
#[allow(
    dead_code,
    reason = "a whole set of operations, whichever of them the families need"
)]
pub(crate) trait Vector:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// How many numbers one vector holds.
    const LANES: usize;
    /// The least and the largest power that [`Vector::scale`] takes.
    const POWERS: [f32; 2];

    /// The same number in every lane.
    fn splat(value: f32) -> Self;
    /// The first `LANES` numbers of a slice.
    fn load(from: &[f32]) -> Self;
    /// The first `LANES` numbers of a slice, or all of a shorter one followed by zeros. Only a shorter one is masked, which costs
    /// some CPUs much.
    fn load_part(from: &[f32]) -> Self;
    /// Writes the first `LANES` numbers of a slice.
    fn store(self, to: &mut [f32]);
    /// Writes the first `LANES` numbers of a slice, or all of a shorter one.
    fn store_part(self, to: &mut [f32]);
    /// `LANES` numbers from a pointer.
    ///
    /// # Safety
    /// The pointer is valid for reading `LANES` numbers.
    unsafe fn load_ptr(from: *const f32) -> Self;
    /// Writes `LANES` numbers to a pointer.
    ///
    /// # Safety
    /// The pointer is valid for writing `LANES` numbers.
    unsafe fn store_ptr(self, to: *mut f32);
    /// Asks for the cache line at `at` to be brought to the second cache. Any address will do.
    fn prefetch(at: *const f32);
    /// `self * factor + addend`, rounded once.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// `addend - self * factor`, rounded once.
    fn neg_mul_add(self, factor: Self, addend: Self) -> Self;
    /// The larger one; the right one when either is NaN.
    fn max(self, right: Self) -> Self;
    /// The larger one, its own where they are equal; NaN when either is NaN.
    fn larger(self, right: Self) -> Self;
    /// The smaller one; the right one when either is NaN.
    fn min(self, right: Self) -> Self;
    /// Without its sign.
    fn abs(self) -> Self;
    /// Its own magnitude with the sign of another.
    fn copysign(self, sign: Self) -> Self;
    /// The nearest whole number, ties to even.
    fn round(self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// `self * 2^power`, for `self` of about 1 and whole powers within [`Vector::POWERS`], of which the largest gives infinity and the
    /// least zero.
    fn scale(self, power: Self) -> Self;
    /// The same, and another number added.
    fn scale_and_add(self, power: Self, addend: Self) -> Self;
    /// Four vectors as they are. What is computed for them before is done for all of them first: left alone, the compiler computes one
    /// after the other, each of whose steps waits for the one before.
    fn in_step(four: [Self; 4]) -> [Self; 4];
    /// In each lane `yes` where `self < limit`, else `no`.
    fn if_less(self, limit: Self, yes: Self, no: Self) -> Self;
    /// The lanes of both in turn, its own first, as two vectors.
    fn interleave(self, right: Self) -> [Self; 2];
    /// The lanes with even places of both, and those with odd ones.
    fn deinterleave(self, right: Self) -> [Self; 2];
    /// Lane `i` is lane `places[i] % LANES` of `self`; there are at least `LANES` places.
    fn permute(self, places: &[i32]) -> Self;
    /// In each lane the number of the table at the place that the low three bits of `self` say.
    fn look_up(self, table: &[f32; 8]) -> Self;
    /// Whether [`Vector::look_up_long`] is one instruction.
    const LOOKS_UP_LONG: bool;
    /// The same of the low five bits.
    fn look_up_long(self, table: &[f32; 32]) -> Self;
    /// The sum of the lanes, in pairs: halves, quarters and so on.
    fn sum(self) -> f32;
    /// The largest lane.
    fn largest(self) -> f32;
    /// The higher of both, of which zero or one above it is one; a NaN without a sign is higher than any. Others may give anything.
    fn higher(self, right: Self) -> Self;
    /// The lower of both, a NaN with a sign lower than any, as long as one has a sign; else one of them.
    fn lower(self, right: Self) -> Self;
    /// The larger magnitude of both, without its sign; NaN is larger than any.
    fn larger_size(self, right: Self) -> Self;
    /// The lane whose bits are the largest: of lanes without a sign the largest, NaN larger than any; else the lowest of those with one.
    fn largest_size(self) -> f32;
    /// Writes the nearest whole numbers of -127..=127, ties to even, as bytes that are 128 too large: as many as `to` holds, at
    /// most `LANES`.
    fn store_bytes(self, to: &mut [u8]);
    /// [`Vector::store_bytes`] of four vectors, one behind the other; `to` holds at least `4 * LANES`. What NaN becomes is not said.
    fn store_bytes_four(four: [Self; 4], to: &mut [u8]) {
        for (to, part) in to.chunks_exact_mut(Self::LANES).zip(four) {
            part.store_bytes(to);
        }
    }
    /// The first `LANES` bytes of a slice as numbers of 0..=255, or all of a shorter one followed by zeros.
    fn load_bytes(from: &[u8]) -> Self;
    /// Writes the nearest whole numbers of 0..=255, ties to even, NaN as 0: as many as `to` holds, at most `LANES`.
    fn store_unsigned(self, to: &mut [u8]);
    /// [`Vector::store_unsigned`] of four vectors, one behind the other; `to` holds at least `4 * LANES`.
    fn store_unsigned_four(four: [Self; 4], to: &mut [u8]);
}

/// A function that takes the tier first and runs its body with the vectors of that tier.
///
/// `scalar` names the definition; `vector` names an `#[inline(always)]` body generic over [`Vector`]. `compiled` names an
/// `#[inline(always)]` definition whose plain loops the compiler turns into the tier's vectors itself.
macro_rules! per_tier {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)?
        { compiled: $body:path $(,)? }) => {
        $(#[$meta])*
        $vis fn $name(tier: $crate::Tier, $($arg: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $type),*) $(-> $result)? {
                $body($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
            fn avx512($($arg: $type),*) $(-> $result)? {
                $body($($arg),*)
            }
            // A tier that the machine lacks falls to the best it has: so the blocks below are sound for every caller.
            match tier.min($crate::Tier::detect()) {
                $crate::Tier::Scalar => $body($($arg),*),
                // SAFETY: the machine has this tier, by the line of the match.
                #[cfg(target_arch = "x86_64")]
                $crate::Tier::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: the machine has this tier, by the line of the match.
                #[cfg(target_arch = "x86_64")]
                $crate::Tier::Avx512 | $crate::Tier::Amx => unsafe { avx512($($arg),*) },
                #[cfg(not(target_arch = "x86_64"))]
                $crate::Tier::Avx2 | $crate::Tier::Avx512 | $crate::Tier::Amx => $body($($arg),*),
            }
        }
    };
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)?
        { scalar: $scalar:path, vector: $body:ident $(,)? }) => {
        $(#[$meta])*
        $vis fn $name(tier: $crate::Tier, $($arg: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $type),*) $(-> $result)? {
                $body::<$crate::vector::F32x8>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
            fn avx512($($arg: $type),*) $(-> $result)? {
                $body::<$crate::vector::F32x16>($($arg),*)
            }
            // A tier that the machine lacks falls to the best it has: so the blocks below are sound for every caller.
            match tier.min($crate::Tier::detect()) {
                $crate::Tier::Scalar => $scalar($($arg),*),
                // SAFETY: the machine has this tier, by the line of the match.
                #[cfg(target_arch = "x86_64")]
                $crate::Tier::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: the machine has this tier, by the line of the match.
                #[cfg(target_arch = "x86_64")]
                $crate::Tier::Avx512 | $crate::Tier::Amx => unsafe { avx512($($arg),*) },
                #[cfg(not(target_arch = "x86_64"))]
                $crate::Tier::Avx2 | $crate::Tier::Avx512 | $crate::Tier::Amx => $scalar($($arg),*),
            }
        }
    };
}
pub(crate) use per_tier;

/// Rounds into the bytes of `y` what an expression gives for each range of at most one vector. The expression does not
/// read `y`: ranges may overlap. Not a function that takes a closure:
/// that is compiled for itself, without the instructions of the tier.
macro_rules! each_vector {
    ($V:ident, $y:ident, |$range:ident| $place:expr) => {
        let whole = $y.len() / (4 * $V::LANES) * (4 * $V::LANES);
        for at in (0..whole).step_by(4 * $V::LANES) {
            let mut four = [$V::splat(0.0); 4];
            for part in 0..4 {
                let at = at + part * $V::LANES;
                let $range = at..at + $V::LANES;
                four[part] = $place;
            }
            $V::store_unsigned_four(four, &mut $y[at..]);
        }
        for at in (whole..$y.len()).step_by($V::LANES) {
            // What is left of a vector is written as a whole one that begins earlier.
            let at = at.min($y.len().max($V::LANES) - $V::LANES);
            let end = $y.len().min(at + $V::LANES);
            let $range = at..end;
            let place: $V = $place;
            place.store_unsigned(&mut $y[at..end]);
        }
    };
}
pub(crate) use each_vector;
