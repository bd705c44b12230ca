//! TensorFlow Lite files.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    squeeze_fuzz::on_file("x.tflite", bytes, |path| {
        let _ = squeeze_formats::tflite::import(path);
    });
});
