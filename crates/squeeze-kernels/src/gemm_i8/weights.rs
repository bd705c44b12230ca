//! Weights from single precision to bytes, once and for all machines, with a scale for each output channel.

use super::quantize::{ROUND, byte, factor_to, scalar_largest};
use crate::Tier;

/// The bytes of two weights whose products are added in 16 bits sum up to no more than this: 255 times as much fits.
pub(crate) const PAIR: i16 = 128;

/// Rows up to this length try several scales.
const SHORT: usize = 64;
/// How many scales they try.
const SCALES: usize = 32;

/// Brings a row of weights to signed bytes and gives their scale.
///
/// Two neighbours, of which the second lies `apart` behind the first, sum up to at most ±128, so that CPUs that add two products in 16 bits
/// do it exactly: bytes are up to a third coarser for that, on every machine. In a row `[channels, taps]` these are two channels of a tap,
/// so many taps apart; nothing is asked of neighbours where it is zero. Short rows, whose errors hardly average out, win more than that back: of some scales they take the one by which their bytes are
/// off by the least mean square. In whichever order a row's weights come, each becomes the same byte.
///
/// # Panics
/// If the lengths differ.
pub fn to_bytes(x: &[f32], apart: usize, to: &mut [i8]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if Tier::detect() >= Tier::Avx2 {
        // SAFETY: the machine has AVX2.
        return unsafe { row_avx2(x, apart, to) };
    }
    row(x, apart, to)
}

/// The same in AVX2; for wider vectors it is not compiled, since the runner is to be small.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn row_avx2(x: &[f32], apart: usize, to: &mut [i8]) -> f32 {
    row(x, apart, to)
}

#[inline(always)]
fn row(x: &[f32], apart: usize, to: &mut [i8]) -> f32 {
    assert_eq!(x.len(), to.len());
    let (factor, scale) = best_factor(x, apart);
    for (to, x) in to.iter_mut().zip(x) {
        *to = byte(*x, factor) as i8;
    }
    if apart > 0 {
        round_in_pairs(x, factor, apart, to);
    }
    scale
}

/// What a row is multiplied by to become bytes, and its scale.
#[inline(always)]
fn best_factor(x: &[f32], apart: usize) -> (f32, f32) {
    let pair = largest_pair(x, apart) * (127.0 / f32::from(PAIR));
    // As among sizes elsewhere, NaN is the largest.
    let most = f32::from_bits(pair.to_bits().max(scalar_largest(x).to_bits()));
    let mut best = factor_to(most, 127.0);
    if x.len() <= SHORT {
        let mut least = f32::INFINITY;
        for less in 0..SCALES {
            let (factor, scale) = factor_to(most, 127.0 - less as f32);
            let off = square_off(x, factor) * (scale * scale);
            if off < least {
                (best, least) = ((factor, scale), off);
            }
        }
    }
    best
}

/// The largest magnitude of the sum of two neighbours, the second so far behind the first.
#[inline(always)]
fn largest_pair(x: &[f32], apart: usize) -> f32 {
    let larger = |most: u32, a: f32, b: f32| most.max((a + b).abs().to_bits());
    let most = match apart {
        0 => 0,
        1 => (x.as_chunks().0.iter()).fold(0, |most, &[a, b]| larger(most, a, b)),
        _ => x.chunks_exact(2 * apart).fold(0, |most, pairs| {
            let (first, second) = pairs.split_at(apart);
            (first.iter().zip(second)).fold(most, |most, (&a, &b)| larger(most, a, b))
        }),
    };
    f32::from_bits(most)
}

/// The sum of the squares by which the bytes of a row are off: whole numbers, so that it is the same whichever comes first.
#[inline(always)]
fn square_off(x: &[f32], factor: f32) -> f32 {
    const { assert!(SHORT * 512 * 512 <= i32::MAX as usize) }
    let square = |x: &f32| {
        let place = x * factor;
        let off = ((place - ((place + ROUND) - ROUND)) * 1024.0) as i32;
        off * off
    };
    x.iter().map(square).sum::<i32>() as f32
}

