//! The format before PyTorch 1.6: five pickles one after another, then the storages.

use std::collections::HashMap;

use squeeze_tensor::Weights;

use super::pickle::{Item, run};
use super::state::{class, described, weights};
use crate::error::Broken;

/// How every such file begins: a pickle of the number 0x1950a86a20f9469cfc6c.
const MAGIC: &[u8] = &[
    0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.',
];

/// Reads a file's bytes.
pub(super) fn parse(bytes: &[u8]) -> Result<Weights, Broken> {
    let Some(mut rest) = bytes.strip_prefix(MAGIC) else {
        return Err(Broken::new(
            "no PyTorch file: neither a zip file nor the format before 1.6",
        ));
    };
    let mut next = || -> Result<_, Broken> {
        let (heap, length) = run(rest)?;
        rest = &rest[length..];
        Ok(heap)
    };
    // Protocol version and sizes of numbers on the writer's machine.
    next()?;
    next()?;
    let heap = next()?;
    let keys = next()?;
    let mut widths = HashMap::new();
    for (id, item) in heap.items.iter().enumerate() {
        if matches!(item, Item::Outside(_)) {
            let (key, name, count) = described(&heap, id)?;
            let (_, width) = class(name)
                .ok_or_else(|| Broken::new(format!("{name} is not read: convert it to float")))?;
            widths.insert(key, (count, width));
        }
    }
    let Item::Row(order) = keys.get(keys.root) else {
        return Err(Broken::new("no list of storages: damaged"));
    };
    let mut storages: HashMap<&str, &[u8]> = HashMap::new();
    for &id in order {
        let cut = || Broken::new("a storage is cut off: copy or download the file again");
        let Item::Text(key) = keys.get(id) else {
            return Err(Broken::new("a storage without a name: damaged"));
        };
        let &(count, width) = widths.get(&**key).ok_or_else(cut)?;
        let (size, data) = rest.split_at_checked(8).ok_or_else(cut)?;
        let size = u64::from_le_bytes(size.try_into().expect("eight bytes"));
        if usize::try_from(size) != Ok(count) {
            return Err(Broken::new(format!(
                "storage {key} has {size} elements, {count} are expected: damaged"
            )));
        }
        let length = count.checked_mul(width).ok_or_else(cut)?;
        let (data, behind) = data.split_at_checked(length).ok_or_else(cut)?;
        storages.insert(key, data);
        rest = behind;
    }
    weights(&heap, &|key| storages.get(key).copied(), bytes.len())
}
