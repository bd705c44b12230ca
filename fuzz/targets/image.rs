//! Images: PNG and JPEG.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = squeeze_data::Image::decode(bytes);
});
