//! From a program's values to tensors: storages, offsets, sizes and strides, all checked.

use squeeze_tensor::{Dtype, Tensor, Weights};

use super::pickle::{Heap, Id, Item};
use crate::error::Broken;

/// Keys under which checkpoints keep their state dict.
const INSIDE: &[&str] = &["state_dict", "model_state_dict", "model", "net"];

/// Names may share a storage, and each gets a copy: all of them together are at most so many times as large as the file.
const MOST_COPIES: usize = 16;

/// The tensors of the state dict that is the program's result, or inside it, of a file of so many bytes.
pub(super) fn weights<'a>(
    heap: &Heap,
    storage: &dyn Fn(&str) -> Option<&'a [u8]>,
    length: usize,
) -> Result<Weights, Broken> {
    let entries = |id: Id| -> Vec<(&str, Id)> {
        let Item::Dict(pairs) = heap.get(id) else {
            return vec![];
        };
        let named = |&(key, value): &(Id, Id)| match heap.get(key) {
            Item::Text(name) => Some((&**name, value)),
            _ => None,
        };
        pairs.iter().filter_map(named).collect()
    };
    let tensors = |id: Id| -> Vec<(&str, [Id; 4])> {
        let tensor = |(name, value)| match heap.get(value) {
            Item::Tensor(parts) => Some((name, *parts)),
            _ => None,
        };
        entries(id).into_iter().filter_map(tensor).collect()
    };
    let mut found = tensors(heap.root);
    if found.is_empty() {
        let inside = entries(heap.root);
        let inside = INSIDE
            .iter()
            .find_map(|key| inside.iter().find(|(name, _)| name == key));
        found = inside.map_or(vec![], |&(_, id)| tensors(id));
    }
    if found.is_empty() {
        return Err(Broken::new(format!(
            "no tensors by name: a state dict, or one under {INSIDE:?}, is read"
        )));
    }
    let (mut weights, mut left) = (Weights::default(), length.saturating_mul(MOST_COPIES));
    for (name, parts) in found {
        let tensor = tensor(heap, parts, storage);
        let tensor =
            tensor.map_err(|Broken(why)| Broken::new(format!("tensor `{name}`: {why}")))?;
        left = left.checked_sub(tensor.bytes().len()).ok_or_else(|| {
            Broken::new(format!(
                "tensor `{name}`: the tensors so far take over {MOST_COPIES} times the file: too many share a storage"
            ))
        })?;
        weights.insert(name, tensor);
    }
    Ok(weights)
}

/// Element type of a storage class: ours, and the bytes of one element in the file.
pub(super) fn class(name: &str) -> Option<(Dtype, usize)> {
    let dtype = match name {
        "FloatStorage" => Dtype::F32,
        "DoubleStorage" => return Some((Dtype::F32, 8)),
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::Bf16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "CharStorage" => Dtype::I8,
        "ByteStorage" | "BoolStorage" => Dtype::U8,
        _ => return None,
    };
    Some((dtype, dtype.bytes()))
}

/// Key, class and number of elements of a storage.
pub(super) fn described(heap: &Heap, id: Id) -> Result<(&str, &str, usize), Broken> {
    let wrong = || Broken::new("its storage is not described as PyTorch does it");
    let Item::Outside(id) = heap.get(id) else {
        return Err(wrong());
    };
    let Item::Row(parts) = heap.get(*id) else {
        return Err(wrong());
    };
    let &[kind, class, key, _, count, ..] = &**parts else {
        return Err(wrong());
    };
    match (
        heap.get(kind),
        heap.get(class),
        heap.get(key),
        heap.get(count),
    ) {
        (Item::Text(kind), Item::Global(_, class), Item::Text(key), Item::Int(count))
            if kind == "storage" =>
        {
            Ok((key, class, usize::try_from(*count).map_err(|_| wrong())?))
        }
        _ => Err(wrong()),
    }
}

fn tensor<'a>(
    heap: &Heap,
    [store, offset, sizes, strides]: [Id; 4],
    storage: &dyn Fn(&str) -> Option<&'a [u8]>,
) -> Result<Tensor, Broken> {
    let (key, name, count) = described(heap, store)?;
    let (dtype, width) = class(name)
        .ok_or_else(|| Broken::new(format!("{name} is not read: convert it to float")))?;
    let bytes = storage(key).ok_or_else(|| Broken::new(format!("storage {key} is missing")))?;
    if count.checked_mul(width) != Some(bytes.len()) {
        let found = bytes.len();
        return Err(Broken::new(format!(
            "storage {key} has {found} bytes for {count} elements of {width}: damaged"
        )));
    }
    let (sizes, strides) = (numbers(heap, sizes)?, numbers(heap, strides)?);
    let offset = match heap.get(offset) {
        Item::Int(value) => usize::try_from(*value).ok(),
        _ => None,
    };
    let outside = || {
        Broken::new(format!(
            "it reaches outside of its storage of {count} elements"
        ))
    };
    let offset = offset.ok_or_else(outside)?;
    if sizes.len() != strides.len() {
        return Err(Broken::new("it has not one stride a size"));
    }
    let total = sizes.iter().try_fold(1usize, |a, &b| a.checked_mul(b));
    let total = total.filter(|&total| total <= count).ok_or_else(outside)?;
    let mut last = offset;
    for (&size, &stride) in sizes.iter().zip(&strides) {
        let reach = size.saturating_sub(1).checked_mul(stride);
        last = reach
            .and_then(|reach| last.checked_add(reach))
            .ok_or_else(outside)?;
    }
    if total > 0 && last >= count {
        return Err(outside());
    }
    let mut data = Vec::with_capacity(total * dtype.bytes());
    let mut place = vec![0; sizes.len()];
    for _ in 0..total {
        let at: usize = place
            .iter()
            .zip(&strides)
            .map(|(at, stride)| at * stride)
            .sum();
        let element = &bytes[(offset + at) * width..][..width];
        match <[u8; 8]>::try_from(element) {
            Ok(double) if dtype == Dtype::F32 => {
                data.extend((f64::from_le_bytes(double) as f32).to_le_bytes());
            }
            _ => data.extend(element),
        }
        for axis in (0..sizes.len()).rev() {
            place[axis] += 1;
            if place[axis] < sizes[axis] {
                break;
            }
            place[axis] = 0;
        }
    }
    Tensor::new(dtype, &sizes, data).map_err(|error| Broken::new(error.to_string()))
}

fn numbers(heap: &Heap, id: Id) -> Result<Vec<usize>, Broken> {
    let wrong = || Broken::new("sizes or strides that are no whole numbers");
    let Item::Row(row) = heap.get(id) else {
        return Err(wrong());
    };
    let number = |&id: &Id| match heap.get(id) {
        Item::Int(value) => usize::try_from(*value).map_err(|_| wrong()),
        _ => Err(wrong()),
    };
    row.iter().map(number).collect()
}
