//! The definition of depthwise convolution in bytes.

use std::ops::Range;

use super::Kernel;
use super::finish::Finish;
use super::pack::Channels;
use crate::Tier;
use crate::depthwise::Depthwise;

/// The row of this tier.
pub(super) const KERNEL: Kernel = Kernel {
    name: "u8_depthwise_scalar",
    tier: Tier::Scalar,
    is_present: || true,
    widened: false,
    strips: &[],
    windows: None,
};

/// Some rows of one image's output, which are all that `y` holds; outside of `x` lies the byte `zero`.
pub(super) fn rows(
    geometry: &Depthwise,
    (channels, finish, zero): (&Channels, &Finish, u8),
    (rows, x, y): (Range<usize>, &[u8], &mut [u8]),
) {
    let Depthwise { h, w, c, .. } = *geometry;
    let [kh, kw] = geometry.kernel;
    let inside = |place: usize, padding: usize, size: usize| {
        place.checked_sub(padding).filter(|&at| at < size)
    };
    let pixels = rows.flat_map(|oy| (0..geometry.out_w()).map(move |ox| (oy, ox)));
    for ((oy, ox), y) in pixels.zip(y.chunks_exact_mut(c.max(1))) {
        for (i, y) in y.iter_mut().enumerate() {
            let mut sum = channels.start[i];
            for ky in 0..kh {
                let place = oy * geometry.stride[0] + ky * geometry.dilation[0];
                let iy = inside(place, geometry.padding[0], h);
                for kx in 0..kw {
                    let place = ox * geometry.stride[1] + kx * geometry.dilation[1];
                    let ix = inside(place, geometry.padding[1], w);
                    let byte = match (iy, ix) {
                        (Some(iy), Some(ix)) => x[(iy * w + ix) * c + i],
                        _ => zero,
                    };
                    sum += i32::from(byte) * i32::from(channels.weights[(i * kh + ky) * kw + kx]);
                }
            }
            *y = finish.byte((sum as f32).mul_add(channels.factor[i], channels.offset[i]));
        }
    }
}
