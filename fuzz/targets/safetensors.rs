//! Weights as safetensors.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    squeeze_fuzz::on_file("x.safetensors", bytes, |path| {
        let _ = squeeze_formats::safetensors::load(path);
    });
});
