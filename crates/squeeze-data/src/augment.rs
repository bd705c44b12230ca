//! Seeded random changes to images while training, in one pass from bytes to normalised values.

use serde::{Deserialize, Serialize};
use squeeze_tensor::Random;

use crate::Preprocess;

/// Random changes to examples while training; the default changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Pixels by which the image may be moved in each direction; what comes in is black.
    pub crop: usize,
    /// Whether half of the images are mirrored.
    pub flip: bool,
    /// Largest rotation, in degrees.
    pub rotate: f32,
    /// Largest share by which the image grows or shrinks.
    pub zoom: f32,
    /// Largest share by which brightness, contrast and each colour change.
    pub jitter: f32,
    /// Side of a square that is set to the mean, as a share of the shorter side (DeVries and Taylor, 2017).
    pub erase: f32,
    /// Both parameters of the Beta distribution that mixes pairs (Zhang et al., 2018); 0 for none, at most 1.
    pub mixup: f32,
    /// Share of a text's tokens that become the unknown token, so that no single word decides
    /// (word dropout; Iyyer et al., 2015).
    pub forget: f32,
}

impl Augment {
    /// For texts: one token in ten is forgotten.
    pub fn texts() -> Self {
        Self {
            forget: 0.1,
            ..Self::default()
        }
    }

    /// For photos: moved by an eighth of the side, mirrored, mild colours, a quarter erased.
    pub fn photos(preprocess: &Preprocess) -> Self {
        let side = preprocess.size[0].min(preprocess.size[1]);
        Self {
            crop: side / 8,
            flip: true,
            jitter: 0.1,
            erase: 0.25,
            ..Self::default()
        }
    }

    /// For digits and other signs: moved, turned and zoomed a little, never mirrored.
    pub fn signs(preprocess: &Preprocess) -> Self {
        let side = preprocess.size[0].min(preprocess.size[1]);
        Self {
            crop: side / 14,
            rotate: 12.0,
            zoom: 0.12,
            ..Self::default()
        }
    }

    /// Signs for grey images, photos for coloured ones.
    pub fn suited(preprocess: &Preprocess) -> Self {
        if preprocess.channels == 1 {
            Self::signs(preprocess)
        } else {
            Self::photos(preprocess)
        }
    }

    /// Writes one changed and normalised image; bytes and values are `[h, w, c]`.
    pub(crate) fn write(
        &self,
        bytes: &[u8],
        preprocess: &Preprocess,
        table: &[[f32; 256]],
        random: &mut Random,
        out: &mut [f32],
    ) {
        let changed;
        let table = if self.jitter > 0.0 {
            changed = self.jittered(table, preprocess, random);
            &changed
        } else {
            table
        };
        let moved = |random: &mut Random| match self.crop {
            0 => 0,
            crop => random.below(2 * crop + 1).cast_signed() - crop.cast_signed(),
        };
        let (down, right) = (moved(random), moved(random));
        let mirrored = self.flip && random.uniform() < 0.5;
        if self.rotate > 0.0 || self.zoom > 0.0 {
            let angle = (2.0 * random.uniform() - 1.0) * self.rotate.to_radians();
            let scale = 1.0 + (2.0 * random.uniform() - 1.0) * self.zoom;
            let turn = Turn {
                angle,
                scale,
                down: down as f32,
                right: right as f32,
                mirrored,
            };
            turn.write(bytes, preprocess, table, out);
        } else {
            shift(bytes, preprocess, table, [down, right], mirrored, out);
        }
        if self.erase > 0.0 {
            self.erased(preprocess, random, out);
        }
    }

    /// Contrast around the middle, brightness and a gain for each colour, clamped to what a byte can hold.
    fn jittered(
        &self,
        table: &[[f32; 256]],
        preprocess: &Preprocess,
        random: &mut Random,
    ) -> Vec<[f32; 256]> {
        let mut draw = || (2.0 * random.uniform() - 1.0) * self.jitter;
        let (brightness, contrast) = (draw(), 1.0 + draw());
        let of = |(channel, table): (usize, &[f32; 256])| {
            let gain = 1.0
                + if table.len() > 1 && preprocess.channels > 1 {
                    0.5 * draw()
                } else {
                    0.0
                };
            let (mean, std) = (preprocess.mean[channel], preprocess.std[channel]);
            std::array::from_fn(|byte| {
                let value = ((byte as f32 / 255.0 - 0.5) * contrast + 0.5 + brightness) * gain;
                (value.clamp(0.0, 1.0) - mean) / std
            })
        };
        table.iter().enumerate().map(of).collect()
    }

