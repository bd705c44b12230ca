//! IDX files: the first two bytes say how many of the bytes behind them are the images' file, the rest is the labels'.
#![no_main]

use std::path::Path;

use squeeze_data::read::idx::examples;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return;
    };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (images, labels) = rest.split_at(length);
    let _ = examples((images, Path::new("images")), (labels, Path::new("labels")));
});
