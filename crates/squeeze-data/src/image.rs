//! Images of bytes, height x width x channels, decoded from PNG and JPEG.

use std::fmt;
use std::io::Cursor;
use std::path::Path;

use ::image::{ColorType, DynamicImage, ImageDecoder, ImageReader};

use crate::interpolate::interpolated;
use crate::resample::Source;
use crate::{DataError, Resize};

/// An image of bytes, `[height, width, channels]`, with one channel (grey) or three (red, green, blue).
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// 1 or 3.
    pub channels: usize,
    /// `height * width * channels` bytes.
    pub pixels: Vec<u8>,
}

/// So many pixels may be in any file, beside those for its bytes: a blank page.
const ALWAYS: u64 = 16 << 20;

/// A byte of a PNG file becomes at most 1032 (deflate), one of a JPEG file at most 512 (a bit for each block of 64).
const MOST_A_BYTE: u64 = 1032;

impl Image {
    /// Reads a PNG or JPEG file, the right way up (EXIF), with transparent parts as white.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let bytes = std::fs::read(path).map_err(DataError::unreadable(path))?;
        Self::decode(&bytes).map_err(|reason| DataError::corrupt(path, reason))
    }

    /// Decodes PNG or JPEG; the error says why it could not.
    ///
    /// A file of more pixels than its bytes can stand for is refused, so that a small one takes neither time nor memory.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let unreadable =
            |reason: &dyn fmt::Display| format!("not a readable PNG or JPEG image: {reason}");
        let mut decoder = ImageReader::new(Cursor::new(bytes))
            .with_guessed_format()
            .map_err(|reason| unreadable(&reason))?
            .into_decoder()
            .map_err(|reason| unreadable(&reason))?;
        let (width, height) = decoder.dimensions();
        let most = ALWAYS + MOST_A_BYTE * bytes.len() as u64;
        if u64::from(width) * u64::from(height) > most {
            return Err(format!(
                "{height}x{width} pixels in {} bytes: damaged, or made to fill the memory",
                bytes.len()
            ));
        }
        let orientation = decoder
            .orientation()
            .map_err(|reason| unreadable(&reason))?;
        let mut image =
            DynamicImage::from_decoder(decoder).map_err(|reason| unreadable(&reason))?;
        image.apply_orientation(orientation);
        let (height, width) = (image.height() as usize, image.width() as usize);
        let (channels, pixels) = match image.color() {
            ColorType::L8 | ColorType::L16 => (1, image.into_luma8().into_raw()),
            color if color.has_alpha() => (3, over_white(image)),
            _ => (3, image.into_rgb8().into_raw()),
        };
        Ok(Self {
            height,
            width,
            channels,
            pixels,
        })
    }

    /// Height and width as the header of a PNG or JPEG file states them.
    pub fn dimensions(path: &Path) -> Result<[usize; 2], DataError> {
        let (width, height) = ImageReader::open(path)
            .and_then(ImageReader::with_guessed_format)
            .map_err(DataError::unreadable(path))?
            .into_dimensions()
            .map_err(|reason| {
                DataError::corrupt(path, format!("not a readable PNG or JPEG image: {reason}"))
            })?;
        Ok([height as usize, width as usize])
    }

    /// The same image with 1 or 3 channels; grey is the luma of BT.601, as in PyTorch's transforms.
    ///
    /// # Panics
    /// When `channels` is neither 1 nor 3.
    pub fn with_channels(&self, channels: usize) -> Self {
        let pixels = match (self.channels, channels) {
            (have, want) if have == want => self.pixels.clone(),
            (1, 3) => self.pixels.iter().flat_map(|&grey| [grey; 3]).collect(),
            (3, 1) => {
                let luma = |p: &[u8; 3]| {
                    let [r, g, b] = p.map(u32::from);
                    // Pillow's fixed-point form; at most (65536 * 255 + 32768) >> 16 = 255.
                    ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u8
                };
                self.pixels.as_chunks::<3>().0.iter().map(luma).collect()
            }
            (have, want) => panic!("cannot make {want} channels of {have}"),
        };
        Self {
            channels,
            pixels,
            ..*self
        }
    }

    /// The image at `size` (height, width); antialiased bilinear, as Pillow's, or as PyTorch interpolates, to the nearest byte.
    pub fn resized(&self, size: [usize; 2], resize: Resize) -> Self {
        let [height, width] = size;
        if [self.height, self.width] == size {
            return self.clone();
        }
        let (wide, tall) = (self.width as f64, self.height as f64);
        let ratio = width as f64 / height as f64;
        let (columns, rows) = match resize {
            Resize::Stretch => (wide, tall),
            Resize::CentreCrop => (wide.min(tall * ratio), tall.min(wide / ratio)),
            Resize::Interpolate => return self.interpolated(size),
        };
        // Corners are in single precision, as Pillow has them.
        let part = |length: f64, shown: f64| {
            let [from, to] = [length - shown, length + shown].map(|corner| (corner / 2.0) as f32);
            f64::from(from)..f64::from(to)
        };
        let source = Source {
            pixels: &self.pixels,
            width: self.width,
            height: self.height,
            columns: part(wide, columns),
            rows: part(tall, rows),
        };
        let pixels = match self.channels {
            1 => source.resampled::<1>(size),
            _ => source.resampled::<3>(size),
        };
        Self {
            height,
            width,
            channels: self.channels,
            pixels,
        }
    }

    fn interpolated(&self, size: [usize; 2]) -> Self {
        let table = vec![std::array::from_fn(|byte| byte as f32); self.channels];
        let values = interpolated(self, size, &table);
        // No mixture of bytes is beyond them.
        let pixels = values.into_iter().map(|value| value.round() as u8);
        let [height, width] = size;
        Self {
            height,
            width,
            channels: self.channels,
            pixels: pixels.collect(),
        }
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({}x{}x{})", self.height, self.width, self.channels)
    }
}

