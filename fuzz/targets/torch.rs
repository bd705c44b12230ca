//! PyTorch's files, zipped and in the format before 1.6.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    squeeze_fuzz::on_file("x.pt", bytes, |path| {
        let _ = squeeze_formats::torch::load(path);
    });
});
