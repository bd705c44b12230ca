//! Tokenisers: `tokenizer.json` and `vocab.txt`, and a text through what they make.
#![no_main]

use squeeze_data::Tokenizer;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for name in ["tokenizer.json", "vocab.txt"] {
        squeeze_fuzz::on_file(name, bytes, |path| {
            if let Ok(tokenizer) = Tokenizer::open(path) {
                let _ = tokenizer.encode("Two words, A\u{308} and 猫.", Some("more"), 16);
            }
        });
    }
});
