//! The definition of resizing.

use super::Resize;

/// The resized images.
pub fn forward(resize: &Resize, x: &[f32], y: &mut [f32]) {
    y.fill(0.0);
    let c = resize.c;
    each_source(resize, |from, to, weight| {
        for i in 0..c {
            y[to + i] += weight * x[from + i];
        }
    });
}

/// `dx` of the resized images.
pub fn backward(resize: &Resize, dy: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    let c = resize.c;
    each_source(resize, |from, to, weight| {
        for i in 0..c {
            dx[from + i] += weight * dy[to + i];
        }
    });
}

/// Calls `work(place in x, place in y, weight)` for each input that an output has.
fn each_source(resize: &Resize, mut work: impl FnMut(usize, usize, f32)) {
    let Resize {
        n,
        h,
        w,
        c,
        out,
        mode,
    } = *resize;
    for image in 0..n {
        for oy in 0..out[0] {
            let y = mode.place(oy, h, out[0]);
            for ox in 0..out[1] {
                let x = mode.place(ox, w, out[1]);
                let to = ((image * out[0] + oy) * out[1] + ox) * c;
                for (row, row_share) in [(y.low, 1.0 - y.share), (y.high, y.share)] {
                    for (column, share) in [(x.low, 1.0 - x.share), (x.high, x.share)] {
                        if row_share * share != 0.0 {
                            work(((image * h + row) * w + column) * c, to, row_share * share);
                        }
                    }
                }
            }
        }
    }
}