/// Where both of a pair were rounded up, so that their sum is one too large, the one that is off by more loses that.
#[inline(always)]
fn round_in_pairs(x: &[f32], factor: f32, apart: usize, to: &mut [i8]) {
    if apart == 1 {
        let fits = |most: i16, &[a, b]: &[i8; 2]| most.max((i16::from(a) + i16::from(b)).abs());
        if to.as_chunks().0.iter().fold(0, fits) <= PAIR {
            return;
        }
    }
    let len = to.len();
    let firsts = (0..len).filter(|at| (at / apart).is_multiple_of(2) && at + apart < len);
    for (at, next) in firsts.map(|at| (at, at + apart)) {
        let sum = i16::from(to[at]) + i16::from(to[next]);
        if sum.abs() > PAIR {
            let up = |at: usize| (f32::from(to[at]) - x[at] * factor) * f32::from(sum);
            let larger = if up(at) >= up(next) { at } else { next };
            to[larger] -= sum.signum() as i8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm_f32::tests::numbers;

    /// Rows as products, windows and depthwise layers have them: `(channels, taps)`.
    const ROWS: [(usize, usize); 8] = [
        (1, 1),
        (2, 1),
        (7, 1),
        (768, 1),
        (1, 9),
        (3, 9),
        (16, 9),
        (64, 25),
    ];

    fn in_bytes(x: &[f32], apart: usize) -> (Vec<i8>, f32) {
        let mut to = vec![0; x.len()];
        let scale = to_bytes(x, apart, &mut to);
        (to, scale)
    }

    /// Rows of all lengths, of numbers of both signs and of one.
    fn each_row(mut check: impl FnMut(&[f32], usize)) {
        for (seed, (channels, taps)) in (1..).zip(ROWS) {
            let x = numbers(channels * taps, seed);
            check(&x, taps);
            let sizes: Vec<f32> = x.iter().map(|x| x.abs()).collect();
            check(&sizes, taps);
        }
    }

    #[test]
    fn pairs_fit_into_16_bits() {
        each_row(|x, apart| {
            let (bytes, _) = in_bytes(x, apart);
            assert!(bytes.iter().all(|&b| b > i8::MIN));
            for pairs in bytes.chunks_exact(2 * apart) {
                let (first, second) = pairs.split_at(apart);
                for (&a, &b) in first.iter().zip(second) {
                    assert!((i16::from(a) + i16::from(b)).abs() <= PAIR);
                }
            }
        });
    }

    #[test]
    fn bytes_are_near_and_short_rows_nearer() {
        each_row(|x, apart| {
            let (bytes, scale) = in_bytes(x, apart);
            let off = |(&b, &x): (&i8, &f32)| f32::from(b) - x / scale;
            let offs = || bytes.iter().zip(x).map(off);
            assert!(offs().all(|off| off.abs() <= 1.01), "{x:?}");
            if x.len() == 9 {
                let mean = offs().map(|off| off * off).sum::<f32>() / 9.0;
                assert!(mean < 0.6 / 12.0, "{mean} where chance gives 1/12");
            }
        });
    }

    /// Windows come with taps first or last.
    #[test]
    fn order_does_not_matter() {
        let (channels, taps) = (16, 9);
        let x = numbers(channels * taps, 1);
        let place = |at: usize| at % channels * taps + at / channels;
        let by_tap: Vec<f32> = (0..x.len()).map(|at| x[place(at)]).collect();
        let (bytes, scale) = in_bytes(&x, taps);
        let (turned, again) = in_bytes(&by_tap, 1);
        assert_eq!(scale, again);
        assert!((0..x.len()).all(|at| turned[at] == bytes[place(at)]));
    }

    /// The largest weight becomes 127, or the largest pair 128, unless a short row is nearer with less.
    #[test]
    fn long_rows_use_all_of_a_byte() {
        let x = numbers(4096, 1);
        let most = x.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        assert_eq!(in_bytes(&x, 0).1, most / 127.0);
        let (bytes, scale) = in_bytes(&x, 1);
        let pairs = bytes.as_chunks().0.iter();
        let largest = pairs.map(|&[a, b]: &[i8; 2]| (i16::from(a) + i16::from(b)).abs());
        assert!(largest.max() >= Some(PAIR - 1) && scale > most / 127.0);
    }

    #[test]
    fn bytes_become_themselves_again() {
        each_row(|x, apart| {
            let (bytes, scale) = in_bytes(x, apart);
            let numbers: Vec<f32> = bytes.iter().map(|&b| scale * f32::from(b)).collect();
            let (again, next) = in_bytes(&numbers, apart);
            assert_eq!(again, bytes);
            assert!((next / scale - 1.0).abs() < 2e-3, "{next} for {scale}");
        });
    }

    #[test]
    fn zeros_and_what_is_no_number() {
        assert_eq!(in_bytes(&[0.0; 6], 1), (vec![0; 6], 0.0));
        assert_eq!(in_bytes(&[], 1), (vec![], 0.0));
        assert!(in_bytes(&[1.0, f32::NAN, 2.0], 1).1.is_nan());
        assert_eq!(in_bytes(&[1.0, f32::INFINITY], 1).1, f32::INFINITY);
    }
}
