//! ONNX files; sizes that a file leaves open are small ones.
#![no_main]

use squeeze_formats::onnx::{Sizes, import};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let sizes = Sizes {
        length: Some(8),
        image: Some([32, 32]),
    };
    squeeze_fuzz::on_file("x.onnx", bytes, |path| {
        let _ = import(path, &sizes);
    });
});
