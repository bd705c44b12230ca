//! Half precision: 11 bits of a number between 2^-14 and 65504. Numbers are scaled by powers of two, so that whatever is finite fits, and
//! sums of products are folded into single precision before they grow too large or too coarse.

/// Steps whose products are added in half precision, in two sums a column: each of 64 products.
pub(super) const FOLD: usize = 4;

/// A row's largest number becomes less than 2^5, a column's less than 2^4: 64 products of both are at most 2^15.
pub(super) const LEFT: i32 = 4;
/// See [`LEFT`].
pub(super) const RIGHT: i32 = 3;

/// Below it numbers count as zeros: one over their scale must be finite.
const LEAST: f32 = 1e-32;

/// The power of two that numbers up to `most` are divided by, so that the largest lies from 2^`exponent` on and below twice that. One
/// where there is an infinity or a NaN, which spoils its sums anyhow.
pub(super) fn scale(most: f32, exponent: i32) -> f32 {
    if !most.is_finite() {
        return 1.0;
    }
    if most < LEAST {
        return 0.0;
    }
    let own = (most.to_bits() >> 23) as i32;
    f32::from_bits(((own - exponent) as u32) << 23)
}

/// The nearest half, half to even, in bits; infinite beyond the largest.
pub(super) fn nearest(x: f32) -> u16 {
    const INFINITE: u32 = 0x7f80_0000;
    const LEAST_NORMAL: u32 = 0x3880_0000;
    let sign = (x.to_bits() >> 16) as u16 & 0x8000;
    let size = x.to_bits() & 0x7fff_ffff;
    if size > INFINITE {
        return sign | 0x7e00;
    }
    if size < LEAST_NORMAL {
        // Beside a half single precision is as coarse as these are.
        let sum = f32::from_bits(size) + 0.5;
        return sign | (sum.to_bits() - 0.5f32.to_bits()) as u16;
    }
    let rounded = size - 0x3800_0000 + 0xfff + (size >> 13 & 1);
    sign | (rounded >> 13).min(0x7c00) as u16
}

/// The number that a half's bits stand for.
pub(super) fn wide(half: u16) -> f32 {
    let (sign, size) = (u32::from(half & 0x8000) << 16, u32::from(half & 0x7fff));
    let size = match size {
        0x7c00.. => f32::from_bits(size << 13 | 0x7f80_0000),
        _ => f32::from_bits(size << 13) * 2f32.powi(112),
    };
    f32::from_bits(size.to_bits() | sign)
}

/// `sum + a * b` in half precision, rounded once.
pub(super) fn add_product(sum: f32, a: f32, b: f32) -> f32 {
    let sum = f64::from(sum) + f64::from(a) * f64::from(b);
    if !sum.is_finite() {
        return sum as f32;
    }
    let exponent = (sum.to_bits() >> 52 & 0x7ff) as i32 - 1023;
    let unit = 2f64.powi(exponent.max(-14) - 10);
    let near = (sum / unit).round_ties_even() * unit;
    match near.abs() > 65504.0 {
        true => f32::INFINITY.copysign(near as f32),
        false => near as f32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_the_nearest_to_itself() {
        for half in 0..=u16::MAX {
            let x = wide(half);
            match x.is_nan() {
                true => assert!(wide(nearest(x)).is_nan()),
                false => assert_eq!(nearest(x), half, "{x}"),
            }
        }
    }

    #[test]
    fn numbers_between_halves_go_to_the_nearer_one_or_the_even_one() {
        for half in 0..0x7c00u16 {
            let (low, high) = (f64::from(wide(half)), f64::from(wide(half + 1)));
            // What comes behind the largest would be 65536.
            let high = high.min(65536.0);
            let middle = (0.5 * (low + high)) as f32;
            let even = half + (half & 1);
            assert_eq!(nearest(middle), even, "{middle}");
            assert_eq!(nearest(middle.next_down()), half);
            assert_eq!(nearest(middle.next_up()), half + 1);
            assert_eq!(nearest(-middle), even | 0x8000);
        }
        assert_eq!(nearest(1e30), 0x7c00);
        assert_eq!(nearest(f32::NEG_INFINITY), 0xfc00);
    }

    #[test]
    fn sums_are_rounded_once() {
        assert_eq!(add_product(1.0, 1.0, 2f32.powi(-11)), 1.0);
        assert_eq!(
            add_product(1.0, 1.0 + 2f32.powi(-10), 2f32.powi(-11)),
            1.0 + 2f32.powi(-10)
        );
        assert_eq!(add_product(65504.0, 1.0, 15.0), 65504.0);
        assert_eq!(add_product(65504.0, 1.0, 16.0), f32::INFINITY);
        assert_eq!(
            add_product(0.0, 2f32.powi(-14), 2f32.powi(-10)),
            2f32.powi(-24)
        );
        assert_eq!(add_product(0.0, 2f32.powi(-14), 2f32.powi(-11)), 0.0);
        assert!(add_product(f32::INFINITY, -1.0, f32::INFINITY).is_nan());
    }

    #[test]
    fn scales_are_powers_of_two_that_make_everything_fit() {
        for most in [1.5e-32, 1e-3, 1.0, 1.999, 2.0, 3e7, f32::MAX] {
            for exponent in [LEFT, RIGHT] {
                let scale = scale(most, exponent);
                let scaled = most * (1.0 / scale);
                assert!((2f32.powi(exponent)..2f32.powi(exponent + 1)).contains(&scaled));
                assert_eq!(scaled * scale, most);
            }
        }
        assert_eq!(scale(0.0, LEFT), 0.0);
        assert_eq!(scale(f32::NAN, LEFT), 1.0);
    }
}
