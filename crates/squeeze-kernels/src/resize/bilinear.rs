//! Bilinear resizing of images in numbers: two rows are blended first, once for all columns that lie between their pixels.

use super::{Between, Mode, Resize};
use crate::vector::Vector;

/// Numbers of a blended row, or as much of it as some columns read.
const ROOM: usize = 8192;
/// What a vector may read behind them.
const BEHIND: usize = 16;
/// Columns whose places are looked up at once.
const COLUMNS: usize = 512;

/// So many columns lie between three pixels fewer than there is room for, from centre to centre or from corner to corner.
fn together(resize: &Resize) -> usize {
    let (pixels, w, out) = ((ROOM / resize.c).saturating_sub(3), resize.w, resize.out[1]);
    let corners = match w {
        1 => COLUMNS,
        _ => pixels * (out - 1) / (w - 1),
    };
    (pixels * out / w).min(corners).min(COLUMNS)
}

/// Whether [`vector_bilinear`] has it: all but images of very many channels, or as much smaller than they were.
pub(super) fn has(resize: &Resize) -> bool {
    resize.mode != Mode::Nearest && together(resize) > 0
}

/// As [`super::scalar::forward`].
#[inline(always)]
pub(super) fn vector_bilinear<V: Vector>(resize: &Resize, first: usize, x: &[f32], y: &mut [f32]) {
    let Resize {
        h, w, c, out, mode, ..
    } = *resize;
    assert!(has(resize) && V::LANES <= BEHIND);
    let together = together(resize);
    let mut places = [mode.place(0, w, out[1]); COLUMNS];
    let mut room = [0.0; ROOM + BEHIND];
    for start in (0..out[1]).step_by(together) {
        let end = (start + together).min(out[1]);
        let places = &mut places[..end - start];
        for (column, place) in (start..end).zip(&mut *places) {
            *place = mode.place(column, w, out[1]);
        }
        let (left, right) = (places[0].low, places[places.len() - 1].high);
        for (at, y) in y.chunks_exact_mut(out[1] * c).enumerate() {
            let (image, row) = ((first + at) / out[0], (first + at) % out[0]);
            let down = mode.place(row, h, out[0]);
            let line =
                |row: usize| &x[((image * h + row) * w + left) * c..][..(right + 1 - left) * c];
            blend_rows::<V>([line(down.low), line(down.high)], down.share, &mut room);
            blend_columns::<V>((&room, left), places, c, &mut y[start * c..end * c]);
        }
    }
}

/// Between two rows, with a share of the second.
#[inline(always)]
fn blend_rows<V: Vector>([low, high]: [&[f32]; 2], share: f32, room: &mut [f32; ROOM + BEHIND]) {
    let [upper, lower] = [V::splat(1.0 - share), V::splat(share)];
    let to = &mut room[..low.len()];
    for at in (0..to.len()).step_by(V::LANES) {
        let (a, b) = (V::load_part(&low[at..]), V::load_part(&high[at..]));
        b.mul_add(lower, a * upper).store_part(&mut to[at..]);
    }
}

/// Between the pixels of a row, which begins with pixel `left`.
#[inline(always)]
fn blend_columns<V: Vector>(
    (row, left): (&[f32; ROOM + BEHIND], usize),
    places: &[Between],
    c: usize,
    y: &mut [f32],
) {
    assert_eq!(y.len(), places.len() * c);
    for (column, place) in places.iter().enumerate() {
        let [before, after] = [V::splat(1.0 - place.share), V::splat(place.share)];
        let (low, high) = ((place.low - left) * c, (place.high - left) * c);
        assert!(low.max(high) + c <= ROOM);
        for at in (0..c).step_by(V::LANES) {
            // SAFETY: less than `c` and a vector behind the pixels' first numbers.
            let (a, b) = unsafe {
                let [a, b] = [low, high].map(|pixel| row.as_ptr().add(pixel + at));
                (V::load_ptr(a), V::load_ptr(b))
            };
            let one = b.mul_add(after, a * before);
            let to = column * c + at;
            V::prefetch(y.as_ptr().wrapping_add(to + 512));
            // What is written behind the pixel is written again by the next one.
            match to + V::LANES <= y.len() {
                // SAFETY: inside, as just seen.
                true => unsafe { one.store_ptr(y.as_mut_ptr().add(to)) },
                false => one.store_part(&mut y[to..]),
            }
        }
    }
}
