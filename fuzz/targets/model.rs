//! The Squeeze model file. A changed file has another checksum, and nothing behind the check would be reached:
//! where the bytes are safetensors, the checksum in them is made right first.
#![no_main]

use squeeze_fuzz::sealed::sealed;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let sealed = sealed(bytes);
    squeeze_fuzz::on_file("x.squeeze", sealed.as_deref().unwrap_or(bytes), |path| {
        let _ = squeeze_formats::model::load(path);
    });
});