    fn erased(&self, preprocess: &Preprocess, random: &mut Random, out: &mut [f32]) {
        let [height, width] = preprocess.size;
        let side = (self.erase.clamp(0.0, 1.0) * height.min(width) as f32).round() as usize;
        // The centre is anywhere, so that the square may be cut off at the border.
        let range = |length: usize, centre: usize| {
            centre.saturating_sub(side / 2)..(centre + side.div_ceil(2)).min(length)
        };
        let (rows, columns) = (
            range(height, random.below(height)),
            range(width, random.below(width)),
        );
        for y in rows {
            let start = y * width;
            out[(start + columns.start) * preprocess.channels
                ..(start + columns.end) * preprocess.channels]
                .fill(0.0);
        }
    }

    /// A share for mixing from Beta(mixup, mixup), at least one half (Joehnk, 1964).
    pub(crate) fn mixing(&self, random: &mut Random) -> f32 {
        let power = 1.0 / self.mixup.min(1.0);
        loop {
            let (a, b) = (random.uniform().powf(power), random.uniform().powf(power));
            if a + b > 0.0 && a + b <= 1.0 {
                let share = a / (a + b);
                return share.max(1.0 - share);
            }
        }
    }
}

/// Bytes to values without a change.
pub(crate) fn plain(bytes: &[u8], channels: usize, table: &[[f32; 256]], out: &mut [f32]) {
    for (bytes, out) in bytes
        .chunks_exact(channels)
        .zip(out.chunks_exact_mut(channels))
    {
        for ((byte, out), table) in bytes.iter().zip(out).zip(table) {
            *out = table[usize::from(*byte)];
        }
    }
}

fn shift(
    bytes: &[u8],
    preprocess: &Preprocess,
    table: &[[f32; 256]],
    [down, right]: [isize; 2],
    mirrored: bool,
    out: &mut [f32],
) {
    let ([height, width], c) = (preprocess.size, preprocess.channels);
    for y in 0..height {
        let row = &mut out[y * width * c..(y + 1) * width * c];
        let source = y.checked_add_signed(-down).filter(|&from| from < height);
        for x in 0..width {
            let from = if mirrored { width - 1 - x } else { x }
                .checked_add_signed(-right)
                .filter(|&x| x < width);
            let to = &mut row[x * c..(x + 1) * c];
            match (source, from) {
                (Some(y), Some(x)) => plain(
                    &bytes[(y * width + x) * c..(y * width + x + 1) * c],
                    c,
                    table,
                    to,
                ),
                _ => to
                    .iter_mut()
                    .zip(table)
                    .for_each(|(to, table)| *to = table[0]),
            }
        }
    }
}

/// A rotation and zoom about the centre with a shift, sampled bilinearly.
struct Turn {
    angle: f32,
    scale: f32,
    down: f32,
    right: f32,
    mirrored: bool,
}

