//! Sums over taps on vectors of any tier.

use super::Epilogue;
use super::lines::{Line, Tap};
use crate::vector::Vector;

/// The weighted sums of a line of pixels.
#[inline(always)]
pub(super) fn weighted_sum<V: Vector>(
    line: Line,
    x: &[f32],
    weights: &[f32],
    end: Epilogue,
    y: &mut [f32],
) {
    // The loops below are pointer code; this is what makes them safe.
    assert!(line.fits(weights.len(), x.len(), y.len()));
    assert!(end.bias.is_none_or(|bias| bias.len() == line.c));
    let mut at = 0;
    while line.count - at >= 8 {
        pixels::<V, 8>(line, at, x, weights, end, y);
        at += 8;
    }
    if line.count - at >= 4 {
        pixels::<V, 4>(line, at, x, weights, end, y);
        at += 4;
    }
    if line.count - at >= 2 {
        pixels::<V, 2>(line, at, x, weights, end, y);
        at += 2;
    }
    if line.count - at >= 1 {
        pixels::<V, 1>(line, at, x, weights, end, y);
    }
}

/// `P` pixels from pixel `at` on: `P` sums of a vector of channels, one load of a weight for `P` products.
#[inline(always)]
fn pixels<V: Vector, const P: usize>(
    line: Line,
    at: usize,
    x: &[f32],
    weights: &[f32],
    end: Epilogue,
    y: &mut [f32],
) {
    let (low, high) = (V::splat(end.clamp[0]), V::splat(end.clamp[1]));
    let whole = line.c / V::LANES * V::LANES;
    let from = x.as_ptr().wrapping_add(at * line.from_step);
    let to = line.to + at * line.to_step;
    for strip in (0..whole).step_by(V::LANES) {
        let mut sums = [end
            .bias
            .map_or(V::splat(0.0), |bias| V::load(&bias[strip..])); P];
        for tap in line.taps {
            // SAFETY: tap and strip are inside the weights, as `weighted_sum` asserts.
            let weight = unsafe { V::load_ptr(weights.as_ptr().add(tap.weight + strip)) };
            let from = from.wrapping_add(tap.from + strip);
            for (p, sum) in sums.iter_mut().enumerate() {
                // SAFETY: pixel `at + p` of the line is inside what is read, as `weighted_sum` asserts.
                let x = unsafe { V::load_ptr(from.wrapping_add(p * line.from_step)) };
                *sum = x.mul_add(weight, *sum);
            }
        }
        for (p, sum) in sums.into_iter().enumerate() {
            // NaN stays: `min` and `max` give the right operand for it.
            let sum = high.min(low.max(sum));
            // SAFETY: pixel `at + p` of the line is inside what is written, as `weighted_sum` asserts.
            unsafe { sum.store_ptr(y.as_mut_ptr().add(to + p * line.to_step + strip)) };
        }
    }
    if whole == line.c {
        return;
    }
    let rest = line.c - whole;
    let bias = end
        .bias
        .map_or(V::splat(0.0), |bias| V::load_part(&bias[whole..]));
    for p in 0..P {
        let mut sum = bias;
        for tap in line.taps {
            let weight = V::load_part(&weights[tap.weight + whole..][..rest]);
            let x = &x[tap.from + (at + p) * line.from_step + whole..][..rest];
            sum = V::load_part(x).mul_add(weight, sum);
        }
        high.min(low.max(sum))
            .store_part(&mut y[to + p * line.to_step + whole..][..rest]);
    }
}

/// Adds `x dy` over a line of pixels to the sum of each tap.
#[inline(always)]
pub(super) fn tap_sums<V: Vector>(line: Line, x: &[f32], dy: &[f32], sums: &mut [f32]) {
    // The loops below are pointer code; this is what makes them safe.
    assert!(line.fits(sums.len(), x.len(), dy.len()));
    let mut taps = line.taps;
    while !taps.is_empty() {
        let used = match taps.len() {
            12.. => taps_at_once::<V, 12>(line, taps, x, dy, sums),
            9.. => taps_at_once::<V, 9>(line, taps, x, dy, sums),
            6.. => taps_at_once::<V, 6>(line, taps, x, dy, sums),
            4.. => taps_at_once::<V, 4>(line, taps, x, dy, sums),
            2.. => taps_at_once::<V, 2>(line, taps, x, dy, sums),
            _ => taps_at_once::<V, 1>(line, taps, x, dy, sums),
        };
        taps = &taps[used..];
    }
}

/// `T` taps: `T` sums of a vector of channels, one load of `dy` for `T` products.
#[inline(always)]
fn taps_at_once<V: Vector, const T: usize>(
    line: Line,
    taps: &[Tap],
    x: &[f32],
    dy: &[f32],
    sums: &mut [f32],
) -> usize {
    let taps: &[Tap; T] = taps[..T].try_into().expect("T taps");
    let whole = line.c / V::LANES * V::LANES;
    for strip in (0..whole).step_by(V::LANES) {
        let mut products = [V::splat(0.0); T];
        for at in 0..line.count {
            // SAFETY: the pixel is inside `dy`, as `tap_sums` asserts.
            let dy = unsafe { V::load_ptr(dy.as_ptr().add(line.to + at * line.to_step + strip)) };
            let from = x.as_ptr().wrapping_add(at * line.from_step + strip);
            for (product, tap) in products.iter_mut().zip(taps) {
                // SAFETY: the tap's pixel is inside `x`, as `tap_sums` asserts.
                let x = unsafe { V::load_ptr(from.wrapping_add(tap.from)) };
                *product = x.mul_add(dy, *product);
            }
        }
        for (product, tap) in products.into_iter().zip(taps) {
            let sum = &mut sums[tap.weight + strip..];
            (V::load(sum) + product).store(sum);
        }
    }
    if whole < line.c {
        let rest = line.c - whole;
        for tap in taps {
            let sum = &mut sums[tap.weight + whole..][..rest];
            let mut total = V::load_part(sum);
            for at in 0..line.count {
                let x = &x[tap.from + at * line.from_step + whole..][..rest];
                let dy = &dy[line.to + at * line.to_step + whole..][..rest];
                total = V::load_part(x).mul_add(V::load_part(dy), total);
            }
            total.store_part(sum);
        }
    }
    T
}