fn over_white(image: DynamicImage) -> Vec<u8> {
    let rgba = image.into_rgba8();
    let blend = |value: u8, alpha: u8| {
        // At most (255 * 255 + 127) / 255 = 255.
        ((u32::from(value) * u32::from(alpha) + 255 * (255 - u32::from(alpha)) + 127) / 255) as u8
    };
    rgba.pixels()
        .flat_map(|&::image::Rgba([r, g, b, a])| [blend(r, a), blend(g, a), blend(b, a)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32, color: ::image::ExtendedColorType, pixels: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let encoder = ::image::codecs::png::PngEncoder::new(&mut bytes);
        ::image::ImageEncoder::write_image(encoder, pixels, width, height, color).unwrap();
        bytes
    }

    #[test]
    fn keeps_grey_grey_and_puts_transparent_on_white() {
        let grey = Image::decode(&png(2, 1, ::image::ExtendedColorType::L8, &[3, 200])).unwrap();
        assert_eq!((grey.channels, grey.pixels), (1, vec![3, 200]));
        let clear = [9, 9, 9, 0, 9, 8, 7, 255];
        let image = Image::decode(&png(2, 1, ::image::ExtendedColorType::Rgba8, &clear)).unwrap();
        assert_eq!(image.pixels, [255, 255, 255, 9, 8, 7]);
    }

    #[test]
    fn a_few_bytes_do_not_fill_the_memory() {
        let mut bytes = png(2, 1, ::image::ExtendedColorType::L8, &[3, 200]);
        // Width and height in the first chunk, and its checksum.
        bytes[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 0]);
        let sum = crc32(&bytes[12..29]).to_be_bytes();
        bytes[29..33].copy_from_slice(&sum);
        let reason = Image::decode(&bytes).unwrap_err();
        assert!(reason.starts_with("16384x16384 pixels in "), "{reason}");
    }

    /// PNG's checksum.
    fn crc32(bytes: &[u8]) -> u32 {
        let mut sum = flate2::Crc::new();
        sum.update(bytes);
        sum.sum()
    }

    #[test]
    fn a_truncated_image_is_refused() {
        let pixels: Vec<u8> = (0..3 * 64 * 64).map(|i| (i * i % 251) as u8).collect();
        let whole = png(64, 64, ::image::ExtendedColorType::Rgb8, &pixels);
        assert!(Image::decode(&whole[..whole.len() / 2]).is_err());
        assert!(Image::decode(b"").is_err());
    }

    #[test]
    fn grey_is_pillows_luma() {
        let image = Image {
            height: 1,
            width: 2,
            channels: 3,
            pixels: vec![255, 255, 255, 10, 20, 30],
        };
        // 0.299 * 10 + 0.587 * 20 + 0.114 * 30 = 18.15
        assert_eq!(image.with_channels(1).pixels, [255, 18]);
    }

    #[test]
    fn crops_the_centre_of_a_wide_image() {
        let pixels = vec![0, 100, 100, 0, 0, 100, 100, 0];
        let image = Image {
            height: 2,
            width: 4,
            channels: 1,
            pixels,
        };
        let cut = image.resized([2, 2], Resize::CentreCrop);
        assert_eq!(cut.pixels, [100; 4]);
        // A triangle of radius 4 weighs the columns 5, 7, 7, 5 of 24.
        assert_eq!(image.resized([1, 1], Resize::Stretch).pixels, [58]);
    }
}
