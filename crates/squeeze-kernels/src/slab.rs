//! Memory for packed weights: asked for once for a whole network, in huge pages where the system has them.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::{MmapMut, MmapOptions, MmapRaw};

/// Where packed weights go, from any number of threads. What is not used takes no memory. The default one asks for each block
/// on its own.
#[derive(Clone, Default)]
pub struct Slab(Option<Arc<Memory>>);

struct Memory {
    map: MmapRaw,
    /// Bytes that belong to blocks.
    used: AtomicUsize,
}

/// A part of a slab that nobody else has: zeros at first.
pub(crate) struct Block<T> {
    memory: Arc<Memory>,
    /// Bytes before it.
    start: usize,
    len: usize,
    element: PhantomData<T>,
}

/// Element types of which any bits are one.
///
/// # Safety
/// No bits may be invalid, and no element may be aligned to more than a cache line.
pub(crate) unsafe trait Plain: Copy + Send + Sync {}

// SAFETY: any 32 bits are a number.
unsafe impl Plain for f32 {}
// SAFETY: any 8 bits are a signed byte.
unsafe impl Plain for [i8; 4] {}

/// Blocks start on cache lines.
pub(crate) const LINE: usize = 64;

impl Slab {
    /// A slab of so many bytes; what does not fit is asked for on its own.
    pub fn new(bytes: usize) -> Slab {
        Slab(map(bytes).map(|map| Arc::new(Memory::of(map))))
    }

    /// A block of so many zeros.
    ///
    /// # Panics
    /// When the system has no more memory.
    pub(crate) fn block<T: Plain>(&self, len: usize) -> Block<T> {
        let bytes = len.checked_mul(size_of::<T>()).expect("addressable");
        let size = bytes.next_multiple_of(LINE);
        let shared = self.0.iter().find_map(|memory| {
            let start = memory.used.fetch_add(size, Ordering::Relaxed);
            let fits = start.checked_add(size)? <= memory.map.len();
            fits.then(|| (memory.clone(), start))
        });
        let (memory, start) = shared.unwrap_or_else(|| {
            let map = map(bytes).unwrap_or_else(|| panic!("no memory for {bytes} bytes"));
            (Arc::new(Memory::of(map)), 0)
        });
        Block {
            memory,
            start,
            len,
            element: PhantomData,
        }
    }
}

impl Memory {
    fn of(map: MmapMut) -> Memory {
        Memory {
            map: map.into(),
            used: AtomicUsize::new(0),
        }
    }
}

/// Zeros that are not there until they are written; `None` where the system refuses.
fn map(bytes: usize) -> Option<MmapMut> {
    let mut options = MmapOptions::new();
    options.len(bytes.max(1));
    // Miri knows neither this flag nor the hint below.
    #[cfg(not(miri))]
    options.no_reserve_swap();
    let map = options.map_anon().ok()?;
    // A hint: where the system does not take it, pages are small.
    #[cfg(all(target_os = "linux", not(miri)))]
    let _ = map.advise(memmap2::Advice::HugePage);
    Some(map)
}

impl<T: Plain> Deref for Block<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `Slab::block` keeps the block inside the map, on a cache line and apart from all others; any bits are elements.
        unsafe {
            let start = self.memory.map.as_ptr().add(self.start);
            std::slice::from_raw_parts(start.cast(), self.len)
        }
    }
}

impl<T: Plain> DerefMut for Block<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and the block is borrowed mutably.
        unsafe {
            let start = self.memory.map.as_mut_ptr().add(self.start);
            std::slice::from_raw_parts_mut(start.cast(), self.len)
        }
    }
}

impl std::fmt::Debug for Slab {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.0.as_ref().map_or(0, |memory| memory.map.len());
        write!(f, "Slab({bytes})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(slab: &Slab) {
        let mut blocks: Vec<Block<f32>> = [3, 16, 0, 17, 5000]
            .iter()
            .map(|&len| slab.block(len))
            .collect();
        for (at, block) in blocks.iter_mut().enumerate() {
            assert_eq!(block.as_ptr() as usize % LINE, 0);
            assert!(block.iter().all(|&x| x == 0.0), "{at} was written before");
            block.fill(at as f32 + 1.0);
        }
        for (at, block) in blocks.iter().enumerate() {
            assert!(block.iter().all(|&x| x == at as f32 + 1.0), "{at}");
        }
    }

    #[test]
    fn blocks_are_apart_and_empty() {
        check(&Slab::new(1 << 20));
    }

    #[test]
    fn what_does_not_fit_is_asked_for_on_its_own() {
        check(&Slab::default());
        check(&Slab::new(0));
        check(&Slab::new(2 * LINE));
    }

    #[test]
    fn blocks_outlive_their_room() {
        let mut block = Slab::new(1 << 12).block::<f32>(8);
        block.fill(1.0);
        assert_eq!(*block, [1.0; 8]);
    }
}
