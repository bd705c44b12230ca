//! Buffers that are used again: a fresh one for every operator would cost a page fault every 4 kB.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use squeeze_kernels::Buffer as Aligned;

/// Buffers that wait for their next use, by size.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool {
    free: Arc<Mutex<BTreeMap<usize, Vec<Aligned>>>>,
}

/// A buffer of `f32`, which goes back to its pool when dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    data: Aligned,
    len: usize,
    home: Pool,
}

impl Pool {
    /// A buffer of `len` elements of any value.
    pub(crate) fn take(&self, len: usize) -> Buffer {
        let class = class(len);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let data = free.get_mut(&class).and_then(Vec::pop);
        drop(free);
        Buffer {
            data: data.unwrap_or_else(|| Aligned::zeros(class)),
            len,
            home: self.clone(),
        }
    }

    /// A buffer of `len` zeros.
    pub(crate) fn zeros(&self, len: usize) -> Buffer {
        let mut buffer = self.take(len);
        buffer.fill(0.0);
        buffer
    }

    /// A buffer with these elements.
    pub(crate) fn copy(&self, values: &[f32]) -> Buffer {
        let mut buffer = self.take(values.len());
        buffer.copy_from_slice(values);
        buffer
    }
}

/// The capacity that serves `len`: four steps an octave, so that batches of nearly the same length
/// share their buffers.
fn class(len: usize) -> usize {
    let step = (len.next_power_of_two() / 8).max(64);
    len.max(1).next_multiple_of(step)
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.data[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        let mut free = self
            .home
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        free.entry(data.len()).or_default().push(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back() {
        let pool = Pool::default();
        let first = pool.take(1000);
        let place = first.as_ptr();
        drop(first);
        let second = pool.take(970);
        assert_eq!((second.as_ptr(), second.len()), (place, 970));
    }

    #[test]
    fn classes_hold_their_length_and_waste_little() {
        for len in [0, 1, 63, 64, 65, 1000, 4096, 4097, 1 << 20, (1 << 20) + 1] {
            assert!(class(len) >= len, "{len}");
            assert!(
                class(len) <= len + len / 4 + 64,
                "{len} takes {}",
                class(len)
            );
        }
    }
}
