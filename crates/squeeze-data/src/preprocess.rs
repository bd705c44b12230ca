//! What happens to an image before the network sees it; part of the model file.

use serde::{Deserialize, Serialize};

use crate::dataset::{Example, Input};
use crate::interpolate::interpolated;
use crate::{DataError, Image};

/// What happens to an image before the network sees it; part of the model file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocess {
    /// Height and width of what the network sees.
    pub size: [usize; 2],
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// Mean of each channel on the train split, of values between 0 and 1.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel on the train split, of values between 0 and 1.
    pub std: Vec<f32>,
    /// How an image of another size becomes this size.
    pub resize: Resize,
}

/// How an image becomes another size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// All of it, with height and width each to the new size.
    Stretch,
    /// The largest part around the centre that has the new proportions.
    #[default]
    CentreCrop,
    /// All of it, each value mixed of the four nearest pixels: `interpolate` of PyTorch.
    Interpolate,
}

/// How many images at most are read for size, mean and deviation when they are still in files.
const SAMPLE: usize = 2000;

impl Preprocess {
    /// Size, mean and deviation from the train split; `size` is chosen when it is `None`.
    ///
    /// The chosen size is that of the images when all have the same, and otherwise the median of their
    /// shorter sides, at most 224, as a multiple of 32.
    pub fn fit(train: &[Example], size: Option<[usize; 2]>) -> Result<Self, DataError> {
        let mut channels = 1;
        let mut sizes = Vec::new();
        let mut histogram = [[0u64; 256]; 3];
        // Every k-th, so that all classes of a sorted folder are seen.
        for example in train
            .iter()
            .step_by(train.len().div_ceil(SAMPLE * 25).max(1))
        {
            let Input::Image(picture) = &example.input else {
                return Err(DataError::Mismatch(
                    "texts have no image preprocessing: use a tokeniser".to_owned(),
                ));
            };
            if sizes.len() >= SAMPLE && matches!(picture, crate::Picture::File(_)) {
                continue;
            }
            let image = picture.image()?;
            channels = channels.max(image.channels);
            sizes.push([image.height, image.width]);
            for pixel in image.pixels.chunks_exact(image.channels) {
                for channel in 0..3 {
                    histogram[channel][usize::from(pixel[channel.min(image.channels - 1)])] += 1;
                }
            }
        }
        let Some(first) = sizes.first() else {
            return Err(DataError::Empty {
                place: "train".to_owned(),
                skipped: String::new(),
            });
        };
        let size = size.unwrap_or_else(|| {
            if sizes.iter().all(|size| size == first) && first[0].max(first[1]) <= 224 {
                return *first;
            }
            let mut sides: Vec<usize> = sizes.iter().map(|[h, w]| *h.min(w)).collect();
            sides.sort_unstable();
            [(sides[sides.len() / 2].min(224) / 32 * 32).max(32); 2]
        });
        let (mean, std) = histogram[..channels].iter().map(moments).unzip();
        Ok(Self {
            size,
            channels,
            mean,
            std,
            resize: Resize::default(),
        })
    }

    /// The image's bytes at the network's size and channels, `[h, w, c]`.
    pub fn bytes(&self, image: &Image) -> Vec<u8> {
        image
            .with_channels(self.channels)
            .resized(self.size, self.resize)
            .pixels
    }

    /// What the network sees of an image, `[h, w, c]`.
    pub fn apply(&self, image: &Image) -> Vec<f32> {
        let table = self.table();
        if self.resize == Resize::Interpolate {
            return interpolated(&image.with_channels(self.channels), self.size, &table);
        }
        let channels = table.iter().cycle();
        self.bytes(image)
            .iter()
            .zip(channels)
            .map(|(&byte, table)| table[usize::from(byte)])
            .collect()
    }

    /// Values in one image.
    pub fn len(&self) -> usize {
        self.size[0] * self.size[1] * self.channels
    }

    /// Whether an image has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The normalised value of each byte, a table for each channel.
    pub(crate) fn table(&self) -> Vec<[f32; 256]> {
        let of = |(mean, std): (&f32, &f32)| {
            std::array::from_fn(|byte| (byte as f32 / 255.0 - mean) / std)
        };
        self.mean.iter().zip(&self.std).map(of).collect()
    }
}

/// Mean and deviation of bytes as values between 0 and 1; a constant channel has the smallest step as deviation.
fn moments(histogram: &[u64; 256]) -> (f32, f32) {
    let n: u64 = histogram.iter().sum();
    let sum = |power: i32| {
        let term = |(byte, &count): (usize, &u64)| (byte as f64 / 255.0).powi(power) * count as f64;
        histogram.iter().enumerate().map(term).sum::<f64>() / n as f64
    };
    let mean = sum(1);
    let variance = (sum(2) - mean * mean).max(0.0);
    (mean as f32, (variance.sqrt() as f32).max(1.0 / 255.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataSet, OpenOptions};

    /// Mean 0.1307 and deviation 0.3081 are the figures in use for all 60,000 of MNIST's training images.
    #[test]
    fn digits_have_mnists_mean_and_deviation() {
        let set = DataSet::open("digits", &OpenOptions::default()).unwrap();
        let fit = Preprocess::fit(&set.train, None).unwrap();
        assert_eq!((fit.size, fit.channels), ([28, 28], 1));
        // A mean over 10,800 images of 60,000: three deviations of an image's mean (0.044) / 104.
        assert!((fit.mean[0] - 0.1307).abs() < 0.0013, "{fit:?}");
        assert!((fit.std[0] - 0.3081).abs() < 0.0015, "{fit:?}");
        let Input::Image(picture) = &set.train[0].input else {
            unreachable!("digits are images")
        };
        assert_eq!(fit.apply(&picture.image().unwrap()).len(), fit.len());
        let json = serde_json::to_string(&fit).unwrap();
        assert_eq!(serde_json::from_str::<Preprocess>(&json).unwrap(), fit);
    }
}
