//! Images of bytes at another size: antialiased bilinear, as Pillow does it.
//!
//! Each pixel is the mean under a triangle that reaches as far as a pixel of the coarser image is wide. Weights are whole numbers
//! with 22 bits behind the point. First each row gets its new columns, which are rounded to bytes, then each column its rows: the
//! bytes are Pillow's, or next to them where Pillow takes rows first.

use std::ops::Range;

/// What is resampled: rows of columns of channels, and the part of it that the result shows, in pixels.
pub(crate) struct Source<'a> {
    pub pixels: &'a [u8],
    pub width: usize,
    pub height: usize,
    pub columns: Range<f64>,
    pub rows: Range<f64>,
}

impl Source<'_> {
    /// The part at `[height, width]`; `C` channels.
    pub fn resampled<const C: usize>(&self, [height, width]: [usize; 2]) -> Vec<u8> {
        let columns = windows(&self.columns, self.width, width);
        let rows = windows(&self.rows, self.height, height);
        let first = rows.first().map_or(0, |row| row.first);
        let end = rows.last().map_or(0, |row| row.first + row.weights.len());
        let mut narrow = vec![0; (end - first) * width * C];
        for row in first..end {
            let from = &self.pixels[row * self.width * C..][..self.width * C];
            let to = &mut narrow[(row - first) * width * C..][..width * C];
            across::<C>(&columns, from, to);
        }
        let mut out = vec![0; height * width * C];
        let mut sums = vec![0; width * C];
        for (row, window) in rows.iter().enumerate() {
            let from = &narrow[(window.first - first) * width * C..];
            let to = &mut out[row * width * C..][..width * C];
            down(window, from, &mut sums, to);
        }
        out
    }
}

/// Bits of a weight behind the point.
const BITS: u32 = 22;
/// Half a byte's step, which makes the shift round.
const HALF: i32 = 1 << (BITS - 1);

/// The pixels that one pixel of the result is the mean of.
struct Window {
    first: usize,
    weights: Vec<i32>,
}

/// The windows of `count` pixels that show `part` of `length` pixels.
fn windows(part: &Range<f64>, length: usize, count: usize) -> Vec<Window> {
    let scale = (part.end - part.start) / count as f64;
    let reach = scale.max(1.0);
    let window = |at: usize| {
        let centre = part.start + (at as f64 + 0.5) * scale;
        // What is below zero becomes zero.
        let first = ((centre - reach + 0.5) as usize).min(length);
        let end = ((centre + reach + 0.5) as usize).clamp(first, length);
        let weight = |at: usize| {
            let away = (at as f64 - centre + 0.5) * (1.0 / reach);
            (1.0 - away.abs()).max(0.0)
        };
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        let whole = |weight: &f64| (0.5 + weight / sum * f64::from(1 << BITS)) as i32;
        Window {
            first,
            weights: weights.iter().map(whole).collect(),
        }
    };
    (0..count).map(window).collect()
}

/// One row with other columns.
fn across<const C: usize>(columns: &[Window], from: &[u8], to: &mut [u8]) {
    let pixels = from.as_chunks::<C>().0;
    for (window, to) in columns.iter().zip(to.as_chunks_mut::<C>().0) {
        let mut sums = [HALF; C];
        for (pixel, weight) in pixels[window.first..].iter().zip(&window.weights) {
            for channel in 0..C {
                sums[channel] += i32::from(pixel[channel]) * weight;
            }
        }
        *to = sums.map(byte);
    }
}

/// One row of the result from rows as long as it.
fn down(window: &Window, from: &[u8], sums: &mut [i32], to: &mut [u8]) {
    sums.fill(HALF);
    for (from, weight) in from.chunks_exact(to.len().max(1)).zip(&window.weights) {
        for (sum, from) in sums.iter_mut().zip(from) {
            *sum += i32::from(*from) * weight;
        }
    }
    for (to, sum) in to.iter_mut().zip(sums) {
        *to = byte(*sum);
    }
}

/// No weight is below zero, and none of the sums is.
fn byte(sum: i32) -> u8 {
    (sum >> BITS).min(255) as u8
}

#[cfg(test)]
mod tests {
    use crate::{Image, Resize};

    /// Bytes that jump about.
    fn image(height: usize, width: usize, channels: usize) -> Image {
        Image {
            height,
            width,
            channels,
            pixels: (0..height * width * channels)
                .map(|i| (i * i % 251) as u8)
                .collect(),
        }
    }

    // What Pillow 13.0.0 gives: `resize(size, BILINEAR)`, and `ImageOps.fit` for the centre.

    #[test]
    fn small_images_are_pillows() {
        let bytes = |from: Image, size, resize| from.resized(size, resize).pixels;
        assert_eq!(
            bytes(image(4, 5, 3), [2, 3], Resize::Stretch),
            [
                87, 51, 58, 83, 117, 94, 121, 103, 149, 87, 139, 151, 80, 137, 141, 114, 77, 170
            ]
        );
        assert_eq!(
            bytes(image(5, 7, 1), [9, 4], Resize::Stretch),
            [
                1, 5, 16, 30, 20, 31, 51, 72, 51, 74, 108, 142, 120, 72, 98, 144, 199, 58, 71, 129,
                200, 71, 98, 168, 185, 89, 115, 190, 108, 128, 97, 144, 61, 152, 86, 117
            ]
        );
        assert_eq!(
            bytes(image(6, 9, 3), [4, 4], Resize::CentreCrop),
            [
                58, 90, 92, 75, 115, 158, 117, 80, 132, 90, 131, 140, 121, 167, 143, 106, 136, 173,
                121, 128, 114, 100, 83, 176, 82, 199, 148, 104, 153, 160, 123, 101, 105, 75, 114,
                102, 124, 165, 126, 110, 129, 150, 94, 122, 66, 110, 94, 116
            ]
        );
        assert_eq!(
            bytes(image(2, 2, 1), [3, 3], Resize::Stretch),
            [0, 1, 1, 2, 4, 5, 4, 7, 9]
        );
    }

    #[test]
    fn rows_first_are_one_off_at_most() {
        let pillows = [
            77, 96, 121, 146, 111, 69, 137, 158, 186, 216, 142, 60, 87, 111, 142, 176, 189, 194,
            53, 80, 115, 152, 190, 218,
        ];
        let own = image(12, 4, 1).resized([4, 6], Resize::CentreCrop).pixels;
        assert_eq!(own.len(), pillows.len());
        assert!(own.iter().zip(pillows).all(|(&a, b)| a.abs_diff(b) <= 1));
    }

    #[test]
    fn large_images_are_pillows() {
        let sum = |resize| {
            let bytes = image(375, 500, 3).resized([224, 224], resize).pixels;
            let add = |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte));
            bytes.into_iter().fold(0, add)
        };
        assert_eq!(sum(Resize::Stretch), 2_295_449_116);
        assert_eq!(sum(Resize::CentreCrop), 731_684_414);
    }

    #[test]
    fn nothing_becomes_zeros() {
        assert_eq!(
            image(0, 5, 1).resized([1, 2], Resize::Stretch).pixels,
            [0; 2]
        );
    }
}
