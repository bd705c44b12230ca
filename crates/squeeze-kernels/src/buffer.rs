//! A growable buffer of `f32` whose start lies on a cache line, so that no vector load crosses two; memory seen as bytes.

use std::ops::{Deref, DerefMut};

const LANES: usize = 16;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LANES]);

/// A buffer that starts on a cache line.
#[derive(Clone, Default)]
pub struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

impl Buffer {
    /// A buffer of `len` zeros.
    pub fn zeros(len: usize) -> Buffer {
        let mut buffer = Buffer::default();
        buffer.sized(len);
        buffer
    }

    /// Makes the buffer `len` long and hands it out. What it held before is left there; growth is zeros. Shrinking keeps the
    /// memory.
    pub fn sized(&mut self, len: usize) -> &mut [f32] {
        let lines = len.div_ceil(LANES);
        if lines > self.lines.len() {
            self.lines.resize(lines, Line([0.0; LANES]));
        }
        self.len = len;
        self
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({})", self.len)
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: a line is sixteen numbers without gaps, and `len` is at most sixteen times the number of lines.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`, and the buffer is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

/// Memory of numbers as bytes.
pub fn as_bytes(numbers: &[f32]) -> &[u8] {
    // SAFETY: any bits are numbers and bytes alike, and bytes may lie anywhere.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast::<u8>(), 4 * numbers.len()) }
}

/// Memory of numbers as bytes to write.
pub fn as_bytes_mut(numbers: &mut [f32]) -> &mut [u8] {
    // SAFETY: any bits are numbers and bytes alike, and bytes may lie anywhere.
    unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast::<u8>(), 4 * numbers.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_on_a_cache_line_and_keeps_what_it_held() {
        let mut buffer = Buffer::default();
        assert!(buffer.is_empty());
        buffer.sized(5).fill(1.0);
        assert_eq!(buffer.sized(40)[..6], [1.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
        assert_eq!(buffer.as_ptr() as usize % 64, 0);
        assert_eq!(buffer.sized(3).len(), 3);
    }
}
