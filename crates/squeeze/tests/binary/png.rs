//! A picture to show to the binary.

use std::fs;
use std::path::Path;

/// Writes a black PNG of this height and width: one stored deflate block, checksums by hand, so that no image crate is needed here.
pub fn write_png(path: &Path, [height, width]: [u8; 2]) {
    // Each row has a byte for its filter first.
    let rows = vec![0u8; usize::from(height) * (1 + usize::from(width))];
    let (mut a, mut b) = (1u32, 0u32);
    for &byte in &rows {
        a = (a + u32::from(byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    let length = u16::try_from(rows.len()).expect("short");
    let mut packed = vec![0x78, 0x01, 1];
    packed.extend(length.to_le_bytes());
    packed.extend((!length).to_le_bytes());
    packed.extend(rows);
    packed.extend(((b << 16) | a).to_be_bytes());
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8], body: &[u8]| {
        png.extend(u32::try_from(body.len()).expect("short").to_be_bytes());
        let start = png.len();
        png.extend(kind);
        png.extend(body);
        let mut crc = u32::MAX;
        for &byte in &png[start..] {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 {
                    (crc >> 1) ^ 0xedb8_8320
                } else {
                    crc >> 1
                };
            }
        }
        png.extend((!crc).to_be_bytes());
    };
    chunk(b"IHDR", &[0, 0, 0, width, 0, 0, 0, height, 8, 0, 0, 0, 0]);
    chunk(b"IDAT", &packed);
    chunk(b"IEND", &[]);
    fs::write(path, png).expect("writable");
}
