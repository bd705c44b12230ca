//! What the bytes of an activation stand for.

/// Bytes stand for `scale * (byte - zero)`: the affine quantization of activations, one for a whole image and known before it is
/// computed. Zero is always a byte, so that padding is exact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantization {
    /// From one byte to the next.
    pub scale: f32,
    /// The byte of zero: the zero point.
    pub zero: u8,
}

impl Quantization {
    /// The finest one that reaches from `low` to `high`, and zero.
    ///
    /// # Panics
    /// If a bound is not finite, or `low` is above `high`.
    pub fn of(low: f32, high: f32) -> Self {
        assert!(low.is_finite() && high.is_finite() && low <= high);
        let (low, high) = (low.min(0.0), high.max(0.0));
        // Divided first, so that the difference of two finite numbers is finite.
        let step = high / 255.0 - low / 255.0;
        let scale = if step > f32::MIN_POSITIVE { step } else { 1.0 };
        let zero = (-low / scale).round_ties_even().clamp(0.0, 255.0) as u8;
        Self { scale, zero }
    }

    /// The byte next to a number; the nearest bound beyond what bytes reach, the byte of zero for NaN.
    pub fn byte(&self, number: f32) -> u8 {
        let place = number.mul_add(1.0 / self.scale, f32::from(self.zero));
        match place.is_nan() {
            true => self.zero,
            false => place.round_ties_even().clamp(0.0, 255.0) as u8,
        }
    }

    /// The number that a byte stands for.
    pub fn number(&self, byte: u8) -> f32 {
        self.scale * (f32::from(byte) - f32::from(self.zero))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reaches_both_ends_and_zero() {
        for (low, high) in [
            (0.0, 6.0),
            (-1.0, 2.0),
            (-3.0, -1.0),
            (0.5, 2.0),
            (0.0, 0.0),
            (-1e38, 1e38),
        ] {
            let q = Quantization::of(low, high);
            assert_eq!(q.number(q.zero), 0.0);
            assert_eq!(q.byte(0.0), q.zero);
            for x in [low.min(0.0), high.max(0.0)] {
                let distance = (f64::from(q.number(q.byte(x))) - f64::from(x)).abs();
                assert!(distance <= 0.51 * f64::from(q.scale), "{x} of {q:?}");
            }
        }
    }

    #[test]
    fn ends_hold_what_lies_beyond() {
        let q = Quantization::of(-1.0, 1.0);
        assert_eq!([f32::INFINITY, 1e9].map(|x| q.byte(x)), [255; 2]);
        assert_eq!([f32::NEG_INFINITY, -1e9].map(|x| q.byte(x)), [0; 2]);
        assert_eq!(q.byte(f32::NAN), q.zero);
    }
}