impl Turn {
    fn write(&self, bytes: &[u8], preprocess: &Preprocess, table: &[[f32; 256]], out: &mut [f32]) {
        let ([height, width], c) = (preprocess.size, preprocess.channels);
        let (sin, cos) = self.angle.sin_cos();
        let (sin, cos) = (sin / self.scale, cos / self.scale);
        let centre = [(height as f32 - 1.0) / 2.0, (width as f32 - 1.0) / 2.0];
        let at = |y: isize, x: isize, channel: usize| {
            let inside =
                (0..height.cast_signed()).contains(&y) && (0..width.cast_signed()).contains(&x);
            let byte = if inside {
                bytes[(y.cast_unsigned() * width + x.cast_unsigned()) * c + channel]
            } else {
                0
            };
            table[channel][usize::from(byte)]
        };
        for y in 0..height {
            for x in 0..width {
                let column = if self.mirrored { width - 1 - x } else { x };
                let (dy, dx) = (
                    y as f32 - centre[0] - self.down,
                    column as f32 - centre[1] - self.right,
                );
                let (fy, fx) = (
                    cos * dy - sin * dx + centre[0],
                    sin * dy + cos * dx + centre[1],
                );
                let (top, left) = (fy.floor(), fx.floor());
                let (wy, wx) = (fy - top, fx - left);
                let (top, left) = (top as isize, left as isize);
                for channel in 0..c {
                    let upper =
                        at(top, left, channel) * (1.0 - wx) + at(top, left + 1, channel) * wx;
                    let lower = at(top + 1, left, channel) * (1.0 - wx)
                        + at(top + 1, left + 1, channel) * wx;
                    out[(y * width + x) * c + channel] = upper * (1.0 - wy) + lower * wy;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Resize;
    use squeeze_tensor::Seed;

    fn preprocess(size: [usize; 2], channels: usize) -> Preprocess {
        Preprocess {
            size,
            channels,
            mean: vec![0.0; channels],
            std: vec![1.0 / 255.0; channels],
            resize: Resize::Stretch,
        }
    }

    fn apply(augment: &Augment, bytes: &[u8], p: &Preprocess, seed: u64) -> Vec<f32> {
        let mut out = vec![0.0; p.len()];
        augment.write(bytes, p, &p.table(), &mut Seed(seed).random(), &mut out);
        out.iter()
            .map(|value| (value * 100.0).round() / 100.0)
            .collect()
    }

    #[test]
    fn nothing_is_the_image() {
        let p = preprocess([2, 2], 3);
        let bytes: Vec<u8> = (0..12).collect();
        assert_eq!(
            apply(&Augment::default(), &bytes, &p, 1),
            (0..12).map(|v| v as f32).collect::<Vec<_>>()
        );
    }

    #[test]
    fn shifts_and_mirrors() {
        let p = preprocess([2, 3], 1);
        let mut out = vec![0.0; 6];
        shift(&[1, 2, 3, 4, 5, 6], &p, &p.table(), [1, 0], true, &mut out);
        let out: Vec<f32> = out.iter().map(|v| v.round()).collect();
        assert_eq!(out, [0.0, 0.0, 0.0, 3.0, 2.0, 1.0]);
    }

    #[test]
    fn a_quarter_turn_moves_each_corner() {
        let p = preprocess([2, 2], 1);
        let turn = Turn {
            angle: std::f32::consts::FRAC_PI_2,
            scale: 1.0,
            down: 0.0,
            right: 0.0,
            mirrored: false,
        };
        let mut out = vec![0.0; 4];
        turn.write(&[1, 2, 3, 4], &p, &p.table(), &mut out);
        let mut seen: Vec<f32> = out.iter().map(|v| v.round()).collect();
        assert_ne!(seen, [1.0, 2.0, 3.0, 4.0]);
        seen.sort_by(f32::total_cmp);
        assert_eq!(seen, [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn erases_a_square_and_repeats_with_the_seed() {
        let p = preprocess([8, 8], 1);
        let augment = Augment {
            erase: 0.5,
            ..Augment::default()
        };
        let out = apply(&augment, &[9; 64], &p, 3);
        let gone = out.iter().filter(|&&v| v == 0.0).count();
        assert!(
            (4..=16).contains(&gone),
            "{gone} of 64: a 4x4 square, cut to no less than 2x2"
        );
        let all = Augment {
            crop: 2,
            flip: true,
            rotate: 20.0,
            zoom: 0.2,
            jitter: 0.3,
            erase: 0.3,
            mixup: 0.0,
            forget: 0.1,
        };
        assert_eq!(apply(&all, &[9; 64], &p, 4), apply(&all, &[9; 64], &p, 4));
        assert_ne!(apply(&all, &[9; 64], &p, 4), apply(&all, &[9; 64], &p, 5));
    }

    #[test]
    fn mixing_is_between_a_half_and_one() {
        let augment = Augment {
            mixup: 0.2,
            ..Augment::default()
        };
        let mut random = Seed(1).random();
        let shares: Vec<f32> = (0..1000).map(|_| augment.mixing(&mut random)).collect();
        assert!(shares.iter().all(|share| (0.5..=1.0).contains(share)));
    }
}
