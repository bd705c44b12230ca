//! Images at another size, each pixel mixed of the four nearest: `interpolate` of PyTorch, bilinear without antialiasing, which
//! torchvision's detectors were trained on.

use crate::Image;

/// The value of each byte, for each channel.
type Table = [[f32; 256]];

/// The image's values at `[height, width]`, `[h, w, c]`.
///
/// # Panics
/// When the image has not a channel for each table.
pub(crate) fn interpolated(image: &Image, size: [usize; 2], table: &Table) -> Vec<f32> {
    let [rows, columns] = [taps(image.height, size[0]), taps(image.width, size[1])];
    let channels = table.len();
    assert_eq!(image.channels, channels, "a table for each channel");
    let mut out = Vec::with_capacity(size[0] * size[1] * channels);
    if image.pixels.is_empty() {
        out.resize(size[0] * size[1] * channels, 0.0);
        return out;
    }
    for row in &rows {
        for column in &columns {
            for channel in 0..channels {
                let value = |row: usize, column: usize| {
                    let at = (row * image.width + column) * channels + channel;
                    table[channel][usize::from(image.pixels[at])]
                };
                let [above, below] = row.at.map(|row| {
                    let [left, right] = column.at.map(|column| value(row, column));
                    column.mixed(left, right)
                });
                out.push(row.mixed(above, below));
            }
        }
    }
    out
}

/// The two pixels that one is mixed of, and how much of each.
struct Taps {
    at: [usize; 2],
    share: [f32; 2],
}

impl Taps {
    fn mixed(&self, a: f32, b: f32) -> f32 {
        a * self.share[0] + b * self.share[1]
    }
}

/// Where `count` pixels lie among `length`, both from edge to edge.
fn taps(length: usize, count: usize) -> Vec<Taps> {
    let scale = length as f32 / count as f32;
    let last = length.saturating_sub(1);
    let of = |at: usize| {
        let centre = (scale * (at as f32 + 0.5) - 0.5).max(0.0);
        let first = (centre as usize).min(last);
        let share = (centre - first as f32).min(1.0);
        Taps {
            at: [first, (first + 1).min(last)],
            share: [1.0 - share, share],
        }
    };
    (0..count).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Resize;

    fn image(height: usize, width: usize, channels: usize) -> Image {
        let pixels = (0..height * width * channels).map(|i| (i * i % 251) as u8);
        Image {
            height,
            width,
            channels,
            pixels: pixels.collect(),
        }
    }

    fn whole() -> [f32; 256] {
        std::array::from_fn(|byte| byte as f32)
    }

    /// What `torch.nn.functional.interpolate(x, size, mode="bilinear")` of PyTorch 2.14 gives.
    #[test]
    fn small_images_are_pytorchs() {
        let found = interpolated(&image(3, 4, 1), [2, 6], &[whole()]);
        let wanted = [
            4.0, 5.5, 7.8333333, 11.166667, 15.5, 19.0, 52.0, 59.5, 69.833333, 81.166667, 93.5,
            103.0,
        ];
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((found - wanted).abs() <= 1e-4, "{found} {wanted}");
        }
        assert_eq!(found.len(), wanted.len());
    }

    #[test]
    fn the_same_size_is_the_same_image() {
        let image = image(5, 4, 3);
        let same = interpolated(&image, [5, 4], &[whole(); 3]);
        assert!(
            same.iter()
                .zip(&image.pixels)
                .all(|(a, &b)| *a == f32::from(b))
        );
        assert_eq!(image.resized([5, 4], Resize::Interpolate), image);
    }

    /// Far fewer pixels than the image has are taken where they lie, not the mean around them.
    #[test]
    fn one_pixel_is_the_middle() {
        let middle = image(3, 3, 1).resized([1, 1], Resize::Interpolate);
        assert_eq!(middle.pixels, [16]);
    }

    #[test]
    fn nothing_becomes_zeros() {
        assert_eq!(interpolated(&image(0, 5, 1), [1, 2], &[whole()]), [0.0; 2]);
    }
}
